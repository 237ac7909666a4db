-- SPDX-License-Identifier: MIT
--
-- loader: how code of the site and of plugins is found, compiled and confined.
--
-- Every chunk runs in an environment of its own over one read-only base. Reading a global that is
-- not there and writing any global raise at the line that did it, so requests cannot share state by
-- accident. There is no way to files, processes, bytecode or C, but for what grant.lua lets
-- through. What is shared between chunks, the libraries and the objects of rproxy, cannot be
-- changed: tables of the layer are seen through read-only ones, and metatables that a chunk did not
-- make itself are out of its reach.
--
-- Sources come from the bundle (relative to the folder of site.lua, by the patterns of lua.path),
-- else from what is built in ("plugins.<name>"). Of rproxy itself only the public modules load.

local abi = require("rproxy.abi")
local coroutines = require("rproxy.coroutines")
local grant = require("rproxy.grant")
local nearest = require("rproxy.config.nearest")
local outside = require("rproxy.outside")
local plugin = require("rproxy.plugin")

local M = {}

local host = abi.host
local DEFAULT_PATH = "./?.lua;./?/init.lua"

-- ---------------------------------------------------------------- the base environment

local function read_only(name, from)
    return setmetatable({}, {
        __index = from,
        __newindex = function(_, key)
            error(("cannot change %s.%s: the standard library is read-only"):format(
                name, tostring(key)), 2)
        end,
        __metatable = "read-only",
    })
end

local function pick(from, names)
    local out = {}
    for name in names:gmatch("%S+") do
        out[name] = from[name]
    end
    return out
end

local base = pick(_G, [[assert error getmetatable ipairs next pairs pcall rawequal rawget rawset
    select setmetatable tonumber tostring type unpack xpcall _VERSION]])

base.string = read_only("string", pick(string, [[byte char find format gmatch gsub len lower match
    rep reverse sub upper]]))
base.table = read_only("table", pick(table, "concat insert maxn remove sort unpack move"))
base.math = read_only("math", math)
base.bit = read_only("bit", require("bit"))
base.coroutine = read_only("coroutine", coroutines)
local os_of_site = pick(os, "time date difftime clock")

--- A variable of the environment, where that is granted.
function os_of_site.getenv(name)
    if type(name) ~= "string" then error("os.getenv takes a name", 2) end
    grant.env(name)
    return os.getenv(name)
end
M.getenv = os_of_site.getenv

base.os = read_only("os", os_of_site)
outside.class("os", os_of_site)

-- Metatables that code of the site made; all others are the layer's.
local own = setmetatable({}, { __mode = "k" })

--- @return any metatable  of the site's own making; "protected" for others
function base.getmetatable(value)
    local mt = getmetatable(value)
    if mt == nil or type(mt) ~= "table" or own[mt] then return mt end
    return "protected"
end

function base.setmetatable(value, mt)
    if type(value) == "table" then
        local old = debug.getmetatable(value)
        if old ~= nil and not own[old] then error("cannot change a protected metatable", 2) end
    end
    if type(mt) == "table" then own[mt] = true end
    return setmetatable(value, mt)
end

function base.rawset(value, key, item)
    if type(value) == "table" then
        local mt = debug.getmetatable(value)
        if mt ~= nil and not own[mt] then error("this table cannot be changed", 2) end
    end
    return rawset(value, key, item)
end

function base.collectgarbage(what)
    if what ~= "count" then error('only collectgarbage("count") is allowed', 2) end
    return collectgarbage("count")
end

function base.print(...)
    local words = {}
    for i = 1, select("#", ...) do
        words[i] = tostring((select(i, ...)))
    end
    require("rproxy.log").info(table.concat(words, " "))
end

M.print = base.print

-- Strings have methods through this metatable: nobody may reach the table behind it.
getmetatable("").__metatable = "read-only"

local GONE = {
    io = "use rp.fs", require = false,
    debug = "not available", package = "not available", ffi = "not available",
    jit = "not available", dofile = "use require", loadfile = "use require",
    load = "code cannot be made at run time", loadstring = "code cannot be made at run time",
    setfenv = "not available", getfenv = "not available", module = "return a table instead",
    newproxy = "not available",
}

setmetatable(base, {
    __index = function(_, name)
        local why = GONE[name]
        if why then error(("no global %q: %s"):format(tostring(name), why), 2) end
        error(("undefined global %q%s"):format(tostring(name),
            nearest.hint(tostring(name), nearest.names(base))), 2)
    end,
})

