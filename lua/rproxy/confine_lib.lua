-- SPDX-License-Identifier: MIT
--
-- confine_lib: the library of untrusted plugins. It runs as their own code does, instruction by
-- instruction under their bound, so whatever C would do in one go for a long time is written in Lua
-- here (patterns, sorting, moving), or pays for its work beforehand (charge).

jit.off(true, true)

local M = {}

local byte, sub, char = string.byte, string.sub, string.char
local find, rep, format = string.find, string.rep, string.format

-- ---------------------------------------------------------------- patterns

local PERCENT, OPEN, CLOSE, DOT, CARET, DOLLAR = 37, 40, 41, 46, 94, 36
local STAR, PLUS, MINUS, QUESTION, BRACKET, UNBRACKET = 42, 43, 45, 63, 91, 93
local UNCLOSED, POSITION = -1, -2
local CAPTURES_MOST = 32

-- letter -> set of bytes: what "%a" and its like stand for.
local CLASSES = {}
for letter in ("acdlpsuwxzACDLPSUWXZ"):gmatch(".") do
    local set = {}
    for c = 0, 255 do set[c] = find(char(c), "%" .. letter) ~= nil end
    CLASSES[byte(letter)] = set
end

local function class_end(pat, p)
    local c = byte(pat, p)
    p = p + 1
    if c == PERCENT then
        if p > #pat then error("malformed pattern (ends with '%')", 0) end
        return p + 1
    elseif c == BRACKET then
        if byte(pat, p) == CARET then p = p + 1 end
        repeat
            local d = byte(pat, p)
            if not d then error("malformed pattern (missing ']')", 0) end
            p = p + 1
            if d == PERCENT and p <= #pat then p = p + 1 end
        until byte(pat, p) == UNBRACKET
        return p + 1
    end
    return p
end

local function in_class(c, letter)
    local set = CLASSES[letter]
    if set then return set[c] end
    return letter == c
end

local function in_bracket(pat, c, p, last)
    local wanted = true
    if byte(pat, p + 1) == CARET then wanted, p = false, p + 1 end
    p = p + 1
    while p < last do
        local d = byte(pat, p)
        if d == PERCENT then
            p = p + 1
            if in_class(c, byte(pat, p)) then return wanted end
        elseif byte(pat, p + 1) == MINUS and p + 2 < last then
            if d <= c and c <= byte(pat, p + 2) then return wanted end
            p = p + 2
        elseif d == c then
            return wanted
        end
        p = p + 1
    end
    return not wanted
end

local function single(ms, s, p, ep)
    local c = byte(ms.src, s)
    if not c then return false end
    local d = byte(ms.pat, p)
    if d == DOT then return true end
    if d == PERCENT then return in_class(c, byte(ms.pat, p + 1)) end
    if d == BRACKET then return in_bracket(ms.pat, c, p, ep - 1) end
    return d == c
end

local do_match

local function max_expand(ms, s, p, ep)
    local i = 0
    while single(ms, s + i, p, ep) do i = i + 1 end
    while i >= 0 do
        local e = do_match(ms, s + i, ep + 1)
        if e then return e end
        i = i - 1
    end
end

local function min_expand(ms, s, p, ep)
    while true do
        local e = do_match(ms, s, ep + 1)
        if e then return e end
        if not single(ms, s, p, ep) then return nil end
        s = s + 1
    end
end

local function open_capture(ms, s, p, what)
    if ms.level >= CAPTURES_MOST then error("too many captures", 0) end
    ms.level = ms.level + 1
    ms.from[ms.level], ms.len[ms.level] = s, what
    local e = do_match(ms, s, p)
    if not e then ms.level = ms.level - 1 end
    return e
end

local function close_capture(ms, s, p)
    for i = ms.level, 1, -1 do
        if ms.len[i] == UNCLOSED then
            ms.len[i] = s - ms.from[i]
            local e = do_match(ms, s, p)
            if not e then ms.len[i] = UNCLOSED end
            return e
        end
    end
    error("invalid pattern capture", 0)
end

local function balance(ms, s, p)
    local open, close = byte(ms.pat, p, p + 1)
    if not close then error("unbalanced pattern", 0) end
    if byte(ms.src, s) ~= open then return nil end
    local depth = 1
    for at = s + 1, #ms.src do
        local c = byte(ms.src, at)
        if c == close then
            depth = depth - 1
            if depth == 0 then return at + 1 end
        elseif c == open then
            depth = depth + 1
        end
    end
end

local function frontier(ms, s, p)
    if byte(ms.pat, p) ~= BRACKET then error("missing '[' after '%f' in pattern", 0) end
    local ep = class_end(ms.pat, p)
    local before, here = byte(ms.src, s - 1) or 0, byte(ms.src, s) or 0
    if s == 1 then before = 0 end
    if in_bracket(ms.pat, before, p, ep - 1) or not in_bracket(ms.pat, here, p, ep - 1) then
        return nil
    end
    return ep
