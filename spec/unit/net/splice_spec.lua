-- SPDX-License-Identifier: MIT

local net = require("spec.support.net")
local C, ffi, c, sys = net.C, net.ffi, net.c, net.sys

c.load { "net/splice.h" }
ffi.cdef [[
void (*signal(int number, void (*action)(int)))(int);
int getrlimit(int resource, unsigned long limit[2]);
]]

local SIGPIPE, SIG_IGN, SIG_DFL = 13, ffi.cast("void (*)(int)", 1), ffi.cast("void (*)(int)", 0)
local RLIMIT_NOFILE, F_SETFL, F_GETPIPE_SZ, O_APPEND_NONBLOCK = 7, 4, 1032, 0x400 + 0x800
local ECONNRESET = 104
local BYTES = ("0123456789abcdef"):rep(4096) -- 64 KB

describe("rp_splice", function()
    local env, before

    setup(function() before = ffi.C.signal(SIGPIPE, SIG_IGN) end)
    teardown(function() ffi.C.signal(SIGPIPE, before) end)
    before_each(function() env = net.open() end)
    after_each(function() env:close() end)

    local function pair()
        local near, far = net.tcp_pair()
        return env:adopt(near), env:own(far), near
    end

    -- Ends of pipes that this process has open.
    local function open_pipes()
        local n = 0
        for fd = 0, 1023 do
            if sys.fcntl(fd, F_GETPIPE_SZ) > 0 then n = n + 1 end
        end
        return n
    end

    local function slot() return ffi.new("struct rp_splice *[1]") end

    -- Error name and bytes taken.
    local function take(conn, s, n)
        local got = ffi.new("size_t[1]", 777)
        local e = c.err_name(C.rp_splice_take(conn.raw, n or 2 ^ 30, s, got))
        return e, tonumber(got[0])
    end

    local function give(conn, s)
        return c.err_name(C.rp_splice_give(conn.raw, s, conn.chain))
    end

    local function arrived(conn)
        env:until_true(function() return conn.readable > 0 end)
        conn.readable = 0
    end

    -- All that comes within a while, up to n bytes.
    local function read_all(fd, n)
        local pieces, have = {}, 0
        env:until_true(function()
            local text = net.read(fd)
            if text and text ~= "" then
                pieces[#pieces + 1] = text
                have = have + #text
            end
            return have >= n or text == ""
        end)
        return table.concat(pieces)
    end

    it("moves bytes from one socket to the other and counts them", function()
        local from, source = pair()
        local to, sink = pair()
        local s, pipes = slot(), open_pipes()
        assert.is_true(C.rp_splice_can(from.raw, to.raw))
        net.write(source, "hello")
        arrived(from)
        assert.same({ "OK", 5 }, { take(from, s) })
        assert.equal(5, tonumber(C.rp_splice_bytes(s[0])))
        assert.equal("OK", give(to, s))
        assert.is_true(s[0] == nil)
        assert.equal(0, tonumber(C.rp_splice_bytes(s[0])))
        assert.equal("hello", read_all(sink, 5))
        assert.equal(5, tonumber(from.face.in_bytes))
        assert.equal(5, tonumber(to.face.out_bytes))
        assert.equal(pipes + 2, open_pipes()) -- it waits for the next one
    end)

    it("takes no more than it is asked for", function()
        local from, source = pair()
        local to, sink = pair()
        local s = slot()
        net.write(source, "one|two")
        arrived(from)
        assert.same({ "OK", 4 }, { take(from, s, 4) })
        assert.equal("OK", give(to, s))
        assert.equal("one|", read_all(sink, 4))
        assert.same({ "OK", "two" }, { from:recv() })
    end)

    it("says what recv would say, and keeps no pipe", function()
        local from, source = pair()
        local s = slot()
        assert.same({ "AGAIN", 0 }, { take(from, s) })
        assert.is_true(s[0] == nil)
        sys.shutdown(source, 1)
        arrived(from)
        assert.same({ "END", 0 }, { take(from, s) })
        assert.is_true(s[0] == nil)

        local cut, other = pair()
        net.write(other, "lost")
        arrived(cut)
        net.reset_on_close(other)
        sys.close(other)
        env.fds[#env.fds] = nil
        env:until_true(function()
            local e = take(cut, s)
            if e == "OK" then C.rp_splice_drop(s) end
            return e == "CLOSED"
        end)
        assert.is_true(s[0] == nil)
        assert.equal(ECONNRESET, cut.face.fail.os)
    end)

    it("gives what a full socket does not take when there is room again", function()
        local from, source = pair()
        local to, sink = pair()
        local s, taken, got = slot(), 0, {}
        local blocked = false
        while not blocked do
            net.write(source, BYTES)
            arrived(from)
            local e, n = take(from, s)
            assert.equal("OK", e)
            taken = taken + n
            e = give(to, s)
            blocked = e == "AGAIN"
            assert.is_true(blocked or e == "OK")
        end
        assert.is_true(tonumber(C.rp_splice_bytes(s[0])) > 0)
        local written = tonumber(to.face.out_bytes)
        assert.equal(taken, written + tonumber(C.rp_splice_bytes(s[0])))
        local n = 0
        env:until_true(function()
            local text = net.read(sink)
            if text then
                got[#got + 1] = text
                n = n + #text
            end
            if to.writable > 0 and s[0] ~= nil then
                to.writable = 0
                give(to, s)
            end
            return n == taken
        end)
        assert.is_true(s[0] == nil)
        assert.equal(BYTES:rep(taken / #BYTES), table.concat(got))
    end)

    it("fails as send does when the reader is gone, and keeps the bytes until they are dropped", function()
        local from, source = pair()
        local to, sink = pair()
        local s, pipes = slot(), open_pipes()
        net.reset_on_close(sink)
        sys.close(sink)
        env.fds[#env.fds] = nil
        arrived(to)
        net.write(source, "nobody wants it")
        arrived(from)
        assert.equal("OK", (take(from, s)))
        assert.equal("CLOSED", give(to, s))
        assert.equal(15, tonumber(C.rp_splice_bytes(s[0])))
        C.rp_splice_drop(s)
        assert.is_true(s[0] == nil)
        assert.equal(pipes, open_pipes()) -- one that held bytes is not used again
        C.rp_splice_drop(s)
    end)

    it("copies what the kernel does not let out of the pipe", function()
        local from, source = pair()
        local to, sink, fd = pair()
        local s = slot()
        assert(sys.fcntl(fd, F_SETFL, ffi.cast("int", O_APPEND_NONBLOCK)) == 0) -- splice: EINVAL
        net.write(source, BYTES)
        arrived(from)
        local e, n = take(from, s)
        assert.equal("OK", e)
        assert.equal("OK", give(to, s))
        assert.is_true(s[0] == nil)
        assert.equal(BYTES:sub(1, n), read_all(sink, n))
        assert.equal("BUSY", (take(from, s))) -- and is not tried for a while
    end)

    it("answers busy when there is no descriptor, and tries again later", function()
        local from, source = pair()
        local s, limit, low = slot(), ffi.new("unsigned long[2]"), ffi.new("unsigned long[2]")
        net.write(source, "hello")
        arrived(from)
        assert.equal("OK", (take(from, s))) -- how many there may be is known now
        C.rp_splice_drop(s)
        net.write(source, "hello")
        arrived(from)
        ffi.C.getrlimit(RLIMIT_NOFILE, limit)
        low[0], low[1] = 1, limit[1]
        assert(sys.setrlimit(RLIMIT_NOFILE, low) == 0)
        local e = take(from, s)
        sys.setrlimit(RLIMIT_NOFILE, limit)
        assert.equal("BUSY", e)
        assert.equal("BUSY", (take(from, s)))
        env:until_true(function() return take(from, s) == "OK" end)
        C.rp_splice_drop(s)
    end)

    it("answers busy where a broken connection would kill the process", function()
        local from, source = pair()
        net.write(source, "x")
        arrived(from)
        ffi.C.signal(SIGPIPE, SIG_DFL)
        local e = take(from, slot())
        ffi.C.signal(SIGPIPE, SIG_IGN)
        assert.equal("BUSY", e)
    end)

    it("has few pipes, and closes those that nobody uses", function()
        local from, source = pair()
        local held, pipes = {}, open_pipes()
        for i = 1, 200 do
            net.write(source, "x")
            arrived(from)
            local s = slot()
            local e = take(from, s)
            if e == "BUSY" then break end
            assert.equal("OK", e)
            held[i] = s
        end
        assert.is_true(#held > 0 and #held <= 128, #held)
        assert.equal(pipes + 2 * #held, open_pipes())
        C.rp_splice_drop(held[1])
        assert.equal("OK", (take(from, held[1]))) -- there is one again
        local to, sink = pair()
        for _, s in ipairs(held) do assert.equal("OK", give(to, s)) end
        assert.equal(#held, #read_all(sink, #held))
        assert.is_true(open_pipes() <= pipes + 2 * 16)
        env:until_true(function() return open_pipes() == pipes end, 20)
    end)

    it("moves through unix sockets, too", function()
        local a, source = net.socketpair()
        local b, sink = net.socketpair()
        local from, to, s = env:adopt(a), env:adopt(b), slot()
        env:own(source)
        env:own(sink)
        net.write(source, BYTES)
        arrived(from)
        local e, n = take(from, s)
        assert.equal("OK", e)
        assert.equal("OK", give(to, s))
        assert.equal(BYTES:sub(1, n), read_all(sink, n))
    end)
end)
