-- SPDX-License-Identifier: MIT
--
-- cli.split: which shares words ask for.

package.loaded["rproxy.host"] = package.loaded["rproxy.host"] or {} -- nothing is asked of it

local split = require("rproxy.cli.split")
local splits = require("rproxy.config.splits")

local function sides(...)
    local out = {}
    for i, side in ipairs { ... } do
        out[i] = { upstream = side[1], share = side[2], role = side[3] or "-" }
    end
    return out
end

local TWO = sides({ "canary", 500 }, { "stable", 9500, "base" })
local THREE = sides({ "a", 1000 }, { "b", 0 }, { "s", 9000, "base" })

describe("shares by words", function()
    it("are those that all sides are given, in proportion", function()
        assert.same({ 5000, 5000 }, split.shares(TWO, { "stable=50", "canary=50" }))
        assert.same({ 3333, 6667 }, split.shares(TWO, { "canary=1", "stable=2" }))
        assert.same({ 0, 10000 }, split.shares(TWO, { "canary=0", "stable=1" }))
        assert.same({ 50, 9950 }, split.shares(TWO, { "canary=0.5%", "stable=99.5%" }))
    end)

    it("leave the rest to who is not named", function()
        assert.same({ 2000, 8000 }, split.shares(TWO, { "canary=20" }))
        assert.same({ 500, 5000, 4500 }, split.shares(THREE, { "b=50" }))
        assert.same({ 5000, 0, 5000 }, split.shares(THREE, { "a=50" }))
        assert.same({ 10000, 0 }, split.shares(TWO, { "canary=100" }))
        local off = sides({ "canary", 10000 }, { "stable", 0, "base" })
        assert.same({ 3000, 7000 }, split.shares(off, { "canary=30" }))
    end)

    it("are all of it for a side alone", function()
        assert.same({ 10000, 0 }, split.shares(TWO, { "canary" }))
        assert.same({ 0, 10000 }, split.shares(TWO, { "stable" }))
    end)

    it("are refused in words", function()
        local function err(list, ...) return select(2, split.shares(list, { ... })) end
        assert.equal('no side "blue"', err(TWO, "blue=3"))
        assert.equal('"blue" is no word here', err(TWO, "blue"))
        assert.equal('"canary=-5" is no word here', err(TWO, "canary=-5"))
        assert.equal('"1.2.3" is no number', err(TWO, "canary=1.2.3"))
        assert.equal("canary is there twice", err(TWO, "canary=5", "canary=6"))
        assert.equal("101% are more than all", err(TWO, "canary=101"))
        assert.equal("somebody must have a share", err(TWO, "canary=0", "stable=0"))
        assert.matches("left for sides that have nothing", err(sides({ "a", 0 }, { "b", 0 },
            { "s", 10000, "base" }), "s=50"))
    end)

    it("always add up, whatever the weights", function()
        math.randomseed(3)
        for _ = 1, 500 do
            local weights, sum = {}, 0
            for i = 1, math.random(1, 8) do
                weights[i] = math.random(4) == 1 and 0 or math.random() ^ 6 * 1e6
            end
            weights[1] = weights[1] + 1e-9
            for i, share in ipairs(splits.portions(weights)) do
                sum = sum + share
                assert.equal(weights[i] > 0, share > 0)
            end
            assert.equal(10000, sum)
        end
    end)
end)
