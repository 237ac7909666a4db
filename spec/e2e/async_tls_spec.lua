-- SPDX-License-Identifier: MIT
--
-- Sockets and HTTP clients of hooks over TLS and HTTP/2: who is believed, what is spoken, what is kept.

local e2e = require("spec.support.e2e")
local http = require("spec.support.http")
local posix = require("spec.support.posix")
local tls = require("spec.support.tls")
local wire = require("spec.support.wire")

local BEFORE = [==[
    local NEW, OLD, PLAIN = "localhost:${new}", "localhost:${old}", "localhost:${plain}"
    local trusted = rp.tls { ca = "${certs}/ca.pem" }
    local clients = {
        default = rp.http.client { tls = true },
        loose = rp.http.client { tls = { verify = false } },
        good = rp.http.client { tls = trusted },
        named = rp.http.client { tls = { ca = "${certs}/ca.pem", name = "localhost" } },
        other = rp.http.client { tls = { ca = "${certs}/ca.pem", name = "other.test" } },
        ours = rp.http.client { tls = { ca = "${certs}/ca.pem", cert = "${certs}/me.pem",
            key = "${certs}/me.key" } },
        two = rp.http.client { tls = trusted, http = "2" },
        auto = rp.http.client { tls = trusted, http = "auto" },
        clear = rp.http.client { http = "2" },
        fresh = rp.http.client { http = "2", tls = { ca = "${certs}/ca.pem", sni = "localhost" } },
    }
    local function ask(req)
        local client = clients[req:arg("client") or "good"]
        local place = ({ new = "https://" .. NEW, old = "https://" .. OLD,
            ip = "https://127.0.0.1:${new}", plain = "https://" .. PLAIN,
            clear = "http://" .. PLAIN, mutual = "https://localhost:${mutual}" })[req:arg("to") or "new"]
        local res, err, detail = client:get(place .. (req:arg("path") or "/"))
        return req:exit(200, res and res.status .. " " .. res.body or err .. " " .. detail)
    end
    local function tcp(opts)
        opts.timeout = 10
        local s, err, detail = rp.tcp.connect(opts)
        if not s then return err, detail end
        assert(s:write("GET /conn HTTP/1.1\r\nHost: localhost\r\n\r\n"))
        local head = assert(s:read_until("\r\n\r\n"))
        local body = assert(s:read(tonumber(head:lower():match("content%-length: (%d+)"))))
        return s.reused .. " " .. body:match("^(%S+)"), nil, s
    end
]==]

local FRONT = [==[
    hosts = { rp.host { default = true, routes = {
        rp.route { "/http", content = ask },
        rp.route { "/tcp", content = function(req)
            local a, _, s = tcp { host = "localhost", port = ${old}, tls = trusted }
            local b = s:release()
            local c = tcp { host = "localhost", port = ${old}, tls = trusted }
            local d = tcp { host = "localhost", port = ${old}, tls = { verify = false } }
            local e = tcp { host = "localhost", port = ${old}, tls = true }
            local f = tcp { host = "127.0.0.1", port = ${old}, tls = trusted }
            local g = tcp { host = "localhost", port = ${plain}, tls = trusted }
            return req:exit(200, table.concat({ a, tostring(b), c, d, e, f, g }, "|"))
        end },
        rp.route { "/file", content = function(req)
            local _, err = pcall(rp.tls, { ca = "${certs}/ca.pem", sni = "x" })
            return req:exit(200, err)
        end },
        rp.route { "/many", content = function(req)
            local list, client = {}, clients[req:arg("client")]
            for i = 1, 20 do
                list[i] = function()
                    return client:get("https://" .. NEW .. (req:arg("path") or "/slow"))
                end
            end
            local words = {}
            for i, res in ipairs(assert(rp.all(list))) do words[i] = res.body end
            return req:exit(200, table.concat(words, " "))
        end },
        rp.route { "/post", content = function(req)
            local res, err = clients[req:arg("client")]:post("https://" .. NEW .. "/echo",
                ("x"):rep(3e5))
            return req:exit(200, res and ("%d %d %s"):format(res.status, #res.body,
                tostring(res.trailers)) or err)
        end },
    } } } ]==]

