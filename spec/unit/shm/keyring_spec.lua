-- SPDX-License-Identifier: MIT

local c = require("spec.support.c")
local ffi = c.ffi
local C = c.load { "shm/zone.h", "shm/keyring.h" }

local KEYS, BYTES = 3, 80

describe("rp_keyring", function()
    local zone, ring

    local function open()
        local out = ffi.new("struct rp_keyring *[1]")
        assert.equal(0, C.rp_keyring_new(zone[0], c.str("tickets"), out))
        return ffi.gc(out, C.rp_keyring_free)
    end

    before_each(function()
        local out = ffi.new("struct rp_zone *[1]")
        assert(C.rp_zone_new(c.str("test"), C.rp_keyring_bytes(), out) == 0)
        zone = ffi.gc(out, C.rp_zone_free)
        ring = open()
    end)

    local function read(from, version)
        version = version or ffi.new("uint64_t[1]")
        local keys = ffi.new("uint8_t[3][80]")
        if not C.rp_keyring_read(from[0], version, keys) then return nil, version end
        local out = {}
        for i = 1, KEYS do out[i] = ffi.string(keys[i - 1], BYTES) end
        return out, version
    end

    it("begins with keys that nobody knows", function()
        local keys = read(ring)
        assert.equal(BYTES, #keys[1])
        for i = 1, KEYS do
            assert.not_equal(("\0"):rep(BYTES), keys[i])
            assert.not_equal(keys[i], keys[i % KEYS + 1])
        end
    end)

    it("moves each key on by a rotation, and draws a new one", function()
        local before = read(ring)
        C.rp_keyring_rotate(ring[0])
        local after = read(ring)
        assert.equal(before[1], after[2])
        assert.equal(before[2], after[3])
        for i = 1, KEYS do assert.not_equal(after[1], before[i]) end
    end)

    it("gives a copy only when something changed", function()
        local _, version = read(ring)
        assert.is_nil((read(ring, version)))
        C.rp_keyring_rotate(ring[0])
        assert.truthy((read(ring, version)))
        assert.is_nil((read(ring, version)))
    end)

    it("is found again with its keys", function()
        assert.same(read(ring), read(open()))
    end)
end)
