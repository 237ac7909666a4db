-- SPDX-License-Identifier: MIT
local t = require("rproxy.test")
local request_id = require("plugins.request_id")

describe("plugin request-id", function()
    it("gives each request an id that upstream and client see", function()
        local site = t.site { use = { request_id {} } }
        local res = site:get("/")
        local id = res.headers["x-request-id"]
        assert.matches("^%x+$", id)
        assert.equal(32, #id)
        assert.equal(id, res.upstream.headers["x-request-id"])
        assert.not_equal(id, site:get("/").headers["x-request-id"])
        assert.no_aborts(site)
    end)

    it("replaces what the client sent, unless that is trusted and clean", function()
        local site = t.site { use = { request_id {} } }
        local mine = { headers = { ["x-request-id"] = "mine" } }
        assert.not_equal("mine", site:get("/", mine).upstream.headers["x-request-id"])
        site = t.site { use = { request_id { trust_client = true } } }
        assert.equal("mine", site:get("/", mine).headers["x-request-id"])
        for _, bad in ipairs { "two words", ("x"):rep(129), 'quo"te', "t\195\164st" } do
            local res = site:get("/", { headers = { ["x-request-id"] = bad } })
            assert.not_equal(bad, res.headers["x-request-id"])
        end
    end)

    it("keeps the id to the upstream when told so", function()
        local res = t.site { use = { request_id { respond = false, header = "x-trace" } } }:get("/")
        assert.is_nil(res.headers["x-trace"])
        assert.is_string(res.upstream.headers["x-trace"])
    end)

    it("is in the access log of the same request", function()
        local site = t.site { use = { request_id {} }, log = { access = { to = "stdout",
            format = "json", fields = { "id", "status" } } } }
        local res = site:get("/")
        assert.matches(res.headers["x-request-id"], site:access()[1], 1, true)
    end)
end)
