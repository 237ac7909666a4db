-- SPDX-License-Identifier: MIT
--
-- tally and names: counters by name, between processes and over kills.

local c = require("spec.support.c")
local posix = require("spec.support.posix")

local ffi, s = c.ffi, c.str
local C = c.load { "shm/tally.h" }

local SUM, GAUGE = 1, 2

describe("tally", function()
    local zone, tally, at

    local function fresh(bytes)
        zone = ffi.new("struct rp_zone *[1]")
        tally = ffi.new("struct rp_tally *[1]")
        at = ffi.new("uint32_t[1]")
        assert.equal(0, C.rp_zone_new(s "zone", bytes or 65536, zone))
        assert.equal(0, C.rp_tally_new(zone[0], tally))
    end

    after_each(function()
        if tally then C.rp_tally_free(tally) end
        if zone then C.rp_zone_free(zone) end
        zone, tally = nil, nil
    end)

    local function name(text, kind)
        local e = C.rp_tally_name(tally[0], s(text), kind or SUM, at)
        return e == 0 and at[0] or c.err_name(e)
    end
    local function sum(i) return tonumber(C.rp_tally_sum(tally[0], i)) end

    it("gives each name a number, and keeps it", function()
        fresh()
        for i = 0, 30 do assert.equal(i, name("n" .. i)) end
        for i = 0, 30 do assert.equal(i, name("n" .. i)) end
        assert.equal("END", name("n3", GAUGE))
        assert.equal("INVALID", name(""))
        assert.equal("INVALID", name(("x"):rep(201)))
        assert.equal(31, name(("x"):rep(200)))
    end)

    it("is full at some time, and says so", function()
        fresh()
        local i = 0
        while type(name("n" .. i)) == "number" do i = i + 1 end
        assert.equal("CAP", name("n" .. i))
        assert.is_true(i >= 16)
        assert.equal(5, name("n5"))
    end)

    it("adds up what workers add, and forgets gauges of dead ones", function()
        fresh()
        local n, g = name("n"), name("g", GAUGE)
        for worker = 0, 200 do
            C.rp_tally_add(tally[0], n, worker, worker)
            C.rp_tally_set(tally[0], g, worker % 64, 2)
        end
        assert.equal(200 * 201 / 2, sum(n))
        assert.equal(128, sum(g))
        C.rp_tally_add(tally[0], g, 3, -5)
        assert.equal(123, sum(g))
        C.rp_tally_forget(tally[0], 3)
        C.rp_tally_forget(tally[0], 4)
        assert.equal(124, sum(g))
        assert.equal(200 * 201 / 2, sum(n))
        assert.equal(0, sum(4000000000))
    end)

    it("loses nothing when processes that share cells are killed", function()
        fresh(1024 * 1024)
        local n, seen = name("n"), 0
        for round = 1, 1000 do
            local before = sum(n)
            local pid = posix.C.fork()
            if pid == 0 then
                local own = ffi.new("uint32_t[1]")
                while true do
                    C.rp_tally_add(tally[0], n, round % 3, 1)
                    C.rp_tally_name(tally[0], s("k" .. round), SUM, own)
                end
            end
            while sum(n) == before do posix.sleep(0) end
            posix.kill(pid, "KILL")
            posix.wait(pid, 5)
            assert.is_true(sum(n) > before)
            if name("k" .. round) == "CAP" then break end
            assert.equal(at[0], name("k" .. round))
            seen = seen + 1
        end
        assert.is_true(seen > 900)
    end)

    it("many processes at once lose no addition", function()
        fresh()
        local n, pids = name("n"), {}
        for i = 1, 4 do
            pids[i] = posix.C.fork()
            if pids[i] == 0 then
                for _ = 1, 100000 do C.rp_tally_add(tally[0], n, 1, 1) end
                posix.C._exit(0)
            end
        end
        for i = 1, 4 do assert.same({ exit = 0 }, posix.wait(pids[i], 60)) end
        assert.equal(400000, sum(n))
    end)
end)
