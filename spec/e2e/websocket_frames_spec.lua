-- SPDX-License-Identifier: MIT
--
-- WebSockets whose frames are looked at: rules, limits, pings, and how they are told that it is over.

local e2e = require("spec.support.e2e")
local http = require("spec.support.http")
local posix = require("spec.support.posix")
local proc = require("spec.support.proc")
local wire = require("spec.support.wire")
local ws = require("spec.support.ws")

local SWITCH = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n" ..
    "Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"

local UPGRADE = { Upgrade = "websocket", Connection = "Upgrade",
    ["Sec-WebSocket-Key"] = "dGhlIHNhbXBsZSBub25jZQ==", ["Sec-WebSocket-Version"] = "13" }

local SITE = [[
    log = { access = { to = "${dir}/access.log", format = "json",
        fields = { "path", "status", "reason", "bytes", "bytes_in" }, buffer = 0 } },
    timeouts = { drain = "20s" },
    upstreams = { o = rp.upstream { peers = { "127.0.0.1:${played}" } } },
    hosts = { rp.host { default = true, routes = {
        rp.route { "/checked", upstream = "o", websocket = { check = true } },
        rp.route { "/limits", upstream = "o",
            websocket = { max_frame = 1000, max_message = 1500 } },
        rp.route { "/ping", upstream = "o", websocket = { ping = "100ms", pong = "300ms" } },
        rp.route { "/patient", upstream = "o", websocket = { ping = "100ms", pong = "20s" } },
        rp.route { "/both", upstream = "o", websocket = { ping = "100ms", pong = "2s",
            ping_upstream = true } },
        rp.route { "/idle", upstream = "o", websocket = { check = true },
            tunnel = { idle = "300ms" } },
        rp.route { "/bytes", upstream = "o", websocket = { check = true },
            tunnel = { bytes_in = 100 } },
        rp.route { "/*", upstream = "o" } } } },
]]

