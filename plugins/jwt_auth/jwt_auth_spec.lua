-- SPDX-License-Identifier: MIT
local rp = require("rproxy")
local t = require("rproxy.test")
local jwt_auth = require("plugins.jwt_auth")

local URL = "https://id.example.test/jwks.json"

-- RFC 8032 §7.1, tests 1 and 2.
local SECRET = { a = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
    b = "TM0Imyj_ltqdtsNG7BFOD1uKMZ81q6Yk2oz27U-4pvs" }
local PUBLIC = { a = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
    b = "PUAXw-hDiVqStwqnTRt-vJyYLM8uxJaMwM1V8Sr0Zgw" }

local function jwk(kid)
    return { kty = "OKP", crv = "Ed25519", kid = kid, x = PUBLIC[kid] }
end

local function token(claims, kid)
    kid = kid or "a"
    local key = jwk(kid)
    key.d = SECRET[kid]
    claims.exp = claims.exp or t.clock:time() + 60
    return assert(rp.jwt.sign(claims, { key = rp.crypto.signer { jwk = key }, alg = "EdDSA",
        kid = kid }))
end

describe("plugin jwt-auth", function()
    local published, answer, server

    before_each(function()
        published, answer = { "a" }, nil
        server = t.http(URL, function()
            if answer then return answer() end
            local keys = {}
            for i, kid in ipairs(published) do keys[i] = jwk(kid) end
            return 200, rp.json.encode { keys = keys }
        end)
    end)

    local function open(conf)
        conf = conf or {}
        conf.jwks = URL
        return t.site { use = { jwt_auth(conf) } }
    end

    local function ask(site, text)
        return site:get("/", { headers = { authorization = text and "Bearer " .. text } })
    end

    it("asks for a token, and lets a good one through without it", function()
        local site = open { headers = { ["x-user"] = "sub" } }
        local refused = ask(site, nil)
        assert.equal(401, refused.status)
        assert.equal('Bearer realm="rproxy"', refused.headers["www-authenticate"])
        local res = site:get("/", { headers = { authorization = "Bearer " .. token { sub = "ann" },
            ["x-user"] = "root" } })
        assert.equal(200, res.status)
        assert.equal("ann", res.upstream.headers["x-user"])
        assert.is_nil(res.upstream.headers["authorization"])
    end)

    it("has fetched the keys before the first request, once", function()
        local site = open()
        assert.equal(1, #server.requests)
        ask(site, token { sub = "ann" })
        ask(site, token { sub = "ann" })
        assert.equal(1, #server.requests)
    end)

    it("refuses a token when its time is over, and not before", function()
        local site = open { leeway = 10 }
        local text = token { sub = "ann", exp = t.clock:time() + 60 }
        assert.equal(200, ask(site, text).status)
        t.clock:advance(69)
        assert.equal(200, ask(site, text).status)
        t.clock:advance(2)
        local late = ask(site, text)
        assert.equal(401, late.status)
        assert.matches('error="invalid_token"', late.headers["www-authenticate"], 1, true)
    end)

    it("refuses a signature that is not the issuer's", function()
        local site = open()
        local text = token({ sub = "ann" }, "b")
        assert.equal(401, ask(site, text).status)
        local good = token { sub = "ann" }
        local head, _, signature = good:match("^(.-)%.(.-)%.(.*)$")
        local forged = ("%s.%s.%s"):format(head,
            rp.b64url(rp.json.encode { sub = "root", exp = 2 ^ 40 }), signature)
        assert.equal(401, ask(site, forged).status)
        local none = rp.b64url('{"alg":"none"}') .. "." .. rp.b64url('{"sub":"root"}') .. "."
        assert.not_equal(200, ask(site, none).status)
    end)

    it("learns a new key when a token names it", function()
        local site = open { refresh = 300 }
        published = { "a", "b" }
        t.clock:advance(60)
        assert.equal(200, ask(site, token({ sub = "ann" }, "b")).status)
    end)

    it("goes on with the keys it has while the issuer is down", function()
        local site = open { refresh = 10 }
        answer = function() return t.reset end
        t.clock:advance(35)
        assert.is_true(#server.requests >= 3)
        assert.equal(200, ask(site, token { sub = "ann" }).status)
    end)

    it("answers 503 while no key was ever seen", function()
        answer = function() return 500, "no" end
        local site = open()
        assert.equal(503, ask(site, token { sub = "ann" }).status)
        answer = nil
        t.clock:advance(60)
        assert.equal(200, ask(site, token { sub = "ann" }).status)
    end)

    it("asks for scopes", function()
        local site = open { scope = { "read" } }
        assert.equal(403, ask(site, token { sub = "ann", scope = "write" }).status)
        assert.equal(200, ask(site, token { sub = "ann", scope = "write read" }).status)
    end)
end)
