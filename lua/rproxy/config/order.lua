-- SPDX-License-Identifier: MIT
--
-- order: is the order of a route's plugins one that works? Plugins say by their stage what they are
-- for; where two of them run in an order that defeats one, that is a warning, as are an
-- authentication that a route skips, and the same plugin twice with the same settings.
--
-- The order is that in which request hooks run: all `early`, then all `access`, then all `rewrite`;
-- so a transform that has only rewrite hooks comes after all access hooks wherever it is listed.
-- Silence is `order = "as listed"` in an instance, or in the `meta` of a route (there
-- `public = true` speaks of authentication alone).

local chains = require("rproxy.config.chains")
local schema = require("rproxy.schema")

local M = {}

local HOOKS = { "early", "access", "rewrite" }

-- The hook with which an instance first sees a request, as a number; nil: with none.
local function first_hook(instance)
    for i, name in ipairs(HOOKS) do
        if instance.hooks[name] then return i end
    end
end

-- { instance, stage, hook } in the order in which they run.
local function runs_of(instances)
    local list = {}
    for i, instance in ipairs(instances) do
        local hook = first_hook(instance)
        if hook then
            list[#list + 1] = { instance = instance, hook = hook, at = i,
                stage = instance.plugin and instance.plugin.stage }
        end
    end
    table.sort(list, function(a, b)
        if a.hook ~= b.hook then return a.hook < b.hook end
        return a.at < b.at
    end)
    return list
end

-- Does it count by who the client is? Then somebody must have said who that is.
local function by_consumer(instance)
    for _, value in pairs(instance.conf or {}) do
        if value == "consumer" then return true end
    end
    return false
end

-- first, second: stages in the order that defeats one; of whom the warning is; why, with the names
-- of first and second; only: what else must hold.
local RULES = {
    { "limit", "auth", of = 1, only = by_consumer,
        why = "%s counts by consumer, and %s, which says who that is, runs after it" },
    { "transform", "waf", of = 2,
        why = "%s changes the request before %s looks at it, which sees not what the client sent" },
    { "auth", "waf", of = 2,
        why = "%s reads what the client sent before %s has looked at it" },
    { "route", "waf", of = 2, why = "%s chooses an upstream before %s has looked at the request" },
    { "limit", "waf", of = 2,
        why = "%s counts, by what the client sent, before %s has looked at it" },
    { "transform", "auth", of = 2,
        why = "%s changes the request before %s judges it" },
    { "route", "auth", of = 1,
        why = "%s chooses an upstream before %s says who the client is" },
    { "auth", "observe", of = 2,
        why = "what %s refuses is not seen by %s, which runs after it" },
    { "limit", "observe", of = 2,
        why = "what %s refuses is not seen by %s, which runs after it" },
    { "waf", "observe", of = 2,
        why = "what %s refuses is not seen by %s, which runs after it" },
}

local function is_silent(...)
    for i = 1, select("#", ...) do
        if (select(i, ...)).order == "as listed" then return true end
    end
    return false
end

local function check_pair(a, b, found)
    for _, rule in ipairs(RULES) do
        if a.stage == rule[1] and b.stage == rule[2] and not is_silent(a.instance, b.instance)
            and (not rule.only or rule.only(a.instance)) then
            local of = rule.of == 1 and a or b
            found(of.instance.at, rule.why:format(a.instance.name, b.instance.name),
                of == a and "list it after " .. b.instance.name
                    or "list it before " .. a.instance.name)
        end
    end
end

local function same(a, b)
    if rawequal(a, b) then return true end
    if type(a) ~= "table" or type(b) ~= "table" then return false end
    for key, value in next, a do
        if not same(value, rawget(b, key)) then return false end
    end
    for key in next, b do
        if rawget(a, key) == nil then return false end
    end
    return true
end

local function check_twins(instances, found)
    for j, b in ipairs(instances) do
        for i = 1, j - 1 do
            local a = instances[i]
            if a.plugin and b.plugin and a.name == b.name and a ~= b and same(a.conf, b.conf)
                and not is_silent(a, b) then
                found(b.at, ("%s runs twice with the same settings (the first: %s)"):format(b.name,
                    a.at), "remove one")
                break
            end
        end
    end
end

-- What authenticates elsewhere and was taken away here, and nothing instead.
local function check_skip(model, route, instances, found)
    for _, instance in ipairs(instances) do
        if instance.plugin and instance.plugin.stage == "auth" then return end
    end
    local skipped = {}
    for _, name in ipairs(route.skip or {}) do skipped[name] = true end
    for _, list in ipairs { model.use, route.host.use } do
        for _, instance in ipairs(list) do
            if skipped[instance.name] and instance.plugin and instance.plugin.stage == "auth" then
                found(route.at, ("nothing authenticates the requests of this route: it skips %s")
                    :format(instance.name), 'say that it is meant: meta = { public = true }')
            end
        end
    end
end

local function silence_of(route)
    local meta = type(route.meta) == "table" and route.meta or {}
    return meta.order == "as listed", meta.public == true
end

local function check_route(model, route, found)
    local all_silent, public = silence_of(route)
    if all_silent then return end
    local instances = chains.instances_of(model, route.host, route)
    local runs = runs_of(instances)
    for j = 2, #runs do
        for i = 1, j - 1 do check_pair(runs[i], runs[j], found) end
    end
    check_twins(instances, found)
    if not public then check_skip(model, route, instances, found) end
end

local function comes_before(a, b)
    local file_a, line_a = a.at:match("^(.*):(%d+)$")
    local file_b, line_b = b.at:match("^(.*):(%d+)$")
    if file_a ~= file_b then return tostring(file_a) < tostring(file_b) end
    if line_a ~= line_b then return tonumber(line_a or 0) < tonumber(line_b or 0) end
    return a.text < b.text
end

--- Warnings of a model that was built (setup has run), in the order of the file; each is said once,
--- with the first route that it is about.
--- @param model table
--- @return table[] warnings  { at = "file:line", text =, route = id, routes = how many }
function M.warnings(model)
    local list, by_key = {}, {}
    for _, host in ipairs(model.hosts) do
        for _, route in ipairs(host.routes) do
            check_route(model, route, function(at, what, advice)
                local key = at .. "\0" .. what
                local warning = by_key[key]
                if not warning then
                    warning = { at = at, what = what, advice = advice, route = route.id,
                        routes = 0 }
                    by_key[key], list[#list + 1] = warning, warning
                end
                warning.routes = warning.routes + 1
            end)
        end
    end
    for _, w in ipairs(list) do
        local more = w.routes > 1 and (" and %d more"):format(w.routes - 1) or ""
        w.text = ("%s (route %s%s); %s"):format(w.what, schema.show(w.route), more, w.advice)
    end
    table.sort(list, comes_before)
    return list
end

--- The same as lines "file:line: warning: what".
--- @return string  "" when there is none
function M.text(model)
    local out = {}
    for i, w in ipairs(M.warnings(model)) do
        out[i] = ("%s: warning: %s\n"):format(w.at, w.text)
    end
    return table.concat(out)
end

return M
