-- SPDX-License-Identifier: MIT

local net = require("spec.support.net")
local C, ffi, c, posix, sys = net.C, net.ffi, net.c, net.posix, net.sys

local IPPROTO_TCP, TCP_NODELAY, RLIMIT_NOFILE, EADDRINUSE = 6, 1, 7, 98

describe("rp_listener", function()
    local env

    before_each(function() env = net.open() end)
    after_each(function() env:close() end)

    -- What fn logs (to stderr, the default), as lines.
    local function logged(fn)
        local dir = posix.temp_dir()
        local path = dir .. "/log"
        posix.write_file(path, "")
        local kept = sys.fcntl(2, 0, ffi.cast("int", 100)) -- F_DUPFD
        local file = sys.open(path, 1025) -- O_WRONLY, O_APPEND
        sys.dup2(file, 2)
        sys.close(file)
        local ok, err = pcall(fn)
        sys.dup2(kept, 2)
        sys.close(kept)
        local lines = {}
        for line in io.lines(path) do
            lines[#lines + 1] = line
        end
        posix.remove_dir(dir)
        assert(ok, err)
        return lines
    end

    local function bind(text, options)
        local fd, os = ffi.new("int[1]"), ffi.new("int[1]")
        local o = ffi.new("struct rp_listener_options", { backlog = 64, unix_mode = 438 }) -- 0666
        for k, v in pairs(options or {}) do
            o[k] = v
        end
        local e = C.rp_listener_bind(net.addr(text), o, fd, os)
        if e ~= 0 then return nil, c.err_name(e), os[0] end
        return env:own(fd[0])
    end

    -- A listener that collects what it accepts.
    local function open(fd)
        local got = {}
        local out = ffi.new("struct rp_listener *[1]")
        local fn = env:callback("rp_listener_fn", function(_, raw)
            got[#got + 1] = env:wrap(raw)
        end)
        local e = C.rp_listener_open(env.loop, fd, fn, ffi.cast("void *", 42), out)
        assert.equal("OK", c.err_name(e))
        return out[0], got
    end

    local function client(port)
        local fd = sys.socket(net.AF_INET, net.STREAM, 0)
        assert(sys.connect(fd, posix.inet("127.0.0.1", port), 16) == 0)
        return env:own(fd)
    end

    local function int_option(fd, level, name)
        local v, n = ffi.new("int[1]"), ffi.new("unsigned[1]", 4)
        assert(sys.getsockopt(fd, level, name, v, n) == 0)
        return v[0]
    end

    it("accepts, non-blocking and without Nagle, and knows both ends", function()
        local fd = bind("127.0.0.1:0")
        local port = net.port_of(fd)
        local ln, got = open(fd)
        assert.equal(42, tonumber(ffi.cast("intptr_t", C.rp_listener_owner(ln))))
        assert.equal("127.0.0.1:" .. port, net.text(C.rp_listener_addr(ln)))
        local far = client(port)
        env:until_true(function() return #got == 1 end)
        local a = ffi.new("struct rp_addr")
        C.rp_conn_peer(got[1].raw, a)
        assert.equal("127.0.0.1:" .. net.port_of(far), net.text(a))
        C.rp_conn_local(got[1].raw, a)
        assert.equal("127.0.0.1:" .. port, net.text(a))
        net.write(far, "hello")
        env:until_true(function() return got[1].readable > 0 end)
        assert.same({ "OK", "hello" }, { got[1]:recv() })
        assert.equal("AGAIN", (got[1]:recv()))
        -- the newest descriptor of ours is the accepted one
        local probe = sys.socket(1, 1, 0)
        sys.close(probe)
        assert.equal(1, int_option(probe - 1, IPPROTO_TCP, TCP_NODELAY))
    end)

    it("asks the kernel for the local end when bound to all addresses", function()
        local fd = bind("*:0")
        local port = net.port_of(fd)
        local _, got = open(fd)
        client(port)
        env:until_true(function() return #got == 1 end)
        local a = ffi.new("struct rp_addr")
        C.rp_conn_local(got[1].raw, a)
        assert.equal("127.0.0.1:" .. port, net.text(a))
    end)

    it("shows an IPv4 client of a dual-stack socket as IPv4", function()
        local fd = bind("[::]:0")
        if not fd then return pending("no IPv6 here") end
        local port = net.port_of(fd)
        local _, got = open(fd)
        local far = client(port)
        env:until_true(function() return #got == 1 end)
        local a = ffi.new("struct rp_addr")
        C.rp_conn_peer(got[1].raw, a)
        assert.equal("127.0.0.1:" .. net.port_of(far), net.text(a))
    end)

    it("keeps IPv4 out when told ipv6_only", function()
        local fd = bind("[::]:0", { ipv6_only = true })
        if not fd then return pending("no IPv6 here") end
        local s = env:own(sys.socket(net.AF_INET, net.STREAM, 0))
        assert.equal(-1, sys.connect(s, posix.inet("127.0.0.1", net.port_of(fd)), 16))
    end)

    it("accepts a crowd", function()
        local fd = bind("127.0.0.1:0", { backlog = 256 })
        local port = net.port_of(fd)
        local _, got = open(fd)
        for _ = 1, 200 do client(port) end
        env:until_true(function() return #got == 200 end)
        local ticks = 0
        env:until_true(function()
            ticks = ticks + 1
            return ticks == 3
        end)
        assert.equal(200, #got)
    end)

    it("accepts no more than a batch between other events", function()
        local fd = bind("127.0.0.1:0", { backlog = 256 })
        local port = net.port_of(fd)
        local _, got = open(fd)
        for _ = 1, 200 do client(port) end
        local most, before = 0, 0
        env:until_true(function()
            most = math.max(most, #got - before)
            before = #got
            return #got == 200
        end)
        assert.is_true(most <= 64 and most > 4, "batch of " .. most)
    end)

    it("stops when closed and leaves the socket to its owner", function()
        local fd = bind("127.0.0.1:0")
        local port = net.port_of(fd)
        local ln, got = open(fd)
        C.rp_listener_close(ln)
        client(port)
        env:spin(0.03)
        assert.equal(0, #got)
        assert.is_true(net.fd_is_open(fd))
        local _, more = open(fd) -- and it can be taken up again
        env:until_true(function() return #more == 1 end)
    end)

    it("may be closed from its own callback", function()
        local fd = bind("127.0.0.1:0")
        local port = net.port_of(fd)
        local n, out = 0, ffi.new("struct rp_listener *[1]")
        local fn = env:callback("rp_listener_fn", function(ln, raw)
            n = n + 1
            C.rp_conn_close(raw)
            C.rp_listener_close(ln)
        end)
        assert.equal(0, C.rp_listener_open(env.loop, fd, fn, nil, out))
        client(port)
        client(port)
        env:spin(0.03)
        assert.equal(1, n)
    end)

    it("rests when out of descriptors, says so once, and goes on after", function()
        local fd = bind("127.0.0.1:0")
        local port = net.port_of(fd)
        local _, got = open(fd)
        local first, second = client(port), client(port)
        local starved, rested
        local lines = logged(function()
            -- fill the table up to the limit: nothing more may be opened
            local limit, holes = ffi.new("unsigned long[2]"), {}
            assert(sys.getrlimit(RLIMIT_NOFILE, limit) == 0)
            local before = limit[0]
            limit[0] = second + 20
            assert(sys.setrlimit(RLIMIT_NOFILE, limit) == 0)
            repeat
                local hole = sys.socket(1, 1, 0)
                holes[#holes + 1] = hole
            until hole < 0
            env:spin(0.6)
            starved = #got
            local from = posix.now()
            C.rp_loop_turn(env.loop, 20)
            rested = posix.now() - from
            limit[0] = before
            assert(sys.setrlimit(RLIMIT_NOFILE, limit) == 0)
            for _, hole in ipairs(holes) do
                if hole >= 0 then sys.close(hole) end
            end
        end)
        assert.equal(0, starved)
        assert.equal(1, #lines)
        assert.is_truthy(lines[1]:find("cannot accept", 1, true), lines[1])
        assert.is_truthy(lines[1]:find("EMFILE", 1, true), lines[1])
        assert.is_true(rested > 0.008, "it spins")
        env:until_true(function() return #got == 2 end)
        net.write(first, "a")
        env:until_true(function() return got[1].readable + got[2].readable > 0 end)
    end)

    describe("bind", function()
        it("tells a port in use", function()
            local fd = bind("127.0.0.1:0")
            local _, err, os = bind("127.0.0.1:" .. net.port_of(fd))
            assert.equal("BUSY", err)
            assert.equal(EADDRINUSE, os)
        end)

        it("shares a port with reuseport", function()
            local fd = bind("127.0.0.1:0", { reuseport = true })
            local text = "127.0.0.1:" .. net.port_of(fd)
            assert.is_truthy(bind(text, { reuseport = true }))
            assert.equal("BUSY", select(2, bind(text)))
        end)

        it("tells other failures with errno", function()
            local _, err, os = bind("1.2.3.4:0") -- not ours: EADDRNOTAVAIL
            assert.equal("OS", err)
            assert.equal(99, os)
            _, err, os = bind("unix:/nonexistent/x")
            assert.equal("OS", err)
            assert.equal(2, os)
        end)

        it("refuses no address", function()
            local fd, os = ffi.new("int[1]"), ffi.new("int[1]")
            local o = ffi.new("struct rp_listener_options", { backlog = 1 })
            local e = C.rp_listener_bind(ffi.new("struct rp_addr"), o, fd, os)
            assert.equal("INVALID", c.err_name(e))
            assert.equal(-1, fd[0])
        end)

        describe("of a unix path", function()
            local dir, path

            before_each(function()
                dir = posix.temp_dir()
                path = dir .. "/s"
            end)
            after_each(function() posix.remove_dir(dir) end)

            it("sets the mode whatever the umask, and accepts", function()
                local fd = bind("unix:" .. path, { unix_mode = 438 })
                local pipe = io.popen("stat -c %a " .. path)
                assert.equal("666", pipe:read("*l"))
                pipe:close()
                local _, got = open(fd)
                local conn = env:connect("unix:" .. path)
                env:until_true(function() return #got == 1 and conn.writable > 0 end)
                conn:send("hi")
                env:until_true(function() return got[1].readable > 0 end)
                assert.same({ "OK", "hi" }, { got[1]:recv() })
                local a = ffi.new("struct rp_addr")
                C.rp_conn_local(got[1].raw, a)
                assert.equal("unix:" .. path, net.text(a))
            end)

            it("replaces a socket nobody listens on", function()
                local fd = bind("unix:" .. path)
                sys.close(fd)
                assert.is_true(posix.exists(path))
                assert.is_truthy(bind("unix:" .. path))
            end)

            it("leaves a live one alone", function()
                bind("unix:" .. path)
                local _, err, os = bind("unix:" .. path)
                assert.equal("BUSY", err)
                assert.equal(EADDRINUSE, os)
                assert.is_truthy(env:connect("unix:" .. path))
            end)

            it("leaves a file that is no socket alone", function()
                posix.write_file(path, "precious")
                assert.equal("BUSY", select(2, bind("unix:" .. path)))
                assert.equal("precious", posix.read_file(path))
            end)
        end)
    end)

    it("refuses to open what is not a socket", function()
        local fd = env:own(sys.open("/proc/self/status", 0))
        local out = ffi.new("struct rp_listener *[1]")
        local fn = env:callback("rp_listener_fn", function() end)
        assert.equal("OS", c.err_name(C.rp_listener_open(env.loop, fd, fn, nil, out)))
        assert.is_true(net.fd_is_open(fd))
    end)
end)
