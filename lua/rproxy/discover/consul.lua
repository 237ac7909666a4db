-- SPDX-License-Identifier: MIT
--
-- consul: members of a service in Consul's catalog, by blocking queries of /v1/health/service: an
-- answer comes when something changed, or when the wait is over.
--
-- src  developer.hashicorp.com/consul/api-docs/features/blocking: what is to be done about indexes

local client = require("rproxy.discover.client")
local shape = require("rproxy.discover.shape")
local text = require("rproxy.text")

local M = {}

local str, num, tab = shape.str, shape.num, shape.tab

-- The worst of its checks, as Consul itself puts them together.
local function state_of(checks)
    local state = "passing"
    for _, check in ipairs(tab(checks)) do
        local status = str(tab(check).Status)
        if status == "critical" or status == "maintenance" then return "critical" end
        if status == "warning" then state = "warning" end
    end
    return state
end

local function zone_of(s, service, node)
    return str(tab(service.Meta)[s.zone]) or str(tab(node.Meta)[s.zone])
        or str(tab(service.Locality).Zone) or str(tab(node.Locality).Zone)
end

local function meta_of(service, node)
    local meta = {}
    for name, value in pairs(tab(service.Meta)) do
        if type(value) == "string" then meta[name] = value end
    end
    local tags = {}
    for i, tag in ipairs(tab(service.Tags)) do tags[i] = str(tag) or "" end
    if tags[1] then meta.tags = table.concat(tags, ",") end
    meta.node = str(node.Node)
    return meta
end

--- The entries of an answer as members.
--- @param s table  settings: passing, zone
function M.members(entries, s)
    local list = {}
    for _, entry in ipairs(tab(entries)) do
        local service, node = tab(tab(entry).Service), tab(tab(entry).Node)
        local state = state_of(tab(entry).Checks)
        local weights = tab(service.Weights)
        if state == "passing" or state == "warning" and not s.passing then
            local weight = num(state == "warning" and weights.Warning or weights.Passing)
            list[#list + 1] = { host = str(service.Address) or str(node.Address),
                port = num(service.Port), weight = weight or 1,
                zone = zone_of(s, service, node), meta = meta_of(service, node) }
        end
    end
    return list
end

--- The index to ask with next. One that went back, or is none, is begun anew: else an agent that
--- was restored from a snapshot would be waited for until it is where it was.
--- @param got number|nil  X-Consul-Index
function M.next_index(before, got)
    if not got or got < 1 or got < before then return 0 end
    return got
end

local function query_of(s, index)
    local query = { dc = s.datacenter, tag = s.tags, filter = s.filter, ns = s.namespace,
        partition = s.partition }
    if s.passing then query.passing = "1" end
    if s.consistency ~= "default" then query[s.consistency] = "" end
    if index > 0 then
        query.index = ("%.0f"):format(index)
        query.wait = ("%.0fms"):format(s.wait_time * 1000)
    end
    return query
end

--- Runs for ever; nil and why when Consul does not answer as it should.
function M.start(s, publish)
    local asks, index = client.new(s, s.url), 0
    local path = "/v1/health/service/" .. text.uri.escape(s.service)
    local pace = client.pace()
    while true do
        local token, err = client.secret(s)
        if err then return nil, err end
        if token then asks:set_header("x-consul-token", token, token) end
        -- Consul adds up to a sixteenth to the wait.
        local seconds = index > 0 and s.wait_time * 17 / 16 + s.timeout or s.timeout
        pace(index > 0 and 0.25 or 1)
        local entries, res = asks:json(path, { query = query_of(s, index), timeout = seconds })
        if not entries then return nil, res end
        local got = num(res.headers["x-consul-index"])
        local before = index
        index = M.next_index(index, got)
        if index > 0 and index == before then publish()
        else publish(M.members(entries, s)) end
    end
end

return M
