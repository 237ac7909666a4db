-- SPDX-License-Identifier: MIT

local e2e = require("spec.support.e2e")
local http = require("spec.support.http")
local origin = require("spec.support.origin")
local posix = require("spec.support.posix")
local proc = require("spec.support.proc")
local process = require("spec.support.process")
local tls = require("spec.support.tls")
local wire = require("spec.support.wire")

describe("clients' certificates", function()
    local dir, rp, o, vars

    local SITE = [[
        tls = { certs = { "${certs}/a.pem" } },
        listeners = {
            rp.listen { "127.0.0.1:${port}", tls = { client = { verify = "optional",
                ca = "${certs}/ca.pem", forward = true } } },
            rp.listen { "127.0.0.1:${required}", tls = { client = { verify = "required",
                ca = "${certs}/ca.pem" } } },
            rp.listen { "127.0.0.1:${any}", tls = { client = { verify = "any" } } },
            rp.listen { "127.0.0.1:${open}", tls = true },
            rp.listen { "127.0.0.1:${plain}" },
        },
        hsts = { max_age = "1d", subdomains = true },
        log = { access = { to = "${certs}/access.log", format = "json", flush = 0.01,
            fields = { "path", "scheme", "tls_version", "tls_cipher", "sni" } } },
        use = { { log = function(req)
            local t = req.conn.tls
            rp.log.info("seen", { path = req.path, tls = t and t.version .. " " .. (t.sni or "-")
                or "none" })
        end } },
        upstreams = { o = rp.upstream { peers = { "127.0.0.1:${origin}" } } },
        hosts = {
            rp.host { "short.test", hsts = "1h", routes = { rp.route { "/*", respond = { 200 } } } },
            rp.host { "none.test", hsts = false, routes = { rp.route { "/*", respond = { 200 } } } },
            rp.host { default = true, routes = {
                rp.route { "/up", upstream = "o" },
                rp.route { "/own", respond = { 200 }, headers = { response = { set = {
                    ["strict-transport-security"] = "max-age=5" } } } },
                rp.route { "/*", content = function(req)
                    local t = req.conn.tls
                    if not t then return req:exit(200, "plain " .. req.scheme) end
                    local c = t.client_cert
                    req:exit(200, table.concat({ req.scheme, t.version, t.cipher, t.sni or "-",
                        t.alpn or "-", tostring(t.resumed), c and c.subject or "-",
                        c and tostring(c.verified) or "-", c and table.concat(c.sans, ",") or "-",
                        c and #c.fingerprint or 0, c and c.issuer or "-",
                        c and c.expires > os.time() and "valid" or "-",
                        c and c.pem:match("^%-+BEGIN CERTIFICATE") and "pem" or "-" }, " "))
                end } } } },]]

    lazy_setup(function()
        dir = tls.dir()
        tls.ca(dir, "ca")
        tls.ca(dir, "other")
        tls.cert(dir, "a", { ca = "ca", names = { "a.test" } })
        tls.cert(dir, "me", { ca = "ca", cn = "me", names = { "me.test" }, ips = { "10.0.0.1" } })
        tls.cert(dir, "stranger", { ca = "other", cn = "stranger" })
        o = origin.start { ["*"] = { status = 200, body = "ok" } }
        vars = { certs = dir, origin = o.port }
        for _, name in ipairs { "required", "any", "open", "plain" } do
            vars[name] = posix.free_port()
        end
        rp = e2e.proxy { vars = vars, site = SITE }
    end)
    lazy_teardown(function() e2e.stop(rp) end)

    local function connect(port, who, opt)
        opt = opt or {}
        opt.sni, opt.alpn = "a.test", { "http/1.1" }
        opt.cert = who and ("%s/%s.pem"):format(dir, who)
        opt.key = who and ("%s/%s.key"):format(dir, who)
        return tls.connect(port, opt)
    end

    -- In TLS 1.3 a client hears of a refusal after its handshake.
    local function refused(port, who, version)
        local c, why = connect(port, who, { versions = version, may_fail = true })
        if not c then return why end
        c:send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
        local _, how = c:recv_all()
        c:close()
        return how
    end

    it("are seen by hooks", function()
        local c = connect(rp.port, "me")
        local _, body = c:get("/")
        assert.equal("https TLSv1.3 TLS_AES_128_GCM_SHA256 a.test http/1.1 false CN=me true "
            .. "DNS:me.test,IP:10.0.0.1 64 CN=ca valid pem", body)
        c:close()
    end)

    it("may be missing where they are optional", function()
        local c = connect(rp.port)
        local _, body = c:get("/")
        assert.equal("https TLSv1.3 TLS_AES_128_GCM_SHA256 a.test http/1.1 false - - - 0 - - -",
            body)
        c:close()
    end)

    it("are not asked for without need, and plain connections have none", function()
        local c = connect(vars.open, "me")
        assert.truthy(select(2, c:get("/")):find(" false - - - 0 - - -", 1, true))
        c:close()
        assert.equal("plain http", http.get(vars.plain, "/").body)
    end)

    for _, version in ipairs { "1.2", "1.3" } do
        it("of strangers are refused, TLS " .. version, function()
            assert.truthy(refused(rp.port, "stranger", version):find("unknown ca"))
            assert.truthy(refused(vars.required, "stranger", version):find("unknown ca"))
            local why = refused(vars.required, nil, version)
            assert.truthy(why:find("certificate required") or why:find("handshake failure"), why)
        end)
    end

    it("of anybody are taken where the site says any, and are not called verified", function()
        local c = connect(vars.any, "stranger")
        assert.truthy(select(2, c:get("/")):find("CN=stranger false", 1, true))
        c:close()
    end)

    it("are forwarded, and what clients say themselves is dropped", function()
        local forged = "GET /up HTTP/1.1\r\nHost: a.test\r\nClient-Cert: :AAAA:\r\n"
            .. "Client-Cert-Chain: :AAAA:\r\n\r\n"
        for who, has in pairs { me = true, [false] = false } do
            local c = connect(rp.port, who or nil)
            c:send(forged)
            c:recv_until("\r\n\r\nok")
            local got = e2e.values(e2e.last(o).fields, "client-cert")
            assert.equal(has and 1 or 0, #got)
            if has then
                local pem = posix.read_file(dir .. "/me.pem"):gsub("%-%-[^\n]*\n", ""):gsub("\n", "")
                assert.equal(":" .. pem .. ":", got[1])
            end
            assert.same({}, e2e.values(e2e.last(o).fields, "client-cert-chain"))
            c:close()
        end
    end)

    for _, version in ipairs { "1.2", "1.3" } do
        it("cannot be had around by a session of another listener, TLS " .. version, function()
            local c = connect(vars.open, nil, { versions = version })
            assert.equal(200, (c:get("/")))
            local session = assert(c:session())
            c:close()
            local again, why = connect(vars.required, nil, { versions = version,
                session = session, may_fail = true })
            if again then
                assert.is_false(again.resumed)
                again:send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
                why = select(2, again:recv_all())
                again:close()
            end
            assert.truthy(why:find("certificate required") or why:find("handshake failure"), why)
        end)
    end

    it("are known in resumed sessions too", function()
        local c = connect(vars.required, "me")
        assert.equal(200, (c:get("/")))
        local session = assert(c:session())
        c:close()
        c = connect(vars.required, nil, { session = session })
        local _, body = c:get("/")
        assert.is_true(c.resumed)
        assert.truthy(body:find(" true CN=me true ", 1, true), body)
        c:close()
    end)

    it("aside: logs and log hooks tell of the TLS", function()
        local c = connect(vars.open)
        c:get("/logged")
        c:close()
        http.get(vars.plain, "/logged-plain")
        local function line(path)
            return posix.poll(function()
                return (posix.read_file(dir .. "/access.log") or ""):match('[^\n]*"' .. path
                    .. '"[^\n]*')
            end, 30)
        end
        assert.equal('{"path":"/logged","scheme":"https","tls_version":"TLSv1.3",'
            .. '"tls_cipher":"TLS_AES_128_GCM_SHA256","sni":"a.test"}', line("/logged"))
        assert.equal('{"path":"/logged-plain","scheme":"http","tls_version":null,'
            .. '"tls_cipher":null,"sni":null}', line("/logged%-plain"))
        rp:wait_stderr('seen [^\n]*path=/logged tls="TLSv1.3 a.test"')
        rp:wait_stderr("seen [^\n]*path=/logged%-plain tls=none")
    end)

    it("aside: HSTS goes out over TLS, by host and route", function()
        local function hsts(path, host)
            local c = connect(rp.port)
            local _, _, head = c:get(path, host)
            c:close()
            return head:lower():match("strict%-transport%-security: ([^\r]*)")
        end
        assert.equal("max-age=86400; includesubdomains", hsts("/", "a.test"))
        assert.equal("max-age=3600", hsts("/", "short.test"))
        assert.is_nil(hsts("/", "none.test"))
        assert.equal("max-age=5", hsts("/own", "a.test"))
        assert.same({}, e2e.values(http.get(vars.plain, "/").fields, "strict-transport-security"))
    end)
end)

describe("limits of TLS", function()
    local dir

    lazy_setup(function()
        dir = tls.dir()
        tls.cert(dir, "a", { names = { "a.test" } })
    end)
    lazy_teardown(proc.cleanup)

    it("let handshakes over the rate wait for their turn", function()
        local rp = e2e.proxy { vars = { certs = dir }, site = [[
            tls = { certs = { "${certs}/a.pem" } }, limits = { tls_handshakes = 2 },
            listeners = { rp.listen { "127.0.0.1:${port}", tls = true } },
            hosts = { rp.host { default = true, routes = {
                rp.route { "/*", respond = { 200, "ok" } } } } },]] }
        local from = posix.now()
        for _ = 1, 5 do
            local c = tls.connect(rp.port, { sni = "a.test" })
            assert.equal(200, (c:get("/")))
            c:close()
        end
        assert.is_true(posix.now() - from > 1) -- two and two and one: two seconds begin
        rp:stop()
    end)

    it("close handshakes that wait too long, and those under way at a stop", function()
        local rp = e2e.proxy { vars = { certs = dir }, site = [[
            tls = { certs = { "${certs}/a.pem" } }, limits = { tls_handshakes = 1 },
            timeouts = { tls_handshake = 0.3 },
            listeners = { rp.listen { "127.0.0.1:${port}", tls = true } },
            hosts = { rp.host { default = true, routes = {
                rp.route { "/*", respond = { 200, "ok" } } } } },]] }
        local ends = {}
        for i = 1, 4 do ends[i] = tls.connect(rp.port, { no_handshake = true }) end
        for i = 1, 4 do assert.equal("", (ends[i]:recv_all())) end
        rp:wait_stderr("reason=tls_rate")
        local c = tls.connect(rp.port, { no_handshake = true })
        rp:stop()
        c:close()
    end)

    it("close handshakes that waited when a reload takes TLS away", function()
        local site = [[return rp.site { workers = 1, tls = { certs = { "${certs}/a.pem" } },
            limits = { tls_handshakes = 1 },
            listeners = { rp.listen { "127.0.0.1:${port}", tls = %s } },
            hosts = { rp.host { default = true, routes = {
                rp.route { "/*", respond = { 200, "ok" } } } } } }]]
        local rp = proc.rproxy { vars = { certs = dir }, site = site:format("true") }
        local ends = {}
        for i = 1, 9 do ends[i] = tls.connect(rp.port, { no_handshake = true }) end
        rp:write_site(site:format("false"))
        process.must(rp, "reload")
        local before = process.workers(rp)
        for i = 5, 9 do assert.equal("", (ends[i]:recv_all())) end
        local c = wire.connect(rp.port)
        c:send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert.matches("^HTTP/1.1 200 ", c:recv_all())
        assert.same(before, process.workers(rp))
        c:close()
        for i = 1, 9 do ends[i]:close() end
        rp:stop()
    end)

    it("hold for versions and profiles", function()
        local modern = posix.free_port()
        local rp = e2e.proxy { vars = { certs = dir, modern = modern }, ports = { modern }, site = [[
            tls = { certs = { "${certs}/a.pem" }, versions = { "1.2" } },
            listeners = { rp.listen { "127.0.0.1:${port}", tls = true },
                rp.listen { "127.0.0.1:${modern}", tls = { certs = { "${certs}/a.pem" },
                    versions = { "1.3" }, profile = "modern", tickets = false } } },
            hosts = { rp.host { default = true, routes = {
                rp.route { "/*", respond = { 200, "ok" } } } } },]] }
        assert.is_nil((tls.connect(rp.port, { versions = "1.3", may_fail = true })))
        assert.is_nil((tls.connect(modern, { versions = "1.2", may_fail = true })))
        local c = tls.connect(modern, { versions = "1.3" })
        assert.equal(200, (c:get("/")))
        assert.is_nil(c:session()) -- no ticket
        c:close()
        rp:stop()
    end)
end)
