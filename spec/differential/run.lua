-- SPDX-License-Identifier: MIT
--
-- differential: what rproxy, nginx and haproxy make of the same raw requests.
--
--   luajit spec/differential/run.lua [--all]        RP_BIN (build/rproxy) names the program
--
-- Each case of spec/support/raw_cases.lua goes to each proxy on a connection of its own. An origin that
-- parses nothing until the end records every byte that came through; judge.lua says what in these
-- bytes two readers could take differently. Printed: the cases in which the proxies differ (--all:
-- every case), then counts. Proxies that are not installed are left out. Exit status 1: rproxy passed
-- on something that has two readings of where it ends or whom it is for.

local judge = require("spec.differential.judge")
local posix = require("spec.support.posix")
local proc = require("spec.support.proc")
local raw_cases = require("spec.support.raw_cases")
local socket = require("socket")

local QUIET = 0.12 -- seconds without a byte on any side that end a case
local ANSWER = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
local ORDER = { "rproxy", "nginx", "haproxy" }

-- ---------------------------------------------------------------- the proxies

local NGINX = [[
daemon off; master_process off; pid ${dir}/nginx.pid; error_log ${dir}/nginx.log;
events { worker_connections 256; }
http {
    access_log off; client_body_temp_path ${dir}/b; proxy_temp_path ${dir}/p;
    fastcgi_temp_path ${dir}/f; uwsgi_temp_path ${dir}/u; scgi_temp_path ${dir}/s;
    client_max_body_size 1m; large_client_header_buffers 4 32k;
    server {
        listen 127.0.0.1:${port};
        location / {
            proxy_pass http://127.0.0.1:${origin};
            proxy_http_version 1.1; proxy_request_buffering off;
            proxy_set_header Host $host; proxy_set_header Connection "";
        }
    }
}
]]

local HAPROXY = [[
defaults
    mode http
    timeout connect 5s
    timeout client 5s
    timeout server 5s
frontend f
    bind 127.0.0.1:${port}
    default_backend b
backend b
    server s 127.0.0.1:${origin}
]]

local SITE = [[
return rp.site { workers = 1, limits = { body = 2^20 }, log = { access = false },
    listeners = { rp.listen { "127.0.0.1:${port}" } },
    upstreams = { o = rp.upstream { peers = { "127.0.0.1:${origin}" } } },
    hosts = { rp.host { default = true, routes = {
        rp.route { "/*", upstream = "o" }, rp.route { "*", upstream = "o" } } } } }
]]

local function find_program(name)
    for _, dir in ipairs { "/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin" } do
        if posix.exists(dir .. "/" .. name) then return dir .. "/" .. name end
    end
end

local function fill(text, vars)
    return (text:gsub("%${(%w+)}", vars))
end

--- Start a peer by its configuration text; nil when it is not installed.
local function start_peer(name, text, origin, argv)
    local program = find_program(name)
    if not program then return nil end
    local dir, port = proc.temp_dir(), posix.free_port()
    posix.write_file(dir .. "/conf", fill(text, { dir = dir, port = port, origin = origin }))
    local p = proc.spawn(argv(program, dir), { dir = dir })
    p.port = port
    assert(posix.poll(function() return posix.is_listening(port) end), name .. ": " .. p:stderr())
    return p
end

local START = {
    rproxy = function(origin) return proc.rproxy { vars = { origin = origin }, site = SITE } end,
    nginx = function(origin)
        return start_peer("nginx", NGINX, origin, function(program, dir)
            return { program, "-p", dir, "-e", dir .. "/nginx.log", "-c", dir .. "/conf" }
        end)
    end,
    haproxy = function(origin)
        return start_peer("haproxy", HAPROXY, origin, function(program, dir)
            return { program, "-db", "-f", dir .. "/conf" }
        end)
    end,
}

-- ---------------------------------------------------------------- one case

local function listen()
    local port = posix.free_port()
    local sock = socket.tcp4()
    sock:setoption("reuseaddr", true)
    assert(sock:bind("127.0.0.1", port))
    assert(sock:listen(64))
    sock:settimeout(0)
    return sock, port
end

--- Read what is there; returns bytes and whether the end was seen.
local function read(sock)
    local bytes, err, part = sock:receive(65536)
    return bytes or part or "", err == "closed"
end

