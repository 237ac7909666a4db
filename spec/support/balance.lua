-- SPDX-License-Identifier: MIT
--
-- balance: a group of peers as balancing policies see it, from short descriptions.
--
--   local balance = require("spec.support.balance")
--   local b = balance.new({ 5, { 1, tier = 15 }, { 2, health = "DOWN", in_flight = 3 } })
--   b:settle { panic = 1 }
--   b:pick("round_robin") -> 1-based index or nil;  b:pick("ring", { hash = 7, tried = { 1 } })
--   b:shares("random", 10000) -> how often each was chosen

local c = require("spec.support.c")
local ffi = c.ffi
local C = c.load { "proxy/balance.h", "base/hash.h", "base/random.h" }

local M = { C = C }
local View = {}
View.__index = View

local HEALTH = { UP = 2, DOWN = 1, ABSENT = 0 }

--- @param specs table  weights, or { weight, name=, tier=, health=, in_flight=, latency_us=, seats= }
function M.new(specs)
    local n = #specs
    local self = setmetatable({ n = n, peers = ffi.new("struct rp_balance_peer[?]", n + 1),
        live = ffi.new("uint32_t[?]", n + 1), sums = ffi.new("uint64_t[?]", n + 1),
        dice = ffi.new("struct rp_random"), view = ffi.new("struct rp_balance_view") }, View)
    local v = self.view
    v.peers, v.n, v.live, v.sums = self.peers, n, self.live, self.sums
    for i, spec in ipairs(specs) do
        if type(spec) == "number" then spec = { spec } end
        local p = self.peers[i - 1]
        p.key = C.rp_balance_key(c.str(spec.name or "10.0.0." .. i .. ":80"))
        p.weight, p.full_weight = spec[1], spec[1]
        p.tier, p.health = spec.tier or 0, HEALTH[spec.health or "UP"]
        p.in_flight, p.latency_us = spec.in_flight or 0, spec.latency_us or 0
        p.seats, p.near = spec.seats or 0, spec.near or false
    end
    ffi.gc(v, function(view)
        C.rp_balance_ring_free(view)
        C.rp_balance_maglev_free(view)
    end)
    C.rp_random_init(self.dice, 42)
    return self:settle()
end

function View:settle(rules)
    local r = ffi.new("struct rp_balance_rules", rules and rules.panic or 0,
        rules and rules.spill or 0, rules and rules.zone or 0)
    C.rp_balance_settle(self.view, r)
    return self
end

function View:health(i, health)
    self.peers[i - 1].health = HEALTH[health]
    return self:settle()
end

function View:table(kind)
    C["rp_balance_" .. kind .. "_make"](self.view)
    return self
end

--- opts: hash, bound, tried = { 1-based }, only = { 1-based }
function View:pick(policy, opts)
    local ask = ffi.new("struct rp_balance_ask")
    opts = opts or {}
    ask.dice, ask.hash, ask.bound = self.dice, opts.hash or 0, opts.bound or 0
    for i, peer in ipairs(opts.tried or {}) do ask.tried[i - 1], ask.tried_n = peer - 1, i end
    local only
    if opts.only then
        only = ffi.new("uint64_t[?]", math.floor(self.n / 64) + 1)
        for _, peer in ipairs(opts.only) do
            local word, bit = math.floor((peer - 1) / 64), (peer - 1) % 64
            only[word] = only[word] + ffi.cast("uint64_t", 2) ^ bit
        end
        ask.only = only
    end
    local i = C["rp_balance_" .. policy](self.view, ask)
    assert(only or not opts.only) -- it was pointed to until here
    return i >= 0 and i + 1 or nil
end

--- How often each is chosen in n turns; hashing policies: for n different keys.
function View:shares(policy, n, opts)
    local taken = {}
    for i = 1, self.n do taken[i] = 0 end
    opts = opts or {}
    for i = 1, n do
        opts.hash = M.key(i)
        local at = self:pick(policy, opts)
        if at then taken[at] = taken[at] + 1 end
    end
    return taken
end

--- A well-spread 64-bit number for i.
function M.key(i)
    return C.rp_hash_mix(i)
end

return M
