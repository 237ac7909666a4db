-- SPDX-License-Identifier: MIT
--
-- door: who is let in, and what the others get.

local inproc = require("spec.support.inproc")

local C, ffi = inproc.C, inproc.ffi

local GET = "GET /x HTTP/1.1\r\nHost: a\r\n\r\n"
local OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"

describe("door", function()
    local p

    after_each(function() p:close() end)

    local function open(numbers, opt)
        opt = opt or {}
        opt.numbers = numbers
        p = inproc.open(opt)
        return p
    end

    local function works(client)
        client:send(GET)
        local up = p:accept()
        up:head()
        up:send(OK)
        client:recv_until("ok")
        up:close()
    end

    local function refused(client)
        local text, why = client:recv_all()
        assert.matches("^HTTP/1.1 503 Service Unavailable\r\n.*\r\nConnection: close\r\n\r\n"
            .. "503 too many at a time\n$", text)
        local length = text:match("Content%-Length: (%d+)")
        assert.equal(#text:match("\r\n\r\n(.*)$"), tonumber(length))
        assert.equal("closed", why)
    end

    it("lets any number in unless there is a limit", function()
        open {}
        for _ = 1, 20 do works(p:client()) end
        assert.equal(0, tonumber(p.raw.stats.conns_refused))
    end)

    it("refuses one over the total, whatever it sends, and lets it in when one leaves", function()
        open { ["limits.connections"] = 2, workers = 1 }
        local a, b = p:client(), p:client()
        works(a)
        works(b)
        local over = p:client()
        over:send(GET)
        refused(over)
        refused(p:client())
        assert.equal(2, tonumber(p.raw.stats.conns_refused))
        a:close()
        p.env:spin(0.02)
        works(p:client())
        refused(p:client())
        works(b)
    end)

    it("counts what other workers have", function()
        open { ["limits.connections"] = 3 }
        local census = p.census[0]
        works(p:client())
        assert(C.rp_census_enter(census, 1, 0) == 0)
        assert(C.rp_census_enter(census, 2, 0) == 0)
        refused(p:client())
        C.rp_census_forget(census, 2) -- it died
        works(p:client())
        refused(p:client())
        assert.equal(3, tonumber(C.rp_census_total(census)))
        assert.equal(2, tonumber(p.raw.stats.refused_many))
    end)

    local function local_net()
        local net = ffi.new("uint8_t[16]")
        net[10], net[11], net[12], net[15] = 0xff, 0xff, 127, 1
        return net
    end

    it("counts what a client has in other workers", function()
        open { ["limits.connections_per_ip"] = 3 }
        local census, seat = p.census[0], ffi.new("uint32_t[1]")
        works(p:client())
        for w = 1, 2 do assert(C.rp_census_join(census, w, local_net(), 9, seat) == 0) end
        refused(p:client())
        C.rp_census_forget(census, 1)
        works(p:client())
        refused(p:client())
        assert.equal(2, tonumber(p.raw.stats.refused_client))
        assert.equal(2, tonumber(p.raw.stats.conns_refused))
    end)

    it("lets a client in, uncounted, that there is no room to count", function()
        open { ["limits.connections_per_ip"] = 1 }
        local census, seat, net = p.census[0], ffi.new("uint32_t[1]"), ffi.new("uint8_t[16]")
        for i = 1, 20000 do -- until its places are taken
            ffi.cast("uint32_t *", net)[0] = i
            local _ = C.rp_census_join(census, 1, net, 1, seat)
        end
        for _ = 1, 3 do works(p:client()) end
        assert.equal(3, tonumber(p.raw.stats.conns_uncounted))
        assert.equal(0, tonumber(p.raw.stats.conns_refused))
    end)

    it("knows how many connections there are, and how many are idle", function()
        open {}
        local a, b = p:client(), p:client()
        local function counts(active, idle)
            p:until_true(function()
                C.rp_proxy_beat(p.raw)
                return p.raw.stats.conns_active == active and p.raw.stats.conns_idle == idle
            end, ("%d active, %d idle"):format(active, idle))
        end
        counts(2, 2)
        a:send(GET)
        local up = p:accept()
        up:head()
        counts(2, 1)
        b:send("GET / HTTP/1.1\r\n")
        counts(2, 0)
        up:send(OK)
        a:recv_until("ok")
        counts(2, 1)
        a:close()
        b:close()
        counts(0, 0)
    end)

    it("refuses one over what a client may have", function()
        open { ["limits.connections_per_ip"] = 1 }
        local a = p:client()
        works(a)
        refused(p:client())
        a:close()
        p.env:spin(0.02)
        works(p:client())
    end)

    it("does not count a network that is trusted per client, but in all", function()
        open({ ["limits.connections_per_ip"] = 1, ["limits.connections"] = 3, workers = 1 },
            { trust = "127.0.0.0/8" })
        for _ = 1, 3 do works(p:client()) end
        refused(p:client())
    end)

    it("follows a reload", function()
        open { ["limits.connections_per_ip"] = 1 }
        works(p:client())
        refused(p:client())
        p:flip { numbers = { ["limits.connections_per_ip"] = 2 } }
        works(p:client())
        refused(p:client())
        p:flip {}
        works(p:client())
    end)

    it("resets a flood after 100 answers a second", function()
        open { ["limits.connections"] = 1, workers = 1 }
        works(p:client())
        local ends = { closed = 0, reset = 0 }
        local clients = {}
        for i = 1, 130 do
            clients[i] = p:client()
            p.env:spin(0)
        end
        for _, client in ipairs(clients) do
            local _, why = client:recv_all()
            ends[why] = ends[why] + 1
        end
        assert.equal(130, ends.closed + ends.reset)
        assert.is_true(ends.closed >= 100 and ends.reset >= 20, ends.closed)
    end)

    it("counts a connection until it is closed, the last answer's wait included", function()
        open { ["limits.connections"] = 1, workers = 1 }
        local a = p:client()
        a:send("GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" ..
            "\r\n") -- with bytes behind what it called its last request a client is waited for
        local up = p:accept()
        up:head()
        up:send(OK)
        a:recv_until("ok")
        refused(p:client()) -- a has not closed its end
        a:close()
        p.env:spin(0.02)
        works(p:client())
        assert.equal(1, C.rp_loop_meter(p.env.loop).conns_n)
    end)
end)
