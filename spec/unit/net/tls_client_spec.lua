-- SPDX-License-Identifier: MIT
--
-- tls_client: what our side of a TLS connection to an upstream says of itself, and whom it believes.

local ffi = require("ffi")
local c = require("spec.support.c")
local net = require("spec.support.net")
local pair = require("spec.support.tls_pair")
local proc = require("spec.support.proc")
local tls = require("spec.support.tls")

ffi.cdef [[ void SSL_CTX_set_alpn_select_cb(SSL_CTX *, int (*)(SSL *, const unsigned char **,
    unsigned char *, const unsigned char *, unsigned, void *), void *); ]]

local C = pair.C
local H2, H1 = "\2h2", "\8http/1.1"

describe("the TLS of an upstream", function()
    local dir, env, offered
    local ssl = ffi.load("libssl.so.3")

    lazy_setup(function()
        dir = tls.dir()
        tls.ca(dir, "ca")
        tls.cert(dir, "a", { ca = "ca", names = { "a.test" }, ips = { "127.0.0.1" } })
        tls.cert(dir, "old", { ca = "ca", names = { "a.test" }, expired = true })
    end)
    lazy_teardown(proc.cleanup)
    before_each(function()
        env = net.open()
        offered = nil
    end)
    after_each(function() env:close() end)

    -- The server's side notes what is offered, and takes `protocol` (nil: none).
    local function alpn(protocol)
        return function(e)
            ssl.SSL_CTX_set_alpn_select_cb(e.ctx, env:callback("int (*)(SSL *, const unsigned char **, "
                .. "unsigned char *, const unsigned char *, unsigned, void *)",
                function(_, out, out_n, list, n)
                    offered = ffi.string(list, n)
                    local at = protocol and offered:find(protocol, 1, true)
                    if not at then return 3 end -- SSL_TLSEXT_ERR_NOACK
                    out[0], out_n[0] = list + at - 1, #protocol
                    return 0
                end), nil)
        end
    end

    local function connect(opt, name, more)
        local made = assert(pair.client(opt))
        local all = { cert = dir .. "/a.pem", key = dir .. "/a.key" }
        for key, value in pairs(more or {}) do all[key] = value end
        local result, conn, e = pair.connect(env, made, name, all)
        return result, conn, e
    end

    it("offers its protocols, best first, and knows which was taken", function()
        local result, conn = connect({ verify = false, alpn = H2 .. H1 }, "a.test",
            { before = alpn("http/1.1") })
        assert.equal("OK", result)
        assert.equal(H2 .. H1, offered)
        assert.equal("http/1.1", c.lua(C.rp_tls_alpn(C.rp_conn_tls(conn.raw))))
        conn:close()
    end)

    it("offers others for one connection, and the next has its own again", function()
        local made = assert(pair.client { verify = false, alpn = H2 .. H1 })
        local function once(offer)
            local result, conn = pair.connect(env, made, "a.test", { cert = dir .. "/a.pem",
                key = dir .. "/a.key", offer = offer, before = alpn("http/1.1") })
            assert.equal("OK", result)
            conn:close()
            return offered
        end
        assert.equal(H1, once(H1))
        assert.equal(H2 .. H1, once(nil))
    end)

    it("has no protocol when the server takes none", function()
        local result, conn = connect({ verify = false, alpn = H2 }, "a.test", { before = alpn(nil) })
        assert.equal("OK", result)
        assert.is_nil(c.lua(C.rp_tls_alpn(C.rp_conn_tls(conn.raw))))
        conn:close()
    end)

    it("asks for names, not for addresses (RFC 6066 3)", function()
        for name, asked in pairs { ["a.test"] = "a.test", ["a.test."] = "a.test",
            ["127.0.0.1"] = "", ["::1"] = "" } do
            local _, conn, e = connect({ verify = false }, name)
            assert.equal(asked, e.asked or "")
            conn:close()
        end
        local _, conn, e = connect({ verify = false, sni = "other.test" }, "a.test")
        assert.equal("other.test", e.asked)
        conn:close()
    end)

    it("believes the name it was told to, of a certificate in its time", function()
        local cas = pair.read(dir, "ca.pem")
        local function verdict(opt, name, more)
            opt.verify, opt.cas = true, cas
            local result, conn = connect(opt, name, more)
            conn:close()
            return result
        end
        assert.equal("OK", verdict({}, "a.test"))
        assert.equal("OK", verdict({}, "127.0.0.1"))
        assert.equal("UP_TLS_VERIFY", verdict({}, "127.0.0.2"))
        assert.equal("UP_TLS_VERIFY", verdict({}, "x.a.test"))
        assert.equal("OK", verdict({ name = "a.test" }, "anything.test"))
        assert.equal("OK", verdict({ sni = "a.test" }, "anything.test"))
        assert.equal("UP_TLS_VERIFY", verdict({ sni = "a.test", name = "b.test" }, "a.test"))
        assert.equal("UP_TLS_VERIFY", verdict({}, "a.test",
            { cert = dir .. "/old.pem", key = dir .. "/old.key" }))
    end)

    it("tells connections that must not be mixed by an id", function()
        local function id(opt, peer)
            local made, out = assert(pair.client(opt)), ffi.new("uint8_t[32]")
            C.rp_tls_client_id(made[0], c.str(peer), out)
            return ffi.string(out, 32)
        end
        local base = id({ verify = false, alpn = H2 }, "a")
        assert.equal(base, id({ verify = false, alpn = H2 }, "a"))
        assert.not_equal(base, id({ verify = false, alpn = H2 }, "b"))
        assert.not_equal(base, id({ verify = false, alpn = H1 }, "a"))
        assert.not_equal(base, id({ verify = false, alpn = H2, sni = "x" }, "a"))
        assert.not_equal(base, id({ verify = false, alpn = H2, name = "x" }, "a"))
        assert.not_equal(base, id({ verify = false, alpn = H2, cert_pem = pair.read(dir, "a.pem"),
            key_pem = pair.read(dir, "a.key") }, "a"))
    end)
end)
