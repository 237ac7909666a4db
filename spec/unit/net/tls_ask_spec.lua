-- SPDX-License-Identifier: MIT
--
-- tls_ask: a handshake that stops for its owner's answers, on real sockets.

local net = require("spec.support.net")
local tls = require("spec.support.tls")
local posix = require("spec.support.posix")
local proc = require("spec.support.proc")
local ffi, sys = net.ffi, net.sys
local c = net.c
local C = c.load { "net/tls_server.h", "net/tls_ask.h", "net/conn.h" }

local WHY = 320
local HELLO, CERT = 1, 2

local dir

local function file(name)
    return assert(posix.read_file(dir .. "/" .. name))
end

-- One that has a certificate for a.test. rules: fields of struct rp_tls_rules.
local function server(fields)
    local rules, why = ffi.new("struct rp_tls_rules"), ffi.new("char[?]", WHY)
    rules.session_ms = 3600 * 1000
    for name, value in pairs(fields or {}) do
        rules[name] = value
    end
    local s = C.rp_tls_server_new(rules, why)
    assert(s ~= nil, ffi.string(why))
    local facts = ffi.new("struct rp_tls_cert_facts")
    for _, name in ipairs { "a", "b" } do
        local pem, key = file(name .. ".pem"), file(name .. ".key")
        assert(C.rp_tls_server_add(s, c.str(pem), c.str(key), facts, why) == 0, ffi.string(why))
    end
    assert(C.rp_tls_server_finish(s, why) == 0, ffi.string(why))
    return ffi.gc(ffi.new("struct rp_tls_server *[1]", s), C.rp_tls_server_drop)
end

local function cert(cert_text, key_text)
    local why = ffi.new("char[?]", WHY)
    local made = C.rp_tls_cert_new(c.str(cert_text), c.str(key_text or cert_text), why)
    if made == nil then return nil, ffi.string(why) end
    return ffi.gc(ffi.new("struct rp_tls_cert *[1]", made), C.rp_tls_cert_drop)
end

