-- SPDX-License-Identifier: MIT
--
-- health_probe: one question to one peer: true, or nil and why not. All of them may wait, and end
-- by their own timeout.

local exec = require("rproxy.exec")
local http = require("rproxy.http")
local socket = require("rproxy.socket")
local task = require("rproxy.task")
local time = require("rproxy.time")

local M = {}

local BODY_MOST = 64 * 1024

-- "10.0.0.1:80", "[::1]:80", "name:80", "unix:/path" -> host, port, path
local function place_of(text, settings)
    local path = text:match("^unix:(.+)$")
    if path then return nil, nil, path end
    local host, port = text:match("^%[?([^%[%]]-)%]?:(%d+)$")
    return host, settings.port or tonumber(port)
end

local function url_of(text, settings, secure)
    local host, port, path = place_of(text, settings)
    if path then return secure and "https://localhost" or "http://localhost" end
    if host:find(":", 1, true) then host = "[" .. host .. "]" end
    return ("%s://%s:%d"):format(secure and "https" or "http", host, port)
end

local function is_in(ranges, status)
    for _, range in ipairs(ranges) do
        if status >= range[1] and status <= range[2] then return true end
    end
    return false
end

local function failure(err, detail)
    return nil, detail and ("%s: %s"):format(err, detail) or err
end

local KINDS = {}

-- One for each unix socket, one for all addresses.
local function clients_of(check, protocol)
    local made = {}
    return function(peer)
        local path = peer:match("^unix:(.+)$") or ""
        made[path] = made[path] or http.client { timeout = check.settings.timeout,
            keepalive = false, tls = check.tls, http = protocol,
            unix = path ~= "" and path or nil }
        return made[path]
    end
end

-- What there is of a body by then: a peer that sends a byte now and then is not waited for.
local function read_body(res, ends)
    local text, n, piece = {}, 0, res:read()
    while piece and n < BODY_MOST and time.now() < ends do
        text[#text + 1], n = piece, n + #piece
        piece = res:read()
    end
    return table.concat(text)
end

function KINDS.http(check)
    local s, client_of = check.settings, clients_of(check)
    local headers = { ["user-agent"] = "rproxy-health" }
    if check.host then headers.host = check.host end
    for name, value in pairs(s.headers or {}) do headers[name:lower()] = value end
    return function(peer)
        local res, err, detail = client_of(peer):request { method = s.method, headers = headers,
            url = url_of(peer, s, check.tls) .. s.path, stream = true }
        if not res then return failure(err, detail) end
        local status, found = res.status, true
        if s.body and is_in(s.ranges, status) then
            found = s.body:test(read_body(res, time.now() + s.timeout))
        end
        res:close()
        if not is_in(s.ranges, status) then return nil, "status " .. status end
        if not found then return nil, "its body does not match" end
        return true
    end
end

local function connect(check, peer, tls)
    local s = check.settings
    local host, port, path = place_of(peer, s)
    return socket.connect { host = host, port = port, unix = path, timeout = s.timeout,
        tls = tls, pool = false }
end

-- Connect, and have talk(socket) say true, or nil and why.
local function over_socket(check, tls, talk)
    return function(peer)
        local sock, err, detail = connect(check, peer, tls)
        if not sock then return failure(err, detail) end
        local ok, why = talk(sock)
        sock:close()
        return ok, why
    end
end

function KINDS.tcp(check)
    return over_socket(check, nil, function() return true end)
end

function KINDS.tls(check)
    return over_socket(check, check.tls or { verify = false }, function() return true end)
end

function KINDS.redis(check)
    return over_socket(check, check.tls, function(sock)
        local ok, err, detail = sock:write("PING\r\n")
        if not ok then return failure(err, detail) end
        local line
        line, err, detail = sock:read("line")
        if not line then return failure(err, detail) end
        -- Who asks for a password is there; who loads or has no master does not serve yet.
        if line:find("^%+PONG") or line:find("^%-NOAUTH") then return true end
        return nil, line:sub(1, 200)
    end)
end

function KINDS.mysql(check)
    return over_socket(check, nil, function(sock)
        local head, err, detail = sock:read(5)
        if not head then return failure(err, detail) end
        local kind = head:byte(5)
        if kind == 10 then return true end -- protocol version of the greeting
        return nil, kind == 255 and "it refuses connections" or "it is no MySQL server"
    end)
end

function KINDS.postgres(check)
    return over_socket(check, nil, function(sock)
        local ok, err, detail = sock:write("\0\0\0\8\4\210\22\47") -- SSLRequest
        if not ok then return failure(err, detail) end
        local answer
        answer, err, detail = sock:read(1)
        if not answer then return failure(err, detail) end
        if answer == "S" or answer == "N" then return true end
        return nil, answer == "E" and "it refuses connections" or "it is no PostgreSQL server"
    end)
end

-- HealthCheckRequest in a frame: field 1 is the service. (It has fewer than 16,000 bytes.)
local function grpc_question(service)
    local n, message = #service, ""
    if n >= 128 then message = "\10" .. string.char(n % 128 + 128, math.floor(n / 128)) .. service
    elseif n > 0 then message = "\10" .. string.char(n) .. service end
    return "\0\0\0" .. string.char(math.floor(#message / 256), #message % 256) .. message
end

-- grpc.health.v1.Health/Check: field 1 of the answer is the status.
function KINDS.grpc(check)
    local s = check.settings
    local client_of = clients_of(check, "2")
    local body = grpc_question(s.service)
    return function(peer)
        local res, err, detail = client_of(peer):request { method = "POST", body = body,
            url = url_of(peer, s, check.tls) .. "/grpc.health.v1.Health/Check",
            headers = { ["content-type"] = "application/grpc" } }
        if not res then return failure(err, detail) end
        local trailers = res.trailers or res.headers
        local code = trailers["grpc-status"] or res.headers["grpc-status"]
        if res.status ~= 200 or (code and code ~= "0") then
            return nil, ("status %d, grpc-status %s"):format(res.status, code or "none")
        end
        if res.body:sub(6) == "\8\1" then return true end -- SERVING
        return nil, "it says that it does not serve"
    end
end

function KINDS.exec(check)
    local s = check.settings
    return function(peer)
        local host, port, path = place_of(peer, s)
        local argv = {}
        for i, word in ipairs(s.argv) do
            argv[i] = word:gsub("{host}", function() return host or path end)
                :gsub("{port}", function() return tostring(port or "") end)
        end
        local result, err, detail = exec.exec { argv = argv, timeout = s.timeout }
        if not result then return failure(err, detail) end
        if result.status == 0 then return true end
        return nil, result.status and "exit status " .. result.status
            or "killed by signal " .. result.signal
    end
end

function KINDS.lua(check)
    local s = check.settings
    return function(peer)
        local host, port, path = place_of(peer, s)
        local ok, why = task.deadline(s.timeout, s.check, { text = peer, host = host, port = port,
            path = path, upstream = check.name })
        if ok then return true end
        return nil, why and tostring(why) or "the check said no"
    end
end

--- A function(peer text) -> true | nil, why.
--- @param check table  settings, tls, host, name
function M.new(check)
    return KINDS[check.settings.type](check)
end

return M
