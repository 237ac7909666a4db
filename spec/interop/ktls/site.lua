-- SPDX-License-Identifier: MIT
--
-- The proxy of guest.sh: 8443 seals in the kernel, 8444 does not; 8081 is a client of the first.
local rp = require("rproxy")

local BIG = ("0123456789abcdef"):rep(4096)
local function routes()
    return {
        rp.route { "/hello", respond = { 200, "hello" } },
        rp.route { "/made", content = function(req) return req:exit(200, BIG) end },
        rp.route { "/*", upstream = "files" },
    }
end
return rp.site {
    workers = 1, user = "nobody",
    tls = { certs = { "/etc/a.pem" }, ktls = "auto" },
    listeners = {
        rp.listen { "127.0.0.1:8443", tls = true },
        rp.listen { "127.0.0.1:8444", tls = { ktls = "off" } },
        rp.listen { "127.0.0.1:8445", tls = { early_data = true } },
        rp.listen { "127.0.0.1:8081" },
    },
    streams = { rp.stream { "127.0.0.1:8446", upstream = "files", tls = true } },
    upstreams = {
        files = rp.upstream { peers = { "127.0.0.1:8080" } },
        one = rp.upstream { peers = { "127.0.0.1:8443" }, tls = { verify = false }, host = "a.test" },
        two = rp.upstream { peers = { "127.0.0.1:8443" }, tls = { verify = false }, http = "2",
            host = "a.test" },
    },
    hosts = {
        rp.host { "one.test", routes = { rp.route { "/*", upstream = "one" } } },
        rp.host { "two.test", routes = { rp.route { "/*", upstream = "two" } } },
        rp.host { default = true, routes = routes() },
    },
}
