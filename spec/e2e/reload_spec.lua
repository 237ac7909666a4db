-- SPDX-License-Identifier: MIT
--
-- Reload: a new generation in all workers or in none, without a lost request or a growing process.
-- RP_RELOADS: how many in a row the spec of growth makes (60; the promise is about 1,000).

local http = require("spec.support.http")
local posix = require("spec.support.posix")
local proc = require("spec.support.proc")
local process = require("spec.support.process")
local wire = require("spec.support.wire")

local answer, held_start, all_say = process.answer, process.held_start, process.all_say

describe("reload", function()
    local rp

    after_each(function()
        local mine = rp
        rp = nil
        process.stop_if_running(mine)
    end)

    it("takes the changed site and says which generation serves", function()
        rp = process.start {}
        local workers = process.wait_workers(rp, 2)
        process.change(rp, answer("two"))
        assert.equal("reloaded: generation 2, 2 workers\n", process.must(rp, "reload"))
        all_say(rp, "two")
        process.change(rp, answer("three"))
        assert.equal("reloaded: generation 3, 2 workers\n", process.must(rp, "reload"))
        all_say(rp, "three")
        assert.same(workers, process.wait_workers(rp, 2)) -- the same processes
    end)

    it("by HUP does the same, and the log tells", function()
        rp = process.start {}
        process.change(rp, answer("two"))
        rp:signal("HUP")
        rp:wait_stderr("reloaded generation=2 workers=2 ms=%d+")
        all_say(rp, "two")
    end)

    it("says where options are changed that only a start can take", function()
        rp = process.start { more = 'user = "nobody",' }
        process.change(rp, { more = '\nuser = "daemon",\npid = "${dir}/other.pid",' })
        process.must(rp, "reload")
        rp:wait_stderr("/site.lua:%d+: the option user changed: that takes a restart")
        rp:wait_stderr("/site.lua:%d+: the option pid changed: that takes a restart")
        local user = rp:stderr():match("site.lua:(%d+): the option user")
        assert.equal(user + 1, tonumber(rp:stderr():match("site.lua:(%d+): the option pid")))
        process.must(rp, "reload")
        local _, times = rp:stderr():gsub("that takes a restart", "")
        assert.equal(2, times) -- said once, not at every reload
    end)

    it("takes changed modules of the site", function()
        rp = process.start { routes = 'rp.route { "/*", respond = { 200, require("text") } }',
            files = { ["text.lua"] = "return 'one'" } }
        all_say(rp, "one")
        posix.write_file(rp.dir .. "/text.lua", "return 'two'")
        all_say(rp, "one")
        process.must(rp, "reload")
        all_say(rp, "two")
    end)

    describe("that fails", function()
        local function refused(opt, words)
            if type(opt) == "string" then rp:write_site(opt) else process.change(rp, opt) end
            local how, out, err = process.run(rp, "reload")
            assert.same({ exit = 1 }, how)
            assert.equal("", out)
            assert.match(words, err)
            assert.match("not reloaded: generation 1 serves on", err)
            all_say(rp, "one")
            return err
        end

        before_each(function() rp = process.start {} end)

        it("in the check tells file and line, and changes nothing", function()
            assert.match("site.lua:2:", refused("\nreturn 1 +", "site.lua:2:"))
            refused({ more = "bogus = 1," }, "bogus")
            rp:wait_stderr("not reloaded: [^\n]*bogus")
        end)

        it("by HUP leaves the reason in the log", function()
            process.change(rp, { more = "bogus = 1," })
            rp:signal("HUP")
            rp:wait_stderr("not reloaded: [^\n]*bogus")
            all_say(rp, "one")
        end)

        it("in a start hook changes nothing in any worker", function()
            local extra = posix.free_port()
            refused({ listen = ('rp.listen { "127.0.0.1:%d" },'):format(extra),
                routes = [[ rp.route { "/*", respond = { 200, "two" },
                    use = { { name = "bad", start = function() error("no such luck") end } } } ]] },
                "start hook")
            -- The master has let go of it; each worker does when it hears so, a moment later.
            assert.is_true(posix.poll(function() return not posix.is_listening(extra) end, 30))
        end)

        it("at a listener that cannot be bound changes nothing", function()
            local fd, port = posix.C.socket(2, 1, 0), posix.free_port()
            posix.C.bind(fd, posix.inet("127.0.0.1", port), 16)
            posix.C.listen(fd, 1)
            local site = answer("two")
            site.listen = ('rp.listen { "127.0.0.1:%d" },'):format(port)
            refused(site, "cannot listen on 127.0.0.1:" .. port)
            posix.C.close(fd)
        end)

        it("at a log file changes nothing", function()
            refused({ more = 'log = { error = { to = "/nowhere/e.log" } },' }, "/nowhere/e.log")
        end)

        it("because a worker died is undone everywhere, and the old site respawned", function()
            rp.complaints_expected = true
            local site, go_on = held_start("two")
            process.change(rp, site)
            local reload = proc.spawn { process.BIN, "reload", "-p", rp.site_path }
            rp:wait_stderr("reloading")
            local master_children = process.workers(rp)
            rp:wait_stderr("start hook waits") -- the check is over
            posix.kill(master_children[1], "KILL")
            assert.same({ exit = 1 }, reload:wait())
            assert.match("died while it prepared the reload", reload:stderr())
            process.wait_workers(rp, 2, { master_children[1] })
            go_on()
            posix.sleep(0.5) -- beyond the end of the other one's start hook
            all_say(rp, "one")
            process.change(rp, answer("two"))
            process.must(rp, "reload")
            all_say(rp, "two")
        end)

        it("does not keep a good one from following", function()
            refused({ more = "bogus = 1," }, "bogus")
            process.change(rp, answer("two"))
            assert.match("generation 2", process.must(rp, "reload"))
            all_say(rp, "two")
        end)
    end)

    it("asked for many times during one is one more after it", function()
        rp = process.start {}
        local site, go_on = held_start("two")
        process.change(rp, site)
        rp:signal("HUP")
        rp:wait_stderr("reloading")
        rp:wait_stderr("start hook waits")
        process.change(rp, answer("three"))
        for _ = 1, 5 do
            rp:signal("HUP")
            posix.sleep(0.01)
        end
        local reload = proc.spawn { process.BIN, "reload", "-p", rp.site_path }
        process.wait_asked(reload)
        process.must(rp, "status") -- so the master has heard who asked before
        go_on()
        assert.same({ exit = 0 }, reload:wait(60), reload:stderr()) -- waits for the one after
        assert.match("generation 3", reload:stdout())
        all_say(rp, "three")
        posix.sleep(0.3)
        local _, n = rp:stderr():gsub("reloaded generation=", "")
        assert.equal(2, n)
    end)

    it("adds and removes listeners, and keeps what is the same", function()
        local extra = posix.free_port()
        rp = process.start {}
        local kept = wire.connect(rp.port)
        assert.equal("one", http.request(kept, { target = "/" }).body)
        local site = answer("two")
        site.listen = ('rp.listen { "127.0.0.1:%d" }, rp.listen { "unix:${dir}/s.sock" },')
            :format(extra)
        process.change(rp, site)
        process.must(rp, "reload")
        assert.equal("two", http.get(extra, "/").body)
        assert.is_true(posix.exists(rp.dir .. "/s.sock"))
        assert.equal("two", http.request(kept, { target = "/" }).body) -- the connection lives on

        local on_extra = wire.connect(extra)
        assert.equal("two", http.request(on_extra, { target = "/" }).body)
        process.change(rp, answer("three"))
        process.must(rp, "reload")
        assert.is_truthy(posix.poll(function() return not posix.is_listening(extra) end))
        assert.is_false(posix.exists(rp.dir .. "/s.sock"))
        all_say(rp, "three")
        assert.equal("three", http.request(on_extra, { target = "/" }).body)
    end)

    it("may name an address beside the wildcard of its port", function()
        rp = process.start {}
        local site = answer("two")
        site.listen = 'rp.listen { "127.0.0.2:${port}" },'
        process.change(rp, site)
        process.must(rp, "reload")
        assert.equal("two", http.request(wire.connect(rp.port, "127.0.0.2"), { target = "/" }).body)
    end)

    it("changes the number of workers", function()
        rp = process.start {}
        local first = process.wait_workers(rp, 2)
        for _, n in ipairs { 4, 1, 3 } do
            local site = answer("n" .. n)
            site.workers = n
            process.change(rp, site)
            assert.match(n .. " worker", process.must(rp, "reload"))
            process.wait_workers(rp, n)
            all_say(rp, "n" .. n)
        end
        assert.is_true(posix.alive(first[1])) -- worker 0 stays through all of it
    end)

    it("moves the logs with the generation", function()
        rp = process.start {}
        local site = answer("two")
        site.more = 'log = { error = { to = "${dir}/e.log", level = "notice" } },'
        process.change(rp, site)
        process.must(rp, "reload")
        rp:signal("HUP")
        assert.is_truthy(posix.poll(function()
            return (posix.read_file(rp.dir .. "/e.log") or ""):find("reloaded generation=3")
        end))
        assert.is_nil(rp:stderr():find("generation=3"))
    end)

    it("lets running requests end in their generation", function()
        rp = process.start { routes = [[ rp.route { "/*", content = function(req)
            rp.log.notice("asleep") rp.sleep(2) return req:exit(200, "old") end } ]] }
        local w = wire.connect(rp.port)
        w:send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        rp:wait_stderr("asleep")
        process.change(rp, answer("new"))
        process.must(rp, "reload")
        all_say(rp, "new")
        assert.equal("old", http.read(w).body)
        assert.equal("new", http.request(w, { target = "/" }).body)
    end)

    it("respawns into the newest generation, not into what lies on the disk", function()
        rp = process.start { quiet_end = true }
        process.change(rp, answer("two"))
        process.must(rp, "reload")
        process.change(rp, answer("three"))
        local workers = process.wait_workers(rp, 2)
        for _, pid in ipairs(workers) do posix.kill(pid, "KILL") end
        process.wait_workers(rp, 2, workers)
        all_say(rp, "two")
    end)

    it("under load fails no request", function()
        rp = process.start(answer("g1"))
        local stop, n = proc.temp_dir() .. "/stop", 0
        local client = proc.spawn { "luajit", "-e", ([[
            package.path = "./?.lua;" .. package.path
            local http = require("spec.support.http")
            local posix = require("spec.support.posix")
            local wire = require("spec.support.wire")
            require("spec.support.protocol").speaks(%d)
            local done, w, last = 0, wire.connect(%d), posix.now()
            local function connect()
                w:close()
                w = wire.connect(%d)
            end
            -- A worker that leaves says so for 250 ms and closes what is idle then. Who was kept from
            -- asking for so long asks once more, on a connection of its own.
            local function ask()
                local ok, res = pcall(http.request, w, {})
                if ok then return res end
                assert(posix.now() - last >= 0.2, res)
                connect()
                return http.request(w, {})
            end
            while not posix.exists(%q) do
                local kept = done %% 3 ~= 0
                local res = kept and ask() or http.get(%d, "/")
                assert(res.status == 200 and res.body:find("^g%%d+$"), res.body)
                if kept then
                    last = posix.now()
                    if res:header("connection") == "close" then connect() end
                end
                if w:is_closed(0) then connect() end
                done = done + 1
            end
            print(done)]]):format(rp.port, rp.port, rp.port, stop, rp.port) }
        for i = 2, 16 do
            local site = answer("g" .. i)
            site.workers = ({ 2, 4, 1, 3 })[i % 4 + 1]
            process.change(rp, site)
            process.must(rp, "reload")
            n = n + 1
        end
        posix.write_file(stop, "")
        assert.same({ exit = 0 }, client:wait(), client:stderr())
        assert.is_true(tonumber(client:stdout()) > n)
    end)

    it("leaves nothing behind, however often", function()
        rp = process.start { workers = 2, routes = [[ rp.route { "/*", respond = { 200, "x" },
            use = { { name = "p", access = function(req) req.ctx.a = 1 end,
                start = function() rp.every(60, function() end) end } } } ]],
            more = 'log = { access = { to = "${dir}/a.log" } },' }
        local function warm(times)
            for i = 1, times do
                process.must(rp, "reload")
                if i % 10 == 0 then all_say(rp, "x") end
            end
        end
        warm(20)
        local kb, fds = rp:cost()
        local processes = #posix.tree(rp.pid)
        warm(tonumber(os.getenv("RP_RELOADS")) or 60)
        local kb_after, fds_after = rp:cost()
        assert.equal(fds, fds_after)
        assert.equal(processes, #posix.tree(rp.pid))
        -- A sanitizer keeps freed memory for a while (its quarantine).
        local most = os.getenv("RP_MODE") == "debug" and kb * 4 or kb * 1.1 + 1024
        assert.is_true(kb_after < most, ("%d kB grew to %d kB"):format(kb, kb_after))
    end)
end)
