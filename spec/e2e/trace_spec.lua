-- SPDX-License-Identifier: MIT
--
-- trace: what a request that carries the site's secret is told of its hooks.

local cjson = require("cjson")
local e2e = require("spec.support.e2e")
local http = require("spec.support.http")
local posix = require("spec.support.posix")
local process = require("spec.support.process")
local wire = require("spec.support.wire")

local TOKEN = "correct-horse-battery-staple"
local ROUTES = { ["*"] = { status = 200, body = "ok" } }

local SITE = [[
    trace = { token = "correct-horse-battery-staple" },
    log = { decisions = { to = "${log}", flush = "10ms" } },
    upstreams = { o = rp.upstream { peers = { "127.0.0.1:${origin}" } } },
    use = {
        { name = "first", early = function(req) req.ctx.early = true end,
            log = function(req)
                local all = req:trace()
                if all then rp.log.info("log saw", { entries = #all }) end
            end },
    },
    hosts = {
        rp.host { "a.example", routes = {
            rp.route { "/only/{id}", id = "only", respond = { 200, "data\n" }, use = {} } } },
        rp.host { default = true, routes = {
            rp.route { "POST /x", id = "post", respond = { 200 } },
            rp.route { "/x", id = "x", upstream = "o", use = {
                { name = "waiter", access = function(req)
                    rp.sleep(0.02)
                    req.up:set("x-user", "alice")
                    req.up:set("authorization", "Bearer abc")
                end },
                { name = "guard", mode = "shadow", access = function(req)
                    return req:exit(403)
                end },
                { name = "last", header_filter = function(req, res) res:set("x-seen", "1") end },
            } },
            rp.route { "/deny", id = "deny", upstream = "o", use = {
                { name = "door", access = function(req) return req:exit(401, "who?") end },
                { name = "unmet", access = function() end },
            } },
            rp.route { "/raise", id = "raise", upstream = "o", use = {
                { name = "broken", on_error = "open", access = function() error("boom") end },
                { name = "fine", access = function() end },
            } },
            rp.route { "/many", id = "many", upstream = "o", use = { { access = function(req)
                for i = 1, 400 do req.up:set("x-a", ("v"):rep(20) .. i) end
            end } } },
            rp.route { "/tell", id = "tell", content = function(req)
                local all = req:trace()
                return req:exit(200, all and tostring(#all) or "none")
            end },
        } },
    },
]]

describe("tracing a request", function()
    local rp, up, log

    setup(function()
        log = os.tmpname()
        rp, up = e2e.pair(ROUTES, { site = SITE, vars = { log = log } })
    end)
    teardown(function()
        e2e.stop(rp)
        os.remove(log)
    end)
    after_each(wire.close_all)

    local function get(target, token, host)
        return http.get(rp.port, target, { ["X-Rproxy-Trace"] = token, Host = host })
    end

    local function trace_of(res)
        local text = res:header("x-rproxy-trace")
        assert.truthy(text, "no trace")
        return cjson.decode(text)
    end

    local function find(list, wanted)
        for _, e in ipairs(list) do
            local same = true
            for key, value in pairs(wanted) do same = same and e[key] == value end
            if same then return e end
        end
        error("no such entry in " .. cjson.encode(list), 2)
    end

    local function line_of(id)
        return posix.poll(function()
            for text in posix.read_file(log):gmatch("([^\n]+)\n") do
                local line = cjson.decode(text)
                if line.id == id then return line end
            end
        end, 60) or error("no line came", 2)
    end

    it("is for those who know the token", function()
        assert.is_nil(get("/deny"):header("x-rproxy-trace"))
        for _, wrong in ipairs { "", "correct-horse-battery-stapl", TOKEN .. "x", TOKEN:upper() } do
            assert.is_nil(get("/deny", wrong):header("x-rproxy-trace"), wrong)
        end
        assert.is_nil(posix.read_file(log):find('"path":"/deny"', 1, true))
        assert.equal("none", get("/tell").body)
    end)

    it("never tells the upstream of the header", function()
        for _, token in ipairs { TOKEN, "wrong" } do
            assert.equal(200, get("/x", token).status)
            assert.is_nil(e2e.field(e2e.last(up), "x-rproxy-trace"))
        end
    end)

    it("tells what each hook came to and took", function()
        local res = get("/x", TOKEN)
        local trace = trace_of(res)
        assert.equal("x", trace.route)
        local waited = find(trace.decisions, { instance = "waiter", verdict = "next" })
        assert.truthy(waited.wait_us >= 10000)
        assert.truthy(waited.cpu_us)
        assert.equal("alice", find(trace.decisions, { what = "up.x-user" }).value)
        assert.equal("[10 bytes]", find(trace.decisions, { what = "up.authorization" }).value)
        local guard = find(trace.decisions, { instance = "guard", verdict = "answer" })
        assert.equal(403, guard.status)
        assert.is_true(guard.shadow)
        assert.equal("1", find(trace.decisions, { what = "res.x-seen" }).value)
        assert.truthy(find(trace.decisions, { instance = "first", hook = "early" }))
    end)

    it("tells the whole in the log of decisions, with the routes that lost", function()
        local id = trace_of(get("/x", TOKEN)).id
        local line = line_of(id)
        assert.is_true(line.trace)
        assert.equal(200, line.status)
        assert.truthy(find(line.decisions, { instance = "first", hook = "log" }))
        assert.truthy(line.routing)
        assert.equal("x", line.routing.chosen)
    end)

    it("tells who answered, and nobody after it ran", function()
        local res = get("/deny", TOKEN)
        assert.equal(401, res.status)
        local trace = trace_of(res)
        assert.equal(401, find(trace.decisions, { instance = "door", verdict = "answer" }).status)
        for _, e in ipairs(trace.decisions) do assert.not_equal("unmet", e.instance) end
    end)

    it("tells who raised", function()
        local trace = trace_of(get("/raise", TOKEN))
        assert.truthy(find(trace.decisions, { instance = "broken", verdict = "error" }).error
            :find("boom", 1, true))
        assert.truthy(find(trace.decisions, { instance = "fine", verdict = "next" }))
    end)

    it("works on routes without hooks of their own, and where no route is", function()
        local trace = trace_of(get("/only/7", TOKEN, "a.example"))
        assert.equal("only", trace.route)
        assert.equal(404, get("/nowhere", TOKEN).status)
        trace_of(get("/nowhere", TOKEN))
    end)

    it("fits into 4 KB and says what it left out", function()
        local res = get("/many", TOKEN)
        assert.equal(200, res.status)
        assert.truthy(#res:header("x-rproxy-trace") <= 4096)
        local trace = trace_of(res)
        assert.truthy(trace.lost > 100)
        assert.truthy(#trace.decisions > 10)
        local line = line_of(trace.id)
        assert.truthy(#cjson.encode(line) < 20000)
        assert.truthy(line.lost > 0)
    end)

    it("is open to hooks as req:trace()", function()
        assert.equal("1", get("/tell", TOKEN).body)
        rp:wait_stderr("log saw")
    end)

    it("does not outlive its request on a connection", function()
        local w = wire.connect(rp.port)
        local first = http.request(w, { target = "/deny", fields = { { "X-Rproxy-Trace", TOKEN } } })
        assert.truthy(first:header("x-rproxy-trace"))
        for _ = 1, 3 do
            local res = http.request(w, { target = "/deny" })
            assert.is_nil(res:header("x-rproxy-trace"))
        end
        assert.equal("none", http.request(w, { target = "/tell" }).body)
    end)

    it("keeps the token out of rproxy -T", function()
        local text = process.must(rp, "-T")
        assert.truthy(text:find("trace.token", 1, true))
        assert.is_nil(text:find(TOKEN, 1, true))
    end)
end)
