-- SPDX-License-Identifier: MIT
--
-- ip-restriction: who may come in, by the client's address: lists in the site, and sets of `shared`
-- that are read from files.

local rp = require("rproxy")

local M = rp.plugin {
    name = "ip-restriction",
    version = "0.1.0",
    stage = "limit",
    doc = "Refuse clients by their address.",
    schema = {
        allow = { "list", of = "string", default = {},
            doc = "Networks and addresses that may come in. When this or `allow_set` is given, "
                .. "nobody else may." },
        deny = { "list", of = "string", default = {},
            doc = "Networks and addresses that may not, also when they are in `allow`." },
        allow_set = { "shared:set", doc = "The same, a set of `shared` of type cidr." },
        deny_set = { "shared:set", doc = "The same, a set of `shared` of type cidr." },
        by = { "enum", { "client", "peer" }, default = "client",
            doc = "client: the address behind `trust`. peer: the other end of the connection." },
        status = { "integer", default = 403, min = 400, max = 599,
            doc = "What a refusal answers." },
    },
}

local function set_of(what, list)
    local copy = {}
    for i, text in ipairs(list) do copy[i] = text end
    if #copy == 0 then return nil end
    local set, err = rp.cidr(copy)
    if not set then error(("ip-restriction: %s: %s"):format(what, err), 0) end
    return set
end

-- Sets that an address is looked for in.
local function sets_of(what, list, zone)
    local sets = {}
    sets[1] = set_of(what, list)
    if zone then sets[#sets + 1] = rp.shared[zone] end
    return sets
end

-- nil: it cannot be told.
local function is_in(sets, ip)
    for _, set in ipairs(sets) do
        local has, err = set:has(ip)
        if has then return true end
        if has == nil then return nil, err end
    end
    return false
end

function M.setup(conf)
    local allow = sets_of("allow", conf.allow, conf.allow_set)
    local deny = sets_of("deny", conf.deny, conf.deny_set)
    if #allow + #deny == 0 then
        error("ip-restriction takes one of allow, deny, allow_set and deny_set", 0)
    end

    local function is_allowed(ip)
        local denied, err = is_in(deny, ip)
        if denied == nil then return nil, err end
        if denied then return false end
        if #allow == 0 then return true end
        return is_in(allow, ip)
    end

    return {
        access = function(req)
            local ip = conf.by == "peer" and req.peer_ip or req.remote_ip
            local allowed, err = is_allowed(ip)
            if allowed then return nil end
            if err then rp.log.error("an address cannot be looked up", { ip = ip, error = err }) end
            return req:exit(conf.status)
        end,
    }
end

return M
