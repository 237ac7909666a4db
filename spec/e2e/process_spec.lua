-- SPDX-License-Identifier: MIT
--
-- Master and workers: who they are, how they end, and what happens when one dies.

local http = require("spec.support.http")
local posix = require("spec.support.posix")
local proc = require("spec.support.proc")
local process = require("spec.support.process")
local protocol = require("spec.support.protocol")
local wire = require("spec.support.wire")

local IS_ROOT = posix.read_file("/proc/self/status"):match("Uid:%s+(%d+)") == "0"

-- A hook that never returns (and has no CPU budget), one that waits, and an answer.
local ROUTES = [[
    rp.route { "/busy", respond = { 200, "never" },
        use = { { name = "burner", access = function(req) while true do end end } } },
    rp.route { "/sleep", respond = { 200, "slept" },
        use = { { name = "sleeper", access = function(req)
            rp.log.notice("asleep") rp.sleep(0.6) end } } },
    rp.route { "/*", respond = { 200, "one" } } ]]
local NO_BUDGET = "lua = { cpu_budget = 0 },"

local function field(pid, name)
    return (posix.read_file("/proc/" .. pid .. "/status") or ""):match(name .. ":%s+([^\n]*)")
end

local function processor_time(pid)
    local stat = posix.read_file("/proc/" .. pid .. "/stat") or ""
    local user, system = stat:match("%) %S" .. (" %S+"):rep(10) .. " (%d+) (%d+)")
    return (tonumber(user) or 0) + (tonumber(system) or 0)
end

-- Send a request to the busy route and return the worker that is stuck in its hook.
local function make_busy(rp)
    local before = {}
    for _, pid in ipairs(process.workers(rp)) do before[pid] = processor_time(pid) end
    local w = wire.connect(rp.port)
    w:send("GET /busy HTTP/1.1\r\nHost: x\r\n\r\n")
    return posix.poll(function()
        for pid, time in pairs(before) do
            if processor_time(pid) > time + 10 then return pid end -- 0.1 s
        end
    end)
end

