-- SPDX-License-Identifier: MIT

local c = require("spec.support.c")
local support = require("spec.unit.base.support")
local C = c.load { "base/check.h" }

describe("rp_check_failed", function()
    it("says where and what, then aborts", function()
        local text = support.stderr_of(function()
            local pid = require("spec.support.posix").C.fork()
            if pid == 0 then C.rp_check_failed("some.c", 12, "a < b") end
            local how = require("spec.support.posix").wait(pid, 5)
            assert.equal(6, how.signal)
        end)
        assert.equal("some.c:12: check failed: a < b\n", text)
    end)
end)
