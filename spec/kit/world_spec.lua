-- SPDX-License-Identifier: MIT
--
-- The test kit by itself: servers, names and time. Run by `rproxy test`.

local rp = require("rproxy")
local t = require("rproxy.test")

local function answering(fn)
    return t.site { use = { { access = function(req)
        return req:exit(200, tostring(fn(req)))
    end } } }
end

describe("an upstream of a test", function()
    local how
    local function site_of()
        return t.site { upstream = function(req) return how(req) end }
    end

    it("fails as upstreams fail", function()
        local site = site_of()
        for _, failure in ipairs { t.reset, t.close, t.raw("garbage\r\n\r\n") } do
            how = function() return failure end
            local res = site:post("/", { body = "x" })
            assert.equal(502, res.status)
            assert.matches("upstream=origin", res.log)
        end
    end)

    it("may never answer: the clock jumps to the timeout", function()
        local site = t.site { upstream = t.upstream(function() return t.never end,
            { timeouts = { first_byte = 7 } }) }
        local res = site:get("/")
        assert.equal(504, res.status)
        assert.near(7, res.duration, 0.1)
    end)

    it("may be late, slow, and cut short", function()
        local site = site_of()
        how = function() return t.delay(2, 200, "late") end
        local res = site:get("/")
        assert.equal("late", res.body)
        assert.near(2, res.duration, 0.01)
        how = function() return t.trickle(10, 1, 200, ("x"):rep(100)) end
        res = site:get("/")
        assert.equal(100, #res.body)
        assert.is_true(res.duration > 5)
        how = function() return t.truncate(2, 200, "late") end
        res = site:get("/")
        assert.equal("la", res.body)
        assert.is_truthy(res.ended)
    end)

    it("may have peers, of which one is tried after the other", function()
        local asked = {}
        local function peer(name, answer)
            return function()
                asked[#asked + 1] = name
                return answer
            end
        end
        local site = t.site { upstream = t.upstream { peer("a", t.reset), peer("b", t.reset) } }
        assert.equal(502, site:get("/").status)
        assert.is_true(#asked >= 2)
    end)

    it("speaks HTTP/1.1 also where the site wants HTTP/2, and without TLS", function()
        local site = t.site { upstream = t.upstream(function(req) return 200, req.method end,
            { http = "2" }) }
        assert.equal("GET", site:get("/").body)
        assert.equal("POST", site:post("/", { body = "x" }).body)
        site = t.site { upstream = t.upstream(function(req) return 200, req.method end,
            { http = "auto", tls = { verify = false } }) }
        assert.equal("GET", site:get("/").body)
    end)

    it("is told of when it raises", function()
        local site = site_of()
        how = function() error("in the fake") end
        local ok, err = pcall(site.get, site, "/")
        assert.is_false(ok)
        assert.matches("in the fake", err)
    end)

    it("refuses and hangs", function()
        t.refuse("10.1.1.1:80")
        t.hang("10.1.1.2:80")
        local site = t.site {
            routes = { rp.route { "/r", upstream = "r" }, rp.route { "/h", upstream = "h" } },
            upstreams = { r = rp.upstream { peers = { "10.1.1.1:80" } },
                h = rp.upstream { peers = { "10.1.1.2:80" }, timeouts = { connect = 3 } } } }
        assert.equal(502, site:get("/r").status)
        local res = site:get("/h")
        assert.equal(504, res.status)
        assert.near(3, res.duration, 0.1)
    end)

    it("is played by name for a site of a file", function()
        local path = os.tmpname()
        os.remove(path)
        path = path .. ".lua"
        local file = assert(io.open(path, "w"))
        file:write([[local rp = require("rproxy")
            return rp.site {
                listeners = { rp.listen { "127.0.0.1:80" } },
                upstreams = { api = rp.upstream { peers = { "api.internal:8080" } } },
                hosts = { rp.host { default = true,
                    routes = { rp.route { "/*", upstream = "api" } } } },
            }]])
        file:close()
        local site = t.site(path, { upstreams = { api = function() return 200, "played" end } })
        os.remove(path)
        assert.equal("played", site:get("/").body)
        site:upstream("api", function() return 200, "again" end)
        assert.equal("again", site:get("/").body)
    end)
end)

describe("what hooks reach", function()
    it("is played by t.http, by path, over https too", function()
        local keys = t.http("https://id.test/keys", { 200, '{"keys":[]}' })
        t.http("https://id.test/me", function(req) return 200, "you are " .. req.headers["x-me"] end)
        local site = answering(function()
            local client = rp.http.client { base = "https://id.test" }
            return client:get("/keys").body .. client:get("/me", { headers = { ["x-me"] = "ann" } })
                .body .. client:get("/none").status
        end)
        assert.equal('{"keys":[]}you are ann404', site:get("/").body)
        assert.equal(1, #keys.requests)
    end)

    it("is nothing else: a place that nobody plays is told of", function()
        local site = answering(function() return rp.http.client {}:get("http://other.test/") end)
        local ok, err = pcall(site.get, site, "/")
        assert.is_false(ok)
        assert.matches("other.test", err)
        site = answering(function() return rp.tcp.connect { host = "10.9.9.9", port = 25 } end)
        ok, err = pcall(site.get, site, "/")
        assert.is_false(ok)
        assert.matches("10.9.9.9:25", err)
    end)

    it("looks names up in t.dns", function()
        t.dns["a.test"] = "10.0.0.1"
        t.dns["b.test"] = { "10.0.0.2", "fd00::2" }
        t.dns["gone.test"] = "absent"
        local site = answering(function(req)
            local list, err = rp.dns.resolve(req:get("x-name"))
            if not list then return err end
            for i, one in ipairs(list) do list[i] = type(one) == "table" and one.ip or one end
            return table.concat(list, " ")
        end)
        local function look_up(name)
            return site:get("/", { headers = { ["x-name"] = name } }).body
        end
        assert.equal("10.0.0.1", look_up("a.test"))
        assert.matches("10.0.0.2", look_up("b.test"))
        assert.equal("not_found", look_up("gone.test"))
    end)

    it("are servers of bytes and datagrams", function()
        t.tcp("echo.test:7", function(conn, bytes) conn:send(bytes:upper()) end)
        local site = answering(function()
            local sock = assert(rp.tcp.connect { host = "echo.test", port = 7 })
            sock:write("hello\n")
            local line = sock:read("line")
            sock:close()
            return line
        end)
        assert.equal("HELLO", site:get("/").body)
        t.udp("10.0.0.53:53", function(bytes) return bytes .. "!" end)
        site = answering(function()
            local sock = assert(rp.udp.connect { host = "10.0.0.53", port = 53 })
            sock:send("ping")
            return (sock:receive(1))
        end)
        assert.equal("ping!", site:get("/").body)
    end)

    it("is a Redis", function()
        local redis = t.redis("cache.test:6379")
        redis:script("return 1", function(call, keys) return call("INCR", keys[1]) end)
        local site = answering(function()
            local r = rp.redis { host = "cache.test" }
            assert(r:set("k", "v", "EX", 10))
            local out = { r:get("k"), r:eval("return 1", 1, "n"), r:hset("h", "a", "1", "b", "2"),
                r:hget("h", "b"), r:rpush("l", "x", "y"), table.concat(r:lrange("l", 0, -1), ","),
                r:zadd("z", 2, "two", 1, "one"), table.concat(r:zrange("z", 0, -1), ","),
                r:ttl("k") }
            rp.sleep(11)
            out[#out + 1] = tostring(r:get("k"))
            return table.concat(out, " ")
        end)
        assert.equal("v 1 2 2 2 x,y 2 one,two 10 nil", site:get("/").body)
        assert.equal("1", redis:get("n"))
        assert.same({ "SET", "k", "v", "EX", "10" }, redis.commands[1])
        redis:fail("LOADING Redis is loading the dataset in memory")
        site = answering(function()
            local ok, err = rp.redis { host = "cache.test" }:get("k")
            return tostring(ok) .. " " .. tostring(err)
        end)
        assert.matches("^nil ", site:get("/").body)
    end)
end)

describe("time", function()
    it("stands while nothing waits for it, and jumps when something does", function()
        local site = t.site { use = { { access = function(req)
            if req.path == "/wait" then rp.sleep(3600 * 0.01) end
        end } } }
        local from = t.clock:now()
        site:get("/")
        assert.equal(from, t.clock:now())
        local res = site:get("/wait")
        assert.equal(36, res.duration)
        assert.equal(from + 36, t.clock:now())
    end)

    it("can be held: what a request waits for is said", function()
        local site = t.site { use = { { access = function() rp.sleep(5) end } } }
        t.clock:hold()
        local pending = site:begin("/")
        t.clock:advance(4.999)
        assert.is_nil(pending.answer)
        local ok, err = pcall(pending.wait, pending)
        assert.is_false(ok)
        assert.matches("waiting_for", err)
        t.clock:advance(0.001)
        assert.equal(200, pending.answer.status)
    end)

    it("is one for all: hooks, zones, timers", function()
        local seen
        local site = t.site { shared = { s = t.shm.store() }, use = { { access = function(req)
            if req.path == "/set" then rp.shared.s:set("k", "v", 10) end
            seen = { rp.now(), rp.time(), rp.clock() / 1e9 }
            return req:exit(200, tostring(rp.shared.s:get("k")))
        end } } }
        t.clock:set(1e9)
        site:get("/set")
        assert.same({ t.clock:now(), 1e9, t.clock:now() }, seen)
        t.clock:advance(9.9)
        assert.equal("v", site:get("/").body)
        t.clock:advance(0.2)
        assert.equal("nil", site:get("/").body)
        assert.near(1e9 + 10.1, seen[2], 1e-3)
    end)

    it("runs what is due in its order", function()
        local order = {}
        t.site { use = { { start = function()
            rp.after(2, function() order[#order + 1] = "b" end)
            rp.after(1, function() order[#order + 1] = "a" end)
            rp.after(3, function() order[#order + 1] = "c" end)
        end } } }
        t.clock:advance(2)
        assert.same({ "a", "b" }, order)
        t.clock:advance(1)
        assert.same({ "a", "b", "c" }, order)
    end)
end)

describe("assert.no_aborts", function()
    it("is content with hooks that are compiled", function()
        local site = t.site { use = { { access = function(req)
            if req:get("x-a") == "1" then req.up:set("x-b", "2") end
        end } } }
        site:get("/", { headers = { ["x-a"] = "1" } })
        assert.no_aborts(site)
    end)

    it("names the line of a hook that is not", function()
        local site = t.site { use = { { access = function(req)
            local n = 1
            req.ctx.f = function() return n end
        end } } }
        site:get("/")
        local lines = t.aborts(site)
        assert.matches("spec/kit/world_spec%.lua:%d+: NYI: bytecode FNEW", lines[1])
        assert.has_error(function() assert.no_aborts(site) end)
    end)
end)