describe("processes", function()
    local rp

    after_each(function()
        local mine = rp
        rp = nil
        process.stop_if_running(mine)
    end)

    describe("of a running proxy", function()
        it("are one master and as many workers as the site says", function()
            rp = process.start { workers = 3 }
            assert.equal(3, #process.wait_workers(rp, 3))
        end)

        it("give up their rights in the workers", function()
            if not IS_ROOT then return end
            rp = process.start { workers = 1 }
            local worker = process.workers(rp)[1]
            assert.match("^0", field(rp.pid, "Uid"))
            for _, ids in ipairs { "Uid", "Gid", "Groups" } do
                assert.is_nil(field(worker, ids):find("%f[%d]0%f[%D]"), ids)
            end
            for _, caps in ipairs { "CapInh", "CapPrm", "CapEff", "CapAmb" } do
                assert.equal("0000000000000000", field(worker, caps), caps)
            end
            assert.equal("1", field(worker, "NoNewPrivs"))
        end)

        it("change to the user that the site names", function()
            if not IS_ROOT then return end
            rp = process.start { workers = 1, more = 'user = "daemon",' }
            assert.match("^1%s", field(process.workers(rp)[1], "Uid"))
        end)

        it("keep the master's files out of the workers", function()
            rp = process.start { workers = 2 }
            for _, worker in ipairs(process.workers(rp)) do
                local pipe = io.popen("ls -l /proc/" .. worker .. "/fd")
                local text = pipe:read("*a")
                pipe:close()
                assert.is_nil(text:find("%.pid"), text)
                assert.is_true(select(2, text:gsub("\n", "\n")) < 20, text)
            end
        end)

        it("raise the limit of open files", function()
            rp = process.start { workers = 1 }
            local limits = posix.read_file("/proc/" .. process.workers(rp)[1] .. "/limits")
            local soft, hard = limits:match("Max open files%s+(%S+)%s+(%S+)")
            assert.equal(hard, soft)
        end)

        it("tell systemd when they serve, reload and end", function()
            local path = proc.temp_dir() .. "/notify"
            local fd = posix.C.socket(1, 2, 0)
            local addr = require("ffi").new("char[110]")
            addr[0] = 1
            require("ffi").copy(addr + 2, path)
            assert.equal(0, posix.C.bind(fd, addr, 3 + #path))
            local function message()
                local buf = require("ffi").new("char[512]")
                local n = posix.C.recv(fd, buf, 512, 0x40) -- MSG_DONTWAIT
                return n > 0 and require("ffi").string(buf, n)
            end
            rp = process.start { env = { NOTIFY_SOCKET = path } }
            assert.equal("READY=1", posix.poll(message))
            process.must(rp, "reload")
            assert.match("^RELOADING=1\nMONOTONIC_USEC=%d+$", posix.poll(message))
            assert.equal("READY=1", posix.poll(message))
            process.must(rp, "stop")
            assert.equal("STOPPING=1", posix.poll(message))
            posix.C.close(fd)
        end)
    end)

    describe("end", function()
        it("at once by TERM and by INT, whatever runs", function()
            for _, signal in ipairs { "TERM", "INT" } do
                rp = process.start { routes = ROUTES }
                local w = wire.connect(rp.port)
                w:send("GET /sleep HTTP/1.1\r\nHost: x\r\n\r\n")
                process.wait_workers(rp, 2)
                local before = posix.now()
                rp:stop { signal = signal }
                assert.is_true(posix.now() - before < 25)
                wire.close_all()
            end
        end)

        it("after answering what runs by QUIT, and refuse newcomers", function()
            rp = process.start { routes = ROUTES }
            local w, idle = wire.connect(rp.port), wire.connect(rp.port)
            assert.equal("one", http.request(idle, { target = "/" }).body)
            w:send("GET /sleep HTTP/1.1\r\nHost: x\r\n\r\n")
            rp:wait_stderr("asleep")
            rp:signal("QUIT")
            assert.is_true(posix.poll(function() return not posix.is_listening(rp.port) end))
            local res = http.read(w)
            assert.equal("slept", res.body)
            if not protocol.has_h2 then assert.equal("close", res:header("connection")) end
            rp:stop { signal = "QUIT" }
        end)

        it("by QUIT when the drain time is over, even so", function()
            rp = process.start { routes = ROUTES:gsub("0%.6", "60"),
                more = 'timeouts = { drain = "300ms" },' }
            local w = wire.connect(rp.port)
            w:send("GET /sleep HTTP/1.1\r\nHost: x\r\n\r\n")
            rp:wait_stderr("asleep")
            local before = posix.now()
            rp:stop { signal = "QUIT" }
            assert.is_true(posix.now() - before < 25)
        end)

        it("when QUIT is followed by TERM", function()
            rp = process.start { routes = ROUTES:gsub("0%.6", "60") }
            local w = wire.connect(rp.port)
            w:send("GET /sleep HTTP/1.1\r\nHost: x\r\n\r\n")
            rp:wait_stderr("asleep")
            rp:signal("QUIT")
            rp:wait_stderr("draining")
            local before = posix.now()
            rp:stop()
            assert.is_true(posix.now() - before < 25)
        end)

        it("with the clients that wait in the accept queue answered first", function()
            rp = process.start { workers = 1 }
            local worker = process.workers(rp)[1]
            posix.kill(worker, "STOP")
            local wires = {}
            for i = 1, 20 do
                wires[i] = wire.connect(rp.port, nil, { unserved = true })
                wires[i]:send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            end
            rp:signal("QUIT")
            rp:wait_stderr("draining")
            posix.kill(worker, "CONT")
            for i = 1, 20 do assert.equal("one", http.read(wires[i]).body) end
            rp:stop { signal = "QUIT" }
        end)

        it("of themselves when the master is killed", function()
            rp = process.start { routes = ROUTES, quiet_end = true }
            local workers = process.wait_workers(rp, 2)
            local w = wire.connect(rp.port)
            w:send("GET /sleep HTTP/1.1\r\nHost: x\r\n\r\n")
            rp:wait_stderr("asleep")
            posix.kill(rp.pid, "KILL")
            assert.equal("slept", http.read(w).body) -- what runs is still answered
            rp:wait()
            for _, pid in ipairs(workers) do
                assert.is_true(posix.poll(function() return not posix.alive(pid) end))
            end
            -- And the next one starts as if nothing had been.
            local again = proc.spawn { process.BIN, "-p", rp.site_path }
            again:wait_stderr("serving site=")
            assert.equal("one", process.body(rp))
            again:stop()
        end)

        it("and the stop hooks run, by TERM and by QUIT", function()
            for _, signal in ipairs { "TERM", "QUIT" } do
                rp = process.start { workers = 1, routes = [[ rp.route { "/*",
                    respond = { 200, "x" },
                    use = { { name = "s", stop = function() rp.log.warn("flushed") end } } } ]] }
                local text = rp:stop { signal = signal }
                assert.match("flushed", text)
            end
        end)
    end)

    describe("worker deaths", function()
        it("are made good, while the others serve", function()
            rp = process.start { quiet_end = true }
            local workers = process.wait_workers(rp, 2)
            posix.kill(workers[1], "KILL")
            local found = process.wait_workers(rp, 2, { workers[1] })
            rp:wait_stderr("worker serves worker=%d pid=%d+ generation=1")
            rp:wait_stderr("worker died worker=%d pid=" .. workers[1] ..
                ' how="signal 9 %(Killed%)" uptime_ms=%d+\n')
            assert.is_true(found[1] == workers[2] or found[2] == workers[2])
            for _ = 1, 20 do assert.equal("one", process.body(rp)) end
        end)

        it("lose no client that was not accepted yet", function()
            rp = process.start { workers = 1, quiet_end = true }
            local worker = process.workers(rp)[1]
            posix.kill(worker, "STOP")
            local wires = {}
            for i = 1, 20 do
                wires[i] = wire.connect(rp.port, nil, { unserved = true })
                wires[i]:send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            end
            posix.kill(worker, "KILL")
            for i = 1, 20 do assert.equal("one", http.read(wires[i]).body) end
        end)

        it("inside a hook name plugin, hook and route", function()
            rp = process.start { workers = 1, routes = ROUTES, more = NO_BUDGET, quiet_end = true }
            posix.kill(make_busy(rp), "KILL")
            rp:wait_stderr('worker died [^\n]* plugin="burner" hook=access route="[^"\n]*/busy"')
        end)

        it("again and again are answered with growing delays and a word about it", function()
            rp = process.start { workers = 1, quiet_end = true }
            local killed = {}
            for _ = 1, 3 do
                killed[#killed + 1] = process.wait_workers(rp, 1, killed)[1]
                posix.kill(killed[#killed], "KILL")
                assert.is_true(posix.poll(function() return not posix.alive(killed[#killed]) end))
            end
            -- The first is replaced at once, the second after 0.25 s, the third after 0.5 s.
            rp:wait_stderr("worker dies again and again, waiting worker=0 deaths=2 wait_ms=250")
            rp:wait_stderr("worker dies again and again, waiting worker=0 deaths=3 wait_ms=500")
            process.wait_workers(rp, 1, killed)
            assert.equal("one", process.body(rp))
        end)

        it("again and again cost no client of the others a wait", function()
            rp = process.start { quiet_end = true }
            local workers = process.wait_workers(rp, 2)
            local keeps, next_victim, longest = workers[1], workers[2], {}
            for round = 1, 3 do
                longest[round] = 0
                posix.kill(next_victim, "KILL")
                assert.is_true(posix.poll(function() return not posix.alive(next_victim) end))
                for _ = 1, 20 do -- while nobody, or a newcomer, has the other number
                    local before = posix.now()
                    assert.equal("one", process.body(rp))
                    longest[round] = math.max(longest[round], posix.now() - before)
                end
                for _, pid in ipairs(process.wait_workers(rp, 2, { next_victim })) do
                    if pid ~= keeps then next_victim = pid end
                end
            end
            rp:wait_stderr("waiting worker=%d deaths=3 wait_ms=500")
            -- A client kept waiting would wait in both rounds; a busy machine does not do that.
            assert.is_true(math.min(longest[2], longest[3]) < 0.2)
        end)

        it("are brought about when a worker hangs, but not when somebody stopped it", function()
            rp = process.start { routes = ROUTES, more = NO_BUDGET, quiet_end = true }
            local stuck = make_busy(rp)
            local stopped
            for _, pid in ipairs(process.workers(rp)) do
                if pid ~= stuck then stopped = pid end
            end
            posix.kill(stopped, "STOP")
            rp:wait_stderr("killing a worker worker=%d pid=" .. stuck ..
                ' why="no heartbeat" plugin="burner" hook=access route="[^"\n]*/busy"', 20)
            process.wait_workers(rp, 2, { stuck })
            posix.sleep(1.2) -- the stopped one's heartbeat is as old by now
            assert.is_true(posix.alive(stopped))
            posix.kill(stopped, "CONT")
            for _ = 1, 10 do assert.equal("one", process.body(rp)) end
        end)

        it("by a signal meant for the master change nothing for good", function()
            rp = process.start { workers = 1 }
            local worker = process.workers(rp)[1]
            for _, signal in ipairs { "HUP", "INT", "USR1", "USR2", "PIPE" } do
                posix.kill(worker, signal) -- a terminal sends them to the whole group
            end
            assert.equal("one", process.body(rp))
            assert.same({ worker }, process.workers(rp))
            posix.kill(worker, "QUIT")
            process.wait_workers(rp, 1, { worker })
            assert.equal("one", process.body(rp))
        end)
    end)

    describe("log files", function()
        local LOG = [[log = { error = { to = "error.log", level = "notice" },
            access = { to = "${dir}/access.log", flush = 0.01 } },]]

        local function read(name)
            return posix.read_file(rp.dir .. "/" .. name) or ""
        end

        local function wait_for(name, pattern)
            assert.is_truthy(posix.poll(function() return read(name):find(pattern) end), read(name))
        end

        -- The error log is in a file: stderr stays empty.
        local function start_logging()
            rp = proc.rproxy { site = process.site { workers = 2, more = LOG } }
            wait_for("error.log", "serving site=")
            for i = 1, 4 do process.body(rp, "/first" .. i) end
            for i = 1, 4 do wait_for("access.log", "/first" .. i .. " ") end
        end

        it("are made with narrow rights, also where workers could not write", function()
            start_logging()
            local pipe = io.popen(("cd %s && stat -c %%a error.log access.log"):format(rp.dir))
            assert.equal("640\n640\n", pipe:read("*a"))
            pipe:close()
            -- What is said before the file is open: a machine may allow few descriptors.
            local early = rp:stderr():gsub("[^\n]*the limit of open files is low[^\n]*\n", "")
            assert.equal("", early)
        end)

        -- Does no process hold an old file any more?
        local function all_reopened()
            for _, pid in ipairs(posix.tree(rp.pid)) do
                local pipe = io.popen("ls -l /proc/" .. pid .. "/fd 2>/dev/null")
                local list = pipe:read("*a")
                pipe:close()
                if list:find(".old", 1, true) then return false end
            end
            return true
        end

        for _, how in ipairs { "USR1", "reopen" } do
            it("are reopened in all processes by " .. how, function()
                start_logging()
                for _, name in ipairs { "error", "access" } do
                    posix.C.rename(("%s/%s.log"):format(rp.dir, name),
                        ("%s/%s.old"):format(rp.dir, name))
                end
                if how == "USR1" then
                    rp:signal("USR1")
                    assert.is_truthy(posix.poll(function()
                        return posix.exists(rp.dir .. "/access.log")
                    end))
                else
                    assert.match("reopened: 2 log files", process.must(rp, "reopen"))
                end
                assert.is_true(posix.poll(all_reopened))
                for i = 1, 8 do process.body(rp, "/second" .. i) end
                for i = 1, 8 do wait_for("access.log", "/second" .. i .. " ") end
                assert.is_nil(read("access.old"):find("second"))
                assert.is_nil(read("access.log"):find("first"))
                process.must(rp, "stop")
                wait_for("error.log", "ended")
                assert.is_nil(read("error.old"):find("stopping"))
            end)
        end

        it("that cannot be reopened leave the old ones in use", function()
            start_logging()
            posix.C.rename(rp.dir .. "/access.log", rp.dir .. "/access.old")
            posix.C.mkdir(rp.dir .. "/access.log", 448)
            local how, _, err = process.run(rp, "reopen")
            assert.same({ exit = 1 }, how)
            assert.match("access.log: Is a directory", err)
            process.body(rp, "/third")
            wait_for("access.old", "/third")
        end)
    end)

    it("share unix sockets, and remove their files at the end", function()
        rp = process.start { listen = 'rp.listen { "unix:${dir}/s.sock" },' }
        local function get()
            local pipe = io.popen(("curl -sk --unix-socket %s/s.sock %s://x/"):format(rp.dir,
                protocol.scheme))
            local text = pipe:read("*a")
            pipe:close()
            return text
        end
        for _ = 1, 10 do assert.equal("one", get()) end
        rp:stop()
        assert.is_false(posix.exists(rp.dir .. "/s.sock"))
    end)
end)
