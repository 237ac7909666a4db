-- SPDX-License-Identifier: MIT
--
-- arrival: in workers: a start waits until upstreams that have nobody but who is discovered have
-- members, so that the first request finds them. Not for ever: a site starts without its providers.

local abi = require("rproxy.abi")
local members = require("rproxy.members")
local service = require("rproxy.service")
local task = require("rproxy.task")

local C, H = abi.C, abi.H

local M = {}

local LOOK = 0.02    -- seconds between two looks
local IN_USE = 1     -- enum rp_abi_use

-- A generation that serves has its members already, or has to do without.
local function is_awaited(name)
    return C.rp_abi_conf_use(H, name, #name) == IN_USE and #members.get(name) == 0
end

--- yields: yes
--- @param list table[]  { upstream =, wait = seconds }
--- @param ends number  loop time
function M.await(list, ends)
    local began = service.now()
    for _, one in ipairs(list) do
        local at = math.min(began + one.wait, ends - 1)
        while is_awaited(one.upstream) and service.now() < at do task.sleep(LOOK) end
    end
end

return M
