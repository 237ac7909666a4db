-- SPDX-License-Identifier: MIT
--
-- What tasks hold: seats and jobs on files, when tasks end, fail, are cancelled, and when the whole
-- site goes.

local posix = require("spec.support.posix")
local support = require("spec.unit.script.support")

local site, dir

local BEFORE = [[
    local sem = rp.semaphore(1, { waiting = 10 })
    local kept
    local function taken() local s = sem:stats() return s.taken .. "," .. s.waiting end
]]

local function serve(routes)
    site = support.site(routes, { before = BEFORE })
    return site
end

local function route(path, body)
    return ([[ rp.route { "%s", content = function(req) %s end },]]):format(path, body)
end

describe("script/vm_hold", function()
    before_each(function() dir = posix.temp_dir() end)
    after_each(function()
        if site then site:close() end
        site = nil
        posix.remove_dir(dir)
    end)

    it("is given back with its request, whatever the request does", function()
        serve(route("/end", [[ sem:acquire() return req:exit(200, taken()) ]])
            .. route("/raise", [[ sem:acquire() error("no") ]])
            .. route("/look", [[ return req:exit(200, taken()) ]]))
        assert.equal("1,0", site:get("/end").body)
        assert.equal("0,0", site:get("/look").body)
        assert.equal(500, site:get("/raise").status)
        assert.equal("0,0", site:get("/look").body)
    end)

    it("is given back when its task raises, as is what its kids have", function()
        serve(route("/*", [[
            local out, kids = {}, rp.semaphore(1)
            rp.spawn(function()
                rp.spawn(function() kids:acquire() rp.sleep(100) end)
                sem:acquire()
                rp.sleep(0.001)
                out[1] = kids:stats().taken
                error("no")
            end):wait()
            out[2], out[3] = taken(), kids:stats().taken
            return req:exit(200, table.concat(out, " ")) ]]))
        assert.equal("1 0,0 0", site:get("/").body)
    end)

    it("is given back when a round of rp.every raises, and kept when it ends well", function()
        serve(route("/*", [[
            local out, n, other = {}, 0, rp.semaphore(1)
            local timer = rp.every(0.001, function()
                n = n + 1
                if n == 1 then other:acquire() return end
                sem:acquire()
                error("no")
            end)
            while n < 4 do rp.sleep(0.001) end
            rp.sleep(0)
            out[1], out[2] = taken(), other:stats().taken
            timer:cancel()
            return req:exit(200, table.concat(out, " ")) ]]))
        assert.equal("0,0 1", site:get("/").body)
    end)

    it("is given back when its task is cancelled or fails, and not when that ends well", function()
        serve(route("/*", [[
            local function hold() sem:acquire() rp.sleep(100) end
            local out = {}
            local t = rp.spawn(hold)
            rp.sleep(0.001)
            out[1] = taken()
            t:cancel()
            rp.sleep(0.001)
            out[2] = taken()
            local late = { rp.deadline(0.01, hold) }
            rp.sleep(0.001)
            out[3] = late[2] .. " " .. taken()
            rp.spawn(function() sem:acquire() end):wait()
            out[4] = taken()
            return req:exit(200, table.concat(out, " ")) ]]))
        assert.equal("1,0 0,0 timeout 0,0 1,0", site:get("/").body)
    end)

    it("is nobody else's", function()
        serve(route("/take", [[ kept = sem:acquire() rp.sleep(1000) ]])
            .. route("/give", [[ return req:exit(200, tostring(kept:release()) .. " " .. taken()) ]]))
        local sock = site:connect()
        sock:send("GET /take HTTP/1.1\r\nHost: a\r\n\r\n")
        site:until_true(function() return site:get("/give").body == "false 1,0" end)
        sock:close()
        site:until_true(function() return site:get("/give").body == "false 0,0" end)
    end)

    it("goes in order, past those who are gone", function()
        serve(route("/*", [[
            local order = {}
            local first = sem:acquire()
            local tasks = {}
            for i = 1, 4 do
                tasks[i] = rp.spawn(function()
                    local seat = sem:acquire()
                    order[#order + 1] = i
                    rp.sleep(0.001)
                    seat:release()
                end)
            end
            local _, code = sem:acquire(0.001)
            tasks[3]:cancel()
            first:release()
            for _, i in ipairs { 1, 2, 4 } do tasks[i]:wait() end
            return req:exit(200, table.concat(order, ",") .. " " .. code .. " " .. taken()) ]]))
        assert.equal("1,2,4 timeout 0,0", site:get("/").body)
    end)

    it("leaves jobs on files to their threads when their tasks are gone", function()
        serve(route("/*", [[
            for i = 1, 50 do
                local t = rp.spawn(function() rp.fs.write("]] .. dir .. [[/f" .. i, "whole") end)
                rp.sleep(0)
                t:cancel()
            end
            return req:exit(200, "ok") ]]))
        assert.equal("ok", site:get("/").body)
        for i = 1, 50 do
            site:until_true(function() return posix.read_file(dir .. "/f" .. i) == "whole" end)
        end
    end)

    it("lets the site go while jobs and programs run", function()
        serve(route("/*", [[
            for i = 1, 20 do
                rp.spawn(function() rp.fs.write("]] .. dir .. [[/g" .. i, ("x"):rep(100000)) end)
            end
            rp.spawn(function() rp.exec { argv = { "sleep", "1000" } } end)
            rp.sleep(1000) ]]))
        local sock = site:connect()
        sock:send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        site:until_true(function() return posix.exists(dir .. "/g1") end)
        site:close()
        site = nil
        sock:close()
    end)

    it("knows thousands at once", function()
        serve(route("/*", [[
            local many = rp.semaphore(5000)
            local seats = {}
            for i = 1, 5000 do seats[i] = many:acquire() end
            for i = 2, 5000, 2 do seats[i]:release() end
            local n = many:stats().taken
            for i = 1, 1000 do seats[i] = many:acquire() end
            return req:exit(200, n .. " " .. many:stats().taken) ]]))
        assert.equal("2500 3500", site:get("/").body)
        assert.equal("2500 3500", site:get("/").body)
    end)
end)
