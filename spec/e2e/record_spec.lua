-- SPDX-License-Identifier: MIT
--
-- record and `rproxy replay`: what hooks got from real servers, from files, programs, shared memory, clocks
-- and dice is played back to them with those servers gone, and nothing is decided otherwise.

local json = require("cjson")

local http = require("spec.support.http")
local posix = require("spec.support.posix")
local proc = require("spec.support.proc")
local process = require("spec.support.process")
local redis = require("spec.support.redis")
local wire = require("spec.support.wire")

local NGINX = posix.exists("/usr/sbin/nginx") and "/usr/sbin/nginx"

local NGINX_CONF = [[
daemon off; pid %s/nginx.pid; error_log %s/nginx.log; worker_processes 1;
events { worker_connections 64; }
http {
    access_log off; client_body_temp_path %s/b; proxy_temp_path %s/p; fastcgi_temp_path %s/f;
    uwsgi_temp_path %s/u; scgi_temp_path %s/s;
    server {
        listen 127.0.0.1:%d; listen unix:%s/nginx.sock; root %s;
        location = /conn { default_type text/plain; return 200 "$connection $msec $request_id"; }
        location /up/ { default_type text/plain; add_header X-Sent "$http_x_user";
            add_header Set-Cookie "session=$request_id; Path=/";
            return 200 "upstream $request_id $request_uri"; }
    }
}
]]

local function start_nginx()
    local dir, port = proc.temp_dir(), posix.free_port()
    posix.write_file(dir .. "/file.txt", ("line of text\n"):rep(3000))
    posix.write_file(dir .. "/nginx.conf", NGINX_CONF:format(dir, dir, dir, dir, dir, dir, dir, port,
        dir, dir))
    local p = proc.spawn({ NGINX, "-p", dir, "-c", dir .. "/nginx.conf", "-e", dir .. "/start.log" },
        { dir = dir, env = { LD_PRELOAD = false }, quiet_end = true })
    os.execute("chmod -R a+rX " .. dir)
    assert(posix.poll(function() return posix.is_listening(port) end, 30), p:stderr())
    os.execute("chmod 666 " .. dir .. "/nginx.sock")
    return { p = p, dir = dir, port = port }
end

