-- SPDX-License-Identifier: MIT
--
-- nearest: the known name that a mistyped one probably meant.

local M = {}

-- Case, and "-" against "_", are the commonest slips: they cost nothing.
local function fold(name)
    return (name:lower():gsub("[-%s]", "_"))
end

-- Optimal string alignment distance: insert, delete, replace, swap of neighbours.
local function distance(a, b)
    local before, above = {}, {}
    for j = 0, #b do above[j] = j end
    for i = 1, #a do
        local row = { [0] = i }
        for j = 1, #b do
            local same = a:byte(i) == b:byte(j)
            local best = math.min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (same and 0 or 1))
            if i > 1 and j > 1 and a:byte(i) == b:byte(j - 1) and a:byte(i - 1) == b:byte(j) then
                best = math.min(best, before[j - 2] + 1)
            end
            row[j] = best
        end
        before, above = above, row
    end
    return above[#b]
end

-- A name may differ in a third of its letters; a start that goes on ("header" for "headers" or
-- "header_bytes") counts as near too.
local function is_near(d, name, candidate)
    local longer = math.max(#name, #candidate)
    if d <= math.max(1, math.floor(#name / 3)) and d < longer / 2 then return true end
    return #name >= 4 and candidate:sub(1, #name) == name
end

--- The nearest of `candidates`; nil when none is near.
--- @param name string
--- @param candidates string[]
--- @return string|nil
function M.find(name, candidates)
    if type(name) ~= "string" or #name > 64 then return nil end
    local folded, best, best_d = fold(name), nil, math.huge
    for _, candidate in ipairs(candidates) do
        local d = distance(folded, fold(candidate))
        if d < best_d and is_near(d, folded, fold(candidate)) then
            best, best_d = candidate, d
        end
    end
    return best
end

--- Sorted string keys of a table: what find takes, in an order that does not change.
--- @param map table
--- @return string[]
function M.names(map)
    local names = {}
    for name in pairs(map) do
        if type(name) == "string" then names[#names + 1] = name end
    end
    table.sort(names)
    return names
end

--- "; did you mean \"x\"?", or else "; known: a, b, c", or "" when nothing is known.
--- @param name string
--- @param candidates string[]
--- @return string
function M.hint(name, candidates)
    local found = M.find(name, candidates)
    if found then return ('; did you mean "%s"?'):format(found) end
    if #candidates == 0 then return "" end
    return "; known: " .. table.concat(candidates, ", ")
end

return M
