-- SPDX-License-Identifier: MIT
--
-- What is said of peers: zones that are preferred, and subsets that routes and hooks wish for.

local e2e = require("spec.support.e2e")
local http = require("spec.support.http")
local origin = require("spec.support.origin")
local posix = require("spec.support.posix")
local proc = require("spec.support.proc")
local process = require("spec.support.process")

describe("what is said of peers", function()
    local rp, ports

    before_each(function()
        ports = {}
        for _, name in ipairs { "a", "b", "c" } do
            ports[name] = origin.start({ ["*"] = { status = 200, body = name } }).port
        end
    end)

    after_each(function() e2e.stop(rp) end)

    local function start(upstreams, routes, opt)
        local all = { vars = ports, site = ([[
            return rp.site { workers = 1, listeners = { rp.listen { "127.0.0.1:${port}" } },
                upstreams = { %s }, hosts = { rp.host { default = true, routes = { %s } } } } ]])
                :format(upstreams, routes) }
        for key, value in pairs(opt or {}) do all[key] = value end
        rp = proc.rproxy(all)
    end

    local function names(n, target)
        local taken = {}
        for _ = 1, n do
            local body = http.get(rp.port, target).body
            taken[body] = (taken[body] or 0) + 1
        end
        return taken
    end

    local function peer(name, ...)
        process.must(rp, "peer", "api", "127.0.0.1:" .. ports[name], ...)
    end

    local ZONES = [[peers = { { "127.0.0.1:${a}", zone = "eu" }, { "127.0.0.1:${b}", zone = "eu" },
        { "127.0.0.1:${c}", zone = "us" } }]]

    it("lets the own zone have all, and others what it cannot bear", function()
        start("api = rp.upstream { " .. ZONES .. [[, zone = "eu" }]],
            [[rp.route { "/*", upstream = "api" }]])
        assert.same({ a = 20, b = 20 }, names(40, "/"))
        peer("b", "drain")
        local taken = names(70, "/") -- 0.5 / 0.7 stays: 50, +- a turn of each worker
        assert.is_true(taken.a >= 44 and taken.a <= 56 and taken.b == nil, taken.a)
        peer("a", "maint")
        assert.same({ c = 10 }, names(10, "/"))
    end)

    it("takes the zone from the environment, unless the site says", function()
        start("api = rp.upstream { " .. ZONES .. "}, none = rp.upstream { " .. ZONES
            .. [[, zone = "" }]], [[rp.route { "/none", upstream = "none" },
            rp.route { "/*", upstream = "api" }]], { env = { RPROXY_ZONE = "us" } })
        assert.same({ c = 10 }, names(10, "/"))
        assert.same({ a = 4, b = 4, c = 4 }, names(12, "/none"))
    end)

    local VERSIONS = [[peers = { { "127.0.0.1:${a}", meta = { version = "v1", gpu = "no" } },
        { "127.0.0.1:${b}", meta = { version = "v2", gpu = "no" }, zone = "eu" },
        { "127.0.0.1:${c}", meta = { version = "v2", gpu = "yes" } } },
        subsets = { "version", "gpu", "zone" }]]

    it("limits routes to the peers that they wish for", function()
        start("api = rp.upstream { " .. VERSIONS .. "}", [[
            rp.route { "/v1", upstream = "api", subset = { version = "v1" } },
            rp.route { "/v2", upstream = "api", subset = { version = "v2" } },
            rp.route { "/gpu", upstream = "api", subset = { version = "v2", gpu = "yes" } },
            rp.route { "/eu", upstream = "api", subset = { zone = "eu" } },
            rp.route { "/v3", upstream = "api", subset = { version = "v3" } },
            rp.route { "/*", upstream = "api" }]])
        assert.same({ a = 8 }, names(8, "/v1"))
        local taken = names(20, "/v2")
        assert.is_true(taken.a == nil and taken.b >= 6 and taken.c >= 6)
        assert.same({ c = 8 }, names(8, "/gpu"))
        assert.same({ b = 8 }, names(8, "/eu"))
        assert.equal(503, http.get(rp.port, "/v3").status)
        assert.same({ a = 4, b = 4, c = 4 }, names(12, "/"))
        peer("a", "maint")
        assert.equal(503, http.get(rp.port, "/v1").status)
        peer("a", "ready")
        local extra = origin.start { ["*"] = { status = 200, body = "d" } }
        process.must(rp, "peer", "api", "127.0.0.1:" .. extra.port, "add", "meta.version=v3")
        assert.same({ d = 8 }, names(8, "/v3"))
        process.must(rp, "peer", "api", "127.0.0.1:" .. extra.port, "remove")
        assert.equal(503, http.get(rp.port, "/v3").status)
    end)

    it("falls back to all peers where the site says so", function()
        start("api = rp.upstream { " .. VERSIONS .. [[, subset_fallback = "any" }]], [[
            rp.route { "/v1", upstream = "api", subset = { version = "v1" } },
            rp.route { "/v3", upstream = "api", subset = { version = "v3" } }]])
        assert.same({ a = 4, b = 4, c = 4 }, names(12, "/v3"))
        assert.same({ a = 8 }, names(8, "/v1"))
        peer("a", "maint")
        local taken = names(8, "/v1")
        assert.is_true(taken.a == nil and taken.b > 0 and taken.c > 0)
    end)

    it("is wished for by hooks, for one request", function()
        start("api = rp.upstream { " .. VERSIONS .. [[, balance = function(req, up)
                if req:get("x-late") then up:subset { gpu = "yes" } end
            end }, web = rp.upstream { ]] .. VERSIONS .. "}", [[
            rp.route { "/late", upstream = "api", subset = { version = "v1" } },
            rp.route { "/*", upstream = "web", use = { { access = function(req)
                local version = req:get("x-version")
                if version then req.up:subset { version = version, nobody_asks = "this" } end
            end } } }]])
        local function get(target, fields) return http.get(rp.port, target, fields).body end
        for _ = 1, 4 do
            assert.equal("a", get("/", { ["X-Version"] = "v1" }))
            assert.are_not.equal("a", get("/", { ["X-Version"] = "v2" }))
            assert.equal("a", get("/late"))
            assert.equal("c", get("/late", { ["X-Late"] = "1" }))
        end
        assert.same({ a = 4, b = 4, c = 4 }, names(12, "/"))
    end)

    it("is refused where it cannot be meant", function()
        local function why(upstream, route)
            local dir = proc.temp_dir()
            posix.write_file(dir .. "/site.lua", ([[local rp = require("rproxy")
                return rp.site { listeners = { rp.listen { "127.0.0.1:1" } },
                upstreams = { api = rp.upstream { %s } }, hosts = { rp.host { default = true,
                routes = { rp.route { "/*", upstream = "api", %s } } } } }]]):format(upstream,
                    route))
            local how, _, err = proc.run { process.BIN, "-t", "-p", dir .. "/site.lua" }
            assert.are_not.equal(0, how.exit)
            return err
        end
        assert.matches('does not list "version"', why([[peers = { "127.0.0.1:1" }]],
            [[subset = { version = "v1" }]]))
        assert.matches("control characters", why([[peers = { { "127.0.0.1:1",
            meta = { a = "x\ny" } } }]], ""))
        assert.matches("zone", why([[peers = { { "127.0.0.1:1", zone = "\1" } }]], ""))
    end)
end)
