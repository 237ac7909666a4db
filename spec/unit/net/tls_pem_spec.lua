-- SPDX-License-Identifier: MIT
--
-- tls_pem: certificates and keys as operators have them in files, good and bad.

local pair = require("spec.support.tls_pair")
local posix = require("spec.support.posix")
local proc = require("spec.support.proc")
local tls = require("spec.support.tls")

describe("PEM texts", function()
    local dir, cert, key, other

    local function read(name) return pair.read(dir, name) end
    local function openssl(words)
        local line = ("cd '%s' && env -u LD_PRELOAD openssl %s >>openssl.log 2>&1"):format(dir, words)
        assert(os.execute(line) == 0, line)
    end
    local function add(c, k)
        local s = assert(pair.bare_server())
        return pair.add(s, c, k or c)
    end

    lazy_setup(function()
        dir = tls.dir()
        tls.ca(dir, "ca")
        tls.cert(dir, "a", { ca = "ca", names = { "a.test", "b.test" } })
        tls.cert(dir, "r", { ca = "ca", names = { "r.test" }, kind = "rsa" })
        cert, key, other = read("a.pem"), read("a.key"), read("r.key")
    end)
    lazy_teardown(proc.cleanup)

    it("are read in whatever order, with other text around", function()
        local facts = assert(add(cert, key))
        assert.equal(2, facts.names_n)
        assert.is_true(facts.is_ec)
        assert.is_true(facts.ends_s > facts.begins_s)
        assert(add("Bag Attributes\n  friendlyName: x\n" .. key .. "\nsubject=CN = a\n" .. cert .. "\ntail"))
        local dos = (cert .. key):gsub("\n", "\r\n")
        assert(add(dos))
        assert(add(cert .. read("ca.pem"), key)) -- with its chain
    end)

    it("have keys of any common form", function()
        openssl("ec -in a.key -out a.sec1")
        openssl("rsa -in r.key -traditional -out r.pkcs1")
        openssl("pkcs8 -topk8 -nocrypt -in r.key -out r.pkcs8")
        assert(add(cert, read("a.sec1")))
        assert.is_false(assert(add(read("r.pem"), read("r.pkcs1"))).is_ec)
        assert(add(read("r.pem"), read("r.pkcs8")))
    end)

    it("say what is missing or wrong", function()
        openssl("pkcs8 -topk8 -in a.key -passout pass:x -out a.locked")
        local body = cert:match("%-%-\n(.-)\n%-%-")
        local cases = {
            { "", key }, { "no PEM at all", key }, { key, key },
            { cert, "" }, { cert, cert }, { cert, "-----BEGIN PRIVATE KEY-----\n" },
            { cert, other }, { cert, read("a.locked") },
            { cert:gsub("%u", "!", 40), key },
            { cert:sub(1, #cert / 2), key },
            { "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", key },
            { "-----BEGIN CERTIFICATE-----\n" .. body:sub(1, 200) .. "\n-----END CERTIFICATE-----\n", key },
            { "-----BEGIN X509 CRL-----\n" .. body .. "\n-----END X509 CRL-----\n", key },
            { ("\0"):rep(100000), key }, { ("-----BEGIN "):rep(20000), key },
        }
        local seen = {}
        for i, case in ipairs(cases) do
            local facts, why = add((case[1]), (case[2]))
            assert.is_nil(facts, "case " .. i)
            assert.is_true(#why > 5 and not why:find("\n"), "case " .. i .. ": " .. why)
            seen[#seen + 1] = why
        end
        assert.matches("does not belong", seen[7])
        assert.matches("certificate", seen[1])
        assert.matches("key", seen[4])
    end)

    it("leave a server as it was when they are refused", function()
        local s = assert(pair.bare_server())
        assert(pair.add(s, cert, key))
        assert.is_nil((pair.add(s, cert, other)))
        assert.is_nil((pair.add(s, "x", "y")))
        assert.equal(1, pair.C.rp_tls_server_certs(s[0]))
        assert.is_true((pair.finish(s)))
    end)

    it("of authorities are taken whole, or not at all", function()
        assert(pair.client { verify = true, cas = read("ca.pem") })
        assert(pair.client { verify = true, cas = read("ca.pem"):rep(3) })
        for _, text in ipairs { "x", key, (read("ca.pem"):gsub("%u", "!", 40)) } do
            local made, why = pair.client { verify = true, cas = text }
            assert.is_nil(made)
            assert.is_true(#why > 5)
        end
    end)

    it("of a client have its own certificate and key, that belong together", function()
        assert(pair.client { verify = false, cert_pem = cert, key_pem = key })
        local made, why = pair.client { verify = false, cert_pem = cert, key_pem = other }
        assert.is_nil(made)
        assert.matches("belong", why)
        assert.is_truthy(posix.read_file(dir .. "/a.pem"))
    end)
end)
