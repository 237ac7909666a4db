-- SPDX-License-Identifier: MIT
--
-- slow: do thousands of slow clients make others wait?
--
--   luajit spec/bench/slow.lua [clients] [per second] [seconds]        (5000, 1000, 6)
--
-- Three proxies of one worker each: rproxy and nginx, which get a crowd in turn, and a second
-- rproxy, which stays alone. Behind them two nginx: one has the large answers, the other the small
-- ones, so that what the first suffers under its load is not taken for the proxy's. The crowd, a
-- process of its own, comes at so many clients a second and sends its heads a byte at a time, its
-- bodies a byte at a time, or reads its answers (1 MB) a KB at a time; each of it does something
-- every 5 seconds. From its first client on, fresh requests (a new connection each, for an answer of
-- the proxy's own and for a small one of an upstream's) begin at fixed times, however long others
-- take; those to the proxy that is alone tell what the machine makes everybody wait.
--
-- Printed, for the time in which the crowd comes and for `seconds` after it: fresh requests,
-- failures, latencies with the crowd and without it, the ratio of the 99th percentiles, and the
-- worker's memory per slow client.
--
-- The workers have core 0, everything else core 1. Workers and whoever asks are of the real-time
-- class (the one that is alone goes first), so that the crowd, which no proxy has on its own machine,
-- and the kernel's own threads do not make them wait for a processor: 5 to 50 ms on a small virtual
-- machine. Without the right to ask for that, a line says so and the figures tell of that as well.
-- Bounded: `seconds`, the crowd's time and 20 s for each of five.
--
-- Environment: RP_BIN (build/rproxy), MODE (heads, bodies, reading: that one only).

package.path = "./?.lua;" .. package.path

local ffi = require("ffi")
local posix = require("spec.support.posix")
local proc = require("spec.support.proc")

local C = posix.C

ffi.cdef [[ int setrlimit(int resource, const unsigned long limit[2]);
    int getrlimit(int resource, unsigned long limit[2]); ]]

local NOFILE = 7
local NONBLOCK_STREAM = 0x801
local DONTWAIT_NOSIGNAL = 0x4040
local PEEK_DONTWAIT = 0x42
local POLLIN, POLLOUT = 1, 4
local EVERY = 5 -- seconds between two deeds of one slow client
local PER_ADDRESS = 5000
local GAP = 0.002 -- seconds between the beginnings of two fresh requests
local PATIENCE = 10 -- seconds for one of them
local PROXY_CORE, OTHER_CORE = 0, 1
local LAST, FIRST = 1, 2 -- real-time priorities
local SETTLE = 1 -- seconds for the crowd's last requests to be taken up
local GOAL = 2 -- times the 99th percentile alone

local SITE = [[
    return rp.site { workers = 1, listeners = { rp.listen { "127.0.0.1:${port}" } },
        limits = { body = 2^30 },
        upstreams = { o = rp.upstream { peers = { "127.0.0.1:${origin}" } },
            other = rp.upstream { peers = { "127.0.0.1:${other}" } } },
        hosts = { rp.host { default = true, routes = {
            rp.route { "/fresh", respond = { 200, "fresh" } },
            rp.route { "/body", content = function(req)
                local body, err = req:body { max = 2^30 }
                return req:exit(200, body and "got it" or err)
            end },
            rp.route { "/small", upstream = "other" },
            rp.route { "/*", upstream = "o" } } } } }
]]

local NGINX = [[
daemon off; worker_processes 1; pid ${dir}/nginx.pid; error_log stderr crit;
events { worker_connections 20000; }
http { access_log off; keepalive_requests 1000000;
    client_body_temp_path ${dir}; proxy_temp_path ${dir}; fastcgi_temp_path ${dir};
    uwsgi_temp_path ${dir}; scgi_temp_path ${dir};
    ${more} }
]]

local ORIGIN = [[ server { listen 127.0.0.1:${port} backlog=8192; root ${dir}; } ]]

