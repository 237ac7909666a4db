-- SPDX-License-Identifier: MIT
--
-- Lua hooks in a running proxy: order, waiting, answers, edits, what they see, background. Bodies
-- and failures have specs of their own beside this one.

local e2e = require("spec.support.e2e")
local http = require("spec.support.http")
local origin = require("spec.support.origin")
local posix = require("spec.support.posix")
local protocol = require("spec.support.protocol")
local wire = require("spec.support.wire")

local ROUTES = {
    ["/hi"] = { status = 200, fields = { { "X-Up", "1" }, { "X-Two", "a" }, { "X-Two", "b" } },
        body = "hi there" },
    ["*"] = { status = 200, body = "ok" },
}

local PLUGIN = [[
local rp = require("rproxy")
local M = rp.plugin { name = "tag", stage = "transform",
    schema = { word = { "string", required = true }, times = { "integer", default = 1 } } }
function M.setup(conf)
    local value = conf.word:rep(conf.times)
    return { header_filter = function(req, res) res:add("x-tag", value) end }
end
return M
]]

local BEFORE = [[
    local tag = require("tag")
    local function trail(req, word)
        req.ctx.trail = (req.ctx.trail or "") .. word .. " "
    end
    local function traced(name)
        return {
            name = name,
            access = function(req) trail(req, name .. ".access") end,
            rewrite = function(req) trail(req, name .. ".rewrite") end,
            header_filter = function(req, res) trail(req, name .. ".header") end,
            body_filter = function(req, res, chunk, last)
                if last then trail(req, name .. ".body") end
            end,
            log = function(req, res)
                trail(req, name .. ".log")
                if name == "site" and req.arg and req:arg("trail") then
                    rp.log.info("trail", { trail = req.ctx.trail })
                end
            end,
        }
    end
    local site_plugin = traced("site")
    function site_plugin.early(req)
        local path = req.path
        if path == "/early/path" then req.path = "/reached" end
        if path == "/early/host" then req.host = "other.example" end
        if path == "/early/method" then req.method = "POST" end
        if path == "/early/query" then req.query = "set=early" end
        if path == "/early/exit" then return req:exit(418, "early") end
        if path == "/early/wait" then rp.sleep(0.005) req.ctx.waited = "early" end
        if path == "/early/path" then req.ctx.early = true end
        trail(req, "site.early")
    end
    local ticks, started, after = 0, "no", "no"
    local background = {
        name = "background",
        start = function()
            rp.sleep(0.005)
            started = "yes"
            rp.every(0.005, function() ticks = ticks + 1 end)
            rp.after(0.005, function() after = "yes" end)
        end,
        stop = function()
            rp.sleep(0.005)
            rp.log.info("stop hook ran", { ticks = ticks > 0 })
        end,
    }
    local function hook(name, fn, on_error)
        return { name = "the-" .. name:gsub("_", "-"), [name] = fn, on_error = on_error }
    end
    local function use(name, fn, on_error) return { hook(name, fn, on_error) } end
    local function deep(req) req:abort(409, "from below") end
    local function upper(req, res, chunk) return chunk:upper() end
]]

