-- SPDX-License-Identifier: MIT
--
-- tls_server: which certificate a client gets, and which clients get none.

local c = require("spec.support.c")
local net = require("spec.support.net")
local pair = require("spec.support.tls_pair")
local proc = require("spec.support.proc")
local tls = require("spec.support.tls")

local C = pair.C

describe("a TLS server", function()
    local dir, env

    lazy_setup(function()
        dir = tls.dir()
        tls.cert(dir, "first", { cn = "first", names = { "first.test" } })
        tls.cert(dir, "wild", { cn = "wild", names = { "*.w.test", "W.test" } })
        tls.cert(dir, "exact", { cn = "exact", names = { "x.w.test" } })
        tls.cert(dir, "rsa", { cn = "rsa", names = { "first.test" }, kind = "rsa" })
        tls.cert(dir, "common", { cn = "common.test" })
        tls.cert(dir, "old", { cn = "old", names = { "x.w.test" }, expired = true })
    end)
    lazy_teardown(proc.cleanup)
    before_each(function() env = net.open() end)
    after_each(function() env:close() end)

    -- Common name of the certificate that a client gets; nil and why.
    local function given(server, opt)
        local conn, e, why = pair.accept(env, server, opt)
        local name = not why and e.peer or nil
        conn:close()
        return name, why
    end

    it("gives the certificate of the name that was asked for, exact ones before wildcards", function()
        local s = assert(pair.server(dir, { certs = { "first", "wild", "exact", "common" } }))
        for asked, name in pairs { ["first.test"] = "first", ["x.w.test"] = "exact",
            ["y.w.test"] = "wild", ["w.test"] = "wild", ["X.W.TEST"] = "exact",
            ["a.b.w.test"] = "first", ["common.test"] = "common.test", ["nobody.test"] = "first" } do
            assert.equal(name, (given(s, { sni = asked })), asked)
        end
        assert.equal("first", (given(s, {}))) -- no name at all
        assert.equal(4, C.rp_tls_server_certs(s[0]))
    end)

    it("knows its names", function()
        local s = assert(pair.server(dir, { certs = { "first", "wild" } }))
        for name, knows in pairs { ["first.test"] = true, ["q.w.test"] = true, ["w.test"] = true,
            ["a.b.w.test"] = false, ["test"] = false, [""] = false, ["first.test."] = false } do
            assert.equal(knows, C.rp_tls_server_knows(s[0], c.str(name)), name)
        end
    end)

    it("refuses unknown names when it is to", function()
        local s = assert(pair.server(dir, { certs = { "first" }, rules = { refuse = true } }))
        assert.equal("first", (given(s, { sni = "first.test" })))
        local name, why = given(s, { sni = "nobody.test" })
        assert.is_nil(name)
        assert.matches("unrecognized name", why)
    end)

    it("has a certificate of each kind for a name, by what the client can verify", function()
        local s = assert(pair.server(dir, { certs = { "first", "rsa" } }))
        assert.equal("first", (given(s, { sni = "first.test" })))
        assert.equal("rsa", (given(s, { sni = "first.test", versions = "1.2",
            ciphers = "ECDHE-RSA-AES128-GCM-SHA256" })))
    end)

    it("takes of two certificates the one that lives longer, whichever comes first", function()
        for _, certs in ipairs { { "first", "old", "exact" }, { "first", "exact", "old" } } do
            local s = assert(pair.server(dir, { certs = certs }))
            assert.equal("exact", (given(s, { sni = "x.w.test" })))
        end
    end)

    it("speaks the versions and ciphers of its profile", function()
        local modern = assert(pair.server(dir, { certs = { "first" },
            rules = { profile = C.RP_TLS_MODERN } }))
        local both = assert(pair.server(dir, { certs = { "first" } }))
        local only2 = assert(pair.server(dir, { certs = { "first" },
            rules = { versions = C.RP_TLS_V12 } }))
        assert.equal("first", (given(both, { versions = "1.2" })))
        assert.equal("first", (given(both, { versions = "1.3" })))
        assert.is_nil((given(modern, { versions = "1.2" })))
        assert.is_nil((given(only2, { versions = "1.3" })))
        assert.is_nil((given(both, { versions = "1.2", ciphers = "ECDHE-ECDSA-AES128-SHA" })))
    end)

    it("chooses a protocol by its own order, and refuses clients that share none", function()
        local s = assert(pair.server(dir, { certs = { "first" }, rules = { alpn = "\2h2\8http/1.1" } }))
        local conn, e = pair.accept(env, s, { alpn = { "http/1.1", "h2" } })
        assert.equal("h2", c.lua(C.rp_tls_alpn(C.rp_conn_tls(conn.raw))))
        assert.is_truthy(e)
        conn:close()
        conn = pair.accept(env, s, {})
        assert.is_nil(c.lua(C.rp_tls_alpn(C.rp_conn_tls(conn.raw))))
        conn:close()
        local _, why = given(s, { alpn = { "spdy/1" } })
        assert.matches("application protocol", why)
    end)

    it("cannot do without a certificate", function()
        local s = assert(pair.bare_server())
        local ok, why = pair.finish(s)
        assert.is_false(ok)
        assert.is_true(#why > 5)
    end)

    it("refuses rules that OpenSSL cannot follow", function()
        assert.is_nil((pair.bare_server { ask = C.RP_TLS_ASK_REQUIRED, cas = "no authorities" }))
        assert.is_nil((pair.bare_server { alpn = ("\1a"):rep(200) })) -- longer than it may be
    end)

    it("outlives its owner while a handshake runs", function()
        local s = assert(pair.server(dir, { certs = { "first" } }))
        local near, far = net.tcp_pair()
        local conn = env:adopt(near)
        C.rp_conn_start_tls(conn.raw, s[0], nil)
        C.rp_tls_server_drop(s)
        local e = tls.over(env:own(far), { sni = "first.test",
            turn = function() C.rp_loop_turn(env.loop, 0) end })
        assert.is_true(e:handshake())
        assert.equal("first", e.peer)
        conn:close()
    end)
end)
