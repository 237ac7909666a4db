-- SPDX-License-Identifier: MIT
--
-- rp.metric in a running site: over workers, their deaths and reloads; the text that Prometheus reads.

local http = require("spec.support.http")
local metrics = require("spec.support.metrics")
local posix = require("spec.support.posix")
local proc = require("spec.support.proc")
local process = require("spec.support.process")
local wire = require("spec.support.wire")

local BEFORE = [[
    local hits = rp.metric.counter { "hits_total", help = "Requests, by path.", labels = { "path" },
        most = 3 }
    local level = rp.metric.gauge { "level" }
    local peak = rp.metric.gauge { "peak", over = "max" }
    local took = rp.metric.histogram { "took_seconds", labels = { "what" }, buckets = { 0.1, %s } }
    local odd = rp.metric.counter { "odd_total", labels = { "a", "b" } }
    local plain = rp.metric.counter { "plain_total" }
    hits:inc("at load") -- counts nothing
]]

local ROUTES = [[
    rp.route { "/hit/*", content = function(req) hits:inc(req.path) return req:exit(200, "ok") end },
    rp.route { "/level/{n}", content = function(req)
        level:set(tonumber(req.params.n)) peak:set(tonumber(req.params.n))
        return req:exit(200, "ok") end },
    rp.route { "/took/{n}", content = function(req)
        took:observe(tonumber(req.params.n), "x") took:with("y"):observe(1)
        return req:exit(200, "ok") end },
    rp.route { "/odd", content = function(req)
        odd:inc('q"\\\n', "\255\0\1") odd:inc(7, true) odd:inc("ä", ("x"):rep(300))
        plain:add(2.5) return req:exit(200, "ok") end },
    rp.route { "/new", content = function(req) rp.metric.counter { "late_total" } end },
    rp.route { "/same", content = function(req)
        rp.metric.counter { "plain_total" }:inc() return req:exit(200, "ok") end },
    rp.route { "/many/{n}", content = function(req)
        for i = 1, tonumber(req.params.n) do hits:inc("many " .. i) end
        return req:exit(200, "ok") end },
    rp.route { "GET /metrics", content = "metrics" },
    rp.route { "/*", respond = { 200, "ok" } },
]]

local rp

local function start(workers)
    rp = process.start { before = BEFORE:format("1"), routes = ROUTES, workers = workers or 1 }
end

after_each(function()
    local mine = rp
    rp = nil
    process.stop_if_running(mine)
end)

local function get(target) return http.get(rp.port, target) end
local function value(sample) return metrics.value(rp, sample) end

