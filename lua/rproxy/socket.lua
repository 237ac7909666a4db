-- SPDX-License-Identifier: MIT
--
-- socket: rp.tcp: stream sockets that wait without blocking the worker.
--
-- A socket belongs to the request (or background task) whose hook connected it, and is closed with
-- it. Expected failures are nil, "what"; every wait ends by timeout.

local abi = require("rproxy.abi")
local object = require("rproxy.object")
local task = require("rproxy.task")

local C, H = abi.C, abi.H
local AGAIN = abi.AGAIN
local raise = object.raise

local M = {}

local TIMEOUT = 60 -- seconds an operation may take unless the caller says otherwise
local ANY_MOST = 64 * 1024
local EXACTLY, LINE, ANY = 0, 1, 2

local Socket = {}
Socket.__index = Socket

-- Repeat a call until it no longer says AGAIN.
local function finish(self, call, ...)
    local code = call(H, self.handle, ...)
    if code ~= AGAIN then return code end
    local deadline = C.rp_abi_now(H) + self.timeout
    repeat
        local left = deadline - C.rp_abi_now(H)
        if left <= 0 or not task.wait("socket", left) then return nil, "timeout" end
        code = call(H, self.handle, ...)
    until code ~= AGAIN
    return code
end

local function result(code, err)
    if code == 0 then return true end
    return nil, err or abi.out()
end

local function check_timeout(seconds)
    if seconds == nil then return TIMEOUT end
    if type(seconds) ~= "number" or seconds ~= seconds or seconds <= 0 then
        raise("timeout is a number of seconds above 0, got %s", tostring(seconds))
    end
    return math.min(seconds, 86400)
end

--- Connect.
--- phases: all   yields: yes
--- @param opts table  host and port, or unix (a path); timeout: seconds for each operation (60)
--- @return table|nil socket, string|nil err
function M.connect(opts)
    if type(opts) ~= "table" then raise("rp.tcp.connect takes a table") end
    local name, port = opts.unix or opts.host, opts.unix and 0 or opts.port
    if type(name) ~= "string" or type(port) ~= "number" or (not opts.unix and port < 1) then
        raise("rp.tcp.connect takes host (a string) and port (a number), or unix (a path)")
    end
    local timeout = check_timeout(opts.timeout)
    local handle = C.rp_abi_sock_connect(H, name, #name, port)
    if handle < 0 then
        if handle == abi.E.PHASE then raise("sockets can be opened in hooks only") end
        return nil, abi.out()
    end
    local self = setmetatable({ handle = handle, timeout = timeout }, Socket)
    local ok, err = result(finish(self, C.rp_abi_sock_connected))
    if ok then return self end
    self:close()
    return nil, err
end

--- Read n bytes, a line (without its end) or whatever is there.
--- yields: yes
--- @param what number|string  n, "line" or "*any"
--- @return string|nil bytes, string|nil err  "closed" at the end of the stream
function Socket:read(what)
    local how, n = EXACTLY, what
    if what == "line" then how, n = LINE, 0
    elseif what == "*any" then how, n = ANY, ANY_MOST
    elseif type(what) ~= "number" or what < 0 then
        raise('read takes a number of bytes, "line" or "*any"')
    end
    local code, err = finish(self, C.rp_abi_sock_read, how, n)
    if code == 0 then return abi.out() end
    return nil, err or abi.out()
end

--- Write a string, or the strings of a list one after the other.
--- yields: yes
--- @return boolean|nil ok, string|nil err
function Socket:write(data)
    if type(data) == "table" then data = table.concat(data) end
    if type(data) ~= "string" then raise("write takes a string or a list of strings") end
    local code = C.rp_abi_sock_write(H, self.handle, data, #data)
    if code ~= AGAIN then return result(code) end
    local deadline = C.rp_abi_now(H) + self.timeout
    while code == AGAIN do
        local left = deadline - C.rp_abi_now(H)
        if left <= 0 or not task.wait("socket", left) then return nil, "timeout" end
        code = C.rp_abi_sock_flush(H, self.handle)
    end
    return result(code)
end

--- Change the time that each operation may take.
function Socket:set_timeout(seconds)
    self.timeout = check_timeout(seconds)
end

function Socket:close()
    C.rp_abi_sock_close(H, self.handle)
end

return M
