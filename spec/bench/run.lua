-- SPDX-License-Identifier: MIT
--
-- run: measure rproxy beside nginx, haproxy and the floor program, on this machine, in one run.
--
--   luajit spec/bench/run.lua [scenario ...] [--rounds=3] [--seconds=4] [--servers=floor,nginx]
--       [--rate=8000]
--
-- The figure that counts is CPU microseconds of the proxy per request: time on the processor of its
-- whole process tree, from schedstat, divided by wrk's count. It moves little on a busy machine,
-- where requests per second and latency move a lot. The proxy has core 0 and one worker; origin and
-- load generator share core 1. Servers take turns round by round; medians are printed.
--
-- Environment: RP_BIN (build/rproxy). Results: a table, and build/bench/latest.json.

package.path = "./?.lua;" .. package.path

local posix = require("spec.support.posix")

local OUT = "build/bench"
local ORIGIN_PORT = 21080
local PORTS = { floor = 21081, nginx = 21082, haproxy = 21083, rproxy = 21084 }
local TLS_PORTS = { nginx = 21092, haproxy = 21093, rproxy = 21094 }
local ORDER = { "floor", "nginx", "haproxy", "rproxy" }
local PEERS = { "nginx", "haproxy" }
local PROXY_CORE, LOAD_CORE = 0, 1
local WARM_SECONDS = 1

-- path: what the origin is asked for; bytes: of the right answer; skip: whom it says nothing of.
local SCENARIOS = {
    plain = { path = "/plain", bytes = 64, conns = 64 },
    ["1k"] = { path = "/1k", bytes = 1024, conns = 64 },
    -- The floor opens an upstream connection per client, which the others need not.
    conn = { path = "/plain", bytes = 64, conns = 64, close = true, skip = { floor = true } },
    luanoop = { path = "/plain", bytes = 64, conns = 64, site = "luanoop" },
    luanoop5 = { path = "/plain", bytes = 64, conns = 64, site = "luanoop5" },
    lua = { path = "/plain", bytes = 64, conns = 64, site = "lua" },
    ["100k"] = { path = "/100k", bytes = 100 * 1024, conns = 64 },
    big = { path = "/big", bytes = 10 * 1024 * 1024, conns = 8 },
    tls = { path = "/plain", bytes = 64, conns = 64, tls = true, skip = { floor = true } },
    -- Nothing is resumed: each request pays for a whole handshake (TLS 1.3, P-256).
    tlsnew = { path = "/plain", bytes = 64, conns = 64, tls = true, close = true,
        skip = { floor = true } },
    h2 = { path = "/plain", bytes = 64, conns = 16, streams = 32, tls = true,
        skip = { floor = true } },
    -- Requests come at times of their own (load.c), --rate= a second: what they wait is what counts.
    latency = { path = "/plain", bytes = 64, conns = 256, open = true },
}
local SCENARIO_ORDER = { "plain", "1k", "conn", "luanoop", "luanoop5", "lua", "100k", "big", "tls",
    "tlsnew", "h2", "latency" }

local NGINX_COMMON = [[
daemon off;
worker_processes 1;
user root;
pid %(dir)/%(name).pid;
error_log %(dir)/%(name).log warn;
events { worker_connections 4096; multi_accept on; }
http {
    access_log off;
    sendfile on;
    tcp_nopush on;
    tcp_nodelay on;
    keepalive_requests 100000000;
    keepalive_timeout 300;
    open_file_cache max=100 inactive=300s;
    client_body_temp_path %(dir)/tmp;
    proxy_temp_path %(dir)/tmp;
    fastcgi_temp_path %(dir)/tmp;
    uwsgi_temp_path %(dir)/tmp;
    scgi_temp_path %(dir)/tmp;
]]

local ORIGIN_CONF = NGINX_COMMON .. [[
    server {
        listen 127.0.0.1:%(origin) backlog=4096;
        root %(dir)/files;
        location = /plain { default_type text/plain; return 200 "%(body64)"; }
    }
}
]]

