-- SPDX-License-Identifier: MIT
--
-- udp: both ends of relayed datagrams, played by the spec.
--
--   local up = udp.bind()                       -- an upstream on a free loopback port
--   local client = udp.client(rp.vars.one)      -- takes datagrams from that address only
--   client:send("q")
--   local q = up:take()                         -- { text, ip, port }; raises after 60 s
--   up:answer(q, "a")
--   client:recv()                               -- its text; raises after 60 s
--   client:is_silent(0.1)                       -- nothing came
--   udp.close_all()                             -- in after_each

local socket = require("socket")

local M = {}
local End = {}
End.__index = End

local MOST, SECONDS = 65536, 20
local open = {}

local function wrap(s)
    local e = setmetatable({ socket = s, ip = (s:getsockname()) }, End)
    e.port = tonumber((select(2, s:getsockname())))
    open[#open + 1] = e
    return e
end

--- A bound socket. kept: close_all leaves it open.
function M.bind(ip, port)
    ip = ip or "127.0.0.1"
    local s = assert((ip:find(":") and socket.udp6 or socket.udp4)())
    assert(s:setsockname(ip, port or 0))
    return wrap(s)
end

--- A client of a port of the proxy. from: its own address.
function M.client(port, ip, from)
    ip = ip or "127.0.0.1"
    local s = assert((ip:find(":") and socket.udp6 or socket.udp4)())
    if from then assert(s:setsockname(from, 0)) end
    assert(s:setpeername(ip, port))
    return wrap(s)
end

function M.close_all()
    for _, e in ipairs(open) do
        if not e.kept then e.socket:close() end
    end
    open = {}
end

function End:keep()
    self.kept = true
    return self
end

function End:close()
    self.kept = nil
    self.socket:close()
end

function End:send(text)
    return self.socket:send(text)
end

function End:recv(seconds)
    self.socket:settimeout(seconds or SECONDS)
    local text, why = self.socket:receive(MOST)
    if not text then error("no datagram: " .. why, 2) end
    return text
end

--- Anything within so many seconds?
function End:is_silent(seconds)
    self.socket:settimeout(seconds)
    return self.socket:receive(MOST) == nil
end

function End:take(seconds)
    self.socket:settimeout(seconds or SECONDS)
    local text, ip, port = self.socket:receivefrom(MOST)
    if not text then error("no datagram: " .. ip, 2) end
    return { text = text, ip = ip, port = port }
end

function End:answer(to, text)
    return assert(self.socket:sendto(text, to.ip, to.port))
end

return M
