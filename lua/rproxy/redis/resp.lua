-- SPDX-License-Identifier: MIT
--
-- resp: the Redis protocol, RESP2 and RESP3: commands to bytes, bytes to values. Pure.
--
--   local reader = resp.reader(null)
--   reader:feed(bytes)
--   local got, value, is_push = reader:next()   -- true, value | false: more is needed | nil, err
--
-- Bytes may come in any pieces: what was read is kept, nothing is read twice. Values: strings,
-- numbers (an integer beyond 2^53 stays the text of its digits), booleans, lists, maps as tables by
-- key, `null` for what is none, and M.failure tables for errors. Streamed types (lengths "?"),
-- which Redis does not send, are refused like everything that is not in the grammar.

local M = {}

local byte, find, sub = string.byte, string.find, string.sub

-- Bounds; each is checked before anything is made of that size.
M.LINE_MOST = 16 * 1024 -- bytes of a simple string, an error, a number
M.DEPTH_MOST = 32 -- containers within each other
M.ITEMS_MOST = 1024 * 1024 -- values of one reply
M.BYTES_MOST = 64 * 1024 * 1024 -- bytes of one reply, unless the reader is told otherwise

local SAFE = 9007199254740992 -- 2^53

-- ---------------------------------------------------------------- writing

local function text_of(value)
    local kind = type(value)
    if kind == "string" then return value end
    if kind == "number" then
        if value == math.floor(value) and value > -SAFE and value < SAFE then
            return ("%d"):format(value)
        end
        return ("%.17g"):format(value)
    end
    return nil
end

--- A command as bytes.
--- @param n number  arguments, the command's name among them
--- @param args table  strings and numbers
--- @return string|nil bytes, number|nil at  nil: the argument at that position is neither
function M.command(n, args)
    local out = { "*" .. n .. "\r\n" }
    for i = 1, n do
        local text = text_of(args[i])
        if not text then return nil, i end
        out[i + 1] = "$" .. #text .. "\r\n" .. text .. "\r\n"
    end
    return table.concat(out)
end

-- ---------------------------------------------------------------- errors that Redis sends

local Failure = {}
Failure.__index = Failure
Failure.__tostring = function(failure) return failure.detail end

--- Is it an error that Redis sent?
function M.is_failure(value)
    return type(value) == "table" and getmetatable(value) == Failure
end

--- @param text string  "WRONGTYPE Operation against ..."
--- @return table failure  err: the first word, "WRONGTYPE"; detail: all of it
function M.failure(text)
    return setmetatable({ err = text:match("^%S+") or "ERR", detail = text }, Failure)
end

-- ---------------------------------------------------------------- reading

local Reader = {}
Reader.__index = Reader

--- @param null any  what stands for null
--- @param bytes_most number|nil  of one reply
function M.reader(null, bytes_most)
    return setmetatable({ null = null, bytes_most = bytes_most or M.BYTES_MOST, buf = "", at = 1,
        seen = 1, bytes = 0, items = 0, depth = 0, stack = {} }, Reader)
end

--- More bytes.
function Reader:feed(bytes)
    if self.bulk then
        self.buf = self.at > #self.buf and bytes or sub(self.buf, self.at) .. bytes
    elseif self.at > #self.buf then
        self.buf, self.seen = bytes, 1
    else
        self.buf, self.seen = sub(self.buf, self.at) .. bytes, self.seen - self.at + 1
    end
    self.at = 1
end

--- Is nothing of a further reply there?
function Reader:is_clean()
    return self.at > #self.buf and not self.bulk and self.depth == 0
end

