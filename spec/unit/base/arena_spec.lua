-- SPDX-License-Identifier: MIT

local c = require("spec.support.c")
local support = require("spec.unit.base.support")
local C = c.load { "base/arena.h" }
local ffi, s = c.ffi, c.str
jit.off(true, true) -- clean-ups call back into Lua

local FIRST = 1024
local SIZE_MAX = 0xffffffffffffffffULL

local anchors = {} -- first blocks that an arena still points into

local function new_arena(first_bytes, cap)
    local a = ffi.new("struct rp_arena")
    local room = ffi.new("char[?]", FIRST + 16)
    local at = ffi.cast("uintptr_t", room)
    local aligned = room + tonumber((16 - at % 16) % 16)
    C.rp_arena_init(a, first_bytes > 0 and aligned or nil, first_bytes, cap)
    anchors[#anchors + 1] = room
    return a, aligned
end

local function address(p)
    return tonumber(ffi.cast("uintptr_t", p))
end

describe("rp_arena_alloc", function()
    it("hands out the caller's block first, 16-aligned, without the heap", function()
        local a, first = new_arena(FIRST, 0)
        for i, n in ipairs { 1, 15, 16, 17, 100 } do
            local p = C.rp_arena_alloc(a, n)
            assert.equal(0, address(p) % 16)
            if i == 1 then assert.equal(address(first), address(p)) end
        end
        assert.equal(0, tonumber(a.used_bytes))
        C.rp_arena_reset(a)
        assert.equal(address(first), address(C.rp_arena_alloc(a, 8)))
    end)

    it("uses the first block to its last byte and not beyond", function()
        local a, first = new_arena(FIRST, 0)
        assert.is_true(C.rp_arena_alloc(a, FIRST) == ffi.cast("void *", first))
        assert.is_true(C.rp_arena_alloc(a, 1) == nil)
        C.rp_arena_reset(a)
        assert.is_true(C.rp_arena_alloc(a, FIRST + 1) == nil)
        assert.is_true(C.rp_arena_alloc(a, FIRST - 15) ~= nil)
        assert.is_true(C.rp_arena_alloc(a, 1) == nil)
    end)

    it("rounds an odd first block down", function()
        local a = new_arena(FIRST - 7, 0)
        assert.is_true(C.rp_arena_alloc(a, FIRST - 16) ~= nil)
        assert.is_true(C.rp_arena_alloc(a, 1) == nil)
    end)

    it("gives a valid pointer for 0 bytes, also with no first block", function()
        local a = new_arena(0, 65536)
        local p, q = C.rp_arena_alloc(a, 0), C.rp_arena_alloc(a, 0)
        assert.is_true(p ~= nil and q ~= nil and p ~= q)
        C.rp_arena_reset(a)
        local full = new_arena(FIRST, 0)
        assert.is_true(C.rp_arena_alloc(full, FIRST) ~= nil)
        assert.is_true(C.rp_arena_alloc(full, 0) == nil)
    end)

    it("never gives overlapping memory", function()
        math.randomseed(7)
        local a = new_arena(FIRST, 4 * 1024 * 1024)
        local list = {}
        for i = 1, 500 do
            local n = math.random() < 0.05 and math.random(20000) or math.random(300)
            local p = C.rp_arena_alloc(a, n)
            assert.is_true(p ~= nil)
            ffi.fill(p, n, i % 256)
            list[i] = { ffi.cast("uint8_t *", p), n }
        end
        for i, row in ipairs(list) do
            for at = 0, row[2] - 1 do
                if row[1][at] ~= i % 256 then error("overwritten") end
            end
        end
        C.rp_arena_reset(a)
        assert.equal(0, tonumber(a.used_bytes))
    end)

    it("keeps the current block in use after a large allocation", function()
        local a = new_arena(0, 1024 * 1024)
        local p = C.rp_arena_alloc(a, 16)
        assert.is_true(C.rp_arena_alloc(a, 100000) ~= nil)
        assert.equal(address(p) + 16, address(C.rp_arena_alloc(a, 16)))
        C.rp_arena_reset(a)
    end)

    it("stops at the cap and goes on within it", function()
        local cap = 10000
        local a = new_arena(0, cap)
        local got = 0
        while C.rp_arena_alloc(a, 100) ~= nil do
            got = got + 112
            assert.is_true(tonumber(a.used_bytes) <= cap)
        end
        assert.is_true(got > cap * 0.9, "wasted: " .. got)
        assert.is_true(C.rp_arena_alloc(a, 100) == nil)
        C.rp_arena_reset(a)
        assert.is_true(C.rp_arena_alloc(a, 100) ~= nil)
        C.rp_arena_reset(a)
    end)

    it("refuses sizes that would wrap", function()
        local a = new_arena(FIRST, 2 ^ 53)
        for less = 0, 64 do
            assert.is_true(C.rp_arena_alloc(a, SIZE_MAX - less) == nil)
        end
        assert.is_true(C.rp_arena_copy(a, ffi.new("rp_str", "x", SIZE_MAX)).ptr == nil)
        C.rp_arena_reset(a)
    end)

    it("zeroes on request", function()
        local a = new_arena(FIRST, 0)
        ffi.fill(C.rp_arena_alloc(a, 64), 64, 0xff)
        C.rp_arena_reset(a)
        local p = ffi.cast("uint8_t *", C.rp_arena_zalloc(a, 64))
        for i = 0, 63 do
            assert.equal(0, p[i])
        end
        assert.is_true(C.rp_arena_zalloc(a, 2 * FIRST) == nil)
    end)

    it("insists on an aligned first block", function()
        assert.is_true(support.aborts(function()
            local _, first = new_arena(FIRST, 0)
            C.rp_arena_init(ffi.new("struct rp_arena"), first + 8, 64, 0)
        end))
    end)
end)

describe("text in an arena", function()
    it("is copied with a NUL behind it", function()
        local a = new_arena(FIRST, 0)
        local copy = C.rp_arena_copy(a, s "he\0llo")
        assert.equal("he\0llo", c.lua(copy))
        assert.equal(0, copy.ptr[6])
        local empty = C.rp_arena_copy(a, ffi.new("rp_str"))
        assert.is_true(empty.ptr ~= nil)
        assert.equal(0, tonumber(empty.len))
    end)

    it("is printed, short, long and exactly at the inner buffer's size", function()
        local a = new_arena(FIRST, 65536)
        for _, n in ipairs { 0, 1, 254, 255, 256, 257, 5000 } do
            local text = ("x"):rep(n)
            local out = C.rp_arena_printf(a, "%s", text)
            assert.equal(text, c.lua(out))
            assert.equal(0, out.ptr[n])
        end
        assert.equal("7 a", c.lua(C.rp_arena_printf(a, "%d %s", ffi.new("int", 7), "a")))
        C.rp_arena_reset(a)
    end)

    it("is NULL when the cap would be passed", function()
        local a = new_arena(FIRST, 0)
        assert.is_true(C.rp_arena_copy(a, s(("x"):rep(FIRST))).ptr == nil)
        assert.is_true(C.rp_arena_printf(a, "%s", ("x"):rep(FIRST)).ptr == nil)
        assert.equal(FIRST - 1, tonumber(C.rp_arena_copy(a, s(("x"):rep(FIRST - 1))).len))
    end)
end)

describe("rp_arena_defer", function()
    it("runs clean-ups last first, once, while the memory is still there", function()
        local a = new_arena(0, 65536)
        local order = {}
        local fn = ffi.cast("rp_arena_fn", function(arg)
            order[#order + 1] = ffi.string(ffi.cast("char *", arg))
        end)
        for _, name in ipairs { "a", "b", "c" } do
            local copy = C.rp_arena_copy(a, s(name))
            assert.equal(0, C.rp_arena_defer(a, fn, ffi.cast("void *", copy.ptr)))
        end
        C.rp_arena_reset(a)
        assert.same({ "c", "b", "a" }, order)
        C.rp_arena_reset(a)
        assert.equal(3, #order)
        fn:free()
    end)

    it("runs what a clean-up defers", function()
        local a = new_arena(0, 65536)
        local order = {}
        local fn
        fn = ffi.cast("rp_arena_fn", function(arg)
            local n = tonumber(ffi.cast("intptr_t", arg))
            order[#order + 1] = n
            if n == 1 then
                assert(C.rp_arena_defer(a, fn, ffi.cast("void *", 9)) == 0)
            end
        end)
        for n = 0, 1 do
            assert.equal(0, C.rp_arena_defer(a, fn, ffi.cast("void *", n)))
        end
        C.rp_arena_reset(a)
        assert.same({ 1, 9, 0 }, order)
        fn:free()
    end)

    it("says so when it cannot be noted", function()
        local a = new_arena(0, 0)
        assert.equal("CAP", c.err_name(C.rp_arena_defer(a, nil, nil)))
        C.rp_arena_reset(a)
    end)
end)
