-- SPDX-License-Identifier: MIT
--
-- Hooks of TLS handshakes: where they may be listed, and what is handed over.

local config = require("spec.support.config")
local describe_site = require("rproxy.config.describe")

local function site(listen, more)
    return ([[
        local function hook(name, ...)
            local hooks = { name = name }
            for _, which in ipairs { ... } do hooks[which] = function() end end
            return hooks
        end
        return rp.site { tls = { certs = { "/a.pem" } }, %s
            upstreams = { a = rp.upstream { peers = { "127.0.0.1:1" } } },
            listeners = { %s },
            hosts = { rp.host { default = true, HOST routes = {
                rp.route { "/*", upstream = "a" } } } } }]]):format(more or "", listen)
end

local function source(listen, more, host)
    return (site(listen, more):gsub("HOST", host or ""))
end

local function build(...) return config.build(source(...)) end
local function errors(...) return config.errors(source(...)) end

local TLS = 'rp.listen { "127.0.0.1:1", tls = true%s }'

describe("hooks of TLS handshakes", function()
    it("are those of the site, then those of the listener", function()
        local built = build(TLS:format(', use = { hook("own", "tls_hello") }') .. ", "
            .. 'rp.listen { "127.0.0.1:2", "127.0.0.1:3", tls = true }, '
            .. 'rp.listen { "127.0.0.1:4" }',
            'use = { hook("both", "tls_hello", "certificate"), hook("one", "access") },')
        local function names(listener, key)
            local ref = built:value("set_listener", listener, key)
            return ref and built:names(ref)
        end
        assert.same({ "both", "own" }, names(0, "hello_chain"))
        assert.same({ "both" }, names(0, "cert_chain"))
        for listener = 1, 2 do
            assert.same({ "both" }, names(listener, "hello_chain"))
            assert.same({ "both" }, names(listener, "cert_chain"))
        end
        assert.is_nil(names(3, "hello_chain"))
        assert.is_nil(names(3, "cert_chain"))
    end)

    it("of a stream are its own", function()
        local built = build(TLS:format(""), [[use = { hook("site", "tls_hello") },
            streams = { rp.stream { "127.0.0.1:9", upstream = "a", tls = true,
                use = { hook("own", "certificate", "connect") } } },]])
        assert.same({ "site" }, built:names(built:value("set_listener", 0, "hello_chain")))
        local chain
        for _, call in ipairs(built:calls("set_listener")) do
            if call[2] == "cert_chain" then chain = call[3] end
        end
        assert.same({ "own" }, built:names(chain))
    end)

    it("cost nothing where there are none", function()
        assert.same({}, build(TLS:format("")):calls("set_listener"))
    end)

    it("stand where they can run", function()
        assert.matches("plugin x: its tls_hello hook runs before a host is known; list it in the use "
            .. "of the site or of an rp.listen", errors(TLS:format(""), "",
            'use = { hook("x", "tls_hello") },'), 1, true)
        assert.matches("plugin x: its certificate hook would never run: this rp.listen has no tls",
            errors('rp.listen { "127.0.0.1:1", use = { hook("x", "certificate") } }'), 1, true)
        assert.matches("plugin x: its access hook does not run for a listener's handshakes",
            errors(TLS:format(', use = { hook("x", "tls_hello", "access") }')), 1, true)
        assert.matches("plugin x: its tls_hello hook would never run: this rp.stream has no tls",
            errors(TLS:format(""), [[streams = { rp.stream { "127.0.0.1:9", upstream = "a",
                use = { hook("x", "tls_hello") } } },]]), 1, true)
        assert.equal("", errors(TLS:format(', use = { hook("x", "tls_hello", "start") }')))
        assert.equal("", errors('rp.listen { "127.0.0.1:1" }', 'use = { hook("x", "tls_hello") },'))
    end)

    it("are shown with their listeners", function()
        local built = build(TLS:format(', use = { hook("own", "tls_hello") }'),
            'use = { hook("both", "tls_hello", "certificate") },')
        local text = describe_site.text(built.model)
        assert.truthy(text:find("\n  127.0.0.1:1 %(TLS%)[^\n]*\n    tls_hello +both[^\n]*\n +own[^\n]*\n"
            .. "    certificate +both"), text)
        built = build(TLS:format(""), [[streams = { rp.stream { "127.0.0.1:9", upstream = "a",
            tls = true, use = { hook("own", "tls_hello") } } },]])
        text = describe_site.text(built.model)
        assert.truthy(text:find("\n  127.0.0.1:9 %(TLS%).-\n    tls_hello +own"), text)
    end)
end)
