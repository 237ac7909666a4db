-- SPDX-License-Identifier: MIT
local config = require("spec.support.config")
local order = require("rproxy.config.order")

local BEFORE = [[
    local function make(name, stage, hooks, fields)
        local M = rp.plugin { name = name, stage = stage, schema = fields or {} }
        function M.setup()
            local out = {}
            for hook in hooks:gmatch("%a+") do out[hook] = function() end end
            return out
        end
        return M
    end
    local auth, waf = make("auth", "auth", "access"), make("waf", "waf", "access")
    local limit = make("limit", "limit", "access", { key = { "string", default = "ip" } })
    local observe, route = make("observe", "observe", "access log"), make("pick", "route", "access")
    local change = make("change", "transform", "access")
    local shape = make("shape", "transform", "rewrite")
]]

-- Warnings of a site whose one route has this use list, without their places.
local function warnings(use, more)
    local built = config.build(BEFORE .. ([[
        return rp.site { listeners = { rp.listen { "127.0.0.1:1" } },
            hosts = { rp.host { default = true, routes = {
                rp.route { "/*", respond = { 200 }, use = { %s }, %s } } } } }]]):format(use, more or ""))
    local out = {}
    for i, w in ipairs(order.warnings(built.model)) do out[i] = w.text end
    return out
end

local function one(use, what)
    local found = warnings(use)
    assert.equal(1, #found, use .. ": " .. table.concat(found, "; "))
    assert.matches(what, found[1], 1, true)
end

describe("rproxy.config.order", function()
    it("has nothing to say of the usual order", function()
        assert.same({}, warnings('observe {}, waf {}, auth {}, limit { key = "consumer" }, route {}, '
            .. "change {}, shape {}"))
    end)

    it("warns of each pair whose order defeats one of them", function()
        one('limit { key = "consumer" }, auth {}',
            'limit counts by consumer, and auth, which says who that is, runs after it '
            .. '(route "default /*"); list it after auth')
        one("change {}, waf {}", "change changes the request before waf looks at it")
        one("auth {}, waf {}", "auth reads what the client sent before waf")
        one("change {}, auth {}", "change changes the request before auth judges it")
        one("route {}, auth {}", "pick chooses an upstream before auth says who the client is")
        one("auth {}, observe {}", "what auth refuses is not seen by observe")
    end)

    it("knows that a limiter by address may stand before, and rewrite hooks run later", function()
        assert.same({}, warnings('limit { key = "ip" }, auth {}'))
        assert.same({}, warnings("shape {}, auth {}"))
    end)

    it("warns of twins, and of an authentication that is skipped", function()
        one('limit { key = "a" }, limit { key = "a" }', "limit runs twice with the same settings")
        assert.same({}, warnings('limit { key = "a" }, limit { key = "b" }'))
        local built = config.build(BEFORE .. [[
            return rp.site { listeners = { rp.listen { "127.0.0.1:1" } }, use = { auth {} },
                hosts = { rp.host { default = true, routes = {
                    rp.route { "/open", respond = { 200 }, skip = { "auth" } },
                    rp.route { "/public", respond = { 200 }, skip = { "auth" }, meta = { public = true } },
                    rp.route { "/other", respond = { 200 }, skip = { "auth" }, use = { auth {} } },
                    rp.route { "/*", respond = { 200 } } } } } }]])
        local found = order.warnings(built.model)
        assert.equal(1, #found)
        assert.equal("default /open", found[1].route)
        assert.matches("it skips auth", found[1].text)
    end)

    it("says the same thing of many routes once, at the line", function()
        local built = config.build(BEFORE .. [[
            return rp.site { listeners = { rp.listen { "127.0.0.1:1" } },
                use = { change {}, waf {} },
                hosts = { rp.host { default = true, routes = {
                    rp.route { "/a", respond = { 200 } }, rp.route { "/b", respond = { 200 } },
                    rp.route { "/c", respond = { 200 } } } } } }]])
        local found = order.warnings(built.model)
        assert.equal(1, #found)
        assert.matches('%(route "default /a" and 2 more%)', found[1].text)
        assert.matches("^[^:]+:%d+$", found[1].at)
        assert.matches("^[^:]+:%d+: warning: change ", order.text(built.model))
    end)

    it("can be told that it is meant", function()
        assert.same({}, warnings('change { order = "as listed" }, waf {}'))
        assert.same({}, warnings("change {}, waf {}", 'meta = { order = "as listed" }'))
        assert.same({}, warnings('limit { key = "a" }, limit { key = "a", order = "as listed" }'))
    end)
end)
