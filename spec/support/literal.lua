-- SPDX-License-Identifier: MIT
--
-- literal: plain data as the Lua text that makes it again, for processes that read it from a file.

local M = {}

local function put(value, out)
    if type(value) == "table" then
        out[#out + 1] = "{"
        for k, v in pairs(value) do
            out[#out + 1] = "["
            put(k, out)
            out[#out + 1] = "]="
            put(v, out)
            out[#out + 1] = ","
        end
        out[#out + 1] = "}"
    elseif type(value) == "string" then
        out[#out + 1] = ("%q"):format(value)
    else
        assert(type(value) == "number" or type(value) == "boolean", "only plain data")
        out[#out + 1] = tostring(value)
    end
    return out
end

--- @param value any  tables without cycles, strings, numbers, booleans
--- @return string  a chunk that returns it
function M.chunk(value)
    return table.concat(put(value, { "return " }))
end

return M
