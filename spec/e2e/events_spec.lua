-- SPDX-License-Identifier: MIT
--
-- Server-sent events (req:events) and early hints (req:early_hints).

local e2e = require("spec.support.e2e")
local http = require("spec.support.http")
local posix = require("spec.support.posix")
local proc = require("spec.support.proc")
local protocol = require("spec.support.protocol")
local wire = require("spec.support.wire")

local BEFORE = [==[
    local seen = {}
    local streams = {}
    local function content(pattern, fn) return rp.route { pattern, content = fn } end
    local function try(fn, ...)
        local ok, err = pcall(fn, ...)
        return ok and "fine" or (err:gsub("^.-: ", ""))
    end
]==]

local SITE = [==[
    http2 = { on = true },
    timeouts = { hook_wait = 0.2, drain = 30 },
    upstreams = { o = rp.upstream { peers = { "127.0.0.1:${origin}" } } },
    hosts = { rp.host { default = true, routes = {
        content("/seen/{what}", function(req) return req:exit(200, tostring(seen[req.params.what])) end),
        content("/events", function(req)
            local es = req:events { retry = 2.5, headers = { ["x-more"] = "1" } }
            es:send { event = "tick", data = "one", id = 7 }
            rp.sleep(0.002)
            es:send("two\nlines\r\nand\rthree\n")
            es:send { data = { n = 1 }, retry = 1 }
            es:send { data = "" }
            es:comment("seen\nby nobody")
            es:send { id = "8" }
            return es:close()
        end),
        content("/last", function(req)
            local es = req:events()
            es:send(tostring(es.last_event_id))
        end),
        content("/bad", function(req)
            local es = req:events()
            local words = {
                try(es.send, es, { event = "a\nb", data = "" }),
                try(es.send, es, { id = "a\rb" }),
                try(es.send, es, { id = "a\0b" }),
                try(es.send, es, {}),
                try(es.send, es, { dta = "x" }),
                try(es.send, es, { data = print }),
                try(es.send, es, { retry = -1 }),
            }
            es:send(table.concat(words, "\n"))
        end),
        content("/alive", function(req)
            local es = req:events { keepalive = 0.02 }
            es:send("begun")
            while not seen.stop do rp.sleep(0.3) end -- longer than hook_wait
            es:send("end")
        end),
        content("/stop", function(req) seen.stop = true return req:exit(200) end),
        content("/mute", function(req)
            local es = req:events { keepalive = false }
            es:send("begun")
            rp.sleep(600)
        end),
        content("/many/{n}", function(req)
            local es = req:events()
            for i = 1, tonumber(req.params.n) do
                if not es:send { id = i, data = "event number " .. i } then return end
            end
            return es:close()
        end),
        content("/subscribe", function(req)
            local es = req:events()
            streams[#streams + 1] = es
            es:send("subscribed")
            while es.open do rp.sleep(0.01) end
        end),
        content("/publish", function(req)
            local words = {}
            for i, es in ipairs(streams) do
                local ok, err = es:send(req:arg("text"))
                words[i] = tostring(ok or err)
            end
            return req:exit(200, table.concat(words, ","))
        end),
        content("/flood", function(req)
            local es = streams[#streams]
            while es:send { event = "big", data = ("x"):rep(60000) } do end
        end),
        content("/publish-last", function(req)
            local ok, err = streams[#streams]:send(req:arg("text"))
            return req:exit(200, tostring(ok or err))
        end),
        content("/hints", function(req)
            local first = req:early_hints { link = { "</a.css>; rel=preload; as=style", "</b.js>" } }
            rp.sleep(0.002)
            local second = req:early_hints { link = "</c.css>" }
            seen.hints = tostring(first) .. " " .. tostring(second)
            return req:exit(200, "final", { link = "</a.css>; rel=preload; as=style" })
        end),
        content("/hints/many", function(req)
            local words = {}
            for i = 1, 10 do
                local ok, err = req:early_hints { link = "</" .. i .. ">" }
                words[i] = tostring(ok or err)
            end
            return req:exit(200, table.concat(words, ","))
        end),
        content("/hints/bad", function(req)
            local words = { try(req.early_hints, req, { ["content-length"] = "1" }),
                try(req.early_hints, req, { ["x-a"] = "a\r\nb: c" }),
                try(req.early_hints, req, {}), try(req.early_hints, req) }
            local big = {}
            for i = 1, 40 do big[i] = "</" .. i .. ">" end
            words[5] = select(2, req:early_hints { link = big })
            local out = req:respond(200)
            rp.sleep(0.002)
            words[6] = try(req.early_hints, req, { link = "</a>" })
            out:write(table.concat(words, "\n"))
        end),
        content("/hints/written", function(req)
            req:early_hints { link = "</a>" }
            local out = req:respond(200)
            out:write("a")
            rp.sleep(0.002)
            out:write("b")
        end),
        content("/hints/body", function(req)
            req:early_hints { link = "</a>" }
            return req:exit(200, req:body())
        end),
        rp.route { "/up", upstream = "o", use = { { access = function(req)
            req:early_hints { link = "</ours>" }
        end } } },
    } } } ]==]

local function start()
    return e2e.pair({ ["/up"] = { { send = "HTTP/1.1 103 Early Hints\r\nLink: </theirs>\r\n\r\n" },
        { send = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok" } } },
        { before = BEFORE, site = SITE })
end

describe("server-sent events", function()
    local rp

    setup(function() rp = start() end)
    teardown(function() e2e.stop(rp) end)
    after_each(wire.close_all)

    local function send(target, fields, opt)
        local w = wire.connect(rp.port, nil, opt)
        w:send(("GET %s %s\r\nHost: a\r\n%s\r\n"):format(target, opt and opt.version or "HTTP/1.1",
            fields or ""))
        return w
    end

    it("are a text/event-stream of what was sent", function()
        local res = http.get(rp.port, "/events")
        assert.equal("text/event-stream", res:header("content-type"))
        assert.equal("no-store", res:header("cache-control"))
        assert.equal("1", res:header("x-more"))
        assert.equal("retry: 2500\n\n"
            .. "event: tick\nid: 7\ndata: one\n\n"
            .. "data: two\ndata: lines\ndata: and\ndata: three\ndata: \n\n"
            .. "retry: 1000\ndata: {\"n\":1}\n\n"
            .. "data: \n\n"
            .. ": seen\n: by nobody\n\n"
            .. "id: 8\n\n", res.body)
    end)

    it("know where the client was", function()
        assert.equal("data: nil\n\n", http.get(rp.port, "/last").body)
        assert.equal("data: 41\n\n", http.get(rp.port, "/last", { ["Last-Event-ID"] = "41" }).body)
    end)

    it("have no fields that end a line, and no unknown ones", function()
        local lines = {}
        for line in http.get(rp.port, "/bad").body:gmatch("data: ([^\n]*)") do
            lines[#lines + 1] = line
        end
        assert.truthy(lines[1]:find("event holds an end of line", 1, true), lines[1])
        assert.truthy(lines[2]:find("id holds an end of line", 1, true))
        assert.truthy(lines[3]:find("NUL", 1, true))
        assert.truthy(lines[4]:find("without a field", 1, true))
        assert.truthy(lines[5]:find('no "dta", did you mean "data"', 1, true)
            or lines[5]:find('no "dta"', 1, true), lines[5])
        assert.truthy(lines[6]:find("not a function", 1, true))
        assert.truthy(lines[7]:find("retry", 1, true))
    end)

    it("are kept alive by comments, however long their hook waits", function()
        local w = send("/alive")
        e2e.head(w)
        w:recv_until("data: begun\n\n")
        for _ = 1, 20 do w:recv_until(":\n\n") end
        http.get(rp.port, "/stop")
        w:recv_until("data: end\n\n")
    end)

    it("without comments have to be sent in time", function()
        local bytes = send("/mute"):recv_all()
        assert.truthy(bytes:find("data: begun\n\n", 1, true))
        assert.falsy(bytes:find("\r\n0\r\n", 1, true))
    end)

    it("come whole and in order, ten thousand of them", function()
        local n, last = 10000, 0
        for id, number in http.get(rp.port, "/many/" .. n).body:gmatch(
            "id: (%d+)\ndata: event number (%d+)\n\n") do
            assert.equal(last + 1, tonumber(id))
            assert.equal(id, number)
            last = tonumber(id)
        end
        assert.equal(n, last)
    end)

    it("can be sent by other requests, until the client has gone", function()
        local a, b = send("/subscribe"), send("/subscribe")
        a:recv_until("data: subscribed\n\n")
        b:recv_until("data: subscribed\n\n")
        assert.equal("true,true", http.get(rp.port, "/publish?text=hello").body)
        a:recv_until("data: hello\n\n")
        b:recv_until("data: hello\n\n")
        a:close()
        assert.truthy(posix.poll(function()
            return http.get(rp.port, "/publish?text=x").body == "closed,true"
        end))
        local c = send("/subscribe") -- takes the place of the first
        c:recv_until("data: subscribed\n\n")
        assert.equal("closed,true,true", http.get(rp.port, "/publish?text=last").body)
        c:recv_until("data: last\n\n")
        b:close()
    end)

    it("stay whole when who sends them ends while its client is slow", function()
        local slow = send("/subscribe", nil, { rcvbuf = 4096, timeout = 60 })
        slow:recv_until("data: subscribed\n\n")
        local flood = send("/flood")
        assert.truthy(posix.poll(function() -- it waits: others cannot come between
            return http.get(rp.port, "/publish-last?text=no").body == "busy"
        end))
        flood:close()
        local last = send("/publish-last?text=last")
        local text = slow:recv_until("data: last\n\n")
        assert.equal("true", http.read(last).body)
        slow:close()
        text = text:gsub("\r\n%x+\r\n", "") -- chunks
        for data in text:gmatch("event: big\ndata: (x*)") do assert.equal(60000, #data) end
        local rest = text:gsub("event: big\ndata: x+\n\n", ""):gsub("data: no\n\n", "")
        assert.equal("data: last\n\n", rest)
    end)

    for name, version in pairs { ["HTTP/1.1"] = "--http1.1", ["HTTP/2"] = "--http2-prior-knowledge" } do
        it("reach curl as they are sent, in " .. name, function()
            protocol.only("no TLS", "a certificate that curl does not know")
            local client = proc.spawn { "curl", "-s", "-N", version,
                ("http://127.0.0.1:%d/subscribe"):format(rp.port) }
            assert.truthy(posix.poll(function()
                return client:stdout():find("data: subscribed\n\n", 1, true)
            end))
            http.get(rp.port, "/publish?text=now")
            assert.truthy(posix.poll(function()
                return client:stdout():find("data: now\n\n", 1, true)
            end))
            client:signal("KILL")
            client:wait(10)
        end)
    end
end)

describe("early hints", function()
    local rp

    setup(function() rp = start() end)
    teardown(function() e2e.stop(rp) end)
    after_each(wire.close_all)

    it("go out before the head", function()
        local res = http.get(rp.port, "/hints")
        assert.equal(200, res.status)
        assert.equal("final", res.body)
        assert.equal(2, #res.interim)
        assert.equal(103, res.interim[1].status)
        assert.same({ "</a.css>; rel=preload; as=style", "</b.js>" },
            e2e.values(res.interim[1].fields, "link"))
        assert.same({ "</c.css>" }, e2e.values(res.interim[2].fields, "link"))
        assert.equal("true true", http.get(rp.port, "/seen/hints").body)
    end)

    it("are not for HTTP/1.0", function()
        protocol.only("h1 client", "HTTP/1.0")
        local w = wire.connect(rp.port)
        w:send("GET /hints HTTP/1.0\r\n\r\n")
        assert.truthy(w:recv_all():find("^HTTP/1%.1 200"))
        assert.equal("false false", http.get(rp.port, "/seen/hints").body)
    end)

    it("are few", function()
        local res = http.get(rp.port, "/hints/many")
        assert.equal(8, #res.interim)
        assert.equal(("true,"):rep(8) .. "too many,too many", res.body)
    end)

    it("hold no framing, no broken values, and come before the head", function()
        local lines = {}
        for line in http.get(rp.port, "/hints/bad").body:gmatch("[^\n]+") do lines[#lines + 1] = line end
        assert.truthy(lines[1]:find("cannot be in a hint", 1, true), lines[1])
        assert.truthy(lines[2]:find("cannot be in a hint", 1, true))
        assert.truthy(lines[3]:find("takes a table", 1, true))
        assert.truthy(lines[4]:find("takes a table", 1, true))
        assert.equal("too many", lines[5])
        assert.truthy(lines[6]:find("under way", 1, true))
    end)

    it("may precede an answer that is written", function()
        local res = http.get(rp.port, "/hints/written")
        assert.equal(1, #res.interim)
        assert.equal("ab", res.body)
    end)

    it("come before those of the upstream", function()
        local res = http.get(rp.port, "/up")
        assert.equal("ok", res.body)
        local links = {}
        for i, interim in ipairs(res.interim) do links[i] = interim:header("link") end
        assert.same({ "</ours>", "</theirs>" }, links)
    end)

    it("go well with a client that waits for 100", function()
        protocol.only("h1 client", "Expect: 100-continue, step by step")
        local w = wire.connect(rp.port)
        w:send("POST /hints/body HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n"
            .. "Expect: 100-continue\r\n\r\n")
        assert.truthy(e2e.head(w):find("^HTTP/1%.1 103 "))
        assert.truthy(e2e.head(w):find("^HTTP/1%.1 100 "))
        w:send("body")
        assert.equal("body", http.read(w).body)
    end)
end)
