-- SPDX-License-Identifier: MIT
--
-- splits: positions of sides, what moves when shares change, rollouts, counts.

local c = require("spec.support.c")
local ffi = c.ffi
local C = c.load { "shm/splits.h", "shm/zone.h" }

local WORKERS, PLACES, ALL = 4, 4, 10000
local NONE, RUNS, PAUSED, BACK, DONE = 0, 1, 2, 3, 4
local PAUSE, RESUME, ROLLBACK, PROMOTE = 0, 1, 2, 3
local ANY = 2 ^ 32 - 1

describe("splits", function()
    local zone, box

    local function open(worker_n, place_n)
        local out = ffi.new("struct rp_splits *[1]")
        local e = C.rp_splits_new(zone[0], c.str("splits"), worker_n or WORKERS,
            place_n or PLACES, out)
        return e == 0 and out or nil, c.err_name(e)
    end

    before_each(function()
        zone = ffi.new("struct rp_zone *[1]")
        assert.equal(0, C.rp_zone_new(c.str("spec"), C.rp_splits_bytes(WORKERS, PLACES), zone))
        box = assert(open())
    end)

    after_each(function()
        C.rp_splits_free(box)
        C.rp_zone_free(zone)
    end)

    local function plan_of(name, shares, more)
        local plan = ffi.new("struct rp_split_plan")
        plan.name = c.str(name)
        for i, side in ipairs(shares) do
            plan.sides[i - 1] = c.str(side[1])
            plan.shares[i - 1] = side[2]
        end
        plan.sides_n = #shares
        for key, value in pairs(more or {}) do
            if key ~= "steps" then plan[key] = value end
        end
        for i, step in ipairs(more and more.steps or {}) do
            plan.steps[i - 1] = step
            plan.steps_n = i
        end
        return plan
    end

    local function hold(plan, worker, now)
        local place = ffi.new("uint32_t[1]")
        local e = C.rp_splits_hold(box[0], worker or 0, plan, now or 1000, place)
        if e ~= 0 then return nil, c.err_name(e) end
        return place[0]
    end

    local function two(name, canary, more)
        more = more or {}
        more.base = 1
        return plan_of(name, { { "canary", canary }, { "stable", ALL - canary } }, more)
    end

    local function set(place, ...)
        local n = select("#", ...)
        return c.err_name(C.rp_splits_set(box[0], place, ffi.new("uint32_t[?]", n, { ... }), n,
            2000))
    end

    local function sides(place)
        local out = {}
        for i = 0, ALL - 1 do out[i] = C.rp_splits_side(box[0], place, i) end
        return out
    end

    local function counts(map)
        local out = {}
        for i = 0, ALL - 1 do out[map[i]] = (out[map[i]] or 0) + 1 end
        return out
    end

    local function moved(before, after)
        local n = 0
        for i = 0, ALL - 1 do if before[i] ~= after[i] then n = n + 1 end end
        return n
    end

    local function look(place)
        local report = ffi.new("struct rp_split_report")
        return C.rp_splits_look(box[0], place, report) and report or nil
    end

    local function say(place, word, step, why)
        return c.err_name(C.rp_splits_say(box[0], place, word, step or ANY, c.str(why or ""), 3000))
    end

    it("are found again by another handle, and not with other numbers", function()
        local place = hold(two("a", 500))
        local again = assert(open())
        assert.equal(0, C.rp_splits_side(again[0], place, 499))
        assert.equal(1, C.rp_splits_side(again[0], place, 500))
        C.rp_splits_free(again)
        assert.same({ nil, "INVALID" }, { open(WORKERS + 1) })
        assert.same({ nil, "INVALID" }, { open(WORKERS, PLACES + 1) })
        assert.same({ nil, "INVALID" }, { open(0) })
    end)

    it("give each side its share exactly", function()
        local place = hold(plan_of("a", { { "x", 3333 }, { "y", 1 }, { "z", 0 }, { "s", 6666 } },
            { base = 3 }))
        assert.same({ [0] = 3333, [1] = 1, [3] = 6666 }, counts(sides(place)))
    end)

    it("refuse plans that cannot be", function()
        assert.same({ nil, "INVALID" }, { hold(plan_of("a", { { "x", 9999 } })) })
        assert.same({ nil, "INVALID" }, { hold(plan_of("a", {})) })
        assert.same({ nil, "INVALID" }, { hold(two("a", 1, { base = 1, canary = 1,
            steps = { 100 } })) })
        local bad = two("a", 1)
        bad.base = 2
        assert.same({ nil, "INVALID" }, { hold(bad) })
    end)

    it("move only what a side shrinks by, and bring it back when it grows again", function()
        local place = hold(two("a", 500))
        local first = sides(place)
        assert.equal("OK", set(place, 5000, 5000))
        local half = sides(place)
        assert.equal(4500, moved(first, half))
        for i = 0, ALL - 1 do if first[i] == 0 then assert.equal(0, half[i]) end end
        assert.equal("OK", set(place, 500, 9500))
        assert.equal(0, moved(first, sides(place)))
        assert.equal("OK", set(place, 0, ALL))
        assert.equal("OK", set(place, ALL, 0))
        assert.same({ [0] = ALL }, counts(sides(place)))
    end)

    it("do the same among many sides, by chance", function()
        math.randomseed(7)
        local place = hold(plan_of("a", { { "x", 100 }, { "y", 200 }, { "z", 300 }, { "s", 9400 } },
            { base = 3 }))
        local before, shares = sides(place), { 100, 200, 300, 9400 }
        for _ = 1, 200 do
            local left, now, shrunk = ALL, {}, 0
            for i = 1, 3 do
                now[i] = math.random(0, left)
                left = left - now[i]
            end
            now[4] = left
            assert.equal("OK", set(place, unpack(now)))
            local after = sides(place)
            for i = 1, 4 do shrunk = shrunk + math.max(0, shares[i] - now[i]) end
            assert.equal(shrunk, moved(before, after))
            local n = counts(after)
            for i = 1, 4 do assert.equal(now[i], n[i - 1] or 0) end
            before, shares = after, now
        end
    end)

    it("refuse shares that do not add up, or that are too few", function()
        local place = hold(two("a", 500))
        assert.equal("INVALID", set(place, 500, 500))
        assert.equal("INVALID", set(place, ALL))
        assert.equal("INVALID", set(place, ANY, ALL + 1))
        assert.same({ [0] = 500, [1] = 9500 }, counts(sides(place)))
    end)

    it("keep the operator's shares until the site's numbers change", function()
        local place = hold(two("a", 500))
        set(place, 5000, 5000)
        assert.equal(place, hold(two("a", 500), 1))
        assert.equal(5000, look(place).sides[0].share)
        assert.equal(500, look(place).sides[0].said)
        assert.equal(place, hold(two("a", 700), 1))
        assert.equal(700, look(place).sides[0].share)
        assert.equal(0, C.rp_splits_reset(box[0], place, 1))
        assert.equal(700, look(place).sides[0].share)
    end)

    it("with other sides are another split; the youngest of a name is found", function()
        local old = hold(two("a", 500))
        local new = hold(plan_of("a", { { "stable", ALL } }))
        assert.are_not.equal(old, new)
        local found = ffi.new("uint32_t[1]")
        assert.is_true(C.rp_splits_find(box[0], c.str("a"), found))
        assert.equal(new, found[0])
        C.rp_splits_drop(box[0], 0, new)
        assert.is_true(C.rp_splits_find(box[0], c.str("a"), found))
        assert.equal(old, found[0])
        assert.is_false(C.rp_splits_find(box[0], c.str("b"), found))
        assert.is_false(C.rp_splits_find(box[0], c.str(""), found))
    end)

    it("give a place to another when nobody holds it, and not before", function()
        for i = 1, PLACES do assert.truthy(hold(two("s" .. i, i * 100), 1)) end
        assert.same({ nil, "CAP" }, { hold(two("more", 100)) })
        C.rp_splits_forget(box[0], 1) -- that worker died
        assert.is_nil(look(0))
        local place = assert(hold(two("more", 4200)))
        assert.same({ [0] = 4200, [1] = 5800 }, counts(sides(place)))
        assert.equal("more", ffi.string(look(place).name))
        assert.equal(0, tonumber(look(place).sides[0].all.requests))
    end)

    it("begin anew when a reload brings one back that another had taken away", function()
        local place = hold(two("a", 500, { generation = 1 }))
        set(place, 5000, 5000)
        assert.equal(place, hold(two("a", 500, { generation = 2 }))) -- an ordinary reload
        C.rp_splits_drop(box[0], 0, place)
        C.rp_splits_drop(box[0], 0, place) -- all workers died
        assert.equal(place, hold(two("a", 500, { generation = 2 })))
        assert.equal(5000, look(place).sides[0].share)
        C.rp_splits_drop(box[0], 0, place) -- generation 3 has no such split
        assert.equal(place, hold(two("a", 500, { generation = 4 })))
        assert.equal(500, look(place).sides[0].share)
        assert.equal(0, sides(place)[499])
        assert.equal(1, sides(place)[500])
    end)

    it("count requests, failures and times, ever and since shares changed", function()
        local place = hold(two("a", 500))
        for i = 1, 100 do
            C.rp_splits_count(box[0], place, 0, i % 10 == 0, i % 10 == 0 and 0 or i * 1000)
        end
        local side = look(place).sides[0]
        assert.same({ 100, 10, 90 }, { tonumber(side.all.requests), tonumber(side.all.failures),
            tonumber(side.all.timed) })
        local p50 = tonumber(C.rp_split_quantile(side.all, 500000))
        assert.is_true(p50 >= 48000 and p50 <= 51000 * 1.25, p50)
        set(place, 600, 9400)
        assert.equal(0, tonumber(look(place).sides[0].step.requests))
        assert.equal(100, tonumber(look(place).sides[0].all.requests))
        assert.equal(0, tonumber(C.rp_split_quantile(look(place).sides[0].step, 500000)))
        C.rp_splits_count(box[0], place, 0, false, 2 ^ 62)
        assert.is_true(C.rp_split_quantile(look(place).sides[0].step, 1000000) > 60e6)
    end)

    it("have classes of times whose end is at most a quarter more than what is in them", function()
        local place = hold(two("a", 500))
        for _, us in ipairs { 1, 3, 4, 5, 7, 8, 100, 1023, 1024, 999999, 60000001 } do
            set(place, 500, 9500) -- a new step: nothing counted
            C.rp_splits_count(box[0], place, 1, false, us)
            local upper = tonumber(C.rp_split_quantile(look(place).sides[1].step, 500000))
            assert.is_true(upper > us and upper <= us * 1.25 + 1, us .. " " .. upper)
        end
    end)

    describe("with a rollout", function()
        local function rollout(name) -- 1, 25, 100 percent
            return hold(two(name or "a", 100, { canary = 0, steps = { 100, 2500, ALL } }))
        end

        local function at(place)
            local r = look(place)
            return { r.state, r.step, r.sides[0].share }
        end

        it("begin with the first step, and go on one by one to the last", function()
            local place = rollout()
            assert.same({ RUNS, 0, 100 }, at(place))
            assert.equal("OK", say(place, PROMOTE, 0))
            assert.same({ RUNS, 1, 2500 }, at(place))
            assert.equal("STALE", say(place, PROMOTE, 0)) -- somebody was faster
            assert.equal("OK", say(place, PROMOTE))
            assert.same({ DONE, 2, ALL }, at(place))
            assert.equal("INVALID", say(place, PROMOTE))
            assert.equal("INVALID", say(place, PAUSE))
        end)

        it("roll back to nothing, with the reason, and begin anew when they resume", function()
            local place = rollout()
            say(place, PROMOTE)
            assert.equal("OK", say(place, ROLLBACK, 1, "10% failed"))
            assert.same({ BACK, 0, 0 }, at(place))
            assert.equal("10% failed", ffi.string(look(place).why))
            assert.equal("STALE", say(place, PROMOTE, 0))
            assert.equal("OK", say(place, RESUME))
            assert.same({ RUNS, 0, 100 }, at(place))
        end)

        it("pause, also when shares are set, and resume at the step of the share", function()
            local place = rollout()
            assert.equal("OK", say(place, PAUSE))
            assert.same({ PAUSED, 0, 100 }, at(place))
            assert.equal("STALE", say(place, PROMOTE, 0))
            assert.equal("OK", say(place, RESUME))
            assert.equal("OK", set(place, 1000, 9000))
            assert.same({ PAUSED, 0, 1000 }, at(place))
            assert.equal("OK", say(place, RESUME))
            assert.same({ RUNS, 1, 2500 }, at(place))
            assert.equal("INVALID", say(place, RESUME))
        end)

        it("go on over a reload, and begin anew with other steps", function()
            local place = rollout()
            say(place, PROMOTE)
            assert.equal(place, rollout())
            assert.same({ RUNS, 1, 2500 }, at(place))
            assert.equal(place, hold(two("a", 100, { canary = 0, steps = { 300, ALL } })))
            assert.same({ RUNS, 0, 300 }, at(place))
            assert.equal(place, hold(two("a", 100)))
            assert.same({ NONE, 0, 100 }, at(place))
            assert.equal("INVALID", say(place, PAUSE))
        end)
    end)
end)
