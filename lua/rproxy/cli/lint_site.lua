-- SPDX-License-Identifier: MIT
--
-- lint_site: what a site says, as a whole: rproxy.config.model tells. found(at, code, text) with at
-- as "file:line".

local M = {}

-- ---------------------------------------------------------------- routes

local function each_route(model, run)
    for _, host in ipairs(model.hosts) do
        for _, route in ipairs(host.routes) do run(route, host) end
    end
end

-- /a/{x} and /a/{y} are the same to who chooses.
local function shape_of(pattern)
    return (pattern:gsub("{[^}:]*", "{"))
end

local function methods_of(text)
    if text == "" then return nil end
    local set = {}
    for name in text:gmatch("[^,%s]+") do
        set[name] = true
        if name == "GET" then set.HEAD = true end
    end
    return set
end

local function takes_all_of(a, b)
    if a == nil then return true end
    if b == nil then return false end
    for name in pairs(b) do
        if not a[name] then return false end
    end
    return true
end

local function cond_key(c)
    return table.concat({ c.kind, c.op, tostring(c.negate), c.name, tostring(c.value) }, "\0")
end

-- Do all conditions of a hold whenever those of b do?
local function asks_no_more(a, b)
    local has = {}
    for _, c in ipairs(b.conds) do has[cond_key(c)] = true end
    for _, c in ipairs(a.conds) do
        if not has[cond_key(c)] then return false end
    end
    return true
end

local function check_reach(host, found)
    for i, route in ipairs(host.routes) do
        for k = 1, i - 1 do
            local before = host.routes[k]
            if shape_of(before.pattern) == shape_of(route.pattern)
                and takes_all_of(methods_of(before.methods), methods_of(route.methods))
                and asks_no_more(before, route) then
                found(route.at, "unreachable-route", ("route %s is never reached: the route of %s "
                    .. "takes all its requests (write this one before it)"):format(route.id,
                    before.at))
                break
            end
        end
    end
end

local PHASES = { "early", "access", "rewrite", "content", "request_body", "header_filter",
    "body_filter", "log" }

