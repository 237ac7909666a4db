-- SPDX-License-Identifier: MIT
--
-- code: whose code it is: of plugins and sites, or of specs and the layer.

local loader = require("rproxy.loader")

local M = {}

local known, looked_at = {}, 0

--- Was it read by the loader of sites?
--- @param source string  of debug.getinfo: "@path"
function M.is_of_site(source)
    local list = loader.sources()
    for i = looked_at + 1, #list do known["@" .. list[i]] = true end
    looked_at = #list
    return known[source] or false
end

--- A path as people write it who are in the folder of the run.
function M.short(path)
    local folder = require("rproxy.test").run.folder
    if path:sub(1, #folder) == folder then return path:sub(#folder + 1) end
    return path
end

return M
