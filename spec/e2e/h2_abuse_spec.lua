-- SPDX-License-Identifier: MIT
--
-- HTTP/2 clients that cost more than they pay: each flood ends the connection, and the worker goes
-- on serving others in bounded memory.

local e2e = require("spec.support.e2e")
local h2 = require("spec.support.h2")
local http = require("spec.support.http")
local origin = require("spec.support.origin")
local posix = require("spec.support.posix")
local wire = require("spec.support.wire")

describe("HTTP/2 floods", function()
    local up, rp, hasty

    -- timeouts: Lua text
    local function start(timeouts)
        return e2e.proxy { vars = { origin = up.port, timeouts = timeouts }, site = [[
            log = { access = { to = "${dir}/access.log", format = "json", buffer = 0,
                fields = { "path", "status", "reason" } } },
            timeouts = { ${timeouts} },
            upstreams = { o = rp.upstream { peers = { "127.0.0.1:${origin}" } } },
            hosts = { rp.host { default = true, routes = { rp.route { "/*", upstream = "o" } } } },
        ]] }
    end

    setup(function()
        up = origin.start {
            ["/hang"] = { { hang = true } },
            ["/big"] = { status = 200, body = ("b"):rep(4 * 1024 * 1024) },
            ["*"] = { status = 200, body = "hi" },
        }
        -- A flood takes a slow machine long: no other limit may end it before.
        rp = start("header = 60, send = 60, keepalive = 60")
        hasty = start("header = 1, send = 1, keepalive = 1")
    end)

    teardown(function()
        hasty:stop()
        e2e.stop(rp)
    end)
    after_each(function()
        wire.close_all()
        for _, one in ipairs { rp, hasty } do
            assert.equal("hi", http.get(one.port, "/after").body) -- others are served
        end
    end)

    local function connect(opt, to)
        return h2.connect((to or rp).port, opt)
    end

    -- Send until the server ends the connection; the client does not read meanwhile.
    local function flood(c, n, send)
        for i = 1, n do
            if not send(i) then break end
        end
        c:wait(function() return c.goaway end)
        return c.goaway.code
    end

    local function says(kind)
        return posix.poll(function()
            return rp:stderr():find("too many frames of a kind kind=" .. kind, 1, true)
        end)
    end

    it("of streams that are reset at once (CVE-2023-44487)", function()
        local c = connect()
        assert.equal(h2.ENHANCE_YOUR_CALM, flood(c, 2000, function()
            local id = c:request { path = "/hang" }
            return c:send(h2.RST_STREAM, 0, id, h2.u32(h2.CANCEL))
        end))
        assert.truthy(says("resets"))
    end)

    it("of PING (CVE-2019-9512)", function()
        local c = connect()
        assert.equal(h2.ENHANCE_YOUR_CALM, flood(c, 200, function()
            return c.wire:send(h2.frame(h2.PING, 0, 0, "12345678"):rep(100))
        end))
        assert.truthy(says("controls"))
    end)

    it("of SETTINGS (CVE-2019-9515)", function()
        local c = connect()
        assert.equal(h2.ENHANCE_YOUR_CALM, flood(c, 200, function()
            return c.wire:send(h2.frame(h2.SETTINGS, 0, 0, ""):rep(100))
        end))
    end)

    it("of empty DATA (CVE-2019-9518)", function()
        local c = connect()
        local id = c:head { method = "POST", path = "/hang", open = true }
        assert.equal(h2.ENHANCE_YOUR_CALM, flood(c, 50, function()
            return c.wire:send(h2.frame(h2.DATA, 0, id, ""):rep(100))
        end))
        assert.truthy(says("empties"))
    end)

    it("of tiny WINDOW_UPDATE", function()
        local c = connect { windows = false }
        local id = c:request { path = "/hang" }
        assert.equal(h2.ENHANCE_YOUR_CALM, flood(c, 50, function()
            return c.wire:send(h2.frame(h2.WINDOW_UPDATE, 0, id, h2.u32(1)):rep(100))
        end))
        assert.truthy(says("windows"))
    end)

    it("of malformed requests", function()
        local c = connect()
        assert.equal(h2.ENHANCE_YOUR_CALM, flood(c, 1000, function()
            return c:head { path = "/\1bad" } and c.wire:send("")
        end))
    end)

    it("of CONTINUATION (CVE-2024-27316)", function()
        local c = connect()
        c:send(h2.HEADERS, 0, 1, h2.block { { ":method", "GET" } })
        local more = h2.block { { "x-filler", ("f"):rep(100) } }
        for _ = 1, 3000 do
            if not c:send(h2.CONTINUATION, 0, 1, more) then break end
        end
        assert.is_true(c:is_closed())
    end)

    it("of fields that are small on the wire and large when read (HPACK bomb)", function()
        local c = connect()
        -- One large entry goes into the dynamic table, then is named by its index (62) many times.
        local value = ("v"):rep(4000)
        local block = h2.block { { ":method", "GET" }, { ":scheme", "http" }, { ":path", "/" },
            { ":authority", "a" } } .. "\64\1x\127" .. string.char(4000 - 127 - 128 * 30 + 128, 30)
            .. value .. ("\190"):rep(200)
        c:send(h2.HEADERS, h2.END_HEADERS + h2.END_STREAM, 1, block:sub(1, 16384))
        local res = c:response(1)
        assert.is_true(res.status == 431 or res.reset ~= nil, res.status)
    end)

    it("of heads that never end are answered by their deadline", function()
        local c = connect(nil, hasty)
        c:send(h2.HEADERS, h2.END_STREAM, 1, h2.block { { ":method", "GET" } })
        assert.is_true(c:is_closed())
    end)

    it("of connections that say nothing are closed", function()
        assert.is_true(connect(nil, hasty):is_closed())
        local w = wire.connect(hasty.port)
        w:send(h2.PREFACE:sub(1, 10))
        assert.is_true(#(w:recv_all()) >= 0 and w:is_closed())
    end)

    it("of windows that stay shut end with the send timeout", function()
        local c = connect({ windows = false, settings = { { 4, 0 } } }, hasty)
        local res = c:response(c:request { path = "/big" })
        assert.truthy(res.reset)
        assert.truthy(posix.poll(function()
            local log = posix.read_file(hasty.dir .. "/access.log") or ""
            return log:find('"send_timeout"', 1, true)
        end))
    end)

    it("of answers that are not read do not fill the memory", function()
        local c = connect({ windows = false, settings = { { 4, 2 ^ 31 - 1 } } }, hasty)
        c:send(h2.WINDOW_UPDATE, 0, 0, h2.u32(2 ^ 30))
        for _ = 1, 50 do c:request { path = "/big" } end -- 200 MB
        local before = e2e.rss(hasty)
        local grown = e2e.settled(function() return e2e.rss(hasty) end) - before
        -- A sanitizer keeps freed memory for a while (its quarantine).
        local most = os.getenv("RP_MODE") == "debug" and 400 * 1024 or 130 * 1024
        assert.is_true(grown < most, grown .. " kB")
    end)
end)
