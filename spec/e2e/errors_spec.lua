-- SPDX-License-Identifier: MIT
--
-- Errors that people see: what is answered, in which form, and the reason that the log gives. Each
-- row of err.tbl that can end a request is provoked here, or it is said why not.

local cjson = require("cjson")
local e2e = require("spec.support.e2e")
local http = require("spec.support.http")
local origin = require("spec.support.origin")
local posix = require("spec.support.posix")
local protocol = require("spec.support.protocol")
local wire = require("spec.support.wire")

local SHORT = 0.5
local PLAIN = "GET %s HTTP/1.1\r\nHost: a\r\n%s\r\n"

local SITE = [[
    timeouts = { header = ${short}, body = ${short}, send = ${short}, hook_wait = ${short},
        keepalive = 5 },
    limits = { headers = 20, header_bytes = 4096, uri = 1024, args = 4, body = 100000 },
    lua = { cpu_budget = "30ms" },
    log = { access = { to = "${dir}/access.log", format = "json", buffer = 0,
        fields = { "path", "status", "reason" } } },
    error_pages = { ["413"] = { file = "big.html" } },
    upstreams = {
        o = rp.upstream { peers = { "127.0.0.1:${origin}" } },
        full = rp.upstream { peers = { "127.0.0.1:${full}" }, timeouts = { connect = ${short} } },
        dead = rp.upstream { peers = { "127.0.0.1:${dead}" } },
        nowhere = rp.upstream { peers = { "does-not-exist.invalid:80" } },
        quick = rp.upstream { peers = { "127.0.0.1:${origin}" },
            timeouts = { first_byte = ${short}, idle = ${short} } },
        deaf = rp.upstream { peers = { "127.0.0.1:${deaf}" }, timeouts = { send = ${short} } },
        none = rp.upstream { peers = { "127.0.0.1:${origin}" }, balance = function(req, up)
            up:exclude("127.0.0.1:${origin}")
        end },
    },
    hosts = {
        rp.host { "pages", error_pages = { ["4xx"] = { body = "host {status}" } }, routes = {
            rp.route { "GET /own", respond = { 200 }, error_pages = {
                ["*"] = { type = "text/plain", body = "own {status} {error} {reason} {request_id}" } },
                use = { { access = function() error("on purpose") end } } },
            rp.route { "/raise", respond = { 200 }, use = { {
                access = function() error("on purpose") end } } },
            rp.route { "/exit", content = function(req) return req:exit(404, "mine") end } } },
        rp.host { "a", routes = {
            rp.route { "/answer", respond = { 200, "fine" } },
            rp.route { "GET /get", respond = { 200 } },
            rp.route { "/raise", content = function() error("on purpose") end },
            rp.route { "/spin", content = function()
                local keep
                while true do keep = function() return keep end end -- closures are not compiled
            end },
            rp.route { "/nap", content = function() rp.sleep(30) end },
            rp.route { "/full", upstream = "full" }, rp.route { "/dead", upstream = "dead" },
            rp.route { "/nowhere", upstream = "nowhere" }, rp.route { "/none", upstream = "none" },
            rp.route { "/deaf", upstream = "deaf", limits = { body = math.huge } },
            rp.route { "/hang", upstream = "quick" }, rp.route { "/stall", upstream = "quick" },
            rp.route { "/o/*", upstream = "o" } } },
    },
]]

