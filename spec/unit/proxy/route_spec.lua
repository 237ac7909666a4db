-- SPDX-License-Identifier: MIT
local site = require("spec.support.site")

-- A default host with these routes; each route's id is its text.
local function with(...)
    local s = site.new()
    local h = s:host({}, true)
    for _, route in ipairs { ... } do
        if type(route) == "string" then route = { route } end
        s:route(h, route[1], route)
    end
    return s:freeze()
end

local function id_of(s, path, req)
    req = req or {}
    req.path = path
    local found = s:find(req)
    return found.miss == "OK" and found.id or found.miss
end

-- What adding this pattern says.
local function complaint(pattern)
    local s = site.new()
    local h = s:host({}, true)
    local ok, err = pcall(s.route, s, h, pattern)
    return not ok and err or nil
end

describe("hosts", function()
    local s

    before_each(function()
        s = site.new()
        for _, name in ipairs { "example.com", "*.example.com", "*.api.example.com",
            "a.api.example.com", "192.0.2.1", "[2001:db8::1]", "UPPER.example.org",
            "dot.example.net." } do
            s:route(s:host { name }, "/*", { id = name })
        end
    end)

    local function host(name)
        local found = s:find { host = name }
        return found.miss == "OK" and found.id or found.miss
    end

    it("match by their exact name", function()
        s:freeze()
        assert.equal("example.com", host("example.com"))
        assert.equal("192.0.2.1", host("192.0.2.1"))
        assert.equal("[2001:db8::1]", host("[2001:db8::1]"))
    end)

    it("match whatever the case", function()
        s:freeze()
        assert.equal("example.com", host("eXample.COM"))
        assert.equal("UPPER.example.org", host("upper.EXAMPLE.org"))
    end)

    it("match with and without one final dot", function()
        s:freeze()
        assert.equal("example.com", host("example.com."))
        assert.equal("dot.example.net.", host("dot.example.net"))
        assert.equal("MISDIRECTED", host("example.com.."))
    end)

    it("match a wildcard by one or more labels", function()
        s:freeze()
        assert.equal("*.example.com", host("www.example.com"))
        assert.equal("*.example.com", host("a.b.c.example.com"))
        assert.equal("*.example.com", host("API.example.com"))
    end)

    it("prefer an exact name, then the longest wildcard", function()
        s:freeze()
        assert.equal("a.api.example.com", host("a.api.example.com"))
        assert.equal("*.api.example.com", host("b.api.example.com"))
        assert.equal("*.api.example.com", host("x.a.api.example.com"))
    end)

    it("do not match half a label, nor the wildcard's own suffix", function()
        s:freeze()
        assert.equal("MISDIRECTED", host("badexample.com"))
        assert.equal("MISDIRECTED", host(".example.com"))
        assert.equal("MISDIRECTED", host("com"))
        assert.equal("MISDIRECTED", host(("a."):rep(140) .. "example.org"))
    end)

    it("that are unknown get the site's answer when there is no default", function()
        s:freeze()
        local found = s:find { host = "other.org" }
        assert.equal("MISDIRECTED", found.miss)
        assert.equal(s.conf.no_host, found.route)
        assert.equal(421, found.route.status)
        assert.equal("MISDIRECTED", s:find({}).miss)
    end)

    it("that are unknown go to the default host when there is one", function()
        s:route(s:host({}, true), "/*", { id = "default" })
        s:freeze()
        assert.equal("default", host("other.org"))
        assert.equal("default", host(""))
        assert.equal("example.com", host("example.com"))
    end)

    it("with many labels cost only as many look-ups as wildcards have depths", function()
        s:freeze()
        assert.equal("*.example.com", host(("a."):rep(120) .. "example.com"))
    end)
end)

