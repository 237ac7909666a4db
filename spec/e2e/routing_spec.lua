-- SPDX-License-Identifier: MIT
--
-- Routing and the answers that routes give by themselves.

local e2e = require("spec.support.e2e")
local http = require("spec.support.http")
local origin = require("spec.support.origin")
local posix = require("spec.support.posix")
local proc = require("spec.support.proc")
local wire = require("spec.support.wire")

describe("routing", function()
    local up, rp

    setup(function()
        up = origin.start { ["*"] = { status = 200, body = "up" } }
        rp = e2e.proxy { vars = { origin = up.port }, before = [[
                local function says(text) return { 200, text } end
            ]], site = [[
            upstreams = { o = rp.upstream { peers = { "127.0.0.1:${origin}" } } },
            hosts = {
                rp.host { "exact.example", "second.example",
                    routes = { rp.route { "/*", respond = says "exact" } } },
                rp.host { "*.example", routes = { rp.route { "/*", respond = says "wild" } } },
                rp.host { "*.deep.example", routes = { rp.route { "/*", respond = says "deep" } } },
                rp.host { "only.example.org",
                    routes = { rp.route { "/here", respond = says "here" } } },
                rp.host { default = true, routes = {
                    rp.route { "/", respond = says "root" },
                    rp.route { "/a/b", respond = says "literal" },
                    rp.route { "/a/{x}", respond = says "param" },
                    rp.route { "/a/*", respond = says "wildcard" },
                    rp.route { "/a/b/c/*", respond = says "deeper wildcard" },
                    rp.route { "~^/r/(?<n>\\d+)$", respond = says "regex" },
                    rp.route { "/r/*", respond = says "not the regex" },

                    rp.route { "GET /method", respond = says "get" },
                    rp.route { "PUT,DELETE /method", respond = says "put or delete" },
                    rp.route { "FROB /frob", respond = says "frob" },

                    rp.route { "/if", when = { header = { ["x-kind"] = "a" } },
                        respond = says "header equals" },
                    rp.route { "/if", when = { header = { ["x-kind"] = { prefix = "b" } } },
                        respond = says "header prefix" },
                    rp.route { "/if", when = { header = { ["x-kind"] = { regex = "^c+$" } } },
                        respond = says "header regex" },
                    rp.route { "/if", when = { header = { ["x-flag"] = true },
                        query = { q = "1" } }, respond = says "header and query" },
                    rp.route { "/if", when = { query = { q = "a b" } }, respond = says "query" },
                    rp.route { "/if", when = { query = { flag = true } },
                        respond = says "query exists" },
                    rp.route { "/if", unless = { header = { accept = true } },
                        respond = says "no accept" },
                    rp.route { "/if", respond = says "otherwise" },
                    rp.route { "/from", when = { source = { "10.0.0.0/8" } },
                        respond = says "from ten" },
                    rp.route { "/from", when = { source = { "127.0.0.2", "::1" } },
                        respond = says "from two" },
                    rp.route { "/from", respond = says "from elsewhere" },

                    rp.route { "/go/{id}/{rest*}",
                        redirect = { 301, "https://{host}/x/{id}?r={rest}&{query}" } },
                    rp.route { "/moved", redirect = "/new{path}" },
                    rp.route { "/keep", redirect = { 308, "http://other.example{uri}" } },
                    rp.route { "/empty", respond = { 204 } },
                    rp.route { "/typed", respond = { 418, "{}", headers = {
                        ["content-type"] = "application/json", ["x-extra"] = "1" } } },

                    rp.route { "/api/*", upstream = "o", strip_prefix = "/api" },
                    rp.route { "/pass/*", upstream = "o" },
                    rp.route { "*", respond = says "asterisk" },
                } },
            },
        ]] }
    end)

    teardown(function() e2e.stop(rp) end)
    after_each(wire.close_all)

    local function get(target, fields)
        return http.get(rp.port, target, fields)
    end

    local function body_of(target, fields)
        local res = get(target, fields)
        assert.equal(200, res.status, res.body)
        return res.body
    end

    local function method(name, target)
        return http.get(rp.port, { method = name, target = target })
    end

    -- ------------------------------------------------------------ hosts

    for _, case in ipairs {
        { "exact.example", "exact" }, { "EXACT.Example", "exact" },
        { "exact.example:8080", "exact" },
        { "exact.example.", "exact" }, { "second.example", "exact" }, { "any.example", "wild" },
        { "two.levels.example", "wild" }, { "x.deep.example", "deep" },
        { "deep.example", "wild" }, { "example", "root" }, { "unknown.org", "root" },
        { "127.0.0.1", "root" }, { "[::1]", "root" },
    } do
        it(("host %s goes to %s"):format(case[1], case[2]), function()
            assert.equal(case[2], body_of("/", { Host = case[1] }))
        end)
    end

    it("a host without the path is 404, not the default host", function()
        assert.equal("here", body_of("/here", { Host = "only.example.org" }))
        assert.equal(404, get("/a/b", { Host = "only.example.org" }).status)
    end)

    -- ------------------------------------------------------------ paths

    for _, case in ipairs {
        { "/", "root" }, { "/a/b", "literal" }, { "/a/c", "param" }, { "/a/b/", "wildcard" },
        { "/a/", "wildcard" }, { "/a/c/d", "wildcard" }, { "/a/b/c/d", "deeper wildcard" },
        { "/a/b/c/", "deeper wildcard" }, { "/r/12", "regex" }, { "/r/12x", "not the regex" },
        { "/a/b?x=/a/c", "literal" },
        -- the normal form decides
        { "/a/./b", "literal" }, { "/x/../a/b", "literal" }, { "//a//b", "literal" },
        { "/%61/b", "literal" }, { "/a/%62", "literal" }, { "/a/x%2Fb", "param" },
        { "/a/c/%2e%2e/b", "literal" },
    } do
        it(("path %s is %s"):format(case[1], case[2]), function()
            assert.equal(case[2], body_of(case[1]))
        end)
    end

    for _, target in ipairs { "/a", "/A/b", "/none", "/methods", "/r" } do
        it("path " .. target .. " is 404", function()
            local res = get(target)
            assert.equal(404, res.status)
            assert.truthy(res.body:find("404 Not Found", 1, true))
        end)
    end

    for _, target in ipairs { "/..", "/a/../../b", "/a%00b", "/a%zz" } do
        it("path " .. target .. " is 400", function()
            assert.equal(400, get(target).status)
        end)
    end

    it("OPTIONS * has its own pattern", function()
        assert.equal("asterisk", method("OPTIONS", "*").body)
    end)

    -- ------------------------------------------------------------ methods

    it("a route takes its methods", function()
        assert.equal("get", method("GET", "/method").body)
        assert.equal("put or delete", method("PUT", "/method").body)
        assert.equal("put or delete", method("DELETE", "/method").body)
    end)

    it("HEAD goes where GET goes", function()
        local res = method("HEAD", "/method")
        assert.equal(200, res.status)
        assert.equal("3", res:header("content-length"))
        assert.equal("", res.body)
    end)

    it("another method is 405 with the allowed ones", function()
        local res = method("POST", "/method")
        assert.equal(405, res.status)
        local allowed = {}
        for name in res:header("allow"):gmatch("[^, ]+") do allowed[#allowed + 1] = name end
        table.sort(allowed)
        assert.same({ "DELETE", "GET", "HEAD", "PUT" }, allowed)
    end)

    it("methods outside the table work, too", function()
        assert.equal("frob", method("FROB", "/frob").body)
        assert.equal(405, method("GET", "/frob").status)
    end)

    it("methods are case-sensitive", function()
        assert.equal(405, method("get", "/method").status)
    end)

    -- ------------------------------------------------------------ conditions

    for _, case in ipairs {
        { "header equals", "/if", { ["X-Kind"] = "a" } },
        { "header prefix", "/if", { ["X-Kind"] = "big" } },
        { "header regex", "/if", { ["X-Kind"] = "ccc" } },
        { "header and query", "/if?q=1", { ["X-Flag"] = "", Accept = "x" } },
        { "query", "/if?z=1&q=a+b", { Accept = "x" } },
        { "query", "/if?q=a%20b", { Accept = "x" } },
        { "query exists", "/if?flag", { Accept = "x" } },
        { "no accept", "/if" },
        { "otherwise", "/if?q=1", { Accept = "x" } },
        { "otherwise", "/if", { ["X-Kind"] = "cab", Accept = "x" } },
        { "otherwise", "/if", { ["X-Flag"] = "1", Accept = "x" } },
    } do
        it(("%s with %s: %s"):format(case[2], case[3] and next(case[3]) or "nothing", case[1]),
            function() assert.equal(case[1], body_of(case[2], case[3])) end)
    end

    it("the source decides", function()
        assert.equal("from elsewhere", body_of("/from"))
        local w = wire.connect(rp.port, nil, { from = "127.0.0.2" })
        assert.equal("from two", http.request(w, { target = "/from" }).body)
    end)

    -- ------------------------------------------------------------ answers

    it("a redirect is filled in", function()
        local res = get("/go/7/a/b?c=d", { Host = "h.org:81" })
        assert.equal(301, res.status)
        assert.equal("https://h.org/x/7?r=a/b&c=d", res:header("location"))
    end)

    it("a redirect is 302 unless said", function()
        local res = get("/moved")
        assert.equal(302, res.status)
        assert.equal("/new/moved", res:header("location"))
    end)

    it("a redirect keeps path and query where asked", function()
        local res = method("POST", "/keep?a=1&b=%20")
        assert.equal(308, res.status)
        assert.equal("http://other.example/keep?a=1&b=%20", res:header("location"))
    end)

    it("an answer may be empty", function()
        local res = get("/empty")
        assert.equal(204, res.status)
        assert.is_nil(res:header("content-length"))
    end)

    it("an answer has its status, type and headers", function()
        local res = get("/typed")
        assert.equal(418, res.status)
        assert.equal("{}", res.body)
        assert.equal("application/json", res:header("content-type"))
        assert.equal("1", res:header("x-extra"))
        assert.equal("rproxy", res:header("server"))
    end)

    it("an answer's type is text unless said", function()
        assert.equal("text/plain; charset=utf-8", get("/"):header("content-type"))
    end)

    it("an answer to a POST with a body keeps the connection", function()
        local w = wire.connect(rp.port)
        local res = http.request(w, { method = "POST", target = "/", body = ("b"):rep(1000) })
        assert.equal("root", res.body)
        assert.equal("root", http.request(w, { target = "/" }).body)
    end)

    -- ------------------------------------------------------------ what goes up

    it("strip_prefix is removed from what goes up", function()
        for asked, sent in pairs { ["/api/users?x=1"] = "/users?x=1", ["/api/"] = "/",
            ["/api/a/../b"] = "/b", ["/x/../api/c%2Fd"] = "/c%2Fd" } do
            get(asked)
            assert.equal(sent, e2e.last(up).target)
        end
    end)

    it("the target goes up byte for byte", function()
        get("/pass//x/./%7Euser/%2f?a=%41&&b")
        assert.equal("/pass//x/./%7Euser/%2f?a=%41&&b", e2e.last(up).target)
    end)
end)

describe("redirect_https", function()
    local rp

    setup(function()
        rp = proc.rproxy { vars = { plain = posix.free_port() }, site = [[
            return rp.site {
                workers = 1,
                listeners = {
                    rp.listen { "127.0.0.1:${plain}", redirect_https = true },
                    rp.listen { "127.0.0.1:${port}" },
                },
                hosts = { rp.host { default = true, routes = {
                    rp.route { "/*", respond = { 200, "the other listener" } } } } },
            }
        ]] }
    end)

    teardown(function() e2e.stop(rp) end)

    it("sends every request of its listener to https on the same host", function()
        local res = http.get(rp.vars.plain, { method = "POST", target = "/a/b?c=1",
            host = "h.org:81" })
        assert.equal(308, res.status)
        assert.equal("https://h.org/a/b?c=1", res:header("location"))
    end)

    it("leaves other listeners alone", function()
        assert.equal("the other listener", http.get(rp.port, "/").body)
    end)
end)
