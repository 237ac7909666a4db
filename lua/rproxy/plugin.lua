-- SPDX-License-Identifier: MIT
--
-- plugin: rp.plugin, and the instances that a `use` list holds.
--
-- A plugin module is rp.plugin { name, version, stage, schema, on_error } with a function
-- setup(conf) -> hooks. Calling it, M { ... }, makes an instance: its configuration is checked
-- there and then, setup runs once when the site is built.

local nearest = require("rproxy.config.nearest")
local schema = require("rproxy.schema")
local site = require("rproxy.config.site")

local M = {}

local Plugin, Instance = {}, {}

--- Hooks that a plugin may have; request hooks run in list order, response hooks in reverse.
M.HOOKS = { "init", "tls_hello", "certificate", "connect", "early", "access", "rewrite", "content",
    "balance", "header_filter", "body_filter", "log", "start", "stop" }
local IS_HOOK = {}
for _, name in ipairs(M.HOOKS) do IS_HOOK[name] = true end

local UNBUILT_HOOKS = { request_body = true }

--- What a plugin is for: decides what happens when one of its hooks raises.
M.STAGES = { "auth", "limit", "observe", "route", "transform", "waf" }
local CLOSED = { auth = true, limit = true, waf = true }

M.ON_ERROR = { "500", "closed", "open" }

local SPEC = schema.compile({
    name = { "string", required = true, match = "^%l[%l%d-]*$" },
    version = { "string" },
    stage = { "enum", M.STAGES },
    on_error = { "enum", M.ON_ERROR },
    doc = "string",
    schema = { "any", default = {} },
}, "rp.plugin")

-- Keys of an instance that are not the plugin's own.
local COMMON = schema.compile({
    on_error = { "enum", M.ON_ERROR },
    mode = { "unbuilt", doc = "shadow mode" },
}, "plugin")

-- ---------------------------------------------------------------- plugins

local function raise_first(ctx, what, level)
    local e = ctx.errors[1]
    if e then error(("%s: %s: %s"):format(what, e.path, e.text), level + 1) end
end

--- Define a plugin.
--- @param spec table  name, version, stage, schema, on_error, doc
--- @return table plugin  set plugin.setup; call plugin { ... } for an instance
function M.define(spec)
    if type(spec) ~= "table" then
        error("rp.plugin takes a table, got " .. schema.show(spec), 2)
    end
    local ctx = schema.context()
    local checked = schema.check(SPEC, spec, "", ctx)
    raise_first(ctx, "rp.plugin", 2)
    for name in pairs(COMMON.fields) do
        if checked.schema[name] ~= nil then
            error(("rp.plugin: schema.%s: every plugin has it already"):format(name), 2)
        end
    end
    local compiled, node = pcall(schema.compile, checked.schema, "plugins." .. checked.name)
    if not compiled then error(node, 2) end
    return setmetatable({
        name = checked.name, version = checked.version, stage = checked.stage, doc = checked.doc,
        on_error = checked.on_error or (CLOSED[checked.stage] and "closed" or "500"),
        schema = checked.schema, node = node, at = site.caller(2),
    }, Plugin)
end

-- Splits M { ... } into what every plugin takes and what this one does.
local function split(given)
    local common, own = {}, {}
    for key, value in pairs(given) do
        if COMMON.fields[key] then common[key] = value else own[key] = value end
    end
    return common, own
end

--- Make an instance. Mistakes are kept in it (`errors`): the site's report takes them.
--- @param plugin table
--- @param given table
--- @param at string  "file:line"
function M.instance(plugin, given, at)
    local ctx = schema.context()
    local common, own = split(given)
    local kept = schema.check(COMMON, common, "plugins." .. plugin.name, ctx)
    local conf = schema.check(plugin.node, own, "plugins." .. plugin.name, ctx)
    return setmetatable({
        plugin = plugin, name = plugin.name, at = at, conf = conf, errors = ctx.errors,
        refs = ctx.refs, on_error = kept.on_error or plugin.on_error,
    }, Instance)
end

function Plugin.__call(plugin, given, ...)
    local at = site.caller(2)
    if type(given) ~= "table" or select("#", ...) > 0 then
        error(("plugin %s takes one table: { ... }, got %s"):format(plugin.name,
            schema.show(given)), 2)
    end
    return M.instance(plugin, given, at)
end

function M.is_plugin(value)
    return getmetatable(value) == Plugin
end

