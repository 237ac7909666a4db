-- SPDX-License-Identifier: MIT
--
-- retry: every combination of facts.

local c = require("spec.support.c")

local ffi = c.ffi
local C = c.load { "proxy/retry.h" }

local function decide(f)
    return C.rp_retry_decide(ffi.new("struct rp_retry_facts", f))
end

-- Call fn with every combination of the six facts.
local function every(fn)
    for n = 0, 63 do
        fn { reused = n % 2 == 1, answered = n % 4 >= 2, idempotent = n % 8 >= 4,
            body_used = n % 16 >= 8, unsent = n % 32 >= 16, early = n >= 32 }
    end
end

describe("rp_retry", function()
    it("tries another peer when no connection came about, whatever the request", function()
        every(function(f)
            f.stage = C.RP_RETRY_CONNECTING
            for tries = 1, 4 do
                f.tries, f.tries_max = tries, 3
                assert.equal(tries < 3 and C.RP_RETRY_OTHER or C.RP_RETRY_NO, decide(f))
            end
        end)
    end)

    it("repeats on a stale connection what is idempotent or was not sent, without body", function()
        local repeated = 0
        every(function(f)
            f.stage, f.tries, f.tries_max = C.RP_RETRY_AWAITING, 1, 9
            local safe = (f.idempotent and not f.early) or f.unsent -- RFC 8470: no copies of ours
            local may = f.reused and safe and not f.answered and not f.body_used
            assert.equal(may and C.RP_RETRY_SAME or C.RP_RETRY_NO, decide(f))
            repeated = repeated + (may and 1 or 0)
        end)
        assert.equal(5, repeated)
    end)

    it("does not count a stale connection against the tries", function()
        assert.equal(C.RP_RETRY_SAME, decide { stage = C.RP_RETRY_AWAITING, reused = true,
            idempotent = true, tries = 3, tries_max = 3 })
    end)
end)
