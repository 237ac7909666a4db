-- SPDX-License-Identifier: MIT
--
-- reader: the receive buffer: one recv at a time, bytes that stay put, pauses, the end.

local net = require("spec.support.net")

local C, ffi, c, posix, sys = net.C, net.ffi, net.c, net.posix, net.sys
c.load { "http/reader.h" }

describe("rp_reader", function()
    local env, conn, near, far, r

    before_each(function()
        env = net.open()
        near, far = net.socketpair()
        conn = env:adopt(near)
        env:own(far)
        r = ffi.new("struct rp_reader")
        conn.on_event = function(self, events)
            if events % 2 == 1 then C.rp_reader_note(r, self.raw) end
        end
    end)

    after_each(function()
        C.rp_reader_clear(r)
        assert.equal(0, tonumber(env.mem.live_bytes))
        env:close()
    end)

    local function fill(cap)
        return c.err_name(C.rp_reader_fill(r, env.mem, conn.raw, cap or 65536))
    end

    local function unread()
        return ffi.string(r.chunk.data + r.at, r["end"] - r.at)
    end

    local function write(bytes)
        assert.equal(#bytes, net.write(far, bytes))
    end

    local function await_event()
        local n = conn.readable
        env:until_true(function() return conn.readable > n end)
    end

    it("makes no system call and holds nothing before an event", function()
        write("x")
        assert.equal("AGAIN", fill())
        assert.is_true(r.chunk == nil)
        await_event()
        assert.equal("OK", fill())
        assert.equal("x", unread())
    end)

    it("appends behind unread bytes", function()
        write("abc")
        await_event()
        assert.equal("OK", fill())
        assert.equal("AGAIN", fill()) -- a short read: not tried again
        write("def")
        await_event()
        assert.equal("OK", fill())
        assert.equal("abcdef", unread())
    end)

    it("gives the buffer back when a try brought nothing", function()
        write("abc")
        await_event()
        assert.equal("OK", fill())
        r.at = r["end"]
        r.readable = true
        assert.equal("AGAIN", fill())
        assert.is_true(r.chunk == nil)
    end)

    it("moves unread bytes only, never those that were lent out", function()
        write(("x"):rep(16000))
        await_event()
        assert.equal("OK", fill())
        local out = ffi.new("struct rp_chain")
        C.rp_chain_init(out, env.mem)
        C.rp_chain_add(out, r.chunk, r.chunk.data, 15990)
        r.at = 15990
        write("tail")
        await_event()
        assert.equal("OK", fill()) -- less than 2 KB are left: a new chunk
        assert.equal(("x"):rep(10) .. "tail", unread())
        assert.equal(("x"):rep(15990), ffi.string(out.head.ptr, out.head.len))
        C.rp_chain_clear(out)
    end)

    it("refuses to keep more than the cap once its chunk is full", function()
        write(("x"):rep(16384))
        await_event()
        assert.equal("OK", fill(16384))
        assert.equal("TOO_BIG", fill(16384))
    end)

    it("takes large chunks while reads fill them", function()
        write(("x"):rep(100000))
        await_event()
        assert.equal("OK", fill())
        assert.equal(16384, #unread())
        r.at = r["end"]
        assert.equal("OK", fill())
        assert.equal(65536, #unread())
    end)

    it("pauses a socket whose bytes nobody takes, and hears again after they were", function()
        write("abc")
        for _ = 1, 20 do C.rp_loop_turn(env.loop, 5) end
        assert.is_true(conn.readable <= 2, "woken " .. conn.readable .. " times")
        assert.is_true(r.paused)
        local n = conn.readable
        assert.equal("OK", fill())
        assert.is_false(r.paused)
        write("def")
        env:until_true(function() return conn.readable > n end)
        assert.equal("OK", fill())
        assert.equal("abcdef", unread())
    end)

    it("hears again when somebody wants to know of the end", function()
        write("abc")
        for _ = 1, 5 do C.rp_loop_turn(env.loop, 5) end
        local n = conn.readable
        C.rp_reader_listen(r, conn.raw)
        env:until_true(function() return conn.readable > n end)
    end)

    it("tells of the end of the stream as often as it is asked", function()
        write("abc")
        sys.shutdown(far, 1)
        await_event()
        assert.equal("OK", fill())
        r.readable = true
        for _ = 1, 3 do assert.equal("END", fill()) end
        assert.equal("abc", unread())
        local from, n = posix.now(), conn.readable
        env:spin(0.03)
        assert.is_true(conn.readable - n <= 1, "no events after the end")
        assert.is_true(posix.now() >= from)
    end)
end)
