-- SPDX-License-Identifier: MIT
--
-- Access log and error log: exact lines, fields, reason words, reopening.

local e2e = require("spec.support.e2e")
local http = require("spec.support.http")
local origin = require("spec.support.origin")
local posix = require("spec.support.posix")
local proc = require("spec.support.proc")
local protocol = require("spec.support.protocol")
local wire = require("spec.support.wire")

local ROUTES = [[
    limits = { body = 1000 },
    upstreams = {
        o = rp.upstream { peers = { "127.0.0.1:${origin}" } },
        dead = rp.upstream { peers = { "127.0.0.1:${dead}" } },
    },
    hosts = {
        rp.host { "known.example", routes = { rp.route { "/", respond = { 200 } } } },
        rp.host { default = true, routes = {
            rp.route { "GET /only-get", respond = { 200, "got\n" } },
            rp.route { "/quiet", respond = { 200, "quiet\n" }, access_log = false },
            rp.route { "/dead", upstream = "dead" },
            rp.route { "/hook", name = "the hook", upstream = "o", use = { {
                access = function(req)
                    req.ctx.tenant, req.ctx.n, req.ctx.flag = "acme \"inc\"", 7, true
                    req.consumer = "alice"
                end } } },
            rp.route { "/raise", content = function() error("on purpose") end },
            rp.route { "/say", content = function(req)
                rp.log.info("hello", { a = 1, b = "two words", c = "line\nbreak" })
                rp.log.debug("not this one")
                return req:exit(200, req.id)
            end },
            rp.route { "/exit", content = function(req) return req:exit(403, "no") end },
            rp.route { "/gone/*", respond = { 200 }, when = { query = { never = "1" } } },
            rp.route { "/o/*", upstream = "o" } } } },
]]

