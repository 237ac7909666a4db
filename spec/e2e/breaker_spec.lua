-- SPDX-License-Identifier: MIT
--
-- The breaker of a plugin instance: it opens by errors or slowness, keeps calls from the instance by
-- its policy, tries again and closes; one truth for all workers.

local e2e = require("spec.support.e2e")
local http = require("spec.support.http")
local metrics = require("spec.support.metrics")
local posix = require("spec.support.posix")
local process = require("spec.support.process")
local wire = require("spec.support.wire")

-- A file decides whether the plugin works: it can change between two requests.
local BEFORE = [[
    local function broken(name, breaker, more)
        local entry = more or {}
        entry.name, entry.breaker = name, breaker
        entry.access = function(req)
            if not req:arg("ok") then error("broken") end
            req.up:set("x-ran", name)
        end
        return entry
    end
    local Page = rp.plugin { name = "page" }
    function Page.setup() return { content = function() error("no page") end } end
    local FAST = { min = 4, within = 60, open = 3600 }
    local SHORT = { min = 4, within = 60, open = 0.3 }
]]

local ROUTES = [[
    rp.route { "/deny", respond = { 200, "ok" }, use = { broken("denier", FAST) } },
    rp.route { "/bypass", respond = { 200, "ok" }, use = {
        broken("bypasser", FAST, { on_error = "open" }) } },
    rp.route { "/policy", respond = { 200, "ok" }, use = {
        broken("chosen", { min = 4, within = 60, open = 3600, policy = "bypass" }) } },
    rp.route { "/seldom", respond = { 200, "ok" }, use = {
        broken("seldom", { min = 4, within = 60, open = 3600, errors = 0.6 }) } },
    rp.route { "/retry", respond = { 200, "ok" }, use = { broken("retry", SHORT) } },
    rp.route { "/none", respond = { 200, "ok" }, use = { broken("none") } },
    rp.route { "/shadow", respond = { 200, "ok" }, use = {
        broken("ghost", FAST, { mode = "shadow" }) } },
    rp.route { "/content", content = Page { breaker = FAST } },
    rp.route { "/slow", respond = { 200, "ok" }, use = { { name = "slow",
        breaker = { min = 4, within = 60, open = 3600, slow = 0.02 },
        access = function() rp.sleep(0.04) end } } },
    rp.route { "/slow-cpu", respond = { 200, "ok" }, use = { { name = "before", access = function()
        end }, { name = "slow-cpu", breaker = { min = 4, within = 60, open = 3600, slow = 0.005 },
        access = function() local ends = rp.clock() + 1e7 while rp.clock() < ends do end end },
        { name = "after", access = function() end } } },
    rp.route { "/filter", respond = { 200, "ok" }, use = { { name = "filter", breaker = FAST,
        body_filter = function() error("filter") end } } },
    rp.route { "/body", upstream = "self", use = { { name = "to-other",
        rewrite = function(req) req.up.path = "/other" end }, { name = "guard", breaker = FAST,
        request_body = function(req) if not req:arg("ok") then error("body") end end } } },
    rp.route { "/log", respond = { 200, "ok" }, use = { { name = "logger", breaker = FAST,
        log = function() error("log") end } } },
    rp.route { "/*", respond = { 200, "other" } },
]]

local rp

local function start(opt)
    opt = opt or {}
    rp = process.start { before = opt.before or BEFORE, routes = ROUTES, workers = opt.workers or 1,
        more = 'upstreams = { self = rp.upstream { peers = { "127.0.0.1:${port}" } } },' }
end

after_each(function()
    local mine = rp
    rp = nil
    process.stop_if_running(mine)
end)

local function get(target) return http.get(rp.port, target).status end
local function account(what, instance) return metrics.account(rp, what, instance) end
local function is_open(instance)
    return posix.poll(function() return account("breaker", instance) == 1 end)
end

