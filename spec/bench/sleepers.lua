-- SPDX-License-Identifier: MIT
--
-- sleepers: what a task that waits costs its worker: memory, and the time to begin it.
--
--   luajit spec/bench/sleepers.lua [tasks]          (100000)
--
-- One worker; a background task spawns that many children, each of which sleeps for an hour. Memory is
-- the worker's proportional set size (PSS) before, with all of them asleep, and after they were
-- cancelled. Bounded: about 10 s.
--
-- Environment: RP_BIN (build/rproxy). The figure: the worker takes 175 MB with 100,000 of them, 1.7 KB each.

package.path = "./?.lua;" .. package.path

local http = require("spec.support.http")
local posix = require("spec.support.posix")
local proc = require("spec.support.proc")

local GOAL_MB = 200

local SITE = [[
    local rp = require("rproxy")
    local tasks, batch = {}, nil
    return rp.site { workers = 1, listeners = { rp.listen { "127.0.0.1:${port}" } },
        lua = { heap = "1g", cpu_budget = 0 },
        hosts = { rp.host { default = true, routes = {
            rp.route { "/spawn", content = function(req)
                local n, t = tonumber(req:arg("n")), rp.clock()
                local spawned = 0
                batch = rp.detach(function()
                    for i = 1, n do rp.spawn(rp.sleep, 3600) end
                    spawned = n
                    rp.sleep(3600)
                end)
                while spawned < n do rp.sleep(0.001) end
                return req:exit(200, tostring((rp.clock() - t) / n))
            end },
            rp.route { "/cancel", content = function(req)
                batch:cancel()
                return req:exit(200)
            end },
            rp.route { "/count", content = function(req)
                local garbage = {}
                for i = 1, 1e5 do garbage[i] = { i } end
                return req:exit(200, tostring(collectgarbage("count")))
            end },
        } } } }
]]

local function pss_mb(rp)
    local most = 0
    for _, pid in ipairs(posix.tree(rp.pid)) do
        local rollup = posix.read_file("/proc/" .. pid .. "/smaps_rollup") or ""
        most = math.max(most, tonumber(rollup:match("\nPss:%s+(%d+)") or 0))
    end
    return most / 1024
end

local n = tonumber(arg and arg[1]) or 100000
local rp = proc.rproxy { site = SITE }
http.get(rp.port, "/count")
local before = pss_mb(rp)
local ns = tonumber(http.get(rp.port, "/spawn?n=" .. n).body)
posix.sleep(1) -- each has run once, and sleeps
local asleep = pss_mb(rp)
http.get(rp.port, "/cancel")
for _ = 1, 30 do http.get(rp.port, "/count") end
local after = pss_mb(rp)
rp:stop()
proc.cleanup()

print(("tasks %d  before %.1f MB  asleep %.1f MB (%.0f bytes each)  after %.1f MB"):format(n, before,
    asleep, (asleep - before) * 2 ^ 20 / n, after))
print(("begin %.2f us each"):format(ns / 1e3))
print(("goal %d MB: %s"):format(GOAL_MB, asleep < GOAL_MB and "met" or "MISSED"))
os.exit(asleep < GOAL_MB and 0 or 1)
