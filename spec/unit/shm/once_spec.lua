-- SPDX-License-Identifier: MIT

local c = require("spec.support.c")
local ffi = c.ffi
local C = c.load { "shm/zone.h", "shm/once.h" }

local WAYS, WINDOW_MS = tonumber(C.RP_ONCE_WAYS), tonumber(C.RP_ONCE_WINDOW_S) * 1000

describe("rp_once", function()
    local zone, once

    local function open()
        local out = ffi.new("struct rp_once *[1]")
        assert.equal(0, C.rp_once_new(zone[0], c.str("early"), out))
        return ffi.gc(out, C.rp_once_free)
    end

    before_each(function()
        local out = ffi.new("struct rp_zone *[1]")
        assert(C.rp_zone_new(c.str("test"), C.rp_once_bytes(), out) == 0)
        zone = ffi.gc(out, C.rp_zone_free)
        once = open()
    end)

    -- An id by its set and what tells it from others of the set.
    local function id(set, n)
        local halves = ffi.new("uint64_t[2]", set, n)
        return ffi.string(halves, 16)
    end

    local function take(bytes, now_ms, wall_s, of)
        return C.rp_once_take((of or once)[0], bytes, now_ms or 1e6, wall_s or 1e9)
    end

    it("takes an id once, and other ids", function()
        assert.is_true(take(id(1, 7)))
        assert.is_false(take(id(1, 7)))
        assert.is_true(take(id(1, 8)))
        assert.is_true(take(id(2, 7)))
        assert.is_false(take(id(2, 7)))
    end)

    it("takes an id of nothing but zeros once", function()
        assert.is_true(take(id(0, 0)))
        assert.is_false(take(id(0, 0)))
    end)

    it("knows ids by another handle of the zone", function()
        assert.is_true(take(id(1, 7)))
        assert.is_false(take(id(1, 7), nil, nil, open()))
    end)

    it("takes no more than a set holds within the window", function()
        for n = 1, WAYS do assert.is_true(take(id(3, n), 1e6 + n)) end
        assert.is_false(take(id(3, 100), 1e6 + WINDOW_MS))
        assert.is_true(take(id(4, 100), 1e6 + WINDOW_MS))
    end)

    it("gives the place of the oldest id away after the window, and keeps the others", function()
        for n = 1, WAYS do assert.is_true(take(id(3, n), 1e6 + (n == 5 and 0 or 2000))) end
        local later = 1e6 + WINDOW_MS + 1000
        assert.is_true(take(id(3, 100), later))
        assert.is_false(take(id(3, 4), later))
        assert.is_false(take(id(3, 101), later)) -- the next one is still young
        assert.is_true(take(id(3, 5), later + 3000)) -- forgotten: its replay is old by now
    end)

    it("remembers ids beyond the window while nobody needs their place", function()
        assert.is_true(take(id(1, 7)))
        assert.is_false(take(id(1, 7), 1e6 + 100 * WINDOW_MS))
    end)

    it("does not drive out an id that another clock reading puts into the future", function()
        for n = 1, WAYS do assert.is_true(take(id(3, n), 1e6 + 2000)) end
        assert.is_false(take(id(3, 100), 1e6))
    end)

    it("takes nothing while the wall clock is behind what it was", function()
        assert.is_true(take(id(1, 1), 1e6, 1000))
        assert.is_true(take(id(1, 2), 1e6, 999)) -- corrected by a second
        assert.is_false(take(id(1, 3), 1e6, 998))
        assert.is_false(take(id(1, 3), 1e6, 10))
        assert.is_true(take(id(1, 3), 1e6, 1000))
    end)
end)
