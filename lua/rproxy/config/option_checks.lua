-- SPDX-License-Identifier: MIT
--
-- option_checks: checks of values that rows of several option tables share.

local M = {}

function M.is_unique(list)
    local seen = {}
    for _, item in ipairs(list) do
        if seen[item] then return nil, ("each entry once (%s is repeated)"):format(item) end
        seen[item] = true
    end
    return true
end

function M.is_line(value)
    if value:find("[%z\1-\8\10-\31\127]") then return nil, "text on one line" end
    return true
end

function M.is_token(value)
    if value:find("^[%w!#$%%&'*+%-.^_`|~]+$") then return true end
    return nil, "a word of letters, digits and . - _"
end

return M
