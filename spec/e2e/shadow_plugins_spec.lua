-- SPDX-License-Identifier: MIT
--
-- mode = "shadow" of the plugins that come with rproxy, of hooks of handshakes and of streams.

local cjson = require("cjson")
local e2e = require("spec.support.e2e")
local http = require("spec.support.http")
local posix = require("spec.support.posix")
local process = require("spec.support.process")
local tls = require("spec.support.tls")
local wire = require("spec.support.wire")

local FILES = { ["users.txt"] = "alice:{SHA}W8r/fyL/UzygmbNAjq2HbA67qac=\n",
    ["keys.json"] = [[{"keys":[{"kty":"OKP","crv":"Ed25519",
        "x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}]] }
local ROUTES = { ["*"] = { status = 200, body = "ok" } }

-- Lines of a log of decisions that hold what is wanted.
local function lines_of(path, wanted)
    local found = {}
    for text in posix.read_file(path):gmatch("([^\n]+)\n") do
        local line = cjson.decode(text)
        local same = true
        for key, value in pairs(wanted) do same = same and line[key] == value end
        if same then found[#found + 1] = line end
    end
    return found
end

local function wait_line(path, wanted)
    return posix.poll(function() return lines_of(path, wanted)[1] end, 60)
        or error("no such line came: " .. cjson.encode(wanted), 2)
end

local function verdict_of(line)
    for _, e in ipairs(line.decisions) do
        if e.verdict and e.verdict ~= "next" then return e end
    end
    error("no verdict in " .. cjson.encode(line), 2)
end

describe("built-in plugins in shadow mode", function()
    local rp, up, log

    setup(function()
        log = os.tmpname()
        rp, up = e2e.pair(ROUTES, { vars = { log = log }, files = FILES, before = [[
            local basic = require("plugins.basic_auth")
            local jwt = require("plugins.jwt_auth")
            local limit = require("plugins.ratelimit")
            local ip = require("plugins.ip_restriction")
            local headers = require("plugins.headers")
        ]], site = [[
            log = { decisions = { to = "${log}", flush = "10ms", edits = false } },
            shared = { buckets = rp.shm.buckets { size = "256k" } },
            upstreams = { o = rp.upstream { peers = { "127.0.0.1:${origin}" } } },
            hosts = { rp.host { default = true, routes = {
                rp.route { "/basic", upstream = "o", use = { basic { mode = "shadow",
                    file = "${dir}/users.txt" } } },
                rp.route { "/jwt", upstream = "o", use = { jwt { mode = "shadow",
                    jwks_file = "${dir}/keys.json", issuer = "me", audience = { "api" },
                    algorithms = { "EdDSA" } } } },
                rp.route { "/ip", upstream = "o", use = { ip { mode = "shadow",
                    deny = { "127.0.0.0/8" } } } },
                rp.route { "/limit", upstream = "o", use = {
                    limit { mode = "shadow", zone = "buckets", rate = 0.001, burst = 2,
                        name = "strict" },
                    limit { zone = "buckets", rate = 0.001, burst = 4, name = "loose" } } },
                rp.route { "/headers", upstream = "o", use = { headers { mode = "shadow",
                    response = { set = { ["x-a"] = "1" } } } } },
            } } },
        ]] })
    end)
    teardown(function()
        e2e.stop(rp)
        os.remove(log)
    end)
    after_each(wire.close_all)

    for path, instance in pairs { ["/basic"] = "basic-auth", ["/jwt"] = "jwt-auth" } do
        it(("%s lets the unknown pass, and says so"):format(instance), function()
            local res = http.get(rp.port, path)
            assert.equal(200, res.status)
            assert.is_nil(res:header("www-authenticate"))
            local verdict = verdict_of(wait_line(log, { path = path }))
            assert.equal(instance, verdict.instance)
            assert.equal(401, verdict.status)
        end)
    end

    it("basic-auth does not touch the credentials that pass", function()
        local basic = "Basic YWxpY2U6b3BlbiBzZXNhbWU="
        assert.equal(200, http.get(rp.port, "/basic", { Authorization = basic }).status)
        assert.equal(basic, e2e.field(e2e.last(up), "authorization"))
        assert.is_nil(posix.read_file(log):find("YWxpY2U6", 1, true))
    end)

    it("ip-restriction keeps nobody out", function()
        assert.equal(200, http.get(rp.port, "/ip").status)
        local line = wait_line(log, { path = "/ip" })
        assert.equal("127.0.0.1", line.remote_ip)
        assert.equal(403, verdict_of(line).status)
    end)

    it("ratelimit counts and refuses nobody, beside one that does", function()
        local statuses = {}
        for i = 1, 5 do
            local res = http.get(rp.port, "/limit")
            statuses[i] = res.status
            -- Fields are those of the instance that is not a shadow.
            assert.truthy(res:header("ratelimit"):find('"loose"', 1, true))
        end
        assert.same({ 200, 200, 200, 200, 429 }, statuses)
        assert.is_true(posix.poll(function()
            return #lines_of(log, { path = "/limit" }) == 3
        end, 60))
        local lines = lines_of(log, { path = "/limit" })
        for i, line in ipairs(lines) do
            assert.equal(i < 3 and 200 or 429, line.status)
            assert.equal(429, verdict_of(line).status)
        end
    end)

    it("edits alone make no line where edits = false", function()
        local res = http.get(rp.port, "/headers")
        assert.equal(200, res.status)
        assert.is_nil(res:header("x-a"))
        assert.equal(200, http.get(rp.port, "/ip?2").status)
        assert.is_true(posix.poll(function()
            return #lines_of(log, { path = "/ip" }) >= 2
        end, 60))
        assert.equal(0, #lines_of(log, { path = "/headers" }))
        assert.truthy(process.must(rp, "metrics"):find(
            'rproxy_plugin_shadow_edits_total{[^}]*headers"[^}]*} 1'))
    end)
end)

describe("hooks of connections in shadow mode", function()
    local rp, dir, log, port, sink

    lazy_setup(function()
        dir, log, port = tls.dir(), os.tmpname(), posix.free_port()
        tls.ca(dir, "ca")
        tls.cert(dir, "a", { ca = "ca", names = { "a.test" } })
        tls.cert(dir, "b", { ca = "ca", names = { "b.test" } })
        sink = e2e.listen()
        rp = e2e.proxy { vars = { certs = dir, stream = port, log = log, sink = sink.port },
            ports = { port }, before = [[
            local b = assert(rp.tls.certificate { cert = rp.file("${certs}/b.pem"),
                key = rp.file("${certs}/b.key") })
        ]], site = [[
            log = { decisions = { to = "${log}", flush = "10ms" } },
            tls = { certs = { "${certs}/a.pem" } },
            listeners = { rp.listen { "127.0.0.1:${port}", tls = true } },
            use = {
                { name = "greeter", mode = "shadow", tls_hello = function(conn)
                    conn.ctx.mine = true
                    if conn.sni == "no.test" then return conn:refuse("not you") end
                    if conn.sni == "false.test" then return false end
                    if conn.sni == "edit.test" then
                        conn.min_version = "1.3"
                        conn.alpn = { "http/1.1" }
                        local ok = pcall(function() conn.alpn = { "h9" } end)
                        if ok then error("no such protocol is offered") end
                    end
                    if conn.sni == "boom.test" then error("boom") end
                    if conn.sni == "wait.test" then rp.sleep(0.01) return false end
                end, certificate = function(conn)
                    if conn.sni == "b.test" then
                        return b
                    end
                    if conn.sni == "nocert.test" then return false end
                end },
                { name = "reader", tls_hello = function(conn)
                    conn.ctx.seen = tostring(conn.ctx.mine)
                end },
            },
            hosts = { rp.host { default = true, routes = { rp.route { "/*",
                content = function(req)
                    return req:exit(200, req.conn.ctx and req.conn.ctx.seen or "none")
                end } } } },
            upstreams = { sink = rp.upstream { peers = { "127.0.0.1:${sink}" } },
                other = rp.upstream { peers = { "127.0.0.1:${sink}" } } },
            streams = { rp.stream { "127.0.0.1:${stream}", upstream = "sink", use = {
                { name = "door", mode = "shadow", connect = function(conn)
                    conn.upstream = "other"
                    return conn:deny()
                end, log = function(conn) rp.log.info("door saw", { to = conn.upstream }) end },
            } } },
        ]] }
    end)
    lazy_teardown(function()
        sink:close()
        e2e.stop(rp)
        os.remove(log)
    end)
    after_each(wire.close_all)

    local function seen(sni, opt)
        local c = tls.connect(rp.port, { sni = sni, versions = opt and opt.versions })
        local _, body = c:get("/")
        local peer = c.peer
        c:close()
        return body, peer
    end

    it("refuse nobody in a handshake", function()
        for sni in pairs { ["no.test"] = 1, ["false.test"] = 1, ["wait.test"] = 1 } do
            assert.equal("nil", (seen(sni)), sni) -- whoever comes later does not see its ctx
            local verdict = verdict_of(wait_line(log, { sni = sni }))
            assert.same({ "greeter", "tls_hello", "refuse", true },
                { verdict.instance, verdict.hook, verdict.verdict, verdict.shadow })
        end
    end)

    it("choose nothing in a handshake", function()
        assert.equal("nil", (seen("edit.test", { versions = "1.2" })))
        local line = wait_line(log, { sni = "edit.test" })
        assert.equal("min_version", line.decisions[1].what)
        assert.equal("1.3", line.decisions[1].value)
        assert.equal("alpn", line.decisions[2].what)
    end)

    it("give no certificate and refuse none", function()

        local _, peer = seen("b.test")
        assert.equal("a.test", peer)
        assert.equal("certificate", wait_line(log, { sni = "b.test" }).decisions[1].what)
        _, peer = seen("nocert.test")
        assert.equal("a.test", peer)
        assert.equal("certificate", verdict_of(wait_line(log, { sni = "nocert.test" })).hook)
    end)

    it("that raise are passed over", function()
        assert.equal("nil", (seen("boom.test")))
        rp:wait_stderr("plugin=greeter hook=tls_hello")
    end)

    it("let relayed connections go where they go", function()
        local w = wire.connect(port)
        local other = sink:accept()
        other:send("hello")
        assert.equal("hello", w:recv(5))
        w:close()
        other:close()
        local line = wait_line(log, { listener = "127.0.0.1:" .. port })
        assert.equal("other", line.decisions[1].value)
        assert.equal("refuse", verdict_of(line).verdict)
        rp:wait_stderr("door saw to=sink")
    end)
end)
