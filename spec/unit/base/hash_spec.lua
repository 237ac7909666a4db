-- SPDX-License-Identifier: MIT

local c = require("spec.support.c")
local support = require("spec.unit.base.support")
local C = c.load { "base/hash.h" }
local ffi, s = c.ffi, c.str

local function key(k0, k1)
    return ffi.new("struct rp_hash_key", k0, k1)
end

describe("rp_hash_keyed", function()
    -- Key bytes 00..0f, message 00, 01 .. n-1: the setting of the SipHash paper's own vectors.
    local k = key(0x0706050403020100ULL, 0x0f0e0d0c0b0a0908ULL)

    -- A second implementation, straight from the paper, in Lua on 64-bit cdata.
    local band, bor, bxor, lshift, rshift = bit.band, bit.bor, bit.bxor, bit.lshift, bit.rshift
    local function rotl(x, n) return bor(lshift(x, n), rshift(x, 64 - n)) end
    local function siphash(k0, k1, text, c_rounds, d_rounds)
        local v0, v1 = bxor(k0, 0x736f6d6570736575ULL), bxor(k1, 0x646f72616e646f6dULL)
        local v2, v3 = bxor(k0, 0x6c7967656e657261ULL), bxor(k1, 0x7465646279746573ULL)
        local function rounds(n)
            for _ = 1, n do
                v0 = v0 + v1; v1 = bxor(rotl(v1, 13), v0); v0 = rotl(v0, 32)
                v2 = v2 + v3; v3 = bxor(rotl(v3, 16), v2)
                v0 = v0 + v3; v3 = bxor(rotl(v3, 21), v0)
                v2 = v2 + v1; v1 = bxor(rotl(v1, 17), v2); v2 = rotl(v2, 32)
            end
        end
        local padded = text .. ("\0"):rep(7 - #text % 8) .. string.char(#text % 256)
        for at = 1, #padded, 8 do
            local m = 0ULL
            for i = 7, 0, -1 do
                m = bor(lshift(m, 8), 0ULL + padded:byte(at + i))
            end
            v3 = bxor(v3, m)
            rounds(c_rounds)
            v0 = bxor(v0, m)
        end
        v2 = bxor(v2, 0xffULL)
        rounds(d_rounds)
        return bxor(bxor(v0, v1), bxor(v2, v3))
    end

    local function message(n)
        local bytes = {}
        for i = 1, n do
            bytes[i] = string.char(band(i - 1, 255))
        end
        return table.concat(bytes)
    end

    it("is SipHash with 1 and 3 rounds", function()
        -- The checker itself against the paper's SipHash-2-4 vector (appendix A).
        assert.equal(0xa129ca6149be45e5ULL, siphash(k.k0, k.k1, message(15), 2, 4))
        for n = 0, 80 do
            assert.equal(siphash(k.k0, k.k1, message(n), 1, 3), C.rp_hash_keyed(k, s(message(n))))
        end
        assert.equal(siphash(k.k0, k.k1, message(1000), 1, 3), C.rp_hash_keyed(k, s(message(1000))))
    end)

    it("depends on the key", function()
        assert.are_not.equal(C.rp_hash_keyed(key(1, 2), s "x"), C.rp_hash_keyed(key(1, 3), s "x"))
        local a, b = key(0, 0), key(0, 0)
        C.rp_hash_key_draw(a)
        C.rp_hash_key_draw(b)
        assert.is_true(a.k0 ~= b.k0 and a.k1 ~= b.k1)
    end)
end)

describe("rp_hash_bytes", function()
    it("gives equal bytes equal values, wherever they lie", function()
        assert.equal(C.rp_hash_bytes(s "example.com"), C.rp_hash_bytes(s "example.com"))
        assert.are_not.equal(C.rp_hash_bytes(s "example.com"), C.rp_hash_bytes(s "example.con"))
        assert.equal(C.rp_hash_bytes(s ""), C.rp_hash_bytes(ffi.new("rp_str")))
        assert.are_not.equal(C.rp_hash_bytes(s ""), C.rp_hash_bytes(s "\0"))
    end)

    it("has another key in each process, the same after fork", function()
        local here = C.rp_hash_bytes(s "seed")
        assert.same({ exit = 7 }, support.in_child(function()
            return C.rp_hash_bytes(s "seed") == here and 7 or 1
        end))
        local script = os.tmpname()
        local f = io.open(script, "w")
        f:write([[local c = require("spec.support.c")
            print(c.load({ "base/hash.h" }).rp_hash_bytes(c.str("seed")))]])
        f:close()
        local pipe = io.popen("luajit " .. script .. " 2>&1")
        local there = pipe:read("*l")
        pipe:close()
        os.remove(script)
        assert.is_truthy(there and there:find("^%d+ULL$"), there)
        assert.are_not.equal(tostring(here), there)
    end)
end)

describe("rp_hash_mix", function()
    it("spreads neighbours over the low bits", function()
        local seen, n = {}, 0
        for i = 1, 256 do
            local low = tonumber(C.rp_hash_mix(i * 4096ULL) % 256ULL)
            if not seen[low] then n = n + 1 end
            seen[low] = true
        end
        assert.is_true(n > 130, n) -- random throws fill 162 of 256 on average
    end)
end)
