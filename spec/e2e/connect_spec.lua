-- SPDX-License-Identifier: MIT
--
-- CONNECT: tunnels to where the client says, when a route's list allows it, and to fixed peers.

local e2e = require("spec.support.e2e")
local http = require("spec.support.http")
local origin = require("spec.support.origin")
local posix = require("spec.support.posix")
local proc = require("spec.support.proc")
local wire = require("spec.support.wire")

describe("CONNECT", function()
    local rp, target, up, dead_port, full_port, close_full

    setup(function()
        target = e2e.listen()
        up = origin.start { ["*"] = { status = 200, body = "plain" } }
        dead_port = posix.free_port()
        full_port, close_full = e2e.full_port()
        rp = e2e.proxy { vars = { port_of = target.port, dead = dead_port, full = full_port,
            origin = up.port }, site = [[
            log = { access = { to = "${dir}/access.log", format = "json", buffer = 0, fields = {
                "uri", "method", "status", "reason", "bytes", "bytes_in", "route", "upstream",
                "tries" } } },
            upstreams = {
                o = rp.upstream { peers = { "127.0.0.1:${origin}" } },
                fixed = rp.upstream { peers = { "127.0.0.1:${port_of}" } },
                second = rp.upstream { tries = 2,
                    peers = { "127.0.0.1:${dead}", "127.0.0.1:${port_of} backup" } },
                greeted = rp.upstream { peers = { "127.0.0.1:${port_of}" }, proxy_protocol = "v1" },
            },
            hosts = { rp.host { default = true, use = { {
                access = function(req)
                    if req:get("x-pass") == "none" then
                        return req:exit(407, "who?\n", { ["proxy-authenticate"] = "Basic" })
                    elseif req:get("x-pass") == "lie" then
                        return req:exit(200, "yes\n")
                    end
                end,
                header_filter = function(req, res)
                    res:set("x-seen", "filter")
                    if req:get("x-filter") == "stop" then
                        return res:replace(403, "stopped\n")
                    elseif req:get("x-filter") == "status" then
                        res.status = 418
                    end
                end,
                log = function(req)
                    rp.log.notice("logged", { target = req:get("host") or "-" })
                end,
            } }, routes = {
                rp.route { "CONNECT *", upstream = "fixed", id = "fixed",
                    when = { header = { ["x-route"] = "fixed" } } },
                rp.route { "CONNECT *", upstream = "second", id = "second",
                    when = { header = { ["x-route"] = "second" } } },
                rp.route { "CONNECT *", upstream = "greeted", id = "greeted",
                    when = { header = { ["x-route"] = "greeted" } } },
                rp.route { "CONNECT *", connect = { allow = { "localhost" } }, id = "named",
                    when = { header = { ["x-route"] = "named" } } },
                rp.route { "CONNECT *", connect = { allow = { "localhost", "127.0.0.1", "::1" } },
                    id = "local", when = { header = { ["x-route"] = "local" } } },
                rp.route { "CONNECT *", id = "counted", tunnel = { bytes_in = 10, bytes_out = 20 },
                    connect = { allow = { "127.0.0.0/8" } },
                    when = { header = { ["x-route"] = "counted" } } },
                rp.route { "CONNECT *", id = "timed", tunnel = { time = "300ms" },
                    connect = { allow = { "127.0.0.0/8" } },
                    when = { header = { ["x-route"] = "timed" } } },
                rp.route { "CONNECT *", id = "idle", tunnel = { idle = "1s" },
                    connect = { allow = { "127.0.0.0/8" } },
                    when = { header = { ["x-route"] = "idle" } } },
                rp.route { "CONNECT *", id = "hasty", timeouts = { connect = "300ms" },
                    connect = { allow = { "127.0.0.1" } },
                    when = { header = { ["x-route"] = "hasty" } } },
                rp.route { "CONNECT *", id = "open",
                    connect = { deny = { "127.0.0.9" },
                        allow = { "127.0.0.0/8", "no-such-name.invalid:1", "*.suffix.example:1" } } },
                rp.route { "/*", upstream = "o" } } } },
        ]] }
    end)

    teardown(function()
        target:close()
        close_full()
        e2e.stop(rp)
    end)
    after_each(wire.close_all)

    local function ask(where, fields, version)
        local lines = { ("CONNECT %s HTTP/%s"):format(where, version or "1.1"), "Host: " .. where }
        for name, value in pairs(fields or {}) do lines[#lines + 1] = name .. ": " .. value end
        return table.concat(lines, "\r\n") .. "\r\n\r\n"
    end

    -- Send a CONNECT; its head, and the wire.
    local function connect(where, fields, version)
        local w = wire.connect(rp.port)
        w:send(ask(where, fields, version))
        return http.parse_head(e2e.head(w)), w
    end

    local function here() return "127.0.0.1:" .. target.port end

    -- A tunnel: client's end, target's end, response head.
    local function open(fields, where)
        local w = wire.connect(rp.port)
        w:send(ask(where or here(), fields))
        local server = target:accept()
        local res = http.parse_head(e2e.head(w))
        assert.equal(200, res.status)
        return w, server, res
    end

    -- A refusal: status, reason of its JSON body; the connection ends.
    local function refused(status, reason, where, fields)
        local w = wire.connect(rp.port)
        local all = { accept = "application/json" }
        for name, value in pairs(fields or {}) do all[name] = value end
        w:send(ask(where, all))
        local res = http.read(w)
        assert.equal(status, res.status)
        assert.equal("close", res:header("connection"))
        assert.equal(reason, res.body:match('"reason":"([^"]*)"'))
        assert.is_true(w:is_closed())
    end

    local function logged(text)
        assert.is_truthy(posix.poll(function()
            return (posix.read_file(rp.dir .. "/access.log") or ""):find(text, 1, true)
        end), text .. "\n" .. (posix.read_file(rp.dir .. "/access.log") or ""))
    end

    it("makes a tunnel to an allowed target, without framing", function()
        local w, server, res = open()
        assert.is_nil(res:header("content-length"))
        assert.is_nil(res:header("transfer-encoding"))
        assert.is_nil(res:header("connection"))
        assert.equal("filter", res:header("x-seen"))
        local all = {}
        for i = 0, 255 do all[#all + 1] = string.char(i) end
        local bytes = table.concat(all):rep(400)
        w:send(bytes)
        assert.is_true(server:recv(#bytes) == bytes)
        server:send(bytes)
        assert.is_true(w:recv(#bytes) == bytes)
    end)

    it("sends nothing but the client's bytes, those behind its head first", function()
        local w = wire.connect(rp.port)
        w:send(ask(here()) .. "GET /eager HTTP/1.1\r\n\r\n")
        local server = target:accept()
        assert.equal("GET /eager HTTP/1.1\r\n\r\n", server:recv(23))
        assert.equal(200, http.parse_head(e2e.head(w)).status)
        w:send("more")
        assert.equal("more", server:recv(4))
    end)

    it("takes bytes that a client sends byte by byte, head and tunnel", function()
        local w = wire.connect(rp.port)
        w:send_split(ask(here()) .. "abc", 1)
        local server = target:accept()
        assert.equal("abc", server:recv(3))
    end)

    it("is answered to clients of HTTP/1.0, also without Host", function()
        local w = wire.connect(rp.port)
        w:send(("CONNECT %s HTTP/1.0\r\n\r\n"):format(here()))
        local server = target:accept()
        local head = e2e.head(w)
        assert.is_truthy(head:find("^HTTP/1%.1 200 "))
        assert.is_nil(head:lower():find("connection:", 1, true))
        server:send("hi")
        assert.equal("hi", w:recv(2))
    end)

    it("passes half closes on and logs what went through", function()
        local w, server = open({ ["x-route"] = "local" })
        w:send("12345")
        w:finish()
        assert.equal("12345", (server:recv_all()))
        server:send("1234567")
        server:close()
        assert.equal("1234567", (w:recv_all()))
        logged(('{"uri":"%s","method":"CONNECT","status":200,"reason":"","bytes":7,"bytes_in":5,'
            .. '"route":"local","upstream":"%s","tries":1}'):format(here(), here()))
        rp:wait_stderr("logged target=" .. here():gsub("%.", "%%."))
    end)

    it("passes a reset on", function()
        local w, server = open()
        w:reset()
        assert.is_true(server:is_closed())
    end)

    it("refuses what the list does not have, with a reason", function()
        for _, where in ipairs { "example.com:443", "10.0.0.1:22", "[::1]:22", "127.0.0.9:80",
            "suffix.example:1", "a.suffix.example:2" } do
            refused(403, "connect_denied", where)
        end
        logged('"uri":"10.0.0.1:22","method":"CONNECT","status":403,"reason":"connect_denied"')
    end)

    it("refuses a name that leads to this machine unless a network opens that", function()
        refused(403, "connect_address", "localhost:" .. target.port, { ["x-route"] = "named" })
        local w, server = open({ ["x-route"] = "local" }, "localhost:" .. target.port)
        server:send("hi")
        assert.equal("hi", w:recv(2))
    end)

    it("tells of targets that cannot be reached", function()
        refused(502, "upstream_connect", "127.0.0.1:" .. dead_port)
        refused(504, "upstream_connect_timeout", "127.0.0.1:" .. full_port,
            { ["x-route"] = "hasty" })
        logged(('"uri":"127.0.0.1:%d","method":"CONNECT","status":504'):format(full_port))
    end)

    it("tells of names that do not resolve", function()
        local w = wire.connect(rp.port, nil, { timeout = 10 })
        w:send(ask("no-such-name.invalid:1", { accept = "application/json" }))
        local res = http.read(w) -- by a name server, or none that answers
        assert.is_truthy(res.status == 502 or res.status == 504, res.status)
        assert.is_truthy(res.body:find('"reason":"upstream_resolve', 1, true), res.body)
    end)

    it("ends when the client goes while the target is sought", function()
        local w = wire.connect(rp.port)
        w:send(ask("no-such-name.invalid:1"))
        w:reset()
        assert.equal(200, http.get(rp.port, "/").status)
    end)

    it("has a target in authority-form, with a port", function()
        for _, where in ipairs { "a", "a:", "a:0", "a:65536", ":443", "http://a:443/", "/", "*",
            "u@a:443", "a:443/x", "a:443?x", "[::1:443", "a:44x", "a,b:443" } do
            local w = wire.connect(rp.port)
            w:send(("CONNECT %s HTTP/1.1\r\nHost: a\r\n\r\n"):format(where))
            assert.equal(400, http.read(w).status, where)
            assert.is_true(w:is_closed())
        end
    end)

    it("goes by its target, whatever Host says", function()
        local w = wire.connect(rp.port)
        w:send(("CONNECT %s HTTP/1.1\r\nHost: other.example\r\n\r\n"):format(here()))
        target:accept()
        assert.equal(200, http.parse_head(e2e.head(w)).status)
        w = wire.connect(rp.port)
        w:send(("CONNECT 10.0.0.1:80 HTTP/1.1\r\nHost: %s\r\n\r\n"):format(here()))
        assert.equal(403, http.read(w).status)
        for _, host in ipairs { "", "Host: a b\r\n", "Host: a\r\nHost: a\r\n" } do
            w = wire.connect(rp.port)
            w:send(("CONNECT %s HTTP/1.1\r\n%s\r\n"):format(here(), host))
            assert.equal(400, http.read(w).status, host)
        end
    end)

    it("that is refused ends the connection: what is behind it is no request", function()
        local before = #up:requests()
        for _, fields in ipairs { "", "x-pass: none\r\n", "x-filter: stop\r\n" } do
            local where = fields == "" and "10.0.0.1:80" or here()
            local w = wire.connect(rp.port)
            w:send(("CONNECT %s HTTP/1.1\r\nHost: a\r\n%s\r\n"):format(where, fields)
                .. "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
            if fields:find("filter") then target:accept() end
            local all = w:recv_all()
            assert.equal(1, select(2, all:gsub("HTTP/1%.1 %d", "")), all)
        end
        assert.equal(before, #up:requests())
    end)

    it("passes access hooks first", function()
        local res = connect(here(), { ["x-pass"] = "none" })
        assert.equal(407, res.status)
        assert.equal("Basic", res:header("proxy-authenticate"))
        assert.equal("close", res:header("connection"))
    end)

    it("is never told 2xx without a tunnel", function()
        refused(500, "connect_answer", here(), { ["x-pass"] = "lie" })
        local res, w = connect(here(), { ["x-filter"] = "status" })
        assert.equal(418, res.status)
        assert.is_true(target:accept():is_closed())
        assert.is_true(w:is_closed())
        res = connect(here(), { ["x-filter"] = "stop" })
        assert.equal(403, res.status)
        assert.is_true(target:accept():is_closed())
    end)

    -- ------------------------------------------------------------ to an upstream

    it("goes to the peers of an upstream, whatever the target", function()
        local w, server = open({ ["x-route"] = "fixed" }, "nowhere.example:5432")
        w:send("hello")
        assert.equal("hello", server:recv(5))
        server:send("there")
        assert.equal("there", w:recv(5))
        w:close()
        server:close()
        logged('"status":200,"reason":"","bytes":5,"bytes_in":5,"route":"fixed"')
    end)

    it("goes to the next peer when one cannot be connected to", function()
        local w, server = open({ ["x-route"] = "second" }, "nowhere.example:5432")
        w:send("hello")
        assert.equal("hello", server:recv(5))
    end)

    it("begins with a PROXY header where the upstream wants one", function()
        local w, server = open({ ["x-route"] = "greeted" }, "nowhere.example:5432")
        w:send("hello")
        assert.is_truthy(server:recv_until("\r\n"):find("^PROXY TCP4 127%.0%.0%.1 127%.0%.0%.1 "))
        assert.equal("hello", server:recv(5))
    end)

    -- ------------------------------------------------------------ limits

    it("ends at its limits of bytes, which none passes", function()
        local w, server = open({ ["x-route"] = "counted" })
        w:send("1234567890")
        assert.equal("1234567890", server:recv(10))
        w:send("x")
        assert.is_true(server:is_closed())
        assert.is_true(w:is_closed())
        w, server = open({ ["x-route"] = "counted" })
        server:send(("x"):rep(20))
        assert.equal(20, #w:recv(20))
        server:send("x")
        assert.is_true(w:is_closed())
        logged('"reason":"tunnel_byte_limit","bytes":20,"bytes_in":0,"route":"counted"')
    end)

    it("ends at its limit of time, although bytes pass", function()
        local w, server = open({ ["x-route"] = "timed" })
        assert.is_truthy(posix.poll(function()
            w:send("x")
            return select(2, server:recv_some(0.02)) == "closed"
        end))
        logged('"reason":"tunnel_time_limit"')
    end)

    it("ends when it is silent", function()
        local w, server = open({ ["x-route"] = "idle" })
        w:send("x")
        assert.equal("x", server:recv(1))
        assert.is_true(w:is_closed())
        logged('"reason":"tunnel_idle","bytes":0,"bytes_in":1,"route":"idle"')
    end)

    it("is counted", function()
        local w, server = open()
        local function status()
            local _, out = proc.run { os.getenv("RP_BIN") or "build/rproxy", "status", "-p",
                rp.site_path }
            return out
        end
        local function is(name, least)
            local n = tonumber(status():match("%f[%w_]" .. name .. ": (%d+)"))
            return n and n >= least
        end
        for name, least in pairs { tunnels = 10, tunnels_active = 1, connect_denied = 6,
            tunnels_idle = 1, tunnels_over_limit = 3, tunnel_bytes_in = 100000,
            tunnel_bytes_out = 100000, tunnels_broken = 1, tunnels_closed = 1 } do
            assert.is_truthy(posix.poll(function() return is(name, least) end), name .. status())
        end
        w:close()
        server:close()
        assert.is_truthy(posix.poll(function() return not is("tunnels_active", 1) end), status())
    end)
end)
