-- SPDX-License-Identifier: MIT
--
-- units: durations and sizes as operators write them, and back.

local M = {}

local SECONDS = { ms = 0.001, s = 1, m = 60, h = 3600, d = 86400 }
local BYTES = { [""] = 1, k = 2 ^ 10, m = 2 ^ 20, g = 2 ^ 30 }
local EXACT = 2 ^ 53

local function is_amount(n)
    return n == n and n >= 0 and n < EXACT
end

--- Seconds of 1.5, "500ms", "10s", "5m", "2h", "1d".
--- @param value any
--- @return number|nil seconds
function M.duration(value)
    if type(value) == "number" then return is_amount(value) and value or nil end
    if type(value) ~= "string" then return nil end
    local n, unit = value:match("^(%d+%.?%d*)(%a+)$")
    if not n or not SECONDS[unit] then return nil end
    local seconds = tonumber(n) * SECONDS[unit]
    return is_amount(seconds) and seconds or nil
end

--- Bytes of 4096, "64k", "8m", "1g"; units are powers of 1024. math.huge means no limit.
--- @param value any
--- @return number|nil bytes
function M.size(value)
    if value == math.huge then return value end
    local bytes = value
    if type(value) == "string" then
        local n, unit = value:match("^(%d+%.?%d*)(%a?)$")
        if not n or not BYTES[unit:lower()] then return nil end
        bytes = tonumber(n) * BYTES[unit:lower()]
    end
    if type(bytes) ~= "number" or not is_amount(bytes) or bytes % 1 ~= 0 then return nil end
    return bytes
end

--- "500ms", "10s", "5m": the largest unit that gives a whole number.
function M.show_duration(seconds)
    local ms = math.floor(seconds * 1000 + 0.5)
    if ms == 0 then return "0" end
    for _, unit in ipairs { "d", "h", "m", "s" } do
        local one = SECONDS[unit] * 1000
        if ms % one == 0 then return ("%d%s"):format(ms / one, unit) end
    end
    return ("%dms"):format(ms)
end

--- "64k", "8m", "100": the largest unit that gives a whole number; "no limit" for math.huge.
function M.show_size(bytes)
    if bytes == math.huge then return "no limit" end
    for _, unit in ipairs { "g", "m", "k" } do
        if bytes > 0 and bytes % BYTES[unit] == 0 then
            return ("%d%s"):format(bytes / BYTES[unit], unit)
        end
    end
    return ("%d"):format(bytes)
end

return M