describe("a breaker", function()
    before_each(function() start() end)

    it("opens after too many errors, says so, and refuses without running the plugin", function()
        for _ = 1, 4 do assert.equal(500, get("/deny")) end
        assert.truthy(is_open("denier"))
        rp:wait_stderr("breaker opened plugin=denier why=\"too many failures\" .-policy=deny")
        for _ = 1, 5 do assert.equal(503, get("/deny?ok")) end
        assert.equal(4, account("errors_total", "denier"))
        assert.equal(1, account("breaker_trips_total", "denier"))
        assert.equal(5, account("skipped_total", "denier"))
        assert.equal("other", process.body(rp, "/x"))
        assert.matches("open +denier\n", process.must(rp, "status"))
    end)

    it("lets requests pass where the plugin's errors did, or the site says so", function()
        for _ = 1, 4 do assert.equal(200, get("/bypass")) end
        assert.truthy(is_open("bypasser"))
        local mark = #rp:stderr()
        assert.equal(200, get("/bypass"))
        assert.same({}, e2e.log_since(rp, mark, "hook failed"))
        for _ = 1, 4 do assert.equal(500, get("/policy")) end
        assert.truthy(is_open("chosen"))
        assert.equal(200, get("/policy"))
    end)

    it("stays closed while enough calls go well, and where there is none", function()
        for _ = 1, 6 do
            assert.equal(200, get("/seldom?ok"))
            assert.equal(500, get("/seldom"))
            assert.equal(500, get("/none"))
        end
        assert.equal(0, account("breaker", "seldom"))
        assert.equal(0, account("breaker_trips_total", "seldom"))
        assert.equal(0, account("breaker", "none"))
        assert.equal(6, account("errors_total", "none"))
    end)

    it("tries again, opens at the first failure, and closes after good calls", function()
        for _ = 1, 4 do assert.equal(500, get("/retry")) end
        rp:wait_stderr("breaker opened plugin=retry why=\"too many failures\"")
        assert.truthy(posix.poll(function() return get("/retry") == 500 end)) -- it was tried
        rp:wait_stderr("breaker opened plugin=retry why=\"it failed while it was tried\"")
        assert.truthy(posix.poll(function()
            get("/retry?ok")
            return account("breaker", "retry") == 0
        end))
        rp:wait_stderr("breaker closed plugin=retry")
        assert.truthy(posix.poll(function() return get("/retry?ok") == 200 end))
        for _ = 1, 5 do assert.equal(200, get("/retry?ok")) end
    end)

    it("counts calls that take too long, waiting or computing", function()
        for _ = 1, 4 do assert.equal(200, get("/slow")) end
        assert.truthy(is_open("slow"))
        assert.equal(503, get("/slow"))
        assert.equal(4, account("slow_total", "slow"))
        for _ = 1, 4 do assert.equal(200, get("/slow-cpu")) end
        assert.truthy(is_open("slow-cpu"))
        assert.equal(0, account("slow_total", "before"))
        assert.equal(0, account("slow_total", "after"))
    end)

    it("refuses nobody for a shadow, a filter or a log hook", function()
        for _ = 1, 4 do assert.equal(200, get("/shadow")) end
        assert.truthy(is_open("ghost"))
        assert.equal(200, get("/shadow"))
        for _ = 1, 4 do pcall(get, "/filter") end
        assert.truthy(is_open("filter"))
        assert.equal(200, get("/filter"))
        for _ = 1, 4 do assert.equal(200, get("/log")) end
        assert.truthy(is_open("logger"))
        assert.equal(200, get("/log"))
    end)

    it("of a hook that looks at bodies refuses what it cannot look at", function()
        local function post(target)
            return http.get(rp.port, { method = "POST", target = target, body = "evil" }).status
        end
        for _ = 1, 4 do assert.equal(500, post("/body")) end
        assert.truthy(is_open("guard"))
        assert.equal(503, post("/body?ok"))
    end)

    it("of a content hook refuses: there is nothing behind it", function()
        for _ = 1, 4 do assert.equal(500, get("/content")) end
        assert.truthy(is_open("page"))
        assert.equal(503, get("/content"))
    end)
end)

describe("breakers", function()
    it("are open in all workers, those that come later too, and closed by a reload", function()
        start { workers = 2 }
        local workers = process.wait_workers(rp, 2)
        local w = wire.connect(rp.port) -- one connection is one worker
        for _ = 1, 4 do assert.equal(500, http.request(w, { target = "/deny" }).status) end
        assert.truthy(is_open("denier"))
        assert.truthy(posix.poll(function()
            for _ = 1, 20 do if get("/deny?ok") ~= 503 then return false end end
            return true
        end))
        w:close()
        for _, pid in ipairs(workers) do posix.kill(pid, "KILL") end
        process.wait_workers(rp, 2, workers)
        assert.truthy(posix.poll(function()
            for _ = 1, 20 do if get("/deny?ok") ~= 503 then return false end end
            return true
        end))
        process.must(rp, "reload")
        assert.truthy(posix.poll(function()
            for _ = 1, 20 do if get("/deny?ok") ~= 200 then return false end end
            return true
        end))
        assert.truthy(posix.poll(function() return account("breaker", "denier") == 0 end))
    end)
end)
