-- SPDX-License-Identifier: MIT
--
-- sockets: the plain, non-blocking sockets of the driver's own ends, outside of any fault.

local ffi = require("ffi")
local posix = require("spec.support.posix")

ffi.cdef [[
int getsockname(int fd, void *addr, unsigned *n);
int fcntl(int fd, int command, ...);
int getsockopt(int fd, int level, int name, void *value, unsigned *n);
int ioctl(int fd, unsigned long request, ...);
]]

local C = posix.C
local M = { C = C }

local STREAM_NONBLOCK = 1 + 2048 + 524288 -- SOCK_STREAM, NONBLOCK, CLOEXEC
local EAGAIN, EINPROGRESS = 11, 115
local BUF = 65536

local buf = ffi.new("char[?]", BUF)
local on = ffi.new("int[1]", 1)
local queued = ffi.new("int[1]")

-- Without Nagle's delay: what is sent arrives at once, in the kernel's time and in ours.
local function prompt(fd)
    assert(C.setsockopt(fd, 6, 1, on, 4) == 0)
    return fd
end
local reset_linger = ffi.new("int[2]", 1, 0)

local function port_of(fd)
    local sa, n = ffi.new("uint8_t[16]"), ffi.new("unsigned[1]", 16)
    assert(C.getsockname(fd, sa, n) == 0)
    return sa[2] * 256 + sa[3]
end

M.port_of = port_of

--- A listening socket on a free loopback port: fd, port.
function M.listen()
    local fd = C.socket(2, STREAM_NONBLOCK, 0)
    assert(fd >= 0 and C.bind(fd, posix.inet("127.0.0.1", 0), 16) == 0)
    assert(C.listen(prompt(fd), 128) == 0)
    return fd, port_of(fd)
end

--- A port nobody listens on, kept from others while the fd is open: fd, port.
function M.dead()
    local fd = C.socket(2, STREAM_NONBLOCK, 0)
    assert(fd >= 0 and C.bind(fd, posix.inet("127.0.0.1", 0), 16) == 0)
    return fd, port_of(fd)
end

function M.connect(port)
    local fd = C.socket(2, STREAM_NONBLOCK, 0)
    assert(fd >= 0)
    if C.connect(prompt(fd), posix.inet("127.0.0.1", port), 16) ~= 0 then
        assert(ffi.errno() == EINPROGRESS, "connect")
    end
    return fd
end

--- A connection, or nil.
function M.accept(fd)
    local got = C.accept4(fd, nil, nil, 2048 + 524288)
    return got >= 0 and got or nil
end

--- Bytes; or nil and "again", "closed", "reset".
function M.read(fd, most)
    local n = tonumber(C.recv(fd, buf, math.min(most or BUF, BUF), 0))
    if n > 0 then return ffi.string(buf, n) end
    if n == 0 then return nil, "closed" end
    return nil, ffi.errno() == EAGAIN and "again" or "reset"
end

--- How many bytes went; nil when the connection is gone.
function M.write(fd, bytes)
    local n = tonumber(C.send(fd, bytes, #bytes, 0x4000)) -- MSG_NOSIGNAL
    if n >= 0 then return n end
    return ffi.errno() == EAGAIN and 0 or nil
end

function M.finish(fd)
    C.shutdown(fd, 1)
end

function M.close(fd, how)
    if how == "reset" then C.setsockopt(fd, 1, 13, reset_linger, 8) end
    C.close(fd)
end

--- How many descriptors this process has open.
function M.fds()
    local n = 0
    for fd = 0, 511 do
        if C.fcntl(fd, 1) >= 0 then n = n + 1 end
    end
    return n
end

--- How many of them are sockets: a loop keeps pipes in store.
function M.count()
    local n, size = 0, ffi.new("unsigned[1]")
    for fd = 0, 511 do
        size[0] = 4
        if C.getsockopt(fd, 1, 3, queued, size) == 0 then n = n + 1 end -- SO_TYPE
    end
    return n
end

--- What they are, for a report.
function M.list_fds()
    local pipe = io.popen("ls -l /proc/" .. C.getpid() .. "/fd | grep -o '[0-9]* -> .*'")
    local text = pipe:read("*a")
    pipe:close()
    return text
end

--- Bytes on their way between the process's own sockets, whoever owns them.
function M.in_flight()
    local n = 0
    for fd = 3, 255 do
        if C.ioctl(fd, 0x5411, queued) == 0 then n = n + queued[0] end -- SIOCOUTQ
    end
    return n
end

--- Let the kernel, and the machine's other processor, get on.
function M.rest(ms)
    C.poll(nil, 0, ms)
end

return M
