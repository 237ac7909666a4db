-- SPDX-License-Identifier: MIT
--
-- top: the bounds that Space-Saving promises, and kills.

local c = require("spec.support.c")
local posix = require("spec.support.posix")

local ffi, s = c.ffi, c.str
local C = c.load { "shm/top.h" }

describe("top", function()
    local zone, top
    local stats = ffi.new("struct rp_top_stats")

    before_each(function()
        zone, top = ffi.new("struct rp_zone *[1]"), ffi.new("struct rp_top *[1]")
        assert.equal(0, C.rp_zone_new(s "zone", 65536, zone))
        assert.equal(0, C.rp_top_new(zone[0], top))
    end)
    after_each(function()
        C.rp_top_free(top)
        C.rp_zone_free(zone)
    end)

    local function add(key, n) return c.err_name(C.rp_top_add(top[0], s(key), n or 1)) end
    local function list(n)
        local out = ffi.new("struct rp_top_item[?]", n + 1)
        local rows = {}
        for i = 0, C.rp_top_list(top[0], out, n) - 1 do
            rows[i + 1] = { ffi.string(out[i].key, out[i].key_n), tonumber(out[i].count),
                tonumber(out[i].error) }
        end
        return rows
    end
    local function look() C.rp_top_stats(top[0], stats) return stats end

    it("counts exactly while there is room", function()
        for i = 1, 100 do add("k" .. i, i) end
        assert.same({ { "k100", 100, 0 }, { "k99", 99, 0 }, { "k98", 98, 0 } }, list(3))
        assert.equal(100, #list(200))
        assert.equal(0, #list(0))
        assert.equal("INVALID", add(""))
        assert.equal("INVALID", add(("k"):rep(1025)))
    end)

    it("tells long keys apart, and shows their beginning", function()
        local long = ("x"):rep(500)
        add(long .. "a", 2)
        add(long .. "b", 3)
        assert.same({ { long:sub(1, 88), 3, 0 }, { long:sub(1, 88), 2, 0 } }, list(5))
    end)

    it("keeps its bounds when far more keys come than it has places", function()
        local truth, n = {}, 0
        math.randomseed(7)
        for _ = 1, 60000 do
            -- a few heavy ones among many
            local u = math.random()
            local key = "k" .. (u < 0.5 and math.floor(u * 20) or math.random(20000))
            truth[key], n = (truth[key] or 0) + 1, n + 1
            add(key)
        end
        local st = look()
        assert.equal(n, tonumber(st.added))
        local bound = n / tonumber(st.room)
        assert.is_true(tonumber(st.error_most) <= bound)
        local kept = {}
        for _, row in ipairs(list(1000)) do
            kept[row[1]] = true
            assert.is_true(truth[row[1]] <= row[2] and truth[row[1]] >= row[2] - row[3])
            assert.is_true(row[3] <= bound)
        end
        for key, count in pairs(truth) do
            if count > bound then assert.is_true(kept[key]) end
        end
    end)

    it("forgets everything at once", function()
        add("k", 5)
        assert.equal(0, C.rp_top_flush(top[0]))
        assert.same({}, list(5))
        add("k", 2)
        assert.same({ { "k", 2, 0 } }, list(5))
    end)

    it("goes on within its bounds after 1,000 kills inside", function()
        local added = ffi.new("uint64_t[1]")
        for round = 1, 1000 do
            local before = look().added
            local pid = posix.C.fork()
            if pid == 0 then
                local i = round
                while true do
                    i = (i * 1103515245 + 12345) % 2147483648
                    C.rp_top_add(top[0], s("k" .. i % 3000), 1)
                end
            end
            while look().added == before do posix.sleep(0) end
            posix.kill(pid, "KILL")
            posix.wait(pid, 5)
            added[0] = look().added
            assert.equal("OK", add("mine"))
        end
        local st = look()
        assert.is_true(tonumber(st.added) > 1000)
        local mine
        for _, row in ipairs(list(1000)) do
            if row[1] == "mine" then mine = row end
        end
        if mine then assert.is_true(mine[2] >= 1000 and mine[2] - mine[3] <= 1000) end
        assert.is_true(mine ~= nil or 1000 <= tonumber(st.error_most))
        assert.equal(0, C.rp_top_flush(top[0]))
        assert.equal("OK", add("k"))
        assert.same({ { "k", 1, 0 } }, list(5))
    end)
end)
