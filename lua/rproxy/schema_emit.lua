-- SPDX-License-Identifier: MIT
--
-- schema_emit: what a schema says in other languages: JSON Schema (draft 2020-12) for whoever
-- writes settings as JSON or YAML, LuaCATS for editors. What a schema asks and these cannot say (a
-- function that checks, a zone that must exist) is left out, so what they refuse is wrong, and what
-- they take may still be.

local M = {}

-- ---------------------------------------------------------------- Lua patterns as ECMA ones

local CLASSES = { a = "A-Za-z", d = "0-9", l = "a-z", s = "\\s", u = "A-Z", w = "A-Za-z0-9",
    x = "A-Fa-f0-9", p = "!-\\/:-@\\[-`{-~" }

local function escaped(ch)
    return ch:find("[%w_%s\"'<>=!:;,@#&~`%%]") and ch or "\\" .. ch
end

-- "[%w_-]" from position i: the set, and where it ends; nil: it cannot be said.
local function read_set(pattern, i)
    local out = "["
    i = i + 1
    if pattern:sub(i, i) == "^" then out, i = "[^", i + 1 end
    local first = true
    while first or pattern:sub(i, i) ~= "]" do
        first = false
        local ch = pattern:sub(i, i)
        if ch == "" then return nil end
        if ch == "%" then
            i = i + 1
            ch = pattern:sub(i, i)
            if CLASSES[ch] then out = out .. CLASSES[ch]
            elseif ch:find("%a") then return nil
            else out = out .. "\\" .. ch end
        elseif pattern:find("^.%-[^%]]", i) then
            local from, to = pattern:sub(i, i), pattern:sub(i + 2, i + 2)
            if to == "%" or from:find("[%^%]\\]") or to:find("[%^%]\\]") then return nil end
            out, i = out .. from .. "-" .. to, i + 2
        elseif ch:find("[%w_ ]") then
            out = out .. ch
        else
            out = out .. "\\" .. ch
        end
        i = i + 1
    end
    return out .. "]", i + 1
end

local function read_single(pattern, i)
    local ch = pattern:sub(i, i)
    if ch == "[" then return read_set(pattern, i) end
    if ch == "." then return "[\\s\\S]", i + 1 end
    if ch ~= "%" then return escaped(ch), i + 1 end
    ch = pattern:sub(i + 1, i + 1)
    if CLASSES[ch] then return "[" .. CLASSES[ch] .. "]", i + 2 end
    if ch:find("%a") or ch:find("%d") or ch == "" then return nil end
    return escaped(ch), i + 2
end

local QUANTIFIERS = { ["*"] = "*", ["+"] = "+", ["-"] = "*?", ["?"] = "?" }

