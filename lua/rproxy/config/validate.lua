-- SPDX-License-Identifier: MIT
--
-- validate: what site.lua returned as a checked model.
--
-- The model: path, at, opts (checked options of the site), listeners { addresses, opts, at },
-- streams,
-- upstreams (list, in the order of names) and upstream_by_name, use, hosts { names, is_default,
-- use, routes }. Everything wrong is in the report; the model is for use only when that is empty.

local grants = require("rproxy.config.grants")
local locate = require("rproxy.config.locate")
local nearest = require("rproxy.config.nearest")
local options = require("rproxy.config.options")
local pages = require("rproxy.config.pages")
local routes = require("rproxy.config.routes")
local recording = require("rproxy.config.recording")
local schema = require("rproxy.schema")
local site = require("rproxy.config.site")
local splits = require("rproxy.config.splits")
local streams = require("rproxy.config.streams")
local subsets = require("rproxy.config.subsets")
local tls = require("rproxy.config.tls")
local upstreams = require("rproxy.config.upstreams")
local use = require("rproxy.config.use")
local zones = require("rproxy.config.zones")

local M = {}

-- ---------------------------------------------------------------- lists of constructors

-- Calls read(node, path) for each entry that was made by rp.<kind>.
local function each(list, name, kind, at, report, read)
    if type(list) ~= "table" or schema.not_a_list(list) ~= nil then
        report:add(at, "%s: expected a list of rp.%s { ... }, got %s", name, kind,
            site.kind(list) and "one rp." .. site.kind(list) .. "; write " .. name .. " = { ... }"
                or type(list) == "table" and "the key "
                    .. schema.show(schema.not_a_list(list)) .. " in it"
                or schema.show(list))
        return
    end
    for i, node in ipairs(list) do
        if site.kind(node) == kind then
            read(node)
        else
            report:add(at, "%s[%d]: expected rp.%s { ... }, got %s", name, i, kind,
                site.kind(node) and "rp." .. site.kind(node) or schema.show(node))
        end
    end
end

local function check_options(group, node, path, report)
    local named, positional = routes.split_positional(node.given)
    local ctx = schema.context()
    local checked = schema.check(options.nodes[group], named, "", ctx)
    report:add_context(function(key) return locate.place(node, key) end, ctx, path)
    return checked, positional
end

-- ---------------------------------------------------------------- listeners