function M.is_instance(value)
    return getmetatable(value) == Instance
end

-- ---------------------------------------------------------------- hooks

local function check_hooks(hooks)
    local errors = {}
    if type(hooks) ~= "table" then
        return { "setup returned " .. schema.show(hooks) .. "; expected a table of hooks" }
    end
    for _, name in ipairs(nearest.names(hooks)) do
        if UNBUILT_HOOKS[name] then
            errors[#errors + 1] = ("hook %q is not built yet; remove it"):format(name)
        elseif not IS_HOOK[name] then
            errors[#errors + 1] = ("unknown hook %q%s"):format(name, nearest.hint(name, M.HOOKS))
        elseif type(hooks[name]) ~= "function" then
            errors[#errors + 1] = ("hook %q: expected a function, got %s"):format(name,
                schema.show(hooks[name]))
        end
    end
    for key in pairs(hooks) do
        if type(key) ~= "string" then
            errors[#errors + 1] = ("expected hooks by name, got %s at [%s]"):format(
                schema.show(hooks[key]), tostring(key))
        end
    end
    return errors
end

-- ---------------------------------------------------------------- inline hooks

local function first_line(hooks)
    local line, file
    for _, hook in pairs(hooks) do
        local info = type(hook) == "function" and debug.getinfo(hook, "S")
        if info and (not line or info.linedefined < line) then
            line, file = info.linedefined, info.source:gsub("^@", "")
        end
    end
    return file, line
end

--- An instance of a table of hooks written in a `use` list. at: where the list is.
function M.inline(given, at)
    local hooks, settings, errors = {}, {}, {}
    for key, value in pairs(given) do
        if COMMON.fields[key] or key == "name" then settings[key] = value
        else hooks[key] = value end
    end
    local file, line = first_line(hooks)
    local place = file and ("%s:%d"):format(file, line) or at
    local name = settings.name
    if name ~= nil and type(name) ~= "string" then
        errors[1] = { path = "name", text = "expected a string, got " .. schema.show(name) }
        name = nil
    end
    settings.name = nil
    local ctx = schema.context()
    local kept = schema.check(COMMON, settings, "", ctx)
    for _, e in ipairs(ctx.errors) do errors[#errors + 1] = e end
    for _, text in ipairs(check_hooks(hooks)) do
        errors[#errors + 1] = { path = "", text = text }
    end
    return setmetatable({
        name = name or "inline@" .. place:match("[^/]*$"), at = place, given_hooks = hooks,
        errors = errors, refs = {}, on_error = kept.on_error or "500",
    }, Instance)
end

-- ---------------------------------------------------------------- setup

-- setup may not change what the next worker's setup will not see.
local function differs(a, b)
    if rawequal(a, b) then return false end
    if type(a) ~= "table" or type(b) ~= "table" then return true end
    for key, value in pairs(a) do
        if differs(value, rawget(b, key)) then return true end
    end
    for key in pairs(b) do
        if rawget(a, key) == nil then return true end
    end
    return false
end

local function copy(value)
    if type(value) ~= "table" or getmetatable(value) ~= nil then return value end
    local out = {}
    for key, item in pairs(value) do out[key] = copy(item) end
    return out
end

local function run_setup(instance)
    local plugin = instance.plugin
    if type(plugin.setup) ~= "function" then
        return nil, { ("plugin %s (%s) has no function setup(conf)"):format(plugin.name,
            plugin.at) }
    end
    local before = copy(instance.conf)
    schema.freeze(plugin.node, instance.conf)
    local ran, hooks = xpcall(function() return plugin.setup(instance.conf) end, debug.traceback)
    if not ran then
        local message, trace = tostring(hooks):match("^(.-)\nstack traceback:\n(.*)$")
        return nil, { ("plugin %s: setup raised: %s"):format(plugin.name, message or hooks),
            trace = trace }
    end
    if differs(before, instance.conf) then
        return nil, { ("plugin %s: setup changed its configuration; it is read-only"):format(
            plugin.name) }
    end
    return hooks
end

--- Run setup, once: instance.hooks afterwards.
--- @return string[]|nil errors
function M.open(instance)
    if instance.hooks then return nil end
    local hooks, errors = instance.given_hooks, nil
    if instance.plugin then hooks, errors = run_setup(instance) end
    if errors then return errors end
    errors = check_hooks(hooks)
    if errors[1] then return errors end
    instance.hooks = hooks
    return nil
end

return M
