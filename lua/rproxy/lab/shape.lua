-- SPDX-License-Identifier: MIT
--
-- shape: what a test gives as a site made into a whole rp.site { .. }: what is left out is put in.

local site = require("rproxy.config.site")

local M = {}

local Server = {}
Server.__index = Server
M.Server = Server

--- A server that a test plays: a value for `upstreams`. fn(req) answers.
--- @param fn function|function[]  of each peer
--- @param opts table|nil  further options of rp.upstream
--- @param at string|nil  "file:line", for messages
function M.server(fn, opts, at)
    local list = type(fn) == "table" and fn or { fn }
    local server = setmetatable({ opts = opts or {}, peers = {}, requests = {}, at = at }, Server)
    for i, one in ipairs(list) do
        if type(one) ~= "function" then
            error("an upstream is played by a function(req), or a list of them", 3)
        end
        server.peers[i] = { fn = one, requests = server.requests }
    end
    return server
end

function M.is_server(value)
    return getmetatable(value) == Server
end

-- As an rp.upstream: its peers have addresses of their own.
local function node_of(server, world)
    local given = { peers = {} }
    for key, value in pairs(server.opts) do given[key] = value end
    for i, peer in ipairs(server.peers) do
        if not peer.address then
            peer.address = world:fresh_ip() .. ":80"
        end
        world:put(peer.address, peer)
        given.peers[i] = peer.address
    end
    local node = site.upstream(given)
    node.at = server.at or node.at
    return node
end

local function upstream_node(value, world)
    if type(value) == "function" then value = M.server(value) end
    if M.is_server(value) then return node_of(value, world) end
    return value
end

local function echo(req)
    return 200, "ok\n", { ["content-type"] = "text/plain", ["x-lab-path"] = req.target }
end

local function copy(t)
    local out = {}
    for key, value in pairs(t) do out[key] = value end
    return out
end

local function upstreams_of(given, world)
    local out = {}
    for name, value in pairs(given.upstreams or {}) do out[name] = upstream_node(value, world) end
    if given.upstream then out.origin = upstream_node(given.upstream, world) end
    return out
end

-- Routes where there are none: all goes to "origin".
local function hosts_of(given, upstreams, world)
    if given.hosts then return given.hosts end
    local routes = given.routes
    if not routes then
        upstreams.origin = upstreams.origin or upstream_node(echo, world)
        routes = { site.route { "/*", upstream = "origin" } }
    end
    return { site.host { default = true, routes = routes } }
end

local function listeners_of(given)
    if given.listeners or given.streams then return given.listeners end
    return { site.listen { "127.0.0.1:80" } }
end

--- @param what table  an rp.site, or its options
--- @param world table
--- @return table node  rp.site
function M.site(what, world)
    local given = what
    if site.kind(what) == "site" then given = what.given
    elseif site.kind(what) or type(what) ~= "table" then
        error("expected a path, rp.site { .. } or a table of its options", 0)
    end
    given = copy(given)
    given.upstreams = upstreams_of(given, world)
    given.hosts = hosts_of(given, given.upstreams, world)
    given.listeners = listeners_of(given)
    given.upstream, given.routes = nil, nil
    if next(given.upstreams) == nil then given.upstreams = nil end
    local node = site.site(given)
    node.at = site.kind(what) == "site" and what.at or "?"
    return node
end

return M
