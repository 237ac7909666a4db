-- SPDX-License-Identifier: MIT
--
-- jwe: encrypted tokens in compact form (RFC 7516, RFC 7518 §4 and §5). As with signed ones, the
-- caller lists the algorithms, and a key serves only those of its own kind.

local abi = require("rproxy.abi")
local crypto = require("rproxy.crypto")
local json = require("rproxy.json")
local nearest = require("rproxy.config.nearest")
local object = require("rproxy.object")
local text = require("rproxy.text")

local C, H = abi.C, abi.H
local raise = object.raise

local M = {}

local MAX, DEPTH = 64 * 1024, 8
local TAG, NONCE, BLOCK = 16, 12, 16

-- Bytes of a content key; which cipher.
local ENCS = { A128GCM = { 16, "aes-128-gcm" }, A256GCM = { 32, "aes-256-gcm" },
    ["A128CBC-HS256"] = { 32 } }
local CURVES = { ["P-256"] = 2, ["P-384"] = 3, ["P-521"] = 4 } -- enum rp_abi_key_kind

-- ---------------------------------------------------------------- keys

local Key = {}
Key.__index = Key

local function algs_of(kind, bytes)
    if kind == "RSA" then return { ["RSA-OAEP-256"] = true } end
    if CURVES[kind] then return { ["ECDH-ES"] = true } end
    return { dir = true, A128KW = bytes == 16 or nil, A256KW = bytes == 32 or nil }
end

