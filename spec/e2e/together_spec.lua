-- SPDX-License-Identifier: MIT
--
-- rp.lock, rp.semaphore, rp.every of one worker, rp.queue: what requests and workers do together, and
-- what becomes of it when one of them dies.

local http = require("spec.support.http")
local posix = require("spec.support.posix")
local proc = require("spec.support.proc")
local process = require("spec.support.process")
local wire = require("spec.support.wire")

local function text_of(path, data)
    return posix.read_file(data .. "/" .. path) or ""
end

describe("rp.lock", function()
    local rp

    setup(function()
        rp = process.start { workers = 2, more = [[
            shared = { locks = rp.shm.store { size = "1m" }, other = rp.shm.cache { size = "1m" } },
            use = { { name = "locks", access = function(req)
                local out
                if req.path == "/hold" then
                    local lock, code = rp.lock("a", { wait = 20, lease = 600 })
                    if not lock then return req:exit(200, code) end
                    rp.sleep(tonumber(req:arg("s")))
                    out = "held " .. lock.token
                elseif req.path == "/try" then
                    local lock, code = rp.lock(req:arg("k") or "a", { wait = tonumber(req:arg("w") or 0) })
                    out = lock and "got " .. lock.token or code
                elseif req.path == "/lease" then
                    local lock = rp.lock("lease", { lease = 0.2 })
                    local kept = lock:renew(0.2)
                    rp.sleep(0.3)
                    local lost = lock:renew()
                    local second = rp.lock("lease")
                    out = ("%s %s %s %s"):format(tostring(kept), tostring(lost),
                        tostring(second.token > lock.token), tostring(lock:release()))
                elseif req.path == "/with" then
                    out = rp.lock("with", nil, function(lock)
                        local _, code = rp.lock("with")
                        return code .. " " .. tostring(lock.token > 0)
                    end) .. " " .. tostring(rp.lock("with") ~= nil)
                elseif req.path == "/count" then
                    -- read, wait, write: right only when nobody else is between
                    local _, code = rp.lock("count", { wait = 20 }, function()
                        local n = rp.shared.locks:get("n") or 0
                        rp.sleep(0.002)
                        rp.shared.locks:set("n", n + 1)
                    end)
                    out = code or "ok"
                elseif req.path == "/n" then out = rp.shared.locks:get("n")
                elseif req.path == "/cancel" then
                    local t = rp.spawn(function() rp.lock("c") rp.sleep(100) end)
                    rp.sleep(0.01)
                    local _, taken = rp.lock("c")
                    t:cancel()
                    rp.sleep(0.01)
                    out = taken .. " " .. tostring(rp.lock("c") ~= nil)
                elseif req.path == "/raises" then
                    local ok = pcall(rp.lock, "r", nil, function() error("no") end)
                    out = tostring(ok) .. " " .. tostring(rp.lock("r") ~= nil)
                elseif req.path == "/misuse" then
                    out = select(2, pcall(rp.lock, "x", { zone = "other" }))
                end
                return req:exit(200, tostring(out))
            end } },
        ]] }
        process.wait_workers(rp, 2)
    end)
    teardown(function() process.stop(rp) end)
    after_each(wire.close_all)

    local function get(path) return process.body(rp, path) end

    local function ask(path)
        local conn = wire.connect(rp.port)
        conn:send(http.format { target = path })
        return conn
    end

    it("lets one through at a time, in all workers", function()
        local conns = {}
        for i = 1, 30 do conns[i] = ask("/count") end
        for i = 1, 30 do assert.equal("ok", http.read(conns[i]).body) end
        assert.equal("30", get("/n"))
    end)

    it("is given back with the request, when it ends and when its client goes", function()
        -- a request ends a little after its answer
        assert.matches("^got", get("/try?w=20"))
        assert.matches("^got", get("/try?w=20"))
        local conn = ask("/hold?s=100")
        assert.is_truthy(posix.poll(function() return get("/try") == "taken" end))
        assert.equal("timeout", get("/try?w=0.05"))
        conn:close()
        assert.matches("^got", get("/try?w=20"))
    end)

    it("is free again when its worker is killed and the lease is over", function()
        local lock_holder = process.workers(rp)
        ask("/hold?s=100")
        assert.is_truthy(posix.poll(function() return get("/try") == "taken" end))
        for _, pid in ipairs(lock_holder) do posix.kill(pid, "KILL") end
        process.wait_workers(rp, 2, lock_holder)
        -- the lease goes on: nobody can know that the holder is dead
        assert.equal("taken", get("/try"))
        assert.matches("^got", get("/try?k=b"))
    end)

    it("has a lease, and tokens that grow", function()
        assert.equal("true false true false", get("/lease"))
    end)

    it("runs a function with the lock held", function()
        assert.equal("taken true true", get("/with"))
        assert.equal("false true", get("/raises"))
        assert.equal("taken true", get("/cancel"))
        assert.matches("no store \"other\"", get("/misuse"))
    end)
end)

