-- SPDX-License-Identifier: MIT
--
-- socket: rp.tcp, rp.unix, rp.udp and rp.dns: sockets that wait without blocking the worker.
--
-- A socket belongs to the request (or background task) whose hook connected it, and is closed with
-- it. Expected failures are nil, code, detail: code is a word that programs may compare ("timeout",
-- "closed", "refused" ..), detail says more. Every wait ends by timeout.

local abi = require("rproxy.abi")
local grant = require("rproxy.grant")
local object = require("rproxy.object")
local outside = require("rproxy.outside")
local srv = require("rproxy.srv")
local task = require("rproxy.task")
local tls = require("rproxy.tls")

local C, H = abi.C, abi.H
local AGAIN = abi.AGAIN
local raise = object.raise

local M = {}

local TIMEOUT = 60 -- seconds an operation may take unless the caller says otherwise
local ANY_MOST = 64 * 1024
local LINE_MOST = 64 * 1024
local EXACTLY, LINE, ANY, UNTIL = 0, 1, 2, 3
local KEEP_MOST, KEEP_SECONDS = 32, 60

-- What C says of a failure.
local function failure()
    local code = H.out2
    return nil, abi.string(code.ptr, code.len), abi.out()
end

local function late()
    return nil, "timeout", "it took too long"
end

-- What AGAIN leads to: call(..) once more whenever there is news.
local function go_on(seconds, call, ...)
    local at, code = task.deadline_of(seconds), AGAIN
    while code == AGAIN do
        if not task.wait_until("socket", at) then return nil end
        code = call(H, ...)
    end
    return code
end

local function result(code)
    if code == 0 then return true end
    if code == nil then return late() end
    return failure()
end

local function bytes_or(code)
    if code == 0 then return abi.out() end
    return result(code)
end

local function check_timeout(seconds)
    if seconds == nil then return TIMEOUT end
    if type(seconds) ~= "number" or seconds ~= seconds or seconds <= 0 then
        raise("timeout is a number of seconds above 0, got %s", tostring(seconds))
    end
    return math.min(seconds, 86400)
end

local function check_place(what, opts)
    if type(opts) ~= "table" then raise("%s takes a table", what) end
    local port = opts.port
    if type(opts.host) ~= "string" or type(port) ~= "number" or port % 1 ~= 0 or port < 1
        or port > 65535 then
        raise("%s takes host (a string) and port (a number)", what)
    end
end

-- ---------------------------------------------------------------- streams

local Socket = {}
Socket.__index = Socket

