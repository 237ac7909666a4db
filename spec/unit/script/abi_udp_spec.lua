-- SPDX-License-Identifier: MIT

local socket = require("socket")

local support = require("spec.unit.script.support")

local site, peer

-- A UDP end of our own that answers each datagram by reply(bytes) -> list of datagrams.
local function server(reply)
    local sock = assert(socket.udp())
    assert(sock:setsockname("127.0.0.1", 0))
    sock:settimeout(0)
    local _, port = sock:getsockname()
    peer = { sock = sock, got = {} }
    function peer:serve()
        local bytes, ip, from = sock:receivefrom()
        if not bytes then return end
        self.got[#self.got + 1] = bytes
        for _, one in ipairs(reply(bytes) or {}) do sock:sendto(one, ip, from) end
    end
    function peer:close() sock:close() end
    return tonumber(port)
end

local function answer(body, port)
    site = support.site(([[ rp.route { "/*", content = function(req)
        local PORT = %d
        %s end } ]]):format(port, body), { before = "local kept" })
    site.origin = peer
    return site:get("/").body
end

describe("script/abi_udp", function()
    after_each(function()
        if site then site:close() end
        site, peer = nil, nil
    end)

    it("sends datagrams and receives them whole, one by one", function()
        local port = server(function(bytes) return { bytes .. "1", "", ("z"):rep(9000) } end)
        assert.equal("ping1||9000", answer([[
            local u = assert(rp.udp.connect { host = "127.0.0.1", port = PORT })
            assert(u:send("ping"))
            local a, b, c = u:receive(), u:receive(), u:receive()
            return req:exit(200, a .. "|" .. b .. "|" .. #c) ]], port))
    end)

    it("times out", function()
        local port = server(function() end)
        assert.equal("timeout timeout", answer([[
            local u = assert(rp.udp.connect { host = "127.0.0.1", port = PORT, timeout = 0.02 })
            u:send("x")
            local _, a = u:receive()
            local _, b = u:receive(0.01)
            return req:exit(200, a .. " " .. b) ]], port))
    end)

    it("tells that nobody listens there", function()
        local taken = assert(socket.udp())
        assert(taken:setsockname("127.0.0.1", 0))
        local _, port = taken:getsockname()
        taken:close()
        assert.equal("refused", answer([[
            local u = assert(rp.udp.connect { host = "127.0.0.1", port = PORT, timeout = 2 })
            u:send("x")
            local _, err = u:receive()
            return req:exit(200, err) ]], tonumber(port)))
    end)

    describe("that nobody reads", function()
        local SLEEP, MOST_TURNS = 0.5, 1000 -- a turn of the spec waits for a millisecond

        -- The loop's turns while `body` runs, and its answer.
        local function turns_of(body, port)
            local turns, serve = 0, peer.serve
            function peer:serve()
                turns = turns + 1
                serve(self)
            end
            return answer(body:gsub("SLEEP", SLEEP), port), turns
        end

        it("does not keep the loop awake with an error, which is told later", function()
            local taken = assert(socket.udp())
            assert(taken:setsockname("127.0.0.1", 0))
            local _, port = taken:getsockname()
            taken:close()
            peer = { serve = function() end, close = function() end }
            local text, turns = turns_of([[
                local u = assert(rp.udp.connect { host = "127.0.0.1", port = PORT, timeout = 5 })
                u:send("x")
                rp.sleep(SLEEP)
                local _, first = u:receive()
                local _, second = u:receive(0.01)
                u:send("y")
                local _, third = u:receive()
                return req:exit(200, first .. " " .. second .. " " .. third) ]], tonumber(port))
            assert.equal("refused timeout refused", text)
            assert.is_true(turns < MOST_TURNS, turns)
        end)

        it("does not keep the loop awake with datagrams, which come later", function()
            local text, turns = turns_of([[
                local u = assert(rp.udp.connect { host = "127.0.0.1", port = PORT, timeout = 5 })
                u:send("a")
                rp.sleep(SLEEP)
                local first = u:receive()
                u:send("b")
                local second = u:receive()
                u:send("c")
                rp.sleep(0.01)
                return req:exit(200, first .. second .. u:receive()) ]],
                server(function(bytes) return { bytes } end))
            assert.equal("abc", text)
            assert.is_true(turns < MOST_TURNS, turns)
        end)
    end)

    it("refuses what no datagram can hold, and goes on", function()
        local port = server(function(bytes) return { bytes } end)
        assert.equal("too_big too_big ok", answer([[
            local u = assert(rp.udp.connect { host = "localhost", port = PORT })
            local _, a = u:send(("x"):rep(65536))
            local _, b = u:send(("x"):rep(65520))
            u:send("ok")
            return req:exit(200, a .. " " .. tostring(b) .. " " .. u:receive(2)) ]], port)
            :gsub("nil", "too_big"))
    end)

    it("belongs to its request", function()
        local port = server(function() end)
        assert.equal("new", answer([[
            if kept then return req:exit(200, (select(2, kept:send("x")))) end
            kept = assert(rp.udp.connect { host = "127.0.0.1", port = PORT })
            return req:exit(200, "new") ]], port))
        assert.equal("stale", site:get("/").body)
    end)
end)

describe("script/abi_dns", function()
    after_each(function()
        if site then site:close() end
        site, peer = nil, nil
    end)

    it("finds addresses, of one family or of both", function()
        assert.equal("127.0.0.1 true 10.1.2.3 ::1", answer([[
            local a = assert(rp.dns.resolve("localhost", "A"))
            local all = assert(rp.dns.resolve("localhost"))
            return req:exit(200, a[1] .. " " .. tostring(#all >= #a) .. " "
                .. rp.dns.resolve("10.1.2.3")[1] .. " " .. rp.dns.resolve("::1", "AAAA")[1]) ]], 1))
    end)

    it("says that there are none", function()
        assert.equal("not_found invalid", answer([[
            local _, a = rp.dns.resolve("10.1.2.3", "AAAA")
            local _, b = rp.dns.resolve("no name at all")
            return req:exit(200, a .. " " .. b) ]], 1))
    end)

    it("refuses other kinds of records", function()
        assert.matches('looks up "A", "AAAA" and "SRV"', answer([[
            local _, err = pcall(rp.dns.resolve, "localhost", "MX")
            return req:exit(200, err) ]], 1))
    end)
end)
