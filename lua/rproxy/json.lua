-- SPDX-License-Identifier: MIT
--
-- json: JSON (RFC 8259), strict, with limits and errors as values. rp.null stands for null; lists
-- carry a mark, so that an empty one does not become an object.

local host = require("rproxy.host")
local nearest = require("rproxy.config.nearest")
local object = require("rproxy.object")

local M = {}

local raise = object.raise

local DEPTH = 128        -- nesting of lists and objects
local DEPTH_MOST = 1000
local MAX = 16 * 2^20    -- bytes of one text

-- Bits that runtime/script/vm_json.c has, too.
local MEND, BIG_STRING, LAST_WINS, SORT = 1, 2, 4, 8

local LIST = { __metatable = "a list" }

--- null in decoded and encoded values: a light userdata, true in conditions.
M.null = host.null

local DECODE = { big = true, depth = true, duplicates = true, invalid = true, max = true }
local ENCODE = { depth = true, invalid = true, sort = true }

local function check(what, opts, known)
    for name in pairs(opts) do
        if not known[name] then
            raise("%s: unknown option %q%s", what, tostring(name),
                nearest.hint(tostring(name), nearest.names(known)))
        end
    end
end

local function depth_of(what, depth)
    if depth == nil then return DEPTH end
    if type(depth) ~= "number" or depth < 1 or depth > DEPTH_MOST then
        raise("%s: depth is a number from 1 to %d", what, DEPTH_MOST)
    end
    return depth
end

-- The flag of an option that takes one word.
local function word(what, opts, name, only, flag)
    local value = opts[name]
    if value == nil then return 0 end
    if value ~= only then raise("%s: %s is %q or not given", what, name, only) end
    return flag
end

--- Mark a table as a list, also while it is empty.
--- @param list table|nil  a new one unless given
--- @return table list  the same table
function M.array(list)
    if list == nil then list = {} end
    if type(list) ~= "table" then raise("rp.array takes a table, got a %s", type(list)) end
    if getmetatable(list) ~= nil and getmetatable(list) ~= "a list" then
        raise("rp.array: the table has a metatable")
    end
    if getmetatable(list) == nil then setmetatable(list, LIST) end
    return list
end

--- A value as text.
--- phases: all   yields: no
--- @param opts table|nil  sort: names in order, depth: most nesting (128), invalid = "replace"
--- @return string|nil json, string|nil err
function M.encode(value, opts)
    if not opts then return host.json_encode(value, DEPTH, 0, LIST) end
    check("json.encode", opts, ENCODE)
    local flags = word("json.encode", opts, "invalid", "replace", MEND) + (opts.sort and SORT or 0)
    return host.json_encode(value, depth_of("json.encode", opts.depth), flags, LIST)
end

--- A text as values. nil, as a decoder gives it that failed, is no text: nil and what it said.
--- phases: all   yields: no
--- @param text string|nil
--- @param opts table|nil  depth: most nesting (128), max: most bytes (16 MB), big = "string",
---   duplicates = "last", invalid = "replace"
--- @return any|nil value, string|nil err
function M.decode(text, opts)
    if text == nil then return nil, type(opts) == "string" and opts or "nothing to decode" end
    if type(text) ~= "string" then raise("json.decode takes a string") end
    if not opts then
        if #text > MAX then return nil, "too large" end
        return host.json_decode(text, DEPTH, 0, LIST)
    end
    check("json.decode", opts, DECODE)
    if #text > (opts.max or MAX) then return nil, "too large" end
    local flags = word("json.decode", opts, "invalid", "replace", MEND)
        + word("json.decode", opts, "big", "string", BIG_STRING)
        + word("json.decode", opts, "duplicates", "last", LAST_WINS)
    return host.json_decode(text, depth_of("json.decode", opts.depth), flags, LIST)
end

return M
