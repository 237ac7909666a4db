-- SPDX-License-Identifier: MIT
--
-- jwt-auth: lets requests through that carry a signed token (RFC 6750, RFC 7519). Keys come from a
-- file that is read with the site, or from the issuer: fetched before the worker accepts, again and
-- again, and when a token names a key that is not there. Keys stay until others were fetched, so an
-- issuer that is down, or answers with garbage, changes nothing.

local rp = require("rproxy")

local ALGORITHMS = { "ES256", "ES384", "ES512", "EdDSA", "HS256", "HS384", "HS512", "PS256",
    "PS384", "PS512", "RS256", "RS384", "RS512" }

local function has_no_quotes(value)
    return not value:find('[%c"\\]') or nil, "a text without quotes and control bytes"
end

local M = rp.plugin {
    name = "jwt-auth",
    version = "0.1.0",
    stage = "auth",
    doc = "Let requests through that carry a signed token (JWT).",
    schema = {
        jwks = { "url", doc = "Where the issuer publishes its public keys (JWKS, RFC 7517)." },
        jwks_ca = { "path", doc = "PEM file of the authorities to trust there, instead of "
            .. "the system's." },
        refresh = { "duration", default = 300, min = 1, doc = "How often they are fetched." },
        jwks_file = { "path", doc = "File with the public keys, a JWKS (RFC 7517)." },
        key_file = { "path", doc = "File with one public key or certificate, PEM." },
        secret_file = { "path", doc = "File with a secret for HS256 and its like; a line end "
            .. "after it does not count." },
        algorithms = { "list", of = { "enum", ALGORITHMS }, default = { "ES256", "EdDSA", "RS256" },
            doc = "Algorithms that are accepted; each works with keys of its own kind only." },
        issuer = { "string", doc = "The token's `iss` must be this." },
        audience = { "list", of = "string", default = {},
            doc = "The token's `aud` must have one of these. A token that has an `aud` is refused "
                .. "while this is empty, unless `any_audience`." },
        any_audience = { "boolean", default = false, doc = "Do not look at `aud`." },
        scope = { "list", of = "string", default = {},
            doc = "Each must be in the token's `scope`; else 403." },
        require = { "list", of = "string", default = { "exp" },
            doc = "Claims that a token must have." },
        leeway = { "duration", default = 30, doc = "How far clocks may differ." },
        consumer = { "string", default = "sub", doc = "Claim that becomes `req.consumer`." },
        headers = { "map<string>", default = {},
            doc = "Headers that go upstream, by the claim they hold. What the client sent in them "
                .. "is removed." },
        forward = { "boolean", default = false, doc = "Send the token upstream, too." },
        realm = { "string", default = "rproxy", check = has_no_quotes,
            doc = "Realm that a refusal names." },
    },
}

local AUTHORIZATION = rp.header("authorization")
local CHALLENGE = "www-authenticate"

-- ---------------------------------------------------------------- keys

local function read(path)
    local text, err = rp.file(path)
    if not text then error(("%s: %s"):format(path, err), 0) end
    return text
end

local function read_keys(conf)
    local path = conf.jwks_file or conf.key_file or conf.secret_file
    local text = read(path)
    local keys, err
    if conf.jwks_file then keys, err = rp.jwt.keys { jwks = text }
    elseif conf.key_file then keys, err = rp.jwt.keys { pem = text }
    else keys, err = rp.jwt.keys { secret = (text:gsub("\r?\n$", "")) } end
    if not keys then error(("%s: %s"):format(path, err), 0) end
    for _, why in ipairs(keys.skipped) do
        rp.log.notice("a key is not used", { file = path, why = why })
    end
    return keys
end

-- ---------------------------------------------------------------- keys of an issuer

local ASK_AGAIN = 10 -- seconds between two requests that tokens with an unknown key cause
local START_WAITS = 3 -- seconds that a worker waits for the first answer

local sources = {} -- one for all instances that name the same place

local Source = {}
Source.__index = Source

function Source:fetch()
    local res, err, detail = self.client:get(self.url)
    if not res then return nil, ("%s: %s"):format(err, detail) end
    if res.status ~= 200 then return nil, "status " .. res.status end
    local keys, why = rp.jwt.keys { jwks = res.body }
    if not keys then return nil, why end
    self.keys = keys
    return true
end

function Source:refresh()
    local ok, err = self:fetch()
    if not ok then rp.log.warn("keys not fetched", { url = self.url, err = err }) end
    return ok
end

-- Once for all who need it at the moment; false: not now, or it failed.
function Source:ask()
    return rp.once("jwt-auth " .. self.name, ASK_AGAIN, function() return self:refresh() end)
end

function Source:start(seconds)
    if self.started then return end
    self.started = true
    rp.deadline(START_WAITS, function() return self:ask() end)
    rp.every(seconds, function() self:refresh() end, { jitter = 0.2 })
end

