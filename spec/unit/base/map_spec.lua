-- SPDX-License-Identifier: MIT

local c = require("spec.support.c")
local support = require("spec.unit.base.support")
local C = c.load { "base/map.h" }
local ffi, s = c.ffi, c.str

local function new_map(cap)
    local m = ffi.gc(ffi.new("struct rp_map"), C.rp_map_fini)
    C.rp_map_init(m, cap)
    return m
end

local function set(m, key, n)
    return c.err_name(C.rp_map_set(m, s(key), ffi.cast("void *", n)))
end

local function number(p)
    return p ~= nil and tonumber(ffi.cast("intptr_t", p)) or nil
end

local function find(m, key)
    return number(C.rp_map_find(m, s(key)))
end

local function walk(m)
    local at, all, n = ffi.new("uint32_t[1]"), {}, 0
    while true do
        local slot = C.rp_map_next(m, at)
        if slot == nil then break end
        all[c.lua(slot.key)] = number(slot.value)
        n = n + 1
    end
    assert.equal(m.n, n)
    return all
end

describe("rp_map", function()
    it("finds what was set, by whole keys", function()
        local m = new_map(10)
        assert.is_nil(find(m, "a"))
        assert.equal("OK", set(m, "a", 1))
        assert.equal("OK", set(m, "ab", 2))
        assert.equal("OK", set(m, "", 3))
        assert.equal("OK", set(m, "a\0b", 4))
        assert.equal(1, find(m, "a"))
        assert.equal(2, find(m, "ab"))
        assert.equal(3, find(m, ""))
        assert.equal(4, find(m, "a\0b"))
        assert.equal(3, number(C.rp_map_find(m, ffi.new("rp_str"))))
        assert.is_nil(find(m, "A"))
        assert.is_nil(find(m, "a\0"))
    end)

    it("copies keys", function()
        local m, bytes = new_map(10), ffi.new("char[3]", "abc")
        assert.equal(0, C.rp_map_set(m, ffi.new("rp_str", bytes, 3), ffi.cast("void *", 1)))
        bytes[0] = 0x78
        assert.equal(1, find(m, "abc"))
        assert.is_nil(find(m, "xbc"))
    end)

    it("replaces the value of an equal key, also when full", function()
        local m = new_map(1)
        assert.equal("OK", set(m, "a", 1))
        assert.equal("CAP", set(m, "b", 2))
        assert.equal("OK", set(m, "a", 3))
        assert.equal(3, find(m, "a"))
        assert.is_nil(find(m, "b"))
        assert.equal(1, m.n)
        assert.equal("CAP", set(new_map(0), "a", 1))
    end)

    it("walks each key once", function()
        local m, want = new_map(100), {}
        for i = 1, 100 do
            assert.equal("OK", set(m, "key" .. i, i))
            want["key" .. i] = i
        end
        assert.same(want, walk(m))
        assert.same({}, walk(new_map(10)))
    end)

    it("behaves like a table under random use", function()
        math.randomseed(3)
        local m, model, n = new_map(300), {}, 0
        for _ = 1, 30000 do
            local key = "k" .. math.random(400)
            if math.random(3) > 1 then
                local value = math.random(1000)
                local e = set(m, key, value)
                if model[key] or n < 300 then
                    assert.equal("OK", e)
                    if not model[key] then n = n + 1 end
                    model[key] = value
                else
                    assert.equal("CAP", e)
                end
            else
                local gone = number(C.rp_map_remove(m, s(key)))
                assert.equal(model[key], gone)
                if gone then n = n - 1 end
                model[key] = nil
            end
            local probe = "k" .. math.random(400)
            if find(m, probe) ~= model[probe] then error("differs at " .. probe) end
        end
        assert.same(model, walk(m))
        assert.is_true(m.slot_n <= 512, m.slot_n)
    end)

    it("keeps every run whole when keys leave it", function()
        for round = 1, 50 do
            local m = new_map(6) -- at most 6 of 8 slots: long runs, often around the end
            for i = 1, 6 do
                assert.equal("OK", set(m, round .. ":" .. i, i))
            end
            assert.equal(8, m.slot_n)
            for gone = 1, 6 do
                assert.equal(gone, number(C.rp_map_remove(m, s(round .. ":" .. gone))))
                for i = 1, 6 do
                    assert.equal(i > gone and i or nil, find(m, round .. ":" .. i))
                end
            end
        end
    end)

    it("is empty and usable again after fini", function()
        local m = new_map(10)
        set(m, "a", 1)
        C.rp_map_fini(m)
        assert.is_nil(find(m, "a"))
        assert.equal("OK", set(m, "b", 2))
        assert.is_nil(number(C.rp_map_remove(m, s "a")))
    end)

    it("refuses a NULL value, which find could not tell from absent", function()
        assert.is_true(support.aborts(function()
            return C.rp_map_set(new_map(10), s "a", nil)
        end))
    end)
end)
