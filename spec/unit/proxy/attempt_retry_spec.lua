-- SPDX-License-Identifier: MIT
--
-- attempt_retry: what becomes of a request whose try failed or was answered badly.

local inproc = require("spec.support.inproc")

local C, ffi, net, sys = inproc.C, inproc.ffi, inproc.net, inproc.sys

local OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
local BAD = "HTTP/1.1 503 No\r\nX-Who: %s\r\nContent-Length: 3\r\n\r\nbad"
local GET = "GET /x HTTP/1.1\r\nHost: a\r\n\r\n"

describe("a request whose try failed", function()
    local p, client

    local fds

    -- Three peers, all of them our ends.
    local function open(up)
        local peers = { "self" }
        fds = {}
        for i = 2, 3 do
            local fd, port = net.tcp_listen()
            assert(sys.fcntl(fd, 4, ffi.cast("int", net.NONBLOCK)) == 0) -- F_SETFL
            fds[i], peers[i] = fd, "127.0.0.1:" .. port
        end
        up.retry_pause_ms = up.retry_pause_ms or 0
        p = inproc.open { up = up, peers = peers, site = function(s, _, index)
            assert(C.rp_conf_add_statuses(s.conf, index, true, 503, 504) == 0)
            assert(C.rp_conf_add_statuses(s.conf, index, false, 503, 503) == 0)
        end }
        fds[1] = p.up_fd
        client = p:client()
    end

    after_each(function()
        p.up_fd = fds[1]
        p:close()
        for i = 2, 3 do sys.close(fds[i]) end
    end)

    -- The next connection, whichever peer it is to.
    local function accept(seconds)
        local w
        for _ = 1, seconds and 1 or 2000 do
            for i = 1, 3 do
                p.up_fd = fds[i]
                w = w or p:accepted(seconds or 0.002)
            end
            if w then return w end
        end
    end

    local function group() return C.rp_groups_at(C.rp_groups_find(p.raw, p.conf), 0) end

    local function idle_counts()
        p:idle()
        assert.same({ 0, 0 }, { group().active, group().retrying })
        for i = 0, group().peers_n - 1 do
            assert.equal(0, C.rp_roster_in_flight(p.raw.roster, group().peers[i].place))
        end
    end

    it("gets another peer's answer, and nothing of the first one's", function()
        open { max_fails = 9 }
        client:send(GET)
        local first = accept()
        first:head()
        first:send("HTTP/1.1 103 Early\r\nLink: </a>\r\n\r\n" .. BAD:format("first"))
        local second = accept()
        second:head()
        assert.equal(1, group().retrying)
        second:send(OK)
        assert.matches("^HTTP/1%.1 103", client:head())
        local head = client:head()
        assert.matches("^HTTP/1%.1 200", head)
        assert.is_nil(head:find("X-Who", 1, true))
        client:recv_until("ok")
        idle_counts()
    end)

    it("gets the last answer as it came when all were bad", function()
        open { max_fails = 9, tries = 3 }
        client:send(GET)
        for i = 1, 3 do
            local up = accept()
            up:head()
            local big = i == 2 and "X-Big: " .. ("b"):rep(6000) .. "\r\n" or ""
            up:send((BAD:format(i):gsub("X%-Who", big .. "X-Who")))
        end
        assert.matches("X%-Who: 3", client:head())
        client:recv_until("bad")
        idle_counts()
        for i = 0, 2 do
            local place = group().peers[i].place
            assert.equal(1, C.rp_roster_facts(p.raw.roster, place).fails)
            assert.equal(1, tonumber(C.rp_roster_totals(p.raw.roster, place).failures))
        end
    end)

    it("is not repeated when its body was used", function()
        open { max_fails = 9 }
        client:send("PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody")
        local up = accept()
        up:recv_until("body")
        up:send(BAD:format("only"))
        assert.matches("X%-Who: only", client:head())
        client:recv_until("bad")
        assert.is_nil(accept(0.02))
        idle_counts()
    end)

    it("is repeated when nobody asked for its body yet", function()
        open { max_fails = 9 }
        client:send("PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
        local up = accept()
        assert.matches("100%-continue", up:head())
        up:send(BAD:format("first"))
        up = accept()
        assert.matches("100%-continue", up:head())
        up:send("HTTP/1.1 100 Continue\r\n\r\n")
        assert.matches("^HTTP/1%.1 100", client:head())
        client:send("body")
        up:recv_until("body")
        up:send(OK)
        assert.matches("^HTTP/1%.1 200", client:head())
        client:recv_until("ok")
        idle_counts()
    end)

    it("leaves nothing behind when its client goes away before the next try", function()
        open { max_fails = 9, retry_pause_ms = 60000, retry_pause_max_ms = 60000 }
        client:send(GET)
        local up = accept()
        up:head()
        up:send(BAD:format("first"))
        p:until_true(function() return p.raw.live ~= nil and p.raw.live.again_ms ~= 0 end, "a pause")
        client:reset()
        idle_counts()
    end)

    it("waits no longer than one try may last", function()
        open { max_fails = 9, retry_on = 7, try_ms = 30, fail_on = 0 }
        client:send(GET)
        local first = accept()
        first:head()
        local second = accept() -- the first one says nothing
        second:head()
        second:send(OK)
        assert.matches("^HTTP/1%.1 200", client:head())
        client:recv_until("ok")
        idle_counts()
    end)
end)
