-- SPDX-License-Identifier: MIT
--
-- What client connections may cost: how many there are over all workers, how long they live, what
-- they pile up; and what becomes of a proxy that is out of descriptors.

local e2e = require("spec.support.e2e")
local ffi = require("ffi")
local h2 = require("spec.support.h2")
local http = require("spec.support.http")
local origin = require("spec.support.origin")
local posix = require("spec.support.posix")
local process = require("spec.support.process")
local protocol = require("spec.support.protocol")
local wire = require("spec.support.wire")

ffi.cdef [[ int setrlimit(int resource, const unsigned long limit[2]);
    int getrlimit(int resource, unsigned long limit[2]); ]]

local GET = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"

local rp

after_each(function()
    local mine = rp
    rp = nil
    process.stop_if_running(mine)
    origin.cleanup()
end)

--- A kept-alive connection that was served once; nil when it was refused.
local function visit(from, port)
    local w = wire.connect(port or rp.port, "127.0.0.1", { from = from })
    w:send(GET)
    local ok, res = pcall(http.read, w)
    if not ok then return nil end -- more than 100 refusals a second: some are resets
    if res.status == 200 then return w end
    assert.equal(503, res.status)
    assert.is_true(w:is_closed())
    return nil
end

local function visits(n, from)
    local list = {}
    for i = 1, n do list[i] = assert(visit(from)) end
    return list
end

local function refused(n, from)
    for _ = 1, n do assert.is_nil(visit(from)) end
end

--- Values of the lines `name: value` of `rproxy status`.
local function status(name)
    return tonumber(process.must(rp, "status"):match("\n" .. name .. ": (%d+)\n"))
end

local function wait_status(name, value)
    local got = posix.poll(function()
        return status(name) == value
    end)
    assert(got, ("%s is %s, not %d"):format(name, status(name), value))
end