local function connect(opts, where, port, maker)
    local timeout, pool = check_timeout(opts.timeout), opts.pool
    if pool ~= nil and pool ~= false and type(pool) ~= "string" then
        raise("pool is a name, or false: a new connection")
    end
    grant.net(where, port, maker)
    local client = tls.client(opts.tls)
    local name = port == 0 and "" or where:match("^%[(.*)%]$") or where
    local pool_name = pool or ""
    local handle = C.rp_abi_sock_connect(H, where, #where, port, client, name, #name, pool_name,
        #pool_name, pool == false)
    if handle < 0 then
        if handle == abi.E.PHASE then raise("sockets can be opened in hooks only") end
        return failure()
    end
    local self = setmetatable({ handle = handle, timeout = timeout }, Socket)
    local code = C.rp_abi_sock_connected(H, handle)
    if code == AGAIN then code = go_on(timeout, C.rp_abi_sock_connected, handle) end
    if code == 0 then
        self.reused = C.rp_abi_sock_uses(H, handle) - 1
        return self
    end
    local _, err, detail = result(code)
    C.rp_abi_sock_close(H, handle)
    return nil, err, detail
end

-- "host:port", "[::1]:port" or "unix:/path" -> what connect takes; the rest of opts with it.
local function with_place(what, opts)
    local text, all = opts.address, {}
    local path = type(text) == "string" and text:match("^unix:(.+)$")
    local host, port = tostring(text):match("^%[?([^%[%]]-)%]?:(%d+)$")
    if not path and not host then raise('%s: address is "host:port" or "unix:/path"', what) end
    for name, value in pairs(opts) do all[name] = value end
    all.address, all.host, all.port, all.unix = nil, host, tonumber(port), path
    return all
end

--- Connect for whoever made a client. For the layer only.
--- @param maker table|nil  of grant.own; nil: whoever runs
function M.connect_as(maker, opts)
    if opts.unix then return connect(opts, opts.unix, 0, maker) end
    return connect(opts, opts.host, opts.port, maker)
end

--- Connect.
--- phases: all   yields: yes
--- @param opts table  host and port, or address ("host:port", "unix:/path"), or unix (a path);
---   timeout: seconds for each operation (60);
---   tls: true, or options of rp.tls; pool: a name, or false for a connection of one's own
--- @return table|nil socket, string|nil err, string|nil detail
function M.connect(opts)
    if type(opts) == "table" and opts.address ~= nil then
        opts = with_place("rp.tcp.connect", opts)
    end
    if type(opts) == "table" and opts.unix ~= nil then return M.connect_unix(opts) end
    check_place("rp.tcp.connect", opts)
    return connect(opts, opts.host, opts.port, nil)
end

--- Connect to a unix socket.
--- phases: all   yields: yes
--- @param opts table|string  the path, or path (or unix) and what rp.tcp.connect takes
function M.connect_unix(opts)
    if type(opts) == "string" then opts = { path = opts } end
    local path = type(opts) == "table" and (opts.path or opts.unix)
    if type(path) ~= "string" then raise("rp.unix.connect takes a path") end
    return connect(opts, path, 0, nil)
end

--- Read n bytes, a line (without its end) or whatever is there.
--- yields: yes
--- @param what number|string  n, "line" or "any"
--- @param max number|nil  of a line (64 KB) or of what is there (64 KB)
--- @return string|nil bytes, string|nil err, string|nil detail  "closed" at the end of the stream
function Socket:read(what, max)
    local how, n = EXACTLY, what
    if what == "line" then how, n = LINE, max or LINE_MOST
    elseif what == "any" or what == "*any" then how, n = ANY, max or ANY_MOST
    elseif type(what) ~= "number" or what < 0 or what % 1 ~= 0 then
        raise('read takes a number of bytes, "line" or "any"')
    end
    local handle = self.handle
    local code = C.rp_abi_sock_read(H, handle, how, n, "", 0)
    if code == AGAIN then
        code = go_on(self.timeout, C.rp_abi_sock_read, handle, how, n, "", 0)
    end
    return bytes_or(code)
end

--- Read up to a mark, which is taken off.
--- yields: yes
--- @param mark string  the bytes themselves, at most 256
--- @param max number|nil  most bytes before it (64 KB); over: "too_big"
--- @return string|nil bytes, string|nil err, string|nil detail
function Socket:read_until(mark, max)
    if type(mark) ~= "string" or mark == "" or #mark > 256 then
        raise("read_until takes a text of 1 to 256 bytes")
    end
    local handle, n = self.handle, max or LINE_MOST
    local code = C.rp_abi_sock_read(H, handle, UNTIL, n, mark, #mark)
    if code == AGAIN then
        code = go_on(self.timeout, C.rp_abi_sock_read, handle, UNTIL, n, mark, #mark)
    end
    return bytes_or(code)
end

--- Write a string, or the strings of a list one after the other.
--- yields: yes
--- @return boolean|nil ok, string|nil err, string|nil detail
function Socket:write(data)
    if type(data) == "table" then data = table.concat(data) end
    if type(data) ~= "string" then raise("write takes a string or a list of strings") end
    local code = C.rp_abi_sock_write(H, self.handle, data, #data)
    if code == AGAIN then code = go_on(self.timeout, C.rp_abi_sock_flush, self.handle) end
    return result(code)
end

--- Change the time that each operation may take.
function Socket:set_timeout(seconds)
    self.timeout = check_timeout(seconds)
end

--- Lay it by for whoever connects to the same place next. It is not to be used after that.
--- @param opts table|nil  idle: seconds it is kept (60); max: most that are kept of one place (32)
--- @return boolean kept  false: it was closed, as something in it was unread or unwritten
function Socket:release(opts)
    local idle, most = opts and opts.idle or KEEP_SECONDS, opts and opts.max or KEEP_MOST
    if type(idle) ~= "number" or idle < 0 or type(most) ~= "number" or most < 0 then
        raise("release takes { idle = seconds, max = number }")
    end
    return C.rp_abi_sock_release(H, self.handle, most, idle)
end

function Socket:close()
    C.rp_abi_sock_close(H, self.handle)
end

-- ---------------------------------------------------------------- datagrams

local Udp = {}
Udp.__index = Udp

--- A socket for datagrams to and from one place.
--- phases: all   yields: yes
--- @param opts table  host, port; timeout: seconds for each operation (60)
--- @return table|nil udp, string|nil err, string|nil detail
function M.connect_udp(opts)
    if type(opts) == "table" and opts.address ~= nil then
        opts = with_place("rp.udp.connect", opts)
    end
    check_place("rp.udp.connect", opts)
    grant.net(opts.host, opts.port)
    local timeout = check_timeout(opts.timeout)
    local handle = C.rp_abi_udp_connect(H, opts.host, #opts.host, opts.port)
    if handle < 0 then
        if handle == abi.E.PHASE then raise("sockets can be opened in hooks only") end
        return failure()
    end
    local code = C.rp_abi_udp_connected(H, handle)
    if code == AGAIN then code = go_on(timeout, C.rp_abi_udp_connected, handle) end
    if code == 0 then return setmetatable({ handle = handle, timeout = timeout }, Udp) end
    local _, err, detail = result(code)
    C.rp_abi_udp_close(H, handle)
    return nil, err, detail
end

--- Send one datagram. It may be lost, which nobody is told.
--- @return boolean|nil ok, string|nil err, string|nil detail  "refused": nobody takes them there
function Udp:send(data)
    if type(data) ~= "string" then raise("send takes a string") end
    return result(C.rp_abi_udp_send(H, self.handle, data, #data))
end

--- Receive one datagram.
--- yields: yes
--- @param seconds number|nil  at most so long, instead of the timeout
--- @return string|nil data, string|nil err, string|nil detail
function Udp:receive(seconds)
    local code = C.rp_abi_udp_receive(H, self.handle)
    if code == AGAIN then
        code = go_on(seconds and check_timeout(seconds) or self.timeout, C.rp_abi_udp_receive,
            self.handle)
    end
    return bytes_or(code)
end

function Udp:set_timeout(seconds)
    self.timeout = check_timeout(seconds)
end

function Udp:close()
    C.rp_abi_udp_close(H, self.handle)
end

outside.class("tcp", Socket)
outside.class("udp", Udp)

-- ---------------------------------------------------------------- names

local FAMILIES = { A = 4, AAAA = 6 }

local function addresses(handle, family)
    local list, i = {}, 0
    while true do
        local is = C.rp_abi_dns_addr(H, handle, i)
        if is == 0 then break end
        if not family or is == family then list[#list + 1] = abi.out() end
        i = i + 1
    end
    if list[1] then return list end
    return nil, "not_found", "the name has no address of that family"
end

local numbers = abi.new("uint32_t[3]")

local function services(handle)
    local list = {}
    while C.rp_abi_dns_service(H, handle, #list, numbers) do
        list[#list + 1] = { name = abi.out(), priority = numbers[0], weight = numbers[1],
            port = numbers[2] }
    end
    return srv.order(list, math.random)
end

--- Addresses of a name, or services (SRV), from the cache that upstreams use.
--- phases: all   yields: yes
--- @param name string
--- @param kind string|nil  "A" or "AAAA"; nil: both; "SRV": { name, port, priority, weight } in the
---   order in which they are to be tried
--- @param opts table|nil  timeout: seconds (60)
--- @return any[]|nil addresses, string|nil err, string|nil detail
function M.resolve(name, kind, opts)
    if type(name) ~= "string" then raise("rp.dns.resolve takes a name") end
    local wants_services = kind == "SRV"
    if kind ~= nil and not wants_services and not FAMILIES[kind] then
        raise('rp.dns.resolve looks up "A", "AAAA" and "SRV"')
    end
    local timeout = check_timeout(opts and opts.timeout)
    grant.net(name, nil) -- a question tells the name's owner that it was asked
    local handle = C.rp_abi_dns_start(H, name, #name, wants_services)
    if handle < 0 then
        if handle == abi.E.PHASE then raise("names can be looked up in hooks only") end
        return failure()
    end
    local code = C.rp_abi_dns_answer(H, handle)
    if code == AGAIN then code = go_on(timeout, C.rp_abi_dns_answer, handle) end
    local list, err, detail
    if code == 0 and wants_services then list = services(handle)
    elseif code == 0 then list, err, detail = addresses(handle, FAMILIES[kind])
    else list, err, detail = result(code) end
    C.rp_abi_dns_end(H, handle)
    return list, err, detail
end

return M
