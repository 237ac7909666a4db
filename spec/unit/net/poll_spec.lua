-- SPDX-License-Identifier: MIT

local net = require("spec.support.net")
local c = require("spec.support.c")

local ffi, sys = net.ffi, net.sys
local C = c.load { "net/loop.h", "net/poll.h", "net/child.h" }

ffi.cdef [[
void *rp_loop_guest(struct rp_loop *l);
typedef union { char bytes[1024]; long align; } rpspec_uv; /* more than any handle takes */
int uv_timer_init(void *loop, rpspec_uv *t);
int uv_timer_start(rpspec_uv *t, void (*fn)(rpspec_uv *), uint64_t after_ms, uint64_t every_ms);
int uv_async_init(void *loop, rpspec_uv *a, void (*fn)(rpspec_uv *));
int uv_async_send(rpspec_uv *a);
int uv_signal_init(void *loop, rpspec_uv *s);
int uv_signal_start(rpspec_uv *s, void (*fn)(rpspec_uv *, int), int number);
int raise(int number);
]]

local SIGUSR2 = 12
local IN, OUT = 1, 4

-- Start a program and wait for its end.
local function run_program(env)
    local argv = ffi.new("char *[2]", ffi.cast("char *", "/bin/true"), nil)
    local environment = ffi.new("char *[1]")
    local spec = ffi.new("struct rp_child_spec", { argv = argv, env = environment, out_most = 9 })
    local out, why, ended = ffi.new("struct rp_child *[1]"), ffi.new("const char *[1]"), false
    local on_end = env:callback("void (*)(void *)", function() ended = true end)
    assert.equal(0, C.rp_child_start(env.loop, spec, on_end, nil, out, why))
    env:until_true(function() return ended end)
    C.rp_child_close(out)
end

