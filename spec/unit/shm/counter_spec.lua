-- SPDX-License-Identifier: MIT

local c = require("spec.support.c")
local support = require("spec.unit.base.support")
local C = c.load { "shm/counter.h" }
local ffi, s = c.ffi, c.str
ffi.cdef "int dup(int fd);"

local SUM, GAUGE = C.RP_COUNTER_SUM, C.RP_COUNTER_GAUGE
local zone

before_each(function()
    local out = ffi.new("struct rp_zone *[1]")
    assert.equal(0, C.rp_zone_new(s "metrics", 1024 * 1024, out))
    zone = out
end)

after_each(function()
    C.rp_zone_free(zone)
end)

local function open(worker_n, cap_n, z)
    local out = ffi.new("struct rp_counters *[1]")
    local e = C.rp_counter_new(z or zone[0], s "counters", worker_n, cap_n, out)
    if e ~= 0 then return nil, c.err_name(e) end
    return ffi.gc(out[0], function(p)
        C.rp_counter_free(ffi.new("struct rp_counters *[1]", p))
    end)
end

local function register(set, name, kind)
    local index = ffi.new("uint32_t[1]", 999)
    local e = C.rp_counter_register(set, s(name), kind or SUM, index)
    if e ~= 0 then return nil, c.err_name(e) end
    return index[0]
end

local function find(set, name)
    local index = ffi.new("uint32_t[1]")
    local e = C.rp_counter_find(set, s(name), index)
    if e ~= 0 then return nil, c.err_name(e) end
    return index[0]
end

local function sum(set, index)
    return tonumber(C.rp_counter_sum(set, index))
end

describe("counter names", function()
    it("get indices once", function()
        local set = open(2, 10)
        assert.equal(0, register(set, "requests"))
        assert.equal(1, register(set, "connections", GAUGE))
        assert.equal(0, register(set, "requests"))
        assert.equal(2, C.rp_counter_count(set))
        assert.equal(1, find(set, "connections"))
        assert.same({ nil, "NOT_FOUND" }, { find(set, "request") })
        assert.equal("connections", c.lua(C.rp_counter_name(set, 1)))
        assert.is_nil(c.lua(C.rp_counter_name(set, 2)))
        assert.equal(SUM, tonumber(C.rp_counter_kind_of(set, 0)))
        assert.equal(GAUGE, tonumber(C.rp_counter_kind_of(set, 1)))
    end)

    it("are refused when bad, of another kind, or too many", function()
        local set = open(1, 2)
        for _, name in ipairs { "", "a\0b", ("x"):rep(C.RP_COUNTER_NAME_BYTES) } do
            assert.same({ nil, "INVALID" }, { register(set, name) })
        end
        assert.equal(0, register(set, ("x"):rep(C.RP_COUNTER_NAME_BYTES - 1)))
        assert.equal(0, find(set, ("x"):rep(C.RP_COUNTER_NAME_BYTES - 1)))
        assert.equal(1, register(set, "a"))
        assert.same({ nil, "INVALID" }, { register(set, "a", GAUGE) })
        assert.same({ nil, "CAP" }, { register(set, "b") })
        assert.equal(1, register(set, "a"))
    end)
end)

