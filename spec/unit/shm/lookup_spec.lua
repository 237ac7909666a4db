-- SPDX-License-Identifier: MIT
--
-- lookup: sets against a model, images that change while they are read, kills while one is made.

local c = require("spec.support.c")
local posix = require("spec.support.posix")

local ffi, s = c.ffi, c.str
local C = c.load { "shm/lookup.h", "net/addr.h" }

local NETS, TEXTS, DOMAINS, LINES = 1, 2, 3, 4

describe("lookup", function()
    local zone, set
    local hit, stats = ffi.new("struct rp_lookup_hit"), ffi.new("struct rp_lookup_stats")
    local ip, bits = ffi.new("uint8_t[16]"), ffi.new("uint32_t[1]")

    local function fresh(bytes)
        zone, set = ffi.new("struct rp_zone *[1]"), ffi.new("struct rp_lookup *[1]")
        assert.equal(0, C.rp_zone_new(s "zone", bytes or 1048576, zone))
        assert.equal(0, C.rp_lookup_new(zone[0], set))
    end
    after_each(function()
        if set then C.rp_lookup_free(set) end
        if zone then C.rp_zone_free(zone) end
        zone, set = nil, nil
    end)

    local function begin(kind)
        local m = ffi.new("struct rp_lookup_maker *[1]")
        local e = C.rp_lookup_begin(set[0], kind, m)
        return e == 0 and m or c.err_name(e)
    end
    local function publish(m, version)
        local id = ffi.new("struct rp_lookup_id", { type = 1, inode = version or 1 })
        return c.err_name(C.rp_lookup_publish(m, id, 7))
    end
    local function add_net(m, text, value)
        assert.equal(0, C.rp_cidr_parse(s(text), ip, bits))
        return c.err_name(C.rp_lookup_add_net(m[0], ip, bits[0], s(value or text)))
    end
    local function net(text)
        assert.equal(0, C.rp_cidr_parse(s(text), ip, bits))
        local e = C.rp_lookup_net(set[0], ip, hit)
        return e == 0 and ffi.string(hit.value, hit.value_n) or c.err_name(e)
    end
    local function text(key, fn)
        local e = C[fn or "rp_lookup_text"](set[0], s(key), hit)
        return e == 0 and ffi.string(hit.value, hit.value_n) or c.err_name(e)
    end

    it("finds the narrowest network, at every edge", function()
        fresh()
        assert.equal("NOT_FOUND", net("1.2.3.4"))
        local m = begin(NETS)
        assert.equal("AGAIN", begin(NETS)) -- one at a time
        for _, n in ipairs { "0.0.0.0/0", "10.0.0.0/8", "10.0.0.0/16", "10.0.0.0/32",
            "10.255.255.255", "255.255.255.255", "255.0.0.0/8", "::/0", "2001:db8::/32",
            "2001:db8::1", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "8000::/1" } do
            assert.equal("OK", add_net(m, n))
        end
        assert.equal("OK", add_net(m, "10.0.0.0/16", "again"))
        assert.equal("OK", publish(m))
        for address, wanted in pairs { ["0.0.0.0"] = "0.0.0.0/0", ["9.255.255.255"] = "0.0.0.0/0",
            ["10.0.0.0"] = "10.0.0.0/32", ["10.0.0.1"] = "again", ["10.0.255.255"] = "again",
            ["10.1.0.0"] = "10.0.0.0/8", ["10.255.255.254"] = "10.0.0.0/8",
            ["10.255.255.255"] = "10.255.255.255", ["11.0.0.0"] = "0.0.0.0/0",
            ["255.255.255.255"] = "255.255.255.255", ["255.255.255.254"] = "255.0.0.0/8",
            ["::"] = "::/0", ["2001:db8::"] = "2001:db8::/32", ["2001:db8::1"] = "2001:db8::1",
            ["2001:db8::2"] = "2001:db8::/32", ["2001:db9::"] = "::/0", ["8000::"] = "8000::/1",
            ["ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe"] = "8000::/1",
            ["ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"] =
                "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff" } do
            assert.equal(wanted, net(address), address)
        end
    end)

    it("agrees with a model on many networks, with an index and without", function()
        math.randomseed(11)
        for _, n in ipairs { 50, 3000, 20000 } do
            fresh(8 * 1048576)
            local m, model = begin(NETS), {}
            for _ = 1, n do
                local length = math.random(8, 32)
                local address = bit.tobit(math.random(0, 2 ^ 32 - 1))
                address = bit.band(address, bit.bnot(length == 32 and 0
                    or bit.rshift(-1, length)))
                model[length] = model[length] or {}
                local quad = ("%d.%d.%d.%d"):format(bit.band(bit.rshift(address, 24), 255),
                    bit.band(bit.rshift(address, 16), 255), bit.band(bit.rshift(address, 8), 255),
                    bit.band(address, 255))
                model[length][address] = true
                assert.equal("OK", add_net(m, quad .. "/" .. length, tostring(length)))
            end
            assert.equal("OK", publish(m))
            for _ = 1, 8000 do
                local address, wanted = bit.tobit(math.random(0, 2 ^ 32 - 1)), "NOT_FOUND"
                for length = 32, 8, -1 do
                    local base = bit.band(address, bit.bnot(length == 32 and 0
                        or bit.rshift(-1, length)))
                    if model[length] and model[length][base] then
                        wanted = tostring(length)
                        break
                    end
                end
                for i = 0, 15 do ip[i] = i > 9 and i < 12 and 255 or 0 end
                for i = 0, 3 do ip[12 + i] = bit.band(bit.rshift(address, 24 - i * 8), 255) end
                local e = C.rp_lookup_net(set[0], ip, hit)
                assert.equal(wanted, e == 0 and ffi.string(hit.value, hit.value_n)
                    or c.err_name(e))
            end
            C.rp_lookup_free(set)
            C.rp_zone_free(zone)
        end
        set, zone = nil, nil
    end)

    it("finds texts, the later one of two, and nothing else", function()
        fresh(8 * 1048576)
        local m = begin(TEXTS)
        for i = 1, 20000 do
            assert.equal(0, C.rp_lookup_add_text(m[0], s("key" .. i), s(i % 2 == 0 and "v" .. i or "")))
        end
        assert.equal(0, C.rp_lookup_add_text(m[0], s "key7", s "later"))
        assert.equal("INVALID", c.err_name(C.rp_lookup_add_text(m[0], s "", s "")))
        assert.equal("INVALID", c.err_name(C.rp_lookup_add_text(m[0], s(("k"):rep(1025)), s "")))
        assert.equal("INVALID", c.err_name(C.rp_lookup_add_text(m[0], s "k", s(("v"):rep(256)))))
        assert.equal("OK", publish(m))
        for i = 1, 20000 do
            assert.equal(i == 7 and "later" or i % 2 == 0 and "v" .. i or "", text("key" .. i))
            if i % 10 == 0 then assert.equal("NOT_FOUND", text("nokey" .. i)) end
        end
        assert.equal("NOT_FOUND", text(""))
        assert.equal("NOT_FOUND", text(("k"):rep(5000)))
        assert.equal("NOT_FOUND", net("1.2.3.4")) -- not of that type
    end)

    it("finds the longest domain, and gives lines in order", function()
        fresh()
        local m = begin(DOMAINS)
        for _, n in ipairs { "example.com", "a.example.com", "com" } do
            assert.equal(0, C.rp_lookup_add_text(m[0], s(n), s(n)))
        end
        publish(m)
        local function domain(name) return text(name, "rp_lookup_domain") end
        assert.equal("a.example.com", domain("x.A.example.com"))
        assert.equal("example.com", domain("b.example.com."))
        assert.equal("com", domain("xexample.com"))
        assert.equal("NOT_FOUND", domain("org"))
        assert.equal("NOT_FOUND", domain("."))
        assert.equal("NOT_FOUND", domain(("a."):rep(500) .. "com"))
        m = begin(LINES)
        for i = 1, 3 do assert.equal(0, C.rp_lookup_add_text(m[0], s("line" .. i), s "")) end
        publish(m, 2)
        local version, out, n = ffi.new("uint64_t[1]"), ffi.new("char[8192]"), ffi.new("uint32_t[1]")
        for i = 1, 3 do
            assert.equal(0, C.rp_lookup_line(set[0], i - 1, version, out, n))
            assert.equal("line" .. i, ffi.string(out, n[0]))
        end
        assert.equal("NOT_FOUND", c.err_name(C.rp_lookup_line(set[0], 3, version, out, n)))
        version[0] = 1
        assert.equal("BUSY", c.err_name(C.rp_lookup_line(set[0], 0, version, out, n)))
    end)

    it("refuses what does not fit, and keeps what it has", function()
        fresh(65536)
        local m = begin(TEXTS)
        assert.equal(0, C.rp_lookup_add_text(m[0], s "old", s "1"))
        assert.equal("OK", publish(m))
        m = begin(TEXTS)
        local e, i = 0, 0
        while e == 0 and i < 1e5 do
            i = i + 1
            e = C.rp_lookup_add_text(m[0], s("key" .. i), s(("v"):rep(20)))
        end
        assert.equal("CAP", c.err_name(e))
        assert.equal("CAP", publish(m, 2)) -- the table of hashes has no room any more
        assert.equal("1", text("old"))
        m = begin(TEXTS)
        local bad = ffi.new("struct rp_lookup_id", { type = 1, inode = 9 })
        assert.is_false(C.rp_lookup_is_bad(set[0], bad))
        C.rp_lookup_drop(m, bad)
        assert.is_true(C.rp_lookup_is_bad(set[0], bad))
        assert.equal("1", text("old"))
    end)

    it("is whole whenever it is read, while others make new ones and are killed", function()
        fresh(4 * 1048576)
        local function make(round)
            local m = begin(TEXTS)
            if type(m) == "string" then return end
            for i = 1, 500 do
                C.rp_lookup_add_text(m[0], s("key" .. i), s("round" .. round))
            end
            publish(m, round)
        end
        make(1)
        for round = 1, 100 do
            local pid = posix.C.fork()
            if pid == 0 then
                local i = round * 1000
                while true do
                    i = i + 1
                    make(i)
                end
            end
            for i = 1, 200 do assert.matches("^round%d+$", text("key" .. i)) end
            posix.kill(pid, "KILL")
            posix.wait(pid, 5)
            local value = text("key1")
            assert.matches("^round%d+$", value)
            for i = 2, 500 do assert.equal(value, text("key" .. i)) end
        end
        make(7)
        assert.equal("round7", text("key500"))
    end)

    it("survives shared memory that holds nonsense", function()
        fresh(65536)
        local m = begin(NETS)
        for i = 0, 250 do add_net(m, ("10.%d.0.0/16"):format(i)) end
        publish(m)
        local base = ffi.cast("uint8_t *", zone[0].head) + tonumber(zone[0].head.parts[0].at) + 512
        math.randomseed(3)
        for _ = 1, 20000 do
            base[math.random(0, 20000)] = math.random(0, 255)
            net(("10.%d.1.1"):format(math.random(0, 255)))
            text("k")
            C.rp_lookup_stats(set[0], stats)
        end
    end)
end)
