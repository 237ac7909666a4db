-- SPDX-License-Identifier: MIT
--
-- What plugins may do outside of their requests: nothing that they were not granted, whichever way
-- they try it; and what they were, they may.

local http = require("spec.support.http")
local origin = require("spec.support.origin")
local posix = require("spec.support.posix")
local proc = require("spec.support.proc")
local process = require("spec.support.process")
local wire = require("spec.support.wire")

-- A plugin that does what it is asked, and says how it went: "ok ..", or the last of the error.
local WAYS = [[
local rp = require("rproxy")
local M = rp.plugin { name = "ways", schema = {
    api = "url", at = "address", file = "path", folder = { "path", access = "both" },
    box = { "host", port = "box_port" }, box_port = { "integer", default = 1 }, client = "any",
} }
local at_top = rp.http.client { timeout = 2 }
function M.setup(conf)
    local made = rp.http.client { timeout = 2 }
    local function get(client, url)
        local res, code, detail = client:get(url)
        return res and res.status or code .. ": " .. tostring(detail)
    end
    local ways = {}
    function ways.http(url) return get(made, url) end
    function ways.top(url) return get(at_top, url) end
    function ways.given(url) return get(conf.client, url) end
    function ways.tcp(host, port)
        local s, code = rp.tcp.connect { host = host, port = tonumber(port), timeout = 2 }
        if s then s:close() end
        return s and "connected" or code
    end
    function ways.address(text)
        local s, code = rp.tcp.connect { address = text, timeout = 2 }
        if s then s:close() end
        return s and "connected" or code
    end
    function ways.udp(host, port)
        local s, code = rp.udp.connect { host = host, port = tonumber(port) }
        if s then s:close() end
        return s and "connected" or code
    end
    function ways.unix(path)
        local s, code = rp.unix.connect(path)
        return s and "connected" or code
    end
    function ways.dns(name) return rp.dns.resolve(name) and "resolved" or "failed" end
    function ways.redis(host, port) return rp.redis { host = host, port = tonumber(port) } and "made" end
    function ways.read(path) return select(2, rp.fs.read(path)) or "read" end
    function ways.stat(path) return select(2, rp.fs.stat(path)) or "there" end
    function ways.list(path) return select(2, rp.fs.list(path)) or "listed" end
    function ways.write(path) return select(2, rp.fs.write(path, "x")) or "written" end
    function ways.swap(path) return select(2, rp.fs.write(path, "y", { atomic = true })) or "written" end
    function ways.append(path) return select(2, rp.fs.append(path, "x")) or "written" end
    function ways.remove(path) return select(2, rp.fs.remove(path)) or "removed" end
    function ways.rename(path, to) return select(2, rp.fs.rename(path, to)) or "renamed" end
    function ways.mkdir(path) return select(2, rp.fs.mkdir(path, { parents = true })) or "made" end
    function ways.exec(...)
        local r, code = rp.exec { argv = { ... } }
        return r and r.out:gsub("\n", "") or code
    end
    function ways.exec_env(...)
        local r, code = rp.exec { argv = { ... }, env = { LD_PRELOAD = "/x.so" } }
        return r and r.out or code
    end
    function ways.env(name) return os.getenv(name) or "nothing" end
    function ways.ffi() return type(require("ffi").C) end
    function ways.spawned(url) local _, out = rp.spawn(ways.http, url):wait() return out end
    function ways.detached(url) local _, out = rp.detach(ways.http, url):wait() return out end
    function ways.deadline(url)
        local out, err = rp.deadline(5, ways.http, url)
        return out or err
    end
    function ways.all(url)
        local list, err = rp.all { function() return ways.http(url) end }
        return list and list[1] or err
    end
    function ways.once(url)
        local out, err = rp.once("k" .. url, 0, function() return ways.http(url) end)
        return out or err
    end
    function ways.tls(path) return rp.tls { ca = path } and "made" end
    return { content = function(req)
        local words = {}
        for word in (req:arg("a") or ""):gmatch("[^ ]+") do words[#words + 1] = word end
        local ok, what = pcall(ways[req.path:sub(2)], unpack(words))
        return req:exit(200, (ok and "ok " or "refused ") .. tostring(what))
    end }
end
return M
]]

local function site(instance, more)
    return ([[
        return rp.site { workers = 1, %s
            listeners = { rp.listen { "127.0.0.1:${port}" } },
            hosts = { rp.host { default = true, routes = {
                rp.route { "/*", content = require("ways") { %s } } } } } }]]):format(
        more or "", instance)
end

local function start(instance, more, vars, env, files)
    local all = { ["ways.lua"] = WAYS }
    for name, text in pairs(files or {}) do all[name] = text end
    local rp = proc.rproxy { site = site(instance, more), vars = vars, env = env, files = all }
    rp:wait_stderr("serving site=")
    return rp
end

local function try(rp, way, ...)
    local words = table.concat({ ... }, "%20"):gsub("#", "%%23")
    return http.get(rp.port, "/" .. way .. "?a=" .. words).body
end

local function check(instance, more, files)
    local dir = proc.temp_dir()
    local all = { ["ways.lua"] = WAYS, ["site.lua"] = 'local rp = require("rproxy")'
        .. site(instance, more):gsub("%${port}", "1") }
    for name, text in pairs(files or {}) do all[name] = text end
    for name, text in pairs(all) do posix.write_file(dir .. "/" .. name, text) end
    local how, out, err = proc.run { process.BIN, "-t", "-p", dir .. "/site.lua" }
    return how.exit, out .. err
end

describe("grants of a plugin", function()
    local up, data
    before_each(function()
        up = origin.start { ["*"] = { status = 200, body = "up" } }
        data = proc.temp_dir()
        proc.run { "chmod", "777", data }
    end)
    after_each(function()
        wire.close_all()
        origin.cleanup()
        proc.cleanup()
    end)

    local function url(host) return ("http://%s:%d/"):format(host or "127.0.0.1", up.port) end

    it("are none at first: every way out is closed, and says what to write", function()
        local rp = start("", "", nil, { SECRET = "s" })
        for _, case in ipairs { { "http", url() }, { "top", url() }, { "tcp", "127.0.0.1", up.port },
            { "address", "127.0.0.1:" .. up.port }, { "udp", "127.0.0.1", 53 },
            { "unix", "/run/x.sock" }, { "dns", "localhost" }, { "redis", "127.0.0.1", 6379 },
            { "read", "site.lua" }, { "stat", "site.lua" }, { "list", "." }, { "write", "x" },
            { "swap", "x" }, { "append", "x" }, { "remove", "site.lua" }, { "mkdir", "x" },
            { "rename", "site.lua", "b" }, { "exec", "/bin/echo", "a" }, { "env", "SECRET" },
            { "ffi" }, { "spawned", url() }, { "detached", url() }, { "deadline", url() },
            { "all", url() }, { "once", url() }, { "tls", "/etc/ssl/certs/ca-certificates.crt" } } do
            local body = try(rp, unpack(case))
            assert.matches('plugin "ways" may not', body, 1, true)
            assert.matches("it is not granted; grant = { ", body, 1, true)
        end
        assert.equal(0, #up:requests())
        rp:wait_stderr("a plugin was refused what it is not granted")
    end)

    it("are said once in the log, and counted", function()
        local rp = start("")
        for _ = 1, 5 do try(rp, "http", url()) end
        local lines = 0
        for _ in rp:stderr():gmatch("a plugin was refused[^\n]*kind=net") do lines = lines + 1 end
        assert.equal(1, lines)
        assert.is_truthy(posix.poll(function()
            return process.must(rp, "status"):find("grants_denied: 5", 1, true)
        end))
    end)

    it("cover what the instance says", function()
        local rp = start(('grant = { net = { "127.0.0.1:%d", "unix:/run/none.sock" }, '
            .. 'env = { "SEC*" }, exec = { { "/bin/echo", "a", "*" } } }'):format(up.port), "", nil,
            { SECRET = "s", OTHER = "o" })
        assert.equal("ok 200", try(rp, "http", url()))
        assert.equal("ok 200", try(rp, "top", url()))
        assert.equal("ok connected", try(rp, "tcp", "127.0.0.1", up.port))
        assert.equal("ok connected", try(rp, "address", "127.0.0.1:" .. up.port))
        assert.equal("ok 200", try(rp, "spawned", url()))
        assert.equal("ok 200", try(rp, "detached", url()))
        assert.equal("ok 200", try(rp, "once", url()))
        assert.matches("^ok ", try(rp, "unix", "/run/none.sock"))
        assert.matches("refused", try(rp, "unix", "/run/other.sock"))
        assert.matches("refused", try(rp, "tcp", "127.0.0.1", up.port + 1))
        assert.matches("refused", try(rp, "http", url("localhost")))
        assert.equal("ok s", try(rp, "env", "SECRET"))
        assert.matches("refused", try(rp, "env", "OTHER"))
        assert.equal("ok a b", try(rp, "exec", "/bin/echo", "a", "b"))
        assert.matches("refused", try(rp, "exec", "/bin/echo", "b", "b"))
        assert.matches("refused", try(rp, "exec", "/bin/echo", "a"))
        assert.matches("refused", try(rp, "exec", "/bin/echo", "a", "b", "c"))
        assert.matches("refused", try(rp, "exec", "echo", "a", "b"))
        assert.matches("refused", try(rp, "exec", "/bin/../bin/../usr/bin/env", "a", "b"))
        assert.matches("refused", try(rp, "exec_env", "/bin/echo", "a", "b"))
    end)

    it("of a name do not open an address, and the other way round", function()
        local rp = start(('grant = { net = { "localhost:%d" } }'):format(up.port))
        assert.equal("ok 200", try(rp, "http", url("localhost")))
        assert.equal("ok 200", try(rp, "http", url("LOCALHOST")))
        assert.equal("ok resolved", try(rp, "dns", "localhost"))
        for _, host in ipairs { "127.0.0.1", "127.1", "0x7f.1", "2130706433", "[::ffff:127.0.0.1]",
            "localhost.localdomain", "xlocalhost" } do
            assert.matches("refused", try(rp, "http", url(host)), 1, host)
        end
    end)

    it("may be given for the whole site, by the plugin's name", function()
        local rp = start("", ('grants = { ways = { net = { "127.0.0.0/8:%d" } } },'):format(up.port))
        assert.equal("ok 200", try(rp, "http", url()))
        assert.matches("refused", try(rp, "tcp", "127.0.0.1", up.port + 1))
    end)

    it("come with settings that name a place", function()
        local rp = start(('api = "%s", at = "unix:/run/a.sock", box = "127.0.0.1", box_port = %d'):
            format(url("localhost"), up.port))
        assert.equal("ok 200", try(rp, "http", url("localhost")))
        assert.equal("ok 200", try(rp, "http", url()))
        assert.matches("^ok ", try(rp, "unix", "/run/a.sock"))
        assert.matches("refused", try(rp, "tcp", "127.0.0.1", up.port + 1))
        assert.matches("refused", try(rp, "tcp", "localhost", up.port + 1))
    end)

    it("of a client are those of who made it", function()
        local rp = start('client = rp.http.client { timeout = 2 }')
        assert.equal("ok 200", try(rp, "given", url()))
        assert.matches("refused", try(rp, "http", url()))
    end)

    it("do not follow a redirect to elsewhere: redirects are not followed", function()
        local other = origin.start { ["*"] = { status = 302,
            fields = { { "Location", url() } } } }
        local rp = start(('grant = { net = { "127.0.0.1:%d" } }'):format(other.port))
        assert.equal("ok 302", try(rp, "http", ("http://127.0.0.1:%d/"):format(other.port)))
        assert.matches("refused", try(rp, "http", url()))
        other:stop()
    end)

    it("of folders hold what is below them, and no link leads out", function()
        proc.run { "sh", "-c", ("cd %s && mkdir -p in out && echo i > in/a && echo o > out/b && "
            .. "ln -s ../out in/leave && ln -s ../out/b in/file && ln -s a in/stay && "
            .. "ln -s %s/out/b in/absolute && chmod -R 777 ."):format(data, data) }
        local rp = start(('grant = { fs = { read = { "%s/in" }, write = { "%s/in" } } }'):format(data,
            data))
        local function at(path) return data .. "/" .. path end
        assert.equal("ok read", try(rp, "read", at("in/a")))
        assert.equal("ok read", try(rp, "read", at("in/stay")))
        assert.equal("ok read", try(rp, "read", at("in/./x/../a")))
        assert.equal("ok listed", try(rp, "list", at("in")))
        assert.equal("ok there", try(rp, "stat", at("in/a")))
        for _, path in ipairs { "in/leave/b", "in/file", "in/absolute" } do
            assert.equal("ok denied", try(rp, "read", at(path)), path)
            assert.equal("ok denied", try(rp, "write", at(path)), path)
            assert.equal("ok denied", try(rp, "append", at(path)), path)
            assert.equal("ok denied", try(rp, "stat", at(path)), path)
        end
        assert.equal("ok denied", try(rp, "list", at("in/leave")))
        assert.equal("ok denied", try(rp, "remove", at("in/leave/b")))
        assert.equal("ok denied", try(rp, "swap", at("in/leave/b")))
        assert.equal("ok denied", try(rp, "rename", at("in/leave/b"), at("in/c")))
        assert.equal("ok denied", try(rp, "rename", at("in/a"), at("in/leave/c")))
        assert.equal("ok denied", try(rp, "mkdir", at("in/leave/d")))
        assert.matches("refused", try(rp, "read", at("out/b")))
        assert.matches("refused", try(rp, "read", at("in/../out/b")))
        assert.matches("refused", try(rp, "read", at("inside")))
        assert.equal("o\n", posix.read_file(at("out/b")))

        assert.equal("ok made", try(rp, "mkdir", at("in/new/deep")))
        assert.equal("ok written", try(rp, "write", at("in/new/deep/f")))
        assert.equal("ok written", try(rp, "swap", at("in/new/deep/f")))
        assert.equal("y", posix.read_file(at("in/new/deep/f")))
        assert.equal("ok renamed", try(rp, "rename", at("in/new/deep/f"), at("in/g")))
        assert.equal("ok removed", try(rp, "remove", at("in/g")))
        assert.equal("ok removed", try(rp, "remove", at("in/new/deep")))
    end)

    it("of files are read or write, one does not bring the other", function()
        posix.write_file(data .. "/r", "r")
        posix.write_file(data .. "/w", "w")
        proc.run { "chmod", "777", data .. "/r", data .. "/w" }
        local rp = start(('file = "%s/r", grant = { fs = { write = { "%s/w" } } }'):format(data, data))
        assert.equal("ok read", try(rp, "read", data .. "/r"))
        assert.matches("refused", try(rp, "write", data .. "/r"))
        assert.matches("refused", try(rp, "read", data .. "/w"))
        assert.equal("ok written", try(rp, "write", data .. "/w"))
    end)

    it("of the FFI need the site's word, too", function()
        local status, text = check("grant = { ffi = true }")
        assert.equal(1, status)
        assert.matches("the site does not allow it; write lua = { ffi = true }", text)
        local rp = start("grant = { ffi = true }", "lua = { ffi = true },")
        assert.matches("^ok ", try(rp, "ffi"))
    end)

    it("do not bind code of the site", function()
        local rp = proc.rproxy { site = ([[
            return rp.site { workers = 1, listeners = { rp.listen { "127.0.0.1:${port}" } },
                hosts = { rp.host { default = true, routes = { rp.route { "/*",
                    content = function(req)
                        local res = rp.http.client { timeout = 2 }:get("%s")
                        return req:exit(200, res.body .. (os.getenv("SECRET") or ""))
                    end } } } } }]]):format(url()), env = { SECRET = "s" } }
        assert.equal("ups", http.get(rp.port, "/").body)
    end)
end)

describe("needs of a plugin", function()
    local function plugin(needs, top)
        return { ["needy.lua"] = ([[
            local rp = require("rproxy")
            %s
            local M = rp.plugin { name = "needy", needs = %s }
            function M.setup() return {} end
            return M]]):format(top or "", needs) }
    end

    local function check_needy(needs, instance, more, top)
        return check("", ('use = { require("needy") { %s } }, %s'):format(instance,
            more or ""), plugin(needs, top))
    end

    it("are refused by -t, at the line, with the words to write", function()
        local status, text = check_needy('{ net = { "api.example:443" }, env = { "HOME" } }', "")
        assert.equal(1, status)
        assert.matches('site.lua:%d+: plugin needy needs what it is not granted; write grant = '
            .. '{ net = { "api.example:443" } }', text)
        assert.matches('write grant = { env = { "HOME" } }', text)
    end)

    it("are met by grants that are as wide or wider", function()
        for needs, grant in pairs {
            ['{ net = { "api.example:443" } }'] = '{ net = { "*.example:443", } }',
            ['{ net = { "10.1.0.0/16:80" } }'] = '{ net = { "10.0.0.0/8:*" } }',
            ['{ fs = { read = { "/var/x/y" } } }'] = '{ fs = { read = { "/var/x" } } }',
            ['{ exec = { { "/bin/echo", "a" } } }'] = '{ exec = { { "/bin/echo", "*" } } }',
            ['{ env = { "AWS_KEY" } }'] = '{ env = { "AWS_*" } }',
            ['{ net = { "unix:/run/./x" } }'] = '{ net = { "unix:/run/x" } }',
        } do
            local status, text = check_needy(needs, "grant = " .. grant)
            assert.equal(0, status, needs .. ": " .. text)
        end
        local status, text = check_needy('{ net = { "a:1" } }', "",
            'grants = { needy = { net = { "a:1" } } },')
        assert.equal(0, status, text)
    end)

    it("are not met by narrower ones", function()
        for needs, grant in pairs {
            ['{ net = { "*.example:443" } }'] = '{ net = { "api.example:443" } }',
            ['{ net = { "10.0.0.0/8:80" } }'] = '{ net = { "10.1.0.0/16:80" } }',
            ['{ net = { "a:*" } }'] = '{ net = { "a:1" } }',
            ['{ fs = { write = { "/var/x" } } }'] = '{ fs = { read = { "/var/x" } } }',
            ['{ exec = { "/bin/echo" } }'] = '{ exec = { { "/bin/echo", "a" } } }',
            ["{ ffi = true }"] = "{ }",
        } do
            assert.equal(1, (check_needy(needs, "grant = " .. grant)), needs)
        end
    end)

    it("are also what its module does while it is loaded", function()
        local top = 'local secret = os.getenv("HOME") local text = rp.file("needy.lua")'
        local status, text = check_needy("{}", "", "", top)
        assert.equal(1, status)
        assert.matches('write grant = { env = { "HOME" } }', text)
        assert.matches('write grant = { fs = { read = { "needy.lua" } } }', text)
        status, text = check_needy("{}",
            'grant = { env = { "HOME" }, fs = { read = { "needy.lua" } } }', "", top)
        assert.equal(0, status, text)
    end)

    it("and mistakes in them, and in grants, are reported", function()
        for grant, what in pairs {
            ['{ net = { "api.example" } }'] = 'grant.net%[1%]: expected "host:port"',
            ['{ net = { "10.0.0.0/33:1" } }'] = "grant.net%[1%]: expected",
            ['{ nett = { } }'] = 'no "nett" can be granted; did you mean "net"',
            ['{ exec = { "echo" } }'] = 'grant.exec%[1%]: expected "/path/of/program"',
            ['{ fs = { reed = { } } }'] = 'grant.fs: no "reed" here',
            ['{ ffi = "yes" }'] = "grant.ffi: expected true or false",
        } do
            local status, text = check_needy("{}", "grant = " .. grant)
            assert.equal(1, status)
            assert.matches(what, text)
        end
        local _, text = check_needy("{}", "", 'grants = { neddy = { } },')
        assert.matches('grants.neddy: no plugin of that name is used; did you mean "needy"', text)
        _, text = check("", 'use = { { access = function() end, grant = { } } },')
        assert.matches("grant: is for plugins that rp.plugin makes", text)
    end)
end)
