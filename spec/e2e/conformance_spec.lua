-- SPDX-License-Identifier: MIT
--
-- Requests: what RFC 9110 and 9112 ask of an intermediary and no other spec proves. Rows of
-- docs/reference/conformance.md name these tests. Responses are in conformance_response_spec.lua.

local e2e = require("spec.support.e2e")
local http = require("spec.support.http")
local origin = require("spec.support.origin")
local posix = require("spec.support.posix")
local protocol = require("spec.support.protocol")
local wire = require("spec.support.wire")

local function request(line, ...)
    return line .. "\r\n" .. table.concat({ ... }, "\r\n") .. "\r\n\r\n"
end

describe("conformance: requests", function()
    local up, rp

    setup(function()
        up = origin.start { ["*"] = { status = 200, body = "ok" } }
        rp = e2e.proxy { vars = { origin = up.port }, site = [[
            upstreams = { o = rp.upstream { peers = { "127.0.0.1:${origin}" } } },
            hosts = {
                rp.host { default = true, routes = {
                    rp.route { "TRACE /traced", upstream = "o" },
                    rp.route { "GET,OPTIONS /some", upstream = "o" },
                    rp.route { "/*", upstream = "o" },
                    rp.route { "*", upstream = "o" },
                } } },
        ]] }
    end)

    teardown(function() e2e.stop(rp) end)
    after_each(wire.close_all)

    local function send(bytes)
        local w = wire.connect(rp.port)
        w:send(bytes)
        return w
    end

    --- The response, and what the origin got (nil when nothing came).
    local function exchange(bytes, opt)
        local before = #up:requests()
        local w = send(bytes)
        local res = http.read(w, opt)
        local all = up:requests()
        assert.is_true(#all <= before + 1)
        return res, all[before + 1], w
    end

    -- ---------------------------------------------------------------- start line and target

    it("go up in HTTP/1.1 whatever the client's version, and responses come so", function()
        protocol.only("h1 client", "HTTP/1.0")
        for _, version in ipairs { "1.0", "1.1", "1.7" } do
            local res, got = exchange(request("GET /v HTTP/" .. version, "Host: a"))
            assert.equal("HTTP/1.1", res.version)
            assert.equal("HTTP/1.1", got.version)
        end
    end)

    it("go up in origin-form, Host first, from the target's authority", function()
        protocol.only("h1 client", "targets in absolute form")
        local _, got = exchange(request("GET http://b.example:81/p?q HTTP/1.1", "X-A: 1",
            "Host: other"))
        assert.equal(1, (got.head:find("GET /p?q HTTP/1.1\r\nHost: b.example:81\r\n", 1, true)))
        assert.same({ "b.example:81" }, e2e.values(got.fields, "host"))
    end)

    it("of HTTP/1.0 without Host go up with one", function()
        protocol.only("h1 client", "HTTP/1.0")
        local _, got = exchange("GET /x HTTP/1.0\r\n\r\n")
        assert.same({ "127.0.0.1:" .. up.port }, e2e.values(got.fields, "host"))
    end)

    it("OPTIONS of a whole server goes up as an asterisk, of a path as the path", function()
        protocol.only("h1 client", "targets in absolute form")
        for target, sent in pairs { ["http://a"] = "*", ["*"] = "*", ["http://a/"] = "/",
            ["http://a?q"] = "/?q", ["http://a/x"] = "/x" } do
            local _, got = exchange(request("OPTIONS " .. target .. " HTTP/1.1", "Host: a"))
            assert.equal(sent, got.target)
            assert.same({ "a" }, e2e.values(got.fields, "host"))
        end
    end)

    it("for https on a plain connection are misdirected", function()
        protocol.only("h1 client", "targets in absolute form")
        protocol.only("no TLS", "a connection without TLS")
        local res, got = exchange(request("GET https://a/x HTTP/1.1", "Host: a"))
        assert.equal(421, res.status)
        assert.is_nil(got)
        assert.equal(421, (exchange(request("GET HTTPS://a/x HTTP/1.1", "Host: a"))).status)
    end)

    it("have a target of 8,000 bytes at least", function()
        local path = "/" .. ("x"):rep(7999)
        local res, got = exchange(request("GET " .. path .. " HTTP/1.1", "Host: a"))
        assert.equal(200, res.status)
        assert.equal(path, got.target)
    end)

    -- ---------------------------------------------------------------- methods

    it("CONNECT is 405 with Allow and never goes up", function()
        protocol.only("h1 client", "CONNECT with a request line")
        local res, got, w = exchange(request("CONNECT a:443 HTTP/1.1", "Host: a:443"))
        assert.is_nil(got)
        assert.equal(405, res.status)
        assert.is_nil(res:header("allow"):find("CONNECT", 1, true))
        w:close()
    end)

    it("CONNECT with content is refused", function()
        protocol.only("h1 client", "CONNECT with a request line")
        local w = send(request("CONNECT a:443 HTTP/1.1", "Host: a:443", "Content-Length: 2") .. "hi")
        assert.equal(400, http.read(w).status)
        assert.is_true(w:is_closed())
    end)

    it("TRACE and OPTIONS have their hops counted", function()
        for _, method in ipairs { "TRACE", "OPTIONS" } do
            local _, got = exchange(request(method .. " /traced HTTP/1.1", "Host: a",
                "Max-Forwards: 5"))
            assert.equal(method, got.method)
            assert.same({ "4" }, e2e.values(got.fields, "max-forwards"))
            _, got = exchange(request(method .. " /traced HTTP/1.1", "Host: a", "Max-Forwards: 1"))
            assert.same({ "0" }, e2e.values(got.fields, "max-forwards"))
            _, got = exchange(request(method .. " /traced HTTP/1.1", "Host: a"))
            assert.same({}, e2e.values(got.fields, "max-forwards"))
        end
    end)

    it("with more hops than we can count go on with as many as we can", function()
        for sent, goes in pairs {
            ["18446744073709551615"] = "18446744073709551614",
            ["18446744073709551616"] = "18446744073709551615",
            [("9"):rep(40)] = "18446744073709551615",
            [("0"):rep(40) .. "3"] = "2",
            ["many"] = "many", ["-1"] = "-1", ["1, 2"] = "1, 2", [""] = "",
        } do
            local _, got = exchange(request("OPTIONS /x HTTP/1.1", "Host: a",
                "Max-Forwards: " .. sent))
            assert.same({ goes }, e2e.values(got.fields, "max-forwards"))
        end
    end)

    it("TRACE with content is refused", function()
        for _, body in ipairs { { "Content-Length: 2", "hi" },
            { "Transfer-Encoding: chunked", "2\r\nhi\r\n0\r\n\r\n" } } do
            local res, got, w = exchange(request("TRACE /traced HTTP/1.1", "Host: a", body[1]) ..
                body[2])
            assert.equal(400, res.status)
            assert.is_nil(got)
            e2e.assert_last(w, res)
        end
        local _, got = exchange(request("TRACE /traced HTTP/1.1", "Host: a", "Content-Length: 0"))
        assert.equal("TRACE", got.method)
    end)

    it("TRACE without hops left is 405 with Allow, and stays here", function()
        local res, got = exchange(request("TRACE /x HTTP/1.1", "Host: a", "Max-Forwards: 0",
            "Cookie: secret"))
        assert.is_nil(got)
        assert.equal(405, res.status)
        assert.truthy((", " .. res:header("allow") .. ","):find(", GET,", 1, true))
        assert.is_nil(res:header("allow"):find("TRACE", 1, true))
        assert.is_nil(res.body:find("secret", 1, true))
    end)

    it("OPTIONS without hops left is answered here, with Allow", function()
        local res, got = exchange(request("OPTIONS /x HTTP/1.1", "Host: a", "Max-Forwards: 0"))
        assert.is_nil(got)
        assert.equal(204, res.status)
        assert.equal("GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH", res:header("allow"))
        res = exchange(request("OPTIONS /some HTTP/1.1", "Host: a", "Max-Forwards: 0"))
        assert.equal("GET, HEAD, OPTIONS", res:header("allow"))
    end)

    it("of other methods keep Max-Forwards as it is", function()
        for _, value in ipairs { "0", "7" } do
            local _, got = exchange(request("GET /x HTTP/1.1", "Host: a", "Max-Forwards: " .. value))
            assert.same({ value }, e2e.values(got.fields, "max-forwards"))
        end
    end)

    it("of an unknown method go up with their body", function()
        local _, got = exchange(request("BREW /x HTTP/1.1", "Host: a", "Content-Length: 3") .. "pot")
        assert.equal("BREW", got.method)
        assert.equal("pot", got.body)
    end)

    -- ---------------------------------------------------------------- fields

    it("keep fields that belong to others: conditions, ranges, credentials, cache rules", function()
        local sent = { "Authorization: Basic  dTpw", "If-Match: \"a\", W/\"b\"", "If-None-Match: *",
            "If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT", "If-Range: \"x\"",
            "If-Unmodified-Since: nonsense", "Range: bytes=0-1,5-", "Cache-Control: no-transform",
            "Pragma: no-cache", "Accept-Encoding: gzip;q=0.1, *;q=0", "Cookie: a=b; c=d",
            "Referer: http://c/", "User-Agent: x (y)", "Trailer: X-Sum", "X-Unknown: \"q\\\"\"" }
        local _, got = exchange(request("GET /x HTTP/1.1", "Host: a", unpack(sent)))
        local lines = {}
        for _, line in ipairs(sent) do
            local name, value = line:match("^(.-): (.*)$")
            if e2e.field(got, name) == value then lines[#lines + 1] = line end
        end
        assert.same(sent, lines)
    end)

    it("keep fields of one name in order, not joined", function()
        local _, got = exchange(request("GET /x HTTP/1.1", "Host: a", "X-A: 1", "X-B: 2", "x-a: 3",
            "X-A:", "X-A: 4"))
        assert.same({ "1", "3", "", "4" }, e2e.values(got.fields, "x-a"))
    end)

    it("may have empty elements and blanks in Connection, and several lines of it", function()
        protocol.only("h1 client", "Connection")
        local res, got, w = exchange(request("GET /x HTTP/1.1", "Host: a", "X-A: 1", "X-B: 2",
            "Connection: , ,\tx-a ,,", "Connection: ", "connection: X-B ,CLOSE,"))
        assert.same({}, e2e.values(got.fields, "x-a"))
        assert.same({}, e2e.values(got.fields, "x-b"))
        assert.same({}, e2e.values(got.fields, "connection"))
        assert.equal("close", res:header("connection"))
        assert.is_true(w:is_closed())
    end)

    it("lose no field that others rely on to a word in Connection", function()
        protocol.only("h1 client", "Connection")
        local _, got = exchange(request("GET /x HTTP/1.1", "Host: a", "Cookie: c",
            "Authorization: z", "X-Forwarded-For: 6.6.6.6", "Via: 1.1 x",
            "Connection: cookie, authorization, x-forwarded-for, via, host, cache-control",
            "Cache-Control: no-store"))
        assert.same({ "c" }, e2e.values(got.fields, "cookie"))
        assert.same({ "z" }, e2e.values(got.fields, "authorization"))
        assert.same({ "127.0.0.1" }, e2e.values(got.fields, "x-forwarded-for"))
        assert.same({ "1.1 x, 1.1 rproxy" }, e2e.values(got.fields, "via"))
        assert.same({ "no-store" }, e2e.values(got.fields, "cache-control"))
    end)

    it("with TE: trailers say so upstream, as an option of that connection", function()
        protocol.only("h1 client", "TE with codings")
        local _, got = exchange(request("GET /x HTTP/1.1", "Host: a", "TE: gzip;q=1, trailers",
            "Connection: te"))
        assert.same({ "trailers" }, e2e.values(got.fields, "te"))
        assert.same({ "te" }, e2e.values(got.fields, "connection"))
        _, got = exchange(request("GET /x HTTP/1.1", "Host: a", "TE: gzip", "Connection: te"))
        assert.same({}, e2e.values(got.fields, "te"))
        assert.same({}, e2e.values(got.fields, "connection"))
    end)

    it("lose trailers that Connection names", function()
        protocol.only("h1 client", "Connection")
        local _, got = exchange(request("POST /x HTTP/1.1", "Host: a", "Connection: x-hop",
            "Transfer-Encoding: chunked") .. "2\r\nhi\r\n0\r\nX-Hop: 1\r\nX-Sum: 2\r\n\r\n")
        assert.same({ { "X-Sum", "2" } }, got.trailers)
    end)

    it("with several lines of Via go up with one, all in order", function()
        local _, got = exchange(request("GET /x HTTP/1.1", "Host: a", "Via: 1.0 a, 1.1 b (c)",
            "Via: 1.1 d"))
        assert.same({ ("1.0 a, 1.1 b (c), 1.1 d, %s rproxy"):format(protocol.via) },
            e2e.values(got.fields, "via"))
    end)

    -- ---------------------------------------------------------------- expectations

    it("with an expectation we do not know go up with it", function()
        local _, got = exchange(request("POST /x HTTP/1.1", "Host: a", "Expect: the=unexpected",
            "Content-Length: 2") .. "hi")
        assert.same({ "the=unexpected" }, e2e.values(got.fields, "expect"))
        assert.equal("hi", got.body)
    end)

    it("of HTTP/1.0 that expect 100 get none, and their body goes up", function()
        protocol.only("h1 client", "HTTP/1.0")
        local res, got = exchange(request("POST /x HTTP/1.0", "Host: a", "Expect: 100-continue",
            "Content-Length: 2") .. "hi")
        assert.equal(200, res.status)
        assert.same({}, res.interim)
        assert.equal("hi", got.body)
        assert.same({}, e2e.values(got.fields, "expect"))
    end)

    -- ---------------------------------------------------------------- framing and connections

    it("never go up with both framings, nor with a length that is not theirs", function()
        protocol.only("h1 client", "framing by fields")
        local _, got = exchange(request("POST /x HTTP/1.1", "Host: a",
            "Transfer-Encoding: chunked") .. "2\r\nhi\r\n0\r\nContent-Length: 9\r\n\r\n")
        assert.same({ "chunked" }, e2e.values(got.fields, "transfer-encoding"))
        assert.same({}, e2e.values(got.fields, "content-length"))
        assert.same({}, got.trailers)
        _, got = exchange(request("POST /x HTTP/1.1", "Host: a", "Content-Length: 002") .. "hi")
        assert.same({ "2" }, e2e.values(got.fields, "content-length"))
        assert.same({}, e2e.values(got.fields, "transfer-encoding"))
    end)

    it("that are refused end the connection, and the answer says so", function()
        protocol.only("h1 client", "a head that cannot be read")
        local w = send("GET /x HTTP/1.1\r\nHost : a\r\n\r\n" .. request("GET /y HTTP/1.1", "Host: a"))
        local res = http.read(w)
        assert.equal(400, res.status)
        assert.equal("close", res:header("connection"))
        assert.is_true(w:is_closed())
    end)

    it("behind one that closes are not looked at", function()
        protocol.only("h1 client", "HTTP/1.0")
        local before = #up:requests()
        local w = send(request("GET /x HTTP/1.0", "Host: a") .. request("GET /y HTTP/1.1", "Host: a"))
        assert.equal(200, http.read(w).status)
        assert.is_true(w:is_closed())
        assert.equal(before + 1, #up:requests())
    end)

    it("that end in the middle of chunks never end upstream", function()
        local before = #up:requests()
        local w = send(request("POST /cut HTTP/1.1", "Host: a", "Transfer-Encoding: chunked") ..
            "5\r\nhel")
        up:wait_connections(function(list)
            for i = 1, #list do
                if up:received(i):find("/cut", 1, true) then return true end
            end
        end)
        w:finish()
        local got = up:wait_requests(before + 1)[before + 1]
        assert.equal("/cut", got.target)
        assert.is_false(got.complete)
    end)
end)

describe("conformance: a proxy before us", function()
    local up, rp

    setup(function()
        up = origin.start { ["*"] = { status = 200, body = "ok" } }
        rp = e2e.proxy { vars = { origin = up.port }, site = [[
            trust = { "127.0.0.0/8" },
            upstreams = { o = rp.upstream { peers = { "127.0.0.1:${origin}" } } },
            hosts = { rp.host { default = true, routes = { rp.route { "/*", upstream = "o" } } } },
        ]] }
    end)

    teardown(function() e2e.stop(rp) end)
    after_each(wire.close_all)

    it("that is trusted may ask for https on a plain connection", function()
        protocol.only("h1 client", "targets in absolute form")
        local w = wire.connect(rp.port)
        w:send(request("GET https://a/x HTTP/1.1", "Host: a"))
        assert.equal(200, http.read(w).status)
        assert.equal("/x", e2e.last(up).target)
    end)
end)

describe("conformance: requests", function()
    --- What a request gets whose upstream is the proxy itself, and how often it came by.
    local function go_round(via)
        protocol.mark("no TLS", "the proxy as its own upstream")
        local rp = e2e.proxy { site = via .. [[
            upstreams = { me = rp.upstream { peers = { "127.0.0.1:${port}" } } },
            hosts = { rp.host { default = true, routes = { rp.route { "/*", upstream = "me" } } } },
            log = { access = { to = "${dir}/access.log", buffer = 0 } },
        ]] }
        local w = wire.connect(rp.port, nil, { timeout = 20 })
        w:send(request("GET /x HTTP/1.1", "Host: a"))
        local status = http.read(w).status
        local function lines()
            return select(2, (posix.read_file(rp.dir .. "/access.log") or ""):gsub("\n", ""))
        end
        posix.poll(function() return lines() >= 11 end)
        local n = lines()
        e2e.stop(rp)
        return status, n
    end

    it("that come back to us for ever are ended by Via", function()
        assert.same({ 508, 11 }, { go_round("") })
        assert.same({ 508, 11 }, { go_round('via = "edge-1",') })
    end)

    it("that come back to us for ever are ended by CDN-Loop where there is no Via", function()
        assert.same({ 508, 11 }, { go_round("via = false,") })
    end)
end)

describe("conformance: what tells of loops", function()
    local up, plain, hidden

    setup(function()
        up = origin.start { ["*"] = { status = 200, body = "ok" } }
        local site = [[
            upstreams = { o = rp.upstream { peers = { "127.0.0.1:${origin}" } } },
            hosts = { rp.host { default = true, routes = { rp.route { "/*", upstream = "o" } } } },
        ]]
        plain = e2e.proxy { vars = { origin = up.port }, site = site }
        hidden = e2e.proxy { vars = { origin = up.port }, site = "via = false," .. site }
    end)

    teardown(function()
        hidden:stop()
        e2e.stop(plain)
    end)
    after_each(wire.close_all)

    local function status_of(rp, ...)
        local w = wire.connect(rp.port)
        w:send(request("GET /x HTTP/1.1", "Host: a", ...))
        return http.read(w).status
    end

    local function times(item, n) return (", " .. item):rep(n):sub(3) end

    it("CDN-Loop is continued, also against the word of Connection", function()
        protocol.only("h1 client", "Connection")
        status_of(hidden, "CDN-Loop: foo.example; a=b", "CDN-Loop: bar", "Connection: cdn-loop")
        local got = e2e.last(up)
        assert.same({ "foo.example; a=b, bar, rproxy" }, e2e.values(got.fields, "cdn-loop"))
        assert.same({}, e2e.values(got.fields, "via"))
        status_of(plain, "CDN-Loop: foo")
        assert.same({ "foo" }, e2e.values(e2e.last(up).fields, "cdn-loop"))
    end)

    it("a chain of nine of one name is none, one of ten is", function()
        assert.equal(200, status_of(plain, "Via: " .. times("1.1 rproxy", 9)))
        assert.equal(508, status_of(plain, "Via: " .. times("1.1 RProxy (it,s me)", 4),
            "Via: 1.0 other, " .. times("HTTP/1.1\trproxy", 6)))
        assert.equal(200, status_of(hidden, "CDN-Loop: " .. times("rproxy", 9)))
        assert.equal(508, status_of(hidden, "CDN-Loop: " .. times("rproxy;x=1", 10)))
        assert.equal(200, status_of(plain, "CDN-Loop: " .. times("rproxy", 10)))
    end)

    it("names that only look like ours are others", function()
        assert.equal(200, status_of(plain, "Via: " .. times("1.1 rproxy2, 1.1 x (rproxy), rproxy", 20)))
        assert.equal(200, status_of(hidden, "CDN-Loop: " .. times("rproxy.example, x; rproxy", 20)))
    end)
end)
