-- SPDX-License-Identifier: MIT
--
-- dns: members from SRV or address records, by the resolver that upstreams use, whose cache knows
-- how long an answer may be believed: asking it often costs nothing.

local client = require("rproxy.discover.client")
local socket = require("rproxy.socket")
local srv = require("rproxy.srv")
local task = require("rproxy.task")

local M = {}

local TIERS = 14

-- "not_found" is an answer; all else is a failure.
local function look_up(name, kind, s)
    local list, err, detail = socket.resolve(name, kind, { timeout = s.timeout })
    if list then return list end
    if err == "not_found" then return {} end
    return nil, ("%s: %s: %s"):format(name, err, detail)
end

local function addresses(s, name, port, more, list)
    local found, why = look_up(name, s.family, s)
    if not found then return nil, why end
    for _, address in ipairs(found) do
        local item = { host = address, port = port }
        for key, value in pairs(more) do item[key] = value end
        list[#list + 1] = item
    end
    return list
end

local function services(s)
    local found, why = look_up(s.name, "SRV", s)
    if not found then return nil, why end
    local list, tiers = {}, srv.tiers(found, 0, TIERS)
    for _, one in ipairs(found) do
        -- Weight 0 is "hardly ever" (RFC 2782), not "never".
        local more = { weight = math.max(one.weight, 1), priority = tiers[one.priority],
            identity = one.name, meta = { name = one.name } }
        local ok
        ok, why = addresses(s, one.name, one.port, more, list)
        if not ok then return nil, why end
    end
    return list
end

--- Runs for ever; nil and why when no server answers.
function M.start(s, publish)
    while true do
        local list, why
        if s.type == "SRV" then list, why = services(s)
        else list, why = addresses(s, s.name, s.port, { identity = s.name }, {}) end
        if not list then return nil, why end
        publish(list)
        task.sleep(client.about(s.every))
    end
end

return M
