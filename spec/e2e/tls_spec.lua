-- SPDX-License-Identifier: MIT

local e2e = require("spec.support.e2e")
local http = require("spec.support.http")
local origin = require("spec.support.origin")
local posix = require("spec.support.posix")
local proc = require("spec.support.proc")
local tls = require("spec.support.tls")
local wire = require("spec.support.wire")

describe("TLS of listeners", function()
    local dir, o, rp, plain

    lazy_setup(function()
        dir = tls.dir()
        plain = posix.free_port()
        tls.ca(dir, "ca")
        tls.cert(dir, "a", { ca = "ca", names = { "a.test", "*.w.test" } })
        tls.cert(dir, "b", { ca = "ca", names = { "b.test" }, kind = "rsa", together = true })
        o = origin.start { ["*"] = { status = 200, body = "ok" } }
        rp = e2e.proxy { vars = { certs = dir, origin = o.port, plain = plain },
            ports = { plain },
            site = [[
            timeouts = { tls_handshake = 2 },
            log = { error = { level = "info" } },
            tls = { certs = { "${certs}/a.pem", "${certs}/b.pem" } },
            listeners = { rp.listen { "127.0.0.1:${port}", tls = true },
                rp.listen { "127.0.0.1:${plain}" } },
            upstreams = { o = rp.upstream { peers = { "127.0.0.1:${origin}" } } },
            hosts = { rp.host { default = true, routes = {
                rp.route { "/hello", respond = { 200, "hello" } },
                rp.route { "/*", upstream = "o", limits = { body = 0 } } } } },]] }
    end)
    lazy_teardown(function() e2e.stop(rp) end)

    it("serves HTTP/1.1 over TLS 1.3 and 1.2", function()
        for version, name in pairs { ["1.2"] = "TLSv1.2", ["1.3"] = "TLSv1.3" } do
            local c = tls.connect(rp.port, { sni = "a.test", versions = version,
                ca = dir .. "/ca.pem" })
            assert.equal(name, c.version)
            local status, body = c:get("/hello")
            assert.same({ 200, "hello" }, { status, body })
            c:close()
        end
    end)

    it("keeps connections, and takes pipelined requests", function()
        local c = tls.connect(rp.port, { sni = "a.test" })
        for _ = 1, 3 do assert.equal(200, (c:get("/hello"))) end
        local one = "GET /hello HTTP/1.1\r\nHost: a.test\r\n\r\n"
        c:send(one .. one .. one)
        for _ = 1, 3 do
            c:recv_until("\r\n\r\n")
            assert.equal("hello", c:recv(5))
        end
        c:close()
    end)

    it("chooses the certificate by name, and the first one for other names and none", function()
        for name, cn in pairs { ["a.test"] = "a.test", ["b.test"] = "b.test", ["B.TEST"] = "b.test",
            ["x.w.test"] = "a.test", ["other.test"] = "a.test", ["x.y.w.test"] = "a.test" } do
            local c = tls.connect(rp.port, { sni = name })
            assert.equal(cn, c.peer, name)
            assert.equal(200, (c:get("/hello")))
            c:close()
        end
        local c = tls.connect(rp.port, {})
        assert.equal("a.test", c.peer)
        c:close()
    end)

    it("tells the upstream that the client came by https", function()
        local c = tls.connect(rp.port, { sni = "a.test" })
        assert.equal(200, (c:get("/echo")))
        assert.equal("https", e2e.field(e2e.last(o), "x-forwarded-proto"))
        c:close()
    end)

    it("agrees on http/1.1 and refuses a client that speaks neither of ours", function()
        local c = tls.connect(rp.port, { sni = "a.test", alpn = { "foo", "http/1.1" } })
        assert.equal("http/1.1", c.alpn)
        c:close()
        local none, why = tls.connect(rp.port, { alpn = { "foo" }, may_fail = true })
        assert.is_nil(none)
        assert.truthy(why:find("no application protocol"), why)
    end)

    it("ends a connection with close_notify", function()
        local c = tls.connect(rp.port, { sni = "a.test" })
        c:send("GET /hello HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
        local text, how = c:recv_all()
        assert.truthy(text:find("hello", 1, true))
        assert.equal("closed", how)
        c:close()
    end)

    it("takes a handshake and a request that come byte by byte", function()
        local c = tls.connect(rp.port, { sni = "a.test", piece = 1, piece_in = 1 })
        assert.equal(200, (c:get("/hello")))
        c:close()
    end)

    it("goes on after the client changes its keys", function()
        local c = tls.connect(rp.port, { sni = "a.test", versions = "1.3" })
        assert.equal(200, (c:get("/hello")))
        c:key_update()
        assert.equal(200, (c:get("/hello")))
        assert.equal(200, (c:get("/hello")))
        c:close()
    end)

    it("answers plain HTTP with 400, in plain HTTP", function()
        local w = wire.connect(rp.port)
        w:send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
        local text = w:recv_all()
        assert.truthy(text:find("^HTTP/1.1 400 Bad Request\r\n"))
        assert.truthy(text:find("plain HTTP request was sent to an HTTPS port", 1, true))
        w:close()
    end)

    it("closes on garbage, and says why in the log, without a line for each", function()
        for _ = 1, 20 do
            local w = wire.connect(rp.port)
            w:send(("\22\3\1\255\255"):rep(40))
            w:recv_all()
            w:close()
        end
        local line = rp:wait_stderr("[^\n]*reason=tls_handshake[^\n]*")
        assert.truthy(line:find("error=", 1, true))
        local n = select(2, rp:stderr():gsub("reason=tls_handshake", ""))
        assert.is_true(n < 10, n .. " lines")
    end)

    it("closes a handshake that is not done in time", function()
        local w = wire.connect(rp.port)
        w:send("\22\3\1\1\0") -- the head of a record, and nothing more
        local _, how = w:recv_all(20)
        assert.equal("closed", how)
        rp:wait_stderr("reason=tls_timeout")
        w:close()
    end)

    it("passes a WebSocket through", function()
        local up = e2e.listen()
        rp:write_site(([[return rp.site { workers = 1, tls = { certs = { "${certs}/a.pem" } },
            listeners = { rp.listen { "127.0.0.1:${port}", tls = true },
                rp.listen { "127.0.0.1:${plain}" } },
            upstreams = { w = rp.upstream { peers = { "127.0.0.1:%d" } } },
            hosts = { rp.host { default = true, routes = { rp.route { "/*", upstream = "w" } } } }
            }]]):format(up.port))
        local c = tls.connect(rp.port, { sni = "a.test" })
        rp:signal("HUP")
        rp:wait_stderr("generation=2")
        c:send("GET /ws HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            .. "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
        local u = up:accept()
        e2e.head(u)
        u:send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            .. "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n\129\2hi")
        assert.truthy(c:recv_until("\r\n\r\n"):find("101", 1, true))
        assert.equal("\129\2hi", c:recv(4))
        c:send("\129\130\0\0\0\0yo")
        assert.equal("\129\130\0\0\0\0yo", u:recv(8))
        u:close()
        c:recv_all()
        c:close()
        up:close()
    end)
end)

describe("TLS and large bodies", function()
    local dir, up, rp

    lazy_setup(function()
        dir = tls.dir()
        tls.cert(dir, "a", { names = { "a.test" } })
        up = e2e.listen()
        rp = e2e.proxy { vars = { certs = dir, up = up.port, plain = posix.free_port() }, site = [[
            tls = { certs = { "${certs}/a.pem" } },
            listeners = { rp.listen { "127.0.0.1:${port}", tls = true } },
            upstreams = { o = rp.upstream { peers = { "127.0.0.1:${up}" } } },
            hosts = { rp.host { default = true, routes = {
                rp.route { "/*", upstream = "o", limits = { body = 0 } } } } },]] }
    end)
    lazy_teardown(function()
        up:close()
        e2e.stop(rp)
    end)

    -- Blocks of their own, so that a piece that is lost, doubled or moved shows.
    local BLOCK = 64 * 1024
    local function block(i)
        return (("%08d"):format(i)):rep(BLOCK / 8)
    end

    local function checker()
        local held, at = "", 0
        return function(part)
            held = held .. part
            while #held >= BLOCK do
                if held:sub(1, BLOCK) ~= block(at) then error("block " .. at .. " differs", 0) end
                held, at = held:sub(BLOCK + 1), at + 1
            end
        end, function() return at, #held end
    end

    it("brings 100 MB to a client that reads in small buffers", function()
        local n = e2e.is_debug and 160 or 1600
        local c = tls.connect(rp.port, { sni = "a.test", rcvbuf = 8192, piece_in = 5000,
            timeout = 60 })
        c:send("GET /big HTTP/1.1\r\nHost: a.test\r\n\r\n")
        local u = up:accept()
        e2e.head(u)
        u:send(("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"):format(n * BLOCK))
        u.sock:settimeout(0)
        c:recv_until("\r\n\r\n")
        local check, count = checker()
        local pending, next_block, got = "", 0, 0
        while got < n * BLOCK do
            while next_block < n do
                if pending == "" then pending = block(next_block) end
                local sent, _, part = u.sock:send(pending)
                pending = pending:sub((sent or part or 0) + 1)
                if pending ~= "" then break end
                next_block = next_block + 1
            end
            got = got + c:drain(math.min(200000, n * BLOCK - got), check)
        end
        assert.same({ n, 0 }, { count() })
        u:close()
        c:close()
    end)

    it("takes 100 MB from a client", function()
        local n = e2e.is_debug and 160 or 1600
        local c = tls.connect(rp.port, { sni = "a.test", timeout = 60 })
        c:send(("PUT /big HTTP/1.1\r\nHost: a.test\r\nContent-Length: %d\r\n\r\n"):format(n * BLOCK)
            .. block(0))
        local u = up:accept()
        e2e.head(u)
        local check, count = checker()
        local function read(limit)
            u.sock:settimeout(limit)
            local bytes, _, part = u.sock:receive(1024 * 1024)
            check(bytes or part)
        end
        check(u.buf)
        u.buf = ""
        for i = 1, n - 1 do
            c.opt.turn = function() read(0) end
            c:send(block(i))
        end
        c.opt.turn = nil
        posix.poll(function()
            read(0.05)
            return count() == n
        end, 60)
        assert.same({ n, 0 }, { count() })
        u:send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        c:recv_until("\r\n\r\n")
        assert.equal("ok", c:recv(2))
        u:close()
        c:close()
    end)
end)

describe("TLS to upstreams", function()
    local dir

    local SITE = [[
        tls = { certs = { "${certs}/good.pem" } },
        listeners = { rp.listen { "127.0.0.1:${port}" }, rp.listen { "127.0.0.1:${tls}", tls = true },
            rp.listen { "127.0.0.1:${wrong}", tls = { certs = { "${certs}/wrong.pem" } } },
            rp.listen { "127.0.0.1:${old}", tls = { certs = { "${certs}/old.pem" } } },
            rp.listen { "127.0.0.1:${self}", tls = { certs = { "${certs}/self.pem" } } },
            rp.listen { "127.0.0.1:${asks}", tls = { client = { verify = "required",
                ca = "${certs}/ca.pem" } } } },
        streams = { rp.stream { "127.0.0.1:${stream}", upstream = "good" },
            rp.stream { "127.0.0.1:${ended}", tls = true, sni = { ["good.test"] = "selfplain",
                default = "raw" } },
            rp.stream { "127.0.0.1:${badstream}", upstream = "wrong" } },
        upstreams = {
            good = rp.upstream { peers = { "127.0.0.1:${tls}" }, tls = { ca = "${certs}/ca.pem",
                name = "good.test" } },
            ip = rp.upstream { peers = { "127.0.0.1:${tls}" }, tls = { ca = "${certs}/ca.pem" } },
            wrong = rp.upstream { peers = { "127.0.0.1:${wrong}" }, tls = {
                ca = "${certs}/ca.pem", name = "good.test" } },
            old = rp.upstream { peers = { "127.0.0.1:${old}" }, tls = { ca = "${certs}/ca.pem",
                name = "good.test" } },
            self = rp.upstream { peers = { "127.0.0.1:${self}" }, tls = { ca = "${certs}/ca.pem",
                name = "good.test" } },
            system = rp.upstream { peers = { "127.0.0.1:${tls}" }, tls = { name = "good.test" } },
            any = rp.upstream { peers = { "127.0.0.1:${self}" }, tls = { verify = false } },
            known = rp.upstream { peers = { "127.0.0.1:${asks}" }, tls = { ca = "${certs}/ca.pem",
                name = "good.test", cert = "${certs}/me.pem", key = "${certs}/me.key" } },
            unknown = rp.upstream { peers = { "127.0.0.1:${asks}" }, tls = {
                ca = "${certs}/ca.pem", name = "good.test" } },
            selfplain = rp.upstream { peers = { "127.0.0.1:${port}" } },
            plain = rp.upstream { peers = { "127.0.0.1:${port}" }, tls = { verify = false } },
            raw = rp.upstream { peers = { "127.0.0.1:${raw}" }, tls = { verify = false } },
            mute = rp.upstream { peers = { "127.0.0.1:${raw}" }, tls = { verify = false },
                timeouts = { connect = 0.3 }, tries = 1 },
        },
        hosts = { rp.host { default = true, routes = {
            rp.route { "/hello", respond = { 200, "hello" } },
            rp.route { "/good/*", upstream = "good", strip_prefix = "/good" },
            rp.route { "/ip/*", upstream = "ip", strip_prefix = "/ip" },
            rp.route { "/wrong/*", upstream = "wrong", strip_prefix = "/wrong" },
            rp.route { "/old/*", upstream = "old", strip_prefix = "/old" },
            rp.route { "/self/*", upstream = "self", strip_prefix = "/self" },
            rp.route { "/system/*", upstream = "system", strip_prefix = "/system" },
            rp.route { "/any/*", upstream = "any", strip_prefix = "/any" },
            rp.route { "/known/*", upstream = "known", strip_prefix = "/known" },
            rp.route { "/unknown/*", upstream = "unknown", strip_prefix = "/unknown" },
            rp.route { "/plain/*", upstream = "plain", strip_prefix = "/plain" },
            rp.route { "/mute/*", upstream = "mute" },
            rp.route { "/raw/*", upstream = "raw", strip_prefix = "/raw" } } } },]]

    local rp, raw

    lazy_setup(function()
        dir = tls.dir()
        raw = e2e.listen()
        tls.ca(dir, "ca")
        tls.cert(dir, "good", { ca = "ca", names = { "good.test" } })
        tls.cert(dir, "wrong", { ca = "ca", names = { "wrong.test" } })
        tls.cert(dir, "old", { ca = "ca", names = { "good.test" }, expired = true })
        tls.cert(dir, "self", { names = { "good.test" } })
        tls.cert(dir, "me", { ca = "ca", names = { "me.test" } })
        local vars = { certs = dir, raw = raw.port }
        for _, name in ipairs { "tls", "wrong", "old", "self", "asks", "stream", "badstream",
            "ended" } do
            vars[name] = posix.free_port()
        end
        rp = e2e.proxy { vars = vars, site = SITE }
    end)
    lazy_teardown(function()
        raw:close()
        e2e.stop(rp)
    end)

    it("verifies by the name that was given", function()
        assert.same({ 200, "hello" }, { http.get(rp.port, "/good/hello").status,
            http.get(rp.port, "/good/hello").body })
    end)

    it("keeps connections and resumes sessions", function()
        for _ = 1, 5 do assert.equal(200, http.get(rp.port, "/good/hello").status) end
    end)

    local REFUSED = { ip = "IP address mismatch", wrong = "hostname mismatch",
        old = "certificate has expired", self = "self%-signed certificate",
        system = "unable to get local issuer certificate" }
    for name, words in pairs(REFUSED) do
        it("refuses a certificate: " .. name, function()
            assert.equal(502, http.get(rp.port, "/" .. name .. "/hello").status)
            rp:wait_stderr("certificate is not accepted upstream=" .. name
                .. " [^\n]*error=\"" .. words)
        end)
    end

    it("is spoken for streams too", function()
        assert.equal("hello", http.get(rp.vars.stream, "/hello").body)
        local w = wire.connect(rp.vars.badstream)
        w:recv_all()
        w:close()
        rp:wait_stderr('not accepted upstream=wrong [^\n]*error="hostname mismatch"[^\n]*listener=')
    end)

    it("is ended by streams, which go by its name", function()
        local c = tls.connect(rp.vars.ended, { sni = "good.test", alpn = { "whatever" } })
        assert.is_nil(c.alpn)
        local status, body = c:get("/hello")
        assert.same({ 200, "hello" }, { status, body })
        c:send("GET /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert.same("closed", select(2, c:recv_all()))
        c:close()
    end)

    it("verifies nothing when told so", function()
        assert.equal(200, http.get(rp.port, "/any/hello").status)
    end)

    it("shows its own certificate where one is asked for", function()
        assert.equal(200, http.get(rp.port, "/known/hello").status)
        assert.equal(502, http.get(rp.port, "/unknown/hello").status)
    end)

    it("answers 502 when the peer does not speak TLS", function()
        assert.equal(502, http.get(rp.port, "/plain/hello").status)
        rp:wait_stderr("TLS handshake with the upstream failed upstream=plain")
    end)

    it("counts the handshake within the connect timeout", function()
        local w = wire.connect(rp.port)
        w:send("GET /mute/x HTTP/1.1\r\nHost: a\r\n\r\n")
        local u = raw:accept() -- and says nothing
        assert.truthy(e2e.head(w):find("^HTTP/1.1 504"))
        u:close()
        w:close()
    end)

    -- A server of ours that answers without a length and ends as the spec says.
    local function answer(how)
        local w = wire.connect(rp.port)
        w:send("GET /raw/x HTTP/1.1\r\nHost: a\r\n\r\n")
        local u = raw:accept()
        local e = tls.over(u.sock:getfd(), { server = true, cert = dir .. "/good.pem",
            key = dir .. "/good.key" })
        assert(e:handshake())
        e:recv_until("\r\n\r\n")
        e:send("HTTP/1.1 200 OK\r\n\r\nall of it")
        if how == "notify" then e:notify() end
        u:close()
        local text = how == "notify" and w:recv_until("0\r\n\r\n") or w:recv_all()
        w:close()
        return text
    end

    it("takes a body that ends with close_notify for whole", function()
        local text = answer("notify")
        assert.truthy(text:find("all of it\r\n0\r\n\r\n", 1, true))
    end)

    it("does not take a body that was cut off for whole", function()
        local text = answer("cut")
        assert.is_nil(text:find("\r\n0\r\n\r\n", 1, true))
    end)
end)

describe("sessions of TLS", function()
    local dir, rp

    local SITE = [[ return rp.site { workers = 2,
        tls = { certs = { "${certs}/a.pem" } },
        listeners = { rp.listen { "127.0.0.1:${port}", tls = true } },
        hosts = { rp.host { default = true, routes = { rp.route { "/*", respond = { 200, "ok" } }
            } } } }]]

    lazy_setup(function()
        dir = tls.dir()
        tls.cert(dir, "a", { names = { "a.test" } })
        rp = proc.rproxy { vars = { certs = dir }, site = SITE }
    end)
    lazy_teardown(function() e2e.stop(rp) end)

    local function session(version)
        local c = tls.connect(rp.port, { sni = "a.test", versions = version })
        assert.equal(200, (c:get("/"))) -- tickets came before it
        local s = assert(c:session())
        c:close()
        return s
    end

    -- Connections go to either worker: of ten, hardly all meet the one that gave the ticket.
    local function resumes(s, version)
        for _ = 1, version == "1.3" and 1 or 10 do
            local c = tls.connect(rp.port, { sni = "a.test", versions = version, session = s })
            assert.is_true(c.resumed)
            assert.equal(200, (c:get("/")))
            s = version == "1.3" and assert(c:session()) or s
            c:close()
        end
        return s
    end

    for _, version in ipairs { "1.2", "1.3" } do
        it("go on in every worker, TLS " .. version, function()
            local s = session(version)
            for _ = 1, 10 do s = resumes(s, version) end
        end)
    end

    it("go on after a reload, and after a worker died", function()
        local old, new = session("1.2"), session("1.3")
        rp:signal("HUP")
        rp:wait_stderr("generation=2")
        old, new = resumes(old, "1.2"), resumes(new, "1.3")
        local workers = posix.tree(rp.pid)
        posix.kill(workers[2], "KILL")
        rp:wait_stderr("worker died")
        posix.poll(function() return #posix.tree(rp.pid) >= #workers end, 30)
        resumes(old, "1.2")
        resumes(new, "1.3")
    end)
end)

describe("certificates", function()
    local dir

    local function check(site, opt)
        local d = proc.temp_dir()
        posix.write_file(d .. "/site.lua", 'local rp = require("rproxy")\nreturn rp.site {\n'
            .. site .. '\nlisteners = { rp.listen { "127.0.0.1:1", tls = true } },\n'
            .. 'hosts = { rp.host { default = true, routes = { rp.route { "/", respond = { 200 } '
            .. "} } } } }")
        local how, out, err = proc.run({ os.getenv("RP_BIN") or "build/rproxy", "-t", "-p",
            d .. "/site.lua" }, opt)
        return how.exit, out .. err
    end

    lazy_setup(function()
        dir = tls.dir()
        tls.cert(dir, "a", { names = { "a.test" } })
        tls.cert(dir, "old", { names = { "old.test" }, expired = true })
        posix.write_file(dir .. "/empty.pem", "nothing\n")
    end)
    lazy_teardown(proc.cleanup)

    local function wrong(tls_text, words)
        local exit, text = check(("tls = %s,"):format(tls_text:gsub("DIR", dir)))
        assert.equal(1, exit, text)
        assert.truthy(text:find("site.lua:3: ", 1, true), text)
        assert.truthy(text:find(words, 1, true), text)
    end

    it("are missed with the place of the option", function()
        wrong('{ certs = { "DIR/none.pem" } }', "none.pem: cannot be read: no such file")
        wrong('{ certs = { "DIR/empty.pem" } }', "there is no")
        wrong('{ certs = { "DIR/none*.pem" } }', "no such file")
        wrong('{ certs = { "DIR/empty*.pem" } }', "none of these files holds a certificate")
        wrong("{ certs = {} }", "expected a list of files")
        wrong("{}", "tls.certs: no certificate")
        wrong('{ certs = { { cert = "DIR/a.pem", key = "DIR/old.key" } } }',
            "the private key does not belong to the certificate")
        wrong('{ certs = { "DIR/a.pem" }, client = { verify = "required" } }', "tls.client.ca")
        wrong('{ certs = { "DIR/a.pem" }, profil = "modern" }', "profile")
    end)

    it("that have expired are used, with a warning", function()
        local exit, text = check(('tls = { certs = { "%s/old.pem" } },'):format(dir))
        assert.equal(0, exit, text)
        assert.truthy(text:find("certificate has expired file=" .. dir .. "/old.pem", 1, true), text)
    end)

    it("are no certificates for everybody when default is refuse", function()
        local rp = e2e.proxy { vars = { certs = dir }, site = [[
            tls = { certs = { "${certs}/a*.pem" }, default = "refuse" },
            listeners = { rp.listen { "127.0.0.1:${port}", tls = true } },
            hosts = { rp.host { default = true, routes = {
                rp.route { "/*", respond = { 200, "ok" } } } } },]] }
        local c = tls.connect(rp.port, { sni = "a.test" })
        assert.equal(200, (c:get("/")))
        c:close()
        for _, name in ipairs { "b.test", false } do
            local none, why = tls.connect(rp.port, { sni = name or nil, may_fail = true })
            assert.is_nil(none)
            assert.truthy(why:find("unrecognized name"), why)
        end
        rp:stop()
    end)

    it("are read again by a reload, and a broken one changes nothing", function()
        local d = tls.dir()
        tls.cert(d, "a", { names = { "a.test" }, cn = "first" })
        local rp = e2e.proxy { vars = { certs = d }, site = [[
            tls = { certs = { "${certs}/*.pem" } },
            listeners = { rp.listen { "127.0.0.1:${port}", tls = true } },
            hosts = { rp.host { default = true, routes = {
                rp.route { "/*", respond = { 200, "ok" } } } } },]] }
        local function seen()
            local c = tls.connect(rp.port, { sni = "a.test" })
            local cn = c.peer
            c:close()
            return cn
        end
        assert.equal("first", seen())
        tls.cert(d, "a", { names = { "a.test" }, cn = "second" })
        rp:signal("HUP")
        rp:wait_stderr("generation=2")
        assert.equal("second", seen())
        posix.write_file(d .. "/a.key", "broken")
        rp:signal("HUP")
        rp:wait_stderr("there is no private key in it")
        assert.equal("second", seen())
        rp:stop()
    end)

    it("of both kinds serve the clients that can verify one", function()
        local d = tls.dir()
        tls.cert(d, "ec", { names = { "a.test" } })
        tls.cert(d, "rsa", { names = { "a.test" }, kind = "rsa" })
        local rp = e2e.proxy { vars = { certs = d }, site = [[
            tls = { certs = { "${certs}/*.pem" } },
            listeners = { rp.listen { "127.0.0.1:${port}", tls = true } },
            hosts = { rp.host { default = true, routes = {
                rp.route { "/*", respond = { 200, "ok" } } } } },]] }
        for _, kind in ipairs { "ECDSA", "RSA" } do
            local c = tls.connect(rp.port, { sni = "a.test", versions = "1.2",
                ciphers = "ECDHE-" .. kind .. "-AES128-GCM-SHA256" })
            assert.equal(200, (c:get("/")))
            c:close()
        end
        rp:stop()
    end)
end)