end

local function back_reference(ms, s, digit)
    local i = digit - 48
    if i < 1 or i > ms.level or ms.len[i] == UNCLOSED then error("invalid capture index", 0) end
    local n = ms.len[i]
    if n >= 0 and sub(ms.src, ms.from[i], ms.from[i] + n - 1) == sub(ms.src, s, s + n - 1)
        and s + n - 1 <= #ms.src then
        return s + n
    end
end

local function default_match(ms, s, p)
    local pat = ms.pat
    local ep = class_end(pat, p)
    local what = byte(pat, ep)
    if what == QUESTION then
        local e = single(ms, s, p, ep) and do_match(ms, s + 1, ep + 1)
        if e then return true, e end
        return false, s, ep + 1
    elseif what == STAR then
        return true, max_expand(ms, s, p, ep)
    elseif what == PLUS then
        return true, single(ms, s, p, ep) and max_expand(ms, s + 1, p, ep) or nil
    elseif what == MINUS then
        return true, min_expand(ms, s, p, ep)
    end
    if not single(ms, s, p, ep) then return true, nil end
    return false, s + 1, ep
end

function do_match(ms, s, p)
    local pat = ms.pat
    while p <= #pat do
        local c, d = byte(pat, p, p + 1)
        if c == OPEN then
            if d == CLOSE then return open_capture(ms, s, p + 2, POSITION) end
            return open_capture(ms, s, p + 1, UNCLOSED)
        elseif c == CLOSE then
            return close_capture(ms, s, p + 1)
        elseif c == DOLLAR and p == #pat then
            return s == #ms.src + 1 and s or nil
        elseif c == PERCENT and d == 98 then
            s = balance(ms, s, p + 2)
            if not s then return nil end
            p = p + 4
        elseif c == PERCENT and d == 102 then
            p = frontier(ms, s, p + 2)
            if not p then return nil end
        elseif c == PERCENT and d and d >= 48 and d <= 57 then
            s = back_reference(ms, s, d)
            if not s then return nil end
            p = p + 2
        else
            local ended
            ended, s, p = default_match(ms, s, p)
            if ended then return s end
        end
    end
    return s
end

local function capture(ms, i, s, e)
    if i > ms.level then
        if i > 1 then error("invalid capture index", 0) end
        return sub(ms.src, s, e - 1)
    end
    local n = ms.len[i]
    if n == UNCLOSED then error("unfinished capture", 0) end
    if n == POSITION then return ms.from[i] end
    return sub(ms.src, ms.from[i], ms.from[i] + n - 1)
end

local function captures(ms, s, e, i, n)
    if i > n then return end
    return capture(ms, i, s, e), captures(ms, s, e, i + 1, n)
end

-- All captures; the whole match where there is none and `whole`.
local function all_captures(ms, s, e, whole)
    return captures(ms, s, e, 1, ms.level == 0 and whole and 1 or ms.level)
end

local function check_text(what, s)
    if type(s) == "number" then return tostring(s) end
    if type(s) ~= "string" then error(("%s takes a string, got a %s"):format(what, type(s)), 3) end
    return s
end

local function state(s, pat)
    return { src = s, pat = pat, level = 0, from = {}, len = {} }
end

local function start_at(s, init)
    init = init or 1
    if init < 0 then init = #s + init + 1 end
    if init < 1 then init = 1 end
    return init
end

-- First match at or after `at`: its first byte and the one past it.
local function search(ms, at)
    local p = byte(ms.pat, 1) == CARET and 2 or 1
    repeat
        ms.level = 0
        local e = do_match(ms, at, p)
        if e then return at, e end
        at = at + 1
    until at > #ms.src + 1 or p == 2
end

local SPECIAL = "[%^%$%*%+%?%.%(%)%[%]%%%-]"

