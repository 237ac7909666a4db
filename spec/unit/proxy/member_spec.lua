-- SPDX-License-Identifier: MIT
--
-- member: lines that say what a peer is like.

local c = require("spec.support.c")
local ffi = c.ffi
local C = c.load { "proxy/member.h", "base/buf.h" }

describe("a member's line", function()
    local m = ffi.new("struct rp_member")
    local kept

    local function parse(line)
        kept = c.str(line)
        return c.err_name(C.rp_member_parse(kept, m))
    end

    local function written()
        local out = ffi.new("struct rp_buf")
        C.rp_buf_init(out, 65536)
        C.rp_member_put(out, m)
        local text = c.lua(C.rp_buf_str(out))
        C.rp_buf_fini(out)
        return text
    end

    it("is read as it was written", function()
        for _, line in ipairs { "10.0.0.1:80\t1\t0\t0\t\t", "[fd00::1]:80\t65535\t15\t9\tzone a\tx.example",
            "api-1.example:8080\t1\t0\t0\t\t\tk\tv\tz\tw", "unix:/run/my app\t1\t0\t0\t\t",
            "?10.0.0.1:80\t2\t0\t0\t\t", "-anything at all" } do
            assert.equal("OK", parse(line), line)
            assert.equal(line .. "\n", written())
        end
        assert.is_true(m.gone)
        parse("api-1.example:8080\t3\t4\t5\teu\tx\tk\tv\tz\tw")
        assert.same({ "api-1.example", 8080, 3, 4, 5, "eu", "x", 2 }, { c.lua(m.host), m.addr.port,
            m.weight, m.tier, m.max_conns, c.lua(m.zone), c.lua(m.identity), m.meta_n })
    end)

    it("that is not whole, or says too much, is refused", function()
        for _, line in ipairs { "", "-", "?", "10.0.0.1:80", "10.0.0.1\t1\t0\t0\t\t",
            "10.0.0.1:80\t0\t0\t0\t\t", "10.0.0.1:80\t65536\t0\t0\t\t", "10.0.0.1:80\t1\t16\t0\t\t",
            "10.0.0.1:80\t1\t0\t-1\t\t", "10.0.0.1:80\t1\t0\t4294967296\t\t",
            "10.0.0.1:80\t1\t0\t0\ta\1b\t", "10.0.0.1:80\t1\t0\t0\t\tno name!",
            "10.0.0.1:80\t1\t0\t0\t\t\tkey", "10.0.0.1:80\t1\t0\t0\t\t\tb\tv\ta\tv",
            "10.0.0.1:80\t1\t0\t0\t\t\ta\tv\ta\tv", "10.0.0.1:80\t1\t0\t0\t" .. ("z"):rep(257) .. "\t",
            ":80\t1\t0\t0\t\t", "*:80\t1\t0\t0\t\t", "a b:80\t1\t0\t0\t\t", "-a\1b" } do
            assert.equal("INVALID", parse(line), line)
        end
        local many = {}
        for i = 1, 33 do many[i] = ("k%02d\tv"):format(i) end
        assert.equal("INVALID", parse("10.0.0.1:80\t1\t0\t0\t\t\t" .. table.concat(many, "\t")))
        many[33] = nil
        assert.equal("OK", parse("10.0.0.1:80\t1\t0\t0\t\t\t" .. table.concat(many, "\t")))
    end)

    it("that cannot be read is passed over, and a check names it", function()
        local good = "10.0.0.1:80\t1\t0\t0\t\t\n"
        local text = c.str(good .. "bad\n" .. good:sub(1, -2))
        local rest, n = ffi.new("rp_str[1]", { text }), 0
        while C.rp_member_next(rest, m) do n = n + 1 end
        assert.equal(2, n)
        local line = ffi.new("uint32_t[1]")
        assert.equal("INVALID", c.err_name(C.rp_member_check(text, line)))
        assert.equal(2, line[0])
    end)
end)
