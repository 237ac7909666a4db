-- SPDX-License-Identifier: MIT
--
-- schedule: rp.every, in each worker (task.lua) or in one of all workers.
--
-- One of all: whoever holds the lock of that name runs the rounds and renews it; the others look
-- for it now and then. A worker that ends lets go of it; one that is killed leaves it until the
-- lease is over.

local abi = require("rproxy.abi")
local lock = require("rproxy.lock")
local log = require("rproxy.log")
local object = require("rproxy.object")
local options = require("rproxy.opts")
local task = require("rproxy.task")

local C, H = abi.C, abi.H
local raise = object.raise

local M = {}

local LOOK_MOST = 1 -- seconds between two looks of those who do not run it

-- Renew while it works. In a task of its own: a round may take longer than the lease.
local function keep(state)
    while true do
        task.sleep(state.lease / 3)
        if C.rp_abi_lock_renew(H, state.handle, state.lease) ~= abi.OK then
            state.lost = true
            return
        end
    end
end

local function round(state, fn)
    local ok, err = xpcall(fn, abi.host.trace, state.token)
    if not ok then log.error("rp.every failed", { error = err }) end
end

local function pause(seconds, jitter)
    task.sleep(seconds * (1 + jitter * (math.random() - 0.5)))
end

local function lead(opts, seconds, fn, token, handle)
    local state = { token = token, handle = handle, lease = opts.lease }
    local keeper = task.spawn(keep, state)
    while not state.lost do
        pause(seconds, opts.jitter)
        if not state.lost then round(state, fn) end
    end
    keeper:cancel()
    C.rp_abi_lock_release(H, handle)
    log.warn("another worker may run it", { every = opts.name })
end

local function compete(opts, seconds, fn)
    local store, key = lock.place("rp.every", "every:" .. opts.name, opts.zone)
    while true do
        local token, handle, detail = lock.try(store, key, opts.lease)
        if token then
            lead(opts, seconds, fn, token, handle)
        elseif handle ~= "taken" then
            log.warn("rp.every has no lock", { every = opts.name, error = tostring(detail) })
        end
        pause(math.min(LOOK_MOST, opts.lease / 3), 0.5)
    end
end

--- Run a function again and again; the next round starts when this one has ended and the time has
--- passed, so rounds never overlap.
--- phases: all, start   yields: no
--- @param seconds number
--- @param fn function  with scope = "one": (token), a number greater than that of each worker that
---   ran it before
--- @param opts table|nil  jitter: share of the time that varies, 0..1; scope: "worker" (each), or
---   "one" of them, with name: the same in all, lease: seconds after which another takes over from
---   a worker that was killed (10), zone: the store for the lock, where there is more than one
--- @return table|nil timer, string|nil err  timer:cancel()
function M.every(seconds, fn, opts)
    opts = options.check("rp.every", opts, { jitter = { "share", 0 }, scope = "string",
        name = "string", lease = { "seconds", 10 }, zone = "string" })
    local scope = opts.scope or "worker"
    if scope == "worker" then return task.every(seconds, fn, { jitter = opts.jitter }) end
    if scope ~= "one" then raise('rp.every: scope is "worker" or "one"') end
    if not opts.name then raise('rp.every: scope = "one" needs a name, the same in all workers') end
    if type(seconds) ~= "number" or not (seconds >= 0.001 and seconds < math.huge) then
        raise("rp.every takes at least 0.001 seconds")
    end
    if type(fn) ~= "function" then raise("rp.every takes a function") end
    if opts.lease < 0.5 then raise("rp.every: lease is at least 0.5 seconds") end
    lock.place("rp.every", opts.name, opts.zone) -- what is wrong with the zone is said here
    return task.detach(compete, opts, seconds, fn)
end

return M
