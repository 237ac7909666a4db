-- SPDX-License-Identifier: MIT
--
-- h2_codec: HTTP/1.1 text on this side, frames of HTTP/2 on the other, without I/O: so that specs
-- which say what they mean in HTTP/1.1 run over HTTP/2, too (spec.support.protocol).
--
--   local codec = h2_codec.client()          -- or .server(): an upstream played by a spec
--   codec:write("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
--   socket:send(codec:take_out())            -- frames; first of all the preface
--   codec:feed(bytes)                        -- frames that came
--   codec:take_in()                          -- the response as text; "" while there is none
--   codec.ended                              -- "closed" or "reset": nothing comes behind that text
--   codec:is_blocked()                       -- windows keep back what was written
--
-- A client may write requests one behind the other (streams at once); their responses are shown in
-- that order. A server shows one request at a time (one stream at a time is what its SETTINGS allow).
--
-- What HTTP/2 has other means for is translated: chunks and lengths into frames and END_STREAM and
-- back (a body without a length comes as chunks), Connection: close of a request into an end of the
-- text behind its response, that of a response into GOAWAY, the end of a body that ends by close into
-- END_STREAM. Names of fields are shown as Title-Case, statuses without a reason. What HTTP/2 has no
-- means for raises "HTTP/2 cannot say ...": tests of such things begin with protocol.only.

local bit = require("bit")
local h2 = require("spec.support.h2")

local M = {}

local FRAME_MOST = 16384
local FIRST_WINDOW = 65535
local SETTING_STREAMS, SETTING_WINDOW = 3, 4

local function cannot(what)
    error("HTTP/2 cannot say " .. what:gsub("%c", "?"):sub(1, 200), 0)
end

local function u32_at(s, at)
    local a, b, c, d = s:byte(at, at + 3)
    return a * 2 ^ 24 + b * 2 ^ 16 + c * 2 ^ 8 + d
end

local function title(name)
    return (name:gsub("%f[%w]%l", string.upper))
end

-- ---------------------------------------------------------------- heads

-- Fields of a head's lines, names in lower case.
local function parse_fields(text)
    local fields = {}
    for line in text:gmatch("(.-)\r\n") do
        local name, value = line:match("^([%w!#$%%&'*+%-.^_`|~]+):[ \t]*(.-)[ \t]*$")
        if not name or value:find("[%z\r\n]") then cannot("the line " .. line) end
        fields[#fields + 1] = { name:lower(), value }
    end
    return fields
end

local ABOUT_CONNECTIONS = { ["keep-alive"] = true, ["proxy-connection"] = true, upgrade = true }

-- Take away what frames a message in HTTP/1.1. Returns the other fields, and the framing:
-- { close = bool, kind = "none" | "length" | "chunked", length = n }.
local function unframe(fields)
    local rest, framing = {}, { kind = "none" }
    for _, field in ipairs(fields) do
        local name, value = field[1], field[2]
        if ABOUT_CONNECTIONS[name] then cannot(name .. ": " .. value) end
        if name == "connection" then
            for word in value:lower():gmatch("[^%s,]+") do
                if word == "close" then framing.close = true
                elseif word ~= "keep-alive" and word ~= "te" then cannot("Connection: " .. value) end
            end
        elseif name == "transfer-encoding" then
            if value ~= "chunked" or framing.kind ~= "none" then cannot("the coding " .. value) end
            framing.kind = "chunked"
        else
            if name == "content-length" then
                if framing.kind ~= "none" or not value:find("^%d+$") then
                    cannot("the length " .. value)
                end
                framing.kind, framing.length = "length", tonumber(value)
            elseif name == "te" and value ~= "trailers" then
                cannot("TE: " .. value)
            end
            rest[#rest + 1] = field
        end
    end
    return rest, framing
end

local function request_head(line, fields)
    local method, target, version = line:match("^(%S+) (%S+) (HTTP/1%.%d)$")
    if not method or version ~= "HTTP/1.1" then cannot("the request line " .. line) end
    if not target:find("^/") and not (target == "*" and method == "OPTIONS") then
        cannot("the target " .. target)
    end
    local rest, framing = unframe(fields)
    local host
    for i = #rest, 1, -1 do
        if rest[i][1] == "host" then
            if host then cannot("two hosts") end
            host = table.remove(rest, i)[2]
        end
    end
    if not host then cannot("a request without a host") end
    local list = { { ":method", method }, { ":scheme", "http" }, { ":path", target },
        { ":authority", host } }
    for _, field in ipairs(rest) do list[#list + 1] = field end
    return list, framing, method
end

local function response_head(line, fields)
    local version, status = line:match("^(HTTP/1%.[01]) ([1-5]%d%d) ?[^\r\n]*$")
    if not version or status == "101" then cannot("the status line " .. line) end
    local rest, framing = unframe(fields)
    local list = { { ":status", status } }
    for _, field in ipairs(rest) do list[#list + 1] = field end
    return list, framing, tonumber(status)
end

-- ---------------------------------------------------------------- writing: text to frames

-- A reader of written HTTP/1.1 text. owner:on_head(line, fields) returns how the body goes on
-- ("none" "length" "chunked" "close", and its length), owner:on_body(bytes, is_last, trailers).
-- What is left of the text begins at `at`: cutting it off at each chunk would copy all of it.
local Text = {}
Text.__index = Text

local function new_text(owner)
    return setmetatable({ owner = owner, buf = "", at = 1, state = "head" }, Text)
end

function Text:head()
    local _, last = self.buf:find("\r\n\r\n", self.at, true)
    if not last then return false end
    local line, rest = self.buf:sub(self.at, last - 2):match("^(.-)\r\n(.*)$")
    self.at = last + 1
    self.state, self.left = self.owner:on_head(line, parse_fields(rest))
    if self.state == "none" or self.state == "length" and self.left == 0 then
        self.state = "head"
    end
    return true
end

function Text:body()
    if self.at > #self.buf then return false end
    local bytes = self.buf:sub(self.at, self.left and self.at + self.left - 1 or -1)
    self.at = self.at + #bytes
    if self.left then self.left = self.left - #bytes end
    return bytes
end

function Text:length()
    local bytes = self:body()
    if not bytes then return false end
    if self.left == 0 then self.state = "head" end
    self.owner:on_body(bytes, self.left == 0)
    return true
end

function Text:close()
    local bytes = self:body()
    if bytes then self.owner:on_body(bytes, false) end
    return false
end

function Text:chunked()
    local line, rest = self.buf:match("^([^\n]-)\r\n()", self.at)
    if not line then return false end
    local digits = line:match("^(%x+)%s*$") or line:match("^(%x+)[ \t]*;")
    if not digits then cannot("the chunk size " .. line) end
    self.at, self.left = rest, tonumber(digits, 16)
    self.state = self.left == 0 and "trailers" or "chunk"
    return true
end

function Text:chunk()
    if self.left > 0 then
        local bytes = self:body()
        if not bytes then return false end
        self.owner:on_body(bytes, false)
        return true
    end
    if #self.buf < self.at + 1 then return false end
    if self.buf:sub(self.at, self.at + 1) ~= "\r\n" then cannot("a chunk that does not end") end
    self.at, self.state = self.at + 2, "chunked"
    return true
end

function Text:trailers()
    local last
    if self.buf:sub(self.at, self.at + 1) == "\r\n" then
        last = self.at + 1
    else
        last = select(2, self.buf:find("\r\n\r\n", self.at, true))
        if not last then return false end
    end
    local fields = parse_fields(self.buf:sub(self.at, last - 2))
    self.at, self.state = last + 1, "head"
    self.owner:on_body("", true, fields)
    return true
end

function Text:write(bytes)
    self.buf = self.at > #self.buf and bytes or self.buf:sub(self.at) .. bytes
    self.at = 1
    while self[self.state](self) do end
end

-- ---------------------------------------------------------------- the connection

local Codec = {}
Codec.__index = Codec

local function new_codec(first)
    local codec = setmetatable({ out = { first }, text = {}, raw = "", streams = {},
        window = FIRST_WINDOW, first_window = FIRST_WINDOW, inflater = h2.inflater() }, Codec)
    codec.writer = new_text(codec)
    return codec
end

local function send(self, kind, flags, id, payload)
    self.out[#self.out + 1] = h2.frame(kind, flags, id, payload)
end

-- A field block, in as many frames as it takes.
local function send_block(self, id, fields, ends)
    local block = h2.block(fields)
    local kind, flags = h2.HEADERS, ends and h2.END_STREAM or 0
    repeat
        local part = block:sub(1, FRAME_MOST)
        block = block:sub(FRAME_MOST + 1)
        send(self, kind, flags + (block == "" and h2.END_HEADERS or 0), id, part)
        kind, flags = h2.CONTINUATION, 0
    until block == ""
end

local function new_stream(self, id)
    local s = { id = id, window = self.first_window, queue = {}, first = 1, last = 0 }
    self.streams[id] = s
    return s
end

-- Send what the windows allow of a stream's queue.
local function pump_stream(self, s)
    while s.queue[s.first] and not s.dropped do
        local piece = s.queue[s.first]
        local n = math.min(#piece.bytes - piece.at + 1, FRAME_MOST, s.window, self.window)
        if n <= 0 and #piece.bytes > 0 then return end
        local bytes = piece.bytes:sub(piece.at, piece.at + n - 1)
        piece.at, s.window, self.window = piece.at + n, s.window - n, self.window - n
        local done = piece.at > #piece.bytes
        local trailers = piece.trailers and #piece.trailers > 0 and piece.trailers
        local ends = done and piece.last and not trailers
        if #bytes > 0 or ends then
            send(self, h2.DATA, ends and h2.END_STREAM or 0, s.id, bytes)
        end
        if done then
            if trailers then send_block(self, s.id, trailers, true) end
            s.queue[s.first], s.first = nil, s.first + 1
            if piece.last then self:on_sent(s) end
        end
    end
end

local function pump(self)
    for id, s in pairs(self.streams) do
        pump_stream(self, s)
        if s.sent and s.came then self.streams[id] = nil end
    end
end

function Codec:on_body(bytes, last, trailers)
    local s = self.writing
    s.last = s.last + 1
    s.queue[s.last] = { bytes = bytes, at = 1, last = last, trailers = trailers }
end

--- The other side says no more (how: "closed" or "reset").
function Codec:eof(how)
    self.ended = self.ended or how
end

--- Text of the spec. Raises for what HTTP/2 cannot say.
function Codec:write(bytes)
    self.writer:write(bytes)
    pump(self)
end

--- Frames to send; "" when there are none.
function Codec:take_out()
    if #self.out == 0 then return "" end
    local bytes = table.concat(self.out)
    self.out = {}
    return bytes
end

--- Text that came; "" when there is none.
function Codec:take_in()
    if #self.text == 0 then return "" end
    local bytes = table.concat(self.text)
    self.text = {}
    return bytes
end

--- Do windows keep back some of what was written?
function Codec:is_blocked()
    for _, s in pairs(self.streams) do
        if s.queue[s.first] and not s.dropped then return true end
    end
    return false
end

-- ---------------------------------------------------------------- reading: frames

local on = {}

on[h2.SETTINGS] = function(self, f)
    if bit.band(f.flags, h2.ACK) ~= 0 then return end
    for at = 1, #f.payload, 6 do
        local a, b = f.payload:byte(at, at + 1)
        if a * 256 + b == SETTING_WINDOW then
            local now = u32_at(f.payload, at + 2)
            for _, s in pairs(self.streams) do s.window = s.window + now - self.first_window end
            self.first_window = now
        end
    end
    send(self, h2.SETTINGS, h2.ACK, 0, "")
end

on[h2.WINDOW_UPDATE] = function(self, f)
    local n, s = u32_at(f.payload, 1), self.streams[f.id]
    if f.id == 0 then self.window = self.window + n elseif s then s.window = s.window + n end
end

on[h2.PING] = function(self, f)
    if bit.band(f.flags, h2.ACK) == 0 then send(self, h2.PING, h2.ACK, 0, f.payload) end
end

on[h2.HEADERS] = function(self, f)
    if bit.band(f.flags, h2.END_HEADERS) == 0 then
        self.block = f
        return
    end
    self:on_headers(f.id, h2.inflate(self, f.payload), bit.band(f.flags, h2.END_STREAM) ~= 0)
end

on[h2.CONTINUATION] = function(self, f)
    local first = self.block
    first.payload = first.payload .. f.payload
    if bit.band(f.flags, h2.END_HEADERS) ~= 0 then
        first.flags, self.block = first.flags + h2.END_HEADERS, nil
        on[h2.HEADERS](self, first)
    end
end

on[h2.DATA] = function(self, f)
    local ends = bit.band(f.flags, h2.END_STREAM) ~= 0
    if #f.payload > 0 then
        send(self, h2.WINDOW_UPDATE, 0, 0, h2.u32(#f.payload))
        if not ends then send(self, h2.WINDOW_UPDATE, 0, f.id, h2.u32(#f.payload)) end
    end
    self:on_data(f.id, f.payload, ends)
end

on[h2.RST_STREAM] = function(self, f)
    self:on_reset(f.id, u32_at(f.payload, 1))
end

on[h2.GOAWAY] = function(self, f)
    self:on_goaway(u32_at(f.payload, 1))
end

--- Bytes of the connection.
function Codec:feed(bytes)
    local raw, at = self.raw == "" and bytes or self.raw .. bytes, 1
    if self.preface then
        if #raw < #self.preface then
            self.raw = raw
            return
        end
        assert(raw:sub(1, #self.preface) == self.preface, "no preface of HTTP/2")
        at, self.preface = at + #self.preface, nil
    end
    while #raw - at + 1 >= 9 and not self.ended do
        local n = math.floor(u32_at(raw, at) / 256) -- 24 bits
        if #raw - at + 1 < 9 + n then break end
        local f = { kind = raw:byte(at + 3), flags = raw:byte(at + 4),
            id = bit.band(u32_at(raw, at + 5), 0x7fffffff), payload = raw:sub(at + 9, at + 8 + n) }
        at = at + 9 + n
        if on[f.kind] then on[f.kind](self, f) end
    end
    self.raw = raw:sub(at)
    pump(self)
end

-- The text of a message's body. s.kind: how it is shown.
local function show_body(add, s, bytes, ends, trailers)
    if s.kind == "length" and #bytes > 0 then add(bytes) end
    if s.kind ~= "chunked" then return end
    if #bytes > 0 then add(("%x\r\n"):format(#bytes) .. bytes .. "\r\n") end
    if not ends then return end
    add("0\r\n")
    for _, field in ipairs(trailers or {}) do
        add(title(field[1]) .. ": " .. field[2] .. "\r\n")
    end
    add("\r\n")
end

local function has(fields, name)
    for _, field in ipairs(fields) do
        if field[1] == name then return true end
    end
    return false
end

-- The lines of a head behind its first one; s.kind is set by whether a body follows.
local function show_fields(lines, fields, s, has_body)
    for _, field in ipairs(fields) do
        if field[1]:sub(1, 1) ~= ":" then
            lines[#lines + 1] = title(field[1]) .. ": " .. field[2]
        end
    end
    s.kind = "none"
    if has_body then
        s.kind = has(fields, "content-length") and "length" or "chunked"
        if s.kind == "chunked" then lines[#lines + 1] = "Transfer-Encoding: chunked" end
    end
    return table.concat(lines, "\r\n") .. "\r\n\r\n"
end

-- ---------------------------------------------------------------- a client

local Client = setmetatable({}, { __index = Codec })
Client.__index = Client

--- The side of a client. opt: scheme ("http").
function M.client(opt)
    local c = new_codec(h2.PREFACE .. h2.frame(h2.SETTINGS, 0, 0, ""))
    c.scheme, c.next_id, c.order = opt and opt.scheme or "http", 1, {}
    return setmetatable(c, Client)
end

function Client:on_head(line, fields)
    local list, framing, method = request_head(line, fields)
    list[2][2] = self.scheme
    local s = new_stream(self, self.next_id)
    self.next_id = self.next_id + 2
    s.method, s.close, s.text, self.writing = method, framing.close, {}, s
    self.order[#self.order + 1] = s
    local empty = framing.kind == "none" or framing.length == 0
    send_block(self, s.id, list, empty)
    if empty then s.sent = true end
    return framing.kind, framing.length
end

function Client:on_sent(s) -- luacheck: no self
    s.sent = true
end

-- The response is whole: nobody wants the rest of the request.
local function give_up_rest(self, s)
    if s.sent then return end
    s.dropped, s.sent = true, true
    send(self, h2.RST_STREAM, 0, s.id, h2.u32(h2.CANCEL))
end

-- Show what came of the streams whose turn it is.
local function show_in_order(self)
    while not self.ended do
        local s = self.order[1]
        if not s then
            if self.no_more then self.ended = "closed" end
            return
        end
        for _, bytes in ipairs(s.text) do self.text[#self.text + 1] = bytes end
        s.text = {}
        if s.broken then self.ended = s.broken end
        if not s.came then return end
        if s.queue[s.first] then give_up_rest(self, s) end
        table.remove(self.order, 1)
        if s.close then self.ended = "closed" end
    end
end

local function adder(s)
    return function(bytes) s.text[#s.text + 1] = bytes end
end

function Client:on_headers(id, fields, ends)
    local s = self.streams[id]
    if not s or s.came then return end
    local status = fields[1][1] == ":status" and tonumber(fields[1][2])
    if status then
        local has_body = status >= 200 and status ~= 204 and status ~= 304 and s.method ~= "HEAD"
        s.status = status
        s.text[#s.text + 1] = show_fields({ ("HTTP/1.1 %d "):format(status) }, fields, s, has_body)
        if ends then show_body(adder(s), s, "", true) end
    else
        show_body(adder(s), s, "", true, fields)
    end
    s.came = ends
    show_in_order(self)
end

function Client:on_data(id, bytes, ends)
    local s = self.streams[id]
    if not s or s.came then return end
    show_body(adder(s), s, bytes, ends)
    s.came = ends
    show_in_order(self)
end

function Client:on_reset(id, code)
    local s = self.streams[id]
    if not s then return end
    s.dropped, s.sent = true, true
    if not s.came then s.broken = code == h2.NO_ERROR and "closed" or "reset" end
    show_in_order(self)
end

function Client:on_goaway(last)
    self.no_more = true
    for _, s in ipairs(self.order) do
        if s.id > last then s.broken = "closed" end
    end
    show_in_order(self)
end

--- Nothing more is written.
function Client:finish() -- luacheck: no self
end

-- ---------------------------------------------------------------- a server

local Server = setmetatable({}, { __index = Codec })
Server.__index = Server

--- The side of a server: one stream at a time.
function M.server()
    local c = new_codec(h2.frame(h2.SETTINGS, 0, 0, h2.settings { { SETTING_STREAMS, 1 } }))
    c.preface = h2.PREFACE
    return setmetatable(c, Server)
end

function Server:on_headers(id, fields, ends)
    local s = self.streams[id]
    local add = function(bytes) self.text[#self.text + 1] = bytes end
    if s then
        s.came = ends
        return show_body(add, s, "", true, fields)
    elseif self.writing and not self.writing.sent then
        return send(self, h2.RST_STREAM, 0, id, h2.u32(h2.REFUSED_STREAM))
    end
    s = new_stream(self, id)
    s.came, self.writing = ends, s
    local head = {}
    for _, field in ipairs(fields) do head[field[1]] = head[field[1]] or field[2] end
    s.method = head[":method"]
    local lines = { ("%s %s HTTP/1.1"):format(s.method, head[":path"] or head[":authority"]) }
    if head[":authority"] and not head.host then lines[2] = "Host: " .. head[":authority"] end
    add(show_fields(lines, fields, s, not ends))
end

function Server:on_data(id, bytes, ends)
    local s = self.streams[id]
    if not s then return end
    show_body(function(text) self.text[#self.text + 1] = text end, s, bytes, ends)
    s.came = ends
end

function Server:on_reset(id)
    local s = self.streams[id]
    if not s then return end
    if not (s.sent and s.came) then self.ended = "reset" end
    s.dropped, self.streams[id] = true, nil
end

function Server:on_goaway() -- luacheck: no self
end

function Server:on_head(line, fields)
    local list, framing, status = response_head(line, fields)
    local s = self.writing
    if not s or s.sent or s.dropped then cannot("a response that nobody asked for: " .. line) end
    if status < 200 then
        send_block(self, s.id, list, false)
        return "none"
    end
    s.close = framing.close
    local kind = framing.kind == "none" and "close" or framing.kind
    if s.method == "HEAD" or status == 204 or status == 304 or framing.length == 0 then
        kind = "none"
    end
    send_block(self, s.id, list, kind == "none")
    if kind == "none" then self:on_sent(s) end
    return kind, framing.length
end

function Server:on_sent(s)
    s.sent = true
    if s.close then
        send(self, h2.GOAWAY, 0, 0, h2.u32(s.id) .. h2.u32(h2.NO_ERROR))
    end
end

--- The client broke off its stream, which ends what is shown here as an end of the connection would.
--- It lives on: from now on what comes is shown again.
function Server:revive()
    self.ended, self.text, self.writing, self.writer = nil, {}, nil, new_text(self)
    self:feed("")
end

--- Nothing more is written: the end of a body that ends so.
function Server:finish()
    if self.writer.state == "close" then
        self.writer.state = "head"
        self:on_body("", true)
        pump(self)
    end
end

return M
