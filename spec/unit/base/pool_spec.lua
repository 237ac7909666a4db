-- SPDX-License-Identifier: MIT

local c = require("spec.support.c")
local support = require("spec.unit.base.support")
local C = c.load { "base/mem.h" }
local ffi = c.ffi

local function new_pool(bytes, keep)
    local p = ffi.new("struct rp_pool")
    C.rp_pool_init(p, bytes, keep)
    return p
end

describe("rp_pool", function()
    it("counts what is out", function()
        local p = new_pool(24, 8)
        local a, b = C.rp_pool_get(p), C.rp_pool_get(p)
        assert.is_true(a ~= nil and b ~= nil and a ~= b)
        assert.equal(2, p.live_n)
        C.rp_pool_put(p, a)
        assert.equal(1, p.live_n)
        C.rp_pool_put(p, b)
        assert.equal(0, p.live_n)
        C.rp_pool_fini(p)
    end)

    it("can let go of what it keeps, and goes on", function()
        local p, list = new_pool(24, 8), {}
        for i = 1, 4 do list[i] = C.rp_pool_get(p) end
        for i = 1, 3 do C.rp_pool_put(p, list[i]) end
        C.rp_pool_trim(p)
        assert.equal(0, p.free_n)
        assert.is_true(p.free_list == nil)
        assert.equal(1, p.live_n)
        C.rp_pool_put(p, list[4])
        C.rp_pool_put(p, C.rp_pool_get(p))
        assert.equal(0, p.live_n)
        C.rp_pool_fini(p)
    end)

    it("gives objects of the whole size, even of less than a pointer", function()
        for _, bytes in ipairs { 1, 8, 24, 4096 } do
            local p, list = new_pool(bytes, 2), {}
            for i = 1, 5 do
                list[i] = C.rp_pool_get(p)
                ffi.fill(list[i], bytes, i)
            end
            for i = 1, 5 do
                assert.equal(i, ffi.cast("uint8_t *", list[i])[bytes - 1])
                C.rp_pool_put(p, list[i])
            end
            C.rp_pool_fini(p)
        end
    end)

    it("reuses the newest first and keeps no more than keep_n", function()
        local p = new_pool(32, 2)
        local a, b, d = C.rp_pool_get(p), C.rp_pool_get(p), C.rp_pool_get(p)
        C.rp_pool_put(p, a)
        C.rp_pool_put(p, b)
        C.rp_pool_put(p, d)
        assert.equal(support.DEBUG and 0 or 2, p.free_n)
        if not support.DEBUG then
            assert.is_true(C.rp_pool_get(p) == b)
            C.rp_pool_put(p, b)
        end
        C.rp_pool_fini(p)
        assert.equal(0, p.free_n)
    end)

    it("takes NULL back", function()
        local p = new_pool(32, 2)
        C.rp_pool_put(p, nil)
        assert.equal(0, p.live_n)
        assert.equal(0, p.free_n)
        C.rp_pool_fini(p)
    end)

    it("shows use after put to the address sanitizer in debug builds", function()
        if not support.DEBUG then return end
        assert.same({ exit = 1 }, support.in_child(function()
            local p = new_pool(32, 8)
            local object = C.rp_pool_get(p)
            C.rp_pool_get(p)
            C.rp_pool_put(p, object)
            C.rp_pool_put(p, object) -- seen before the list would hold it twice
            return 0
        end))
    end)

    it("refuses to end while an object is out", function()
        assert.is_true(support.aborts(function()
            local p = new_pool(32, 2)
            C.rp_pool_get(p)
            C.rp_pool_fini(p)
        end))
    end)
end)

describe("the checked heap", function()
    it("zeroes what rp_alloc gives, also of size 0", function()
        local p = ffi.cast("char *", C.rp_alloc(1000))
        for i = 0, 999 do
            assert.equal(0, p[i])
        end
        C.rp_free(p)
        local empty = C.rp_alloc(0)
        assert.is_true(empty ~= nil)
        C.rp_free(empty)
        C.rp_free(nil)
    end)

    it("keeps bytes over rp_realloc and puts a NUL behind copies", function()
        local p = C.rp_strdup_n("hello", 4)
        assert.equal("hell", ffi.string(p))
        p = ffi.cast("char *", C.rp_realloc(p, 10000))
        assert.equal("hell", ffi.string(p, 4))
        C.rp_free(p)
        local empty = C.rp_strdup_n(nil, 0)
        assert.equal("", ffi.string(empty))
        C.rp_free(empty)
    end)

    it("aborts rather than return NULL", function()
        if support.DEBUG then return end -- the sanitizer's allocator ends the process by itself
        assert.is_true(support.aborts(function()
            C.rp_alloc(2 ^ 60)
        end))
    end)
end)

describe("rp_mem", function()
    it("ends only when every chunk came back", function()
        local m = ffi.new("struct rp_mem *[1]", C.rp_mem_new())
        C.rp_mem_free(m)
        assert.is_true(m[0] == nil)
        C.rp_mem_free(m) -- NULL is accepted
        c.load { "base/chain.h" }
        assert.is_true(support.aborts(function()
            local other = ffi.new("struct rp_mem *[1]", C.rp_mem_new())
            C.rp_chunk_new(other[0], 10)
            C.rp_mem_free(other)
        end))
    end)
end)
