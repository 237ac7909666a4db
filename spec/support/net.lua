-- SPDX-License-Identifier: MIT
--
-- net: a loop, sockets and anchored callbacks for the specs of runtime/net.
--
--   local net = require("spec.support.net")
--   local env = net.open()                       -- { loop, mem }, closed by env:close()
--   local fn = env:callback("rp_conn_fn", function(c, events) ... end)
--   env:until_true(function() return done end)   -- turns the loop; raises after 45 s

local ffi = require("ffi")
local c = require("spec.support.c")
local posix = require("spec.support.posix")

-- A callback that is entered from a compiled call is fatal, and the loop calls back all the time.
jit.off()

local C = c.load {
    "base/chain.h", "base/log.h", "net/loop.h", "net/timer.h", "net/addr.h", "net/conn.h",
    "net/listener.h", "net/work.h", "net/dns.h", "net/wheel.h",
}

ffi.cdef [[
int socketpair(int domain, int type, int protocol, int fds[2]);
int getsockopt(int fd, int level, int name, void *value, unsigned *n);
int getsockname(int fd, void *addr, unsigned *n);
int getpeername(int fd, void *addr, unsigned *n);
int fcntl(int fd, int command, ...);
int setrlimit(int resource, const unsigned long limit[2]);
int getrlimit(int resource, unsigned long limit[2]);
long recvfrom(int fd, void *buf, size_t n, int flags, void *addr, unsigned *addr_n);
long sendto(int fd, const void *buf, size_t n, int flags, const void *addr, unsigned addr_n);
unsigned umask(unsigned mask);
]]

local M = { C = C, ffi = ffi, c = c, posix = posix, sys = posix.C }

local sys = posix.C

M.AF_UNIX, M.AF_INET, M.STREAM, M.DGRAM, M.NONBLOCK = 1, 2, 1, 2, 2048
M.SOL_SOCKET, M.SO_ERROR, M.SO_SNDBUF, M.SO_RCVBUF, M.SO_LINGER = 1, 4, 7, 8, 13
M.READABLE, M.WRITABLE = 1, 2

local Env = {}
Env.__index = Env

--- A fresh loop with its memory.
function M.open()
    local mem = C.rp_mem_new()
    local loop = C.rp_loop_new(mem)
    assert(loop ~= nil)
    local env = { mem = mem, loop = loop, callbacks = {}, fds = {}, conns = {}, kept = {} }
    return setmetatable(env, Env)
end

