-- SPDX-License-Identifier: MIT
--
-- guard: circuits, outliers and limits of upstreams and routes: what the rows alone cannot say.

local locate = require("rproxy.config.locate")
local nearest = require("rproxy.config.nearest")
local schema = require("rproxy.schema")
local units = require("rproxy.config.units")

local M = {}

local SWITCHES = { circuit = "circuit_on", outlier = "outlier_on", concurrency = "limit_on" }

-- Two numbers of which the first may not be above the second.
local function check_order(up, node, group, low, high, report)
    local opts = up.opts[group]
    if opts and opts[low] and opts[high] and opts[low] > opts[high] then
        report:add(locate.place(node, group), "upstreams.%s.%s: %s is above %s", up.name, group,
            low, high)
    end
end

--- An upstream whose options are checked.
function M.read(up, node, report)
    check_order(up, node, "concurrency", "min", "max", report)
end

--- All upstreams are read: does each fallback name another one?
function M.check_fallbacks(list, by_name, report)
    for _, up in ipairs(list) do
        local to = up.opts.circuit and up.opts.circuit.fallback
        if to == up.name then
            report:add(up.at, "upstreams.%s.circuit.fallback: it is its own fallback", up.name)
        elseif to and not by_name[to] then
            local near = nearest.find(to, nearest.names(by_name))
            report:add(up.at, "upstreams.%s.circuit.fallback: no upstream %s%s", up.name,
                schema.show(to), near and "; did you mean " .. schema.show(near) .. "?" or "")
        end
    end
end

--- @param indices table  numbers of upstreams by name, all of them
function M.build(builder, upstreams, indices)
    for _, up in ipairs(upstreams) do
        local what = "upstreams." .. up.name
        local function set(key, value)
            builder:try(up.at, what, builder.sink:set_upstream(up.index, key, value))
        end
        for group, key in pairs(SWITCHES) do
            if up.index and up.opts[group] then set(key, 1) end
        end
        local to = up.index and up.opts.circuit and indices[up.opts.circuit.fallback or false]
        if to then set("fallback", to + 1) end
    end
end

-- "errors 50%, slow 2s at 0.9, ..": what holds of a circuit.
local function circuit_line(c)
    local parts = {}
    if c.errors > 0 then parts[1] = ("errors %g%%"):format(c.errors * 100) end
    if c.slow > 0 then
        parts[#parts + 1] = ("slow %s at %g"):format(units.show_duration(c.slow), c.quantile)
    end
    parts[#parts + 1] = ("min %d within %s, open %s, probes %d"):format(c.min,
        units.show_duration(c.within), units.show_duration(c.open), c.probes)
    if c.fallback then parts[#parts + 1] = "fallback " .. c.fallback end
    return "circuit " .. table.concat(parts, ", ")
end

--- Lines of `-T` about an upstream.
function M.describe(out, up)
    local opts = up.opts
    if opts.max_requests > 0 then out:line(2, "max_requests " .. opts.max_requests) end
    if opts.circuit then out:line(2, circuit_line(opts.circuit)) end
    if opts.outlier then
        local o = opts.outlier
        out:line(2, ("outlier every %s, min %d, peers %d, stdev %g, failures %g, factor %g%s")
            :format(units.show_duration(o.interval), o.min, o.peers, o.stdev, o.failures, o.factor,
                o.enforce and "" or " (not enforced)"))
    end
    if opts.concurrency then
        out:line(2, ("concurrency %d to %d"):format(opts.concurrency.min, opts.concurrency.max))
    end
end

--- The line of `-T` about a route's circuit; nil: it has none.
function M.describe_route(route)
    return route.opts.circuit and circuit_line(route.opts.circuit)
end

function M.build_route(builder, index, route)
    if not route.opts.circuit then return end
    builder:try(route.at, "circuit", builder.sink:set_route(index, "circuit_on", 1))
end

return M
