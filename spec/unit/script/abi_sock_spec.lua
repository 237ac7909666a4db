-- SPDX-License-Identifier: MIT

local socket = require("socket")

local support = require("spec.unit.script.support")

local site, origin

-- A server that answers each connection's bytes by `reply` (a function(bytes) -> bytes | nil).
local function server(reply)
    local o = { open = {}, listener = assert(socket.bind("127.0.0.1", 0, 64)) }
    o.listener:settimeout(0)
    local _, port = o.listener:getsockname()
    o.port = tonumber(port)
    function o:serve()
        local sock = self.listener:accept()
        if sock then
            sock:settimeout(0)
            self.open[#self.open + 1] = { sock = sock, buf = "" }
        end
        for _, conn in ipairs(self.open) do
            local data, err, part = conn.sock:receive("*a")
            conn.buf = conn.buf .. (data or part or "")
            conn.gone = conn.gone or err == "closed"
            local out, close = reply(conn.buf, conn)
            if out then
                conn.buf = ""
                conn.sock:send(out)
            end
            if close then conn.sock:close() end
        end
    end
    function o:close()
        for _, conn in ipairs(self.open) do conn.sock:close() end
        self.listener:close()
    end
    origin = o
    return o.port
end

local function answer(body, port)
    site = support.site(([[ rp.route { "/*", content = function(req)
        local PORT = %d
        %s end } ]]):format(port, body), { before = "local kept" })
    site.origin = origin
    return site:get("/").body
end

describe("script/abi_sock", function()
    after_each(function()
        if site then site:close() end
        site, origin = nil, nil
    end)

    it("connects, writes, reads lines and bytes", function()
        local port = server(function(buf)
            if buf == "ping\n" then return "line one\r\nline two\nabcdefgh" end
        end)
        assert.equal("line one|line two|abc|defgh", answer([[
            local s = assert(rp.tcp.connect { host = "127.0.0.1", port = PORT })
            assert(s:write { "pi", "ng\n" })
            local a, b = s:read("line"), s:read("line")
            local c, d = s:read(3), s:read("*any")
            return req:exit(200, table.concat({ a, b, c, d }, "|")) ]], port))
    end)

    it("says closed at the end of the stream", function()
        local port = server(function(buf) if buf == "x" then return "abc", true end end)
        assert.equal("abc nil closed", answer([[
            local s = assert(rp.tcp.connect { host = "127.0.0.1", port = PORT })
            s:write("x")
            local all = s:read("*any")
            local more, err = s:read(1)
            return req:exit(200, all .. " " .. tostring(more) .. " " .. err) ]], port))
    end)

    it("keeps half a line for the next read", function()
        local n = 0
        local port = server(function(buf, conn)
            n = n + 1
            if buf == "x" then return "first ha" end
            if not conn.sent and n > 20 then conn.sent = true return "lf\nsecond\n" end
        end)
        assert.equal("first half,second", answer([[
            local s = assert(rp.tcp.connect { host = "127.0.0.1", port = PORT })
            s:write("x")
            local a, b = s:read("line"), s:read("line")
            return req:exit(200, a .. "," .. b) ]], port))
    end)

    it("times out", function()
        local port = server(function() end)
        assert.equal("nil timeout", answer([[
            local s = assert(rp.tcp.connect { host = "127.0.0.1", port = PORT, timeout = 0.03 })
            local a, err = s:read("line")
            return req:exit(200, tostring(a) .. " " .. err) ]], port))
    end)

    it("says connection refused", function()
        assert.equal("nil connection refused", answer([[
            local s, err = rp.tcp.connect { host = "127.0.0.1", port = PORT }
            return req:exit(200, tostring(s) .. " " .. err) ]], 1))
    end)

    it("connects to names through the resolver", function()
        local port = server(function(buf) if buf == "x" then return "ok" end end)
        assert.equal("ok", answer([[
            local s, err = rp.tcp.connect { host = "localhost", port = PORT }
            if not s then return req:exit(200, err) end
            s:write("x")
            return req:exit(200, s:read(2)) ]], port))
    end)

    it("says that a name is not known", function()
        assert.matches("^nil .", answer([[
            local s, err = rp.tcp.connect { host = "no-such-name.invalid", port = 80, timeout = 3 }
            return req:exit(200, tostring(s) .. " " .. tostring(err)) ]], 1))
    end)

    it("says that a unix socket is not there", function()
        assert.equal("nil no such unix socket", answer([[
            local s, err = rp.tcp.connect { unix = "/nonexistent/x.sock" }
            return req:exit(200, tostring(s) .. " " .. err) ]], 1))
    end)

    it("sends more than the kernel takes at once", function()
        local got = 0
        local port = server(function(buf, conn)
            got = got + #buf
            conn.buf = ""
            if got >= 4e6 then got = -1e9 return "done" end
        end)
        assert.equal("done", answer([[
            local s = assert(rp.tcp.connect { host = "127.0.0.1", port = PORT })
            assert(s:write(("x"):rep(4e6)))
            return req:exit(200, s:read(4)) ]], port))
    end)

    it("closes with the request", function()
        local port = server(function(buf) if buf == "x" then return "ok" end end)
        answer([[ local s = assert(rp.tcp.connect { host = "127.0.0.1", port = PORT })
            s:write("x") s:read(2) return req:exit(200) ]], port)
        site:until_true(function() return origin.open[1].gone end)
    end)

    it("refuses a socket of another request and a closed one", function()
        local port = server(function(buf) if buf == "x" then return "ok" end end)
        local body = answer([[
            if kept then
                local a, err = kept:read(1)
                return req:exit(200, tostring(a) .. " " .. err)
            end
            kept = assert(rp.tcp.connect { host = "127.0.0.1", port = PORT })
            kept:close()
            local a, err = kept:write("x")
            return req:exit(200, tostring(a) .. " " .. err) ]], port)
        assert.matches("^nil the socket is closed", body)
        assert.matches("^nil the socket is closed", site:get("/").body)
    end)

    it("checks its arguments at the caller's line", function()
        assert.matches("site.lua:%d+: rp.tcp.connect takes host", answer([[
            local _, err = pcall(rp.tcp.connect, { host = "x" })
            local _, line = pcall(function() local s = rp.tcp.connect { port = 1 } return s end)
            return req:exit(200, line) ]], 1))
    end)

    it("closes the sockets of a hook that is cancelled while it reads", function()
        local port = server(function() end)
        site = support.site(([[ rp.route { "/*", content = function(req)
            local s = assert(rp.tcp.connect { host = "127.0.0.1", port = %d })
            s:read("line") end } ]]):format(port))
        site.origin = origin
        local sock = site:connect()
        sock:send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        site:until_true(function() return origin.open[1] end)
        site:turn(3)
        sock:close()
        site:until_true(function() return origin.open[1].gone end)
    end)
end)
