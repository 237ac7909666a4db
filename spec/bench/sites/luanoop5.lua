-- SPDX-License-Identifier: MIT
--
-- As proxy.lua, with five plugins of three hooks each that do nothing: the price of a plugin.

local rp = require("rproxy")

return rp.site {
    workers = 1,
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
                    access = function(req) end,
                    header_filter = function(req, res) end,
                    log = function(req, res) end,
                },
                {
                    access = function(req) end,
                    header_filter = function(req, res) end,
                    log = function(req, res) end,
                },
                {
                    access = function(req) end,
                    header_filter = function(req, res) end,
                    log = function(req, res) end,
                },
                {
                    access = function(req) end,
                    header_filter = function(req, res) end,
                    log = function(req, res) end,
                },
                {
                    access = function(req) end,
                    header_filter = function(req, res) end,
                    log = function(req, res) end,
                },
            } },
        } },
    },
}
