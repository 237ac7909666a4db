-- SPDX-License-Identifier: MIT
--
-- lookup_line: what the lines of a set's file may be.

local c = require("spec.support.c")

local ffi, s = c.ffi, c.str
local C = c.load { "script/lookup_line.h", "net/addr.h" }

local NETS, TEXTS, DOMAINS, LINES = 1, 2, 3, 4

describe("script/lookup_line", function()
    local zone, set
    local hit = ffi.new("struct rp_lookup_hit")

    before_each(function()
        zone, set = ffi.new("struct rp_zone *[1]"), ffi.new("struct rp_lookup *[1]")
        assert.equal(0, C.rp_zone_new(s "zone", 65536, zone))
        assert.equal(0, C.rp_lookup_new(zone[0], set))
    end)
    after_each(function()
        C.rp_lookup_free(set)
        C.rp_zone_free(zone)
    end)

    -- The set of these lines, or the error of the first that is refused.
    local function read(kind, ...)
        local m = ffi.new("struct rp_lookup_maker *[1]")
        assert.equal(0, C.rp_lookup_begin(set[0], kind, m))
        for _, line in ipairs { ... } do
            local e = C.rp_lookup_line_add(m[0], kind, s(line))
            if e ~= 0 then
                C.rp_lookup_drop(m, nil)
                return c.err_name(e)
            end
        end
        local id = ffi.new("struct rp_lookup_id", { type = kind })
        return c.err_name(C.rp_lookup_publish(m, id, 1))
    end

    local function find(fn, key)
        local e = C[fn](set[0], s(key), hit)
        return e == 0 and ffi.string(hit.value, hit.value_n) or c.err_name(e)
    end

    it("takes networks with a value and a comment", function()
        assert.equal("OK", read(NETS, "", "# all", "; of them", "  10.0.0.0/8\thome sweet home # here",
            "192.0.2.1\r", "2001:db8::/32;x", "\t"))
        local a = ffi.new("struct rp_addr")
        for ip, wanted in pairs { ["10.1.1.1"] = "home sweet home", ["192.0.2.1"] = "",
            ["2001:db8::1"] = "", ["192.0.2.2"] = "NOT_FOUND" } do
            assert.equal(0, C.rp_addr_parse_ip(s(ip), a))
            local e = C.rp_lookup_net(set[0], a.ip, hit)
            assert.equal(wanted, e == 0 and ffi.string(hit.value, hit.value_n) or c.err_name(e))
        end
        for _, bad in ipairs { "10.0.0.0/33", "10.0.0", "[::1]", "::1%eth0", "a 10.0.0.0/8", "1.2.3.4/08",
            "10.0.0.0/8\0", "10.0.0.0/8 " .. ("v"):rep(256), "10.0.0.0 /8" .. ("x"):rep(300) } do
            assert.equal("INVALID", read(NETS, bad), bad)
        end
    end)

    it("takes names of domains in the form that DNS has", function()
        assert.equal("OK", read(DOMAINS, "Example.COM one", "*.a.test. two", ".b.test", "_x.c-d.test"))
        for name, value in pairs { ["example.com"] = "one", ["x.a.test"] = "two", ["b.test"] = "",
            ["_x.c-d.test"] = "", ["c-d.test"] = "NOT_FOUND" } do
            assert.equal(value, find("rp_lookup_domain", name))
        end
        for _, bad in ipairs { "*", ".", "a..b", "..", "a.*.b", "ex ample\0", "b\195\188cher.de",
            ("x"):rep(64),
            ("a."):rep(127) .. "aa", "http://x" } do
            assert.equal("INVALID", read(DOMAINS, bad), bad)
        end
    end)

    it("takes texts up to a tab, and lines as they are", function()
        assert.equal("OK", read(TEXTS, "Mozilla/5.0 (bad; bot) # 1\tvalue # 2\r", "#x", "plain"))
        assert.equal("value # 2", find("rp_lookup_text", "Mozilla/5.0 (bad; bot) # 1"))
        assert.equal("", find("rp_lookup_text", "plain"))
        assert.equal("NOT_FOUND", find("rp_lookup_text", "#x"))
        assert.equal("INVALID", read(TEXTS, "\tvalue"))
        assert.equal("INVALID", read(TEXTS, "a\0b"))
        assert.equal("OK", read(LINES, "^a\tb;#c$", "# no", ""))
        local version, out, n = ffi.new("uint64_t[1]"), ffi.new("char[8192]"), ffi.new("uint32_t[1]")
        assert.equal(0, C.rp_lookup_line(set[0], 0, version, out, n))
        assert.equal("^a\tb;#c$", ffi.string(out, n[0]))
        assert.equal("INVALID", read(LINES, ("x"):rep(8193)))
    end)
end)
