-- SPDX-License-Identifier: MIT
--
-- subsets: what is said of peers (zone, meta), and what upstreams and routes make of it.

local locate = require("rproxy.config.locate")
local schema = require("rproxy.schema")
local wish = require("rproxy.wish")

local M = {}

local META_MOST = 32 -- pairs, as C has it

local function check_texts(what, map, at, report)
    local n = 0
    for key, value in pairs(map) do
        n = n + 1
        if not wish.is_text(key) or not wish.is_text(value) then
            report:add(at, "%s: %s = %s: keys and values are texts of 1 to 256 bytes without "
                .. "control characters", what, schema.show(key), schema.show(value))
        end
    end
    if n > META_MOST then report:add(at, "%s: at most %d pairs, got %d", what, META_MOST, n) end
end

local function read_peer(up, peer, report)
    local what = ("upstreams.%s.peers: %s"):format(up.name, peer.text)
    check_texts(what .. ": meta", peer.meta or {}, peer.at, report)
    if peer.zone and not wish.is_text(peer.zone) then
        report:add(peer.at, "%s: %s is no name of a zone", what, schema.show(peer.zone))
    end
end

--- @param up table  of the model; its peers are read
function M.read(up, node, report)
    local given = up.opts.zone
    if given == nil then given = os.getenv("RPROXY_ZONE") end
    if given ~= "" then up.zone = given end
    if up.zone and not wish.is_text(up.zone) then
        report:add(up.at, "upstreams.%s.zone: %s is no name of a zone", up.name,
            schema.show(up.zone))
        up.zone = nil
    end
    for _, key in ipairs(up.opts.subsets or {}) do
        if not wish.is_text(key) then
            report:add(locate.place(node, "subsets"), "upstreams.%s.subsets: %s is no key", up.name,
                schema.show(key))
        end
    end
    for _, peer in ipairs(up.peers) do
        if peer.zone or next(peer.meta or {}) ~= nil then read_peer(up, peer, report) end
    end
end

local function lists(up, key)
    for _, name in ipairs(up.opts.subsets or {}) do
        if name == key then return true end
    end
    return false
end

--- A route's wish.
--- @param up table|nil  its upstream, when it is a single one that is known
function M.read_route(route, up, report)
    local given = route.opts.subset
    if not given then return end
    check_texts(("route %s: subset"):format(route.label), given, route.at, report)
    for key in pairs(up and given or {}) do
        if type(key) == "string" and not lists(up, key) then
            report:add(route.at, "route %s: subset: upstream %q does not list %q in its subsets",
                route.label, up.name, key)
        end
    end
end

function M.build_peer(builder, index, peer, what)
    local sink = builder.sink
    if peer.zone then
        builder:try(peer.at, what, sink:set_peer_text(index, "zone", peer.zone))
    end
    for _, key in ipairs(wish.keys(peer.meta or {})) do
        builder:try(peer.at, what, sink:set_peer_text(index, "meta." .. key, peer.meta[key]))
    end
end

function M.build(builder, up, what)
    local sink = builder.sink
    if up.zone then
        builder:try(up.at, what, sink:set_upstream_text(up.index, "zone", up.zone))
    end
    if up.opts.subsets and up.opts.subsets[1] then
        builder:try(up.at, what, sink:set_upstream_text(up.index, "subsets",
            table.concat(up.opts.subsets, "\t")))
        builder:try(up.at, what, sink:set_upstream(up.index, "subset_any",
            up.opts.subset_fallback == "any" and 1 or 0))
    end
end

function M.build_route(builder, index, route)
    if not route.opts.subset or not next(route.opts.subset) then return end
    builder:try(route.at, "subset", builder.sink:set_route_text(index, "subset",
        wish.text(route.opts.subset)))
end

return M
