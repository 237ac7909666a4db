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
local ip = require("rproxy.ip")
local log = require("rproxy.log")
local member = require("rproxy.discover.member")
local members = require("rproxy.members")
local metric = require("rproxy.metric")
local pause = require("rproxy.discover.pause")
local service = require("rproxy.service")
local task = require("rproxy.task")

local C, H = abi.C, abi.H

local M = {}

local STEADY = 10     -- seconds that a provider must run until failures before are forgotten
local IN_USE = 0.02   -- ... between two looks whether this generation is in use
local PUT_AGAIN = 2   -- ... until shared memory that had no room is tried again
local STEP = 2000     -- members that come at a time: workers have to make room for each
local STEP_PAUSE = 0.2 -- seconds between two of these steps
local BEAT = 1        -- ... between two updates of the gauges
local REMIND = 600    -- ... between two log lines about a provider that stays lost
local ANOTHER = 10    -- ... when there is another reason
local SHOWN_MOST = 10 -- addresses in one log line
local WHY_MOST = 1000 -- bytes of a reason
local SAID_MOST = 100 -- different texts of one provider that get a log line

-- enum rp_abi_use
local WAITING, OVER = 0, 2

-- ---------------------------------------------------------------- what is told

local gauges

local function define_metrics()
    local labels = { "upstream", "provider" }
    local function gauge(name, help)
        return metric.own_gauge { "rproxy_discover_" .. name, help = help, labels = labels,
            most = 16384 }
    end
    local function counter(name, help)
        return metric.own_counter { "rproxy_discover_" .. name, help = help, labels = labels,
            most = 16384 }
    end
    gauges = {
        members = gauge("members", "Members that a provider brings to an upstream."),
        lost = gauge("lost", "1 while a provider is lost and its last members are kept."),
        age = gauge("age_seconds", "Seconds since a provider last said what the members are."),
        updates = counter("updates_total", "Changes of the members that a provider brought."),
        errors = counter("errors_total", "Failures of a provider, and members it got wrong."),
    }
end

local function count(slot, name)
    gauges[name]:inc(slot.set.upstream, slot.label)
end

local function fields_of(slot, more)
    more.upstream, more.provider = slot.set.upstream, slot.label
    return more
end

