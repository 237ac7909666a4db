-- SPDX-License-Identifier: MIT
--
-- options: THE option table. What site.lua may say, what it means, what it is when unsaid. The
-- check, the hand-over to the C side, `rproxy -T` and docs/reference/options.md are made from these
-- rows; no option is read anywhere that is not in it. The rows are in rooms of their own:
-- options_site, options_listener, options_upstream, options_route, options_shared, options_split,
-- options_discover, options_guard.
--
-- A row: name (dots nest), type (a schema type), default, unit, since, doc, check; further
--   values              of an enum                 min, max, match    bounds
--   or_false            false switches it off      optional           absent stays absent
--   conf, scale         key of runtime/proxy/conf.tbl, and what to multiply by for it
--   show                function: a value in the words of -T, where the type does not say them
--   shown, takes        default and type in words, where they do not speak for themselves
--   secret              `rproxy -T` does not show the value

local options_discover = require("rproxy.config.options_discover")
local options_listener = require("rproxy.config.options_listener")
local options_route = require("rproxy.config.options_route")
local options_shared = require("rproxy.config.options_shared")
local options_site = require("rproxy.config.options_site")
local options_split = require("rproxy.config.options_split")
local options_upstream = require("rproxy.config.options_upstream")
local schema = require("rproxy.schema")

local M = {}

for _, room in ipairs { options_site, options_listener, options_upstream, options_route,
    options_shared } do
    for group, rows in pairs(room) do M[group] = rows end
end
M.split = options_split.split
M.discover = options_discover.discover
M.found_routes = options_discover.found_routes
for _, kind in ipairs(options_discover.KINDS) do
    M["discover_" .. kind] = options_discover["discover_" .. kind]
end

-- ---------------------------------------------------------------- compiled

M.SINCE = "0.1"

--- The groups, in the order in which the reference shows them.
M.groups = { "site", "listen", "tls", "stream", "upstream", "upstream_tls", "peer", "health",
    "host", "host_tls", "route", "coalesce", "split", "shm", "shm_set", "discover",
    "found_routes" }
for _, kind in ipairs(options_discover.KINDS) do
    M.groups[#M.groups + 1] = "discover_" .. kind
end

-- conf, scale, shown, show and secret are about the row, not about the value.
local function to_schema(row)
    local out = { row.type == "enum" and "enum" or row.type }
    for key, value in pairs(row) do
        if key ~= "name" and key ~= "type" and key ~= "conf" and key ~= "scale"
            and key ~= "shown" and key ~= "takes" and key ~= "secret" and key ~= "show" then
            out[key] = value
        end
    end
    return out
end

local function place(tree, row)
    local at = tree
    for group in row.name:gmatch("([^.]+)%.") do
        at[group] = at[group] or { "object", fields = {} }
        at[group].fields = at[group].fields or {}
        at = at[group].fields
    end
    at[row.name:match("[^.]+$")] = to_schema(row)
end

--- Compiled schema node by group.
M.nodes = {}
for _, group in ipairs(M.groups) do
    local tree = {}
    for _, row in ipairs(M[group]) do
        row.since = row.since or M.SINCE
        place(tree, row)
    end
    M.nodes[group] = schema.compile(tree, group)
end

local parts_of = {} -- dotted name -> its parts

local function split(name)
    local parts = {}
    for part in name:gmatch("[^.]+") do parts[#parts + 1] = part end
    parts_of[name] = parts
    return parts
end

--- The value of a dotted option in a checked table.
--- @param checked table
--- @param name string
function M.get(checked, name)
    local value, parts = checked, parts_of[name] or split(name)
    for i = 1, #parts do
        if type(value) ~= "table" then return nil end
        value = value[parts[i]]
    end
    return value
end

--- Is it said in a table that `schema.check` left lean, and not only a default?
function M.is_given(checked, name)
    return rawget(checked, (parts_of[name] or split(name))[1]) ~= nil
end

return M
