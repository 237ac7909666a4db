-- SPDX-License-Identifier: MIT
--
-- idle: what an idle client connection costs the worker that holds it.
--
--   luajit spec/bench/idle.lua [connections]        (18000)
--
-- One worker; each connection makes one request through the proxy to an origin, gets its answer and
-- is kept. Memory is the worker's proportional set size (PSS) before, with all connections idle,
-- after they were closed, and with the same number again; what the kernel keeps for sockets is not
-- in it. The number of descriptors that a process may open is the limit. Bounded: about 20 s.
--
-- Environment: RP_BIN (build/rproxy).

package.path = "./?.lua;" .. package.path

local ffi = require("ffi")
local origin = require("spec.support.origin")
local posix = require("spec.support.posix")
local proc = require("spec.support.proc")

local C = posix.C

ffi.cdef [[ int setrlimit(int resource, const unsigned long limit[2]);
    int getrlimit(int resource, unsigned long limit[2]); ]]

local NOFILE, RESERVE = 7, 100
local WARM = 500 -- connections that come and go before anything is measured
local PER_ADDRESS = 5000 -- a source address has about 28,000 ports
local GOAL = 0.6 * 1024
local REQUEST = "GET / HTTP/1.1\r\nHost: bench.example\r\nUser-Agent: idle\r\nAccept: */*\r\n\r\n"

local SITE = [[
    return rp.site { workers = 1, listeners = { rp.listen { "127.0.0.1:${port}" } },
        timeouts = { keepalive = "1h" },
        upstreams = { o = rp.upstream { peers = { "127.0.0.1:${origin}" } } },
        hosts = { rp.host { default = true, routes = { rp.route { "/*", upstream = "o" } } } } }
]]

local function raise_limit()
    local limit = ffi.new("unsigned long[2]")
    C.getrlimit(NOFILE, limit)
    limit[0] = limit[1]
    C.setrlimit(NOFILE, limit)
    return tonumber(limit[0])
end

local buf = ffi.new("char[4096]")

-- Connect, ask once, take the answer; the descriptor stays open.
local function visit(port, i)
    local from = ("127.0.0.%d"):format(2 + math.floor(i / PER_ADDRESS))
    local fd = C.socket(2, 1, 0)
    assert(fd >= 0, "out of descriptors")
    assert(C.bind(fd, posix.inet(from, 0), 16) == 0)
    assert(C.connect(fd, posix.inet("127.0.0.1", port), 16) == 0)
    assert(C.send(fd, REQUEST, #REQUEST, 0x4000) == #REQUEST)
    local n = C.recv(fd, buf, 4096, 0)
    assert(n > 0 and ffi.string(buf, 12) == "HTTP/1.1 200", "no answer")
    return fd
end

local function visit_all(port, n)
    local fds = {}
    for i = 1, n do fds[i] = visit(port, i) end
    return fds
end

local function close_all(fds)
    for _, fd in ipairs(fds) do C.close(fd) end
end

local function fds_of(pid)
    local pipe = io.popen("ls /proc/" .. pid .. "/fd | wc -l")
    local n = tonumber(pipe:read("*l"))
    pipe:close()
    return n
end

local function memory(pid)
    local rollup = assert(posix.read_file("/proc/" .. pid .. "/smaps_rollup"))
    return tonumber(rollup:match("Pss:%s+(%d+)")), tonumber(rollup:match("Rss:%s+(%d+)"))
end

local function settled(pid, most_fds)
    posix.poll(function() return fds_of(pid) <= most_fds end, 10)
    posix.sleep(1.2) -- a heartbeat, and what is given back after it
    return memory(pid)
end

local function main()
    local n = math.min(tonumber(arg[1]) or 18000, raise_limit() - RESERVE)
    local o = origin.start { ["*"] = { status = 200, body = "ok" } }
    local rp = proc.rproxy { site = SITE, vars = { origin = o.port } }
    local worker = posix.tree(rp.pid)[2]
    close_all(visit_all(rp.port, WARM))
    local pss0, rss0 = settled(worker, 100)
    print(("%-34s %8d kB PSS %8d kB RSS"):format("before", pss0, rss0))
    for _, round in ipairs { "first", "second" } do
        local fds = visit_all(rp.port, n)
        local pss, rss = settled(worker, math.huge)
        local each = (pss - pss0) * 1024 / n
        print(("%-34s %8d kB PSS %8d kB RSS   %6.0f bytes each (goal %d: %s)"):format(
            ("%d idle, %s time"):format(n, round), pss, rss, each, GOAL,
            each <= GOAL and "met" or "missed"))
        close_all(fds)
        pss, rss = settled(worker, 100)
        print(("%-34s %8d kB PSS %8d kB RSS"):format("after they closed", pss, rss))
    end
    rp:stop()
end

local ok, err = pcall(main)
origin.cleanup()
proc.cleanup()
if not ok then error(err, 0) end
