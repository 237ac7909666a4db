-- SPDX-License-Identifier: MIT

local c = require("spec.support.c")
local support = require("spec.unit.base.support")
local C = c.load { "base/buf.h" }
local ffi, s = c.ffi, c.str

local function new_buf(cap)
    local b = ffi.gc(ffi.new("struct rp_buf"), C.rp_buf_fini)
    C.rp_buf_init(b, cap)
    return b
end

local function text(b)
    local view = C.rp_buf_str(b)
    return ffi.string(view.ptr, view.len)
end

local function with(fn, input, cap)
    local b = new_buf(cap or 100000)
    fn(b, s(input))
    assert.is_false(b.failed)
    return text(b)
end

describe("rp_buf", function()
    it("grows with what is appended", function()
        local b, parts = new_buf(100000), {}
        for i = 1, 2000 do
            C.rp_buf_add_u64(b, i)
            C.rp_buf_add_ch(b, 32)
            parts[i] = i .. " "
        end
        C.rp_buf_add_z(b, "end")
        C.rp_buf_addf(b, " %s=%d", "n", ffi.new("int", -3))
        assert.equal(table.concat(parts) .. "end n=-3", text(b))
        assert.is_false(b.failed)
    end)

    it("owns no memory before the first append", function()
        local b = new_buf(10)
        assert.is_true(b.ptr == nil)
        C.rp_buf_add(b, s "")
        C.rp_buf_add(b, ffi.new("rp_str"))
        C.rp_buf_add_z(b, nil)
        C.rp_buf_consume(b, 0)
        assert.equal("", text(b))
        assert.is_false(b.failed)
    end)

    it("takes exactly its cap; an append beyond lands not at all and sticks", function()
        for _, cap in ipairs { 1, 5, 63, 64, 65, 1000 } do
            local b = new_buf(cap)
            C.rp_buf_add(b, s(("x"):rep(cap - 1)))
            C.rp_buf_add(b, s "yz")
            assert.is_true(b.failed)
            C.rp_buf_add_ch(b, 33)
            assert.equal(("x"):rep(cap - 1), text(b))
            C.rp_buf_clear(b)
            assert.is_false(b.failed)
            C.rp_buf_add(b, s(("y"):rep(cap)))
            assert.is_false(b.failed)
            assert.equal(cap, #text(b))
        end
    end)

    it("prints into the last byte of the cap", function()
        local b = new_buf(6)
        C.rp_buf_addf(b, "%s", "abcdef")
        assert.is_false(b.failed)
        assert.equal("abcdef", text(b))
        C.rp_buf_clear(b)
        C.rp_buf_addf(b, "%s", "abcdefg")
        assert.is_true(b.failed)
        assert.equal("", text(b))
    end)

    it("takes nothing at cap 0", function()
        local b = new_buf(0)
        C.rp_buf_addf(b, "%s", "")
        assert.is_false(b.failed)
        C.rp_buf_add_ch(b, 65)
        assert.is_true(b.failed)
    end)

    it("drops bytes from the front", function()
        local b = new_buf(100)
        C.rp_buf_add(b, s "abcdef")
        C.rp_buf_consume(b, 2)
        assert.equal("cdef", text(b))
        C.rp_buf_consume(b, 4)
        assert.equal("", text(b))
        assert.is_true(support.aborts(function()
            C.rp_buf_consume(b, 1)
        end))
    end)
end)

describe("rp_buf_add_json", function()
    it("escapes what JSON must escape (RFC 8259 §7)", function()
        assert.equal([[a\"b\\c\n\r\t\u0000\u001f\u007f/]],
            with(C.rp_buf_add_json, "a\"b\\c\n\r\t\0\31\127/"))
    end)

    it("lets valid UTF-8 through", function()
        for _, ok in ipairs { "é", "\xc2\x80", "\xdf\xbf", "\xe0\xa0\x80", "\xed\x9f\xbf",
            "\xee\x80\x80", "\xef\xbf\xbf", "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf", "日本語 🎉" } do
            assert.equal(ok, with(C.rp_buf_add_json, ok))
        end
    end)

    it("replaces each byte of invalid UTF-8", function()
        local bad = "\\ufffd"
        for _, row in ipairs {
            { "\x80", 1 }, { "\xff", 1 }, { "\xc0\xaf", 2 }, { "\xc1\xbf", 2 }, -- overlong
            { "\xe0\x9f\xbf", 3 }, { "\xf0\x8f\xbf\xbf", 4 }, -- overlong
            { "\xed\xa0\x80", 3 }, { "\xf4\x90\x80\x80", 4 }, { "\xf5\x80\x80\x80", 4 },
            { "\xc3", 1 }, { "\xe2\x82", 2 }, { "\xf0\x9f\x8e", 3 }, -- cut
        } do
            assert.equal(bad:rep(row[2]), with(C.rp_buf_add_json, row[1]))
            assert.equal("a" .. bad:rep(row[2]) .. "b",
                with(C.rp_buf_add_json, "a" .. row[1] .. "b"))
        end
        assert.equal(bad .. "(", with(C.rp_buf_add_json, "\xc3("))
    end)

    it("lands whole or not at all", function()
        local b = new_buf(5)
        C.rp_buf_add_json(b, s 'abc"d')
        assert.is_true(b.failed)
        assert.equal("", text(b))
    end)
end)

describe("rp_buf_add_escaped", function()
    it("leaves printable ASCII only", function()
        assert.equal([[a b~\x22\x5c\x00\x7f\x0a\xc3\xa9]],
            with(C.rp_buf_add_escaped, "a b~\"\\\0\127\n\xc3\xa9"))
        assert.equal("", with(C.rp_buf_add_escaped, ""))
    end)
end)
