-- SPDX-License-Identifier: MIT
--
-- locate: the line on which a setting is written. A constructor knows the line of its call; where
-- its source is at hand, the setting's own line is found by reading on from there.

local M = {}

local sources = {} -- path -> text
local scanned = {} -- path -> tokens

--- Make a file's text known.
function M.add_source(path, source)
    sources[path], scanned[path] = source, nil
end

-- ---------------------------------------------------------------- a reader of Lua tokens

local LONG = "^%[(=*)%["

-- The end of a string or comment that begins at `i`; nil when none does.
local function skip(text, i)
    local comment = text:match("^%-%-()", i)
    local level = text:match(LONG, comment or i)
    if level then
        local _, e = text:find("]" .. level .. "]", comment or i, true)
        return (e or #text) + 1
    end
    if comment then return text:find("\n", i, true) or #text + 1 end
    local quote = text:match("^[\"']", i)
    if not quote then return nil end
    local stops, at = quote == '"' and '["\n\\]' or "['\n\\]", i + 1
    while true do
        at = text:find(stops, at)
        if not at then return #text + 1 end
        if text:byte(at) ~= 92 then return at + 1 end
        at = at + 2
    end
end

local function is_comment(text, i)
    return text:find("^%-%-", i) ~= nil
end

-- Positions of the "{" of calls such as rp.route { or rp.route({, by kind.
local function calls_of(words)
    local calls = {}
    for i = 2, #words do
        if words[i - 1] == "." then
            local open = words[i + 1] == "(" and i + 2 or i + 1
            if words[open] == "{" then
                local kind = words[i]
                calls[kind] = calls[kind] or {}
                calls[kind][#calls[kind] + 1] = open
            end
        end
    end
    return calls
end

-- What a byte may begin: a word, or a comment, a string, a long bracket.
local WORD, OPENER = 1, 2
local KINDS = { [45] = OPENER, [91] = OPENER, [34] = OPENER, [39] = OPENER, [95] = WORD }
for byte = 65, 90 do KINDS[byte], KINDS[byte + 32] = WORD, WORD end

-- Two lists: the tokens, and their lines; and where the calls of constructors open, by kind.
local function tokens_of(text)
    local words, lines, line, n = {}, {}, 1, 0
    local i, next_line = text:find("%S"), text:find("\n", 1, true) or #text + 1
    while i do
        while next_line < i do
            line, next_line = line + 1, text:find("\n", next_line + 1, true) or #text + 1
        end
        local kind, last = KINDS[text:byte(i)], i
        if kind == WORD then
            last = select(2, text:find("^[%w_]+", i))
        elseif kind == OPENER then
            last = (skip(text, i) or i + 1) - 1
        end
        if not (kind == OPENER and is_comment(text, i)) then
            n = n + 1
            words[n], lines[n] = text:sub(i, last), line
        end
        i = text:find("%S", last + 1)
    end
    return { words = words, lines = lines, calls = calls_of(words), keys = {} }
end

--- Forget all texts: what is placed afterwards is placed by its constructor alone.
function M.forget()
    sources, scanned = {}, {}
end

local function scan(path)
    if not scanned[path] and sources[path] then scanned[path] = tokens_of(sources[path]) end
    return scanned[path]
end

-- ---------------------------------------------------------------- search

-- Position of the "{" of a constructor's call; `line` nil takes the last one.
local function find_call(tokens, kind, line)
    local calls, lines = tokens.calls[kind] or {}, tokens.lines
    if not line then return calls[#calls] end
    local low, high = 1, #calls -- the first of that line or behind it
    while low <= high do
        local middle = math.floor((low + high) / 2)
        if lines[calls[middle]] < line then low = middle + 1 else high = middle - 1 end
    end
    return calls[low] and lines[calls[low]] == line and calls[low] or nil
end

local OPENS = { ["{"] = true, ["("] = true, ["["] = true, ["function"] = true, ["do"] = true,
    ["then"] = true, ["repeat"] = true }
local CLOSES = { ["}"] = true, [")"] = true, ["]"] = true, ["end"] = true, ["until"] = true }

-- The keys directly inside the table that opens at `open`: where each stands first, and what is
-- behind its "="; elseif would open twice.
local function keys_in(tokens, open)
    local depth, words, keys = 0, tokens.words, {}
    for i = open, #words do
        local token, key, after = words[i], nil, nil
        if OPENS[token] then depth = depth + 1 end
        if CLOSES[token] or token == "elseif" then depth = depth - 1 end
        if depth == 0 then break end
        if depth == 1 and words[i + 1] == "=" and words[i + 2] ~= "=" then
            key, after = token, i + 2
        elseif depth == 2 and words[i - 1] == "[" and words[i + 2] == "="
            and token:find("^[\"']") then
            key, after = token:sub(2, -2), i + 3
        end
        if key and not keys[key] then keys[key] = { i, after } end
    end
    return keys
end

local function find_key(tokens, open, key)
    tokens.keys[open] = tokens.keys[open] or keys_in(tokens, open)
    local found = tokens.keys[open][key]
    if found then return found[1], found[2] end
end

--- Line of the last call of a constructor in a source.
--- @return integer|nil
function M.constructor(source, kind)
    local tokens = tokens_of(source)
    local open = find_call(tokens, kind)
    return open and tokens.lines[open]
end

-- "limits.body", 'set["x-a"]', "use[2]" -> keys; list positions end the search.
local function keys_of(path)
    local keys = {}
    for word, index, quoted in path:gmatch("([%a_][%w_]*)()%[?\"?([^\"%].]*)") do
        keys[#keys + 1] = word
        if quoted ~= "" and path:sub(index, index) == "[" then
            if path:sub(index + 1, index + 1) ~= '"' then break end
            keys[#keys + 1] = quoted
        end
    end
    return keys
end

--- "file:line" of a setting of a constructor's table; the constructor's own place when it cannot be
--- found (it is not written there, or comes out of a variable).
--- @param node table  what a constructor of rproxy.config.site returned
--- @param path string  of the setting within it
function M.place(node, path)
    local file, line = node.at:match("^(.*):(%d+)$")
    local tokens = file and scan(file)
    local open = tokens and find_call(tokens, node.kind, tonumber(line))
    local best = open and tokens.lines[open] or line
    for _, key in ipairs(open and keys_of(path) or {}) do
        local at, after = find_key(tokens, open, key)
        if not at then break end
        best = tokens.lines[at]
        if tokens.words[after] ~= "{" then break end
        open = after
    end
    return file and ("%s:%s"):format(file, best) or node.at
end

return M
