-- SPDX-License-Identifier: MIT
--
-- log: structured log lines of hooks. The level is tested before anything is formatted.

local abi = require("rproxy.abi")

local C, H = abi.C, abi.H

local M = {}

local function text_of(value)
    if type(value) == "table" then
        local ok, json = pcall(function()
            return require("rproxy.json").encode(value, { invalid = "replace" })
        end)
        return ok and json or "a table"
    end
    return tostring(value)
end

local function write(level, msg, fields)
    msg = text_of(msg)
    C.rp_abi_log_begin(H, msg, #msg)
    if fields then
        local names = {}
        for name in pairs(fields) do names[#names + 1] = tostring(name) end
        table.sort(names)
        for _, name in ipairs(names) do
            local value = text_of(fields[name])
            C.rp_abi_log_field(H, name, #name, value, #value)
        end
    end
    C.rp_abi_log_end(H, level)
end

for level, name in pairs { [0] = "debug", [1] = "info", [2] = "notice", [3] = "warn",
    [4] = "error" } do
    M[name] = function(msg, fields)
        if tonumber(C.rp_log_threshold) <= level then write(level, msg, fields) end
    end
end

--- Would a line of that level be written?
function M.is_on(name)
    local LEVELS = { debug = 0, info = 1, notice = 2, warn = 3, error = 4 }
    return tonumber(C.rp_log_threshold) <= (LEVELS[name] or 4)
end

return M
