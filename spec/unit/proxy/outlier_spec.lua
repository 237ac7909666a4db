-- SPDX-License-Identifier: MIT
--
-- outlier: who is unlike the others, against the formulas.

local c = require("spec.support.c")
local ffi = c.ffi
local C = c.load { "proxy/outlier.h" }

local RATE, FAILURES, SLOW = C.RP_OUTLIER_SUCCESS_RATE, C.RP_OUTLIER_FAILURES, C.RP_OUTLIER_SLOW

describe("outliers", function()
    -- peers: list of { good, bad, us, away }; returns verdicts and what was found
    local function judge(rules, peers)
        local list = ffi.new("struct rp_outlier_peer[?]", #peers)
        for i, p in ipairs(peers) do
            list[i - 1] = { good = p[1], bad = p[2], answers_n = p[1] + p[2], us = p[3] or 0,
                away = p.away or false }
        end
        local found = ffi.new("struct rp_outlier_found")
        C.rp_outlier_judge(ffi.new("struct rp_outlier_rules", rules), list, #peers,
            ffi.new("uint32_t[?]", #peers), found)
        local verdicts = {}
        for i = 1, #peers do verdicts[i] = list[i - 1].verdict end
        return verdicts, found
    end

    local RATES = { least = 100, peers = 5, stdev = 1900 }

    it("are those below the mean success rate by so many deviations", function()
        local peers = { { 990, 10 }, { 985, 15 }, { 992, 8 }, { 995, 5 }, { 700, 300 } }
        local v, found = judge(RATES, peers)
        local mean, squares = 0, 0
        for _, p in ipairs(peers) do mean = mean + p[1] / 10 / 5 end
        for _, p in ipairs(peers) do squares = squares + (p[1] / 10 - mean) ^ 2 / 5 end
        assert.is_true(math.abs(found.mean - mean) < 1e-9)
        assert.is_true(math.abs(found.stdev - math.sqrt(squares)) < 1e-9)
        assert.is_true(math.abs(found.bound - (mean - 1.9 * math.sqrt(squares))) < 1e-9)
        assert.same({ 0, 0, 0, 0, RATE }, v)
    end)

    it("are none among equals, and none when all are bad", function()
        assert.same({ 0, 0, 0, 0, 0 }, (judge(RATES, { { 100, 0 }, { 100, 0 }, { 100, 0 },
            { 100, 0 }, { 100, 0 } })))
        assert.same({ 0, 0, 0, 0, 0 }, (judge(RATES, { { 0, 100 }, { 0, 100 }, { 0, 100 },
            { 0, 100 }, { 0, 100 } })))
    end)

    it("are not judged by too few requests or too few peers", function()
        local v, found = judge(RATES, { { 100, 0 }, { 100, 0 }, { 100, 0 }, { 100, 0 }, { 0, 99 } })
        assert.same({ 0, 0, 0, 0, 0 }, v)
        assert.equal(0, found.bound)
        assert.same({ 0, 0, 0, 0 }, (judge(RATES, { { 100, 0 }, { 100, 0 }, { 100, 0 },
            { 0, 100 } })))
    end)

    it("are found by deviations among five, the least that the default factor can do", function()
        local five = { { 100, 0 }, { 100, 0 }, { 100, 0 }, { 100, 0 }, { 0, 100 } }
        assert.same({ 0, 0, 0, 0, RATE }, (judge(RATES, five)))
        assert.same({ 0, 0, 0, 0 }, (judge({ least = 100, peers = 2, stdev = 1900 },
            { { 100, 0 }, { 100, 0 }, { 100, 0 }, { 0, 100 } })))
    end)

    it("that are away neither count nor are judged", function()
        local v = judge(RATES, { { 100, 0 }, { 100, 0 }, { 100, 0 }, { 100, 0 },
            { 0, 100, away = true }, { 100, 0 } })
        assert.same({ 0, 0, 0, 0, 0, 0 }, v)
    end)

    it("are those that fail too often, whatever the others do", function()
        local rules = { least = 50, peers = 2, failures = 850 }
        assert.same({ FAILURES, 0, FAILURES }, (judge(rules, { { 15, 85 }, { 16, 84 },
            { 0, 50 } })))
        assert.same({ 0, 0 }, (judge(rules, { { 0, 49 }, { 100, 0 } })))
    end)

    it("are those that take longer than the median by a factor", function()
        local rules = { least = 10, peers = 3, factor = 3000, slow_us = 10000 }
        local v, found = judge(rules, { { 10, 0, 20000 }, { 10, 0, 25000 }, { 10, 0, 76000 },
            { 10, 0, 75000 }, { 10, 0, 24000 } })
        assert.equal(25000, found.median_us)
        assert.same({ 0, 0, SLOW, 0, 0 }, v)
        assert.same({ 0, 0, 0 }, (judge(rules, { { 10, 0, 100 }, { 10, 0, 100 },
            { 10, 0, 9999 } }))) -- so short that it does not matter
        assert.same({ 0, 0, 0 }, (judge(rules, { { 10, 0, 100 }, { 9, 0, 100 },
            { 10, 0, 99999 } })))
    end)

    it("of two peers: the slower one", function()
        assert.same({ 0, SLOW }, (judge({ least = 1, peers = 2, factor = 2000 },
            { { 10, 0, 1000 }, { 10, 0, 5000 } })))
    end)

    it("are none where nothing is asked", function()
        assert.same({ 0, 0 }, (judge({ least = 0, peers = 0 }, { { 0, 0 }, { 0, 100, 10 } })))
        assert.same({}, (judge(RATES, {})))
        assert.same({ 0, 0 }, (judge({ stdev = 1, failures = 1, factor = 1 },
            { { 0, 0 }, { 0, 0 } })))
    end)

    it("are found of any counts without an overflow", function()
        local most = 2 ^ 62
        assert.same({ 0, FAILURES }, (judge({ least = 1, peers = 1, failures = 900 },
            { { most, 0 }, { 1, most } })))
    end)
end)
