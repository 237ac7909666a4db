-- SPDX-License-Identifier: MIT
--
-- Names with several addresses: they are tried side by side (RFC 8305), and the first that is
-- connected is taken.

local dns = require("spec.support.dns")
local e2e = require("spec.support.e2e")
local http = require("spec.support.http")
local origin = require("spec.support.origin")
local posix = require("spec.support.posix")
local proc = require("spec.support.proc")
local socket = require("socket")
local wire = require("spec.support.wire")

local ONE = 'peers = { "api.test:${o}" }, tries = 1, '
local SIX = ("0"):rep(31) .. "1"

describe("a name with several addresses", function()
    local rp, server, port, stream, open

    before_each(function()
        open, rp = {}, nil
        stream = posix.free_port()
        server = origin.start({ ["*"] = { status = 200, body = "one" } })
        port = server.port
    end)

    after_each(function()
        for _, s in ipairs(open) do s:close() end
        if rp then e2e.stop(rp) end
    end)

    local function keep(s)
        open[#open + 1] = s
        return s
    end

    -- An address whose queue is full: handshakes are dropped, nothing ever comes back. Nil: there is
    -- no such address on this machine.
    local function deaf(address, make)
        local s = keep(assert(make()))
        if not s:bind(address, port) then return nil end
        assert(s:listen(0))
        for _ = 1, 3 do
            local one = keep(make())
            one:settimeout(0)
            one:connect(address, port)
        end
        return s
    end

    -- Connections to that port that wait for an answer, in the system's table.
    local function waiting()
        local n, wanted = 0, (":%04X 02 "):format(port)
        for _, file in ipairs { "/proc/net/tcp", "/proc/net/tcp6" } do
            for line in (posix.read_file(file) or ""):gmatch("[^\n]+") do
                if line:find(wanted, 1, true) then n = n + 1 end
            end
        end
        return n
    end

    local function start(addresses, upstream, streams, use)
        local d = dns.start { ["api.test"] = addresses }
        rp = proc.rproxy { vars = { o = port, d = d.port, s = stream }, site = ([[
            return rp.site { workers = 1, listeners = { rp.listen { "127.0.0.1:${port}" } },
                resolver = { servers = { "127.0.0.1:${d}" } }, %s
                upstreams = { api = rp.upstream { %s } },
                hosts = { rp.host { default = true, routes = {
                    rp.route { "/*", upstream = "api", %s } } } } } ]]):format(streams or "",
                        upstream:find("peers", 1, true) and upstream or ONE .. upstream, use or "") }
        rp:wait_stderr("serving site")
    end

    local function status() return http.get(rp.port, "/").status end

    -- Each of them, and no others, has failed once.
    local function told_once(...)
        local of = {}
        for _, line in ipairs(e2e.log_since(rp, 0, "upstream=api")) do
            of[#of + 1] = line:match("peer=([%d.]+):%d+ try=1 ") or line
        end
        table.sort(of)
        assert.same({ ... }, of)
    end

    local function failures() return #e2e.log_since(rp, 0, "upstream=api") end

    it("is reached in one try while one of them is silent, and the silent one is remembered",
        function()
            assert(deaf("127.0.0.2", socket.tcp))
            local before = waiting()
            start({ ttl = 60, a = { "127.0.0.2", "127.0.0.1" } },
                [[timeouts = { connect = "1h" }, keepalive = { max = 0 }]])
            for _ = 1, 6 do assert.equal(200, status()) end
            assert.equal(0, failures())
            assert(posix.poll(function() return waiting() == before end),
                "connections that lost are not closed")
        end)

    it("is reached by IPv4 while IPv6 is silent, and the other way round", function()
        if not deaf("::1", socket.tcp6) then return end -- no IPv6 here
        start({ ttl = 60, a = { "127.0.0.1" }, aaaa = { SIX } }, [[timeouts = { connect = "1h" }]])
        for _ = 1, 3 do assert.equal(200, status()) end
        assert.equal(0, failures())
    end)

    it("goes on to the next address at once when one refuses", function()
        start({ ttl = 60, a = { "127.0.0.2", "127.0.0.3", "127.0.0.1" } },
            [[timeouts = { connect = "1h", next_address = "1h" }, keepalive = { max = 0 }]])
        for _ = 1, 6 do assert.equal(200, status()) end
        told_once("127.0.0.2", "127.0.0.3")
    end)

    it("is reached though connecting may take less than one address is given", function()
        assert(deaf("127.0.0.2", socket.tcp))
        assert(deaf("127.0.0.3", socket.tcp))
        start({ ttl = 60, a = { "127.0.0.2", "127.0.0.3", "127.0.0.1" } },
            [[timeouts = { connect = "6s", next_address = "1h" }]])
        assert.equal(200, status())
        assert.equal(0, failures())
    end)

    it("has failed when all refuse, with a line for each in the log", function()
        start({ ttl = 60, a = { "127.0.0.2", "127.0.0.3" } },
            [[timeouts = { connect = "1h", next_address = "1h" }]])
        assert.equal(502, status())
        assert.equal(2, #e2e.log_since(rp, 0, "Connection refused"))
        told_once("127.0.0.2", "127.0.0.3")
    end)

    it("has failed when the connect timeout is over for all of them together", function()
        assert(deaf("127.0.0.2", socket.tcp))
        assert(deaf("127.0.0.3", socket.tcp))
        local before = waiting()
        start({ ttl = 60, a = { "127.0.0.2", "127.0.0.3" } },
            [[timeouts = { connect = "1s", next_address = "10ms" }]])
        assert.equal(504, status())
        told_once("127.0.0.2", "127.0.0.3")
        assert(posix.poll(function() return waiting() == before end), "connections are left open")
    end)

    -- A client that goes away while two addresses are tried. route: further Lua text of it.
    local function give_up(route)
        assert(deaf("127.0.0.2", socket.tcp))
        assert(deaf("127.0.0.3", socket.tcp))
        local before = waiting()
        start({ ttl = 60, a = { "127.0.0.2", "127.0.0.3" } },
            [[timeouts = { connect = "1h", next_address = "10ms" }]], "", route)
        local client = assert(socket.connect("127.0.0.1", rp.port))
        client:send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert(posix.poll(function() return waiting() >= before + 2 end), "they are not side by side")
        client:close()
        assert(posix.poll(function() return waiting() == before end), "connections are left open")
    end

    it("leaves nothing behind when the client goes away meanwhile", function() give_up() end)

    it("leaves nothing behind while the log hook of a request that gave up still waits", function()
        give_up([[use = { { log = function() rp.sleep(3600) end } }]])
    end)

    it("is reached by requests that share connections in HTTP/2", function()
        assert(deaf("127.0.0.2", socket.tcp))
        start({ ttl = 60, a = { "127.0.0.2", "127.0.0.1" } },
            [[http = "2", timeouts = { connect = "1h" }]])
        local clients = {}
        for i = 1, 12 do
            clients[i] = wire.connect(rp.port)
            clients[i]:send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        end
        for i = 1, 12 do assert.equal(200, http.read(clients[i]).status) end
        assert.is_true(#server:connections() < 12)
        assert.equal(0, failures())
    end)

    it("is reached by second tries that share connections in HTTP/2", function()
        local hang, close_hang = e2e.full_port()
        local back = e2e.proxy { site = [[ workers = 1, http2 = { on = true },
            hosts = { rp.host { default = true, routes = { rp.route { "/*", content = function(req)
                return req:exit(200, tostring(req.conn.requests)) end } } } } ]] }
        port = back.port
        assert(deaf("127.0.0.2", socket.tcp))
        start({ ttl = 60, a = { "127.0.0.2", "127.0.0.1" } }, ([[http = "2", balance = "first",
            peers = { "127.0.0.1:%d", "api.test:${o}" }, tries = 2, max_fails = 0,
            hedge = { after = "20ms", budget = 100 },
            timeouts = { connect = "1h", next_address = "1s" }]]):format(hang))
        local clients, answers = {}, {}
        for i = 1, 3 do
            clients[i] = wire.connect(rp.port)
            clients[i]:send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        end
        for i = 1, 3 do answers[i] = http.read(clients[i]).body end
        table.sort(answers)
        -- The second one begins at the other address, so there are two connections.
        assert.same({ "1", "1", "2" }, answers)
        back:stop()
        close_hang()
    end)

    it("is reached by streams in the same way", function()
        assert(deaf("127.0.0.2", socket.tcp))
        start({ ttl = 60, a = { "127.0.0.2", "127.0.0.1" } }, [[timeouts = { connect = "1h" }]],
            [[streams = { rp.stream { "127.0.0.1:${s}", upstream = "api" } },]])
        for _ = 1, 4 do assert.equal(200, http.get(stream, "/").status) end
        assert.equal(0, failures())
    end)

    it("is told to streams, too, of each address that refuses", function()
        start({ ttl = 60, a = { "127.0.0.2", "127.0.0.3", "127.0.0.1" } },
            [[timeouts = { connect = "1h", next_address = "1h" }]],
            [[streams = { rp.stream { "127.0.0.1:${s}", upstream = "api" } },]])
        for _ = 1, 4 do assert.equal(200, http.get(stream, "/").status) end
        told_once("127.0.0.2", "127.0.0.3")
    end)
end)
