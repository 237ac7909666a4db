-- SPDX-License-Identifier: MIT
--
-- What hooks do with request bodies beyond having them whole: req:body_reader, functions for
-- req:set_body, forms, trailers.

local cjson = require("cjson")
local e2e = require("spec.support.e2e")
local http = require("spec.support.http")
local origin = require("spec.support.origin")
local posix = require("spec.support.posix")
local protocol = require("spec.support.protocol")
local wire = require("spec.support.wire")

local BIG = ("The quick brown fox. "):rep(50000) -- 1 MB

local ROUTES = {
    ["/given/early"] = { { gate = "given" },
        { send = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok" } },
    ["/early"] = { early = true, { send = "HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig" },
        { hang = true } },
    ["*"] = { status = 200, body = "ok" },
}

local BEFORE = [[
    local function use(name, fn) return { { [name] = fn } } end
    local function rot(piece) return piece:upper() end
    local json = rp.json

    -- What a reader tells of a body.
    local function read_all(req, opts, n)
        local reader, sizes, pieces = req:body_reader(opts), {}, {}
        while true do
            local piece, err = reader:read(n)
            if err then return { err = err, bytes = reader.bytes } end
            if not piece then break end
            sizes[#sizes + 1], pieces[#pieces + 1] = #piece, piece
        end
        local text = table.concat(pieces)
        return { bytes = reader.bytes, most = math.max(0, unpack(sizes)), n = #sizes,
            text = #text < 100 and text or nil, trailers = req.trailers }
    end

    local function countdown(n, piece, wait)
        return function()
            if wait then rp.sleep(wait) end
            n = n - 1
            if n >= 0 then return piece end
        end
    end
]]

local SITE = [[
    timeouts = { hook_wait = 0.5, body = 2 },
    upstreams = { o = rp.upstream { peers = { "127.0.0.1:${origin}" } } },
    limits = { body = math.huge },
    use = { { early = function(req)
        if req.path == "/given/early" then req:set_body("given") end
        if req.path == "/small/early" then req:body() end
    end } },
    hosts = { rp.host { default = true, routes = {
        rp.route { "/content", content = function(req) return req:exit(200, read_all(req)) end },
        rp.route { "/content/small", content = function(req)
            return req:exit(200, read_all(req, nil, 3)) end },
        rp.route { "/content/max", content = function(req)
            return req:exit(200, read_all(req, { max = 10 })) end },
        rp.route { "/content/limited", limits = { body = 10 }, content = function(req)
            return req:exit(200, read_all(req)) end },
        rp.route { "/content/waits", content = function(req)
            local n = 0
            for piece in req:body_reader():chunks() do rp.sleep(0.001) n = n + #piece end
            return req:exit(200, n) end },
        rp.route { "/content/twice", content = function(req)
            local body = req:body { max = 2^21 }
            local seen = read_all(req)
            seen.same = req:body { max = 2^21 } == body
            return req:exit(200, seen) end },
        rp.route { "/content/part", content = function(req)
            local _, err = req:body { max = 5 }
            local seen = read_all(req)
            seen.first = err
            return req:exit(200, seen) end },
        rp.route { "/content/half", content = function(req)
            local piece = req:body_reader():read(2)
            local _, err = req:body()
            return req:exit(200, { piece = piece, err = err }) end },
        rp.route { "/buffer", content = function(req)
            local buffer, err = req:body { as = "buffer", max = 2^21 }
            return req:exit(200, buffer and { n = #buffer, first = buffer:get(5) } or err) end },
        rp.route { "/lost", upstream = "o", use = use("access", function(req)
            assert(req:body_reader():read()) end) },
        rp.route { "/empty", upstream = "o", use = use("access", function(req)
            req.up:set("x-read", tostring(req:body_reader():read())) end) },
        rp.route { "/replaced", upstream = "o", use = use("rewrite", function(req)
            local n = 0
            for piece in req:body_reader():chunks() do n = n + #piece end
            req:set_body("it had " .. n) end) },
        rp.route { "/phases", upstream = "o", use = { { header_filter = function(req, res)
            local ok, why = pcall(function() return req:body_reader():read() end)
            res:set("x-why", why:gsub("^[^ ]* ", "")) end } } },

        rp.route { "/make", upstream = "o", use = use("rewrite", function(req)
            req:set_body(countdown(3, "piece.")) end) },
        rp.route { "/make/waits", upstream = "o", use = use("rewrite", function(req)
            req:set_body(countdown(3, "piece.", 0.001)) end) },
        rp.route { "/make/gathered", upstream = "o", buffer = { request = true },
            use = use("rewrite", function(req) req:set_body(countdown(3, "piece.", 0.001)) end) },
        rp.route { "/make/filtered", upstream = "o", use = { { rewrite = function(req)
            req:set_body(countdown(2, "piece.")) end,
            request_body = function(req, piece, last)
                rp.sleep(0.001)
                return piece:upper() .. (last and "!" or "") end } } },
        rp.route { "/make/from", upstream = "o", use = use("access", function(req)
            local reader = req:body_reader()
            req:set_body(function()
                local piece, err = reader:read()
                return piece and piece:upper(), err
            end) end) },
        rp.route { "/make/much", upstream = "o", use = use("rewrite", function(req)
            req:set_body(countdown(1600, ("x"):rep(65536))) end) },
        rp.route { "/make/fails", upstream = "o", use = use("rewrite", function(req)
            req:set_body(function() return nil, "no more" end) end) },
        rp.route { "/make/raises", upstream = "o", use = use("rewrite", function(req)
            req:set_body(function() error("oops") end) end) },
        rp.route { "/make/empty", upstream = "o", use = use("rewrite", function(req)
            req:set_body(function() return "" end) end) },
        rp.route { "/make/bad", upstream = "o", use = use("rewrite", function(req)
            req:set_body(function() return {} end) end) },
        rp.route { "/make/stuck", upstream = "o", use = use("rewrite", function(req)
            req:set_body(function() rp.sleep(60) end) end) },
        rp.route { "/make/seen", upstream = "o", use = use("rewrite", function(req)
            req:set_body(countdown(1, "x"))
            local body, err = req:body()
            req.up:set("x-err", err)
        end) },
        rp.route { "/make/again", upstream = "o", use = use("rewrite", function(req)
            req:set_body(countdown(1, "x"))
            req:set_body("text")
        end) },
        rp.route { "/early", upstream = "o", use = use("rewrite", function(req)
            req:set_body(countdown(1e9, ("x"):rep(65536), 0.001)) end) },

        rp.route { "/small/early", upstream = "o", limits = { body = 10 } },
        rp.route { "/form", content = function(req)
            local form, files = req:form { parts = 4 }
            if not form then return req:exit(400, files) end
            return req:exit(200, { form = form, files = files }) end },
        rp.route { "/form/stream", content = function(req)
            local seen = {}
            local ok, err = req:form { parts = 4, max = 2^21, on = {
                part = function(part) seen[#seen + 1] = { part.name, 0 } end,
                data = function(bytes) seen[#seen][2] = seen[#seen][2] + #bytes end } }
            return req:exit(ok and 200 or 400, ok and seen or err) end },
        rp.route { "/trailers", upstream = "o", use = { { access = function(req)
            assert(req.trailers == nil)
            req:body()
            req.up:set("x-trailer", json.encode(req.trailers)) end } } },
        rp.route { "/trailers/filter", upstream = "o", use = { {
            request_body = function(req, piece, last)
                if last then req.ctx.trailers = req.trailers end end,
            header_filter = function(req, res)
                res:set("x-trailer", json.encode(req.ctx.trailers)) end } } },
        rp.route { "/*", upstream = "o" },
    } } },
]]

describe("request bodies piece by piece:", function()
    local up, rp

    setup(function() rp, up = e2e.pair(ROUTES, { site = SITE, before = BEFORE }) end)
    teardown(function() e2e.stop(rp) end)
    after_each(wire.close_all)

    local function post(target, body, fields)
        return http.get(rp.port, { method = "POST", target = target, body = body, fields = fields })
    end

    local function seen(res)
        assert.equal(200, res.status, res.body)
        return cjson.decode(res.body)
    end

    local function told(target, body) return seen(post(target, body)) end

    local function sent(target, body)
        assert.equal(200, post(target, body).status)
        return e2e.last(up)
    end

    local function begin(target, fields) return http.begin_post(rp.port, target, fields) end

    -- ------------------------------------------------------------ readers

    describe("readers", function()
        it("give all of it, in pieces of 64 KB at most", function()
            assert.equal("hello", told("/content", "hello").text)
            local got = told("/content", BIG)
            assert.equal(#BIG, got.bytes)
            assert.is_true(got.most <= 65536)
        end)

        it("give pieces as small as asked for", function()
            local got = told("/content/small", "hello world")
            assert.equal("hello world", got.text)
            assert.equal(3, got.most)
        end)

        it("wait for clients that take their time, and hook_wait does not count it", function()
            local w = begin("/content")
            for _ = 1, 7 do -- longer than hook_wait in all
                w:send("3\r\nabc\r\n")
                posix.poll(function() return false end, 0.1)
            end
            w:send("0\r\n\r\n")
            assert.equal(("abc"):rep(7), seen(http.read(w)).text)
        end)

        it("let the hook wait between pieces", function()
            assert.equal(tostring(#BIG), post("/content/waits", BIG).body)
        end)

        it("ask clients for the body that wait for that", function()
            local w = wire.connect(rp.port)
            w:send(http.format { method = "POST", target = "/content", fields = {
                ["Content-Length"] = "5", Expect = "100-continue" } })
            assert.equal(100, http.read(w, { until_final = false }).status)
            w:send("hello")
            assert.equal("hello", seen(http.read(w)).text)
        end)

        it("end at once where there is no body", function()
            assert.equal(0, seen(http.get(rp.port, "/content")).bytes)
            http.get(rp.port, "/empty")
            assert.equal("nil", e2e.field(e2e.last(up), "x-read"))
            assert.equal("none", e2e.last(up).framing)
        end)

        it("stop at their limit, and at the route's", function()
            assert.equal("0123456789", told("/content/max", "0123456789").text)
            assert.equal("too large", told("/content/max", "0123456789a").err)
            local w = begin("/content/max")
            w:send("6\r\n012345\r\n6\r\n012345\r\n0\r\n\r\n")
            assert.equal("too large", seen(http.read(w)).err)
            w = begin("/content/limited")
            w:send("6\r\n012345\r\n6\r\n012345\r\n0\r\n\r\n")
            assert.equal("too large", seen(http.read(w)).err)
        end)

        it("go over a body again that was read whole", function()
            local got = told("/content/twice", "hello")
            assert.equal("hello", got.text)
            assert.is_true(got.same)
            assert.equal(#BIG, told("/content/twice", BIG).bytes)
        end)

        it("go on where req:body gave up, which is not possible the other way round", function()
            local w = begin("/content/part")
            w:send("6\r\n012345\r\n6\r\n678901\r\n0\r\n\r\n")
            local got = seen(http.read(w))
            assert.equal("012345678901", got.text)
            assert.equal("too large", got.first)
            got = told("/content/half", "hello")
            assert.equal("he", got.piece)
            assert.equal("consumed", got.err)
        end)

        it("leave nothing to send: another body is wanted, or the request fails", function()
            local mark = #rp:stderr()
            assert.equal(500, post("/lost", "hello").status)
            assert.equal(1, #e2e.log_since(rp, mark, "consumed the request body"))
            assert.equal("it had 5", sent("/replaced", "hello").body)
        end)

        it("are for the hooks before the upstream", function()
            assert.matches("piece by piece in access, rewrite", post("/phases", "a"):header("x-why"))
        end)

        it("end with their client", function()
            local w = begin("/content")
            w:send("3\r\nabc\r\n")
            w:reset()
            assert.equal("hello", told("/content", "hello").text)
        end)

        it("end with timeouts.body", function()
            local w = begin("/content")
            w:send("3\r\nabc\r\n")
            assert.equal(408, http.read(w).status)
        end)
    end)

    it("bodies come as buffers", function()
        assert.same({ n = 5, first = "hello" }, told("/buffer", "hello"))
        assert.equal(#BIG, told("/buffer", BIG).n)
    end)

    -- ------------------------------------------------------------ functions that make bodies

    describe("functions that make bodies", function()
        local MADE = ("piece."):rep(3)

        it("are asked as the upstream takes it", function()
            local got = sent("/make", "the client's own")
            assert.equal(MADE, got.body)
            assert.equal("chunked", got.framing)
            assert.equal(MADE, sent("/make/waits", BIG).body)
            http.get(rp.port, "/make")
            assert.equal(MADE, e2e.last(up).body)
        end)

        it("give a gathered body its length", function()
            local got = sent("/make/gathered", "x")
            assert.equal(MADE, got.body)
            assert.equal("length", got.framing)
        end)

        it("pass request_body hooks", function()
            assert.equal("PIECE.PIECE.!", sent("/make/filtered", "x").body)
        end)

        it("may read the client's body", function()
            assert.equal("HELLO", sent("/make/from", "hello").body)
            assert.equal(origin.sum(BIG:upper()), sent("/make/from", BIG).body_sum)
            local w = begin("/make/from")
            w:send("3\r\nabc\r\n")
            posix.poll(function() return false end, 0.6) -- longer than hook_wait
            w:send("3\r\ndef\r\n0\r\n\r\n")
            assert.equal(200, http.read(w).status)
            assert.equal("ABCDEF", e2e.last(up).body)
        end)

        it("make 100 MB in bounded memory", function()
            local before = e2e.rss(rp)
            assert.equal(1600 * 65536, sent("/make/much", "x").body_len)
            if not e2e.is_debug then assert.is_true(e2e.rss(rp) - before < 40000) end
        end)

        it("that fail are an error of their hook", function()
            local mark = #rp:stderr()
            for _, target in ipairs { "fails", "raises", "bad", "stuck", "empty" } do
                assert.equal(500, post("/make/" .. target, "x").status, target)
            end
            for _, words in ipairs { "no more", "oops", "returned no string", "only empty" } do
                assert.equal(1, #e2e.log_since(rp, mark, words), words)
            end
        end)

        it("are what goes up, whatever the client sent", function()
            sent("/make/seen", "x")
            assert.equal("consumed", e2e.field(e2e.last(up), "x-err"))
            assert.equal("text", sent("/make/again", "x").body)
        end)

        it("stand alone when early hooks gave them", function()
            protocol.only("h1 client", "a body that comes late")
            local n, w = #up:requests(), wire.connect(rp.port)
            w:send("POST /given/early HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n")
            up:wait_requests(n + 1)
            w:send("SMUGGLEDXX")
            up:open_gate("given")
            assert.equal(200, http.read(w).status)
            assert.equal("given", e2e.last(up).body)
        end)

        it("have the route's limit when early hooks read them", function()
            local function status(n)
                local w = begin("/small/early")
                w:send(("%x\r\n%s\r\n0\r\n\r\n"):format(n, ("x"):rep(n)))
                return http.read(w).status
            end
            assert.equal(200, status(10))
            assert.equal(10, e2e.last(up).body_len)
            assert.equal(413, status(11))
        end)

        it("end with an upstream that answers before", function()
            assert.equal(413, post("/early", "x").status)
        end)
    end)

    -- ------------------------------------------------------------ forms

    describe("forms", function()
        local BOUNDARY = "X-BOUND"
        local KIND = { ["Content-Type"] = "multipart/form-data; boundary=" .. BOUNDARY }
        local URLENCODED = { ["Content-Type"] = "application/x-www-form-urlencoded" }

        local function part(name, body, filename)
            return ('--%s\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n'):format(
                BOUNDARY, name, filename and ('; filename="%s"'):format(filename) or "", body)
        end

        local function parts(...)
            return table.concat({ ... }) .. "--" .. BOUNDARY .. "--\r\n"
        end

        it("are fields", function()
            local got = seen(post("/form", "a=1+2&b=%41&a=3", URLENCODED))
            assert.same({ a = "1 2", b = "A" }, got.form)
            assert.same({}, got.files)
            assert.equal("too many", post("/form", "a&b&c&d&e", URLENCODED).body)
        end)

        it("are fields and files", function()
            local got = seen(post("/form", parts(part("a", "1"), part("f", "bytes", "x.txt"),
                part("a", "2")), KIND))
            assert.same({ a = "1" }, got.form)
            assert.same({ name = "f", filename = "x.txt", body = "bytes" }, got.files.f)
            assert.equal("too many", post("/form", parts(part("a", ""), part("b", ""),
                part("c", ""), part("d", ""), part("e", "")), KIND).body)
            assert.equal("invalid", post("/form", part("a", "1"), KIND).body)
        end)

        it("come in pieces", function()
            assert.same({ { "a", 1 }, { "f", #BIG } }, seen(post("/form/stream",
                parts(part("a", "1"), part("f", BIG, "x")), KIND)))
            assert.equal("invalid", post("/form/stream", part("a", "1"), KIND).body)
            assert.equal("too large", post("/form/stream",
                parts(part("f", BIG:rep(3), "x")), KIND).body)
        end)

        it("are told from what is none", function()
            assert.equal("not a form", post("/form", "a=1").body)
            assert.equal("not a form", post("/form/stream", "a=1", URLENCODED).body)
            assert.equal("not a form", post("/form", "a=1", {
                ["Content-Type"] = "application/x-www-form-urlencoded-not" }).body)
        end)
    end)

    -- ------------------------------------------------------------ trailers

    it("trailers are known with the end of the body", function()
        local w = begin("/trailers", { Trailer = "x-sum" })
        w:send("3\r\nabc\r\n0\r\nX-Sum: 1\r\nX-Sum: 2\r\n\r\n")
        assert.equal(200, http.read(w).status)
        assert.equal('{"x-sum":"1, 2"}', e2e.field(e2e.last(up), "x-trailer"))
        w = begin("/trailers/filter", { Trailer = "x-sum" })
        w:send("3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n")
        assert.equal('{"x-sum":"1"}', http.read(w):header("x-trailer"))
        w = begin("/content", { Trailer = "x-sum" })
        w:send("3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n")
        assert.same({ ["x-sum"] = "1" }, seen(http.read(w)).trailers)
    end)
end)

describe("a body that nobody takes", function()
    it("is not read before it is asked for", function()
        protocol.only("h1 client", "sockets that are not read")
        local rp = e2e.proxy { before = BEFORE, site = [[
            limits = { body = math.huge },
            hosts = { rp.host { default = true, routes = {
                rp.route { "/*", content = function(req)
                    req:body_reader():read()
                    rp.sleep(20)
                end } } } } ]] }
        local w = wire.connect(rp.port)
        w:send(http.format { method = "POST", target = "/", fields = {
            ["Content-Length"] = ("%d"):format(2 ^ 30) } })
        local piece, total = ("x"):rep(2 ^ 16), 0
        e2e.settled(function()
            total = total + (w:push(piece) or 0)
            return total
        end)
        assert.is_true(total < 32 * 2 ^ 20, total)
        wire.close_all()
        e2e.stop(rp)
    end)
end)
