-- SPDX-License-Identifier: MIT
local t = require("rproxy.test")
local ratelimit = require("plugins.ratelimit")

describe("plugin ratelimit", function()
    local function site_of(conf, more)
        conf.zone = "limits"
        local given = { shared = { limits = t.shm.buckets() }, use = { ratelimit(conf) } }
        for key, value in pairs(more or {}) do given[key] = value end
        return t.site(given)
    end

    it("lets the burst through, then answers 429 with Retry-After, and lets on as time passes",
        function()
            local site = site_of { rate = 1, burst = 2 }
            assert.equal(200, site:get("/").status)
            assert.equal(200, site:get("/").status)
            local refused = site:get("/")
            assert.equal(429, refused.status)
            assert.equal("1", refused.headers["retry-after"])
            assert.is_nil(refused.upstream)
            t.clock:advance(0.999)
            assert.equal(429, site:get("/").status)
            t.clock:advance(0.001)
            assert.equal(200, site:get("/").status)
        end)

    it("is compiled", function()
        local site = site_of { rate = 1, burst = 2 }
        site:get("/")
        site:get("/")
        site:get("/")
        t.clock:advance(1)
        site:get("/")
        assert.no_aborts(site)
    end)

    it("counts each client by itself", function()
        local site = site_of { rate = 1, burst = 1 }
        assert.equal(200, site:get("/", { from = "192.0.2.1" }).status)
        assert.equal(429, site:get("/", { from = "192.0.2.1" }).status)
        assert.equal(200, site:get("/", { from = "192.0.2.2" }).status)
        assert.equal(200, site:get("/", { from = "2001:db8::1" }).status)
    end)

    it("believes the client's address from proxies that are trusted only", function()
        local site = site_of({ rate = 1, burst = 1 }, { trust = { "10.0.0.0/8" } })
        local function ask(from, forwarded)
            return site:get("/", { from = from, headers = { ["x-forwarded-for"] = forwarded } })
                .status
        end
        assert.equal(200, ask("10.0.0.1", "192.0.2.1"))
        assert.equal(200, ask("10.0.0.1", "192.0.2.2"))
        assert.equal(429, ask("10.0.0.1", "192.0.2.1"))
        assert.equal(200, ask("192.0.2.9", "192.0.2.3"))
        assert.equal(429, ask("192.0.2.9", "192.0.2.4"))
    end)

    it("counts by a header, and by the address of who does not send it", function()
        local site = site_of { rate = 1, burst = 1, key = "header:x-key" }
        local function ask(key) return site:get("/", { headers = { ["x-key"] = key } }).status end
        assert.equal(200, ask("a"))
        assert.equal(429, ask("a"))
        assert.equal(200, ask("b"))
        assert.equal(200, ask(nil))
        assert.equal(429, ask(nil))
    end)

    it("takes no more than `rate` in any window", function()
        local site = site_of { rate = 3, per = 10, algorithm = "window" }
        for _ = 1, 3 do assert.equal(200, site:get("/").status) end
        assert.equal(429, site:get("/").status)
        t.clock:advance(5)
        assert.equal(429, site:get("/").status)
        t.clock:advance(15)
        assert.equal(200, site:get("/").status)
    end)

    it("tells the client what is left", function()
        local site = site_of { rate = 10, per = 60, burst = 5, name = "api" }
        local res = site:get("/")
        assert.equal('"api";q=5;w=30', res.headers["ratelimit-policy"])
        assert.matches('^"api";r=4;t=%d+$', res.headers["ratelimit"])
        site = site_of { rate = 10, burst = 5, fields = "x" }
        assert.equal("4", site:get("/").headers["x-ratelimit-remaining"])
        site = site_of { rate = 10, burst = 5, fields = "none" }
        assert.is_nil(site:get("/").headers["ratelimit"])
    end)

    it("decides as it did", function()
        local site = site_of { rate = 1, burst = 1 }
        t.golden("let-through", site:get("/"))
        t.golden("refused", site:get("/"))
    end)

    it("says what is wrong with its settings", function()
        local ok, err = pcall(site_of, { rate = 0, burst = 1 })
        assert.is_false(ok)
        assert.matches("rate", err)
        ok, err = pcall(t.site, { use = { ratelimit { zone = "limits", rate = 1 } } })
        assert.is_false(ok)
        assert.matches("limits", err)
    end)
end)
