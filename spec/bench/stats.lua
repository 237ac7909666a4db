-- SPDX-License-Identifier: MIT
--
-- stats: medians, and how sure one may be of them. Pure.
--
-- Intervals are those of the sign test: between the k-th smallest and the k-th largest value lies the
-- true median with a probability that follows from the number of values alone. Nothing is assumed of
-- how they are spread, and one wild round moves nothing.

local M = {}

local LEVEL = 0.95
local SURE = 0.9 -- level from which an interval says something

--- The middle value; nil of nothing.
function M.median(list)
    local sorted = { unpack(list) }
    table.sort(sorted)
    local n = #sorted
    if n == 0 then return nil end
    return n % 2 == 1 and sorted[(n + 1) / 2] or (sorted[n / 2] + sorted[n / 2 + 1]) / 2
end

-- Of n fair coins at most k show heads.
local function binomial_below(n, k)
    local term, sum = 0.5 ^ n, 0
    for i = 0, k do
        sum = sum + term
        term = term * (n - i) / (i + 1)
    end
    return sum
end

--- low, high, level: the narrowest interval of order statistics that holds the median with `level`
--- (0.95); with too few values the smallest and the largest, and the level that these reach.
function M.interval(list, level)
    local sorted = { unpack(list) }
    table.sort(sorted)
    local n = #sorted
    if n == 0 then return nil end
    local k = 1
    while 2 * k + 1 < n and 1 - 2 * binomial_below(n, k) >= (level or LEVEL) do k = k + 1 end
    return sorted[k], sorted[n + 1 - k], math.max(0, 1 - 2 * binomial_below(n, k - 1))
end

local function each_pair(a, b, of)
    local list = {}
    for i = 1, math.max(#a, #b) do
        local x, y = a[i], b[i]
        if x and y and (of ~= "ratio" or y ~= 0) then
            list[#list + 1] = of == "ratio" and x / y or x - y
        end
    end
    return list
end

--- Compare two lists round by round, as whatever disturbs a round disturbs both: the median of the
--- "ratio"s (or "difference"s) with its interval. { value, low, high, level, n }; nil without pairs.
--- A round that one of them missed is `false` in its list.
function M.compare(a, b, of)
    local list = each_pair(a, b, of)
    if #list == 0 then return nil end
    local low, high, level = M.interval(list)
    return { value = M.median(list), low = low, high = high, level = level, n = #list }
end

--- Is `value` with its interval within a goal? "met" and "missed" when the whole interval says so,
--- else "met, unsure" or "missed, unsure".
function M.judge(cmp, at_most)
    local word = cmp.value <= at_most and "met" or "missed"
    local sure = cmp.level >= SURE and (cmp.low > at_most or cmp.high <= at_most)
    return sure and word or word .. ", unsure"
end

return M