local function secret_key(secret)
    if #secret ~= 16 and #secret ~= 32 then return nil, "a secret of 16 or 32 bytes is needed" end
    return setmetatable({ secret = secret, kind = "secret", algs = algs_of("secret", #secret) },
        Key)
end

local function read_jwk(jwk)
    if type(jwk) == "string" then jwk = json.decode(jwk, { max = MAX }) end
    if type(jwk) ~= "table" then return nil, "not a JWK" end
    if jwk.use ~= nil and jwk.use ~= "enc" then return nil, "a key that is not for encryption" end
    return jwk
end

local function from_jwk(jwk)
    local err
    jwk, err = read_jwk(jwk)
    if not jwk then return nil, err end
    local key
    if jwk.kty == "oct" then
        local secret = type(jwk.k) == "string" and text.unb64url(jwk.k)
        if not secret then return nil, "a number that is not base64url" end
        key, err = secret_key(secret)
    else
        local copy = {}
        for name, value in pairs(jwk) do copy[name] = value end
        copy.use, copy.alg = nil, nil
        key, err = M.key { key = crypto.verifier { jwk = copy } }
    end
    if not key then return nil, err end
    if jwk.alg ~= nil then
        if not key.algs[jwk.alg] then return nil, "an alg that is not for this key" end
        key.algs = { [jwk.alg] = true }
    end
    key.kid = type(jwk.kid) == "string" and jwk.kid or nil
    return key
end

--- A key for encrypted tokens: of RSA, of a curve, or a secret of 16 or 32 bytes. Decrypting takes
--- a private one.
--- @param source table  jwk, pem or secret; kid
--- @return table|nil key, string|nil err
function M.key(source)
    if type(source) ~= "table" then raise("jwe.key takes { jwk =, pem = or secret = }") end
    if type(source.secret) == "string" then return secret_key(source.secret) end
    if source.jwk ~= nil then return from_jwk(source.jwk) end
    local inner, err = source.key, "not a key of RSA, EC (P-256, P-384, P-521)"
    if type(source.pem) == "string" then inner, err = crypto.verifier { pem = source.pem } end
    if not inner then return nil, err end
    if inner.kind ~= "RSA" and not CURVES[inner.kind] then
        return nil, "not a key of RSA, EC (P-256, P-384, P-521)"
    end
    return setmetatable({ inner = inner, pointer = inner.pointer, kind = inner.kind,
        private = inner.private, kid = source.kid, algs = algs_of(inner.kind) }, Key)
end

-- ---------------------------------------------------------------- content

local function be32(n)
    return string.char(bit.band(bit.rshift(n, 24), 255), bit.band(bit.rshift(n, 16), 255),
        bit.band(bit.rshift(n, 8), 255), bit.band(n, 255))
end

-- RFC 7518 §5.2.2.1: the first half is for the MAC, the second for the cipher.
local function cbc_tag(cek, aad, iv, sealed)
    local bits = #aad * 8
    return crypto.hmac("sha256", cek:sub(1, 16), aad, iv, sealed, be32(math.floor(bits / 2^32)),
        be32(bits % 2^32)):sub(1, TAG)
end

local function seal(enc, cek, data, aad)
    local cipher = ENCS[enc][2]
    if cipher then
        local sealed = crypto.aead(cipher, cek):seal(data, aad)
        return sealed:sub(1, NONCE), sealed:sub(NONCE + 1, -TAG - 1), sealed:sub(-TAG)
    end
    local iv, key = crypto.random(BLOCK), cek:sub(17)
    local code = C.rp_abi_cbc(H, true, key, #key, iv, #iv, data, #data)
    if code ~= 0 then raise("jwe.encrypt: %s", abi.text(code)) end
    local sealed = abi.out()
    return iv, sealed, cbc_tag(cek, aad, iv, sealed)
end

-- nil: it is not what was sealed.
local function open(enc, cek, iv, sealed, tag, aad)
    local cipher = ENCS[enc][2]
    if #tag ~= TAG or #iv ~= (cipher and NONCE or BLOCK) then return nil end
    if cipher then return (crypto.aead(cipher, cek):open(iv .. sealed .. tag, aad)) end
    if not crypto.equal(cbc_tag(cek, aad, iv, sealed), tag) then return nil end
    local key = cek:sub(17)
    if C.rp_abi_cbc(H, false, key, #key, iv, #iv, sealed, #sealed) ~= 0 then return nil end
    return abi.out()
end

-- ---------------------------------------------------------------- the content's key

-- NIST SP 800-56A as RFC 7518 §4.6.2 has it; a key is never longer than one digest.
local function agree(own, other, enc, header)
    local apu, apv = text.unb64url(header.apu or ""), text.unb64url(header.apv or "")
    if not apu or not apv then return nil end
    if C.rp_abi_ecdh(H, own, other) ~= 0 then return nil end
    local bytes = ENCS[enc][1]
    return crypto.sha256(be32(1), abi.out(), be32(#enc), enc, be32(#apu), apu, be32(#apv), apv,
        be32(bytes * 8)):sub(1, bytes)
end

local function is_text(value) return value == nil or type(value) == "string" end

local function sender_key(key, epk)
    if type(epk) ~= "table" or epk.kty ~= "EC" or epk.crv ~= key.kind or epk.d ~= nil then
        return nil
    end
    local public = crypto.verifier { jwk = { kty = "EC", crv = epk.crv, x = epk.x, y = epk.y } }
    return public and public.pointer
end

local UNWRAP = {
    dir = function(key, wrapped) return wrapped == "" and key.secret or nil end,
    ["RSA-OAEP-256"] = function(key, wrapped)
        return C.rp_abi_oaep(H, false, key.pointer, wrapped, #wrapped) == 0 and abi.out() or nil
    end,
    ["ECDH-ES"] = function(key, wrapped, header)
        local other = wrapped == "" and is_text(header.apu) and is_text(header.apv)
            and sender_key(key, header.epk)
        return other and agree(key.pointer, other, header.enc, header)
    end,
}
local function unwrap_secret(key, wrapped)
    local code = C.rp_abi_keywrap(H, false, key.secret, #key.secret, wrapped, #wrapped)
    return code == 0 and abi.out() or nil
end
UNWRAP.A128KW, UNWRAP.A256KW = unwrap_secret, unwrap_secret

local WRAP = {
    dir = function(key, enc)
        if #key.secret ~= ENCS[enc][1] then
            raise("jwe.encrypt: %s takes a secret of %d bytes", enc, ENCS[enc][1])
        end
        return key.secret, ""
    end,
    ["RSA-OAEP-256"] = function(key, enc)
        local cek = crypto.random(ENCS[enc][1])
        local code = C.rp_abi_oaep(H, true, key.pointer, cek, #cek)
        if code ~= 0 then raise("jwe.encrypt: %s", abi.text(code)) end
        return cek, abi.out()
    end,
    ["ECDH-ES"] = function(key, enc, header)
        local own = C.rp_abi_key_draw(H, CURVES[key.kind])
        if own == nil then raise("jwe.encrypt: %s", abi.out()) end
        abi.gc(own, C.rp_abi_key_free)
        if not C.rp_abi_key_point(H, own) then raise("jwe.encrypt: no point") end
        header.epk = { kty = "EC", crv = key.kind, x = text.b64url(abi.out()),
            y = text.b64url(abi.string(H.out2.ptr, H.out2.len)) }
        return agree(own, key.pointer, enc, header), ""
    end,
}
local function wrap_secret(key, enc)
    local cek = crypto.random(ENCS[enc][1])
    local code = C.rp_abi_keywrap(H, true, key.secret, #key.secret, cek, #cek)
    if code ~= 0 then raise("jwe.encrypt: %s", abi.text(code)) end
    return cek, abi.out()
end
WRAP.A128KW, WRAP.A256KW = wrap_secret, wrap_secret

-- ---------------------------------------------------------------- tokens

local function has(list, value)
    for _, item in ipairs(list) do
        if item == value then return true end
    end
    return false
end

local function check_options(opts)
    if type(opts) ~= "table" or getmetatable(opts.key) ~= Key then
        raise("jwe.decrypt takes a token and { key = rp.jwe.key {..}, alg = {..}, enc = {..} }")
    end
    if type(opts.alg) ~= "table" or #opts.alg == 0 then
        raise('jwe.decrypt: alg is a list, { "RSA-OAEP-256" }')
    end
end

local ALL_ENCS = nearest.names(ENCS)

local function read_header(part)
    local bytes = text.unb64url(part)
    local header = bytes and json.decode(bytes, { depth = DEPTH, max = MAX })
    if type(header) ~= "table" or getmetatable(header) ~= nil then return nil end
    return header
end

local function check_header(header, opts)
    if type(header.alg) ~= "string" or not has(opts.alg, header.alg)
        or not opts.key.algs[header.alg] then
        return "algorithm", "the token's alg is not one of those accepted"
    end
    if type(header.enc) ~= "string" or not has(opts.enc or ALL_ENCS, header.enc)
        or not ENCS[header.enc] then
        return "algorithm", "the token's enc is not one of those accepted"
    end
    -- RFC 7516 §4.1.13, §4.1.3: no extension is known here, and packed texts may be bombs.
    if header.crit ~= nil then return "critical", "the token names critical extensions" end
    if header.zip ~= nil then return "critical", "the token is packed" end
    return nil
end

--- Open a token. The text may be a signed token, for rp.jwt.verify.
--- phases: all   yields: no
--- @param token string
--- @param opts table  key (rp.jwe.key), alg (list), enc (list; all), max (64 KB)
--- @return string|nil text, table|string header_or_code, string|nil detail  codes: "too_long",
---   "malformed", "algorithm", "critical", "decryption"
function M.decrypt(token, opts)
    check_options(opts)
    if type(token) ~= "string" then return nil, "malformed", "not a token" end
    if #token > (opts.max or MAX) then return nil, "too_long", "the token is too long" end
    local parts, B = {}, "([%w_-]*)"
    parts[1], parts[2], parts[3], parts[4], parts[5] = token:match("^([%w_-]+)%." .. B .. "%." .. B
        .. "%." .. B .. "%." .. B .. "$")
    local header = parts[1] and read_header(parts[1])
    if not header then return nil, "malformed", "not an encrypted token" end
    for i = 2, 5 do
        parts[i + 4] = text.unb64url(parts[i])
        if not parts[i + 4] then return nil, "malformed", "not an encrypted token" end
    end
    local code, detail = check_header(header, opts)
    if code then return nil, code, detail end
    -- RFC 7516 §11.5: a key that cannot be unwrapped looks like a text that cannot be opened.
    local bytes = ENCS[header.enc][1]
    local cek, other = UNWRAP[header.alg](opts.key, parts[6], header), crypto.random(bytes)
    if not cek or #cek ~= bytes then cek = other end
    local out = open(header.enc, cek, parts[7], parts[8], parts[9], parts[1])
    if not out then return nil, "decryption", "the token cannot be opened" end
    return out, header
end

--- An encrypted token.
--- @param data string
--- @param opts table  key (rp.jwe.key), alg, enc ("A256GCM"), kid, typ, cty ("JWT": a signed token)
--- @return string token
function M.encrypt(data, opts)
    if type(data) ~= "string" or type(opts) ~= "table" or getmetatable(opts.key) ~= Key then
        raise("jwe.encrypt takes a text and { key = rp.jwe.key {..}, alg = }")
    end
    local enc = opts.enc or "A256GCM"
    if not ENCS[enc] then raise("jwe.encrypt: unknown enc %q", tostring(enc)) end
    if not opts.key.algs[opts.alg] then raise("jwe.encrypt: alg is not for this key") end
    local header = { alg = opts.alg, enc = enc, kid = opts.kid or opts.key.kid, typ = opts.typ,
        cty = opts.cty }
    local cek, wrapped = WRAP[opts.alg](opts.key, enc, header)
    local head = text.b64url(json.encode(header, { sort = true }))
    local iv, sealed, tag = seal(enc, cek, data, head)
    return table.concat({ head, text.b64url(wrapped), text.b64url(iv), text.b64url(sealed),
        text.b64url(tag) }, ".")
end

return M
