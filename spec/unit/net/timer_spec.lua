-- SPDX-License-Identifier: MIT

local net = require("spec.support.net")
local C, ffi, posix = net.C, net.ffi, net.posix

describe("rp_timer on a loop", function()
    local env

    before_each(function() env = net.open() end)
    after_each(function() env:close() end)

    local function timer(fn)
        local t = env:anchor(ffi.new("struct rp_timer"))
        C.rp_timer_init(t, env:callback("void (*)(struct rp_timer *)", fn))
        return t
    end

    it("fires in order of time, none early by the loop's clock", function()
        local fired, early = {}, 0
        for _, ms in ipairs { 30, 5, 20, 1, 12 } do
            local due
            local t = timer(function()
                fired[#fired + 1] = ms
                if C.rp_loop_now(env.loop) < due then early = early + 1 end
            end)
            due = C.rp_loop_now(env.loop) + ms
            C.rp_timer_set(env.loop, t, ms)
        end
        env:until_true(function() return #fired == 5 end)
        assert.same({ 1, 5, 12, 20, 30 }, fired)
        assert.equal(0, early)
    end)

    it("can be cleared and moved, later and sooner", function()
        local fired = {}
        local a = timer(function() fired[#fired + 1] = "a" end)
        local b = timer(function() fired[#fired + 1] = "b" end)
        local d = timer(function() fired[#fired + 1] = "d" end)
        C.rp_timer_set(env.loop, a, 5)
        C.rp_timer_set(env.loop, b, 10000)
        C.rp_timer_set(env.loop, d, 5)
        C.rp_timer_clear(env.loop, d)
        C.rp_timer_set(env.loop, a, 40) -- later
        C.rp_timer_set(env.loop, b, 20) -- sooner
        assert.is_false(C.rp_timer_is_armed(d))
        env:until_true(function() return #fired == 2 end)
        env:spin(0.03)
        assert.same({ "b", "a" }, fired)
    end)

    it("keeps its time when it is moved on again and again", function()
        local fired, early, due = 0, 0, 0
        local t = timer(function()
            fired = fired + 1
            if tonumber(C.rp_loop_now(env.loop)) < due then early = early + 1 end
        end)
        local other = timer(function() end)
        for _ = 1, 10 do -- mostly before it comes up
            due = tonumber(C.rp_loop_now(env.loop)) + 30
            C.rp_timer_set(env.loop, t, 30)
            C.rp_timer_set(env.loop, other, 1) -- the wheel runs meanwhile
            env:spin(0.01)
        end
        env:until_true(function() return fired > 0 and not C.rp_timer_is_armed(t) end)
        assert.equal(0, early)
    end)

    it("rests without being armed, and is armed again", function()
        local fired = 0
        local t = timer(function() fired = fired + 1 end)
        C.rp_timer_set(env.loop, t, 5)
        t.at_ms = 0xffffffffffffffffULL -- rp_timer_rest
        assert.is_false(C.rp_timer_is_armed(t))
        env:spin(0.03)
        assert.equal(0, fired)
        C.rp_timer_set(env.loop, t, 5)
        t.at_ms = 0xffffffffffffffffULL
        C.rp_timer_set(env.loop, t, 10)
        assert.is_true(C.rp_timer_is_armed(t))
        env:until_true(function() return fired == 1 end)
        C.rp_timer_clear(env.loop, t)
    end)

    it("fires a timer of 0 ms in the next turn, and may set itself again", function()
        local fired = 0
        local t
        t = timer(function()
            fired = fired + 1
            if fired < 4 then C.rp_timer_set(env.loop, t, 0) end
        end)
        C.rp_timer_set(env.loop, t, 0)
        assert.equal(0, fired) -- never from inside set
        env:until_true(function() return fired == 4 end)
        assert.is_false(C.rp_timer_is_armed(t))
    end)

    it("fires everything once after the process stood still", function()
        local fired = {}
        for _, ms in ipairs { 300, 10, 120, 40 } do
            local t = timer(function() fired[#fired + 1] = ms end)
            C.rp_timer_set(env.loop, t, ms)
        end
        posix.sleep(0.35)
        C.rp_loop_turn(env.loop, 1)
        C.rp_loop_turn(env.loop, 0)
        assert.same({ 10, 40, 120, 300 }, fired)
    end)

    it("bounds an absurd delay instead of overflowing", function()
        local t = timer(function() error("fired") end)
        C.rp_timer_set(env.loop, t, 0xffffffffffffffffULL)
        assert.is_true(t.at_ms > C.rp_loop_now(env.loop))
        C.rp_loop_turn(env.loop, 2)
        assert.is_true(C.rp_timer_is_armed(t))
        C.rp_timer_clear(env.loop, t)
    end)
end)
