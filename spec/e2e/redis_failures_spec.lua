-- SPDX-License-Identifier: MIT
--
-- rp.redis where things go wrong, or are not plain: passwords, TLS, old servers, servers that hang,
-- die, or speak nonsense.

local e2e = require("spec.support.e2e")
local http = require("spec.support.http")
local posix = require("spec.support.posix")
local proc = require("spec.support.proc")
local process = require("spec.support.process")
local redis = require("spec.support.redis")
local tls = require("spec.support.tls")
local wire = require("spec.support.wire")

local FUNCTIONS = [[
    ["/set"] = function(req) return r:set(req:arg("k"), req:arg("v")) end,
    ["/get"] = function(req) return r:get(req:arg("k")) end,
    ["/ping"] = function() return r:ping() end,
    ["/hgetall"] = function() r:hset("h", "a", 1) return r:hgetall("h") end,
    ["/pair"] = function()
        local one = rp.spawn(function() return r:get("a") end)
        local two = rp.spawn(function() return r:get("b") end)
        local _, a, a_code = one:wait()
        local _, b, b_code = two:wait()
        return a, a_code, b, b_code
    end,
    ["/busy"] = function()
        local tasks, busy = {}, 0
        for i = 1, 50 do tasks[i] = rp.spawn(function() return r:get("a") end) end
        for i = 1, 50 do
            local _, _, code = tasks[i]:wait()
            if code == "busy" then busy = busy + 1 end
        end
        return busy
    end,
    ["/subscribe"] = function() local s, code = r:subscribe("c") return s ~= nil, code end,
    ["/stats"] = function() return r:stats() end,
]]

local describe_with_redis = redis.is_installed() and describe or pending

