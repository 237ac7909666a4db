-- SPDX-License-Identifier: MIT
--
-- found: the `discover` of a site: routes that providers found, put beside those that are written.
-- The site says how far they may go: which hosts may be claimed, which chains of plugins may be
-- asked for, what hosts, routes and upstreams are made of. Which routes there are is a text that
-- comes with the evaluation (process/found.h): all who evaluate the site see the same.
--
--   discover = { "docker", hosts = { "*.apps.example.com" }, chains = { login = { .. } } }

local discover = require("rproxy.config.discover")
local nearest = require("rproxy.config.nearest")
local offer = require("rproxy.discover.offer")
local options = require("rproxy.config.options")
local plugin = require("rproxy.plugin")
local routes = require("rproxy.config.routes")
local schema = require("rproxy.schema")
local site = require("rproxy.config.site")
local use = require("rproxy.config.use")

local M = {}

local NAME = "=found" -- of the text, in the bundle of the site: script/bundle.h
local TEXT_MOST = 4 * 2 ^ 20
local PROVIDERS_MOST = 8
local KINDS = { docker = true, file = true, http = true }
-- What the templates cannot say: it is what is found.
local MADE = { host = { "routes", "default" }, upstream = { "peers", "discover" },
    route = { "upstream", "respond", "redirect", "content", "connect", "id", "name",
        "strip_prefix", "when", "unless" } }

-- ---------------------------------------------------------------- reading

local function copy(given, more)
    local out = {}
    for key, value in pairs(given) do out[key] = value end
    for key, value in pairs(more or {}) do out[key] = value end
    return out
end

local function as_list(value)
    return type(value) == "table" and value or {}
end

