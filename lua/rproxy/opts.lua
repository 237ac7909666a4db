-- SPDX-License-Identifier: MIT
--
-- opts: option tables of library calls: unknown names and wrong types raise at the caller's line.

local nearest = require("rproxy.config.nearest")
local object = require("rproxy.object")

local raise = object.raise

local M = {}

local function is_number(value)
    return type(value) == "number" and value == value
end

local KINDS = {
    string = { "a string", function(v) return type(v) == "string" end },
    boolean = { "true or false", function(v) return type(v) == "boolean" end },
    ["function"] = { "a function", function(v) return type(v) == "function" end },
    table = { "a table", function(v) return type(v) == "table" end },
    seconds = { "a number of seconds above 0", function(v)
        return is_number(v) and v > 0 and v <= 1e9
    end },
    wait = { "a number of seconds from 0", function(v)
        return is_number(v) and v >= 0 and v <= 1e9
    end },
    share = { "a number from 0 to 1", function(v) return is_number(v) and v >= 0 and v <= 1 end },
    count = { "a whole number from 1", function(v)
        return is_number(v) and v >= 1 and v % 1 == 0 and v < 2 ^ 53
    end },
    whole = { "a whole number from 0", function(v)
        return is_number(v) and v >= 0 and v % 1 == 0 and v < 2 ^ 53
    end },
    port = { "a port, 1 to 65535", function(v)
        return is_number(v) and v >= 1 and v <= 65535 and v % 1 == 0
    end },
    any = { "anything", function() return true end },
}

--- Check options against their kinds.
--- @param what string  the call, for messages
--- @param given table|nil
--- @param kinds table  name -> kind, or { kind, default }
--- @return table opts  a new one, with defaults
function M.check(what, given, kinds)
    if given ~= nil and type(given) ~= "table" then
        raise("%s takes a table of options, got a %s", what, type(given))
    end
    local out = {}
    for name, value in pairs(given or {}) do
        local kind = kinds[name]
        if not kind then
            raise("%s has no option %q%s", what, tostring(name),
                nearest.hint(tostring(name), nearest.names(kinds)))
        end
        local rule = KINDS[type(kind) == "table" and kind[1] or kind]
        if not rule[2](value) then
            raise("%s: %s is %s, got %s", what, name, rule[1],
                type(value) == "number" and tostring(value) or "a " .. type(value))
        end
        out[name] = value
    end
    for name, kind in pairs(kinds) do
        if out[name] == nil and type(kind) == "table" then out[name] = kind[2] end
    end
    return out
end

return M
