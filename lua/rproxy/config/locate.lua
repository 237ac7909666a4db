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
    i = i + 1
    while i <= #text do
        local ch = text:sub(i, i)
        if ch == quote or ch == "\n" then return i + 1 end
        i = i + (ch == "\\" and 2 or 1)
    end
    return i
end

local function is_comment(text, i)
    return text:find("^%-%-", i) ~= nil
end

local function tokens_of(text)
    local tokens, i, line, counted = {}, 1, 1, 1
    while i <= #text do
        local word = text:match("^[%a_][%w_]*", i)
        local stop = not word and skip(text, i)
        local token = word or stop and not is_comment(text, i) and text:sub(i, stop - 1)
            or not stop and text:match("^%S", i)
        if token then
            for _ in text:sub(counted, i - 1):gmatch("\n") do line = line + 1 end
            counted = i
            tokens[#tokens + 1] = { token, line }
        end
        i = stop or i + (word and #word or 1)
    end
    return tokens
end

local function scan(path)
    if not scanned[path] and sources[path] then scanned[path] = tokens_of(sources[path]) end
    return scanned[path]
end

-- ---------------------------------------------------------------- search

local function text_at(tokens, i)
    return tokens[i] and tokens[i][1]
end

-- Position of the "{" of a call such as rp.route { or rp.route({; `line` nil takes the last one.
local function find_call(tokens, kind, line)
    local found
    for i = 2, #tokens do
        if tokens[i][1] == kind and tokens[i - 1][1] == "." then
            local open = text_at(tokens, i + 1) == "(" and i + 2 or i + 1
            local here = tokens[open]
            if here and here[1] == "{" then
                if here[2] == line then return open end
                if not line then found = open end
            end
        end
    end
    return found
end

local OPENS = { ["{"] = true, ["("] = true, ["["] = true, ["function"] = true, ["do"] = true,
    ["then"] = true, ["repeat"] = true }
local CLOSES = { ["}"] = true, [")"] = true, ["]"] = true, ["end"] = true, ["until"] = true }

-- Position after "key =" directly inside the table that opens at `open`; elseif would open twice.
local function find_key(tokens, open, key)
    local depth = 0
    for i = open, #tokens do
        local token = tokens[i][1]
        if OPENS[token] then depth = depth + 1 end
        if CLOSES[token] or token == "elseif" then depth = depth - 1 end
        if depth == 0 then return nil end
        if depth == 1 and text_at(tokens, i + 1) == "=" and text_at(tokens, i + 2) ~= "="
            and token == key then
            return i, i + 2
        end
        if depth == 2 and token:sub(2, -2) == key and token:find("^[\"']")
            and text_at(tokens, i - 1) == "[" and text_at(tokens, i + 2) == "=" then
            return i, i + 3
        end
    end
end

--- Line of the last call of a constructor in a source.
--- @return integer|nil
function M.constructor(source, kind)
    local tokens = tokens_of(source)
    local open = find_call(tokens, kind)
    return open and tokens[open][2]
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
    local best = open and tokens[open][2] or line
    for _, key in ipairs(open and keys_of(path) or {}) do
        local at, after = find_key(tokens, open, key)
        if not at then break end
        best = tokens[at][2]
        if text_at(tokens, after) ~= "{" then break end
        open = after
    end
    return file and ("%s:%s"):format(file, best) or node.at
end

return M
