-- SPDX-License-Identifier: MIT
--
-- run: ten nginx origins that die, hang, crawl, reset, vanish and flap, behind rproxy, haproxy and
-- nginx in turn, under load at a fixed rate. What counts: requests that failed although a healthy
-- peer was there, latency, and how long each trouble was felt. Then the same with origins that are
-- known by a name, whose addresses change: the old ones stop when the time to live is over.
--
--   luajit spec/chaos/run.lua [--servers=rproxy,haproxy,nginx] [--rate=2000] [--conns=128] [--ports]
--       [--only=troubles|names]
--
-- Each origin has a network namespace of its own, and so have the proxy and its clients; --ports, or a
-- user who may not make namespaces: ports of loopback, without the black hole. Environment: RP_BIN
-- (build/rproxy). Results: a table, and build/chaos/latest.json with a row for each tenth of a second.

package.path = "./?.lua;" .. package.path

local posix = require("spec.support.posix")

local OUT = "build/chaos"
local ORIGINS = 10
local ORIGIN_PORT, FRONT_PORT, DNS_PORT = 23100, 23000, 23053
local NAME = "o.chaos.test"
local TTL = 5    -- seconds
local GRACE = 0  -- ... from the end of the time to live until the old servers are stopped
local FRONT = "rpchaos-front"
local TIMEOUT_MS = 10000
local WARM = 4 -- seconds before the first trouble
local SLOT = 0.1 -- seconds
local FELT_US = 250000 -- a 99th percentile above this is felt

local spaces = true -- network namespaces
local running, made = {}, {}

-- ---------------------------------------------------------------- small tools

local function say(fmt, ...)
    io.stdout:write(fmt:format(...), "\n")
    io.stdout:flush()
end

local function run(command)
    local pipe = assert(io.popen(command .. " 2>&1; echo \" $?\""))
    local text = pipe:read("*a")
    pipe:close()
    local out, status = text:match("^(.-)%s*(%d+)%s*$")
    return status == "0", out
end

local function must(command)
    local ok, out = run(command)
    if not ok then error(command .. ": " .. out, 0) end
end

local function out_dir()
    local _, here = run("pwd")
    return here:match("%S+") .. "/" .. OUT
end

