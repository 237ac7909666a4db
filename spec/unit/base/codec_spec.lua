-- SPDX-License-Identifier: MIT

local c = require("spec.support.c")
local C = c.load { "base/codec.h" }
local ffi, s = c.ffi, c.str

ffi.cdef "void *malloc(size_t); void free(void *);"

-- A heap block of exactly n bytes: the sanitizer sees a write beyond.
local function block(n)
    return ffi.gc(ffi.cast("char *", ffi.C.malloc(math.max(n, 1))), ffi.C.free)
end

local function encode(fn, text, n, ...)
    local out = block(n)
    local args = { ... }
    args[#args + 1] = out
    assert.equal(n, tonumber(fn(s(text), unpack(args))))
    return ffi.string(out, n)
end

local function decode(fn, text, room, ...)
    local out, n = block(room), ffi.new("size_t[1]")
    local args = { ... }
    args[#args + 1] = out
    args[#args + 1] = n
    local e = fn(s(text), unpack(args))
    if e ~= 0 then return nil, c.err_name(e) end
    assert.is_true(tonumber(n[0]) <= room)
    return ffi.string(out, n[0])
end

local function percent(text, keep)
    return encode(C.rp_codec_percent_encode, text,
        tonumber(C.rp_codec_percent_len(s(text), keep)), keep)
end
local function unpercent(text, flags)
    return decode(C.rp_codec_percent_decode, text, #text, ffi.cast("unsigned", flags or 0))
end
local function b64(text)
    return encode(C.rp_codec_base64_encode, text, tonumber(C.rp_codec_base64_len(#text)))
end
local function unb64(text)
    return decode(C.rp_codec_base64_decode, text, math.floor(#text / 4) * 3 + 2)
end
local function b64url(text)
    return encode(C.rp_codec_base64url_encode, text, tonumber(C.rp_codec_base64url_len(#text)))
end
local function unb64url(text)
    return decode(C.rp_codec_base64url_decode, text, math.floor(#text / 4) * 3 + 2)
end
local function hex(text)
    return encode(C.rp_codec_hex_encode, text, #text * 2)
end
local function unhex(text)
    return decode(C.rp_codec_hex_decode, text, math.floor(#text / 2))
end

local ALL = {}
for byte = 0, 255 do
    ALL[byte + 1] = string.char(byte)
end
ALL = table.concat(ALL)

describe("percent encoding", function()
    it("keeps what may stay at each place (RFC 3986 §2.3, §3.3, §3.4)", function()
        local text = "aZ09-._~ /?#[]@!$&'()*+,;=:%\"é\0"
        assert.equal("aZ09-._~%20%2F%3F%23%5B%5D%40%21%24%26%27%28%29%2A%2B%2C%3B%3D%3A%25%22"
            .. "%C3%A9%00", percent(text, C.RP_CODEC_KEEP_COMPONENT))
        assert.equal("aZ09-._~%20/%3F%23%5B%5D@!$&'()*+,;=:%25%22%C3%A9%00",
            percent(text, C.RP_CODEC_KEEP_PATH))
        assert.equal("aZ09-._~%20/?%23%5B%5D@!$&'()*+,;=:%25%22%C3%A9%00",
            percent(text, C.RP_CODEC_KEEP_QUERY))
        assert.equal("", percent("", C.RP_CODEC_KEEP_PATH))
    end)

    it("is undone by decoding, for every byte", function()
        for keep = 0, 2 do
            assert.equal(ALL, unpercent(percent(ALL, keep)))
        end
    end)
end)

describe("percent decoding", function()
    it("takes either case of digits and leaves + alone", function()
        assert.equal("a /Jj+", unpercent("a%20%2f%4A%6a+"))
        assert.equal("\0\255", unpercent("%00%fF"))
        assert.equal("", unpercent(""))
        assert.equal("%41", unpercent("%2541")) -- once, not twice
    end)

    it("refuses a bad escape", function()
        for _, text in ipairs { "%", "a%", "%2", "%2g", "%g2", "%%20", "%-1", "% 1", "%2\0",
            "a%4" } do
            assert.same({ nil, "INVALID" }, { unpercent(text) })
        end
    end)

    it("does not look behind the end of the text", function()
        local out, n = block(8), ffi.new("size_t[1]")
        local text = "ab%41"
        for len = 3, 4 do
            local cut = ffi.new("rp_str", text, len)
            assert.equal("INVALID", c.err_name(C.rp_codec_percent_decode(cut, 0, out, n)))
            assert.equal(0, C.rp_codec_percent_decode(cut, C.RP_CODEC_LAX, out, n))
            assert.equal(text:sub(1, len), ffi.string(out, n[0]))
        end
    end)

    it("leaves a bad escape as it is when lax, and makes spaces of + for forms", function()
        assert.equal("%", unpercent("%", C.RP_CODEC_LAX))
        assert.equal("%2 %zz A%", unpercent("%2 %zz %41%", C.RP_CODEC_LAX))
        assert.equal("% ", unpercent("%%20", C.RP_CODEC_LAX))
        assert.equal("a b+ ", unpercent("a+b%2b%20", C.RP_CODEC_PLUS))
        assert.same({ nil, "INVALID" }, { unpercent("a+%", C.RP_CODEC_PLUS) })
    end)

    it("works in place", function()
        local text = "a%20b%2Fc"
        local buf, n = ffi.new("char[?]", #text, text), ffi.new("size_t[1]")
        assert.equal(0, C.rp_codec_percent_decode(ffi.new("rp_str", buf, #text), 0, buf, n))
        assert.equal("a b/c", ffi.string(buf, n[0]))
    end)
end)

describe("base64", function()
    it("gives RFC 4648 §10", function()
        for _, row in ipairs { { "", "" }, { "f", "Zg==" }, { "fo", "Zm8=" }, { "foo", "Zm9v" },
            { "foob", "Zm9vYg==" }, { "fooba", "Zm9vYmE=" }, { "foobar", "Zm9vYmFy" },
            { "\255\254\253", "//79" }, { "\251\239\190", "++++" } } do
            assert.equal(row[2], b64(row[1]))
            assert.equal(row[1], unb64(row[2]))
            local url = row[2]:gsub("=", ""):gsub("%+", "-"):gsub("/", "_")
            assert.equal(url, b64url(row[1]))
            assert.equal(row[1], unb64url(url))
        end
    end)

    it("carries every byte at every length", function()
        for n = 0, 256 do
            local text = ALL:sub(257 - n)
            assert.equal(text, unb64(b64(text)))
            assert.equal(text, unb64url(b64url(text)))
        end
    end)

    it("has one text per value: padding and spare bits are exact", function()
        for _, text in ipairs { "Z", "Zg", "Zg=", "Zg===", "Zg==Zg==", "=", "==", "====", "Z===",
            "Zh==", "Zm9=", "Zm 9v", "Zm9v\n", "Zm9-", "Zm9_", "Zm9\0", "Zm9\xff", "Z=g=",
            "Zm9v====" } do
            assert.same({ nil, "INVALID" }, { unb64(text) })
        end
        for _, text in ipairs { "Z", "Zg==", "Zm8=", "Zh", "Zm9", "Zm9vY", "Zm9+", "Zm9/", "Zg\n",
            "Zm9v=" } do
            assert.same({ nil, "INVALID" }, { unb64url(text) })
        end
    end)

    it("has one text per value: all two-digit endings", function()
        local good = 0
        for a = 0, 127 do
            local text = "A" .. string.char(a)
            local value = unb64url(text)
            if value then
                good = good + 1
                assert.equal(text, b64url(value))
            end
        end
        assert.equal(4, good)
    end)
end)

describe("hex", function()
    it("writes lower case and reads both", function()
        assert.equal("00ff7a", hex("\0\255z"))
        assert.equal("\0\255z\171", unhex("00Ff7aAB"))
        assert.equal("", hex(""))
        assert.equal("", unhex(""))
        assert.equal(ALL, unhex(hex(ALL)))
    end)

    it("refuses odd lengths and foreign bytes", function()
        for _, text in ipairs { "0", "000", "0g", "g0", " 0", "0x", "0\0", "@0", "`0", "/0",
            ":0" } do
            assert.same({ nil, "INVALID" }, { unhex(text) })
        end
    end)

    it("knows its 22 digits and no other byte", function()
        for byte = 0, 255 do
            local want = tonumber(string.char(byte):match("^%x$") or "", 16) or -1
            assert.equal(want, C.rp_codec_hex_digit(byte))
        end
    end)
end)
