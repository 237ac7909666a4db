-- SPDX-License-Identifier: MIT
--
-- config.splits: what rp.split says, as it is handed over.

local config = require("spec.support.config")

local function build(split, more)
    return config.build(([[ return rp.site { listeners = { rp.listen { "127.0.0.1:1" } },
        upstreams = { a = rp.upstream { peers = { "a:1" } }, b = rp.upstream { peers = { "b:1" } },
            stable = rp.upstream { peers = { "s:1" } } },
        hosts = { rp.host { default = true, routes = {
            rp.route { "/*", id = "all", upstream = rp.split { %s } }, %s } } } } ]]):format(split,
        more or ""))
end

local function sides(built)
    local out, names = {}, { [0] = "a", "b", "stable" }
    for i, call in ipairs(built:calls("split_side")) do out[i] = { names[call[2]], call[3] } end
    return out
end

local function settings(built)
    local out = {}
    for _, call in ipairs(built:calls("set_split")) do out[call[2]] = call[3] end
    for _, call in ipairs(built:calls("set_split_text")) do out[call[2]] = call[3] end
    return out
end

describe("a split", function()
    local agents

    setup(function() -- what only a running program has
        agents = 0
        package.loaded["rproxy.crypto"] = { sha256 = function() return ("\1"):rep(32) end }
        package.loaded["rproxy.text"] = { hex = function(text) return ("01"):rep(#text) end }
        package.loaded["rproxy.chain"] = { on = function(what)
            if what == "agent" then agents = agents + 1 end
        end }
    end)

    teardown(function()
        for _, name in ipairs { "crypto", "text", "chain" } do
            package.loaded["rproxy." .. name] = nil
        end
    end)

    it("is handed over with its sides, in order, and the base", function()
        local built = build("stable = 90, b = 9.5, a = 0.5")
        assert.same({ "all" }, built:first("split"))
        assert.same({ { "a", 50 }, { "b", 950 }, { "stable", 9000 } }, sides(built))
        assert.equal(2, settings(built).base)
        built = build('{ "b", 1 }, { "a", 2 }, name = "mine"')
        assert.same({ "mine" }, built:first("split"))
        assert.same({ { "b", 3333 }, { "a", 6667 } }, sides(built))
        assert.equal(0, settings(built).base)
        assert.equal(1, settings(build("b = 2, a = 1")).base) -- the largest
        assert.equal(0, settings(build('b = 2, a = 1, base = "a"')).base)
        assert.same({ 0, "upstream", 1 }, (function(calls)
            for _, call in ipairs(calls) do
                if call[2] == "upstream" then return call end
            end
        end)(build("b = 2, a = 1"):calls("set_route")))
    end)

    it("has keys, a cookie and rules", function()
        local built = build([[ stable = 1, b = 1, by = { "cookie:uid", "ip" },
            sticky = { cookie = "ab", max_age = "1h", secret = "0123456789abcdef" }, when = {
                { header = { h = "1" }, cookie = { c = true }, upstream = "a" },
                { source = { "10.0.0.0/8", "::1" }, query = { q = { prefix = "x" } },
                    upstream = "b" } } ]])
        assert.same({ { 0, 6, "uid" }, { 0, 0, "" } }, built:calls("split_hash"))
        local set = settings(built)
        assert.equal("ab", set.cookie)
        assert.equal("; Path=/; Max-Age=3600; HttpOnly; SameSite=Lax", set.cookie_more)
        assert.matches("^%x+$", set.key)
        assert.equal(32, #set.key)
        assert.same({ { 0, 0 }, { 0, 1 } }, built:calls("split_rule"))
        assert.same({
            { 0, "header", "equals", false, "h", "1" }, { 0, "cookie", "exists", false, "c", "" },
            { 0, "query", "prefix", false, "q", "x" },
            { 0, "source", "in", false, "", "10.0.0.0/8,::1" },
        }, built:calls("split_cond"))
    end)

    it("begins with the first step of its rollout, and has the agent look", function()
        local built = build("stable = 100, b = 0, rollout = { steps = { 0.5, 50, 100 } }")
        assert.same({ { "b", 50 }, { "stable", 9950 } }, sides(built))
        assert.same({ { 0, 50 }, { 0, 5000 }, { 0, 10000 } }, built:calls("split_step"))
        assert.equal(0, settings(built).canary)
        local agent
        for _, call in ipairs(built:calls("number")) do agent = agent or call[1] == "agent" end
        assert.is_true(agent)
        assert.equal(1, agents)
    end)

    local function wrong(split, text)
        local errors = config.errors(([[ return rp.site { listeners = { rp.listen { "127.0.0.1:1" } },
            upstreams = { b = rp.upstream { peers = { "b:1" } },
                stable = rp.upstream { peers = { "s:1" } } },
            hosts = { rp.host { default = true, routes = {
                rp.route { "/*", upstream = rp.split { stable = 1, b = 1, %s } } } } } } ]]):format(
            split))
        assert.truthy(errors:find(text, 1, true), errors)
    end

    it("refuses steps that are no percentages, or the same in hundredths", function()
        for _, steps in ipairs { "0/0, 50", "1, 0/0", "0.011, 0.012", "0.004, 1", "5, 1", "1, 101",
            '"1"', "1/0" } do
            wrong(("rollout = { steps = { %s } }"):format(steps),
                "rp.split.rollout.steps: expected percentages from 0.01 to 100")
        end
    end)

    it("refuses settings of a cookie that has no name", function()
        wrong('sticky = { secret = "0123456789abcdef" }', "rp.split.sticky.secret: of which cookie?")
    end)

    it("is one for all routes that use the same rp.split", function()
        local built = config.build [[
            local s = rp.split { a = 1, b = 1 }
            return rp.site { listeners = { rp.listen { "127.0.0.1:1" } },
                upstreams = { a = rp.upstream { peers = { "a:1" } },
                    b = rp.upstream { peers = { "b:1" } } },
                hosts = { rp.host { default = true, routes = {
                    rp.route { "/x", upstream = s }, rp.route { "/y", upstream = s } } } } } ]]
        assert.equal(1, #built:calls("split"))
        local n = 0
        for _, call in ipairs(built:calls("set_route")) do
            if call[2] == "split" then n = n + 1 end
        end
        assert.equal(2, n)
    end)
end)
