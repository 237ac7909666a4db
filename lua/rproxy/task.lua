-- SPDX-License-Identifier: MIT
--
-- task: waiting, children of a request, background tasks and timers. The only place that parks.

local abi = require("rproxy.abi")
local object = require("rproxy.object")

local C, H, host = abi.C, abi.H, abi.host
local raise = object.raise

local M = {}

-- ---------------------------------------------------------------- waiting

--- Park the running task until C or another task wakes it. For the layer only.
--- yields: yes
--- @param why string  a literal: C keeps the pointer
--- @param seconds number  deadline; < 0: none
--- @return boolean woken  false: the deadline came first
function M.wait(why, seconds)
    C.rp_abi_park(H, why, seconds)
    return host.park()
end

local function check_seconds(what, seconds)
    if type(seconds) ~= "number" or seconds ~= seconds or seconds < 0
        or seconds == math.huge then
        raise("%s takes seconds, a number from 0, got %s", what, tostring(seconds))
    end
end

--- Wait.
--- phases: all   yields: yes
--- @param seconds number
function M.sleep(seconds)
    check_seconds("rp.sleep", seconds)
    M.wait("sleep", seconds)
end

-- ---------------------------------------------------------------- children

local Task = {}
Task.__index = Task

local function finish(task, ...)
    task.results, task.n = { ... }, select("#", ...)
    local waiter = task.waiter
    if waiter then C.rp_abi_task_wake(H, waiter) end
end

local function run(task, fn, ...)
    finish(task, pcall(fn, ...))
end

local function check_fn(what, fn)
    if type(fn) ~= "function" then raise("%s takes a function, got a %s", what, type(fn)) end
end

--- Run a function beside the caller; it ends with the request (or background task) at the latest.
--- phases: all   yields: no
--- @param fn function
--- @return table task  task:wait() -> true, results.. | nil, error; task:cancel()
function M.spawn(fn, ...)
    check_fn("rp.spawn", fn)
    local task = setmetatable({}, Task)
    task.handle = host.spawn(false, run, task, fn, ...)
    return task
end

--- Wait until it has ended.
--- yields: yes
--- @return boolean|nil ok, any ...
function Task:wait()
    while not self.results do
        if self.cancelled then return nil, "cancelled" end
        self.waiter = C.rp_abi_task_self(H)
        M.wait("another task", -1)
    end
    local results = self.results
    if not results[1] then return nil, results[2] end
    return unpack(results, 1, self.n)
end

--- End it where it waits.
function Task:cancel()
    if self.results or self.cancelled then return end
    self.cancelled = true
    C.rp_abi_task_cancel(H, self.handle)
    if self.waiter then C.rp_abi_task_wake(H, self.waiter) end
end

local function spawn_list(what, list)
    if type(list) ~= "table" or #list == 0 then raise("%s takes a list of functions", what) end
    local tasks = {}
    for i, fn in ipairs(list) do tasks[i] = M.spawn(fn) end
    return tasks
end

--- Run functions beside each other and wait for all of them.
--- phases: all   yields: yes
--- @param list function[]
--- @return table|nil results  first result of each, in list order
--- @return string|nil err     of the first in the list that failed
function M.all(list)
    local tasks, results, failure = spawn_list("rp.all", list), {}, nil
    for i, task in ipairs(tasks) do
        local ok, result = task:wait()
        if not ok and failure == nil then failure = result or "failed" end
        results[i] = result
    end
    if failure ~= nil then return nil, failure end
    return results
end

--- Run functions beside each other; the first that succeeds wins, the others are cancelled.
--- phases: all   yields: yes
--- @param list function[]
--- @return any|nil result, string|nil err  err of the last when all failed
function M.any(list)
    local tasks, me, failure = spawn_list("rp.any", list), C.rp_abi_task_self(H), nil
    for _, task in ipairs(tasks) do task.waiter = me end
    while true do
        local running = false
        for _, task in ipairs(tasks) do
            local results = task.results
            if results and results[1] then
                for _, other in ipairs(tasks) do other.waiter = nil other:cancel() end
                return results[2]
            elseif results then
                failure = results[2]
            else
                running = true
            end
        end
        if not running then return nil, failure end
        M.wait("another task", -1)
    end
end

-- ---------------------------------------------------------------- background

local function log_failure(what, err)
    require("rproxy.log").error(what .. " failed", { error = err })
end

local function guarded(what, fn, ...)
    local ok, err = xpcall(fn, host.trace, ...)
    if not ok then log_failure(what, err) end
end

--- Run a function in the background: it outlives the request that starts it.
--- phases: all, start   yields: no
--- @param fn function
function M.detach(fn, ...)
    check_fn("rp.detach", fn)
    local task = setmetatable({}, Task)
    task.handle = host.spawn(true, guarded, "background task", fn, ...)
    return task
end

local function once_after(seconds, fn, ...)
    M.sleep(seconds)
    guarded("rp.after", fn, ...)
end

--- Run a function once, later.
--- phases: all, start   yields: no
--- @return table timer  timer:cancel()
function M.after(seconds, fn, ...)
    check_seconds("rp.after", seconds)
    check_fn("rp.after", fn)
    local task = setmetatable({}, Task)
    task.handle = host.spawn(true, once_after, seconds, fn, ...)
    return task
end

local function again_and_again(task, seconds, jitter, fn)
    while not task.cancelled do
        M.sleep(seconds * (1 + jitter * (math.random() - 0.5)))
        guarded("rp.every", fn)
    end
end

--- Run a function again and again; the next round starts when this one has ended and the time has
--- passed, so rounds never overlap.
--- phases: all, start   yields: no
--- @param seconds number
--- @param fn function
--- @param opts table|nil  jitter: share of the time that varies, 0..1
--- @return table timer  timer:cancel()
function M.every(seconds, fn, opts)
    check_seconds("rp.every", seconds)
    check_fn("rp.every", fn)
    if seconds < 0.001 then raise("rp.every takes at least 0.001 seconds") end
    local jitter = opts and opts.jitter or 0
    if type(jitter) ~= "number" or jitter < 0 or jitter > 1 then
        raise("rp.every: jitter is a number from 0 to 1")
    end
    local task = setmetatable({}, Task)
    task.handle = host.spawn(true, again_and_again, task, seconds, jitter, fn)
    return task
end

return M
