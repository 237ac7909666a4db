-- SPDX-License-Identifier: MIT
--
-- h2: an HTTP/2 client that sends exactly the frames it is told (RFC 9113).
--
--   local h2 = require("spec.support.h2")
--   local c = h2.connect(port)                       -- preface and SETTINGS are sent
--   local res = c:get("/hello")                      -- status, fields, body, trailers, interim
--   local id = c:request { method = "POST", path = "/x", fields = { { "a", "b" } }, body = "hi" }
--   local res = c:response(id)                       -- once it is whole, or reset
--   c:send(h2.PING, 0, 0, ("x"):rep(8))              -- any frame: type, flags, stream, payload
--   c:wait(function() return c.goaway end)           -- read until something holds
--
--   local s = h2.accept(up:accept())                 -- an upstream played by the spec
--   local req = s:next_request()                     -- id, head (table by name), body when ended
--   s:respond(req.id, { status = 200, fields = {}, body = "hi", trailers = { { "a", "b" } } })
--
-- A response record: status (number), fields (list of { name, value }), body, trailers (list),
-- interim (list of statuses), ended, reset (error code). Windows are opened again as content comes
-- unless opt.windows is false. Field blocks are sent as plain literals, and read by nghttp2's inflater.

local bit = require("bit")
local ffi = require("ffi")
local socket = require("socket")
local wire = require("spec.support.wire")

ffi.cdef [[
typedef struct { uint8_t *name, *value; size_t namelen, valuelen; uint8_t flags; } rpspec_h2_nv;
int nghttp2_hd_inflate_new(void **inflater);
void nghttp2_hd_inflate_del(void *inflater);
ssize_t nghttp2_hd_inflate_hd2(void *inflater, rpspec_h2_nv *nv, int *flags, const uint8_t *in,
                               size_t n, int last);
int nghttp2_hd_inflate_end_headers(void *inflater);
]]

local ng = ffi.load("nghttp2")

local M = {
    DATA = 0, HEADERS = 1, PRIORITY = 2, RST_STREAM = 3, SETTINGS = 4, PUSH_PROMISE = 5, PING = 6,
    GOAWAY = 7, WINDOW_UPDATE = 8, CONTINUATION = 9, PRIORITY_UPDATE = 16,
    END_STREAM = 1, ACK = 1, END_HEADERS = 4, PADDED = 8, PRIORITIZED = 32,
    PREFACE = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    NO_ERROR = 0, PROTOCOL_ERROR = 1, INTERNAL_ERROR = 2, FLOW_CONTROL_ERROR = 3,
    STREAM_CLOSED = 5, FRAME_SIZE_ERROR = 6, REFUSED_STREAM = 7, CANCEL = 8, COMPRESSION_ERROR = 9,
    ENHANCE_YOUR_CALM = 11,
}
local Client = {}
Client.__index = Client

local INFLATE_EMIT, INFLATE_FINAL = 2, 1
local FRAME_MOST = 16384

local function u32(n)
    return string.char(bit.band(bit.rshift(n, 24), 255), bit.band(bit.rshift(n, 16), 255),
        bit.band(bit.rshift(n, 8), 255), bit.band(n, 255))
end

local function read_u32(s, at)
    local a, b, c, d = s:byte(at, at + 3)
    return a * 2 ^ 24 + b * 2 ^ 16 + c * 2 ^ 8 + d
end
M.u32 = u32

