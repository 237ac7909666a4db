-- SPDX-License-Identifier: MIT
--
-- Mistakes in hooks and modules are told in the words of whoever made them: their frames, their
-- plugin, one line; and an assignment that could have no effect raises.

local e2e = require("spec.support.e2e")
local http = require("spec.support.http")
local posix = require("spec.support.posix")
local proc = require("spec.support.proc")

local SITE = [[
    use = { { name = "ticker",
        start = function()
            local function tick() local t = nil return t.x end
            rp.every(0.01, function() tick() end)
            rp.after(0.01, function() error({ code = 7 }) end)
        end,
        early = function(req)
            if req.path == "/detach" then
                rp.detach(function() local n = nil return #n .. "later" end)
            end
            if req.path == "/early" then req.consumer = "from-early" end
        end } },
    upstreams = { o = rp.upstream { peers = { "127.0.0.1:1" } } },
    hosts = { rp.host { default = true, routes = {
        rp.route { "/early", content = function(req) return req:exit(200, req.consumer) end },
        rp.route { "/access", use = { { access = function(req) req.consumer = 7 end } },
            content = function(req) return req:exit(200, req.consumer) end },
        rp.route { "/rewrite", use = { { rewrite = function(req) req.consumer = "r" end } },
            content = function(req) return req:exit(200, req.consumer) end },
        rp.route { "/content", content = function(req)
            local ok, err = pcall(function() req.consumer = "c" end)
            return req:exit(200, tostring(ok) .. " " .. tostring(err) .. " " .. tostring(req.consumer))
        end },
        rp.route { "/filter", respond = { 200, "x" }, use = { { header_filter = function(req, res)
            local ok, err = pcall(function() req.consumer = "c" end)
            res:set("x-err", tostring(err))
        end } } },
        rp.route { "/no-upstream", id = "the-answer", respond = { 200, "x" },
            use = { { name = "chooser", access = function(req) req.upstream = "o" end } } },
        rp.route { "/*", respond = { 200, "ok" } },
    } } },
]]

describe("mistakes in hooks", function()
    local rp

    setup(function() rp = e2e.proxy { site = SITE } end)
    teardown(function() e2e.stop(rp) end)

    local function get(path) return http.get(rp.port, path) end

    it("of rp.every come with the site's frames, its plugin and nothing of ours", function()
        local line = rp:wait_stderr("([^\n]*rp%.every failed[^\n]*)\n")
        assert.truthy(line:find("site.lua:%d+: attempt to index local 't' %(a nil value%)"), line)
        assert.truthy(line:find("stack traceback: | ", 1, true), line)
        assert.truthy(line:find("site.lua:%d+: in function <"), line)
        assert.truthy(line:find("plugin=ticker", 1, true), line)
        for _, ours in ipairs { "task.lua", "chain:", "[C]", "xpcall" } do
            assert.is_nil(line:find(ours, 1, true), line)
        end
    end)

    it("of rp.after may be any value", function()
        local line = rp:wait_stderr("([^\n]*rp%.after failed[^\n]*)\n")
        assert.truthy(line:find("(a table was raised)", 1, true), line)
        assert.truthy(line:find("plugin=ticker", 1, true), line)
    end)

    it("of rp.detach name the plugin whose hook began it", function()
        assert.equal("ok", get("/detach").body)
        local line = rp:wait_stderr("([^\n]*background task failed[^\n]*)\n")
        assert.truthy(line:find("plugin=ticker", 1, true), line)
        assert.truthy(line:find("attempt to get length of local 'n'", 1, true), line)
    end)

    it("consumer is assigned in early, access and rewrite", function()
        assert.equal("from-early", get("/early").body)
        assert.equal("7", get("/access").body)
        assert.equal("r", get("/rewrite").body)
    end)

    it("consumer is refused in other phases", function()
        local words = "req.consumer can be assigned in early, access and rewrite"
        local body = get("/content").body
        assert.truthy(body:find("^false [^ ]*site.lua:%d+: " .. words .. " nil$"), body)
        assert.truthy(get("/filter"):header("x-err"):find(words, 1, true))
    end)

    it("an upstream for a route that asks none is refused", function()
        local mark = #rp:stderr()
        assert.equal(500, get("/no-upstream").status)
        assert.truthy(posix.poll(function()
            return rp:stderr():sub(mark):find('req.upstream: route \\x22the-answer\\x22 asks no '
                .. 'upstream: give it one with upstream = ..', 1, true)
        end), rp:stderr():sub(mark))
    end)
end)

describe("mistakes in modules", function()
    local dir

    setup(function()
        dir = proc.temp_dir()
        os.execute("mkdir -p " .. dir .. "/plugins")
    end)
    teardown(proc.cleanup)

    --- What `rproxy -t` says of a site.
    local function complaint(site)
        posix.write_file(dir .. "/site.lua", site)
        local ended, _, words = proc.run { os.getenv("RP_BIN") or "build/rproxy", "-t", "-p",
            dir .. "/site.lua" }
        assert.not_equal(0, ended.exit)
        return words
    end

    it("that require what is not there are told so in one line", function()
        assert.equal(("rproxy: %s/site.lua:2: module \"lib.gone\" not found: no file "
            .. "%s/lib/gone.lua, no file %s/lib/gone/init.lua\n"):format(dir, dir, dir),
            complaint('\nlocal x = require("lib.gone")\nreturn x'))
    end)

    it("that require a plugin that is not there hear of the built-in ones, too", function()
        assert.equal(("rproxy: %s/site.lua:1: module \"plugins.gone\" not found: no file "
            .. "%s/plugins/gone.lua, no file %s/plugins/gone/init.lua, and no plugin of that name "
            .. "is built in\n"):format(dir, dir, dir), complaint('return require("plugins.gone") {}'))
    end)

    it("are told of the place in a module that requires, not in the site", function()
        posix.write_file(dir .. "/plugins/mine.lua", '\n\nlocal x = require("lib.gone")\nreturn x')
        assert.truthy(complaint('return require("plugins.mine")'):find(
            "rproxy: " .. dir .. "/plugins/mine.lua:3: module \"lib.gone\" not found", 1, true))
    end)

    it("that raise are told what they raised", function()
        posix.write_file(dir .. "/plugins/bad.lua", 'error("no luck")')
        assert.equal("rproxy: " .. dir .. "/plugins/bad.lua:1: no luck\n",
            complaint('return require("plugins.bad")'))
    end)

    it("that require a part of rproxy are sent to its front", function()
        assert.truthy(complaint('return require("rproxy.test")'):find(
            'module "rproxy.test" is not for sites', 1, true))
    end)
end)
