-- SPDX-License-Identifier: MIT
--
-- new: `rproxy new plugin NAME`, `rproxy new site`: something that runs, to begin with.

local args = require("rproxy.cli.args")
local cli = require("rproxy.cli")
local files = require("rproxy.cli.files")
local templates = require("rproxy.cli.new_templates")
local use = require("rproxy.config.use")

local M = {}

M.SPEC = {
    usage = "new plugin NAME [--dir FOLDER]\nnew site [FILE]",
    about = [[Write a plugin with its settings, a README and a spec that passes; or a site with a
        route and an upstream. Files that are there are never overwritten.

        A plugin NAME (lower case, digits and "-") goes to FOLDER/NAME/ with "_" for "-", where
        sites beside FOLDER find it as "NAME"; its spec is run by: rproxy test FOLDER/NAME.]],
    options = { { "dir", value = "FOLDER", default = "plugins", doc = "where plugins are" } },
    words = { 1, 2 },
}

local function fill(text, values)
    return (text:gsub("%$(%u+)", function(name) return assert(values[name], name) end))
end

local function check_name(name)
    if not name then cli.fail("what is the plugin called? write: rproxy new plugin NAME") end
    if not name:find("^%l[%l%d-]*$") then
        cli.fail(("%q is no name of a plugin: lower case letters, digits and \"-\", a letter "
            .. "first"):format(name))
    end
    if loadstring("local " .. name:gsub("-", "_")) == nil then
        cli.fail(name .. " is a word of Lua")
    end
    for _, known in ipairs(use.BUILT_IN) do
        if known == name then cli.fail(name .. " is a plugin that comes with rproxy") end
    end
end

local function new_plugin(name, dir)
    check_name(name)
    dir = dir:gsub("^%./", ""):gsub("(.)/+$", "%1")
    local module = name:gsub("-", "_")
    local folder = dir .. "/" .. module
    local values = { NAME = name, MODULE = dir:gsub("/", ".") .. "." .. module, IDENT = module,
        FOLDER = folder }
    if dir:sub(1, 1) == "/" or dir:find("..", 1, true) then -- found by lua.path there
        values.MODULE = "plugins." .. module
    end
    local list = { { "/init.lua", templates.PLUGIN }, { "/README.md", templates.README },
        { "/" .. module .. "_spec.lua", templates.SPEC } }
    for _, item in ipairs(list) do
        if files.exists(folder .. item[1]) then
            cli.fail(folder .. item[1] .. " is there already; nothing was written")
        end
    end
    files.make_folder(folder)
    for _, item in ipairs(list) do files.create(folder .. item[1], fill(item[2], values)) end
    io.stdout:write(fill(templates.NEXT, values))
end

local function new_site(path)
    path = path or "site.lua"
    if not path:find("%.lua$") then cli.fail(path .. ": the name of a site ends in .lua") end
    local folder = path:match("^(.*)/[^/]*$")
    if folder and folder ~= "" then files.make_folder(folder) end
    files.create(path, templates.SITE)
    io.stdout:write(fill("\nrproxy -t -p $PATH    checks it\nrproxy -p $PATH       serves it\n",
        { PATH = path }))
end

function M.main(argv)
    local opts, words = args.read(argv, M.SPEC)
    if words[1] == "plugin" then
        new_plugin(words[2], opts.dir)
    elseif words[1] == "site" then
        new_site(words[2])
    else
        cli.fail(("what is a %s? plugins and sites can be made (rproxy new --help)"):format(
            words[1]))
    end
    return 0
end

return M
