-- SPDX-License-Identifier: MIT

local net = require("spec.support.net")
local C, ffi, c = net.C, net.ffi, net.c

local NONE, IP4, IP6, UNIX = 0, 1, 2, 3

local function parse(fn, text)
    local a = ffi.new("struct rp_addr")
    ffi.fill(a, ffi.sizeof(a), 0xee)
    local e = fn(c.str(text), a)
    return e, a
end

local function ip(text)
    local e, a = parse(C.rp_addr_parse_ip, text)
    return e == 0 and a or nil, a
end

local function ip_text(a)
    local out = ffi.new("char[128]")
    local n = C.rp_addr_put_ip(a, out)
    return ffi.string(out, n)
end

describe("rp_addr_parse_ip", function()
    local good = {
        -- text, family, canonical text
        { "0.0.0.0", IP4, "0.0.0.0" },
        { "1.2.3.4", IP4, "1.2.3.4" },
        { "255.255.255.255", IP4, "255.255.255.255" },
        { "::", IP6, "::" },
        { "::1", IP6, "::1" },
        { "[::1]", IP6, "::1" },
        { "2001:DB8::A", IP6, "2001:db8::a" },
        { "2001:db8:0:0:0:0:0:a", IP6, "2001:db8::a" },
        { "1:2:3:4:5:6:7:8", IP6, "1:2:3:4:5:6:7:8" },
        { "1:2:3:4:5:6:7::", IP6, "1:2:3:4:5:6:7:0" },
        { "64:ff9b::1.2.3.4", IP6, "64:ff9b::102:304" },
        { "::ffff:1.2.3.4", IP4, "1.2.3.4" },
        { "[::ffff:102:304]", IP4, "1.2.3.4" },
        { "fe80::1%1", IP6, "fe80::1%1" },
        { "fe80::1%lo", IP6, "fe80::1%1" },
        { "[febf::1%3]", IP6, "febf::1%3" },
        { "ff02::1%2", IP6, "ff02::1%2" },
        { "fe80::1", IP6, "fe80::1" },
    }
    for _, row in ipairs(good) do
        it("takes " .. row[1], function()
            local a = ip(row[1])
            assert.is_truthy(a)
            assert.equal(row[2], a.family)
            assert.equal(row[3], ip_text(a))
            assert.equal(0, a.port)
        end)
    end

    local bad = {
        "", " ", "1.2.3", "1.2.3.", ".1.2.3", "1.2.3.4.5", "1.2.3.256", "01.2.3.4", "1.2.3.04",
        "1.2.3.4 ", " 1.2.3.4", "1.2.3.4\n", "1.2.3.4\0", "1.2.3.4:80", "0x1.2.3.4", "1.2.3.a",
        "16909060", "1..2.3", "-1.2.3.4", "+1.2.3.4", "1.2.3.4/8", "1e1.2.3.4", "localhost",
        ":", ":::", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "1::2::3", "12345::", "g::", "::1 ",
        "1:2:3:4:5:6:7:8::", ":1:2:3:4:5:6:7", "::1.2.3", "::1.2.3.4.5", "::01.2.3.4", "::1/128",
        "[::1", "::1]", "[]", "[", "]", "[1.2.3.4]", "[::1]:80", "[[::1]]", "[ ::1]",
        "fe80::1%", "fe80::1%0", "fe80::1%nosuchif0", "fe80::1%4294967296", "::1%1",
        "2001:db8::1%lo",
        "::ffff:1.2.3.4%1", "fe80::1%averyverylonginterfacename", "fe80::1%1%2",
        "unix:/x", "*", ("1"):rep(500), ("::"):rep(100), "::\0001",
    }
    for _, text in ipairs(bad) do
        it("refuses " .. ("%q"):format(text):sub(1, 40), function()
            local a, raw = ip(text)
            assert.is_nil(a)
            assert.equal(NONE, raw.family)
        end)
    end

    it("keeps IPv4 in the last four bytes", function()
        local a = ip("1.2.3.4")
        assert.equal(("\0"):rep(10) .. "\255\255\1\2\3\4", ffi.string(a.ip, 16))
    end)
end)

