-- SPDX-License-Identifier: MIT
--
-- proxy_header: versions 1 and 2, read and written.

local bit = require("bit")
local c = require("spec.support.c")

local ffi = c.ffi
local C = c.load { "net/proxy_header.h", "net/addr.h" }

local SIGNATURE = "\r\n\r\n\0\r\nQUIT\n"

local function u16(n)
    return string.char(math.floor(n / 256), n % 256)
end

-- A v2 header: command byte, family byte, what follows.
local function v2(command, family, body)
    return SIGNATURE .. string.char(command, family) .. u16(#body) .. body
end

local IP4 = "\1\2\3\4" .. "\5\6\7\8" .. u16(1234) .. u16(80)
local IP6 = "\x20\1\x0d\xb8" .. ("\0"):rep(11) .. "\1" .. ("\0"):rep(15) .. "\1" .. u16(65535) .. u16(443)

local function tlv(kind, value)
    return string.char(kind) .. u16(#value) .. value
end

local function crc32c(bytes)
    local crc = 0xffffffff
    for i = 1, #bytes do
        crc = bit.bxor(crc, bytes:byte(i))
        for _ = 1, 8 do
            local low = bit.band(crc, 1) == 1
            crc = bit.rshift(crc, 1)
            if low then crc = bit.bxor(crc, 0x82f63b78) end
        end
    end
    crc = bit.bnot(crc)
    return string.char(bit.band(bit.rshift(crc, 24), 255), bit.band(bit.rshift(crc, 16), 255),
        bit.band(bit.rshift(crc, 8), 255), bit.band(crc, 255))
end

local function text_of(a)
    local out = ffi.new("char[128]")
    return ffi.string(out, C.rp_addr_put(a, out))
end

describe("proxy_header", function()
    local h, used

    before_each(function()
        h, used = ffi.new("struct rp_proxy_header"), ffi.new("size_t[1]")
    end)

    local function parse(bytes)
        -- exactly these bytes, so that the sanitizer sees a step beyond them
        local copy = ffi.new("char[?]", math.max(1, #bytes))
        ffi.copy(copy, bytes, #bytes)
        local view = ffi.new("rp_str", copy, #bytes)
        local name = c.err_name(C.rp_proxy_header_parse(view, h, used))
        if name == "OK" and h.tlvs.len > 0 then
            local at = tonumber(ffi.cast("intptr_t", h.tlvs.ptr) - ffi.cast("intptr_t", view.ptr))
            return name, copy, bytes:sub(at + 1, at + tonumber(h.tlvs.len))
        end
        return name, copy
    end

    -- What a header says: "from to", "local" or "none".
    local function said(bytes)
        local name, keep = parse(bytes)
        assert(keep)
        if name ~= "OK" then return name end
        assert.equal(#bytes, tonumber(used[0]))
        if h["local"] then return "local" end
        return h.has_ends and text_of(h.from) .. " " .. text_of(h.to) or "none"
    end

    -- ------------------------------------------------------------ version 1

    for line, expected in pairs {
        ["PROXY TCP4 1.2.3.4 5.6.7.8 1234 80"] = "1.2.3.4:1234 5.6.7.8:80",
        ["PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535"] =
            "255.255.255.255:65535 255.255.255.255:65535",
        ["PROXY TCP4 0.0.0.0 0.0.0.0 0 0"] = "0.0.0.0:0 0.0.0.0:0",
        ["PROXY TCP6 2001:db8::1 ::1 1234 443"] = "[2001:db8::1]:1234 [::1]:443",
        ["PROXY TCP6 ::ffff:1.2.3.4 ::ffff:5.6.7.8 1 2"] = "1.2.3.4:1 5.6.7.8:2",
        ["PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
            .. "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535"] =
            "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535 "
            .. "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
        ["PROXY UNKNOWN"] = "none",
        ["PROXY UNKNOWN ffff:f...f:ffff whatever 1 2 3"] = "none",
        ["PROXY UNKNOWN " .. ("x"):rep(91)] = "none", -- 107 bytes
    } do
        it("takes " .. line:sub(1, 60), function()
            assert.equal(expected, said(line .. "\r\n"))
            assert.equal(1, h.version)
        end)
    end

    for _, line in ipairs {
        "PROXY TCP4 1.2.3.4 5.6.7.8 1234", "PROXY TCP4 1.2.3.4 5.6.7.8 1234 80 ",
        "PROXY TCP4 1.2.3.4 5.6.7.8 1234 80 x", "PROXY  TCP4 1.2.3.4 5.6.7.8 1234 80",
        "PROXY TCP4 1.2.3.4  5.6.7.8 1234 80", "PROXY TCP4 1.2.3.4 5.6.7.8 01234 80",
        "PROXY TCP4 1.2.3.4 5.6.7.8 65536 80", "PROXY TCP4 1.2.3.4 5.6.7.8 -1 80",
        "PROXY TCP4 1.2.3.4 5.6.7.8 +1 80", "PROXY TCP4 1.2.3.4 5.6.7.8 1e3 80",
        "PROXY TCP4 01.2.3.4 5.6.7.8 1234 80", "PROXY TCP4 1.2.3 5.6.7.8 1234 80",
        "PROXY TCP4 ::1 ::1 1234 80", "PROXY TCP6 1.2.3.4 5.6.7.8 1234 80",
        "PROXY TCP6 [::1] ::1 1234 80", "PROXY TCP6 fe80::1%lo ::1 1 2",
        "PROXY TCP5 1.2.3.4 5.6.7.8 1234 80", "PROXY tcp4 1.2.3.4 5.6.7.8 1234 80",
        "PROXY UDP4 1.2.3.4 5.6.7.8 1234 80", "PROXY", "PROXY ", "PROXY UNKNOWNX",
        "proxy TCP4 1.2.3.4 5.6.7.8 1234 80", "GET / HTTP/1.1", "\0",
        "PROXY TCP4 1.2.3.4 5.6.7.8 1234 80\r", "PROXY TCP4\t1.2.3.4 5.6.7.8 1234 80",
        "PROXY TCP4 1.2.3.4 5.6.7.8 1234 80\0",
        "PROXY UNKNOWN " .. ("x"):rep(92), -- 108 bytes
    } do
        it(("refuses %q"):format(line:sub(1, 60)), function()
            assert.equal("PROXY_HEADER", said(line .. "\r\n"))
        end)
    end

    it("wants CRLF", function()
        assert.equal("PROXY_HEADER", said("PROXY UNKNOWN\rX"))
        assert.equal("AGAIN", said("PROXY UNKNOWN\n"))
        assert.equal("PROXY_HEADER", said("PROXY UNKNOWN\n" .. ("x"):rep(100)))
    end)

    -- ------------------------------------------------------------ version 2

    for name, case in pairs {
        ["IPv4"] = { v2(0x21, 0x11, IP4), "1.2.3.4:1234 5.6.7.8:80" },
        ["IPv6"] = { v2(0x21, 0x21, IP6), "[2001:db8::1]:65535 [::1]:443" },
        ["mapped addresses as what they are"] = { v2(0x21, 0x21,
            (("\0"):rep(10) .. "\xff\xff\1\2\3\4"):rep(2) .. u16(1) .. u16(2)),
            "1.2.3.4:1 1.2.3.4:2" },
        ["LOCAL"] = { v2(0x20, 0x00, ""), "local" },
        ["LOCAL with anything behind it"] = { v2(0x20, 0xff, "whatever"), "local" },
        ["unspecified"] = { v2(0x21, 0x00, ""), "none" },
        ["unspecified with TLVs"] = { v2(0x21, 0x00, tlv(4, "xx")), "none" },
        ["datagrams, which cannot be"] = { v2(0x21, 0x12, IP4), "none" },
        ["datagrams of IPv6"] = { v2(0x21, 0x22, IP6), "none" },
        ["unix sockets"] = { v2(0x21, 0x31, ("\0"):rep(216)), "none" },
        ["unix datagrams"] = { v2(0x21, 0x32, ("\0"):rep(216)), "none" },
        ["TLVs"] = { v2(0x21, 0x11, IP4 .. tlv(1, "h2") .. tlv(2, "a.example") .. tlv(4, "")),
            "1.2.3.4:1234 5.6.7.8:80" },
        ["4 KB"] = { v2(0x21, 0x11, IP4 .. tlv(4, ("x"):rep(4096 - 16 - 12 - 3))),
            "1.2.3.4:1234 5.6.7.8:80" },
        -- and not
        ["version 1 in binary"] = { v2(0x11, 0x11, IP4), "PROXY_HEADER" },
        ["version 3"] = { v2(0x31, 0x11, IP4), "PROXY_HEADER" },
        ["an unknown command"] = { v2(0x22, 0x11, IP4), "PROXY_HEADER" },
        ["an unknown family"] = { v2(0x21, 0x41, IP4), "PROXY_HEADER" },
        ["an unknown transport"] = { v2(0x21, 0x13, IP4), "PROXY_HEADER" },
        ["a family without transport"] = { v2(0x21, 0x10, IP4), "PROXY_HEADER" },
        ["ends that are cut"] = { v2(0x21, 0x11, IP4:sub(1, 11)), "PROXY_HEADER" },
        ["IPv6 ends that are cut"] = { v2(0x21, 0x21, IP6:sub(1, 35)), "PROXY_HEADER" },
        ["half a TLV"] = { v2(0x21, 0x11, IP4 .. "\4\0"), "PROXY_HEADER" },
        ["a TLV beyond the end"] = { v2(0x21, 0x11, IP4 .. "\4\0\2x"), "PROXY_HEADER" },
        ["a byte behind the last TLV"] = { v2(0x21, 0x11, IP4 .. tlv(4, "x") .. "y"),
            "PROXY_HEADER" },
        ["more than 4 KB"] = { v2(0x21, 0x11, IP4 .. tlv(4, ("x"):rep(4096 - 16 - 12 - 2))),
            "PROXY_HEADER" },
        ["a wrong checksum"] = { v2(0x21, 0x11, IP4 .. tlv(3, "\0\0\0\0")), "PROXY_HEADER" },
        ["a checksum of the wrong length"] = { v2(0x21, 0x11, IP4 .. tlv(3, "\0\0")),
            "PROXY_HEADER" },
        ["another signature"] = { "\r\n\r\n\0\r\nQUIX\n\33\17\0\0", "PROXY_HEADER" },
    } do
        it((case[2] == "PROXY_HEADER" and "refuses " or "takes ") .. name, function()
            assert.equal(case[2], said(case[1]))
        end)
    end

    it("checks a checksum that is there", function()
        local zeros = v2(0x21, 0x11, IP4 .. tlv(4, "pad") .. tlv(3, "\0\0\0\0") .. tlv(2, "x"))
        local sum = crc32c(zeros)
        assert.equal("\xe3\x06\x92\x83", crc32c("123456789")) -- the published check value
        local right = v2(0x21, 0x11, IP4 .. tlv(4, "pad") .. tlv(3, sum) .. tlv(2, "x"))
        assert.equal("1.2.3.4:1234 5.6.7.8:80", said(right))
        assert.equal("PROXY_HEADER", said((right:gsub("pad", "paD"))))
    end)

    it("shows its TLVs", function()
        local _, keep, bytes = parse(v2(0x21, 0x11, IP4 .. tlv(1, "h2") .. tlv(2, "a.example")
            .. tlv(0xe0, "")))
        assert.equal(tlv(1, "h2") .. tlv(2, "a.example") .. tlv(0xe0, ""), bytes)
        local rest, kind, value = ffi.new("rp_str[1]", h.tlvs), ffi.new("uint8_t[1]"),
            ffi.new("rp_str[1]")
        local found = {}
        while C.rp_proxy_tlv_next(rest, kind, value) do
            found[#found + 1] = kind[0] .. "=" .. c.lua(value[0])
        end
        assert.same({ "1=h2", "2=a.example", "224=" }, found)
        assert(keep)
    end)

    -- ------------------------------------------------------------ pieces, and what follows

    local WHOLE = {
        "PROXY TCP4 1.2.3.4 5.6.7.8 1234 80\r\n", "PROXY UNKNOWN\r\n",
        "PROXY TCP6 2001:db8::1 ::1 1234 443\r\n", v2(0x21, 0x11, IP4), v2(0x20, 0, ""),
        v2(0x21, 0x21, IP6 .. tlv(2, "a.example")),
    }

    it("asks for more at every cut, and takes nothing behind it", function()
        for _, header in ipairs(WHOLE) do
            for n = 0, #header - 1 do
                assert.equal("AGAIN", (parse(header:sub(1, n))))
            end
            assert.equal("OK", (parse(header .. "GET / HTTP/1.1\r\n\r\n")))
            assert.equal(#header, tonumber(used[0]))
            assert.equal("OK", (parse(header .. header)))
            assert.equal(#header, tonumber(used[0]))
        end
    end)

    it("knows early that there is none", function()
        for _, start in ipairs { "G", "PO", "PROXX", "\r\n\r\nG", "\22\3\1", " PROXY" } do
            assert.equal("PROXY_HEADER", (parse(start)))
        end
    end)

    -- ------------------------------------------------------------ writing

    local function addr(text)
        local a = ffi.new("struct rp_addr")
        assert.equal(0, C.rp_addr_parse(c.str(text), a))
        return a
    end

    local function put(version, from, to)
        local out = ffi.new("char[?]", C.RP_PROXY_PUT_MOST)
        return ffi.string(out, C.rp_proxy_header_put(version, from, to, out))
    end

    it("writes version 1", function()
        assert.equal("PROXY TCP4 1.2.3.4 5.6.7.8 1234 80\r\n",
            put(1, addr("1.2.3.4:1234"), addr("5.6.7.8:80")))
        assert.equal("PROXY TCP6 2001:db8::1 ::1 65535 443\r\n",
            put(1, addr("[2001:db8::1]:65535"), addr("[::1]:443")))
        assert.equal("PROXY TCP6 2001:db8::1 ::ffff:10.0.0.1 1 2\r\n",
            put(1, addr("[2001:db8::1]:1"), addr("10.0.0.1:2")))
        assert.equal("PROXY UNKNOWN\r\n", put(1, addr("1.2.3.4:1"), addr("unix:/x")))
        assert.equal("PROXY UNKNOWN\r\n", put(1, ffi.new("struct rp_addr"), addr("1.2.3.4:1")))
    end)

    it("writes version 2", function()
        assert.equal(v2(0x21, 0x11, IP4), put(2, addr("1.2.3.4:1234"), addr("5.6.7.8:80")))
        assert.equal(v2(0x21, 0x21, IP6), put(2, addr("[2001:db8::1]:65535"), addr("[::1]:443")))
        assert.equal(v2(0x21, 0, ""), put(2, addr("unix:/x"), addr("1.2.3.4:1")))
    end)

    it("reads what it writes, within the longest line", function()
        local longest = "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"
        for _, pair in ipairs { { "1.2.3.4:1", "5.6.7.8:2" }, { longest, longest },
            { longest, "255.255.255.255:65535" }, { "255.255.255.255:65535", longest },
            { "0.0.0.0:0", "[::]:0" } } do
            for version = 1, 2 do
                local bytes = put(version, addr(pair[1]), addr(pair[2]))
                assert.is_true(#bytes <= 107)
                assert.equal(pair[1] .. " " .. pair[2], said(bytes))
            end
        end
    end)

    describe("TLVs", function()
        local function put_with(version, words)
            local from, to = addr("1.2.3.4:1234"), addr("5.6.7.8:80")
            local out = ffi.new("char[?]", C.RP_PROXY_ADD_MOST)
            local n = C.rp_proxy_header_put(version, from, to, out)
            local what = ffi.new("struct rp_proxy_said")
            for name, value in pairs(words) do
                what[name] = type(value) == "string" and c.str(value) or value
            end
            return ffi.string(out, C.rp_proxy_header_add(out, n, what))
        end

        it("are written behind the ends, and the length says so", function()
            assert.equal(v2(0x21, 0x11, IP4 .. tlv(1, "h2") .. tlv(2, "a.example") .. tlv(5, "id-1")),
                put_with(2, { unique_id = "id-1", authority = "a.example", alpn = "h2" }))
            assert.equal(v2(0x21, 0x11, IP4), put_with(2, {}))
        end)

        it("end in a sum over all that is right", function()
            local zeros = v2(0x21, 0x11, IP4 .. tlv(2, "a") .. tlv(3, "\0\0\0\0"))
            assert.equal(v2(0x21, 0x11, IP4 .. tlv(2, "a") .. tlv(3, crc32c(zeros))),
                put_with(2, { authority = "a", crc32c = true }))
            local bytes = put_with(2, { authority = "a", crc32c = true })
            assert.equal("1.2.3.4:1234 5.6.7.8:80", said(bytes))
            local kind = #bytes - 6 -- of the sum: flipped, it is none
            for i = 17, #bytes do
                if i == kind then i = i + 1 end
                local flipped = string.char(bit.bxor(bytes:byte(i), 1))
                assert.equal("PROXY_HEADER", (parse(bytes:sub(1, i - 1) .. flipped .. bytes:sub(i + 1))))
            end
        end)

        it("fit at their longest, and longer ones are left out", function()
            local most, more = ("x"):rep(255), ("x"):rep(256)
            local bytes = put_with(2, { authority = most, alpn = most, unique_id = most, crc32c = true })
            assert.equal("1.2.3.4:1234 5.6.7.8:80", said(bytes))
            assert.equal(16 + 12 + 3 * 258 + 7, #bytes)
            assert.equal(v2(0x21, 0x11, IP4), put_with(2, { authority = more, alpn = more }))
        end)

        it("are not for version 1", function()
            assert.equal("PROXY TCP4 1.2.3.4 5.6.7.8 1234 80\r\n",
                put_with(1, { authority = "a", crc32c = true }))
        end)

        it("with two sums are refused", function()
            local twice = IP4 .. tlv(3, "\0\0\0\0") .. tlv(3, "\0\0\0\0")
            assert.equal("PROXY_HEADER", (parse(v2(0x21, 0x11, twice))))
        end)
    end)
end)
