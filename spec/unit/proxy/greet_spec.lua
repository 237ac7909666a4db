-- SPDX-License-Identifier: MIT
--
-- PROXY headers on the connections of a proxy, both its ends played here.

local inproc = require("spec.support.inproc")

local C, c = inproc.C, inproc.c

local GET = "GET /x HTTP/1.1\r\nHost: a\r\n\r\n"
local OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
local V1 = "PROXY TCP4 192.0.2.7 198.51.100.1 5555 443\r\n"
local V2 = "\r\n\r\n\0\r\nQUIT\n\33\17\0\12\192\0\2\7\198\51\100\1\21\179\1\187"
local V2_LOCAL = "\r\n\r\n\0\r\nQUIT\n\32\0\0\0"

describe("connections with a PROXY header", function()
    local p

    after_each(function() p:close() end)

    local function open(opt)
        opt = opt or {}
        opt.trust = opt.trust or "127.0.0.0/8"
        opt.site = function(s)
            assert.equal(0, C.rp_conf_set_listener(s.conf, 0, c.str("proxy_protocol"), 1))
        end
        p = inproc.open(opt)
    end

    -- What the upstream hears of the client, after `header` on a fresh connection.
    local function forwarded(header, request)
        local client = p:client()
        client:send(header .. (request or GET))
        local up = p:accept()
        local head = up:head()
        up:send((OK:gsub("\r\n\r\n", "\r\nConnection: close\r\n\r\n")))
        client:recv_until("ok")
        up:close()
        client:close()
        return head:match("X%-Forwarded%-For: ([^\r]*)")
    end

    it("take the client from version 1 and 2", function()
        open()
        assert.equal("192.0.2.7", forwarded(V1))
        assert.equal("192.0.2.7", forwarded(V2))
    end)

    it("keep their own ends when the proxy says nothing", function()
        open()
        assert.equal("127.0.0.1", forwarded(V2_LOCAL))
        assert.equal("127.0.0.1", forwarded("PROXY UNKNOWN\r\n"))
    end)

    it("are trusted no further: the client's own forwarding headers are dropped", function()
        open()
        assert.equal("192.0.2.7", forwarded(V1,
            "GET /x HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n"))
    end)

    it("carry many requests, all of that client", function()
        open()
        local client = p:client()
        client:send(V1 .. GET)
        local up = p:accept()
        for _ = 1, 3 do
            assert.matches("X%-Forwarded%-For: 192%.0%.2%.7\r", up:head())
            up:send(OK)
            client:recv_until("ok")
            client:send(GET)
        end
        up:head()
    end)

    it("may come in single bytes", function()
        open()
        for _, header in ipairs { V1, V2 } do
            local client = p:client()
            for i = 1, #header do
                client:send(header:sub(i, i))
                p.env:spin(0.001)
            end
            client:send(GET)
            local up = p:accept()
            assert.matches("X%-Forwarded%-For: 192%.0%.2%.7\r", up:head())
            up:close()
            client:recv_until("502")
        end
    end)

    it("do not wake the loop while the rest is awaited", function()
        open()
        local client = p:client()
        client:send(V1:sub(1, 10))
        p.env:spin(0.02)
        local before = os.clock()
        p.env:spin(0.3)
        assert.is_true(os.clock() - before < 0.15)
    end)

    it("are closed without a word when there is no header", function()
        open()
        for _, bytes in ipairs { GET, "PROXY TCP4 1.2.3.4\r\n" .. GET, "\r\n\r\n" .. GET,
            V2:sub(1, 12) .. "\255\255\255\255" } do
            local client = p:client()
            client:send(bytes)
            assert.equal("", (client:recv_all()))
        end
        assert.equal(4, tonumber(p.raw.stats.conns_refused))
        assert.is_nil(p:accepted())
    end)

    it("are closed when it does not come in time", function()
        open { numbers = { ["timeouts.head_ms"] = 50 } }
        local client = p:client()
        client:send("PROXY TCP4 ")
        assert.equal("", (client:recv_all()))
    end)

    it("come from trusted networks only", function()
        open { trust = "10.0.0.0/8" }
        local client = p:client()
        client:send(V1 .. GET)
        assert.equal("", (client:recv_all()))
        assert.is_nil(p:accepted())
    end)

    it("count for the client that the header names", function()
        open { numbers = { ["limits.connections_per_ip"] = 1 } }
        local client = p:client()
        client:send(V1 .. GET)
        local up = p:accept()
        up:head()
        local second = p:client()
        second:send(V1 .. GET)
        assert.matches("^HTTP/1.1 503 ", (second:recv_all()))
        assert.equal("192.0.2.8", forwarded((V1:gsub("2%.7", "2.8"))))
    end)

    it("end quietly when the client leaves first", function()
        open()
        for _, bytes in ipairs { "", "PROXY", V2:sub(1, 20) } do
            local client = p:client()
            client:send(bytes)
            p.env:spin(0.01)
            client:finish()
            assert.equal("", (client:recv_all()))
        end
        assert.equal(0, tonumber(p.raw.stats.conns_refused))
    end)

    it("that wait are closed by a drain", function()
        open()
        local client = p:client()
        client:send("PROXY ")
        p.env:spin(0.02)
        C.rp_proxy_drain(p.raw, nil, nil)
        assert.equal("", (client:recv_all()))
    end)
end)

