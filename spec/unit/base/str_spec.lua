-- SPDX-License-Identifier: MIT

local c = require("spec.support.c")
local C = c.load { "base/str.h" }
local ffi, s = c.ffi, c.str
local NONE = ffi.new("rp_str")

-- A view whose bytes end where a page that may not be read begins would need C; the sanitizer sees
-- the same on exact heap blocks: copies of the bytes with nothing behind them.
ffi.cdef "void *malloc(size_t); void free(void *);"
local function tight(text)
    local p = ffi.gc(ffi.cast("char *", ffi.C.malloc(math.max(#text, 1))), ffi.C.free)
    ffi.copy(p, text, #text)
    return ffi.new("rp_str", p, #text), p
end

local function list_of(text)
    local rest, item, out = s(text), ffi.new("rp_str[1]"), {}
    local cursor = ffi.new("rp_str[1]", { rest })
    while C.rp_str_list_next(cursor, item) do
        out[#out + 1] = c.lua(item[0])
        assert.is_true(#out <= #text, "does not end")
    end
    return out
end

local function u64(text)
    local out = ffi.new("uint64_t[1]", 77)
    local e = C.rp_str_u64(s(text), out)
    return c.err_name(e), out[0]
end

describe("comparing", function()
    it("ignores ASCII case and nothing else", function()
        for byte = 0, 255 do
            local a = string.char(byte)
            for _, pad in ipairs { "", "abc", "abcdefg", "abcdefgh", "abcdefghijk" } do
                local same = a:lower() == a and a:upper() ~= a and a:upper() or a:lower()
                local upper = byte < 128 and same or a
                local x, p = tight(pad .. a .. pad)
                local y, q = tight(pad:upper() .. upper .. pad)
                assert.is_true(C.rp_str_ieq(x, y), "byte " .. byte)
                assert.is_not_nil(p)
                assert.is_not_nil(q)
            end
        end
    end)

    it("tells bytes apart that differ only in the case bit but are no letters", function()
        for _, pad in ipairs { "", "12345678", "123456789abc" } do
            for byte = 0, 255 do
                local other = bit.bxor(byte, 0x20)
                local a, b = string.char(byte), string.char(other)
                local letters = a:find("^%a$") and byte < 128
                assert.equal(letters ~= nil and letters ~= false,
                    C.rp_str_ieq(s(pad .. a), s(pad .. b)), "byte " .. byte)
            end
        end
    end)

    it("sees a difference at each place of each length", function()
        for n = 1, 40 do
            local text = ("Abcdefghij"):rep(4):sub(1, n)
            assert.is_true(C.rp_str_ieq(s(text), s(text:upper())))
            for at = 1, n do
                local other = text:sub(1, at - 1) .. "!" .. text:sub(at + 1)
                assert.is_false(C.rp_str_ieq(s(text), s(other)))
            end
        end
    end)

    it("tells lengths apart", function()
        assert.is_false(C.rp_str_ieq(s "Host", s "Hosts"))
        assert.is_true(C.rp_str_ieq(NONE, s ""))
        assert.is_true(C.rp_str_ieq(NONE, NONE))
    end)

    it("finds prefixes and suffixes", function()
        assert.is_true(C.rp_str_starts(s "/api/v1", s "/api"))
        assert.is_true(C.rp_str_starts(s "/api", s "/api"))
        assert.is_false(C.rp_str_starts(s "/ap", s "/api"))
        assert.is_false(C.rp_str_starts(s "/Api/v1", s "/api"))
        assert.is_true(C.rp_str_starts(NONE, NONE))
        assert.is_true(C.rp_str_istarts(s "BEARER x", s "Bearer "))
        assert.is_false(C.rp_str_istarts(s "BEARER", s "Bearer "))
        assert.is_true(C.rp_str_ends(s "a.example.com", s ".example.com"))
        assert.is_false(C.rp_str_ends(s "example.com", s ".example.com"))
        assert.is_false(C.rp_str_ends(s "a.example.COM", s ".example.com"))
        assert.is_true(C.rp_str_ends(s "a", s ""))
        assert.is_true(C.rp_str_ends(NONE, NONE))
    end)

    it("orders by bytes, shorter first", function()
        local sorted = { "", "a", "a\0", "aa", "ab", "b", "\127", "\128", "\255" }
        for i, x in ipairs(sorted) do
            for j, y in ipairs(sorted) do
                local order = C.rp_str_cmp(s(x), s(y))
                assert.equal(i < j and -1 or i > j and 1 or 0,
                    order < 0 and -1 or order > 0 and 1 or 0)
            end
        end
        assert.equal(0, C.rp_str_cmp(NONE, s ""))
    end)
end)

describe("rp_str_find", function()
    it("gives the offset at or after from", function()
        local text = s "a.b.c"
        assert.equal(1, tonumber(C.rp_str_find(text, 46, 0)))
        assert.equal(1, tonumber(C.rp_str_find(text, 46, 1)))
        assert.equal(3, tonumber(C.rp_str_find(text, 46, 2)))
        assert.equal(5, tonumber(C.rp_str_find(text, 46, 4)))
    end)

    it("gives the length when absent or from is past the end", function()
        assert.equal(5, tonumber(C.rp_str_find(s "a.b.c", 33, 0)))
        assert.equal(5, tonumber(C.rp_str_find(s "a.b.c", 46, 5)))
        assert.equal(5, tonumber(C.rp_str_find(s "a.b.c", 46, 500)))
        assert.equal(0, tonumber(C.rp_str_find(NONE, 46, 0)))
    end)
end)

describe("rp_str_trim", function()
    it("takes spaces and tabs off both ends, nothing else", function()
        assert.equal("a b", c.lua(C.rp_str_trim(s " \t a b\t ")))
        assert.equal("\na\r", c.lua(C.rp_str_trim(s "\na\r")))
        assert.equal(0, tonumber(C.rp_str_trim(s " \t ").len))
        assert.equal(0, tonumber(C.rp_str_trim(NONE).len))
    end)
end)

describe("rp_str_list_next", function()
    it("splits at commas, trims, skips empty elements", function()
        assert.same({ "a", "b c", "d" }, list_of("a,b c ,\td"))
        assert.same({ "a", "b" }, list_of(",, a ,,b, ,"))
        assert.same({}, list_of(""))
        assert.same({}, list_of(" , ,\t"))
        assert.same({ "x" }, list_of("x"))
    end)

    it("does not split inside quoted strings", function()
        assert.same({ 'a="1,2"', "b" }, list_of('a="1,2", b'))
        assert.same({ [["\",\\"]], "b" }, list_of([["\",\\",b]]))
        assert.same({ 'a="1,b' }, list_of('a="1,b'))
        assert.same({ [["a\]] }, list_of([["a\]]))
    end)

    it("finds tokens whatever their case", function()
        assert.is_true(C.rp_str_list_has(s "gzip, Chunked", s "chunked"))
        assert.is_false(C.rp_str_list_has(s "xchunked, chunkedx", s "chunked"))
        assert.is_false(C.rp_str_list_has(s '"a, close, b"', s "close"))
        assert.is_false(C.rp_str_list_has(NONE, s "close"))
    end)
end)

describe("rp_str_u64", function()
    it("reads digits", function()
        assert.same({ "OK", 0ULL }, { u64("0") })
        assert.same({ "OK", 42ULL }, { u64("00042") })
        assert.same({ "OK", 18446744073709551615ULL }, { u64("18446744073709551615") })
        assert.same({ "OK", 1ULL }, { u64(("0"):rep(60) .. "1") })
    end)

    it("refuses all else and leaves the result alone", function()
        for _, text in ipairs { "", " 1", "1 ", "+1", "-1", "1a", "0x1", "1.0", "1\0", "\xb2", "/",
            ":", "18446744073709551616", "18446744073709551620", "99999999999999999999",
            "184467440737095516150" } do
            assert.same({ "INVALID", 77ULL }, { u64(text) })
        end
    end)

    it("is undone by rp_str_put_u64", function()
        local buf = ffi.new("char[20]")
        for _, text in ipairs { "0", "9", "10", "12345678901", "18446744073709551615" } do
            local _, value = u64(text)
            assert.equal(text, ffi.string(buf, tonumber(C.rp_str_put_u64(buf, value))))
        end
    end)
end)
