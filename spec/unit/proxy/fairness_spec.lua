-- SPDX-License-Identifier: MIT
--
-- fairness: who moves much waits for who wants little. Nothing is timed: a tick's share for heavy
-- requests is set to one job, and bytes are counted.

local inproc = require("spec.support.inproc")

local C, net = inproc.C, inproc.net

local BIG = 24 -- transfers that can all go on at once
local BLOCK = ("x"):rep(2 ^ 20)
local HEAD = "HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n"
local WS = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
local SWITCH = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n"
    .. "Upgrade: websocket\r\n\r\n"

describe("while many move much", function()
    local p

    after_each(function() p:close() end)

    -- What an end has for us now: how many bytes.
    local function drain(wire)
        local n = 0
        while true do
            local bytes = net.read(wire.fd)
            if not bytes or bytes == "" then return n end
            n = n + #bytes
        end
    end

    -- Turn until an end has sent all that it can: nothing moves any more.
    local function fill_up(wires)
        local idle, turns = 0, 0
        repeat
            local pushed = 0
            for _, w in ipairs(wires) do pushed = pushed + w:push(BLOCK) end
            C.rp_loop_turn(p.env.loop, 0)
            idle, turns = pushed == 0 and idle + 1 or 0, turns + 1
            assert.is_true(turns < 100000, "sockets without an end")
        until idle > 2 * BIG
    end

    local function open()
        p = inproc.open { numbers = { ["limits.body_bytes"] = 2 ^ 40 },
            site = function(s, host) s:route(host, "/own/*", { id = "own" }) end }
    end

    -- Downloads whose clients take nothing.
    local function downloads(request, head)
        local clients, ups = {}, {}
        for i = 1, BIG do
            clients[i] = p:client()
            clients[i]:send(request)
            ups[i] = p:accept()
            ups[i]:head()
            ups[i]:send(head)
        end
        fill_up(ups)
        C.rp_loop_set_share(p.env.loop, 0)
        return clients, ups
    end

    local function sum_of(wires)
        local n = 0
        for _, w in ipairs(wires) do n = n + drain(w) end
        return n
    end

    -- Bytes that ends get until a fresh request, sent now, has its answer.
    local function relayed_before_answer(ends)
        local fresh, turns, answer = p:client(), 0
        fresh:send("GET /own/ HTTP/1.1\r\nHost: a\r\n\r\n")
        repeat
            C.rp_loop_turn(p.env.loop, 0)
            answer, turns = net.read(fresh.fd), turns + 1
        until answer or turns == 100
        assert.matches("^HTTP/1.1 200 ", answer)
        return sum_of(ends), turns
    end

    local function assert_fair(n, turns)
        assert.is_true(turns <= 4, "turns: " .. turns)
        assert.is_true(n <= turns * 2 ^ 20, ("%d bytes went first, in %d turns"):format(n, turns))
        assert.is_true(n <= 2 ^ 20 * BIG / 8, n .. " bytes went first")
    end

    it("a fresh request is answered ahead of downloads", function()
        open()
        local clients = downloads("GET /x HTTP/1.1\r\nHost: a\r\n\r\n", HEAD)
        assert.is_true(sum_of(clients) > BIG * 100000) -- now all of them have room
        assert_fair(relayed_before_answer(clients))
    end)

    it("... of uploads", function()
        open()
        local clients, ups = {}, {}
        for i = 1, BIG do
            clients[i] = p:client()
            clients[i]:send("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n")
            ups[i] = p:accept()
        end
        fill_up(clients)
        C.rp_loop_set_share(p.env.loop, 0)
        assert.is_true(sum_of(ups) > BIG * 100000)
        assert_fair(relayed_before_answer(ups))
    end)

    it("... of tunnels", function()
        open()
        local clients = downloads(WS, SWITCH)
        assert.is_true(sum_of(clients) > BIG * 100000)
        assert_fair(relayed_before_answer(clients))
    end)

    it("all of them go on, in turn", function()
        open()
        local clients = downloads("GET /x HTTP/1.1\r\nHost: a\r\n\r\n", HEAD)
        sum_of(clients)
        local got, some = {}, 0
        for _ = 1, 20 * BIG do
            C.rp_loop_turn(p.env.loop, 0)
            for i, w in ipairs(clients) do
                local n = drain(w)
                if n > 0 and not got[i] then some = some + 1 end
                got[i] = got[i] or n > 0
            end
        end
        assert.equal(BIG, some)
    end)

    it("a first piece goes out at once, whatever waits", function()
        open()
        local clients = downloads("GET /x HTTP/1.1\r\nHost: a\r\n\r\n", HEAD)
        sum_of(clients)
        local late = p:client()
        late:send("GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
        local up
        for _ = 1, 10 do C.rp_loop_turn(p.env.loop, 0) end
        up = p:accept()
        up:push(HEAD .. ("y"):rep(100000))
        local answer
        for _ = 1, 4 do
            C.rp_loop_turn(p.env.loop, 0)
            answer = answer or net.read(late.fd)
        end
        assert.matches("^HTTP/1.1 200 OK\r\n", answer)
    end)
end)
