-- SPDX-License-Identifier: MIT
--
-- Responses that hooks write piece by piece (req:respond) while their client takes them.

local e2e = require("spec.support.e2e")
local http = require("spec.support.http")
local posix = require("spec.support.posix")
local protocol = require("spec.support.protocol")
local wire = require("spec.support.wire")

local BEFORE = [==[
    local MB = ("0123456789abcdef"):rep(65536)
    local seen = {}
    local function note(what) seen[what] = (seen[what] or 0) + 1 end
    local gates = {}
    local function gate(name)
        while not gates[name] do rp.sleep(0.002) end
    end
    local function hook(name, fn) return { [name] = fn } end
    local function content(pattern, fn, use)
        return rp.route { pattern, content = fn, use = use }
    end
    local function upper(req, res, piece) return piece:upper() end
]==]

local SITE = [==[
    http2 = { on = true },
    timeouts = { hook_wait = 30, drain = 30 },
    hosts = { rp.host { default = true, use = { { log = function(req, res)
            rp.log.info("ended", { path = req.path, bytes = res.bytes, status = res.status })
        end } }, routes = {
        content("/seen/{what}", function(req)
            return req:exit(200, tostring(seen[req.params.what] or 0))
        end),
        content("/open/{name}", function(req)
            gates[req.params.name] = true
            return req:exit(200)
        end),
        content("/pieces", function(req)
            local out = req:respond(200, { ["content-type"] = "text/x", ["x-list"] = { "a", "b" } })
            for i = 1, 3 do
                assert(out:write("piece " .. i .. "\n"))
                rp.sleep(0.002)
            end
        end),
        content("/at-once", function(req)
            local out = req:respond(200)
            out:write { "a", "b" }
            out:write(12)
            return out:close()
        end),
        content("/closed-meanwhile", function(req)
            local out = req:respond(200)
            out:write("abc")
            rp.spawn(function()
                while not req.ctx.filtering do rp.sleep(0.002) end
                out:close()
                req.ctx.closed = true
            end)
            rp.sleep(20)
        end, { { body_filter = function(req, res, piece, last)
            req.ctx.filtering = true
            while not req.ctx.closed do rp.sleep(0.002) end
            req.ctx.kept = (req.ctx.kept or "") .. piece
            return last and "<" .. req.ctx.kept .. ">" or ""
        end } }),
        content("/nothing", function(req) req:respond(201) end),
        content("/length", function(req)
            local out = req:respond(200, nil, { length = 6 })
            out:write("abc")
            rp.sleep(0.002)
            out:write("def")
        end),
        content("/length/short", function(req)
            local out = req:respond(200, nil, { length = 6 })
            out:write("abc")
            rp.sleep(0.002)
        end),
        content("/length/short/at-once", function(req)
            local out = req:respond(200, nil, { length = 6 })
            out:write("abc")
        end),
        content("/length/long", function(req)
            local out = req:respond(200, nil, { length = 6 })
            local ok, err = pcall(out.write, out, "abcdefg")
            out:write(ok and "......" or err:find("length announced", 1, true) and "raised" or err)
        end),
        content("/gated", function(req)
            local out = req:respond(200)
            out:write("first\n")
            gate("gated")
            out:write("second\n")
        end),
        content("/flush", function(req)
            local out = req:respond(200)
            out:write("first\n")
            assert(out:flush())
            note("flushed")
            gate("flush")
            out:write("second\n")
        end),
        content("/slow", function(req)
            local out = req:respond(200)
            for i = 1, 64 do
                assert(out:write(MB))
                note("slow")
            end
            out:write("end")
        end),
        content("/endless", function(req)
            local out = req:respond(200)
            note("begun")
            local n = 0
            while true do
                local ok, err = out:write(MB)
                if not ok then note(err) return end
                n = n + 1
            end
        end),
        content("/waits", function(req)
            local out = req:respond(200)
            out:write("x")
            note("waiting")
            rp.sleep(600)
        end),
        content("/raise", function(req)
            local out = req:respond(200)
            out:write("some")
            rp.sleep(0.002)
            error("on purpose")
        end),
        content("/raise/at-once", function(req)
            local out = req:respond(200)
            out:write("some")
            error("on purpose")
        end),
        content("/raise/after-many", function(req)
            local out = req:respond(200)
            for _ = 1, 3 do out:write(MB) end
            out:write("the end")
            error("on purpose")
        end),
        content("/closed", function(req)
            local out = req:respond(200)
            out:write("x")
            out:close()
            local ok, err = out:write("y")
            note("after close: " .. tostring(ok) .. " " .. tostring(err) .. " " .. tostring(out.open))
            rp.sleep(600)
        end),
        content("/exit-after", function(req)
            local out = req:respond(200)
            out:write("x")
            rp.sleep(0.002)
            local ok, err = pcall(req.exit, req, 500)
            out:write(ok and "bad" or " too late")
        end),
        content("/exit-before", function(req)
            local out = req:respond(200, { ["x-a"] = "1" })
            out:write("x")
            return req:exit(202, "other")
        end),
        content("/twice", function(req)
            req:respond(200, { ["x-a"] = "1" }):write("first")
            local out = req:respond(203, { ["x-b"] = "1" })
            out:write("second")
        end),
        content("/children", function(req)
            local out = req:respond(200)
            rp.all { function() rp.sleep(0.002) return out:write("b") end,
                function() return out:write("a") end }
            out:write("c")
        end),
        content("/filtered", function(req)
            local out = req:respond(200)
            out:write("abc ")
            rp.sleep(0.002)
            out:write("def")
        end, { { header_filter = function(req, res)
                    rp.sleep(0.002)
                    res:set("x-from", res.from)
                    res.status = 203
                end,
                body_filter = function(req, res, piece, last)
                    rp.sleep(0.001)
                    return piece:upper() .. (last and "!" or "")
                end } }),
        content("/replaced", function(req)
            local out = req:respond(200)
            out:write("never")
            rp.sleep(600)
        end, { hook("header_filter", function(req, res) return res:replace(410, "gone") end) }),
        content("/filter-raises", function(req)
            local out = req:respond(200)
            out:write("never")
            rp.sleep(600)
        end, { hook("header_filter", function(req, res) error("on purpose") end) }),
        content("/trailers", function(req)
            local out = req:respond(200)
            out:write("body")
            rp.sleep(0.002)
            return out:close { ["x-sum"] = "abc", etag = '"1"' }
        end),
        content("/trailers/at-once", function(req)
            local out = req:respond(200)
            out:write("body")
            return out:close { ["x-sum"] = "abc" }
        end),
        content("/trailers/bad", function(req)
            local out = req:respond(200)
            local ok, err = pcall(out.close, out, { ["content-length"] = "3" })
            out:write(ok and "bad" or err:match(": (.*)"))
        end),
        content("/status/{n}", function(req)
            local out = req:respond(tonumber(req.params.n))
            local ok, err = out:write("body")
            note("bodiless " .. tostring(err))
            rp.sleep(0.002)
            note("not cut off")
        end),
        content("/head", function(req)
            local out = req:respond(200, nil, { length = 10 })
            local _, err = out:write("0123456789")
            note("head " .. tostring(err))
        end),
        content("/body", function(req)
            local body = req:body()
            local out = req:respond(200)
            out:write(body)
            rp.sleep(0.002)
            out:write(body)
        end),
        content("/transform", function(req)
            local reader = req:body_reader()
            local out = req:respond(200)
            for piece in reader:chunks() do
                if not out:write(piece:upper()) then return end
            end
            out:write("!")
        end),
        content("/late-reader", function(req)
            local out = req:respond(200)
            rp.sleep(0.002)
            local ok, err = pcall(function() return req:body_reader():read() end)
            out:write(ok and "read" or "refused")
        end),
        content("/unread", function(req)
            local out = req:respond(200)
            out:write("a")
            rp.sleep(0.002)
            out:write("b")
        end),
        content("/deadline", function(req)
            local out = req:respond(200)
            out:write("x")
            req.deadline = rp.now() + 0.05
            local res, err = rp.http.client { base = "http://127.0.0.1:${silent}" }:get("/")
            out:write(err)
        end),
        content("/many/{n}", function(req)
            local out = req:respond(200)
            for i = 1, tonumber(req.params.n) do assert(out:write(MB)) end
        end),
        rp.route { "/access", respond = { 200, "not this" }, use = {
            hook("access", function(req)
                local out = req:respond(200)
                out:write("by ")
                rp.sleep(0.002)
                out:write("access")
                return out:close()
            end),
            hook("access", function() note("next") end) } },
        rp.route { "/shadow", respond = { 200, "real" }, use = { { mode = "shadow",
            access = function(req)
                note("hint " .. tostring(req:early_hints { link = "</a>" }))
                local out = req:respond(403, { ["x-a"] = "1" })
                local _, err = out:write("no")
                note("shadow " .. tostring(err) .. " " .. tostring(out.open))
                rp.sleep(0.002)
                note("shadow flush " .. tostring(select(2, out:flush())))
                return out:close { ["x-sum"] = "1" }
            end,
            header_filter = function(req, res)
                res:buffer {}
                res:trailer("x-sum", "1")
                res:set_body("shadow")
                note("shadow body " .. res:body())
            end } } },
        content("/early", function() error("not reached") end),
    } } },
    use = { { early = function(req)
        if req.path ~= "/early" then return end
        local out = req:respond(200)
        out:write("by ")
        rp.sleep(0.002)
        out:write("early")
        return out:close()
    end } },
]==]

