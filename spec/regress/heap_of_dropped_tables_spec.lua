-- SPDX-License-Identifier: MIT
--
-- A big table that site code let go of stayed until the heap had grown to twice its size: nearly idle
-- workers kept the memory for hours. The collector also looks by time now, and only if code ran.

local posix = require("spec.support.posix")
local process = require("spec.support.process")

describe("a heap whose tables were let go of", function()
    local rp

    teardown(function() process.stop(rp) end)

    local function rounds()
        return tonumber(process.must(rp, "status"):match("lua_gc_rounds: (%d+)"))
    end

    it("is given back by a worker that has hardly anything to do, and then left alone", function()
        rp = process.start { workers = 1, before = 'local rp, held = require("rproxy"), nil',
            more = 'lua = { heap = "256m" },', routes = [[
            rp.route { "/hold", content = function(req)
                held = {}
                for i = 1, 100000 do held[i] = { i } end
                return req:exit(200, "held") end },
            rp.route { "/drop", content = function(req)
                held = nil
                return req:exit(200, "dropped") end },
            rp.route { "/heap", content = function(req)
                return req:exit(200, tostring(collectgarbage("count"))) end }, ]] }
        local function heap_kb() return tonumber(process.body(rp, "/heap")) end
        local before = heap_kb()
        assert.equal("held", process.body(rp, "/hold"))
        local held = heap_kb()
        assert.is_true(held > before + 5000)
        assert.equal("dropped", process.body(rp, "/drop"))
        assert.is_true(posix.poll(function() return heap_kb() < held - 5000 end, 30))
        -- Lua ran last beside the round that freed it, so one more follows, and then none: by time alone
        -- they would come after 1, 3, 7 and 15 s. Counters are told once a second: one may be missing.
        local n = rounds()
        posix.sleep(17)
        assert.is_true(rounds() <= n + 3, rounds() - n)
    end)
end)
