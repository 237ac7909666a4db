-- SPDX-License-Identifier: MIT
--
-- Responses: what RFC 9110 and 9112 ask of an intermediary and no other spec proves. The upstream is
-- played by the spec, byte by byte. Rows of docs/reference/conformance.md name these tests.

local e2e = require("spec.support.e2e")
local http = require("spec.support.http")
local wire = require("spec.support.wire")

local CRLF = "\r\n"

local function head(line, ...)
    return line .. CRLF .. table.concat({ ... }, CRLF) .. (... and CRLF or "") .. CRLF
end

local OK = "HTTP/1.1 200 OK"
local POOLED = "GET /x HTTP/1.1\r\nHost: a\r\n\r\n" -- its upstream connection would be kept

-- What no reader may have two views of, or that is no response: { name, bytes }
local REFUSED = {
    { "two lengths that differ", head(OK, "Content-Length: 2", "Content-Length: 5") .. "hello" },
    { "two lengths that agree", head(OK, "Content-Length: 2", "Content-Length: 2") .. "hi" },
    { "a list of lengths", head(OK, "Content-Length: 2, 2") .. "hi" },
    { "a negative length", head(OK, "Content-Length: -2") .. "hi" },
    { "a length with a plus", head(OK, "Content-Length: +2") .. "hi" },
    { "an empty length", head(OK, "Content-Length:") .. "hi" },
    { "a length over 64 bits", head(OK, "Content-Length: 99999999999999999999") .. "hi" },
    { "a length beside chunked", head(OK, "Content-Length: 2", "Transfer-Encoding: chunked") ..
        "2\r\nhi\r\n0\r\n\r\n" },
    { "chunked in HTTP/1.0", head("HTTP/1.0 200 OK", "Transfer-Encoding: chunked") ..
        "2\r\nhi\r\n0\r\n\r\n" },
    { "a coding before chunked", head(OK, "Transfer-Encoding: gzip, chunked") .. "0\r\n\r\n" },
    { "a coding without chunked", head(OK, "Transfer-Encoding: gzip") .. "hi" },
    { "chunked twice", head(OK, "Transfer-Encoding: chunked", "Transfer-Encoding: chunked") ..
        "0\r\n\r\n" },
    { "a bare CR in a value", head(OK, "X-A: a\rb", "Content-Length: 2") .. "hi" },
    { "a bare LF in a value", head(OK, "X-A: a\nX-B: b", "Content-Length: 2") .. "hi" },
    { "a NUL in a value", head(OK, "X-A: a\0b", "Content-Length: 2") .. "hi" },
    { "bare LF as line ends", "HTTP/1.1 200 OK\nContent-Length: 2\n\nhi" },
    { "a blank before the colon", head(OK, "Content-Length : 2") .. "hi" },
    { "a blank before the first field", "HTTP/1.1 200 OK\r\n X-A: b\r\nContent-Length: 2\r\n\r\nhi" },
    { "a name that is no token", head(OK, "X A: b", "Content-Length: 2") .. "hi" },
    { "a line without a colon", head(OK, "nonsense", "Content-Length: 2") .. "hi" },
    { "a status of two digits", head("HTTP/1.1 20 OK", "Content-Length: 2") .. "hi" },
    { "a status of four digits", head("HTTP/1.1 2000 OK", "Content-Length: 2") .. "hi" },
    { "a status below 100", head("HTTP/1.1 099 No", "Content-Length: 2") .. "hi" },
    { "another major version", head("HTTP/2.0 200 OK", "Content-Length: 2") .. "hi" },
    { "no version", head("200 OK", "Content-Length: 2") .. "hi" },
    { "a control byte in the reason", head("HTTP/1.1 200 O\1K", "Content-Length: 2") .. "hi" },
    { "an interim one with a length", head("HTTP/1.1 103 Early Hints", "Content-Length: 2") ..
        head(OK, "Content-Length: 2") .. "hi" },
    { "an interim one in chunks", head("HTTP/1.1 103 Early Hints", "Transfer-Encoding: chunked") ..
        head(OK, "Content-Length: 2") .. "hi" },
    { "a switch that nobody asked for", head("HTTP/1.1 101 Switching Protocols",
        "Connection: upgrade", "Upgrade: websocket") },
    { "interim ones without end", head("HTTP/1.1 102 Processing"):rep(40) ..
        head(OK, "Content-Length: 2") .. "hi" },
}

