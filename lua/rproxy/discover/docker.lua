-- SPDX-License-Identifier: MIT
--
-- docker: members, and routes, from labels of containers, by the Engine's API: which containers
-- there are, and its stream of events, which says when to ask again.

local client = require("rproxy.discover.client")
local json = require("rproxy.json")
local member = require("rproxy.discover.member")
local nearest = require("rproxy.config.nearest")
local service = require("rproxy.service")
local shape = require("rproxy.discover.shape")

local M = {}

local str, num, tab = shape.str, shape.num, shape.tab

-- After these a list may be another one. (Of health: "health_status: healthy".)
local EVENTS = { "start", "die", "stop", "kill", "pause", "unpause", "destroy", "rename", "update",
    "health_status", "connect", "disconnect" }

local function name_of(container)
    local name = str(tab(container.Names)[1])
    return name and name:gsub("^/", "") or (str(container.Id) or "?"):sub(1, 12)
end

local function has_name(list, name)
    for word in list:gmatch("[^,%s]+") do
        if word == name then return true end
    end
    return false
end

-- Its network: the one that is named, else its only one.
local function network_of(container, wanted)
    local networks = tab(tab(container.NetworkSettings).Networks)
    if wanted then
        local found = networks[wanted]
        if type(found) ~= "table" then return nil, "it is not in network " .. wanted end
        return found
    end
    local name = next(networks)
    if not name then return nil, "it is in no network" end
    if next(networks, name) ~= nil then
        return nil, "it is in several networks; say which: network, or label rproxy.network"
    end
    return tab(networks[name])
end

-- The port inside: the one that is named, else the only one there is.
local function port_of(container, wanted)
    if wanted then
        local port = num(wanted)
        if not port then return nil, "its label rproxy.port is no number" end
        return port
    end
    local found
    for _, port in ipairs(tab(container.Ports)) do
        local inside = tab(port).Type == "tcp" and num(port.PrivatePort)
        if inside and found and found ~= inside then
            return nil, "it has several ports; say which: port, or label rproxy.port"
        end
        found = inside or found
    end
    if found then return found end
    return nil, "it exposes no TCP port; say which: port, or label rproxy.port"
end

-- Where the port is published on the host.
local function published(container, inside, host)
    local found
    for _, port in ipairs(tab(container.Ports)) do
        local outside = tab(port).Type == "tcp" and num(port.PrivatePort) == inside
            and num(port.PublicPort)
        local ip = str(tab(port).IP) or ""
        if outside and (not found or not ip:find(":", 1, true)) then
            local any = ip == "" or ip == "0.0.0.0" or ip == "::"
            found = { any and host or ip, outside }
        end
    end
    if not found then return nil, ("its port %d is not published"):format(inside) end
    return found[1], found[2]
end

-- Host and port; nil and why. wanted: the port that a label says.
local function place_of(container, s, labels, wanted)
    local inside, why = port_of(container, str(wanted) or s.port)
    if not inside then return nil, why end
    if s.published then return published(container, inside, s.host) end
    if tab(container.HostConfig).NetworkMode == "host" then return s.host, inside end
    local network
    network, why = network_of(container, str(labels["rproxy.network"]) or s.network)
    if not network then return nil, why end
    local host = str(network.IPAddress) or str(network.GlobalIPv6Address)
    if not host then return nil, "it has no address in that network" end
    return host, inside
end

-- `docker ps` says so of containers with a HEALTHCHECK: "Up 3 minutes (healthy)".
local function is_well(container)
    local status = str(container.Status) or ""
    return not status:find("(unhealthy)", 1, true)
        and not status:find("(health: starting)", 1, true)
end

--- Containers as members.
--- @param s table  settings: name, port, network, published, host, healthy
--- @param say function
function M.members(containers, s, say)
    local list = {}
    for _, container in ipairs(tab(containers)) do
        container = tab(container)
        local labels = tab(container.Labels)
        local of = str(labels["rproxy.upstream"])
        local runs = container.State == nil or container.State == "running"
        if of and has_name(of, s.name) and runs and (not s.healthy or is_well(container)) then
            local host, port = place_of(container, s, labels, labels["rproxy.port"])
            if host then
                list[#list + 1] = { host = host, port = port, weight = labels["rproxy.weight"],
                    priority = labels["rproxy.priority"],
                    max_conns = labels["rproxy.max_conns"],
                    backup = labels["rproxy.backup"] == "true",
                    zone = str(labels["rproxy.zone"]),
                    meta = { container = name_of(container), image = str(container.Image) } }
            else
                say(("container %s: %s"):format(name_of(container), port))
            end
        end
    end
    return list
end

-- ---------------------------------------------------------------- routes

local ROUTES_MOST = 32 -- of one container
-- Of a route; a named one has those of the container where it says nothing else, but for "own".
local OF_ROUTE = { host = "shared", port = "shared", use = "shared", tls = "shared",
    health = "shared", path = "own", strip_prefix = "own" }
local OF_CONTAINER = { enable = true, service = true, upstream = true, network = true,
    weight = true, priority = true, backup = true, max_conns = true, zone = true }

