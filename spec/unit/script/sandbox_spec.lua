-- SPDX-License-Identifier: MIT
--
-- What code of a site can do to what it shares with other code: nothing.

local support = require("spec.unit.script.support")

local site

local function result(body)
    site = support.site(([[ rp.route { "/*", content = function(req)
        local ok, what = pcall(function() %s end)
        return req:exit(200, (ok and "ok " or "raised ") .. tostring(what))
    end } ]]):format(body))
    return site:get("/").body
end

describe("script/loader", function()
    after_each(function()
        if site then site:close() end
        site = nil
    end)

    it("keeps the tables of the layer from being changed", function()
        for _, change in ipairs { "rp.json = 1", "rp.json.decode = print", "rp.log.info = print",
            "rp.new = 1", "rp.text.x = 1", "require('rproxy.json').encode = print",
            "require('string.buffer').new = print", "rawset(rp, 'json', 1)",
            "rawset(rp.json, 'decode', print)", "rawset(rp.shared, 'x', 1)",
            "setmetatable(rp, {})", "setmetatable(rp.json, nil)",
            "setmetatable(rp.regex('a'), {})", "setmetatable(req, {})", "string.rep = print",
            "rawset(string, 'rep', print)", "setmetatable(rp.lru(1), nil)",
            "getmetatable(rp.regex('a')).__index = {}", "getmetatable('').__index = {}" } do
            assert.matches("^raised ", result(change), 1, false)
            site:close()
            site = nil
        end
    end)

    it("still shows and calls all of it", function()
        assert.equal('ok {"a":1}', result('return rp.json.encode { a = 1 }'))
        site:close()
        assert.equal("ok true", result('return rp.regex("a"):test("a") and rp.null ~= nil'))
        site:close()
        assert.equal("ok true", result([[
            return rp.null == rp.json.null and require("rproxy") == require("rproxy")
                and rp.tls ~= nil and rp.upstreams.x ~= nil and rp.array {} ~= nil ]]))
        site:close()
        assert.matches("raised .*rproxy has no \"jsom\"; did you mean \"json\"",
            result("return rp.jsom"))
    end)

    it("leaves a site's own metatables to it", function()
        assert.equal("ok 1 2 3 4 5", result([[
            local class = { __index = { one = 1 } }
            local t = setmetatable({}, class)
            rawset(t, "two", 2)
            class.__index.three = 3
            getmetatable(t).four = 4
            setmetatable(t, { __index = { five = 5 } })
            return ("%d %d %d %d %d"):format(class.__index.one, t.two, class.__index.three, class.four,
                t.five) ]]))
    end)
end)
