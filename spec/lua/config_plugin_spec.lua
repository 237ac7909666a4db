-- SPDX-License-Identifier: MIT
local config = require("spec.support.config")

-- A plugin that a site can require; `setup` is Lua text of its body.
local function define(spec, setup)
    local made = config.rp.plugin(spec)
    made.setup = setup
    package.loaded["plugins.tried"] = made
    return made
end

local function errors(use, parts)
    parts = parts or {}
    parts.site = "use = { " .. use .. " },"
    return config.errors("local tried = require('plugins.tried') " .. config.minimal(parts))
end

local function hooks_of(names)
    return function()
        local hooks = {}
        for name in names:gmatch("%S+") do hooks[name] = function() end end
        return hooks
    end
end

describe("rproxy.plugin", function()
    before_each(function() define({ name = "tried" }, hooks_of("")) end)
    after_each(function() package.loaded["plugins.tried"] = nil end)

    it("gives setup its checked configuration, once per instance", function()
        local seen = {}
        define({ name = "tried", schema = { rate = { "duration", required = true },
            key = { "string", default = "ip" } } }, function(conf)
            seen[#seen + 1] = { conf.rate, conf.key }
            return {}
        end)
        assert.equal("", errors('tried { rate = "5m" }, tried { rate = 1, key = "x" }'))
        assert.same({ { 300, "ip" }, { 1, "x" } }, seen)
    end)

    it("sets a shared instance up once", function()
        local n = 0
        define({ name = "tried" }, function() n = n + 1 return {} end)
        assert.equal("", config.errors("local one = require('plugins.tried') { } "
            .. config.minimal { route = [[rp.route { "/a", upstream = "api", use = { one } },
                rp.route { "/b", upstream = "api", use = { one } }]] }))
        assert.equal(1, n)
    end)

    it("reports every mistake at the line of the call", function()
        define({ name = "tried", schema = { to = "upstream",
            rate = { "number", required = true } } }, function() return {} end)
        assert.equal('site.lua:2: plugins.tried.rat: unknown setting; did you mean "rate"?\n'
            .. "site.lua:2: plugins.tried.rate: missing; expected a number\n"
            .. 'site.lua:3: plugins.tried.to: no upstream "ap"; did you mean "api"?',
            errors('\ntried { rat = 1 },\n tried { rate = 1, to = "ap" }'):gsub("site.lua:(%d)",
                function(n) return "site.lua:" .. n - 1 end))
    end)

    it("is found by name, as an instance with its defaults", function()
        define({ name = "tried", schema = { n = { "number", default = 3 } } }, function(conf)
            assert(conf.n == 3)
            return { access = function() end }
        end)
        assert.equal("", errors('"tried"'))
        assert.equal('site.lua:2: use[1]: no plugin "nope": there is no module plugins.nope; '
            .. "known: basic-auth, canary, fault, headers, ip-restriction, ja4-deny, jwt-auth, "
            .. "metrics, mirror, ratelimit, request-id", errors('"nope"'))
        assert.matches('"../x" is no plugin\'s name', errors('"../x"'))
    end)

    it("says when an entry of use is nothing to run", function()
        define({ name = "tried" }, hooks_of(""))
        assert.matches("use%[1%]: plugin tried itself; make an instance: tried { }",
            errors("tried"))
        assert.matches("use%[1%]: expected a plugin's name, an instance or a table of hooks, got 5",
            errors("5"))
        assert.matches('use: expected a list, got the key "access" in it; a table of hooks is an '
            .. "entry", errors("access = function() end"))
        package.loaded["plugins.tried"] = { setup = print }
        assert.matches("module plugins.tried is no plugin", errors('"tried"'))
    end)

    it("refuses unknown hooks and hooks that are no functions", function()
        assert.matches('unknown hook "acess"; did you mean "access"?',
            errors("{ acess = function() end }"))
        assert.matches('hook "log": expected a function, got "x"', errors('{ log = "x" }'))
        define({ name = "tried" }, hooks_of("acces"))
        assert.matches('site.lua:2: unknown hook "acces"; did you mean "access"?',
            errors("\ntried { }"):gsub("site.lua:3", "site.lua:2"))
        define({ name = "tried" }, function() end)
        assert.matches("setup returned nil; expected a table of hooks", errors("tried { }"))
    end)

    it("says who raised in setup, and when there is no setup", function()
        define({ name = "tried" }, function() error("boom") end)
        assert.matches("^site.lua:2: plugin tried: setup raised: .-boom$", errors("tried { }"))
        define({ name = "tried" }, nil)
        assert.matches("plugin tried %(.*%) has no function setup%(conf%)", errors("tried { }"))
    end)

    it("keeps setup from changing its configuration", function()
        define({ name = "tried", schema = { n = { "number", default = 1 } } }, function(conf)
            conf.n = 2
            return {}
        end)
        assert.matches("setup changed its configuration; it is read%-only", errors("tried { }"))
    end)

    it("takes hooks only where they can run", function()
        define({ name = "tried" }, hooks_of("content"))
        assert.matches("it has a content hook, .* write content = on a route", errors("tried { }"))
        define({ name = "tried" }, hooks_of("balance"))
        assert.matches("it has a balance hook; write balance = on an upstream", errors("tried { }"))
        assert.matches("its early hook runs before a route is chosen; list it in the site's use",
            config.errors(config.minimal { host = "use = { { early = function() end } }," }))
        define({ name = "tried" }, hooks_of("balance access"))
        assert.matches("its access hook does not run under balance =", config.errors(
            "local tried = require('plugins.tried') " .. config.minimal {
                upstreams = "api = rp.upstream { balance = tried { } }" }))
    end)

    it("answers a route by its content hook, and runs its other hooks there", function()
        define({ name = "tried" }, hooks_of("content access"))
        local built = config.build("local tried = require('plugins.tried') " .. config.minimal {
            route = 'rp.route { "/a", content = tried { } }, rp.route { "/b", upstream = "api" }' })
        assert.same({ "tried" }, built:runs(0, "content"))
        assert.same({ "tried" }, built:runs(0, "access"))
        assert.is_nil(built:runs(1, "access"))
    end)

    it("refuses one instance twice on a request", function()
        define({ name = "tried" }, hooks_of("access"))
        assert.matches("the same instance of tried twice on one request", config.errors(
            "local one = require('plugins.tried') { } " .. config.minimal {
                site = "use = { one },", host = "use = { one }," }))
    end)

    describe("policy on errors", function()
        local function policy(spec, use)
            define(spec, hooks_of("access"))
            local built = config.build("local tried = require('plugins.tried') "
                .. config.minimal { site = "use = { " .. use .. " }," })
            return built:first("plugin")[2]
        end

        it("is closed for stages that guard, 500 for others", function()
            assert.equal("closed", policy({ name = "tried", stage = "auth" }, "tried { }"))
            assert.equal("closed", policy({ name = "tried", stage = "limit" }, "tried { }"))
            assert.equal("500", policy({ name = "tried", stage = "observe" }, "tried { }"))
            assert.equal("500", policy({ name = "tried" }, "tried { }"))
        end)

        it("is what the plugin says, then what the instance says", function()
            local spec = { name = "tried", stage = "auth", on_error = "open" }
            assert.equal("open", policy(spec, "tried { }"))
            assert.equal("500", policy(spec, 'tried { on_error = "500" }'))
            assert.equal("open", policy({ name = "tried" },
                '{ access = function() end, on_error = "open" }'))
        end)

        it("is one of three words", function()
            define({ name = "tried" }, hooks_of(""))
            assert.matches('tried.on_error: expected one of "500", "closed", "open", got "close"',
                errors('tried { on_error = "close" }'))
            assert.matches('tried.mode: expected one of "enforce", "shadow", got "off"',
                errors('tried { mode = "off" }'))
        end)
    end)

    it("raises on mistakes of the plugin's author", function()
        for message, spec in pairs {
            ['name: missing'] = {}, ['name: expected a string that matches'] = { name = "A b" },
            ['stage: expected one of "auth"'] = { name = "a", stage = "authz" },
            ['unknown setting; did you mean "schema"?'] = { name = "a", shcema = {} },
            ['plugins.a.x: no type "nmber"; did you mean "number"?'] =
                { name = "a", schema = { x = "nmber" } },
            ["schema.on_error: every plugin has it already"] =
                { name = "a", schema = { on_error = "string" } },
        } do
            local ok, err = pcall(config.rp.plugin, spec)
            assert.is_false(ok)
            assert.truthy(err:find(message, 1, true), err)
        end
    end)

    it("names inline plugins by the line of their first hook, or as they say", function()
        local built = config.build(config.minimal { site = [[use = {
            { access = function() end },
            { name = "mine", access = function() end } },]] })
        assert.equal("inline@site.lua:3", built:calls("plugin")[1][1])
        assert.equal("mine", built:calls("plugin")[2][1])
    end)
end)
