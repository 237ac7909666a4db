-- SPDX-License-Identifier: MIT
--
-- node: the shared links to one server, or to whatever sentinels call the master.
--
-- A unit is what is sent in one piece to one server: { bytes =, n = replies, key = }. run(units,
-- seconds) gives for each the list of its replies, or a failure table of its own (`err` in lower
-- case: it is not from Redis).

local link = require("rproxy.redis.link")
local outside = require("rproxy.outside")
local resp = require("rproxy.redis.resp")
local service = require("rproxy.service")
local task = require("rproxy.task")

local M = {}

local LOOK_AGAIN = 0.1 -- seconds between two searches for a master

local Node = {}
Node.__index = Node

--- @param opts table  of a link, and pool: how many
function M.new(opts)
    local links = {}
    for i = 1, opts.pool do links[i] = link.shared(opts) end
    return setmetatable({ opts = opts, links = links }, Node)
end

local function least_loaded(self)
    local best = self.links[1]
    for i = 2, #self.links do
        if best.load == 0 then return best end
        if self.links[i].load < best.load then best = self.links[i] end
    end
    return best
end

--- Send what ends at link.finish.
function Node:begin(bytes, n)
    return least_loaded(self):begin(bytes, n)
end

-- A former master refuses to write: nothing was done.
local function is_demoted(self, results)
    if not self.opts.locate then return false end
    for _, reply in ipairs(results) do
        if resp.is_failure(reply) and reply.err == "READONLY" then return true end
    end
    return false
end

local function attempt(self, bytes, n, deadline)
    local one = least_loaded(self)
    local job, code, detail = one:begin(bytes, n)
    if not job then return nil, code, detail, false end
    local results, unsent
    results, code, detail, unsent = link.finish(job, deadline)
    if results and n == 1 and is_demoted(self, results) then
        one:renew()
        return nil, "READONLY", results[1].detail, true
    end
    return results, code, detail, unsent
end

--- Send, and wait for n replies. Where sentinels say which server it is, what was surely not done
--- is tried again while there is time.
--- yields: yes
--- @return table|nil results, string|nil code, string|nil detail
function Node:call(bytes, n, seconds)
    local deadline = service.now() + (seconds or self.opts.timeout)
    while true do
        local results, code, detail, again = attempt(self, bytes, n, deadline)
        if results then return results end
        local late = service.now() + LOOK_AGAIN >= deadline
        if not again or not self.opts.locate or late or code == "timeout" then
            return nil, code, detail
        end
        task.sleep(LOOK_AGAIN)
    end
end

--- yields: yes
function Node:run(units, seconds)
    local parts, n = {}, 0
    for i, unit in ipairs(units) do
        parts[i] = unit.bytes
        n = n + unit.n
    end
    local replies, code, detail = self:call(table.concat(parts), n, seconds)
    if not replies then return nil, code, detail end
    if #units == 1 then return { replies } end
    local out, at = {}, 0
    for i, unit in ipairs(units) do
        local mine = {}
        for k = 1, unit.n do mine[k] = replies[at + k] end
        at = at + unit.n
        out[i] = mine
    end
    return out
end

--- What a connection of one's own takes.
function Node:options_for(_)
    return self.opts
end

--- Give up the connections once nothing waits on them.
function Node:close()
    for _, one in ipairs(self.links) do one:close() end
end

--- Add to { connections =, waiting =, connects = }.
function Node:count(into)
    for _, one in ipairs(self.links) do
        into.connections = into.connections + (one.task and 1 or 0)
        into.waiting = into.waiting + one.load
        into.connects = into.connects + one.connects
    end
end

outside.class("redis.node", Node, { ident = function(self)
    local opts = self.opts
    return ("%s/%s"):format(opts.unix or opts.master or opts.host .. ":" .. opts.port, opts.db or 0)
end })

return M
