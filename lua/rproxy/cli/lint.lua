-- SPDX-License-Identifier: MIT
--
-- lint: `rproxy lint`: what is wrong with a site and its plugins, or will be.

local args = require("rproxy.cli.args")
local cli = require("rproxy.cli")
local codes = require("rproxy.cli.lint_codes")
local host = require("rproxy.host")
local json = require("rproxy.json")
local site = require("rproxy.cli.lint_site")
local source = require("rproxy.cli.lint_source")

local M = {}

M.SPEC = {
    usage = "lint -p site.lua [FILE..]\nlint FILE..",
    about = [[Look for mistakes that the check of a site (-t) cannot know: in the code of hooks,
        by luacheck's parser, and in what the site says as a whole. With a site, all files that it
        loads are read; words are further files, such as plugins and specs.

        A finding is one line: file:line:column: code: message (what to do). The comment
        "-- rproxy: allow CODE" on the same line or the one above takes it back.

        Exit status: 0 nothing was found, 1 something was, 2 it could not be looked for.]],
    site = true,
    options = {
        { "level", value = "error|warning|info", default = "warning",
            doc = "the least that is told and counts" },
        { "auth", doc = "a route without authentication is a warning, not info" },
        { "format", value = "text|json", default = "text", doc = "how findings are written" },
        { "codes", doc = "list all codes and what they mean" },
    },
    words = { 0, 10000 },
}

-- ---------------------------------------------------------------- findings

local Findings = {}
Findings.__index = Findings

function Findings:add(path, line, column, code, text, level)
    self.list[#self.list + 1] = { file = path, line = line, column = column, code = code,
        level = level or codes.level(code), message = text }
end

-- Those that count, in the order of files and lines.
function Findings:chosen(least)
    local out = {}
    for _, f in ipairs(self.list) do
        local allowed = (self.allowed[f.file] or {})[f.line]
        local class = f.code:match("^lua%-%d") -- "lua-211" is allowed by "lua", too
        local taken_back = allowed and (allowed[f.code] or class and allowed.lua)
        if codes.LEVELS[f.level] >= codes.LEVELS[least] and not taken_back then
            out[#out + 1] = f
        end
    end
    table.sort(out, function(a, b)
        if a.file ~= b.file then return a.file < b.file end
        if a.line ~= b.line then return a.line < b.line end
        if a.column ~= b.column then return a.column < b.column end
        return a.code < b.code
    end)
    return out
end

-- ---------------------------------------------------------------- files

local function read_file(path)
    local file, err = io.open(path, "rb")
    if not file then
        local bytes = cli.read(path)
        if bytes then return bytes end
        cli.fail(err)
    end
    local text = file:read("*a")
    file:close()
    if not text then cli.fail(path .. ": is no file") end
    return text
end

-- Lines of each file where the site's hooks begin.
local function places_of(model)
    local places = {}
    for _, instance in ipairs(model.instances) do
        for name, hook in pairs(instance.hooks) do
            local path, line = hook.at:match("^(.*):(%d+)$")
            if path and name ~= "init" and name ~= "start" and name ~= "stop" then
                places[path] = places[path] or {}
                places[path][tonumber(line)] = true
            end
        end
    end
    return places
end

-- A file that the site says it loaded: opened as a check opens it, so that a site that runs wild
-- makes root read no other files.
local function read_source(path)
    local text, err = host.read(path)
    return text or cli.fail(("%s: %s"):format(path, err or "is gone"))
end

local function check_file(findings, path, text, places)
    findings.allowed[path] = source.check(path, text, places or {},
        function(line, column, code, message) findings:add(path, line, column, code, message) end)
    return text
end

local function check_site(findings, opts, done)
    local model, err = cli.check(opts.site, opts.overrides)
    if not model then cli.fail(err) end
    local places, texts = places_of(model), {}
    for _, path in ipairs(model.sources) do
        if path:sub(1, 1) == "/" and not done[path] then -- else it is built in
            done[path] = true
            texts[path] = check_file(findings, path, read_source(path), places[path])
        end
    end
    site.check(model, texts, opts, function(at, code, text, level)
        local path, line = tostring(at):match("^(.*):(%d+)$")
        findings:add(path or model.path, tonumber(line) or 1, 1, code, text, level)
    end)
end

-- ---------------------------------------------------------------- whole

local function print_codes()
    for _, row in ipairs(codes.CODES) do
        io.stdout:write(("%-18s %-8s %s\n"):format(row[1], row[2], row[3]))
    end
    io.stdout:write("lua-NNN                     warnings of luacheck\n")
end

local function print_findings(list, format)
    if format == "json" then
        io.stdout:write(assert(json.encode(json.array(list), { sort = true })), "\n")
        return
    end
    for _, f in ipairs(list) do
        io.stdout:write(("%s:%d:%d: %s: %s\n"):format(f.file, f.line, f.column, f.code, f.message))
    end
end

function M.main(argv)
    local opts, words = args.read(argv, M.SPEC)
    if opts.codes then
        print_codes()
        return 0
    end
    if not opts.site and not words[1] then
        cli.fail("what is to be read? name a site with -p site.lua, or files")
    end
    local findings, done = setmetatable({ list = {}, allowed = {} }, Findings), {}
    if opts.site then check_site(findings, opts, done) end
    for _, path in ipairs(words) do
        local absolute = cli.path(path)
        if not done[absolute] then
            done[absolute] = true
            check_file(findings, path, read_file(path))
        end
    end
    local list = findings:chosen(opts.level)
    print_findings(list, opts.format)
    return #list > 0 and 1 or 0
end

return M