describe("rp_addr_parse", function()
    local good = {
        { "1.2.3.4:80", IP4, 80, "1.2.3.4:80" },
        { "127.0.0.1:0", IP4, 0, "127.0.0.1:0" },
        { "127.0.0.1:65535", IP4, 65535, "127.0.0.1:65535" },
        { "*:8080", IP4, 8080, "0.0.0.0:8080" },
        { ":443", IP4, 443, "0.0.0.0:443" },
        { "[::]:80", IP6, 80, "[::]:80" },
        { "[2001:db8::1]:8443", IP6, 8443, "[2001:db8::1]:8443" },
        { "[::ffff:1.2.3.4]:9", IP4, 9, "1.2.3.4:9" },
        { "[fe80::1%1]:80", IP6, 80, "[fe80::1%1]:80" },
        { "unix:/run/a.sock", UNIX, 0, "unix:/run/a.sock" },
        { "unix:@name", UNIX, 0, "unix:@name" },
        { "unix:/a:80", UNIX, 0, "unix:/a:80" },
        { "unix:/" .. ("p"):rep(106), UNIX, 0, "unix:/" .. ("p"):rep(106) },
    }
    for _, row in ipairs(good) do
        it("takes " .. row[1]:sub(1, 40), function()
            local e, a = parse(C.rp_addr_parse, row[1])
            assert.equal("OK", c.err_name(e))
            assert.equal(row[2], a.family)
            assert.equal(row[3], a.port)
            assert.equal(row[4], net.text(a))
        end)
    end

    local bad = {
        "", ":", "*", "*:", "1.2.3.4", "1.2.3.4:", "1.2.3.4:65536", "1.2.3.4:99999999999999999999",
        "1.2.3.4:080", "1.2.3.4:+80", "1.2.3.4: 80", "1.2.3.4:80 ", "1.2.3.4:http", "1.2.3.4:8 0",
        "::1:80", "[::1]", "[::1]80", "[::1]:", "[1.2.3.4]:80", "::", "[*]:80", "**:80",
        "localhost:80", "1.2.3:80", "unix:", "unix:/", "unix:@", "unix:relative", "unix:/a\0b",
        "unix:/" .. ("p"):rep(107), "UNIX:/a", "1.2.3.4:-1", "http://1.2.3.4:80",
    }
    for _, text in ipairs(bad) do
        it("refuses " .. ("%q"):format(text):sub(1, 40), function()
            local e, a = parse(C.rp_addr_parse, text)
            assert.equal("INVALID", c.err_name(e))
            assert.equal(NONE, a.family)
        end)
    end
end)

describe("rp_addr_eq", function()
    local cases = {
        { "1.2.3.4:80", "1.2.3.4:80", true },
        { "1.2.3.4:80", "[::ffff:1.2.3.4]:80", true },
        { "1.2.3.4:80", "1.2.3.4:81", false },
        { "1.2.3.4:80", "1.2.3.5:80", false },
        { "0.0.0.0:80", "[::]:80", false },
        { "[fe80::1%1]:80", "[fe80::1%2]:80", false },
        { "unix:/a", "unix:/a", true },
        { "unix:/a", "unix:/b", false },
        { "unix:/a", "unix:@a", false },
        { "unix:/a", "1.2.3.4:80", false },
    }
    for _, row in ipairs(cases) do
        it(("says %s of %s and %s"):format(row[3], row[1], row[2]), function()
            assert.equal(row[3], C.rp_addr_eq(net.addr(row[1]), net.addr(row[2])))
            assert.equal(row[3], C.rp_addr_eq(net.addr(row[2]), net.addr(row[1])))
        end)
    end
end)

describe("rp_addr_put", function()
    it("writes nothing for no address", function()
        local a = ffi.new("struct rp_addr")
        assert.equal("", net.text(a))
        assert.equal("", ip_text(a))
    end)
    it("writes the path of a unix address as its ip", function()
        assert.equal("/run/x", ip_text(net.addr("unix:/run/x")))
    end)
end)
