-- SPDX-License-Identifier: MIT
--
-- shared: rp.shared.NAME, the zones of memory that all workers see, and rp.shm, which declares
-- them. Contents outlive workers and reloads. Every call is one short C function under one lock.

local abi = require("rproxy.abi")
local log = require("rproxy.log")
local nearest = require("rproxy.config.nearest")
local object = require("rproxy.object")
local outside = require("rproxy.outside")
local task = require("rproxy.task")

local C, H, E = abi.C, abi.H, abi.E
local OK, AGAIN, END = abi.OK, abi.AGAIN, abi.END
local ffi_string = abi.string
local raise = object.raise
local type = type

local M = {}

-- enum rp_dict_type, rp_dict_mode
local NOTHING, NUMBER, STRING, BOOLEAN, ABSENT = 0, 1, 2, 3, 4
local SET, ADD, REPLACE = 0, 1, 2
local FULL, BIG, BUSY, INVALID, MISSING = E.CAP, E.TOO_BIG, E.BUSY, E.INVALID, E.NOT_FOUND

-- [1] struct rp_dict *, once it is used; [2] name; [3] loaders under way, by key (cache)
local Store, Cache, Buckets = {}, {}, {}

local function open(zone)
    local dict = C.rp_abi_shared_find(H, zone[2], #zone[2])
    if dict == nil then
        raise("rp.shared.%s can be used in hooks, not while the site is built", zone[2])
    end
    zone[1] = dict
    return dict
end

local function words(code)
    if code == FULL then return "full" end
    if code == BIG then return "too big" end
    if code == BUSY then return "busy" end
    if code == INVALID then return "invalid" end
    if code == MISSING then return "not found" end
    return abi.text(code)
end

local function bad_key(what, key)
    raise("%s takes a string as key, got a %s", what, type(key))
end

-- ---------------------------------------------------------------- values

local function value_of(kind)
    if kind == STRING then return ffi_string(H.out.ptr, H.out.len) end
    if kind == NUMBER then return H.item.number end
    if kind == BOOLEAN then return H.item.number ~= 0 end
    return nil
end

--- Read a value.
--- phases: all   yields: no
--- @param key string  1 to 1024 bytes
--- @return string|number|boolean|nil value
--- @return string|nil err  "busy", "invalid" (the key)
function Store:get(key)
    if type(key) ~= "string" then bad_key("get", key) end
    local code = C.rp_abi_shared_get(H, self[1] or open(self), key, #key)
    if code == OK then return value_of(H.item.type) end
    if code == MISSING then return nil end
    return nil, words(code)
end

local function check_ttl(ttl)
    if ttl == nil then return -1 end
    if type(ttl) ~= "number" or ttl ~= ttl or ttl <= 0 then
        raise("a ttl is a number of seconds above 0, got %s", tostring(ttl))
    end
    return ttl
end

local function write(self, mode, key, value, ttl, stale)
    if type(key) ~= "string" then bad_key("set", key) end
    local dict, kind = self[1] or open(self), type(value)
    ttl = check_ttl(ttl)
    if kind == "string" then
        return C.rp_abi_shared_set(H, dict, key, #key, mode, STRING, 0, value, #value, ttl, stale)
    elseif kind == "number" then
        return C.rp_abi_shared_set(H, dict, key, #key, mode, NUMBER, value, nil, 0, ttl, stale)
    elseif kind == "boolean" then
        return C.rp_abi_shared_set(H, dict, key, #key, mode, BOOLEAN, value and 1 or 0, nil, 0,
            ttl, stale)
    end
    return raise("rp.shared.%s keeps strings, numbers and booleans, got a %s", self[2], kind)
end

--- Keep a value.
--- phases: all   yields: no
--- @param key string
--- @param value string|number|boolean
--- @param ttl number|nil  seconds; nil: until it is removed
--- @return true|nil ok, string|nil err  "full" (a store), "too big", "busy", "invalid"
function Store:set(key, value, ttl)
    local code = write(self, SET, key, value, ttl, 0)
    if code == OK then return true end
    return nil, words(code)
end

--- The same, only when there is no value. err "exists".
function Store:add(key, value, ttl)
    local code = write(self, ADD, key, value, ttl, 0)
    if code == OK then return true end
    return nil, code == END and "exists" or words(code)
end

--- The same, only when there is one. err "not found".
function Store:replace(key, value, ttl)
    local code = write(self, REPLACE, key, value, ttl, 0)
    if code == OK then return true end
    return nil, code == END and "not found" or words(code)
end

--- Read a value and how long it will be there.
--- @return string|number|boolean|nil value, number|string|nil seconds  math.huge: without an end
function Store:entry(key)
    if type(key) ~= "string" then bad_key("entry", key) end
    local code = C.rp_abi_shared_get(H, self[1] or open(self), key, #key)
    if code == MISSING then return nil end
    if code ~= OK then return nil, words(code) end
    local left = H.number
    return value_of(H.item.type), left < 0 and math.huge or left
end

-- A value as C takes it: type, number, text.
local function flat(zone, value)
    local kind = type(value)
    if kind == "string" then return STRING, 0, value end
    if kind == "number" then return NUMBER, value, "" end
    if kind == "boolean" then return BOOLEAN, value and 1 or 0, "" end
    if value == nil then return NOTHING, 0, "" end
    return raise("rp.shared.%s keeps strings, numbers and booleans, got a %s", zone[2], kind)
end

--- Put `new` where `old` is, in one step; nil is "nothing" on both sides.
--- phases: all   yields: no
--- @param key string
--- @param old string|number|boolean|nil  what must be there
--- @param new string|number|boolean|nil
--- @param ttl number|nil  seconds; nil: until it is removed
--- @return boolean|nil swapped  false: something else is there; nil: err says why
--- @return string|nil err  "full", "too big", "busy", "invalid"
function Store:cas(key, old, new, ttl)
    if type(key) ~= "string" then bad_key("cas", key) end
    local old_type, old_number, old_text = flat(self, old)
    local kind, number, value = flat(self, new)
    local code = C.rp_abi_shared_swap(self[1] or open(self), key, #key, old_type, old_number,
        old_text, #old_text, kind, number, value, #value, check_ttl(ttl))
    if code == OK then return true end
    if code == END then return false end
    return nil, words(code)
end

--- @return boolean was_there
function Store:delete(key)
    if type(key) ~= "string" then bad_key("delete", key) end
    local code = C.rp_abi_shared_delete(self[1] or open(self), key, #key)
    if code == OK then return true end
    if code == MISSING then return false end
    return false, words(code)
end

local shared_incr = C.rp_abi_shared_incr

--- Add to a number, in one step.
--- phases: all   yields: no
--- @param key string
--- @param by number|nil    1
--- @param init number|nil  what an absent one is first; nil: "not found"
--- @param ttl number|nil   seconds, of one that this call makes
--- @return number|nil sum, string|nil err  "not found", "not a number", "full", "busy", "invalid"
function Store:incr(key, by, init, ttl)
    if type(key) ~= "string" then bad_key("incr", key) end
    if by ~= nil and (type(by) ~= "number" or by ~= by) then raise("incr adds numbers") end
    local code = shared_incr(H, self[1] or open(self), key, #key, by or 1, init ~= nil,
        init or 0, check_ttl(ttl))
    if code == OK then return H.number end
    return nil, code == END and "not a number" or words(code)
end

--- Give it another time to live; nil: for ever. False: there is no such key.
function Store:expire(key, ttl)
    if type(key) ~= "string" then bad_key("expire", key) end
    return C.rp_abi_shared_expire(self[1] or open(self), key, #key, check_ttl(ttl)) == OK
end

--- Seconds that a key has left; math.huge without an end; nil when there is none.
function Store:ttl(key)
    if type(key) ~= "string" then bad_key("ttl", key) end
    if C.rp_abi_shared_look(H, self[1] or open(self), key, #key) ~= OK then return nil end
    return H.number < 0 and math.huge or H.number
end

-- ---------------------------------------------------------------- whole zones

--- What `rproxy status` shows: entries, bytes_used, bytes, hits, misses, evictions, expired,
--- refused, repairs.
function Store:info()
    C.rp_abi_shared_stats(H, self[1] or open(self))
    local s, out = H.zone_stats, {}
    for _, name in ipairs { "entries", "bytes_used", "bytes", "hits", "misses", "evictions",
        "expired", "refused", "repairs" } do
        out[name] = tonumber(s[name])
    end
    return out
end

--- Entries; those past their time count until they are removed.
function Store:count()
    C.rp_abi_shared_stats(H, self[1] or open(self))
    return tonumber(H.zone_stats.entries)
end

--- Keys in no order, at most `max` (1000). For looking at things, not for requests.
function Store:keys(max)
    local dict, list, at = self[1] or open(self), {}, 0
    while #list < (max or 1000) and C.rp_abi_shared_next(H, dict, at) == OK do
        list[#list + 1], at = abi.out(), H.number
    end
    return list
end

--- Forget everything.
function Store:flush()
    return C.rp_abi_shared_flush(self[1] or open(self)) == OK
end

Store.stats = Store.info

for _, name in ipairs { "get", "entry", "set", "cas", "stats", "add", "replace", "delete", "incr",
    "expire", "ttl", "info",
    "count", "keys", "flush" } do
    Cache[name] = Store[name]
end
for _, name in ipairs { "info", "stats", "count", "flush" } do Buckets[name] = Store[name] end

-- ---------------------------------------------------------------- loading

local LOAD_SECONDS = 5 -- until another caller may load in its place
local LOOK_SECONDS = 0.02 -- between two looks for what another worker loads
local LOCAL_SECONDS = 0.25 -- the same for this worker, whose end of loading wakes us

local function wake_waiting(self, key)
    local waiting = self[3][key]
    self[3][key] = nil
    for i = 1, #(waiting or {}) do C.rp_abi_task_wake(H, waiting[i]) end
end

local function wait_for_loader(self, key)
    local waiting = self[3][key]
    if waiting then
        waiting[#waiting + 1] = C.rp_abi_task_self(H)
        task.wait("a loader", LOCAL_SECONDS)
    else
        task.wait("a loader of another worker", LOOK_SECONDS)
    end
end

local function keep_loaded(self, key, value, opts)
    if value ~= nil then return write(self, SET, key, value, opts.ttl, opts.stale or 0) end
    local dict = self[1]
    if not opts.negative_ttl then return C.rp_abi_shared_unlease(dict, key, #key) end
    return C.rp_abi_shared_set(H, dict, key, #key, SET, ABSENT, 0, nil, 0, opts.negative_ttl, 0)
end

local function load(self, key, opts, fn, stale)
    self[3][key] = {}
    local ran, value, err = pcall(fn, key)
    local failed = not ran or (value == nil and err ~= nil)
    local kept, raised = true, nil
    if not failed then kept, raised = pcall(keep_loaded, self, key, value, opts) end
    if failed or not kept or raised ~= OK then
        C.rp_abi_shared_unlease(self[1], key, #key)
    end
    wake_waiting(self, key)
    if not kept then error(raised, 0) end
    if not failed then return value end
    if stale ~= nil then
        -- Without the key, which may be a secret.
        log.warn("serving a stale value", { zone = self[2],
            error = tostring(ran and err or value) })
        return stale, "stale"
    end
    if not ran then error(value, 0) end
    return nil, err
end

local function check_fetch(key, opts, fn)
    if type(key) ~= "string" then bad_key("fetch", key) end
    if type(opts) == "number" then opts = { ttl = opts } end
    if type(opts) ~= "table" or type(fn) ~= "function" then
        raise("fetch takes a key, { ttl = seconds } and a function that loads")
    end
    check_ttl(opts.ttl)
    return opts
end

--- The value, loaded by fn(key) when there is none: by one caller at a time, of all workers; the
--- others wait for it, or get the stale value while there is one.
--- phases: all   yields: yes
--- @param key string
--- @param opts table|number  ttl, or { ttl =, stale = seconds that it may be served after that,
---   negative_ttl = seconds for which nil is remembered, timeout = seconds for one load (5) }
--- @param fn function  (key) -> value | nil when there is none | nil, err
--- @return string|number|boolean|nil value
--- @return string|nil err  of the loader; "stale" with a value that is past its ttl
function Cache:fetch(key, opts, fn)
    opts = check_fetch(key, opts, fn)
    local dict = self[1] or open(self)
    while true do
        local code = C.rp_abi_shared_lease(H, dict, key, #key, opts.timeout or LOAD_SECONDS)
        local kind = H.item.type
        if code == OK then return value_of(kind) end
        local stale = value_of(kind)
        if code == END then return load(self, key, opts, fn, stale) end
        if code ~= AGAIN then return fn(key) end -- no room to say that it is being loaded
        if kind ~= NOTHING and kind ~= ABSENT then return stale, "stale" end
        wait_for_loader(self, key)
    end
end

-- ---------------------------------------------------------------- limiters

local function verdict(code)
    local v = H.verdict
    if code == OK then return v.allowed, v.remaining, v.wait, v.reset end
    return nil, words(code)
end

--- Take tokens out of a bucket, all or nothing, in one step for all workers.
--- phases: all   yields: no
--- @param key string
--- @param rate number   tokens that come back in a second
--- @param burst number  tokens of a full bucket
--- @param cost number|nil  tokens (1)
--- @return number|nil left  tokens left; nil: it was not allowed
--- @return number|nil wait  seconds until it would be; nil: the zone cannot tell
--- @return string|nil err   why it cannot ("busy", "invalid")
function Buckets:take(key, rate, burst, cost)
    if type(key) ~= "string" then bad_key("take", key) end
    local code = C.rp_abi_shared_take(H, self[1] or open(self), key, #key, cost or 1, rate, burst)
    local v = H.verdict
    if code ~= OK then return nil, nil, words(code) end
    if v.allowed then return v.remaining end
    return nil, v.wait
end

--- The same, with all that there is to say of the bucket.
--- phases: all   yields: no
--- @param key string
--- @param cost number   tokens; 0 only looks
--- @param rate number   tokens that come back in a second
--- @param burst number  tokens of a full bucket
--- @return boolean|nil allowed  nil: the second result says why ("busy", "invalid")
--- @return number remaining   tokens left
--- @return number retry_after seconds until this would be allowed; 0 when it was
--- @return number reset       seconds until the bucket is full
function Buckets:spend(key, cost, rate, burst)
    if type(key) ~= "string" then bad_key("spend", key) end
    return verdict(C.rp_abi_shared_take(H, self[1] or open(self), key, #key, cost, rate, burst))
end

--- Stand in a queue that `rate` leave each second and that holds `burst` beside the one whose turn
--- it is. When it is allowed the third result is how long to wait for one's turn (rp.sleep does).
--- @return boolean|nil allowed, number remaining, number wait, number reset
function Buckets:leak(key, cost, rate, burst)
    if type(key) ~= "string" then bad_key("leak", key) end
    return verdict(C.rp_abi_shared_leak(H, self[1] or open(self), key, #key, cost, rate, burst))
end

--- Count in a sliding window; results as those of take.
--- @param limit number    at most so much ..
--- @param seconds number  .. in any time of this length
function Buckets:window(key, cost, limit, seconds)
    if type(key) ~= "string" then bad_key("window", key) end
    return verdict(C.rp_abi_shared_window(H, self[1] or open(self), key, #key, cost, limit,
        seconds))
end

--- Take one of `limit` seats. Not given back, it is free again after `lease` seconds (up to a third
--- more); the lease of a key is the same in every call.
--- @return number|false|nil ticket  for release; false: all are taken; nil, err
function Buckets:acquire(key, limit, lease)
    if type(key) ~= "string" then bad_key("acquire", key) end
    local code = C.rp_abi_shared_acquire(H, self[1] or open(self), key, #key, limit, lease)
    if code ~= OK then return nil, words(code) end
    if H.verdict.allowed then return H.number end
    return false
end

--- @return boolean  false: its lease was over
function Buckets:release(key, ticket)
    if type(key) ~= "string" then bad_key("release", key) end
    return C.rp_abi_shared_release(self[1] or open(self), key, #key, ticket) == OK
end

--- One of `limit` places, for as long as the request (or background task) lives: it is given back
--- when that ends, however it ends, and when the worker dies.
--- @return number|false|nil handle  for unhold; false: all are taken; nil, err
--- @return number|string remaining  places that are left
function Buckets:hold(key, limit)
    if type(key) ~= "string" then bad_key("hold", key) end
    local code = C.rp_abi_shared_hold(H, self[1] or open(self), key, #key, limit)
    if code ~= OK then return nil, words(code) end
    return H.verdict.allowed and H.number, H.verdict.remaining
end

--- Give a place back before the end.
--- @return boolean  false: it was given back already
function Buckets:unhold(handle)
    return (self[1] or open(self)) ~= nil and C.rp_abi_shared_unhold(H, handle) == OK
end

-- ---------------------------------------------------------------- zones by name

local KINDS = { store = Store, cache = Cache, buckets = Buckets }
local CLASSES = {}

--- For the modules of the other kinds: zones of this kind have these methods.
function M.add_kind(kind, methods)
    KINDS[kind] = methods
    setmetatable(methods, { __index = function(_, name)
        if type(name) == "number" then return nil end
        raise("rp.shared: a zone of kind %s has no %q%s", kind, tostring(name),
            nearest.hint(tostring(name), nearest.names(methods)))
    end })
    CLASSES[kind] = { __index = methods, __metatable = "shared zone" }
    outside.class("shared." .. kind, methods, { meta = CLASSES[kind],
        ident = function(zone) return zone[2] end })
end

for _, kind in ipairs { "store", "cache", "buckets" } do M.add_kind(kind, KINDS[kind]) end

local zones = {}
local kinds = {} -- by name

--- For the sink: the site has this zone.
--- @param set table|nil  of a set: type, file, every
--- @return number tag  zones of one name are the same memory when their tags are equal
function M.declare(name, kind, set)
    local zone = setmetatable({ false, name, {} }, CLASSES[kind])
    zones[name], kinds[name] = zone, kind
    return set and require("rproxy.shared_set").declare(zone, set) or 0
end

--- The site is gone: so are its zones.
function M.forget_site()
    zones, kinds = {}, {}
end

--- For the layer: the C side of a store; name nil: of the only one there is.
function M.store_of(what, name)
    for zone_name, kind in pairs(name == nil and kinds or {}) do
        if kind == "store" and name then
            raise("%s: there is more than one store in `shared`: say which by zone", what)
        end
        if kind == "store" then name = zone_name end
    end
    if not name then
        raise("%s needs a store: shared = { locks = rp.shm.store { size = \"1m\" } }", what)
    end
    if kinds[name] ~= "store" then raise("%s: no store %q in `shared`", what, name) end
    return zones[name][1] or open(zones[name])
end

M.open, M.words, M.bad_key = open, words, bad_key

M.zones = setmetatable({}, {
    __index = function(_, name)
        local zone = zones[name]
        if zone then return zone end
        if next(zones) == nil then
            raise("rp.shared.%s: zones are known in setup and in hooks, and to sites that have "
                .. "`shared`", tostring(name))
        end
        return raise("no zone %q in `shared`%s", tostring(name),
            nearest.hint(tostring(name), nearest.names(zones)))
    end,
    __newindex = function() raise("rp.shared cannot be changed") end,
})

return M
