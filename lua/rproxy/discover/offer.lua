-- SPDX-License-Identifier: MIT
--
-- offer: a route that a provider found, with the members behind it; what it may be; which of many
-- hold. Pure. Whoever may start a container writes these: nothing here believes them.
--
-- An offer: name ("shop", "shop/api": offers of one name are one route with all their members),
-- from (who says so, for messages), age (the smaller the older; unsaid: as they come), hosts, path,
-- strip_prefix, use (names of chains), tls, health (a path), members (a list, as member.lua takes
-- them). A route is the same without age and members.

local nearest = require("rproxy.config.nearest")

local M = {}

local HOSTS_MOST = 16   -- of one offer
local USE_MOST = 8
local NAME_MOST = 128   -- bytes
local PATH_MOST = 256
local SLASHES_MOST = 64 -- RP_ROUTE_SEGMENTS_MAX, of proxy/route_pattern.h
local FROM_MOST = 100

local KEYS = { name = true, from = true, age = true, host = true, hosts = true, path = true,
    strip_prefix = true, use = true, tls = true, health = true, members = true }

-- ---------------------------------------------------------------- words

--- A text as messages may show it.
function M.show(value)
    if type(value) ~= "string" then return "a " .. type(value) end
    local text = value:gsub("[%c\127-\255]", "?")
    return '"' .. (#text > 60 and text:sub(1, 57) .. "..." or text) .. '"'
end

--- Is it a host name as a route may have it: letters, digits and -, in lower case, no wildcard?
function M.is_host(text)
    if type(text) ~= "string" or #text > 253 or text == "" then return false end
    for label in (text .. "."):gmatch("([^.]*)%.") do
        if #label > 63 or not label:find("^[%l%d]") or label:find("[^%l%d-]")
            or label:sub(-1) == "-" then
            return false
        end
    end
    return true
end

-- A path that is what it seems: no pattern, no escapes, no "..", nothing that is normalised away.
local function is_plain_path(text)
    if type(text) ~= "string" or #text > PATH_MOST or not text:find("^/") then return false end
    if text:find("[^%w/._~!$&'()+,;=:@-]") or text:find("//", 1, true) then return false end
    if select(2, text:gsub("/", "")) > SLASHES_MOST then return false end
    for part in text:gmatch("[^/]+") do
        if part == "." or part == ".." then return false end
    end
    return true
end

-- "/x", "/x/*"
local function is_pattern(text)
    return type(text) == "string" and is_plain_path((text:gsub("/%*$", "/")))
end

local function is_name(text)
    return type(text) == "string" and #text <= NAME_MOST and text:find("^[%w_][%w_./-]*$") ~= nil
end

-- "a, b" or a list
local function words(value)
    if type(value) == "string" then
        local list = {}
        for word in value:gmatch("[^,%s]+") do list[#list + 1] = word end
        return list
    end
    return type(value) == "table" and value or nil
end

-- ---------------------------------------------------------------- one

local function read_hosts(given, out)
    local list, seen = words(given.hosts or given.host), {}
    if not list or #list == 0 then return "host: missing" end
    if #list > HOSTS_MOST then return ("host: %d names; at most %d"):format(#list, HOSTS_MOST) end
    out.hosts = {}
    for _, text in ipairs(list) do
        local host = type(text) == "string" and text:lower()
        if not M.is_host(host) then
            return ("host: %s is no name of a host"):format(M.show(text))
        end
        if not seen[host] then out.hosts[#out.hosts + 1] = host end
        seen[host] = true
    end
    table.sort(out.hosts)
end

local function read_use(given, out)
    local list, seen = words(given.use == nil and "" or given.use), {}
    if not list or #list > USE_MOST then return "use: at most 8 names of chains" end
    out.use = {}
    for _, name in ipairs(list) do
        if not is_name(name) then return ("use: %s is no name"):format(M.show(name)) end
        if not seen[name] then out.use[#out.use + 1] = name end
        seen[name] = true
    end
end

local function read_paths(given, out)
    out.path = given.path == nil and "/*" or given.path
    if not is_pattern(out.path) then
        return ("path: %s is not like /api/* or /api"):format(M.show(out.path))
    end
    out.strip_prefix, out.health = given.strip_prefix, given.health
    if out.strip_prefix ~= nil and (not is_plain_path(out.strip_prefix)
        or out.strip_prefix:find("/$")) then
        return ("strip_prefix: %s is not like /api"):format(M.show(out.strip_prefix))
    end
    if out.health ~= nil and not is_plain_path(out.health) then
        return ("health: %s is no path"):format(M.show(out.health))
    end
end

--- What a provider says, checked.
--- @param given any
--- @return table|nil offer, string|nil why  "path: ..": which setting, and what is wrong with it
function M.read(given)
    if type(given) ~= "table" then return nil, "a route is a table, not a " .. type(given) end
    for key in pairs(given) do
        if not KEYS[key] then
            return nil, ("unknown field %s%s"):format(M.show(tostring(key)),
                nearest.hint(tostring(key), nearest.names(KEYS)))
        end
    end
    local out = { from = type(given.from) == "string" and given.from:sub(1, FROM_MOST)
        :gsub("[%c\127-\255]", "?") or nil, age = tonumber(given.age), members = {} }
    local why = read_hosts(given, out) or read_paths(given, out) or read_use(given, out)
    if why then return nil, why end
    out.name = given.name == nil and out.hosts[1] .. out.path:gsub("/%*$", ""):gsub("[^%w_.-]", ".")
        or given.name
    if not is_name(out.name) then return nil, ("name: %s is no name"):format(M.show(out.name)) end
    if given.tls ~= nil and type(given.tls) ~= "boolean" then
        return nil, "tls: true or false"
    end
    out.tls = given.tls == true
    if type(given.members) == "table" then out.members = given.members end
    return out
end

-- ---------------------------------------------------------------- many

local function is_older(a, b)
    if a.age ~= b.age then
        if a.age and b.age then return a.age < b.age end
        return a.age ~= nil
    end
    if a.from ~= b.from then return (a.from or "") < (b.from or "") end
    return a.place < b.place
end

local ROUTE = { "name", "path", "strip_prefix", "tls", "health" }

-- What the members' upstream is like; two that differ here cannot be one.
local function same_upstream(a, b)
    return a.tls == b.tls and a.health == b.health
end

local function same_route(a, b)
    for _, key in ipairs(ROUTE) do
        if a[key] ~= b[key] then return false end
    end
    return table.concat(a.hosts, ",") == table.concat(b.hosts, ",")
        and table.concat(a.use, ",") == table.concat(b.use, ",")
end

-- Does the site let it? What is wrong, if anything.
local function refusal(route, bounds)
    for _, name in ipairs(route.use) do
        if not bounds.chains[name] then
            return ("use: the site offers no chain %s%s"):format(M.show(name),
                nearest.hint(name, nearest.names(bounds.chains)))
        end
    end
    if bounds.upstreams[bounds.label .. ":" .. route.name] then
        return "name: the site has an upstream of that name"
    end
end

--- May that host be claimed? nil, or why not.
local function refused_host(host, bounds)
    if bounds.taken[host] then return ("the site has it (%s)"):format(bounds.taken[host]) end
    for _, pattern in ipairs(bounds.hosts) do
        if pattern == "*" or pattern == host then return nil end
        if pattern:sub(1, 2) == "*." and #host > #pattern - 1
            and host:sub(-(#pattern - 1)) == pattern:sub(2) then
            return nil
        end
    end
    return "the site allows no such name here"
end

-- The hosts of a route that it can have; what is wrong with the others goes to `bad`.
local function claim(route, state)
    local hosts = {}
    for _, host in ipairs(route.hosts) do
        local place = host .. " " .. route.path
        local other = state.claims[place]
        local why = refused_host(host, state.bounds)
            or other and ("%s has %s already"):format(other, route.path)
            or state.n >= state.bounds.most and ("there are %d routes already"):format(state.n)
        if why then
            state.bad[#state.bad + 1] = { from = route.from, route = route.name,
                why = ("host: %s: %s"):format(host, why) }
        else
            state.claims[place] = route.from or route.name
            state.n = state.n + 1
            hosts[#hosts + 1] = host
        end
    end
    return hosts
end

local function join(first, offer, state)
    local why
    if not same_upstream(first, offer) then
        why = ("tls, health: other than those of %s, which is older; it gets no requests")
            :format(first.from or "another")
    elseif not same_route(first, offer) then
        why = ("what %s says holds, which is older"):format(first.from or "another")
    end
    if why then
        state.bad[#state.bad + 1] = { from = offer.from, route = offer.name, why = why }
    end
    return same_upstream(first, offer)
end

--- Which of these hold: the older one wins, whatever it is about.
--- @param offers table[]  that were read
--- @param bounds table  hosts: patterns, "*.apps.example.com"; taken: host -> where the site, or an
---   earlier provider, has it; chains, upstreams: sets of names; label; most: routes
--- @return table[] routes  in the order of their names
--- @return table members  by name of the route
--- @return table[] bad  { from =, route =, why = } of what does not hold
function M.resolve(offers, bounds)
    local state = { bounds = bounds, claims = {}, n = 0, bad = {} }
    local order, first, members, routes = {}, {}, {}, {}
    for i, offer in ipairs(offers) do
        offer.place = i
        order[i] = offer
    end
    table.sort(order, is_older)
    for _, offer in ipairs(order) do
        local before = first[offer.name]
        local why = not before and refusal(offer, bounds)
        if why then
            state.bad[#state.bad + 1] = { from = offer.from, route = offer.name, why = why }
        elseif not before then
            local route = { hosts = claim(offer, state), use = offer.use, from = offer.from }
            for _, key in ipairs(ROUTE) do route[key] = offer[key] end
            if route.hosts[1] then
                first[offer.name], members[offer.name] = offer, {}
                routes[#routes + 1] = route
            end
        end
        if first[offer.name] and (not before or join(before, offer, state)) then
            local list = members[offer.name]
            for _, one in ipairs(offer.members) do list[#list + 1] = one end
        end
    end
    table.sort(routes, function(a, b) return a.name < b.name end)
    return routes, members, state.bad
end

return M
