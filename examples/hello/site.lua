-- SPDX-License-Identifier: MIT
--
-- hello: a proxy in front of an origin; both are in this file, so nothing else has to run.
--
-- try: curl -i http://127.0.0.1:8080/
-- try: curl -i http://127.0.0.1:8080/hello/world
-- try: curl -i -X DELETE http://127.0.0.1:8080/hello/world
-- try: curl -i http://127.0.0.1:8080/old/page

local rp = require("rproxy")

return rp.site {
    workers = 1,
    log = { access = { to = "stdout" } },

    listeners = {
        rp.listen { "127.0.0.1:8080" }, -- the proxy: what clients use
        rp.listen { "127.0.0.1:8081" }, -- the origin: what the proxy uses
    },

    upstreams = {
        -- `host` is the Host header that the origin sees: it finds the origin's own host below.
        origin = rp.upstream { peers = { "127.0.0.1:8081" }, host = "origin.local" },
    },

    use = { "request-id" }, -- every request gets an id; see it in the response

    hosts = {
        rp.host {
            default = true,
            routes = {
                rp.route { "GET /", upstream = "origin" },
                rp.route {
                    "GET /hello/{name}",
                    upstream = "origin",
                    headers = { response = { set = { ["x-served-by"] = "rproxy" } } },
                },
                rp.route { "/old/*", redirect = { 301, "/" } },
            },
        },

        rp.host {
            "origin.local",
            routes = {
                rp.route { "/", respond = { 200, "hello from the origin\n" } },
                rp.route {
                    "/hello/{name}",
                    content = function(req)
                        return req:exit(200, ("hello %s\n"):format(req.params.name))
                    end,
                },
            },
        },
    },
}
