-- SPDX-License-Identifier: MIT
--
-- datagrams: a client of a UDP stream and the server that sends each datagram back. Datagrams may be
-- lost; none may be changed, or come to another client.

local ffi = require("ffi")
local posix = require("spec.support.posix")
local sockets = require("spec.faults.sockets")

ffi.cdef [[
long recvfrom(int fd, void *buf, size_t n, int flags, void *addr, unsigned *addr_n);
long sendto(int fd, const void *buf, size_t n, int flags, const void *addr, unsigned addr_n);
]]

local C = posix.C
local M = {}
local Client = {}
Client.__index = Client

local MOST = 2000 -- bytes
local buf, from, from_n = ffi.new("char[?]", MOST), ffi.new("uint8_t[16]"), ffi.new("unsigned[1]")

--- A server on a free port: fd, port.
function M.listen()
    local fd = C.socket(2, 2 + 2048 + 524288, 0) -- SOCK_DGRAM, NONBLOCK, CLOEXEC
    assert(fd >= 0 and C.bind(fd, posix.inet("127.0.0.1", 0), 16) == 0)
    return fd, sockets.port_of(fd)
end

--- Send back what came; true when something did.
function M.echo(fd)
    local moved = false
    for _ = 1, 20 do
        from_n[0] = 16
        local n = tonumber(C.recvfrom(fd, buf, MOST, 0, from, from_n))
        if n < 0 then break end
        C.sendto(fd, buf, n, 0, from, from_n[0])
        moved = true
    end
    return moved
end

--- opt: port, name, count (datagrams), dice
function M.client(opt)
    local c = setmetatable(opt, Client)
    c.fd = C.socket(2, 2 + 2048 + 524288, 0)
    assert(C.connect(c.fd, posix.inet("127.0.0.1", c.port), 16) == 0)
    c.exchanges, c.sent, c.sent_n, c.came_n = {}, {}, 0, 0
    return c
end

function Client:step()
    if self.done then return false end
    local moved = false
    if self.sent_n < self.count then
        self.sent_n = self.sent_n + 1
        local text = self.name .. ":" .. self.sent_n .. ":" .. ("d"):rep(self.dice:size(1400))
        self.sent[text] = true
        C.send(self.fd, text, #text, 0x4000)
        moved = true
    end
    while true do
        local n = tonumber(C.recv(self.fd, buf, MOST, 0))
        if n < 0 then break end
        self.came_n, moved = self.came_n + 1, true
        if not self.sent[ffi.string(buf, n)] then self.wrong = "client: a datagram that it did not send" end
    end
    if not moved then self:close() end -- what has not come by now is lost
    return moved
end

function Client:close()
    if self.fd then C.close(self.fd) end
    self.fd, self.done = nil, true
end

function Client:describe()
    return ("  datagrams port=%d sent=%d came=%d"):format(self.port, self.sent_n, self.came_n)
end

return M