describe("logs", function()
    local up, dead

    setup(function()
        dead = posix.free_port()
        up = origin.start {
            ["/o/closes"] = { { close = true } },
            ["/o/hang"] = { { hang = true } },
            ["/o/short"] = { { send = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi" },
                { close = true } },
            ["*"] = { status = 200, fields = { ["X-Kind"] = "a \"quoted\" kind" }, body = "12345" },
        }
    end)

    teardown(function()
        origin.cleanup()
        proc.cleanup()
    end)
    after_each(wire.close_all)

    local function start(log)
        return e2e.proxy { vars = { origin = up.port, dead = dead },
            site = ("log = { %s },"):format(log) .. ROUTES }
    end

    --- Wait for the n-th line of a file; returns all lines.
    local function lines(path, n)
        local found
        posix.poll(function()
            found = {}
            for line in (posix.read_file(path) or ""):gmatch("([^\n]*)\n") do
                found[#found + 1] = line
            end
            return #found >= n
        end)
        if #found < n then
            error(("%d lines, not %d: %s"):format(#found, n, posix.read_file(path) or "-"), 2)
        end
        return found
    end

    local function stop(rp)
        wire.close_all()
        rp:stop()
    end

    -- ------------------------------------------------------------ combined

    describe("combined", function()
        local rp, path, n

        setup(function()
            rp = start [[ access = { to = "${dir}/access.log", buffer = 0 } ]]
            path, n = rp.dir .. "/access.log", 0
        end)
        teardown(function() stop(rp) end)

        local TIME = "%[%d%d/%u%l%l/%d%d%d%d:%d%d:%d%d:%d%d %+0000%]"

        local function next_line()
            n = n + 1
            local line = lines(path, n)[n]
            assert.truthy(line:find(TIME), line)
            return (line:gsub(TIME, "[]"))
        end

        it("is Apache's and nginx's line", function()
            http.get(rp.port, "/o/x?a=1&b=%20", { ["User-Agent"] = "curl/8",
                Referer = "http://r/" })
            assert.equal('127.0.0.1 - - [] "GET /o/x?a=1&b=%20 ' .. protocol.version ..
                '" 200 5 "http://r/" "curl/8"', next_line())
        end)

        it("has a dash for what is absent", function()
            protocol.only("h1 client", "HTTP/1.0 without a host")
            local w = wire.connect(rp.port)
            w:send("HEAD /o/x HTTP/1.0\r\n\r\n")
            w:recv_all(20)
            assert.equal('127.0.0.1 - - [] "HEAD /o/x HTTP/1.0" 200 0 "-" "-"', next_line())
        end)

        it("cannot be broken by what clients send", function()
            http.get(rp.port, "/o/x", { ["User-Agent"] = 'a" 200 "b\\\xe9\t' .. "c" })
            assert.equal('127.0.0.1 - - [] "GET /o/x ' .. protocol.version .. '" 200 5 "-" ' ..
                '"a\\x22 200 \\x22b\\x5C\\xE9\\x09c"', next_line())
        end)

        it("has a line for a request that cannot be read", function()
            protocol.only("h1 client", "a head that cannot be read")
            local w = wire.connect(rp.port)
            w:send("GET /\1 HTTP/1.1\r\n\r\n")
            assert.equal(400, http.read(w).status)
            assert.truthy(next_line():find('^127.0.0.1 %- %- %[%] "[^"]*" 400 %d+ "%-" "%-"$'))
        end)

        it("has no line for a connection that asked nothing", function()
            wire.connect(rp.port):close()
            http.get(rp.port, "/only-get")
            assert.equal(('127.0.0.1 - - [] "GET /only-get %s" 200 4 "-" "-"'):format(
                protocol.version), next_line())
        end)

        it("has no line for a route that says so", function()
            http.get(rp.port, "/quiet")
            http.get(rp.port, "/only-get")
            assert.equal(('127.0.0.1 - - [] "GET /only-get %s" 200 4 "-" "-"'):format(
                protocol.version), next_line())
        end)
    end)

    -- ------------------------------------------------------------ json

    describe("json", function()
        local rp, path, n

        setup(function()
            rp = start [[ access = { to = "${dir}/access.log", buffer = 0, format = "json",
                fields = { "remote_ip", "peer_ip", "method", "scheme", "host", "path", "query",
                    "uri", "protocol", "status", "bytes", "bytes_in", "upstream", "upstream_addr",
                    "tries", "route", "reason", "consumer", "user_agent", "referer", "cache",
                    "conn_requests", "request.x-a", "response.x-kind", "ctx.tenant", "ctx.n",
                    "ctx.flag", "ctx.none" } } ]]
            path, n = rp.dir .. "/access.log", 0
        end)
        teardown(function() stop(rp) end)

        local function next_line()
            n = n + 1
            return lines(path, n)[n]
        end

        local function line_of(values)
            return (values:gsub("\n%s*", ""):gsub("ORIGIN", "127.0.0.1:" .. up.port):gsub("SCHEME",
                protocol.scheme):gsub("PROTOCOL", protocol.version))
        end

        it("has exactly the chosen fields, in order", function()
            http.get(rp.port, { method = "POST", target = "/hook?q=1", host = "h.org:81",
                body = "body", fields = { ["X-A"] = "1", ["User-Agent"] = "u" } })
            assert.equal(line_of [[{"remote_ip":"127.0.0.1","peer_ip":"127.0.0.1",
                "method":"POST","scheme":"SCHEME","host":"h.org","path":"/hook","query":"q=1",
                "uri":"/hook?q=1","protocol":"PROTOCOL","status":200,"bytes":5,"bytes_in":4,
                "upstream":"ORIGIN","upstream_addr":"ORIGIN","tries":1,"route":"the hook",
                "reason":"","consumer":"alice","user_agent":"u","referer":null,"cache":null,
                "conn_requests":1,"request.x-a":"1","response.x-kind":"a \"quoted\" kind",
                "ctx.tenant":"acme \"inc\"","ctx.n":"7","ctx.flag":"true","ctx.none":null}]],
                next_line())
        end)

        it("has null for what did not happen", function()
            http.get(rp.port, "/only-get")
            assert.equal(line_of [[{"remote_ip":"127.0.0.1","peer_ip":"127.0.0.1",
                "method":"GET","scheme":"SCHEME","host":"localhost","path":"/only-get","query":null,
                "uri":"/only-get","protocol":"PROTOCOL","status":200,"bytes":4,"bytes_in":0,
                "upstream":null,"upstream_addr":null,"tries":0,"route":"default GET /only-get",
                "reason":"","consumer":null,"user_agent":null,"referer":null,"cache":null,
                "conn_requests":1,"request.x-a":null,"response.x-kind":null,
                "ctx.tenant":null,"ctx.n":null,"ctx.flag":null,"ctx.none":null}]], next_line())
        end)

        it("is JSON whatever clients send", function()
            http.get(rp.port, "/o/x", { ["User-Agent"] = 'a"\\\t' .. "\xc3\xa9\xff" })
            local line = next_line()
            local value = line:match('"user_agent":"(.-)","referer"')
            assert.truthy(value:find('^a\\"\\\\\\t'), value)
            assert.is_nil(line:find("\xff", 1, true))
        end)

        it("counts the requests of a connection", function()
            local w = wire.connect(rp.port)
            for i = 1, 3 do
                http.request(w, { target = "/only-get" })
                assert.truthy(next_line():find(('"conn_requests":%d,'):format(i), 1, true))
            end
        end)
    end)

    describe("json", function()
        local rp, path

        setup(function()
            rp = start [[ access = { to = "${dir}/access.log", buffer = 0, format = "json",
                fields = { "id", "time", "duration", "upstream_time", "connect_time",
                    "first_byte_time", "wire_bytes", "conn" } } ]]
            path = rp.dir .. "/access.log"
        end)
        teardown(function() stop(rp) end)

        it("has times in seconds, and the id that hooks see", function()
            local id = http.get(rp.port, "/say").body
            http.get(rp.port, "/o/x")
            http.get(rp.port, "/o/x")
            local all = lines(path, 3)
            assert.truthy(all[1]:find('^{"id":"' .. id ..
                '","time":"%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%d%.%d%d%dZ","duration":%d+%.%d%d%d,' ..
                '"upstream_time":null,"connect_time":null,"first_byte_time":null,' ..
                '"wire_bytes":%d+,"conn":1}$'), all[1])
            assert.truthy(all[2]:find('"upstream_time":0%.%d%d%d,"connect_time":0%.%d%d%d,' ..
                '"first_byte_time":0%.%d%d%d,'), all[2])
            assert.truthy(all[3]:find('"connect_time":null,"first_byte_time":0%.%d%d%d,'), all[3])
        end)
    end)

    describe("json", function()
        it("has its default fields when none are chosen", function()
            local rp = start [[ access = { to = "${dir}/access.log", buffer = 0,
                format = "json" } ]]
            http.get(rp.port, "/only-get")
            local names = {}
            for name in lines(rp.dir .. "/access.log", 1)[1]:gmatch('[{,]"([%w_]+)":') do
                names[#names + 1] = name
            end
            assert.same({ "time", "id", "remote_ip", "method", "host", "uri", "protocol", "status",
                "bytes", "duration", "upstream", "upstream_time", "user_agent", "referer" }, names)
            stop(rp)
        end)
    end)

    -- ------------------------------------------------------------ reasons

    describe("the reason", function()
        local rp, n

        setup(function()
            rp = start [[ access = { to = "${dir}/access.log", buffer = 0, format = "json",
                fields = { "status", "reason" } } ]]
            n = 0
        end)
        teardown(function() stop(rp) end)

        local function next_line()
            n = n + 1
            return lines(rp.dir .. "/access.log", n)[n]
        end

        for _, case in ipairs {
            { 404, "no_route", { target = "/none" } },
            { 404, "no_route", { target = "/gone/x" } },
            { 405, "method_not_allowed", { method = "PUT", target = "/only-get" } },
            { 413, "body_too_big", { method = "POST", target = "/o/x",
                fields = { ["Content-Length"] = "1001" } } },
            { 502, "upstream_connect", { target = "/dead" } },
            { 502, "upstream_closed", { target = "/o/closes" } },
            { 500, "hook_error", { target = "/raise" } },
            { 403, "", { target = "/exit" } },
            { 200, "", { target = "/o/x" } },
        } do
            it(("of a %d is %q"):format(case[1], case[2]), function()
                assert.equal(case[1], http.get(rp.port, case[3]).status)
                assert.equal(('{"status":%d,"reason":"%s"}'):format(case[1], case[2]), next_line())
            end)
        end

        for _, case in ipairs {
            { 400, "bad_host", "GET / HTTP/1.1\r\n\r\n" },
            { 400, "bad_request", "GET / HTCPCP/1.1\r\n\r\n" },
            { 400, "bad_framing", "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n" },
            { 505, "bad_version", "GET / HTTP/2.0\r\nHost: a\r\n\r\n" },
            { 400, "bad_target", "GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n" },
            { 400, "bad_field", "GET / HTTP/1.1\r\nHost: a\r\nA b: c\r\n\r\n" },
        } do
            it(("of a %d is %q"):format(case[1], case[2]), function()
                if not case[3]:find("^GET /%%zz") then
                    protocol.only("h1 client", "a head that cannot be read")
                end
                local w = wire.connect(rp.port)
                w:send(case[3])
                assert.equal(case[1], http.read(w).status)
                assert.equal(('{"status":%d,"reason":"%s"}'):format(case[1], case[2]), next_line())
            end)
        end

        it("of a body that breaks off upstream is upstream_truncated", function()
            local w = wire.connect(rp.port)
            w:send(http.format { target = "/o/short" })
            w:recv_all(20)
            assert.equal('{"status":200,"reason":"upstream_truncated"}', next_line())
        end)

        it("of a client that leaves is client_gone", function()
            local w = wire.connect(rp.port)
            local before = #up:requests()
            w:send(http.format { target = "/o/hang" })
            up:wait_requests(before + 1)
            w:close()
            assert.equal('{"status":499,"reason":"client_gone"}', next_line())
        end)

        it("of an unknown host without a default is misdirected", function()
            local other = proc.rproxy { site = [[ return rp.site {
                workers = 1, listeners = { rp.listen { "127.0.0.1:${port}" } },
                log = { access = { to = "${dir}/access.log", buffer = 0, format = "json",
                    fields = { "status", "reason" } } },
                hosts = { rp.host { "known.example", routes = {
                    rp.route { "/", respond = { 200 } } } } } } ]] }
            assert.equal(421, http.get(other.port, "/").status)
            assert.equal('{"status":421,"reason":"misdirected"}',
                lines(other.dir .. "/access.log", 1)[1])
            stop(other)
        end)
    end)

    -- ------------------------------------------------------------ writing

    describe("writing", function()
        it("goes to stdout where asked", function()
            local rp = start [[ access = { to = "stdout", buffer = 0 } ]]
            http.get(rp.port, "/only-get")
            assert.truthy(lines(rp.dir .. "/stdout", 1)[1]:find("GET /only-get", 1, true))
            stop(rp)
        end)

        it("happens at the latest after the flush time", function()
            local rp = start [[ access = { to = "${dir}/access.log", flush = 0.05 } ]]
            http.get(rp.port, "/only-get")
            lines(rp.dir .. "/access.log", 1)
            stop(rp)
        end)

        it("happens at the end for what is still buffered", function()
            local rp = start [[ access = { to = "${dir}/access.log", flush = 3600 } ]]
            for _ = 1, 5 do http.get(rp.port, "/only-get") end
            assert.equal("", posix.read_file(rp.dir .. "/access.log"))
            rp:stop { signal = "QUIT" }
            assert.equal(5, #lines(rp.dir .. "/access.log", 5))
        end)

        it("goes on in a new file after USR1", function()
            local rp = start [[ access = { to = "${dir}/access.log", buffer = 0 },
                error = { to = "${dir}/error.log", level = "info" } ]]
            local access, errors = rp.dir .. "/access.log", rp.dir .. "/error.log"
            http.get(rp.port, "/only-get?old")
            http.get(rp.port, "/raise")
            lines(access, 2)
            posix.C.rename(access, access .. ".1")
            posix.C.rename(errors, errors .. ".1")
            rp:signal("USR1")
            assert.truthy(posix.poll(function()
                http.get(rp.port, "/only-get?new")
                return (posix.read_file(access) or ""):find("?new", 1, true)
            end))
            http.get(rp.port, "/raise")
            assert.truthy(posix.poll(function()
                return (posix.read_file(errors) or ""):find("hook failed", 1, true)
            end))
            assert.truthy(posix.read_file(access .. ".1"):find("?old", 1, true))
            assert.is_nil(posix.read_file(access):find("?old", 1, true))
            stop(rp)
        end)
    end)

    -- ------------------------------------------------------------ error log

    describe("the error log", function()
        it("has time, level, process, words and fields", function()
            local rp = start ""
            http.get(rp.port, "/dead")
            local line = rp:wait_stderr("[^\n]*upstream connect failed[^\n]*")
            assert.truthy(line:find("^%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%d%.%d%d%dZ warn %[%d+%] " ..
                "upstream connect failed upstream=dead peer=127%.0%.0%.1:" .. dead ..
                ' try=1 error="Connection refused" request=%x+$'), line)
            stop(rp)
        end)

        it("has what hooks log, with the request's id, and nothing below its level", function()
            local rp = start ""
            local id = http.get(rp.port, "/say").body
            local line = rp:wait_stderr("[^\n]*hello[^\n]*")
            assert.truthy(line:find(" info %[%d+%] hello "), line)
            assert.truthy(line:find("a=1", 1, true), line)
            assert.truthy(line:find('b="two words"', 1, true), line)
            assert.truthy(line:find("request=" .. id, 1, true), line)
            assert.truthy(line:find("c=\"line\\x0abreak\"", 1, true), line)
            assert.is_nil(rp:stderr():find("not this one", 1, true))
            stop(rp)
        end)

        it("leaves out what is below its level", function()
            local rp = start [[ error = { to = "${dir}/error.log", level = "error" } ]]
            http.get(rp.port, "/dead")
            http.get(rp.port, "/raise")
            lines(rp.dir .. "/error.log", 1)
            for _, line in ipairs(lines(rp.dir .. "/error.log", 1)) do
                assert.truthy(line:find("Z error %["), line)
            end
            stop(rp)
        end)

        it("goes to a file where asked", function()
            local rp = start [[ error = { to = "${dir}/error.log" } ]]
            http.get(rp.port, "/dead")
            assert.truthy(posix.poll(function()
                return (posix.read_file(rp.dir .. "/error.log") or ""):find("connect failed")
            end))
            assert.is_nil(rp:stderr():find("upstream connect failed", 1, true))
            stop(rp)
        end)
    end)
end)