describe("WebSocket frames", function()
    local played, rp

    setup(function()
        played = e2e.listen()
        rp = e2e.proxy { vars = { played = played.port }, site = SITE }
    end)
    teardown(function()
        played:close()
        e2e.stop(rp)
    end)
    after_each(wire.close_all)

    -- Client's end, server's end.
    local function open(target, switch, on)
        local w = wire.connect((on or rp).port)
        w:send(http.format { target = target, fields = UPGRADE })
        local server = played:accept()
        e2e.head(server)
        server:send((switch or SWITCH) .. "\r\n")
        assert.equal(101, http.read(w).status)
        return w, server
    end

    local function masked(opcode, payload, opt)
        opt = opt or {}
        opt.mask = true
        return ws.frame(opcode, payload, opt)
    end

    local function logged(text, on)
        assert.is_truthy(posix.poll(function()
            return (posix.read_file((on or rp).dir .. "/access.log") or ""):find(text, 1, true)
        end), text)
    end

    -- Both ends are told this code, by frames that are as they should be, and then closed.
    local function both_closed(w, server, code, reason)
        local to_client, to_server = ws.read(w), ws.read(server)
        assert.equal(ws.CLOSE, to_client.opcode)
        assert.equal(ws.CLOSE, to_server.opcode)
        assert.same({ code, code }, { to_client.code, to_server.code })
        assert.equal(reason, to_client.reason)
        assert.is_false(to_client.masked)
        assert.is_true(to_server.masked)
        assert.is_true(w:is_closed())
        assert.is_true(server:is_closed())
        logged('"reason":"' .. reason .. '"')
    end

    it("pass as they are, whole and byte by byte", function()
        local w, server = open("/checked")
        local up = masked(ws.TEXT, "hello") .. masked(ws.PING, "p")
            .. masked(ws.BINARY, ("x"):rep(70000)) .. masked(ws.TEXT, "a", { fin = false })
            .. masked(ws.PONG, "q") .. masked(ws.CONT, "b")
        w:send(up)
        assert.is_true(server:recv(#up) == up)
        local down = ws.frame(ws.TEXT, ("y"):rep(300)) .. ws.frame(ws.PING, "") .. ws.frame(ws.TEXT, "")
        server:send_split(down, 1)
        assert.is_true(w:recv(#down) == down)
        local small = masked(ws.TEXT, "1")
        w:send(small:rep(5000))
        assert.is_true(server:recv(#small * 5000) == small:rep(5000))
    end)

    it("behind either head are looked at, too", function()
        local w = wire.connect(rp.port)
        w:send(http.format { target = "/checked", fields = UPGRADE } .. masked(ws.TEXT, "eager"))
        local server = played:accept()
        e2e.head(server)
        server:send(SWITCH .. "\r\n" .. ws.frame(ws.TEXT, "at once"))
        assert.equal(101, http.read(w).status)
        assert.equal("at once", ws.read(w).payload)
        assert.equal("eager", ws.read(server).payload)
    end)

    it("of a closing handshake pass, and the log has no reason", function()
        local w, server = open("/checked")
        w:send(ws.close(1000, "bye", { mask = true }))
        assert.equal(1000, ws.read(server).code)
        server:send(ws.close(1000, "bye"))
        assert.equal("bye", ws.read(w).reason)
        server:close()
        assert.is_true(w:is_closed())
        w:close()
        logged('"path":"/checked","status":101,"reason":""')
    end)

    it("that are malformed end the connection with 1002", function()
        local rows = { ws.frame(ws.TEXT, "not masked"), masked(3, "opcode"),
            masked(ws.TEXT, "rsv", { rsv = 4 }), masked(ws.CONT, "begins nothing"),
            masked(ws.PING, "", { fin = false }), masked(ws.PING, ("p"):rep(126)) }
        for i, bytes in ipairs(rows) do
            local w, server = open("/checked")
            w:send(masked(ws.TEXT, "good") .. bytes .. ("z"):rep(100))
            assert.equal("good", ws.read(server).payload, i)
            both_closed(w, server, 1002, "ws_protocol_error")
        end
    end)

    it("of an upstream that are malformed do so, too", function()
        local w, server = open("/checked")
        server:send(ws.frame(ws.TEXT, "good") .. masked(ws.TEXT, "masked"))
        assert.equal("good", ws.read(w).payload)
        both_closed(w, server, 1002, "ws_protocol_error")
        rp:wait_stderr("malformed WebSocket frame of the upstream")
    end)

    it("may have reserved bits once an extension was agreed upon", function()
        local w, server = open("/checked",
            SWITCH .. "Sec-WebSocket-Extensions: permessage-deflate\r\n")
        w:send(masked(ws.TEXT, "packed", { rsv = 4 }))
        assert.equal(4, ws.read(server).rsv)
        server:send(ws.frame(ws.TEXT, "packed", { rsv = 4 }))
        assert.equal(4, ws.read(w).rsv)
    end)

    it("larger than the limit end the connection with 1009, before they pass", function()
        local w, server = open("/limits")
        w:send(masked(ws.BINARY, ("x"):rep(1000)))
        assert.equal(1000, #ws.read(server).payload)
        w:send(masked(ws.BINARY, "x", { length = 2 ^ 40 }))
        both_closed(w, server, 1009, "ws_frame_too_big")
        w, server = open("/limits")
        server:send(ws.frame(ws.BINARY, ("x"):rep(1001)))
        both_closed(w, server, 1009, "ws_frame_too_big")
    end)

    it("of a message larger than the limit do so, too", function()
        local w, server = open("/limits")
        w:send(masked(ws.TEXT, ("x"):rep(1000), { fin = false }) .. masked(ws.PING, "between"))
        w:send(masked(ws.CONT, ("x"):rep(501)))
        assert.equal(1000, #ws.read(server).payload)
        assert.equal("between", ws.read(server).payload)
        both_closed(w, server, 1009, "ws_message_too_big")
    end)

    it("of ours do not stand within others: an end in the middle of one is cut", function()
        local w, server = open("/limits")
        server:send(ws.frame(ws.TEXT, ("x"):rep(900)):sub(1, 500))
        w:recv(500)
        w:send(masked(ws.BINARY, ("x"):rep(1001)))
        assert.equal(1009, ws.read(server).code)
        assert.equal("", (w:recv_all()))
    end)

    it("pass unseen where nothing asks for a look", function()
        local w, server = open("/plain")
        local bytes = "\255\255 no frame at all"
        w:send(bytes)
        assert.equal(bytes, server:recv(#bytes))
        server:send(bytes)
        assert.equal(bytes, w:recv(#bytes))
    end)

    -- ------------------------------------------------------------ silence

    it("of a ping come to a silent client, and its pongs stay here", function()
        local w, server = open("/patient")
        for _ = 1, 3 do
            local ping = ws.read(w)
            assert.equal(ws.PING, ping.opcode)
            assert.is_false(ping.masked)
            w:send_split(masked(ws.PONG, ping.payload), 1)
        end
        w:send(masked(ws.PONG, "unasked") .. masked(ws.TEXT, "hello"))
        assert.equal("unasked", ws.read(server).payload)
        assert.equal("hello", ws.read(server).payload)
    end)

    it("of a ping stand between those of the upstream", function()
        local w, server = open("/patient")
        local frame = ws.frame(ws.TEXT, ("y"):rep(100))
        server:send(frame:sub(1, 50))
        assert.equal(frame:sub(1, 50), w:recv(50))
        assert.equal("", (w:recv_some(0.3)))
        server:send(frame:sub(51))
        assert.equal(frame:sub(51), w:recv(#frame - 50))
        assert.equal(ws.PING, ws.read(w).opcode)
    end)

    it("a client that does not answer a ping is closed: 1011, the upstream is told 1001", function()
        local w, server = open("/ping")
        assert.equal(ws.PING, ws.read(w).opcode)
        local down, up = ws.read(w), ws.read(server)
        assert.same({ 1011, 1001 }, { down.code, up.code })
        assert.equal("ws_ping_timeout", down.reason)
        assert.is_true(w:is_closed())
        assert.is_true(server:is_closed())
        logged('"path":"/ping","status":101,"reason":"ws_ping_timeout"')
    end)

    it("a client that sends anything is there", function()
        local w, server = open("/patient")
        for _ = 1, 4 do
            assert.equal(ws.PING, ws.read(w).opcode)
            w:send(masked(ws.TEXT, "x"))
            assert.equal("x", ws.read(server).payload)
        end
    end)

    it("a ping goes to the upstream, too, where that is asked for", function()
        local w, server = open("/both")
        local ping = ws.read(server)
        assert.equal(ws.PING, ping.opcode)
        assert.is_true(ping.masked)
        server:send(ws.frame(ws.PONG, ping.payload) .. ws.frame(ws.TEXT, "hello"))
        local f
        repeat
            f = ws.read(w)
            if f.opcode == ws.PING then w:send(masked(ws.PONG, f.payload)) end
        until f.opcode ~= ws.PING
        assert.equal("hello", f.payload)
        repeat -- the upstream answers no more
            f = ws.read(w)
            if f.opcode == ws.PING then w:send(masked(ws.PONG, f.payload)) end
        until f.opcode ~= ws.PING
        assert.equal(1001, f.code)
        repeat f = ws.read(server) until f.opcode ~= ws.PING
        assert.equal(1011, f.code)
    end)

    it("a silent WebSocket is told 1001", function()
        local w, server = open("/idle")
        both_closed(w, server, 1001, "tunnel_idle")
    end)

    it("one over its limit of bytes is told 1008", function()
        local w, server = open("/bytes")
        w:send(masked(ws.BINARY, ("x"):rep(94)))
        assert.equal(94, #ws.read(server).payload)
        w:send("\129")
        both_closed(w, server, 1008, "tunnel_byte_limit")
    end)

    -- ------------------------------------------------------------ endings

    it("a WebSocket is told 1001 when the proxy drains, once no frame is under way", function()
        local mine = e2e.proxy { vars = { played = played.port }, site = SITE }
        local w, server = open("/checked", nil, mine)
        local busy, busy_server = open("/checked", nil, mine)
        local frame = ws.frame(ws.TEXT, ("y"):rep(100))
        busy_server:send(frame:sub(1, 50))
        busy:recv(50)
        mine:signal("QUIT")
        local down, up = ws.read(w), ws.read(server)
        assert.same({ 1001, 1001, "draining" }, { down.code, up.code, down.reason })
        assert.is_true(w:is_closed())
        busy_server:send(frame:sub(51))
        assert.equal(frame:sub(51), busy:recv(#frame - 50))
        assert.equal(1001, ws.read(busy).code)
        assert.equal(1001, ws.read(busy_server).code)
        assert.same({ exit = 0 }, mine:wait())
        logged('"path":"/checked","status":101,"reason":"draining"', mine)
    end)

    it("a WebSocket is told 1001 when the proxy stops at once", function()
        local mine = e2e.proxy { vars = { played = played.port }, site = SITE }
        local w, server = open("/checked", nil, mine)
        mine:signal("TERM")
        assert.equal(1001, ws.read(w).code)
        assert.equal(1001, ws.read(server).code)
        assert.same({ exit = 0 }, mine:wait())
    end)

    it("a WebSocket lives on through a reload with the limits that it began with", function()
        local w, server = open("/limits")
        local ended, out, err = proc.run { os.getenv("RP_BIN") or "build/rproxy", "reload", "-p",
            rp.site_path }
        assert.same({ exit = 0 }, ended, out .. err)
        w:send(masked(ws.TEXT, "still here"))
        assert.equal("still here", ws.read(server).payload)
        w:send(masked(ws.BINARY, ("x"):rep(1001)))
        both_closed(w, server, 1009, "ws_frame_too_big")
    end)

    it("are counted", function()
        local function is(name, least)
            local _, out = proc.run { os.getenv("RP_BIN") or "build/rproxy", "status", "-p",
                rp.site_path }
            return (tonumber(out:match("%f[%w_]" .. name .. ": (%d+)")) or 0) >= least
        end
        for name, least in pairs { ws_frames_in = 5000, ws_frames_out = 3, tunnels_too_big = 3,
            tunnels_protocol_error = 7, tunnels_ping_timeout = 1, tunnels_idle = 1 } do
            assert.is_truthy(posix.poll(function() return is(name, least) end), name)
        end
    end)

    it("a switch without Connection: upgrade is no switch", function()
        local w = wire.connect(rp.port)
        w:send(http.format { target = "/plain", fields = UPGRADE })
        local server = played:accept()
        e2e.head(server)
        server:send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n")
        assert.equal(502, http.read(w).status)
    end)
end)
