-- SPDX-License-Identifier: MIT

local c = require("spec.support.c")
local posix = require("spec.support.posix")
local ffi = c.ffi

local C = c.load { "process/channel.h", "process/os.h" }
ffi.cdef [[ int dup(int fd); long read(int fd, void *buf, size_t n);
    int fcntl(int fd, int cmd, ...); ]]

local function open_fds()
    local n = 0
    for fd = 0, 255 do
        if ffi.C.fcntl(fd, 1) >= 0 then n = n + 1 end -- F_GETFD
    end
    return n
end

describe("process/channel", function()
    local pair, m

    local function send(head, text, fds)
        local h = ffi.new("struct rp_message_head", head)
        local list = fds and ffi.new("int[?]", #fds, fds)
        return c.err_name(C.rp_channel_send(pair[0], h, c.str(text or ""), list, fds and #fds or 0))
    end
    local function recv()
        return c.err_name(C.rp_channel_recv(pair[1], m))
    end

    before_each(function()
        pair, m = ffi.new("int[2]"), ffi.new("struct rp_message")
        assert.equal("OK", c.err_name(C.rp_channel_pair(true, pair)))
    end)
    after_each(function()
        posix.C.close(pair[0])
        posix.C.close(pair[1])
    end)

    it("carries head and text, message by message", function()
        assert.equal("OK", send({ kind = 3, attempt = 7, generation = 8, a = 1, b = 2 }, "first"))
        assert.equal("OK", send({ kind = 4 }, ""))
        assert.equal("OK", recv())
        assert.same({ 3, 7, 8, 1, 2 }, { m.head.kind, m.head.attempt, m.head.generation, m.head.a,
            m.head.b })
        assert.equal("first", c.lua(C.rp_channel_text(m)))
        assert.equal("OK", recv())
        assert.equal(4, m.head.kind)
        assert.equal(0, tonumber(m.text_n))
        assert.equal("AGAIN", recv())
    end)

    it("cuts a text that is too long", function()
        assert.equal("OK", send({ kind = 1 }, ("x"):rep(40000)))
        assert.equal("OK", recv())
        assert.equal(32768, tonumber(m.text_n))
    end)

    it("passes descriptors, which who receives may take or have closed", function()
        local dir = posix.temp_dir()
        posix.write_file(dir .. "/f", "inside")
        collectgarbage() -- forgotten files of other code are closed now, not in between
        local before = open_fds()
        local fd = posix.C.open(dir .. "/f", 0)
        local fds = {}
        for i = 1, 64 do fds[i] = fd end
        assert.equal("OK", send({ kind = 2 }, "", fds))
        assert.equal("OK", recv())
        assert.equal(64, tonumber(m.fds_n))
        assert.equal(before + 65, open_fds())
        local mine = C.rp_channel_take(m, 5)
        assert.equal(-1, C.rp_channel_take(m, 5))
        assert.equal(-1, C.rp_channel_take(m, 64))
        C.rp_channel_done(m)
        assert.equal(before + 2, open_fds())
        local buf = ffi.new("char[16]")
        assert.equal(6, tonumber(ffi.C.read(mine, buf, 16)))
        assert.equal("inside", ffi.string(buf, 6))
        posix.C.close(mine)
        posix.C.close(fd)
        posix.remove_dir(dir)
    end)

    it("tells the end of the other side", function()
        posix.C.close(pair[0])
        assert.equal("END", recv())
        pair[0] = ffi.C.dup(pair[1])
    end)

    it("says AGAIN, not blocks, when the other side does not read", function()
        local last
        for _ = 1, 1000 do
            last = send({ kind = 1 }, ("x"):rep(30000))
            if last ~= "OK" then break end
        end
        assert.equal("AGAIN", last)
    end)

    it("refuses a message without a head, and keeps nothing of it open", function()
        collectgarbage()
        local before = open_fds()
        assert.equal(3, tonumber(posix.C.send(pair[0], "abc", 3, 0)))
        assert.equal("INVALID", recv())
        assert.equal(before, open_fds())
    end)

    it("waits no longer than told", function()
        local before = posix.now()
        assert.equal("TIMEOUT", c.err_name(C.rp_channel_wait(pair[1], 50)))
        local took = posix.now() - before
        assert.is_true(took >= 0.045 and took < 20)
        assert.equal("OK", send({ kind = 1 }))
        assert.equal("OK", c.err_name(C.rp_channel_wait(pair[1], 5000)))
    end)
end)
