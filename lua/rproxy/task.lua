-- SPDX-License-Identifier: MIT
--
-- task: waiting, children of a request, background tasks and timers. The only place that parks.
--
-- A task made by rp.spawn is a child of what runs: cancelling that, its failure and the end of its
-- request end the child where it waits. Nothing of the site runs in a cancelled task any more.

local abi = require("rproxy.abi")
local journal = require("rproxy.journal")
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
    if H.notes ~= 0 then return journal.wait(why, seconds) end
    C.rp_abi_park(H, why, seconds)
    return host.park()
end

--- When something that may take so many seconds has to be over: not after the end that the
--- request, or its hook, has. For the layer only.
--- @param seconds number|nil  nil: as long as the request lets it
--- @return number|nil at  in loop time
function M.deadline_of(seconds)
    local left = C.rp_abi_left(H)
    if seconds and (left < 0 or seconds < left) then left = seconds end
    if left < 0 then return nil end
    return C.rp_abi_now(H) + left
end

--- Park until woken or `at`. For the layer only.
--- @param at number|nil  as deadline_of gives it
function M.wait_until(why, at)
    if not at then return M.wait(why, -1) end
    local left = at - C.rp_abi_now(H)
    if left <= 0 then return false end
    return M.wait(why, left)
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
    local at = C.rp_abi_now(H) + seconds
    local woken = M.wait("sleep", seconds)
    while woken do woken = M.wait_until("sleep", at) end -- for nothing
end

-- ---------------------------------------------------------------- children

local Task = {}
Task.__index = Task

-- nil and a reason is a failure, as everywhere in the library.
local function has_failed(results)
    return not results[1] or (results[2] == nil and results[3] ~= nil)
end

local function finish(task, ...)
    local results, group = { ... }, task.group
    task.results, task.n = results, select("#", ...)
    if not results[1] then C.rp_abi_task_failed(H) end
    if not group then return end
    group.left = group.left - 1
    local failed = has_failed(results)
    if failed and not (group.until_failed and group.failed) then group.failed = task end
    if not failed then group.done = group.done or task end
    if group.left == 0 or group[failed and "until_failed" or "until_done"] then
        C.rp_abi_task_wake(H, group.waiter)
    end
end

local function run(task, fn, ...)
    finish(task, pcall(fn, ...))
end

local function check_fn(what, fn)
    if type(fn) ~= "function" then raise("%s takes a function, got a %s", what, type(fn)) end
end

local function spawn(group, fn, ...)
    local task = setmetatable({ group = group }, Task)
    task.handle = host.spawn(false, run, task, fn, ...)
    return task
end

--- Run a function beside the caller; it ends with the caller's request (or background task) at the
--- latest, and with the caller when that is cancelled or fails.
--- phases: all   yields: no
--- @param fn function
--- @return table task  task:wait() -> true, results.. | nil, error; task:cancel()
function M.spawn(fn, ...)
    check_fn("rp.spawn", fn)
    return spawn(nil, fn, ...)
end

--- Wait until it has ended.
--- yields: yes
--- @param seconds number|nil  at most so long
--- @return boolean|nil ok, any ...
function Task:wait(seconds)
    if seconds ~= nil then check_seconds("task:wait", seconds) end
    local at = seconds and M.deadline_of(seconds)
    while not self.results do
        if self.handle == C.rp_abi_task_self(H) then raise("a task cannot wait for itself") end
        if self.cancelled or not C.rp_abi_task_join(H, self.handle) then
            self.cancelled = true -- with what it belonged to, or by a reload
            return nil, "cancelled"
        end
        if not M.wait_until("another task", at) and not self.results then return nil, "timeout" end
    end
    local results = self.results
    if not results[1] then return nil, results[2] end
    return unpack(results, 1, self.n)
end

--- End it where it waits, with all that it spawned.
function Task:cancel()
    if self.results or self.cancelled then return end
    self.cancelled = true
    C.rp_abi_task_cancel(H, self.handle)
end

local function spawn_list(what, list, group)
    if type(list) ~= "table" or #list == 0 then raise("%s takes a list of functions", what) end
    for _, fn in ipairs(list) do check_fn(what, fn) end
    group.left, group.waiter = #list, C.rp_abi_task_self(H)
    local tasks = {}
    for i, fn in ipairs(list) do tasks[i] = spawn(group, fn) end
    return tasks
end

local function cancel_all(tasks)
    for _, task in ipairs(tasks) do
        task.group = nil
        task:cancel()
    end
end

-- What a failed task says: it raised, or returned nil and this.
local function failure_of(task)
    local results = task.results
    if results[1] then return results[3], results[4] end
    return results[2]
end

--- Run functions beside each other and wait for all of them. The first that fails (raises, or
--- returns nil and a reason) ends it: the others are cancelled.
--- phases: all   yields: yes
--- @param list function[]
--- @return table|nil results  first result of each, in list order
--- @return any err, any detail  of the one that failed
function M.all(list)
    local group = { until_failed = true }
    local tasks = spawn_list("rp.all", list, group)
    while group.left > 0 and not group.failed do M.wait("other tasks", -1) end
    if group.failed then
        cancel_all(tasks)
        return nil, failure_of(group.failed)
    end
    local results = {}
    for i, task in ipairs(tasks) do results[i] = task.results[2] end
    return results
