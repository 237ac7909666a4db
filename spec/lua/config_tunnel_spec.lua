-- SPDX-License-Identifier: MIT
--
-- Tunnels of a route: connect, tunnel and websocket: what is handed over, shown, and refused.

local config = require("spec.support.config")
local describe_site = require("rproxy.config.describe")

local function site(route)
    return ([[return rp.site { listeners = { rp.listen { "127.0.0.1:8080" } },
        upstreams = { a = rp.upstream { peers = { "127.0.0.1:1" } } },
        hosts = { rp.host { default = true, routes = {
            %s } } } }]]):format(route)
end

describe("tunnels of a route", function()
    it("hand over whom a CONNECT may reach", function()
        local built = config.build(site [[rp.route { "CONNECT *", connect = {
            allow = { "db.internal:5432", "10.0.0.0/8:22" }, deny = { "10.1.0.0/16" } } }]])
        assert.equal(4, built:value("set_route", 0, "action"))
        assert.same({ { 0, false, "db.internal:5432" }, { 0, false, "10.0.0.0/8:22" },
            { 0, true, "10.1.0.0/16" } }, built:calls("connect"))
    end)

    it("hand over limits in the C side's units", function()
        local built = config.build(site [[rp.route { "/*", upstream = "a",
            tunnel = { idle = "10m", time = "8h", bytes_in = "1m", bytes_out = math.huge },
            websocket = { max_frame = "64k", max_message = "1m", ping = "30s", pong = "5s",
                ping_upstream = true, check = true } }]])
        for key, value in pairs { tunnel_idle_ms = 600000, tunnel_time_ms = 28800000,
            tunnel_bytes_in = 2 ^ 20, tunnel_bytes_out = math.huge, ws_frame_max = 65536,
            ws_message_max = 2 ^ 20, ws_ping_ms = 30000, ws_pong_ms = 5000, ws_ping_upstream = 1,
            ws_check = 1 } do
            assert.equal(value, built:value("set_route", 0, key), key)
        end
    end)

    it("have the defaults of the C side", function()
        local built = config.build(site [[rp.route { "/*", upstream = "a" }]])
        for _, key in ipairs { "tunnel_time_ms", "tunnel_bytes_in", "tunnel_bytes_out",
            "ws_frame_max", "ws_message_max", "ws_ping_ms", "ws_ping_upstream", "ws_check" } do
            assert.equal(0, built:value("set_route", 0, key), key)
        end
        assert.equal(10000, built:value("set_route", 0, "ws_pong_ms"))
        assert.is_nil(built:value("set_route", 0, "tunnel_idle_ms"))
    end)

    it("are shown by -T", function()
        local boot = config.build(site [[rp.route { "CONNECT *", tunnel = { time = "1h" },
            connect = { allow = { "a.example:1", "b.example" }, deny = { "10.0.0.0/8" } } },
            rp.route { "/ws", upstream = "a", websocket = { max_frame = "1k", ping = "30s" } }]])
        local text = describe_site.text(boot.model)
        assert.matches("connect to a.example:1, b.example; never to 10.0.0.0/8", text, 1, true)
        assert.matches("tunnel time 1h", text, 1, true)
        assert.matches("websocket max_frame 1k, ping 30s, pong 10s", text, 1, true)
    end)

    it("say what is wrong with connect", function()
        for text, mistake in pairs {
            ['rp.route { "CONNECT *", connect = {} }'] = "connect.allow: empty",
            ['rp.route { "CONNECT *", connect = { allow = {} } }'] = "connect.allow: empty",
            ['rp.route { "CONNECT *", connect = true }'] = "connect: expected",
            ['rp.route { "CONNECT *", connect = { allw = { "a:1" } } }'] = 'did you mean "allow"',
            ['rp.route { "*", connect = { allow = { "a:1" } } }'] = "no other method",
            ['rp.route { "GET,CONNECT *", connect = { allow = { "a:1" } } }'] = "no other method",
            ['rp.route { "CONNECT /x", connect = { allow = { "a:1" } } }'] = "has no path",
            ['rp.route { "CONNECT *", upstream = "a", connect = { allow = { "a:1" } } }'] =
                "two actions, upstream and connect",
            ['rp.route { "/", upstream = "a", websocket = { max_frame = -1 } }'] =
                "websocket.max_frame",
            ['rp.route { "/", upstream = "a", tunnel = { idle = 0 } }'] = "tunnel.idle",
        } do
            assert.matches(mistake, config.errors(site(text)), 1, true)
        end
    end)
end)
