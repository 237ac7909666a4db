-- SPDX-License-Identifier: MIT
--
-- Timeouts: each deadline of a request's life, on its own. The others are long, so that what ends a
-- request is the one it is about.

local e2e = require("spec.support.e2e")
local http = require("spec.support.http")
local origin = require("spec.support.origin")
local posix = require("spec.support.posix")
local protocol = require("spec.support.protocol")
local wire = require("spec.support.wire")

local SHORT = 0.5 -- long enough that nothing else takes it, on a busy machine
local BLOCK = ("x"):rep(65536)

describe("timeouts", function()
    local up, deaf, rp, close_full

    setup(function()
        local full
        full, close_full = e2e.full_port()
        up = origin.start {
            ["/hang"] = { { hang = true } },
            ["/tunnel"] = { { send = "HTTP/1.1 101 Switching Protocols\r\n" ..
                "Upgrade: websocket\r\nConnection: upgrade\r\n\r\n" }, { echo = true } },
            ["/late"] = { { gate = "late" },
                { send = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate" } },
            ["/interim"] = { { send = "HTTP/1.1 103 Early Hints\r\n\r\n" }, { hang = true } },
            ["/stall"] = { { send = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345" },
                { hang = true } },
            ["/stall-chunked"] = {
                { send = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n" },
                { hang = true } },
            ["/endless"] = { { send = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" },
                { send = BLOCK, times = 10000 } },
            ["/drip"] = { { send = "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n" },
                { wait = SHORT / 4 }, { send = "ab" }, { wait = SHORT / 4 }, { send = "c" },
                { wait = SHORT / 4 }, { send = "d" }, { wait = SHORT / 4 }, { send = "ef" },
                { wait = SHORT / 4 }, { send = "g" }, { wait = SHORT / 4 }, { send = "h" } },
            ["*"] = { status = 200, body = "ok" },
        }
        deaf = origin.start({}, { on_accept = "hang", rcvbuf = 4096 })
        rp = e2e.proxy { vars = { origin = up.port, full = full, deaf = deaf.port, short = SHORT },
            site = [[
                timeouts = { header = ${short}, body = ${short}, keepalive = ${short},
                    send = ${short}, tunnel = ${short} },
                limits = { body = 2^30 },
                log = { access = { to = "${dir}/access.log", format = "json",
                    fields = { "path", "status", "reason" }, buffer = 0 } },
                upstreams = {
                    o = rp.upstream { peers = { "127.0.0.1:${origin}" } },
                    full = rp.upstream { peers = { "127.0.0.1:${full}" },
                        timeouts = { connect = ${short} } },
                    full_then_good = rp.upstream { tries = 2, peers = { "127.0.0.1:${full}",
                        "127.0.0.1:${origin}" }, timeouts = { connect = ${short} } },
                    first_byte = rp.upstream { peers = { "127.0.0.1:${origin}" },
                        timeouts = { first_byte = ${short} } },
                    idle = rp.upstream { peers = { "127.0.0.1:${origin}" },
                        timeouts = { idle = ${short} } },
                    deaf = rp.upstream { peers = { "127.0.0.1:${deaf}" },
                        timeouts = { send = ${short} } },
                },
                hosts = { rp.host { default = true, routes = {
                    rp.route { "/full", upstream = "full" },
                    rp.route { "/full-then-good", upstream = "full_then_good" },
                    rp.route { "/hang", upstream = "first_byte" },
                    rp.route { "/interim", upstream = "first_byte" },
                    rp.route { "/late", upstream = "first_byte", timeouts = { first_byte = 30 } },
                    rp.route { "/stall", upstream = "idle" },
                    rp.route { "/stall-chunked", upstream = "idle" },
                    rp.route { "/drip", upstream = "idle" },
                    rp.route { "/deaf", upstream = "deaf" },
                    rp.route { "/*", upstream = "o" } } } },
            ]] }
    end)

    teardown(function()
        close_full()
        e2e.stop(rp)
    end)
    after_each(wire.close_all)

    --- The access log's word for how the last request to a path ended.
    local function reason(path)
        return posix.poll(function()
            local text = posix.read_file(rp.dir .. "/access.log") or ""
            local found
            for line in text:gmatch("[^\n]+") do
                if line:find(('"path":"%s"'):format(path), 1, true) then
                    found = line:match('"reason":"([^"]*)"')
                end
            end
            return found
        end)
    end

    -- ------------------------------------------------------------ the client

    local HEADS = "a head that comes in pieces; those of HTTP/2 are in h2_abuse_spec"

    it("a head that does not come whole is 408", function()
        protocol.only("h1 client", HEADS)
        local w = wire.connect(rp.port)
        w:send("GET /x HTTP/1.1\r\nHost: a\r\n")
        local res = http.read(w)
        assert.equal(408, res.status)
        assert.equal("close", res:header("connection"))
        assert.is_true(w:is_closed())
    end)

    it("a head in drops is 408: its time runs from the first byte", function()
        protocol.only("h1 client", HEADS)
        local w = wire.connect(rp.port)
        local text = "GET /x HTTP/1.1\r\nHost: a\r\nX-Slow: " .. ("s"):rep(200)
        local i, answered = 0
        repeat
            i = i + 1
            w:send(text:sub(i, i))
            answered = w:recv_some(0.01) ~= ""
        until answered or i == #text
        assert.is_true(answered)
    end)

    it("a new connection that says nothing is closed without a word", function()
        local w = wire.connect(rp.port)
        local rest, why = w:recv_all(20)
        assert.equal("", rest)
        assert.equal("closed", why)
    end)

    it("a connection at rest is closed without a word", function()
        local w = wire.connect(rp.port)
        assert.equal(200, http.request(w, { target = "/x" }).status)
        local rest, why = w:recv_all(20)
        assert.equal("", rest)
        assert.equal("closed", why)
    end)

    it("a body that stalls is 408", function()
        local w = wire.connect(rp.port)
        w:send(http.format { method = "POST", target = "/body",
            fields = { ["Content-Length"] = "10" } } .. "abc")
        local res = http.read(w)
        assert.equal(408, res.status)
        e2e.assert_last(w, res)
        assert.equal("body_timeout", reason("/body"))
    end)

    it("a body in drops is fine", function()
        local w = wire.connect(rp.port)
        w:send(http.format { method = "POST", target = "/drops",
            fields = { ["Content-Length"] = "8" } })
        w:send_split("abcdefgh", 1, SHORT / 5)
        assert.equal(200, http.read(w).status)
        assert.equal("abcdefgh", e2e.last(up).body)
    end)

    it("a client that stops reading is dropped", function()
        local w = wire.connect(rp.port, nil, { rcvbuf = 4096 })
        local n = #up:requests()
        w:send(http.format { target = "/endless" })
        local conn = up:wait_requests(n + 1)[n + 1].conn
        up:wait_connections(function(list) return list[conn].closed end)
        assert.equal("send_timeout", reason("/endless"))
    end)

    -- ------------------------------------------------------------ the upstream

    it("connecting for too long is 504", function()
        assert.equal(504, http.get(rp.port, "/full").status)
        assert.equal("upstream_connect_timeout", reason("/full"))
    end)

    it("connecting for too long takes the next peer", function()
        local seen = {}
        for _ = 1, 2 do seen[#seen + 1] = http.get(rp.port, "/full-then-good").status end
        assert.same({ 200, 200 }, seen)
    end)

    it("no response is 504", function()
        local res = http.get(rp.port, "/hang")
        assert.equal(504, res.status)
        assert.equal("upstream_first_byte_timeout", reason("/hang"))
    end)

    it("no response after an interim one is 504", function()
        local res = http.get(rp.port, "/interim")
        assert.equal(504, res.status)
        assert.equal(1, #res.interim)
    end)

    it("of a route win over the upstream's", function()
        local w = wire.connect(rp.port)
        w:send(http.format { target = "/late" })
        assert.equal("", (w:recv_some(SHORT * 2)))
        up:open_gate("late")
        assert.equal("late", http.read(w).body)
    end)

    for _, target in ipairs { "/stall", "/stall-chunked" } do
        it("a response body that stalls (" .. target .. ") breaks off", function()
            local w = wire.connect(rp.port)
            w:send(http.format { target = target })
            assert.equal(200, http.parse_head(w:recv_until("\r\n\r\n")).status)
            local rest, why = w:recv_all(20)
            assert.truthy(rest:find("12345\r?\n?$"))
            assert.not_equal("timeout", why)
            assert.equal("upstream_idle_timeout", reason(target))
        end)
    end

    it("a response body in drops is fine", function()
        assert.equal("abcdefgh", http.get(rp.port, "/drip").body)
    end)

    it("an upstream that stops reading is 504", function()
        local w = wire.connect(rp.port)
        w:send(http.format { method = "POST", target = "/deaf",
            fields = { ["Content-Length"] = tostring(100 * #BLOCK * 10) } })
        local answered
        posix.poll(function()
            w:push(BLOCK)
            answered = answered or w:recv_some(0.001) ~= ""
            return answered
        end)
        assert.is_true(answered)
        assert.equal("upstream_send_timeout", reason("/deaf"))
    end)

    it("a tunnel that is silent both ways is ended", function()
        protocol.only("h1 client", "Upgrade")
        local w = wire.connect(rp.port)
        assert.equal(101, http.request(w, { target = "/tunnel", fields = { Upgrade = "websocket",
            Connection = "upgrade" } }).status)
        w:send("hello")
        assert.equal("hello", w:recv(5))
        assert.is_true(w:is_closed(20))
    end)
end)
