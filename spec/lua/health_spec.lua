-- SPDX-License-Identifier: MIT
--
-- health_judge: rise, fall and the time between two checks.

package.path = "lua/?.lua;" .. package.path
local judge = require("rproxy.health_judge")

local U, P, F = judge.UNKNOWN, judge.PASSING, judge.FAILING

-- The states after each of a row of outcomes, "+" and "-".
local function run(start, outcomes, rise, fall)
    local state, out = { good = 0, bad = 0, health = start }, {}
    for c in outcomes:gmatch(".") do
        local before = state.health
        local news = judge.judge(state, c == "+", rise, fall)
        assert.equal(before ~= state.health, news)
        out[#out + 1] = state.health
    end
    return out
end

describe("rproxy.health_judge", function()
    it("takes a peer of which nothing is known by its first good check", function()
        assert.same({ P }, run(U, "+", 5, 5))
        assert.same({ U, U, P }, run(U, "--+", 5, 3))
    end)

    it("takes it out after so many bad ones in a row, not in all", function()
        assert.same({ P, P, P, P, P, F }, run(P, "--+---", 2, 3))
        assert.same({ U, F }, run(U, "--", 2, 2))
        assert.same({ F }, run(P, "-", 1, 1))
    end)

    it("takes it in again after so many good ones in a row", function()
        assert.same({ F, F, F, P, P }, run(F, "+-++-", 2, 3))
        assert.same({ P, F, P }, run(F, "+-+", 1, 1))
    end)

    it("asks again sooner while a peer is down or changes", function()
        local settings = { every = 10, fast = 1, jitter = 0 }
        local function pause(health, bad, more)
            return judge.pause({ health = health, bad = bad, good = 0 }, more or settings, 0.5)
        end
        assert.equal(10, pause(P, 0))
        assert.equal(1, pause(P, 1))
        assert.equal(1, pause(F, 9))
        assert.equal(1, pause(U, 0))
        assert.equal(10, pause(F, 9, { every = 10, jitter = 0 }))
    end)

    it("spreads the checks by its jitter", function()
        local settings = { every = 10, jitter = 0.2 }
        local state = { health = P, bad = 0, good = 1 }
        assert.equal(9, judge.pause(state, settings, 0))
        assert.equal(11, judge.pause(state, settings, 1))
    end)
end)
