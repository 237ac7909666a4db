-- SPDX-License-Identifier: MIT
--
-- The plain proxy of the measurements: one worker, one upstream, no Lua in the way. The ports are
-- those of spec/bench/run.lua.

local rp = require("rproxy")

return rp.site {
    workers = 1,
    listeners = { rp.listen { "127.0.0.1:21084" } },
    upstreams = {
        origin = rp.upstream {
            peers = { "127.0.0.1:21080" },
            keepalive = { idle = 60, max = 1024 },
        },
    },
    hosts = {
        rp.host { default = true, routes = { rp.route { "/*", upstream = "origin" } } },
    },
}
