-- SPDX-License-Identifier: MIT
--
-- routes: routes of the site from elsewhere, in the agent. Providers of the site's `discover` give
-- offers (offer.lua); which of them hold is one text in shared memory, with which the master
-- evaluates the site anew (process/found.h, config/found.lua). The members behind a route go to its
-- upstream as those of any provider do, without that.

local abi = require("rproxy.abi")
local chain = require("rproxy.chain")
local crypto = require("rproxy.crypto")
local json = require("rproxy.json")
local log = require("rproxy.log")
local offer = require("rproxy.discover.offer")
local service = require("rproxy.service")
local slot_of = require("rproxy.discover.slot")
local task = require("rproxy.task")
local text = require("rproxy.text")

local C, H, E = abi.C, abi.H, abi.E

local M = {}

local IN_USE = 0.02     -- seconds between two looks whether this generation is in use
local PUT_AGAIN = 2     -- ... until shared memory that had no room is tried again
local GATHERS = 5       -- news that go on are gathered so many times as long, at most
local BEAT = 1          -- ... between two updates of the gauges
local OFFERS_MOST = 20000
local TEXT_MOST = 4 * 2 ^ 20
local WARN_MOST = 20    -- lines of the log at a time about what does not hold
local TOLD_MOST = 10000 -- reasons that are remembered
local LOOKED_AT = 500   -- routes between two rests
local SHOWN_MOST = 10   -- names in one line
local UPSTREAM = "(routes)" -- in the place of an upstream's name

local WAITING, OVER = 0, 2 -- enum rp_abi_use

-- ---------------------------------------------------------------- what a provider says

local KIND = { what = "routes" }

