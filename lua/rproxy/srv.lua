-- SPDX-License-Identifier: MIT
--
-- srv: the order in which the services of SRV records are to be tried (RFC 2782). Pure.

local M = {}

-- One of those from `first` to `last`, by chance in proportion to the weights.
local function pick(list, first, last, dice)
    local sum = 0
    for i = first, last do sum = sum + list[i].weight end
    local at = dice(0, sum)
    for i = first, last do
        at = at - list[i].weight
        if at <= 0 then return i end
    end
    return last
end

-- Weights of 0 stand before the others of their priority, so that they have a chance, too.
local function is_before(a, b)
    if a.priority ~= b.priority then return a.priority < b.priority end
    return a.weight < b.weight
end

--- Put services in order: lower priorities first, those of one priority by chance and weight.
--- @param list table[]  { priority =, weight = }; changed
--- @param dice function  (from, to) -> a whole number, as math.random
--- @return table[] list
function M.order(list, dice)
    table.sort(list, is_before)
    local last = 0
    for i = 1, #list do
        while list[last + 1] and (last < i or list[last + 1].priority == list[i].priority) do
            last = last + 1
        end
        table.insert(list, i, table.remove(list, pick(list, i, last, dice)))
    end
    return list
end

--- Priorities as those of peers: the lowest is `first`, the next one more, and so on.
--- @param list table[]  { priority = }
--- @param first integer
--- @param most integer
--- @return table  priority of a service -> that of its peers
function M.tiers(list, first, most)
    local seen, order, tiers = {}, {}, {}
    for _, one in ipairs(list) do
        if not seen[one.priority] then order[#order + 1] = one.priority end
        seen[one.priority] = true
    end
    table.sort(order)
    for i, priority in ipairs(order) do tiers[priority] = math.min(first + i - 1, most) end
    return tiers
end

return M
