-- SPDX-License-Identifier: MIT
local config = require("spec.support.config")

local function build(parts, opt)
    return config.build(config.minimal(parts), opt)
end

describe("rproxy.config.build", function()
    it("hands over the defaults in the units of the C side", function()
        local built = build()
        assert.equal(0, built:value("number", "workers")) -- "auto": the master counts the cores
        assert.equal(32768, built:value("number", "limits.head_bytes"))
        assert.equal(75000, built:value("number", "timeouts.keepalive_ms"))
        assert.equal(50000, built:value("number", "lua.cpu_budget_us"))
        assert.equal(15, built:value("number", "forward.bits"))
        assert.equal(1, built:value("number", "via.on"))
        assert.equal(1, built:value("number", "log.level"))
        assert.equal("rproxy", built:value("text", "server.name"))
        assert.is_nil(built:first("access_log"))
        assert.is_nil(built:first("file"))
    end)

    it("hands over what the site says", function()
        local built = build { site = [[
            workers = 2, user = "nobody", trust = { "10.0.0.0/8", "fd00::/8" },
            limits = { body = math.huge, uri = "4k" }, timeouts = { header = "1500ms" },
            lua = { cpu_budget = "1ms", heap = "64m" },
            log = { error = { to = "/e.log", level = "warn" },
                access = { to = "/a.log", format = "json", fields = { "status", "ctx.x" },
                    buffer = 0, flush = "250ms" } },
            forwarded = { "forwarded" }, via = false, server = false,]] }
        assert.equal(2, built:value("number", "workers"))
        assert.equal("nobody", built:value("text", "user"))
        assert.same({ { "10.0.0.0/8" }, { "fd00::/8" } }, built:calls("trust"))
        assert.equal(math.huge, built:value("number", "limits.body_bytes"))
        assert.equal(1500, built:value("number", "timeouts.head_ms"))
        assert.equal(1000, built:value("number", "lua.cpu_budget_us"))
        assert.same({ { "/e.log" }, { "/a.log" } }, built:calls("file"))
        assert.equal(0, built:value("number", "log.error_file"))
        assert.equal(3, built:value("number", "log.level"))
        assert.same({ 1, "json", 0, 250 }, built:first("access_log"))
        assert.same({ { "status" }, { "ctx.x" } }, built:calls("access_field"))
        assert.equal(16, built:value("number", "forward.bits"))
        assert.equal(0, built:value("number", "via.on"))
        assert.is_nil(built:value("text", "via.name"))
        assert.equal("", built:value("text", "server.name"))
    end)

    it("hands over listeners", function()
        local built = build { listen = 'rp.listen { "a:80", "[::]:80", redirect_https = true },'
            .. 'rp.listen { "b:1" }' }
        assert.same({ { "a:80", true }, { "[::]:80", true }, { "b:1", false } },
            built:calls("listener"))
    end)

    it("hands over upstreams in the order of their names", function()
        local built = build { upstreams = [[
            b = rp.upstream { peers = { "b:1 weight=3", { "b:2", backup = true } }, tries = 2,
                host = "b.example", keepalive = { max = 7 }, timeouts = { connect = "250ms" } },
            api = rp.upstream { peers = { "unix:/run/a" } },]] }
        assert.same({ { "api" }, { "b" } }, built:calls("upstream"))
        assert.same({ { 0, "unix:/run/a", 1, false }, { 1, "b:1", 3, false },
            { 1, "b:2", 1, true } }, built:calls("peer"))
        assert.equal(2, built:value("set_upstream", 1, "tries"))
        assert.equal(7, built:value("set_upstream", 1, "pool_max"))
        assert.equal(250, built:value("set_upstream", 1, "connect_ms"))
        assert.equal("b.example", built:value("set_upstream_text", 1, "host_header"))
        assert.is_nil(built:value("set_upstream_text", 0, "host_header"))
        assert.same({ { { api = 0, b = 1 } } }, built:calls("upstreams"))
    end)

    it("hands over when a second try begins beside the first", function()
        local built = build { upstreams = [[
            api = rp.upstream { peers = { "a:1" }, hedge = { after = "p99.9", budget = 5 } },
            b = rp.upstream { peers = { "b:1" }, hedge = { after = 0.0505, max = 2 } },
            c = rp.upstream { peers = { "c:1" }, hedge = { budget = 7 } },]] }
        local function value(up, key) return built:value("set_upstream", up, key) end
        assert.equal(999, value(0, "hedge_quantile"))
        assert.equal(5, value(0, "hedge_budget"))
        assert.equal(1, value(0, "hedge_max"))
        assert.is_nil(value(0, "hedge_ms"))
        assert.equal(51, value(1, "hedge_ms"))
        assert.equal(2, value(1, "hedge_max"))
        assert.is_nil(value(1, "hedge_quantile"))
        assert.is_nil(value(2, "hedge_max"))
    end)

    it("hands over which requests share an answer", function()
        local built = build { route = [[
            rp.route { "/a", upstream = "api", coalesce = true },
            rp.route { "/b", upstream = "api", coalesce = { key = { "X-A", "x-b" },
                max_wait = "50ms", max_body = "2k" } },
            rp.route { "/c", upstream = "api" },]] }
        local function value(route, key) return built:value("set_route", route, key) end
        assert.equal(2 ^ 20, value(0, "coalesce_max"))
        assert.equal(5000, value(0, "coalesce_ms"))
        assert.is_nil(built:value("set_route_text", 0, "coalesce_key"))
        assert.equal(2048, value(1, "coalesce_max"))
        assert.equal(50, value(1, "coalesce_ms"))
        assert.equal("x-a, x-b", built:value("set_route_text", 1, "coalesce_key"))
        assert.is_nil(value(2, "coalesce_max"))
    end)

    describe("routes", function()
        it("of each action", function()
            local built = build { route = [[
                rp.route { "GET,HEAD /s", respond = { 404, "no\n", headers = {
                    ["Content-Type"] = "text/x", ["X-A"] = "1" } } },
                rp.route { "/r/{id}", redirect = "https://{host}/{id}" },
                rp.route { "/p", redirect = { 308, "/q" } },
                rp.route { "/u", upstream = "api" },
                rp.route { "/c", content = function() end },]] }
            assert.same({ { 0, "GET,HEAD", "/s", false }, { 0, "", "/r/{id}", false },
                { 0, "", "/p", false }, { 0, "", "/u", false }, { 0, "", "/c", false } },
                built:calls("route"))
            assert.equal(1, built:value("set_route", 0, "action"))
            assert.equal(404, built:value("set_route", 0, "status"))
            assert.equal("no\n", built:value("set_route_text", 0, "body"))
            assert.equal("text/x", built:value("set_route_text", 0, "content_type"))
            assert.same({ { 0, "set", true, "x-a", "1" } }, built:calls("edit"))
            assert.equal(2, built:value("set_route", 1, "action"))
            assert.equal("https://{host}/{id}", built:value("set_route_text", 1, "location"))
            assert.equal(302, built:value("set_route", 1, "status"))
            assert.equal(308, built:value("set_route", 2, "status"))
            assert.equal(0, built:value("set_route", 3, "action"))
            assert.equal(0, built:value("set_route", 3, "upstream"))
            assert.equal(3, built:value("set_route", 4, "action"))
            assert.same({ "inline@site.lua:10" }, built:runs(4, "content"))
        end)

        it("with ids that are given or made", function()
            local built = config.build [[return rp.site {
                listeners = { rp.listen { "a:1" } },
                hosts = { rp.host { "x.example", "y.example", routes = {
                    rp.route { "GET /a", respond = { 200 } },
                    rp.route { "POST,PUT /a", id = "write", respond = { 200 } },
                    rp.route { "GET /b", when = { header = { a = true } }, respond = { 200 } },
                    rp.route { "GET /b", respond = { 200 } } } } } }]]
            assert.equal("x.example GET /a", built:value("set_route_text", 0, "id"))
            assert.equal("write", built:value("set_route_text", 1, "id"))
            assert.equal("x.example GET /b", built:value("set_route_text", 2, "id"))
            assert.equal("x.example GET /b#2", built:value("set_route_text", 3, "id"))
            assert.same({ { 0, "x.example" }, { 0, "y.example" } }, built:calls("host_name"))
            assert.same({ { false } }, built:calls("host"))
        end)

        it("with conditions", function()
            local built = build { route = [[rp.route { "/*", upstream = "api",
                when = { header = { ["X-B"] = { prefix = "p" }, ["x-a"] = true },
                    query = { v = "1" }, source = { "10.0.0.0/8", "::1" } },
                unless = { header = { c = { regex = "^x" } } } }]] }
            assert.same({ { 0, "header", "exists", false, "x-a", "" },
                { 0, "header", "prefix", false, "X-B", "p" },
                { 0, "query", "equals", false, "v", "1" },
                { 0, "source", "in", false, "", "10.0.0.0/8,::1" },
                { 0, "header", "regex", true, "c", "^x" } },
                (function(list)
                    table.sort(list, function(a, b)
                        return tostring(a[4]) .. a[2] .. a[5]:lower()
                            < tostring(b[4]) .. b[2] .. b[5]:lower()
                    end)
                    return list
                end)(built:calls("cond")))
        end)

        it("with header edits: removed, set, added", function()
            local built = build { route = [[rp.route { "/*", upstream = "api", headers = {
                request = { add = { ["X-A"] = "1" }, set = { b = "2" }, remove = { "C" } },
                response = { remove = { "server" } } } }]] }
            assert.same({ { 0, "remove", false, "c", "" }, { 0, "set", false, "b", "2" },
                { 0, "add", false, "x-a", "1" }, { 0, "remove", true, "server", "" } },
                built:calls("edit"))
        end)

        it("with limits, timeouts and switches only where they are said", function()
            local built = build { route = [[
                rp.route { "/a", upstream = "api" },
                rp.route { "/b", upstream = "api", limits = { body = "1g" },
                    timeouts = { first_byte = "5m" }, upgrade = false, access_log = false,
                    strip_prefix = "/b", meta = { team = "x" } }]] }
            for _, key in ipairs { "body_limit", "first_byte_ms", "connect_ms", "meta" } do
                assert.is_nil(built:value("set_route", 0, key), key)
            end
            assert.equal(2 ^ 30, built:value("set_route", 1, "body_limit"))
            assert.equal(300000, built:value("set_route", 1, "first_byte_ms"))
            assert.equal(0, built:value("set_route", 1, "upgrade"))
            assert.equal(0, built:value("set_route", 1, "access_log"))
            assert.equal("/b", built:value("set_route_text", 1, "strip_prefix"))
            assert.same({ { { team = "x" } } }, built:calls("meta"))
            assert.equal(0, built:value("set_route", 1, "meta"))
        end)
    end)

    it("says where the thing is that the C side refuses", function()
        local text = config.errors(config.minimal {
            route = 'rp.route { "/a*b", upstream = "api" }' }, {
            refuse = function(method) return method == "route" and "pattern: no" end })
        assert.equal('site.lua:5: pattern: no', text)
        text = config.errors(config.minimal { site = '\ntrust = { "x" },' }, {
            refuse = function(method) return method == "trust" and "no network" end })
        assert.equal("site.lua:3: trust[1]: no network", text)
    end)

    it("reports all that the C side refuses", function()
        local text = config.errors(config.minimal { site = '\ntrust = { "x" },' }, {
            refuse = function(method)
                return (method == "trust" or method == "upstream" or method == "route") and "no"
            end })
        assert.equal("site.lua:3: trust[1]: no\nsite.lua:5: upstreams.api: no\n"
            .. "site.lua:6: no", text)
    end)

    describe("chains", function()
        local use = [[
            use = { { name = "s1", access = function() end, header_filter = function() end,
                    log = function() end, early = function() end },
                { name = "s2", access = function() end, header_filter = function() end } },]]

        it("run site, host, route on the way in and the other way round on the way out", function()
            local built = build { site = use,
                host = [[use = { { name = "h", access = function() end,
                    header_filter = function() end } },]],
                route = [[rp.route { "/*", upstream = "api", use = { { name = "r",
                    access = function() end, header_filter = function() end,
                    body_filter = function() end } } }]] }
            local route = built:calls("route")[2][1] and 1 -- 0 is the host's fallback
            assert.same({ "s1", "s2", "h", "r" }, built:runs(route, "access"))
            assert.same({ "r", "h", "s2", "s1" }, built:runs(route, "header_filter"))
            assert.same({ "r" }, built:runs(route, "body_filter"))
            assert.same({ "s1" }, built:runs(route, "log"))
            assert.is_nil(built:runs(route, "rewrite"))
        end)

        it("run early hooks once, for the site", function()
            local built = build { site = use }
            assert.equal(1, #built:calls("site_chain"))
            assert.equal("early", built:first("site_chain")[1])
            assert.same({ "s1" }, built:names(built:first("site_chain")[2]))
        end)

        it("run for what no route takes: 404 of the host, 421 of the site", function()
            local built = build { site = use }
            assert.same({ { 0, "", "", true }, { 0, "", "/*", false }, { -1, "", "", true } },
                built:calls("route"))
            assert.equal(404, built:value("set_route", 0, "status"))
            assert.equal(421, built:value("set_route", 2, "status"))
            assert.same({ "s1", "s2" }, built:runs(0, "access"))
            assert.same({ "s1", "s2" }, built:runs(2, "access"))
        end)

        it("leave out what a route skips", function()
            local built = build { site = use,
                route = 'rp.route { "/*", upstream = "api", skip = { "s1" } }' }
            assert.same({ "s2" }, built:runs(1, "access"))
            assert.is_nil(built:runs(1, "log"))
        end)

        it("are shared by routes that have the same", function()
            local built = build { site = use, route = 'rp.route { "/a", upstream = "api" },'
                .. 'rp.route { "/b", upstream = "api" }' }
            assert.equal(4, #built:calls("chain")) -- access, header_filter, log, early
        end)

        it("are not made where nothing is to run", function()
            local built = build()
            assert.is_nil(built:first("chain"))
            assert.is_nil(built:first("plugin"))
            assert.equal(1, #built:calls("route"))
        end)

        it("balance by a function, even without peers", function()
            local built = build { upstreams = "api = rp.upstream { balance = function() end }" }
            assert.equal(1, built:value("set_upstream", 0, "balance"))
            assert.same({ "balance:api" }, built:names(built:value("set_upstream", 0,
                "balance_chain")))
        end)
    end)

    describe("hooks of a worker's life", function()
        it("are handed over in the order of set-up", function()
            local built = build { site = [[use = { { name = "a", start = function() end,
                stop = function() end }, { name = "b", start = function() end } },]] }
            local life = built:first("lifecycle")[1]
            assert.same({ 0, 1 }, { life.start[1].plugin, life.start[2].plugin })
            assert.equal(1, #life.stop)
        end)

        it("run init with a view of the site when all is right", function()
            _G.seen_by_init = nil
            finally(function() _G.seen_by_init = nil end)
            build { site = "use = { { init = function(site) _G.seen_by_init = site end } }," }
            assert.same({ path = "site.lua", upstreams = { "api" }, hosts = { "default" } },
                _G.seen_by_init)
        end)

        it("report what init raises", function()
            assert.matches("^site.lua:2: plugin inline@site.lua:2: init raised: site.lua:2: boom",
                config.errors(config.minimal {
                    site = 'use = { { init = function() error("boom") end } },' }))
        end)
    end)
end)
