-- SPDX-License-Identifier: MIT
--
-- connpool: idle connections by address: newest first, bounded, short-lived, closed at any news.

local net = require("spec.support.net")

local C, ffi, c, sys = net.C, net.ffi, net.c, net.sys
c.load { "proxy/connpool.h" }

describe("rp_connpool", function()
    local env, pool, port, listener, far, slots

    before_each(function()
        env = net.open()
        pool = C.rp_connpool_new(env.loop)
        listener, port = net.tcp_listen()
        far, slots = {}, {}
    end)

    after_each(function()
        C.rp_connpool_clear(pool)
        for _, slot in ipairs(slots) do C.rp_connpool_drop(pool, slot) end
        C.rp_connpool_free(ffi.new("struct rp_connpool *[1]", pool))
        for _, fd in ipairs(far) do sys.close(fd) end
        sys.close(listener)
        env:close()
    end)

    local function hold(text, owner)
        local slot = C.rp_connpool_hold(pool, net.addr(text or "127.0.0.1:" .. port), owner or 0)
        slots[#slots + 1] = slot
        return slot
    end

    -- A connected upstream connection; its other end is far[#far].
    local function connect()
        local out, fail = ffi.new("struct rp_up *[1]"), ffi.new("struct rp_conn_fail")
        local addr = net.addr("127.0.0.1:" .. port)
        assert.equal(0, C.rp_h1_up_connect(env.loop, env.mem, addr, out, fail))
        far[#far + 1] = sys.accept4(listener, nil, nil, net.NONBLOCK)
        env:until_true(function() return net.up.finish_connect(out[0]) == 0 end)
        return out[0]
    end

    local function idle(slot) return C.rp_connpool_idle(slot) end
    local function is_closed(fd) return net.read(fd) == "" end

    it("has one slot per address, for as long as somebody uses it", function()
        local a, b, other = hold("10.0.0.1:80"), hold("10.0.0.1:80"), hold("10.0.0.1:81")
        assert.is_true(a == b)
        assert.is_false(a == other)
        assert.equal("10.0.0.1:80", net.text(C.rp_connpool_addr(a)))
        slots[#slots + 1] = C.rp_connpool_ref(other)
    end)

    it("keeps the connections of one owner from another", function()
        local mine, theirs = hold(nil, 1), hold(nil, 2)
        assert.is_false(mine == theirs)
        C.rp_connpool_put(mine, connect(), 8, 60000)
        assert.is_true(C.rp_connpool_take(theirs) == nil)
        assert.equal(1, idle(mine))
    end)

    it("gives the newest first", function()
        local slot = hold()
        assert.is_true(C.rp_connpool_take(slot) == nil)
        local first, second = connect(), connect()
        C.rp_connpool_put(slot, first, 8, 60000)
        C.rp_connpool_put(slot, second, 8, 60000)
        assert.equal(2, idle(slot))
        assert.is_true(C.rp_connpool_take(slot) == second)
        assert.is_true(C.rp_connpool_take(slot) == first)
        assert.is_true(C.rp_connpool_take(slot) == nil)
        net.up.close(first)
        net.up.close(second)
    end)

    it("closes the oldest when there are too many, and everything when none are wanted", function()
        local slot = hold()
        for _ = 1, 3 do C.rp_connpool_put(slot, connect(), 2, 60000) end
        assert.equal(2, idle(slot))
        C.rp_loop_turn(env.loop, 1)
        env:until_true(function() return is_closed(far[1]) end)
        assert.is_false(is_closed(far[2]))
        C.rp_connpool_put(slot, connect(), 0, 60000)
        env:until_true(function() return is_closed(far[4]) end)
        assert.equal(2, idle(slot))
    end)

    it("closes what was idle too long, each in its time", function()
        local slot = hold()
        C.rp_connpool_put(slot, connect(), 8, 1000)
        env:spin(0.5)
        C.rp_connpool_put(slot, connect(), 8, 1000)
        env:until_true(function() return idle(slot) == 1 end)
        env:until_true(function() return is_closed(far[1]) end)
        assert.is_false(is_closed(far[2]))
        env:until_true(function() return idle(slot) == 0 end)
    end)

    it("closes a connection that has news: its end, or bytes nobody asked for", function()
        local slot = hold()
        for _ = 1, 3 do C.rp_connpool_put(slot, connect(), 8, 60000) end
        net.write(far[1], "HTTP/1.1 408 Request Timeout\r\n\r\n")
        env:until_true(function() return idle(slot) == 2 end)
        sys.shutdown(far[2], 1)
        env:until_true(function() return idle(slot) == 1 end)
        net.reset_on_close(far[3])
        sys.close(far[3])
        far[3] = nil
        env:until_true(function() return idle(slot) == 0 end)
    end)

    it("keeps connections of an address nobody uses until their time is over", function()
        local addr = net.addr("127.0.0.1:" .. port)
        local slot = C.rp_connpool_hold(pool, addr, 0)
        C.rp_connpool_put(slot, connect(), 8, 60000)
        C.rp_connpool_drop(pool, slot)
        local again = hold()
        assert.is_true(again == slot)
        assert.equal(1, idle(again))
        C.rp_connpool_clear(pool)
        assert.equal(0, idle(again))
    end)

    it("can tell whether a connection is still good before the loop does", function()
        local slot = hold()
        C.rp_connpool_put(slot, connect(), 8, 60000)
        local up = C.rp_connpool_take(slot)
        assert.is_true(net.up.is_quiet(up))
        net.write(far[1], "x")
        assert.is_false(net.up.is_quiet(up))
        net.up.close(up)
    end)
end)
