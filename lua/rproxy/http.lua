-- SPDX-License-Identifier: MIT
--
-- http: rp.http.client: requests that hooks and tasks make. Connections are the worker's, kept by
-- where they lead; a client holds none, so it may be made at load and used by any hook.
--
-- Expected failures are nil, code, detail. Redirects are not followed, and nothing is decoded.

local abi = require("rproxy.abi")
local grant = require("rproxy.grant")
local header = require("rproxy.header")
local nearest = require("rproxy.config.nearest")
local object = require("rproxy.object")
local outside = require("rproxy.outside")
local task = require("rproxy.task")
local text = require("rproxy.text")
local tls = require("rproxy.tls")

local C, H, E = abi.C, abi.H, abi.E
local AGAIN, END = abi.AGAIN, abi.END
local raise = object.raise

local M = {}

local TIMEOUT = 30
local BODY_MOST = 8 * 2 ^ 20
local KEEP_MOST, KEEP_SECONDS = 32, 60
local MODES = { ["1.1"] = 0, ["2"] = 1, auto = 2 } -- enum rp_abi_http
local HAS_BODY = { POST = true, PUT = true, PATCH = true }

-- ---------------------------------------------------------------- headers of a response

local Headers, methods = {}, {}

--- First value of a field, by name in any case.
function methods:get(name)
    local list = self[1][name:lower()]
    return list and list[1]
end

--- All values of a field, in order.
function methods:get_all(name)
    local list, copy = self[1][name:lower()] or {}, {}
    for i = 1, #list do copy[i] = list[i] end
    return copy
end

local function next_line(lines, i)
    i = i + 1
    local line = lines[i]
    if line then return i, line[1], line[2] end
end

--- for _, name, value in headers:each() do: every line, names in lower case.
function methods:each()
    return next_line, self[2], 0
end

function Headers.__index(self, name)
    if type(name) ~= "string" then return nil end
    return methods[name] or methods.get(self, name)
end

