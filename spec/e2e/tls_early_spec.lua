-- SPDX-License-Identifier: MIT
--
-- Early data (0-RTT) of clients: RFC 8446 §2.3 and §8, RFC 8470.

local e2e = require("spec.support.e2e")
local h2 = require("spec.support.h2")
local origin = require("spec.support.origin")
local posix = require("spec.support.posix")
local proc = require("spec.support.proc")
local process = require("spec.support.process")
local tls = require("spec.support.tls")
local wire = require("spec.support.wire")

local COPIES = 12

local function get(path, fields)
    return ("GET %s HTTP/1.1\r\nHost: a.test\r\n%s\r\n"):format(path, fields or "")
end

local POST = "POST /post HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\n\r\nhi"

local function count(o, path)
    local n = 0
    for _, req in ipairs(o:requests()) do
        if req.target == path then n = n + 1 end
    end
    return n
end

-- A session that may bring early data.
local function session(port, opt)
    local c = tls.connect(port, opt or { sni = "a.test" })
    if opt and opt.alpn then
        c:send(h2.PREFACE .. "\0\0\0\4\0\0\0\0\0")
        c:recv(9)
    else
        assert(c:get("/hello") == 200)
    end
    local s = assert(c:session())
    c:close()
    return s
end

local function comeback(port, opt)
    opt = opt or {}
    opt.session = opt.session or session(port)
    opt.sni, opt.no_handshake = opt.sni or "a.test", true
    return tls.connect(port, opt)
end

-- One response by Content-Length.
local function response(c)
    local head = c:recv_until("\r\n\r\n")
    return tonumber(head:match("^HTTP/1.1 (%d+)")),
        c:recv(tonumber(head:lower():match("content%-length: (%d+)")) or 0)
end

