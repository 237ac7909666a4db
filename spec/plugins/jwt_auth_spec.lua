-- SPDX-License-Identifier: MIT

local support = require("spec.unit.script.support")

local SECRET = ("0123456789abcdef"):rep(2)
-- RFC 8037 A
local PUBLIC = '{"kty":"OKP","crv":"Ed25519","kid":"a","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}'

-- A site whose /mint/* routes make tokens, and whose other routes want one.
local BEFORE = ([==[
local jwt_auth = require("plugins.jwt_auth")
local ED = assert(rp.crypto.signer { jwk = { kty = "OKP", crv = "Ed25519", kid = "a",
    d = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
    x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" } })
local HS = assert(rp.crypto.signer { secret = "%s" })
local OTHER = assert(rp.crypto.signer { secret = ("x"):rep(64) })
local now = rp.time()
local function token(name)
    local good = { sub = "ann", exp = now + 60, iss = "me", aud = { "api", "web" }, n = 7,
        scope = "read write" }
    local key, alg = ED, "EdDSA"
    if name == "expired" then good.exp = now - 31
    elseif name == "late" then good.exp = now - 5
    elseif name == "early" then good.nbf = now + 60
    elseif name == "endless" then good.exp = nil
    elseif name == "issuer" then good.iss = "you"
    elseif name == "audience" then good.aud = "other"
    elseif name == "nobody" then good.sub = nil
    elseif name == "split" then good.sub = "a\r\nx: y"
    elseif name == "hs" then key, alg = HS, "HS256"
    elseif name == "weak" then good.scope = "read"
    elseif name == "textual" then good.exp = "never" end
    if name == "none" then
        return rp.b64url('{"alg":"none"}') .. "." .. rp.b64url(rp.json.encode(good)) .. "."
    elseif name == "none2" then
        return rp.b64url('{"alg":"none"}') .. "." .. rp.b64url(rp.json.encode(good)) .. ".AA"
    elseif name == "crit" then
        local text = rp.b64url('{"alg":"EdDSA","crit":["b64"],"b64":false}') .. "."
            .. rp.b64url(rp.json.encode(good))
        return text .. "." .. rp.b64url(ED:sign("EdDSA", text))
    elseif name == "twice" then
        local text = rp.b64url('{"alg":"EdDSA"}') .. "."
            .. rp.b64url(('{"exp":%%d,"sub":"ann","sub":"root"}'):format(now + 60))
        return text .. "." .. rp.b64url(ED:sign("EdDSA", text))
    elseif name == "confused" then -- the public key as a secret
        return assert(rp.jwt.sign(good, { key = rp.crypto.signer { secret = '%s' }, alg = "HS256",
            kid = "a" }))
    elseif name == "kid" then
        return assert(rp.jwt.sign(good, { key = key, alg = alg, kid = "b" }))
    elseif name == "forged" then
        return (assert(rp.jwt.sign(good, { key = ED, alg = "EdDSA" })):gsub("%%.[^.]*$", ".")
            .. rp.b64url(("\1"):rep(64)))
    end
    return assert(rp.jwt.sign(good, { key = key, alg = alg }))
end
local function who(req)
    return req:exit(200, req.consumer .. " " .. req.ctx.jwt.iss .. " "
        .. tostring(req.up:get("x-user")) .. " " .. tostring(req.up:get("x-n")) .. " "
        .. tostring(req.up:get("x-none")) .. " " .. tostring(req.up:get("authorization")))
end
]==]):format(SECRET, PUBLIC)

local CONF = [[{ jwks_file = "keys.json", issuer = "me", audience = { "api" },
    algorithms = { "EdDSA", "HS256" }, scope = { "write" },
    headers = { ["x-user"] = "sub", ["x-n"] = "n", ["x-none"] = "nothing" } }]]

local function routes(conf)
    return ([[
        rp.route { "/mint/{name}", content = function(req)
            return req:exit(200, token(req.params.name)) end },
        rp.route { "/me", use = { jwt_auth %s }, content = who },
    ]]):format(conf)
end

local FILES = { ["keys.json"] = '{"keys":[' .. PUBLIC .. ',{"kty":"RSA","n":"AQAB","e":"AQAB"}]}',
    ["secret"] = SECRET .. "\n", ["short"] = "x", ["bad.json"] = "[]" }

describe("plugin jwt-auth", function()
    local site

    setup(function() site = support.site(routes(CONF), { before = BEFORE, files = FILES }) end)
    teardown(function() site:close() end)

    local function mint(name) return site:get("/mint/" .. name).body end

    local function ask(value, more)
        local headers = more or {}
        headers.authorization = value
        return site:get("/me", headers)
    end

    it("lets a good token through: consumer, claims, headers; the token stays here", function()
        local res = ask("Bearer " .. mint("good"), { ["x-none"] = "spoofed", ["x-user"] = "root" })
        assert.equal(200, res.status)
        assert.equal("ann me ann 7 nil nil", res.body)
        assert.equal(200, ask("bearer  " .. mint("good")).status)
        assert.equal(200, ask("Bearer " .. mint("late")).status) -- within the leeway
    end)

    it("challenges without an error when there is no token", function()
        for _, value in ipairs { "Basic YTpi", "Bearerx y" } do
            local res = ask(value)
            assert.equal(401, res.status)
            assert.equal('Bearer realm="rproxy"', res.headers["www-authenticate"])
        end
        assert.equal('Bearer realm="rproxy"', site:get("/me").headers["www-authenticate"])
    end)

    for name, why in pairs {
        expired = "the token has expired", early = "the token is not valid yet",
        endless = "the token has no claim 'exp'", issuer = "the token is of another issuer",
        audience = "the token is for another audience", nobody = "the token names nobody",
        split = "the token names nobody", hs = "no key of ours signs like this",
        textual = "exp, nbf and iat are numbers", none = "not a signed token",
        none2 = "the token's alg is not one of those accepted",
        crit = "the token names critical extensions", twice = "the claims are no JSON object",
        confused = "no key of ours signs like this", kid = "no key of ours signs like this",
        forged = "the signature is wrong",
    } do
        it("refuses a token: " .. name, function()
            local res = ask("Bearer " .. mint(name))
            assert.equal(401, res.status)
            assert.equal(('Bearer realm="rproxy", error="invalid_token", error_description="%s"')
                :format(why), res.headers["www-authenticate"])
        end)
    end

    it("answers 403 for a token that does not reach far enough", function()
        local res = ask("Bearer " .. mint("weak"))
        assert.equal(403, res.status)
        assert.matches('error="insufficient_scope".* scope="write"$',
            res.headers["www-authenticate"])
    end)

    it("refuses garbage and more than one Authorization", function()
        for _, bad in ipairs { "a", "a.b", "a.b.c", "..", "e30.e30.e30", ("a"):rep(17000) } do
            local res = ask("Bearer " .. bad)
            assert.equal(401, res.status)
        end
        assert.equal(400, ask("Bearer a b").status)
        local raw = site:raw("GET /me HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer a\r\n"
            .. "Authorization: Bearer b\r\nConnection: close\r\n\r\n")
        assert.matches("^HTTP/1.1 400", raw)
    end)

    it("takes a secret from a file", function()
        local other = support.site(routes('{ secret_file = "secret", algorithms = { "HS256" }, '
            .. 'audience = { "web" } }'), { before = BEFORE, files = FILES })
        local good = other:get("/me", { authorization = "Bearer " .. mint("hs") }).status
        local bad = other:get("/me", { authorization = "Bearer " .. mint("good") }).status
        other:close()
        assert.same({ 200, 401 }, { good, bad })
    end)

    it("refuses a site whose keys cannot be used", function()
        local function err(conf)
            local source = support.routes(1, routes(conf)):gsub("^[^\n]*\n", "", 1)
            local built, message = support.build(support.HEAD .. BEFORE .. source, FILES)
            assert.is_nil(built)
            return message
        end
        assert.matches("takes one of jwks, jwks_file, key_file and secret_file", err("{}"))
        assert.matches("short: a secret of less than 32 bytes", err('{ secret_file = "short" }'))
        assert.matches('bad.json: a JWKS is an object with a list "keys"',
            err('{ jwks_file = "bad.json" }'))
        assert.matches("keys.json: not a key", err('{ key_file = "keys.json" }'))
    end)
end)
