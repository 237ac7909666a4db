-- SPDX-License-Identifier: MIT
--
-- rollout: canaries that grow by steps, judged in the agent: one task for all of them. Where each
-- stands, and what was counted, is in the table of splits (shm/splits.h), which workers and the
-- operator's tool share: an agent that starts anew goes on from there.

local abi = require("rproxy.abi")
local judge = require("rproxy.rollout_judge")
local log = require("rproxy.log")
local metric = require("rproxy.metric")
local service = require("rproxy.service")
local task = require("rproxy.task")

local C, H = abi.C, abi.H

local M = {}

local WORDS = { rollback = 2, promote = 3 } -- enum rp_split_word
local RUNS = 1 -- enum rp_rollout
local LOOKS_A_STEP, LOOK_LEAST, LOOK_MOST = 20, 0.1, 1 -- seconds between two

local function side_of(rollout, counts, of_canary)
    return { requests = counts.requests, failures = counts.failures, timed = counts.timed,
        time = function(q) return C.rp_abi_split_time(H, rollout.index, of_canary, q) end }
end

local function tell(rollout, word, why, share)
    local fields = { split = rollout.name, canary = rollout.canary, why = why }
    if word == "rollback" then
        log.error("canary is rolled back", fields)
    else
        fields.share = ("%g%%"):format(share / 100)
        log.notice("canary has more of the requests", fields)
    end
end

local function say(rollout, word, step, why)
    local code = C.rp_abi_split_say(H, rollout.index, WORDS[word], step, why or "", #(why or ""))
    if code == abi.OK then return true end
    if code ~= abi.E.STALE then -- the operator was faster: no news
        log.error("a rollout cannot go on", { split = rollout.name, error = abi.text(code) })
    end
    return false
end

--- Look at one rollout once.
--- @return string|nil word  what was done
function M.look(rollout, state, metrics)
    if not C.rp_abi_split_look(H, rollout.index, state) then return nil end
    if state.state ~= RUNS then return nil end
    local word, why = judge.judge({ age = state.age_s,
        canary = side_of(rollout, state.sides[0], true),
        base = side_of(rollout, state.sides[1], false) }, rollout.settings)
    if not word or not say(rollout, word, state.step, why) then return nil end
    metrics[word]:inc(rollout.name, rollout.canary)
    tell(rollout, word, why, rollout.steps[state.step + 2] or 0)
    return word
end

local function watch(rollout)
    local state = abi.new("struct rp_abi_rollout")
    local labels = { "split", "upstream" }
    local metrics = {
        rollback = metric.counter { "split_rollbacks_total", labels = labels,
            help = "Canaries that were taken back because they did worse." },
        promote = metric.counter { "split_promotions_total", labels = labels,
            help = "Steps that canaries took." },
    }
    local pause = math.max(LOOK_LEAST, math.min(LOOK_MOST, rollout.settings.every / LOOKS_A_STEP))
    while true do
        M.look(rollout, state, metrics)
        task.sleep(pause)
    end
end

--- Begin; the tasks end with this VM.
--- @param rollouts table[]  of config/splits.lua: index, name, canary, steps, settings
function M.start(rollouts)
    for _, rollout in ipairs(rollouts) do service.start(watch, rollout) end
end

return M
