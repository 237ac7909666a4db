-- SPDX-License-Identifier: MIT
--
-- replay_player: gives recorded results to the calls of hooks that are replayed. Which one: the
-- next of this request's with the same name and arguments; once they are used up, the last of them
-- again; else what the same call gave elsewhere in the capture, as close before as there is. What
-- was never called is a miss.

local M = {}

local ELSEWHERE_MOST = 200000 -- calls that are remembered for other requests
local ELSEWHERE_BYTES = 256 * 1024 * 1024 -- of the lines they stand in, about

-- ---------------------------------------------------------------- the whole capture

local Library = {}
Library.__index = Library

--- What all calls of a capture gave.
function M.library()
    return setmetatable({ by_key = {}, n = 0, bytes = 0 }, Library)
end

local function key_of(call)
    return call.f .. ":" .. call.a
end

--- @param bytes number  of its text, about
function Library:add(call, at, bytes)
    if self.n >= ELSEWHERE_MOST or self.bytes >= ELSEWHERE_BYTES then
        self.full = true
        return
    end
    local key = key_of(call)
    local list = self.by_key[key]
    if not list then
        list = {}
        self.by_key[key] = list
    end
    self.n, self.bytes = self.n + 1, self.bytes + (bytes or 0)
    list.sorted = false
    list[#list + 1] = { at = at, call = call, n = #list }
end

local function earlier(a, b)
    if a.at ~= b.at then return a.at < b.at end
    return a.n < b.n
end

-- The latest until `at`, else the first after it.
function Library:find(name, digest, at)
    local list = self.by_key[name .. ":" .. digest]
    if not list then return nil end
    if not list.sorted then table.sort(list, earlier) end
    list.sorted = true
    local low, high = 1, #list -- the last one that is not after `at` lies before high + 1
    while low <= high do
        local mid = math.floor((low + high) / 2)
        if list[mid].at <= at then low = mid + 1 else high = mid - 1 end
    end
    return list[math.max(high, 1)].call
end

-- ---------------------------------------------------------------- one request

local Player = {}
Player.__index = Player

local function sort_calls(calls)
    local by_key, by_name = {}, {}
    for _, call in ipairs(calls) do
        local key = key_of(call)
        by_key[key] = by_key[key] or { at = 0 }
        table.insert(by_key[key], call)
        by_name[call.f] = by_name[call.f] or {}
        table.insert(by_name[call.f], call)
    end
    return by_key, by_name
end

--- @param record table|nil  of a request; nil: what runs in the background
--- @param library table
--- @param opts table  on_miss ("fail", "empty"), opened (secrets), redacted: some secrets are not
---   known
--- @return table player  a tape for rproxy.tape; misses, assumed, simulated, borrowed, guessed:
---   lists of words
function M.new(record, library, opts)
    local self = setmetatable({ library = library, on_miss = opts.on_miss, misses = {},
        assumed = {}, simulated = {}, borrowed = {}, guessed = {}, used = {}, dice = 0,
        at = opts.at or 0, runs = {} }, Player)
    if opts.opened then self.unscrub, self.scrub = opts.opened.put_in, opts.opened.take_out end
    if record then
        self.at, self.seq, self.redacted = record.request.at, record.seq or {}, opts.redacted
        self.by_key, self.by_name = sort_calls(record.calls)
    else
        self.by_key, self.by_name, self.seq = {}, {}, {}
    end
    return self
end

-- With secrets that are not known arguments may differ only by their marks: then the next call of
-- that name that nobody asked for yet.
local function guess(self, name)
    for _, call in ipairs(self.redacted and self.by_name[name] or {}) do
        if not self.used[call] then return call end
    end
end

--- For rproxy.tape: the entry of a call; nil: a miss.
function Player:call(name, digest, words, instance, spec)
    local known = self.by_key[name .. ":" .. digest]
    local text = words and ("%s %s"):format(name, words) or name
    if known then
        if known.at < #known then known.at = known.at + 1 end
        self.used[known[known.at]] = true
        return known[known.at]
    end
    local found = self.library:find(name, digest, self.at)
    if found then
        self.borrowed[#self.borrowed + 1] = text
        return found
    end
    found = guess(self, name)
    if found then
        self.used[found] = true
        self.guessed[#self.guessed + 1] = text
        return found
    end
    local list = spec.memory and self.simulated or spec.otherwise and self.assumed or self.misses
    list[#list + 1] = { text = text, instance = instance }
end

--- For rproxy.tape: the next value of a clock or of dice; nil: the lab's own.
function Player:run(key, spec)
    local runs = self.seq[key]
    local state = self.runs[key]
    if not runs or #runs == 0 then
        if spec.wall and self.by_name and self.seq ~= nil and self.at > 0 then
            if spec.name == "os.time" then return math.floor(self.at) end
            return self.at
        end
        if not spec.clock then self.dice = self.dice + 1 end
        return nil
    end
    if not state then
        state = { at = 1, n = 0 }
        self.runs[key] = state
    end
    local run = runs[state.at]
    if state.n < run[2] then
        state.n = state.n + 1
        return run[1]
    end
    if runs[state.at + 1] then
        state.at, state.n = state.at + 1, 1
        return runs[state.at][1]
    end
    if spec.clock then return run[1] end
    self.dice = self.dice + 1
    return nil
end

--- For rproxy.tape: what was recorded cannot be used.
function Player:broken(name, why)
    self.misses[#self.misses + 1] = { text = ("%s (%s)"):format(name, tostring(why)) }
end

return M
