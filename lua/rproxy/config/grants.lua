-- SPDX-License-Identifier: MIT
--
-- grants: what each instance of a plugin may do outside of its request, put together from `grant`
-- of the instance, `grants` of the site and the places that settings name; and whether all that the
-- plugin needs is in it. The rules are in rproxy.grant_rules, rproxy.grant enforces them.

local nearest = require("rproxy.config.nearest")
local rules = require("rproxy.grant_rules")
local schema = require("rproxy.schema")

local M = {}

-- `grants` of the site: set of rules by plugin.
local function read_site(model, order, report)
    local given, at, sets, used = model.opts.grants, model.place("grants"), {}, {}
    for _, instance in ipairs(order) do
        if instance.plugin then used[instance.name] = true end
    end
    for name, grant in pairs(given or {}) do
        local path = schema.join("grants", name)
        if not used[name] then
            report:add(at, "%s: no plugin of that name is used%s", path,
                nearest.hint(name, nearest.names(used)))
        end
        sets[name] = rules.new()
        rules.add(sets[name], grant, path, function(where, text)
            report:add(at, "%s: %s", where, text)
        end)
    end
    return sets
end

local function check_needs(instance, set, report)
    local plugin, missing, seen = instance.plugin, {}, {}
    for _, needs in ipairs { plugin.needs, plugin.uses or rules.new(), instance.wanted } do
        for _, spelling in ipairs(rules.missing(set, needs)) do
            if not seen[spelling] then missing[#missing + 1] = spelling end
            seen[spelling] = true
        end
    end
    for _, spelling in ipairs(missing) do
        report:add(instance.at, "plugin %s needs what it is not granted; write grant = { %s }",
            instance.name, spelling)
    end
end

local function policy_of(instance, site_sets, model, report)
    local set = rules.new()
    local function fail(path, text) report:add(instance.at, "%s: %s", path, text) end
    if instance.grant ~= nil then
        rules.add(set, instance.grant, ("plugins.%s.grant"):format(instance.name), fail)
    end
    if site_sets[instance.name] then rules.join(set, site_sets[instance.name]) end
    rules.join(set, instance.places)
    if set.ffi and instance.untrusted then
        report:add(instance.at, "plugin %s: an untrusted instance cannot be granted ffi",
            instance.name)
    elseif set.ffi and not model.opts.lua.ffi then
        report:add(instance.at, "plugin %s is granted ffi, and the site does not allow it; "
            .. "write lua = { ffi = true }", instance.name)
    end
    check_needs(instance, set, report)
    local upstreams = {}
    for _, ref in ipairs(instance.refs) do
        if not ref.zone then upstreams[ref.name] = true end
    end
    return { name = instance.name, at = instance.at, set = set, ffi_allowed = model.opts.lua.ffi,
        upstreams = upstreams }
end

--- Give every instance of a plugin its policy (instance.policy); code of the site has none, and may
--- do everything.
--- @param model table
--- @param order table[]  all instances
--- @param report table
function M.check(model, order, report)
    local site_sets = read_site(model, order, report)
    for _, instance in ipairs(order) do
        if instance.plugin then
            instance.policy = policy_of(instance, site_sets, model, report)
        end
    end
end

return M
