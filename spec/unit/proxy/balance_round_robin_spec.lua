-- SPDX-License-Identifier: MIT
local balance = require("spec.support.balance")

-- One choice at a time (1-based), and what marks peers as usable and shows their memory.
local function group(...)
    local specs = { ... }
    for i, spec in ipairs(specs) do
        if type(spec) == "table" then
            specs[i] = { spec[1], tier = spec.backup and 15 or 0,
                health = spec.usable == false and "DOWN" or "UP" }
        end
    end
    local b = balance.new(specs)
    return function() return b:pick("round_robin") end, b
end

local function usable(b, i, yes) b:health(i, yes and "UP" or "DOWN") end
local function is_usable(b, i) return b.peers[i - 1].health == 2 end
local function memory(b, i) return tonumber(b.peers[i - 1].current) end

local NAMES = "abcdefghij"
local function pattern(pick, n)
    local out = {}
    for i = 1, n do
        local k = pick()
        out[i] = NAMES:sub(k, k)
    end
    return table.concat(out)
end

describe("smooth weighted round robin", function()
    it("takes equal peers in turn, the first one first", function()
        assert.equal("abcabcabc", pattern(group(1, 1, 1), 9))
        assert.equal("aaa", pattern(group(7), 3))
    end)

    it("spreads a heavy peer over the cycle", function()
        assert.equal("aabacaaaabacaa", pattern(group(5, 1, 1), 14))
        assert.equal("abcaabca", pattern(group(2, 1, 1), 8))
        assert.equal("abababa", pattern(group(4, 3), 7))
    end)

    it("has no peer to give when none is usable", function()
        assert.is_nil((group())())
        assert.is_nil((group({ 1, usable = false }, { 1, backup = true, usable = false }))())
    end)

    it("takes backups only while no primary is usable", function()
        local pick, b = group(1, { 3, backup = true }, { 1, backup = true }, 1)
        assert.equal("adad", pattern(pick, 4))
        usable(b, 1, false)
        usable(b, 4, false)
        assert.equal("bbcb", pattern(pick, 4))
        usable(b, 4, true)
        assert.equal("dd", pattern(pick, 2))
    end)

    it("passes over peers that are not usable, and they are owed nothing", function()
        local pick, g = group(1, 1, 1)
        usable(g, 2, false)
        assert.equal("acacacac", pattern(pick, 8))
        usable(g, 2, true)
        local after = pattern(pick, 6)
        local _, b = after:gsub("b", "")
        assert.equal(2, b, after)
    end)

    it("takes weights that would overflow 32 bits when added up", function()
        local pick, b = group(4294967295, 4294967295, 1)
        for _ = 1, 10000 do pick() end
        assert.equal(0, memory(b, 1) + memory(b, 2) + memory(b, 3))
    end)
end)

describe("for random groups", function()
    local function random_group()
        local specs, n, total = {}, math.random(1, 8), 0
        for i = 1, n do
            specs[i] = math.random(1, 12)
            total = total + specs[i]
        end
        return specs, total
    end

    it("each cycle takes each peer exactly as often as its weight", function()
        math.randomseed(11)
        for _ = 1, 300 do
            local specs, total = random_group()
            local pick, b = group(unpack(specs))
            for _ = 1, 3 do
                local taken = {}
                for _ = 1, total do
                    local i = pick()
                    taken[i] = (taken[i] or 0) + 1
                end
                for i, weight in ipairs(specs) do assert.equal(weight, taken[i]) end
                for i = 1, #specs do assert.equal(0, memory(b, i)) end
            end
        end
    end)

    it("no peer is ever far from its share", function()
        math.randomseed(12)
        for _ = 1, 300 do
            local specs, total = random_group()
            local pick = group(unpack(specs))
            local taken = {}
            for turn = 1, total * 2 do
                local k = pick()
                taken[k] = (taken[k] or 0) + 1
                for i, weight in ipairs(specs) do
                    local share = turn * weight / total
                    assert.is_true(math.abs((taken[i] or 0) - share) < #specs)
                end
            end
        end
    end)

    it("two peers are spread as evenly as whole turns allow", function()
        for a = 1, 9 do
            for b = 1, 9 do
                local pick, taken = group(a, b), 0
                for turn = 1, (a + b) * 2 do
                    if pick() == 1 then taken = taken + 1 end
                    assert.is_true(math.abs(taken - turn * a / (a + b)) < 1)
                end
            end
        end
    end)

    it("unusable peers are never taken, and peers come back to their shares", function()
        math.randomseed(13)
        for _ = 1, 100 do
            local specs, total = random_group()
            local pick, b = group(unpack(specs))
            for _ = 1, 200 do
                local n = math.random(1, #specs)
                usable(b, n, not is_usable(b, n))
                local k = pick()
                assert.is_true(k == nil or is_usable(b, k))
            end
            for i = 1, #specs do usable(b, i, true) end
            local taken = {}
            for _ = 1, total * 50 do
                local k = pick()
                taken[k] = (taken[k] or 0) + 1
            end
            for i, weight in ipairs(specs) do
                assert.is_true(math.abs((taken[i] or 0) - weight * 50) <= total + #specs)
            end
        end
    end)
end)
