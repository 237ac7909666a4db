-- SPDX-License-Identifier: MIT
--
-- lru: a bounded cache of this worker; when it is full the entry used longest ago goes.

local object = require("rproxy.object")

local M = {}

local Lru = {}
Lru.__index = Lru

local function unlink(node)
    node.older.newer, node.newer.older = node.newer, node.older
end

-- The ring's head is a node of its own: head.older is the newest entry, head.newer the oldest.
local function put_newest(head, node)
    node.newer, node.older = head, head.older
    head.older.newer = node
    head.older = node
end

--- @param most number  entries
function M.new(most)
    if type(most) ~= "number" or most < 1 then object.raise("rp.lru takes a number of entries") end
    local head = {}
    head.newer, head.older = head, head
    return setmetatable({ head = head, nodes = {}, n = 0, most = most }, Lru)
end

function Lru:get(key)
    local node = self.nodes[key]
    if not node then return nil end
    unlink(node)
    put_newest(self.head, node)
    return node.value
end

--- Keep a value; nil removes the key.
function Lru:set(key, value)
    local node = self.nodes[key]
    if node then
        unlink(node)
        self.nodes[key], self.n = nil, self.n - 1
    end
    if value == nil then return end
    if self.n >= self.most then
        local oldest = self.head.newer
        unlink(oldest)
        self.nodes[oldest.key], self.n = nil, self.n - 1
    end
    node = { key = key, value = value }
    put_newest(self.head, node)
    self.nodes[key], self.n = node, self.n + 1
end

function Lru:delete(key)
    self:set(key, nil)
end

return M
