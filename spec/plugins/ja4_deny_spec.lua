-- SPDX-License-Identifier: MIT

local e2e = require("spec.support.e2e")
local hooks = require("spec.support.hooks")
local origin = require("spec.support.origin")
local proc = require("spec.support.proc")
local tls = require("spec.support.tls")

local ONE, OTHER = "t13d1516h2_8daaf6152771_e5627efa2ab1", "t12i0500h1_aaaaaaaaaaaa_bbbbbbbbbbbb"

-- What becomes of a client with that fingerprint: "pass", "mark" or why it was refused.
local function verdict(conf, ja4)
    local said
    local conn = { ja4 = ja4, ctx = {}, remote_ip = "192.0.2.1", sni = "a.test" }
    function conn:refuse(reason)
        said = reason
        return self.ja4 == nil
    end
    local result = hooks.of("ja4-deny", conf).tls_hello(conn)
    if said then
        assert.is_false(result)
        return said
    end
    assert.is_nil(result)
    return conn.ctx.ja4_denied and "mark" or "pass"
end

describe("plugin ja4-deny", function()
    local logged

    setup(function()
        require("spec.support.config").rp.log = { info = function(text, fields)
            logged = { text, fields.ja4 }
        end }
    end)
    teardown(function() require("spec.support.config").rp.log = nil end)

    it("refuses whole fingerprints and beginnings of them", function()
        local conf = ('{ deny = { "%s", "t12*" } }'):format(ONE)
        assert.equal("ja4 " .. ONE, verdict(conf, ONE))
        assert.equal("ja4 " .. OTHER, verdict(conf, OTHER))
        assert.equal("pass", verdict(conf, (ONE:gsub("1$", "2"))))
        assert.equal("pass", verdict(conf, (ONE .. "0")))
        assert.equal("pass", verdict("{}", ONE))
    end)

    it("never refuses those that are allowed", function()
        assert.equal("pass", verdict(('{ deny = { "t*" }, allow = { "%s" } }'):format(ONE), ONE))
        assert.equal("ja4 " .. OTHER, verdict(('{ deny = { "t*" }, allow = { "%s" } }'):format(ONE),
            OTHER))
        assert.equal("pass", verdict('{ deny = { "t*" }, allow = { "t13*" } }', ONE))
    end)

    it("marks instead, when asked so", function()
        assert.equal("mark", verdict('{ deny = { "t*" }, action = "mark" }', ONE))
        assert.same({ "denied fingerprint", ONE }, logged)
    end)

    it("says what is no fingerprint", function()
        for _, text in ipairs { "t13*x", "", "t13 d", "*" } do
            assert.matches("no JA4 fingerprint", hooks.errors("ja4-deny", ('{ deny = { %q } }')
                :format(text)))
        end
    end)

    it("tells the fingerprint to upstreams, and drops what the client said", function()
        local run, req = hooks.of("ja4-deny", '{ header = "X-JA4" }'), hooks.request()
        req.conn = { ja4 = ONE }
        run.access(req)
        req.conn.ja4 = nil
        run.access(req)
        assert.same({ "set x-ja4=" .. ONE, "set x-ja4" }, req.up.done)
        assert.is_nil(hooks.of("ja4-deny", "{}").access)
    end)

    it("refuses real clients", function()
        local dir = tls.dir()
        tls.cert(dir, "a", { names = { "a.test" } })
        local o = origin.start { ["*"] = { status = 200, body = "ok" } }
        local rp = proc.rproxy { vars = { certs = dir, origin = o.port }, site = [[
            local deny = require("plugins.ja4_deny")
            return rp.site { workers = 1, log = { error = { level = "info" } },
                tls = { certs = { "${certs}/a.pem" } },
                use = { deny { deny = { "t12*" }, header = "x-ja4" } },
                listeners = { rp.listen { "127.0.0.1:${port}", tls = true } },
                upstreams = { o = rp.upstream { peers = { "127.0.0.1:${origin}" } } },
                hosts = { rp.host { default = true, routes = {
                    rp.route { "/*", upstream = "o" } } } } } ]] }
        local c, why = tls.connect(rp.port, { sni = "a.test", versions = "1.2", may_fail = true })
        assert.is_nil(c)
        assert.truthy(why:find("access denied"), why)
        rp:wait_stderr('reason=tls_refused error="ja4 t12d')
        c = tls.connect(rp.port, { sni = "a.test" })
        c:send("GET / HTTP/1.1\r\nHost: a.test\r\nX-JA4: mine\r\n\r\n")
        c:recv_until("\r\n\r\nok")
        local values = e2e.values(e2e.last(o).fields, "x-ja4")
        assert.equal(1, #values)
        assert.truthy(values[1]:find("^t13d%d%d%d%d00_%x+_%x+$"), values[1])
        c:close()
        e2e.stop(rp)
    end)
end)
