-- SPDX-License-Identifier: MIT
--
-- Streams of datagrams: sessions, how they begin and end, and what bounds them.

local e2e = require("spec.support.e2e")
local posix = require("spec.support.posix")
local proc = require("spec.support.proc")
local process = require("spec.support.process")
local udp = require("spec.support.udp")
local wire = require("spec.support.wire")

local MOST = 65507

local function site_text(opt)
    return ("return rp.site { workers = %d, log = { access = { to = '${dir}/access.log', format = '%s', "
        .. "buffer = 0 } }, %s }"):format(opt.workers or 1, opt.format or "json", opt.site)
end

-- opt: ports (names), vars, site, workers, format.
local function start(opt)
    local vars = opt.vars or {}
    for _, name in ipairs(opt.ports) do vars[name] = posix.free_port() end
    local rp = proc.rproxy { vars = vars, port = vars[opt.ports[1]], ports = {}, env = opt.env,
        site = site_text(opt) }
    rp:wait_stderr("serving site=")
    return rp
end

local function log_text(rp) return posix.read_file(rp.dir .. "/access.log") or "" end

local function log_line(rp, pattern)
    local found = posix.poll(function() return log_text(rp):match("[^\n]*" .. pattern .. "[^\n]*\n") end)
    if not found then error(("no %q in the access log:\n%s"):format(pattern, log_text(rp)), 2) end
    return found
end

local function counter(rp, name)
    return tonumber(process.must(rp, "status"):match("\n" .. name .. ": (%d+)"))
end

-- Workers tell their counters once in a while.
local function wait_counter(rp, name, n, more)
    local got
    local ok = posix.poll(function()
        got = counter(rp, name)
        return got == n or (more and got > n)
    end)
    if not ok then error(("%s is %s, not %d"):format(name, tostring(got), n), 2) end
end

