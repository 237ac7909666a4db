-- SPDX-License-Identifier: MIT
--
-- Peers that come and go while an instance serves: nothing of what stays is touched.

local e2e = require("spec.support.e2e")
local http = require("spec.support.http")
local origin = require("spec.support.origin")
local posix = require("spec.support.posix")
local proc = require("spec.support.proc")
local process = require("spec.support.process")
local protocol = require("spec.support.protocol")
local wire = require("spec.support.wire")

if protocol.name ~= "h1" then return end -- not about requests

describe("live members", function()
    local rp, a, b

    before_each(function()
        a = origin.start { ["/slow"] = { { send = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n1" },
            { gate = "go" }, { send = "23" } }, ["*"] = { status = 200, body = "a" } }
        b = origin.start { ["/slow"] = { { send = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n1" },
            { gate = "go" }, { send = "23" } }, ["*"] = { status = 200, body = "b" } }
    end)

    after_each(function() e2e.stop(rp) end)

    local function start(upstream, more)
        rp = proc.rproxy { vars = { a = a.port, b = b.port }, site = ([[
            return rp.site { workers = %d, listeners = { rp.listen { "127.0.0.1:${port}" } },
                upstreams = { api = rp.upstream { %s } }, %s
                hosts = { rp.host { default = true, routes = {
                    rp.route { "/*", upstream = "api" } } } } } ]]):format(more and more.workers or 2,
                    upstream, more and more.site or "") }
        rp:wait_stderr("serving site")
    end

    local function run(...)
        local how, out, err = proc.run { process.BIN, ... }
        return how.exit, out, err
    end

    local function peer(port, ...)
        local code, _, err = run("peer", "-p", rp.site_path, "api",
            type(port) == "number" and "127.0.0.1:" .. port or port, ...)
        assert.equal(0, code, err)
    end

    -- Who answers n requests, each over a connection of its own: both workers are asked.
    local function names(n, target)
        local taken = {}
        for _ = 1, n do
            local body = http.get(rp.port, target or "/").body
            taken[body] = (taken[body] or 0) + 1
        end
        return taken
    end

    local function wait_names(wanted)
        assert(posix.poll(function() return pcall(assert.same, wanted, names(8)) end),
            "they are not " .. table.concat(wanted, " "))
    end

    local function from(port)
        local _, out = run("upstreams", "-p", rp.site_path, "--json", "api")
        for line in out:gmatch("[^\n]+") do
            if line:find(":" .. port .. '"', 1, true) then return line:match('"from":"(%a+)"') end
        end
    end

    it("are added and taken out at once, by all workers", function()
        start [[peers = { "127.0.0.1:${a}" }]]
        assert.same({ a = 8 }, names(8))
        peer(b.port, "add", "weight=3")
        local taken = names(80)
        assert.is_true(taken.b >= 50 and taken.b <= 70, taken.b)
        assert.same({ "site", "operator" }, { from(a.port), from(b.port) })
        peer(a.port, "remove")
        assert.same({ b = 8 }, names(8))
        assert.equal(0, (run("reload", "-p", rp.site_path)))
        assert.same({ b = 8 }, names(8))
        peer(a.port, "add")
        taken = names(80)
        assert.is_true(taken.a >= 10 and taken.a <= 30, taken.a)
        peer(b.port, "remove")
        assert.same({ a = 8 }, names(8))
        peer(a.port, "remove")
        assert.equal(503, http.get(rp.port, "/").status)
        assert(posix.poll(function() return not from(a.port) end), "a is still told of")
    end)

    it("keep the connections of peers that stay, and the requests of those that go", function()
        start([[peers = { "127.0.0.1:${a}", "127.0.0.1:${b}" }]], { workers = 1 })
        assert.same({ a = 4, b = 4 }, names(8))
        assert.equal(1, #a:connections())
        local w = wire.connect(rp.port)
        local got
        repeat -- until b has it
            w:send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
            w:recv_until("\r\n\r\n1")
            got = b:requests()[#b:requests()].target == "/slow"
            if not got then
                a:open_gate("go")
                w:recv_until("23")
            end
        until got
        peer(b.port, "remove")
        for i = 1, 20 do
            peer("127.0.0.1:" .. 20000 + i, "add", "backup")
            assert.same({ a = 2 }, names(2))
            peer("127.0.0.1:" .. 20000 + i, "remove")
        end
        assert.equal(1, #a:connections())
        b:open_gate("go")
        w:recv_until("23") -- it ended as if nothing had been
        assert.equal(1, #b:connections())
        peer(b.port, "add")
        assert.same({ a = 4, b = 4 }, names(8))
        assert.equal(1, #a:connections())
    end)

    it("that come have seats for those who wait", function()
        start([[peers = { { "127.0.0.1:${a}", max_conns = 1 } },
            queue = { max = 9, timeout = "30s" }]], { workers = 1 })
        local first, second = wire.connect(rp.port), wire.connect(rp.port)
        first:send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
        first:recv_until("\r\n\r\n1")
        second:send("GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
        peer(b.port, "add")
        assert.equal("b", http.read(second).body)
        a:open_gate("go")
        first:recv_until("23")
    end)

    it("are known to sticky cookies", function()
        start [[peers = { "127.0.0.1:${a}" }, sticky = { cookie = "side" }]]
        peer(b.port, "add")
        local cookie
        repeat
            local res = http.get(rp.port, "/")
            cookie = res.body == "b" and res:header("set-cookie"):match("^[^;]+")
        until cookie
        for i = 1, 3 do peer("127.0.0.1:" .. 20000 + i, "add", "backup") end
        for _ = 1, 10 do assert.equal("b", http.get(rp.port, "/", { Cookie = cookie }).body) end
        peer(b.port, "remove")
        assert.equal("a", http.get(rp.port, "/", { Cookie = cookie }).body)
    end)

    it("are known to balance hooks", function()
        start([[peers = { "127.0.0.1:${a}" }, balance = function(req, up)
            up:peer(req.query:match("^to=(.*)"))
        end]])
        peer(b.port, "add")
        assert.equal("b", http.get(rp.port, "/?to=127.0.0.1:" .. b.port).body)
        peer(b.port, "remove")
        assert.equal(500, http.get(rp.port, "/?to=127.0.0.1:" .. b.port).status)
        assert.equal("a", http.get(rp.port, "/?to=127.0.0.1:" .. a.port).body)
    end)

    it("are checked while they are there", function()
        start [[peers = { "127.0.0.1:${a}" }, health = { path = "/up", every = "100ms",
            fast = "50ms", timeout = "1s" }]]
        a:wait_requests(2)
        peer(b.port, "add")
        assert(posix.poll(function()
            for _, r in ipairs(b:requests()) do if r.target == "/up" then return true end end
        end), "nobody checks b")
        peer(b.port, "remove")
        local n
        assert(posix.poll(function()
            local before = n
            n = #b:requests()
            posix.sleep(0.3)
            return before == n
        end), "b is still checked")
    end)

    it("take names with blanks, and are refused in words", function()
        local dir = proc.temp_dir() .. "/a dir"
        os.execute(("mkdir '%s'"):format(dir))
        start [[peers = { "127.0.0.1:${a}" }]]
        peer("unix:" .. dir .. "/s", "add", "backup")
        peer("unix:" .. dir .. "/s", "drain")
        peer("unix:" .. dir .. "/s", "remove")
        local code, _, err = run("peer", "-p", rp.site_path, "none", "127.0.0.1:1", "add")
        assert.equal(1, code)
        assert.matches('no upstream "none"', err)
        code, _, err = run("peer", "-p", rp.site_path, "api", "127.0.0.1:" .. a.port, "add")
        assert.equal(1, code)
        assert.matches("already", err)
    end)

    it("of a provider are put by Lua, with everything that is said of them", function()
        start([[discover = function(publish)
            while true do
                publish { { address = "127.0.0.1:${a}", weight = 1 },
                    { address = "127.0.0.1:${b}", weight = 1, zone = "z", meta = { v = "2" } } }
                rp.sleep(0.1)
                publish { { address = "127.0.0.1:${b}" } }
                rp.sleep(3600)
            end
        end]])
        wait_names { b = 8 }
        assert.equal("provider", from(b.port))
        peer(a.port, "add")
        wait_names { a = 4, b = 4 }
        peer(b.port, "remove")
        assert.same({ a = 8 }, names(8))
    end)

    it("of a provider stay while its agent is killed", function()
        start([[discover = function(publish)
            publish { "127.0.0.1:${a}" }
            rp.sleep(3600)
        end]])
        wait_names { a = 8 }
        local agent = tonumber(process.must(rp, "status"):match("agent: serving, pid (%d+)"))
        posix.kill(agent, 9)
        for _ = 1, 20 do assert.same({ a = 2 }, names(2)) end
        rp:wait_stderr("worker died agent")
        assert.same({ a = 8 }, names(8))
    end)
end)
