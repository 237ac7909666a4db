-- SPDX-License-Identifier: MIT
--
-- Hooks of TLS handshakes: tls_hello decides about a client by its ClientHello, certificate gives the
-- certificate that it gets; both may wait.

local e2e = require("spec.support.e2e")
local hello = require("spec.support.tls_hello")
local posix = require("spec.support.posix")
local proc = require("spec.support.proc")
local process = require("spec.support.process")
local tls = require("spec.support.tls")
local wire = require("spec.support.wire")

local function count(rp, name)
    return tonumber(process.must(rp, "status"):match("\n" .. name .. ": (%d+)\n"))
end

-- Why a handshake fails.
local function refused(port, opt)
    opt.may_fail = true
    local c, why = tls.connect(port, opt)
    assert.is_nil(c, "the handshake went well")
    return why
end

-- The first alert that comes in the clear on a wire: its number.
local function alert(w)
    local bytes = w:recv(7)
    assert.equal("\21\3\3\0\2\2", bytes:sub(1, 6))
    return bytes:byte(7)
end

describe("tls_hello", function()
    local dir, rp, plain, parked

    -- A site of one hook (text); every answer tells what it left in req.conn.ctx.
    lazy_setup(function()
        dir, plain = tls.dir(), posix.free_port()
        parked = e2e.listen()
        tls.ca(dir, "ca")
        tls.cert(dir, "a", { ca = "ca", names = { "a.test" } })
        tls.cert(dir, "b", { ca = "ca", names = { "b.test" } })
        tls.cert(dir, "me", { ca = "ca", names = { "me.test" } })
        rp = e2e.proxy { vars = { certs = dir, plain = plain, parked = parked.port },
            ports = { plain }, before = [[
            local runs = {}
            local function endless()
                local keep
                while true do keep = function() return keep end end -- is never compiled
            end
            local DO = {
                ["no.test"] = function() return false end,
                ["why.test"] = function(conn) return conn:refuse("not you", "unrecognized_name") end,
                ["forgot.test"] = function(conn) conn:refuse("said so") end,
                ["yes.test"] = function() return true end,
                ["odd.test"] = function() return "yes" end,
                ["boom.test"] = function() error("boom") end,
                ["slow.test"] = function() rp.sleep(0.2) end,
                ["stuck.test"] = function() rp.sleep(3600) end,
                ["parked.test"] = function(conn)
                    local s = assert(rp.tcp.connect { host = "127.0.0.1", port = ${parked} })
                    s:write("in\n")
                    s:read("line")
                    conn.ctx.parked = true
                end,
                ["other.test"] = function(conn) conn.certificate = "b.test" end,
                ["none.test"] = function(conn) conn.certificate = "c.test" end,
                ["new.test"] = function(conn) conn.min_version = "1.3" end,
                ["h1.test"] = function(conn) conn.alpn = { "http/1.1" } end,
                ["h3.test"] = function(conn) conn.alpn = { "h3" } end,
                ["mtls.test"] = function(conn) conn.client = "required" end,
                ["ask.test"] = function(conn) conn.client = "optional" end,
                ["loop.test"] = endless,
                ["late.test"] = function(conn)
                    rp.detach(function()
                        rp.sleep(0.05)
                        local ok, err = pcall(function() conn.certificate = "b.test" end)
                        runs.late = tostring(err)
                    end)
                end,
            }
            DO["kept.test"] = DO["late.test"]
            ]], site = [[
            timeouts = { tls_handshake = "20s", keepalive = "60s" },
            log = { error = { level = "info" } },
            tls = { certs = { "${certs}/a.pem", "${certs}/b.pem" },
                client = { verify = "none", ca = "${certs}/ca.pem" } },
            listeners = { rp.listen { "127.0.0.1:${port}", tls = true, use = {
                { name = "gate", tls_hello = function(conn)
                    local name = conn.sni or "-"
                    runs[name] = (runs[name] or 0) + 1
                    conn.ctx.facts = { sni = name, remote = conn.remote_ip, peer = conn.peer_ip,
                        port = conn.port, listener = conn.listener, alpn = conn.alpn,
                        versions = conn.versions, ciphers = conn.ciphers, ja4 = conn.ja4 }
                    if DO[name] then return DO[name](conn) end
                end } } },
                rp.listen { "127.0.0.1:${plain}", tls = true } },
            hosts = { rp.host { default = true, routes = {
                rp.route { "/runs/{name}", content = function(req)
                    return req:exit(200, tostring(runs[req.params.name]))
                end },
                rp.route { "/facts", content = function(req)
                    local ctx = req.conn.ctx
                    if not ctx then return req:exit(404, { none = true }) end
                    ctx.n = (ctx.n or 0) + 1
                    return req:exit(200, { facts = ctx.facts, n = ctx.n, ja4 = req.conn.ja4,
                        sni = req.conn.sni, client = req.conn.tls.client_cert ~= nil,
                        version = req.conn.tls.version })
                end },
                rp.route { "/*", respond = { 200, "ok" } } } } },]] }
    end)
    lazy_teardown(function()
        parked:close()
        e2e.stop(rp)
    end)

    local function json(text)
        return require("cjson").decode(text)
    end

    local function facts(opt)
        local c = tls.connect(rp.port, opt)
        local status, body = c:get("/facts")
        c:close()
        assert.equal(200, status)
        return json(body)
    end

    local function runs(name)
        local c = tls.connect(rp.port, { sni = "count.test" })
        local _, body = c:get("/runs/" .. name)
        c:close()
        return body
    end

    it("sees what the client offers, and so do its requests", function()
        local got = facts { sni = "A.test", alpn = { "http/1.1" } }
        local f = got.facts
        assert.same({ "a.test", "127.0.0.1", "127.0.0.1", rp.port, "127.0.0.1:" .. rp.port },
            { f.sni, f.remote, f.peer, f.port, f.listener })
        assert.same({ "http/1.1" }, f.alpn)
        assert.equal("1.3", f.versions[1])
        assert.truthy(#f.ciphers >= 3)
        assert.truthy(f.ja4:find("^t13d%d%d%d%dh1_%x+_%x+$") and #f.ja4 == 36, f.ja4)
        assert.equal(f.ja4, got.ja4)
        assert.equal("A.test", got.sni)
        assert.truthy(facts({ versions = "1.2" }).facts.ja4:find("^t12i%d%d%d%d00_"))
        assert.same({ "1.2" }, facts({ versions = "1.2" }).facts.versions)
    end)

    it("leaves one table for all requests of a connection, in HTTP/2 too", function()
        local c = tls.connect(rp.port, { sni = "a.test" })
        for n = 1, 3 do
            local _, body = c:get("/facts")
            assert.equal(n, json(body).n)
        end
        c:close()
        local p = proc.spawn({ "curl", "-sk", "--http2", "--resolve",
            ("two.test:%d:127.0.0.1"):format(rp.port), "-w", " %{http_version}\n",
            ("https://two.test:%d/facts"):format(rp.port),
            ("https://two.test:%d/facts"):format(rp.port) })
        assert.equal(0, p:wait().exit)
        local first, second = p:stdout():match("^(.-) 2\n(.-) 2\n$")
        assert.same({ 1, 2 }, { json(first).n, json(second).n })
        assert.equal("two.test", json(second).facts.sni)
        assert.truthy(json(second).ja4:find("^t13d%d%d%d%dh2_"))
    end)

    it("is not there for a listener without one", function()
        local c = tls.connect(plain, { sni = "no.test" })
        assert.equal(404, (c:get("/facts")))
        c:close()
    end)

    it("refuses by false, or with an alert and a reason; both are counted and told", function()
        local before, mark = count(rp, "tls_refused"), #rp:stderr()
        assert.truthy(refused(rp.port, { sni = "no.test" }):find("access denied"))
        assert.truthy(refused(rp.port, { sni = "why.test" }):find("unrecognized name"))
        assert.truthy(refused(rp.port, { sni = "forgot.test", versions = "1.2" })
            :find("access denied"))
        assert.equal(before + 3, posix.poll(function()
            local n = count(rp, "tls_refused")
            return n == before + 3 and n
        end, 60))
        rp:wait_stderr("reason=tls_refused")
        local line = e2e.log_since(rp, mark, "reason=tls_refused")[1]
        assert.truthy(line:find("sni=no.test", 1, true), line)
        -- One line a second at most: the next kind of words comes after that.
        posix.poll(function()
            refused(rp.port, { sni = "why.test" })
            return #e2e.log_since(rp, mark, 'error="not you" client=127.0.0.1 sni=why.test') > 0
        end, 60)
        tls.connect(rp.port, { sni = "yes.test" }):close()
    end)

    it("may wait, while others are served", function()
        local slow = tls.connect(rp.port, { sni = "slow.test", no_handshake = true })
        slow:hello()
        local c = tls.connect(rp.port, { sni = "a.test" })
        assert.equal(200, (c:get("/")))
        c:close()
        assert.is_true(slow:handshake())
        assert.equal(200, (slow:get("/")))
        slow:close()
    end)

    it("that raises, returns nonsense or computes for ever refuses its client alone", function()
        local failed = count(rp, "tls_failed")
        for name, text in pairs { ["boom.test"] = "boom | stack traceback",
            ["odd.test"] = "tls_hello returned a string", ["loop.test"] = "CPU budget",
            ["none.test"] = "the listener has no certificate for", ["h3.test"] = "tls.alpn does not have" } do
            local mark = #rp:stderr()
            assert.truthy(refused(rp.port, { sni = name }):find("internal error"), name)
            rp:wait_stderr(text:gsub("%p", "%%%0"))
            local lines = e2e.log_since(rp, mark, "hook failed plugin=gate hook=tls_hello")
            assert.equal(1, #lines, name)
            assert.truthy(lines[1]:find(text, 1, true), lines[1])
        end
        posix.poll(function() return count(rp, "tls_failed") == failed + 5 end, 60)
        assert.equal("1", runs("boom.test"))
    end)

    it("is cancelled, with what it opened, when the client goes away", function()
        for _, how in ipairs { "close", "reset" } do
            local c = tls.connect(rp.port, { sni = "parked.test", no_handshake = true })
            c:hello()
            local up = parked:accept()
            assert.equal("in\n", up:recv_until("\n"))
            if how == "reset" then
                posix.C.setsockopt(c.fd, 1, 13, require("ffi").new("int[2]", 1, 0), 8) -- SO_LINGER
            end
            c:close()
            assert.is_true(up:is_closed(), how)
        end
        local c = tls.connect(rp.port, { sni = "parked.test", no_handshake = true })
        c:hello()
        local up = parked:accept()
        up:recv_until("\n")
        up:send("go\n")
        assert.is_true(c:handshake())
        c:close()
    end)

    it("that waits when the worker stops holds up nobody", function()
        local c = tls.connect(rp.port, { sni = "stuck.test", no_handshake = true })
        c:hello()
        posix.poll(function() return runs("stuck.test") == "1" end, 60)
        -- The end of the whole file stops it.
    end)

    it("runs for those who come back by a ticket, too", function()
        for _, version in ipairs { "1.2", "1.3" } do
            local name = version == "1.2" and "back2.test" or "back3.test"
            local c = tls.connect(rp.port, { sni = name, versions = version })
            assert.equal(200, (c:get("/")))
            local session = c:session()
            c:close()
            local again = tls.connect(rp.port, { sni = name, versions = version,
                session = session })
            assert.is_true(again.resumed)
            local _, body = again:get("/facts")
            assert.equal(name, json(body).facts.sni)
            again:close()
            assert.equal("2", runs(name))
        end
    end)

    it("chooses the certificate, the least version and the protocols", function()
        local c = tls.connect(rp.port, { sni = "other.test" })
        assert.equal("b.test", c.peer)
        c:close()
        assert.truthy(refused(rp.port, { sni = "new.test", versions = "1.2" })
            :find("protocol version"))
        tls.connect(rp.port, { sni = "new.test", versions = "1.3" }):close()
        c = tls.connect(rp.port, { sni = "h1.test", alpn = { "h2", "http/1.1" } })
        assert.equal("http/1.1", c.alpn)
        c:close()
        assert.truthy(refused(rp.port, { sni = "h1.test", alpn = { "h2" } })
            :find("no application protocol"))
        c = tls.connect(rp.port, { sni = "a.test", alpn = { "h2", "http/1.1" } })
        assert.equal("h2", c.alpn)
        c:close()
    end)

    it("asks for the client's certificate, and no session goes around that", function()
        for _, version in ipairs { "1.2", "1.3" } do
            local me = { cert = dir .. "/me.pem", key = dir .. "/me.key", versions = version }
            local function as(name, more)
                local opt = { sni = name, versions = version }
                for key, value in pairs(more or {}) do opt[key] = value end
                return opt
            end
            local got = facts(as("mtls.test", me))
            assert.is_true(got.client)
            assert.is_false(facts(as("a.test", me)).client)
            assert.is_false(facts(as("ask.test")).client)
            -- TLS 1.3 tells a client of it after its own end of the handshake.
            local c = tls.connect(rp.port, as("mtls.test", { may_fail = true }))
            if c then
                c:send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                local text, how = c:recv_all()
                assert.equal("", text)
                assert.truthy(how:find("certificate required"), how)
                c:close()
            end
            -- A ticket from where nothing was asked for.
            c = tls.connect(rp.port, as("a.test"))
            assert.equal(200, (c:get("/")))
            local session = c:session()
            c:close()
            c = tls.connect(rp.port, as("mtls.test", { session = session, cert = me.cert,
                key = me.key }))
            assert.is_false(c.resumed)
            c:close()
            -- And one of those who had shown theirs is good for themselves.
            c = tls.connect(rp.port, as("mtls.test", me))
            assert.equal(200, (c:get("/")))
            session = c:session()
            c:close()
            c = tls.connect(rp.port, as("mtls.test", { session = session }))
            assert.is_true(c.resumed)
            c:close()
        end
    end)

    it("can be spoken to only while it runs", function()
        local function said(sni, goes)
            local c = tls.connect(rp.port, { sni = sni })
            if goes then c:close() end
            local err = posix.poll(function()
                local text = runs("late")
                return text ~= "nil" and text
            end, 60)
            if not goes then c:close() end
            return err
        end
        -- Its handshake is over, its connection is there.
        local TOO_LATE = "conn.certificate can be assigned in tls_hello"
        local err = said("kept.test")
        assert.truthy(err:find(TOO_LATE, 1, true), err)
        err = said("late.test", true)
        assert.truthy(err:find(TOO_LATE, 1, true) or err:find("this conn", 1, true), err)
        assert.is_nil(rp:stderr():find("worker died", 1, true), rp:stderr())
    end)

    it("runs once for a handshake that begins twice", function()
        local c = tls.connect(rp.port, { sni = "twice.test", no_handshake = true })
        c:groups("P-521:P-256") -- the first is not ours: we ask for the second
        assert.is_true(c:handshake())
        assert.equal(200, (c:get("/")))
        c:close()
        assert.equal("1", runs("twice.test"))
    end)

    it("cannot be shown one name and then another", function()
        local first = tls.connect(rp.port, { sni = "a.test", no_handshake = true })
        first:groups("P-521:P-256")
        first:hello()
        -- HelloRetryRequest, and a ChangeCipherSpec behind it: they come in the clear.
        local w = wire.connect(rp.port)
        w:send(first.hello_bytes)
        assert.equal("\22\3\3", w:recv(3))
        local n = w:recv(2)
        w:recv(n:byte(1) * 256 + n:byte(2))
        w:send(hello.make { sni = "b.test" })
        local text = w:recv_all()
        assert.equal("\21\3\3\0\2\2\47", text:sub(-7)) -- illegal_parameter
        w:close()
        first:close()
    end)

    it("does not meet what is no ClientHello", function()
        local before = #rp:stderr()
        for _, bytes in ipairs { "GET / HTTP/1.1\r\n\r\n", "\22\3\1\0\4\2\0\0\0",
            hello.make { sni = "a..test" }, hello.make { extensions = { hello.sni("a.test"),
                hello.sni("b.test") } } } do
            local w = wire.connect(rp.port)
            w:send(bytes)
            w:recv_all()
            w:close()
        end
        assert.same({}, e2e.log_since(rp, before, "hook failed"))
    end)

    it("tells refused clients in the clear", function()
        local w = wire.connect(rp.port)
        w:send(hello.make { sni = "no.test" })
        assert.equal(49, alert(w))
        w:close()
    end)

    it("is a deadline's business: a hook that waits too long is named", function()
        local hasty = proc.rproxy { vars = { certs = dir }, site = [[
            return rp.site { workers = 1, timeouts = { tls_handshake = "1s" },
                log = { error = { level = "info" } },
                tls = { certs = { "${certs}/a.pem" } },
                listeners = { rp.listen { "127.0.0.1:${port}", tls = true } },
                use = { { tls_hello = function() rp.sleep(60) end } },
                hosts = { rp.host { default = true, routes = {
                    rp.route { "/*", respond = { 200, "ok" } } } } } } ]] }
        assert.truthy(refused(hasty.port, { sni = "a.test" }))
        hasty:wait_stderr('reason=tls_timeout error="its tls_hello hook was waited for"')
        posix.poll(function() return count(hasty, "tls_timeouts") == 1 end, 60)
        hasty:stop()
    end)

    it("is not gone around by who waited while a reload took the listener away", function()
        local text = [[
            return rp.site { workers = 1, trust = { "127.0.0.1" },
                tls = { certs = { "${certs}/a.pem" } },
                listeners = { rp.listen { "127.0.0.1:${more}" }, %s },
                hosts = { rp.host { default = true, routes = {
                    rp.route { "/*", respond = { 200, "ok" } } } } } } ]]
        local vars = { certs = dir, more = posix.free_port() }
        local s = proc.rproxy { vars = vars, site = text:format([[rp.listen { "127.0.0.1:${port}",
            tls = true, proxy_protocol = true, use = { { tls_hello = function(conn)
                if conn.sni == "no.test" then return false end
            end } } }]]) }
        local ends = {}
        for i, name in ipairs { "no.test", "a.test" } do
            ends[i] = tls.connect(s.port, { sni = name, no_handshake = true })
            ends[i]:send_raw("PROXY TCP4 192.0.2.7 ") -- the rest comes later
        end
        posix.poll(function() return count(s, "connections_accepted") == 2 end, 60)
        s:write_site(text:format(""), vars)
        process.must(s, "reload")
        -- Who is in its queue is still served: the listener goes when nobody is.
        assert.is_true(posix.poll(function() return not posix.is_listening(s.port) end))
        for i = 1, 2 do
            ends[i]:send_raw("192.0.2.1 1234 443\r\n")
            local ok, why = ends[i]:handshake()
            assert.is_nil(ok)
            assert.truthy(why == "closed" or why == "reset", why)
            ends[i]:close()
        end
        s:stop()
    end)

    it("comes before early data", function()
        local s = proc.rproxy { vars = { certs = dir }, site = [[
            return rp.site { workers = 1, log = { error = { level = "info" } },
                tls = { certs = { "${certs}/a.pem" }, early_data = true },
                listeners = { rp.listen { "127.0.0.1:${port}", tls = true } },
                use = { { tls_hello = function(conn)
                    rp.sleep(0.05)
                    if conn.sni == "no.test" then return false end
                    conn.ctx.seen = "seen"
                end, certificate = function() rp.sleep(0.05) end } },
                hosts = { rp.host { default = true, routes = { rp.route { "/*",
                    content = function(req)
                        return req:exit(200, req.conn.ctx.seen .. tostring(req.conn.tls.early))
                    end } } } } } ]] }
        local function session()
            local c = tls.connect(s.port, { sni = "a.test" })
            local status, body = c:get("/")
            assert.same({ 200, "seenfalse" }, { status, body })
            local found = assert(c:session())
            c:close()
            return found
        end
        local c = tls.connect(s.port, { sni = "a.test", session = session(), no_handshake = true })
        c:send_early("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
        assert.is_true(c:handshake())
        assert.equal("accepted", c:early_status())
        c:recv_until("\r\n\r\nseentrue")
        c:close()
        c = tls.connect(s.port, { sni = "no.test", session = session(), no_handshake = true })
        local sent = pcall(c.send_early, c, "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
        if sent then -- not every OpenSSL lets a client change the name
            local ok, why = c:handshake()
            assert.is_nil(ok)
            assert.truthy(why:find("access denied"), why)
        end
        c:close()
        s:stop()
    end)

    it("goes on after a hook that fails where its plugin says so, and sees PROXY headers", function()
        local s = proc.rproxy { vars = { certs = dir }, site = [[
            return rp.site { workers = 1, trust = { "127.0.0.1" },
                log = { error = { level = "info" } },
                tls = { certs = { "${certs}/a.pem" } },
                listeners = { rp.listen { "127.0.0.1:${port}", tls = true, proxy_protocol = true } },
                use = { { on_error = "open", tls_hello = function() error("broken") end },
                    { tls_hello = function(conn) conn.ctx.from = conn.remote_ip end } },
                hosts = { rp.host { default = true, routes = { rp.route { "/*",
                    content = function(req) return req:exit(200, req.conn.ctx.from) end } } } } } ]] }
        local c = tls.connect(s.port, { sni = "a.test", no_handshake = true })
        c:send_raw("PROXY TCP4 192.0.2.7 192.0.2.1 1234 443\r\n")
        assert.is_true(c:handshake())
        local status, body = c:get("/")
        assert.same({ 200, "192.0.2.7" }, { status, body })
        c:close()
        s:wait_stderr("hook failed plugin=inline@")
        s:stop()
    end)
end)

describe("certificate", function()
    local dir, rp, parked, strict, stream

    lazy_setup(function()
        dir, strict, stream = tls.dir(), posix.free_port(), posix.free_port()
        parked = e2e.listen()
        tls.ca(dir, "ca")
        tls.cert(dir, "a", { ca = "ca", names = { "a.test" } })
        for _, name in ipairs { "made", "ec", "other" } do
            tls.cert(dir, name, { ca = "ca", names = { name .. ".test" }, together = true })
        end
        tls.cert(dir, "rsa", { ca = "ca", names = { "rsa.test" }, kind = "rsa" })
        rp = e2e.proxy { vars = { certs = dir, parked = parked.port, strict = strict,
            stream = stream }, ports = { strict, stream },
            files = { ["made.pem"] = posix.read_file(dir .. "/made.pem"),
                ["ec.pem"] = posix.read_file(dir .. "/ec.pem"),
                ["rsa.pem"] = posix.read_file(dir .. "/rsa.pem"),
                ["rsa.key"] = posix.read_file(dir .. "/rsa.key") },
            before = [[
            local runs, hellos = {}, {}
            local made = rp.file("made.pem")
            local ec = assert(rp.tls.certificate { pem = rp.file("ec.pem") })
            local both = assert(rp.tls.certificate { { pem = rp.file("ec.pem") },
                { cert = rp.file("rsa.pem"), key = rp.file("rsa.key") } })
            local fails = true
            local function park()
                local s = assert(rp.tcp.connect { host = "127.0.0.1", port = ${parked} })
                s:write("in\n")
                s:read("line")
                return made
            end
            local GIVE = {
                ["made.test"] = function() rp.sleep(0.05) return made end,
                ["many.test"] = function() rp.sleep(0.5) return made end,
                ["ec.test"] = function() return ec, 600 end,
                ["both.test"] = function() return both end,
                ["never.test"] = function() return made, 0 end,
                ["no.test"] = function() return false, 600 end,
                ["nothing.test"] = function() end,
                ["boom.test"] = function() error("boom") end,
                ["once.test"] = function()
                    if fails then fails = false error("not yet") end
                    return made
                end,
                ["text.test"] = function() return "no PEM" end,
                ["table.test"] = function() return {} end,
                ["time.test"] = function() return made, "soon" end,
                ["parked.test"] = park, ["left.test"] = park,
                ["back.test"] = function() return made end,
            }
            local hooks = { name = "issuer", tls_hello = function(conn)
                local name = conn.sni or "-"
                hellos[name] = (hellos[name] or 0) + 1
            end, certificate = function(conn)
                local name = conn.sni or "-"
                runs[name] = (runs[name] or 0) + 1
                if GIVE[name] then return GIVE[name](conn) end
            end }
            ]], site = [[
            timeouts = { tls_handshake = "30s" },
            log = { error = { level = "info" } },
            tls = { certs = { "${certs}/a.pem" } },
            use = { hooks },
            listeners = { rp.listen { "127.0.0.1:${port}", tls = true },
                rp.listen { "127.0.0.1:${strict}", tls = { default = "refuse" } } },
            upstreams = { me = rp.upstream { peers = { "127.0.0.1:${parked}" } } },
            streams = { rp.stream { "127.0.0.1:${stream}", tls = true, upstream = "me", use = {
                { certificate = function() return ec end, tls_hello = function(conn)
                    if conn.sni == "no.test" then return false end
                end } } } },
            hosts = { rp.host { default = true, routes = {
                rp.route { "/runs/{name}", content = function(req)
                    return req:exit(200, tostring(runs[req.params.name] or 0))
                end },
                rp.route { "/hellos/{name}", content = function(req)
                    return req:exit(200, tostring(hellos[req.params.name] or 0))
                end },
                rp.route { "/ctx", content = function(req)
                    local ctx = req.conn.ctx
                    ctx.n = (ctx.n or 0) + 1
                    return req:exit(200, ctx.n .. " " .. req.conn.ja4)
                end },
                rp.route { "/*", respond = { 200, "ok" } } } } },]] }
    end)
    lazy_teardown(function()
        parked:close()
        e2e.stop(rp)
    end)

    local function ask(what, name)
        local c = tls.connect(rp.port, { sni = "a.test" })
        local _, body = c:get(("/%s/%s"):format(what, name))
        c:close()
        return tonumber(body)
    end

    local function runs(name) return ask("runs", name) end

    local function peer(name, opt)
        opt = opt or {}
        opt.sni = name
        local c = tls.connect(opt.port or rp.port, opt)
        local cn = c.peer
        assert.equal(200, (c:get("/")))
        c:close()
        return cn
    end

    it("is what a hook gives, as text or as a handle, or the site's own", function()
        assert.equal("made.test", peer("made.test"))
        assert.equal("ec.test", peer("ec.test"))
        assert.equal("a.test", peer("nothing.test"))
        assert.equal("a.test", peer("a.test"))
        assert.equal("made.test", peer("made.test", { versions = "1.2" }))
    end)

    it("of each kind of key is given to those who can verify it", function()
        assert.equal("ec.test", peer("both.test", { versions = "1.2",
            ciphers = "ECDHE-ECDSA-AES128-GCM-SHA256" }))
        assert.equal("rsa.test", peer("both.test", { versions = "1.2",
            ciphers = "ECDHE-RSA-AES128-GCM-SHA256" }))
    end)

    it("is asked for once, however many clients wait for it, and kept", function()
        local ends = {}
        for i = 1, 50 do
            ends[i] = tls.connect(rp.port, { sni = "many.test", no_handshake = true })
            ends[i]:hello()
        end
        for i = 1, 50 do
            assert.is_true(ends[i]:handshake())
            assert.equal("made.test", ends[i].peer)
            ends[i]:close()
        end
        assert.equal("made.test", peer("many.test"))
        assert.equal(1, runs("many.test"))
    end)

    it("is kept as long as the hook says", function()
        for _ = 1, 3 do assert.equal("made.test", peer("never.test")) end
        assert.equal(3, runs("never.test"))
        for _ = 1, 3 do assert.equal("ec.test", peer("ec.test")) end
        assert.equal(1, runs("ec.test"))
    end)

    it("may be refused; that is kept, too", function()
        local before = count(rp, "tls_refused")
        for _ = 1, 3 do
            assert.truthy(refused(rp.port, { sni = "no.test" }):find("unrecognized name"))
        end
        assert.equal(1, runs("no.test"))
        posix.poll(function() return count(rp, "tls_refused") == before + 3 end, 60)
        rp:wait_stderr("reason=tls_refused .*sni=no.test")
    end)

    it("that cannot be had fails one handshake, and the next one asks again", function()
        for name, text in pairs { ["boom.test"] = "boom", ["text.test"] = "no certificate in it",
            ["table.test"] = "certificate returned a table",
            ["time.test"] = "certificate returned a string as its time" } do
            local mark = #rp:stderr()
            assert.truthy(refused(rp.port, { sni = name }):find("internal error"), name)
            rp:wait_stderr(text)
            local lines = e2e.log_since(rp, mark, "hook failed plugin=issuer hook=certificate")
            assert.equal(1, #lines)
            assert.truthy(lines[1]:find("sni=" .. name, 1, true)
                and lines[1]:find(text, 1, true), lines[1])
        end
        assert.truthy(refused(rp.port, { sni = "once.test" }):find("internal error"))
        assert.equal("made.test", peer("once.test"))
        assert.equal(2, runs("once.test"))
    end)

    it("is not asked for when a client comes back by a ticket", function()
        for _, version in ipairs { "1.2", "1.3" } do
            local c = tls.connect(rp.port, { sni = "back.test", versions = version })
            assert.equal(200, (c:get("/")))
            local session, n = c:session(), runs("back.test")
            c:close()
            c = tls.connect(rp.port, { sni = "back.test", versions = version, session = session })
            assert.is_true(c.resumed)
            local _, body = c:get("/ctx")
            assert.truthy(body:find("^1 t1%dd"), body)
            c:close()
            assert.equal(n, runs("back.test"))
        end
    end)

    it("is made for all who wait, also when the first of them leaves", function()
        local first = tls.connect(rp.port, { sni = "left.test", no_handshake = true })
        first:hello()
        local up = parked:accept()
        up:recv_until("\n")
        local second = tls.connect(rp.port, { sni = "left.test", no_handshake = true })
        second:hello()
        posix.poll(function() return ask("hellos", "left.test") == 2 end, 60)
        local closed = count(rp, "tls_closed")
        first:close()
        posix.poll(function() return count(rp, "tls_closed") == closed + 1 end, 60)
        up:send("go\n")
        assert.is_true(second:handshake())
        assert.equal("made.test", second.peer)
        second:close()
        up:close()
        assert.equal(1, runs("left.test"))
    end)

    it("is made for nobody when all of them have left", function()
        local ends = {}
        for i = 1, 3 do
            ends[i] = tls.connect(rp.port, { sni = "parked.test", no_handshake = true })
            ends[i]:hello()
        end
        local up = parked:accept()
        up:recv_until("\n")
        posix.poll(function() return ask("hellos", "parked.test") == 3 end, 60)
        for i = 1, 3 do ends[i]:close() end
        assert.is_true(up:is_closed())
    end)

    it("of a hook stands in for those that a strict listener lacks", function()
        assert.equal("made.test", peer("made.test", { port = strict }))
        assert.equal("a.test", peer("a.test", { port = strict }))
        assert.truthy(refused(strict, { sni = "nothing.test" }):find("unrecognized name"))
    end)

    it("is asked for with the second ClientHello of a handshake that begins twice", function()
        local c = tls.connect(rp.port, { sni = "never.test", no_handshake = true })
        local n = runs("never.test")
        c:groups("P-521:P-256")
        assert.is_true(c:handshake())
        assert.equal("made.test", c.peer)
        c:close()
        assert.equal(n + 1, runs("never.test"))
    end)

    it("is a stream's, too", function()
        assert.truthy(refused(stream, { sni = "no.test" }):find("access denied"))
        local c = tls.connect(stream, { sni = "x.test" })
        assert.equal("ec.test", c.peer)
        c:send("hi\n")
        local up = parked:accept()
        assert.equal("hi\n", up:recv_until("\n"))
        up:close()
        c:close()
    end)

    it("is forgotten by a reload, and so is what hooks left for requests", function()
        local c = tls.connect(rp.port, { sni = "ec.test" })
        local _, one = c:get("/ctx")
        local _, two = c:get("/ctx")
        assert.same({ "1", "2" }, { one:match("^%d"), two:match("^%d") })
        process.must(rp, "reload")
        local _, three = c:get("/ctx")
        local _, four = c:get("/ctx")
        assert.same({ "1", "2" }, { three:match("^%d"), four:match("^%d") })
        c:close()
        assert.equal(0, runs("ec.test"))
        assert.equal("ec.test", peer("ec.test"))
        assert.equal(1, runs("ec.test"))
    end)

    it("goes on to be made over a reload", function()
        local c = tls.connect(rp.port, { sni = "parked.test", no_handshake = true })
        c:hello()
        local up = parked:accept()
        up:recv_until("\n")
        process.must(rp, "reload")
        local other = tls.connect(rp.port, { sni = "parked.test", no_handshake = true })
        other:hello()
        local again = parked:accept() -- the new generation's own
        again:recv_until("\n")
        up:send("go\n")
        assert.is_true(c:handshake())
        assert.equal("made.test", c.peer)
        again:send("go\n")
        assert.is_true(other:handshake())
        c:close()
        other:close()
    end)
end)

describe("a hook that never ends", function()
    it("is ended by timeouts.hook_wait, and its client told", function()
        local dir = tls.dir()
        tls.cert(dir, "a", { names = { "a.test" } })
        local rp = proc.rproxy { vars = { certs = dir }, site = [[
            return rp.site { workers = 1, timeouts = { hook_wait = "1s", tls_handshake = "60s" },
                log = { error = { level = "info" } },
                tls = { certs = { "${certs}/a.pem" } },
                listeners = { rp.listen { "127.0.0.1:${port}", tls = true } },
                use = { { certificate = function() rp.sleep(600) end, tls_hello = function(conn)
                    if conn.sni == "b.test" then rp.sleep(600) end
                end } },
                hosts = { rp.host { default = true, routes = {
                    rp.route { "/*", respond = { 200, "ok" } } } } } } ]] }
        assert.truthy(refused(rp.port, { sni = "a.test" }):find("internal error"))
        rp:wait_stderr('reason=hook_timeout error="its certificate hook was waited for"')
        posix.poll(function() -- a line a second at most
            assert.truthy(refused(rp.port, { sni = "b.test" }):find("internal error"))
            return rp:stderr():find('reason=hook_timeout error="its tls_hello hook was waited for"',
                1, true)
        end, 60)
        rp:stop()
    end)
end)
