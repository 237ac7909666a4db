-- SPDX-License-Identifier: MIT
--
-- regex: regular expressions (PCRE2, compiled). Made at load, used in hooks; a pattern that hits
-- its limits on some input raises, because "no match" would let a rule be passed by.

local abi = require("rproxy.abi")
local object = require("rproxy.object")

local C, H = abi.C, abi.H
local ffi_string = abi.string
local raise = object.raise
local type = type
local OK, END, INVALID = abi.OK, abi.END, abi.E.INVALID

local M = {}

local Regex = {}
Regex.__index = Regex

-- { name, number, name, number .. }, nil when no group has a name.
local function names_of(re)
    local names, name, i = {}, abi.new("rp_str[1]"), 0
    while true do
        local number = C.rp_regex_name(re, i, name)
        if number == 0 then return names[1] and names or nil end
        names[#names + 1] = ffi_string(name[0].ptr, name[0].len)
        names[#names + 1] = number
        i = i + 1
    end
end

--- Compile.
--- phases: all, best at load   yields: no
--- @param source string
--- @param flags string|nil  letters: i m s x u a
--- @return table|nil regex, string|nil err
function M.new(source, flags)
    flags = flags or ""
    local re = C.rp_abi_regex_compile(H, source, #source, flags, #flags)
    if re == nil then return nil, abi.out() end
    return setmetatable({ re = abi.gc(re, C.rp_abi_regex_free), source = source,
        groups = C.rp_regex_groups(re), utf = flags:find("u", 1, true) ~= nil,
        names = names_of(re) }, Regex)
end

--- Compile; a bad pattern raises at the caller's line.
function M.compile(source, flags)
    if type(source) ~= "string" then raise("rp.regex takes a pattern, got a %s", type(source)) end
    local re, err = M.new(source, flags)
    if not re then raise("pattern %q: %s", source, err) end
    return re
end

local function limit(self, code)
    raise("pattern %q: %s on this input", self.source, abi.text(code))
end
M.limit = limit

-- Groups (or the whole match) of the spans that C has filled for the subject at `base`.
local function captures(base, i, groups)
    local span = H.spans[i]
    local value = nil
    if tonumber(span.start) < 2 ^ 52 then
        value = ffi_string(base + span.start, span["end"] - span.start)
    end
    if i >= groups then return value end
    return value, captures(base, i + 1, groups)
end

--- Captures of a hit on the subject in H.out (after rp_abi_head_match).
function M.captures_of_out(self)
    return captures(H.out.ptr, self.groups == 0 and 0 or 1, self.groups)
end

-- M.subject is that of the last hit: pointers into it do not keep it while captures are made, nor
-- does a variable of compiled code after its last use.
local function hit(self, subject, from)
    M.subject = subject
    if type(subject) ~= "string" then raise("a regex takes a string, got a %s", type(subject)) end
    local code = C.rp_abi_regex_match(H, self.re, subject, #subject, from)
    if code == OK then return true end
    if code ~= END and code ~= INVALID then limit(self, code) end
    return false
end

local regex_test = C.rp_abi_regex_test

--- Does it occur in the subject?
function Regex:test(subject)
    if type(subject) ~= "string" then raise("a regex takes a string, got a %s", type(subject)) end
    local code = regex_test(H, self.re, subject, #subject)
    if code == OK then return true end
    if code ~= END then limit(self, code) end
    return false
end

local function start_of(init)
    if init == nil then return 0 end
    if type(init) ~= "number" or init < 1 then raise("init is a position from 1") end
    return init - 1
end

--- Captures of the first match, or the whole match when the pattern has no groups; nil: no match.
function Regex:match(subject, init)
    if not hit(self, subject, start_of(init)) then return nil end
    local base = abi.cast("const char *", subject)
    return captures(base, self.groups == 0 and 0 or 1, self.groups)
end

--- First and last byte of the first match at or after init; nil: no match.
function Regex:find(subject, init)
    if not hit(self, subject, start_of(init)) then return nil end
    local span = H.spans[0]
    return tonumber(span.start) + 1, tonumber(span["end"])
end

local function group(base, i)
    return (captures(base, i, i))
end

--- Named captures of the first match, as a table by name; nil: no match. Groups that took no part
--- are not in it.
function Regex:named(subject, init)
    if not hit(self, subject, start_of(init)) then return nil end
    local base, names, out = abi.cast("const char *", subject), self.names, {}
    for i = 1, names and #names or 0, 2 do
        if out[names[i]] == nil then out[names[i]] = group(base, names[i + 1]) end
    end
    return out
end

-- The hit's end, and where to look for the next one: past an empty match by a byte, or in UTF
-- mode by a character.
local function step(self, subject)
    local first, last = tonumber(H.spans[0].start), tonumber(H.spans[0]["end"])
    if last > first then return first, last, last end
    local next_from = last + 1
    while self.utf do
        local byte = subject:byte(next_from + 1)
        if not byte or byte < 0x80 or byte > 0xbf then break end
        next_from = next_from + 1
    end
    return first, last, next_from
end

--- Iterate over the matches: for a, b in regex:gmatch(text). Captures as match gives them; ends
--- also before a match whose first capture took no part.
function Regex:gmatch(subject)
    local from = 0
    return function()
        if from > #subject or not hit(self, subject, from) then return nil end
        local _
        _, _, from = step(self, subject)
        local base = abi.cast("const char *", subject)
        return captures(base, self.groups == 0 and 0 or 1, self.groups)
    end
end

--- The pieces between matches, as a list; empty ones are in it. most: how many pieces at most, the
--- last one has the rest. An empty match splits nothing.
function Regex:split(subject, most)
    local out, from, begun = {}, 0, 0
    while #out + 1 < (most or math.huge) and from <= #subject and hit(self, subject, from) do
        local first, last, next_from = step(self, subject)
        if last > first then
            out[#out + 1] = subject:sub(begun + 1, first)
            begun = last
        end
        from = next_from
    end
    out[#out + 1] = subject:sub(begun + 1)
    return out
end

local function replacement(self, subject, repl, whole)
    if type(repl) == "string" then return repl end
    local base = abi.cast("const char *", subject)
    local value
    if type(repl) == "table" then value = repl[(captures(base, self.groups == 0 and 0 or 1, 1))]
    else value = repl(captures(base, self.groups == 0 and 0 or 1, self.groups)) end
    if value == nil or value == false then return whole end
    return tostring(value)
end

-- What lies between the matches is copied; make(whole) gives what stands for each.
local function rewrite(self, subject, make)
    local out, n, from = {}, 0, 0
    while from <= #subject and hit(self, subject, from) do
        local first, last, next_from = step(self, subject)
        n = n + 1
        out[#out + 1] = subject:sub(from + 1, first)
        out[#out + 1] = make(first, last)
        if last == first then out[#out + 1] = subject:sub(last + 1, next_from) end
        from = next_from
    end
    out[#out + 1] = subject:sub(from + 1)
    return table.concat(out), n
end

--- Replace every match: repl is a text (taken as it is), a table by the first capture, or a
--- function of the captures. Returns the new text and how many were replaced.
function Regex:gsub(subject, repl)
    return rewrite(self, subject, function(first, last)
        return replacement(self, subject, repl, subject:sub(first + 1, last))
    end)
end

-- "a$1b${name}$$" -> { "a", 1, "b", number of name, "$" }
local function read_template(self, template)
    local out, at = {}, 1
    while true do
        local dollar = template:find("$", at, true)
        out[#out + 1] = template:sub(at, (dollar or 0) - 1)
        if not dollar then return out end
        local word = template:match("^%d%d?", dollar + 1)
            or template:match("^{[%w_]+}", dollar + 1) or template:match("^%$", dollar + 1)
        if not word then raise("template %q: a \"$\" is written \"$$\"", template) end
        local name = word:match("^{(.*)}$") or word
        local number = tonumber(name)
        if word == "$" then
            out[#out + 1] = "$"
        else
            for i = 1, self.names and #self.names or 0, 2 do
                if self.names[i] == name then number = self.names[i + 1] end
            end
            if not number or number > self.groups then
                raise("template %q: the pattern has no group %q", template, name)
            end
            out[#out + 1] = number
        end
        at = dollar + 1 + #word
    end
end

--- Replace every match by a template: $0 is the match, $1 and ${1} a group, ${name} a named one,
--- $$ a dollar; groups that took no part are empty. Returns the new text and the count.
function Regex:replace(subject, template)
    local parts = read_template(self, template)
    return rewrite(self, subject, function()
        local base, piece = abi.cast("const char *", subject), {}
        for i, part in ipairs(parts) do
            piece[i] = type(part) == "string" and part or group(base, part) or ""
        end
        return table.concat(piece)
    end)
end

-- ---------------------------------------------------------------- sets

local Set = {}
Set.__index = Set

-- May it stand inside an alternation and mean the same? Not when it refers to groups by number or
-- name, or to the whole pattern, or begins with a verb; when in doubt, no.
local function may_join(source)
    if source:find("\\[1-9gkKQE]") or source:find("(*", 1, true) then return false end
    for word in source:gmatch("%(%?(..?.?.?.?)") do
        if not (word:find("^[:=!]") or word:find("^<[=!]") or word:find("^[ims]+%)")) then
            return false
        end
    end
    return true
end

-- A pattern that occurs whenever one of them does; nil when there is none.
local function alternation(sources, flags)
    if #sources < 2 or (flags or ""):find("x", 1, true) then return nil end
    for _, source in ipairs(sources) do
        if not may_join(source) then return nil end
    end
    return (M.new("(?:" .. table.concat(sources, ")|(?:") .. ")", flags))
end

--- Many patterns, asked together by one call.
--- @param sources string[]  patterns
--- @param flags string|nil  of all of them
function M.set(sources, flags)
    if type(sources) ~= "table" then raise("rp.regex.set takes a list of patterns") end
    local list, n = {}, #sources
    for i = 1, n do list[i] = M.compile(sources[i], flags) end
    local pointers = abi.new("struct rp_regex *[?]", math.max(n, 1))
    for i = 1, n do pointers[i - 1] = list[i].re end
    local any = alternation(sources, flags)
    return setmetatable({ list = list, pointers = pointers, n = n, any = any and any.re }, Set)
end

local function first(self, subject, from)
    if type(subject) ~= "string" then raise("a regex takes a string, got a %s", type(subject)) end
    local i = C.rp_abi_regex_first(H, self.any, self.pointers, self.n, from, subject, #subject)
    if i < 0 then limit(self.list[H.at_pattern + 1], i) end
    return i
end

--- Position in the list of the first pattern that occurs in the text; nil: none does.
function Set:match(subject)
    local i = first(self, subject, 0)
    if i == self.n then return nil end
    return i + 1
end

--- Positions of all patterns that occur in the text.
function Set:matches(subject)
    local out, i = {}, first(self, subject, 0)
    while i < self.n do
        out[#out + 1] = i + 1
        i = first(self, subject, i + 1)
    end
    return out
end

-- What rp.regex is: called for one pattern, asked for `set`.
M.callable = setmetatable({ set = M.set }, {
    __call = function(_, source, flags) return M.compile(source, flags) end,
    __newindex = function() raise("rp.regex cannot be changed") end,
})

return M