describe("early data", function()
    local dir, o, rp, off

    lazy_setup(function()
        dir, off = tls.dir(), posix.free_port()
        tls.cert(dir, "a", { names = { "a.test", "b.test" } })
        o = origin.start { ["*"] = { status = 200, body = "ok" },
            ["/425"] = { status = 425, body = "early" } }
        rp = e2e.proxy { vars = { certs = dir, origin = o.port, off = off }, ports = { off },
            site = [[
            timeouts = { tls_handshake = 2 },
            tls = { certs = { "${certs}/a.pem" }, early_data = true },
            listeners = { rp.listen { "127.0.0.1:${port}", tls = true },
                rp.listen { "127.0.0.1:${off}", tls = { early_data = false } } },
            upstreams = { o = rp.upstream { peers = { "127.0.0.1:${origin}" } } },
            hosts = { rp.host { default = true, routes = {
                rp.route { "/hello", respond = { 200, "hello" } },
                rp.route { "/seen", content = function(req)
                    return req:exit(200, tostring(req.conn.tls.early)) end },
                rp.route { "/big", content = function(req)
                    return req:exit(200, ("x"):rep(300000)) end },
                rp.route { "/*", upstream = "o" } } } },]] }
    end)
    lazy_teardown(function() e2e.stop(rp) end)
    after_each(wire.close_all)

    it("is answered before the handshake is over, and is forwarded as such", function()
        local c = comeback(rp.port)
        c:send_early(get("/first"))
        c.hold = true -- the client's Finished stays here
        assert.is_true(c:handshake())
        assert.same({ 200, "ok" }, { response(c) })
        local req = e2e.last(o)
        assert.same({ "/first", { "1" } },
            { req.target, e2e.values(req.fields, "early-data") })
        c.hold = nil
        assert.equal("accepted", c:early_status())
        c:send(get("/second"))
        assert.equal(200, (response(c)))
        assert.same({}, e2e.values(e2e.last(o).fields, "early-data"))
        assert.equal(200, (c:get("/hello")))
        c:close()
    end)

    it("is told to hooks", function()
        local c = comeback(rp.port)
        c:send_early(get("/seen"))
        c.hold = true
        c:handshake()
        assert.same({ 200, "true" }, { response(c) })
        c.hold = nil
        c:send(get("/seen"))
        assert.same({ 200, "false" }, { response(c) })
        c:close()
    end)

    it("brings more than one request, and answers that are long", function()
        local c = comeback(rp.port)
        c:send_early(get("/big") .. get("/seen"))
        c.hold = true
        c:handshake()
        local status, body = response(c)
        assert.same({ 200, 300000 }, { status, #body })
        assert.same({ 200, "true" }, { response(c) })
        c:flush()
        c.hold = nil
        assert.equal(200, (c:get("/hello")))
        c:close()
    end)

    it("comes in pieces", function()
        local c = comeback(rp.port, { piece = 7, piece_in = 11 })
        c:send_early(get("/pieces"))
        assert.is_true(c:handshake())
        assert.same({ 200, "ok" }, { response(c) })
        c:close()
    end)

    it("waits for the handshake's end where a copy could do harm", function()
        local c = comeback(rp.port)
        c:send_early(POST .. get("/behind"))
        c.hold = true
        assert.is_true(c:handshake()) -- the server's part has come: it has seen all of that
        local other = tls.connect(rp.port, { sni = "a.test" })
        assert.equal(200, (other:get("/other"))) -- and had its turn since
        other:close()
        assert.equal(0, count(o, "/post"))
        c.hold = nil
        c:flush()
        assert.same({ 200, "ok" }, { response(c) })
        assert.same({ 200, "ok" }, { response(c) })
        for _, req in ipairs(o:requests()) do
            if req.target == "/post" then
                assert.same({ "POST", "hi", {} }, { req.method, req.body,
                    e2e.values(req.fields, "early-data") })
            end
        end
        assert.equal(1, count(o, "/post"))
        assert.equal(1, count(o, "/behind"))
        c:close()
    end)

    it("keeps what a client says itself, and says it once", function()
        local c = comeback(rp.port)
        c:send_early(get("/said", "Early-Data: 0\r\nEarly-Data: x\r\nConnection: early-data\r\n"))
        assert.is_true(c:handshake())
        assert.equal(200, (response(c)))
        assert.same({ "1" }, e2e.values(e2e.last(o).fields, "early-data"))
        c:send(get("/said", "Early-Data: 1\r\nConnection: early-data\r\n"))
        assert.equal(200, (response(c)))
        assert.same({ "1" }, e2e.values(e2e.last(o).fields, "early-data"))
        c:send(get("/seen", "Early-Data: 1\r\n"))
        assert.same({ 200, "false" }, { response(c) })
        c:close()
    end)

    it("may be refused by the upstream", function()
        local c = comeback(rp.port)
        c:send_early(get("/425"))
        assert.is_true(c:handshake())
        assert.same({ 425, "early" }, { response(c) })
        assert.equal(1, count(o, "/425"))
        c:close()
    end)

    it("ends with close_notify when the request asks for the end", function()
        local c = comeback(rp.port)
        c:send_early(get("/hello", "Connection: close\r\n"))
        assert.is_true(c:handshake())
        local text, how = c:recv_all()
        assert.truthy(text:find("hello", 1, true))
        assert.equal("closed", how)
        c:close()
    end)

    it("is not taken by a listener that does not want it", function()
        local c = comeback(off)
        assert.has_error(function() c:send_early(get("/off")) end) -- its ticket says so
        c:close()
        c = comeback(off, { session = session(rp.port) })
        c:send_early(get("/off"))
        assert.is_true(c:handshake())
        assert.is_true(c.resumed)
        assert.equal("rejected", c:early_status())
        assert.equal(200, (c:get("/again")))
        assert.equal(0, count(o, "/off"))
        c:close()
    end)

    it("is not taken with a ticket of a listener that does not want it", function()
        local c = comeback(rp.port, { session = tls.greedy(session(off)) })
        c:send_early(get("/uninvited"))
        assert.is_true(c:handshake())
        assert.is_true(c.resumed)
        assert.equal("rejected", c:early_status())
        assert.equal(200, (c:get("/again")))
        assert.equal(0, count(o, "/uninvited"))
        c:close()
    end)

    it("comes in part, with the rest behind the handshake", function()
        local text = get("/part")
        for _, n in ipairs { 1, 20, #text - 1 } do
            local c = comeback(rp.port)
            c:send_early(text:sub(1, n))
            assert.is_true(c:handshake())
            c:send(text:sub(n + 1))
            assert.same({ 200, "ok" }, { response(c) })
            assert.same({}, e2e.values(e2e.last(o).fields, "early-data"))
            c:close()
        end
    end)

    it("is HTTP/2, too", function()
        local opt = { sni = "a.test", alpn = { "h2" } }
        local c = comeback(rp.port, { session = session(rp.port, opt), alpn = opt.alpn })
        local function literal(name, value)
            return "\0" .. string.char(#name) .. name .. string.char(#value) .. value
        end
        local function headers(id, method, path)
            local block = literal(":method", method) .. literal(":scheme", "https")
                .. literal(":authority", "a.test") .. literal(":path", path)
            return "\0\0" .. string.char(#block) .. "\1\5\0\0\0" .. string.char(id) .. block
        end
        c:send_early(h2.PREFACE .. "\0\0\0\4\0\0\0\0\0" .. headers(1, "DELETE", "/h2delete")
            .. headers(3, "GET", "/h2get"))
        c.hold = true
        assert.is_true(c:handshake())
        -- Frames until the end of a stream.
        local function ended()
            while true do
                local head = c:recv(9)
                local _, hi, lo, kind, flags = head:byte(1, 5)
                c:recv(hi * 256 + lo)
                if kind <= 1 and flags % 2 == 1 then return head:byte(9) end
            end
        end
        assert.equal(3, ended())
        assert.same({ "1" }, e2e.values(e2e.last(o).fields, "early-data"))
        assert.equal(0, count(o, "/h2delete"))
        c.hold = nil
        c:flush()
        assert.equal(1, ended())
        assert.equal(1, count(o, "/h2delete"))
        assert.same({}, e2e.values(e2e.last(o).fields, "early-data"))
        c:close()
    end)

    it("has 16 KB at most", function()
        local c = comeback(rp.port, { session = tls.greedy(session(rp.port)) })
        c:send_early(get("/much", "X: " .. ("x"):rep(17000) .. "\r\n"))
        local ok = c:handshake()
        if ok then
            c:recv_all()
            assert.is_string(c.ended)
        end
        assert.equal(0, count(o, "/much"))
        c:close()
    end)

    it("does not keep a connection whose handshake never ends", function()
        local c = comeback(rp.port)
        c:send_early(get("/never") .. POST:gsub("/post", "/never_post"))
        c.hold = true
        c:handshake()
        assert.same({ 200, "ok" }, { response(c) })
        c:recv_all()
        assert.is_string(c.ended)
        assert.equal(0, count(o, "/never_post"))
        c:close()
    end)

    it("gives nothing to a client that breaks the handshake", function()
        local c = comeback(rp.port)
        c:send_early((POST:gsub("/post", "/broken")))
        c.hold = true
        c:handshake()
        c:send_raw("\23\3\3\0\30" .. ("z"):rep(30))
        c:recv_all()
        assert.is_string(c.ended)
        assert.equal(0, count(o, "/broken"))
        c:close()
    end)

    it("goes with a client that leaves", function()
        local c = comeback(rp.port)
        c:send_early((POST:gsub("/post", "/left")))
        c.hold = true
        c:handshake()
        c:close()
        assert.equal(200, (tls.connect(rp.port, { sni = "a.test" }):get("/hello")))
        assert.equal(0, count(o, "/left"))
    end)

    it("is what openssl s_client sends", function()
        local file, out = dir .. "/session", dir .. "/out"
        -- It ends with its standard input: what it says is waited for.
        local function client(args, input, done)
            local pipe = io.popen(("env -u LD_PRELOAD openssl s_client -connect 127.0.0.1:%d "
                .. "-servername a.test -tls1_3 %s >'%s' 2>&1"):format(rp.port, args, out), "w")
            pipe:write(input)
            pipe:flush()
            local ok = posix.poll(function() return done(posix.read_file(out) or "") end, 60)
            pipe:close()
            assert.truthy(ok, posix.read_file(out))
        end
        posix.write_file(dir .. "/early", get("/tool"))
        client("-sess_out " .. file, get("/hello"), function(text)
            return text:find("\r\n\r\nhello", 1, true)
                and (posix.read_file(file) or ""):find("END SSL SESSION", 1, true)
        end)
        client(("-sess_in %s -early_data %s/early"):format(file, dir), "", function(text)
            return text:find("Early data was accepted", 1, true)
        end)
        o:wait_requests(1)
        assert.same({ "1" }, e2e.values(e2e.last(o).fields, "early-data"))
        assert.equal(1, count(o, "/tool"))
    end)

    it("needs tickets", function()
        local site = dir .. "/site.lua"
        posix.write_file(site, ([[local rp = require("rproxy")
            return rp.site { tls = { certs = { "%s/a.pem" }, tickets = false, early_data = true },
            listeners = { rp.listen { "127.0.0.1:%d", tls = true } },
            hosts = { rp.host { default = true, routes = { rp.route { "/", respond = { 200 } } } } }
            }]]):format(dir, posix.free_port()))
        local how, out, err = process.run { "-t", "-p", site }
        assert.same({ exit = 1 }, how)
        assert.truthy((out .. err):find("tls.early_data: it comes with session tickets", 1, true),
            err)
    end)
end)

describe("early data that is sent again", function()
    local dir, o, rp

    setup(function()
        dir = tls.dir()
        tls.cert(dir, "a", { names = { "a.test" } })
        o = origin.start { ["*"] = { status = 200, body = "ok" } }
        rp = proc.rproxy { vars = { certs = dir, origin = o.port }, site = [[
            return rp.site { workers = 3,
            tls = { certs = { "${certs}/a.pem" }, early_data = true },
            listeners = { rp.listen { "127.0.0.1:${port}", tls = true } },
            upstreams = { o = rp.upstream { peers = { "127.0.0.1:${origin}" } } },
            hosts = { rp.host { default = true, routes = {
                rp.route { "/hello", respond = { 200, "hello" } },
                rp.route { "/*", upstream = "o" } } } } }]] }
    end)
    teardown(function() e2e.stop(rp) end)

    -- What was recorded, on connections that the system spreads over the workers; each is answered
    -- (ServerHello) by somebody who has looked at it.
    local function again(bytes)
        for _ = 1, COPIES do
            local w = wire.connect(rp.port)
            w:send(bytes)
            w:recv(5)
            w:close()
        end
    end

    local function early(path, s)
        local c = comeback(rp.port, { session = s or session(rp.port) })
        local first = c:send_early(get(path))
        assert.is_true(c:handshake())
        return c, first
    end

    it("is taken once, whichever worker gets the copies", function()
        local c, first = early("/once")
        assert.same({ 200, "ok" }, { response(c) })
        again(first)
        assert.equal(1, count(o, "/once"))
        assert.equal(200, (c:get("/hello")))
        c:close()
    end)

    it("is not taken from a client whose bytes somebody else has brought first", function()
        local c = comeback(rp.port)
        c.opt.piece = nil
        c.fd_kept, c.fd = c.fd, wire.connect(rp.port).sock:getfd() -- what it sends goes elsewhere
        local first = c:send_early(get("/stolen"))
        o:wait_requests(1)
        posix.poll(function() return count(o, "/stolen") == 1 end, 60)
        c.fd = c.fd_kept
        c.out = first
        c:flush()
        assert.is_true(c:handshake())
        assert.equal("rejected", c:early_status())
        assert.equal(200, (c:get("/hello")))
        assert.equal(1, count(o, "/stolen"))
        c:close()
        wire.close_all()
    end)

    it("is not taken after a reload", function()
        local c, first = early("/reload")
        assert.equal(200, (response(c)))
        rp:signal("HUP")
        rp:wait_stderr("generation=2")
        again(first)
        assert.equal(1, count(o, "/reload"))
        c:close()
        c = early("/after")
        assert.equal("accepted", c:early_status())
        assert.equal(200, (response(c)))
        c:close()
    end)

    it("is not taken from a ticket that is used twice", function()
        local s = session(rp.port)
        local c = early("/ticket", s)
        assert.equal("accepted", c:early_status())
        c:close()
        c = early("/ticket2", s)
        assert.equal("rejected", c:early_status())
        assert.equal(200, (c:get("/hello")))
        c:close()
        assert.equal(0, count(o, "/ticket2"))
    end)

    it("is not taken after the workers that took it died", function()
        local c, first = early("/died")
        assert.equal(200, (response(c)))
        for _, pid in ipairs(posix.tree(rp.pid)) do
            if pid ~= rp.pid then posix.kill(pid, 9) end
        end
        posix.poll(function() return #posix.tree(rp.pid) == 4 end, 60)
        for _ = 1, COPIES do
            local w = wire.connect(rp.port)
            w:send(first)
            pcall(w.recv, w, 5)
            w:close()
        end
        assert.equal(1, count(o, "/died"))
        c:close()
    end)
end)
