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
        assert.equal("nil refused connection refused", answer([[
            local s, err, detail = rp.tcp.connect { host = "127.0.0.1", port = PORT }
            return req:exit(200, tostring(s) .. " " .. err .. " " .. detail) ]], 1))
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
        for _, call in ipairs { "tcp.connect { unix = '/nonexistent/x.sock' }",
            "unix.connect '/nonexistent/x.sock'" } do
            assert.equal("nil not_found no such unix socket", answer([[
                local s, err, detail = rp.]] .. call .. [[
                return req:exit(200, tostring(s) .. " " .. err .. " " .. detail) ]], 1))
            site:close()
            site = nil
        end
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
                local a, err, detail = kept:read(1)
                return req:exit(200, tostring(a) .. " " .. err .. " " .. detail)
            end
            kept = assert(rp.tcp.connect { host = "127.0.0.1", port = PORT })
            kept:close()
            local a, err, detail = kept:write("x")
            return req:exit(200, tostring(a) .. " " .. err .. " " .. detail) ]], port)
        assert.matches("^nil stale the socket is closed", body)
        assert.matches("^nil stale the socket is closed", site:get("/").body)
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

    it("reads up to a mark, and no further than it is told", function()
        local port = server(function(buf)
            if buf == "x" then return "key: value--\r\n--rest of it--\r\n--" .. ("y"):rep(100) end
        end)
        assert.equal("key: value|rest of it|too_big|yyy", answer([[
            local s = assert(rp.tcp.connect { host = "127.0.0.1", port = PORT })
            s:write("x")
            local a, b = s:read_until("--\r\n--"), s:read_until("--\r\n--", 10)
            local _, err = s:read_until("--\r\n--", 20)
            return req:exit(200, table.concat({ a, b, err, s:read(3) }, "|")) ]], port))
    end)

    it("finds a mark that comes in pieces", function()
        local n = 0
        local port = server(function(_, conn)
            n = n + 1
            conn.buf = ""
            return n < 30 and ("a-"):rep(3) or "a-+done"
        end)
        assert.equal("true done", answer([[
            local s = assert(rp.tcp.connect { host = "127.0.0.1", port = PORT })
            s:write("x")
            local text = s:read_until("-+")
            return req:exit(200, tostring(text:find("^[a-]+$") ~= nil) .. " " .. s:read(4)) ]], port))
    end)

    it("looks for another mark in what it has", function()
        local port = server(function(buf) if buf == "x" then return "one\ntwo--three" end end)
        assert.equal("timeout one two", answer([[
            local s = assert(rp.tcp.connect { host = "127.0.0.1", port = PORT, timeout = 0.2 })
            s:write("x")
            local _, err = s:read_until("++")
            return req:exit(200, table.concat({ err, tostring(s:read("line")),
                tostring(s:read_until("--")) }, " ")) ]], port))
    end)

    describe("released", function()
        local function echo()
            return server(function(buf) if #buf > 0 then return buf end end)
        end

        it("serve the next who connects to the same place", function()
            local port = echo()
            assert.equal("0 true 1 ab", answer([[
                local s = assert(rp.tcp.connect { host = "127.0.0.1", port = PORT })
                assert(s:write("x") and s:read(1) == "x")
                local kept = s:release()
                local t = assert(rp.tcp.connect { host = "127.0.0.1", port = PORT })
                t:write("ab")
                return req:exit(200, ("%d %s %d %s"):format(s.reused, tostring(kept), t.reused,
                    t:read(2))) ]], port))
            assert.equal(1, #origin.open)
        end)

        it("outlive the request, and are of no use to who released them", function()
            local port = echo()
            local body = [[
                local s = assert(rp.tcp.connect { host = "127.0.0.1", port = PORT })
                assert(s:write("x") and s:read(1) == "x")
                s:release()
                local _, err = s:write("y")
                return req:exit(200, s.reused .. " " .. err) ]]
            assert.equal("0 stale", answer(body, port))
            assert.equal("1 stale", site:get("/").body)
            assert.equal("2 stale", site:get("/").body)
            assert.equal(1, #origin.open)
        end)

        it("are not for other pools, nor for who wants a new one", function()
            local port = echo()
            assert.equal("0 0 1", answer([[
                local where = { host = "127.0.0.1", port = PORT, pool = "a" }
                assert(rp.tcp.connect(where)):release()
                local b = assert(rp.tcp.connect { host = "127.0.0.1", port = PORT, pool = "b" })
                local f = assert(rp.tcp.connect { host = "127.0.0.1", port = PORT, pool = false })
                local a = assert(rp.tcp.connect(where))
                return req:exit(200, b.reused .. " " .. f.reused .. " " .. a.reused) ]], port))
        end)

        it("are bounded in number and time", function()
            local port = echo()
            answer([[
                local list = {}
                for i = 1, 5 do
                    list[i] = assert(rp.tcp.connect { host = "127.0.0.1", port = PORT })
                end
                for i = 1, 5 do list[i]:release { max = 2, idle = 0.05 } end
                return req:exit(200) ]], port)
            local function gone()
                local n = 0
                for _, conn in ipairs(origin.open) do n = n + (conn.gone and 1 or 0) end
                return n
            end
            site:until_true(function() return gone() >= 3 end, nil, "the end of three")
            site:until_true(function() return gone() == 5 end, nil, "the end of all")
        end)

        it("are closed when the other side says anything, and when it goes", function()
            local port = server(function(buf, conn)
                if buf == "end" then return "bye", true end
                if buf == "talk" and not conn.said then conn.said = true return "ok" end
                if conn.said then conn.said = nil return "more" end
            end)
            local body = [[
                local s = assert(rp.tcp.connect { host = "127.0.0.1", port = PORT })
                s:write(req:arg("q")) s:read(tonumber(req:arg("n")))
                s:release()
                return req:exit(200, tostring(s.reused)) ]]
            assert.equal("", answer(body, port) == "x" and "" or "")
            assert.equal("0", site:get("/?q=end&n=3").body)
            site:until_true(function() return #origin.open > 0 end)
            site:turn(10)
            assert.equal("0", site:get("/?q=talk&n=2").body)
            site:turn(20)
            assert.equal("0", site:get("/?q=talk&n=2").body)
        end)

        it("are closed instead while something is unread", function()
            local port = server(function(buf) if buf == "x" then return "abc" end end)
            assert.equal("false 0", answer([[
                local s = assert(rp.tcp.connect { host = "127.0.0.1", port = PORT })
                s:write("x") s:read(2)
                local kept = s:release()
                local t = assert(rp.tcp.connect { host = "127.0.0.1", port = PORT })
                return req:exit(200, tostring(kept) .. " " .. t.reused) ]], port))
        end)
    end)

    it("lets one task read while another writes, and no two read", function()
        local port = server(function(buf) if buf:sub(-1) == "." then return "answer" end end)
        assert.equal("answer busy", answer([[
            local s = assert(rp.tcp.connect { host = "127.0.0.1", port = PORT })
            local reader = rp.spawn(function() return s:read(6) end)
            rp.sleep(0.002)
            local _, err = s:read(1)
            s:write("go.")
            local _, bytes = reader:wait()
            return req:exit(200, bytes .. " " .. err) ]], port))
    end)

    it("closes the sockets of a task that is cancelled, and those it was given", function()
        local port = server(function() end)
        assert.equal("stale", answer([[
            local s
            local task = rp.spawn(function()
                rp.spawn(function()
                    s = assert(rp.tcp.connect { host = "127.0.0.1", port = PORT })
                end):wait()
                s:read("line")
            end)
            rp.sleep(0.03)
            task:cancel()
            rp.sleep(0.01)
            local _, err = s:write("x")
            return req:exit(200, err) ]], port))
        site:until_true(function() return origin.open[1].gone end)
    end)

    it("leaves the sockets of a task that ended well to who goes on", function()
        local port = server(function(buf) if buf == "x" then return "y" end end)
        assert.equal("y", answer([[
            local list = assert(rp.all { function()
                return rp.tcp.connect { host = "127.0.0.1", port = PORT }
            end })
            list[1]:write("x")
            return req:exit(200, list[1]:read(1)) ]], port))
    end)

    it("ends what it waits for by the request's deadline", function()
        local port = server(function() end)
        assert.equal("timeout true", answer([[
            req.deadline = rp.now() + 0.03
            local left = req.deadline - rp.now()
            local s = assert(rp.tcp.connect { host = "127.0.0.1", port = PORT })
            local _, err = s:read(1)
            return req:exit(200, err .. " " .. tostring(left > 0 and left <= 0.031)) ]], port))
    end)

    it("does not wake a sleep with what came too late for a read", function()
        local port = server(function(_, conn)
            conn.n = (conn.n or 0) + 1
            if conn.n == 40 then return "late" end
        end)
        local ms = tonumber(answer([[
            local s = assert(rp.tcp.connect { host = "127.0.0.1", port = PORT, timeout = 0.01 })
            s:read(1)
            local t = rp.clock()
            rp.sleep(0.2)
            return req:exit(200, tostring((rp.clock() - t) / 1e6)) ]], port))
        assert.is_true(ms >= 195, ms)
    end)

    it("tells who waits that another task closed it", function()
        local port = server(function() end)
        assert.equal("stale", answer([[
            local s = assert(rp.tcp.connect { host = "127.0.0.1", port = PORT })
            local reader = rp.spawn(function() return (select(2, s:read(1))) end)
            rp.sleep(0.002)
            s:close()
            local _, err = reader:wait()
            return req:exit(200, err) ]], port))
    end)
end)
