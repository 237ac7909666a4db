-- SPDX-License-Identifier: MIT
--
-- What texts mean is looked at in spec/unit/script/vm_json_spec.lua; here is how they are read.

local c = require("spec.support.c")
local C = c.load { "base/json.h" }
local ffi, s = c.ffi, c.str

local KINDS = { [0] = "end", "{", "}", "[", "]", "key", "string", "number", "true", "false", "null" }

local function tokens(text, depth)
    local j, t, out = ffi.new("struct rp_json"), ffi.new("struct rp_json_token"), {}
    C.rp_json_init(j, s(text), depth or 10)
    repeat
        local e = C.rp_json_next(j, t)
        if e ~= 0 then
            return table.concat(out, " "), c.err_name(e), tonumber(j.at), ffi.string(j.why)
        end
        out[#out + 1] = KINDS[tonumber(t.kind)]
    until tonumber(t.kind) == 0
    return table.concat(out, " ")
end

describe("base/json", function()
    it("gives the tokens of a text in order", function()
        assert.equal("{ key [ number true false null ] key string } end",
            tokens(' {"a" : [1 , true,false,\tnull], "b":"\\"" }\r\n'))
        assert.equal("[ ] end", tokens("[]"))
        assert.equal("{ } end", tokens("{}"))
        assert.equal("number end", tokens("-0.5e+3"))
    end)

    it("says where a text is wrong", function()
        local _, name, at, why = tokens('[1,"a]')
        assert.same({ "INVALID", 6, "the string does not end" }, { name, at, why })
        _, name, at = tokens("[1 2]")
        assert.same({ "INVALID", 3 }, { name, at })
        _, name, at, why = tokens("[01]")
        assert.same({ "INVALID", 2, "a number with a leading zero" }, { name, at, why })
    end)

    it("bounds nesting", function()
        assert.equal("[ [ ] ] end", tokens("[[]]", 2))
        local _, name = tokens("[[[]]]", 2)
        assert.equal("CAP", name)
        _, name = tokens(("["):rep(5000), 100000) -- the most that a limit may be is 1000
        assert.equal("CAP", name)
    end)

    it("knows which integers a double holds", function()
        local value, exact = ffi.new("double[1]"), ffi.new("bool[1]")
        local function is_exact(text)
            assert.equal(0, C.rp_json_number(s(text), value, exact))
            return exact[0]
        end
        assert.is_true(is_exact("9007199254740992"))
        assert.is_false(is_exact("9007199254740993"))
        assert.is_false(is_exact("-123456789012345678901"))
        assert.is_true(is_exact("1e300"))
        assert.are_not.equal(0, C.rp_json_number(s("1e999"), value, exact))
    end)
end)
