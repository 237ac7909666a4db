-- SPDX-License-Identifier: MIT
--
-- Circuits, limits and outliers over real connections and several workers.

local e2e = require("spec.support.e2e")
local http = require("spec.support.http")
local origin = require("spec.support.origin")
local posix = require("spec.support.posix")
local proc = require("spec.support.proc")
local process = require("spec.support.process")
local protocol = require("spec.support.protocol")
local wire = require("spec.support.wire")

local ANSWERS = { ["/ok"] = { status = 200, body = "ok" }, ["/bad"] = { status = 500, body = "b" },
    ["/missing"] = { status = 404 },
    ["/slow"] = { { wait = 0.15 }, { send = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\ns" } },
    ["/cut"] = { { send = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi" }, { close = true } },
    ["/stall"] = { { send = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi" }, { hang = true } },
    ["/hold"] = { { gate = "go" }, { send = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nh" } } }

local JSON = { Accept = "application/json" }

describe("resilience", function()
    local rp, o, other, third

    after_each(function()
        if rp then rp = e2e.stop(rp) end
        origin.cleanup()
    end)

    -- up: text of rp.upstream's options; route: of the route
    local function start(up, route, more, workers)
        o = origin.start(ANSWERS)
        other = origin.start { ["*"] = { status = 200, body = "other" } }
        third = origin.start { ["*"] = { status = 200, body = "third" } }
        rp = proc.rproxy { vars = { o = o.port, other = other.port, third = third.port,
            dead = posix.free_port(), workers = workers or 2 },
            site = ([[return rp.site { workers = ${workers}, log = { error = { level = "info" } },
                listeners = { rp.listen { "127.0.0.1:${port}" } },
                upstreams = { api = rp.upstream { %s },
                    web = rp.upstream { peers = { "127.0.0.1:${other}" } } },
                hosts = { rp.host { default = true, routes = {
                    rp.route { "/other", upstream = "api" }, %s
                    rp.route { "/*", upstream = "api" %s },
                } } } } ]]):format(up, more or "", route or "") }
    end

    local ONE = [[peers = { "127.0.0.1:${o}" }, ]]

    local function wait_for(check, seconds) assert.is_truthy(posix.poll(check, seconds)) end

    -- Each on a connection of its own, so that both workers get their part.
    local function statuses(n, target)
        local list = {}
        for i = 1, n do list[i] = http.get(rp.port, target).status end
        return list
    end

    local function all(status, list)
        for _, s in ipairs(list) do assert.equal(status, s) end
    end

    -- Counters are published once a second.
    local function wait_count(line)
        assert.is_truthy(posix.poll(function()
            return process.must(rp, "status"):find(line .. "\n", 1, true)
        end, 60), line)
    end

    local function rows()
        local _, out = process.run(rp, "upstreams", "--json")
        local found = {}
        for line in out:gmatch("[^\n]+") do
            local row = {}
            for key, value in line:gmatch('"([%w_]+)":"?([^",}]*)') do
                row[key] = tonumber(value) or value
            end
            local peer = line:match('"peer":"[%d.]+:(%d+)"')
            found[peer and tonumber(peer) or row.kind .. " " .. row.name] = row
        end
        return found
    end

    describe("of a circuit", function()
        it("refuses at once, in all workers, with a time to come back", function()
            start(ONE .. [[circuit = { min = 5, open = "60s", open_max = "60s" }]])
            all(500, statuses(5, "/bad"))
            local before = #o:requests()
            for _ = 1, 10 do
                local res = http.get(rp.port, "/ok", JSON)
                assert.equal(503, res.status)
                assert.matches("upstream_circuit_open", res.body)
                local after = tonumber(res:header("Retry-After"))
                assert.is_true(after >= 1 and after <= 67, after)
            end
            assert.equal(before, #o:requests())
            rp:wait_stderr("circuit opened upstream=api")
            local row = rows()["upstream api"]
            assert.same({ "open", 1, 10 }, { row.circuit, row.opened, row.refused })
            local how, out = process.run(rp, "upstreams")
            assert.equal(1, how.exit)
            assert.matches("upstream%s+api%s+open %d+ s", out)
            wait_count("circuit_refused: 10")
        end)

        it("is told to Lua", function()
            start(ONE .. [[circuit = { min = 3, open = "60s" }]], nil, [[
                rp.route { "/told", content = function(req)
                    return req:exit(200, tostring(rp.upstreams.api:circuit()) .. " " ..
                        tostring(rp.upstreams.web:circuit()))
                end },]])
            assert.equal("closed nil", http.get(rp.port, "/told").body)
            all(500, statuses(3, "/bad"))
            assert.equal("open nil", http.get(rp.port, "/told").body)
        end)

        it("stays closed below its share, and answers of clients' faults are no failures", function()
            start(ONE .. [[circuit = { min = 5, errors = 0.5, open = "60s" }]])
            all(404, statuses(10, "/missing"))
            all(500, statuses(9, "/bad"))
            all(200, statuses(3, "/ok"))
        end)

        it("counts answers that are broken off by the upstream, not by the client", function()
            if protocol.name ~= "h1" then return end
            start(ONE .. [[circuit = { min = 12, errors = 0.3, open = "60s", within = "300s" }]])
            for _ = 1, 6 do
                local w = wire.connect(rp.port)
                w:send("GET /stall HTTP/1.1\r\nHost: a\r\n\r\n")
                w:recv_until("hi")
                w:close()
            end
            wait_for(function() return rows()["upstream api"].in_flight == 0 end)
            assert.same({ 6, 0 }, { rows()["upstream api"].attempts, rows()["upstream api"].bad })
            for _ = 1, 5 do -- each is an answer, and one that is bad: 5 of 16
                local w = wire.connect(rp.port)
                w:send("GET /cut HTTP/1.1\r\nHost: a\r\n\r\n")
                assert.equal("closed", select(2, w:recv_all()))
            end
            rp:wait_stderr("circuit opened upstream=api for_ms=%d+ bad=5 slow=0 of=16")
        end)

        it("lets probes pass and closes when they do well", function()
            start(ONE .. [[circuit = { min = 4, open = "300ms", probes = 2 }]])
            all(500, statuses(4, "/bad"))
            rp:wait_stderr("circuit opened upstream=api")
            wait_for(function() return http.get(rp.port, "/ok").status == 200 end, 60)
            wait_for(function()
                http.get(rp.port, "/ok")
                return rp:stderr():find("circuit closed upstream=api", 1, true)
            end, 60)
            all(200, statuses(10, "/ok"))
        end)

        it("opens again when a probe does not do well", function()
            start(ONE .. [[circuit = { min = 4, open = "100ms", probes = 3 }]])
            all(500, statuses(4, "/bad"))
            wait_for(function()
                http.get(rp.port, "/bad")
                return select(2, rp:stderr():gsub("circuit opened", "")) >= 3
            end, 60)
            assert.is_nil(rp:stderr():find("circuit closed", 1, true))
        end)

        it("counts peers that cannot be reached", function()
            start([[peers = { "127.0.0.1:${dead}" }, tries = 1, circuit = { min = 3, open = "60s" }]])
            all(502, statuses(3, "/ok"))
            all(503, statuses(3, "/ok"))
        end)

        it("passes an answer on that it lets nobody repeat any more", function()
            local second = origin.start(ANSWERS)
            start([[peers = { "127.0.0.1:${o}", "127.0.0.1:]] .. second.port .. [[" },
                retry = { on = { 500 }, backoff = 0 }, tries = 2,
                circuit = { min = 3, errors = 1, open = "60s" }]])
            local first = http.get(rp.port, "/bad") -- two attempts
            assert.same({ 500, "b" }, { first.status, first.body })
            local opens = http.get(rp.port, "/bad") -- the third one opens it
            assert.same({ 500, "b" }, { opens.status, opens.body })
            assert.equal(503, http.get(rp.port, "/bad").status)
            assert.equal(3, #o:requests() + #second:requests())
        end)

        it("opens by latency", function()
            start(ONE .. [[circuit = { errors = 0, slow = "100ms", quantile = 0.5, min = 4,
                open = "60s" }]])
            all(200, statuses(4, "/slow"))
            all(503, statuses(2, "/ok"))
        end)

        it("sends requests to the fallback", function()
            start(ONE .. [[circuit = { min = 3, open = "60s", fallback = "web" }]])
            all(500, statuses(3, "/bad"))
            for _ = 1, 4 do assert.equal("other", http.get(rp.port, "/ok").body) end
            wait_count("circuit_fallbacks: 4")
        end)

        it("of a route leaves other routes alone", function()
            start(ONE, [[, circuit = { min = 3, open = "60s" }]],
                [[rp.route { "/ok", upstream = "api" },]])
            all(500, statuses(3, "/bad"))
            all(503, statuses(3, "/missing"))
            all(200, statuses(3, "/ok"))
            rp:wait_stderr("circuit opened route=")
            assert.equal("open", rows()["route default /*"].circuit)
        end)

        it("has one more probe when the client of one went away", function()
            start(ONE .. [[circuit = { min = 3, open = "1s", probes = 1 }]])
            all(500, statuses(3, "/bad"))
            wait_for(function() -- a probe that hangs; then all others are refused
                local w = wire.connect(rp.port)
                w:send("GET /hold HTTP/1.1\r\nHost: a\r\n\r\n")
                local held = posix.poll(function() return o:count("/hold") > 0 end, 0.5)
                w:close()
                return held
            end, 60)
            wait_for(function() return http.get(rp.port, "/ok").status == 200 end, 60)
        end)

        it("closes by probes that take longer than it is open", function()
            start(ONE .. [[circuit = { min = 3, open = "50ms", open_max = "50ms", probes = 2 }]])
            all(500, statuses(3, "/bad"))
            rp:wait_stderr("circuit opened upstream=api")
            wait_for(function() -- each takes three rounds
                http.get(rp.port, "/slow")
                return rp:stderr():find("circuit closed upstream=api", 1, true)
            end, 60)
        end)

        it("does not count one of two tries at once that comes to nothing", function()
            local failing = origin.start { ["*"] = { { gate = "fail" }, { reset = true } } }
            start([[peers = { "127.0.0.1:]] .. failing.port .. [[", "127.0.0.1:${o}" },
                balance = "first", max_fails = 0, hedge = { after = "20ms", budget = 100 },
                circuit = { min = 1, errors = 1, open = "60s" }]])
            local w = wire.connect(rp.port)
            w:send("GET /hold HTTP/1.1\r\nHost: a\r\n\r\n")
            o:wait_requests(1) -- the second one is there, too
            failing:open_gate("fail")
            rp:wait_stderr("try=2")
            o:open_gate("go")
            assert.equal("h", http.read(w).body)
            assert.equal("closed", rows()["upstream api"].circuit)
            assert.is_nil(rp:stderr():find("circuit opened", 1, true))
        end)

        it("hears of a try that another request took over", function()
            start(ONE .. [[circuit = { min = 3, open = "100ms", open_max = "100ms", probes = 1 }]],
                ", coalesce = true", nil, 1)
            all(500, statuses(3, "/bad"))
            local function hold()
                local w = wire.connect(rp.port)
                w:send("GET /hold HTTP/1.1\r\nHost: a\r\n\r\n")
                return w
            end
            local first
            wait_for(function() -- refused, until it is the probe
                first = hold()
                return posix.poll(function() return #o:requests() > 3 end, 0.3)
            end, 60)
            local second = hold()
            wait_count("requests_active: 2")
            first:close()
            wait_count("requests_active: 1")
            o:open_gate("go")
            assert.equal("h", http.read(second).body)
            rp:wait_stderr("circuit closed upstream=api")
            assert.equal(4, #o:requests())
        end)

        it("goes with a reload that takes it away, and comes with one that brings it", function()
            start(ONE)
            local site = posix.read_file(rp.site_path)
            all(500, statuses(5, "/bad"))
            all(200, statuses(2, "/ok"))
            local function reload(options)
                posix.write_file(rp.site_path, (site:gsub("upstreams = { api = rp.upstream { ",
                    "%0" .. options)))
                process.must(rp, "reload")
            end
            reload([[circuit = { min = 5, open = "60s" }, ]])
            all(500, statuses(5, "/bad"))
            all(503, statuses(4, "/ok"))
            reload([[circuit = { min = 6, open = "60s" }, ]]) -- a reload changes nothing
            all(503, statuses(4, "/ok"))
            reload("")
            all(200, statuses(4, "/ok"))
        end)

        it("is over for probes of a worker that died", function()
            start(ONE .. [[circuit = { min = 3, open = "500ms", probes = 1 }]])
            all(500, statuses(3, "/bad"))
            local w
            wait_for(function()
                w = wire.connect(rp.port)
                w:send("GET /hold HTTP/1.1\r\nHost: a\r\n\r\n")
                local held = posix.poll(function() return #o:requests() > 3 end, 0.3)
                if not held then w:close() end
                return held
            end, 60)
            for _, pid in ipairs(process.workers(rp)) do posix.kill(pid, "KILL") end
            wait_for(function()
                local ok, res = pcall(http.get, rp.port, "/ok")
                return ok and res.status == 200
            end, 60)
        end)
    end)

    describe("of limits", function()
        local function held()
            local w = wire.connect(rp.port)
            w:send("GET /hold HTTP/1.1\r\nHost: a\r\n\r\n")
            o:wait_requests(1)
            return w
        end

        -- A seat is free when the worker is done with the request, a moment after its client is.
        local function served()
            assert.is_truthy(posix.poll(function()
                return http.get(rp.port, "/ok").status == 200
            end, 60))
        end

        it("refuses more than max_requests, in all workers", function()
            start(ONE .. "max_requests = 1")
            local w = held()
            for _ = 1, 6 do
                local res = http.get(rp.port, "/ok", JSON)
                assert.equal(503, res.status)
                assert.matches("upstream_full", res.body)
            end
            local row = rows()["upstream api"]
            assert.same({ 1, 1, 6 }, { row.in_flight, row.max_requests, row.refused })
            o:open_gate("go")
            assert.equal(200, http.read(w).status)
            served()
        end)

        it("lets more wait in the queue", function()
            start(ONE .. [[max_requests = 1, queue = { max = 10, timeout = "30s" }]])
            local w = held()
            local second = wire.connect(rp.port)
            second:send("GET /ok HTTP/1.1\r\nHost: a\r\n\r\n")
            wait_count("requests_active: 2")
            o:open_gate("go")
            assert.equal(200, http.read(w).status)
            assert.equal(200, http.read(second).status)
        end)

        it("refuses more than an adaptive limit, and tells of it", function()
            start(ONE .. "concurrency = { min = 1, max = 1, start = 1, samples = 5 }")
            local w = held()
            all(503, statuses(4, "/ok"))
            o:open_gate("go")
            assert.equal(200, http.read(w).status)
            wait_for(function() -- what is calm is measured
                for _ = 1, 10 do http.get(rp.port, "/ok") end
                local row = rows()["upstream api"]
                return row.limit == 1 and (row.calm_us or 0) > 0
            end, 60)
        end)
    end)

    describe("of a slow origin", function()
        local SEATS, CLIENTS, EACH = 4, 24, 400
        local served_by

        after_each(function()
            wire.close_all()
            if served_by then served_by:stop() end
            served_by = nil
        end)

        -- It serves four at once, 50 ms each; what is more waits in there.
        local function slow_origin()
            served_by = proc.rproxy { vars = { n = SEATS }, site = [[
                local seats = rp.semaphore(${n}, { waiting = 10000 })
                return rp.site { workers = 1, listeners = { rp.listen { "127.0.0.1:${port}" } },
                    hosts = { rp.host { default = true, routes = { rp.route { "/*",
                        content = function(req)
                            seats:with(function() rp.sleep(0.05) end, 600)
                            return req:exit(200, "x")
                        end } } } } } ]] }
            return served_by.port
        end

        it("finds a limit near what it serves at once, from far above", function()
            local port = slow_origin()
            start(([[peers = { "127.0.0.1:%d" }, queue = { max = 1000, timeout = "600s" },
                concurrency = { start = 100, measure = "1s", samples = 10, min = 2 }]])
                :format(port))
            local wires = {}
            for i = 1, CLIENTS do -- each asks for the next when it has the last
                wires[i] = wire.connect(rp.port)
                wires[i]:send(("GET /x HTTP/1.1\r\nHost: a\r\n\r\n"):rep(EACH))
            end
            wait_for(function()
                local row = rows()["upstream api"]
                -- 1.25 x 4 and the headroom of it is 7; measured by 90th percentiles of a busy
                -- machine it may be more, but it is far from what the clients want.
                return row and row.limit > 2 and row.limit <= 16 and row.in_flight <= 16
                    and row.calm_us > 40000 and row.calm_us < 200000
            end, 60)
            for _, w in ipairs(wires) do w:close() end
        end)
    end)

    describe("of outliers", function()
        local PEERS = [[peers = { "127.0.0.1:${o}", "127.0.0.1:${other}",
            "127.0.0.1:${third}" }, fail_rest = "60s", ]]
        local why = function(port)
            local row = rows()[port]
            return row and tostring(row.why)
        end

        it("lets a peer rest that fails too often", function()
            start(PEERS .. [[outlier = { interval = "1s", min = 5, failures = 0.5 }]])
            wait_for(function()
                statuses(30, "/bad")
                return why(o.port):find("too many failures", 1, true)
            end, 60)
            rp:wait_stderr("outlier rests upstream=api")
            all(200, statuses(10, "/bad")) -- of the others
            assert.equal(1, rows()[o.port].ejections)
            wait_count("outliers_ejected: 1")
        end)

        it("lets a slow peer rest", function()
            start(PEERS .. [[outlier = { interval = "1s", min = 5, failures = 0, factor = 3,
                slow = "50ms" }]])
            wait_for(function()
                statuses(18, "/slow")
                return why(o.port):find("slow", 1, true)
            end, 30)
        end)

        it("are only told of where the site wants that", function()
            start(PEERS .. [[outlier = { interval = "1s", min = 5, failures = 0.5,
                enforce = false }]])
            wait_for(function()
                statuses(30, "/bad")
                return rp:stderr():find("outlier would rest upstream=api", 1, true)
            end, 60)
            local row = rows()[o.port]
            assert.same({ "up", 0 }, { row.state, row.ejections })
            assert.is_true(row.noticed >= 1)
        end)

        it("are no more than may rest, when all are bad", function()
            local ports = {}
            for i = 1, 4 do ports[i] = ('"127.0.0.1:%d"'):format(origin.start(ANSWERS).port) end
            start("peers = { " .. table.concat(ports, ", ") .. [[ }, fail_rest = "60s", max_rest = 50,
                outlier = { interval = "1s", min = 5, failures = 0.5 }]])
            wait_for(function()
                statuses(40, "/bad")
                return rp:stderr():find("too many rest already", 1, true)
            end, 60)
            local _, out = process.run(rp, "upstreams", "--json")
            assert.equal(2, select(2, out:gsub('"state":"down"', "")))
            all(500, statuses(4, "/bad"))
        end)
    end)

    it("tells of latencies and rates over the last minute", function()
        start([[peers = { "127.0.0.1:${o}" }, measure = true]])
        statuses(5, "/slow")
        local row = rows()[o.port]
        assert.is_true(row.p50_us >= 140000, row.p50_us)
        assert.is_true(row.p99_us >= row.p50_us)
        assert.is_true(row.rate > 0)
        local _, out = process.run(rp, "upstreams")
        assert.matches("p50", out)
        assert.matches("%d ms", out)
    end)

    it("tells what the last check said, and when", function()
        start(ONE .. [[health = { path = "/ok", every = "200ms" }]])
        wait_for(function()
            local row = rows()[o.port] -- it is listed once a worker knows it
            return row and row.check == "ok"
        end, 60)
        assert.is_true(rows()[o.port].check_age_ms < 20000)
    end)

    it("takes no fallback that is not there, and no bounds that exclude each other", function()
        local function complaint(options)
            local dir = posix.temp_dir()
            posix.write_file(dir .. "/site.lua", ([[local rp = require("rproxy")
                return rp.site { listeners = { rp.listen { "127.0.0.1:1" } }, upstreams = {
                api = rp.upstream { peers = { "127.0.0.1:1" }, %s } }, hosts = {} }]])
                :format(options))
            local how, out, err = proc.run { process.BIN, "-t", "-p", dir .. "/site.lua" }
            posix.remove_dir(dir)
            assert.equal(1, how.exit)
            return out .. err
        end
        assert.matches('no upstream "apo"; did you mean "api"',
            complaint([[circuit = { fallback = "apo" }]]))
        assert.matches("its own fallback", complaint([[circuit = { fallback = "api" }]]))
        assert.matches("min is above max", complaint("concurrency = { min = 9, max = 8 }"))
        assert.matches("probes", complaint("circuit = { probes = 16 }"))
    end)
end)
