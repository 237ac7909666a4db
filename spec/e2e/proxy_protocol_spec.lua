-- SPDX-License-Identifier: MIT
--
-- The PROXY protocol between rproxy and others that speak it: haproxy in front, haproxy and nginx
-- behind.

local e2e = require("spec.support.e2e")
local http = require("spec.support.http")
local origin = require("spec.support.origin")
local posix = require("spec.support.posix")
local proc = require("spec.support.proc")
local tls = require("spec.support.tls")
local tls_hello = require("spec.support.tls_hello")
local wire = require("spec.support.wire")

local CLIENT = "127.0.0.5"

local function path_of(program)
    for dir in (os.getenv("PATH") .. ":/usr/sbin"):gmatch("[^:]+") do
        if posix.C.access(dir .. "/" .. program, 1) == 0 then return dir .. "/" .. program end
    end
end

local HAPROXY, NGINX = path_of("haproxy"), path_of("nginx")

local HAPROXY_CONF = [[
defaults
    mode tcp
    timeout connect 5s
    timeout client 5s
    timeout server 5s
listen v1
    bind 127.0.0.1:${in1}
    server s 127.0.0.1:${proxied} send-proxy
listen v2
    bind 127.0.0.1:${in2}
    server s 127.0.0.1:${proxied} send-proxy-v2
listen v2_more
    bind 127.0.0.1:${in3}
    server s 127.0.0.1:${proxied} send-proxy-v2 proxy-v2-options crc32c,unique-id check inter 50 rise 1 fall 3
frontend behind
    mode http
    bind 127.0.0.1:${behind} accept-proxy
    http-request set-var(req.id) fc_pp_unique_id
    http-request return hdr x-id %[var(req.id)] content-type text/plain lf-string "%[src] %[dst_port]"
]]

local NGINX_CONF = [[
daemon off;
worker_processes 1;
error_log ${dir}/nginx.log;
pid ${dir}/nginx.pid;
events { worker_connections 64; }
http {
    access_log off;
    client_body_temp_path ${dir}; proxy_temp_path ${dir}; fastcgi_temp_path ${dir};
    uwsgi_temp_path ${dir}; scgi_temp_path ${dir};
    server {
        listen 127.0.0.1:${nginx} proxy_protocol;
        location / { return 200 "$proxy_protocol_addr $proxy_protocol_server_port"; }
    }
    server {
        listen 127.0.0.1:${sealed} ssl proxy_protocol;
        ssl_certificate ${certs}/a.pem;
        ssl_certificate_key ${certs}/a.key;
        ssl_protocols TLSv1.3;
        location / { return 200 "$ssl_protocol $proxy_protocol_addr $proxy_protocol_server_port"; }
    }
}
]]