--- Send the bytes to a proxy and play the origin behind it until nothing moves any more.
--- Returns what the client got and a list of { raw = bytes, whole = bool }, one per connection.
local function run_case(bytes, port, origin)
    local client = socket.tcp4()
    assert(client:connect("127.0.0.1", port))
    client:settimeout(0)
    local reply, sent, client_open, conns = {}, 0, true, {}
    local by_sock = {}
    local quiet_at = socket.gettime() + 4 * QUIET
    while socket.gettime() < quiet_at do
        local readers, moved = { origin }, false
        if client_open then readers[2] = client end
        for _, c in ipairs(conns) do
            if c.sock then readers[#readers + 1] = c.sock end
        end
        local ready = socket.select(readers, sent < #bytes and { client } or nil, QUIET / 4)
        if sent < #bytes then
            local n, _, last = client:send(bytes, sent + 1)
            n = n or last
            if n and n > sent then sent, moved = n, true end
        end
        for _, sock in ipairs(ready) do
            moved = true
            if sock == origin then
                local up = origin:accept()
                if up then
                    up:settimeout(0)
                    by_sock[up] = { sock = up, raw = "" }
                    conns[#conns + 1] = by_sock[up]
                end
            elseif sock == client then
                local got, over = read(client)
                reply[#reply + 1] = got
                if over then client_open, sent = false, #bytes end
            else
                local c = by_sock[sock]
                local got, over = read(sock)
                c.raw = c.raw .. got
                if over then
                    c.sock = nil
                    sock:close()
                elseif not c.answered and judge.parse(c.raw).whole then
                    c.answered = true
                    sock:send(ANSWER)
                end
            end
        end
        local open = client_open
        for _, c in ipairs(conns) do open = open or c.sock end
        if not open then break end
        if moved then quiet_at = socket.gettime() + QUIET end
    end
    client:close()
    for _, c in ipairs(conns) do
        if c.sock then
            c.raw = c.raw .. read(c.sock)
            c.sock:close()
        end
    end
    return table.concat(reply), conns
end

--- What became of a case: { text, hard = list, soft = list, seen = what an origin reads }
local function verdict(reply, conns)
    local status = reply:match("^HTTP/1%.[01] (%d+)") or "closed"
    local v = { hard = {}, soft = {}, seen = "", status = status }
    local got
    for _, c in ipairs(conns) do
        if c.raw ~= "" then
            got = judge.parse(c.raw)
            for _, why in ipairs(got.hard) do v.hard[#v.hard + 1] = why end
            for _, why in ipairs(got.soft) do v.soft[#v.soft + 1] = why end
            v.seen = v.seen .. judge.summary(got)
            if c.raw:find("/smuggled HTTP", 1, true) then v.hard[#v.hard + 1] = "smuggled" end
        end
    end
    if not got then v.text = status == "closed" and "closed" or "refused " .. status
    elseif got.whole then v.text = "passed"
    else v.text = "cut " .. status end
    if #v.hard > 0 then v.text = v.text .. " [" .. table.concat(v.hard, ", ") .. "]" end
    return v
end

-- ---------------------------------------------------------------- all of them

local function all_cases()
    local cases = {}
    for _, c in ipairs(raw_cases.REFUSED) do
        cases[#cases + 1] = { name = c[1], bytes = c[3], kind = "bad" }
    end
    for _, c in ipairs(raw_cases.ACCEPTED) do
        cases[#cases + 1] = { name = c[1], bytes = c[2], kind = "good" }
    end
    return cases
end

local function run_proxy(name, cases)
    local origin, origin_port = listen()
    local p = START[name](origin_port)
    if not p then
        print(("%s is not installed: left out"):format(name))
        origin:close()
        return nil
    end
    local results = {}
    for i, c in ipairs(cases) do
        results[i] = verdict(run_case(c.bytes, p.port, origin))
    end
    p:signal("TERM")
    p:wait(5)
    origin:close()
    return results
end

local function print_case(c, names, results, i)
    print(("%s (%s)"):format(c.name, c.kind))
    for _, name in ipairs(names) do
        local v = results[name][i]
        print(("    %-8s %s"):format(name, v.text))
        if v.seen ~= "" then print("             " .. v.seen) end
    end
end

local function differs(names, results, i)
    local first = results[names[1]][i]
    for n = 2, #names do
        local v = results[names[n]][i]
        if v.text:match("^%a+") ~= first.text:match("^%a+") or #v.hard ~= #first.hard
            or v.seen ~= first.seen then
            return true
        end
    end
    return false
end

local function count(list, check)
    local n = 0
    for _, v in ipairs(list) do
        if check(v) then n = n + 1 end
    end
    return n
end

local function main()
    local cases, names, results = all_cases(), {}, {}
    for _, name in ipairs(ORDER) do
        results[name] = run_proxy(name, cases)
        if results[name] then names[#names + 1] = name end
    end
    local n = 0
    for i, c in ipairs(cases) do
        local different = differs(names, results, i)
        if different then n = n + 1 end
        if different or arg[1] == "--all" then print_case(c, names, results, i) end
    end
    print(("\n%d cases, %d with a difference"):format(#cases, n))
    print(("%-9s %7s %7s %6s %10s %10s"):format("", "refused", "passed", "cut", "two ends", "spellings"))
    for _, name in ipairs(names) do
        local list = results[name]
        local function begins(word)
            return count(list, function(v) return v.text:find(word, 1, true) == 1 end)
        end
        print(("%-9s %7d %7d %6d %10d %10d"):format(name, begins("refused") + begins("closed"),
            begins("passed"), begins("cut"), count(list, function(v) return #v.hard > 0 end),
            count(list, function(v) return #v.soft > 0 end)))
    end
    return count(results.rproxy, function(v) return #v.hard > 0 end)
end

local ok, bad = pcall(main)
proc.cleanup()
if not ok then error(bad, 0) end
os.exit(bad == 0 and 0 or 1)
