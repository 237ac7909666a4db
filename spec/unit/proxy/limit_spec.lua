-- SPDX-License-Identifier: MIT
--
-- limit: the adaptive limit against a played upstream, over a clock that the spec moves. The
-- upstream serves `seats` requests at once, each in `ms`; what comes beyond waits for its turn.

local c = require("spec.support.c")
local ffi = c.ffi
local C = c.load { "proxy/limit.h" }

local RUN, DRAIN, MEASURE = C.RP_LIMIT_RUN, C.RP_LIMIT_DRAIN, C.RP_LIMIT_MEASURE

describe("an adaptive limit", function()
    local rules, s

    before_each(function()
        rules = ffi.new("struct rp_limit_rules", { least = 3, most = 1000, start = 20,
            quantile = 900, buffer = 250, measure_n = 50, measure_ms = 60000 })
        s = ffi.new("struct rp_limit_state")
    end)

    -- A closed loop: `clients` always want something; a step each 100 ms. The upstream is a queue
    -- with `seats` servers, so with n under way each takes ms x max(1, n / seats).
    local function play(world, seconds, now)
        local limits = {}
        for step = 1, seconds * 10 do
            now = now + 100
            local limit = s.limit == 0 and rules.start or s.limit
            local under_way = math.min(world.clients, limit)
            local took = world.ms * math.max(1, under_way / world.seats)
            local f = ffi.new("struct rp_limit_facts", { in_flight = under_way, dice = 0 })
            f.samples_n = (world.left or 0) + math.floor(under_way * 100 / took)
            if C.rp_limit_wants(rules, s, f.samples_n, now) then
                for i = 0, tonumber(f.samples_n) - 1 do -- a little noise
                    local at = C.rp_histogram_at(took * 1000 * (0.95 + 0.1 * (i % 11) / 10))
                    f.counts[at] = f.counts[at] + 1
                end
                world.left = 0
            else
                world.left = f.samples_n
            end
            C.rp_limit_step(rules, s, f, now)
            limits[step] = s.limit
        end
        return limits, now
    end

    local function mean(list, from)
        local sum = 0
        for i = from, #list do sum = sum + list[i] end
        return sum / (#list - from + 1)
    end

    it("finds what an upstream can serve at once, and no queue of more", function()
        rules.measure_ms = 0
        rules.start = 5 -- what it is measured with is no crowd
        for _, seats in ipairs { 10, 50, 200 } do
            s = ffi.new("struct rp_limit_state")
            local limits = play({ clients = 1000, seats = seats, ms = 20 }, 60, 0)
            local level = mean(limits, 300)
            -- Where limit x gradient + sqrt is the limit itself: 1.25 x seats and the headroom.
            assert.is_true(level >= seats, level)
            assert.is_true(level <= seats * 1.25 + 3 * math.sqrt(seats * 1.25) + 2, level)
        end
    end)

    it("follows an upstream that becomes slower, and recovers with it", function()
        rules.measure_ms, rules.start = 0, 5
        local world = { clients = 1000, seats = 100, ms = 20 }
        local limits, now = play(world, 40, 0)
        local before = mean(limits, 300)
        world.seats = 20 -- it lost most of what it had
        limits, now = play(world, 40, now)
        local bad = mean(limits, 300)
        assert.is_true(bad < before / 2, bad)
        world.seats = 100
        limits = play(world, 60, now)
        assert.is_true(mean(limits, 400) > before * 0.8)
    end)

    it("does not grow where nobody wants more", function()
        rules.measure_ms = 0
        local limits = play({ clients = 4, seats = 1000, ms = 20 }, 30, 0)
        assert.is_true(limits[#limits] <= 20)
    end)

    it("stays within its bounds", function()
        rules.measure_ms, rules.most = 0, 60
        for _, l in ipairs((play({ clients = 1000, seats = 1000, ms = 1 }, 20, 0))) do
            assert.is_true(l >= 3 and l <= 60)
        end
        s = ffi.new("struct rp_limit_state")
        rules.least, rules.start = 10, 10
        local world = { clients = 1000, seats = 20, ms = 10 }
        local _, now = play(world, 5, 0)
        world.ms = 1000 -- it hangs
        for _, l in ipairs((play(world, 20, now))) do assert.is_true(l >= 10) end
    end)

    it("measures anew what a calm request takes, with few under way, and goes on where it was",
        function()
            local world = { clients = 1000, seats = 50, ms = 20 }
            local _, now = play(world, 59, 0)
            local level = s.limit
            assert.equal(RUN, s.phase)
            world.ms = 40 -- a new release that takes longer
            local limits = play(world, 20, now)
            local least = math.huge
            for _, l in ipairs(limits) do least = math.min(least, l) end
            assert.equal(3, least)
            assert.is_true(math.abs(s.min_rtt_us - 40000) < 6000, s.min_rtt_us)
            assert.equal(RUN, s.phase)
            assert.is_true(s.limit > level / 2, s.limit)
        end)

    it("waits until few are under way before it measures", function()
        s.limit, s.phase, s.min_rtt_us, s.at = 100, RUN, 1000, 5000
        local f = ffi.new("struct rp_limit_facts", { in_flight = 90, samples_n = 100 })
        C.rp_limit_step(rules, s, f, 5000)
        assert.same({ DRAIN, 3 }, { s.phase, s.limit })
        C.rp_limit_step(rules, s, f, 5100)
        assert.equal(DRAIN, s.phase)
        f.in_flight = 3
        C.rp_limit_step(rules, s, f, 5200)
        assert.equal(MEASURE, s.phase)
    end)

    it("gives a measuring up for want of requests, and keeps what it knew", function()
        s.limit, s.kept, s.phase, s.min_rtt_us, s.at = 3, 100, MEASURE, 1000, 20000
        local f = ffi.new("struct rp_limit_facts")
        C.rp_limit_step(rules, s, f, 19999)
        assert.equal(MEASURE, s.phase)
        C.rp_limit_step(rules, s, f, 20000)
        assert.same({ RUN, 100, 1000 }, { s.phase, s.limit, s.min_rtt_us })
    end)

    it("measures at once when it is down at the least for several steps", function()
        s.limit, s.phase, s.min_rtt_us, s.at = 3, RUN, 1000, 10 ^ 6
        local f = ffi.new("struct rp_limit_facts", { in_flight = 3, samples_n = 10 })
        f.counts[C.rp_histogram_at(50000)] = 10 -- min_rtt is a mistake
        for i = 1, 6 do C.rp_limit_step(rules, s, f, 990000 + i * 100) end
        assert.equal(DRAIN, s.phase)
    end)

    it("is words and back, and whatever they hold, within its bounds", function()
        s.limit, s.kept, s.phase, s.low_n, s.min_rtt_us, s.at = 77, 1000, MEASURE, 4, 123, 456
        local back = C.rp_limit_read(C.rp_limit_word(s), 123, 456)
        assert.same({ 77, 1000, MEASURE, 4, 123 }, { back.limit, back.kept, back.phase, back.low_n,
            back.min_rtt_us })
        assert.equal(77, C.rp_limit_of(C.rp_limit_word(s), rules))
        assert.equal(20, C.rp_limit_of(0, rules)) -- not decided yet
        assert.equal(1000, C.rp_limit_of(ffi.cast("uint64_t", -1LL), rules))
        rules.least, rules.most = 100, 200 -- a reload
        assert.equal(100, C.rp_limit_of(C.rp_limit_word(s), rules))
        back = C.rp_limit_read(ffi.cast("uint64_t", -1LL), ffi.cast("uint64_t", -1LL), 10 ^ 12)
        assert.equal(RUN, back.phase)
        C.rp_limit_step(rules, back, ffi.new("struct rp_limit_facts"), 5)
        assert.is_true(tonumber(back.at) < 10 ^ 6)
    end)
end)
