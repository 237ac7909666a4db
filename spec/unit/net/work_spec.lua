-- SPDX-License-Identifier: MIT

local net = require("spec.support.net")
local C, ffi, c = net.C, net.ffi, net.c

-- Jobs run on other threads, where Lua must not be entered: they are the C library's semaphores.
ffi.cdef [[
typedef union { char bytes[64]; long align; } rpspec_sem;
int sem_init(rpspec_sem *sem, int shared, unsigned value);
int sem_post(rpspec_sem *sem);
int sem_wait(rpspec_sem *sem);
int sem_getvalue(rpspec_sem *sem, int *value);
]]

local THREADS = 4 -- libuv's default

describe("rp_work", function()
    local env, log

    before_each(function()
        env = net.open()
        log = {}
    end)
    after_each(function() env:close() end)

    local function sem(value)
        local s = ffi.new("rpspec_sem")
        assert(ffi.C.sem_init(s, 0, value or 0) == 0)
        return s
    end

    local function value(s)
        local v = ffi.new("int[1]")
        ffi.C.sem_getvalue(s, v)
        return v[0]
    end

    local function start(run, arg, name)
        local out = ffi.new("struct rp_work *[1]")
        local done = env:callback("void (*)(void *, bool)", function(_, cancelled)
            log[#log + 1] = name .. (cancelled and " cancelled" or " done")
        end)
        local e = C.rp_work_start(env.loop, ffi.cast("void (*)(void *)", run), done, arg, out)
        assert.equal("OK", c.err_name(e))
        return out[0]
    end

    it("runs the job elsewhere and tells on the loop, never before start returns", function()
        local s = sem()
        start(ffi.C.sem_post, s, "a")
        net.posix.sleep(0.02)
        assert.same({}, log)
        env:until_true(function() return #log == 1 end)
        assert.same({ "a done" }, log)
        assert.equal(1, value(s))
    end)

    it("does not hold up the loop while a job blocks", function()
        local s = sem()
        start(ffi.C.sem_wait, s, "a")
        local fired = false
        local t = ffi.new("struct rp_timer")
        C.rp_timer_init(t, env:callback("void (*)(struct rp_timer *)", function() fired = true end))
        C.rp_timer_set(env.loop, t, 5)
        env:until_true(function() return fired end)
        assert.same({}, log)
        ffi.C.sem_post(s)
        env:until_true(function() return #log == 1 end)
    end)

    it("cancels a job that waits for a thread, not one that runs; done comes for both", function()
        local gate, touched = sem(), sem()
        for i = 1, THREADS do start(ffi.C.sem_wait, gate, "running" .. i) end
        local waiting = start(ffi.C.sem_post, touched, "waiting")
        env:spin(0.02) -- let the threads take up what they can
        C.rp_work_cancel(waiting)
        assert.same({}, log) -- not from inside cancel
        env:until_true(function() return #log == 1 end)
        assert.same({ "waiting cancelled" }, log)
        for _ = 1, THREADS do ffi.C.sem_post(gate) end
        env:until_true(function() return #log == 1 + THREADS end)
        assert.equal(0, value(touched))
        table.sort(log)
        assert.equal("running1 done", log[1])
    end)

    it("is waited for when the loop is freed", function()
        local s = sem()
        start(ffi.C.sem_post, s, "a")
        env:close()
        assert.same({ "a done" }, log)
        assert.equal(1, value(s))
        env = net.open()
    end)

    it("needs no handle", function()
        local s = sem()
        local done = env:callback("void (*)(void *, bool)", function() log[#log + 1] = "done" end)
        local run = ffi.cast("void (*)(void *)", ffi.C.sem_post)
        assert.equal(0, C.rp_work_start(env.loop, run, done, s, nil))
        env:until_true(function() return #log == 1 end)
    end)
end)
