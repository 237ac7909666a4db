-- SPDX-License-Identifier: MIT

local c = require("spec.support.c")
local ffi = require("ffi")
local C = c.load { "base/mem.h", "base/chain.h" }

describe("base/mem", function()
    it("gives zeroed heap memory, and copies with a NUL behind", function()
        local p = ffi.cast("uint8_t *", C.rp_alloc(4096))
        for i = 0, 4095 do assert.equal(0, p[i]) end
        C.rp_free(p)
        local copy = C.rp_strdup_n("hello world", 5)
        assert.equal("hello", ffi.string(copy))
        C.rp_free(copy)
    end)

    it("keeps what was there when memory grows", function()
        local p = ffi.cast("uint8_t *", C.rp_alloc(4))
        p[0], p[3] = 1, 4
        p = ffi.cast("uint8_t *", C.rp_realloc(p, 65536))
        assert.equal(1, p[0])
        assert.equal(4, p[3])
        C.rp_free(p)
    end)

    it("accepts NULL where there is nothing to free", function()
        assert.has_no_error(function() C.rp_free(nil) end)
        assert.has_no_error(C.rp_heap_trim)
    end)

    it("counts the bytes of chunks that somebody holds", function()
        local m = C.rp_mem_new()
        local small = C.rp_chunk_new(m, 1)
        local large = C.rp_chunk_new(m, C.RP_CHUNK_SMALL + 1)
        assert.is_true(tonumber(m.live_bytes) >= C.RP_CHUNK_SMALL + C.RP_CHUNK_LARGE)
        C.rp_chunk_drop(small)
        C.rp_chunk_drop(large)
        assert.equal(0, tonumber(m.live_bytes))
        local box = ffi.new("struct rp_mem *[1]", m)
        C.rp_mem_free(box)
        assert.is_true(box[0] == nil)
    end)
end)