-- Each offer for itself: one that is wrong takes no other along.
function KIND.read(slot, given)
    if type(given) == "function" then given = given() end
    if type(given) ~= "table" then return nil, "no list of routes" end
    if #given > OFFERS_MOST then
        return nil, ("%d routes; at most %d are looked at"):format(#given, OFFERS_MOST)
    end
    local list = {}
    slot.bad = {}
    for i, item in ipairs(given) do
        if i % LOOKED_AT == 0 then task.sleep(0) end
        local from = type(item) == "table" and type(item.from) == "string" and item.from
        local one, why
        if type(item) == "table" and type(item.bad) == "string" then why = item.bad
        else one, why = offer.read(item) end
        list[#list + 1] = one
        if why then
            slot.bad[#slot.bad + 1] = { from = from or ("route %d"):format(i), why = why }
        end
    end
    return list
end

-- Counted when the text is another one: members come and go without it.
function KIND.differs()
    return false
end

-- ---------------------------------------------------------------- members

local feeds = {}  -- label -> name of a route -> { publish, list, text }
local slots = {}  -- label -> slot

local function feed_of(label, name)
    feeds[label] = feeds[label] or {}
    local all = feeds[label]
    all[name] = all[name] or {}
    return all[name]
end

local function give(feed)
    if feed.publish and feed.list and feed.text ~= feed.given then
        feed.given = feed.text
        feed.publish(feed.list)
    end
end

--- The provider of a found route's upstream.
--- @param label string  of the provider that found it
--- @param name string  of the route
function M.feed(label, name)
    return {
        start = function(_, publish)
            local feed = feed_of(label, name)
            feed.publish, feed.given = publish, nil
            give(feed)
        end,
        is_lost = function() return slots[label] and slots[label].is_lost end,
    }
end

local function feed_all(label, members)
    for name in pairs(feeds[label] or {}) do
        if not members[name] then members[name] = {} end
    end
    for name, list in pairs(members) do
        local feed = feed_of(label, name)
        feed.list, feed.text = list, json.encode(json.array(list), { sort = true })
        give(feed)
    end
end

-- ---------------------------------------------------------------- what holds

local function key_of(slot, one)
    return text.hex(crypto.sha256(table.concat({ slot.label, one.from or "", one.route or "",
        one.why }, "\n"))):sub(1, 16)
end

-- What of it was not said before, by this agent or another one.
local function tell_bad(set)
    local told, known, n = {}, {}, 0
    if C.rp_abi_found_get(H, true) == abi.OK then
        for word in abi.out():gmatch("%S+") do known[word] = true end
    end
    for _, slot in ipairs(set.slots) do
        for i, one in ipairs(slot.refused or {}) do
            if i % LOOKED_AT == 0 then task.sleep(0) end
            local key = key_of(slot, one)
            if not known[key] then
                n = n + 1
                slot_of.count(slot, "errors")
            end
            if not known[key] and n <= WARN_MOST then
                log.warn("a route that was found does not hold", { provider = slot.label,
                    from = one.from, route = one.route, why = one.why })
            end
            if #told < TOLD_MOST then told[#told + 1] = key end
        end
    end
    if n > WARN_MOST then
        log.warn("more routes that were found do not hold", { more = n - WARN_MOST })
    end
    table.sort(told)
    local all = table.concat(told, "\n")
    C.rp_abi_found_put(H, true, all, #all) -- no room: it is said again
end

local function tell(set)
    set.teller = service.self()
    while set.use() ~= OVER do
        while not set.is_judged do task.wait("what becomes of routes", -1) end
        while set.use() == WAITING do task.sleep(IN_USE) end
        set.is_judged = false
        if set.use() ~= OVER then tell_bad(set) end
    end
end

local function hold(slot, taken)
    if not slot.list then return slot.seed end
    local bounds = setmetatable({ taken = taken }, { __index = slot.bounds })
    local routes, members, bad = offer.resolve(slot.list, bounds)
    for _, one in ipairs(slot.bad or {}) do bad[#bad + 1] = one end
    slot.refused = bad
    feed_all(slot.label, members)
    return routes
end

-- All that holds, and who has which host.
local function combine(set)
    local all, taken = {}, {}
    for host, at in pairs(set.taken) do taken[host] = at end
    for _, slot in ipairs(set.slots) do
        local routes = hold(slot, taken)
        all[slot.label] = json.array(routes)
        for _, route in ipairs(routes) do
            for _, host in ipairs(route.hosts) do
                taken[host] = taken[host] or "provider " .. slot.label
            end
        end
    end
    return all
end

-- Who said it is for people: another one of the same is no change.
local function without_from(all)
    local out = {}
    for label, routes in pairs(all) do
        out[label] = {}
        for i, route in ipairs(routes) do
            local copy = {}
            for key, value in pairs(route) do copy[key] = value end
            copy.from = nil
            out[label][i] = copy
        end
    end
    return json.encode(out, { sort = true })
end

local function set_of_names(all)
    local names = {}
    for label, routes in pairs(all) do
        for _, route in ipairs(routes) do names[label .. ":" .. route.name] = true end
    end
    return names
end

local function missing(from, other)
    local list = {}
    for name in pairs(from) do
        if not other[name] then list[#list + 1] = name end
    end
    table.sort(list)
    if #list == 0 then return nil end
    local shown = table.concat(list, ", ", 1, math.min(#list, SHOWN_MOST))
    return #list > SHOWN_MOST and ("%s and %d more"):format(shown, #list - SHOWN_MOST) or shown
end

-- ---------------------------------------------------------------- writing

local function load_text()
    if C.rp_abi_found_get(H, false) ~= abi.OK then return {} end
    local was = abi.out()
    local all = was ~= "" and json.decode(was, { max = TEXT_MOST })
    return type(all) == "table" and all or {}
end

local function put(set, all)
    local found = json.encode(all, { sort = true })
    local code = C.rp_abi_found_put(H, false, found, #found)
    if code ~= abi.OK and code ~= abi.END then
        if set.refused ~= code then
            log.error("routes cannot be taken, the last ones are kept", {
                why = code == E.CAP and "no room in shared memory" or abi.text(code),
                bytes = #found })
        end
        set.refused = code
        return false
    end
    set.refused = nil
    local before, after = set_of_names(set.written), set_of_names(all)
    local n = 0
    for _ in pairs(after) do n = n + 1 end
    log.info("routes changed", { routes = n, added = missing(after, before),
        removed = missing(before, after) })
    for _, slot in ipairs(set.slots) do slot_of.count(slot, "updates") end
    set.written, set.written_text = all, without_from(all)
    return true
end

-- Until nothing new came for a while, but not for ever.
local function gather(set)
    local ends = service.now() + GATHERS * set.gather
    repeat
        set.is_fresh = false
        task.sleep(set.gather)
    until not set.is_fresh or service.now() >= ends
end

-- News are gathered, and a while lies between two reloads.
local function write(set)
    set.writer = service.self()
    local last = -math.huge
    while set.use() ~= OVER do
        while not set.wanted do task.wait("routes that providers found", -1) end
        gather(set)
        task.sleep(math.max(0, last + set.pause - service.now()))
        while set.use() == WAITING do task.sleep(IN_USE) end
        if set.use() ~= OVER and without_from(set.wanted) ~= set.written_text then
            last = service.now()
            while not put(set, set.wanted) do task.sleep(PUT_AGAIN) end
        end
        set.wanted = nil -- not before: who takes too long is started again
    end
end

local function follow(set)
    set.handle = service.self()
    local last = -math.huge
    while set.use() ~= OVER do
        while not set.dirty do task.wait("what providers say", -1) end
        local left = last + set.settle - service.now()
        if left > 0 then task.sleep(left) end
        last = service.now()
        set.dirty = false
        for _, slot in ipairs(set.slots) do slot_of.take(slot) end
        local any = false
        for _, slot in ipairs(set.slots) do any = any or slot.list ~= nil end
        if any then
            set.wanted, set.is_fresh = combine(set), true
            set.is_judged = true
            if set.writer then service.wake(set.writer) end
            if set.teller then service.wake(set.teller) end
        end
    end
end

-- What becomes of very many routes takes its time, too: a task that is ended for it begins again.
local function keep(set, what, fn)
    while set.use() ~= OVER do
        service.join(service.start(fn, set))
        if set.use() == OVER then return end
        log.error("a task of found routes ended, it is started again", { task = what })
        task.sleep(PUT_AGAIN)
    end
end

-- ---------------------------------------------------------------- start

local function beat(set)
    while set.use() ~= OVER do
        for _, slot in ipairs(set.slots) do slot_of.show(slot) end
        task.sleep(BEAT)
    end
end

-- The routes that this provider had, as far as they are ones.
local function seed_of(given)
    local list = {}
    for _, item in ipairs(type(given) == "table" and given or {}) do
        local route = offer.read(item)
        if route then
            route.members = nil
            list[#list + 1] = route
        end
    end
    return list
end

--- Begin; waits for nothing.
--- @param finds table  of config/found.lua
function M.start(finds)
    slot_of.define_metrics()
    local set = { upstream = UPSTREAM, kind = KIND, slots = {}, taken = finds.taken, settle = 0,
        gather = 0, pause = 0 }
    function set.use() return C.rp_abi_conf_use(H, "", 0) end
    set.written = load_text()
    set.written_text = without_from(set.written)
    for i, entry in ipairs(finds.entries) do
        local slot = slot_of.new(set, entry.one)
        slot.bounds = entry.bounds
        slot.seed = seed_of(set.written[slot.label])
        set.settle = math.max(set.settle, entry.one.common.settle)
        set.gather = math.max(set.gather, entry.opts.gather)
        set.pause = math.max(set.pause, entry.opts.pause)
        set.slots[i], slots[slot.label] = slot, slot
    end
    service.start(slot_of.keep_reading, set, set.use, follow)
    service.start(keep, set, "write", write)
    service.start(keep, set, "tell", tell)
    for _, slot in ipairs(set.slots) do service.start(slot_of.supervise, slot) end
    service.start(beat, set)
    chain.on("farewell", function()
        for _, slot in ipairs(set.slots) do slot_of.clear(slot) end
    end, -1)
end

return M
