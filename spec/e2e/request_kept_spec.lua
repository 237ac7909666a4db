-- SPDX-License-Identifier: MIT
--
-- A req that a hook keeps beyond its request never shows another client's: it is good for code of its
-- own request, and for detached tasks of that while it lasts.

local e2e = require("spec.support.e2e")
local http = require("spec.support.http")

local BEFORE = [[
    local kept, ticked, found = {}, "not yet"
    local function try(fn)
        local ok, said = pcall(fn)
        return ok and "saw " .. tostring(said) or tostring(said):gsub("^.-:%d+: ", "")
    end
]]

local SITE = [[
    use = { { name = "ticker", start = function()
        rp.every(0.01, function()
            if found then ticked = try(function() return kept.req:get("x-secret") end) end
        end)
    end } },
    hosts = { rp.host { default = true, routes = {
        rp.route { "/keep", content = function(req)
            kept.req, kept.conn, kept.up = req, req.conn, req.up
            kept.get, kept.path, kept.is = req.get, req.up.get, req.is
            kept.headers = { req:headers() }
            kept.reader = req:body_reader()
            return req:exit(200, req:get("x-secret"))
        end, use = { { header_filter = function(_, res) kept.res = res end } } },
        rp.route { "/wait", content = function(req)
            found = { req:get("x-secret"), kept.req == req }
            local task = rp.detach(function()
                rp.sleep(0.01)
                return try(function() return req:get("x-secret") end)
            end)
            for _ = 1, 400 do
                if kept.go then break end
                rp.sleep(0.05)
            end
            kept.go = false
            local _, saw = task:wait()
            return req:exit(200, req:get("x-secret") .. ", " .. saw)
        end },
        rp.route { "/look", content = function(req)
            local said = {}
            local function look(name, fn) said[#said + 1] = name .. ": " .. try(fn) end
            look("get", function() return kept.req:get("x-secret") end)
            look("method", function() return kept.get(kept.req, "x-secret") end)
            look("up-method", function() return kept.path(kept.up, "x-secret") end)
            look("is", function() return kept.is(kept.req, "x-secret", "second") end)
            look("path", function() return kept.req.path end)
            look("host", function() kept.req.host = "evil" end)
            look("res", function() return kept.res.status end)
            look("conn", function() return kept.conn.id end)
            look("up", function() return kept.up.path end)
            look("headers", function() return kept.headers[1](kept.headers[2]) end)
            look("reader", function() return kept.reader:read() end)
            look("child", function()
                local _, saw = rp.spawn(function() return kept.req:get("x-secret") end):wait()
                error(saw, 0)
            end)
            said[#said + 1] = "ticked: " .. ticked
            return req:exit(200, table.concat(said, "\n") .. "\n" .. tostring(found and found[2]))
        end },
        rp.route { "/go", content = function(req) kept.go = true return req:exit(200, "") end },
        rp.route { "/empty", content = function(req)
            return req:exit(200, try(function() return kept.req:get("x-secret") end))
        end },
        rp.route { "/*", respond = { 200, "ok" } },
    } } },
]]

describe("a req that was kept", function()
    local rp

    setup(function() rp = e2e.proxy { site = SITE, before = BEFORE } end)
    teardown(function() e2e.stop(rp) end)

    it("shows nothing of the request that has its place now", function()
        local ours = http.get(rp.port, "/keep", { ["x-secret"] = "first" })
        assert.equal("first", ours.body)
        local w = require("spec.support.wire").connect(rp.port)
        w:send(http.format { target = "/wait", fields = { ["x-secret"] = "second" } })
        local last
        for _ = 1, 200 do -- until /wait runs and the timer has ticked
            last = http.get(rp.port, "/look", { ["x-secret"] = "third" }).body
            if last:find("ticked: [^n]") then break end
        end
        assert.truthy(last:find("\ntrue$"), "the slot was not used again: " .. last)
        for name in ("get method up-method is path host"):gmatch("%S+") do
            assert.truthy(last:find(name .. ": this req was kept from another request", 1, true), last)
        end
        for name in ("res conn up"):gmatch("%S+") do
            assert.truthy(last:find(name .. ": this " .. name .. " was kept from another request", 1,
                true), last)
        end
        assert.truthy(last:find("headers: these headers are those of another request", 1, true), last)
        assert.truthy(last:find("reader: this reader was kept from another request", 1, true), last)
        assert.truthy(last:find("child: [^\n]*this req was kept from another request"), last)
        assert.truthy(last:find("ticked: this req was kept from another request", 1, true), last)
        assert.is_nil(last:find("second", 1, true))
        http.get(rp.port, "/go")
        assert.equal("second, saw second", http.read(w).body)
        w:close()
    end)

    it("says that it has ended when no request has its place", function()
        http.get(rp.port, "/keep", { ["x-secret"] = "first" })
        local said = http.get(rp.port, "/empty", { ["x-secret"] = "own" }).body
        -- It may be this request's own by chance: the same client's.
        assert.truthy(said == "saw own" or said:find("has ended", 1, true)
            or said:find("from another request", 1, true), said)
        assert.is_nil(said:find("first", 1, true))
    end)
end)
