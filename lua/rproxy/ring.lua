-- SPDX-License-Identifier: MIT
--
-- ring: which of several nodes a key belongs to, so that all instances agree and that a node that
-- comes or goes moves only its own share of the keys (Karger and others 1997; Lamping, Veach 2014).

local abi = require("rproxy.abi")
local object = require("rproxy.object")

local C = abi.C
local raise = object.raise

local M = {}

local POINTS = 160       -- of a node of weight 1: shares differ by some 8 %
local POINTS_MOST = 2^20 -- of a ring

local Ring = {}
Ring.__index = Ring

local function point(node, i)
    local text = node .. "\0" .. i
    return C.rp_abi_hash(text, #text)
end

local function read(given, i)
    local node, weight = given, 1
    if type(given) == "table" then node, weight = given[1], given.weight or 1 end
    if type(node) ~= "string" then raise("rp.ring: node %d is no string", i) end
    if type(weight) ~= "number" or weight % 1 ~= 0 or weight < 1 or weight > 1000 then
        raise("rp.ring: the weight of %q is a whole number from 1 to 1000", node)
    end
    return node, weight
end

--- Made once, at load: a ring of nodes. The order of the list does not matter.
--- @param list table  names, or { name, weight = 2 }
--- @return table ring
function M.new(list)
    if type(list) ~= "table" or #list == 0 then raise("rp.ring takes a list of nodes") end
    local owners, hashes, seen = {}, {}, {}
    for i, given in ipairs(list) do
        local node, weight = read(given, i)
        if seen[node] then raise("rp.ring: %q is there twice", node) end
        seen[node] = true
        for k = 1, POINTS * weight do
            local hash = point(node, k)
            -- Two nodes at one point: the same one wins whatever the order.
            if not owners[hash] then hashes[#hashes + 1] = hash end
            if not owners[hash] or node < owners[hash] then owners[hash] = node end
        end
        if #hashes > POINTS_MOST then raise("rp.ring: too many nodes") end
    end
    table.sort(hashes)
    return setmetatable({ hashes = hashes, owners = owners, n = #list }, Ring)
end

-- The first point at or after a hash; beyond the last one comes the first.
local function find(hashes, hash)
    local low, high = 1, #hashes + 1
    while low < high do
        local mid = math.floor((low + high) / 2)
        if hashes[mid] < hash then low = mid + 1 else high = mid end
    end
    return low <= #hashes and low or 1
end

--- The node of a key.
--- @param key string
--- @return string node
function Ring:get(key)
    if type(key) ~= "string" then raise("ring:get takes a string") end
    return self.owners[self.hashes[find(self.hashes, C.rp_abi_hash(key, #key))]]
end

--- The first n nodes for a key: where it goes when those before are not there.
--- @return string[] nodes
function Ring:list(key, n)
    if type(key) ~= "string" then raise("ring:list takes a string") end
    local out, seen, at = {}, {}, find(self.hashes, C.rp_abi_hash(key, #key))
    n = math.min(n or self.n, self.n)
    while #out < n do
        local node = self.owners[self.hashes[at]]
        if not seen[node] then out[#out + 1], seen[node] = node, true end
        at = at % #self.hashes + 1
    end
    return out
end

--- A number from 1 to n for a key; when n grows by one, one key in n moves, to the new one. Needs
--- no memory; nodes can be added and removed at the end only.
function M.jump(key, n)
    if type(key) ~= "string" or type(n) ~= "number" or n % 1 ~= 0 or n < 1 or n > 2^31 then
        raise("rp.jump_hash takes a string and a whole number from 1")
    end
    return C.rp_abi_jump(key, #key, n) + 1
end

return M
