-- SPDX-License-Identifier: MIT

local e2e = require("spec.support.e2e")
local config = require("spec.support.config")
local http = require("spec.support.http")
local posix = require("spec.support.posix")
local proc = require("spec.support.proc")
local tls = require("spec.support.tls")

describe("certificates that hosts ask their clients for", function()
    local dir, rp, vars

    local SITE = [[
        tls = { certs = { "${certs}/a.pem" } },
        listeners = {
            rp.listen { "127.0.0.1:${port}", tls = true },
            rp.listen { "127.0.0.1:${strict}", tls = { client = { verify = "required",
                ca = "${certs}/ca2.pem" } } },
            rp.listen { "127.0.0.1:${plain}" },
        },
        hosts = {
            rp.host { "partner.test", "*.w.test",
                tls = { client = { verify = "required", ca = "${certs}/ca1.pem" } },
                routes = { rp.route { "/*", content = say } } },
            rp.host { "maybe.test",
                tls = { client = { verify = "optional", ca = "${certs}/ca2.pem" } },
                routes = { rp.route { "/*", content = say } } },
            rp.host { "open.w.test", "*.open.w.test",
                routes = { rp.route { "/*", content = say } } },
            rp.host { default = true, routes = { rp.route { "/*", content = say } } },
        },]]

    local BEFORE = [[
        local rp = require("rproxy")
        local function say(req)
            local c = req.conn.tls and req.conn.tls.client_cert
            req:exit(200, c and c.subject .. " " .. tostring(c.verified) or "nobody")
        end
    ]]

    lazy_setup(function()
        dir = tls.dir()
        for _, name in ipairs { "ca1", "ca2" } do tls.ca(dir, name) end
        tls.cert(dir, "a", { ca = "ca1", names = { "a.test" } })
        tls.cert(dir, "one", { ca = "ca1", cn = "one" })
        tls.cert(dir, "two", { ca = "ca2", cn = "two" })
        vars = { certs = dir, strict = posix.free_port(), plain = posix.free_port() }
        rp = proc.rproxy { site = BEFORE .. "return rp.site { workers = 1, " .. SITE .. " }",
            vars = vars }
    end)
    lazy_teardown(function() e2e.stop(rp) end)

    local function connect(sni, who, opt)
        opt = opt or {}
        opt.sni, opt.alpn, opt.may_fail = sni, { "http/1.1" }, true
        opt.cert = who and ("%s/%s.pem"):format(dir, who)
        opt.key = who and ("%s/%s.key"):format(dir, who)
        return tls.connect(opt.port or rp.port, opt)
    end

    local function ask(c, host)
        c:send(("GET / HTTP/1.1\r\nHost: %s\r\n\r\n"):format(host))
        local head = c:recv_until("\r\n\r\n")
        local body = c:recv(tonumber(head:lower():match("content%-length: (%d+)")))
        local status = tonumber(head:match("^HTTP/1.1 (%d+)"))
        return status, status == 200 and body or nil
    end

    -- Status and who was seen; or how the handshake ended.
    local function visit(sni, who, host, opt)
        local c, why = connect(sni, who, opt)
        if not c then return why end
        local ok, status, body = pcall(ask, c, host or sni)
        local resumed, session = c.resumed, c:session()
        c:close()
        if not ok then return c.ended end
        return status, body, resumed, session
    end

    local function seen(...)
        local status, who = visit(...)
        return { status, who }
    end

    local function is_refusal(how)
        return type(how) == "string"
            and (how:find("certificate required") or how:find("handshake failure")
                or how:find("unknown ca")) ~= nil
    end

    for _, version in ipairs { "1.2", "1.3" } do
        local function opt(more)
            more = more or {}
            more.versions = version
            return more
        end

        it("are asked for by the name in the handshake, TLS " .. version, function()
            assert.same({ 200, "CN=one true" }, seen("partner.test", "one", nil, opt()))
            assert.same({ 200, "CN=one true" }, seen("A.B.W.test", "one", nil, opt()))
            assert.same({ 200, "CN=two true" }, seen("maybe.test", "two", nil, opt()))
            assert.same({ 200, "nobody" }, seen("maybe.test", nil, nil, opt()))
            assert.same({ 200, "nobody" }, seen("other.test", "one", nil, opt()))
        end)

        it("of others are refused, TLS " .. version, function()
            assert.is_true(is_refusal(visit("partner.test", nil, nil, opt())))
            assert.is_true(is_refusal(visit("partner.test", "two", nil, opt())))
            assert.is_true(is_refusal(visit("x.w.test", "two", nil, opt())))
            assert.is_true(is_refusal(visit("maybe.test", "one", nil, opt())))
        end)

        it("are not passed by with a session of another name, TLS " .. version, function()
            local status, _, _, session = visit("other.test", nil, nil, opt())
            assert.equal(200, status)
            local again, _, resumed = visit("other.test", nil, nil, opt { session = session })
            assert.equal(200, again)
            assert.is_true(resumed)
            assert.is_true(is_refusal(visit("partner.test", nil, nil, opt { session = session })))
            local first, _, _, own = visit("partner.test", "one", nil, opt())
            assert.equal(200, first)
            local back, who, was = visit("partner.test", "one", nil, opt { session = own })
            assert.same({ 200, "CN=one true", true }, { back, who, was })
        end)
    end

    it("do not count for requests to other hosts", function()
        assert.equal(421, (visit("other.test", nil, "partner.test")))
        assert.equal(421, (visit("maybe.test", nil, "partner.test")))
        assert.equal(421, (visit("maybe.test", "two", "partner.test")))
        assert.equal(421, (visit("partner.test", "one", "maybe.test")))
        assert.equal(421, (visit("partner.test", "one", "other.test")))
        assert.equal(421, (visit(nil, nil, "partner.test")))
    end)

    it("stand in nobody's way who showed none to a host that can do without", function()
        assert.same({ 200, "nobody" }, seen("other.test", nil, "maybe.test"))
        assert.same({ 200, "nobody" }, seen("maybe.test", nil, "other.test"))
    end)

    it("are not asked for by a wildcard above a host that has no rules", function()
        for _, name in ipairs { "open.w.test", "Open.W.Test", "a.b.open.w.test" } do
            assert.same({ 200, "nobody" }, seen(name))
            assert.equal(421, (visit(name, nil, "x.w.test")))
            assert.equal(421, (visit(name, nil, "partner.test")))
            assert.is_true(is_refusal(visit(name, nil, nil, { port = vars.strict })))
            assert.same({ 200, "CN=two true" }, seen(name, "two", nil, { port = vars.strict }))
        end
        assert.is_true(is_refusal(visit("xopen.w.test")))
        assert.equal(421, (visit("x.w.test", "one", "open.w.test")))
    end)

    it("leave a connection as it is after 421", function()
        local c = connect("partner.test", "one")
        assert.equal(421, (ask(c, "other.test")))
        assert.same({ 200, "CN=one true" }, { ask(c, "partner.test") })
        c:close()
    end)

    it("take the place of the listener's", function()
        local strict = vars.strict
        assert.is_true(is_refusal(visit("other.test", nil, nil, { port = strict })))
        assert.same({ 200, "CN=two true" }, seen("other.test", "two", nil, { port = strict }))
        assert.same({ 200, "CN=one true" }, seen("partner.test", "one", nil, { port = strict }))
        assert.is_true(is_refusal(visit("partner.test", "two", nil, { port = strict })))
        assert.equal(421, (visit("partner.test", "one", "other.test", { port = strict })))
        assert.same({ 200, "nobody" }, seen("maybe.test", nil, nil, { port = strict }))
        assert.equal(421, (visit("maybe.test", nil, "other.test", { port = strict })))
    end)

    it("cannot be asked for without TLS", function()
        assert.equal(421, http.get(vars.plain, "/", { host = "partner.test" }).status)
        assert.equal(200, http.get(vars.plain, "/", { host = "other.test" }).status)
    end)

    it("need names, somebody who signs, and a listener", function()
        local text = config.errors([[return rp.site { listeners = { rp.listen { "127.0.0.1:80" } },
            hosts = { rp.host { default = true, tls = { client = { verify = "required" } },
                routes = { rp.route { "/*", respond = { 200 } } } } } }]])
        for _, part in ipairs { "no name that clients could ask for", "who signs the certificates",
            "no listener speaks TLS" } do
            assert.truthy(text:find(part, 1, true), text)
        end
    end)
end)
