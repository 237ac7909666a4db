-- SPDX-License-Identifier: MIT
--
-- roster_gate: what is known of whole upstreams and routes; and what a roster keeps of the past.

local c = require("spec.support.c")
local ffi = c.ffi
local C = c.load { "shm/roster_gate.h", "shm/zone.h" }

local WORKERS, PLACES = 3, 256

describe("a roster", function()
    local zone, box

    local function open()
        local out = ffi.new("struct rp_roster *[1]")
        assert.equal(0, C.rp_roster_new(zone[0], c.str("roster"), WORKERS, PLACES, out))
        return out
    end

    before_each(function()
        zone = ffi.new("struct rp_zone *[1]")
        assert.equal(0, C.rp_zone_new(c.str("spec"), C.rp_roster_bytes(WORKERS, PLACES), zone))
        box = open()
        for w = 0, WORKERS - 1 do C.rp_roster_forget(box[0], w) end
    end)

    after_each(function()
        C.rp_roster_free(box)
        C.rp_zone_free(zone)
    end)

    local function hold(worker, up, peer)
        local place, fresh = ffi.new("uint32_t[1]"), ffi.new("bool[1]")
        assert.equal(0, C.rp_roster_hold(box[0], worker, c.str(up), c.str(peer), place, fresh))
        return place[0]
    end

    local function gate(worker, kind, name)
        local place = ffi.new("uint32_t[1]")
        local e = C.rp_roster_hold_gate(box[0], worker, kind, c.str(name), place)
        if e ~= 0 then return nil, c.err_name(e) end
        return place[0]
    end

    local UPSTREAM, ROUTE = C.RP_GATE_UPSTREAM, C.RP_GATE_ROUTE

    describe("of gates", function()
        it("gives each upstream and route its own, whoever asks", function()
            local a = gate(0, UPSTREAM, "api")
            assert.equal(a, gate(1, UPSTREAM, "api"))
            assert.are_not.equal(a, (gate(0, ROUTE, "api")))
            assert.are_not.equal(a, (gate(0, UPSTREAM, "web")))
        end)

        it("keeps their words in all handles, and changes a word once", function()
            local a = gate(0, UPSTREAM, "api")
            local other = open()
            assert.is_true(C.rp_roster_swap_word(box[0], a, C.RP_GATE_CIRCUIT, 0, 7))
            assert.is_false(C.rp_roster_swap_word(other[0], a, C.RP_GATE_CIRCUIT, 0, 8))
            assert.equal(7, tonumber(C.rp_roster_word(other[0], a, C.RP_GATE_CIRCUIT)))
            C.rp_roster_free(other)
        end)

        it("lists them apart from the peers", function()
            hold(0, "api", "a:1")
            local a = gate(0, UPSTREAM, "api")
            gate(0, ROUTE, "GET /x")
            C.rp_roster_enter(box[0], 1, a)
            local at, g = ffi.new("uint32_t[1]"), ffi.new("struct rp_gate_report")
            local found = {}
            while C.rp_roster_next_gate(box[0], at, 1000, g) do
                found[ffi.string(g.name)] = { g.kind, tonumber(g.in_flight) }
            end
            assert.same({ api = { UPSTREAM, 1 }, ["GET /x"] = { ROUTE, 0 } }, found)
            local p, n = ffi.new("struct rp_roster_report"), 0
            at[0] = 0
            while C.rp_roster_next(box[0], at, p) do n = n + 1 end
            assert.equal(1, n)
        end)

        it("gives those of nobody to others, and keeps those that are held", function()
            local kept = gate(0, UPSTREAM, "kept")
            C.rp_roster_put_word(box[0], kept, C.RP_GATE_OPENED, 5)
            for i = 1, 40 * PLACES do -- many times as many as there are
                local g = assert(gate(1, ROUTE, "r" .. i))
                C.rp_roster_put_word(box[0], g, C.RP_GATE_OPENED, 9)
                C.rp_roster_drop(box[0], 1, g)
                if i % PLACES == 0 then hold(2, "p", "p:" .. i) end
            end
            assert.equal(5, tonumber(C.rp_roster_word(box[0], kept, C.RP_GATE_OPENED)))
            assert.equal(0, tonumber(C.rp_roster_word(box[0], gate(0, ROUTE, "new"),
                C.RP_GATE_OPENED)))
        end)

        it("says when there are too many", function()
            local why
            for i = 1, PLACES do
                local g, err = gate(0, ROUTE, "r" .. i)
                why = why or not g and err
            end
            assert.equal("CAP", why)
            assert.is_truthy(hold(0, "api", "a:1")) -- peers do not suffer
        end)

        it("lets one process have each turn", function()
            local a = gate(0, UPSTREAM, "api")
            local function turn(now) return C.rp_roster_take_turn(box[0], a, C.RP_GATE_LIMIT_AT,
                now, 100) end
            assert.is_false(turn(1000)) -- the first is in a while
            assert.is_false(turn(1099))
            assert.is_true(turn(1100))
            assert.is_false(turn(1100))
            assert.is_true(turn(1200))
            C.rp_roster_put_word(box[0], a, C.RP_GATE_LIMIT_AT, 10 ^ 12) -- by mistake
            assert.is_true(turn(1300))
        end)
    end)

    describe("of a window", function()
        local g
        before_each(function() g = gate(0, UPSTREAM, "api") end)

        local function count(now, bad, slow)
            C.rp_roster_count_end(box[0], g, now, 100, bad or false, slow or false)
        end
        local function sums(now)
            local s = C.rp_roster_sums(box[0], g, now, 100)
            return { tonumber(s.all), tonumber(s.bad), tonumber(s.slow) }
        end

        it("adds up what came within it, and nothing of before", function()
            count(5000)
            count(5050, true)
            count(5100, true, true)
            count(5900, false, true)
            assert.same({ 4, 2, 2 }, sums(5999))
            assert.same({ 2, 1, 2 }, sums(6000)) -- ten cells: 5100 to 6099
            assert.same({ 1, 0, 1 }, sums(6100))
            assert.same({ 0, 0, 0 }, sums(6900))
            count(6900, true)
            assert.same({ 1, 1, 0 }, sums(6900))
        end)

        it("takes what another process's clock counted a tick ahead", function()
            count(6000, true)
            assert.same({ 1, 1, 0 }, sums(5999))
            assert.same({ 0, 0, 0 }, sums(5800))
        end)

        it("begins anew when it is cleared", function()
            for i = 0, 9 do count(5000 + i * 100, true, true) end
            C.rp_roster_clear_sums(box[0], g)
            assert.same({ 0, 0, 0 }, sums(5950))
            count(5950)
            assert.same({ 1, 0, 0 }, sums(5950))
        end)

        it("counts right where the ticks wrap", function()
            local wrap = 2 ^ 32 * 100
            count(wrap - 50, true)
            count(wrap + 50, true)
            assert.same({ 2, 2, 0 }, sums(wrap + 60))
            assert.same({ 1, 1, 0 }, sums(wrap + 960))
        end)

        it("is not spoilt by a process that stood still for longer than the window", function()
            count(9000, true)
            count(8000, true) -- the same cell, a window ago
            assert.same({ 1, 1, 0 }, sums(9000))
        end)

        it("begins anew where ticks of another length are", function()
            C.rp_roster_count_end(box[0], g, 10 ^ 7, 1, true, false)
            C.rp_roster_count_end(box[0], g, 10 ^ 7, 1000, true, false) -- the same place
            local s = C.rp_roster_sums(box[0], g, 10 ^ 7, 1000)
            assert.equal(1, tonumber(s.all))
        end)
    end)

    it("hands samples out once", function()
        local g = gate(0, UPSTREAM, "api")
        for _, us in ipairs { 10, 10, 5000 } do C.rp_roster_add_sample(box[0], g, us) end
        assert.equal(3, tonumber(C.rp_roster_samples(box[0], g)))
        local counts = ffi.new("uint32_t[?]", C.RP_HISTOGRAM_BUCKETS)
        assert.equal(3, tonumber(C.rp_roster_take_samples(box[0], g, counts)))
        assert.equal(10, C.rp_histogram_quantile(counts, 0.5))
        assert.equal(0, tonumber(C.rp_roster_take_samples(box[0], g, counts)))
    end)

    describe("of the past", function()
        local SLICE = C.RP_ROSTER_SLICE_MS
        local p
        before_each(function() p = hold(0, "api", "a:1") end)

        local function note(worker, us, now) C.rp_roster_note_time(box[0], worker, p, us, now) end
        local function past(now, since)
            local out = ffi.new("struct rp_roster_past")
            C.rp_roster_past(box[0], p, now, since or 0, out)
            return tonumber(out.n), tonumber(out.ms), out
        end

        it("adds up the workers' times of the last minute", function()
            local now = 100 * SLICE
            note(0, 1000, now)
            note(1, 1000, now + 5)
            note(1, 90000, now + SLICE)
            local n, ms, out = past(now + SLICE + 1000)
            assert.equal(3, n)
            assert.equal(SLICE + 1000, ms)
            assert.is_true(math.abs(C.rp_histogram_quantile(out.counts, 0.5) - 1000) <= 63)
            assert.is_true(math.abs(C.rp_histogram_quantile(out.counts, 1) - 90000) <= 5700)
            assert.equal(3, (past(now + 3 * SLICE - 1)))
            assert.equal(1, (past(now + 3 * SLICE)))
            assert.equal(0, (past(now + 4 * SLICE)))
            local _, long = past(now + 4 * SLICE + 500)
            assert.equal(2 * SLICE + 500, long)
        end)

        it("leaves out what was before a moment", function()
            local now = 100 * SLICE
            note(0, 1000, now)
            note(0, 1000, now + SLICE)
            assert.equal(2, (past(now + SLICE, now)))
            assert.equal(1, (past(now + SLICE, now + 1)))
            assert.equal(0, (past(now + SLICE, now + SLICE + 1)))
        end)

        it("is not known of a peer that nobody measured, nor of its successor", function()
            assert.same({ 0, 0 }, { (past(5000)), (select(2, past(5000))) })
            note(0, 10, 100 * SLICE)
            C.rp_roster_enter(box[0], 0, p)
            C.rp_roster_leave(box[0], 0, p, false)
            C.rp_roster_drop(box[0], 0, p)
            local found
            for i = 1, 20 * PLACES do
                local at = hold(1, "other", "b:" .. i)
                if at == p then
                    found = true
                    assert.equal(0, (past(100 * SLICE)))
                    break
                end
                C.rp_roster_drop(box[0], 1, at)
            end
            assert.is_true(found)
        end)

        it("goes on in the next life of a worker", function()
            note(1, 10, 100 * SLICE)
            C.rp_roster_forget(box[0], 1)
            assert.equal(1, (past(100 * SLICE)))
            note(1, 10, 100 * SLICE)
            assert.equal(2, (past(100 * SLICE)))
        end)

        it("hands results out once, whoever asks, also when a place began anew", function()
            for _ = 1, 3 do C.rp_roster_note_result(box[0], 0, p, false, 5) end
            C.rp_roster_note_result(box[0], 1, p, true, 5)
            local function take()
                local r = C.rp_roster_take_results(box[0], p)
                return { tonumber(r.good), tonumber(r.bad) }
            end
            assert.same({ 3, 1 }, take())
            assert.same({ 0, 0 }, take())
            C.rp_roster_note_result(box[0], 0, p, true, 6)
            assert.same({ 0, 1 }, take())
        end)

        it("says what the last check said, why a peer rests, and how often it did", function()
            assert.equal(0, tonumber(C.rp_roster_facts(box[0], p).check_ms))
            C.rp_roster_note_check(box[0], p, true, 123)
            local f = C.rp_roster_facts(box[0], p)
            assert.same({ true, 123 }, { f.check_ok, tonumber(f.check_ms) })
            assert.is_true(C.rp_roster_eject(box[0], p, 1000, 2000, C.RP_ROSTER_SLOW))
            assert.is_false(C.rp_roster_eject(box[0], p, 1500, 9000, C.RP_ROSTER_FAILURES))
            assert.is_true(C.rp_roster_rest(box[0], p, 2500, 3000))
            C.rp_roster_forgive(box[0], p)
            C.rp_roster_notice(box[0], p)
            f = C.rp_roster_facts(box[0], p)
            assert.same({ C.RP_ROSTER_FAILS, 0, 2, 1 }, { f.why, f.ejections, f.ejected,
                f.noticed })
        end)
    end)
end)
