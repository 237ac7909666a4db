-- SPDX-License-Identifier: MIT
--
-- slow: do thousands of slow clients make others wait?
--
--   luajit spec/bench/slow.lua [clients] [seconds]        (5000, 6)
--
-- Two proxies of one worker each: one gets a crowd that sends its heads a byte at a time, its bodies
-- a byte at a time, or reads its answers a KB at a time; the other stays alone. Fresh requests (a
-- new connection each, answered by the proxy itself) go to both in turn, so that other work on the
-- machine meets both. Each of the crowd does something every 5 seconds; what is read slowly comes
-- from an upstream (nginx, 1 MB). The first 5 seconds, in which the crowd's requests are begun, are
-- printed apart. Printed: fresh requests, failures, latencies with the crowd and without it, the ratio
-- of the 99th percentiles, and the worker's memory per slow client. Bounded: about a minute.
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
local BEGIN = 5 -- seconds for the crowd's requests to be taken up
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

local function summary(times, failed)
    table.sort(times)
    local function at(share) return times[math.max(1, math.floor(#times * share))] or 0 / 0 end
    return { n = #times, failed = failed, p50 = at(0.5), p99 = at(0.99), most = at(1) }
end

-- Fresh requests to both ports in turn; a summary of each.
local function measure(ports, seconds, crowd)
    local times, failed, to = { {}, {} }, { 0, 0 }, {}
    for i, port in ipairs(ports) do to[i] = posix.inet("127.0.0.1", port) end
    local until_s = posix.now() + seconds
    while posix.now() < until_s do
        for i = 1, 2 do
            local ms = fresh(to[i])
            if ms then times[i][#times[i] + 1] = ms else failed[i] = failed[i] + 1 end
        end
        stir(crowd)
        posix.sleep(0.0005)
    end
    return summary(times[1], failed[1]), summary(times[2], failed[2])
end

local function pss(pid)
    local rollup = assert(posix.read_file("/proc/" .. pid .. "/smaps_rollup"))
    return tonumber(rollup:match("Pss:%s+(%d+)"))
end

local function show(name, m, rest)
    print(("%-22s %6d fresh, %d failed   p50 %6.2f ms   p99 %7.2f ms   most %8.2f ms   %s"):format(
        name, m.n, m.failed, m.p50, m.p99, m.most, rest or ""))
end

local function try(mode, n, seconds, ports, worker)
    local before = pss(worker)
    local crowd = gather(ports[1], n, mode)
    show(mode.name .. ", begun", (measure(ports, BEGIN, crowd)))
    local with, alone = measure(ports, seconds, crowd)
    local each = (pss(worker) - before) * 1024 / n
    local ratio = with.p99 / alone.p99
    show(mode.name, with, ("%.2f x alone (goal %d: %s), %d of %d stay, %.0f bytes each"):format(ratio,
        GOAL, ratio <= GOAL and "met" or "missed", alive_in(crowd), n, each))
    show("  alone", alone)
    for k = 1, n do C.close(crowd[k]) end
    posix.sleep(1)
end

local function main()
    local n = math.min(tonumber(arg[1]) or 5000, raise_limit() - 200)
    local seconds = tonumber(arg[2]) or 6
    local port, nginx = start_origin()
    local rps, ports = {}, {}
    for i = 1, 2 do
        rps[i] = proc.rproxy { site = SITE, vars = { origin = port } }
        ports[i] = rps[i].port
    end
    local worker = posix.tree(rps[1].pid)[2]
    for _, mode in ipairs(MODES) do try(mode, n, seconds, ports, worker) end
    for i = 1, 2 do rps[i]:stop() end
    nginx:signal("TERM")
    nginx:wait(5)
end

local ok, err = pcall(main)
proc.cleanup()
if not ok then error(err, 0) end
