-- SPDX-License-Identifier: MIT
--
-- Headers: forwarding lists with and without trust, hop-by-hop fields, edits by configuration.

local e2e = require("spec.support.e2e")
local http = require("spec.support.http")
local origin = require("spec.support.origin")
local proc = require("spec.support.proc")
local protocol = require("spec.support.protocol")
local wire = require("spec.support.wire")

local ROUTES = [[
    upstreams = { o = rp.upstream { peers = { "127.0.0.1:${origin}" } } },
    hosts = { rp.host { default = true, routes = {
        rp.route { "/from", when = { source = { "9.9.9.9" } }, respond = { 200, "nine" } },
        rp.route { "/ip", content = function(req)
            return req:exit(200, req.remote_ip .. " " .. req.peer_ip)
        end },
        rp.route { "/*", upstream = "o" } } } },
]]

local function sent(req, name)
    return table.concat(e2e.values(req.fields, name), " | ")
end

describe("forwarding headers", function()
    local up
    local proxies = {}

    local SITES = {
        plain = ROUTES,
        trusting = 'trust = { "127.0.0.0/8", "10.0.0.0/8" },' .. ROUTES,
        rfc = 'forwarded = { "forwarded" },' .. ROUTES,
        rfc_trusting = 'forwarded = { "forwarded" }, trust = { "127.0.0.1" },' .. ROUTES,
        none = "forwarded = {}, via = false, server = false," .. ROUTES,
        none_trusting = 'forwarded = {}, trust = { "127.0.0.1" },' .. ROUTES,
        named = 'via = "edge-1", server = "edge",' .. ROUTES,
    }

    setup(function()
        up = origin.start { ["*"] = { status = 200, body = "ok" },
            ["/private"] = { status = 200, fields = { { "Connection", "x-hop, keep-alive" },
                { "Keep-Alive", "timeout=5" }, { "X-Hop", "1" }, { "X-Stay", "2" },
                { "Proxy-Authenticate", "Basic" }, { "Proxy-Connection", "keep-alive" },
                { "Upgrade", "h2c" } }, body = "ok" },
            ["/cookies"] = { status = 200, fields = { { "Set-Cookie", "a=1" },
                { "X-Between", "x" }, { "Set-Cookie", "b=2" } }, body = "ok" } }
        for name, site in pairs(SITES) do
            proxies[name] = e2e.proxy { vars = { origin = up.port }, site = site }
        end
    end)

    teardown(function()
        wire.close_all()
        for name, rp in pairs(proxies) do
            if name ~= "plain" then rp:stop() end
        end
        e2e.stop(proxies.plain)
    end)

    local function pass(name, fields, target)
        local res = http.get(proxies[name].port, target or "/x", fields)
        return e2e.last(up), res
    end

    it("say who asked, for what, and where", function()
        local got = pass("plain", { Host = "h.org:81" })
        assert.equal("127.0.0.1", sent(got, "x-forwarded-for"))
        assert.equal(protocol.scheme, sent(got, "x-forwarded-proto"))
        assert.equal("h.org:81", sent(got, "x-forwarded-host"))
        assert.equal(tostring(proxies.plain.port), sent(got, "x-forwarded-port"))
        assert.equal("", sent(got, "forwarded"))
        assert.equal(protocol.via .. " rproxy", sent(got, "via"))
    end)

    it("of a stranger are replaced", function()
        local got = pass("plain", { Host = "h.org", ["X-Forwarded-For"] = "6.6.6.6",
            ["X-Forwarded-Proto"] = "https", ["X-Forwarded-Host"] = "evil",
            ["X-Forwarded-Port"] = "1", Forwarded = "for=6.6.6.6" })
        assert.equal("127.0.0.1", sent(got, "x-forwarded-for"))
        assert.equal(protocol.scheme, sent(got, "x-forwarded-proto"))
        assert.equal("h.org", sent(got, "x-forwarded-host"))
        assert.equal(tostring(proxies.plain.port), sent(got, "x-forwarded-port"))
        assert.equal("", sent(got, "forwarded"))
    end)

    it("of a trusted client are continued", function()
        local got = pass("trusting", { Host = "h.org", ["X-Forwarded-For"] = "9.9.9.9, 10.1.1.1",
            ["X-Forwarded-Proto"] = "https", ["X-Forwarded-Host"] = "outer",
            ["X-Forwarded-Port"] = "443" })
        assert.equal("9.9.9.9, 10.1.1.1, 127.0.0.1", sent(got, "x-forwarded-for"))
        assert.equal("https", sent(got, "x-forwarded-proto"))
        assert.equal("outer", sent(got, "x-forwarded-host"))
        assert.equal("443", sent(got, "x-forwarded-port"))
    end)

    it("of a trusted client in several lines become one list", function()
        local got = pass("trusting", { { "X-Forwarded-For", "9.9.9.9" },
            { "X-Forwarded-For", "10.1.1.1" } })
        assert.same({ "9.9.9.9, 10.1.1.1, 127.0.0.1" }, e2e.values(got.fields, "x-forwarded-for"))
    end)

    it("of a trusted client that sends none begin here", function()
        local got = pass("trusting", { Host = "h.org" })
        assert.equal("127.0.0.1", sent(got, "x-forwarded-for"))
        assert.equal(protocol.scheme, sent(got, "x-forwarded-proto"))
        assert.equal("h.org", sent(got, "x-forwarded-host"))
    end)

    it("Forwarded says the same in one", function()
        local got = pass("rfc", { Host = "h.org:81" })
        assert.equal(("for=127.0.0.1;proto=%s;host=\"h.org:81\""):format(protocol.scheme),
            sent(got, "forwarded"))
        assert.equal("", sent(got, "x-forwarded-for"))
    end)

    it("Forwarded of a stranger is replaced, and the other lists go", function()
        local got = pass("rfc", { Host = "h.org", Forwarded = "for=6.6.6.6",
            ["X-Forwarded-For"] = "6.6.6.6" })
        assert.equal(("for=127.0.0.1;proto=%s;host=h.org"):format(protocol.scheme),
            sent(got, "forwarded"))
        assert.equal("", sent(got, "x-forwarded-for"))
    end)

    it("Forwarded of a trusted client is continued", function()
        local got = pass("rfc_trusting", { Host = "h.org", Forwarded = 'for="[2001:db8::1]:47"' })
        assert.equal(('for="[2001:db8::1]:47", for=127.0.0.1;proto=%s;host=h.org')
            :format(protocol.scheme), sent(got, "forwarded"))
    end)

    it("of a stranger go even when none is made", function()
        local got = pass("none", { ["X-Forwarded-For"] = "6.6.6.6", Forwarded = "for=6.6.6.6" })
        assert.equal("", sent(got, "x-forwarded-for"))
        assert.equal("", sent(got, "forwarded"))
        assert.equal("", sent(got, "via"))
    end)

    describe("on a unix socket", function()
        local rp, dir

        setup(function()
            dir = proc.temp_dir()
            rp = proc.rproxy { vars = { origin = up.port, sock = dir .. "/in.sock" }, ports = {},
                site = [[ return rp.site { workers = 1, listeners = { rp.listen { "unix:${sock}" } },
                    forwarded = { "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host",
                        "x-forwarded-port", "forwarded" }, ]] .. ROUTES .. " }" }
            proxies.unix = rp
            rp:wait_stderr("serving site=")
        end)

        it("name nobody and no port", function()
            local w = wire.connect(dir .. "/in.sock")
            http.request(w, { target = "/x", host = "h.org" })
            local got = e2e.last(up)
            assert.equal("unknown", sent(got, "x-forwarded-for"))
            assert.equal(("for=unknown;proto=%s;host=h.org"):format(protocol.scheme),
                sent(got, "forwarded"))
            assert.equal(protocol.scheme, sent(got, "x-forwarded-proto"))
            assert.same({}, e2e.values(got.fields, "x-forwarded-port"))
        end)
    end)

    it("of a trusted client pass when none is made", function()
        local got = pass("none_trusting", { ["X-Forwarded-For"] = "9.9.9.9" })
        assert.equal("9.9.9.9", sent(got, "x-forwarded-for"))
    end)

    -- ------------------------------------------------------------ the client's address

    it("the client is the other end of the connection", function()
        local _, res = pass("plain", { ["X-Forwarded-For"] = "9.9.9.9" }, "/ip")
        assert.equal("127.0.0.1 127.0.0.1", res.body)
    end)

    it("the client is the first address that is not trusted, from the right", function()
        local _, res = pass("trusting", { ["X-Forwarded-For"] = "1.1.1.1, 9.9.9.9, 10.1.1.1" },
            "/ip")
        assert.equal("9.9.9.9 127.0.0.1", res.body)
    end)

    it("the client is found in Forwarded, too", function()
        local _, res = pass("rfc_trusting",
            { Forwarded = 'for=1.1.1.1, for="[2001:db8::1]:47"' }, "/ip")
        assert.equal("2001:db8::1 127.0.0.1", res.body)
    end)

    it("routes see the client, not the connection", function()
        local _, res = pass("trusting", { ["X-Forwarded-For"] = "9.9.9.9" }, "/from")
        assert.equal("nine", res.body)
        _, res = pass("plain", { ["X-Forwarded-For"] = "9.9.9.9" }, "/from")
        assert.equal("ok", res.body)
    end)

    -- ------------------------------------------------------------ Via and Server

    it("Via is continued in both directions", function()
        local got = pass("plain", { Via = "1.0 first, 1.1 second" })
        assert.equal(("1.0 first, 1.1 second, %s rproxy"):format(protocol.via), sent(got, "via"))
    end)

    it("Via and Server have the names of the site", function()
        local got, res = pass("named")
        assert.equal(protocol.via .. " edge-1", sent(got, "via"))
        assert.equal(protocol.upstream_via .. " edge-1", res:header("via"))
        local _, own = pass("named", {}, "/ip")
        assert.equal("edge", own:header("server"))
        assert.is_nil(own:header("via"))
    end)

    it("Via and Server are absent where the site says false", function()
        local _, res = pass("none")
        assert.is_nil(res:header("via"))
        _, res = pass("none", {}, "/ip")
        assert.is_nil(res:header("server"))
    end)

    -- ------------------------------------------------------------ hop-by-hop

    it("hop-by-hop fields of a request stay here", function()
        protocol.only("h1 client", "Connection and what it names")
        local got = pass("plain", { { "Connection", "keep-alive, x-hop" }, { "X-Hop", "1" },
            { "X-Stay", "2" }, { "Keep-Alive", "timeout=5" }, { "Proxy-Connection", "keep-alive" },
            { "Proxy-Authorization", "Basic x" }, { "TE", "gzip" }, { "Upgrade", "h2c" } })
        for _, name in ipairs { "connection", "x-hop", "keep-alive", "proxy-connection",
            "proxy-authorization", "te", "upgrade" } do
            assert.equal("", sent(got, name), name)
        end
        assert.equal("2", sent(got, "x-stay"))
    end)

    it("hop-by-hop fields of a response stay here", function()
        protocol.only("h1 upstream", "Connection and what it names")
        local _, res = pass("plain", {}, "/private")
        for _, name in ipairs { "connection", "x-hop", "keep-alive", "proxy-connection",
            "upgrade" } do
            assert.is_nil(res:header(name), name)
        end
        assert.equal("2", res:header("x-stay"))
        assert.equal("Basic", res:header("proxy-authenticate"))
    end)

    it("all else goes up in order, names and values as sent", function()
        local got = pass("plain", { { "Host", "a" }, { "X-ONE", "1" }, { "x-two", "a  b" },
            { "X-One", "2" }, { "Accept", "*/*" }, { "X-Empty", "" } })
        local names = {}
        local function as_sent(name) return protocol.has_h2 and name:lower() or name end
        for i = 2, 6 do names[#names + 1] = as_sent(got.fields[i][1]) .. "=" .. got.fields[i][2] end
        assert.same({ as_sent("X-ONE") .. "=1", "x-two=a  b", as_sent("X-One") .. "=2",
            as_sent("Accept") .. "=*/*", as_sent("X-Empty") .. "=" }, names)
    end)

    it("repeated response fields stay apart and in order", function()
        local _, res = pass("plain", {}, "/cookies")
        assert.same({ "a=1", "b=2" }, res:all("set-cookie"))
    end)
end)

describe("header edits", function()
    local up, rp

    setup(function()
        up = origin.start { ["*"] = { status = 200, fields = { { "X-A", "theirs" },
            { "X-B", "theirs" }, { "X-B", "again" }, { "Server", "theirs" } }, body = "ok" } }
        rp = e2e.proxy { vars = { origin = up.port }, site = [[
            upstreams = { o = rp.upstream { peers = { "127.0.0.1:${origin}" } } },
            hosts = { rp.host { default = true, routes = {
                rp.route { "/request", upstream = "o", headers = { request = {
                    set = { ["x-set"] = "new", ["x-more"] = "m" }, add = { ["x-add"] = "two" },
                    remove = { "x-remove", "user-agent" } } } },
                rp.route { "/host", upstream = "o", headers = { request = {
                    set = { host = "inner.example" } } } },
                rp.route { "/response", upstream = "o", headers = { response = {
                    set = { ["x-a"] = "ours", ["x-new"] = "n" }, add = { ["x-b"] = "ours" },
                    remove = { "server" } } } },
                rp.route { "/own", respond = { 200, "own" }, headers = { response = {
                    set = { ["x-new"] = "n" }, remove = { "server" } } } },
                rp.route { "/*", upstream = "o" } } } },
        ]] }
    end)

    teardown(function() e2e.stop(rp) end)

    it("set replaces or adds, add adds, remove removes, on the way up", function()
        http.get(rp.port, "/request", { { "X-Set", "old" }, { "X-Set", "older" },
            { "X-Add", "one" }, { "X-Remove", "r" }, { "User-Agent", "u" } })
        local got = e2e.last(up)
        assert.same({ "new" }, e2e.values(got.fields, "x-set"))
        assert.same({ "m" }, e2e.values(got.fields, "x-more"))
        assert.same({ "one", "two" }, e2e.values(got.fields, "x-add"))
        assert.same({}, e2e.values(got.fields, "x-remove"))
        assert.same({}, e2e.values(got.fields, "user-agent"))
    end)

    it("may set Host", function()
        http.get(rp.port, "/host", { Host = "outer.example" })
        assert.same({ "inner.example" }, e2e.values(e2e.last(up).fields, "host"))
        assert.same({ "outer.example" }, e2e.values(e2e.last(up).fields, "x-forwarded-host"))
    end)

    it("work on the way back", function()
        local res = http.get(rp.port, "/response")
        assert.same({ "ours" }, res:all("x-a"))
        assert.same({ "n" }, res:all("x-new"))
        assert.same({ "theirs", "again", "ours" }, res:all("x-b"))
        assert.is_nil(res:header("server"))
    end)

    it("work on answers of our own", function()
        local res = http.get(rp.port, "/own")
        assert.equal("n", res:header("x-new"))
        assert.is_nil(res:header("server"))
    end)

    it("of one route leave others alone", function()
        local res = http.get(rp.port, "/x")
        assert.same({ "theirs" }, res:all("x-a"))
        assert.is_nil(res:header("x-new"))
    end)
end)
