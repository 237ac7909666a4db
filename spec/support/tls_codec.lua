-- SPDX-License-Identifier: MIT
--
-- tls_codec: plain bytes on this side, TLS records on the other, without I/O; a client. The calls
-- are those of h2_codec. What is written before the handshake is done is kept back.

local ffi = require("ffi")
local tls = require("spec.support.tls") -- declares OpenSSL

local function load(name, versioned)
    local ok, lib = pcall(ffi.load, versioned)
    return ok and lib or ffi.load(name)
end
local L, K = load("ssl", "libssl.so.3"), load("crypto", "libcrypto.so.3")

local M = {}
local Codec = {}
Codec.__index = Codec

local WANT_READ, ZERO_RETURN = 2, 6
local PIECE = 65536
local room = ffi.new("char[?]", PIECE)

--- opt: those of an end of spec.support.tls (sni, alpn).
function M.client(opt)
    local codec = setmetatable({ link = tls.over(-1, opt), text = {}, waiting = "" }, Codec)
    codec:advance()
    return codec
end

-- What OpenSSL says about a failure: the end of it all.
local function fail(self, result)
    local code = L.SSL_get_error(self.link.ssl, result)
    if code == WANT_READ then return end
    if code == ZERO_RETURN then
        self.ended = self.ended or "closed"
        return
    end
    local text = K.ERR_reason_error_string(K.ERR_get_error())
    self.ended = self.ended or (text ~= nil and "TLS: " .. ffi.string(text) or "cut")
end

local function seal(self, bytes)
    for at = 1, #bytes, PIECE do
        local part = bytes:sub(at, at + PIECE - 1)
        assert(L.SSL_write(self.link.ssl, part, #part) == #part)
    end
end

-- The handshake, and the records that came.
function Codec:advance()
    K.ERR_clear_error()
    if not self.ready then
        local r = L.SSL_do_handshake(self.link.ssl)
        if r ~= 1 then return fail(self, r) end
        self.ready = true
        seal(self, self.waiting)
        self.waiting = ""
    end
    while not self.ended do
        local n = L.SSL_read(self.link.ssl, room, PIECE)
        if n <= 0 then return fail(self, n) end
        self.text[#self.text + 1] = ffi.string(room, n)
    end
end

function Codec:write(bytes)
    if self.ready then seal(self, bytes) else self.waiting = self.waiting .. bytes end
end

function Codec:feed(bytes)
    K.BIO_write(self.link.rbio, bytes, #bytes)
    self:advance()
end

--- An end of the connection without the word for it is a cut: what came may not be all.
function Codec:eof(how)
    self.ended = self.ended or (how == "closed" and "cut" or how)
end

function Codec:take_out()
    local parts = {}
    while true do
        local n = K.BIO_read(self.link.wbio, room, PIECE)
        if n <= 0 then return table.concat(parts) end
        parts[#parts + 1] = ffi.string(room, n)
    end
end

function Codec:take_in()
    if #self.text == 0 then return "" end
    local bytes = table.concat(self.text)
    self.text = {}
    return bytes
end

--- Is something kept back, or the handshake not done?
function Codec:is_blocked()
    return not self.ready and not self.ended
end

--- close_notify.
function Codec:finish()
    if self.ready then L.SSL_shutdown(self.link.ssl) end
end

-- ---------------------------------------------------------------- one codec over another

local Stack = {}
Stack.__index = Stack

--- `upper` (HTTP/2) in the records of `lower` (TLS).
function M.stack(upper, lower)
    return setmetatable({ upper = upper, lower = lower }, Stack)
end

local function settle(self)
    local text = self.lower:take_in()
    if text ~= "" then self.upper:feed(text) end
    local out = self.upper:take_out()
    if out ~= "" and not self.lower.ended then self.lower:write(out) end
    self.ended = self.upper.ended or self.lower.ended
end

function Stack:write(bytes)
    self.upper:write(bytes)
    settle(self)
end

function Stack:feed(bytes)
    self.lower:feed(bytes)
    settle(self)
end

function Stack:eof(how)
    self.lower:eof(how)
    settle(self)
end

function Stack:take_out()
    settle(self)
    return self.lower:take_out()
end

function Stack:take_in()
    return self.upper:take_in()
end

function Stack:is_blocked()
    return self.lower:is_blocked() or self.upper:is_blocked()
end

function Stack:finish()
    self.upper:finish()
    settle(self)
    self.lower:finish()
end

return M
