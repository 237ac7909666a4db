-- SPDX-License-Identifier: MIT
--
-- mode = "shadow": hooks that run and change nothing, and what the log of decisions says of them.

local cjson = require("cjson")
local e2e = require("spec.support.e2e")
local http = require("spec.support.http")
local posix = require("spec.support.posix")
local process = require("spec.support.process")
local proc = require("spec.support.proc")
local wire = require("spec.support.wire")

local ROUTES = {
    ["/big"] = { status = 200, body = ("0123456789"):rep(30000), chunked = 10000 },
    ["*"] = { status = 200, fields = { { "X-Up", "1" } }, body = "ok" },
}

-- Code that nobody trusts.
local FILES = { ["stranger.lua"] = [[
    local rp = require("rproxy")
    local M = rp.plugin { name = "stranger" }
    function M.setup()
        return { access = function(req)
            req.up:set("x-boxed", "1")
            if req:arg("loop") then while true do req:get("host") end end
            return req:exit(402)
        end }
    end
    return M
]] }

local BEFORE = [[
    local stranger = rp.untrusted("stranger")
    local function shadow(hooks)
        hooks.mode, hooks.name = "shadow", hooks.name or "the-shadow"
        return hooks
    end
    local function real(hooks) return hooks end
    local function boom() local t = nil return t.x end
    local function endless()
        local keep
        while true do keep = function() return keep end end -- closures are never compiled
    end
    local function deny(req) return req:exit(403, "denied", { ["x-why"] = "no" }) end
    -- So much CPU, in code that is compiled: no debug hook is seen there.
    local function spin(seconds)
        local ends, n = rp.clock() + seconds * 1e9, 0
        while rp.clock() < ends do n = n + 1 end
        return n
    end
    local picker = rp.plugin { name = "picker" }
    function picker.setup()
        return { balance = function(req, up) up:peer("127.0.0.1", ${dead}) end }
    end
    local function edits(req)
        req.up:set("x-added", "by shadow")
        req.up:add("authorization", "Bearer abcdefgh")
        req.up:del("x-keep")
        req.up.path = "/elsewhere"
        req.up.host = "other.example"
        req.consumer = "mallory"
        req.upstream = "dead"
        req:set_body("another body")
        req.ctx.mine = "theirs"
        req.ctx.shared = "overwritten"
        req.ctx.list.n = 2
        req.params.all = "changed"
        req.route.id = "changed"
    end
]]

