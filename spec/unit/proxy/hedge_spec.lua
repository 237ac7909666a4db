-- SPDX-License-Identifier: MIT
--
-- hedge: what is remembered of latencies, and what second tries may cost.

local c = require("spec.support.c")

local ffi = c.ffi
local C = c.load { "proxy/hedge.h", "proxy/retry.h" }

describe("rp_hedge_book", function()
    local book
    before_each(function() book = ffi.new("struct rp_hedge_book") end)

    local function add(us, n)
        for _ = 1, n do C.rp_hedge_book_add(book, us) end
    end
    local function quantile(permille) return C.rp_hedge_book_quantile(book, permille) end
    local function near(wanted, got)
        assert.is_true(math.abs(got - wanted) <= wanted / 16 + 1, wanted .. " is not " .. got)
    end

    it("knows nothing before it has seen a hundred", function()
        add(1000, 99)
        assert.equal(0, quantile(950))
        add(1000, 1)
        near(1000, quantile(950))
    end)

    it("tells the quantile that it is asked for", function()
        add(1000, 900)
        add(50000, 100)
        near(1000, quantile(500))
        near(50000, quantile(950))
        near(1000, quantile(900))
    end)

    it("forgets what was long ago", function()
        add(1000, 4000)
        add(80000, 12000)
        near(80000, quantile(500))
    end)

    it("looks again when there is news", function()
        add(1000, 200)
        near(1000, quantile(990))
        add(90000, 100)
        near(90000, quantile(990))
    end)

    it("takes any time", function()
        add(0, 100)
        assert.is_true(quantile(990) <= 1)
        add(2 ^ 40, 300)
        assert.is_true(quantile(990) > 100 * 1000 * 1000)
    end)
end)

describe("the purse of second tries", function()
    local purse
    before_each(function() purse = ffi.new("uint32_t[1]") end)

    local function spent(requests, share)
        local n = 0
        for _ = 1, requests do
            C.rp_retry_earn(purse, share)
            if C.rp_retry_spend(purse) then n = n + 1 end
        end
        return n
    end

    it("holds their share of requests", function()
        assert.equal(100, spent(1000, 10))
        purse[0] = 0
        assert.equal(1, spent(100, 1))
        purse[0] = 0
        assert.equal(0, spent(1000, 0))
        purse[0] = 0
        assert.equal(1000, spent(1000, 100))
    end)

    it("saves up ten", function()
        for _ = 1, 100000 do C.rp_retry_earn(purse, 100) end
        local n = 0
        while C.rp_retry_spend(purse) do n = n + 1 end
        assert.equal(10, n)
    end)
end)
