-- SPDX-License-Identifier: MIT
--
-- regex: regular expressions (PCRE2, compiled). Made at load, used in hooks; a pattern that hits
-- its limits on some input raises, because "no match" would let a rule be passed by.

local abi = require("rproxy.abi")
local object = require("rproxy.object")

local C, H = abi.C, abi.H
local ffi_string = abi.string
local raise = object.raise

local M = {}

local Regex = {}
Regex.__index = Regex

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
        groups = C.rp_regex_groups(re) }, Regex)
end

--- Compile; a bad pattern raises at the caller's line.
function M.compile(source, flags)
    if type(source) ~= "string" then raise("rp.regex takes a pattern, got a %s", type(source)) end
    local re, err = M.new(source, flags)
    if not re then raise("pattern %q: %s", source, err) end
    return re
end

function M.is_regex(value)
    return getmetatable(value) == Regex
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

local function hit(self, subject, from)
    local code = C.rp_abi_regex_match(H, self.re, subject, #subject, from)
    if code == 0 then return true end
    if code ~= abi.END and code ~= abi.E.INVALID then limit(self, code) end
    return false
end

--- Does it occur in the subject?
function Regex:test(subject)
    return hit(self, subject, 0)
end

--- Captures of the first match, or the whole match when the pattern has no groups; nil: no match.
function Regex:match(subject, init)
    if not hit(self, subject, (init or 1) - 1) then return nil end
    local base = abi.cast("const char *", subject)
    return captures(base, self.groups == 0 and 0 or 1, self.groups)
end

--- First and last byte of the first match at or after init; nil: no match.
function Regex:find(subject, init)
    if not hit(self, subject, (init or 1) - 1) then return nil end
    local span = H.spans[0]
    return tonumber(span.start) + 1, tonumber(span["end"])
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

--- Replace every match: repl is a text (taken as it is), a table by the first capture, or a
--- function of the captures. Returns the new text and how many were replaced.
function Regex:gsub(subject, repl)
    local out, n, from = {}, 0, 0
    while from <= #subject and hit(self, subject, from) do
        local first, last = tonumber(H.spans[0].start), tonumber(H.spans[0]["end"])
        n = n + 1
        out[#out + 1] = subject:sub(from + 1, first)
        out[#out + 1] = replacement(self, subject, repl, subject:sub(first + 1, last))
        if last == first then -- an empty match: take one byte along
            out[#out + 1] = subject:sub(last + 1, last + 1)
            last = last + 1
        end
        from = last
    end
    out[#out + 1] = subject:sub(from + 1)
    return table.concat(out), n
end

return M
