-- SPDX-License-Identifier: MIT
--
-- Splits: how requests are divided among upstreams: shares, keys, cookies, rules, the operator's word
-- and reloads.

local chance = require("spec.support.chance")
local e2e = require("spec.support.e2e")
local http = require("spec.support.http")
local origin = require("spec.support.origin")
local posix = require("spec.support.posix")
local proc = require("spec.support.proc")
local process = require("spec.support.process")
local protocol = require("spec.support.protocol")
local wire = require("spec.support.wire")

local SITE = [[
    local function up(port) return rp.upstream { peers = { "127.0.0.1:" .. port } } end
    local keyed = rp.split { name = "keyed", stable = 90, canary = 10, by = "header:x-user" }
    return rp.site { workers = 2, listeners = { rp.listen { "127.0.0.1:${port}" } },
        log = { access = { to = "${dir}/access.log", format = "json",
            fields = { "path", "upstream_group", "status" }, buffer = 0 } },
        upstreams = { stable = up(${stable}), canary = up(${canary}), third = up(${third}) },
        hosts = { rp.host { default = true, routes = {
            rp.route { "/keyed/*", upstream = keyed },
            rp.route { "/other/*", upstream = keyed },
            rp.route { "/salted/*", upstream = rp.split { name = "salted", stable = 90,
                canary = 10, by = "header:x-user" } },
            rp.route { "/chance/*", upstream = rp.split { name = "chance", stable = ${share},
                canary = 20, third = 10 } },
            rp.route { "/cookie/*", upstream = rp.split { name = "cookie", { "stable", 50 },
                { "canary", 50 }, sticky = { cookie = "ab", max_age = 60 } } },
            rp.route { "/rules/*", upstream = rp.split { stable = 1, canary = 0, when = {
                { header = { ["x-canary"] = "1" }, upstream = "canary" },
                { cookie = { beta = { regex = "^y" } }, source = { "127.0.0.0/8" },
                    upstream = "third" },
                { query = { all = true }, upstream = "canary" } } } },
            rp.route { "/hook/*", use = { {
                access = function(req)
                    if req:get("x-to") then req.upstream = rp.upstreams[req:get("x-to")] end
                end,
                header_filter = function(req, res) res:set("x-upstream", req.upstream.name) end,
            } }, upstream = rp.split { name = "hook", stable = 0, canary = 1 } },
            rp.route { "/late/*", use = { {
                access = function(req) req.consumer = req:get("x-who") end,
            } }, upstream = rp.split { name = "late", stable = 1, canary = 1, by = "consumer" } },
        } } } } ]]

