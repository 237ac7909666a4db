-- SPDX-License-Identifier: MIT
--
-- jwt-auth with keys that it fetches: from an issuer that rotates them, is down, or answers garbage.

local e2e = require("spec.support.e2e")
local http = require("spec.support.http")
local posix = require("spec.support.posix")
local proc = require("spec.support.proc")
local wire = require("spec.support.wire")

-- The issuer is an rproxy as well: it makes tokens and publishes keys, of which kids there are is told
-- by requests. Everything about it can be changed while it runs.
local ISSUER = [[
    local keys, mode, asked = { a = true }, "good", 0
    local made = {
        a = rp.crypto.signer { jwk = { kty = "OKP", crv = "Ed25519", kid = "a",
            d = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
            x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" } },
        b = rp.crypto.signer { jwk = { kty = "OKP", crv = "Ed25519", kid = "b",
            d = "TM0Imyj_ltqdtsNG7BFOD1uKMZ81q6Yk2oz27U-4pvs",
            x = "PUAXw-hDiVqStwqnTRt-vJyYLM8uxJaMwM1V8Sr0Zgw" } },
    }
    local public = {
        a = { kty = "OKP", crv = "Ed25519", kid = "a", x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" },
        b = { kty = "OKP", crv = "Ed25519", kid = "b", x = "PUAXw-hDiVqStwqnTRt-vJyYLM8uxJaMwM1V8Sr0Zgw" },
    }
    local ANSWERS = {
        garbage = function(req) return req:exit(200, "<html>not found</html>") end,
        empty = function(req) return req:exit(200, { keys = rp.array {} }) end,
        list = function(req) return req:exit(200, rp.array { 1, 2 }) end,
        big = function(req) return req:exit(200, ("x"):rep(2 ^ 21)) end,
        gone = function(req) return req:exit(500, "no") end,
        slow = function(req) rp.sleep(60) return req:exit(200) end,
    }
]]
local ISSUER_SITE = [[ hosts = { rp.host { default = true, routes = {
    rp.route { "/jwks", content = function(req)
        asked = asked + 1
        if ANSWERS[mode] then return ANSWERS[mode](req) end
        local list = rp.array {}
        for kid in pairs(keys) do list[#list + 1] = public[kid] end
        return req:exit(200, { keys = list })
    end },
    rp.route { "/set", content = function(req)
        mode = req:arg("mode") or "good"
        keys = {}
        for kid in (req:arg("keys") or "a"):gmatch(".") do keys[kid] = true end
        return req:exit(200, "set")
    end },
    rp.route { "/asked", content = function(req) return req:exit(200, tostring(asked)) end },
    rp.route { "/token/{kid}", content = function(req)
        local kid = req.params.kid
        return req:exit(200, assert(rp.jwt.sign({ sub = "ann", exp = rp.time() + 600 },
            { key = made[kid:sub(1, 1)], alg = "EdDSA", kid = kid })))
    end },
} } } ]]

local BEFORE = [[ local jwt_auth = require("plugins.jwt_auth")
    local function who(req) return req:exit(200, req.consumer) end ]]

describe("plugin jwt-auth with the issuer's keys", function()
    local issuer, rp

    local function tell(target)
        return http.get(issuer.port, target).body
    end

    local function start(conf, opt)
        local all = { before = BEFORE, vars = { issuer = issuer.port }, site = ([[
            hosts = { rp.host { default = true, routes = {
                rp.route { "/me", use = { jwt_auth { jwks = "http://127.0.0.1:${issuer}/jwks",
                    algorithms = { "EdDSA" }, %s } }, content = who },
                rp.route { "/again", use = { jwt_auth { jwks = "http://127.0.0.1:${issuer}/jwks",
                    algorithms = { "EdDSA" }, %s } }, content = who } } } } ]]):format(conf, conf) }
        for name, value in pairs(opt or {}) do all[name] = value end
        rp = e2e.proxy(all)
    end

    local function ask(kid, target)
        local res = http.get(rp.port, target or "/me", { Authorization = "Bearer "
            .. tell("/token/" .. kid) })
        return res.status, res
    end

    before_each(function() issuer = e2e.proxy { before = ISSUER, site = ISSUER_SITE } end)
    after_each(function()
        wire.close_all()
        if rp then rp:stop() end
        issuer:stop()
        rp = nil
    end)
    teardown(proc.cleanup)

    it("has them before the first request, once for all routes that name the place", function()
        start("")
        assert.same({ 200, 200 }, { (ask("a")), (ask("a", "/again")) })
        assert.equal("1", tell("/asked"))
    end)

    it("fetches them again for a key that it does not know, and not for each", function()
        start("")
        assert.equal(401, (ask("b")))
        assert.equal(401, (ask("bx")))
        local before = tonumber(tell("/asked"))
        assert.is_true(before <= 2, before)
        for _ = 1, 5 do assert.equal(401, (ask("bx"))) end
        assert.equal(before, tonumber(tell("/asked")))
    end)

    it("follows a rotation by itself", function()
        start("refresh = 1")
        assert.equal(200, (ask("a")))
        tell("/set?keys=b")
        assert.truthy(posix.poll(function() return ask("b") == 200 and ask("a") == 401 end))
    end)

    it("keeps what it has, whatever the issuer answers", function()
        start("refresh = 1")
        assert.equal(200, (ask("a")))
        for _, mode in ipairs { "garbage", "empty", "list", "big", "gone" } do
            tell("/set?mode=" .. mode)
            local n = tonumber(tell("/asked"))
            assert.truthy(posix.poll(function() return tonumber(tell("/asked")) > n end))
            assert.equal(200, (ask("a")), mode)
        end
        assert.matches("keys not fetched", rp:stderr())
        tell("/set?keys=ab")
        assert.truthy(posix.poll(function() return ask("b") == 200 end))
    end)

    it("serves without an issuer, and refuses tokens until it is there", function()
        tell("/set?mode=gone")
        start("refresh = 1")
        local status, res = ask("a")
        assert.equal(503, status)
        assert.equal("10", res:header("retry-after"))
        assert.equal(401, http.get(rp.port, "/me").status)
        tell("/set?keys=a")
        assert.truthy(posix.poll(function() return ask("a") == 200 end))
    end)

    it("does not wait for ever for an issuer that does not answer", function()
        tell("/set?mode=slow")
        start("refresh = 600")
        assert.equal(503, (ask("a")))
    end)

    it("is refused with two sources of keys", function()
        local ok, err = pcall(start, 'jwks_file = "x"')
        assert.is_false(ok)
        assert.matches("takes one of jwks, jwks_file", tostring(err))
    end)
end)
