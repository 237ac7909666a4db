-- SPDX-License-Identifier: MIT
--
-- Whole bodies of responses in hooks (res:body, res:set_body, res:buffer), trailers and times.

local e2e = require("spec.support.e2e")
local http = require("spec.support.http")
local origin = require("spec.support.origin")
local protocol = require("spec.support.protocol")
local wire = require("spec.support.wire")

local BIG = ("The quick brown fox. "):rep(20000) -- 420 KB

local function chunked(body, trailers)
    return "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nETag: \"abc\"\r\n\r\n"
        .. ("%x\r\n%s\r\n0\r\n%s\r\n"):format(#body, body, trailers or "")
end

local FIELDS = { ["ETag"] = '"abc"', ["Content-MD5"] = "x", ["Digest"] = "x", ["Accept-Ranges"] = "bytes",
    ["Repr-Digest"] = "x", ["Last-Modified"] = "Sun, 06 Nov 1994 08:49:37 GMT",
    ["Content-Type"] = "text/plain" }

local ROUTES = {
    ["/chunked"] = { { send = chunked("hello ") } },
    ["/trailers"] = { { send = chunked("hello ", "X-Sum: 1\r\nX-Other: 2\r\n") } },
    ["/json"] = { status = 200, body = '{"a":[1,2]}' },
    ["/big"] = { status = 200, body = BIG, fields = FIELDS },
    ["/big-chunked"] = { status = 200, body = BIG, chunked = 50021 },
    ["/slow"] = { { send = "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\none " }, { gate = "slow" },
        { send = "two " } },
    ["/cut"] = { { send = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi" }, { close = true } },
    ["/stuck"] = { { send = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi" }, { hang = true } },
    ["/part"] = { status = 206, body = "ell", fields = { ["Content-Range"] = "bytes 1-3/5" } },
    ["/304"] = { status = 304 },
    ["/early"] = { { send = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello" }, early = true },
    ["/as-it-reads"] = { { send = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nread" },
        { body = true }, { send = " all." }, early = true },
    ["/answered"] = { { send = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nread" },
        { gate = "answered" }, { send = " all." }, early = true },
    ["/close"] = { { send = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello " }, { close = true } },
    ["/ws"] = { { send = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n"
        .. "Upgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\nraw bytes" },
        { hang = true } },
    ["*"] = { status = 200, body = "hello ", fields = FIELDS },
}

local BEFORE = [==[
    local function route(pattern, hooks, options)
        local made = options or {}
        made[1], made.upstream, made.use = pattern, made.upstream or "o", { hooks }
        return rp.route(made)
    end
    local function whole(max)
        return function(req, res)
            local body, err = res:body { max = max }
            res:set("x-body", body and tostring(#body) or err)
        end
    end
    local function count(req, res, piece, last)
        req.ctx.calls = (req.ctx.calls or 0) + 1
        if last then return piece .. "<" .. (req.ctx.calls == 1 and "once" or "pieces") .. ">" end
    end
    local function buffer(max)
        return { header_filter = function(req, res) res:buffer { max = max } end,
            body_filter = count }
    end
    local function try(fn, ...)
        local ok, err = pcall(fn, ...)
        return ok and "fine" or (err:gsub("^.-: ", ""))
    end
    local function shown(t)
        local list = {}
        for name, value in pairs(t or {}) do list[#list + 1] = name .. "=" .. value end
        table.sort(list)
        return table.concat(list, ",")
    end
]==]

local SITE = [==[
    http2 = { on = true },
    upstreams = { o = rp.upstream { peers = { "127.0.0.1:${origin}" } },
        short = rp.upstream { peers = { "127.0.0.1:${origin}" }, timeouts = { idle = 0.2 } } },
    hosts = { rp.host { default = true, routes = {
        route("/body/{n}/*", { header_filter = function(req, res)
            return whole(tonumber(req.params.n))(req, res)
        end }),
        route("/json", { header_filter = function(req, res)
            local value = assert(res:json {})
            res:set("x-a", #value.a)
        end }),
        route("/bad-json/*", { header_filter = function(req, res)
            local value, err = res:json {}
            res:set("x-err", value == nil and err and "failed" or "read")
        end }),
        route("/set/*", { header_filter = function(req, res)
            local body, err = res:body()
            res:set_body(body:upper() .. "WORLD")
        end }),
        route("/set-table/*", { header_filter = function(req, res)
            res:set("content-type", "application/json")
            res:set_body { from = req.path }
        end }),
        route("/unread/*", { header_filter = function(req, res) res:set_body("other") end }),
        route("/part", { header_filter = function(req, res)
            res:set("x-err", try(res.set_body, res, "x"))
        end }),
        route("/replace/*", { header_filter = function(req, res)
            if res:body():find("hello", 1, true) then return res:replace(451, "not this") end
        end }),
        route("/replace-then-read/*", { header_filter = function(req, res)
            res:replace(451, "not this")
            res:set("x-body", tostring(res:body()))
        end }),
        route("/answered", { request_body = function(req, piece)
            if piece:find("evil") then return req:exit(403, "caught") end
        end, header_filter = function(req, res)
            rp.log.info("gathering")
            res:set("x-body", tostring(res:body()))
        end }),
        route("/none/*", { header_filter = function(req, res) res.status = 204 end }),
        route("/cut", { header_filter = function(req, res)
            local body, err = res:body()
            res:set("x-err", tostring(err))
        end }),
        route("/stuck", { header_filter = function(req, res) res:buffer {} end,
            body_filter = count }, { upstream = "short" }),
        route("/early", { header_filter = whole(100) }),
        route("/once/*", buffer(1000)),
        route("/onces/*", buffer(10 * 2^20)),
        route("/once-same/*", { header_filter = function(req, res) res:buffer {} end,
            body_filter = function(req, res, body) rp.sleep(0.001) return body end }),
        route("/once-nil/*", { header_filter = function(req, res) res:buffer {} end,
            body_filter = function() end }),
        route("/once-raise/*", { header_filter = function(req, res) res:buffer {} end,
            body_filter = function(req) error("on purpose") end }),
        route("/once-cut/*", buffer(1000)),
        rp.route { "/once-made", content = function(req) return req:exit(200, "made") end,
            use = { buffer(1000) } },
        rp.route { "/once-written", content = function(req)
            local out = req:respond(200)
            out:write("a")
            rp.sleep(0.002)
            out:write("b")
        end, use = { buffer(1000), { header_filter = function(req, res)
            res:set("x-body", tostring(select(2, res:body())))
        end } } },
        route("/late/*", { body_filter = function(req, res, piece, last)
            if last then
                return table.concat({ piece, try(res.body, res), try(res.set_body, res, "x"),
                    try(res.buffer, res) }, "\n")
            end
        end }),
        route("/trailers", { body_filter = function(req, res, piece, last)
            if not last then return end
            local before = shown(res.trailers)
            res:trailer("x-sum", "new")
            res:trailer("x-other", nil)
            res:trailer("x-n", 7)
            return piece .. before
        end, log = function(req, res) rp.log.info("ended", { trailers = shown(res.trailers) }) end }),
        route("/head-trailer/*", { header_filter = function(req, res)
            res:trailer("x-early", "yes")
        end }),
        route("/bad-trailer/*", { header_filter = function(req, res)
            res:set("x-1", try(res.trailer, res, "content-length", "1"))
            res:set("x-2", try(res.trailer, res, "x-a", "a\r\nb"))
            res:set("x-3", try(res.trailer, res, "x a", "a"))
        end }),
        route("/times/*", { header_filter = function(req, res)
            local t = res.timings
            res:set("x-times", shown { queue = t.queue >= 0, connect = t.connect == nil or t.connect >= 0,
                wait = t.wait >= 0, total = t.total > 0, receive = tostring(t.receive) })
        end, log = function(req, res)
            rp.log.info("times", { ok = tostring(res.timings.receive >= 0) })
        end }),
        rp.route { "/*", upstream = "o" },
    } } } ]==]

BEFORE = BEFORE:gsub("name %.%. \"=\" %.%. value", 'name .. "=" .. tostring(value)')

describe("bodies of responses", function()
    local rp, up

    setup(function()
        local all = {}
        for path, route in pairs(ROUTES) do
            all[path] = route
            if path ~= "*" then
                for _, prefix in ipairs { "once", "onces", "once-same", "once-nil", "once-raise", "late",
                    "once-cut", "set", "unread", "times", "replace", "head-trailer", "set-table",
                    "body/1000", "body/1000000" } do
                    all["/" .. prefix .. path] = route
                end
            end
        end
        rp, up = e2e.pair(all, { before = BEFORE, site = SITE })
    end)
    teardown(function() e2e.stop(rp) end)
    after_each(wire.close_all)

    local function trailed(target)
        local w = wire.connect(rp.port)
        w:send("GET " .. target .. " HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: te\r\n\r\n")
        return http.read(w)
    end

    describe("as a whole in header_filter", function()
        it("are read, and sent on unchanged", function()
            local res = http.get(rp.port, "/body/1000/x")
            assert.equal("6", res:header("x-body"))
            assert.equal("hello ", res.body)
            assert.equal("6", res:header("content-length"))
            assert.equal('"abc"', res:header("etag"))
        end)

        it("have a length then, however they came", function()
            for _, path in ipairs { "/chunked", "/close" } do
                local res = http.get(rp.port, "/body/1000" .. path)
                assert.equal("6", res:header("x-body"))
                assert.equal("6", res:header("content-length"))
                assert.equal("hello ", res.body)
            end
        end)

        it("that are too large go on as if nobody had asked", function()
            for _, path in ipairs { "/big", "/big-chunked" } do
                local res = http.get(rp.port, "/body/1000" .. path)
                assert.equal("too large", res:header("x-body"))
                assert.is_true(res.body == BIG)
            end
            assert.equal(tostring(#BIG), http.get(rp.port, "/body/1000/big"):header("content-length"))
        end)

        it("may be large", function()
            local res = http.get(rp.port, "/body/1000000/big-chunked")
            assert.equal(tostring(#BIG), res:header("x-body"))
            assert.is_true(res.body == BIG)
        end)

        it("are waited for", function()
            local w = wire.connect(rp.port)
            w:send("GET /body/1000/slow HTTP/1.1\r\nHost: a\r\n\r\n")
            assert.equal("", (w:recv_some()))
            up:open_gate("slow")
            local res = http.read(w)
            assert.equal("8", res:header("x-body"))
            assert.equal("one two ", res.body)
        end)

        it("may be JSON", function()
            assert.equal("2", http.get(rp.port, "/json"):header("x-a"))
            local res = http.get(rp.port, "/bad-json/x")
            assert.equal("failed", res:header("x-err"))
            assert.equal("hello ", res.body)
        end)

        it("keep their trailers", function()
            local res = trailed("/body/1000/trailers")
            assert.equal("6", res:header("x-body"))
            assert.equal("hello ", res.body)
            assert.same({ "1" }, e2e.values(res.trailers, "x-sum"))
        end)

        it("tell why they did not come; what came is sent on, and broken off", function()
            local w = wire.connect(rp.port)
            w:send("GET /cut HTTP/1.1\r\nHost: a\r\n\r\n")
            local bytes = w:recv_all()
            assert.truthy(bytes:lower():find("x%-err: [%l ]*upstream"), bytes)
            if not protocol.has_h2 then assert.equal("\r\n\r\nhi", bytes:sub(-6)) end
        end)

        it("of an upstream that answers before it has the request", function()
            protocol.only("h1 client", "half of a body")
            local w = wire.connect(rp.port)
            w:send("POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc")
            local res = http.read(w)
            assert.equal("5", res:header("x-body"))
            assert.equal("hello", res.body)
            assert.is_true(w:is_closed(10))
        end)

        it("of an upstream that goes on when it has read the request", function()
            local big = ("x"):rep(2 * 2^20)
            for prefix, text in pairs { ["/body/1000"] = "read all.", ["/once"] = "read all.<once>",
                ["/set"] = "READ ALL.WORLD" } do
                local res = http.request(wire.connect(rp.port), { method = "POST",
                    target = prefix .. "/as-it-reads", body = big })
                assert.equal(text, res.body)
            end
            assert.equal(#big, e2e.last(up).body_len)
        end)

        it("may be the reason for another response", function()
            local res = http.get(rp.port, "/replace/x")
            assert.equal(451, res.status)
            assert.equal("not this", res.body)
        end)

        it("are those of the response that replaced the upstream's", function()
            local res = http.get(rp.port, "/replace-then-read/x")
            assert.equal(451, res.status)
            assert.equal("not this", res:header("x-body"))
            assert.equal("not this", res.body)
        end)

        it("are those of a request_body hook that answers meanwhile", function()
            protocol.only("h1 client", "half of a body")
            local w = wire.connect(rp.port)
            w:send("POST /answered HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabcde")
            rp:wait_stderr("gathering")
            w:send("evil!")
            local res = http.read(w)
            assert.equal(403, res.status)
            assert.equal("caught", res:header("x-body"))
            assert.equal("caught", res.body)
            up:open_gate("answered")
        end)
    end)

    describe("that header_filter replaces", function()
        it("have the right length, and validators that fit", function()
            local res = http.get(rp.port, "/set/x")
            assert.equal("HELLO WORLD", res.body)
            assert.equal("11", res:header("content-length"))
            assert.equal('W/"abc"', res:header("etag"))
            assert.equal("text/plain", res:header("content-type"))
            assert.equal("Sun, 06 Nov 1994 08:49:37 GMT", res:header("last-modified"))
            for _, name in ipairs { "content-md5", "digest", "repr-digest", "accept-ranges" } do
                assert.is_nil(res:header(name), name)
            end
        end)

        it("may not have been read", function()
            for _, path in ipairs { "/x", "/big", "/big-chunked", "/trailers", "/slow" } do
                assert.equal("other", http.get(rp.port, "/unread" .. path).body)
            end
            up:open_gate("slow")
        end)

        it("may be tables", function()
            local res = http.get(rp.port, "/set-table/x")
            assert.equal('{"from":"/set-table/x"}', res.body)
            assert.equal("application/json", res:header("content-type"))
        end)

        it("answer HEAD with their length", function()
            local w = wire.connect(rp.port)
            w:send("HEAD /unread/x HTTP/1.1\r\nHost: a\r\n\r\n")
            local res = http.read(w, { method = "HEAD" })
            assert.equal("5", res:header("content-length"))
        end)

        it("are no parts", function()
            local res = http.get(rp.port, "/part")
            assert.truthy(res:header("x-err"):find("206 is a part", 1, true))
            assert.equal("ell", res.body)
        end)
    end)

    it("that a hook takes away have no length, to HEAD neither", function()
        for _, method in ipairs { "GET", "HEAD" } do
            local res = http.request(wire.connect(rp.port), { method = method, target = "/none/x" })
            assert.equal(204, res.status)
            assert.is_nil(res:header("content-length"))
            assert.is_nil(res:header("transfer-encoding"))
        end
    end)

    describe("that body_filter sees at once", function()
        it("have a length", function()
            for _, path in ipairs { "/x", "/chunked", "/close" } do
                local res = http.get(rp.port, "/once" .. path)
                assert.equal("hello <once>", res.body)
                assert.equal("12", res:header("content-length"))
            end
            assert.equal('W/"abc"', http.get(rp.port, "/once/x"):header("etag"))
        end)

        it("may be made by hooks", function()
            local res = http.get(rp.port, "/once-made")
            assert.equal("made<once>", res.body)
            assert.equal("10", res:header("content-length"))
        end)

        it("are seen in pieces when they are larger", function()
            for _, path in ipairs { "/big", "/big-chunked" } do
                assert.is_true(http.get(rp.port, "/once" .. path).body == BIG .. "<pieces>")
                assert.is_true(http.get(rp.port, "/onces" .. path).body == BIG .. "<once>")
            end
        end)

        it("keep their validators when nothing was changed", function()
            local res = http.get(rp.port, "/once-nil/x")
            assert.equal("hello ", res.body)
            assert.equal('"abc"', res:header("etag"))
            assert.equal("x", res:header("content-md5"))
            assert.equal("hello ", http.get(rp.port, "/once-same/x").body)
        end)

        it("keep their trailers", function()
            local res = trailed("/once/trailers")
            assert.equal("hello <once>", res.body)
            assert.same({ "1" }, e2e.values(res.trailers, "x-sum"))
            assert.equal("12", http.get(rp.port, "/once/trailers"):header("content-length"))
        end)

        it("are a 500 when it raises", function()
            local res = http.get(rp.port, "/once-raise/x")
            assert.equal(500, res.status)
            assert.is_nil(res:header("etag"))
        end)

        it("are a 502 when they broke off, a 504 when they do not come", function()
            assert.equal(502, http.get(rp.port, "/once-cut/cut").status)
            assert.equal(504, http.get(rp.port, "/stuck").status)
        end)

        it("are not those that a hook is writing", function()
            local res = http.get(rp.port, "/once-written")
            assert.equal("ab<pieces>", res.body)
            assert.equal("streamed", res:header("x-body"))
        end)

        it("have to be asked for in header_filter", function()
            local lines = {}
            for line in http.get(rp.port, "/late/x").body:gmatch("[^\n]+") do lines[#lines + 1] = line end
            for i = 2, 4 do assert.truthy(lines[i]:find("header_filter", 1, true), lines[i]) end
        end)
    end)

    describe("have trailers", function()
        it("that hooks read, set and remove", function()
            local res = trailed("/trailers")
            assert.equal("hello x-other=2,x-sum=1", res.body)
            assert.same({ "new" }, e2e.values(res.trailers, "x-sum"))
            assert.same({ "7" }, e2e.values(res.trailers, "x-n"))
            assert.same({}, e2e.values(res.trailers, "x-other"))
            rp:wait_stderr("ended[^\n]*x%-n=7,x%-sum=new")
        end)

        it("also where the upstream said a length", function()
            local res = trailed("/head-trailer/x")
            assert.equal("hello ", res.body)
            assert.same({ "yes" }, e2e.values(res.trailers, "x-early"))
            res = http.get(rp.port, "/head-trailer/x")
            assert.equal("6", res:header("content-length"))
        end)

        it("that do not frame", function()
            local res = http.get(rp.port, "/bad-trailer/x")
            assert.truthy(res:header("x-1"):find("cannot be a trailer", 1, true))
            assert.truthy(res:header("x-2"):find("do not belong there", 1, true))
            assert.truthy(res:header("x-3"):find("do not belong there", 1, true))
        end)
    end)

    it("of tunnels are none", function()
        protocol.only("h1 client", "Upgrade")
        protocol.only("h1 upstream", "Upgrade")
        local w = wire.connect(rp.port)
        w:send("GET /body/1000/ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            .. "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
        local head = e2e.head(w)
        assert.truthy(head:find("^HTTP/1%.1 101 "))
        assert.truthy(head:lower():find("x-body: tunnel", 1, true), head)
        w:recv_until("raw bytes")
    end)

    it("tell where the time went", function()
        local res = http.get(rp.port, "/times/x")
        assert.equal("connect=true,queue=true,receive=nil,total=true,wait=true", res:header("x-times"))
        rp:wait_stderr("times[^\n]*ok=true")
    end)

    it("leave the upstream's connection usable when they were read whole", function()
        local before = #up:connections()
        for _ = 1, 4 do http.get(rp.port, "/body/1000/x") end
        assert.is_true(#up:connections() <= before + 1)
        assert.equal(origin.sum("hello "), origin.sum(http.get(rp.port, "/once-nil/y").body))
    end)
end)
