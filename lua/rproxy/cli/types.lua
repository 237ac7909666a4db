-- SPDX-License-Identifier: MIT
--
-- types: `rproxy types`: types of rproxy for the Lua language server (LuaCATS), and a settings file
-- that makes it find them. The text is made from the bindings when rproxy is built.

local args = require("rproxy.cli.args")
local files = require("rproxy.cli.files")
local host = require("rproxy.host")

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
    usage = "types [FOLDER]",
    about = [[Write the types of all that sites and plugins may call for the Lua language server:
        FOLDER/.rproxy/types/rproxy.lua, and FOLDER/.luarc.json unless there is one. FOLDER is
        where site.lua is; unsaid, this one. Run it again after an upgrade.]],
    options = { { "print", doc = "print the types, and write nothing" } },
    words = { 0, 1 },
}

--- The types as text.
function M.text()
    return (assert(host.embedded("types.rproxy"), "no types are built in"))
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
