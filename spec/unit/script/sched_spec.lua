-- SPDX-License-Identifier: MIT

local support = require("spec.unit.script.support")

local C, ffi = support.C, support.c.ffi
local site

-- A site whose content hook is `body`; `seen` is a table that hooks share.
local function serve(body, before)
    site = support.site(([[ rp.route { "/*", content = function(req) %s end } ]]):format(body),
        { before = "local seen = {}\n" .. (before or "") })
    return site
end

local function answer(body, before)
    return serve(body, before):get("/").body
end

local function active()
    return tonumber(site.proxy.stats.requests_active)
end

-- Run the start hooks; their result by name once they are done.
local function start(deadline_ms)
    local result
    local done = ffi.cast("void (*)(void *, rp_err)", function(_, e) result = e end)
    C.rp_host_start(site.conf, deadline_ms or 1000, done, nil)
    assert.is_nil(result) -- never from inside
    site:until_true(function() return result end)
    done:free()
    return support.c.err_name(result)
end

local function with_hooks(hooks, before)
    site = support.site([[ rp.route { "/*", content = function(req)
        return req:exit(200, tostring(seen.n)) end } ]], { before = "local seen = { n = 0 }\n"
        .. (before or ""), more = "use = { " .. hooks .. " }," })
    return site
end

