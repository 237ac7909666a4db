-- SPDX-License-Identifier: MIT
--
-- fake: servers that tell who the members of a service are, as far as rproxy asks them: the HTTP APIs
-- of Consul, etcd v3's gateway, the Docker Engine and Kubernetes, and a JSON document. A process of
-- its own (fake_main.lua), which says what is in its state now.
--
--   local f = fake.start("consul", { index = 5, members = { { "10.0.0.1", 80 } } })
--   f.port (f.path with opt.unix)   f:set { index = 6, members = {} }   f:requests()
--   f:stop()   f:start_again()      -- on the same port, with the same state
--
-- state.mode makes it hostile: "500", "garbage", "huge", "slow" (a byte now and then), "hang", "cut"
-- (ends in the middle), "deny" (403). What else a state holds is told at each kind in fake_main.lua.

local literal = require("spec.support.literal")
local posix = require("spec.support.posix")
local proc = require("spec.support.proc")
local socket = require("socket")

local M = {}
local Fake = {}
Fake.__index = Fake

--- What it says from now on; merged into what it said.
function Fake:set(state)
    for name, value in pairs(state) do self.state[name] = value end
    if state.mode == nil then self.state.mode = nil end
    posix.write_file(self.dir .. "/state.new", literal.chunk(self.state))
    assert(os.rename(self.dir .. "/state.new", self.dir .. "/state.lua"))
    return self
end

local function listens(self)
    if self.port then return posix.is_listening(self.port) end
    local sock = require("socket.unix")()
    local ok = sock:connect(self.path)
    sock:close()
    return ok ~= nil
end

function Fake:start_again()
    self.proc = proc.spawn({ "luajit", "spec/support/fake_main.lua", self.kind, self.dir,
        tostring(self.port or self.path) }, { env = { LD_PRELOAD = false } })
    assert(posix.poll(function() return listens(self) end), "the fake does not start: "
        .. self.proc:stderr())
    return self
end

--- opt: unix: on a socket of that path
function M.start(kind, state, opt)
    local self = setmetatable({ kind = kind, state = {}, dir = proc.temp_dir() }, Fake)
    if opt and opt.unix then self.path = opt.unix else self.port = posix.free_port() end
    os.execute(("chmod 755 '%s'"):format(self.dir))
    self:set(state)
    return self:start_again()
end

--- Ends it at once; whoever is connected sees that.
function Fake:stop()
    self.proc:signal("KILL")
    self.proc:wait(5)
    if self.path then os.remove(self.path) end
end

--- Heads of the requests so far.
function Fake:requests()
    local list = {}
    local text = posix.read_file(self.dir .. "/requests") or ""
    for head in text:gmatch("(.-)\n%-%-\n") do list[#list + 1] = head end
    return list
end

--- Wait until a request came whose head matches; returns what matched.
function Fake:wait_request(pattern, from)
    local found
    local ok = posix.poll(function()
        local list = self:requests()
        for i = (from or 0) + 1, #list do
            found = list[i]:match(pattern)
            if found then return true end
        end
    end)
    if not ok then
        error(("no request %q came; there were:\n%s"):format(pattern,
            table.concat(self:requests(), "\n")), 2)
    end
    return found
end

--- A free port where nobody listens.
M.dead_port = posix.free_port
M.sleep = socket.sleep

return M
