-- SPDX-License-Identifier: MIT
--
-- The log of decisions: where it goes, reopening, files that take nothing, bounds.

local cjson = require("cjson")
local e2e = require("spec.support.e2e")
local http = require("spec.support.http")
local posix = require("spec.support.posix")
local proc = require("spec.support.proc")
local process = require("spec.support.process")
local wire = require("spec.support.wire")

local ROUTES = [[
    use = { { name = "guard", mode = "shadow", access = function(req)
        if req.path == "/many" then
            for i = 1, 600 do req.up:set("x-" .. i, ("v"):rep(1500)) end
        end
        if req.path == "/cb" then
            req.up:set("Referer", "https://a.example/x?token=topsecret#topsecret")
            req.up:set("x-plain", "a b=c")
            return req:redirect("https://a.example/next#id=topsecret")
        end
        return req:exit(403)
    end } },
    hosts = { rp.host { default = true, routes = { rp.route { "/*", respond = { 200, "ok" } } } } },
]]

describe("the log of decisions", function()
    local rp

    local function start(log)
        rp = e2e.proxy { site = ("log = { %s },"):format(log) .. ROUTES }
    end

    after_each(function()
        wire.close_all()
        if rp then e2e.stop(rp) end
        rp = nil
        proc.cleanup()
    end)

    local function lines(path)
        local list = {}
        for text in posix.read_file(path):gmatch("([^\n]+)\n") do list[#list + 1] = cjson.decode(text) end
        return list
    end

    local function wait_lines(path, n)
        return posix.poll(function()
            local all = posix.exists(path) and lines(path) or {}
            return #all == n and all
        end, 60) or error(("there are not %d lines in %s"):format(n, path), 2)
    end

    it("is written nowhere unless it is asked for", function()
        start 'error = { level = "info" }'
        assert.equal(200, http.get(rp.port, "/").status)
        assert.is_nil(rp:stderr():find('"decisions"', 1, true))
    end)

    it("goes to stderr unless told otherwise", function()
        start 'decisions = { flush = "10ms" }'
        assert.equal(200, http.get(rp.port, "/a").status)
        rp:wait_stderr('"verdict":"answer"')
        for line in rp:stderr():gmatch("[^\n]+") do
            if line:find('"decisions"', 1, true) then
                assert.equal("/a", cjson.decode(line).path)
            end
        end
    end)

    it("is reopened with the other logs, and outlives a reload", function()
        start 'decisions = { to = "${dir}/decisions.log", flush = "10ms" }'
        local path = rp.dir .. "/decisions.log"
        assert.equal(200, http.get(rp.port, "/1").status)
        wait_lines(path, 1)
        assert.is_true(os.rename(path, path .. ".1"))
        process.must(rp, "reopen")
        assert.equal(200, http.get(rp.port, "/2").status)
        assert.equal("/2", wait_lines(path, 1)[1].path)
        assert.equal("/1", wait_lines(path .. ".1", 1)[1].path)
        process.must(rp, "reload")
        assert.equal(200, http.get(rp.port, "/3").status)
        assert.equal("/3", wait_lines(path, 2)[2].path)
    end)

    it("loses lines that its file cannot take, and no request", function()
        start 'decisions = { to = "/dev/full", flush = "10ms" }'
        for _ = 1, 3 do assert.equal(200, http.get(rp.port, "/").status) end
        rp:wait_stderr("log lines dropped")
        assert.equal(200, http.get(rp.port, "/").status)
    end)

    it("has short lines whatever a hook does", function()
        start 'decisions = { to = "${dir}/decisions.log", flush = "10ms" }'
        assert.equal(200, http.get(rp.port, "/many").status)
        local line = wait_lines(rp.dir .. "/decisions.log", 1)[1]
        assert.truthy(line.lost > 500)
        assert.truthy(#posix.read_file(rp.dir .. "/decisions.log") <= 16 * 1024)
        assert.equal("answer", line.decisions[#line.decisions].verdict) -- what matters has room
        for _, e in ipairs(line.decisions) do assert.truthy(#(e.value or "") <= 260) end
    end)

    it("keeps secrets and bytes that forge lines out", function()
        start 'decisions = { to = "${dir}/decisions.log", flush = "10ms" }'
        local evil = "/a%0A%7B%22decisions%22?token=topsecret"
        assert.equal(200, http.get(rp.port, evil, { Authorization = "Basic topsecret",
            Cookie = "sid=topsecret" }).status)
        wait_lines(rp.dir .. "/decisions.log", 1)
        assert.equal(200, http.get(rp.port, "/cb").status)
        wait_lines(rp.dir .. "/decisions.log", 2)
        local text = posix.read_file(rp.dir .. "/decisions.log")
        assert.is_nil(text:find("topsecret", 1, true))
        assert.truthy(text:find('"https://a.example/x?.."', 1, true))
        assert.truthy(text:find('"a b=c"', 1, true))
    end)
end)
