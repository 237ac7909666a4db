-- SPDX-License-Identifier: MIT
--
-- Each request of an HTTP/2 connection has an id of its own, whoever is told of it.

local e2e = require("spec.support.e2e")
local h2 = require("spec.support.h2")
local posix = require("spec.support.posix")
local wire = require("spec.support.wire")

describe("ids of requests in HTTP/2", function()
    local rp

    setup(function()
        rp = e2e.proxy { site = [[
            log = { access = { to = "${dir}/access.log", format = "json", buffer = 0,
                fields = { "id", "conn_requests" } } },
            hosts = { rp.host { default = true, routes = { rp.route { "/*",
                content = function(req) return req:exit(200, req.id) end } } } }, ]] }
    end)
    teardown(function() e2e.stop(rp) end)
    after_each(wire.close_all)

    it("are not shared by the streams of a connection", function()
        local c, seen, ids = h2.connect(rp.port), {}, {}
        for i = 1, 50 do ids[i] = c:request { path = "/" .. i } end
        for i = 1, 50 do
            local id = c:response(ids[i]).body
            assert.matches("^%x+$", id)
            assert.equal(32, #id)
            assert.is_nil(seen[id])
            seen[id] = true
        end
        assert.is_truthy(posix.poll(function()
            local n = 0
            for id in (posix.read_file(rp.dir .. "/access.log") or ""):gmatch('"id":"(%x+)"') do
                if seen[id] then n = n + 1 end
            end
            return n == 50
        end))
    end)
end)
