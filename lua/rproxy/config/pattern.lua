-- SPDX-License-Identifier: MIT
--
-- pattern: "METHODS pattern" of a route, and the names in its pattern. What a pattern means is for
-- the C side; here is what messages and templates need.

local M = {}

-- RFC 9110 §9.1: a method is a token, and case matters.
local METHODS = "^[%w!#$%%&'*+%-.^_`|~]+$"

--- Split "GET,HEAD /v1/status" into methods ("" for any) and pattern.
--- @param text string
--- @return string|nil methods
--- @return string pattern  or what is wrong
function M.split(text)
    if text:find("^[/~]") or text == "*" then return "", text end
    local methods, pattern = text:match("^(%S+) +(%S.*)$")
    if not methods or not (pattern:find("^[/~]") or pattern == "*") then
        return nil, 'expected "/path", "GET,HEAD /path" or "~regex"'
    end
    local seen = {}
    for method in (methods .. ","):gmatch("([^,]*),") do
        if not method:find(METHODS) then
            return nil, ("expected methods as in \"GET,HEAD %s\""):format(pattern)
        end
        if method ~= method:upper() then
            return nil, ('method names are case-sensitive: write "%s"'):format(method:upper())
        end
        if seen[method] then return nil, ("method %s is there twice"):format(method) end
        seen[method] = true
    end
    return methods, pattern
end

--- Names of {param} segments and of named groups of a regex.
--- @param pattern string
--- @return table names  set
function M.params(pattern)
    local names = {}
    if pattern:sub(1, 1) == "~" then
        for name in pattern:gmatch("%(%?P?<([%a_][%w_]*)>") do names[name] = true end
    else
        for name in pattern:gmatch("{([%w_]+)%*?}") do names[name] = true end
    end
    return names
end

local BUILT_IN = { host = true, path = true, query = true, uri = true }

--- A name in {braces} of a redirect template that nothing fills in; nil when all are known.
function M.unknown_in(template, pattern)
    local params = M.params(pattern)
    for name in template:gmatch("{([^{}]*)}") do
        if not BUILT_IN[name] and not params[name] then return name end
    end
end

return M
