-- SPDX-License-Identifier: MIT
--
-- rp.http.client { upstream = .. }: requests of hooks to upstreams of the site, by their balancing,
-- health and TLS; and copies of the mirror that go there.

local e2e = require("spec.support.e2e")
local http = require("spec.support.http")
local metrics = require("spec.support.metrics")
local origin = require("spec.support.origin")
local posix = require("spec.support.posix")
local process = require("spec.support.process")
local tls = require("spec.support.tls")

local rp

-- /get?TARGET: what a request of the hook to upstream "api" gave.
local BEFORE = [[ local rp = require("rproxy")
    local client = rp.http.client { upstream = "api", timeout = 5 }
    local function ask(req)
        local res, err, detail = client:request { method = req.method, url = req.query or "/",
            body = req.method == "POST" and "hello" or nil }
        if not res then return req:exit(502, tostring(err) .. ": " .. tostring(detail)) end
        return req:exit(200, res.status .. " " .. res.body)
    end
    local ASK = { rp.route { "/get", content = ask } } ]]

local function start(upstream, vars, opt)
    local all = { before = BEFORE .. (opt and opt.before or ""), vars = vars, site = ([[
        upstreams = { api = rp.upstream { %s }, %s },
        hosts = { rp.host { default = true, routes = { rp.route { "/get", content = ask }, %s } } } ]])
        :format(upstream, opt and opt.upstreams or "", opt and opt.routes or "") }
    rp = e2e.proxy(all)
    rp:wait_stderr("serving site=")
end

local function ask(target, method)
    if method == "POST" then
        local w = require("spec.support.wire").connect(rp.port)
        local res = http.request(w, { method = "POST", target = "/get?" .. target, body = "" })
        w:close()
        return res
    end
    return http.get(rp.port, "/get?" .. target)
end

local function peer(name, port)
    return metrics.value(rp, ('rproxy_peer_%s{upstream="api",peer="127.0.0.1:%d"}'):format(name, port))
end

