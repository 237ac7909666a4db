-- SPDX-License-Identifier: MIT
--
-- The command line: what it prints, and exit statuses 0, 1 and 2.

local http = require("spec.support.http")
local posix = require("spec.support.posix")
local proc = require("spec.support.proc")
local process = require("spec.support.process")

local function write(dir, name, text)
    posix.write_file(dir .. "/" .. name, text)
    return dir .. "/" .. name
end

local GOOD = [[local rp = require("rproxy")
return rp.site {
    workers = 2,
    listeners = { rp.listen { "127.0.0.1:%d" } },
    hosts = { rp.host { default = true, routes = { rp.route { "/*", respond = { 200, "hi" } } } } },
}
]]

describe("rproxy", function()
    local dir

    before_each(function() dir = proc.temp_dir() end)
    after_each(proc.cleanup)

    describe("without a site to serve", function()
        it("prints its version and its libraries", function()
            local how, out = process.run { "-v" }
            assert.same({ exit = 0 }, how)
            assert.match("^rproxy %d+%.%d+%.%d+\n$", out)
            how, out = process.run { "--libraries" }
            assert.same({ exit = 0 }, how)
            for _, word in ipairs { "rproxy %d", "libuv %d", "LuaJIT %d", "PCRE2 %d",
                "OpenSSL %d" } do
                assert.match(word, out)
            end
        end)

        it("prints help", function()
            local how, out, err = process.run { "--help" }
            assert.same({ exit = 0 }, how)
            assert.equal("", err)
            for _, word in ipairs { "%-p", "%-t", "%-T", "%-d", "%-g", "reload", "status" } do
                assert.match(word, out)
            end
        end)

        it("ends with 2 and one line on wrong usage", function()
            for _, words in ipairs { {}, { "-t" }, { "-x" }, { "--bogus" }, { "explode" },
                { "reload" }, { "-p" } } do
                local how, out, err = process.run(words)
                assert.same({ exit = 2 }, how)
                assert.equal("", out)
                assert.match("^rproxy: [^\n]*rproxy %-h[^\n]*\n$", err)
            end
        end)
    end)

    describe("checks", function()
        it("a good site: ok and exit status 0", function()
            local path = write(dir, "site.lua", GOOD:format(1))
            local how, out, err = process.run { "-t", "-p", path }
            assert.same({ exit = 0 }, how)
            assert.equal(path .. ": ok\n", out)
            assert.equal("", err)
        end)

        it("bad sites: file, line and exit status 1", function()
            for text, words in pairs {
                ["return 1 +"] = ":1:",
                ["\n\nlocal x = nil\nreturn x.y"] = ":4:",
                ["local rp = require('rproxy')\nreturn rp.site { bogus = 1 }"] = ":2:.*bogus",
                ["error('boom')"] = "boom",
                ["return 1"] = "rp.site",
                ["require('nowhere')"] = "nowhere",
            } do
                local path = write(dir, "site.lua", text)
                local how, out, err = process.run { "-t", "-p", path }
                assert.same({ exit = 1 }, how)
                assert.equal("", out)
                assert.is_truthy(err:find(path, 1, true), err)
                assert.match(words, err)
            end
        end)

        it("every mistake of a site, a line each", function()
            local path = write(dir, "site.lua", [[local rp = require("rproxy")
                return rp.site { first = 1,
                    second = 2 }]])
            local _, _, err = process.run { "-t", "-p", path }
            assert.match("first", err)
            assert.match("second", err)
        end)

        it("a site in another folder, which requires its neighbours", function()
            write(dir, "part.lua", "return { 200, 'from part' }")
            local path = write(dir, "site.lua", [[local rp = require("rproxy")
                return rp.site { listeners = { rp.listen { "127.0.0.1:1" } },
                    hosts = { rp.host { default = true, routes = {
                        rp.route { "/", respond = require("part") } } } } }]])
            assert.same({ exit = 0 }, (process.run { "-t", "-p", path }))
        end)

        it("a site that is not there, and one that is none", function()
            local how, _, err = process.run { "-t", "-p", dir .. "/nowhere.lua" }
            assert.same({ exit = 1 }, how)
            assert.match("nowhere.lua: cannot be read: No such file or directory", err)
            write(dir, "site.txt", "return 1")
            how, _, err = process.run { "-t", "-p", dir .. "/site.txt" }
            assert.same({ exit = 1 }, how)
            assert.match("ends in .lua", err)
        end)

        it("a site that nobody else may read", function()
            local path = write(dir, "site.lua", GOOD:format(1))
            os.execute("chmod 600 " .. path)
            assert.same({ exit = 0 }, (process.run { "-t", "-p", path }))
        end)

        it("overrides as part of the site", function()
            local path = write(dir, "site.lua", GOOD:format(1))
            local how, out = process.run { "-T", "-p", path, "-g", "workers=7" }
            assert.same({ exit = 0 }, how)
            assert.match("workers%s+7", out)
            local _, _, err = process.run { "-t", "-p", path, "-g", "wrokers=7" }
            assert.match("wrokers.*workers", err)
        end)

        it("and explains what will be served", function()
            local path = write(dir, "site.lua", GOOD:format(4711))
            local how, out = process.run { "-T", "-p", path }
            assert.same({ exit = 0 }, how)
            assert.match("127.0.0.1:4711", out)
            assert.match("/%*", out)
        end)
    end)

    describe("refuses to start", function()
        local function refused(text, args)
            local path = write(dir, "site.lua", text)
            local how, _, err = process.run { "-p", path, unpack(args or {}) }
            assert.same({ exit = 1 }, how)
            return err
        end

        it("with a bad site", function()
            assert.match("site.lua:2:.*bogus",
                refused("local rp = require('rproxy')\nreturn rp.site { bogus = 1 }"))
        end)

        it("when the address is in use, and says which and by what to find out", function()
            local fd = posix.C.socket(2, 1, 0)
            local port = posix.free_port()
            assert.equal(0, posix.C.bind(fd, posix.inet("127.0.0.1", port), 16))
            assert.equal(0, posix.C.listen(fd, 1))
            local err = refused(GOOD:format(port))
            posix.C.close(fd)
            assert.match("^rproxy: cannot listen on 127.0.0.1:" .. port ..
                ": Address already in use[^\n]*ss[^\n]*\n$", err)
        end)

        it("when another rproxy of the same user has the address", function()
            local rp = process.start {}
            local err = refused(GOOD:format(rp.port))
            assert.match("Address already in use", err)
            assert.equal("one", process.body(rp))
            process.stop(rp)
        end)

        it("on an address of no interface", function()
            assert.match("cannot listen on 192.0.2.1:80: .*no interface",
                refused((GOOD:format(80):gsub("127.0.0.1", "192.0.2.1"))))
        end)

        it("when a log file cannot be opened", function()
            local text = GOOD:format(posix.free_port()):gsub("workers = 2",
                'workers = 2, log = { error = { to = "/nowhere/e.log" } }')
            assert.match("cannot open the log file /nowhere/e.log: No such file", refused(text))
        end)

        it("when a start hook fails", function()
            local text = GOOD:format(posix.free_port()):gsub('respond',
                'use = { { start = function() error("no such luck") end } }, respond')
            assert.match("start hook", refused(text))
        end)

        it("as an account that does not exist", function()
            if posix.read_file("/proc/self/status"):match("Uid:%s+(%d+)") ~= "0" then return end
            assert.match("no such account", refused(GOOD:format(1), { "-g", "user=nosuchuser" }))
        end)

        it("twice for one site", function()
            local rp = process.start {}
            local how, _, err = process.run(rp)
            assert.same({ exit = 1 }, how)
            assert.match("a master serves this site already: pid " .. rp.pid, err)
            process.stop(rp)
        end)
    end)

    describe("commands", function()
        it("say that nothing runs", function()
            local path = write(dir, "site.lua", GOOD:format(1))
            for _, word in ipairs { "reload", "stop", "quit", "reopen", "status" } do
                local how, out, err = process.run { word, "-p", path }
                assert.same({ exit = 1 }, how)
                assert.equal("", out)
                assert.match("not running: " .. path:gsub("%p", "%%%0") .. " %(no pid file", err)
            end
        end)

        it("call a pid file stale when its process is gone", function()
            local rp = process.start {}
            posix.kill(rp.pid, "KILL")
            rp:wait()
            local how, _, err = process.run(rp, "reload")
            assert.same({ exit = 1 }, how)
            assert.match("stale pid file .* names process " .. rp.pid, err)
            local again = proc.spawn { process.BIN, "-p", rp.site_path } -- it takes the place
            again:wait_stderr("serving site=")
            assert.match("pid " .. again.pid, process.must(rp, "status"))
            again:stop()
        end)

        it("work while the site is broken", function()
            local rp = process.start {}
            rp:write_site("return 1 +")
            assert.match("generation 1", process.must(rp, "status"))
            assert.match("stopped: pid " .. rp.pid, process.must(rp, "stop"))
            assert.same({ exit = 0 }, rp:wait())
            process.stop()
        end)

        it("find the master however the path is written", function()
            local rp = process.start {}
            local crooked = rp.dir .. "/./../" .. rp.dir:match("[^/]+$") .. "//site.lua"
            local how, out = process.run { "status", "-p", crooked }
            assert.same({ exit = 0 }, how)
            assert.match("pid " .. rp.pid, out)
            process.stop(rp)
        end)

        it("status tells the state, the workers and the counters", function()
            local rp = process.start { more = 'pid = "${dir}/extra.pid",' }
            assert.equal(rp.pid .. "\n", posix.read_file(rp.dir .. "/extra.pid"))
            for _ = 1, 3 do process.body(rp) end
            local out = posix.poll(function()
                local text = process.must(rp, "status")
                return text:find("\nresponses_2xx: 3\n") and text
            end)
            assert.is_truthy(out)
            assert.match("master: serving, pid " .. rp.pid, out)
            assert.match("worker 0: serving", out)
            assert.match("worker 1: serving", out)
            assert.match("listener: 127.0.0.1:" .. rp.port, out)
            process.stop(rp)
            assert.is_false(posix.exists(rp.dir .. "/extra.pid"))
        end)

        it("quit waits for the end", function()
            local rp = process.start {}
            assert.match("stopped: pid " .. rp.pid, process.must(rp, "quit"))
            assert.same({ exit = 0 }, rp:wait())
            rp:assert_no_complaints()
            process.stop()
        end)

        it("use the pid file of -g pid", function()
            local args = { "-g", "pid=" .. dir .. "/own.pid" }
            local rp = process.start { args = args }
            assert.equal(rp.pid .. "\n", posix.read_file(dir .. "/own.pid"))
            assert.is_true(posix.exists(dir .. "/own.sock"))
            assert.same({ exit = 1 }, (process.run(rp, "status")))
            assert.match("serving", process.must(rp, "status", unpack(args)))
            process.stop(rp)
            assert.is_false(posix.exists(rp.dir .. "/own.sock"))
        end)
    end)

    describe("in the background", function()
        -- The master is no child of ours: the pid file and `stop` are all there is.
        after_each(function() process.run { "stop", "-p", dir .. "/site.lua" } end)

        it("returns 0 when it serves, and logs to its file", function()
            local port = posix.free_port()
            local path = write(dir, "site.lua", (GOOD:format(port):gsub("workers = 2",
                'workers = 1, log = { error = { to = "error.log" } }')))
            local how, out, err = process.run { "-d", "-p", path }
            assert.same({ exit = 0 }, how, err)
            assert.equal("", out .. err)
            assert.equal("hi", http.get(port, "/").body)
            assert.match("serving site=", posix.read_file(dir .. "/error.log"))

            local again, _, why = process.run { "-d", "-p", path }
            assert.same({ exit = 1 }, again)
            assert.match("serves this site already", why)

            how, out = process.run { "stop", "-p", path }
            assert.same({ exit = 0 }, how)
            local pid = tonumber(out:match("stopped: pid (%d+)"))
            assert.is_false(posix.alive(pid))
        end)

        it("warns when the error log would go nowhere", function()
            local path = write(dir, "site.lua", GOOD:format(posix.free_port()))
            local how, _, err = process.run { "-d", "-p", path }
            assert.same({ exit = 0 }, how)
            assert.match("set log.error.to to a file", err)
        end)

        it("returns 1 and says why when it cannot", function()
            local path = write(dir, "site.lua", "return 1 +")
            local how, _, err = process.run { "-d", "-p", path }
            assert.same({ exit = 1 }, how)
            assert.match("site.lua:1:", err)
        end)
    end)
end)
