-- SPDX-License-Identifier: MIT
--
-- slot: one provider of one set, in the agent: what it says, how it is told that it is lost, and
-- that it is started again. A set is an upstream's members (rproxy.discover) or the site's routes
-- (routes.lua):
--
--   set.upstream   whose members they are; of routes "(routes)", for metrics and messages
--   set.kind       what: "members", "routes"; read(slot, given) -> list | nil, why;
--                  differs(before, after)
--   set.use()      enum rp_abi_use of the generation
--   set.dirty, set.handle   something was said; the task that wants to know

local abi = require("rproxy.abi")
local ip = require("rproxy.ip")
local log = require("rproxy.log")
local metric = require("rproxy.metric")
local pause = require("rproxy.discover.pause")
local service = require("rproxy.service")
local task = require("rproxy.task")

local M = {}

local STEADY = 10     -- seconds that a provider must run until failures before are forgotten
local REMIND = 600    -- ... between two log lines about a provider that stays lost
local ANOTHER = 10    -- ... when there is another reason
local WHY_MOST = 1000 -- bytes of a reason
local AGAIN = 2       -- seconds until lists are read again when one was the end of that
local SAID_MOST = 100 -- different texts of one provider that get a log line

local OVER = 2 -- enum rp_abi_use

-- ---------------------------------------------------------------- what is told

local gauges

function M.define_metrics()
    if gauges then return gauges end
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
    return gauges
end

-- Upstreams of found routes come and go as containers do, and series stay for ever: of those there
-- are none but the provider's own, of "(routes)".
local function is_shown(slot)
    return not slot.provider.is_found
end

function M.count(slot, name)
    if not is_shown(slot) then return end
    gauges[name]:inc(slot.set.upstream, slot.label)
end

local function fields_of(slot, more)
    more.upstream, more.provider = slot.set.upstream, slot.label
    return more
end

-- A warning that this provider has not given yet.
function M.warn_once(slot, text, more)
    if slot.said[text] or slot.said_n >= SAID_MOST then return end
    slot.said[text], slot.said_n = true, slot.said_n + 1
    log.warn(text, fields_of(slot, more or {}))
end

local function lost(slot, why)
    if #why > WHY_MOST then why = why:sub(1, WHY_MOST) .. "..." end
    M.count(slot, "errors")
    local now = service.now()
    local is_news = not slot.is_lost or why ~= slot.why and now - slot.told_at > ANOTHER
    if is_news or now - slot.told_at > REMIND then
        local what = slot.set.kind.what
        log.warn(("provider of %s is lost, the last %s are kept"):format(what, what),
            fields_of(slot, { why = why, [what] = #(slot.list or slot.seed) }))
        slot.told_at = now
    end
    if not slot.is_lost then slot.lost_at = now end
    slot.is_lost, slot.why = true, why
end

local function good(slot)
    slot.good_at = service.now()
    if not slot.is_lost then return end
    log.info(("provider of %s is back"):format(slot.set.kind.what), fields_of(slot, {
        after = ("%.1f"):format(slot.good_at - slot.lost_at) .. "s" }))
    slot.is_lost = false
end

-- ---------------------------------------------------------------- what a provider says

-- Empty is what some say when they mean "I do not know": not believed unless the site says so.
local function is_kept(slot, list)
    slot.kept_empty = false
    if list[1] or slot.empty == "take" then return false end
    slot.kept_empty = true
    if #(slot.list or slot.seed) > 0 and not slot.told_empty then
        slot.told_empty = true
        local what = slot.set.kind.what
        log.warn(("provider says that there are no %s, the last ones are kept"):format(what),
            fields_of(slot, { [what] = #(slot.list or slot.seed) }))
    end
    return true
end

--- What was said since the last time.
function M.take(slot)
    local given = slot.given
    slot.given = nil
    if given == nil then return end
    slot.is_read = true
    local ran, list, why = xpcall(slot.set.kind.read, abi.host.trace, slot, given)
    slot.is_read = false
    if not ran then list, why = nil, list end
    slot.is_refused = not list -- saying the same again does not make it good
    if not list then return lost(slot, why) end
    good(slot)
    slot.answered = true
    if is_kept(slot, list) then return end
    slot.told_empty = false
    if slot.set.kind.differs(slot.list or slot.seed, list) then M.count(slot, "updates") end
    slot.list = list
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
            error("publish takes a list of " .. slot.set.kind.what, 2)
        end
        slot.given, slot.set.dirty = given, true
        if slot.set.handle then service.wake(slot.set.handle) end
    end
end

-- In a task of its own: one that runs too long is ended as a whole, whatever it would catch.
local function run_once(slot)
    local run, ended = {}, nil
    slot.run = run
    local about = { upstream = slot.set.upstream, failures = slot.failures,
        routes = slot.set.kind.what == "routes" }
    local function say(text) M.warn_once(slot, tostring(text)) end
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

--- Run a provider for as long as its generation is there.
--- yields: yes
function M.supervise(slot)
    while slot.set.use() ~= OVER do
        local began = service.now()
        local done, why = run_once(slot)
        if done then return end
        if service.now() - began > STEADY then slot.failures = 0 end
        slot.failures = slot.failures + 1
        lost(slot, why)
        task.sleep(pause.after(slot.failures, slot.provider.pause_most, math.random()))
    end
end

--- A reason why what a provider said, or does, cannot be taken.
M.lost = lost

--- Run read(set) in a task of its own, again and again until the set is over: what a provider gave
--- to be called later (publish(fn)) runs in there, and could be the end of it.
--- yields: yes
--- @param set table  slots
--- @param use function  (set) -> enum rp_abi_use
--- @param read function
function M.keep_reading(set, use, read)
    while use(set) ~= OVER do
        service.join(service.start(read, set))
        if use(set) == OVER then return end
        for _, slot in ipairs(set.slots) do
            if slot.is_read then lost(slot, "its list took more CPU time than it may") end
            slot.is_read = false
        end
        task.sleep(AGAIN)
    end
end

local function allow_of(list)
    if not list then return nil end
    local nets = assert(ip.cidr(list))
    return function(host) return nets:has(host) == true end
end

--- Bring its gauges up to date.
function M.show(slot)
    if not is_shown(slot) then return end
    local up, label = slot.set.upstream, slot.label
    gauges.members:set(#(slot.list or slot.seed), up, label)
    gauges.lost:set(slot.is_lost and 1 or 0, up, label)
    gauges.age:set(math.max(service.now() - slot.good_at, 0), up, label)
end

--- The process goes on with another configuration: what that has no more is not shown as it was.
function M.clear(slot)
    if not is_shown(slot) then return end
    local up, label = slot.set.upstream, slot.label
    gauges.members:set(0, up, label)
    gauges.lost:set(0, up, label)
    gauges.age:set(0, up, label)
end

-- Long lists are read in pieces: checks and other providers run between them.
local function rest() task.sleep(0) end

--- @param set table
--- @param one table  a provider as config/discover.lua read it
function M.new(set, one)
    local provider, settings = one.provider, one.settings
    return { set = set, label = one.label, provider = provider, settings = settings,
        empty = one.common.empty, seed = {}, failures = 0, said = {}, said_n = 0, told_at = -1e9,
        good_at = service.now(), reads = { strict = provider.strict, unix = provider.unix,
            most = one.common.max, allow = allow_of(one.common.allow), rest = rest } }
end

return M
