-- SPDX-License-Identifier: MIT
--
-- recording: what `record` of a site means for its chains: an instance of the layer before all
-- others and one behind them, in a VM that has a tape.

local chains = require("rproxy.config.chains")
local plugin = require("rproxy.plugin")

local M = {}

-- "record" where C has loaded the tape before the site, "replay" in `rproxy replay`; else nil.
local function mode()
    local tape = package.loaded["rproxy.tape"]
    return tape and tape.mode
end

local function instance(name, hooks, at)
    local given = { name = name, on_error = "open" }
    for hook, fn in pairs(hooks) do given[hook] = fn end
    return plugin.inline(given, at)
end

-- In replay and explain every site has a first instance, and nothing is written down.
local function for_tool(model)
    local explain = package.loaded["rproxy.explain"]
    local outer = mode() == "replay" and require("rproxy.replay").OUTER or explain and explain.OUTER
    if not outer then return nil end
    return { conf = {}, at = model.at, outer = instance("record", outer, model.at) }
end

--- The instances; nil: nothing is recorded here.
function M.check(model, report)
    local conf = model.opts and model.opts.record
    if conf and conf.to == nil then
        report:add(model.place("record"),
            'record: to is missing: write to = "/var/lib/rproxy/capture"')
        return nil
    end
    local tool = for_tool(model)
    if tool then return tool end
    if not conf then return nil end
    if mode() ~= "record" then return { conf = conf, wants_tape = true } end
    local record, at = require("rproxy.record"), model.place("record")
    return { conf = conf, at = at, wants_tape = true, outer = instance("record", record.OUTER, at),
        inner = instance("record-inner", record.INNER, at) }
end

--- Tell C whether this VM has to have a tape, and begin to record.
function M.open(builder)
    local model = builder.model
    local record = model.record
    if not record then return end
    if mode() == "replay" then -- what failed once says nothing about the next record
        for _, up in ipairs(model.upstreams) do up.opts.max_fails = 0 end
    end
    if not record.wants_tape then return end
    builder:try(model.place("record"), "record", builder.sink:number("record.on", 1))
    if not record.outer then return end
    builder:try(record.at, "record", require("rproxy.record").open(record.conf, model.opts.via))
end

local OF_BODIES = { body_filter = true, request_body = true }

-- Is it there for nobody but the record, which does not want it?
local function is_idle(record, phase, entries)
    if not record or not OF_BODIES[phase] or record.conf.bodies == "all" then return false end
    local only = entries[1] and entries[1].instance
    return #entries == 1 and (only == record.inner or only == record.outer)
end

--- Entries of one of chains.PHASES: those of a record that keeps the bodies that hooks look at do
--- not make a chain of their own.
function M.entries(model, instances, phase)
    local entries = chains.entries(instances, phase.name, phase.reverse)
    return is_idle(model.record, phase.name, entries) and {} or entries
end

return M
