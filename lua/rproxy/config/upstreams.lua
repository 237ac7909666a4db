-- SPDX-License-Identifier: MIT
--
-- upstreams: rp.upstream and its peers as the model that build hands over.

local balance = require("rproxy.config.balance")
local discover = require("rproxy.config.discover")
local guard = require("rproxy.config.guard")
local health = require("rproxy.config.health")
local locate = require("rproxy.config.locate")
local nearest = require("rproxy.config.nearest")
local options = require("rproxy.config.options")
local plugin = require("rproxy.plugin")
local resolve = require("rproxy.config.resolve")
local routes = require("rproxy.config.routes")
local schema = require("rproxy.schema")
local site = require("rproxy.config.site")
local subsets = require("rproxy.config.subsets")
local tls = require("rproxy.config.tls")
local use = require("rproxy.config.use")

local M = {}

-- "10.0.0.1:80 weight=2 backup" -> address, { weight = 2, backup = true } | nil, what is wrong
local function split_words(text)
    local address, settings = nil, {}
    for word in text:gmatch("%S+") do
        local key, value = word:match("^(%l[%l_]*)=(.*)$")
        if not address then
            address = word
        elseif key then
            settings[key] = tonumber(value) or value
        elseif word:find("^%l+$") then
            settings[word] = true
        else
            return nil, ("expected words like weight=2 and backup after the address, got %s")
                :format(schema.show(word))
        end
    end
    return address, settings
end

local function read_peer(given, path, at, report)
    local address, settings = nil, nil
    if type(given) == "string" then
        address, settings = split_words(given)
    elseif type(given) == "table" then
        local named, positional = routes.split_positional(given)
        address, settings = positional[1], named
        if positional[2] ~= nil then
            report:add(at, "%s: one address per peer, got also %s", path,
                schema.show(positional[2]))
        end
    end
    if type(address) ~= "string" or address == "" then
        report:add(at, '%s: expected "host:port", got %s%s', path, schema.show(given),
            type(settings) == "string" and "; " .. settings or "")
        return nil
    end
    local ctx = schema.context()
    local checked = schema.check_lean(options.nodes.peer, settings, path, ctx)
    report:add_context(at, ctx)
    if checked.backup and settings.priority ~= nil then
        report:add(at, "%s: a backup's priority is the last; leave one of the two out", path)
    end
    return { text = address, weight = checked.weight or 1, backup = checked.backup or false,
        priority = checked.priority or 0, max_conns = checked.max_conns or 0, at = at,
        zone = checked.zone, meta = checked.meta, resolve = checked.resolve }
end

-- A balance hook may bring addresses of its own; all else needs peers.
local function read_peers(up, given, report)
    if given == nil and (up.balance or up.discovers) then return end
    local path = ("upstreams.%s.peers"):format(up.name)
    if type(given) ~= "table" or schema.not_a_list(given) ~= nil or #given == 0 then
        report:add(up.at, '%s: expected a list of at least one peer, got %s; write peers = '
            .. '{ "127.0.0.1:8081" }', path,
            type(given) == "table" and next(given) == nil and "an empty table"
                or schema.show(given))
        return
    end
    local seen = {}
    for i, item in ipairs(given) do
        local peer = read_peer(item, schema.join(path, i), up.at, report)
        if peer and seen[peer.text] then
            report:add(up.at, "%s: peer %s is there twice; give it a weight instead", path,
                schema.show(peer.text))
        elseif peer then
            seen[peer.text] = true
            up.peers[#up.peers + 1] = peer
        end
    end
end

local function read_balance(up, given, report)
    local path = ("upstreams.%s.balance"):format(up.name)
    if type(given) == "function" then
        up.balance = plugin.inline({ balance = given, name = "balance:" .. up.name }, up.at)
    elseif plugin.is_instance(given) then
        up.balance = use.entry(given, up.at, path, report)
    elseif type(given) == "table" and given[1] ~= "hash" then
        report:add(up.at, "%s: expected a policy's name, { \"hash\", key = .. }, a function(req, "
            .. "up) or a plugin with a balance hook, got %s", path,
            plugin.is_plugin(given) and "a plugin itself; make an instance" or "a table")
    else
        up.policy = balance.read(given or "round_robin") -- nil: was complained of already
    end
end

--- @param name any  its key in `upstreams`
--- @param node any
--- @param at string  place of the site, for what is no upstream
--- @param report table
--- @return table|nil upstream
function M.read(name, node, at, report)
    if type(name) ~= "string" or name == "" then
        report:add(at, 'upstreams: expected names as keys, got %s; write upstreams = { api = '
            .. "rp.upstream { ... } }", schema.show(name))
        return nil
    end
    if name:sub(1, 1) == "=" then
        report:add(at, "upstreams: %s: a name does not begin with =", schema.show(name))
        return nil
    end
    if site.kind(node) ~= "upstream" then
        report:add(at, "upstreams.%s: expected rp.upstream { ... }, got %s", name,
            schema.show(node))
        return nil
    end
    local up = { name = name, at = node.at, peers = {}, discovers = node.given.discover ~= nil }
    local ctx = schema.context()
    up.opts = schema.check_lean(options.nodes.upstream, node.given, "", ctx)
    report:add_context(function(path) return locate.place(node, path) end, ctx,
        "upstreams." .. name)
    if node.given.proxy_protocol_tlvs ~= nil and up.opts.proxy_protocol ~= "v2" then
        report:add(locate.place(node, "proxy_protocol_tlvs"),
            'upstreams.%s.proxy_protocol_tlvs: needs proxy_protocol = "v2"', name)
    end
    if up.opts.proxy_protocol and up.opts.http ~= "1.1" then
        report:add(locate.place(node, "proxy_protocol"),
            'upstreams.%s.proxy_protocol: a connection of HTTP/2 is for many clients; write '
            .. 'http = "1.1", or leave it out', name)
    end
    if up.opts.sticky and up.opts.sticky.cookie and up.opts.sticky.header then
        report:add(locate.place(node, "sticky"), "upstreams.%s.sticky: cookie or header, not both",
            name)
    elseif up.opts.sticky and up.opts.sticky.mode ~= "insert"
        and not (up.opts.sticky.cookie or up.opts.sticky.header) then
        report:add(locate.place(node, "sticky"), "upstreams.%s.sticky.mode: %s needs the name of "
            .. "a cookie or header of the application", name, up.opts.sticky.mode)
    end
    read_balance(up, node.given.balance, report)
    read_peers(up, node.given.peers, report)
    tls.read_upstream(up, report)
    health.read(up, node, report)
    subsets.read(up, node, report)
    guard.read(up, node, report)
    discover.read(up, node, report)
    resolve.read(up, report)
    return up
end

--- All upstreams in the order of their names: the order of their numbers.
--- @return table[] list
--- @return table by_name
function M.read_all(given, at, report)
    local list, by_name = {}, {}
    if given == nil then return list, by_name end
    if type(given) ~= "table" then
        report:add(at, "upstreams: expected a table of rp.upstream { ... } by name, got %s",
            schema.show(given))
        return list, by_name
    end
    for name, node in pairs(given) do
        if type(name) ~= "string" then M.read(name, node, at, report) end
    end
    for _, name in ipairs(nearest.names(given)) do
        local up = M.read(name, given[name], at, report)
        if up then
            list[#list + 1] = up
            by_name[name] = up
        end
    end
    guard.check_fallbacks(list, by_name, report)
    return list, by_name
end

return M
