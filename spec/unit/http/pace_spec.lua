-- SPDX-License-Identifier: MIT
--
-- pace: too slow on average over the time of waiting.

local c = require("spec.support.c")

local ffi = c.ffi
local C = c.load { "http/pace.h" }

describe("pace", function()
    local p, rule, now

    before_each(function()
        p, rule = ffi.new("struct rp_pace"), ffi.new("struct rp_pace_rule", 100, 1000)
        now = 5000
    end)

    local function wait(ms)
        C.rp_pace_wait(p, now)
        now = now + ms
    end

    local function come(n)
        C.rp_pace_go(p, now)
        p.bytes = p.bytes + n
    end

    local function slow() return C.rp_pace_is_slow(p, rule, now) end
    local function left() return tonumber(C.rp_pace_left(p, rule, now)) end

    it("allows the grace, and not a millisecond more", function()
        assert.equal(1001, left())
        wait(1000)
        assert.is_false(slow())
        assert.equal(1, left())
        now = now + 1
        assert.is_true(slow())
        assert.equal(1, left())
    end)

    it("is slow when too little comes, however often", function()
        local rounds = 0
        while not slow() and rounds < 1000 do
            wait(100)
            come(5) -- 50 bytes a second
            rounds = rounds + 1
        end
        assert.equal(11, rounds)
    end)

    it("is not slow at the rate, for ever", function()
        for _ = 1, 10000 do
            wait(100)
            come(10)
            assert.is_false(slow())
        end
    end)

    it("remembers what came fast", function()
        come(500) -- worth 5 s
        wait(4999)
        assert.is_false(slow())
        assert.equal(2, left())
        now = now + 2
        assert.is_true(slow())
    end)

    it("does not count the time of others", function()
        wait(900)
        come(1)
        now = now + 100000
        assert.is_false(slow())
        wait(50)
        assert.is_false(slow())
        assert.equal(51, left())
    end)

    it("waits once, however often it is told", function()
        wait(600)
        C.rp_pace_wait(p, now)
        now = now + 401
        assert.is_true(slow())
        C.rp_pace_go(p, now)
        C.rp_pace_go(p, now + 1000)
        assert.equal(1001, tonumber(p.waited_ms))
    end)

    it("has no rule at rate 0", function()
        rule.rate = 0
        wait(1e9)
        assert.is_false(slow())
        assert.equal(2 ^ 64, left())
    end)

    it("does not overflow", function()
        p.bytes = ffi.cast("uint64_t", -1)
        rule.rate = 1
        wait(1e12)
        assert.is_false(slow())
        assert.is_true(left() > 1e15)
        rule.grace_ms = ffi.cast("uint64_t", -1)
        assert.is_true(left() > 1e15)
        rule.rate, rule.grace_ms, p.bytes = 2 ^ 40, 1, 2 ^ 40 - 1
        assert.is_true(slow())
    end)

    it("takes a clock that stands still or steps back for no time", function()
        C.rp_pace_wait(p, now)
        now = now - 100
        assert.is_false(slow())
        C.rp_pace_go(p, now)
        assert.equal(0, tonumber(p.waited_ms))
    end)
end)
