-- SPDX-License-Identifier: MIT
--
-- conditions: `when` and `unless` of a route, and rules of a split, as conditions that the C side
-- tests.

local nearest = require("rproxy.config.nearest")
local schema = require("rproxy.schema")

local M = {}

M.KINDS = { "header", "query", "cookie" }

local function read_test(value)
    if value == true then return "exists", "" end
    if type(value) == "string" then return "equals", value end
    if type(value) ~= "table" then return nil end
    local op, text = next(value)
    if (op == "prefix" or op == "regex") and type(text) == "string" and next(value, op) == nil then
        return op, text
    end
end

local function read_tests(conds, kind, tests, path, negate, complain)
    for _, name in ipairs(nearest.names(tests)) do
        local op, text = read_test(tests[name])
        if op then
            conds[#conds + 1] = { kind = kind, op = op, negate = negate, name = name,
                value = text }
        else
            complain('%s: expected "value", true, { prefix = "x" } or '
                .. '{ regex = "x" }, got %s', schema.join(path, name), schema.show(tests[name]))
        end
    end
end

--- @param conds table[]  conditions are added to it
--- @param given table  header, query, cookie: tests by name; source: networks
--- @param path string  of it, for messages
--- @param negate boolean  none of them may hold
--- @param complain function  (fmt, ..)
function M.read(conds, given, path, negate, complain)
    for _, kind in ipairs(M.KINDS) do
        read_tests(conds, kind, given[kind] or {}, path .. "." .. kind, negate, complain)
    end
    if given.source and #given.source > 0 then
        conds[#conds + 1] = { kind = "source", op = "in", negate = negate, name = "",
            value = table.concat(given.source, ",") }
    end
end

return M
