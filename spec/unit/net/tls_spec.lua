-- SPDX-License-Identifier: MIT

local net = require("spec.support.net")
local tls = require("spec.support.tls")
local posix = require("spec.support.posix")
local proc = require("spec.support.proc")
local ffi, sys = net.ffi, net.sys
local c = net.c
local C = c.load { "net/tls_server.h", "net/tls_client.h", "net/conn.h" }

local WHY = 320

local dir

local function file(name)
    return assert(posix.read_file(dir .. "/" .. name))
end

local kept = {}

-- Texts of a rules struct must outlive it.
local function str(text)
    kept[#kept + 1] = text
    return c.str(text)
end

local function server(opt)
    opt = opt or {}
    local rules, why = ffi.new("struct rp_tls_rules"), ffi.new("char[?]", WHY)
    rules.session_ms = 3600 * 1000
    for name, value in pairs(opt.rules or {}) do
        rules[name] = type(value) == "string" and str(value) or value
    end
    local s = C.rp_tls_server_new(rules, why)
    if s == nil then return nil, ffi.string(why) end
    local facts = ffi.new("struct rp_tls_cert_facts")
    for _, name in ipairs(opt.certs or { "a" }) do
        local e = C.rp_tls_server_add(s, c.str(file(name .. ".pem")), c.str(file(name .. ".key")),
            facts, why)
        if e ~= 0 then return nil, ffi.string(why) end
    end
    assert(C.rp_tls_server_finish(s, why) == 0, ffi.string(why))
    return ffi.gc(ffi.new("struct rp_tls_server *[1]", s), C.rp_tls_server_drop)
end

local function client(opt)
    local rules, why = ffi.new("struct rp_tls_client_rules"), ffi.new("char[?]", WHY)
    for name, value in pairs(opt) do
        if name == "cas" then rules.base.cas = str(value)
        else rules[name] = type(value) == "string" and str(value) or value end
    end
    local made = C.rp_tls_client_new(rules, why)
    if made == nil then return nil, ffi.string(why) end
    return ffi.gc(ffi.new("struct rp_tls_client *[1]", made), C.rp_tls_client_drop)
end

describe("TLS of a conn", function()
    local env, ours

    lazy_setup(function()
        dir = tls.dir()
        tls.ca(dir, "ca")
        tls.cert(dir, "a", { ca = "ca", names = { "a.test" } })
        tls.cert(dir, "b", { ca = "ca", names = { "b.test", "*.w.test" }, kind = "rsa" })
        tls.cert(dir, "bare", { cn = "bare.test" })
        ours = server { certs = { "a", "b" } }
    end)
    lazy_teardown(proc.cleanup)
    before_each(function()
        env = net.open()
        kept = {}
    end)
    after_each(function() env:close() end)

    local function turn()
        C.rp_loop_turn(env.loop, 0)
    end

    -- A conn that ends TLS and the spec's end of it, hands shaken. opt: of the spec's end.
    local function pair(opt)
        opt = opt or {}
        local near, far = net.tcp_pair()
        local small = ffi.new("int[1]", opt.small or 0)
        if opt.small then sys.setsockopt(near, net.SOL_SOCKET, net.SO_SNDBUF, small, 4) end
        local conn = env:adopt(near)
        C.rp_conn_start_tls(conn.raw, (opt.by or ours)[0], opt.tickets)
        opt.turn = opt.turn or turn
        local e = tls.over(env:own(far), opt)
        local ok, why = e:handshake()
        if not ok then return conn, e, why end
        env:until_true(function() return C.rp_conn_finish_tls(conn.raw) ~= 1 end)
        return conn, e
    end

    it("shakes hands and tells so once", function()
        local conn, e = pair { sni = "b.test", alpn = { "x" } }
        assert.equal("OK", c.err_name(C.rp_conn_finish_tls(conn.raw)))
        assert.equal(1, conn.writable)
        local t = C.rp_conn_tls(conn.raw)
        assert.equal("b.test", c.lua(C.rp_tls_sni(t)))
        assert.equal("TLSv1.3", c.lua(C.rp_tls_version(t)))
        assert.equal("TLS_AES_128_GCM_SHA256", c.lua(C.rp_tls_cipher(t)))
        assert.equal("b.test", e.peer)
        conn:close()
    end)

    for _, version in ipairs { "1.2", "1.3" } do
        it("carries bytes both ways, one by one, TLS " .. version, function()
            local conn, e = pair { versions = version, piece = 1, piece_in = 1 }
            e:send("hello")
            local got = ""
            env:until_true(function()
                local _, bytes = conn:recv()
                got = got .. bytes
                return got == "hello"
            end)
            assert.equal("OK", conn:send(("x"):rep(1000)))
            assert.equal(("x"):rep(1000), e:recv(1000))
            conn:close()
            assert.same({ "", "closed" }, { e:recv_all() })
        end)
    end

    it("tells again of what waits inside, while bytes are left", function()
        local conn, e = pair()
        e:send("hello world")
        env:until_true(function() return conn.readable > 0 end)
        assert.same({ "OK", "hello" }, { conn:recv(5) })
        local before = conn.readable
        env:until_true(function() return conn.readable > before end)
        assert.same({ "OK", " world" }, { conn:recv() })
        assert.same({ "AGAIN", "" }, { conn:recv() })
        conn:close()
    end)

    it("tells after resume of what waits inside, and not before", function()
        local conn, e = pair()
        e:send("hello world")
        env:until_true(function() return conn.readable > 0 end)
        C.rp_conn_pause(conn.raw)
        assert.same({ "OK", "hello" }, { conn:recv(5) })
        local before = conn.readable
        env:spin(0.03)
        assert.equal(before, conn.readable)
        C.rp_conn_resume(conn.raw)
        assert.equal(before, conn.readable) -- not within the call
        env:until_true(function() return conn.readable > before end)
        assert.same({ "OK", " world" }, { conn:recv() })
        conn:close()
    end)

    it("takes a flood of tiny records, a part of it in each turn", function()
        local conn, e = pair()
        local n, got, most = 1000, 0, 0
        for _ = 1, n do e:send("x") end
        env:until_true(function()
            local _, bytes = conn:recv()
            got, most = got + #bytes, math.max(most, #bytes)
            return got == n
        end)
        assert.is_true(most <= 64)
        assert.same({ "AGAIN", "" }, { conn:recv() })
        conn:close()
    end)

    it("tells of each part of a flood by an event", function()
        local conn, e = pair()
        local n, got = 1000, 0
        conn.on_event = function()
            local _, bytes = conn:recv()
            got = got + #bytes
        end
        for _ = 1, n do e:send("x") end
        env:until_true(function() return got == n end)
        conn:close()
    end)

    it("tells again who heard and did not read", function()
        local conn, e = pair()
        e:send("hello world")
        env:until_true(function() return conn.readable > 0 end)
        assert.same({ "OK", "hello" }, { conn:recv(5) })
        local before = conn.readable
        env:until_true(function() return conn.readable > before + 3 end)
        C.rp_conn_pause(conn.raw)
        turn()
        before = conn.readable
        for _ = 1, 3 do turn() end
        assert.equal(before, conn.readable)
        conn:close()
    end)

    it("ends a flood of key updates, and takes those of long transfers", function()
        local conn, e = pair()
        local updates, heard = 0, "AGAIN"
        for _ = 1, 300 do
            e:key_update()
            assert.is_true(e:handshake())
        end
        assert.is_true(e:send("hello"))
        local how, got
        env:until_true(function()
            how, got = conn:recv()
            return got ~= "" or how ~= "AGAIN"
        end)
        local why = C.rp_conn_why(conn.raw)
        assert.same({ "OK", "hello" }, { how, got, why ~= nil and ffi.string(why) or nil })
        assert.equal("OK", conn:send("fine"))
        assert.equal("fine", e:recv(4))
        while heard == "AGAIN" and updates < 3000 do
            e:key_update()
            updates = updates + 1
            if not e:handshake() then break end
            if updates % 50 == 0 then heard = conn:recv() end
        end
        assert.equal("CLOSED", heard)
        assert.matches("too many key updates", ffi.string(C.rp_conn_why(conn.raw)))
        conn:close()
    end)

    it("takes the largest records, and refuses larger ones", function()
        local conn, e = pair()
        e:send(("z"):rep(16384))
        local got = 0
        env:until_true(function()
            got = got + #select(2, conn:recv())
            return got == 16384
        end)
        e:send_raw("\23\3\3\255\255" .. ("z"):rep(65535))
        env:until_true(function() return (conn:recv()) == "CLOSED" end)
        conn:close()
    end)

    it("is not quiet while bytes wait inside", function()
        local conn, e = pair()
        assert.is_true(C.rp_conn_is_quiet(conn.raw))
        e:send("hello")
        env:until_true(function() return conn.readable > 0 end)
        assert.same({ "OK", "he" }, { conn:recv(2) })
        assert.is_false(C.rp_conn_is_quiet(conn.raw))
        assert.same({ "OK", "llo" }, { conn:recv() })
        assert.is_true(C.rp_conn_is_quiet(conn.raw))
        conn:close()
    end)

    it("shows bytes without taking them", function()
        local conn, e = pair()
        e:send("hello")
        env:until_true(function() return conn.readable > 0 end)
        local buf, got = ffi.new("char[10]"), ffi.new("size_t[1]")
        assert.equal(0, C.rp_conn_peek(conn.raw, buf, 10, got))
        assert.equal("hello", ffi.string(buf, got[0]))
        assert.same({ "OK", "hello" }, { conn:recv() })
        conn:close()
    end)

    it("tells of the end after the bytes before it, in one piece or not", function()
        local conn, e = pair()
        e:send("bye")
        e:notify()
        env:until_true(function() return conn.readable > 0 end)
        env:spin(0.02)
        assert.same({ "OK", "bye" }, { conn:recv() })
        local before = conn.readable
        env:until_true(function() return conn.readable > before end)
        assert.same({ "END", "" }, { conn:recv() })
        assert.same({ "END", "" }, { conn:recv() })
        conn:close()
    end)

    it("takes a client's end without close_notify for an end", function()
        local conn, e = pair()
        e:finish()
        env:until_true(function() return conn.readable > 0 end)
        assert.equal("END", (conn:recv()))
        conn:close()
    end)

    it("fails on a broken record and keeps the reason", function()
        local conn, e = pair()
        e:send_raw(("\23\3\3\0\40"):rep(20))
        env:until_true(function() return conn.readable > 0 end)
        assert.equal("CLOSED", (conn:recv()))
        assert.equal("tls", ffi.string(conn.face.fail.step))
        assert.truthy(ffi.string(C.rp_conn_why(conn.raw)):find("%a"))
        assert.equal("CLOSED", conn:send("x"))
        conn:close()
    end)

    it("keeps what the socket does not take, and sends it in order", function()
        local conn, e = pair { small = 4096 }
        local total, queued, waits = 3 * 1024 * 1024, 0, 0
        local got = {}
        local function pump()
            while queued < total do
                local piece = {}
                for i = 0, 4095 do piece[i + 1] = ("%07d\n"):format(queued / 8 + i) end
                local part = table.concat(piece)
                queued = queued + #part
                if conn:send(part) == "AGAIN" then
                    waits = waits + 1
                    assert.is_true(conn.chain.bytes > 0)
                    return
                end
            end
        end
        conn.on_event = function(_, events)
            if events >= 2 and conn:send() == "OK" then pump() end
        end
        pump()
        local have = 0
        while have < total do
            local part = e:recv(math.min(65536, total - have))
            got[#got + 1] = part
            have = have + #part
        end
        assert.is_true(waits > 0)
        local text = table.concat(got)
        for i = 0, total / 8 - 1, 997 do
            assert.equal(("%07d\n"):format(i), text:sub(i * 8 + 1, i * 8 + 8))
        end
        assert.equal(0, tonumber(conn.chain.bytes))
        conn:close()
    end)

    it("says close_notify before the FIN also when it has to wait for room", function()
        local conn, e = pair { small = 4096 }
        local sent = 0
        while conn:send(("y"):rep(65536)) == "OK" do sent = sent + 65536 end
        sent = sent + 65536
        local done = false
        conn.on_event = function(_, events)
            if events >= 2 and not done and conn:send() == "OK" then
                done = true
                C.rp_conn_linger(conn.raw, 5000, 1000)
            end
        end
        assert.equal(sent, e:drain(sent))
        assert.same({ "", "closed" }, { e:recv_all() })
        e:close()
    end)

    it("says close_notify and FIN in the packet of the last bytes", function()
        local conn, e = pair()
        local before = net.segments_in(e.fd)
        assert.equal("OK", conn:send_last("answer"))
        assert.same({ "answer", "closed" }, { e:recv_all() })
        assert.equal(1, net.segments_in(e.fd) - before)
        conn:close()
    end)

    it("says close_notify behind last bytes that had to wait for room", function()
        local conn, e = pair { small = 4096 }
        local total = 3 * 1024 * 1024
        local result = conn:send_last(("y"):rep(total))
        assert.equal("AGAIN", result)
        conn.on_event = function(_, events)
            if events >= 2 and result == "AGAIN" then result = conn:send_last() end
        end
        assert.equal(total, e:drain(total))
        assert.same({ "", "closed" }, { e:recv_all() })
        assert.equal("OK", result)
        conn:close()
    end)

    it("frees everything when closed in the middle of a handshake", function()
        local near, far = net.tcp_pair()
        local conn = env:adopt(near)
        C.rp_conn_start_tls(conn.raw, ours[0], nil)
        env:own(far)
        net.write(far, "\22\3\1\0\200\1")
        env:spin(0.01)
        conn:close()
    end)

    it("gives back a plain connection when the other side spoke HTTP", function()
        local near, far = net.tcp_pair()
        local conn = env:adopt(near)
        C.rp_conn_start_tls(conn.raw, ours[0], nil)
        env:own(far)
        net.write(far, "GET / HTTP/1.1\r\n\r\n")
        env:until_true(function() return conn.writable > 0 end)
        assert.equal("TLS_PLAIN_HTTP", c.err_name(C.rp_conn_finish_tls(conn.raw)))
        C.rp_conn_stop_tls(conn.raw)
        assert.equal("OK", conn:send("plain"))
        env:until_true(function() return net.read(far) == "plain" end)
        conn:close()
    end)

    describe("as a client", function()
        -- A listening socket whose next connection the spec answers with TLS.
        local function connect(ours_client, name, memory, opt)
            local ln, port = net.tcp_listen()
            env:own(ln)
            local conn = assert(env:connect("127.0.0.1:" .. port))
            C.rp_conn_use_tls(conn.raw, ours_client[0], c.str(name), memory)
            local fd = env:own(sys.accept4(ln, nil, nil, 0))
            local result
            local function step()
                turn()
                if not result and conn.writable > 0 then
                    local e = C.rp_conn_finish_connect(conn.raw)
                    if e ~= 1 then result = c.err_name(e) end
                end
            end
            opt = opt or {}
            opt.server, opt.turn = true, step
            local own = dir .. "/" .. (opt.with or "a")
            opt.cert, opt.key = own .. ".pem", own .. ".key"
            local e = tls.over(fd, opt)
            e:handshake()
            env:until_true(function()
                step()
                return result
            end)
            return result, conn, e
        end

        it("verifies the name, and says why not", function()
            local made = client { verify = true, cas = file("ca.pem") }
            local result, conn, e = connect(made, "a.test")
            assert.equal("OK", result)
            assert.equal("a.test", e.asked)
            assert.is_true(C.rp_tls_is_verified(C.rp_conn_tls(conn.raw)))
            conn:close()
            result, conn = connect(made, "b.test")
            assert.equal("UP_TLS_VERIFY", result)
            assert.equal("hostname mismatch", ffi.string(C.rp_conn_why(conn.raw)))
            conn:close()
            result, conn, e = connect(made, "10.0.0.1")
            assert.equal("UP_TLS_VERIFY", result)
            assert.is_nil(e.asked)
            conn:close()
        end)

        it("looks for names and addresses among the alternative names only", function()
            -- RFC 9525 §2, §6.3: the common name is for people.
            tls.cert(dir, "cn", { ca = "ca", cn = "cn.test" })
            tls.cert(dir, "ip", { ca = "ca", cn = "127.0.0.9", ips = { "127.0.0.1", "::1" } })
            tls.cert(dir, "dnsip", { ca = "ca", cn = "x", names = { "127.0.0.1" } })
            tls.cert(dir, "both", { ca = "ca", cn = "cn.test", names = { "san.test" } })
            tls.cert(dir, "wild", { ca = "ca", names = { "f*.test", "*.w.test" } })
            local made = client { verify = true, cas = file("ca.pem") }
            for _, try in ipairs {
                { "cn", "cn.test" }, { "both", "cn.test" }, { "both", "san.test", true },
                { "ip", "127.0.0.1", true }, { "ip", "::1", true }, { "ip", "127.0.0.9" },
                { "dnsip", "127.0.0.1" }, { "wild", "foo.test" }, { "wild", "a.w.test", true },
                { "wild", "b.a.w.test" },
            } do
                local what = try[1] .. " for " .. try[2]
                local result, conn = connect(made, try[2], nil, { with = try[1] })
                assert.equal(try[3] and "OK" or "UP_TLS_VERIFY", result, what)
                if not try[3] then
                    local why = ffi.string(C.rp_conn_why(conn.raw))
                    assert.truthy(why:find("mismatch", 1, true), what)
                end
                conn:close()
            end
        end)

        it("cannot be made without authorities to trust", function()
            local none, why = client { verify = true }
            assert.is_nil(none)
            assert.equal("there is no certificate in it", why)
        end)

        it("resumes a session once", function()
            local made = client { verify = true, cas = file("ca.pem") }
            local memory = C.rp_tls_memory_new()
            for i = 1, 3 do
                local result, conn, e = connect(made, "a.test", memory)
                assert.equal("OK", result)
                e:send("x") -- the tickets come before it
                env:until_true(function() return select(2, conn:recv()) == "x" end)
                assert.is_false(e.resumed and i == 1)
                conn:close()
            end
            C.rp_tls_memory_drop(ffi.new("struct rp_tls_memory *[1]", memory))
        end)

        it("takes an end without close_notify for a cut", function()
            local result, conn, e = connect(client { verify = false }, "a.test")
            assert.equal("OK", result)
            e:send("half")
            e:finish()
            env:until_true(function() return conn.readable > 0 end)
            env:spin(0.02)
            assert.same({ "OK", "half" }, { conn:recv() })
            assert.equal("CLOSED", (conn:recv()))
            conn:close()
        end)

        it("has an identity of everything that makes it", function()
            local function id(opt, peer)
                local out = ffi.new("uint8_t[32]")
                C.rp_tls_client_id(client(opt)[0], c.str(peer), out)
                return ffi.string(out, 32)
            end
            local base = id({ verify = false }, "a")
            assert.equal(base, id({ verify = false }, "a"))
            assert.not_equal(base, id({ verify = false }, "b"))
            assert.not_equal(base, id({ verify = false, sni = "x" }, "a"))
            assert.not_equal(base, id({ verify = false, name = "x" }, "a"))
            assert.not_equal(base, id({ verify = true, cas = file("ca.pem") }, "a"))
        end)
    end)

    describe("certificates by name", function()
        it("are found for exact names and one label of a wildcard", function()
            local s = server { certs = { "a", "b", "bare" } }
            for name, known in pairs { ["a.test"] = true, ["b.test"] = true, ["x.w.test"] = true,
                ["w.test"] = false, ["x.y.w.test"] = false, ["bare.test"] = true, test = false } do
                assert.equal(known, C.rp_tls_server_knows(s[0], c.str(name)), name)
            end
            assert.equal(3, C.rp_tls_server_certs(s[0]))
        end)

        it("are refused with the reason", function()
            local s = ours[0]
            local facts, why = ffi.new("struct rp_tls_cert_facts"), ffi.new("char[?]", WHY)
            local function add(cert, key)
                local e = C.rp_tls_server_add(s, c.str(cert), c.str(key), facts, why)
                return c.err_name(e), ffi.string(why)
            end
            assert.same({ "INVALID", "the private key does not belong to the certificate" },
                { add(file("a.pem"), file("b.key")) })
            assert.same({ "INVALID", "there is no certificate in it" }, { add("", file("a.key")) })
            assert.same({ "INVALID", "there is no private key in it" },
                { add(file("a.pem"), file("a.pem")) })
            assert.same({ "INVALID", "its certificate is malformed" },
                { add("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "") })
            assert.same({ "INVALID", "its private key is malformed" }, { add(file("a.pem"),
                "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n") })
            assert.same({ "INVALID",
                "its private key is encrypted; store it without a passphrase" }, { add(file("a.pem"),
                "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n")
                })
        end)

        it("of clients need somebody who signs them", function()
            local none, why = server { rules = { ask = C.RP_TLS_ASK_REQUIRED } }
            assert.is_nil(none)
            assert.equal("clients' certificates need a CA", why)
        end)
    end)

    describe("tickets", function()
        local keys, drawn

        local function draw(i)
            drawn = drawn + 1
            local key = keys.keys[i]
            ffi.fill(key.name, 16, drawn)
            ffi.fill(key.cipher, 32, 100 + drawn)
            ffi.fill(key.mac, 32, 200 - drawn)
        end

        before_each(function()
            keys, drawn = ffi.new("struct rp_tls_tickets"), 0
            for i = 0, 2 do draw(i) end
            keys.ready = true
        end)

        local function rotate()
            ffi.copy(keys.keys[2], keys.keys[1], ffi.sizeof(keys.keys[0]))
            ffi.copy(keys.keys[1], keys.keys[0], ffi.sizeof(keys.keys[0]))
            draw(0)
        end

        -- One connection: was it resumed, and the session that it leaves.
        local function visit(version, session, given)
            local conn, e = pair { versions = version, session = session, sni = "a.test",
                tickets = given or keys }
            conn:send("x") -- the tickets come before it
            e:recv(1)
            local resumed, left = e.resumed, e:session()
            assert.equal(resumed, C.rp_tls_is_resumed(C.rp_conn_tls(conn.raw)))
            e:close()
            conn:close()
            return resumed, left
        end

        -- A connection whose client asks for something with the last message of its handshake.
        local function eager_pair()
            local near, far = net.tcp_pair()
            local conn = env:adopt(near)
            C.rp_conn_start_tls(conn.raw, ours[0], keys)
            local e
            e = tls.over(env:own(far), { versions = "1.3", sni = "a.test", turn = function()
                e.hold = true -- the first message has gone
                turn()
            end })
            assert(e:handshake())
            e.hold = false
            local before = tonumber(conn.face.out_bytes)
            assert.is_true(e:send("question"))
            env:until_true(function() return conn.readable > 0 end)
            return conn, e, before
        end

        it("bring no early data where nobody can say that it comes first", function()
            local s = server { certs = { "a" }, rules = { early = true } }
            local opt = { by = s, versions = "1.3", sni = "a.test", tickets = keys }
            local conn, e = pair(opt)
            conn:send("x") -- the tickets come before it
            e:recv(1)
            local session = e:session()
            e:close()
            conn:close()
            local near, far = net.tcp_pair()
            conn = env:adopt(near)
            C.rp_conn_start_tls(conn.raw, s[0], keys)
            e = tls.over(env:own(far), { session = session, sni = "a.test", turn = turn })
            e:send_early("early")
            assert.is_true(e:handshake())
            assert.is_true(e.resumed)
            assert.equal("rejected", e:early_status())
            e:send("late")
            env:until_true(function() return conn.readable > 0 end)
            assert.is_false(C.rp_tls_is_early(C.rp_conn_tls(conn.raw)))
            assert.same({ "OK", "late" }, { conn:recv() })
            e:close()
            conn:close()
        end)

        it("go with the first answer when that was asked for already", function()
            local conn, e, before = eager_pair()
            assert.equal(before, tonumber(conn.face.out_bytes))
            assert.same({ "OK", "question" }, { conn:recv() })
            assert.same({ "AGAIN", "" }, { conn:recv() })
            assert.equal(before, tonumber(conn.face.out_bytes))
            local segments = net.segments_in(e.fd)
            assert.equal("OK", conn:send("answer"))
            assert.equal("answer", e:recv(6))
            assert.equal(1, net.segments_in(e.fd) - segments)
            local session = e:session()
            e:close()
            conn:close()
            local again, other = pair { versions = "1.3", session = session, sni = "a.test",
                tickets = keys }
            assert.is_true(other.resumed)
            again:close()
        end)

        it("that wait for an answer are sent before the end", function()
            local conn, e, before = eager_pair()
            C.rp_conn_shutdown(conn.raw)
            assert.is_true(tonumber(conn.face.out_bytes) > before)
            assert.same({ "", "closed" }, { e:recv_all() })
            assert.is_truthy(e:session())
            conn:close()
        end)

        it("are sent at once to a client that has asked for nothing", function()
            local conn, e = pair { versions = "1.3", sni = "a.test", tickets = keys }
            e.hold = true
            local before = conn.readable
            env:spin(0.01)
            assert.equal(before, conn.readable)
            sys.shutdown(e.fd, 1)
            env:until_true(function() return conn.readable > before end)
            assert.equal("END", (conn:recv()))
            C.rp_conn_close(conn.raw)
            assert.same({ "", "closed" }, { e:recv_all() })
            assert.is_truthy(e:session())
        end)

        for _, version in ipairs { "1.2", "1.3" } do
            it("are taken under the key in use, the next and the last, TLS " .. version, function()
                local resumed, first = visit(version)
                assert.is_false(resumed)
                local copy = ffi.new("struct rp_tls_tickets", keys)
                rotate() -- ours now lies under the last key, and others may use what was next
                local again, renewed = visit(version, first)
                assert.is_true(again)
                assert.is_true((visit(version, renewed, copy))) -- a worker that heard of nothing
                rotate()
                assert.is_true((visit(version, select(2, visit(version, renewed)))))
            end)

            it("are not taken when their key is gone, TLS " .. version, function()
                local _, session = visit(version)
                for _ = 1, 2 do rotate() end
                assert.is_false((visit(version, session)))
            end)
        end

        it("are neither given nor taken without keys", function()
            local _, session = visit("1.2")
            keys.ready = false
            local resumed, left = visit("1.2", session)
            assert.is_false(resumed)
            assert.is_false((visit("1.2", left)))
        end)

        it("of one set of rules for clients are not those of another", function()
            local _, session = visit("1.3")
            local s = server { rules = { ask = C.RP_TLS_ASK_OPTIONAL, cas = file("ca.pem") } }
            local conn, e = pair { by = s, session = session, sni = "a.test", tickets = keys }
            assert.is_false(e.resumed)
            conn:close()
        end)
    end)

    it("asks clients for certificates and knows them", function()
        local s = server { rules = { ask = C.RP_TLS_ASK_REQUIRED, cas = file("ca.pem") } }
        tls.cert(dir, "me", { ca = "ca", names = { "me.test" }, ips = { "10.0.0.1" } })
        local conn, e = pair { by = s, cert = dir .. "/me.pem", key = dir .. "/me.key" }
        assert.equal("TLSv1.3", e.version)
        local t, out = C.rp_conn_tls(conn.raw), ffi.new("struct rp_buf")
        C.rp_buf_init(out, 4096)
        assert.is_true(C.rp_tls_peer_text(t, C.RP_TLS_PEER_SUBJECT, out))
        assert.equal("CN=me.test", ffi.string(out.ptr, out.len))
        C.rp_buf_clear(out)
        assert.is_true(C.rp_tls_peer_name(t, 0, out))
        assert.is_true(C.rp_tls_peer_name(t, 1, out))
        assert.is_false(C.rp_tls_peer_name(t, 2, out))
        assert.equal("DNS:me.testIP:10.0.0.1", ffi.string(out.ptr, out.len))
        C.rp_buf_clear(out)
        assert.is_true(C.rp_tls_peer_text(t, C.RP_TLS_PEER_FINGERPRINT, out))
        assert.equal(64, tonumber(out.len))
        C.rp_buf_fini(out)
        assert.is_true(C.rp_tls_peer_end(t) > os.time())
        assert.is_true(C.rp_tls_is_verified(t))
        conn:close()
        local names = {}
        for i = 1, 120 do names[i] = ("n%d.test"):format(i) end
        tls.cert(dir, "many", { ca = "ca", names = names })
        conn = pair { by = s, cert = dir .. "/many.pem", key = dir .. "/many.key" }
        t = C.rp_conn_tls(conn.raw)
        C.rp_buf_init(out, 64)
        for i = 1, 100 do
            C.rp_buf_clear(out)
            assert.is_true(C.rp_tls_peer_name(t, i - 1, out))
            assert.equal("DNS:" .. names[i], ffi.string(out.ptr, out.len))
        end
        assert.is_false(C.rp_tls_peer_name(t, 100, out))
        C.rp_buf_clear(out)
        assert.is_true(C.rp_tls_peer_name(t, 0, out))
        C.rp_buf_fini(out)
        conn:close() -- amid a list
        local refused, far = pair { by = s, versions = "1.2" }
        assert.equal("TLS_HANDSHAKE", c.err_name(C.rp_conn_finish_tls(refused.raw)))
        assert.truthy(far)
        refused:close()
    end)
end)
