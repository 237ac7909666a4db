-- SPDX-License-Identifier: MIT
--
-- local: fixed answers. That they are right is shown by spec/e2e; here: what they keep in memory.

local inproc = require("spec.support.inproc")

local C, c = inproc.C, inproc.c

local SIZE = 2 ^ 23
local TEXT = ("0123456789abcdef"):rep(SIZE / 16)

describe("a large fixed answer", function()
    local p

    local function site(s, host)
        local route = s:route(host, "/big/*", { id = "big" })
        assert(C.rp_conf_set_route_text(s.conf, route, c.str("body"), c.str(TEXT)) == 0)
    end

    before_each(function() p = inproc.open { site = site } end)
    after_each(function() p:close() end)

    local function ask()
        local client = p:client()
        client:send("GET /big/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        return client
    end

    local function assert_whole(client)
        local parts, bytes = {}, nil
        p:until_true(function()
            repeat
                bytes = inproc.net.read(client.fd)
                parts[#parts + 1] = bytes
            until not bytes or bytes == ""
            return bytes == ""
        end, "its end")
        local all = table.concat(parts)
        assert.matches("^HTTP/1.1 200 ", all)
        assert.is_true(all:sub(-SIZE) == TEXT)
    end

    it("is kept once for all who take it slowly", function()
        local clients = {}
        for i = 1, 5 do clients[i] = ask() end
        p:until_true(function() return tonumber(p.raw.stats.requests_active) == 5 end, "requests")
        p.env:spin(0.02)
        assert.is_true(tonumber(p.env.mem.live_bytes) < 1.5 * SIZE)
        for _, client in ipairs(clients) do assert_whole(client) end
        assert_whole(ask())
    end)

    it("reaches those who asked before a reload, and goes with the last of them", function()
        local slow = ask()
        p:until_true(function() return tonumber(p.raw.stats.requests_active) == 1 end, "a request")
        p.env:spin(0.02)
        p:flip { }
        assert_whole(slow)
        p:until_true(function() return tonumber(p.env.mem.live_bytes) < SIZE end, "its end")
    end)
end)
