-- SPDX-License-Identifier: MIT
--
-- distinct: estimates within their error, from one item to a million.

local c = require("spec.support.c")

local ffi, s = c.ffi, c.str
local C = c.load { "shm/distinct.h" }

describe("distinct", function()
    local zone, d, at

    before_each(function()
        zone, d = ffi.new("struct rp_zone *[1]"), ffi.new("struct rp_distinct *[1]")
        at = ffi.new("uint32_t[1]")
        assert.equal(0, C.rp_zone_new(s "zone", 131072, zone))
        assert.equal(0, C.rp_distinct_new(zone[0], d))
    end)
    after_each(function()
        C.rp_distinct_free(d)
        C.rp_zone_free(zone)
    end)

    local function name(text)
        local e = C.rp_distinct_name(d[0], s(text), at)
        return e == 0 and at[0] or c.err_name(e)
    end
    local function count(...)
        return C.rp_distinct_count(d[0], ffi.new("uint32_t[?]", 64, { ... }), select("#", ...))
    end

    it("is off by less than five standard errors at every size", function()
        local n, one = 0, name("a")
        assert.equal(0, count(one))
        for _, size in ipairs { 1, 10, 100, 1000, 5000, 10000, 20000, 100000, 1000000 } do
            while n < size do
                n = n + 1
                C.rp_distinct_add(d[0], one, s("item" .. n))
            end
            C.rp_distinct_add(d[0], one, s("item1")) -- again
            local error = math.abs(count(one) - size) / size
            assert.is_true(error < 5 * 0.0163, size .. ": " .. error)
        end
    end)

    it("counts what came to several names once", function()
        local a, b = name("a"), name("b")
        for i = 1, 3000 do
            C.rp_distinct_add(d[0], a, s("x" .. i))
            C.rp_distinct_add(d[0], b, s("x" .. i + 1500))
        end
        assert.is_true(math.abs(count(a, b) - 4500) < 400)
        C.rp_distinct_clear(d[0], a)
        assert.equal(0, count(a))
        assert.is_true(math.abs(count(b) - 3000) < 300)
    end)

    it("has room for so many names", function()
        local i = 0
        while type(name("n" .. i)) == "number" do i = i + 1 end
        assert.equal("CAP", name("n" .. i))
        assert.is_true(i >= 20)
        assert.equal("NOT_FOUND", c.err_name(C.rp_distinct_find(d[0], s "none", at)))
        C.rp_distinct_add(d[0], 4000000000, s "x") -- no such sketch: nothing
        assert.equal(0, count(4000000000))
    end)
end)
