-- SPDX-License-Identifier: MIT
--
-- scenarios: what is measured, with whom, and what is asked of rproxy.
--
-- A scenario has a load (loads.lua) and either `servers`, one entry each; or `entries` of its own; or
-- `points`, at each of which each of the servers is measured. `goals` are comparisons: of one entry
-- to another (`to`; PEERS: to the best of them), by "ratio" or "difference" of `field` (cpu_us), at most
-- so much.

local M = {}

local PEERS = { nginx = true, haproxy = true, caddy = true, varnish = true }
local OTHERS = { "floor", "nginx", "haproxy", "caddy", "varnish" }
local ALL = { "floor", "nginx", "haproxy", "caddy", "varnish", "rproxy" }
local BODIES = { "floor", "nginx", "haproxy", "caddy", "rproxy" }
local NO_FLOOR = { "nginx", "haproxy", "caddy", "varnish", "rproxy" }
local OVER_TLS = { "nginx", "haproxy", "caddy", "rproxy" }
local CURVE = { "nginx", "haproxy", "rproxy" }

local function below_best(at_most, field)
    return { of = "rproxy", to = PEERS, at_most = at_most, field = field }
end

local MANY = { path = "/plain", bytes = 64, conns = 64, closed = true, hold = true, turns = true }

-- Requests a second of the open loops, and by server where one can do less; run.lua finds them out.
M.rate, M.rates = nil, {}

