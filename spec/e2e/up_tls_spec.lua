-- SPDX-License-Identifier: MIT
--
-- up:tls: TLS to the upstream's peer as a hook says, for one request.

local e2e = require("spec.support.e2e")
local http = require("spec.support.http")
local tls = require("spec.support.tls")
local wire = require("spec.support.wire")

describe("up:tls", function()
    local back, rp

    setup(function()
        local dir = tls.dir()
        tls.cert(dir, "a", { names = { "a.test" } })
        tls.cert(dir, "b", { names = { "b.test" } })
        os.execute(("chmod 755 '%s' && chmod 644 '%s'/*.pem"):format(dir, dir))
        -- It tells by which name it was asked, and on which connection.
        back = e2e.proxy { vars = { certs = dir }, site = [[
            http2 = { on = true },
            listeners = { rp.listen { "127.0.0.1:${port}", tls = {
                certs = { "${certs}/a.pem", "${certs}/b.pem" } } } },
            hosts = { rp.host { default = true, routes = { rp.route { "/*",
                content = function(req)
                    return req:exit(200, ("%s %s %d"):format(req.conn.tls.sni or "-", req.version,
                        req.conn.requests))
                end } } } } ]] }
        rp = e2e.proxy { vars = { back = back.port, certs = dir }, before = [[
            local lax = rp.tls { verify = false, sni = "b.test" }
            local function use(fn) return { { rewrite = fn } } end
        ]], site = [[
            lua = { cpu_budget = "2s" }, -- reading the system's authorities takes a sanitized build long
            upstreams = {
                plain = rp.upstream { peers = { "127.0.0.1:${back}" } },
                sealed = rp.upstream { peers = { "127.0.0.1:${back}" }, http = "auto",
                    tls = { verify = false, sni = "a.test" } },
                chosen = rp.upstream { peers = { "127.0.0.1:${back}" }, balance = function(req, up)
                    up:tls(lax) end },
            },
            hosts = { rp.host { default = true, routes = {
                rp.route { "/plain", upstream = "plain", use = use(function(req)
                    req.up:tls(lax) end) },
                rp.route { "/sealed", upstream = "sealed", use = use(function(req)
                    req.up:tls(lax) end) },
                rp.route { "/usual", upstream = "sealed" },
                rp.route { "/back", upstream = "sealed", use = use(function(req)
                    req.up:tls(lax) req.up:tls(nil) end) },
                rp.route { "/chosen", upstream = "chosen" },
                rp.route { "/checked", upstream = "sealed", use = use(function(req)
                    req.up:tls(true) end) },
                rp.route { "/late", upstream = "sealed", use = { {
                    header_filter = function(req, res)
                        local _, why = pcall(req.up.tls, req.up, lax)
                        res:set("x-why", why:gsub("^[^ ]* ", ""))
                    end } } },
            } } } ]] }
    end)
    teardown(function()
        back:stop()
        e2e.stop(rp)
    end)
    after_each(wire.close_all)

    local function body(path) return http.get(rp.port, path).body end

    it("says how, over a connection of the request's own", function()
        for _ = 1, 2 do
            assert.equal("b.test 1.1 1", body("/plain"))
            assert.equal("b.test 1.1 1", body("/sealed"))
            assert.equal("b.test 1.1 1", body("/chosen"))
        end
    end)

    it("leaves those of others alone", function()
        assert.matches("^a.test 2 ", body("/usual"))
        assert.equal("b.test 1.1 1", body("/sealed"))
        assert.matches("^a.test 2 ", body("/usual"))
        assert.matches("^a.test 2 ", body("/back"))
    end)

    it("checks certificates unless told otherwise", function()
        assert.equal(502, http.get(rp.port, "/checked").status)
    end)

    it("comes before the response", function()
        assert.matches("access, rewrite and balance", http.get(rp.port, "/late"):header("x-why"))
    end)
end)
