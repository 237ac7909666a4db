-- SPDX-License-Identifier: MIT

local c = require("spec.support.c")
local support = require("spec.unit.base.support")
local C = c.load { "base/random.h" }
local ffi = c.ffi

local function bytes(n)
    local out = ffi.new("uint8_t[?]", n + 1)
    out[n] = 0x5a
    C.rp_random_bytes(out, n)
    assert.equal(0x5a, out[n])
    return ffi.string(out, n)
end

describe("rp_random_bytes", function()
    it("fills all sizes and never repeats", function()
        local seen = {}
        for _, n in ipairs { 16, 17, 31, 63, 64, 65, 255, 256, 257, 1000, 100000 } do
            for _ = 1, 20 do
                local text = bytes(n)
                assert.is_nil(seen[text:sub(1, 16)])
                seen[text:sub(1, 16)] = true
                assert.is_falsy(text:find(("\0"):rep(8), 1, true))
            end
        end
        assert.equal("", bytes(0))
    end)

    it("uses each byte value about as often", function()
        local count, n = {}, 256 * 400
        for _ = 1, n / 32 do
            for ch in bytes(32):gmatch(".") do
                count[ch] = (count[ch] or 0) + 1
            end
        end
        local least, most = math.huge, 0
        for byte = 0, 255 do
            local k = count[string.char(byte)] or 0
            least, most = math.min(least, k), math.max(most, k)
        end
        -- 400 expected, deviation 20: seven deviations pass once in 10^11 runs
        assert.is_true(least > 260 and most < 540, least .. " " .. most)
    end)

    it("gives a child other bytes than its parent", function()
        bytes(1) -- the buffer is filled and shared by fork
        local out = ffi.new("int[2]")
        ffi.cdef [[
            int pipe(int *fds); long read(int, void *, size_t);
            long write(int, const void *, size_t);
        ]]
        assert.equal(0, ffi.C.pipe(out))
        local how = support.in_child(function()
            ffi.C.write(out[1], bytes(16), 16)
        end)
        assert.same({ exit = 0 }, how)
        local buf = ffi.new("char[16]")
        assert.equal(16, tonumber(ffi.C.read(out[0], buf, 16)))
        assert.are_not.equal(bytes(16), ffi.string(buf, 16))
        require("spec.support.posix").C.close(out[0])
        require("spec.support.posix").C.close(out[1])
    end)
end)

describe("rp_random dice", function()
    it("repeat with the same seed and differ with another", function()
        local a, b, d = ffi.new("struct rp_random"), ffi.new("struct rp_random"),
            ffi.new("struct rp_random")
        C.rp_random_init(a, 5)
        C.rp_random_init(b, 5)
        C.rp_random_init(d, 6)
        local same = 0
        for _ = 1, 100 do
            local value = C.rp_random_u64(a)
            assert.equal(value, C.rp_random_u64(b))
            if value == C.rp_random_u64(d) then same = same + 1 end
        end
        assert.equal(0, same)
        C.rp_random_seed(a)
        C.rp_random_seed(b)
        assert.are_not.equal(a.state, b.state)
    end)

    it("fall evenly below n", function()
        local r, count = ffi.new("struct rp_random"), {}
        C.rp_random_init(r, 1)
        for _ = 1, 60000 do
            local n = tonumber(C.rp_random_below(r, 6))
            count[n] = (count[n] or 0) + 1
        end
        for n = 0, 5 do
            assert.is_true(math.abs(count[n] - 10000) < 600, n .. ": " .. count[n])
        end
        assert.is_nil(count[6])
        assert.equal(0ULL, C.rp_random_below(r, 0))
        assert.equal(0ULL, C.rp_random_below(r, 1))
    end)
end)
