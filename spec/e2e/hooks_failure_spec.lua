-- SPDX-License-Identifier: MIT
--
-- Hooks that fail: raise, wait for too long, do not end, try to split messages.

local e2e = require("spec.support.e2e")
local http = require("spec.support.http")
local posix = require("spec.support.posix")
local wire = require("spec.support.wire")

local ROUTES = { ["*"] = { status = 200, body = "ok" } }

local BEFORE = [[
    local function hook(name, fn, on_error)
        return { name = "the-" .. name:gsub("_", "-"), [name] = fn, on_error = on_error }
    end
    local function use(name, fn, on_error) return { hook(name, fn, on_error) } end
    local function boom() local t = nil return t.x end
    local function endless_interpreted()
        local keep
        while true do keep = function() return keep end end -- closures are never compiled
    end
]]

local SITE = [[
    timeouts = { hook_wait = 0.3 },
    upstreams = {
        o = rp.upstream { peers = { "127.0.0.1:${origin}" } },
        stuck = rp.upstream { peers = { "127.0.0.1:${origin}" }, balance = function()
            rp.sleep(30)
        end },
        raising = rp.upstream { peers = { "127.0.0.1:${origin}" }, balance = boom },
    },
    hosts = {
        rp.host { default = true, routes = {
            rp.route { "/fail/access", upstream = "o", use = use("access", boom) },
            rp.route { "/fail/open", upstream = "o", use = {
                hook("access", boom, "open"),
                hook("access", function(req) req.up:set("x-after", "ran") end) } },
            rp.route { "/fail/closed", upstream = "o", use = use("access", boom, "closed") },
            rp.route { "/fail/rewrite", upstream = "o", use = use("rewrite", boom) },
            rp.route { "/fail/content", content = boom },
            rp.route { "/fail/balance", upstream = "raising" },
            rp.route { "/fail/header", upstream = "o", use = use("header_filter", boom) },
            rp.route { "/fail/log", upstream = "o", use = use("log", boom) },
            rp.route { "/fail/value", upstream = "o", use = use("access",
                function() error({ code = 7 }) end) },
            rp.route { "/fail/field", upstream = "o", use = use("access",
                function(req) return req.hots end) },
            rp.route { "/stuck/access", upstream = "o", use = use("access",
                function() rp.sleep(30) end) },
            rp.route { "/stuck/content", content = function() rp.sleep(30) end },
            rp.route { "/stuck/balance", upstream = "stuck" },
            rp.route { "/stuck/header", upstream = "o", use = use("header_filter",
                function() rp.sleep(30) end) },
            rp.route { "/stuck/log", upstream = "o", use = use("log",
                function() rp.sleep(30) end) },
            rp.route { "/runaway", upstream = "o", use = use("access", endless_interpreted) },
            rp.route { "/runaway/caught", upstream = "o", use = use("access",
                function() pcall(endless_interpreted) while true do pcall(endless_interpreted) end
                end) },

            -- splitting
            rp.route { "/split/down", upstream = "o", use = use("header_filter",
                function(req, res) res:set("x-a", "a\r\nX-Evil: 1") end) },
            rp.route { "/split/name", upstream = "o", use = use("header_filter",
                function(req, res) res:set("x-a: b\r\nX-Evil", "1") end) },
            rp.route { "/split/up", upstream = "o", use = use("access",
                function(req) req.up:set("x-a", "a\nX-Evil: 1") end) },
            rp.route { "/split/path", upstream = "o", use = use("access",
                function(req) req.up.path = "/x HTTP/1.1\r\nX-Evil: 1\r\n\r\n" end) },
            rp.route { "/split/exit", content = function(req)
                return req:exit(200, "x", { ["x-a"] = "a\r\n\r\nevil" }) end },
            rp.route { "/split/redirect", content = function(req)
                return req:redirect("/x\r\nX-Evil: 1") end },
            rp.route { "/split/cookie", upstream = "o", use = use("header_filter",
                function(req, res) res:set_cookie { "a", "b\r\nX-Evil: 1" } end) },
            rp.route { "/split/host", upstream = "o", use = use("access",
                function(req) req.up.host = "a\r\nX-Evil: 1" end) },
            rp.route { "/*", upstream = "o" },
        } },
    },
]]

