-- SPDX-License-Identifier: MIT
--
-- compare: how two answers to one request differ: status, some headers, bodies. Bodies that are
-- both JSON are compared as values, without the paths that are to be ignored; others by their
-- bytes. What is told are places, never values.

local rp = require("rproxy")

local M = {}

M.PLACES_MOST = 8 -- told of one pair of bodies

-- "items[*].id" and "*.time" -> pattern of segments; the index in a list is a segment, too.
local function segments_of(path)
    local out = {}
    for part in path:gmatch("[^.%[%]]+") do out[#out + 1] = part end
    return out
end

--- @param paths string[]
--- @return table ignored  for M.bodies
function M.ignore(paths)
    local out = {}
    for i, path in ipairs(paths) do out[i] = segments_of(path) end
    return out
end

-- "*" is any one segment; "**" at the beginning any number of them.
local function fits(pattern, path, depth)
    local first = 1
    if pattern[1] == "**" then
        local rest = #pattern - 1
        if depth < rest then return false end
        for i = 1, rest do
            local want = pattern[i + 1]
            if want ~= "*" and want ~= path[depth - rest + i] then return false end
        end
        return true
    end
    if #pattern ~= depth then return false end
    for i = first, #pattern do
        if pattern[i] ~= "*" and pattern[i] ~= path[i] then return false end
    end
    return true
end

local function is_ignored(ignored, path, depth)
    for i = 1, #ignored do
        if fits(ignored[i], path, depth) then return true end
    end
    return false
end

local function place(path, depth)
    return depth == 0 and "(whole)" or table.concat(path, ".", 1, depth)
end

local function add(found, path, depth)
    found.n = found.n + 1
    if #found < M.PLACES_MOST then found[#found + 1] = place(path, depth) end
end

local walk

local function walk_key(a, b, key, state, depth)
    state.path[depth + 1] = tostring(key)
    walk(a[key], b[key], state, depth + 1)
end

function walk(a, b, state, depth)
    if depth > 0 and is_ignored(state.ignored, state.path, depth) then return end
    if type(a) ~= "table" or type(b) ~= "table" then
        if a ~= b then add(state.found, state.path, depth) end
        return
    end
    for key in pairs(a) do walk_key(a, b, key, state, depth) end
    for key in pairs(b) do
        if a[key] == nil then walk_key(a, b, key, state, depth) end
    end
end

-- Both are JSON, or neither counts as such. "a" and ["a"] differ; [] and {} do not.
local function as_json(a, b)
    local left, left_err = rp.json.decode(a, { depth = 64, duplicates = "last" })
    if left_err then return nil end
    local right, right_err = rp.json.decode(b, { depth = 64, duplicates = "last" })
    if right_err then return nil end
    return { left }, { right }
end

--- Places where two bodies differ.
--- @param a string
--- @param b string
--- @param ignored table  of M.ignore
--- @return table|nil found  places; found.n: how many there are
function M.bodies(a, b, ignored)
    if a == b then return nil end
    local found = { n = 0 }
    local left, right = as_json(a, b)
    if not left then return { "(bytes)", n = 1 } end
    walk(left[1], right[1], { path = {}, found = found, ignored = ignored }, 0)
    if found.n == 0 then return nil end
    table.sort(found)
    return found
end

--- Names of the headers of a list that differ.
--- @param names string[]
--- @param a function  (name) -> value or nil
--- @param b function
function M.headers(names, a, b)
    local found
    for i = 1, #names do
        if a(names[i]) ~= b(names[i]) then
            found = found or {}
            found[#found + 1] = names[i]
        end
    end
    return found
end

return M
