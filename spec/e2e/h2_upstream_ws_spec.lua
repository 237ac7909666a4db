-- SPDX-License-Identifier: MIT
--
-- WebSockets to upstreams in HTTP/2 (RFC 8441): an extended CONNECT where the upstream takes it, and
-- what happens where it does not. Each test has an upstream, so a connection, of its own.

local ffi = require("ffi")
local e2e = require("spec.support.e2e")
local h2 = require("spec.support.h2")
local http = require("spec.support.http")
local posix = require("spec.support.posix")
local tls = require("spec.support.tls")
local wire = require("spec.support.wire")
local ws = require("spec.support.ws")

local CONNECT_PROTOCOL = { 8, 1 } -- SETTINGS_ENABLE_CONNECT_PROTOCOL
local KEY, ACCEPT = "dGhlIHNhbXBsZSBub25jZQ==", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" -- RFC 6455 §1.3
local SWITCH = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n" ..
    "Connection: Upgrade\r\n\r\n"

local ROUTES = { open = "", half = "", plain = "", refuse = "", bad = "", reset = "", gone = "",
    both = "", shared = "", key = "", mute = 'timeouts = { connect = "300ms" }',
    none = "", none_again = "", big = "", drain = "",
    checked = "websocket = { check = true }",
    limits = "websocket = { max_frame = 1000 }",
    ping = 'websocket = { ping = "100ms", pong = "300ms", ping_upstream = true }',
    idle = 'websocket = { check = true }, tunnel = { idle = "400ms" }',
    bytes = "websocket = { check = true }, tunnel = { bytes_out = 100 }" }

