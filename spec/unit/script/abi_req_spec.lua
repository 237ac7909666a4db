-- SPDX-License-Identifier: MIT

local support = require("spec.unit.script.support")

local site, origin

local function content(body, path, headers)
    site = support.site(([[ rp.route { "/p/{a}/{b}", id = "params", meta = { tier = 3 },
            content = function(req) %s end },
        rp.route { "/*", content = function(req) %s end } ]]):format(body, body))
    return site:get(path or "/", headers)
end

-- The body that a hook makes of an expression.
local function value(expression, path, headers)
    return content(("return req:exit(200, tostring(%s))"):format(expression), path, headers).body
end

-- What an origin got when `hooks` (text of a hooks table) edited the request.
local function upstream_sees(hooks, path, headers, route)
    origin = support.origin("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Up: 1\r\nX-Up: 2\r\n\r\nok")
    site = support.site(([[ rp.route { "/*", upstream = "o", use = { %s }, %s } ]]):format(hooks,
        route or ""), { more = ([[ upstreams = { o = rp.upstream { peers = { "127.0.0.1:%d" } },
        other = rp.upstream { peers = { "127.0.0.1:%d" } } }, ]]):format(origin.port,
        origin.port) })
    site.origin = origin
    local res = site:get(path or "/", headers)
    return origin.requests[1] or "", res
end

-- The message with which a statement raises in an access hook.
local function complaint(statement, hook)
    local hooks = ("{ %s = function(req, res) local _, err = pcall(function() %s end) "
        .. "return req:exit(200, tostring(err)) end }"):format(hook or "access", statement)
    return (select(2, upstream_sees(hooks))).body
end

