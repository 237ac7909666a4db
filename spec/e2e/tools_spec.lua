-- SPDX-License-Identifier: MIT
--
-- The tools of the command line: their front, and those that write files.

local posix = require("spec.support.posix")
local proc = require("spec.support.proc")
local process = require("spec.support.process")

local IS_ROOT = posix.read_file("/proc/self/status"):match("Uid:%s+(%d+)") == "0"
local BIN = process.BIN:sub(1, 1) == "/" and process.BIN
    or posix.read_file("/proc/self/environ"):match("PWD=([^%z]*)") .. "/" .. process.BIN

local function run_in(dir, ...)
    return proc.run { "sh", "-c", 'cd "$0" && exec "$@"', dir, BIN, ... }
end

local SITE = [[local rp = require("rproxy")
return rp.site {
    workers = 1,
    listeners = { rp.listen { "127.0.0.1:1" } },
    hosts = { rp.host { default = true, routes = { rp.route { "/*", respond = { 200, "hi" } } } } },
}
]]

describe("tools", function()
    local dir

    before_each(function() dir = proc.temp_dir() end)
    after_each(proc.cleanup)

    it("are in the help of the program, and have one of their own", function()
        local how, out = process.run { "-h" }
        assert.same({ exit = 0 }, how)
        for _, name in ipairs { "diff", "lint", "new", "types", "repl", "jit" } do
            assert.match("\n  rproxy " .. name .. " ", out)
            local own, text, err = process.run { name, "--help" }
            assert.same({ exit = 0 }, own)
            assert.match("^usage: rproxy " .. name, text)
            assert.equal("", err)
        end
    end)

    it("end with 2 and one line when they are used wrongly", function()
        for _, words in ipairs { { "lint" }, { "lint", "--bogus" }, { "lint", "--level" },
            { "lint", "--level", "x", "a.lua" }, { "diff", "one" }, { "diff", "a", "b", "c" },
            { "new" }, { "new", "thing" }, { "types", "--print=x" }, { "repl" }, { "jit" },
            { "jit", "-p", "x.lua", "--seconds", "never" }, { "lint", "-g", "x" } } do
            local how, out, err = process.run(words)
            assert.same({ exit = 2 }, how, table.concat(words, " "))
            assert.equal("", out)
            assert.match("^rproxy: " .. words[1] .. ": [^\n]*\n$", err)
        end
    end)

    it("take -p and -g before their name, too", function()
        posix.write_file(dir .. "/site.lua", SITE)
        local how, out, err = process.run { "-p", dir .. "/site.lua", "-g", "workers=0", "lint" }
        assert.same({ exit = 2 }, how)
        assert.equal("", out)
        assert.match("%-g workers: ", err)
        assert.same({ exit = 0 }, (process.run { "-p", dir .. "/site.lua", "lint" }))
    end)

    it("load no module from the folder they are called in", function()
        for _, name in ipairs { "luacheck", "rproxy", "ffi" } do
            posix.write_file(dir .. "/" .. name .. ".lua", "print('mine') os.exit(9)")
        end
        posix.write_file(dir .. "/x.lua", "return 1\n")
        local how, out = run_in(dir, "lint", "x.lua")
        assert.same({ exit = 0 }, how)
        assert.equal("", out)
    end)

    it("run a site's code without root's rights", function()
        if not IS_ROOT then return end
        posix.write_file(dir .. "/site.lua", [[local rp = require("rproxy")
            local text, err = rp.file("/etc/shadow")
            error("shadow: " .. tostring(text and #text or err))]])
        os.execute("chmod 600 " .. dir .. "/site.lua && chmod 700 " .. dir)
        local how, _, err = process.run { "lint", "-p", dir .. "/site.lua" }
        assert.same({ exit = 2 }, how)
        assert.match("site.lua:3: shadow: ", err) -- the site was read, the other was not
        assert.is_nil(err:find("shadow: %d"))
    end)

    it("that run hooks do so without root's rights, and read what the command line names", function()
        if not IS_ROOT then return end
        posix.write_file(dir .. "/secret", "hidden")
        posix.write_file(dir .. "/requests", "/x\n")
        posix.write_file(dir .. "/site.lua", (SITE:gsub("respond = { 200, \"hi\" }",
            ('content = function(req) local text, err = rp.fs.read("%s/secret") '
                .. 'return req:exit(200, tostring(text or err)) end'):format(dir))))
        os.execute(("chmod 600 %s/* && chmod 700 %s"):format(dir, dir))
        local how, out, err = process.run { "explain", "-p", dir .. "/site.lua", "/x" }
        assert.same({ exit = 0 }, how, err)
        assert.match("denied", out)
        assert.is_nil(out:find("hidden"))
        how, out, err = process.run { "explain", "-p", dir .. "/site.lua", "-d",
            "@" .. dir .. "/secret", "POST /x" }
        assert.same({ exit = 0 }, how, out .. err)
        how, out, err = process.run { "jit", "-p", dir .. "/site.lua", "--requests="
            .. dir .. "/requests" }
        assert.same({ exit = 0 }, how, out .. err)
        posix.write_file(dir .. "/other", "/x\n")
        os.execute("chmod 600 " .. dir .. "/other")
        posix.write_file(dir .. "/site.lua", (SITE:gsub("return rp.site", ([[
            error(tostring(rp.file("%s/other")))
            return rp.site]]):format(dir))))
        how, out, err = process.run { "jit", "-p", dir .. "/site.lua", "--requests="
            .. dir .. "/requests" }
        assert.same({ exit = 2 }, how, out)
        assert.match("site.lua:%d+: nil", err) -- of what nobody named only Lua can be read
    end)

    describe("new", function()
        it("writes a site that passes its check and lint", function()
            local how, out = run_in(dir, "new", "site")
            assert.same({ exit = 0 }, how)
            assert.match("wrote site.lua", out)
            assert.same({ exit = 0 }, (run_in(dir, "-t", "-p", "site.lua")))
            how, out = run_in(dir, "lint", "--level", "info", "-p", "site.lua")
            assert.equal("", out)
            assert.same({ exit = 0 }, how)
        end)

        it("writes a plugin that a site can use, without findings", function()
            assert.same({ exit = 0 }, (run_in(dir, "new", "plugin", "say-hello")))
            for _, name in ipairs { "init.lua", "README.md", "say_hello_spec.lua" } do
                assert.truthy(posix.exists(dir .. "/plugins/say_hello/" .. name), name)
            end
            posix.write_file(dir .. "/site.lua", (SITE:gsub("workers = 1,", [[workers = 1,
                use = { require("plugins.say_hello") { value = "x", refuse = "bot" } },]])))
            local how, _, err = run_in(dir, "-t", "-p", "site.lua")
            assert.equal("", err)
            assert.same({ exit = 0 }, how)
            local out
            how, out = run_in(dir, "lint", "--level", "info", "-p", "site.lua",
                "plugins/say_hello/say_hello_spec.lua")
            assert.equal("", out)
            assert.same({ exit = 0 }, how)
        end)

        it("writes a spec that passes", function()
            assert.same({ exit = 0 }, (run_in(dir, "new", "plugin", "say-hello")))
            local how, out, err = run_in(dir, "test", "plugins/say_hello")
            assert.same({ exit = 0 }, how, out .. err)
            assert.match("3 successes", out)
        end)

        it("overwrites nothing", function()
            posix.write_file(dir .. "/site.lua", "mine")
            assert.same({ exit = 2 }, (run_in(dir, "new", "site")))
            assert.equal("mine", posix.read_file(dir .. "/site.lua"))
            assert.same({ exit = 0 }, (run_in(dir, "new", "plugin", "p")))
            os.execute("rm " .. dir .. "/plugins/p/init.lua")
            posix.write_file(dir .. "/plugins/p/README.md", "mine")
            local how, _, err = run_in(dir, "new", "plugin", "p")
            assert.same({ exit = 2 }, how)
            assert.match("README.md is there already; nothing was written", err)
            assert.is_nil(posix.read_file(dir .. "/plugins/p/init.lua"))
        end)

        it("takes no names that cannot be plugins", function()
            for _, name in ipairs { "Headers", "headers", "1a", "a b", "../x", "a_b", "end" } do
                local how, _, err = run_in(dir, "new", "plugin", name)
                assert.same({ exit = 2 }, how, name)
                assert.match("^rproxy: new: ", err)
            end
        end)
    end)

    describe("types", function()
        it("writes types, and settings for the editor once", function()
            assert.same({ exit = 0 }, (run_in(dir, "types")))
            local text = posix.read_file(dir .. "/.rproxy/types/rproxy.lua")
            assert(loadstring(text))
            assert.is_true(posix.read_file("types/rproxy.lua") == text, "not what is in types/")
            assert.match('"workspace.library": %[".rproxy/types"%]',
                posix.read_file(dir .. "/.luarc.json"))
            posix.write_file(dir .. "/.luarc.json", "mine")
            local how, out = run_in(dir, "types")
            assert.same({ exit = 0 }, how)
            assert.match("is there already; it needs", out)
            assert.equal("mine", posix.read_file(dir .. "/.luarc.json"))
        end)

        it("writes the settings of the plugins of a site, too", function()
            posix.write_file(dir .. "/site.lua", (SITE:gsub("workers = 1,", [[workers = 1,
                use = { "request-id", rp.plugin {} },]]):gsub("rp.plugin {}", "mine {}")
                :gsub("return rp.site", [[local mine = rp.plugin { name = "my-own", schema = {
                    size = { "integer", default = 1, doc = "How large." } } }
                    function mine.setup() return { access = function() end } end
                    return rp.site]])))
            local how, _, err = run_in(dir, "types", "-p", "site.lua")
            assert.same({ exit = 0 }, how, err)
            local text = posix.read_file(dir .. "/.rproxy/types/plugins.lua")
            assert(loadstring(text))
            assert.match("%-%-%-@class rproxy.conf.MyOwn.-\n%-%-%-@field size%? integer How large.",
                text)
            assert.match("@class rproxy.conf.RequestId", text)
        end)

        it("leaves a file alone that is not its own", function()
            os.execute("mkdir -p " .. dir .. "/.rproxy/types")
            posix.write_file(dir .. "/.rproxy/types/rproxy.lua", "-- mine\n")
            assert.same({ exit = 2 }, (run_in(dir, "types")))
            assert.equal("-- mine\n", posix.read_file(dir .. "/.rproxy/types/rproxy.lua"))
        end)
    end)
end)
