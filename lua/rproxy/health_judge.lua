-- SPDX-License-Identifier: MIT
--
-- health_judge: what the outcomes of checks make of a peer, and when it is asked again. Pure.

local M = {}

-- enum rp_roster_health
M.UNKNOWN, M.PASSING, M.FAILING = 0, 1, 2

local UNKNOWN, PASSING, FAILING = M.UNKNOWN, M.PASSING, M.FAILING

--- What a check's outcome makes of a peer.
--- @param state table  health, good, bad: changed
--- @param ok boolean
--- @param rise number
--- @param fall number
--- @return boolean news  the health is another one
function M.judge(state, ok, rise, fall)
    local before = state.health
    state.good = ok and state.good + 1 or 0
    state.bad = ok and 0 or state.bad + 1
    -- A peer of which nothing is known takes requests: its first good check is enough.
    if ok and (before == UNKNOWN or (before == FAILING and state.good >= rise)) then
        state.health = PASSING
    elseif not ok and state.bad >= fall then
        state.health = FAILING
    end
    return state.health ~= before
end

--- How long until the next check. dice: from 0 to 1.
function M.pause(state, settings, dice)
    local settled = (state.health == PASSING and state.bad == 0) or not settings.fast
    local seconds = settled and settings.every or settings.fast
    return seconds * (1 + settings.jitter * (dice - 0.5))
end

return M
