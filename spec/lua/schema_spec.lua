-- SPDX-License-Identifier: MIT
local schema = require("rproxy.schema")

local function check(spec, value)
    local ctx = schema.context()
    local node = schema.compile(spec, "t")
    local kept = schema.check(node, value, "t", ctx)
    local texts = {}
    for i, e in ipairs(ctx.errors) do texts[i] = e.path .. ": " .. e.text end
    table.sort(texts)
    return kept, texts, ctx, node
end

describe("rproxy.schema", function()
    it("fills defaults and converts units", function()
        local kept, errors = check({
            every = { "duration", default = "1m" }, max = { "size", default = "8k" },
            on = { "boolean", default = false }, name = "string", header = "header",
            redis = { host = { "string", default = "localhost" }, port = "integer" },
        }, { header = "X-Thing" })
        assert.same({}, errors)
        assert.same({ every = 60, max = 8192, on = false, header = "x-thing",
            redis = { host = "localhost" } }, kept)
    end)

    it("names the path of a mistake", function()
        local _, errors = check({ redis = { port = { "integer", min = 1 } },
            list = { "list", of = { rate = { "number", required = true } } } },
            { redis = { port = 0 }, list = { { rate = 1 }, {} } })
        assert.same({ "t.list[2].rate: missing; expected a number",
            "t.redis.port: at least 1, got 0" }, errors)
    end)

    it("reports every mistake, not the first", function()
        local _, errors = check({ a = "string", b = "number" }, { a = 1, b = "x", c = 2 })
        assert.same({ "t.a: expected a string, got 1", 't.b: expected a number, got "x"',
            "t.c: unknown setting; known: a, b" }, errors)
    end)

    it("suggests the nearest name", function()
        local _, errors = check({ timeout = "duration" }, { timeuot = 1 })
        assert.same({ 't.timeuot: unknown setting; did you mean "timeout"?' }, errors)
    end)

    it("checks each scalar type", function()
        local right = { string = "", number = 1.5, integer = -3, boolean = false,
            duration = "5s", size = "1k", header = "x-a", url = "https://a.example/x?y",
            upstream = "api", regex = "^a", ["function"] = print, any = {} }
        local wrong = { string = 1, number = 0 / 0, integer = 1.5, boolean = "yes",
            duration = "5", size = "1x", header = "x a", url = "a.example/x", upstream = "",
            regex = 5, ["function"] = "f" }
        for kind, value in pairs(right) do
            local _, errors = check({ v = kind }, { v = value })
            assert.same({}, errors, kind)
        end
        for kind, value in pairs(wrong) do
            local _, errors = check({ v = kind }, { v = value })
            assert.equal(1, #errors, kind)
            assert.truthy(errors[1]:find("t.v: expected", 1, true), errors[1])
        end
    end)

    it("refuses URLs that are none", function()
        for _, url in ipairs { "ftp://a/", "http://", "http:///x", "https://a b/", "//a/" } do
            local _, errors = check({ v = "url" }, { v = url })
            assert.equal(1, #errors, url)
        end
    end)

    it("takes only the choices of an enum", function()
        local spec = { key = { "enum", { "ip", "route" }, default = "ip" } }
        assert.equal("route", check(spec, { key = "route" }).key)
        local _, errors = check(spec, { key = "port" })
        assert.same({ 't.key: expected one of "ip", "route", got "port"' }, errors)
    end)

    it("checks bounds, lengths and patterns", function()
        local spec = { n = { "number", min = 1, max = 10 }, s = { "string", min = 2, max = 3 },
            d = { "duration", max = 1 }, m = { "string", match = "^cookie:%w+$" },
            l = { "list", of = "string", max = 1 } }
        local _, errors = check(spec, { n = 11, s = "a", d = "5s", m = "x", l = { "a", "b" } })
        assert.same({ "t.d: at most 1s, got 5s", "t.l: at most 1 entries, got 2",
            't.m: expected a string that matches the Lua pattern "^cookie:%w+$", got "x"',
            "t.n: at most 10, got 11", "t.s: at least 2 bytes, got 1" }, errors)
    end)

    it("refuses lists with holes or names, and maps with numbers", function()
        local _, errors = check({ l = { "list", of = "string" }, m = "map<string>" },
            { l = { "a", x = "b" }, m = { "a" } })
        assert.same({ 't.l: expected a list, got the key "x" in it',
            "t.m: expected names as keys, got 1" }, errors)
    end)

    it("checks names and values of headers", function()
        local kept, errors = check({ h = "headers" }, { h = { ["X-A"] = "1" } })
        assert.same({}, errors)
        assert.same({ ["x-a"] = "1" }, kept.h)
        kept, errors = check({ h = "headers" }, { h = { ["a b"] = "1", b = 2, c = "\n" } })
        assert.same({ "t.h.b: expected a string, got 2",
            't.h.c: expected a value without control bytes, got "\\10"',
            't.h: expected header names as keys, got "a b"' }, errors)
        assert.same({}, kept.h)
    end)

    it("takes false where a row allows it", function()
        local spec = { via = { "string", or_false = true, default = "x" } }
        assert.equal(false, check(spec, { via = false }).via)
        local _, errors = check(spec, { via = true })
        assert.same({ "t.via: expected a string, or false, got true" }, errors)
    end)

    it("leaves a nested table out when something in it is required and nothing is given", function()
        local kept, errors = check({ tls = { cert = { "string", required = true } } }, {})
        assert.same({}, errors)
        assert.is_nil(kept.tls)
    end)

    it("notes names of upstreams for later", function()
        local _, _, ctx = check({ to = "upstream" }, { to = "api" })
        assert.same({ { path = "t.to", name = "api" } }, ctx.refs)
    end)

    it("compiles regexes where that is possible, and says what is wrong with them", function()
        schema.compile_regex = function(text)
            if text == "(" then return nil, "missing )" end
            return { text = text }
        end
        finally(function() schema.compile_regex = nil end)
        assert.same({ text = "^a" }, check({ r = "regex" }, { r = "^a" }).r)
        local _, errors = check({ r = "regex" }, { r = "(" })
        assert.same({ "t.r: not a regular expression: missing )" }, errors)
    end)

    it("does not change or share what it was given", function()
        local default, given = { "a" }, { list = { "b" } }
        local spec = { list = { "list", of = "string", default = default } }
        local kept = check(spec, given)
        kept.list[1] = "c"
        assert.same({ list = { "b" } }, given)
        check(spec, {}).list[1] = "z"
        assert.same({ "a" }, default)
    end)

    it("raises on mistakes of the schema's author", function()
        for message, spec in pairs {
            ['t.a: no type "strnig"; did you mean "string"?'] = { a = "strnig" },
            ['t.a: a schema row has no "requird"; did you mean "required"?'] =
                { a = { "string", requird = true } },
            ["t.a: an enum names its choices"] = { a = { "enum" } },
            ['t.a: its default: expected a number, got "x"'] =
                { a = { "number", default = "x" } },
            ["t.a: a schema row is a type name or a table, got 5"] = { a = 5 },
        } do
            local ok, err = pcall(schema.compile, spec, "t")
            assert.is_false(ok)
            assert.truthy(err:find(message, 1, true), err)
        end
    end)

    describe("settings that name a place", function()
        local rules = require("rproxy.grant_rules")

        local function places(spec, value)
            local _, errors, ctx = check(spec, value)
            assert.same({}, errors)
            return rules.texts(ctx.places), rules.texts(ctx.wanted)
        end

        it("grant what the author of the site wrote", function()
            assert.same({ "net id.example:443" }, (places({ u = "url" }, { u = "https://id.example/x" })))
            assert.same({ "net id.example:81" }, (places({ u = "url" }, { u = "http://id.example:81/" })))
            assert.same({ "net [::1]:80" }, (places({ u = "url" }, { u = "http://[::1]/" })))
            assert.same({ "net a:1", "net b:2" }, (places({ l = { "list", of = "address" } },
                { l = { "a:1", "b:2" } })))
            assert.same({ "net db:5432" }, (places({ in_it = { h = { "host", port = "p" }, p = "integer" } },
                { in_it = { h = "db", p = 5432 } })))
            assert.same({ "net db:*" }, (places({ h = "host" }, { h = "db" })))
            assert.same({ "read /a", "write /b", "write /c" }, (places({ a = "path",
                b = { "path", access = "write" }, c = { "path", access = "write" } },
                { a = "/a", b = "/b", c = "/c" })))
        end)

        it("do not grant what is only a default", function()
            local granted, wanted = places({ u = { "url", default = "https://a.example/" },
                h = { "host", default = "b.example", port = "p" }, p = { "integer", default = 2 },
                f = { "path", default = "/f" }, o = { x = { "address", default = "c:3" } } }, {})
            assert.same({}, granted)
            table.sort(wanted)
            assert.same({ "net a.example:443", "net b.example:2", "net c:3", "read /f" }, wanted)
        end)

        it("are refused when they name none", function()
            for kind, values in pairs { address = { "a", "a:0", "*.a:1", "*:1", "10.0.0.0/8:1", "a:*", 1 },
                host = { "", "*", "*.a", "a b", "10.0.0.0/8", "a:1" }, path = { "", "a\0b", 1 } } do
                for _, value in ipairs(values) do
                    local _, errors = check({ x = kind }, { x = value })
                    assert.equal(1, #errors, kind .. " " .. tostring(value))
                end
            end
        end)
    end)

    describe("lean checks", function()
        local node = schema.compile({ rate = { "integer", default = 3, min = 1 },
            sub = { n = { "integer", default = 5 }, text = "string" } }, "t")
        local function lean(value)
            local ctx = schema.context()
            return schema.check_lean(node, value, "t", ctx), ctx.errors
        end

        it("keep what is given, and read the rest from defaults that all share", function()
            local one, other = lean {}, lean { sub = { text = "x" } }
            assert.same({ 3, 5 }, { one.rate, one.sub.n })
            assert.is_nil(rawget(one, "sub"))
            assert.is_nil(one.sub.text)
            assert.same({ n = 5, text = "x" }, rawget(other, "sub"))
            assert.equal(3, other.rate)
            assert.equal(rawequal(lean({}).sub, one.sub), true)
        end)

        it("complain as others do", function()
            local _, errors = lean { rate = 0, rats = 1 }
            assert.equal(2, #errors)
            _, errors = lean { 7 }
            assert.equal(1, #errors)
        end)
    end)

    describe("freeze", function()
        local kept, node
        before_each(function()
            local _
            kept, _, _, node = check({ rate = { "number", default = 1 }, key = "string",
                list = { "list", of = "string", default = { "a" } }, sub = { n = "number" } }, {})
            schema.freeze(node, kept)
        end)

        it("refuses new names, also below", function()
            assert.error_matches(function() kept.new = 1 end, 'read%-only: cannot set "new"')
            assert.error_matches(function() kept.sub.n = 1 end, "read%-only")
            assert.error_matches(function() kept.list[2] = "b" end, "read%-only")
        end)

        it("raises for names that the schema does not know, not for absent ones", function()
            assert.is_nil(kept.key)
            assert.error_matches(function() return kept.rat end, 'did you mean "rate"?')
        end)

        it("keeps pairs and # working", function()
            assert.equal(1, #kept.list)
            local names = {}
            for name in pairs(kept) do names[#names + 1] = name end
            table.sort(names)
            assert.same({ "list", "rate", "sub" }, names)
        end)
    end)
end)
