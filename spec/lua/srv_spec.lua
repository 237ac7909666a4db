-- SPDX-License-Identifier: MIT

local srv = require("rproxy.srv")

local function service(name, priority, weight)
    return { name = name, priority = priority, weight = weight, port = 1 }
end

local function names(list)
    local out = {}
    for i, one in ipairs(list) do out[i] = one.name end
    return table.concat(out, " ")
end

describe("rproxy.srv", function()
    it("puts lower priorities first", function()
        assert.equal("a b c", names(srv.order({ service("c", 30, 9), service("a", 0, 0),
            service("b", 7, 1) }, math.random)))
    end)

    it("chooses within a priority by weight", function()
        local asked = {}
        local function dice(at)
            return function(from, to)
                asked[#asked + 1] = { from, to }
                return math.min(at, to)
            end
        end
        local function list() return { service("a", 1, 10), service("b", 1, 30), service("c", 1, 60) } end
        assert.equal("a b c", names(srv.order(list(), dice(0))))
        assert.same({ { 0, 100 }, { 0, 90 }, { 0, 60 } }, asked)
        assert.equal("c b a", names(srv.order(list(), dice(100))))
        assert.equal("b c a", names(srv.order(list(), dice(40))))
    end)

    it("gives weights of 0 a chance, among themselves an even one or not at all", function()
        assert.equal("z a", names(srv.order({ service("a", 1, 5), service("z", 1, 0) },
            function() return 0 end)))
        assert.equal("a z", names(srv.order({ service("a", 1, 5), service("z", 1, 0) },
            function(_, to) return to end)))
    end)

    it("keeps to the shares", function()
        local first = { a = 0, b = 0 }
        for _ = 1, 4000 do
            local list = srv.order({ service("a", 1, 25), service("b", 1, 75) }, math.random)
            first[list[1].name] = first[list[1].name] + 1
        end
        assert.is_true(first.a > 800 and first.a < 1250, first.a)
    end)

    it("takes lists of none and of one", function()
        assert.same({}, srv.order({}, math.random))
        assert.equal("a", names(srv.order({ service("a", 1, 0) }, math.random)))
    end)

    it("makes priorities those of peers, and no more than there are", function()
        local list = { service("a", 30, 1), service("b", 10, 1), service("c", 30, 1),
            service("d", 20, 1) }
        assert.same({ [10] = 2, [20] = 3, [30] = 4 }, srv.tiers(list, 2, 14))
        assert.same({ [10] = 13, [20] = 14, [30] = 14 }, srv.tiers(list, 13, 14))
    end)
end)
