-- SPDX-License-Identifier: MIT
--
-- HTTP/1.1 through the proxy: framing, connections, interim responses, failures of either side.

local e2e = require("spec.support.e2e")
local http = require("spec.support.http")
local origin = require("spec.support.origin")
local protocol = require("spec.support.protocol")
local wire = require("spec.support.wire")

local CRLF = "\r\n"
-- No power of two: a piece that is lost, doubled or misplaced shows.
local BLOCK = ("0123456789abcdef"):rep(625) .. "ghijklm"
local MANY = 1048 -- blocks in 10 MB

local function head(status, ...)
    return "HTTP/1.1 " .. status .. CRLF .. table.concat({ ... }, CRLF) .. CRLF .. CRLF
end

local function chunk(bytes)
    return ("%x\r\n%s\r\n"):format(#bytes, bytes)
end

local function by_length(bytes)
    return { { send = head("200 OK", "Content-Length: " .. #bytes) .. bytes } }
end

local function by_chunks(bytes)
    return { { send = head("200 OK", "Transfer-Encoding: chunked") ..
        (#bytes > 0 and chunk(bytes) or "") .. "0\r\n\r\n" } }
end

local function by_close(bytes)
    return { { send = head("200 OK", "Connection: close") .. bytes }, { close = true } }
end

local SIZES = { 0, 1, 16384, 65537 }

local function bytes_of(n)
    return BLOCK:rep(math.ceil(n / #BLOCK)):sub(1, n)
end

local function routes()
    local r = {
        ["/hi"] = { status = 200, fields = { ["Content-Type"] = "text/plain" }, body = "hi" },
        ["/chunked"] = by_chunks("hello"),
        ["/chunks"] = { status = 200, body = "abcdefgh", chunked = 3 },
        ["/close"] = by_close("until the end"),
        ["/empty-close"] = by_close(""),
        ["/204"] = { { send = head("204 No Content", "X-A: 1") } },
        ["/304"] = { { send = head("304 Not Modified", "ETag: \"x\"", "Content-Length: 5") } },
        ["/head"] = { { send = head("200 OK", "Content-Length: 5") } },
        ["/head-chunked"] = { { send = head("200 OK", "Transfer-Encoding: chunked") } },
        ["/gate"] = { { gate = "slow" }, { send = head("200 OK", "Content-Length: 4") .. "slow" } },
        ["/trailers"] = { { send = head("200 OK", "Transfer-Encoding: chunked", "Trailer: X-Sum") ..
            "2\r\nhi\r\n0\r\nX-Sum: 42\r\n\r\n" } },
        ["/103"] = { { send = head("103 Early Hints", "Link: </a.css>; rel=preload") ..
            head("200 OK", "Content-Length: 2") .. "ok" } },
        ["/several"] = { { send = head("102 Processing", "X-N: 1") }, { gate = "several" },
            { send = head("103 Early Hints", "Link: </b>") ..
                head("103 Early Hints", "Link: </c>") },
            { send = head("200 OK", "Content-Length: 2") .. "ok" } },
        ["/100"] = { early = true, { send = "HTTP/1.1 100 Continue\r\n\r\n" }, { body = true },
            { send = head("200 OK", "Content-Length: 4") .. "took" } },
        ["/100-unasked"] = { early = true, { send = "HTTP/1.1 100 Continue\r\n\r\n" },
            { body = true }, { send = head("200 OK", "Content-Length: 2") .. "ok" } },
        ["/417"] = { early = true, { send = head("417 Expectation Failed", "Content-Length: 2") ..
            "no" } },
        ["/early"] = { early = true,
            { send = head("403 Forbidden", "Content-Length: 2") .. "no" } },
        ["/duplex"] = { early = true, { send = head("200 OK", "Transfer-Encoding: chunked") ..
            chunk("first") }, { body = true }, { send = chunk("second") .. "0\r\n\r\n" } },
        ["/garbage"] = { { send = head("200 OK", "Content-Length: 2") .. "okGARBAGE" } },
        ["/evil"] = { { send = head("200 OK", "Content-Length: 2") .. "ok" }, { gate = "evil" },
            { send = head("200 OK", "Content-Length: 4") .. "evil" } },
        ["/no-head"] = { { close = true } },
        ["/reset"] = { { reset = true } },
        ["/mid-head"] = { { send = "HTTP/1.1 200 OK\r\nContent-Le" }, { close = true } },
        ["/not-http"] = { { send = "SSH-2.0-OpenSSH_9.2\r\n\r\n" }, { close = true } },
        ["/mid-length"] = { { send = head("200 OK", "Content-Length: 10") .. "12345" },
            { close = true } },
        ["/mid-chunked"] = { { send = head("200 OK", "Transfer-Encoding: chunked") ..
            chunk("12345") }, { close = true } },
        ["/bad-chunk"] = { { send = head("200 OK", "Transfer-Encoding: chunked") ..
            chunk("12345") .. "zz\r\n" } },
        ["/reset-close"] = { { send = head("200 OK", "Connection: close") .. "12345" },
            { gate = "reset-close" }, { reset = true } },
        ["/headers"] = { { send = head("200 OK", "Server: theirs",
            "Date: Sun, 06 Nov 1994 08:49:37 GMT", "Via: 1.0 inner", "Content-Length: 0") } },
        ["/bare"] = { { send = head("200 OK", "Content-Length: 0") } },
        ["/hang"] = { { hang = true } },
        ["/large-head"] = { { send = head("200 OK", "X-A: " .. ("a"):rep(60000),
            "Content-Length: 2") .. "ok" } },
        ["/huge-head"] = { { send = head("200 OK", "X-A: " .. ("a"):rep(70000),
            "Content-Length: 2") .. "ok" } },
        ["/many-fields"] = { { send = head("200 OK", ("X-A: a\r\n"):rep(200) ..
            "Content-Length: 2") .. "ok" } },
        ["/too-many-fields"] = { { send = head("200 OK", ("X-A: a\r\n"):rep(300) ..
            "Content-Length: 2") .. "ok" } },
        ["/bytes"] = { { send = "HTTP/1." }, { wait = 0.002 }, { send = "1 200 OK\r" },
            { wait = 0.002 }, { send = "\nTransfer-Encoding: chu" }, { wait = 0.002 },
            { send = "nked\r\n\r\n5" }, { wait = 0.002 }, { send = "\r\nhel" }, { wait = 0.002 },
            { send = "lo\r" }, { wait = 0.002 }, { send = "\n0\r\n\r" }, { wait = 0.002 },
            { send = "\n" } },
        ["/endless"] = { { send = head("200 OK", "Transfer-Encoding: chunked") },
            { send = chunk(BLOCK), times = 100000 } },
        ["/big-length"] = { { send = head("200 OK", "Content-Length: " .. #BLOCK * MANY) },
            { send = BLOCK, times = MANY } },
        ["/big-chunked"] = { { send = head("200 OK", "Transfer-Encoding: chunked") },
            { send = chunk(BLOCK), times = MANY }, { send = "0\r\n\r\n" } },
        ["/stale"] = { turns = { { status = 200, body = "one" }, { { close = true } },
            { status = 200, body = "two" } } },
    }
    for _, n in ipairs(SIZES) do
        local bytes = bytes_of(n)
        r["/length/" .. n], r["/chunked/" .. n] = by_length(bytes), by_chunks(bytes)
        r["/close/" .. n] = by_close(bytes)
    end
    r["*"] = { status = 200, body = "ok" }
    return r
end

describe("HTTP/1.1", function()
    local up, rp

    setup(function()
        up = origin.start(routes())
        rp = e2e.proxy { vars = { origin = up.port }, site = [[
            limits = { body = 2^30 },
            upstreams = { o = rp.upstream { peers = { "127.0.0.1:${origin}" } } },
            hosts = { rp.host { default = true, routes = {
                rp.route { "/*", upstream = "o" },
                } } },
        ]] }
    end)

    teardown(function() e2e.stop(rp) end)
    after_each(wire.close_all)

    local function get(target, fields)
        return http.get(rp.port, target, fields)
    end

    local function connect()
        return wire.connect(rp.port)
    end

    --- A request in HTTP/1.0; fields: one per line.
    local function get10(target, ...)
        protocol.mark("h1 client", "HTTP/1.0")
        local w = connect()
        w:send(("GET %s HTTP/1.0\r\nHost: a\r\n%s\r\n"):format(target,
            table.concat({ ..., n = nil }, CRLF) .. (select("#", ...) > 0 and CRLF or "")))
        return w
    end

    -- ------------------------------------------------------------ connections

    describe("client connections", function()
        it("are kept between requests", function()
            local w = connect()
            for _ = 1, 3 do
                local res = http.request(w, { target = "/hi" })
                assert.equal(200, res.status)
                assert.equal("hi", res.body)
                assert.is_nil(res:header("connection"))
            end
        end)

        it("answer pipelined requests in order", function()
            local w = connect()
            up:close_gate("slow")
            w:send(http.format { target = "/gate" } .. http.format { target = "/hi" } ..
                http.format { method = "POST", target = "/x", body = "b" })
            assert.equal("", (w:recv_some(0.05)))
            up:open_gate("slow")
            assert.equal("slow", http.read(w).body)
            assert.equal("hi", http.read(w).body)
            assert.equal("ok", http.read(w).body)
        end)

        it("answer thousands of pipelined requests", function()
            protocol.only("h1 client", "pipelining: HTTP/2 limits how many at once")
            local w, all, sent = connect(), {}, 0
            for i = 1, 3000 do all[i] = http.format { target = "/pipelined/" .. i } end
            local bytes = table.concat(all)
            for i = 1, #all do -- by turns: the proxy does not take what it cannot answer
                while sent < #bytes do
                    local took = assert(w:push(bytes:sub(sent + 1, sent + 65536)))
                    sent = sent + took
                    if took == 0 then break end
                end
                assert.equal("ok", http.read(w).body, i)
            end
            assert.equal("/pipelined/3000", e2e.last(up).target)
        end)

        it("close after Connection: close, and say so", function()
            protocol.only("h1 client", "Connection: close")
            local w = connect()
            local res = http.request(w, { target = "/hi", fields = { Connection = "close" } })
            assert.equal("close", res:header("connection"))
            assert.is_true(w:is_closed())
        end)

        it("close after HTTP/1.0 without keep-alive", function()
            local w = get10("/hi")
            local res = http.read(w)
            assert.equal("hi", res.body)
            assert.equal("close", res:header("connection"))
            assert.is_true(w:is_closed())
        end)

        it("are kept for HTTP/1.0 with keep-alive", function()
            local w = get10("/hi", "Connection: keep-alive")
            local res = http.read(w)
            assert.equal("keep-alive", res:header("connection"))
            assert.equal("hi", http.request(w, { target = "/hi" }).body)
        end)

        it("drop what follows a request that closes", function()
            protocol.only("h1 client", "Connection: close")
            local before = #up:requests()
            local w = connect()
            w:send(http.format { target = "/hi", fields = { Connection = "close" } } ..
                http.format { target = "/never" })
            assert.equal("hi", http.read(w).body)
            assert.is_true(w:is_closed())
            assert.equal(before + 1, #up:requests())
        end)

        it("that end in the middle of a head are forgotten", function()
            local before = #up:requests()
            local w = connect()
            w:send("GET /hi HTTP/1.1\r\nHost")
            w:finish()
            local rest = w:recv_all(20)
            assert.equal("", rest)
            assert.equal(before, #up:requests())
        end)
    end)

    -- ------------------------------------------------------------ bodies down

    describe("response bodies", function()
        for _, n in ipairs(SIZES) do
            it(("of %d bytes come by length"):format(n), function()
                local res = get("/length/" .. n)
                assert.equal("length", res.framing)
                assert.is_true(res.body == bytes_of(n))
            end)

            it(("of %d bytes come in chunks"):format(n), function()
                local res = get("/chunked/" .. n)
                assert.equal("chunked", res.framing)
                assert.is_true(res.body == bytes_of(n))
            end)

            it(("of %d bytes that end by close come in chunks"):format(n), function()
                local res = get("/close/" .. n)
                assert.equal("chunked", res.framing)
                assert.is_true(res.body == bytes_of(n))
            end)

            it(("of %d bytes in chunks come by close to HTTP/1.0"):format(n), function()
                local w = get10("/chunked/" .. n)
                local res = http.read(w)
                assert.equal("close", res.framing)
                assert.equal("close", res:header("connection"))
                assert.is_true(res.body == bytes_of(n))
            end)
        end

        it("of 10 MB come by length", function()
            local res = get("/big-length")
            assert.equal("length", res.framing)
            assert.is_true(res.body == BLOCK:rep(MANY))
        end)

        it("of 10 MB come in chunks", function()
            local res = get("/big-chunked")
            assert.equal("chunked", res.framing)
            assert.is_true(res.body == BLOCK:rep(MANY))
        end)

        it("keep the connection when they came by close", function()
            local w = connect()
            assert.equal("until the end", http.request(w, { target = "/close" }).body)
            assert.equal("hi", http.request(w, { target = "/hi" }).body)
        end)

        it("by length stay so for HTTP/1.0", function()
            local res = http.read(get10("/length/16384"))
            assert.equal("length", res.framing)
            assert.is_true(res.body == bytes_of(16384))
        end)

        it("of HEAD are absent and their length is told", function()
            local w = connect()
            local res = http.request(w, { method = "HEAD", target = "/head" })
            assert.equal("5", res:header("content-length"))
            assert.equal("hi", http.request(w, { target = "/hi" }).body)
        end)

        it("of HEAD without a length are absent", function()
            local w = connect()
            local res = http.request(w, { method = "HEAD", target = "/head-chunked" })
            assert.equal(200, res.status)
            assert.equal("hi", http.request(w, { target = "/hi" }).body)
        end)

        it("of 204 are absent, and no length is told", function()
            local w = connect()
            local res = http.request(w, { target = "/204" })
            assert.equal(204, res.status)
            assert.equal("1", res:header("x-a"))
            assert.equal("hi", http.request(w, { target = "/hi" }).body)
        end)

        it("of 304 are absent", function()
            local w = connect()
            local res = http.request(w, { target = "/304" })
            assert.equal(304, res.status)
            assert.equal('"x"', res:header("etag"))
            assert.equal("hi", http.request(w, { target = "/hi" }).body)
        end)
    end)

    -- ------------------------------------------------------------ heads down

    describe("response heads", function()
        it("may come in any pieces", function()
            assert.equal("hello", get("/bytes").body)
        end)

        it("may be large", function()
            local res = get("/large-head")
            assert.equal(60000, #res:header("x-a"))
            assert.equal("ok", res.body)
        end)

        it("may have many fields", function()
            assert.equal(200, #get("/many-fields"):all("x-a"))
        end)

        it("that are too large are 502", function()
            assert.equal(502, get("/huge-head").status)
        end)

        it("with too many fields are 502", function()
            assert.equal(502, get("/too-many-fields").status)
        end)
    end)

    -- ------------------------------------------------------------ bodies up

    describe("request bodies", function()
        local function post(target, body)
            return http.get(rp.port, { method = "POST", target = target, body = body })
        end

        local function post_chunks(target, body, n)
            local pieces = {}
            for i = 1, #body, n do pieces[#pieces + 1] = chunk(body:sub(i, i + n - 1)) end
            local w = connect()
            w:send(http.format { method = "POST", target = target,
                fields = { ["Transfer-Encoding"] = "chunked" } })
            w:send(table.concat(pieces) .. "0\r\n\r\n")
            return http.read(w)
        end

        for _, n in ipairs(SIZES) do
            it(("of %d bytes go by length"):format(n), function()
                assert.equal(200, post("/len", bytes_of(n)).status)
                local got = e2e.last(up)
                assert.equal("length", got.framing)
                assert.is_true(got.body == bytes_of(n))
            end)

            it(("of %d bytes go in chunks"):format(n), function()
                assert.equal(200, post_chunks("/chunks-up", bytes_of(n), 7001).status)
                local got = e2e.last(up)
                assert.equal("chunked", got.framing)
                assert.is_true(got.body == bytes_of(n))
            end)
        end

        it("of 10 MB go by length", function()
            local body = BLOCK:rep(MANY)
            assert.equal(200, post("/len", body).status)
            local got = e2e.last(up)
            assert.equal(#body, got.body_len)
            assert.equal(origin.sum(body), got.body_sum)
        end)

        it("of 10 MB go in chunks", function()
            local body = BLOCK:rep(MANY)
            assert.equal(200, post_chunks("/chunks-up", body, 30011).status)
            local got = e2e.last(up)
            assert.equal(#body, got.body_len)
            assert.equal(origin.sum(body), got.body_sum)
        end)

        it("may be on a GET", function()
            http.get(rp.port, { method = "GET", target = "/x", body = "abc" })
            assert.equal("abc", e2e.last(up).body)
        end)

        it("are absent upstream where the client sent none", function()
            http.get(rp.port, { method = "POST", target = "/none" })
            local got = e2e.last(up)
            assert.equal("none", got.framing)
            assert.same({}, e2e.values(got.fields, "content-length"))
            assert.same({}, e2e.values(got.fields, "transfer-encoding"))
        end)
    end)

    -- ------------------------------------------------------------ trailers

    describe("trailers", function()
        it("of a request go up", function()
            local w = connect()
            w:send(http.format { method = "POST", target = "/x",
                fields = { ["Transfer-Encoding"] = "chunked", Trailer = "X-Sum" } } ..
                "2\r\nhi\r\n0\r\nX-Sum: 42\r\nX-More: a\r\n\r\n")
            assert.equal(200, http.read(w).status)
            local got = e2e.last(up)
            assert.equal("hi", got.body)
            for _, field in ipairs(got.trailers) do field[1] = field[1]:lower() end
            assert.same({ { "x-sum", "42" }, { "x-more", "a" } }, got.trailers)
        end)

        it("of a response come to a client that asked for them", function()
            local res = get("/trailers", { TE = "trailers", Connection = "te" })
            assert.equal("hi", res.body)
            assert.same({ { "X-Sum", "42" } }, res.trailers)
        end)

        it("of a response are dropped for a client that did not", function()
            local res = get("/trailers")
            assert.equal("hi", res.body)
            assert.same({}, res.trailers)
        end)

        it("of a response are dropped for HTTP/1.0", function()
            local res = http.read(get10("/trailers"))
            assert.equal("hi", res.body)
        end)
    end)

    -- ------------------------------------------------------------ interim responses

    describe("interim responses", function()
        it("are passed on", function()
            local res = get("/103")
            assert.equal("ok", res.body)
            assert.equal(1, #res.interim)
            assert.equal(103, res.interim[1].status)
            assert.equal("</a.css>; rel=preload", res.interim[1]:header("link"))
        end)

        it("are passed on one by one, as they come", function()
            local w = connect()
            up:close_gate("several")
            w:send(http.format { target = "/several" })
            local first = http.read(w, { until_final = false })
            assert.equal(102, first.status)
            assert.equal("1", first:header("x-n"))
            up:open_gate("several")
            local res = http.read(w)
            assert.equal("ok", res.body)
            assert.equal("</b>", res.interim[1]:header("link"))
            assert.equal("</c>", res.interim[2]:header("link"))
        end)

        it("do not come to HTTP/1.0", function()
            local res = http.read(get10("/103"))
            assert.equal(0, #res.interim)
            assert.equal("ok", res.body)
        end)

        it("100 comes when the upstream says so, then the body goes", function()
            local w = connect()
            w:send(http.format { method = "POST", target = "/100", fields = {
                Expect = "100-continue", ["Content-Length"] = "4" } })
            assert.equal(100, http.read(w, { until_final = false }).status)
            w:send("body")
            assert.equal("took", http.read(w).body)
            local got = e2e.last(up)
            assert.equal("body", got.body)
            assert.equal("100-continue", e2e.field(got, "expect"))
        end)

        it("100 is left out when the client did not ask", function()
            local res = http.get(rp.port, { method = "POST", target = "/100-unasked", body = "b" })
            assert.equal("ok", res.body)
            assert.equal(0, #res.interim)
        end)

        it("a final response instead of 100 ends the exchange without the body", function()
            local w = connect()
            w:send(http.format { method = "POST", target = "/417", fields = {
                Expect = "100-continue", ["Content-Length"] = "4" } })
            local res = http.read(w)
            assert.equal(417, res.status)
            assert.equal(0, #res.interim)
            assert.equal("no", res.body)
            e2e.assert_last(w, res) -- the next bytes could be the body or a request
        end)
    end)

    -- ------------------------------------------------------------ both directions at once

    describe("a response that begins before the request ended", function()
        it("comes at once, and the request goes on", function()
            local w = connect()
            w:send(http.format { method = "POST", target = "/duplex",
                fields = { ["Content-Length"] = "6" } } .. "abc")
            assert.equal(200, http.parse_head(w:recv_until("\r\n\r\n")).status)
            assert.equal("5\r\nfirst\r\n", w:recv(10))
            w:send("def")
            assert.equal("6\r\nsecond\r\n0\r\n\r\n", w:recv(16))
            assert.equal("abcdef", e2e.last(up).body)
        end)

        it("comes to a client that sends its whole body first", function()
            local res = http.get(rp.port, { method = "POST", target = "/early",
                body = ("b"):rep(900000) })
            assert.equal(403, res.status)
            assert.equal("no", res.body)
        end)

        it("and ends before it is the answer, and the connection closes", function()
            local w = connect()
            w:send(http.format { method = "POST", target = "/early",
                fields = { ["Content-Length"] = "1000000" } } .. "abc")
            local res = http.read(w)
            assert.equal(403, res.status)
            assert.equal("no", res.body)
            e2e.assert_last(w, res)
        end)
    end)

    -- ------------------------------------------------------------ upstream connections

    describe("upstream connections", function()
        it("are used again, by other clients too", function()
            get("/hi")
            get("/hi") -- which of the idle ones it gets depends on what earlier specs left behind
            local last = e2e.last(up)
            assert.is_true(last.n > 1, last.n)
        end)

        it("are not used again with garbage behind the response", function()
            protocol.only("h1 upstream", "bytes behind a response")
            assert.equal("ok", get("/garbage").body)
            local first = e2e.last(up).conn
            assert.equal("hi", get("/hi").body)
            assert.not_equal(first, e2e.last(up).conn)
        end)

        it("with garbage while they rest are closed", function()
            protocol.only("h1 upstream", "bytes behind a response")
            up:close_gate("evil")
            assert.equal("ok", get("/evil").body)
            local conn = e2e.last(up).conn
            up:open_gate("evil")
            up:wait_connections(function(list) return list[conn].closed end)
            assert.equal("hi", get("/hi").body)
        end)

        it("that were closed while they rested are replaced without the client seeing", function()
            assert.equal("one", get("/stale").body)
            assert.equal("two", get("/stale").body) -- the second turn closes instead of answering
        end)

        it("are not used again after HEAD with a length that has no end", function()
            http.get(rp.port, { method = "HEAD", target = "/head" })
            assert.equal("hi", get("/hi").body)
        end)
    end)

    -- ------------------------------------------------------------ failures upstream

    describe("an upstream", function()
        local function is_page(res, status, reason)
            assert.equal(status, res.status)
            if not protocol.has_h2 then assert.equal(reason, res.reason) end
            assert.equal("text/html; charset=utf-8", res:header("content-type"))
            assert.equal("rproxy", res:header("server"))
            assert.truthy(res.body:find(status .. " " .. reason, 1, true))
            assert.truthy(res.body:find("request id: %x+"))
            assert.equal(32, #res.body:match("request id: (%x+)"))
        end

        for _, case in ipairs {
            { "closing before its response", "/no-head" },
            { "resetting before its response", "/reset" },
            { "closing within its head", "/mid-head" },
            { "that does not speak HTTP", "/not-http", "a malformed status line" },
        } do
            it(case[1] .. " is a 502, and the client's connection lives", function()
                if case[3] then protocol.only("h1 upstream", case[3]) end
                local w = connect()
                w:send(http.format { target = case[2] })
                is_page(http.read(w), 502, "Bad Gateway")
                assert.equal("hi", http.request(w, { target = "/hi" }).body)
            end)
        end

        local function broken(target, version)
            local w = connect()
            w:send(("GET %s HTTP/%s\r\nHost: a\r\n\r\n"):format(target, version or "1.1"))
            local head_text = w:recv_until("\r\n\r\n")
            local rest, why = w:recv_all()
            return rest, why, http.parse_head(head_text)
        end

        it("closing within a body by length leaves it short and closes", function()
            local rest, why = broken("/mid-length")
            assert.equal("12345", rest)
            assert.not_equal("timeout", why)
        end)

        it("closing within chunks leaves out the last one and closes", function()
            local rest, why = broken("/mid-chunked")
            assert.equal(chunk("12345"), rest)
            assert.not_equal("timeout", why)
        end)

        it("breaking the chunked coding leaves out the last one and closes", function()
            protocol.only("h1 upstream", "chunks")
            local rest, why = broken("/bad-chunk")
            assert.equal(chunk("12345"), rest)
            assert.not_equal("timeout", why)
        end)

        it("resetting a body that ends by close does not end it in chunks", function()
            local w = connect()
            up:close_gate("reset-close")
            w:send("GET /reset-close HTTP/1.1\r\nHost: a\r\n\r\n")
            w:recv_until(chunk("12345"))
            up:open_gate("reset-close")
            local rest, why = w:recv_all()
            assert.equal("", rest)
            assert.not_equal("timeout", why)
        end)

        it("breaking off is a reset for HTTP/1.0, where close would mean the end", function()
            protocol.only("h1 client", "HTTP/1.0")
            local _, why = broken("/mid-chunked", "1.0")
            assert.equal("reset", why)
        end)
    end)

    -- ------------------------------------------------------------ fields of responses

    describe("response fields", function()
        it("Date, Server and Via of the upstream are kept, Via continued", function()
            local res = get("/headers")
            assert.equal("theirs", res:header("server"))
            assert.same({ "Sun, 06 Nov 1994 08:49:37 GMT" }, res:all("date"))
            assert.equal(("1.0 inner, %s rproxy"):format(protocol.upstream_via),
                table.concat(res:all("via"), ", "))
        end)

        it("Date is added where it is missing, Server is not", function()
            local res = get("/bare")
            assert.truthy(res:header("date"):find(
                "^%a%a%a, %d%d %a%a%a %d%d%d%d %d%d:%d%d:%d%d GMT$"))
            assert.is_nil(res:header("server"))
            assert.same({ protocol.upstream_via .. " rproxy" }, res:all("via"))
        end)
    end)

    -- ------------------------------------------------------------ clients that leave

    describe("a client that leaves", function()
        it("before the response closes the upstream connection", function()
            local w = connect()
            local n = #up:requests()
            w:send(http.format { target = "/hang" })
            local conn = up:wait_requests(n + 1)[n + 1].conn
            w:close()
            up:wait_connections(function(list) return list[conn].closed end)
        end)

        it("within the response closes the upstream connection", function()
            local w = connect()
            local n = #up:requests()
            w:send(http.format { target = "/endless" })
            local conn = up:wait_requests(n + 1)[n + 1].conn
            w:recv(100000)
            w:close()
            up:wait_connections(function(list) return list[conn].closed end)
        end)

        it("within its body closes the upstream connection", function()
            local w = connect()
            local n = #up:requests()
            w:send(http.format { method = "POST", target = "/hang",
                fields = { ["Content-Length"] = "100" } } .. "abc")
            up:wait_connections(function() return up:received(#up:connections()):find("abc") end)
            w:close()
            local req = up:wait_requests(n + 1)[n + 1]
            assert.is_false(req.complete)
        end)
    end)
end)
