-- SPDX-License-Identifier: MIT
--
-- posix: the few system calls that specs need: processes, signals, clocks, files, sockets.
--
--   local posix = require("spec.support.posix")
--   local pid = posix.spawn({ "sleep", "5" }, { stderr = "/tmp/err" })
--   posix.kill(pid, "TERM")
--   local how = posix.wait(pid, 2)         -- { signal = 15 }, { exit = 0 }, or nil while it runs
--
-- Linux on x86-64 and arm64. Functions raise on errors that no spec expects.

-- Never compiled: what it does is system calls, and their errno must be theirs.
require("jit").off(true, true)

local ffi = require("ffi")
local bit = require("bit")

ffi.cdef [[
typedef struct { long sec, nsec; } rpspec_timespec;
typedef struct { int fd; short events, revents; } rpspec_pollfd;
int fork(void); int execvp(const char *file, char *const argv[]); void _exit(int status);
int waitpid(int pid, int *status, int options); int kill(int pid, int sig); int getpid(void);
int getppid(void); int setpgid(int pid, int pgid);
int prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d);
int open(const char *path, int flags, ...); int close(int fd); int dup2(int from, int to);
int chdir(const char *path); int setenv(const char *name, const char *value, int overwrite);
int unsetenv(const char *name);
int clock_gettime(int id, rpspec_timespec *now);
int nanosleep(const rpspec_timespec *span, rpspec_timespec *left);
char *mkdtemp(char *template); int mkdir(const char *path, unsigned mode);
int unlink(const char *path); int rmdir(const char *path); int access(const char *path, int mode);
int rename(const char *from, const char *to); char *strerror(int e);
int socket(int domain, int type, int protocol); int listen(int fd, int backlog);
int bind(int fd, const void *addr, unsigned n); int connect(int fd, const void *addr, unsigned n);
int accept4(int fd, void *addr, unsigned *n, int flags);
int setsockopt(int fd, int level, int name, const void *value, unsigned n);
long recv(int fd, void *buf, size_t n, int flags);
long send(int fd, const void *buf, size_t n, int flags);
int shutdown(int fd, int how); int ioctl(int fd, unsigned long request, ...);
int poll(rpspec_pollfd *fds, unsigned long n, int timeout_ms);
]]

local C = ffi.C

local M = { C = C }

local SIGNALS = { HUP = 1, INT = 2, QUIT = 3, ABRT = 6, KILL = 9, USR1 = 10, SEGV = 11, USR2 = 12,
    PIPE = 13, TERM = 15, CHLD = 17, CONT = 18, STOP = 19, WINCH = 28 }
local WNOHANG = 1
local PR_SET_PDEATHSIG = 1
local O_WRONLY_CREAT_APPEND = bit.bor(1, 64, 1024)
local CLOCK_MONOTONIC = 1
local EADDRINUSE = 98
local SOCK_STREAM_CLOEXEC = bit.bor(1, 0x80000)

M.EAGAIN, M.EINTR, M.EINPROGRESS, M.ECONNRESET, M.EPIPE = 11, 4, 115, 104, 32

function M.fail(what, level)
    error(what .. ": " .. ffi.string(C.strerror(ffi.errno())), (level or 1) + 1)
end

local clock = ffi.new("rpspec_timespec")

--- Monotonic seconds with a fraction.
function M.now()
    C.clock_gettime(CLOCK_MONOTONIC, clock)
    return tonumber(clock.sec) + tonumber(clock.nsec) / 1e9
end

function M.sleep(seconds)
    local whole = math.floor(seconds)
    C.nanosleep(ffi.new("rpspec_timespec", whole, (seconds - whole) * 1e9), nil)
end

--- Call `check` until it returns a true value, and return that; nil after `seconds` (45: a deadline
--- only ever passes when something is broken, so it may be long).
function M.poll(check, seconds)
    local deadline = M.now() + (seconds or 45)
    local nap = 0.001
    while true do
        local value = check()
        if value then return value end
        if M.now() > deadline then return nil end
        M.sleep(nap)
        nap = math.min(nap * 1.5, 0.02)
    end
end

function M.exists(path)
    return C.access(path, 0) == 0
end

function M.read_file(path)
    local f = io.open(path, "rb")
    if not f then return nil end
    local text = f:read("*a")
    f:close()
    return text
end

function M.write_file(path, text)
    local f = assert(io.open(path, "wb"))
    f:write(text)
    f:close()
end

--- Write so that a reader sees the whole file or none.
function M.write_file_whole(path, text)
    M.write_file(path .. ".tmp", text)
    if C.rename(path .. ".tmp", path) ~= 0 then M.fail("rename " .. path) end
end

