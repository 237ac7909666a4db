-- SPDX-License-Identifier: MIT
--
-- `rproxy upstreams` and `rproxy peer`: the peers of a running instance, and the operator's word.

local e2e = require("spec.support.e2e")
local http = require("spec.support.http")
local origin = require("spec.support.origin")
local posix = require("spec.support.posix")
local proc = require("spec.support.proc")
local process = require("spec.support.process")
local protocol = require("spec.support.protocol")

if protocol.name ~= "h1" then return end -- not about requests

describe("the peers of a running instance", function()
    local rp, a, b, dead

    setup(function()
        a = origin.start { ["*"] = { status = 200, body = "a" } }
        b = origin.start { ["*"] = { status = 200, body = "b" } }
        dead = posix.free_port()
        rp = proc.rproxy { vars = { a = a.port, b = b.port, dead = dead }, site = [[
            return rp.site { workers = 2, listeners = { rp.listen { "127.0.0.1:${port}" } },
                upstreams = {
                    api = rp.upstream { peers = { "127.0.0.1:${a}", "127.0.0.1:${b}" } },
                    web = rp.upstream { peers = { "127.0.0.1:${dead}", "127.0.0.1:${a}" },
                        fail_rest = 60 },
                },
                hosts = { rp.host { default = true, routes = {
                    rp.route { "/api", upstream = "api" }, rp.route { "/web", upstream = "web" },
                } } } } ]] }
    end)

    teardown(function() e2e.stop(rp) end)

    local function run(...)
        local how, out, err = proc.run { process.BIN, ... }
        return how.exit, out, err
    end

    local function rows(...)
        local code, out = run("upstreams", "-p", rp.site_path, "--json", ...)
        local found = {}
        for line in out:gmatch("[^\n]+") do
            local row = {}
            for key, value in line:gmatch('"([%a_]+)":"?([^"}]*)') do
                row[key] = tonumber((value:gsub(",$", ""))) or value
            end
            found[row.upstream .. " " .. row.peer:match("%d+$")] = row
        end
        return found, code
    end

    local function names(n)
        local taken = {}
        for _ = 1, n do
            local body = http.get(rp.port, "/api").body
            taken[body] = (taken[body] or 0) + 1
        end
        return taken
    end

    local function order(up, port, word)
        return run("peer", "-p", rp.site_path, up, "127.0.0.1:" .. port, word)
    end

    it("are listed with their state, and why, and what they did", function()
        for _ = 1, 6 do
            http.get(rp.port, "/web")
            http.get(rp.port, "/api")
        end
        local found, code = rows()
        assert.equal(1, code) -- one is down
        local bad, good = found["web " .. dead], found["web " .. a.port]
        assert.same({ "down", "up" }, { bad.state, good.state })
        assert.matches("^rests %d+ s$", bad.why)
        assert.is_true(bad.failures >= 1)
        assert.equal(6, good.requests)
        assert.is_true(good.latency_us > 0)
        assert.equal(6, found["api " .. a.port].requests + found["api " .. b.port].requests)
        assert.equal(0, found["api " .. a.port].in_flight)
    end)

    it("are printed as a table, of one upstream when it is named", function()
        local code, out = run("upstreams", "-p", rp.site_path, "api")
        assert.equal(0, code)
        assert.matches("^upstream  peer", out)
        assert.equal(3, select(2, out:gsub("\n", "")))
        assert.is_nil(out:find("web", 1, true))
        assert.equal(2, (run("upstreams", "-p", rp.site_path, "none")))
    end)

    it("are listed all, however many they are", function()
        local peers = {}
        for i = 1, 1000 do
            peers[i] = ('"127.%d.%d.1:%d"'):format(math.floor(i / 250), i % 250, a.port)
        end
        local many = proc.rproxy { site = [[return rp.site { workers = 1,
            listeners = { rp.listen { "127.0.0.1:${port}" } }, upstreams = { many = rp.upstream {
                peers = { ]] .. table.concat(peers, ", ") .. [[ } } },
            hosts = { rp.host { default = true, routes = {
                rp.route { "/*", upstream = "many" } } } } }]] }
        many:wait_stderr("serving site")
        local _, out = run("upstreams", "-p", many.site_path)
        assert.equal(1001, select(2, out:gsub("\n", "")))
        many:stop()
    end)

    it("get nothing new while they are drained, and again when they are ready", function()
        assert.equal(0, (order("api", a.port, "drain")))
        assert.same({ b = 8 }, names(8))
        assert.equal("drain", rows()["api " .. a.port].state)
        assert.equal(0, (order("api", a.port, "ready")))
        assert.truthy(names(8).a)
    end)

    it("get what their new weight says", function()
        assert.equal(0, (order("api", b.port, "weight=0")))
        assert.same({ a = 8 }, names(8))
        assert.matches("weight 0 by operator", rows()["api " .. b.port].why)
        assert.equal(0, (order("api", b.port, "weight=auto")))
        assert.truthy(names(8).b)
    end)

    it("keep the operator's word over a reload", function()
        order("api", a.port, "maint")
        assert.equal(0, (run("reload", "-p", rp.site_path)))
        assert.same({ b = 6 }, names(6))
        order("api", a.port, "ready")
    end)

    it("that are not there, and words that are none, are refused in words", function()
        local code, _, err = order("api", 1, "drain")
        assert.equal(1, code)
        assert.matches('no peer "127.0.0.1:1" in upstream "api"', err, 1, true)
        code, _, err = order("api", a.port, "weight=many")
        assert.equal(1, code)
        assert.matches("is none of ready, drain, maint", err)
        assert.equal(2, (run("peer", "-p", rp.site_path, "api")))
    end)
end)
