-- SPDX-License-Identifier: MIT
--
-- fake_main: the process of spec.support.fake: luajit fake_main.lua KIND DIR PORT|PATH
--
-- A kind is a function (request, state) that returns status, body, fields; or nothing: it is asked
-- again a moment later, with what the state is then (a blocking query); or a stream, a function
-- (state) that gives bytes, "" (nothing now) or nil (the end), asked again and again.

package.path = "./?.lua;" .. package.path

local cjson = require("cjson")
local socket = require("socket")
local mime = require("mime")
local posix = require("spec.support.posix")

local kind, dir, where = arg[1], arg[2], arg[3]

local state, stamp = {}, nil

local function refresh()
    local text = posix.read_file(dir .. "/state.lua")
    if text and text ~= stamp then
        stamp = text
        state = assert(loadstring(text))()
        setmetatable(state, { __index = function() return nil end })
    end
end

local function json(value)
    return cjson.encode(value)
end

local function list(value) -- cjson writes {} for an empty table
    return #value == 0 and "[]" or json(value)
end

local KINDS = {}

-- ---------------------------------------------------------------- Consul

-- state: index, members { { address, port, weight =, status =, tags =, meta =, node_address = } },
-- no_index
local function consul_entry(m, i)
    return { Node = { Node = "node" .. i, Address = m.node_address or m[1], Datacenter = "dc1",
        Meta = { rack = "r1" } },
        Service = { ID = "api-" .. i, Service = "api", Tags = m.tags or cjson.null,
            Address = m.node_address and "" or m[1], Port = m[2], Meta = m.meta or { v = "1" },
            Weights = { Passing = m.weight or 1, Warning = m.warning or 1 } },
        Checks = { { CheckID = "serfHealth", Status = "passing" },
            { CheckID = "service:api", Status = m.status or "passing" } } }
end

