-- SPDX-License-Identifier: MIT
--
-- A WebSocket outlives reloads: it goes on in both directions, its old generation is let go, and its
-- log line and log hook come from the newest generation.

local e2e = require("spec.support.e2e")
local http = require("spec.support.http")
local origin = require("spec.support.origin")
local posix = require("spec.support.posix")
local proc = require("spec.support.proc")
local wire = require("spec.support.wire")

local SWITCH = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n" ..
    "Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
local UPGRADE = { Upgrade = "websocket", Connection = "Upgrade",
    ["Sec-WebSocket-Key"] = "dGhlIHNhbXBsZSBub25jZQ==", ["Sec-WebSocket-Version"] = "13" }

local SITE = [[
    log = { access = { to = "${dir}/access.log", format = "json",
        fields = { "path", "status", "route" }, buffer = 0 } },
    upstreams = { o = rp.upstream { peers = { "127.0.0.1:${origin}" } } },
    hosts = { rp.host { default = true, routes = {
        rp.route { "/echo", id = "echo", upstream = "o", use = { {
            access = function(req) req.ctx.heavy = ("x"):rep(1000) end,
            log = function(req) rp.log.notice("tunnel ended", { generation = ${gen} }) end,
        } } } } } },
]]

describe("a tunnel", function()
    local up, rp

    setup(function()
        up = origin.start { ["/echo"] = { { send = SWITCH }, { echo = true } } }
        rp = e2e.proxy { vars = { origin = up.port, gen = 1 }, site = SITE }
    end)
    teardown(function() e2e.stop(rp) end)
    after_each(wire.close_all)

    it("lives on through 30 reloads and ends in the newest generation", function()
        local w = wire.connect(rp.port)
        assert.equal(101, http.request(w, { target = "/echo", fields = UPGRADE }).status)
        for n = 1, 30 do
            local ended, out, err = proc.run { os.getenv("RP_BIN") or "build/rproxy", "reload", "-p",
                rp.site_path }
            assert.same({ exit = 0 }, ended, out .. err)
            local text = ("message %d"):format(n)
            w:send(text)
            assert.equal(text, w:recv(#text))
        end
        w:close()
        assert.is_truthy(posix.poll(function()
            local log = posix.read_file(rp.dir .. "/access.log")
            return log and log:find('"path":"/echo","status":101,"route":"echo"', 1, true)
        end, 30))
        rp:wait_stderr("tunnel ended")
    end)
end)
