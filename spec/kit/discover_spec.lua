-- SPDX-License-Identifier: MIT
--
-- Upstreams that discover their peers, in the test kit: nobody is asked, and a spec plays them.

local rp = require("rproxy")
local t = require("rproxy.test")

describe("a site that discovers", function()
    local function site(opts)
        return t.site({ upstreams = { api = rp.upstream {
            discover = { "consul", service = "api" } } },
            routes = { rp.route { "/*", upstream = "api" } } }, opts)
    end

    it("is played like any other", function()
        local s = site()
        s:upstream("api", function() return 200, "played" end)
        assert.equal("played", s:get("/").body)
    end)
end)
