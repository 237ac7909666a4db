-- SPDX-License-Identifier: MIT
local hooks = require("spec.support.hooks")

describe("plugin headers", function()
    local CONF = [[{
        request = { set = { ["X-B"] = "2", ["x-a"] = "1" }, add = { via = "me" },
            remove = { "Cookie" } },
        response = { set = { ["x-frame-options"] = "DENY" }, remove = { "server" } } }]]

    it("edits what goes upstream: removes, sets, adds", function()
        local req = hooks.request()
        hooks.of("headers", CONF).rewrite(req)
        assert.same({ "del cookie", "set x-a=1", "set x-b=2", "add via=me" }, req.up.done)
        assert.same({}, req.done)
    end)

    it("edits what the client gets", function()
        local res = hooks.response()
        hooks.of("headers", CONF).header_filter(hooks.request(), res)
        assert.same({ "del server", "set x-frame-options=DENY" }, res.done)
    end)

    it("has no hook where there is nothing to do", function()
        local run = hooks.of("headers", '{ response = { add = { a = "b" } } }')
        assert.is_nil(run.rewrite)
        assert.is_function(run.header_filter)
        assert.same({}, hooks.of("headers", "{}"))
    end)

    it("lets a route go on", function()
        local run = hooks.of("headers", CONF)
        assert.is_nil(run.rewrite(hooks.request()))
        assert.is_nil(run.header_filter(hooks.request(), hooks.response()))
    end)

    it("refuses names and values that no message may carry", function()
        assert.matches('plugins.headers.request.set: expected header names as keys, got "a b"',
            hooks.errors("headers", '{ request = { set = { ["a b"] = "1" } } }'))
        assert.matches("plugins.headers.response.add.a: expected a value without control bytes",
            hooks.errors("headers", '{ response = { add = { a = "x\\r\\ny: z" } } }'))
        assert.matches('plugins.headers.respnse: unknown setting; did you mean "response"?',
            hooks.errors("headers", "{ respnse = {} }"))
    end)
end)
