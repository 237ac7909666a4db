-- SPDX-License-Identifier: MIT
--
-- queue: rp.queue: items that are sent in batches, beside the requests that make them.
--
-- One service per queue takes a batch, calls send, and tries again after a pause that grows when it
-- fails. What does not fit, and what was tried often enough, is dropped and counted, or put into a
-- file (queue_spill.lua). When the VM ends (the worker stops, or a reload has replaced the
-- configuration and its last request is over) what waits is sent within a time.

local abi = require("rproxy.abi")
local chain = require("rproxy.chain")
local log = require("rproxy.log")
local object = require("rproxy.object")
local options = require("rproxy.opts")
local service = require("rproxy.service")
local spill = require("rproxy.queue_spill")
local task = require("rproxy.task")

local raise = object.raise
local C, H = abi.C, abi.H

local M = {}

local OPTIONS = { max = { "count", 10000 }, batch = { "count", 100 }, every = { "wait", 1 },
    send = "function", retry = "table", drop = { "string", "oldest" }, spill = "any",
    flush = { "wait", 5 }, name = { "string", "queue" } }
local RETRY = { tries = { "count", 5 }, first = { "seconds", 0.5 }, most = { "seconds", 30 } }
local SPILL = { path = "string", max = { "count", 64 * 1024 * 1024 } }
local SAY_SECONDS = 10 -- between two lines about what is dropped
local FLUSH_LOOK = 0.01 -- seconds between two looks whether all is sent
local FLUSH_MARGIN = 0.3 -- left of the worker's patience when a flush gives up

local Queue = {}
Queue.__index = Queue

-- ---------------------------------------------------------------- items

local function count(self)
    return self.tail - self.head + 1
end

local function put(self, item)
    self.tail = self.tail + 1
    self.items[self.tail] = item
end

local function take(self)
    local item = self.items[self.head]
    self.items[self.head] = nil
    self.head = self.head + 1
    return item
end

local function say_dropped(self, why)
    local now = service.now()
    if self.said_at and now < self.said_at + SAY_SECONDS then return end
    self.said_at = now
    log.warn("a queue drops items", { queue = self.opts.name, why = why, dropped = self.dropped })
end

local function drop(self, items, why)
    if #items == 0 then return end
    local kept = self.spill and self.spill:put(items) or 0
    self.spilled = self.spilled + kept
    if kept == #items then return end
    self.dropped = self.dropped + #items - kept
    say_dropped(self, why)
end

-- ---------------------------------------------------------------- sending

local function call_send(self, batch)
    local ran, ok, err = pcall(self.opts.send, batch)
    if not ran then return nil, ok end
    if ok then return true end
    return nil, err or "send returned " .. tostring(ok)
end

-- Until there is a batch, or its time has come, or all is to go at once.
local function wait_for_batch(self)
    while count(self) == 0 do
        if self.spill and self.spill:is_waiting() then return end
        self.idle = true
        task.wait("items", -1)
        self.idle = false
    end
    local at = service.now() + self.opts.every
    service.wait_until("items", function()
        return self.flushers > 0 or count(self) >= self.opts.batch
    end, at)
end

local function take_batch(self)
    local batch = {}
    for i = 1, math.min(self.opts.batch, count(self)) do batch[i] = take(self) end
    return batch
end

-- Pause before the next try; a flush does not pause long.
local function pause(self, tries)
    local retry = self.retry
    local seconds = math.min(retry.first * 2 ^ (tries - 1), retry.most)
    seconds = seconds * (0.75 + math.random() / 2)
    local deadline = service.now() + seconds
    service.wait_until("a retry", function()
        return self.flushers > 0 and service.now() >= deadline - seconds + math.min(seconds, 0.2)
    end, deadline)
end

-- Until it is sent or was tried often enough.
local function try_often(self, batch)
    for tries = 1, self.retry.tries do
        local ok, err = call_send(self, batch)
        if ok then
            self.sent, self.batches = self.sent + #batch, self.batches + 1
            return true
        end
        self.failures, self.last_error = self.failures + 1, tostring(err)
        if tries < self.retry.tries then pause(self, tries) end
    end
    log.warn("a queue gives up a batch", { queue = self.opts.name, items = #batch,
        error = self.last_error })
    return false
end

local function send_batch(self)
    local batch = take_batch(self)
    if #batch == 0 then return true end
    self.flying = batch
    local ok = try_often(self, batch)
    -- Gone when a farewell has taken it over meanwhile.
    if not ok and self.flying then drop(self, batch, "failures") end
    self.flying = nil
    return ok
end

