-- SPDX-License-Identifier: MIT
--
-- queue: who waits for a seat, in which order, and how he leaves.

local inproc = require("spec.support.inproc")

local C, c, net, sys = inproc.C, inproc.c, inproc.net, inproc.sys

local OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

describe("a queue for seats", function()
    local p

    after_each(function() p:close() end)

    -- The last peer has one seat.
    local function open(up, peers)
        up.queue_max, up.queue_ms = up.queue_max or 8, up.queue_ms or 60000
        p = inproc.open { peers = peers, up = up, site = function(s, _, index)
            assert(C.rp_conf_set_peer(s.conf, index, c.str("max_conns"), 1) == 0)
        end }
    end

    local function group() return C.rp_groups_at(C.rp_groups_find(p.raw, p.conf), 0) end
    local function queued(g) return tonumber((g or group()).queue.n) end
    local function in_flight(i)
        return C.rp_roster_in_flight(p.raw.roster, group().peers[i or 0].place)
    end

    local function ask(path)
        local client = p:client()
        client:send("GET /" .. path .. " HTTP/1.1\r\nHost: a\r\n\r\n")
        return client
    end

    local function wait_queued(n) p:until_true(function() return queued() == n end, "queue") end

    local function status(client) return client:head():match("^HTTP/1%.1 (%d+)") end

    it("is left in the order of coming, and the urgent ones first", function()
        open {}
        ask("1")
        local up = p:accept()
        up:head()
        for i = 2, 4 do
            ask(tostring(i))
            wait_queued(i - 1)
        end
        local last = group().queue.last
        last.priority = 5 -- as a hook may say before it comes here: ask for its place anew
        C.rp_queue_part(last)
        assert.equal(0, C.rp_queue_join(last))
        assert.is_true(group().queue.first == last)
        local order = {}
        for _ = 1, 3 do
            up:send(OK)
            order[#order + 1] = up:head():match("^GET /(%d)")
        end
        up:send(OK)
        assert.same({ "4", "2", "3" }, order)
        p:idle()
        assert.equal(0, queued())
        assert.equal(0, in_flight())
    end)

    it("is left by who waited too long, by who goes away, and by all at the end", function()
        open { queue_ms = 30 }
        ask("1")
        local up = p:accept()
        up:head()
        assert.equal("503", status(ask("2")))
        assert.equal(0, queued())
        up:send(OK)
        p:idle()
        p:close()

        open {}
        ask("1")
        p:accept():head()
        local gone = ask("2")
        wait_queued(1)
        ask("3")
        wait_queued(2)
        gone:close()
        wait_queued(1)
        C.rp_proxy_abort_all(p.raw)
        p:idle()
        assert.equal(0, in_flight())
    end)

    it("of a generation that was replaced is emptied by its own seats and by others'", function()
        open {}
        local first = ask("old")
        local up = p:accept()
        up:head()
        local second, old = ask("waits"), group()
        wait_queued(1)
        p:flip()
        local third = ask("new") -- its generation has a queue of its own
        wait_queued(1)
        assert.equal(1, queued(old))
        for _ = 1, 2 do
            up:send(OK)
            up:head()
        end
        up:send(OK)
        for _, client in ipairs { first, second, third } do
            assert.equal("200", status(client))
        end
        p:idle()
        assert.equal(0, in_flight())
    end)

    it("does not hold back one that had a seat and whose connection was stale", function()
        open { queue_max = 1 }
        local client = ask("1")
        local up = p:accept()
        up:head()
        up:send(OK)
        client:recv_until("ok")
        client:send("GET /2 HTTP/1.1\r\nHost: a\r\n\r\n")
        up:head()
        local waits = ask("3")
        wait_queued(1)
        up:reset() -- of a pooled connection: /2 is sent once more
        local again = p:accept()
        assert.matches("^GET /2", again:head())
        again:send(OK)
        assert.matches("^GET /3", again:head())
        again:send(OK)
        assert.equal("200", status(client))
        assert.equal("200", status(waits))
    end)

    it("is not for one that tried every peer that could become free", function()
        local fd, port = net.tcp_listen()
        sys.close(fd) -- nobody listens there
        open({ max_fails = 0, tries = 5 }, { "127.0.0.1:" .. port, "self" })
        local client = ask("1")
        local up = p:accept()
        up:head()
        C.rp_roster_enter(p.raw.roster, p.raw.roster_row, group().peers[1].place) -- another's
        up:reset()
        assert.equal("502", status(client)) -- at once: the seat that may come is no use
        C.rp_roster_leave(p.raw.roster, p.raw.roster_row, group().peers[1].place, false)
    end)
end)
