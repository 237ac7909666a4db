-- SPDX-License-Identifier: MIT
--
-- rp.stream: what is handed over, and what is wrong with it.

local config = require("spec.support.config")
local describe_site = require("rproxy.config.describe")

local function site(streams, more)
    return ([[return rp.site {
        upstreams = { a = rp.upstream { peers = { "127.0.0.1:1" } },
            b = rp.upstream { peers = { "127.0.0.1:2" } } }, %s
        streams = { %s } }]]):format(more or "", streams)
end

local function errors(streams, more) return config.errors(site(streams, more)) end

describe("rp.stream", function()
    it("hands over its upstream, addresses and times", function()
        local built = config.build(site [[ rp.stream { "127.0.0.1:5", "[::1]:5", upstream = "b",
            timeouts = { connect = "250ms", idle = "5m" }, access_log = false } ]])
        assert.same({ { 0, "127.0.0.1:5" }, { 0, "[::1]:5" } }, built:calls("stream_listener"))
        assert.equal(1, built:value("set_stream", 0, "upstream"))
        assert.equal(250, built:value("set_stream", 0, "connect_ms"))
        assert.equal(300000, built:value("set_stream", 0, "idle_ms"))
        assert.equal(10000, built:value("set_stream", 0, "hello_ms"))
        assert.equal(0, built:value("set_stream", 0, "access_log"))
        assert.same({}, built:calls("listener"))
    end)

    it("hands over its rules in the order of names; default is the upstream", function()
        local built = config.build(site [[ rp.stream { "127.0.0.1:5",
            sni = { ["z.example"] = "a", ["*.b.example"] = "b", ["n.example"] = false, default = "b" },
            alpn = { h2 = "a" } } ]])
        assert.same({ { 0, "sni", "*.b.example", 1 }, { 0, "sni", "n.example" },
            { 0, "sni", "z.example", 0 }, { 0, "alpn", "h2", 0 } }, built:calls("stream_rule"))
        assert.equal(1, built:value("set_stream", 0, "upstream"))
        built = config.build(site [[ rp.stream { "127.0.0.1:5", sni = { x = "a", default = false } } ]])
        assert.is_nil(built:value("set_stream", 0, "upstream"))
    end)

    it("hands over its hooks, log in reverse", function()
        local built = config.build(site [[ rp.stream { "127.0.0.1:5", upstream = "a", use = {
            { name = "one", connect = function() end, log = function() end },
            { name = "two", connect = function() end, log = function() end } } } ]])
        assert.same({ "one", "two" }, built:names(built:value("set_stream", 0, "connect_chain")))
        assert.same({ "two", "one" }, built:names(built:value("set_stream", 0, "log_chain")))
    end)

    it("beside listeners needs hosts, and alone does not", function()
        assert.equal("", errors 'rp.stream { "127.0.0.1:5", upstream = "a" }')
        assert.matches("hosts: none", errors('rp.stream { "127.0.0.1:5", upstream = "a" }',
            'listeners = { rp.listen { "127.0.0.1:6" } },'))
    end)

    it("says what is wrong with it, and where", function()
        for text, mistake in pairs {
            ['rp.stream { upstream = "a" }'] = "site.lua:4: rp.stream: no address",
            ['rp.stream { "127.0.0.1:5" }'] = "site.lua:4: rp.stream: no upstream",
            ['rp.stream { "127.0.0.1:5", upstream = "c" }'] =
                'site.lua:4: rp.stream.upstream: no upstream "c"',
            ['rp.stream { "127.0.0.1:5", sni = { x = "c" } }'] = 'rp.stream.sni: no upstream "c"',
            ['rp.stream { "127.0.0.1:5", alpn = { x = 1 } }'] =
                'rp.stream.alpn["x"]: expected the name of an upstream, or false to refuse, got 1',
            ['rp.stream { "127.0.0.1:5", sni = { "x" } }'] = "rp.stream.sni: expected names as keys",
            ['rp.stream { "127.0.0.1:5", sni = "a" }'] = "rp.stream.sni: expected a table",
            ['rp.stream { "127.0.0.1:5", upstream = "a", sni = { default = "b" } }'] =
                "both upstream and sni.default",
            ['rp.stream { "udp:127.0.0.1:5", upstream = "a", sni = { x = "b" } }'] =
                'rp.stream.sni: not for datagrams; give the "udp:" address an rp.stream of its own',
            ['rp.stream { "udp:127.0.0.1:5", upstream = "a", peek = true }'] = "peek: not for datagrams",
            ['rp.stream { "udp:127.0.0.1:5", upstream = "a", proxy_protocol = true }'] =
                "rp.stream.proxy_protocol: not for datagrams",
            ['rp.stream { "udp:127.0.0.1:5", upstream = "a", timeouts = { idle = 5 } }'] =
                "rp.stream.timeouts: not for datagrams; write udp = { idle = ... }",
            ['rp.stream { "127.0.0.1:5", upstream = "a", udp = { idle = 5 } }'] =
                'no address for datagrams; write rp.stream { "udp:127.0.0.1:5", ... }',
            ['rp.stream { "udp:127.0.0.1:5", upstream = "a", udp = { responses = 0 } }'] = "at least 1",
            ['rp.stream { "udp:127.0.0.1:5", upstream = "a", udp = { sessions = 0 } }'] = "at least 1",
            ['rp.stream { "127.0.0.1:5", upstrem = "a" }'] = 'did you mean "upstream"',
            ['rp.stream { "127.0.0.1:5", upstream = "a", tls = {} }'] = "tls.certs: no certificate",
            ['rp.stream { "127.0.0.1:5", upstream = "a" }, rp.stream { "127.0.0.1:5", upstream = "b" }'] =
                "is listened on already",
            ['rp.listen { "127.0.0.1:5" }'] = "streams[1]: expected rp.stream { ... }, got rp.listen",
            ['rp.stream { "127.0.0.1:5", upstream = "a", use = { { access = print } } }'] =
                "its access hook takes a request, and a stream has none",
        } do
            local said = errors(text)
            assert.is_truthy(said:find(mistake, 1, true), text .. "\n" .. said)
        end
        assert.matches("is listened on already", errors('rp.stream { "127.0.0.1:5", upstream = "a" }',
            'listeners = { rp.listen { "127.0.0.1:5" } }, hosts = { rp.host { default = true, routes = '
            .. '{ rp.route { "/", respond = { 200 } } } } },'))
        assert.matches("its connect hook runs for streams", config.errors(config.minimal {
            site = "use = { { connect = print } }," }))
    end)

    it("hands over addresses for datagrams, beside others of the same port", function()
        local built = config.build(site [[ rp.stream { "127.0.0.1:5", "udp:127.0.0.1:5", upstream = "a",
            timeouts = { idle = "5m" }, udp = { idle = "2s", responses = 1, sessions = 7 } } ]])
        assert.same({ { 0, "127.0.0.1:5" }, { 0, "udp:127.0.0.1:5" } }, built:calls("stream_listener"))
        assert.equal(300000, built:value("set_stream", 0, "idle_ms"))
        assert.equal(2000, built:value("set_stream", 0, "udp_idle_ms"))
        assert.equal(1, built:value("set_stream", 0, "udp_responses"))
        assert.is_nil(built:value("set_stream", 0, "udp_requests"))
        assert.equal(7, built:value("set_stream", 0, "udp_sessions"))
        local text = describe_site.text(built.model)
        assert.is_truthy(text:find("\n    udp idle 2s, sessions 7, responses 1\n", 1, true), text)
        assert.is_truthy(text:find("\n    timeouts hello 10s, idle 5m\n", 1, true), text)
        text = describe_site.text(config.build(site [[ rp.stream { "udp:127.0.0.1:5",
            upstream = "a", udp = { requests = 9 } } ]]).model)
        assert.is_truthy(text:find("\n    udp idle 30s, sessions 10000, requests 9\n", 1, true), text)
        assert.is_falsy(text:find("\n    timeouts hello 10s, idle", 1, true), text)
    end)

    it("takes no datagrams for HTTP", function()
        assert.matches("HTTP is not spoken over UDP here; rp.stream relays datagrams",
            errors('rp.stream { "127.0.0.1:5", upstream = "a" }',
                'listeners = { rp.listen { "udp:127.0.0.1:6" } }, hosts = { rp.host { default = true, '
                .. 'routes = { rp.route { "/", respond = { 200 } } } } },'))
    end)

    it("is described", function()
        local built = config.build(site [[ rp.stream { "127.0.0.1:5", sni = { ["x.y"] = "a",
            z = false, default = "b" }, use = { { name = "one", connect = function() end } } } ]])
        local text = describe_site.text(built.model)
        for _, line in ipairs { "streams\n  127.0.0.1:5  ", "\n    sni x.y: upstream a\n",
            "\n    sni z: refuse\n", "\n    else upstream b\n", "\n    timeouts hello 10s, idle 1h\n",
            "\n    connect        one" } do
            assert.is_truthy(text:find(line, 1, true), line .. "\n" .. text)
        end
    end)
end)