describe("errors", function()
    local up, deaf, rp, close_full

    setup(function()
        local full
        full, close_full = e2e.full_port()
        deaf = origin.start({}, { on_accept = "hang", rcvbuf = 4096 })
        up = origin.start {
            ["/hang"] = { { hang = true } },
            ["/stall"] = { { send = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345" },
                { hang = true } },
            ["/o/closes"] = { { close = true } },
            ["/o/hang"] = { { hang = true } },
            ["/o/garbage"] = { { send = "SSH-2.0-OpenSSH_9.2\r\n\r\n" } },
            ["/o/status"] = { { send = "HTTP/1.1 20 OK\r\n\r\n" } },
            ["/o/huge"] = { { send = "HTTP/1.1 200 OK\r\n" .. ("X: " .. ("x"):rep(35000)
                .. "\r\n"):rep(2) .. "\r\n" } },
            ["/o/short"] = { { send = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi" },
                { close = true } },
            ["/o/switch"] = { { send = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: foo\r\n"
                .. "Connection: upgrade\r\n\r\n" } },
            ["/o/endless"] = { { send = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" },
                { send = ("x"):rep(65536), times = 10000 } },
            ["*"] = { status = 404, body = "the upstream's own" },
        }
        rp = e2e.proxy { vars = { origin = up.port, full = full, deaf = deaf.port, short = SHORT,
            dead = posix.free_port() }, files = { ["big.html"] = "<p>{status}: less, please\n" },
            site = SITE }
    end)

    teardown(function()
        close_full()
        e2e.stop(rp)
    end)
    after_each(wire.close_all)

    local function get(target, fields, host)
        return http.get(rp.port, { target = target, host = host or "a", fields = fields or {} })
    end

    -- ------------------------------------------------------------ forms

    it("come as HTML, JSON or text, by Accept", function()
        local html = get("/gone", { Accept = "text/html" })
        assert.equal(404, html.status)
        assert.equal("text/html; charset=utf-8", html:header("content-type"))
        assert.matches("<h1>404 Not Found</h1>", html.body)
        local res = get("/gone", { Accept = "application/json" })
        assert.equal("application/json", res:header("content-type"))
        local json = cjson.decode(res.body)
        assert.equal(32, #json.request_id)
        json.request_id = nil
        assert.same({ status = 404, error = "Not Found", reason = "no_route" }, json)
        local text = get("/gone", { Accept = "text/plain" })
        assert.equal("text/plain; charset=utf-8", text:header("content-type"))
        assert.matches("^404 Not Found\nrequest id: %x+\n$", text.body)
        for _, any in ipairs { html, res, text } do assert.equal("Accept", any:header("vary")) end
    end)

    it("of heads that cannot be read are standard pages", function()
        protocol.only("h1 client", "a head that cannot be read")
        local w = wire.connect(rp.port)
        w:send("GET / HTTP/1.1\r\nAccept: application/json\r\nA B: c\r\n\r\n")
        local res = http.read(w)
        assert.equal(400, res.status)
        assert.is_true(#res.body > 0 and #res.body < 300)
    end)

    it("of the configuration win: a route's, its host's, the site's", function()
        local own = get("/own", { Accept = "application/json" }, "pages")
        assert.equal(500, own.status)
        assert.equal("text/plain", own:header("content-type"))
        assert.is_nil(own:header("vary"))
        assert.matches("^own 500 Internal Server Error hook_error %x+$", own.body)
        assert.equal("host 404", get("/gone", nil, "pages").body)
        assert.equal("host 405", http.get(rp.port, { method = "POST", target = "/own",
            host = "pages" }).body)
        assert.matches("<h1>500 ", get("/raise", nil, "pages").body) -- its host has only 4xx
        local big = http.get(rp.port, { method = "POST", target = "/o/x", host = "a",
            body = ("x"):rep(100001) })
        assert.equal("<p>413: less, please\n", big.body)
    end)

    it("made by hooks and upstreams are left alone", function()
        assert.equal("mine", get("/exit", nil, "pages").body)
        assert.equal("the upstream's own", get("/o/x").body)
    end)

    it("have no body for HEAD, but its length", function()
        local res = http.get(rp.port, { method = "HEAD", target = "/gone", host = "a" })
        assert.equal(404, res.status)
        assert.is_true(tonumber(res:header("content-length")) > 50)
    end)

    it("tell no version", function()
        for _, accept in ipairs { "text/html", "application/json", "text/plain" } do
            local res = get("/raise", { Accept = accept })
            assert.equal("rproxy", res:header("server"))
            local whole = res.head .. res.body
            for _, secret in ipairs { "[Ll]ua", "site%.lua", "127%.0%.0%.1", "on purpose",
                "rproxy[ /]%d", "%d+%.%d+%.%d+" } do
                assert.is_nil(whole:find(secret), secret)
            end
        end
    end)

    it("of files are what the files held at the last reload", function()
        local function big()
            return http.get(rp.port, { method = "POST", target = "/o/x", host = "a",
                body = ("x"):rep(100001) }).body
        end
        posix.write_file(rp.dir .. "/big.html", "newer")
        assert.equal("<p>413: less, please\n", big())
        rp:signal("HUP")
        assert.is_truthy(posix.poll(function() return big() == "newer" end))
    end)

    -- ------------------------------------------------------------ reasons

    local function log_lines()
        local all = {}
        for line in (posix.read_file(rp.dir .. "/access.log") or ""):gmatch("[^\n]+") do
            all[#all + 1] = cjson.decode(line)
        end
        return all
    end

    -- The log line with this reason that this leaves behind; a line of an earlier request, written
    -- when its body was drained, may come before it.
    local function provoke(run, reason)
        local before, lines = #log_lines(), nil
        local client = run() -- held: what is collected is closed, too
        local line = posix.poll(function()
            lines = log_lines()
            for i = before + 1, #lines do
                if lines[i].reason == reason then return lines[i] end
            end
        end)
        if client then client:close() end
        local last = lines[#lines]
        return line or error(("no line with reason=%s but %s"):format(reason,
            #lines > before and tostring(last.reason) or "none"), 2)
    end

    local function raw(bytes)
        return function()
            local w = wire.connect(rp.port)
            w:send(bytes)
            w:recv_some(3)
            return w
        end
    end

    local function plain(target, fields)
        return raw(PLAIN:format(target, fields or ""))
    end

    local function aborted(target)
        return function()
            local w, before = wire.connect(rp.port), #up:requests()
            w:send(PLAIN:format(target, ""))
            up:wait_requests(before + 1)
            w:close()
        end
    end

    -- A client that asks for much and reads nothing.
    local function deaf_client(target)
        return function()
            local w = wire.connect(rp.port, nil, { rcvbuf = 4096 })
            w:send(PLAIN:format(target, ""))
            posix.poll(function() return false end, 4 * SHORT)
            w:close()
        end
    end

    local function flood(target)
        return function()
            local w = wire.connect(rp.port)
            w:send(("POST %s HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n"):format(target))
            local block = ("x"):rep(65536)
            posix.poll(function()
                w:push(block)
                return w:recv_some(0.001) ~= ""
            end)
            return w
        end
    end

    local REASONS = {
        -- reason, status, what provokes it
        { "bad_request", 400, raw("GET /\r\n\r\n") },
        { "bad_method", 400, raw("G(T / HTTP/1.1\r\nHost: a\r\n\r\n") },
        { "bad_target", 400, plain("x") },
        { "bad_version", 505, raw("GET / HTTP/3.0\r\nHost: a\r\n\r\n") },
        { "bad_field", 400, plain("/", "A B: c\r\n") },
        { "bad_host", 400, plain("/", "Host: b\r\n") },
        { "bad_framing", 400, plain("/", "Content-Length: 1\r\nContent-Length: 2\r\n") },
        { "bad_coding", 501, plain("/", "Transfer-Encoding: gzip, chunked\r\n") },
        { "bad_chunk", 400, raw("POST /o/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
            .. "zz\r\n") },
        { "head_too_big", 431, plain("/", "X: " .. ("x"):rep(4096) .. "\r\n") },
        { "too_many_fields", 431, plain("/", ("X: x\r\n"):rep(20)) },
        { "uri_too_long", 414, plain("/" .. ("x"):rep(1024)) },
        { "body_too_big", 413, plain("/o/x", "Content-Length: 100001\r\n") },
        { "too_many_args", 400, plain("/answer?a&b&c&d&e") },
        { "head_timeout", 408, raw("GET / HTTP/1.1\r\nHost: a\r\n") },
        { "body_timeout", 408, plain("/o/x", "Content-Length: 5\r\n") },
        { "send_timeout", 200, deaf_client("/o/endless") },
        { "client_gone", 0, aborted("/o/hang") },
        { "no_route", 404, plain("/gone") },
        { "method_not_allowed", 405, raw("POST /get HTTP/1.1\r\nHost: a\r\n\r\n") },
        { "misdirected", 421, raw("GET / HTTP/1.1\r\nHost: elsewhere\r\n\r\n") },
        { "hook_error", 500, plain("/raise") },
        { "hook_budget", 500, plain("/spin") },
        { "hook_timeout", 500, plain("/nap") },
        { "upstream_no_peer", 503, plain("/none") },
        { "upstream_resolve", 502, plain("/nowhere") },
        { "upstream_connect", 502, plain("/dead") },
        { "upstream_connect_timeout", 504, plain("/full") },
        { "upstream_send_timeout", 504, flood("/deaf") },
        { "upstream_closed", 502, plain("/o/closes") },
        { "upstream_first_byte_timeout", 504, plain("/hang") },
        { "upstream_idle_timeout", 200, plain("/stall") },
        { "upstream_bad_response", 502, plain("/o/garbage") },
        { "upstream_head_too_big", 502, plain("/o/huge") },
        { "upstream_truncated", 200, plain("/o/short") },
        { "upstream_upgrade", 502, plain("/o/switch") },
    }

    -- Rows of err.tbl that no request ends with, and why.
    local ELSEWHERE = {
        internal = "what cannot happen", no_memory = "what cannot happen",
        cap = "an edited head over a cap: spec/unit/proxy", too_big = "results inside",
        invalid = "results inside", not_found = "results inside", busy = "results inside",
        timeout = "results inside", cancelled = "results inside", closed = "results inside",
        stale = "results inside", phase = "results inside", os = "results inside",
        fd_limit = "a full table of descriptors: spec/unit/net/listener_spec",
        body_too_slow = "drops of a body: spec/e2e/greedy_spec",
        connections = "never a request: spec/unit/proxy/door_spec",
        connections_per_ip = "never a request: spec/e2e/greedy_spec",
        draining = "a stopping worker: spec/e2e/process_spec",
        request_loop = "an upstream that leads back: spec/e2e/conformance_spec",
        upstream_bad_status = "told as upstream_bad_response",
        connect_denied = "a refused CONNECT: spec/e2e/connect_spec",
        connect_address = "a refused CONNECT: spec/e2e/connect_spec",
        connect_answer = "a hook that answers a CONNECT: spec/e2e/connect_spec",
        upstream_resolve_timeout = "a silent name server: spec/unit/proxy/dial_spec",
        spill_failed = "a disk that fails: spec/e2e/buffering_spec",
        spill_full = "more than limits.spill: spec/e2e/buffering_spec",
        tls_plain_http = "never a request: spec/e2e/tls_spec",
        upstream_tls_handshake = "a peer without TLS: spec/e2e/tls_spec",
        upstream_tls_verify = "a certificate that is not accepted: spec/e2e/tls_spec",
        upstream_alpn = "a peer without h2: spec/e2e/h2_upstream_tls_spec",
        upstream_no_websocket = "a peer without RFC 8441: spec/e2e/h2_upstream_ws_spec",
        ws_bad_key = "an upgrade without a key: spec/e2e/h2_upstream_ws_spec",
        upstream_no_streams = "a peer that allows none: spec/e2e/h2_upstream_spec",
        deadline = "a client's or a hook's: spec/e2e/deadline_spec",
        upstream_circuit_open = "a circuit that is open: spec/e2e/resilience_spec",
        upstream_full = "peers without a free seat: spec/e2e/balance_spec",
        upstream_status = "told by the last peer's own answer: spec/e2e/retry_spec",
        upstream_send = "told by how the response ended: upstream_closed",
    }

    -- Reasons that only requests of HTTP/1.1 have, and what HTTP/2 does with such.
    local HTTP_1 = {
        bad_request = "a request line", bad_method = "a request line", bad_target = "a request line",
        bad_version = "a request line", bad_field = "a line of a field",
        bad_host = "two hosts: malformed in HTTP/2", bad_framing = "two lengths: malformed in HTTP/2",
        bad_coding = "Transfer-Encoding", bad_chunk = "a chunk",
        head_timeout = "a head in pieces", upstream_upgrade = "101",
    }

    for _, case in ipairs(REASONS) do
        it("tell the log the reason: " .. case[1], function()
            if HTTP_1[case[1]] then protocol.only("h1 client", HTTP_1[case[1]]) end
            if case[1] == "upstream_bad_response" then
                protocol.only("h1 upstream", "garbage; that of HTTP/2 is in h2_upstream_spec")
            end
            local line = provoke(case[3], case[1])
            if case[2] ~= 0 then assert.equal(case[2], line.status) end
        end)
    end

    it("have no reason that nobody provokes", function()
        local known = {}
        for _, case in ipairs(REASONS) do known[case[1]] = true end
        for line in io.lines("runtime/base/err.tbl") do
            local name, status, reason = line:match('^X%(([%w_]+), (%d+), %a+, "([^"]+)"')
            -- 0: never answered; of streams and of connections that never become requests
            if name and (status ~= "0" or name == "SEND_TIMEOUT") then
                assert.is_truthy(known[reason] or ELSEWHERE[reason], reason)
                known[reason] = nil
            end
        end
        assert.same({}, known)
    end)
end)
