-- SPDX-License-Identifier: MIT
--
-- Hooks that talk with servers that others wrote: nginx (over TCP and a unix socket) and Redis. Where
-- one is not installed its part is pending.

local e2e = require("spec.support.e2e")
local http = require("spec.support.http")
local posix = require("spec.support.posix")
local proc = require("spec.support.proc")
local wire = require("spec.support.wire")

local function installed(...)
    for _, path in ipairs { ... } do
        if posix.exists(path) then return path end
    end
end

local NGINX = installed("/usr/sbin/nginx", "/usr/local/sbin/nginx", "/usr/bin/nginx")
local REDIS = installed("/usr/bin/redis-server", "/usr/local/bin/redis-server")

local NGINX_CONF = [[
daemon off; pid %s/nginx.pid; error_log %s/nginx.log; worker_processes 1;
events { worker_connections 256; }
http {
    access_log off; client_body_temp_path %s/b; proxy_temp_path %s/p; fastcgi_temp_path %s/f;
    uwsgi_temp_path %s/u; scgi_temp_path %s/s; keepalive_timeout 60;
    server {
        listen 127.0.0.1:%d; listen unix:%s/nginx.sock;
        root %s; chunked_transfer_encoding on;
        location = /conn { default_type text/plain; return 200 "$connection $connection_requests"; }
        location = /gone { default_type text/plain; return 410 "gone"; }
        location = /moved { return 301 /elsewhere; }
        location /gz/ { gzip on; gzip_types text/plain; gzip_min_length 1; alias %s/; }
    }
}
]]

local function start_nginx(port)
    local dir = proc.temp_dir()
    posix.write_file(dir .. "/file.txt", ("line of text\n"):rep(20000))
    posix.write_file(dir .. "/nginx.conf", NGINX_CONF:format(dir, dir, dir, dir, dir, dir, dir, port,
        dir, dir, dir))
    local p = proc.spawn({ NGINX, "-p", dir, "-c", dir .. "/nginx.conf", "-e", dir .. "/start.log" },
        { dir = dir, env = { LD_PRELOAD = false } })
    assert(posix.poll(function() return posix.is_listening(port) end), p:stderr())
    return p, dir
end

describe("hooks and nginx", function()
    local rp, nginx, dir

    if not NGINX then
        pending("nginx is not installed")
        return
    end

    setup(function()
        local port = posix.free_port()
        nginx, dir = start_nginx(port)
        os.execute("chmod -R a+rX " .. dir)
        rp = e2e.proxy { vars = { nginx = port, sock = dir .. "/nginx.sock" }, before = [[
            local c = rp.http.client { base = "http://127.0.0.1:${nginx}", timeout = 20 }
            local over_unix = rp.http.client { base = "http://nginx", unix = "${sock}" } ]], site = [[
            hosts = { rp.host { default = true, routes = {
                rp.route { "/get", content = function(req)
                    local client = req:arg("unix") and over_unix or c
                    local res, err, detail = client:get(req:arg("url"), { headers = {
                        ["accept-encoding"] = req:arg("accept") } })
                    if not res then return req:exit(502, err .. " " .. detail) end
                    return req:exit(res.status, res.body, {
                        ["x-encoding"] = res.headers["content-encoding"] or "none",
                        ["x-chunked"] = tostring(res.headers["transfer-encoding"] ~= nil),
                        ["x-location"] = res.headers.location or "none" })
                end } } } } ]] }
    end)
    teardown(function()
        wire.close_all()
        rp:stop()
        nginx:signal("TERM")
        nginx:wait(10)
        proc.cleanup()
    end)
    after_each(wire.close_all)

    local function get(url, more)
        return http.get(rp.port, "/get?url=" .. url .. (more or ""))
    end

    it("read files, whole and packed", function()
        local res = get("/file.txt")
        assert.equal(("line of text\n"):rep(20000), res.body)
        res = get("/gz/file.txt", "&accept=gzip")
        assert.equal("gzip", res:header("x-encoding"))
        assert.equal("\31\139", res.body:sub(1, 2))
        assert.is_true(#res.body < 20000)
    end)

    it("keep one connection", function()
        local first, n = get("/conn").body:match("^(%d+) (%d+)$")
        local second, m = get("/conn").body:match("^(%d+) (%d+)$")
        assert.equal(first, second)
        assert.equal(tonumber(n) + 1, tonumber(m))
    end)

    it("see each status, and follow nothing", function()
        assert.equal(410, get("/gone").status)
        assert.equal(404, get("/nothing").status)
        assert.equal(301, get("/moved").status)
        assert.matches("/elsewhere$", get("/moved"):header("x-location"))
    end)

    it("speak with it over a unix socket", function()
        local first = get("/conn", "&unix=1").body:match("^%d+")
        assert.equal(first, get("/conn", "&unix=1").body:match("^%d+"))
    end)
end)

describe("hooks and Redis", function()
    local rp, redis

    if not REDIS then
        pending("redis-server is not installed")
        return
    end

    setup(function()
        local port, dir = posix.free_port(), proc.temp_dir()
        redis = proc.spawn({ REDIS, "--port", tostring(port), "--bind", "127.0.0.1", "--save", "",
            "--appendonly", "no", "--dir", dir }, { dir = dir, env = { LD_PRELOAD = false } })
        assert(posix.poll(function() return posix.is_listening(port) end), redis:stderr())
        rp = e2e.proxy { vars = { redis = port }, before = [[
            local function reply(s)
                local line = assert(s:read("line"))
                local kind, rest = line:sub(1, 1), line:sub(2)
                if kind == "$" then
                    local bytes = assert(s:read(tonumber(rest)))
                    assert(s:read(2) == "\r\n")
                    return bytes
                end
                return rest
            end
            local function command(s, ...)
                local words = { ... }
                local out = { "*" .. #words .. "\r\n" }
                for _, word in ipairs(words) do
                    out[#out + 1] = "$" .. #word .. "\r\n" .. word .. "\r\n"
                end
                return s:write(out)
            end ]], site = [[
            hosts = { rp.host { default = true, routes = { rp.route { "/*", content = function(req)
                local s = assert(rp.tcp.connect { host = "127.0.0.1", port = ${redis}, timeout = 20 })
                local big = ("value "):rep(50000)
                for i = 1, 50 do assert(command(s, "INCR", "n")) end
                assert(command(s, "SET", "k", big) and command(s, "GET", "k"))
                local last
                for i = 1, 50 do last = reply(s) end
                local ok, same = reply(s), reply(s) == big
                return req:exit(200, ("%s %s %s %d %s"):format(last, ok, tostring(same), s.reused,
                    tostring(s:release())))
            end } } } } ]] }
    end)
    teardown(function()
        wire.close_all()
        rp:stop()
        proc.cleanup() -- ends Redis, too
    end)

    it("send commands one behind the other, and keep the connection", function()
        assert.equal("50 OK true 0 true", http.get(rp.port, "/").body)
        assert.equal("100 OK true 1 true", http.get(rp.port, "/").body)
    end)

    it("notice that the server closed a kept connection", function()
        redis:signal("TERM")
        redis:wait(10)
        local res = http.get(rp.port, "/")
        assert.equal(500, res.status)
        assert.matches("refused", rp:stderr())
    end)
end)
