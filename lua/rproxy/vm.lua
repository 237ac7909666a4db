-- SPDX-License-Identifier: MIT
--
-- vm: what C calls in a fresh VM, before anything else of the layer runs.

local M = {}

-- Chains of thousands of routes need room for their traces; see docs/internals/script.md.
jit.opt.start("maxtrace=16000", "maxmcode=16384", "maxrecord=16000")

-- "name=value" lines of the command line; only lua.path matters before the site is evaluated.
local function path_override(overrides)
    return ("\n" .. overrides):match("\nlua%.path=([^\n]*)")
end

--- Evaluate the site into the conf. Raises "file:line: what".
--- @param conf userdata  struct rp_conf *
--- @param site_path string
--- @param site_source string
--- @param overrides string  "name=value" lines
--- @param taped boolean|nil  the site records
--- @param keep boolean|nil  the site is going to be described
function M.build(conf, site_path, site_source, overrides, taped, keep)
    local abi = require("rproxy.abi")
    if taped then require("rproxy.tape").install("record") end
    require("rproxy.loader").set_up(site_path, path_override(overrides))
    require("rproxy.config.boot").build(
        abi.cast("struct rp_conf *", conf), site_path, site_source, overrides, keep)
end

--- Functions that C keeps by reference, in this order.
function M.entries()
    local chain, guest = require("rproxy.chain"), require("rproxy.guest")
    return require("rproxy.request").wrap, chain.rest, chain.run_life, chain.has_life,
        require("rproxy.request").ABORT, require("rproxy.conn").wrap,
        guest.wrap, guest.known, chain.relink
end

return M
