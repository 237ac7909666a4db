-- SPDX-License-Identifier: MIT
--
-- What evaluating a large site took does not stay with the worker: compiled code of the evaluation held
-- on to all it had met, and LuaJIT's heap kept the pages of what was freed.

local e2e = require("spec.support.e2e")
local posix = require("spec.support.posix")
local process = require("spec.support.process")
local protocol = require("spec.support.protocol")

local ROUTES = 5000 -- 3.3 KB each while the site is evaluated
local HEAP_MOST_KB = 6 * 1024
local PRIVATE_MOST_KB = 22 * 1024

local function private_kb(pid)
    local text = posix.read_file(("/proc/%d/smaps_rollup"):format(pid))
    return text and tonumber(text:match("Private_Dirty:%s+(%d+)"))
end

describe("a site of many routes", function()
    local rp

    teardown(function() e2e.stop(rp) end)

    it("leaves its worker neither objects nor pages of its evaluation", function()
        protocol.only("h1 client", "one protocol is enough")
        rp = e2e.proxy { before = ([[
            local routes = {}
            for i = 1, %d do routes[i] = rp.route { ("/r%%d/*"):format(i), upstream = "o" } end
            routes[#routes + 1] = rp.route { "/heap", content = function(req)
                return req:exit(200, tostring(collectgarbage("count")))
            end } ]]):format(ROUTES), site = [[
            upstreams = { o = rp.upstream { peers = { "127.0.0.1:1" } } },
            hosts = { rp.host { default = true, routes = routes } } ]] }
        local heap = tonumber(e2e.body(rp, "/heap"))
        assert.is_true(heap < HEAP_MOST_KB, ("%d KB of Lua heap"):format(heap))
        local private = private_kb(process.workers(rp)[1])
        if private and not e2e.is_debug then
            assert.is_true(private < PRIVATE_MOST_KB, ("%d KB of its own"):format(private))
        end
    end)
end)
