-- SPDX-License-Identifier: MIT
--
-- A peer that is a name with two addresses, of which one is not served ("localhost" on a machine
-- with IPv6, an origin that listens on 127.0.0.1): each first attempt at the dead address was taken
-- for a failure of the whole peer, and answered 502.
--
-- The name comes from a hosts file of our own, mounted over the system's for the proxy alone.

local e2e = require("spec.support.e2e")
local http = require("spec.support.http")
local origin = require("spec.support.origin")
local posix = require("spec.support.posix")
local proc = require("spec.support.proc")

local HOSTS = "127.0.0.1 localhost\n::1 both\n127.0.0.1 both\n"

--- A program that runs rproxy with those hosts; nil where mounting is not allowed.
local function wrapper()
    local dir = proc.temp_dir()
    os.execute("chmod 755 " .. dir)
    posix.write_file(dir .. "/hosts", HOSTS)
    local mount = ("mount --bind %s/hosts /etc/hosts"):format(dir)
    if os.execute(("unshare -m sh -c '%s' 2>/dev/null"):format(mount)) ~= 0 then return nil end
    local bin = os.getenv("RP_BIN") or "build/rproxy"
    if bin:sub(1, 1) ~= "/" then bin = os.getenv("PWD") .. "/" .. bin end
    posix.write_file(dir .. "/rproxy", ([[#!/bin/sh
exec unshare -m sh -c '%s && exec "$0" "$@"' %s "$@"
]]):format(mount, bin))
    os.execute("chmod 755 " .. dir .. "/rproxy")
    return dir .. "/rproxy"
end

describe("a name with two addresses, one of which is dead", function()
    local up, rp

    setup(function()
        local bin = wrapper()
        if not bin then return end
        up = origin.start { ["*"] = { status = 200, body = "ok" } }
        rp = e2e.proxy { bin = bin, vars = { origin = up.port, dead = posix.free_port() }, site = [[
            upstreams = {
                one = rp.upstream { peers = { "both:${origin}" }, keepalive = { max = 0 } },
                down = rp.upstream { peers = { "both:${dead}" }, tries = 5 },
            },
            hosts = { rp.host { default = true, routes = {
                rp.route { "/down", upstream = "down" },
                rp.route { "/*", upstream = "one" } } } },
        ]] }
    end)

    teardown(function()
        if rp then e2e.stop(rp) end
    end)

    local function failures(upstream)
        local _, n = rp:stderr():gsub("connect failed upstream=" .. upstream .. " ", "")
        return n
    end

    it("is served by the other one, and the dead one rests", function()
        if not rp then return pending("mounting is not allowed here") end
        for _ = 1, 6 do assert.equal(200, http.get(rp.port, "/").status) end
        assert.equal(1, failures("one"))
    end)

    it("is 502 when both are dead, each tried once", function()
        if not rp then return pending("mounting is not allowed here") end
        assert.equal(502, http.get(rp.port, "/down").status)
        assert.equal(2, failures("down"))
    end)
end)