describe("caps on connections", function()
    -- The system spreads connections over the workers by chance.
    it("hold over all workers, to the connection", function()
        rp = process.start { workers = 3, more = "limits = { connections = 7 }," }
        local list = visits(7)
        refused(10)
        for _ = 1, 5 do
            table.remove(list, 1):close()
            local again = posix.poll(function() return visit() end)
            list[#list + 1] = assert(again)
            refused(3)
        end
        wait_status("connections_active", #list)
        wait_status("connections_idle", #list)
        assert.is_true(status("refused_connections") >= 25)
        assert.equal(0, status("refused_connections_per_ip"))
    end)

    it("hold per client over all workers, to the connection", function()
        rp = process.start { workers = 3, more = "limits = { connections_per_ip = 4 }," }
        local mine, other = visits(4), visits(4, "127.0.0.2")
        refused(5)
        refused(5, "127.0.0.2")
        other[1]:close()
        other[1] = assert(posix.poll(function() return visit("127.0.0.2") end))
        refused(3, "127.0.0.2")
        refused(3)
        assert.equal(200, http.request(mine[1], { target = "/" }).status)
        wait_status("connections_active", #mine + #other)
        assert.is_true(posix.poll(function()
            return status("refused_connections_per_ip") >= 16
        end))
        assert.equal(0, status("refused_connections"))
    end)

    it("follow a reload", function()
        rp = process.start { workers = 2 }
        local first = visits(4) -- counted although there is no cap yet
        process.change(rp, { workers = 2, more = "limits = { connections = 5 }," })
        process.must(rp, "reload")
        local last = assert(visit())
        refused(3)
        process.change(rp, { workers = 2, more = "limits = { connections = 6 }," })
        process.must(rp, "reload")
        first[5], first[6] = last, assert(visit())
        refused(3)
        for _, w in ipairs(first) do w:close() end
    end)

    for _, cap in ipairs { "connections", "connections_per_ip" } do
        it(cap .. " gets back what a killed worker held, exactly", function()
            local most = 12
            rp = process.start { workers = 2, more = ("limits = { %s = %d },"):format(cap, most) }
            local pids = process.wait_workers(rp, 2)
            local list = visits(most)
            refused(2)
            posix.kill(pids[1], "KILL")
            rp:wait_stderr("worker died")
            rp:wait_stderr("worker serves")
            local lost = 0
            for _, w in ipairs(list) do
                w:send(GET)
                local ok = pcall(http.read, w)
                if not ok then lost = lost + 1 end
            end
            local more = visits(lost)
            refused(5)
            wait_status("connections_active", most)
            for _, w in ipairs(more) do w:close() end
            for _, w in ipairs(list) do w:close() end
        end)
    end

    it("are not counted by what a worker that died had, in the status", function()
        rp = process.start { workers = 1 }
        local list = visits(3)
        wait_status("connections_active", 3)
        posix.kill(process.workers(rp)[1], "KILL")
        rp:wait_stderr("worker serves")
        wait_status("connections_active", 0)
        assert.equal(3, #list)
    end)
end)

describe("a rush of connections", function()
    local NOFILE, CROWD = 7, 5000

    local function may_open(n)
        local limit = ffi.new("unsigned long[2]")
        posix.C.getrlimit(NOFILE, limit)
        limit[0] = limit[1]
        posix.C.setrlimit(NOFILE, limit)
        return limit[0] > n + 200
    end

    it("costs little while it is there, and nothing when it is over", function()
        protocol.only("h1 client", "what an idle connection of HTTP/1.1 costs")
        protocol.only("no TLS", "what an idle connection without TLS costs")
        if e2e.is_debug then return end -- the sanitizers keep what is freed
        if not may_open(CROWD) then return pending("needs more descriptors") end
        rp = process.start { workers = 1 }
        local function crowd(n)
            local fds, to, buf = {}, posix.inet("127.0.0.1", rp.port), ffi.new("char[4096]")
            for i = 1, n do
                fds[i] = posix.C.socket(2, 1, 0)
                assert(posix.C.connect(fds[i], to, 16) == 0)
                assert(posix.C.send(fds[i], GET, #GET, 0x4000) == #GET)
                assert(posix.C.recv(fds[i], buf, 4096, 0) > 0)
            end
            return fds
        end
        local function leave(fds)
            for i = 1, #fds, 2 do posix.C.close(fds[i]) end -- in an order of their own
            for i = 2, #fds, 2 do posix.C.close(fds[i]) end
        end
        leave(crowd(100))
        wait_status("connections_idle", 0)
        local before = e2e.rss(rp)
        local fds = crowd(CROWD)
        wait_status("connections_idle", CROWD)
        local most = e2e.rss(rp)
        assert.is_true((most - before) * 1024 / CROWD < 700, most - before)
        leave(fds)
        assert.is_truthy(posix.poll(function() return e2e.rss(rp) < before + 700 end, 30))
        assert.equal(200, http.get(rp.port, "/").status)
    end)
end)

describe("a connection's life", function()
    it("ends at its age, while it is idle and with a request", function()
        protocol.only("h1 client", "Connection: close; the next test is about HTTP/2")
        rp = process.start { workers = 1, more = "timeouts = { connection = 1 }," }
        local idle = visit()
        assert.is_true(idle:is_closed(20)) -- not after 75 s
        local busy = visit()
        local requests, res = 0
        repeat
            res = http.request(busy, { target = "/" })
            assert.equal(200, res.status)
            requests = requests + 1
        until res:header("connection")
        assert.equal("close", res:header("connection"))
        assert.is_true(requests > 1 and busy:is_closed())
    end)

    it("ends at its age with HTTP/2, too, and is idle between requests", function()
        protocol.only("no TLS", "speaks HTTP/2 itself")
        rp = process.start { workers = 1, more = "timeouts = { connection = 3 }," }
        local c = h2.connect(rp.port)
        assert.equal(200, c:get("/").status)
        wait_status("connections_idle", 1)
        local idle = h2.connect(rp.port)
        assert.equal(200, idle:get("/").status)
        while not c.goaway do -- what crosses it on the way is not answered
            local ok, res = pcall(c.get, c, "/")
            assert.is_true(ok and res.status == 200 or c.goaway ~= nil, res)
        end
        assert.equal(0, c.goaway.code)
        idle:wait(function() return idle.goaway end)
        assert.equal(0, idle.goaway.code)
    end)

    it("piles up nothing for a client that asks and asks and does not read", function()
        protocol.only("h1 client", "pipelining; floods of HTTP/2 are in h2_abuse_spec")
        local body = ("x"):rep(10000)
        rp = process.start { workers = 1, routes = ('rp.route { "/*", respond = { 200, "%s" } }')
            :format(body) }
        visit()
        local before = e2e.rss(rp)
        local w = wire.connect(rp.port)
        local block, sent = GET:rep(100), 0
        e2e.settled(function() -- as much as the proxy takes
            for _ = 1, 2000 do
                local took = assert(w:push(block:sub(sent % #block + 1)))
                sent = sent + took
                if took == 0 then break end
            end
            return sent
        end)
        assert.is_true(sent < 64 * 1024 * 1024, sent)
        if not e2e.is_debug then assert.is_true(e2e.rss(rp) - before < 4 * 1024) end
        assert.equal(200, http.get(rp.port, "/").status)
    end)
end)

describe("a client that ends its side and waits", function()
    local up

    local function start()
        up = e2e.listen()
        local half = posix.free_port()
        rp = process.start { workers = 1, vars = { up = up.port, half = half }, more = [[
            log = { access = { to = "${dir}/access.log", format = "json", buffer = 0,
                fields = { "path", "status", "reason" } } },
            upstreams = { o = rp.upstream { peers = { "127.0.0.1:${up}" } } }, ]],
            listen = 'rp.listen { "127.0.0.1:${half}", half_closed = true }',
            routes = 'rp.route { "/*", upstream = "o" }' }
        return half
    end

    local function ask(port, text)
        local w = wire.connect(port)
        w:send(text)
        w:finish()
        return w
    end

    local function logged(text)
        assert.is_truthy(posix.poll(function()
            return (posix.read_file(rp.dir .. "/access.log") or ""):find(text, 1, true)
        end), text)
    end

    it("is taken for one that is gone", function()
        start()
        local w = wire.connect(rp.port)
        w:send("GET /gone HTTP/1.1\r\nHost: a\r\n\r\n")
        local peer = up:accept()
        e2e.head(peer)
        w:finish()
        assert.is_true(peer:is_closed(20))
        assert.equal("", (w:recv_all(20)))
        logged('"path":"/gone","status":499,"reason":"client_gone"')
        up:close()
    end)

    it("gets its answer on a listener that says so", function()
        protocol.only("h1 client", "half a connection: HTTP/2 ends streams")
        protocol.only("no TLS", "half a connection: close_notify ends both ways")
        local half = start()
        for _, text in ipairs { "GET /a HTTP/1.1\r\nHost: a\r\n\r\n",
            "POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
            "GET /c HTTP/1.0\r\n\r\n",
            "POST /d HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n" }
        do
            local w = ask(half, text)
            local peer = up:accept()
            e2e.head(peer)
            assert.is_false(peer:is_closed(0.1)) -- the FIN has come long ago
            peer:send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nlate")
            local res = http.read(w)
            assert.same({ 200, "late" }, { res.status, res.body })
            assert.is_true(w:is_closed(20))
            peer:close()
        end
        up:close()
    end)

    it("gets all of a long answer there", function()
        protocol.only("h1 client", "half a connection: HTTP/2 ends streams")
        protocol.only("no TLS", "half a connection: close_notify ends both ways")
        local half = start()
        local w = ask(half, "GET /long HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        local peer = up:accept()
        e2e.head(peer)
        local n = 8 * 1024 * 1024
        peer:send("HTTP/1.1 200 OK\r\nContent-Length: " .. n .. "\r\n\r\n")
        local block = ("x"):rep(64 * 1024)
        local got = 0
        local head = w:recv_until("\r\n\r\n")
        assert.matches("^HTTP/1.1 200 ", head)
        for _ = 1, n / #block do
            peer:send(block)
            got = got + e2e.drain(w, #block)
        end
        assert.equal(n, got)
        up:close()
    end)
end)

describe("a worker out of descriptors", function()
    local FILES, CROWD = 64, 120
    local SO_RCVTIMEO = 20
    local WRAP = [[#!/bin/sh
ulimit -n %d
exec '%s' "$@"
]]

    local function processor_ns(pid)
        return tonumber(posix.read_file("/proc/" .. pid .. "/schedstat"):match("^(%d+)"))
    end

    it("rests instead of spinning, serves whom it has, and recovers", function()
        protocol.only("h1 client", "sockets of the system's own, without a codec")
        protocol.only("no TLS", "sockets of the system's own, without a codec")
        local bin = os.tmpname()
        posix.write_file(bin, WRAP:format(FILES, process.BIN))
        os.execute("chmod 755 " .. bin)
        finally(function() os.remove(bin) end)
        rp = process.start { workers = 1, bin = bin }
        local worker = process.workers(rp)[1]
        local mine = assert(visit())
        local crowd, to = {}, posix.inet("127.0.0.1", rp.port)
        local patience = ffi.new("long[2]", 30, 0) -- seconds, microseconds
        for i = 1, CROWD do
            crowd[i] = posix.C.socket(2, 1, 0)
            posix.C.setsockopt(crowd[i], 1, SO_RCVTIMEO, patience, 16)
            assert(posix.C.connect(crowd[i], to, 16) == 0) -- the system's queue takes them
            assert(posix.C.send(crowd[i], GET, #GET, 0x4000) == #GET)
        end
        rp:wait_stderr("cannot accept, pausing .*os=EMFILE")
        local before = processor_ns(worker)
        for _ = 1, 10 do
            assert.equal(200, http.request(mine, { target = "/" }).status)
            posix.sleep(0.1)
        end
        -- It looks again four times a second. One that spins uses most of the second.
        local used_ms = (processor_ns(worker) - before) / 1e6
        assert.is_true(used_ms < 250, used_ms)
        local _, told = rp:stderr():gsub("cannot accept", "")
        assert.equal(1, told)
        -- Whoever leaves makes room for those that wait: in the end all are served.
        local buf, served = ffi.new("char[4096]"), 0
        for _, fd in ipairs(crowd) do
            local n = posix.C.recv(fd, buf, 4096, 0)
            if n > 0 and ffi.string(buf, 12) == "HTTP/1.1 200" then served = served + 1 end
            posix.C.close(fd)
        end
        assert.equal(CROWD, served)
        assert.equal(200, http.get(rp.port, "/").status)
        assert.equal(200, http.request(mine, { target = "/" }).status)
    end)
end)
