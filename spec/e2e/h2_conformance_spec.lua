-- SPDX-License-Identifier: MIT
--
-- Each rule of RFC 9113 that a client can break (and some that it keeps), section by section: the
-- list is spec/support/h2_cases.lua.

local cases = require("spec.support.h2_cases")
local e2e = require("spec.support.e2e")
local h2 = require("spec.support.h2")
local origin = require("spec.support.origin")
local wire = require("spec.support.wire")

describe("HTTP/2 conformance", function()
    local up, rp

    setup(function()
        up = origin.start {
            ["/hold"] = { { hang = true } },
            ["/big"] = { status = 200, body = ("b"):rep(100000) },
            ["*"] = { status = 404 },
        }
        rp = e2e.proxy { vars = { origin = up.port }, site = [[
            limits = { headers = 50, header_bytes = "32k" },
            http2 = { streams = 10, window = "65535" },
            upstreams = { o = rp.upstream { peers = { "127.0.0.1:${origin}" } } },
            hosts = { rp.host { default = true, routes = {
                rp.route { "/ok", respond = { 200, "ok\n" } },
                rp.route { "/stuck", content = function() rp.sleep(60) end },
                rp.route { "/*", upstream = "o" } } } },
        ]] }
    end)

    teardown(function() e2e.stop(rp) end)
    after_each(wire.close_all)

    local function connect(case)
        local c = h2.connect(rp.port, { preface = not case.raw })
        if case.raw then c.wire:send(h2.PREFACE)
        else c:wait(function() return c.acked end) end
        return c
    end

    local function serves(c)
        c.next_id = 99
        return c:get("/ok").status
    end

    local function check(c, case)
        local id = c.stream or 1
        if case.goaway then
            c:wait(function() return c.goaway end)
            assert.equal(case.goaway, c.goaway.code)
        end
        if case.goaway or case.closed then
            assert.is_true(c:is_closed())
            return
        end
        if case.reset then assert.equal(case.reset, c:response(id).reset) end
        if case.status then
            local res = c:response(id)
            assert.equal(case.status, res.status or "reset " .. tostring(res.reset))
        end
        if not case.last then assert.equal(200, serves(c)) end
    end

    for _, case in ipairs(cases.list) do
        it(case.section .. ": " .. case.name, function()
            local c = connect(case)
            case.run(c)
            check(c, case)
        end)
    end
end)