local LIST = {
    plain = { about = "GET 64 bytes, kept connections", servers = ALL,
        load = { path = "/plain", bytes = 64, conns = 64 },
        goals = { { of = "rproxy", to = "floor", at_most = 1.08 }, below_best(1),
            { of = "rproxy", by = "value", field = "idle_mb", at_most = 12 } } },
    ["1k"] = { about = "GET 1 KB", servers = ALL,
        load = { path = "/1k", bytes = 1024, conns = 64 }, goals = { below_best(0.95) } },
    -- The floor opens an upstream connection per client, which the others need not.
    conn = { about = "a new client connection per request", servers = NO_FLOOR,
        load = { path = "/plain", bytes = 64, conns = 64, close = true },
        goals = { below_best(0.9) } },
    ["100k"] = { about = "GET 100 KB", servers = BODIES,
        load = { path = "/100k", bytes = 102400, conns = 64 }, goals = { below_best(0.9) } },
    -- Long rounds: what is under way at the end of one is not counted.
    big = { about = "GET 10 MB, 8 connections", servers = BODIES, seconds = 2,
        load = { path = "/10m", bytes = 10 * 2 ^ 20, conns = 8 }, goals = { below_best(0.8) } },
    tls = { about = "TLS 1.3, kept connections", servers = OVER_TLS,
        load = { path = "/plain", bytes = 64, conns = 64, tls = true }, goals = { below_best(0.95) } },
    -- Nothing is resumed: each request pays for a whole handshake (TLS 1.3, P-256).
    tlsnew = { about = "a full TLS 1.3 handshake per request", servers = OVER_TLS,
        load = { path = "/plain", bytes = 64, conns = 64, tls = true, close = true },
        goals = { below_best(0.95) } },
    h2 = { about = "HTTP/2 over TLS, 16 connections of 32 streams", servers = OVER_TLS,
        load = { path = "/plain", bytes = 64, conns = 16, streams = 32, tls = true },
        goals = { below_best(0.95) } },
    -- Requests come at times of their own, at half of what the slowest of the fast ones can do.
    latency = { about = "open loop at half load, 256 connections", servers = NO_FLOOR, seconds = 2,
        load = { path = "/plain", bytes = 64, conns = 256, open = true, hold = true },
        goals = { below_best(nil, "p99_us"), below_best(nil, "p50_us") } },
    -- Some percent, or a tenth of a microsecond: many short rounds, with connections made before.
    floor = { about = "kept connections, in many short rounds", servers = { "floor", "nginx", "rproxy" },
        rounds = 31, seconds = 0.3, load = MANY, goals = {
            { of = "rproxy", to = "floor", at_most = 1.08 },
            { of = "rproxy", to = "nginx", at_most = 1 } } },
    luacost = { about = "the same server with four sites", rounds = 51, seconds = 0.3, warm = 2,
        load = MANY, entries = {
            { name = "plain", server = "rproxy" },
            { name = "luanoop", server = "rproxy", site = "luanoop" },
            { name = "luanoop5", server = "rproxy", site = "luanoop5" },
            { name = "lua", server = "rproxy", site = "lua" },
        }, goals = {
            { of = "luanoop", to = "plain", by = "difference", at_most = 0.15 },
            { of = "luanoop5", to = "plain", by = "difference", at_most = 0.3 },
            { of = "lua", to = "plain", by = "difference", at_most = 1 } } },
    openresty = { about = "a policy in Lua, beside nginx's Lua module", rounds = 12, seconds = 0.5,
        warm = 2, load = MANY, entries = {
            { name = "rproxy lua", server = "rproxy", site = "lua" },
            { name = "openresty plain", server = "openresty" },
            { name = "openresty noop", server = "openresty", site = "luanoop" },
            { name = "openresty lua", server = "openresty", site = "lua" },
        }, goals = {
            { of = "rproxy lua", to = "openresty lua", at_most = 0.8 },
            { of = "openresty noop", to = "openresty plain", by = "difference" },
            { of = "openresty lua", to = "openresty plain", by = "difference" } } },

    -- Curves: what a request costs as something grows.
    routes = { about = "routes of a site", curve = "routes", servers = { "nginx", "rproxy" }, rounds = 3,
        load = { path = "/plain", bytes = 64, conns = 64 },
        points = {
            { name = "1", site = "routes", routes = 1, replace = { ["ROUTES = 100"] = "ROUTES = 1" },
                load = { paths = 1 } },
            { name = "100", site = "routes", routes = 100, load = { paths = 100 } },
            { name = "10k", site = "routes", routes = 10000,
                replace = { ["ROUTES = 100"] = "ROUTES = 10000" }, load = { paths = 10000 } },
        } },
    connections = { about = "connections that ask in turn, 64 at a time",
        curve = "connections", servers = CURVE, rounds = 2, seconds = 1, warm = 0,
        load = { path = "/plain", bytes = 64, closed = true, hold = true, turns = true, flight = 64 },
        points = { { name = "64", conns = 64 }, { name = "1k", conns = 1000 },
            { name = "10k", conns = 10000 }, { name = "50k", conns = 50000 } } },
    idle = { about = "idle connections beside 64 that ask", curve = "connections",
        servers = CURVE, rounds = 2, seconds = 1, warm = 0,
        load = { path = "/plain", bytes = 64, closed = true, hold = true, flight = 64 },
        points = { { name = "64", conns = 64 }, { name = "50k", conns = 50000 } } },
    workers = { about = "workers", curve = "workers", servers = CURVE, rounds = 3,
        load = { path = "/plain", bytes = 64, conns = 64 },
        points = { { name = "1", workers = 1 }, { name = "2", workers = 2 } } },
    bodies = { about = "bytes of the body", curve = "body", rounds = 2, seconds = 1, warm = 0,
        servers = { "floor", "nginx", "haproxy", "rproxy" },
        load = { conns = 64 },
        points = {
            { name = "1k", load = { path = "/1k", bytes = 1024 } },
            { name = "100k", load = { path = "/100k", bytes = 102400 } },
            { name = "1m", load = { path = "/1m", bytes = 2 ^ 20, conns = 16 } },
            { name = "10m", load = { path = "/10m", bytes = 10 * 2 ^ 20, conns = 8 }, seconds = 2 },
            -- So few that each must be counted.
            { name = "100m", load = { path = "/100m", bytes = 100 * 2 ^ 20, conns = 4, open = true,
                rate = 6 }, seconds = 2 },
        } },
    uploads = { about = "bytes of the request's body", curve = "body", rounds = 2, seconds = 1, warm = 0,
        servers = CURVE, vary = { upload = true },
        load = { path = "/up", conns = 64 },
        points = {
            { name = "1k", load = { upload = "1k", bytes = 4 } },
            { name = "100k", load = { upload = "100k", bytes = 6 } },
            { name = "10m", load = { upload = "10m", bytes = 8, conns = 8, count = 100 } },
            { name = "100m", load = { upload = "100m", bytes = 9, conns = 4, count = 12 } },
        } },
    headers = { about = "headers of each request and of each answer", curve = "headers",
        servers = CURVE, rounds = 3, warm = 0, load = { bytes = 64, conns = 64 },
        points = {
            { name = "1", load = { path = "/h1", headers = 1 } },
            { name = "10", load = { path = "/h10", headers = 10 } },
            { name = "100", load = { path = "/h100", headers = 100 } },
        } },
    -- A request costs more than plain ones, from which the rate follows: a share of that is half load.
    heap = { about = "p99 beside a Lua heap of 100 MB, open loop", curve = "heap",
        servers = { "openresty", "rproxy" }, rounds = 5, seconds = 2, warm = 3,
        load = { path = "/plain", bytes = 64, conns = 256, open = true, hold = true, share = 0.75 },
        points = {
            { name = "0 MB", site = "heap", live_mb = 0,
                replace = { ["LIVE_MB = 100"] = "LIVE_MB = 0" } },
            { name = "100 MB", site = "heap", live_mb = 100 },
        },
        goals = { { of = "rproxy 100 MB", to = "rproxy 0 MB", field = "p99_us", at_most = 1.3 },
            { of = "openresty 100 MB", to = "openresty 0 MB", field = "p99_us" } } },
}

