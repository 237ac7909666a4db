-- SPDX-License-Identifier: MIT
--
-- h1_up: a connection to an upstream; the spec is its user and the upstream.

local msg_of = require("spec.support.msg")
local net = require("spec.support.net")

local C, ffi, c, sys = net.C, net.ffi, net.c, net.sys
c.load { "http/h1_up.h", "http/h1_write.h" }

local U = net.up
local HEAD = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"

describe("an HTTP/1 upstream connection", function()
    local env, listener, port, far, up, woken, arena, msg, limits, chunk

    before_each(function()
        env = net.open()
        listener, port = net.tcp_listen()
        arena = ffi.new("struct rp_arena")
        C.rp_arena_init(arena, nil, 0, 1e6)
        msg, chunk = ffi.new("struct rp_msg"), ffi.new("struct rp_chunk *[1]")
        limits = ffi.new("struct rp_h1_limits", 65536, 65536, 100)
        local out, fail = ffi.new("struct rp_up *[1]"), ffi.new("struct rp_conn_fail")
        local e = C.rp_h1_up_connect(env.loop, env.mem, net.addr("127.0.0.1:" .. port), out, fail)
        assert.equal(0, e)
        up, woken = out[0], 0
        up.wake = env:callback("rp_up_fn", function() woken = woken + 1 end)
        far = sys.accept4(listener, nil, nil, net.NONBLOCK)
        env:until_true(function() return U.finish_connect(up) == 0 end)
    end)

    after_each(function()
        C.rp_chunk_drop(chunk[0])
        U.close(up)
        C.rp_arena_reset(arena)
        if far then sys.close(far) end
        sys.close(listener)
        env:spin(0.005)
        assert.equal(0, tonumber(env.mem.live_bytes))
        env:close()
    end)

    local function chain(bytes)
        return msg_of.chain(env.mem, bytes)
    end

    local drain = msg_of.drain

    local function start(method, framing, length)
        U.start(up, chain(HEAD), C["RP_M_" .. (method or "GET")],
            C["RP_BODY_" .. (framing or "NONE")], length or 0)
    end

    local function send(bytes, last)
        local piece = chain(bytes)
        local e = c.err_name(U.send(up, piece, last or false, nil))
        C.rp_chain_clear(piece)
        return e
    end

    local function flush() return c.err_name(U.flush(up)) end

    -- Write from the upstream and wait until the user hears of it.
    local function arrive(bytes)
        local n = woken
        net.write(far, bytes)
        env:until_true(function() return woken > n end)
    end

    local function read_head()
        C.rp_chunk_drop(chunk[0])
        chunk[0] = nil
        C.rp_msg_init(msg, nil, 0, 100)
        return c.err_name(U.read_head(up, limits, arena, msg, chunk))
    end

    local trailers = ffi.new("struct rp_msg *[1]")
    local function read()
        local out = chain()
        trailers[0] = nil
        local e = c.err_name(U.read(up, out, 65536, arena, trailers))
        return e, drain(out)
    end

    local function round(response)
        start()
        assert.equal("OK", flush())
        net.read_next(far)
        arrive(response)
        return read_head()
    end

    it("sends a head and reads a response", function()
        start()
        assert.is_false(U.is_sent(up))
        assert.equal("OK", flush())
        assert.is_true(U.is_sent(up))
        assert.equal(HEAD, net.read_next(far))
        assert.equal("AGAIN", read_head())
        assert.is_false(U.has_answer(up))
        arrive("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no")
        assert.equal("OK", read_head())
        assert.is_true(U.has_answer(up))
        assert.equal(200, msg.status)
        assert.same({ "OK", "o" }, { read() })
        assert.is_false(U.is_reusable(up))
        arrive("k")
        assert.same({ "END", "k" }, { read() }) -- with its last bytes
        assert.equal("END", (read()))
        assert.is_true(U.is_reusable(up))
    end)

    it("frames bodies as announced, and refuses what does not fit", function()
        start("POST", "LENGTH", 5)
        assert.equal("OK", send("hel"))
        assert.is_true(U.has_sent_body(up))
        assert.equal("H1_FRAMING", send("lo!"))
        assert.equal("H1_FRAMING", send("l", true))
        assert.equal("OK", flush())
        assert.equal(HEAD .. "hel", net.read_next(far))
    end)

    it("writes chunks and the last one", function()
        start("POST", "CHUNKED")
        assert.is_false(U.has_sent_body(up))
        send("hello")
        send("", true)
        flush()
        assert.equal(HEAD .. "5\r\nhello\r\n0\r\n\r\n", net.read_next(far))
        assert.is_true(U.is_sent(up))
    end)

    it("tells a close before the response from one in it", function()
        start()
        flush()
        net.read_next(far)
        sys.close(far)
        far = nil
        env:until_true(function() return read_head() ~= "AGAIN" end)
        assert.equal("UP_CLOSED", read_head())
        assert.is_false(U.is_reusable(up))
    end)

    it("finds truncated and malformed responses", function()
        assert.equal("AGAIN", round("HTTP/1.1 200 OK\r\nX"))
        sys.shutdown(far, 1)
        env:until_true(function() return read_head() ~= "AGAIN" end)
        assert.equal("UP_TRUNCATED", read_head())
        start()
        assert.is_false(U.is_reusable(up))
    end)

    it("does not take a short body for a whole one", function()
        assert.equal("OK", round("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab"))
        sys.close(far)
        far = nil
        assert.same({ "OK", "ab" }, { read() })
        env:until_true(function() return (read()) ~= "AGAIN" end)
        assert.equal("UP_TRUNCATED", (read()))
    end)

    it("refuses heads over the limit", function()
        limits.head_bytes = 1000
        assert.equal("UP_HEAD_BIG", round("HTTP/1.1 200 OK\r\nX: " .. ("x"):rep(2000)))
    end)

    it("passes interim responses first", function()
        assert.equal("OK", round("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n"))
        assert.equal(103, msg.status)
        assert.equal("OK", read_head())
        assert.equal(204, msg.status)
        assert.equal("END", (read()))
        assert.is_true(U.is_reusable(up))
    end)

    it("hands out trailers", function()
        assert.equal("OK", round("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            .. "2\r\nhi\r\n0\r\nX-T: 1\r\n\r\n"))
        assert.same({ "OK", "hi" }, { read() })
        assert.equal("1", c.lua(C.rp_field_value(C.rp_msg_find_name(trailers[0], c.str("x-t")))))
        assert.equal("END", (read()))
        assert.is_true(U.is_reusable(up))
    end)

    describe("is not reusable", function()
        local OK = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n"

        it("with bytes behind the response", function()
            round(OK .. "\r\nHTTP/1.1 200 OK\r\n\r\n")
            assert.equal("END", (read()))
            assert.is_false(U.is_reusable(up))
        end)

        it("when the upstream closes it", function()
            round(OK .. "Connection: close\r\n\r\n")
            assert.equal("END", (read()))
            assert.is_false(U.is_reusable(up))
        end)

        it("when the response ends with the connection", function()
            round("HTTP/1.1 200 OK\r\n\r\nhi")
            assert.is_false(U.is_reusable(up))
        end)

        it("before its request was sent whole", function()
            start("POST", "LENGTH", 5)
            send("he")
            flush()
            net.read_next(far)
            arrive(OK .. "\r\n")
            read_head()
            assert.equal("END", (read()))
            assert.is_false(U.is_reusable(up))
        end)
    end)

    it("carries raw bytes after a switch, those behind the head included", function()
        assert.equal("OK", round("HTTP/1.1 101 S\r\nUpgrade: x\r\n\r\nraw"))
        U.tunnel(up)
        assert.same({ "OK", "raw" }, { read() })
        assert.equal("OK", send("0\r\n\r\n"))
        flush()
        assert.equal("0\r\n\r\n", net.read_next(far))
        U.end_output(up)
        assert.equal("", net.read_next(far))
        sys.shutdown(far, 1)
        env:until_true(function() return (read()) == "END" end)
        assert.is_false(U.is_reusable(up))
    end)

    it("does not wake the loop for ever while nobody reads", function()
        start()
        flush()
        net.write(far, "HTTP/1.1 200 OK\r\n")
        for _ = 1, 30 do C.rp_loop_turn(env.loop, 2) end
        assert.is_true(woken <= 3, woken .. " wakes")
        assert.equal("AGAIN", read_head())
        arrive("Content-Length: 0\r\n\r\n")
        assert.equal("OK", read_head())
    end)
end)
