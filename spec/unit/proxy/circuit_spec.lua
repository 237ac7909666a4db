-- SPDX-License-Identifier: MIT
--
-- circuit: states of a breaker and what changes them, over a clock that the spec moves.

local c = require("spec.support.c")
local ffi = c.ffi
local C = c.load { "proxy/circuit.h" }

local CLOSED, OPEN, HALF = C.RP_CIRCUIT_CLOSED, C.RP_CIRCUIT_OPEN, C.RP_CIRCUIT_HALF
local REFUSED, PASSED, PROBE = C.RP_CIRCUIT_REFUSED, C.RP_CIRCUIT_PASSED, C.RP_CIRCUIT_PROBE

describe("a circuit", function()
    local rules, s

    before_each(function()
        rules = ffi.new("struct rp_circuit_rules", { errors = 500, slow = 1000, least = 10,
            probes = 3, open_ms = 1000, open_max_ms = 8000 })
        s = ffi.new("struct rp_circuit_state")
    end)

    local function ask(now) return tonumber(C.rp_circuit_ask(rules, s, now)) end

    local function note(now, end_)
        end_.at = end_.at or s.at
        return C.rp_circuit_note(rules, s, ffi.new("struct rp_circuit_end", end_), now)
    end

    local function break_it(now)
        assert.is_true(note(now, { bad = true, all_n = 10, bad_n = 10 }))
        assert.equal(OPEN, s.state)
    end

    local function close_it(now)
        for _ = 1, 3 do assert.equal(PROBE, ask(now)) end
        for _ = 1, 3 do assert.is_true(note(now, {})) end
        assert.equal(CLOSED, s.state)
    end

    it("stays closed below its share, and below its least", function()
        assert.equal(PASSED, ask(5))
        assert.is_false(note(5, { bad = true, all_n = 9, bad_n = 9 }))
        assert.is_false(note(5, { bad = true, all_n = 11, bad_n = 5 }))
        assert.is_true(note(5, { bad = true, all_n = 10, bad_n = 5 }))
    end)

    it("opens by slowness, when more than the share of a quantile is slow", function()
        rules.errors, rules.slow = 0, 100 -- the 0.9 quantile
        assert.is_false(note(5, { bad = true, all_n = 20, bad_n = 20, slow_n = 2 }))
        assert.is_true(note(5, { bad = true, all_n = 20, slow_n = 3 }))
    end)

    it("lets nobody pass while it is open, and then so many probes", function()
        break_it(100)
        assert.equal(1100, tonumber(s.at))
        assert.equal(REFUSED, ask(1099))
        for _ = 1, 3 do assert.equal(PROBE, ask(1100)) end
        assert.equal(REFUSED, ask(1100))
        assert.equal(HALF, s.state)
    end)

    it("closes when all probes are good", function()
        break_it(100)
        for _ = 1, 3 do ask(1200) end
        note(1300, {})
        note(1300, {})
        assert.equal(HALF, s.state)
        note(1300, {})
        assert.equal(CLOSED, s.state)
        assert.equal(PASSED, ask(1301))
    end)

    it("opens for twice as long when a probe is bad, and at most for the longest time", function()
        break_it(100)
        local now, expected = 1100, 2000
        for _ = 1, 6 do
            ask(now)
            assert.is_true(note(now, { bad = true }))
            assert.equal(OPEN, s.state)
            assert.equal(now + math.min(expected, 8000), tonumber(s.at))
            now, expected = tonumber(s.at), expected * 2
        end
    end)

    it("opens for longer soon after it closed, and for the first time long after", function()
        break_it(100)
        close_it(1100)
        break_it(1500)
        assert.equal(1500 + 2000, tonumber(s.at))
        close_it(3500)
        break_it(3500 + 100000)
        assert.equal(103500 + 1000, tonumber(s.at))
    end)

    it("adds up to a tenth by chance", function()
        assert.equal(1000, tonumber(C.rp_circuit_open_ms(rules, 0, 0)))
        assert.equal(1099, tonumber(C.rp_circuit_open_ms(rules, 0, 999)))
        assert.equal(4000, tonumber(C.rp_circuit_open_ms(rules, 2, 0)))
        assert.equal(8000, tonumber(C.rp_circuit_open_ms(rules, 63, 0)))
    end)

    it("does not hear answers of before it opened", function()
        local early = tonumber(s.at)
        break_it(100)
        assert.is_false(note(200, { at = early, bad = true, all_n = 100, bad_n = 100 }))
        ask(1100)
        assert.is_false(note(1200, { at = early, bad = true, all_n = 100, bad_n = 100 }))
        assert.equal(HALF, s.state)
        for _ = 1, 2 do ask(1200) end
        for _ = 1, 3 do note(1200, {}) end
        assert.equal(CLOSED, s.state)
        assert.is_false(note(1300, { at = early, bad = true, all_n = 100, bad_n = 100 }))
    end)

    it("begins a new round when probes do not come back, and does not hear the old ones", function()
        break_it(100)
        for _ = 1, 3 do ask(1100) end
        assert.equal(REFUSED, ask(2099))
        assert.equal(PROBE, ask(2100))
        assert.equal(1, s.taken)
        assert.is_false(note(2100, { at = 1100, bad = true }))
        assert.is_false(note(2100, { at = 1100 }))
        assert.equal(0, s.good)
    end)

    it("hears probes of an earlier round, so that slow answers close it, too", function()
        break_it(100)
        local row = s.row
        for _ = 1, 3 do ask(1100) end
        for round = 1, 3 do ask(1100 + 1000 * round) end
        assert.is_true(note(4200, { at = 1100, probe = true, row = row }))
        assert.is_true(note(4200, { at = 1100, probe = true, row = row }))
        assert.equal(HALF, s.state)
        assert.is_true(note(4200, { at = 2100, probe = true, row = row }))
        assert.equal(CLOSED, s.state)
        assert.is_false(note(4300, { at = 3100, probe = true, row = row, bad = true }))
        assert.equal(CLOSED, s.state)
    end)

    it("closes by probes that come one by one, each a round after the other", function()
        break_it(100)
        for i = 1, 3 do
            assert.equal(PROBE, ask(2000 * i))
            assert.is_true(note(2000 * i + 10, { probe = true, row = s.row }))
        end
        assert.equal(CLOSED, s.state)
    end)

    it("does not hear probes of before it opened again", function()
        break_it(100)
        local row = s.row
        for _ = 1, 2 do ask(1100) end
        assert.is_true(note(1200, { bad = true, probe = true, row = row }))
        ask(tonumber(s.at))
        assert.equal(HALF, s.state)
        assert.is_false(note(tonumber(s.at), { at = 1100, probe = true, row = row, bad = true }))
        assert.is_false(note(tonumber(s.at), { at = 1100, probe = true, row = row }))
        assert.equal(HALF, s.state)
        assert.equal(0, s.good)
    end)

    it("gives a probe's place to another when it went without saying anything", function()
        break_it(100)
        for _ = 1, 3 do ask(1100) end
        assert.is_true(C.rp_circuit_forget(s, s.at))
        assert.equal(PROBE, ask(1100))
        assert.equal(REFUSED, ask(1100))
        assert.is_false(C.rp_circuit_forget(s, 7)) -- of another round
        for _ = 1, 3 do C.rp_circuit_forget(s, s.at) end
        assert.is_false(C.rp_circuit_forget(s, s.at)) -- once too often
        assert.equal(0, s.taken)
    end)

    it("is not held up by a time that lies too far ahead", function()
        s.state, s.at = OPEN, 10 * 8000
        assert.equal(PROBE, ask(100))
        s.state, s.taken, s.at = HALF, 3, 10 ^ 9 -- another process's clock is ahead
        assert.equal(REFUSED, ask(100))
    end)

    it("is a word and back", function()
        for _, state in ipairs { { 0, 0, 0, 0, 0 }, { OPEN, 63, 0, 0, 2 ^ 47 }, { HALF, 5, 15, 14,
            123456789 } } do
            s.state, s.row, s.taken, s.good, s.at = unpack(state)
            local back = C.rp_circuit_read(C.rp_circuit_word(s))
            assert.same(state, { back.state, back.row, back.taken, back.good, tonumber(back.at) })
        end
        local wild = C.rp_circuit_read(ffi.cast("uint64_t", -1LL))
        assert.equal(CLOSED, wild.state)
    end)
end)