describe("script/sched", function()
    after_each(function()
        if site then site:close() end
        site = nil
    end)

    it("sleeps for the time asked", function()
        local ms = tonumber(answer [[ local t = rp.clock() rp.sleep(0.03)
            return req:exit(200, tostring((rp.clock() - t) / 1e6)) ]])
        assert.is_true(ms >= 25 and ms < 500, ms)
    end)

    it("runs children beside the hook and waits for them", function()
        assert.equal("3 a b", answer [[
            local t = rp.spawn(function(x, y) rp.sleep(0.002) return x .. " " .. y end, "a", "b")
            local u = rp.spawn(function() return 3 end)
            local _, ab = t:wait()
            local _, n = u:wait()
            return req:exit(200, n .. " " .. ab) ]])
    end)

    it("gives a child's error to who waits for it", function()
        assert.matches("site.lua:%d+: boom", answer [[
            local ok, err = rp.spawn(function() rp.sleep(0.001) error("boom") end):wait()
            return req:exit(200, tostring(err)) ]])
    end)

    it("waits for all", function()
        assert.equal("1,2,3", answer [[
            local r = rp.all {
                function() rp.sleep(0.005) return 1 end,
                function() return 2 end,
                function() rp.sleep(0.001) return 3 end }
            return req:exit(200, table.concat(r, ",")) ]])
    end)

    it("takes the first that succeeds and cancels the others", function()
        assert.equal("fast 0", answer([[
            seen.n = 0
            local r = rp.any {
                function() error("no") end,
                function() rp.sleep(0.005) return "fast" end,
                function() rp.sleep(0.02) seen.n = seen.n + 1 return "slow" end }
            rp.sleep(0.05)
            return req:exit(200, r .. " " .. seen.n) ]]))
    end)

    it("says what the last failed with when none succeeds", function()
        assert.matches("^nil .*two", answer [[
            local r, err = rp.any { function() error("one") end,
                function() rp.sleep(0.001) error("two") end }
            return req:exit(200, tostring(r) .. " " .. tostring(err)) ]])
    end)

    it("ends all at the first that fails, and cancels the rest", function()
        assert.equal("nil two detail 0", answer [[
            seen.n = 0
            local r, err, detail = rp.all {
                function() rp.sleep(0.03) seen.n = seen.n + 1 end,
                function() rp.sleep(0.002) return nil, "two", "detail" end,
                function() rp.sleep(0.03) seen.n = seen.n + 1 end }
            rp.sleep(0.06)
            return req:exit(200, ("%s %s %s %d"):format(tostring(r), err, detail, seen.n)) ]])
    end)

    it("takes nil and a reason for a failure under any, and nil alone for none", function()
        assert.equal("ok nil", answer [[
            local a = rp.any { function() return nil, "refused" end,
                function() rp.sleep(0.002) return "ok" end }
            local b, err = rp.any { function() return nil end, function() rp.sleep(10) end }
            return req:exit(200, a .. " " .. tostring(b or err)) ]])
    end)

    it("gives all results of the winner", function()
        assert.equal("1 2", answer [[
            local a, b = rp.any { function() rp.sleep(0.001) return 1, 2 end }
            return req:exit(200, a .. " " .. b) ]])
    end)

    it("ends a function at its deadline", function()
        assert.equal("nil timeout nil|1 nil 3|nil boom", (answer [[
            seen.n = nil
            local a, err = rp.deadline(0.01, function() rp.sleep(0.05) seen.n = 1 end)
            rp.sleep(0.08)
            local x, y, z = rp.deadline(1, function(...) rp.sleep(0.001) return ... end, 1, nil, 3)
            local b, boom = rp.deadline(1, function() error("boom", 0) end)
            return req:exit(200, ("%s %s %s|%s %s %s|%s %s"):format(tostring(a), err,
                tostring(seen.n), x, tostring(y), z, tostring(b), boom)) ]]))
    end)

    it("cancels what a cancelled task spawned, however deep", function()
        assert.equal("nil", answer [[
            local function nest(n)
                if n == 0 then rp.sleep(0.4) seen.n = 1 return end
                rp.spawn(nest, n - 1):wait()
            end
            local task = rp.spawn(nest, 500)
            rp.sleep(0.01)
            task:cancel()
            rp.sleep(0.5)
            return req:exit(200, tostring(seen.n)) ]])
    end)

    it("cancels what a hook spawned when the hook fails", function()
        serve([[ if req.path == "/n" then return req:exit(200, tostring(seen.n)) end
            rp.spawn(function() rp.sleep(0.01) seen.n = 1 end)
            error("no") ]])
        site:get("/")
        site:turn(40)
        assert.equal("nil", site:get("/n").body)
    end)

    it("tells all who wait for a task", function()
        assert.equal("7 7 7", answer [[
            local task = rp.spawn(function() rp.sleep(0.005) return 7 end)
            local function wait() return (select(2, task:wait())) end
            return req:exit(200, table.concat(rp.all { wait, wait, wait }, " ")) ]])
    end)

    it("tells who waits for a task that went with its parent, or with a reload", function()
        assert.equal("nil cancelled nil cancelled true", answer [[
            local inner
            local outer = rp.spawn(function()
                inner = rp.spawn(function() rp.sleep(60) end)
                rp.sleep(60)
            end)
            rp.sleep(0.002)
            rp.spawn(function() rp.sleep(0.002) outer:cancel() end)
            local a, b = inner:wait()
            local c, d = outer:wait()
            local me
            me = rp.spawn(function() rp.sleep(0.001) return pcall(me.wait, me) end)
            local _, ok, err = me:wait()
            return req:exit(200, ("%s %s %s %s %s"):format(tostring(a), b, tostring(c), d,
                tostring(not ok and err:find("cannot wait for itself", 1, true) ~= nil))) ]])
        site:close()
        serve [[ if req.path == "/n" then return req:exit(200, seen.err) end
            local _, err = rp.once("x", 60, function() rp.sleep(60) end)
            seen.err = err
            return req:exit(200, err) ]]
        local sock = site:connect()
        sock:send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        site:until_true(function() return active() == 1 end)
        site:turn(5)
        C.rp_host_retire(site.conf)
        site:until_true(function() return active() == 0 or sock:receive(1) end)
        assert.equal("cancelled", site:get("/n").body)
        sock:close()
    end)

    it("waits for a task no longer than it is told", function()
        assert.equal("nil timeout true 1", answer [[
            local task = rp.spawn(function() rp.sleep(0.03) return 1 end)
            local a, err = task:wait(0.002)
            local b, one = task:wait(5)
            return req:exit(200, ("%s %s %s %s"):format(tostring(a), err, tostring(b), one)) ]])
    end)

    it("runs something once, for all who ask meanwhile, and not again at once", function()
        assert.equal("1,1,1 early 1 failed", answer [[
            seen.n = 0
            local function ask()
                return rp.once("key", 60, function()
                    rp.sleep(0.005)
                    seen.n = seen.n + 1
                    return seen.n
                end)
            end
            local list = rp.all { ask, ask, ask }
            local _, err = ask()
            local _, failed = rp.once("other", 0, function() error("failed", 0) end)
            return req:exit(200, table.concat(list, ",") .. " " .. err .. " " .. seen.n .. " "
                .. failed:match("%a+")) ]])
    end)

    it("goes on with a run whose first asker was cancelled", function()
        assert.equal("done", answer [[
            local function work() rp.sleep(0.02) return "done" end
            local first = rp.spawn(function() rp.once("k", 60, work) end)
            rp.sleep(0.002)
            first:cancel()
            return req:exit(200, rp.once("k", 60, work)) ]])
    end)

    it("bounds background tasks, and counts those it refuses", function()
        site = support.site([[ rp.route { "/*", content = function(req)
            local words = {}
            for i = 1, 5 do
                local task, err = rp.detach(function() rp.sleep(0.02) end)
                words[i] = task and "ok" or err
            end
            return req:exit(200, table.concat(words, " ")) end } ]],
            { more = "lua = { background_tasks = 3 }," })
        assert.equal("ok ok ok busy busy", site:get("/").body)
        assert.equal(3, tonumber(site.proxy.stats.tasks_background))
        assert.equal(2, tonumber(site.proxy.stats.tasks_refused))
        site:until_true(function() return tonumber(site.proxy.stats.tasks_background) == 0 end)
        assert.equal("ok ok ok busy busy", site:get("/").body)
    end)

    it("waits inside metamethods and iterators", function()
        assert.equal("7 1 2 3", answer [[
            local t = setmetatable({}, { __index = function() rp.sleep(0.001) return 7 end })
            local words = { t.x }
            local function step(_, i)
                rp.sleep(0.001)
                if i < 3 then return i + 1 end
            end
            for i in step, nil, 0 do words[#words + 1] = i end
            return req:exit(200, table.concat(words, " ")) ]])
    end)

    it("refuses to wait below a C function, names it, and waits again after that", function()
        assert.equal("gsub sort fine", answer [[
            local _, a = pcall(function() return (("x"):gsub("x", function() rp.sleep(0.001) end)) end)
            local _, b = pcall(function()
                table.sort({ 3, 1, 2 }, function(x, y) rp.sleep(0.001) return x < y end)
            end)
            rp.sleep(0.002)
            rp.spawn(function() rp.sleep(0.001) end):wait()
            return req:exit(200, (a:match("function that (%w+) calls") or a) .. " "
                .. (b:match("function that (%w+) calls") or b) .. " fine") ]])
    end)

    it("ends children with their request", function()
        serve([[ if req.path == "/n" then return req:exit(200, tostring(seen.n)) end
            rp.spawn(function() rp.sleep(0.01) seen.n = 1 end)
            return req:exit(200) ]])
        site:get("/")
        site:turn(40)
        assert.equal("nil", site:get("/n").body)
    end)

    it("lets background tasks outlive the request", function()
        serve([[ if req.path == "/n" then return req:exit(200, tostring(seen.n)) end
            rp.detach(function() rp.sleep(0.01) seen.n = 1 end)
            return req:exit(200) ]])
        site:get("/")
        site:until_true(function() return site:get("/n").body == "1" end)
    end)

    it("runs timers until they are cancelled", function()
        serve([[ if req.path == "/n" then return req:exit(200, tostring(seen.n)) end
            seen.n = 0
            local t
            t = rp.every(0.002, function()
                seen.n = seen.n + 1
                if seen.n == 3 then t:cancel() end
            end)
            local gone = rp.after(0.001, function() seen.n = 100 end)
            gone:cancel()
            return req:exit(200) ]])
        site:get("/")
        site:until_true(function() return site:get("/n").body == "3" end)
        site:turn(30)
        assert.equal("3", site:get("/n").body)
    end)

    it("goes on with a timer whose round raised", function()
        serve([[ if req.path == "/n" then return req:exit(200, tostring(seen.n)) end
            seen.n = 0
            rp.every(0.002, function() seen.n = seen.n + 1 error("round") end)
            return req:exit(200) ]])
        site:get("/")
        site:until_true(function() return tonumber(site:get("/n").body) >= 2 end)
    end)

    it("cancels a task that waits, from itself and from its child", function()
        assert.equal("nil cancelled", answer [[
            local t = rp.spawn(function() rp.sleep(10) end)
            rp.spawn(function() t:cancel() end)
            local ok, err = t:wait()
            return req:exit(200, tostring(ok) .. " " .. tostring(err)) ]])
        site:close()
        assert.equal("over", answer [[
            local d
            d = rp.detach(function()
                rp.spawn(function() d:cancel() rp.sleep(0.01) seen.bad = true end)
                rp.sleep(10)
            end)
            rp.sleep(0.03)
            return req:exit(200, seen.bad and "bad" or "over") ]])
    end)

    it("refuses to wait inside a coroutine of the hook's own, and says how", function()
        assert.matches("use rp.spawn", answer [[
            local co = coroutine.create(function() rp.sleep(0.001) end)
            local _, err = coroutine.resume(co)
            rp.sleep(0.001)
            return req:exit(200, err) ]])
    end)

    it("lets hooks use coroutines that do not wait", function()
        assert.equal("6", answer [[
            local sum = 0
            for i in coroutine.wrap(function() for i = 1, 3 do coroutine.yield(i) end end) do
                sum = sum + i
            end
            return req:exit(200, tostring(sum)) ]])
    end)

    it("fails a hook that yields to nobody", function()
        assert.equal(500, serve("coroutine.yield()"):get("/").status)
    end)

    it("waits under pcall", function()
        assert.equal("true 5", answer [[
            local ok, v = pcall(function() rp.sleep(0.002) return 5 end)
            return req:exit(200, tostring(ok) .. " " .. v) ]])
    end)

    it("frees what is parked when the worker ends", function()
        serve [[ rp.spawn(function() rp.sleep(60) end) rp.detach(function() rp.sleep(60) end)
            rp.every(60, function() end) rp.sleep(60) ]]
        local sock = site:connect()
        sock:send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        site:until_true(function() return active() == 1 end)
        site:turn(5)
        site:close() -- the sanitizers look
        site = nil
        sock:close()
    end)

    describe("start hooks", function()
        it("run one after the other and may wait", function()
            with_hooks([[ { start = function() rp.sleep(0.002) seen.n = seen.n + 1 end },
                { start = function() seen.n = seen.n * 10 end } ]])
            assert.equal("OK", start())
            assert.equal("10", site:get("/").body)
        end)

        it("are done at once when there are none", function()
            with_hooks("")
            assert.equal("OK", start())
        end)

        it("fail when one raises", function()
            with_hooks("{ start = function() error('no keys') end }")
            assert.equal("HOOK", start())
        end)

        it("fail when they take too long", function()
            with_hooks("{ start = function() rp.sleep(10) end }")
            assert.equal("HOOK_TIMEOUT", start(20))
        end)

        it("leave timers behind, which retiring ends", function()
            with_hooks([[ { start = function()
                rp.every(0.002, function() seen.n = seen.n + 1 end) end } ]])
            assert.equal("OK", start())
            site:until_true(function() return tonumber(site:get("/").body) >= 2 end)
            C.rp_host_retire(site.conf)
            local n = site:get("/").body
            site:turn(20)
            assert.equal(n, site:get("/").body)
        end)
    end)

    it("collects a big heap's garbage before it refuses memory for good", function()
        site = support.site([[ rp.route { "/eat", content = function(req)
                local t = {} for i = 1, 1e8 do t[i] = { i } end end },
            rp.route { "/ok", content = function(req) return req:exit(200, ("x"):rep(1e6)) end } ]],
            { more = "lua = { heap = 64 * 2^20, cpu_budget = 0 }," })
        for _ = 1, 3 do
            assert.equal(500, site:get("/eat", nil, 20).status)
            assert.equal(1e6, #site:get("/ok").body)
        end
    end)
end)