-- What went into files when there was no room, or no luck, comes after what is in memory.
local function send_spilled(self)
    while count(self) == 0 do
        local items = self.spill:take(self.opts.batch)
        if not items then return end
        if not try_often(self, items) then
            pause(self, self.retry.tries) -- the files keep them
            return
        end
        self.spill:done(#items)
    end
end

local function work(self)
    if self.spill then self.spill:adopt() end
    while true do
        wait_for_batch(self)
        if send_batch(self) and self.spill then send_spilled(self) end
    end
end

local function run(self)
    H.at = self.owner + 1 -- not whoever pushed first
    local ok, err = pcall(work, self)
    self.task = nil
    if ok then return end
    log.error("a queue failed", { queue = self.opts.name, error = tostring(err) })
    if self.flying then
        drop(self, self.flying, "failures")
        self.flying = nil
    end
end

local function wake(self)
    if not self.task then self.task = service.start(run, self)
    elseif self.idle or count(self) >= self.opts.batch or self.flushers > 0 then
        service.wake(self.task)
    end
end

--- Put an item in. It is sent as it is then: do not change a table that was pushed.
--- phases: all   yields: no
--- @return boolean|nil ok, string|nil code, string|nil detail  "full": drop is "newest"
function Queue:push(item)
    if item == nil then raise("push takes an item, got nil") end
    self.pushed = self.pushed + 1
    if count(self) >= self.opts.max then
        if self.opts.drop == "newest" then
            drop(self, { item }, "full")
            return nil, "full", "the queue has all items that it may"
        end
        drop(self, { take(self) }, "full")
    end
    put(self, item)
    wake(self)
    return true
end

--- Wait until all that waits is sent, or was given up.
--- phases: all   yields: yes
--- @param seconds number|nil  at most so long (5)
--- @return boolean all  false: something is left
function Queue:flush(seconds)
    if seconds ~= nil and (type(seconds) ~= "number" or seconds ~= seconds or seconds < 0) then
        raise("flush takes seconds")
    end
    local at = service.now() + (seconds or self.opts.flush)
    self.flushers = self.flushers + 1
    while count(self) > 0 or self.flying do
        wake(self)
        if service.now() >= at then break end
        task.sleep(FLUSH_LOOK)
    end
    self.flushers = self.flushers - 1
    return count(self) == 0 and not self.flying
end

--- Counts since it was made: pushed, sent, batches, failures (of send), dropped, spilled; waiting
--- now; last_error.
function Queue:stats()
    return { pushed = self.pushed, sent = self.sent, batches = self.batches,
        failures = self.failures, dropped = self.dropped, spilled = self.spilled,
        waiting = count(self) + (self.flying and #self.flying or 0), last_error = self.last_error }
end

-- ---------------------------------------------------------------- the end

local queues = {}

--- The site is gone (rproxy.lab): what was not sent is not sent.
function M.forget_site()
    queues = {}
end

-- What is still there when its time is over.
local function give_up(self)
    local left = self.flying or {}
    self.flying = nil
    while count(self) > 0 do left[#left + 1] = take(self) end
    if #left > 0 then drop(self, left, "the end") end
    if self.spill then self.spill:settle() end
end

local function farewell(self, seconds)
    self:flush(math.min(self.opts.flush, seconds))
    give_up(self)
end

local function farewell_all(_, ends)
    local tasks, seconds = {}, math.max(ends - service.now() - FLUSH_MARGIN, 0)
    for i, queue in ipairs(queues) do tasks[i] = task.spawn(farewell, queue, seconds) end
    for _, one in ipairs(tasks) do one:wait() end
end

-- ---------------------------------------------------------------- making

--- A queue. Make it at load or in a start hook, not for a request.
--- @param given table  send: function(batch) -> true, or nil and why; max: items that may wait
---   (10000); batch: items of one send (100); every: seconds a batch may wait to be full (1);
---   retry: tries (5), first (0.5) and most (30) seconds between them; drop: "oldest" or "newest"
---   when it is full; spill: a path, or { path =, max = bytes (64 MB) }: items go there instead of
---   being dropped; flush: seconds for the end (5); name: for the log
--- @return table queue
function M.new(given)
    local opts = options.check("rp.queue", given or {}, OPTIONS)
    if not opts.send then raise("rp.queue takes send, a function of a list of items") end
    if opts.drop ~= "oldest" and opts.drop ~= "newest" then
        raise('rp.queue: drop is "oldest" or "newest"')
    end
    if opts.batch > opts.max then opts.batch = opts.max end
    if service.in_request() then raise("rp.queue is made at load or in a start hook") end
    local self = setmetatable({ owner = C.rp_abi_running(H), opts = opts, items = {}, head = 1,
        tail = 0, pushed = 0, sent = 0, batches = 0, failures = 0, dropped = 0, spilled = 0,
        flushers = 0,
        retry = options.check("rp.queue: retry", opts.retry, RETRY) }, Queue)
    if opts.spill ~= nil then
        local rule = type(opts.spill) == "string" and { path = opts.spill } or opts.spill
        self.spill = spill.new(options.check("rp.queue: spill", rule, SPILL))
    end
    if #queues == 0 then chain.on("farewell", farewell_all, -1) end
    queues[#queues + 1] = self
    return self
end

return M
