-- SPDX-License-Identifier: MIT
--
-- health: active checks, in the agent: one task per peer. What they find is in the roster, which
-- all workers read; a state that was found before (by an agent that died, or before a reload) is
-- where a check goes on from.

local abi = require("rproxy.abi")
local judge = require("rproxy.health_judge")
local log = require("rproxy.log")
local service = require("rproxy.service")
local task = require("rproxy.task")

local C, H = abi.C, abi.H

local M = {}

local SPREAD_MOST = 1 -- seconds over which the first checks are spread

local function tell(check, peer, state, why)
    local fields = { upstream = check.name, peer = peer }
    if state.health == judge.PASSING then return log.info("peer is up", fields) end
    fields.why = why
    log.warn("peer is down", fields)
end

local function watch(check, i)
    local settings, peer = check.settings, check.peers[i]
    local state = { good = 0, bad = 0 }
    repeat -- until this configuration is in use
        task.sleep((0.1 + math.random()) * math.min(SPREAD_MOST, settings.every))
        state.health = C.rp_abi_peer_health(H, check.index, i - 1)
    until state.health >= 0
    while true do
        local ran, ok, why = xpcall(check.probe, abi.host.trace, peer)
        if not ran then ok, why = false, ok end
        local before = state.health
        if judge.judge(state, ok and true or false, settings.rise, settings.fall)
            and not (before == judge.UNKNOWN and state.health == judge.PASSING) then
            tell(check, peer, state, why)
        end
        C.rp_abi_peer_report(H, check.index, i - 1, state.health)
        task.sleep(judge.pause(state, settings, math.random()))
    end
end

--- Begin; the tasks end with this VM.
--- @param checks table[]  of config/health.lua
function M.start(checks)
    for _, check in ipairs(checks) do
        for i = 1, #check.peers do service.start(watch, check, i) end
    end
end

return M
