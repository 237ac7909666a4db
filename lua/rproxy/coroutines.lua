-- SPDX-License-Identifier: MIT
--
-- coroutines: what site code has as `coroutine`. As Lua's own, but nested at most MOST deep: each
-- level takes C stack and a thread, and an error that passes thousands of them costs more time than
-- any hook has.

local abi = require("rproxy.abi")

local C, H = abi.C, abi.H
local create, resume = coroutine.create, coroutine.resume

local M = { create = create, running = coroutine.running, status = coroutine.status,
    yield = coroutine.yield, isyieldable = coroutine.isyieldable }

local MOST = 200

-- A task waits in its own coroutine only, so levels never outlive the run of a task: what a hook
-- that was stopped left in here is forgotten with the next task.
local owner, depth = -1, 0

local function enter()
    local task = C.rp_abi_task_self(H)
    if task ~= owner then owner, depth = task, 0 end
    if depth >= MOST then error("coroutines are nested too deep", 3) end
    depth = depth + 1
end

local function leave(...)
    depth = depth - 1
    return ...
end

function M.resume(co, ...)
    enter()
    return leave(resume(co, ...))
end

local function unwrap(ok, first, ...)
    depth = depth - 1
    if ok then return first, ... end
    -- What its function raised has its place already.
    local is_own = type(first) == "string" and first:find("^cannot resume ")
    error(first, is_own and 2 or 0) -- called as a tail
end

function M.wrap(fn)
    local co = create(fn)
    return function(...)
        enter()
        return unwrap(resume(co, ...))
    end
end

return M
