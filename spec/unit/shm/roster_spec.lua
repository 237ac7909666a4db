-- SPDX-License-Identifier: MIT
--
-- roster: places of peers, what workers count there, and facts.

local c = require("spec.support.c")
local ffi = c.ffi
local posix = require("spec.support.posix")
local C = c.load { "shm/roster.h", "shm/zone.h" }

local WORKERS, PLACES = 4, 256

describe("a roster", function()
    local zone, box

    local function open(worker_n, place_n)
        local out = ffi.new("struct rp_roster *[1]")
        local e = C.rp_roster_new(zone[0], c.str("roster"), worker_n or WORKERS,
            place_n or PLACES, out)
        return e == 0 and out or nil, c.err_name(e)
    end

    before_each(function()
        zone = ffi.new("struct rp_zone *[1]")
        assert.equal(0, C.rp_zone_new(c.str("spec"), C.rp_roster_bytes(WORKERS, PLACES), zone))
        box = assert(open())
        for w = 0, WORKERS - 1 do C.rp_roster_forget(box[0], w) end
    end)

    after_each(function()
        C.rp_roster_free(box)
        C.rp_zone_free(zone)
    end)

    local function hold(worker, up, peer)
        local place, fresh = ffi.new("uint32_t[1]"), ffi.new("bool[1]")
        local e = C.rp_roster_hold(box[0], worker, c.str(up), c.str(peer), place, fresh)
        if e ~= 0 then return nil, c.err_name(e) end
        return place[0], fresh[0]
    end

    local function facts(place) return C.rp_roster_facts(box[0], place) end
    local function in_flight(place) return C.rp_roster_in_flight(box[0], place) end

    it("is found again by another handle, and not with other numbers", function()
        local place = hold(0, "api", "a:1")
        C.rp_roster_enter(box[0], 0, place)
        local again = assert(open())
        assert.equal(1, C.rp_roster_in_flight(again[0], place))
        C.rp_roster_free(again)
        assert.same({ nil, "INVALID" }, { open(WORKERS + 1) })
        assert.same({ nil, "INVALID" }, { open(WORKERS, PLACES * 2) })
        assert.same({ nil, "INVALID" }, { open(WORKERS, PLACES + 1) })
        assert.same({ nil, "INVALID" }, { open(0) })
    end)

    it("lets no more than so many in, whoever asks at the same moment", function()
        local MOST, ENTRIES = 2, 2000
        local place = hold(0, "api", "a:1")
        -- An exact count of those inside, in the word of the latency.
        local function count(more)
            while true do
                local was = C.rp_roster_latency(box[0], place)
                local is = more and was + 1ULL or was - 1ULL
                if C.rp_roster_swap_latency(box[0], place, was, is) then return tonumber(is) end
            end
        end
        local function enter_and_leave(worker)
            local entered, ends = 0, posix.now() + 30
            while entered < ENTRIES and posix.now() < ends do
                if C.rp_roster_enter_within(box[0], worker, place, MOST) then
                    entered = entered + 1
                    if count(true) > MOST then return 1 end
                    count(false)
                    C.rp_roster_leave(box[0], worker, place, false)
                end
            end
            return entered == ENTRIES and 0 or 2
        end
        local children = {}
        for worker = 1, WORKERS - 1 do
            local pid = posix.C.fork()
            if pid == 0 then posix.C._exit(enter_and_leave(worker)) end
            children[worker] = pid
        end
        assert.equal(0, enter_and_leave(0))
        for _, pid in pairs(children) do assert.equal(0, posix.wait(pid, 60).exit) end
        assert.equal(0, in_flight(place))
        assert.is_true(C.rp_roster_enter_within(box[0], 0, place, 1))
        assert.is_false(C.rp_roster_enter_within(box[0], 1, place, 1))
        assert.is_false(C.rp_roster_enter_within(box[0], 1, place, 0))
        assert.equal(1, in_flight(place))
        C.rp_roster_retreat(box[0], 0, place)
        assert.equal(0, in_flight(place))
    end)

    it("puts few peers close together, and finds them when there are more", function()
        local MANY = 4096
        local own = ffi.new("struct rp_roster *[1]", C.rp_roster_own(MANY))
        local place, fresh = ffi.new("uint32_t[1]"), ffi.new("bool[1]")
        local function of(i)
            assert.equal(0, C.rp_roster_hold(own[0], 0, c.str("api"), c.str("p:" .. i), place,
                fresh))
            return place[0], fresh[0]
        end
        local places, taken = {}, {}
        for i = 1, 3000 do
            places[i] = of(i)
            assert.is_nil(taken[places[i]])
            taken[places[i]] = true
            if i == 100 then for _, at in ipairs(places) do assert.is_true(at < 256) end end
            if i == 500 then for _, at in ipairs(places) do assert.is_true(at < 1024) end end
        end
        for i = 1, 3000 do
            local at, is_fresh = of(i)
            assert.same({ places[i], false }, { at, is_fresh })
        end
        C.rp_roster_free(own)
    end)

    it("gives a peer one place, whoever asks, and each upstream's peer its own", function()
        local place, fresh = hold(0, "api", "a:1")
        assert.is_true(fresh)
        local again, known = hold(1, "api", "a:1")
        assert.equal(place, again)
        assert.is_false(known)
        assert.are_not.equal(place, (hold(0, "api", "a:2")))
        assert.are_not.equal(place, (hold(0, "web", "a:1")))
    end)

    it("keeps what it knows of a peer that nobody holds until its place is wanted", function()
        local place = hold(0, "api", "a:1")
        C.rp_roster_fail(box[0], place)
        C.rp_roster_drop(box[0], 0, place)
        local again, fresh = hold(2, "api", "a:1")
        assert.equal(place, again)
        assert.is_false(fresh)
        assert.equal(1, facts(place).fails)
        C.rp_roster_drop(box[0], 2, place)
        local places = {}
        for i = 1, 20 * PLACES do -- each goes where its name says, once all were used
            local at = assert(hold(1, "other", "b:" .. i))
            places[at] = true
            C.rp_roster_drop(box[0], 1, at)
        end
        assert.is_true(places[place])
        local _, new = hold(0, "api", "a:1")
        assert.is_true(new)
    end)

    it("says when all places are taken, and never gives one away that is held", function()
        local mine = {}
        local full
        for i = 1, 4 * PLACES do
            local at = hold(i % WORKERS, "api", "a:" .. i)
            if at then
                assert.is_nil(mine[at])
                mine[at] = true
            else
                full = true
            end
        end
        assert.is_true(full)
        assert.equal("CAP", select(2, hold(0, "api", "one more")))
    end)

    it("adds up what the workers have under way, and forgets a dead one's", function()
        local place = hold(0, "api", "a:1")
        hold(1, "api", "a:1")
        C.rp_roster_enter(box[0], 0, place)
        C.rp_roster_enter(box[0], 1, place)
        C.rp_roster_enter(box[0], 1, place)
        assert.equal(3, in_flight(place))
        C.rp_roster_leave(box[0], 1, place, true)
        assert.equal(2, in_flight(place))
        C.rp_roster_forget(box[0], 1)
        assert.equal(1, in_flight(place))
        local t = C.rp_roster_totals(box[0], place)
        assert.equal(3, tonumber(t.requests))
        assert.equal(1, tonumber(t.failures))
        C.rp_roster_leave(box[0], 0, place, false)
        C.rp_roster_leave(box[0], 0, place, false) -- once too often
        assert.equal(0, in_flight(place))
    end)

    it("counts failures in a row, of whichever worker", function()
        local place = hold(0, "api", "a:1")
        assert.equal(1, C.rp_roster_fail(box[0], place))
        assert.equal(2, C.rp_roster_fail(box[0], place))
        C.rp_roster_succeed(box[0], place)
        assert.equal(1, C.rp_roster_fail(box[0], place))
    end)

    it("lets a peer rest once at a time, and counts rests in a row", function()
        local place = hold(0, "api", "a:1")
        assert.is_true(C.rp_roster_rest(box[0], place, 1000, 1500))
        assert.is_false(C.rp_roster_rest(box[0], place, 1200, 1700))
        assert.equal(1500, tonumber(facts(place).rest_until_ms))
        assert.equal(1500, tonumber(facts(place).up_since_ms))
        assert.is_true(C.rp_roster_rest(box[0], place, 1500, 2500))
        assert.equal(2, facts(place).ejections)
        C.rp_roster_forgive(box[0], place)
        assert.equal(0, facts(place).ejections)
    end)

    it("raises its epoch with what decides who may be chosen, and with nothing else", function()
        local place = hold(0, "api", "a:1")
        local last = C.rp_roster_epoch(box[0])
        local function news(yes, ...)
            local now = C.rp_roster_epoch(box[0])
            assert.equal(yes, now ~= last)
            last = now
            return ...
        end
        C.rp_roster_enter(box[0], 0, place)
        C.rp_roster_fail(box[0], place)
        C.rp_roster_succeed(box[0], place)
        news(false)
        assert.is_true(news(true, C.rp_roster_set_health(box[0], place, C.RP_ROSTER_FAILING, 10)))
        assert.is_false(news(false, C.rp_roster_set_health(box[0], place, C.RP_ROSTER_FAILING, 20)))
        assert.equal(0, tonumber(facts(place).up_since_ms))
        assert.is_true(news(true, C.rp_roster_set_health(box[0], place, C.RP_ROSTER_PASSING, 30)))
        assert.equal(30, tonumber(facts(place).up_since_ms))
        assert.is_true(news(true, C.rp_roster_set_order(box[0], place, C.RP_ROSTER_DRAIN, 40)))
        assert.is_true(news(true, C.rp_roster_set_order(box[0], place, C.RP_ROSTER_READY, 50)))
        assert.equal(50, tonumber(facts(place).up_since_ms))
        assert.equal(0xffffffff, facts(place).weight)
        C.rp_roster_set_weight(box[0], place, 7)
        news(true)
        C.rp_roster_set_weight(box[0], place, 7)
        news(false)
        C.rp_roster_rest(box[0], place, 1, 5)
        news(true)
    end)

    it("changes a latency only from what was read", function()
        local place = hold(0, "api", "a:1")
        local was = C.rp_roster_latency(box[0], place)
        assert.is_true(C.rp_roster_swap_latency(box[0], place, was, 5))
        assert.is_false(C.rp_roster_swap_latency(box[0], place, was, 6))
        assert.equal(5, tonumber(C.rp_roster_latency(box[0], place)))
    end)

    it("tells of the peers that somebody holds, with names that may be cut", function()
        local long = ("x"):rep(200)
        hold(0, "api", "a:1")
        local place = hold(1, long, long)
        C.rp_roster_drop(box[0], 1, (hold(1, "gone", "b:1")))
        C.rp_roster_enter(box[0], 1, place)
        local at, r, found = ffi.new("uint32_t[1]"), ffi.new("struct rp_roster_report"), {}
        while C.rp_roster_next(box[0], at, r) do
            found[ffi.string(r.upstream)] = { ffi.string(r.peer), tonumber(r.totals.in_flight) }
        end
        assert.same({ api = { "a:1", 0 }, [("x"):rep(47)] = { ("x"):rep(79), 1 } }, found)
    end)

    it("of one process needs no zone", function()
        local own = ffi.new("struct rp_roster *[1]", C.rp_roster_own(PLACES))
        local place, fresh = ffi.new("uint32_t[1]"), ffi.new("bool[1]")
        assert.equal(0, C.rp_roster_hold(own[0], 0, c.str("api"), c.str("a:1"), place, fresh))
        C.rp_roster_enter(own[0], 0, place[0])
        assert.equal(1, C.rp_roster_in_flight(own[0], place[0]))
        C.rp_roster_free(own)
        assert.is_true(own[0] == nil)
    end)
end)