describe("paths", function()
    it("match exactly", function()
        local s = with("/", "/a", "/a/b", "/ab")
        assert.equal("/", id_of(s, "/"))
        assert.equal("/a", id_of(s, "/a"))
        assert.equal("/a/b", id_of(s, "/a/b"))
        assert.equal("/ab", id_of(s, "/ab"))
        for _, path in ipairs { "/b", "/a/", "/abc", "/a/b/", "/A" } do
            assert.equal("NO_ROUTE", id_of(s, path), path)
        end
    end)

    it("match a wildcard from its slash on, empty rest included", function()
        local s = with("/a/*")
        assert.equal("/a/*", id_of(s, "/a/"))
        assert.equal("/a/*", id_of(s, "/a/b"))
        assert.equal("/a/*", id_of(s, "/a/b/c/"))
        assert.equal("NO_ROUTE", id_of(s, "/a"))
        assert.equal("NO_ROUTE", id_of(s, "/ab"))
    end)

    it("are compared in their normal form", function()
        local s = with("/a/%7eb/caf\xc3\xa9", "/x y/*")
        assert.equal("/a/%7eb/caf\xc3\xa9", id_of(s, "/a/./~b/caf%c3%A9"))
        assert.equal("/x y/*", id_of(s, "/x%20y/"))
        assert.equal("NO_ROUTE", id_of(s, "/x%2520y/"))
    end)

    it("give a {param} one whole segment that is not empty", function()
        local s = with("/u/{id}", "/u/{id}/posts/{post}")
        assert.same({ id = "7" }, s:find({ path = "/u/7" }).params)
        assert.same({ id = "7", post = "x%2Fy" }, s:find({ path = "/u/7/posts/x%2fy" }).params)
        for _, path in ipairs { "/u/", "/u", "/u/7/", "/u/7/posts/", "/u/7/posts/1/2" } do
            assert.equal("NO_ROUTE", id_of(s, path), path)
        end
    end)

    it("give {rest*} what remains, also when it is empty", function()
        local s = with("/f/{who}/{rest*}")
        assert.same({ who = "me", rest = "a/b.txt" }, s:find({ path = "/f/me/a/b.txt" }).params)
        assert.same({ who = "me", rest = "" }, s:find({ path = "/f/me/" }).params)
        assert.equal("NO_ROUTE", id_of(s, "/f/me"))
    end)

    it("prefer a literal to a {param} to a wildcard", function()
        local s = with("/*", "/{a}", "/x", "/{a}/y", "/x/*", "/x/{b}")
        assert.equal("/x", id_of(s, "/x"))
        assert.equal("/{a}", id_of(s, "/z"))
        assert.equal("/x/{b}", id_of(s, "/x/y")) -- "/x/" is the longer literal prefix
        assert.equal("/{a}/y", id_of(s, "/z/y"))
        assert.equal("/x/*", id_of(s, "/x/y/z"))
        assert.equal("/*", id_of(s, "/z/z"))
        assert.equal("/*", id_of(s, "/"))
    end)

    it("come back from a literal that leads nowhere", function()
        local s = with("/a/b/c", "/a/{x}/d", "/{y}/b/e", "/{y}/{z}/f", "/a/*")
        assert.equal("/a/b/c", id_of(s, "/a/b/c"))
        assert.same({ x = "b" }, s:find({ path = "/a/b/d" }).params)
        assert.equal("/a/*", id_of(s, "/a/b/e"))
        assert.equal("/{y}/b/e", id_of(s, "/q/b/e"))
        assert.same({ y = "q", z = "r" }, s:find({ path = "/q/r/f" }).params)
    end)

    it("share bytes of one segment without sharing routes", function()
        local s = with("/team", "/test", "/te", "/{any}", "/teams/*")
        for _, path in ipairs { "/team", "/test", "/te" } do
            assert.equal(path, id_of(s, path))
        end
        for _, path in ipairs { "/t", "/tea", "/tests", "/teams" } do
            assert.equal("/{any}", id_of(s, path), path)
        end
        assert.equal("/teams/*", id_of(s, "/teams/1"))
    end)

    it("lead to their own route by every byte that may begin a segment", function()
        local bytes, routes = "!$&'()+,-0123456789:;=@ABYZ_abyz~", {}
        for ch in bytes:gmatch(".") do
            routes[#routes + 1] = "/" .. ch .. "x"
            routes[#routes + 1] = "/s/" .. ch
        end
        local s = with(unpack(routes))
        for _, path in ipairs(routes) do assert.equal(path, id_of(s, path)) end
        for _, path in ipairs { "/*x", "/s/*", "/Cx", "/s/}", "/s/%7F" } do
            assert.equal("NO_ROUTE", id_of(s, path))
        end
    end)

    it("go to their own host only", function()
        local s = site.new()
        s:route(s:host { "a.org" }, "/a")
        s:route(s:host { "b.org" }, "/b")
        s:freeze()
        assert.equal("/a", id_of(s, "/a", { host = "a.org" }))
        local found = s:find { host = "b.org", path = "/a" }
        assert.equal("NO_ROUTE", found.miss)
        assert.equal(404, found.route.status)
        assert.equal(s.conf.hosts[1].no_route, found.route)
    end)

    it("of requests without one match only \"*\"", function()
        local s = with("/*", "OPTIONS *")
        assert.equal("OPTIONS *", id_of(s, "*", { method = "OPTIONS" }))
        assert.equal("METHOD_NOT_ALLOWED", id_of(s, "", { method = "CONNECT" }))
        assert.equal("NO_ROUTE", id_of(with("/*"), "*", { method = "OPTIONS" }))
    end)
end)

describe("a regex", function()
    it("matches the whole path and gives its named groups as params", function()
        local s = with("~^/re(?<name>g[a-z]+)(/(?<more>.*))?$")
        assert.same({ name = "gex", more = false }, s:find({ path = "/regex" }).params)
        assert.same({ name = "gex", more = "x" }, s:find({ path = "/regex/x" }).params)
        assert.equal("NO_ROUTE", id_of(s, "/re"))
    end)

    it("takes groups of every spelling, and no look-behind", function()
        local s = with([[~^/(?P<a>\w)(?<=x)(?'b'\d)\((?<c>[(?<no>]*)$]])
        assert.same({ a = "x", b = "1", c = "((" }, s:find({ path = "/x1(((" }).params)
    end)

    it("loses to an exact path, beats {param} and wildcard of its folder", function()
        local s = with("/u/*", "/u/{id}", "~^/u/[0-9]+$", "/u/7")
        assert.equal("/u/7", id_of(s, "/u/7"))
        assert.equal("~^/u/[0-9]+$", id_of(s, "/u/8"))
        assert.equal("/u/{id}", id_of(s, "/u/x"))
        assert.equal("/u/*", id_of(s, "/u/8/x"))
    end)

    it("beats wildcards above its folder and loses to deeper ones", function()
        local s = with("/*", "/app/*", [[~\.php$]], "~^/app/v[0-9]/")
        assert.equal([[~\.php$]], id_of(s, "/x.php"))
        assert.equal("/app/*", id_of(s, "/app/x.php"))
        assert.equal("~^/app/v[0-9]/", id_of(s, "/app/v1/x.php"))
        assert.equal("/*", id_of(s, "/x"))
    end)

    it("is tried in file order among those of one folder", function()
        local s = with("~^/a/x", "~^/a/xy", "~^/a/z")
        assert.equal("~^/a/x", id_of(s, "/a/xyz"))
        assert.equal("~^/a/z", id_of(s, "/a/z"))
    end)

    it("with alternatives or a quantifier is filed under what all its matches share", function()
        local s = with("/a/*", "/b/*", [[~^/a/b|^/c]], "~^/b/?c", "~^/b/c/{0}d", [[~^/b/\Q[\E|^/e]],
            "~^/b/[]|]f", "~^/b/[[:alpha:]|(]g", "~^/b/(x|y)h")
        assert.equal([[~^/a/b|^/c]], id_of(s, "/c"))
        assert.equal("/a/*", id_of(s, "/a/b")) -- filed under "/"
        assert.equal("~^/b/?c", id_of(s, "/bc"))
        assert.equal("~^/b/c/{0}d", id_of(s, "/b/cd"))
        assert.equal([[~^/b/\Q[\E|^/e]], id_of(s, "/e"))
        assert.equal("~^/b/[[:alpha:]|(]g", id_of(s, "/b/zg"))
        assert.equal("~^/b/(x|y)h", id_of(s, "/b/yh"))
    end)

    it("that explodes is reported and counts as no match", function()
        local s = with("~^/(a+a+)+$", "/*")
        local found = s:find { path = "/" .. ("a"):rep(4000) .. "!" }
        assert.equal("/*", found.id)
        assert.equal("CAP", found.trouble)
        assert.equal("OK", s:find({ path = "/x" }).trouble)
    end)
end)

describe("methods", function()
    it("decide among the routes of one path, in file order", function()
        local s = with({ "GET /a", id = "get" }, { "POST,PUT /a", id = "write" },
            { "/a", id = "any" })
        assert.equal("get", id_of(s, "/a"))
        assert.equal("write", id_of(s, "/a", { method = "PUT" }))
        assert.equal("any", id_of(s, "/a", { method = "DELETE" }))
        assert.equal("any", id_of(s, "/a", { method = "BREW" }))
    end)

    it("that say GET bring HEAD", function()
        local s = with("GET /a")
        assert.equal("GET /a", id_of(s, "/a", { method = "HEAD" }))
    end)

    it("outside of the table match by name", function()
        local s = with("BREW,GET /pot")
        assert.equal("BREW,GET /pot", id_of(s, "/pot", { method = "BREW" }))
        assert.equal("METHOD_NOT_ALLOWED", id_of(s, "/pot", { method = "WHEN" }))
        assert.equal("METHOD_NOT_ALLOWED", id_of(s, "/pot", { method = "brew" }))
    end)

    it("that do not fit let the next pattern try", function()
        local s = with("GET /a/b", "/a/*", "POST ~^/a/b")
        assert.equal("/a/*", id_of(s, "/a/b", { method = "DELETE" }))
        assert.equal("POST ~^/a/b", id_of(s, "/a/b", { method = "POST" }))
    end)

    it("that fit nowhere give 405 with what is allowed", function()
        local s = with("GET /a/b", "DELETE /a/*", "POST /other")
        local found = s:find { path = "/a/b", method = "PATCH" }
        assert.equal("METHOD_NOT_ALLOWED", found.miss)
        assert.same({ "GET", "HEAD", "DELETE" }, found.allowed)
        assert.equal(s.conf.hosts[0].no_route, found.route)
        assert.same({}, s:find({ path = "/a/b" }).allowed)
    end)
end)

describe("conditions", function()
    local function one(cond)
        return with({ "/", id = "yes", conds = { cond } }, { "/*", id = "no" })
    end

    it("look at headers: exists, equals, prefix, regex, any of several lines", function()
        local function answers(cond, ...)
            local headers = {}
            for _, value in ipairs { ... } do headers[#headers + 1] = { "X-Key", value } end
            return id_of(one(cond), "/", { headers = headers })
        end
        assert.equal("yes", answers({ "header", "x-key", exists = true }, ""))
        assert.equal("no", answers({ "header", "x-key", exists = true }))
        assert.equal("yes", answers({ "header", "x-key", equals = "b" }, "a", "b"))
        assert.equal("no", answers({ "header", "x-key", equals = "b" }, "B", "bb"))
        assert.equal("yes", answers({ "header", "x-key", prefix = "to" }, "token"))
        assert.equal("no", answers({ "header", "x-key", prefix = "token" }, "to"))
        assert.equal("yes", answers({ "header", "x-key", regex = "^[0-9]+$" }, "x", "42"))
        assert.equal("no", answers({ "header", "x-key", regex = "^[0-9]+$" }, "4x"))
    end)

    it("know table headers by id", function()
        local s = one { "header", "Cookie", prefix = "beta=" }
        assert.equal("yes", id_of(s, "/", { headers = { { "cookie", "beta=1" } } }))
        assert.equal("no", id_of(s, "/", { headers = { { "x-cookie", "beta=1" } } }))
    end)

    it("look at decoded query arguments", function()
        local function answers(cond, query)
            return id_of(one(cond), "/", { query = query })
        end
        assert.equal("yes", answers({ "query", "a b", exists = true }, "x=1&a+b"))
        assert.equal("yes", answers({ "query", "a b", exists = true }, "a%20b="))
        assert.equal("no", answers({ "query", "a", exists = true }, "ab=1&b=a"))
        assert.equal("yes", answers({ "query", "v", equals = "1&2" }, "v=0&v=1%262"))
        assert.equal("no", answers({ "query", "v", equals = "1" }, "v=11&v="))
        assert.equal("yes", answers({ "query", "v", equals = "%4" }, "v=%4"))
        assert.equal("yes", answers({ "query", "v", prefix = "be" }, "v=%62eta"))
        assert.equal("no", answers({ "query", "v", prefix = "beta" }, "v=be"))
        assert.equal("yes", answers({ "query", "v", regex = "^a b$" }, "v=a+b"))
        assert.equal("yes", answers({ "query", "v", regex = "^$" }, "v"))
        assert.equal("no", answers({ "query", "v", regex = "^$" }, ""))
    end)

    it("look at the client's network", function()
        local s = one { "source", ["in"] = "10.0.0.0/8, fd00::/8" }
        assert.equal("yes", id_of(s, "/", { client = "10.1.2.3" }))
        assert.equal("yes", id_of(s, "/", { client = "fd00::1" }))
        assert.equal("no", id_of(s, "/", { client = "11.0.0.1" }))
        assert.equal("no", id_of(s, "/", {}))
    end)

    it("can be negated, and all must hold", function()
        local s = with({ "/", id = "yes", conds = { { "header", "a", exists = true },
            { "header", "b", exists = true, negate = true } } }, { "/*", id = "no" })
        assert.equal("yes", id_of(s, "/", { headers = { { "a", "" } } }))
        assert.equal("no", id_of(s, "/", { headers = { { "a", "" }, { "b", "" } } }))
        assert.equal("no", id_of(s, "/"))
    end)

    it("choose among routes of one pattern in file order", function()
        local s = with({ "/a", id = "beta", conds = { { "header", "x-beta", exists = true } } },
            { "/a", id = "rest" })
        assert.equal("beta", id_of(s, "/a", { headers = { { "X-Beta", "1" } } }))
        assert.equal("rest", id_of(s, "/a"))
    end)

    it("keep a route they exclude out of a 405", function()
        local s = with({ "GET /a", conds = { { "header", "x", exists = true } } })
        assert.equal("NO_ROUTE", id_of(s, "/a", { method = "POST" }))
        assert.equal("METHOD_NOT_ALLOWED", id_of(s, "/a",
            { method = "POST", headers = { { "x", "1" } } }))
    end)

    it("that cannot be answered do not hold, negated or not, and are reported", function()
        for _, negate in ipairs { false, true } do
            local s = one { "header", "x", regex = "^(a+a+)+$", negate = negate }
            local found = s:find { headers = { { "x", ("a"):rep(4000) .. "!" } } }
            assert.equal("no", found.id)
            assert.equal("CAP", found.trouble)
        end
        local s = one { "query", "v", regex = "x" }
        local found = s:find { query = "v=%61" .. ("a"):rep(9000), scratch = 8192 }
        assert.equal("no", found.id)
        assert.equal("CAP", found.trouble)
    end)
end)

describe("what cannot be a pattern", function()
    local function says(pattern, words)
        local text = complaint(pattern)
        assert.is_string(text, pattern .. " was taken")
        assert.truthy(text:find(words, 1, true), text)
    end

    it("is refused with what to write instead", function()
        says("a/b", "starts with /")
        says("", "starts with /")
        says("/a/*.jpg", "write a regex")
        says("/a*", "write a regex")
        says("/a/*/b", "write a regex")
        says("/a/{id}.json", "whole segment")
        says("/a/{}/b", "whole segment")
        says("/a/{id", "whole segment")
        says("/a/{rest*}/b", "comes last")
        says("/a/{i-d}", "letters, digits and _")
        says("/a/{1d}", "letters, digits and _")
        says("/{a}/{a}", "twice")
        says("~^/(?<a>x)/(?<a>y)", "two named")
        says("~^/(", "at byte")
        says("~^api/", "slash")
        says("/a//b", "no //")
        says("/a/../b", "no //")
        says("/a/%zz", "broken %xx")
        says("/a?b=1", "no ?")
        says("/a#b", "no ?")
        says("/a\n", "control")
        says(("/a"):rep(65), "more than 64")
        says("/" .. ("a"):rep(4096), "longer than 4096")
        local many = {}
        for i = 1, 17 do many[i] = "/{p" .. i .. "}" end
        says(table.concat(many), "more than 16")
    end)

    it("leaves 16 params and 64 segments possible", function()
        local many, path = {}, {}
        for i = 1, 15 do many[i], path[i] = "/{p" .. i .. "}", "/" .. i end
        local s = with(table.concat(many) .. "/{rest*}", ("/a"):rep(64))
        assert.equal("x/y", s:find({ path = table.concat(path) .. "/x/y" }).params.rest)
        assert.equal(("/a"):rep(64), id_of(s, ("/a"):rep(64)))
    end)

    it("leaves a nameless rest behind 16 params possible", function()
        local many, path = {}, {}
        for i = 1, 16 do many[i], path[i] = "/{p" .. i .. "}", "/" .. i end
        local s = with(table.concat(many) .. "/*")
        assert.equal("16", s:find({ path = table.concat(path) .. "/x" }).params.p16)
    end)
end)

describe("a route that can never match", function()
    local function fault(...)
        local s = site.new()
        local h = s:host({}, true)
        for _, route in ipairs { ... } do
            if type(route) == "string" then route = { route } end
            s:route(h, route[1], route)
        end
        return s:freeze_error(), s.e.route, s.e.other_route
    end
    local cond = { { "header", "x", exists = true } }

    it("is an error that names both", function()
        local text, route, other = fault({ "/b" }, { "/a", id = "first" }, { "/a", id = "second" })
        assert.equal('route "second" can never match: "first" before it takes the same requests',
            text)
        assert.same({ 2, 1 }, { tonumber(route), tonumber(other) })
    end)

    it("is found when the earlier routes take all its methods together", function()
        assert.truthy(fault("GET /a", "POST /a", "POST,GET /a"))
        assert.truthy(fault("GET /a", "HEAD /a"))
        assert.truthy(fault("BREW /a", "BREW /a"))
        assert.truthy(fault("/a", { "GET /a", conds = cond }))
        assert.truthy(fault("/a/*", "/a/{rest*}"))
        assert.truthy(fault("/{a}/x", "/{b}/x"))
        assert.truthy(fault("~^/a", "~^/a"))
        assert.truthy(fault("/%61", "/a"))
    end)

    it("is not one with a method, a condition or a host of its own", function()
        assert.is_nil(fault("GET /a", "POST /a", "/a"))
        assert.is_nil(fault("GET /a", "GET,POST /a"))
        assert.is_nil(fault("HEAD /a", "GET /a"))
        assert.is_nil(fault("GET /a", "GET,BREW /a"))
        assert.is_nil(fault({ "/a", conds = cond }, "/a"))
        assert.is_nil(fault({ "/a", conds = cond }, { "/a", conds = cond }))
        local s = site.new()
        s:route(s:host { "a" }, "/a")
        s:route(s:host { "b" }, "/a")
        assert.is_nil(s:freeze_error())
    end)
end)

describe("the cost of a search", function()
    -- All 2^k ways to write /a/a/... with literals and params, each with an end of its own.
    local function adversary(k)
        local s = site.new()
        local h = s:host({}, true)
        for n = 0, 2 ^ k - 1 do
            local parts = {}
            for i = 1, k do
                parts[i] = math.floor(n / 2 ^ (i - 1)) % 2 == 0 and "/a" or "/{p" .. i .. "}"
            end
            s:route(h, table.concat(parts) .. "/end" .. n)
        end
        return s:freeze()
    end

    it("is bounded by the nodes of the tree, each entered once at most", function()
        local k = 8
        local s = adversary(k)
        local worst = s:find { path = ("/a"):rep(k) .. "/zzz" }
        assert.equal("NO_ROUTE", worst.miss)
        -- nodes: "/", then per level literal + slash + param, and the ends
        assert.is_true(worst.visited <= 4 * 2 ^ k, worst.visited)
        -- a longer path of the same bytes meets no more of them
        local longer = s:find { path = ("/a"):rep(500) }
        assert.is_true(longer.visited <= worst.visited, longer.visited)
        assert.equal(("/a"):rep(k) .. "/end0", s:find({ path = ("/a"):rep(k) .. "/end0" }).id)
    end)

    it("does not depend on the number of routes", function()
        local function visited(n)
            local s = site.new()
            local h = s:host({}, true)
            for i = 1, n do s:route(h, ("/svc%05d/{id}/items/*"):format(i * 7919 % 100000)) end
            s:freeze()
            local found = s:find { path = ("/svc%05d/42/items/x"):format(7919) }
            assert.equal("OK", found.miss)
            return found.visited
        end
        assert.is_true(visited(3000) <= visited(10) + 5)
    end)
end)

-- The same questions to a router so simple that it can be read: every pattern is tried against the
-- path, the best by the documented order wins.
describe("compared with trying every pattern", function()
    local function split(text)
        local parts = {}
        for part in (text .. "/"):sub(2):gmatch("([^/]*)/") do parts[#parts + 1] = part end
        return parts
    end

    local RANK = { literal = 1, param = 2, wild = 3 }
    local function kind_of(part)
        if part == "*" or part:find("%*}$") then return "wild" end
        return part:sub(1, 1) == "{" and "param" or "literal"
    end

    local function fits(pattern, path)
        local p, q = split(pattern), split(path)
        for i = 1, #p do
            local kind = kind_of(p[i])
            if kind == "wild" then return q[i] ~= nil end
            if q[i] == nil or (kind == "literal" and p[i] ~= q[i]) or
                (kind == "param" and q[i] == "") then
                return false
            end
        end
        return #p == #q
    end

    local function better(a, b)
        local p, q = split(a), split(b)
        for i = 1, math.min(#p, #q) do
            local x, y = RANK[kind_of(p[i])], RANK[kind_of(q[i])]
            if x ~= y then return x < y end
        end
        return #p > #q
    end

    it("gives the same route for thousands of random sites and paths", function()
        math.randomseed(7)
        local words = { "a", "b", "ab", "abc", "" }
        local function pattern()
            local parts, n = {}, math.random(1, 4)
            for i = 1, n do
                local dice = math.random(10)
                if dice <= 3 then parts[i] = "{p" .. i .. "}"
                elseif dice <= 4 and i == n then parts[i] = "*"
                else parts[i] = words[math.random(i == n and 5 or 4)] end
            end
            return "/" .. table.concat(parts, "/")
        end
        for _ = 1, 150 do
            local s, seen, patterns = site.new(), {}, {}
            local h = s:host({}, true)
            for _ = 1, math.random(1, 25) do
                local p = pattern()
                if not seen[p] then
                    seen[p] = true
                    patterns[#patterns + 1] = p
                    s:route(h, p)
                end
            end
            s:freeze()
            for _ = 1, 40 do
                local parts = {}
                local n = math.random(1, 5)
                for i = 1, n do parts[i] = words[math.random(i == n and 5 or 4)] end
                local path = "/" .. table.concat(parts, "/")
                local best
                for _, p in ipairs(patterns) do
                    if fits(p, path) and (not best or better(p, best)) then best = p end
                end
                assert.equal(best or "NO_ROUTE", id_of(s, path),
                    path .. " in " .. table.concat(patterns, " "))
            end
            s:close()
        end
    end)
end)
