-- SPDX-License-Identifier: MIT
--
-- The three plugins that the interface was designed by (spec/support/api, to the letter), together in
-- one site: tokens of a real issuer, limits by who they say it is, and a share of the users on the next
-- version.

local e2e = require("spec.support.e2e")
local http = require("spec.support.http")
local metrics = require("spec.support.metrics")
local origin = require("spec.support.origin")
local posix = require("spec.support.posix")
local proc = require("spec.support.proc")
local protocol = require("spec.support.protocol")
local wire = require("spec.support.wire")

local ISSUER = [[
    local signers = {
        ed = rp.crypto.signer { jwk = { kty = "OKP", crv = "Ed25519", kid = "ed",
            d = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
            x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" } },
        late = rp.crypto.signer { jwk = { kty = "OKP", crv = "Ed25519", kid = "late",
            d = "TM0Imyj_ltqdtsNG7BFOD1uKMZ81q6Yk2oz27U-4pvs",
            x = "PUAXw-hDiVqStwqnTRt-vJyYLM8uxJaMwM1V8Sr0Zgw" } },
    }
    local public = {
        ed = { kty = "OKP", crv = "Ed25519", kid = "ed",
            x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" },
        late = { kty = "OKP", crv = "Ed25519", kid = "late",
            x = "PUAXw-hDiVqStwqnTRt-vJyYLM8uxJaMwM1V8Sr0Zgw" },
    }
    local asked, with_late = 0, false
]]
local ISSUER_SITE = [[ hosts = { rp.host { default = true, routes = {
    rp.route { "/jwks.json", content = function(req)
        asked = asked + 1
        local keys = rp.array { public.ed }
        if with_late then keys[2] = public.late end
        return req:exit(200, { keys = keys })
    end },
    rp.route { "/asked", content = function(req) return req:exit(200, tostring(asked)) end },
    rp.route { "/rotate", content = function(req) with_late = true return req:exit(200, "") end },
    rp.route { "/token", content = function(req)
        local kid = req:arg("kid") or "ed"
        local claims = { sub = req:arg("sub") or "ann", iss = req:arg("iss") or "me",
            aud = req:arg("aud") or "api", exp = rp.time() + tonumber(req:arg("exp") or "600") }
        if req:arg("nbf") then claims.nbf = rp.time() + tonumber(req:arg("nbf")) end
        return req:exit(200, assert(rp.jwt.sign(claims, { key = signers[kid], alg = "EdDSA",
            kid = kid })))
    end },
} } } ]]

local BEFORE = [[
    local jwt_auth  = require "api_jwt_auth"
    local ratelimit = require "api_ratelimit"
    local canary    = require "api_canary"
    local function key(conf)
        conf.issuer, conf.audience = "me", "api"
        conf.jwks = "http://127.0.0.1:${issuer}/jwks.json"
        return jwt_auth(conf)
    end
]]

local SITE = [[
    shared = { buckets = rp.shm.buckets { size = "1m" }, flags = rp.shm.store { size = "1m" } },
    upstreams = {
        api = rp.upstream { peers = { "127.0.0.1:${api}" } },
        api_next = rp.upstream { peers = { "127.0.0.1:${api_next}" } },
    },
    hosts = { rp.host { default = true, use = { key { leeway = 5 } }, routes = {
        rp.route { "GET,HEAD /v1/status", respond = { 200, "ok\n" }, skip = { "jwt-auth" } },
        rp.route { "/limited", upstream = "api", use = {
            ratelimit { dict = "buckets", rate = 0.01, burst = 2, key = "consumer" } } },
        rp.route { "/by-route", upstream = "api", skip = { "jwt-auth" }, use = {
            ratelimit { dict = "buckets", rate = 0.01, burst = 3, key = "route" } } },
        rp.route { "/canary/*", upstream = "api", use = {
            canary { upstream = "api_next", percent = 50, sticky = "cookie:canary",
                rules = { { header = "X-Canary", equals = "always" },
                    { header = "User-Agent", matches = "^beta/" } } },
            { access = function(req) req.ctx.seen = true end } } },
        rp.route { "/all/*", upstream = "api", skip = { "jwt-auth" }, use = {
            canary { upstream = "api_next", percent = 100 } } },
        rp.route { "/*", upstream = "api" },
    } } },
]]

describe("the plugins of the interface's design", function()
    local rp, issuer, api, api_next

    setup(function()
        issuer = e2e.proxy { before = ISSUER, site = ISSUER_SITE }
        api = origin.start { ["*"] = { status = 200, body = "api" } }
        api_next = origin.start { ["*"] = { status = 200, body = "next" } }
        local files = {}
        for _, name in ipairs { "jwt_auth", "ratelimit", "canary" } do
            files["api_" .. name .. ".lua"] = assert(posix.read_file(
                "spec/support/api/" .. name .. ".lua"))
        end
        rp = e2e.proxy { before = BEFORE, site = SITE, files = files, vars = { issuer = issuer.port,
            api = api.port, api_next = api_next.port } }
    end)
    teardown(function()
        wire.close_all()
        local ok, err = pcall(rp.stop, rp)
        origin.cleanup()
        proc.cleanup()
        assert(ok, err)
    end)

    -- The plugin fetches its keys from the issuer without TLS.
    local function test(name, fn)
        it(name, function()
            protocol.only("no TLS", "http:// in the plugin's settings")
            fn()
        end)
    end

    local function token(query)
        return "Bearer " .. http.get(issuer.port, "/token?" .. (query or "")).body
    end
    local function get(target, fields) return http.get(rp.port, target, fields) end
    local function with(query, more)
        local fields = { Authorization = token(query) }
        for name, value in pairs(more or {}) do fields[name] = value end
        return fields
    end

    describe("jwt-auth", function()
        test("lets good tokens in, says who it is, and passes no token on", function()
            local fields = with("sub=ann")
            fields["X-User"] = "root" -- nobody says who he is himself
            local res = get("/", fields)
            assert.equal(200, res.status)
            local seen = e2e.last(api)
            assert.same({ "ann" }, e2e.values(seen.fields, "x-user"))
            assert.same({}, e2e.values(seen.fields, "authorization"))
        end)

        test("refuses the others, and says why", function()
            local ed = token()
            for _, case in ipairs {
                { nil, "missing token" }, { "Bearer x", "missing token" },
                { "Bearer a.b.c", "algorithm" },
                { ed:sub(1, -5) .. "AAAA", "signature" }, { token("iss=you"), "issuer" },
                { token("aud=other"), "audience" }, { token("exp=-60"), "expired" },
                { token("nbf=60"), "not yet valid" },
            } do
                local res = get("/", { Authorization = case[1] })
                assert.equal(401, res.status, case[2])
                assert.equal(case[2], res.body:match('"reason":"([^"]*)"'))
                assert.equal('Bearer error="invalid_token"', res:header("www-authenticate"))
            end
            assert.equal(200, get("/v1/status").status)
        end)

        test("fetches keys once at the start, and once more for a key it does not know", function()
            local asked = tonumber(http.get(issuer.port, "/asked").body)
            assert.equal(200, get("/", with()).status)
            assert.equal(asked, tonumber(http.get(issuer.port, "/asked").body))
            http.get(issuer.port, "/rotate")
            assert.equal(200, get("/", with("kid=late")).status)
            assert.equal(asked + 1, tonumber(http.get(issuer.port, "/asked").body))
        end)
    end)

    describe("ratelimit", function()
        test("takes tokens by who it is, tells what is left, and when to come again", function()
            local bob = with("sub=bob")
            local res = get("/limited", bob)
            assert.same({ 200, "2", "1" }, { res.status, res:header("ratelimit-limit"),
                res:header("ratelimit-remaining") })
            assert.equal(200, get("/limited", bob).status)
            res = get("/limited", bob)
            assert.equal(429, res.status)
            assert.equal("rate limit exceeded\n", res.body)
            assert.is_true(tonumber(res:header("retry-after")) > 50)
            assert.equal(200, get("/limited", with("sub=carol")).status)
        end)

        test("counts by route, and what it refused", function()
            for _ = 1, 3 do assert.equal(200, get("/by-route").status) end
            assert.equal(429, get("/by-route").status)
            local all, found = metrics.all(rp), 0
            for sample, value in pairs(all) do
                if sample:find("ratelimit_denied_total{route=\"", 1, true) then
                    found = found + value
                end
            end
            assert.is_true(found >= 1)
        end)
    end)

    describe("canary", function()
        test("takes whom a rule names, who has the cookie, and a share of the others", function()
            assert.equal("next", get("/canary/a", with("", { ["X-Canary"] = "always",
                Cookie = "canary=0" })).body)
            assert.equal("next", get("/canary/a", with("", { ["User-Agent"] = "beta/2" })).body)
            assert.equal("next", get("/canary/a", with("", { Cookie = "canary=1" })).body)
            assert.equal("api", get("/canary/a", with("", { Cookie = "x=y; canary=0" })).body)
            local on_next = 0
            for i = 1, 60 do
                local me = with("sub=user-" .. i)
                local first = get("/canary/a", me)
                assert.equal(first.body, get("/canary/a", me).body) -- the same user, the same side
                local cookie = first:header("set-cookie")
                assert.equal(first.body == "next" and "1" or "0", cookie:match("^canary=(%d)"))
                assert.matches("Max%-Age=86400", cookie)
                assert.matches("Secure", cookie)
                assert.matches("HttpOnly", cookie)
                if first.body == "next" then on_next = on_next + 1 end
            end
            assert.is_true(on_next > 10 and on_next < 50, "on next: " .. on_next)
        end)

        test("sets no cookie over a rule's choice, nor twice", function()
            assert.is_nil(get("/canary/a", with("", { ["X-Canary"] = "always" }))
                :header("set-cookie"))
            assert.is_nil(get("/canary/a", with("", { Cookie = "canary=1" })):header("set-cookie"))
        end)

        test("counts what became of the chosen", function()
            local name = 'canary_requests_total{upstream="api_next",class="2xx"}'
            local before = metrics.value(rp, name) or 0
            for _ = 1, 5 do assert.equal("next", get("/all/x").body) end
            assert.truthy(posix.poll(function() return metrics.value(rp, name) == before + 5 end))
        end)
    end)
end)
