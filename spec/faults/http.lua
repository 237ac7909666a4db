-- SPDX-License-Identifier: MIT
--
-- http: bodies that can be checked byte for byte, and a strict reader of messages that come in
-- pieces. The reader says of every message whether it is whole.

local M = {}

--- n bytes that belong to `id` and to nothing else.
function M.body(id, n)
    if n == 0 then return "" end
    local unit = id .. "|"
    return unit:rep(math.ceil(n / #unit)):sub(1, n)
end

function M.chunked(bytes, step)
    local out = {}
    for at = 1, #bytes, step do
        local piece = bytes:sub(at, at + step - 1)
        out[#out + 1] = ("%x\r\n%s\r\n"):format(#piece, piece)
    end
    out[#out + 1] = "0\r\n\r\n"
    return table.concat(out)
end

-- Head of a message at the front of the bytes: first line, fields (lower-case names), its length.
local function head_of(bytes)
    local last = select(2, bytes:find("\r\n\r\n", 1, true))
    if not last then return nil end
    local first = bytes:match("^([^\r\n]*)\r\n")
    local fields = {}
    for name, value in bytes:sub(#first + 3, last - 2):gmatch("([^:\r\n]+):[ \t]*([^\r\n]*)\r\n") do
        name = name:lower()
        fields[name] = fields[name] and fields[name] .. ", " .. value or value
    end
    return first, fields, last
end

-- ---------------------------------------------------------------- bodies

local Body = {}
Body.__index = Body

local function body_reader(how, n)
    return setmetatable({ how = how, left = n, parts = {}, n = 0,
        done = how == "none" or (how == "length" and n == 0) }, Body)
end

function Body:keep(piece)
    self.parts[#self.parts + 1] = piece
    self.n = self.n + #piece
end

function Body:text()
    return table.concat(self.parts)
end

-- Each takes what it can from the bytes and returns the rest.
local take = {}

function take.none(_, bytes)
    return bytes
end

function take.length(b, bytes)
    local piece = bytes:sub(1, b.left)
    b:keep(piece)
    b.left = b.left - #piece
    b.done = b.left == 0
    return bytes:sub(#piece + 1)
end

function take.close(b, bytes)
    b:keep(bytes)
    return ""
end

function take.chunked(b, bytes)
    while not b.done do
        if not b.left then
            local size, rest = bytes:match("^(%x+)[^\r\n]*\r\n(.*)$")
            if not size then
                b.bad = #bytes > 64 and not bytes:find("^%x+")
                return bytes
            end
            b.left, bytes = tonumber(size, 16), rest
            b.last = b.left == 0
        end
        if b.last then
            local at = bytes:sub(1, 2) == "\r\n" and 2
                or select(2, bytes:find("\r\n\r\n", 1, true)) -- trailers
            if not at then return bytes end
            b.done = true
            return bytes:sub(at + 1)
        end
        local piece = bytes:sub(1, b.left)
        b:keep(piece)
        b.left = b.left - #piece
        bytes = bytes:sub(#piece + 1)
        if b.left > 0 then return bytes end
        if #bytes < 2 then b.end_missing = true return bytes end
        b.bad = b.bad or bytes:sub(1, 2) ~= "\r\n"
        bytes, b.left = bytes:sub(3), nil
    end
    return bytes
end

-- A chunk's data is complete and its CRLF has not come.
local plain_chunked = take.chunked
function take.chunked(b, bytes)
    if b.end_missing then
        if #bytes < 2 then return bytes end
        b.bad = bytes:sub(1, 2) ~= "\r\n"
        bytes, b.left, b.end_missing = bytes:sub(3), nil, nil
    end
    return plain_chunked(b, bytes)
end

function Body:feed(bytes)
    if self.done then return bytes end
    return take[self.how](self, bytes)
end

local function framing(fields)
    local coding = fields["transfer-encoding"]
    if coding then return coding:lower() == "chunked" and "chunked" or "odd" end
    if fields["content-length"] then return "length", tonumber(fields["content-length"]) end
    return nil
end

-- ---------------------------------------------------------------- messages

--- The request at the front of the bytes, or nil: { method, target, version, fields, body }, rest.
function M.request(bytes)
    local first, fields, last = head_of(bytes)
    if not first then return nil end
    local method, target, version = first:match("^(%u+) (%S+) HTTP/(1%.[01])$")
    if not method then return { bad = first }, "" end
    local how, n = framing(fields)
    return { method = method, target = target, version = version, fields = fields,
        body = body_reader(how or "none", n) }, bytes:sub(last + 1)
end

--- The response at the front of the bytes, or nil: { status, fields, body }, rest.
function M.response(bytes, method)
    local first, fields, last = head_of(bytes)
    if not first then return nil end
    local version, status = first:match("^HTTP/(1%.[01]) (%d%d%d) ?")
    if not status then return { bad = first }, "" end
    status = tonumber(status)
    local how, n = framing(fields)
    if method == "HEAD" or status < 200 or status == 204 or status == 304 then how = "none" end
    return { status = status, version = version, fields = fields, body = body_reader(how or "close", n) },
        bytes:sub(last + 1)
end

return M
