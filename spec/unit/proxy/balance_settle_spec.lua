-- SPDX-License-Identifier: MIT
--
-- balance_settle: who may be chosen, by tiers, health and what the rules say.

local balance = require("spec.support.balance")
local C = balance.C

local function live(b)
    local out = {}
    for i = 0, b.view.live_n - 1 do out[#out + 1] = b.live[i] + 1 end
    return table.concat(out, " ")
end

describe("those that may be chosen", function()
    it("are the first tier's that are up and have a weight", function()
        local b = balance.new { 1, { 1, health = "DOWN" }, 0, { 1, health = "ABSENT" },
            { 1, tier = 1 }, 2 }
        assert.equal("1 6", live(b))
        assert.equal(3, tonumber(b.sums[1]))
    end)

    it("are the next tier's while nobody of the first is up, and that one's no longer than that",
        function()
            local b = balance.new { { 1, health = "DOWN" }, { 1, tier = 1 }, { 1, tier = 15 } }
            assert.equal("2", live(b))
            assert.equal("1", live(b:health(1, "UP")))
            b:health(1, "ABSENT")
            assert.equal("3", live(b:health(2, "DOWN")))
        end)

    it("are of two tiers while less than `spill` percent of the first are up", function()
        local b = balance.new { 1, 1, { 1, health = "DOWN" }, { 1, health = "DOWN" },
            { 1, tier = 1 } }
        assert.equal("1 2", live(b:settle { spill = 50 }))
        assert.equal("1 2 5", live(b:settle { spill = 51 }))
        b.peers[4].health = 1
        assert.equal("1 2", live(b:settle { spill = 51 }))
    end)

    it("are all that there are when less than `panic` percent are up", function()
        local b = balance.new { 1, { 1, health = "DOWN" }, { 1, health = "DOWN" },
            { 1, health = "ABSENT" }, { 1, tier = 1, health = "DOWN" } }
        assert.equal("1", live(b:settle { panic = 25 }))
        assert.is_false(b.view.panic)
        assert.equal("1 2 3", live(b:settle { panic = 26 }))
        assert.is_true(b.view.panic)
        b:health(1, "DOWN")
        assert.equal("", live(b:settle { panic = 0 }))
        assert.equal("1 2 3", live(b:settle { panic = 1 }))
    end)

    it("are none of none", function()
        assert.equal("", live(balance.new {}))
        assert.equal("", live(balance.new { { 1, health = "ABSENT" } }:settle { panic = 100 }))
    end)
end)

describe("peers of our zone", function()
    -- Share of each peer that may be chosen, percent.
    local function shares(b)
        local out, sum = {}, tonumber(b.sums[math.max(b.view.live_n, 1) - 1])
        for i = 1, b.n do
            out[i] = b.peers[i - 1].live and math.floor(b.peers[i - 1].weight * 1000 / sum + 0.5) / 10
                or 0
        end
        return out
    end

    -- Weights are of the settling: they are set anew before the next.
    local function zone(enough, ...)
        return shares(balance.new { ... }:settle { zone = enough, panic = 1 })
    end

    local function near(weight, health, tier)
        return { weight, near = true, health = health, tier = tier }
    end

    it("get all while enough of them are up", function()
        assert.same({ 50, 50, 0, 0 }, zone(70, near(1), near(1), 1, 1))
        assert.same({ 75, 25, 0, 0 }, zone(70, near(3), near(1), 1, 9))
        -- 7 of 10 are up: just enough
        assert.same({ 100, 0, 0 }, zone(70, near(7), near(3, "DOWN"), 5))
    end)

    it("keep up / (enough x all), and the others get the rest by their weights", function()
        -- half of them are up: 0.5 / 0.7 = 71.4% stay
        assert.same({ 71.4, 0, 14.3, 14.3 }, zone(70, near(1), near(1, "DOWN"), 1, 1))
        assert.same({ 71.4, 0, 21.4, 7.1 }, zone(70, near(1), near(1, "DOWN"), 3, 1))
        assert.same({ 50, 0, 50 }, zone(100, near(1), near(1, "DOWN"), 1))
        assert.same({ 1.4, 0, 98.6 }, zone(70, near(1), near(99, "DOWN"), 1))
        assert.same({ 71.4, 0, 28.6 }, zone(70, near(65535), near(65535, "ABSENT"), 65535))
    end)

    it("are not asked about where there are none, or nobody else", function()
        assert.same({ 50, 50 }, zone(70, 1, 1))
        assert.same({ 0, 100 }, zone(70, near(1, "DOWN"), 1))
        assert.same({ 100, 0 }, zone(70, near(1), near(1, "DOWN")))
        assert.same({ 50, 50 }, shares(balance.new { near(1), 1 }:settle {}))
    end)

    it("come after priorities, and before backups of their own zone", function()
        assert.same({ 0, 100, 0 }, zone(70, near(1, "UP", 1), 1, { 1, tier = 2 }))
        assert.same({ 100, 0, 0 }, zone(70, near(1), 1, near(1, "UP", 15)))
    end)
end)

describe("a peer that warms up", function()
    it("goes from a tenth of its weight to the whole, and never has none", function()
        local at = function(up) return C.rp_balance_slow_start(100, up, 1000) end
        assert.equal(10, at(0))
        assert.equal(55, at(500))
        assert.equal(99, at(999))
        assert.equal(100, at(1000))
        assert.equal(100, C.rp_balance_slow_start(100, 0, 0))
        assert.equal(1, C.rp_balance_slow_start(3, 0, 1000))
        assert.equal(0, C.rp_balance_slow_start(0, 500, 1000))
    end)
end)

describe("a mean latency", function()
    local function mean(...) return C.rp_balance_mean(...) end

    it("begins with the first sample and never says that nothing is known", function()
        assert.equal(700, mean(0, 0, 700, 10000))
        assert.equal(1, mean(0, 0, 0, 10000))
        assert.equal(1, mean(1, 1e9, 0, 10000))
    end)

    it("believes a peak at once and forgets it in time", function()
        assert.equal(9000, mean(100, 5, 9000, 10000))
        local after_tau = mean(10000, 10000, 0, 10000)
        assert.is_true(math.abs(after_tau - 10000 * math.exp(-1)) < 2, after_tau)
        assert.equal(100, mean(10000, 1e9, 100, 10000))
        assert.equal(5000, mean(5000, 0, 1, 10000))
    end)
end)

describe("one peer", function()
    local function may(b, i, opts) return b:pick("first", opts) == i end

    it("is not chosen again by who tried it, nor by who wants others", function()
        local b = balance.new { 1, 1, 1 }
        assert.is_true(may(b, 1))
        assert.is_true(may(b, 3, { tried = { 1, 2 } }))
        assert.is_nil(b:pick("first", { tried = { 1, 2, 3 } }))
        assert.is_true(may(b, 2, { only = { 2, 3 } }))
        local many = {}
        for i = 1, 130 do many[i] = 1 end
        assert.equal(128, balance.new(many):pick("first", { only = { 128, 130 } }))
    end)

    it("takes no more than its seats", function()
        local b = balance.new { { 1, seats = 2, in_flight = 2 }, { 1, seats = 2, in_flight = 1 } }
        for _, policy in ipairs { "first", "round_robin", "random", "least_conn", "least_time",
            "p2c", "ewma", "rendezvous" } do
            assert.equal(2, b:pick(policy), policy)
        end
        assert.equal(2, b:table("ring"):pick("ring", { hash = 1 }))
        assert.equal(2, b:table("maglev"):pick("maglev", { hash = 1 }))
    end)
end)
