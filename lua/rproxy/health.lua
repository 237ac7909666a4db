-- SPDX-License-Identifier: MIT
--
-- health: active checks, in the agent: one task per peer, which comes and goes with it. What they
-- find is in the roster, which all workers read; a state that was found before (by an agent that
-- died, or before a reload) is where a check goes on from.

local abi = require("rproxy.abi")
local judge = require("rproxy.health_judge")
local log = require("rproxy.log")
local members = require("rproxy.members")
local service = require("rproxy.service")
local task = require("rproxy.task")

local C, H = abi.C, abi.H

local M = {}

local SPREAD_MOST = 1  -- seconds over which the first checks are spread
local FOLLOW_EVERY = 0.2 -- between two looks whether members came or went

local function tell(check, peer, state, why)
    local fields = { upstream = check.name, peer = peer }
    if state.health == judge.PASSING then return log.info("peer is up", fields) end
    fields.why = why
    log.warn("peer is down", fields)
end

local function watch(check, peer, run)
    local settings = check.settings
    local state = { good = 0, bad = 0 }
    task.sleep((0.1 + math.random()) * math.min(SPREAD_MOST, settings.every))
    state.health = C.rp_abi_peer_health(H, check.index, peer, #peer)
    if state.health < 0 then state.health = judge.UNKNOWN end
    while run.on do
        local ran, ok, why = xpcall(check.probe, abi.host.trace, peer)
        if not ran then ok, why = false, ok end
        if not run.on then return end
        local before = state.health
        if judge.judge(state, ok and true or false, settings.rise, settings.fall)
            and not (before == judge.UNKNOWN and state.health == judge.PASSING) then
            tell(check, peer, state, why)
        end
        C.rp_abi_peer_report(H, check.index, peer, #peer, state.health, ok and true or false)
        task.sleep(judge.pause(state, settings, math.random()))
    end
end

-- Checks of peers that came begin, those of peers that went end with their round.
local function follow(check, runs, names)
    local wanted = {}
    for _, name in ipairs(names) do wanted[name] = true end
    for name, run in pairs(runs) do
        if not wanted[name] then
            run.on = false
            runs[name] = nil
        end
    end
    for _, name in ipairs(names) do
        if not runs[name] then
            runs[name] = { on = true }
            service.start(watch, check, name, runs[name])
        end
    end
end

local function oversee(checks)
    local runs, seen = {}, nil
    for i in ipairs(checks) do runs[i] = {} end
    while true do
        local epoch, complete = members.epoch(), true
        for i, check in ipairs(epoch ~= seen and checks or {}) do
            local names = members.peers(check.index)
            if names then follow(check, runs[i], names) else complete = false end
        end
        if complete then seen = epoch end -- else this configuration is not in use yet
        task.sleep(FOLLOW_EVERY)
    end
end

--- Begin; the tasks end with this VM.
--- @param checks table[]  of config/health.lua
function M.start(checks)
    service.start(oversee, checks)
end

return M
