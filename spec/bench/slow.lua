-- SPDX-License-Identifier: MIT
--
-- slow: do thousands of slow clients make others wait?
--
--   luajit spec/bench/slow.lua [clients] [seconds]        (5000, 6)
--
-- One worker. Fresh requests (a new connection each, answered by the proxy itself, one after the
-- other) are timed alone, then beside a crowd that sends its heads a byte at a time, its bodies a
-- byte at a time, or reads its answers a KB at a time; then alone again. Each of the crowd does
-- something every 5 seconds; what is read slowly comes from an upstream (nginx, 1 MB). What is printed: fresh requests per run, failures, their latencies, the
-- 99th percentile against that of the runs alone, and the worker's memory per slow client.
-- Bounded: under a minute. Other work on the machine shows in the percentiles: compare within a run.
--
-- Environment: RP_BIN (build/rproxy).

package.path = "./?.lua;" .. package.path

local ffi = require("ffi")
local posix = require("spec.support.posix")
local proc = require("spec.support.proc")

local C = posix.C

ffi.cdef [[ int setrlimit(int resource, const unsigned long limit[2]);
    int getrlimit(int resource, unsigned long limit[2]); ]]

local NOFILE = 7
local EVERY = 5 -- seconds between two deeds of one slow client
local DONTWAIT_NOSIGNAL = 0x4040
local PER_ADDRESS = 5000
local GOAL = 2 -- times the 99th percentile alone

local SITE = [[
    return rp.site { workers = 1, listeners = { rp.listen { "127.0.0.1:${port}" } },
        limits = { body = 2^30 },
        upstreams = { o = rp.upstream { peers = { "127.0.0.1:${origin}" } } },
        hosts = { rp.host { default = true, routes = {
            rp.route { "/fresh", respond = { 200, "fresh" } },
            rp.route { "/large", upstream = "o" },
            rp.route { "/body", content = function(req)
                local body, err = req:body { max = 2^30 }
                return req:exit(200, body and "got it" or err)
            end } } } } }
]]

local ORIGIN = [[
daemon off; worker_processes 1; pid ${dir}/nginx.pid; error_log stderr crit;
events { worker_connections 20000; }
http { access_log off; keepalive_requests 1000000;
    client_body_temp_path ${dir}; proxy_temp_path ${dir}; fastcgi_temp_path ${dir};
    uwsgi_temp_path ${dir}; scgi_temp_path ${dir};
    server { listen 127.0.0.1:${port} backlog=8192; root ${dir}; } }
]]

local MODES = {
    { name = "slow heads", first = "GET /fresh HTTP/1.1\r\nHost: slow.example\r\nX: ", drop = "x" },
    { name = "slow bodies", first = "POST /body HTTP/1.1\r\nHost: slow.example\r\n"
        .. "Content-Length: 1000000\r\n\r\n", drop = "x" },
    { name = "slow reading", first = "GET /large HTTP/1.1\r\nHost: slow.example\r\n\r\n" },
}

local function raise_limit()
    local limit = ffi.new("unsigned long[2]")
    C.getrlimit(NOFILE, limit)
    limit[0] = limit[1]
    C.setrlimit(NOFILE, limit)
    return tonumber(limit[0])
end

local buf = ffi.new("char[4096]")
local small = ffi.new("int[1]", 4096)

-- ---------------------------------------------------------------- the crowd