describe_with_redis("rp.redis, in trouble,", function()
    local rp, server

    after_each(function()
        process.stop(rp)
        if server then redis.stop(server) end
        rp, server = nil, nil
    end)

    local function start(client)
        rp = process.start(redis.site(client, FUNCTIONS))
    end

    local function get(path) return process.body(rp, path) end

    it("logs in with a password, and as a user of the server's list", function()
        server = redis.start { requirepass = "secret", user = "bob on >pw ~a* +get +ping +hello" }
        start(("host = '127.0.0.1', port = %d, password = 'secret', db = 3"):format(server.port))
        assert.equal("OK", get("/set?k=a&v=1"))
        assert.equal("1", redis.cli(server.port, "-a", "secret", "-n", "3", "get", "a"))
        process.change(rp, redis.site(("host = '127.0.0.1', port = %d, username = 'bob', "
            .. "password = 'pw'"):format(server.port), FUNCTIONS))
        process.must(rp, "reload")
        assert.equal("nil", get("/get?k=a"))
        assert.matches("^nil NOPERM ", get("/set?k=a&v=1"))
        process.change(rp, redis.site(("host = '127.0.0.1', port = %d, username = 'bob', "
            .. "password = 'wrong'"):format(server.port), FUNCTIONS))
        process.must(rp, "reload")
        assert.matches("^nil WRONGPASS ", get("/get?k=a"))
        process.change(rp, redis.site(("host = '127.0.0.1', port = %d"):format(server.port),
            FUNCTIONS))
        process.must(rp, "reload")
        assert.matches("^nil NOAUTH ", get("/get?k=a"))
    end)

    it("speaks TLS, and to no one else than it was told", function()
        local dir = tls.dir()
        tls.ca(dir, "ca")
        tls.ca(dir, "other")
        tls.cert(dir, "redis", { ca = "ca", names = { "redis.test", "127.0.0.1" } })
        local port = posix.free_port()
        server = redis.start { port = 0, ["tls-port"] = port, ["tls-cert-file"] = dir .. "/redis.pem",
            ["tls-key-file"] = dir .. "/redis.key", ["tls-ca-cert-file"] = dir .. "/ca.pem",
            ["tls-auth-clients"] = "no" }
        start(("host = '127.0.0.1', port = %d, tls = { ca = '%s/ca.pem', name = 'redis.test' }")
            :format(port, dir))
        assert.equal("OK", get("/set?k=a&v=1"))
        assert.equal("1", get("/get?k=a"))
        assert.equal("true nil", get("/subscribe"))
        process.change(rp, redis.site(("host = '127.0.0.1', port = %d, tls = { ca = '%s/other.pem', "
            .. "name = 'redis.test' }"):format(port, dir), FUNCTIONS))
        process.must(rp, "reload")
        assert.matches("^nil connect ", get("/get?k=a"))
    end)

    it("speaks RESP2 to servers that know no other", function()
        server = redis.start { ["rename-command"] = 'HELLO ""' }
        start(("host = '127.0.0.1', port = %d"):format(server.port))
        assert.equal("OK", get("/set?k=a&v=1"))
        assert.equal('["a","1"]', get("/hgetall"))
        assert.equal("true nil", get("/subscribe"))
    end)

    it("connects over a unix socket", function()
        local dir = proc.temp_dir()
        proc.run { "chmod", "755", dir }
        server = redis.start { unixsocket = dir .. "/redis.sock", unixsocketperm = 777 }
        start(("unix = '%s/redis.sock'"):format(dir))
        assert.equal("OK", get("/set?k=a&v=1"))
    end)

    it("gives up on a server that hangs, and goes on when another answers there", function()
        server = redis.start()
        start(("host = '127.0.0.1', port = %d, timeout = 0.5, pool = 1"):format(server.port))
        assert.equal("OK", get("/set?k=a&v=1"))
        server:signal("STOP")
        assert.equal("nil timeout nil timeout", get("/pair"))
        server:signal("CONT")
        assert.is_truthy(posix.poll(function() return get("/get?k=a") == "1" end))
    end)

    it("says that nothing listens, and finds a server that comes back", function()
        server = redis.start()
        local port = server.port
        start(("host = '127.0.0.1', port = %d, timeout = 5"):format(port))
        assert.equal("OK", get("/set?k=a&v=1"))
        redis.stop(server)
        assert.matches("^nil connect ", get("/get?k=a"))
        server = redis.start { port = port }
        assert.equal("nil", get("/get?k=a"))
        assert.equal("OK", get("/set?k=a&v=2"))
    end)

    it("bounds what waits", function()
        server = redis.start()
        start(("host = '127.0.0.1', port = %d, timeout = 5, pool = 1, waiting = 10"):format(
            server.port))
        assert.equal("40", get("/busy"))
    end)

    -- A server of the spec's own: one connection, whose greeting is answered.
    local function greet(listener)
        local conn = listener:accept()
        conn:recv_until("HELLO\r\n$1\r\n3\r\n")
        conn:send("%1\r\n+proto\r\n:3\r\n")
        return conn
    end

    it("breaks with what does not speak the protocol", function()
        local listener = e2e.listen()
        start(("host = '127.0.0.1', port = %d, timeout = 5, pool = 1"):format(listener.port))
        local client = wire.connect(rp.port)
        client:send(http.format { target = "/get?k=a" })
        local conn = greet(listener)
        conn:recv_until("a\r\n")
        conn:send("HTTP/1.1 400 Bad Request\r\n\r\n")
        assert.equal("nil protocol unknown type", http.read(client).body)
        assert.is_true(conn:is_closed())
        client:send(http.format { target = "/get?k=a" })
        conn = greet(listener)
        conn:recv_until("a\r\n")
        conn:send("$4294967296\r\n")
        assert.equal("nil protocol too big", http.read(client).body)
        assert.is_true(conn:is_closed())
        client:send(http.format { target = "/get?k=a" })
        conn = greet(listener)
        conn:recv_until("a\r\n")
        conn:send("+one\r\n+too many\r\n")
        assert.equal("one", http.read(client).body)
        assert.is_true(conn:is_closed())
        listener:close()
    end)

    it("gives each task its own answer when one of them has gone", function()
        local listener = e2e.listen()
        start(("host = '127.0.0.1', port = %d, timeout = 20, pool = 1"):format(listener.port))
        local gone, stays = wire.connect(rp.port), wire.connect(rp.port)
        gone:send(http.format { target = "/get?k=first" })
        local conn = greet(listener)
        conn:recv_until("first\r\n")
        stays:send(http.format { target = "/get?k=second" })
        conn:recv_until("second\r\n")
        gone:close()
        conn:send("$3\r\none\r\n")
        conn:send_split("$3\r\ntwo\r\n", 1)
        assert.equal("two", http.read(stays).body)
        listener:close()
    end)

    it("fails what was sent when the server goes, and sends what was not", function()
        local listener = e2e.listen()
        start(("host = '127.0.0.1', port = %d, timeout = 20, pool = 1"):format(listener.port))
        local client = wire.connect(rp.port)
        client:send(http.format { target = "/get?k=sent" })
        local conn = greet(listener)
        conn:recv_until("sent\r\n")
        conn:close()
        assert.matches("^nil closed ", http.read(client).body)
        client:send(http.format { target = "/get?k=again" })
        conn = greet(listener)
        conn:recv_until("again\r\n")
        conn:send("_\r\n")
        assert.equal("nil", http.read(client).body)
        listener:close()
    end)
end)
