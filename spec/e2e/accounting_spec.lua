-- SPDX-License-Identifier: MIT
--
-- What the proxy says of each plugin instance: calls, errors, answers, time, memory; over workers,
-- their deaths and reloads.

local http = require("spec.support.http")
local metrics = require("spec.support.metrics")
local posix = require("spec.support.posix")
local process = require("spec.support.process")
local wire = require("spec.support.wire")

local BEFORE = [[
    local function busy(seconds)
        local ends = rp.clock() + seconds * 1e9
        while rp.clock() < ends do end
    end
    local function named(name, access, more)
        local hooks = more or {}
        hooks.name, hooks.access = name, access
        return hooks
    end
    local nothing = function() end
]]

local ROUTES = [[
    rp.route { "/twins", respond = { 200, "ok" }, use = { named("twin", nothing),
        named("between", function(req) if req:arg("stop") then return req:exit(204) end end),
        named("twin", nothing) } },
    rp.route { "/deny", respond = { 200 }, use = { named("guard", function(req)
        return req:exit(req:arg("soft") and 200 or 403) end) } },
    rp.route { "/abort", respond = { 200 }, use = { named("aborter", function(req)
        req:abort(429) end) } },
    rp.route { "/boom", respond = { 200 }, use = { named("bomb", function() error("boom") end) } },
    rp.route { "/busy", respond = { 200 }, use = { named("lazy", nothing),
        named("busy", function() busy(0.02) end), named("lazy-too", nothing) } },
    rp.route { "/wait", respond = { 200 }, use = { named("waiter", function()
        rp.sleep(0.05) end) } },
    rp.route { "/gone", respond = { 200 }, use = { named("patient", function()
        rp.sleep(30) end) } },
    rp.route { "/hungry", respond = { 200 }, use = { named("hungry", function()
        local list = {} for i = 1, 1000 do list[i] = { i } end end) } },
    rp.route { "/task", respond = { 200 }, use = { named("parent", function()
        rp.detach(function() error("late") end)
        rp.spawn(function() busy(0.02) end):wait() end) } },
    rp.route { "/every", respond = { 200 }, use = { { name = "round", start = function()
        rp.every(0.01, function() error("again") end) end, access = nothing } } },
    rp.route { "/streamed", content = function(req) return req:exit(500, "x") end },
    rp.route { "/*", respond = { 200, "ok" } },
]]

local rp

local function start(opt)
    opt = opt or {}
    rp = process.start { before = BEFORE, routes = ROUTES, workers = opt.workers or 1 }
end

after_each(function()
    local mine = rp
    rp = nil
    wire.close_all()
    process.stop_if_running(mine)
end)

local function get(target) return http.get(rp.port, target).status end
local function account(what, instance) return metrics.account(rp, what, instance) end