local SITE = [[
    upstreams = {
        o = rp.upstream { peers = { "127.0.0.1:${origin}" } },
        second = rp.upstream { peers = { "127.0.0.1:${second}" } },
        waiting = rp.upstream { peers = { "127.0.0.1:${origin}" }, balance = function(req, up)
            rp.sleep(0.005)
            up:set("x-balance", "waited")
            up:peer("127.0.0.1:${origin}")
        end },
        exiting = rp.upstream { peers = { "127.0.0.1:${origin}" }, balance = function(req)
            return req:exit(429, "not now")
        end },
    },
    use = { site_plugin, background },
    hosts = {
        rp.host { "order.example", use = { traced("host") }, routes = {
            rp.route { "/order", upstream = "o", use = { traced("route") } },
            rp.route { "/skip", upstream = "o", skip = { "host" }, use = { traced("route") } },
            rp.route { "/own", respond = { 200, "own" }, use = { traced("route") } },
        } },
        rp.host { "other.example", routes = {
            rp.route { "/*", content = function(req)
                return req:exit(200, "other " .. req.host) end },
        } },
        rp.host { default = true, routes = {
            rp.route { "/reached", content = function(req)
                return req:exit(200, "reached " .. tostring(req.ctx.early))
            end },
            rp.route { "POST /early/method", respond = { 200, "post" } },
            rp.route { "/early/query", content = function(req)
                return req:exit(200, req.query) end },
            rp.route { "/early/wait", content = function(req)
                return req:exit(200, req.ctx.waited)
            end },

            -- waiting
            rp.route { "/wait/access", upstream = "o", use = use("access", function(req)
                rp.sleep(0.005) req.up:set("x-waited", "access") end) },
            rp.route { "/wait/rewrite", upstream = "o", use = use("rewrite", function(req)
                rp.sleep(0.005) req.up:set("x-waited", "rewrite") end) },
            rp.route { "/wait/content", content = function(req)
                rp.sleep(0.005) return req:exit(200, "waited") end },
            rp.route { "/wait/long", content = function(req)
                rp.sleep(30) return req:exit(200, "at last") end },
            rp.route { "/wait/balance", upstream = "waiting" },
            rp.route { "/wait/header", upstream = "o", use = use("header_filter",
                function(req, res) rp.sleep(0.005) res:set("x-waited", "header") end) },
            rp.route { "/wait/log", upstream = "o", use = use("log",
                function(req, res) rp.sleep(1) rp.log.info("log hook waited") end) },
            rp.route { "/wait/tasks", content = function(req)
                local all = rp.all { function() rp.sleep(0.01) return "a" end,
                    function() return "b" end }
                local any = rp.any { function() rp.sleep(10) return "slow" end,
                    function() rp.sleep(0.001) return "fast" end }
                local task = rp.spawn(function(x) rp.sleep(0.001) return x * 2 end, 21)
                local _, result = task:wait()
                return req:exit(200, table.concat(all) .. " " .. any .. " " .. result)
            end },

            -- answers
            rp.route { "/exit", upstream = "o", use = use("access", function(req)
                return req:exit(401, { error = "who" }, { ["www-authenticate"] = "Basic" }) end) },
            rp.route { "/exit/after", upstream = "o", use = {
                hook("access", function(req) return req:exit(403, "first") end),
                hook("access", function(req) return req:exit(200, "second") end) } },
            rp.route { "/exit/rewrite", upstream = "o", use = use("rewrite", function(req)
                return req:exit(410, "rewritten") end) },
            rp.route { "/exit/balance", upstream = "exiting" },
            rp.route { "/redirect", content = function(req)
                return req:redirect("https://h.example/?a=1", 307) end },
            rp.route { "/abort", upstream = "o", use = use("access", deep) },
            rp.route { "/abort/spawned", content = function(req)
                pcall(deep, req)
                return req:exit(200, "caught and answered anew")
            end },
            rp.route { "/forgot", content = function(req) end },
            rp.route { "/true", upstream = "o", use = use("access", function() return true end) },
            rp.route { "/answer/filtered", content = function(req) return req:exit(200, "mine") end,
                use = { { header_filter = function(req, res) res:set("x-from", res.from) end,
                    body_filter = upper } } },

            -- edits up
            rp.route { "/edit/up", upstream = "o", use = use("access", function(req)
                req.up:set("x-set", "new") req.up:add("x-add", 2) req.up:del("x-del")
                req.up:set("x-big", ("v"):rep(20000))
            end) },
            rp.route { "/edit/target", upstream = "o", use = use("rewrite", function(req)
                req.path = "/new/%41" req.query = "x=1" req.method = "PUT" end) },
            rp.route { "/edit/up-path", upstream = "o", use = use("access", function(req)
                req.up.path = "/raw/%2F" req.up.host = "inner.example" end) },
            rp.route { "/edit/upstream", upstream = "o", use = use("access", function(req)
                req.upstream = rp.upstreams.second end) },
            rp.route { "/edit/upstream/unknown", upstream = "o", use = use("access", function(req)
                req.upstream = "nobody" end) },

            -- edits down
            rp.route { "/hi", upstream = "o", use = use("header_filter", function(req, res)
                res:set("x-new", "n") res:add("x-two", "c") res:del("x-up")
                res:set_cookie { "sid", "1", path = "/", http_only = true, max_age = 60 }
                res.status = 203
                res:set("x-length", res.length) res:set("x-peer", res.upstream.peer)
            end) },
            rp.route { "/replace", upstream = "o", use = use("header_filter", function(req, res)
                return res:replace(503, "replaced", { ["retry-after"] = 5 }) end) },
            rp.route { "/exit/header", upstream = "o", use = use("header_filter",
                function(req, res) return req:exit(451, "exited") end) },

            -- what hooks see
            rp.route { "/see/{id}/{rest*}", name = "see", meta = { level = 3 },
                content = function(req)
                    local out = { req.params.id, req.params.rest, req:arg("a") or "-",
                        req:arg("none") or "-",
                        table.concat(req:arg_all("m"), "+"), req:cookie("sid") or "-",
                        req.route.id, req.route.meta.level, req.method, req.version,
                        req:get("x-a") or "-", table.concat(req:get_all("x-two"), "+"),
                        req:join("x-two") or "-", tostring(req:is("x-a", "1")), req.path }
                    return req:exit(200, table.concat(out, "|"))
                end },
            rp.route { "~^/num/(?<n>\\d+)$", content = function(req)
                return req:exit(200, req.params.n) end },
            rp.route { "/args", content = function(req)
                local out = {}
                for name, value in req:args() do out[#out + 1] = name .. "=" .. value end
                return req:exit(200, table.concat(out, ";"))
            end },
            rp.route { "/ctx", content = function(req)
                local seen = req.ctx.seen
                req.ctx.seen = true
                return req:exit(200, tostring(seen))
            end },
            rp.route { "/background", content = function(req)
                return req:exit(200, started .. " " .. after .. " " .. ticks) end },
            rp.route { "/tcp", content = function(req)
                local sock, err = rp.tcp.connect { host = "127.0.0.1", port = ${origin},
                    timeout = 5 }
                if not sock then return req:exit(500, err) end
                sock:write { "GET /hi HTTP/1.0\r\n", "Host: a\r\n\r\n" }
                local line = sock:read("line")
                local length
                repeat
                    local field = sock:read("line")
                    length = length or field:match("^Content%-Length: (%d+)$")
                until field == ""
                local body = sock:read(tonumber(length))
                sock:close()
                return req:exit(200, line .. "|" .. body)
            end },
            rp.route { "/tcp/refused", content = function(req)
                local sock, err = rp.tcp.connect { host = "127.0.0.1", port = ${dead} }
                return req:exit(200, tostring(sock) .. " " .. tostring(err))
            end },
            rp.route { "/plugin", upstream = "o", use = { tag { word = "ab", times = 2 },
                tag { word = "c" } } },
            rp.route { "/sleeping", upstream = "o", use = use("access", function(req)
                rp.spawn(function()
                    rp.sleep(0.05) rp.log.error("the child outlived its request") end)
                rp.log.info("sleeping now")
                rp.sleep(0.2)
                rp.log.error("the hook outlived its request")
            end) },
            rp.route { "/*", upstream = "o" },
        } },
    },
]]

describe("hooks", function()
    local up, second, rp

    setup(function()
        up = origin.start(ROUTES)
        second = origin.start { ["*"] = { status = 200, body = "second" } }
        rp = e2e.proxy { site = SITE, before = BEFORE, files = { ["tag.lua"] = PLUGIN },
            vars = { origin = up.port, second = second.port, dead = posix.free_port() } }
    end)

    teardown(function()
        local text = rp and rp:stderr() or ""
        e2e.stop(rp)
        assert.is_nil(text:find("outlived", 1, true))
    end)
    after_each(wire.close_all)

    local function get(target, fields)
        return http.get(rp.port, target, fields)
    end

    local function body_of(target, fields) return e2e.body(rp, target, fields) end

    local function log_since(mark, pattern) return e2e.log_since(rp, mark, pattern) end

    -- ------------------------------------------------------------ order

    describe("run", function()
        local function trail(target)
            local mark = #rp:stderr()
            http.get(rp.port, { target = target .. "?trail=1", host = "order.example" })
            local found = posix.poll(function() return log_since(mark, " trail ")[1] end)
            return found:match('trail="?([^"]*) "') or found
        end

        it("site, host, route; and the other way round on the way back", function()
            assert.equal("site.early site.access host.access route.access site.rewrite " ..
                "host.rewrite route.rewrite route.header host.header site.header route.body " ..
                "host.body site.body route.log host.log site.log", trail("/order"))
        end)

        it("not where a route skips them", function()
            assert.equal("site.early site.access route.access site.rewrite route.rewrite " ..
                "route.header site.header route.body site.body route.log site.log", trail("/skip"))
        end)

        it("for answers of our own, too", function()
            assert.equal("site.early site.access host.access route.access site.rewrite " ..
                "host.rewrite route.rewrite route.header host.header site.header route.body " ..
                "host.body site.body route.log host.log site.log", trail("/own"))
        end)

        it("for requests that no route takes", function()
            assert.equal("site.early site.access host.access site.rewrite host.rewrite " ..
                "host.header site.header host.body site.body host.log site.log", trail("/none"))
        end)
    end)

    -- ------------------------------------------------------------ early

    describe("early", function()
        it("may change the path that is routed", function()
            assert.equal("reached true", body_of("/early/path"))
        end)

        it("may change the host that is routed", function()
            assert.equal("other other.example", body_of("/early/host"))
        end)

        it("may change the method that is routed", function()
            assert.equal("post", body_of("/early/method"))
        end)

        it("may change the query", function()
            assert.equal("set=early", body_of("/early/query?old=1"))
        end)

        it("may answer", function()
            local res = get("/early/exit")
            assert.equal(418, res.status)
            assert.equal("early", res.body)
        end)

        it("may wait", function()
            assert.equal("early", body_of("/early/wait"))
        end)
    end)

    -- ------------------------------------------------------------ waiting

    describe("may wait", function()
        for _, phase in ipairs { "access", "rewrite" } do
            it("in " .. phase, function()
                get("/wait/" .. phase)
                assert.equal(phase, e2e.field(e2e.last(up), "x-waited"))
            end)
        end

        it("in content", function()
            assert.equal("waited", body_of("/wait/content"))
        end)

        it("in balance", function()
            body_of("/wait/balance")
            assert.equal("waited", e2e.field(e2e.last(up), "x-balance"))
        end)

        it("in header_filter", function()
            assert.equal("header", get("/wait/header"):header("x-waited"))
        end)

        it("in log, and the client does not wait for it", function()
            local mark = #rp:stderr()
            local w = wire.connect(rp.port)
            assert.equal("ok", http.request(w, { target = "/wait/log" }).body)
            assert.equal("ok", http.request(w, { target = "/x" }).body)
            assert.same({}, log_since(mark, "log hook waited"))
            assert.truthy(posix.poll(function() return log_since(mark, "log hook waited")[1] end))
        end)

        it("for tasks beside them", function()
            assert.equal("ab fast 42", body_of("/wait/tasks"))
        end)

        it("while other requests go on", function()
            local slow = wire.connect(rp.port)
            slow:send(http.format { target = "/wait/long" })
            assert.equal("waited", body_of("/wait/content"))
            assert.equal("", (slow:recv_some(0)))
            slow:close()
        end)

        it("with pipelined requests behind them, which keep their order", function()
            local w = wire.connect(rp.port)
            w:send(http.format { target = "/wait/content" } .. http.format { target = "/ctx" } ..
                http.format { target = "/wait/content" })
            assert.equal("waited", http.read(w).body)
            assert.equal("nil", http.read(w).body)
            assert.equal("waited", http.read(w).body)
        end)

        it("and end with their request when its client leaves", function()
            local mark = #rp:stderr()
            local w = wire.connect(rp.port)
            w:send(http.format { target = "/sleeping" })
            assert.truthy(posix.poll(function() return log_since(mark, "sleeping now")[1] end))
            w:close() -- teardown looks that nothing went on
            assert.equal("waited", body_of("/wait/content"))
        end)
    end)

    -- ------------------------------------------------------------ answers

    describe("answers", function()
        it("of access keep the request from the upstream", function()
            local before = #up:requests()
            local res = get("/exit")
            assert.equal(401, res.status)
            assert.equal("application/json", res:header("content-type"))
            assert.equal('{"error":"who"}', res.body)
            assert.equal("Basic", res:header("www-authenticate"))
            assert.equal("rproxy", res:header("server"))
            assert.equal(before, #up:requests())
        end)

        it("close the connection when the client waits for 100 with its body", function()
            local w = wire.connect(rp.port)
            w:send(http.format { method = "POST", target = "/exit", fields = {
                ["Content-Length"] = "5", Expect = "100-continue" } })
            local res = http.read(w)
            assert.equal(401, res.status)
            assert.equal(0, #res.interim)
            e2e.assert_last(w, res)
        end)

        it("end the chain", function()
            local res = get("/exit/after")
            assert.equal(403, res.status)
            assert.equal("first", res.body)
        end)

        it("may come from rewrite", function()
            assert.equal(410, get("/exit/rewrite").status)
        end)

        it("may come from balance", function()
            assert.equal(429, get("/exit/balance").status)
        end)

        it("may redirect", function()
            local res = get("/redirect")
            assert.equal(307, res.status)
            assert.equal("https://h.example/?a=1", res:header("location"))
        end)

        it("may come from deep inside by abort, which is no error", function()
            local mark = #rp:stderr()
            local res = get("/abort")
            assert.equal(409, res.status)
            assert.equal("from below", res.body)
            assert.same({}, log_since(mark, " error "))
        end)

        it("may be made anew after a caught abort", function()
            assert.equal("caught and answered anew", body_of("/abort/spawned"))
        end)

        it("pass header_filter and body_filter", function()
            local res = get("/answer/filtered")
            assert.equal("MINE", res.body)
            assert.equal("plugin", res:header("x-from"))
        end)

        it("keep the connection, with a request body that nobody read", function()
            local w = wire.connect(rp.port)
            local res = http.request(w, { method = "POST", target = "/exit",
                body = ("b"):rep(5000) })
            assert.equal(401, res.status)
            assert.equal("ok", http.request(w, { target = "/x" }).body)
        end)

        it("that content forgets are 500", function()
            local mark = #rp:stderr()
            assert.equal(500, get("/forgot").status)
            assert.equal(1, #log_since(mark, "content hook gave no answer"))
        end)

        it("that a true value only claims are 500", function()
            local mark = #rp:stderr()
            assert.equal(500, get("/true").status)
            assert.equal(1, #log_since(mark, "without req:exit"))
        end)
    end)

    -- ------------------------------------------------------------ edits

    describe("edits", function()
        it("change what goes up, not what came", function()
            get("/edit/up", { { "X-Set", "old" }, { "X-Set", "older" }, { "X-Add", "1" },
                { "X-Del", "d" } })
            local got = e2e.last(up)
            assert.same({ "new" }, e2e.values(got.fields, "x-set"))
            assert.same({ "1", "2" }, e2e.values(got.fields, "x-add"))
            assert.same({}, e2e.values(got.fields, "x-del"))
            assert.equal(20000, #e2e.field(got, "x-big"))
        end)

        it("of path, query and method in rewrite go up", function()
            get("/edit/target?old=1")
            local got = e2e.last(up)
            assert.equal("PUT", got.method)
            assert.equal("/new/%41?x=1", got.target)
        end)

        it("of up.path and up.host go up as they are", function()
            get("/edit/up-path?q=1")
            local got = e2e.last(up)
            assert.equal("/raw/%2F?q=1", got.target)
            assert.same({ "inner.example" }, e2e.values(got.fields, "host"))
        end)

        it("of req.upstream choose another one", function()
            assert.equal("second", body_of("/edit/upstream"))
        end)

        it("of req.upstream to an unknown one are 500", function()
            assert.equal(500, get("/edit/upstream/unknown").status)
        end)

        it("change what comes down", function()
            local res = get("/hi")
            assert.equal(203, res.status)
            assert.equal("hi there", res.body)
            assert.equal("n", res:header("x-new"))
            assert.same({ "a", "b", "c" }, res:all("x-two"))
            assert.is_nil(res:header("x-up"))
            assert.equal("8", res:header("x-length"))
            assert.equal("127.0.0.1:" .. up.port, res:header("x-peer"))
            assert.truthy(res:header("set-cookie"):find("^sid=1"))
        end)

        it("may replace the whole response", function()
            local w = wire.connect(rp.port)
            local res = http.request(w, { target = "/replace" })
            assert.equal(503, res.status)
            assert.equal("replaced", res.body)
            assert.equal("5", res:header("retry-after"))
            assert.is_nil(res:header("via"))
            assert.equal("ok", http.request(w, { target = "/x" }).body)
        end)

        it("may replace the whole response by exit", function()
            local res = get("/exit/header")
            assert.equal(451, res.status)
            assert.equal("exited", res.body)
        end)

        it("of a plugin module are made by each instance with its own configuration", function()
            assert.same({ "c", "abab" }, get("/plugin"):all("x-tag"))
        end)
    end)

    -- ------------------------------------------------------------ what hooks see

    describe("see", function()
        it("params, arguments, cookies, fields and the route", function()
            local res = get("/see/7/a/b?a=x+y&m=1&m=%32&a=second", { { "Cookie", "x=1; sid=abc" },
                { "X-A", "1" }, { "X-Two", "p" }, { "X-Two", "q" } })
            assert.equal(("7|a/b|x y|-|1+2|abc|see|3|GET|%s|1|p+q|p, q|true|/see/7/a/b"):format(
                protocol.has_h2 and "2" or "1.1"), res.body)
        end)

        it("named groups of a regex", function()
            assert.equal("42", body_of("/num/42"))
        end)

        it("all arguments in order", function()
            assert.equal("a=1;b=;c=x y;a=2", body_of("/args?a=1&b&c=x%20y&a=2"))
        end)

        it("the normal form of the path", function()
            assert.equal("/see/7/b", body_of("/see/./7//x/../%62"):match("[^|]*$"))
        end)

        it("a ctx of their own request", function()
            local w = wire.connect(rp.port)
            for _ = 1, 3 do assert.equal("nil", http.request(w, { target = "/ctx" }).body) end
        end)
    end)

    -- ------------------------------------------------------------ background and sockets

    describe("in the background", function()
        it("start runs before the worker accepts, and may wait", function()
            assert.equal("yes", body_of("/background"):match("^%S+"))
        end)

        it("rp.every goes on, rp.after comes once", function()
            assert.truthy(posix.poll(function()
                local after, ticks = body_of("/background"):match("^yes (%S+) (%d+)$")
                return after == "yes" and tonumber(ticks) > 3
            end))
        end)
    end)

    it("talk to servers", function()
        assert.equal("HTTP/1.1 200 OK|hi there", body_of("/tcp"))
    end)

    it("are told what went wrong with a socket", function()
        assert.equal("nil refused", body_of("/tcp/refused"))
    end)
end)

describe("lifecycle hooks", function()
    local ROUTE = [[ hosts = { rp.host { default = true, routes = {
        rp.route { "/", respond = { 200, "ok" } } } } }, ]]

    teardown(function()
        origin.cleanup()
        require("spec.support.proc").cleanup()
    end)

    it("stop runs at the end, and may wait", function()
        local rp = e2e.proxy { site = [[ use = { { stop = function()
            rp.sleep(0.01)
            rp.log.info("stop hook ran")
        end } }, ]] .. ROUTE }
        assert.equal(200, http.get(rp.port, "/").status)
        rp:stop()
        assert.truthy(rp:stderr():find("stop hook ran", 1, true))
    end)

    it("start and stop are told which worker it is", function()
        local rp = e2e.proxy { site = [[ use = { { name = "who",
            start = function(worker) rp.log.notice("starts", { id = worker.id, pid = worker.pid }) end,
            stop = function(worker) rp.log.notice("stops", { id = worker.id }) end } }, ]] .. ROUTE }
        local pid = rp:wait_stderr("starts id=0 pid=(%d+)")
        assert.truthy(posix.alive(tonumber(pid)))
        rp:signal("QUIT")
        rp:wait_stderr("stops id=0")
        assert.same({ exit = 0 }, rp:wait())
    end)

    it("start that raises keeps the worker from serving, and says why", function()
        local proc = require("spec.support.proc")
        local ok, err = pcall(e2e.proxy, { ports = {}, site = [[ use = { { name = "starter",
            start = function() error("no luck today") end } }, ]] .. ROUTE })
        local rp = ok and err
        if rp then
            local how = rp:wait()
            assert.truthy(how, "it still runs")
            assert.not_equal(0, how.exit)
            assert.truthy(rp:stderr():find("no luck today", 1, true), rp:stderr())
        end
        proc.cleanup()
    end)

    it("init sees the site at load", function()
        local rp = e2e.proxy { site = [[ use = { { init = function(site)
            rp.log.info("init ran", { hosts = #site.hosts })
        end } }, ]] .. ROUTE }
        assert.equal(200, http.get(rp.port, "/").status)
        assert.truthy(rp:stderr():find("init ran", 1, true))
        rp:stop()
    end)
end)
