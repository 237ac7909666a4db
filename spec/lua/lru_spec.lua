-- SPDX-License-Identifier: MIT

local lru = require("rproxy.lru")

describe("rproxy.lru", function()
    it("keeps the entries used last", function()
        local l = lru.new(3)
        for i = 1, 3 do l:set(i, i * 10) end
        assert.equal(10, l:get(1))
        l:set(4, 40)
        assert.is_nil(l:get(2))
        assert.equal(10, l:get(1))
        assert.equal(30, l:get(3))
        assert.equal(40, l:get(4))
    end)

    it("replaces and deletes", function()
        local l = lru.new(2)
        l:set("a", 1)
        l:set("a", 2)
        assert.equal(2, l:get("a"))
        assert.equal(1, l.n)
        l:delete("a")
        l:delete("a")
        assert.is_nil(l:get("a"))
        assert.equal(0, l.n)
    end)

    it("never holds more than it was made for", function()
        local l, n = lru.new(10), 0
        for i = 1, 1000 do l:set(i % 37, i) end
        for _ in pairs(l.nodes) do n = n + 1 end
        assert.equal(10, n)
        assert.equal(10, l.n)
    end)

    it("wants a size", function()
        assert.has_error(function() lru.new(0) end)
        assert.has_error(function() lru.new("x") end)
    end)
end)
