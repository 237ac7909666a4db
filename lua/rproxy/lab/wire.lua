-- SPDX-License-Identifier: MIT
--
-- wire: messages of HTTP/1.1 as the lab's own ends speak them: clients that ask the site, and fakes
-- that answer it. It is no judge: what the core sends is taken as it comes, and what a test wants
-- to send goes out as it is.

local M = {}

-- ---------------------------------------------------------------- heads

local Headers = {}
Headers.__index = function(headers, name)
    if type(name) ~= "string" then return nil end
    local lower = name:lower()
    return lower ~= name and rawget(headers, lower) or nil
end

local function add(headers, all, name, value)
    local before = rawget(headers, name)
    rawset(headers, name, before and before .. ", " .. value or value)
    all[name] = all[name] or {}
    table.insert(all[name], value)
end

-- Fields by name in lower case, joined by commas; and each as a list.
local function read_fields(lines)
    local headers, all = setmetatable({}, Headers), {}
    for name, value in lines:gmatch("([^:\r\n]+):[ \t]*([^\r\n]*)") do
        add(headers, all, name:lower(), (value:gsub("[ \t]+$", "")))
    end
    return headers, all
end

--- "name: value" lines of a table: a value is text, a number, or a list of such. In the order of
--- names, so that the same table is the same bytes.
function M.lines(fields)
    local names, out = {}, {}
    for name in pairs(fields or {}) do names[#names + 1] = name end
    table.sort(names, function(a, b) return tostring(a) < tostring(b) end)
    for _, name in ipairs(names) do
        local value = fields[name]
        if type(name) == "number" then -- { "name: value", .. } goes out as it stands
            out[#out + 1] = value .. "\r\n"
        else
            for _, one in ipairs(type(value) == "table" and value or { value }) do
                out[#out + 1] = ("%s: %s\r\n"):format(name, tostring(one))
            end
        end
    end
    return table.concat(out)
end

-- ---------------------------------------------------------------- reading

local Reader = {}
Reader.__index = Reader

--- Reads messages out of bytes that come in pieces.
--- @param what string  "request" or "response"
--- @param method string|nil  of the request that a response answers
function M.reader(what, method)
    return setmetatable({ what = what, method = method, buf = "", interim = {} }, Reader)
end

local function no_body(reader, msg)
    if reader.what == "request" then
        return not msg.headers["content-length"] and not msg.headers["transfer-encoding"]
    end
    return reader.method == "HEAD" or msg.status == 204 or msg.status == 304
        or (reader.method == "CONNECT" and msg.status < 300) or msg.status == 101
end

function Reader:head()
    local stop = select(2, self.buf:find("\r\n\r\n", 1, true))
    if not stop then return nil end
    local head = self.buf:sub(1, stop)
    self.buf = self.buf:sub(stop + 1)
    local line, rest = head:match("^([^\r\n]*)\r\n(.*)$")
    local msg = { line = line, parts = {} }
    msg.headers, msg.all = read_fields(rest)
    if self.what == "request" then
        msg.method, msg.target, msg.version = line:match("^(%S+) (%S+) HTTP/(%S+)$")
    else
        local version, status, reason = line:match("^HTTP/(%S+) (%d%d%d) ?(.*)$")
        msg.version, msg.status, msg.reason = version, tonumber(status), reason
    end
    return msg
end

function Reader:frame(msg)
    if no_body(self, msg) then self.left = 0
    elseif (msg.headers["transfer-encoding"] or ""):lower():find("chunked", 1, true) then
        self.chunked = true
    elseif msg.headers["content-length"] then self.left = tonumber(msg.headers["content-length"])
    else self.until_end = true end
end

function Reader:finish()
    local msg = self.msg
    msg.body, msg.whole = table.concat(msg.parts), true
    return msg
end

function Reader:take(n)
    local piece = self.buf:sub(1, n)
    self.buf = self.buf:sub(#piece + 1)
    if piece ~= "" then table.insert(self.msg.parts, piece) end
    return #piece
end

-- True: the last chunk and the trailers were read.
function Reader:read_chunks()
    while true do
        if self.chunk_left then
            self.chunk_left = self.chunk_left - self:take(self.chunk_left)
            if self.chunk_left > 0 or #self.buf < 2 then return false end
            self.buf, self.chunk_left = self.buf:sub(3), nil
        end
        local size, stop = self.buf:match("^(%x+)[^\r\n]*\r\n()")
        if not size then return false end
        if tonumber(size, 16) == 0 then
            local trailers = self.buf:sub(stop)
            local last = trailers:match("^\r\n()") or trailers:match("\r\n\r\n()")
            if not last then return false end
            self.msg.trailers = read_fields(trailers:sub(1, last - 1))
            self.buf = trailers:sub(last)
            return true
        end
        self.buf, self.chunk_left = self.buf:sub(stop), tonumber(size, 16)
    end
end

--- Add bytes. The message once it is whole; what comes after it stays for the next one.
--- @param bytes string
--- @return table|nil message
function Reader:feed(bytes)
    self.buf = self.buf .. bytes
    while not self.msg do
        local msg = self:head()
        if not msg then return nil end
        if msg.status and msg.status >= 100 and msg.status < 200 and msg.status ~= 101 then
            table.insert(self.interim, msg)
        else
            self.msg = msg
            self:frame(msg)
        end
    end
    if self.chunked then return self:read_chunks() and self:finish() or nil end
    if self.until_end then
        self:take(#self.buf)
        return nil
    end
    self.left = self.left - self:take(self.left)
    return self.left == 0 and self:finish() or nil
end

--- The connection ended: the message if that is its end, else what came of it.
--- @return table|nil message  whole or not
function Reader:ended()
    if not self.msg then return nil end
    if self.until_end then return self:finish() end
    self.msg.body = table.concat(self.msg.parts)
    return self.msg
end

--- Ready for the next message of the same connection.
function Reader:again(method)
    self.msg, self.chunked, self.until_end, self.left, self.chunk_left = nil, nil, nil, nil, nil
    self.method, self.interim = method, {}
end

-- ---------------------------------------------------------------- writing

local function has(fields, wanted)
    for name in pairs(fields or {}) do
        if type(name) == "string" and name:lower() == wanted then return true end
        if type(name) == "number" and fields[name]:lower():find("^" .. wanted:gsub("%-", "%%-")
            .. ":") then return true end
    end
    return false
end

local function chunks_of(parts, trailers)
    local out = {}
    for _, part in ipairs(parts) do
        if part ~= "" then out[#out + 1] = ("%x\r\n%s\r\n"):format(#part, part) end
    end
    out[#out + 1] = "0\r\n" .. M.lines(trailers) .. "\r\n"
    return table.concat(out)
end

-- A list of pieces goes in chunks.
local function with_body(head, fields, body, trailers, needs_length)
    if type(body) == "table" or trailers then
        local parts = type(body) == "table" and body or { body or "" }
        return head .. "transfer-encoding: chunked\r\n\r\n" .. chunks_of(parts, trailers)
    end
    if (body or needs_length) and not has(fields, "content-length")
        and not has(fields, "transfer-encoding") then
        head = head .. ("content-length: %d\r\n"):format(#(body or ""))
    end
    return head .. "\r\n" .. (body or "")
end

--- @param ask table  method, target, host, headers, body (text, or a list of chunks), trailers
function M.request(ask)
    local head = ("%s %s HTTP/%s\r\n"):format(ask.method, ask.target, ask.version or "1.1")
    if ask.host and not has(ask.headers, "host") then
        head = head .. "host: " .. ask.host .. "\r\n"
    end
    return with_body(head .. M.lines(ask.headers), ask.headers, ask.body, ask.trailers, false)
end

local REASONS = {
    [200] = "OK", [201] = "Created", [204] = "No Content", [301] = "Moved Permanently",
    [302] = "Found", [304] = "Not Modified", [400] = "Bad Request", [401] = "Unauthorized",
    [403] = "Forbidden", [404] = "Not Found", [429] = "Too Many Requests",
    [500] = "Internal Server Error", [502] = "Bad Gateway", [503] = "Service Unavailable",
}

--- @param answer table  status, headers, body (text, or a list of chunks), trailers
--- @param method string  of the request that it answers
function M.response(answer, method)
    local status = answer.status
    local head = ("HTTP/1.1 %d %s\r\n"):format(status, REASONS[status] or "Status")
        .. M.lines(answer.headers)
    if method == "HEAD" or status == 204 or status == 304 or status < 200 then
        return head .. "\r\n"
    end
    return with_body(head, answer.headers, answer.body, answer.trailers, true)
end

return M