local MB = ("0123456789abcdef"):rep(65536)

describe("answers that hooks write", function()
    local rp, silent

    setup(function()
        silent = e2e.listen()
        rp = e2e.proxy { before = BEFORE, site = SITE, vars = { silent = silent.port } }
    end)
    teardown(function() e2e.stop(rp) end)
    after_each(wire.close_all)

    local function seen(what)
        return tonumber(http.get(rp.port, "/seen/" .. what:gsub(" ", "%%20")).body)
    end

    local function send(target, fields, opt)
        local w = wire.connect(rp.port, nil, opt)
        w:send(("%s %s %s\r\nHost: a\r\n%s\r\n"):format(opt and opt.method or "GET", target,
            opt and opt.version or "HTTP/1.1", fields or ""))
        return w
    end

    local function wait_ended(path, mark)
        local line = posix.poll(function()
            return e2e.log_since(rp, mark, "ended.*path=" .. path:gsub("%-", "%%-"))[1]
        end, 60)
        assert.truthy(line)
        return line
    end

    it("are sent in pieces, with their fields, and end when the hook returns", function()
        local res = http.get(rp.port, "/pieces")
        assert.equal(200, res.status)
        assert.equal("piece 1\npiece 2\npiece 3\n", res.body)
        assert.equal("text/x", res:header("content-type"))
        assert.same({ "a", "b" }, e2e.values(res.fields, "x-list"))
    end)

    it("go out while the hook waits", function()
        local w = send("/gated")
        e2e.head(w)
        assert.truthy(w:recv_until("first\n"))
        http.get(rp.port, "/open/gated")
        assert.truthy(w:recv_until("second\n"))
    end)

    it("have a Content-Length when all was written before the hook waited", function()
        local res = http.get(rp.port, "/at-once")
        assert.equal("ab12", res.body)
        assert.equal("4", res:header("content-length"))
        assert.is_nil(res:header("transfer-encoding"))
    end)

    it("may be empty", function()
        local res = http.get(rp.port, "/nothing")
        assert.equal(201, res.status)
        assert.equal("", res.body)
    end)

    it("may announce their length", function()
        local res = http.get(rp.port, "/length")
        assert.equal("6", res:header("content-length"))
        assert.equal("abcdef", res.body)
    end)

    it("are broken off when the length announced was not written", function()
        local mark = #rp:stderr()
        local w = send("/length/short")
        local bytes, how = w:recv_all()
        assert.truthy(bytes:find("abc", 1, true) or how == "reset")
        assert.falsy(bytes:find("\r\n0\r\n\r\n", 1, true))
        assert.equal(1, #e2e.log_since(rp, mark, "wrote fewer bytes"))
    end)

    it("are a 500 when that shows before the head went out", function()
        assert.equal(500, http.get(rp.port, "/length/short/at-once").status)
    end)

    it("raise when more than the length announced is written", function()
        assert.equal("raised", http.get(rp.port, "/length/long").body)
    end)

    it("tell by flush that the client's socket has all", function()
        local w = send("/flush")
        e2e.head(w)
        w:recv_until("first\n")
        assert.truthy(posix.poll(function() return seen("flushed") == 1 end))
        http.get(rp.port, "/open/flush")
        w:recv_until("second\n")
    end)

    it("wait for a client that is slow, and lose nothing", function()
        local w = send("/slow", nil, { rcvbuf = 4096, timeout = 60 })
        -- Sockets hold some megabytes; the hook stands still before its end.
        local stands = e2e.settled(function() return seen("slow") end)
        assert.is_true(stands < 60, stands)
        local res = http.read(w)
        assert.equal(64 * #MB + 3, #res.body)
        assert.equal("end", res.body:sub(-3))
    end)

    it("end their hook where it writes when the client goes away", function()
        local mark = #rp:stderr()
        local w = send("/endless")
        e2e.head(w)
        w:recv(100)
        w:reset()
        wait_ended("/endless", mark)
        assert.equal(0, seen("closed"))
    end)

    it("end their hook where it waits when the client goes away", function()
        local mark = #rp:stderr()
        local w = send("/waits")
        e2e.head(w)
        w:close()
        local line = wait_ended("/waits", mark)
        assert.truthy(line:find("status=200", 1, true), line)
    end)

    it("are broken off when the hook raises", function()
        local mark = #rp:stderr()
        local bytes = send("/raise"):recv_all()
        assert.truthy(bytes:find("some", 1, true))
        assert.falsy(bytes:find("\r\n0\r\n", 1, true))
        assert.equal(1, #e2e.log_since(rp, mark, "on purpose"))
    end)

    it("that raised have brought all that was written before", function()
        local bytes = send("/raise/after-many", nil, { timeout = 30 }):recv_all(30)
        assert.truthy(bytes:find("the end", 1, true))
        assert.falsy(bytes:find("\r\n0\r\n", 1, true))
    end)

    it("are a 500 when the hook raises before the head went out", function()
        local res = http.get(rp.port, "/raise/at-once")
        assert.equal(500, res.status)
        assert.falsy(res.body:find("some", 1, true))
    end)

    it("take nothing after close, and their hook is ended at its next wait", function()
        assert.equal("x", http.get(rp.port, "/closed").body)
        assert.equal(1, seen("after close: nil closed false"))
    end)

    it("cannot be replaced once they are under way", function()
        assert.equal("x too late", http.get(rp.port, "/exit-after").body)
    end)

    it("can be replaced before", function()
        local res = http.get(rp.port, "/exit-before")
        assert.equal(202, res.status)
        assert.equal("other", res.body)
        assert.is_nil(res:header("x-a"))
        res = http.get(rp.port, "/twice")
        assert.equal(203, res.status)
        assert.equal("second", res.body)
        assert.is_nil(res:header("x-a"))
        assert.equal("1", res:header("x-b"))
    end)

    it("may be written by tasks of the hook", function()
        assert.equal("abc", http.get(rp.port, "/children").body)
    end)

    it("pass header_filter and body_filter hooks", function()
        local res = http.get(rp.port, "/filtered")
        assert.equal(203, res.status)
        assert.equal("plugin", res:header("x-from"))
        assert.equal("ABC DEF!", res.body)
    end)

    it("end for body_filter hooks with a last piece, also when they end while one is parked", function()
        assert.equal("<abc>", http.get(rp.port, "/closed-meanwhile").body)
    end)

    it("end with their hook when header_filter replaces them", function()
        local res = http.get(rp.port, "/replaced")
        assert.equal(410, res.status)
        assert.equal("gone", res.body)
        assert.equal(500, http.get(rp.port, "/filter-raises").status)
    end)

    it("may be made in access and early hooks", function()
        assert.equal("by access", http.get(rp.port, "/access").body)
        assert.equal(0, seen("next"))
        assert.equal("by early", http.get(rp.port, "/early").body)
    end)

    it("are written by nobody in shadow mode", function()
        local res = http.get(rp.port, "/shadow")
        assert.equal(200, res.status)
        assert.equal("real", res.body)
        assert.is_nil(res:header("x-a"))
        assert.same({}, res.interim or {})
        for _, what in ipairs { "hint true", "shadow closed false", "shadow flush closed",
            "shadow body real" } do
            assert.equal(1, seen(what), what)
        end
    end)

    it("have trailers for clients that ask for them", function()
        for _, target in ipairs { "/trailers", "/trailers/at-once" } do
            local res = http.read(send(target, "TE: trailers\r\nConnection: te\r\n"))
            assert.equal("body", res.body)
            assert.same({ "abc" }, e2e.values(res.trailers, "x-sum"))
            res = http.get(rp.port, target)
            assert.equal("body", res.body)
            assert.same({}, res.trailers or {})
        end
    end)

    it("have no trailers that frame", function()
        assert.truthy(http.get(rp.port, "/trailers/bad").body:find("cannot be a trailer", 1, true))
    end)

    it("send no body to HEAD, nor with 204 and 304", function()
        local res = http.read(send("/head", nil, { method = "HEAD" }), { method = "HEAD" })
        assert.equal("10", res:header("content-length"))
        assert.equal(1, seen("head closed"))
        for _, status in ipairs { 204, 304 } do
            local got = http.read(send("/status/" .. status))
            assert.equal(status, got.status)
            assert.equal("", got.body or "")
        end
        assert.equal(2, seen("bodiless closed"))
        assert.equal(0, seen("not cut off"))
    end)

    it("end with the connection for clients of HTTP/1.0", function()
        protocol.only("h1 client", "HTTP/1.0")
        local bytes, how = send("/pieces", nil, { version = "HTTP/1.0" }):recv_all()
        assert.equal("closed", how)
        assert.truthy(bytes:find("\r\n\r\npiece 1\npiece 2\npiece 3\n$"))
        assert.falsy(bytes:lower():find("transfer-encoding", 1, true))
        bytes, how = send("/raise", nil, { version = "HTTP/1.0" }):recv_all()
        assert.equal("reset", how) -- a close would make it look whole
        assert.falsy(bytes:find("piece", 1, true))
    end)

    it("leave the connection for the next request", function()
        local w = wire.connect(rp.port)
        for _ = 1, 3 do
            w:send("GET /pieces HTTP/1.1\r\nHost: a\r\n\r\n")
            assert.equal("piece 1\npiece 2\npiece 3\n", http.read(w).body)
        end
    end)

    it("may follow a request body that was read, and one that was not", function()
        local w = wire.connect(rp.port)
        assert.equal("bodybody", http.request(w, { method = "POST", target = "/body",
            body = "body" }).body)
        assert.equal("ab", http.request(w, { method = "POST", target = "/unread",
            body = "body" }).body)
    end)

    it("may be made of the request body while that comes", function()
        local w = wire.connect(rp.port)
        w:send("POST /transform HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        e2e.head(w)
        for _, word in ipairs { "one", "two", "three" } do
            w:send(("%x\r\n%s\r\n"):format(#word, word))
            w:recv_until(word:upper())
        end
        w:send("0\r\n\r\n")
        w:recv_until("!")
        local big = ("The quick brown fox. "):rep(100000)
        local res = http.request(wire.connect(rp.port), { method = "POST", target = "/transform",
            body = big })
        assert.is_true(res.body == big:upper() .. "!")
    end)

    it("let no reader begin when they are under way", function()
        assert.equal("refused", http.request(wire.connect(rp.port), { method = "POST",
            target = "/late-reader", body = "x" }).body)
    end)

    it("made of the request body end when its client goes away", function()
        local mark = #rp:stderr()
        local w = wire.connect(rp.port)
        w:send("POST /transform HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc")
        w:recv_until("ABC")
        w:reset()
        wait_ended("/transform", mark)
    end)

    it("end what their hook waits for by its request's deadline", function()
        assert.equal("xtimeout", http.get(rp.port, "/deadline").body)
    end)

    it("are counted in the log, whole", function()
        local mark = #rp:stderr()
        http.get(rp.port, "/pieces")
        assert.truthy(wait_ended("/pieces", mark):find("bytes=24", 1, true))
    end)

    it("of a gigabyte need no memory", function()
        local n = e2e.is_debug and 64 or 1024
        e2e.drain(send("/many/8", nil, { timeout = 60 }), 8 * #MB)
        local before = e2e.rss(rp)
        local w = send("/many/" .. n, nil, { timeout = 120 })
        assert.equal(n * #MB, e2e.drain(w, n * #MB))
        local grown = e2e.rss(rp) - before
        if not e2e.is_debug then assert.is_true(grown < 16 * 1024, grown .. " kB more") end
    end)
end)

describe("an answer that a hook writes", function()
    after_each(function() wire.close_all() end)

    local CLOCK = [==[ timeouts = { hook_wait = 0.2 },
        hosts = { rp.host { default = true, routes = {
            rp.route { "/silent", content = function(req)
                local out = req:respond(200)
                out:write("x")
                rp.sleep(600)
            end },
            rp.route { "/steady", content = function(req)
                local out = req:respond(200)
                for _ = 1, 10 do
                    rp.sleep(0.05)
                    out:write("x")
                end
            end },
            rp.route { "/patient", content = function(req)
                local out = req:respond(200, nil, { idle = false })
                out:write("x")
                rp.sleep(0.5)
                out:write("y")
            end },
            rp.route { "/short", content = function(req)
                local out = req:respond(200, nil, { idle = 0.05 })
                out:write("x")
                rp.sleep(600)
            end } } } } ]==]

    it("is broken off when its hook waits too long between two writes", function()
        local rp = e2e.proxy { site = CLOCK }
        for _, target in ipairs { "/silent", "/short" } do
            local mark = #rp:stderr()
            local w = wire.connect(rp.port)
            w:send("GET " .. target .. " HTTP/1.1\r\nHost: a\r\n\r\n")
            local bytes = w:recv_all()
            assert.truthy(bytes:find("x", 1, true))
            assert.falsy(bytes:find("\r\n0\r\n", 1, true))
            assert.equal(1, #e2e.log_since(rp, mark, "waited too long"))
        end
        assert.equal(("x"):rep(10), http.get(rp.port, "/steady").body)
        assert.equal("xy", http.get(rp.port, "/patient").body)
        e2e.stop(rp)
    end)

    it("is broken off when its client takes nothing for too long", function()
        local rp = e2e.proxy { before = "local log = {}", site = [==[
            timeouts = { send = 0.3 },
            hosts = { rp.host { default = true, use = { { log = function(req, res)
                    rp.log.info("ended", { path = req.path })
                end } }, routes = {
                rp.route { "/*", content = function(req)
                    local out = req:respond(200)
                    while out:write(("x"):rep(65536)) do end
                end } } } } ]==] }
        local w = wire.connect(rp.port, nil, { rcvbuf = 4096 })
        w:send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        rp:wait_stderr("ended")
        e2e.stop(rp)
    end)

    local HELD = [==[ timeouts = { drain = 30 },
        hosts = { rp.host { default = true, routes = {
            rp.route { "/stream", content = function(req)
                local out = req:respond(200)
                out:write("${text} ")
                while not rp.shared.flags:get("go") do rp.sleep(0.005) end
                out:write("${text} " .. tostring(out.leaving))
            end },
            rp.route { "/go", content = function(req)
                rp.shared.flags:set("go", "1")
                return req:exit(200)
            end },
            rp.route { "/*", content = function(req) return req:exit(200, "${text}") end } } } },
        shared = { flags = rp.shm.store { size = 2^20 } } ]==]

    it("goes on in its own generation when the site is reloaded", function()
        local rp = e2e.proxy { site = HELD, vars = { text = "old" } }
        local w = wire.connect(rp.port)
        w:send("GET /stream HTTP/1.1\r\nHost: a\r\n\r\n")
        w:recv_until("old ")
        local text = posix.read_file(rp.dir .. "/site.lua"):gsub("old", "new")
        posix.write_file(rp.dir .. "/site.lua", text)
        rp:signal("HUP")
        assert.truthy(posix.poll(function() return http.get(rp.port, "/").body == "new" end))
        http.get(rp.port, "/go")
        w:recv_until("old true")
        e2e.stop(rp)
    end)

    it("is waited for when the worker drains", function()
        local rp = e2e.proxy { site = HELD, vars = { text = "old" } }
        local w, other = wire.connect(rp.port), wire.connect(rp.port)
        w:send("GET /stream HTTP/1.1\r\nHost: a\r\n\r\n")
        w:recv_until("old ")
        other:send("GET /stream HTTP/1.1\r\nHost: a\r\n\r\n")
        other:recv_until("old ")
        http.get(rp.port, "/go")
        rp:signal("QUIT")
        w:recv_until("old ")
        other:recv_until("old ")
        e2e.stop(rp)
    end)

    it("is broken off when the worker stops", function()
        local rp = e2e.proxy { site = HELD:gsub("drain = 30", "drain = 0.2"), vars = { text = "old" } }
        local w = wire.connect(rp.port)
        w:send("GET /stream HTTP/1.1\r\nHost: a\r\n\r\n")
        w:recv_until("old ")
        rp:signal("TERM")
        local bytes = w:recv_all(20)
        assert.falsy(bytes:find("\r\n0\r\n", 1, true))
        e2e.stop(rp)
    end)
end)