-- Each path asks for something else from outside; the answer is made of all of it.
local SITE = [[
local now, time, clock, random = rp.now, rp.time, rp.clock, rp.crypto.random
local os_time, dice = os.time, math.random
local c = rp.http.client { base = "http://127.0.0.1:${nginx}", timeout = 20 }
local nobody = rp.http.client { base = "http://127.0.0.1:${closed}", timeout = 20 }
local r = rp.redis { host = "127.0.0.1", port = ${redis}, timeout = 20 }
local seats = rp.semaphore(1)
local started = "nothing"

local function text(...)
    local out = {}
    for i = 1, select("#", ...) do
        local v = select(i, ...)
        out[i] = type(v) == "table" and rp.json.encode(v, { sort = true }) or tostring(v)
    end
    return table.concat(out, " ")
end

local paths = {
    ["/http"] = function() local res = c:get("/conn") return res.status, res.body, res.headers.server end,
    ["/stream"] = function()
        local res, bytes = c:get("/file.txt", { stream = true }), 0
        for piece in res:chunks() do bytes = bytes + #piece end
        return bytes, res.headers:get("content-length")
    end,
    ["/refused"] = function() return nobody:get("/") end,
    ["/redis"] = function()
        r:hset("h", "a", 1)
        local out = r:pipeline(function(p) p:incr("n") p:get("none") p:lpush("n", "x") end)
        return r:incr("count"), r:get("none"), r:hgetall("h"), out[1], out[2] == rp.null, out[3].err,
            r:transaction(function(t) t:incr("t") t:get("t") end),
            r:script("return {ARGV[1], redis.call('incr', KEYS[1])}"):run({ "s" }, { "\0\255" })[2]
    end,
    ["/session"] = function()
        return r:session(function(s)
            s:set("w", 1)
            s:watch("w")
            return s:transaction(function(t) t:incr("w") end)
        end)
    end,
    ["/subscribe"] = function()
        local sub = r:subscribe("news")
        r:publish("news", "now")
        local channel, message = sub:next(20)
        sub:close()
        return channel, message
    end,
    ["/tcp"] = function()
        local s = rp.tcp.connect { host = "127.0.0.1", port = ${redis}, timeout = 20 }
        s:write("INCR tcp\r\nPING\r\n")
        local a, b = s:read("line"), s:read_until("\r\n")
        s:close()
        return a, b
    end,
    ["/unix"] = function()
        local s = rp.unix.connect { path = "${sock}", timeout = 20 }
        s:write("GET /conn HTTP/1.0\r\n\r\n")
        return s:read("line"), s:read_until("\r\n\r\n") ~= nil, s:read("any"), s:read(1)
    end,
    ["/dns"] = function() return rp.dns.resolve("localhost", "A") end,
    ["/fs"] = function()
        local path = "${dir}/files/x" .. rp.hex(random(4))
        rp.fs.write(path, "one\255")
        rp.fs.append(path, "two")
        local info, got = rp.fs.stat(path), rp.fs.read(path)
        local n = #rp.fs.list("${dir}/files")
        return info.size, info.modified, rp.hex(got), n, rp.fs.remove(path), rp.fs.read(path)
    end,
    ["/exec"] = function()
        local res = rp.exec { argv = { "/bin/sh", "-c", "echo $$; date +%N; exit 3" } }
        return res.status, res.out
    end,
    ["/lock"] = function()
        local l = rp.lock("a", { zone = "store" })
        local token = l.token
        local again, code = rp.lock("a", { zone = "store" })
        return token, again, code, l:release(),
            rp.lock("b", { zone = "store" }, function(held) return held.token, time() end)
    end,
    ["/seat"] = function()
        local seat = seats:acquire(1)
        local none, code = seats:acquire(0)
        return none, code, seat:release(), seats:with(function() return dice(1000) end)
    end,
    ["/shared"] = function()
        local s, b, n = rp.shared.store, rp.shared.buckets, rp.shared.counters
        n:add("seen") n:counter("seen"):add(2)
        rp.shared.top:add("k") rp.shared.distinct:add("d", "x")
        return s:incr("i", 1, 0), s:set("k", true, 60), s:ttl("k"), s:get("k"), s:cas("c", nil, "v"),
            b:take("t", 1, 0.5, 10), b:window("w", 1, 5, 60), n:get("seen"), s:get("never")
    end,
    ["/fetch"] = function(req)
        return rp.shared.cache:fetch("k" .. req:arg("k"), 600, function()
            return c:get("/conn").body
        end)
    end,
    ["/time"] = function()
        local a = now() rp.sleep(0.01)
        return a, now(), time(), clock(), os_time(), os.date("%c"), os.time(), os.clock()
    end,
    ["/dice"] = function(req)
        return dice(), dice(6), dice(1, 100), rp.hex(random(8)), rp.uuid.v4(), rp.uuid.v7(), req.id,
            rp.crypto.hash_password("pw", { cost = 4 }), req.conn.id
    end,
    ["/together"] = function()
        local a = rp.spawn(function() return r:incr("spawned") end)
        local list = rp.all { function() return c:get("/conn").body end,
            function() rp.sleep(0.005) return r:get("count") end, function() return dice(1e6) end }
        return list, select(2, a:wait())
    end,
    ["/body"] = function(req) return #req:body(), rp.hex(rp.crypto.sha256(req:body())) end,
    ["/form"] = function(req)
        local form = req:form()
        return form.a, #form.b, form.password ~= nil
    end,
    ["/reader"] = function(req)
        local n, reader = 0, req:body_reader()
        for piece in reader:chunks() do n = n + #piece:gsub("x", "") end
        return n, reader.bytes
    end,
    ["/json"] = function(req) return req:json().list end,
    ["/secret"] = function(req)
        local token = (req:get("authorization") or ""):match("^Bearer (.+)$")
        return token == "aaaaaaaaaaaa.bbbbbbbbbbbb.cccccccccccc", r:get("token:" .. token),
            rp.hex(rp.crypto.sha256(token)), req:cookie("sid"), req:arg("api_key")
    end,
    ["/conn"] = function(req)
        local tls = req.conn.tls
        return req.version, req.scheme, req.remote_ip, req.peer_ip, req.host, req.port, req.conn.requests,
            req.start, req.duration, req.deadline, tls and tls.version, tls and tls.cipher,
            tls and tls.alpn, req.conn.ja4
    end,
    ["/started"] = function() return started end,
    ["/bytes"] = function(req) return rp.hex(req:get("x-bytes") or "") end,
}

return rp.site {
    workers = 1,
    listeners = { rp.listen { "127.0.0.1:${port}" } },
    record = { to = "${dir}/out/capture", ${record} },
    shared = { store = rp.shm.store { size = "1m" }, cache = rp.shm.cache { size = "1m" },
        buckets = rp.shm.buckets { size = "1m" }, counters = rp.shm.counters { size = "1m" },
        top = rp.shm.top { size = "1m" }, distinct = rp.shm.distinct { size = "1m" } },
    upstreams = { origin = rp.upstream { peers = { "127.0.0.1:${nginx}" } },
        down = rp.upstream { peers = { "127.0.0.1:${closed}" } } },
    use = { rp.untrusted "boxed" { url = "http://127.0.0.1:${nginx}" }, { name = "gate",
        start = function() started = c:get("/conn").body end,
        early = function(req)
            if req:get("x-early") then return req:exit(403, r:get("early") or "early") end
        end,
        log = function() r:incr("logged") end } },
    hosts = { rp.host { default = true, routes = {
        rp.route { "/up/*", id = "up", upstream = "origin", use = { { name = "user",
            access = function(req)
                req.consumer = "u" .. r:incr("user")
                req.up:set("x-user", req.consumer)
            end,
            header_filter = function(req, res)
                res:set("x-dice", dice(1e9)) res:del("etag")
                res:set("x-times", text(req.duration, res.duration, res.upstream, res.timings))
            end,
            body_filter = function(_, _, piece) return piece:upper() end } } },
        rp.route { "/down", id = "down", upstream = "down" },
        rp.route { "/gone/*", id = "gone", respond = { 410, "gone" } },
        rp.route { "/*", id = "paths", content = function(req)
            return req:exit(200, text(paths[req.path](req)))
        end },
    } } },
}
]]

