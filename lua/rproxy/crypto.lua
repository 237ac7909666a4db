-- SPDX-License-Identifier: MIT
--
-- crypto: digests, HMAC, random bytes, comparison in constant time, sealing, keys and signatures.
-- Several arguments are digested as one text, without joining them.

local abi = require("rproxy.abi")
local jobs = require("rproxy.job")
local json = require("rproxy.json")
local nearest = require("rproxy.config.nearest")
local object = require("rproxy.object")
local outside = require("rproxy.outside")
local text = require("rproxy.text")
local x509 = require("rproxy.x509")

local C, H = abi.C, abi.H
local raise = object.raise

local M = {}

local RANDOM_MOST = 2^20

local function digest(alg, key, ...)
    local code = C.rp_abi_digest_begin(H, alg, key, key and #key or 0)
    if code == abi.E.NOT_FOUND then
        raise("%q is no algorithm; known: sha256 sha384 sha512 sha1 md5", tostring(alg))
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

--- MD5 is broken: for old protocols and check sums only.
function M.md5(...) return digest("md5", nil, ...) end

--- HMAC (RFC 2104), as bytes.
--- @param alg string  "sha256" "sha384" "sha512" "sha1" "md5"
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

--- Keys from a secret that is long, but not uniform (RFC 5869).
--- @param opts table  alg ("sha256"), secret, salt (""), info (""), bytes
--- @return string key
function M.hkdf(opts)
    if type(opts) ~= "table" or type(opts.secret) ~= "string" or type(opts.bytes) ~= "number" then
        raise("crypto.hkdf takes { secret =, bytes =, salt =, info =, alg = }")
    end
    local alg, info = opts.alg or "sha256", opts.info or ""
    local prk = digest(alg, opts.salt or "", opts.secret)
    if opts.bytes < 0 or opts.bytes > 255 * #prk then
        raise("crypto.hkdf: at most %d bytes with %s", 255 * #prk, alg)
    end
    local out, block, n = {}, "", 0
    while n < opts.bytes do
        block = digest(alg, prk, block, info, string.char(#out + 1))
        out[#out + 1] = block
        n = n + #block
    end
    return table.concat(out):sub(1, opts.bytes)
end

-- Derives on a thread of the pool; the task waits for it.
local function derive(alg, password, salt, rounds, block, parallel, bytes)
    local job = C.rp_abi_derive(H, alg, password, #password, salt, #salt, rounds, block, parallel,
        bytes)
    if job == nil then return nil, abi.out() end
    local code, key = jobs.wait(job)
    if code ~= 0 then return nil, "the numbers do not fit" end
    return key
end

local function check_derive(what, opts)
    if type(opts) ~= "table" or type(opts.password) ~= "string" or type(opts.salt) ~= "string" then
        raise("%s takes { password =, salt =, bytes = .. }", what)
    end
    for _, name in ipairs { "bytes", "rounds", "n", "r", "p" } do
        if opts[name] ~= nil and type(opts[name]) ~= "number" then
            raise("%s: %s is a number", what, name)
        end
    end
end

--- A key from a password (RFC 7914). Memory is 128 * n * r bytes, at most 64 MB.
--- yields: yes
--- @param opts table  password, salt, bytes (32), n (32768), r (8), p (1)
--- @return string|nil key, string|nil err
function M.scrypt(opts)
    check_derive("crypto.scrypt", opts)
    return derive("", opts.password, opts.salt, opts.n or 32768, opts.r or 8, opts.p or 1,
        opts.bytes or 32)
end

local PBKDF2 = { sha1 = "SHA1", sha256 = "SHA256", sha384 = "SHA384", sha512 = "SHA512" }

--- A key from a password (RFC 8018).
--- yields: yes
--- @param opts table  password, salt, rounds, bytes (32), alg ("sha256")
--- @return string|nil key, string|nil err
function M.pbkdf2(opts)
    check_derive("crypto.pbkdf2", opts)
    local alg = PBKDF2[opts.alg or "sha256"]
    if not alg or not opts.rounds then raise("crypto.pbkdf2 takes rounds, and a digest as alg") end
    return derive(alg, opts.password, opts.salt, opts.rounds, 1, 1, opts.bytes or 32)
end

-- ---------------------------------------------------------------- passwords

--- Is it the password that this was made of? Slow on purpose, on a thread of the pool.
--- yields: yes
--- @param hash string  "$2y$.." (bcrypt), "$y$..", "$6$..", "$5$..", "$argon2id$..", "$apr1$..",
---   "{SHA}.."
--- @param password string  at most 512 bytes
--- @return boolean|nil yes, string|nil err  "busy", "invalid": not a hash that is known
function M.check_password(hash, password)
    if type(hash) ~= "string" or type(password) ~= "string" then
        raise("crypto.check_password takes a hash and a password")
    end
    local job = C.rp_abi_password_check(H, hash, #hash, password, #password)
    if job == nil then return nil, abi.out() end
    local code = jobs.wait(job)
    if code == abi.OK then return true end
    if code == abi.END then return false end
    return nil, "invalid"
end

-- Setting of crypt(5), by name.
local PASSWORD_ALGS = { bcrypt = "$2b$", yescrypt = "$y$", sha512 = "$6$", sha256 = "$5$" }

--- What to keep of a password.
--- yields: yes
--- @param opts table|nil  alg: "bcrypt" (the default), "yescrypt", "sha512", "sha256"; cost: as
---   crypt(5) has it (bcrypt: 4 to 31, twice the time for each)
--- @return string|nil hash, string|nil err  "busy", "invalid"
function M.hash_password(password, opts)
    opts = opts or {}
    local prefix = PASSWORD_ALGS[opts.alg or "bcrypt"]
    if type(password) ~= "string" or not prefix then
        raise("crypto.hash_password takes a password and { alg =, cost = }")
    end
    local job = C.rp_abi_password_make(H, prefix, opts.cost or 0, password, #password)
    if job == nil then return nil, abi.out() end
    local code, hash = jobs.wait(job)
    if code ~= abi.OK then return nil, "invalid" end
    return hash
end

-- ---------------------------------------------------------------- sealing

local AEADS = { ["aes-128-gcm"] = 16, ["aes-256-gcm"] = 32, ["chacha20-poly1305"] = 32 }
local NONCE = 12

local Aead = {}
Aead.__index = Aead

--- Encryption that also notices changes (AES-GCM, ChaCha20-Poly1305).
--- @param alg string  "aes-128-gcm" "aes-256-gcm" "chacha20-poly1305"
--- @param key string  of 16 or 32 bytes
function M.aead(alg, key)
    local bytes = AEADS[alg]
    if not bytes then
        raise("%q is no algorithm; known: %s", tostring(alg),
            table.concat(nearest.names(AEADS), " "))
    end
    if type(key) ~= "string" or #key ~= bytes then
        raise("%s takes a key of %d bytes", alg, bytes)
    end
    return setmetatable({ alg = alg, key = key }, Aead)
end

local function aead(self, seal, nonce, data, aad)
    if type(data) ~= "string" or type(nonce) ~= "string" or #nonce ~= NONCE then
        raise("an aead takes strings, and a nonce of %d bytes", NONCE)
    end
    aad = aad or ""
    return C.rp_abi_aead(H, seal, self.alg, self.key, #self.key, nonce, #nonce, data, #data,
        aad, #aad)
end

--- Encrypt: nonce, text and tag in one string. A nonce is random unless given (12 bytes), and must
--- never be used twice with one key.
--- @param aad string|nil  also authenticated, not contained
function Aead:seal(data, aad, nonce)
    nonce = nonce or M.random(NONCE)
    local code = aead(self, true, nonce, data, aad)
    if code ~= 0 then raise("%s: %s", self.alg, abi.text(code)) end
    return nonce .. abi.out()
end

--- Decrypt what seal made; nil, "invalid" when key, aad or a single bit differ.
function Aead:open(sealed, aad)
    if type(sealed) ~= "string" then raise("an aead opens strings") end
    if #sealed < NONCE then return nil, "invalid" end
    local code = aead(self, false, sealed:sub(1, NONCE), sealed:sub(NONCE + 1), aad)
    if code == abi.END then return nil, "invalid" end
    if code ~= 0 then raise("%s: %s", self.alg, abi.text(code)) end
    return abi.out()
end

-- ---------------------------------------------------------------- keys

local RSA, P256, P384, P521, ED25519 = 1, 2, 3, 4, 5
local KINDS = { [RSA] = "RSA", [P256] = "P-256", [P384] = "P-384", [P521] = "P-521",
    [ED25519] = "Ed25519" }
local RSA_ALGS = { "RS256", "RS384", "RS512", "PS256", "PS384", "PS512" }
local ALGS = { [RSA] = RSA_ALGS, [P256] = { "ES256" }, [P384] = { "ES384" }, [P521] = { "ES512" },
    [ED25519] = { "EdDSA" } }
-- Of secrets: digest, and the least bytes (RFC 7518 §3.2).
local HMACS = { HS256 = { "sha256", 32 }, HS384 = { "sha384", 48 }, HS512 = { "sha512", 64 } }
local SECRET_LEAST = 32

local Key = {}
Key.__index = Key

local function set_of(list)
    local set = {}
    for _, name in ipairs(list) do set[name] = true end
    return set
end

local function new_key(pointer)
    if pointer == nil then return nil, abi.out() end
    local kind = C.rp_abi_key_kind(pointer)
    return setmetatable({ pointer = abi.gc(pointer, C.rp_abi_key_free), kind = KINDS[kind],
        algs = set_of(ALGS[kind]), private = C.rp_abi_key_is_private(pointer) }, Key)
end

local function from_secret(secret)
    if #secret < SECRET_LEAST then
        return nil, ("a secret of less than %d bytes"):format(SECRET_LEAST)
    end
    local algs = {}
    for name, row in pairs(HMACS) do algs[name] = #secret >= row[2] or nil end
    return setmetatable({ secret = secret, kind = "secret", algs = algs, private = true }, Key)
end

local function part(jwk, name)
    local value = jwk[name]
    if value == nil then return "" end
    return type(value) == "string" and text.unb64url(value) or nil
end

local CURVES = { EC = { ["P-256"] = P256, ["P-384"] = P384, ["P-521"] = P521 },
    OKP = { Ed25519 = ED25519 } }
local function from_numbers(jwk)
    local is_rsa = jwk.kty == "RSA"
    local curves = CURVES[jwk.kty]
    local kind = is_rsa and RSA or curves and curves[jwk.crv]
    if not kind then return nil, "a kind of key that is not known" end
    local a, b, d = part(jwk, is_rsa and "n" or "x"), part(jwk, is_rsa and "e" or "y"),
        part(jwk, "d")
    if not (a and b and d) then return nil, "a number that is not base64url" end
    return new_key(C.rp_abi_key_parts(H, kind, a, #a, b, #b, d, #d))
end

-- A key for signatures (RFC 7517 §4): not one for encryption, nor for another algorithm.
local function from_jwk(jwk)
    if type(jwk) == "string" then jwk = json.decode(jwk, { max = 65536 }) end
    if type(jwk) ~= "table" then return nil, "not a JWK" end
    if jwk.use ~= nil and jwk.use ~= "sig" then return nil, "a key that is not for signatures" end
    local key, err
    if jwk.kty == "oct" then
        local secret = part(jwk, "k")
        if not secret then return nil, "a number that is not base64url" end
        key, err = from_secret(secret)
    else
        key, err = from_numbers(jwk)
    end
    if not key then return nil, err end
    if jwk.alg ~= nil then
        if not key.algs[jwk.alg] then return nil, "an alg that is not for this key" end
        key.algs = { [jwk.alg] = true }
    end
    key.kid = type(jwk.kid) == "string" and jwk.kid or nil
    return key
end

local function key_of(what, source)
    if type(source) ~= "table" then raise("%s takes { pem =, jwk = or secret = }", what) end
    if type(source.pem) == "string" then
        return new_key(C.rp_abi_key_pem(H, source.pem, #source.pem))
    elseif source.jwk ~= nil then
        return from_jwk(source.jwk)
    elseif type(source.secret) == "string" then
        return from_secret(source.secret)
    end
    raise("%s takes { pem =, jwk = or secret = }", what)
end

--- A key that verifies. What it is decides which algorithms it may be used for.
--- @param source table  pem (public key, private key or certificate), jwk (table or text) or secret
--- @return table|nil key, string|nil err
function M.verifier(source)
    return key_of("crypto.verifier", source)
end

--- A key that signs, and verifies.
--- @param source table  pem (private key without password), jwk with d, or secret
--- @return table|nil key, string|nil err
function M.signer(source)
    local key, err = key_of("crypto.signer", source)
    if key and not key.private then return nil, "a public key cannot sign" end
    return key, err
end

--- The signature of a text, as bytes. RSA takes a millisecond of the worker's time.
--- @param alg string  "ES256", "EdDSA", "RS256", "HS256" ..; one that is not for this key raises
function Key:sign(alg, data)
    if not self.algs[alg] then raise("%s is not for a key of kind %s", tostring(alg), self.kind) end
    if type(data) ~= "string" then raise("a key signs strings") end
    if self.secret then return digest(HMACS[alg][1], self.secret, data) end
    local code = C.rp_abi_key_sign(H, self.pointer, alg, data, #data)
    if code ~= 0 then raise("sign %s: %s", alg, abi.text(code)) end
    return abi.out()
end

--- Is it the text's signature? False also for an algorithm that is not for this key.
function Key:verify(alg, data, signature)
    if type(data) ~= "string" or type(signature) ~= "string" then
        raise("a key verifies strings")
    end
    if not self.algs[alg] then return false end
    if self.secret then return M.equal(digest(HMACS[alg][1], self.secret, data), signature) end
    return C.rp_abi_key_verify(H, self.pointer, alg, data, #data, signature, #signature) == 0
end

x509.key_of = new_key
outside.class("crypto.key", Key, { ident = function(key) return key.kind end })

M.x509, M.x509_store = x509.new, x509.store
M.b64url, M.unb64url = text.b64url, text.unb64url

return M
