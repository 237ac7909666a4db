-- SPDX-License-Identifier: MIT
--
-- rollout_judge: canaries against their base, by numbers.

local judge = require("rproxy.rollout_judge")

local RULES = { max_error_ratio = 1.5, error_floor = 0.01, max_latency_ratio = 1.5,
    latency_quantile = 0.95, latency_floor = 0.01, confidence = 0.999, every = 60,
    min_requests = 100 }

local function side(requests, failures, time)
    return { requests = requests, failures = failures, timed = requests - failures,
        time = time or function(q) return 0.02 * q end }
end

describe("the judge of a rollout", function()
    it("knows the normal distribution", function()
        for p, z in pairs { [0.5] = 0, [0.8] = 0.841621, [0.95] = 1.644854, [0.975] = 1.959964,
            [0.99] = 2.326348, [0.999] = 3.090232, [0.999999] = 4.753424 } do
            assert.is_true(math.abs(judge.deviations(p) - z) < 1e-5, p)
        end
    end)

    it("takes a canary back that fails more, and says how much", function()
        local why = judge.fails_more(side(1000, 100), side(10000, 10), RULES)
        assert.equal("10.00% of 1000 requests failed, 0.10% of 10000 of the base", why)
        assert.truthy(judge.fails_more(side(20, 20), side(1000, 0), RULES))
        assert.truthy(judge.fails_more(side(100, 50), side(0, 0), RULES))
    end)

    it("does not take a few failures, or none, for a difference", function()
        assert.is_nil(judge.fails_more(side(19, 19), side(1000, 0), RULES))
        assert.is_nil(judge.fails_more(side(100, 2), side(10000, 10), RULES))
        assert.is_nil(judge.fails_more(side(1000, 0), side(1000, 0), RULES))
        assert.is_nil(judge.fails_more(side(1e6, 5000), side(1e6, 0), RULES)) -- below the floor
        assert.is_nil(judge.fails_more(side(1000, 300), side(1000, 290), RULES)) -- both fail
        assert.is_nil(judge.fails_more(side(1000, 100), side(30, 3), RULES)) -- base hardly known
    end)

    it("is seldom wrong about equals, however often it looks", function()
        math.randomseed(11)
        local wrong = 0
        for _ = 1, 200 do
            local canary, base = side(0, 0), side(0, 0)
            for _ = 1, 60 do -- looks
                for _ = 1, 20 do
                    canary.requests = canary.requests + 1
                    if math.random() < 0.05 then canary.failures = canary.failures + 1 end
                end
                for _ = 1, 100 do
                    base.requests = base.requests + 1
                    if math.random() < 0.05 then base.failures = base.failures + 1 end
                end
                if judge.fails_more(canary, base, RULES) then
                    wrong = wrong + 1
                    break
                end
            end
        end
        assert.is_true(wrong <= 3, wrong)
    end)

    it("takes a canary back that is slower, beyond the intervals of both", function()
        local slow = side(1000, 0, function(q) return 0.2 * q end)
        assert.matches("^p95 is 190.0 ms, 19.0 ms of the base$",
            judge.is_slower(slow, side(1000, 0), RULES))
        assert.is_nil(judge.is_slower(side(1000, 0, function(q) return 0.025 * q end),
            side(1000, 0), RULES))
        assert.is_nil(judge.is_slower(side(10, 0, function() return 9 end), side(1000, 0), RULES))
        assert.is_nil(judge.is_slower(slow, side(10, 0), RULES))
        local tiny = side(1000, 0, function(q) return 0.001 * q end)
        assert.is_nil(judge.is_slower(side(1000, 0, function(q) return 0.009 * q end), tiny, RULES))
        local off = setmetatable({ max_latency_ratio = 0 }, { __index = RULES })
        assert.is_nil(judge.is_slower(slow, side(1000, 0), off))
        -- 30 requests say little about a p95: the lower end of its interval is what counts
        assert.is_nil(judge.is_slower(side(30, 0, function(q) return q > 0.9 and 1 or 0.02 end),
            side(1000, 0), RULES))
    end)

    it("promotes after the time of a step and enough requests of both", function()
        local function word(age, a, b)
            return (judge.judge({ age = age, canary = side(a, 0), base = side(b, 0) }, RULES))
        end
        assert.equal("promote", word(60, 100, 100))
        assert.is_nil(word(59, 1000, 1000))
        assert.is_nil(word(600, 99, 1000))
        assert.is_nil(word(600, 1000, 99))
        local done, why = judge.judge({ age = 600, canary = side(1000, 500),
            base = side(1000, 0) }, RULES)
        assert.equal("rollback", done)
        assert.matches("50.00%%", why)
    end)
end)
