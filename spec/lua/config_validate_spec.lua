-- SPDX-License-Identifier: MIT
local config = require("spec.support.config")

-- One mistake in an otherwise right site: its whole text is compared.
local function wrong(parts, expected, opt)
    assert.equal(expected, (config.errors(config.minimal(parts), opt):gsub("site%.lua:%d+: ", "")))
end

describe("rproxy.config.validate", function()
    it("takes a small site", function()
        assert.equal("", config.errors(config.minimal()))
    end)

    it("refuses hedges and shared answers that cannot be", function()
        local function up(text) return { upstreams = ("api = rp.upstream { peers = { 'a:1' }, %s }")
            :format(text) } end
        local after = 'expected a time from "1ms" on, or a quantile from "p50" to "p99.9", got '
        wrong(up 'hedge = { after = "p100" }', 'upstreams.api.hedge.after: ' .. after .. '"p100"')
        wrong(up 'hedge = { after = "p5" }', 'upstreams.api.hedge.after: ' .. after .. '"p5"')
        wrong(up 'hedge = { after = 0 }', 'upstreams.api.hedge.after: ' .. after .. '0')
        wrong(up 'hedge = { max = 0 }', 'upstreams.api.hedge.max: at least 1, got 0')
        wrong(up 'sticky = { header = "Content-Length" }', 'upstreams.api.sticky.header: expected the '
            .. 'name of a header that has no other meaning, got "Content-Length"')
        wrong(up 'sticky = { header = "cookie" }', "upstreams.api.sticky.header: expected the name of "
            .. 'a header; cookies have the setting `cookie`, got "cookie"')
        wrong(up 'deadline_header = "Host"', 'upstreams.api.deadline_header: expected the name '
            .. 'of a header that has no other meaning, got "Host"')
        local function route(text) return { route = ('rp.route { "/x", %s }'):format(text) } end
        wrong(route 'upstream = "api", coalesce = 5', 'coalesce: expected true or a table such as '
            .. '{ max_wait = "5s" }, got 5')
        wrong(route 'upstream = "api", coalesce = { kee = 1 }', 'coalesce.kee: unknown setting; '
            .. 'did you mean "key"?')
        wrong(route 'respond = { 200 }, coalesce = true', 'coalesce: route "/x" asks no upstream, '
            .. 'so there is nothing to share')
    end)

    describe("places", function()
        it("a mistake on the line of its constructor and key", function()
            local text = config.errors([[local up = rp.upstream { peers = { "a:1" } }
return rp.site {
    workers = 0,
    limits = {
        body = "8q",
    },
    listeners = { rp.listen { "127.0.0.1:1" } },
    upstreams = { a = up },
    hosts = {
        rp.host {
            default = true,
            routes = {
                rp.route { "/a", upstream = "b" },
                rp.route { "/c", upstream = "a",
                    headers = { request = {
                        set = { ["x-b"] = 5 },
                    } } },
            },
        },
    },
}]])
            assert.equal([[
site.lua:3: workers: expected "auto" or a whole number from 1 to 1024, got 0
site.lua:5: limits.body: expected a size (bytes, or a string such as "64k", "8m", "1g"), got "8q"
site.lua:13: upstream: no upstream "b"; did you mean "a"?
site.lua:16: headers.request.set["x-b"]: expected a string, got 5]],
                (text:gsub('; known: a', '; did you mean "a"?')))
        end)

        it("on the line of the constructor when the setting is written elsewhere", function()
            local text = config.errors('local t = { "/x", upstream = "api",\n nope = 1 }\n'
                .. config.minimal { route = "rp.route(t)" })
            assert.matches("^site.lua:7: nope: unknown setting", text)
        end)

        it("is not led astray by strings, comments and nested functions", function()
            local text = config.errors([==[
return rp.site { listeners = { rp.listen { "127.0.0.1:1" } }, hosts = { rp.host { default = true,
  routes = {
    rp.route { "/x", -- id = 1
        content = function(req) local id = "id = 2" if req then id = [[ id = ]] end return id end,
        meta = { id = 3 },
        id = 4,
    } } } } }]==])
            assert.equal("site.lua:6: id: expected a string, got 4", text)
        end)

        it("reports at most 20 mistakes, in the order of the file", function()
            local routes = {}
            for i = 1, 25 do routes[i] = ('rp.route { "/%d", upstream = "no" },\n'):format(i) end
            local text = config.errors(config.minimal { route = table.concat(routes) })
            local lines = {}
            for line in text:gmatch("[^\n]+") do lines[#lines + 1] = line end
            assert.equal(21, #lines)
            assert.matches("^site.lua:5:", lines[1])
            assert.matches("^site.lua:24:", lines[20])
            assert.equal("... and 5 more", lines[21])
        end)
    end)

    describe("of a site", function()
        it("refuses what is no site", function()
            assert.equal("site.lua:1: expected the site to return rp.site { ... }, it returned "
                .. "nil; end it with return rp.site { ... }", config.errors("local a = 1"))
            assert.matches("it returned rp.host;", config.errors("return rp.host { 'a' }"))
        end)

        it("passes syntax errors and errors of its code on", function()
            assert.matches("^site.lua:2: unexpected symbol near",
                config.errors("\nreturn rp.site {{"))
            assert.matches("site.lua:1: oh dear", config.errors("error('oh dear')"))
            assert.matches("site.lua:1: rp.host takes a table, got \"a\"",
                config.errors("local h = rp.host 'a'"))
        end)

        it("says that settings to come are not built yet", function()
            wrong({ site = "cache = {}," }, "cache: not built yet: the cache; remove it")
        end)

        it("wants zones of shared memory by name, of a kind and with a size", function()
            assert.equal("", config.errors(config.minimal { site = "shared = {}," }))
            wrong({ site = "shared = 5," }, "shared: expected zones by name, got 5")
            wrong({ site = "shared = { a = 5 }," }, 'shared.a: expected rp.shm.store { size = '
                .. '"16m" }, rp.shm.cache or rp.shm.buckets, got 5')
            wrong({ site = 'shared = { ["A-b"] = rp.shm.store { size = "1m" } },' },
                'shared: expected names of letters, digits and _ as keys, got "A-b"')
            wrong({ site = "shared = { a = rp.shm.store {} }," },
                "shared.a.size: missing; expected a size (bytes, or a string such as "
                    .. '"64k", "8m", "1g")')
            wrong({ site = 'shared = { a = rp.shm.cache { sise = "1m", size = "1m" } },' },
                'shared.a.sise: unknown setting; did you mean "size"?')
            wrong({ site = 'shared = { a = rp.shm.buckets { size = "1k" } },' },
                'shared.a.size: at least 64k, got 1k')
        end)

        it("wants certificates where TLS ends", function()
            wrong({ site = "tls = {}," }, "tls.certs: no certificate; "
                .. 'write certs = { "/etc/rproxy/certs/*.pem" }')
            wrong({ site = 'tls = { certs = "a.pem" },' }, 'tls.certs: expected a list of files, '
                .. 'got "a.pem"; write certs = { "/etc/rproxy/certs/*.pem" }')
            wrong({ site = 'tls = { certs = { 1 } },' }, "tls.certs[1]: expected a file, a pattern "
                .. "or { cert = file, key = file }, got 1")
            wrong({ listen = 'rp.listen { "a:1", tls = true }' },
                "rp.listen.tls: the site has no tls settings; write certs = { "
                .. '"/etc/rproxy/certs/*.pem" } in tls = { ... } of rp.site')
            wrong({ listen = 'rp.listen { "a:1", tls = "yes" }' },
                'rp.listen.tls: expected true or a table, got "yes"')
            wrong({ site = 'tls = { certs = { "a.pem" } },',
                listen = 'rp.listen { "a:1", tls = true, redirect_https = true }' },
                "rp.listen: redirect_https is for listeners without tls; remove one of them")
        end)

        it("lets other machines reach metrics only when it is told to", function()
            local function refused(listen)
                wrong({ site = ('metrics = { listen = "%s" },'):format(listen) },
                    ("metrics.listen: %q can be reached by other machines; take a loopback address "
                        .. "or a unix socket, or say public = true"):format(listen))
            end
            for _, listen in ipairs { "0.0.0.0:9145", "[::]:9145", "10.0.0.1:9145", "*:9145",
                "127.0.0.1.5:1" } do
                refused(listen)
            end
            wrong({ site = "metrics = {}," }, "metrics.listen: missing; expected a string")
            wrong({ site = 'metrics = { listen = "127.0.0.1:1", path = "metrics" },' },
                'metrics.path: expected a path that begins with a slash, got "metrics"')
        end)

        it("refuses unknown forwarding headers and repeated ones", function()
            wrong({ site = 'forwarded = { "x-real-ip" },' }, 'forwarded[1]: expected one of '
                .. '"x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", '
                .. '"x-forwarded-port", "forwarded", got "x-real-ip"')
            wrong({ site = 'forwarded = { "forwarded", "forwarded" },' },
                "forwarded: expected each entry once (forwarded is repeated), got a table")
        end)

        it("refuses fields of a log format that has none", function()
            wrong({ site = 'log = { access = { fields = { "status" } } },' },
                'log.access.fields: only format = "json" has fields; set it, or remove them')
        end)

        it("needs listeners and hosts", function()
            wrong({ listen = "" },
                'listeners: none; write listeners = { rp.listen { "127.0.0.1:8080" } }')
            assert.matches("hosts: none; write hosts = ", config.errors(
                'return rp.site { listeners = { rp.listen { "a:1" } } }'))
        end)
    end)

    describe("of listeners", function()
        it("needs addresses, each once", function()
            wrong({ listen = "rp.listen { }" },
                'rp.listen: no address; write rp.listen { "127.0.0.1:8080" }')
            wrong({ listen = "rp.listen { 80 }" },
                'rp.listen[1]: expected "address:port", got 80')
            assert.matches('rp.listen: "a:1" is listened on already %(site.lua:3%)',
                config.errors(config.minimal {
                    listen = 'rp.listen { "a:1" }, rp.listen { "a:1" }' }))
        end)

        it("is made by rp.listen", function()
            wrong({ listen = '"a:1"' },
                'listeners[1]: expected rp.listen { ... }, got "a:1"')
        end)
    end)

    describe("of upstreams", function()
        local function upstream(text, expected)
            wrong({ upstreams = "api = rp.upstream { " .. text .. " }" }, expected)
        end

        it("needs peers", function()
            local needs = "upstreams.api.peers: expected a list of at least one peer, "
            local tail = ' write peers = { "127.0.0.1:8081" }'
            upstream("", needs .. "got nil;" .. tail)
            upstream("peers = {}", needs .. "got an empty table;" .. tail)
            upstream('peers = "a:1"', needs .. 'got "a:1";' .. tail)
        end)

        it("wants version 2 for what version 1 of a PROXY header cannot say", function()
            local words = 'upstreams.api.proxy_protocol_tlvs: needs proxy_protocol = "v2"'
            upstream('peers = { "a:1" }, proxy_protocol_tlvs = { "alpn" }', words)
            upstream('peers = { "a:1" }, proxy_protocol = "v1", proxy_protocol_tlvs = {}', words)
            upstream('peers = { "a:1" }, proxy_protocol = "v2", proxy_protocol_tlvs = { "sni" }',
                'upstreams.api.proxy_protocol_tlvs[1]: expected one of "authority", "alpn", '
                    .. '"unique_id", "crc32c", got "sni"')
        end)

        it("reads words after an address", function()
            upstream('peers = { "a:1 weight=x" }',
                'upstreams.api.peers[1].weight: expected a whole number, got "x"')
            upstream('peers = { "a:1 max_conns=x" }',
                'upstreams.api.peers[1].max_conns: expected a whole number, got "x"')
            upstream('peers = { "a:1 backupp" }', "upstreams.api.peers[1].backupp: unknown "
                .. 'setting; did you mean "backup"?')
            upstream('peers = { { "a:1", weight = 0 } }',
                "upstreams.api.peers[1].weight: at least 1, got 0")
            upstream('peers = { "a:1", "a:1" }',
                'upstreams.api.peers: peer "a:1" is there twice; give it a weight instead')
        end)

        it("takes only balancers that there are", function()
            local PEERS = 'peers = { "a:1" }, balance = '
            upstream(PEERS .. '"p2x"', 'upstreams.api.balance: expected one of "ewma", "first", '
                .. '"ip_hash", "least_conn", "least_time", "p2c", "random", "round_robin", '
                .. '{ "hash", key = .. }, a function(req, up), or a plugin with a balance hook, got "p2x"')
            for _, good in ipairs { '"round-robin"', '"p2c-ewma"', '"ip_hash"', '"least_request"',
                '{ "hash", key = "ip" }', '{ "hash", key = { "arg:id", "path" }, method = "ring" }',
                '{ "hash", key = "header:x-user", bound = 1.25, method = "hrw" }' } do
                assert.equal("", config.errors(config.minimal {
                    upstreams = "api = rp.upstream { " .. PEERS .. good .. " }" }), good)
            end
        end)

        it("takes hashing of parts that there are", function()
            local function hash(text, what)
                upstream('peers = { "a:1" }, balance = { "hash"' .. text .. ' }',
                    "upstreams.api.balance: expected " .. what)
            end
            local KEYS = '"ip", "host", "path", "query", "consumer", "arg:NAME", "header:NAME", '
                .. '"cookie:NAME" or a list of these'
            hash(', key = "user"', 'key = ' .. KEYS .. ' (not "user"), got a table')
            hash(', key = "header:"', 'key = ' .. KEYS .. ' (not "header:"), got a table')
            hash(', key = { }', 'key = ' .. KEYS .. ', got a table')
            hash('', '{ "hash", .. }, where key: missing; expected a value, got a table')
        end)

        it("is made by rp.upstream, under a name", function()
            wrong({ upstreams = 'api = "a:1"' },
                'upstreams.api: expected rp.upstream { ... }, got "a:1"')
            assert.matches("upstreams: expected names as keys, got 1", config.errors(
                config.minimal { upstreams = 'rp.upstream { peers = { "a:1" } }',
                    route = 'rp.route { "/", respond = { 200 } }' }))
        end)
    end)

    describe("of hosts", function()
        local function hosts(text)
            return config.errors('return rp.site { listeners = { rp.listen { "a:1" } }, hosts = { '
                .. text .. " } }")
        end
        local route = ' routes = { rp.route { "/", respond = { 200 } } } '

        it("needs a name or default, and routes", function()
            assert.matches("rp.host: no name; write", hosts("rp.host {" .. route .. "}"))
            assert.matches("rp.host: no routes; write", hosts('rp.host { "a" }'))
        end)

        it("has each name once, whatever the case", function()
            assert.matches('rp.host: "B.example" has a host already %(site.lua:1%)', hosts(
                'rp.host { "b.example",' .. route .. '}, rp.host { "B.example",' .. route .. "}"))
        end)

        it("has one default", function()
            local one = "rp.host { default = true," .. route .. "}"
            assert.matches("default = true is said already", hosts(one .. "," .. one))
        end)
    end)

    describe("of routes", function()
        local function route(text, expected)
            wrong({ route = "rp.route { " .. text .. " }" }, expected)
        end

        it("needs one action", function()
            route('"/a"', 'route "/a" does nothing; give it one of upstream, respond, redirect, '
                .. "content, connect")
            route('"/a", upstream = "api", respond = { 200 }',
                'route "/a" has two actions, upstream and respond; keep one')
        end)

        it("needs a pattern", function()
            route('upstream = "api"', 'route: expected its pattern first, got nil; write rp.route '
                .. '{ "GET /path", upstream = "name" }')
            route('"get /a", upstream = "api"',
                'route "get /a": method names are case-sensitive: write "GET"')
            route('"a/b", upstream = "api"',
                'route "a/b": expected "/path", "GET,HEAD /path" or "~regex"')
            route('"GET,GET /a", upstream = "api"', 'route "GET,GET /a": method GET is there twice')
            route('"/a", "/b", upstream = "api"',
                'route "/a": one pattern per route, got also "/b"; write another rp.route')
        end)

        it("names an upstream that there is", function()
            route('"/a", upstream = "apo"', 'upstream: no upstream "apo"; did you mean "api"?')
        end)

        it("checks answers and redirects", function()
            route('"/a", respond = "x"', 'respond: expected { status, "body" }, got "x"')
            route('"/a", respond = { 99 }', "respond[1]: expected a status from 200 to 599, got 99")
            route('"/a", respond = { 200, 5 }', "respond[2]: expected the body as a string, got 5")
            route('"/a", respond = { 200, header = {} }',
                'respond.header: unknown setting; did you mean "headers"?')
            route('"/a", redirect = { 200, "/b" }', 'redirect: expected "url" or { code, "url" } '
                .. "with 301, 302, 303, 307 or 308, got a table")
            route('"/{id}", redirect = "/b/{idd}"',
                'redirect: nothing fills in {idd}; did you mean "id"?')
        end)

        it("checks conditions", function()
            route('"/a", upstream = "api", when = { header = { a = false } }',
                'when.header.a: expected "value", true, { prefix = "x" } or { regex = "x" }, '
                .. "got false")
            route('"/a", upstream = "api", when = { cookies = {} }',
                'when.cookies: unknown setting; did you mean "cookie"?')
            route('"/a", upstream = "api", when = { cookie = { a = 1 } }',
                'when.cookie.a: expected "value", true, { prefix = "x" } or { regex = "x" }, '
                .. "got 1")
        end)

        it("refuses a skip of what is not inherited", function()
            route('"/a", upstream = "api", skip = { "request-id" }',
                'skip: "request-id" is not inherited here')
            wrong({ site = 'use = { "request-id" },',
                route = 'rp.route { "/", upstream = "api", skip = { "request-di" } }' },
                'skip: "request-di" is not inherited here; did you mean "request-id"?')
        end)

        it("has ids that differ", function()
            assert.matches('route id "x" is given already %(site.lua:5%)',
                config.errors(config.minimal { route = 'rp.route { "/a", id = "x", '
                    .. 'upstream = "api" }, rp.route { "/b", id = "x", upstream = "api" }' }))
            route('"/a", id = "x", name = "x", upstream = "api"',
                'route "/a": id and name are the same thing; keep one')
        end)

        it("says when a route is never reached", function()
            assert.matches('route "/a" is never reached: the route of site.lua:5 takes all of it',
                config.errors(config.minimal { route = 'rp.route { "/a", upstream = "api" },\n'
                    .. 'rp.route { "/a", upstream = "api" }' }))
            assert.equal("", config.errors(config.minimal { route =
                'rp.route { "/a", upstream = "api", when = { header = { a = true } } },\n'
                .. 'rp.route { "/a", upstream = "api" }' }))
        end)

        it("refuses header edits that no message may carry", function()
            route('"/a", upstream = "api", headers = { request = { set = { ["a b"] = "x" } } }',
                'headers.request.set: expected header names as keys, got "a b"')
            route('"/a", upstream = "api", headers = { response = { add = { a = "x\\r\\ny" } } }',
                'headers.response.add.a: expected a value without control bytes, got "x\\13\\10y"')
        end)
    end)

    describe("of overrides", function()
        it("puts them over what the site says", function()
            local built = config.build(
                config.minimal { site = "workers = 2, log = { access = {} }," }, { overrides =
                "workers=3\nlimits.body=1m\nlog.access=false\nlog.error.level=debug" })
            assert.equal(3, built:value("number", "workers"))
            assert.equal(2 ^ 20, built:value("number", "limits.body_bytes"))
            assert.equal(0, built:value("number", "log.level"))
            assert.is_nil(built:first("access_log"))
        end)

        it("says what is wrong with them", function()
            for overrides, expected in pairs {
                ["wrkers=2"] = '-g wrkers=2: no option "wrkers"; did you mean "workers"?',
                ["workers"] = "-g workers: expected name=value, as in -g workers=2",
                ["hosts=1"] = "-g hosts=1: hosts cannot be set on the command line; write it in "
                    .. "site.lua",
                ["workers=0"] = '-g workers: workers: expected "auto" or a whole number from 1 to '
                    .. "1024, got 0",
                ["limits.body=x"] = '-g limits.body: limits.body: expected a size (bytes, or a '
                    .. 'string such as "64k", "8m", "1g"), got "x"',
            } do
                assert.equal(expected, config.errors(config.minimal(), { overrides = overrides }))
            end
        end)
    end)
end)
