-- SPDX-License-Identifier: MIT
--
-- shape: values of decoded JSON as what they should be. null, and what has another type, is as if
-- it were not there: what servers send is not believed. Pure.

local M = {}

local NOTHING = setmetatable({}, { __newindex = function() error("a constant", 2) end })

--- A list or an object; an empty one when it is none.
function M.tab(value)
    return type(value) == "table" and value or NOTHING
end

--- A text with something in it, else nil.
function M.str(value)
    return type(value) == "string" and value ~= "" and value or nil
end

--- A number, also one that is written as a text (64-bit numbers in JSON are), else nil.
function M.num(value)
    if type(value) == "number" and value == value then return value end
    if type(value) == "string" and #value <= 20 and value:find("^%-?%d+$") then
        return tonumber(value)
    end
end

--- What a path of names leads to: M.at(doc, "data.nodes").
function M.at(value, path)
    for name in (path or ""):gmatch("[^.]+") do
        if type(value) ~= "table" then return nil end
        local item = value[name]
        if item == nil and name:find("^%d+$") then item = value[tonumber(name)] end
        value = item
    end
    return value
end

return M
