-- SPDX-License-Identifier: MIT
local rp = require("rproxy")
local t = require("rproxy.test")
local mirror = require("plugins.mirror")

describe("plugin mirror", function()
    local shadow, answer

    before_each(function()
        answer = function() return 200, "ok" end
        shadow = {}
        t.serve("shadow.test:80", function(req)
            shadow[#shadow + 1] = req
            return answer(req)
        end)
    end)

    local function site_of(conf, upstream, more)
        conf.to = { "http://shadow.test" }
        local given = { upstream = upstream or function() return 200, "ok" end,
            use = { mirror(conf) } }
        for key, value in pairs(more or {}) do given[key] = value end
        return t.site(given)
    end

    it("refuses to send copies nowhere", function()
        assert.has_error(function() t.site { use = { mirror { to = {} } } } end)
    end)

    it("sends a copy with the request's head, marked, after the client was answered", function()
        answer = function() return t.delay(3, 500, "late") end
        local site = site_of { remove = { "Authorization" }, host = "shadow.example" }
        local res = site:get("/a/b?c=d", { headers = { ["x-a"] = { "1", "2" },
            authorization = "Bearer secret", ["x-b"] = "3" } })
        assert.equal(200, res.status)
        assert.equal(0, res.duration)
        site:settle()
        assert.equal(1, #shadow)
        local copy = shadow[1]
        assert.same({ "GET", "/a/b", "c=d", "shadow.example" },
            { copy.method, copy.path, copy.query, copy.host })
        assert.equal("3", copy.headers["x-b"])
        assert.same({ "1", "2" }, copy.all["x-a"])
        assert.equal("1", copy.headers["x-mirrored"])
        assert.is_nil(copy.headers.authorization)
    end)

    it("sends bodies up to a size, and nothing of larger ones", function()
        local site = site_of { methods = { "POST" }, body_max = 10 }
        local res = site:post("/", { body = "0123456789" })
        assert.equal("0123456789", res.upstream.body)
        assert.equal("10", res.upstream.headers["content-length"]) -- framed as it came
        site:settle()
        assert.equal("0123456789", shadow[1].body)
        assert.equal("0123456789x", site:post("/", { body = "0123456789x" }).upstream.body)
        assert.equal("abc", site:post("/", { body = { "a", "bc" } }).upstream.body)
        site:settle()
        assert.equal(2, #shadow)
        assert.equal("abc", shadow[2].body)
    end)

    it("leaves out other methods, copies, and what no upstream answered", function()
        local site = site_of({}, nil, { routes = nil })
        site:post("/", { body = "x" })
        site:get("/", { headers = { ["x-mirrored"] = "1" } })
        site:upstream("origin", function() return t.reset end)
        site:get("/")
        site:settle()
        assert.equal(0, #shadow)
    end)

    it("takes a share", function()
        local site = site_of { sample = 0.3 }
        for _ = 1, 200 do site:get("/") end
        site:settle()
        assert.is_true(#shadow > 28 and #shadow < 92, #shadow) -- 60; five deviations are 32
    end)

    it("drops what comes while too many are under way", function()
        answer = function() return t.never end
        local site = site_of { most = 2, timeout = 5 }
        t.clock:hold()
        for _ = 1, 5 do
            local pending = site:begin("/")
            site:settle()
            assert.equal(200, pending.answer.status)
        end
        assert.equal(2, #shadow)
        t.clock:release()
        t.clock:advance(6)
        site:get("/")
        site:settle()
        assert.equal(3, #shadow)
    end)

    describe("compares", function()
        local mine, theirs

        local function differs(diff)
            local site = site_of({ diff = diff or {} },
                function() return mine[1], mine[2], mine[3] end)
            answer = function() return theirs[1], theirs[2], theirs[3] end
            site:get("/x?token=secret")
            site:settle()
            local line = site:log():match("the mirror answers differently[^\n]*")
            if line then assert.is_nil(line:find("secret", 1, true)) end
            return line
        end

        local JSON = { ["content-type"] = "application/json" }

        it("equal answers, and says nothing", function()
            mine, theirs = { 200, '{"a":1,"b":[1,2]}', JSON }, { 200, '{ "b":[1,2], "a":1 }', JSON }
            assert.is_nil(differs())
            mine, theirs = { 200, "text" }, { 200, "text" }
            assert.is_nil(differs())
        end)

        it("statuses", function()
            mine, theirs = { 200, "x" }, { 404, "y" }
            assert.matches('status="200, mirror 404"', differs())
        end)

        it("headers that are listed", function()
            mine, theirs = { 200, "x", { ["x-v"] = "1" } }, { 200, "x", { ["x-v"] = "2" } }
            assert.is_nil(differs())
            assert.matches("headers=x%-v", differs { headers = { "x-v" } })
        end)

        it("JSON by its values, and names places, not values", function()
            mine = { 200, '{"id":7,"name":"hidden","list":[{"t":1,"v":2},{"t":3,"v":4}]}', JSON }
            theirs = { 200, '{"id":7,"name":"other","list":[{"t":9,"v":2},{"t":3,"v":5}]}', JSON }
            local line = differs()
            assert.matches('body="list.1.t list.2.v name"', line)
            assert.is_nil(line:find("hidden", 1, true))
            assert.matches('body="list.2.v name"', differs { ignore = { "list.*.t" } })
            assert.matches("body=name", differs { ignore = { "**.t", "list[2].v" } })
            assert.is_nil(differs { ignore = { "list", "name" } })
        end)

        it("other bodies by their bytes, unless they are too large", function()
            mine, theirs = { 200, ("x"):rep(100) }, { 200, ("y"):rep(100) }
            assert.matches("body=%(bytes%)", differs())
            assert.is_nil(differs { body_max = 99 })
            assert.is_nil(differs { body = false })
        end)

        it("compressed bodies by what is in them", function()
            local packed = { ["content-encoding"] = "gzip" }
            mine = { 200, rp.gzip('{"a":1,"b":2}', { level = 9 }), packed }
            theirs = { 200, rp.gzip('{"b":2,"a":1}', { level = 1 }), packed }
            assert.is_nil(differs())
            theirs = { 200, '{"b":3,"a":1}' }
            assert.matches("body=b", differs())
            theirs = { 200, "nonsense", packed }
            assert.is_nil(differs())
            mine, theirs = { 200, "x", { ["content-encoding"] = "br" } }, { 200, "y" }
            assert.is_nil(differs())
            mine = { 200, rp.gzip(("a"):rep(100000)), packed } -- a bomb is not unpacked
            theirs = { 200, "y" }
            assert.is_nil(differs())
        end)

        it("missing and added members, null, and kinds", function()
            mine = { 200, '{"a":null,"b":1,"c":"1"}', JSON }
            theirs = { 200, '{"a":0,"c":1,"d":[]}', JSON }
            assert.matches('body="a b c d"', differs())
        end)
    end)
end)
