-- SPDX-License-Identifier: MIT
--
-- The plain proxy behind TLS, HTTP/1.1 and HTTP/2. The ports are those of
-- spec/bench/run.lua, which puts it beside the certificate.

local rp = require("rproxy")

return rp.site {
    workers = 1,
    limits = { keepalive_requests = 0 }, -- as the peers'
    listeners = { rp.listen { "127.0.0.1:21084" }, rp.listen { "127.0.0.1:21094", tls = true } },
    tls = { certs = { "bench.pem" } },
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