describe("hooks", function()
    local up, rp

    setup(function() rp, up = e2e.pair(ROUTES, { site = SITE, before = BEFORE }) end)
    teardown(function() e2e.stop(rp) end)
    after_each(wire.close_all)

    local function get(target) return http.get(rp.port, target) end
    local function body_of(target) return e2e.body(rp, target) end

    local function log_since(mark, pattern) return e2e.log_since(rp, mark, pattern) end

    -- ------------------------------------------------------------ failures

    describe("that raise", function()
        for _, case in ipairs {
            { "access", "the%-access" }, { "rewrite", "the%-rewrite" }, { "content", "inline@" },
            { "balance", "balance:raising" }, { "header", "the%-header%-filter" },
        } do
            it(("in %s are a 500 and one line"):format(case[1]), function()
                local mark = #rp:stderr()
                local w = wire.connect(rp.port)
                local res = http.request(w, { target = "/fail/" .. case[1] })
                assert.equal(500, res.status)
                assert.truthy(res.body:find("500 Internal Server Error", 1, true))
                local id = res.body:match("request id: (%x+)")
                local all = log_since(mark, " error %[")
                assert.equal(1, #all, table.concat(all, "\n"))
                local line = all[1]
                assert.truthy(line:find("hook failed plugin=\"?" .. case[2]), line)
                assert.truthy(line:find("request=" .. id, 1, true), line)
                assert.truthy(line:find("attempt to index local 't' (a nil value)", 1, true), line)
                assert.truthy(line:find("site.lua:%d+: attempt"), line)
                assert.truthy(line:find("stack traceback: | ", 1, true), line)
                assert.truthy(line:find("site.lua:?%d*: in function"), line)
                assert.equal("ok", http.request(w, { target = "/x" }).body)
            end)
        end

        it("in log harm nobody", function()
            local mark = #rp:stderr()
            assert.equal("ok", body_of("/fail/log"))
            assert.truthy(posix.poll(function() return log_since(mark, "hook failed")[1] end))
        end)

        it("go on with on_error = open", function()
            assert.equal("ok", body_of("/fail/open"))
            assert.equal("ran", e2e.field(e2e.last(up), "x-after"))
        end)

        it("refuse with on_error = closed", function()
            local before = #up:requests()
            assert.equal(503, get("/fail/closed").status)
            assert.equal(before, #up:requests())
        end)

        it("values that are no strings are a 500", function()
            assert.equal(500, get("/fail/value").status)
        end)

        it("for an unknown field say which is meant", function()
            local mark = #rp:stderr()
            assert.equal(500, get("/fail/field").status)
            assert.truthy(log_since(mark, "hots")[1]:find("host", 1, true))
        end)
    end)

    describe("that wait for too long", function()
        for _, name in ipairs { "access", "content", "balance", "header" } do
            it("in " .. name .. " are a 500", function()
                local w = wire.connect(rp.port)
                assert.equal(500, http.request(w, { target = "/stuck/" .. name }).status)
                assert.equal("ok", http.request(w, { target = "/x" }).body)
            end)
        end

        it("in log end without harm", function()
            assert.equal("ok", body_of("/stuck/log"))
        end)
    end)

    describe("that do not end", function()
        for _, target in ipairs { "/runaway", "/runaway/caught" } do
            it("are stopped in interpreted code (" .. target .. "): 500", function()
                local mark = #rp:stderr()
                assert.equal(500, get(target).status)
                local line = log_since(mark, "hook failed")[1]
                assert.truthy(line:find("plugin=the-access", 1, true), line)
                assert.truthy(line:find("CPU budget", 1, true), line)
                assert.equal("ok", body_of("/x"))
            end)
        end
    end)

    -- ------------------------------------------------------------ splitting

    describe("cannot split messages", function()
        for _, name in ipairs { "down", "name", "exit", "redirect", "cookie" } do
            it("by " .. name, function()
                local w = wire.connect(rp.port)
                w:send(http.format { target = "/split/" .. name })
                local res = http.read(w)
                assert.equal(500, res.status)
                assert.is_nil(res:header("x-evil"))
                assert.is_nil(res.head:lower():find("evil", 1, true))
                assert.equal("ok", http.request(w, { target = "/x" }).body)
            end)
        end

        for _, name in ipairs { "up", "path", "host" } do
            it("by " .. name, function()
                local before = #up:requests()
                assert.equal(500, get("/split/" .. name).status)
                assert.equal(before, #up:requests())
            end)
        end
    end)
end)

describe("a hook in compiled code that does not end", function()
    it("costs its worker, whose successor serves, and the log names it", function()
        local rp = e2e.proxy { site = [[
            hosts = { rp.host { default = true, routes = {
                rp.route { "/loop", respond = { 200 }, use = { { name = "looper",
                    access = function() while true do end end } } },
                rp.route { "/", respond = { 200, "ok" } } } } },
        ]] }
        local w = wire.connect(rp.port)
        w:send(http.format { target = "/loop" })
        local rest = w:recv_all(20)
        if rest ~= "" then
            assert.truthy(rest:find("^HTTP/1.1 500 ")) -- it was not compiled yet
            assert.truthy(rp:stderr():find("plugin=looper", 1, true))
        else
            rp:wait_stderr("worker died[^\n]*plugin=\"?looper\"? hook=\"?access")
        end
        assert.truthy(posix.poll(function()
            local ok, res = pcall(http.get, rp.port, "/")
            return ok and res.body == "ok"
        end))
        wire.close_all()
        rp:stop()
    end)
end)