describe("counter values", function()
    it("add up over the workers", function()
        local set = open(3, 10)
        local a, b = register(set, "a"), register(set, "b")
        for worker = 0, 2 do
            local page = C.rp_counter_page(set, worker)
            C.rp_counter_add(page, a, 10 ^ worker)
            C.rp_counter_add(page, a, 10 ^ worker)
            C.rp_counter_add(page, b, 1)
        end
        assert.equal(222, sum(set, a))
        assert.equal(3, sum(set, b))
        assert.equal(0, sum(set, 9))
        assert.equal(0, sum(set, 10))
        assert.equal(0, sum(set, 0xffffffff))
    end)

    it("hold gauges that go up in one worker and down in another", function()
        local set = open(2, 4)
        local a = register(set, "open", GAUGE)
        C.rp_counter_add(C.rp_counter_page(set, 0), a, 5)
        C.rp_counter_sub(C.rp_counter_page(set, 1), a, 2)
        assert.equal(3, sum(set, a))
    end)

    it("never share a cache line between workers", function()
        for _, cap in ipairs { 1, 7, 8, 9, 100 } do
            local z = ffi.new("struct rp_zone *[1]")
            assert.equal(0, C.rp_zone_new(s "z", 1024 * 1024, z))
            local set = open(3, cap, z[0])
            for worker = 0, 2 do
                local page = ffi.cast("uintptr_t", C.rp_counter_page(set, worker))
                assert.equal(0, tonumber(page % 64))
                if worker > 0 then
                    local before = ffi.cast("uintptr_t", C.rp_counter_page(set, worker - 1))
                    assert.is_true(tonumber(page - before) >= cap * 8)
                end
            end
            local last = C.rp_counter_page(set, 2)
            C.rp_counter_add(last, cap - 1, 1)
            local at = ffi.cast("char *", last + cap) - ffi.cast("char *", z[0].head)
            local bytes = tonumber(C.rp_counter_bytes(3, cap))
            assert.is_true(tonumber(at) <= C.RP_ZONE_HEAD_BYTES + bytes)
            C.rp_zone_free(z)
        end
    end)

    it("come from children and outlive them", function()
        local set = open(2, 4)
        local a = register(set, "requests")
        for _ = 1, 2 do
            assert.same({ exit = 0 }, support.in_child(function()
                C.rp_counter_start(set, 1)
                for _ = 1, 1000 do
                    C.rp_counter_add(C.rp_counter_page(set, 1), a, 1)
                end
            end))
        end
        assert.equal(2000, sum(set, a))
    end)

    it("start at 0 in a new worker when they are gauges", function()
        local set = open(2, 4)
        local total, now = register(set, "requests"), register(set, "open", GAUGE)
        for worker = 0, 1 do
            C.rp_counter_add(C.rp_counter_page(set, worker), total, 5)
            C.rp_counter_add(C.rp_counter_page(set, worker), now, 5)
        end
        C.rp_counter_start(set, 1)
        assert.equal(10, sum(set, total))
        assert.equal(5, sum(set, now))
    end)
end)

describe("a counter set", function()
    it("is found again in an adopted zone", function()
        local set = open(2, 10)
        local a = register(set, "requests")
        C.rp_counter_add(C.rp_counter_page(set, 1), a, 42)
        local other = ffi.new("struct rp_zone *[1]")
        assert.equal(0, C.rp_zone_adopt(ffi.C.dup(zone[0].fd), other))
        local again = open(2, 10, other[0])
        assert.equal(a, find(again, "requests"))
        assert.equal(42, sum(again, a))
        assert.equal(1, register(again, "new"))
        assert.equal(1, find(set, "new"))
        C.rp_zone_free(other)
    end)

    it("is refused with other or bad numbers, or without room", function()
        open(2, 10)
        assert.same({ nil, "INVALID" }, { open(2, 11) })
        assert.same({ nil, "INVALID" }, { open(3, 10) })
        for _, row in ipairs { { 0, 1 }, { 1, 0 }, { 65536, 1 }, { 1, 65536 } } do
            assert.same({ nil, "INVALID" }, { open(row[1], row[2]) })
        end
        local small = ffi.new("struct rp_zone *[1]")
        assert.equal(0, C.rp_zone_new(s "small", 4096, small))
        assert.same({ nil, "CAP" }, { open(64, 1000, small[0]) })
        C.rp_zone_free(small)
    end)

    it("does not read beyond its names when their number was overwritten", function()
        local set = open(1, 4)
        register(set, "a")
        local part = ffi.cast("uint32_t *", ffi.cast("char *", zone[0].head)
            + tonumber(zone[0].head.parts[0].at))
        assert.equal(1, part[2])
        part[2] = 0xffffffff
        assert.equal(4, C.rp_counter_count(set))
        assert.same({ nil, "CAP" }, { register(set, "b") })
        C.rp_counter_start(set, 0)
    end)
end)
