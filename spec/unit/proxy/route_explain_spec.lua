-- SPDX-License-Identifier: MIT
local site = require("spec.support.site")

-- The notes of a story's text, as "id fate" or "id fate: cond", in order.
local function notes(text)
    local out = {}
    for note in (text:match('"routes":%[(.*)%]}$') .. ","):gmatch('{"id":.-"fate":.-},') do
        local id, fate = note:match('"id":"(.-)","pattern"'), note:match('"fate":"(%a+)"')
        local cond = note:match('"cond":"(.-)"},')
        out[#out + 1] = cond and ("%s %s: %s"):format(id, fate, cond) or id .. " " .. fate
    end
    return out
end

local function with(routes, host)
    local s = site.new()
    local h = s:host(host and { host } or {}, not host)
    for _, route in ipairs(routes) do
        if type(route) == "string" then route = { route } end
        s:route(h, route[1], route)
    end
    return s:freeze()
end

describe("the story of a request's route", function()
    it("tells every route of the host, in the order of the search", function()
        local s = with { "/a/b", "/a/{x}", "/a/*", "/*", "~^/a/b$", "/other" }
        assert.same({ "/a/b chosen", "~^/a/b$ later", "/a/{x} later", "/a/* later", "/* later",
            "/other path" }, notes(s:explain { path = "/a/b" }))
    end)

    it("names the method and the first condition that speak against a route", function()
        local s = with {
            { "POST /a", id = "post" },
            { "/a", id = "beta", conds = { { "header", "x-ok", exists = true },
                { "header", "x-beta", equals = "1" } } },
            { "/a", id = "not-inside", conds = { { "source", ["in"] = "10.0.0.0/8",
                negate = true } } },
            { "GET /a", id = "rest" },
        }
        assert.same({ "post method", "beta cond: when header x-beta equals 1",
            "not-inside cond: unless source in 10.0.0.0/8", "rest chosen" },
            notes(s:explain { path = "/a", client = "10.1.1.1",
                headers = { { "x-ok", "" }, { "x-beta", "0" } } }))
    end)

    it("says how the host was found, and that none was", function()
        local s = with({ "/" }, "example.com")
        assert.truthy(s:explain({ path = "/", host = "example.com" }):find('"by":"name"', 1, true))
        assert.equal('{"by":"none","chosen":null,"miss":"misdirected","undecided":false,'
            .. '"left_out":0,"routes":[]}', s:explain { path = "/", host = "other.org" })
        local default = with { "/" }
        assert.truthy(default:explain({ path = "/", host = "x.y" }):find('"by":"default"', 1, true))
    end)

    it("tells a path without a route and a method that no route takes", function()
        local s = with { "GET /a" }
        assert.truthy(s:explain({ path = "/b" }):find('"miss":"no_route"', 1, true))
        local text = s:explain { path = "/a", method = "DELETE" }
        assert.truthy(text:find('"chosen":null,"miss":"method_not_allowed"', 1, true))
        assert.same({ "GET /a method" }, notes(text))
    end)

    it("says when a condition could not be decided", function()
        local s = with { { "/", id = "slow", conds = { { "header", "x-a",
            regex = [[^(a+)+$]] } } }, { "/", id = "rest" } }
        local found = notes(s:explain { path = "/",
            headers = { { "x-a", ("a"):rep(4000) .. "b" } } })
        assert.equal("rest chosen", found[2])
        -- The matcher may be clever enough to say no.
        assert.truthy(found[1]:find("^slow unknown") or found[1]:find("^slow cond"))
    end)

    it("escapes what the configuration says", function()
        local s = with { { "/", id = 'a "quoted" id', conds = { { "header", "x", equals = '"' } } } }
        local text = s:explain { path = "/" }
        assert.truthy(text:find([[a \"quoted\" id]], 1, true))
        assert.truthy(text:find([[when header x equals \"]], 1, true))
    end)

    it("counts the routes for which there is no room", function()
        local routes = {}
        for i = 1, 1100 do routes[i] = "/r" .. i end
        local text = with(routes):explain { path = "/r7" }
        assert.truthy(text:find('"left_out":100', 1, true))
        assert.equal(1000, #notes(text))
        assert.equal("/r7 chosen", notes(text)[1])
    end)

    it("agrees with the search", function()
        math.randomseed(7)
        local words = { "a", "b", "{p}", "cc" }
        for _ = 1, 200 do
            local routes, seen = {}, {}
            for _ = 1, math.random(12) do
                local pattern, names = "", 0
                for _ = 1, math.random(3) do
                    local word = words[math.random(#words)]
                    if word == "{p}" then names = names + 1 word = "{p" .. names .. "}" end
                    pattern = pattern .. "/" .. word
                end
                if math.random(4) == 1 then pattern = pattern .. "/*" end
                local text = (math.random(3) == 1 and "POST " or "GET ") .. pattern
                if not seen[text] then
                    seen[text] = true
                    routes[#routes + 1] = text
                end
            end
            local s = with(routes)
            for _ = 1, 5 do
                local path = ("/%s/%s"):format(words[math.random(2)],
                    ({ "a", "b", "cc", "zz" })[math.random(4)])
                local found, text = s:find { path = path }, s:explain { path = path }
                for _, note in ipairs(notes(text)) do
                    local id, fate = note:match("^(.*) (%a+)$")
                    if fate == "chosen" then
                        assert.equal(found.id, id)
                        break
                    end
                    assert.not_equal("later", fate, path .. " " .. text)
                end
                assert.equal(found.miss == "OK", text:find('"fate":"chosen"', 1, true) ~= nil)
            end
        end
    end)
end)
