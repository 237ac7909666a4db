-- SPDX-License-Identifier: MIT
--
-- pause: how long a provider that failed is left alone. Pure.

local M = {}

local LEAST, MOST = 0.5, 10 -- seconds: a server that is back is found soon

--- Doubled with each failure in a row; half of it by chance, so that many instances do not come
--- back at the same moment.
--- @param failures number  in a row, from 1
--- @param most number|nil  seconds
--- @param dice number  from 0 to 1
function M.after(failures, most, dice)
    local whole = math.min(LEAST * 2 ^ math.min(failures - 1, 16), most or MOST)
    return whole * (0.5 + 0.5 * dice)
end

return M