--- A Lua pattern as a regular expression of ECMA-262; nil: it has what these cannot say.
--- @param pattern string
--- @return string|nil
function M.ecma(pattern)
    local out, i = {}, 1
    if pattern:sub(1, 1) == "^" then out[1], i = "^", 2 end
    while i <= #pattern do
        local ch = pattern:sub(i, i)
        if ch == "$" and i == #pattern then
            out[#out + 1] = "$"
            break
        elseif ch == "(" or ch == ")" then
            out[#out + 1], i = ch, i + 1
        else
            local single
            single, i = read_single(pattern, i)
            if not single then return nil end
            local quantifier = QUANTIFIERS[pattern:sub(i, i)]
            out[#out + 1] = single .. (quantifier or "")
            if quantifier then i = i + 1 end
        end
    end
    return table.concat(out)
end

-- ---------------------------------------------------------------- JSON Schema

local DURATION = "^[0-9]+(\\.[0-9]*)?(ms|s|m|h|d)$"
local SIZE = "^[0-9]+(\\.[0-9]*)?[kmgKMG]?$"
local TOKEN = "^[A-Za-z0-9!#$%&'*+\\-.^_`|~]+$"

local function amount(pattern)
    return function(node)
        return { anyOf = { { type = "number", minimum = node.min or 0, maximum = node.max },
            { type = "string", pattern = pattern } } }
    end
end

local function text(rules)
    return function()
        local out = { type = "string" }
        for name, value in pairs(rules or {}) do out[name] = value end
        return out
    end
end

local KINDS = {
    boolean = function() return { type = "boolean" } end,
    number = function(node) return { type = "number", minimum = node.min, maximum = node.max } end,
    integer = function(node)
        return { type = "integer", minimum = node.min, maximum = node.max }
    end,
    any = function() return {} end,
    duration = amount(DURATION), size = amount(SIZE),
    header = text { pattern = TOKEN }, regex = text(), upstream = text { minLength = 1 },
    shared = text { minLength = 1 }, path = text { minLength = 1 }, host = text { minLength = 1 },
    url = text { format = "uri", pattern = "^https?://[^/?#\\s]+" },
    address = text { pattern = "^(unix:.+|\\[[0-9A-Fa-f:.]+\\]:[0-9]+|[^:\\[\\]\\s]+:[0-9]+)$" },
    -- No JSON value is a function, or what is not there yet.
    ["function"] = function() return { ["not"] = {} } end,
    unbuilt = function() return { ["not"] = {} } end,
}

-- Bounds of strings count bytes here and characters there, which are fewer.
function KINDS.string(node)
    return { type = "string", minLength = (node.min or 0) > 0 and 1 or nil, maxLength = node.max,
        pattern = node.match and M.ecma(node.match) }
end

local emit

function KINDS.enum(node, array)
    return { enum = array(node.values) }
end

function KINDS.list(node, array)
    return { type = "array", items = emit(node.of, array), minItems = node.min,
        maxItems = node.max }
end

function KINDS.map(node, array)
    return { type = "object", additionalProperties = emit(node.of, array),
        minProperties = node.min, maxProperties = node.max }
end

function KINDS.headers()
    return { type = "object", propertyNames = { pattern = TOKEN },
        additionalProperties = { type = "string" } }
end

function KINDS.object(node, array)
    local properties, required = {}, {}
    for _, name in ipairs(node.names) do
        properties[name] = emit(node.fields[name], array)
        if node.fields[name].required then required[#required + 1] = name end
    end
    return { type = "object", properties = properties, additionalProperties = false,
        required = required[1] and array(required) or nil }
end

-- A default as JSON; nil where it cannot be.
local function default_of(node, array)
    local value = node.default
    if type(value) ~= "table" then
        return type(value) ~= "function" and value ~= math.huge and value or nil
    end
    return node.kind == "list" and array(value) or value
end

function emit(node, array)
    local out = KINDS[node.kind](node, array)
    if node.or_false then out = { anyOf = { out, { const = false } } } end
    out.description = node.doc
    if node.default == false then out.default = false
    elseif node.kind ~= "object" then out.default = default_of(node, array) end
    return out
end

--- A plugin's settings, with those that every plugin has, as JSON Schema.
--- @param plugin table  what rp.plugin returns
--- @param common table  compiled: settings of every plugin
--- @param array function  marks a list, so that an empty one is not taken for a table
--- @return table
function M.json(plugin, common, array)
    local out = KINDS.object(plugin.node, array)
    for _, name in ipairs(common.names) do
        out.properties[name] = emit(common.fields[name], array)
    end
    out["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    out["$id"] = ("urn:rproxy:plugin:%s%s"):format(plugin.name,
        plugin.version and ":" .. plugin.version or "")
    out.title, out.description = plugin.name, plugin.doc
    return out
end

-- ---------------------------------------------------------------- LuaCATS

local LUA_TYPES = { string = "string", boolean = "boolean", number = "number",
    integer = "integer", duration = "number|string", size = "number|string", header = "string",
    ["function"] = "function", url = "string", address = "string", host = "string",
    path = "string", regex = "string", upstream = "string", shared = "string", any = "any" }

local function literal(value)
    return type(value) == "string" and ("%q"):format(value) or tostring(value)
end

local function lua_type(node, class)
    local kind
    if node.kind == "enum" then
        local choices = {}
        for i, choice in ipairs(node.values) do choices[i] = literal(choice) end
        kind = "(" .. table.concat(choices, "|") .. ")"
    elseif node.kind == "list" then
        kind = lua_type(node.of, class)
        kind = (kind:find("|", 1, true) and kind:sub(1, 1) ~= "(" and "(" .. kind .. ")" or kind)
            .. "[]"
    elseif node.kind == "headers" then
        kind = "table<string, string>"
    elseif node.kind == "map" then
        kind = ("table<string, %s>"):format(lua_type(node.of, class))
    elseif node.kind == "object" then
        kind = class
    end
    return (kind or LUA_TYPES[node.kind] or "any") .. (node.or_false and "|false" or "")
end

function M.class_name(name)
    return (name:gsub("^%l", string.upper):gsub("[_.%-](%l)", string.upper))
end

-- The tables below a node that need classes of their own.
local function inner_object(node)
    while node.kind == "list" or node.kind == "map" do node = node.of end
    return node.kind == "object" and node or nil
end

--- One class per table, the inner ones first.
--- @param node table  compiled, an object
--- @param name string  of the class
--- @param docs table  doc by path, where the nodes have none
--- @param out string[]  takes the classes
--- @param base string|nil  class that it extends
function M.classes(node, name, docs, prefix, out, base)
    local lines = { "---@class " .. name .. (base and ": " .. base or "") }
    for _, key in ipairs(node.names) do
        local field = node.fields[key]
        if field.kind ~= "unbuilt" then
            local inner, object = name .. M.class_name(key), inner_object(field)
            if object then M.classes(object, inner, docs, prefix .. key .. ".", out) end
            local doc = docs[prefix .. key] or field.doc or ""
            lines[#lines + 1] = ("---@field %s%s %s %s"):format(
                key:find("^[%a_][%w_]*$") and key or ("[%q]"):format(key),
                field.required and "" or "?", lua_type(field, inner), (doc:gsub("%s+", " ")))
        end
    end
    out[#out + 1] = table.concat(lines, "\n"):gsub(" +\n", "\n"):gsub(" +$", "")
end

local PLUGIN = "rproxy.conf.Plugin"

--- What every plugin takes as LuaCATS classes.
--- @return string
function M.common_types(common)
    local out = {}
    M.classes(common, PLUGIN, {}, "", out)
    return table.concat(out, "\n\n")
end

--- A plugin's settings as LuaCATS classes; the outer one is rproxy.conf.Name.
--- @return string
function M.types(plugin)
    local out = {}
    M.classes(plugin.node, "rproxy.conf." .. M.class_name(plugin.name), {}, "", out, PLUGIN)
    return table.concat(out, "\n\n")
end

return M
