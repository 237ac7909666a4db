-- SPDX-License-Identifier: MIT
--
-- time: the three times. Specs may replace these functions.

local abi = require("rproxy.abi")

local C, H = abi.C, abi.H

local M = {}

--- Loop time in seconds: monotonic, the same within one tick. The cheapest.
function M.now() return C.rp_abi_now(H) end

--- Seconds since the epoch.
function M.time() return C.rp_abi_wall(H) end

--- Monotonic nanoseconds, read now.
function M.clock() return C.rp_abi_clock_ns() end

return M
