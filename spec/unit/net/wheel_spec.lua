-- SPDX-License-Identifier: MIT

local net = require("spec.support.net")
local C, ffi = net.C, net.ffi

local NEVER = 0xffffffffffffffffULL

describe("rp_wheel", function()
    local wheel, timers, fired, now, callback, on_fire

    local function at(ms) return ffi.cast("uint64_t", ms) end

    before_each(function()
        wheel = ffi.new("struct rp_wheel")
        timers, fired, on_fire = {}, {}, nil
        now = 1000003
        C.rp_wheel_init(wheel, now)
        callback = ffi.cast("void (*)(struct rp_timer *)", function(t)
            local name = timers[tostring(ffi.cast("void *", t))]
            fired[#fired + 1] = name
            if on_fire then on_fire(name, t) end
        end)
    end)
    after_each(function() callback:free() end)

    local function timer(name)
        local t = ffi.new("struct rp_timer")
        C.rp_timer_init(t, callback)
        timers[tostring(ffi.cast("void *", t))] = name
        timers[#timers + 1] = t -- anchor
        return t
    end

    local function add(t, ms)
        t.at_ms = at(ms)
        return C.rp_wheel_add(wheel, t, now)
    end

    local function run(ms)
        now = ms
        C.rp_wheel_run(wheel, now)
    end

    it("is empty at first", function()
        assert.is_true(wheel.next_ms == NEVER)
        run(now + 10)
        assert.is_true(wheel.next_ms == NEVER)
    end)

    it("fires once, not early, and is unarmed then", function()
        local t = timer("a")
        assert.is_true(add(t, now + 10))
        assert.equal(now + 10, tonumber(wheel.next_ms))
        assert.is_true(C.rp_timer_is_armed(t))
        run(now + 9)
        assert.same({}, fired)
        run(now + 1)
        assert.same({ "a" }, fired)
        assert.is_false(C.rp_timer_is_armed(t))
        run(now + 100000)
        assert.same({ "a" }, fired)
    end)

    it("tells only when the earliest time moves forward", function()
        assert.is_true(add(timer("a"), now + 100))
        assert.is_false(add(timer("b"), now + 100))
        assert.is_false(add(timer("c"), now + 60000))
        assert.is_true(add(timer("d"), now + 99))
    end)

    it("takes a timer for now or the past at the next run", function()
        add(timer("now"), now)
        assert.equal(now, tonumber(wheel.next_ms))
        add(timer("past"), now - 500)
        run(now)
        assert.same({ "past", "now" }, fired)
    end)

    for _, delay in ipairs { 1, 2, 255, 256, 257, 300, 1000, 1023, 1024, 1025, 4095, 4097, 16383,
        20000, 65535, 65537, 120000, 262143, 262145, 1000000, 4194303, 4194305, 10000000, 86400000,
        31536000000 } do
        it("is never early and at most 1.6% late after " .. delay .. " ms", function()
            local from = now
            add(timer("a"), from + delay)
            while #fired == 0 do
                local next_ms = tonumber(wheel.next_ms)
                assert.is_true(next_ms > now)
                run(next_ms)
            end
            local late = now - (from + delay)
            assert.is_true(late >= 0, "early by " .. -late)
            assert.is_true(late <= math.max(0.016 * delay, 1), "late by " .. late)
        end)
    end

    it("keeps its precision when it has not run for long", function()
        add(timer("far"), now + 3600000)
        now = now + 1800000 -- nothing came up meanwhile: nobody ran it
        add(timer("near"), now + 5)
        assert.equal(now + 5, tonumber(wheel.next_ms))
        run(now + 5)
        assert.same({ "near" }, fired)
    end)

    it("fires in order of time after a long jump, each once, ties as armed", function()
        local expected = {}
        for _, delay in ipairs { 5000000, 3, 700, 70000, 3, 1, 256, 2500, 300000000, 70000 } do
            local name = ("%012d.%d"):format(delay, #expected)
            expected[#expected + 1] = name
            add(timer(name), now + delay)
        end
        table.sort(expected)
        run(now + 400000000)
        assert.same(expected, fired)
        assert.is_true(wheel.next_ms == NEVER)
    end)

    it("clears, also twice, and what is not armed", function()
        local a, b = timer("a"), timer("b")
        C.rp_wheel_remove(a)
        add(a, now + 10)
        add(b, now + 10)
        C.rp_wheel_remove(a)
        C.rp_wheel_remove(a)
        assert.is_false(C.rp_timer_is_armed(a))
        run(now + 20)
        assert.same({ "b" }, fired)
    end)

    it("finds the next time after the earliest one was cleared", function()
        local a = timer("a")
        add(a, now + 10)
        add(timer("b"), now + 50)
        C.rp_wheel_remove(a)
        run(now + 10)
        assert.same({}, fired)
        assert.equal(now + 40, tonumber(wheel.next_ms))
    end)

    it("lets a callback arm its own timer again, without spinning", function()
        on_fire = function(_, t)
            if #fired < 3 then add(t, now) end
        end
        add(timer("a"), now + 1)
        run(now + 1)
        assert.same({ "a" }, fired)
        assert.equal(now + 1, tonumber(wheel.next_ms))
        run(now + 1)
        run(now + 1)
        run(now + 1)
        assert.same({ "a", "a", "a" }, fired)
    end)

    it("lets a callback clear and move others that are due in the same run", function()
        local b, d = timer("b"), timer("d")
        on_fire = function(name)
            if name ~= "a" then return end
            C.rp_wheel_remove(b)
            C.rp_wheel_remove(d)
            add(d, now + 30)
        end
        add(timer("a"), now + 1)
        add(b, now + 2)
        add(timer("c"), now + 3)
        add(d, now + 3)
        run(now + 10)
        assert.same({ "a", "c" }, fired)
        assert.equal(now + 30, tonumber(wheel.next_ms))
        run(now + 30)
        assert.same({ "a", "c", "d" }, fired)
    end)

    it("agrees with a plain list over 20000 random steps", function()
        math.randomseed(7)
        local model, live, jumped = {}, {}, false
        local spans = { 2, 50, 300, 1200, 5000, 20000, 90000, 500000, 9000000 }
        on_fire = function(name)
            local due = model[name]
            assert(due, "fired though not armed: " .. name)
            assert(due.at <= now, "early")
            -- it may lie in wait until the slot's end, never beyond that
            local late = now - due.at
            assert(jumped or late <= math.max(0.017 * (due.at - due.from), 2), "late by " .. late)
            model[name] = nil
        end
        for i = 1, 200 do live[i] = timer(i) end
        local count = 0
        for _ = 1, 20000 do
            local i = math.random(200)
            local dice = math.random(10)
            if dice <= 5 then
                local delay = math.random(0, spans[math.random(#spans)])
                C.rp_wheel_remove(live[i])
                add(live[i], now + delay)
                model[i] = { at = now + delay, from = now }
            elseif dice <= 6 then
                C.rp_wheel_remove(live[i])
                model[i] = nil
            else
                local next_ms = tonumber(wheel.next_ms)
                local to = now + math.random(0, spans[math.random(4)])
                if next_ms < to then to = next_ms end
                run(to)
                count = count + 1
            end
            assert(model[i] == nil or C.rp_timer_is_armed(live[i]))
        end
        assert.is_true(#fired > 1000 and count > 1000)
        jumped = true
        run(now + 1e9)
        assert.is_nil(next(model))
        assert.is_true(wheel.next_ms == NEVER)
    end)
end)
