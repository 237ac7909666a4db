-- SPDX-License-Identifier: MIT
--
-- tls: a client's socket that speaks TLS, with the calls of sockets.lua, none of which waits. What
-- OpenSSL finds wrong with the bytes of an established connection is in `wrong`: no failure of a
-- system call may break a record.

local ffi = require("ffi")
local posix = require("spec.support.posix")
local proc = require("spec.support.proc")
local sockets = require("spec.faults.sockets")
local support = require("spec.support.tls") -- declares what is used here

local M = {}
local Link = {}
Link.__index = Link

local L, K = support.L, support.K
local WANT_READ, ZERO_RETURN = 2, 6
local SEALED_MOST = 65536 -- bytes that wait for the socket: then no more are taken

local room = ffi.new("char[65536]")

--- The certificate, made once: the text of a PEM file.
function M.cert()
    local dir = support.dir()
    support.cert(dir, "a", { names = { "site.test" }, together = true })
    local text = posix.read_file(dir .. "/a.pem")
    proc.cleanup() -- the folder
    return text
end

--- opt: session (of an earlier link), early (bytes at most in early data), keep = function(session)
function M.wrap(fd, opt)
    local e = support.over(fd, { session = opt.session, sni = "site.test" })
    return setmetatable({ fd = fd, ssl = e.ssl, rbio = e.rbio, wbio = e.wbio, owner = e, out = "",
        early = opt.session and opt.early, keep = opt.keep }, Link)
end

-- What OpenSSL has sealed, to the socket as far as it takes it. False: the socket is gone.
local function pump(k)
    while true do
        local n = K.BIO_read(k.wbio, room, 65536)
        if n <= 0 then break end
        k.out = k.out .. ffi.string(room, n)
    end
    while k.out ~= "" do
        local n = sockets.write(k.fd, k.out)
        if not n then
            k.out = ""
            return false
        elseif n == 0 then
            break
        end
        k.out, k.moved = k.out:sub(n + 1), true
    end
    return true
end

-- What the socket has, to OpenSSL.
local function fetch(k)
    while not k.ended do
        local bytes, why = sockets.read(k.fd)
        if bytes then
            k.moved = true
            K.BIO_write(k.rbio, bytes, #bytes)
        elseif why == "again" then
            return
        else
            k.ended = why
        end
    end
end

local function reason()
    local text = K.ERR_reason_error_string(K.ERR_get_error())
    K.ERR_clear_error()
    return text ~= nil and ffi.string(text) or "?"
end

-- True when bytes can go and come; "reset" when that will never be.
local function shaken(k)
    if k.open then return true end
    K.ERR_clear_error()
    local r = L.SSL_do_handshake(k.ssl)
    local code = r == 1 and 0 or L.SSL_get_error(k.ssl, r)
    if r == 1 then
        k.open = true
        if k.given and L.SSL_get_early_data_status(k.ssl) ~= 2 then k.again = k.given end
        return true
    end
    if code ~= WANT_READ then return "reset" end -- an alert, whatever its reason
    return k.ended and "reset" or false
end

-- The first bytes in early data: sent once more by hand when they are not taken.
local function send_early(k, bytes)
    local part, n = bytes:sub(1, k.early), ffi.new("size_t[1]")
    k.early = nil
    if L.SSL_write_early_data(k.ssl, part, #part, n) ~= 1 then
        K.ERR_clear_error()
        return 0
    end
    k.given = part
    return #part
end

local function send(k, bytes)
    if k.again then
        assert(L.SSL_write(k.ssl, k.again, #k.again) == #k.again)
        k.again = nil
    end
    local part = bytes:sub(1, SEALED_MOST)
    if #k.out > SEALED_MOST or part == "" then return 0 end
    return L.SSL_write(k.ssl, part, #part) == #part and #part or 0
end

--- As sockets.write.
function Link:write(bytes)
    local n = 0
    if self.early and bytes ~= "" then n = send_early(self, bytes) end
    fetch(self)
    local ok = shaken(self)
    if ok == true then n = n + send(self, bytes:sub(n + 1)) end
    if not pump(self) then return nil end
    return n
end

--- As sockets.read: "closed" is an end that TLS itself told.
function Link:read(most)
    self.moved = false
    fetch(self)
    local ok = shaken(self)
    if ok == true and self.again then send(self, "") end
    pump(self)
    if ok ~= true then
        if ok then return nil, "reset" end
        return nil, self.moved and "moved" or "again"
    end
    K.ERR_clear_error()
    local n = L.SSL_read(self.ssl, room, math.min(most or 65536, 65536))
    pump(self) -- answers to key updates
    if n > 0 then return ffi.string(room, n) end
    local code = L.SSL_get_error(self.ssl, n)
    if code == WANT_READ then
        if self.ended then return nil, "reset" end
        return nil, self.moved and "moved" or "again"
    elseif code == ZERO_RETURN then
        return nil, "closed"
    end
    self.wrong = "TLS: " .. reason()
    return nil, "reset"
end

--- close_notify and a FIN. False: what was written is not all in the socket yet.
function Link:finish()
    if not self.open or self.again or self.out ~= "" then return false end
    L.SSL_shutdown(self.ssl)
    pump(self)
    sockets.finish(self.fd)
    return true
end

function Link:close(how)
    if self.open and self.keep then self.keep(self.owner:session()) end
    L.SSL_set_shutdown(self.ssl, 3)
    sockets.close(self.fd, how)
end

return M