describe("a handshake that asks", function()
    local env, ours

    lazy_setup(function()
        dir = tls.dir()
        tls.ca(dir, "ca")
        tls.cert(dir, "a", { ca = "ca", names = { "a.test" } })
        tls.cert(dir, "b", { ca = "ca", names = { "b.test" } })
        tls.cert(dir, "made", { ca = "ca", names = { "made.test" } })
        tls.cert(dir, "rsa", { ca = "ca", names = { "rsa.test" }, kind = "rsa" })
        ours = server()
    end)
    lazy_teardown(proc.cleanup)
    before_each(function() env = net.open() end)
    after_each(function() env:close() end)

    local function turn()
        C.rp_loop_turn(env.loop, 0)
    end

    -- A conn that has come to its first question, and the spec's end.
    local function start(questions, opt)
        opt = opt or {}
        local near, far = net.tcp_pair()
        local conn = env:adopt(near)
        C.rp_conn_start_tls(conn.raw, (opt.by or ours)[0], nil)
        C.rp_conn_ask_tls(conn.raw, questions)
        opt.turn = turn
        local e = tls.over(opt.loose and far or env:own(far), opt)
        e:hello()
        env:until_true(function() return C.rp_conn_question(conn.raw) ~= 0 end)
        return conn, e
    end

    local function question(conn)
        return tonumber(C.rp_conn_question(conn.raw))
    end

    local function choice(fields)
        local made = ffi.new("struct rp_tls_choice")
        for name, value in pairs(fields or {}) do
            if type(value) == "string" then
                ffi.copy(made[name], value, #value)
                made[name .. "_n"] = #value
            else
                made[name] = value
            end
        end
        return made
    end

    -- The spec's end goes on until the conn has shaken hands.
    local function finish(conn, e)
        local ok, why = e:handshake()
        if not ok then return nil, why end
        env:until_true(function() return C.rp_conn_finish_tls(conn.raw) ~= 1 end)
        return c.err_name(C.rp_conn_finish_tls(conn.raw))
    end

    it("tells of each question once, and goes on after its answer", function()
        local conn, e = start(HELLO + CERT, { sni = "x.test", alpn = { "h2" } })
        assert.same({ HELLO, 1, "AGAIN" }, { question(conn), conn.writable,
            c.err_name(C.rp_conn_finish_tls(conn.raw)) })
        for _ = 1, 5 do turn() end
        assert.equal(1, conn.writable)
        C.rp_conn_answer_hello(conn.raw, choice())
        assert.equal(0, question(conn)) -- the rest comes from the loop
        env:until_true(function() return question(conn) == CERT end)
        assert.equal(2, conn.writable)
        local made = cert(file("made.pem"), file("made.key"))
        C.rp_conn_answer_cert(conn.raw, made[0])
        assert.equal("OK", finish(conn, e))
        assert.equal(3, conn.writable)
        assert.equal("made.test", e.peer)
        conn:close()
    end)

    it("hands out the ClientHello once", function()
        local conn = start(HELLO, { sni = "X.test", alpn = { "h2", "http/1.1" } })
        local hello = ffi.new("struct rp_tls_hello")
        assert.is_true(C.rp_conn_take_hello(conn.raw, hello))
        assert.equal("x.test", c.lua(hello.sni))
        assert.equal("\2h2\8http/1.1", c.lua(hello.alpn))
        C.rp_free(hello.body)
        assert.is_false(C.rp_conn_take_hello(conn.raw, hello))
        conn:close()
        local near = net.tcp_pair()
        local plain = env:adopt(near)
        assert.is_false(C.rp_conn_take_hello(plain.raw, hello))
        plain:close()
    end)

    it("follows what is chosen", function()
        local conn, e = start(HELLO, { sni = "a.test" })
        C.rp_conn_answer_hello(conn.raw, choice { name = "b.test" })
        assert.equal("OK", finish(conn, e))
        assert.equal("b.test", e.peer)
        conn:close()
        conn, e = start(HELLO, { sni = "a.test", versions = "1.2" })
        C.rp_conn_answer_hello(conn.raw, choice { min_version = 2 })
        local ok, why = e:handshake()
        assert.is_nil(ok)
        assert.truthy(why:find("protocol version"), why)
        conn:close()
    end)

    it("fails where what is chosen leaves no version", function()
        local old = server { versions = 1 } -- TLS 1.2
        local conn, e = start(HELLO, { sni = "a.test", by = old })
        C.rp_conn_answer_hello(conn.raw, choice { min_version = 2 })
        assert.is_nil((e:handshake()))
        env:until_true(function() return C.rp_conn_finish_tls(conn.raw) < 0 end)
        conn:close()
    end)

    it("sees that the client leaves while it waits", function()
        for _, how in ipairs { "fin", "reset" } do
            local conn, e = start(HELLO, { sni = "a.test", loose = true })
            if how == "reset" then net.reset_on_close(e.fd) end
            sys.close(e.fd)
            env:until_true(function() return conn.writable == 2 end)
            assert.equal("CLOSED", c.err_name(C.rp_conn_finish_tls(conn.raw)))
            assert.equal(0, question(conn))
            conn:close()
        end
    end)

    it("reads nothing while it waits", function()
        local conn, e = start(HELLO, { sni = "a.test" })
        local before = tonumber(C.rp_conn_face(conn.raw).in_bytes)
        e:send_raw(("x"):rep(1000))
        for _ = 1, 5 do turn() end
        assert.equal(1, conn.writable)
        assert.equal(before, tonumber(C.rp_conn_face(conn.raw).in_bytes))
        C.rp_conn_answer_hello(conn.raw, choice())
        env:until_true(function() return C.rp_conn_finish_tls(conn.raw) < 0 end)
        conn:close()
    end)

    it("can be closed, or made plain, at each question", function()
        for _, which in ipairs { HELLO, CERT } do
            local conn = start(which, { sni = "a.test" })
            conn:close()
            local other, e = start(which, { sni = "a.test" })
            C.rp_conn_stop_tls(other.raw)
            assert.equal("OK", other:send("\21\3\3\0\2\2\49"))
            local ok, why = e:handshake()
            assert.is_nil(ok)
            assert.truthy(why:find("access denied"), why)
            other:close()
        end
    end)

    it("needs a certificate where the server has none that it gives", function()
        local strict = server { refuse = true }
        local conn, e = start(CERT, { sni = "x.test", by = strict })
        assert.is_true(C.rp_tls_lacks_cert(C.rp_conn_tls(conn.raw)))
        C.rp_conn_answer_cert(conn.raw, nil)
        assert.is_nil((e:handshake()))
        conn:close()
        conn, e = start(CERT, { sni = "x.test", by = strict })
        local made = cert(file("made.pem"), file("made.key"))
        C.rp_conn_answer_cert(conn.raw, made[0])
        assert.equal("OK", finish(conn, e))
        conn:close()
        conn, e = start(CERT, { sni = "a.test", by = strict })
        assert.is_false(C.rp_tls_lacks_cert(C.rp_conn_tls(conn.raw)))
        C.rp_conn_answer_cert(conn.raw, nil)
        assert.equal("OK", finish(conn, e))
        conn:close()
    end)

    it("drops what is attached to it with its TLS", function()
        local dropped = 0
        local drop = ffi.cast("void (*)(void *)", function() dropped = dropped + 1 end)
        jit.off()
        local conn, e = start(HELLO, { sni = "a.test" })
        C.rp_conn_attach(conn.raw, ffi.cast("void *", 1), drop)
        assert.equal(ffi.cast("void *", 1), C.rp_tls_attached(C.rp_conn_tls(conn.raw)))
        C.rp_conn_answer_hello(conn.raw, choice())
        assert.equal("OK", finish(conn, e))
        assert.equal(0, dropped)
        conn:close()
        assert.equal(1, dropped)
        jit.on()
        drop:free()
    end)

    it("leaves others of the same server alone", function()
        local asks = start(HELLO, { sni = "a.test" })
        local near, far = net.tcp_pair()
        local conn = env:adopt(near)
        C.rp_conn_start_tls(conn.raw, ours[0], nil)
        local e = tls.over(env:own(far), { sni = "a.test", turn = turn })
        assert.equal("OK", finish(conn, e))
        assert.is_nil(C.rp_tls_attached(C.rp_conn_tls(conn.raw)) ~= nil or nil)
        conn:close()
        asks:close()
    end)
end)

describe("a certificate made of texts", function()
    lazy_setup(function()
        dir = tls.dir()
        for _, name in ipairs { "a", "b" } do tls.cert(dir, name, { names = { name .. ".test" } }) end
        tls.cert(dir, "rsa", { names = { "rsa.test" }, kind = "rsa" })
    end)
    lazy_teardown(proc.cleanup)

    it("is one text or two", function()
        assert.truthy(cert(file("a.pem"), file("a.key")))
        assert.truthy(cert(file("a.pem") .. file("a.key")))
        assert.truthy(cert(file("rsa.key") .. file("rsa.pem")))
    end)

    it("says what is wrong with it", function()
        for _, one in ipairs { { "", "", "no certificate in it" },
            { file("a.pem"), "", "no private key in it" },
            { file("a.pem"), file("b.key"), "does not belong to the certificate" },
            { "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "", "malformed" } } do
            local made, why = cert(one[1], one[2])
            assert.is_nil(made)
            assert.truthy(why:find(one[3], 1, true), why)
        end
    end)

    it("joins one of each kind of key", function()
        local one, more = cert(file("a.pem"), file("a.key")), cert(file("rsa.pem"), file("rsa.key"))
        C.rp_tls_cert_join(one[0], more[0])
        C.rp_tls_cert_join(one[0], one[0])
        local held = ffi.new("struct rp_tls_cert *[1]", C.rp_tls_cert_hold(one[0]))
        C.rp_tls_cert_drop(held)
        assert.equal(nil, held[0] ~= nil or nil)
        C.rp_tls_cert_drop(held) -- of nothing
    end)
end)
