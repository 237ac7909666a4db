-- SPDX-License-Identifier: MIT
--
-- gateway: one address for two services, keys for clients, a public status page. The two services
-- are in this file, too.
--
-- try: curl -i http://127.0.0.1:8080/status
-- try: curl -i http://127.0.0.1:8080/users/7
-- try: curl -i -H 'x-api-key: key-of-alice' http://127.0.0.1:8080/users/7
-- try: curl -i -H 'x-api-key: key-of-alice' -d '{"item":3}' http://127.0.0.1:8080/orders

local rp = require("rproxy")
local api_key = require("plugins.api_key")
local headers = require("plugins.headers")
local ratelimit = require("plugins.ratelimit")

-- What the services answer: who they are and what they were asked.
local function answer(service)
    return function(req)
        return req:exit(200, ("%s: %s %s for %s\n"):format(service, req.method, req.path,
            req:get("x-consumer") or "nobody"))
    end
end

return rp.site {
    workers = 1,
    limits = { body = "1m" },
    log = {
        access = {
            to = "stdout",
            format = "json",
            fields = { "time", "id", "remote_ip", "method", "path", "status", "duration",
                "upstream", "consumer" },
        },
    },

    listeners = {
        rp.listen { "127.0.0.1:8080" }, -- the gateway
        rp.listen { "127.0.0.1:8081" }, -- both services
    },

    shared = { limits = rp.shm.buckets { size = "1m" } }, -- what ratelimit counts in

    upstreams = {
        users = rp.upstream { peers = { "127.0.0.1:8081" }, host = "users.local" },
        orders = rp.upstream {
            peers = { "127.0.0.1:8081" },
            host = "orders.local",
            timeouts = { connect = "1s", first_byte = "5s" },
            tries = 2,
        },
    },

    hosts = {
        rp.host {
            default = true,
            -- List order is the order in which requests pass; responses pass in reverse.
            use = {
                "request-id",
                headers { response = { set = { ["x-content-type-options"] = "nosniff" },
                    remove = { "server" } } },
                api_key { keys = { ["key-of-alice"] = "alice", ["key-of-bob"] = "bob" } },
                ratelimit { zone = "limits", rate = 50, burst = 100, key = "consumer" },
            },
            routes = {
                rp.route {
                    "GET /status",
                    respond = { 200, "ok\n" },
                    skip = { "api-key" },
                    meta = { public = true }, -- meant so: `rproxy lint` asks
                },
                rp.route { "GET /users/{id}", upstream = "users" },
                rp.route {
                    "GET,POST /orders",
                    upstream = "orders",
                    limits = { body = "64k" },
                    strip_prefix = "/orders",
                },
            },
        },

        rp.host { "users.local", routes = { rp.route { "/*", content = answer("users") } } },
        rp.host { "orders.local", routes = { rp.route { "/*", content = answer("orders") } } },
    },
}