describe("a client of an upstream", function()
    after_each(function()
        if rp then e2e.stop(rp) end
        rp = nil
    end)

    it("asks its peers in turn, as requests do", function()
        local one = origin.start { ["*"] = { status = 200, body = "one" } }
        local two = origin.start { ["*"] = { status = 200, body = "two" } }
        start('peers = { "127.0.0.1:${one}", "127.0.0.1:${two}" }', { one = one.port, two = two.port })
        local seen = {}
        for _ = 1, 4 do
            local body = ask("/x?a=1").body
            seen[body] = (seen[body] or 0) + 1
        end
        assert.same({ ["200 one"] = 2, ["200 two"] = 2 }, seen)
        assert.equal("/x?a=1", one:requests()[1].target)
        assert.equal("api", e2e.field(one:requests()[1], "host"))
        assert.equal("200 one", ask("/y", "POST").body)
        assert.equal("hello", one:requests()[3].body)
        assert.equal(3, peer("requests_total", one.port))
        assert.equal(0, peer("in_flight", one.port))
        assert.equal(1, #one:connections()) -- they are kept
    end)

    it("passes over a peer that is down, and tells everybody", function()
        local up, dead = origin.start { ["*"] = { status = 200, body = "up" } }, posix.free_port()
        start([[peers = { "127.0.0.1:${dead}", "127.0.0.1:${up}" }, max_fails = 1, fail_rest = "1h",
            host = "api.test"]], { up = up.port, dead = dead })
        for _ = 1, 6 do assert.equal("200 up", ask("/").body) end
        assert.equal(1, peer("failures_total", dead))
        assert.equal(0, peer("up", dead))
        assert.equal("api.test", e2e.field(up:requests()[1], "host"))
    end)

    it("asks another peer when one breaks off or takes too long, as the upstream says", function()
        local bad = origin.start { ["/cut"] = { { close = true } }, ["/slow"] = { { hang = true } },
            ["*"] = { status = 200, body = "bad" } }
        local good = origin.start { ["*"] = { status = 200, body = "good" } }
        start([[peers = { "127.0.0.1:${bad}", "127.0.0.1:${good} backup" }, max_fails = 0,
            timeouts = { first_byte = "200ms" }, tries = 2,
            retry = { on = { "connect", "reset", "timeout" } }]], { bad = bad.port, good = good.port })
        assert.equal("200 bad", ask("/").body)
        assert.equal("200 good", ask("/cut").body)
        assert.equal("200 good", ask("/slow").body)
        local res = ask("/cut", "POST") -- it may have been done
        assert.equal(502, res.status)
        assert.equal(1, bad:count("/slow"))
    end)

    it("fails where nobody can be asked", function()
        start('peers = { "127.0.0.1:${dead}" }', { dead = posix.free_port() })
        local res = ask("/")
        assert.equal(502, res.status)
        assert.truthy(res.body:find("refused", 1, true), res.body)
        res = ask("http://127.0.0.1/")
        assert.equal(502, res.status)
        assert.truthy(res.body:find("no path that begins with a slash", 1, true), res.body)
    end)

    it("speaks TLS and HTTP/2 where the upstream does, over connections that requests use", function()
        local dir = tls.dir()
        tls.cert(dir, "a", { names = { "a.test" } })
        os.execute(("chmod 755 '%s' && chmod 644 '%s'/*.pem"):format(dir, dir))
        local back = e2e.proxy { vars = { certs = dir }, site = [[ http2 = { on = true },
            listeners = { rp.listen { "127.0.0.1:${port}", tls = { certs = { "${certs}/a.pem" } } } },
            hosts = { rp.host { default = true, routes = { rp.route { "/*", content = function(req)
                return req:exit(200, ("%s %s %d"):format(req.conn.tls.sni or "-", req.version,
                    req.conn.requests)) end } } } } ]] }
        start('peers = { "127.0.0.1:${back}" }, http = "auto", tls = { verify = false, sni = "a.test" }',
            { back = back.port, certs = dir }, { routes =
                'rp.route { "/direct", upstream = "api" },' })
        assert.equal("200 a.test 2 1", ask("/").body)
        assert.equal("a.test 2 2", http.get(rp.port, "/direct").body)
        assert.equal("200 a.test 2 3", ask("/").body)
        back:stop()
    end)

    it("waits for answers as long as the upstream may, also where two calls share a new connection",
        function()
            local slow = origin.start { ["*"] = { { wait = 1.5 },
                { send = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate" } } }
            local back = e2e.proxy { vars = { slow = slow.port }, site = [[
                upstreams = { o = rp.upstream { peers = { "127.0.0.1:${slow}" } } },
                hosts = { rp.host { default = true, routes = {
                    rp.route { "/*", upstream = "o" } } } } ]] }
            start('peers = { "127.0.0.1:${back}" }, http = "2", tries = 1, '
                .. 'timeouts = { connect = "1s" }', { back = back.port }, { before = [[
                    local patient = rp.http.client { upstream = "api", timeout = 60 }
                    local function one()
                        local res, err = patient:get("/")
                        return res and res.status .. res.body or err
                    end
                    local function both(req)
                        return req:exit(200, table.concat(assert(rp.all { one, one }), " "))
                    end ]], routes = 'rp.route { "/both", content = both }' })
            assert.equal("200late 200late", http.get(rp.port, "/both").body)
            assert.equal(2, #slow:requests())
            back:stop()
        end)

    it("is not in the way of a reload, nor is one in its way", function()
        local slow = origin.start { ["*"] = { { gate = "go" }, { send =
            "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate" } } }
        start('peers = { "127.0.0.1:${up}" }', { up = slow.port }, { before = [[
            local timer = { start = function()
                rp.after(0, function() client:get("/timer") end) end } ]],
            routes = 'rp.route { "/*", respond = { 200, "x" }, use = { timer } }' })
        slow:wait_requests(1) -- that of the timer
        local w = require("spec.support.wire").connect(rp.port)
        w:send("GET /get?/ HTTP/1.1\r\nHost: x\r\n\r\n")
        slow:wait_requests(2)
        process.must(rp, "reload")
        process.must(rp, "reload")
        slow:open_gate("go")
        assert.equal("200 late", http.read(w, { method = "GET" }).body)
        w:close()
        assert.equal("200 late", ask("/").body)
        assert.truthy(posix.poll(function() return peer("in_flight", slow.port) == 0 end, 60))
    end)

    it("lets go of its peer when its generation does, whatever waits", function()
        local slow = origin.start { ["/q"] = { { gate = "go" }, { close = true } },
            ["*"] = { status = 200, body = "ok" } }
        start('peers = { "127.0.0.1:${up}" }', { up = slow.port }, { before = [[
            local queue = rp.queue { every = 0.01, send = function() client:get("/q") return true end }
            local push = { log = function() queue:push("x") end } ]],
            routes = 'rp.route { "/push", respond = { 200, "x" }, use = { push } }' })
        http.get(rp.port, "/push")
        slow:wait_requests(1) -- the queue's task outlives its generation
        process.must(rp, "reload")
        http.get(rp.port, "/push")
        slow:wait_requests(2)
        process.must(rp, "reload")
        slow:open_gate("go")
        assert.equal("200 ok", ask("/").body)
        assert.truthy(posix.poll(function() return peer("in_flight", slow.port) == 0 end, 60))
        assert.is_nil(rp:stderr():find("worker died", 1, true))
    end)

    it("is for plugins whose settings name the upstream", function()
        start('peers = { "127.0.0.1:1" }', {}, { before = [[
            local plugin = rp.plugin { name = "asks", stage = "auth", schema = {
                upstream = { "upstream" } } }
            function plugin.setup(conf)
                local mine = rp.http.client { upstream = "api" }
                return { access = function() mine:get("/") end }
            end ]], routes = [[ rp.route { "/no", respond = { 200, "x" }, use = { plugin {} } },
                rp.route { "/yes", respond = { 200, "x" }, use = { plugin { upstream = "api" } } } ]] })
        assert.equal(200, http.get(rp.port, "/yes").status)
        assert.equal(503, http.get(rp.port, "/no").status)
        rp:wait_stderr("may not send requests to upstream")
    end)
end)

describe("the mirror", function()
    after_each(function()
        if rp then e2e.stop(rp) end
        rp = nil
    end)

    local function mirrored(vars, more)
        rp = e2e.proxy { vars = vars, before = [[ local rp = require("rproxy")
            local mirror = require("plugins.mirror") ]], site = ([[
            upstreams = { main = rp.upstream { peers = { "127.0.0.1:${main}" } },
                api = rp.upstream { peers = { "127.0.0.1:${one}"${more} }, max_fails = 1 } },
            hosts = { rp.host { default = true, routes = { rp.route { "/*", upstream = "main",
                use = { mirror { upstream = "api", %s } } } } } } ]]):format(more or "") }
        rp:wait_stderr("serving site=")
    end

    it("sends copies to an upstream, past a peer that is down", function()
        local main = origin.start { ["*"] = { status = 200, body = "main" } }
        local copy = origin.start { ["*"] = { status = 200, body = "copy" } }
        mirrored { main = main.port, one = posix.free_port(),
            more = (', "127.0.0.1:%d"'):format(copy.port) }
        for i = 1, 6 do assert.equal("main", http.get(rp.port, "/" .. i).body) end
        copy:wait_requests(6)
        assert.equal("1", e2e.field(copy:requests()[1], "x-mirrored"))
        assert.truthy(posix.poll(function()
            return metrics.value(rp, 'mirror_requests_total{result="sent"}') == 6
        end, 60))
        assert.is_nil(metrics.value(rp, 'mirror_requests_total{result="failed"}'))
    end)

    it("delays nobody when the upstream hangs, and drops what is too much", function()
        local main = origin.start { ["*"] = { status = 200, body = "main" } }
        local hangs = origin.start { ["*"] = { { hang = true } } }
        mirrored({ main = main.port, one = hangs.port, more = "" },
            "most = 2, timeout = \"30s\"")
        for i = 1, 8 do assert.equal("main", http.get(rp.port, "/" .. i).body) end
        assert.truthy(posix.poll(function()
            return metrics.value(rp, 'mirror_requests_total{result="dropped"}') == 6
        end, 60))
    end)
end)
