-- SPDX-License-Identifier: MIT
--
-- field: names, values, cookies, forwarding headers, weights.

local c = require("spec.support.c")

local ffi = c.ffi
local C = c.load { "http/field.h", "net/addr.h" }

describe("field grammar", function()
    it("knows names", function()
        for _, s in ipairs { "a", "Host", "x-y_z", "!#$%&'*+-.^_`|~09" } do
            assert.is_true(C.rp_field_is_name(c.str(s)), s)
        end
        for _, s in ipairs { "", " ", "a b", "a:", "a\0", "\195\169", "(a)", "a\r", "a/b",
            "a\127" } do
            assert.is_false(C.rp_field_is_name(c.str(s)), s)
        end
    end)

    it("knows values", function()
        for _, s in ipairs { "", "a", "a b\tc", "\195\169", ("v"):rep(100), "\"q\"" } do
            assert.is_true(C.rp_field_is_value(c.str(s)), s)
        end
        for _, s in ipairs { " ", " a", "a ", "\ta", "a\t", "a\nb", "a\r\nb: c", "a\0", "a\127",
            ("v"):rep(40) .. "\1v" } do
            assert.is_false(C.rp_field_is_value(c.str(s)), s)
        end
    end)
end)

describe("field cookies", function()
    local function cookie(line, name)
        return c.lua(C.rp_field_cookie(c.str(line), c.str(name)))
    end

    it("finds the first of that name", function()
        local rows = {
            { "a=1; b=2; c=3", "b", "2" }, { "a=1; b=2", "a", "1" }, { "a=1;b=2", "b", "2" },
            { " a = 1 ;b= 2 ", "a", "1" },
            { " a = 1 ;b= 2 ", "b", "2" }, { "a=1; a=2", "a", "1" }, { "ab=1; a=2", "a", "2" },
            { "a=", "a", "" },
            { "a=x=y", "a", "x=y" }, { "a=\"q\"", "a", "\"q\"" }, { ";;a=1;;", "a", "1" },
            { "a; b=2", "b", "2" },
            { "A=1", "a", nil }, { "a=1", "b", nil }, { "", "a", nil }, { "a", "a", nil },
            { "b=a=1", "a", nil },
            { "xa=1", "a", nil }, { "a=1, b=2", "b", nil },
        }
        for _, row in ipairs(rows) do
            assert.equal(row[3], cookie(row[1], row[2]), row[1])
        end
    end)
end)

