-- SPDX-License-Identifier: MIT

local c = require("spec.support.c")
local C = c.load { "base/err.h", "base/log.h" }
local str = c.ffi.string

describe("rp_err", function()
    it("describes a row of the table", function()
        local e = C.RP_E_H1_HEAD_BIG
        assert.equal("H1_HEAD_BIG", str(C.rp_err_name(e)))
        assert.equal("head_too_big", str(C.rp_err_reason(e)))
        assert.equal("header section too large", str(C.rp_err_text(e)))
        assert.equal(431, C.rp_err_status(e))
        assert.equal(C.RP_LOG_info, C.rp_err_level(e))
    end)

    it("describes progress, which has no status", function()
        for code, name in pairs { [0] = "OK", "AGAIN", "END" } do
            assert.equal(name, str(C.rp_err_name(code)))
            assert.equal(0, C.rp_err_status(code))
        end
    end)

    it("calls a code outside the table INTERNAL", function()
        for _, code in ipairs { 3, 4096, -C.RP_EI_COUNT - 1, -2147483648, 2147483647 } do
            assert.equal("INTERNAL", str(C.rp_err_name(code)))
            assert.equal(500, C.rp_err_status(code))
        end
    end)

    it("finds every row by its name", function()
        local n = 0
        for line in io.lines("runtime/base/err.tbl") do
            local name, status = line:match("^X%((%u[%u%d_]*), (%d+),")
            if name then
                n = n + 1
                local e = C.rp_err_find(name)
                assert.is_true(e < 0)
                assert.equal(name, str(C.rp_err_name(e)))
                assert.equal(tonumber(status), C.rp_err_status(e))
            end
        end
        assert.equal(C.RP_EI_COUNT, n)
    end)

    it("does not find other names", function()
        for _, name in ipairs { "", "OK", "internal", "H1", "INTERNALX" } do
            assert.equal(C.RP_E_NOT_FOUND, C.rp_err_find(name))
        end
    end)

    it("gives each reason to one row", function()
        local seen = {}
        for i = 1, C.RP_EI_COUNT do
            local reason = str(C.rp_err_reason(-i))
            assert.is_nil(seen[reason])
            seen[reason] = true
            assert.is_truthy(reason:find("^[%l_]+$"))
        end
    end)
end)
