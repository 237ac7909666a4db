-- SPDX-License-Identifier: MIT
--
-- `rproxy explain`: what a site would do with a request.

local json = require("cjson")

local posix = require("spec.support.posix")
local proc = require("spec.support.proc")
local process = require("spec.support.process")

local SITE = [[
local rp = require "rproxy"
local http = rp.http.client { timeout = 1 }
return rp.site {
    listeners = { rp.listen { "127.0.0.1:8080" } },
    upstreams = { api = rp.upstream { peers = { "127.0.0.1:9" } } },
    use = { { name = "first", early = function(req)
        req.ctx.seen = true
        if req:get("x-early") then return req:exit(403) end
    end } },
    hosts = {
        rp.host { "api.example.com",
            use = { { name = "auth", access = function(req)
                if not req:get("authorization") then return req:exit(401, "who are you?\n") end
                req.consumer = "joe"
                req.up:set("x-user", "joe")
            end } },
            routes = {
                rp.route { "POST /v1/{tenant}/up", id = "upload", upstream = "api" },
                rp.route { "/v1/{tenant}/*", id = "tenant", upstream = "api",
                    use = { { name = "later", access = function() end,
                        header_filter = function(_, res) res:set("x-later", "1") end },
                        { name = "new", mode = "shadow",
                            access = function(req) return req:exit(403) end } } },
                rp.route { "/v1/{tenant}/x", id = "beta", upstream = "api",
                    when = { header = { ["x-beta"] = "1" } } },
                rp.route { "/call", id = "call", content = function(req)
                    local res, err = http:get("http://other.example:81/")
                    return req:exit(200, res and res.body or err)
                end },
                rp.route { "/boom", id = "boom", upstream = "api", skip = { "auth" },
                    use = { { name = "bad", access = function() error("no good") end } } },
                rp.route { "/*", id = "rest", respond = { 404, "nothing" } },
            } },
    },
}
]]

