-- SPDX-License-Identifier: MIT
--
-- As proxy.lua, with many routes: what finding one of them costs. spec/bench/run.lua also runs it with
-- other numbers in ROUTES.

local rp = require("rproxy")

local ROUTES = 100

local routes = {}
for i = 1, ROUTES do
    routes[i] = rp.route { ("/r%d/*"):format(i), upstream = "origin" }
end

return rp.site {
    workers = 1,
    listeners = { rp.listen { "127.0.0.1:21084" } },
    upstreams = {
        origin = rp.upstream {
            peers = { "127.0.0.1:21080" },
            keepalive = { idle = 60, max = 1024 },
        },
    },
    hosts = { rp.host { default = true, routes = routes } },
}