--- A new folder of our own.
function M.temp_dir()
    local template = (os.getenv("TMPDIR") or "/tmp") .. "/rproxy-spec-XXXXXX"
    local path = ffi.new("char[?]", #template + 1, template)
    if C.mkdtemp(path) == nil then M.fail("mkdtemp") end
    return ffi.string(path)
end

--- Remove a folder made by temp_dir and all in it.
function M.remove_dir(path)
    assert(path:find("/rproxy%-spec%-%w+$"), "not a folder of ours: " .. path)
    os.execute("rm -rf '" .. path .. "'")
end

-- In the child: nothing here may return to Lua code of the spec.
local function exec_child(argv, opt)
    C.prctl(PR_SET_PDEATHSIG, 9, 0, 0, 0) -- never outlive the spec process
    for _, stream in ipairs { { "stdin", 0 }, { "stdout", 1 }, { "stderr", 2 } } do
        local path = opt[stream[1]] or (stream[2] == 0 and "/dev/null")
        if path then
            local flags = stream[2] == 0 and 0 or O_WRONLY_CREAT_APPEND
            local fd = C.open(path, flags, ffi.cast("int", 420)) -- 0644
            if fd < 0 then C._exit(126) end
            C.dup2(fd, stream[2])
            C.close(fd)
        end
    end
    for fd = 3, 255 do
        C.close(fd)
    end
    for name, value in pairs(opt.env or {}) do
        if value then C.setenv(name, value, 1) else C.unsetenv(name) end
    end
    if opt.cwd and C.chdir(opt.cwd) ~= 0 then C._exit(126) end
    local args = ffi.new("const char *[?]", #argv + 1)
    for i, arg in ipairs(argv) do
        args[i - 1] = arg
    end
    C.execvp(argv[1], ffi.cast("char *const *", args))
    C._exit(127)
end

--- Start a program; returns its pid. It is killed when this process dies.
--- opt: stdin, stdout, stderr (paths), env (name -> value, false removes), cwd.
function M.spawn(argv, opt)
    io.stdout:flush()
    io.stderr:flush()
    local pid = C.fork()
    if pid < 0 then M.fail("fork") end
    if pid == 0 then
        pcall(exec_child, argv, opt or {})
        C._exit(127)
    end
    return pid
end

function M.kill(pid, signal)
    local number = assert(SIGNALS[signal] or tonumber(signal), "unknown signal")
    return C.kill(pid, number) == 0
end

--- Does it run? One that has ended and was not waited for does not.
function M.alive(pid)
    if C.kill(pid, 0) ~= 0 then return false end
    local stat = M.read_file("/proc/" .. pid .. "/stat")
    return stat ~= nil and not stat:find("^%d+ %b() Z")
end

local status = ffi.new("int[1]")

--- How a child ended: { exit = n } or { signal = n }; nil when it still runs after `seconds` (0).
function M.wait(pid, seconds)
    return M.poll(function()
        local got = C.waitpid(pid, status, WNOHANG)
        if got == 0 then return nil end
        if got < 0 then return { exit = -1, gone = true } end
        local word = status[0]
        local signal = bit.band(word, 0x7f)
        if signal ~= 0 then return { signal = signal } end
        return { exit = bit.band(bit.rshift(word, 8), 0xff) }
    end, seconds or 0)
end

--- A process and all below it, children after their parents.
function M.tree(pid)
    local pids = { pid }
    local i = 1
    while pids[i] do
        local pipe = io.popen("cat /proc/" .. pids[i] .. "/task/*/children 2>/dev/null")
        for child in pipe:read("*a"):gmatch("%d+") do
            pids[#pids + 1] = tonumber(child)
        end
        pipe:close()
        i = i + 1
    end
    return pids
end

--- Proportional memory of a process tree in kB, and its number of open descriptors.
function M.tree_cost(pid)
    local kb, fds = 0, 0
    for _, p in ipairs(M.tree(pid)) do
        local rollup = M.read_file("/proc/" .. p .. "/smaps_rollup") or ""
        kb = kb + tonumber(rollup:match("Pss:%s+(%d+)") or 0)
        local pipe = io.popen("ls /proc/" .. p .. "/fd 2>/dev/null | wc -l")
        fds = fds + tonumber(pipe:read("*l"))
        pipe:close()
    end
    return kb, fds
end

local PORT_FIRST, PORT_RANGES, PORT_RANGE_N = 10000, 220, 100 -- below the ephemeral ports
local ports_base, ports_next, ports_tried

-- Spec processes run side by side: each holds a range of its own. What marks it as taken is a name
-- in the abstract unix namespace: as wide as the ports are, and gone with the process.
local function claim_range()
    for i = 0, PORT_RANGES - 1 do
        local range = (C.getpid() + i) % PORT_RANGES
        local name = "rproxy-spec-ports-" .. range
        local addr = ffi.new("uint8_t[?]", 3 + #name)
        ffi.cast("uint16_t *", addr)[0] = 1 -- AF_UNIX; a name after a zero byte is abstract
        ffi.copy(addr + 3, name, #name)
        local fd = C.socket(1, SOCK_STREAM_CLOEXEC, 0)
        if C.bind(fd, addr, 3 + #name) == 0 then return PORT_FIRST + range * PORT_RANGE_N end
        C.close(fd)
    end
    error("every range of ports is taken")
end

-- Is anything bound to the port (listening, or with SO_REUSEPORT)?
local function port_is_free(port)
    local fd = C.socket(2, SOCK_STREAM_CLOEXEC, 0)
    local errno = fd < 0 and ffi.errno() or 0
    if fd >= 0 then
        if C.bind(fd, M.inet("127.0.0.1", port), 16) ~= 0 then errno = ffi.errno() end
        C.close(fd)
    end
    if errno ~= 0 and errno ~= EADDRINUSE then
        error(("cannot try port %d: errno %d"):format(port, errno))
    end
    return errno == 0
end

--- A port that is free now and that no other spec process will take. Where the ports of a range are
--- all held by connections of an earlier process that linger (TIME_WAIT), the next range serves.
function M.free_port()
    while true do
        if not ports_base or ports_tried == PORT_RANGE_N then
            ports_base = claim_range()
            ports_next, ports_tried = 0, 0
        end
        local port = ports_base + ports_next % PORT_RANGE_N
        ports_next = ports_next + 1
        if port_is_free(port) then
            ports_tried = 0
            return port
        end
        ports_tried = ports_tried + 1
    end
end

-- /proc/net/tcp walks the kernel's whole table of connections, which takes long where memory is large
-- or connections are many; sock_diag(7) walks those that listen. The request is a netlink header and
-- struct inet_diag_req_v2.
ffi.cdef [[
typedef struct { uint32_t len; uint16_t type, flags; uint32_t seq, pid;
    uint8_t family, protocol, ext, pad; uint32_t states; uint8_t sport[2], dport[2];
    uint32_t src[4], dst[4], iface, cookie[2]; } rpspec_diag_request;
typedef struct { uint32_t len; uint16_t type, flags; uint32_t seq, pid; } rpspec_diag_answer;
]]
local AF_NETLINK, SOCK_DGRAM_CLOEXEC, SOCK_DIAG = 16, bit.bor(2, 0x80000), 4
local DIAG_BY_FAMILY, NLM_REQUEST_DUMP, NLMSG_DONE = 20, 0x301, 3
local LISTENING = bit.lshift(1, 10) -- TCP_LISTEN
local diag_fd, diag_answer

-- Is there a socket that listens on the port, in this family? Nil when the kernel does not say.
local function diag_listening(family, port)
    local req = ffi.new("rpspec_diag_request", { len = 72, type = DIAG_BY_FAMILY,
        flags = NLM_REQUEST_DUMP, family = family, protocol = 6, states = LISTENING,
        sport = { bit.rshift(port, 8), bit.band(port, 255) } })
    if C.send(diag_fd, req, 72, 0) ~= 72 then return nil end
    local found = false
    while true do
        local n = tonumber(C.recv(diag_fd, diag_answer, 32768, 0))
        if n < 20 then return nil end
        local at = 0
        while at + 16 <= n do
            local head = ffi.cast("rpspec_diag_answer *", diag_answer + at)
            if head.type == NLMSG_DONE then return found end
            if head.type ~= DIAG_BY_FAMILY then return nil end
            found, at = true, at + bit.band(head.len + 3, bit.bnot(3))
        end
    end
end

local function proc_listening(port)
    local mark = (":%04X %%x+:0000 0A"):format(port)
    for _, path in ipairs { "/proc/net/tcp", "/proc/net/tcp6" } do
        if (M.read_file(path) or ""):find(mark) then return true end
    end
    return false
end

--- Does some process listen on the port? Looks without connecting.
function M.is_listening(port)
    if not diag_fd then
        diag_fd = C.socket(AF_NETLINK, SOCK_DGRAM_CLOEXEC, SOCK_DIAG)
        diag_answer = ffi.new("uint8_t[32768]")
    end
    for _, family in ipairs { 2, 10 } do -- AF_INET, AF_INET6
        local found = diag_fd >= 0 and diag_listening(family, port)
        if found then return true end
        if found == nil then -- a kernel without it: do not ask again
            C.close(diag_fd)
            diag_fd = -1
        end
    end
    return diag_fd < 0 and proc_listening(port)
end

--- struct sockaddr_in (16 bytes) of an IPv4 address.
function M.inet(host, port)
    local a, b, c, d = host:match("^(%d+)%.(%d+)%.(%d+)%.(%d+)$")
    local addr = ffi.new("uint8_t[16]")
    ffi.cast("uint16_t *", addr)[0] = 2
    addr[2], addr[3] = bit.rshift(port, 8), bit.band(port, 255)
    addr[4], addr[5], addr[6], addr[7] = tonumber(a), tonumber(b), tonumber(c), tonumber(d)
    return addr
end

return M
