-- SPDX-License-Identifier: MIT

local support = require("spec.unit.script.support")

local SCRIPT = {
    hkdf = [==[ local ikm = ("\11"):rep(22)
        return rp.hex(rp.crypto.hkdf { secret = ikm, salt = rp.unhex("000102030405060708090a0b0c"),
            info = rp.unhex("f0f1f2f3f4f5f6f7f8f9"), bytes = 42 }) ]==],
    md5 = [==[ return rp.hex(rp.crypto.md5("abc")) ]==],
    chacha = [==[ local key = {}
        for i = 0x80, 0x9f do key[#key + 1] = string.char(i) end
        local a = rp.crypto.aead("chacha20-poly1305", table.concat(key))
        local sealed = a:seal("Ladies and Gentlemen of the class of '99: If I could offer you only "
            .. "one tip for the future, sunscreen would be it.",
            rp.unhex("50515253c0c1c2c3c4c5c6c7"), rp.unhex("070000004041424344454647"))
        return rp.hex(sealed:sub(13, 28)) .. " " .. rp.hex(sealed:sub(-16)) ]==],
    gcm = [==[ local a = rp.crypto.aead("aes-256-gcm", ("\0"):rep(32))
        return rp.hex(a:seal(("\0"):rep(16), nil, ("\0"):rep(12)):sub(13)) ]==],
    aead_bad = [==[ local a = rp.crypto.aead("aes-128-gcm", ("k"):rep(16))
        local out, sealed = {}, a:seal("secret", "for you")
        out[1] = a:open(sealed, "for you")
        for i = 1, #sealed do
            local bent = sealed:sub(1, i - 1) .. string.char(bit.bxor(sealed:byte(i), 1))
                .. sealed:sub(i + 1)
            if a:open(bent, "for you") then out[#out + 1] = "bent at " .. i end
            if a:open(sealed:sub(1, i - 1), "for you") then out[#out + 1] = "cut at " .. i end
        end
        out[#out + 1] = tostring(a:open(sealed, "for me")) .. tostring(a:open(sealed))
        out[#out + 1] = a:open(a:seal("")) .. "." .. tostring(a:seal("x") == a:seal("x"))
        out[#out + 1] = select(2, pcall(rp.crypto.aead, "aes-256-gcm", "short")):match(": (.*)")
        return table.concat(out, "|") ]==],
    -- RFC 7914 §11 and §12, RFC 6070
    scrypt = [==[ return rp.hex(rp.crypto.scrypt { password = "password", salt = "NaCl", n = 1024,
        r = 8, p = 16, bytes = 64 }) ]==],
    pbkdf2 = [==[ return rp.hex(rp.crypto.pbkdf2 { password = "passwd", salt = "salt", rounds = 1,
        bytes = 16 }) .. " " .. rp.hex(rp.crypto.pbkdf2 { password = "password", salt = "salt",
        rounds = 4096, alg = "sha1", bytes = 20 }) ]==],
    many = [==[ local jobs, out = {}, {}
        for i = 1, 70 do
            jobs[i] = rp.spawn(function()
                return rp.crypto.pbkdf2 { password = "p" .. i % 2, salt = "s", rounds = 2000 }
            end)
        end
        for i = 1, 70 do
            local _, key, err = jobs[i]:wait()
            out[key and rp.hex(key) or err] = true
        end
        local n = 0
        for _ in pairs(out) do n = n + 1 end
        return n .. tostring(out.busy) ]==],
    left = [==[ for _ = 1, 4 do
            rp.spawn(rp.crypto.pbkdf2, { password = "x", salt = "s", rounds = 20000 })
        end
        return "gone" ]==],
    ranges = [==[ local c, out = rp.crypto, {}
        for _, o in ipairs { { n = 1000 }, { n = 2^22 }, { n = 0 }, { bytes = 0 }, { bytes = 1e9 },
            { r = 1e9 }, { salt = ("x"):rep(70000) }, { n = 0/0 } } do
            o.password, o.salt = "x", o.salt or "y"
            out[#out + 1] = select(2, c.scrypt(o))
        end
        return table.concat(out, "|") ]==],
    -- RFC 7515 A.3 and RFC 8037 A
    es256 = [==[ local jwk = { kty = "EC", crv = "P-256",
            x = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
            y = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0" }
        local text = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6"
            .. "Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
        local sig = rp.unb64url("DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApm"
            .. "WQxfKTUJqPP3-Kg6NU1Q")
        local key = rp.crypto.verifier { jwk = jwk }
        local zero, out = ("\0"):rep(64), {}
        out[1] = tostring(key:verify("ES256", text, sig))
        for _, bad in ipairs { zero, "", sig .. "\0", sig:sub(2), sig:sub(33) .. sig:sub(1, 32),
            ("\255"):rep(64), zero:sub(1, 32) .. sig:sub(33), sig:sub(1, 32) .. zero:sub(33) } do
            out[#out + 1] = tostring(key:verify("ES256", text, bad))
        end
        out[#out + 1] = tostring(key:verify("ES256", text .. "x", sig))
        out[#out + 1] = tostring(key:verify("HS256", text, sig))
        out[#out + 1] = tostring(key:verify("none", text, ""))
        jwk.d = "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"
        local signer = rp.crypto.signer { jwk = jwk }
        out[#out + 1] = tostring(key:verify("ES256", text, signer:sign("ES256", text)))
        return table.concat(out, " ") ]==],
    ed25519 = [==[ local jwk = { kty = "OKP", crv = "Ed25519",
            d = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
            x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" }
        local s = rp.crypto.signer { jwk = jwk }
        local text = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc"
        local sig = s:sign("EdDSA", text)
        jwk.d = nil
        local v = rp.crypto.verifier { jwk = jwk }
        return rp.b64url(sig) .. " " .. tostring(v:verify("EdDSA", text, sig)) .. " "
            .. tostring(v:verify("EdDSA", text .. "x", sig)) .. " " .. v.kind ]==],
    rsa = [==[ local s, v = rp.crypto.signer { pem = PEM.private }, rp.crypto.verifier { pem = PEM.public }
        local out = { s.kind }
        for _, alg in ipairs { "RS256", "RS384", "RS512", "PS256", "PS384", "PS512" } do
            local sig = s:sign(alg, "text")
            out[#out + 1] = tostring(v:verify(alg, "text", sig)) .. "/"
                .. tostring(v:verify(alg, "Text", sig)) .. "/"
                .. tostring(v:verify(alg == "RS256" and "PS256" or "RS256", "text", sig)
                    and alg ~= "RS256")
        end
        out[#out + 1] = tostring(select(2, rp.crypto.signer { pem = PEM.public }))
        out[#out + 1] = tostring(pcall(v.sign, v, "RS256", "x"))
        return table.concat(out, " ") ]==],
    refused = [==[ local out = {}
        local function try(source) out[#out + 1] = tostring(select(2, rp.crypto.verifier(source))) end
        local X, Y = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
            "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"
        try { pem = "hello" }
        try { pem = PEM.small }
        try { pem = PEM.locked }
        try { jwk = { kty = "EC", crv = "P-256", x = X, y = X } }          -- not on the curve
        try { jwk = { kty = "EC", crv = "P-384", x = X, y = Y } }
        try { jwk = { kty = "EC", crv = "P-256", x = X, y = "!" } }
        try { jwk = { kty = "EC", crv = "secp256k1", x = X, y = Y } }
        try { jwk = { kty = "EC", crv = "P-256", x = X, y = Y, use = "enc" } }
        try { jwk = { kty = "EC", crv = "P-256", x = X, y = Y, alg = "HS256" } }
        try { jwk = { kty = "EC", crv = "P-256", x = X, y = Y, d = X } }   -- not its other half
        try { jwk = { kty = "RSA", n = ("A"):rep(340) .. "AA", e = "AQAB" } }
        try { jwk = { kty = "RSA", n = ("_"):rep(344), e = "AQ" } }        -- e = 1
        try { jwk = { kty = "OKP", crv = "Ed25519", x = "AAAA" } }
        try { jwk = { kty = "oct", k = "AAAA" } }
        try { jwk = "{" }
        try { secret = "short" }
        return table.concat(out, "\n") ]==],
}

describe("script/abi_crypto", function()
    local site

    local function pem_of(command)
        local pipe = assert(io.popen("env -u LD_PRELOAD " .. command .. " 2>/dev/null"))
        local text = pipe:read("*a")
        pipe:close()
        assert.matches("^%-%-%-%-%-BEGIN", text)
        return text
    end

    setup(function()
        local path = os.tmpname()
        assert(io.open(path, "w")):close()
        local pem = { private = pem_of("openssl genrsa 2048"), small = pem_of("openssl genrsa 1024"),
            locked = pem_of("openssl genpkey -algorithm ed25519 -aes128 -pass pass:x") }
        local file = assert(io.open(path, "w"))
        file:write(pem.private)
        file:close()
        pem.public = pem_of("openssl rsa -pubout -in " .. path)
        os.remove(path)
        local routes = {}
        for name, code in pairs(SCRIPT) do
            routes[#routes + 1] = ([[rp.route { "/%s", content = function(req)
                return req:exit(200, (function() %s end)()) end },]]):format(name, code)
        end
        site = support.site(table.concat(routes, "\n"), { before = ("local PEM = { private = %q, "
            .. "public = %q, small = %q, locked = %q } assert(PEM)"):format(pem.private, pem.public,
            pem.small, pem.locked) })
    end)
    teardown(function() site:close() end)

    local function result(name) return site:get("/" .. name).body end

    it("derives keys (RFC 5869 A.1)", function()
        assert.equal("3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b8871"
            .. "85865", result("hkdf"))
        assert.equal("900150983cd24fb0d6963f7d28e17f72", result("md5"))
    end)

    it("derives keys from passwords on other threads (RFC 7914 12, 11; RFC 6070)", function()
        assert.equal("fdbabe1c9d3472007856e7190d01e9fe7c6ad7cbc8237830e77376634b3731622eaf30d92e22a388"
            .. "6ff109279d9830dac727afb94a83ee6d8360cbdfa2cc0640", result("scrypt"))
        assert.equal("55ac046e56e3089fec1691c22544b605 4b007901b765489abead49d926f721d065a429c1",
            result("pbkdf2"))
    end)

    it("bounds how many are derived at a time, and survives what is given up", function()
        assert.equal("3true", result("many"))
        assert.equal("gone", result("left")) -- the close of the site comes upon running ones
    end)

    it("refuses numbers that would cost too much", function()
        local range, fit = "a number is out of range", "the numbers do not fit"
        assert.equal(table.concat({ fit, fit, range, range, range, range, range, range }, "|"),
            result("ranges"))
    end)

    it("seals as RFC 8439 2.8.2 and the GCM specification have it", function()
        assert.equal("d31a8d34648e60db7b86afbc53ef7ec2 1ae10b594f09e26a7e902ecbd0600691",
            result("chacha"))
        assert.equal("cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919",
            result("gcm"))
    end)

    it("opens nothing in which a bit differs, or that is cut", function()
        assert.equal("secret|nilnil|.false|aes-256-gcm takes a key of 32 bytes", result("aead_bad"))
    end)

    it("verifies ECDSA in the form of JWS (RFC 7515 A.3), and nothing near it", function()
        assert.equal("true" .. (" false"):rep(11) .. " true", result("es256"))
    end)

    it("signs with Ed25519 (RFC 8037 A.4)", function()
        assert.equal("hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_"
            .. "MuM0KAg true false Ed25519", result("ed25519"))
    end)

    it("signs and verifies with RSA, each padding for itself", function()
        assert.equal("RSA" .. (" true/false/false"):rep(6) .. " a public key cannot sign false",
            result("rsa"):gsub("false[^ ]*$", "false"))
    end)

    it("refuses keys that are none, weak or for something else", function()
        local lines = {}
        for line in result("refused"):gmatch("[^\n]+") do lines[#lines + 1] = line end
        assert.same({ "not a key", "an RSA key of less than 2048 bits", "not a key", "not a key",
            "not a key", "a number that is not base64url", "a kind of key that is not known",
            "a key that is not for signatures", "an alg that is not for this key", "not a key",
            "not a key", "not a key", "not a key", "a secret of less than 32 bytes", "not a JWK",
            "a secret of less than 32 bytes" }, lines)
    end)
end)