local SITE = [[
    timeouts = { hook_wait = 0.5 },
    log = { decisions = { to = "${log}", flush = "10ms" } },
    shared = { buckets = rp.shm.buckets { size = "256k" } },
    upstreams = {
        o = rp.upstream { peers = { "127.0.0.1:${origin}" } },
        dead = rp.upstream { peers = { "127.0.0.1:${dead}" } },
        picked = rp.upstream { peers = { "127.0.0.1:${origin}" }, balance = picker {
            mode = "shadow", grant = { net = { "127.0.0.1:${dead}" } } } },
    },
    use = { shadow { name = "early", early = function(req)
        if req.path == "/early" then
            req.path, req.method, req.host = "/nowhere", "PUT", "nobody.example"
            req.query = "token=1"
        end
        if req.path == "/early/exit" then return req:exit(451) end
    end } },
    hosts = {
        rp.host { default = true, routes = {
            rp.route { "/deny", upstream = "o", use = { shadow { access = deny },
                { access = function(req) req.up:set("x-after", "ran") end } } },
            rp.route { "/abort", upstream = "o", use = { shadow { access = function(req)
                req:abort(429, "enough")
            end }, { access = function(req) req.up:set("x-after", "ran") end } } },
            rp.route { "/redirect", upstream = "o", use = { shadow { rewrite = function(req)
                return req:redirect("/login?next=secret")
            end } } },
            rp.route { "/edits/{all*}", upstream = "o", use = {
                { access = function(req)
                    req.ctx.shared, req.ctx.list = "kept", { n = 1 }
                    req.consumer = "alice"
                    req.up:set("x-keep", "kept")
                end },
                shadow { access = edits, header_filter = function(req, res)
                    res:set("x-mine", tostring(req.ctx.mine) .. " " .. req.ctx.list.n
                        .. " " .. req.consumer)
                    res.status = 418
                    res:del("x-up")
                    res:set_cookie { "sid", "abcdef" }
                end },
                { header_filter = function(req, res)
                    res:set("x-ctx", req.ctx.shared .. " " .. tostring(req.ctx.mine) .. " "
                        .. req.ctx.list.n .. " " .. req.params.all)
                    res:set("x-route", req.route.id)
                end },
            } },
            rp.route { "/replace", upstream = "o", use = { shadow { header_filter =
                function(req, res) return res:replace(500, "replaced") end } } },
            rp.route { "/body", upstream = "o", use = { shadow { body_filter =
                function(req, res, piece) return piece:upper() end } } },
            rp.route { "/big", upstream = "o", use = { shadow { body_filter =
                function(req, res, piece, last)
                    req.ctx.n = (req.ctx.n or 0) + #piece
                    rp.sleep(0.001)
                    if last then rp.log.info("shadow saw", { bytes = req.ctx.n }) end
                    return ""
                end } } },
            rp.route { "/log", upstream = "o", use = { shadow { log = function(req, res)
                rp.log.info("shadow logs", { status = res.status, path = req.path })
            end } } },
            rp.route { "/picked", upstream = "picked" },
            rp.route { "/raise", upstream = "o", use = {
                shadow { access = boom, on_error = "closed" },
                { access = function(req) req.up:set("x-after", "ran") end } } },
            rp.route { "/raise/body", upstream = "o", use = { shadow { body_filter = boom } } },
            rp.route { "/true", upstream = "o", use = { shadow {
                access = function() return true end } } },
            rp.route { "/invalid", upstream = "o", use = { shadow { access = function(req)
                req.up:set("x-a", "a\r\nX-Evil: 1")
            end } } },
            rp.route { "/runaway", upstream = "o", use = { shadow { access = endless },
                { access = function(req) req.up:set("x-after", "ran") end } } },
            rp.route { "/busy", upstream = "o", use = {
                { access = function() spin(0.03) end },
                shadow { access = function() spin(0.08) end },
                { access = function(req) spin(0.03) req.up:set("x-after", "ran") end } } },
            rp.route { "/waits", upstream = "o", use = { shadow { access = function(req)
                rp.sleep(0.01)
                return req:exit(403)
            end }, { access = function(req) rp.sleep(0.01) req.up:set("x-after", "ran") end } } },
            rp.route { "/stuck", upstream = "o", use = {
                { access = function() rp.sleep(0.1) end },
                shadow { access = function() rp.sleep(3600) end },
                { access = function(req) rp.sleep(0.1) req.up:set("x-after", "ran") end } } },
            rp.route { "/stuck/body", upstream = "o", use = { shadow { access = function(req)
                while true do req:body { max = 100 } rp.sleep(1) end
            end } } },
            rp.route { "/stuck/late", upstream = "o", use = { shadow { access = function()
                rp.log.notice("it waits")
                rp.sleep(3600)
            end } } },
            rp.route { "/child", upstream = "o", use = { shadow { access = function(req)
                local task = rp.spawn(function()
                    rp.sleep(0.001)
                    req.up:set("x-child", "1")
                    return req:exit(400)
                end)
                task:wait()
                rp.detach(function() req.up:set("x-detached", "1") end)
                rp.sleep(0.01)
                return req:exit(401)
            end } } },
            rp.route { "/twice", upstream = "o", use = {
                { name = "rule", mode = "shadow", access = deny },
                { name = "rule", access = function(req)
                    if req:get("x-bad") then return req:exit(400, "bad") end
                    req.up:set("x-after", "ran")
                end } } },
            rp.route { "/upload", upstream = "o", use = {
                shadow { request_body = function(req, piece, last)
                    rp.sleep(0.001)
                    if piece:find("bad") then return req:exit(400) end
                    return piece:upper()
                end },
                { request_body = function(req, piece) return piece .. "." end } } },
            rp.route { "/reads", upstream = "o", use = {
                shadow { access = function(req)
                    local reader, n = req:body_reader(), 0
                    while true do
                        local piece = reader:read()
                        if not piece then break end
                        n = n + #piece
                    end
                    req:set_body(tostring(n))
                end } } },
            rp.route { "/writes", upstream = "o", use = { shadow { access = function(req)
                req:early_hints { link = "</a.css>; rel=preload" }
                local out = req:respond(200, { ["x-from"] = "shadow" })
                local ok, err = out:write("hello")
                req.ctx.wrote = tostring(ok) .. " " .. tostring(err)
                out:close()
                return true
            end, header_filter = function(req, res)
                res:set("x-wrote", req.ctx.wrote)
                local body = res:body()
                res:set_body(body:rep(3))
                res:trailer("x-sum", "1")
            end } } },
            rp.route { "/boxed", upstream = "o", use = {
                stranger { mode = "shadow" },
                { access = function(req) req.up:set("x-after", "ran") end } } },
            rp.route { "/ctx", upstream = "o", use = { shadow { access = function(req)
                if req.ctx.mine then req.up:set("x-old", "1") end
                req.ctx.mine = true
            end } } },
            rp.route { "/*", upstream = "o" },
        } },
    },
]]

