-- SPDX-License-Identifier: MIT
--
-- redis_keys: what a Redis server of a spec does with keys: strings, numbers, hashes, lists, sets,
-- sorted sets, expiry. One function per command: fn(server, args) -> value, or it raises { err = }.

local M = {}

M.OK = { status = "OK" }
M.NULL = setmetatable({}, { __tostring = function() return "null" end })
M.commands = {} -- NAME -> fn

local OK, NULL, commands = M.OK, M.NULL, M.commands

local function fail(text)
    error({ err = text }, 0)
end
M.fail = fail

-- ---------------------------------------------------------------- keys

--- What is there, unless its time is over; nil. Raises where it is of another kind.
function M.entry(self, key, kind)
    local entry = self.data[key]
    if entry and entry.expires and entry.expires <= self.clock.now() then
        self.data[key], entry = nil, nil
    end
    if entry and kind and (entry.kind or "string") ~= kind then
        fail("WRONGTYPE Operation against a key holding the wrong kind of value")
    end
    return entry
end

--- The same; made where there is none.
function M.make(self, key, kind)
    local entry = M.entry(self, key, kind)
    if not entry then
        entry = { kind = kind, value = kind == "string" and "" or {} }
        self.data[key] = entry
    end
    return entry
end

local function drop_if_empty(server, key)
    local entry = server.data[key]
    if entry and type(entry.value) == "table" and next(entry.value) == nil then
        server.data[key] = nil
    end
end

local function whole(text)
    local n = tonumber(text)
    if not n or n % 1 ~= 0 then fail("ERR value is not an integer or out of range") end
    return n
end
M.whole = whole

local function float(text)
    return tonumber(text) or fail("ERR value is not a valid float")
end

