-- SPDX-License-Identifier: MIT
--
-- wire: a raw TCP client that says exactly what it is told and shows exactly what came back.
--
--   local wire = require("spec.support.wire")
--   local w = wire.connect(port)                         -- or (port, "::1"), or a unix path
--   w:send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
--   w:send_split(bytes, 1)                               -- one byte per segment
--   local rest, why = w:recv_all(2)                      -- until "closed", "reset" or "timeout"
--   w:close()
--
-- Every wait has a limit (w.timeout, 20 s); recv and recv_until raise with what had come so far.

local ffi = require("ffi")
local posix = require("spec.support.posix")
local socket = require("socket")

local POLLIN = 1
local SOL_SOCKET, SO_RCVBUF = 1, 8
local BLOCK_BYTES = 64 * 1024

local M = {}
local Wire = {}
Wire.__index = Wire

local open = setmetatable({}, { __mode = "k" })

--- Connect; raises unless opt.may_fail, then nil, err.
--- opt: timeout (seconds), may_fail, from (local address), rcvbuf (bytes).
function M.connect(port, host, opt)
    opt = opt or {}
    local sock, ok, err
    if type(port) == "string" and port:find("/") then
        sock = require("socket.unix")()
        ok, err = sock:connect(port)
    else
        host = host or "127.0.0.1"
        sock = host:find(":") and socket.tcp6() or socket.tcp4()
        if opt.from then assert(sock:bind(opt.from, 0)) end
        if opt.rcvbuf then
            local bytes = ffi.new("int[1]", opt.rcvbuf)
            posix.C.setsockopt(sock:getfd(), SOL_SOCKET, SO_RCVBUF, bytes, 4)
        end
        sock:settimeout(opt.timeout or 20)
        ok, err = sock:connect(host, port)
        if ok then sock:setoption("tcp-nodelay", true) end
    end
    if not ok then
        sock:close()
        if opt.may_fail then return nil, err end
        error(("connect to %s port %s: %s"):format(host or "", port, err), 2)
    end
    local w = setmetatable({ sock = sock, timeout = opt.timeout or 20, buf = "" }, Wire)
    open[w] = true
    return w
end

--- A wire over a socket that is connected already (what a listening spec accepted).
function M.wrap(sock)
    local w = setmetatable({ sock = sock, timeout = 20, buf = "" }, Wire)
    open[w] = true
    return w
end

--- Close what specs left open (for after_each).
function M.close_all()
    for w in pairs(open) do
        w:close()
    end
end

--- Send all bytes; returns true, or nil and "closed" or "timeout" when the other end refused them.
function Wire:send(bytes)
    self.sock:settimeout(self.timeout)
    local ok, err = self.sock:send(bytes)
    if ok then return true end
    return nil, err
end

--- Send in pieces of n bytes (1), each its own segment; `gap` seconds between them (0).
function Wire:send_split(bytes, n, gap)
    n = n or 1
    for i = 1, #bytes, n do
        local ok, err = self:send(bytes:sub(i, i + n - 1))
        if not ok then return nil, err end
        if gap and gap > 0 then socket.sleep(gap) end
    end
    return true
end

local block = ffi.new("char[?]", BLOCK_BYTES)
local readable = ffi.new("rpspec_pollfd[1]")

-- Take what is there into the buffer, waiting at most until the deadline; false and why at an end.
-- Not by the socket library: it calls a reset "closed".
local function fill(self, deadline)
    if self.ended then return false, self.ended end
    local fd = self.sock:getfd()
    readable[0].fd, readable[0].events = fd, POLLIN
    local left = math.max(0, deadline - socket.gettime())
    if posix.C.poll(readable, 1, math.ceil(left * 1000)) ~= 1 then return false, "timeout" end
    local n = tonumber(posix.C.recv(fd, block, BLOCK_BYTES, 0))
    if n > 0 then
        self.buf = self.buf .. ffi.string(block, n)
        return true
    end
    self.ended = n == 0 and "closed" or "reset"
    return false, self.ended
end

local function take(self, n)
    local out = self.buf:sub(1, n)
    self.buf = self.buf:sub(n + 1)
    return out
end

local function give_up(self, wanted, why)
    error(("wanted %s but %s; had %d bytes: %q"):format(wanted, why, #self.buf,
        self.buf:sub(1, 400)), 3)
end

--- Exactly n bytes.
function Wire:recv(n)
    local deadline = socket.gettime() + self.timeout
    while #self.buf < n do
        local ok, why = fill(self, deadline)
        if not ok then give_up(self, n .. " bytes", why) end
    end
    return take(self, n)
end

--- Everything up to and with the mark (plain text).
function Wire:recv_until(mark)
    local deadline = socket.gettime() + self.timeout
    while true do
        local _, last = self.buf:find(mark, 1, true)
        if last then return take(self, last) end
        local ok, why = fill(self, deadline)
        if not ok then give_up(self, ("%q"):format(mark), why) end
    end
end

--- Everything until the end of the connection; returns bytes and "closed", "reset" or "timeout".
function Wire:recv_all(seconds)
    local deadline = socket.gettime() + (seconds or self.timeout)
    local pieces = { take(self, #self.buf) }
    while true do
        local ok, why = fill(self, deadline)
        pieces[#pieces + 1] = take(self, #self.buf)
        if not ok then return table.concat(pieces), why end
    end
end

--- What comes within some time (0.1 s); "" when nothing does. Second value as in recv_all.
function Wire:recv_some(seconds)
    local why
    if self.buf == "" then
        local _
        _, why = fill(self, socket.gettime() + (seconds or 0.1))
    end
    return take(self, #self.buf), why
end

--- Has the other end closed (or does within `seconds`) without sending anything more?
function Wire:is_closed(seconds)
    if self.buf ~= "" then return false end
    local ok, why = fill(self, socket.gettime() + (seconds or self.timeout))
    return not ok and why ~= "timeout"
end

--- Say that nothing more will be sent (FIN), and go on reading.
function Wire:finish()
    self.sock:shutdown("send")
end

function Wire:local_port()
    local _, port = self.sock:getsockname()
    return tonumber(port)
end

function Wire:close()
    open[self] = nil
    self.sock:close()
end

--- Close with RST instead of FIN.
function Wire:reset()
    self.sock:setoption("linger", { on = true, timeout = 0 })
    self:close()
end

return M
