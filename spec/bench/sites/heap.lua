-- SPDX-License-Identifier: MIT
--
-- As proxy.lua, with a hook that leaves a KB of garbage in each request, beside 100 MB of objects that
-- live, a thousand to a table: what the collector makes others wait. spec/bench/run.lua also runs it
-- with LIVE_MB = 0.

local rp = require("rproxy")

local LIVE_MB = 100

local live = {}
while collectgarbage("count") < LIVE_MB * 1024 do
    local group = {}
    for i = 1, 1000 do
        local n = #live * 1000 + i
        group[i] = { id = n, name = "object " .. n, tags = { n, n + 1 } }
    end
    live[#live + 1] = group
end

local function waste(seen)
    local list = { seen }
    for i = 1, 6 do list[i] = { id = i, name = "item", next = list[i - 1] } end
    return #list
end

return rp.site {
    workers = 1,
    lua = { heap = "1g" },
    listeners = { rp.listen { "127.0.0.1:21084" } },
    upstreams = {
        origin = rp.upstream {
            peers = { "127.0.0.1:21080" },
            keepalive = { idle = 60, max = 256 },
        },
    },
    hosts = {
        rp.host { default = true, routes = {
            rp.route { "/*", upstream = "origin", use = {
                {
                    name = "waste",
                    access = function(req) req.ctx.n = waste(#live) end,
                },
            } },
        } },
    },
}