-- One line without its end; nil: not whole yet; nil, err.
local function take_line(self)
    local buf, at = self.buf, self.at
    local stop = find(buf, "\r\n", math.max(self.seen, at), true)
    if not stop then
        if #buf - at + 1 > M.LINE_MOST then return nil, "a line is too long" end
        self.seen = math.max(#buf, at) -- the last byte may be half an end
        return nil
    end
    if stop - at > M.LINE_MOST then return nil, "a line is too long" end
    self.at, self.seen = stop + 2, stop + 2
    self.bytes = self.bytes + stop + 2 - at
    return sub(buf, at, stop - 1)
end

local function integer(text)
    if #text > 20 or not find(text, "^[+-]?%d+$") then return nil end
    local n = tonumber(text)
    if n >= SAFE or n <= -SAFE then return text end
    return n
end

-- A length: canonical digits.
local function length(text)
    if #text > 10 or not find(text, "^%d+$") or (byte(text) == 48 and #text > 1) then return nil end
    return tonumber(text)
end

local NUMBERS = { inf = math.huge, ["+inf"] = math.huge, ["-inf"] = -math.huge, nan = 0 / 0,
    ["-nan"] = 0 / 0 }

local function double(text)
    if NUMBERS[text] then return NUMBERS[text] end
    if #text > 64 then return nil end -- before a pattern that goes back and forth
    if not find(text, "^[+-]?%d+%.?%d*[eE]?[+-]?%d*$") then return nil end
    return tonumber(text)
end

local CONTAINERS = { ["*"] = "list", ["~"] = "list", [">"] = "push", ["%"] = "map",
    ["|"] = "notes" } -- attributes: they stand before a value and are not it
local BULKS = { ["$"] = "text", ["!"] = "failure", ["="] = "verbatim" }

local SCALARS = {
    ["+"] = function(text) return text end,
    ["-"] = function(text) return M.failure(text) end,
    [":"] = integer,
    [","] = double,
    ["#"] = function(text)
        if text == "t" then return true end
        if text == "f" then return false end
        return nil
    end,
    ["("] = function(text) return find(text, "^[+-]?%d+$") and text or nil end,
}

-- Begin a container. Its frame: [1] what, [2] the table, [3] values to come, [4] values there,
-- [5] key of a map.
local function open(self, what, n)
    if what == "map" or what == "notes" then n = n * 2 end
    if self.depth >= M.DEPTH_MOST then return "too deep" end
    if what == "push" and self.depth > 0 then return "a push within a reply" end
    if n > M.ITEMS_MOST - self.items then return "too many values" end
    self.depth = self.depth + 1
    self.stack[self.depth] = { what, {}, n, 0, nil }
end

local function put(frame, value)
    local what, values = frame[1], frame[2]
    frame[4] = frame[4] + 1
    if what ~= "map" then
        values[frame[4]] = value
    elseif frame[4] % 2 == 1 then
        local kind = type(value)
        if (kind ~= "string" and kind ~= "number" and kind ~= "boolean") or value ~= value then
            return "a map's key is no scalar"
        end
        frame[5] = value
    else
        values[frame[5]] = value
    end
    frame[3] = frame[3] - 1
end

-- A value is whole: into its container, which may make that one whole. true, value, is_push when
-- a reply is whole.
local function add(self, value)
    while true do
        local frame = self.stack[self.depth]
        if not frame then return true, value, false end
        local err = put(frame, value)
        if err then return nil, err end
        if frame[3] > 0 then return false end
        self.stack[self.depth] = nil
        self.depth = self.depth - 1
        if frame[1] == "notes" then return false end
        if frame[1] == "push" then return true, frame[2], true end
        value = frame[2]
    end
end

-- The value that a header line begins.
local function begin(self, line)
    local mark, rest = sub(line, 1, 1), sub(line, 2)
    self.items = self.items + 1
    if self.items > M.ITEMS_MOST then return nil, "too many values" end
    local scalar = SCALARS[mark]
    if scalar then
        if find(rest, "[\r\n]") then return nil, "a stray end of line" end
        local value = scalar(rest)
        if value == nil then return nil, "malformed value" end
        return add(self, value)
    end
    if mark == "_" then
        if rest ~= "" then return nil, "malformed null" end
        return add(self, self.null)
    end
    if (mark == "$" or mark == "*") and rest == "-1" then return add(self, self.null) end
    local what = CONTAINERS[mark]
    if not what and not BULKS[mark] then return nil, "unknown type" end
    local n = length(rest)
    if not n then return nil, "malformed length" end
    if not what then
        if n > self.bytes_most - self.bytes then return nil, "too big" end
        self.bulk, self.bulk_n, self.pieces, self.have = BULKS[mark], n, nil, 0
        return false
    end
    local err = open(self, what, n)
    if err then return nil, err end
    if n > 0 then return false end
    if what == "push" then return nil, "an empty push" end
    self.depth = self.depth - 1
    if what == "notes" then return false end
    return add(self, {})
end

-- Bytes of a bulk and its end. nil: not whole yet.
local function take_bulk(self)
    local need, there = self.bulk_n + 2 - self.have, #self.buf - self.at + 1
    if there < need then
        if there > 0 then
            self.pieces = self.pieces or {}
            self.pieces[#self.pieces + 1] = sub(self.buf, self.at)
            self.have = self.have + there
            self.at = #self.buf + 1
        end
        return nil
    end
    local text = sub(self.buf, self.at, self.at + need - 1)
    self.at = self.at + need
    self.seen = self.at
    if self.pieces then
        self.pieces[#self.pieces + 1] = text
        text = table.concat(self.pieces)
        self.pieces = nil
    end
    self.bytes = self.bytes + self.bulk_n + 2
    if sub(text, -2) ~= "\r\n" then return nil, "a bulk without its end" end
    return sub(text, 1, -3)
end

local function finish_bulk(self, text)
    local what = self.bulk
    self.bulk = nil
    if what == "failure" then return add(self, M.failure(text)) end
    if what == "verbatim" then
        if sub(text, 4, 4) ~= ":" then return nil, "malformed verbatim text" end
        text = sub(text, 5)
    end
    return add(self, text)
end

--- The next reply.
--- @return boolean|nil got  true; false: feed more; nil: what came is not the protocol, or too much
--- @return any value, boolean is_push  or the words of what is wrong
function Reader:next()
    while true do
        local got, value, is_push
        if self.bulk then
            local text, err = take_bulk(self)
            if err then return nil, err end
            if not text then return false end
            got, value, is_push = finish_bulk(self, text)
        else
            local line, err = take_line(self)
            if err then return nil, err end
            if not line then return false end
            got, value, is_push = begin(self, line)
        end
        if got == nil then return nil, value end
        if self.bytes > self.bytes_most then return nil, "too big" end
        if got then
            self.bytes, self.items = 0, 0
            return true, value, is_push
        end
    end
end

return M
