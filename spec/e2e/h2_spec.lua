-- SPDX-License-Identifier: MIT
--
-- HTTP/2 with clients: requests, bodies both ways, flow control, trailers, tunnels, ends.

local e2e = require("spec.support.e2e")
local h2 = require("spec.support.h2")
local http = require("spec.support.http")
local origin = require("spec.support.origin")
local posix = require("spec.support.posix")
local wire = require("spec.support.wire")

local SWITCH = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n" ..
    "Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
local TRAILED = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n" ..
    "5\r\nhello\r\n0\r\nX-Sum: 42\r\n\r\n"
local MB = 1024 * 1024

describe("HTTP/2", function()
    local up, rp

    setup(function()
        up = origin.start {
            ["/hi"] = { status = 200, fields = { ["X-Mixed-Case"] = "Yes" }, body = "hi" },
            ["/empty"] = { status = 204 },
            ["/chunked"] = { status = 200, body = ("c"):rep(100000), chunked = true },
            ["/big"] = { status = 200, body = ("b"):rep(MB) },
            ["/trailers"] = { { send = TRAILED } },
            ["/info"] = { { send = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
                .. "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok" } },
            ["/cut"] = { { send = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf" },
                { close = true } },
            ["/hang"] = { { hang = true } },
            ["/early"] = { early = true, { send = "HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno" } },
            ["/ws"] = { { send = SWITCH }, { echo = true } },
            ["*"] = { status = 200, body = "other" },
        }
        rp = e2e.proxy { vars = { origin = up.port }, site = [[
            log = { access = { to = "${dir}/access.log", format = "json", buffer = 0,
                fields = { "method", "host", "path", "protocol", "status", "reason" } } },
            limits = { headers = 50, header_bytes = "8k", uri = "2k", body = "4m" },
            http2 = { streams = 10, window = "64k" },
            upstreams = { o = rp.upstream { peers = { "127.0.0.1:${origin}" } } },
            hosts = {
                rp.host { "small.test", routes = { rp.route { "/*", upstream = "o",
                    limits = { body = 10 } } } },
                rp.host { default = true, routes = {
                    rp.route { "/ours", respond = { 200, "ours\n" } },
                    rp.route { "/*", upstream = "o" } } } },
        ]] }
    end)

    teardown(function() e2e.stop(rp) end)
    after_each(wire.close_all)

    local function connect(opt)
        return h2.connect(rp.port, opt)
    end

    local function logged(path)
        return posix.poll(function()
            for line in (posix.read_file(rp.dir .. "/access.log") or ""):gmatch("[^\n]+") do
                if line:find('"' .. path .. '"', 1, true) then return line end
            end
        end)
    end

    describe("requests", function()
        it("reach an HTTP/1.1 upstream as it expects them", function()
            local res = connect():get("/hi?a=b", { { "x-a", "1" }, { "cookie", "a=1" },
                { "cookie", "b=2" } })
            assert.equal(200, res.status)
            assert.equal("hi", res.body)
            assert.equal("Yes", h2.field(res, "x-mixed-case"))
            assert.equal("2", h2.field(res, "content-length"))
            assert.is_nil(h2.field(res, "connection"))
            local req = e2e.last(up)
            assert.equal("/hi?a=b", req.target)
            assert.equal("HTTP/1.1", req.version)
            assert.same({ "test" }, e2e.values(req.fields, "host"))
            assert.same({ "a=1; b=2" }, e2e.values(req.fields, "cookie"))
            assert.same({ "1" }, e2e.values(req.fields, "x-a"))
            assert.same({ "2.0 rproxy" }, e2e.values(req.fields, "via"))
            assert.equal("none", req.framing)
        end)

        it("of one connection run side by side", function()
            local c = connect()
            local slow = c:request { path = "/hang" }
            for _ = 1, 20 do assert.equal("ours\n", c:get("/ours").body) end
            assert.equal("hi", c:get("/hi").body)
            assert.is_nil(c.streams[slow].status)
        end)

        it("with a body have their length, or are chunked", function()
            local c = connect()
            c:response(c:request { method = "POST", path = "/a", body = "12345",
                fields = { { "content-length", "5" } } })
            local req = e2e.last(up)
            assert.equal("length", req.framing)
            assert.equal("12345", req.body)
            c:response(c:request { method = "POST", path = "/b", body = "12345" })
            req = e2e.last(up)
            assert.equal("chunked", req.framing)
            assert.equal("12345", req.body)
        end)

        it("carry large bodies through small windows", function()
            local c, body = connect(), ("u"):rep(3 * MB)
            assert.equal(200, c:response(c:request { method = "PUT", path = "/put",
                body = body }).status)
            local req = e2e.last(up)
            assert.equal(#body, req.body_len)
            assert.equal(origin.sum(body), req.body_sum)
        end)

        it("pass their trailers on", function()
            local c = connect()
            c:response(c:request { method = "POST", path = "/t", body = "x",
                trailers = { { "x-after", "yes" } } })
            assert.same({ { "x-after", "yes" } }, e2e.last(up).trailers)
        end)

        it("are logged with their protocol", function()
            connect():get("/logged")
            assert.truthy(logged("/logged"):find("HTTP/2", 1, true))
        end)

        it("over the limits get the answers that HTTP/1.1 gets", function()
            local c, many = connect(), {}
            for i = 1, 60 do many[i] = { "x-" .. i, "v" } end
            assert.equal(431, c:get("/a", many).status)
            assert.equal(431, c:get("/a", { { "x-big", ("v"):rep(9000) } }).status)
            assert.equal(414, c:get("/" .. ("p"):rep(3000)).status)
            assert.equal(413, c:response(c:request { method = "POST", authority = "small.test",
                path = "/", body = ("x"):rep(11) }).status)
            assert.equal("hi", c:get("/hi").body) -- the connection goes on
        end)

        it("that mean two things are refused", function()
            local c = connect()
            local n = #up:requests()
            for _, req in ipairs { { fields = { { "host", "other" } } }, { authority = false },
                { path = "nowhere" }, { path = "/%00" }, { path = "/a\\b" }, { path = "" },
                { authority = "user@host" }, { method = "GE T" }, { method = "CONNECT" },
                { method = "GET", protocol = "websocket" },
            } do
                local res = c:response(c:request(req))
                assert.is_true(res.status == 400 or res.status == 405
                    or res.reset == h2.PROTOCOL_ERROR, res.status)
            end
            assert.equal(n, #up:requests())
            assert.equal("hi", c:get("/hi").body)
        end)

        it("that are malformed are reset", function()
            for _, fields in ipairs {
                { { "connection", "close" } }, { { "transfer-encoding", "chunked" } },
                { { "upgrade", "websocket" } }, { { "Upper", "case" } }, { { ":late", "x" } },
                { { "te", "gzip" } }, { { "bad name", "x" } }, { { "x", "a\nb" } },
            } do
                local c = connect()
                local n = #up:requests()
                local res = c:response(c:request { path = "/hi", fields = fields })
                assert.is_true(res.reset == h2.PROTOCOL_ERROR or res.status == 400, fields[1][1])
                assert.equal(n, #up:requests())
                c:close()
            end
        end)

        it("whose content is not as long as they say are reset", function()
            local c = connect()
            local res = c:response(c:request { method = "POST", path = "/x", body = "123456",
                fields = { { "content-length", "5" } } })
            assert.equal(h2.PROTOCOL_ERROR, res.reset)
            res = c:response(c:request { method = "POST", path = "/x", body = "1",
                fields = { { "content-length", "5" } } })
            assert.equal(h2.PROTOCOL_ERROR, res.reset)
        end)
    end)

    describe("responses", function()
        it("of every framing are whole", function()
            local c = connect()
            local res = c:get("/chunked")
            assert.equal(100000, #res.body)
            assert.is_nil(h2.field(res, "transfer-encoding"))
            res = c:get("/empty")
            assert.equal(204, res.status)
            assert.is_nil(h2.field(res, "content-length"))
            res = c:response(c:request { method = "HEAD", path = "/hi" })
            assert.equal("2", h2.field(res, "content-length"))
            assert.equal("", res.body)
            assert.equal(("b"):rep(MB), c:get("/big").body)
        end)

        it("have trailers for those who take them", function()
            local c = connect()
            assert.same({ { "x-sum", "42" } },
                c:get("/trailers", { { "te", "trailers" } }).trailers)
            assert.is_nil(c:get("/trailers").trailers)
        end)

        it("have their interim ones before them", function()
            assert.same({ 103 }, connect():get("/info").interim)
        end)

        it("that break off are reset", function()
            local c = connect()
            local res = c:get("/cut")
            assert.equal(200, res.status)
            assert.equal(h2.INTERNAL_ERROR, res.reset)
            assert.equal("hi", c:get("/hi").body)
        end)

        it("that come before the request ended are whole", function()
            local c = connect()
            local id = c:head { method = "POST", path = "/early", open = true }
            c:data(id, "abc")
            local res = c:response(id)
            assert.equal(403, res.status)
            assert.equal("no", res.body)
            assert.equal("hi", c:get("/hi").body)
        end)

        it("end with their last byte, also where it fills the window", function()
            assert.equal("hi", connect({ windows = false, settings = { { 4, 2 } } }):get("/hi").body)
        end)

        it("wait for the window of their stream, not for that of others", function()
            local c = connect { windows = false, settings = { { 4, 1000 } } }
            local big = c:request { path = "/big" }
            c:wait(function() return #(c.streams[big].pieces or {}) > 0 end)
            assert.equal("hi", c:get("/hi").body)
            assert.equal("ours\n", c:get("/ours").body)
            local got = #table.concat(c.streams[big].pieces)
            assert.equal(1000, got)
            c:send(h2.WINDOW_UPDATE, 0, big, h2.u32(500))
            c:wait(function() return #table.concat(c.streams[big].pieces) == 1500 end)
            c:send(h2.RST_STREAM, 0, big, h2.u32(h2.CANCEL))
            assert.equal("hi", c:get("/hi").body)
        end)
    end)

    describe("connections", function()
        it("announce their limits", function()
            local c = connect()
            c:get("/ours")
            assert.equal(10, c.settings[3])
            assert.equal(65536, c.settings[4])
            assert.equal(8192, c.settings[6])
            assert.equal(1, c.settings[8]) -- extended CONNECT
            assert.equal(1, c.settings[9]) -- RFC 9218 instead of RFC 7540 priorities
        end)

        it("with more streams than announced are ended", function()
            local c = connect()
            c:get("/ours")
            for _ = 1, 11 do c:request { path = "/hang" } end
            c:wait(function() return c.goaway end)
            assert.equal(h2.PROTOCOL_ERROR, c.goaway.code)
        end)

        it("take new streams for those that were cancelled", function()
            local c = connect()
            for _ = 1, 5 do -- at most twice the limit in one read
                for _ = 1, 9 do
                    local id = c:request { path = "/hang" }
                    c:send(h2.RST_STREAM, 0, id, h2.u32(h2.CANCEL))
                end
                assert.equal("ours\n", c:get("/ours").body)
            end
        end)

        it("are told apart from HTTP/1.1 however their preface is cut", function()
            local all = h2.PREFACE .. h2.frame(h2.SETTINGS, 0, 0, "")
            for _, cut in ipairs { 1, 4, 17, 18, 19, 23, 24, 25 } do
                local w = wire.connect(rp.port)
                w:send(all:sub(1, cut))
                http.get(rp.port, "/ours") -- what was sent has been read by then
                w:send(all:sub(cut + 1))
                local c = h2.connect(rp.port, { wire = w, preface = false })
                assert.equal("ours\n", c:get("/ours").body)
            end
            local w = wire.connect(rp.port)
            w:send_split(all)
            local c = h2.connect(rp.port, { wire = w, preface = false })
            assert.equal("ours\n", c:get("/ours").body)
            local res = http.get(rp.port, "/ours")
            assert.equal(200, res.status)
        end)

        it("that begin almost like HTTP/2 are refused", function()
            local w = wire.connect(rp.port)
            w:send("PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n")
            assert.truthy(w:recv_all():find("^HTTP/1.1 [45]"))
        end)

        it("answer PING", function()
            local c = connect()
            c:send(h2.PING, 0, 0, "12345678")
            assert.equal("12345678", c:wait(function() return c.pong end))
        end)

        it("end with GOAWAY on protocol errors", function()
            local c = connect()
            c:get("/ours")
            c:send(h2.DATA, 0, 0, "x")
            c:wait(function() return c.goaway end)
            assert.equal(h2.PROTOCOL_ERROR, c.goaway.code)
            assert.is_true(c:is_closed())
        end)
    end)

    describe("CONNECT for websocket (RFC 8441)", function()
        it("becomes an upgrade", function()
            local c = connect()
            local id = c:head { method = "CONNECT", protocol = "websocket", path = "/ws?x",
                open = true, fields = { { "sec-websocket-version", "13" } } }
            c:wait(function() return c.streams[id].status end)
            assert.equal(200, c.streams[id].status)
            assert.is_nil(h2.field(c.streams[id], "upgrade"))
            local req = e2e.last(up)
            assert.equal("GET", req.method)
            assert.equal("/ws?x", req.target)
            assert.equal("websocket", e2e.field(req, "upgrade"))
            assert.equal(24, #e2e.field(req, "sec-websocket-key"))
            c:data(id, "echo me")
            c:wait(function() return table.concat(c.streams[id].pieces or {}) == "echo me" end)
            c:data(id, "", true)
            c:response(id)
            assert.equal("ours\n", c:get("/ours").body)
        end)

        it("is refused for other protocols", function()
            local c = connect()
            assert.equal(501, c:response(c:request { method = "CONNECT", protocol = "other" }).status)
        end)
    end)
end)