describe("a stream of datagrams", function()
    local rp, up

    setup(function()
        up = udp.bind():keep()
        rp = start { ports = { "one", "dns", "quick", "any", "some", "six" }, vars = { up = up.port },
            site = [[
            upstreams = { up = rp.upstream { peers = { "127.0.0.1:${up}" } } },
            streams = {
                rp.stream { "udp:127.0.0.1:${one}", "127.0.0.1:${one}", upstream = "up" },
                rp.stream { "udp:127.0.0.1:${dns}", upstream = "up", udp = { responses = 1 } },
                rp.stream { "udp:127.0.0.1:${quick}", upstream = "up",
                    udp = { idle = 0.2, responses = 1 } },
                rp.stream { "udp:0.0.0.0:${any}", "udp:[::]:${any}", upstream = "up" },
                rp.stream { "udp:127.0.0.1:${some}", upstream = "up", udp = { requests = 2 } },
                rp.stream { "udp:[::1]:${six}", upstream = "up" },
            } ]] }
    end)

    teardown(function()
        up:close()
        e2e.stop(rp)
    end)
    after_each(udp.close_all)

    local function client(name, ip) return udp.client(rp.vars[name], ip) end

    it("relays both ways, one session for each client", function()
        local a, b = client "one", client "one"
        a:send("a1")
        b:send("b1")
        local of = {}
        for _ = 1, 2 do
            local q = up:take()
            of[q.text] = q
        end
        assert.not_equal(of.a1.port, of.b1.port)
        a:send("a2")
        assert.equal(of.a1.port, up:take().port)
        up:answer(of.b1, "for b")
        up:answer(of.a1, "for a")
        up:answer(of.a1, "again")
        assert.equal("for b", b:recv())
        assert.same({ "for a", "again" }, { a:recv(), a:recv() })
        wait_counter(rp, "streams_active", 2, true)
    end)

    it("relays datagrams of every size as they are", function()
        local c = client "one"
        for _, text in ipairs { "x", "", ("y"):rep(1473), ("z"):rep(MOST), "" } do
            c:send(text)
            local q = up:take()
            assert.is_true(q.text == text)
            up:answer(q, text)
            assert.is_true(c:recv() == text)
        end
    end)

    it("listens for connections on the same port", function()
        assert.is_true(posix.is_listening(rp.vars.one))
        local c = wire.connect(rp.vars.one)
        assert.is_true(c:is_closed()) -- nobody takes TCP at the upstream
    end)

    it("takes answers from the peer only", function()
        local c, stranger = client "one", udp.bind()
        c:send("q")
        local q = up:take()
        stranger:answer(q, "forged")
        up:answer(q, "true")
        assert.equal("true", c:recv())
    end)

    it("answers from the address that was written to", function()
        for _, ip in ipairs { "127.0.0.1", "127.0.0.77", "::1" } do
            local c = client("any", ip) -- hears no other address
            c:send("q")
            local q = up:take()
            up:answer(q, "a")
            assert.equal("a", c:recv())
        end
        -- One client socket, two addresses of ours: two sessions.
        local c = udp.bind()
        for _, ip in ipairs { "127.0.0.1", "127.0.0.2" } do c.socket:sendto(ip, ip, rp.vars.any) end
        local ports = {}
        for _ = 1, 2 do
            local q = up:take()
            up:answer(q, "for " .. q.text)
            ports[#ports + 1] = q.port
        end
        assert.not_equal(ports[1], ports[2])
        for _ = 1, 2 do
            local got = c:take()
            assert.equal("for " .. got.ip, got.text)
        end
    end)

    it("speaks IPv6", function()
        local c = client("six", "::1")
        c:send("q")
        up:answer(up:take(), "a")
        assert.equal("a", c:recv())
    end)

    it("ends when each datagram has its answer, and begins anew with another port", function()
        local c = client "dns"
        c:send("one")
        c:send("four") -- both are asked before the first is answered, as resolvers do
        local one, four = up:take(), up:take()
        assert.equal(one.port, four.port)
        up:answer(four, "4")
        assert.equal("4", c:recv())
        up:answer(one, "1")
        assert.equal("1", c:recv())
        local line = log_line(rp, '"bytes_up":7,"bytes_down":2,')
        assert.matches('"remote_ip":"127.0.0.1","listener":"udp:127.0.0.1:' .. rp.vars.dns .. '"', line)
        assert.matches('"upstream":"up","upstream_addr":"127.0.0.1:' .. up.port .. '","tries":1', line)
        assert.matches('"duration":%d+%.%d%d%d,"reason":"","datagrams_up":2,"datagrams_down":2}', line)
        c:send("again")
        assert.not_equal(one.port, up:take().port)
    end)

    it("ends in silence, which is the peer's fault where an answer was due", function()
        local c = client "quick"
        c:send("nobody answers this")
        local q = up:take()
        log_line(rp, '"bytes_up":19,.*"reason":"no_answer","datagrams_up":1,"datagrams_down":0')
        c:send("second")
        assert.not_equal(q.port, up:take().port)
    end)

    it("begins another session after so many datagrams, and delivers late answers", function()
        local c = client "some"
        local of = {}
        for i = 1, 3 do
            c:send(tostring(i))
            of[i] = up:take()
        end
        assert.equal(of[1].port, of[2].port)
        assert.not_equal(of[2].port, of[3].port)
        up:answer(of[1], "late")
        assert.equal("late", c:recv())
        up:answer(of[3], "new")
        assert.equal("new", c:recv())
    end)

    it("counts datagrams", function()
        for _ = 1, 5 do
            local c = client "dns"
            c:send("q")
            up:answer(up:take(), "a")
            c:recv()
        end
        wait_counter(rp, "udp_datagrams_in", 5, true)
        wait_counter(rp, "udp_datagrams_out", 5, true)
        assert.equal(0, counter(rp, "udp_datagrams_dropped"))
    end)
end)

describe("a peer of datagrams that is not there", function()
    local rp, up

    setup(function()
        up = udp.bind():keep()
        rp = start { ports = { "first", "only", "rests" }, vars = { up = up.port,
            nobody = posix.free_port() }, site = [[
            upstreams = {
                first = rp.upstream { peers = { "127.0.0.1:${nobody}", "127.0.0.1:${up} backup" },
                    max_fails = 0 },
                rests = rp.upstream { peers = { "127.0.0.1:${nobody}", "127.0.0.1:${up} backup" },
                    max_fails = 1, fail_rest = "1h" },
                only = rp.upstream { peers = { "127.0.0.1:${nobody}" } },
            },
            streams = {
                rp.stream { "udp:127.0.0.1:${first}", upstream = "first" },
                rp.stream { "udp:127.0.0.1:${only}", upstream = "only" },
                rp.stream { "udp:127.0.0.1:${rests}", upstream = "rests", udp = { responses = 1 } },
            } ]] }
    end)

    teardown(function()
        up:close()
        e2e.stop(rp)
    end)
    after_each(udp.close_all)

    it("loses no datagram: another peer gets what nobody took", function()
        local c = udp.client(rp.vars.first)
        c:send("one")
        local q = up:take()
        assert.equal("one", q.text)
        up:answer(q, "answer")
        assert.equal("answer", c:recv())
        c:send("two")
        local next_one = up:take()
        assert.same({ "two", q.port }, { next_one.text, next_one.port })
        rp:wait_stderr('upstream connect failed upstream=first peer=127.0.0.1:%d+ try=1 error='
            .. '"Connection refused" listener=udp:')
    end)

    it("rests, as for connections", function()
        for i = 1, 3 do
            local c = udp.client(rp.vars.rests)
            c:send("n" .. i)
            local q = up:take()
            assert.equal("n" .. i, q.text)
            up:answer(q, "ok")
            assert.equal("ok", c:recv())
        end
        local _, failures = rp:stderr():gsub("upstream=rests peer=", "")
        assert.equal(1, failures)
        log_line(rp, '"upstream":"rests","upstream_addr":"127.0.0.1:' .. up.port .. '","tries":2')
    end)

    it("ends the session when there is no other", function()
        local c = udp.client(rp.vars.only)
        c:send("lost")
        log_line(rp, '"upstream":"only",.*"reason":"upstream_connect"')
        assert.is_true(c:is_silent(0))
    end)

    it("in the middle of a session, is left by the next datagram", function()
        local dying = udp.bind("127.0.0.1", rp.vars.nobody)
        local c = udp.client(rp.vars.first)
        c:send("one")
        local q = dying:take()
        dying:answer(q, "from the first")
        assert.equal("from the first", c:recv())
        dying:close()
        local got = posix.poll(function() -- the first of them tells that nobody is there
            c:send("more")
            return not up:is_silent(0.05)
        end)
        assert.is_truthy(got)
    end)
end)

describe("hooks of a stream of datagrams", function()
    local rp, a, b

    setup(function()
        a, b = udp.bind():keep(), udp.bind():keep()
        rp = start { ports = { "pick", "deny", "wait", "bad" }, vars = { a = a.port, b = b.port },
            site = [[
            upstreams = {
                a = rp.upstream { peers = { "127.0.0.1:${a}" } },
                b = rp.upstream { peers = { "127.0.0.1:${b}" } },
                framed = rp.upstream { peers = { "127.0.0.1:${b}" }, proxy_protocol = "v2" },
            },
            streams = {
                rp.stream { "udp:127.0.0.1:${pick}", upstream = "a", udp = { responses = 1 }, use = { {
                    connect = function(conn)
                        if conn.remote_ip == "127.0.0.2" then conn.upstream = "b" end
                        conn.ctx.seen = conn.transport
                    end,
                    log = function(conn)
                        rp.log.warn("ended", { seen = conn.ctx.seen, up = conn.datagrams_up,
                            down = conn.datagrams_down, bytes = conn.bytes_up, peer = conn.peer })
                    end } } },
                rp.stream { "udp:127.0.0.1:${deny}", upstream = "a", use = { {
                    connect = function(conn)
                        rp.log.warn("asked")
                        return conn:deny()
                    end } } },
                rp.stream { "udp:127.0.0.1:${wait}", upstream = "a", use = { {
                    connect = function() rp.sleep(0.2) end } } },
                rp.stream { "udp:127.0.0.1:${bad}", use = { {
                    connect = function(conn) conn.upstream = "framed" end } } },
            } ]] }
    end)

    teardown(function()
        a:close()
        b:close()
        e2e.stop(rp)
    end)
    after_each(udp.close_all)

    it("choose the upstream, and hear how it went", function()
        local c = udp.client(rp.vars.pick, nil, "127.0.0.2")
        c:send("hello")
        b:answer(b:take(), "from b")
        assert.equal("from b", c:recv())
        local line = rp:wait_stderr("ended [^\n]+")
        for _, fact in ipairs { "seen=udp", "up=1", "down=1", "bytes=5", "peer=127.0.0.1:" .. b.port } do
            assert.is_truthy(line:find(fact, 1, true), line)
        end
        udp.client(rp.vars.pick):send("plain")
        assert.equal("plain", a:take().text)
    end)

    it("refuse a client, which costs one question for many datagrams", function()
        local c = udp.client(rp.vars.deny)
        for i = 1, 20 do c:send("x" .. i) end
        log_line(rp, '"listener":"udp:127.0.0.1:' .. rp.vars.deny .. '".*"reason":"denied"')
        assert.is_true(a:is_silent(0))
        local _, asked = rp:stderr():gsub("asked", "")
        assert.is_true(asked < 20)
        wait_counter(rp, "udp_datagrams_dropped", 20, true)
    end)

    it("hold a few datagrams while they wait, in order", function()
        local c = udp.client(rp.vars.wait)
        for i = 1, 4 do c:send(tostring(i)) end
        for i = 1, 4 do assert.equal(tostring(i), a:take().text) end
    end)

    it("cannot choose an upstream that takes no datagrams", function()
        udp.client(rp.vars.bad):send("x")
        rp:wait_stderr("framed takes no datagrams")
        log_line(rp, '"reason":"hook_error"')
    end)
end)

describe("the bound on sessions", function()
    local rp, up

    setup(function()
        up = udp.bind():keep()
        rp = start { ports = { "few" }, vars = { up = up.port }, site = [[
            upstreams = { up = rp.upstream { peers = { "127.0.0.1:${up}" } } },
            streams = { rp.stream { "udp:127.0.0.1:${few}", upstream = "up", udp = { sessions = 3 } } } ]] }
    end)

    teardown(function()
        up:close()
        e2e.stop(rp)
    end)

    it("drops new clients, lets one-sided ones make room in time, and never known ones", function()
        local known = udp.client(rp.vars.few)
        known:send("one")
        local q = up:take()
        up:answer(q, "yes")
        assert.equal("yes", known:recv())
        known:send("two") -- now it has shown that it gets our answers
        assert.equal("two", up:take().text)
        local forged, late = { udp.client(rp.vars.few), udp.client(rp.vars.few) }, udp.client(rp.vars.few)
        for i = 1, 2 do forged[i]:send("forged " .. i) end
        late:send("too many") -- before those are a second old
        for i = 1, 2 do assert.equal("forged " .. i, up:take().text) end
        rp:wait_stderr('datagrams dropped why="too many sessions" listener=udp:[^ ]+ dropped_n=1 '
            .. "sessions_n=3")
        wait_counter(rp, "udp_datagrams_dropped", 1)
        local served = posix.poll(function() -- once the forged ones are a second old
            late:send("let me in")
            return not up:is_silent(0.1)
        end)
        assert.is_truthy(served)
        wait_counter(rp, "udp_sessions_evicted", 1)
        log_line(rp, '"reason":"evicted"')
        wait_counter(rp, "streams_active", 3)
        while not up:is_silent(0) do end -- what `late` repeated
        known:send("three")
        local again = up:take()
        assert.same({ "three", q.port }, { again.text, again.port })
        udp.close_all()
    end)
end)

describe("reload and stop, for datagrams", function()
    local rp, up
    local SITE = [[
        upstreams = { up = rp.upstream { peers = { "127.0.0.1:${up}" } } },
        streams = { rp.stream { "udp:127.0.0.1:${one}", upstream = "up", udp = { idle = "%s" } }, %s } ]]
    local OTHER = [[ rp.stream { "udp:127.0.0.1:${two}", upstream = "up" } ]]

    before_each(function()
        up = udp.bind()
        rp = start { ports = { "one", "two" }, vars = { up = up.port }, workers = 2,
            site = SITE:format("30s", OTHER) }
    end)

    after_each(function()
        udp.close_all()
        e2e.stop(rp)
    end)

    local function reload(site)
        rp:write_site(site_text { workers = 2, site = site })
        process.must(rp, "reload")
    end

    it("keeps sessions under traffic", function()
        local clients, ports = {}, {}
        for i = 1, 8 do
            clients[i] = udp.client(rp.vars.one)
            clients[i]:send("first")
            local q = up:take()
            ports[i] = q.port
            up:answer(q, "ok")
            assert.equal("ok", clients[i]:recv())
        end
        for round = 1, 3 do
            reload(SITE:format(30 + round .. "s", OTHER))
            for i, c in ipairs(clients) do
                c:send("round " .. round)
                local q = up:take()
                assert.equal(ports[i], q.port) -- the same socket towards the peer
                up:answer(q, tostring(round))
                assert.equal(tostring(round), c:recv())
            end
        end
        wait_counter(rp, "streams_active", 8)
    end)

    it("leaves the port of a stream that is gone, after a moment for answers", function()
        local c = udp.client(rp.vars.two)
        c:send("asked before")
        local q = up:take()
        rp:write_site(site_text { workers = 2, site = SITE:format("30s", "") })
        rp:signal("HUP")
        rp:wait_stderr("reloaded generation=2", 20)
        up:answer(q, "answered after")
        assert.equal("answered after", c:recv())
        log_line(rp, '"reason":"draining"')
        local free = posix.poll(function()
            local ok, s = pcall(udp.bind, "127.0.0.1", rp.vars.two)
            if ok then s:close() end
            return ok
        end, 60)
        assert.is_truthy(free)
        reload(SITE:format("30s", OTHER)) -- and takes it back
        c:send("new")
        assert.equal("new", up:take().text)
    end)

    it("keeps a client at one worker when another leaves", function()
        rp:write_site(site_text { workers = 3, site = SITE:format("30s", OTHER) })
        process.must(rp, "reload")
        process.wait_workers(rp, 3)
        local clients, ports = {}, {}
        local function round(what)
            local moved = 0
            for i, c in ipairs(clients) do
                c:send(what)
                local q = up:take()
                if ports[i] ~= q.port then moved = moved + 1 end
                ports[i] = q.port
                up:answer(q, "ok")
                assert.equal("ok", c:recv())
            end
            return moved
        end
        for i = 1, 24 do clients[i] = udp.client(rp.vars.one) end
        assert.equal(24, round("one"))
        assert.equal(0, round("two"))
        rp:write_site(site_text { workers = 2, site = SITE:format("30s", OTHER) })
        process.must(rp, "reload")
        assert.is_true(round("three") < 24) -- at most those of the worker that leaves
        for _ = 1, 3 do assert.equal(0, round("more")) end
    end)

    it("ends sessions at the deadline of a drain, and relays until then", function()
        rp:write_site((site_text { workers = 2, site = SITE:format("1h", OTHER)
            .. ', timeouts = { drain = "5s" }' }))
        process.must(rp, "reload")
        local c = udp.client(rp.vars.one)
        c:send("one")
        local q = up:take()
        rp:signal("QUIT")
        up:answer(q, "still")
        assert.equal("still", c:recv())
        assert.same({ exit = 0 }, rp:wait(30))
        assert.matches('"reason":"draining"', log_text(rp))
        rp = start { ports = { "one" }, vars = { up = up.port }, site = SITE:format("1s", "") }
    end)

    it("serves the clients of a worker that died from its successor", function()
        local c = udp.client(rp.vars.one)
        c:send("one")
        local q = up:take()
        for _, pid in ipairs(process.workers(rp)) do posix.kill(pid, "KILL") end
        local port = posix.poll(function()
            c:send("two")
            local ok, again = pcall(up.take, up, 0.2)
            return ok and again.port ~= q.port and again.port
        end)
        assert.is_truthy(port)
        rp.complaints_expected = true
    end)
end)

describe("a site with datagrams that cannot be", function()
    local function refused(streams, upstream)
        local dir = proc.temp_dir()
        posix.write_file(dir .. "/site.lua", ([[local rp = require("rproxy")
            return rp.site { upstreams = { up = rp.upstream { peers = { %s } } },
                streams = { %s } }]]):format(upstream or '"127.0.0.1:1"', streams))
        local how, _, err = proc.run { process.BIN, "-t", "-p", dir .. "/site.lua" }
        return how.exit ~= 0 and err
    end

    after_each(proc.cleanup)

    it("is refused with words", function()
        assert.matches('upstream "up" cannot be that of "udp:127.0.0.1:5": datagrams go neither to unix '
            .. "sockets nor with a PROXY header", refused('rp.stream { "udp:127.0.0.1:5", upstream = "up" }',
            '"127.0.0.1:1" }, proxy_protocol = "v2", keepalive = {'))
        assert.matches("datagrams go neither to unix",
            refused('rp.stream { "udp:127.0.0.1:5", upstream = "up" }', '"unix:/tmp/x"'))
        assert.matches("is no address to listen on",
            refused('rp.stream { "udp:unix:/tmp/x", upstream = "up" }'))
        assert.is_false(refused('rp.stream { "udp:127.0.0.1:5", "127.0.0.1:5", upstream = "up" }'))
    end)

    it("does not share a port with another program", function()
        local other = udp.bind()
        local dir = proc.temp_dir()
        posix.write_file(dir .. "/site.lua", ([[local rp = require("rproxy")
            return rp.site { upstreams = { up = rp.upstream { peers = { "127.0.0.1:1" } } },
                streams = { rp.stream { "udp:127.0.0.1:%d", upstream = "up" } } }]]):format(other.port))
        local how, _, err = proc.run { process.BIN, "-p", dir .. "/site.lua" }
        assert.not_equal(0, how.exit)
        assert.matches("cannot listen on udp:127.0.0.1:%d+: Address already in use; another program "
            .. "listens there %(ss %-lunp shows which%)", err)
        udp.close_all()
    end)
end)
