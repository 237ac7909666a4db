-- SPDX-License-Identifier: MIT
--
-- `rproxy test` as a program: what it runs, what it says, how it ends. What specs can do with it is
-- tested in spec/kit, by itself.

local posix = require("spec.support.posix")
local proc = require("spec.support.proc")
local process = require("spec.support.process")

local BIN = process.BIN:sub(1, 1) == "/" and process.BIN or os.getenv("PWD") .. "/" .. process.BIN

local PLUGIN = [[
local rp = require "rproxy"
local M = rp.plugin { name = "greet", schema = { word = { "string", default = "hello" } } }
local function never(req)
    return req:exit(500, "never")
end
function M.setup(conf)
    return { access = function(req)
        if req.path == "/never" then
            return never(req)
        end
        if req.path == "/log" then rp.log.error("said by the plugin", { word = conf.word }) end
        return req:exit(200, conf.word)
    end }
end
return M
]]

local SPEC = [[
local t = require "rproxy.test"
local greet = require "plugins.greet"
describe("greet", function()
    it("says hello", function()
        local site = t.site { use = { greet {} } }
        assert.equal("hello", site:get("/").body)
    end)
    it("says what it is told", function()
        assert.equal("hi", t.site { use = { greet { word = "hi" } } }:get("/").body)
    end)
end)
]]

local FAILING = [[
local t = require "rproxy.test"
local greet = require "plugins.greet"
it("fails", function()
    local site = t.site { use = { greet {} } }
    assert.equal("bye", site:get("/log").body)
end)
]]

-- The routes of each site have the same numbers and other names.
local ROUTES = [[
local rp = require "rproxy"
local t = require "rproxy.test"
it("names its routes", function()
    for _, name in ipairs { "FILE1", "FILE2" } do
        local site = t.site { routes = { rp.route { "/*", id = name, content = function(req)
            return req:exit(200, req.route.id)
        end } } }
        assert.equal(name, site:get("/").body)
    end
end)
]]

