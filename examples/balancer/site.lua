-- SPDX-License-Identifier: MIT
--
-- balancer: a balance hook that keeps each user on one backend. The backends are in this file, too.
--
-- try: curl -i -H 'x-user: alice' http://127.0.0.1:8080/
-- try: curl -i -H 'x-user: bob' http://127.0.0.1:8080/
-- try: curl -i -b backend=2 http://127.0.0.1:8080/

local rp = require("rproxy")

local USER = rp.header("x-user")
local BACKENDS = { "127.0.0.1:8081", "127.0.0.1:8082", "127.0.0.1:8083" }

-- Called once per attempt: the second attempt of a request goes to the next backend.
local function pick(req, up)
    local wanted = tonumber(req:cookie("backend"))
    if not BACKENDS[wanted] then
        wanted = rp.hash(req:get(USER) or req.remote_ip) % #BACKENDS + 1
    end
    local index = (wanted + up.attempt - 2) % #BACKENDS + 1
    up.host = ("backend%d.local"):format(index)
    up:peer(BACKENDS[index])
end

local function backend(n)
    return rp.host {
        ("backend%d.local"):format(n),
        routes = { rp.route { "/*", respond = { 200, ("backend %d\n"):format(n) } } },
    }
end

return rp.site {
    workers = 1,

    listeners = {
        rp.listen { "127.0.0.1:8080" },
        rp.listen { "127.0.0.1:8081", "127.0.0.1:8082", "127.0.0.1:8083" },
    },

    upstreams = {
        backends = rp.upstream { peers = BACKENDS, balance = pick, tries = 3 },
    },

    hosts = {
        rp.host { default = true, routes = { rp.route { "/*", upstream = "backends" } } },
        backend(1),
        backend(2),
        backend(3),
    },
}