local function site()
    local ups, routes = {}, {}
    for name, more in pairs(ROUTES) do
        ups[#ups + 1] = name .. ' = rp.upstream { peers = { "127.0.0.1:${played}" }, http = "2" }'
        routes[#routes + 1] = ('rp.route { "/%s", upstream = "%s", %s }'):format(name, name, more)
    end
    return [[ log = { access = { to = "${dir}/access.log", format = "json", buffer = 0,
            fields = { "path", "status", "reason", "bytes", "bytes_in", "id" } } },
        timeouts = { drain = "20s" },
        upstreams = { ]] .. table.concat(ups, ",\n") .. [[ },
        hosts = { rp.host { default = true, routes = { ]] .. table.concat(routes, ",\n") .. " } } },"
end

local function masked(opcode, payload)
    return ws.frame(opcode, payload, { mask = true })
end

--- What runs in a stream, with the calls of a wire that ws.read needs.
local function tunnel_of(session, id)
    local at = 0
    local function bytes()
        local s = session.streams[id]
        return s and table.concat(s.pieces or {}) or ""
    end
    return {
        recv = function(_, n)
            session:wait(function() return #bytes() >= at + n end)
            at = at + n
            return bytes():sub(at - n + 1, at)
        end,
        send = function(_, text) session:data(id, text) end,
    }
end

describe("WebSockets to an upstream in HTTP/2", function()
    local played, rp

    setup(function()
        played = e2e.listen()
        rp = e2e.proxy { vars = { played = played.port }, site = site() }
    end)
    teardown(function()
        played:close()
        e2e.stop(rp)
    end)
    after_each(wire.close_all)

    local function logged(text)
        assert.is_truthy(posix.poll(function()
            return (posix.read_file(rp.dir .. "/access.log") or ""):find(text, 1, true)
        end), text)
    end

    local function ask(target, fields)
        local all = { Upgrade = "websocket", Connection = "Upgrade", ["Sec-WebSocket-Key"] = KEY,
            ["Sec-WebSocket-Version"] = "13", ["Sec-WebSocket-Protocol"] = "chat" }
        for name, value in pairs(fields or {}) do all[name] = value or nil end
        if fields and fields["Sec-WebSocket-Key"] == false then all["Sec-WebSocket-Key"] = nil end
        local w = wire.connect(rp.port)
        w:send(http.format { target = target, fields = all })
        return w
    end

    local function accept(settings)
        return h2.accept(played:accept(), { settings = settings or { CONNECT_PROTOCOL } })
    end

    -- Client's end; the upstream's session, request, tunnel; the client's response.
    local function open(target)
        local w = ask(target)
        local s = accept()
        local req = s:next_request(true)
        s:respond(req.id, { status = 200, open = true, fields = { { "sec-websocket-protocol", "chat" } } })
        local res = http.read(w)
        assert.equal(101, res.status)
        return w, s, req, tunnel_of(s, req.id), res
    end

    it("go as an extended CONNECT, and the client has its handshake", function()
        local w, s, req, t, res = open("/open")
        assert.equal("CONNECT", req.head[":method"])
        assert.equal("websocket", req.head[":protocol"])
        assert.equal("/open", req.head[":path"])
        assert.equal("http", req.head[":scheme"])
        assert.is_truthy(req.head[":authority"])
        assert.equal("13", req.head["sec-websocket-version"])
        assert.equal("chat", req.head["sec-websocket-protocol"])
        assert.is_nil(req.head["sec-websocket-key"])
        assert.is_nil(req.head.upgrade)
        assert.is_nil(req.head.connection)
        assert.equal(ACCEPT, res:header("sec-websocket-accept"))
        assert.equal("websocket", res:header("upgrade"))
        assert.equal("upgrade", res:header("connection"):lower())
        assert.equal("chat", res:header("sec-websocket-protocol"))
        w:send(masked(ws.TEXT, "hello"))
        assert.equal("hello", ws.read(t).payload)
        t:send(ws.frame(ws.TEXT, "hi"))
        assert.equal("hi", ws.read(w).payload)
        s:data(req.id, ws.close(1000), true)
        assert.equal(1000, ws.read(w).code)
        w:close()
        s:wait(function() return s.streams[req.id].ended end)
        assert.is_nil(s.streams[req.id].reset)
        logged('"path":"/open","status":101,"reason":""')
    end)

    it("pass a half close on, both ways", function()
        local w, s, req, t = open("/half")
        s:data(req.id, "last", true)
        assert.equal("last", w:recv(4))
        w:send("more")
        assert.equal("more", t:recv(4))
        assert.is_true(w:is_closed()) -- our FIN came
        w:close()
        s:wait(function() return s.streams[req.id].ended end)
    end)

    it("are moved in both directions as the windows allow", function()
        local w, s, req, t = open("/big")
        local bytes = ("0123456789abcdef"):rep(20000) -- 320 KB: more than any window
        w:send(bytes)
        assert.is_true(t:recv(#bytes) == bytes)
        s:data(req.id, bytes)
        assert.is_true(w:recv(#bytes) == bytes)
    end)

    it("share the connection with requests and with each other", function()
        local w1, s, _, t1 = open("/shared")
        local w2 = ask("/shared")
        local req2 = s:next_request(true)
        s:respond(req2.id, { status = 200, open = true })
        assert.equal(101, http.read(w2).status)
        local w3 = wire.connect(rp.port)
        w3:send("GET /shared HTTP/1.1\r\nHost: a\r\n\r\n")
        local req3 = s:next_request()
        s:respond(req3.id, { status = 200, body = "plain" })
        assert.equal("plain", http.read(w3).body)
        w1:send("one")
        w2:send("two")
        assert.equal("one", t1:recv(3))
        assert.equal("two", tunnel_of(s, req2.id):recv(3))
    end)

    it("of clients in HTTP/2 need no key, and get no accept", function()
        local c = h2.connect(rp.port)
        c:wait(function() return c.settings[8] == 1 end)
        local id = c:head { method = "CONNECT", protocol = "websocket", path = "/both", open = true,
            fields = { { "sec-websocket-version", "13" } } }
        local s = accept()
        local req = s:next_request(true)
        assert.is_nil(req.head["sec-websocket-key"])
        s:respond(req.id, { status = 200, open = true })
        c:wait(function() return c.streams[id].status end)
        assert.equal(200, c.streams[id].status)
        assert.is_nil(h2.field(c.streams[id], "sec-websocket-accept"))
        c:data(id, "up")
        assert.equal("up", tunnel_of(s, req.id):recv(2))
        s:data(req.id, "down", true)
        assert.equal("down", tunnel_of(c, id):recv(4))
        c:wait(function() return c.streams[id].ended end)
    end)

    it("that are refused are plain responses", function()
        local w = ask("/refuse")
        local s = accept()
        local req = s:next_request(true)
        s:respond(req.id, { status = 403, body = "no" })
        local res = http.read(w)
        assert.equal(403, res.status)
        assert.equal("no", res.body)
    end)

    it("end when the upstream resets the stream", function()
        local w, s, req = open("/reset")
        s:send(h2.RST_STREAM, 0, req.id, h2.u32(h2.CANCEL))
        assert.is_true(w:is_closed())
        logged('"path":"/reset","status":101,"reason":"upstream_truncated"')
    end)

    it("reset the stream when the client is gone", function()
        local w, s, req = open("/gone")
        w:reset()
        s:wait(function() return s.streams[req.id].reset end)
        assert.equal(h2.CANCEL, s.streams[req.id].reset)
    end)

    it("need a proper key", function()
        assert.equal(400, http.read(ask("/key", { ["Sec-WebSocket-Key"] = false })).status)
        assert.equal(400, http.read(ask("/key", { ["Sec-WebSocket-Key"] = "short" })).status)
        logged('"reason":"ws_bad_key"')
    end)

    it("are answered 502 by an upstream that does not take them, and it serves others", function()
        local w = ask("/none")
        local s = accept {}
        assert.equal(502, http.read(w).status)
        logged('"path":"/none","status":502,"reason":"upstream_no_websocket"')
        assert.equal(502, http.read(ask("/none")).status) -- by the same connection
        local plain = wire.connect(rp.port)
        plain:send("GET /none HTTP/1.1\r\nHost: a\r\n\r\n")
        s:respond(s:next_request().id, { status = 200, body = "served" })
        assert.equal("served", http.read(plain).body)
    end)

    it("wait for the upstream's SETTINGS no longer than connecting may take", function()
        local w = ask("/mute")
        local up = played:accept()
        assert.equal(h2.PREFACE, up:recv(#h2.PREFACE))
        assert.equal(504, http.read(w).status)
        logged('"path":"/mute","status":504,"reason":"upstream_connect_timeout"')
    end)

    -- ------------------------------------------------------------ frames that are looked at

    it("have their frames checked", function()
        local w, s, req, t = open("/checked")
        w:send(ws.frame(ws.TEXT, "not masked"))
        assert.equal(1002, ws.read(w).code)
        local f = ws.read(t)
        assert.equal(1002, f.code)
        assert.is_true(f.masked)
        s:wait(function() return s.streams[req.id].ended end) -- an end, not a reset, follows it
        assert.is_nil(s.streams[req.id].reset)
        s:data(req.id, ws.close(1002), true)
        logged('"path":"/checked","status":101,"reason":"ws_protocol_error"')
    end)

    it("go on over a reload", function()
        local w, s, req, t = open("/bad")
        w:send("x")
        assert.equal("x", t:recv(1))
        rp:signal("HUP") -- the tunnel goes on over a reload
        w:send("y")
        assert.equal("y", t:recv(1))
        w:reset()
        s:wait(function() return s.streams[req.id].reset end)
    end)

    it("have frames of limited size", function()
        local w, _, _, t = open("/limits")
        t:send(ws.frame(ws.BINARY, ("x"):rep(2000)))
        assert.equal(1009, ws.read(w).code)
        assert.equal(1009, ws.read(t).code)
        logged('"path":"/limits","status":101,"reason":"ws_frame_too_big"')
    end)

    it("are pinged, and given up without an answer", function()
        local w, _, _, t = open("/ping")
        local ping = ws.read(t)
        assert.equal(ws.PING, ping.opcode)
        assert.is_true(ping.masked)
        t:send(ws.frame(ws.PONG, ping.payload))
        local f = ws.read(w)
        assert.equal(ws.PING, f.opcode)
        repeat f = ws.read(w) until f.opcode ~= ws.PING -- nobody answers
        assert.equal(ws.CLOSE, f.opcode)
        logged('"path":"/ping","status":101,"reason":"ws_ping_timeout"')
    end)

    it("end when they are idle, whatever else the connection carries", function()
        local w, s, _, t = open("/idle")
        local stop = false
        -- Another stream of the same connection is busy all the while.
        local busy = ask("/idle", { ["Sec-WebSocket-Protocol"] = "busy" })
        local req = s:next_request(true)
        s:respond(req.id, { status = 200, open = true })
        assert.equal(101, http.read(busy).status)
        local noise = tunnel_of(s, req.id)
        local frame = masked(ws.TEXT, "noise")
        w.sock:settimeout(0)
        for _ = 1, 400 do
            busy:send(frame)
            assert.equal("noise", ws.read(noise).payload)
            posix.sleep(0.01)
            local bytes = w:recv_some(0.001)
            if #bytes > 0 then
                stop = true
                assert.equal(0x88, bytes:byte(1)) -- Close
                break
            end
        end
        assert.is_true(stop)
        assert.equal(1001, ws.read(t).code)
        logged('"path":"/idle","status":101,"reason":"tunnel_idle"')
    end)

    it("have limits of bytes", function()
        local w, _, _, t = open("/bytes")
        t:send(ws.frame(ws.BINARY, ("x"):rep(101)))
        assert.equal(1008, ws.read(w).code)
        logged('"path":"/bytes","status":101,"reason":"tunnel_byte_limit"')
    end)
end)

describe("CONNECT from a client in HTTP/2 (RFC 9113 8.5)", function()
    local played, rp

    setup(function()
        played = e2e.listen()
        rp = e2e.proxy { vars = { played = played.port }, site = [[
            hosts = { rp.host { default = true, routes = { rp.route { "CONNECT *",
                connect = { allow = { "127.0.0.1:${played}" } } } } } }, ]] }
    end)
    teardown(function()
        played:close()
        e2e.stop(rp)
    end)
    after_each(wire.close_all)

    local function open()
        local c = h2.connect(rp.port)
        local id = c:head { method = "CONNECT", authority = "127.0.0.1:" .. played.port, open = true }
        local up = played:accept()
        c:wait(function() return c.streams[id].status end)
        assert.equal(200, c.streams[id].status)
        return c, id, up
    end

    it("is a tunnel to the target, with the ends of its directions", function()
        local c, id, up = open()
        c:data(id, "SSH-2.0-x\r\n", true)
        assert.equal("SSH-2.0-x\r\n", up:recv(11))
        assert.is_true(up:is_closed()) -- our FIN
        up:send("SSH-2.0-y\r\n")
        assert.equal("SSH-2.0-y\r\n", tunnel_of(c, id):recv(11))
        up:close()
        c:wait(function() return c.streams[id].ended end)
        assert.is_nil(c.streams[id].reset)
    end)

    it("is reset when the target breaks off, and closes the target when it is reset", function()
        local c, id, up = open()
        up:reset()
        c:wait(function() return c.streams[id].reset end)
        local c2, id2, up2 = open()
        c2:send(h2.RST_STREAM, 0, id2, h2.u32(h2.CANCEL))
        assert.is_true(up2:is_closed())
    end)

    it("is refused when the list has no such target", function()
        local c = h2.connect(rp.port)
        local id = c:head { method = "CONNECT", authority = "127.0.0.1:1" }
        assert.equal(403, c:response(id).status)
    end)
end)

ffi.cdef [[
void SSL_CTX_set_alpn_select_cb(SSL_CTX *, int (*)(SSL *, const unsigned char **, unsigned char *,
    const unsigned char *, unsigned, void *), void *);
]]
local ssl = ffi.load("libssl.so.3")

describe("WebSockets to an upstream that chooses its protocol", function()
    local dir, played, rp, callbacks

    setup(function()
        jit.off() -- OpenSSL calls back
        callbacks = {}
        dir, played = tls.dir(), e2e.listen()
        tls.cert(dir, "a", { names = { "a.test" } })
        rp = e2e.proxy { vars = { played = played.port }, site = [[
            upstreams = { o = rp.upstream { peers = { "127.0.0.1:${played}" }, http = "auto",
                tls = { verify = false } } },
            hosts = { rp.host { default = true, routes = { rp.route { "/*", upstream = "o" } } } }, ]] }
    end)
    teardown(function()
        played:close()
        e2e.stop(rp)
        for _, cb in ipairs(callbacks) do cb:free() end
        jit.on()
    end)
    after_each(wire.close_all)

    local function ask(target)
        local w = wire.connect(rp.port)
        w:send(http.format { target = target, fields = { Upgrade = "websocket",
            Connection = "Upgrade", ["Sec-WebSocket-Key"] = KEY, ["Sec-WebSocket-Version"] = "13" } })
        return w
    end

    -- The next connection, with this protocol; and what was offered.
    local function accept(protocol)
        local raw = played:accept()
        local e = tls.over(raw.sock:getfd(), { server = true, cert = dir .. "/a.pem",
            key = dir .. "/a.key" })
        e.raw = raw -- it owns the descriptor
        local offered = {}
        local cb = ffi.cast("int (*)(SSL *, const unsigned char **, unsigned char *, "
            .. "const unsigned char *, unsigned, void *)", function(_, out, out_n, list, n)
            local at = 0
            while at < n do
                local name = ffi.string(list + at + 1, list[at])
                offered[#offered + 1] = name
                if name == protocol then
                    out[0], out_n[0] = list + at + 1, list[at]
                end
                at = at + 1 + list[at]
            end
            return 0
        end)
        callbacks[#callbacks + 1] = cb
        ssl.SSL_CTX_set_alpn_select_cb(e.ctx, cb, nil)
        assert(e:handshake())
        return e, offered
    end

    it("go over HTTP/1.1, in a connection that offers nothing else, when it takes none in HTTP/2", function()
        local w = ask("/first")
        local e, offered = accept("h2")
        assert.same({ "h2", "http/1.1" }, offered)
        local s = h2.accept(e, { settings = {} })
        s:wait(function() return s.acked end)
        local e1, offered1 = accept("http/1.1")
        assert.same({ "http/1.1" }, offered1)
        local head = e1:recv_until("\r\n\r\n")
        assert.matches("^GET /first HTTP/1.1\r\n", head)
        assert.matches("Sec%-WebSocket%-Key: " .. KEY:gsub("%p", "%%%0"), head)
        e1:send(SWITCH .. "hello")
        assert.equal(101, http.read(w).status)
        assert.equal("hello", w:recv(5))
        -- The first connection is there for others, and the next WebSocket asks no more.
        local plain = wire.connect(rp.port)
        plain:send("GET /plain HTTP/1.1\r\nHost: a\r\n\r\n")
        s:respond(s:next_request().id, { status = 200, body = "plain" })
        assert.equal("plain", http.read(plain).body)
        local w2 = ask("/second")
        local e2, offered2 = accept("http/1.1")
        assert.same({ "http/1.1" }, offered2)
        e2:recv_until("\r\n\r\n")
        e2:send(SWITCH)
        assert.equal(101, http.read(w2).status)
        s:close()
    end)

    it("go over HTTP/2 when it does", function()
        assert.is_truthy(posix.poll(function() -- the connection of the test before has gone
            local w = ask("/third")
            local e, offered = accept("h2")
            if #offered ~= 2 then
                e:close()
                return false
            end
            local s = h2.accept(e, { settings = { CONNECT_PROTOCOL } })
            local req = s:next_request(true)
            s:respond(req.id, { status = 200, open = true })
            assert.equal(ACCEPT, http.read(w):header("sec-websocket-accept"))
            return true
        end))
    end)
end)
