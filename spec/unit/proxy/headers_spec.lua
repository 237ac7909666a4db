-- SPDX-License-Identifier: MIT
--
-- headers: what changes in heads on their way through, seen from both ends.

local inproc = require("spec.support.inproc")

local C, c = inproc.C, inproc.c

local OK = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

describe("heads on their way through", function()
    local p, client, up

    local function open(opt)
        p = inproc.open(opt)
        client = p:client()
    end

    after_each(function()
        p:close()
        up = nil
    end)

    -- Send a request; what the upstream gets and what the client gets.
    local function pass(request, response)
        client:send(request)
        up = up or p:accept()
        local sent = up:head()
        up:send(response or OK)
        return sent, client:head()
    end

    local function get(...)
        local lines = { "GET /x HTTP/1.1", "Host: a", ... }
        return table.concat(lines, "\r\n") .. "\r\n\r\n"
    end

    -- Values of a field in a head, joined by "|".
    local function field(head, name)
        local found = {}
        for line in head:gmatch("\r\n([^\r]+)") do
            local key, value = line:match("^([^:]+): ?(.*)$")
            if key and key:lower() == name:lower() then found[#found + 1] = value end
        end
        return table.concat(found, "|")
    end

    local function add_edit(s, route, kind, response, name, value)
        assert.equal(0, C.rp_conf_add_edit(s.conf, route, C[kind], response, c.str(name),
            c.str(value), s.e))
    end

    it("lose hop-by-hop fields and those that Connection names, both ways", function()
        open()
        local sent, got = pass(get("Connection: X-One, close, te", "X-One: 1", "X-Two: 2",
            "Keep-Alive: 5", "Proxy-Connection: x", "TE: gzip", "Upgrade: h2c",
            "Proxy-Authorization: secret", "HTTP2-Settings: AAA"),
            "HTTP/1.1 200 OK\r\nConnection: X-Three\r\nX-Three: 3\r\nX-Four: 4\r\nKeep-Alive: 5\r\n"
            .. "Upgrade: h2c\r\nContent-Length: 0\r\n\r\n")
        for _, name in ipairs { "X-One", "Keep-Alive", "Proxy-Connection", "TE", "Upgrade",
            "Connection", "Proxy-Authorization", "HTTP2-Settings" } do
            assert.equal("", field(sent, name), name)
        end
        assert.equal("2", field(sent, "X-Two"))
        assert.equal("", field(got, "X-Three") .. field(got, "Keep-Alive") .. field(got, "Upgrade"))
        assert.equal("4", field(got, "X-Four"))
        assert.equal("close", field(got, "Connection"))
    end)

    it("cannot be told to lose Host, framing or what we add", function()
        open()
        local sent = pass("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n"
            .. "Connection: close, Host, Content-Length, X-Forwarded-For, Via\r\n\r\nhi")
        assert.equal("a", field(sent, "Host"))
        assert.equal("2", field(sent, "Content-Length"))
        assert.equal("127.0.0.1", field(sent, "X-Forwarded-For"))
        assert.equal("1.1 rproxy", field(sent, "Via"))
    end)

    it("carry our word about the client, not the client's", function()
        open { numbers = { ["forward.bits"] = 31 } }
        local sent = pass(get("X-Forwarded-For: 6.6.6.6", "X-Forwarded-Proto: https",
            "X-Forwarded-Host: evil", "X-Forwarded-Port: 1", "Forwarded: for=6.6.6.6"))
        assert.equal("127.0.0.1", field(sent, "X-Forwarded-For"))
        assert.equal("http", field(sent, "X-Forwarded-Proto"))
        assert.equal("a", field(sent, "X-Forwarded-Host"))
        assert.equal("80", field(sent, "X-Forwarded-Port"))
        assert.equal("for=127.0.0.1;proto=http;host=a", field(sent, "Forwarded"))
    end)

    it("drop an untrusted client's claims even when we make none", function()
        open { numbers = { ["forward.bits"] = 0 } }
        local sent = pass(get("X-Forwarded-For: 6.6.6.6", "X-Forwarded-Proto: https",
            "Forwarded: for=6"))
        assert.is_nil(sent:lower():find("forwarded", 1, true))
    end)

    it("continue the lists of a trusted client, all their lines", function()
        open { trust = "127.0.0.0/8", numbers = { ["forward.bits"] = 31 } }
        local sent = pass(get("X-Forwarded-For: 6.6.6.6", "X-Forwarded-For: 7.7.7.7",
            "X-Forwarded-Proto: https", "X-Forwarded-Host: asked", "Forwarded: for=6.6.6.6",
            "Via: 1.0 edge"))
        assert.equal("6.6.6.6, 7.7.7.7, 127.0.0.1", field(sent, "X-Forwarded-For"))
        assert.equal("https", field(sent, "X-Forwarded-Proto"))
        assert.equal("asked", field(sent, "X-Forwarded-Host"))
        assert.equal("for=6.6.6.6, for=127.0.0.1;proto=http;host=a", field(sent, "Forwarded"))
        assert.equal("1.0 edge, 1.1 rproxy", field(sent, "Via"))
    end)

    it("quote a host with a port in Forwarded", function()
        open { numbers = { ["forward.bits"] = 16 } }
        local sent = pass("GET / HTTP/1.1\r\nHost: a:81\r\n\r\n")
        assert.equal('for=127.0.0.1;proto=http;host="a:81"', field(sent, "Forwarded"))
    end)

    it("have one Host, of the target when it names one, of the peer when nobody does", function()
        open()
        assert.equal("a:81", field((pass("GET / HTTP/1.1\r\nHost: a:81\r\n\r\n")), "Host"))
        local sent = pass("GET http://b:8/p?q HTTP/1.1\r\nHost: a\r\n\r\n")
        assert.equal("b:8", field(sent, "Host"))
        assert.matches("^GET /p%?q HTTP/1.1\r\n", sent)
        sent = pass("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        assert.equal("127.0.0.1:" .. p.up_port, field(sent, "Host"))
        assert.matches("^GET / HTTP/1.1\r\n", sent)
    end)

    it("keep the path as it was sent", function()
        open()
        for _, path in ipairs { "/a%2Fb", "//a//b", "/a/./b", "/%7Ea?x=%zz", "/a?", "/x/../y" } do
            local sent = pass("GET " .. path .. " HTTP/1.1\r\nHost: a\r\n\r\n")
            assert.equal(path, sent:match("^GET (%S+) "))
        end
    end)

    it("lose the prefix that the route strips, however it was written", function()
        open { site = function(s, host, upstream)
            for _, pattern in ipairs { "/api/*", "/apix" } do
                local r = s:route(host, pattern, { upstream = upstream })
                local key, value = c.str("strip_prefix"), c.str("/api")
                assert.equal(0, C.rp_conf_set_route_text(s.conf, r, key, value))
            end
        end }
        for path, want in pairs { ["/api/a?b"] = "/a?b", ["/api/"] = "/", ["/%61pi/a"] = "/a",
            ["//api/a"] = "/a", ["/apix"] = "/apix" } do
            local sent = pass("GET " .. path .. " HTTP/1.1\r\nHost: a\r\n\r\n")
            assert.equal(want, sent:match("^GET (%S+) "), path)
        end
    end)

    it("are edited as the route says", function()
        open { site = function(s, host, upstream)
            local r = s:route(host, "/x", { upstream = upstream })
            add_edit(s, r, "RP_EDIT_SET", false, "X-A", "ours")
            add_edit(s, r, "RP_EDIT_DEL", false, "Cookie", "")
            add_edit(s, r, "RP_EDIT_SET", false, "Host", "other:1")
            add_edit(s, r, "RP_EDIT_ADD", true, "X-B", "added")
            add_edit(s, r, "RP_EDIT_DEL", true, "Server", "")
        end }
        local sent, got = pass(get("X-A: 1", "X-A: 2", "Cookie: c"),
            "HTTP/1.1 200 OK\r\nServer: s\r\nX-B: 1\r\nContent-Length: 0\r\n\r\n")
        assert.equal("ours", field(sent, "X-A"))
        assert.equal("", field(sent, "Cookie"))
        assert.equal("other:1", field(sent, "Host"))
        assert.equal("1|added", field(got, "X-B"))
        assert.equal("", field(got, "Server"))
    end)

    it("have exactly the framing that the body has", function()
        open()
        local rows = {
            { "POST", "Content-Length: 2", "hi", "2", "" },
            { "POST", "Content-Length: 0", "", "0", "" },
            { "POST", "Transfer-Encoding: chunked", "0\r\n\r\n", "", "chunked" },
            { "GET", "X-A: b", "", "", "" },
        }
        for _, row in ipairs(rows) do
            client:send(row[1] .. " /x HTTP/1.1\r\nHost: a\r\n" .. row[2] .. "\r\n\r\n" .. row[3])
            up = up or p:accept()
            local sent = up:head()
            assert.equal(row[4], field(sent, "Content-Length"))
            assert.equal(row[5], field(sent, "Transfer-Encoding"))
            if row[3] ~= "" then up:recv_until(row[3]) end
            up:send(OK)
            client:head()
        end
    end)

    it("describe bodies that are not sent: HEAD, 204, 304", function()
        open()
        local _, got = pass("HEAD /x HTTP/1.1\r\nHost: a\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 77\r\n\r\n")
        assert.equal("77", field(got, "Content-Length"))
        _, got = pass("HEAD /x HTTP/1.1\r\nHost: a\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert.equal("", field(got, "Content-Length") .. field(got, "Transfer-Encoding"))
        _, got = pass(get(), "HTTP/1.1 304 Not Modified\r\nContent-Length: 77\r\n\r\n")
        assert.equal("77", field(got, "Content-Length"))
        _, got = pass(get(), "HTTP/1.1 204 No Content\r\n\r\n")
        assert.equal("", field(got, "Content-Length"))
        _, got = pass(get(), OK) -- still in step
        assert.equal("0", field(got, "Content-Length"))
    end)

    it("ask for a WebSocket only, and only with a GET that has no body", function()
        open()
        local function upgrade(method, to, more)
            return method .. " /x HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: " .. to
                .. (more or "") .. "\r\n\r\n"
        end
        assert.equal("websocket", field((pass(upgrade("GET", "WebSocket"))), "Upgrade"))
        assert.equal("", field((pass(upgrade("GET", "h2c"))), "Upgrade"))
        local sent = pass(upgrade("POST", "websocket", "\r\nContent-Length: 0"))
        assert.equal("", field(sent, "Upgrade"))
        assert.equal("", field((pass("GET /x HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n")),
            "Upgrade"))
    end)

    it("count the hops of OPTIONS and TRACE, and stop at the last", function()
        open { site = function(s, host, upstream) -- only routes that name TRACE take it
            s:route(host, "TRACE /x", { upstream = upstream })
        end }
        local function options(method, hops)
            return method .. " /x HTTP/1.1\r\nHost: a\r\nMax-Forwards: " .. hops .. "\r\n\r\n"
        end
        assert.equal("4", field((pass(options("OPTIONS", "5"))), "Max-Forwards"))
        assert.equal("9", field((pass(options("TRACE", "10"))), "Max-Forwards"))
        assert.equal("5", field((pass(options("GET", "5"))), "Max-Forwards"))
        assert.equal("x", field((pass(options("OPTIONS", "x"))), "Max-Forwards"))
        client:send(options("OPTIONS", "0"))
        assert.matches("^HTTP/1.1 204 ", client:head())
        client:send(options("TRACE", "0"))
        assert.matches("^HTTP/1.1 405 ", client:head())
        assert.equal("", up:recv_some())
    end)

    it("fit, whatever a sender makes of them", function()
        open { numbers = { ["limits.head_bytes"] = 60000, ["limits.uri_bytes"] = 50000 } }
        local sent, got = pass("GET /" .. ("%41"):rep(15000) .. " HTTP/1.1\r\nHost: "
            .. ("a."):rep(120) .. "a\r\n" .. ("X-Forwarded-For: 1.1.1.1\r\n"):rep(90) .. "\r\n",
            "HTTP/1.1 200 " .. ("r"):rep(2000) .. "\r\nX: " .. ("x"):rep(14300)
            .. "\r\nContent-Length: 0\r\n\r\n")
        assert.is_true(#sent > 45000)
        assert.is_true(#got > 16300)
    end)
end)
