-- SPDX-License-Identifier: MIT
--
-- A request whose tasks fill the heap: all was collected while they still lived, and not again when
-- they had died with it, because hardly anything was allocated since. Every hook after that began
-- with a heap full of garbage, and failed for want of memory when it needed more than was left.

local http = require("spec.support.http")
local posix = require("spec.support.posix")
local process = require("spec.support.process")

describe("a heap full of tasks whose request has ended", function()
    local rp

    teardown(function() process.stop(rp) end)

    it("is free for the requests that come", function()
        rp = process.start { workers = 1, before = 'local rp = require("rproxy")',
            more = 'lua = { heap = "24m" },', routes = [[
            rp.route { "/tasks", content = function()
                while true do rp.spawn(function() rp.sleep(60) end) end end },
            rp.route { "/heap", content = function(req)
                return req:exit(200, tostring(collectgarbage("count"))) end }, ]] }
        assert.equal(500, http.get(rp.port, "/tasks").status) -- too many, or too large
        assert.is_true(posix.poll(function()
            return tonumber(process.body(rp, "/heap")) < 12 * 1024
        end, 20))
    end)
end)
