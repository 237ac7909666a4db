-- SPDX-License-Identifier: MIT
--
-- meter: connections in all and per client.

local c = require("spec.support.c")

local ffi = c.ffi
local C = c.load { "net/meter.h", "net/addr.h" }

describe("meter", function()
    local m, passes

    before_each(function()
        m, passes = ffi.new("struct rp_meter"), {}
        C.rp_meter_init(m)
    end)

    after_each(function()
        for _, pass in ipairs(passes) do C.rp_meter_leave(pass) end
        assert.equal(0, m.conns_n)
        assert.equal(0, m.clients_n)
        C.rp_meter_fini(m) -- checks that nothing is left
    end)

    local function addr(text)
        local a = ffi.new("struct rp_addr")
        if text:find("^unix:") then
            assert.equal(0, C.rp_addr_parse(c.str(text), a))
        else
            assert.equal(0, C.rp_addr_parse_ip(c.str(text), a))
        end
        return a
    end

    local function enter(most)
        local pass = ffi.new("struct rp_meter_pass")
        local e = c.err_name(C.rp_meter_enter(m, most or 0, pass))
        passes[#passes + 1] = pass
        return e, pass
    end

    local function join(text, most)
        local _, pass = enter()
        return c.err_name(C.rp_meter_join(pass, addr(text), most or 0)), pass
    end

    it("lets as many in as the limit says, and again when one leaves", function()
        local _, first = enter(2)
        assert.equal("OK", (enter(2)))
        assert.equal("CONNS_MANY", (enter(2)))
        assert.equal(2, m.conns_n)
        C.rp_meter_leave(first)
        assert.equal("OK", (enter(2)))
        assert.equal("CONNS_MANY", (enter(2)))
        assert.equal("OK", (enter(0)))
    end)

    it("gives a pass back once, and none for none", function()
        local _, pass = join("1.2.3.4")
        C.rp_meter_leave(pass)
        C.rp_meter_leave(pass)
        C.rp_meter_leave(ffi.new("struct rp_meter_pass"))
        assert.equal(0, m.conns_n)
    end)

    it("counts each IPv4 address alone, mapped ones too", function()
        assert.equal("OK", (join("1.2.3.4", 2)))
        assert.equal("OK", (join("::ffff:1.2.3.4", 2)))
        assert.equal("CONNS_CLIENT", (join("1.2.3.4", 2)))
        assert.equal("CONNS_CLIENT", (join("::ffff:1.2.3.4", 2)))
        assert.equal("OK", (join("1.2.3.5", 2)))
        assert.equal(2, m.clients_n)
    end)

    it("counts an IPv6 /64 as one client", function()
        assert.equal("OK", (join("2001:db8:1:2::1", 2)))
        assert.equal("OK", (join("2001:db8:1:2:ffff:ffff:ffff:ffff", 2)))
        assert.equal("CONNS_CLIENT", (join("2001:db8:1:2:1::", 2)))
        assert.equal("OK", (join("2001:db8:1:3::1", 2)))
        assert.equal("OK", (join("::1", 1))) -- not a mapped address
    end)

    it("does not count what is no IP for a client", function()
        for _ = 1, 3 do assert.equal("OK", (join("unix:/x", 1))) end
        assert.equal(0, m.clients_n)
        assert.equal(3, m.conns_n)
    end)

    it("a refused client still holds its entry until it leaves", function()
        join("1.2.3.4", 1)
        local e, pass = join("1.2.3.4", 1)
        assert.equal("CONNS_CLIENT", e)
        assert.equal(2, m.conns_n)
        C.rp_meter_leave(pass)
        assert.equal(1, m.conns_n)
    end)

    it("keeps count of many clients that come and go in any order", function()
        local mine, seed = {}, 7
        local function random(n)
            seed = (seed * 1103515245 + 12345) % 2 ^ 31
            return math.floor(seed / 65536) % n
        end
        for _ = 1, 20000 do
            local key = ("10.%d.%d.1"):format(random(8), random(200))
            mine[key] = mine[key] or {}
            local list = mine[key]
            if #list > 0 and random(2) == 0 then
                C.rp_meter_leave(table.remove(list, random(#list) + 1))
            else
                local pass = ffi.new("struct rp_meter_pass")
                assert(C.rp_meter_enter(m, 0, pass) == 0)
                local e = C.rp_meter_join(pass, addr(key), 3)
                assert(c.err_name(e) == (#list >= 3 and "CONNS_CLIENT" or "OK"))
                if e == 0 then list[#list + 1] = pass else C.rp_meter_leave(pass) end
            end
        end
        local conns, clients = 0, 0
        for _, list in pairs(mine) do
            conns, clients = conns + #list, clients + (#list > 0 and 1 or 0)
            for _, pass in ipairs(list) do passes[#passes + 1] = pass end
        end
        assert.equal(conns, m.conns_n)
        assert.equal(clients, m.clients_n)
        assert.is_true(clients > 500)
    end)
end)
