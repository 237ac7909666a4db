-- SPDX-License-Identifier: MIT
--
-- shared_set: zones that are read from a file: networks, texts, domains; regular expressions, of
-- which the lines are shared and each worker has its own compiled ones.
--
-- A file is read before the worker begins, and looked at again and again; who notices first that it
-- changed reads it for all, on a thread of the pool.

local abi = require("rproxy.abi")
local chain = require("rproxy.chain")
local job = require("rproxy.job")
local loader = require("rproxy.loader")
local log = require("rproxy.log")
local regex = require("rproxy.regex")
local shared = require("rproxy.shared")
local task = require("rproxy.task")

local C, H, E = abi.C, abi.H, abi.E
local OK, END = abi.OK, abi.END
local open, words, bad_key = shared.open, shared.words, shared.bad_key

local M = {}

local TYPES = { cidr = 1, string = 2, domain = 3, regex = 4 } -- enum rp_lookup_type
local NETS, DOMAINS, LINES = 1, 3, 4
local LOOK_SECONDS = 0.05  -- between two looks whether another worker has read it
local PATTERNS_AT_ONCE = 64 -- compiled without letting others have a turn

-- [1] struct rp_lookup *, [2] name, [3] { type, file, every, version, patterns }
local Set = {}

-- ---------------------------------------------------------------- looking

local function match(self, text)
    for _, group in ipairs(self[3].patterns) do
        local i = group.set:match(text)
        if i then return group.sources[i], "" end
    end
    return nil
end

--- Is it in the set? Networks: by an address; domains: also a name below an entry.
--- phases: all   yields: no
--- @param key string
--- @return boolean|nil in_it  nil: the second result says why ("invalid": no address)
function Set:has(key)
    if type(key) ~= "string" then bad_key("has", key) end
    local set, kind = self[1] or open(self), self[3].type
    if kind == LINES then return match(self, key) ~= nil end
    local code = C.rp_abi_lookup(H, set, kind, key, #key)
    if code == OK then return true end
    if code == E.NOT_FOUND then return false end
    return nil, words(code)
end

--- The entry that it is in the set by (the longest prefix, the longest name, the first pattern),
--- and the text that the file has behind it.
--- @return string|nil entry, string|nil value  nil: not in it; nil and err
function Set:find(key)
    if type(key) ~= "string" then bad_key("find", key) end
    local set, kind = self[1] or open(self), self[3].type
    if kind == LINES then return match(self, key) end
    local code = C.rp_abi_lookup(H, set, kind, key, #key)
    if code == E.NOT_FOUND then return nil end
    if code ~= OK then return nil, words(code) end
    local value = abi.out()
    if kind == NETS then return abi.string(H.out2.ptr, H.out2.len), value end
    if kind == DOMAINS then return key:gsub("%.$", ""):lower():sub(-H.number), value end
    return key, value
end

--- entries, version (how often it was read), bytes, room, made (seconds since 1970)
function Set:stats()
    local s = abi.new("struct rp_lookup_stats[1]")
    C.rp_abi_lookup_stats(self[1] or open(self), s)
    s = s[0]
    return { entries = tonumber(s.entries), version = tonumber(s.version),
        bytes = tonumber(s.bytes), room = tonumber(s.room), made = tonumber(s.made_s) }
end

shared.add_kind("set", Set)

-- ---------------------------------------------------------------- reading

-- All lines of one version; nil when there is another one meanwhile.
local function read_lines(set, version)
    local lines = {}
    while true do
        local code = C.rp_abi_lookup_line(H, set, #lines, version)
        if code == E.NOT_FOUND then return lines end
        if code ~= OK then return nil end
        lines[#lines + 1] = abi.out()
    end
end

-- Compile them, a few at a time.
local function compile(zone)
    local set, opts = zone[1] or open(zone), zone[3]
    local version = C.rp_abi_lookup_version(set)
    if version == opts.version then return true end
    local lines = read_lines(set, version)
    if not lines then return nil, "it changes too fast" end
    local groups = {}
    for from = 1, #lines, PATTERNS_AT_ONCE do
        local some, to = {}, math.min(from + PATTERNS_AT_ONCE - 1, #lines)
        for i = from, to do some[#some + 1] = lines[i] end
        local ok, set_or_err = pcall(regex.set, some) -- whoever published them tried them
        if not ok then return nil, tostring(set_or_err) end
        groups[#groups + 1] = { set = set_or_err, sources = some }
        task.sleep(0)
    end
    opts.patterns, opts.version = groups, version
    return true
end

-- What C says of the file: a code, and what is wrong with it.
local function load(zone, anew)
    local opts, name = zone[3], zone[2]
    local pointer = C.rp_abi_lookup_load(H, name, #name, opts.type, opts.file, #opts.file,
        anew == true)
    if pointer ~= nil then return job.wait(pointer) end
    local why = abi.out()
    return why == "busy" and END or E.INTERNAL, why
end

-- One look at the file. true; or nil and what is wrong, false: what was wrong before.
local function look(zone, anew)
    local opts = zone[3]
    while true do
        local code, err = load(zone, anew)
        if code == OK then break end
        if code ~= END then
            -- Another worker may have read one that was good in between.
            if opts.type == LINES and opts.version then compile(zone) end
            return nil, code ~= E.STALE and err
        end
        task.sleep(LOOK_SECONDS)
    end
    if opts.type == LINES then return compile(zone) end
    return true
end

local function complain(zone, err)
    log.error("a set is not renewed: the one before stays", { set = zone[2],
        file = zone[3].file, error = err })
end

-- said: what was complained about already: the same trouble is told once.
local function keep_looking(zone, said)
    task.every(zone[3].every, function()
        local ok, err = look(zone)
        if err and err ~= said then complain(zone, err) end
        if ok or err then said = err end
    end, { jitter = 0.2 })
end

-- Before the worker takes requests. A file that is broken by now does not keep a new worker from
-- what the others have.
local function begin(zone)
    local ok, err = look(zone, true)
    local said = err
    if not ok and C.rp_abi_lookup_version(zone[1] or open(zone)) > 0 then
        complain(zone, err)
        ok, err = true, nil
        if zone[3].type == LINES then ok, err = compile(zone) end
    end
    if not ok then error(("shared.%s: %s: %s"):format(zone[2], zone[3].file, err), 0) end
    keep_looking(zone, said)
end

--- For `shared`: this zone is a set.
--- @return number tag
function M.declare(zone, set)
    zone[3] = { type = TYPES[set.type], file = loader.path_of(set.file), every = set.every,
        patterns = {} }
    chain.on("start", function() begin(zone) end, -1)
    local id = set.type .. "\0" .. zone[3].file
    return C.rp_abi_hash(id, #id)
end

return M