describe("rproxy explain", function()
    local dir

    setup(function()
        dir = proc.temp_dir()
        posix.write_file(dir .. "/site.lua", SITE)
        posix.write_file(dir .. "/answers.json",
            '{"other.example:81":{"status":201,"body":"from a file"}}')
    end)
    teardown(proc.cleanup)

    local function explain(...)
        return proc.run { process.BIN, "explain", "-p", dir .. "/site.lua", ... }
    end

    local function story(...)
        local how, out, err = explain("--json", ...)
        assert.equal("", err)
        return json.decode(out), how.exit
    end

    it("tells each route, the hooks, what goes upstream and the answer", function()
        local how, out = explain("GET https://api.example.com/v1/acme/x?q=1", "-H",
            "Authorization: Basic x", "--from", "192.0.2.7")
        assert.same({ exit = 0 }, how)
        for _, text in ipairs { "GET https://api.example.com/v1/acme/x?q=1 from 192.0.2.7",
            "host      api.example.com (by its name)", "route     tenant", "params    tenant=acme",
            "- beta    does not hold: when header x-beta equals 1", "> tenant  chosen",
            "+ rest    fits, but tenant stands before it",
            "- upload  the path does not fit /v1/{tenant}/up", "early\n  first",
            "set up.x-user: joe", "consumer = joe", "consumer  joe",
            "upstream  api, peer 127.0.0.1:9", "GET /v1/acme/x?q=1", "x-user: joe",
            "x-forwarded-for: 192.0.2.7", "x-forwarded-proto: https",
            "(shadow: not applied)", "answer    200 from the upstream's stand-in", "x-later: 1" } do
            assert.truthy(out:find(text, 1, true), text .. "\n" .. out)
        end
    end)

    it("tells what refuses a request, and what does not run then", function()
        local told, status = story("/v1/acme/x", "-H", "Host: api.example.com")
        assert.equal(1, status)
        assert.equal(401, told.answer.status)
        assert.equal("plugin", told.answer.from)
        local access
        for _, phase in ipairs(told.hooks) do access = phase.hook == "access" and phase or access end
        assert.equal("auth", access.handlers[1].instance)
        assert.equal("answer", access.handlers[1].verdict)
        assert.is_nil(access.handlers[2].verdict)
        local _, out = explain("/v1/acme/x", "-H", "Host: api.example.com")
        assert.match("auth%s+answers 401", out)
        assert.match("later%s+did not run", out)
        assert.match("upstream  none is asked", out)
    end)

    it("tells of a request that is answered before it has a route", function()
        local how, out = explain("https://api.example.com/", "-H", "X-Early: 1")
        assert.same({ exit = 1 }, how)
        assert.match("route     none: answered before", out)
        assert.match("first%s+", out)
        assert.match("answer    403 by a hook", out)
    end)

    it("follows conditions and methods", function()
        local told = story("https://api.example.com/v1/a/x", "-H", "X-Beta: 1", "-H",
            "Authorization: x")
        assert.equal("beta", told.route.chosen)
        told = story("https://api.example.com/v1/a/up", "-d", "body", "-H", "Authorization: x")
        assert.equal("upload", told.route.chosen)
        assert.equal("POST", told.upstream.sent.method)
        assert.equal("body", told.upstream.sent.body)
    end)

    it("tells a host that is not there", function()
        local told, status = story("https://other.org/")
        assert.equal(1, status)
        assert.equal("none", told.route.by)
        assert.equal(421, told.answer.status)
    end)

    it("reaches nobody, and says what was refused", function()
        local told = story("https://api.example.com/call", "-H", "Authorization: x")
        assert.match("other.example", table.concat(told.notes, "\n"))
        told = story("https://api.example.com/call", "-H", "Authorization: x", "--serve",
            "other.example:81=played")
        assert.equal("played", told.answer.body)
        assert.same({}, told.notes)
        told = story("https://api.example.com/call", "-H", "Authorization: x", "--answers",
            dir .. "/answers.json")
        assert.equal("from a file", told.answer.body)
    end)

    it("tells of a hook that raises, and of skipped plugins", function()
        local how, out = explain("https://api.example.com/boom")
        assert.same({ exit = 1 }, how)
        assert.match("bad%s+raises", out)
        assert.match("no good", out)
        assert.match("skipped   auth", out)
        assert.match("answer    500 by rproxy", out)
    end)

    it("plays other answers of upstreams", function()
        local told, status = story("https://api.example.com/v1/a/b", "-H", "Authorization: x",
            "--answer", "503")
        assert.equal(503, told.answer.status)
        assert.equal("upstream", told.answer.from)
        assert.equal(0, status)
    end)

    it("tells of a site without hooks, and of start hooks that cannot run", function()
        local path = dir .. "/plain.lua"
        posix.write_file(path, [[local rp = require "rproxy"
            local c = rp.http.client { timeout = 1 }
            return rp.site { listeners = { rp.listen { "127.0.0.1:1" } },
                use = { { name = "keys", start = function() assert(c:get("http://keys.example/")) end } },
                hosts = { rp.host { default = true, routes = { rp.route { "/a", respond = { 204 } },
                    rp.route { "POST /b", id = "b", respond = { 204 } } } } } }]])
        local how, out = proc.run { process.BIN, "explain", "-p", path, "/a" }
        assert.same({ exit = 0 }, how)
        assert.match("> default /a", out)
        assert.match("hooks     none", out)
        assert.match("start hooks failed and are left out", out)
        assert.match("refused: look%-up keys.example", out)
        how, out = proc.run { process.BIN, "explain", "-p", path, "/b" }
        assert.same({ exit = 1 }, how)
        assert.match("its method is POST", out)
        assert.match("answer    405 by rproxy", out)
    end)

    it("is trouble with what is no request, no site, or a broken one", function()
        for _, words in ipairs { { "ftp://x/" }, { "/", "-H", "no header" }, { "/", "--answer", "9" },
            {}, { "/", "--from", "nowhere" }, { "/", "--data-file", dir .. "/none" },
            { "/", "--serve", "x" }, { "/", "--answers", dir .. "/site.lua" } } do
            local how, _, err = explain(unpack(words))
            assert.same({ exit = 2 }, how, table.concat(words, " "))
            assert.match("^rproxy: explain: ", err)
        end
        posix.write_file(dir .. "/broken.lua", "return nothing at all")
        local how, _, err = proc.run { process.BIN, "explain", "-p", dir .. "/broken.lua", "/" }
        assert.same({ exit = 2 }, how)
        assert.match("broken.lua:1", err)
    end)
end)