local function read_chains(entry, path, at, report)
    local given = entry.opts.chains
    entry.chains, entry.offered = {}, {}
    if type(given) ~= "table" then
        report:add(at, "%s.chains: expected lists of plugins by name, got %s", path,
            schema.show(given))
        return
    end
    for name, list in pairs(given) do
        if type(name) ~= "string" or not name:find("^[%w_][%w_.-]*$") then
            report:add(at, "%s.chains: expected names as keys, got %s", path, schema.show(name))
        else
            entry.chains[name] = use.list(list, at, report)
        end
    end
    for _, name in ipairs(nearest.names(entry.chains)) do
        for _, instance in ipairs(entry.chains[name]) do
            entry.offered[#entry.offered + 1] = instance
        end
    end
end

-- Options of what is made, as far as they can be judged before there is one.
local function check_template(entry, what, path, at, report)
    local given = entry.opts[what]
    path = ("%s.%s"):format(path, what)
    if type(given) ~= "table" or getmetatable(given) ~= nil or #given > 0 then
        report:add(at, "%s: expected a table of options of rp.%s, got %s", path, what,
            schema.show(given))
        entry.opts[what] = {}
        return
    end
    for _, name in ipairs(MADE[what]) do
        if given[name] ~= nil then
            report:add(at, "%s.%s: that is what is found; leave it out", path, name)
            entry.opts[what] = {}
            return
        end
    end
    local ctx = schema.context()
    schema.check(options.nodes[what], given, path, ctx)
    report:add_context(at, ctx)
end

local function read_entry(given, path, at, report)
    if type(given) ~= "table" then
        report:add(at, '%s: expected a provider such as { "docker", hosts = { '
            .. '"*.apps.example.com" } }, got %s', path, schema.show(given))
        return nil
    end
    local own, rest = {}, {}
    local known = options.nodes.found_routes.fields
    for key, value in pairs(given) do
        if known[key] and type(key) == "string" and not (key == "host" and type(value) == "string")
        then own[key] = value else rest[key] = value end
    end
    local one = discover.read_one(rest, path, at, report)
    local ctx = schema.context()
    local entry = { one = one, at = at, opts = schema.check(options.nodes.found_routes, own, path,
        ctx) }
    report:add_context(at, ctx)
    if not one or ctx.errors[1] then return nil end
    if one.kind and not KINDS[one.kind] then
        report:add(at, "%s: %s brings members to upstreams, and no routes; docker, file and http "
            .. "bring routes", path, one.kind)
        return nil
    end
    if one.kind == "docker" and one.settings.name then
        report:add(at, "%s.name: labels say the names of routes; leave it out", path)
    end
    -- An Engine that answers knows which containers run.
    if one.kind == "docker" and rest.empty == nil then one.common.empty = "take" end
    read_chains(entry, path, at, report)
    for _, what in ipairs { "host", "route", "upstream" } do
        check_template(entry, what, path, at, report)
    end
    return entry
end

local function read_entries(given, at, report)
    local list, is_list = discover.each(given)
    local entries, ones = {}, {}
    if #list > PROVIDERS_MOST then
        report:add(at, "discover: at most %d providers, got %d", PROVIDERS_MOST, #list)
        return entries
    end
    for i, item in ipairs(list) do
        local path = is_list and schema.join("discover", i) or "discover"
        local entry = read_entry(item, path, at, report)
        if entry then
            entries[#entries + 1], ones[#ones + 1] = entry, entry.one
            discover.prepare(entry.one, "", at, report)
        end
    end
    discover.name_all(ones)
    return entries
end

-- ---------------------------------------------------------------- what the site has

-- Names of hosts that are written: host -> place.
local function hosts_of(given)
    local taken = {}
    for _, node in ipairs(type(given) == "table" and given or {}) do
        if site.kind(node) == "host" then
            local _, names = routes.split_positional(node.given)
            for _, name in pairs(names) do
                if type(name) == "string" then taken[(name:lower():gsub("%.$", ""))] = node.at end
            end
        end
    end
    return taken
end

local function bounds_of(entry, given, taken)
    local upstreams = {}
    for name in pairs(type(given.upstreams) == "table" and given.upstreams or {}) do
        upstreams[name] = true
    end
    return { hosts = entry.opts.hosts, taken = taken, chains = entry.chains,
        upstreams = upstreams, label = entry.one.label, most = entry.opts.most }
end

-- ---------------------------------------------------------------- making

local function made(kind, given, at)
    local node = site[kind](given)
    node.at = at
    return node
end

local function upstream_of(entry, route, at)
    local common, given = entry.one.common, copy(entry.opts.upstream)
    local label, name = entry.one.label, route.name
    given.tls = route.tls and (given.tls or true) or nil
    if route.health then given.health = copy(given.health or {}, { path = route.health }) end
    -- The provider judged the members: what it may bring, its routes' upstreams take.
    local feed = {
        name = entry.one.name,
        is_found = true,
        unix = entry.one.kind == "file" or (entry.one.provider or {}).unix == true,
        start = function(settings, publish)
            return require("rproxy.discover.routes").feed(label, name).start(settings, publish)
        end,
        is_lost = function()
            return require("rproxy.discover.routes").feed(label, name).is_lost()
        end,
    }
    given.discover = { feed, empty = "take", wait = common.wait, settle = common.settle,
        max = common.max, allow = common.allow }
    return made("upstream", given, at)
end

-- The chains in their order, each instance once: it may be in two of them, or run here anyway, and
-- one that is twice on a request is an error of the site (validate.lua).
local function use_of(entry, route, outer)
    local seen, skipped, list = {}, {}, {}
    for _, name in ipairs(as_list(entry.opts.route.skip)) do skipped[name] = true end
    for _, given in ipairs { as_list(outer), as_list(entry.opts.host.use) } do
        for _, one in ipairs(given) do
            -- One that routes skip does not run: asked for again, it is left to the check.
            if plugin.is_instance(one) and not skipped[one.name] then seen[one] = true end
        end
    end
    local function add(given)
        for _, one in ipairs(given) do
            if not seen[one] then list[#list + 1] = one end
            if plugin.is_instance(one) then seen[one] = true end
        end
    end
    add(as_list(entry.opts.route.use))
    for _, name in ipairs(route.use) do add(entry.chains[name]) end
    return list
end

local function route_of(entry, route, upstream, at, outer)
    local given = copy(entry.opts.route)
    given[1], given.upstream, given.use = route.path, upstream, use_of(entry, route, outer)
    given.strip_prefix = route.strip_prefix
    return made("route", given, at)
end

local function add_route(entry, route, given, by_host)
    local at = ("found by %s (%s)"):format(entry.one.label, route.from or route.name)
    local upstream = entry.one.label .. ":" .. route.name
    given.upstreams[upstream] = upstream_of(entry, route, at)
    for _, name in ipairs(route.hosts) do
        local host = by_host[name]
        if not host then
            host = made("host", copy(entry.opts.host, { name, routes = {} }), at)
            by_host[name], given.hosts[#given.hosts + 1] = host, host
        end
        local list = host.given.routes
        list[#list + 1] = route_of(entry, route, upstream, at, given.use)
    end
end

-- The routes of one provider that hold here and now.
local function put_entry(entry, list, given, finds)
    local offers = {}
    for i, item in ipairs(type(list) == "table" and list or {}) do
        local route, why = offer.read(item)
        if route then route.age = i -- the text is in an order that settled who is older
        else finds.dropped[#finds.dropped + 1] = { from = "?", why = why } end
        offers[#offers + 1] = route
    end
    local found, _, bad = offer.resolve(offers, entry.bounds)
    for _, one in ipairs(bad) do finds.dropped[#finds.dropped + 1] = one end
    local by_host = {}
    for _, route in ipairs(found) do
        add_route(entry, route, given, by_host)
        entry.n = entry.n + #route.hosts
    end
    for name, node in pairs(by_host) do
        entry.bounds.taken[name] = entry.bounds.taken[name] or node.at
    end
end

--- What was found, as the evaluation brings it; nil: nothing was.
function M.text()
    local loaded, host = pcall(require, "rproxy.host")
    if not loaded then return nil end
    local read, text = pcall(host.read, NAME)
    return read and text or nil
end

--- A site with the routes that were found for it.
--- @param node table  what rp.site returned
--- @param text string|nil  of M.text()
--- @param place function  (setting) -> where it is written
--- @param report table
--- @return table|nil finds  given: the site's table with what was found; entries, taken, dropped,
---   offered; nil: the site asks nobody
function M.read(node, text, place, report)
    local given = node.given
    if given.discover == nil then return nil end
    local finds = { given = given, dropped = {}, offered = {}, taken = hosts_of(given.hosts),
        entries = read_entries(given.discover, place("discover"), report) }
    for _, entry in ipairs(finds.entries) do
        entry.n = 0
        for _, one in ipairs(entry.offered) do finds.offered[#finds.offered + 1] = one end
    end
    if not report:is_empty() or type(given.hosts) ~= "table" then return finds end
    local all = text and text ~= "" and require("rproxy.json").decode(text, { max = TEXT_MOST })
    local taken = copy(finds.taken)
    finds.is_known = type(all) == "table"
    finds.given = copy(given, { upstreams = copy(given.upstreams or {}),
        hosts = copy(given.hosts) })
    for _, entry in ipairs(finds.entries) do
        entry.bounds = bounds_of(entry, given, taken)
        put_entry(entry, finds.is_known and all[entry.one.label], finds.given, finds)
        entry.bounds = bounds_of(entry, given, nil) -- for the agent, who knows what is taken
    end
    return finds
end

-- ---------------------------------------------------------------- the agent

--- Have the agent look for routes.
--- @return boolean any
function M.build(model, sink)
    local finds = model.finds
    if not finds or #finds.entries == 0 then return false end
    sink:hook("agent", function()
        for _, entry in ipairs(finds.entries) do
            local one = entry.one
            if one.kind then one.provider = require("rproxy.discover." .. one.kind) end
        end
        require("rproxy.discover.routes").start(finds)
    end)
    return true
end

-- ---------------------------------------------------------------- what is shown

local function why_text(one)
    return ("%s%s: %s"):format(one.from or "?", one.route and (" (%s)"):format(one.route) or "",
        one.why)
end

--- Lines for `rproxy -T`: { depth, text, at }.
function M.lines(finds)
    local out = {}
    for _, entry in ipairs(finds.entries) do
        local names = nearest.names(entry.chains)
        out[#out + 1] = { 1, discover.text(entry.one), entry.at }
        out[#out + 1] = { 2, "hosts " .. table.concat(entry.opts.hosts, ", ") }
        if names[1] then out[#out + 1] = { 2, "chains " .. table.concat(names, ", ") } end
        out[#out + 1] = { 2, finds.is_known and ("%d route%s now"):format(entry.n,
            entry.n == 1 and "" or "s") or "no running instance has found routes" }
    end
    for _, one in ipairs(finds.dropped) do
        out[#out + 1] = { 1, "left out: " .. why_text(one) }
    end
    return out
end

--- Warnings of `rproxy -t`, a line each.
function M.warnings(finds)
    local out = {}
    for i, one in ipairs(finds and finds.dropped or {}) do
        out[i] = ("%s: warning: a route that was found is left out: %s\n"):format(
            finds.entries[1].at, why_text(one))
    end
    return table.concat(out)
end

return M
