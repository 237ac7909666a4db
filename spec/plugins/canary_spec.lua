-- SPDX-License-Identifier: MIT

local config = require("spec.support.config")
local http = require("spec.support.http")
local metrics = require("spec.support.metrics")
local origin = require("spec.support.origin")
local posix = require("spec.support.posix")
local proc = require("spec.support.proc")
local process = require("spec.support.process")
local protocol = require("spec.support.protocol")
local wire = require("spec.support.wire")

local SITE = [[
    shared = { flags = rp.shm.store { size = "1m" } },
    upstreams = {
        app = rp.upstream { peers = { "127.0.0.1:${app}" } },
        app_next = rp.upstream { peers = { "127.0.0.1:${next}" } },
    },
    hosts = { rp.host { default = true, routes = {
        rp.route { "/none", upstream = "app", use = { canary { upstream = "app_next" } } },
        rp.route { "/all", upstream = "app", use = { canary { upstream = "app_next",
            percent = 100 } } },
        rp.route { "/rules", upstream = "app", use = { canary { upstream = "app_next",
            rules = { { header = "X-Canary", equals = "always" },
                { header = "User-Agent", matches = "^beta/\\d" } } } } },
        rp.route { "/sticky", upstream = "app", use = { canary { upstream = "app_next",
            percent = 100, sticky = "cookie:side", sticky_for = "1h" } } },
        rp.route { "/who", upstream = "app", use = { { access = function(req)
            req.consumer = req:arg("me") end }, canary { upstream = "app_next", percent = 30 } } },
        rp.route { "/fails/*", upstream = "app", use = { canary { upstream = "app_next", percent = 100,
            store = "flags", abort_at = 0.2, abort_min = 4, window = 1, off_for = "1h" } } },
        rp.route { "/alone/*", upstream = "app", use = { canary { upstream = "app_next",
            percent = 100, abort_at = 0.2, abort_min = 4, window = 1, off_for = "1h" } } },
        rp.route { "/*", upstream = "app" },
    } } },
]]

describe("plugin canary", function()
    local rp

    local function start(workers)
        local app = origin.start { ["*"] = { status = 200, body = "app" } }
        local next_one = origin.start { ["/fails/bad"] = { status = 503, body = "next" },
            ["/alone/bad"] = { status = 500, body = "next" }, ["*"] = { status = 200, body = "next" } }
        rp = proc.rproxy { vars = { app = app.port, next = next_one.port },
            site = ([[ local canary = require("plugins.canary") return rp.site { workers = %d,
                listeners = { rp.listen { "127.0.0.1:${port}" } }, %s } ]]):format(workers, SITE) }
    end

    after_each(function()
        wire.close_all()
        if rp then rp:stop() end
        rp = nil
        origin.cleanup()
        proc.cleanup()
    end)

    local function body(target, fields) return http.get(rp.port, target, fields).body end

    it("chooses by rules, by the share, and nobody without either", function()
        start(1)
        assert.equal("app", body("/none"))
        assert.equal("next", body("/all"))
        assert.equal("app", body("/rules"))
        assert.equal("next", body("/rules", { ["X-Canary"] = "always" }))
        assert.equal("app", body("/rules", { ["X-Canary"] = "never" }))
        assert.equal("next", body("/rules", { ["User-Agent"] = "beta/2" }))
        assert.equal("app", body("/rules", { ["User-Agent"] = "a beta/2" }))
    end)

    it("keeps a client on its side by who it is", function()
        start(1)
        local chosen = 0
        for i = 1, 60 do
            local first = body("/who?me=user" .. i)
            assert.equal(first, body("/who?me=user" .. i))
            if first == "next" then chosen = chosen + 1 end
        end
        assert.is_true(chosen > 5 and chosen < 35, "chosen: " .. chosen)
    end)

    it("keeps a client on its side by a cookie", function()
        start(1)
        local res = http.get(rp.port, "/sticky")
        assert.equal("next", res.body)
        local cookie = res:header("set-cookie")
        assert.matches("^side=1;", cookie)
        assert.matches("Max%-Age=3600", cookie)
        assert.matches("Path=/", cookie)
        assert.equal(protocol.has_tls, cookie:find("Secure", 1, true) ~= nil)
        res = http.get(rp.port, "/sticky", { Cookie = "side=0" })
        assert.equal("app", res.body)
        assert.is_nil(res:header("set-cookie"))
    end)

    it("switches itself off for all workers when too many fail", function()
        start(2)
        process.wait_workers(rp, 2)
        local name = 'canary_requests_total{upstream="app_next",class="5xx"}'
        assert.truthy(posix.poll(function()
            for _ = 1, 10 do body("/fails/bad") end
            return rp:stderr():find("canary switched off.*upstream=app_next")
        end))
        assert.is_true(metrics.value(rp, name) >= 4)
        for _ = 1, 20 do assert.equal("app", body("/fails/good")) end
        assert.equal("next", body("/all")) -- another canary, without that store
    end)

    it("switches itself off without a store, too", function()
        start(1)
        assert.truthy(posix.poll(function()
            for _ = 1, 10 do body("/alone/bad") end
            return rp:stderr():find("canary switched off")
        end))
        assert.truthy(posix.poll(function() return body("/alone/good") == "app" end))
    end)

    it("is refused where it cannot work", function()
        for opts, words in pairs {
            ['upstream = "other"'] = "other", ['percent = 5'] = "upstream",
            ['upstream = "api", percent = 101'] = "100",
            ['upstream = "api", sticky = "header:x"'] = "sticky",
            ['upstream = "api", rules = { { header = "a" } }'] = "equals and matches",
        } do
            local text = config.errors("local M = require('plugins.canary') "
                .. config.minimal { site = ("use = { M { %s } },"):format(opts) })
            assert.truthy(text and text:find(words, 1, true), opts .. ": " .. tostring(text))
        end
    end)
end)
