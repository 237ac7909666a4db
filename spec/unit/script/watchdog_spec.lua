-- SPDX-License-Identifier: MIT

local posix = require("spec.support.posix")
local support = require("spec.unit.script.support")

local site

local function serve(body, budget)
    site = support.site(([[ rp.route { "/bad", content = function(req) %s end },
        rp.route { "/ok", respond = { 200, "ok" } } ]]):format(body),
        { more = ("lua = { cpu_budget = %s },"):format(budget or "0.05") })
    return site
end

describe("script/watchdog", function()
    after_each(function()
        if site then site:close() end
        site = nil
    end)

    it("stops interpreted code that runs for ever, and serves on", function()
        -- string.gsub keeps this loop from being compiled whole
        serve [[ while true do ("x"):gsub("x", "y") end ]]
        local started = posix.now()
        assert.equal(500, site:get("/bad").status)
        assert.is_true(posix.now() - started < 10)
        assert.equal("ok", site:get("/ok").body)
    end)

    it("stops a loop that catches the error", function()
        serve [[ while true do pcall(function() while true do ("x"):gsub("x", "y") end end) end ]]
        assert.equal(500, site:get("/bad").status)
        assert.equal("ok", site:get("/ok").body)
    end)

    it("lets a hook be that waits long and computes little", function()
        serve [[ for _ = 1, 5 do rp.sleep(0.03) end return req:exit(200, "done") ]]
        assert.equal("done", site:get("/bad").body)
    end)

    it("lets a hook be that computes less than its budget", function()
        serve([[ local t = os.clock() while os.clock() - t < 0.1 do ("x"):gsub("x", "y") end
            return req:exit(200, "done") ]], "2")
        assert.equal("done", site:get("/bad").body)
    end)

    it("ends the process when a compiled loop cannot be stopped, and names the hook", function()
        local dir = posix.temp_dir()
        local script = dir .. "/run.lua"
        posix.write_file(script, [[
            local support = require("spec.unit.script.support")
            local site = support.site('rp.route { "/bad", id = "the-route", use = { {'
                .. ' name = "guilty", access = function(req) local n = 0'
                .. ' while true do n = n + 1 end end } },'
                .. ' respond = { 200, "x" } }', { more = "lua = { cpu_budget = 0.05 }," })
            site:get("/bad", nil, 20)
            os.exit(0)
        ]])
        local pipe = io.popen(("RP_TEST_LIB='%s' luajit '%s' 2>&1; echo \"exit=$?\""):format(
            os.getenv("RP_TEST_LIB") or "build/librproxy_test.so", script))
        local out = pipe:read("*a")
        pipe:close()
        posix.remove_dir(dir)
        assert.matches("a hook cannot be stopped, the worker ends plugin=guilty hook=access "
            .. "route=the%-route", out)
        assert.matches("exit=70", out)
    end)
end)