local function sorted(map)
    local list = {}
    for key in pairs(map) do list[#list + 1] = key end
    table.sort(list)
    return list
end
M.sorted = sorted

-- ---------------------------------------------------------------- strings

function commands.GET(server, args)
    local entry = server:entry(args[1], "string")
    return entry and entry.value or NULL
end

function commands.SET(server, args)
    local key, value, i, expires, only, get, keep = args[1], args[2], 3, nil, nil, false, false
    while args[i] do
        local word = args[i]:upper()
        if word == "EX" or word == "PX" then
            expires = server.clock.now() + whole(args[i + 1]) / (word == "PX" and 1000 or 1)
            i = i + 1
        elseif word == "NX" or word == "XX" then only = word
        elseif word == "GET" then get = true
        elseif word == "KEEPTTL" then keep = true
        else fail("ERR syntax error") end
        i = i + 1
    end
    local old = server:entry(key)
    local blocked = (only == "NX" and old) or (only == "XX" and not old)
    if not blocked then
        server.data[key] = { value = value, expires = expires or keep and old and old.expires }
    end
    if get then return old and old.value or NULL end
    return blocked and NULL or OK
end

function commands.SETEX(server, args)
    return commands.SET(server, { args[1], args[3], "EX", args[2] })
end

function commands.PSETEX(server, args)
    return commands.SET(server, { args[1], args[3], "PX", args[2] })
end

function commands.SETNX(server, args)
    return commands.SET(server, { args[1], args[2], "NX" }) == OK
end

function commands.GETSET(server, args)
    return commands.SET(server, { args[1], args[2], "GET" })
end

function commands.GETDEL(server, args)
    local value = commands.GET(server, args)
    server.data[args[1]] = nil
    return value
end

function commands.APPEND(server, args)
    local entry = server:make(args[1], "string")
    entry.value = entry.value .. args[2]
    return #entry.value
end

function commands.STRLEN(server, args)
    local entry = server:entry(args[1], "string")
    return entry and #entry.value or 0
end

function commands.MGET(server, args)
    local out = { n = #args }
    for i, key in ipairs(args) do
        local entry = server:entry(key)
        out[i] = entry and (entry.kind or "string") == "string" and entry.value or NULL
    end
    return out
end

function commands.MSET(server, args)
    for i = 1, #args, 2 do server.data[args[i]] = { value = args[i + 1] } end
    return OK
end

local function add(server, key, by)
    local entry = server:entry(key, "string") or { value = "0" }
    local sum = whole(entry.value) + by
    entry.value = ("%d"):format(sum)
    server.data[key] = entry
    return sum
end

function commands.INCR(server, args) return add(server, args[1], 1) end
function commands.DECR(server, args) return add(server, args[1], -1) end
function commands.INCRBY(server, args) return add(server, args[1], whole(args[2])) end
function commands.DECRBY(server, args) return add(server, args[1], -whole(args[2])) end

function commands.INCRBYFLOAT(server, args)
    local entry = server:entry(args[1], "string") or { value = "0" }
    entry.value = ("%.17g"):format(float(entry.value) + float(args[2]))
    server.data[args[1]] = entry
    return entry.value
end

-- ---------------------------------------------------------------- any key

function commands.DBSIZE(server) return #sorted(server.data) end

function commands.DEL(server, args)
    local n = 0
    for _, key in ipairs(args) do
        if server:entry(key) then n = n + 1 end
        server.data[key] = nil
    end
    return n
end
commands.UNLINK = commands.DEL

function commands.EXISTS(server, args)
    local n = 0
    for _, key in ipairs(args) do n = n + (server:entry(key) and 1 or 0) end
    return n
end

function commands.TYPE(server, args)
    local entry = server:entry(args[1])
    return { status = entry and (entry.kind or "string") or "none" }
end

local function matches(pattern)
    return "^" .. pattern:gsub("[%^%$%(%)%%%.%+%-]", "%%%0"):gsub("%*", ".*"):gsub("%?", ".") .. "$"
end

function commands.KEYS(server, args)
    local out, pattern = {}, matches(args[1])
    for _, key in ipairs(sorted(server.data)) do
        if key:find(pattern) and server:entry(key) then out[#out + 1] = key end
    end
    return out
end

function commands.SCAN(server, args)
    local pattern = "*"
    for i, word in ipairs(args) do
        if word:upper() == "MATCH" then pattern = args[i + 1] end
    end
    return { "0", commands.KEYS(server, { pattern }) }
end

local function expire(server, key, at)
    local entry = server:entry(key)
    if not entry then return 0 end
    entry.expires = at
    return 1
end

function commands.EXPIRE(server, args)
    return expire(server, args[1], server.clock.now() + whole(args[2]))
end

function commands.PEXPIRE(server, args)
    return expire(server, args[1], server.clock.now() + whole(args[2]) / 1000)
end

function commands.EXPIREAT(server, args)
    return expire(server, args[1], server.clock.now() + whole(args[2]) - server.clock.time())
end

function commands.PERSIST(server, args)
    local entry = server:entry(args[1])
    if not entry or not entry.expires then return 0 end
    entry.expires = nil
    return 1
end

local function left(server, key, unit)
    local entry = server:entry(key)
    if not entry then return -2 end
    if not entry.expires then return -1 end
    return math.floor((entry.expires - server.clock.now()) * unit + 0.5)
end

function commands.TTL(server, args) return left(server, args[1], 1) end
function commands.PTTL(server, args) return left(server, args[1], 1000) end

-- ---------------------------------------------------------------- hashes

function commands.HSET(server, args)
    local hash, n = server:make(args[1], "hash").value, 0
    for i = 2, #args, 2 do
        if hash[args[i]] == nil then n = n + 1 end
        hash[args[i]] = args[i + 1]
    end
    return n
end

function commands.HMSET(server, args)
    commands.HSET(server, args)
    return OK
end

local function hash_of(server, key)
    local entry = server:entry(key, "hash")
    return entry and entry.value or {}
end

function commands.HGET(server, args) return hash_of(server, args[1])[args[2]] or NULL end
function commands.HEXISTS(server, args) return hash_of(server, args[1])[args[2]] ~= nil end
function commands.HLEN(server, args) return #sorted(hash_of(server, args[1])) end
function commands.HKEYS(server, args) return sorted(hash_of(server, args[1])) end

function commands.HMGET(server, args)
    local hash, out = hash_of(server, args[1]), { n = #args - 1 }
    for i = 2, #args do out[i - 1] = hash[args[i]] or NULL end
    return out
end

function commands.HGETALL(server, args)
    local hash, out = hash_of(server, args[1]), {}
    for _, field in ipairs(sorted(hash)) do
        out[#out + 1], out[#out + 2] = field, hash[field]
    end
    return out
end

function commands.HDEL(server, args)
    local hash, n = hash_of(server, args[1]), 0
    for i = 2, #args do
        n = n + (hash[args[i]] ~= nil and 1 or 0)
        hash[args[i]] = nil
    end
    drop_if_empty(server, args[1])
    return n
end

function commands.HINCRBY(server, args)
    local hash = server:make(args[1], "hash").value
    local sum = whole(hash[args[2]] or "0") + whole(args[3])
    hash[args[2]] = ("%d"):format(sum)
    return sum
end

-- ---------------------------------------------------------------- lists

local function push(server, args, front)
    local list = server:make(args[1], "list").value
    for i = 2, #args do table.insert(list, front and 1 or #list + 1, args[i]) end
    return #list
end

function commands.LPUSH(server, args) return push(server, args, true) end
function commands.RPUSH(server, args) return push(server, args, false) end

local function list_of(server, key)
    local entry = server:entry(key, "list")
    return entry and entry.value or {}
end

local function pop(server, key, front)
    local list = list_of(server, key)
    if #list == 0 then return NULL end
    local value = table.remove(list, front and 1 or #list)
    drop_if_empty(server, key)
    return value
end

function commands.LPOP(server, args) return pop(server, args[1], true) end
function commands.RPOP(server, args) return pop(server, args[1], false) end
function commands.LLEN(server, args) return #list_of(server, args[1]) end

-- Redis counts from 0, and from the end with -1.
local function range(n, from, to)
    from, to = whole(from), whole(to)
    if from < 0 then from = n + from end
    if to < 0 then to = n + to end
    return math.max(from, 0) + 1, math.min(to, n - 1) + 1
end

function commands.LRANGE(server, args)
    local list, out = list_of(server, args[1]), {}
    local from, to = range(#list, args[2], args[3])
    for i = from, to do out[#out + 1] = list[i] end
    return out
end

function commands.LTRIM(server, args)
    local kept = commands.LRANGE(server, args)
    if server:entry(args[1], "list") then server.data[args[1]].value = kept end
    drop_if_empty(server, args[1])
    return OK
end

function commands.LREM(server, args)
    local list, n = list_of(server, args[1]), 0
    for i = #list, 1, -1 do
        if list[i] == args[3] then
            table.remove(list, i)
            n = n + 1
        end
    end
    drop_if_empty(server, args[1])
    return n
end

-- ---------------------------------------------------------------- sets

local function set_of(server, key)
    local entry = server:entry(key, "set")
    return entry and entry.value or {}
end

function commands.SADD(server, args)
    local set, n = server:make(args[1], "set").value, 0
    for i = 2, #args do
        if not set[args[i]] then n = n + 1 end
        set[args[i]] = true
    end
    return n
end

function commands.SREM(server, args)
    local set, n = set_of(server, args[1]), 0
    for i = 2, #args do
        if set[args[i]] then n = n + 1 end
        set[args[i]] = nil
    end
    drop_if_empty(server, args[1])
    return n
end

function commands.SISMEMBER(server, args) return set_of(server, args[1])[args[2]] == true end
function commands.SMEMBERS(server, args) return sorted(set_of(server, args[1])) end
function commands.SCARD(server, args) return #sorted(set_of(server, args[1])) end

-- ---------------------------------------------------------------- sorted sets: value is member ->
-- score

local function ranked(server, key)
    local entry, list = server:entry(key, "zset"), {}
    for member, score in pairs(entry and entry.value or {}) do
        list[#list + 1] = { member, score }
    end
    table.sort(list, function(a, b)
        if a[2] ~= b[2] then return a[2] < b[2] end
        return a[1] < b[1]
    end)
    return list
end

function commands.ZADD(server, args)
    local set, n = server:make(args[1], "zset").value, 0
    for i = 2, #args, 2 do
        if set[args[i + 1]] == nil then n = n + 1 end
        set[args[i + 1]] = float(args[i])
    end
    return n
end

function commands.ZINCRBY(server, args)
    local set = server:make(args[1], "zset").value
    set[args[3]] = (set[args[3]] or 0) + float(args[2])
    return ("%.17g"):format(set[args[3]])
end

function commands.ZSCORE(server, args)
    local entry = server:entry(args[1], "zset")
    local score = entry and entry.value[args[2]]
    return score and ("%.17g"):format(score) or NULL
end

function commands.ZCARD(server, args) return #ranked(server, args[1]) end

function commands.ZREM(server, args)
    local entry, n = server:entry(args[1], "zset"), 0
    for i = 2, entry and #args or 0 do
        if entry.value[args[i]] then n = n + 1 end
        entry.value[args[i]] = nil
    end
    drop_if_empty(server, args[1])
    return n
end

local function put(out, one, with_scores)
    out[#out + 1] = one[1]
    if with_scores then out[#out + 1] = ("%.17g"):format(one[2]) end
end

function commands.ZRANGE(server, args)
    local list, out = ranked(server, args[1]), {}
    local from, to = range(#list, args[2], args[3])
    for i = from, to do put(out, list[i], (args[4] or ""):upper() == "WITHSCORES") end
    return out
end

local function bound(text, default_open)
    local open = text:sub(1, 1) == "("
    local value = open and text:sub(2) or text
    if value == "-inf" then return -math.huge, default_open end
    if value == "+inf" or value == "inf" then return math.huge, default_open end
    return float(value), open
end

local function within(server, key, from, to)
    local low, low_open = bound(from, false)
    local high, high_open = bound(to, false)
    local out = {}
    for _, one in ipairs(ranked(server, key)) do
        local above = low_open and one[2] > low or not low_open and one[2] >= low
        local below = high_open and one[2] < high or not high_open and one[2] <= high
        if above and below then out[#out + 1] = one end
    end
    return out
end

function commands.ZRANGEBYSCORE(server, args)
    local out = {}
    for _, one in ipairs(within(server, args[1], args[2], args[3])) do
        put(out, one, (args[4] or ""):upper() == "WITHSCORES")
    end
    return out
end

function commands.ZCOUNT(server, args) return #within(server, args[1], args[2], args[3]) end

function commands.ZREMRANGEBYSCORE(server, args)
    local list = within(server, args[1], args[2], args[3])
    for _, one in ipairs(list) do server.data[args[1]].value[one[1]] = nil end
    drop_if_empty(server, args[1])
    return #list
end

return M
