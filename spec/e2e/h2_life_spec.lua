-- SPDX-License-Identifier: MIT
--
-- HTTP/2 connections: how they end, what waits in them, whose turn it is.

local e2e = require("spec.support.e2e")
local h2 = require("spec.support.h2")
local origin = require("spec.support.origin")
local posix = require("spec.support.posix")
local wire = require("spec.support.wire")

local SWITCH = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n" ..
    "Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
local MB = 1024 * 1024

describe("HTTP/2 connections", function()
    local up, rp

    local function start(more)
        rp = e2e.proxy { vars = { origin = up.port, half = posix.free_port() }, site = [[
            log = { access = { to = "${dir}/access.log", format = "json", buffer = 0,
                fields = { "path", "status", "wire_bytes", "reason" } } },
            upstreams = { o = rp.upstream { peers = { "127.0.0.1:${origin}" } } },
            ]] .. (more or "") .. [[
            hosts = { rp.host { default = true, routes = {
                rp.route { "/ours", respond = { 200, "ours\n" } },
                rp.route { "/none", respond = { 204, "" } },
                rp.route { "/stuck", limits = { body = 0 },
                    content = function() rp.sleep(60) end },
                rp.route { "/nap", content = function(req)
                    rp.sleep(0.5)
                    return req:exit(200, "slept")
                end },
                rp.route { "/*", upstream = "o" } } } },
        ]] }
    end

    before_each(function()
        up = origin.start {
            ["/hang"] = { { hang = true } },
            ["/big"] = { status = 200, body = ("b"):rep(MB) },
            ["/ws"] = { { send = SWITCH }, { echo = true } },
            ["/bye"] = { { send = SWITCH .. "bye" }, { close = true } },
            ["*"] = { status = 200, body = "other" },
        }
    end)

    after_each(function()
        wire.close_all()
        if rp then e2e.stop(rp) end
        rp = nil
    end)

    local function connect(opt)
        local c = h2.connect(rp.port, opt)
        c:wait(function() return c.acked end)
        return c
    end

    local function logged(path)
        return posix.poll(function()
            for line in (posix.read_file(rp.dir .. "/access.log") or ""):gmatch("[^\n]+") do
                if line:find('"' .. path .. '"', 1, true) then return line end
            end
        end)
    end

    local function got(c, id)
        return #table.concat(c.streams[id].pieces or {})
    end

    describe("end", function()
        it("when a head does not come, though its frame is said to be the whole", function()
            start [[ timeouts = { header = 1 }, ]]
            local c = connect()
            local frame = h2.frame(h2.HEADERS, h2.END_HEADERS + h2.END_STREAM, 1, ("x"):rep(100))
            c.wire:send(frame:sub(1, 20))
            assert.is_true(c:is_closed())
            assert.truthy(c.goaway)
        end)

        it("when a head does not come, while other requests come to their end", function()
            start [[ timeouts = { header = 3 }, ]]
            local c = connect()
            local nap, hang = c:request { path = "/nap" }, c:request { path = "/hang" }
            c:send(h2.HEADERS, h2.END_STREAM, 5, h2.block { { ":method", "GET" } })
            assert.equal("slept", c:response(nap).body)
            assert.is_nil(c.streams[hang].status)
            assert.is_true(c:is_closed())
        end)

        it("by two GOAWAY after the requests they may carry", function()
            start [[ limits = { keepalive_requests = 3 }, ]]
            local c = connect()
            for _ = 1, 3 do assert.equal(200, c:get("/ours").status) end
            c:wait(function() return c.goaway end)
            assert.equal(0x7fffffff, c.goaway.last)
            assert.equal(200, c:get("/ours").status) -- it was under way, for all we know
            c:wait(function() return c.goaway.n == 2 end)
            assert.equal(7, c.goaway.last)
            assert.equal(h2.NO_ERROR, c.goaway.code)
            assert.is_true(c:is_closed())
        end)

        it("of a worker that drains, when their requests are answered", function()
            start()
            local c, idle = connect(), connect()
            local nap = c:request { path = "/nap" }
            c:send(h2.PING, 0, 0, "12345678")
            c:wait(function() return c.pong end)
            rp:signal("QUIT")
            assert.equal("slept", c:response(nap).body)
            assert.is_true(idle:is_closed())
            assert.equal(h2.NO_ERROR, idle.goaway.code)
            assert.is_true(c:is_closed())
            assert.truthy(c.goaway)
        end)

        it("after the answers when the client ends its side and the listener lets it", function()
            start [[ listeners = { rp.listen { "127.0.0.1:${port}", half_closed = true } }, ]]
            local c = connect()
            local nap, hi = c:request { path = "/nap" }, c:request { path = "/hi" }
            c.wire:finish()
            assert.equal("slept", c:response(nap).body)
            assert.equal("other", c:response(hi).body)
            assert.is_true(c:is_closed())
        end)
    end)

    describe("bound what waits in them", function()
        it("when nobody reads the bodies of their requests", function()
            start [[ http2 = { streams = 100, window = "256k" }, ]]
            local c = connect()
            local sent, piece = 0, ("x"):rep(16384)
            for _ = 1, 60 do
                local id = c:head { method = "POST", path = "/stuck", open = true }
                local s = c.streams[id]
                s.window = 256 * 1024
                while s.window >= #piece and c.window >= #piece do
                    c:send(h2.DATA, 0, id, piece)
                    s.window, c.window, sent = s.window - #piece, c.window - #piece, sent + #piece
                end
                c.pong = nil
                c:send(h2.PING, 0, 0, "12345678")
                c:wait(function() return c.pong end)
            end
            assert.is_true(sent >= MB and sent <= 2.2 * MB, sent)
            assert.equal("ours\n", c:get("/ours").body)
        end)
    end)

    describe("throw away what nobody wants", function()
        it("up to a megabyte, then ask for no more", function()
            start [[ http2 = { window = "64k" }, ]]
            local c = connect()
            local id = c:request { method = "POST", path = "/ours", body = ("x"):rep(MB),
                fields = { { "content-length", tostring(MB) } } }
            local res = c:response(id)
            assert.equal("ours\n", res.body)
            assert.is_nil(res.reset)
            id = c:head { method = "POST", path = "/ours", open = true }
            c:response(id)
            local s, sent = c.streams[id], 0
            while s.window > 0 and sent < 4 * MB do
                local n = math.min(s.window, c.window, 16384)
                c:send(h2.DATA, 0, id, ("x"):rep(n))
                s.window, c.window, sent, c.pong = s.window - n, c.window - n, sent + n, nil
                c:send(h2.PING, 0, 0, "12345678")
                c:wait(function() return c.pong end)
            end
            assert.is_true(sent < 2 * MB, sent)
            assert.equal("ours\n", c:get("/ours").body)
        end)
    end)

    describe("tell the log", function()
        it("of the bytes of heads and content", function()
            start()
            local c = connect()
            c:get("/ours")
            c:get("/none")
            local ours = tonumber(logged("/ours"):match('"wire_bytes":(%d+)'))
            local none = tonumber(logged("/none"):match('"wire_bytes":(%d+)'))
            assert.is_true(none > 9 and none < 200, none)
            assert.is_true(ours >= none + 9 + 5, ours)
        end)
    end)

    describe("carry tunnels", function()
        it("whose end by the upstream is the end of the stream", function()
            start()
            local c = connect()
            local id = c:head { method = "CONNECT", protocol = "websocket", path = "/bye",
                open = true, fields = { { "sec-websocket-version", "13" } } }
            c:wait(function() return got(c, id) == 3 end)
            c:data(id, "", true)
            local res = c:response(id)
            assert.is_nil(res.reset)
            assert.is_true(res.ended)
        end)

        it("whose end waits for the window", function()
            start()
            local c = connect { windows = false, settings = { { 4, 0 } } }
            local id = c:head { method = "CONNECT", protocol = "websocket", path = "/ws",
                open = true, fields = { { "sec-websocket-version", "13" } } }
            c:wait(function() return c.streams[id].status end)
            c:data(id, "echo", true)
            c.pong = nil
            c:send(h2.PING, 0, 0, "12345678")
            c:wait(function() return c.pong end)
            c:send(h2.WINDOW_UPDATE, 0, id, h2.u32(1000))
            local res = c:response(id)
            assert.is_nil(res.reset)
            assert.equal("echo", res.body)
        end)
    end)

    describe("obey priorities (RFC 9218)", function()
        -- Three large responses share what is left of the connection's window: nothing, until it
        -- is opened.
        local function three(c, a, b)
            local ids = { c:request { path = "/big" } }
            c:wait(function() return got(c, ids[1]) == 65535 end)
            ids[2] = c:request { path = "/big", fields = a }
            ids[3] = c:request { path = "/big", fields = b }
            c:wait(function() return c.streams[ids[2]].status and c.streams[ids[3]].status end)
            return unpack(ids)
        end

        -- Let n more bytes come; the stream that got all of them, nil when they were shared.
        local function more(c, n)
            local before, sum = {}, 0
            for id in pairs(c.streams) do before[id] = got(c, id) end
            c:send(h2.WINDOW_UPDATE, 0, 0, h2.u32(n))
            c:wait(function()
                sum = 0
                for id, had in pairs(before) do sum = sum + got(c, id) - had end
                return sum >= n
            end)
            assert.equal(n, sum)
            for id, had in pairs(before) do
                if got(c, id) - had == n then return id end
            end
            return nil
        end

        -- It comes first, three times on end, once its content is there: the proxy may still be
        -- reading that, and what is there of others does not wait for it.
        local function assert_first(c, id)
            local on_end = 0
            for _ = 1, 25 do
                on_end = more(c, 10000) == id and on_end + 1 or 0
                if on_end == 3 then return end
                posix.sleep(0.02)
            end
            error("stream " .. id .. " does not come first")
        end

        it("of the request's field", function()
            start()
            local c = connect { windows = false, settings = { { 4, 2 * MB } } }
            local _, _, urgent = three(c, { { "priority", "u=7" } }, { { "priority", "u=0" } })
            assert_first(c, urgent)
        end)

        it("of PRIORITY_UPDATE", function()
            start()
            local c = connect { windows = false, settings = { { 4, 2 * MB } } }
            local _, second, urgent = three(c, { { "priority", "u=7" } }, { { "priority", "u=1" } })
            assert_first(c, urgent)
            c:send(h2.PRIORITY_UPDATE, 0, 0, h2.u32(second) .. "u=0")
            assert_first(c, second)
        end)
    end)
end)
