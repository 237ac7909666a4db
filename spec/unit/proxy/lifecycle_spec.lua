-- SPDX-License-Identifier: MIT
--
-- lifecycle: whole requests through the floor, both ends played here: what must hold at each step.

local inproc = require("spec.support.inproc")

local C, ffi, c = inproc.C, inproc.ffi, inproc.c

local GET = "GET /x HTTP/1.1\r\nHost: a\r\n\r\n"
local OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
local WS = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
local SWITCH = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n"
    .. "Upgrade: websocket\r\n\r\n"

describe("the request life", function()
    local p

    local function open(opt) p = inproc.open(opt) end
    after_each(function() p:close() end)

    local function status(head) return tonumber(head:match("^HTTP/1%.1 (%d+)")) end

    it("relays a request and its response, and keeps both connections", function()
        open()
        local client = p:client()
        client:send(GET)
        local up = p:accept()
        assert.matches("^GET /x HTTP/1.1\r\nHost: a\r\n", up:head())
        up:send(OK)
        assert.equal(200, status(client:head()))
        assert.equal("ok", client:recv_until("ok"))
        local head, body = p:round(client, up, GET, OK, 2)
        assert.equal(200, status(head))
        assert.equal("ok", body)
        assert.is_nil(p:accepted())
        assert.equal(1, tonumber(p.raw.stats.up_reuses))
        assert.equal(2, tonumber(p.raw.stats.by_class[2]))
    end)

    it("chooses the route by the normal form of the path", function()
        open { site = function(s, host) s:route(host, "/admin/*", { id = "ours" }) end }
        local client = p:client()
        for _, path in ipairs { "/admin/", "/%61dmin/", "//admin/", "/x/../admin/", "/./admin/" } do
            client:send("GET " .. path .. " HTTP/1.1\r\nHost: a\r\n\r\n")
            local head = client:head()
            assert.equal(200, status(head), path)
            assert.is_nil(p:accepted(0.005), path)
        end
        client:send("GET /../admin HTTP/1.1\r\nHost: a\r\n\r\n")
        assert.equal(400, status(client:head()))
    end)

    it("does not read on from an upstream whose client is slow", function()
        open()
        local client = p:client()
        client:send(GET)
        local up = p:accept()
        up:head()
        up:send("HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
        local block, pushed = ("x"):rep(1000000), 0
        for _ = 1, 200 do
            pushed = pushed + up:push(block)
            C.rp_loop_turn(p.env.loop, 1)
        end
        assert.is_true(pushed < 30000000, "taken: " .. pushed)
        assert.is_true(tonumber(p.env.mem.live_bytes) < 500000)
        client:recv_some()
        client:reset()
        p:idle()
    end)

    it("does not read on from a client whose upstream is slow", function()
        open { numbers = { ["limits.body_bytes"] = 1e9 } }
        local client = p:client()
        client:send("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n")
        p:accept()
        local block, pushed = ("x"):rep(1000000), 0
        for _ = 1, 200 do
            pushed = pushed + client:push(block)
            C.rp_loop_turn(p.env.loop, 1)
        end
        assert.is_true(pushed < 30000000, "taken: " .. pushed)
        assert.is_true(tonumber(p.env.mem.live_bytes) < 500000)
    end)

    it("ends a response that broke off so that nobody takes it for whole", function()
        open()
        local rows = {
            { "1.1", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", "closed" },
            { "1.1", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc", "closed" },
            { "1.0", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc", "reset" },
        }
        for i, row in ipairs(rows) do
            local client = p:client()
            client:send(GET:gsub("1%.1", row[1]))
            local up = p:accept()
            up:head()
            up:send(row[2])
            client:recv_until("abc")
            up:close()
            local rest, how = client:recv_all()
            assert.equal(row[3], how, "row " .. i)
            assert.is_nil(rest:find("0\r\n\r\n", 1, true))
        end
    end)

    it("answers for an upstream that does not", function()
        open { up = { first_byte_ms = 50 } }
        local rows = { { "", 502 }, { "HTTP/1.1 200 OK\r\nX", 502 }, { "nonsense\r\n\r\n", 502 },
            { "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 502 },
            { "HTTP/1.1 101 S\r\nUpgrade: websocket\r\n\r\n", 502 }, { false, 504 } }
        local client = p:client()
        for i, row in ipairs(rows) do
            client:send(GET)
            local up = p:accept()
            up:head()
            if row[1] then
                up:send(row[1])
                up:close()
            end
            assert.equal(row[2], status(client:head()), "row " .. i)
            client:recv_until("</html>\n")
        end
    end)

    it("passes interim responses on, but not without end", function()
        open()
        local client = p:client()
        client:send(GET)
        local up = p:accept()
        up:head()
        up:send(("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"):rep(2) .. OK)
        for _, want in ipairs { 103, 103, 200 } do assert.equal(want, status(client:head())) end
        client:recv_until("ok")
        client:send(GET)
        up:head()
        up:send(("HTTP/1.1 102 Processing\r\n\r\n"):rep(100) .. OK)
        local n, last = 0
        repeat
            last = status(client:head())
            n = n + 1
        until last ~= 102
        assert.equal(502, last)
        assert.equal(33, n)
    end)

    it("relays trailers both ways to those that take them", function()
        open()
        local client = p:client()
        client:send("POST /x HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE\r\n"
            .. "Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-In: 1\r\n\r\n")
        local up = p:accept()
        assert.matches("TE: trailers", up:head())
        assert.equal("2\r\nhi\r\n0\r\nX-In: 1\r\n\r\n", up:recv_until("X-In: 1\r\n\r\n"))
        local chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            .. "2\r\nok\r\n0\r\nX-Out: 2\r\n\r\n"
        up:send(chunked)
        client:head()
        assert.equal("2\r\nok\r\n0\r\nX-Out: 2\r\n\r\n", client:recv_until("X-Out: 2\r\n\r\n"))
        client:send(GET)
        up:head()
        up:send(chunked)
        client:head()
        assert.equal("2\r\nok\r\n0\r\n\r\n", client:recv_until("0\r\n\r\n"))
    end)

    it("repeats a GET on a stale connection and nothing else", function()
        open()
        local client = p:client()
        client:send(GET)
        local up = p:accept()
        up:head()
        up:send(OK)
        client:recv_until("ok")
        client:send(GET)
        up:head()
        up:reset()
        up = p:accept()
        up:head()
        up:send(OK)
        client:recv_until("ok")
        client:send("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
        up:head()
        up:reset()
        assert.equal(502, status(client:head()))
        assert.is_nil(p:accepted())
    end)

    it("does not send a POST on a connection that has just ended", function()
        open()
        local client = p:client()
        client:send(GET)
        local up = p:accept()
        up:head()
        up:send(OK)
        client:recv_until("ok")
        p:idle()
        client:send("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi")
        up:close() -- both pieces of news reach the proxy in one tick
        up = p:accept()
        assert.matches("^POST", up:head())
        assert.equal("hi", up:recv_until("hi"))
        up:send(OK)
        client:recv_until("ok")
    end)

    it("does not let bytes behind a response answer the next request", function()
        open()
        local client = p:client()
        for _ = 1, 3 do
            client:send(GET)
            local up = p:accept()
            up:head()
            up:send(OK .. "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
            client:head()
            assert.equal("ok", client:recv_until("ok"))
        end
    end)

    it("relays an early answer while the body still comes", function()
        open()
        local client = p:client()
        client:send("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nsome")
        local up = p:accept()
        up:recv_until("some")
        up:send("HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 3\r\n\r\nbig")
        up:close()
        assert.equal(413, status(client:head()))
        local rest, how = client:recv_all()
        assert.equal("big", rest)
        assert.equal("closed", how)
    end)

    it("asks the client for its body when the upstream does", function()
        open()
        local client = p:client()
        client:send("POST /x HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n"
            .. "Content-Length: 4\r\n\r\n")
        local up = p:accept()
        assert.matches("Expect: 100%-continue", up:head())
        assert.equal("", client:recv_some())
        up:send("HTTP/1.1 100 Continue\r\n\r\n")
        assert.equal(100, status(client:head()))
        client:send("body")
        up:recv_until("body")
        up:send(OK)
        client:recv_until("ok")
    end)

    it("ends with the client, wherever it is", function()
        open()
        for _, how in ipairs { "reset", "close", "finish" } do
            for _, request in ipairs { "GET / HT", GET, "POST /x HTTP/1.1\r\nHost: a\r\n"
                .. "Content-Length: 9\r\n\r\nab" } do
                local client = p:client()
                client:send(request)
                if #request > 10 then p:accept():head() end
                client[how](client)
                p:idle()
                p:until_true(function() return p.raw.sessions.n == 0 end, how .. " " .. request)
                assert.equal(0, tonumber(p.env.mem.live_bytes))
            end
        end
    end)

    it("answers pipelined requests in order, also when a FIN is behind them", function()
        open { site = function(s, host) s:route(host, "/ours", {}) end }
        local client = p:client()
        client:send(("GET /ours HTTP/1.1\r\nHost: a\r\n\r\n"):rep(20))
        client:finish()
        local all, how = client:recv_all()
        assert.equal(20, select(2, all:gsub("HTTP/1.1 200 OK", "")))
        assert.equal("closed", how)
    end)

    describe("tunnels", function()
        it("carry bytes and half closes both ways", function()
            open()
            local client = p:client()
            client:send(WS .. "early")
            local up = p:accept()
            up:head()
            up:send(SWITCH .. "first")
            assert.equal(101, status(client:head()))
            client:recv_until("first")
            up:recv_until("early")
            client:finish()
            local rest, how = up:recv_all()
            assert.same({ "", "closed" }, { rest, how })
            up:send("last words")
            client:recv_until("last words")
            up:close()
            assert.equal("closed", select(2, client:recv_all()))
            p:idle()
        end)

        it("let go of their generation", function()
            open()
            local client = p:client()
            client:send(WS)
            local up = p:accept()
            up:head()
            p:flip() -- before the switch
            up:send(SWITCH)
            client:head()
            assert.is_true(p.raw.live.conf == p.conf)
            for _ = 1, 5 do
                p:flip()
                assert.is_true(p.raw.live.conf == p.conf)
                assert.equal(2, p.conf.refs)
                client:send("ping")
                up:recv_until("ping")
            end
            assert.is_true(p.raw.groups ~= nil)
        end)
    end)

    it("takes new generations while requests of old ones run", function()
        open()
        local old, client = p.conf, p:client()
        client:send(GET)
        local up = p:accept()
        up:head()
        p:flip()
        assert.is_true(p.raw.live.conf == old)
        up:send(OK)
        client:recv_until("ok")
        local head = p:round(client, up, GET, OK, 2) -- the connection is still warm
        assert.equal(200, status(head))
        assert.equal(1, p.conf.refs)
    end)

    it("drains: what runs is answered, idle connections close, the worker hears of it", function()
        open()
        local idle, client = p:client(), p:client()
        client:send(GET)
        local up = p:accept()
        up:head()
        local told = 0
        local done = p.env:callback("void (*)(void *)", function() told = told + 1 end)
        C.rp_proxy_drain(p.raw, done, nil)
        assert.equal("closed", select(2, idle:recv_all()))
        assert.equal(0, told)
        up:send(OK)
        assert.matches("\r\nConnection: close\r\n", client:recv_all())
        assert.equal(1, told)
    end)

    it("names each live request in a dump", function()
        open()
        local client = p:client()
        client:send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
        p:accept():head()
        local buf = ffi.new("struct rp_buf")
        C.rp_buf_init(buf, 10000)
        C.rp_proxy_dump(p.raw, buf)
        local text = c.lua(C.rp_buf_str(buf))
        C.rp_buf_fini(buf)
        assert.matches('step=AWAIT waiting_for="upstream response head" .* client=127.0.0.1 '
            .. 'target="/slow"\n$', text)
    end)

    it("shows heads of HTTP/2 that are still coming, with their age, and the connections", function()
        open()
        local client = p:client()
        -- Preface, SETTINGS, HEADERS of stream 1 without END_HEADERS: ":method GET" and no more.
        client:send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" .. "\0\0\0\4\0\0\0\0\0"
            .. "\0\0\1\1\1\0\0\0\1\130")
        local text
        p.env:until_true(function()
            local buf = ffi.new("struct rp_buf")
            C.rp_buf_init(buf, 10000)
            C.rp_proxy_dump(p.raw, buf)
            text = c.lua(C.rp_buf_str(buf)) or ""
            C.rp_buf_fini(buf)
            return text:find("stream=1", 1, true)
        end)
        local age = text:match('step=HEAD waiting_for="request head" age_ms=(%d+) conn=%d+ stream=1 '
            .. 'client=127.0.0.1 target=""\n')
        assert.is_true(tonumber(age) < 60000)
        assert.matches("\nh2 conn=%d+ client=127.0.0.1 requests=1 streams=1 ", text)
    end)
end)
