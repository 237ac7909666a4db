-- SPDX-License-Identifier: MIT

local c = require("spec.support.c")
local ffi = c.ffi

local C = c.load { "base/fault.h", "process/os.h" }

local function is_built()
    return (pcall(function() return C.rp_fault_arm end))
end

if not is_built() then
    describe("rproxy.fault", function()
        it("is not in an optimised build", function()
            assert.is_false(pcall(function() return C.rp_fault_hit end))
        end)
    end)
    return
end

describe("rproxy.fault", function()
    local RECV, READ = C.RP_FAULT_recv, C.RP_FAULT_read
    local SHORT = 10 -- more outcomes than any point has

    after_each(function() C.rp_fault_disarm() end)

    local function arm(edit)
        local plan = ffi.new("struct rp_fault_plan", { seed = 7 })
        edit(plan)
        C.rp_fault_arm(plan)
    end

    local function hits(n)
        local out = {}
        for i = 1, n do out[i] = C.rp_fault_hit(RECV) end
        return out
    end

    local function count(list)
        local n = 0
        for _, e in ipairs(list) do n = n + (e ~= 0 and 1 or 0) end
        return n
    end

    it("lets every call pass until it is armed, and after", function()
        assert.equal(0, count(hits(100)))
        arm(function(plan) plan.chance[RECV] = 65536 end)
        assert.equal(100, count(hits(100)))
        C.rp_fault_disarm()
        assert.equal(0, count(hits(100)))
    end)

    it("fails the same calls in the same way for the same seed", function()
        local function one(seed)
            arm(function(plan) plan.seed, plan.chance[RECV] = seed, 6000 end)
            return hits(500)
        end
        local first = one(3)
        assert.same(first, one(3))
        assert.is_true(count(first) > 20 and count(first) < 100)
        assert.are_not.same(first, one(4))
    end)

    it("fails the n-th call of a point and sets errno", function()
        arm(function(plan) plan.nth[RECV] = 3 end)
        local list = hits(5)
        assert.same({ 0, 0, 0, 0 }, { list[1], list[2], list[4], list[5] })
        assert.is_true(list[3] > 0)
        arm(function(plan) plan.nth[RECV] = 1 end)
        assert.equal(C.rp_fault_hit(RECV), ffi.errno())
    end)

    it("leaves errno alone where it lets a call pass", function()
        ffi.errno(99)
        C.rp_fault_hit(RECV)
        assert.equal(99, ffi.errno())
    end)

    it("skips calls and stops after so many failures", function()
        arm(function(plan) plan.chance[RECV], plan.skip_n, plan.most_n = 65536, 5, 2 end)
        local list = hits(10)
        assert.equal(0, count { list[1], list[2], list[3], list[4], list[5] })
        assert.equal(2, count(list))
    end)

    it("makes calls short, never empty, never longer", function()
        arm(function(plan) plan.chance[RECV] = 65536 end)
        for n = 1, 300 do
            local short = tonumber(C.rp_fault_short(RECV, n))
            assert.is_true(short >= 1 and (short < n or n == 1))
        end
    end)

    it("names points and outcomes and counts what came", function()
        assert.equal("recv", ffi.string(C.rp_fault_name(RECV)))
        assert.equal("EAGAIN", ffi.string(C.rp_fault_outcome(RECV, 0)))
        assert.is_true(C.rp_fault_outcome(RECV, SHORT) == nil)
        local function fired()
            local n = 0
            for i = 0, SHORT do n = n + tonumber(C.rp_fault_fired(READ, i)) end
            return n
        end
        local before = fired()
        arm(function(plan) plan.nth[READ] = 2 end)
        for _ = 1, 5 do C.rp_fault_hit(READ) end
        assert.equal(before + 1, fired())
    end)
end)
