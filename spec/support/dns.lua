-- SPDX-License-Identifier: MIT
--
-- dns: a DNS server for sites: resolver = { servers = { "127.0.0.1:" .. d.port }, min_ttl = 0 }.
--
--   local d = dns.start { ["api.test"] = { ttl = 1, a = { "127.0.0.1" } } }
--   d:set { .. }      the whole state, see dns_main.lua
--
-- proc.cleanup() ends it.

local literal = require("spec.support.literal")
local posix = require("spec.support.posix")
local proc = require("spec.support.proc")

local M = {}
local Server = {}
Server.__index = Server

function Server:set(state)
    posix.write_file_whole(self.path, literal.chunk(state))
end

function M.start(state)
    local dir = proc.temp_dir()
    local d = setmetatable({ port = posix.free_port(), path = dir .. "/state.lua" }, Server)
    d:set(state)
    d.proc = proc.spawn({ "luajit", "spec/support/dns_main.lua", tostring(d.port), d.path })
    local bound = posix.poll(function()
        return d.proc:stdout() == "bound\n" or not d.proc:is_running()
    end)
    assert(bound and d.proc:is_running(), "the DNS server does not start: " .. d.proc:stderr())
    return d
end

return M
