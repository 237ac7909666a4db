-- SPDX-License-Identifier: MIT
--
-- trouble: lists of what can go wrong with a peer: { "connect", "timeout", 503, "5xx" }.

local schema = require("rproxy.schema")

local M = {}

-- RP_ON_ bits of runtime/proxy/retry.h
local BITS = { connect = 1, reset = 2, timeout = 4 }
local MOST = 16 -- RP_CONF_STATUSES
local WHAT = 'a list of "connect", "reset", "timeout" and statuses from 400 to 599 (503, '
    .. '"502-504", "5xx")'

local function read_range(item, least)
    local text = tostring(item)
    local low, high = text:match("^(%d%d%d)%-(%d%d%d)$")
    if not low then
        local class = text:match("^(%d)xx$")
        low, high = class and class .. "00" or text:match("^%d%d%d$"), class and class .. "99"
    end
    low = tonumber(low)
    high = tonumber(high) or low
    if low and low >= (least or 400) and high <= 599 and low <= high then return { low, high } end
end

--- @param given table
--- @return table|nil found  bits, ranges = { { low, high }, .. }
--- @return string|nil err  what was expected
function M.read(given)
    if type(given) ~= "table" or schema.not_a_list(given) ~= nil then return nil, WHAT end
    local found, seen = { bits = 0, ranges = {} }, {}
    for _, item in ipairs(given) do
        local range = not BITS[item] and read_range(item)
        if BITS[item] and not seen[item] then
            found.bits = found.bits + BITS[item]
        elseif range then
            found.ranges[#found.ranges + 1] = range
        elseif not BITS[item] then
            return nil, ("%s, not %s"):format(WHAT, schema.show(item))
        end
        seen[item] = true
    end
    if #found.ranges > MOST then return nil, ("at most %d statuses or ranges"):format(MOST) end
    return found
end

--- Statuses of any class: { 200, "300-302", "4xx" }.
--- @return table|nil ranges  { { low, high }, .. }
--- @return string|nil err  what was expected
function M.ranges(given)
    local expected = 'a list of statuses: 200, "200-399", "2xx"'
    if type(given) ~= "table" or schema.not_a_list(given) ~= nil or #given == 0 then
        return nil, expected
    end
    local ranges = {}
    for i, item in ipairs(given) do
        ranges[i] = read_range(item, 100)
        if not ranges[i] then return nil, ("%s, not %s"):format(expected, schema.show(item)) end
    end
    return ranges
end

return M
