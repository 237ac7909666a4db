-- SPDX-License-Identifier: MIT

local c = require("spec.support.c")
local posix = require("spec.support.posix")
local proc = require("spec.support.proc")
local tls = require("spec.support.tls")
local ffi = c.ffi
local C = c.load { "net/tls_server.h", "net/tls_staple.h" }

local WHY = 320

describe("net/tls_staple", function()
    local dir, why, made

    local function file(name) return assert(posix.read_file(dir .. "/" .. name)) end

    -- A server with these certificates; texts: certificate, chain and key in one.
    local function server(ocsp, ...)
        local rules, facts = ffi.new("struct rp_tls_rules"), ffi.new("struct rp_tls_cert_facts")
        rules.ocsp = ocsp
        local s = C.rp_tls_server_new(rules, why)
        made[#made + 1] = s
        for _, text in ipairs { ... } do
            local e = C.rp_tls_server_add(s, c.str(text), c.str(text), facts, why)
            assert.equal(0, e, ffi.string(why))
        end
        return s, facts
    end

    local function pair(name) return file(name .. ".pem") .. file("ca.pem") .. file(name .. ".key") end

    local function first(ocsp, name)
        local s, facts = server(ocsp, pair(name))
        return C.rp_tls_server_staples(s), facts, s
    end

    local function check(p, der, now)
        local out = ffi.new("struct rp_tls_staple_answer")
        local e = C.rp_tls_staple_check(p, c.str(der), now or os.time(), out, why)
        return c.err_name(e), e == 0 and out or ffi.string(why)
    end

    lazy_setup(function()
        dir, why = tls.dir(), ffi.new("char[?]", WHY)
        tls.ca(dir, "ca")
        tls.ca(dir, "other")
        tls.cert(dir, "a", { ca = "ca", names = { "a.test" }, serial = 16, ext = {
            "authorityInfoAccess=OCSP;URI:ldap://x,OCSP;URI:http://ocsp.test:8080/x" } })
        tls.cert(dir, "b", { ca = "ca", names = { "b.test" }, serial = 17, ext = {
            "tlsfeature=status_request" } })
        tls.cert(dir, "poser", { ca = "ca", serial = 18 })
        tls.cert(dir, "signer", { ca = "ca", serial = 19, ext = { "extendedKeyUsage=OCSPSigning" } })
    end)
    lazy_teardown(proc.cleanup)
    before_each(function() made = {} end)
    after_each(function()
        for _, s in ipairs(made) do
            C.rp_tls_server_drop(ffi.new("struct rp_tls_server *[1]", s))
        end
    end)

    it("is there for certificates with a responder and a known issuer", function()
        local p, facts = first(true, "a")
        assert.is_true(p ~= nil and facts.has_staple and facts.has_responder)
        assert.is_false(facts.must_staple)
        assert.equal("http://ocsp.test:8080/x", c.lua(C.rp_tls_staple_url(p)))
        assert.equal("a.test", c.lua(C.rp_tls_staple_name(p)))
        local s, bare = server(true, file("a.pem") .. file("a.key")) -- no issuer
        assert.is_true(C.rp_tls_server_staples(s) == nil and bare.has_responder)
        assert.is_false(bare.has_staple)
        p, facts = first(true, "b")
        assert.is_true(p == nil and facts.must_staple and not facts.has_responder)
        assert.is_true((first(false, "a")) == nil)
    end)

    it("has one name in all processes and generations, and one for each certificate", function()
        local a = c.lua(C.rp_tls_staple_id((first(true, "a"))))
        assert.equal(32, #a)
        assert.equal(a, c.lua(C.rp_tls_staple_id((first(true, "a")))))
        local s = server(true, pair("a"), pair("poser"))
        assert.is_true(C.rp_tls_staple_next(C.rp_tls_server_staples(s)) == nil)
    end)

    it("takes answers of the issuer, and of whom it named", function()
        local p = first(true, "a")
        local request = c.lua(C.rp_tls_staple_request(p))
        for _, signer in ipairs { "ca", "signer" } do
            local e, out = check(p, tls.ocsp(dir, "ca", { request = request, serials = { 16 },
                signer = signer }))
            assert.equal("OK", e, out)
            assert.is_true(out.in_time)
            assert.equal(0, out.status)
            assert.equal(600, tonumber(out.next_s - out.this_s))
        end
        local _, out = check(p, tls.ocsp(dir, "ca", { request = request, revoked = { 16 },
            serials = { 16 } }))
        assert.equal(1, out.status)
        _, out = check(p, tls.ocsp(dir, "ca", { request = request, serials = {} }))
        assert.equal(2, out.status)
    end)

    it("tells answers that are over, or not yet begun", function()
        local p = first(true, "a")
        local der = tls.ocsp(dir, "ca", { cert = "a", serials = { 16 } })
        local now = os.time()
        for when, is in pairs { [now] = true, [now + 601] = false, [now - 200] = true,
            [now - 400] = false } do
            local e, out = check(p, der, when)
            assert.equal("OK", e)
            assert.equal(is, out.in_time, when - now)
        end
    end)

    it("refuses everything else", function()
        local p = first(true, "a")
        local good = tls.ocsp(dir, "ca", { cert = "a", serials = { 16 } })
        local function refused(der, words)
            local e, text = check(p, der)
            assert.equal("INVALID", e)
            assert.truthy(text:find(words, 1, true), text)
        end
        refused("", "it is no OCSP response")
        refused("garbage", "it is no OCSP response")
        refused(good .. "x", "it is no OCSP response")
        refused(good:sub(1, -2), "it is no OCSP response")
        refused(("x"):rep(17000), "larger than 16 KB")
        refused("\48\3\10\1\3", "trylater")
        refused(tls.ocsp(dir, "ca", { cert = "b", serials = { 17 } }), "another certificate")
        for _, signer in ipairs { "poser", "other" } do
            refused(tls.ocsp(dir, "ca", { cert = "a", serials = { 16 }, signer = signer }),
                "not signed by the issuer")
        end
        -- Whatever bit is turned: it is refused, or it says the same.
        for i = 1, #good, 7 do
            local bad = good:sub(1, i - 1) .. string.char((good:byte(i) + 1) % 256)
                .. good:sub(i + 1)
            local e, out = check(p, bad)
            assert.is_true(e == "INVALID" or out.status == 0, i)
        end
    end)

    it("is handed out until it ends", function()
        local p, _, s = first(false, "a")
        assert.is_true(p == nil)
        local der = tls.ocsp(dir, "ca", { cert = "a", serials = { 16 } })
        local out = ffi.new("struct rp_tls_staple_answer")
        assert.equal(0, C.rp_tls_server_staple(s, c.str(der), os.time(), out, why))
        p = C.rp_tls_server_staples(s)
        assert.equal(0, tonumber(C.rp_tls_staple_url(p).len)) -- nobody is asked
        assert.equal(der, c.lua(C.rp_tls_staple_get(p, os.time(), nil, nil)))
        assert.equal(0, tonumber(C.rp_tls_staple_get(p, out.next_s, nil, nil).len))
        C.rp_tls_staple_set(p, c.str(""), 0, 0)
        assert.equal(0, tonumber(C.rp_tls_staple_get(p, os.time(), nil, nil).len))
    end)
end)
