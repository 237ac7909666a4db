-- SPDX-License-Identifier: MIT
--
-- balance: the `balance` of an upstream: a policy by its name, or { "hash", key = .., .. }.

local nearest = require("rproxy.config.nearest")
local schema = require("rproxy.schema")

local M = {}

-- enum rp_balance of runtime/proxy/conf.h
local POLICIES = {
    round_robin = 0, random = 2, least_conn = 3, least_time = 4, p2c = 5, ewma = 6, first = 7,
}
local METHODS = { ring = 8, maglev = 9, rendezvous = 10 }
local ALIASES = { p2c_ewma = "p2c", least_request = "least_conn", hrw = "rendezvous",
    ketama = "ring" }

-- enum rp_hash_part
local PARTS = { ip = 0, host = 1, path = 2, query = 3, consumer = 7 }
local NAMED_PARTS = { arg = 4, header = 5, cookie = 6 }

--- The number of the policy that a function or plugin is.
M.HOOK = 1

local NAMES = nearest.names(POLICIES)
NAMES[#NAMES + 1] = "ip_hash"
table.sort(NAMES)

local HASH = schema.compile({
    key = { "any", required = true },
    method = { "enum", { "maglev", "ring", "rendezvous", "ketama", "hrw" }, default = "maglev" },
    bound = { "number", min = 1.01, max = 100 },
}, "balance")

local function canonical(name)
    name = name:gsub("-", "_")
    return ALIASES[name] or name
end

local function read_part(text)
    if type(text) ~= "string" then return nil end
    if PARTS[text] then return { part = PARTS[text], name = "" } end
    local kind, name = text:match("^(%l+):(.+)$")
    if NAMED_PARTS[kind or ""] then return { part = NAMED_PARTS[kind], name = name } end
end

local KEYS = '"ip", "host", "path", "query", "consumer", "arg:NAME", "header:NAME", '
    .. '"cookie:NAME" or a list of these'

--- What is hashed, from "ip", "header:x-user" or a list of such.
--- @return table[]|nil parts  part (enum rp_hash_part), name
--- @return string|nil err  what was expected
function M.read_key(given)
    local list, parts = type(given) == "table" and given or { given }, {}
    if #list == 0 or schema.not_a_list(list) ~= nil then return nil, KEYS end
    for i, text in ipairs(list) do
        parts[i] = read_part(text)
        if not parts[i] then return nil, ("%s (not %s)"):format(KEYS, schema.show(text)) end
    end
    return parts
end

local function read_hash(given)
    local ctx, named = schema.context(), {}
    for key, value in pairs(given) do if key ~= 1 then named[key] = value end end
    local checked = schema.check(HASH, named, "", ctx)
    local e = ctx.errors[1]
    if e then return nil, ("{ \"hash\", .. }, where %s: %s"):format(e.path, e.text) end
    local parts, err = M.read_key(checked.key)
    if not parts then return nil, 'key = ' .. err end
    return { number = METHODS[canonical(checked.method)], hash = parts,
        bound = checked.bound and math.floor(checked.bound * 100 + 0.5) or 0,
        text = ("hash (%s) of %s"):format(canonical(checked.method),
            type(checked.key) == "table" and table.concat(checked.key, ", ") or checked.key) }
end

--- A policy of the core, from what the site says.
--- @param given any  a name or { "hash", .. }
--- @return table|nil policy  number, hash (parts), bound (percent), text
--- @return string|nil err  what was expected
function M.read(given)
    if type(given) == "table" and given[1] == "hash" then return read_hash(given) end
    if type(given) ~= "string" then return nil end
    local name = canonical(given)
    if name == "ip_hash" then return read_hash { "hash", key = "ip" } end
    if POLICIES[name] then
        return { number = POLICIES[name], hash = {}, bound = 0, text = name }
    end
    if name == "hash" then return nil, 'balance = { "hash", key = .. }; key is ' .. KEYS end
    return nil, ('one of "%s", { "hash", key = .. }, a function(req, up), or a plugin with a '
        .. "balance hook"):format(table.concat(NAMES, '", "'))
end

--- Check of the option's row.
function M.check(value)
    if type(value) == "function" then return true end
    -- A plugin is looked at later.
    if type(value) == "table" and value[1] ~= "hash" then return true end
    local policy, err = M.read(value)
    if policy then return true end
    return nil, err or 'a policy\'s name, { "hash", key = .. }, a function(req, up), or a plugin '
        .. "with a balance hook"
end

return M