describe("the account of an instance", function()
    before_each(function() start() end)

    it("counts the calls of each, and tells twins apart", function()
        for _ = 1, 3 do assert.equal(200, get("/twins")) end
        for _ = 1, 2 do assert.equal(204, get("/twins?stop")) end
        assert.equal(5, account("calls_total", "twin"))
        assert.equal(5, account("calls_total", "between"))
        assert.equal(3, account("calls_total", "twin#2")) -- what comes behind the answer
        assert.equal(2, account("answers_total", "between"))
        assert.equal(0, account("denials_total", "between"))
        assert.equal(0, account("answers_total", "twin#2"))
    end)

    it("is exact beyond the calls that are all measured", function()
        local w = wire.connect(rp.port)
        for _ = 1, 400 do assert.equal(200, http.request(w, { target = "/twins" }).status) end
        assert.equal(400, account("calls_total", "twin"))
        assert.equal(400, account("calls_total", "between"))
        assert.equal(400, account("calls_total", "twin#2"))
    end)

    it("counts answers, and those that refuse", function()
        assert.equal(403, get("/deny"))
        assert.equal(200, get("/deny?soft"))
        assert.equal(429, get("/abort"))
        assert.equal(2, account("answers_total", "guard"))
        assert.equal(1, account("denials_total", "guard"))
        assert.equal(1, account("denials_total", "aborter"))
        assert.equal(0, account("errors_total", "aborter"))
    end)

    it("counts errors of hooks, of tasks and of rounds", function()
        assert.equal(500, get("/boom"))
        assert.equal(1, account("errors_total", "bomb"))
        assert.equal(1, account("calls_total", "bomb"))
        assert.equal(200, get("/task"))
        assert.truthy(posix.poll(function() return account("errors_total", "parent") == 1 end))
        assert.truthy(posix.poll(function() return account("errors_total", "round") > 2 end))
    end)

    it("has its own time, not its neighbours', tasks included", function()
        for _ = 1, 3 do assert.equal(200, get("/busy")) end
        assert.equal(200, get("/task"))
        assert.is_true(account("cpu_seconds_total", "busy") >= 0.06)
        assert.is_true(account("cpu_seconds_total", "parent") >= 0.02)
        assert.is_true(account("cpu_seconds_total", "lazy") < 0.02)
        assert.is_true(account("cpu_seconds_total", "lazy-too") < 0.02)
    end)

    it("has the time that it waited, also for a client that went away", function()
        assert.equal(200, get("/wait"))
        assert.is_true(account("wait_seconds_total", "waiter") >= 0.04)
        assert.is_true(account("cpu_seconds_total", "waiter") < 0.04)
        local w = wire.connect(rp.port)
        w:send(http.format { target = "/gone" })
        assert.truthy(posix.poll(function()
            return metrics.value(rp, "rproxy_requests_active") == 1 end))
        w:close()
        assert.truthy(posix.poll(function() return account("wait_seconds_total", "patient") > 0 end))
        assert.equal(1, account("calls_total", "patient"))
    end)

    it("has what it allocated", function()
        for _ = 1, 5 do assert.equal(200, get("/hungry")) end
        assert.is_true(account("allocated_bytes_total", "hungry") > 5 * 1000 * 16)
        assert.is_true(account("allocated_bytes_total", "guard") < 100000)
    end)

    it("shows in the status, those with most time first", function()
        get("/busy")
        get("/boom")
        local text = process.must(rp, "status")
        local head = text:match("\n( *cpu_s[^\n]*)\n")
        assert.truthy(head and head:find("calls", 1, true) and head:find("breaker", 1, true), text)
        assert.matches("^ *0%.%d+ +1 .- busy\n", text:sub(select(2, text:find(head, 1, true)) + 2))
        assert.is_true(text:find(" busy\n", 1, true) < text:find(" bomb\n", 1, true))
    end)
end)

describe("accounts", function()
    it("are of all workers, and outlive them and reloads", function()
        start { workers = 2 }
        local workers = process.wait_workers(rp, 2)
        for _ = 1, 40 do assert.equal(200, get("/twins")) end
        assert.equal(40, account("calls_total", "twin"))
        posix.kill(workers[1], "KILL")
        process.wait_workers(rp, 2, { workers[1] })
        assert.equal(40, account("calls_total", "twin"))
        for _ = 1, 10 do assert.equal(200, get("/twins")) end
        process.must(rp, "reload")
        for _ = 1, 10 do assert.equal(200, get("/twins")) end
        assert.equal(60, account("calls_total", "twin"))
        assert.equal(60, account("calls_total", "twin#2"))
    end)

    it("that are many reach the command whole", function()
        local routes = { "rp.route { '/*', respond = { 200 } }," }
        for i = 1, 600 do
            routes[#routes + 1] = ("rp.route { '/%d', respond = { 200 }, use = { named("
                .. "'a-plugin-with-a-long-name-%d', nothing) } },"):format(i, i)
        end
        rp = process.start { before = BEFORE, routes = table.concat(routes), workers = 1 }
        local status, text = process.must(rp, "status"), process.must(rp, "metrics")
        for i = 1, 600, 57 do
            local name = ("a-plugin-with-a-long-name-%d"):format(i)
            assert.truthy(status:find(" " .. name .. "\n", 1, true))
            assert.truthy(text:find(('calls_total{instance="%s"} 0\n'):format(name), 1, true))
        end
        assert.is_true(#text > 200 * 1024)
    end)
end)
