-- SPDX-License-Identifier: MIT
--
-- Hooks and bodies: body_filter on responses, req:body and req:set_body on requests.

local e2e = require("spec.support.e2e")
local http = require("spec.support.http")
local origin = require("spec.support.origin")
local wire = require("spec.support.wire")

local BIG = ("The quick brown fox. "):rep(50000) -- 1 MB

local ROUTES = {
    ["/big"] = { status = 200, body = BIG },
    ["/big-chunked"] = { status = 200, body = BIG, chunked = 50021 },
    ["/empty"] = { status = 200, body = "" },
    ["/204"] = { status = 204 },
    ["/gated"] = { { send = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" },
        { send = "3\r\none\r\n" }, { gate = "two" }, { send = "3\r\ntwo\r\n0\r\n\r\n" } },
    ["*"] = { status = 200, body = "ok" },
}

local BEFORE = [[
    local function hook(name, fn) return { [name] = fn } end
    local function use(name, fn) return { hook(name, fn) } end
    local function many(n)
        local list = {}
        for i = 1, n do
            list[i] = hook("body_filter", function(req, res, chunk, last)
                if last then return chunk .. string.char(96 + i % 26) end
            end)
        end
        return list
    end
    local function upper(req, res, chunk) return chunk:upper() end
    local function boom() local t = nil return t.x end
]]

local SITE = [[
    timeouts = { hook_wait = 0.3 },
    upstreams = { o = rp.upstream { peers = { "127.0.0.1:${origin}" } } },
    hosts = {
        rp.host { default = true, routes = {
            rp.route { "/big", upstream = "o", use = use("body_filter",
                function(req, res, chunk, last) rp.sleep(0.001) return chunk:upper() end) },
            rp.route { "/big-chunked", upstream = "o", use = use("body_filter", upper) },
            rp.route { "/filter/drop", upstream = "o", use = use("body_filter",
                function() return "" end) },
            rp.route { "/filter/add", upstream = "o", use = use("body_filter",
                function(req, res, chunk, last) if last then return chunk .. "!" end end) },
            rp.route { "/filter/none", upstream = "o", use = use("body_filter", function() end) },
            rp.route { "/empty", upstream = "o", use = use("body_filter",
                function(req, res, chunk, last) if last then return "was empty" end end) },
            rp.route { "/204", upstream = "o", use = use("body_filter",
                function() return "never" end) },
            rp.route { "/gated", upstream = "o", use = use("body_filter", upper) },
            rp.route { "/filter/two", upstream = "o", use = {
                hook("body_filter", function(req, res, chunk) return chunk .. "1" end),
                hook("body_filter", function(req, res, chunk, last)
                    if last then return chunk .. "2" end return chunk end) } },
            rp.route { "/filter/many", upstream = "o", use = many(45) },
            rp.route { "/filter/bad", upstream = "o", use = use("body_filter",
                function() return 7 end) },
            rp.route { "/filter/raise", upstream = "o", use = use("body_filter", boom) },
            rp.route { "/filter/stuck", upstream = "o", use = use("body_filter",
                function() rp.sleep(30) end) },


            -- request bodies
            rp.route { "/body/echo", limits = { body = math.huge }, content = function(req)
                local body, err = req:body { max = 2 * 2^20 }
                return req:exit(200, body or ("no body: " .. err))
            end },
            rp.route { "/body/small", content = function(req)
                local body, err = req:body { max = 10 }
                return req:exit(body and 200 or 413, body or err)
            end },
            rp.route { "/body/read", upstream = "o", use = use("access", function(req)
                req.up:set("x-seen", #assert(req:body { max = 2 * 2^20 })) end) },
            rp.route { "/body/set", upstream = "o", use = use("rewrite", function(req)
                req:set_body("replaced") end) },
            rp.route { "/body/set/read", upstream = "o", use = use("rewrite", function(req)
                req:set_body((req:body() or ""):upper()) end) },
            rp.route { "/body/form", content = function(req)
                local form, err = req:form()
                return req:exit(200, form and (form.a .. "|" .. form["b c"]) or err)
            end },
            rp.route { "/body/json", content = function(req)
                local value, err = req:json()
                return req:exit(value and 200 or 400, value and { got = value.list[2] } or err)
            end },
            rp.route { "/*", upstream = "o" },
        } },
    },
]]

describe("hooks and bodies:", function()
    local up, rp

    setup(function() rp, up = e2e.pair(ROUTES, { site = SITE, before = BEFORE }) end)
    teardown(function() e2e.stop(rp) end)
    after_each(wire.close_all)

    local function get(target) return http.get(rp.port, target) end
    local function body_of(target) return e2e.body(rp, target) end

    local function post(target, body, fields)
        return http.get(rp.port, { method = "POST", target = target, body = body, fields = fields })
    end

    -- ------------------------------------------------------------ body filters

    describe("body filters", function()
        it("body_filter hooks of a long chain all see what those before them made", function()
        assert.equal(#"ok" + 45, #get("/filter/many").body)
    end)

    it("change every piece", function()
            local res = get("/big-chunked")
            assert.equal("chunked", res.framing)
            assert.is_true(res.body == BIG:upper())
        end)

        it("may wait at each piece", function()
            local res = get("/big")
            assert.is_true(res.body == BIG:upper())
        end)

        it("may drop everything", function()
            assert.equal("", body_of("/filter/drop"))
        end)

        it("may add at the end", function()
            assert.equal("ok!", body_of("/filter/add"))
        end)

        it("that return nothing change nothing", function()
            assert.equal("ok", body_of("/filter/none"))
        end)

        it("see an empty body once, as the last piece", function()
            assert.equal("was empty", body_of("/empty"))
        end)

        it("do not run where no body can be", function()
            local w = wire.connect(rp.port)
            assert.equal(204, http.request(w, { target = "/204" }).status)
            local res = http.request(w, { method = "HEAD", target = "/filter/add" })
            assert.equal(200, res.status)
            assert.equal("ok", http.request(w, { target = "/x" }).body)
        end)

        it("hand pieces on as they come", function()
            local w = wire.connect(rp.port)
            up:close_gate("two")
            w:send(http.format { target = "/gated" })
            w:recv_until("\r\n\r\n")
            assert.equal("3\r\nONE\r\n", w:recv(8))
            up:open_gate("two")
            assert.truthy(w:recv_until("0\r\n\r\n"):find("3\r\nTWO\r\n", 1, true))
        end)

        it("run in reverse list order, each on what the one before made", function()
            local body = body_of("/filter/two")
            assert.truthy(body == "ok21" or body == "ok121", body)
        end)

        it("keep the connection", function()
            local w = wire.connect(rp.port)
            assert.equal("ok!", http.request(w, { target = "/filter/add" }).body)
            assert.equal("ok!", http.request(w, { target = "/filter/add" }).body)
        end)

        for _, target in ipairs { "/filter/bad", "/filter/raise", "/filter/stuck" } do
            it("that fail (" .. target .. ") break the response off", function()
                local w = wire.connect(rp.port)
                w:send(http.format { target = target })
                local rest, why = w:recv_all()
                assert.not_equal("timeout", why)
                assert.is_nil(rest:find("0\r\n\r\n$"))
            end)
        end
    end)

    -- ------------------------------------------------------------ request bodies

    describe("request bodies", function()
        it("are read whole", function()
            assert.equal("hello", post("/body/echo", "hello").body)
            assert.is_true(post("/body/echo", BIG).body == BIG)
        end)

        it("in chunks are read whole", function()
            local w = wire.connect(rp.port)
            w:send(http.format { method = "POST", target = "/body/echo",
                fields = { ["Transfer-Encoding"] = "chunked" } } ..
                "5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n")
            assert.equal("hello world", http.read(w).body)
        end)

        it("that come in drops are read whole", function()
            local w = wire.connect(rp.port)
            w:send(http.format { method = "POST", target = "/body/echo",
                fields = { ["Content-Length"] = "5" } })
            w:send_split("hello", 1, 0.002)
            assert.equal("hello", http.read(w).body)
        end)

        it("that wait for 100 are asked for", function()
            local w = wire.connect(rp.port)
            w:send(http.format { method = "POST", target = "/body/echo", fields = {
                ["Content-Length"] = "5", Expect = "100-continue" } })
            assert.equal(100, http.read(w, { until_final = false }).status)
            w:send("hello")
            assert.equal("hello", http.read(w).body)
        end)

        it("that are absent are empty", function()
            assert.equal("", body_of("/body/echo"))
        end)

        it("over the hook's limit are refused to it", function()
            assert.equal(200, post("/body/small", ("b"):rep(10)).status)
            local res = post("/body/small", ("b"):rep(11))
            assert.equal(413, res.status)
            assert.equal("too large", res.body)
        end)

        it("that were read go up whole", function()
            post("/body/read", BIG)
            local got = e2e.last(up)
            assert.equal(tostring(#BIG), e2e.field(got, "x-seen"))
            assert.equal(#BIG, got.body_len)
            assert.equal(origin.sum(BIG), got.body_sum)
        end)

        it("may be replaced", function()
            post("/body/set", "original, which is longer")
            local got = e2e.last(up)
            assert.equal("replaced", got.body)
            assert.same({ "8" }, e2e.values(got.fields, "content-length"))
        end)

        it("in chunks may be replaced", function()
            local w = wire.connect(rp.port)
            w:send(http.format { method = "POST", target = "/body/set/read",
                fields = { ["Transfer-Encoding"] = "chunked" } } .. "3\r\nabc\r\n0\r\n\r\n")
            assert.equal("ok", http.read(w).body)
            local got = e2e.last(up)
            assert.equal("ABC", got.body)
            assert.equal("length", got.framing)
        end)

        it("may be given to a request that had none", function()
            get("/body/set")
            assert.equal("replaced", e2e.last(up).body)
        end)

        it("are forms", function()
            assert.equal("1 2|x", post("/body/form", "a=1+2&b%20c=x&a=3", {
                ["Content-Type"] = "application/x-www-form-urlencoded" }).body)
            assert.equal("not a form", post("/body/form", "a=1").body)
        end)

        it("are JSON", function()
            assert.equal('{"got":2}', post("/body/json", '{"list":[1,2]}').body)
            assert.equal(400, post("/body/json", '{"list":').status)
        end)
    end)
end)
