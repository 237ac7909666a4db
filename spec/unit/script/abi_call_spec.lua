-- SPDX-License-Identifier: MIT
--
-- rp.http.client over connections whose other end the spec plays byte by byte.

local socket = require("socket")

local support = require("spec.unit.script.support")

local site, origin

-- reply(request, conn, n) -> bytes, what ("close"): for each whole request; n counts all of them.
local function server(reply)
    local o = { open = {}, n = 0, listener = assert(socket.bind("127.0.0.1", 0, 64)) }
    o.listener:settimeout(0)
    local _, port = o.listener:getsockname()
    o.port = tonumber(port)
    local function take(conn)
        local head, rest = conn.buf:match("^(.-\r\n\r\n)(.*)$")
        local length = head and tonumber(head:match("Content%-Length: (%d+)") or 0)
        if not head or #rest < length then return nil end
        conn.buf = rest:sub(length + 1)
        return head .. rest:sub(1, length)
    end
    local function serve(conn)
        local data, err, part = conn.sock:receive("*a")
        conn.buf = conn.buf .. (data or part or "")
        conn.gone = conn.gone or err == "closed"
        local request = take(conn)
        if not request then return end
        o.n = o.n + 1
        conn.n = conn.n + 1
        o.last = request
        local out, what = reply(request, conn, o.n)
        if out then conn.sock:send(out) end
        if what == "close" then conn.sock:close() conn.gone = true end
    end
    function o:serve()
        local sock = self.listener:accept()
        if sock then
            sock:settimeout(0)
            self.open[#self.open + 1] = { sock = sock, buf = "", n = 0 }
        end
        for _, conn in ipairs(self.open) do
            if not conn.gone then serve(conn) end
        end
    end
    function o:close()
        for _, conn in ipairs(self.open) do conn.sock:close() end
        self.listener:close()
    end
    origin = o
    return o.port
end

local function ok(body, fields)
    return ("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%s\r\n%s"):format(#body, fields or "", body)
end

-- `c` is a client made at load, BASE where it goes.
local function answer(body, options)
    site = support.site([[ rp.route { "/*", content = function(req) ]] .. body .. [[ end } ]], {
        before = ("local kept\nlocal BASE = 'http://127.0.0.1:%d'\n"
            .. "local c = rp.http.client { base = BASE, timeout = 5, %s }\n"
            .. "local function words(res, err, detail) return res and res.status .. ' ' .. res.body"
            .. " or err, detail end"):format(origin.port, options or "") })
    site.origin = origin
    return site:get("/").body
end

local function fails_with(code, response, more, options)
    server(function() return response, "close" end)
    assert.equal(code, answer(([[ local res, err = c:get("/", { %s })
        return req:exit(200, err or "worked: " .. res.body) ]]):format(more or ""), options))
    site:close()
    site = nil
end

describe("script/abi_call", function()
    after_each(function()
        if site then site:close() end
        site, origin = nil, nil
    end)

    it("asks and answers", function()
        server(function() return ok("hello", "X-One: 1\r\nx-two: a\r\nX-Two: b\r\n") end)
        assert.equal("200 hello 1 a,b nil 1.1 x-two=b", answer [[
            local res = assert(c:get("/a/b", { query = { q = "1 2" }, headers = { ["X-My"] = "v" } }))
            local last
            for _, name, value in res.headers:each() do last = name .. "=" .. value end
            return req:exit(200, ("%d %s %s %s %s %s %s"):format(res.status, res.body,
                res.headers["x-ONE"], table.concat(res.headers:get_all("X-TWO"), ","),
                tostring(res.headers.none), res.version, last)) ]])
        assert.matches("^GET /a/b%?q=1%%202 HTTP/1.1\r\nHost: 127.0.0.1:%d+\r\n", origin.last)
        assert.matches("\r\nX%-My: v\r\n", origin.last)
        assert.matches("\r\nuser%-agent: rproxy\r\n", origin.last)
        assert.is_nil(origin.last:find("Content-Length", 1, true))
    end)

    it("sends bodies", function()
        server(function(request) return ok(request:match("\r\n\r\n(.*)$")) end)
        assert.equal("200 one, two|200 |200 z 100000", answer [[
            local big = ("z"):rep(100000)
            local res = c:request { method = "PUT", url = "/", body = { big } }
            return req:exit(200, words(c:post("/", { "one", ", two" })) .. "|"
                .. words(c:post("/")) .. "|" .. res.status .. " " .. res.body:sub(1, 1) .. " "
                .. #res.body) ]])
    end)

    it("uses a connection again, from any hook and request", function()
        server(function(_, conn) return ok(tostring(conn.n)) end)
        local body = [[ return req:exit(200, words(c:get("/"))) ]]
        assert.equal("200 1", answer(body))
        assert.equal("200 2", site:get("/").body)
        assert.equal("200 3", site:get("/").body)
        assert.equal(1, #origin.open)
    end)

    it("does not where it is told, by either side", function()
        server(function() return ok("x") end)
        answer([[ c:get("/") c:get("/") return req:exit(200) ]], "keepalive = false")
        assert.equal(2, #origin.open)
        site:close()
        server(function() return ok("x", "Connection: close\r\n") end)
        answer [[ c:get("/") c:get("/") return req:exit(200) ]]
        assert.equal(2, #origin.open)
    end)

    it("reads chunks and trailers", function()
        server(function()
            return "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n"
                .. "3\r\nabc\r\n4;e=1\r\ndefg\r\n0\r\nX-Sum: 7\r\n\r\n"
        end)
        assert.equal("200 abcdefg 7", answer [[
            local res = assert(c:get("/"))
            return req:exit(200, words(res) .. " " .. res.trailers:get("x-sum")) ]])
    end)

    it("reads what the end of the connection ends", function()
        server(function() return "HTTP/1.1 200 OK\r\n\r\nall of it", "close" end)
        assert.equal("200 all of it", answer [[ return req:exit(200, words(c:get("/"))) ]])
    end)

    it("knows what has no body", function()
        server(function(request)
            if request:find("^HEAD") then return "HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n" end
            return "HTTP/1.1 204 No Content\r\n\r\n"
        end)
        assert.equal("200 |204 ", answer [[
            return req:exit(200, words(c:request { method = "HEAD", url = "/" }) .. "|"
                .. words(c:get("/"))) ]])
    end)

    it("passes over interim responses", function()
        server(function()
            return "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" .. ok("x")
        end)
        assert.equal("200 x", answer [[ return req:exit(200, words(c:get("/"))) ]])
    end)

    it("streams", function()
        server(function() return ok(("x"):rep(300000)) end)
        assert.equal("300000 nil 300000", answer [[
            local res, n, m = assert(c:get("/", { stream = true })), 0, 0
            for piece in res:chunks() do n = n + #piece end
            local again = res:read()
            local other = assert(c:get("/", { stream = true }))
            while true do
                local piece = other:read()
                if not piece then break end
                m = m + #piece
            end
            return req:exit(200, n .. " " .. tostring(again) .. " " .. m) ]])
        assert.equal(1, #origin.open)
    end)

    it("throws the connection of a response away that was not read", function()
        server(function() return ok(("x"):rep(300000)) end)
        assert.equal("closed 200", answer [[
            local res = assert(c:get("/", { stream = true }))
            res:close()
            local _, err = res:read()
            return req:exit(200, err .. " " .. c:get("/").status) ]])
        assert.equal(2, #origin.open)
    end)

    it("tries once more when a kept connection had been closed", function()
        server(function(_, conn, n)
            if conn.n == 1 then return ok(tostring(n)) end
            return nil, "close"
        end)
        assert.equal("200 1|200 3", answer [[
            return req:exit(200, words(c:get("/")) .. "|" .. words(c:get("/"))) ]])
    end)

    it("does not where that might be done twice", function()
        server(function(_, conn, n)
            if conn.n == 1 then return ok(tostring(n)) end
            return nil, "close"
        end)
        assert.equal("200 1|closed", answer [[
            return req:exit(200, words(c:get("/")) .. "|" .. words(c:post("/", "x"))) ]])
        assert.equal(2, origin.n)
    end)

    it("does not try again on a new connection", function()
        server(function() return nil, "close" end)
        assert.equal("closed", answer [[ return req:exit(200, (words(c:get("/")))) ]])
        assert.equal(1, origin.n)
    end)

    it("says what is wrong with a response", function()
        fails_with("bad_response", "HTP/1.1 200 OK\r\n\r\n")
        fails_with("bad_response", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab")
        fails_with("bad_response", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
        fails_with("bad_response", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n"
            .. "Connection: upgrade\r\n\r\n")
        fails_with("truncated", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nab")
        fails_with("truncated", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab")
        fails_with("truncated", "HTTP/1.1 200 OK\r\nContent-Le")
        fails_with("head_too_big", "HTTP/1.1 200 OK\r\nX: " .. ("y"):rep(200000) .. "\r\n\r\n")
        fails_with("body_too_big", ok(("x"):rep(101)), "max_body = 100")
        fails_with("body_too_big", "HTTP/1.1 200 OK\r\n\r\n" .. ("x"):rep(101), nil, "max_body = 100")
        fails_with("worked: " .. ("x"):rep(100), ok(("x"):rep(100)), "max_body = 100")
    end)

    it("gives up in time, wherever it waits", function()
        server(function(request)
            if request:find("^GET /head") then return "HTTP/1.1 200 OK\r\n" end
            if request:find("^GET /body") then return "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab" end
        end)
        assert.equal("timeout timeout timeout timeout", answer [[
            local list = {}
            for i, url in ipairs { "/none", "/head", "/body" } do
                list[i] = select(2, c:get(url, { timeout = 0.02 }))
            end
            req.deadline = rp.now() + 0.02
            list[4] = select(2, c:get("/none"))
            return req:exit(200, table.concat(list, " ")) ]])
        site:until_true(function()
            for _, conn in ipairs(origin.open) do
                if not conn.gone then return false end
            end
            return true
        end, nil, "the end of all connections")
    end)

    it("says why nothing answers there", function()
        server(function() end)
        assert.equal("refused not_found", answer [[
            local _, a = c:get("http://127.0.0.1:1/")
            local _, b = rp.http.client { unix = "/nonexistent.sock" }:get("http://x/")
            return req:exit(200, a .. " " .. b) ]])
    end)

    it("closes the connection of who is cancelled", function()
        server(function() end)
        assert.equal("timeout", answer [[
            local _, err = rp.deadline(0.03, function() c:get("/") end)
            return req:exit(200, err) ]])
        site:until_true(function() return origin.open[1].gone end)
    end)

    it("writes no line that it was not asked for", function()
        server(function() return ok("x") end)
        assert.equal("invalid invalid invalid raised raised raised raised", answer [[
            local function err(opts) return (select(2, c:request(opts))) end
            local function raises(headers)
                return pcall(c.get, c, "/", { headers = headers }) and "passed" or "raised"
            end
            return req:exit(200, table.concat({ err { url = "/a b" },
                err { url = "/a\r\nX: y" }, err { url = "/", method = "GET /x HTTP/1.1\r\nX:" },
                raises { ["x\r\ny"] = "1" }, raises { x = "1\r\ny: 2" },
                raises { ["content-length"] = "9" }, raises { ["transfer-encoding"] = "chunked" } },
                " ")) ]])
        assert.equal(0, origin.n)
    end)

    it("understands URLs", function()
        server(function(request) return ok(request:match("^%u+ (%S+)")) end)
        assert.equal("200 /|200 /?x|200 /p?a=1&b=2|invalid invalid invalid invalid invalid", answer [[
            local function get(url, opts) return (words(c:get(url, opts))) end
            return req:exit(200, get("") .. "|" .. get(BASE .. "?x#frag") .. "|"
                .. get("p?a=1", { query = "b=2" }) .. "|" .. table.concat({ get("ftp://x/"),
                get("http://u:p@127.0.0.1/"), get("http:///x"), get("http://a:99999/"),
                get("http://[::1/") }, " ")) ]])
    end)

    it("takes another Host", function()
        server(function(request) return ok(request:match("Host: (%S+)")) end)
        assert.equal("200 b.example", answer [[
            return req:exit(200, (words(c:get("/", { headers = { Host = "b.example" } })))) ]])
    end)

    it("does not follow redirects, nor decode", function()
        server(function()
            return "HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Encoding: gzip\r\n"
                .. "Content-Length: 3\r\n\r\n\31\139z"
        end)
        assert.equal("302 \31\139z", answer [[ return req:exit(200, (words(c:get("/")))) ]])
        assert.equal(1, origin.n)
    end)

    it("checks its options at the caller's line", function()
        server(function() end)
        assert.matches('unknown option "bady"; did you mean "body"', answer [[
            local _, err = pcall(function() return c:request { url = "/", bady = "x" } end)
            return req:exit(200, err) ]])
        site:close()
        site = nil
        for _, options in ipairs { "timout = 1", "http = '3'", "max_body = -1", "keepalive = 'x'",
            "base = 'nowhere'" } do
            local conf, err = support.build(support.routes(1, "", "")
                :gsub("return rp.site", "rp.http.client { " .. options .. " }\nreturn rp.site"), nil)
            assert.is_nil(conf)
            assert.matches("^/srv/site/site.lua:%d+: ", err)
        end
    end)

    it("leaves nothing open when a request cannot be written", function()
        server(function() return ok("fine") end)
        assert.equal("true false false false", answer [[
            local function place()
                local res = assert(c:get("/", { stream = true }))
                local index = res.handle % 2 ^ 18 -- of the hold: the one freed last is used next
                res:close()
                return index
            end
            local before = place()
            local a = pcall(c.get, c, "/", { headers = { x = "a\nb" } })
            local b = pcall(c.get, c, "/", { headers = { ["x y"] = "a" } })
            local d = pcall(c.post, c, "/", 7)
            return req:exit(200, table.concat({ tostring(place() == before), tostring(a),
                tostring(b), tostring(d) }, " ")) ]])
    end)

    it("refuses a host that is too long in words of its own", function()
        server(function() return ok("fine") end)
        assert.equal("1 invalid true", answer [[
            local had = assert(rp.exec { argv = { "sh", "-c", "echo secret >&2; exit 1" } })
            local any = rp.http.client()
            local res, err, detail = any:get("http://" .. ("a"):rep(300) .. "/")
            return req:exit(200, table.concat({ had.status, tostring(res or err),
                tostring(not tostring(detail):find("secret")) }, " ")) ]])
    end)

    it("asks the proxy that it runs in", function()
        server(function() end)
        answer("return req:exit(200)")
        site:close()
        site = support.site([[
            rp.route { "/inner", content = function(req) rp.sleep(0.002) return req:exit(200, "inner") end },
            rp.route { "/outer", content = function(req)
                local c = rp.http.client { base = "http://127.0.0.1:" .. req:arg("port") }
                local list = assert(rp.all { function() return c:get("/inner") end,
                    function() return c:get("/inner") end })
                return req:exit(200, list[1].body .. list[2].body) end } ]])
        assert.equal("innerinner", site:get("/outer?port=" .. site.port).body)
    end)
end)