describe("rproxy test", function()
    local dir
    before_each(function()
        dir = proc.temp_dir()
        assert(os.execute("mkdir " .. dir .. "/plugins") == 0)
        posix.write_file(dir .. "/plugins/greet.lua", PLUGIN)
    end)
    after_each(proc.cleanup)

    local function write(name, text) posix.write_file(dir .. "/" .. name, text) end

    local function run(...)
        local p = proc.spawn({ BIN, "test", ... }, { cwd = dir, env = { COLUMNS = "80" } })
        return assert(p:wait(60), "it does not end"), p:stdout(), p:stderr()
    end

    it("runs the specs below plugins and ends with 0", function()
        write("plugins/greet_spec.lua", SPEC)
        local how, out = run()
        assert.same({ exit = 0 }, how)
        assert.matches("2 successes / 0 failures / 0 errors", out, 1, true)
    end)

    it("forgets the sites before in every file", function()
        for _, name in ipairs { "a", "b" } do
            write("plugins/" .. name .. "_spec.lua", (ROUTES:gsub("FILE", name)))
        end
        local how, out = run()
        assert.same({ exit = 0 }, how, out)
        assert.matches("2 successes / 0 failures / 0 errors", out, 1, true)
    end)

    it("ends with 1 when a test fails, and shows place, log and dice", function()
        write("plugins/greet_spec.lua", FAILING)
        local how, out, err = run("--seed", "77")
        assert.same({ exit = 1 }, how)
        assert.matches("plugins/greet_spec.lua:5: Expected objects to be equal", out, 1, true)
        assert.matches("error log during \"fails\":", err, 1, true)
        assert.matches("said by the plugin word=hello plugin=greet", err, 1, true)
        assert.matches("rproxy test --seed 77", err, 1, true)
    end)

    it("ends with 1 when a spec cannot be read", function()
        write("plugins/greet_spec.lua", "this is no Lua")
        local how, out = run()
        assert.same({ exit = 1 }, how)
        assert.matches("plugins/greet_spec.lua", out, 1, true)
    end)

    it("ends with 2 where there is nothing to run, and on wrong usage", function()
        for _, words in ipairs { {}, { "nothing_spec.lua" }, { "--bogus" }, { "--seed", "x" } } do
            local how, out, err = run(unpack(words))
            assert.same({ exit = 2 }, how)
            assert.equal("", out)
            assert.matches("^rproxy: test: [^\n]+\n", err)
        end
    end)

    it("says what to install where busted is not", function()
        write("plugins/greet_spec.lua", SPEC)
        local p = proc.spawn({ BIN, "test" }, { cwd = dir,
            env = { LUA_PATH = "/nowhere/?.lua", LUA_CPATH = "/nowhere/?.so" } })
        assert.same({ exit = 2 }, p:wait())
        assert.matches("apt%-get install lua%-busted", p:stderr())
    end)

    it("helps", function()
        local how, out = run("--help")
        assert.same({ exit = 0 }, how)
        for _, word in ipairs { "--filter", "--coverage", "--update-golden", "--seed", "--output" } do
            assert.matches(word, out, 1, true)
        end
    end)

    it("runs what the filter lets through, and lists", function()
        write("plugins/greet_spec.lua", SPEC)
        local _, out = run("-f", "told")
        assert.matches("1 success / 0 failures", out, 1, true)
        _, out = run("--list")
        assert.matches("greet says hello", out, 1, true)
    end)

    it("writes TAP", function()
        write("plugins/greet_spec.lua", SPEC)
        local how, out = run("-o", "TAP")
        assert.same({ exit = 0 }, how)
        assert.matches("1..2", out, 1, true)
    end)

    it("tells the lines that were not run", function()
        write("plugins/greet_spec.lua", SPEC)
        local how, out = run("--coverage", "--coverage-file", dir .. "/lcov.info")
        assert.same({ exit = 0 }, how)
        assert.matches("plugins/greet%.lua  not run: 4, 9", out)
        local lcov = posix.read_file(dir .. "/lcov.info")
        assert.matches("DA:4,0", lcov, 1, true)
        assert.matches("end_of_record", lcov, 1, true)
    end)

    it("keeps and compares golden decisions", function()
        write("plugins/greet_spec.lua", [[
            local t = require "rproxy.test"
            it("decides", function()
                t.golden("hello", t.site { use = { require "plugins.greet" {} } }:get("/"))
            end)]])
        local how, out = run()
        assert.same({ exit = 1 }, how)
        assert.matches("--update-golden", out, 1, true)
        assert.same({ exit = 0 }, (run("--update-golden")))
        assert.same({ exit = 0 }, (run()))
        local path = dir .. "/plugins/greet_spec.golden/hello.txt"
        assert.equal('access greet answer 200 "hello"\naccess greet verdict answer 200\n',
            posix.read_file(path))
        posix.write_file(path, "access greet verdict next\n")
        how, out = run()
        assert.same({ exit = 1 }, how)
        assert.matches("differs in line 1", out, 1, true)
    end)

    it("runs the ten minutes of the guide", function()
        local guide, n = posix.read_file("docs/guide/testing.md"), 0
        for name, code in guide:gmatch("\n```lua (plugins/%S+)\n(.-\n)```\n") do
            write(name, code)
            n = n + 1
        end
        assert.equal(2, n)
        local how, out = run("--coverage")
        assert.same({ exit = 0 }, how)
        assert.matches("3 successes", out, 1, true)
        assert.matches("not run: 23-24", out, 1, true)
    end)

    it("runs the spec that the kit was designed by, to the letter", function()
        local from = "spec/support/api/ratelimit"
        write("plugins/ratelimit.lua", posix.read_file(from .. ".lua"))
        write("plugins/ratelimit_spec.lua", posix.read_file(from .. "_test.lua"))
        local how, out = run()
        assert.same({ exit = 0 }, how)
        assert.matches("1 success / 0 failures", out, 1, true)
    end)

    it("lets a request wait", function()
        write("plugins/greet_spec.lua", [[
            local t = require "rproxy.test"
            describe("time", function()
                it("is the spec's", function()
                    local rp = require "rproxy"
                    local site = t.site { use = { { access = function(req)
                        rp.sleep(30)
                        return req:exit(200, "rested")
                    end } } }
                    assert.equal("rested", site:get("/").body)
                end)
            end)]])
        assert.same({ exit = 0 }, (run()))
    end)

    it("has no lab for what serves", function()
        write("site.lua", [[
            local rp = require("rproxy")
            local ok, err = pcall(require, "rproxy.lab")
            local also, why = pcall(require, "rproxy.test")
            if ok or also then error("a site got the lab") end
            error("the lab is out of reach: " .. tostring(err))]])
        local p = proc.spawn({ BIN, "-t", "-p", dir .. "/site.lua" }, { cwd = dir })
        assert.same({ exit = 1 }, p:wait())
        assert.matches("the lab is out of reach", p:stderr(), 1, true)
    end)

    it("is reached by nothing but tools: one file moves clocks and fixes dice", function()
        local users = {}
        for _, name in ipairs { "rp_clock_hold", "rp_random_fix", "rp_loop_cut_off" } do
            local pipe = io.popen(("grep -rl '%s(' runtime --include=*.c"):format(name))
            for path in pipe:lines() do users[path] = true end
            pipe:close()
        end
        assert.same({ ["runtime/base/clock.c"] = true, ["runtime/base/random.c"] = true,
            ["runtime/net/loop.c"] = true, ["runtime/script/lab.c"] = true,
            ["runtime/script/lab_world.c"] = true }, users)
    end)
end)
