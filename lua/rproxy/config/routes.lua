-- SPDX-License-Identifier: MIT
--
-- routes: one rp.route as the model that build hands over. Mistakes go to the report.

local coalesce = require("rproxy.config.coalesce")
local conditions = require("rproxy.config.conditions")
local locate = require("rproxy.config.locate")
local nearest = require("rproxy.config.nearest")
local options = require("rproxy.config.options")
local pages = require("rproxy.config.pages")
local pattern = require("rproxy.config.pattern")
local plugin = require("rproxy.plugin")
local schema = require("rproxy.schema")
local site = require("rproxy.config.site")
local splits = require("rproxy.config.splits")
local use = require("rproxy.config.use")

local M = {}

local ACTIONS = { "upstream", "respond", "redirect", "content", "connect" }
local REDIRECTS = { [301] = true, [302] = true, [303] = true, [307] = true, [308] = true }
local REDIRECT_DEFAULT = 302

-- ---------------------------------------------------------------- parts

local function split_positional(given)
    local named, positional = {}, {}
    for key, value in pairs(given) do
        if type(key) == "number" then positional[key] = value else named[key] = value end
    end
    return named, positional
end
M.split_positional = split_positional

local function read_pattern(route, positional, report)
    local text = positional[1]
    if type(text) ~= "string" then
        report:add(route.at, 'route: expected its pattern first, got %s; write rp.route '
            .. '{ "GET /path", upstream = "name" }', schema.show(text))
        return
    end
    for key, extra in pairs(positional) do
        if key ~= 1 then
            report:add(route.at, "route %s: one pattern per route, got also %s; write another "
                .. "rp.route", schema.show(text), schema.show(extra))
        end
    end
    local methods, rest = pattern.split(text)
    if not methods then
        report:add(route.at, "route %s: %s", schema.show(text), rest)
        return
    end
    route.methods, route.pattern = methods, rest
end

-- { name = value } in the order of names: tables have none, output must.
local function add_edits(edits, kind, response, map)
    for _, name in ipairs(nearest.names(map)) do
        edits[#edits + 1] = { kind = kind, response = response, name = name,
            value = map[name] }
    end
end

local function read_edits(route, headers)
    for _, side in ipairs { "request", "response" } do
        local of = headers[side]
        for _, name in ipairs(of.remove) do
            route.edits[#route.edits + 1] = { kind = "remove", response = side == "response",
                name = name, value = "" }
        end
        add_edits(route.edits, "set", side == "response", of.set)
        add_edits(route.edits, "add", side == "response", of.add)
    end
end

local function read_conditions(route, group, given, report)
    if not given then return end
    conditions.read(route.conds, given, group, group == "unless", function(...)
        report:add(route.at, ...)
    end)
end

-- ---------------------------------------------------------------- actions

local RESPOND = schema.compile({ headers = { "headers", default = {} } }, "respond")

local read = {}

-- A split's requests go to its base unless they are divided: that is the route's upstream.
function read.upstream(route, given, report)
    if site.kind(given) ~= "split" then
        route.upstream = given
        return
    end
    route.split = splits.read(given, report)
    local base = route.split.sides[route.split.base]
    route.upstream = base and base.name
end

function read.respond(route, given, report)
    if type(given) ~= "table" then
        report:add(route.at, 'respond: expected { status, "body" }, got %s', schema.show(given))
        return
    end
    local named, positional = split_positional(given)
    local status, body = positional[1], positional[2]
    if type(status) ~= "number" or status % 1 ~= 0 or status < 200 or status > 599 then
        report:add(route.at, "respond[1]: expected a status from 200 to 599, got %s",
            schema.show(status))
    elseif body ~= nil and type(body) ~= "string" then
        report:add(route.at, "respond[2]: expected the body as a string, got %s",
            schema.show(body))
    else
        route.status, route.body = status, body or ""
    end
    for key, value in pairs(positional) do
        if key ~= 1 and key ~= 2 then
            report:add(route.at, "respond[%s]: expected nothing after status and body, got %s",
                tostring(key), schema.show(value))
        end
    end
    local ctx = schema.context()
    local checked = schema.check(RESPOND, named, "respond", ctx)
    report:add_context(route.at, ctx)
    for _, name in ipairs(nearest.names(checked.headers or {})) do
        if name == "content-type" then
            route.content_type = checked.headers[name]
        else
            route.edits[#route.edits + 1] = { kind = "set", response = true, name = name,
                value = checked.headers[name] }
        end
    end
