-- SPDX-License-Identifier: MIT

local net = require("spec.support.net")
local C, ffi, c = net.C, net.ffi, net.c

describe("rp_cidr_set", function()
    local arena

    before_each(function()
        arena = ffi.new("struct rp_arena")
        C.rp_arena_init(arena, nil, 0, 64 * 1024 * 1024)
    end)
    after_each(function() C.rp_arena_reset(arena) end)

    local function add(set, text)
        return c.err_name(C.rp_cidr_set_add(set, c.str(text)))
    end

    local function has(set, text)
        local a = ffi.new("struct rp_addr")
        assert.equal(0, C.rp_addr_parse_ip(c.str(text), a))
        return C.rp_cidr_set_has(set, a)
    end

    local function set_of(list)
        local set = C.rp_cidr_set_make(arena, #list)
        for _, text in ipairs(list) do
            assert.equal("OK", add(set, text))
        end
        return set
    end

    local cases = {
        { { "10.0.0.0/8" },
            yes = { "10.0.0.0", "10.255.255.255", "10.1.2.3", "::ffff:10.1.2.3" },
            no = { "9.255.255.255", "11.0.0.0", "::a00:1", "::" } },
        { { "1.2.3.4" }, yes = { "1.2.3.4" }, no = { "1.2.3.3", "1.2.3.5" } },
        { { "1.2.3.4/32" }, yes = { "1.2.3.4" }, no = { "1.2.3.3", "1.2.3.5" } },
        { { "1.2.3.4/31" }, yes = { "1.2.3.4", "1.2.3.5" }, no = { "1.2.3.3", "1.2.3.6" } },
        { { "0.0.0.0/0" }, yes = { "0.0.0.0", "255.255.255.255", "::ffff:1.2.3.4" },
            no = { "::", "::1", "ffff::" } },
        { { "::/0" }, yes = { "::", "::1", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff" },
            no = { "0.0.0.0", "1.2.3.4", "::ffff:1.2.3.4" } },
        { { "0.0.0.0/1" }, yes = { "0.0.0.0", "127.255.255.255" }, no = { "128.0.0.0" } },
        { { "fd00::/8" }, yes = { "fd00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff" },
            no = { "fc00::", "fe00::", "253.0.0.1" } },
        { { "2001:db8::/127" }, yes = { "2001:db8::", "2001:db8::1" }, no = { "2001:db8::2" } },
        { { "2001:db8::1/128" }, yes = { "2001:db8::1" }, no = { "2001:db8::", "2001:db8::2" } },
        { { "2001:db8:0:8000::/49" }, yes = { "2001:db8:0:8000::", "2001:db8:0:ffff::1" },
            no = { "2001:db8:0:7fff::", "2001:db8:1::" } },
        { { "::ffff:10.0.0.0/104" }, yes = { "10.1.2.3", "::ffff:10.9.9.9" }, no = { "11.0.0.1" } },
        { { "::ffff:1.2.3.4" }, yes = { "1.2.3.4" }, no = { "1.2.3.5" } },
        { { "10.1.2.3/8" }, yes = { "10.0.0.0", "10.255.255.255" }, no = { "11.0.0.0" } },
        -- one within another, in both orders, and its hole: a plain search would miss the outer one
        { { "10.0.0.0/8", "10.1.0.0/16", "10.1.1.0/24" },
            yes = { "10.0.0.1", "10.1.1.1", "10.2.0.0" },
            no = { "11.0.0.0" } },
        { { "10.1.1.0/24", "10.0.0.0/8" }, yes = { "10.1.2.0", "10.255.0.1" }, no = { "9.0.0.1" } },
        { { "1.1.1.1", "1.1.1.1", "1.1.1.1" }, yes = { "1.1.1.1" }, no = { "1.1.1.2" } },
        { { "fd00::/8", "fd00:1::/32", "192.168.0.0/16", "10.0.0.0/8" },
            yes = { "fd12::1", "192.168.255.1", "10.0.0.1" }, no = { "192.169.0.0", "fe80::1" } },
        { {}, yes = {}, no = { "0.0.0.0", "::" } },
    }
    for _, row in ipairs(cases) do
        it("of " .. (table.concat(row[1], " ") .. " (" .. #row[1] .. ")"), function()
            local set = set_of(row[1])
            for _, text in ipairs(row.yes) do
                assert.is_true(has(set, text), text)
            end
            for _, text in ipairs(row.no) do
                assert.is_false(has(set, text), text)
            end
        end)
    end

    for _, text in ipairs { "", "/", "/8", "10.0.0.0/", "10.0.0.0/33", "::/129", "10.0.0.0/08",
        "10.0.0.0/-1", "10.0.0.0/8/8", "10.0.0/8", "10.0.0.0 /8", "10.0.0.0/ 8", "[::1]", "[::]/0",
        "fe80::1%1", "fe80::%1/64", "localhost", "10.0.0.0/255.0.0.0", "unix:/x",
        "::ffff:1.2.3.4/129", "::ffff:1.2.3.4/32", "::ffff:0:0/95" } do
        it("refuses " .. ("%q"):format(text), function()
            assert.equal("INVALID", add(C.rp_cidr_set_make(arena, 4), text))
        end)
    end

    it("refuses more than it was made for", function()
        local set = C.rp_cidr_set_make(arena, 2)
        assert.equal("OK", add(set, "10.0.0.0/8"))
        assert.equal("OK", add(set, "fd00::/8"))
        assert.equal("CAP", add(set, "11.0.0.0/8"))
        assert.is_false(has(set, "11.0.0.1"))
    end)

    it("says no for no set, no address and unix", function()
        local set = set_of { "0.0.0.0/0", "::/0" }
        assert.is_false(C.rp_cidr_set_has(nil, net.addr("1.2.3.4:1")))
        assert.is_false(C.rp_cidr_set_has(set, net.addr("unix:/a")))
        assert.is_false(C.rp_cidr_set_has(set, ffi.new("struct rp_addr")))
    end)

    it("agrees with a plain walk over 10000 random networks", function()
        math.randomseed(42)
        local list, bits_of, base_of = {}, {}, {}
        for i = 1, 10000 do
            local n, bits = math.random(0, 2 ^ 32 - 1), math.random(14, 32)
            bits_of[i], base_of[i] = bits, math.floor(n / 2 ^ (32 - bits))
            list[i] = ("%d.%d.%d.%d/%d"):format(math.floor(n / 2 ^ 24),
                math.floor(n / 2 ^ 16) % 256,
                math.floor(n / 2 ^ 8) % 256, n % 256, bits)
        end
        local set = set_of(list)
        local hits = 0
        for _ = 1, 300 do
            local n = math.random(0, 2 ^ 32 - 1)
            local want = false
            for i = 1, #list do
                if math.floor(n / 2 ^ (32 - bits_of[i])) == base_of[i] then want = true end
            end
            if want then hits = hits + 1 end
            assert.equal(want, has(set, ("%d.%d.%d.%d"):format(math.floor(n / 2 ^ 24),
                math.floor(n / 2 ^ 16) % 256, math.floor(n / 2 ^ 8) % 256, n % 256)))
        end
        assert.is_true(hits > 10 and hits < 290)
    end)
end)
