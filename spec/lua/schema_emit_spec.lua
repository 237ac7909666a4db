-- SPDX-License-Identifier: MIT
local emit = require("rproxy.schema_emit")
local plugin = require("rproxy.plugin")

local function array(list) return list end

local function json(fields)
    return emit.json(plugin.define { name = "p", version = "1.2.3", doc = "What it is for.",
        schema = fields }, plugin.common, array)
end

describe("rproxy.schema_emit", function()
    it("says what a plugin takes, with what every plugin does", function()
        local out = json { rate = { "number", required = true, min = 1, max = 9, doc = "How many." },
            name = "string", on = { "boolean", default = false } }
        assert.equal("https://json-schema.org/draft/2020-12/schema", out["$schema"])
        assert.equal("urn:rproxy:plugin:p:1.2.3", out["$id"])
        assert.equal("What it is for.", out.description)
        assert.same({ "rate" }, out.required)
        assert.is_false(out.additionalProperties)
        assert.same({ type = "number", minimum = 1, maximum = 9, description = "How many." },
            out.properties.rate)
        assert.same({ type = "boolean", default = false }, out.properties.on)
        assert.same({ "500", "closed", "open" }, out.properties.on_error.enum)
    end)

    it("knows every type", function()
        local p = json {
            d = { "duration", min = 1, default = "5s" }, s = "size", h = "header", hs = "headers",
            u = "url", a = "address", host = "host", f = "path", up = "upstream", z = "shared:store",
            re = "regex", e = { "enum", { "a", 2 } }, l = { "list", of = "integer", min = 1, max = 3 },
            m = "map<string>", fn = "function", any = "any", off = { "integer", or_false = true },
            inner = { x = { "string", required = true }, y = "integer" },
        }.properties
        assert.equal(1, p.d.anyOf[1].minimum)
        assert.equal("5s", p.d.default)
        assert.equal("string", p.s.anyOf[2].type)
        assert.equal("string", p.hs.additionalProperties.type)
        assert.equal("uri", p.u.format)
        assert.same({ "a", 2 }, p.e.enum)
        assert.same({ type = "array", items = { type = "integer" }, minItems = 1, maxItems = 3 }, p.l)
        assert.equal("string", p.m.additionalProperties.type)
        assert.same({}, p.fn["not"])
        assert.is_false(p.off.anyOf[2].const)
        assert.same({ "x" }, p.inner.required)
        for _, name in ipairs { "h", "a", "host", "f", "up", "z", "re" } do
            assert.equal("string", p[name].type, name)
        end
    end)

    it("writes Lua patterns as ECMA ones where that is the same", function()
        for lua, ecma in pairs {
            ["^[%w_-]+$"] = "^[A-Za-z0-9_\\-]+$", ["^cookie:[%w_-]+$"] = "^cookie:[A-Za-z0-9_\\-]+$",
            ["a.c"] = "a[\\s\\S]c", ["%d-%."] = "[0-9]*?\\.", ["^[^%s]$"] = "^[^\\s]$",
            ["[a-f0-9]"] = "[a-f0-9]", ["(x)?"] = "(x)\\?", ["a|b"] = "a\\|b",
        } do
            assert.equal(ecma, emit.ecma(lua), lua)
        end
        for _, lua in ipairs { "%bxy", "%f[%a]", "(a)%1", "[%z]", "%W", "[a", "%" } do
            assert.is_nil(emit.ecma(lua), lua)
        end
    end)

    it("writes classes for editors", function()
        local made = plugin.define { name = "rate-limit", schema = {
            rate = { "number", required = true, doc = "How many." }, l = { "list", of = "duration" },
            rules = { "list", of = { a = "string" } },
            e = { "enum", { "a", "b" } } } }
        local text = emit.types(made) .. "\n" .. emit.common_types(plugin.common)
        assert.matches("---@class rproxy.conf.RateLimit: rproxy.conf.Plugin\n", text, 1, true)
        assert.matches("---@field rate number How many.", text, 1, true)
        assert.matches("---@field l? (number|string)[]", text, 1, true)
        assert.matches('---@field e? ("a"|"b")', text, 1, true)
        assert.matches("---@field rules? rproxy.conf.RateLimitRules[]", text, 1, true)
        assert.matches("---@class rproxy.conf.RateLimitRules\n---@field a? string", text, 1, true)
        assert.matches('---@field on_error? ("500"|"closed"|"open")', text, 1, true)
    end)
end)
