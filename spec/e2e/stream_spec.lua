-- SPDX-License-Identifier: MIT
--
-- Streams: bytes relayed both ways, where they go, and how they end.

local e2e = require("spec.support.e2e")
local hello = require("spec.support.tls_hello")
local posix = require("spec.support.posix")
local proc = require("spec.support.proc")
local process = require("spec.support.process")
local wire = require("spec.support.wire")

local MB = 1024 * 1024

-- The site has ports of its own for every stream.
local function start(opt)
    local vars = opt.vars or {}
    for _, name in ipairs(opt.ports or {}) do vars[name] = posix.free_port() end
    local ports = {}
    for _, name in ipairs(opt.ports or {}) do ports[#ports + 1] = vars[name] end
    return proc.rproxy { vars = vars, ports = ports, port = vars[opt.ports[1]],
        site = "return rp.site { workers = 1, log = { access = { to = '${dir}/access.log', "
            .. "format = '" .. (opt.format or "json") .. "', buffer = 0 } }, " .. opt.site .. " }" }
end

local function log_line(rp, pattern)
    local found = posix.poll(function()
        return (posix.read_file(rp.dir .. "/access.log") or ""):match("[^\n]*" .. pattern .. "[^\n]*\n")
    end)
    if not found then
        error(("no %q in the access log:\n%s"):format(pattern,
            posix.read_file(rp.dir .. "/access.log") or ""), 2)
    end
    return found
end

describe("a stream", function()
    local rp, up

    setup(function()
        up = e2e.listen()
        rp = start { ports = { "one", "quick", "dead", "mixed" }, vars = { up = up.port,
            nobody = posix.free_port() }, site = [[
            upstreams = {
                up = rp.upstream { peers = { "127.0.0.1:${up}" } },
                dead = rp.upstream { peers = { "127.0.0.1:${nobody}" } },
                mixed = rp.upstream { peers = { "127.0.0.1:${nobody}", "127.0.0.1:${up}" },
                    max_fails = 0 },
            },
            streams = {
                rp.stream { "127.0.0.1:${one}", upstream = "up" },
                rp.stream { "127.0.0.1:${quick}", upstream = "up", timeouts = { idle = 1 } },
                rp.stream { "127.0.0.1:${dead}", upstream = "dead" },
                rp.stream { "127.0.0.1:${mixed}", upstream = "mixed" },
            } ]] }
    end)

    teardown(function()
        up:close()
        e2e.stop(rp)
    end)
    after_each(wire.close_all)

    local function pair(name)
        local client = wire.connect(rp.vars[name or "one"])
        return client, up:accept()
    end

    it("relays bytes both ways as they come, and says what happened", function()
        local client, server = pair()
        client:send("question")
        assert.equal("question", server:recv(8))
        server:send("answer")
        assert.equal("answer", client:recv(6))
        client:send_split("bit by bit", 1)
        assert.equal("bit by bit", server:recv(10))
        client:close()
        assert.is_true(server:is_closed())
        server:close()
        local line = log_line(rp, '"bytes_up":18,"bytes_down":6,')
        assert.matches('"remote_ip":"127%.0%.0%.1","listener":"127%.0%.0%.1:' .. rp.vars.one .. '"', line)
        assert.matches('"upstream":"up","upstream_addr":"127%.0%.0%.1:' .. up.port .. '"', line)
        assert.matches('"duration":%d+%.%d%d%d,"reason":""', line)
    end)

    it("lets the upstream speak first", function()
        local client, server = pair()
        server:send("220 ready\r\n")
        assert.equal("220 ready\r\n", client:recv_until("\r\n"))
    end)

    it("passes a half close on, either way", function()
        local client, server = pair()
        client:send("all of it")
        client:finish()
        local got, why = server:recv_all()
        assert.same({ "all of it", "closed" }, { got, why })
        server:send("and the answer")
        server:close()
        assert.same({ "and the answer", "closed" }, { client:recv_all() })

        client, server = pair()
        server:send("all of mine")
        server:finish()
        assert.same({ "all of mine", "closed" }, { client:recv_all() })
        client:send("late words")
        client:close()
        assert.same({ "late words", "closed" }, { server:recv_all() })
    end)

    it("passes a reset on as a reset", function()
        local client, server = pair()
        client:send("x")
        server:recv(1)
        server:reset()
        assert.same({ "", "reset" }, { client:recv_all() })
        log_line(rp, '"bytes_up":1,"bytes_down":0,.*"reason":"upstream_reset"')

        client, server = pair()
        client:send("xy")
        server:recv(2)
        client:reset()
        assert.same({ "", "reset" }, { server:recv_all() })
        log_line(rp, '"bytes_up":2,"bytes_down":0,.*"reason":"client_gone"')
    end)

    it("gives the client all that an upstream said before it stopped listening", function()
        for _ = 1, 20 do
            local client, server = pair()
            client:send("x")
            server:recv(1)
            server:send(("z"):rep(100000))
            server:close() -- what the client sends now is answered with a reset
            client:send("more")
            client:send("and more")
            assert.equal(100000, #client:recv_all())
            client:close()
        end
    end)

    for _, way in ipairs { "up", "down" } do
        it("with a slow reader " .. way .. " holds little memory, and loses nothing", function()
            local client, server = pair()
            local from, to = client, server
            if way == "down" then from, to = server, client end
            client:send("x")
            server:recv(1)
            local before = e2e.rss(rp)
            from.sock:settimeout(0)
            local block, sent = ("0123456789abcdef"):rep(65536), 0
            posix.poll(function() -- until nothing more is taken for a while
                local more, _, part = from.sock:send(block)
                local n = more or part or 0
                sent = sent + n
                posix.sleep(n > 0 and 0 or 0.05)
                return n == 0 and sent > 0
            end, 30)
            assert.is_true(e2e.rss(rp) - before < 1024 * (e2e.is_debug and 8 or 1))
            local n = e2e.drain(to, sent)
            assert.equal(sent, n)
            from:send("!")
            assert.equal("!", to:recv(1))
        end)
    end

    it("carries a lot both ways at once, unchanged", function()
        local client, server = pair()
        local total = 32 * MB
        local block = ("abcdefghijklmnop"):rep(4096)
        local sent, got = { 0, 0 }, { 0, 0 }
        client.sock:settimeout(0)
        server.sock:settimeout(0)
        local ends = { client, server }
        local good = posix.poll(function()
            for i = 1, 2 do
                local j = 3 - i
                if sent[i] < total then
                    local at = sent[i] % #block
                    local n, _, part = ends[i].sock:send(block, at + 1)
                    sent[i] = sent[i] + (n or part) - at
                end
                local text = ends[j]:recv_some(0)
                if text ~= "" then
                    local at = got[j] % 16
                    assert.equal(("abcdefghijklmnop"):sub(at + 1, at + 1), text:sub(1, 1))
                    local last = (got[j] + #text - 1) % 16
                    assert.equal(("abcdefghijklmnop"):sub(last + 1, last + 1), text:sub(-1))
                    got[j] = got[j] + #text
                end
            end
            return got[1] == total and got[2] == total
        end, 60)
        assert.is_true(good)
        client:finish()
        assert.is_true(server:is_closed())
        server:close()
        log_line(rp, ('"bytes_up":%d,"bytes_down":%d,'):format(total, total))
    end)

    it("ends when nothing was sent for the idle time, and not before", function()
        local client, server = pair("quick")
        for _ = 1, 5 do
            posix.sleep(0.25)
            client:send("x")
            server:recv(1)
        end
        local began = posix.now()
        assert.is_true(client:is_closed(20))
        assert.is_true(server:is_closed(20))
        local took = posix.now() - began
        assert.is_true(took > 0.5)
        log_line(rp, '"bytes_up":5,.*"reason":"idle_timeout"')
    end)

    it("takes the next peer when one refuses", function()
        for _ = 1, 4 do
            local client, server = pair("mixed")
            client:send("hi")
            assert.equal("hi", server:recv(2))
            client:close()
            server:close()
        end
        log_line(rp, '"upstream":"mixed",.*"tries":2,.*"reason":""')
    end)

    it("is closed when no peer can be reached", function()
        local client = wire.connect(rp.vars.dead)
        assert.is_true(client:is_closed())
        log_line(rp, '"upstream":"dead",.*"reason":"upstream_connect"')
        rp:wait_stderr("upstream connect failed upstream=dead")
    end)

    it("of many at once keeps them apart", function()
        local pairs_of = {}
        for i = 1, 100 do
            local client, server = pair()
            client:send(("%03d"):format(i))
            pairs_of[i] = { client, server }
        end
        for i = 100, 1, -1 do
            assert.equal(("%03d"):format(i), pairs_of[i][2]:recv(3))
            pairs_of[i][2]:send(("<%03d>"):format(i))
        end
        for i = 1, 100 do assert.equal(("<%03d>"):format(i), pairs_of[i][1]:recv(5)) end
    end)
end)

describe("a stream under way", function()
    local rp, up

    after_each(function()
        wire.close_all()
        if up then up:close() end
        local mine = rp
        rp, up = nil, nil
        if mine and mine:is_running() then e2e.stop(mine) else proc.cleanup() end
    end)

    local SITE = [[ return rp.site { workers = 1,
        log = { access = { to = '${dir}/access.log', format = 'json', buffer = 0 } }, %s
        upstreams = { up = rp.upstream { peers = { "127.0.0.1:${up}" } },
            other = rp.upstream { peers = { "127.0.0.1:${other}" } } },
        %s } ]]

    local function site(streams, more) return SITE:format(more or "", streams) end

    local function begin(streams, more)
        up = e2e.listen()
        rp = proc.rproxy { vars = { up = up.port, other = posix.free_port() },
            site = site(streams, more) }
        rp:wait_stderr("serving site=")
        local client = wire.connect(rp.port)
        local server = up:accept()
        client:send("one")
        server:recv(3)
        return client, server
    end

    local TO_UP = 'streams = { rp.stream { "127.0.0.1:${port}", upstream = "up" } }'
    local TO_OTHER = 'streams = { rp.stream { "127.0.0.1:${port}", upstream = "other" } }'

    it("survives reloads, and pins no old generation", function()
        local client, server = begin(TO_UP)
        local other = e2e.listen()
        rp:write_site(site(TO_OTHER), { other = other.port })
        for _ = 1, 5 do process.must(rp, "reload") end
        client:send("two")
        assert.equal("two", server:recv(3))
        server:send("three")
        assert.equal("three", client:recv(5))
        local fresh = wire.connect(rp.port)
        local its_server = other:accept()
        fresh:send("new")
        assert.equal("new", its_server:recv(3))
        client:close()
        assert.is_true(server:is_closed())
        server:close()
        log_line(rp, '"upstream":"up",.*"bytes_up":6,"bytes_down":5,')
        other:close()
    end)

    it("survives that its listener goes, and that it becomes one of HTTP", function()
        local client, server = begin(TO_UP)
        rp:write_site(site([[ listeners = { rp.listen { "127.0.0.1:${port}" } },
            hosts = { rp.host { default = true, routes = { rp.route { "/*",
            respond = { 200, "http" } } } } } ]]))
        process.must(rp, "reload")
        assert.equal("http", process.body(rp))
        client:send("two")
        assert.equal("two", server:recv(3))

        local elsewhere = posix.free_port()
        rp:write_site(site('streams = { rp.stream { "127.0.0.1:${elsewhere}", upstream = "up" } }'),
            { elsewhere = elsewhere })
        process.must(rp, "reload")
        client:send("three")
        assert.equal("three", server:recv(5))
        -- Who is in its queue is still served: the listener goes when nobody is.
        assert.is_true(posix.poll(function() return not posix.is_listening(rp.port) end))
        assert.is_nil(wire.connect(rp.port, nil, { may_fail = true }))
        wire.connect(elsewhere):send("x")
        assert.equal("x", up:accept():recv(1))
    end)

    it("is waited for by a drain, up to the limit", function()
        local client, server = begin(TO_UP, 'timeouts = { drain = "10s" },')
        rp:signal("QUIT")
        assert.is_true(posix.poll(function() return not posix.is_listening(rp.port) end))
        client:send("late")
        assert.equal("late", server:recv(4))
        assert.is_true(rp:is_running())
        client:close()
        assert.is_true(server:is_closed())
        server:close()
        assert.same({ exit = 0 }, rp:wait())
    end)

    it("is cut off by a drain whose limit passed", function()
        local client = begin(TO_UP, 'timeouts = { drain = "300ms" },')
        rp:signal("QUIT")
        assert.is_true(client:is_closed(20))
        log_line(rp, '"reason":"draining"')
        assert.same({ exit = 0 }, rp:wait())
    end)

    it("ends at once with the process", function()
        local client = begin(TO_UP)
        rp:signal("TERM")
        assert.is_true(client:is_closed(20))
        assert.same({ exit = 0 }, rp:wait())
    end)
end)

-- ---------------------------------------------------------------- TLS that is passed through

describe("a stream by server name", function()
    local rp, ports = nil, {}

    -- A server that answers each line with its own name before it.
    local function serve(dir, name, extra)
        local port = posix.free_port()
        assert.equal(0, os.execute(("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 "
            .. "-nodes -days 2 -subj '/CN=%s' -keyout %s/%s.key -out %s/%s.pem 2>/dev/null")
            :format(name, dir, name, dir, name)))
        local argv = { "openssl", "s_server", "-quiet", "-accept", "127.0.0.1:" .. port, "-www",
            "-cert", dir .. "/" .. name .. ".pem", "-key", dir .. "/" .. name .. ".key" }
        for _, word in ipairs(extra or {}) do argv[#argv + 1] = word end
        proc.spawn(argv)
        assert.is_truthy(posix.poll(function() return posix.is_listening(port) end))
        ports[name] = port
    end

    setup(function()
        local dir = proc.temp_dir()
        serve(dir, "one")
        serve(dir, "two")
        serve(dir, "h2", { "-alpn", "h2" })
        rp = start { ports = { "strict", "loose", "quick" }, vars = { one = ports.one,
            two = ports.two, h2 = ports.h2 }, site = [[
            upstreams = {
                one = rp.upstream { peers = { "127.0.0.1:${one}" } },
                two = rp.upstream { peers = { "127.0.0.1:${two}" } },
                h2 = rp.upstream { peers = { "127.0.0.1:${h2}" } },
            },
            streams = {
                rp.stream { "127.0.0.1:${strict}", sni = { ["A.example"] = "one",
                    ["*.b.example"] = "two", ["no.b.example"] = false, default = false } },
                rp.stream { "127.0.0.1:${loose}", sni = { ["a.example"] = "one", default = "two" },
                    alpn = { h2 = "h2" } },
                rp.stream { "127.0.0.1:${quick}", sni = { ["a.example"] = "one" },
                    timeouts = { hello = 0.2 } },
            } ]] }
    end)

    teardown(function() e2e.stop(rp) end)
    after_each(wire.close_all)

    -- What a real client sees: the name in the server's certificate, and all of its output.
    local function client(port, ...)
        local _, out, err = proc.run { "timeout", "10", "openssl", "s_client", "-connect",
            "127.0.0.1:" .. rp.vars[port], ... }
        return out:match("subject=CN = (%w+)"), out .. err
    end

    it("reaches the server of that name, exact and by wildcard", function()
        assert.equal("one", (client("strict", "-servername", "a.example")))
        assert.equal("one", (client("strict", "-servername", "A.EXAMPLE")))
        assert.equal("two", (client("strict", "-servername", "x.b.example")))
        assert.equal("two", (client("strict", "-servername", "x.y.b.example")))
        assert.equal("one", (client("strict", "-servername", "a.example", "-tls1_2")))
        assert.matches('"upstream":"two"', log_line(rp, '"sni":"x%.y%.b%.example"'))
    end)

    it("refuses a name that no rule has, with an alert that says so", function()
        for _, name in ipairs { "c.example", "b.example", "no.b.example", "xa.example" } do
            local subject, text = client("strict", "-servername", name)
            assert.is_nil(subject)
            assert.matches("unrecognized name", text)
        end
        local subject = client("strict", "-noservername")
        assert.is_nil(subject)
        log_line(rp, '"sni":null,"upstream":null,.*"reason":"no_upstream"')
    end)

    it("sends what has no rule to the default", function()
        assert.equal("one", (client("loose", "-servername", "a.example")))
        assert.equal("two", (client("loose", "-servername", "else.example")))
        assert.equal("two", (client("loose", "-noservername")))
    end)

    it("goes by protocol before it goes by name", function()
        local subject, text = client("loose", "-servername", "a.example", "-alpn", "http/1.1,h2")
        assert.equal("h2", subject)
        assert.matches("ALPN protocol: h2", text)
        assert.equal("one", (client("loose", "-servername", "a.example", "-alpn", "http/1.1")))
    end)

    it("reads a hello that comes byte by byte, in tiny records", function()
        local w = wire.connect(rp.vars.strict)
        w:send_split(hello.make { sni = "a.example", record = 3 }, 7)
        -- the server got all of it, unchanged: it answers with a record, whatever it thinks of it
        assert.matches("^[\21\22]\3", w:recv(3))
    end)

    it("refuses what is no ClientHello, and waits for one only so long", function()
        local w = wire.connect(rp.vars.strict)
        w:send("GET / HTTP/1.1\r\n\r\n")
        assert.is_true(w:is_closed())
        log_line(rp, '"reason":"tls_hello"')
        w = wire.connect(rp.vars.strict)
        w:send(hello.make { sni = "a.example", extensions = { hello.extension(21, ("x"):rep(17000)) } })
        assert.is_true(w:is_closed())
        log_line(rp, '"reason":"tls_hello_too_big"')
        w = wire.connect(rp.vars.quick)
        w:send_split("\22\3\1", 1, 0.05) -- dripping does not help
        assert.is_true(w:is_closed())
        log_line(rp, '"reason":"hello_timeout"')
        wire.connect(rp.vars.strict):close()
        log_line(rp, '"reason":"client_gone"')
    end)
end)

-- ---------------------------------------------------------------- hooks

describe("the hooks of a stream", function()
    local rp, up, other

    setup(function()
        up, other = e2e.listen(), e2e.listen()
        rp = start { ports = { "plain", "waits", "sni", "open", "closed", "slow" }, vars = {
            up = up.port, other = other.port }, site = [[
            timeouts = { hook_wait = "300ms" },
            upstreams = {
                up = rp.upstream { peers = { "127.0.0.1:${up}" } },
                other = rp.upstream { peers = { "127.0.0.1:${other}" } },
            },
            streams = {
                rp.stream { "127.0.0.1:${plain}", upstream = "up", use = { {
                    connect = function(conn)
                        conn.ctx.note = conn.remote_ip .. " " .. conn.port .. " " .. conn.listener
                    end,
                    log = function(conn)
                        rp.log.info("ended", { note = conn.ctx.note, up = conn.bytes_up,
                            down = conn.bytes_down, peer = conn.peer, upstream = conn.upstream,
                            reason = conn.reason or "none", tries = conn.tries })
                    end } } },
                rp.stream { "127.0.0.1:${waits}", upstream = "up", use = { {
                    connect = function(conn)
                        rp.sleep(0.05)
                        if conn.remote_ip == "127.0.0.2" then return conn:deny() end
                        conn.upstream = rp.upstreams.other
                    end,
                    log = function(conn) rp.sleep(0.01) rp.log.info("slept", { r = conn.reason }) end,
                    } } },
                rp.stream { "127.0.0.1:${sni}", peek = true, use = { {
                    connect = function(conn)
                        if conn.sni == "keep.example" then conn.upstream = "up" end
                        rp.log.info("hello", { sni = conn.sni or "none",
                            alpn = table.concat(conn.alpn or { "none" }, ",") })
                    end } } },
                rp.stream { "127.0.0.1:${open}", upstream = "up", use = {
                    { on_error = "open", connect = function() error("broken") end },
                    { connect = function(conn) conn.upstream = "other" end } } },
                rp.stream { "127.0.0.1:${closed}", upstream = "up", use = {
                    { connect = function() error("broken") end } } },
                rp.stream { "127.0.0.1:${slow}", upstream = "up", use = {
                    { connect = function() rp.sleep(60) end } } },
            } ]] }
    end)

    teardown(function()
        up:close()
        other:close()
        e2e.stop(rp)
    end)
    after_each(wire.close_all)

    it("see the connection, before and after", function()
        local client = wire.connect(rp.vars.plain)
        local server = up:accept()
        client:send("four")
        server:recv(4)
        server:send("no")
        client:recv(2)
        client:close()
        server:close()
        local line = rp:wait_stderr("ended[^\n]*")
        assert.matches("note=\"?127%.0%.0%.1 " .. rp.vars.plain .. " 127%.0%.0%.1:" .. rp.vars.plain, line)
        for _, part in ipairs { "up=4", "down=2", "peer=\"?127%.0%.0%.1:" .. up.port, "upstream=\"?up",
            "reason=\"?none", "tries=1" } do
            assert.matches(part, line)
        end
    end)

    it("may wait, refuse, and choose the upstream", function()
        local client = wire.connect(rp.vars.waits)
        client:send("hi")
        local server = other:accept()
        assert.equal("hi", server:recv(2))
        client = wire.connect(rp.vars.waits, nil, { from = "127.0.0.2" })
        assert.is_true(client:is_closed())
        log_line(rp, '"remote_ip":"127%.0%.0%.2",.*"upstream":null,.*"reason":"denied"')
        rp:wait_stderr("slept[^\n]*r=\"?denied")
    end)

    it("do not hold up others while one waits, nor spin", function()
        local clients = {}
        for i = 1, 20 do
            clients[i] = wire.connect(rp.vars.waits)
            clients[i]:send("x")
        end
        for _ = 1, 20 do other:accept():recv(1) end
    end)

    it("see server name and protocols where peek is on", function()
        local client = wire.connect(rp.vars.sni)
        client:send(hello.make { sni = "keep.example", alpn = { "h2", "x" } })
        assert.equal("\22", up:accept():recv(1))
        rp:wait_stderr("hello[^\n]*alpn=\"?h2,x")
        client = wire.connect(rp.vars.sni)
        client:send(hello.make { sni = "drop.example" })
        assert.equal("\21\3\3\0\2\2\112", (client:recv_all()))
    end)

    it("that fail close the connection, or go on with the next", function()
        local client = wire.connect(rp.vars.closed)
        assert.is_true(client:is_closed())
        log_line(rp, '"reason":"hook_error"')
        rp:wait_stderr("hook failed plugin=inline@site.lua:%d+ hook=connect listener=127%.0%.0%.1:"
            .. rp.vars.closed .. " error=\"[^\n]*broken")
        client = wire.connect(rp.vars.open)
        client:send("on")
        assert.equal("on", other:accept():recv(2))
    end)

    it("that wait too long close the connection", function()
        local client = wire.connect(rp.vars.slow)
        client:send("unread bytes")
        assert.is_true(client:is_closed(20))
        log_line(rp, '"reason":"hook_timeout"')
    end)

    it("survive a client that goes away meanwhile", function()
        for _ = 1, 5 do wire.connect(rp.vars.waits):reset() end
        local client = wire.connect(rp.vars.plain)
        client:send("x")
        assert.equal("x", up:accept():recv(1))
    end)
end)

-- ---------------------------------------------------------------- real protocols

describe("Redis through a stream", function()
    local rp, redis

    local function has(program) return os.execute("command -v " .. program .. " >/dev/null 2>&1") == 0 end
    if not has("redis-server") then
        it("needs redis-server", function() pending("redis-server is not installed") end)
        return
    end

    setup(function()
        local port = posix.free_port()
        redis = proc.spawn { "redis-server", "--port", tostring(port), "--bind", "127.0.0.1",
            "--save", "", "--appendonly", "no" }
        assert.is_truthy(posix.poll(function() return posix.is_listening(port) end))
        rp = start { ports = { "redis" }, vars = { up = port }, site = [[
            upstreams = { redis = rp.upstream { peers = { "127.0.0.1:${up}" } } },
            streams = { rp.stream { "127.0.0.1:${redis}", upstream = "redis" } } ]] }
    end)

    teardown(function()
        redis:signal("TERM")
        e2e.stop(rp)
    end)
    after_each(wire.close_all)

    it("answers PING, SET, GET", function()
        local function cli(...)
            local _, out = proc.run { "redis-cli", "-p", tostring(rp.vars.redis), ... }
            return out
        end
        assert.equal("PONG\n", cli("PING"))
        assert.equal("OK\n", cli("SET", "k", ("v"):rep(100000)))
        assert.equal(("v"):rep(100000) .. "\n", cli("GET", "k"))
    end)

    it("answers a pipeline of thousands in order", function()
        local w, parts = wire.connect(rp.vars.redis), {}
        for i = 1, 5000 do parts[i] = "INCR n\r\n" end
        w:send(table.concat(parts))
        for i = 1, 5000 do assert.equal(":" .. i .. "\r\n", w:recv_until("\r\n")) end
    end)
end)

describe("PostgreSQL through a stream", function()
    local found = io.popen("ls -d /usr/lib/postgresql/*/bin/ 2>/dev/null | sort -V | tail -1")
    local BIN = found:read("*l") or "/nowhere/"
    found:close()
    local rp, pg

    if not posix.exists(BIN .. "initdb") then
        it("needs postgresql", function() pending("postgresql is not installed") end)
        return
    end

    setup(function()
        local dir, port = proc.temp_dir(), posix.free_port()
        local root = os.execute("test $(id -u) = 0") == 0
        local as = root and "runuser -u postgres -- " or ""
        assert.equal(0, os.execute(("mkdir %s/data && chmod 755 %s && %s %s/data && %s%sinitdb -D "
            .. "%s/data -A trust -U spec >/dev/null 2>&1"):format(dir, dir,
            root and "chown postgres" or "true", dir, as, BIN, dir)))
        local argv = { BIN .. "postgres", "-D", dir .. "/data", "-p", tostring(port), "-k", "",
            "-h", "127.0.0.1", "-F" }
        if root then argv = { "runuser", "-u", "postgres", "--", unpack(argv) } end
        pg = proc.spawn(argv)
        assert.is_truthy(posix.poll(function() return posix.is_listening(port) end, 60))
        rp = start { ports = { "pg" }, vars = { up = port }, site = [[
            upstreams = { pg = rp.upstream { peers = { "127.0.0.1:${up}" } } },
            streams = { rp.stream { "127.0.0.1:${pg}", upstream = "pg" } } ]] }
    end)

    teardown(function()
        pg:signal("INT")
        e2e.stop(rp)
    end)

    it("runs queries", function()
        local how, out, err
        posix.poll(function() -- it listens before it is ready
            how, out, err = proc.run { "psql", "-h", "127.0.0.1", "-p", tostring(rp.vars.pg), "-U",
                "spec", "-d", "postgres", "-Atc",
                "select count(*), sum(length(repeat('x', i))) from generate_series(1, 1000) i" }
            return how.exit == 0
        end, 30)
        assert.equal("1000|500500\n", out, err)
    end)
end)

describe("streams to peers with seats", function()
    local rp
    after_each(function()
        wire.close_all()
        e2e.stop(rp)
    end)

    it("keep them over reloads, and give them back at their end", function()
        local up = e2e.listen()
        rp = start { ports = { "few" }, vars = { up = up.port }, site = [[
            upstreams = { few = rp.upstream { peers = { { "127.0.0.1:${up}", max_conns = 1 } } } },
            streams = { rp.stream { "127.0.0.1:${few}", upstream = "few" } } ]] }
        local client = wire.connect(rp.port)
        local server = up:accept()
        process.must(rp, "reload")
        client:send("x")
        assert.equal("x", server:recv(1))
        assert.is_true(wire.connect(rp.port):is_closed()) -- nobody has room
        client:close()
        assert.is_true(server:is_closed())
        server:close()
        assert.truthy(posix.poll(function()
            local w = wire.connect(rp.port)
            local came, s = pcall(up.accept, up, 0.2)
            return came and w and s
        end))
        up:close()
    end)

    it("go by the client's address where the upstream hashes it", function()
        local ups, peers, seen = {}, {}, {}
        for i = 1, 3 do
            ups[i] = e2e.listen()
            peers[i] = ('"127.0.0.1:%d"'):format(ups[i].port)
        end
        rp = start { ports = { "hash" }, site = "upstreams = { o = rp.upstream { balance = 'ip_hash', "
            .. "peers = { " .. table.concat(peers, ", ") .. " } } }, "
            .. "streams = { rp.stream { '127.0.0.1:${hash}', upstream = 'o' } }" }
        local function peer_of(from)
            local w = wire.connect(rp.port, nil, { from = from })
            local which
            assert.truthy(posix.poll(function()
                for i = 1, 3 do
                    if pcall(ups[i].accept, ups[i], 0.01) then which = i end
                end
                return which
            end))
            w:close()
            return which
        end
        for i = 2, 17 do
            local which = peer_of("127.0.0." .. i)
            seen[which] = true
            if i == 2 then assert.equal(which, peer_of("127.0.0.2")) end
        end
        assert.is_true(seen[1] and seen[2] and seen[3])
        for _, up in ipairs(ups) do up:close() end
    end)
end)
