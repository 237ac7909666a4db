-- SPDX-License-Identifier: MIT
--
-- deadline: the texts of grpc-timeout.

local c = require("spec.support.c")

local ffi = c.ffi
local C = c.load { "proxy/deadline.h" }

local function parse(text)
    local out = ffi.new("rp_ms[1]")
    if C.rp_deadline_parse_grpc(c.str(text), out) ~= C.RP_OK then return nil end
    return tonumber(out[0])
end

local function put(ms)
    local out = ffi.new("char[9]")
    return ffi.string(out, C.rp_deadline_put_grpc(ms, out))
end

describe("rp_deadline", function()
    it("reads each unit, rounded up to milliseconds", function()
        for text, ms in pairs { ["1H"] = 3600000, ["2M"] = 120000, ["3S"] = 3000, ["4m"] = 4,
            ["5u"] = 1, ["1001u"] = 2, ["6n"] = 1, ["1000000n"] = 1, ["0S"] = 0,
            ["00000010m"] = 10, ["99999999H"] = 99999999 * 3600000 } do
            assert.equal(ms, parse(text), text)
        end
    end)

    it("reads nothing else", function()
        for _, text in ipairs { "", "S", "1", "123456789S", "1.5S", "-1S", "+1S", " 1S", "1S ",
            "1s", "1h", "1SS", "S1", "1\0S" } do
            assert.is_nil(parse(text), text)
        end
    end)

    it("writes at most eight digits and a unit", function()
        assert.equal("1m", put(1))
        assert.equal("99999999m", put(99999999))
        assert.equal("100000S", put(100000999))
        assert.equal("99999999S", put(2 ^ 52))
    end)

    it("reads what it wrote, never as more", function()
        for bits = 0, 36 do
            local ms = 2 ^ bits + bits
            local read = parse(put(ms))
            assert.is_true(read <= ms and ms - read < 1000)
        end
    end)
end)