-- Single ones: what luacost measures, with more of the servers' own figures.
for _, site in ipairs { "luanoop", "luanoop5", "lua" } do
    LIST[site] = { about = "plain, with sites/" .. site .. ".lua", vary = { site = site },
        servers = { "openresty", "rproxy" }, load = { path = "/plain", bytes = 64, conns = 64 },
        goals = { { of = "rproxy", to = "openresty", at_most = site == "lua" and 0.8 or nil } } }
end

M.GROUPS = {
    main = { "plain", "floor", "1k", "conn", "luacost", "openresty", "100k", "big", "tls", "tlsnew",
        "h2", "latency" },
    scale = { "routes", "connections", "idle", "workers", "bodies", "uploads", "headers", "heap" },
    single = { "luanoop", "luanoop5", "lua" },
}
M.GROUPS.all = {}
for _, group in ipairs { "main", "scale" } do
    for _, name in ipairs(M.GROUPS[group]) do table.insert(M.GROUPS.all, name) end
end

--- Is there a scenario or group of that name?
function M.knows(name)
    return LIST[name] ~= nil or M.GROUPS[name] ~= nil
end

--- Do requests of a scenario come at a fixed rate?
function M.is_open(name)
    return LIST[name].load.open == true
end

--- Names of scenarios, groups replaced by what is in them.
function M.names(words)
    local out, seen = {}, {}
    for _, word in ipairs(words) do
        for _, name in ipairs(M.GROUPS[word] or { word }) do
            if not seen[name] then out[#out + 1] = name end
            seen[name] = true
        end
    end
    return out
end

local function merged(...)
    local out = {}
    for i = 1, select("#", ...) do
        for k, v in pairs(select(i, ...) or {}) do out[k] = v end
    end
    return out
end

-- What an entry inherits: from the scenario its load, from its point the rest.
local function entry_of(scenario, own, point)
    local entry = merged(scenario.vary, point, own)
    entry.load = merged({ rate = M.rates[own.server] or M.rate }, scenario.load, point and point.load)
    entry.load.conns = entry.load.conns or entry.conns
    entry.load.rate = (entry.load.rate or 0) * (entry.load.share or 1)
    entry.tls = scenario.load.tls
    return entry
end

local function entries_of(scenario)
    local out = {}
    for _, own in ipairs(scenario.entries or {}) do out[#out + 1] = entry_of(scenario, own) end
    for _, server in ipairs(scenario.servers or {}) do
        for _, point in ipairs(scenario.points or { false }) do
            local name = point and server .. " " .. point.name or server
            out[#out + 1] = entry_of(scenario, { name = name, server = server,
                point = point and point.name or nil }, point or nil)
        end
    end
    return out
end

-- Whatever is not asked for but worth knowing: rproxy to each other server; points to the first one.
local function comparisons(scenario)
    local out = { unpack(scenario.goals or {}) }
    local asked = {}
    for _, goal in ipairs(out) do
        if type(goal.to) == "string" and not goal.field then asked[goal.of .. goal.to] = true end
    end
    local function also(of, to)
        if not asked[of .. to] then out[#out + 1] = { of = of, to = to } end
    end
    for _, server in ipairs(scenario.servers or {}) do
        local points = scenario.points or {}
        for i = 2, #points do
            also(server .. " " .. points[i].name, server .. " " .. points[1].name)
        end
    end
    if not scenario.points and scenario.servers then
        for _, other in ipairs(OTHERS) do also("rproxy", other) end
    end
    return out
end

--- A scenario by name, ready for contest.run. opt: rounds, seconds, servers (a set).
function M.expand(name, opt)
    local scenario = LIST[name]
    local entries = {}
    for _, entry in ipairs(entries_of(scenario)) do
        if not opt.servers or opt.servers[entry.server] then entries[#entries + 1] = entry end
    end
    for _, entry in ipairs(entries) do entry.seconds = opt.seconds or entry.seconds end
    return { name = name, about = scenario.about, curve = scenario.curve, entries = entries,
        warm = scenario.warm, rounds = opt.rounds or scenario.rounds or 5,
        seconds = opt.seconds or scenario.seconds or 1, compare = comparisons(scenario) }
end

return M
