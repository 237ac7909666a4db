-- SPDX-License-Identifier: MIT
--
-- Upgrade: another program takes the place of the running one, in the same process. What every kind
-- of client must not notice, what is kept, and what a bad program or a death in the middle leaves.
-- RP_UPGRADES: how many in a row the spec under load makes (10).

local ffi = require("ffi")
local http = require("spec.support.http")
local posix = require("spec.support.posix")
local proc = require("spec.support.proc")
local process = require("spec.support.process")
local protocol = require("spec.support.protocol")
local tls = require("spec.support.tls")
local udp = require("spec.support.udp")
local wire = require("spec.support.wire")
local ws = require("spec.support.ws")

if protocol.name ~= "h1" then return end -- speaks several itself

local UPGRADES = tonumber(os.getenv("RP_UPGRADES")) or 10

local answer, held_start, all_say = process.answer, process.held_start, process.all_say

local function upgrade(rp, ...)
    return process.must(rp, "upgrade", ...)
end

-- The pid of the program that rehearses.
local function successor(rp)
    return tonumber(rp:wait_stderr("the new version starts version=%S+ pid=(%d+)"))
end

local function gone(pids)
    for _, pid in ipairs(pids) do
        if not posix.poll(function() return not posix.alive(pid) end, 30) then
            error(("process %d is still there"):format(pid), 2)
        end
    end
end

