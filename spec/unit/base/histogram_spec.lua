-- SPDX-License-Identifier: MIT
--
-- histogram: times in buckets, and what quantiles they give.

local c = require("spec.support.c")
local ffi = c.ffi
local C = c.load { "base/histogram.h" }

describe("a histogram", function()
    local function fill(list)
        local counts = ffi.new("uint32_t[?]", C.RP_HISTOGRAM_BUCKETS)
        for _, us in ipairs(list) do
            local at = C.rp_histogram_at(us)
            counts[at] = counts[at] + 1
        end
        return counts
    end

    it("puts each time into a bucket whose middle is within a sixteenth of it", function()
        local last = 0
        local us = 0
        while us < 1.3e8 do
            local at = C.rp_histogram_at(us)
            assert.is_true(at >= last and at < C.RP_HISTOGRAM_BUCKETS)
            last = at
            assert.is_true(math.abs(C.rp_histogram_us(at) - us) <= us / 16, us)
            us = us < 200 and us + 1 or math.floor(us * 1.01)
        end
    end)

    it("has neither gaps nor overlaps", function()
        local seen = {}
        for bits = 0, 26 do
            for eighth = 0, 7 do
                seen[C.rp_histogram_at(2 ^ bits + math.floor(2 ^ bits * eighth / 8))] = true
            end
        end
        for i = 1, C.RP_HISTOGRAM_BUCKETS - 1 do assert.is_true(seen[i], i) end
    end)

    it("takes any time", function()
        local top = C.RP_HISTOGRAM_BUCKETS - 1
        assert.equal(top, C.rp_histogram_at(2 ^ 27 - 1))
        assert.equal(top, C.rp_histogram_at(2 ^ 27))
        assert.equal(top, C.rp_histogram_at(2 ^ 63))
        assert.equal(0, C.rp_histogram_at(0))
    end)

    it("gives quantiles as they are of the whole list, within a sixteenth", function()
        math.randomseed(7)
        for _, n in ipairs { 1, 2, 10, 1000 } do
            local list = {}
            for i = 1, n do list[i] = math.floor(math.exp(math.random() * 15)) end
            local counts = fill(list)
            table.sort(list)
            for _, q in ipairs { 0, 0.5, 0.9, 0.99, 1 } do
                local exact = list[math.max(1, math.ceil(q * n))]
                local found = C.rp_histogram_quantile(counts, q)
                assert.is_true(math.abs(found - exact) <= exact / 8 + 1, ("%d %g: %d, not %d")
                    :format(n, q, found, exact))
            end
            assert.equal(n, tonumber(C.rp_histogram_sum(counts)))
        end
    end)

    it("has no quantile of nothing", function()
        assert.equal(0, C.rp_histogram_quantile(fill {}, 0.99))
    end)
end)
