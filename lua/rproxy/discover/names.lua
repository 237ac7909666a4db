-- SPDX-License-Identifier: MIT
--
-- names: peers of the site that stand for what DNS knows of a name: "srv:_http._tcp.example.com",
-- and names with resolve = "each", whose addresses are a peer each. A name that cannot be looked up
-- keeps what was known of it.

local socket = require("rproxy.socket")
local srv = require("rproxy.srv")
local task = require("rproxy.task")

local M = {}

local EVERY = 1 -- seconds between two looks; the resolver's cache knows how long an answer holds
local TIMEOUT = 10
local TIERS = 14

M.pause_most = 5

-- "not_found" is an answer; all else is a failure.
local function look_up(name, kind)
    local list, err, detail = socket.resolve(name, kind, { timeout = TIMEOUT })
    if list then return list end
    if err == "not_found" then return {} end
    return nil, ("%s: %s%s"):format(name, err, detail and ": " .. tostring(detail) or "")
end

local function add_addresses(list, peer, host, port, more)
    local found, why = look_up(host)
    if not found then return nil, why end
    for _, address in ipairs(found) do
        list[#list + 1] = { host = address, port = port, identity = host,
            weight = more.weight, priority = more.priority, backup = peer.backup,
            max_conns = peer.max_conns, zone = peer.zone, meta = peer.meta }
    end
    return true
end

local KINDS = {}

function KINDS.each(peer)
    local list = {}
    local ok, why = add_addresses(list, peer, peer.host, peer.port, peer)
    if not ok then return nil, why end
    return list
end

function KINDS.srv(peer)
    local found, why = look_up(peer.host, "SRV")
    if not found then return nil, why end
    local list, tiers = {}, srv.tiers(found, peer.priority, TIERS)
    for _, one in ipairs(found) do
        -- Weight 0 is "hardly ever", not "never".
        local more = { weight = math.max(one.weight, 1), priority = tiers[one.priority] }
        local ok
        ok, why = add_addresses(list, peer, one.name, one.port, more)
        if not ok then return nil, why end
    end
    return list
end

--- Runs for ever; nil and why when nothing could be looked up.
--- @param s table  names: peers with kind ("srv", "each"), host, port, weight, priority, ..
function M.start(s, publish, say)
    local known = {}
    while true do
        local all, failed, any = {}, nil, false
        for i, peer in ipairs(s.names) do
            local list, why = KINDS[peer.kind](peer)
            if list then known[i] = list else failed = why end
            any = any or known[i] ~= nil
            for _, one in ipairs(known[i] or {}) do all[#all + 1] = one end
        end
        if not any then return nil, failed end
        if failed then say(failed) end
        publish(all)
        task.sleep(EVERY * (0.9 + 0.2 * math.random()))
    end
end

return M
