-- SPDX-License-Identifier: MIT

local c = require("spec.support.c")
local posix = require("spec.support.posix")
local C = c.load { "base/regex.h" }
local ffi, s = c.ffi, c.str

local FLAGS = { i = C.RP_REGEX_CASELESS, m = C.RP_REGEX_MULTILINE, s = C.RP_REGEX_DOTALL,
    x = C.RP_REGEX_EXTENDED, u = C.RP_REGEX_UTF, a = C.RP_REGEX_ANCHORED }

local function free_regex(re)
    C.rp_regex_free(ffi.new("struct rp_regex *[1]", re))
end

local function compile(pattern, flags)
    local bits = 0
    for flag in (flags or ""):gmatch(".") do
        bits = bits + FLAGS[flag]
    end
    local out, fault = ffi.new("struct rp_regex *[1]"), ffi.new("struct rp_regex_fault")
    local e = C.rp_regex_compile(s(pattern), bits, out, fault)
    if e ~= 0 then
        assert.is_true(out[0] == nil)
        return nil, c.err_name(e), tonumber(fault.at), ffi.string(fault.text)
    end
    return ffi.gc(out[0], free_regex)
end

local function new_ctx(limits)
    local ctx = C.rp_regex_ctx_new(limits and ffi.new("struct rp_regex_limits", limits))
    return ffi.gc(ctx, function(p)
        C.rp_regex_ctx_free(ffi.new("struct rp_regex_ctx *[1]", p))
    end)
end

local UNSET = 0xffffffffffffffffULL -- SIZE_MAX
local ctx = new_ctx()

local function test(pattern, subject, flags, with)
    local hit = ffi.new("bool[1]", true)
    local e = C.rp_regex_test(assert(compile(pattern, flags)), with or ctx, s(subject), hit)
    if e ~= 0 then return c.err_name(e) end
    return hit[0]
end

-- The texts of the groups, false for one without part; nil when there is no match.
local function match(pattern, subject, from, flags, span_n)
    local re = assert(compile(pattern, flags))
    span_n = span_n or C.rp_regex_groups(re) + 1
    local spans, hit = ffi.new("struct rp_regex_span[?]", span_n + 1), ffi.new("bool[1]")
    spans[span_n].start = 4711
    local e = C.rp_regex_match(re, ctx, s(subject), from or 0, spans, span_n, hit)
    assert.equal(4711, tonumber(spans[span_n].start))
    if e ~= 0 then return c.err_name(e) end
    if not hit[0] then return nil end
    local out = {}
    for i = 0, span_n - 1 do
        local span = spans[i]
        if span.start == UNSET then
            assert.is_true(span["end"] == span.start)
            out[i + 1] = false
        else
            out[i + 1] = subject:sub(tonumber(span.start) + 1, tonumber(span["end"]))
        end
    end
    return out
end

describe("rp_regex_test", function()
    it("says whether the pattern occurs", function()
        assert.is_true(test("b+", "abbbc"))
        assert.is_false(test("d", "abbbc"))
        assert.is_true(test("", ""))
        assert.is_true(test("^$", ""))
        assert.is_false(test(".", ""))
        assert.is_true(test("a\\x00b", "xa\0by"))
    end)

    it("takes a NULL subject as empty", function()
        local hit = ffi.new("bool[1]")
        assert.equal(0, C.rp_regex_test(compile("^$"), ctx, ffi.new("rp_str"), hit))
        assert.is_true(hit[0])
    end)

    it("obeys the flags", function()
        assert.is_false(test("abc", "xABC"))
        assert.is_true(test("abc", "xABC", "i"))
        assert.is_false(test("^b", "a\nb"))
        assert.is_true(test("^b", "a\nb", "m"))
        assert.is_false(test("a.b", "a\nb"))
        assert.is_true(test("a.b", "a\nb", "s"))
        assert.is_true(test("a b # words", "ab", "x"))
        assert.is_false(test("b", "ab", "a"))
        assert.is_true(test("^.$", "é", "u"))
        assert.is_false(test("^.$", "é"))
    end)

    it("does not stumble over invalid UTF-8", function()
        assert.is_true(test("abc", "\xff\xfeabc\xc3", "u"))
        assert.is_false(test("^.$", "\xff", "u"))
    end)

    it("runs as machine code", function()
        assert.is_true(C.rp_regex_is_jit(compile("^/api/(\\d+)$")))
    end)
end)

