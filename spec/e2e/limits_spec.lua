-- SPDX-License-Identifier: MIT
--
-- Limits: what is over one is refused, never cut; memory does not grow with what passes through.

local e2e = require("spec.support.e2e")
local http = require("spec.support.http")
local origin = require("spec.support.origin")
local protocol = require("spec.support.protocol")
local wire = require("spec.support.wire")

local BLOCK = ("0123456789abcdef"):rep(4096) -- 64 KB
local BLOCKS = e2e.is_debug and 800 or 3200 -- 200 MB; 50 MB on the slow build
local BIG = #BLOCK * BLOCKS
local GROWTH_KB = 10 * 1024 -- what 200 MB may add to a worker

local function chunk(bytes)
    return ("%x\r\n%s\r\n"):format(#bytes, bytes)
end

describe("limits", function()
    local up, rp

    setup(function()
        up = origin.start {
            ["/big"] = { { send = "HTTP/1.1 200 OK\r\nContent-Length: " .. BIG .. "\r\n\r\n" },
                { send = BLOCK, times = BLOCKS } },
            ["/big-chunked"] = {
                { send = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" },
                { send = chunk(BLOCK), times = BLOCKS }, { send = "0\r\n\r\n" } },
            ["/interim"] = { { send = "HTTP/1.1 103 Early Hints\r\nLink: " .. ("x"):rep(1000) ..
                "\r\n\r\n", times = 100000 },
                { send = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok" } },
            ["/slow"] = { early = true, { pause = true }, { gate = "read" }, { pause = false },
                { body = true }, { send = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok" } },
            ["*"] = { status = 200, body = "ok" },
        }
        rp = e2e.proxy { vars = { origin = up.port }, site = [[
            limits = { headers = 20, header_bytes = 4096, uri = 1024, args = 4, body = 1000,
                keepalive_requests = 3 },
            upstreams = { o = rp.upstream { peers = { "127.0.0.1:${origin}" } } },
            hosts = { rp.host { default = true, routes = {
                rp.route { "/larger", upstream = "o", limits = { body = 5000 } },
                rp.route { "/smaller", upstream = "o", limits = { body = 10 } },
                rp.route { "/slow", upstream = "o", limits = { body = math.huge } },
                rp.route { "/answer", respond = { 200, "here\n" } },
                rp.route { "/*", upstream = "o" } } } },
        ]] }
    end)

    teardown(function() e2e.stop(rp) end)
    after_each(wire.close_all)

    local function status(req)
        return http.get(rp.port, req).status
    end

    local function header_of(n) -- a request whose head has exactly n bytes
        local text = http.format { target = "/x", fields = { ["X-Pad"] = "" } }
        return (text:gsub("X%-Pad: ", "X-Pad: " .. ("p"):rep(n - #text)))
    end

    --- Refused with a status and a connection that ends.
    local function refused(code, bytes)
        local before = #up:requests()
        local w = wire.connect(rp.port)
        w:send(bytes)
        local res = http.read(w)
        assert.equal(code, res.status)
        e2e.assert_last(w, res)
        assert.equal(before, #up:requests())
    end

    -- ------------------------------------------------------------ heads

    local HEADS = "heads in HTTP/1.1; those of HTTP/2 are counted in another way: h2_spec"

    it("a head of exactly the limit passes", function()
        protocol.only("h1 client", HEADS)
        local w = wire.connect(rp.port)
        w:send(header_of(4096))
        assert.equal(200, http.read(w).status)
    end)

    it("a head of one byte more is 431", function()
        refused(431, header_of(4097))
    end)

    it("a head that has no end is 431 without waiting for it", function()
        protocol.only("h1 client", HEADS)
        refused(431, "GET /x HTTP/1.1\r\nX-Pad: " .. ("p"):rep(5000))
    end)

    local function fields_of(n)
        local fields = {}
        for i = 1, n - 1 do fields[i] = { "X-" .. i, "v" } end -- Host is one
        return http.format { target = "/x", fields = fields }
    end

    it("as many fields as the limit pass", function()
        local w = wire.connect(rp.port)
        w:send(fields_of(20))
        assert.equal(200, http.read(w).status)
    end)

    it("one field more is 431", function()
        refused(431, fields_of(21))
    end)

    it("a target of exactly the limit passes", function()
        assert.equal(200, status { target = "/" .. ("t"):rep(1023) })
    end)

    it("a target of one byte more is 414", function()
        refused(414, http.format { target = "/" .. ("t"):rep(1024) })
    end)

    it("as many arguments as the limit pass", function()
        assert.equal(200, status { target = "/x?a=1&b=2&c=3&d=4" })
    end)

    it("one argument more is 400", function()
        assert.equal(400, status { target = "/x?a=1&b=2&c=3&d=4&e=5" })
    end)

    -- ------------------------------------------------------------ bodies

    local function chunked_post(target, ...)
        local w = wire.connect(rp.port)
        local pieces = { ... }
        for i, piece in ipairs(pieces) do pieces[i] = chunk(piece) end
        w:send(http.format { method = "POST", target = target,
            fields = { ["Transfer-Encoding"] = "chunked" } } .. table.concat(pieces) ..
            "0\r\n\r\n")
        return w
    end

    it("a body of exactly the limit passes", function()
        assert.equal(200, status { method = "POST", target = "/x", body = ("b"):rep(1000) })
    end)

    it("a length over the limit is 413 before the body comes", function()
        refused(413, http.format { method = "POST", target = "/x",
            fields = { ["Content-Length"] = "1001" } })
    end)

    it("chunks of exactly the limit pass", function()
        assert.equal(200, http.read(chunked_post("/x", ("b"):rep(400), ("c"):rep(600))).status)
    end)

    it("chunks over the limit are 413, and the upstream gets no whole body", function()
        local before = #up:requests()
        local w = chunked_post("/x", ("b"):rep(400), ("c"):rep(601))
        assert.equal(413, http.read(w).status)
        for i = before + 1, #up:requests() do assert.is_false(up:requests()[i].complete) end
    end)

    it("a route may allow more", function()
        assert.equal(200, status { method = "POST", target = "/larger", body = ("b"):rep(5000) })
        assert.equal(413, status { method = "POST", target = "/larger",
            fields = { ["Content-Length"] = "5001" } })
    end)

    it("a route may allow less", function()
        assert.equal(413, status { method = "POST", target = "/smaller",
            fields = { ["Content-Length"] = "11" } })
    end)

    it("a body over the limit is refused for answers of our own, too", function()
        assert.equal(413, status { method = "POST", target = "/answer",
            fields = { ["Content-Length"] = "1001" } })
    end)

    -- ------------------------------------------------------------ requests of a connection

    it("a connection closes after its last request, and says so", function()
        protocol.only("h1 client", "Connection: close; GOAWAY is in h2_life_spec")
        local w = wire.connect(rp.port)
        assert.is_nil(http.request(w, { target = "/x" }):header("connection"))
        assert.is_nil(http.request(w, { target = "/answer" }):header("connection"))
        assert.equal("close", http.request(w, { target = "/x" }):header("connection"))
        assert.is_true(w:is_closed())
    end)

    -- ------------------------------------------------------------ memory

    --- Memory when nothing moves any more, against what it was before.
    local function check_growth(before)
        local stalled = e2e.settled(function() return e2e.rss(rp) end)
        if not e2e.is_debug then assert.is_true(stalled - before < GROWTH_KB) end
    end

    for _, target in ipairs { "/big", "/big-chunked" } do
        it("a client that does not read " .. target .. " fills no memory", function()
            http.get(rp.port, "/x")
            local before = e2e.rss(rp)
            local w = wire.connect(rp.port)
            w:send(http.format { target = target, fields = { Connection = "close" } })
            local head = http.parse_head(w:recv_until("\r\n\r\n"))
            assert.equal(200, head.status)
            check_growth(before)
            local n, tail = e2e.drain(w, math.huge)
            if target == "/big" then
                assert.equal(BIG, n)
            else
                assert.is_true(n > BIG, n)
                assert.equal("\r\n0\r\n\r\n", tail:sub(-7))
            end
            check_growth(before)
        end)
    end

    it("a client that does not read endless interim responses fills no memory", function()
        http.get(rp.port, "/x")
        local before = e2e.rss(rp)
        local w = wire.connect(rp.port)
        w:send(http.format { target = "/interim" })
        assert.equal(103, http.read(w, { until_final = false }).status)
        check_growth(before)
    end)

    it("an upstream that does not read fills no memory", function()
        http.get(rp.port, "/x")
        local before = e2e.rss(rp)
        local n = #up:requests()
        local w = wire.connect(rp.port, nil, { timeout = 60 })
        w:send(http.format { method = "POST", target = "/slow",
            fields = { ["Content-Length"] = tostring(BIG) } })
        local sent = 0
        local function push() -- as much as the proxy takes
            while sent < BIG do
                local took = assert(w:push(BLOCK:sub(sent % #BLOCK + 1)))
                sent = sent + took
                if took == 0 then break end
            end
            return sent
        end
        e2e.settled(push)
        assert.is_true(sent < BIG)
        check_growth(before)
        up:open_gate("read")
        while sent < BIG do
            local rest = BLOCK:sub(sent % #BLOCK + 1)
            assert(w:send(rest))
            sent = sent + #rest
        end
        assert.equal(200, http.read(w).status)
        assert.equal(BIG, up:wait_requests(n + 1)[n + 1].body_len)
        check_growth(before)
    end)
end)
