-- SPDX-License-Identifier: MIT
--
-- What Lua has beside crypto and text: addresses, gzip, passwords, certificates.

local support = require("spec.unit.script.support")

local SCRIPT = {
    ip = [==[ local a, b = rp.ip("192.0.2.130"), rp.ip("2001:DB8::1")
        local out = { tostring(a), a.version, tostring(b), b.version, tostring(a:mask(24)),
            tostring(b:mask(32)), tostring(a == rp.ip("::ffff:192.0.2.130")),
                tostring(a < rp.ip("192.0.2.131")),
            tostring(a:is_in("192.0.2.128/25")), tostring(a:is_in("192.0.2.0/25")),
            tostring(a:is_in("::/0")), tostring(b:is_in("::/0")), tostring(b:is_in("0.0.0.0/0")),
            tostring(a:is_in("::ffff:192.0.2.0/120")), tostring(a:mask(0)), tostring(a:mask(32) == a) }
        for _, bad in ipairs { "", "1.2.3", "1.2.3.4.5", "01.2.3.4", "1.2.3.4/8", "::1%lo", "x",
            "1.2.3.4\0" } do
            local none, err = rp.ip(bad)
            out[#out + 1] = tostring(none) == "nil" and err or bad
        end
        return table.concat(out, " ") ]==],
    kinds = [==[ local out = {}
        for _, text in ipairs { "10.1.1.1", "172.32.0.1", "127.0.0.1", "::1", "fe80::1", "fd00::1",
            "100.64.1.1",
            "8.8.8.8", "2606:4700::1", "224.0.0.1" } do
            local ip = rp.ip(text)
            out[#out + 1] = (ip:is_private() and "p" or "") .. (ip:is_loopback() and "l" or "")
                .. (ip:is_link_local() and "k" or "") .. (ip:is_multicast() and "m" or "")
                .. (ip:is_global() and "g" or "") .. "."
        end
        return table.concat(out, " ") ]==],
    cidr = [==[ local set = rp.cidr { "10.0.0.0/8", "2001:db8::/32", "192.0.2.7" }
        local none, err = rp.cidr { "10.0.0.0/8", "10.0.0.0/33" }
        local bad, why = set:has("x")
        return table.concat({ tostring(set:has("10.200.1.1")), tostring(set:has(rp.ip("2001:db8::5"))),
            tostring(set:has("192.0.2.8")), tostring(set:has("::ffff:10.0.0.1")), tostring(none), err,
            tostring(bad), why, tostring(rp.ip("192.0.2.7"):is_in(set)),
            tostring(rp.cidr({}):has("1.2.3.4")) }, "|") ]==],
    ring = [==[ local function share(ring)
            local n = {}
            for i = 1, 20000 do
                local node = ring:get("key" .. i)
                n[node] = (n[node] or 0) + 1
            end
            return n
        end
        local three, four = rp.ring { "a", "b", "c" }, rp.ring { "d", "c", "a", "b" }
        local moved, wrong, out = 0, 0, {}
        for i = 1, 20000 do
            local before, after = three:get("key" .. i), four:get("key" .. i)
            if before ~= after then moved = moved + 1 if after ~= "d" then wrong = wrong + 1 end end
        end
        out[1] = tostring(moved > 3500 and moved < 6500) .. wrong
        local n = share(rp.ring { "a", { "b", weight = 3 } })
        out[2] = tostring(n.b / n.a > 2 and n.b / n.a < 4)
        out[3] = table.concat(three:list("x", 2), "") .. #three:list("x") .. #three:list("x", 9)
        out[4] = tostring(three:list("x", 1)[1] == three:get("x"))
        moved, wrong = 0, 0
        local used = {}
        for i = 1, 20000 do
            local a, b = rp.jump_hash("key" .. i, 10), rp.jump_hash("key" .. i, 11)
            used[a] = (used[a] or 0) + 1
            if a ~= b then moved = moved + 1 if b ~= 11 then wrong = wrong + 1 end end
        end
        out[5] = tostring(moved > 1500 and moved < 2200) .. wrong .. #used
        out[6] = rp.jump_hash("x", 1) .. tostring(pcall(rp.jump_hash, "x", 0)) .. tostring(pcall(rp.ring, {}))
        return table.concat(out, " ") ]==],
    date = [==[ local out = { rp.date.format("%d/%b/%Y %H:%M:%S %z %%d %j", 784111777),
            rp.date.format("", 0), rp.date.format("*t%Y", 0), rp.date.format("plain", 0) }
        for _, bad in ipairs { "%", "%Q", "%Ey", "%-d", ("x"):rep(1001) } do
            out[#out + 1] = tostring(pcall(rp.date.format, bad, 0))
        end
        out[#out + 1] = tostring(pcall(rp.date.format, "%Y", 0/0))
        return table.concat(out, "|") ]==],
    form = [==[ local body = "--x\r\nContent-Disposition: form-data; name=\"a\"; filename=\"f\"\r\n"
            .. "Content-Type: text/plain\r\n\r\nhello\r\n--x\r\n"
            .. "Content-Disposition: form-data; name=b\r\n\r\n\r\n--x--\r\n"
        local out = {}
        for _, part in ipairs(rp.form.parts(body, "multipart/form-data; boundary=x")) do
            out[#out + 1] = part.name .. ":" .. tostring(part.filename) .. ":" .. tostring(part.type)
                .. ":" .. part.body
        end
        local reader, data = rp.form.reader("multipart/form-data; boundary=x"), {}
        for i = 1, #body do
            assert(reader:feed(body:sub(i, i), { data = function(bytes, part) data[#data + 1] = part.name
                .. bytes end }))
        end
        out[#out + 1] = table.concat(data) .. tostring(reader:finish())
        out[#out + 1] = select(2, rp.form.parts(body, "text/plain"))
        out[#out + 1] = select(2, rp.form.parts(body:sub(1, -10), "multipart/form-data; boundary=x"))
        out[#out + 1] = select(2, rp.form.parts(body, "multipart/form-data; boundary=x", { parts = 1 }))
        return table.concat(out, "|") ]==],
    gzip = [==[ local text = ("hello world "):rep(1000)
        local packed, out = rp.gzip(text), {}
        out[1] = tostring(rp.gunzip(packed) == text) .. tostring(#packed < 200)
        out[2] = tostring(rp.gunzip(rp.gzip(text, { format = "deflate" }), { format = "deflate" }) == text)
        out[3] = tostring(rp.gunzip(packed .. rp.gzip("more")) == text .. "more")
        out[4] = rp.gunzip(rp.gzip("")) .. "."
        for _, bad in ipairs { packed:sub(1, -2), packed .. "x", "", "no gzip at all",
            packed:sub(1, 30) .. "\0" .. packed:sub(32) } do
            out[#out + 1] = select(2, rp.gunzip(bad))
        end
        out[#out + 1] = select(2, rp.gunzip(packed, { max = #text - 1 }))
        out[#out + 1] = tostring(rp.gunzip(packed, { max = #text }) == text)
        local bomb = rp.gzip(("\0"):rep(8 * 2^20))
        out[#out + 1] = select(2, rp.gunzip(bomb, { max = 2^20 }))
        return table.concat(out, "|") ]==],
    gzip_stream = [==[ local text, out = {}, {}
        for i = 1, 3000 do text[i] = ("line %d\n"):format(i * 7919) end
        text = table.concat(text)
        local pack, packed = rp.gzip_stream { level = 9 }, {}
        for i = 1, #text, 1000 do packed[#packed + 1] = pack:write(text:sub(i, i + 999)) end
        packed[#packed + 1] = pack:write("", true)
        packed = table.concat(packed)
        for _, step in ipairs { 1, 7, 100000 } do
            local unpack, got = rp.gunzip_stream(), {}
            for i = 1, #packed, step do got[#got + 1] = assert(unpack:write(packed:sub(i, i + step - 1))) end
            got[#got + 1] = assert(unpack:write("", true))
            out[#out + 1] = tostring(table.concat(got) == text)
        end
        out[#out + 1] = select(2, pack:write("x"))
        local cut = rp.gunzip_stream()
        cut:write(packed:sub(1, 100))
        out[#out + 1] = select(2, cut:write("", true))
        cut:close()
        return table.concat(out, " ") ]==],
    passwords = [==[ local c, out = rp.crypto, {}
        for _, hash in ipairs {
            "$2y$04$abcdefghijklmnopqrstuuKEwJkSs7RKmBL/kK8F.1Q3V2S3lzx3C", -- of something else
            "$apr1$hpN5sqRD$B1aGqz53PXPeYpMoyGDdn1",
            "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=",
            "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnI"
                .. "FNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1",
            "$1$saltsalt$qjXMvbEw8oaL.CzflDtaK/",
        } do
            local pw = hash:find("^{SHA}") and "secret" or hash:find("^%$6") and "Hello world!" or "password"
            out[#out + 1] = tostring(c.check_password(hash, pw)) .. tostring(c.check_password(hash, pw
                .. "x"))
        end
        local made = c.hash_password("päss", { cost = 4 })
        out[#out + 1] = made:sub(1, 7) .. tostring(c.check_password(made, "päss"))
            .. tostring(c.check_password(made, "pass"))
        out[#out + 1] = tostring(c.check_password(c.hash_password("x", { alg = "yescrypt", cost = 1 }), "x"))
        out[#out + 1] = tostring(c.check_password(c.hash_password("x", { alg = "sha512", cost = 1000 }), "x"))
        for _, bad in ipairs { "", "plain", "xyDES78901234",
            "$argon2id$v=19$m=99999999,t=1,p=1$c29tZXNhbHQ$x",
            "$argon2id$", "$apr1$x", "$2b$17$abcdefghijklmnopqrstuuKEwJkSs7RKmBL/kK8F.1Q3V2S3lzx3C",
                "$6$rounds=10000001$a$b", "$2b$04$short", "*0", ("$"):rep(600), "$6$a\0b" } do
            local yes, err = c.check_password(bad, "plain")
            out[#out + 1] = tostring(yes) .. (err or "")
        end
        out[#out + 1] = tostring(select(2, c.check_password(made, ("x"):rep(513))))
        return table.concat(out, " ") ]==],
    argon = [==[ local c = rp.crypto
        local hash = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
        local old = "$argon2i$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$wWKIMhR9lyDFvRz9YTZweHKfbftvj+qf+YFY4NeBbtA"
        return tostring(c.check_password(hash, "password")) .. tostring(c.check_password(hash, "Password"))
            .. tostring(c.check_password(old, "password")) ]==],
    -- RFC 7516 A.3; RFC 7518 C
    jwe_rfc = [==[ local key = assert(rp.jwe.key { jwk = { kty = "oct", k = "GawgguFyGrWKav7AX4VKUg" } })
        local token = "eyJhbGciOiJBMTI4S1ciLCJlbmMiOiJBMTI4Q0JDLUhTMjU2In0.6KB707dM9YTIgHtLvtgWQ8mKwboJ"
            .. "W3of9locizkDTHzBC2IlrT1oOQ.AxY8DCtDaGlsbGljb3RoZQ."
            .. "KDlTtXchhZTGufMYmOYGS4HffxPSUrfmqCHXaI9wOGY."
            .. "U0m_YmjN04DJvceFICbCVQ"
        local out = { rp.jwe.decrypt(token, { key = key, alg = { "A128KW" } }) }
        out[2] = out[2].enc
        for i = 1, #token, 7 do
            local bent = token:sub(1, i - 1) .. (token:sub(i, i) == "A" and "B" or "A") .. token:sub(i + 1)
            local text, code = rp.jwe.decrypt(bent, { key = key, alg = { "A128KW" } })
            if text then out[#out + 1] = "bent at " .. i end
        end
        return table.concat(out, " ") ]==],
    jwe = [==[ local out = {}
        local ec = { kty = "EC", crv = "P-256", x = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
            y = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0" }
        local public = assert(rp.jwe.key { jwk = ec })
        ec.d = "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"
        local private = assert(rp.jwe.key { jwk = ec })
        local rsa_pub, rsa = assert(rp.jwe.key { pem = PEM.rsa_public }), assert(rp.jwe.key { pem = PEM.rsa })
        local k16, k32 = assert(rp.jwe.key { secret = ("k"):rep(16) }), assert(rp.jwe.key {
            secret = ("k"):rep(32) })
        local function round(alg, enc, to, from)
            local token = rp.jwe.encrypt("secret text", { key = to, alg = alg, enc = enc, kid = "1" })
            local rules = { key = from, alg = { alg }, enc = { enc } }
            local text, header = rp.jwe.decrypt(token, rules)
            local good = text == "secret text" and header.kid == "1"
            for i = 1, #token, 31 do
                local bent = token:sub(1, i - 1) .. (token:sub(i, i) == "b" and "c" or "b")
                    .. token:sub(i + 1)
                good = good and rp.jwe.decrypt(bent, rules) == nil
            end
            if not good then out[#out + 1] = alg .. " " .. enc end
        end
        for _, enc in ipairs { "A128GCM", "A256GCM", "A128CBC-HS256" } do
            round("ECDH-ES", enc, public, private)
            round("RSA-OAEP-256", enc, rsa_pub, rsa)
            round("A128KW", enc, k16, k16)
            round("A256KW", enc, k32, k32)
            round("dir", enc, enc == "A128GCM" and k16 or k32, enc == "A128GCM" and k16 or k32)
        end
        local token = rp.jwe.encrypt("x", { key = public, alg = "ECDH-ES" })
        local function code(t, opts) return tostring((select(2, rp.jwe.decrypt(t, opts)))) end
        out[#out + 1] = code(token, { key = private, alg = { "A128KW" } })
        out[#out + 1] = code(token, { key = private, alg = { "ECDH-ES" }, enc = { "A128GCM" } })
        out[#out + 1] = code(token, { key = rsa, alg = { "ECDH-ES" } })
        out[#out + 1] = code(token, { key = public, alg = { "ECDH-ES" } })
        out[#out + 1] = code(token .. ".x", { key = private, alg = { "ECDH-ES" } })
        out[#out + 1] = code(("x"):rep(70000), { key = private, alg = { "ECDH-ES" } })
        local function forge(header)
            return rp.b64url(header) .. token:match("^[^.]+(.*)$")
        end
        for _, header in ipairs { '{"alg":"ECDH-ES","enc":"A256GCM"}',
            '{"alg":"ECDH-ES","enc":"A256GCM","epk":5}',
            '{"alg":"ECDH-ES","enc":"A256GCM","epk":{"kty":"EC","crv":"P-256","x":"AAAA","y":"AAAA"}}',
            '{"alg":"ECDH-ES","enc":"A256GCM","apu":5}', '{"alg":"ECDH-ES","enc":"A256GCM","zip":"DEF"}',
            '{"alg":"ECDH-ES","enc":"A256GCM","crit":[]}', '{"alg":"none","enc":"A256GCM"}', "[]", "x" } do
            out[#out + 1] = code(forge(header), { key = private, alg = { "ECDH-ES" } })
        end
        for _, bad in ipairs { { secret = "short" }, { pem = "x" }, { jwk = "{" }, { jwk = { kty = "oct",
            k = 5 } },
            { jwk = { kty = "EC", use = "sig" } }, { jwk = { kty = "OKP", crv = "Ed25519",
                x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" } } } do
            out[#out + 1] = tostring(rp.jwe.key(bad))
        end
        return table.concat(out, " ") ]==],
    x509 = [==[ local ca, leaf = assert(rp.crypto.x509(PEM.ca)), assert(rp.crypto.x509(PEM.leaf))
        local store = assert(rp.crypto.x509_store(PEM.ca))
        local out = { leaf.subject, leaf.issuer, leaf.serial, table.concat(leaf.sans, ","), leaf.version,
            tostring(ca.is_ca), tostring(leaf.is_ca), #leaf.fingerprint,
            tostring(leaf.not_after > leaf.not_before), tostring(leaf.not_before > 1.7e9),
            tostring(rp.crypto.x509(leaf.der).fingerprint == leaf.fingerprint), leaf.pem:sub(1, 27),
            leaf:public_key().kind }
        local function try(opts, cert, cas)
            out[#out + 1] = tostring((cert or leaf):verify(cas or store, opts))
        end
        try() try { name = "a.example.com" } try { name = "10.0.0.1" } try { name = "b.a.example.com" }
        try { name = "w.wild.test" } try { name = "x.w.wild.test" } try { name = "Leaf" }
        try { purpose = "server" } try { purpose = "client" } try { time = rp.time() + 86400 * 400 }
        try(nil, leaf, assert(rp.crypto.x509_store(PEM.other)))
        out[#out + 1] = select(2, leaf:verify(assert(rp.crypto.x509_store(PEM.other))))
        for _, bad in ipairs { "", "x", "0\130", leaf.der .. "\0", leaf.der:sub(1, -2) } do
            out[#out + 1] = tostring(select(2, rp.crypto.x509(bad)))
        end
        out[#out + 1] = select(2, rp.crypto.x509_store("nothing"))
        out[#out + 1] = select(2, pcall(function() return leaf.nothing end)):match(": (.*)")
        return table.concat(out, "|") ]==],
}

describe("script: the library", function()
    local site

    local function sh(command)
        local pipe = assert(io.popen("env -u LD_PRELOAD sh -c '" .. command .. "' 2>/dev/null"))
        local text = pipe:read("*a")
        pipe:close()
        return text
    end

    setup(function()
        local folder = os.tmpname()
        os.remove(folder)
        sh(([[mkdir %s && cd %s &&
            openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.pem \
                -subj "/CN=Our CA" -days 30 &&
            openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout o.key -out o.pem \
                -subj "/CN=Our CA" -days 30 &&
            openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout l.key -out l.csr \
                -subj "/O=Acme/CN=Leaf" &&
            printf "subjectAltName=DNS:a.example.com,DNS:*.wild.test,IP:10.0.0.1,email:a@b" >ext &&
            printf "\nextendedKeyUsage=serverAuth" >>ext &&
            openssl genrsa -out rsa.pem 2048 && openssl rsa -in rsa.pem -pubout -out rsapub.pem &&
            openssl x509 -req -in l.csr -CA ca.pem -CAkey ca.key -set_serial 0x1ff -out l.pem -days 20 \
                -extfile ext]])
            :format(folder, folder))
        local pems = {}
        for name, file in pairs { ca = "ca.pem", other = "o.pem", leaf = "l.pem",
            rsa = "rsa.pem", rsa_public = "rsapub.pem" } do
            pems[#pems + 1] = ("%s = %q"):format(name, sh("cat " .. folder .. "/" .. file))
        end
        sh("rm -rf " .. folder)
        local routes = {}
        for name, body in pairs(SCRIPT) do
            routes[#routes + 1] = ([[rp.route { "/%s", content = function(req)
                local ran, out = pcall(function() %s end)
                return req:exit(ran and 200 or 500, tostring(out)) end },]]):format(name, body)
        end
        site = support.site(table.concat(routes, "\n"),
            { before = "local PEM = { " .. table.concat(pems, ", ") .. " }" })
    end)

    teardown(function() site:close() end)

    local function get(name) return site:get("/" .. name, nil, 60).body end

    it("has addresses, strict ones, of which mapped ones are IPv4", function()
        assert.equal("192.0.2.130 4 2001:db8::1 6 192.0.2.0 2001:db8:: true true true false false true "
            .. "false true 0.0.0.0 true" .. (" invalid"):rep(8), get("ip"))
        assert.equal("p. g. l. l. k. p. . g. g. m.", get("kinds"))
    end)

    it("has sets of networks", function()
        assert.equal("true|true|false|true|nil|10.0.0.0/33 is no network (entry 2)|nil|invalid|true|false",
            get("cidr"))
    end)

    it("divides keys among nodes so that few of them move", function()
        assert.matches("^true0 true [abc][abc]33 true true010 1falsefalse$", get("ring"))
    end)

    it("writes times by patterns", function()
        assert.equal("06/Nov/1994 08:49:37 +0000 %d 310||*t1970|plain" .. ("|false"):rep(6), get("date"))
    end)

    it("reads forms in parts", function()
        assert.equal("a:f:text/plain:hello|b:nil:nil:|ahaealalaotrue|invalid|invalid|too many", get("form"))
    end)

    it("packs and unpacks, within bounds", function()
        assert.equal("truetrue|true|true|.|invalid|invalid|invalid|invalid|invalid|too big|true|too big",
            get("gzip"))
    end)

    it("packs and unpacks piece by piece, however it is cut", function()
        assert.equal("true true true ended invalid", get("gzip_stream"))
    end)

    it("compares passwords with the hashes that there are", function()
        assert.equal("falsefalse" .. (" truefalse"):rep(4) .. " $2b$04$truefalse true true"
            .. (" nilinvalid"):rep(12) .. " invalid", get("passwords"))
        assert.equal("truefalsetrue", get("argon"))
    end)

    it("opens the encrypted token of RFC 7516, and none that differs", function()
        assert.equal("Live long and prosper. A128CBC-HS256", get("jwe_rfc"))
    end)

    it("encrypts for each kind of key, and opens only what was made for it", function()
        assert.equal("algorithm algorithm algorithm decryption malformed too_long"
            .. (" decryption"):rep(4) .. " critical critical algorithm malformed malformed"
            .. (" nil"):rep(6), get("jwe"))
    end)

    it("reads certificates and verifies them", function()
        assert.equal("CN=Leaf,O=Acme|CN=Our CA|01ff|DNS:a.example.com,DNS:*.wild.test,IP:10.0.0.1,email:a@b"
            .. "|3|true|false|64|true|true|true|-----BEGIN CERTIFICATE-----|P-256"
            .. "|true|true|true|false|true|false|false|true|false|false|false"
            .. "|unable to get local issuer certificate|not a certificate|not a certificate|not a certificate"
            .. "|not a certificate|not a certificate|no certificate in it"
            .. '|a certificate has no "nothing"', get("x509"))
    end)
end)
