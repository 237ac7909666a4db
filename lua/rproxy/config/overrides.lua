-- SPDX-License-Identifier: MIT
--
-- overrides: `-g name=value` of the command line, put over what site.lua says.

local nearest = require("rproxy.config.nearest")
local options = require("rproxy.config.options")
local schema = require("rproxy.schema")

local M = {}

local function row_of(name)
    for _, row in ipairs(options.site) do
        if row.name == name then return row end
    end
end

local NOT_ONE_VALUE = { list = true, object = true, unbuilt = true, ["list<string>"] = true }

local function is_settable(row)
    if NOT_ONE_VALUE[row.type] then return row.or_false end
    return row.type ~= "any" or row.name == "workers"
end

local function names()
    local out = {}
    for _, row in ipairs(options.site) do
        if is_settable(row) then out[#out + 1] = row.name end
    end
    return out
end

local TO_VALUE = {
    boolean = function(text)
        if text == "true" then return true elseif text == "false" then return false end
        return text
    end,
    string = function(text) return text end,
    object = function(text) return text end,
}

local function to_value(row, text)
    if row.or_false and text == "false" then return false end
    local convert = TO_VALUE[row.type]
    if convert then return convert(text) end
    return tonumber(text) or text
end

--- Read "name=value" lines.
--- @param text string
--- @param report table
--- @return table[] list  { name, value }
function M.parse(text, report)
    local list = {}
    for line in (text or ""):gmatch("[^\n]+") do
        local name, value = line:match("^%s*([%w_.]+)%s*=%s*(.-)%s*$")
        local row = name and row_of(name)
        if not name then
            report:add("-g " .. line, "expected name=value, as in -g workers=2")
        elseif not row then
            report:add("-g " .. line, "no option %s%s", schema.show(name),
                nearest.hint(name, names()))
        elseif not is_settable(row) then
            report:add("-g " .. line, "%s cannot be set on the command line; write it in site.lua",
                name)
        else
            list[#list + 1] = { name = name, value = to_value(row, value) }
        end
    end
    return list
end

-- The tables that site.lua made stay as they are: what is changed is copied.
local function set(given, parts, i, value)
    local out = {}
    for key, old in pairs(type(given) == "table" and given or {}) do out[key] = old end
    if i == #parts then
        out[parts[i]] = value
    else
        out[parts[i]] = set(out[parts[i]], parts, i + 1, value)
    end
    return out
end

--- @param given table  what rp.site was given
--- @param list table[]  parse's result
--- @return table given  with the overrides in it
function M.apply(given, list)
    for _, override in ipairs(list) do
        local parts = {}
        for part in override.name:gmatch("[^.]+") do parts[#parts + 1] = part end
        given = set(given, parts, 1, override.value)
    end
    return given
end

--- "-g name" when an override said what is at this path.
function M.place(list, path)
    for _, override in ipairs(list) do
        if override.name == path then return "-g " .. path end
    end
end

return M