--- The bytes of one frame.
function M.frame(kind, flags, id, payload)
    return u32(#payload):sub(2) .. string.char(kind, flags) .. u32(id) .. payload
end

-- An integer with a prefix of `bits` bits (RFC 7541 §5.1).
local function integer(value, bits, first)
    local most = 2 ^ bits - 1
    if value < most then return string.char(first + value) end
    local out = { string.char(first + most) }
    value = value - most
    while value >= 128 do
        out[#out + 1] = string.char(value % 128 + 128)
        value = math.floor(value / 128)
    end
    out[#out + 1] = string.char(value)
    return table.concat(out)
end

--- A field block: literals without indexing, nothing compressed (RFC 7541 §6.2.2).
function M.block(fields)
    local out = {}
    for _, f in ipairs(fields) do
        out[#out + 1] = "\0" .. integer(#f[1], 7, 0) .. f[1] .. integer(#f[2], 7, 0) .. f[2]
    end
    return table.concat(out)
end

--- SETTINGS payload of { { id, value }, ... }.
function M.settings(list)
    local out = {}
    for _, s in ipairs(list) do
        out[#out + 1] = string.char(math.floor(s[1] / 256), s[1] % 256) .. u32(s[2])
    end
    return table.concat(out)
end

--- Connect. opt: settings (list), windows (false: never opened again), preface (false: send
--- nothing), wire (of wire.connect or another transport with send and recv).
function M.connect(port, opt)
    opt = opt or {}
    local c = setmetatable({
        wire = opt.wire or wire.connect(port, nil, { raw = true }), streams = {}, next_id = 1, settings = {},
        windows = opt.windows ~= false, window = 65535, first_window = 65535,
        inflater = M.inflater(),
    }, Client)
    if opt.preface ~= false then
        c.wire:send(M.PREFACE .. M.frame(M.SETTINGS, 0, 0, M.settings(opt.settings or {})))
    end
    return c
end

function Client:send(kind, flags, id, payload)
    return self.wire:send(M.frame(kind, flags, id, payload or ""))
end

--- A decoder of field blocks, for one direction of a connection.
function M.inflater()
    local inflater = ffi.new("void *[1]")
    assert(ng.nghttp2_hd_inflate_new(inflater) == 0)
    return ffi.gc(inflater[0], ng.nghttp2_hd_inflate_del)
end

--- The fields { name, value } of a whole block, by self.inflater.
function M.inflate(self, block)
    local fields, nv, flags = {}, ffi.new("rpspec_h2_nv"), ffi.new("int[1]")
    local at, left = ffi.cast("const uint8_t *", block), #block
    repeat
        flags[0] = 0
        local n = ng.nghttp2_hd_inflate_hd2(self.inflater, nv, flags, at, left, 1)
        assert(n >= 0, "a field block that cannot be read")
        at, left = at + n, left - tonumber(n)
        if bit.band(flags[0], INFLATE_EMIT) ~= 0 then
            fields[#fields + 1] = { ffi.string(nv.name, nv.namelen),
                ffi.string(nv.value, nv.valuelen) }
        end
    until bit.band(flags[0], INFLATE_FINAL) ~= 0
    ng.nghttp2_hd_inflate_end_headers(self.inflater)
    return fields
end

local function stream_of(self, id)
    local s = self.streams[id]
    if not s then
        s = { id = id, fields = {}, body = "", interim = {}, window = self.first_window }
        self.streams[id] = s
    end
    return s
end

local on = {}

local function head(self, f)
    local s, fields = stream_of(self, f.id), M.inflate(self, f.payload)
    local status = fields[1] and fields[1][1] == ":status" and tonumber(fields[1][2])
    if self.serves and not s.head then
        s.head = {}
        for _, field in ipairs(fields) do
            s.head[field[1]] = s.head[field[1]] and s.head[field[1]] .. ", " .. field[2] or field[2]
        end
        s.fields = fields
        self.requests[#self.requests + 1] = s
        return
    end
    if status and status < 200 then
        s.interim[#s.interim + 1] = status
        return
    elseif status then
        s.status = status
        table.remove(fields, 1)
        s.fields = fields
    else
        s.trailers = fields
    end
end

on[M.HEADERS] = function(self, f)
    assert(bit.band(f.flags, M.END_HEADERS) ~= 0, "no CONTINUATION is expected of a server here")
    head(self, f)
    if bit.band(f.flags, M.END_STREAM) ~= 0 then stream_of(self, f.id).ended = true end
end

on[M.DATA] = function(self, f)
    local s = stream_of(self, f.id)
    s.pieces = s.pieces or {}
    s.pieces[#s.pieces + 1] = f.payload
    if bit.band(f.flags, M.END_STREAM) ~= 0 then s.ended = true end
    if self.windows and #f.payload > 0 then
        self:send(M.WINDOW_UPDATE, 0, 0, u32(#f.payload))
        if not s.ended then self:send(M.WINDOW_UPDATE, 0, f.id, u32(#f.payload)) end
    end
end

on[M.RST_STREAM] = function(self, f)
    stream_of(self, f.id).reset = read_u32(f.payload, 1)
end

on[M.GOAWAY] = function(self, f)
    self.goaway = { last = read_u32(f.payload, 1), code = read_u32(f.payload, 5),
        n = (self.goaway and self.goaway.n or 0) + 1 }
end

on[M.PING] = function(self, f)
    if bit.band(f.flags, M.ACK) ~= 0 then self.pong = f.payload
    else self:send(M.PING, M.ACK, 0, f.payload) end
end

on[M.SETTINGS] = function(self, f)
    if bit.band(f.flags, M.ACK) ~= 0 then
        self.acked = true
        return
    end
    for at = 1, #f.payload, 6 do
        local a, b = f.payload:byte(at, at + 1)
        self.settings[a * 256 + b] = read_u32(f.payload, at + 2)
    end
    if self.settings[4] then -- streams that are open get the difference (RFC 9113 §6.9.2)
        local more = self.settings[4] - self.first_window
        self.first_window = self.settings[4]
        for _, stream in pairs(self.streams) do stream.window = stream.window + more end
    end
    self:send(M.SETTINGS, M.ACK, 0, "")
end

on[M.WINDOW_UPDATE] = function(self, f)
    local n = read_u32(f.payload, 1)
    if f.id == 0 then self.window = self.window + n
    else stream_of(self, f.id).window = stream_of(self, f.id).window + n end
end

--- Read one frame and take note of it; raises at the end of the connection.
function Client:read()
    local h = self.wire:recv(9)
    local n = read_u32("\0" .. h:sub(1, 3), 1)
    local f = { kind = h:byte(4), flags = h:byte(5), id = bit.band(read_u32(h, 6), 0x7fffffff),
        payload = n > 0 and self.wire:recv(n) or "" }
    if on[f.kind] then on[f.kind](self, f) end
    return f
end

--- Read until check() is true; returns its value. Raises when the connection ends before.
function Client:wait(check)
    while true do
        local value = check()
        if value then return value end
        self:read()
    end
end

--- Read until the server closes; true when it does within the wire's time.
function Client:is_closed()
    while true do
        local ok, err = pcall(self.read, self)
        if not ok then return tostring(err):find("closed") ~= nil or tostring(err):find("reset") ~= nil end
    end
end

local function pseudo(req)
    local list = { { ":method", req.method or "GET" } }
    if req.method ~= "CONNECT" or req.protocol then
        list[#list + 1] = { ":scheme", req.scheme or "http" }
        list[#list + 1] = { ":path", req.path or "/" }
    end
    if req.authority ~= false then list[#list + 1] = { ":authority", req.authority or "test" } end
    if req.protocol then list[#list + 1] = { ":protocol", req.protocol } end
    return list
end

--- Send a head. req: method, scheme, path, authority (false: none), protocol, fields (list),
--- open (true: content follows). Returns the stream's id.
function Client:head(req)
    local id = self.next_id
    self.next_id = id + 2
    stream_of(self, id)
    local list = pseudo(req)
    for _, f in ipairs(req.fields or {}) do list[#list + 1] = f end
    self:send(M.HEADERS, M.END_HEADERS + (req.open and 0 or M.END_STREAM), id, M.block(list))
    return id
end

--- Send content in frames as far as the windows let it, reading meanwhile; last: END_STREAM.
function Client:data(id, bytes, last)
    local s, at = stream_of(self, id), 1
    repeat
        local n = math.min(#bytes - at + 1, FRAME_MOST, s.window, self.window)
        if n > 0 or #bytes == 0 then
            local ends = last and at + n > #bytes
            self:send(M.DATA, ends and M.END_STREAM or 0, id, bytes:sub(at, at + n - 1))
            s.window, self.window, at = s.window - n, self.window - n, at + n
        else
            if s.reset or s.ended then return false end
            self:read()
        end
    until at > #bytes
    return true
end

--- A whole request: head, body and trailers (list). Returns the stream's id.
function Client:request(req)
    local open = req.open or req.body ~= nil or req.trailers ~= nil
    local copy = setmetatable({ open = open }, { __index = req })
    local id = self:head(copy)
    if req.body then self:data(id, req.body, not req.trailers and not req.open) end
    if req.trailers then
        self:send(M.HEADERS, M.END_HEADERS + M.END_STREAM, id, M.block(req.trailers))
    end
    return id
end

--- The response on a stream once it ended or was reset.
function Client:response(id)
    local s = stream_of(self, id)
    self:wait(function() return s.ended or s.reset end)
    s.body = table.concat(s.pieces or {})
    return s
end

function Client:get(path, fields)
    return self:response(self:request { path = path, fields = fields })
end

-- ---------------------------------------------------------------- the other side

--- Play a server on a wire that a client connected: its preface is read, SETTINGS are sent.
--- opt: settings (list), windows (as in connect).
function M.accept(w, opt)
    opt = opt or {}
    local s = M.connect(nil, { wire = w, preface = false, windows = opt.windows })
    s.serves, s.requests = true, {}
    assert(w:recv(#M.PREFACE) == M.PREFACE, "no preface of HTTP/2")
    s:send(M.SETTINGS, 0, 0, M.settings(opt.settings or {}))
    return s
end

--- The next request; its body once it ended. A record: id, head (values by name), fields, body.
function Client:next_request(unended)
    self.served = (self.served or 0) + 1
    local n = self.served
    local req = self:wait(function() return self.requests[n] end)
    if not unended then self:wait(function() return req.ended or req.reset end) end
    req.body = table.concat(req.pieces or {})
    return req
end

--- Answer. res: status, fields (list), body (nil: no content), open (true: more follows), trailers.
function Client:respond(id, res)
    local list = { { ":status", tostring(res.status or 200) } }
    for _, f in ipairs(res.fields or {}) do list[#list + 1] = f end
    local more = res.body or res.open or res.trailers
    self:send(M.HEADERS, M.END_HEADERS + (more and 0 or M.END_STREAM), id, M.block(list))
    if res.body then self:data(id, res.body, not res.open and not res.trailers) end
    if res.trailers then
        self:send(M.HEADERS, M.END_HEADERS + M.END_STREAM, id, M.block(res.trailers))
    end
end

--- First value of a response's field.
function M.field(res, name)
    for _, f in ipairs(res.fields) do
        if f[1] == name then return f[2] end
    end
end

function Client:close()
    self.wire:close()
end

M.sleep = socket.sleep

return M