describe("a split", function()
    local rp, origins

    setup(function()
        origins = {}
        local vars = { share = 70 }
        for _, name in ipairs { "stable", "canary", "third" } do
            origins[name] = origin.start { ["*"] = { status = 200, body = name } }
            vars[name] = origins[name].port
        end
        rp = proc.rproxy { vars = vars, site = SITE }
    end)

    teardown(function() e2e.stop(rp) end)

    local function get(target, fields) return http.get(rp.port, target, fields) end

    local function side(target, fields)
        local res = get(target, fields)
        assert.equal(200, res.status)
        return res.body
    end

    local function count(n, target, fields)
        local taken = { stable = 0, canary = 0, third = 0 }
        for i = 1, n do
            local name = side(target, fields and fields(i))
            taken[name] = taken[name] + 1
        end
        return taken
    end

    local function run(...)
        local how, out, err = proc.run { process.BIN, "split", "-p", rp.site_path, ... }
        return how.exit, out, err
    end

    local function user(i) return { ["X-User"] = "user-" .. i } end

    local function users_of(target, n)
        local map = {}
        for i = 1, n do map[i] = side(target, user(i)) end
        return map
    end

    it("gives each side its share, by chance", function()
        local taken = count(400, "/chance/x")
        -- 13.8: a chance of 0.1 % with two degrees of freedom; seeds differ, so it is 6 in a million
        assert.is_true(chance.chi_square({ taken.stable, taken.canary, taken.third },
            { 70, 20, 10 }) < 24)
    end)

    it("keeps a key on its side, in all workers and routes, and divides keys as shares say",
        function()
            local map, n = users_of("/keyed/a", 150), 0
            for i = 1, 150, 10 do
                assert.equal(map[i], side("/keyed/b", user(i)))
                assert.equal(map[i], side("/other/c", user(i)))
            end
            for _, name in ipairs(map) do n = n + (name == "canary" and 1 or 0) end
            assert.is_true(n >= 1 and n <= 34, n) -- 15 expected; five deviations are 19
        end)

    it("divides the keys of two splits differently", function()
        local a, b, same = users_of("/keyed/a", 60), users_of("/salted/a", 60), true
        for i = 1, 60 do same = same and a[i] == b[i] end
        assert.is_false(same)
    end)

    it("keeps a client by a cookie that it cannot make up", function()
        local first = get("/cookie/x")
        local cookie = first:header("set-cookie")
        assert.matches("^ab=%x+; Path=/; Max%-Age=60; HttpOnly; SameSite=Lax"
            .. (protocol.has_tls and "; Secure" or "") .. "$", cookie)
        local value = cookie:match("^ab=(%x+)")
        assert.equal(32, #value)
        for _ = 1, 10 do
            local res = get("/cookie/y", { Cookie = "x=1; ab=" .. value })
            assert.equal(first.body, res.body)
            assert.is_nil(res:header("set-cookie"))
        end
        for _, bad in ipairs { "", value:sub(1, 31), value .. "0", ("0"):rep(32),
            ("%04x"):format(1) .. value:sub(5), "ffff" .. value:sub(5), ("z"):rep(32) } do
            assert.truthy(get("/cookie/y", { Cookie = "ab=" .. bad }):header("set-cookie"), bad)
        end
    end)

    it("does what its rules say before it looks at shares", function()
        assert.equal("stable", side("/rules/x"))
        assert.equal("canary", side("/rules/x", { ["X-Canary"] = "1" }))
        assert.equal("stable", side("/rules/x", { ["X-Canary"] = "2" }))
        assert.equal("third", side("/rules/x", { Cookie = "a=b; beta=yes" }))
        assert.equal("stable", side("/rules/x", { Cookie = "a=b; beta=no" }))
        assert.equal("canary", side("/rules/x?all"))
    end)

    it("shows hooks what it chose, and lets them choose another", function()
        assert.equal("canary", get("/hook/x"):header("x-upstream"))
        local res = get("/hook/x", { ["X-To"] = "third" })
        assert.same({ "third", "third" }, { res:header("x-upstream"), res.body })
    end)

    it("knows clients by what authentication says of them", function()
        local seen = {}
        for i = 1, 30 do
            local one = side("/late/x", { ["X-Who"] = "c" .. i })
            seen[one] = true
            assert.equal(one, side("/late/y", { ["X-Who"] = "c" .. i }))
        end
        assert.is_true(seen.stable and seen.canary)
    end)

    if protocol.name ~= "h1" then return end -- the rest is not about requests

    it("has its choice in the access log", function()
        get("/hook/logged")
        assert.truthy(posix.poll(function()
            local log = posix.read_file(rp.dir .. "/access.log") or ""
            return log:find('"path":"/hook/logged","upstream_group":"canary"', 1, true)
        end))
    end)

    it("is printed with what became of its requests", function()
        local code, out = run()
        assert.equal(0, code)
        assert.matches("^split +upstream +share +site +requests", out)
        assert.matches("keyed +stable %(base%) +90.00%% +90.00%% +%d+ +0 ", out)
        code, out = run("hook", "--json")
        assert.equal(0, code)
        assert.equal(2, select(2, out:gsub("\n", "")))
        assert.matches('"requests":[1-9]', out)
        assert.equal(1, (run("none")))
        local _, text = proc.run { process.BIN, "metrics", "-p", rp.site_path }
        assert.matches('rproxy_split_share{split="keyed",upstream="canary"} 0.1000\n', text)
        assert.matches('rproxy_split_requests_total{split="hook",upstream="canary"} [1-9]', text)
    end)

    it("changes in all workers at once, moves no more clients than it must, and keeps those of "
        .. "a side that grows", function()
        local before = users_of("/keyed/a", 120)
        local code, out = run("keyed", "canary=50")
        assert.equal(0, code)
        assert.equal("keyed: canary 50.00%, stable 50.00%\n", out)
        local after, n = users_of("/keyed/a", 120), 0
        for i = 1, 120 do
            if before[i] == "canary" then assert.equal("canary", after[i]) end
            n = n + (after[i] == "canary" and 1 or 0)
        end
        assert.is_true(n >= 33 and n <= 87, n)
        assert.equal(0, (run("keyed", "canary")))
        assert.same({ stable = 0, canary = 20, third = 0 }, count(20, "/keyed/x", user))
        assert.equal(0, (run("keyed", "stable=100", "canary=0")))
        assert.same({ stable = 20, canary = 0, third = 0 }, count(20, "/keyed/x", user))
        assert.equal(0, (run("keyed", "site")))
        assert.same(before, users_of("/keyed/a", 120))
    end)

    it("moves clients with a cookie, too, and back", function()
        local cookie = get("/cookie/x"):header("set-cookie"):match("^[^;]+")
        local fields = { Cookie = cookie }
        local was = side("/cookie/x", fields)
        run("cookie", "stable")
        assert.equal("stable", side("/cookie/x", fields))
        run("cookie", "canary")
        assert.equal("canary", side("/cookie/x", fields))
        run("cookie", "site")
        assert.equal(was, side("/cookie/x", fields))
    end)

    it("keeps the operator's shares over a reload, until the site's own numbers change", function()
        assert.equal(0, (run("chance", "third")))
        assert.equal(0, (proc.run { process.BIN, "reload", "-p", rp.site_path }).exit)
        assert.same({ stable = 0, canary = 0, third = 20 }, count(20, "/chance/x"))
        rp:write_site(SITE, { share = 0 })
        assert.equal(0, (proc.run { process.BIN, "reload", "-p", rp.site_path }).exit)
        local taken = count(60, "/chance/x")
        assert.equal(0, taken.stable)
        assert.is_true(taken.canary > 0 and taken.third > 0)
    end)

    it("is what it was when a worker dies", function()
        run("keyed", "canary")
        local pids = process.workers(rp)
        posix.kill(pids[1], "KILL")
        process.wait_workers(rp, 2, { pids[1] })
        assert.same({ stable = 0, canary = 10, third = 0 }, count(10, "/keyed/x", user))
    end)

    it("refuses words that mean nothing", function()
        local code, _, err = run("keyed", "blue=3")
        assert.equal(1, code)
        assert.matches('no side "blue"', err)
        code, _, err = run("keyed", "pause")
        assert.equal(1, code)
        assert.matches("has no rollout", err)
        assert.equal(1, (run("keyed", "canary=500")))
    end)
end)

describe("a site with splits", function()
    local function errors(split, more)
        local site = ([[
            local rp = require("rproxy")
            return rp.site { listeners = { rp.listen { "127.0.0.1:1" } },
                upstreams = { a = rp.upstream { peers = { "127.0.0.1:2" } },
                    b = rp.upstream { peers = { "127.0.0.1:3" } } },
                hosts = { rp.host { default = true, routes = {
                    rp.route { "/*", upstream = rp.split { %s } }, %s } } } } ]]):format(split,
            more or "")
        local dir = proc.temp_dir()
        posix.write_file(dir .. "/site.lua", site)
        local how, out, err = proc.run { process.BIN, "-t", "-p", dir .. "/site.lua" }
        return how.exit == 0 and "" or out .. err
    end

    it("is refused with its mistakes in words", function()
        assert.equal("", errors("a = 1, b = 1"))
        assert.matches("no upstream", errors("a = 1, c = 1"))
        assert.matches("all shares are 0", errors("a = 0, b = 0"))
        assert.matches("number from 0 to", errors("a = -1, b = 1"))
        assert.matches("expected 1 to 8 sides", errors(""))
        assert.matches("base: \"c\" is none of the sides", errors('a = 1, b = 1, base = "c"'))
        assert.matches("rp.split.by: expected", errors('a = 1, b = 1, by = "moon"'))
        assert.matches("when%[1%]: no condition", errors('a = 1, when = { { upstream = "b" } }'))
        assert.matches("no upstream", errors('a = 1, when = { { upstream = "x", '
            .. 'header = { h = "1" } } }'))
        assert.matches("percentages from 0.01 to 100",
            errors("a = 1, b = 0, rollout = { steps = { 5, 1 } }"))
        assert.matches("rollout.canary", errors('a = 1, rollout = { steps = { 5 } }'))
        assert.matches("is the name of the split of", errors('a = 1, b = 1, name = "x"',
            'rp.route { "/y", upstream = rp.split { a = 1, name = "x" } }'))
        assert.matches("stiky", errors("a = 1, stiky = {}"))
    end)
end)

if protocol.name ~= "h1" then return end

describe("a tunnel through a split", function()
    local SWITCH = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
        .. "Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
    local UPGRADE = { Upgrade = "websocket", Connection = "Upgrade",
        ["Sec-WebSocket-Key"] = "dGhlIHNhbXBsZSBub25jZQ==", ["Sec-WebSocket-Version"] = "13" }
    local TUNNEL_SITE = [[ return rp.site { workers = 1,
        listeners = { rp.listen { "127.0.0.1:${port}" } },
        upstreams = { o = rp.upstream { peers = { "127.0.0.1:${origin}" } } },
        hosts = { rp.host { default = true, routes = { ${route} } } } } ]]
    local ROUTES = { 'rp.route { "/echo", id = "echo", upstream = rp.split { o = 1 } }',
        'rp.route { "/echo", id = "echo", upstream = "o" }',
        'rp.route { "/other", respond = { 200, "other" } }' }

    it("outlives reloads that take the split, and then the route, away", function()
        local up = origin.start { ["/echo"] = { { send = SWITCH }, { echo = true } } }
        local rp = proc.rproxy { vars = { origin = up.port, route = ROUTES[1] }, site = TUNNEL_SITE }
        local w = wire.connect(rp.port)
        assert.equal(101, http.request(w, { target = "/echo", fields = UPGRADE }).status)
        for i = 1, 3 do
            rp:write_site(TUNNEL_SITE, { route = ROUTES[i] })
            assert.equal(0, (proc.run { process.BIN, "reload", "-p", rp.site_path }).exit)
            w:send("hello")
            assert.equal("hello", w:recv(5))
        end
        w:close()
        assert.equal(200, http.get(rp.port, "/other").status)
        assert.is_nil(rp:stderr():find("worker died", 1, true), rp:stderr())
        e2e.stop(rp)
    end)
end)