function KINDS.consul(req, s)
    if not req.path:find("^/v1/health/service/") then return 404, "not found" end
    if s.token and req.fields["x-consul-token"] ~= s.token then
        return 403, "Permission denied: token " .. tostring(req.fields["x-consul-token"])
    end
    local index = tonumber(req.args.index or 0)
    local wait = tonumber((req.args.wait or "300000ms"):match("%d+")) / 1000
    local is_same = index > 0 and index == s.index
    if is_same and socket.gettime() - req.came < wait then return nil end
    local out = {}
    for i, m in ipairs(s.members or {}) do
        if not req.args.passing or (m.status or "passing") == "passing" then
            out[#out + 1] = consul_entry(m, i)
        end
    end
    return 200, list(out), { ["X-Consul-Index"] = not s.no_index and ("%d"):format(s.index) or nil,
        ["X-Consul-Knownleader"] = "true" }
end

-- ---------------------------------------------------------------- a document

-- state: doc (text), etag
function KINDS.http(req, s)
    if s.token and req.fields.authorization ~= "Bearer " .. s.token then
        return 401, "no: " .. tostring(req.fields.authorization)
    end
    if s.etag and req.fields["if-none-match"] == s.etag then return 304, "" end
    return 200, s.doc, { ETag = s.etag, ["Content-Type"] = "application/json" }
end

-- ---------------------------------------------------------------- Docker Engine

-- state: containers (list as the Engine has it, text), events (list of texts)
function KINDS.docker(req, s)
    if req.path == "/containers/json" then return 200, s.containers end
    if req.path ~= "/events" then return 404, '{"message":"page not found"}' end
    local sent = #(s.events or {})
    return function(now)
        local out = {}
        for i = sent + 1, #(now.events or {}) do out[#out + 1] = now.events[i] .. "\n" end
        sent = math.max(sent, #(now.events or {}))
        return table.concat(out)
    end
end

-- ---------------------------------------------------------------- Kubernetes

-- state: version, slices (list of texts), events { { version, text } }, oldest (version that is still
-- known), page (slices of one page), bookmark (version)
local function gone()
    return '{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":'
        .. '"too old resource version","reason":"Expired","code":410}'
end

local function watch(req, s)
    local version = tonumber(req.args.resourceVersion)
    local ends = req.came + tonumber(req.args.timeoutSeconds or 300)
    local marked
    if version < (s.oldest or 0) then
        local told
        return function()
            if told then return nil end
            told = true
            return ('{"type":"ERROR","object":%s}\n'):format(gone())
        end
    end
    return function(now)
        local out = {}
        if version < (now.oldest or 0) then
            return nil
        end
        for _, event in ipairs(now.events or {}) do
            if event[1] > version then
                out[#out + 1] = event[2] .. "\n"
                version = event[1]
            end
        end
        if now.bookmark and now.bookmark > version and marked ~= now.bookmark then
            marked, version = now.bookmark, now.bookmark
            out[#out + 1] = ('{"type":"BOOKMARK","object":{"kind":"EndpointSlice","metadata":'
                .. '{"resourceVersion":"%d"}}}\n'):format(version)
        end
        if out[1] then return table.concat(out) end
        return socket.gettime() < ends and "" or nil
    end
end

function KINDS.kubernetes(req, s)
    if s.token and req.fields.authorization ~= "Bearer " .. s.token then
        return 401, '{"kind":"Status","code":401,"message":"Unauthorized"}'
    end
    if not req.path:find("^/apis/discovery.k8s.io/v1/namespaces/[%w-]+/endpointslices$") then
        return 404, '{"kind":"Status","code":404}'
    end
    if req.args.watch then return watch(req, s) end
    local from = tonumber(req.args.continue or 1)
    local page = math.min(s.page or 500, tonumber(req.args.limit or 500))
    local items = {}
    for i = from, math.min(#s.slices, from + page - 1) do items[#items + 1] = s.slices[i] end
    local more = from + page <= #s.slices
    return 200, ('{"kind":"EndpointSliceList","apiVersion":"discovery.k8s.io/v1","metadata":'
        .. '{"resourceVersion":"%d"%s},"items":[%s]}'):format(s.version,
        more and (',"continue":"%d"'):format(from + page) or "", table.concat(items, ","))
end

-- ---------------------------------------------------------------- etcd

-- state: revision, keys { key = value }, events { { revision, text } }, compacted (revision), token
local function etcd_range(s)
    local names, kvs = {}, {}
    for key in pairs(s.keys or {}) do names[#names + 1] = key end
    table.sort(names)
    for i, key in ipairs(names) do
        kvs[i] = ('{"key":"%s","value":"%s","mod_revision":"1"}'):format(mime.b64(key),
            mime.b64(s.keys[key]) or "")
    end
    return 200, ('{"header":{"revision":"%d"},"kvs":[%s],"count":"%d"}'):format(s.revision,
        table.concat(kvs, ","), #kvs)
end

function KINDS.etcd(req, s)
    if req.path == "/v3/auth/authenticate" then
        if req.body.password ~= s.password then
            return 400, '{"error":"etcdserver: authentication failed, invalid user ID or password",'
                .. '"code":3}'
        end
        return 200, ('{"header":{},"token":"%s"}'):format(s.token)
    end
    if s.token and req.fields.authorization ~= s.token then
        return 401, '{"error":"etcdserver: invalid auth token","code":16}'
    end
    if req.path == "/v3/kv/range" then return etcd_range(s) end
    local from = tonumber(req.body.create_request.start_revision)
    local created
    return function(now)
        if not created then
            created = true
            return '{"result":{"header":{"revision":"1"},"created":true}}\n'
        end
        if now.compacted and from <= now.compacted then
            from = math.huge
            return ('{"result":{"header":{},"canceled":true,"compact_revision":"%d"}}\n'):format(
                now.compacted)
        end
        local out = {}
        for _, event in ipairs(now.events or {}) do
            if event[1] >= from then
                from = event[1] + 1
                out[#out + 1] = event[2] .. "\n"
            end
        end
        return table.concat(out)
    end
end

-- ---------------------------------------------------------------- HTTP

local conns = {}

local function parse(conn)
    local head, rest = conn.input:match("^(.-\r\n)\r\n(.*)$")
    if not head then return nil end
    local method, target = head:match("^(%u+) (%S+) HTTP/1.1\r\n")
    local fields, args = {}, {}
    for name, value in head:gmatch("\n([%w-]+): *([^\r\n]*)") do fields[name:lower()] = value end
    local length = tonumber(fields["content-length"] or 0)
    if #rest < length then return nil end
    conn.input = rest:sub(length + 1)
    local path, query = target:match("^([^?]*)%??(.*)$")
    for name, value in query:gmatch("([^&=]+)=([^&]*)") do
        args[name] = value:gsub("%%(%x%x)", function(hex)
            return string.char(tonumber(hex, 16))
        end)
    end
    local log = assert(io.open(dir .. "/requests", "ab"))
    log:write(head, rest:sub(1, length), "\n--\n")
    log:close()
    local body = length > 0 and cjson.decode(rest:sub(1, length)) or nil
    return { method = method, target = target, path = path, args = args, fields = fields,
        came = socket.gettime(), body = body }
end

local function head_of(status, fields)
    local lines = { ("HTTP/1.1 %d Some"):format(status) }
    for name, value in pairs(fields) do lines[#lines + 1] = name .. ": " .. value end
    return table.concat(lines, "\r\n") .. "\r\n\r\n"
end

local function send(conn, bytes)
    conn.output = conn.output .. bytes
end

local function answer(conn, status, body, fields)
    local all = { ["Content-Length"] = #body }
    for name, value in pairs(fields or {}) do all[name] = value end
    if status == 304 then all["Content-Length"] = nil end
    send(conn, head_of(status, all) .. body)
    conn.req = nil
end

local MODES = {}
MODES["500"] = function(conn) answer(conn, 500, "internal error") end
MODES.deny = function(conn) answer(conn, 403, "denied") end
MODES.garbage = function(conn) answer(conn, 200, '{"a": [1, 2') end
MODES.text = function(conn) answer(conn, 200, '"members"') end
MODES.huge = function(conn)
    send(conn, head_of(200, { ["Transfer-Encoding"] = "chunked" }))
    conn.stream = function() return ("[1,"):rep(700000) end
end
MODES.cut = function(conn)
    send(conn, head_of(200, { ["Content-Length"] = 1000 }) .. '{"members": [')
    conn.ends = true
end
MODES.slow = function(conn)
    send(conn, head_of(200, { ["Transfer-Encoding"] = "chunked" }))
    conn.stream = function() return " " end
end
MODES.hang = function(conn) conn.req = { came = math.huge } conn.hangs = true end

local function chunk(bytes)
    return ("%x\r\n%s\r\n"):format(#bytes, bytes)
end

local function serve(conn)
    if conn.hangs then return end
    if conn.stream then
        if #conn.output > 2 ^ 20 then return end
        local bytes = conn.stream(state)
        if bytes == nil then
            send(conn, "0\r\n\r\n")
            conn.stream, conn.req = nil, nil
        elseif bytes ~= "" then send(conn, chunk(bytes)) end
        return
    end
    conn.req = conn.req or parse(conn)
    if not conn.req then return end
    local mode = state.mode and MODES[state.mode]
    if mode then return mode(conn) end
    local status, body, fields = KINDS[kind](conn.req, state)
    if type(status) == "function" then
        send(conn, head_of(200, { ["Transfer-Encoding"] = "chunked",
            ["Content-Type"] = "application/json" }))
        conn.stream = status
    elseif status then answer(conn, status, body, fields) end
end

local function pump(conn)
    local data, err, part = conn.sock:receive(65536)
    conn.input = conn.input .. (data or part or "")
    if err == "closed" then conn.gone = true return end
    serve(conn)
    if #conn.output > 0 then
        local sent, why, partly = conn.sock:send(conn.output)
        conn.output = conn.output:sub((sent or partly or 0) + 1)
        if why == "closed" then conn.gone = true end
    elseif conn.ends then conn.gone = true end
end

local function listen()
    local sock
    if where:find("^/") then
        sock = require("socket.unix")()
        assert(sock:bind(where))
        assert(sock:listen(32))
        os.execute("chmod 666 '" .. where .. "'")
    else
        sock = socket.tcp4()
        sock:setoption("reuseaddr", true)
        assert(sock:bind("127.0.0.1", tonumber(where)))
        assert(sock:listen(32))
    end
    sock:settimeout(0)
    return sock
end

refresh()
local listener = listen()
while true do
    local reading = { listener }
    for _, conn in ipairs(conns) do reading[#reading + 1] = conn.sock end
    socket.select(reading, nil, 0.02)
    refresh()
    local sock = listener:accept()
    if sock then
        sock:settimeout(0)
        conns[#conns + 1] = { sock = sock, input = "", output = "" }
    end
    for i = #conns, 1, -1 do
        pump(conns[i])
        if conns[i].gone then
            conns[i].sock:close()
            table.remove(conns, i)
        end
    end
end
