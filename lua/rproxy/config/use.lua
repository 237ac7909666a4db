-- SPDX-License-Identifier: MIT
--
-- use: a `use` list as plugin instances. An entry is the name of a plugin, an instance M { ... },
-- or a table of hooks.

local nearest = require("rproxy.config.nearest")
local plugin = require("rproxy.plugin")
local schema = require("rproxy.schema")

local M = {}

--- Plugins that come with rproxy.
M.BUILT_IN = { "basic-auth", "canary", "fault", "headers", "ip-restriction", "ja4-deny",
    "jwt-auth", "metrics", "mirror", "ratelimit", "request-id" }

local function module_of(name)
    return "plugins." .. name:gsub("-", "_")
end

-- A plugin module by name: plugin | nil, what is wrong.
local function find(name)
    if not name:find("^[%a][%w_-]*$") then
        return nil, ("%s is no plugin's name"):format(schema.show(name))
    end
    local module = module_of(name)
    local found, result = pcall(require, module)
    if not found then
        local text = tostring(result)
        if text:find(("module '%s' not found"):format(module), 1, true) then
            return nil, ("no plugin %s: there is no module %s%s"):format(schema.show(name),
                module, nearest.hint(name, M.BUILT_IN))
        end
        return nil, ("plugin %s cannot be loaded: %s"):format(schema.show(name), text)
    end
    if not plugin.is_plugin(result) then
        return nil, ("module %s is no plugin: expected what rp.plugin returns, got %s"):format(
            module, schema.show(result))
    end
    return result
end

local function resolve_one(entry, at, path, report)
    if type(entry) == "string" then
        local found, err = find(entry)
        if not found then report:add(at, "%s: %s", path, err) return nil end
        return plugin.instance(found, {}, at)
    elseif plugin.is_instance(entry) then
        return entry
    elseif plugin.is_plugin(entry) then
        report:add(at, '%s: plugin %s itself; make an instance: %s { }', path, entry.name,
            entry.name:gsub("-", "_"))
    elseif type(entry) == "table" then
        return plugin.inline(entry, at)
    else
        report:add(at, "%s: expected a plugin's name, an instance or a table of hooks, got %s",
            path, schema.show(entry))
    end
end

local function note_errors(instance, report)
    if instance.noted then return end
    instance.noted = true
    for _, e in ipairs(instance.errors) do
        report:add(instance.at, "%s", e.path == "" and e.text or e.path .. ": " .. e.text)
    end
end

--- One entry as an instance; nil when it is none (reported).
function M.entry(entry, at, path, report)
    local instance = resolve_one(entry, at, path, report)
    if instance then note_errors(instance, report) end
    return instance
end

--- A whole list; wrong entries are reported and left out.
--- @param list any  nil is an empty list
--- @param at string  place of the constructor that holds it
--- @param report table
--- @return table[] instances
function M.list(list, at, report)
    local out = {}
    if list == nil then return out end
    if type(list) ~= "table" or plugin.is_plugin(list) or plugin.is_instance(list) then
        report:add(at, "use: expected a list of plugins, got %s; write use = { ... }",
            plugin.is_instance(list) and "one plugin" or schema.show(list))
        return out
    end
    local stray = schema.not_a_list(list)
    if stray ~= nil then
        report:add(at, "use: expected a list, got the key %s in it; a table of hooks is an entry: "
            .. "use = { { access = function(req) ... end } }", schema.show(stray))
        return out
    end
    for i, entry in ipairs(list) do
        out[#out + 1] = M.entry(entry, at, ("use[%d]"):format(i), report)
    end
    return out
end

return M
