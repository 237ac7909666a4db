-- SPDX-License-Identifier: MIT
--
-- schema: `rproxy schema`: the settings of a plugin as JSON Schema, or as types for editors.

local args = require("rproxy.cli.args")
local cli = require("rproxy.cli")
local emit = require("rproxy.schema_emit")
local json = require("rproxy.json")
local loader = require("rproxy.loader")
local plugin = require("rproxy.plugin")

local M = {}

M.SPEC = {
    usage = "schema PLUGIN",
    about = [[Print the settings of a plugin as JSON Schema (draft 2020-12). PLUGIN is the name of
        one that comes with rproxy (ratelimit), a module of the site as require takes it
        (plugins.token), or a file (plugins/token.lua). The module is loaded, its setup is not
        run.]],
    options = {
        { "types", doc = "LuaCATS classes instead, for the Lua language server" },
        { "folder", short = "C", value = "FOLDER", default = ".",
            doc = "where site.lua is, and modules are looked for" },
    },
    words = { 1, 1 },
}

-- JSON text on lines of its own.
local function indented(text)
    local out, depth, i = {}, 0, 1
    local function line() out[#out + 1] = "\n" .. ("  "):rep(depth) end
    while i <= #text do
        local ch = text:sub(i, i)
        if ch == '"' then
            local e = i + 1
            while text:sub(e, e) ~= '"' do e = e + (text:sub(e, e) == "\\" and 2 or 1) end
            out[#out + 1], i = text:sub(i, e), e
        elseif (ch == "{" or ch == "[") and text:find("^[%]}]", i + 1) then
            out[#out + 1], i = text:sub(i, i + 1), i + 1
        elseif ch == "{" or ch == "[" then
            depth = depth + 1
            out[#out + 1] = ch
            line()
        elseif ch == "}" or ch == "]" then
            depth = depth - 1
            line()
            out[#out + 1] = ch
        elseif ch == "," then
            out[#out + 1] = ch
            line()
        else
            out[#out + 1] = ch == ":" and ": " or ch
        end
        i = i + 1
    end
    return table.concat(out)
end

local function load_file(path)
    local source = cli.read(path)
    if not source then cli.fail(path .. ": cannot be read") end
    return loader.run(source, path)
end

local function load_module(name)
    local why
    for _, module in ipairs { "plugins." .. name:gsub("-", "_"), name } do
        local ok, found = pcall(loader.require, module)
        if ok then return found end
        if not why or not tostring(found):find("not found", 1, true) then why = found end
    end
    error(why, 0)
end

function M.main(argv)
    local opts, words = args.read(argv, M.SPEC)
    loader.set_up(cli.path(opts.folder) .. "/site.lua")
    local what = words[1]
    local ok, found = pcall(what:find("%.lua$") and load_file or load_module, what)
    if not ok then cli.fail(tostring(found)) end
    if not plugin.is_plugin(found) then
        cli.fail(what .. ": is no plugin: it does not return what rp.plugin makes")
    end
    if opts.types then
        io.stdout:write("---@meta\n\n", emit.types(found), "\n\n",
            emit.common_types(plugin.common), "\n")
        return 0
    end
    local data = emit.json(found, plugin.common, json.array)
    io.stdout:write(indented(assert(json.encode(data, { sort = true }))), "\n")
    return 0
end

return M
