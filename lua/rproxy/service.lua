-- SPDX-License-Identifier: MIT
--
-- service: tasks of the layer itself, which live as long as the VM: also while the last requests of
-- a configuration that was replaced still run. What they open is theirs.

local abi = require("rproxy.abi")
local task = require("rproxy.task")

local C, H = abi.C, abi.H

local M = {}

--- Run fn(...) as a service. Only in hooks, like all tasks.
--- @return number handle  for M.wake
function M.start(fn, ...)
    return abi.host.spawn("service", fn, ...)
end

--- Wake a task that parks; a handle of one that has ended does nothing.
function M.wake(handle)
    C.rp_abi_task_wake(H, handle)
end

--- Park until that task has ended, in whatever way.
--- yields: yes
function M.join(handle)
    while C.rp_abi_task_join(H, handle) do task.wait("a service", -1) end
end

--- The running task's handle.
function M.self()
    return C.rp_abi_task_self(H)
end

--- Does a request's hook run?
function M.in_request()
    return H.req ~= nil
end

--- Loop time, seconds.
function M.now()
    return C.rp_abi_now(H)
end

--- Park until done() or the deadline (loop time; nil: none).
--- yields: yes
--- @return boolean in_time
function M.wait_until(why, done, deadline)
    while not done() do
        local left = deadline and deadline - C.rp_abi_now(H) or -1
        if deadline and left <= 0 then return false end
        task.wait(why, left)
    end
    return true
end

return M
