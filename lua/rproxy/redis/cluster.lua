-- SPDX-License-Identifier: MIT
--
-- cluster: units go to the node that has their slot; MOVED, ASK and what surely was not done are
-- followed up, everything else is the caller's.
--
-- The map of slots is asked of any node that answers: before the first command, after a MOVED, and
-- after a node could not be reached; by one task for all who wait.

local command = require("rproxy.redis.command")
local link = require("rproxy.redis.link")
local node = require("rproxy.redis.node")
local outside = require("rproxy.outside")
local resp = require("rproxy.redis.resp")
local service = require("rproxy.service")
local task = require("rproxy.task")

local M = {}

local SLOTS = 16384
local ROUNDS_MOST = 16 -- that a unit is sent elsewhere
local AGAIN_SECONDS = 0.05 -- before it is sent again where the cluster is not ready
local NODES_MOST = 1000
local ASKING = assert(resp.command(1, { "ASKING" }))
local QUESTION = assert(resp.command(2, { "CLUSTER", "SLOTS" }))

local Cluster = {}
Cluster.__index = Cluster

--- @param seeds table  { host =, port = }, ..
--- @param opts table  of a link, without host and port; pool: links to each node
function M.new(seeds, opts)
    return setmetatable({ seeds = seeds, opts = opts, nodes = {}, slots = {}, known = false,
        version = 0, waiting = {} }, Cluster)
end

-- ---------------------------------------------------------------- the map

local function address(host, port)
    return host .. ":" .. port
end

local function node_at(self, host, port)
    local where = address(host, port)
    local found = self.nodes[where]
    if found then return found end
    local opts = setmetatable({ host = host, port = port }, { __index = self.opts })
    found = node.new(opts)
    self.nodes[where] = found
    return found
end

local function is_slot(n)
    return type(n) == "number" and n >= 0 and n < SLOTS and n % 1 == 0
end

-- One entry of CLUSTER SLOTS: first, last, { host, port, .. } of the master, replicas.
local function read_range(range, asked)
    if type(range) ~= "table" or type(range[3]) ~= "table" then return nil end
    local first, last, host, port = range[1], range[2], range[3][1], range[3][2]
    if not is_slot(first) or not is_slot(last) or first > last then return nil end
    if type(port) ~= "number" or port < 1 or port > 65535 or port % 1 ~= 0 then return nil end
    if type(host) ~= "string" or host == "" then host = asked end -- it does not know its own name
    if host == "?" or #host > 255 then return nil end
    return first, last, host, port
end

-- A map from a reply: slot -> "host:port", and the nodes in it; nil when it is none.
local function read_map(reply, asked)
    if type(reply) ~= "table" or resp.is_failure(reply) or #reply == 0 then return nil end
    local slots, hosts, n = {}, {}, 0
    for _, range in ipairs(reply) do
        local first, last, host, port = read_range(range, asked)
        if not first then return nil end
        local where = address(host, port)
        if not hosts[where] then
            n = n + 1
            hosts[where] = { host = host, port = port }
        end
        for slot = first, last do slots[slot] = where end
    end
    if n > NODES_MOST then return nil end
    return slots, hosts
end

local function ask(self, where)
    local opts = setmetatable({ host = where.host, port = where.port }, { __index = self.opts })
    local own, code, detail = link.own(opts)
    if not own then return nil, code, detail end
    local replies
    replies, code, detail = own:call(QUESTION, 1)
    own:close()
    if not replies then return nil, code, detail end
    if resp.is_failure(replies[1]) then return nil, replies[1].err, replies[1].detail end
    local slots, hosts = read_map(replies[1], where.host)
    if not slots then return nil, "protocol", "no map of slots" end
    return slots, hosts
end

local function take_map(self, slots, hosts)
    self.slots, self.known = slots, true
    self.version = self.version + 1
    for where, old in pairs(self.nodes) do
        if not hosts[where] then
            old:close()
            self.nodes[where] = nil
        end
    end
    for _, where in pairs(hosts) do node_at(self, where.host, where.port) end
end

