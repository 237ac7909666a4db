-- SPDX-License-Identifier: MIT
--
-- h1_chunk: the chunked coding, whole and in every cut.

local c = require("spec.support.c")

local ffi = c.ffi
local C = c.load { "http/h1_chunk.h" }

-- Feed bytes as a connection does: `cuts` are the sizes of the reads (the last repeats); unread
-- bytes are presented again. Result: "END"/"AGAIN"/error, data, trailer section, bytes consumed.
local function run(bytes, cuts)
    local dec = ffi.new("struct rp_h1_chunk")
    local used, data = ffi.new("size_t[1]"), ffi.new("rp_str")
    local base = ffi.cast("const char *", bytes)
    local at, have, round = 0, 0, 0
    local out = {}
    C.rp_h1_chunk_init(dec)
    while true do
        round = round + 1
        have = math.min(#bytes, have + (cuts[round] or cuts[#cuts]))
        repeat
            local e = c.err_name(C.rp_h1_chunk_next(dec, base + at, have - at, used, data))
            at = at + tonumber(used[0])
            assert(at <= have)
            if e == "OK" then
                assert(data.len > 0)
                out[#out + 1] = c.lua(data)
            elseif e == "END" then
                return "END", table.concat(out), c.lua(data), at
            elseif e ~= "AGAIN" then
                return e, table.concat(out)
            end
        until e == "AGAIN"
        if have == #bytes then return "AGAIN", table.concat(out), nil, at end
    end
end

-- The same result in one piece, byte by byte, and cut in two at every place (long inputs: at some).
local function decode(bytes)
    local want = { run(bytes, { #bytes + 1 }) }
    assert.same(want, { run(bytes, { 1 }) }, "byte by byte")
    assert.same(want, { run(bytes, { 3 }) }, "three at a time")
    local step = math.max(1, math.floor(#bytes / 200))
    for cut = 0, #bytes, step do
        assert.same(want, { run(bytes, { cut, #bytes + 1 }) }, "cut at " .. cut)
    end
    return unpack(want, 1, 4)
end

describe("h1 chunked decoder", function()
    it("returns the data and the empty trailer section", function()
        local rows = {
            ["0\r\n\r\n"] = "",
            ["5\r\nhello\r\n0\r\n\r\n"] = "hello",
            ["5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"] = "hello world",
            ["a\r\n0123456789\r\n0\r\n\r\n"] = "0123456789",
            ["A\r\n0123456789\r\n0\r\n\r\n"] = "0123456789",
            ["0000000000000001\r\nx\r\n0\r\n\r\n"] = "x",
            ["00\r\n\r\n"] = "",
            ["0000000000000000\r\n\r\n"] = "",
            ["2\r\n\r\n\r\n0\r\n\r\n"] = "\r\n",
            ["1;a=b\r\nx\r\n0\r\n\r\n"] = "x",
            ["1;a=\"b;c\"; d\t=\te\r\nx\r\n0;last\r\n\r\n"] = "x",
            ["1;\r\nx\r\n0;\195\169\r\n\r\n"] = "x",
            ["10\r\n" .. ("z"):rep(16) .. "\r\n0\r\n\r\n"] = ("z"):rep(16),
            ["1F\r\n" .. ("y"):rep(31) .. "\r\n0\r\n\r\n"] = ("y"):rep(31),
        }
        for bytes, want in pairs(rows) do
            assert.same({ "END", want, "\r\n", #bytes }, { decode(bytes) }, bytes)
        end
    end)

    it("leaves what follows the body", function()
        local body = "3\r\nabc\r\n0\r\n\r\n"
        assert.same({ "END", "abc", "\r\n", #body }, { decode(body .. "GET / HTTP/1.1\r\n\r\n") })
    end)

    it("hands out the trailer section whole", function()
        local section = "A: b\r\nC: d\r\n\r\n"
        local body = "1\r\nx\r\n0\r\n" .. section
        assert.same({ "END", "x", section, #body }, { decode(body .. "tail") })
    end)

    it("waits for more", function()
        for _, bytes in ipairs { "", "5", "5\r", "5\r\n", "5;x", "5;x\r", "5\r\nhel", "5\r\nhello",
            "5\r\nhello\r", "5\r\nhello\r\n", "5\r\nhello\r\n0", "0\r\n", "0\r\n\r", "0\r\nA: b",
            "0\r\nA: b\r\n", "0\r\nA: b\r\n\r" } do
            local e, data, trailers = decode(bytes)
            assert.same({ "AGAIN", nil }, { e, trailers }, bytes)
            assert.is_true(("hello"):sub(1, #data) == data)
        end
    end)

    it("refuses malformed framing", function()
        for _, bytes in ipairs { "\r\n", "\n", ";\r\n", "g\r\n", " 5\r\nhello", "\t5\r\n",
            "+5\r\nhello", "-5\r\n", "-0\r\n", "0x5\r\nhello", "5 \r\nhello", "5\t\r\nhello",
            "5 ;a\r\nhello", "5h\r\nhello", "5\nhello", "5\r5", "5\rhello", "5;a\nhello",
            "5;a\rb\r\nhello", "5;\0\r\nhello", "5;a\127\r\nhello", "5;\1\r\n", "5,\r\n", "5\0\r\n",
            "\0\r\n", "5\r\nhelloX\r\n", "5\r\nhello\n0\r\n\r\n", "5\r\nhello\r0\r\n",
            "5\r\nhello0\r\n", "5\r\nhello\r\r\n", "5\r\nhello\r\n\r\n", "5\r\nhello\r\n\n",
            "00000000000000005\r\nhello", "00000000000000000\r\n\r\n", "1000000000000001\r\n",
            "ffffffffffffffff\r\n", "FFFFFFFFFFFFFFFFF\r\n", "8000000000000000\r\n", "0\r\n\n",
            "0\n\n", "0\n\r\n", "0\r\nA: b\n\r\n", "0\r\nA: b\r\n\n", "0\r\n\r\r\n\n", "0;\n\r\n",
            "5\r\nhello\r\n5\nhello", "1\r\nx\r\n 0\r\n\r\n", "0 \r\n\r\n" } do
            assert.equal("H1_CHUNK", (decode(bytes)), bytes)
        end
    end)

    it("takes sizes up to 2^60", function()
        assert.equal("AGAIN", (decode("1000000000000000\r\nx")))
        assert.equal("AGAIN", (decode("0FFFFFFFFFFFFFFF\r\nx")))
        assert.equal("H1_CHUNK", (decode("1000000000000001")))
    end)

    it("stays broken, and stays ended", function()
        local dec, used, data = ffi.new("struct rp_h1_chunk"), ffi.new("size_t[1]"),
            ffi.new("rp_str")
        C.rp_h1_chunk_init(dec)
        for _, bytes in ipairs { "x", "0\r\n\r\n", "" } do
            assert.equal("H1_CHUNK", c.err_name(C.rp_h1_chunk_next(dec, bytes, #bytes, used, data)))
        end
        C.rp_h1_chunk_init(dec)
        for _, bytes in ipairs { "0\r\n\r\n", "0\r\n\r\n", "" } do
            assert.equal("END", c.err_name(C.rp_h1_chunk_next(dec, bytes, #bytes, used, data)))
        end
        assert.equal(0, tonumber(used[0]))
    end)

    it("hands out one run of data a call", function()
        local dec, used, data = ffi.new("struct rp_h1_chunk"), ffi.new("size_t[1]"),
            ffi.new("rp_str")
        local bytes = "5\r\nhello\r\n5\r\nworld\r\n"
        C.rp_h1_chunk_init(dec)
        assert.equal("OK", c.err_name(C.rp_h1_chunk_next(dec, bytes, #bytes, used, data)))
        assert.same({ "hello", 8 }, { c.lua(data), tonumber(used[0]) })
    end)

    it("bounds a line of extensions and the trailer section", function()
        assert.equal("END", (decode("1;" .. ("e"):rep(8192) .. "\r\nx\r\n0\r\n\r\n")))
        assert.equal("H1_CHUNK", (decode("1;" .. ("e"):rep(8193) .. "\r\nx\r\n0\r\n\r\n")))
        local fits = "A: " .. ("t"):rep(8192 - 7) .. "\r\n\r\n"
        assert.equal(8192, #fits)
        assert.equal("END", (decode("0\r\n" .. fits)))
        assert.equal("H1_CHUNK", (decode("0\r\n" .. "A" .. fits)))
        assert.equal("H1_CHUNK", (decode("0\r\n" .. ("A: b\r\n"):rep(2000) .. "\r\n")))
        assert.equal("AGAIN", (decode("0\r\n" .. ("A"):rep(8191))))
        assert.equal("H1_CHUNK", (decode("0\r\n" .. ("A"):rep(8192))))
    end)

    it("bounds extensions that no data pays for", function()
        local chunk = "1;" .. ("e"):rep(1000) .. "\r\nx\r\n"
        assert.equal("AGAIN", (decode(chunk:rep(16))))
        assert.equal("H1_CHUNK", (decode(chunk:rep(17))))
        local paid = "400;" .. ("e"):rep(1000) .. "\r\n" .. ("d"):rep(1024) .. "\r\n"
        assert.equal("AGAIN", (decode(paid:rep(40))))
        assert.equal("AGAIN", (decode(("1\r\nx\r\n"):rep(5000))))
    end)
end)