describe("rp.semaphore", function()
    local rp

    setup(function()
        rp = process.start { workers = 1, more = [[
            use = { (function()
                local sem = rp.semaphore(2, { waiting = 3 })
                local inside, most = 0, 0
                return { name = "seats", access = function(req)
                    local out
                    if req.path == "/stats" then
                        local s = sem:stats()
                        out = s.taken .. " " .. s.waiting
                    elseif req.path == "/enter" then
                        local seat, code = sem:acquire(tonumber(req:arg("w")))
                        if not seat then return req:exit(200, code) end
                        rp.sleep(tonumber(req:arg("s") or 0))
                        out = "in"
                    elseif req.path == "/order" then
                        local order, tasks = {}, {}
                        local a, b = sem:acquire(), sem:acquire()
                        for i = 1, 3 do
                            tasks[i] = rp.spawn(function()
                                local seat = sem:acquire()
                                order[#order + 1] = i
                                seat:release()
                            end)
                        end
                        rp.sleep(0)
                        tasks[2]:cancel()
                        rp.sleep(0)
                        a:release()
                        tasks[1]:wait()
                        tasks[3]:wait()
                        out = table.concat(order, ",") .. " " .. tostring(b:release()) .. " "
                            .. tostring(b:release())
                    elseif req.path == "/with" then
                        out = sem:with(function() return sem:stats().taken end)
                    end
                    return req:exit(200, tostring(out))
                end }
            end)() },
        ]] }
    end)
    teardown(function() process.stop(rp) end)
    after_each(wire.close_all)

    local function get(path) return process.body(rp, path) end
    local function ask(path)
        local conn = wire.connect(rp.port)
        conn:send(http.format { target = path })
        return conn
    end
    local function wait_stats(text)
        assert.is_truthy(posix.poll(function() return get("/stats") == text end), text)
    end

    it("seats so many, queues some, and turns the others away", function()
        local one, two = ask("/enter?s=100"), ask("/enter?s=100")
        wait_stats("2 0")
        assert.equal("timeout", get("/enter?w=0.02"))
        local three = ask("/enter")
        wait_stats("2 1")
        local more = { ask("/enter?s=100"), ask("/enter?s=100") }
        wait_stats("2 3")
        assert.equal("busy", get("/enter"))
        one:close() -- its seat goes to the third, and from that to the next
        assert.equal("in", http.read(three).body)
        wait_stats("2 1")
        two:close()
        for _, conn in ipairs(more) do conn:close() end
        wait_stats("0 0")
    end)

    it("keeps the order of asking, without those who gave up", function()
        assert.equal("1,3 true false", get("/order"))
        assert.equal("1", get("/with"))
        wait_stats("0 0")
    end)
end)

describe("rp.every of one worker", function()
    local rp, data

    setup(function()
        data = proc.temp_dir()
        proc.run { "chmod", "777", data }
        rp = process.start { workers = 2, vars = { data = data }, more = [[
            shared = { locks = rp.shm.store { size = "1m" } },
            use = { { name = "one", start = function(worker)
                rp.every(0.02, function(token)
                    rp.fs.append("${data}/rounds", worker.pid .. " " .. token .. "\n")
                end, { scope = "one", name = "rounds", lease = 1 })
                rp.every(0.02, function()
                    rp.fs.append("${data}/each", worker.pid .. "\n")
                end, { jitter = 0.5 })
            end } },
        ]] }
        process.wait_workers(rp, 2)
    end)
    teardown(function() process.stop(rp) end)

    -- The process that ran the last round after byte `from`, and its token.
    local function runner(from)
        local line = posix.poll(function()
            local text = text_of("rounds", data):sub(from + 1)
            return text:match("\n(%d+ %d+)\n[^\n]*$") or text:match("^(%d+ %d+)\n[^\n]*$")
        end, 30)
        local pid, token = line:match("(%d+) (%d+)")
        return tonumber(pid), tonumber(token)
    end

    it("runs in one, and in each without it", function()
        local pid = runner(0)
        assert.is_truthy(posix.poll(function() return #text_of("rounds", data) > 200 end))
        for line in text_of("rounds", data):gmatch("(%d+) %d+\n") do assert.equal(pid, tonumber(line)) end
        assert.is_truthy(posix.poll(function()
            local pids, n = {}, 0
            for one in text_of("each", data):gmatch("(%d+)\n") do
                if not pids[one] then n = n + 1 end
                pids[one] = true
            end
            return n == 2
        end))
    end)

    it("moves when that worker is killed, with a greater token", function()
        local pid, token = runner(0)
        posix.kill(pid, "KILL")
        assert.is_truthy(posix.poll(function() return not posix.alive(pid) end))
        local after, greater = runner(#text_of("rounds", data))
        assert.are_not.equal(pid, after)
        assert.is_true(greater > token)
    end)

    it("moves at once when a reload replaces it", function()
        process.wait_workers(rp, 2)
        local _, token = runner(#text_of("rounds", data))
        process.must(rp, "reload")
        local from = #text_of("rounds", data)
        assert.is_truthy(posix.poll(function()
            local _, newer = runner(from)
            return newer > token
        end, 30))
    end)
end)

describe("rp.queue", function()
    local rp, data

    local SITE = [[
        use = { (function()
            local mode = "ok"
            local function send(batch)
                if mode == "raise" then error("no luck") end
                if mode == "fail" then return nil, "down" end
                local out = {}
                for i, item in ipairs(batch) do out[i] = type(item) == "table" and item.n or item end
                if mode == "slow" then rp.sleep(0.1) end
                return rp.fs.append("${data}/sent", #batch .. ":" .. table.concat(out, ",") .. "\n")
            end
            local q = rp.queue { send = send, max = 10, every = ${every}, ${more}
                retry = { tries = 2, first = 0.01 } }
            return { name = "q",
                stop = function() if mode == "bad stop" then error("a stop hook failed") end end,
                access = function(req)
                    local out
                    if req.path == "/push" then
                        for i = tonumber(req:arg("a")), tonumber(req:arg("b")) do
                            local ok, code = q:push(req:arg("t") and { n = i } or i)
                            out = ok and "ok" or code
                        end
                    elseif req.path == "/stats" then out = rp.json.encode(q:stats(), { sort = true })
                    elseif req.path == "/mode" then mode = req:arg("m")
                    elseif req.path == "/flush" then out = q:flush(10)
                    elseif req.path == "/slow" then rp.sleep(1) q:push("late") out = "slept"
                    elseif req.path == "/new" then
                        out = select(2, pcall(rp.queue, { send = send }))
                    end
                    return req:exit(200, tostring(out))
                end }
        end)() },
    ]]

    local function start(every, more)
        data = proc.temp_dir()
        proc.run { "chmod", "777", data }
        more = more or ""
        if not more:find("batch") then more = more .. " batch = 4, " end
        local site = SITE:gsub("${every}", every):gsub("${more}", more)
        rp = process.start { workers = 1, vars = { data = data }, more = site }
    end

    after_each(function() process.stop(rp) rp = nil end)

    local function get(path) return process.body(rp, path) end
    local function sent() return text_of("sent", data) end
    local function stats(pattern)
        return posix.poll(function() return get("/stats"):match(pattern) end)
    end

    it("sends batches when they are full, and what is left when its time has come", function()
        start("0.05")
        assert.equal("ok", get("/push?a=1&b=9"))
        assert.is_truthy(posix.poll(function() return sent() == "4:1,2,3,4\n4:5,6,7,8\n1:9\n" end))
        assert.is_truthy(stats('"sent":9'))
    end)

    it("tries again, gives up, counts, and goes on", function()
        start("0")
        get("/mode?m=fail")
        get("/push?a=1&b=2")
        assert.is_truthy(stats('"dropped":2,"failures":2,"last_error":"down"'))
        get("/mode?m=raise")
        get("/push?a=3&b=3")
        assert.is_truthy(stats('"dropped":3,"failures":4'))
        get("/mode?m=ok")
        get("/push?a=4&b=4")
        assert.is_truthy(posix.poll(function() return sent() == "1:4\n" end))
    end)

    it("drops the oldest, or refuses the newest, beyond its room", function()
        start("60", "batch = 100, ")
        assert.equal("ok", get("/push?a=1&b=12"))
        assert.is_truthy(stats('"dropped":2'))
        assert.equal("true", get("/flush"))
        assert.equal("10:3,4,5,6,7,8,9,10,11,12\n", sent())
        process.stop(rp)
        start("60", 'drop = "newest", batch = 100, ')
        assert.equal("full", get("/push?a=1&b=11"))
        assert.is_truthy(stats('"dropped":1'))
        assert.equal("true", get("/flush"))
        assert.equal("10:1,2,3,4,5,6,7,8,9,10\n", sent())
        assert.matches("at load or in a start hook", get("/new"))
    end)

    it("sends what waits when the worker stops, and after a reload", function()
        start("60")
        get("/push?a=1&b=2")
        get("/mode?m=bad+stop")
        assert.matches("a stop hook failed", rp:stop { signal = "QUIT" })
        assert.equal("2:1,2\n", sent())
        start("60")
        get("/push?a=1&b=3")
        local conn = wire.connect(rp.port)
        conn:send(http.format { target = "/slow" })
        process.must(rp, "reload")
        assert.equal("slept", http.read(conn).body)
        assert.is_truthy(posix.poll(function() return sent() == "4:1,2,3,late\n" end))
    end)

    it("keeps in a file what does not fit or does not go, and sends it later", function()
        start("0", 'spill = "${data}/spill",')
        get("/mode?m=fail")
        assert.equal("ok", get("/push?a=1&b=2&t=1"))
        assert.is_truthy(stats('"spilled":2'))
        get("/mode?m=ok")
        get("/push?a=3&b=3&t=1")
        assert.is_truthy(posix.poll(function() return sent() == "1:3\n2:1,2\n" end))
        assert.is_truthy(posix.poll(function()
            local _, names = proc.run { "ls", data }
            return not names:find("spill", 1, true)
        end))
    end)

    it("takes over the files of a process that was killed", function()
        start("0", 'spill = "${data}/spill",')
        get("/mode?m=fail")
        get("/push?a=1&b=2")
        assert.is_truthy(stats('"spilled":2'))
        assert.is_truthy(posix.poll(function()
            local _, names = proc.run { "ls", data }
            return names:find("spill", 1, true)
        end))
        local old = process.workers(rp)
        posix.kill(old[1], "KILL")
        process.wait_workers(rp, 1, old)
        get("/push?a=3&b=3")
        assert.is_truthy(posix.poll(function() return sent() == "1:3\n2:1,2\n" end))
    end)
end)
