-- SPDX-License-Identifier: MIT
--
-- The specs' own tools, without rproxy.

local http = require("spec.support.http")
local origin = require("spec.support.origin")
local posix = require("spec.support.posix")
local proc = require("spec.support.proc")
local wire = require("spec.support.wire")

local function clean()
    wire.close_all()
    origin.cleanup()
    proc.cleanup()
end

describe("spec.support.posix", function()
    it("tells exit statuses from signals", function()
        assert.same({ exit = 3 }, posix.wait(posix.spawn { "sh", "-c", "exit 3" }, 5))
        local pid = posix.spawn { "sleep", "30" }
        assert.is_nil(posix.wait(pid, 0))
        posix.kill(pid, "TERM")
        assert.same({ signal = 15 }, posix.wait(pid, 5))
    end)

    it("reports a program that does not exist as status 127", function()
        assert.same({ exit = 127 }, posix.wait(posix.spawn { "no-such-program" }, 5))
    end)

    it("sees listeners and does not give their ports away", function()
        local port = posix.free_port()
        assert.is_false(posix.is_listening(port))
        local server = assert(require("socket").bind("127.0.0.1", port))
        assert.is_true(posix.is_listening(port))
        for _ = 1, 100 do assert.not_equal(port, posix.free_port()) end
        server:close()
    end)

    it("finds the whole tree of a process", function()
        local pid = posix.spawn { "sh", "-c", "sleep 30 & sleep 30 & wait" }
        assert.is_truthy(posix.poll(function() return #posix.tree(pid) == 3 end))
        local tree = posix.tree(pid)
        for _, p in ipairs(tree) do posix.kill(p, "KILL") end
        assert.same({ signal = 9 }, posix.wait(pid, 5))
    end)
end)

describe("spec.support.proc", function()
    after_each(clean)

    it("keeps what a program wrote and how it ended", function()
        local how, out, err = proc.run { "sh", "-c", "echo out; echo err >&2; exit 4" }
        assert.same({ exit = 4 }, how)
        assert.equal("out\n", out)
        assert.equal("err\n", err)
    end)

    it("passes and removes environment variables", function()
        local _, out = proc.run({ "sh", "-c", "echo $A-${HOME-unset}" },
            { env = { A = "x", HOME = false } })
        assert.equal("x-unset\n", out)
    end)

    it("waits for a line of stderr and says what was there when it does not come", function()
        local p = proc.spawn { "sh", "-c", "echo ready port=7 >&2; sleep 30" }
        assert.equal("7", p:wait_stderr("port=(%d+)"))
        assert.error_matches(function() p:wait_stderr("never", 0.05) end, "ready port=7")
    end)

    it("stops a program that ends well, with its children", function()
        local p = proc.spawn { "sh", "-c", "sleep 30 & trap 'kill '$!'; exit 0' TERM; "
            .. "echo ready >&2; wait" }
        p:wait_stderr("ready")
        p:stop()
        assert.is_false(p:is_running())
    end)

    it("fails on a wrong exit status and on a sanitizer's report", function()
        local p = proc.spawn { "sh", "-c", "trap 'exit 9' TERM; echo ready >&2; "
            .. "while :; do sleep 0.01; done" }
        p:wait_stderr("ready")
        assert.error_matches(function() p:stop() end, "exit status 9")

        p = proc.spawn { "sh", "-c", "echo '==1==ERROR: AddressSanitizer: x' >&2" }
        p:wait()
        assert.error_matches(function() p:stop() end, "AddressSanitizer")
    end)

    it("fails on a child left behind, and kills it", function()
        local p = proc.spawn { "sh", "-c", "sleep 30 & trap 'exit 0' TERM; echo ready >&2; wait" }
        p:wait_stderr("ready")
        local child = posix.tree(p.pid)[2]
        assert.error_matches(function() p:stop { children_seconds = 0.1 } end, "outlived it")
        assert.is_truthy(posix.poll(function() return not posix.alive(child) end))
    end)

    it("ends at cleanup what a spec left running", function()
        local p = proc.spawn { "sleep", "30" }
        proc.cleanup()
        assert.is_false(posix.alive(p.pid))
        assert.is_false(posix.exists(p.dir))
    end)

    local bin = os.getenv("RP_BIN")
    local function with_program(path, f)
        posix.C.setenv("RP_BIN", path, 1)
        local ok, err = pcall(f)
        if bin then posix.C.setenv("RP_BIN", bin, 1) else posix.C.unsetenv("RP_BIN") end
        if not ok then error(err, 0) end
    end

    it("says why a program that should listen does not", function()
        with_program("false", function()
            assert.error_matches(function() proc.rproxy { site = "return 1" } end, "exit status 1")
        end)
    end)

    it("fills in the site, writes files beside it and waits until the port listens", function()
        local dir = proc.temp_dir()
        posix.write_file(dir .. "/serve", "#!/bin/sh\ntrap 'kill $!; exit 0' TERM\n"
            .. "luajit -e 'local s = require(\"socket\") L = s.bind(\"127.0.0.1\", tonumber(arg[1])) "
            .. "s.sleep(60)'"
            .. " /dev/null $(grep -o '[0-9][0-9]*' \"$2\" | head -1) & wait\n")
        assert.equal(0, os.execute("chmod +x " .. dir .. "/serve"))
        with_program(dir .. "/serve", function()
            local p = proc.rproxy { site = "return { ${port}, ${x} }", vars = { x = "'y'" },
                files = { ["a.lua"] = "return '${dir}'" } }
            assert.is_true(posix.is_listening(p.port))
            assert.equal(('local rp = require("rproxy") return { %d, \'y\' }'):format(p.port),
                posix.read_file(p.site_path))
            assert.equal("return '" .. p.dir .. "'", posix.read_file(p.dir .. "/a.lua"))
            p:write_site("return { ${port}, ${x} }", { x = 2 })
            assert.is_truthy(posix.read_file(p.site_path):find(", 2 }", 1, true))
            p:stop()
        end)
    end)
end)

describe("spec.support.wire", function()
    after_each(clean)

    it("sends single bytes and shows exactly what came", function()
        local o = origin.start { ["*"] = { { echo = true } } }
        local w = wire.connect(o.port)
        w:send_split("GET / HTTP/1.1\r\n\r\n", 1)
        w:send("one\r\ntwo")
        assert.equal("one\r\n", w:recv_until("\r\n"))
        assert.equal("tw", w:recv(2))
        assert.equal("o", w:recv_some())
        w.timeout = 0.05
        assert.error_matches(function() w:recv(1) end, "timeout")
        assert.is_false(w:is_closed(0.01))
    end)

    it("tells a close from a reset from a timeout", function()
        local o = origin.start {
            ["/close"] = { { send = "bye" }, { close = true } },
            ["/reset"] = { { reset = true } },
            ["/hang"] = { { send = "a" }, { hang = true } },
        }
        local function ask(path)
            local w = wire.connect(o.port)
            w:send("GET " .. path .. " HTTP/1.1\r\n\r\n")
            return { w:recv_all(0.3) }
        end
        assert.same({ "bye", "closed" }, ask("/close"))
        assert.same({ "a", "timeout" }, ask("/hang"))
        assert.equal("", ask("/reset")[1])
        assert.not_equal("timeout", ask("/reset")[2])
    end)

    it("returns nil from a refused connection when that may happen", function()
        local w, err = wire.connect(posix.free_port(), nil, { may_fail = true })
        assert.is_nil(w)
        assert.equal("connection refused", err)
    end)
end)

describe("spec.support.http", function()
    after_each(clean)

    local function read(bytes, opt)
        local o = origin.start { ["*"] = { { send = bytes }, { close = true } } }
        local w = wire.connect(o.port)
        w:send("GET / HTTP/1.1\r\n\r\n")
        return http.read(w, opt)
    end

    it("reads length, chunked and close-delimited bodies", function()
        local res = read("HTTP/1.1 200 Fine\r\nA: 1\r\na:  2 \r\nContent-Length: 3\r\n\r\nabc")
        assert.same({ 200, "Fine", "abc", "length" },
            { res.status, res.reason, res.body, res.framing })
        assert.same({ "1", "2" }, res:all("A"))

        res = read("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            .. "3;x=y\r\nabc\r\nA\r\n0123456789\r\n0\r\nT: v\r\n\r\n")
        assert.equal("abc0123456789", res.body)
        assert.same({ "abc", "0123456789" }, res.chunks)
        assert.same({ { "T", "v" } }, res.trailers)

        res = read("HTTP/1.0 200 OK\r\n\r\nto the end")
        assert.same({ "to the end", "close" }, { res.body, res.framing })
    end)

    it("gathers interim responses and knows that HEAD and 304 have no body", function()
        local res = read("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nL: x\r\n\r\n"
            .. "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nz")
        assert.equal(2, #res.interim)
        assert.equal("x", res.interim[2]:header("l"))
        assert.equal("z", res.body)
        res = read("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", { method = "HEAD" })
        assert.equal("none", res.framing)
        res = read("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n")
        assert.equal("none", res.framing)
    end)

    local refused = {
        ["a bare LF"] = "HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n",
        ["a bare LF between fields"] = "HTTP/1.1 200 OK\r\nA: b\nContent-Length: 0\r\n\r\n",
        ["a blank before the colon"] = "HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n",
        ["a folded line"] = "HTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: 0\r\n\r\n",
        ["two lengths"] = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n",
        ["length with chunked"] =
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ["a signed length"] = "HTTP/1.1 200 OK\r\nContent-Length: +0\r\n\r\n",
        ["a short body"] = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc",
        ["an unfinished chunked body"] =
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        ["a chunk without its CRLF"] =
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
        ["a hexadecimal prefix"] =
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n",
        ["a two-digit status"] = "HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n",
        ["a length on 204"] = "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
        ["an empty connection"] = "",
    }
    for what, bytes in pairs(refused) do
        it("refuses " .. what, function()
            assert.has_error(function() read(bytes) end)
        end)
    end

    it("formats requests", function()
        assert.equal("POST /a HTTP/1.1\r\nHost: h\r\nX: 1\r\nContent-Length: 2\r\n\r\nhi",
            http.format { method = "POST", target = "/a", host = "h", fields = { { "X", "1" } },
                body = "hi" })
    end)
end)

describe("spec.support.origin", function()
    after_each(clean)

    it("answers in many keep-alive connections and records every request", function()
        local o = origin.start { ["/hello"] = { fields = { ["X-A"] = "1" }, body = "hi" } }
        local wires = {}
        for i = 1, 50 do wires[i] = wire.connect(o.port) end
        for n = 1, 2 do
            for _, w in ipairs(wires) do
                local res = http.request(w, { target = "/hello?n=" .. n })
                assert.same({ 200, "hi", "1" }, { res.status, res.body, res:header("x-a") })
            end
        end
        local requests = o:wait_requests(100)
        assert.equal(100, #requests)
        assert.same({ "GET", "/hello?n=2", 2, true }, { requests[100].method,
            requests[100].target, requests[100].n, requests[100].complete })
        assert.equal(50, #o:connections())
        for _, w in ipairs(wires) do w:close() end
        o:wait_connections(function(list)
            for _, conn in ipairs(list) do
                if conn.closed ~= "client" or conn.requests ~= 2 then return false end
            end
            return true
        end)
    end)

    it("records bodies as sent and decoded, and the bytes as they came", function()
        local o = origin.start { ["*"] = { status = 204 } }
        local w = wire.connect(o.port)
        local bytes = "POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
            .. "3\r\nab\0\r\n2;x\r\nde\r\n0\r\nT: 1\r\n\r\n"
        w:send_split(bytes, 1)
        assert.equal(204, http.read(w).status)
        local body = ("0123456789"):rep(200000)
        assert.equal(204, http.request(w, { method = "PUT", target = "/l", body = body }).status)
        local requests = o:wait_requests(2)
        local chunked, sized = requests[1], requests[2]
        assert.same({ "chunked", "ab\0de", 5, { { "T", "1" } } },
            { chunked.framing, chunked.body, chunked.body_len, chunked.trailers })
        assert.same({ "length", #body, origin.sum(body) },
            { sized.framing, sized.body_len, sized.body_sum })
        assert.equal(bytes, o:received(1):sub(1, #bytes))
    end)

    it("pipelines, answers chunked, and answers HEAD without a body", function()
        local o = origin.start {
            ["/c"] = { body = "abcdefg", chunked = 3 },
            ["/h"] = { body = "x" },
        }
        local w = wire.connect(o.port)
        w:send(http.format { target = "/c" } .. http.format { method = "HEAD", target = "/h" }
            .. http.format { target = "/none" })
        local res = http.read(w)
        assert.same({ "abc", "def", "g" }, res.chunks)
        res = http.read(w, { method = "HEAD" })
        assert.equal("1", res:header("content-length"))
        assert.equal(404, http.read(w).status)
    end)

    it("waits for gates, sends big bodies in parts and takes turns", function()
        local head = "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"
        local o = origin.start {
            ["/gate"] = { { send = head:format(2) .. "a" }, { gate = "go" }, { send = "b" } },
            ["/big"] = { { send = head:format(16 * 2 ^ 18) },
                { send = "0123456789abcdef", times = 2 ^ 18 } },
            ["/turns"] = { turns = { { { reset = true } }, { body = "second" } } },
        }
        local w = wire.connect(o.port)
        w:send(http.format { target = "/gate" })
        w:recv_until("\r\n\r\na")
        assert.equal("", w:recv_some(0.05))
        o:open_gate("go")
        assert.equal("b", w:recv(1))
        assert.equal(("0123456789abcdef"):rep(2 ^ 18), http.request(w, { target = "/big" }).body)
        assert.has_error(function() http.get(o.port, "/turns") end)
        assert.equal("second", http.get(o.port, "/turns").body)
        assert.equal("second", http.get(o.port, "/turns").body)
    end)

    it("answers early, and records a request that its client gave up", function()
        local o = origin.start { ["*"] = {
            { send = "HTTP/1.1 413 Big\r\nContent-Length: 0\r\n\r\n" },
            { hang = true },
            early = true,
        } }
        local w = wire.connect(o.port)
        w:send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n123")
        assert.equal(413, http.read(w).status)
        assert.equal(0, #o:requests())
        w:close()
        local request = o:wait_requests(1)[1]
        assert.same({ false, "123" }, { request.complete, request.body })
    end)

    it("does not read while it is paused", function()
        local o = origin.start({ ["*"] = { { pause = true }, { gate = "go" }, { pause = false },
            { body = true }, { send = "HTTP/1.1 204 No Content\r\n\r\n" }, early = true } },
            { rcvbuf = 8192 })
        local w = wire.connect(o.port, nil, { timeout = 0.2 })
        local body = ("x"):rep(32 * 2 ^ 20)
        w:send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: " .. #body .. "\r\n\r\n")
        posix.poll(function() return #o:received(1) > 0 end)
        local ok, err, sent = w.sock:send(body)
        assert.is_nil(ok)
        assert.equal("timeout", err)
        o:open_gate("go")
        w.timeout = 20
        assert.is_true(w:send(body:sub(sent + 1)))
        assert.equal(204, http.read(w).status)
        assert.equal(#body, o:requests()[1].body_len)
    end)

    it("echoes WebSocket frames unmasked", function()
        local o = origin.start { ["*"] = { { send = "HTTP/1.1 101 Switching Protocols\r\n"
            .. "Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n" }, { echo = "ws" } } }
        local w = wire.connect(o.port)
        w:send(http.format {})
        assert.equal(101, http.read(w).status)
        w:send("\129\130\1\2\3\4" .. string.char(bit.bxor(0x68, 1), bit.bxor(0x69, 2)))
        assert.equal("\129\2hi", w:recv(4))
    end)

    it("resets or closes at once when told to", function()
        local o = origin.start({}, { on_accept = "close" })
        local w = wire.connect(o.port)
        assert.is_true(w:is_closed())
        o:wait_connections(function(list) return list[1] and list[1].closed == "origin" end)
    end)
end)