local function source_of(conf)
    local name = conf.jwks .. " " .. (conf.jwks_ca or "")
    local source = sources[name]
    if not source then
        local secure = conf.jwks:find("^[Hh][Tt][Tt][Pp][Ss]:")
        source = setmetatable({ name = name, url = conf.jwks, client = rp.http.client {
            timeout = 5, keepalive = 1, max_body = 2 ^ 20,
            headers = { accept = "application/json" },
            tls = secure and { ca = conf.jwks_ca } or nil } }, Source)
        sources[name] = source
    end
    return source
end

-- A source: keys, and if they come from an issuer how to get others.
local function keys_of(conf)
    local given = 0
    for _, name in ipairs { "jwks", "jwks_file", "key_file", "secret_file" } do
        given = given + (conf[name] and 1 or 0)
    end
    if given ~= 1 then
        error("jwt-auth takes one of jwks, jwks_file, key_file and secret_file", 0)
    end
    if conf.jwks_ca and not conf.jwks then error("jwt-auth: jwks_ca goes with jwks", 0) end
    if conf.jwks then return source_of(conf) end
    return { keys = read_keys(conf) }
end

-- ---------------------------------------------------------------- requests

-- RFC 6750 §2.1. nil: the request has no token.
local function token_of(req)
    local all = req:get_all(AUTHORIZATION)
    if #all == 0 then return nil end
    if #all > 1 then return nil, "several Authorization headers" end
    local token = all[1]:match("^[Bb][Ee][Aa][Rr][Ee][Rr] +([%w._~+/=-]+) *$")
    if token then return token end
    if all[1]:find("^[Bb][Ee][Aa][Rr][Ee][Rr]%f[^%w]") then return nil, "malformed credentials" end
    return nil
end

-- What a header may hold; nil for claims that are no single value, or have bytes that no header
-- has.
local function header_value(claim)
    if type(claim) == "number" then
        return claim % 1 == 0 and ("%.0f"):format(claim) or tostring(claim)
    end
    if type(claim) == "boolean" then return tostring(claim) end
    if type(claim) ~= "string" or claim:find("%c") then return nil end
    return claim:match("^%s*(.-)%s*$")
end

local function has_scopes(claims, wanted)
    local have = {}
    if type(claims.scope) == "string" then
        for word in claims.scope:gmatch("%S+") do have[word] = true end
    end
    for _, word in ipairs(wanted) do
        if not have[word] then return false end
    end
    return true
end

local function copy(list)
    local out = {}
    for i, item in ipairs(list) do out[i] = item end
    return out
end

function M.setup(conf)
    local realm = ('Bearer realm="%s"'):format(conf.realm)
    local scopes = copy(conf.scope)
    local source = keys_of(conf)
    local rules = { alg = copy(conf.algorithms), iss = conf.issuer,
        aud = copy(conf.audience), leeway = conf.leeway, required = copy(conf.require) }
    if #rules.aud == 0 then rules.aud = nil end
    if conf.any_audience then rules.aud = false end
    local names = {}
    for name, claim in pairs(conf.headers) do names[#names + 1] = { rp.header(name), claim } end

    -- RFC 6750 §3: a request without a token is not told of an error.
    local function refuse(req, status, code, why)
        local challenge = realm
        if code then
            challenge = ('%s, error="%s", error_description="%s"'):format(realm, code, why)
        end
        if code == "insufficient_scope" then
            challenge = ('%s, scope="%s"'):format(challenge, table.concat(scopes, " "))
        end
        return req:exit(status, (why or "a token is needed") .. "\n", { [CHALLENGE] = challenge })
    end

    -- Claims, or nil, a code and why. The keys may change while it waits.
    local function verify(token)
        rules.keys = source.keys
        local claims, code, why = rp.jwt.verify(token, rules)
        if code ~= "unknown_key" or not source.url or not source:ask() then
            return claims, code, why
        end
        rules.keys = source.keys
        return rp.jwt.verify(token, rules)
    end

    local function pass(req, claims, consumer)
        req.consumer = consumer
        req.ctx.jwt = claims
        for i = 1, #names do
            local value = header_value(claims[names[i][2]])
            if value then req.up:set(names[i][1], value) else req.up:del(names[i][1]) end
        end
        if not conf.forward then req.up:del(AUTHORIZATION) end
    end

    return {
        start = source.url and function() source:start(conf.refresh) end or nil,
        access = function(req)
            local token, mistake = token_of(req)
            if mistake then return refuse(req, 400, "invalid_request", mistake) end
            if not token then return refuse(req, 401) end
            if not source.keys and not source:ask() and not source.keys then
                return req:exit(503, "the keys of the issuer are not there\n",
                    { ["retry-after"] = tostring(ASK_AGAIN) })
            end
            local claims, _, detail = verify(token)
            if not claims then
                -- rproxy: allow hook-pattern
                return refuse(req, 401, "invalid_token", (detail:gsub('"', "'"))) -- not the rule
            end
            local consumer = header_value(claims[conf.consumer])
            if not consumer or consumer == "" then
                return refuse(req, 401, "invalid_token", "the token names nobody")
            end
            if not has_scopes(claims, scopes) then
                return refuse(req, 403, "insufficient_scope", "the token does not reach this far")
            end
            pass(req, claims, consumer)
        end,
    }
end

return M