-- Labels as settings of the container, and of its routes by name; what is wrong with them.
local function sort_labels(labels)
    local own, named, n = {}, {}, 0
    for label, value in pairs(labels) do
        local name = type(label) == "string" and label:match("^rproxy%.(.+)$")
        local route, key = nil, name
        if name and name:find("^route%.") then
            route, key = name:match("^route%.([%w_-]+)%.(.+)$")
        end
        if name and (not key or not OF_ROUTE[key] and (route or not OF_CONTAINER[key])) then
            local known = nearest.names(OF_ROUTE)
            for word in pairs(route and {} or OF_CONTAINER) do known[#known + 1] = word end
            return nil, ("label %s: there is no such label%s"):format(label:sub(1, 80),
                nearest.hint(key or "", known))
        elseif name and type(value) ~= "string" then
            return nil, ("label %s: no text"):format(label:sub(1, 80))
        elseif route then
            if not named[route] then n = n + 1 end
            named[route] = named[route] or {}
            named[route][key] = value
        elseif name then
            own[key] = value
        end
    end
    if n > ROUTES_MOST then
        return nil, ("label rproxy.route: %d routes; at most %d"):format(n, ROUTES_MOST)
    end
    return own, named
end

local YES = { ["true"] = true, ["false"] = false, ["1"] = true, ["0"] = false }

local function service_of(container, own, labels)
    if own.service then return own.service end
    local project = str(labels["com.docker.compose.project"])
    local name = str(labels["com.docker.compose.service"])
    return project and name and project .. "/" .. name or name_of(container)
end

-- One route of a container as an offer; what is wrong with it.
local function offer_of(container, s, labels, own, route)
    local settings = {}
    for key, kind in pairs(OF_ROUTE) do
        settings[key] = route.given[key]
        if settings[key] == nil and (kind == "shared" or route.is_main) then
            settings[key] = own[key]
        end
    end
    local tls = settings.tls and YES[settings.tls]
    if settings.tls and tls == nil then return nil, "tls: true or false" end
    local host, port = place_of(container, s, labels, settings.port)
    if not host then return nil, port end
    local one = { host = host, port = port, weight = own.weight, priority = own.priority,
        max_conns = own.max_conns, zone = own.zone, backup = own.backup == "true",
        meta = { container = name_of(container), image = str(container.Image) } }
    local ok, why = member.read(one)
    if not ok then return nil, why end
    return { name = route.name, host = settings.host, path = settings.path,
        strip_prefix = settings.strip_prefix, use = settings.use, tls = tls,
        health = settings.health, members = { one } }
end

local function routes_of(own, named, owner)
    local list = {}
    if own.host or next(named) == nil then
        list[1] = { name = owner, given = {}, is_main = true, prefix = "rproxy." }
    end
    for _, name in ipairs(nearest.names(named)) do
        list[#list + 1] = { name = owner .. "/" .. name, given = named[name],
            prefix = "rproxy.route." .. name .. "." }
    end
    return list
end

local function add_offers(list, container, s)
    local labels, from = tab(container.Labels), "container " .. name_of(container)
    local own, named = sort_labels(labels)
    if not own then
        list[#list + 1] = { from = from, bad = named }
        return
    end
    if YES[own.enable or ""] ~= true then return end
    local age = num(container.Created)
    for _, route in ipairs(routes_of(own, named, service_of(container, own, labels))) do
        local offer, why = offer_of(container, s, labels, own, route)
        if offer then
            offer.from, offer.age = from, age
            local checked
            checked, why = require("rproxy.discover.offer").read(offer)
            if not checked then offer, why = nil, "label " .. route.prefix .. why end
        end
        list[#list + 1] = offer or { from = from, bad = why }
    end
end

--- Containers as routes with their members, for discover/routes.lua.
--- @param s table  settings: port, network, published, host, healthy
function M.offers(containers, s)
    local list = {}
    for _, container in ipairs(tab(containers)) do
        container = tab(container)
        local runs = container.State == nil or container.State == "running"
        if runs and (not s.healthy or is_well(container)) then add_offers(list, container, s) end
    end
    return list
end

-- ---------------------------------------------------------------- asking

local function filters(given)
    return assert(json.encode(given, { sort = true }))
end

-- Ask again when something happened; as many events as come at once count as one.
local function follow(lines, refresh, publish, seconds)
    local ends = service.now() + seconds
    while true do
        local event, why = lines:read(math.max(ends - service.now(), 0))
        if not event then
            return client.is_end(why), why
        end
        publish()
        lines:skip()
        local ok
        ok, why = refresh()
        if not ok then
            lines:close()
            return nil, why
        end
    end
end

--- Runs for ever; nil and why when the Engine does not answer as it should.
function M.start(given, publish, say, about)
    local s = setmetatable({ name = given.name or about.upstream }, { __index = given })
    local path = s.url and nil or s.socket
    local asks = client.new(s, s.url or "http://docker", { unix = path })
    local pace, again = client.pace(), client.pace()
    local wanted = { label = { about.routes and "rproxy.enable" or "rproxy.upstream" },
        status = { "running" } }
    local function read(containers)
        if about.routes then return M.offers(containers, s) end
        return M.members(containers, s, say)
    end
    local function refresh()
        pace(0.25)
        local containers, why = asks:json("/containers/json", { query = {
            filters = filters(wanted) } })
        if not containers then return nil, why end
        publish(read(containers))
        return true
    end
    while true do
        again(1)
        -- Events first: what happens between the two is in one of them.
        local lines, why = asks:lines("/events", { query = {
            filters = filters { type = { "container", "network" }, event = EVENTS } } })
        if not lines then return nil, why end
        local ok
        ok, why = refresh()
        if not ok then
            lines:close()
            return nil, why
        end
        ok, why = follow(lines, refresh, publish, client.about(s.resync))
        if not ok then return nil, why end
    end
end

return M