local BACK = [==[
    http2 = { on = true },
    limits = { body = "1m" },
    tls = { certs = { "${certs}/a.pem" } },
    listeners = { rp.listen { "127.0.0.1:${port}" }, rp.listen { "127.0.0.1:${new}", tls = true },
        rp.listen { "127.0.0.1:${old}", tls = { certs = { "${certs}/a.pem" },
            alpn = { "http/1.1" } } },
        rp.listen { "127.0.0.1:${mutual}", tls = { certs = { "${certs}/a.pem" },
            client = { verify = "required", ca = "${certs}/ca.pem" } } } },
    hosts = { rp.host { default = true, routes = {
        rp.route { "/conn", content = function(req)
            return req:exit(200, req.conn.id .. " connection") end },
        rp.route { "/who", content = function(req)
            return req:exit(200, req.conn.tls.client_cert.subject) end },
        rp.route { "/slow", content = function(req) rp.sleep(0.01) return req:exit(200, req.version) end },
        rp.route { "/echo", content = function(req) return req:exit(200, (req:body())) end },
        rp.route { "/*", content = function(req) return req:exit(200, req.version) end } } } } ]==]

describe("hooks that speak TLS", function()
    local back, rp

    setup(function()
        local dir = tls.dir()
        tls.ca(dir, "ca")
        tls.cert(dir, "a", { ca = "ca", names = { "localhost" } })
        tls.cert(dir, "me", { ca = "ca", names = { "me.test" } })
        local new, old, mutual = posix.free_port(), posix.free_port(), posix.free_port()
        local vars = { certs = dir, new = new, old = old, mutual = mutual }
        back = e2e.proxy { vars = vars, ports = { new, old, mutual }, site = BACK }
        vars.plain = back.port
        rp = e2e.proxy { vars = vars, before = BEFORE, site = FRONT }
    end)
    teardown(function()
        wire.close_all()
        back:stop()
        e2e.stop(rp)
    end)
    after_each(wire.close_all)

    local function ask(query)
        return http.get(rp.port, "/http?" .. query).body
    end

    it("verify by default, by the system's authorities", function()
        assert.matches("^tls_verify ", ask("client=default"))
        assert.equal("200 1.1", ask("client=loose"))
        assert.equal("200 1.1", ask("client=good"))
    end)

    it("verify the name that they asked for", function()
        assert.matches("^tls_verify ", ask("client=good&to=ip"))
        assert.equal("200 1.1", ask("client=named&to=ip"))
        assert.matches("^tls_verify ", ask("client=other"))
    end)

    it("show a certificate of their own where one is wanted", function()
        assert.equal("200 CN=me", ask("client=ours&to=mutual&path=/who"):gsub("me%.test", "me") .. "")
        assert.not_matches("^200", ask("client=good&to=mutual&path=/who"))
    end)

    it("fail where TLS is not spoken", function()
        assert.matches("^tls_handshake ", ask("client=good&to=plain"))
    end)

    it("speak HTTP/2 where both want it", function()
        for _ = 1, 3 do
            assert.equal("200 2", ask("client=two"))
            assert.equal("200 2", ask("client=auto"))
            assert.equal("200 1.1", ask("client=auto&to=old"))
            assert.equal("200 1.1", ask("client=good"))
        end
        assert.matches("no application protocol", ask("client=two&to=old"))
    end)

    it("speak HTTP/2 without TLS where they are told to", function()
        for _ = 1, 3 do assert.equal("200 2", ask("client=clear&to=clear")) end
    end)

    it("make many requests at once, in both protocols", function()
        assert.equal(("2 "):rep(20):sub(1, -2), http.get(rp.port, "/many?client=two").body)
        assert.equal(("2 "):rep(20):sub(1, -2), http.get(rp.port, "/many?client=auto").body)
        assert.equal(("1.1 "):rep(20):sub(1, -2), http.get(rp.port, "/many?client=good").body)
    end)

    it("make one connection for a burst of requests in HTTP/2", function()
        local first
        for id in http.get(rp.port, "/many?client=fresh&path=/conn").body:gmatch("(%d+) connection") do
            first = first or id
            assert.equal(first, id)
        end
        assert.truthy(first)
    end)

    it("send bodies, in both protocols", function()
        assert.equal("200 300000 nil", http.get(rp.port, "/post?client=two").body)
        assert.equal("200 300000 nil", http.get(rp.port, "/post?client=good").body)
    end)

    it("keep sockets by what they were made with", function()
        local a, kept, c, d, e, f, g = unpack((function()
            local words = {}
            for word in http.get(rp.port, "/tcp").body:gmatch("[^|]+") do words[#words + 1] = word end
            return words
        end)())
        local conn = a:match("^0 (%d+)$")
        assert.truthy(conn, a)
        assert.equal("true", kept)
        assert.equal("1 " .. conn, c)
        assert.matches("^0 %d+$", d)
        assert.equal("tls_verify", e)
        assert.equal("tls_verify", f)
        assert.equal("tls_handshake", g)
    end)

    it("read files only while the site is loaded", function()
        assert.matches("ca.pem: files are read while the site is loaded", http.get(rp.port, "/file").body)
    end)
end)
