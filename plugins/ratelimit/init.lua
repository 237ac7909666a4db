-- SPDX-License-Identifier: MIT
--
-- ratelimit: requests per client, consumer or whatever a key says, over all workers: 429 above.

local rp = require("rproxy")

local POLICY, LIMIT, RETRY = rp.header("ratelimit-policy"), rp.header("ratelimit"),
    rp.header("retry-after")
local X_LIMIT, X_LEFT, X_RESET = rp.header("x-ratelimit-limit"), rp.header("x-ratelimit-remaining"),
    rp.header("x-ratelimit-reset")

local KEYS = {
    ip = function(req) return req.remote_ip end,
    consumer = function(req) return req.consumer or req.remote_ip end,
    route = function(req) return req.route and req.route.id or "" end,
    all = function() return "all" end,
}

local HEADER = "^header:([%w!#$%%&'*+%-.^_`|~]+)$"

local function is_key(value)
    if type(value) == "function" or KEYS[value] then return true end
    if type(value) == "string" and value:find(HEADER) then return true end
    return nil, '"ip", "consumer", "route", "all", "header:NAME" or a function(req)'
end

local M = rp.plugin {
    name = "ratelimit",
    version = "0.1.0",
    stage = "limit",
    doc = "Answer 429 to who asks too often.",
    schema = {
        zone = { "shared:buckets", required = true,
            doc = "Zone of `shared` (rp.shm.buckets) that counts." },
        rate = { "number", required = true, min = 1e-6, max = 1e9,
            doc = "Requests in each time of `per`." },
        per = { "duration", default = 1, min = 0.001, max = 86400 * 366,
            doc = "Time that `rate` is about." },
        burst = { "number", min = 1, max = 1e9, optional = true,
            doc = "Requests that may come at once (bucket). Unsaid: `rate`, at least 1." },
        algorithm = { "enum", { "bucket", "window" }, default = "bucket",
            doc = "bucket: a token bucket of `burst`. window: at most `rate` in any `per`." },
        key = { "any", default = "ip", check = is_key,
            doc = 'Who is counted: "ip", "consumer" (or the ip, without one), "route", "all", '
                .. '"header:NAME" (or the ip, without the header), or a function(req) that returns '
                .. "a string, or nil for no limit." },
        cost = { "number", default = 1, min = 0, max = 1e6, doc = "What one request counts." },
        name = { "string", default = "default", match = "^[%w_.-]+$",
            doc = "Name of the policy. Uses with the same name in one zone count together." },
        fields = { "enum", { "draft", "x", "none" }, default = "draft",
            doc = "Fields that tell the client: RateLimit and RateLimit-Policy, X-RateLimit-*, or "
                .. "none." },
        on_busy = { "enum", { "open", "closed" }, default = "open",
            doc = "What happens when the zone cannot answer: let pass, or 503." },
    },
}

local function key_of(conf)
    if type(conf.key) == "function" then return conf.key end
    local name = conf.key:match(HEADER)
    if not name then return KEYS[conf.key] end
    local header = rp.header(name)
    return function(req) return req:get(header) or req.remote_ip end
end

-- A key that is longer than zones take is counted by its digest: nobody is free of limits for
-- sending a long one.
local LONGEST = 900

local function full_key(prefix, key)
    if #key > LONGEST then key = rp.crypto.sha256(key) end
    return prefix .. key
end

-- draft-ietf-httpapi-ratelimit-headers: q the quota, w its window, r what is left, t until it is
-- whole again.
local WRITERS = {
    draft = function(conf, quota, per)
        local policy = ('"%s";q=%d;w=%d'):format(conf.name, quota, math.max(1, math.ceil(per)))
        local format = '"' .. conf.name .. '";r=%d;t=%d'
        return function(res, left, reset)
            res:set(POLICY, policy)
            res:set(LIMIT, format:format(left, math.ceil(reset)))
        end
    end,
    x = function(_, quota)
        local limit = ("%d"):format(quota)
        return function(res, left, reset)
            res:set(X_LIMIT, limit)
            res:set(X_LEFT, ("%d"):format(left))
            res:set(X_RESET, ("%d"):format(math.ceil(reset)))
        end
    end,
    none = function() end,
}

local function asker(conf, zone)
    local cost = conf.cost
    if conf.algorithm == "window" then
        local limit, per = math.max(conf.rate, 1), conf.per
        return function(key) return zone:window(key, cost, limit, per) end, limit, per
    end
    local rate = conf.rate / conf.per
    local burst = conf.burst or math.max(conf.rate, 1)
    return function(key) return zone:spend(key, cost, rate, burst) end, burst, burst / rate
end

local MOST_SECONDS = 86400 * 366

function M.setup(conf)
    local ask, quota, per = asker(conf, rp.shared[conf.zone])
    local key_from, write = key_of(conf), WRITERS[conf.fields](conf, quota, per)
    local prefix, slot = conf.name .. "\0", "ratelimit:" .. conf.name

    local function refuse(req, wait)
        local seconds = ("%d"):format(math.min(math.max(math.ceil(wait), 1), MOST_SECONDS))
        return req:exit(429, "Too many requests\n", { [RETRY] = seconds })
    end

    local hooks = {}

    function hooks.access(req)
        local key = key_from(req)
        if key == nil then return nil end
        local allowed, left, wait, reset = ask(full_key(prefix, key))
        if allowed == nil then
            rp.log.warn("rate limit cannot be asked", { policy = conf.name, error = left })
            if conf.on_busy == "closed" then return req:exit(503) end
            return nil
        end
        if write then req.ctx[slot] = { left, reset } end
        if not allowed then return refuse(req, wait) end
        return nil
    end

    if write then
        function hooks.header_filter(req, res)
            local said = req.ctx[slot]
            if said then write(res, said[1], said[2]) end
        end
    end
    return hooks
end

return M
