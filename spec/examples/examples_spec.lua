-- SPDX-License-Identifier: MIT
--
-- Each example is served as it is, but for its ports, and asked what its "-- try:" lines ask.

local http = require("spec.support.http")
local posix = require("spec.support.posix")
local proc = require("spec.support.proc")
local wire = require("spec.support.wire")

local HERE = os.getenv("PWD")

-- 8080 .. 8083 become free ports; the first is the proxy's.
local function start(name)
    local text, vars = posix.read_file("examples/" .. name .. "/site.lua"), {}
    for port = 8080, 8083 do
        if text:find(port, 1, true) then
            vars[port == 8080 and "port" or "p" .. port] = posix.free_port()
            text = text:gsub(tostring(port), port == 8080 and "${port}" or "${p" .. port .. "}")
        end
    end
    return proc.rproxy { site = text, vars = vars, port = vars.port,
        args = { "-g", ("lua.path=%s/examples/%s/?.lua"):format(HERE, name) } }
end

describe("examples", function()
    after_each(function()
        wire.close_all()
        proc.cleanup()
    end)

    it("hello: answers through the proxy, with an id", function()
        local rp = start("hello")
        local res = http.get(rp.port, "/")
        assert.equal(200, res.status)
        assert.equal("hello from the origin\n", res.body)
        assert.matches("^%x+$", res:header("x-request-id"))
        res = http.get(rp.port, "/hello/world")
        assert.equal("hello world\n", res.body)
        assert.equal("rproxy", res:header("x-served-by"))
        res = http.get(rp.port, "/old/page")
        assert.equal(301, res.status)
        assert.equal("/", (res:header("location"):gsub("^http://[^/]+", "")))
        assert.equal(404, http.get(rp.port, "/nothing").status)
        res = http.request(wire.connect(rp.port), { method = "DELETE", target = "/hello/world" })
        assert.equal(405, res.status)
        rp:stop()
    end)

    it("events: tells everybody what was said, also those who come late or come back", function()
        local rp = start("events")
        assert.truthy(http.get(rp.port, "/").body:find("EventSource", 1, true))
        local function listen(last)
            local w = wire.connect(rp.port)
            w:send(("GET /events HTTP/1.1\r\nHost: a\r\nLast-Event-ID: %s\r\n\r\n"):format(last))
            w:recv_until("retry: 2000\n\n")
            return w
        end
        local function say(text)
            local res = http.request(wire.connect(rp.port), { method = "POST", target = "/say",
                body = text })
            return res.body
        end
        local first = listen("")
        assert.equal('{"id":1}', say("hello"))
        first:recv_until("event: said\nid: 1\ndata: hello\n\n")
        assert.equal('{"id":2}', say("two\nlines"))
        first:recv_until("event: said\nid: 2\ndata: two\ndata: lines\n\n")
        local back = listen("1")
        assert.truthy(back:recv_until("lines\n\n"):find("id: 2", 1, true))
        rp:stop()
    end)

    it("gateway: lets known keys in and says who they are", function()
        local rp = start("gateway")
        local alice = { ["x-api-key"] = "key-of-alice" }
        local res = http.get(rp.port, "/status")
        assert.equal(200, res.status)
        assert.equal("nosniff", res:header("x-content-type-options"))
        assert.equal(401, http.get(rp.port, "/users/7").status)
        assert.equal(401, http.get(rp.port, "/users/7", { ["x-api-key"] = "guess" }).status)
        assert.equal("users: GET /users/7 for alice\n", http.get(rp.port, "/users/7", alice).body)
        res = http.get(rp.port, "/users/7",
            { ["x-api-key"] = "key-of-bob", ["x-consumer"] = "alice" })
        assert.equal("users: GET /users/7 for bob\n", res.body)
        res = http.request(wire.connect(rp.port), { method = "POST", target = "/orders",
            fields = alice, body = '{"item":3}' })
        assert.equal("orders: POST / for alice\n", res.body)
        assert.equal(401, http.get(rp.port, "/nothing").status) -- strangers learn no routes
        rp:stop()
        assert.matches('"consumer":"alice"', rp:stdout())
    end)

    it("balancer: keeps a user on one backend", function()
        local rp = start("balancer")
        local seen, n = {}, 0
        for i = 1, 20 do
            local user = { ["x-user"] = "user" .. i }
            local body = http.get(rp.port, "/", user).body
            assert.matches("^backend [123]\n$", body)
            assert.equal(body, http.get(rp.port, "/", user).body)
            if not seen[body] then seen[body], n = true, n + 1 end
        end
        assert.is_true(n > 1)
        for i = 1, 3 do
            local res = http.get(rp.port, "/", { cookie = "backend=" .. i })
            assert.equal("backend " .. i .. "\n", res.body)
        end
        rp:stop()
    end)

    it("websocket: relays messages both ways", function()
        local rp = start("websocket")
        local echo = proc.spawn { "luajit", HERE .. "/examples/websocket/echo.lua",
            tostring(rp.vars.p8081) }
        assert.is_true(posix.poll(function() return posix.is_listening(rp.vars.p8081) end))
        assert.matches("<!doctype html>", http.get(rp.port, "/").body)

        local shake = "GET %s HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
            .. "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        local w = wire.connect(rp.port)
        w:send(shake:format("/echo"))
        local head = http.parse_head(w:recv_until("\r\n\r\n"))
        assert.equal(101, head.status)
        assert.equal("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", head:header("sec-websocket-accept"))
        w:send("\129\133\1\2\3\4igohn") -- "hello", masked
        assert.equal("\129\5hello", w:recv(7))
        w:send("\136\130\0\0\0\0\3\232") -- close 1000
        assert.equal("\136\2\3\232", w:recv(4))
        w:close()

        w = wire.connect(rp.port)
        w:send(shake:format("/plain"))
        assert.not_equal(101, http.read(w).status)
        rp:stop()
        echo:signal("TERM")
        echo:wait(20)
    end)

    it("conf/site.lua: the default site answers", function()
        local port = posix.free_port()
        local rp = proc.rproxy { port = port, args = { "-g", "workers=1" },
            site = posix.read_file("conf/site.lua"):gsub("8080", "${port}") }
        assert.equal(200, http.get(rp.port, "/").status)
        rp:stop()
    end)
end)