-- A plugin of somebody else, in a box.
local BOXED = [[
local rp = require "rproxy"
local M = rp.plugin { name = "boxed", schema = { url = { "url", required = true } } }
function M.setup(conf)
    local client = rp.http.client { timeout = 20 }
    return { access = function(req)
        if req.path ~= "/boxed" then return end
        local res = client:get(conf.url .. "/conn")
        local s = rp.tcp.connect { host = "127.0.0.1", port = tonumber(conf.url:match(":(%d+)")),
            timeout = 20 }
        s:write("GET /conn HTTP/1.0\r\n\r\n")
        local line = s:read("line")
        s:close()
        return req:exit(200, table.concat({ res.body, line, math.random(1e9), os.time(), rp.time(),
            rp.hex(rp.crypto.random(4)) }, " "))
    end }
end
return M
]]

local PATHS = { "/http", "/http", "/stream", "/refused", "/redis", "/redis", "/session", "/subscribe",
    "/tcp", "/unix", "/dns", "/fs", "/exec", "/lock", "/seat", "/shared", "/shared", "/fetch?k=1",
    "/fetch?k=1", "/time", "/dice", "/boxed", "/conn", "/together", "/started", "/up/x?a=%00b",
    "/up/y", "/down",
    "/gone/1", "/none" }

