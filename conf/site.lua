-- SPDX-License-Identifier: MIT
--
-- The default site: it answers, and proxies nothing yet. Copy it, change it, then
--
--   rproxy -t -p site.lua           check it
--   rproxy reload -p site.lua       have the running one take it
--
-- All options: docs/reference/options.md. Examples: examples/.

local rp = require("rproxy")

return rp.site {
    workers = "auto", -- one per core
    -- user = "rproxy", -- whom workers become when started as root

    log = {
        error = { to = "stderr", level = "info" },
        access = { to = "stdout", format = "combined" },
    },

    listeners = {
        rp.listen { "127.0.0.1:8080" },
    },

    upstreams = {
        -- app = rp.upstream { peers = { "127.0.0.1:3000" } },
    },

    hosts = {
        rp.host {
            default = true,
            routes = {
                -- rp.route { "/*", upstream = "app" },
                rp.route { "GET /", respond = { 200, "it runs; site.lua says what it does\n" } },
            },
        },
    },
}