describe("the PROXY protocol", function()
    local up, rp, vars, raw

    local function start_program(argv, port)
        local p = proc.spawn(argv, { quiet_end = true })
        assert(posix.poll(function() return posix.is_listening(port) end, 30),
            argv[1] .. " does not listen: " .. p:stderr() .. p:stdout())
        return p
    end

    local function write(name, text)
        local path = vars.dir .. "/" .. name
        posix.write_file(path, (text:gsub("%${([%w_]+)}", vars)))
        return path
    end

    setup(function()
        up = origin.start { ["*"] = { status = 200, body = "ok" } }
        vars = { dir = proc.temp_dir() }
        for _, name in ipairs { "in1", "in2", "in3", "proxied", "behind", "nginx",
            "stream", "stream2", "stream3", "peeking", "sealed" } do
            vars[name] = tostring(posix.free_port())
        end
        vars.certs = tls.dir()
        tls.ca(vars.certs, "ca")
        tls.cert(vars.certs, "a", { ca = "ca", names = { "a.test" } })
        os.execute("chmod -R a+rX " .. vars.certs) -- nginx is somebody else
        raw = e2e.listen()
        rp = proc.rproxy { vars = { raw = raw.port, peeking = vars.peeking, origin = up.port,
            proxied = vars.proxied, behind = vars.behind,
            nginx = vars.nginx, stream = vars.stream, stream2 = vars.stream2,
            stream3 = vars.stream3, sealed = vars.sealed, certs = vars.certs }, ports = {},
            site = [[ return rp.site { workers = 1,
            listeners = {
                rp.listen { "127.0.0.1:${port}" },
                rp.listen { "127.0.0.1:${proxied}", proxy_protocol = true },
                rp.listen { "unix:${dir}/in.sock", proxy_protocol = true },
            },
            streams = {
                rp.stream { "127.0.0.1:${stream}", upstream = "self", access_log = false },
                rp.stream { "127.0.0.1:${stream2}", proxy_protocol = true, upstream = "self2",
                    access_log = false },
                rp.stream { "127.0.0.1:${stream3}", upstream = "sealed", access_log = false },
                rp.stream { "127.0.0.1:${peeking}", sni = { ["sum.example"] = "sum" },
                    upstream = "raw", access_log = false },
            },
            trust = { "127.0.0.1" },
            log = { access = { to = "${dir}/access.log", format = "json", buffer = 0,
                fields = { "path", "status", "remote_ip" } } },
            upstreams = {
                o = rp.upstream { peers = { "127.0.0.1:${origin}" } },
                raw = rp.upstream { peers = { "127.0.0.1:${raw}" }, proxy_protocol = "v2" },
                sum = rp.upstream { peers = { "127.0.0.1:${raw}" }, proxy_protocol = "v2",
                    proxy_protocol_tlvs = { "crc32c" } },
                ids = rp.upstream { peers = { "127.0.0.1:${behind}" }, proxy_protocol = "v2",
                    proxy_protocol_tlvs = { "unique_id", "crc32c" } },
                self = rp.upstream { peers = { "127.0.0.1:${proxied}" }, proxy_protocol = "v1" },
                self2 = rp.upstream { peers = { "127.0.0.1:${proxied}" }, proxy_protocol = "v2" },
                nginx = rp.upstream { peers = { "127.0.0.1:${nginx}" }, proxy_protocol = "v1" },
                sealed = rp.upstream { peers = { "127.0.0.1:${sealed}" }, proxy_protocol = "v2",
                    proxy_protocol_tlvs = { "unique_id", "crc32c" },
                    tls = { ca = "${certs}/ca.pem", name = "a.test" } },
                nginx2 = rp.upstream { peers = { "127.0.0.1:${nginx}" }, proxy_protocol = "v2" },
                haproxy = rp.upstream { peers = { "127.0.0.1:${behind}" }, proxy_protocol = "v1" },
                haproxy2 = rp.upstream { peers = { "127.0.0.1:${behind}" }, proxy_protocol = "v2" },
            },
            hosts = { rp.host { default = true, routes = {
                rp.route { "/nginx", upstream = "nginx" }, rp.route { "/nginx2", upstream = "nginx2" },
                rp.route { "/haproxy", upstream = "haproxy" },
                rp.route { "/sealed", upstream = "sealed" },
                rp.route { "/ids", upstream = "ids", use = { { header_filter = function(req, res)
                    res:set("x-own-id", req.id) end } } },
                rp.route { "/haproxy2", upstream = "haproxy2" },
                rp.route { "/*", upstream = "o" } } } } } ]] }
        assert(posix.poll(function()
            return posix.is_listening(rp.port) and posix.is_listening(vars.proxied)
        end, 30), rp:stderr())
        if HAPROXY then
            start_program({ HAPROXY, "-db", "-f", write("haproxy.cfg", HAPROXY_CONF) }, vars.in3)
        end
        if NGINX then
            os.execute("chmod 777 " .. vars.dir) -- its workers are somebody else
            start_program({ NGINX, "-e", vars.dir .. "/nginx.log", "-c",
                write("nginx.conf", NGINX_CONF) }, vars.nginx)
        end
    end)

    teardown(function()
        raw:close()
        e2e.stop(rp)
    end)
    after_each(wire.close_all)

    local function get(port, target, from)
        local w = wire.connect(tonumber(port), "127.0.0.1", { from = from })
        return http.request(w, { target = target, host = "a" })
    end

    local function remote_ip(path)
        return posix.poll(function()
            local text = posix.read_file(rp.dir .. "/access.log") or ""
            return text:match(('"path":"%s","status":%%d+,"remote_ip":"([^"]*)"'):format(path))
        end)
    end

    for name, version in pairs { in1 = "version 1", in2 = "version 2",
        in3 = "version 2 with a checksum and an id" } do
        it("from haproxy, " .. version .. ", tells the client", function()
            if not HAPROXY then return pending("no haproxy") end
            assert.equal(200, get(vars[name], "/from-" .. name, CLIENT).status)
            assert.equal(CLIENT, remote_ip("/from%-" .. name))
            assert.equal(CLIENT, e2e.field(e2e.last(up), "X-Forwarded-For"))
        end)
    end

    it("from haproxy's health checks is taken for what it is", function()
        if not HAPROXY then return pending("no haproxy") end
        posix.poll(function() return false end, 0.3) -- some checks come and go
        assert.equal(200, get(vars.in3, "/checked", CLIENT).status)
        assert.is_nil(rp:stderr():find("PROXY header", 1, true))
    end)

    for target, program in pairs { ["/nginx"] = NGINX or "", ["/nginx2"] = NGINX or "",
        ["/haproxy"] = HAPROXY or "", ["/haproxy2"] = HAPROXY or "" } do
        it("tells " .. target .. " who the client is", function()
            if program == "" then return pending("not installed") end
            local w = wire.connect(rp.port, "127.0.0.1", { from = CLIENT })
            for _ = 1, 3 do -- one client connection, three of the upstream
                local res = http.request(w, { target = target, host = "a" })
                assert.equal(200, res.status)
                assert.equal(CLIENT .. " " .. rp.port, res.body)
            end
        end)
    end

    it("goes before the handshake with an upstream that speaks TLS", function()
        if not NGINX then return pending("no nginx") end
        local w = wire.connect(rp.port, "127.0.0.1", { from = CLIENT })
        for _ = 1, 3 do
            local res = http.request(w, { target = "/sealed", host = "a" })
            assert.equal(200, res.status)
            assert.equal("TLSv1.3 " .. CLIENT .. " " .. rp.port, res.body)
        end
        local res = get(vars.stream3, "/", CLIENT)
        assert.equal("TLSv1.3 " .. CLIENT .. " " .. vars.stream3, res.body)
    end)

    it("goes out of a stream", function()
        assert.equal(200, get(vars.stream, "/stream", CLIENT).status)
        assert.equal(CLIENT, remote_ip("/stream"))
    end)

    it("tells haproxy the id of the request, and its checksum is right there", function()
        if not HAPROXY then return pending("no haproxy") end
        local res = get(rp.port, "/ids", CLIENT)
        assert.equal(200, res.status)
        assert.equal(CLIENT .. " " .. rp.port, res.body)
        assert.equal(res:header("x-own-id"), res:header("x-id"))
    end)

    local function tlv(kind, value) return string.char(kind, 0, #value) .. value end

    --- What goes out of the peeking stream for a ClientHello: TLVs, and the bytes behind the header.
    local function tlvs_of(hello)
        local w = wire.connect(tonumber(vars.peeking))
        w:send(hello)
        local u = raw:accept()
        local head = u:recv(16)
        assert.equal("\r\n\r\n\0\r\nQUIT\n\33\17", head:sub(1, 14))
        local rest = u:recv(head:byte(15) * 256 + head:byte(16))
        return rest:sub(13), u:recv(#hello)
    end

    it("tells of a stream the name and the protocol that its client asked for", function()
        local hello = tls_hello.make { sni = "A.example", alpn = { "h2" } }
        local tlvs, behind = tlvs_of(hello)
        assert.equal(tlv(1, "h2") .. tlv(2, "a.example"), tlvs)
        assert.equal(hello, behind)
    end)

    it("tells no protocol where the client offers several, and nothing of a client without", function()
        assert.equal(tlv(2, "a.example"),
            (tlvs_of(tls_hello.make { sni = "a.example", alpn = { "h2", "http/1.1" } })))
        assert.equal("", (tlvs_of(tls_hello.make {})))
    end)

    it("tells only what the upstream is to hear", function()
        local tlvs = tlvs_of(tls_hello.make { sni = "sum.example", alpn = { "h2" } })
        assert.equal("\3\0\4", tlvs:sub(1, 3))
        assert.equal(7, #tlvs)
    end)

    it("comes into a stream, and goes out again", function()
        local w = wire.connect(tonumber(vars.stream2))
        w:send("PROXY TCP6 2001:db8::7 2001:db8::1 1 2\r\n")
        assert.equal(200, http.request(w, { target = "/stream2", host = "a" }).status)
        assert.equal("2001:db8::7", remote_ip("/stream2"))
        local other = wire.connect(tonumber(vars.stream2), "127.0.0.1", { from = CLIENT })
        other:send("PROXY TCP4 192.0.2.9 192.0.2.1 1 2\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert.equal("", (other:recv_all(20)))
    end)

    it("is spoken on a unix socket by whoever may open it", function()
        local w = wire.connect(rp.dir .. "/in.sock")
        w:send("PROXY TCP4 192.0.2.9 192.0.2.1 1 2\r\n")
        assert.equal(200, http.request(w, { target = "/unix", host = "a" }).status)
        assert.equal("192.0.2.9", remote_ip("/unix"))
    end)

    it("is not heard from others, and that is logged", function()
        local w = wire.connect(tonumber(vars.proxied), "127.0.0.1", { from = CLIENT })
        w:send("PROXY TCP4 192.0.2.9 192.0.2.1 1 2\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert.equal("", (w:recv_all(20)))
        rp:wait_stderr("a PROXY header is not taken from there, refused "
            .. "reason=proxy_header_untrusted client=127%.0%.0%.5")
    end)

    it("is required where it is said, and only there", function()
        local w = wire.connect(tonumber(vars.proxied))
        w:send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert.equal("", (w:recv_all(20)))
        local plain = wire.connect(rp.port)
        plain:send("PROXY TCP4 192.0.2.9 192.0.2.1 1 2\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert.equal(400, http.read(plain).status)
    end)
end)
