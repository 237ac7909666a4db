-- SPDX-License-Identifier: MIT

local net = require("spec.support.net")
local C, ffi, c, posix = net.C, net.ffi, net.c, net.posix

ffi.cdef [[
int sched_yield(void); // a job that takes no time, and no Lua
long readlink(const char *path, char *link, size_t n);
long write(int fd, const void *bytes, size_t n);
]]

describe("rp_loop", function()
    local env

    before_each(function() env = net.open() end)
    after_each(function() env:close() end)

    local function job(fn)
        local d = ffi.new("struct rp_defer")
        d.run = env:callback("void (*)(struct rp_defer *)", function() fn(d) end)
        return d
    end

    describe("jobs for idle time", function()
        local function idle(fn)
            local i = ffi.new("struct rp_idle")
            i.run = env:callback("bool (*)(struct rp_idle *)", fn)
            return i
        end

        it("run in turn, one in each tick without events, until they say that they are done", function()
            local ran, left = {}, 2
            local a = idle(function() ran[#ran + 1] = "a" left = left - 1 return left > 0 end)
            local b = idle(function() ran[#ran + 1] = "b" return false end)
            C.rp_loop_when_idle(env.loop, a)
            C.rp_loop_when_idle(env.loop, b)
            C.rp_loop_when_idle(env.loop, a) -- queued already
            assert.same({}, ran)
            local from = posix.now()
            for _ = 1, 3 do C.rp_loop_turn(env.loop, 20000) end -- does not sleep meanwhile
            assert.same({ "a", "b", "a" }, ran)
            assert.is_true(posix.now() - from < 10)
            assert.is_false(a.queued)
            C.rp_loop_turn(env.loop, 0)
            assert.same({ "a", "b", "a" }, ran)
        end)

        it("wait while there are events", function()
            local ran = 0
            local a = idle(function() ran = ran + 1 return true end)
            local near, far = net.socketpair()
            env:own(far)
            local conn = env:adopt(near)
            net.write(far, "x")
            C.rp_loop_when_idle(env.loop, a)
            env:until_true(function() return conn.readable > 0 end)
            local before = ran
            for _ = 1, 3 do C.rp_loop_turn(env.loop, 0) end -- nobody reads it: it comes again
            assert.equal(before, ran)
            conn:close()
            env:until_true(function() return ran > before end)
            C.rp_loop_not_idle(env.loop, a)
            C.rp_loop_not_idle(env.loop, a) -- not queued: no effect
            before = ran
            C.rp_loop_turn(env.loop, 0)
            assert.equal(before, ran)
        end)
    end)

    describe("deferred jobs", function()
        it("run once, in order, not before the turn", function()
            local ran = {}
            local a = job(function() ran[#ran + 1] = "a" end)
            local b = job(function() ran[#ran + 1] = "b" end)
            C.rp_loop_defer(env.loop, a)
            C.rp_loop_defer(env.loop, b)
            C.rp_loop_defer(env.loop, a) -- queued already
            assert.same({}, ran)
            assert.is_true(a.queued)
            C.rp_loop_turn(env.loop, 0)
            assert.same({ "a", "b" }, ran)
            assert.is_false(a.queued)
            C.rp_loop_turn(env.loop, 0)
            assert.same({ "a", "b" }, ran)
        end)

        it("may queue themselves and others again in the same turn", function()
            local ran = {}
            local a, b
            a = job(function(d)
                ran[#ran + 1] = "a"
                if #ran < 4 then C.rp_loop_defer(env.loop, d) end
            end)
            b = job(function() ran[#ran + 1] = "b" end)
            C.rp_loop_defer(env.loop, a)
            C.rp_loop_defer(env.loop, b)
            C.rp_loop_turn(env.loop, 0)
            assert.same({ "a", "b", "a", "a" }, ran)
        end)

        it("that queue themselves for ever leave time for timers and sockets", function()
            local runs, fired, stop = 0, false, false
            local a
            a = job(function(d)
                runs = runs + 1
                if not stop then C.rp_loop_defer(env.loop, d) end
            end)
            local t = ffi.new("struct rp_timer")
            C.rp_timer_init(t, env:callback("void (*)(struct rp_timer *)", function()
                fired = true
            end))
            C.rp_timer_set(env.loop, t, 5)
            local near, far = net.socketpair()
            env:own(far)
            local conn = env:adopt(near)
            net.write(far, "x")
            C.rp_loop_defer(env.loop, a)
            env:until_true(function() return fired and conn.readable > 0 end)
            -- and the wait does not block while jobs are left
            local before, from = runs, posix.now()
            C.rp_loop_turn(env.loop, 20000)
            assert.is_true(posix.now() - from < 10)
            assert.is_true(runs > before)
            stop = true
            C.rp_loop_turn(env.loop, 0)
            C.rp_loop_turn(env.loop, 0)
            assert.is_false(a.queued)
            before = runs
            conn:close()
            C.rp_loop_turn(env.loop, 0) -- the close callback
            from = posix.now()
            C.rp_loop_turn(env.loop, 20) -- blocks again
            assert.is_true(posix.now() - from > 0.01)
            assert.equal(before, runs)
        end)

        it("can be taken out of the head, the middle and the end", function()
            local ran, jobs = {}, {}
            for i = 1, 5 do
                jobs[i] = job(function() ran[#ran + 1] = i end)
                C.rp_loop_defer(env.loop, jobs[i])
            end
            C.rp_loop_undefer(env.loop, jobs[1])
            C.rp_loop_undefer(env.loop, jobs[3])
            C.rp_loop_undefer(env.loop, jobs[5])
            C.rp_loop_undefer(env.loop, jobs[5]) -- not queued: no effect
            local late = job(function() ran[#ran + 1] = "late" end)
            C.rp_loop_defer(env.loop, late)
            C.rp_loop_turn(env.loop, 0)
            assert.same({ 2, 4, "late" }, ran)
        end)

        it("can be taken out by one that runs before them", function()
            local ran = {}
            local b = job(function() ran[#ran + 1] = "b" end)
            local a = job(function()
                ran[#ran + 1] = "a"
                C.rp_loop_undefer(env.loop, b)
            end)
            local d = job(function() ran[#ran + 1] = "d" end)
            C.rp_loop_defer(env.loop, a)
            C.rp_loop_defer(env.loop, b)
            C.rp_loop_defer(env.loop, d)
            C.rp_loop_turn(env.loop, 0)
            assert.same({ "a", "d" }, ran)
        end)

        it("queued by a timer run in the same turn", function()
            local ran = false
            local a = job(function() ran = true end)
            local t = ffi.new("struct rp_timer")
            C.rp_timer_init(t, env:callback("void (*)(struct rp_timer *)", function()
                C.rp_loop_defer(env.loop, a)
            end))
            C.rp_timer_set(env.loop, t, 1)
            env:until_true(function() return not C.rp_timer_is_armed(t) end)
            assert.is_true(ran)
        end)
    end)

    describe("bulk jobs", function()
        it("run behind all others of their tick", function()
            local ran = {}
            local others = {}
            for i = 1, 3 do
                others[i] = job(function(d)
                    ran[#ran + 1] = i
                    if #ran < 6 then C.rp_loop_defer(env.loop, d) end
                end)
            end
            local bulk = job(function() ran[#ran + 1] = "bulk" end)
            C.rp_loop_defer_bulk(env.loop, bulk)
            assert.is_true(bulk.queued)
            assert.is_true(C.rp_loop_is_crowded(env.loop))
            for i = 1, 3 do C.rp_loop_defer(env.loop, others[i]) end
            C.rp_loop_defer(env.loop, bulk) -- queued already
            C.rp_loop_turn(env.loop, 0)
            assert.same({ 1, 2, 3, 1, 2, 3, 1, 2, "bulk" }, ran)
            assert.is_false(C.rp_loop_is_crowded(env.loop))
        end)

        it("wait for the next tick when their share is used up, in order", function()
            local ran, bulk = {}, {}
            C.rp_loop_set_share(env.loop, 0) -- one a tick
            for i = 1, 3 do
                bulk[i] = job(function(d)
                    assert.is_true(C.rp_loop_is_late(env.loop))
                    ran[#ran + 1] = i
                    if #ran < 5 then C.rp_loop_defer_bulk(env.loop, d) end
                end)
                C.rp_loop_defer_bulk(env.loop, bulk[i])
            end
            local near, far = net.socketpair()
            env:own(far)
            local conn = env:adopt(near)
            net.write(far, "x")
            local other = job(function() ran[#ran + 1] = "other" end)
            local from = posix.now()
            C.rp_loop_turn(env.loop, 60000)
            assert.same({ 1 }, ran)
            assert.equal(1, conn.readable) -- sockets have their turn in between
            C.rp_loop_defer(env.loop, other)
            C.rp_loop_turn(env.loop, 60000)
            assert.same({ 1, "other", 2 }, ran)
            for _ = 1, 5 do C.rp_loop_turn(env.loop, 0) end
            assert.is_true(posix.now() - from < 50) -- the poll does not block meanwhile
            assert.same({ 1, "other", 2, 3, 1, 2, 3 }, ran)
            conn:close()
        end)

        it("go on in the same tick while it lasts", function()
            local runs = 0
            C.rp_loop_set_share(env.loop, 3600 * 1000000000)
            local bulk = job(function(d)
                runs = runs + 1
                assert.is_false(C.rp_loop_is_late(env.loop))
                if runs < 50 then C.rp_loop_defer_bulk(env.loop, d) end
            end)
            C.rp_loop_defer_bulk(env.loop, bulk)
            C.rp_loop_turn(env.loop, 0)
            assert.equal(50, runs)
            assert.is_true(C.rp_loop_is_late(env.loop)) -- outside of them
        end)

        it("do not keep back what they queue", function()
            local ran = {}
            local other = job(function() ran[#ran + 1] = "other" end)
            local a = job(function()
                ran[#ran + 1] = "a"
                C.rp_loop_defer(env.loop, other)
            end)
            local b = job(function() ran[#ran + 1] = "b" end)
            C.rp_loop_set_share(env.loop, 3600 * 1000000000)
            C.rp_loop_defer_bulk(env.loop, a)
            C.rp_loop_defer_bulk(env.loop, b)
            C.rp_loop_turn(env.loop, 0)
            assert.same({ "a", "other", "b" }, ran)
        end)

        it("can be taken out", function()
            local ran, jobs = {}, {}
            C.rp_loop_set_share(env.loop, 3600 * 1000000000)
            for i = 1, 4 do
                jobs[i] = job(function() ran[#ran + 1] = i end)
                if i == 2 then C.rp_loop_defer(env.loop, jobs[i])
                else C.rp_loop_defer_bulk(env.loop, jobs[i]) end
            end
            C.rp_loop_undefer(env.loop, jobs[1])
            C.rp_loop_undefer(env.loop, jobs[2])
            C.rp_loop_undefer(env.loop, jobs[4])
            C.rp_loop_turn(env.loop, 0)
            assert.same({ 3 }, ran)
        end)
    end)

    describe("time", function()
        it("stands still within a tick and moves between ticks", function()
            local first_ns, second_ns
            local a = job(function()
                first_ns = C.rp_loop_now_ns(env.loop)
                local ms = C.rp_loop_now(env.loop)
                local wall = C.rp_loop_wall(env.loop)
                posix.sleep(0.005)
                assert.is_true(C.rp_loop_now_ns(env.loop) == first_ns)
                assert.is_true(C.rp_loop_now(env.loop) == ms)
                assert.equal(wall, C.rp_loop_wall(env.loop))
            end)
            C.rp_loop_defer(env.loop, a)
            C.rp_loop_turn(env.loop, 0)
            C.rp_loop_turn(env.loop, 0)
            second_ns = C.rp_loop_now_ns(env.loop)
            assert.is_true(second_ns - first_ns >= 5000000)
        end)

        it("is read anew when it is told to: timers count from then", function()
            local before = tonumber(C.rp_loop_now(env.loop))
            posix.sleep(0.02)
            assert.equal(before, tonumber(C.rp_loop_now(env.loop)))
            C.rp_loop_reread(env.loop)
            assert.is_true(tonumber(C.rp_loop_now(env.loop)) >= before + 20)
        end)

        it("is the wall's within a second", function()
            assert.is_true(math.abs(C.rp_loop_wall(env.loop) - os.time()) <= 1.5)
        end)

        -- Read at the turn, and finer than time(): near a second's edge the two differ by one.
        it("has the date of this second", function()
            local near, now = {}, os.time()
            for t = now - 1, now + 1 do near[os.date("!%a, %d %b %Y %H:%M:%S GMT", t)] = true end
            C.rp_loop_turn(env.loop, 0)
            local got = c.lua(C.rp_loop_date(env.loop))
            assert.is_true(near[got], got)
            posix.sleep(1.01)
            C.rp_loop_turn(env.loop, 0)
            assert.is_true(c.lua(C.rp_loop_date(env.loop)) ~= got)
        end)
    end)

    -- By which threads wake libuv: eventfds of this process.
    local function eventfds()
        local found, link = {}, ffi.new("char[64]")
        for fd = 3, 1023 do
            local n = tonumber(ffi.C.readlink("/proc/self/fd/" .. fd, link, 64))
            if n > 0 and ffi.string(link, n):find("eventfd", 1, true) then found[fd] = true end
        end
        return found
    end

    -- Of two jobs that end together the first news may tell both, and the second comes when libuv
    -- has nothing under way any more.
    it("takes news of threads also when nobody waits for any, and waits again", function()
        env:close()
        local before = eventfds()
        env = net.open()
        local fd
        for one in pairs(eventfds()) do if not before[one] then fd = one end end
        local run = ffi.cast("void (*)(void *)", ffi.C.sched_yield)
        local ended, fired = false, false
        local done = env:callback("void (*)(void *, bool)", function() ended = true end)
        assert.equal(0, C.rp_work_start(env.loop, run, done, nil, nil))
        env:until_true(function() return ended end)
        assert.equal(8, tonumber(ffi.C.write(fd, ffi.new("uint64_t[1]", 1), 8)))
        local t = ffi.new("struct rp_timer")
        C.rp_timer_init(t, env:callback("void (*)(struct rp_timer *)", function()
            fired = true
        end))
        C.rp_timer_set(env.loop, t, 50)
        local turns = 0
        repeat
            C.rp_loop_turn(env.loop, 20000)
            turns = turns + 1
        until fired
        assert.is_true(turns < 20, turns)
    end)

    it("runs until it is stopped", function()
        local ticks = 0
        local t
        t = ffi.new("struct rp_timer")
        C.rp_timer_init(t, env:callback("void (*)(struct rp_timer *)", function()
            ticks = ticks + 1
            if ticks == 3 then C.rp_loop_stop(env.loop) else C.rp_timer_set(env.loop, t, 1) end
        end))
        C.rp_timer_set(env.loop, t, 1)
        C.rp_loop_run(env.loop)
        assert.equal(3, ticks)
    end)

    it("waits no longer than it was told", function()
        local from = posix.now()
        C.rp_loop_turn(env.loop, 30)
        local took = posix.now() - from
        assert.is_true(took > 0.02 and took < 10, took)
        from = posix.now()
        C.rp_loop_turn(env.loop, 0)
        assert.is_true(posix.now() - from < 10)
    end)

    it("closes what is left when it is freed", function()
        local near, far = net.socketpair()
        env:own(far)
        env:adopt(near)
        env:adopt((net.socketpair()))
        assert.is_true(net.fd_is_open(near))
        env:close()
        assert.is_false(net.fd_is_open(near))
        env = net.open()
    end)
end)
