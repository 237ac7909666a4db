-- SPDX-License-Identifier: MIT
--
-- As proxy.lua, with a policy as sites have one: an API key is looked up, a counter that all workers
-- share goes up, a regular expression looks at the path, two headers go upstream and two to the client,
-- and a metric counts what became of it.

local rp = require("rproxy")

local KEY, CONSUMER, TRACE = rp.header("x-api-key"), rp.header("x-consumer"), rp.header("x-trace")
local POLICY, SERVED = rp.header("x-policy"), rp.header("x-served-by")
local KEYS = { ["k-0123456789"] = "ann" }
local BAD = rp.regex([[\.\./|<script|/\.git|union\s+select]], "i")
local answers = rp.metric.counter { "answers_total", labels = { "status" } }

return rp.site {
    workers = 1,
    listeners = { rp.listen { "127.0.0.1:21084" } },
    shared = { counts = rp.shm.store { size = "1m" } },
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
                    name = "policy",
                    access = function(req)
                        -- The load generator sends no key: its requests are the guest's.
                        local who = KEYS[req:get(KEY) or "k-0123456789"]
                        if not who then return req:exit(401) end
                        rp.shared.counts:incr("requests", 1, 0)
                        if BAD:test(req.path) then return req:exit(403) end
                        req.up:set(CONSUMER, who)
                        req.up:set(TRACE, "1")
                    end,
                    header_filter = function(_, res)
                        res:set(POLICY, "ok")
                        res:set(SERVED, "rproxy")
                    end,
                    log = function(_, res) answers:inc(res.status) end,
                },
            } },
        } },
    },
}
