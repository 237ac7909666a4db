-- SPDX-License-Identifier: MIT
--
-- upstream: choosing peers, and what their failures do.

local inproc = require("spec.support.inproc")

local C, net, sys = inproc.C, inproc.net, inproc.sys

local GET = "GET /x HTTP/1.1\r\nHost: a\r\n\r\n"
local OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

describe("an upstream", function()
    local p

    after_each(function() p:close() end)

    -- An address where nobody listens.
    local function refused()
        local fd, port = net.tcp_listen()
        sys.close(fd)
        return "127.0.0.1:" .. port
    end

    local function status(head) return tonumber(head:match("^HTTP/1%.1 (%d+)")) end
    local function group() return C.rp_groups_at(C.rp_groups_find(p.raw, p.conf), 0) end
    local function place(i) return group().peers[i].place end
    local function facts(i) return C.rp_roster_facts(p.raw.roster, place(i)) end
    local function in_flight(i) return C.rp_roster_in_flight(p.raw.roster, place(i)) end

    it("with a peer that refuses uses the others, whatever the method", function()
        p = inproc.open { peers = { refused(), refused(), "self" } }
        local client, up = p:client(), nil
        for _ = 1, 4 do
            client:send("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi")
            up = up or p:accept()
            up:recv_until("hi")
            up:send(OK)
            assert.equal(200, status(client:head()))
            client:recv_until("ok")
        end
        assert.equal(0, in_flight(0))
        assert.equal(0, in_flight(2))
    end)

    it("lets a peer rest that failed, and tries it again when there is nobody else", function()
        p = inproc.open { peers = { refused(), refused() }, up = { tries = 5 } }
        local client = p:client()
        for round = 1, 3 do
            client:send(GET)
            assert.equal(502, status(client:head()))
            client:recv_until("</html>\n")
            for i = 0, 1 do
                assert.is_true(facts(i).rest_until_ms > 0)
                assert.equal(round, facts(i).fails)
            end
        end
        assert.equal(6, tonumber(p.raw.stats.up_connects)) -- each peer once per request
    end)

    it("stops after its tries", function()
        p = inproc.open { peers = { refused(), refused(), refused(), "self" }, up = { tries = 2 } }
        local client = p:client()
        client:send(GET)
        assert.equal(502, status(client:head()))
        assert.equal(2, tonumber(p.raw.stats.up_connects))
    end)

    it("forgets failures when a connection comes about", function()
        p = inproc.open { peers = { "self" } }
        for _ = 1, 7 do C.rp_roster_fail(p.raw.roster, place(0)) end
        local client = p:client()
        client:send(GET)
        local up = p:accept()
        up:head()
        assert.equal(0, facts(0).fails)
        assert.equal(1, in_flight(0))
        up:send(OK)
        client:recv_until("ok")
        p:idle()
        assert.equal(0, in_flight(0))
    end)

    it("gives up on a connect that takes too long", function()
        -- A listener whose queue is full drops further handshakes.
        local fd, port = net.tcp_listen(0)
        local fill = {}
        for i = 1, 3 do
            fill[i] = sys.socket(net.AF_INET, net.STREAM + net.NONBLOCK, 0)
            sys.connect(fill[i], inproc.posix.inet("127.0.0.1", port), 16)
        end
        p = inproc.open { peers = { "127.0.0.1:" .. port }, up = { connect_ms = 50, tries = 1 } }
        local client = p:client()
        client:send(GET)
        assert.equal(504, status(client:head()))
        sys.close(fd)
        for _, s in ipairs(fill) do sys.close(s) end
    end)

    it("finds peers by name, and waits for the answer", function()
        p = inproc.open()
        local port = p.up_port
        p:flip { peers = { "localhost:" .. port } }
        local client = p:client()
        client:send(GET)
        local up = p:accept()
        up:head()
        up:send(OK)
        client:recv_until("ok")
        assert.is_true(group().peers[0].looked_up)
    end)

    it("keeps at most pool_max idle connections and none past max_requests", function()
        p = inproc.open { up = { max_requests = 2 } }
        local client = p:client()
        client:send(GET)
        local up = p:accept()
        up:head()
        up:send(OK)
        client:recv_until("ok")
        p:round(client, up, GET, OK, 2)
        assert.equal("closed", select(2, up:recv_all()))
        p:flip { up = { pool_max = 0 } }
        client:send(GET)
        up = p:accept()
        up:head()
        up:send(OK)
        client:recv_until("ok")
        assert.equal("closed", select(2, up:recv_all()))
    end)
end)
