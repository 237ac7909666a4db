-- SPDX-License-Identifier: MIT
--
-- columns: tables for people, on the standard output.

local M = {}

--- A time in words.
--- @param us number|nil  microseconds; nil, 0: not known
--- @return string
function M.time(us)
    if not us or us == 0 then return "-" end
    if us < 1000 then return us .. " us" end
    if us < 1e6 then return ("%.1f ms"):format(us / 1000) end
    return ("%.1f s"):format(us / 1e6)
end

--- Write lines with their cells below each other.
--- @param lines string[][]  the first names the columns
--- @param is_number function  (column) -> should its cells end at the same place?
function M.write(lines, is_number)
    local widths = {}
    for _, cells in ipairs(lines) do
        for i, cell in ipairs(cells) do widths[i] = math.max(widths[i] or 0, #cell) end
    end
    for _, cells in ipairs(lines) do
        local out = {}
        for i, cell in ipairs(cells) do
            local pad = (" "):rep(widths[i] - #cell)
            out[i] = is_number(i) and pad .. cell or cell .. pad
        end
        io.stdout:write((table.concat(out, "  "):gsub("%s+$", "")), "\n")
    end
end

return M
