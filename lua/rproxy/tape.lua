-- SPDX-License-Identifier: MIT
--
-- tape: stands between hooks and what they get from outside: I/O, shared zones, clocks and dice.
-- Recording, it notes what each call gave while a request is sampled; replaying, it gives that
-- again and nothing else: no call reaches the world.
--
-- It is put in place once, before any code of the site is loaded (tape.install), and only in VMs
-- of sites with `record` and of `rproxy replay`; no other VM has a trace of it.
--
-- A tape is a table:
--   calls   what was called: { f = name, a = digest of the arguments, w = words for people, i =
--           instance, r = packed results | e = what it raised }, in the order in which they ended
--   seq     clocks and dice: key -> runs { packed value, times }, in order
--   lost    calls for which there was no room
--   scrub   (string) -> string: takes secrets out
--   note_arguments(name, ..), note_result(name, ..)   may find more of them
-- and for the time it is written: bytes, inside (tasks within a call), ordinals.

local abi = require("rproxy.abi")
local outside = require("rproxy.outside")
local values = require("rproxy.tape_value")

local C, H = abi.C, abi.H
local tonumber = tonumber

local M = {
    mode = nil, -- "record", "replay"
    CALLS_MOST = 1000,           -- of one request
    BYTES_MOST = 1024 * 1024,    -- of all results of one request, as they are packed
    WORDS_MOST = 160,
}

local tapes = {} -- by request slot
local NO_TASK = -1

--- Calls outside of requests (start hooks, timers): recording, background(entry) gets them;
--- replaying, background(name, digest) gives the entry.
M.background = nil

--- The tape of a request slot.
function M.of(slot)
    return tapes[slot]
end

--- From now on the calls of a request slot go to this tape (nil: to none).
function M.put(slot, tape)
    tapes[slot] = tape
end

--- An empty tape.
function M.new(scrub)
    return { calls = {}, seq = {}, lost = 0, scrub = scrub, bytes = 0, inside = {}, ordinals = {} }
end

-- ---------------------------------------------------------------- who calls

local function instance_now()
    local index = tonumber(C.rp_abi_running(H))
    return index >= 0 and index or nil
end

-- Do modules of the layer call it for their own work? level: that of who called the wrapper.
local function is_plumbing(level)
    local info = debug.getinfo(level, "S")
    return info ~= nil and info.source:find("^@lua/rproxy/") ~= nil
        and info.source ~= "@lua/rproxy/confine.lua" -- calls for code of a box
end

