-- SPDX-License-Identifier: MIT
--
-- hedge: when a second try begins beside the first: after a time, or after a quantile of the
-- latencies ("p95").

local units = require("rproxy.config.units")

local M = {}

local WHAT = 'a time from "1ms" on, or a quantile from "p50" to "p99.9"'
local LEAST, MOST = 500, 999 -- thousandths

local function read_quantile(given)
    local percent = type(given) == "string" and tonumber(given:match("^p(%d%d%.?%d?)$"))
    local permille = percent and math.floor(percent * 10 + 0.5)
    if permille and permille >= LEAST and permille <= MOST then return permille end
end

--- @param given any
--- @return table|nil found  { ms = n } or { permille = n }
--- @return string|nil err  what was expected
function M.read(given)
    local permille = read_quantile(given)
    if permille then return { permille = permille } end
    local seconds = units.duration(given)
    if seconds and seconds >= 0.001 then return { ms = math.ceil(seconds * 1000 - 1e-6) } end
    return nil, WHAT
end

--- An upstream whose options are checked: hand it over.
--- @param builder table  of rproxy.config.build
--- @param up table
function M.build(builder, up)
    local hedge = up.opts.hedge
    local found = hedge and hedge.after and M.read(hedge.after)
    if not found then return end
    local what = ("upstreams.%s.hedge"):format(up.name)
    local function set(key, value)
        builder:try(up.at, what, builder.sink:set_upstream(up.index, key, value))
    end
    set("hedge_max", hedge.max)
    if found.ms then set("hedge_ms", found.ms) else set("hedge_quantile", found.permille) end
end

return M
