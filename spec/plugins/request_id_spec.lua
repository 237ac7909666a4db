-- SPDX-License-Identifier: MIT
local hooks = require("spec.support.hooks")

local MADE = "0123456789abcdef0123456789abcdef"

local function ids(conf, fields)
    local run, req, res = hooks.of("request-id", conf), hooks.request(fields), hooks.response()
    run.access(req)
    if run.header_filter then run.header_filter(req, res) end
    return req.up.done, res.done, req
end

describe("plugin request-id", function()
    it("sends an id of its own upstream and to the client", function()
        local up, down, req = ids()
        assert.same({ "set x-request-id=" .. MADE }, up)
        assert.same({ "set x-request-id=" .. MADE }, down)
        assert.equal(MADE, req.ctx.request_id)
    end)

    it("replaces what the client sent", function()
        local up = ids("{}", { ["x-request-id"] = "theirs" })
        assert.same({ "set x-request-id=" .. MADE }, up)
    end)

    it("keeps the client's id when clients are trusted", function()
        local up, down = ids("{ trust_client = true }", { ["x-request-id"] = "abc-1.2:3" })
        assert.same({ "set x-request-id=abc-1.2:3" }, up)
        assert.same({ "set x-request-id=abc-1.2:3" }, down)
    end)

    it("makes one when the client's is absent, empty, too long or unsafe", function()
        for _, given in ipairs { false, "", ("a"):rep(129), "a b", 'a"b', "a\nb", "\255" } do
            local up = ids("{ trust_client = true }", { ["x-request-id"] = given or nil })
            assert.same({ "set x-request-id=" .. MADE }, up, tostring(given))
        end
    end)

    it("uses another header, and tells the client nothing when asked so", function()
        local up, down = ids('{ header = "X-Trace", respond = false }')
        assert.same({ "set x-trace=" .. MADE }, up)
        assert.same({}, down)
    end)

    it("gives an id to answers that were made before its access hook", function()
        local run, res = hooks.of("request-id"), hooks.response()
        run.header_filter(hooks.request(), res)
        assert.same({ "set x-request-id=" .. MADE }, res.done)
    end)

    it("refuses a header that is none", function()
        assert.matches("plugins.request%-id.header: expected a header name, got \"a b\"",
            hooks.errors("request-id", '{ header = "a b" }'))
    end)
end)
