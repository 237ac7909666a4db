-- SPDX-License-Identifier: MIT
--
-- connect_allow: what entries mean, and that names open no address that is special.

local c = require("spec.support.c")

local ffi = c.ffi
local C = c.load { "proxy/connect_allow.h", "proxy/conf.h" }

describe("connect_allow", function()
    local arena, list, err

    before_each(function()
        arena = ffi.new("struct rp_arena")
        C.rp_arena_init(arena, nil, 0, 1e6)
        list = C.rp_connect_allow_make(arena)
        err = ffi.new("struct rp_conf_error")
    end)
    after_each(function() C.rp_arena_reset(arena) end)

    local function add(...)
        for _, text in ipairs { ... } do
            assert.equal("OK", c.err_name(C.rp_connect_allow_add(list, c.str(text), err)), text)
        end
    end

    local function deny(text)
        assert.equal("OK", c.err_name(C.rp_connect_allow_deny(list, c.str(text), err)))
    end

    -- "name" (to be resolved), the address, or nil when it is denied.
    local function check(host, port)
        local literal = ffi.new("struct rp_addr")
        local e = c.err_name(C.rp_connect_allow_check(list, c.str(host), port, literal))
        if e == "CONNECT_DENIED" then return nil end
        assert.equal("OK", e)
        if literal.family == C.RP_ADDR_NONE then return "name" end
        local out = ffi.new("char[128]")
        return ffi.string(out, C.rp_addr_put(literal, out))
    end

    -- May a name that is allowed resolve to this?
    local function may_be(ip, port)
        local a = ffi.new("struct rp_addr")
        assert.equal("OK", c.err_name(C.rp_addr_parse_ip(c.str(ip), a)), ip)
        a.port = port or 443
        return C.rp_connect_allow_has(list, a)
    end

    it("takes a name with its port, in any case and with a final dot", function()
        add("db.internal:5432")
        assert.equal("name", check("db.internal", 5432))
        assert.equal("name", check("DB.Internal.", 5432))
        for _, other in ipairs { "xdb.internal", "db.internal.evil", "internal", "a.db.internal" } do
            assert.is_nil(check(other, 5432), other)
        end
        assert.is_nil(check("db.internal", 5433))
    end)

    it("takes names below a suffix, not the suffix itself", function()
        add("*.svc.example:443")
        assert.equal("name", check("a.svc.example", 443))
        assert.equal("name", check("A.b.SVC.example.", 443))
        assert.is_nil(check("svc.example", 443))
        assert.is_nil(check("asvc.example", 443))
        assert.is_nil(check("a.svc.example.com", 443))
    end)

    it("takes ranges of ports, and any port where none is said", function()
        add("a.example:8000-8010", "b.example", "10.0.0.0/8:1-1024")
        assert.equal("name", check("a.example", 8000))
        assert.equal("name", check("a.example", 8010))
        assert.is_nil(check("a.example", 7999))
        assert.is_nil(check("a.example", 8011))
        assert.equal("name", check("b.example", 1))
        assert.equal("name", check("b.example", 65535))
        assert.equal("10.1.2.3:22", check("10.1.2.3", 22))
        assert.is_nil(check("10.1.2.3", 1025))
    end)

    it("takes addresses that are in its networks", function()
        add("10.0.0.0/8:22", "[fd00:1::/32]:22", "192.0.2.7", "2001:db8::/32", "[2001:db9::1]:5")
        assert.equal("10.255.0.1:22", check("10.255.0.1", 22))
        assert.is_nil(check("11.0.0.1", 22))
        assert.equal("10.0.0.1:22", check("[::ffff:10.0.0.1]", 22))
        assert.equal("[fd00:1::5]:22", check("[fd00:1::5]", 22))
        assert.is_nil(check("[fd00:2::5]", 22))
        assert.equal("192.0.2.7:9", check("192.0.2.7", 9))
        assert.is_nil(check("192.0.2.8", 9))
        assert.equal("[2001:db8::9]:80", check("[2001:db8::9]", 80))
        assert.equal("[2001:db9::1]:5", check("[2001:db9::1]", 5))
    end)

    it("does not let a name stand for an address, nor the reverse", function()
        add("a.example:443")
        assert.is_nil(check("192.0.2.1", 443))
        add("192.0.2.0/24:443")
        assert.is_nil(check("b.example", 443))
    end)

    it("opens special addresses only by an entry that lies within them", function()
        add("a.example", "0.0.0.0/0", "::/0")
        local special = { "127.0.0.1", "127.8.8.8", "0.0.0.0", "169.254.169.254", "169.254.0.1",
            "224.0.0.1", "255.255.255.255", "240.0.0.1", "100.100.100.200", "168.63.129.16", "::",
            "::1", "fe80::1", "ff02::1", "fd00:ec2::254", "::ffff:127.0.0.1", "::127.0.0.1" }
        for _, ip in ipairs(special) do
            assert.is_false(may_be(ip), ip)
            assert.is_nil(check(ip:find(":") and "[" .. ip .. "]" or ip, 443), ip)
        end
        for _, ip in ipairs { "10.0.0.1", "192.168.1.1", "8.8.8.8", "fd00::1", "2001:db8::1" } do
            assert.is_true(may_be(ip), ip)
        end
        add("127.0.0.1:5432", "169.254.169.254/32:80", "fe80::/10", "[::1]:1")
        assert.is_true(may_be("127.0.0.1", 5432))
        assert.is_false(may_be("127.0.0.1", 5433))
        assert.is_false(may_be("127.0.0.2", 5432))
        assert.is_true(may_be("169.254.169.254", 80))
        assert.is_true(may_be("fe80::5"))
        assert.is_true(may_be("::1", 1))
        assert.equal("127.0.0.1:5432", check("127.0.0.1", 5432))
    end)

    it("sees through addresses that carry others", function()
        add("a.example", "::/0")
        assert.is_false(may_be("64:ff9b::7f00:1"))     -- 127.0.0.1 by NAT64
        assert.is_false(may_be("64:ff9b::a9fe:a9fe"))  -- 169.254.169.254
        assert.is_false(may_be("2002:7f00:1::"))       -- by 6to4
        assert.is_false(may_be("64:ff9b:1::7f00:1"))   -- by a NAT64 of one's own
        assert.is_false(may_be("::ffff:0:7f00:1"))     -- by SIIT
        assert.is_true(may_be("64:ff9b:1::808:808"))
        assert.is_true(may_be("64:ff9b::808:808"))
    end)

    it("never reaches what is denied", function()
        add("a.example", "10.0.0.0/8")
        deny("10.1.0.0/16")
        deny("fd00::/8")
        assert.is_nil(check("10.1.2.3", 22))
        assert.is_false(may_be("10.1.2.3"))
        assert.is_false(may_be("fd00::1"))
        assert.is_false(may_be("64:ff9b::a01:203")) -- 10.1.2.3
        assert.equal("10.2.2.3:22", check("10.2.2.3", 22))
    end)

    it("refuses what is neither name nor network", function()
        local rows = { "", ":", ":443", "a.example:", "a.example:0", "a.example:65536",
            "a.example:9-8", "a.example:x", "a.example:1-", "a b:1", "*", "*:443", "*.", "a.*:1",
            "*.*.a", "10.0.0.0/33", "10.0.0.0/08", "10.0.0/8", "127.1", "2130706433", "10.0.0.1.:5",
            "[fd00::/8", "[fd00::/8]x", "[a.example]:1", "fd00::/129", "[fe80::1%lo]:1", "u@a:1",
            "http://a", "a/8", "*.1:443" }
        for _, text in ipairs(rows) do
            local e = C.rp_connect_allow_add(list, c.str(text), err)
            assert.equal("INVALID", c.err_name(e), text)
            assert.is_truthy(ffi.string(err.text):find(text, 1, true), text)
        end
        assert.equal("INVALID", c.err_name(C.rp_connect_allow_deny(list, c.str("a.example"), err)))
        assert.is_true(C.rp_connect_allow_is_empty(list))
    end)

    it("has a cap", function()
        for i = 1, 1024 do add("host" .. i .. ".example:443") end
        assert.equal("CAP", c.err_name(C.rp_connect_allow_add(list, c.str("one.more:1"), err)))
        assert.equal("name", check("host1024.example", 443))
    end)
end)
