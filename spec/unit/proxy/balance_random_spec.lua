-- SPDX-License-Identifier: MIT
--
-- balance_random, balance_least: shares against the mathematics, with dice from a fixed seed.

local balance = require("spec.support.balance")
local chance = require("spec.support.chance")

-- Upper bounds of chi-square at a probability of 0.001, by degrees of freedom.
local CHI = { [1] = 10.83, [2] = 13.82, [3] = 16.27, [4] = 18.47, [5] = 20.52, [9] = 27.88,
    [99] = 148.23 }

local function assert_shares(policy, weights, n, opts)
    local taken = balance.new(weights):shares(policy, n, opts)
    local chi = chance.chi_square(taken, weights)
    assert.is_true(chi < CHI[#weights - 1],
        ("%s: chi-square %.1f of %s"):format(policy, chi, table.concat(taken, " ")))
end

local function ones(n, w)
    local out = {}
    for i = 1, n do out[i] = w or 1 end
    return out
end

describe("random", function()
    it("gives each peer its share", function()
        assert_shares("random", ones(10), 20000)
        assert_shares("random", { 1, 2, 3, 4 }, 20000)
        assert_shares("random", { 1000, 1 }, 40000)
        assert_shares("random", ones(100), 50000)
    end)

    it("gives shares among those that may be taken, however few they are", function()
        local b = balance.new(ones(50))
        local tried = { 1, 2, 3, 4, 5, 6, 7, 8 }
        local taken = b:shares("random", 20000, { only = { 1, 2, 20, 40 }, tried = tried })
        assert.equal(20000, taken[20] + taken[40])
        assert.is_true(math.abs(taken[20] - 10000) < 350, taken[20])
    end)

    it("has nothing to give when there is nobody", function()
        assert.is_nil(balance.new({}):pick("random"))
        assert.is_nil(balance.new({ 1 }):pick("random", { tried = { 1 } }))
    end)
end)

-- Requests come one after the other; each stays for a while at its peer.
local function queueing(policy, b, n, stay)
    local under_way, most = {}, {}
    for i = 1, b.n do most[i] = 0 end
    for i = 1, n do
        local at = b:pick(policy, { hash = balance.key(i) })
        b.peers[at - 1].in_flight = b.peers[at - 1].in_flight + 1
        most[at] = math.max(most[at], b.peers[at - 1].in_flight)
        under_way[#under_way + 1] = at
        if #under_way > stay then
            local done = table.remove(under_way, 1)
            b.peers[done - 1].in_flight = b.peers[done - 1].in_flight - 1
        end
    end
    return most
end

describe("least_conn", function()
    it("keeps all equally busy for their weights", function()
        local b = balance.new { 1, 2, 3, 4 }
        queueing("least_conn", b, 5000, 100)
        for i = 1, 4 do
            local got = b.peers[i - 1].in_flight
            assert.is_true(math.abs(got - 10 * i) <= 1, ("peer %d has %d"):format(i, got))
        end
    end)

    it("draws among equals by weight", function()
        assert_shares("least_conn", ones(5), 20000)
    end)
end)

describe("p2c", function()
    it("is far more even than one draw", function()
        local function worst(policy)
            local specs = {}
            for i = 1, 20 do specs[i] = { 1, latency_us = 1000 } end
            local most = queueing(policy, balance.new(specs), 20000, 200)
            return math.max(unpack(most))
        end
        local one, two = worst("random"), worst("p2c")
        assert.is_true(two < 18, two) -- the mean is 10
        assert.is_true(one > two + 4, ("%d against %d"):format(one, two))
    end)

    it("avoids a slow peer, and gives one that nobody knows one request at a time", function()
        local b = balance.new { { 1, latency_us = 1000 }, { 1, latency_us = 100000 },
            { 1, latency_us = 1000 } }
        local taken = b:shares("p2c", 3000)
        assert.equal(0, taken[2])
        b = balance.new { { 1, latency_us = 1000 }, { 1 } }
        assert.equal(2, b:pick("p2c"))
        b.peers[1].in_flight = 1
        assert.equal(1, b:pick("p2c"))
    end)

    it("sends by weight", function()
        local b = balance.new { { 1, latency_us = 1000 }, { 3, latency_us = 1000 } }
        queueing("p2c", b, 8000, 400)
        assert.is_true(math.abs(b.peers[1].in_flight - 300) < 25, b.peers[1].in_flight)
    end)

    it("does with one peer, and with none but tried ones", function()
        assert.equal(1, balance.new({ 1 }):pick("p2c"))
        assert.equal(2, balance.new({ 1, 1 }):pick("p2c", { tried = { 1 } }))
        assert.is_nil(balance.new({ 1, 1 }):pick("p2c", { tried = { 1, 2 } }))
    end)
end)

describe("ewma and least_time", function()
    it("go to the peer that answers soonest", function()
        local b = balance.new { { 1, latency_us = 5000 }, { 1, latency_us = 900 },
            { 1, latency_us = 1000 } }
        assert.equal(2, b:pick("least_time"))
        b.peers[1].in_flight = 1 -- 900 x 2 is more than 1000
        assert.equal(3, b:pick("least_time"))
        local taken = b:shares("ewma", 3000)
        assert.equal(0, taken[1])
        assert.is_true(taken[2] > taken[3])
    end)
end)
