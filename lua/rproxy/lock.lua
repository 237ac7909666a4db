-- SPDX-License-Identifier: MIT
--
-- lock: rp.lock, one holder in all workers, by an entry with a lease in a shared store; and
-- rp.semaphore, seats within one worker. Both are given back when the request (or background task)
-- that took them ends, however it ends.

local abi = require("rproxy.abi")
local object = require("rproxy.object")
local options = require("rproxy.opts")
local outside = require("rproxy.outside")
local shared = require("rproxy.shared")
local task = require("rproxy.task")

local C, H, E = abi.C, abi.H, abi.E
local raise = object.raise

local M = {}

-- ---------------------------------------------------------------- locks

local PREFIX = "lock:" -- of keys in the store
local LOOK_FIRST, LOOK_MOST = 0.005, 0.1 -- seconds between two looks at a lock that is taken

local Lock = {}
Lock.__index = Lock

local function refusal(code)
    if code == E.CAP then return nil, "full", "the store has no room for the lock" end
    if code == E.BUSY then return nil, "busy", "the store cannot be reached" end
    return nil, "invalid", abi.text(code)
end

--- Once: the fence and the handle; nil, "taken", seconds until that lease is over; or nil, code,
--- detail.
function M.try(store, key, lease)
    local code = C.rp_abi_lock(H, store, key, #key, lease)
    if code == abi.OK then return H.number, H.handle end
    if code == abi.AGAIN then return nil, "taken", H.number end
    if code == E.PHASE then raise("locks can be taken in hooks only") end
    return refusal(code)
end

--- The store and the key of a lock. For the layer.
function M.place(what, name, zone)
    if type(name) ~= "string" or name == "" then raise("%s takes a name", what) end
    return shared.store_of(what, zone), PREFIX .. name
end

local function take(store, key, opts)
    local at, pause = task.deadline_of(opts.wait), LOOK_FIRST
    while true do
        local fence, handle, left = M.try(store, key, opts.lease)
        if fence then return fence, handle end
        if handle ~= "taken" then return nil, handle, left end
        if opts.wait == 0 then return nil, "taken", "somebody else holds the lock" end
        -- Nobody tells another process; the random part keeps many from looking at once.
        local seconds = math.min(pause, left + 0.001) * (0.75 + math.random() / 2)
        if at and C.rp_abi_now(H) + seconds >= at then
            return nil, "timeout", "somebody else holds the lock"
        end
        task.sleep(seconds)
        pause = math.min(pause * 1.5, LOOK_MOST)
    end
end

local function run_locked(lock, ok, ...)
    lock:release()
    if not ok then error((...), 0) end
    return ...
end

--- Take a lock that all workers know.
--- phases: all   yields: yes
--- @param name string
--- @param opts table|nil  lease: seconds after which it is free, whatever became of the holder
---   (30); wait: seconds to wait for it (0); zone: the store it lives in, where there is more than
---   one
--- @param fn function|nil  run it with the lock held, and let go of it then
--- @return table|any lock  lock.token: a number greater than that of each holder before;
---   or what fn returns
--- @return string|nil code, string|nil detail  "taken", "timeout" (of wait), "full", "busy"
function M.lock(name, opts, fn)
    opts = options.check("rp.lock", opts, { lease = { "seconds", 30 }, wait = { "wait", 0 },
        zone = "string" })
    local store, key = M.place("rp.lock", name, opts.zone)
    local token, handle, detail = take(store, key, opts)
    if not token then return nil, handle, detail end
    local lock = setmetatable({ token = token, handle = handle, lease = opts.lease }, Lock)
    if fn == nil then return lock end
    return run_locked(lock, pcall(fn, lock))
end

--- Hold it for another lease from now on.
--- @param seconds number|nil  the lease it was taken with
--- @return boolean held  false: the lease was over, and another one may hold it
function Lock:renew(seconds)
    return C.rp_abi_lock_renew(H, self.handle, seconds or self.lease) == abi.OK
end

--- @return boolean held  false: the lease was over already
function Lock:release()
    return C.rp_abi_lock_release(H, self.handle) == abi.OK
end

-- ---------------------------------------------------------------- semaphores

local Semaphore, Seat = {}, {}
Semaphore.__index, Seat.__index = Semaphore, Seat

--- Seats of this worker.
--- @param n number
--- @param opts table|nil  waiting: tasks that may wait for one (1000)
--- @return table semaphore
function M.semaphore(n, opts)
    if type(n) ~= "number" or n < 1 or n % 1 ~= 0 or n > 1e9 then
        raise("rp.semaphore takes a whole number from 1")
    end
    opts = options.check("rp.semaphore", opts, { waiting = { "whole", 1000 } })
    return setmetatable({ sem = abi.gc(C.rp_abi_sem_new(n, opts.waiting), C.rp_abi_sem_free) },
        Semaphore)
end

--- Take a seat, in the order of asking.
--- phases: all   yields: yes
--- @param seconds number|nil  to wait for it; nil: as long as the request lives
--- @return table|nil seat, string|nil code, string|nil detail  "timeout"; "busy": too many wait
function Semaphore:acquire(seconds)
    local is_time = type(seconds) == "number" and seconds >= 0
    if seconds ~= nil and not is_time then
        raise("acquire takes seconds")
    end
    local code = C.rp_abi_sem_enter(H, self.sem)
    if code == E.PHASE then raise("seats can be taken in hooks only") end
    if code == E.BUSY then return nil, "busy", "too many wait for a seat" end
    if code ~= abi.OK and code ~= abi.AGAIN then return nil, "busy", abi.text(code) end
    local handle, at = H.handle, seconds and task.deadline_of(seconds)
    while not C.rp_abi_sem_is_seated(H, handle) do
        if not task.wait_until("a seat", at) and not C.rp_abi_sem_is_seated(H, handle) then
            C.rp_abi_sem_leave(H, handle)
            return nil, "timeout", "no seat became free in time"
        end
    end
    return setmetatable({ handle = handle }, Seat)
end

--- Give it back; the next one in the queue has it.
--- @return boolean  false: it was given back before
function Seat:release()
    return C.rp_abi_sem_leave(H, self.handle) == abi.OK
end

local function run_seated(seat, ok, ...)
    seat:release()
    if not ok then error((...), 0) end
    return ...
end

--- Run a function with a seat.
--- phases: all   yields: yes
--- @return any ...  what it returns; nil, code, detail when there is no seat
function Semaphore:with(fn, seconds)
    if type(fn) ~= "function" then raise("with takes a function") end
    local seat, code, detail = self:acquire(seconds)
    if not seat then return nil, code, detail end
    return run_seated(seat, pcall(fn))
end

--- { taken =, waiting = }
function Semaphore:stats()
    return { taken = C.rp_abi_sem_count(self.sem, false),
        waiting = C.rp_abi_sem_count(self.sem, true) }
end

outside.class("lock", Lock)
outside.class("seat", Seat)
outside.class("semaphore", Semaphore)

return M
