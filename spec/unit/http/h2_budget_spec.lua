-- SPDX-License-Identifier: MIT
--
-- h2_budget: bursts, refills, and one bucket per kind.

local c = require("spec.support.c")

local ffi = c.ffi
local C = c.load { "http/h2_budget.h" }

describe("h2_budget", function()
    local b, now

    before_each(function()
        b, now = ffi.new("struct rp_h2_budget"), 1000000
    end)

    local function take(kind)
        return C.rp_h2_budget_take(b, kind, now)
    end

    -- How many pass before one does not.
    local function burst(kind)
        for n = 0, 100000 do
            if not take(kind) then return n end
        end
    end

    it("lets a burst pass and then nothing more", function()
        local n = burst(C.RP_H2_RESETS)
        assert.is_true(n >= 100 and n <= 1000, n) -- a page's streams; not a flood's
        assert.is_false(take(C.RP_H2_RESETS))
    end)

    it("fills again with time, never beyond the burst", function()
        local n = burst(C.RP_H2_RESETS)
        now = now + 1000
        local again = burst(C.RP_H2_RESETS)
        assert.is_true(again > 0 and again < n, again)
        now = now + 3600 * 1000
        assert.equal(n, burst(C.RP_H2_RESETS))
    end)

    it("does not lose the time between frames that come faster than it fills", function()
        burst(C.RP_H2_EMPTIES)
        local passed = 0
        for _ = 1, 1000 do
            now = now + 1
            if take(C.RP_H2_EMPTIES) then passed = passed + 1 end
        end
        assert.is_true(passed >= 10 and passed <= 40, passed)
    end)

    it("keeps the kinds apart", function()
        burst(C.RP_H2_RESETS)
        for kind = 0, C.RP_H2_NUISANCES - 1 do
            assert.equal(kind ~= C.RP_H2_RESETS, take(kind))
        end
    end)

    it("lets clients answer each frame of content", function()
        burst(C.RP_H2_CONTROLS)
        burst(C.RP_H2_WINDOWS)
        for _ = 1, 10000 do
            C.rp_h2_budget_earn(b, true)
            assert.is_true(take(C.RP_H2_CONTROLS))
            assert.is_true(take(C.RP_H2_WINDOWS))
            assert.is_true(take(C.RP_H2_WINDOWS))
        end
        assert.is_false(take(C.RP_H2_WINDOWS))
    end)

    it("gives nothing back for frames that a window made small", function()
        burst(C.RP_H2_WINDOWS)
        C.rp_h2_budget_earn(b, false)
        assert.is_false(take(C.RP_H2_WINDOWS))
    end)

    it("forgives the small frames of a client that acknowledges each one", function()
        burst(C.RP_H2_WINDOWS)
        for _ = 1, 10000 do
            C.rp_h2_budget_opened(b) -- by a whole frame
            assert.is_true(take(C.RP_H2_WINDOWS))
        end
        assert.is_false(take(C.RP_H2_WINDOWS))
    end)

    it("is never in credit", function()
        local n = burst(C.RP_H2_CONTROLS)
        for _ = 1, 2 * n do C.rp_h2_budget_earn(b, true) end
        assert.equal(n, burst(C.RP_H2_CONTROLS))
    end)

    it("names every kind", function()
        local seen = {}
        for kind = 0, C.RP_H2_NUISANCES - 1 do
            local name = ffi.string(C.rp_h2_nuisance_name(kind))
            assert.is_nil(seen[name])
            seen[name] = true
        end
    end)
end)