local ENV = {
    __index = base,
    __newindex = function(_, name)
        error(("global %q is written: use a local or req.ctx"):format(tostring(name)), 2)
    end,
    __metatable = "read-only",
}

-- ---------------------------------------------------------------- require for site code

local PUBLIC = {
    rproxy = true, ["rproxy.json"] = true, ["rproxy.jwt"] = true,
    ["rproxy.log"] = true, ["rproxy.regex"] = true,
    ["rproxy.text"] = true, ["rproxy.crypto"] = true, ["rproxy.time"] = true,
    ["rproxy.schema"] = true, ["rproxy.plugin"] = true,
    ["string.buffer"] = true, ["table.new"] = true, ["table.clear"] = true, bit = true,
}

-- ---------------------------------------------------------------- views of the layer

local views = setmetatable({}, { __mode = "k" }) -- table of the layer -> what sites see of it

local VIEW_META = "read-only"

-- A table of functions as sites see it: nothing in it can be replaced, however deep.
local function view(name, from)
    if views[from] then return views[from] end
    local fields = {}
    local meta = { __index = fields, __metatable = VIEW_META, library = true,
        __newindex = function(_, key)
            error(("cannot change %s.%s: it is read-only"):format(name, tostring(key)), 2)
        end }
    local out = setmetatable({}, meta)
    views[from] = out
    for key, value in pairs(from) do
        if type(value) == "table" and debug.getmetatable(value) == nil then
            value = view(name .. "." .. tostring(key), value)
        elseif type(value) == "table" and (debug.getmetatable(value).__call
            or type(key) == "string" and name == "rp") then
            value = view(name .. "." .. tostring(key), value)
        end
        fields[key] = value
    end
    local theirs = debug.getmetatable(from)
    if theirs and theirs.__call then
        meta.__call = function(_, ...) return from(...) end
    end
    setmetatable(fields, { __index = from })
    if next(fields) == nil then meta.__index = from end -- a step less, as for rp.shared
    return out
end

local folder = "./"
local patterns = DEFAULT_PATH
local from_site = {} -- modules that our searcher found
local sources = {} -- paths of what was compiled, in order

