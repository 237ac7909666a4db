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
-- It speaks HTTP/1.1 or what else specs say; where RP_PROTOCOL names another protocol and the other
-- end is a listener of rproxy (or a peer that speaks HTTP/2), the bytes are translated: see
-- spec.support.protocol.
--
-- Every wait has a limit (w.timeout, 45 s); recv and recv_until raise with what had come so far.

local ffi = require("ffi")
local posix = require("spec.support.posix")
local protocol = require("spec.support.protocol")
local socket = require("socket")

local POLLIN = 1
local SOL_SOCKET, SO_RCVBUF = 1, 8
local SIOCOUTQ = 0x5411
local BLOCK_BYTES = 64 * 1024
local PUSHED_BYTES = 16 * 1024 -- at once, through a codec
local LINGER_S = 10 -- at most, for bytes on their way when a codec's wire closes

local M = {}
local Wire = {}
Wire.__index = Wire

local open = setmetatable({}, { __mode = "k" })

-- ---------------------------------------------------------------- what goes over the socket

-- Send what the codec has ready. Nil and why when the other end refuses it.
local function flush(self)
    local bytes = self.late .. self.codec:take_out()
    self.late = ""
    if bytes == "" then return true end
    self.sock:settimeout(self.timeout)
    local ok, err = self.sock:send(bytes)
    if ok then return true end
    return nil, err
end

local block = ffi.new("char[?]", BLOCK_BYTES)
local readable = ffi.new("rpspec_pollfd[1]")

-- Bytes of the socket as they come, waiting at most until the deadline; nil and why at an end. Not
-- by the socket library: it calls a reset "closed".
local function receive(self, deadline)
    local fd = self.sock:getfd()
    readable[0].fd, readable[0].events = fd, POLLIN
    local left = math.max(0, deadline - socket.gettime())
    if posix.C.poll(readable, 1, math.ceil(left * 1000)) ~= 1 then return nil, "timeout" end
    local n = tonumber(posix.C.recv(fd, block, BLOCK_BYTES, 0))
    if n > 0 then return ffi.string(block, n) end
    return nil, n == 0 and "closed" or "reset"
end

-- One round with a codec: text that came, or nil and why there is none ("more": not yet).
local function translate(self, deadline)
    local text = self.codec:take_in()
    if text ~= "" then return text end
    if self.codec.ended then return nil, self.codec.ended end
    local bytes, why = receive(self, deadline)
    if bytes then
        self.codec:feed(bytes)
    elseif why == "timeout" then
        return nil, why
    else
        self.codec:eof(why)
    end
    if not self.is_pushing then flush(self) end
    return nil, "more"
end

-- The first bytes of a connection that we accepted tell which protocol it is.
local function recognise(self, deadline)
    local first = ""
    while self.is_new do
        local bytes, why = receive(self, deadline)
        if not bytes then return nil, why end
        first = first .. bytes
        local codec, more = protocol.server(first)
        self.is_new, self.codec = more, codec
    end
    if not self.codec then return first end
    self.codec:feed(first)
    flush(self)
    return nil, "more"
end

-- The next bytes, waiting at most until the deadline; nil and why at an end.
local function take_piece(self, deadline)
    if self.ended then return nil, self.ended end
    local bytes, why
    repeat
        if self.is_new then
            bytes, why = recognise(self, deadline)
        elseif self.codec then
            bytes, why = translate(self, deadline)
        else
            bytes, why = receive(self, deadline)
        end
    until why ~= "more"
    if bytes then return bytes end
    if why ~= "timeout" then self.ended = why end
    return nil, why
end

local function fill(self, deadline)
    local bytes, why = take_piece(self, deadline)
    if not bytes then return false, why end
    self.buf = self.buf == "" and bytes or self.buf .. bytes
    return true
end

-- ---------------------------------------------------------------- connections

-- Shake hands and the like, if the protocol of this wire has it.
local function settle(self)
    local deadline = socket.gettime() + self.timeout
    while flush(self) and self.codec:is_blocked() and not self.codec.ended do
        local bytes, why = receive(self, deadline)
        if bytes then self.codec:feed(bytes) elseif why == "timeout" then return nil, why
        else self.codec:eof(why) end
    end
    if self.codec.ended then return nil, self.codec.ended end
    return true
end

--- Connect; raises unless opt.may_fail, then nil, err.
--- opt: timeout (seconds), may_fail, from (local address), rcvbuf (bytes), raw (bytes as they are,
--- whatever RP_PROTOCOL says), unserved (nobody will answer yet: handshakes wait for the first
--- recv).
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
        sock:settimeout(opt.timeout or 45)
        ok, err = sock:connect(host, port)
        if ok then sock:setoption("tcp-nodelay", true) end
    end
    if not ok and err ~= "closed" then -- that is a connection which was reset at once
        sock:close()
        if opt.may_fail then return nil, err end
        error(("connect to %s port %s: %s"):format(host or "", port, err), 2)
    end
    local w = setmetatable({ sock = sock, timeout = opt.timeout or 45, buf = "", late = "",
        ended = not ok and "reset" or nil, unserved = opt.unserved,
        codec = not opt.raw and protocol.client(port) or nil }, Wire)
    open[w] = true
    if w.codec and not w.ended then
        if opt.unserved then flush(w) else settle(w) end
    end
    return w
end

--- A wire over a socket that is connected already (what a listening spec accepted).
function M.wrap(sock)
    local w = setmetatable({ sock = sock, timeout = 45, buf = "", late = "",
        is_accepted = true, is_new = protocol.has_h2_upstream }, Wire)
    open[w] = true
    return w
