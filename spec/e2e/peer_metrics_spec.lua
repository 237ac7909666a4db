-- SPDX-License-Identifier: MIT
--
-- Metrics of each peer: what was asked of it, what failed, its state and its times; and how many
-- series there are at most.

local e2e = require("spec.support.e2e")
local http = require("spec.support.http")
local metrics = require("spec.support.metrics")
local origin = require("spec.support.origin")
local posix = require("spec.support.posix")
local process = require("spec.support.process")

describe("metrics of peers", function()
    local rp

    after_each(function()
        e2e.stop(rp)
    end)

    local function of(name, peer, more)
        return metrics.value(rp, ('rproxy_peer_%s{upstream="api",peer="%s"%s}'):format(name, peer,
            more or ""))
    end

    it("tell of requests, failures, state and times", function()
        local up = origin.start { ["*"] = { status = 200, body = "ok" }, ["/bad"] = { status = 503 } }
        local dead = posix.free_port()
        rp = e2e.proxy { vars = { up = up.port, dead = dead }, site = [[
            upstreams = { api = rp.upstream { peers = { "127.0.0.1:${up}", "127.0.0.1:${dead}" },
                max_fails = 1, fail_rest = "1h", fail_on = { "connect", "503" }, tries = 2,
                retry = { on = { "connect" } } } },
            hosts = { rp.host { default = true, routes = { rp.route { "/*", upstream = "api" },
                rp.route { "GET /metrics", content = "metrics" } } } } ]] }
        local alive, gone = "127.0.0.1:" .. up.port, "127.0.0.1:" .. dead
        for _ = 1, 4 do assert.equal(200, http.get(rp.port, "/").status) end
        assert.equal(4, of("requests_total", alive))
        assert.equal(0, of("failures_total", alive))
        assert.equal(0, of("in_flight", alive))
        assert.equal(1, of("up", alive))
        assert.equal(1, of("state", alive, ',state="up"'))
        assert.is_true(of("latency_seconds", alive, ',quantile="0.99"') > 0)
        assert.equal(1, of("failures_total", gone))
        assert.equal(1, of("rests_total", gone))
        assert.equal(0, of("up", gone))
        assert.equal(1, of("state", gone, ',state="down"'))
        assert.is_nil(of("latency_seconds", gone, ',quantile="0.99"'))
        assert.equal(503, http.get(rp.port, "/bad").status)
        assert.equal(1, of("failures_total", alive))

        process.must(rp, "peer", "api", alive, "drain")
        assert.equal(1, of("state", alive, ',state="drain"'))
        assert.is_nil(of("state", alive, ',state="up"'))
        local text = http.get(rp.port, "/metrics").body -- any worker has the same
        assert.equal(1, metrics.parse(text)[('rproxy_peer_state{upstream="api",peer="%s",state="drain"}')
            :format(alive)])
    end)

    it("are of so many peers at most, the others together", function()
        local peers = {}
        for i = 1, 1100 do
            peers[i] = ('"127.%d.%d.1:9"'):format(math.floor(i / 200), i % 200)
        end
        rp = e2e.proxy { site = ([[ upstreams = { api = rp.upstream { peers = { %s } } },
            hosts = { rp.host { default = true, routes = { rp.route { "/*", upstream = "api" } } } } ]])
            :format(table.concat(peers, ",")) }
        rp:wait_stderr("serving site=")
        local n = 0
        for name in pairs(metrics.all(rp)) do
            if name:find("^rproxy_peer_up{") then n = n + 1 end
        end
        assert.equal(1001, n)
        assert.equal(100, of("up", "(others)"))
    end)
end)
