-- SPDX-License-Identifier: MIT
--
-- boot: from the text of site.lua to a built configuration, or one error with all that is wrong.

local build = require("rproxy.config.build")
local data = require("rproxy.config.model")
local describe = require("rproxy.config.describe")
local routes_found = require("rproxy.config.found")
local locate = require("rproxy.config.locate")
local order = require("rproxy.config.order")
local overrides = require("rproxy.config.overrides")
local report = require("rproxy.config.report")
local schema = require("rproxy.schema")
local site = require("rproxy.config.site")
local validate = require("rproxy.config.validate")

local M = {}

local last -- the model that was built in this VM
local lua = {} -- what it says in `lua`

local function raise_if_any(found)
    if not found:is_empty() then error(found:text(), 0) end
end

-- A call in tail position ("return rp.site { ... }") leaves no frame to ask for its line.
local function placed(node, path, source)
    if node.at == "?" then
        node.at = ("%s:%d"):format(path, locate.constructor(source, "site") or 1)
    end
    return node
end

local function run_site(path, source, run)
    local ran, node = pcall(run, source, path)
    if not ran then error(tostring(node), 0) end
    if site.kind(node) ~= "site" then
        error(("%s:1: expected the site to return rp.site { ... }, it returned %s; end it with "
            .. "return rp.site { ... }"):format(path, site.kind(node) and "rp." .. site.kind(node)
                or schema.show(node)), 0)
    end
    return placed(node, path, source)
end

--- Evaluate and check a site; raises one text when anything is wrong with it.
--- @param path string
--- @param source string
--- @param text string  overrides, "name=value" lines
--- @param run function  (source, path) -> what the chunk returns
--- @param set_path function|nil  (lua.path) where plugins named by strings are found
--- @return table model
function M.check(path, source, text, run, set_path)
    local found = report.new()
    local over = overrides.parse(text, found)
    raise_if_any(found)
    locate.add_source(path, source)
    local node = run_site(path, source, run)
    node.given = overrides.apply(node.given, over)
    local given = node.given.lua
    if set_path and type(given) == "table" and type(given.path) == "string" then
        set_path(given.path)
    end
    local function place(setting)
        return overrides.place(over, setting) or locate.place(node, setting)
    end
    local finds = routes_found.read(node, routes_found.text(), place, found)
    raise_if_any(found)
    if finds then node.given = finds.given end
    local model = validate.check(node, found, place, finds)
    model.path = path
    raise_if_any(found)
    return model
end

--- The same, and give it to a sink.
--- @return table model
function M.build_to(sink, path, source, text, run, set_path)
    local model = M.check(path, source, text, run, set_path)
    local found = report.new()
    build.run(model, sink, found)
    raise_if_any(found)
    last = model
    return model
end

--- Build the configuration of a generation. Raises one text with all that is wrong.
--- @param conf cdata  struct rp_conf *
--- @param path string  of site.lua
--- @param source string  its text
--- @param text string  "name=value" lines of the command line
--- @param keep boolean|nil  what was read stays in memory, for M.describe and its like
function M.build(conf, path, source, text, keep)
    local pause = collectgarbage("setpause", 120)
    local loader = require("rproxy.loader")
    local regex = require("rproxy.regex")
    schema.compile_regex = regex.new
    local model = M.build_to(require("rproxy.config.sink").new(conf), path, source, text,
        loader.run, loader.set_path)
    -- Compiled code holds on to objects that it met: 33 MB of 10,000 routes.
    jit.flush()
    if model.opts.lua.jit_report then require("rproxy.jit_report").start() end
    lua = model.opts.lua
    collectgarbage("setpause", pause)
    if keep then return end
    last = nil
    locate.forget()
end

--- What the site that was built last says in `lua`.
function M.lua()
    return lua
end

--- Text of `rproxy -T` for what was built last.
function M.describe()
    if not last then error("no configuration was built", 2) end
    return describe.text(last)
end

--- What is odd about it, a line each; "" when nothing is.
function M.warnings()
    if not last then error("no configuration was built", 2) end
    return order.text(last) .. routes_found.warnings(last.finds)
end

--- The same as data, for tools: JSON.
function M.model()
    if not last then error("no configuration was built", 2) end
    return data.text(last, require("rproxy.loader").sources())
end

return M
