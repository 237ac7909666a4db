-- SPDX-License-Identifier: MIT
--
-- rproxy lint: each thing it looks for is found where it is, and not where it is not.

local posix = require("spec.support.posix")
local proc = require("spec.support.proc")
local process = require("spec.support.process")

-- A finding per case: code = { what has it, what does not }; the body of an access hook.
local HOOKS = {
    ["hook-closure"] = { "local f = function() end f()", "rp.spawn(function() end)" },
    ["hook-construct"] = { 'rp.regex("x"):test("y")', "re:test('y')" },
    ["hook-require"] = { 'require("bit")', "bit.band(1, 1)" },
    ["hook-pattern"] = { '("x"):match("^%d+$")', '("x"):find("y", 1, true)' },
    ["hook-concat"] = { 'local s = "" for _ = 1, 9 do s = s .. "x" end return s == 1',
        'local s = "" s = s .. "x" return s == 1' },
    ["unreturned-exit"] = { "if req.path then req:exit(403) end",
        "if req.path then return req:exit(403) end req:exit(401) return true" },
    ["pairs-headers"] = { "for k in pairs(req:headers()) do rp.log.info(k) end",
        "for k in req:headers() do rp.log.info(k) end" },
    ["unknown-rp"] = { "rp.shraed()", "rp.now()" },
    ["unknown-global"] = { "return nowhere", "return tostring(1) == 2" },
    ["global-write"] = { "mine = 1", "req.ctx.mine = 1" },
    ["hook-upvalue"] = { "count = 1", "local count2 = 1 count2 = 2 return count2 == 3" },
    ["hook-table"] = { "for i = 1, 3 do local t = { i } rp.log.info(t[1]) end",
        "local t = { 1 } for i = 1, 3 do t[i] = i end rp.log.info(t[1])" },
    ["lua-211"] = { "local unused = 1", "local used = 1 return used == 2" },
}

local function plugin(body)
    return ([[local rp = require("rproxy")
local re, count = rp.regex("^x$"), 0
local M = rp.plugin { name = "p" }
function M.setup()
    re:test("x")
    return { access = function(req)
%s
    end, log = function() return count end }
end
return M
]]):format(body)
end

local function site(opt)
    return ([[local rp = require("rproxy")
%s
return rp.site {
    workers = 1, %s
    listeners = { rp.listen { "127.0.0.1:1" } },
    hosts = { rp.host { default = true, routes = {
        %s
    } } },
}
]]):format(opt.before or "", opt.more or "", opt.routes or 'rp.route { "/*", respond = { 200 } }')
end

