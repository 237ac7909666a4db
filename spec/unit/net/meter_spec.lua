-- SPDX-License-Identifier: MIT
--
-- meter: connections of a loop, and whom their ends are told.

local c = require("spec.support.c")

local ffi = c.ffi
local C = c.load { "net/meter.h", "net/addr.h" }

jit.off()

describe("meter", function()
    local m, left, callback

    before_each(function()
        m, left = ffi.new("struct rp_meter"), {}
        callback = ffi.cast("void (*)(void *, uint32_t)", function(_, seat)
            left[#left + 1] = seat
        end)
        m.on_leave = callback
    end)

    after_each(function() callback:free() end)

    local function enter(seat)
        local pass = ffi.new("struct rp_meter_pass")
        C.rp_meter_enter(m, pass)
        pass.seat = seat or 0
        return pass
    end

    it("counts what enters and leaves, and tells the seat of each", function()
        local a, b = enter(7), enter()
        assert.equal(2, m.conns_n)
        C.rp_meter_leave(m, a)
        C.rp_meter_leave(m, b)
        assert.equal(0, m.conns_n)
        assert.same({ 7, 0 }, left)
    end)

    it("gives a pass back once, and none for none", function()
        local a = enter(7)
        C.rp_meter_leave(m, a)
        C.rp_meter_leave(m, a)
        C.rp_meter_leave(m, ffi.new("struct rp_meter_pass"))
        assert.equal(0, m.conns_n)
        assert.same({ 7 }, left)
    end)

    it("needs nobody who listens", function()
        m.on_leave = nil
        C.rp_meter_leave(m, enter(7))
        assert.equal(0, m.conns_n)
    end)

    local function net(text, bits)
        local a, out = ffi.new("struct rp_addr"), ffi.new("uint8_t[16]")
        if text:find("^unix:") then
            assert.equal(0, C.rp_addr_parse(c.str(text), a))
        else
            assert.equal(0, C.rp_addr_parse_ip(c.str(text), a))
        end
        if not C.rp_meter_net(a, bits or 64, out) then return nil end
        return (ffi.string(out, 16):gsub(".", function(ch) return ("%02x"):format(ch:byte()) end))
    end

    it("takes each IPv4 address for a client, mapped ones too", function()
        assert.equal("00000000000000000000ffff01020304", net("1.2.3.4"))
        assert.equal(net("1.2.3.4"), net("::ffff:1.2.3.4"))
        assert.equal("00000000000000000000ffff01020304", net("1.2.3.4", 1))
    end)

    it("takes an IPv6 network of so many bits for a client", function()
        local text = "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"
        assert.equal("20010db8ffffffff0000000000000000", net(text, 64))
        assert.equal("20010db8ffff00000000000000000000", net(text, 48))
        assert.equal("20010db8fffffe000000000000000000", net(text, 55))
        assert.equal("20010db8ffffffffffffffffffffffff", net(text, 128))
        assert.equal("00000000000000000000000000000000", net(text, 1))
        assert.equal("00000000000000000000000000000000", net("::1", 64)) -- not a mapped address
    end)

    it("takes what is no IP for no client", function()
        assert.is_nil(net("unix:/x"))
    end)
end)