--- A C function pointer that lives until close.
function Env:callback(ctype, fn)
    local cb = ffi.cast(ctype, fn)
    self.callbacks[#self.callbacks + 1] = cb
    return cb
end

--- Turn the loop until check() is true; raises after `seconds` (45).
function Env:until_true(check, seconds, what)
    local deadline = posix.now() + (seconds or 45)
    while not check() do
        if posix.now() > deadline then error("never true: " .. (what or "condition"), 2) end
        C.rp_loop_turn(self.loop, 5)
    end
end

--- Turn the loop for a while.
function Env:spin(seconds)
    local deadline = posix.now() + seconds
    repeat C.rp_loop_turn(self.loop, 5) until posix.now() >= deadline
end

--- Keep something alive until close.
function Env:anchor(thing)
    self.kept[#self.kept + 1] = thing
    return thing
end

--- Close this fd at the end.
function Env:own(fd)
    self.fds[#self.fds + 1] = fd
    return fd
end

function Env:close()
    local loop = ffi.new("struct rp_loop *[1]", self.loop)
    local mem = ffi.new("struct rp_mem *[1]", self.mem)
    C.rp_loop_free(loop)
    assert(loop[0] == nil)
    for _, conn in ipairs(self.conns) do
        C.rp_chain_clear(conn.chain)
    end
    for _, fd in ipairs(self.fds) do
        sys.close(fd)
    end
    C.rp_mem_free(mem)
    for _, cb in ipairs(self.callbacks) do
        cb:free()
    end
end

--- The two ends of a unix stream pair, non-blocking.
function M.socketpair()
    local fds = ffi.new("int[2]")
    local made = sys.socketpair(M.AF_UNIX, M.STREAM + M.NONBLOCK, 0, fds) == 0
    if not made then posix.fail("socketpair") end
    return fds[0], fds[1]
end

local function port_of(fd)
    local sa, n = ffi.new("uint8_t[16]"), ffi.new("unsigned[1]", 16)
    assert(sys.getsockname(fd, sa, n) == 0)
    return sa[2] * 256 + sa[3]
end
M.port_of = port_of

--- A TCP socket that listens on a free loopback port: fd, port.
function M.tcp_listen(backlog)
    local fd = sys.socket(M.AF_INET, M.STREAM, 0)
    assert(sys.bind(fd, posix.inet("127.0.0.1", 0), 16) == 0)
    assert(sys.listen(fd, backlog or 16) == 0)
    return fd, port_of(fd)
end

--- Two connected TCP sockets, the first one non-blocking.
function M.tcp_pair()
    local ln, port = M.tcp_listen()
    local b = sys.socket(M.AF_INET, M.STREAM, 0)
    assert(sys.connect(b, posix.inet("127.0.0.1", port), 16) == 0)
    local a = sys.accept4(ln, nil, nil, M.NONBLOCK)
    assert(a >= 0)
    sys.close(ln)
    return a, b
end

--- Is the descriptor open in this process?
function M.fd_is_open(fd)
    return sys.fcntl(fd, 1) >= 0 -- F_GETFD
end

--- What a plain socket has to read: bytes, "" at the end of stream, or nil and errno.
function M.read(fd, n)
    local buf = ffi.new("char[?]", n or 65536)
    local got = tonumber(sys.recv(fd, buf, n or 65536, 64)) -- MSG_DONTWAIT
    if got < 0 then return nil, ffi.errno() end
    return ffi.string(buf, got)
end

--- The same, waiting until something comes (45 s at most): what TCP carries, loopback or not, comes
--- when the system finds the time.
function M.read_next(fd, n)
    local pfd = ffi.new("rpspec_pollfd[1]")
    pfd[0].fd, pfd[0].events = fd, 1
    sys.poll(pfd, 1, 60000)
    return M.read(fd, n)
end

function M.write(fd, s)
    return tonumber(sys.send(fd, s, #s, 0x4000)) -- MSG_NOSIGNAL
end

--- Make the next close send RST.
function M.reset_on_close(fd)
    local linger = ffi.new("int[2]", 1, 0)
    assert(sys.setsockopt(fd, M.SOL_SOCKET, M.SO_LINGER, linger, 8) == 0)
end

--- A parsed address.
function M.addr(text)
    local a = ffi.new("struct rp_addr")
    local e = C.rp_addr_parse(c.str(text), a)
    assert(e == 0, text)
    return a
end

--- "ip:port" of an address.
function M.text(a)
    local out = ffi.new("char[128]")
    local n = C.rp_addr_put(a, out)
    return ffi.string(out, n)
end

-- ---- conns ------------------------------------------------------------------------------------

local Conn = {}
Conn.__index = Conn

--- Wrap a rp_conn: its events are noted in `log` ("R", "W", "RW") and counted.
function Env:wrap(raw)
    local conn = setmetatable({ raw = raw, env = self, log = {}, readable = 0, writable = 0 }, Conn)
    conn.face = C.rp_conn_face(raw)
    conn.face.on_event = self:callback("rp_conn_fn", function(_, events)
        events = tonumber(events)
        local word = ""
        if events % 2 == 1 then
            conn.readable = conn.readable + 1
            word = "R"
        end
        if events >= 2 then
            conn.writable = conn.writable + 1
            word = word .. "W"
        end
        conn.log[#conn.log + 1] = word
        if conn.on_event then conn:on_event(events) end
    end)
    conn.chain = ffi.new("struct rp_chain")
    C.rp_chain_init(conn.chain, self.mem)
    self.conns[#self.conns + 1] = conn
    return conn
end

--- Adopt a connected socket.
function Env:adopt(fd, peer, near)
    local out = ffi.new("struct rp_conn *[1]")
    local e = C.rp_conn_adopt(self.loop, fd, peer, near, out)
    assert(e == 0, "adopt: " .. c.err_name(e))
    return self:wrap(out[0])
end

--- Start connecting; a conn, or nil and the failure.
function Env:connect(text)
    local out, fail = ffi.new("struct rp_conn *[1]"), ffi.new("struct rp_conn_fail")
    local e = C.rp_conn_connect(self.loop, M.addr(text), out, fail)
    if e ~= 0 then return nil, c.err_name(e), fail end
    return self:wrap(out[0])
end

--- One recv: error name and bytes.
function Conn:recv(n)
    local buf, got = ffi.new("char[?]", n or 65536), ffi.new("size_t[1]", 777)
    local e = C.rp_conn_recv(self.raw, buf, n or 65536, got)
    return c.err_name(e), ffi.string(buf, got[0])
end

--- Queue a copy of the bytes (nil: none) and send: the error's name.
function Conn:send(s)
    if s then C.rp_chain_add_copy(self.chain, c.str(s)) end
    return c.err_name(C.rp_conn_send(self.raw, self.chain))
end

--- The same for the last bytes.
function Conn:send_last(s)
    if s then C.rp_chain_add_copy(self.chain, c.str(s)) end
    return c.err_name(C.rp_conn_send_last(self.raw, self.chain))
end

--- TCP segments that have come to a socket, acknowledgements too (tcpi_segs_in).
function M.segments_in(fd)
    local info, n = ffi.new("uint32_t[64]"), ffi.new("unsigned[1]", 256)
    assert(sys.getsockopt(fd, 6, 11, info, n) == 0 and n[0] >= 144, "TCP_INFO")
    return info[35]
end

function Conn:close()
    C.rp_conn_close(self.raw)
    C.rp_chain_clear(self.chain)
end

--- The ops of an upstream connection or stream (http/up.h): net.up.flush(u).
M.up = setmetatable({}, { __index = function(_, name)
    return function(u, ...) return u.ops[name](u, ...) end
end })

return M
