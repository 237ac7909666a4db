-- SPDX-License-Identifier: MIT
--
-- h1_down: a client's connection as its user sees it; the spec is the user and the client.

local net = require("spec.support.net")

local C, ffi, c, sys = net.C, net.ffi, net.c, net.sys
c.load { "http/h1_down.h" }

local START, BODY, SINK, ABORT = "start", 1, 2, 4
local GET = "GET /x HTTP/1.1\r\nHost: a\r\n\r\n"

describe("an HTTP/1 client connection", function()
    local env, near, far, settings, all, events, live, anchors, half_closed

    before_each(function()
        env = net.open()
        settings, all = ffi.new("struct rp_h1_settings"), ffi.new("struct rp_h1_downs")
        settings.limits = { 32768, 8192, 100 }
        settings.head_ms, settings.keepalive_ms, settings.linger_ms = 5000, 5000, 5000
        events, anchors, live, half_closed = {}, {}, nil, false
        local user = env:anchor(ffi.new("struct rp_exchange_user"))
        user.open = env:callback("struct rp_exchange *(*)(void *, void *)", function()
            local x = ffi.new("struct rp_exchange")
            anchors[#anchors + 1] = x
            C.rp_arena_init(x.arena, x.arena_first, C.RP_EXCHANGE_ARENA_BYTES, 65536)
            C.rp_msg_init(x.head, x.fields, C.RP_EXCHANGE_FIELDS, 100)
            x.body_limit = -1ULL
            x.half_closed = half_closed
            return x
        end)
        user.start = env:callback("void (*)(struct rp_exchange *, rp_err)", function(x, e)
            live = x
            events[#events + 1] = START .. " " .. c.err_name(e)
        end)
        user.wake = env:callback("void (*)(struct rp_exchange *, unsigned)", function(_, why)
            events[#events + 1] = tonumber(why)
        end)
        near, far = net.tcp_pair()
        local out = ffi.new("struct rp_conn *[1]")
        assert.equal(0, C.rp_conn_adopt(env.loop, far and near, nil, nil, out))
        C.rp_h1_down_open(out[0], env.mem, settings, user, all, nil, 7)
    end)

    -- Let go of the exchange, as its owner would.
    local function finish()
        local x = live
        live = nil
        x.ops.finish(x)
        C.rp_chunk_drop(x.head_chunk)
        C.rp_arena_reset(x.arena)
    end

    after_each(function()
        if live then finish() end
        C.rp_h1_downs_close_idle(all)
        if far then sys.close(far) end
        env:spin(0.005)
        assert.equal(0, all.n)
        assert.equal(0, tonumber(env.mem.live_bytes))
        env:close()
    end)

    local function until_started()
        env:until_true(function() return live end)
        return live
    end

    local function request(bytes)
        net.write(far, bytes)
        return until_started()
    end

    local function has(event)
        for _, e in ipairs(events) do if e == event then return true end end
        return false
    end

    local function received()
        local buf, ended = "", nil
        repeat
            C.rp_loop_turn(env.loop, 2)
            local bytes, errno = net.read(far)
            if bytes == "" then ended = "closed" end
            if not bytes and errno ~= net.posix.EAGAIN then ended = "reset" end
            buf = buf .. (bytes or "")
        until not bytes or ended
        return buf, ended
    end

    local function ended()
        local buf, how = "", nil
        env:until_true(function()
            local bytes
            bytes, how = received()
            buf = buf .. bytes
            return how
        end)
        return buf, how
    end

    -- Send a response head; framing as of struct rp_msg.
    local function head(x, status, framing, length)
        local res = ffi.new("struct rp_msg")
        C.rp_msg_init(res, nil, 0, 10)
        res.status, res.framing, res.content_length = status, C[framing], length or 0
        assert.equal(0, x.ops.send_head(x, res))
        return res
    end

    local function send(x, bytes, last)
        local chain = ffi.new("struct rp_chain")
        C.rp_chain_init(chain, env.mem)
        C.rp_chain_add_copy(chain, c.str(bytes))
        local e = c.err_name(x.ops.send_body(x, chain, last))
        C.rp_chain_clear(chain)
        return e
    end

    local function answer(x, body)
        head(x, 200, "RP_BODY_LENGTH", #body)
        assert.equal("OK", send(x, body, true))
        assert.equal("OK", c.err_name(x.ops.flush(x)))
        finish()
    end

    local function read_body(x, max)
        local chain = ffi.new("struct rp_chain")
        C.rp_chain_init(chain, env.mem)
        local e = c.err_name(x.ops.read_body(x, chain, max or 65536))
        local n = tonumber(chain.bytes)
        local buf = ffi.new("char[?]", n + 1)
        C.rp_chain_peek(chain, buf, n)
        C.rp_chain_clear(chain)
        return e, ffi.string(buf, n)
    end

    it("starts an exchange with the parsed head", function()
        local x = request(GET)
        assert.same({ "start OK" }, events)
        assert.equal("/x", c.lua(x.head.target))
        assert.equal(1, x.conn_requests)
        assert.equal(7, tonumber(x.conn_id))
        assert.is_false(x.close_after)
        answer(x, "hi")
        assert.matches("^HTTP/1.1 200 OK\r\nDate: [^\r]+\r\nContent%-Length: 2\r\n\r\nhi$",
            (received()))
        assert.equal(2, request(GET).conn_requests)
    end)

    it("takes a head in any pieces, empty lines before it included", function()
        local bytes = "\r\n\r\n" .. GET
        for i = 1, #bytes do
            net.write(far, bytes:sub(i, i))
            C.rp_loop_turn(env.loop, 2)
        end
        until_started()
        assert.same({ "start OK" }, events)
    end)

    it("keeps pipelined requests for later, one at a time", function()
        local x = request(GET .. GET .. "GET /y HT")
        assert.same({ "start OK" }, events)
        answer(x, "1")
        x = until_started()
        answer(x, "2")
        env:spin(0.01)
        assert.is_nil(live)
        x = request("TP/1.1\r\nHost: a\r\n\r\n")
        assert.equal("/y", c.lua(x.head.target))
        assert.equal(3, x.conn_requests)
    end)

    it("answers nothing itself when a head is bad: the user is told", function()
        local x = request("\22\3\1\2")
        assert.same({ "start H1_SYNTAX" }, events)
        assert.is_true(x.close_after)
        answer(x, "bad")
        assert.matches("Connection: close", (ended()))
    end)

    it("refuses a head over its limit before it is whole", function()
        net.write(far, "GET / HTTP/1.1\r\nHost: a\r\nX: " .. ("x"):rep(40000))
        until_started()
        assert.same({ "start H1_HEAD_BIG" }, events)
    end)

    it("tells of a head that takes too long, and of nothing when none began", function()
        settings.head_ms = 30
        net.write(far, "GET / HT")
        until_started()
        assert.same({ "start HEAD_TIMEOUT" }, events)
    end)

    describe("whose client has announced the end", function()
        local LAST = "GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"

        it("is closed with the answer, without waiting for the client's", function()
            answer(request(LAST), "hi")
            assert.is_false(net.fd_is_open(near))
            local bytes, how = ended()
            assert.matches("Connection: close\r\n\r\nhi$", bytes)
            assert.equal("closed", how)
        end)

        it("is so over HTTP/1.0, too", function()
            answer(request("GET /x HTTP/1.0\r\nHost: a\r\n\r\n"), "hi")
            assert.is_false(net.fd_is_open(near))
            assert.equal("closed", select(2, ended()))
        end)

        it("lingers when bytes came behind the end: a reset could overtake the answer", function()
            answer(request(LAST .. "\r\n"), "hi")
            assert.is_true(net.fd_is_open(near))
            assert.equal("closed", select(2, ended()))
            net.write(far, "more")
            sys.shutdown(far, 1)
            env:until_true(function() return not net.fd_is_open(near) end)
        end)

        it("lingers when a body is not read to its end", function()
            answer(request("POST /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n" ..
                "Content-Length: 5\r\n\r\nab"), "hi")
            assert.is_true(net.fd_is_open(near))
        end)

        -- Old ones send an empty line behind a body (RFC 9112 §2.2).
        it("lingers behind a body: what comes late does not cost the answer", function()
            local room = ffi.new("int[1]", 1024 * 1024)
            assert(sys.setsockopt(near, net.SOL_SOCKET, net.SO_SNDBUF, room, 4) == 0)
            local body = ("x"):rep(300000) -- more than the client's system takes unread
            local x = request("POST /x HTTP/1.0\r\nContent-Length: 2\r\n\r\nab")
            assert.equal("OK", (read_body(x)))
            head(x, 200, "RP_BODY_LENGTH", #body)
            send(x, body, true)
            assert.equal("OK", c.err_name(x.ops.flush(x)))
            finish()
            net.write(far, "\r\n")
            local bytes, how = ended()
            assert.equal("closed", how)
            assert.equal(#body, #bytes - select(2, bytes:find("\r\n\r\n", 1, true)))
        end)
    end)

    it("lingers when it is we who end it", function()
        settings.requests_max = 1
        answer(request(GET), "hi")
        assert.is_true(net.fd_is_open(near))
        assert.equal("closed", select(2, ended()))
    end)

    it("lingers on a head that was refused", function()
        answer(request("GET / HTTP/1.1\r\nConnection: close\r\nbad line\r\n\r\n"), "bad")
        assert.is_true(net.fd_is_open(near))
    end)

    it("closes in silence after keepalive_ms", function()
        settings.keepalive_ms = 30
        answer(request(GET), "hi")
        local bytes, how = ended()
        assert.matches("hi$", bytes)
        assert.equal("closed", how)
        assert.equal(1, #anchors)
    end)

    describe("of some age", function()
        it("serves one more request, and says that it is the last", function()
            answer(request(GET), "1")
            local x = request(GET)
            env:spin(0.03)
            settings.age_ms = 10 -- as a reload does
            answer(x, "2") -- it was young when this began
            assert.not_matches("Connection: close", (received()))
            assert.equal(1, all.n)
            answer(request(GET), "2")
            local bytes, how = ended()
            assert.equal("closed", how)
            assert.matches("Connection: close\r\n\r\n2$", bytes)
        end)

        it("closes in silence when it is idle", function()
            settings.age_ms = 60
            answer(request(GET), "1")
            assert.equal(1, all.n)
            local bytes, how = ended()
            assert.equal("closed", how)
            assert.matches("1$", bytes)
            assert.equal(1, #anchors)
        end)
    end)

    it("is counted while it is idle", function()
        assert.equal(1, all.idle_n)
        net.write(far, "GET ")
        env:until_true(function() return all.idle_n == 0 end)
        local x = request("/ HTTP/1.1\r\nHost: a\r\n\r\n")
        assert.equal(0, all.idle_n)
        answer(x, "1")
        assert.equal(1, all.idle_n)
        net.write(far, "\r\n")
        env:spin(0.01)
        assert.equal(1, all.idle_n)
        sys.close(far)
        far = nil
        env:until_true(function() return all.n == 0 end)
        assert.equal(0, all.idle_n)
    end)

    it("says Connection: close with the last request it serves", function()
        settings.requests_max = 2
        answer(request(GET .. GET .. GET), "1")
        answer(until_started(), "2")
        local bytes, how = ended()
        assert.equal("closed", how)
        assert.equal(1, select(2, bytes:gsub("Connection: close", "")))
        assert.equal(2, #anchors)
    end)

    describe("framing", function()
        local rows = {
            -- request version, method, status, framing -> expected head lines, body on the wire
            { "1.1", "GET", 200, "RP_BODY_LENGTH", "Content%-Length: 2\r\n", "hi", false },
            { "1.1", "GET", 200, "RP_BODY_CHUNKED", "Transfer%-Encoding: chunked\r\n",
                "2\r\nhi\r\n0\r\n\r\n", false },
            { "1.1", "GET", 200, "RP_BODY_CLOSE", "Transfer%-Encoding: chunked\r\n",
                "2\r\nhi\r\n0\r\n\r\n", false },
            { "1.0", "GET", 200, "RP_BODY_CHUNKED", "Connection: close\r\n", "hi", true },
            { "1.0", "GET", 200, "RP_BODY_LENGTH", "Connection: keep%-alive\r\n", "hi", false },
            { "1.1", "HEAD", 200, "RP_BODY_LENGTH", "Content%-Length: 2\r\n", "", false },
            { "1.1", "HEAD", 200, "RP_BODY_CHUNKED", "Date: [^\r]+\r\n\r\n$", "", false },
            { "1.1", "GET", 204, "RP_BODY_LENGTH", "Date: [^\r]+\r\n\r\n$", "", false },
            { "1.1", "GET", 304, "RP_BODY_LENGTH", "Date: [^\r]+\r\n\r\n$", "", false },
            { "1.1", "GET", 200, "RP_BODY_NONE", "Content%-Length: 0\r\n", "", false },
        }
        for i, row in ipairs(rows) do
            it(("is right for %s %s %d %s"):format(row[1], row[2], row[3], row[4]), function()
                local x = request(row[2] .. " / HTTP/" .. row[1]
                    .. "\r\nHost: a\r\nConnection: keep-alive\r\n\r\n")
                head(x, row[3], row[4], 2)
                assert.equal("OK", send(x, "hi", true), "row " .. i)
                assert.equal("OK", c.err_name(x.ops.flush(x)))
                finish()
                local bytes, how = received()
                local got_head, body = bytes:match("^(.-\r\n\r\n)(.*)$")
                assert.matches(row[5], got_head)
                assert.equal(row[6], body)
                if row[7] then how = select(2, ended()) end
                assert.equal(row[7] and "closed" or nil, how)
            end)
        end

        it("does not let a body be longer or shorter than it was said to be", function()
            local x = request(GET)
            head(x, 200, "RP_BODY_LENGTH", 3)
            assert.equal("OK", send(x, "ab", false))
            assert.equal("UP_BAD_RESPONSE", send(x, "cd", false))
            assert.equal("UP_TRUNCATED", send(x, "", true))
            assert.is_false(x.response_done)
            x.ops.flush(x)
            finish()
            local bytes, how = ended()
            assert.matches("ab$", bytes)
            assert.equal("closed", how)
        end)

        it("resets a close-delimited body that does not end", function()
            local x = request("GET / HTTP/1.0\r\n\r\n")
            head(x, 200, "RP_BODY_CLOSE")
            send(x, "part", false)
            x.ops.flush(x)
            finish()
            assert.equal("reset", select(2, ended()))
        end)

        it("relays trailers only where the client takes them", function()
            for _, te in ipairs { "", "TE: trailers\r\n" } do
                local x = request("GET / HTTP/1.1\r\nHost: a\r\n" .. te .. "\r\n")
                local t = env:anchor(ffi.new("struct rp_msg"))
                C.rp_msg_init(t, nil, 0, 5)
                assert.equal(0, C.rp_msg_add(t, x.arena, 0, c.str("X-T"), c.str("1")))
                head(x, 200, "RP_BODY_CHUNKED")
                x.res_trailers = t
                send(x, "", true)
                x.ops.flush(x)
                finish()
                assert.matches(te == "" and "\r\n\r\n0\r\n\r\n$" or "0\r\nX%-T: 1\r\n\r\n$",
                    (received()))
            end
        end)
    end)

    describe("request bodies", function()
        local function post(framing)
            return "POST / HTTP/1.1\r\nHost: a\r\n" .. framing .. "\r\n\r\n"
        end

        it("are read as they come", function()
            local x = request(post("Content-Length: 5") .. "he")
            assert.same({ "OK", "he" }, { read_body(x) })
            assert.equal("AGAIN", (read_body(x)))
            net.write(far, "llo")
            env:until_true(function() return has(BODY) end)
            assert.same({ "OK", "llo" }, { read_body(x) })
            assert.equal("END", (read_body(x)))
            assert.equal(5, tonumber(x.body_in_bytes))
        end)

        it("are bounded, chunked ones too", function()
            local x = request(post("Transfer-Encoding: chunked") .. "5\r\nhello\r\n5\r\nworld\r\n")
            x.body_limit = 7
            assert.equal("BODY_TOO_BIG", (read_body(x)))
        end)

        it("bring trailers, or a failure when these are malformed", function()
            local x = request(post("Transfer-Encoding: chunked") .. "0\r\nX-T: 1\r\n\r\n")
            assert.equal("END", (read_body(x)))
            local field = C.rp_msg_find_name(x.trailers, c.str("x-t"))
            assert.equal("1", c.lua(C.rp_field_value(field)))
            answer(x, "ok")
            received()
            x = request(post("Transfer-Encoding: chunked") .. "0\r\nX T: 1\r\n\r\n")
            assert.equal("H1_FIELD", (read_body(x)))
            assert.equal(0, x.fail) -- it can be answered
        end)

        it("end with the client", function()
            local x = request(post("Content-Length: 5") .. "he")
            read_body(x)
            sys.shutdown(far, 1)
            env:until_true(function() return has(BODY) end)
            assert.equal("CLIENT_GONE", (read_body(x)))
        end)

        it("do not wake the loop for ever while nobody reads them", function()
            request(post("Content-Length: 100000"))
            net.write(far, ("x"):rep(50000))
            for _ = 1, 30 do C.rp_loop_turn(env.loop, 2) end
            assert.is_true(#events <= 3, #events .. " events")
        end)

        it("are thrown away when short, else the connection ends", function()
            local x = request(post("Content-Length: 5") .. "hello")
            x.ops.skip_body(x)
            assert.is_false(x.close_after)
            answer(x, "1")
            x = request(post("Content-Length: 5") .. "he")
            x.ops.skip_body(x)
            assert.is_true(x.close_after)
            answer(x, "2")
            assert.equal("closed", select(2, ended()))
        end)

        it("are not waited for when the client waits for 100", function()
            local x = request(post("Expect: 100-continue\r\nContent-Length: 5"))
            x.ops.skip_body(x)
            assert.is_true(x.close_after)
        end)
    end)

    describe("a client that goes", function()
        it("is reported at once, by FIN and by reset", function()
            request(GET)
            net.reset_on_close(far)
            sys.close(far)
            far = nil
            env:until_true(function() return has(ABORT) end)
            assert.equal("CLIENT_GONE", c.err_name(live.fail))
        end)

        it("is reported also when its body was read to the byte", function()
            local function post(n)
                return "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: " .. n .. "\r\n\r\n"
            end
            local bytes = post(16384 - #post(10000)) -- head and body fill one buffer
            local x = request(bytes)
            net.write(far, ("x"):rep(16384 - #bytes))
            for _ = 1, 5 do C.rp_loop_turn(env.loop, 2) end
            local chain = ffi.new("struct rp_chain")
            C.rp_chain_init(chain, env.mem)
            while x.ops.read_body(x, chain, 65536) == 0 do end
            assert.equal(16384 - #bytes, tonumber(chain.bytes))
            C.rp_chain_clear(chain)
            net.reset_on_close(far)
            sys.close(far)
            far = nil
            env:until_true(function() return has(ABORT) end)
        end)

        it("is not gone while it has requests in the pipe", function()
            local x = request(GET .. GET)
            sys.shutdown(far, 1)
            env:spin(0.02)
            assert.is_false(has(ABORT))
            answer(x, "1")
            answer(until_started(), "2")
            local bytes, how = ended()
            assert.matches("2$", bytes)
            assert.equal("closed", how)
        end)

        it("may end its side and wait for the answer, where that is allowed", function()
            half_closed = true
            local x = request(GET)
            sys.shutdown(far, 1)
            env:spin(0.02)
            assert.is_false(has(ABORT))
            answer(x, "late")
            local bytes, how = ended()
            assert.matches("late$", bytes)
            assert.equal("closed", how)
            assert.equal(0, all.n)
        end)

        it("is reported by a reset, also where it may end its side", function()
            half_closed = true
            request(GET)
            net.reset_on_close(far)
            sys.close(far)
            far = nil
            env:until_true(function() return has(ABORT) end)
        end)

        it("is reported when its request is not whole, also where it may end its side", function()
            half_closed = true
            local x = request("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab")
            sys.shutdown(far, 1)
            local how
            env:until_true(function()
                how = read_body(x)
                return how ~= "OK" and how ~= "AGAIN"
            end)
            assert.equal("CLIENT_GONE", how)
        end)

        it("is let go with a head that will never be whole", function()
            local x = request(GET .. "GET / HT")
            sys.shutdown(far, 1)
            env:spin(0.02)
            answer(x, "1")
            env:until_true(function() return all.n == 0 end)
        end)
    end)

    it("tells the user of room, not more often than there is", function()
        local x = request(GET)
        head(x, 200, "RP_BODY_LENGTH", 50000000)
        local block, e = ("x"):rep(100000), nil
        for _ = 1, 200 do
            e = send(x, block, false)
            if c.err_name(x.ops.flush(x)) == "AGAIN" then break end
        end
        assert.is_false(has(SINK))
        local n = 0
        env:until_true(function()
            n = n + #(received())
            return has(SINK)
        end)
        assert.is_true(n > 0 and e ~= nil)
    end)

    it("closes idle connections only", function()
        local x = request(GET)
        C.rp_h1_downs_close_idle(all)
        assert.equal(1, all.n)
        answer(x, "1")
        C.rp_h1_downs_close_idle(all)
        assert.equal(0, all.n)
        assert.equal("closed", select(2, ended()))
    end)
end)