end

--- Close what specs left open (for after_each).
function M.close_all()
    for w in pairs(open) do
        w.in_a_hurry = true
        w:close()
    end
end

--- Send all bytes; returns true, or nil and "closed" or "timeout" when the other end refused them.
function Wire:send(bytes)
    if self.is_new then fill(self, socket.gettime() + self.timeout) end
    if not self.codec then
        self.sock:settimeout(self.timeout)
        local ok, err = self.sock:send(bytes)
        if ok then return true end
        return nil, err
    end
    if self.ended then return nil, "closed" end
    self.codec:write(bytes)
    if self.unserved then return flush(self) end
    return settle(self)
end

--- Send as much as is taken without waiting; the number of bytes, 0 when it is none. Nil and why
--- when the other end refuses more. What is left out may be sent later.
function Wire:push(bytes)
    self.sock:settimeout(0)
    if not self.codec then
        local last, why, part = self.sock:send(bytes)
        if last then return last end
        if why == "timeout" then return part end
        return nil, why
    end
    if self.codec:is_blocked() then -- windows may open; else nothing is read
        self.is_pushing = true
        local text, why = take_piece(self, 0)
        self.is_pushing = false
        if text then self.buf = self.buf .. text elseif why ~= "timeout" then return nil, why end
    end
    local late, n = self.late, 0
    repeat
        if late == "" and not self.codec:is_blocked() and n < #bytes then
            local part = bytes:sub(n + 1, n + PUSHED_BYTES)
            self.codec:write(part)
            n = n + #part
        end
        late = late .. self.codec:take_out()
        self.sock:settimeout(0)
        local last, err, part = self.sock:send(late)
        if not last and err ~= "timeout" then return nil, err end
        late = late:sub((last or part) + 1)
    until late ~= "" or self.codec:is_blocked() or n == #bytes
    self.late = late
    return n
end

--- Has a push left something that is still to be sent? A push of "" sends more of it.
function Wire:has_late()
    return self.codec ~= nil and (self.late ~= "" or self.codec:is_blocked())
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

local function take(self, n)
    local out = self.buf:sub(1, n)
    self.buf = self.buf:sub(n + 1)
    return out
end

local function give_up(self, wanted, why)
    error(("wanted %s but %s; had %d bytes: %q"):format(wanted, why, #self.buf,
        self.buf:sub(1, 400)), 3)
end

--- The next n bytes; fewer and why when the end, or too long a silence, comes before.
function Wire:recv_most(n)
    local pieces, why = { take(self, n) }, nil
    local got = #pieces[1]
    while got < n do
        local bytes
        bytes, why = take_piece(self, socket.gettime() + self.timeout)
        if not bytes then break end
        pieces[#pieces + 1] = bytes
        got = got + #bytes
    end
    if got > n then
        local last = pieces[#pieces]
        self.buf = last:sub(#last - (got - n) + 1)
        pieces[#pieces] = last:sub(1, #last - (got - n))
    end
    return table.concat(pieces), why
end

--- Read and forget n bytes; returns how many came (fewer: the end), and the end of the last piece.
function Wire:drain(n)
    local got, tail = math.min(#self.buf, n), self.buf:sub(1, n):sub(-16)
    self.buf = self.buf:sub(got + 1)
    while got < n do
        local bytes = take_piece(self, socket.gettime() + self.timeout)
        if not bytes then break end
        if got + #bytes > n then
            self.buf = bytes:sub(n - got + 1)
            bytes = bytes:sub(1, n - got)
        end
        got = got + #bytes
        tail = (tail .. bytes:sub(-16)):sub(-16)
    end
    return got, tail
end

--- Exactly n bytes.
function Wire:recv(n)
    local bytes, why = self:recv_most(n)
    if #bytes < n then
        self.buf = bytes
        give_up(self, n .. " bytes", why)
    end
    return bytes
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
        local bytes, why = take_piece(self, deadline)
        if not bytes then return table.concat(pieces), why end
        pieces[#pieces + 1] = bytes
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
    if self.codec then
        self.codec:finish()
        flush(self)
    end
    self.sock:shutdown("send")
end

function Wire:local_port()
    local _, port = self.sock:getsockname()
    return tonumber(port)
end

-- A socket that closes over bytes it has not read resets its connection, and what the kernel has
-- not sent by then is lost. A spec of HTTP/1.1 knows what it has not read; frames such as
-- WINDOW_UPDATE come unasked. So an upstream that a spec plays reads them until all that it sent has arrived.
local function linger(self)
    local fd, left = self.sock:getfd(), ffi.new("int[1]")
    local deadline = socket.gettime() + LINGER_S
    self.sock:shutdown("send")
    repeat
        local bytes, why = receive(self, socket.gettime() + 0.01)
        if not bytes and why ~= "timeout" then return end
        if posix.C.ioctl(fd, SIOCOUTQ, left) ~= 0 then return end
    until left[0] == 0 or socket.gettime() > deadline
end

function Wire:close()
    if self.codec and open[self] and not self.ended then
        self.codec:finish()
        local lingers = self.is_accepted and not self.in_a_hurry
        if not lingers then self.timeout = 0 end
        if flush(self) and lingers then linger(self) end
    end
    open[self] = nil
    self.sock:close()
end

--- Close with RST instead of FIN.
function Wire:reset()
    self.sock:setoption("linger", { on = true, timeout = 0 })
    open[self] = nil
    self.sock:close()
end

return M
