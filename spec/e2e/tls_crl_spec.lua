-- SPDX-License-Identifier: MIT

local http = require("spec.support.http")
local posix = require("spec.support.posix")
local proc = require("spec.support.proc")
local process = require("spec.support.process")
local tls = require("spec.support.tls")
local wire = require("spec.support.wire")

describe("revocation lists", function()
    local dir, rp

    local function start(client, opt)
        opt = opt or {}
        rp = process.start { workers = 1, ports = {}, more = 'log = { error = { level = "info" } }, '
            .. 'tls = { certs = { "${c}/a.pem" } }, ' .. (opt.more or ""), routes = opt.routes,
            listen = 'rp.listen { "127.0.0.1:${tls}", tls = { client = { verify = "required", '
                .. 'ca = "${c}/ca.pem", ' .. client .. " } } }",
            vars = { c = dir, tls = posix.free_port(), up = opt.up } }
        rp.tls = rp.vars.tls
    end

    -- The status of a request with a client's certificate; nil when the handshake fails.
    local function status_of(name, session)
        local c = tls.connect(rp.tls, { sni = "a.test", may_fail = true, session = session,
            cert = dir .. "/" .. name .. ".pem", key = dir .. "/" .. name .. ".key" })
        if not c then return nil end
        local ok, status = pcall(c.get, c, "/") -- TLS 1.3: the client learns of it when it reads
        local kept = ok and c:session()
        c:close()
        return ok and status or nil, kept
    end

    before_each(function()
        dir = tls.dir()
        tls.ca(dir, "ca")
        tls.ca(dir, "other")
        tls.cert(dir, "a", { ca = "ca", names = { "a.test" } })
        tls.cert(dir, "good", { ca = "ca", cn = "good", serial = 21 })
        tls.cert(dir, "bad", { ca = "ca", cn = "bad", serial = 22 })
    end)
    after_each(function()
        local mine = rp
        rp = nil
        wire.close_all()
        process.stop_if_running(mine)
    end)

    for _, form in ipairs { "PEM", "DER" } do
        it("in " .. form .. " refuse who is on them", function()
            tls.crl(dir, "ca", "ca.crl", { revoked = { 22 }, der = form == "DER" })
            start('crl = "${c}/ca.crl"')
            assert.equal(200, (status_of("good")))
            assert.is_nil((status_of("bad")))
            rp:wait_stderr('the TLS handshake failed [^\n]*error="certificate revoked"')
        end)
    end

    it("that are over refuse everybody, and the log says why", function()
        tls.crl(dir, "ca", "ca.crl", { past = true })
        start('crl = { "${c}/ca.crl" }')
        rp:wait_stderr("warn [^\n]*revocation list has expired[^\n]*ca.crl")
        assert.is_nil((status_of("good")))
        rp:wait_stderr('error="CRL has expired"')
    end)

    it("of another authority leave nobody in", function()
        tls.crl(dir, "other", "other.crl", {})
        start('crl = { "${c}/other.crl" }')
        assert.is_nil((status_of("good")))
        rp:wait_stderr('error="unable to get certificate CRL"')
    end)

    it("are read again by a reload, and end sessions that began before", function()
        tls.crl(dir, "ca", "ca.crl", { revoked = { 99 } })
        start('crl = "${c}/ca.crl"', { more = "" })
        local status, session = status_of("bad")
        assert.equal(200, status)
        assert.truthy(session)
        assert.equal(200, (status_of("bad", session)))
        tls.crl(dir, "ca", "ca.crl", { revoked = { 22 } })
        process.must(rp, "reload")
        assert.is_nil((status_of("bad", session)))
        assert.is_nil((status_of("bad")))
        assert.equal(200, (status_of("good")))
    end)

    it("are taken when the file changes", function()
        tls.crl(dir, "ca", "ca.crl", {})
        start('crl = "${c}/ca.crl"')
        assert.equal(200, (status_of("bad")))
        tls.crl(dir, "ca", "ca.crl", { revoked = { 22 } })
        assert.truthy(posix.poll(function() return status_of("bad") == nil end, 40))
        assert.equal(200, (status_of("good")))
    end)

    it("that are missing or malformed refuse the site, with its place", function()
        local function refused(what, why)
            local path = dir .. "/bad.lua"
            posix.write_file(path, ([[local rp = require("rproxy")
return rp.site { tls = { certs = { "%s/a.pem" },
        client = { %s } },
    listeners = { rp.listen { "127.0.0.1:%d", tls = true } },
    hosts = { rp.host { default = true, routes = { rp.route { "/*", respond = { 200 } } } } } }]])
                :format(dir, (what:gsub("DIR", dir)), posix.free_port()))
            local how, _, err = proc.run { process.BIN, "-t", "-p", path }
            assert.equal(1, how.exit)
            assert.truthy(err:find("bad.lua:%d+: tls.client.crl: [^\n]*" .. why), err)
        end
        local ASK = 'verify = "required", ca = "DIR/ca.pem", '
        posix.write_file(dir .. "/broken.crl", "-----BEGIN X509 CRL-----\nAAAA\n"
            .. "-----END X509 CRL-----\n")
        posix.write_file(dir .. "/der.crl", "\48\130\1\1garbage")
        refused(ASK .. 'crl = "DIR/absent.crl"', "absent.crl: cannot be read: no such file")
        refused(ASK .. 'crl = "DIR/broken.crl"', "broken.crl: its revocation list is malformed")
        refused(ASK .. 'crl = "DIR/der.crl"', "der.crl: its revocation list is malformed")
        refused(ASK .. 'crl = { "DIR/a.pem" }', "a.pem: there is no revocation list in it")
        refused(ASK .. 'crl = 7', "expected a file or a list of files, got 7")
        refused('verify = "none", crl = "DIR/a.pem"', "clients are not asked for certificates")
    end)

    it("of upstreams refuse a peer that is on them", function()
        tls.cert(dir, "a", { ca = "ca", names = { "a.test" }, serial = 23 })
        for revoked, status in pairs { [99] = 200, [23] = 502 } do
            tls.crl(dir, "ca", "ca.crl", { revoked = { revoked } })
            local p = proc.rproxy { vars = { c = dir, tls = posix.free_port() }, site = [[
                return rp.site { workers = 1, listeners = { rp.listen { "127.0.0.1:${port}" },
                    rp.listen { "127.0.0.1:${tls}", tls = true } },
                tls = { certs = { "${c}/a.pem" } },
                upstreams = { self = rp.upstream { peers = { "127.0.0.1:${tls}" },
                    tls = { ca = "${c}/ca.pem", name = "a.test", crl = "${c}/ca.crl" } } },
                hosts = { rp.host { default = true, routes = {
                    rp.route { "/", respond = { 200, "end" } },
                    rp.route { "/self/*", upstream = "self", strip_prefix = "/self" },
                } } } }]] }
            assert.equal(status, http.get(p.port, "/self/").status)
            if status == 502 then p:wait_stderr('error="certificate revoked"') end
            p:stop()
        end
    end)
end)
