-- SPDX-License-Identifier: MIT
--
-- wish: pairs of key and value as C has them: between tabs, in the order of the keys. Pure.

local M = {}

local MOST = 256 -- bytes of a key or value

--- May it be a zone, a key or a value?
function M.is_text(value)
    return type(value) == "string" and #value > 0 and #value <= MOST and not value:find("%c")
end

--- Keys of a map in order.
function M.keys(map)
    local keys = {}
    for key in pairs(map) do keys[#keys + 1] = key end
    table.sort(keys)
    return keys
end

--- @param map table<string, string>
--- @return string
function M.text(map)
    local parts = M.keys(map)
    for i, key in ipairs(parts) do parts[i] = key .. "\t" .. tostring(map[key]) end
    return table.concat(parts, "\t")
end

return M
