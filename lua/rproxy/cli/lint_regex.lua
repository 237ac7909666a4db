-- SPDX-License-Identifier: MIT
--
-- lint_regex: does some input make a regular expression take very long? Nobody argues about how it
-- is written: it is run, under the limits that serving has, on texts that repeat what it looks for
-- and end in what it does not want.

local regex = require("rproxy.regex")

local M = {}

local REPEATS = { 24, 400, 4000 } -- exponential ones show early, cubic ones late
local ENDS = { "!", "\1", "" }
local PUMPS_MOST = 40

-- What may be matched by escapes and classes.
local OF_CLASS = { d = "1", w = "a", s = " ", D = "a", W = " ", S = "a", h = " ", v = "\n",
    R = "\n", N = "a", X = "a" }

local function add(list, seen, text)
    if text ~= "" and not seen[text] and #list < PUMPS_MOST then
        seen[text] = true
        list[#list + 1] = text
    end
end

-- Single characters that occur in the pattern, by themselves or as a class.
local function letters_of(source)
    local list, seen = {}, {}
    local i = 1
    while i <= #source do
        local ch = source:sub(i, i)
        if ch == "\\" then
            i = i + 1
            local what = source:sub(i, i)
            add(list, seen, OF_CLASS[what] or what:find("%W") and what or "")
        elseif ch == "[" and source:sub(i + 1, i + 1) ~= "^" then
            add(list, seen, (source:match("^%[([%w%s_.,/:;=&?-])", i)) or "")
        elseif ch:find("[%w%s_,/:;=&@#%%<>\"'!-]") then
            add(list, seen, ch)
        end
        i = i + 1
    end
    for _, ch in ipairs { "a", "0", " ", ".", "/" } do add(list, seen, ch) end
    return list, seen
end

-- Literal words of two and more, and pairs of letters: (ab|a)* wants more than one letter.
local function pumps_of(source)
    local list, seen = letters_of(source)
    local letters = #list
    for word in source:gsub("\\[%a]", " "):gmatch("[%w_-][%w_-]+") do add(list, seen, word) end
    for i = 1, math.min(letters, 5) do
        for k = 1, math.min(letters, 5) do
            if i ~= k then add(list, seen, list[i] .. list[k]) end
        end
    end
    return list
end

-- What stands literally before the first thing that repeats.
local function prefix_of(source)
    local text = source:gsub("^%^", "")
    local prefix = text:match("^[%w%s_/:;=&@<>\"'!,-]*") or ""
    if text:find("^[*+?{]", #prefix + 1) then prefix = prefix:sub(1, -2) end
    return prefix
end

-- A pattern that wants some letter at its end is given one, behind what spoils the match: without
-- it nothing is tried at all.
local function ends_of(source)
    local list = { unpack(ENDS) }
    for letter in source:gsub("\\.", ""):gsub("%b[]", ""):gmatch("%w") do
        list[#ENDS + 1] = "!" .. letter
    end
    return list
end

-- nil, or the failure of a test.
local function fails(re, subject)
    local ran, err = pcall(re.test, re, subject)
    if ran then return nil end
    return tostring(err)
end

local function shown(text)
    return ("%q"):format(text):gsub("\n", "n"):gsub("\1", "\\1")
end

--- Try it.
--- @param source string
--- @param flags string|nil
--- @return string|nil why  what to tell; nil: nothing was found
function M.danger(source, flags)
    local compiled, re = pcall(regex.new, source, flags)
    if not compiled or not re then return nil end -- the site says so itself
    if not source:find("[*+{]") then return nil end
    local prefix, ends = prefix_of(source), ends_of(source)
    for _, n in ipairs(REPEATS) do
        for _, pump in ipairs(pumps_of(source)) do
            for _, last in ipairs(ends) do
                if fails(re, prefix .. pump:rep(n) .. last) then
                    return ("pattern %s hits the limit of matching on %d times %s%s; a request can "
                        .. "make it raise (no repetition inside a repetition, or possessive ones: "
                        .. "a++)"):format(shown(source), n, shown(pump),
                        last ~= "" and " and then " .. shown(last) or "")
                end
            end
        end
    end
    return nil
end

return M