local NGINX_CONF = NGINX_COMMON .. [[
    upstream origin {
        server 127.0.0.1:%(origin);
        keepalive 1024;
        keepalive_requests 100000000;
        keepalive_timeout 300;
    }
    server {
        listen 127.0.0.1:%(port) backlog=4096;
        listen 127.0.0.1:%(tlsport) ssl http2 backlog=4096;
        ssl_certificate %(dir)/bench.pem;
        ssl_certificate_key %(dir)/bench.pem;
        ssl_protocols TLSv1.3;
        location / {
            proxy_pass http://origin;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffers 16 16k;
            proxy_buffer_size 16k;
            proxy_max_temp_file_size 0;
        }
    }
}
]]

local HAPROXY_CONF = [[
global
    nbthread 1
    maxconn 2000
    no log
defaults
    mode http
    option http-keep-alive
    option splice-auto
    http-reuse always
    timeout connect 5s
    timeout client 300s
    timeout server 300s
frontend in
    bind 127.0.0.1:%(port) backlog 4096
    bind 127.0.0.1:%(tlsport) backlog 4096 ssl crt %(dir)/bench.pem alpn h2,http/1.1
    default_backend out
backend out
    server origin 127.0.0.1:%(origin) pool-max-conn 1024 pool-purge-delay 300s
]]

-- ---------------------------------------------------------------- small tools

local function say(fmt, ...)
    io.stdout:write(fmt:format(...), "\n")
    io.stdout:flush()
end

local function fill(text, vars)
    return (text:gsub("%%%((%w+)%)", function(name) return tostring(assert(vars[name], name)) end))
end

local function run(command)
    local pipe = assert(io.popen(command .. " 2>&1"))
    local text = pipe:read("*a")
    pipe:close()
    return text
end

local function find_program(name)
    local path = run("PATH=$PATH:/usr/sbin:/sbin command -v " .. name):match("^(/%S+)")
    return path
end

local function median(list)
    local sorted = { unpack(list) }
    table.sort(sorted)
    local n = #sorted
    if n == 0 then return nil end
    return n % 2 == 1 and sorted[(n + 1) / 2] or (sorted[n / 2] + sorted[n / 2 + 1]) / 2
end

