-- SPDX-License-Identifier: MIT
--
-- The test kit by itself: sites, requests and answers. Run by `rproxy test`.

local rp = require("rproxy")
local t = require("rproxy.test")

local function inline(hooks, more)
    local given = { use = { hooks } }
    for key, value in pairs(more or {}) do given[key] = value end
    return t.site(given)
end

describe("a site of a test", function()
    it("has an upstream that says ok, where none is given", function()
        local res = t.site {}:get("/a?b=c")
        assert.equal(200, res.status)
        assert.equal("ok\n", res.body)
        assert.equal("/a?b=c", res.upstream.target)
        assert.equal("/a", res.upstream.path)
        assert.equal("b=c", res.upstream.query)
    end)

    it("sends methods, headers, bodies, forms, cookies and queries", function()
        local site = t.site { upstream = function(req)
            return 201, req.method .. " " .. req.body, { ["x-a"] = req.headers["X-A"] }
        end }
        local res = site:post("/", { body = "hello", headers = { ["x-a"] = "1" } })
        assert.equal(201, res.status)
        assert.equal("POST hello", res.body)
        assert.equal("1", res.headers["X-A"])
        assert.equal('PUT {"a":1}', site:put("/", { json = { a = 1 } }).body)
        assert.equal("POST a=1%202&b=x", site:post("/", { form = { a = "1 2", b = "x" } }).body)
        assert.equal("/?q=1%262", site:get("/", { query = { q = "1&2" } }).upstream.target)
        assert.equal("a=b", site:get("/", { cookies = { a = "b" } }).upstream.headers["cookie"])
        assert.equal("", site:head("/").body)
        assert.equal("POST abc", site:post("/", { body = { "a", "b", "c" } }).body)
        assert.equal("POST " .. ("x"):rep(3e6), site:post("/", { body = ("x"):rep(3e6) }).body)
    end)

    it("is asked from anywhere, by any name, by https", function()
        local site = inline { access = function(req)
            return req:exit(200, req.scheme .. " " .. req.host .. " " .. req.remote_ip)
        end }
        assert.equal("https shop.test 192.0.2.7",
            site:get("https://shop.test/x", { from = "192.0.2.7" }).body)
        assert.equal("http localhost 2001:db8::1", site:get("/", { from = "2001:db8::1" }).body)
        assert.equal("https localhost 127.0.0.1", site:get("/", { tls = true }).body)
    end)

    it("takes bytes that are no request", function()
        local res = t.site {}:request { raw = "GARBAGE\r\n\r\n" }
        assert.equal(400, res.status)
    end)

    it("gives answers with JSON and cookies", function()
        local res = t.site { upstream = function()
            return 200, '{"a":[1,2]}', { ["set-cookie"] = { "a=1; Path=/", "b=2" } }
        end }:get("/")
        assert.same({ a = { 1, 2 } }, res:json())
        assert.equal("1", (res:cookie("a")))
        assert.equal("2", (res:cookie("b")))
        assert.is_nil(res:cookie("c"))
    end)

    it("has routes, hosts and options like any other", function()
        local site = t.site {
            limits = { body = 10 },
            routes = { rp.route { "POST /up", upstream = "origin" },
                rp.route { "/*", respond = { 404, "nothing\n" } } },
            upstream = function() return 200, "up" end,
        }
        assert.equal("up", site:post("/up", { body = "x" }).body)
        assert.equal(413, site:post("/up", { body = ("x"):rep(11) }).status)
        assert.equal(404, site:get("/other").status)
    end)

    it("may be an rp.site", function()
        local site = t.site(rp.site {
            listeners = { rp.listen { "127.0.0.1:8080" } },
            hosts = { rp.host { "a.test", routes = { rp.route { "/*", respond = { 200, "a" } } } } },
        })
        assert.equal("a", site:get("http://a.test/").body)
        assert.equal(421, site:get("http://b.test/").status)
    end)

    it("says what is wrong with it, where it is written", function()
        local ok, err = pcall(t.site, { routes = { rp.route { "/*", upstream = "nowhere" } } })
        assert.is_false(ok)
        assert.matches("site_spec%.lua:%d+", err)
        assert.matches("nowhere", err)
        ok, err = pcall(t.site, {
            use = {},
            banana = 1,
        })
        assert.is_false(ok)
        assert.matches("^spec/kit/site_spec%.lua:%d+: [^\n]*banana", err)
        assert.equal(200, t.site {}:get("/").status)
    end)

    it("is the only one that is open", function()
        local one = t.site {}
        t.site {}
        local ok, err = pcall(one.get, one, "/")
        assert.is_false(ok)
        assert.matches("this site is closed", err)
    end)

    it("knows no unknown option of a request", function()
        local site = t.site {}
        local ok, err = pcall(site.get, site, "/", { header = {} })
        assert.is_false(ok)
        assert.matches("headers", err)
    end)

    it("keeps what a hook raised in the log of the answer", function()
        local site = inline { access = function() error("boom") end }
        local res = site:get("/")
        assert.equal(500, res.status)
        assert.matches("boom", res.log)
        assert.matches("boom", site:log())
    end)

    it("runs start and stop hooks, and background tasks by the clock", function()
        local said = {}
        local site = inline {
            start = function()
                said[#said + 1] = "start"
                rp.every(10, function() said[#said + 1] = "round" end)
            end,
            stop = function() said[#said + 1] = "stop" end,
        }
        t.clock:advance(25)
        site:stop()
        assert.same({ "start", "round", "round", "stop" }, said)
    end)

    it("does not open when a start hook fails", function()
        local ok, err = pcall(inline, { start = function() error("no keys") end })
        assert.is_false(ok)
        assert.matches("start hook failed", err)
        assert.matches("no keys", err)
    end)

    it("has a journal of what hooks decided", function()
        local site = inline { name = "guard", access = function(req)
            req.up:set("x-user", "ann")
            if req.path == "/no" then return req:exit(403, "no\n") end
        end }
        assert.equal('access guard set up.x-user "ann"\naccess guard verdict next\n',
            site:get("/"):decisions())
        assert.matches('answer 403 "no\\n"', site:get("/no"):decisions(), 1, true)
    end)

    it("gives each site fresh zones, dice and module state", function()
        local seen = {}
        for i = 1, 2 do
            local site = inline({ access = function(req)
                local n = rp.shared.counts:incr("n", 1, 0)
                return req:exit(200, n .. rp.uuid.v4() .. math.random(1e6))
            end }, { shared = { counts = t.shm.store() } })
            seen[i] = site:get("/").body
        end
        assert.equal(seen[1], seen[2])
    end)

    it("knows nothing of the site before: routes, upstreams, breakers", function()
        for i = 1, 2 do
            local calls = 0
            local site = t.site {
                routes = { rp.route { "/*", id = "route" .. i, upstream = "up" .. i } },
                upstreams = { ["up" .. i] = function(req)
                    return 200, i .. req.headers["x-route"]
                end },
                use = {
                    { name = "fragile", breaker = { policy = "bypass", errors = 0.5, min = 2 },
                        on_error = "open", access = function()
                            calls = calls + 1
                            error("broken")
                        end },
                    { access = function(req) req.up:set("x-route", req.route.id) end },
                },
            }
            for _ = 1, 8 do assert.equal(i .. "route" .. i, site:get("/").body) end
            t.clock:advance(2)
            local before = calls
            site:get("/")
            assert.equal(before, calls)
        end
    end)

    it("sees request ids, and access log lines, of its requests", function()
        local site = t.site { log = { access = { to = "stdout", format = "json",
            fields = { "status", "path" } } } }
        site:get("/x")
        assert.same({ '{"status":200,"path":"/x"}' }, site:access())
    end)

    it("stops hooks that never end", function()
        local site = inline({ access = function() while true do end end },
            { lua = { cpu_budget = 0.01 } })
        local res = site:get("/")
        assert.equal(500, res.status)
        assert.matches("used up its CPU budget", res.log)
    end)

    it("is not asked by its own hooks, nor by servers", function()
        local site
        site = inline { access = function() site:get("/again") end }
        local res = site:get("/")
        assert.equal(500, res.status)
        assert.matches("a hook cannot ask", res.log)
        site = t.site { upstream = function() return site:get("/again").status end }
        local ok, err = pcall(site.get, site, "/")
        assert.is_false(ok)
        assert.matches("cannot ask the site", err)
        site = inline { access = function() t.clock:advance(1) end }
        assert.equal(500, site:get("/").status)
        site = inline { access = function() t.site {} end }
        assert.equal(500, site:get("/").status)
    end)

    it("waits for programs and files as long as they really take", function()
        local site = inline { access = function(req)
            local ran = assert(rp.exec { argv = { "/bin/sh", "-c", "sleep 0.1; echo hi" } })
            local text = rp.fs.read("/etc/passwd")
            return req:exit(200, ran.out .. (text and "read" or "not read"))
        end }
        local res = site:get("/")
        assert.equal("hi\nread", res.body)
        assert.equal(0, res.duration)
    end)

    it("is spoken to byte by byte", function()
        local conn = t.site {}:connect { from = "192.0.2.1" }
        conn:send("GET /a HTTP/1.1\r\nhost: a\r\n\r\nGET /b HT")
        assert.matches("HTTP/1.1 200 OK", conn:wait_for("ok\n"), 1, true)
        assert.equal("", (conn:receive()))
        conn:send("TP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        assert.matches("ok\n$", (conn:receive()))
        assert.equal("closed", conn.ended)
        assert.has_error(function() conn:wait_for("more") end)
    end)

    it("relays streams", function()
        t.tcp("10.0.0.5:25", function(conn, bytes) conn:send("got " .. bytes) end)
        local site = t.site {
            listeners = { rp.listen { "127.0.0.1:80" } },
            upstreams = { mail = rp.upstream { peers = { "10.0.0.5:25" } } },
            streams = { rp.stream { "127.0.0.1:2525", upstream = "mail" } },
        }
        local conn = site:connect { listener = 2 }
        conn:send("hello")
        assert.equal("got hello", conn:wait_for("hello"))
        conn:close()
        assert.equal(200, site:get("/").status)
    end)

    it("gives no hook more than timeouts.hook_wait, also one that sleeps in step with it", function()
        local slept = 0
        local site = inline({ access = function()
            while slept < 100 do
                slept = slept + 1
                rp.sleep(0.1)
            end
        end }, { timeouts = { hook_wait = 1 } })
        local res = site:get("/")
        assert.equal(500, res.status)
        assert.truthy(res.duration < 1.5) -- the clock is the kit's
    end)

    it("survives clients that leave", function()
        local site = inline { access = function() rp.sleep(5) end }
        t.clock:hold()
        local pending = site:begin("/")
        pending:abort()
        t.clock:advance(10)
        t.clock:release()
        assert.equal(200, site:get("/").status)
    end)
end)
