-- SPDX-License-Identifier: MIT
local t = require("rproxy.test")
local ip_restriction = require("plugins.ip_restriction")

describe("plugin ip-restriction", function()
    local function status_of(site, from, forwarded)
        return site:get("/", { from = from,
            headers = { ["x-forwarded-for"] = forwarded } }).status
    end

    it("lets only those in that are allowed and not denied", function()
        local site = t.site { use = { ip_restriction {
            allow = { "192.0.2.0/24", "2001:db8::/32" }, deny = { "192.0.2.66" } } } }
        assert.equal(200, status_of(site, "192.0.2.1"))
        assert.equal(200, status_of(site, "2001:db8::1"))
        assert.equal(403, status_of(site, "192.0.2.66"))
        assert.equal(403, status_of(site, "198.51.100.1"))
        assert.no_aborts(site)
    end)

    it("lets everybody in but those that are denied", function()
        local site = t.site { use = { ip_restriction { deny = { "192.0.2.0/24" }, status = 404 } } }
        assert.equal(404, status_of(site, "192.0.2.1"))
        assert.equal(200, status_of(site, "192.0.3.1"))
    end)

    it("looks at the client behind a trusted proxy, or at the proxy", function()
        local conf = { deny = { "192.0.2.0/24" } }
        local site = t.site { trust = { "10.0.0.0/8" }, use = { ip_restriction(conf) } }
        assert.equal(403, status_of(site, "10.0.0.1", "192.0.2.1"))
        assert.equal(200, status_of(site, "198.51.100.1", "192.0.2.1"))
        site = t.site { trust = { "10.0.0.0/8" },
            use = { ip_restriction { deny = { "192.0.2.0/24" }, by = "peer" } } }
        assert.equal(200, status_of(site, "10.0.0.1", "192.0.2.1"))
    end)

    it("refuses to start without a list", function()
        local ok, err = pcall(t.site, { use = { ip_restriction {} } })
        assert.is_false(ok)
        assert.matches("takes one of allow, deny", err)
    end)
end)
