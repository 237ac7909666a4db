-- SPDX-License-Identifier: MIT
--
-- retry: every combination of facts.

local c = require("spec.support.c")

local ffi = c.ffi
local C = c.load { "proxy/retry.h" }

local function decide(f)
    return C.rp_retry_decide(ffi.new("struct rp_retry_facts", f))
end

-- Call fn with every combination of these facts.
local function every(fn)
    for n = 0, 255 do
        local function bit(i) return math.floor(n / 2 ^ i) % 2 == 1 end
        fn { reused = bit(0), answered = bit(1), idempotent = bit(2), body_used = bit(3),
            unsent = bit(4), early = bit(5), afford = bit(6), on = bit(7) and 7 or 0 }
    end
end

-- RFC 8470: what came in early data gets no copies of ours.
local function is_safe(f) return (f.idempotent and not f.early) or f.unsent end

describe("rp_retry", function()
    it("tries another peer when no connection came about, whatever the request", function()
        every(function(f)
            f.stage = C.RP_RETRY_CONNECTING
            for tries = 1, 4 do
                f.tries, f.tries_max = tries, 3
                assert.equal(tries < 3 and f.on ~= 0 and C.RP_RETRY_OTHER or C.RP_RETRY_NO,
                    decide(f))
            end
        end)
    end)

    it("repeats on a stale connection what is idempotent or was not sent, without body", function()
        local same, other = 0, 0
        every(function(f)
            f.stage, f.tries, f.tries_max = C.RP_RETRY_AWAITING, 1, 9
            local may = is_safe(f) and not f.answered and not f.body_used
            local again = may and f.on ~= 0 and f.afford and C.RP_RETRY_OTHER or C.RP_RETRY_NO
            assert.equal(may and f.reused and C.RP_RETRY_SAME or again, decide(f))
            same = same + (may and f.reused and 1 or 0)
            other = other + (decide(f) == C.RP_RETRY_OTHER and 1 or 0)
        end)
        assert.equal(20, same)
        assert.equal(5, other)
    end)

    it("does not count a stale connection against the tries", function()
        assert.equal(C.RP_RETRY_SAME, decide { stage = C.RP_RETRY_AWAITING, reused = true,
            idempotent = true, tries = 3, tries_max = 3 })
    end)

    it("tries another peer for one that is late, when the site says so", function()
        every(function(f)
            f.stage, f.tries, f.tries_max = C.RP_RETRY_LATE, 1, 2
            local may = is_safe(f) and not f.body_used and f.on ~= 0 and f.afford
            assert.equal(may and C.RP_RETRY_OTHER or C.RP_RETRY_NO, decide(f))
            f.tries = 2
            assert.equal(C.RP_RETRY_NO, decide(f))
        end)
        assert.equal(C.RP_RETRY_NO, decide { stage = C.RP_RETRY_LATE, on = 3, idempotent = true,
            afford = true, tries = 1, tries_max = 9 })
    end)

    it("repeats an answer only for what may be done twice", function()
        every(function(f)
            f.stage, f.tries, f.tries_max = C.RP_RETRY_ANSWERED, 1, 2
            local may = f.idempotent and not f.early and not f.body_used and f.afford
            assert.equal(may and C.RP_RETRY_OTHER or C.RP_RETRY_NO, decide(f))
            f.tries = 2
            assert.equal(C.RP_RETRY_NO, decide(f))
        end)
    end)

    it("repeats what the upstream did not process, whatever it is", function()
        assert.equal(C.RP_RETRY_AGAIN, decide { stage = C.RP_RETRY_AWAITING, unprocessed = true,
            tries = 1, tries_max = 2 })
    end)
end)

describe("the budget of retries", function()
    it("is a share of the active requests, and a few in any case", function()
        for n = 0, 9 do assert.is_true(C.rp_retry_afford(0, n, 20)) end
        assert.is_false(C.rp_retry_afford(0, 10, 20))
        assert.is_true(C.rp_retry_afford(100, 19, 20))
        assert.is_false(C.rp_retry_afford(100, 20, 20))
        assert.is_false(C.rp_retry_afford(1000000, 10, 0))
        assert.is_true(C.rp_retry_afford(4294967295, 4294967294, 100))
    end)
end)

describe("the pause before a retry", function()
    it("grows, has a bound and is never the same for all", function()
        local dice = ffi.new("struct rp_random")
        C.rp_random_init(dice, 3)
        local function most(n)
            local high, seen = 0, {}
            for _ = 1, 500 do
                local ms = tonumber(C.rp_retry_pause(dice, n, 20, 100))
                assert.is_true(ms >= 1)
                high, seen[ms] = math.max(high, ms), true
            end
            local kinds = 0
            for _ in pairs(seen) do kinds = kinds + 1 end
            assert.is_true(kinds >= 15)
            return high
        end
        assert.equal(20, most(1))
        assert.equal(40, most(2))
        assert.is_true(most(3) > 70)
        assert.is_true(most(9) <= 100)
        assert.is_true(most(4000000000) <= 100)
        assert.equal(0, tonumber(C.rp_retry_pause(dice, 1, 0, 100)))
    end)
end)