-- Findings as "line code", in order, and the whole output.
local function lint(...)
    local how, out, err = process.run { "lint", ... }
    local list = {}
    for line, code in out:gmatch("[^\n]*%.lua:(%d+):%d+: ([%w%-]+): [^\n]*\n") do
        list[#list + 1] = line .. " " .. code
    end
    return list, how.exit, out .. err
end

describe("rproxy lint", function()
    local dir

    local function write(name, text)
        posix.write_file(dir .. "/" .. name, text)
        return dir .. "/" .. name
    end

    -- The codes that a site has, each once.
    local function codes(opt, ...)
        local list, _, text = lint("--level", "info", "-p", write("site.lua", site(opt)), ...)
        local set = {}
        for _, item in ipairs(list) do set[item:match("%S+$")] = true end
        return set, text
    end

    before_each(function() dir = proc.temp_dir() end)
    after_each(proc.cleanup)

    describe("in hooks", function()
        local found = {} -- by "bad"/"good": line -> set of codes
        local lines = {} -- by code

        -- A file with a hook for each case on a line of its own; one run for all.
        lazy_setup(function()
            dir = proc.temp_dir()
            for k, which in ipairs { "bad", "good" } do
                local text = { 'local rp = require("rproxy")',
                    'local re, count, list = rp.regex("^x$"), 0, {}',
                    'rp.log.info(tostring(re:test("x")), count)' }
                for code, case in pairs(HOOKS) do
                    text[#text + 1] = ("list[#list + 1] = { access = function(req) %s end }")
                        :format(case[k])
                    lines[code] = #text
                end
                found[which] = {}
                local path = write(which .. ".lua", table.concat(text, "\n")
                    .. "\nreturn list\n")
                for _, item in ipairs((lint("--level", "info", path))) do
                    local line, code = item:match("^(%d+) (.*)$")
                    found[which][tonumber(line)] = found[which][tonumber(line)] or {}
                    found[which][tonumber(line)][code] = true
                end
            end
        end)
        lazy_teardown(proc.cleanup)

        for code in pairs(HOOKS) do
            it("finds " .. code .. ", and not what looks like it", function()
                assert.is_true((found.bad[lines[code]] or {})[code])
                assert.is_nil((found.good[lines[code]] or {})[code])
            end)
        end
    end)

    it("says nothing of code that has no mistakes", function()
        local list, status, text = lint("--level", "info",
            write("p.lua", plugin('if req.path == "/x" then return req:exit(403) end')))
        assert.same({}, list, text)
        assert.equal(0, status)
        assert.equal("", text)
    end)

    it("says nothing of setup, which may make what it likes", function()
        assert.same({}, (lint("--level", "info", write("p.lua", [[local rp = require("rproxy")
local M = rp.plugin { name = "p" }
function M.setup(conf)
    local tests = {}
    for i, text in ipairs(conf.list) do
        local re = rp.regex(text:match("^%s*(.*)$"))
        tests[i] = function(value) return re:test(value) end
    end
    return { access = function(req) if tests[1](req.path) then return req:exit(403) end end }
end
return M
]]))))
    end)

    it("knows what is in the libraries of rp", function()
        local list, _, text = lint(write("p.lua", plugin(
            "rp.crypto.sha256('x') rp.log.info('x') rp.shared.anything:get('x')\n"
            .. "rp.crypto.sha265('x')")))
        assert.same({ "8 unknown-rp" }, list, text)
        assert.match('rp.crypto has no "sha265"; did you mean "sha256"', text)
    end)

    it("says what to install when luacheck is missing", function()
        local how, _, err = proc.run { "sh", "-c", 'LUA_PATH="/nowhere/?.lua" exec "$@"', "sh",
            process.BIN, "lint", write("p.lua", "return 1\n") }
        assert.same({ exit = 2 }, how)
        assert.match("apt%-get install lua%-check", err)
    end)

    it("tells of files that are no Lua", function()
        local list, status = lint(write("p.lua", "local x = = 1\n"))
        assert.same({ "1 syntax" }, list)
        assert.equal(1, status)
    end)

    it("knows hooks by where the site has them, not by their names", function()
        local text = [[local rp = require("rproxy")
local function any_name(req)
    local f = function() return req.path end
    return f() == 1
end
return rp.site {
    workers = 1, use = { { access = any_name } },
    listeners = { rp.listen { "127.0.0.1:1" } },
    hosts = { rp.host { default = true, routes = { rp.route { "/*", respond = { 200 } } } } },
}
]]
        assert.same({ "3 hook-closure" }, (lint("-p", write("site.lua", text))))
    end)

    it("looks into all files that the site loads", function()
        write("part.lua", "local rp = require('rproxy')\nrp.now()\n"
            .. "return { access = function(req) if req.path then req:exit(403) end end }\n")
        local list, _, text = lint("-p", write("site.lua", site {
            more = 'use = { require("part") },' }))
        assert.is_truthy(text:find("part.lua:3:50: unreturned-exit", 1, true), text)
        assert.equal("3 unreturned-exit", list[1])
    end)

    it("takes back what a comment allows, on its line and the next", function()
        local body = "local f = function() end f() -- rproxy: allow hook-closure\n"
            .. "-- rproxy: allow hook-closure, hook-pattern\n"
            .. 'local g = function() end g(("x"):match("^%d+$"))\n'
            .. "local h = function() end h()"
        assert.same({ "10 hook-closure" }, (lint(write("p.lua", plugin(body)))))
    end)

    it("counts from a level on", function()
        local path = write("p.lua", plugin(HOOKS["hook-closure"][1]))
        local _, status = lint("--level", "error", path)
        assert.equal(0, status)
        _, status = lint("--level", "warning", path)
        assert.equal(1, status)
    end)

    it("writes JSON", function()
        local how, out = process.run { "lint", "--format", "json",
            write("p.lua", plugin(HOOKS["hook-closure"][1])) }
        assert.same({ exit = 1 }, how)
        assert.match('^%[{"code":"hook%-closure","column":11,"file":"[^"]*p.lua","level":"warning",'
            .. '"line":7,"message":"[^"]*"}%]\n$', out)
        how, out = process.run { "lint", "--format", "json", write("p.lua", "return 1\n") }
        assert.same({ exit = 0 }, how)
        assert.equal("[]\n", out)
    end)

    it("ends with 2 when a file is missing, or the site is wrong", function()
        assert.same({ exit = 2 }, (process.run { "lint", dir .. "/nowhere.lua" }))
        local how, _, err = process.run { "lint", "-p", write("site.lua", "return 1") }
        assert.same({ exit = 2 }, how)
        assert.match("rp.site", err)
    end)

    it("tries regular expressions on texts that make bad ones explode", function()
        local bad = { "^(a+)+$", "(x+x+)+y", "^([a-z]+)*!?$z", "(\\\\d+)*x$", "^(ab|a|b)*c$" }
        local good = { "^a+$", "^[a-z]+(-[a-z]+)*$", "^(?:a|b)+c", "\\\\d{1,3}x", "^/api/v[0-9]+/",
            "foo|bar|baz.*" }
        local text, expected = { 'local rp = require("rproxy")', "return {" }, {}
        for _, pattern in ipairs(bad) do
            text[#text + 1] = ('rp.regex("%s"),'):format(pattern)
            expected[#expected + 1] = #text .. " regex-explodes"
        end
        for _, pattern in ipairs(good) do
            text[#text + 1] = ('rp.regex("%s"),'):format(pattern)
        end
        local list, _, out = lint(write("p.lua", table.concat(text, "\n") .. "\n}\n"))
        assert.same(expected, list, out)
    end)

    it("looks at sets of regular expressions, too", function()
        assert.same({ "2 regex-explodes" }, (lint(write("p.lua", 'local rp = require("rproxy")\n'
            .. 'return rp.regex.set({ "abc", "^(a+)+$" }, "i")\n'))))
    end)

    it("finds nothing in the plugins and examples that come with rproxy", function()
        local how, out = proc.run { "sh", "-c", process.BIN .. " lint plugins/*/*.lua" }
        assert.equal("", out)
        assert.same({ exit = 0 }, how)
        for _, name in ipairs { "hello", "gateway", "balancer", "websocket" } do
            how, out = process.run { "lint", "-p", "examples/" .. name .. "/site.lua" }
            assert.equal("", out)
            assert.same({ exit = 0 }, how)
        end
    end)

    -- ------------------------------------------------------------ the site as a whole

    it("finds routes that are never reached", function()
        local list, _, text = lint("-p", write("site.lua", site { routes = [[
            rp.route { "/b", when = { header = { ["x-a"] = "1" } }, respond = { 200 } },
            rp.route { "/b", when = { header = { ["x-a"] = "2" } }, respond = { 200 } },
            rp.route { "/b", when = { header = { ["x-a"] = "1", ["x-b"] = true } },
                respond = { 200 } },
            rp.route { "POST /c", respond = { 200 } },
            rp.route { "GET /c", respond = { 200 } },
            rp.route { "/c", respond = { 200 } },]] }))
        assert.same({ "9 unreachable-route" }, list, text)
    end)

    it("finds routes without authentication, and believes those that say so", function()
        local found, text = codes { more = 'upstreams = { u = rp.upstream { peers = '
            .. '{ "127.0.0.1:2" } } },', routes = 'rp.route { "/*", upstream = "u" }' }
        assert.is_true(found["no-auth"], text)
        found, text = codes { more = 'upstreams = { u = rp.upstream { peers = '
            .. '{ "127.0.0.1:2" } } },', routes = 'rp.route { "/*", upstream = "u", '
            .. 'meta = { public = true } }' }
        assert.is_nil(found["no-auth"], text)
        found, text = codes { before = [[local auth = rp.plugin { name = "a", stage = "auth" }
            function auth.setup() return { access = function(req) return req:exit(401) end } end]],
            more = 'use = { auth {} }, upstreams = { u = rp.upstream { peers = '
            .. '{ "127.0.0.1:2" } } },', routes = 'rp.route { "/*", upstream = "u" }' }
        assert.is_nil(found["no-auth"], text)
    end)

    it("finds what nobody uses, and not what code names", function()
        local found, text = codes { more = [[
            shared = { z = rp.shm.store { size = "1m" } },
            upstreams = { u = rp.upstream { peers = { "127.0.0.1:2" } } },]] }
        assert.is_true(found["unused-zone"] and found["unused-upstream"], text)
        found, text = codes { before = [[local use = { access = function(req)
            if rp.shared.z:get("x") then req.upstream = "u" end end }]], more = [[use = { use },
            shared = { z = rp.shm.store { size = "1m" } },
            upstreams = { u = rp.upstream { peers = { "127.0.0.1:2" } } },]] }
        assert.is_nil(found["unused-zone"] or found["unused-upstream"], text)
    end)

    it("finds limits that are switched off, and whom one should not trust", function()
        local found, text = codes { more = [[
            trust = { "0.0.0.0/0" }, limits = { body = 0 },
            upstreams = { u = rp.upstream { peers = { "localhost:2" },
                tls = { verify = false } } },]],
            routes = 'rp.route { "/*", upstream = "u" }, rp.route { "CONNECT *", '
            .. 'connect = { allow = { "0.0.0.0/0:443" } } }' }
        for _, code in ipairs { "trust-everybody", "no-limit", "tls-unverified", "open-proxy" } do
            assert.is_true(found[code], code .. "\n" .. text)
        end
        found, text = codes {}
        assert.same({}, found, text)
    end)

    it("finds plugins that run twice, and auth that fails open", function()
        local found, text = codes { before = [[local p = rp.plugin { name = "p", stage = "auth",
            schema = { v = "string" } }
            function p.setup() return { access = function(req) return req:exit(401) end } end]],
            more = 'use = { p { v = "x", on_error = "open" }, p { v = "x" } },' }
        assert.is_true(found.order and found["auth-fails-open"], text)
    end)

    it("tries the regular expressions of the site's settings", function()
        local found, text = codes { routes = 'rp.route { "/*", when = { header = { x = '
            .. '{ regex = "^(a+)+$" } } }, respond = { 200 } }' }
        assert.is_true(found["regex-explodes"], text)
    end)
end)
