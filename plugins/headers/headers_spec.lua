-- SPDX-License-Identifier: MIT
local t = require("rproxy.test")
local headers = require("plugins.headers")

describe("plugin headers", function()
    it("edits what goes upstream and what comes back", function()
        local site = t.site {
            upstream = function()
                return 200, "ok", { ["x-powered-by"] = "php", ["x-kind"] = "old" }
            end,
            use = { headers {
                request = { set = { ["x-env"] = "prod" }, remove = { "cookie" } },
                response = { set = { ["x-kind"] = "new" }, add = { ["x-more"] = "1" },
                    remove = { "x-powered-by" } },
            } },
        }
        local res = site:get("/", { headers = { cookie = "a=1", ["x-env"] = "spoofed" } })
        assert.equal("prod", res.upstream.headers["x-env"])
        assert.is_nil(res.upstream.headers["cookie"])
        assert.equal("new", res.headers["x-kind"])
        assert.equal("1", res.headers["x-more"])
        assert.is_nil(res.headers["x-powered-by"])
        assert.no_aborts(site)
    end)

    it("never writes framing", function()
        local site = t.site { use = { headers {
            request = { set = { ["content-length"] = "0" } } } } }
        local res = site:post("/", { body = "hello" })
        assert.equal(500, res.status)
        assert.is_nil(res.upstream)
    end)
end)