describe("metrics", function()
    it("are there from the start when they have no labels", function()
        start()
        assert.equal(0, value("plain_total"))
        assert.equal(0, value("level"))
        assert.is_nil(value('hits_total{path="at load"}'))
    end)

    it("count, bounded in label sets", function()
        start()
        for i = 1, 5 do for _ = 1, i do assert.equal(200, get("/hit/" .. i).status) end end
        for i = 1, 3 do assert.equal(i, value(('hits_total{path="/hit/%d"}'):format(i))) end
        assert.equal(9, value('hits_total{path="other"}'))
        assert.is_nil(value('hits_total{path="/hit/4"}'))
        assert.equal(9, value("rproxy_metrics_refused_total"))
    end)

    it("stay bounded and cheap in memory when every request has a new label", function()
        start()
        assert.equal(200, get("/many/1000").status)
        local before = value("rproxy_metrics_refused_total")
        assert.equal(200, get("/many/20000").status)
        assert.is_true(value("rproxy_metrics_refused_total") >= before + 19990)
        assert.is_true(value('hits_total{path="other"}') >= 20990)
    end)

    it("of histograms and gauges", function()
        start()
        for _, n in ipairs { "0.05", "0.1", "0.5", "7" } do get("/took/" .. n) end
        assert.equal(2, value('took_seconds_bucket{what="x",le="0.1"}'))
        assert.equal(3, value('took_seconds_bucket{what="x",le="1"}'))
        assert.equal(4, value('took_seconds_bucket{what="x",le="+Inf"}'))
        assert.equal(4, value('took_seconds_count{what="x"}'))
        assert.is_true(math.abs(value('took_seconds_sum{what="x"}') - 7.65) < 1e-9)
        assert.equal(4, value('took_seconds_count{what="y"}'))
        get("/level/5")
        get("/level/3")
        assert.equal(3, value("level"))
        assert.equal(3, value("peak"))
    end)

    it("have labels that no reader stumbles over", function()
        start()
        assert.equal(200, get("/odd").status)
        assert.equal(1, value([[odd_total{a="q\"\\\n",b="???"}]]))
        assert.equal(1, value('odd_total{a="7",b="true"}'))
        assert.equal(1, value('odd_total{a="other",b="other"}')) -- too long
        assert.equal(2.5, value("plain_total"))
    end)

    it("are defined at load; what is there already may be asked for later", function()
        start()
        assert.equal(500, get("/new").status)
        assert.equal(200, get("/same").status)
        assert.equal(1, value("plain_total"))
    end)

    it("are of all workers, outlive them, and a dead one has no level", function()
        start(2)
        local workers = process.wait_workers(rp, 2)
        local a, b
        posix.poll(function() -- connections to both workers
            a = a or wire.connect(rp.port)
            http.request(a, { target = "/level/5" })
            b = wire.connect(rp.port)
            http.request(b, { target = "/level/3" })
            return value("level") == 8 or value("level") == 6
        end)
        for _ = 1, 10 do assert.equal(200, get("/hit/x").status) end
        local level = value("level")
        assert.equal(10, value('hits_total{path="/hit/x"}'))
        for _, pid in ipairs(workers) do posix.kill(pid, "KILL") end
        process.wait_workers(rp, 2, workers)
        assert.is_true(level > 0)
        assert.truthy(posix.poll(function() return value("level") == 0 end))
        assert.equal(0, value("peak"))
        assert.equal(10, value('hits_total{path="/hit/x"}'))
        get("/hit/x")
        assert.equal(11, value('hits_total{path="/hit/x"}'))
    end)

    it("go on over a reload, also one that defines one otherwise", function()
        start()
        get("/hit/x")
        get("/took/0.5")
        process.must(rp, "reload")
        get("/hit/x")
        assert.equal(2, value('hits_total{path="/hit/x"}'))
        process.change(rp, { before = BEFORE:format("2"), routes = ROUTES, workers = 1 })
        process.must(rp, "reload")
        get("/took/1.5")
        assert.equal(1, value('took_seconds_bucket{what="x",le="2"}'))
        assert.is_nil(value('took_seconds_bucket{what="x",le="1"}'))
    end)

    it("are the same by request, in a type that Prometheus takes", function()
        start()
        get("/hit/x")
        get("/took/1")
        local res = get("/metrics")
        assert.equal("text/plain; version=0.0.4; charset=utf-8", res:header("content-type"))
        local all = metrics.parse(res.body)
        assert.equal(1, all['hits_total{path="/hit/x"}'])
        assert.is_number(all.rproxy_requests_total)
        assert.is_number(all['rproxy_plugin_calls_total{instance="metrics"}'])
        assert.matches("\n# HELP hits_total Requests, by path%.\n# TYPE hits_total counter\n",
            res.body)
        assert.matches("\n# TYPE took_seconds histogram\n", res.body)
        assert.matches("\n# TYPE level gauge\n", res.body)
    end)

    describe("on a listener of their own", function()
        -- By curl: it speaks HTTP/1.1 whatever the other listeners speak.
        local function curl(...)
            local how, out = proc.run { "curl", "-si", ... }
            assert.same({ exit = 0 }, how)
            return out
        end

        it("are all that it answers with, and no other listener does", function()
            local port = posix.free_port()
            rp = process.start { before = BEFORE:format("1"), more =
                ('metrics = { listen = "127.0.0.1:%d", path = "/numbers" },'):format(port) }
            local url = "http://127.0.0.1:" .. port
            assert.equal("one", get("/numbers").body)
            local answer
            assert.is_truthy(posix.poll(function() -- workers tell their counters now and then
                answer = curl(url .. "/numbers?x=1")
                return answer:find("\nrproxy_requests_total [1-9]")
            end))
            assert.matches("^HTTP/1.1 200 ", answer)
            assert.matches("\r\nContent%-Type: text/plain; version=0.0.4; charset=utf%-8\r\n", answer)
            assert.matches("\r\nCache%-Control: no%-store\r\n", answer)
            assert.matches("\nplain_total 0\n", answer)
            assert.matches("^HTTP/1.1 404 ", curl(url .. "/"))
            assert.matches("^HTTP/1.1 404 ", curl(url .. "/numbers/"))
            local refused = curl("-X", "POST", url .. "/numbers")
            assert.matches("^HTTP/1.1 405 ", refused)
            assert.matches("\r\nAllow: GET, HEAD\r\n", refused)
            local head = curl("-I", url .. "/numbers")
            assert.matches("^HTTP/1.1 200 .*\r\nContent%-Length: [1-9]%d+\r\n\r\n$", head)
        end)

        it("come and go with a reload", function()
            local port = posix.free_port()
            local more = ('metrics = { listen = "127.0.0.1:%d" },'):format(port)
            rp = process.start {}
            process.change(rp, { more = more })
            process.must(rp, "reload")
            assert.matches("^HTTP/1.1 200 ", curl(("http://127.0.0.1:%d/metrics"):format(port)))
            process.change(rp, { listen = ('rp.listen { "127.0.0.1:%d" },'):format(port) })
            process.must(rp, "reload") -- the same socket, as a listener of the site
            assert.equal("one", http.get(port, "/metrics").body)
            process.change(rp, {})
            process.must(rp, "reload")
            assert.is_true(posix.poll(function() return not posix.is_listening(port) end, 30))
        end)
    end)
end)
