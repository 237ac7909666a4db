-- SPDX-License-Identifier: MIT
--
-- canary: sends some of the requests to another upstream: by rules, by a cookie that keeps a client
-- on its side, or by a share of the clients, who stay on their side while the share does not
-- change. When too many of them fail, the canary is off for a while, for all workers at once.

local rp = require("rproxy")

local M = rp.plugin {
    name = "canary",
    version = "0.1.0",
    stage = "route",
    doc = "Send a share of the requests to another upstream.",
    schema = {
        upstream = { "upstream", required = true, doc = "Where the chosen requests go." },
        percent = { "number", min = 0, max = 100, default = 0,
            doc = "How many of a hundred clients are chosen. Who is a client: `by`." },
        by = { "enum", { "consumer", "ip" }, default = "consumer",
            doc = "consumer: who the request is from as an authentication plugin says, else the "
                .. "address. ip: the address." },
        sticky = { "string", match = "^cookie:[%w_-]+$",
            doc = "A cookie that keeps a client on its side: `cookie:NAME`. 1 is the canary." },
        sticky_for = { "duration", default = "1d", min = 1, doc = "How long the cookie lives." },
        rules = { "list", default = {}, of = { "object", fields = {
            header = { "header", required = true, doc = "Name of a header field." },
            equals = { "string", doc = "The request is chosen when a value is this," },
            matches = { "regex", doc = "or matches this." },
        } }, doc = "Requests that are chosen whatever cookie and share say." },
        store = { "shared:store", doc = "A zone of `shared` in which a canary that failed is "
            .. "switched off for all workers. Without one each worker judges for itself." },
        abort_at = { "number", default = 0.05, min = 0, max = 1,
            doc = "Share of the chosen requests that may fail (5xx); more, and it is off." },
        abort_min = { "integer", default = 50, min = 1,
            doc = "Requests in a window before that counts." },
        window = { "duration", default = "10s", min = 0.1, doc = "Over which is counted." },
        off_for = { "duration", default = "5m", min = 1, doc = "How long it is off." },
    },
}

-- Off for all workers (store), or for this one. A zone that cannot answer leaves the canary off:
-- the other upstream is the one that is known to work.
local function switch_of(conf)
    local zone, key = conf.store and rp.shared[conf.store], "canary-off:" .. conf.upstream
    local off_until = 0
    if not zone then
        return function() return rp.now() < off_until end,
            function() off_until = rp.now() + conf.off_for end
    end
    return function()
        local value, err = zone:get(key)
        return value ~= nil or err ~= nil
    end, function()
        local ok, err = zone:set(key, "1", conf.off_for)
        if not ok then rp.log.error("the canary cannot be switched off", { error = err }) end
    end
end

local function check_rules(rules)
    for i, rule in ipairs(rules) do
        if (rule.equals == nil) == (rule.matches == nil) then
            error(("canary: rules[%d] takes one of equals and matches"):format(i), 0)
        end
    end
end

function M.setup(conf)
    check_rules(conf.rules)
    local target = rp.upstreams[conf.upstream]
    local cookie = conf.sticky and conf.sticky:match("cookie:(.+)")
    local picked = rp.metric.counter { "canary_requests_total", labels = { "upstream", "class" },
        help = "Requests that went to a canary, by class of status." }
    local is_off, switch_off = switch_of(conf)
    local rules, share = conf.rules, conf.percent * 100
    local ok, bad = 0, 0 -- of this worker, in the window

    local function chosen(req)
        for i = 1, #rules do
            local rule = rules[i]
            if rule.equals and req:is(rule.header, rule.equals) then return "rule" end
            if rule.matches and req:test(rule.header, rule.matches) then return "rule" end
        end
        local side = cookie and req:cookie(cookie)
        if side == "1" then return "sticky" elseif side == "0" then return nil end
        local who = conf.by == "consumer" and req.consumer or req.remote_ip
        if rp.hash(who, "canary") % 10000 < share then return "percent" end
    end

    local function judge()
        if ok + bad >= conf.abort_min and bad / (ok + bad) > conf.abort_at then
            rp.log.error("canary switched off", { upstream = conf.upstream, errors = bad,
                of = ok + bad })
            switch_off()
        end
        ok, bad = 0, 0
    end

    return {
        start = function() rp.every(conf.window, judge) end,
        access = function(req)
            local why = chosen(req)
            if why and not is_off() then
                req.upstream = target
                req.ctx.canary = why
            end
        end,
        header_filter = function(req, res)
            if cookie and req.ctx.canary ~= "rule" and not req:cookie(cookie) then
                res:set_cookie { cookie, req.ctx.canary and "1" or "0", max_age = conf.sticky_for,
                    path = "/", secure = req.scheme == "https", http_only = true }
            end
        end,
        log = function(req, res)
            if not req.ctx.canary then return end
            if res.status >= 500 then bad = bad + 1 else ok = ok + 1 end
            picked:inc(conf.upstream, rp.status_class(res.status))
        end,
    }
end

return M
