-- SPDX-License-Identifier: MIT
--
-- Hedging: a second try beside a first one that keeps us waiting, whose answer is taken, and what
-- becomes of the other. Nothing here depends on how long anything takes: a first try that is to wait
-- waits until the test lets it go on.

local e2e = require("spec.support.e2e")
local http = require("spec.support.http")
local metrics = require("spec.support.metrics")
local origin = require("spec.support.origin")
local posix = require("spec.support.posix")
local process = require("spec.support.process")
local wire = require("spec.support.wire")

local function answer(status, body, fields)
    return { status = status, body = body, fields = fields }
end

describe("hedging", function()
    local rp, good, bad, slow, slower, hang, close_hang

    setup(function()
        good = origin.start {
            ["/both_fail"] = { { reset = true } },
            ["/first_fails"] = { { gate = "first_fails" }, { send = "HTTP/1.1 200 OK\r\n"
                .. "Content-Length: 4\r\n\r\ngood" } },
            ["/refused"] = { { gate = "refused" }, { send = "HTTP/1.1 200 OK\r\n"
                .. "Content-Length: 4\r\n\r\ngood" } },
            ["/hints"] = { { send = "HTTP/1.1 103 Early Hints\r\nLink: </b>\r\n\r\n" },
                { send = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood" } },
            ["*"] = answer(200, "good"),
        }
        -- Its first request of a kind waits for ever.
        bad = origin.start {
            ["/quick"] = answer(200, "bad"),
            ["/both_fail"] = { { gate = "both_fail" }, { reset = true } },
            ["/first_fails"] = { { gate = "reset" }, { reset = true } },
            ["/refused"] = { { gate = "refuse" }, { send = "HTTP/1.1 503 Busy\r\n"
                .. "Content-Length: 4\r\n\r\nbusy" } },
            ["/hints"] = { { send = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" },
                { hang = true } },
            ["*"] = { { hang = true } },
        }
        slow, slower = e2e.listen(), e2e.listen()
        hang, close_hang = e2e.full_port()
        rp = e2e.proxy {
            vars = { good = good.port, bad = bad.port, slow = slow.port,
                slower = slower.port, hang = hang },
            before = [[
                local function up(t)
                    t.balance = t.balance or "first"
                    t.max_fails = t.max_fails or 0
                    t.hedge = t.hedge or { after = "20ms", budget = 100 }
                    t.peers = t.peers or { "127.0.0.1:${bad}", "127.0.0.1:${good}" }
                    return rp.upstream(t)
                end
                local function at(path, upstream, more)
                    local route = more or {}
                    route[1], route.upstream, route.strip_prefix = path .. "/*", upstream, path
                    return rp.route(route)
                end
                local function by_hook(req, up)
                    req.ctx.asked = (req.ctx.asked or 0) + 1
                    if req:get("x-wait") then rp.sleep(0.01) end
                    if req:get("x-exit") and up.attempt == 2 then
                        return req:exit(418, "no second one")
                    end
                    if req:get("x-same") then return up:peer("127.0.0.1:${bad}") end
                    up:peer(up.attempt == 1 and "127.0.0.1:${bad}" or "127.0.0.1:${good}")
                end
                local KEPT = { request = true }
            ]],
            site = [[
                log = { access = { to = "${dir}/access.log", format = "json", buffer = 0,
                    fields = { "uri", "status", "reason", "tries", "hedges", "hedged", "upstream",
                        "ctx.asked" } } },
                upstreams = {
                    plain = up { },
                    patient = up { hedge = { after = "1m" } },
                    played = up { peers = { "127.0.0.1:${slow}", "127.0.0.1:${good}" } },
                    pair = up { peers = { "127.0.0.1:${slow}", "127.0.0.1:${slower}" }, tries = 2 },
                    -- The second try hangs, the first is played.
                    lost = up { peers = { "127.0.0.1:${slow}", "127.0.0.1:${bad}" } },
                    connecting = up { peers = { "127.0.0.1:${hang}", "127.0.0.1:${good}" },
                        timeouts = { connect = "30s" } },
                    picky = up { retry = { on = { 503, "reset" }, backoff = 0 } },
                    brave = up { hedge = { after = "20ms", budget = 100, non_idempotent = true } },
                    poor = up { hedge = { after = "5ms", budget = 0 },
                        timeouts = { first_byte = "2s" }, retry = { on = {} } },
                    hooked = up { balance = by_hook },
                    bound = up { sticky = { cookie = "at" }, timeouts = { first_byte = "150ms" } },
                    full = up { peers = { "127.0.0.1:${bad}",
                        { "127.0.0.1:${slow}", max_conns = 1 } }, tries = 2,
                        timeouts = { first_byte = "2s" } },
                    one = up { tries = 1, timeouts = { first_byte = "150ms" } },
                    late = up { retry = { on = { "timeout" }, per_try = "2s", backoff = 0 },
                        hedge = { after = "50ms", budget = 100 } },
                    learning = up { hedge = { after = "p90", budget = 100 },
                        timeouts = { first_byte = "30s" } },
                },
                hosts = { rp.host { default = true, routes = {
                    at("/plain", "plain"), at("/patient", "patient"),
                    at("/pair", "pair"), at("/played", "played"), at("/lost", "lost"),
                    at("/connecting", "connecting"), at("/picky", "picky"), at("/brave", "brave"),
                    at("/brave_kept", "brave", { buffer = KEPT }), at("/poor", "poor"),
                    at("/kept", "plain", { buffer = KEPT }), at("/hooked", "hooked"),
                    at("/bound", "bound"), at("/full", "full"), at("/one", "one"),
                    at("/late", "late"), at("/learning", "learning"),
                    rp.route { "GET /metrics", content = "metrics" },
                } } } ]],
        }
    end)

    teardown(function()
        close_hang()
        e2e.stop(rp)
    end)
    after_each(function() wire.close_all() end)

    local function get(target, fields) return http.get(rp.port, target, fields) end

    -- The one line about a target.
    local function line(target)
        local found = posix.poll(function()
            local text = posix.read_file(rp.dir .. "/access.log") or ""
            return text:match('{"uri":"' .. target:gsub("%p", "%%%0") .. '"[^\n]*\n')
        end)
        return assert(found, "no line about " .. target)
    end

    local function logged(target, tries, hedges, hedged)
        assert.matches(('"tries":%d,"hedges":%d,"hedged":%s,'):format(tries, hedges,
            tostring(hedged)), line(target), 1, true)
    end

    -- A request whose first try reached the upstream that the test plays.
    local function begin(target)
        local w = wire.connect(rp.port)
        w:send(http.format { target = target })
        local up = slow:accept()
        e2e.head(up)
        return w, up
    end

    it("does nothing for an answer that comes in time", function()
        assert.equal("bad", get("/patient/quick").body)
        logged("/patient/quick", 1, 0, false)
    end)

    it("asks another peer, takes its answer and cancels the first try", function()
        local w, up = begin("/played/a")
        local res = http.read(w)
        assert.equal("good", res.body)
        local _, why = up:recv_all()
        assert.not_equal("timeout", why)
        logged("/played/a", 2, 1, true)
        assert.matches('"upstream":"127.0.0.1:' .. good.port, line("/played/a"), 1, true)
    end)

    it("takes the first one's answer when that comes first, and cancels the second", function()
        local before = metrics.value(rp, "rproxy_hedges_total")
        local w, up = begin("/lost/b")
        assert.truthy(posix.poll(function() -- the second try is under way
            return (metrics.value(rp, "rproxy_hedges_total") or 0) > before
        end))
        up:send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirst")
        assert.equal("first", http.read(w).body)
        logged("/lost/b", 2, 1, false)
    end)

    it("waits for the second try when the first fails meanwhile", function()
        local w = wire.connect(rp.port)
        w:send(http.format { target = "/plain/first_fails" })
        posix.poll(function() return good:count("/first_fails") == 1 end)
        bad:open_gate("reset") -- a kept connection that breaks is nobody's failure: no word of it
        bad:wait_connections(function(list)
            for _, conn in ipairs(list) do if conn.closed == "origin" then return true end end
        end)
        good:open_gate("first_fails")
        assert.equal("good", http.read(w).body)
        assert.equal(1, good:count("/first_fails"))
    end)

    it("answers a failure when both fail, and nobody else can be asked", function()
        local w = wire.connect(rp.port)
        w:send(http.format { target = "/plain/both_fail" })
        good:wait_requests(1)
        bad:open_gate("both_fail")
        assert.equal(502, http.read(w).status)
    end)

    it("waits for the other try when one brings an answer that is not passed on", function()
        local w = wire.connect(rp.port)
        w:send(http.format { target = "/picky/refused" })
        bad:open_gate("refuse")
        rp:wait_stderr("upstream=picky")
        good:open_gate("refused")
        assert.equal("good", http.read(w).body)
    end)

    it("leaves a connection that does not come about", function()
        assert.equal("good", get("/connecting/c").body)
        logged("/connecting/c", 2, 1, true)
    end)

    it("passes on what both say before their answers, and one answer", function()
        local w = wire.connect(rp.port)
        local res = http.request(w, { target = "/plain/hints" })
        assert.equal("good", res.body)
        assert.is_true(#res.interim >= 1 and #res.interim <= 2)
    end)

    it("asks twice for a body that is buffered, and only for that", function()
        local function put(target, method)
            return http.get(rp.port, { method = method or "PUT", target = target,
                body = ("0123456789"):rep(1000) })
        end
        assert.equal("good", put("/kept/put").body)
        local req = e2e.last(good)
        assert.equal("PUT", req.method)
        assert.equal(10000, req.body_len)
        logged("/kept/put", 2, 1, true)
        assert.equal("good", put("/brave_kept/post", "POST").body)
        logged("/brave_kept/post", 2, 1, true)
    end)

    it("sends a body that does not fit into memory to both", function()
        local body = ("0123456789abcdef"):rep(64 * 1024)
        local res = http.get(rp.port, { method = "PUT", target = "/kept/large", body = body })
        assert.equal("good", res.body)
        assert.equal(origin.sum(body), e2e.last(good).body_sum)
    end)

    it("leaves alone what may not be done twice", function()
        local w = wire.connect(rp.port)
        w:send(http.format { method = "POST", target = "/kept/once", body = "x" })
        local p = wire.connect(rp.port)
        p:send(http.format { method = "PUT", target = "/plain/streamed", body = "x" })
        local q = wire.connect(rp.port)
        q:send(http.format { method = "POST", target = "/brave/streamed", body = "x" })
        -- One after them is asked for twice, so they had the time for it.
        assert.equal("good", get("/plain/after").body)
        assert.equal(0, good:count("/once"))
        for _, c in ipairs { w, p, q } do c:close() end
        for _, target in ipairs { "/kept/once", "/plain/streamed", "/brave/streamed" } do
            logged(target, 1, 0, false)
        end
    end)

    it("asks the balance hook again, also one that waits", function()
        assert.equal("good", get("/hooked/h").body)
        assert.matches('"ctx.asked":"2"', line("/hooked/h"), 1, true)
        assert.equal("good", get("/hooked/w", { ["X-Wait"] = "yes" }).body)
        logged("/hooked/w", 2, 1, true)
    end)

    it("takes the balance hook's own answer", function()
        assert.equal(418, get("/hooked/exit", { ["X-Exit"] = "yes" }).status)
    end)

    it("is not done when the balance hook names the same peer again", function()
        local w = wire.connect(rp.port)
        w:send(http.format { target = "/hooked/same", fields = { ["X-Same"] = "yes" } })
        assert.equal("good", get("/hooked/after_same").body)
        assert.equal("good", get("/hooked/after_same2").body)
        w:close()
        logged("/hooked/same", 1, 1, false)
    end)

    it("is not done for a client that is bound to its peer", function()
        local res
        for _ = 1, 50 do -- until it is quick enough
            res = get("/bound/quick")
            if res.body == "bad" then break end
        end
        local cookie = res:header("set-cookie"):match("^[^;]+")
        assert.equal(504, get("/bound/x", { Cookie = cookie }).status)
        logged("/bound/x", 1, 0, false)
    end)

    it("counts as a try, and needs a peer with a free seat", function()
        assert.equal(504, get("/one/x").status)
        logged("/one/x", 1, 0, false)
        local holder = wire.connect(rp.port)
        holder:send(http.format { target = "/full/hold" })
        local up = slow:accept() -- its second try has the only seat
        assert.equal(504, get("/full/y").status)
        logged("/full/y", 1, 0, false)
        up:close()
    end)

    it("keeps to its budget", function()
        local before = #good:requests()
        for _ = 1, 10 do assert.equal("good", get("/poor/x").body) end
        assert.equal(before + 10, #good:requests())
        assert.equal(504, get("/poor/spent").status)
        logged("/poor/spent", 1, 0, false)
    end)

    it("lives with a time for each try", function()
        assert.equal("good", get("/late/x").body)
    end)

    it("begins after a quantile of the latencies, once enough are known", function()
        local w = wire.connect(rp.port)
        for _ = 1, 100 do http.request(w, { target = "/learning/quick" }) end
        assert.equal("good", get("/learning/x").body)
        logged("/learning/x", 2, 1, true)
    end)

    it("ends with its client", function()
        local w, up = begin("/played/hang")
        w:close()
        local _, why = up:recv_all()
        assert.not_equal("timeout", why)
        line("/played/hang")
    end)

    it("lives on while the site is loaded anew", function()
        local w, up = begin("/lost/reload")
        rp:signal("HUP")
        assert.truthy(rp:wait_stderr("generation=2"))
        up:send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirst")
        assert.equal("first", http.read(w).body)
    end)

    -- What happens in fn is news of one tick.
    local function at_once(fn)
        local pid = process.workers(rp)[1]
        posix.kill(pid, "STOP")
        fn()
        posix.kill(pid, "CONT")
    end
    -- A request with both its tries under way.
    local function begin_pair(target)
        local w, first = begin(target)
        local second = slower:accept()
        e2e.head(second)
        return w, first, second
    end
    local function say(up, text)
        up:send("HTTP/1.1 200 OK\r\nContent-Length: " .. #text .. "\r\n\r\n" .. text)
    end
    local ENDS = {
        ["both answer"] = { function(first, second) say(first, "one") say(second, "two") end, 200 },
        ["the second answers, then the first"] = { function(first, second)
            say(second, "two") say(first, "one") end, 200 },
        ["the first breaks and the second answers"] = { function(first, second)
            first:reset() say(second, "two") end, 200, "two" },
        ["the second breaks and the first answers"] = { function(first, second)
            second:reset() say(first, "one") end, 200, "one" },
        ["both break"] = { function(first, second) first:reset() second:reset() end, 502 },
        ["both answer and the client goes"] = { function(first, second, w)
            say(first, "one") say(second, "two") w:reset() end },
        ["both break and the client goes"] = { function(first, second, w)
            first:reset() second:reset() w:reset() end },
        ["one says nothing that is HTTP"] = { function(first, second)
            first:close() say(second, "two") end, 200, "two" },
    }
    for name, case in pairs(ENDS) do
        it("ends well when in one moment " .. name, function()
            local target = "/pair/" .. name:gsub("[^%a]", "-")
            local w, first, second = begin_pair(target)
            at_once(function() case[1](first, second, w) end)
            if case[2] then
                local res = http.read(w)
                assert.equal(case[2], res.status)
                if case[3] then assert.equal(case[3], res.body) end
            end
            assert.matches('"tries":2,"hedges":1', line(target), 1, true)
            assert.equal("bad", get("/patient/quick").body)
        end)
    end

    it("is counted", function()
        assert.truthy(posix.poll(function()
            local all = metrics.all(rp)
            return all.rproxy_hedges_total > 10 and all.rproxy_hedges_won_total > 10
        end), metrics.value(rp, "rproxy_hedges_total"))
    end)
end)