local function read_listener(node, taken, report)
    local opts, addresses = check_options("listen", node, "rp.listen", report)
    local listener = { at = node.at, opts = opts, addresses = {},
        use = use.list(node.given.use, locate.place(node, "use"), report) }
    if #addresses == 0 then
        report:add(node.at, 'rp.listen: no address; write rp.listen { "127.0.0.1:8080" }')
    end
    for i, address in ipairs(addresses) do
        if type(address) ~= "string" then
            report:add(node.at, 'rp.listen[%d]: expected "address:port", got %s', i,
                schema.show(address))
        elseif address:find("^udp:") then
            report:add(node.at, "rp.listen: %s: HTTP is not spoken over UDP here; rp.stream relays "
                .. "datagrams", schema.show(address))
        elseif taken[address] then
            report:add(node.at, "rp.listen: %s is listened on already (%s)", schema.show(address),
                taken[address])
        else
            taken[address] = node.at
            listener.addresses[#listener.addresses + 1] = address
        end
    end
    return listener
end

local function is_empty(given)
    return given == nil or (type(given) == "table" and next(given) == nil)
end

local function read_listeners(model, given, taken, report)
    model.listeners = {}
    if is_empty(given) then
        if #model.streams > 0 then return end
        report:add(model.at, 'listeners: none; write listeners = { rp.listen '
            .. '{ "127.0.0.1:8080" } }')
        return
    end
    each(given, "listeners", "listen", model.at, report, function(node)
        model.listeners[#model.listeners + 1] = read_listener(node, taken, report)
    end)
end

-- This machine alone reaches these.
local function is_local(address)
    return address:find("^unix:") or address:find("^127%.%d+%.%d+%.%d+:%d+$")
        or address:find("^%[::1%]:%d+$")
end

-- One more listener, which no host is needed for.
local function read_metrics(model, taken, report)
    local opts, at = model.opts.metrics, model.place("metrics")
    if not opts or type(opts.listen) ~= "string" then return end
    if not opts.public and not is_local(opts.listen) then
        report:add(at, "metrics.listen: %s can be reached by other machines; take a loopback "
            .. "address or a unix socket, or say public = true", schema.show(opts.listen))
    end
    local listener = read_listener({ at = at, given = { opts.listen } }, taken, report)
    listener.metrics = true
    model.listeners[#model.listeners + 1] = listener
end

local function read_streams(model, given, taken, report)
    model.streams = {}
    if given == nil then return end
    each(given, "streams", "stream", model.at, report, function(node)
        model.streams[#model.streams + 1] = streams.read(node, taken, report)
    end)
end

-- ---------------------------------------------------------------- hosts

local function read_names(host, positional, taken, report)
    for i, name in ipairs(positional) do
        if type(name) ~= "string" or name == "" then
            report:add(host.at, 'rp.host[%d]: expected a name such as "example.com" or '
                .. '"*.example.com", got %s', i, schema.show(name))
        elseif taken[name:lower()] then
            report:add(host.at, "rp.host: %s has a host already (%s)", schema.show(name),
                taken[name:lower()])
        else
            taken[name:lower()] = host.at
            host.names[#host.names + 1] = name
        end
    end
    if #positional == 0 and not host.is_default then
        report:add(host.at, 'rp.host: no name; write rp.host { "example.com", ... } or '
            .. "rp.host { default = true, ... }")
    end
end

-- The same methods on the same pattern again, while the first has no condition: never reached.
local function check_reachable(host, report)
    local first = {}
    for _, route in ipairs(host.routes) do
        local key = route.pattern and route.methods .. " " .. route.pattern
        if key and first[key] then
            report:add(route.at, "route %s is never reached: the route of %s takes all of it",
                route.label, first[key].at)
        elseif key and #route.conds == 0 then
            first[key] = route
        end
    end
end

local function read_host(node, model, taken, report)
    local opts, positional = check_options("host", node, "rp.host", report)
    local host = { at = node.at, is_default = opts.default, names = {}, routes = {}, opts = opts }
    read_names(host, positional, taken, report)
    host.hsts = tls.read_hsts(node.given.hsts, model.hsts, locate.place(node, "hsts"), report)
    host.tls = tls.read_host(node.given.tls, host, model, locate.place(node, "tls"), report)
    host.use = use.list(node.given.use, locate.place(node, "use"), report)
    host.pages = pages.read(node.given.error_pages, locate.place(node, "error_pages"), report)
    if node.given.routes == nil then
        report:add(host.at, "rp.host: no routes; write routes = { rp.route { ... } }")
    else
        each(node.given.routes, "routes", "route", host.at, report, function(route)
            host.routes[#host.routes + 1] = routes.read(route, host, report)
        end)
    end
    check_reachable(host, report)
    if host.is_default and model.default_host then
        report:add(host.at, "rp.host: default = true is said already (%s)", model.default_host.at)
    elseif host.is_default then
        model.default_host = host
    end
    model.hosts[#model.hosts + 1] = host
end

local function read_hosts(model, given, report)
    local taken = {}
    model.hosts = {}
    if is_empty(given) then
        if #model.streams > 0 and #model.listeners == 0 then return end
        report:add(model.at, "hosts: none; write hosts = { rp.host { default = true, routes = "
            .. "{ ... } } }")
        return
    end
    each(given, "hosts", "host", model.at, report, function(node)
        read_host(node, model, taken, report)
    end)
end

-- ---------------------------------------------------------------- across

local function host_name(host)
    return host.names[1] or "default"
end

-- Given ids must be unique; made ones become so.
local function name_routes(model, report)
    local taken = {}
    for route in M.each_route(model) do
        if route.id and taken[route.id] then
            report:add(route.at, "route id %s is given already (%s)", schema.show(route.id),
                taken[route.id])
        elseif route.id then
            taken[route.id] = route.at
        end
    end
    for route in M.each_route(model) do
        if not route.id and route.pattern then
            local methods = route.methods ~= "" and route.methods .. " " or ""
            local id, n = host_name(route.host) .. " " .. methods .. route.pattern, 1
            while taken[n == 1 and id or id .. "#" .. n] do n = n + 1 end
            route.id = n == 1 and id or id .. "#" .. n
            taken[route.id] = route.at
        end
    end
end

local function check_upstream(name, what, at, model, report)
    if name == nil or model.upstream_given[name] ~= nil then return end
    report:add(at, "%s: no upstream %s%s", what, schema.show(name),
        nearest.hint(name, nearest.names(model.upstream_by_name)))
end

local function check_skip(route, model, report)
    local inherited = {}
    for _, list in ipairs { model.use, route.host.use } do
        for _, instance in ipairs(list) do inherited[instance.name] = true end
    end
    for _, name in ipairs(route.skip or {}) do
        if not inherited[name] then
            report:add(route.at, "skip: %s is not inherited here%s", schema.show(name),
                nearest.hint(name, nearest.names(inherited)))
        end
    end
end

-- One object in two places of one chain would run twice; two uses are two instances.
local function check_repeats(route, model, report)
    local seen = {}
    for _, list in ipairs { model.use, route.host.use, route.use } do
        for _, instance in ipairs(list) do
            if seen[instance] then
                report:add(route.at, "use: the same instance of %s twice on one request; make "
                    .. "another one, or remove it", instance.name)
            end
            seen[instance] = true
        end
    end
end

local function check_refs(model, report)
    for instance in pairs(M.instances(model)) do
        for _, ref in ipairs(instance.refs) do
            if ref.zone then
                zones.check(model, ref, instance.at, report)
            else
                check_upstream(ref.name, ref.path, instance.at, model, report)
            end
        end
    end
end

local function cross_check(model, report)
    local seen = {}
    for route in M.each_route(model) do
        if route.action == "upstream" and type(route.upstream) == "string" then
            if not route.split then
                check_upstream(route.upstream, "upstream", route.at, model, report)
            elseif not seen[route.split] then
                seen[route.split] = true
                for name, what in splits.upstreams_of(route.split) do
                    check_upstream(name, what, route.split.at, model, report)
                end
            end
        end
        subsets.read_route(route, not route.split and model.upstream_by_name[route.upstream],
            report)
        check_skip(route, model, report)
        check_repeats(route, model, report)
    end
    for _, stream in ipairs(model.streams) do
        for name, key in streams.upstreams_of(stream) do
            check_upstream(name, "rp.stream." .. key, stream.place(key), model, report)
        end
    end
    check_refs(model, report)
    local _, order = M.instances(model)
    grants.check(model, order, report)
    name_routes(model, report)
end

-- ---------------------------------------------------------------- whole

--- Iterate over all routes of all hosts.
function M.each_route(model)
    return coroutine.wrap(function()
        for _, host in ipairs(model.hosts) do
            for _, route in ipairs(host.routes) do coroutine.yield(route) end
        end
    end)
end

--- All instances: set of instance -> "site", "listen", "host", "route", "content", "balance" or
--- "stream"; and a list in
--- the order in which they are set up.
function M.instances(model)
    local levels, order = {}, {}
    local function add(instance, level)
        if not instance or levels[instance] then return end
        levels[instance] = level
        order[#order + 1] = instance
    end
    local record = model.record
    if record then add(record.outer, "site") end
    for _, instance in ipairs(model.use) do add(instance, "site") end
    for _, listener in ipairs(model.listeners) do
        for _, instance in ipairs(listener.use) do add(instance, "listen") end
    end
    for _, up in ipairs(model.upstreams) do add(up.balance, "balance") end
    for _, host in ipairs(model.hosts) do
        for _, instance in ipairs(host.use) do add(instance, "host") end
        for _, route in ipairs(host.routes) do
            for _, instance in ipairs(route.use) do add(instance, "route") end
            add(route.content, "content")
        end
    end
    for _, stream in ipairs(model.streams) do
        for _, instance in ipairs(stream.use) do add(instance, "stream") end
    end
    local offered = model.finds and model.finds.offered or {}
    for _, instance in ipairs(offered) do add(instance, "route") end
    if record then add(record.inner, "site") end
    return levels, order
end

-- The combined format is what it is: fields would be ignored.
local function check_access_log(model, report)
    local log = model.opts.log and model.opts.log.access
    if log and log.fields and log.format ~= "json" then
        report:add(model.place("log.access.fields"),
            'log.access.fields: only format = "json" has fields; set it, or remove them')
    end
end

--- Check a whole site.
--- @param node table  what rp.site returned
--- @param report table
--- @param place function|nil  (path) -> where that top-level setting is written
--- @param finds table|nil  routes that were found, of config/found.lua
--- @return table model
function M.check(node, report, place, finds)
    local given = node.given
    local model = { at = node.at, finds = finds, place = place or function() return node.at end }
    local ctx = schema.context()
    model.opts = schema.check(options.nodes.site, given, "", ctx)
    report:add_context(model.place, ctx)
    check_access_log(model, report)
    model.record = recording.check(model, report)
    model.zones = zones.read_all(given.shared, model.place("shared"), report)
    model.use = use.list(given.use, model.place("use"), report)
    model.pages = pages.read(given.error_pages, model.place("error_pages"), report)
    model.upstreams, model.upstream_by_name = upstreams.read_all(given.upstreams,
        model.place("upstreams"), report)
    model.upstream_given = type(given.upstreams) == "table" and given.upstreams or {}
    local taken = {}
    read_streams(model, given.streams, taken, report)
    read_listeners(model, given.listeners, taken, report)
    tls.read_listeners(model, given.tls, report)
    model.hsts = tls.read_hsts(given.hsts, "", model.place("hsts"), report)
    read_hosts(model, given.hosts, report)
    read_metrics(model, taken, report)
    cross_check(model, report)
    return model
end

return M
