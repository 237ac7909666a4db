-- SPDX-License-Identifier: MIT
--
-- request_body hooks: pieces of a request body on its way upstream.

local e2e = require("spec.support.e2e")
local http = require("spec.support.http")
local origin = require("spec.support.origin")
local posix = require("spec.support.posix")
local protocol = require("spec.support.protocol")
local wire = require("spec.support.wire")

local BIG = ("The quick brown fox. "):rep(50000) -- 1 MB

local ROUTES = {
    ["/early"] = { early = true, { send = "HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig" },
        { hang = true } },
    ["/both"] = { early = true, { send = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" ..
        "3\r\none\r\n" }, { body = true }, { send = "3\r\ntwo\r\n0\r\n\r\n" } },
    ["/continue"] = { early = true, { send = "HTTP/1.1 100 Continue\r\n\r\n" }, { body = true },
        { send = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok" } },
    ["/dies"] = { early = true, { wait = 0.05 }, { reset = true } },
    ["/stale"] = { turns = { { status = 200, body = "first" }, { { reset = true } },
        { status = 200, body = "again" } } },
    ["*"] = { status = 200, body = "ok" },
}

local BEFORE = [[
    local function hook(fn) return { request_body = fn } end
    local function upper(req, piece) return piece:upper() end
    local function boom() local t = nil return t.x end
    local function named(name, fn, policy)
        return { name = name, request_body = fn, on_error = policy }
    end
    local BUFFER = { request = true }
]]

local SITE = [[
    timeouts = { hook_wait = 0.3, body = 5 },
    upstreams = { o = rp.upstream { peers = { "127.0.0.1:${origin}" } },
        twice = rp.upstream { peers = { "127.0.0.1:${dead}", "127.0.0.1:${origin}" }, tries = 2,
            balance = function(req, up)
                if up.attempt == 1 then up:peer("127.0.0.1:${dead}") end
            end },
        twice2 = rp.upstream { peers = { "127.0.0.1:${dead}", "127.0.0.1:${origin}" }, tries = 2,
            balance = function(req, up)
                if up.attempt > 1 then return end
                up:peer("127.0.0.1:${dead}")
                req:set_body((req:body()) .. "again")
            end } },
    hosts = { rp.host { default = true, routes = {
        rp.route { "/upper", upstream = "o", use = { hook(upper) } },
        rp.route { "/upper/gathered", upstream = "o", use = { hook(upper) },
            buffer = { request = true } },
        rp.route { "/upper/retried", upstream = "twice", use = { hook(upper) },
            buffer = { request = true } },
        rp.route { "/wait", upstream = "o", use = { hook(function(req, piece, last)
            rp.sleep(0.001)
            local ok = rp.all { function() rp.sleep(0.001) return "a" end }
            return piece:upper() .. (last and ok[1] or "")
        end) } },
        rp.route { "/wait/gathered", upstream = "o", buffer = { request = true },
            use = { hook(function(req, piece) rp.sleep(0.001) return piece:upper() end) } },
        rp.route { "/drop", upstream = "o", use = { hook(function() return "" end) } },
        rp.route { "/add", upstream = "o", use = { hook(function(req, piece, last)
            if last then return piece .. "!" end end) } },
        rp.route { "/two", upstream = "o", use = {
            hook(function(req, piece, last) if last then return piece .. "1" end end),
            hook(function(req, piece, last) if last then return piece .. "2" end end) } },
        rp.route { "/keep", upstream = "o", use = { hook(function() end) } },
        rp.route { "/read", upstream = "o", use = { { access = function(req)
                req.up:set("x-seen", assert(req:body())) end,
            request_body = upper } } },
        rp.route { "/read/gathered", upstream = "o", buffer = { request = true },
            use = { { access = function(req) req.up:set("x-seen", assert(req:body())) end,
            request_body = upper } } },
        rp.route { "/set", upstream = "o", use = { { rewrite = function(req)
            req:set_body("given") end, request_body = upper } } },
        rp.route { "/count", upstream = "o", use = { { request_body = function(req, piece, last)
                req.ctx.n = (req.ctx.n or 0) + 1
                if last then return piece .. "|" .. req.ctx.n end
            end, header_filter = function(req, res) res:set("x-calls", req.ctx.n or 0) end } } },
        rp.route { "/exit", upstream = "o", use = { hook(function(req, piece)
            if piece:find("evil") then return req:exit(403, "caught") end end) } },
        rp.route { "/exit/gathered", upstream = "o", buffer = { request = true }, use = {
            hook(function(req, piece)
            if piece:find("evil") then return req:exit(403, "caught") end end) } },
        rp.route { "/exit/read", upstream = "o", use = { { access = function(req)
            assert(req:body()) end, request_body = function(req, piece)
            if piece:find("evil") then return req:exit(403, "caught") end end } } },
        rp.route { "/abort", upstream = "o", use = { hook(function(req, piece)
            if piece:find("evil") then req:abort(418, "short") end end) } },
        rp.route { "/forgot", upstream = "o", use = { hook(function() return true end) } },
        rp.route { "/bad", upstream = "o", use = { hook(function() return 7 end) } },
        rp.route { "/raise", upstream = "o", use = { hook(boom) } },
        rp.route { "/raise/late", upstream = "o", use = { hook(function(req, piece)
            if piece:find("evil") then boom() end end) } },
        rp.route { "/raise/closed", upstream = "o", use = { named("c", boom, "closed") } },
        rp.route { "/raise/open", upstream = "o", use = {
            hook(function(req, piece, last) if last then return piece .. "1" end end),
            named("o", boom, "open"),
            hook(function(req, piece, last) if last then return piece .. "2" end end) } },
        rp.route { "/stuck", upstream = "o", use = { hook(function() rp.sleep(30) end) } },
        rp.route { "/stuck/gathered", upstream = "o", buffer = { request = true },
            use = { hook(function() rp.sleep(30) end) } },
        rp.route { "/trailers", upstream = "o", use = { hook(upper) } },
        rp.route { "/small", upstream = "o", limits = { body = 10 }, use = {
            hook(function(req, piece) return piece:rep(3) end) } },
        rp.route { "/continue", upstream = "o", use = { hook(upper) } },
        rp.route { "/reset/gathered", upstream = "twice2", buffer = { request = true },
            use = { hook(upper) } },
        rp.route { "/early", upstream = "o", use = { hook(upper) } },
        rp.route { "/both", upstream = "o", use = { hook(function(req, piece)
            rp.sleep(0.01) return piece:upper() end),
            { body_filter = function(req, res, piece) rp.sleep(0.01) return piece:upper() end } } },
        rp.route { "/late", upstream = "o", use = { hook(function(req, piece)
            local ok, why = pcall(req.exit, req, 403)
            rp.log.info("late", { why = tostring(why) })
            return piece
        end) } },
        rp.route { "/dies", upstream = "o", use = { hook(upper) } },
        rp.route { "/stale", upstream = "o", use = { hook(function(req, piece)
            return piece .. "." end) } },
        rp.route { "/what", upstream = "o", use = { hook(function(req, piece, last)
            local words = {}
            for _, call in ipairs { "set_body", "body" } do
                words[#words + 1] = tostring((select(2, pcall(req[call], req, "x"))))
            end
            words[#words + 1] = tostring((select(2, pcall(req.up.set, req.up, "a", "b"))))
            return table.concat(words, "|")
        end) } },
        rp.route { "/*", upstream = "o" },
    } } },
]]

describe("request_body hooks", function()
    local up, rp

    setup(function()
        rp, up = e2e.pair(ROUTES, { site = SITE, before = BEFORE,
            vars = { dead = posix.free_port() } })
    end)
    teardown(function() e2e.stop(rp) end)
    after_each(wire.close_all)

    local function post(target, body, fields)
        return http.get(rp.port, { method = "POST", target = target, body = body, fields = fields })
    end

    local function sent(target, body)
        local res = post(target, body)
        if res.status ~= 200 then error(target .. ": " .. res.status .. " " .. res.body, 2) end
        return e2e.last(up)
    end

    -- A chunked body in pieces of the caller's.
    local function begin(target, fields) return http.begin_post(rp.port, target, fields) end

    local function chunk(w, text)
        return w:send(("%x\r\n%s\r\n"):format(#text, text))
    end

    local function finish(w)
        return w:send("0\r\n\r\n")
    end

    -- Let what was sent arrive by itself; nothing depends on it but that two pieces are two.
    local function pause()
        posix.poll(function() return false end, 0.05)
    end

    -- ------------------------------------------------------------ what they make of a body

    it("change every piece, and the body has no length any more", function()
        local got = sent("/upper", BIG)
        assert.equal("chunked", got.framing)
        assert.equal(#BIG, got.body_len)
        assert.equal(origin.sum(BIG:upper()), got.body_sum)
        assert.same({}, e2e.values(got.fields, "content-length"))
    end)

    it("give a gathered body its length", function()
        local got = sent("/upper/gathered", BIG)
        assert.equal("length", got.framing)
        assert.same({ tostring(#BIG) }, e2e.values(got.fields, "content-length"))
        assert.equal(origin.sum(BIG:upper()), got.body_sum)
    end)

    it("give a body that was read whole its length, and access sees what the client sent", function()
        for _, target in ipairs { "/read", "/read/gathered" } do
            local got = sent(target, "hello")
            assert.equal("HELLO", got.body)
            assert.equal("length", got.framing)
            assert.equal("hello", e2e.field(got, "x-seen"))
        end
    end)

    it("see a body that a hook gave", function()
        local got = sent("/set", "hello")
        assert.equal("GIVEN", got.body)
        assert.equal("length", got.framing)
    end)

    it("may wait at each piece", function()
        assert.equal(origin.sum(BIG:upper() .. "a"), sent("/wait", BIG).body_sum)
        assert.equal(origin.sum(BIG:upper()), sent("/wait/gathered", BIG).body_sum)
    end)

    it("may drop everything, add, and leave all as it is", function()
        local got = sent("/drop", BIG)
        assert.equal(0, got.body_len)
        assert.equal("chunked", got.framing)
        assert.equal("hello!", sent("/add", "hello").body)
        assert.equal(origin.sum(BIG), sent("/keep", BIG).body_sum)
    end)

    it("run in list order, each on what the one before made", function()
        assert.equal("hello12", sent("/two", "hello").body)
    end)

    it("do not run where there is no body", function()
        assert.equal("0", http.get(rp.port, "/count"):header("x-calls"))
        assert.equal("0", post("/count", ""):header("x-calls"))
        assert.equal("none", (function() http.get(rp.port, "/upper") return e2e.last(up).framing end)())
    end)

    it("see the pieces as they come", function()
        local w = begin("/count")
        chunk(w, "one")
        pause()
        chunk(w, "two")
        finish(w)
        local res = http.read(w)
        assert.is_true(tonumber(res:header("x-calls")) >= 2)
        assert.truthy(e2e.last(up).body:find("^onetwo|%d"))
    end)

    it("pass the client's trailers on behind a body in chunks", function()
        local w = begin("/trailers", { Trailer = "x-sum" })
        chunk(w, "abc")
        w:send("0\r\nx-sum: 1\r\n\r\n")
        assert.equal(200, http.read(w).status)
        local got = e2e.last(up)
        assert.equal("ABC", got.body)
        assert.equal("x-sum", got.trailers[1][1]:lower())
        assert.equal("1", got.trailers[1][2])
    end)

    it("leave it to the upstream to ask for the body", function()
        local w = wire.connect(rp.port)
        w:send(http.format { method = "POST", target = "/continue", fields = {
            ["Content-Length"] = "5", Expect = "100-continue" } })
        assert.equal(100, http.read(w, { until_final = false }).status)
        w:send("hello")
        assert.equal(200, http.read(w).status)
        assert.equal("HELLO", e2e.last(up).body)
        assert.equal("100-continue", e2e.field(e2e.last(up), "expect"))
    end)

    it("let balance hooks see and change what they made", function()
        local got = sent("/reset/gathered", "hello")
        assert.equal("HELLOagain", got.body)
        assert.equal("length", got.framing)
    end)

    it("ask for a body themselves where it is gathered", function()
        local w = wire.connect(rp.port)
        w:send(http.format { method = "POST", target = "/upper/gathered", fields = {
            ["Content-Length"] = "5", Expect = "100-continue" } })
        assert.equal(100, http.read(w, { until_final = false }).status)
        w:send("hello")
        assert.equal(200, http.read(w).status)
        assert.equal("HELLO", e2e.last(up).body)
        assert.is_nil(e2e.field(e2e.last(up), "expect"))
    end)

    it("change nothing of what the client may send", function()
        local res = post("/small", ("x"):rep(10))
        assert.equal(200, res.status)
        assert.equal(30, e2e.last(up).body_len)
        assert.equal(413, post("/small", ("x"):rep(11)).status)
    end)

    it("cannot change what is under way", function()
        local got = sent("/what", "x")
        local words = {}
        for word in got.body:gmatch("[^|]+") do words[#words + 1] = word end
        assert.matches("cannot be changed any more", words[1])
        assert.matches("cannot be read here", words[2])
        assert.matches("headers cannot be changed in this hook", words[3])
    end)

    it("keep the connection", function()
        local w = wire.connect(rp.port)
        for _ = 1, 2 do
            assert.equal("ok", http.request(w, { method = "POST", target = "/upper", body = "a" }).body)
        end
    end)

    -- ------------------------------------------------------------ tries

    it("run once when a peer cannot be reached", function()
        local got = sent("/upper/retried", "hello")
        assert.equal("HELLO", got.body)
        assert.equal("length", got.framing)
    end)

    it("run once when a kept connection turns out to be closed", function()
        assert.equal("first", post("/stale", "a").body)
        local res = post("/stale", "a") -- whatever is done about it, nothing is filtered twice
        assert.truthy(res.status == 200 or res.status == 502)
        for _, got in ipairs(up:requests()) do
            if got.target == "/stale" and got.body ~= "" then assert.equal("a.", got.body) end
        end
    end)

    -- ------------------------------------------------------------ answers

    describe("may answer instead", function()
        for _, target in ipairs { "/exit", "/exit/gathered", "/exit/read" } do
            it("with the first piece: " .. target, function()
                local res = post(target, "an evil body")
                assert.equal(403, res.status)
                assert.equal("caught", res.body)
                assert.equal(200, post(target, "a good body").status)
            end)
        end

        it("with a later one", function()
            local w = begin("/exit")
            chunk(w, "good so far")
            pause()
            chunk(w, "evil")
            local res = http.read(w)
            assert.equal(403, res.status)
            assert.equal("caught", res.body)
        end)

        it("from deep inside", function()
            assert.equal(418, post("/abort", "evil").status)
        end)

        it("but not when the response is under way", function()
            local mark = #rp:stderr()
            up:requests()
            local w = begin("/both")
            chunk(w, "a")
            e2e.head(w)
            finish(w)
            assert.truthy(w:recv_until("TWO"))
            assert.same({}, e2e.log_since(rp, mark, "hook failed"))
        end)
    end)

    -- ------------------------------------------------------------ failures

    describe("that fail", function()
        local function status(target, body) return post(target, body or "hello").status end

        it("answer 500, or 503 when closed", function()
            assert.equal(500, status("/raise"))
            assert.equal(500, status("/bad"))
            assert.equal(500, status("/forgot"))
            assert.equal(503, status("/raise/closed"))
        end)

        it("do so in the middle of a body, and the upstream does not take it for whole", function()
            local w = begin("/raise/late")
            chunk(w, "good")
            pause()
            chunk(w, "evil")
            assert.equal(500, http.read(w).status)
            assert.truthy(posix.poll(function() return e2e.last(up).complete == false end))
            assert.is_false(e2e.last(up).complete)
        end)

        it("are left out when open", function()
            assert.equal("hello12", sent("/raise/open", "hello").body)
        end)

        it("by waiting too long answer 500", function()
            assert.equal(500, status("/stuck"))
            assert.equal(500, status("/stuck/gathered"))
        end)
    end)

    -- ------------------------------------------------------------ ends in the middle

    it("end with a client that goes away", function()
        local w = begin("/upper")
        chunk(w, "abc")
        pause()
        w:reset()
        w = begin("/wait")
        chunk(w, BIG)
        w:reset()
        assert.equal(200, post("/upper", "hello").status)
    end)

    it("end with an upstream that answers before it has all", function()
        local w = begin("/early")
        chunk(w, "abc")
        local res = http.read(w)
        assert.equal(413, res.status)
        assert.equal("big", res.body)
    end)

    it("end with an upstream that dies", function()
        local w = begin("/dies")
        chunk(w, "abc")
        assert.equal(502, http.read(w).status)
    end)

    it("run beside body_filter hooks that wait", function()
        local w = begin("/both")
        chunk(w, "abc")
        e2e.head(w)
        for _ = 1, 5 do chunk(w, "def") end
        finish(w)
        assert.truthy(w:recv_until("TWO"))
        assert.equal("ABC" .. ("DEF"):rep(5), e2e.last(up).body)
    end)
end)

describe("large bodies through request_body", function()
    local n = e2e.is_debug and 2 ^ 24 or 100 * 2 ^ 20

    it("pass in bounded memory", function()
        local rp, up = e2e.pair(ROUTES, { before = BEFORE, site = [[
            limits = { body = math.huge },
            upstreams = { o = rp.upstream { peers = { "127.0.0.1:${origin}" } } },
            hosts = { rp.host { default = true, routes = {
                rp.route { "/*", upstream = "o", limits = { body = math.huge },
                    use = { hook(function(req, piece) return piece:upper() end) } } } } } ]] })
        local before = e2e.rss(rp)
        local w = wire.connect(rp.port)
        w:send(http.format { method = "POST", target = "/", fields = {
            ["Content-Length"] = ("%d"):format(n) } })
        local piece = ("x"):rep(2 ^ 20)
        for _ = 1, n / #piece do w:send(piece) end
        assert.equal("ok", http.read(w).body)
        assert.equal(n, e2e.last(up).body_len)
        if not e2e.is_debug then assert.is_true(e2e.rss(rp) - before < 40000) end
        e2e.stop(rp)
    end)

    it("are not read before the upstream takes them", function()
        protocol.only("h1 upstream", "sockets that are not read")
        local listener = e2e.listen()
        local rp = e2e.proxy { vars = { o = listener.port }, before = BEFORE, site = [[
            upstreams = { o = rp.upstream { peers = { "127.0.0.1:${o}" } } },
            hosts = { rp.host { default = true, routes = {
                rp.route { "/*", upstream = "o", limits = { body = math.huge },
                    use = { hook(function(req, piece) return piece:rep(4) end) } } } } } ]] }
        local w = wire.connect(rp.port)
        w:send(http.format { method = "POST", target = "/", fields = {
            ["Content-Length"] = ("%d"):format(2 ^ 30) } })
        local o = listener:accept()
        e2e.head(o)
        local piece, total = ("x"):rep(2 ^ 16), 0
        e2e.settled(function()
            total = total + (w:push(piece) or 0)
            return total
        end)
        assert.is_true(total < 32 * 2 ^ 20, total)
        assert.is_true(e2e.rss(rp) < (e2e.is_debug and 10 ^ 6 or 60000))
        wire.close_all()
        e2e.stop(rp)
    end)
end)