describe("an instance in shadow mode", function()
    local rp, up, log, mark

    setup(function()
        log = os.tmpname()
        rp, up = e2e.pair(ROUTES, { site = SITE, before = BEFORE,
            vars = { dead = posix.free_port(), log = log }, files = FILES })
    end)
    teardown(function()
        e2e.stop(rp)
        os.remove(log)
    end)
    before_each(function() mark = #posix.read_file(log) end)
    after_each(wire.close_all)

    local function get(target, fields) return http.get(rp.port, target, fields) end

    -- The line about a request of this test to that path, decoded.
    local function decided(path)
        return posix.poll(function()
            for text in posix.read_file(log):sub(mark + 1):gmatch("([^\n]+)\n") do
                local line = cjson.decode(text)
                if line.path == path then return line end
            end
        end, 60) or error("no line came about " .. path, 2)
    end

    local function entry(line, wanted)
        for _, e in ipairs(line.decisions) do
            local same = true
            for key, value in pairs(wanted) do same = same and e[key] == value end
            if same then return e end
        end
        error(("no such entry in %s"):format(cjson.encode(line)), 2)
    end

    it("answers nobody, and the chain goes on", function()
        local res = get("/deny?q=1")
        assert.equal(200, res.status)
        assert.equal("ok", res.body)
        assert.equal("ran", e2e.field(e2e.last(up), "x-after"))
        local line = decided("/deny")
        assert.equal("GET", line.method)
        assert.equal("/deny", line.path)
        assert.equal(200, line.status)
        assert.truthy(line.id and line.time and line.route)
        local answer = entry(line, { kind = "answer" })
        assert.equal("req:exit", answer.what)
        assert.equal(403, answer.status)
        assert.equal("no", answer.headers["x-why"])
        assert.is_nil(answer.value)
        local verdict = entry(line, { verdict = "answer" })
        assert.equal("the-shadow", verdict.instance)
        assert.equal("access", verdict.hook)
        assert.equal(403, verdict.status)
        assert.is_true(verdict.shadow)
    end)

    it("is not ended by req:abort", function()
        assert.equal(200, get("/abort").status)
        assert.equal("ran", e2e.field(e2e.last(up), "x-after"))
        assert.equal(429, entry(decided("/abort"), { verdict = "answer" }).status)
        assert.equal(0, #e2e.log_since(rp, 0, "hook=access .*req:abort"))
    end)

    it("redirects nobody, and the query of the target is not logged", function()
        assert.equal(200, get("/redirect").status)
        local answer = entry(decided("/redirect"), { kind = "answer" })
        assert.equal(302, answer.status)
        assert.equal("/login?..", answer.headers.location)
    end)

    it("changes nothing of the request, and its ctx is its own", function()
        local w = wire.connect(rp.port)
        local res = http.request(w, { method = "POST", target = "/edits/x?a=1", body = "the body" })
        assert.equal(200, res.status)
        assert.equal("kept nil 1 x", res:header("x-ctx"))
        assert.matches("/edits/{all%*}$", res:header("x-route"))
        assert.equal("1", res:header("x-up"))
        assert.is_nil(res:header("x-mine"))
        assert.is_nil(res:header("set-cookie"))
        local got = e2e.last(up)
        assert.equal("/edits/x?a=1", got.target)
        assert.equal("the body", got.body)
        assert.equal("kept", e2e.field(got, "x-keep"))
        assert.is_nil(e2e.field(got, "x-added"))
        assert.is_nil(e2e.field(got, "authorization"))
        local line = decided("/edits/x")
        assert.equal("by shadow", entry(line, { kind = "set", what = "up.x-added" }).value)
        assert.equal("[15 bytes]", entry(line, { kind = "add", what = "up.authorization" }).value)
        assert.truthy(entry(line, { kind = "del", what = "up.x-keep" }))
        assert.equal("/elsewhere", entry(line, { kind = "assign", what = "up.path" }).value)
        assert.equal("other.example", entry(line, { kind = "assign", what = "up.host" }).value)
        assert.equal("mallory", entry(line, { kind = "assign", what = "consumer" }).value)
        assert.equal("dead", entry(line, { kind = "assign", what = "upstream" }).value)
        assert.equal(12, entry(line, { kind = "body", what = "req" }).bytes)
        -- it reads its own ctx, and the request as it is
        assert.equal("theirs 2 alice", entry(line, { what = "res.x-mine" }).value)
        assert.equal("418", entry(line, { what = "res.status" }).value)
        assert.truthy(entry(line, { what = "res.set-cookie" }).value:find("^%[%d+ bytes%]$"))
    end)

    it("has a ctx that ends with the request", function()
        local w = wire.connect(rp.port)
        for _ = 1, 3 do assert.equal(200, http.request(w, { target = "/ctx" }).status) end
        assert.equal(200, get("/deny").status)
        assert.truthy(decided("/deny"))
        assert.is_nil(posix.read_file(log):sub(mark + 1):find("x-old", 1, true))
    end)

    it("in early routes nobody elsewhere", function()
        assert.equal(200, get("/early?a=1").status)
        assert.equal("/early?a=1", e2e.last(up).target)
        local line = decided("/early")
        assert.equal("/nowhere", entry(line, { what = "path" }).value)
        assert.equal("PUT", entry(line, { what = "method" }).value)
        assert.equal("nobody.example", entry(line, { what = "host" }).value)
        assert.equal("[7 bytes]", entry(line, { what = "query" }).value)
        assert.equal(200, get("/early/exit").status)
        assert.equal(451, entry(decided("/early/exit"), { kind = "answer", hook = "early" }).status)
    end)

    it("replaces no response", function()
        local res = get("/replace")
        assert.equal(200, res.status)
        assert.equal("ok", res.body)
        assert.equal(500, entry(decided("/replace"), { kind = "answer", what = "res:replace" }).status)
    end)

    it("lets bodies through as they are", function()
        assert.equal("ok", get("/body").body)
        assert.equal(2, entry(decided("/body"), { kind = "body", what = "res piece" }).bytes)
    end)

    it("lets large streamed bodies through while it waits at each piece", function()
        local before = #rp:stderr()
        local res = get("/big")
        assert.equal(("0123456789"):rep(30000), res.body)
        rp:wait_stderr("shadow saw")
        assert.equal(1, #e2e.log_since(rp, before, "shadow saw bytes=300000"))
    end)

    it("lets request bodies through while it waits at each piece", function()
        local res = http.request(wire.connect(rp.port),
            { method = "POST", target = "/upload", body = "a bad body" })
        assert.equal(200, res.status)
        assert.truthy(e2e.last(up).body:find("^a bad body%.+$"), e2e.last(up).body)
        local line = decided("/upload")
        assert.equal(400, entry(line, { hook = "request_body", verdict = "answer" }).status)
    end)

    it("takes no body from the others by reading it", function()
        local res = http.request(wire.connect(rp.port),
            { method = "POST", target = "/reads", body = ("x"):rep(100000) })
        assert.equal(200, res.status)
        assert.equal(100000, #e2e.last(up).body)
        assert.equal(6, entry(decided("/reads"), { kind = "body", what = "req" }).bytes)
    end)

    it("writes no response of its own", function()
        local res = get("/writes")
        assert.equal(200, res.status)
        assert.equal("ok", res.body)
        assert.is_nil(res:header("x-from"))
        assert.equal(0, #(res.interim or {}))
        local line = decided("/writes")
        assert.equal(200, entry(line, { kind = "answer", what = "req:respond" }).status)
        assert.equal("nil closed", entry(line, { what = "res.x-wrote" }).value)
        assert.equal(6, entry(line, { kind = "body", what = "res" }).bytes)
        assert.truthy(entry(line, { kind = "hint" }))
        assert.truthy(entry(line, { what = "trailer.x-sum" }))
    end)

    it("has log hooks that see the response", function()
        local before = #rp:stderr()
        assert.equal(200, get("/log").status)
        rp:wait_stderr("shadow logs")
        assert.equal(1, #e2e.log_since(rp, before, "shadow logs .*path=/log status=200"))
    end)

    it("picks no peer", function()
        assert.equal(200, get("/picked").status)
        local pick = entry(decided("/picked"), { kind = "pick" })
        assert.equal("picker", pick.instance)
        assert.equal("127.0.0.1", pick.value)
    end)

    it("that raises is logged once and passed over, whatever on_error says", function()
        local before = #rp:stderr()
        assert.equal(200, get("/raise").status)
        assert.equal("ran", e2e.field(e2e.last(up), "x-after"))
        assert.equal(1, #e2e.log_since(rp, before, "hook failed plugin=the%-shadow hook=access"))
        local verdict = entry(decided("/raise"), { verdict = "error" })
        assert.truthy(verdict.error:find("attempt to index local 't'", 1, true))
        assert.equal("ok", get("/raise/body").body)
    end)

    it("meets the refusals that it would meet", function()
        assert.equal(200, get("/true").status)
        assert.truthy(entry(decided("/true"), { verdict = "error" }).error:find("without req:exit", 1, true))
        assert.equal(200, get("/invalid").status)
        assert.truthy(entry(decided("/invalid"), { verdict = "error" }).error:find("x-a", 1, true))
        assert.is_nil(e2e.field(e2e.last(up), "x-a"))
    end)

    it("that computes for ever is stopped, and the chain goes on", function()
        assert.equal(200, get("/runaway").status)
        assert.equal("ran", e2e.field(e2e.last(up), "x-after"))
        assert.truthy(entry(decided("/runaway"), { verdict = "error" }).error:find("CPU budget", 1, true))
    end)

    it("that computes for too long takes nothing from the budget of the others", function()
        for _ = 1, 5 do
            assert.equal(200, get("/busy").status)
            assert.equal("ran", e2e.field(e2e.last(up), "x-after"))
        end
    end)

    it("may be untrusted, too", function()
        assert.equal(200, get("/boxed").status)
        assert.equal("ran", e2e.field(e2e.last(up), "x-after"))
        assert.is_nil(e2e.field(e2e.last(up), "x-boxed"))
        local line = decided("/boxed")
        assert.equal("1", entry(line, { what = "up.x-boxed" }).value)
        assert.equal(402, entry(line, { verdict = "answer" }).status)
        assert.equal(200, get("/boxed?loop=1").status)
        assert.equal("ran", e2e.field(e2e.last(up), "x-after"))
    end)

    it("may wait", function()
        assert.equal(200, get("/waits").status)
        assert.equal("ran", e2e.field(e2e.last(up), "x-after"))
        local verdict = entry(decided("/waits"), { verdict = "answer" })
        assert.equal(403, verdict.status)
        assert.truthy(verdict.wait_us > 0)
    end)

    it("that waits for ever is given up, and takes no time from the other hooks", function()
        assert.equal(200, get("/stuck").status)
        assert.equal("ran", e2e.field(e2e.last(up), "x-after"))
        assert.truthy(entry(decided("/stuck"), { verdict = "error" }).error:find("hook_wait", 1, true))
        assert.equal(200, get("/stuck/body").status)
        assert.truthy(entry(decided("/stuck/body"), { verdict = "error" }).error:find("hook_wait", 1, true))
    end)

    it("that waits for ever is given up before the request is, also by a worker that was held up", function()
        local w, before = wire.connect(rp.port), #rp:stderr()
        local workers = process.workers(rp)
        w:send(http.format { target = "/stuck/late" })
        assert.truthy(posix.poll(function() return e2e.log_since(rp, before, "it waits")[1] end))
        for _, pid in ipairs(workers) do posix.kill(pid, "STOP") end
        posix.sleep(0.8) -- longer than hook_wait
        for _, pid in ipairs(workers) do posix.kill(pid, "CONT") end
        assert.equal(200, http.read(w).status)
        assert.truthy(entry(decided("/stuck/late"), { verdict = "error" }).error:find("hook_wait", 1, true))
    end)

    it("holds its tasks back, too", function()
        assert.equal(200, get("/child").status)
        local got = e2e.last(up)
        assert.is_nil(e2e.field(got, "x-child"))
        assert.is_nil(e2e.field(got, "x-detached"))
        local line = decided("/child")
        assert.truthy(entry(line, { what = "up.x-child" }).instance:find("^the%-shadow"))
        assert.equal(401, entry(line, { verdict = "answer" }).status)
    end)

    it("and a real one of the same plugin do not mix", function()
        assert.equal(400, get("/twice", { ["X-Bad"] = "1" }).status)
        local line = decided("/twice")
        assert.equal(400, line.status)
        assert.equal(403, entry(line, { instance = "rule", verdict = "answer" }).status)
        for _, e in ipairs(line.decisions) do assert.equal("rule", e.instance) end
        assert.equal(200, get("/twice").status)
        assert.equal("ran", e2e.field(e2e.last(up), "x-after"))
    end)

    it("says nothing of requests that it leaves alone", function()
        assert.equal(200, get("/plain").status)
        assert.equal(200, get("/deny").status)
        assert.truthy(decided("/deny"))
        assert.is_nil(posix.read_file(log):sub(mark + 1):find("/plain", 1, true))
    end)

    it("is counted", function()
        local function answers()
            return tonumber(process.must(rp, "metrics"):match(
                'rproxy_plugin_shadow_denials_total{[^}]*rule"[^}]*} (%d+)') or 0)
        end
        local before = answers()
        assert.equal(200, get("/twice").status)
        assert.is_true(posix.poll(function() return answers() == before + 1 end, 60))
        assert.truthy(process.must(rp, "status"):find(
            "rule %(held back: answers=%d+ denials=%d+ edits=0%)"))
    end)
end)

describe("shadow mode at load", function()
    teardown(proc.cleanup)

    it("refuses content hooks", function()
        local rp, err = pcall(e2e.proxy, { before = [[
            local page = rp.plugin { name = "page" }
            function page.setup() return { content = function() end } end
        ]], site = [[ hosts = { rp.host { default = true, routes = {
            rp.route { "/*", content = page { mode = "shadow" } } } } } ]] })
        assert.is_false(rp)
        assert.truthy(tostring(err):find("cannot run in shadow mode", 1, true), err)
    end)
end)