local function instances_of(model, route)
    local out, seen = {}, {}
    local function add(entries)
        for _, entry in ipairs(entries or {}) do
            if not seen[entry.instance] then
                seen[entry.instance] = true
                out[#out + 1] = model.instances[entry.instance]
            end
        end
    end
    add(model.early)
    for _, phase in ipairs(PHASES) do add(route.chains[phase]) end
    return out
end

local WANTS_AUTH = { upstream = true, content = true, connect = true }

local function check_auth(model, route, found, level)
    if not WANTS_AUTH[route.action] or route.meta.public == true then return end
    for _, instance in ipairs(instances_of(model, route)) do
        if instance.stage == "auth" then return end
    end
    found(route.at, "no-auth", ("route %s: no instance of stage auth sees its requests (if that is "
        .. "meant: meta = { public = true })"):format(route.id), level)
end

-- Networks of all addresses, with whatever ports.
local function is_anywhere(where)
    return where:find("^0%.0%.0%.0/0:") or where:find("^%[?::/0%]?:") or where:find("^%[::%]/0:")
        or where:find("^%*:")
end

local function check_connect(route, found)
    if route.action ~= "connect" then return end
    for _, where in ipairs(route.target.allow or {}) do
        if is_anywhere(where) then
            found(route.at, "open-proxy", ("route %s connects its clients to any host (name hosts "
                .. "and ports in connect.allow)"):format(route.id))
        end
    end
end

-- ---------------------------------------------------------------- what nobody uses

-- Names may be looked up by code: any word like it in the sources counts, but not its definition.
local function is_named(sources, fmt, name)
    for _, text in pairs(sources) do
        for _, pattern in ipairs(fmt) do
            if text:find(pattern:format((name:gsub("%p", "%%%0")))) then return true end
        end
    end
    return false
end

local function check_zones(model, sources, found)
    local used = {}
    for _, ref in ipairs(model.refs) do
        if ref.zone then used[ref.name] = true end
    end
    for _, zone in ipairs(model.zones) do
        if not used[zone.name] and not is_named(sources, { "shared%%.%s%%f[^%%w_]",
            "shared%%[[\"']%s[\"']", "zone%%s*=%%s*[\"']%s[\"']" }, zone.name) then
            found(zone.at, "unused-zone", ("nobody uses the zone %s (remove it)"):format(zone.name))
        end
    end
end

local function check_upstreams(model, sources, found)
    local used = {}
    for _, ref in ipairs(model.refs) do
        if not ref.zone then used[ref.name] = true end
    end
    each_route(model, function(route)
        for _, name in ipairs(route.split or {}) do used[name] = true end
        if route.action == "upstream" and type(route.target) == "string" then
            used[route.target] = true
        end
    end)
    for _, stream in ipairs(model.streams) do
        if stream.upstream then used[stream.upstream] = true end
        for _, rule in ipairs(stream.rules) do
            if rule.upstream then used[rule.upstream] = true end
        end
    end
    for _, up in ipairs(model.upstreams) do
        if not used[up.name] and not is_named(sources, { "[\"']%s[\"']",
            "upstreams%%.%s%%f[^%%w_]" }, up.name) then
            found(up.at, "unused-upstream", ("nobody uses the upstream %s (remove it)"):format(
                up.name))
        end
    end
end

-- ---------------------------------------------------------------- settings

local LIMITS = { "limits.body", "limits.spill", "timeouts.header", "timeouts.body", "timeouts.send",
    "timeouts.keepalive", "timeouts.tunnel", "timeouts.hook_wait", "timeouts.tls_handshake",
    "lua.cpu_budget", "lua.heap", "limits.body_rate", "limits.send_rate" }
local UP_LIMITS = { "timeouts.connect", "timeouts.send", "timeouts.first_byte", "timeouts.idle" }

local function check_limits(opts, names, at, what, found)
    for _, name in ipairs(names) do
        if opts[name] == 0 or opts[name] == "no limit" or opts[name] == false then
            found(at, "no-limit", ("%s%s has no limit (who needs more gets it on a route)"):format(
                what, name))
        end
    end
end

local EVERYBODY = { ["0.0.0.0/0"] = true, ["::/0"] = true }

local function check_trust(model, found)
    for _, network in ipairs(model.opts.trust or {}) do
        if EVERYBODY[network] then
            found(model.at, "trust-everybody", ("trust = %s: any client writes its own address "
                .. "(name the networks of your proxies)"):format(network))
        end
    end
end

local function is_own(address)
    return address:find("^127%.") or address:find("^%[::1%]") or address:find("^localhost")
        or address:find("^unix:")
end

local function check_listeners(model, found)
    for _, listener in ipairs(model.listeners) do
        for _, address in ipairs(listener.addresses) do
            if not listener.tls and not listener.opts.redirect_https and not is_own(address) then
                found(listener.at, "plain-text", ("%s has no TLS (tls = true, or "
                    .. "redirect_https = true)"):format(address))
                break
            end
        end
    end
end

local function check_up_tls(model, found)
    for _, up in ipairs(model.upstreams) do
        if up.tls and up.tls.verify == false then
            found(up.at, "tls-unverified", ("upstream %s: anybody may answer in its place "
                .. "(tls = { ca = ... } rather than verify = false)"):format(up.name))
        end
        check_limits(up.opts, UP_LIMITS, up.at, ("upstreams.%s: "):format(up.name), found)
    end
end

local function check_instances(model, found)
    for _, instance in ipairs(model.instances) do
        if instance.stage == "auth" and instance.on_error == "open" then
            found(instance.at, "auth-fails-open", ("%s: on_error = \"open\" lets requests in when "
                .. "it fails (leave it out: an auth plugin is closed)"):format(instance.name))
        end
    end
end

-- ---------------------------------------------------------------- regular expressions

local function each_pattern(value, run)
    if type(value) ~= "table" then return end
    if type(value["$object"]) == "string" then run(value["$object"]) return end
    for _, item in pairs(value) do each_pattern(item, run) end
end

local function check_patterns(model, found)
    local regex = require("rproxy.cli.lint_regex")
    local function check(at, source)
        local why = regex.danger(source)
        if why then found(at, "regex-explodes", why) end
    end
    each_route(model, function(route)
        for _, c in ipairs(route.conds) do
            if c.op == "regex" then check(route.at, c.value) end
        end
        local source = route.pattern:match("^~%s*(.*)$")
        if source then check(route.at, source) end
    end)
    for _, instance in ipairs(model.instances) do
        each_pattern(instance.conf, function(source) check(instance.at, source) end)
    end
end

-- ---------------------------------------------------------------- whole

--- @param model table
--- @param sources table<string, string>  the site's own files by path
--- @param opts table  auth: say "warning" of routes without authentication
--- @param found fun(at, code, text, level)
function M.check(model, sources, opts, found)
    for _, host in ipairs(model.hosts) do check_reach(host, found) end
    each_route(model, function(route)
        check_auth(model, route, found, opts.auth and "warning" or nil)
        check_connect(route, found)
        check_limits(route.opts, { "limits.body" }, route.at, ("route %s: "):format(route.id),
            found)
    end)
    for _, finding in ipairs(model.order) do found(finding.at, "order", finding.text) end
    check_zones(model, sources, found)
    check_upstreams(model, sources, found)
    check_limits(model.opts, LIMITS, model.at, "", found)
    check_trust(model, found)
    check_listeners(model, found)
    check_up_tls(model, found)
    check_instances(model, found)
    check_patterns(model, found)
end

return M
