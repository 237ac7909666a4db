-- SPDX-License-Identifier: MIT
--
-- flow: the table in which a datagram's session is found.

local c = require("spec.support.c")
local ffi = require("ffi")

local C = c.load { "proxy/flow.h", "net/addr.h" }

local function addr(text)
    local a = ffi.new("struct rp_addr")
    if text then assert(C.rp_addr_parse(c.str(text), a) == 0, text) end
    return a
end

local function key(client, at)
    local k = ffi.new("struct rp_flow_key")
    C.rp_flow_key_make(k, addr(client), addr(at))
    return k
end

describe("rp_flows", function()
    local t, all

    before_each(function()
        t, all = ffi.new("struct rp_flows"), {}
    end)

    after_each(function()
        for _, f in ipairs(all) do C.rp_flows_remove(t, f) end
        C.rp_flows_fini(t)
    end)

    local function add(client, at)
        local f = ffi.new("struct rp_flow")
        f.key = key(client, at)
        C.rp_flows_add(t, f)
        all[#all + 1] = f
        return f
    end

    local function find(client, at) return C.rp_flows_find(t, key(client, at)) end

    it("finds nothing while it is empty", function()
        assert.is_true(find("127.0.0.1:1") == nil)
        C.rp_flows_remove(t, ffi.new("struct rp_flow"))
    end)

    it("tells clients apart by address, port, family, zone and our own address", function()
        local apart = { { "10.0.0.1:5" }, { "10.0.0.1:6" }, { "10.0.0.2:5" }, { "[fd00::1]:5" },
            { "[fe80::1%1]:5" }, { "[fe80::1%2]:5" }, { "10.0.0.1:5", "10.9.9.1:53" },
            { "10.0.0.1:5", "10.9.9.2:53" } }
        for _, ends in ipairs(apart) do
            assert.is_true(find(ends[1], ends[2]) == nil)
            add(ends[1], ends[2])
        end
        for i, ends in ipairs(apart) do
            assert.is_true(find(ends[1], ends[2]) == all[i], ends[1])
        end
        assert.equal(#apart, t.n)
    end)

    it("does not look at our port", function()
        local f = add("10.0.0.1:5", "10.9.9.1:53")
        assert.is_true(find("10.0.0.1:5", "10.9.9.1:54") == f)
    end)

    it("grows, forgets and is found in again", function()
        local N = 5000
        local function client(i) return ("10.%d.%d.1:%d"):format(i / 250, i % 250, 1000 + i) end
        for i = 1, N do add(client(i)) end
        assert.equal(N, t.n)
        assert.is_true(t.slots_n >= N and t.slots_n <= 2 * N)
        for i = 1, N, 2 do C.rp_flows_remove(t, all[i]) end
        for i = 1, N do
            local expected = i % 2 == 0 and all[i] or nil
            assert.is_true(find(client(i)) == expected, i)
        end
        C.rp_flows_remove(t, all[1]) -- not in any more: nothing
        assert.equal(N / 2, t.n)
    end)
end)
