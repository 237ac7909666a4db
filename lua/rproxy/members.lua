-- SPDX-License-Identifier: MIT
--
-- members: which peers an upstream has beside those of the site, as a provider says: a list in
-- shared memory that all workers follow at once. Only in the agent, and only for upstreams that the
-- site gave a provider to. What was put stays over reloads and while an agent is replaced.

local abi = require("rproxy.abi")
local task = require("rproxy.task")
local wish = require("rproxy.wish")

local C, H, E = abi.C, abi.H, abi.E

local M = {}

local BACKUP = 15 -- its priority, as C has it
local WAIT = 0.05 -- between two looks whether this configuration is in use

-- ---------------------------------------------------------------- text

local function line_of(member)
    local address = member.address
    if type(address) ~= "string" or address == "" then return nil, "a member without an address" end
    local parts = { address, ("%d"):format(member.weight or 1),
        ("%d"):format(member.backup and BACKUP or member.priority or 0),
        ("%d"):format(member.max_conns or 0), member.zone or "", member.identity or "" }
    if member.meta and next(member.meta) ~= nil then parts[7] = wish.text(member.meta) end
    for _, part in ipairs(parts) do
        if part:find("\n", 1, true) then return nil, ("%q has a line break"):format(address) end
    end
    if address:find("\t", 1, true) or parts[5]:find("\t", 1, true) then
        return nil, ("%q has a tab"):format(address)
    end
    return table.concat(parts, "\t")
end

-- In the order of addresses: the same set is the same text. An address that is there twice
-- counts once, as it comes first.
local function text_of(list)
    local lines, seen = {}, {}
    for _, member in ipairs(list) do
        local line, err = line_of(member)
        if not line then return nil, err end
        if not seen[member.address] then lines[#lines + 1] = line end
        seen[member.address] = true
    end
    table.sort(lines)
    lines[#lines + 1] = ""
    return table.concat(lines, "\n")
end

local function member_of(line)
    local fields = {}
    for field in (line .. "\t"):gmatch("(.-)\t") do fields[#fields + 1] = field end
    local priority = tonumber(fields[3])
    local member = { address = fields[1], weight = tonumber(fields[2]),
        priority = priority < BACKUP and priority or 0, backup = priority == BACKUP,
        max_conns = tonumber(fields[4]), zone = fields[5] ~= "" and fields[5] or nil,
        identity = fields[6] ~= "" and fields[6] or nil }
    for i = 7, #fields - 1, 2 do
        member.meta = member.meta or {}
        member.meta[fields[i]] = fields[i + 1]
    end
    return member
end

-- ---------------------------------------------------------------- putting

--- Replace the provider's whole set of an upstream.
--- phases: agent   yields: yes, until this configuration is in use
--- @param upstream string
--- @param list table[]  address, weight, priority, backup, max_conns, zone, meta; identity: the
---   name that the peer must prove in TLS, when it is not that of the address
--- @return boolean|nil done  nil: the set stays as it was
--- @return boolean|string changed  false: it was so already; or what is wrong
function M.put(upstream, list)
    local text, err = text_of(list)
    if not text then return nil, err end
    local code = C.rp_abi_members_put(H, upstream, #upstream, text, #text)
    while code == E.PHASE do
        task.sleep(WAIT)
        code = C.rp_abi_members_put(H, upstream, #upstream, text, #text)
    end
    if code == abi.OK then return true, true end
    if code == abi.END then return true, false end
    if code == E.INVALID then return nil, abi.out() end
    if code == E.STALE then return nil, "this configuration was replaced" end
    if code == E.NOT_FOUND then
        return nil, ("no upstream %q with a provider"):format(upstream)
    end
    if code == E.CAP or code == E.TOO_BIG then
        return nil, ("the members have no room in shared memory (%d bytes)"):format(#text)
    end
    return nil, abi.text(code)
end

--- What the provider's set is now: a new agent goes on from there.
--- phases: agent   yields: no
--- @return table[] list  may be empty
function M.get(upstream)
    local list = {}
    if C.rp_abi_members_get(H, upstream, #upstream) ~= 0 then return list end
    for line in abi.out():gmatch("[^\n]+") do list[#list + 1] = member_of(line) end
    return list
end

-- ---------------------------------------------------------------- what came of it

--- Grows when anybody's members changed.
function M.epoch()
    return C.rp_abi_members_epoch(H)
end

--- Names of the peers that an upstream has now, whoever brought them; nil: this configuration is
--- not in use yet, or no more.
--- @param index number  of the upstream
function M.peers(index)
    if C.rp_abi_peer_names(H, index) ~= 0 then return nil end
    local names = {}
    for name in abi.out():gmatch("[^\n]+") do names[#names + 1] = name end
    return names
end

return M
