-- SPDX-License-Identifier: MIT
--
-- A loop that is cut off: its time, its timers, and where its connections lead. The clock of this process
-- stays held.

local c = require("spec.support.c")
local net = require("spec.support.net")

local ffi = net.ffi
local C = c.load { "net/lab.h", "net/conn.h", "net/timer.h", "net/wheel.h",
    "base/random.h" }

local SECOND = 1000000000ULL

describe("rp_wheel", function()
    it("fires to the millisecond when it is told to, in order", function()
        local wheel, timers, order = ffi.new("struct rp_wheel"), {}, {}
        C.rp_wheel_init(wheel, 1000)
        local fires = {}
        for i, at in ipairs { 4999, 1001, 90000, 5000, 1001 } do
            local timer = ffi.new("struct rp_timer")
            fires[i] = ffi.cast("void (*)(struct rp_timer *)", function() order[#order + 1] = i end)
            timer.fire, timer.at_ms = fires[i], at
            timers[i] = timer -- kept from the collector
            C.rp_wheel_add(wheel, timer, 1000)
        end
        assert.equal(1001, tonumber(C.rp_wheel_first(wheel)))
        C.rp_wheel_run_exact(wheel, 1000)
        assert.same({}, order)
        C.rp_wheel_run_exact(wheel, 1001)
        assert.same({ 2, 5 }, order)
        assert.equal(4999, tonumber(C.rp_wheel_first(wheel)))
        C.rp_wheel_run_exact(wheel, 4999)
        assert.same({ 2, 5, 1 }, order)
        C.rp_wheel_run_exact(wheel, 100000)
        assert.same({ 2, 5, 1, 4, 3 }, order)
        assert.is_true(C.rp_wheel_first(wheel) == 0xffffffffffffffffULL)
        assert.equal(5, #timers)
        for _, fire in ipairs(fires) do fire:free() end
    end)

    it("takes timers again that it has fired", function()
        local wheel, timer, n = ffi.new("struct rp_wheel"), ffi.new("struct rp_timer"), 0
        local fire = ffi.cast("void (*)(struct rp_timer *)", function() n = n + 1 end)
        C.rp_wheel_init(wheel, 1000)
        timer.fire = fire
        for now = 1000, 1500 do
            timer.at_ms = now + 1
            C.rp_wheel_add(wheel, timer, now)
            C.rp_wheel_run_exact(wheel, now)
            assert.equal(now - 1000, n)
            C.rp_wheel_run_exact(wheel, now + 1)
        end
        fire:free()
    end)
end)

describe("a held clock", function()
    it("says what it was told, and the real one goes on", function()
        C.rp_clock_hold(7 * SECOND, 1.5e9)
        assert.is_true(C.rp_clock_mono_ns() == 7 * SECOND)
        assert.equal(1.5e9, C.rp_clock_wall())
        local from = C.rp_clock_real_ns()
        repeat until C.rp_clock_real_ns() > from
        assert.is_true(C.rp_clock_mono_ns() == 7 * SECOND)
    end)
end)

describe("fixed dice", function()
    it("are the same again", function()
        local function draw(n)
            local out = ffi.new("uint8_t[?]", n)
            C.rp_random_bytes(out, n)
            return ffi.string(out, n)
        end
        C.rp_random_fix(42)
        local a, b = draw(16), draw(1000)
        C.rp_random_fix(42)
        assert.equal(a, draw(16))
        assert.equal(b, draw(1000))
        C.rp_random_fix(43)
        assert.not_equal(a, draw(16))
    end)
end)

describe("a loop that is cut off", function()
    local mem, loop, asked, connect, lab

    before_each(function()
        C.rp_clock_hold(100 * SECOND, 1.5e9)
        mem = C.rp_mem_new()
        loop = C.rp_loop_new(mem)
        asked = {}
        lab = ffi.new("struct rp_lab_net")
        connect = ffi.cast("int (*)(void *, const struct rp_addr *, bool)", function(_, to)
            asked[#asked + 1] = tonumber(to.port)
            return -111 -- ECONNREFUSED
        end)
        lab.connect = connect -- names: spec/kit (no callback of Lua takes an rp_str)
        C.rp_loop_cut_off(loop, lab)
    end)
    after_each(function()
        C.rp_loop_free(ffi.new("struct rp_loop *[1]", loop))
        C.rp_mem_free(ffi.new("struct rp_mem *[1]", mem))
        connect:free()
    end)

    it("has the time that it is given", function()
        assert.equal(100000, tonumber(C.rp_loop_now(loop)))
        local fired = false
        local timer = ffi.new("struct rp_timer")
        local fire = ffi.cast("void (*)(struct rp_timer *)", function() fired = true end)
        C.rp_timer_init(timer, fire)
        C.rp_timer_set(loop, timer, 5000)
        C.rp_loop_turn(loop, 0)
        assert.equal(105000, tonumber(C.rp_loop_first_timer(loop)))
        C.rp_clock_hold(104 * SECOND, 1.5e9)
        C.rp_loop_catch_up(loop)
        assert.is_false(fired)
        C.rp_clock_hold(105 * SECOND, 1.5e9)
        C.rp_loop_catch_up(loop)
        assert.is_true(fired)
        fire:free()
    end)

    it("connects by its lab alone", function()
        local to, conn = ffi.new("struct rp_addr"), ffi.new("struct rp_conn *[1]")
        local fail = ffi.new("struct rp_conn_fail")
        assert.equal(0, C.rp_addr_parse(c.str("127.0.0.1:9"), to))
        assert.equal(tonumber(C.RP_E_UP_CONNECT), C.rp_conn_connect(loop, to, conn, fail))
        assert.equal(111, fail.os)
        assert.same({ 9 }, asked)
    end)
end)
