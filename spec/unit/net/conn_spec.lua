-- SPDX-License-Identifier: MIT

local net = require("spec.support.net")
local C, ffi, c, posix, sys = net.C, net.ffi, net.c, net.posix, net.sys

local ECONNREFUSED, ECONNRESET, ENOENT = 111, 104, 2
local MB = 1024 * 1024

describe("rp_conn", function()
    local env

    before_each(function() env = net.open() end)
    after_each(function() env:close() end)

    -- A conn and the plain socket at its other end.
    local function unix_conn()
        local near, far = net.socketpair()
        return env:adopt(near), env:own(far), near
    end

    local function tcp_conn()
        local near, far = net.tcp_pair()
        return env:adopt(near), env:own(far), near
    end

    -- epoll_ctl and epoll_wait are not visible here, but an armed event that is not wanted is: the
    -- loop's wait ends at once. True when a turn blocks.
    local function loop_is_quiet()
        for _ = 1, 3 do C.rp_loop_turn(env.loop, 0) end -- events nobody wants take back what was armed
        local from = posix.now()
        C.rp_loop_turn(env.loop, 15)
        return posix.now() - from > 0.008
    end

    local function shrink_buffers(fd)
        local small = ffi.new("int[1]", 4096)
        sys.setsockopt(fd, net.SOL_SOCKET, net.SO_SNDBUF, small, 4)
        sys.setsockopt(fd, net.SOL_SOCKET, net.SO_RCVBUF, small, 4)
    end

    -- A unix socket closed with unread bytes resets the other end.
    local function is_gone(fd)
        local bytes, errno = net.read(fd)
        return bytes == "" or errno == ECONNRESET
    end

    describe("reading", function()
        it("tells of bytes and hands them out", function()
            local conn, far = unix_conn()
            net.write(far, "hello")
            env:until_true(function() return conn.readable > 0 end)
            local e, bytes = conn:recv()
            assert.equal("OK", e)
            assert.equal("hello", bytes)
            e, bytes = conn:recv()
            assert.equal("AGAIN", e)
            assert.equal("", bytes)
            assert.equal(5, tonumber(conn.face.in_bytes))
            assert.is_true(loop_is_quiet())
        end)

        it("never calls back before the loop turns", function()
            local near, far = net.socketpair()
            env:own(far)
            net.write(far, "x")
            local conn = env:adopt(near)
            assert.equal(0, conn.readable)
            C.rp_loop_turn(env.loop, 0)
            assert.equal(1, conn.readable)
        end)

        it("tells again while bytes are left", function()
            local conn, far = unix_conn()
            net.write(far, "hello")
            env:until_true(function() return conn.readable > 0 end)
            assert.same({ "OK", "he" }, { conn:recv(2) })
            env:until_true(function() return conn.readable > 1 end)
            assert.same({ "OK", "llo" }, { conn:recv(20) })
        end)

        it("says END at the end of stream, and is quiet then, though nobody paused it", function()
            local conn, far = unix_conn()
            net.write(far, "bye")
            sys.shutdown(far, 1)
            env:until_true(function() return conn.readable > 0 end)
            assert.same({ "OK", "bye" }, { conn:recv() })
            env:until_true(function() return conn.readable > 1 end)
            assert.same({ "END", "" }, { conn:recv() })
            C.rp_loop_turn(env.loop, 0)
            local before = conn.readable
            assert.is_true(loop_is_quiet())
            assert.equal(before, conn.readable)
            -- the other direction still works
            assert.equal("OK", conn:send("answer"))
            assert.equal("answer", net.read_next(far))
        end)

        it("says CLOSED after a reset and keeps the reason", function()
            local conn, far = tcp_conn()
            net.reset_on_close(far)
            sys.close(far)
            env:until_true(function() return conn.readable > 0 end)
            assert.equal("CLOSED", (conn:recv()))
            assert.equal("CLOSED", c.err_name(conn.face.fail.code))
            assert.equal(ECONNRESET, conn.face.fail.os)
            assert.equal("recv", ffi.string(conn.face.fail.step))
        end)

        it("does not spin on an error the owner is slow to meet", function()
            local conn, far = tcp_conn()
            net.reset_on_close(far)
            sys.close(far)
            env:until_true(function() return conn.readable > 0 end)
            assert.is_true(loop_is_quiet())
            assert.equal(1, conn.readable)
            assert.equal("CLOSED", (conn:recv()))
        end)

        it("hands out what came before a reset", function()
            local conn, far = tcp_conn()
            net.write(far, "last words")
            env:until_true(function() return conn.readable > 0 end)
            net.reset_on_close(far)
            sys.close(far)
            local e, bytes = conn:recv(4)
            -- Linux keeps what was queued before the reset came
            assert.same({ "OK", "last" }, { e, bytes })
            env:until_true(function() return (conn:recv()) == "CLOSED" end)
        end)

        it("finds no clean end behind a reset that a send has met", function()
            local conn, far = tcp_conn()
            net.write(far, "half of it")
            env:until_true(function() return conn.readable > 0 end)
            net.reset_on_close(far)
            sys.close(far)
            env:until_true(function() return conn:send("x") == "CLOSED" end)
            assert.equal(ECONNRESET, conn.face.fail.os)
            assert.same({ "OK", "half of it" }, { conn:recv() })
            assert.equal("CLOSED", (conn:recv()))
        end)

        it("finds the end of one who said all before it was reset", function()
            local conn, far = tcp_conn()
            net.write(far, "all of it")
            env:until_true(function() return conn.readable > 0 end)
            sys.close(far) -- what is sent to it now is answered with a reset
            env:until_true(function() return conn:send("x") == "CLOSED" end)
            assert.equal(posix.EPIPE, conn.face.fail.os)
            assert.same({ "OK", "all of it" }, { conn:recv() })
            assert.equal("END", (conn:recv()))
        end)
    end)

    describe("writing", function()
        it("writes at once, counts, and asks for no event", function()
            local conn, far = unix_conn()
            assert.equal("OK", conn:send("hello"))
            assert.equal("hello", net.read_next(far))
            assert.equal(5, tonumber(conn.face.out_bytes))
            assert.equal(0, tonumber(conn.chain.bytes))
            assert.is_true(loop_is_quiet())
            assert.equal(0, conn.writable)
        end)

        it("of nothing is OK", function()
            local conn = unix_conn()
            assert.equal("OK", conn:send())
        end)

        it("joins many pieces in order, more than one system call takes", function()
            local conn, far = tcp_conn()
            local want = {}
            for i = 1, 200 do
                local word = ("piece %d;"):format(i)
                want[i] = word
                local chunk = C.rp_chunk_new(env.mem, #word)
                ffi.copy(chunk.data, word, #word)
                chunk.used = #word
                C.rp_chain_add(conn.chain, chunk, chunk.data, #word)
                C.rp_chunk_drop(chunk)
            end
            want = table.concat(want)
            assert.equal("OK", conn:send())
            assert.equal(#want, tonumber(conn.face.out_bytes))
            local got = ""
            env:until_true(function()
                got = got .. (net.read(far) or "")
                return #got >= #want
            end)
            assert.equal(want, got)
        end)

        it("stops when the socket is full, and goes on when there is room", function()
            local conn, far, near = unix_conn()
            shrink_buffers(near)
            local text = ("0123456789abcdef"):rep(16 * 1024)
            assert.equal("AGAIN", conn:send(text))
            local left = tonumber(conn.chain.bytes)
            assert.is_true(left > 0 and left < #text)
            assert.is_true(loop_is_quiet()) -- no room: no event
            assert.equal(0, conn.writable)

            local got = {}
            conn.on_event = function(self, events)
                if events >= 2 then self.last = self:send() end
            end
            env:until_true(function()
                got[#got + 1] = net.read(far)
                return conn.last == "OK"
            end)
            assert.is_true(conn.writable > 1)
            env:until_true(function()
                got[#got + 1] = net.read(far)
                return #table.concat(got) == #text
            end)
            assert.equal(text, table.concat(got))

            -- the armed writable event goes at its first needless turn, and nobody hears of it
            local before = conn.writable
            C.rp_loop_turn(env.loop, 0)
            assert.is_true(loop_is_quiet())
            assert.equal(before, conn.writable)
        end)

        it("tells of room once per AGAIN, whatever the owner does with it", function()
            local conn, far, near = unix_conn()
            shrink_buffers(near)
            assert.equal("AGAIN", conn:send(("x"):rep(MB)))
            while net.read(far) do end -- drain
            env:until_true(function() return conn.writable > 0 end)
            C.rp_loop_turn(env.loop, 0)
            assert.is_true(loop_is_quiet())
            assert.equal(1, conn.writable)
            assert.equal("AGAIN", conn:send())
            while net.read(far) do end
            env:until_true(function() return conn.writable > 1 end)
        end)

        it("after the other side has gone is CLOSED, without a signal", function()
            local conn, far = unix_conn()
            sys.close(far)
            assert.equal("CLOSED", conn:send("x"))
            assert.equal("send", ffi.string(conn.face.fail.step))
            assert.equal(posix.EPIPE, conn.face.fail.os)
            -- the first failure sticks
            conn:recv()
            assert.equal("send", ffi.string(conn.face.fail.step))
        end)

        it("of many pieces after the other side has gone is CLOSED too", function()
            local conn, far = unix_conn()
            sys.close(far)
            C.rp_chain_add_const(conn.chain, c.str("a"))
            C.rp_chain_add_const(conn.chain, c.str("b"))
            assert.equal("CLOSED", conn:send())
        end)
    end)

    it("echoes from one conn to another", function()
        local a, far_a = tcp_conn()
        local b, far_b = tcp_conn()
        local function pump(from, to)
            from.on_event = function(self, events)
                if events % 2 == 1 then
                    local e, bytes = self:recv()
                    if e == "OK" then to:send(bytes)
                    elseif e == "END" then C.rp_conn_shutdown(to.raw) end
                end
                if events >= 2 then self:send() end
            end
        end
        pump(a, b)
        pump(b, a)
        local text = ("round trip "):rep(1000)
        net.write(far_a, text)
        local got = ""
        env:until_true(function()
            got = got .. (net.read(far_b) or "")
            return #got == #text
        end)
        assert.equal(text, got)
        net.write(far_b, "back")
        local answer
        env:until_true(function()
            answer = net.read(far_a)
            return answer
        end)
        assert.equal("back", answer)
        sys.shutdown(far_a, 1)
        env:until_true(function()
            answer = net.read(far_b)
            return answer
        end)
        assert.equal("", answer)
    end)

    describe("pause", function()
        it("holds events back and resume brings them", function()
            local conn, far = unix_conn()
            C.rp_conn_pause(conn.raw)
            net.write(far, "x")
            C.rp_loop_turn(env.loop, 0) -- the event that stops the watching
            assert.is_true(loop_is_quiet())
            assert.equal(0, conn.readable)
            C.rp_conn_resume(conn.raw)
            assert.equal(0, conn.readable) -- not from inside resume
            env:until_true(function() return conn.readable > 0 end)
            assert.same({ "OK", "x" }, { conn:recv() })
        end)

        it("and resume before anything came cost nothing and lose nothing", function()
            local conn, far = unix_conn()
            for _ = 1, 3 do
                C.rp_conn_pause(conn.raw)
                C.rp_loop_turn(env.loop, 0)
                C.rp_conn_resume(conn.raw)
            end
            net.write(far, "x")
            env:until_true(function() return conn.readable > 0 end)
            assert.same({ "OK", "x" }, { conn:recv() })
        end)

        it("does not hold back WRITABLE", function()
            local conn, far, near = unix_conn()
            shrink_buffers(near)
            C.rp_conn_pause(conn.raw)
            net.write(far, "not wanted now")
            assert.equal("AGAIN", conn:send(("x"):rep(MB)))
            while net.read(far) do end
            env:until_true(function() return conn.writable > 0 end)
            assert.equal(0, conn.readable)
        end)

        it("does not swallow a reset: it is seen at resume", function()
            local conn, far = tcp_conn()
            C.rp_conn_pause(conn.raw)
            net.reset_on_close(far)
            sys.close(far)
            C.rp_loop_turn(env.loop, 5)
            assert.is_true(loop_is_quiet())
            assert.equal(0, #conn.log)
            C.rp_conn_resume(conn.raw)
            env:until_true(function() return conn.readable > 0 end)
            assert.equal("CLOSED", (conn:recv()))
        end)

        it("tells a waiting writer of a reset", function()
            local conn, far, near = tcp_conn()
            shrink_buffers(near)
            C.rp_conn_pause(conn.raw)
            local last
            repeat last = conn:send(("x"):rep(MB)) until last ~= "OK"
            assert.equal("AGAIN", last)
            net.reset_on_close(far)
            sys.close(far)
            env:until_true(function() return conn.writable > 0 end)
            assert.equal("CLOSED", conn:send())
        end)

        it("does not swallow the end of stream", function()
            local conn, far = unix_conn()
            C.rp_conn_pause(conn.raw)
            sys.close(far)
            C.rp_loop_turn(env.loop, 5)
            assert.equal(0, #conn.log)
            C.rp_conn_resume(conn.raw)
            env:until_true(function() return conn.readable > 0 end)
            assert.equal("END", (conn:recv()))
        end)
    end)

    describe("shutdown", function()
        it("sends FIN and reads on", function()
            local conn, far = tcp_conn()
            conn:send("question")
            C.rp_conn_shutdown(conn.raw)
            local got = ""
            env:until_true(function()
                local part = net.read(far)
                if part and part ~= "" then got = got .. part end
                return part == ""
            end)
            assert.equal("question", got)
            net.write(far, "answer")
            env:until_true(function() return conn.readable > 0 end)
            assert.same({ "OK", "answer" }, { conn:recv() })
        end)
    end)

    describe("the last bytes", function()
        it("and the end of our side go in one packet", function()
            local conn, far = tcp_conn()
            local before = net.segments_in(far)
            assert.equal("OK", conn:send_last("answer"))
            assert.equal("answer", net.read_next(far))
            assert.equal("", net.read_next(far))
            assert.equal(1, net.segments_in(far) - before)
            net.write(far, "more")
            env:until_true(function() return conn.readable > 0 end)
            assert.same({ "OK", "more" }, { conn:recv() })
            C.rp_conn_linger(conn.raw, 1000, 100) -- which has nothing more to say
        end)

        it("may be none", function()
            local conn, far = tcp_conn()
            assert.equal("OK", conn:send_last())
            assert.equal("", net.read_next(far))
        end)

        for _, total in ipairs { 12000, 2 * MB } do -- with and without a packet kept back
            it("are not followed by the end before all have gone: " .. total, function()
                local conn, far = tcp_conn()
                assert.equal("AGAIN", conn:send(("y"):rep(16 * MB)))
                local before = 16 * MB - tonumber(conn.chain.bytes)
                C.rp_chain_clear(conn.chain)
                local e = conn:send_last(("z"):rep(total))
                assert.equal("AGAIN", e)
                conn.on_event = function(_, events)
                    if events >= 2 and e == "AGAIN" then e = conn:send_last() end
                end
                local got = 0
                env:until_true(function()
                    local part = net.read(far)
                    if part and part ~= "" then got = got + #part end
                    return part == ""
                end)
                assert.equal(before + total, got)
                assert.equal("OK", e)
            end)
        end

        it("say so when the connection is gone", function()
            local conn, far = tcp_conn()
            net.reset_on_close(far)
            sys.close(far)
            env:until_true(function() return conn.readable > 0 end)
            assert.equal("CLOSED", conn:send_last("answer"))
        end)
    end)

    describe("connect", function()
        it("to TCP becomes WRITABLE, not before the call returns, and finishes", function()
            local ln, port = net.tcp_listen()
            env:own(ln)
            local conn = env:connect("127.0.0.1:" .. port)
            assert.equal(0, #conn.log)
            assert.equal("AGAIN", c.err_name(C.rp_conn_finish_connect(conn.raw)))
            env:until_true(function() return conn.writable > 0 end)
            assert.equal("OK", c.err_name(C.rp_conn_finish_connect(conn.raw)))
            assert.equal("OK", c.err_name(C.rp_conn_finish_connect(conn.raw)))
            assert.is_true(loop_is_quiet())
            local far = env:own(sys.accept4(ln, nil, nil, 0))
            conn:send("hi")
            assert.equal("hi", net.read_next(far))
            net.write(far, "ho")
            env:until_true(function() return conn.readable > 0 end)
            assert.same({ "OK", "ho" }, { conn:recv() })
            assert.same({ "W", "R" }, conn.log)
        end)

        it("tells its two ends and sets TCP_NODELAY", function()
            local ln, port = net.tcp_listen()
            env:own(ln)
            local conn = env:connect("127.0.0.1:" .. port)
            env:until_true(function() return conn.writable > 0 end)
            local far = env:own(sys.accept4(ln, nil, nil, 0))
            local a = ffi.new("struct rp_addr")
            C.rp_conn_peer(conn.raw, a)
            assert.equal("127.0.0.1:" .. port, net.text(a))
            C.rp_conn_local(conn.raw, a)
            local sa, n = ffi.new("uint8_t[16]"), ffi.new("unsigned[1]", 16)
            assert(sys.getpeername(far, sa, n) == 0)
            assert.equal("127.0.0.1:" .. sa[2] * 256 + sa[3], net.text(a))
        end)

        it("to a port nobody listens on ends in UP_CONNECT with the reason", function()
            local ln, port = net.tcp_listen()
            sys.close(ln)
            local conn, err, fail = env:connect("127.0.0.1:" .. port)
            if not conn then -- the kernel may say so at once
                assert.equal("UP_CONNECT", err)
                assert.equal(ECONNREFUSED, fail.os)
                return
            end
            env:until_true(function() return conn.writable > 0 end)
            assert.equal("UP_CONNECT", c.err_name(C.rp_conn_finish_connect(conn.raw)))
            assert.equal("UP_CONNECT", c.err_name(C.rp_conn_finish_connect(conn.raw)))
            assert.equal(ECONNREFUSED, conn.face.fail.os)
            assert.equal("connect", ffi.string(conn.face.fail.step))
            assert.is_true(loop_is_quiet())
        end)

        it("that ends at once still tells through the loop (unix path)", function()
            local dir = posix.temp_dir()
            local path = dir .. "/s"
            local ln, os = ffi.new("int[1]"), ffi.new("int[1]")
            local o = ffi.new("struct rp_listener_options", { backlog = 4, unix_mode = 384 })
            assert.equal(0, C.rp_listener_bind(net.addr("unix:" .. path), o, ln, os))
            env:own(ln[0])
            local conn = env:connect("unix:" .. path)
            assert.equal(0, #conn.log)
            env:until_true(function() return conn.writable > 0 end)
            assert.equal("OK", c.err_name(C.rp_conn_finish_connect(conn.raw)))
            local far = env:own(sys.accept4(ln[0], nil, nil, 0))
            conn:send("hi")
            assert.equal("hi", net.read_next(far))
            local a = ffi.new("struct rp_addr")
            C.rp_conn_peer(conn.raw, a)
            assert.equal("unix:" .. path, net.text(a))
            posix.remove_dir(dir)
        end)

        it("to an abstract socket", function()
            local name = "unix:@rproxy-spec-" .. sys.getpid()
            local ln, os = ffi.new("int[1]"), ffi.new("int[1]")
            local o = ffi.new("struct rp_listener_options", { backlog = 4 })
            assert.equal(0, C.rp_listener_bind(net.addr(name), o, ln, os))
            env:own(ln[0])
            local conn = env:connect(name)
            env:until_true(function() return conn.writable > 0 end)
            assert.equal("OK", c.err_name(C.rp_conn_finish_connect(conn.raw)))
            local a = ffi.new("struct rp_addr")
            C.rp_conn_peer(conn.raw, a)
            assert.equal(name, net.text(a))
        end)

        it("to a path that is not there fails at once", function()
            local conn, err, fail = env:connect("unix:/nonexistent/rproxy.sock")
            assert.is_nil(conn)
            assert.equal("UP_CONNECT", err)
            assert.equal("UP_CONNECT", c.err_name(fail.code))
            assert.equal(ENOENT, fail.os)
            assert.equal("connect", ffi.string(fail.step))
        end)

        it("to no address fails and leaks no descriptor", function()
            local probe = sys.socket(1, 1, 0)
            sys.close(probe)
            local out, fail = ffi.new("struct rp_conn *[1]"), ffi.new("struct rp_conn_fail")
            local e = C.rp_conn_connect(env.loop, ffi.new("struct rp_addr"), out, fail)
            assert.equal("UP_CONNECT", c.err_name(e))
            local again = sys.socket(1, 1, 0)
            sys.close(again)
            assert.equal(probe, again)
        end)

        it("can be closed while it is under way", function()
            local ln, port = net.tcp_listen()
            env:own(ln)
            local conn = env:connect("127.0.0.1:" .. port)
            conn:close()
            C.rp_loop_turn(env.loop, 2)
            assert.equal(0, #conn.log)
        end)
    end)

    describe("the ends", function()
        it("are what adopt was told, or what the kernel says, or what was put in", function()
            local near, far = net.tcp_pair()
            env:own(far)
            local conn = env:adopt(near, net.addr("[2001:db8::7]:70"), net.addr("5.6.7.8:90"))
            local a = ffi.new("struct rp_addr")
            C.rp_conn_peer(conn.raw, a)
            assert.equal("[2001:db8::7]:70", net.text(a))
            C.rp_conn_local(conn.raw, a)
            assert.equal("5.6.7.8:90", net.text(a))
            C.rp_conn_set_ends(conn.raw, net.addr("1.1.1.1:1"), nil)
            C.rp_conn_peer(conn.raw, a)
            assert.equal("1.1.1.1:1", net.text(a))
            C.rp_conn_local(conn.raw, a)
            assert.equal("5.6.7.8:90", net.text(a))

            near, far = net.tcp_pair()
            env:own(far)
            local port = net.port_of(near)
            conn = env:adopt(near)
            C.rp_conn_local(conn.raw, a)
            assert.equal("127.0.0.1:" .. port, net.text(a))
            C.rp_conn_peer(conn.raw, a)
            assert.equal("127.0.0.1:" .. net.port_of(far), net.text(a))
        end)
    end)

    describe("close", function()
        it("closes the descriptor at once and calls back no more", function()
            local conn, far, near = unix_conn()
            net.write(far, "x")
            conn:close()
            assert.is_false(net.fd_is_open(near))
            C.rp_loop_turn(env.loop, 1)
            assert.equal(0, #conn.log)
            assert.is_true(is_gone(far))
        end)

        it("twice, and from its own callback, is fine", function()
            local conn, far = unix_conn()
            conn.on_event = function(self) self:close() end
            net.write(far, "x")
            env:until_true(function() return #conn.log > 0 end)
            assert.is_true(is_gone(far))
        end)

        it("of another conn whose event is in the same batch silences that one", function()
            local a, far_a = unix_conn()
            local b, far_b = unix_conn()
            a.on_event = function() b:close() end
            b.on_event = function() a:close() end
            net.write(far_a, "x")
            net.write(far_b, "x")
            C.rp_loop_turn(env.loop, 5)
            assert.equal(1, #a.log + #b.log)
        end)

        it("lets its descriptor number be used again in the same tick", function()
            local conn, far, near = unix_conn()
            local second, second_far
            conn.on_event = function(self)
                self:close()
                local n, f = net.socketpair()
                assert(n == near or f == near)
                second, second_far = env:adopt(n), env:own(f)
            end
            net.write(far, "x")
            env:until_true(function() return second end)
            net.write(second_far, "new")
            env:until_true(function() return second.readable > 0 end)
            assert.same({ "OK", "new" }, { second:recv() })
        end)
    end)

    describe("reset", function()
        it("sends RST", function()
            local conn, far = tcp_conn()
            C.rp_conn_reset(conn.raw)
            local bytes, errno
            env:until_true(function()
                bytes, errno = net.read(far)
                return errno ~= posix.EAGAIN
            end)
            assert.is_nil(bytes)
            assert.equal(ECONNRESET, errno)
        end)
    end)

    describe("linger", function()
        it("lets the other side read our answer though it still sends", function()
            local conn, far, near = tcp_conn()
            net.write(far, ("unread "):rep(1000))
            conn:send("413 too much")
            C.rp_conn_linger(conn.raw, 2000, MB)
            C.rp_loop_turn(env.loop, 5)
            net.write(far, ("more "):rep(1000))
            C.rp_loop_turn(env.loop, 5)
            assert.equal("413 too much", net.read_next(far))
            assert.equal("", net.read_next(far)) -- FIN, no RST
            assert.is_true(net.fd_is_open(near))
            sys.shutdown(far, 1)
            env:until_true(function() return not net.fd_is_open(near) end)
            assert.equal(0, #conn.log)
        end)

        it("ends after its time", function()
            local conn, _, near = tcp_conn()
            C.rp_conn_linger(conn.raw, 30, MB)
            C.rp_loop_turn(env.loop, 1)
            assert.is_true(net.fd_is_open(near))
            env:until_true(function() return not net.fd_is_open(near) end)
        end)

        it("ends after so many bytes", function()
            local conn, far, near = tcp_conn()
            C.rp_conn_linger(conn.raw, 60000, 30000)
            net.write(far, ("x"):rep(20000))
            env:spin(0.03)
            assert.is_true(net.fd_is_open(near))
            net.write(far, ("x"):rep(20000))
            env:until_true(function() return not net.fd_is_open(near) end)
        end)

        it("works on a paused conn that had stopped watching", function()
            local conn, far, near = tcp_conn()
            C.rp_conn_pause(conn.raw)
            net.write(far, "x")
            C.rp_loop_turn(env.loop, 5)
            C.rp_conn_linger(conn.raw, 60000, MB)
            sys.shutdown(far, 1)
            env:until_true(function() return not net.fd_is_open(near) end)
        end)

        it("ends at a reset", function()
            local conn, far, near = tcp_conn()
            C.rp_conn_linger(conn.raw, 60000, MB)
            net.reset_on_close(far)
            sys.close(far)
            env:until_true(function() return not net.fd_is_open(near) end)
        end)

        it("closes at once when the other side has finished already", function()
            local conn, far, near = tcp_conn()
            sys.shutdown(far, 1)
            env:until_true(function() return conn.readable > 0 end)
            assert.equal("END", (conn:recv()))
            C.rp_conn_linger(conn.raw, 60000, MB)
            assert.is_false(net.fd_is_open(near))
        end)

        it("is cut short by the end of the loop", function()
            local conn, _, near = tcp_conn()
            C.rp_conn_linger(conn.raw, 60000, MB)
            env:close()
            assert.is_false(net.fd_is_open(near))
            env = net.open()
        end)
    end)

    it("refuses a descriptor that is not a socket, and closes it", function()
        local fd = sys.open("/proc/self/status", 0)
        local out = ffi.new("struct rp_conn *[1]")
        assert.equal("OS", c.err_name(C.rp_conn_adopt(env.loop, fd, nil, nil, out)))
        assert.is_false(net.fd_is_open(fd))
    end)
end)
