-- SPDX-License-Identifier: MIT
--
-- HTTP/2 to upstreams over TLS: what is spoken is what the handshake chose.

local e2e = require("spec.support.e2e")
local http = require("spec.support.http")
local posix = require("spec.support.posix")
local tls = require("spec.support.tls")
local wire = require("spec.support.wire")

describe("HTTP/2 to an upstream over TLS", function()
    local back, rp

    setup(function()
        local dir, old, mute = tls.dir(), posix.free_port(), posix.free_port()
        tls.cert(dir, "a", { names = { "a.test" } })
        -- It answers with the protocol in which it was asked.
        back = e2e.proxy { vars = { certs = dir, old = old, mute = mute },
            ports = { old, mute }, site = [[
            tls = { certs = { "${certs}/a.pem" } },
            listeners = { rp.listen { "127.0.0.1:${port}", tls = true },
                rp.listen { "127.0.0.1:${old}", tls = { certs = { "${certs}/a.pem" },
                    alpn = { "http/1.1" } } },
                rp.listen { "127.0.0.1:${mute}", tls = { certs = { "${certs}/a.pem" },
                    alpn = {} } } },
            hosts = { rp.host { default = true, routes = { rp.route { "/*",
                content = function(req) return req:exit(200, req.version) end } } } } ]] }
        rp = e2e.proxy { vars = { new = back.port, old = old, mute = mute }, site = [[
            log = { access = { to = "${dir}/access.log", format = "json", buffer = 0,
                fields = { "path", "status", "reason" } } },
            upstreams = {
                auto = rp.upstream { peers = { "127.0.0.1:${new}" }, tls = { verify = false },
                    http = "auto" },
                two = rp.upstream { peers = { "127.0.0.1:${new}" }, tls = { verify = false },
                    http = "2" },
                one = rp.upstream { peers = { "127.0.0.1:${new}" }, tls = { verify = false } },
                auto_old = rp.upstream { peers = { "127.0.0.1:${old}" }, http = "auto",
                    tls = { verify = false } },
                two_old = rp.upstream { peers = { "127.0.0.1:${old}" }, http = "2",
                    tls = { verify = false } },
                auto_mute = rp.upstream { peers = { "127.0.0.1:${mute}" }, http = "auto",
                    tls = { verify = false } },
                two_mute = rp.upstream { peers = { "127.0.0.1:${mute}" }, http = "2",
                    tls = { verify = false } },
            },
            hosts = { rp.host { default = true, routes = {
                rp.route { "/auto", upstream = "auto" }, rp.route { "/two", upstream = "two" },
                rp.route { "/one", upstream = "one" },
                rp.route { "/auto_old", upstream = "auto_old" },
                rp.route { "/two_old", upstream = "two_old" },
                rp.route { "/auto_mute", upstream = "auto_mute" },
                rp.route { "/two_mute", upstream = "two_mute" } } } } ]] }
    end)

    teardown(function()
        back:stop()
        e2e.stop(rp)
    end)
    after_each(wire.close_all)

    it("is spoken where both want it, and on kept connections, too", function()
        for _ = 1, 3 do
            assert.equal("2", http.get(rp.port, "/auto").body)
            assert.equal("2", http.get(rp.port, "/two").body)
            assert.equal("1.1", http.get(rp.port, "/one").body)
        end
    end)

    it("is not where the peer does not, if that will do", function()
        for _ = 1, 3 do
            assert.equal("1.1", http.get(rp.port, "/auto_old").body)
            assert.equal("1.1", http.get(rp.port, "/auto_mute").body)
        end
    end)

    -- One peer says in the handshake that it will not, the other one says nothing of protocols.
    for target, reason in pairs { ["/two_old"] = "upstream_tls_handshake",
        ["/two_mute"] = "upstream_alpn" } do
        it("is 502 where it must be and the peer does not: " .. reason, function()
            assert.equal(502, http.get(rp.port, target).status)
            local line = ('"path":"%s","status":502,"reason":"%s"'):format(target, reason)
            assert.is_truthy(posix.poll(function()
                return posix.read_file(rp.dir .. "/access.log"):find(line, 1, true)
            end))
        end)
    end
end)
