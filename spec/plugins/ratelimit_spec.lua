-- SPDX-License-Identifier: MIT
local config = require("spec.support.config")
local hooks = require("spec.support.hooks")

describe("plugin ratelimit", function()
    local calls, answer, logged

    before_each(function()
        calls, logged = {}, {}
        answer = { true, 3, 0, 1.2 }
        local zone = {}
        for _, name in ipairs { "spend", "window" } do
            zone[name] = function(_, ...)
                calls[#calls + 1] = { name, ... }
                return unpack(answer, 1, 4)
            end
        end
        config.rp.shared = { limits = zone }
        local function note(msg, fields) logged[#logged + 1] = { msg, fields } end
        config.rp.log = { info = note, warn = note }
        config.rp.crypto = { sha256 = function(text) return "digest of " .. #text end }
    end)

    local before = {}
    setup(function()
        for _, name in ipairs { "shared", "log", "crypto" } do before[name] = config.rp[name] end
    end)
    teardown(function()
        for _, name in ipairs { "shared", "log", "crypto" } do config.rp[name] = before[name] end
    end)

    local SHARED = 'shared = { limits = rp.shm.buckets { size = "1m" }, '
        .. 'flags = rp.shm.store { size = "1m" } },'

    local function of(conf)
        local built = config.build("local M = require('plugins.ratelimit') " .. config.minimal {
            site = SHARED .. ("use = { M { zone = 'limits', %s } },"):format(conf) })
        return built.model.use[1].hooks
    end

    local function errors(conf)
        return config.errors("local M = require('plugins.ratelimit') " .. config.minimal {
            site = SHARED .. ("use = { M %s },"):format(conf) })
    end

    local function request(fields)
        local req = hooks.request(fields)
        req.remote_ip = "192.0.2.1"
        req.exit = function(self, status, body, headers)
            self.exited = { status, body, headers }
            return true
        end
        return req
    end

    it("asks for one token of the client's bucket and lets the request go on", function()
        local req, res = request(), hooks.response()
        local run = of 'rate = 10, per = "1m", burst = 5'
        assert.is_nil(run.access(req))
        assert.same({ { "spend", "default\000192.0.2.1", 1, 10 / 60, 5 } }, calls)
        run.header_filter(req, res)
        assert.same({ 'set ratelimit-policy="default";q=5;w=30',
            'set ratelimit="default";r=3;t=2' }, res.done)
    end)

    it("answers 429 and says when to come again", function()
        answer = { false, 0, 2.1, 4 }
        local req, res = request(), hooks.response()
        local run = of 'rate = 1, fields = "x"'
        assert.is_true(run.access(req))
        assert.same({ 429, "Too many requests\n", { ["retry-after"] = "3" } }, req.exited)
        run.header_filter(req, res)
        assert.same({ "set x-ratelimit-limit=1", "set x-ratelimit-remaining=0",
            "set x-ratelimit-reset=4" }, res.done)
    end)

    it("names a day of a year's length at most for what is never allowed", function()
        answer = { false, 0, math.huge, 4 }
        local req = request()
        of 'rate = 1, cost = 2'.access(req)
        assert.equal("31622400", req.exited[3]["retry-after"])
    end)

    it("counts whom the key says", function()
        local req = request { ["x-key"] = "abc" }
        req.route, req.consumer = { id = "r1" }, "alice"
        for key, want in pairs { ['"consumer"'] = "alice", ['"route"'] = "r1", ['"all"'] = "all",
            ['"header:X-Key"'] = "abc", ['"header:x-none"'] = "192.0.2.1",
            ["function(req) return req.id end"] = req.id } do
            -- The recorder's heads know names in lower case.
            of(("rate = 1, name = 'n', key = %s"):format(key:gsub("X%-Key", "x-key"))).access(req)
            assert.equal("n\0" .. want, calls[#calls][2])
        end
        local asked = #calls
        assert.is_nil(of('rate = 1, key = function() end').access(req))
        assert.equal(asked, #calls)
    end)

    it("counts a key that is too long by its digest", function()
        of('rate = 1, key = "header:x-key"').access(request { ["x-key"] = ("k"):rep(5000) })
        assert.equal("default\0digest of 5000", calls[1][2])
    end)

    it("counts in a sliding window", function()
        of('rate = 5, per = "1m", algorithm = "window"').access(request())
        assert.same({ "window", "default\000192.0.2.1", 1, 5, 60 }, calls[1])
    end)

    it("lets pass, or not, when the zone cannot answer", function()
        answer = { nil, "busy" }
        local req = request()
        assert.is_nil(of("rate = 1").access(req))
        assert.is_nil(req.exited)
        assert.is_true(of('rate = 1, on_busy = "closed"').access(req))
        assert.equal(503, req.exited[1])
        assert.equal("busy", logged[1][2].error)
    end)

    it("refuses zones and keys that are none", function()
        assert.matches('site.lua:%d+: plugins.ratelimit.zone: no zone "limit" in `shared`; '
            .. 'did you mean "limits"?', errors '{ zone = "limit", rate = 1 }')
        assert.matches("plugins.ratelimit.zone: shared.flags is a store %(.-%); expected a zone of "
            .. "rp.shm.buckets", errors '{ zone = "flags", rate = 1 }')
        assert.matches('expected "ip", "consumer"', errors '{ zone = "limits", rate = 1, key = 5 }')
        assert.matches("rate", errors '{ zone = "limits" }')
    end)
end)
