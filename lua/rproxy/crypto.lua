-- SPDX-License-Identifier: MIT
--
-- crypto: digests, HMAC, random bytes, comparison in constant time. Several arguments are digested
-- as one text, without joining them.

local abi = require("rproxy.abi")
local object = require("rproxy.object")
local text = require("rproxy.text")

local C, H = abi.C, abi.H
local raise = object.raise

local M = {}

local RANDOM_MOST = 2^20

local function digest(alg, key, ...)
    local code = C.rp_abi_digest_begin(H, alg, key, key and #key or 0)
    if code == abi.E.NOT_FOUND then
        raise("%q is no algorithm; known: sha1 sha256 sha384 sha512", tostring(alg))
    elseif code ~= 0 then
        raise("digest %s: %s", alg, abi.text(code))
    end
    for i = 1, select("#", ...) do
        local piece = (select(i, ...))
        if type(piece) ~= "string" then raise("a digest takes strings, got a %s", type(piece)) end
        C.rp_abi_digest_add(H, piece, #piece)
    end
    code = C.rp_abi_digest_end(H)
    if code ~= 0 then raise("digest %s: %s", alg, abi.text(code)) end
    return abi.out()
end

--- Digests, as bytes (rp.hex makes them readable).
function M.sha256(...) return digest("sha256", nil, ...) end
function M.sha1(...) return digest("sha1", nil, ...) end
function M.sha384(...) return digest("sha384", nil, ...) end
function M.sha512(...) return digest("sha512", nil, ...) end

--- HMAC (RFC 2104), as bytes.
--- @param alg string  "sha1" "sha256" "sha384" "sha512"
--- @param key string
function M.hmac(alg, key, ...)
    if type(key) ~= "string" then raise("crypto.hmac takes a key, got a %s", type(key)) end
    return digest(alg, key, ...)
end

--- n unpredictable bytes.
function M.random(n)
    if type(n) ~= "number" or n < 0 or n > RANDOM_MOST then
        raise("crypto.random takes a number of bytes up to %d", RANDOM_MOST)
    end
    local bytes = abi.new("char[?]", n)
    C.rp_abi_random(bytes, n)
    return abi.string(bytes, n)
end

--- Are two strings equal? How long it takes does not tell where they differ.
function M.equal(a, b)
    if type(a) ~= "string" or type(b) ~= "string" then raise("crypto.equal takes two strings") end
    return #a == #b and C.rp_abi_equal(a, b, #a)
end

M.b64url, M.unb64url = text.b64url, text.unb64url

return M
