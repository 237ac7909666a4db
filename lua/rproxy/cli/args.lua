-- SPDX-License-Identifier: MIT
--
-- args: the command line of a tool.
--
--   local opts, words = args.read(argv, {
--       usage = "lint [-p site.lua] [FILE..]",       -- one line, or several
--       about = "What it does, in whole sentences.",
--       site = true,                                 -- takes -p and -g; "needed": must have -p
--       options = {
--           { "format", value = "text|json", default = "text", doc = "how findings are written" },
--           { "all", short = "a", doc = "a switch: has no value" },
--       },
--       words = { 0, 10 },                           -- how many words; nil: none
--   })
--
-- opts.NAME ("-" becomes "_") is a string, true, or the default; opts.site the path of -p as
-- written, opts.overrides the "name=value" lines of -g. `value` is a word for the help, or choices
-- with "|"; `list = true` collects a list. --help prints all that and ends the tool.

local cli = require("rproxy.cli")
local nearest = require("rproxy.config.nearest")

local M = {}

local SITE = { "site", short = "p", value = "FILE", doc = "the site" }
local SET = { "set", short = "g", value = "NAME=VALUE", list = true,
    doc = "set an option of the site (may be repeated)" }
local HELP = { "help", short = "h", doc = "print this" }

local function rows_of(spec)
    local rows = {}
    if spec.site then rows[1], rows[2] = SITE, SET end
    for _, row in ipairs(spec.options or {}) do rows[#rows + 1] = row end
    rows[#rows + 1] = HELP
    return rows
end

local function wrap(text, width, indent)
    local lines, line = {}, ""
    for word in text:gmatch("%S+") do
        if #line + #word + 1 > width and line ~= "" then lines[#lines + 1], line = line, "" end
        line = line == "" and word or line .. " " .. word
    end
    lines[#lines + 1] = line
    return table.concat(lines, "\n" .. indent)
end

--- The text of --help.
function M.help(spec)
    local out = {}
    for line in spec.usage:gmatch("[^\n]+") do
        out[#out + 1] = (#out == 0 and "usage: " or "       ") .. "rproxy " .. line
    end
    out[#out + 1] = ""
    for paragraph in (spec.about .. "\n\n"):gmatch("(.-)\n%s*\n") do
        out[#out + 1] = wrap(paragraph, 78, "") .. "\n"
    end
    local rows, widest = {}, 0
    for i, row in ipairs(rows_of(spec)) do
        local left = ("  %s--%s%s"):format(row.short and "-" .. row.short .. ", " or "    ",
            row[1], row.value and " " .. row.value or "")
        rows[i], widest = { left, row }, math.max(widest, #left)
    end
    local indent = (" "):rep(widest + 2)
    for _, pair in ipairs(rows) do
        local doc = pair[2].doc .. (pair[2].default and (" (%s)"):format(pair[2].default) or "")
        out[#out + 1] = pair[1] .. (" "):rep(widest + 2 - #pair[1])
            .. wrap(doc, math.max(30, 78 - widest), indent)
    end
    return table.concat(out, "\n") .. "\n"
end

-- ---------------------------------------------------------------- reading

local Reader = {}
Reader.__index = Reader

function Reader:fail(text, ...)
    cli.fail(text:format(...) .. (" (rproxy %s --help)"):format(self.spec.usage:match("^%S+")))
end

local function check_choice(self, row, value)
    if not row.value or not row.value:find("|", 1, true) then return end
    for choice in row.value:gmatch("[^|]+") do
        if choice == value then return end
    end
    self:fail("--%s is one of %s, not %q", row[1], row.value:gsub("|", ", "), value)
end

function Reader:put(row, value)
    local name = row[1]:gsub("-", "_")
    if not row.value then
        self.opts[name] = true
        return
    end
    check_choice(self, row, value)
    if not row.list then
        self.opts[name] = value
        return
    end
    self.opts[name] = self.opts[name] or {}
    table.insert(self.opts[name], value)
end

-- The value behind "=", or the next word.
function Reader:value_of(row, given, shown)
    if not row.value then
        if given then self:fail("%s takes no value", shown) end
        return nil
    end
    if given then return given end
    self.at = self.at + 1
    if not self.argv[self.at] then self:fail("a value is missing after %s", shown) end
    return self.argv[self.at]
end

function Reader:long(word)
    local name, given = word:match("^%-%-([^=]+)=?(.*)$")
    if not word:find("=", 1, true) then given = nil end
    for _, row in ipairs(self.rows) do
        if row[1] == name then return self:put(row, self:value_of(row, given, "--" .. name)) end
    end
    local names = {}
    for i, row in ipairs(self.rows) do names[i] = row[1] end
    self:fail("unknown option --%s%s", name or "", nearest.hint(name or "", names))
end

function Reader:short(word)
    local letter, rest = word:match("^%-(.)(.*)$")
    for _, row in ipairs(self.rows) do
        if row.short == letter then
            self:put(row, self:value_of(row, rest ~= "" and rest or nil, "-" .. letter))
            return
        end
    end
    self:fail("unknown option -%s", letter)
end

function Reader:run()
    local words, only_words = {}, false
    while self.argv[self.at] do
        local word = self.argv[self.at]
        if only_words or word == "-" or word:sub(1, 1) ~= "-" then
            words[#words + 1] = word
        elseif word == "--" then
            only_words = true
        elseif word:sub(1, 2) == "--" then
            self:long(word)
        else
            self:short(word)
        end
        self.at = self.at + 1
    end
    return words
end

local function overrides_of(self, list)
    for _, text in ipairs(list or {}) do
        if not text:find("^[^=\n]+=[^\n]*$") then self:fail("-g wants name=value, not %s", text) end
    end
    return list and table.concat(list, "\n") .. "\n" or ""
end

--- Read a command line; mistakes and --help end the tool.
--- @param argv string[]
--- @param spec table  see above
--- @return table opts, string[] words
function M.read(argv, spec)
    local self = setmetatable({ argv = argv, at = 1, spec = spec, rows = rows_of(spec),
        opts = {} }, Reader)
    local words = self:run()
    if self.opts.help then
        io.stdout:write(M.help(spec))
        cli.done()
    end
    for _, row in ipairs(self.rows) do
        local name = row[1]:gsub("-", "_")
        if self.opts[name] == nil then self.opts[name] = row.default end
    end
    if spec.site then self.opts.overrides = overrides_of(self, self.opts.set) end
    if spec.site == "needed" and not self.opts.site then
        self:fail("which site? name it with -p site.lua")
    end
    local least, most = unpack(spec.words or { 0, 0 })
    if #words < least then self:fail("a word is missing: %s", spec.usage:match("^[^\n]*")) end
    if #words > most then self:fail("one word too many: %s", words[most + 1]) end
    return self.opts, words
end

return M
