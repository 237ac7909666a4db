-- SPDX-License-Identifier: MIT
--
-- census: connections of all workers, in all and per network.

local c = require("spec.support.c")
local posix = require("spec.support.posix")

local ffi, s = c.ffi, c.str
local C = c.load { "shm/census.h" }
ffi.cdef "int dup(int fd);"

local WORKERS, NETS = 4, 1024
local SET, STRIPES, LINE = 16, 64, 128 -- as in census.c

describe("census", function()
    local zone, set

    local function open(workers, nets, z)
        local out = ffi.new("struct rp_census *[1]")
        local e = C.rp_census_new(z or zone[0], s "census", workers or WORKERS, nets or NETS, out)
        if e ~= 0 then return nil, c.err_name(e) end
        return ffi.gc(out[0], function(p)
            C.rp_census_free(ffi.new("struct rp_census *[1]", p))
        end)
    end

    before_each(function()
        zone = ffi.new("struct rp_zone *[1]")
        assert.equal(0, C.rp_zone_new(s "zone", C.rp_census_bytes(WORKERS, NETS), zone))
        set = open()
        for w = 0, WORKERS - 1 do C.rp_census_forget(set, w) end
    end)

    after_each(function()
        set = nil
        collectgarbage()
        C.rp_zone_free(zone)
    end)

    local function enter(worker, most)
        return c.err_name(C.rp_census_enter(set, worker, most or 0))
    end

    local function net(n)
        local bytes = ffi.new("uint8_t[16]")
        ffi.cast("uint32_t *", bytes)[0] = n
        return bytes
    end

    local function join(worker, n, most)
        local seat = ffi.new("uint32_t[1]")
        local e = C.rp_census_join(set, worker, net(n), most, seat)
        if e ~= 0 then return nil, c.err_name(e) end
        assert.is_true(seat[0] > 0)
        return seat[0]
    end

    local function total() return tonumber(C.rp_census_total(set)) end
    local function of(n) return tonumber(C.rp_census_of(set, net(n))) end

    it("holds a cap over all workers, to the connection", function()
        for i = 1, 5 do assert.equal("OK", enter(i % WORKERS, 5)) end
        for w = 0, WORKERS - 1 do assert.equal("CONNS_MANY", enter(w, 5)) end
        assert.equal(5, total())
        C.rp_census_leave(set, 1)
        assert.equal("OK", enter(3, 5))
        assert.equal("CONNS_MANY", enter(0, 5))
    end)

    it("counts also what came in while there was no cap", function()
        for _ = 1, 7 do assert.equal("OK", enter(2)) end
        assert.equal(7, total())
        assert.equal("CONNS_MANY", enter(0, 7))
        assert.equal("OK", enter(0, 8))
    end)

    it("never counts below nothing", function()
        C.rp_census_leave(set, 0)
        assert.equal(0, total())
        local seat = join(0, 1, 5)
        C.rp_census_part(set, 0, seat)
        C.rp_census_part(set, 0, seat)
        assert.equal(0, of(1))
    end)

    it("holds a cap per network over all workers", function()
        local seats = {}
        for i = 1, 4 do seats[i] = assert(join(i % WORKERS, 77, 4)) end
        assert.same({ nil, "CONNS_CLIENT" }, { join(0, 77, 4) })
        assert.is_truthy(join(0, 78, 4))
        assert.equal(4, of(77))
        assert.equal(1, of(78))
        C.rp_census_part(set, 2, seats[2])
        assert.is_truthy(join(3, 77, 4))
        assert.same({ nil, "CONNS_CLIENT" }, { join(3, 77, 4) })
    end)

    it("gives back all that a dead worker had, and nothing else", function()
        for _ = 1, 3 do enter(1, 6) end
        for _ = 1, 3 do enter(2, 6) end
        for _ = 1, 2 do join(1, 5, 4) end
        for _ = 1, 2 do join(2, 5, 4) end
        assert.same({ nil, "CONNS_CLIENT" }, { join(0, 5, 4) })
        C.rp_census_forget(set, 1)
        assert.equal(3, total())
        assert.equal(2, of(5))
        for _ = 1, 3 do assert.equal("OK", enter(0, 6)) end
        assert.equal("CONNS_MANY", enter(0, 6))
    end)

    it("a place is taken by others when nobody has it any more", function()
        for round = 1, 40 do
            local seats = {}
            for i = 1, 200 do seats[i] = assert(join(i % WORKERS, round * 1000 + i, 1)) end
            for i = 1, 200 do
                assert.equal(1, of(round * 1000 + i))
                C.rp_census_part(set, i % WORKERS, seats[i])
            end
        end
    end)

    it("says when there is no room, and counts on the others", function()
        local seats, lost = {}, 0
        for i = 1, NETS + 200 do
            local seat, why = join(i % WORKERS, i, 3)
            if seat then
                seats[i] = seat
            else
                assert.equal("CAP", why)
                lost = lost + 1
            end
        end
        assert.is_true(lost >= 200 and lost < NETS, lost)
        for i in pairs(seats) do
            assert.equal(1, of(i))
            assert.is_truthy(join(0, i, 2))
            assert.same({ nil, "CONNS_CLIENT" }, { join(1, i, 2) })
        end
    end)

    it("has places for nearly all when it is half full, whatever the networks are", function()
        local lost = 0
        for i = 1, NETS / 2 do
            if not join(0, i * 65536, 1) then lost = lost + 1 end
        end
        assert.is_true(lost <= NETS / 50, lost)
    end)

    -- ------------------------------------------------------------ locks

    local function lock_words() -- STRIPES of networks, then the one of the total
        local base = ffi.cast("char *", zone[0].head) + tonumber(zone[0].head.parts[0].at) + LINE
        return function(i) return ffi.cast("uint32_t *", base + LINE * i) end
    end

    it("a dead worker's locks are taken from it", function()
        local word = lock_words()
        for i = 0, STRIPES do word(i)[0] = 2 + 1 end -- worker 2 died inside all of them
        C.rp_census_forget(set, 2)
        for i = 0, STRIPES do assert.equal(0, word(i)[0]) end
        assert.equal("OK", enter(0, 1))
    end)

    it("a lock that nobody gives back stops nobody for long", function()
        local word = lock_words()
        for _, holder in ipairs { 2 + 1, 4711 } do -- a stopped worker; what a wild one wrote
            for i = 0, STRIPES do word(i)[0] = holder end
            assert.equal("OK", enter(0, 100))
            assert.is_truthy(join(0, holder, 10))
            assert.equal(0, word(STRIPES)[0])
        end
        assert.equal(2, total())
    end)

    it("caps hold between processes that come and go at once", function()
        local most, rounds = 3, 20000
        local pids = {}
        for w = 0, WORKERS - 1 do
            local pid = posix.C.fork()
            if pid == 0 then
                local bad, seat = 0, ffi.new("uint32_t[1]")
                local mine = net(9)
                for _ = 1, rounds do
                    if C.rp_census_enter(set, w, most) == 0 then
                        if C.rp_census_total(set) > most then bad = 1 end
                        C.rp_census_leave(set, w)
                    end
                    if C.rp_census_join(set, w, mine, most, seat) == 0 then
                        if C.rp_census_of(set, mine) > most then bad = 1 end
                        C.rp_census_part(set, w, seat[0])
                    end
                end
                posix.C._exit(bad)
            end
            pids[#pids + 1] = pid
        end
        for _, pid in ipairs(pids) do assert.same({ exit = 0 }, posix.wait(pid, 60)) end
        assert.equal(0, total())
        assert.equal(0, of(9))
    end)

    it("a process killed in the middle of it leaves numbers that add up", function()
        for _ = 1, 5 do
            local pid = posix.C.fork()
            if pid == 0 then
                local seat = ffi.new("uint32_t[1]")
                local mine = net(9)
                while true do
                    C.rp_census_enter(set, 1, 50)
                    C.rp_census_join(set, 1, mine, 50, seat)
                end
            end
            assert.is_truthy(posix.poll(function() return of(9) > 0 end))
            posix.kill(pid, "KILL")
            posix.wait(pid, 20)
            C.rp_census_forget(set, 1)
            assert.equal(0, total())
            assert.equal(0, of(9))
            assert.equal("OK", enter(0, 1))
            C.rp_census_leave(set, 0)
            local seat = join(0, 9, 1)
            C.rp_census_part(set, 0, seat)
        end
    end)

    -- ------------------------------------------------------------ zones

    it("is found again, also in another mapping, and refused with other numbers", function()
        enter(1)
        join(1, 5, 9)
        local other = ffi.new("struct rp_zone *[1]")
        assert.equal(0, C.rp_zone_adopt(ffi.C.dup(zone[0].fd), other))
        local again = open(WORKERS, NETS, other[0])
        assert.equal(1, tonumber(C.rp_census_total(again)))
        assert.equal(1, tonumber(C.rp_census_of(again, net(5))))
        assert.same({ nil, "INVALID" }, { open(WORKERS + 1, NETS, other[0]) })
        ffi.gc(again, nil)
        C.rp_census_free(ffi.new("struct rp_census *[1]", again))
        C.rp_zone_free(other)
    end)

    it("refuses numbers that cannot be", function()
        for _, bad in ipairs { { 0, NETS }, { 65536, NETS }, { 1, 512 }, { 1, NETS + 1 } } do
            assert.same({ nil, "INVALID" }, { open(bad[1], bad[2]) })
        end
        assert.equal(NETS % (SET * STRIPES), 0)
    end)
end)