describe("conformance: responses", function()
    local up, rp

    setup(function()
        up = e2e.listen()
        rp = e2e.proxy { vars = { up = up.port }, site = [[
            upstreams = {
                u = rp.upstream { peers = { "127.0.0.1:${up}" } },
                once = rp.upstream { peers = { "127.0.0.1:${up}" }, keepalive = { max = 0 } },
            },
            hosts = { rp.host { default = true, routes = {
                rp.route { "/once/*", upstream = "once" }, rp.route { "/*", upstream = "u" } } } },
        ]] }
    end)

    teardown(function()
        up:close()
        e2e.stop(rp)
    end)
    after_each(wire.close_all)

    --- Send a request and answer it with these bytes; returns the client's wire and the upstream's.
    local function relay(bytes, request)
        local w = wire.connect(rp.port)
        w:send(request or "GET /once/x HTTP/1.1\r\nHost: a\r\n\r\n")
        local u = up:accept()
        e2e.head(u)
        u:send(bytes)
        return w, u
    end

    for _, case in ipairs(REFUSED) do
        it("with " .. case[1] .. " are a 502, and that connection is done", function()
            local w, u = relay(case[2], POOLED)
            local res = http.read(w)
            assert.equal(502, res.status)
            assert.is_nil(res:header("x-a"))
            local rest, why = u:recv_all(20)
            assert.equal("", rest)
            assert.is_true(why == "closed" or why == "reset")
            assert.equal("", (w:recv_some(0.02))) -- nothing of it leaks behind the answer
        end)
    end

    -- ---------------------------------------------------------------- heads

    it("with obs-fold come with spaces in its place", function()
        local res = http.read((relay(head(OK, "X-A: one", " two", "X-B: \t", "\t three ",
            "Content-Length: 2") .. "hi")))
        assert.truthy(res:header("x-a"):find("^one +two$"))
        assert.equal("three", res:header("x-b"))
        assert.equal("hi", res.body)
    end)

    it("of HTTP/1.0 come in HTTP/1.1, and Via tells", function()
        local w, u = relay(head("HTTP/1.0 200 OK", "X-A: 1") .. "until the end")
        u:finish()
        local res = http.read(w)
        assert.equal("HTTP/1.1", res.version)
        assert.equal("chunked", res.framing)
        assert.equal("until the end", res.body)
        assert.equal("1.0 rproxy", res:header("via"))
        assert.is_truthy(res:header("date"))
    end)

    it("of HTTP/1.0 with keep-alive keep the upstream connection", function()
        local w, u = relay(head("HTTP/1.0 200 OK", "Connection: keep-alive", "Content-Length: 2") ..
            "hi", POOLED)
        local res = http.read(w)
        assert.is_nil(res:header("connection"))
        w:send("GET /again HTTP/1.1\r\nHost: a\r\n\r\n")
        assert.truthy(e2e.head(u):find("^GET /again "))
        u:send(head("HTTP/1.0 200 OK", "Content-Length: 5") .. "again")
        assert.equal("again", http.read(w).body)
    end)

    it("of HTTP/1.0 without it end the upstream connection", function()
        local w, u = relay(head("HTTP/1.0 200 OK", "Content-Length: 2") .. "hi", POOLED)
        assert.equal("hi", http.read(w).body)
        assert.is_true(u:is_closed())
    end)

    it("without a reason get one, with one keep it", function()
        assert.equal("OK", http.read((relay(head("HTTP/1.1 200 ", "Content-Length: 0")))).reason)
        assert.equal("OK", http.read((relay(head("HTTP/1.1 200", "Content-Length: 0")))).reason)
        assert.equal("Fine", http.read((relay(head("HTTP/1.1 200 Fine", "Content-Length: 0")))).reason)
    end)

    it("of a status nobody knows come as they are", function()
        for _, status in ipairs { 299, 399, 499, 599 } do
            local res = http.read((relay(head("HTTP/1.1 " .. status .. " Odd", "Content-Length: 2") ..
                "hi")))
            assert.equal(status, res.status)
            assert.equal("Odd", res.reason)
            assert.equal("hi", res.body)
        end
    end)

    it("keep fields that belong to others, lists and repeats as they were", function()
        local sent = { "WWW-Authenticate: Basic realm=\"a, b\"", "WWW-Authenticate: Digest nonce=x",
            "Proxy-Authenticate: Basic realm=c", "Set-Cookie: a=1, b; Path=/", "Set-Cookie: c=2",
            "Cache-Control: no-transform", "ETag: W/\"x\"", "Content-Range: bytes 0-1/2",
            "Location: http://elsewhere/", "Retry-After: 3", "Allow:", "Warning: 199 - x",
            "Age: 0",
            "Authentication-Info: nextnonce=\"y\"", "Vary: *", "Server: s (c)",
            "Accept-Ranges: none", "X-Unknown: \"q\\\"\"" }
        local lines = { unpack(sent) }
        lines[#lines + 1] = "Content-Length: 2"
        local res = http.read((relay(head("HTTP/1.1 206 Partial Content", unpack(lines)) .. "hi")))
        local found = {}
        for _, line in ipairs(sent) do
            local wanted = "\r\n" .. line:gsub(":$", ": ") .. "\r\n"
            if res.head:find(wanted, 1, true) or res.head:find("\r\n" .. line .. "\r\n", 1, true) then
                found[#found + 1] = line
            end
        end
        assert.same(sent, found)
    end)

    it("lose what Connection names, and no field that others rely on", function()
        local w = relay(head(OK, "X-Hop: 1", "X-Stay: 2", "Set-Cookie: a", "Keep-Alive: timeout=1",
            "Connection: x-hop, content-length, set-cookie, keep-alive", "Content-Length: 2") .. "hi")
        local res = http.read(w)
        assert.is_nil(res:header("x-hop"))
        assert.is_nil(res:header("keep-alive"))
        assert.is_nil(res:header("connection"))
        assert.equal("2", res:header("x-stay"))
        assert.equal("a", res:header("set-cookie"))
        assert.equal("2", res:header("content-length"))
    end)

    it("426 names the protocol that we relay, and no other", function()
        local w = relay(head("HTTP/1.1 426 Upgrade Required", "Upgrade: websocket",
            "Connection: upgrade", "Content-Length: 0"))
        local res = http.read(w)
        assert.equal("websocket", res:header("upgrade"))
        assert.equal("upgrade", res:header("connection"))
        w = relay(head("HTTP/1.1 426 Upgrade Required", "Upgrade: TLS/1.0, HTTP/1.1",
            "Connection: upgrade", "Content-Length: 0"))
        res = http.read(w)
        assert.is_nil(res:header("upgrade"))
        assert.is_nil(res:header("connection"))
    end)

    -- ---------------------------------------------------------------- ends

    it("204 that announce a body come without, and nothing behind them is taken for a response",
        function()
            local w, u = relay(head("HTTP/1.1 204 No Content", "Content-Length: 40") ..
                "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", POOLED)
            local res = http.read(w)
            assert.equal(204, res.status)
            assert.is_nil(res:header("content-length"))
            assert.is_true(u:is_closed())
            assert.equal("", (w:recv_some(0.02)))
        end)

    it("to HEAD tell the length of a GET, and what comes behind is not a body", function()
        local w, u = relay(head(OK, "Content-Length: 4") .. "evil",
            "HEAD /x HTTP/1.1\r\nHost: a\r\n\r\n")
        local res = http.read(w, { method = "HEAD" })
        assert.equal("4", res:header("content-length"))
        assert.is_true(u:is_closed())
        assert.equal("", (w:recv_some(0.02)))
    end)

    it("304 with a coding come without a body", function()
        local w = relay(head("HTTP/1.1 304 Not Modified", "Transfer-Encoding: chunked",
            "ETag: \"x\""))
        local res = http.read(w)
        assert.equal(304, res.status)
        assert.is_nil(res:header("transfer-encoding"))
        assert.equal("", (w:recv_some(0.02)))
    end)

    it("with Connection: close end the upstream's connection, not the client's", function()
        local w, u = relay(head(OK, "Connection: close", "Content-Length: 2") .. "hi", POOLED)
        local res = http.read(w)
        assert.equal("hi", res.body)
        assert.is_nil(res:header("connection"))
        assert.is_true(u:is_closed())
        w:send("GET /more HTTP/1.1\r\nHost: a\r\n\r\n")
        local again = up:accept()
        e2e.head(again)
        again:send(head(OK, "Content-Length: 4") .. "more")
        assert.equal("more", http.read(w).body)
    end)

    it("in chunks with extensions and odd sizes come as the same content", function()
        local res = http.read((relay(head(OK, "Transfer-Encoding: Chunked") ..
            "002;a=\"b;c\"\r\nhi\r\n0A;x\r\n0123456789\r\n000;y\r\nX-T: 1\r\n\r\n")))
        assert.equal("hi0123456789", res.body)
        assert.same({}, res.trailers)
    end)

    it("lose trailers that would frame, route or authenticate", function()
        local res = http.read((relay(head(OK, "Transfer-Encoding: chunked", "Trailer: X-Sum") ..
            "2\r\nhi\r\n0\r\nContent-Length: 9\r\nX-Sum: 1\r\nSet-Cookie: a\r\nHost: b\r\n\r\n",
            "GET /once/x HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: te\r\n\r\n")))
        assert.same({ { "X-Sum", "1" } }, res.trailers)
        assert.is_nil(res:header("x-sum")) -- never merged into the head
        assert.equal("X-Sum", res:header("trailer"))
    end)

    it("lose trailers that Connection names", function()
        local res = http.read((relay(head(OK, "Transfer-Encoding: chunked", "Connection: x-hop") ..
            "2\r\nhi\r\n0\r\nX-Hop: 1\r\nX-Sum: 2\r\nx-hop: 3\r\n\r\n",
            "GET /once/x HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: te\r\n\r\n")))
        assert.same({ { "X-Sum", "2" } }, res.trailers)
    end)

    it("100 that come although the body was sent are dropped, 103 are not", function()
        local res = http.read((relay(head("HTTP/1.1 100 Continue") ..
            head("HTTP/1.1 103 Early Hints", "Link: </a>", "Connection: x-hop", "X-Hop: 1",
                "Content-Length: 0") .. head(OK, "Content-Length: 2") .. "hi")))
        assert.equal(1, #res.interim)
        assert.equal(103, res.interim[1].status)
        assert.equal("</a>", res.interim[1]:header("link"))
        assert.is_nil(res.interim[1]:header("x-hop"))
        assert.is_nil(res.interim[1]:header("connection"))
        assert.equal("hi", res.body)
    end)

    -- ---------------------------------------------------------------- connections

    it("that do not come are not asked for again when the method is not idempotent", function()
        local w = wire.connect(rp.port)
        w:send("POST /once/x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi")
        local u = up:accept()
        u:recv_until("hi")
        u:close()
        assert.equal(502, http.read(w).status)
        assert.is_false((pcall(up.accept, up, 0.2)))
    end)

    it("may come before the request's body, which then ends the connection", function()
        local w, u = relay(head("HTTP/1.1 413 Too Large", "Connection: close", "Content-Length: 2") ..
            "no", "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nabc")
        local res = http.read(w)
        assert.equal(413, res.status)
        assert.equal("no", res.body)
        assert.equal("close", res:header("connection"))
        assert.is_true(w:is_closed())
        local _, why = u:recv_all(20)
        assert.not_equal("timeout", why)
    end)

    it("that refuse before the request's body say that the connection ends", function()
        local w = relay(head("HTTP/1.1 403 Forbidden", "Content-Length: 2") .. "no",
            "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nabc")
        local res = http.read(w)
        assert.equal("no", res.body)
        assert.equal("close", res:header("connection"))
        assert.is_true(w:is_closed())
    end)

    it("that accept before the request's body keep the connection", function()
        local w, u = relay(head(OK, "Transfer-Encoding: chunked") .. "2\r\nhi\r\n",
            "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabc")
        assert.is_nil(w:recv_until("2\r\nhi\r\n"):find("Connection", 1, true))
        w:send("def")
        assert.equal("def", (u:recv(6):sub(4)))
        u:send("0\r\n\r\n")
        assert.truthy(w:recv_until("0\r\n\r\n"))
        w:send("GET /once/x HTTP/1.1\r\nHost: a\r\n\r\n")
        local next_one = up:accept()
        e2e.head(next_one)
        next_one:send(head(OK, "Content-Length: 2") .. "ok")
        assert.equal("ok", http.read(w).body)
    end)
end)
