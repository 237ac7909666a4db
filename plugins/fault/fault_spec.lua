-- SPDX-License-Identifier: MIT
local t = require("rproxy.test")
local fault = require("plugins.fault")

local TOKEN = "a-secret-of-the-chaos-day"

describe("plugin fault", function()
    local function site_of(conf, body)
        return t.site { upstream = function() return 200, body or "ok" end, use = { fault(conf) } }
    end

    local function refused(site, n, opts)
        local count = 0
        for _ = 1, n do
            if site:get("/", opts).status == 503 then count = count + 1 end
        end
        return count
    end

    it("answers instead of the upstream, with the status and body that it is told", function()
        local res = site_of { abort = { status = 418, body = "no tea\n" } }:get("/")
        assert.equal(418, res.status)
        assert.equal("no tea\n", res.body)
        assert.is_nil(res.upstream)
        assert.equal("abort", res.headers["x-fault-injected"])
    end)

    it("does so to a share of them, by dice that fall alike in each run", function()
        local n = refused(site_of { abort = { percent = 30 } }, 300)
        assert.is_true(n > 50 and n < 130, n) -- 90 expected, five deviations are 40
        assert.equal(0, refused(site_of { abort = { percent = 0 } }, 20))
    end)

    it("waits before the request goes on, for a time between two", function()
        local site = site_of { delay = { min = 2, max = 3 } }
        local before = t.clock:now()
        assert.equal(200, site:get("/").status)
        local took = t.clock:now() - before
        assert.is_true(took >= 2 and took <= 3, took)
    end)

    it("sends bodies at the rate that it is told", function()
        local site = site_of({ throttle = { rate = "4k" } }, ("x"):rep(20480))
        local before = t.clock:now()
        local res = site:get("/")
        assert.equal(20480, #res.body)
        assert.is_true(t.clock:now() - before >= 5)
    end)

    it("takes only what all conditions fit", function()
        local site = site_of { abort = {}, when = { methods = { "post" }, path = "^/api/",
            header = "x-who", equals = "me", clients = { "10.0.0.0/8" } } }
        local function status(method, path, who, from)
            return site:request { method = method, url = path, headers = { ["x-who"] = who },
                from = from }.status
        end
        assert.equal(503, status("POST", "/api/x", "me", "10.1.1.1"))
        assert.equal(200, status("GET", "/api/x", "me", "10.1.1.1"))
        assert.equal(200, status("POST", "/x", "me", "10.1.1.1"))
        assert.equal(200, status("POST", "/api/x", "you", "10.1.1.1"))
        assert.equal(200, status("POST", "/api/x", nil, "10.1.1.1"))
        assert.equal(200, status("POST", "/api/x", "me", "192.0.2.1"))
    end)

    it("takes only requests with the secret, where there is one, and keeps it to itself", function()
        local site = site_of { abort = { percent = 100 }, token = { value = TOKEN } }
        assert.equal(200, site:get("/").status)
        assert.equal(200, site:get("/", { headers = { ["x-fault"] = "guess" } }).status)
        assert.equal(503, site:get("/", { headers = { ["x-fault"] = TOKEN } }).status)
        local slow = site_of { delay = { min = 1 }, token = { value = TOKEN } }
        local res = slow:get("/", { headers = { ["x-fault"] = TOKEN } })
        assert.is_nil(res.upstream.headers["x-fault"])
        local others = site_of { abort = {}, when = { methods = { "POST" } },
            token = { value = TOKEN } }
        res = others:get("/", { headers = { ["x-fault"] = TOKEN } })
        assert.equal(200, res.status)
        assert.is_nil(res.upstream.headers["x-fault"])
    end)

    it("breaks off without an answer", function()
        local site = site_of { reset = {} }
        local res = site:get("/")
        assert.is_nil(res.status)
        assert.truthy(res.ended)
        assert.equal(0, #site:received())
    end)

    it("refuses settings that do nothing", function()
        assert.has_error(function() site_of {} end)
        assert.has_error(function() site_of { delay = { min = 3, max = 2 } } end)
        assert.has_error(function() site_of { abort = {}, when = { equals = "x" } } end)
        assert.has_error(function() site_of { abort = {}, when = { clients = { "moon" } } } end)
    end)
end)
