-- SPDX-License-Identifier: MIT
--
-- scratch: a nameless file on the thread pool: what was written comes back, jobs own their bytes.

local bytes_of = require("spec.support.msg")
local net = require("spec.support.net")

local C, ffi, c = net.C, net.ffi, net.c
c.load { "net/scratch.h" }

ffi.cdef [[ int chmod(const char *path, unsigned mode); ]]

describe("rp_scratch", function()
    local env, done_n, gone_n, on_done, on_gone, dir

    before_each(function()
        env = net.open()
        done_n, gone_n = 0, 0
        on_done = env:callback("void (*)(void *)", function() done_n = done_n + 1 end)
        on_gone = env:callback("void (*)(void *)", function() gone_n = gone_n + 1 end)
        dir = net.posix.temp_dir()
    end)

    after_each(function()
        env:until_true(function() return gone_n > 0 end)
        assert.equal(0, tonumber(env.mem.live_bytes))
        assert.equal(0, env.mem.pieces.live_n)
        env:close()
        net.posix.remove_dir(dir)
    end)

    local function open(path)
        return C.rp_scratch_new(env.loop, c.str(path or dir), on_done, nil, on_gone, nil)
    end

    local function chain(text)
        return bytes_of.chain(env.mem, text)
    end

    local text = bytes_of.drain

    local function finish(n)
        env:until_true(function() return done_n == n end)
    end

    it("gives back what was written, and has no name", function()
        local s, out = open(), chain()
        local bytes = ("0123456789"):rep(20000)
        local input = chain(bytes)
        assert.equal(0, C.rp_scratch_write(s, input, 150000, 0))
        assert.is_true(C.rp_scratch_is_busy(s))
        assert.equal(50000, tonumber(input.bytes))
        finish(1)
        assert.equal(0, C.rp_scratch_take(s, out))
        assert.equal(0, tonumber(out.bytes))
        local pipe = io.popen("env -u LD_PRELOAD ls -A " .. dir)
        assert.equal("", pipe:read("*a"))
        pipe:close()
        assert.equal(0, C.rp_scratch_write(s, input, 50000, 150000))
        finish(2)
        assert.equal(0, C.rp_scratch_take(s, out))
        for i, at in ipairs { 0, 140003, 190000 } do
            local n = math.min(65536, #bytes - at)
            assert.equal(0, C.rp_scratch_read(s, at, n))
            finish(2 + i)
            assert.equal(0, C.rp_scratch_take(s, out))
            assert.is_true(text(out) == bytes:sub(at + 1, at + n))
        end
        assert.equal(0, gone_n)
        C.rp_scratch_close(s)
    end)

    it("keeps what could not be written", function()
        local s, input, out = open(dir .. "/none"), chain("abc"), chain()
        assert.equal(0, C.rp_scratch_write(s, input, 3, 0))
        finish(1)
        assert.equal("OS", c.err_name(C.rp_scratch_take(s, out)))
        assert.equal(2, C.rp_scratch_errno(s)) -- ENOENT
        assert.equal("abc", text(out))
        C.rp_scratch_close(s)
    end)

    it("may be closed while a job runs: the job ends alone", function()
        for _ = 1, 20 do
            local s, input = open(), chain(("x"):rep(60000))
            assert.equal(0, C.rp_scratch_write(s, input, 60000, 0))
            C.rp_scratch_close(s)
        end
        env:until_true(function() return gone_n == 20 end)
        assert.equal(0, done_n)
    end)

    it("is waited for by the end of the loop", function()
        local s, input = open(), chain(("x"):rep(60000))
        assert.equal(0, C.rp_scratch_write(s, input, 60000, 0))
        C.rp_scratch_close(s)
        C.rp_loop_free(ffi.new("struct rp_loop *[1]", env.loop))
        assert.equal(1, gone_n)
        assert.equal(0, tonumber(env.mem.live_bytes))
        env.loop = C.rp_loop_new(env.mem)
    end)

    it("without a file goes at once", function()
        C.rp_scratch_close(open())
        assert.equal(1, gone_n)
    end)
end)