describe("an upgrade", function()
    local rp

    after_each(function()
        local mine = rp
        rp = nil
        udp.close_all()
        process.stop_if_running(mine)
    end)

    describe("that succeeds", function()
        it("goes on in the same process with other workers, and takes the site", function()
            rp = process.start {}
            local before = process.wait_workers(rp, 2)
            process.change(rp, answer("two"))
            assert.equal("upgraded: version 0.1.0 to 0.1.0, generation 2, 2 workers\n", upgrade(rp))
            all_say(rp, "two")
            assert.is_true(rp:is_running())
            gone(before)
            process.wait_workers(rp, 2, before)
            local status = process.must(rp, "status")
            assert.match("master: serving, pid " .. rp.pid, status)
            assert.match("generation 2", status)
            assert.match("worker 0: serving", status)
            assert.match("worker 1: serving", status)
            process.change(rp, answer("three"))
            assert.match("generation 3", process.must(rp, "reload"))
            all_say(rp, "three")
        end)

        it("by USR2 does the same, and one at a time", function()
            rp = process.start {}
            local site, go_on = held_start("two")
            process.change(rp, site)
            rp:signal("USR2")
            rp:wait_stderr("start hook waits")
            rp:signal("USR2")
            rp:wait_stderr("an upgrade is under way already")
            local how, _, err = process.run(rp, "upgrade")
            assert.same({ exit = 1 }, how)
            assert.match("an upgrade is under way already", err)
            assert.match("upgrade: under way, pid %d+", process.must(rp, "status"))
            go_on()
            rp:wait_stderr("upgraded from=0.1.0 to=0.1.0")
            all_say(rp, "two")
        end)

        it("is over when nobody of the version before accepts clients any more", function()
            rp = process.start {}
            local old = process.wait_workers(rp, 2)
            process.change(rp, answer("two"))
            -- They hear late that they are to leave the sockets to the others.
            for _, pid in ipairs(old) do posix.kill(pid, "STOP") end
            local up = proc.spawn { process.BIN, "upgrade", "-p", rp.site_path }
            assert.is_truthy(posix.poll(function()
                assert.is_true(up:is_running())
                return process.must(rp, "status"):find("upgrade: workers of the version before still accept")
            end))
            local how, _, err = process.run(rp, "upgrade")
            assert.same({ exit = 1 }, how)
            assert.match("an upgrade is under way already", err)
            for _, pid in ipairs(old) do posix.kill(pid, "CONT") end
            assert.same({ exit = 0 }, up:wait(60), up:stderr())
            all_say(rp, "two")
            assert.is_nil(process.must(rp, "status"):find("upgrade: ", 1, true))
        end)

        it("does not wait for ever for one that hangs", function()
            rp = process.start { quiet_end = true, more = "timeouts = { drain = 1 }," }
            local old = process.wait_workers(rp, 2)
            posix.kill(old[1], "STOP")
            assert.match("^upgraded: ", upgrade(rp))
            posix.kill(old[1], "CONT")
            process.wait_workers(rp, 2, old)
        end)

        it("takes the program that it is told", function()
            rp = process.start {}
            local copy = proc.temp_dir() .. "/other name"
            os.execute(("cp %s '%s'"):format(process.BIN, copy))
            upgrade(rp, "--binary", copy)
            assert.equal(copy, (proc.run { "readlink", "/proc/" .. rp.pid .. "/exe" }) and
                select(2, proc.run { "readlink", "/proc/" .. rp.pid .. "/exe" }):gsub("\n", ""))
            -- From now on this is the program as it was started.
            posix.write_file(copy .. ".new", "x")
            os.remove(copy)
            local how, _, err = process.run(rp, "upgrade")
            assert.same({ exit = 1 }, how)
            assert.match("other name: No such file or directory", err)
            all_say(rp, "one")
        end)

        it("puts a reload and a reopening off until after it", function()
            rp = process.start {}
            local site, go_on = held_start("two")
            process.change(rp, site)
            local up = proc.spawn { process.BIN, "upgrade", "-p", rp.site_path }
            rp:wait_stderr("start hook waits")
            assert.match("after the upgrade that is under way", process.must(rp, "reopen"))
            process.change(rp, answer("three"))
            local reload = proc.spawn { process.BIN, "reload", "-p", rp.site_path }
            process.wait_asked(reload)
            go_on()
            assert.same({ exit = 0 }, reload:wait(60), reload:stderr())
            assert.match("reloaded: generation 3", reload:stdout())
            assert.same({ exit = 0 }, up:wait(), up:stderr())
            all_say(rp, "three")
            rp:wait_stderr("log files reopened")
        end)

        it("changes the number of workers and the listeners", function()
            local extra = posix.free_port()
            rp = process.start { listen = 'rp.listen { "unix:${dir}/a.sock" },' }
            for round, n in ipairs { 4, 1, 3 } do
                local site = answer("n" .. n)
                site.workers = n
                site.listen = round % 2 == 1
                    and ('rp.listen { "127.0.0.1:%d" }, rp.listen { "unix:${dir}/b.sock" },'):format(extra)
                    or 'rp.listen { "unix:${dir}/a.sock" }, rp.listen { "unix:${dir}/b.sock" },'
                process.change(rp, site)
                upgrade(rp)
                -- The workers before let go of it when they drain.
                assert.is_true(posix.poll(function()
                    return posix.is_listening(extra) == (round % 2 == 1)
                end, 30))
                assert.equal(round % 2 == 0, posix.exists(rp.dir .. "/a.sock"))
                assert.equal("n" .. n, http.get(rp.dir .. "/b.sock", "/").body)
                all_say(rp, "n" .. n)
                process.wait_workers(rp, n)
            end
        end)

        it("in the background keeps pid and pid file", function()
            local dir, port = proc.temp_dir(), posix.free_port()
            local site = dir .. "/site.lua"
            posix.write_file(site, ('local rp = require("rproxy") ' .. process.site(
                { more = ('log = { error = { to = "%s/e.log" } },'):format(dir) })):gsub("%${port}", port))
            local function run(...)
                local how, out, err = proc.run { process.BIN, ... }
                assert.same({ exit = 0 }, how, out .. err)
                return out
            end
            run("-d", "-p", site, "-g", "pid=" .. dir .. "/m.pid")
            local pid = posix.read_file(dir .. "/m.pid")
            assert.match("generation 2", run("upgrade", "-p", site, "-g", "pid=" .. dir .. "/m.pid"))
            assert.equal(pid, posix.read_file(dir .. "/m.pid"))
            assert.equal("one", http.get(port, "/").body)
            assert.match("stopped: pid " .. pid, run("stop", "-p", site, "-g", "pid=" .. dir .. "/m.pid"))
            assert.is_false(posix.exists(dir .. "/m.pid"))
        end)

        it("leaves nothing behind, however often", function()
            rp = process.start {}
            for _ = 1, 3 do upgrade(rp) end
            process.wait_workers(rp, 2)
            local _, fds = rp:cost()
            for _ = 1, 5 do upgrade(rp) end
            process.wait_workers(rp, 2)
            local _, after = rp:cost()
            assert.equal(fds, after)
        end)
    end)

    describe("fails no client", function()
        local CLIENT = [[
            package.path = "./?.lua;" .. package.path
            local http = require("spec.support.http")
            local posix = require("spec.support.posix")
            local wire = require("spec.support.wire")
            local port, stop = tonumber(arg[1]), arg[2]
            require("spec.support.protocol").speaks(port)
            local done, again, w = 0, 0, wire.connect(port)
            local function kept()
                if w:is_closed(0) then
                    w:close()
                    w = wire.connect(port)
                end
                -- The other end may close what was idle just when we speak: then nothing of an answer
                -- comes, and every client asks again.
                local ok, res = pcall(http.request, w, {})
                if not ok and res:find("closed; had 0 bytes", 1, true) then
                    again = again + 1
                    w:close()
                    w = wire.connect(port)
                    res = http.request(w, {})
                elseif not ok then
                    error(res, 0)
                end
                if res:header("connection") == "close" then
                    w:close()
                    w = wire.connect(port)
                end
                return res
            end
            while not posix.exists(stop) do
                local res = done % 3 == 0 and http.get(port, "/") or kept()
                assert(res.status == 200 and res.body == "from the origin", res.body)
                done = done + 1
            end
            assert(again <= tonumber(arg[3]), again .. " connections were cut")
            print(done)]]

        local DATAGRAMS = [[
            package.path = "./?.lua;" .. package.path
            local posix = require("spec.support.posix")
            local udp = require("spec.support.udp")
            local port, stop, done = tonumber(arg[1]), arg[2], 0
            local keeps = udp.client(port)
            while not posix.exists(stop) do
                local c = done % 3 == 0 and udp.client(port) or keeps
                local text = "q" .. done
                c:send(text)
                assert(c:recv() == text)
                if c ~= keeps then c:close() end
                done = done + 1
            end
            print(done)]]

        it("under load of every kind, " .. UPGRADES .. " times", function()
            local dir, stop = tls.dir(), proc.temp_dir() .. "/stop"
            tls.cert(dir, "a", { names = { "a.test", "127.0.0.1" } })
            local secure, dgram, echo = posix.free_port(), posix.free_port(), posix.free_port()
            local vars = { certs = dir, secure = secure, dgram = dgram, echo = echo }
            -- What is behind it: another instance.
            local origin = process.start(answer("from the origin"))
            vars.origin = origin.port
            local mirror = proc.spawn { "luajit", "-e", ([[
                package.path = "./?.lua;" .. package.path
                local up = require("spec.support.udp").bind("127.0.0.1", %d)
                print("bound") io.stdout:flush()
                while true do
                    local text, ip, port = up.socket:receivefrom()
                    if text then up.socket:sendto(text, ip, port) end
                end]]):format(echo) }
            assert.is_truthy(posix.poll(function() return mirror:stdout():find("bound") end))
            rp = proc.rproxy { vars = vars, site = [[ return rp.site { workers = 2,
                timeouts = { drain = 5 }, tls = { certs = { "${certs}/a.pem" } },
                listeners = { rp.listen { "127.0.0.1:${port}" },
                    rp.listen { "127.0.0.1:${secure}", tls = true } },
                upstreams = { o = rp.upstream { peers = { "127.0.0.1:${origin}" } },
                    d = rp.upstream { peers = { "127.0.0.1:${echo}" } } },
                streams = { rp.stream { "udp:127.0.0.1:${dgram}", upstream = "d" } },
                hosts = { rp.host { default = true, routes = { rp.route { "/*", upstream = "o" } } } } } ]] }
            rp:wait_stderr("serving site=")
            local clients = {}
            local function client(text, port, speaks)
                clients[#clients + 1] = proc.spawn({ "luajit", "-e", ("arg = { %q, %q, %q } "):format(port,
                    stop, UPGRADES)
                    .. text }, { env = { RP_PROTOCOL = speaks } })
            end
            client(CLIENT, rp.port, "h1")
            client(CLIENT, rp.port, "h2")
            client(CLIENT, secure, "h2-tls")
            client(DATAGRAMS, dgram, "h1")
            -- Tickets of both versions, resumed after each upgrade.
            local sessions = {}
            local function resume(version)
                local c = tls.connect(secure, { sni = "a.test", versions = version,
                    session = sessions[version] })
                assert.equal(sessions[version] ~= nil, c.resumed)
                assert.equal(200, (c:get("/")))
                sessions[version] = assert(c:session())
                c:close()
            end
            for _ = 0, UPGRADES do
                resume("1.2")
                resume("1.3")
                if _ < UPGRADES then upgrade(rp) end
            end
            posix.write_file(stop, "")
            for i, c in ipairs(clients) do
                assert.same({ exit = 0 }, c:wait(30), i .. ": " .. c:stderr())
                assert.is_true(tonumber(c:stdout()) > UPGRADES, i .. ": " .. c:stdout())
            end
            process.wait_workers(rp, 2)
            assert.match("\nresponses_5xx: 0\n", process.must(rp, "status"))
            origin:stop()
        end)

        it("that has a WebSocket before the old workers have to end", function()
            local listener = require("spec.support.e2e").listen()
            rp = process.start { vars = { up = listener.port },
                more = [[ timeouts = { drain = 1.5 },
                    upstreams = { o = rp.upstream { peers = { "127.0.0.1:${up}" } } }, ]],
                routes = 'rp.route { "/*", upstream = "o" }' }
            local w = wire.connect(rp.port)
            w:send("GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                .. "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n")
            local up = listener:accept()
            up:recv_until("\r\n\r\n")
            up:send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                .. "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")
            assert.match("^HTTP/1.1 101", w:recv_until("\r\n\r\n"))
            upgrade(rp)
            for i = 1, 3 do
                w:send(ws.frame(ws.TEXT, "there " .. i, { mask = true }))
                assert.equal("there " .. i, ws.read(up).payload)
                up:send(ws.frame(ws.TEXT, "back " .. i))
                assert.equal("back " .. i, ws.read(w).payload)
            end
            assert.match("draining", process.must(rp, "status"))
            assert.is_true(w:is_closed(20)) -- at the limit
            process.wait_workers(rp, 2)
        end)

        it("whose request runs on", function()
            rp = process.start { routes = [[ rp.route { "/*", content = function(req)
                rp.log.notice("asleep") rp.sleep(2) return req:exit(200, "old") end } ]] }
            local w = wire.connect(rp.port)
            w:send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            rp:wait_stderr("asleep")
            process.change(rp, answer("new"))
            upgrade(rp)
            all_say(rp, "new")
            assert.equal("old", http.read(w).body)
        end)
    end)

    describe("keeps", function()
        local KEEPER = [[ { name = "keeper", access = function(req)
            local s, out = rp.shared, nil
            if req.path == "/set" then
                s.flags:set("k", "v") s.pages:set("p", "page", 600) s.hits:add("n", 7)
                s.paths:add("top one") s.people:add("today", "anna")
                s.limits:take("b", 0.001, 2) s.limits:take("b", 0.001, 2)
                out = "set"
            elseif req.path == "/lock" then
                local _, taken = rp.lock("job", { zone = "flags", lease = 60, wait = 0 }, function()
                    rp.log.notice("lock is held")
                    rp.sleep(3)
                end)
                if taken then return req:exit(423, taken) end
                out = "done"
            elseif req.path == "/look" then
                out = table.concat({ tostring(s.flags:get("k")), tostring(s.pages:get("p")),
                    tostring(s.hits:get("n")), s.paths:list(1)[1].key,
                    tostring(s.people:count("today")), tostring(s.nets:has("10.1.2.3")),
                    tostring((s.limits:take("b", 0.001, 2))) }, " ")
            end
            if out then return req:exit(200, out) end
        end } ]]

        local nets = os.tmpname()
        teardown(function() os.remove(nets) end)

        local function keeper()
            posix.write_file(nets, "10.0.0.0/8\n")
            os.execute("chmod 644 " .. nets) -- workers of root's read it as somebody else
            return process.start { vars = { nets = nets }, more = [[ shared = {
                    flags = rp.shm.store { size = "1m" }, pages = rp.shm.cache { size = "1m" },
                    hits = rp.shm.counters { size = "1m" }, limits = rp.shm.buckets { size = "1m" },
                    paths = rp.shm.top { size = "64k" }, people = rp.shm.distinct { size = "128k" },
                    nets = rp.shm.set { size = "1m", type = "cidr", file = "${nets}" } },
                    use = { ]] .. KEEPER .. [[ }, ]] }
        end

        it("what is in shared zones", function()
            rp = keeper()
            assert.equal("set", process.body(rp, "/set"))
            local look = process.body(rp, "/look")
            assert.equal("v page 7 top one 1 true nil", look)
            for _ = 1, 2 do
                upgrade(rp)
                assert.equal(look, process.body(rp, "/look"))
            end
        end)

        it("locks that a request holds", function()
            rp = keeper()
            local w = wire.connect(rp.port)
            w:send("GET /lock HTTP/1.1\r\nHost: x\r\n\r\n")
            rp:wait_stderr("lock is held")
            upgrade(rp)
            assert.equal(423, http.get(rp.port, "/lock").status)
            assert.equal("done", http.read(w).body)
            assert.equal("done", process.body(rp, "/lock"))
        end)

        it("counters, metrics and the operator's word about peers", function()
            local origin = process.start(answer("from the origin"))
            rp = process.start { vars = { up = origin.port, other = posix.free_port() },
                more = [[ upstreams = { o = rp.upstream { peers = { "127.0.0.1:${up}",
                    "127.0.0.1:${other}" }, health = { path = "/", every = 0.2 } } }, ]],
                before = 'local things = rp.metric.counter { "things_total" }',
                routes = [[ rp.route { "/*", upstream = "o", use = { { name = "counts",
                    access = function() things:inc() end } } } ]] }
            process.must(rp, "peer", "o", "127.0.0.1:" .. rp.vars.other, "drain")
            for _ = 1, 10 do assert.equal(200, http.get(rp.port, "/").status) end
            local function wait(pattern, ...)
                local text
                local found = posix.poll(function()
                    text = process.must(rp, "metrics")
                    return text:find(pattern)
                end)
                assert.is_truthy(found, pattern .. " is not in\n" .. text)
            end
            wait("\nthings_total 10\n")
            wait("\nrproxy_requests_total 10\n")
            for round = 1, 2 do
                upgrade(rp)
                for _ = 1, 10 do assert.equal(200, http.get(rp.port, "/").status) end
                wait(("\nthings_total %d0\n"):format(1 + round))
                wait(("\nrproxy_requests_total %d0\n"):format(1 + round))
                assert.match("drain", process.must(rp, "upstreams"))
            end
            origin:stop()
        end)

        it("what another version lays out alike, and says what it does not", function()
            rp = keeper()
            assert.equal("set", process.body(rp, "/set"))
            -- A program with another layout of two parts: names end with its number.
            local copy = proc.temp_dir() .. "/rproxy"
            local text = posix.read_file(process.BIN)
            for _, name in ipairs { "roster1", "tally1" } do
                local other, n = text:gsub(name .. "%z", name:sub(1, -2) .. "7\0")
                assert.is_true(n >= 1, name)
                text = other
            end
            posix.write_file(copy, text)
            os.execute("chmod +x " .. copy)
            local said = upgrade(rp, "--binary", copy)
            assert.match("roster7 starts anew: this version lays it out otherwise\n", said)
            assert.match("shared.hits starts empty: this version lays it out otherwise\n", said)
            rp:wait_stderr("upgrade: roster7 starts anew")
            local _, lines = said:gsub("\n", "")
            assert.equal(3, lines)
            assert.equal("v page nil top one 1 true nil", process.body(rp, "/look"))
            said = upgrade(rp, "--binary", process.BIN) -- and back
            assert.match("roster1 starts anew", said)
            assert.equal("v page nil top one 1 true nil", process.body(rp, "/look"))
        end)

        it("one agent at a time", function()
            local origin = process.start(answer("from the origin"))
            rp = process.start { vars = { up = origin.port },
                more = [[ upstreams = { o = rp.upstream { peers = { "127.0.0.1:${up}" },
                    health = { path = "/", every = 0.1 } } }, ]],
                routes = 'rp.route { "/*", upstream = "o" }' }
            local function agents()
                local found = {}
                for _, pid in ipairs(posix.tree(rp.pid)) do
                    local name = posix.read_file("/proc/" .. pid .. "/comm")
                    if name == "rproxy-agent\n" then found[#found + 1] = pid end
                end
                return found
            end
            assert.is_truthy(posix.poll(function() return #agents() == 1 end))
            local first = agents()[1]
            local up = proc.spawn { process.BIN, "upgrade", "-p", rp.site_path }
            while up:is_running() do assert.is_true(#agents() <= 1) end
            assert.same({ exit = 0 }, up:wait(), up:stderr())
            assert.equal(1, #agents())
            assert.is_true(agents()[1] ~= first)
            assert.match("agent: serving", process.must(rp, "status"))
            origin:stop()
        end)
    end)

    describe("to a program that is no good", function()
        local dir

        local function refused(words, ...)
            local workers = process.workers(rp)
            local how, out, err = process.run(rp, "upgrade", ...)
            assert.same({ exit = 1 }, how)
            assert.equal("", out)
            assert.match(words, err)
            assert.match("not upgraded: version 0.1.0 serves on", err)
            rp:wait_stderr("not upgraded: ")
            all_say(rp, "one")
            assert.same(workers, process.wait_workers(rp, 2))
        end

        local function program(name, text, mode)
            posix.write_file(dir .. "/" .. name, text)
            os.execute(("chmod %s %s/%s"):format(mode or "755", dir, name))
            return dir .. "/" .. name
        end

        before_each(function()
            dir = proc.temp_dir()
            rp = process.start {}
        end)

        it("leaves the old one serving", function()
            local whole = posix.read_file(process.BIN)
            refused("No such file or directory", "--binary", dir .. "/missing")
            refused("Is a directory", "--binary", dir)
            refused("Permission denied", "--binary", program("plain", whole, "644"))
            refused("ended before it could serve", "--binary", program("cut", whole:sub(1, 300000)))
            refused("cannot execute", "--binary", program("text", "this is no program\n"))
            refused("signal 11", "--binary", program("crash", "#!/bin/sh\nkill -SEGV $$\n"))
            refused("words of its own\n.*exit status 3", "--binary",
                program("words", "#!/bin/sh\necho words of its own >&2\nexit 3\n"))
            refused("exit status 0", "--binary", "/bin/true")
            upgrade(rp)
        end)

        it("leaves it when it says nothing", function()
            rp.complaints_expected = true
            local up = proc.spawn { process.BIN, "upgrade", "-p", rp.site_path, "--binary",
                program("hangs", "#!/bin/sh\ntrap '' TERM\nexec sleep 1000\n") }
            assert.same({ exit = 1 }, up:wait(60))
            assert.match("was not ready in time", up:stderr())
            all_say(rp, "one")
            process.wait_workers(rp, 2)
        end)

        it("or to a site that is none leaves the reason", function()
            rp:write_site("\nreturn 1 +")
            refused("site.lua:2:")
            process.change(rp, { more = "bogus = 1," })
            refused("bogus")
            local extra = posix.free_port()
            local listen = 'rp.listen { "127.0.0.1:%d" }, rp.listen { "unix:${dir}/n.sock" },'
            process.change(rp, { listen = listen:format(extra), routes = [[ rp.route { "/*",
                respond = { 200, "two" }, use = { { name = "bad",
                start = function() error("no such luck") end } } } ]] })
            refused("start hook")
            assert.is_true(posix.poll(function() return not posix.is_listening(extra) end, 30))
            assert.is_false(posix.exists(rp.dir .. "/n.sock"))
            process.change(rp, answer("two"))
            upgrade(rp)
            all_say(rp, "two")
        end)
    end)

    describe("in the middle of which", function()
        it("the new program is killed leaves the old one serving", function()
            rp = process.start { quiet_end = true }
            local workers = process.wait_workers(rp, 2)
            process.change(rp, (held_start("two")))
            local up = proc.spawn { process.BIN, "upgrade", "-p", rp.site_path }
            local pid = successor(rp)
            rp:wait_stderr("start hook waits")
            local new = {}
            for _, p in ipairs(posix.tree(pid)) do new[#new + 1] = p end
            posix.kill(pid, "KILL")
            assert.same({ exit = 1 }, up:wait())
            assert.match("signal 9", up:stderr())
            gone(new)
            all_say(rp, "one")
            assert.same(workers, process.wait_workers(rp, 2))
            process.change(rp, answer("two"))
            upgrade(rp)
            all_say(rp, "two")
        end)

        it("one of its workers is killed leaves the old one serving", function()
            rp = process.start { quiet_end = true }
            process.change(rp, (held_start("two")))
            local up = proc.spawn { process.BIN, "upgrade", "-p", rp.site_path }
            local pid = successor(rp)
            rp:wait_stderr("start hook waits")
            posix.kill(posix.tree(pid)[2], "KILL")
            assert.same({ exit = 1 }, up:wait())
            assert.match("a worker died while it started", up:stderr())
            all_say(rp, "one")
            process.wait_workers(rp, 2)
        end)

        it("an old worker is killed is made whole and goes on", function()
            rp = process.start { quiet_end = true }
            local workers = process.wait_workers(rp, 2)
            local site, go_on = held_start("two")
            process.change(rp, site)
            local up = proc.spawn { process.BIN, "upgrade", "-p", rp.site_path }
            rp:wait_stderr("start hook waits")
            posix.kill(workers[1], "KILL")
            all_say(rp, "one")
            go_on()
            assert.same({ exit = 0 }, up:wait(), up:stderr())
            all_say(rp, "two")
            gone(workers)
            process.wait_workers(rp, 2)
        end)

        it("the master is killed ends as without one, and can be started again", function()
            rp = process.start { quiet_end = true }
            process.change(rp, (held_start("two")))
            local up = proc.spawn { process.BIN, "upgrade", "-p", rp.site_path }
            successor(rp)
            rp:wait_stderr("start hook waits")
            local all = posix.tree(rp.pid)
            rp:signal("KILL")
            rp:wait(5)
            assert.same({ exit = 1 }, up:wait())
            gone(all)
            assert.is_false(posix.is_listening(rp.port))
        end)

        it("the agent's start fails gives the old agent its work back", function()
            rp = process.start { quiet_end = true, vars = { up = posix.free_port() },
                more = [[ upstreams = { o = rp.upstream { peers = { "127.0.0.1:${up}" },
                    health = { path = "/", every = 0.2 } } }, ]] }
            -- The agent is the only one that runs this.
            local agent
            assert.is_truthy(posix.poll(function()
                agent = process.must(rp, "status"):match("agent: serving, pid (%d+)")
                return agent
            end))
            local site, go_on = held_start("two")
            process.change(rp, site)
            local up = proc.spawn { process.BIN, "upgrade", "-p", rp.site_path }
            local pid = successor(rp)
            go_on()
            gone { tonumber(agent) } -- the new workers are ready: the other agent's turn
            posix.kill(pid, "KILL")
            up:wait()
            if up.ended.exit == 0 then return end -- it was over already
            assert.is_truthy(posix.poll(function()
                return process.must(rp, "status"):match("agent: serving, pid (%d+)")
            end, 30))
            all_say(rp, "one")
        end)

        it("the master is told to end gives it up", function()
            rp = process.start {}
            process.change(rp, (held_start("two")))
            local up = proc.spawn { process.BIN, "upgrade", "-p", rp.site_path }
            local pid = successor(rp)
            rp:wait_stderr("start hook waits")
            local new = posix.tree(pid)
            rp:stop { signal = "QUIT" }
            assert.same({ exit = 1 }, up:wait())
            assert.match("the master is ending", up:stderr())
            gone(new)
        end)
    end)

    it("tells the service manager", function()
        local path = proc.temp_dir() .. "/notify"
        local fd, addr = posix.C.socket(1, 2, 0), ffi.new("char[110]")
        addr[0] = 1
        ffi.copy(addr + 2, path)
        assert.equal(0, posix.C.bind(fd, addr, 3 + #path))
        local function message()
            local buf = ffi.new("char[512]")
            local n = posix.C.recv(fd, buf, 512, 0x40) -- MSG_DONTWAIT
            return n > 0 and ffi.string(buf, n)
        end
        rp = process.start { env = { NOTIFY_SOCKET = path } }
        assert.equal("READY=1", posix.poll(message))
        upgrade(rp)
        assert.match("^RELOADING=1", posix.poll(message))
        assert.equal("READY=1", posix.poll(message))
        process.must(rp, "stop")
        assert.equal("STOPPING=1", posix.poll(message)) -- the rehearsal said nothing
        posix.C.close(fd)
    end)
end)
