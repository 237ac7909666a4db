-- SPDX-License-Identifier: MIT
--
-- config: build sites in plain LuaJIT, against a sink that records, for specs of the config layer.
--
--   local config = require("spec.support.config")
--   local built = config.build [[ return rp.site { ... } ]]   -- `rp` is there; raises when wrong
--   built:calls("peer")        list of { args } of each call of that sink method
--   built:first("route")       its first call
--   built:names(ref)           names of what runs in a chain, with its functions
--   local text = config.errors [[ ... ]]       -- the error text; "" when there is none
--   config.minimal { route = 'rp.route { "/", respond = { 200 } }', site = "workers = 2," }

local boot = require("rproxy.config.boot")
local plugin = require("rproxy.plugin")
local site = require("rproxy.config.site")

local M = {}

--- What site code gets from require("rproxy").
M.rp = {
    site = site.site, listen = site.listen, upstream = site.upstream, host = site.host,
    route = site.route, split = site.split, stream = site.stream, plugin = plugin.define,
    -- Zones are for running programs; setup only takes hold of them.
    shm = site.shm, shared = setmetatable({}, { __index = function() return {} end }),
    header = function(name) return name end,
}
package.loaded.rproxy = M.rp

local CONSTANTS = {
    LEVELS = { debug = 0, info = 1, notice = 2, warn = 3, error = 4, alert = 5 },
    ACTIONS = { upstream = 0, respond = 1, redirect = 2, content = 3, connect = 4 },
    BALANCE_HOOK = 1, NO_HOST = -1,
    PROFILES = { intermediate = 0, modern = 1 },
    ASKS = { none = 0, optional = 1, required = 2, any = 3 },
}

local Recorder = {}

function Recorder.__index(_, name)
    if CONSTANTS[name] then return CONSTANTS[name] end
    if Recorder.methods[name] then return Recorder.methods[name] end
    return function(sink, ...)
        local list = sink.recorded[name] or {}
        sink.recorded[name] = list
        list[#list + 1] = { ... }
        local refuse = rawget(sink, "refuse")
        local refused = refuse and refuse(name, ...)
        if refused then return nil, refused end
        return #list - 1
    end
end

Recorder.methods = {
    calls = function(sink, name) return sink.recorded[name] or {} end,
    first = function(sink, name) return (sink.recorded[name] or {})[1] end,
    names = function(sink, ref)
        local names = {}
        for i, entry in ipairs(sink.recorded.chain[ref + 1][2]) do
            names[i] = sink.recorded.plugin[entry.plugin + 1][1]
        end
        return names
    end,
    --- Names that run on a route (by number) in a phase; nil when nothing does.
    runs = function(sink, route, phase)
        for _, call in ipairs(sink:calls("route_chain")) do
            if call[1] == route and call[2] == phase then return sink:names(call[3]) end
        end
    end,
    --- The value a setter was last given: sink:value("number", "workers").
    value = function(sink, setter, ...)
        local found
        for _, call in ipairs(sink:calls(setter)) do
            local same = true
            for i = 1, select("#", ...) do same = same and call[i] == select(i, ...) end
            if same then found = call[select("#", ...) + 1] end
        end
        return found
    end,
}

local function run(source, path)
    local chunk, err = loadstring(source, "@" .. path)
    if not chunk then error(err, 0) end
    setfenv(chunk, setmetatable({ rp = M.rp }, { __index = _G }))
    return chunk()
end

--- opt: overrides ("name=value" lines), refuse(method, ...) -> error text, path.
function M.build(source, opt)
    opt = opt or {}
    local sink = setmetatable({ recorded = {}, refuse = opt.refuse }, Recorder)
    sink.model = boot.build_to(sink, opt.path or "site.lua", source, opt.overrides or "", run)
    return sink
end

function M.errors(source, opt)
    local built, text = pcall(M.build, source, opt)
    return built and "" or text
end

--- The text of a small site; parts: site, listen, upstreams, host, route (Lua text each).
function M.minimal(parts)
    parts = parts or {}
    return ([[return rp.site {
        %s
        listeners = { %s },
        upstreams = { %s },
        hosts = { rp.host { default = true, %s routes = { %s } } },
    }]]):format(parts.site or "", parts.listen or 'rp.listen { "127.0.0.1:8080" }',
        parts.upstreams or 'api = rp.upstream { peers = { "127.0.0.1:8081" } }',
        parts.host or "", parts.route or 'rp.route { "/*", upstream = "api" }')
end

return M