local function capture_lines(dir, n)
    local path, lines = dir .. "/out/capture", nil
    assert(posix.poll(function()
        lines = {}
        for line in (posix.read_file(path) or ""):gmatch("([^\n]+)\n") do
            if line:find('"kind":"request"', 1, true) then lines[#lines + 1] = line end
        end
        return #lines >= n
    end, 30), "the records did not come")
    return lines
end

local function replay(rp, ...)
    return proc.run { process.BIN, "replay", "-p", rp.site_path, ... }
end

local function folders()
    local dir = proc.temp_dir()
    os.execute(("mkdir %s/out %s/files && chmod 777 %s %s/out %s/files"):format(dir, dir, dir, dir, dir))
    return dir
end

local function start(record, vars)
    local dir = folders()
    local all = { record = record, dir = dir }
    for name, value in pairs(vars) do all[name] = value end
    return proc.rproxy { site = SITE, vars = all, files = {
        ["record.key"] = ("k"):rep(40), ["boxed.lua"] = BOXED } }, dir
end

local describe_with_servers = redis.is_installed() and NGINX and describe or pending

describe_with_servers("a recorded site", function()
    local rp, server, nginx, dir, key, vars, n

    local function get(path, fields, body)
        n = n + 1
        return http.get(rp.port, { method = body and "POST" or "GET", target = path,
            fields = fields, body = body })
    end

    setup(function()
        server, nginx = redis.start(), start_nginx()
        vars = { redis = server.port, nginx = nginx.port, sock = nginx.dir .. "/nginx.sock",
            closed = posix.free_port() }
        n = 0
        rp, dir = start("sample = 1, bodies = 'all', key = 'record.key'", vars)
        key = rp.dir .. "/record.key"
        for _, path in ipairs(PATHS) do get(path) end
        get("/http", { { "x-early", "1" } })
        get("/body", {}, ("\0\255body"):rep(2000))
        get("/bytes", { { "X-Bytes", "\200\255 \"\\ x" } })
        get("/secret?api_key=very+secret%20key", { { "Authorization",
            "Bearer aaaaaaaaaaaa.bbbbbbbbbbbb.cccccccccccc" }, { "Cookie", "sid=0123456789abcdef; a=b" } })
        get("/form", { { "Content-Type", "application/x-www-form-urlencoded" } },
            "a=1&b=%FFxx&password=correct+horse")
        get("/reader", {}, ("xy"):rep(20000))
        get("/json", { { "Content-Type", "application/json" } },
            '{"list":[1,"\195\188"],"password":"battery staple"}')
        capture_lines(dir, n)
        rp:stop()
        redis.stop(server)
        nginx.p:signal("KILL")
        nginx.p:wait(10)
    end)

    teardown(proc.cleanup)

    it("writes a file that only its worker may read", function()
        local out = io.popen(("stat -c %%a %s/out/capture"):format(dir)):read("*l")
        assert.equal("600", out)
    end)

    it("is replayed without its servers and decides nothing otherwise", function()
        local how, out, err = replay(rp, "--json", "--key", key,
            dir .. "/out/capture")
        local report = json.decode(out)
        assert.same({}, report.differences, err)
        assert.same({}, report.misses)
        assert.same({}, report.skipped)
        assert.equal(n, report.same)
        assert.equal(0, report.dice)
        assert.same({ exit = 0 }, how)
    end)

    it("keeps no secret as it was", function()
        local all = posix.read_file(dir .. "/out/capture")
        for _, secret in ipairs { "aaaaaaaaaaaa", "bbbbbbbbbbbb", "cccccccccccc", "0123456789abcdef",
            "very+secret", "very secret", "correct+horse", "correct horse", "battery staple" } do
            assert.falsy(all:find(secret, 1, true), secret)
        end
    end)

    it("cannot verify secrets without the key, and says so", function()
        local how, out = replay(rp, dir .. "/out/capture")
        assert.same({ exit = 1 }, how)
        assert.match("%-%-key FILE", out)
        assert.match("1 different", out)
    end)

    it("tells what another site decides otherwise", function()
        local text = posix.read_file(rp.site_path)
        text = text:gsub('"/gone/%*", id = "gone", respond = { 410, "gone" }',
            '"/gone/*", id = "gone2", upstream = "origin"')
        text = text:gsub('req%.up:set%("x%-user", req%.consumer%)',
            'req.up:set("x-user", "other") c:get("/new?x=1")')
        local path = rp.dir .. "/new.lua"
        posix.write_file(path, text)
        os.execute("chmod a+r " .. path)
        local how, out, err = proc.run { process.BIN, "replay", "-p", path, "--json", "--key",
            key, dir .. "/out/capture" }
        assert.same({ exit = 1 }, how, err)
        local report, texts = json.decode(out), {}
        for _, group in ipairs(report.differences) do texts[group.text] = group.count end
        assert.same({
            ["route gone -> gone2"] = 1,
            ["answer 410 by rproxy -> goes to upstream origin, whose answer is not known"] = 1,
            ["sent header x-user changed"] = 2,
        }, texts)
        assert.equal(3, report.different)
        assert.equal(("http.client.request GET http://127.0.0.1:%d/new"):format(vars.nginx),
            report.misses[1].text)
        assert.equal(2, report.misses[1].count)
    end)

    it("is replayed by route or plugin alone", function()
        local _, out = replay(rp, "--json", "--only", "up", dir .. "/out/capture")
        assert.equal(2, json.decode(out).requests)
        _, out = replay(rp, "--json", "--only", "user", dir .. "/out/capture")
        assert.equal(2, json.decode(out).requests)
    end)

    it("takes a torn last line and lines that are no records", function()
        local text = posix.read_file(dir .. "/out/capture")
        local path = dir .. "/broken"
        posix.write_file(path, "\0\1garbage\n{\"v\":9}\n{}\n" .. text:gsub("^", "") .. '{"v":1,"kind":"req')
        os.execute("chmod a+r " .. path)
        local how, out = replay(rp, "--key", key, path)
        assert.same({ exit = 0 }, how)
        assert.match("3 lines are no records", out)
        assert.match("the last line is torn", out)
    end)

    it("is trouble without a record", function()
        posix.write_file(dir .. "/empty", "")
        local how, _, err = replay(rp, dir .. "/empty")
        assert.same({ exit = 2 }, how)
        assert.match("no record in it", err)
        how = replay(rp, dir .. "/is-not-there")
        assert.same({ exit = 2 }, how)
    end)
end)

-- ---------------------------------------------------------------- which requests, and where to

local SMALL = [[ return rp.site { workers = ${workers},
    listeners = { rp.listen { "127.0.0.1:${port}" } },
    record = { to = "${dir}/out/capture", ${record} },
    hosts = { rp.host { default = true, routes = { rp.route { "/*", content = function(req)
        return req:exit(200, #(req:body() or "") .. " " .. rp.uuid.v4())
    end } } } } }]]

local HOOKED = [[ return rp.site { workers = 1,
    listeners = { rp.listen { "127.0.0.1:${port}" } },
    record = { to = "${dir}/out/capture", sample = { header = "X-Record", token = "a-long-token" } },
    hosts = { rp.host { default = true, routes = { rp.route { "/*", respond = { 200, "ok" },
        use = { { name = "seen",
            access = function() end,
            header_filter = function(_, res) res:set("x-seen", "1") end } } } } } } }]]

describe("record", function()
    local rp, dir

    after_each(function()
        if rp then rp:stop() end
        rp = nil
        proc.cleanup()
    end)

    local function start_small(record, workers)
        dir = folders()
        rp = proc.rproxy { site = SMALL, vars = { record = record, dir = dir, workers = workers or 1 } }
        return rp
    end

    it("takes the requests that carry the token, and hides it", function()
        start_small("sample = { header = 'X-Record', token = 'a-long-token' }")
        http.get(rp.port, "/none")
        http.get(rp.port, "/wrong", { ["X-Record"] = "another-token" })
        http.get(rp.port, "/right", { ["X-Record"] = "a-long-token" })
        local lines = capture_lines(dir, 1)
        rp:stop()
        rp = nil
        assert.equal(1, #capture_lines(dir, 1))
        assert.match('"path":"/right"', lines[1])
        assert.falsy(lines[1]:find("a-long-token", 1, true))
    end)

    it("takes one whole that comes after many that it did not take, on the same connection", function()
        dir = folders()
        rp = proc.rproxy { site = HOOKED, vars = { dir = dir } }
        local conn = wire.connect(rp.port)
        local function ask(fields)
            conn:send(("GET / HTTP/1.1\r\nHost: a\r\n%s\r\n"):format(fields))
            assert.equal("1", http.read(conn):header("x-seen"))
        end
        -- The first runs of a chain are measured, each: hooks are entered otherwise after these, but for
        -- the runs that leave garbage.
        for _ = 1, 70 do ask("") end
        for _ = 1, 20 do
            ask("")
            ask("X-Record: a-long-token\r\n")
        end
        conn:close()
        for _, line in ipairs(capture_lines(dir, 20)) do
            local seen = {}
            for i, entry in ipairs(json.decode(line).decisions.l) do
                local fields = {}
                for _, field in ipairs(entry.m) do fields[field[1]] = field[2] end
                seen[i] = ("%s %s %s"):format(fields.instance, fields.hook, fields.kind)
            end
            assert.same({ "seen access verdict", "seen header_filter set",
                "seen header_filter verdict" }, seen)
        end
    end)

    it("takes about the share that it is told", function()
        start_small("sample = 0.3")
        for i = 1, 200 do http.get(rp.port, "/" .. i) end
        rp:stop()
        rp = nil
        local n = #capture_lines(dir, 1)
        assert.is_true(n > 20 and n < 120, tostring(n))
    end)

    it("bounds the file and keeps as many old ones as it is told", function()
        start_small("sample = 1, max = '64k', keep = 2, body = '16k'", 2)
        for _ = 1, 24 do
            http.get(rp.port, { target = "/", method = "POST", body = ("b"):rep(16000) })
        end
        rp:stop()
        rp = nil
        local all = 0
        for _, name in ipairs { "capture", "capture.1", "capture.2" } do
            local text = assert(posix.read_file(dir .. "/out/" .. name), name)
            assert.is_true(#text <= 65536 + 25000, name .. " " .. #text)
            for line in text:gmatch("[^\n]+") do
                assert.same(1, json.decode(line).v)
                all = all + 1
            end
        end
        assert.is_true(all >= 6)
        assert.falsy(posix.exists(dir .. "/out/capture.3"))
        assert.falsy(posix.exists(dir .. "/out/capture.turning"))
    end)

    it("keeps so much of a body, and counts the rest", function()
        start_small("sample = 1, body = '1k'")
        http.get(rp.port, { target = "/", method = "POST", body = ("b"):rep(5000) })
        local line = json.decode(capture_lines(dir, 1)[1])
        assert.same({ bytes = 5000, cut = true, data = ("b"):rep(1024) }, line.request.body)
    end)

    it("serves on when its file cannot be written, and says so", function()
        start_small("sample = 1")
        os.execute("chmod 500 " .. dir .. "/out && chown 0:0 " .. dir .. "/out")
        for i = 1, 5 do assert.equal(200, http.get(rp.port, "/" .. i).status) end
        if io.popen("id -u"):read("*l") == "0" then
            rp:wait_stderr("records cannot be written")
            rp = nil -- complaints are expected
        end
    end)

    it("lets another limit be tried on what came", function()
        local site = [[ return rp.site { workers = 1, listeners = { rp.listen { "127.0.0.1:${port}" } },
            record = { to = "${dir}/out/capture", sample = 1 },
            shared = { b = rp.shm.buckets { size = "1m" } },
            use = { require "plugins.ratelimit" { zone = "b", rate = 1000 } },
            hosts = { rp.host { default = true, routes = {
                rp.route { "/*", respond = { 200, "ok" } } } } } }]]
        dir = folders()
        rp = proc.rproxy { site = site, vars = { dir = dir } }
        for i = 1, 6 do assert.equal(200, http.get(rp.port, "/" .. i).status) end
        capture_lines(dir, 6)
        assert.same({ exit = 0 }, (replay(rp, dir .. "/out/capture")))
        local path = rp.dir .. "/new.lua"
        posix.write_file(path, (posix.read_file(rp.site_path):gsub("rate = 1000",
            "rate = 0.001, burst = 2")))
        local how, out = proc.run { process.BIN, "replay", "-p", path, "--json", dir .. "/out/capture" }
        assert.same({ exit = 1 }, how)
        local report = json.decode(out)
        assert.same({}, report.misses)
        assert.equal(6, report.simulated)
        for _, group in ipairs(report.differences) do
            if group.kind == "answer" then
                assert.equal("answer 200 by rproxy -> 429 by ratelimit", group.text)
                assert.equal(4, group.count)
            end
        end
    end)

    it("survives a reload", function()
        start_small("sample = 1")
        http.get(rp.port, "/before")
        process.must(rp, "reload")
        http.get(rp.port, "/after")
        local lines = capture_lines(dir, 2)
        assert.match('"path":"/before"', lines[1])
        assert.match('"path":"/after"', lines[2])
    end)

    it("is refused without a file, and with a share that is none", function()
        local path = proc.temp_dir() .. "/site.lua"
        local function complaint(record)
            posix.write_file(path, ([[local rp = require("rproxy") return rp.site {
                record = { %s }, listeners = { rp.listen { "127.0.0.1:1" } },
                hosts = { rp.host { default = true, routes = {
                    rp.route { "/", respond = { 200 } } } } } }]]):format(record))
            local how, _, err = proc.run { process.BIN, "-t", "-p", path }
            assert.not_same({ exit = 0 }, how)
            return err
        end
        assert.match("record: to is missing", complaint("sample = 1"))
        assert.match("record.sample", complaint("to = '/tmp/x', sample = 2"))
        assert.match("record.sample", complaint("to = '/tmp/x', sample = { header = 'x' }"))
        assert.match("record.to", complaint("to = 'x'"))
        assert.match("record.key", complaint("to = '/tmp/x', key = 'none.key'"))
    end)
end)

-- ---------------------------------------------------------------- what others write

describe("a capture that somebody tampered with", function()
    teardown(proc.cleanup)

    it("is trouble, a difference or nothing, but never the end of replay", function()
        local dir = folders()
        local rp = proc.rproxy { site = SMALL, vars = { record = "sample = 1", dir = dir, workers = 1 } }
        for i = 1, 3 do
            http.get(rp.port, { target = "/" .. i, method = "POST", body = "body", fields = {
                ["X-A"] = "\200" } })
        end
        local lines = capture_lines(dir, 3)
        rp:stop()
        math.randomseed(11)
        local pieces = { "null", "[]", "{}", "-1", "1e308", '"\\u0000"', '"x\\r\\ny: z"', "true",
            '{"b":"%%"}', '{"o":"tcp","m":[[1,2]]}', '{"m":[[null,1]]}', '{"n":"nan"}', ("["):rep(300) }
        local out = {}
        for i = 1, 400 do
            local line = lines[i % 3 + 1]
            -- Something else for a value somewhere, or a byte changed.
            local at = math.random(#line)
            if math.random(3) == 1 then
                line = line:sub(1, at - 1) .. string.char(math.random(32, 126)) .. line:sub(at + 1)
            else
                local first, last = line:find(':"[^"]*"', at)
                if not first then first, last = line:find(":%d+", at) end
                if first then
                    line = line:sub(1, first) .. pieces[math.random(#pieces)] .. line:sub(last + 1)
                end
            end
            out[i] = line
        end
        posix.write_file(dir .. "/bad", table.concat(out, "\n") .. "\n")
        os.execute("chmod a+r " .. dir .. "/bad")
        local how, text, err = replay(rp, dir .. "/bad")
        assert.is_true(how.exit == 0 or how.exit == 1, text .. err)
        assert.equal("", err)
    end)
end)
