-- SPDX-License-Identifier: MIT
--
-- Upgrades: WebSocket tunnels, their ends, and what is no WebSocket.

local e2e = require("spec.support.e2e")
local http = require("spec.support.http")
local origin = require("spec.support.origin")
local posix = require("spec.support.posix")
local wire = require("spec.support.wire")

local SWITCH = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n" ..
    "Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"

local UPGRADE = { Upgrade = "websocket", Connection = "Upgrade",
    ["Sec-WebSocket-Key"] = "dGhlIHNhbXBsZSBub25jZQ==", ["Sec-WebSocket-Version"] = "13" }

describe("upgrades", function()
    local up, rp, played

    setup(function()
        up = origin.start {
            ["/ws"] = { { send = SWITCH }, { echo = "ws" } },
            ["/echo"] = { { send = SWITCH }, { echo = true } },
            ["/early-bytes"] = { { send = SWITCH .. "at once" }, { echo = true } },
            ["/refuse"] = { status = 403, body = "no" },
            ["/unasked"] = { { send = SWITCH }, { hang = true } },
            ["*"] = { status = 200, body = "plain" },
        }
        played = e2e.listen()
        rp = e2e.proxy { vars = { origin = up.port, played = played.port }, site = [[
            log = { access = { to = "${dir}/access.log", format = "json",
                fields = { "path", "status", "reason", "bytes", "bytes_in" }, buffer = 0 } },
            upstreams = {
                o = rp.upstream { peers = { "127.0.0.1:${origin}" } },
                played = rp.upstream { peers = { "127.0.0.1:${played}" } },
            },
            hosts = { rp.host { default = true, routes = {
                rp.route { "/played", upstream = "played" },
                rp.route { "/off/*", upstream = "o", upgrade = false },
                rp.route { "/answer", respond = { 200, "ours\n" } },
                rp.route { "/*", upstream = "o" } } } },
        ]] }
    end)

    teardown(function()
        played:close()
        e2e.stop(rp)
    end)
    after_each(wire.close_all)

    local function open(target, fields)
        local w = wire.connect(rp.port)
        local res = http.request(w, { target = target, fields = fields or UPGRADE })
        return w, res
    end

    --- A tunnel whose upstream end is ours: client end, upstream end.
    local function tunnel()
        local w = wire.connect(rp.port)
        w:send(http.format { target = "/played", fields = UPGRADE })
        local server = played:accept()
        local head = e2e.head(server)
        server:send(SWITCH)
        assert.equal(101, http.read(w).status)
        return w, server, head
    end

    it("a WebSocket is relayed with its handshake", function()
        local w, res = open("/ws")
        assert.equal(101, res.status)
        assert.equal("websocket", res:header("upgrade"):lower())
        assert.equal("upgrade", res:header("connection"):lower())
        assert.equal("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", res:header("sec-websocket-accept"))
        local req = e2e.last(up)
        assert.equal("websocket", e2e.field(req, "upgrade"):lower())
        assert.equal("upgrade", e2e.field(req, "connection"):lower())
        assert.equal("dGhlIHNhbXBsZSBub25jZQ==", e2e.field(req, "sec-websocket-key"))
        w:send("\x81\x85\1\2\3\4" .. "igohn") -- "hello", masked
        assert.equal("\x81\5hello", w:recv(7))
    end)

    it("bytes pass as they are, both ways", function()
        local w = open("/echo")
        local all = {}
        for i = 0, 255 do all[#all + 1] = string.char(i) end
        local bytes = table.concat(all):rep(400) -- 100 KB
        w:send(bytes)
        assert.is_true(w:recv(#bytes) == bytes)
    end)

    it("bytes right behind the request head are part of the tunnel", function()
        local w = wire.connect(rp.port)
        w:send(http.format { target = "/echo", fields = UPGRADE } .. "eager")
        assert.equal(101, http.read(w).status)
        assert.equal("eager", w:recv(5))
    end)

    it("bytes right behind the response head come through", function()
        local w = open("/early-bytes")
        assert.equal("at once", w:recv(7))
    end)

    it("10 MB pass", function()
        local w, server = tunnel()
        local block = ("0123456789"):rep(6553)
        local n, sent = 160, 0
        w.sock:settimeout(0)
        local got = 0
        while got < n * #block do -- by turns: neither end may wait for the other
            if sent < n * #block then
                local at = sent % #block
                local _, why, last = w.sock:send(block, at + 1)
                sent = sent + (why and math.max(last - at, 0) or #block - at)
            end
            got = got + #server:recv_some(0.01)
        end
        assert.equal(sent, got)
    end)

    -- ------------------------------------------------------------ ends

    it("a client's half close goes up, and the upstream may still speak", function()
        local w, server = tunnel()
        w:send("bye")
        w:finish()
        local rest, why = server:recv_all()
        assert.equal("bye", rest)
        assert.equal("closed", why)
        server:send("last words")
        assert.equal("last words", w:recv(10))
        server:close()
        assert.is_true(w:is_closed())
    end)

    it("an upstream's half close comes down, and the client may still speak", function()
        local w, server = tunnel()
        server:send("bye")
        server:finish()
        local rest, why = w:recv_all()
        assert.equal("bye", rest)
        assert.equal("closed", why)
        w:send("last words")
        assert.equal("last words", server:recv(10))
        w:close()
        assert.is_true(server:is_closed())
    end)

    it("a client that goes closes the upstream connection", function()
        local w, server = tunnel()
        w:reset()
        assert.is_true(server:is_closed())
    end)

    it("an upstream that goes closes the client connection", function()
        local w, server = tunnel()
        server:reset()
        assert.is_true(w:is_closed())
    end)

    it("the log line comes at the end, with the tunnel's bytes", function()
        local w, server = tunnel()
        w:send("12345")
        server:recv(5)
        server:send("1234567")
        w:recv(7)
        w:close()
        server:close()
        assert.truthy(posix.poll(function()
            return (posix.read_file(rp.dir .. "/access.log") or ""):find(
                '"path":"/played","status":101,"reason":"","bytes":7,"bytes_in":5}', 1, true)
        end))
    end)

    -- ------------------------------------------------------------ no tunnel

    it("a refused upgrade is a plain response on a connection that goes on", function()
        local w, res = open("/refuse")
        assert.equal(403, res.status)
        assert.equal("no", res.body)
        assert.equal("plain", http.request(w, { target = "/x" }).body)
    end)

    it("an upgrade that the upstream ignores is a plain response", function()
        local w, res = open("/ignored")
        assert.equal("plain", res.body)
        assert.equal("plain", http.request(w, { target = "/x" }).body)
    end)

    it("a 101 that nobody asked for is 502", function()
        assert.equal(502, http.get(rp.port, "/unasked").status)
    end)

    it("upgrade = false drops the upgrade", function()
        local _, res = open("/off/x")
        assert.equal("plain", res.body)
        local req = e2e.last(up)
        assert.is_nil(e2e.field(req, "upgrade"))
        assert.is_nil(e2e.field(req, "connection"))
    end)

    it("an upgrade to h2c is dropped", function()
        local _, res = open("/x", { Upgrade = "h2c", Connection = "Upgrade, HTTP2-Settings",
            ["HTTP2-Settings"] = "AAMAAABkAAQAAP__" })
        assert.equal("plain", res.body)
        local req = e2e.last(up)
        assert.is_nil(e2e.field(req, "upgrade"))
        assert.is_nil(e2e.field(req, "http2-settings"))
    end)

    it("of several protocols only websocket goes on", function()
        local _, res = open("/ws", { Upgrade = "h2c, websocket", Connection = "Upgrade" })
        assert.equal(101, res.status)
        assert.equal("websocket", e2e.field(e2e.last(up), "upgrade"))
    end)

    it("Upgrade without Connection: upgrade means nothing", function()
        local _, res = open("/x", { Upgrade = "websocket" })
        assert.equal("plain", res.body)
        assert.is_nil(e2e.field(e2e.last(up), "upgrade"))
    end)

    it("an upgrade in HTTP/1.0 means nothing", function()
        local w = wire.connect(rp.port)
        w:send("GET /x HTTP/1.0\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
        assert.equal("plain", http.read(w).body)
        assert.is_nil(e2e.field(e2e.last(up), "upgrade"))
    end)

    it("an upgrade of an answer of our own means nothing", function()
        local w, res = open("/answer")
        assert.equal("ours\n", res.body)
        assert.equal("ours\n", http.request(w, { target = "/answer" }).body)
    end)
end)