-- A few of them by name.
local function shown(addresses)
    if #addresses == 0 then return nil end
    local text = table.concat(addresses, ", ", 1, math.min(#addresses, SHOWN_MOST))
    if #addresses > SHOWN_MOST then
        text = ("%s and %d more"):format(text, #addresses - SHOWN_MOST)
    end
    return text
end

-- A warning that this provider has not given yet.
local function warn_once(slot, text, more)
    if slot.said[text] or slot.said_n >= SAID_MOST then return end
    slot.said[text], slot.said_n = true, slot.said_n + 1
    log.warn(text, fields_of(slot, more or {}))
end

local function lost(slot, why)
    if #why > WHY_MOST then why = why:sub(1, WHY_MOST) .. "..." end
    count(slot, "errors")
    local now = service.now()
    local is_news = not slot.is_lost or why ~= slot.why and now - slot.told_at > ANOTHER
    if is_news or now - slot.told_at > REMIND then
        log.warn("provider of members is lost, the last members are kept", fields_of(slot,
            { why = why, members = #(slot.list or slot.seed) }))
        slot.told_at = now
    end
    if not slot.is_lost then slot.lost_at = now end
    slot.is_lost, slot.why = true, why
end

local function good(slot)
    slot.good_at = service.now()
    if not slot.is_lost then return end
    log.info("provider of members is back", fields_of(slot,
        { after = ("%.1f"):format(slot.good_at - slot.lost_at) .. "s" }))
    slot.is_lost = false
end

-- ---------------------------------------------------------------- what a provider says

-- The members of one slot, or nil and why what was said cannot be taken.
local function read(slot, given)
    if type(given) == "function" then given = given() end
    local list, bad = member.list(given, slot.reads)
    if not list then return nil, bad end
    if #list == 0 and bad[1] then
        return nil, ("none of its %d members can be used: %s"):format(#given, bad[1])
    end
    for _, text in ipairs(bad) do
        count(slot, "errors")
        warn_once(slot, "a member is left out", { why = text })
    end
    for _, one in ipairs(list) do
        one.meta = one.meta or {}
        one.meta.provider = slot.label
    end
    return list
end

-- Empty is what some say when they mean "I do not know": not believed unless the site says so.
local function is_kept(slot, list)
    slot.kept_empty = false
    if list[1] or slot.empty == "take" then return false end
    slot.kept_empty = true
    if #(slot.list or slot.seed) > 0 and not slot.told_empty then
        slot.told_empty = true
        log.warn("provider says that there are no members, the last ones are kept",
            fields_of(slot, { members = #(slot.list or slot.seed) }))
    end
    return true
end

-- What was said since the last time.
local function take(slot)
    local given = slot.given
    slot.given = nil
    if given == nil then return end
    slot.is_read = true
    local ran, list, why = xpcall(read, abi.host.trace, slot, given)
    slot.is_read = false
    if not ran then list, why = nil, list end
    slot.is_refused = not list -- saying the same again does not make it good
    if not list then return lost(slot, why) end
    good(slot)
    slot.answered = true
    if is_kept(slot, list) then return end
    slot.told_empty = false
    local added, removed, changed = member.diff(slot.list or slot.seed, list)
    if added[1] or removed[1] or changed[1] then count(slot, "updates") end
    slot.list = list
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
    for _, slot in ipairs(set.slots) do count(slot, "errors") end
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
    for _, slot in ipairs(set.slots) do take(slot) end
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

-- ---------------------------------------------------------------- providers

local function publisher(slot, run)
    return function(given)
        if slot.run ~= run then return end -- a task that outlived its provider's failure
        if given == nil then
            if slot.answered and not slot.is_refused then good(slot) end
            return
        end
        if type(given) ~= "table" and type(given) ~= "function" then
            error("publish takes a list of members", 2)
        end
        slot.given, slot.set.dirty = given, true
        if slot.set.handle then service.wake(slot.set.handle) end
    end
end

-- In a task of its own: one that runs too long is ended as a whole, whatever it would catch.
local function run_once(slot)
    local run, ended = {}, nil
    slot.run = run
    local about = { upstream = slot.set.upstream, failures = slot.failures }
    local function say(text) warn_once(slot, tostring(text)) end
    service.join(service.start(function()
        local ran, result, why = xpcall(slot.provider.start, abi.host.trace, slot.settings,
            publisher(slot, run), say, about)
        ended = { is_done = ran and result == nil and why == nil,
            why = tostring(ran and why or result) }
    end))
    if not ended then ended = { why = "it was ended: it took more CPU time than it may" } end
    if not ended.is_done then slot.run = nil end
    return ended.is_done, ended.why
end

local function supervise(slot)
    while use_of(slot.set) ~= OVER do
        local began = service.now()
        local done, why = run_once(slot)
        if done then return end
        if service.now() - began > STEADY then slot.failures = 0 end
        slot.failures = slot.failures + 1
        lost(slot, why)
        task.sleep(pause.after(slot.failures, slot.provider.pause_most, math.random()))
    end
end

-- What a provider gave to be called later (publish(fn)) runs here, and could be the end of it.
local function keep_flushing(set)
    while use_of(set) ~= OVER do
        service.join(service.start(flush, set))
        if use_of(set) == OVER then return end
        for _, slot in ipairs(set.slots) do
            if slot.is_read then lost(slot, "its list took more CPU time than it may") end
            slot.is_read = false
        end
        task.sleep(PUT_AGAIN)
    end
end

-- ---------------------------------------------------------------- start

local function allow_of(list)
    if not list then return nil end
    local nets = assert(ip.cidr(list))
    return function(host) return nets:has(host) == true end
end

-- Long lists are read in pieces: checks and other providers run between them.
local function rest() task.sleep(0) end

local function slot_of(set, one)
    local provider, settings = one.provider, one.settings
    return { set = set, label = one.label, provider = provider, settings = settings,
        empty = one.common.empty, seed = {}, failures = 0, said = {}, said_n = 0, told_at = -1e9,
        good_at = service.now(), reads = { strict = provider.strict, unix = provider.unix,
            most = one.common.max, allow = allow_of(one.common.allow), rest = rest } }
end

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
    local set = { upstream = given.upstream, slots = {}, orphans = {}, settle = 0, wait = 0 }
    for i, one in ipairs(given.providers) do
        set.slots[i] = slot_of(set, one)
        set.settle = math.max(set.settle, one.common.settle)
        set.wait = math.max(set.wait, one.common.wait)
    end
    take_up(set)
    return set
end

local function each_slot(sets, fn)
    for _, set in ipairs(sets) do
        for _, slot in ipairs(set.slots) do fn(slot, set.upstream, slot.label) end
    end
end

local function show(slot, up, label)
    gauges.members:set(#(slot.list or slot.seed), up, label)
    gauges.lost:set(slot.is_lost and 1 or 0, up, label)
    gauges.age:set(math.max(service.now() - slot.good_at, 0), up, label)
end

-- The process goes on with another configuration: what that has no more is not shown as it was.
local function clear(_, up, label)
    gauges.members:set(0, up, label)
    gauges.lost:set(0, up, label)
    gauges.age:set(0, up, label)
end

local function beat(sets)
    while true do
        each_slot(sets, show)
        task.sleep(BEAT)
        if use_of(sets[1]) == OVER then return end
    end
end

-- Has everybody said something, or failed?
local function is_known(set)
    for _, slot in ipairs(set.slots) do
        if not slot.answered and not slot.is_lost then return false end
    end
    return use_of(set) == WAITING or not set.dirty and not set.is_busy
end

--- Begin, and wait for the first answers, so that the first requests find their members; not longer
--- than the sites' `wait`, and not until the time for hooks is over.
--- yields: yes
--- @param list table[]  of config/discover.lua
--- @param ends number  loop time
function M.start(list, ends)
    define_metrics()
    local sets = {}
    for i, given in ipairs(list) do sets[i] = open(given) end
    local began = service.now()
    for _, set in ipairs(sets) do
        service.start(keep_flushing, set)
        for _, slot in ipairs(set.slots) do service.start(supervise, slot) end
    end
    service.start(beat, sets)
    chain.on("farewell", function() each_slot(sets, clear) end, -1)
    for _, set in ipairs(sets) do
        local at = math.min(began + set.wait, ends - 1)
        while not is_known(set) and service.now() < at do task.sleep(IN_USE) end
    end
end

return M