local function pinned(core, argv)
    local all = { "taskset", "-c", tostring(core) }
    for _, arg in ipairs(argv) do all[#all + 1] = arg end
    return all
end

-- ---------------------------------------------------------------- servers

local running = {}
local rate = 8000 -- requests a second of an open loop

local function start(name, argv, core, port)
    local log = OUT .. "/" .. name .. ".out"
    os.remove(log)
    local pid = posix.spawn(pinned(core, argv), { stdout = log, stderr = log })
    running[pid] = true
    local up = posix.poll(function() return posix.is_listening(port) or posix.wait(pid) end, 10)
    if type(up) == "table" or not up then
        running[pid] = nil
        return nil, (posix.read_file(log) or ""):sub(1, 600)
    end
    return pid
end

local function stop(pid)
    local tree = posix.tree(pid)
    posix.kill(pid, "TERM")
    if not posix.wait(pid, 3) then
        for _, p in ipairs(tree) do posix.kill(p, "KILL") end
        posix.wait(pid, 3)
    end
    running[pid] = nil
end

local function out_dir()
    return run("pwd"):match("%S+") .. "/" .. OUT
end

local function nginx_argv(name, conf, port)
    local program = find_program("nginx")
    if not program then return nil, "nginx is not installed" end
    local dir = out_dir()
    posix.write_file(("%s/%s.conf"):format(OUT, name), fill(conf, { dir = dir, name = name,
        port = port, tlsport = TLS_PORTS[name], origin = ORIGIN_PORT, body64 = ("x"):rep(64) }))
    return { program, "-p", dir, "-e", dir .. "/" .. name .. ".log", "-c",
        dir .. "/" .. name .. ".conf" }
end

-- name -> function(scenario) returning argv, or nil and why not
local SERVERS = {}

function SERVERS.floor()
    local out = run("cc -O2 -Wall -Wextra -D_GNU_SOURCE -o " .. OUT .. "/floor spec/bench/floor.c")
    if out ~= "" then return nil, out end
    return { OUT .. "/floor", tostring(PORTS.floor), tostring(ORIGIN_PORT) }
end

function SERVERS.nginx(scenario)
    if scenario.site then return nil, "no Lua in Debian's nginx-light" end
    return nginx_argv("nginx", NGINX_CONF, PORTS.nginx)
end

function SERVERS.haproxy(scenario)
    if scenario.site then return nil, "its Lua is compared elsewhere" end
    local program = find_program("haproxy")
    if not program then return nil, "haproxy is not installed" end
    posix.write_file(OUT .. "/haproxy.cfg", fill(HAPROXY_CONF,
        { port = PORTS.haproxy, tlsport = TLS_PORTS.haproxy, dir = out_dir(), origin = ORIGIN_PORT }))
    return { program, "-db", "-f", OUT .. "/haproxy.cfg" }
end

function SERVERS.rproxy(scenario)
    local bin = os.getenv("RP_BIN") or "build/rproxy"
    if not posix.exists(bin) then return nil, bin .. " is not built" end
    if scenario.tls then -- its certificate is beside it
        posix.write_file(OUT .. "/tls.lua", posix.read_file("spec/bench/sites/tls.lua"))
        return { bin, "-p", OUT .. "/tls.lua" }
    end
    return { bin, "-p", "spec/bench/sites/" .. (scenario.site or "proxy") .. ".lua" }
end

local function make_origin()
    os.execute("mkdir -p " .. OUT .. "/files " .. OUT .. "/tmp")
    for _, name in ipairs { "1k", "100k", "big" } do
        local scenario = SCENARIOS[name]
        posix.write_file(OUT .. "/files/" .. name, ("0123456789abcdef"):rep(scenario.bytes / 16))
    end
    local argv, why = nginx_argv("origin", ORIGIN_CONF, ORIGIN_PORT)
    if not argv then error(why, 0) end
    local pid, err = start("origin", argv, LOAD_CORE, ORIGIN_PORT)
    if not pid then error("the origin does not start: " .. err, 0) end
    return pid
end

-- ---------------------------------------------------------------- measuring

-- Nanoseconds on a processor so far, of all threads of a process tree.
local function cpu_ns(pid)
    local ns = 0
    for _, p in ipairs(posix.tree(pid)) do
        for word in run("cat /proc/" .. p .. "/task/*/schedstat"):gmatch("(%d+) %d+ %d+\n") do
            ns = ns + tonumber(word)
        end
    end
    return ns
end

local function make_certificate()
    local key, cert = OUT .. "/bench.key", OUT .. "/bench.crt"
    local out = run("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 "
        .. "-subj /CN=bench.example -addext subjectAltName=DNS:bench.example,IP:127.0.0.1 "
        .. "-keyout " .. key .. " -out " .. cert)
    if not posix.exists(cert) then error("no certificate: " .. out, 0) end
    posix.write_file(OUT .. "/bench.pem", posix.read_file(cert) .. posix.read_file(key))
end

-- Three requests on one connection must bring the right bytes before anything is measured.
local function url_of(port, scenario)
    return ("%s://127.0.0.1:%d%s"):format(scenario.tls and "https" or "http", port, scenario.path)
end

local function check_answer(port, scenario)
    local url = url_of(port, scenario)
    local out = run(("curl -ksS " .. (scenario.streams and "--http2" or "--http1.1")
        .. " --max-time 20 -o %s/got -w '%%{http_code} %%{size_download} ' "
        .. "%s -o %s/got %s -o %s/got %s"):format(OUT, url, OUT, url, OUT, url))
    local want = ("200 %d "):format(scenario.bytes):rep(3)
    if out ~= want then return nil, ("answers %q, not %q"):format(out, want) end
    local body = posix.read_file(OUT .. "/got")
    local right = scenario.path == "/plain" and ("x"):rep(64)
        or posix.read_file(OUT .. "/files" .. scenario.path)
    if body ~= right then return nil, "the body is not the origin's" end
    return true
end

local UNITS = { us = 1, ms = 1000, s = 1000000 }

local function wrk(port, scenario, seconds)
    local text = run(("taskset -c %d wrk -t1 -c%d -d%ds --latency %s %s"):format(LOAD_CORE,
        scenario.conns, seconds, scenario.close and "-H 'Connection: close'" or "",
        url_of(port, scenario)))
    local requests = tonumber(text:match("(%d+) requests in "))
    if not requests or requests == 0 then return nil, text end
    local function latency(percent)
        local value, unit = text:match("%s" .. percent .. "%%%s+([%d.]+)(%a+)")
        return value and tonumber(value) * (UNITS[unit] or 0)
    end
    local trouble = text:match("Non%-2xx[^\n]*") or text:match("Socket errors[^\n]*")
    return { requests = requests, rate = tonumber(text:match("Requests/sec:%s+([%d.]+)")),
        p50_us = latency("50"), p99_us = latency("99"), trouble = trouble }
end

-- It tells no percentiles; those who failed are told and not counted.
local function h2load(port, scenario, seconds)
    local text = run(("taskset -c %d h2load -t1 -c%d -m%d -D%d %s"):format(LOAD_CORE,
        scenario.conns, scenario.streams, seconds, url_of(port, scenario)))
    local requests, failed = text:match("(%d+) succeeded, (%d+) failed")
    requests = tonumber(requests)
    if not requests or requests == 0 then return nil, text end
    return { requests = requests, rate = requests / seconds,
        trouble = failed ~= "0" and failed .. " failed" or nil }
end

local function open_loop(port, scenario, seconds)
    local text = run(("taskset -c %d %s/load 127.0.0.1 %d %s %d %d %d 10000"):format(LOAD_CORE, OUT,
        port, scenario.path, rate, scenario.conns, seconds))
    local due, ok, failed, p50, p99, p999 =
        text:match("all (%d+) (%d+) (%d+) (%d+) (%d+) (%d+) %d+")
    if not ok or ok == "0" then return nil, text end
    return { requests = tonumber(ok), rate = tonumber(due) / seconds, p50_us = tonumber(p50),
        p99_us = tonumber(p99), p999_us = tonumber(p999),
        trouble = failed ~= "0" and failed .. " failed" or nil }
end

local function load(port, scenario, seconds)
    local by = scenario.streams and h2load or scenario.open and open_loop or wrk
    return by(port, scenario, seconds)
end

local function measure(server, scenario, seconds)
    local before = cpu_ns(server.pid)
    local result, err = load(server.port, scenario, seconds)
    if not result then return nil, err end
    result.cpu_us = (cpu_ns(server.pid) - before) / 1000 / result.requests
    return result
end

local function start_servers(scenario, wanted)
    local servers = {}
    for _, name in ipairs(ORDER) do
        if wanted[name] and not (scenario.skip and scenario.skip[name]) then
            local argv, why = SERVERS[name](scenario)
            local pid
            if argv then pid, why = start(name, argv, PROXY_CORE, PORTS[name]) end
            local port = (scenario.tls and TLS_PORTS or PORTS)[name]
            local server = { name = name, port = port, pid = pid, rounds = {} }
            if pid then
                local ok
                ok, why = check_answer(server.port, scenario)
                if ok then
                    server.idle_kb = posix.tree_cost(pid)
                    servers[#servers + 1] = server
                else
                    stop(pid)
                end
            end
            if why then say("  %s skipped: %s", name, why) end
        end
    end
    return servers
end

local function summarize(server)
    local function of(field)
        local list = {}
        for _, r in ipairs(server.rounds) do list[#list + 1] = r[field] end
        return median(list)
    end
    local trouble
    for _, r in ipairs(server.rounds) do trouble = trouble or r.trouble end
    return { cpu_us = of("cpu_us"), rate = of("rate"), p50_us = of("p50_us"),
        p99_us = of("p99_us"), p999_us = of("p999_us"), idle_kb = server.idle_kb,
        loaded_kb = posix.tree_cost(server.pid), trouble = trouble }
end

local function print_table(results)
    local best
    for _, name in ipairs(PEERS) do
        local r = results[name]
        if r and (not best or r.cpu_us < best) then best = r.cpu_us end
    end
    say("  %-8s %10s %9s %9s %10s %9s %9s %9s %9s", "", "cpu us/req", "x floor", "x peer", "req/s",
        "p50 us", "p99 us", "p99.9", "PSS MB")
    local function ratio(a, b) return a and b and ("%.2f"):format(a / b) or "-" end
    for _, name in ipairs(ORDER) do
        local r = results[name]
        if r then
            say("  %-8s %10.2f %9s %9s %10.0f %9.0f %9.0f %9s %4.1f/%4.1f%s", name, r.cpu_us,
                ratio(r.cpu_us, results.floor and results.floor.cpu_us), ratio(r.cpu_us, best),
                r.rate, r.p50_us or 0, r.p99_us or 0,
                r.p999_us and ("%.0f"):format(r.p999_us) or "-", r.idle_kb / 1024, r.loaded_kb / 1024,
                r.trouble and ("  ! " .. r.trouble) or "")
        end
    end
end

local function run_scenario(name, opt)
    local scenario = SCENARIOS[name]
    local conns = ("%d connections"):format(scenario.conns)
    if scenario.streams then conns = conns .. " of " .. scenario.streams .. " streams" end
    say("\n%s: GET %s (%d bytes), %s, %d rounds of %d s", name, scenario.path, scenario.bytes, conns,
        opt.rounds, opt.seconds)
    local servers = start_servers(scenario, opt.servers)
    for _, server in ipairs(servers) do
        load(server.port, scenario, WARM_SECONDS)
    end
    for _ = 1, opt.rounds do
        for _, server in ipairs(servers) do
            local result, err = measure(server, scenario, opt.seconds)
            if result then
                server.rounds[#server.rounds + 1] = result
            else
                say("  %s: %s", server.name, err)
            end
        end
    end
    local results = {}
    for _, server in ipairs(servers) do
        if #server.rounds > 0 then results[server.name] = summarize(server) end
        stop(server.pid)
    end
    print_table(results)
    return results
end

-- ---------------------------------------------------------------- main

local function parse_args(args)
    local opt = { rounds = 3, seconds = 4, names = {}, servers = {} }
    for _, name in ipairs(ORDER) do opt.servers[name] = true end
    for _, a in ipairs(args) do
        local key, value = a:match("^%-%-(%w+)=(.+)$")
        if key == "servers" then
            opt.servers = {}
            for name in value:gmatch("[^,]+") do opt.servers[name] = true end
        elseif key == "rate" then
            rate = assert(tonumber(value))
        elseif key == "rounds" or key == "seconds" then
            opt[key] = assert(tonumber(value))
        elseif SCENARIOS[a] then
            opt.names[#opt.names + 1] = a
        else
            local known = table.concat(SCENARIO_ORDER, " ")
            error("unknown argument " .. a .. "; scenarios: " .. known, 0)
        end
    end
    if #opt.names == 0 then opt.names = SCENARIO_ORDER end
    return opt
end

local function main()
    local opt = parse_args(arg)
    for _, tool in ipairs { "wrk", "h2load", "taskset", "curl", "nginx", "openssl" } do
        if not find_program(tool) then error(tool .. " is needed", 0) end
    end
    if tonumber(run("nproc")) < 2 then error("two cores are needed", 0) end
    os.execute("mkdir -p " .. OUT)
    make_certificate()
    local built = run("cc -O2 -D_GNU_SOURCE -o " .. OUT .. "/load spec/bench/load.c")
    if built ~= "" then error(built, 0) end
    local origin = make_origin()
    local all = { date = os.date("!%Y-%m-%dT%H:%M:%SZ"), rounds = opt.rounds,
        seconds = opt.seconds, load = run("cat /proc/loadavg"):match("%S+"), scenarios = {} }
    for _, name in ipairs(opt.names) do
        all.scenarios[name] = run_scenario(name, opt)
    end
    stop(origin)
    posix.write_file(OUT .. "/latest.json", require("cjson").encode(all) .. "\n")
    say("\nwritten to %s/latest.json", OUT)
end

local ok, err = xpcall(main, debug.traceback)
for pid in pairs(running) do stop(pid) end
if not ok then
    io.stderr:write("bench: ", tostring(err), "\n")
    os.exit(1)
end