local function candidates(name)
    local stem, list = name:gsub("%.", "/"), {}
    for pattern in patterns:gmatch("[^;]+") do
        local path = pattern:gsub("%?", (stem:gsub("%%", "%%%%")))
        if path:sub(1, 1) ~= "/" then path = folder .. path:gsub("^%./", "") end
        list[#list + 1] = path
    end
    return list
end

local compiled = {} -- path -> { source, chunk }, for who loads modules again (M.renew)

local function compile(source, path, env)
    local before = not env and compiled[path]
    if before and before[1] == source then return before[2] end
    if source:byte(1) == 27 then error(path .. ":1: is bytecode, not Lua text", 0) end
    local chunk, err = load(source, "@" .. path, "t", env or setmetatable({}, ENV))
    if not chunk then error(err, 0) end
    sources[#sources + 1] = path
    if not env and host.lab then compiled[path] = { source, chunk } end
    return chunk
end

--- The globals that site code has, for tools: name -> true, or for a library a set of its fields.
--- @return table
function M.globals()
    local out = {}
    for name, value in pairs(base) do
        local library = type(value) == "table" and debug.getmetatable(value)
        out[name] = true
        if library and type(library.__index) == "table" then
            out[name] = {}
            for field in pairs(library.__index) do out[name][field] = true end
        end
    end
    return out
end

--- A line that a person writes, as a function; its globals are those of `env`.
--- @param source string
--- @param env table  of session_env
--- @return function|nil chunk, string|nil err
function M.line(source, env)
    if source:byte(1) == 27 then return nil, "bytecode is not taken" end
    return load(source, "=repl", "t", env)
end

--- Globals for a person's lines: those of sites, and whatever is assigned.
function M.session_env()
    return setmetatable({ rp = require("rproxy") }, { __index = base })
end

--- Paths of all files of Lua that were loaded: site.lua first; what is built in has relative ones.
--- @return string[]
function M.sources()
    return sources
end

--- The text of a module of the site, or of a built-in plugin.
--- @return string|nil source, string path  nil: where it was looked for
function M.find(name)
    if not name:find("^[%w_][%w_.%-]*$") or name:find("..", 1, true) then
        return nil, ("\n\t%q is no module name"):format(name)
    end
    local tried = {}
    for _, path in ipairs(candidates(name)) do
        local source, err = host.read(path)
        if err then error(("module %q: %s: %s"):format(name, path, err), 0) end
        if source then return source, path end
        tried[#tried + 1] = "\n\tno file " .. path
    end
    local source, path = nil, nil
    if name:find("^plugins%.") then source, path = host.embedded(name) end
    if not source then return nil, table.concat(tried) .. "\n\tnot built in" end
    return source, path
end

local loading = {} -- names of the modules whose chunks run, the innermost last

-- What the chunk does is noted for the plugin that it may define.
local function noted(name, chunk)
    return function(...)
        loading[#loading + 1] = name
        grant.enter_module()
        local ok, result = pcall(chunk, ...)
        grant.leave_module()
        loading[#loading] = nil
        if not ok then error(result, 0) end
        return result
    end
end

plugin.confine = function(...) return require("rproxy.confine").confine(...) end
plugin.loading = { uses = grant.module_uses, module = function() return loading[#loading] end }

-- A package searcher: a site's file, else a built-in plugin, as a confined chunk.
local function search(name)
    local source, path = M.find(name)
    if not source then return path end
    from_site[name] = true
    return noted(name, compile(source, path))
end

-- What is said of a module that is nowhere: one line, where Lua's own has one per searcher.
local function not_found(name)
    local files = {}
    for i, path in ipairs(candidates(name)) do files[i] = path end
    local built_in = name:find("^plugins%.") and ", and no plugin of that name is built in" or ""
    return ("module %q not found: no file %s%s"):format(name, table.concat(files, ", no file "),
        built_in)
end

local function load_module(name)
    local ok, result = pcall(require, name)
    if ok then return result end
    local lost = ("module '%s' not found:"):format(name)
    if type(result) == "string" and result:sub(1, #lost) == lost then
        error(not_found(name), 2) -- called as a tail: the site is next
    end
    error(result, 0)
end

--- What site code has as `require`. The modules it finds are confined like the site itself.
function M.require(name)
    if type(name) ~= "string" then error("require takes a module name", 2) end
    if name == "ffi" then
        grant.ffi()
        return require("ffi")
    end
    if PUBLIC[name] then
        local module = load_module(name)
        if type(module) ~= "table" then return module end
        return view(name == "rproxy" and "rp" or name, module)
    end
    if from_site[name] then return load_module(name) end
    if name:find("^rproxy%.") or package.loaded[name] ~= nil or package.preload[name] then
        error(('module %q is not for sites: use what require "rproxy" returns'):format(name), 2)
    end
    return load_module(name)
end
base.require = M.require

--- Where site code is looked for: called once, before the site is run. From then on the program's
--- own `require` finds it too.
--- @param site_path string  path of site.lua
--- @param path string|nil  patterns with "?", separated by ";"; relative ones start at its folder
function M.set_up(site_path, path)
    folder = site_path:match("^(.*/)") or "./"
    patterns = path or DEFAULT_PATH
    table.insert(package.loaders, search)
end

--- Have modules of the site loaded anew when they are required again (rproxy.lab).
function M.renew()
    for name in pairs(from_site) do package.loaded[name] = nil end
    from_site = {}
end

--- Go to another site, whose modules are its own (rproxy.lab).
--- @param site_path string
function M.move(site_path)
    folder, patterns = site_path:match("^(.*/)") or "./", DEFAULT_PATH
    M.renew()
end

--- Look elsewhere from now on: what the site itself says about lua.path.
--- @param path string  as for set_up
function M.set_path(path)
    patterns = path
end

--- The whole path of a file that the site names.
--- @param path string  relative ones start at the folder of site.lua
function M.path_of(path)
    if path:sub(1, 1) == "/" then return path end
    return folder .. path:gsub("^%./", "")
end
grant.path_of = M.path_of

--- The text of a file, read while the site is loaded: with the site, so that all workers of a
--- generation have the same. In hooks it raises.
--- @param path string  relative ones start at the folder of site.lua
--- @return string|nil text, string|nil err
function M.read_file(path)
    if type(path) ~= "string" or path == "" then error("rp.file takes a path", 2) end
    grant.fs("read", path)
    local text, err = host.read(M.path_of(path))
    if text then return text end
    return nil, err or "no such file"
end

--- Run a source text in an environment of its own.
--- @param source string
--- @param path string  shown in messages
--- @return any value  what the chunk returns; syntax errors and errors in it raise
function M.run(source, path, ...)
    return compile(source, path)(...)
end

return M