describe("script/abi: req", function()
    after_each(function()
        if site then site:close() end
        site, origin = nil, nil
    end)

    it("has the facts of the request line", function()
        assert.equal("GET /a/b /a/./%62 x=1&y= 1.1 http example.com", value(
            '("%s %s %s %s %s %s %s"):format(req.method, req.path, req.raw_path, req.query, '
            .. 'req.version, req.scheme, req.host)', "/a/./%62?x=1&y="))
    end)

    it("tells no query from an empty one", function()
        assert.equal("nil", value("req.query", "/"))
        site:close()
        assert.equal("[]", value("'[' .. req.query .. ']'", "/?"))
    end)

    it("has addresses, connection and id", function()
        assert.matches("^127.0.0.1 127.0.0.1 %x+ true %d+ 1 nil$", value(
            '("%s %s %s %s %s %s %s"):format(req.remote_ip, req.peer_ip, req.id, '
            .. 'tostring(#req.id == 32), req.conn.id, req.conn.requests, tostring(req.conn.tls))'))
    end)

    it("has route and params", function()
        assert.equal("params 3 x y/z nil", value('("%s %s %s %s %s"):format(req.route.id, '
            .. 'req.route.meta.tier, req.params.a, req.params.b, tostring(req.params.c))',
            "/p/x/y%2fz"))
    end)

    it("raises for unknown fields, with the nearest name", function()
        assert.matches('site.lua:%d+: req has no field "metod"; did you mean "method"',
            complaint("return req.metod"))
        site:close()
        assert.matches('req.route cannot be assigned', complaint("req.route = 1"))
        site:close()
        assert.matches('req has no field "foo"', complaint("req.foo = 1"))
    end)

    describe("headers", function()
        it("are read by name or handle, in any case", function()
            assert.equal("1 1 nil 1, 2 2", value('table.concat({ req:get("x-a"), '
                .. 'req:get(rp.header "X-A"), tostring(req:get("x-none")), req:join("X-a"), '
                .. '#req:get_all("x-a") }, " ")', "/", { ["X-A"] = "1\r\nx-a: 2" }))
        end)
        it("are found by more names than are remembered, and by long ones", function()
            local long = ("x"):rep(300)
            assert.equal("5000 1 2 nil", value([[(function()
                local missing = 0
                for i = 1, 5000 do
                    if req:get("x-" .. i) == nil then missing = missing + 1 end
                end
                local long = ("x"):rep(250)
                return table.concat({ missing, req:get("X-A"), req:get(long),
                    tostring(req:get(("y"):rep(300))) }, " ")
            end)()]], "/", { ["X-A"] = "1", [long:sub(1, 250)] = "2" }))
        end)
        it("are named by strings and by handles that nobody can change", function()
            for _, forged in ipairs { '{ id = 1, name = "x" }', "nil", "1", "{}",
                'setmetatable({}, { __index = rp.header("x") })' } do
                for _, call in ipairs { 'req:get(%s)', 'req.up:set(%s, "v")' } do
                    assert.matches("a header is a name or an rp.header",
                        complaint(call:format(forged)))
                    site:close()
                end
            end
            assert.equal("x-a x-a 0 false false x-a 1", value([[(function()
                local h = rp.header("X-A")
                local one = pcall(function() h.name = "x-b" end)
                local other = pcall(rawset, h, "id", 1)
                return table.concat({ h.name, tostring(h), h.id, tostring(one), tostring(other),
                    rp.header(h).name, req:get(h) }, " ")
            end)()]], "/", { ["X-A"] = "1" }))
        end)
        it("are compared and matched in place", function()
            assert.equal("true false true b c", value([[table.concat({
                tostring(req:is("x-a", "a-b-c")), tostring(req:is("x-a", "a")),
                tostring(req:test("x-a", rp.regex "^a")),
                req:match("x-a", rp.regex "a-(.)-(.)") }, " ")]], "/", { ["X-A"] = "a-b-c" }))
        end)
        it("are walked whole", function()
            assert.matches("host=example.com;x%-a=1;", content([[
                local out = {}
                for name, v in req:headers() do out[#out + 1] = name .. "=" .. v .. ";" end
                table.sort(out)
                return req:exit(200, table.concat(out))]], "/", { ["X-A"] = "1" }).body)
        end)
    end)

    it("has arguments, decoded, never truncated", function()
        assert.equal("1 a b nil| 2 x,y z", content([[
            local all, n = req:arg_all("m"), 0
            for _ in req:args() do n = n + 1 end
            return req:exit(200, table.concat({ req:arg("one"), req:arg("t w"),
                tostring(req:arg("none")) .. "|" .. req:arg("flag"),
                #all, table.concat(all, ",") , n == 6 and "z" or n }, " "))]],
            "/?one=1&t+w=a%20b&flag&m=x&m=%79&end=").body)
    end)

    it("has cookies", function()
        assert.equal("2 nil", value('req:cookie("b") .. " " .. tostring(req:cookie("c"))', "/",
            { Cookie = "a=1; b=2" }))
    end)

    it("has ctx and start", function()
        assert.equal("1 true", content([[ req.ctx.n = 1
            return req:exit(200, req.ctx.n .. " "
                .. tostring(math.abs(rp.time() - req.start) < 5))]]).body)
    end)

    describe("body", function()
        local function post(body, data, headers, more)
            site = support.site(([[ rp.route { "/*", content = function(req) %s end } ]]):format(
                body), { more = more })
            return site:request("POST", "/", headers, data)
        end
        it("is read whole, also when it comes late", function()
            site = support.site [[ rp.route { "/*", content = function(req)
                local b = req:body() return req:exit(200, b .. #b .. req:body()) end } ]]
            local sock, got = site:connect(), ""
            sock:send("POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
                .. "Content-Length: 6\r\n\r\nabc")
            site:turn(10)
            sock:send("def")
            site:until_true(function()
                local data, err, part = sock:receive("*a")
                got = got .. (data or part or "")
                return data or err == "closed"
            end)
            assert.matches("abcdef6abcdef$", got)
            sock:close()
        end)
        it("over max is nil and too large", function()
            assert.equal("nil too large", post([[ local b, err = req:body { max = 5 }
                return req:exit(200, tostring(b) .. " " .. err) ]], "123456").body)
        end)
        it("is JSON", function()
            local res = post([[ local v, err = req:json()
                if not v then return req:exit(400, err) end
                return req:exit(200, { sum = v.a + v.b[2], null = v.n == rp.null }) ]],
                '{"a":1,"b":[1,2],"n":null}')
            assert.equal("application/json", res.headers["content-type"])
            assert.matches('"sum":3', res.body)
            assert.matches('"null":true', res.body)
        end)
        it("that is no JSON is an error value", function()
            assert.equal(400, post([[ local v, err = req:json()
                return req:exit(v and 200 or 400, err) ]], '{"a":').status)
            site:close()
            assert.equal(400, post([[ local v, err = req:json { depth = 10 }
                return req:exit(v and 200 or 400, err) ]], ("["):rep(50) .. ("]"):rep(50)).status)
        end)
        it("is a form", function()
            assert.equal("1 b c", post([[ local f = req:form()
                return req:exit(200, f.a .. " " .. f["x y"]) ]], "a=1&x+y=b%20c&a=2",
                { ["Content-Type"] = "application/x-www-form-urlencoded" }).body)
        end)
        it("can be replaced", function()
            local seen = upstream_sees('{ access = function(req) req:set_body("new body") end }')
            assert.matches("[Cc]ontent%-[Ll]ength: 8\r\n", seen)
            assert.matches("\r\n\r\nnew body$", seen)
        end)
    end)

    describe("answers", function()
        it("have body, type and headers", function()
            local res = content([[ return req:exit(418, "<b>", { ["content-type"] = "text/html",
                [rp.header "x-a"] = 5 }) ]])
            assert.equal(418, res.status)
            assert.equal("text/html", res.headers["content-type"])
            assert.equal("5", res.headers["x-a"])
        end)
        it("redirect", function()
            local res = content([[ return req:redirect("https://e.com/x?y", 308) ]])
            assert.equal(308, res.status)
            assert.equal("https://e.com/x?y", res.headers.location)
        end)
        it("cannot split the response", function()
            for _, code in ipairs {
                [[req:exit(200, "", { ["x"] = "a\r\nset-cookie: b=c" })]],
                [[req:exit(200, "", { ["x"] = "a\nb" })]],
                [[req:exit(200, "", { ["x"] = "a\0b" })]],
                [[req:exit(200, "", { ["x\r\ny"] = "a" })]],
                [[req:exit(200, "", { ["content-length"] = "5" })]],
                [[req:exit(200, "", { ["Transfer-Encoding"] = "chunked" })]],
                [[req:redirect("/a\r\nx: y")]],
            } do
                local res = content("return " .. code)
                assert.equal(500, res.status)
                assert.is_nil(res.raw:find("b=c", 1, true))
                site:close()
            end
            site = nil
        end)
        it("take a status from 200 to 599", function()
            assert.equal(500, content("return req:exit(101)").status)
            site:close()
            assert.equal(500, content("return req:exit('x')").status)
        end)
    end)
end)

describe("script/abi: what goes upstream", function()
    after_each(function()
        if site then site:close() end
        site, origin = nil, nil
    end)

    it("is edited by req.up", function()
        local seen = upstream_sees([[ { access = function(req)
            req.up:set("x-user", "jo") req.up:del("x-secret") req.up:add("x-many", 1)
            req.up:add("x-many", 2) req.up:set("x-nil", nil)
            assert(req.up:get("x-user") == "jo" and req:get("x-user") == "spoofed")
        end } ]], "/", { ["X-User"] = "spoofed", ["X-Secret"] = "s", ["X-Nil"] = "s" })
        assert.matches("\r\nx%-user: jo\r\n", seen:lower())
        assert.is_nil(seen:find("spoofed", 1, true))
        assert.is_nil(seen:lower():find("x-secret", 1, true))
        assert.is_nil(seen:lower():find("x-nil", 1, true))
        assert.matches("\r\nx%-many: 1\r\nx%-many: 2\r\n", seen)
    end)

    it("has another method, path, query and host after rewrite", function()
        local seen = upstream_sees([[ { rewrite = function(req)
            req.path = "/new" .. req.path
            req.query = (req.query or "") .. "&b=2"
            req.host = "up.example:8080"
            req.method = "PUT"
            assert(req.path == "/new/old" and req.query == "a=1&b=2")
        end, log = function(req) assert(req.path == "/old") end } ]], "/old?a=1")
        assert.matches("^PUT /new/old%?a=1&b=2 HTTP/1.1\r\n", seen)
        assert.matches("\r\nHost: up.example:8080\r\n", seen)
    end)

    it("loses its query by nil", function()
        local seen = upstream_sees("{ rewrite = function(req) req.query = nil end }", "/x?a=1")
        assert.matches("^GET /x HTTP", seen)
    end)

    it("is the stripped path with the new query", function()
        local seen = upstream_sees("{ rewrite = function(req) req.query = 'q' end }", "/api/x?a=1",
            nil, 'strip_prefix = "/api"')
        assert.matches("^GET /x%?q HTTP", seen)
    end)

    it("cannot be split or smuggled", function()
        for _, statement in ipairs {
            [[req.up:set("x", "a\r\nb: c")]], [[req.up:set("x", "a\nb")]],
            [[req.up:set("x\r\n", "a")]], [[req.up:set("x y", "a")]], [[req.up:set("", "a")]],
            [[req.up:set("content-length", "0")]], [[req.up:set("Transfer-Encoding", "chunked")]],
            [[req.up:add("connection", "close")]], [[req.up:set("host", "x")]],
            [[req.up.path = "/a b"]], [[req.up.path = "/a\r\nb"]], [[req.up.path = "a"]],
            [[req.up.path = "/a?b"]], [[req.up.path = "/%zz"]], [[req.up.path = "/a#b"]],
            [[req.up.host = "a b"]], [[req.up.host = "a\r\nb"]], [[req.up.host = "u@h"]],
        } do
            local message = complaint(statement)
            assert.matches("site.lua:%d+: ", message)
            assert.is_not.equal("nil", message)
            site:close()
        end
        for _, statement in ipairs {
            [[req.method = "GET /x"]], [[req.method = "G\r\n"]], [[req.method = ""]],
            [[req.method = "CONNECT"]], [[req.method = nil]], [[req.path = "/a b"]],
            [[req.path = 5]], [[req.query = "a b"]], [[req.query = "a\r\n"]],
            [[req.host = "x y"]], [[req.host = ""]],
        } do
            assert.matches("site.lua:%d+: req%.", complaint(statement, "rewrite"))
            site:close()
        end
        site = nil
    end)

    it("is not assigned in hooks where it would do nothing", function()
        assert.matches("early and rewrite", complaint('req.path = "/x"'))
        site:close()
        assert.matches("in this hook", complaint('req.up:set("x", "y")', "header_filter"))
    end)

    it("can be another upstream", function()
        local _, res = upstream_sees([[ { access = function(req)
            assert(req.upstream.name == "o")
            req.upstream = rp.upstreams.other
            assert(req.upstream.name == "other")
        end, header_filter = function(req, res)
            res:set("x-upstream", res.upstream.name .. " " .. res.upstream.attempts .. " "
                .. res.upstream.peer .. " " .. res.from) end } ]])
        assert.matches("^other 1 127.0.0.1:%d+ upstream$", res.headers["x-upstream"])
        site:close()
        assert.matches('no upstream "nope"', complaint('req.upstream = "nope"'))
    end)
end)

describe("script/abi: res", function()
    after_each(function()
        if site then site:close() end
        site, origin = nil, nil
    end)

    it("has status and headers, and takes edits", function()
        local _, res = upstream_sees([[ { header_filter = function(req, res)
            assert(res.status == 200 and res.length == 2 and res:get("x-up") == "1")
            assert(#res:get_all("X-Up") == 2)
            res.status = 299
            res:set("x-up", "new") res:add("x-more", "m") res:del("x-none")
            res:set_cookie { "sid", "v1", max_age = 60, secure = true, http_only = true,
                same_site = "lax" }
        end } ]])
        assert.equal(299, res.status)
        assert.equal("new", res.headers["x-up"])
        assert.equal("m", res.headers["x-more"])
        assert.equal("sid=v1; Path=/; Max-Age=60; Secure; HttpOnly; SameSite=Lax",
            res.headers["set-cookie"])
    end)

    it("is replaced whole", function()
        local _, res = upstream_sees([[ { header_filter = function(req, res)
            return res:replace(503, "sorry", { ["retry-after"] = 5 }) end } ]])
        assert.equal(503, res.status)
        assert.equal("sorry", res.body)
        assert.equal("5", res.headers["retry-after"])
        assert.is_nil(res.headers["x-up"])
    end)

    it("cannot be split", function()
        for _, statement in ipairs { [[res:set("x", "a\r\nb: c")]], [[res:add("a:b", "c")]],
            [[res:set("content-length", 5)]], [[res:set("connection", "close")]],
            [[res.status = 100]], [[res.status = 700]], [[res.status = "x"]],
            [[res:set_cookie { "a b", "c" }]], [[res:set_cookie { "a", "b; c" }]],
            [[res:set_cookie { "a", "b", path = "/;x" }]], [[res:set_cookie { "a", "b", x = 1 }]] }
        do
            assert.matches("site.lua:%d+: ", complaint(statement, "header_filter"))
            site:close()
        end
        site = nil
    end)

    it("tells log hooks how it went", function()
        site = support.site([[ rp.route { "/x", respond = { 200, "12345" }, use = { {
                log = function(req, res)
                    seen = ("%d %d %s %s"):format(res.status, res.bytes, res.from,
                        tostring(res.duration >= 0)) end } } },
            rp.route { "/seen", content = function(req)
                return req:exit(200, tostring(seen)) end } ]],
            { before = "local seen" })
        site:get("/x")
        site:until_true(function() return site:get("/seen").body == "200 5 core true" end)
    end)
end)