local function inside(space, argv)
    if not spaces then return argv end
    local all = { "ip", "netns", "exec", space }
    for _, word in ipairs(argv) do all[#all + 1] = word end
    return all
end

local function start(name, space, argv)
    local log = ("%s/%s.out"):format(OUT, name)
    os.remove(log)
    local pid = posix.spawn(inside(space, argv), { stdout = log, stderr = log })
    running[pid] = true
    return pid
end

local function stop(pid, signal)
    local tree = posix.tree(pid)
    posix.kill(pid, signal or "TERM")
    if signal == "KILL" or not posix.wait(pid, 5) then
        for _, p in ipairs(tree) do posix.kill(p, "KILL") end
        posix.wait(pid, 3)
    end
    running[pid] = nil
end

-- ---------------------------------------------------------------- origins

local function space_of(i) return "rpchaos-" .. i end

local function address_of(i)
    if not spaces then return ("127.0.0.1:%d"):format(ORIGIN_PORT + i) end
    return ("10.231.%d.2:%d"):format(i, ORIGIN_PORT)
end

local function make_spaces()
    must("ip netns add " .. FRONT)
    made[#made + 1] = FRONT
    must(("ip netns exec %s ip link set lo up"):format(FRONT))
    for i = 0, ORIGINS - 1 do
        local space = space_of(i)
        must("ip netns add " .. space)
        made[#made + 1] = space
        must(("ip link add rpc%d netns %s type veth peer name wire netns %s"):format(i, FRONT, space))
        must(("ip netns exec %s ip addr add 10.231.%d.1/30 dev rpc%d"):format(FRONT, i, i))
        must(("ip netns exec %s ip link set rpc%d up"):format(FRONT, i))
        must(("ip netns exec %s ip addr add 10.231.%d.2/30 dev wire"):format(space, i))
        must(("ip netns exec %s ip link set wire up"):format(space))
        must(("ip netns exec %s ip link set lo up"):format(space))
    end
end

local ORIGIN_CONF = [[
daemon off; worker_processes 1; user root; pid %s/o%d.pid; error_log %s/o%d.log error;
events { worker_connections 4096; }
http { access_log off; keepalive_requests 100000000;
  server { listen %s backlog=4096; location / { default_type text/plain; return 200 "from %d\n"; } } }
]]

local origins = {}

local function start_origin(i)
    local dir = out_dir()
    local conf = ("%s/o%d.conf"):format(OUT, i)
    posix.write_file(conf, ORIGIN_CONF:format(dir, i, dir, i, address_of(i), i))
    origins[i] = start("o" .. i, space_of(i), { "nginx", "-e", ("%s/o%d.log"):format(dir, i), "-c",
        ("%s/o%d.conf"):format(dir, i) })
end

local function each_process(i, signal)
    for _, pid in ipairs(posix.tree(origins[i])) do posix.kill(pid, signal) end
end

local function kill_origin(i) stop(origins[i], "KILL") end

-- nginx replaces a worker that dies: its connections are reset.
local function reset_origin(i)
    for _, pid in ipairs(posix.tree(origins[i])) do
        if pid ~= origins[i] then posix.kill(pid, "KILL") end
    end
end

local function black_hole(i, on)
    must(("ip netns exec %s ip route %s blackhole 10.231.%d.1/32"):format(space_of(i),
        on and "add" or "del", i))
end

-- ---------------------------------------------------------------- troubles

-- name, seconds it lasts, seconds of rest after it, begin(), turn(seconds since its begin), finish().
-- Of all but the last nine origins are well, then six.
local TROUBLES = {
    { "killed", 5, 5, begin = function() kill_origin(0) end,
        finish = function() start_origin(0) end },
    { "hangs", 6, 5, begin = function() each_process(1, "STOP") end,
        finish = function() each_process(1, "CONT") end },
    { "crawls", 5, 4, -- runs for 10 of 100 ms
        turn = function(t) each_process(2, t % 0.1 < 0.09 and "STOP" or "CONT") end,
        finish = function() each_process(2, "CONT") end, pace = 0.01 },
    { "resets", 5, 4, turn = function() reset_origin(3) end, pace = 0.25 },
    { "black hole", 6, 5, spaces = true, begin = function() black_hole(4, true) end,
        finish = function() black_hole(4, false) end },
    { "flaps", 5, 4, pace = 0.25, turn = function(_, n)
        if n % 2 == 0 then kill_origin(5) else start_origin(5) end
    end, finish = function(n) if n % 2 == 1 then start_origin(5) end end },
    { "four die", 5, 5, begin = function() for i = 6, 9 do kill_origin(i) end end,
        finish = function() for i = 6, 9 do start_origin(i) end end },
}

-- What the name's addresses are; a server of this name's own port, as all have the same one.
local function name_points_at(first, last)
    local list = {}
    for i = first, last do list[#list + 1] = ('"%s"'):format((address_of(i):gsub(":%d+$", ""))) end
    posix.write_file_whole(OUT .. "/names.lua", ('return { ["%s"] = { ttl = %d, a = { %s } } }\n')
        :format(NAME, TTL, table.concat(list, ", ")))
end

-- Only of origins that have a name: five of ten serve, and the other five take their place.
local NAME_TROUBLES = {
    { "new addrs", TTL + GRACE + 6, 4, begin = function()
        for i = 5, 9 do start_origin(i) end
        posix.sleep(0.5) -- they listen
        name_points_at(5, 9)
        posix.sleep(TTL + GRACE)
        for i = 0, 4 do kill_origin(i) end
    end },
    { "and back", TTL + GRACE + 6, 4, begin = function()
        for i = 0, 4 do start_origin(i) end
        posix.sleep(0.5)
        name_points_at(0, 4)
        posix.sleep(TTL + GRACE)
        for i = 5, 9 do kill_origin(i) end
    end },
}

local function play(trouble)
    local from = posix.now()
    local n = 0
    if trouble.begin then trouble.begin() end
    while posix.now() - from < trouble[2] do
        if trouble.turn then
            trouble.turn(posix.now() - from, n)
            n = n + 1
        end
        posix.sleep(trouble.pace or 0.1)
    end
    if trouble.finish then trouble.finish(n) end
    posix.sleep(trouble[3])
end

-- ---------------------------------------------------------------- servers

local SITE = [[
local rp = require("rproxy")
return rp.site {
    workers = 2,
    listeners = { rp.listen { "127.0.0.1:%d" } },
    upstreams = { o = rp.upstream {
        peers = { %s },
        balance = "p2c", tries = 3,
        retry = { on = { "connect", "reset", "timeout", "502-504" } },
        fail_on = { "connect", "reset", "timeout", "502-504" }, max_fails = 2,
        timeouts = { connect = "500ms", first_byte = "1s" },
        health = { every = "1s", timeout = "1s", rise = 2, fall = 2 },
    } },
    hosts = { rp.host { default = true, routes = { rp.route { "/*", upstream = "o" } } } },
}
]]

local HAPROXY = [[
global
    nbthread 2
    maxconn 4000
defaults
    mode http
    timeout connect 500ms
    timeout server 1s
    timeout client 30s
    retries 2
    option redispatch 1
    retry-on conn-failure empty-response response-timeout 502 503 504
frontend f
    bind 127.0.0.1:%d
    default_backend b
backend b
    balance leastconn
    option httpchk GET /
    default-server check inter 1s fall 2 rise 2 observe layer7 error-limit 2 on-error mark-down
%s
]]

local NGINX = [[
daemon off; worker_processes 2; user root; pid %s/front.pid; error_log %s/front.log crit;
events { worker_connections 4096; }
http { access_log off; keepalive_requests 100000000;
  upstream o { zone z 256k; least_conn; keepalive 64; keepalive_requests 100000000;
%s
  }
  server { listen 127.0.0.1:%d backlog=4096; location / { proxy_pass http://o;
    proxy_http_version 1.1; proxy_set_header Connection ""; proxy_connect_timeout 500ms;
    proxy_read_timeout 1s; proxy_next_upstream error timeout http_502 http_503 http_504;
    proxy_next_upstream_tries 3; } } }
]]

local function each_origin(fmt, glue)
    local list = {}
    for i = 0, ORIGINS - 1 do
        list[#list + 1] = (fmt:gsub("ADDRESS", address_of(i)):gsub("N", tostring(i)))
    end
    return table.concat(list, glue)
end

local SERVERS = {}

function SERVERS.rproxy()
    posix.write_file(OUT .. "/site.lua", SITE:format(FRONT_PORT, each_origin('"ADDRESS"', ", ")))
    return { os.getenv("RP_BIN") or "build/rproxy", "-p", OUT .. "/site.lua" }
end

function SERVERS.haproxy()
    posix.write_file(OUT .. "/haproxy.cfg",
        HAPROXY:format(FRONT_PORT, each_origin("    server sN ADDRESS", "\n")))
    return { "haproxy", "-db", "-f", OUT .. "/haproxy.cfg" }
end

function SERVERS.nginx()
    local dir = out_dir()
    posix.write_file(OUT .. "/front.conf", NGINX:format(dir, dir,
        each_origin("    server ADDRESS max_fails=2 fail_timeout=10s;", "\n"), FRONT_PORT))
    return { "nginx", "-e", dir .. "/front.log", "-c", dir .. "/front.conf" }
end

local BY_NAME = {}

function BY_NAME.rproxy()
    local site = SITE:format(FRONT_PORT, ('{ "%s:%d", resolve = "each" }'):format(NAME, ORIGIN_PORT))
    site = site:gsub("    workers = 2,", ('%%0\n    resolver = { servers = { "127.0.0.1:%d" } },')
        :format(DNS_PORT))
    posix.write_file(OUT .. "/site.lua", site)
    return { os.getenv("RP_BIN") or "build/rproxy", "-p", OUT .. "/site.lua" }
end

function BY_NAME.haproxy()
    local resolvers = ([[
resolvers r
    nameserver one 127.0.0.1:%d
    resolve_retries 3
    timeout resolve 1s
    timeout retry 1s
    hold valid %ds
]]):format(DNS_PORT, TTL)
    posix.write_file(OUT .. "/haproxy.cfg", HAPROXY:format(FRONT_PORT, (
        "    server-template s 10 %s:%d resolvers r init-addr none resolve-prefer ipv4")
        :format(NAME, ORIGIN_PORT)) .. resolvers)
    return { "haproxy", "-db", "-f", OUT .. "/haproxy.cfg" }
end

-- Servers of an upstream that follow a name are not in every nginx: a variable is what all have. It has
-- no connections that are kept, and no memory of servers that failed.
function BY_NAME.nginx()
    local dir = out_dir()
    posix.write_file(OUT .. "/front.conf", ([[
daemon off; worker_processes 2; user root; pid %s/front.pid; error_log %s/front.log crit;
events { worker_connections 4096; }
http { access_log off; keepalive_requests 100000000; resolver 127.0.0.1:%d ipv6=off;
  server { listen 127.0.0.1:%d backlog=4096; location / { set $o %s; proxy_pass http://$o:%d;
    proxy_http_version 1.1; proxy_set_header Connection ""; proxy_connect_timeout 500ms;
    proxy_read_timeout 1s; proxy_next_upstream error timeout http_502 http_503 http_504;
    proxy_next_upstream_tries 3; } } }
]]):format(dir, dir, DNS_PORT, FRONT_PORT, NAME, ORIGIN_PORT))
    return { "nginx", "-e", dir .. "/front.log", "-c", dir .. "/front.conf" }
end

local function answers()
    local command = ("curl -s -o %s/got -m 1 http://127.0.0.1:%d/"):format(OUT, FRONT_PORT)
    if spaces then command = ("ip netns exec %s "):format(FRONT) .. command end
    return (run(command))
end

-- ---------------------------------------------------------------- one run

local function read_load(text)
    local result = { slots = {}, why = {} }
    for line in text:gmatch("[^\n]+") do
        local kind, rest = line:match("^(%l+) (.*)$")
        if kind == "begin" then
            result.begin = tonumber(rest)
        elseif kind == "slot" then
            local at, due, ok, failed, p50, p99 = rest:match("^(%d+) (%d+) (%d+) (%d+) (%d+) (%d+)")
            result.slots[#result.slots + 1] = { at = tonumber(at) / 1000, due = tonumber(due),
                ok = tonumber(ok), failed = tonumber(failed), p50 = tonumber(p50),
                p99 = tonumber(p99) }
        elseif kind == "why" then
            result.why[#result.why + 1] = rest
        elseif kind == "all" then
            local due, ok, failed, p50, p99, p999, most =
                rest:match("^(%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (%d+)")
            result.due, result.ok, result.failed = tonumber(due), tonumber(ok), tonumber(failed)
            result.p50, result.p99, result.p999, result.most = tonumber(p50), tonumber(p99),
                tonumber(p999), tonumber(most)
        end
    end
    return result.due and result or nil
end

-- Requests that failed from a trouble's begin to the next one's, and until when it was felt.
local function judge(result, from, to)
    local failed, felt = 0, 0
    for _, slot in ipairs(result.slots) do
        local last = result.begin + slot.at + SLOT
        if last > from and last <= to then
            failed = failed + slot.failed
            if slot.failed > 0 or slot.p99 > FELT_US then felt = last - from end
        end
    end
    return failed, felt
end

local function chosen_troubles(all)
    local list, seconds = {}, WARM
    for _, t in ipairs(all) do
        if spaces or not t.spaces then
            list[#list + 1] = t
            seconds = seconds + t[2] + t[3]
        end
    end
    return list, seconds
end

-- by_name: the second round.
local function measure(name, opt, by_name)
    local dns
    for i = 0, by_name and 4 or ORIGINS - 1 do start_origin(i) end
    if by_name then
        name_points_at(0, 4)
        dns = start("dns", FRONT, { "luajit", "spec/support/dns_main.lua", tostring(DNS_PORT),
            OUT .. "/names.lua" })
    end
    local pid = start(name, FRONT, (by_name and BY_NAME or SERVERS)[name]())
    if not posix.poll(answers, 20) then
        error(name .. " does not answer: " .. (posix.read_file(OUT .. "/" .. name .. ".out") or ""), 0)
    end
    local troubles, seconds = chosen_troubles(by_name and NAME_TROUBLES or TROUBLES)
    local load = start("load", FRONT, { OUT .. "/load", "127.0.0.1", tostring(FRONT_PORT), "/",
        tostring(opt.rate), tostring(opt.conns), tostring(seconds), tostring(TIMEOUT_MS) })
    posix.sleep(WARM)
    local times = {}
    for _, t in ipairs(troubles) do
        times[#times + 1] = posix.now()
        play(t)
    end
    times[#times + 1] = math.huge
    posix.wait(load, TIMEOUT_MS / 1000 + 30)
    running[load] = nil
    stop(pid)
    if dns then stop(dns, "KILL") end
    for i = 0, ORIGINS - 1 do
        if running[origins[i]] then stop(origins[i], "KILL") end
    end
    local result = read_load(posix.read_file(OUT .. "/load.out") or "")
    if not result then error("no result of the load: " .. OUT .. "/load.out", 0) end
    result.troubles = {}
    for i, t in ipairs(troubles) do
        local failed, felt = judge(result, times[i], times[i + 1])
        result.troubles[i] = { name = t[1], failed = failed, felt = felt }
    end
    return result
end

-- ---------------------------------------------------------------- main

local function show(names, results)
    say("\n%-12s %9s %8s %10s %9s %9s %9s %9s", "", "requests", "failed", "success", "p50 ms", "p99 ms",
        "p99.9 ms", "max ms")
    for _, name in ipairs(names) do
        local r = results[name]
        say("%-12s %9d %8d %9.4f%% %9.2f %9.2f %9.1f %9.1f", name, r.due, r.failed,
            100 * r.ok / r.due, r.p50 / 1000, r.p99 / 1000, r.p999 / 1000, r.most / 1000)
    end
    say("\nfailed requests, and for how long the trouble was felt (failures, or p99 above %d ms):",
        FELT_US / 1000)
    local head = ("%-12s"):format("")
    for _, name in ipairs(names) do head = head .. ("%18s"):format(name) end
    say("%s", head)
    for i, t in ipairs(results[names[1]].troubles) do
        local row = ("%-12s"):format(t.name)
        for _, name in ipairs(names) do
            local of = results[name].troubles[i]
            row = row .. ("%9d %6.1f s"):format(of.failed, of.felt)
        end
        say("%s", row)
    end
    for _, name in ipairs(names) do
        for _, why in ipairs(results[name].why) do say("%s: %s", name, why) end
    end
end

local function parse_args(args)
    local opt = { rate = 2000, conns = 128, servers = { "rproxy", "haproxy", "nginx" } }
    for _, a in ipairs(args) do
        local key, value = a:match("^%-%-(%w+)=(.+)$")
        if key == "servers" then
            opt.servers = {}
            for name in value:gmatch("[^,]+") do
                if not SERVERS[name] then error("unknown server " .. name, 0) end
                opt.servers[#opt.servers + 1] = name
            end
        elseif key == "rate" or key == "conns" then
            opt[key] = assert(tonumber(value), a)
        elseif key == "only" and (value == "troubles" or value == "names") then
            opt.only = value
        elseif a == "--ports" then
            spaces = false
        else
            error("unknown argument " .. a, 0)
        end
    end
    return opt
end

local function clean_up()
    for pid in pairs(running) do stop(pid, "KILL") end
    for _, space in ipairs(made) do run("ip netns del " .. space) end
end

local function main()
    local opt = parse_args(arg)
    os.execute("mkdir -p " .. OUT)
    must("cc -O2 -Wall -Wextra -D_GNU_SOURCE -o " .. OUT .. "/load spec/bench/load.c")
    if spaces and not run("ip netns add rpchaos-try") then
        say("no network namespaces (they need root and iproute2): ports of loopback, no black hole")
        spaces = false
    end
    run("ip netns del rpchaos-try")
    if spaces then make_spaces() end
    local results = { rate = opt.rate, conns = opt.conns }
    local function round(all, by_name, into)
        local _, seconds = chosen_troubles(all)
        for _, name in ipairs(opt.servers) do
            say("%s%s: %d requests a second for %d s", name, by_name and " by name" or "", opt.rate,
                seconds)
            into[name] = measure(name, opt, by_name)
        end
        show(opt.servers, into)
    end
    if opt.only ~= "names" then round(TROUBLES, false, results) end
    if opt.only ~= "troubles" and spaces then -- all have one port: each needs an address of its own
        results.names = {}
        round(NAME_TROUBLES, true, results.names)
    end
    posix.write_file(OUT .. "/latest.json", require("cjson").encode(results) .. "\n")
    say("\nwritten to %s/latest.json", OUT)
end

local ok, err = xpcall(main, debug.traceback)
clean_up()
if not ok then
    io.stderr:write("chaos: ", tostring(err), "\n")
    os.exit(1)
end