local function candidates(self)
    local list = {}
    for _, one in pairs(self.nodes) do
        list[#list + 1] = { host = one.opts.host, port = one.opts.port }
    end
    for _, seed in ipairs(self.seeds) do list[#list + 1] = seed end
    return list
end

local function look(self)
    local code, detail = "connect", "no node answers"
    for _, where in ipairs(candidates(self)) do
        local slots, hosts, why = ask(self, where)
        if slots then
            take_map(self, slots, hosts)
            code, detail = nil, nil
            break
        end
        code, detail = hosts, why
    end
    self.looking = false
    self.failure = code and { code == "timeout" and code or "connect", detail }
    local waiting = self.waiting
    self.waiting = {}
    for _, handle in ipairs(waiting) do service.wake(handle) end
end

local function looking(self)
    local ok, err = pcall(look, self)
    if ok then return end
    self.looking, self.failure = false, { "internal", tostring(err) }
end

-- Ask for the map, unless somebody does already.
local function refresh(self)
    if self.looking then return end
    service.start(looking, self)
    self.looking = true
end

-- Ask, and wait for the outcome.
local function wait_for_map(self, deadline)
    refresh(self)
    while self.looking do
        local left = deadline - service.now()
        if left <= 0 then return nil, "timeout", "no map of slots in time" end
        self.waiting[#self.waiting + 1] = service.self()
        task.wait("a map of slots", math.min(left, 1))
    end
    if not self.known then return nil, self.failure[1], self.failure[2] end
    return true
end

-- ---------------------------------------------------------------- sending

local function any_node(self)
    local list = {}
    for _, one in pairs(self.nodes) do list[#list + 1] = one end
    if #list == 0 then return nil end
    return list[math.random(#list)]
end

local function node_for(self, unit)
    if unit.ask then return unit.ask end
    if unit.key == nil then return any_node(self) end
    local where = self.slots[command.slot(unit.key)]
    return where and self.nodes[where]
end

-- What a reply says about where the unit belongs: "moved", "ask", "later"; nil: it is an answer.
local function redirection(self, unit, reply)
    if not resp.is_failure(reply) then return nil end
    local err = reply.err
    if err == "TRYAGAIN" or err == "CLUSTERDOWN" or err == "LOADING" or err == "MASTERDOWN" then
        return "later"
    end
    if err ~= "MOVED" and err ~= "ASK" then return nil end
    local slot, host, port = reply.detail:match("^%u+ (%d+) (.-):(%d+)$")
    slot, port = tonumber(slot), tonumber(port)
    if not is_slot(slot) or not port or port < 1 or port > 65535 or #host > 255 then return nil end
    if host == "" then host = node_for(self, unit).opts.host end
    if err == "MOVED" or not self.nodes[address(host, port)] then refresh(self) end
    local to = node_at(self, host, port)
    if err == "ASK" then
        if unit.n > 1 then return "later" end -- ASKING is good for one command
        unit.ask = to
        return "ask"
    end
    self.slots[slot] = address(host, port)
    return "moved"
end

-- Send the units that one node gets, in order.
local function begin(self, group)
    local parts, n = {}, 0
    for _, unit in ipairs(group.units) do
        if unit.ask then
            parts[#parts + 1] = ASKING
            n = n + 1
        end
        parts[#parts + 1] = unit.bytes
        n = n + unit.n
    end
    group.job, group.code, group.detail = group.node:begin(table.concat(parts), n)
end

local function lost(code, detail)
    local failure = resp.failure(detail or code)
    failure.err = code
    return failure
end

-- Each unit gets its replies, or is to be sent again; true when one of them should wait for that.
local function hand_out(self, group, replies, again)
    local at, wait = 0, false
    for _, unit in ipairs(group.units) do
        if unit.ask then at = at + 1 end
        unit.ask = nil
        local mine, why = {}, nil
        for k = 1, unit.n do
            mine[k] = replies[at + k]
            why = why or redirection(self, unit, mine[k])
        end
        at = at + unit.n
        if why and why ~= "later" then unit.rounds = (unit.rounds or 0) + 1 end
        if why and (unit.rounds or 0) < ROUNDS_MOST then
            again[#again + 1] = unit
            wait = wait or why == "later"
        else
            unit.replies = mine
        end
    end
    return wait
end

local function finish(self, group, deadline, again)
    local replies, code, detail, unsent
    if group.job then
        replies, code, detail, unsent = link.finish(group.job, deadline)
    else
        code, detail = group.code, group.detail
    end
    if replies then return hand_out(self, group, replies, again) end
    refresh(self)
    for _, unit in ipairs(group.units) do
        unit.ask = nil
        if unsent and code ~= "timeout" and service.now() < deadline then
            again[#again + 1] = unit
        else
            unit.replies = lost(code, detail)
        end
    end
    return true
end

-- Units by node, each node's in order. nil: a slot that nobody has.
local function group_units(self, units)
    local groups, by_node = {}, {}
    for _, unit in ipairs(units) do
        local to = node_for(self, unit)
        if not to then return nil end
        local group = by_node[to]
        if not group then
            group = { node = to, units = {} }
            by_node[to] = group
            groups[#groups + 1] = group
        end
        group.units[#group.units + 1] = unit
    end
    return groups
end

local function round(self, units, deadline)
    local groups = self.known and group_units(self, units)
    if not groups then
        local ok, code, detail = wait_for_map(self, deadline)
        if not ok then return nil, code, detail end
        groups = group_units(self, units)
        if not groups then return units, true end
    end
    local again, wait = {}, false
    for _, group in ipairs(groups) do begin(self, group) end
    for _, group in ipairs(groups) do
        if finish(self, group, deadline, again) then wait = true end
    end
    return again, wait
end

-- Send until all have replies. nil, code, detail: some have not.
local function run_all(self, units, deadline)
    local left = units
    while true do
        local again, wait, detail = round(self, left, deadline)
        if not again then return nil, wait, detail end
        if #again == 0 then return true end
        left = again
        if service.now() + AGAIN_SECONDS >= deadline then
            return nil, "timeout", "the cluster is not ready"
        end
        if wait then task.sleep(AGAIN_SECONDS) end
    end
end

--- yields: yes
function Cluster:run(units, seconds)
    local deadline = service.now() + (seconds or self.opts.timeout)
    local ok, code, detail = run_all(self, units, deadline)
    local out, some = {}, ok
    for i, unit in ipairs(units) do
        some = some or unit.replies
        out[i] = unit.replies or lost(code, detail)
    end
    if not some then return nil, code, detail end
    return out
end

--- What a connection of one's own to the node of a key takes (nil: to any).
--- yields: yes
function Cluster:options_for(key)
    local unit = { key = key }
    local to = self.known and node_for(self, unit)
    if not to then
        local ok, code, detail = wait_for_map(self, service.now() + self.opts.timeout)
        if not ok then return nil, code, detail end
        to = node_for(self, unit)
    end
    if not to then return nil, "connect", "no node has that slot" end
    return to.opts
end

function Cluster:close()
    for _, one in pairs(self.nodes) do one:close() end
end

function Cluster:count(into)
    for _, one in pairs(self.nodes) do one:count(into) end
end

outside.class("redis.cluster", Cluster, {
    ident = function(self) return self.seeds[1].host .. ":" .. self.seeds[1].port end })

return M
