-- SPDX-License-Identifier: MIT
--
-- discover: members of upstreams from elsewhere, in the agent. A provider (discover/*.lua, or the
-- site's own) says who the members are; this says what becomes of that.
--
--   provider.start(settings, publish, say, about)   runs in a task of its own and may wait
--     publish(list)   these are all members now (as discover/member.lua takes them); or a function
--                     that gives the list when it is wanted
--     publish()       what was said last still holds
--     say(text)       something is odd, but not wrong: a warning, once
--     about           upstream: its name; failures: how often it failed in a row
--   It returns nil and a text, or raises, when it cannot go on: it is started again, later and
--   later. When it returns nothing it is done, and what it said holds.
--
-- A slot is one provider of one upstream; a set is an upstream with all its slots. What was good
-- stays, whatever happens: it is in shared memory (rproxy.members), so it is there for the next
-- agent and the next generation, too. Nothing is written there that a serving generation would
-- follow before this one is in use.

local abi = require("rproxy.abi")
local chain = require("rproxy.chain")
local log = require("rproxy.log")
local member = require("rproxy.discover.member")
local members = require("rproxy.members")
local service = require("rproxy.service")
local slot_of = require("rproxy.discover.slot")
local task = require("rproxy.task")

local C, H = abi.C, abi.H

local M = {}

local IN_USE = 0.02   -- ... between two looks whether this generation is in use
local PUT_AGAIN = 2   -- ... until shared memory that had no room is tried again
local STEP = 2000     -- members that come at a time: workers have to make room for each
local STEP_PAUSE = 0.2 -- seconds between two of these steps
local BEAT = 1        -- ... between two updates of the gauges
local SHOWN_MOST = 10 -- addresses in one log line

-- enum rp_abi_use
local WAITING, OVER = 0, 2

-- ---------------------------------------------------------------- what a provider says

-- A few of them by name.
local function shown(addresses)
    if #addresses == 0 then return nil end
    local text = table.concat(addresses, ", ", 1, math.min(#addresses, SHOWN_MOST))
    if #addresses > SHOWN_MOST then
        text = ("%s and %d more"):format(text, #addresses - SHOWN_MOST)
    end
    return text
end

local KIND = { what = "members" }

-- The members of one slot, or nil and why what was said cannot be taken.
function KIND.read(slot, given)
    if type(given) == "function" then given = given() end
    local list, bad = member.list(given, slot.reads)
    if not list then return nil, bad end
    if #list == 0 and bad[1] then
        return nil, ("none of its %d members can be used: %s"):format(#given, bad[1])
    end
    for _, text in ipairs(bad) do
        slot_of.count(slot, "errors")
        slot_of.warn_once(slot, "a member is left out", { why = text })
    end
    for _, one in ipairs(list) do
        one.meta = one.meta or {}
        one.meta.provider = slot.label
    end
    return list
end

function KIND.differs(before, after)
    local added, removed, changed = member.diff(before, after)
    return added[1] ~= nil or removed[1] ~= nil or changed[1] ~= nil
end

-- ---------------------------------------------------------------- an upstream's members

-- Members of providers that there are no more count until all that there are have answered.
local function are_orphans_kept(set)
    for _, slot in ipairs(set.slots) do
        if not slot.answered or slot.kept_empty and not slot.list then return true end
    end
    return false
end

local function combined(set)
    local out, seen = {}, {}
    local function add(list)
        for _, one in ipairs(list) do
            if not seen[one.address] then
                seen[one.address] = true
                out[#out + 1] = one
            end
        end
    end
    for _, slot in ipairs(set.slots) do add(slot.list or slot.seed) end
    if are_orphans_kept(set) then add(set.orphans) end
    return out
end

local function tell_changes(set, list)
    local added, removed, changed = member.diff(set.current, list)
    if not (added[1] or removed[1] or changed[1]) then return end
    log.info("members changed", { upstream = set.upstream, members = #list, added = shown(added),
        removed = shown(removed), changed = shown(changed) })
end

-- true: what is combined is what everybody sees, or a step to it, and there is more to do.
local function put(set)
    local list, last = combined(set), true
    local ok, why
    if #list > member.MOST then
        why = ("%d members of all providers; at most %d are taken"):format(#list, member.MOST)
    else
        list, last = member.step(set.current, list, STEP)
        ok, why = members.put(set.upstream, list)
    end
    if ok then
        tell_changes(set, list)
        set.current, set.refused = list, nil
        set.dirty = set.dirty or not last
        return true
    end
    for _, slot in ipairs(set.slots) do slot_of.count(slot, "errors") end
    if set.refused ~= why then
        log.error("members cannot be taken, the last ones are kept", { upstream = set.upstream,
            why = why })
        set.refused = why
    end
    return false
end

local function use_of(set)
    return C.rp_abi_conf_use(H, set.upstream, #set.upstream)
end

local function take_all(set)
    set.dirty = false
    for _, slot in ipairs(set.slots) do slot_of.take(slot) end
end

-- Until this generation is in use; what is said meanwhile is heard. False: it never will be.
local function await_use(set)
    local last = service.now()
    while use_of(set) == WAITING do
        task.sleep(IN_USE)
        if set.dirty and service.now() - last >= set.settle then
            last = service.now()
            take_all(set)
        end
    end
    return use_of(set) ~= OVER
end

-- The first news at once, further ones together, one `settle` after the last.
local function flush(set)
    set.handle = service.self()
    local last = -math.huge
    while true do
        set.is_busy = false
        while not set.dirty do task.wait("what providers say", -1) end
        set.is_busy = true
        local left = last + set.settle - service.now()
        if left > 0 then task.sleep(left) end
        last = service.now()
        take_all(set)
        if not await_use(set) then return end
        while not put(set) do
            task.sleep(PUT_AGAIN)
            if use_of(set) == OVER then return end
            take_all(set)
        end
        if set.dirty then task.sleep(STEP_PAUSE) end
    end
end

-- ---------------------------------------------------------------- start

-- What there is now, from an agent or a generation before.
local function take_up(set)
    local by_label = {}
    for _, slot in ipairs(set.slots) do by_label[slot.label] = slot end
    set.current = members.get(set.upstream) or {}
    for _, one in ipairs(set.current) do
        local slot = by_label[(one.meta or {}).provider]
        local list = slot and slot.seed or set.orphans
        list[#list + 1] = one
    end
end

local function open(given)
    local set = { upstream = given.upstream, kind = KIND, slots = {}, orphans = {}, settle = 0,
        wait = 0 }
    function set.use() return use_of(set) end
    for i, one in ipairs(given.providers) do
        set.slots[i] = slot_of.new(set, one)
        set.settle = math.max(set.settle, one.common.settle)
        set.wait = math.max(set.wait, one.common.wait)
    end
    take_up(set)
    return set
end

local function each_slot(sets, fn)
    for _, set in ipairs(sets) do
        for _, slot in ipairs(set.slots) do fn(slot) end
    end
end

-- Once the generation is in use: what it said of an upstream that is new in it may have been taken
-- for that of one that is gone, until then.
local function put_again(sets)
    for _, set in ipairs(sets) do
        local is_gone = #(set.current or {}) > 0 and #members.get(set.upstream) == 0
        set.dirty = set.dirty or is_gone
        if is_gone and set.handle then service.wake(set.handle) end
    end
end

local function beat(sets)
    local waits = true
    while true do
        each_slot(sets, slot_of.show)
        if waits and C.rp_abi_conf_use(H, "", 0) ~= WAITING then
            waits = false
            put_again(sets)
        end
        task.sleep(BEAT)
        if use_of(sets[1]) == OVER then return end
    end
end

-- Has everybody said something, or failed?
local function is_known(set)
    for _, slot in ipairs(set.slots) do
        local is_lost = slot.is_lost or slot.provider.is_lost and slot.provider.is_lost()
        if not slot.answered and not is_lost then return false end
    end
    return use_of(set) == WAITING or not set.dirty and not set.is_busy
end

--- Begin, and wait for the first answers, so that the first requests find their members; not longer
--- than the sites' `wait`, and not until the time for hooks is over.
--- yields: yes
--- @param list table[]  of config/discover.lua
--- @param ends number  loop time
function M.start(list, ends)
    slot_of.define_metrics()
    local sets = {}
    for i, given in ipairs(list) do sets[i] = open(given) end
    local began = service.now()
    for _, set in ipairs(sets) do
        service.start(slot_of.keep_reading, set, use_of, flush)
        for _, slot in ipairs(set.slots) do service.start(slot_of.supervise, slot) end
    end
    service.start(beat, sets)
    chain.on("farewell", function() each_slot(sets, slot_of.clear) end, -1)
    for _, set in ipairs(sets) do
        local at = math.min(began + set.wait, ends - 1)
        while not is_known(set) and service.now() < at do task.sleep(IN_USE) end
    end
end

return M
