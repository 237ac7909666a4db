-- SPDX-License-Identifier: MIT

local c = require("spec.support.c")

local C = c.load { "process/affinity.h" }
local ffi = c.ffi

-- The processor of each of `n` workers, where these are allowed.
local function picks(allowed, wish, n)
    local set, out = ffi.new("uint64_t[?]", C.RP_AFFINITY_WORDS), {}
    for _, cpu in ipairs(allowed) do
        local word = math.floor(cpu / 64)
        set[word] = set[word] + 2ULL ^ (cpu % 64)
    end
    for i = 1, n do out[i] = C.rp_affinity_pick(set, c.str(wish), i - 1) end
    return out
end

describe("rp_affinity_pick", function()
    it("gives nobody one when nothing is wished", function()
        assert.same({ -1, -1 }, picks({ 0, 1 }, "", 2))
    end)

    it("goes through the allowed ones and begins anew", function()
        assert.same({ 0, 1, 0, 1, 0 }, picks({ 0, 1 }, "auto", 5))
        assert.same({ 3, 70, 1023, 3 }, picks({ 1023, 3, 70 }, "auto", 4))
        assert.same({ 63 }, picks({ 63 }, "auto", 1))
    end)

    it("goes through a list, in its order", function()
        assert.same({ 4, 2, 4, 4 }, picks({ 0, 2, 4 }, "4,2,4", 4))
        assert.same({ 1023, 0 }, picks({ 0, 1023 }, "1023,0", 2))
    end)

    it("gives none that is not allowed", function()
        assert.same({ -1, 2 }, picks({ 0, 2 }, "1,2", 2))
        assert.same({ -1 }, picks({ 0 }, "1024", 1))
        assert.same({ -1 }, picks({ 0 }, "99999999999", 1))
        assert.same({ -1, -1 }, picks({}, "auto", 2))
        assert.same({ -1 }, picks({}, "0", 1))
    end)
end)
