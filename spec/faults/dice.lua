-- SPDX-License-Identifier: MIT
--
-- dice: the choices of one schedule, all from its seed.

local bit = require("bit")

local Dice = {}
Dice.__index = Dice

local M = {}

--- Dice of a seed; the same seed rolls the same.
function M.new(seed)
    local x = bit.bxor(bit.tobit(seed * 2654435761 % 2 ^ 32), 0x5bd1e995)
    local d = setmetatable({ x = x ~= 0 and x or 1 }, Dice)
    for _ = 1, 4 do d:roll() end
    return d
end

--- 0 .. 2^32 - 1
function Dice:roll()
    local x = self.x
    x = bit.bxor(x, bit.lshift(x, 13))
    x = bit.bxor(x, bit.rshift(x, 17))
    x = bit.bxor(x, bit.lshift(x, 5))
    self.x = x
    return x % 2 ^ 32
end

--- An integer from first to last.
function Dice:range(first, last)
    return first + self:roll() % (last - first + 1)
end

--- True once in n times.
function Dice:one_in(n)
    return self:roll() % n == 0
end

function Dice:pick(list)
    return list[self:range(1, #list)]
end

--- A size: often small, seldom large.
function Dice:size(most)
    local bits = self:range(0, 21)
    return math.min(most, self:roll() % 2 ^ bits)
end

return M
