-- SPDX-License-Identifier: MIT
--
-- Rollouts: canaries that the agent lets grow, and takes back when they do worse.

local e2e = require("spec.support.e2e")
local http = require("spec.support.http")
local origin = require("spec.support.origin")
local posix = require("spec.support.posix")
local proc = require("spec.support.proc")
local process = require("spec.support.process")
local protocol = require("spec.support.protocol")

if protocol.name ~= "h1" then return end -- about counts, not about requests

local SITE = [[
    local function up(port) return rp.upstream { peers = { "127.0.0.1:" .. port }, retry = {
        on = { "connect" } } } end
    local function split(name, canary)
        return rp.split { name = name, { "stable", 100 }, { canary, 0 }, rollout = {
            steps = { 40, 60, ${last} }, every = "${every}", min_requests = 20,
            max_latency_ratio = 3, latency_quantile = 0.5, latency_floor = "5ms",
            confidence = 0.99 } }
    end
    return rp.site { workers = 2, listeners = { rp.listen { "127.0.0.1:${port}" } },
        upstreams = { stable = up(${good}), good = up(${good}), bad = up(${bad}),
            slow = up(${slow}), late = up(${good}) },
        hosts = { rp.host { default = true, routes = {
            rp.route { "/good", upstream = split("good", "good") },
            rp.route { "/bad", upstream = split("bad", "bad") },
            rp.route { "/slow", upstream = split("slow", "slow") },
            rp.route { "/late", upstream = split("late", "late") },
        } } } } ]]

describe("a rollout", function()
    local rp

    setup(function()
        local good = origin.start { ["*"] = { status = 200, body = "good" } }
        local bad = origin.start { ["*"] = { status = 500, body = "bad" } }
        local slow = origin.start { ["*"] = { { wait = 0.1 },
            { send = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nslow" } } }
        rp = proc.rproxy { vars = { good = good.port, bad = bad.port, slow = slow.port,
            every = "500ms", last = 100 }, site = SITE }
        rp:wait_stderr("serving site=")
    end)

    teardown(function() e2e.stop(rp) end)

    local function run(...)
        local how, out, err = proc.run { process.BIN, "split", "-p", rp.site_path, ... }
        return how.exit, out .. err
    end

    local function row(name, upstream)
        local _, out = run(name, "--json")
        for line in out:gmatch("[^\n]+") do
            if line:find('"upstream":"' .. upstream .. '"', 1, true) then
                return { state = line:match('"state":"([^"]*)"'), why = line:match('"why":"([^"]*)"'),
                    share = tonumber(line:match('"share":(%d+)')),
                    step = tonumber(line:match('"step":(%d+)')) }
            end
        end
        error("no such side: " .. out)
    end

    -- Ask, and look now and then, until the rollout is in that state.
    local function load_until(name, upstream, state)
        local found = posix.poll(function()
            for _ = 1, 20 do http.get(rp.port, "/" .. name) end
            local now = row(name, upstream)
            return now.state == state and now
        end, 60)
        assert.truthy(found, name .. " is never " .. state)
        return found
    end

    it("takes a canary back at once that fails more than its base, and says so", function()
        local now = load_until("bad", "bad", "rolled back")
        assert.equal(0, now.share)
        assert.matches("^100.00%% of %d+ requests failed, 0.00%% of %d+ of the base$", now.why)
        rp:wait_stderr("canary is rolled back")
        local log = rp:stderr()
        assert.matches("error.-canary is rolled back.-split=bad", log)
        for _ = 1, 20 do assert.equal("good", http.get(rp.port, "/bad").body) end
        assert.truthy(posix.poll(function()
            local _, out = proc.run { process.BIN, "metrics", "-p", rp.site_path }
            return out:find('split_rollbacks_total{[^\n]*split="bad"[^\n]*} 1')
        end))
    end)

    it("takes back one that is slower", function()
        assert.matches("^p50 is 1%d%d.%d ms, ", load_until("slow", "slow", "rolled back").why)
    end)

    it("lets one that does well grow to the last step", function()
        assert.same({ 10000, 3 }, (function(r) return { r.share, r.step } end)(
            load_until("good", "good", "done")))
    end)

    it("obeys the operator", function()
        assert.equal(0, (run("late", "pause")))
        assert.equal("paused", row("late", "late").state)
        assert.equal(0, (run("late", "promote")))
        assert.same({ 6000, "running" }, { row("late", "late").share, row("late", "late").state })
        assert.equal(0, (run("late", "rollback")))
        assert.same({ 0, "rolled back" }, { row("late", "late").share, row("late", "late").state })
        local code, out = run("late", "pause")
        assert.equal(1, code)
        assert.matches("the rollout of late is rolled back", out)
        assert.equal(0, (run("late", "late=50")))
        assert.equal(0, (run("late", "resume")))
    end)

    it("stays where it is over a reload, and begins anew with other steps", function()
        assert.equal(0, (proc.run { process.BIN, "reload", "-p", rp.site_path }).exit)
        assert.same({ 0, "rolled back" }, { row("bad", "bad").share, row("bad", "bad").state })
        rp:write_site(SITE, { every = "1h", last = 90 })
        assert.equal(0, (proc.run { process.BIN, "reload", "-p", rp.site_path }).exit)
        assert.same({ 4000, "running" }, { row("bad", "bad").share, row("bad", "bad").state })
    end)
end)
