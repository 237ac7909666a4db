-- SPDX-License-Identifier: MIT
--
-- flight: who leads, who waits, and what becomes of both.

local c = require("spec.support.c")

jit.off(true, true) -- callbacks from compiled code are none

local ffi = c.ffi
local C = c.load { "proxy/flight.h" }

describe("rp_flight", function()
    local flights, woken, dropped, on_wake, on_drop

    setup(function()
        on_wake = ffi.cast("void (*)(struct rp_flight_seat *)", function(s)
            woken[tonumber(ffi.cast("uintptr_t", s))] = true
        end)
        on_drop = ffi.cast("void (*)(void *)", function(result)
            dropped[#dropped + 1] = tonumber(ffi.cast("uintptr_t", result))
        end)
    end)
    teardown(function()
        on_wake:free()
        on_drop:free()
    end)

    before_each(function()
        flights, woken, dropped = ffi.new("struct rp_flights"), {}, {}
        C.rp_flights_init(flights)
    end)
    after_each(function() C.rp_flights_fini(flights) end)

    local function join(key)
        local s = ffi.new("struct rp_flight_seat")
        s.wake = on_wake
        assert.equal(C.RP_OK, C.rp_flight_join(flights, c.str(key), s))
        return s
    end
    local function was_woken(s)
        return woken[tonumber(ffi.cast("uintptr_t", ffi.cast("void *", s)))] or false
    end
    local function leave(...)
        for _, s in ipairs { ... } do C.rp_flight_leave(s) end
    end

    it("is led by who comes first, by key", function()
        local a, b, other = join("k"), join("k"), join("k2")
        assert.is_true(a.leads)
        assert.is_false(b.leads)
        assert.is_true(other.leads)
        assert.equal(2, C.rp_flight_seats(a))
        assert.is_true(C.rp_flight_next(a) == b)
        assert.is_true(C.rp_flight_next(b) == nil)
        leave(a, b, other)
    end)

    it("is led by who waits longest when its leader leaves", function()
        local a, b, d = join("k"), join("k"), join("k")
        leave(a)
        assert.is_true(b.leads)
        assert.is_false(d.leads)
        assert.is_true(was_woken(b))
        assert.is_false(was_woken(d))
        assert.equal(2, C.rp_flight_leaders(d))
        leave(d, b)
        assert.is_false(was_woken(d))
    end)

    it("tells everybody of its end, and takes nobody more", function()
        local a, b, d = join("k"), join("k"), join("k")
        C.rp_flight_end(a, ffi.cast("void *", 7), on_drop)
        assert.is_true(was_woken(b) and was_woken(d))
        assert.is_true(a.flight == nil)
        assert.is_true(C.rp_flight_has_ended(b))
        assert.is_true(C.rp_flight_result(b) == ffi.cast("void *", 7))
        local late = join("k")
        assert.is_true(late.leads)
        leave(b)
        assert.same({}, dropped)
        assert.is_false(d.leads) -- nobody leads what has ended
        leave(d)
        assert.same({ 7 }, dropped)
        leave(late)
    end)

    it("may end with nothing", function()
        local a, b = join("k"), join("k")
        C.rp_flight_end(a, nil, nil)
        assert.is_true(C.rp_flight_result(b) == nil)
        leave(b)
    end)

    it("drops its result when nobody waits for it", function()
        local a = join("k")
        C.rp_flight_end(a, ffi.cast("void *", 9), on_drop)
        assert.same({ 9 }, dropped)
    end)

    it("may be left twice, and never joined", function()
        local a = join("k")
        leave(a, a, ffi.new("struct rp_flight_seat"))
    end)

    it("holds in any order of comings and goings", function()
        local seats, seed = {}, 12345
        local function dice(n)
            seed = (seed * 1103515245 + 12345) % 2147483648
            return math.floor(seed / 65536) % n
        end
        for _ = 1, 5000 do
            local at = dice(20)
            if seats[at] and seats[at].leads and dice(3) == 0 then
                C.rp_flight_end(seats[at], nil, nil)
                seats[at] = nil
            elseif seats[at] then
                leave(seats[at])
                seats[at] = nil
            else
                seats[at] = join("k" .. dice(3))
            end
            local leaders = {}
            for _, s in pairs(seats) do
                local f = tonumber(ffi.cast("uintptr_t", s.flight))
                if not C.rp_flight_has_ended(s) then
                    leaders[f] = (leaders[f] or 0) + (s.leads and 1 or 0)
                end
            end
            for _, n in pairs(leaders) do assert.equal(1, n) end
        end
        for _, s in pairs(seats) do leave(s) end
    end)
end)
