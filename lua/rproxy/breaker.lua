-- SPDX-License-Identifier: MIT
--
-- breaker: what runs in the place of an instance's handlers while its breaker is open, and while it
-- is tried. The counting and deciding is runtime/script/vm_account.c.

local abi = require("rproxy.abi")

local C, H = abi.C, abi.H

local M = {}

local OPEN, HALF = 1, 2 -- enum rp_metric_breaker
local TRIED_SECONDS = 30 -- a call let through that does not come back by then is forgotten

-- What a refusal is, by phase. The other phases have nothing to refuse: there an open breaker
-- leaves the handler out whatever its policy is.
local DENY = {}
for _, phase in ipairs { "early", "access", "rewrite", "content", "balance", "header_filter" } do
    DENY[phase] = function(plugin)
        return function(req)
            C.rp_abi_breaker_skipped(H, plugin)
            return req:exit(503)
        end
    end
end

-- Once the response is under way there is nothing left to refuse with: it is broken off.
function DENY.request_body(plugin)
    return function(req)
        C.rp_abi_breaker_skipped(H, plugin)
        return req:exit(503)
    end
end

function DENY.connect(plugin)
    return function()
        C.rp_abi_breaker_skipped(H, plugin)
        return true
    end
end

function DENY.tls_hello(plugin)
    return function()
        C.rp_abi_breaker_skipped(H, plugin)
        return false
    end
end

local function bypass(plugin)
    return function() C.rp_abi_breaker_skipped(H, plugin) end
end

-- A route's content has nothing behind it: without it there is no answer.
local function stub_of(plugin, phase, deny)
    local make = DENY[phase]
    if make and (deny or phase == "content") then return make(plugin) end
    return bypass(plugin)
end

-- One call at a time goes through. Whatever raises opens the breaker again, so only good ends are
-- told; a call whose client went away is not waited for.
local function gate(plugin, fn, stub)
    local free_at = 0
    return function(a, b, c, d)
        local now = C.rp_abi_now(H)
        if now < free_at then return stub(a, b, c, d) end
        free_at = now + TRIED_SECONDS
        local first, second = fn(a, b, c, d)
        free_at = 0
        C.rp_abi_breaker_passed(H, plugin)
        return first, second
    end
end

--- @return function|nil  (fn, phase) -> what runs instead of fn; nil: fn itself
function M.instead(plugin, state, deny)
    if state == OPEN then
        return function(_, phase) return stub_of(plugin, phase, deny) end
    elseif state == HALF then
        return function(fn, phase) return gate(plugin, fn, stub_of(plugin, phase, deny)) end
    end
end

return M
