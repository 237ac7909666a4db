-- SPDX-License-Identifier: MIT
--
-- lint_source: one file: what luacheck says of it, with the globals that sites have, and what its
-- hooks do. luacheck (Debian: lua-check) is the parser, too.

local cli = require("rproxy.cli")
local hooks = require("rproxy.cli.lint_hooks")
local loader = require("rproxy.loader")
local nearest = require("rproxy.config.nearest")

local M = {}

local BUSTED = { "describe", "context", "it", "pending", "before_each", "after_each", "setup",
    "teardown", "lazy_setup", "lazy_teardown", "finally", "insulate", "expose", "spec", "test",
    "strict_setup", "strict_teardown", "randomize", "assert", "spy", "stub", "mock" }

-- Said better by codes of our own, or a matter of taste.
local CODES = { ["111"] = "global-write", ["112"] = "global-write", ["113"] = "unknown-global",
    ["142"] = "global-write", ["143"] = "unknown-global", ["121"] = "global-write",
    ["122"] = "global-write" }
local HINTS = { ["global-write"] = " (use a local, or req.ctx)" }

-- What of luacheck is there; else the tool ends, saying what to install.
local function need(name)
    local found, module = pcall(require, name)
    if found then return module end
    cli.fail("luacheck is not installed, whose parser this needs: apt-get install lua-check, or "
        .. "luarocks --lua-version 5.1 install luacheck")
end

-- Globals of site code, in luacheck's words.
local function std_of(is_spec)
    local globals = {}
    for name, fields in pairs(loader.globals()) do
        globals[name] = {}
        if type(fields) == "table" then
            globals[name].fields = {}
            for field in pairs(fields) do globals[name].fields[field] = {} end
        else
            globals[name].other_fields = true
        end
    end
    if is_spec then
        for _, name in ipairs(BUSTED) do globals[name] = { other_fields = true } end
    end
    return { read_globals = globals }
end

-- Specs run beside the proxy, with all of Lua.
local function options_of(path)
    if path:find("_spec%.lua$") then return { std = "luajit+busted", self = false } end
    return { std = std_of(false), self = false, unused_args = false, max_line_length = false,
        ignore = { "6" } }
end

-- luacheck's own words; those about globals are ours.
local function say(luacheck, event)
    local code = CODES[event.code]
    local text = luacheck.get_message(event):gsub("\27%[[%d;]*m", "")
    if event.code:sub(1, 1) == "0" then return "syntax", text end
    if not code then return "lua-" .. event.code, text end
    local hint = HINTS[code]
    if code == "unknown-global" and event.code == "113" then
        hint = nearest.hint(tostring(event.name), nearest.names(loader.globals()))
        if not hint:find("did you mean", 1, true) then hint = " (sites do not have it)" end
    end
    return code, text .. (hint or "")
end

local function check_globals(path, source, found)
    local luacheck = need("luacheck")
    local report = luacheck.process_reports({ luacheck.get_report(source) }, options_of(path))
    for _, event in ipairs(report[1] or {}) do
        local code, text = say(luacheck, event)
        found(event.line, event.column, code, text)
    end
end

local function text_of(node)
    return type(node) == "table" and node.tag == "String" and node[1] or nil
end

-- a.b.NAME of a call: NAME.
local function callee(node)
    return node.tag == "Call" and type(node[1]) == "table" and node[1].tag == "Index"
        and text_of(node[1][2])
end

-- Patterns that are written as rp.regex(".."), rp.regex.set { ".." } or { regex = ".." }.
local function each_regex(ast, found)
    local function tell(node, flags)
        if text_of(node) then found(node, node[1], text_of(flags) or "") end
    end
    local function walk(node)
        if type(node) ~= "table" then return end
        local name = callee(node)
        if name == "regex" then
            tell(node[2], node[3])
        elseif name == "set" and callee({ tag = "Call", node[1][1] }) == "regex"
            and type(node[2]) == "table" then
            for _, item in ipairs(node[2]) do tell(item, node[3]) end
        elseif node.tag == "Pair" and text_of(node[1]) == "regex" then
            tell(node[2])
        end
        for _, part in ipairs(node) do walk(part) end
    end
    walk(ast)
end

local function parse(source)
    local decoder, parser = need("luacheck.decoder"), need("luacheck.parser")
    local offsets = {}
    local parsed, ast, comments = pcall(parser.parse, decoder.decode(source), offsets, {})
    if not parsed then return nil end -- told by check_globals
    if not offsets[1] then cli.fail("luacheck is too old: version 0.24 or later is needed") end
    return ast, comments, offsets
end

-- "-- rproxy: allow CODE, CODE": of this line and the next one.
local function allowed_in(comments)
    local allowed = {}
    for _, comment in ipairs(comments) do
        local list = type(comment.contents) == "string"
            and comment.contents:match("^%s*rproxy:%s*allow%s+(.*)$")
        for code in (list or ""):gmatch("[%w_%-]+") do
            for line = comment.line, comment.line + 1 do
                allowed[line] = allowed[line] or {}
                allowed[line][code] = true
            end
        end
    end
    return allowed
end

-- Members of rp: true, or for a plain library the set of its own.
local function rp_fields()
    local fields = {}
    for name, value in pairs(require("rproxy")) do
        fields[name] = true
        if type(value) == "table" and debug.getmetatable(value) == nil and next(value) then
            fields[name] = {}
            for member in pairs(value) do fields[name][member] = true end
        end
    end
    return fields
end

--- Check one file.
--- @param path string
--- @param source string
--- @param places table<number, true>  lines on which hooks begin, as far as the site knows them
--- @param found fun(line, column, code, text)
--- @return table allowed  line -> set of codes
function M.check(path, source, places, found)
    check_globals(path, source, found)
    local ast, comments, offsets = parse(source)
    if not ast then return {} end
    local function at(node, code, text)
        found(node.line, node.offset - (offsets[node.line] or node.offset) + 1, code, text)
    end
    local fields = rp_fields()
    local is_spec = path:find("_spec%.lua$") ~= nil
    hooks.check(ast, { places = places, found = at, rp_fields = not is_spec and fields or nil,
        hint = function(name, among) return nearest.hint(name, nearest.names(among)) end })
    local regex = require("rproxy.cli.lint_regex")
    each_regex(ast, function(node, text, flags)
        local why = regex.danger(text, flags)
        if why then at(node, "regex-explodes", why) end
    end)
    return allowed_in(comments)
end

return M
