-- SPDX-License-Identifier: MIT
--
-- resolve: peers that stand for what DNS knows of a name: the agent makes peers of them
-- (rproxy.discover.names).

local member = require("rproxy.discover.member")
local options = require("rproxy.config.options")
local schema = require("rproxy.schema")

local M = {}

-- What a peer stands for: nil: itself.
local function kind_of(up, peer)
    if peer.text:find("^srv:") then return "srv", peer.text:sub(5) end
    local mode = peer.resolve or up.opts.resolve
    if mode ~= "each" then return nil end
    local host, port = peer.text:match("^([^:%[%]]+):(%d+)$")
    if not host or member.kind_of(host) ~= "name" then return nil end
    return "each", host, tonumber(port)
end

local function read_one(up, peer, report)
    local kind, host, port = kind_of(up, peer)
    if not kind then return nil end
    if member.kind_of(host) ~= "name" then
        report:add(peer.at, "upstreams.%s.peers: %s: expected a name such as "
            .. '"srv:_http._tcp.example.com"', up.name, schema.show(peer.text))
    end
    return { kind = kind, host = host, port = port, weight = peer.weight, backup = peer.backup,
        priority = peer.priority, max_conns = peer.max_conns, zone = peer.zone, meta = peer.meta }
end

--- Take such peers out of the model's list, and give them to a provider of their own.
--- @param up table  of the model, with its peers and providers
function M.read(up, report)
    local names, others = {}, {}
    for _, peer in ipairs(up.peers) do
        local one = read_one(up, peer, report)
        if one then names[#names + 1] = one else others[#others + 1] = peer end
    end
    if #names == 0 then return end
    up.peers = others
    local ctx = schema.context()
    local common = schema.check(options.nodes.discover, {}, "resolve", ctx)
    up.discover = up.discover or { at = up.at }
    table.insert(up.discover, { kind = "names", name = "names", label = "names",
        settings = { names = names }, common = common })
    if ctx.errors[1] then report:add_context(up.at, ctx) end
end

return M