--- The string library. charge(n): n instructions are taken off beforehand.
function M.string(charge)
    local S = { byte = byte, char = char, len = string.len, sub = sub }

    function S.lower(s) charge(#s / 16) return string.lower(s) end
    function S.upper(s) charge(#s / 16) return string.upper(s) end
    function S.reverse(s) charge(#s / 16) return string.reverse(s) end

    function S.rep(s, n, sep)
        s = check_text("string.rep", s)
        n = tonumber(n) or error("string.rep takes a number", 2)
        charge(math.max(n, 0) * (#s + #(sep or "") + 1) / 16)
        return rep(s, n, sep)
    end

    function S.format(fmt, ...)
        charge(#check_text("string.format", fmt) / 4)
        return format(fmt, ...)
    end

    local function find_plain(s, pat, init)
        charge(#s * #pat / 64)
        return find(s, pat, init, true)
    end

    function S.find(s, pat, init, plain)
        s, pat = check_text("string.find", s), check_text("string.find", pat)
        charge(#pat / 4)
        if plain or not find(pat, SPECIAL) then return find_plain(s, pat, init) end
        init = start_at(s, init)
        if init > #s + 1 then return nil end
        local ms = state(s, pat)
        local from, e = search(ms, init)
        if not from then return nil end
        return from, e - 1, all_captures(ms, from, e, false)
    end

    function S.match(s, pat, init)
        s, pat = check_text("string.match", s), check_text("string.match", pat)
        init = start_at(s, init)
        if init > #s + 1 then return nil end
        local ms = state(s, pat)
        local from, e = search(ms, init)
        if not from then return nil end
        return all_captures(ms, from, e, true)
    end

    function S.gmatch(s, pat)
        s, pat = check_text("string.gmatch", s), check_text("string.gmatch", pat)
        local at = 1
        return function()
            local ms = state(s, pat)
            while at <= #s + 1 do
                ms.level = 0
                local e = do_match(ms, at, 1)
                local from = at
                if e then
                    at = e == at and e + 1 or e
                    return all_captures(ms, from, e, true)
                end
                at = at + 1
            end
        end
    end

    local function template(ms, repl, from, e)
        local out, i = {}, 1
        while i <= #repl do
            local c = sub(repl, i, i)
            if c == "%" then
                i = i + 1
                local d = byte(repl, i)
                if d and d >= 48 and d <= 57 then
                    c = d == 48 and sub(ms.src, from, e - 1) or capture(ms, d - 48, from, e)
                else
                    c = sub(repl, i, i)
                end
            end
            out[#out + 1] = c
            i = i + 1
        end
        return table.concat(out)
    end

    local function replacement(ms, repl, from, e)
        if type(repl) == "string" then return template(ms, repl, from, e) end
        local value
        if type(repl) == "table" then value = repl[(capture(ms, 1, from, e))]
        else value = repl(all_captures(ms, from, e, true)) end
        if not value then return sub(ms.src, from, e - 1) end
        if type(value) ~= "string" and type(value) ~= "number" then
            error(("invalid replacement value (a %s)"):format(type(value)), 0)
        end
        return value
    end

    function S.gsub(s, pat, repl, most)
        s, pat = check_text("string.gsub", s), check_text("string.gsub", pat)
        if type(repl) == "number" then repl = tostring(repl) end
        if type(repl) ~= "string" and type(repl) ~= "table" and type(repl) ~= "function" then
            error("string.gsub takes a string, a table or a function", 2)
        end
        local p = byte(pat, 1) == CARET and 2 or 1
        local ms, at, n, out = state(s, pat), 1, 0, {}
        while not most or n < most do
            ms.level = 0
            local e = do_match(ms, at, p)
            if e then
                n = n + 1
                out[#out + 1] = replacement(ms, repl, at, e)
            end
            if e and e > at then at = e
            elseif at <= #s then
                out[#out + 1] = sub(s, at, at)
                at = at + 1
            else break end
            if p == 2 then break end
        end
        out[#out + 1] = sub(s, at)
        return table.concat(out), n
    end

    return S
end

-- ---------------------------------------------------------------- tables

local function sift(t, from, to, less)
    local root = from
    while root * 2 <= to do
        local kid = root * 2
        if kid < to and less(t[kid], t[kid + 1]) then kid = kid + 1 end
        if not less(t[root], t[kid]) then return end
        t[root], t[kid] = t[kid], t[root]
        root = kid
    end
end

-- A heap: however the comparator lies, it ends after n log n steps.
local function sort(t, less)
    less = less or function(a, b) return a < b end
    local n = #t
    for from = math.floor(n / 2), 1, -1 do sift(t, from, n, less) end
    for to = n, 2, -1 do
        t[1], t[to] = t[to], t[1]
        sift(t, 1, to - 1, less)
    end
end

--- The table library.
function M.table(charge)
    local T = { sort = sort }

    function T.insert(t, at, ...)
        local n = #t
        if select("#", ...) == 0 then
            t[n + 1] = at
            return
        end
        for i = n, at, -1 do t[i + 1] = t[i] end
        t[at] = (...)
    end

    function T.remove(t, at)
        local n = #t
        if n == 0 and at == nil then return nil end
        at = at or n
        local value = t[at]
        for i = at, n do t[i] = t[i + 1] end
        return value
    end

    function T.concat(t, sep, from, to)
        charge(math.max((to or #t) - (from or 1), 0) / 2)
        return table.concat(t, sep, from, to)
    end

    function T.unpack(t, from, to)
        charge(math.max((to or #t) - (from or 1), 0) / 2)
        return unpack(t, from, to)
    end

    function T.maxn(t)
        local most = 0
        for key in next, t do
            if type(key) == "number" and key > most then most = key end
        end
        return most
    end

    function T.move(a, from, to, at, b)
        b = b or a
        if to >= from then
            if at > to or at <= from or b ~= a then
                for i = 0, to - from do b[at + i] = a[from + i] end
            else
                for i = to - from, 0, -1 do b[at + i] = a[from + i] end
            end
        end
        return b
    end

    return T
end

return M
