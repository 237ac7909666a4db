-- SPDX-License-Identifier: MIT
--
-- types: `rproxy types`: types of rproxy for the Lua language server (LuaCATS), and a settings file
-- that makes it find them. The text is made from the bindings when rproxy is built.

local args = require("rproxy.cli.args")
local cli = require("rproxy.cli")
local emit = require("rproxy.schema_emit")
local files = require("rproxy.cli.files")
local host = require("rproxy.host")
local nearest = require("rproxy.config.nearest")
local plugin = require("rproxy.plugin")

local M = {}

local MARK = "---@meta\n-- SPDX-License-Identifier: MIT\n"

-- Sites may not write globals, and have no others than these rules know.
local SETTINGS = [[
{
    "runtime.version": "LuaJIT",
    "runtime.builtin": { "io": "disable", "debug": "disable", "package": "disable" },
    "workspace.library": [".rproxy/types"],
    "workspace.checkThirdParty": false,
    "diagnostics.disable": ["lowercase-global"]
}
]]

M.SPEC = {
    usage = "types [-p site.lua] [FOLDER]",
    about = [[Write the types of all that sites and plugins may call for the Lua language server:
        FOLDER/.rproxy/types/rproxy.lua, and FOLDER/.luarc.json unless there is one. FOLDER is
        where site.lua is; unsaid, this one. Run it again after an upgrade.

        With a site, the settings of the plugins that it uses are written, too, to
        .rproxy/types/plugins.lua: classes rproxy.conf.NAME.]],
    site = true,
    options = { { "print", doc = "print the types, and write nothing" } },
    words = { 0, 1 },
}

--- The types as text.
function M.text()
    return (assert(host.embedded("types.rproxy"), "no types are built in"))
end

-- Types of the settings of the plugins that a site uses.
local function plugin_types(opts)
    local model, err = cli.check(opts.site, opts.overrides)
    if not model then cli.fail(err) end
    local out = { MARK .. "--\n-- Settings of plugins, made by `rproxy types`; do not edit.",
        emit.common_types(plugin.common) }
    for _, name in ipairs(nearest.names(model.types)) do out[#out + 1] = model.types[name] end
    return table.concat(out, "\n\n") .. "\n"
end

function M.main(argv)
    local opts, words = args.read(argv, M.SPEC)
    if opts.print then
        io.stdout:write(M.text())
        return 0
    end
    local folder = (words[1] or "."):gsub("(.)/+$", "%1")
    files.make_folder(folder .. "/.rproxy/types")
    files.renew(folder .. "/.rproxy/types/rproxy.lua", M.text(), MARK)
    if opts.site then
        files.renew(folder .. "/.rproxy/types/plugins.lua", plugin_types(opts), MARK)
    end
    local settings = folder .. "/.luarc.json"
    if files.exists(settings) then
        io.stdout:write(settings, " is there already; it needs ",
            '"workspace.library": [".rproxy/types"]\n')
    else
        files.create(settings, SETTINGS)
    end
    return 0
end

return M
