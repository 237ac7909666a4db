-- SPDX-License-Identifier: MIT
--
-- sticky: cookies that name a peer.

local inproc = require("spec.support.inproc")

local C, c = inproc.C, inproc.c

local OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

describe("a sticky cookie", function()
    local p

    after_each(function() p:close() end)

    local function open(key)
        p = inproc.open { site = function(s, _, up)
            local function set(name, value)
                assert(C.rp_conf_set_upstream_text(s.conf, up, c.str(name), c.str(value)) == 0)
            end
            set("sticky_cookie", "side")
            set("sticky_more", "; Path=/")
            if key then set("sticky_key", key) end
        end }
    end

    local function ask(cookie, method)
        local client = p:client()
        client:send((method or "GET") .. " / HTTP/1.1\r\nHost: a\r\n"
            .. (cookie and "Cookie: " .. cookie .. "\r\n" or "") .. "\r\n")
        return client
    end

    local up
    local function answer(client, response)
        up = up or p:accept()
        up:head()
        up:send(response or OK)
        return client:head()
    end

    before_each(function() up = nil end)

    local function token(head) return head:match("\r\nSet%-Cookie: side=(%x+); Path=/\r\n") end

    it("is set once, and not again for who has it", function()
        open()
        local mine = token(answer(ask()))
        assert.equal(C.RP_STICKY_TOKEN, #mine)
        assert.is_nil(token(answer(ask("side=" .. mine))))
        assert.is_nil(token(answer(ask("a=b; side=" .. mine .. "; c=d"))))
        p:flip()
        assert.is_nil(token(answer(ask("side=" .. mine))))
    end)

    it("that is not ours names nobody", function()
        open()
        local mine = token(answer(ask()))
        for _, bad in ipairs { "side=", "side=" .. ("0"):rep(32), "side=" .. mine .. "0",
            "side=" .. mine:sub(2), "side=" .. mine:upper():gsub("^%d+$", "x"), "SIDE=" .. mine,
            "side=x; side=" .. mine, "side=\"" .. mine .. "\"" } do
            local client = ask(bad)
            up:head()
            assert.equal(0, C.rp_sticky_find(p.raw.live).id, bad)
            up:send(OK)
            assert.equal(mine, token(client:head()), bad)
            client:reset()
            p:idle()
        end
    end)

    it("comes with every answer of the peer, and with none of ours", function()
        open()
        assert.is_string(token(answer(ask(nil, "HEAD"), "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")))
        assert.is_string(token(answer(ask(), "HTTP/1.1 304 Not Modified\r\n\r\n")))
        assert.is_string(token(answer(ask(), "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")))
        local head = answer(ask(), "HTTP/1.1 200 OK\r\nSet-Cookie: side=1\r\nContent-Length: 0\r\n\r\n")
        assert.is_string(token(head)) -- the peer's own stays, ours comes after it
        assert.truthy(head:find("Set-Cookie: side=1", 1, true) < head:find("Path=/", 1, true))
        head = answer(ask(), "nonsense\r\n\r\n")
        assert.matches("^HTTP/1%.1 502", head)
        assert.is_nil(token(head))
    end)

    it("is the same under the same key only", function()
        open(("00112233445566778899aabbccddeeff"))
        local one = token(answer(ask()))
        local port = p.up_port
        p:close()
        up = nil
        open(("00112233445566778899aabbccddeeff"))
        local two = token(answer(ask()))
        assert.equal(port == p.up_port, one == two) -- of the same peer
        assert.are_not.equal(one, ("0"):rep(32))
    end)
end)
