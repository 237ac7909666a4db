-- SPDX-License-Identifier: MIT
--
-- json: JSON by lua-cjson, with limits and errors as values. rp.null stands for null; an empty
-- table is an object.

local object = require("rproxy.object")

local M = {}

local DEPTH = 128      -- nesting of arrays and objects
local MAX = 16 * 2^20  -- bytes of one text

-- The one C module that is used: found where Debian and LuaRocks put it.
local PLACES = package.cpath .. ";/usr/lib/x86_64-linux-gnu/lua/5.1/?.so"
    .. ";/usr/lib/aarch64-linux-gnu/lua/5.1/?.so;/usr/lib/lua/5.1/?.so;/usr/local/lib/lua/5.1/?.so"

local function load_cjson()
    local path = package.searchpath("cjson", PLACES)
    if not path then error("JSON needs lua-cjson (Debian package lua-cjson)", 0) end
    local open, err = package.loadlib(path, "luaopen_cjson")
    if not open then error("lua-cjson: " .. tostring(err), 0) end
    return open()
end

local cjson
local function library()
    if not cjson then
        cjson = load_cjson().new()
        cjson.encode_sparse_array(false, 2, 16)
        cjson.encode_max_depth(DEPTH)
        cjson.encode_invalid_numbers(false)
        cjson.decode_invalid_numbers(false)
    end
    return cjson
end

--- null in decoded and encoded values: a light userdata, true in conditions.
M.null = require("rproxy.host").null

--- A table as text.
--- phases: all   yields: no
--- @return string|nil json, string|nil err
function M.encode(value)
    local ok, text = pcall(library().encode, value)
    if ok then return text end
    return nil, tostring(text)
end

--- A text as values.
--- phases: all   yields: no
--- @param text string
--- @param opts table|nil  depth: most nesting (128), max: most bytes (16 MB)
--- @return any|nil value, string|nil err
function M.decode(text, opts)
    if type(text) ~= "string" then object.raise("json.decode takes a string") end
    if #text > (opts and opts.max or MAX) then return nil, "too large" end
    local lib = library()
    lib.decode_max_depth(opts and opts.depth or DEPTH)
    local ok, value = pcall(lib.decode, text)
    if ok then return value end
    return nil, tostring(value)
end

return M
