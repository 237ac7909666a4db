-- SPDX-License-Identifier: MIT
--
-- A request's deadline, its client's (grpc-timeout) or a hook's (req.deadline): how long an upstream
-- is waited for, and what the upstream hears of it.

local e2e = require("spec.support.e2e")
local http = require("spec.support.http")
local origin = require("spec.support.origin")
local posix = require("spec.support.posix")

describe("deadlines", function()
    local rp, up, hang, close_hang

    setup(function()
        up = origin.start { ["/hang"] = { { hang = true } }, ["/busy"] = { status = 503 },
            ["*"] = { status = 200, body = "ok" } }
        hang, close_hang = e2e.full_port()
        rp = e2e.proxy { vars = { up = up.port, hang = hang }, site = [[
            log = { access = { to = "${dir}/access.log", format = "json", buffer = 0,
                fields = { "uri", "status", "reason", "tries" } } },
            upstreams = {
                plain = rp.upstream { peers = { "127.0.0.1:${up}" } },
                told = rp.upstream { peers = { "127.0.0.1:${up}" },
                    deadline_header = "X-Request-Timeout-Ms", timeouts = { first_byte = "30s" },
                    retry = { per_try = "20s", on = { "timeout", 503 } } },
                far = rp.upstream { peers = { "127.0.0.1:${hang}" },
                    timeouts = { connect = "1h" } },
                seats = rp.upstream { peers = { { "127.0.0.1:${up}", max_conns = 1 } },
                    queue = { max = 5, timeout = "1h" } },
                slow = rp.upstream { peers = { "127.0.0.1:${up}" },
                    max_fails = 1, fail_on = { "timeout" }, timeouts = { first_byte = "1h" } },
            },
            hosts = { rp.host { default = true, routes = {
                rp.route { "/grpc/*", upstream = "told", strip_prefix = "/grpc",
                    grpc_timeout = true },
                rp.route { "/blind/*", upstream = "told", strip_prefix = "/blind" },
                rp.route { "/plain/*", upstream = "plain", strip_prefix = "/plain",
                    grpc_timeout = true },
                rp.route { "/far/*", upstream = "far", grpc_timeout = true },
                rp.route { "/seats/*", upstream = "seats", strip_prefix = "/seats",
                    grpc_timeout = true },
                rp.route { "/slow/*", upstream = "slow", strip_prefix = "/slow",
                    grpc_timeout = true },
                rp.route { "/hook/*", upstream = "told", strip_prefix = "/hook",
                    use = { { access = function(req)
                        req.deadline = rp.now() + tonumber(req:get("x-seconds"))
                        if req:get("x-never-mind") then req.deadline = nil end
                    end } } },
                rp.route { "/left", content = function(req)
                    return req:exit(200, tostring(req.deadline - rp.now()))
                end, grpc_timeout = true },
            } } } ]] }
    end)

    teardown(function()
        close_hang()
        e2e.stop(rp)
    end)

    local function get(target, fields) return http.get(rp.port, target, fields) end
    local function grpc(timeout, more)
        local fields = { ["Content-Type"] = "application/grpc+proto", ["Grpc-Timeout"] = timeout }
        for name, value in pairs(more or {}) do fields[name] = value end
        return fields
    end
    local function heard(name) return e2e.field(e2e.last(up), name) end
    local function reason_of(target)
        return posix.poll(function()
            local text = posix.read_file(rp.dir .. "/access.log") or ""
            return text:match('{"uri":"' .. target:gsub("%p", "%%%0") .. '".-"reason":"([^"]*)"')
        end)
    end

    it("of the client is told on, less what is spent", function()
        assert.equal(200, get("/plain/a", grpc("10S")).status)
        local ms = tonumber(heard("grpc-timeout"):match("^(%d+)m$"))
        assert.is_true(ms > 0 and ms <= 10000, heard("grpc-timeout"))
    end)

    it("is told in the configured header, to anybody", function()
        assert.equal(200, get("/grpc/a", grpc("10S")).status)
        local ms = tonumber(heard("x-request-timeout-ms"))
        assert.is_true(ms > 0 and ms <= 10000)
    end)

    it("or else how long a try may take, whatever the client says", function()
        assert.equal(200, get("/blind/a", { ["X-Request-Timeout-Ms"] = "7" }).status)
        local said = e2e.values(e2e.last(up).fields, "x-request-timeout-ms")
        assert.equal(1, #said)
        local ms = tonumber(said[1])
        assert.is_true(ms > 10000 and ms <= 20000)
    end)

    it("of a client is left alone where the route does not take it", function()
        assert.equal(200, get("/blind/a", grpc("3u")).status)
        assert.equal("3u", heard("grpc-timeout"))
    end)

    it("ends the wait for a response head, for a connection and for a seat", function()
        assert.equal(504, get("/plain/hang", grpc("100m")).status)
        assert.equal("deadline", reason_of("/plain/hang"))
        assert.equal(504, get("/far/x", grpc("100m")).status)
        assert.equal("deadline", reason_of("/far/x"))
        local wire = require("spec.support.wire")
        local w = wire.connect(rp.port)
        w:send(http.format { target = "/seats/hang" })
        posix.poll(function() return e2e.last(up) and e2e.last(up).target == "/hang" end)
        assert.equal(504, get("/seats/x", grpc("100m")).status)
        assert.equal("deadline", reason_of("/seats/x"))
        w:close()
    end)

    it("that is over already asks nobody", function()
        local before = #up:requests()
        assert.equal(504, get("/plain/over", grpc("0m")).status)
        assert.equal(before, #up:requests())
    end)

    it("counts against no peer", function()
        for _ = 1, 3 do assert.equal(504, get("/slow/hang", grpc("50m")).status) end
        assert.is_nil(rp:stderr():find("upstream=slow", 1, true))
    end)

    it("of a client that nobody understands is passed on", function()
        for _, bad in ipairs { "10", "S", "123456789S", "1.5S", "10s" } do
            assert.equal(200, get("/plain/b", grpc(bad)).status)
            assert.equal(bad, heard("grpc-timeout"))
        end
    end)

    it("of a hook holds for the upstream as well, unless it is taken back", function()
        assert.equal(200, get("/hook/a", { ["X-Seconds"] = "5" }).status)
        assert.is_true(tonumber(heard("x-request-timeout-ms")) <= 5000)
        assert.equal(504, get("/hook/hang", { ["X-Seconds"] = "0.1" }).status)
        assert.equal(200, get("/hook/b", { ["X-Seconds"] = "5", ["X-Never-Mind"] = "1" }).status)
        assert.is_true(tonumber(heard("x-request-timeout-ms")) > 5000)
    end)

    it("of the client is what hooks read", function()
        local left = tonumber(get("/left", grpc("2S")).body)
        assert.is_true(left > 0 and left <= 2)
    end)
end)