end

function read.redirect(route, given, report)
    local code, url = REDIRECT_DEFAULT, given
    if type(given) == "table" then
        code, url = given[1], given[2]
        for key in pairs(given) do
            if key ~= 1 and key ~= 2 then code = nil end
        end
    end
    if type(url) ~= "string" or url == "" or not REDIRECTS[code] then
        report:add(route.at, 'redirect: expected "url" or { code, "url" } with 301, 302, 303, 307 '
            .. "or 308, got %s", schema.show(given))
        return
    end
    local unknown = route.pattern and pattern.unknown_in(url, route.pattern)
    if unknown then
        local known = nearest.names(pattern.params(route.pattern))
        for _, name in ipairs { "host", "path", "query", "uri" } do known[#known + 1] = name end
        report:add(route.at, "redirect: nothing fills in {%s}%s", unknown,
            nearest.hint(unknown, known))
    end
    route.status, route.location = code, url
end

function read.content(route, given, report)
    if type(given) == "function" then
        route.content = plugin.inline({ content = given }, route.at)
    elseif plugin.is_instance(given) or type(given) == "string" then
        route.content = use.entry(given, route.at, "content", report)
    else
        report:add(route.at, "content: expected a function(req) or a plugin with a content hook, "
            .. "got %s", plugin.is_plugin(given) and ("plugin %s itself; make an instance"):format(
                given.name) or schema.show(given))
    end
end

-- The list itself was checked with the options; what its entries mean is for the C side.
function read.connect(route, given, report)
    local checked = route.opts.connect
    if route.pattern and not (route.methods == "CONNECT" and route.pattern == "*") then
        report:add(route.at, 'connect: a CONNECT has no path, and no other method has a target to '
            .. 'connect to; write rp.route { "CONNECT *", connect = { allow = { ... } } }')
    elseif type(given) == "table" and checked and #(checked.allow or {}) == 0 then
        report:add(route.at, 'connect.allow: empty, nothing could be reached; write allow = { '
            .. '"db.internal:5432", "*.svc.example:443", "10.0.0.0/8:22" }')
    end
end

local function read_action(route, given, report)
    local named
    for _, action in ipairs(ACTIONS) do
        if given[action] ~= nil and named then
            report:add(route.at, "route %s has two actions, %s and %s; keep one", route.label,
                named, action)
            return
        elseif given[action] ~= nil then
            named = action
        end
    end
    if not named then
        report:add(route.at, "route %s does nothing; give it one of upstream, respond, redirect, "
            .. "content, connect", route.label)
        return
    end
    route.action = named
    read[named](route, given[named], report)
end

-- ---------------------------------------------------------------- whole

--- @param node table  what rp.route returned
--- @param host table  the host's model
--- @param report table
--- @return table route
function M.read(node, host, report)
    local named, positional = split_positional(node.given)
    local route = { at = node.at, host = host, edits = {}, conds = {} }
    read_pattern(route, positional, report)
    route.label = schema.show(positional[1])

    local ctx = schema.context()
    local checked = schema.check(options.nodes.route, named, "", ctx)
    report:add_context(function(path) return locate.place(node, path) end, ctx)
    if checked.id and checked.name then
        report:add(route.at, "route %s: id and name are the same thing; keep one", route.label)
    end
    route.id = checked.id or checked.name
    route.opts, route.skip, route.meta = checked, checked.skip, checked.meta
    read_action(route, named, report)
    coalesce.read(route, node, report)
    if checked.headers then read_edits(route, checked.headers) end
    read_conditions(route, "when", checked.when, report)
    read_conditions(route, "unless", checked.unless, report)
    route.use = use.list(named.use, locate.place(node, "use"), report)
    route.pages = pages.read(named.error_pages, locate.place(node, "error_pages"), report)
    return route
end

return M
