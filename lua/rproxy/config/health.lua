-- SPDX-License-Identifier: MIT
--
-- health: the `health` of an upstream, as the agent takes it.

local locate = require("rproxy.config.locate")
local options = require("rproxy.config.options")
local schema = require("rproxy.schema")
local trouble = require("rproxy.config.trouble")

local M = {}

local NEEDS = { exec = "argv", lua = "check" }

--- @param up table  of the model; its peers are read
--- @param node table  rp.upstream { .. }
--- @param report table
function M.read(up, node, report)
    local given = up.opts.health
    if given == nil then return end
    local path, at = ("upstreams.%s.health"):format(up.name), locate.place(node, "health")
    if type(given) ~= "table" then
        report:add(at, '%s: expected a table such as { path = "/healthz" }, got %s', path,
            schema.show(given))
        return
    end
    local ctx = schema.context()
    local checked = schema.check(options.nodes.health, given, path, ctx)
    report:add_context(at, ctx)
    if ctx.errors[1] then return end
    local need = NEEDS[checked.type]
    if need and (checked[need] == nil or (need == "argv" and #checked.argv == 0)) then
        report:add(at, "%s.%s: missing: type = %q needs it", path, need, checked.type)
        return
    end
    checked.ranges = trouble.ranges(checked.status)
    up.health = checked
end

-- What the probes say to a peer's TLS is what requests say.
local function tls_of(up)
    local t = up.tls
    if not t then return nil end
    return { verify = t.verify, name = t.name, sni = t.sni, cert = t.cert, key = t.key,
        ca = t.ca ~= "system" and t.ca or nil }
end

--- Have the agent check the upstreams that want it.
--- @param upstreams table[]  of the model, with their indexes
--- @return boolean any
function M.build(upstreams)
    local checks = {}
    for _, up in ipairs(upstreams) do
        if up.health and up.index then
            checks[#checks + 1] = { index = up.index, name = up.name, settings = up.health,
                tls = tls_of(up), host = up.opts.host }
        end
    end
    if #checks == 0 then return false end
    local probe = require("rproxy.health_probe")
    for _, check in ipairs(checks) do check.probe = probe.new(check) end
    require("rproxy.chain").on("agent", function() require("rproxy.health").start(checks) end, -1)
    return true
end

return M
