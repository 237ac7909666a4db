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

function M.is_path(value)
    if value:find("^/[^%c ?#]*$") then return true end
    return nil, "a path that begins with a slash"
end

function M.is_rooted(value)
    if value:sub(1, 1) == "/" then return true end
    return nil, 'a path that starts with "/"'
end

function M.is_token(value)
    if value:find("^[%w!#$%%&'*+%-.^_`|~]+$") then return true end
    return nil, "a word of letters, digits and . - _"
end

--- The check of what a function reads from a value (nil, what it should be: it cannot).
function M.reads(read)
    return function(value)
        local found, err = read(value)
        if found then return true end
        return nil, err
    end
end

--- "shop.example.com", "*.example.com", "*"
function M.are_host_patterns(list)
    for _, text in ipairs(list) do
        local name = text == "*" and "any" or text:gsub("^%*%.", "")
        if not name:find("^[%l%d][%l%d.-]*$") or name:find("..", 1, true) then
            return nil, '"shop.example.com", "*.apps.example.com" or "*", in lower case'
        end
    end
    return true
end

--- Addresses, each with a port or without one.
function M.is_servers(list)
    for _, text in ipairs(list) do
        local v6 = text:find("^%[[%x:.]+%]$") or text:find("^%[[%x:.]+%]:%d+$")
        local v4 = text:find("^%d+%.%d+%.%d+%.%d+$") or text:find("^%d+%.%d+%.%d+%.%d+:%d+$")
        if not v4 and not v6 then
            return nil, 'addresses such as "10.0.0.53" and "[fd00::1]:5353"'
        end
    end
    return true
end

--- What cpu_affinity takes.
function M.is_cpus(value)
    local what = '"auto", false, or a list of numbers from 0 to 1023'
    if value == "auto" or value == false then return true end
    if type(value) ~= "table" or #value == 0 then return nil, what end
    local n = 0
    for _ in pairs(value) do n = n + 1 end
    for _, cpu in ipairs(value) do
        if type(cpu) ~= "number" or cpu % 1 ~= 0 or cpu < 0 or cpu > 1023 then return nil, what end
    end
    return n == #value and n <= 1024 or nil, what
end

return M
