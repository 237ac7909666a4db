-- SPDX-License-Identifier: MIT
--
-- Whatever can be waited for can be waited for in every hook, for clients of HTTP/1.1 and HTTP/2: each
-- hook here sleeps, runs tasks beside each other, asks over TCP, UDP and HTTP, looks up a name, and
-- logs what came of it.

local e2e = require("spec.support.e2e")
local http = require("spec.support.http")
local posix = require("spec.support.posix")
local proc = require("spec.support.proc")
local wire = require("spec.support.wire")

local BEFORE = [==[
    local c = rp.http.client { base = "http://127.0.0.1:${origin}", timeout = 10 }
    local ONE = { body = "one" }

    local function over_tcp()
        local s = assert(rp.tcp.connect { host = "localhost", port = ${origin}, timeout = 10 })
        assert(s:write { "GET /one HTTP/1.1\r\n", "Host: a\r\n\r\n" })
        assert(s:read("line") == "HTTP/1.1 200 OK")
        assert(s:read_until("\r\n\r\n"))
        assert(s:read(3) == ONE.body)
        s:release()
        return "tcp"
    end

    local function over_udp()
        local u = assert(rp.udp.connect { host = "127.0.0.1", port = ${udp}, timeout = 0.01 })
        assert(u:send("x"))
        local _, err = u:receive()
        u:close()
        return (err == "timeout" or err == "refused") and "udp" or "udp: " .. tostring(err)
    end

    local function words()
        rp.sleep(0.001)
        local list = assert(rp.all { over_tcp, over_udp,
            function() return assert(c:get("/one")).body == ONE.body and "http" end,
            function() return rp.dns.resolve("localhost")[1] and "dns" end })
        list[#list + 1] = rp.any { function() rp.sleep(60) end,
            function() rp.sleep(0.001) return "any" end }
        list[#list + 1] = rp.deadline(0.002, rp.sleep, 60) == nil and "deadline"
        local _, spawned = rp.spawn(function() rp.sleep(0.001) return "spawn" end):wait()
        list[#list + 1] = spawned
        return table.concat(list, ",")
    end

    local done = {}
    local function check(name)
        local ok, what = pcall(words)
        local count = (done[name] or 0) + 1
        done[name] = count
        rp.log.info("checked", { hook = name, ok = tostring(ok), what = what })
    end

    local function request_hook(name)
        return function(req, res, piece, last)
            check(name)
            if piece and last then return piece .. "+" .. name end
        end
    end

    local everywhere = {
        early = request_hook("early"), access = request_hook("access"),
        rewrite = request_hook("rewrite"), header_filter = request_hook("header_filter"),
        body_filter = function(req, res, piece, last)
            if last then check("body_filter") return piece .. "+filtered" end
        end,
        request_body = function(req, piece, last)
            if last then check("request_body") end
            return piece:upper()
        end,
        log = request_hook("log"),
        start = function(worker)
            check("start")
            rp.after(0.001, function() check("after") end)
            local timer
            timer = rp.every(0.001, function() check("every") timer:cancel() end)
            rp.detach(function() check("detach") end)
        end,
        stop = function() check("stop") end,
    }
]==]

local SITE = [==[
    http2 = { on = true },
    upstreams = {
        o = rp.upstream { peers = { "127.0.0.1:${origin}" }, balance = function(req, up)
            check("balance") end },
        plain = rp.upstream { peers = { "127.0.0.1:${origin}" } },
    },
    streams = { rp.stream { "127.0.0.1:${raw}", upstream = "plain", use = { {
        connect = function(conn) check("connect") end,
        log = function(conn) check("stream_log") end } } } },
    use = { everywhere },
    hosts = { rp.host { default = true, routes = {
        rp.route { "/content", content = function(req)
            check("content")
            return req:exit(200, "made")
        end },
        rp.route { "/written", content = function(req)
            local out = req:respond(200)
            check("content")
            assert(out:write("wri"))
            check("content")
            assert(out:flush())
            assert(rp.all { function() rp.sleep(0.001) return out:write("tten") end })
        end },
        rp.route { "/events", content = function(req)
            local es = req:events()
            check("content")
            assert(es:send("e"))
            check("content")
        end },
        rp.route { "/read", content = function(req)
            local pieces, reader = {}, req:body_reader()
            check("reading")
            for piece in reader:chunks() do pieces[#pieces + 1] = piece end
            return req:exit(200, table.concat(pieces))
        end },
        rp.route { "/make", upstream = "o", use = { { rewrite = function(req)
            local reader = req:body_reader()
            req:set_body(function() check("source") return reader:read() end)
        end } } },
        rp.route { "/abandoned", content = function(req)
            rp.spawn(function()
                local s = assert(rp.tcp.connect { host = "127.0.0.1", port = ${quiet} })
                s:write("child\n")
                s:read(1)
            end)
            local s = assert(rp.tcp.connect { host = "127.0.0.1", port = ${quiet} })
            s:write("hook\n")
            s:read(1)
        end },
        rp.route { "/*", upstream = "o" } } } } ]==]

local ALL = "tcp,udp,http,dns,any,deadline,spawn"

describe("waiting in hooks", function()
    local rp, up, quiet

    setup(function()
        quiet = e2e.listen()
        rp, up = e2e.pair({ ["*"] = { status = 200, body = "one" } }, { before = BEFORE, site = SITE,
            vars = { udp = posix.free_port(), raw = posix.free_port(), quiet = quiet.port } })
    end)
    teardown(function() e2e.stop(rp) end)
    after_each(wire.close_all)

    local function wait_checked(mark, names)
        for _, name in ipairs(names) do
            local pattern = "checked hook=" .. name .. " "
            local line
            posix.poll(function()
                for text in rp:stderr():sub(mark + 1):gmatch("[^\n]+") do
                    if text:find("checked", 1, true) and text:find("hook=" .. name, 1, true) then
                        line = text
                    end
                end
                return line
            end)
            assert.truthy(line, pattern)
            assert.truthy(line:find(ALL, 1, true), line)
            assert.truthy(line:find("ok=true", 1, true), line)
        end
    end

    local function curl(version, target, body)
        local _, out, err = proc.run { "curl", "-s", "-S", version, "--max-time", "50",
            ("http://127.0.0.1:%d%s"):format(rp.port, target), body and "-d", body }
        assert.equal("", err)
        return out
    end

    -- Among what the hooks asked for.
    local function posted(target)
        local body
        for _, got in ipairs(up:requests()) do
            if got.target == target and got.method == "POST" then body = got.body end
        end
        return body
    end

    it("works in start hooks and timers", function()
        wait_checked(0, { "start", "after", "every", "detach" })
    end)

    for name, version in pairs { ["HTTP/1.1"] = "--http1.1", ["HTTP/2"] = "--http2-prior-knowledge" } do
        it("works in the hooks of a proxied request in " .. name, function()
            local mark = #rp:stderr()
            assert.equal("one+filtered", curl(version, "/x"))
            wait_checked(mark, { "early", "access", "rewrite", "balance", "header_filter",
                "body_filter", "log" })
        end)

        it("works in hooks of request bodies, and beside their readers, in " .. name, function()
            local mark = #rp:stderr()
            assert.equal("one+filtered", curl(version, "/x", "body"))
            wait_checked(mark, { "request_body" })
            assert.equal("BODY", posted("/x"))
            assert.equal("body+filtered", curl(version, "/read", "body"))
            assert.equal("one+filtered", curl(version, "/make", "more"))
            assert.equal("MORE", posted("/make"))
            wait_checked(mark, { "reading", "source" })
        end)

        it("works in content hooks in " .. name, function()
            local mark = #rp:stderr()
            assert.equal("made+filtered", curl(version, "/content"))
            wait_checked(mark, { "early", "access", "content", "header_filter", "body_filter", "log" })
        end)
    end

    for name, version in pairs { ["HTTP/1.1"] = "--http1.1", ["HTTP/2"] = "--http2-prior-knowledge" } do
        it("works while a hook writes its answer in " .. name, function()
            for target, body in pairs { ["/written"] = "written", ["/events"] = "data: e\n\n" } do
                local mark = #rp:stderr()
                assert.equal(body .. "+filtered", curl(version, target))
                wait_checked(mark, { "access", "content", "header_filter", "body_filter", "log" })
            end
        end)
    end

    for name, version in pairs { ["HTTP/1.1"] = "--http1.1", ["HTTP/2"] = "--http2-prior-knowledge" } do
        it("ends, with all it opened, when a client goes away in " .. name, function()
            local client = proc.spawn { "curl", "-s", version,
                ("http://127.0.0.1:%d/abandoned"):format(rp.port) }
            local one, two = quiet:accept(), quiet:accept()
            one:recv_until("\n")
            two:recv_until("\n")
            client:signal("KILL")
            client:wait(10)
            assert.equal("closed", (select(2, one:recv_all())))
            assert.equal("closed", (select(2, two:recv_all())))
        end)
    end

    it("works in the hooks of relayed connections", function()
        local mark = #rp:stderr()
        assert.equal("one", http.get(rp.vars.raw, "/x").body)
        wait_checked(mark, { "connect", "stream_log" })
    end)

    it("works in stop hooks", function()
        local mark = #rp:stderr()
        wire.close_all()
        rp:stop()
        wait_checked(mark, { "stop" })
    end)
end)

describe("waiting while configurations are replaced", function()
    it("fails no request, and leaves nothing behind", function()
        local rp = e2e.pair({ ["*"] = { status = 200, body = "one" } }, { before = [[
            local c = rp.http.client { base = "http://127.0.0.1:${origin}" }
            local function go()
                local s = assert(rp.tcp.connect { host = "127.0.0.1", port = ${origin} })
                s:write("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                s:read_until("\r\n\r\n")
                s:read(3)
                s:release()
                assert(c:get("/x"))
                assert(c:get("/x", { stream = true })) -- and let go of by nobody
            end ]], site = [[
            use = { { start = function()
                go()
                rp.every(0.005, go)
                rp.detach(function() go() rp.sleep(600) end)
            end } },
            hosts = { rp.host { default = true, routes = { rp.route { "/*", content = function(req)
                go()
                rp.detach(go)
                rp.once("key", 0.005, go)
                rp.sleep(0.01)
                return req:exit(200, "ok")
            end } } } } ]] })
        for _ = 1, 8 do
            assert.equal("ok", http.get(rp.port, "/").body)
            rp:signal("HUP")
            assert.equal("ok", http.get(rp.port, "/").body)
        end
        e2e.stop(rp) -- the sanitizers look
    end)
end)
