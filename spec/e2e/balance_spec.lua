-- SPDX-License-Identifier: MIT
--
-- Balancing: which peer a request goes to by each policy, over real connections and several
-- workers.

local e2e = require("spec.support.e2e")
local http = require("spec.support.http")
local origin = require("spec.support.origin")
local posix = require("spec.support.posix")
local proc = require("spec.support.proc")
local process = require("spec.support.process")
local protocol = require("spec.support.protocol")
local wire = require("spec.support.wire")

local function answer(name)
    return { ["*"] = { status = 200, body = name } }
end

local HOLD = { { send = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n" }, { gate = "go" },
    { send = "ok" } }

describe("balancing", function()
    local rp, a, b, c, slow, dead

    setup(function()
        a, b, c = origin.start(answer("a")), origin.start(answer("b")), origin.start(answer("c"))
        slow = origin.start { ["/quick"] = { status = 200, body = "s" },
            ["*"] = { { wait = 0.25 }, { send = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\ns" } } }
        dead = posix.free_port()
        rp = proc.rproxy { vars = { a = a.port, b = b.port, c = c.port, slow = slow.port,
            dead = dead }, site = [[
            local function up(balance, more)
                local t = more or {}
                t.balance = balance
                t.peers = t.peers or { "127.0.0.1:${a}", "127.0.0.1:${b}", "127.0.0.1:${c}" }
                return rp.upstream(t)
            end
            return rp.site { workers = 2, listeners = { rp.listen { "127.0.0.1:${port}" } },
                upstreams = {
                    random = up("random"), ip = up("ip_hash"),
                    maglev = up({ "hash", key = "arg:id" }),
                    ring = up({ "hash", key = { "header:x-user" }, method = "ring" }),
                    hrw = up({ "hash", key = { "path", "cookie:side" }, method = "hrw" }),
                    weighted = up({ "hash", key = "arg:id", method = "ring" }, { peers = {
                        "127.0.0.1:${a} weight=8", "127.0.0.1:${b}", "127.0.0.1:${c}" } }),
                    fast = up("p2c", { peers = { "127.0.0.1:${a}", "127.0.0.1:${slow}" } }),
                    tiers = up("round_robin", { peers = { "127.0.0.1:${dead} weight=2",
                        { "127.0.0.1:${b}", priority = 1 }, "127.0.0.1:${c} backup" },
                        fail_rest = 30 }),
                    resting = up("round_robin", { peers = { "127.0.0.1:${dead}",
                        "127.0.0.1:${a}" }, fail_rest = 60 }),
                },
                hosts = { rp.host { default = true, routes = {
                    rp.route { "/random", upstream = "random" }, rp.route { "/ip", upstream = "ip" },
                    rp.route { "/maglev", upstream = "maglev" },
                    rp.route { "/ring", upstream = "ring" },
                    rp.route { "/hrw/*", upstream = "hrw" },
                    rp.route { "/weighted", upstream = "weighted" },
                    rp.route { "/fast", upstream = "fast" },
                    rp.route { "/tiers", upstream = "tiers" },
                    rp.route { "/resting", upstream = "resting" },
                } } } } ]] }
    end)

    teardown(function() e2e.stop(rp) end)

    -- Each on a connection of its own, so that both workers get their part.
    local function names(n, target, fields)
        local taken = {}
        for i = 1, n do
            local t = type(target) == "function" and target(i) or target
            local res = http.get(rp.port, t, fields)
            assert.equal(200, res.status)
            taken[res.body] = (taken[res.body] or 0) + 1
        end
        return taken
    end

    local function count(set)
        local n = 0
        for _ in pairs(set) do n = n + 1 end
        return n
    end

    it("by chance uses all peers", function()
        assert.equal(3, count(names(60, "/random")))
    end)

    it("by the client's address sends one client to one peer, whichever worker it meets", function()
        assert.equal(1, count(names(20, "/ip")))
    end)

    it("by an argument sends one value to one peer, and values to all", function()
        for _, id in ipairs { "1", "x", "%20" } do
            assert.equal(1, count(names(8, "/maglev?a=b&id=" .. id)))
        end
        local taken = names(90, function(i) return "/maglev?id=" .. i end)
        assert.equal(3, count(taken))
    end)

    it("by a header, and without it by chance", function()
        assert.equal(1, count(names(8, "/ring", { ["X-User"] = "ann" })))
        assert.equal(3, count(names(60, "/ring")))
    end)

    it("by several parts tells them apart", function()
        local peers = {}
        for i = 1, 30 do
            local one = names(2, "/hrw/" .. i % 3, { Cookie = "z=1; side=" .. i })
            assert.equal(1, count(one))
            peers[next(one)] = true
        end
        assert.equal(3, count(peers))
    end)

    it("by weight on the ring", function()
        local taken = names(200, function(i) return "/weighted?id=" .. i end)
        assert.is_true(taken.a > 120, taken.a)
    end)

    it("by latency leaves a slow peer alone", function()
        names(4, "/fast") -- both are known now
        local taken = names(40, "/fast")
        assert.is_true((taken.s or 0) <= 4, taken.s)
    end)

    it("uses a lower priority while none of the first is up, and backups last", function()
        assert.same({ b = 12 }, names(12, "/tiers"))
    end)

    it("takes the next peer when the first has no seat left", function()
        local held = origin.start { ["*"] = HOLD }
        local site = e2e.proxy { vars = { held = held.port, b = b.port }, site = [[
            upstreams = { o = rp.upstream { balance = "first", peers = {
                { "127.0.0.1:${held}", max_conns = 1 }, "127.0.0.1:${b}" } } },
            hosts = { rp.host { default = true, routes = { rp.route { "/*", upstream = "o" } } } } ]] }
        local w = wire.connect(site.port)
        w:send("GET /1 HTTP/1.1\r\nHost: a\r\n\r\n")
        held:wait_requests(1)
        assert.equal("b", http.get(site.port, "/2").body)
        assert.equal("b", http.get(site.port, "/3").body)
        held:open_gate("go")
        w:recv_until("ok")
        assert.equal("ok", http.get(site.port, "/4").body)
        assert.equal(2, #held:requests())
        site:stop()
    end)

    it("lets a peer rest in all workers when one of them found it dead, reloads included", function()
        local function failures()
            return #e2e.log_since(rp, 0, "upstream=resting")
        end
        assert.same({ a = 20 }, names(20, "/resting"))
        local before = failures()
        assert.is_true(before >= 1 and before <= 2, before) -- both may have asked at once
        process.must(rp, "reload")
        assert.same({ a = 10 }, names(10, "/resting"))
        assert.equal(before, failures())
    end)

    describe("with all seats taken", function()
        local held, site

        before_each(function()
            held = origin.start { ["*"] = { turns = { HOLD, { status = 200, body = "second" },
                { status = 200, body = "third" }, { status = 200, body = "fourth" } } } }
            site = e2e.proxy { vars = { held = held.port }, site = [[
                upstreams = {
                    few = rp.upstream { peers = { { "127.0.0.1:${held}", max_conns = 1 } },
                        queue = { max = 2, timeout = "10s" } },
                    none = rp.upstream { peers = { { "127.0.0.1:${held}", max_conns = 1 } } },
                    asked = rp.upstream { peers = { { "127.0.0.1:${held}", max_conns = 1 } },
                        queue = { max = 2, timeout = "100ms" },
                        balance = function() rp.sleep(0.001) end },
                    brief = rp.upstream { peers = { { "127.0.0.1:${held}", max_conns = 1 } },
                        queue = { max = 9, timeout = "50ms" } },
                },
                hosts = { rp.host { default = true, routes = {
                    rp.route { "/few/*", upstream = "few" }, rp.route { "/none/*", upstream = "none" },
                    rp.route { "/brief/*", upstream = "brief" },
                    rp.route { "/asked/*", upstream = "asked" } } } } ]] }
        end)

        after_each(function() site:stop() end)

        local function ask(target)
            local w = wire.connect(site.port)
            w:send("GET " .. target .. " HTTP/1.1\r\nHost: a\r\n\r\n")
            return w
        end

        -- Requests that the proxy holds, by what they wait for.
        local function fill(target)
            local first = ask(target)
            held:wait_requests(1)
            return first
        end

        it("some requests wait, one after the other, and the others are refused", function()
            local first, wires, bodies, refused = fill("/few/1"), {}, {}, 0
            for i = 1, 4 do wires[i] = ask("/few/" .. i) end
            assert.truthy(posix.poll(function() -- two answers come while nobody has a seat
                for i = 1, 4 do
                    local text = wires[i] and wires[i]:recv_some(0.05) or ""
                    if text:find("503", 1, true) then
                        refused, wires[i] = refused + 1, nil
                    end
                end
                return refused == 2
            end))
            assert.equal(1, #held:requests())
            held:open_gate("go")
            first:recv_until("ok")
            for _, w in pairs(wires) do
                local status, length = w:recv_until("\r\n\r\n"):match(" (%d+) .*Length: (%d+)")
                assert.equal("200", status)
                bodies[#bodies + 1] = w:recv(tonumber(length))
            end
            table.sort(bodies)
            assert.same({ "second", "third" }, bodies)
        end)

        it("requests are refused at once where there is no queue", function()
            local first = fill("/none/1")
            local res = http.get(site.port, "/none/2", { Accept = "application/json" })
            assert.equal(503, res.status)
            assert.matches("upstream_full", res.body)
            held:open_gate("go")
            first:recv_until("ok")
        end)

        it("requests wait no longer than they may", function()
            local first = fill("/brief/1")
            assert.equal(503, http.get(site.port, "/brief/2").status)
            held:open_gate("go")
            first:recv_until("ok")
            assert.equal("second", http.get(site.port, "/brief/3").body)
        end)

        it("requests wait no longer than that for a hook that is asked, either", function()
            local first = fill("/asked/1")
            assert.equal(503, http.get(site.port, "/asked/2").status)
            held:open_gate("go")
            first:recv_until("ok")
        end)

        it("a client that goes away leaves its place", function()
            local first = fill("/few/1")
            local gone, second = ask("/few/gone"), ask("/few/2")
            assert.equal(503, http.get(site.port, "/few/full").status)
            gone:close()
            local third -- there is room again once the proxy has seen it
            assert.truthy(posix.poll(function()
                third = ask("/few/3")
                local text = third:recv_some(0.1)
                return not text:find("503", 1, true)
            end))
            held:open_gate("go")
            first:recv_until("ok")
            second:recv_until("second")
            third:recv_until("third")
        end)
    end)

    describe("of sticky clients", function()
        local SECURE = protocol.has_tls and "; Secure" or ""
        local site

        after_each(function() site:stop() end)

        local function start(more, vars)
            local all = { a = a.port, b = b.port, c = c.port }
            for key, value in pairs(vars or {}) do all[key] = value end
            site = proc.rproxy { vars = all, site = [[
                return rp.site { workers = 2, listeners = { rp.listen { "127.0.0.1:${port}" } },
                    upstreams = { o = rp.upstream { balance = "random", fail_rest = 60,
                        peers = { "127.0.0.1:${a}", "127.0.0.1:${b}", "127.0.0.1:${c}" },
                        sticky = { cookie = "side", ]] .. (more or "") .. [[ } } },
                    hosts = { rp.host { default = true, routes = {
                        rp.route { "/*", upstream = "o" } } } } } ]] }
        end

        local function get(cookie)
            local res = http.get(site.port, "/", cookie and { Cookie = cookie } or nil)
            assert.equal(200, res.status)
            return res.body, e2e.values(res.fields, "set-cookie")[1]
        end

        it("sends them back to the peer that they had, whichever worker they meet", function()
            start()
            local known = {}
            for _ = 1, 6 do
                local first, line = get()
                local cookie = line:match("^(side=%x+); Path=/; HttpOnly; SameSite=Lax" .. SECURE .. "$")
                assert.is_string(cookie, line)
                known[cookie] = first
                for _ = 1, 6 do
                    local body, again = get("x=1; " .. cookie)
                    assert.equal(first, body)
                    assert.is_nil(again) -- it knows already
                end
            end
            process.must(site, "reload")
            for cookie, name in pairs(known) do assert.equal(name, (get(cookie))) end
        end)

        it("sends those whose cookie is none anywhere, and tells them", function()
            start()
            for _, bad in ipairs { "side=", "side=" .. ("0"):rep(32), "side=a", "side=" .. ("g"):rep(32) } do
                local _, line = get(bad)
                assert.matches("^side=%x+; ", line)
            end
        end)

        it("keeps them while their peer is drained, and sends them elsewhere when it is gone", function()
            start()
            local first, line = get()
            local cookie = line:match("^side=%x+")
            local port = ({ a = a, b = b, c = c })[first].port
            local function order(word)
                assert.equal(0, (proc.run { process.BIN, "peer", "-p", site.site_path, "o",
                    "127.0.0.1:" .. port, word }).exit)
            end
            order("drain")
            for _ = 1, 5 do assert.equal(first, (get(cookie))) end
            for _ = 1, 10 do assert.are_not.equal(first, (get())) end
            order("maint")
            local other, again = get(cookie)
            assert.are_not.equal(first, other)
            assert.matches("^side=%x+", again)
        end)

        it("has cookies that other instances with the same secret know", function()
            start('secret = "0123456789abcdef", max_age = "1h", path = "/app", same_site = "Strict"')
            local first, line = get()
            local cookie = line:match("^(side=%x+); Path=/app; Max%-Age=3600; HttpOnly; SameSite=Strict"
                .. SECURE .. "$")
            assert.is_string(cookie, line)
            site:stop()
            start('secret = "0123456789abcdef"')
            for _ = 1, 5 do assert.equal(first, (get(cookie))) end
            site:stop()
            start()
            assert.is_string(select(2, get(cookie))) -- another key
        end)
    end)
end)