describe("field forwarding", function()
    local arena, trusted, keep

    local function addr(text)
        local a = ffi.new("struct rp_addr")
        assert.equal(0, C.rp_addr_parse_ip(c.str(text), a))
        return a
    end

    local function text(a)
        local buf = ffi.new("char[128]")
        return ffi.string(buf, C.rp_addr_put_ip(a, buf))
    end

    local function run(fn, list, conn, set)
        local out = ffi.new("struct rp_addr")
        local view = c.str(list)
        local e = c.err_name(fn(view, addr(conn or "10.0.0.1"), set or trusted, out))
        return text(out), e, out.port
    end

    local function xff(list, conn, set)
        return run(C.rp_field_forwarded_for, list, conn, set)
    end

    local function fwd(list, conn, set)
        return run(C.rp_field_forwarded, list, conn, set)
    end

    before_each(function()
        arena = ffi.new("struct rp_arena")
        C.rp_arena_init(arena, nil, 0, 64 * 1024)
        trusted = C.rp_cidr_set_make(arena, 4)
        keep = { c.str("10.0.0.0/8"), c.str("fd00::/8") }
        for _, net in ipairs(keep) do
            assert.equal(0, C.rp_cidr_set_add(trusted, net))
        end
    end)

    after_each(function()
        C.rp_arena_reset(arena)
    end)

    it("believes nothing when the connection is not trusted", function()
        assert.same({ "8.8.8.8", "OK", 0 }, { xff("1.2.3.4", "8.8.8.8") })
        assert.same({ "8.8.8.8", "OK", 0 }, { fwd("for=1.2.3.4", "8.8.8.8") })
        assert.same({ "8.8.8.8", "OK", 0 }, { xff("rubbish", "8.8.8.8") })
        assert.same({ "8.8.8.8", "OK", 0 }, { fwd("rubbish", "8.8.8.8") })
        local none = C.rp_cidr_set_make(arena, 1)
        assert.same({ "10.0.0.1", "OK", 0 }, { xff("1.2.3.4", "10.0.0.1", none) })
    end)

    it("walks X-Forwarded-For from the right", function()
        local rows = {
            { "1.2.3.4", "1.2.3.4" }, { "6.6.6.6, 1.2.3.4", "1.2.3.4" },
            { "1.2.3.4, 10.0.0.2", "1.2.3.4" },
            { "6.6.6.6, 1.2.3.4, 10.0.0.2,10.0.0.3", "1.2.3.4" },
            { "10.0.0.9, 10.0.0.2", "10.0.0.9" },
            { "", "10.0.0.1" }, { " , ,", "10.0.0.1" }, { "1.2.3.4,", "1.2.3.4" },
            { ",1.2.3.4, ,", "1.2.3.4" },
            { "rubbish, 1.2.3.4", "1.2.3.4" }, { "2001:db8::1", "2001:db8::1" },
            { "[2001:db8::1]", "2001:db8::1" },
            { "1.2.3.4, fd00::7", "1.2.3.4" }, { "\t1.2.3.4\t", "1.2.3.4" },
        }
        for _, row in ipairs(rows) do
            assert.same({ row[2], "OK" }, { (xff(row[1])), (select(2, xff(row[1]))) }, row[1])
        end
    end)

    it("takes ports with addresses", function()
        assert.same({ "1.2.3.4", "OK", 5678 }, { xff("1.2.3.4:5678") })
        assert.same({ "2001:db8::1", "OK", 80 }, { xff("[2001:db8::1]:80") })
        assert.same({ "1.2.3.4", "OK", 0 }, { xff("1.2.3.4:99999") })
    end)

    it("stops at what is no address, with the last good one", function()
        for _, bad in ipairs { "unknown", "_hidden", "1.2.3", "1.2.3.4.5", "a.b.c.d", "unix:/x",
            "*:80", ":80", "[1.2.3.4]", "[::1", "[::1]x", "1.2.3.4 5.6.7.8", "1.2.3.4\0",
            "fe80::1%lo", "\"1.2.3.4\"", "256.1.1.1", "[]" } do
            assert.same({ "10.0.0.1", "INVALID" }, { (xff(bad)), (select(2, xff(bad))) }, bad)
            local list = bad .. ", 10.0.0.2"
            assert.same({ "10.0.0.2", "INVALID" }, { (xff(list)), (select(2, xff(list))) }, list)
        end
    end)

    it("walks Forwarded from the right", function()
        local rows = {
            { "for=1.2.3.4", "1.2.3.4", 0 }, { "For=1.2.3.4;proto=https;by=10.0.0.1", "1.2.3.4",
            0 },
            { "proto=http; for=1.2.3.4", "1.2.3.4", 0 }, { "for=\"1.2.3.4:99\"", "1.2.3.4", 99 },
            { "for=\"[2001:db8::1]:4711\"", "2001:db8::1", 4711 },
            { "for=\"[2001:db8::1]\"", "2001:db8::1", 0 },
            { "for=6.6.6.6, for=1.2.3.4, for=10.0.0.2", "1.2.3.4", 0 },
            { "for=\"1.2.3.4:_x\"", "1.2.3.4", 0 },
            { "for=1.2.3.4;host=\"a,b;for=6.6.6.6\"", "1.2.3.4", 0 }, { "", "10.0.0.1", 0 },
            { "for=10.0.0.3, for=10.0.0.2", "10.0.0.3", 0 },
        }
        for _, row in ipairs(rows) do
            assert.same({ row[2], "OK", row[3] }, { fwd(row[1]) }, row[1])
        end
        for _, bad in ipairs { "for=unknown", "for=_x", "proto=http", "for", "for=", "1.2.3.4",
            "for=\"1.2.3.4", "for=1.2.3.4;for=5.6.7.8", "for=\"\\1.2.3.4\"", "for = 1.2.3.4",
            ("for=10.0.0.1,"):rep(65) } do
            assert.same({ "10.0.0.1", "INVALID" }, { (fwd(bad)), (select(2, fwd(bad))) }, bad)
        end
    end)
end)

describe("field weights", function()
    it("reads the q of an item", function()
        local rows = {
            { "gzip", "gzip", 1000 }, { "gzip, br", "br", 1000 }, { "gzip;q=0.5", "gzip", 500 },
            { "gzip; q=0", "gzip", 0 },
            { "GZIP;Q=0.123", "gzip", 123 }, { "gzip;q=1.000", "gzip", 1000 },
            { "gzip;q=1.", "gzip", 1000 },
            { "gzip;q=0.", "gzip", 0 }, { "a;q=0.1, gzip;q=0.9", "gzip", 900 },
            { "gzip;level=9;q=0.2", "gzip", 200 },
            { "text/html;level=1;q=0.4", "text/html", 400 }, { "gzip ; q = 0.3", "gzip", 300 },
            { "a;x=\"gzip,b\"", "gzip", -1 },
            { "xgzip", "gzip", -1 }, { "", "gzip", -1 }, { "*", "gzip", -1 },
            { "*;q=0.1", "*", 100 },
            { "gzip;q=1.5", "gzip", 0 }, { "gzip;q=2", "gzip", 0 }, { "gzip;q=-1", "gzip", 0 },
            { "gzip;q=x", "gzip", 0 },
            { "gzip;q=", "gzip", 0 }, { "gzip;q=0.1234", "gzip", 0 }, { "gzip;q", "gzip", 0 },
            { "gzip;q=1.001", "gzip", 0 },
        }
        for _, row in ipairs(rows) do
            assert.equal(row[3], C.rp_field_weight(c.str(row[1]), c.str(row[2])), row[1])
        end
    end)
end)
