-- SPDX-License-Identifier: MIT
--
-- Clients that take much and give little: drops of heads, drops of bodies, drops of reading. They
-- are ended for what they do, and others are served meanwhile.

local e2e = require("spec.support.e2e")
local ffi = require("ffi")
local http = require("spec.support.http")
local origin = require("spec.support.origin")
local posix = require("spec.support.posix")
local protocol = require("spec.support.protocol")
local wire = require("spec.support.wire")

local C = posix.C

ffi.cdef [[ int setrlimit(int resource, const unsigned long limit[2]);
    int getrlimit(int resource, unsigned long limit[2]); ]]

local RATE, GRACE = 2000, 0.4 -- bytes per second, seconds
local NOFILE = 7
local SLOW_HEADS, SLOW_BODIES, SLOW_READERS = 1000, 500, 100
local EVERY = 0.1 -- seconds between two drops

local SITE = [[
    limits = { body = 2^30, body_rate = ${rate}, send_rate = ${rate}, rate_grace = ${grace},
        connections_per_ip = ${per_ip} },
    timeouts = { header = ${header}, body = 20, send = 20 },
    log = { access = { to = "${dir}/access.log", format = "json", buffer = 0,
        fields = { "path", "status", "reason" } } },
    upstreams = { o = rp.upstream { peers = { "127.0.0.1:${origin}" } },
        quiet = rp.upstream { peers = { "127.0.0.1:${quiet}" } } },
    hosts = { rp.host { default = true, routes = {
        rp.route { "/answer", respond = { 200, "here" } },
        rp.route { "/hook", content = function(req)
            local body, err = req:body(2^20)
            return req:exit(200, body and #body or err)
        end },
        rp.route { "/plain", upstream = "quiet" },
        rp.route { "/*", upstream = "o" } } } },
]]

describe("greedy clients", function()
    local up, quiet, rp

    setup(function()
        quiet = origin.start { ["*"] = { status = 200, body = "ok" } } -- busy with nobody else
        up = origin.start {
            ["/endless"] = { { send = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" },
                { send = ("x"):rep(65536), times = 10000 } },
            ["/early"] = { early = true, { send = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok" },
                { hang = true } },
            ["*"] = { status = 200, body = "ok" },
        }
    end)

    teardown(origin.cleanup)

    local function start(vars)
        local all = { origin = up.port, quiet = quiet.port, rate = RATE, grace = GRACE,
            per_ip = 0, header = 20 }
        for name, value in pairs(vars or {}) do all[name] = value end
        rp = e2e.proxy { vars = all, site = SITE }
    end

    after_each(function()
        wire.close_all()
        local mine = rp
        rp = nil
        if mine then mine:stop() end
    end)

    local function reasons(path)
        local found = {}
        for line in (posix.read_file(rp.dir .. "/access.log") or ""):gmatch("[^\n]+") do
            local reason = line:match('"reason":"([^"]*)"')
            if line:find(('"path":"%s"'):format(path), 1, true) then
                found[reason] = (found[reason] or 0) + 1
            end
        end
        return found
    end

    -- Send a piece every `seconds` until something comes back or `most` s are over; what came, when.
    local function drip(w, piece, seconds, most)
        local started = posix.now()
        while posix.now() - started < most do
            w:send(piece)
            local text = w:recv_some(seconds)
            if text ~= "" then return text, posix.now() - started end
        end
        return nil, most
    end

    -- ------------------------------------------------------------ bodies

    it("that send a body in drops are answered 408 after the grace", function()
        start()
        local w = wire.connect(rp.port)
        w:send("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n")
        local text, seconds = drip(w, "x", 0.02, 20)
        assert.matches("^HTTP/1.1 408 ", text)
        assert.is_true(seconds > GRACE * 0.5, seconds)
        assert.is_truthy(posix.poll(function() return reasons("/x").body_too_slow end))
    end)

    it("that stop in the middle of a body are answered when the grace is over", function()
        start()
        local w = wire.connect(rp.port)
        w:send("POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        w.timeout = 15 -- less than timeouts.body
        assert.equal(408, http.read(w).status)
        assert.is_truthy(posix.poll(function() return reasons("/x").body_too_slow end))
    end)

    it("that send enough before may rest longer", function()
        start()
        local w = wire.connect(rp.port)
        w:send("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n" .. ("x"):rep(99999))
        assert.equal("", w:recv_some(4 * GRACE)) -- worth 50 s
        w:send("x")
        assert.equal(200, http.read(w).status)
    end)

    it("are told apart from steady ones", function()
        start()
        local w = wire.connect(rp.port)
        w:send("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 8000\r\n\r\n")
        for _ = 1, 20 do -- 8,000 bytes a second
            w:send(("x"):rep(400))
            posix.poll(function() return false end, 0.05)
        end
        assert.equal(200, http.read(w).status)
    end)

    it("that wait for 100 (Continue) are not called slow", function()
        start()
        local w = wire.connect(rp.port)
        w:send("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
        assert.equal("", w:recv_some(2 * GRACE)) -- the origin asks for nothing
        w:send("abc")
        assert.equal(200, http.read(w).status)
    end)

    it("that drip to a hook which wants the body are ended as well", function()
        start()
        local w = wire.connect(rp.port)
        w:send("POST /hook HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n")
        local text = drip(w, "x", 0.02, 15)
        assert.matches("^HTTP/1.1 ", text)
    end)

    -- ------------------------------------------------------------ reading

    it("that read in drops are cut off", function()
        start()
        local w = wire.connect(rp.port, nil, { rcvbuf = 4096 })
        w:send("GET /endless HTTP/1.1\r\nHost: a\r\n\r\n")
        local ended = posix.poll(function()
            w.sock:settimeout(0) -- past any codec: what is not read is not asked for, either
            local _, err = w.sock:receive(20) -- 20 bytes every 20 ms: half the rate
            return err == "closed" or reasons("/endless").send_too_slow
        end, 30)
        assert.is_truthy(ended)
        assert.is_truthy(posix.poll(function() return reasons("/endless").send_too_slow end))
    end)

    it("that read steadily are not, though it takes long", function()
        start { grace = 0.2 }
        local w = wire.connect(rp.port, nil, { rcvbuf = 4096 })
        w:send("GET /endless HTTP/1.1\r\nHost: a\r\n\r\n")
        local got, started = 0, posix.now()
        while posix.now() - started < 2 do
            got = got + e2e.drain(w, 4096) -- 200 KB a second: nothing against the socket's buffer
            posix.poll(function() return false end, 0.02)
        end
        assert.is_true(got > 20 * 4096)
        assert.same({}, reasons("/endless"))
    end)

    -- ------------------------------------------------------------ too many connections

    it("that hold more connections than they may are refused", function()
        start { per_ip = 3 }
        local mine = {}
        for i = 1, 3 do
            mine[i] = wire.connect(rp.port)
            mine[i]:send("GET /answer HTTP/1.1\r\nHost: a\r\n\r\n")
            assert.equal(200, http.read(mine[i]).status)
        end
        if protocol.name == "h1" then
            local res = http.get(rp.port, "/answer")
            assert.equal(503, res.status)
            assert.equal("close", res:header("connection"))
        else -- nothing is said before the protocol is known
            assert.is_true(wire.connect(rp.port):is_closed())
        end
        assert.is_truthy(rp:wait_stderr("too many connections of one client, refused "
            .. "reason=connections_per_ip client=127.0.0.1 listener=127.0.0.1:%d+ refused_n=1"))
        local other = wire.connect(rp.port, "127.0.0.1", { from = "127.0.0.2" })
        other:send("GET /answer HTTP/1.1\r\nHost: a\r\n\r\n")
        assert.equal(200, http.read(other).status)
    end)

    -- ------------------------------------------------------------ all at once

    local function raise_limit()
        local limit = ffi.new("unsigned long[2]")
        C.getrlimit(NOFILE, limit)
        limit[0] = limit[1]
        C.setrlimit(NOFILE, limit)
        return tonumber(limit[0])
    end

    -- Plain non-blocking sockets: thousands of them cost nothing here.
    local function crowd(n, first)
        local list, to = {}, posix.inet("127.0.0.1", rp.port)
        local small = ffi.new("int[1]", 4096)
        for i = 1, n do
            local fd = C.socket(2, 1, 0)
            assert(fd >= 0, "out of descriptors")
            C.setsockopt(fd, 1, 8, small, 4) -- SO_RCVBUF: the system does not read for them
            assert(C.connect(fd, to, 16) == 0)
            C.send(fd, first, #first, 0x4040) -- DONTWAIT, NOSIGNAL
            list[i] = fd
        end
        return list
    end

    local function close_crowd(list)
        for _, fd in ipairs(list) do C.close(fd) end
    end

    it("in thousands do not keep others from being served", function()
        protocol.only("h1 client", "sockets of the system's own, without a codec")
        protocol.only("no TLS", "sockets of the system's own, without a codec")
        local total = SLOW_HEADS + SLOW_BODIES + SLOW_READERS
        if raise_limit() < 2 * total + 200 then
            pending("needs " .. 2 * total + 200 .. " descriptors")
            return
        end
        start { header = 3, grace = 1 }
        local heads = crowd(SLOW_HEADS, "GET /x HTTP/1.1\r\nHost: a\r\nX: ")
        local bodies = crowd(SLOW_BODIES,
            "POST /answer2 HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n")
        local readers = crowd(SLOW_READERS, "GET /endless HTTP/1.1\r\nHost: a\r\n\r\n")
        finally(function()
            for _, list in ipairs { heads, bodies, readers } do close_crowd(list) end
        end)
        -- That each of these is answered is what counts: it has the wire's 20 seconds.
        local served, started = 0, posix.now()
        local next_drop = started
        while served < 10 or posix.now() - started < 3 do
            if posix.now() >= next_drop then
                for _, fd in ipairs(heads) do C.send(fd, "x", 1, 0x4040) end
                for _, fd in ipairs(bodies) do C.send(fd, "x", 1, 0x4040) end
                next_drop = next_drop + EVERY
            end
            assert.equal(200, http.get(rp.port, "/answer").status)
            assert.equal(200, http.get(rp.port, "/plain").status)
            served = served + 2
        end
        local all_ended = posix.poll(function()
            return (reasons("/answer2").body_too_slow or 0) == SLOW_BODIES
                and (reasons("/endless").send_too_slow or 0) == SLOW_READERS
                and (posix.read_file(rp.dir .. "/access.log") or ""):match("head_timeout")
        end, 60)
        assert.is_truthy(all_ended)
    end)
end)
