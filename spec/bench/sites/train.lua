-- SPDX-License-Identifier: MIT
--
-- What spec/bench/train.sh asks for while `make pgo` is being trained: with and without TLS, hooks,
-- logs, edits and errors, each about as often as sites have them. train.sh puts in its ports and folder.

local rp = require("rproxy")

local KEY, CONSUMER, POLICY = rp.header("x-api-key"), rp.header("x-consumer"), rp.header("x-policy")
local BAD = rp.regex([[\.\./|<script|/\.git|union\s+select]], "i")
local answers = rp.metric.counter { "answers_total", labels = { "status" } }

local policy = {
    name = "policy",
    access = function(req)
        rp.shared.counts:incr("requests", 1, 0)
        if BAD:test(req.path) or req:get(KEY) == "wrong" then return req:exit(403) end
        req.up:set(CONSUMER, "ann")
    end,
    header_filter = function(_, res) res:set(POLICY, "ok") end,
    log = function(_, res) answers:inc(res.status) end,
}

local nothing = {
    name = "nothing",
    access = function() end,
    header_filter = function() end,
    log = function() end,
}

local bodies = {
    name = "bodies",
    body_filter = function(_, _, chunk) return chunk end,
}

local function answer(req) return req:exit(200, "hello\n") end

return rp.site {
    workers = 1,
    user = "root", -- the profile is written beside the objects; others than root stay who they are
    listeners = { rp.listen { "127.0.0.1:21184" }, rp.listen { "127.0.0.1:21194", tls = true } },
    tls = { certs = { "train.pem" } },
    log = { access = { to = "FOLDER/access.log" } },
    shared = { counts = rp.shm.store { size = "1m" } },
    upstreams = {
        origin = rp.upstream { peers = { "127.0.0.1:21180" }, keepalive = { idle = 60, max = 256 } },
        down = rp.upstream { peers = { "127.0.0.1:1" } },
    },
    hosts = {
        rp.host { default = true, routes = {
            rp.route { "/lua/*", upstream = "origin", use = { policy } },
            rp.route { "/noop/*", upstream = "origin", use = { nothing }, access_log = false },
            rp.route { "/edit/*", upstream = "origin",
                headers = { request = { set = { ["x-from"] = "train" } },
                    response = { set = { ["x-by"] = "train" }, remove = { "server" } } } },
            rp.route { "/filter/*", upstream = "origin", use = { bodies } },
            rp.route { "/content", content = answer },
            rp.route { "/down", upstream = "down" },
            rp.route { "/logged/*", upstream = "origin" },
            rp.route { "/o/*", upstream = "origin", access_log = false },
        } },
    },
}
