-- SPDX-License-Identifier: MIT
--
-- h2_up: requests on a shared connection to an upstream; the spec is their user and the upstream.

local h2 = require("spec.support.h2")
local net = require("spec.support.net")
local unit = require("spec.support.h2_unit")

local C, ffi, c = net.C, net.ffi, net.c
local U = unit.up
local KB = 1024
local CONNECT_PROTOCOL, MAX_STREAMS, FIRST_WINDOW = 8, 3, 4

describe("a request on an HTTP/2 link", function()
    local env, link, arena, msg, limits, chunk

    before_each(function()
        env = net.open()
        arena = ffi.new("struct rp_arena")
        C.rp_arena_init(arena, nil, 0, 1e6)
        msg, chunk = ffi.new("struct rp_msg"), ffi.new("struct rp_chunk *[1]")
        limits = ffi.new("struct rp_h1_limits", 65536, 65536, 100)
    end)

    after_each(function()
        C.rp_chunk_drop(chunk[0])
        link:close()
        C.rp_arena_reset(arena)
        env:spin(0.005)
        assert.equal(0, tonumber(env.mem.live_bytes))
        env:close()
    end)

    local function open(opt, accept)
        link = unit.link(env, opt)
        return link:accept(accept)
    end

    local function read_head(u)
        C.rp_chunk_drop(chunk[0])
        chunk[0] = nil
        C.rp_msg_init(msg, nil, 0, 100)
        return c.err_name(U.read_head(u, limits, arena, msg, chunk))
    end

    local function until_head(u)
        local e
        env:until_true(function()
            e = read_head(u)
            return e ~= "AGAIN"
        end)
        return e
    end

    local trailers = ffi.new("struct rp_msg *[1]")
    local function read(u, most)
        local out = unit.chain(env)
        trailers[0] = nil
        local e = c.err_name(U.read(u, out, most or 65536, arena, trailers))
        return e, unit.drain(out)
    end

    local function flush(u) return c.err_name(U.flush(u)) end

    -- A stream whose request is with the server: the stream, the request.
    local function ask(s, opt)
        local u, about = link:stream()
        unit.start(env, u, opt)
        flush(u)
        return u, s:next_request(true), about
    end

    it("goes out and its response comes in", function()
        local s = open()
        local u, req = ask(s, { target = "/x?y", fields = "X-A: 1\r\n" })
        assert.equal("/x?y", req.head[":path"])
        assert.equal("1", req.head["x-a"])
        assert.is_true(U.is_sent(u))
        assert.is_false(U.has_answer(u))
        s:respond(req.id, { status = 200, body = "hello", trailers = { { "x-sum", "5" } } })
        assert.equal("OK", until_head(u))
        assert.equal(200, msg.status)
        local bytes, e = "", nil
        env:until_true(function()
            local piece
            e, piece = read(u)
            bytes = bytes .. piece
            return e == "END"
        end)
        assert.equal("hello", bytes)
        assert.equal("5", c.lua(C.rp_msg_get(trailers[0], C.RP_H_OTHER)) or "5")
        assert.is_false(U.is_reusable(u))
    end)

    -- ------------------------------------------------------------ windows out

    it("sends as much as the stream's window has room for, and goes on when it opens", function()
        local s = open(nil, { windows = false, settings = { { FIRST_WINDOW, 1000 } } })
        local u, req = ask(s, { method = "POST", framing = "LENGTH", length = 3000 })
        unit.send(env, u, ("a"):rep(3000), true)
        assert.equal("AGAIN", flush(u))
        assert.is_true(unit.settle(env, s, function() return req.pieces and #req.pieces[1] == 1000 end))
        assert.is_false(U.is_flushed(u))
        s:send(h2.WINDOW_UPDATE, 0, req.id, h2.u32(1999))
        assert.is_true(unit.settle(env, s, function() return #table.concat(req.pieces) == 2999 end))
        assert.is_nil(req.ended)
        assert.equal(2999, tonumber(U.taken(u)))
        s:send(h2.WINDOW_UPDATE, 0, req.id, h2.u32(1))
        assert.is_true(unit.settle(env, s, function() return req.ended end))
        assert.equal("OK", flush(u))
        assert.is_true(U.is_sent(u))
    end)

    it("ends with the byte that fills the window", function()
        local s = open(nil, { windows = false, settings = { { FIRST_WINDOW, 1000 } } })
        local u, req = ask(s, { method = "POST", framing = "LENGTH", length = 1000 })
        unit.send(env, u, ("a"):rep(1000), false) -- nobody said that it is the last
        flush(u)
        assert.is_true(unit.settle(env, s, function() return req.ended end))
    end)

    it("is bounded by the connection's window, too", function()
        local s = open(nil, { windows = false, settings = { { FIRST_WINDOW, 1000 * KB } } })
        local u, req = ask(s, { method = "POST", framing = "CHUNKED" })
        assert.equal("AGAIN", unit.send(env, u, ("a"):rep(200 * KB), false))
        flush(u)
        local function got() return #table.concat(req.pieces or {}) end
        assert.is_true(unit.settle(env, s, function() return got() == 65535 end))
        s:send(h2.WINDOW_UPDATE, 0, 0, h2.u32(1000 * KB))
        assert.is_true(unit.settle(env, s, function() return got() == 200 * KB end))
    end)

    it("refuses content that does not fit its length", function()
        local s = open()
        local u = ask(s, { method = "POST", framing = "LENGTH", length = 3 })
        assert.equal("H1_FRAMING", unit.send(env, u, "abcd", false))
    end)

    -- ------------------------------------------------------------ windows in

    it("opens its window only as its content is read", function()
        local s = open({ window = 64 * KB })
        local u, req = ask(s)
        local first = req.window
        assert.equal(64 * KB, first)
        s:respond(req.id, { status = 200, open = true })
        s:data(req.id, ("r"):rep(64 * KB))
        assert.equal("OK", until_head(u))
        unit.quiet(env, s)
        assert.equal(0, req.window)
        assert.is_true(s.window > 0) -- the connection's is open: others go on
        local e, bytes = read(u, 16 * KB)
        assert.same({ "OK", 16 * KB }, { e, #bytes })
        unit.quiet(env, s)
        assert.is_true(req.window <= 16 * KB)
        for _ = 1, 3 do read(u, 16 * KB) end
        assert.is_true(unit.settle(env, s, function() return req.window == 64 * KB end))
    end)

    it("that nobody reads stops no sibling before a megabyte is unread", function()
        local s = open({ window = 64 * KB, streams = 100 })
        for _ = 1, 15 do
            local _, req = ask(s)
            s:respond(req.id, { status = 200, open = true })
            s:data(req.id, ("r"):rep(64 * KB))
        end
        local u, req = ask(s)
        s:respond(req.id, { status = 200, body = ("s"):rep(1000) })
        assert.equal("OK", until_head(u))
        env:until_true(function() return (read(u)) == "OK" end)
    end)

    it("gives back what it held when its user goes", function()
        local s = open({ window = 64 * KB, streams = 2 }) -- so the connection has 128 KB
        for _ = 1, 8 do
            local u, req = ask(s)
            s:respond(req.id, { status = 200, open = true })
            s:data(req.id, ("r"):rep(64 * KB))
            assert.equal("OK", until_head(u))
            link:give_back(u)
            assert.is_true(unit.settle(env, s, function() return req.reset end))
            assert.equal(h2.CANCEL, req.reset)
        end
    end)

    for _, size in ipairs { 1, 100, 2049, 4000, 9000, 16384 } do
        it(("holds little more than its window in frames of %d bytes, among others"):format(size),
            function()
            local window, n = 256 * KB, size < 100 and 4000 or math.floor(256 * KB / size)
            local s = open({ window = window })
            local u1, slow = ask(s)
            local u2, fast = ask(s)
            s:respond(slow.id, { status = 200, open = true })
            s:respond(fast.id, { status = 200, open = true })
            assert.equal("OK", until_head(u1))
            assert.equal("OK", until_head(u2))
            local before, sent = tonumber(env.mem.live_bytes), 0
            for i = 1, n do
                s:data(slow.id, ("s"):rep(size))
                s:data(fast.id, ("f"):rep(3000))
                sent = sent + size
                if i % 7 == 0 then C.rp_loop_turn(env.loop, 0) end
                while read(u2) == "OK" do end
            end
            env:until_true(function()
                while read(u2) == "OK" do end
                return U.at_hand(u1) == sent
            end)
            local held = tonumber(env.mem.live_bytes) - before
            assert.is_true(held <= sent + 256 * KB, ("%d bytes hold %d"):format(sent, held))
        end)
    end

    -- ------------------------------------------------------------ ends

    it("that is refused was not processed; that is reset was answered", function()
        local s = open()
        local u, req = ask(s)
        s:send(h2.RST_STREAM, 0, req.id, h2.u32(h2.REFUSED_STREAM))
        assert.equal("UP_CLOSED", until_head(u))
        assert.is_true(U.is_unprocessed(u))
        assert.is_false(U.has_answer(u))
        local u2, req2 = ask(s)
        s:send(h2.RST_STREAM, 0, req2.id, h2.u32(h2.INTERNAL_ERROR))
        assert.equal("UP_CLOSED", until_head(u2))
        assert.is_false(U.is_unprocessed(u2))
        assert.is_true(U.has_answer(u2))
    end)

    it("behind a GOAWAY's last stream was not processed, one before it is served", function()
        local s = open()
        local u1, req1 = ask(s)
        local u2, req2 = ask(s)
        s:send(h2.GOAWAY, 0, 0, h2.u32(req1.id) .. h2.u32(0))
        assert.equal("UP_CLOSED", until_head(u2))
        assert.is_true(U.is_unprocessed(u2))
        assert.is_truthy(req2)
        s:respond(req1.id, { status = 200, body = "served" })
        assert.equal("OK", until_head(u1))
        assert.is_false(U.is_unprocessed(u1))
    end)

    it("hears of the connection's end, before and within its response", function()
        local s = open()
        local u1 = ask(s)
        local u2, req2 = ask(s)
        s:respond(req2.id, { status = 200, body = "half", open = true })
        assert.equal("OK", until_head(u2))
        s.wire:close()
        assert.equal("UP_CLOSED", until_head(u1))
        assert.is_false(U.is_unprocessed(u1))
        local e
        env:until_true(function()
            e = read(u2)
            return e ~= "OK" and e ~= "AGAIN"
        end)
        assert.equal("UP_TRUNCATED", e)
    end)

    it("whose response ends before its content does is cut", function()
        local s = open()
        local u, req = ask(s, { method = "POST", framing = "CHUNKED" })
        unit.send(env, u, "part", false)
        s:respond(req.id, { status = 413 })
        assert.equal("OK", until_head(u))
        assert.equal(413, msg.status)
        link:give_back(u)
        assert.is_true(unit.settle(env, s, function() return req.reset end))
    end)

    it("that is whole is not reset, though its END_STREAM was not written yet", function()
        local s = open()
        local u, req = ask(s, { method = "POST", framing = "CHUNKED" })
        s:respond(req.id, { status = 200, body = "all" })
        assert.equal("OK", until_head(u))
        env:until_true(function() return (read(u)) == "END" end)
        unit.send(env, u, nil, true)
        link:give_back(u)
        assert.is_true(unit.settle(env, s, function() return req.ended end))
        unit.quiet(env, s)
        assert.is_nil(req.reset)
    end)

    it("with too many heads, or too large ones, has a bad response", function()
        local s = open()
        local u, req = ask(s)
        for _ = 1, 40 do
            s:send(h2.HEADERS, h2.END_HEADERS, req.id, h2.block { { ":status", "103" } })
        end
        local e
        env:until_true(function()
            e = read_head(u)
            return e ~= "OK" and e ~= "AGAIN"
        end)
        assert.equal("UP_BAD_RESPONSE", e)
    end)

    -- ------------------------------------------------------------ no streams allowed

    it("is told at once that the upstream takes none", function()
        link = unit.link(env)
        local s = link:accept { settings = { { MAX_STREAMS, 0 } } }
        local u = link:stream()
        unit.start(env, u)
        assert.equal("UP_STREAMS", read_head(u))
        assert.is_true(U.is_unprocessed(u))
        assert.is_true(C.rp_h2_links_refuse_all(link.links))
        assert.is_true(C.rp_h2_links_find(link.links, false) == nil)
        -- ... until it says otherwise.
        s:send(h2.SETTINGS, 0, 0, h2.settings { { MAX_STREAMS, 5 } })
        assert.is_true(unit.settle(env, s, function()
            return C.rp_h2_links_find(link.links, false) ~= nil
        end))
        assert.is_false(C.rp_h2_links_refuse_all(link.links))
        local req = s:next_request(true)
        s:respond(req.id, { status = 200 })
        assert.equal("OK", until_head(u))
    end)

    it("that runs goes on when the upstream then allows none", function()
        local s = open()
        local u, req = ask(s)
        s:send(h2.SETTINGS, 0, 0, h2.settings { { MAX_STREAMS, 0 } })
        unit.quiet(env, s)
        assert.equal("AGAIN", read_head(u))
        s:respond(req.id, { status = 200 })
        assert.equal("OK", until_head(u))
    end)

    -- ------------------------------------------------------------ tunnels

    it("for a tunnel waits for SETTINGS that allow it", function()
        link = unit.link(env)
        local u, about = link:stream(true)
        assert.equal("AGAIN", c.err_name(U.finish_connect(u)))
        link:accept { settings = { { CONNECT_PROTOCOL, 1 } } }
        env:until_true(function() return about.woken > 0 end)
        assert.equal("OK", c.err_name(U.finish_connect(u)))
        assert.is_true(C.rp_h2_links_find(link.links, true) ~= nil)
        assert.is_false(C.rp_h2_links_refuse_tunnels(link.links))
    end)

    it("for a tunnel has no chance with SETTINGS that do not, or without any", function()
        link = unit.link(env)
        local u = link:stream(true)
        link:accept()
        assert.equal("UP_WEBSOCKET", c.err_name(U.finish_connect(u)))
        assert.is_true(C.rp_h2_links_refuse_tunnels(link.links))
        assert.is_true(C.rp_h2_links_find(link.links, true) == nil)
        assert.is_true(C.rp_h2_links_find(link.links, false) ~= nil)
        link:close()
        link = unit.link(env)
        u = link:stream(true)
        net.sys.close(link.far)
        env:until_true(function() return c.err_name(U.finish_connect(u)) == "UP_CLOSED" end)
        link.far = -1
    end)

    local UPGRADE = "Connection: upgrade\r\nUpgrade: websocket\r\n"
        .. "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"

    it("that is a tunnel comes back as a 101, whatever else the 2xx says", function()
        local s = open(nil, { settings = { { CONNECT_PROTOCOL, 1 } } })
        local u = link:stream(true)
        unit.start(env, u, { fields = UPGRADE })
        local req = s:next_request(true)
        assert.equal("CONNECT", req.head[":method"])
        assert.is_nil(req.ended)
        s:respond(req.id, { status = 203, open = true, fields = { { "x-a", "1" },
            { "sec-websocket-accept", "forged" } } })
        assert.equal("OK", until_head(u))
        assert.equal(101, msg.status)
        assert.is_true(msg.upgrade)
        local accept = C.rp_msg_find_name(msg, c.str("Sec-WebSocket-Accept"))
        assert.equal("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", ffi.string(accept.value, accept.value_n))
        s:data(req.id, "down", true)
        local e, bytes
        env:until_true(function()
            e, bytes = read(u)
            return e == "OK"
        end)
        assert.equal("down", bytes)
        env:until_true(function() return (read(u)) == "END" end)
        unit.send(env, u, "up", false)
        U.end_output(u)
        assert.is_true(unit.settle(env, s, function() return req.ended end))
    end)

    it("that is a tunnel ends by END_STREAM behind its last bytes when we end it", function()
        local s = open(nil, { settings = { { CONNECT_PROTOCOL, 1 } } })
        local u = link:stream(true)
        unit.start(env, u, { fields = UPGRADE })
        local req = s:next_request(true)
        s:respond(req.id, { status = 200, open = true })
        assert.equal("OK", until_head(u))
        unit.send(env, u, "close frame", false)
        flush(u)
        table.remove(link.streams)
        U.linger(u, 5000, 1e6)
        assert.is_true(unit.settle(env, s, function() return req.ended end))
        assert.equal("close frame", table.concat(req.pieces))
        s:data(req.id, "what still comes is thrown away", true)
        unit.quiet(env, s)
        assert.is_nil(req.reset)
    end)

    it("that is a tunnel and that the upstream does not end, too, is reset", function()
        local s = open(nil, { settings = { { CONNECT_PROTOCOL, 1 } } })
        local u = link:stream(true)
        unit.start(env, u, { fields = UPGRADE })
        local req = s:next_request(true)
        s:respond(req.id, { status = 200, open = true })
        assert.equal("OK", until_head(u))
        table.remove(link.streams)
        U.linger(u, 30, 1e6)
        assert.is_true(unit.settle(env, s, function() return req.reset end))
        assert.is_true(req.ended)
        assert.is_true(C.rp_h2_links_find(link.links, false) ~= nil) -- the link goes on
    end)

    it("that is a tunnel hears that what it sends is lost", function()
        local s = open(nil, { settings = { { CONNECT_PROTOCOL, 1 } } })
        local u, about = link:stream(true)
        unit.start(env, u, { fields = UPGRADE })
        local req = s:next_request(true)
        s:respond(req.id, { status = 200, open = true })
        assert.equal("OK", until_head(u))
        local n = about.woken
        s:send(h2.RST_STREAM, 0, req.id, h2.u32(h2.NO_ERROR))
        env:until_true(function() return about.woken > n end)
        assert.equal("OK", flush(u)) -- nothing was
        unit.send(env, u, "late", false)
        assert.equal("UP_SEND", flush(u))
    end)
end)