describe("rp_poll", function()
    local env

    before_each(function() env = net.open() end)
    after_each(function() env:close() end)

    -- A watched descriptor: `events` are those that were told, one entry each.
    local function watch(fd, armed, on_events)
        local w = { raw = env:anchor(ffi.new("struct rp_poll")), fd = fd, events = {} }
        local fn = env:callback("rp_poll_fn", function(_, events)
            w.events[#w.events + 1] = tonumber(events)
            if on_events then on_events(w) end
        end)
        assert.equal(0, C.rp_poll_start(env.loop, w.raw, fd, armed, fn))
        return w
    end

    local function watched_pair(armed, on_events)
        local near, far = net.socketpair()
        return watch(env:own(near), armed, on_events), env:own(far)
    end

    -- Entries in the process's epoll instances, for one descriptor or for all.
    local function entries()
        local pipe = assert(io.popen("cat /proc/" .. sys.getpid() .. "/fdinfo/* 2>/dev/null"))
        local _, n = pipe:read("*a"):gsub("tfd:", "")
        pipe:close()
        return n
    end

    it("tells what is armed, and again while it holds", function()
        local w, far = watched_pair(IN)
        C.rp_loop_turn(env.loop, 0)
        assert.same({}, w.events)
        net.write(far, "x")
        C.rp_loop_turn(env.loop, 0)
        C.rp_loop_turn(env.loop, 0)
        assert.same({ IN, IN }, w.events)
        C.rp_poll_arm(w.raw, OUT)
        C.rp_loop_turn(env.loop, 0)
        assert.same({ IN, IN, OUT }, w.events)
        C.rp_poll_end(w.raw, true, nil)
    end)

    it("with nothing armed says nothing, and has lost nothing when it is armed again", function()
        local w, far = watched_pair(IN)
        C.rp_poll_arm(w.raw, 0)
        net.write(far, "x")
        sys.shutdown(far, 2) -- hang-up: epoll tells that without being asked
        for _ = 1, 5 do C.rp_loop_turn(env.loop, 0) end
        assert.same({}, w.events)
        C.rp_poll_arm(w.raw, IN)
        C.rp_loop_turn(env.loop, 0)
        assert.same({ IN }, w.events)
        C.rp_poll_end(w.raw, true, nil)
    end)

    it("cannot watch a file, nor a descriptor twice", function()
        local w = watched_pair(IN)
        local other = ffi.new("struct rp_poll")
        assert.equal(17, C.rp_poll_start(env.loop, other, w.fd, IN, nil)) -- EEXIST
        local file = assert(io.open("/proc/self/stat"))
        file:close()
        assert.equal(9, C.rp_poll_start(env.loop, other, 1023, IN, nil)) -- EBADF
        C.rp_poll_end(w.raw, true, nil)
    end)

    it("one that ends in another's event gets none, though its own was fetched with it", function()
        local a, b, far_a, far_b
        local function end_other(w)
            local other = w == a and b or a
            C.rp_poll_end(other.raw, false, nil)
            sys.close(other.fd)
        end
        local function one()
            local near, far = net.socketpair()
            return watch(near, IN, end_other), env:own(far)
        end
        a, far_a = one()
        b, far_b = one()
        net.write(far_a, "x")
        net.write(far_b, "x")
        for _ = 1, 3 do C.rp_loop_turn(env.loop, 0) end
        local told, silent = a, b
        if #told.events == 0 then told, silent = b, a end
        assert.equal(3, #told.events)
        assert.same({}, silent.events)
        C.rp_poll_end(told.raw, false, nil)
        sys.close(told.fd)
    end)

    it("one that takes over a descriptor's number in the same tick gets events of its own only", function()
        local a, b, heir, heir_far
        local function replace(w)
            if heir then return end
            local old = w == a and b or a
            C.rp_poll_end(old.raw, false, nil)
            sys.close(old.fd)
            local near, far = net.socketpair()
            if near ~= old.fd then near, far = far, near end
            assert.equal(old.fd, near)
            env:own(far)
            heir, heir_far = watch(env:own(near), IN), far
        end
        local function one()
            local near, far = net.socketpair()
            return watch(near, IN, replace), env:own(far)
        end
        local far_a, far_b
        a, far_a = one()
        b, far_b = one()
        net.write(far_a, "x")
        net.write(far_b, "x")
        C.rp_loop_turn(env.loop, 0)
        assert.equal(1, #a.events + #b.events)
        C.rp_loop_turn(env.loop, 0)
        assert.same({}, heir.events)
        net.write(heir_far, "y")
        C.rp_loop_turn(env.loop, 0)
        assert.same({ IN }, heir.events)
        assert.equal("y", net.read(heir.fd))
    end)

    it("keeps the memory of one that ended until the tick is over", function()
        local freed, during = 0, nil
        local free = env:callback("void (*)(struct rp_poll *)", function() freed = freed + 1 end)
        local w, far = watched_pair(IN, function(w)
            C.rp_poll_end(w.raw, true, free)
            during = freed
        end)
        net.write(far, "x")
        C.rp_loop_turn(env.loop, 0)
        assert.equal(0, during)
        C.rp_loop_turn(env.loop, 0)
        assert.equal(1, freed)
        assert.same({ IN }, w.events)
    end)

    it("frees what ended in the last tick when the loop goes", function()
        local freed = 0
        local other = net.open()
        local near, far = net.socketpair()
        local free = other:callback("void (*)(struct rp_poll *)", function() freed = freed + 1 end)
        local w = ffi.new("struct rp_poll")
        assert.equal(0, C.rp_poll_start(other.loop, w, near, IN, nil))
        C.rp_poll_end(w, true, free)
        other:own(near)
        other:own(far)
        assert.equal(0, freed)
        other:close()
        assert.equal(1, freed)
    end)

    it("may be open still when the loop goes, and its descriptor stays", function()
        local other = net.open()
        local near, far = net.socketpair()
        local w = ffi.new("struct rp_poll")
        assert.equal(0, C.rp_poll_start(other.loop, w, near, IN, nil))
        other:close()
        assert.is_true(net.fd_is_open(near))
        sys.close(near)
        sys.close(far)
    end)

    it("serves each of more ready descriptors than one wait fetches", function()
        local all = {}
        for i = 1, 300 do
            local far
            all[i], far = watched_pair(IN)
            net.write(far, "x")
        end
        for _ = 1, 4 do C.rp_loop_turn(env.loop, 0) end
        for i = 1, 300 do assert.is_true(#all[i].events >= 2) end
    end)

    describe("of a file that is open elsewhere too", function()
        local function copy_of(fd) return env:own(sys.fcntl(fd, 0, ffi.cast("int", 3))) end -- F_DUPFD

        it("is taken out when the owner says that it stays open", function()
            local before = entries()
            local near, far = net.socketpair()
            local w = watch(near, IN)
            copy_of(near)
            env:own(far)
            assert.equal(before + 1, entries())
            C.rp_poll_end(w.raw, true, nil)
            sys.close(near)
            assert.equal(before, entries())
        end)

        it("is taken out when the process has forked since the loop began", function()
            run_program(env)
            local before = entries()
            local near, far = net.socketpair()
            local w = watch(near, IN)
            copy_of(near)
            env:own(far)
            C.rp_poll_end(w.raw, false, nil)
            sys.close(near)
            assert.equal(before, entries())
        end)
    end)
end)

describe("rp_loop's guest", function()
    local env, anchored

    -- A descriptor that is readable for ever: no wait of the loop blocks.
    before_each(function()
        env = net.open()
        local near, far = net.socketpair()
        net.write(env:own(far), "x")
        anchored = { ffi.new("struct rp_poll") }
        local fn = env:callback("rp_poll_fn", function() end)
        assert.equal(0, C.rp_poll_start(env.loop, anchored[1], env:own(near), IN, fn))
    end)
    after_each(function() env:close() end)

    local function handle()
        local h = ffi.new("rpspec_uv")
        anchored[#anchored + 1] = h
        return h
    end

    it("has its timers served beside sockets that are always ready", function()
        local fired, t = 0, handle()
        local fn = env:callback("void (*)(rpspec_uv *)", function() fired = fired + 1 end)
        assert.equal(0, C.uv_timer_init(C.rp_loop_guest(env.loop), t))
        assert.equal(0, C.uv_timer_start(t, fn, 2, 2))
        env:until_true(function() return fired >= 3 end)
    end)

    it("has its timers served when nothing else happens", function()
        C.rp_poll_end(anchored[1], true, nil)
        local fired, t = 0, handle()
        local fn = env:callback("void (*)(rpspec_uv *)", function() fired = fired + 1 end)
        assert.equal(0, C.uv_timer_init(C.rp_loop_guest(env.loop), t))
        assert.equal(0, C.uv_timer_start(t, fn, 2, 2))
        env:until_true(function() return fired >= 3 end)
    end)

    it("hears what other threads send", function()
        local heard, a = 0, handle()
        local fn = env:callback("void (*)(rpspec_uv *)", function() heard = heard + 1 end)
        assert.equal(0, C.uv_async_init(C.rp_loop_guest(env.loop), a, fn))
        C.rp_loop_turn(env.loop, 0)
        assert.equal(0, heard)
        for i = 1, 3 do
            assert.equal(0, C.uv_async_send(a)) -- from outside: the loop is not told
            env:until_true(function() return heard == i end)
        end
    end)

    it("hears signals", function()
        local heard, s = 0, handle()
        local fn = env:callback("void (*)(rpspec_uv *, int)", function(_, number)
            assert(number == SIGUSR2)
            heard = heard + 1
        end)
        assert.equal(0, C.uv_signal_init(C.rp_loop_guest(env.loop), s))
        assert.equal(0, C.uv_signal_start(s, fn, SIGUSR2))
        C.rp_loop_turn(env.loop, 0)
        for i = 1, 2 do
            ffi.C.raise(SIGUSR2)
            env:until_true(function() return heard == i end)
        end
    end)

    it("hears that a program has ended", function() run_program(env) end)
end)
