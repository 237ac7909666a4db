-- SPDX-License-Identifier: MIT
--
-- coalesce: the `coalesce` of a route: identical requests that share one answer.

local locate = require("rproxy.config.locate")
local options = require("rproxy.config.options")
local schema = require("rproxy.schema")

local M = {}

local MS = 1000

--- @param route table  of the model; its options are checked
--- @param node table  what rp.route returned
--- @param report table
function M.read(route, node, report)
    local given = route.opts.coalesce
    if not given then return end
    local at = locate.place(node, "coalesce")
    if given ~= true and type(given) ~= "table" then
        report:add(at, "coalesce: expected true or a table such as { max_wait = \"5s\" }, got %s",
            schema.show(given))
        return
    end
    local ctx = schema.context()
    local checked = schema.check(options.nodes.coalesce, given == true and {} or given,
        "coalesce", ctx)
    report:add_context(at, ctx)
    if ctx.errors[1] then return end
    if route.action and route.action ~= "upstream" then
        report:add(at, "coalesce: route %s asks no upstream, so there is nothing to share",
            route.label)
        return
    end
    route.coalesce = checked
end

--- @param builder table  of rproxy.config.build
--- @param index integer  of the route
--- @param route table
function M.build(builder, index, route)
    local c = route.coalesce
    if not c then return end
    local sink = builder.sink
    local function try(...) builder:try(route.at, "coalesce", ...) end
    try(sink:set_route(index, "coalesce_max", c.max_body))
    try(sink:set_route(index, "coalesce_ms", math.ceil(c.max_wait * MS)))
    if c.key[1] then
        try(sink:set_route_text(index, "coalesce_key", table.concat(c.key, ", ")))
    end
end

return M
