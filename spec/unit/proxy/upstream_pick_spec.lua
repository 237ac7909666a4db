-- SPDX-License-Identifier: MIT
--
-- upstream_pick: what workers make of the roster, and what they write there.

local inproc = require("spec.support.inproc")

local C = inproc.C

local OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
local WS = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    .. "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
local SWITCH = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    .. "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"

describe("picking a peer", function()
    local p, client

    local function open(opt)
        p = inproc.open(opt)
        client = p:client()
    end

    after_each(function() p:close() end)

    local function group() return C.rp_groups_at(C.rp_groups_find(p.raw, p.conf), 0) end
    local function place(i) return group().peers[i].place end
    local function now() return tonumber(C.rp_loop_now(p.env.loop)) end
    local function in_flight(i) return C.rp_roster_in_flight(p.raw.roster, place(i)) end

    local ups = {}
    local function round()
        client:send("GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
        local up = ups[p] or p:accept()
        ups[p] = up
        up:head()
        up:send(OK)
        client:recv_until("ok")
    end

    -- A WebSocket under way; the wire of its upstream.
    local function open_tunnel()
        open { site = function(s, host, up)
            local r = s:route(host, "/ws", { upstream = up })
            assert(C.rp_conf_set_route(s.conf, r, inproc.c.str("upgrade"), 1) == 0)
        end }
        client:send(WS)
        local up = p:accept()
        up:head()
        up:send(SWITCH)
        client:head()
        return up
    end

    it("warms a peer up that came back a moment ago by another process's clock", function()
        open { peers = { "127.0.0.1:1", "self" }, up = { slow_start_ms = 60000 } }
        C.rp_roster_set_order(p.raw.roster, place(0), C.RP_ROSTER_DRAIN, 0)
        C.rp_roster_set_weight(p.raw.roster, place(1), 100)
        C.rp_roster_set_order(p.raw.roster, place(1), C.RP_ROSTER_MAINT, 0)
        C.rp_roster_set_order(p.raw.roster, place(1), C.RP_ROSTER_READY, now() + 500)
        round()
        assert.equal(10, group().view.peers[1].weight)
        assert.is_true(tonumber(group().settle_ms) < now() + 60000) -- it is looked at again
    end)

    it("knows a peer's latency still when another worker's clock is ahead", function()
        open { peers = { "127.0.0.1:1", "self" } }
        C.rp_roster_set_order(p.raw.roster, place(0), C.RP_ROSTER_MAINT, 0)
        local later = (now() + 40) % 2 ^ 32
        local word = inproc.ffi.new("uint64_t", later) * 2 ^ 32 + 5000000
        assert.is_true(C.rp_roster_swap_latency(p.raw.roster, place(1), 0, word))
        round()
        local mean = tonumber(C.rp_roster_latency(p.raw.roster, place(1)) % 2 ^ 32)
        assert.is_true(mean > 4000000, mean)
    end)

    it("does not believe a check where nobody checks any more", function()
        open { peers = { "127.0.0.1:1", "self" } }
        C.rp_roster_set_order(p.raw.roster, place(0), C.RP_ROSTER_MAINT, 0)
        C.rp_roster_set_health(p.raw.roster, place(1), C.RP_ROSTER_FAILING, now())
        round()
        assert.equal(C.RP_BALANCE_UP, group().view.peers[1].health)
    end)

    it("keeps the seat of a tunnel over reloads, until its end", function()
        local up = open_tunnel()
        for _ = 1, 3 do
            local before = group()
            assert.equal(1, before.active)
            p:flip()
            assert.equal(1, in_flight(0))
            assert.equal(1, group().active)
            assert.is_true(p.raw.live.pick.group == group())
        end
        up:send("\129\1a")
        client:recv_until("a")
        up:close()
        client:close()
        p:idle()
        assert.equal(0, in_flight(0))
        assert.equal(0, group().active)
    end)

    it("gives the seat of a tunnel back when a reload takes its peer away", function()
        local up = open_tunnel()
        local was = place(0)
        p:flip { peers = { "127.0.0.1:1" } }
        assert.equal(0, C.rp_roster_in_flight(p.raw.roster, was))
        up:send("\129\1a")
        client:recv_until("a")
    end)
end)