local function gather(port, n, mode)
    local crowd, to = { n = n, next = 1, mode = mode }, posix.inet("127.0.0.1", port)
    for i = 1, n do
        local fd = C.socket(2, 1, 0)
        assert(fd >= 0, "out of descriptors")
        local from = ("127.0.0.%d"):format(2 + math.floor(i / PER_ADDRESS))
        assert(C.bind(fd, posix.inet(from, 0), 16) == 0)
        if not mode.drop then C.setsockopt(fd, 1, 8, small, 4) end -- SO_RCVBUF
        assert(C.connect(fd, to, 16) == 0)
        assert(C.send(fd, mode.first, #mode.first, DONTWAIT_NOSIGNAL) == #mode.first)
        crowd[i] = fd
    end
    crowd.since = posix.now()
    crowd.done = 0
    return crowd
end

-- As many of the crowd as are due do their next deed.
local function stir(crowd)
    local due = math.floor((posix.now() - crowd.since) * crowd.n / EVERY)
    local drop = crowd.mode.drop
    while crowd.done < due do
        local fd = crowd[crowd.next]
        if drop then C.send(fd, drop, #drop, DONTWAIT_NOSIGNAL)
        else C.recv(fd, buf, 1024, DONTWAIT_NOSIGNAL) end
        crowd.next = crowd.next % crowd.n + 1
        crowd.done = crowd.done + 1
    end
end

local function alive_in(crowd)
    local n = 0
    for i = 1, crowd.n do
        local got = C.recv(crowd[i], buf, 1, 0x42) -- PEEK, DONTWAIT
        if got > 0 and crowd.mode.drop == nil or got < 0 and ffi.errno() == posix.EAGAIN then
            n = n + 1
        end
    end
    return n
end

local function start_origin()
    local dir, port = proc.temp_dir(), posix.free_port()
    os.execute("chmod 755 " .. dir)
    posix.write_file(dir .. "/large", ("x"):rep(2 ^ 20))
    posix.write_file(dir .. "/nginx.conf", (ORIGIN:gsub("%${(%w+)}", { dir = dir, port = port })))
    local nginx = proc.spawn({ "nginx", "-c", dir .. "/nginx.conf" }, { dir = dir })
    assert(posix.poll(function() return posix.is_listening(port) end), "nginx does not start")
    return port, nginx
end

-- ---------------------------------------------------------------- fresh requests

local GET = "GET /fresh HTTP/1.1\r\nHost: bench.example\r\nConnection: close\r\n\r\n"

-- Milliseconds from the connect to the answer; nil when none came.
local function fresh(to)
    local started = posix.now()
    local fd = C.socket(2, 1, 0)
    local ok = C.connect(fd, to, 16) == 0 and C.send(fd, GET, #GET, 0x4000) == #GET
    local n = ok and C.recv(fd, buf, 4096, 0) or -1
    local ms = (posix.now() - started) * 1000
    C.close(fd)
    return n > 12 and ffi.string(buf, 12) == "HTTP/1.1 200" and ms or nil
end

local function measure(port, seconds, crowd)
    local times, failed, to = {}, 0, posix.inet("127.0.0.1", port)
    local until_s = posix.now() + seconds
    while posix.now() < until_s do
        local ms = fresh(to)
        if ms then times[#times + 1] = ms else failed = failed + 1 end
        if crowd then stir(crowd) end
        posix.sleep(0.0005)
    end
    table.sort(times)
    local function at(share) return times[math.max(1, math.floor(#times * share))] or 0 / 0 end
    return { n = #times, failed = failed, p50 = at(0.5), p99 = at(0.99), most = at(1) }
end

local function pss(pid)
    local rollup = assert(posix.read_file("/proc/" .. pid .. "/smaps_rollup"))
    return tonumber(rollup:match("Pss:%s+(%d+)"))
end

local function show(name, m, rest)
    print(("%-14s %6d fresh, %d failed   p50 %6.2f ms   p99 %6.2f ms   most %7.2f ms   %s"):format(
        name, m.n, m.failed, m.p50, m.p99, m.most, rest or ""))
end

local function main()
    local n = math.min(tonumber(arg[1]) or 5000, raise_limit() - 200)
    local seconds = tonumber(arg[2]) or 6
    local port, nginx = start_origin()
    local rp = proc.rproxy { site = SITE, vars = { origin = port } }
    local worker = posix.tree(rp.pid)[2]
    measure(rp.port, 1)
    local alone = measure(rp.port, seconds)
    show("alone", alone)
    local results = {}
    for i, mode in ipairs(MODES) do
        local before = pss(worker)
        local crowd = gather(rp.port, n, mode)
        local m = measure(rp.port, seconds, crowd)
        m.each = (pss(worker) - before) * 1024 / n
        m.alive = alive_in(crowd)
        for k = 1, n do C.close(crowd[k]) end
        results[i] = m
        measure(rp.port, 1)
    end
    local again = measure(rp.port, seconds)
    local base = math.max(alone.p99, again.p99)
    for i, mode in ipairs(MODES) do
        local m = results[i]
        show(mode.name, m, ("%.2f x alone (goal %d), %d of %d stay, %.0f bytes each"):format(
            m.p99 / base, GOAL, m.alive, n, m.each))
    end
    show("alone again", again)
    rp:stop()
    nginx:signal("TERM")
    nginx:wait(5)
end

local ok, err = pcall(main)
proc.cleanup()
if not ok then error(err, 0) end
