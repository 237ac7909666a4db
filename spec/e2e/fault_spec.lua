-- SPDX-License-Identifier: MIT
--
-- The plugins fault and mirror over real connections.

local e2e = require("spec.support.e2e")
local http = require("spec.support.http")
local origin = require("spec.support.origin")
local posix = require("spec.support.posix")
local wire = require("spec.support.wire")

describe("faults and mirrors", function()
    local rp, up, shadow

    setup(function()
        shadow = origin.start { ["/slow"] = { { hang = true } },
            ["*"] = { status = 200, body = '{"a":2,"t":2}' } }
        rp, up = e2e.pair({ ["*"] = { status = 200, body = '{"a":1,"t":1}' } }, {
            vars = { shadow = shadow.port }, before = [[
            local fault, mirror = require("plugins.fault"), require("plugins.mirror")
        ]], site = [[
            upstreams = { o = rp.upstream { peers = { "127.0.0.1:${origin}" } } },
            hosts = { rp.host { default = true, routes = {
                rp.route { "/reset", upstream = "o", use = { fault { reset = {},
                    when = { header = "x-break" } } } },
                rp.route { "/throttle", upstream = "o", use = { fault {
                    throttle = { rate = "1m" } } } },
                rp.route { "/*", upstream = "o", use = { mirror {
                    to = { "http://127.0.0.1:${shadow}" }, methods = { "GET", "POST" }, most = 2,
                    timeout = "500ms", diff = { ignore = { "t" } } } } },
            } } } ]] })
    end)

    teardown(function() e2e.stop(rp) end)
    after_each(wire.close_all)

    it("end a request without an answer, and nobody else's", function()
        for _ = 1, 3 do
            local w = wire.connect(rp.port)
            w:send(http.format { target = "/reset", fields = { ["X-Break"] = "1" } })
            assert.is_true(w:is_closed())
        end
        assert.equal(200, http.get(rp.port, "/reset").status)
    end)

    it("send bodies slowly, and whole", function()
        local res = http.get(rp.port, "/throttle")
        assert.same({ 200, '{"a":1,"t":1}' }, { res.status, res.body })
    end)

    it("send a copy of body and head, and tell what differs", function()
        local w = wire.connect(rp.port)
        local res = http.request(w, { method = "POST", target = "/x?y=z", body = "hello",
            fields = { ["X-Who"] = "me" } })
        assert.equal('{"a":1,"t":1}', res.body)
        local copy = shadow:wait_requests(1)[1]
        assert.same({ "POST", "/x?y=z", "hello", "me", "1" }, { copy.method, copy.target,
            copy.body, e2e.field(copy, "x-who"), e2e.field(copy, "x-mirrored") })
        assert.equal("length", e2e.last(up).framing)
        rp:wait_stderr("the mirror answers differently")
        assert.matches("body=a ", rp:stderr())
    end)

    it("keep no client waiting for a mirror that hangs", function()
        for _ = 1, 6 do assert.equal(200, http.get(rp.port, "/slow").status) end
        -- two were sent, the others dropped; when these are over, copies are sent again
        assert.truthy(posix.poll(function()
            http.get(rp.port, "/again")
            for _, req in ipairs(shadow:requests()) do
                if req.target == "/again" then return true end
            end
        end, 30))
    end)
end)
