-- SPDX-License-Identifier: MIT
--
-- shared_kinds: zones of counters, of what comes most often (top), of how many different ones there
-- are (distinct).

local abi = require("rproxy.abi")
local object = require("rproxy.object")
local outside = require("rproxy.outside")
local shared = require("rproxy.shared")

local C, H = abi.C, abi.H
local OK, END = abi.OK, abi.END
local open, words, bad_key = shared.open, shared.words, shared.bad_key
local raise = object.raise

-- ---------------------------------------------------------------- counters

local SUM, GAUGE = 1, 2 -- enum rp_tally_kind
local MOST = 2 ^ 53

-- [1] struct rp_tally *, [2] name, [3] handles by kind and name
local Counters = {}
local Counter, Gauge = {}, {}
Counter.__index, Gauge.__index = Counter, Gauge

local function check_integer(n, least)
    if type(n) ~= "number" or n % 1 ~= 0 or n < least or n > MOST then
        raise("counters take whole numbers up to 2^53%s, got %s", least == 0 and " from 0" or "",
            tostring(n))
    end
end

-- [1] struct rp_tally *, [2] number of the name, [3] the name
local function handle(zone, kind, class, name)
    if type(name) ~= "string" then bad_key("a counter", name) end
    local known = zone[3][name]
    if known and getmetatable(known) == class then return known end
    local tally = zone[1] or open(zone)
    local code = C.rp_abi_tally_name(H, tally, name, #name, kind)
    if code == END then return nil, "of another kind" end
    if code ~= OK then return nil, words(code) end
    local made = setmetatable({ tally, H.number, name }, class)
    zone[3][name] = made
    return made
end

--- A number that only grows, over the lives of all workers. Made when it is new.
--- @param name string  1 to 200 bytes
--- @return table|nil counter, string|nil err  "full", "of another kind", "invalid", "busy"
function Counters:counter(name) return handle(self, SUM, Counter, name) end

--- A number that goes up and down: the sum of what each worker has; a worker's part ends with it.
function Counters:gauge(name) return handle(self, GAUGE, Gauge, name) end

--- Add to a counter.
--- @param n number|nil  1
--- @return true|nil ok, string|nil err
function Counters:add(name, n)
    local counter, err = self:counter(name)
    if not counter then return nil, err end
    counter:add(n)
    return true
end

--- The sum over all workers; nil when there is no such name.
function Counters:get(name)
    local tally, at = self[1] or open(self), 0
    while C.rp_abi_tally_at(H, tally, at) do
        if abi.out() == name then return C.rp_abi_tally_sum(tally, at) end
        at = at + 1
    end
    return nil
end

--- All of them: name -> sum. For looking at things.
function Counters:all()
    local tally, at, out = self[1] or open(self), 0, {}
    while C.rp_abi_tally_at(H, tally, at) do
        out[abi.out()] = C.rp_abi_tally_sum(tally, at)
        at = at + 1
    end
    return out
end

--- names, room
function Counters:stats()
    local tally, n = self[1] or open(self), 0
    while C.rp_abi_tally_at(H, tally, n) do n = n + 1 end
    return { names = n, room = C.rp_abi_tally_room(tally) }
end

function Counter:add(n)
    if n == nil then n = 1 else check_integer(n, 0) end
    C.rp_abi_tally_add(H, self[1], self[2], n)
end

function Counter:get() return C.rp_abi_tally_sum(self[1], self[2]) end

function Gauge:add(n)
    if n == nil then n = 1 else check_integer(n, -MOST) end
    C.rp_abi_tally_add(H, self[1], self[2], n)
end

--- What this worker has.
function Gauge:set(n)
    check_integer(n, -MOST)
    C.rp_abi_tally_set(H, self[1], self[2], n)
end

Gauge.get = Counter.get

shared.add_kind("counters", Counters)
local function name_of(handle_of) return handle_of[3] end
outside.class("shared.counter", Counter, { fields = {}, ident = name_of })
outside.class("shared.gauge", Gauge, { fields = {}, ident = name_of })

-- ---------------------------------------------------------------- what comes most often

local Top = {}

--- It came n times more.
--- @param key string  1 to 1024 bytes
--- @param n number|nil  1
--- @return true|nil ok, string|nil err
function Top:add(key, n)
    if type(key) ~= "string" then bad_key("add", key) end
    local code = C.rp_abi_top_add(self[1] or open(self), key, #key, n or 1)
    if code == OK then return true end
    return nil, words(code)
end

--- What came most often, in order. For looking at things.
--- @param n number|nil  10; at most 1000
--- @return table[]  { key =, count =, error = }: it came at most `count` times, and at least
---   `count - error`
function Top:list(n)
    local items = C.rp_abi_top_list(H, self[1] or open(self), n or 10)
    local out = {}
    for i = 0, H.number - 1 do
        local item = items[i]
        out[i + 1] = { key = abi.string(item.key, item.key_n), count = tonumber(item.count),
            error = tonumber(item.error) }
    end
    return out
end

--- Forget everything.
function Top:flush() return C.rp_abi_top_flush(self[1] or open(self)) == OK end

--- keys, room, added, error_most, repairs
function Top:stats()
    local s, out = abi.new("struct rp_top_stats[1]"), {}
    C.rp_abi_top_stats(self[1] or open(self), s)
    for _, name in ipairs { "keys", "room", "added", "error_most", "repairs" } do
        out[name] = tonumber(s[0][name])
    end
    return out
end

shared.add_kind("top", Top)

-- ---------------------------------------------------------------- how many different ones

local Distinct = {}
local UNION_MOST = 64

--- An item came. Made when the name is new.
--- @param name string  1 to 200 bytes
--- @param item string
--- @return true|nil ok, string|nil err  "full", "invalid", "busy"
function Distinct:add(name, item)
    if type(name) ~= "string" or type(item) ~= "string" then
        raise("add takes a name and an item, both strings")
    end
    local code = C.rp_abi_distinct_add(self[1] or open(self), name, #name, item, #item)
    if code == OK then return true end
    return nil, words(code)
end

--- About how many different items came to any of these names; standard error 1.6 %.
--- @param ... string  up to 64 names
--- @return number
function Distinct:count(...)
    local zone, n = self[1] or open(self), 0
    if select("#", ...) > UNION_MOST then raise("count takes at most %d names", UNION_MOST) end
    local list = abi.new("uint32_t[?]", UNION_MOST)
    for i = 1, select("#", ...) do
        local name = (select(i, ...))
        if type(name) ~= "string" then bad_key("count", name) end
        if C.rp_abi_distinct_find(H, zone, name, #name) == OK then
            list[n] = H.number
            n = n + 1
        end
    end
    return math.floor(C.rp_abi_distinct_count(zone, list, n) + 0.5)
end

--- Begin anew.
--- @return boolean  false: there is no such name
function Distinct:clear(name)
    if type(name) ~= "string" then bad_key("clear", name) end
    local zone = self[1] or open(self)
    if C.rp_abi_distinct_find(H, zone, name, #name) ~= OK then return false end
    C.rp_abi_distinct_clear(zone, H.number)
    return true
end

--- All of them, in the order in which they came.
function Distinct:names()
    local zone, out = self[1] or open(self), {}
    while C.rp_abi_distinct_at(H, zone, #out) do out[#out + 1] = abi.out() end
    return out
end

shared.add_kind("distinct", Distinct)