local PROXY = [[ client_max_body_size 0;
    upstream o { server 127.0.0.1:${origin}; keepalive 64; }
    upstream other { server 127.0.0.1:${other}; keepalive 64; }
    server { listen 127.0.0.1:${port} backlog=4096;
        location = /fresh { return 200 "fresh"; }
        proxy_http_version 1.1; proxy_set_header Connection "";
        location /small { proxy_pass http://other; }
        location / { proxy_pass http://o; } } ]]

local MODES = {
    { name = "heads", first = "GET /fresh HTTP/1.1\r\nHost: slow.example\r\nX: ", drop = "x" },
    { name = "bodies", first = "POST /body HTTP/1.1\r\nHost: slow.example\r\n"
        .. "Content-Length: 1000000\r\n\r\n", drop = "x" },
    { name = "reading", first = "GET /large HTTP/1.1\r\nHost: slow.example\r\n\r\n" },
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

-- ---------------------------------------------------------------- the crowd (a process of its own)

local function join(crowd)
    local i = #crowd + 1
    local fd = C.socket(2, NONBLOCK_STREAM, 0)
    assert(fd >= 0, "out of descriptors")
    local from = ("127.0.0.%d"):format(2 + math.floor(i / PER_ADDRESS))
    assert(C.bind(fd, posix.inet(from, 0), 16) == 0)
    if not crowd.mode.drop then C.setsockopt(fd, 1, 8, small, 4) end -- SO_RCVBUF
    C.connect(fd, crowd.to, 16) -- or it is under way
    crowd[i] = fd
    crowd.silent[#crowd.silent + 1] = fd
end

-- Who is connected now says what it wants.
local function speak(crowd)
    local first, rest = crowd.mode.first, {}
    for _, fd in ipairs(crowd.silent) do
        if C.send(fd, first, #first, DONTWAIT_NOSIGNAL) ~= #first then rest[#rest + 1] = fd end
    end
    crowd.silent = rest
end

-- As many of the crowd as are due do their next deed.
local function stir(crowd, elapsed)
    local due = math.floor(elapsed * crowd.n / EVERY)
    local drop = crowd.mode.drop
    while crowd.done < due do
        local fd = crowd[crowd.done % crowd.n + 1]
        if fd and drop then C.send(fd, drop, #drop, DONTWAIT_NOSIGNAL)
        elseif fd then C.recv(fd, buf, 1024, DONTWAIT_NOSIGNAL) end
        crowd.done = crowd.done + 1
    end
end

local function alive_in(crowd)
    local n = 0
    for _, fd in ipairs(crowd) do
        local got = C.recv(fd, buf, 1, PEEK_DONTWAIT)
        if got > 0 and crowd.mode.drop == nil or got < 0 and ffi.errno() == posix.EAGAIN then
            n = n + 1
        end
    end
    return n
end

-- Prints how many are connected at the end, and how many of those could speak.
local function be_crowd(mode, port, n, rate, seconds)
    raise_limit()
    os.execute("chrt --other -p 0 " .. C.getpid() .. " >/dev/null 2>&1") -- not its parent's
    local crowd = { n = n, mode = MODES[mode], to = posix.inet("127.0.0.1", port), done = 0,
        silent = {} }
    local since = posix.now()
    while posix.now() - since < seconds do
        local elapsed = posix.now() - since
        while #crowd < math.min(n, elapsed * rate) do join(crowd) end
        speak(crowd)
        stir(crowd, elapsed)
        posix.sleep(0.002)
    end
    io.write(alive_in(crowd) - #crowd.silent)
end

local function spawn_crowd(mode, port, n, rate, seconds)
    return proc.spawn({ "luajit", arg[0], "crowd", tostring(mode), tostring(port), tostring(n),
        tostring(rate), tostring(seconds) })
end

-- ---------------------------------------------------------------- fresh requests

local FRESH = "GET /%s HTTP/1.1\r\nHost: bench.example\r\nConnection: close\r\n\r\n"

local function begin(target)
    local fd = C.socket(2, NONBLOCK_STREAM, 0)
    assert(fd >= 0, "out of descriptors")
    C.connect(fd, target.to, 16) -- or it is under way
    return { fd = fd, target = target, since = posix.now(), says = target.says }
end

local function finish(probe, ok)
    local t = probe.target
    local ms = (posix.now() - probe.since) * 1000
    C.close(probe.fd)
    local kept = t.phases[t.phase]
    if ok then kept[#kept + 1] = ms else kept.failed = kept.failed + 1 end
end

-- True when it is over.
local function go_on(probe)
    if probe.says then
        local n = C.send(probe.fd, probe.says, #probe.says, DONTWAIT_NOSIGNAL)
        if n == #probe.says then probe.says = nil
        elseif ffi.errno() ~= posix.EAGAIN then finish(probe, false) return true end
    end
    local n = C.recv(probe.fd, buf, 4096, DONTWAIT_NOSIGNAL)
    if n < 0 and ffi.errno() == posix.EAGAIN or n < 0 and probe.says then
        if posix.now() - probe.since < PATIENCE then return false end
    end
    finish(probe, n > 12 and ffi.string(buf, 12) == "HTTP/1.1 200")
    return true
end

local function wait_for(probes, seconds)
    local fds = ffi.new("rpspec_pollfd[?]", #probes)
    for i, probe in ipairs(probes) do
        fds[i - 1].fd = probe.fd
        fds[i - 1].events = probe.says and POLLOUT or POLLIN
    end
    C.poll(fds, #probes, math.max(0, math.floor(seconds * 1000)))
end

-- Fresh requests to all targets in turn, one each GAP; phases: { { name, seconds }, .. }.
local function measure(targets, phases)
    local probes, turn, since, ends = {}, 0, posix.now(), 0
    for _, t in ipairs(targets) do t.phases = {} end
    for _, phase in ipairs(phases) do
        for _, t in ipairs(targets) do
            t.phases[phase.name] = { failed = 0 }
            t.phase = phase.name
        end
        ends = ends + phase.seconds
        while posix.now() - since < ends or (#probes > 0 and phase.last) do
            local elapsed = posix.now() - since
            while turn * GAP <= elapsed and elapsed < ends do
                probes[#probes + 1] = begin(targets[turn % #targets + 1])
                turn = turn + 1
            end
            wait_for(probes, turn * GAP - (posix.now() - since))
            local rest = {}
            for _, probe in ipairs(probes) do
                if not go_on(probe) then rest[#rest + 1] = probe end
            end
            probes = rest
        end
    end
end

local function summary(times)
    table.sort(times)
    local function at(share) return times[math.max(1, math.floor(#times * share))] or 0 / 0 end
    return { n = #times, failed = times.failed, p50 = at(0.5), p99 = at(0.99), most = at(1) }
end

-- ---------------------------------------------------------------- servers

local function start_nginx(more, vars)
    local dir, port = proc.temp_dir(), posix.free_port()
    os.execute("chmod 755 " .. dir)
    posix.write_file(dir .. "/large", ("x"):rep(2 ^ 20))
    posix.write_file(dir .. "/small", ("x"):rep(64))
    local all = { dir = dir, port = port, origin = vars.origin, other = vars.other }
    local text = NGINX:gsub("%${more}", more):gsub("%${(%w+)}", all)
    posix.write_file(dir .. "/nginx.conf", text)
    local nginx = proc.spawn({ "nginx", "-c", dir .. "/nginx.conf" }, { dir = dir })
    assert(posix.poll(function() return posix.is_listening(port) end), "nginx does not start")
    nginx.port = port
    return nginx
end

-- What program runs on which core, and before whom (nil: as any other).
local function place(pid, core, priority)
    os.execute(("taskset -cp %d %d >/dev/null"):format(core, pid))
    if not priority then return end
    local refused = os.execute(("chrt --fifo -p %d %d >/dev/null 2>&1"):format(priority, pid))
    if refused ~= 0 then print("process " .. pid .. " has no real-time priority: it waits for others") end
end

local function pss(pid)
    local rollup = assert(posix.read_file("/proc/" .. pid .. "/smaps_rollup"))
    return tonumber(rollup:match("Pss:%s+(%d+)"))
end

local function show(name, m, rest)
    local text = "  %-24s %5d fresh, %d failed   p50 %6.2f ms   p99 %8.2f ms   most %8.2f ms   %s"
    print(text:format(name, m.n, m.failed, m.p50, m.p99, m.most, rest or ""))
end

local function targets_of(server, alone)
    local targets = {}
    for _, who in ipairs { server, alone } do
        for _, page in ipairs { "fresh", "small" } do
            targets[#targets + 1] = { says = FRESH:format(page),
                to = posix.inet("127.0.0.1", who.port) }
        end
    end
    return targets
end

local function try(mode, server, alone, n, rate, seconds)
    local worker = posix.tree(server.pid)[2]
    local before = pss(worker)
    local coming = n / rate + SETTLE
    local targets = targets_of(server, alone)
    local crowd = spawn_crowd(mode, server.port, n, rate, coming + seconds + 1)
    measure(targets, { { name = "coming", seconds = coming },
        { name = "there", seconds = seconds, last = true } })
    local each = (pss(worker) - before) * 1024 / n
    crowd:wait(20)
    print(("%s, slow %s: %s of %d stay, %.0f bytes each"):format(server.name, MODES[mode].name,
        crowd:stdout(), n, each))
    for _, phase in ipairs { "coming", "there" } do
        for i, answer in ipairs { "own", "upstream's" } do
            local with = summary(targets[i].phases[phase])
            local without = summary(targets[i + 2].phases[phase])
            local ratio = with.p99 / without.p99
            show(phase .. ", " .. answer, with, ("%.2f x alone (goal %d: %s)"):format(ratio, GOAL,
                ratio <= GOAL and "met" or "missed"))
            show("  alone", without)
        end
    end
    posix.sleep(1)
end

local function main()
    local n = math.min(tonumber(arg[1]) or 5000, raise_limit() / 2 - 200)
    local rate, seconds = tonumber(arg[2]) or 1000, tonumber(arg[3]) or 6
    local origin, other = start_nginx(ORIGIN, {}), start_nginx(ORIGIN, {})
    local vars = { origin = origin.port, other = other.port }
    local rp = proc.rproxy { site = SITE, vars = vars }
    local alone = proc.rproxy { site = SITE, vars = vars }
    local nginx = start_nginx(PROXY, vars)
    rp.name = "rproxy"
    for _, server in ipairs { rp, nginx } do place(posix.tree(server.pid)[2], PROXY_CORE, LAST) end
    place(posix.tree(alone.pid)[2], PROXY_CORE, FIRST)
    place(posix.tree(other.pid)[2], OTHER_CORE, FIRST)
    place(posix.tree(origin.pid)[2], OTHER_CORE)
    place(C.getpid(), OTHER_CORE, LAST)
    for i, mode in ipairs(MODES) do
        for _, server in ipairs { rp, nginx } do
            local wanted = not os.getenv("MODE") or os.getenv("MODE") == mode.name
            local can = not (server == nginx and mode.name == "bodies") -- it keeps them to itself
            if wanted and can then try(i, server, alone, n, rate, seconds) end
        end
    end
    rp:stop()
    alone:stop()
    for _, server in ipairs { nginx, origin, other } do
        server:signal("TERM")
        server:wait(5)
    end
end

if arg[1] == "crowd" then
    local n = {}
    for i = 2, #arg do n[#n + 1] = tonumber(arg[i]) end
    be_crowd(unpack(n))
    return
end
local ok, err = pcall(main)
proc.cleanup()
if not ok then error(err, 0) end