local function digest_of(args, n, scrub)
    local text = values.canonical(args, n, scrub)
    return ("%013x"):format(C.rp_abi_hash(text, #text))
end

-- Words that tell people which call it was.
local function words_of(spec, scrub, ...)
    if not spec.words then return nil end
    local ok, words = pcall(spec.words, ...)
    if not ok or type(words) ~= "string" then return nil end
    if scrub then words = scrub(words) end
    return (words:sub(1, M.WORDS_MOST):gsub("[^ -~]", "."))
end

-- ---------------------------------------------------------------- recording

local function has_room(tape)
    if #tape.calls < M.CALLS_MOST and tape.bytes < M.BYTES_MOST then return true end
    tape.lost = tape.lost + 1
    return false
end

local function size_of(packed)
    if type(packed) == "string" then return #packed + 2 end
    if type(packed) ~= "table" then return 8 end
    local bytes = 4
    for key, value in next, packed do
        bytes = bytes + size_of(value) + (type(key) == "string" and #key + 3 or 1)
    end
    return bytes
end

-- Objects that a call gives are known by the call and its number among equal ones.
local function namer(tape, name, digest)
    local key = name .. ":" .. digest
    local n = (tape.ordinals[key] or 0) + 1
    tape.ordinals[key] = n
    local made = 0
    return function(object)
        made = made + 1
        local id = made == 1 and ("%s:%d"):format(key, n) or ("%s:%d.%d"):format(key, n, made)
        rawset(object, "tape_id", id)
        return id
    end
end

local function note(tape, entry, ok, ...)
    local n = select("#", ...)
    if ok then
        if tape.note_result then tape.note_result(entry.f, ...) end
        entry.r = values.pack_list({ ... }, n, tape.scrub, namer(tape, entry.f, entry.a))
        tape.bytes = tape.bytes + size_of(entry.r)
    else
        local err = ...
        if type(err) ~= "string" then return end -- req:abort within a callback
        entry.e = tape.scrub and tape.scrub(err) or err
    end
    if tape.take then tape.take(entry) else tape.calls[#tape.calls + 1] = entry end
end

local function finish(tape, task, entry, ok, ...)
    tape.inside[task] = nil
    if entry then note(tape, entry, ok, ...) end
    if not ok then error((...), 0) end
    return ...
end

-- The tape that the running code writes to, and its task; nil: none.
local function recorder(spec)
    local r = H.req
    local tape = M.background
    if r ~= nil then tape = tapes[r.slot]
    elseif tape and not instance_now() then return nil end
    if not tape then return nil end
    local task = C.rp_abi_task_self(H)
    if task == NO_TASK or tape.inside[task] then return nil end
    if spec.plumbing and is_plumbing(4) then return nil end
    return tape, task
end

local function recording(spec, raw)
    return function(...)
        local tape, task = recorder(spec)
        if not tape then return raw(...) end
        if not has_room(tape) then return raw(...) end
        if tape.note_arguments then tape.note_arguments(spec.name, ...) end
        local entry = { f = spec.name, i = instance_now(),
            a = digest_of({ ... }, select("#", ...), tape.scrub),
            w = words_of(spec, tape.scrub, ...) }
        tape.inside[task] = true
        return finish(tape, task, entry, pcall(raw, ...))
    end
end

local RUNS_MOST = 1000

local function note_run(tape, key, value)
    local runs = tape.seq[key]
    if not runs then
        runs = {}
        tape.seq[key] = runs
    end
    local last = runs[#runs]
    local packed = values.pack(value, tape.scrub)
    if last and last[1] == packed then
        last[2] = last[2] + 1
    elseif #runs < RUNS_MOST then
        runs[#runs + 1] = { packed, 1 }
    else
        tape.lost = tape.lost + 1
    end
    return value
end

local function seq_key(spec, ...)
    local n = select("#", ...)
    if n == 0 then return spec.name end
    return spec.name .. " " .. values.canonical({ ... }, n)
end

local function recording_seq(spec, raw)
    return function(...)
        local r = H.req
        local tape = r ~= nil and tapes[r.slot]
        if not tape or (spec.applies and not spec.applies(...)) then return raw(...) end
        if tape.inside[C.rp_abi_task_self(H)] then return raw(...) end
        return note_run(tape, seq_key(spec, ...), (raw(...)))
    end
end

--- Run a function of the site within a call: what it calls is noted for itself.
local function outward(fn)
    return function(...)
        local r = H.req
        local tape = M.background
        if r ~= nil then tape = tapes[r.slot] end
        local task = C.rp_abi_task_self(H)
        if not tape or not tape.inside[task] then return fn(...) end
        tape.inside[task] = nil
        local function back(ok, ...)
            tape.inside[task] = true
            if not ok then error((...), 0) end
            return ...
        end
        return back(pcall(fn, ...))
    end
end

-- ---------------------------------------------------------------- replaying

-- The player of a request, or of the background; see rproxy.replay: call(name, digest, words,
-- instance) -> entry, run(key) -> packed value.
local function player()
    local r = H.req
    if r ~= nil then return tapes[r.slot] end
    return M.background
end

-- An object that a record gave has nothing behind it.
local function is_recorded(object)
    return type(object) == "table" and rawget(object, "tape_id") ~= nil
end

local function replaying(spec, raw)
    return function(...)
        local task = C.rp_abi_task_self(H)
        if task == NO_TASK then return raw(...) end -- while the site is built: refused as always
        local tape = player()
        if not tape then
            if instance_now() then return nil, "no_record", "replay: nothing is recorded here" end
            return raw(...)
        end
        if spec.plumbing and not instance_now() and is_plumbing(3) then return raw(...) end
        local digest = digest_of({ ... }, select("#", ...), tape.scrub)
        local entry = tape:call(spec.name, digest, words_of(spec, tape.scrub, ...), instance_now(),
            spec)
        if entry and entry.e then error(entry.e, 0) end
        if entry then
            if spec.writes then pcall(raw, ...) end -- for those who read what was not recorded
            local ok, results, n = pcall(values.unpack_list, entry.r, tape.unscrub)
            if ok then return unpack(results, 1, n) end
            tape:broken(spec.name, results)
        end
        if spec.memory and not is_recorded(...) then return raw(...) end
        if spec.memory then return true end -- letting go of what was not taken here
        if spec.otherwise then return spec.otherwise(...) end
        if tape.on_miss == "empty" then return nil end
        return nil, "no_record", "replay: nothing is recorded for this call"
    end
end

local function replaying_seq(spec, raw)
    return function(...)
        local r = H.req
        local tape = r ~= nil and tapes[r.slot]
        if not tape or (spec.applies and not spec.applies(...)) then return raw(...) end
        local packed = tape:run(seq_key(spec, ...), spec)
        if packed == nil then return raw(...) end
        local ok, value = pcall(values.unpack, packed, tape.unscrub)
        if ok then return value end
        return raw(...)
    end
end

-- ---------------------------------------------------------------- what there is

local function yes() return true end

-- { module, field, spec }: functions of modules.
local function first(what)
    return type(what) == "table" and what or {}
end

local function place(opts)
    opts = first(opts)
    return tostring(opts.path or opts.unix or ("%s:%s"):format(tostring(opts.host),
        tostring(opts.port)))
end

local function path_words(path) return path end

local FUNCTIONS = {
    { "rproxy.socket", "connect", { name = "tcp.connect", words = place, plumbing = true } },
    { "rproxy.socket", "connect_unix", { name = "unix.connect", plumbing = true,
        words = function(o) return type(o) == "string" and o or place(o) end } },
    { "rproxy.socket", "connect_udp", { name = "udp.connect", words = place, plumbing = true } },
    { "rproxy.socket", "resolve", { name = "dns.resolve", plumbing = true,
        words = function(name, kind) return name .. (kind and " " .. kind or "") end } },
    { "rproxy.exec", "exec", { name = "exec",
        words = function(o) return tostring(first(first(o).argv)[1]) end } },
    { "rproxy.fs", "read", { name = "fs.read", words = path_words, plumbing = true } },
    { "rproxy.fs", "write", { name = "fs.write", words = path_words, plumbing = true,
        otherwise = yes } },
    { "rproxy.fs", "append", { name = "fs.append", words = path_words, plumbing = true,
        otherwise = yes } },
    { "rproxy.fs", "stat", { name = "fs.stat", words = path_words, plumbing = true } },
    { "rproxy.fs", "list", { name = "fs.list", words = path_words, plumbing = true } },
    { "rproxy.fs", "remove", { name = "fs.remove", words = path_words, plumbing = true,
        otherwise = yes } },
    { "rproxy.fs", "rename", { name = "fs.rename", words = path_words, plumbing = true,
        otherwise = yes } },
    { "rproxy.fs", "mkdir", { name = "fs.mkdir", words = path_words, plumbing = true,
        otherwise = yes } },
    { "rproxy.crypto", "hash_password", { name = "crypto.hash_password" } },
    { "rproxy.redis.link", "own", { name = "redis.own", plumbing = false,
        words = function(o) return place(o) end } },
}

-- Clocks and dice: called often, and with few different values. "os": that of site code.
local SEQUENCES = {
    { "rproxy.time", "now", { name = "now", clock = true } },
    { "rproxy.time", "time", { name = "time", clock = true, wall = true } },
    { "rproxy.time", "clock", { name = "clock", clock = true } },
    { "rproxy.crypto", "random", { name = "random" } },
    { math, "random", { name = "dice" } },
    { "os", "time", { name = "os.time", clock = true, wall = true,
        applies = function(t) return t == nil end } },
    { "os", "clock", { name = "os.clock", clock = true } },
    { "os", "date", { name = "os.date",
        applies = function(_, t) return t == nil end } },
}

local function unit_words(self, units)
    local unit = first(first(units)[1])
    local more = #units > 1 and (" and %d more"):format(#units - 1) or ""
    if not unit.words then return "MULTI" .. more end
    return ("%s %s%s"):format(tostring(unit.words[1]), tostring(unit.words[2] or ""), more), self
end

local function key_words(zone, key)
    return ("%s %s"):format(tostring(rawget(zone, 2)), tostring(key))
end

-- label of a class -> method -> spec. `quiet`: nothing comes from it; replayed it does nothing.
local METHODS = {
    ["http.client"] = { request = { words = function(self, o)
        o = first(o)
        local url = tostring(o.url):gsub("%?.*", "")
        return ("%s %s"):format(o.method or "GET", (self.base or "") .. url)
    end } },
    ["http.response"] = { read = {}, close = { quiet = true } },
    tcp = { read = { plumbing = true }, read_until = { plumbing = true },
        write = { plumbing = true, otherwise = yes },
        release = { plumbing = true, otherwise = yes }, close = { quiet = true } },
    udp = { send = { otherwise = yes }, receive = {}, close = { quiet = true } },
    lock = { renew = { memory = true }, release = { memory = true } },
    seat = { release = { memory = true } },
    semaphore = { acquire = { memory = true }, stats = { memory = true } },
    ["redis.node"] = { run = { words = unit_words } },
    ["redis.cluster"] = { run = { words = unit_words } },
    ["redis.own"] = { call = {}, take = {}, send = { otherwise = yes }, close = { quiet = true } },
    ["crypto.key"] = { sign = {} },
    ["shared.store"] = {}, ["shared.cache"] = {}, ["shared.buckets"] = {},
    ["shared.counters"] = {}, ["shared.top"] = {}, ["shared.distinct"] = {}, ["shared.set"] = {},
    ["shared.counter"] = {}, ["shared.gauge"] = {},
}

-- Methods of zones that change what others read. Replayed, zones are memory of the tool alone:
-- what has no record is done there.
local WRITES = { set = true, add = true, replace = true, expire = true, cas = true, flush = true,
    delete = true, clear = true, incr = true }

-- Taking hold of a counter brings nothing; fetch runs code of the site.
local NOT_CALLS = { counter = true, gauge = true, fetch = true, __index = true }

local function zone_methods(class)
    local out = {}
    for name, fn in pairs(class.methods) do
        if type(fn) == "function" and not NOT_CALLS[name] then
            out[name] = { words = rawget(class.methods, "__index") == nil and key_words or nil,
                memory = true, writes = WRITES[name] }
        end
    end
    return out
end

-- Fields that are clocks in disguise.
local FIELDS = {
    req = { duration = true, deadline = true },
    res = { duration = true, timings = true, upstream = true },
}

local function wrap_fields(label, names)
    local meta = outside.find(label).meta
    local index, replays = meta.__index, M.mode == "replay"
    local spec = { clock = true, name = label }
    meta.__index = function(self, key)
        if not names[key] then return index(self, key) end
        local r = H.req
        local tape = r ~= nil and tapes[r.slot]
        if not tape then return index(self, key) end
        local name = label .. "." .. key
        if not replays then return note_run(tape, name, index(self, key)) end
        local packed = tape:run(name, spec)
        if packed == nil then return index(self, key) end
        local ok, value = pcall(values.unpack, packed, tape.unscrub)
        if ok then return value end
        return index(self, key)
    end
end

-- ---------------------------------------------------------------- callbacks of the site

-- rp.lock(name, opts, fn) runs fn: only taking and letting go are calls.
local function wrap_lock(lock)
    local take = lock.lock
    local function run_locked(held, ok, ...)
        held:release()
        if not ok then error((...), 0) end
        return ...
    end
    lock.lock = function(name, opts, fn)
        if fn == nil then return take(name, opts) end
        local held, code, detail = take(name, opts)
        if not held then return nil, code, detail end
        return run_locked(held, pcall(fn, held))
    end
end

-- cache:fetch(key, opts, fn): fn loads; it is the site's.
local function wrap_fetch(cache, wrap)
    local spec = { name = "shared.cache.fetch", words = key_words }
    local raw = cache.fetch
    if M.mode == "replay" then
        spec.memory = true
        cache.fetch = wrap(spec, raw)
        return
    end
    local wrapped = wrap(spec, raw)
    cache.fetch = function(self, key, opts, fn)
        if type(fn) ~= "function" or not recorder(spec) then return raw(self, key, opts, fn) end
        return wrapped(self, key, opts, outward(fn))
    end
end

local function wrap_methods(label, class, methods, wrap)
    for name, spec in pairs(methods) do
        local raw = class.methods[name]
        if raw then
            spec.name = label .. "." .. name
            if not spec.quiet then
                class.methods[name] = wrap(spec, raw)
            elseif M.mode == "replay" then
                class.methods[name] = function() return true end
            end
        end
    end
end

local MODULES = { "loader", "socket", "exec", "fs", "http", "lock", "redis", "shared",
    "shared_kinds", "shared_set", "time", "crypto", "request", "response" }

--- Stand in between from now on. Once, before any code of the site is loaded.
--- @param mode string  "record" or "replay"
function M.install(mode)
    if M.mode then error("a tape is there already", 2) end
    M.mode = mode
    for _, name in ipairs(MODULES) do require("rproxy." .. name) end
    local wrap = mode == "record" and recording or replaying
    local wrap_seq = mode == "record" and recording_seq or replaying_seq
    for _, row in ipairs(FUNCTIONS) do
        local module = require(row[1])
        module[row[2]] = wrap(row[3], module[row[2]])
    end
    for _, row in ipairs(SEQUENCES) do
        local module, name = row[1], row[2]
        if module == "os" then module = outside.find("os").methods
        elseif module ~= math then module = require(module) end
        module[name] = wrap_seq(row[3], module[name])
        if row[1] == "os" then rawset(os, name, module[name]) end -- boxes take theirs from there
    end
    for label, names in pairs(FIELDS) do wrap_fields(label, names) end
    local lock = require("rproxy.lock")
    lock.lock = wrap({ name = "lock", words = tostring, memory = true }, lock.lock)
    wrap_lock(lock)
    for label, methods in pairs(METHODS) do
        local class = outside.find(label)
        if label:find("^shared%.") and next(methods) == nil then methods = zone_methods(class) end
        if label == "shared.cache" then wrap_fetch(class.methods, wrap) end
        wrap_methods(label, class, methods, wrap)
    end
end

return M
