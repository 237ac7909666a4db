-- SPDX-License-Identifier: MIT
--
-- jwt: signed tokens (RFC 7519 in the compact form of RFC 7515). What a token says of itself
-- chooses nothing but a key among those given: the algorithms are listed by the caller, and a key
-- serves only those of its own kind, so "none" and a public key taken for a secret cannot pass.

local crypto = require("rproxy.crypto")
local json = require("rproxy.json")
local nearest = require("rproxy.config.nearest")
local object = require("rproxy.object")
local text = require("rproxy.text")
local time = require("rproxy.time")

local M = {}

local raise = object.raise

local MAX = 16 * 1024    -- bytes of a token: more than a request head takes
local DEPTH = 16         -- nesting of header and claims
local TRIES = 8          -- keys that are tried for a token without kid
local KEYS_MOST = 256

-- ---------------------------------------------------------------- keys

local Keys = {}
Keys.__index = Keys

local function add(self, key)
    self[#self + 1] = key
    if key.kid then
        local same = self.by_kid[key.kid] or {}
        same[#same + 1] = key
        self.by_kid[key.kid] = same
    end
end

local function add_jwks(self, jwks)
    if type(jwks) == "string" then
        local err
        jwks, err = json.decode(jwks, { depth = DEPTH, max = 2 ^ 20 })
        if not jwks then return nil, "the JWKS is no JSON: " .. err end
    end
    if type(jwks) ~= "table" or type(jwks.keys) ~= "table" then
        return nil, 'a JWKS is an object with a list "keys"'
    end
    if #jwks.keys > KEYS_MOST then return nil, "too many keys" end
    for i, jwk in ipairs(jwks.keys) do
        local key, err = crypto.verifier { jwk = jwk }
        -- RFC 7517 §5: keys that are not understood are passed over.
        if key then
            add(self, key)
        else
            self.skipped[#self.skipped + 1] = ("key %d: %s"):format(i, err)
        end
    end
    return true
end

--- The keys that tokens are verified with: made once, at load.
--- @param source table  jwks (text or table), pem, jwk or secret; kid of the last three
--- @return table|nil keys, string|nil err  keys.skipped: why keys of a JWKS are not used
function M.keys(source)
    if type(source) ~= "table" then raise("jwt.keys takes { jwks =, pem =, jwk = or secret = }") end
    local self = setmetatable({ by_kid = {}, skipped = {} }, Keys)
    if source.jwks ~= nil then
        local ok, err = add_jwks(self, source.jwks)
        if not ok then return nil, err end
    else
        local key, err = crypto.verifier(source)
        if not key then return nil, err end
        key.kid = source.kid or key.kid
        add(self, key)
    end
    if #self == 0 then
        return nil, "no key that can be used: " .. table.concat(self.skipped, "; ")
    end
    return self
end

-- Keys that a header may mean. Without kid: all that serve the algorithm; a key that has no kid
-- itself may be meant by any.
local function candidates(keys, header)
    local named = header.kid and keys.by_kid[header.kid]
    local out = {}
    for _, key in ipairs(named or keys) do
        local fits = named or not header.kid or not key.kid
        if fits and key.algs[header.alg] and #out < TRIES then out[#out + 1] = key end
    end
    return out
end

-- ---------------------------------------------------------------- verifying

local OPTIONS = { alg = true, aud = true, iss = true, keys = true, leeway = true, max = true,
    now = true, required = true, sub = true, typ = true }

local function check_options(opts)
    if type(opts) ~= "table" then raise("jwt.verify takes a token and options") end
    for name in pairs(opts) do
        if not OPTIONS[name] then
            raise("jwt.verify: unknown option %q%s", tostring(name),
                nearest.hint(tostring(name), nearest.names(OPTIONS)))
        end
    end
    if getmetatable(opts.keys) ~= Keys then raise("jwt.verify: keys come from rp.jwt.keys") end
    if type(opts.alg) ~= "table" or #opts.alg == 0 then
        raise('jwt.verify: alg is a list, { "ES256" }')
    end
end

local function has(list, value)
    if type(list) ~= "table" then return list == value end
    for _, item in ipairs(list) do
        if item == value then return true end
    end
    return false
end

local function is_object(value)
    return type(value) == "table" and getmetatable(value) == nil
end

local function read_object(part)
    local bytes = text.unb64url(part)
    local value = bytes and json.decode(bytes, { depth = DEPTH, max = MAX })
    return is_object(value) and value or nil
end

local function check_header(header, opts)
    if type(header.alg) ~= "string" or not has(opts.alg, header.alg) then
        return "algorithm", "the token's alg is not one of those accepted"
    end
    if header.kid ~= nil and type(header.kid) ~= "string" then
        return "malformed", "kid is no string"
    end
    -- RFC 7515 §4.1.11: we know no extension, so whatever is named there is not understood.
    if header.crit ~= nil then return "critical", "the token names critical extensions" end
    if opts.typ then
        local typ = type(header.typ) == "string" and header.typ:lower():gsub("^application/", "")
        if typ ~= opts.typ:lower() then return "type", "the token is of another type" end
    end
    return nil
end

local function is_time(value)
    return value == nil or type(value) == "number" -- JSON has no NaN and no infinity
end

local function check_times(claims, now, leeway)
    if not (is_time(claims.exp) and is_time(claims.nbf) and is_time(claims.iat)) then
        return "malformed", "exp, nbf and iat are numbers"
    end
    if claims.exp and now >= claims.exp + leeway then return "expired", "the token has expired" end
    if claims.nbf and now < claims.nbf - leeway then
        return "not_yet_valid", "the token is not valid yet"
    end
    return nil
end

-- RFC 7519 §4.1.3: a token made for somebody is refused by everybody else. aud = false: whoever.
local function check_audience(given, wanted)
    if wanted == false or (wanted == nil and given == nil) then return nil end
    for _, name in ipairs(type(given) == "table" and given or { given }) do
        if wanted ~= nil and type(name) == "string" and has(wanted, name) then return nil end
    end
    return "audience", "the token is for another audience"
end

local REQUIRED = { "exp" }

local function check_claims(claims, opts)
    for _, name in ipairs(opts.required or REQUIRED) do
        if claims[name] == nil or claims[name] == json.null then
            return "missing", ("the token has no claim %q"):format(name)
        end
    end
    local code, detail = check_times(claims, opts.now or time.time(), opts.leeway or 0)
    if code then return code, detail end
    if opts.iss ~= nil and not (type(claims.iss) == "string" and has(opts.iss, claims.iss)) then
        return "issuer", "the token is of another issuer"
    end
    if opts.sub ~= nil and claims.sub ~= opts.sub then
        return "subject", "the token is for another subject"
    end
    return check_audience(claims.aud, opts.aud)
end

--- Verify a token. Nothing of it is to be believed unless this returns claims.
--- phases: all   yields: no
--- @param token string
--- @param opts table  keys (rp.jwt.keys), alg (list), iss, aud (a text or a list; false: any),
---   sub, typ, leeway (0 seconds), required ({ "exp" }), max (16 KB), now
--- @return table|nil claims, table|string header_or_code, string|nil detail
function M.verify(token, opts)
    check_options(opts)
    if type(token) ~= "string" then return nil, "malformed", "not a token" end
    if #token > (opts.max or MAX) then return nil, "too_long", "the token is too long" end
    local h, p, s = token:match("^([%w_-]+)%.([%w_-]+)%.([%w_-]+)$")
    local header, signature = h and read_object(h), s and text.unb64url(s)
    if not header or not signature then return nil, "malformed", "not a signed token" end
    local code, detail = check_header(header, opts)
    if code then return nil, code, detail end
    local keys = candidates(opts.keys, header)
    if #keys == 0 then return nil, "unknown_key", "no key of ours signs like this" end
    local good = false
    for _, key in ipairs(keys) do
        good = good or key:verify(header.alg, token:sub(1, #h + 1 + #p), signature)
    end
    if not good then return nil, "signature", "the signature is wrong" end
    local claims = read_object(p)
    if not claims then return nil, "malformed", "the claims are no JSON object" end
    code, detail = check_claims(claims, opts)
    if code then return nil, code, detail end
    return claims, header
end

-- ---------------------------------------------------------------- signing

--- A signed token.
--- @param claims table
--- @param opts table  key (rp.crypto.signer), alg, kid, typ ("JWT")
--- @return string|nil token, string|nil err  err: what of the claims is no JSON
function M.sign(claims, opts)
    if type(claims) ~= "table" or type(opts) ~= "table" or type(opts.key) ~= "table" then
        raise("jwt.sign takes claims and { key =, alg = }")
    end
    local header = { alg = opts.alg, kid = opts.kid or opts.key.kid, typ = opts.typ or "JWT" }
    local payload, err = json.encode(claims, { sort = true })
    if not payload then return nil, err end
    local signed = text.b64url(json.encode(header, { sort = true })) .. "." .. text.b64url(payload)
    return signed .. "." .. text.b64url(opts.key:sign(opts.alg, signed))
end

return M