local function read_head(m)
    local by_name, lines = {}, {}
    if m ~= nil then
        for name, value in header.walk(m) do
            lines[#lines + 1] = { name, value }
            local list = by_name[name] or {}
            list[#list + 1] = value
            by_name[name] = list
        end
    end
    return setmetatable({ by_name, lines }, Headers)
end

-- ---------------------------------------------------------------- responses

local Response = {}
Response.__index = Response

local function failure()
    local code = H.out2
    return nil, abi.string(code.ptr, code.len), abi.out()
end

local function close(self)
    local handle = self.handle
    self.handle = nil
    if handle then C.rp_abi_call_close(H, handle) end
end

-- Whatever call(handle) waits for; nil: it took too long.
local function go_on(call, handle, at)
    local code = call(H, handle)
    while code == AGAIN do
        if not task.wait_until("HTTP response", at) then return nil end
        code = call(H, handle)
    end
    return code
end

local function read_piece(self, at)
    if self.ended then return nil end
    if not self.handle then return nil, "closed", "the response was closed" end
    local code = go_on(C.rp_abi_call_read, self.handle, at)
    if code == 0 then return abi.out() end
    if code == END then
        self.ended = true
        local m = C.rp_abi_call_msg(H, self.handle, true)
        if m ~= nil then self.trailers = read_head(m) end
        close(self)
        return nil
    end
    local _, err, detail
    if code == nil then err, detail = "timeout", "it took too long"
    else _, err, detail = failure() end
    close(self)
    return nil, err, detail
end

--- The next piece of the body, of any size.
--- yields: yes
--- @return string|nil piece, string|nil err, string|nil detail  nil alone: that was all
function Response:read()
    return read_piece(self, task.deadline_of(self.timeout))
end

--- for piece in res:chunks() do .. end; raises what res:read would return as err.
--- yields: yes
function Response:chunks()
    return function()
        local piece, err, detail = self:read()
        if err then error(("%s: %s"):format(err, detail), 2) end
        return piece
    end
end

--- Let go of it; what was not read is lost, and the connection with it.
function Response:close()
    close(self)
end

-- The body as a whole.
local function collect(self, most, at)
    local pieces, bytes = {}, 0
    local announced = tonumber(self.headers:get("content-length") or "")
    if announced and announced > most and not self.bodiless then
        close(self)
        return nil, "body_too_big", "the response announces more than max_body"
    end
    while true do
        local piece, err, detail = read_piece(self, at)
        if err then return nil, err, detail end
        if not piece then break end
        bytes = bytes + #piece
        if bytes > most then
            close(self)
            return nil, "body_too_big", "the response is larger than max_body"
        end
        pieces[#pieces + 1] = piece
    end
    self.body = table.concat(pieces)
    return true
end

-- ---------------------------------------------------------------- URLs

-- { secure, host, port, authority, path }, or nil and what is wrong.
local function parse_url(url)
    local scheme, authority, rest = url:match("^(%a+)://([^/?#]*)([^#]*)")
    scheme = scheme and scheme:lower()
    if scheme ~= "http" and scheme ~= "https" then return nil, "no http:// or https:// URL" end
    if authority:find("@", 1, true) then return nil, "a URL with a user in it" end
    local host, port = authority:match("^%[([%x:.]+)%]:?(%d*)$")
    if not host then host, port = authority:match("^([^:%[%]]+):?(%d*)$") end
    if not host then return nil, "no host in the URL" end
    port = port ~= "" and tonumber(port) or (scheme == "https" and 443 or 80)
    if port < 1 or port > 65535 then return nil, "no such port" end
    if rest:sub(1, 1) ~= "/" then rest = "/" .. rest end
    return { secure = scheme == "https", host = host, port = port, authority = authority,
        path = rest }
end

local function join(base, url)
    if not base or url:find("^%a+://") then return url end
    if url == "" then return base end
    return base:gsub("/$", "") .. (url:sub(1, 1) == "/" and url or "/" .. url)
end

-- The same for a path of an upstream of the site.
local function upstream_url(name, url)
    if not url:find("^/") then return nil, "no path that begins with a slash" end
    if C.rp_abi_upstream_host(H, name, #name) ~= 0 then
        return nil, ("no upstream %q in this site"):format(name)
    end
    return { authority = abi.out(), path = url:match("^[^#]*") }
end

local function with_query(path, query)
    if query == nil then return path end
    if type(query) == "table" then query = text.form.build(query) end
    if type(query) ~= "string" then raise("query is a table or a string") end
    if query == "" then return path end
    return path .. (path:find("?", 1, true) and "&" or "?") .. query
end

-- ---------------------------------------------------------------- requests

local Client = {}
Client.__index = Client

local function add_field(handle, name, value)
    local field = header.text(name)
    value = header.value(value)
    local code = C.rp_abi_call_field(H, handle, field, #field, value, #value)
    if code == E.BUSY then raise("header %q is written by rproxy itself", field) end
    if code == E.INVALID then
        raise("header %q: a name or value with bytes that do not belong there", field)
    end
    if code ~= 0 then raise("header %q: %s", field, abi.text(code)) end
end

local function is_host(name)
    return type(name) == "string" and name:lower() == "host"
end

local function add_fields(handle, fields, seen)
    for name, value in pairs(fields) do
        local field = header.text(name)
        local known = seen[field:lower()]
        seen[field:lower()] = true
        if not known and not is_host(field) then
            for _, one in ipairs(type(value) == "table" and value or { value }) do
                add_field(handle, name, one)
            end
        end
    end
end

local function host_of(given, default)
    for name, value in pairs(given) do
        if is_host(name) then return header.value(value) end
    end
    return default
end

local OPTIONS = { method = true, url = true, headers = true, body = true, query = true,
    length = true, stream = true, timeout = true, max_body = true }

local function check_names(what, given, known)
    if type(given) ~= "table" then raise("%s takes a table", what) end
    for name in pairs(given) do
        if not known[name] then
            raise("%s: unknown option %q%s", what, tostring(name),
                nearest.hint(tostring(name), nearest.names(known)))
        end
    end
end

local function check_number(what, value, default, least)
    if value == nil then return default end
    if type(value) ~= "number" or value ~= value or value < least then
        raise("%s is a number from %s, got %s", what, tostring(least), tostring(value))
    end
    return value
end

-- A function gives the body piece by piece, once the call is under way.
local function announce(opts, handle)
    local length = check_number("length", opts.length, -1, 0)
    local code = C.rp_abi_call_stream(H, handle, length)
    if code ~= 0 then raise("the request's length: %s", abi.text(code)) end
end

-- Header fields and body; raises what they should not be.
local function fill(self, opts, method, handle)
    local seen = {}
    add_fields(handle, opts.headers or {}, seen)
    add_fields(handle, self.headers, seen)
    if not seen["user-agent"] then add_field(handle, "user-agent", "rproxy") end
    local body = opts.body
    if type(body) == "function" then return announce(opts, handle) end
    if opts.length ~= nil then raise("length goes with a body that a function gives") end
    if type(body) == "table" then body = table.concat(body) end
    if body == nil and HAS_BODY[method] then body = "" end
    if body ~= nil then
        if type(body) ~= "string" then
            raise("body is a string, a list of strings or a function")
        end
        local code = C.rp_abi_call_body(H, handle, body, #body)
        if code ~= 0 then raise("the request's body: %s", abi.text(code)) end
    end
end

-- The call with its head and body, not sent yet.
local function write_request(self, opts, method, url)
    local given = opts.headers or {}
    local target, host = with_query(url.path, opts.query), host_of(given, url.authority)
    local handle = C.rp_abi_call_new(H, method, #method, target, #target, host, #host)
    if handle == E.PHASE then raise("requests can be made in hooks only") end
    if handle == E.INVALID then return nil, "invalid", "a method, URL or host with odd bytes" end
    if handle < 0 then return failure() end
    local ok, why = pcall(fill, self, opts, method, handle)
    if ok then return handle end
    C.rp_abi_call_close(H, handle) -- who catches this may live long
    error(why, 0)
end

local function start(self, handle, url)
    local to = self.upstream
    if to then return C.rp_abi_call_start_up(H, handle, to, #to) end
    local client = url.secure and (self.tls or tls.client(true)) or nil
    local place, port = self.unix or url.host, self.unix and 0 or url.port
    return C.rp_abi_call_start(H, handle, self.mode, place, #place, port, client, url.host,
        #url.host, self.keep_most, self.keep_seconds)
end

-- One piece after the other, as fast as they are taken. 0: all were, or nobody wants more.
local function send_pieces(handle, give, at)
    while true do
        local code = go_on(C.rp_abi_call_ready, handle, at)
        if code == END then return 0 end
        if code ~= 0 then return code end
        if at and C.rp_abi_now(H) >= at then return nil end
        local ok, piece, err = pcall(give)
        if ok and piece ~= nil and type(piece) ~= "string" then
            ok, piece = false, "the function of body returned a " .. type(piece)
        end
        if not ok then
            C.rp_abi_call_close(H, handle)
            error(piece, 0)
        end
        if piece == nil and err ~= nil then return E.CANCELLED, tostring(err) end
        code = C.rp_abi_call_send(H, handle, piece or "", piece and #piece or 0, piece == nil)
        if code ~= 0 or piece == nil then return code end
    end
end

-- Make it, and read the response's head. The handle is closed when it fails.
local function perform(self, handle, url, at, give)
    local code, why = start(self, handle, url), nil
    if code == 0 and give then code, why = send_pieces(handle, give, at) end
    if code == 0 then code = go_on(C.rp_abi_call_head, handle, at) end
    if code == 0 then return true end
    local _, err, detail
    if why then err, detail = "body", why
    elseif code == nil then err, detail = "timeout", "no response in time"
    else _, err, detail = failure() end
    C.rp_abi_call_close(H, handle)
    return nil, err, detail
end

--- Make a request.
--- phases: all   yields: yes
--- @param opts table  method ("GET"), url, headers, body, query, timeout, max_body, stream. body: a
---   string, a list of strings, or a function that gives it piece by piece (nil: that was all; nil
---   and why: it gives up, err is "body"); it may wait. length: bytes of such a body, when known
--- @return table|nil response, string|nil err, string|nil detail
function Client:request(opts)
    check_names("client:request", opts, OPTIONS)
    local method = opts.method or "GET"
    if type(method) ~= "string" or type(opts.url) ~= "string" then
        raise("client:request takes method and url, strings")
    end
    local timeout = check_number("timeout", opts.timeout, self.timeout, 0.001)
    local most = check_number("max_body", opts.max_body, self.max_body, 0)
    local url, why
    if self.upstream then url, why = upstream_url(self.upstream, opts.url)
    else url, why = parse_url(join(self.base, opts.url)) end
    if not url then return nil, "invalid", why end
    if self.upstream then grant.upstream(self.upstream, self)
    else grant.net(self.unix or url.host, self.unix and 0 or url.port, self) end
    local at = task.deadline_of(timeout)
    local handle, err, detail = write_request(self, opts, method, url)
    if not handle then return nil, err, detail end
    local ok
    ok, err, detail = perform(self, handle, url, at, type(opts.body) == "function" and opts.body)
    if not ok then return nil, err, detail end
    local m = C.rp_abi_call_msg(H, handle, false)
    local res = setmetatable({ status = m.status, version = m.version == 20 and "2" or "1.1",
        headers = read_head(m), handle = handle, timeout = timeout,
        bodiless = method == "HEAD" or m.status == 304 }, Response)
    if opts.stream then return res end
    ok, err, detail = collect(res, most, at)
    if not ok then return nil, err, detail end
    return res
end

local function with(opts, method, url, body)
    local all = { method = method, url = url, body = body }
    for name, value in pairs(opts or {}) do all[name] = value end
    return all
end

--- @return table|nil response, string|nil err, string|nil detail
function Client:get(url, opts)
    return self:request(with(opts, "GET", url))
end

--- @return table|nil response, string|nil err, string|nil detail
function Client:post(url, body, opts)
    return self:request(with(opts, "POST", url, body))
end

outside.class("http.headers", methods, { meta = Headers })
outside.class("http.response", Response)
outside.class("http.client", Client, {
    ident = function(self) return self.unix or self.base or self.upstream or "" end })

-- ---------------------------------------------------------------- clients

local CLIENT_OPTIONS = { base = true, timeout = true, keepalive = true, tls = true,
    max_body = true, headers = true, http = true, unix = true, upstream = true }

local function read_keepalive(given)
    if given == false then return 0, 0 end
    if given == nil then return KEEP_MOST, KEEP_SECONDS end
    if type(given) == "number" then
        return check_number("keepalive", given, nil, 0), KEEP_SECONDS
    end
    check_names("keepalive", given, { max = true, idle = true })
    return check_number("keepalive.max", given.max, KEEP_MOST, 0),
        check_number("keepalive.idle", given.idle, KEEP_SECONDS, 0)
end

-- All that has to do with the connection is the upstream's.
local function check_upstream(opts)
    if type(opts.upstream) ~= "string" or opts.upstream == "" then
        raise("rp.http.client: upstream is the name of an upstream of the site")
    end
    for _, name in ipairs { "base", "unix", "tls", "http", "keepalive" } do
        if opts[name] ~= nil then
            raise("rp.http.client: %s: the upstream says it; leave it out", name)
        end
    end
end

--- A client: settings, no connection.
--- @param opts table|nil  base (URL), timeout (30 s for a whole response), keepalive (most idle
---   connections of one place, or { max =, idle = seconds }, or false), tls (as rp.tls takes it),
---   max_body (8 MB), headers, http ("1.1", "2", "auto"), unix (path of a socket); or upstream: the
---   name of one of the site, whose peers, balancing, TLS, connections and times are used: then
---   requests have a path in the place of a URL
--- @return table client
function M.client(opts)
    opts = opts or {}
    check_names("rp.http.client", opts, CLIENT_OPTIONS)
    local self = setmetatable({}, Client)
    grant.own(self)
    self.base, self.unix, self.upstream = opts.base, opts.unix, opts.upstream
    if self.upstream ~= nil then check_upstream(opts) end
    if self.base ~= nil then
        local url, why = parse_url(type(self.base) == "string" and self.base or "")
        if not url then raise("rp.http.client: base: %s", why) end
        if self.base:find("[?#]") then raise("rp.http.client: base has no query") end
        if url.secure and opts.tls == nil then opts = with(opts, nil, nil) opts.tls = true end
    end
    if self.unix ~= nil and type(self.unix) ~= "string" then
        raise("rp.http.client: unix is the path of a socket")
    end
    self.mode = MODES[opts.http or "1.1"]
    if not self.mode then raise('rp.http.client: http is "1.1", "2" or "auto"') end
    self.timeout = check_number("timeout", opts.timeout, TIMEOUT, 0.001)
    self.max_body = check_number("max_body", opts.max_body, BODY_MOST, 0)
    self.keep_most, self.keep_seconds = read_keepalive(opts.keepalive)
    self.headers = opts.headers or {}
    self.tls = tls.client(opts.tls)
    return self
end

return M
