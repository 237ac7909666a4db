-- SPDX-License-Identifier: MIT
--
-- A breaker with policy "last-good": a reload that brought what does not work is undone, once, in all
-- workers or in none.

local http = require("spec.support.http")
local posix = require("spec.support.posix")
local process = require("spec.support.process")

-- A site whose plugin works, or not, and says which version it is.
local function version(name, works, policy)
    return { workers = 2, before = ([[
        local breaker = { min = 4, within = 60, open = 3600, policy = "%s" }
        local function plugin(fn) return { name = "guard", breaker = breaker, access = fn } end
    ]]):format(policy or "last-good"), routes = ([[
        rp.route { "/guarded", respond = { 200, "%s" }, use = { plugin(function(req)
            %s end) } },
        rp.route { "/*", respond = { 200, "%s" } } ]]):format(name, works and "" or
        'error("version ' .. name .. '")', name) }
end

describe("the breaker policy last-good", function()
    local rp

    after_each(function()
        local mine = rp
        rp = nil
        process.stop_if_running(mine)
    end)

    local function get(target) return http.get(rp.port, target) end
    local function all_say(target, text)
        return posix.poll(function()
            for _ = 1, 20 do if get(target).body ~= text then return false end end
            return true
        end, 60)
    end
    local function break_it()
        for _ = 1, 40 do get("/guarded") end -- four in one of the workers at least
    end

    it("goes back to the site before the reload, and says so", function()
        rp = process.start(version("one", true))
        local workers = process.wait_workers(rp, 2)
        process.change(rp, version("two", false))
        process.must(rp, "reload")
        assert.equal("two", get("/").body)
        break_it()
        rp:wait_stderr("breaker opened plugin=guard .-policy=last%-good")
        rp:wait_stderr("alert .-going back to the site before the last reload generation=2 "
            .. "plugin=guard")
        assert.truthy(all_say("/guarded", "one"))
        rp:wait_stderr("reloaded generation=3")
        assert.same(workers, process.wait_workers(rp, 2)) -- the same processes
        local status = process.must(rp, "status")
        assert.matches("restored: generation 2 did not work", status)
        process.change(rp, version("three", true))
        process.must(rp, "reload")
        assert.truthy(all_say("/guarded", "three"))
        assert.is_nil(process.must(rp, "status"):find("restored", 1, true))
    end)

    it("refuses where there is nothing to go back to", function()
        rp = process.start(version("one", false))
        break_it()
        rp:wait_stderr("breaker opened plugin=guard")
        assert.truthy(posix.poll(function()
            for _ = 1, 10 do if get("/guarded").status ~= 503 then return false end end
            return true
        end))
        assert.is_nil(rp:stderr():find("going back", 1, true))
        assert.equal("one", get("/").body)
    end)

    it("goes back once: what was good and is not any more is no reason to go round", function()
        rp = process.start(version("one", false))
        process.change(rp, version("two", false))
        process.must(rp, "reload")
        break_it()
        rp:wait_stderr("reloaded generation=3")
        assert.truthy(all_say("/", "one"))
        break_it()
        assert.truthy(posix.poll(function() return get("/guarded").status == 503 end))
        local _, n = rp:stderr():gsub("going back to the site", "")
        assert.equal(1, n)
    end)
end)