describe("rp_regex_match", function()
    it("gives the spans of all groups", function()
        assert.same({ "Bearer a.b-c.d", "a", "b-c", "d" },
            match("^Bearer +([\\w-]+)\\.([\\w-]+)\\.([\\w-]+)$", "Bearer a.b-c.d"))
        assert.is_nil(match("^Bearer (\\d)", "Bearer x"))
    end)

    it("tells an empty group from one that took no part", function()
        assert.same({ "b", false, "b", "", false }, match("(a)|(b)(c*)(d)?", "b"))
    end)

    it("fills exactly the spans asked for", function()
        assert.same({ "ab" }, match("(a)(b)", "ab", 0, "", 1))
        assert.same({ "ab", "a", "b", false, false }, match("(a)(b)", "ab", 0, "", 5))
        assert.same({}, match("(a)(b)", "ab", 0, "", 0))
    end)

    it("starts at from, and looks behind it", function()
        assert.same({ "b2", "2" }, match("[ab](\\d)", "a1b2", 1))
        assert.is_nil(match("[ab](\\d)", "a1b2", 3))
        assert.same({ "" }, match("$", "abc", 3))
        assert.same({ "b" }, match("(?<=a)b", "ab", 1))
        assert.is_nil(match("^b", "ab", 1))
        assert.same({ "b" }, match("b", "ab", 1, "a"))
    end)

    it("refuses a from beyond the end", function()
        assert.equal("INVALID", match("a", "abc", 4))
    end)

    it("finds named groups", function()
        local re = compile("(?<year>\\d+)-(?<month>\\d+)")
        assert.equal(2, C.rp_regex_groups(re))
        assert.equal(1, C.rp_regex_group_find(re, s "year"))
        assert.equal(2, C.rp_regex_group_find(re, s "month"))
        for _, name in ipairs { "", "day", "yea", "year\0", ("x"):rep(100) } do
            assert.equal(0, C.rp_regex_group_find(re, s(name)))
        end
    end)

    it("takes as many groups as promised", function()
        local n = C.RP_REGEX_GROUPS_MAX
        local got = match(("(a)"):rep(n), ("a"):rep(n))
        assert.equal(n + 1, #got)
        assert.equal("a", got[n + 1])
    end)
end)

describe("rp_regex_compile", function()
    it("tells where and why a pattern is bad", function()
        local re, e, at, text = compile("ab(c")
        assert.is_nil(re)
        assert.equal("INVALID", e)
        assert.equal(4, at)
        assert.is_truthy(text:find("parenthesis"), text)
        local _, _, at2, text2 = compile("a**+")
        assert.is_true(at2 > 0 and #text2 > 0)
    end)

    it("takes no fault to fill", function()
        local out = ffi.new("struct rp_regex *[1]")
        assert.equal("INVALID", c.err_name(C.rp_regex_compile(s "(", 0, out, nil)))
    end)

    it("refuses too many groups, too long patterns, too deep nesting", function()
        local function why(pattern)
            local _, e, _, text = compile(pattern)
            return e, text
        end
        assert.same({ "CAP", "too many capture groups" },
            { why(("(a)"):rep(C.RP_REGEX_GROUPS_MAX + 1)) })
        assert.same({ "CAP", "pattern too long" }, { why(("a"):rep(C.RP_REGEX_PATTERN_MAX + 1)) })
        assert.equal("INVALID", (why(("(?:"):rep(101) .. (")"):rep(101))))
        assert.is_truthy(compile(("(?:"):rep(90) .. (")"):rep(90)))
    end)

    it("refuses what could split characters or switch UTF on from inside", function()
        for _, pattern in ipairs { "a\\C", "(*UTF)a" } do
            local re, e = compile(pattern)
            assert.is_nil(re)
            assert.equal("INVALID", e)
        end
    end)

    it("takes an empty pattern, also as NULL", function()
        local out = ffi.new("struct rp_regex *[1]")
        assert.equal(0, C.rp_regex_compile(ffi.new("rp_str"), 0, out, nil))
        C.rp_regex_free(out)
        assert.is_true(out[0] == nil)
        C.rp_regex_free(out)
    end)
end)

describe("the limits", function()
    local evil = { { "^(a+)+$", ("a"):rep(40) .. "!" }, { "^(\\w+\\s?)*$", ("a"):rep(60) .. "!" },
        { "^(([a-z])+.)+[A-Z]([a-z])+$", ("a"):rep(5000) } }

    it("end patterns that explode, in machine code and in the interpreter, and soon", function()
        for _, row in ipairs(evil) do
            for _, prefix in ipairs { "", "(*NO_JIT)" } do
                local start = posix.now()
                assert.equal("CAP", test(prefix .. row[1], row[2]))
                assert.is_true(posix.now() - start < 5, prefix .. row[1])
            end
        end
    end)

    it("leave the context good for the next match", function()
        assert.equal("CAP", test(evil[1][1], evil[1][2]))
        assert.is_true(test("^(a+)+$", ("a"):rep(40)))
    end)

    it("are the context's", function()
        local strict = new_ctx { match_n = 10 }
        local subject = ("a"):rep(30) .. "b"
        assert.is_true(test("(?:a+)+b", subject))
        assert.equal("CAP", test("^(a+)+$", ("a"):rep(12) .. "!", "", strict))
        assert.is_false(test("^(a+)+$", ("a"):rep(12) .. "!"))
    end)

    it("bound the machine code's stack", function()
        -- Each repeat of the group leaves a frame, and 1 MB holds some ten thousand.
        local patient = new_ctx { match_n = 2 ^ 31 }
        assert.is_true(test("^(?:(a)|(b))*$", ("ab"):rep(1000), "", patient))
        assert.equal("CAP", test("^(?:(a)|(b))*$", ("ab"):rep(200000), "", patient))
    end)
end)

describe("threads", function()
    it("may compile at the same time and share a pattern", function()
        local lib = os.tmpname() .. ".so"
        local cmd = "env -u LD_PRELOAD %s -shared -fPIC -O1 -std=gnu11 -D_GNU_SOURCE -Iruntime "
            .. "spec/unit/base/regex_threads.c -o %s -lpthread"
        cmd = cmd:format(os.getenv("CC") or "cc", lib)
        assert.equal(0, os.execute(cmd))
        ffi.cdef "int regex_threads(void *const *calls);"
        local helper = ffi.load(lib)
        local calls = ffi.new("void *[5]")
        for i, name in ipairs { "compile", "free", "ctx_new", "ctx_free", "test" } do
            calls[i - 1] = ffi.cast("void *", C["rp_regex_" .. name])
        end
        assert.equal(0, helper.regex_threads(calls))
        os.remove(lib)
        os.remove(lib:gsub("%.so$", ""))
    end)
end)
