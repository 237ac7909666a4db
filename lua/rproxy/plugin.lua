-- SPDX-License-Identifier: MIT
--
-- plugin: rp.plugin, and the instances that a `use` list holds.
--
-- A plugin module is rp.plugin { name, version, stage, schema, on_error } with a function
-- setup(conf) -> hooks. Calling it, M { ... }, makes an instance: its configuration is checked
-- there and then, setup runs once when the site is built. `needs` is what it wants to do outside of
-- its request (grant_rules.lua); the site grants it. An instance that is `untrusted` is one of a
-- copy of the module that runs confined (confine.lua).

local nearest = require("rproxy.config.nearest")
local rules = require("rproxy.grant_rules")
local schema = require("rproxy.schema")
local site = require("rproxy.config.site")

local M = {}

local Plugin, Instance = {}, {}

--- Hooks that a plugin may have; request hooks run in list order, response hooks in reverse.
M.HOOKS = { "init", "tls_hello", "certificate", "connect", "early", "access", "rewrite", "content",
    "balance", "request_body", "header_filter", "body_filter", "log", "start", "stop" }
local IS_HOOK = {}
for _, name in ipairs(M.HOOKS) do IS_HOOK[name] = true end

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
    needs = { "any", default = {} },
}, "rp.plugin")

-- Keys of an instance that are not the plugin's own.
local COMMON = schema.compile({
    on_error = { "enum", M.ON_ERROR, doc = "What happens when a hook of the plugin raises: answer "
        .. "500, go on without it, or refuse." },
    grant = { "any", doc = "What it may do outside of its request: net, fs, exec, env, ffi." },
    untrusted = { "boolean", default = false,
        doc = "Run a copy of the module in a box, under the bounds of limits." },
    limits = { "object", optional = true, fields = {
        instructions = { "integer", default = 1e6, min = 100, max = 1e12,
            doc = "Of one call of an untrusted instance." },
        memory = { "size", default = "8m", min = 4096, max = 2 ^ 40,
            doc = "That one call of an untrusted instance may allocate." },
    } },
    order = { "enum", { "as listed" }, doc = "No warnings about where it is listed." },
    breaker = { "object", optional = true, fields = {
        errors = { "number", default = 0.5, min = 0.001, max = 1,
            doc = "Share of its calls that fail, at which it is taken out of its chains." },
        min = { "integer", default = 20, min = 1, max = 1e9,
            doc = "Calls before that counts." },
        within = { "duration", default = 10, min = 0.1, max = 86400,
            doc = "Time over which is counted." },
        slow = { "duration", min = 0.001, max = 3600,
            doc = "A call that takes longer, waits included, has failed too." },
        open = { "duration", default = 30, min = 0.1, max = 86400,
            doc = "Time until single calls are let through again." },
        policy = { "enum", { "bypass", "deny", "last-good" },
            doc = "Meanwhile: go on without it, refuse, or go back to the site before the last "
                .. "reload. By on_error unless set: open bypasses, the others deny." },
    } },
    mode = { "enum", { "enforce", "shadow" }, default = "enforce",
        doc = "shadow: note and count what it decides and changes, and do none of it." },
}, "plugin")

--- Settings of every instance, compiled; for documentation.
M.common = COMMON

-- ---------------------------------------------------------------- plugins

local function raise_first(ctx, what, level)
    local e = ctx.errors[1]
    if e then error(("%s: %s: %s"):format(what, e.path, e.text), level + 1) end
end

--- What the loader knows of the module that is being loaded, where there is a loader: uses() -> a
--- set of what its code has used, module() -> its name.
M.loading = { uses = function() end, module = function() end }

--- The plugin that the confined copy of a module defines: (plugin, limits) -> plugin | nil, why.
M.confine = function() return nil, "this program cannot" end

local function needs_of(given)
    local set = rules.new()
    rules.add(set, given, "needs", function(path, text)
        error(("rp.plugin: %s: %s"):format(path, text), 3)
    end)
    return set
end

--- Define a plugin.
--- @param spec table  name, version, stage, schema, needs, on_error, doc
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
        schema = checked.schema, node = node, at = site.caller(2), needs = needs_of(checked.needs),
        uses = M.loading.uses(), module = M.loading.module(),
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

-- The plugin that an instance is made of: for an untrusted one a copy of its own.
local function of_trust(plugin, kept, path, ctx)
    if not kept.untrusted and not plugin.always_confined then
        if kept.limits then ctx:fail(path .. ".limits", "for untrusted instances only") end
        return plugin
    end
    local limits = kept.limits or { instructions = 1e6, memory = 8 * 2 ^ 20 }
    local confined, why = M.confine(plugin, limits)
    if confined then return confined end
    ctx:fail(path .. ".untrusted", "%s", why)
    return plugin
end

--- Make an instance. Mistakes are kept in it (`errors`): the site's report takes them.
--- @param plugin table
--- @param given table
--- @param at string  "file:line"
function M.instance(plugin, given, at)
    local ctx = schema.context()
    local common, own = split(given)
    local path = "plugins." .. plugin.name
    local kept = schema.check(COMMON, common, path, ctx)
    plugin = of_trust(plugin, kept, path, ctx)
    local conf = schema.check(plugin.node, own, path, ctx)
    for _, ref in ipairs(plugin.zones and ctx.refs or {}) do
        if ref.zone then plugin.zones[ref.name] = true end
    end
    return setmetatable({
        plugin = plugin, name = plugin.name, at = at, conf = conf, errors = ctx.errors,
        mode = kept.mode, breaker = kept.breaker, refs = ctx.refs,
        on_error = kept.on_error or plugin.on_error, grant = kept.grant,
        places = ctx.places, wanted = ctx.wanted, order = kept.order,
        untrusted = plugin.confined ~= nil, limits = plugin.confined,
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

--- A plugin of a module that is not trusted: its code is loaded in a box, and nowhere else.
--- @param module string  "plugins.name", as require takes it
--- @return table plugin
function M.untrusted(module)
    if type(module) ~= "string" then error("rp.untrusted takes a module's name", 2) end
    local made, why = M.confine({ module = module }, { instructions = 1e6, memory = 8 * 2 ^ 20 })
    if not made then error(("rp.untrusted %q: %s"):format(module, why), 2) end
    made.always_confined = true
    return made
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
        if not IS_HOOK[name] then
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
    for _, key in ipairs { "grant", "untrusted", "limits" } do
        if settings[key] ~= nil then
            errors[#errors + 1] = { path = key, text = "is for plugins that rp.plugin makes; hooks "
                .. "of the site may do what the site may" }
        end
        settings[key] = nil
    end
    local ctx = schema.context()
    local kept = schema.check(COMMON, settings, "", ctx)
    for _, e in ipairs(ctx.errors) do errors[#errors + 1] = e end
    for _, text in ipairs(check_hooks(hooks)) do
        errors[#errors + 1] = { path = "", text = text }
    end
    return setmetatable({
        name = name or "inline@" .. place:match("[^/]*$"), at = place, given_hooks = hooks,
        errors = errors, refs = {}, on_error = kept.on_error or "500", mode = kept.mode,
        order = kept.order,
        breaker = kept.breaker,
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
    if instance.mode ~= "shadow" then return nil end
    local shadows, why = require("rproxy.shadow").hooks(instance)
    if not shadows then return { ("plugin %s: %s"):format(instance.name, why) } end
    instance.hooks = shadows
    return nil
end

return M
