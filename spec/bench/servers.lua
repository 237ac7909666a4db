-- SPDX-License-Identifier: MIT
--
-- servers: who is measured: how each is configured and started. Their configurations are in
-- spec/bench/conf, rproxy's in spec/bench/sites; all proxy everything to one origin and keep its
-- connections, write no access log and have one worker.
--
-- An entry (contest.lua) has name, server (a key of KINDS), port, tlsport, and of what the scenario
-- varies: workers, site, replace, policy, conns, tls.

local machine = require("spec.bench.machine")
local posix = require("spec.support.posix")

local M = {}

local OUT = machine.OUT
local CONF = "spec/bench/conf/"
local ORIGIN_PORT = 21080
local WORKER_CONNS = 4096
local SPARE_FDS = 1500 -- of a worker, beside its clients: upstream connections, files
local START_SECONDS = 20

M.HEADER_COUNTS = { 1, 10, 100 }
M.base_port = ORIGIN_PORT -- the origin's; those of entries follow

local running = {} -- pid -> true
local nofile

--- Most descriptors of one process here.
function M.nofile()
    nofile = nofile or machine.raise_descriptors()
    return nofile
end

-- ---------------------------------------------------------------- processes

local function start(name, how, cores, port)
    local log = OUT .. "/" .. name:gsub("[^%w]", "-") .. ".out"
    os.remove(log)
    local argv = machine.pin(cores)
    for _, word in ipairs(how.argv) do argv[#argv + 1] = word end
    local pid = posix.spawn(argv, { stdout = log, stderr = log, env = how.env })
    running[pid] = true
    local up = posix.poll(function() return posix.is_listening(port) or posix.wait(pid) end,
        START_SECONDS)
    if up == true then return pid end
    local why = (posix.read_file(log) or ""):sub(1, 600)
    if not up then M.stop(pid) end
    running[pid] = nil
    return nil, "does not start: " .. why
end

function M.stop(pid)
    local tree = posix.tree(pid)
    posix.kill(pid, "TERM")
    if not posix.wait(pid, 3) then
        for _, p in ipairs(tree) do posix.kill(p, "KILL") end
        posix.wait(pid, 3)
    end
    running[pid] = nil
end

function M.stop_all()
    for pid in pairs(running) do M.stop(pid) end
end

-- ---------------------------------------------------------------- nginx and the origin

local function template(name, vars, path)
    posix.write_file(path, machine.fill(posix.read_file(CONF .. name), vars))
end

local function file_name(entry, suffix)
    return machine.dir() .. "/" .. entry.name:gsub("[^%w]", "-") .. suffix
end

local function nginx(entry, name, vars, env)
    local program = machine.find_program("nginx")
    if not program then return nil, "nginx is not installed" end
    local conf = file_name(entry, ".conf")
    vars.dir, vars.name = machine.dir(), entry.name:gsub("[^%w]", "-")
    vars.nofile, vars.port = M.nofile(), entry.port
    vars.worker_conns = math.min(M.nofile() - 64, WORKER_CONNS + (entry.conns or 0))
    template(name, vars, conf)
    return { argv = { program, "-p", vars.dir, "-e", file_name(entry, ".log"), "-c", conf },
        env = env }
end

local function header_locations()
    local out = {}
    for _, n in ipairs(M.HEADER_COUNTS) do
        local lines = { ("        location = /h%d {"):format(n) }
        for i = 1, n do
            lines[#lines + 1] = ('add_header x-answer-%03d "some value or other";'):format(i)
        end
        lines[#lines + 1] = ("add_header x-seen $http_x_bench_%03d;"):format(n)
        lines[#lines + 1] = 'default_type text/plain; return 200 "%(body64)"; }'
        out[#out + 1] = table.concat(lines, "\n            ")
    end
    return table.concat(out, "\n"):gsub("%%%(body64%)", (("x"):rep(64)))
end

-- Uploads go to the sink.
local function origin_of(entry)
    return entry.upload and M.base_port + 1 or M.base_port
end

-- What workers = 2 or 50,000 connections ask for: more processes.
local function workers_of(entry)
    local needed = math.ceil((entry.conns or 1) / (M.nofile() - SPARE_FDS))
    return math.max(entry.workers or 1, needed)
end

local PROXY_ALL = "        location / { proxy_pass http://origin; }"

local function many_locations(n)
    local out = {}
    for i = 1, n do
        out[i] = ("        location /r%d/ { proxy_pass http://origin; }"):format(i)
    end
    return table.concat(out, "\n")
end

-- ---------------------------------------------------------------- the kinds

-- name -> function(entry) returning { argv, env }, or nil and why not
local KINDS = {}

function KINDS.floor(entry)
    local out = machine.run("cc -O2 -Wall -Wextra -D_GNU_SOURCE -o " .. OUT
        .. "/floor spec/bench/floor.c")
    if out ~= "" then return nil, out end
    return { argv = { OUT .. "/floor", tostring(entry.port), tostring(origin_of(entry)) } }
end

function KINDS.nginx(entry)
    return nginx(entry, "nginx.conf", { modules = "", http = "", workers = workers_of(entry),
        tlsport = entry.tlsport, origin = origin_of(entry),
        locations = entry.routes and many_locations(entry.routes) or PROXY_ALL })
end

local MODULES = [[
load_module %(root)/usr/lib/nginx/modules/ndk_http_module.so;
load_module %(root)/usr/lib/nginx/modules/ngx_http_lua_module.so;]]

local LUA_HTTP = [[
    lua_package_path "%(root)/usr/share/lua/5.1/?.lua;%(conf)?.lua;;";
    lua_shared_dict counts 1m;
    %(init)]]

-- policy -> what stands in the location, and what once
local POLICIES = {
    plain = { "" },
    luanoop = { [[
            access_by_lua_block { local nothing }
            header_filter_by_lua_block { local nothing }
            log_by_lua_block { local nothing }]] },
    luanoop5 = { [[
            access_by_lua_block { require("policy").five() }
            header_filter_by_lua_block { require("policy").five() }
            log_by_lua_block { require("policy").five() }]] },
    lua = { [[
            access_by_lua_block { return require("policy").access() }
            header_filter_by_lua_block { require("policy").header_filter() }
            log_by_lua_block { require("policy").log() }]] },
    heap = { [[
            access_by_lua_block { ngx.ctx.n = require("heap").waste() }]],
        'init_worker_by_lua_block { require("heap").fill(%(live_mb)) }' },
}

local function library_folder(root)
    return (machine.run("dirname " .. root .. "/usr/lib/*/libluajit-5.1.so.2"):match("[^\n]+"))
end

function KINDS.openresty(entry)
    local root = machine.dir() .. "/openresty-root"
    local out = machine.run("spec/bench/openresty.sh " .. root)
    if not posix.exists(root .. "/.done") then return nil, "its packages: " .. out:sub(1, 300) end
    local policy = POLICIES[entry.site or "plain"]
    local vars = { root = root, conf = machine.whole(CONF), live_mb = entry.live_mb or 0 }
    vars.init = machine.fill(policy[2] or "", vars)
    return nginx(entry, "nginx.conf", { modules = machine.fill(MODULES, vars),
        http = machine.fill(LUA_HTTP, vars), workers = workers_of(entry), tlsport = entry.tlsport,
        origin = origin_of(entry),
        locations = "        location / {\n" .. policy[1] .. "\n            proxy_pass http://origin;"
            .. "\n        }" }, { LD_LIBRARY_PATH = library_folder(root) })
end

function KINDS.haproxy(entry)
    local program = machine.find_program("haproxy")
    if not program then return nil, "haproxy is not installed" end
    local conns = entry.conns or 1
    if conns > M.nofile() - SPARE_FDS then
        return nil, ("one process, which may have %d descriptors here"):format(M.nofile())
    end
    local conf = file_name(entry, ".cfg")
    template("haproxy.cfg", { port = entry.port, tlsport = entry.tlsport, dir = machine.dir(),
        workers = entry.workers or 1, maxconn = conns + 2000, origin = origin_of(entry) }, conf)
    return { argv = { program, "-db", "-f", conf } }
end

function KINDS.caddy(entry)
    local program = machine.find_program("caddy")
    if not program then return nil, "caddy is not installed" end
    local conf = file_name(entry, ".caddy")
    template("caddy.conf", { port = entry.port, tlsport = entry.tlsport, dir = machine.dir(),
        origin = origin_of(entry) }, conf)
    return { argv = { program, "run", "--adapter", "caddyfile", "--config", conf },
        env = { GOMAXPROCS = tostring(entry.workers or 1), HOME = machine.dir() } }
end

function KINDS.varnish(entry)
    local program = machine.find_program("varnishd")
    if not program then return nil, "varnish is not installed" end
    if entry.tls then return nil, "it has no TLS" end
    local conf = file_name(entry, ".vcl")
    template("varnish.vcl", { origin = origin_of(entry) }, conf)
    return { argv = { program, "-F", "-j", "none", "-f", conf, "-n", file_name(entry, ".varnish"),
        "-a", "127.0.0.1:" .. entry.port, "-s", "malloc,64m", "-p", "thread_pools=1" } }
end

local PORTS_IN_SITES = { port = "21084", tlsport = "21094", origin = "21080" }

-- The site's own ports and numbers make place for those of the entry. tls.lua wants its certificate
-- beside it, so all stand in the folder of results.
local function write_site(entry)
    local name = entry.tls and "tls" or entry.site or "proxy"
    local text = posix.read_file("spec/bench/sites/" .. name .. ".lua")
    local values = { port = entry.port, tlsport = entry.tlsport, origin = origin_of(entry) }
    text = text:gsub("127%.0%.0%.1:(%d+)", function(port)
        for what, number in pairs(PORTS_IN_SITES) do
            if number == port then return "127.0.0.1:" .. values[what] end
        end
    end)
    for from, to in pairs(entry.replace or {}) do
        local at, last = text:find(from, 1, true)
        if not at then error(name .. ".lua does not say " .. from, 0) end
        text = text:sub(1, at - 1) .. to .. text:sub(last + 1)
    end
    local path = file_name(entry, ".lua")
    posix.write_file(path, text)
    return path
end

function KINDS.rproxy(entry)
    local bin = M.rproxy_binary()
    if not posix.exists(bin) then return nil, bin .. " is not built" end
    return { argv = { bin, "-p", write_site(entry), "-g", "workers=" .. workers_of(entry), "-g",
        "limits.headers=256", "-g", "limits.keepalive_requests=0", "-g", "limits.body=1g" } }
end

function M.rproxy_binary()
    return os.getenv("RP_BIN") or "build/rproxy"
end

-- ---------------------------------------------------------------- from outside

--- Start the server of an entry: its pid, or nil and why not.
function M.start(entry)
    local how, why = KINDS[entry.server](entry)
    if not how then return nil, why end
    local cores = machine.cores()
    entry.cores = (entry.workers or 1) > 1 and cores.proxy_pair or cores.proxy
    entry.processes = workers_of(entry)
    return start(entry.name, how, entry.cores, entry.tls and entry.tlsport or entry.port)
end

--- The bodies that the origin has as files: name -> bytes.
M.FILES = { ["1k"] = 1024, ["100k"] = 102400, ["1m"] = 2 ^ 20, ["10m"] = 10 * 2 ^ 20,
    ["100m"] = 100 * 2 ^ 20 }

--- Start the origin of uploads.
function M.start_sink()
    local out = machine.run("cc -O2 -Wall -Wextra -D_GNU_SOURCE -o " .. OUT .. "/sink spec/bench/sink.c")
    if out ~= "" then error(out, 0) end
    local port = M.base_port + 1
    local pid, why = start("sink", { argv = { OUT .. "/sink", tostring(port) } }, machine.cores().load,
        port)
    if not pid then error("the sink: " .. why, 0) end
    return pid
end

--- Start the origin, with the files that it serves.
function M.start_origin()
    os.execute("mkdir -p " .. OUT .. "/files " .. OUT .. "/tmp")
    for name, bytes in pairs(M.FILES) do
        posix.write_file(OUT .. "/files/" .. name, ("0123456789abcdef"):rep(bytes / 16))
    end
    local origin = { name = "origin", port = M.base_port, conns = 8192 }
    local how, why = nginx(origin, "origin.nginx.conf",
        { body64 = ("x"):rep(64), header_locations = header_locations() })
    local pid
    if how then pid, why = start("origin", how, machine.cores().load, origin.port) end
    if not pid then error("the origin: " .. why, 0) end
    return pid
end

--- Make the certificate that all TLS servers use (P-256).
function M.make_certificate()
    local key, cert = OUT .. "/bench.key", OUT .. "/bench.crt"
    local out = machine.run("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes "
        .. "-days 30 -subj /CN=bench.example -addext "
        .. "subjectAltName=DNS:bench.example,IP:127.0.0.1 -keyout " .. key .. " -out " .. cert)
    if not posix.exists(cert) then error("no certificate: " .. out, 0) end
    posix.write_file(OUT .. "/bench.pem", posix.read_file(cert) .. posix.read_file(key))
end

return M
