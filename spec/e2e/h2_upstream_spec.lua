-- SPDX-License-Identifier: MIT
--
-- HTTP/2 to upstreams: shared connections, bodies and trailers, and every way a stream can end.

local e2e = require("spec.support.e2e")
local h2 = require("spec.support.h2")
local http = require("spec.support.http")
local origin = require("spec.support.origin")
local posix = require("spec.support.posix")
local wire = require("spec.support.wire")

local MB = 1024 * 1024
local SWITCH = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n" ..
    "Connection: Upgrade\r\n\r\n"

describe("HTTP/2 to an upstream", function()
    local up, back, played, rp

    setup(function()
        up = origin.start {
            ["/hi"] = { status = 200, body = "hi" },
            ["/big"] = { status = 200, body = ("b"):rep(4 * MB) },
            ["/chunked"] = { status = 200, body = ("c"):rep(MB), chunked = true },
            ["/empty"] = { status = 204 },
            ["/cut"] = { { send = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf" },
                { close = true } },
            ["/ws"] = { { send = SWITCH }, { echo = true } },
            ["*"] = { status = 200, body = "other" },
        }
        played = e2e.listen()
        -- A second proxy speaks HTTP/2 with the first and HTTP/1.1 with the origin.
        back = e2e.proxy { vars = { origin = up.port }, site = [[
            upstreams = { o = rp.upstream { peers = { "127.0.0.1:${origin}" } } },
            hosts = { rp.host { default = true, routes = { rp.route { "/*", upstream = "o" } } } },
        ]] }
        rp = e2e.proxy { vars = { back = back.port, played = played.port }, site = [[
            log = { access = { to = "${dir}/access.log", format = "json", buffer = 0,
                fields = { "path", "status", "reason" } } },
            upstreams = {
                back = rp.upstream { peers = { "127.0.0.1:${back}" }, http = "2" },
                played = rp.upstream { peers = { "127.0.0.1:${played}" }, http = "2", streams = 3,
                    timeouts = { first_byte = 2 } },
                none = rp.upstream { peers = { "127.0.0.1:${played}" }, http = "2" },
            },
            hosts = { rp.host { default = true, routes = {
                rp.route { "/played/*", upstream = "played" },
                rp.route { "/none/*", upstream = "none" },
                rp.route { "/*", upstream = "back" } } } },
        ]] }
    end)

    teardown(function()
        played:close()
        back:stop()
        e2e.stop(rp)
    end)
    after_each(wire.close_all)

    it("carries requests and responses of every framing", function()
        local res = http.get(rp.port, "/hi?a=b", { Cookie = "a=1; b=2", ["X-Mixed"] = "Yes" })
        assert.equal(200, res.status)
        assert.equal("hi", res.body)
        local req = e2e.last(up)
        assert.equal("/hi?a=b", req.target)
        assert.equal("Yes", e2e.field(req, "x-mixed"))
        assert.equal("a=1; b=2", e2e.field(req, "cookie"))
        assert.equal(1, #e2e.values(req.fields, "host"))
        assert.equal(4 * MB, #http.get(rp.port, "/big").body)
        assert.equal(MB, #http.get(rp.port, "/chunked").body)
        assert.equal(204, http.get(rp.port, "/empty").status)
        local head = http.get(rp.port, { method = "HEAD", target = "/hi" })
        assert.same({ "2" }, e2e.values(head.fields, "content-length"))
    end)

    it("carries request bodies with and without a length", function()
        local body = ("u"):rep(3 * MB)
        assert.equal(200, http.get(rp.port, { method = "PUT", target = "/put", body = body }).status)
        assert.equal(origin.sum(body), e2e.last(up).body_sum)
        assert.equal("length", e2e.last(up).framing)
        local w = wire.connect(rp.port)
        w:send("POST /chunky HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
            .. "5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n")
        assert.equal(200, http.read(w).status)
        assert.equal("hello", e2e.last(up).body)
        assert.same({ { "x-sum", "1" } }, e2e.last(up).trailers)
    end)

    it("is HTTP/2 from end to end", function()
        local c = h2.connect(rp.port)
        local ids = {}
        for i = 1, 50 do ids[i] = c:request { path = "/hi" } end
        for i = 1, 50 do assert.equal("hi", c:response(ids[i]).body) end
        assert.equal(4 * MB, #c:get("/big").body)
        local res = c:response(c:request { method = "POST", path = "/post", body = ("p"):rep(MB) })
        assert.equal(200, res.status)
        assert.equal(MB, e2e.last(up).body_len)
    end)

    it("passes a response on that breaks off as one that breaks off", function()
        local w = wire.connect(rp.port)
        w:send("GET /cut HTTP/1.1\r\nHost: a\r\n\r\n")
        local bytes = w:recv_all()
        assert.truthy(bytes:find("Content-Length: 9", 1, true))
        assert.equal("half", bytes:sub(-4))
    end)

    it("carries a WebSocket to the other proxy and its HTTP/1.1 upstream", function()
        local w = wire.connect(rp.port)
        local res = http.request(w, { target = "/ws", fields = { Upgrade = "websocket",
            Connection = "Upgrade", ["Sec-WebSocket-Key"] = "dGhlIHNhbXBsZSBub25jZQ==",
            ["Sec-WebSocket-Version"] = "13" } })
        assert.equal(101, res.status)
        w:send("echo")
        assert.equal("echo", w:recv(4))
    end)

    -- ------------------------------------------------------------ an upstream played by the spec

    local function ask(target, more)
        local w = wire.connect(rp.port)
        w:send(("%s /played/%s HTTP/1.1\r\nHost: a\r\n%s\r\n"):format(
            more and more.method or "GET", target, more and more.fields or ""))
        return w
    end

    local function server(opt)
        local s = h2.accept(played:accept(), opt)
        return s
    end

    local function last_reason(target)
        return posix.poll(function()
            local log = posix.read_file(rp.dir .. "/access.log") or ""
            local line = log:match('[^\n]*"/played/' .. target .. '"[^\n]*')
            return line and (line:match('"reason":"([^"]*)"') or "none")
        end)
    end

    it("is 503 at once from an upstream that allows no streams, until it does", function()
        local function ask_none()
            local w = wire.connect(rp.port)
            w:send("GET /none/x HTTP/1.1\r\nHost: a\r\n\r\n")
            return w
        end
        local w = ask_none()
        local s = server { settings = { { 3, 0 } } } -- SETTINGS_MAX_CONCURRENT_STREAMS
        local req = s:next_request(true) -- it was sent before that came
        s:send(h2.RST_STREAM, 0, req.id, h2.u32(h2.REFUSED_STREAM))
        assert.equal(503, http.read(w).status)
        for _ = 1, 5 do assert.equal(503, http.read(ask_none()).status) end -- by no new connection
        assert.is_truthy(posix.read_file(rp.dir .. "/access.log"):find(
            '"path":"/none/x","status":503,"reason":"upstream_no_streams"', 1, true))
        s:send(h2.SETTINGS, 0, 0, h2.settings { { 3, 10 } })
        s:send(h2.PING, 0, 0, "settings")
        s:wait(function() return s.pong == "settings" end)
        local late = ask_none()
        s:respond(s:next_request().id, { status = 200, body = "now" })
        assert.equal("now", http.read(late).body)
    end)

    it("shares a connection among requests, and makes another when it is full", function()
        local a = { ask("a1"), ask("a2"), ask("a3"), ask("a4") }
        local s1 = server()
        local r1, r2, r3 = s1:next_request(), s1:next_request(), s1:next_request()
        local s2 = server()
        local r4 = s2:next_request()
        s1:respond(r1.id, { body = "1" })
        s1:respond(r2.id, { body = "2" })
        s1:respond(r3.id, { body = "3" })
        s2:respond(r4.id, { body = "4" })
        local bodies = {}
        for i = 1, 4 do bodies[i] = http.read(a[i]).body end
        table.sort(bodies)
        assert.same({ "1", "2", "3", "4" }, bodies)
        s1:send(h2.GOAWAY, 0, 0, h2.u32(r3.id) .. h2.u32(0))
        s2:send(h2.GOAWAY, 0, 0, h2.u32(r4.id) .. h2.u32(0))
        assert.is_true(s1:is_closed() and s2:is_closed()) -- idle, and asked to go
    end)

    it("respects fewer streams than the site allows", function()
        local w1 = ask("b1")
        local s = server { settings = { { 3, 1 } } }
        s:respond(s:next_request().id, { body = "1" })
        assert.equal("1", http.read(w1).body)
        w1 = ask("b2")
        local r = s:next_request()
        local w2 = ask("b3")
        local s2 = server()
        local r2 = s2:next_request()
        s2:respond(r2.id, { body = "3" })
        s:respond(r.id, { body = "2" })
        assert.equal("2", http.read(w1).body)
        assert.equal("3", http.read(w2).body)
        s:close()
        s2:close()
    end)

    it("passes interim responses, fields and trailers on", function()
        local w = ask("c", { fields = "TE: trailers\r\nConnection: te\r\n" })
        local s = server()
        local r = s:next_request()
        assert.equal("trailers", r.head.te)
        s:send(h2.HEADERS, h2.END_HEADERS, r.id, h2.block { { ":status", "103" }, { "link", "</x>" } })
        s:respond(r.id, { body = "data", fields = { { "x-a", "1" }, { "x-a", "2" } },
            trailers = { { "grpc-status", "0" } } })
        assert.equal(103, http.read(w, { until_final = false }).status)
        local res = http.read(w)
        assert.same({ "1", "2" }, e2e.values(res.fields, "x-a"))
        assert.same({ { "grpc-status", "0" } }, res.trailers)
        s:close()
    end)

    it("sends a request again that was refused unprocessed, whatever it is", function()
        local w = ask("d", { method = "POST" })
        local s = server()
        local r = s:next_request()
        s:send(h2.RST_STREAM, 0, r.id, h2.u32(h2.REFUSED_STREAM))
        local again = s:next_request()
        assert.equal("POST", again.head[":method"])
        s:respond(again.id, { body = "second" })
        assert.equal("second", http.read(w).body)
        w = ask("e", { method = "POST" })
        s:next_request()
        s:send(h2.GOAWAY, 0, 0, h2.u32(0) .. h2.u32(0)) -- nothing of it was processed
        local s2 = server()
        s2:respond(s2:next_request().id, { body = "third" })
        assert.equal("third", http.read(w).body)
        s:close()
        s2:close()
    end)

    it("answers 502 when a stream is reset before its response", function()
        local w = ask("f")
        local s = server()
        s:send(h2.RST_STREAM, 0, s:next_request().id, h2.u32(h2.INTERNAL_ERROR))
        assert.equal(502, http.read(w).status)
        assert.equal("upstream_closed", last_reason("f"))
        s:close()
    end)

    it("answers 502 to a connection that ends, and to garbage", function()
        for name, act in pairs {
            g1 = function(s) s:close() end,
            g2 = function(s) s.wire:send("HTTP/1.1 400 Bad Request\r\n\r\n") end,
            g3 = function(s) s:send(h2.DATA, 0, 0, "x") end,
        } do
            local w = ask(name, { method = "POST" })
            local s = server()
            s:next_request()
            act(s)
            assert.equal(502, http.read(w).status, name)
            s:close()
        end
    end)

    it("answers 502 to responses that are none", function()
        for name, fields in pairs {
            h1 = { { ":status", "abc" } }, h2 = { { "x-no", "status" } },
            h3 = { { ":status", "200" }, { "connection", "close" } },
            h4 = { { ":status", "200" }, { "Upper", "x" } },
        } do
            local w = ask(name)
            local s = server()
            local r = s:next_request()
            s:send(h2.HEADERS, h2.END_HEADERS + h2.END_STREAM, r.id, h2.block(fields))
            assert.equal(502, http.read(w).status, name)
            s:close()
        end
    end)

    it("cuts a response whose stream is reset", function()
        local w = ask("i")
        local s = server()
        local r = s:next_request()
        s:respond(r.id, { body = "some", open = true })
        assert.truthy(w:recv_until("some"))
        s:send(h2.RST_STREAM, 0, r.id, h2.u32(h2.INTERNAL_ERROR))
        local rest = w:recv_all()
        assert.is_nil(rest:find("0\r\n\r\n", 1, true))
        assert.equal("upstream_truncated", last_reason("i"))
        s:close()
    end)

    it("cancels the stream of a client that goes, and only that", function()
        local w = ask("j1")
        local s = server()
        local r = s:next_request()
        local w2 = ask("j2")
        local r2 = s:next_request()
        w:close()
        s:wait(function() return r.reset end)
        assert.equal(h2.CANCEL, r.reset)
        s:respond(r2.id, { body = "mine" })
        assert.equal("mine", http.read(w2).body)
        s:close()
    end)

    it("answers 504 when no response comes, and keeps the connection", function()
        local w = ask("k")
        local s = server()
        local r = s:next_request()
        assert.equal(504, http.read(w).status)
        s:wait(function() return r.reset end)
        w = ask("k2")
        s:respond(s:next_request().id, { body = "after" })
        assert.equal("after", http.read(w).body)
        s:close()
    end)

    it("sends no more than the upstream's windows take", function()
        local w = wire.connect(rp.port)
        w:send(("POST /played/l HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"):format(200000))
        local s = server { windows = false, settings = { { 4, 1000 } } }
        local r = s:next_request(true)
        w:send(("x"):rep(200000))
        s:wait(function() return #table.concat(r.pieces or {}) >= 1000 end)
        s:send(h2.PING, 0, 0, "12345678")
        s:wait(function() return s.pong end)
        assert.equal(1000, #table.concat(r.pieces))
        s:send(h2.WINDOW_UPDATE, 0, 0, h2.u32(1000000))
        s:send(h2.WINDOW_UPDATE, 0, r.id, h2.u32(199000))
        s:wait(function() return r.ended end)
        assert.equal(200000, #table.concat(r.pieces))
        s:respond(r.id, { body = "ok" })
        assert.equal("ok", http.read(w).body)
        s:close()
    end)

    it("leaves a connection alone that was silent for a request, until it speaks", function()
        local w = ask("m1")
        local s = server()
        s:next_request()
        assert.equal(504, http.read(w).status) -- and s reads nothing more: a host that is gone
        w = ask("m2")
        local s2 = server()
        s2:respond(s2:next_request().id, { body = "2" })
        assert.equal("2", http.read(w).body)
        s:close()
        s2:close()
    end)

    it("waits for the first SETTINGS before others share a new connection", function()
        local w1, w2 = ask("n1"), ask("n2")
        local s = server { settings = { { 3, 1 } } }
        local s2 = server { settings = { { 3, 1 } } } -- not queued behind the limit of the first
        s:respond(s:next_request().id, { body = "n" })
        s2:respond(s2:next_request().id, { body = "n" })
        assert.equal("n", http.read(w1).body)
        assert.equal("n", http.read(w2).body)
        s:close()
        s2:close()
    end)

    it("does not ask again when a stream of a used connection is reset", function()
        local w = ask("o1")
        local s = server()
        s:respond(s:next_request().id, { body = "1" })
        assert.equal("1", http.read(w).body)
        w = ask("o2")
        s:send(h2.RST_STREAM, 0, s:next_request().id, h2.u32(h2.INTERNAL_ERROR))
        assert.equal(502, http.read(w).status)
        s:close()
    end)

    it("takes the end of an idle connection for no failure of a POST", function()
        local w = ask("p1")
        local s = server()
        s:respond(s:next_request().id, { body = "1" })
        assert.equal("1", http.read(w).body)
        s:send(h2.GOAWAY, 0, 0, h2.u32(1) .. h2.u32(0))
        s:close()
        w = ask("p2", { method = "POST" })
        s = server()
        s:respond(s:next_request().id, { body = "2" })
        assert.equal("2", http.read(w).body)
        s:close()
    end)

    it("cuts a response whose trailers cannot be read", function()
        local w = ask("q")
        local s = server()
        local many = {}
        for i = 1, 400 do many[i] = { "x-" .. i, "v" } end
        s:respond(s:next_request().id, { body = "some", trailers = many })
        assert.is_nil(w:recv_all():find("0\r\n\r\n", 1, true))
        assert.equal("upstream_bad_response", last_reason("q"))
        s:close()
    end)

    it("takes a whole response before the request's end, and NO_ERROR behind it", function()
        local w = ask("r", { method = "POST", fields = "Content-Length: 9\r\n" })
        w:send("part")
        local s = server()
        local r = s:next_request(true)
        s:respond(r.id, { status = 413, body = "enough" })
        s:send(h2.RST_STREAM, 0, r.id, h2.u32(h2.NO_ERROR))
        local res = http.read(w)
        assert.equal(413, res.status)
        assert.equal("enough", res.body)
        s:close()
    end)

    it("answers a trailers-only response of gRPC with an empty body", function()
        local w = ask("s", { method = "POST" })
        local s = server()
        s:respond(s:next_request().id, { fields = { { "grpc-status", "5" } } })
        local res = http.read(w)
        assert.equal("5", res:header("grpc-status"))
        assert.equal("length", res.framing)
        assert.equal("", res.body)
        s:close()
    end)

    it("survives frames that no response has", function()
        for name, act in pairs {
            t1 = function(s, id) -- DATA behind the end
                s:respond(id, { status = 204 })
                s:send(h2.DATA, h2.END_STREAM, id, "x")
            end,
            t2 = function(s, id) s:respond(id, { fields = { { "content-length", "9" } }, body = "x" }) end,
            t3 = function(s, id)
                s:send(h2.PUSH_PROMISE, h2.END_HEADERS, id, h2.u32(2) .. h2.block { { ":path", "/" } })
            end,
            t4 = function(s, id) s:send(h2.WINDOW_UPDATE, 0, id, h2.u32(0x7fffffff)) end,
            t5 = function(s, id) s:send(h2.WINDOW_UPDATE, 0, 0, h2.u32(0x7fffffff)) end,
            t6 = function(s, id)
                s:respond(id, { open = true })
                s:send(h2.HEADERS, h2.END_HEADERS + h2.END_STREAM, id,
                    h2.block { { ":status", "200" } })
            end,
            t7 = function(s, id)
                for _ = 1, 40 do
                    s:send(h2.HEADERS, h2.END_HEADERS, id, h2.block { { ":status", "103" } })
                end
            end,
            t8 = function(s, id)
                s:respond(id, { fields = { { "x-big", ("x"):rep(16000) } }, open = true })
                for _ = 1, 40 do s:send(h2.CONTINUATION, 0, id, ("x"):rep(16000)) end
            end,
            t9 = function(s) s:send(h2.SETTINGS, 0, 0, h2.settings { { 4, 0x80000000 } }) end,
        } do
            local w = ask(name, { method = "POST", fields = "Connection: close\r\n" })
            local s = server()
            local r = s:next_request()
            pcall(act, s, r.id) -- the connection may end under it
            w:recv_all(10)
            s:close()
            w:close()
        end
        assert.equal("hi", http.get(rp.port, "/hi").body)
    end)
end)