end

local function results_of(task)
    return unpack(task.results, 2, task.n)
end

--- Run functions beside each other; the first that succeeds wins, the others are cancelled. One
--- that raises, or returns nil and a reason, has not.
--- phases: all   yields: yes
--- @param list function[]
--- @return any ...  results of the winner; nil and the first failure when all failed
function M.any(list)
    local group = { until_done = true }
    local tasks = spawn_list("rp.any", list, group)
    while group.left > 0 and not group.done do M.wait("other tasks", -1) end
    cancel_all(tasks)
    if group.done then return results_of(group.done) end
    return nil, failure_of(group.failed)
end

--- Run a function, for so long at most: then it is cancelled.
--- phases: all   yields: yes
--- @param seconds number
--- @param fn function
--- @return any ...  what it returned; nil, "timeout"; nil and what it raised
function M.deadline(seconds, fn, ...)
    check_seconds("rp.deadline", seconds)
    check_fn("rp.deadline", fn)
    local task = spawn(nil, fn, ...)
    task:wait(seconds)
    if not task.results then
        task:cancel()
        return nil, "timeout"
    end
    if not task.results[1] then return nil, task.results[2] end
    return results_of(task)
end

-- ---------------------------------------------------------------- background

local function log_failure(what, err)
    C.rp_abi_failed(H)
    require("rproxy.log").error(what .. " failed", { error = err })
end

local function guarded(what, fn, ...)
    local mark = C.rp_abi_holds_mark(H)
    local ok, err = xpcall(fn, host.trace, ...)
    if ok then return ok end
    C.rp_abi_holds_undo(H, mark) -- a lock would keep the next round out
    log_failure(what, err)
    return ok, err
end

-- lua.background_tasks bounds how many there are.
local function background(task, fn, ...)
    task.handle = host.spawn(true, fn, ...)
    if task.handle then return task end
    return nil, "busy", "too many background tasks"
end

local function run_detached(task, fn, ...)
    finish(task, xpcall(fn, host.trace, ...))
    if not task.results[1] then log_failure("background task", task.results[2]) end
end

--- Run a function in the background: it outlives the request that starts it.
--- phases: all, start   yields: no
--- @param fn function
--- @return table|nil task, string|nil err  "busy": there are too many
function M.detach(fn, ...)
    check_fn("rp.detach", fn)
    local task = setmetatable({}, Task)
    return background(task, run_detached, task, fn, ...)
end

local function once_after(seconds, fn, ...)
    M.sleep(seconds)
    guarded("rp.after", fn, ...)
end

--- Run a function once, later.
--- phases: all, start   yields: no
--- @return table|nil timer, string|nil err  timer:cancel()
function M.after(seconds, fn, ...)
    check_seconds("rp.after", seconds)
    check_fn("rp.after", fn)
    return background(setmetatable({}, Task), once_after, seconds, fn, ...)
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
--- @return table|nil timer, string|nil err  timer:cancel()
function M.every(seconds, fn, opts)
    check_seconds("rp.every", seconds)
    check_fn("rp.every", fn)
    if seconds < 0.001 then raise("rp.every takes at least 0.001 seconds") end
    local jitter = opts and opts.jitter or 0
    if type(jitter) ~= "number" or jitter < 0 or jitter > 1 then
        raise("rp.every: jitter is a number from 0 to 1")
    end
    local task = setmetatable({}, Task)
    return background(task, again_and_again, task, seconds, jitter, fn)
end

-- ---------------------------------------------------------------- once

local runs = {} -- key -> { at, task }
local runs_n, RUNS_MOST = 0, 1024

--- The site is gone (rproxy.lab).
function M.forget_site()
    runs, runs_n = {}, 0
end

local function forget_old_runs(now)
    for key, run_of in pairs(runs) do
        if run_of.task.results and run_of.at + run_of.seconds <= now then
            runs[key], runs_n = nil, runs_n - 1
        end
    end
end

--- Run a function unless it was run lately under that key, in this worker; who comes while it runs
--- waits for that run. It runs in the background, so nobody's end cancels it.
--- phases: all   yields: yes
--- @param key string
--- @param seconds number  from one beginning to the next
--- @param fn function
--- @return any ...  its results; nil, "early": it ran lately; nil and what it raised
function M.once(key, seconds, fn)
    if type(key) ~= "string" then raise("rp.once takes a key, seconds and a function") end
    check_seconds("rp.once", seconds)
    check_fn("rp.once", fn)
    local now, run_of = C.rp_abi_now(H), runs[key]
    if run_of and run_of.task.results and now < run_of.at + run_of.seconds then
        return nil, "early"
    elseif not run_of or run_of.task.results or run_of.task.cancelled then
        if not run_of and runs_n >= RUNS_MOST then forget_old_runs(now) end
        local task, err, detail = M.detach(fn)
        if not task then return nil, err, detail end
        if not run_of then runs_n = runs_n + 1 end
        run_of = { at = now, seconds = seconds, task = task }
        runs[key] = run_of
    end
    local task = run_of.task
    if not task.results then task:wait() end
    if not task.results or not task.results[1] then
        return nil, task.results and task.results[2] or "cancelled"
    end
    return results_of(task)
end

return M
