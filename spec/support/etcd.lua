-- SPDX-License-Identifier: MIT
--
-- etcd: a real etcd server on loopback, for specs.
--
--   local etcd = require("spec.support.etcd")
--   if not etcd.is_installed() then return pending("..") end
--   local e = etcd.start()                      -- e.port
--   e:ctl("put", "/services/api/a", "10.0.0.1:80")   -- its output
--   e:stop()   e:start_again()                  -- the same data on the same port

local posix = require("spec.support.posix")
local proc = require("spec.support.proc")

local M = {}
local Etcd = {}
Etcd.__index = Etcd

local function which(name)
    return posix.exists("/usr/bin/" .. name)
end

function M.is_installed()
    return which("etcd") and which("etcdctl")
end

-- Debian 12 has 3.4, whose etcdctl speaks version 2 unless told.
local ENV = { ETCDCTL_API = "3", LD_PRELOAD = false }

--- Run etcdctl; raises when it fails.
function Etcd:ctl(...)
    local argv = { "etcdctl", "--endpoints", "http://127.0.0.1:" .. self.port,
        "--command-timeout", "20s" }
    for _, word in ipairs(self.login or {}) do argv[#argv + 1] = word end
    for i = 1, select("#", ...) do argv[#argv + 1] = (select(i, ...)) end
    local how, out, err = proc.run(argv, { env = ENV })
    if how.exit ~= 0 then error(("etcdctl %s: %s%s"):format((...), out, err), 2) end
    return (out:gsub("\n$", ""))
end

function Etcd:start_again()
    local url, peer = "http://127.0.0.1:" .. self.port, "http://127.0.0.1:" .. self.peer_port
    self.proc = proc.spawn({ "etcd", "--data-dir", self.dir, "--listen-client-urls", url,
        "--advertise-client-urls", url, "--listen-peer-urls", peer,
        "--initial-advertise-peer-urls", peer, "--initial-cluster", "default=" .. peer,
        "--auth-token-ttl", "1" }, { env = { LD_PRELOAD = false } })
    local last
    local ok = posix.poll(function()
        if not self.proc:is_running() then error("etcd ended: " .. self.proc:stderr(), 0) end
        if not posix.is_listening(self.port) then return false end
        local healthy
        healthy, last = pcall(self.ctl, self, "endpoint", "health")
        return healthy or tostring(last):find("permission denied", 1, true)
    end, 60)
    assert(ok, "etcd does not start: " .. tostring(last))
    return self
end

function M.start()
    local self = setmetatable({ dir = proc.temp_dir() .. "/data", port = posix.free_port(),
        peer_port = posix.free_port() }, Etcd)
    return self:start_again()
end

function Etcd:stop()
    self.proc:signal("KILL")
    self.proc:wait(5)
end

return M
