-- SPDX-License-Identifier: MIT
--
-- Routes that providers found, without a provider: what an offer may be, which of many hold, what
-- labels of a container become, and what a site makes of them.

local config = require("spec.support.config")

package.path = "lua/?.lua;" .. package.path
local offer = require("rproxy.discover.offer")

local function route(more)
    local out = { host = "a.test" }
    for key, value in pairs(more or {}) do out[key] = value end
    return out
end

local function why(more)
    local _, text = offer.read(route(more))
    return text
end

-- Offers that were read, in this order.
local function read(list)
    local out = {}
    for i, one in ipairs(list) do out[i] = assert(offer.read(one)) end
    return out
end

local function bounds(more)
    local out = { hosts = { "*.test" }, taken = {}, chains = { login = {} }, upstreams = {},
        label = "docker", most = 100 }
    for key, value in pairs(more or {}) do out[key] = value end
    return out
end

local function names(routes)
    local out = {}
    for i, one in ipairs(routes) do
        out[i] = ("%s=%s%s"):format(one.name, table.concat(one.hosts, "+"), one.path)
    end
    return table.concat(out, " ")
end

describe("an offer of a route", function()
    it("is completed and put into one form", function()
        assert.same({ name = "a.test", hosts = { "a.test", "b.test" }, path = "/*", use = {},
            tls = false, members = {} }, offer.read { host = "B.test, a.test,a.test" })
        assert.same({ name = "n/x", hosts = { "a.test" }, path = "/api/*", strip_prefix = "/api",
            use = { "one", "two" }, tls = true, health = "/up", members = { "1.2.3.4:5" }, age = 7,
            from = "container ?x" }, offer.read { name = "n/x", hosts = { "a.test" },
            path = "/api/*", strip_prefix = "/api", use = "one,two one", tls = true,
            health = "/up", members = { "1.2.3.4:5" }, age = 7, from = "container \27x" })
        assert.equal("a.test.api.v1", offer.read(route { path = "/api/v1/*" }).name)
    end)

    it("is none with anything odd in it", function()
        for _, host in ipairs { "", "*.test", "a..b", ".a", "a.", "-a.test", "a-.test", "ü.test",
            "a.test:80", "a_b.test",
            ("x"):rep(64) .. ".test", ("x."):rep(127) .. "xx", "a/b", "a\0b" } do
            assert.truthy(why { host = host }, host)
        end
        for _, path in ipairs { "", "x", "/{a}", "/a/*/b", "/*x", "/a*", "/a//b", "/a/../b", "/.",
            "/a/./b", "/%2e", "/a b", "/a\n", "~^/", "GET /", "/a?b", "/a#b", "//",
            "/" .. ("x"):rep(256), "/\200", ("/a"):rep(65), ("/a"):rep(64) .. "/*" } do
            assert.truthy((why { name = "a", path = path } or ""):find("^path: "), path)
        end
        assert.is_nil(why { name = "a", path = ("/a"):rep(64) })
        assert.is_nil(why { name = "a", path = ("/a"):rep(63) .. "/*" })
        for _, prefix in ipairs { "api", "/api/", "/a*", "/..", "/" } do
            assert.truthy(why { strip_prefix = prefix }, prefix)
        end
        for _, more in ipairs { { use = "a b!" }, { use = 5 }, { use = { {} } }, { tls = "yes" },
            { health = "x" },
            { name = "" }, { name = "../x" }, { name = ("x"):rep(129) }, { colour = "red" },
            { hosts = {} }, { hosts = { {} } }, { path = {} } } do
            assert.truthy(why(more))
        end
        assert.is_nil((offer.read("a")))
        local many = {}
        for i = 1, 17 do many[i] = ("a%d.test"):format(i) end
        assert.truthy(why { hosts = many }:find("at most 16", 1, true))
    end)

    it("holds within the bounds of the site alone", function()
        local routes, members, bad = offer.resolve(read {
            { host = "a.test", members = { "1.1.1.1:1" } }, { host = "test" }, { host = "a.other" },
            { host = "b.test", use = "login" }, { host = "c.test", use = "logni" },
            { host = "own.test" }, { name = "mine", host = "d.test" },
            { host = "deep.er.test, own.test" },
        }, bounds { taken = { ["own.test"] = "site.lua:5" }, upstreams = { ["docker:mine"] = true } })
        assert.equal("a.test=a.test/* b.test=b.test/* deep.er.test=deep.er.test/*", names(routes))
        assert.same({ "1.1.1.1:1" }, members["a.test"])
        assert.equal(6, #bad)
        local all = {}
        for i, one in ipairs(bad) do all[i] = one.why end
        all = table.concat(all, "\n")
        assert.truthy(all:find('no chain "logni"; did you mean', 1, true), all)
        assert.truthy(all:find("own.test: the site has it (site.lua:5)", 1, true), all)
    end)

    it("goes to the older one, whoever came first", function()
        local list = { { name = "young", host = "a.test, b.test", age = 9, from = "y" },
            { name = "old", host = "a.test", age = 3, from = "o" },
            { name = "path", host = "a.test", path = "/x", age = 10, from = "p" },
            { name = "none", host = "b.test", from = "n" } }
        local expected = "old=a.test/* path=a.test/x young=b.test/*"
        assert.equal(expected, names((offer.resolve(read(list), bounds()))))
        local turned = {}
        for i = #list, 1, -1 do turned[#turned + 1] = list[i] end
        local routes, _, bad = offer.resolve(read(turned), bounds())
        assert.equal(expected, names(routes))
        assert.equal("host: a.test: o has /* already", bad[1].why)
    end)

    it("brings members to the route of its name", function()
        local routes, members, bad = offer.resolve(read {
            { name = "s", host = "a.test", age = 1, from = "one", members = { "1.1.1.1:1" } },
            { name = "s", host = "a.test", age = 2, from = "two", members = { "2.2.2.2:2" } },
            { name = "s", host = "b.test", age = 3, from = "three", members = { "3.3.3.3:3" } },
            { name = "s", host = "a.test", age = 4, from = "four", tls = true, members = { "4.4.4.4:4" } },
        }, bounds())
        assert.equal("s=a.test/*", names(routes))
        assert.same({ "1.1.1.1:1", "2.2.2.2:2", "3.3.3.3:3" }, members.s)
        assert.equal("what one says holds, which is older", bad[1].why)
        assert.truthy(bad[2].why:find("it gets no requests", 1, true))
    end)

    it("is one of so many", function()
        local list = {}
        for i = 1, 9 do list[i] = { host = ("h%d.test"):format(i), age = i } end
        local routes, _, bad = offer.resolve(read(list), bounds { most = 4 })
        assert.equal(4, #routes)
        assert.equal("h4.test", routes[4].name)
        assert.equal(5, #bad)
    end)
end)

describe("discover of a site", function()
    local function errors(text)
        return config.errors(([[ return rp.site { listeners = { rp.listen { "127.0.0.1:1" } },
            hosts = { rp.host { default = true, routes = {
            rp.route { "/*", respond = { 404 } } } } }, discover = %s } ]]):format(text))
    end

    it("is checked before there is a route", function()
        assert.equal("", errors('{ "docker", hosts = { "*.test" } }'))
        assert.equal("", errors([[{ { "file", path = "x", hosts = { "*" } },
            { "http", url = "http://a/", hosts = { "a.test" } } }]]))
        for text, told in pairs {
            ['{ "docker" }'] = "discover.hosts: missing",
            ['{ "docker", hosts = { "*" }, most = 4001 }'] = "most: at most 4000",
            ['{ "docker", hosts = { "Shop.test" } }'] = "in lower case",
            ['{ "consul", service = "x", hosts = { "*" } }'] = "docker, file and http bring routes",
            ['{ "dcoker", hosts = { "*" } }'] = "did you mean",
            ['{ "docker", name = "x", hosts = { "*" } }'] = "labels say the names",
            ['{ "docker", hosts = { "*" }, upstream = { peers = { "a:1" } } }'] = "that is what is found",
            ['{ "docker", hosts = { "*" }, upstream = { balnace = "p2c" } }'] = "did you mean",
            ['{ "docker", hosts = { "*" }, route = { upstream = "x" } }'] = "that is what is found",
            ['{ "docker", hosts = { "*" }, chains = { login = "x" } }'] = "expected a list of plugins",
            ['{ "docker", hosts = { "*" }, chains = { ["a b"] = {} } }'] = "expected names as keys",
            ['{ "docker", hosts = { "*" }, chains = { login = { "no-such" } } }'] = "no plugin",
            ['5'] = "expected a provider",
        } do
            local err = errors(text)
            assert.truthy(err:find(told, 1, true), text .. ": " .. err)
        end
    end)
end)
