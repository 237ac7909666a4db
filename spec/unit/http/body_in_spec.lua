-- SPDX-License-Identifier: MIT
--
-- body_in: bodies of all framings from a socket, in every cut.

local net = require("spec.support.net")

local C, ffi, c, sys = net.C, net.ffi, net.c, net.sys
c.load { "http/body_in.h" }

local NONE, LENGTH = C.RP_BODY_NONE, C.RP_BODY_LENGTH
local CHUNKED, CLOSE = C.RP_BODY_CHUNKED, C.RP_BODY_CLOSE

describe("rp_body_in", function()
    local env, conn, near, far, reader, body, out, section

    -- far is written to, conn reads; `far` nil: closed.
    before_each(function()
        env = net.open()
        near, far = net.socketpair()
        conn = env:adopt(near)
        reader, body = ffi.new("struct rp_reader"), ffi.new("struct rp_body_in")
        out, section = ffi.new("struct rp_chain"), ffi.new("rp_str")
        C.rp_chain_init(out, env.mem)
    end)

    after_each(function()
        C.rp_chain_clear(out)
        C.rp_reader_clear(reader)
        if far then sys.close(far) end
        assert.equal(0, tonumber(env.mem.live_bytes))
        env:close()
    end)

    local function write(bytes)
        assert.equal(#bytes, net.write(far, bytes))
        reader.readable = true
    end

    local function finish()
        sys.close(far)
        far = nil
        reader.readable = true
    end

    local function start(framing, length)
        C.rp_body_in_init(body, framing, length or 0)
    end

    local function read(max)
        return c.err_name(C.rp_body_in_read(body, reader, env.mem, conn.raw, out, max or 65536,
            section))
    end

    local function taken()
        local n = tonumber(out.bytes)
        local buf = ffi.new("char[?]", n + 1)
        C.rp_chain_peek(out, buf, n)
        C.rp_chain_clear(out)
        return ffi.string(buf, n)
    end

    local function unread()
        return ffi.string(reader.chunk.data + reader.at, reader["end"] - reader.at)
    end

    it("is over at once when there is none", function()
        start(NONE)
        assert.equal("END", read())
        start(LENGTH, 0)
        assert.equal("END", read())
        assert.is_true(reader.chunk == nil)
    end)

    it("takes Content-Length bytes and leaves what is behind them", function()
        start(LENGTH, 5)
        assert.equal("AGAIN", read())
        write("he")
        assert.equal("OK", read())
        assert.equal("AGAIN", read())
        write("lloGET")
        assert.equal("OK", read())
        assert.equal("hello", taken())
        assert.equal("END", read())
        assert.equal("GET", unread())
    end)

    it("stops at max", function()
        start(LENGTH, 10)
        write("0123456789")
        assert.equal("OK", read(4))
        assert.equal("0123", taken())
        assert.equal("OK", read(4))
        assert.equal("OK", read(4))
        assert.equal("456789", taken())
        assert.equal("END", read(4))
    end)

    it("ended early when the stream did, after the bytes before", function()
        for _, row in ipairs { { LENGTH, 5, "he", "he" }, { CHUNKED, 0, "5\r\nhe", "he" },
            { CHUNKED, 0, "2\r\nhe\r\n0\r\n", "he" } } do
            start(row[1], row[2])
            reader.over = 0
            write(row[3])
            sys.shutdown(far, 1)
            assert.equal("OK", read())
            assert.equal(row[4], taken())
            reader.readable = true -- the end is news of its own
            assert.equal("CLOSED", read())
            assert.equal("CLOSED", read()) -- as often as one asks
            C.rp_reader_clear(reader)
            conn:close()
            sys.close(far)
            near, far = net.socketpair()
            conn = env:adopt(near)
        end
    end)

    it("goes until the end of the stream when nothing else says", function()
        start(CLOSE)
        write("abc")
        assert.equal("OK", read())
        assert.equal("AGAIN", read())
        write("def")
        finish()
        assert.equal("OK", read())
        assert.equal("abcdef", taken())
        reader.readable = true
        assert.equal("END", read())
        assert.equal("END", read())
    end)

    it("does not take a reset for the end of the stream", function()
        local a, b = net.tcp_pair()
        conn = env:adopt(a)
        start(CLOSE)
        net.write(b, "abc")
        env:until_true(function() return conn.readable > 0 end)
        reader.readable = true
        assert.equal("OK", read())
        local n = conn.readable
        net.reset_on_close(b)
        sys.close(b)
        env:until_true(function() return conn.readable > n end)
        reader.readable = true
        for _ = 1, 3 do assert.equal("CLOSED", read()) end
    end)

    describe("chunked", function()
        local BODY = "5\r\nhello\r\n1;ext=1\r\n \r\n5\r\nworld\r\n0\r\nX-A: b\r\n\r\n"

        it("is the same in every cut, with the trailer section and what is behind", function()
            for cut = 1, #BODY do
                start(CHUNKED)
                section.ptr, section.len = nil, 0
                write(BODY:sub(1, cut))
                local e
                repeat e = read() until e ~= "OK"
                if cut < #BODY then
                    assert.equal("AGAIN", e, "cut at " .. cut)
                    write(BODY:sub(cut + 1))
                    repeat e = read() until e ~= "OK"
                end
                assert.equal("END", e, "cut at " .. cut)
                assert.equal("hello world", taken())
                assert.equal("X-A: b\r\n\r\n", c.lua(section))
            end
            start(CHUNKED)
            write("0\r\n\r\nGET /")
            assert.equal("END", read())
            assert.equal("\r\n", c.lua(section))
            assert.equal("GET /", unread())
        end)

        it("is refused when malformed, as often as one asks", function()
            start(CHUNKED)
            write("zz\r\n")
            assert.equal("H1_CHUNK", read())
            write("5\r\nhello\r\n")
            assert.equal("H1_CHUNK", read())
        end)

        it("keeps no more than a few bytes for each byte of content", function()
            local n = 20000
            start(CHUNKED)
            for _ = 1, 10 do
                write(("1\r\na\r\n"):rep(n / 10))
                assert.equal("OK", read())
            end
            assert.equal(n, tonumber(out.bytes))
            assert.is_true(env.mem.pieces.live_n < 100, "pieces: " .. env.mem.pieces.live_n)
            assert.equal(("a"):rep(n), taken())
        end)
    end)
end)