describe("upstream connections with a PROXY header", function()
    local p

    after_each(function() p:close() end)

    local function client_port(client)
        local net = inproc.net
        local sa, n = net.ffi.new("uint8_t[128]"), net.ffi.new("unsigned[1]", 128)
        assert(net.sys.getsockname(client.fd, sa, n) == 0)
        return sa[2] * 256 + sa[3]
    end

    it("begin with one line, then the request", function()
        p = inproc.open { up = { proxy_protocol = 1 } }
        local client = p:client()
        client:send(GET)
        local up = p:accept()
        assert.equal(("PROXY TCP4 127.0.0.1 127.0.0.1 %d %d\r\n"):format(client_port(client), p.port),
            up:recv_until("\r\n"))
        assert.matches("^GET /x HTTP/1.1\r\n", up:head())
        up:send(OK)
        client:recv_until("ok")
    end)

    it("are not kept: each request has its own", function()
        p = inproc.open { up = { proxy_protocol = 2 } }
        local client = p:client()
        for _ = 1, 3 do
            client:send(GET)
            local up = p:accept()
            assert.equal("\r\n\r\n\0\r\nQUIT\n\33\17\0\12\127\0\0\1\127\0\0\1",
                up:recv_until("\127\0\0\1\127\0\0\1"))
            assert.matches("^....GET /x HTTP/1.1\r\n", up:head())
            up:send(OK)
            client:recv_until("ok")
            assert.equal("", (up:recv_all()))
        end
        assert.equal(0, tonumber(p.raw.stats.up_reuses))
    end)

    it("name the client that a trusted proxy names", function()
        p = inproc.open { up = { proxy_protocol = 1 }, trust = "127.0.0.0/8" }
        local client = p:client()
        client:send("GET /x HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 2001:db8::9\r\n\r\n")
        local up = p:accept()
        assert.equal(("PROXY TCP6 2001:db8::9 ::ffff:127.0.0.1 0 %d\r\n"):format(p.port),
            up:recv_until("\r\n"))
    end)

    it("begin with it again on another try", function()
        p = inproc.open { up = { proxy_protocol = 1 }, peers = { "127.0.0.1:1", "self" } }
        for _ = 1, 2 do
            local client = p:client()
            client:send(GET)
            local up = p:accept()
            assert.matches("^PROXY TCP4 ", up:recv_until("\r\n"))
            assert.matches("^GET ", up:head())
            up:send(OK)
            client:recv_until("ok")
        end
    end)
end)
