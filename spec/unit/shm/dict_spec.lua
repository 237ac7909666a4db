-- SPDX-License-Identifier: MIT
--
-- dict: shared zones of values and limiters: against a model, full, between processes, after kills.

local c = require("spec.support.c")
local posix = require("spec.support.posix")

local ffi, s = c.ffi, c.str
local C = c.load { "shm/dict.h" }
ffi.cdef "int dup(int fd);"

local STORE, CACHE, BUCKETS = 1, 2, 3
local NUMBER, STRING, ABSENT = 1, 2, 4
local SET, ADD, REPLACE = 0, 1, 2
local SECOND = 1000000000
local HEAD = 4160 -- bytes before the first shard

describe("dict", function()
    local zone, dict, text
    local item, verdict = ffi.new("struct rp_dict_item"), ffi.new("struct rp_dict_verdict")
    local number = ffi.new("double[1]")

    local function fresh(kind, bytes)
        zone = ffi.new("struct rp_zone *[1]")
        assert.equal(0, C.rp_zone_new(s "zone", bytes or 65536, zone))
        local out = ffi.new("struct rp_dict *[1]")
        assert.equal(0, C.rp_dict_new(zone[0], kind, out))
        dict = out
        return out[0]
    end

    before_each(function()
        text = ffi.new("struct rp_buf")
        C.rp_buf_init(text, 1e7)
    end)

    after_each(function()
        C.rp_buf_fini(text)
        if dict then C.rp_dict_free(dict) end
        if zone then C.rp_zone_free(zone) end
        dict, zone = nil, nil
    end)

    local function set(key, value, ttl_at, mode, now, fresh_at)
        item.type = type(value) == "number" and NUMBER or STRING
        item.number = type(value) == "number" and value or 0
        item.expires_ms, item.fresh_ms = ttl_at or 0, fresh_at or 0
        return c.err_name(C.rp_dict_set(dict[0], s(key), item,
            s(type(value) == "string" and value or ""), mode or SET, now or 1))
    end

    local function get(key, now)
        C.rp_buf_clear(text)
        local e = C.rp_dict_get(dict[0], s(key), now or 1, item, text)
        if e ~= 0 then return nil, c.err_name(e) end
        if item.type == NUMBER then return item.number end
        return ffi.string(text.ptr, text.len)
    end

    local function stats()
        local out = ffi.new("struct rp_dict_stats")
        C.rp_dict_stats(dict[0], out)
        return out
    end

    local function entries() return tonumber(stats().entries) end

    -- -------------------------------------------------------- values

    it("keeps values of every length, and any bytes as key", function()
        fresh(STORE, 4 * 2 ^ 20)
        local keys = { "k", ("k"):rep(1024), "a\0b", "\255\254" }
        for _, key in ipairs(keys) do
            for _, n in ipairs { 0, 1, 50, 55, 56, 57, 151, 152, 153, 1000, 100000 } do
                local value = ("v"):rep(n)
                assert.equal("OK", set(key, value))
                assert.equal(value, get(key))
            end
        end
        assert.equal(#keys, entries())
        assert.equal("INVALID", set("", "x"))
        assert.equal("INVALID", set(("k"):rep(1025), "x"))
        assert.equal("TOO_BIG", set("k", ("x"):rep(2 ^ 20)))
        assert.equal(("v"):rep(100000), get("k"))
    end)

    it("adds only what is not there, replaces only what is", function()
        fresh(STORE)
        assert.equal("END", set("k", "1", 0, REPLACE))
        assert.equal("OK", set("k", "1", 0, ADD))
        assert.equal("END", set("k", "2", 0, ADD))
        assert.equal("OK", set("k", "3", 0, REPLACE))
        assert.equal("3", get("k"))
        assert.equal("OK", c.err_name(C.rp_dict_delete(dict[0], s "k", 1)))
        assert.equal("NOT_FOUND", c.err_name(C.rp_dict_delete(dict[0], s "k", 1)))
        assert.equal(0, entries())
    end)

    it("counts from what is there, or from a beginning that is given", function()
        fresh(STORE)
        local init = ffi.new("double[1]", 10)
        local function incr(key, by, from, at)
            local e = C.rp_dict_incr(dict[0], s(key), by, from, at or 0, 1, number)
            return e == 0 and number[0] or c.err_name(e)
        end
        assert.equal("NOT_FOUND", incr("n", 1, nil))
        assert.equal(11, incr("n", 1, init, 100))
        assert.equal(10.5, incr("n", -0.5, init))
        assert.equal(10.5, get("n", 99))
        assert.is_nil(get("n", 100))
        set("t", "text")
        assert.equal("END", incr("t", 1, init))
    end)

    it("forgets what is past its time, and another time can be given", function()
        fresh(STORE)
        set("a", "1", 50)
        assert.equal("1", get("a", 49))
        assert.equal("OK", c.err_name(C.rp_dict_expire(dict[0], s "a", 80, 49)))
        assert.equal("1", get("a", 79))
        assert.same({ nil, "NOT_FOUND" }, { get("a", 80) })
        assert.equal(0, entries())
        assert.equal("NOT_FOUND", c.err_name(C.rp_dict_expire(dict[0], s "a", 90, 81)))
    end)

    it("walks over all keys and forgets all of them", function()
        fresh(STORE, 4 * 2 ^ 20)
        local seen, n = {}, 0
        for i = 1, 500 do set("key" .. i, i) end
        number[0] = 0
        while true do
            C.rp_buf_clear(text)
            if C.rp_dict_next(dict[0], number, 1, text) ~= 0 then break end
            local key = ffi.string(text.ptr, text.len)
            assert.is_nil(seen[key])
            seen[key], n = true, n + 1
        end
        assert.equal(500, n)
        assert.equal(0, C.rp_dict_flush(dict[0]))
        assert.equal(0, entries())
        assert.is_nil(get("key1"))
        assert.equal("OK", set("key1", "again"))
    end)

    -- -------------------------------------------------------- full

    it("a store refuses what does not fit, keeps what it has and takes back freed room", function()
        fresh(STORE)
        local n = 0
        while set("k" .. n, ("v"):rep(200)) == "OK" do n = n + 1 end
        assert.is_true(n > 100, n)
        assert.equal("CAP", set("more", ("v"):rep(200)))
        assert.is_true(stats().refused > 0)
        for i = 0, n - 1 do assert.equal(("v"):rep(200), get("k" .. i)) end
        assert.equal("OK", set("k0", ("w"):rep(200))) -- a new value of an old one's length
        assert.equal(("w"):rep(200), get("k0"))
        C.rp_dict_delete(dict[0], s "k1", 1)
        assert.equal("OK", set("more", ("v"):rep(200)))
    end)

    it("room of all lengths comes back whole, whatever was there before", function()
        fresh(STORE)
        local function fill(length)
            local n = 0
            while set(("k%05d"):format(n), ("v"):rep(length)) == "OK" do n = n + 1 end
            for i = 0, n - 1 do C.rp_dict_delete(dict[0], s(("k%05d"):format(i)), 1) end
            return n
        end
        local most = fill(1000)
        for _, length in ipairs { 1, 3000, 70, 500, 10000, 130 } do fill(length) end
        assert.equal(most, fill(1000))
        assert.equal(0, tonumber(stats().bytes_used))
    end)

    it("a store that is full finds the room of what is past its time", function()
        fresh(STORE)
        local n = 0
        while set("k" .. n, "v", 100) == "OK" do n = n + 1 end
        assert.equal("CAP", set("more", "v", 0, SET, 99))
        for i = 1, n do assert.equal("OK", set("more" .. i, "v", 0, SET, 100)) end
        assert.equal(n, entries())
        assert.equal(n, tonumber(stats().expired))
    end)

    it("a cache drops what was used longest ago", function()
        fresh(CACHE)
        set("first", "1")
        set("second", "2")
        local n = 0
        while stats().evictions == 0 do
            n = n + 1
            assert.equal("OK", set("k" .. n, "v"))
            assert.equal("1", get("first"))
        end
        assert.is_nil(get("second"))
        assert.equal("1", get("first"))
        assert.equal("OK", set("big", ("x"):rep(5000)))
        assert.is_true(stats().evictions > 10)
    end)

    it("does as a table does, through thousands of random calls", function()
        for _, kind in ipairs { STORE, CACHE } do
            fresh(kind, 512 * 1024)
            math.randomseed(kind)
            local model, now = {}, 1
            for _ = 1, 30000 do
                local key, what = "key" .. math.random(120), math.random(10)
                local entry = model[key]
                if entry and entry.at and entry.at <= now then entry, model[key] = nil, nil end
                if what <= 4 then
                    local value = ("v"):rep(math.random(0, 400))
                    local at = math.random(3) == 1 and now + math.random(40) or nil
                    assert.equal("OK", set(key, value, at, SET, now))
                    model[key] = { value = value, at = at }
                elseif what <= 5 then
                    C.rp_dict_delete(dict[0], s(key), now)
                    model[key] = nil
                else
                    assert.equal(entry and entry.value, (get(key, now)))
                end
                now = now + math.random(0, 1)
            end
            C.rp_dict_free(dict)
            C.rp_zone_free(zone)
            dict, zone = nil, nil
        end
    end)

    -- -------------------------------------------------------- leases

    it("gives one caller the lease, the others what is there", function()
        fresh(CACHE)
        local function lease(now)
            C.rp_buf_clear(text)
            return c.err_name(C.rp_dict_lease(dict[0], s "k", now + 50, now, item, text)),
                ffi.string(text.ptr, text.len)
        end
        assert.equal("END", (lease(1)))
        assert.equal("AGAIN", (lease(2)))
        assert.equal(0, item.type)
        assert.is_nil(get("k", 2))
        assert.equal("END", (lease(52))) -- the first one took too long
        set("k", "value", 200, SET, 53, 100) -- fresh until 100, stale until 200
        assert.same({ "OK", "value" }, { lease(60) })
        assert.is_nil(get("k", 100))
        assert.same({ "END", "value" }, { lease(100) })
        assert.same({ "AGAIN", "value" }, { lease(101) })
        assert.equal(0, C.rp_dict_unlease(dict[0], s "k", 101))
        assert.same({ "END", "value" }, { lease(102) })
        assert.equal("END", (lease(200))) -- and it is gone
        item.type, item.expires_ms, item.fresh_ms = ABSENT, 300, 0
        assert.equal(0, C.rp_dict_set(dict[0], s "k", item, s "", SET, 210))
        assert.equal("OK", (lease(220)))
        assert.equal(ABSENT, item.type)
    end)

    -- -------------------------------------------------------- limiters

    local function take(key, cost, rate, burst, seconds)
        assert.equal(0, C.rp_dict_take(dict[0], s(key), cost, rate, burst,
            (100 + seconds) * SECOND, verdict))
        return verdict.allowed, verdict.remaining, verdict.wait
    end

    it("a token bucket holds its burst and fills at its rate", function()
        fresh(BUCKETS)
        for i = 4, 0, -1 do assert.same({ true, i, 0 }, { take("k", 1, 2, 5, 0) }) end
        assert.same({ false, 0, 0.5 }, { take("k", 1, 2, 5, 0) })
        assert.same({ false, 0, 0.25 }, { take("k", 1, 2, 5, 0.25) })
        assert.same({ true, 0, 0 }, { take("k", 1, 2, 5, 0.5) })
        assert.same({ true, 1, 0 }, { take("k", 2, 2, 5, 2) })
        assert.same({ true, 5, 0 }, { take("k", 0, 2, 5, 100) })
        assert.same({ false, 5, math.huge }, { take("k", 6, 2, 5, 100) })
        assert.same({ true, 0, 0 }, { take("other", 5, 2, 5, 100) })
    end)

    it("a token bucket never gives more than burst and rate, whatever is asked when", function()
        fresh(BUCKETS)
        math.randomseed(7)
        local given, at = 0, 0
        for _ = 1, 20000 do
            at = at + math.random() / 50
            local cost = math.random(3)
            if take("k", cost, 30, 10, at) then given = given + cost end
            assert.is_true(given <= 10 + 30 * at + 1e-3)
        end
        assert.is_true(given > 30 * at - 20)
    end)

    it("refuses numbers that cannot be", function()
        fresh(BUCKETS)
        local nan = 0 / 0
        for _, bad in ipairs { { -1, 1, 1 }, { nan, 1, 1 }, { 1, 0, 1 }, { 1, nan, 1 }, { 1, 1, 0 },
            { 1, 1, nan }, { 1, 1e-9, 1e15 }, { 1, math.huge, 1 } } do
            assert.equal("INVALID", c.err_name(C.rp_dict_take(dict[0], s "k", bad[1], bad[2],
                bad[3], SECOND, verdict)))
        end
        assert.equal(0, entries())
    end)

    it("a sliding window never lets more than its limit through in any window", function()
        fresh(BUCKETS)
        math.randomseed(3)
        local times, at = {}, 0
        for _ = 1, 5000 do
            at = at + math.random() / 10
            assert.equal(0, C.rp_dict_window(dict[0], s "k", 1, 10, 2, (100 + at) * SECOND,
                verdict))
            if verdict.allowed then
                times[#times + 1] = at
            else
                assert.is_true(verdict.wait > 0 and verdict.wait <= 4)
                assert.equal(0, C.rp_dict_window(dict[0], s "k", 0, 10, 2, (100 + at) * SECOND,
                    verdict))
            end
        end
        -- The window before counts as if it were even: at most twice the limit in the worst case.
        local first = 1
        for i = 1, #times do
            while times[first] < times[i] - 2 do first = first + 1 end
            assert.is_true(i - first < 20)
        end
        assert.is_true(#times > at / 2 * 10 * 0.7, #times)
    end)

    it("seats are taken, given back, and free again when their holder forgets them", function()
        fresh(BUCKETS)
        local function acquire(seconds, limit)
            assert.equal(0, C.rp_dict_acquire(dict[0], s "k", limit or 2, 30,
                (1000 + seconds) * SECOND, verdict, number))
            return verdict.allowed and number[0]
        end
        local function release(ticket, seconds)
            return c.err_name(C.rp_dict_release(dict[0], s "k", ticket, (1000 + seconds) * SECOND))
        end
        local one, two = acquire(0), acquire(12)
        assert.is_truthy(one and two)
        assert.is_false(acquire(12))
        assert.equal("OK", release(one, 13))
        assert.equal("NOT_FOUND", release(one, 13))
        assert.is_truthy(acquire(13))
        assert.is_false(acquire(29))
        assert.is_false(acquire(40)) -- 28 s old: within their lease
        assert.is_truthy(acquire(55)) -- 42 s: beyond the lease and a third
        assert.equal("NOT_FOUND", release(two, 55))
    end)

    it("a queue says how long to wait for one's turn, and when it is full", function()
        fresh(BUCKETS)
        local function leak(cost, rate, burst, at)
            assert.equal(0, C.rp_dict_leak(dict[0], s "q", cost, rate, burst, (100 + at) * SECOND,
                verdict))
            return verdict.allowed, verdict.wait
        end
        assert.same({ true, 0 }, { leak(1, 2, 3, 0) })
        assert.same({ true, 0.5 }, { leak(1, 2, 3, 0) })
        assert.same({ true, 1 }, { leak(1, 2, 3, 0) })
        assert.same({ true, 1.5 }, { leak(1, 2, 3, 0) })
        assert.is_false((leak(1, 2, 3, 0)))
        assert.is_true(math.abs(verdict.wait - 0.5) < 1e-9)
        assert.equal(0, verdict.remaining)
        assert.same({ true, 1.5 }, { leak(1, 2, 3, 0.5) })
        assert.is_false((leak(1, 2, 3, 0.75)))
        assert.is_true(math.abs(verdict.wait - 0.25) < 1e-9)
        assert.same({ true, 0 }, { leak(1, 2, 3, 50) })
        assert.same({ false, math.huge }, { leak(5, 2, 3, 50) })
        assert.same({ true, 0 }, { leak(4, 2, 3, 60) })
        assert.is_false((leak(3, 2, 3, 61)))
        assert.equal("INVALID", c.err_name(C.rp_dict_leak(dict[0], s "q", 1, 0, 3, 1, verdict)))
        assert.equal("INVALID", c.err_name(C.rp_dict_leak(dict[0], s "q", 0 / 0, 1, 3, 1, verdict)))
    end)

    it("places are a worker's until it gives them back or is dead", function()
        fresh(BUCKETS)
        local function hold(worker, limit)
            assert.equal(0, C.rp_dict_hold(dict[0], s "k", limit or 5, worker, SECOND, verdict))
            return verdict.allowed
        end
        local function unhold(worker)
            return c.err_name(C.rp_dict_unhold(dict[0], s "k", worker, SECOND))
        end
        for _, worker in ipairs { 0, 1, 7, 8, 1023 } do assert.is_true(hold(worker)) end
        assert.equal(0, verdict.remaining)
        assert.is_false(hold(3))
        assert.equal("NOT_FOUND", unhold(3))
        assert.equal("OK", unhold(8))
        assert.equal("NOT_FOUND", unhold(8))
        assert.is_true(hold(3))
        C.rp_dict_forget(dict[0], 1)
        C.rp_dict_forget(dict[0], 1023)
        assert.equal("NOT_FOUND", unhold(1))
        assert.is_true(hold(1))
        assert.is_true(hold(1))
        assert.is_false(hold(1))
        assert.equal("INVALID", c.err_name(C.rp_dict_hold(dict[0], s "k", 5, 1024, 1, verdict)))
        assert.equal("INVALID", c.err_name(C.rp_dict_hold(dict[0], s "k", 0, 1, 1, verdict)))
    end)

    it("swaps a value for another one when it is what one believes", function()
        fresh(STORE)
        local function flat(value)
            if value == nil then return nil, s "" end
            local one = ffi.new("struct rp_dict_item")
            one.type = type(value) == "number" and NUMBER or STRING
            one.number = type(value) == "number" and value or 0
            return one, s(type(value) == "string" and value or "")
        end
        local function swap(old, new, now)
            local a, a_text = flat(old)
            local b, b_text = flat(new)
            return c.err_name(C.rp_dict_swap(dict[0], s "k", a, a_text, b, b_text, now or 1))
        end
        local long = ("x"):rep(5000)
        assert.equal("END", swap("a", "b"))
        assert.equal("OK", swap(nil, nil))
        assert.equal("OK", swap(nil, long))
        assert.equal("END", swap(nil, "b"))
        assert.equal("END", swap(long .. "x", "b"))
        assert.equal("END", swap(long:sub(1, -2) .. "y", "b"))
        assert.equal("OK", swap(long, 5))
        assert.equal("END", swap("5", 6))
        assert.equal("OK", swap(5, "six"))
        assert.equal("six", get("k"))
        assert.equal("OK", swap("six", nil))
        assert.equal(0, entries())
        assert.equal(0, tonumber(stats().bytes_used))
    end)

    it("a lock has one holder until it lets go or its time is over, and fences that grow", function()
        local d = fresh(STORE)
        local fence, wait = ffi.new("double[1]"), ffi.new("rp_ms[1]")
        local function lock(until_ms, now)
            local e = C.rp_dict_lock(d, s "lock", until_ms, now, fence, wait)
            return c.err_name(e), tonumber(fence[0])
        end
        local function relock(holder, until_ms, now)
            return c.err_name(C.rp_dict_relock(d, s "lock", holder, until_ms, now))
        end
        local e, first = lock(100, 10)
        assert.equal("OK", e)
        assert.equal("AGAIN", (lock(200, 30)))
        assert.equal(70, tonumber(wait[0]))
        assert.equal("NOT_FOUND", relock(first + 1, 200, 40))
        assert.equal("OK", relock(first, 200, 50))
        assert.equal("AGAIN", (lock(300, 150)))
        local again, second = lock(300, 200)
        assert.equal("OK", again)
        assert.is_true(second > first)
        assert.equal("NOT_FOUND", relock(first, 0, 210))
        assert.equal("OK", relock(second, 0, 220))
        assert.equal("NOT_FOUND", relock(second, 0, 220))
        C.rp_dict_flush(d)
        local last, third = lock(300, 230)
        assert.equal("OK", last)
        assert.is_true(third > second)
        assert.equal("OK", set("text", "a value"))
        assert.equal("AGAIN", c.err_name(C.rp_dict_lock(d, s "text", 1, 1, fence, wait)))
        assert.equal("NOT_FOUND", c.err_name(C.rp_dict_relock(d, s "text", third, 0, 1)))
    end)

    it("limiters make room by forgetting who was there longest ago, idle ones first", function()
        fresh(BUCKETS)
        take("busy", 5, 0.001, 5, 0)
        for i = 1, 3000 do
            assert.is_true((take("k" .. i, 1, 1, 5, i / 100)))
            if i % 50 == 0 then assert.is_false((take("busy", 1, 0.001, 5, i / 100))) end
        end
        assert.is_true(stats().expired > stats().evictions)
    end)

    -- -------------------------------------------------------- processes

    local function in_children(n, fn)
        local pids = {}
        for i = 1, n do
            local pid = posix.C.fork()
            if pid == 0 then
                local ran, ok = pcall(fn, i)
                posix.C._exit((ran and ok) and 0 or 1)
            end
            pids[i] = pid
        end
        for _, pid in ipairs(pids) do assert.same({ exit = 0 }, posix.wait(pid, 60)) end
    end

    it("loses no addition of many processes at once", function()
        fresh(STORE)
        local init = ffi.new("double[1]", 0)
        in_children(4, function()
            local sum = ffi.new("double[1]")
            for _ = 1, 20000 do
                if C.rp_dict_incr(dict[0], s "n", 1, init, 0, 1, sum) ~= 0 then return false end
            end
            return true
        end)
        assert.equal(80000, get("n"))
    end)

    it("gives out no token twice to many processes at once", function()
        fresh(BUCKETS)
        in_children(4, function()
            local v, given = ffi.new("struct rp_dict_verdict"), 0
            for _ = 1, 5000 do
                if C.rp_dict_take(dict[0], s "k", 1, 1, 1000, 5 * SECOND, v) ~= 0 then
                    return false
                end
                if v.allowed then given = given + 1 end
            end
            return C.rp_dict_take(dict[0], s "sum", given, 1, 1e6, 5 * SECOND, v) == 0
        end)
        assert.is_true((take("sum", 0, 1, 1e6, -95)))
        assert.equal(1e6 - 1000, verdict.remaining)
    end)

    -- One digit, and a length that goes with it: a half-written value would show. Long ones, so that
    -- the writer is inside nearly always.
    local VALUES = {}
    for digit = 0, 9 do VALUES[digit] = tostring(digit):rep(20000 - digit * 1777) end

    it("a process killed at any instruction leaves every entry old or new", function()
        fresh(STORE, 1024 * 1024)
        local keys, seen = 40, 0
        local round = 0
        repeat
            round = round + 1
            local pid = posix.C.fork()
            if pid == 0 then
                local n, names, values = 0, {}, {}
                for i = 0, keys - 1 do names[i] = s("key" .. i) end
                for i = 0, 9 do values[i] = s(VALUES[i]) end
                item.type, item.expires_ms, item.fresh_ms = STRING, 0, 0
                while true do
                    n = n + 1
                    C.rp_dict_set(dict[0], names[n % keys], item, values[n % 10], SET, 1)
                    if n % 7 == 0 then C.rp_dict_delete(dict[0], names[n % 5], 1) end
                end
            end
            local before = tonumber(stats().hits)
            assert.is_truthy(posix.poll(function()
                get("key" .. round % keys)
                return tonumber(stats().hits) > before
            end))
            posix.sleep(round % 5 * 0.0005) -- it has the lock to itself now
            posix.kill(pid, "KILL")
            posix.wait(pid, 5)
            local there = 0
            for i = 0, keys - 1 do
                local value = get("key" .. i)
                if value then
                    there = there + 1
                    assert.is_true(VALUES[tonumber(value:sub(1, 1))] == value)
                end
            end
            assert.equal(entries(), there)
            seen = seen + there
        until round >= 50 and (stats().repairs > 0 or round >= 500)
        assert.is_true(seen > 0)
        assert.is_true(stats().repairs > 0) -- some died inside
        -- All of the memory is there: nothing leaked.
        for i = 0, keys - 1 do C.rp_dict_delete(dict[0], s("key" .. i), 1) end
        assert.equal(0, entries())
        assert.equal(0, tonumber(stats().bytes_used))
    end)

    it("places of processes that are killed come back, 1,000 times", function()
        fresh(BUCKETS)
        for round = 1, 1000 do
            local before = tonumber(stats().hits + stats().misses)
            local pid = posix.C.fork()
            if pid == 0 then
                while true do
                    for i = 1, 9 do
                        C.rp_dict_hold(dict[0], s("k" .. i), 3, 1 + round % 9, SECOND, verdict)
                        C.rp_dict_unhold(dict[0], s("k" .. i), 1 + round % 9, SECOND)
                        C.rp_dict_hold(dict[0], s("k" .. i), 3, 1 + round % 9, SECOND, verdict)
                        C.rp_dict_leak(dict[0], s "q", 1, 1000, 5, SECOND, verdict)
                    end
                end
            end
            while tonumber(stats().hits + stats().misses) == before do posix.sleep(0) end
            posix.kill(pid, "KILL")
            posix.wait(pid, 5)
            C.rp_dict_forget(dict[0], 1 + round % 9)
            local key = s("k" .. 1 + round % 9)
            assert.equal(0, C.rp_dict_hold(dict[0], key, 3, 0, SECOND, verdict))
            assert.equal(2, verdict.remaining)
            assert.equal("OK", c.err_name(C.rp_dict_unhold(dict[0], key, 0, SECOND)))
        end
        assert.is_true(tonumber(stats().entries) <= 9 * 3 + 1)
    end)

    it("a shard whose holder died inside is repaired by the next comer", function()
        fresh(STORE)
        for i = 1, 100 do set("k" .. i, ("v"):rep(i * 3)) end
        local base = ffi.cast("char *", zone[0].head) + tonumber(zone[0].head.parts[0].at) + HEAD
        ffi.cdef "int pthread_mutex_lock(void *); int pthread_mutex_unlock(void *);"
        local used = tonumber(stats().bytes_used)
        local pid = posix.C.fork()
        if pid == 0 then
            ffi.C.pthread_mutex_lock(base)
            -- Half of everything is under way: lists are cut, free blocks are lost.
            local words = ffi.cast("uint32_t *", base + 40)
            words[0], words[1], words[3], words[4] = 0, 0, 0, 0
            posix.C._exit(0)
        end
        posix.wait(pid, 5)
        for i = 1, 100 do assert.equal(("v"):rep(i * 3), get("k" .. i)) end
        assert.equal(1, tonumber(stats().repairs))
        assert.equal(100, entries())
        assert.equal(used, tonumber(stats().bytes_used))
        for i = 1, 100 do C.rp_dict_delete(dict[0], s("k" .. i), 1) end
        assert.equal(0, tonumber(stats().bytes_used))
    end)

    it("who stands still inside a shard stops nobody for long", function()
        fresh(STORE)
        set("k", "v")
        local base = ffi.cast("char *", zone[0].head) + tonumber(zone[0].head.parts[0].at) + HEAD
        local pid = posix.C.fork()
        if pid == 0 then
            ffi.C.pthread_mutex_lock(base)
            zone[0].head.parts[31].at = 1 -- "I am in"
            while true do posix.sleep(1) end
        end
        assert.is_truthy(posix.poll(function() return zone[0].head.parts[31].at == 1 end))
        assert.same({ nil, "BUSY" }, { get("k") })
        posix.kill(pid, "KILL")
        posix.wait(pid, 5)
        assert.equal("v", get("k"))
    end)

    it("is found again in another mapping, and refused as another kind", function()
        fresh(STORE)
        set("k", "v")
        local other = ffi.new("struct rp_zone *[1]")
        assert.equal(0, C.rp_zone_adopt(ffi.C.dup(zone[0].fd), other))
        local again = ffi.new("struct rp_dict *[1]")
        assert.equal("INVALID", c.err_name(C.rp_dict_new(other[0], CACHE, again)))
        assert.equal(0, C.rp_dict_new(other[0], STORE, again))
        C.rp_dict_free(dict)
        dict = again
        assert.equal("v", get("k"))
        C.rp_dict_free(dict)
        C.rp_zone_free(other)
        dict = nil
    end)

    it("survives shared memory that holds nonsense", function()
        fresh(STORE)
        for i = 1, 200 do set("k" .. i, ("v"):rep(i)) end
        local at = tonumber(zone[0].head.parts[0].at) + HEAD + 40
        local base = ffi.cast("uint8_t *", zone[0].head)
        math.randomseed(5)
        for _ = 1, 3000 do
            local i = at + math.random(0, 60000)
            base[i] = math.random(0, 255)
            get("k" .. math.random(200))
            set("k" .. math.random(200), "v")
        end
    end)
end)
