-- SPDX-License-Identifier: MIT
--
-- fault: makes a share of the requests slow, refused, broken off or throttled, to see what clients
-- and the services around do then. Dice fall once for each kind of fault; the token keeps it to
-- those who ask for it.

local rp = require("rproxy")

local SHARE = { min = 0, max = 100 }

local function percent(doc)
    return { "number", min = SHARE.min, max = SHARE.max, default = 100, doc = doc }
end

local M = rp.plugin {
    name = "fault",
    version = "0.1.0",
    stage = "limit",
    on_error = "open",
    doc = "Slow down, refuse, break off or throttle a share of the requests.",
    schema = {
        delay = { "object", optional = true, fields = {
            percent = percent("How many of a hundred matching requests wait."),
            min = { "duration", required = true, min = 0, max = 3600, doc = "How long, at least." },
            max = { "duration", min = 0, max = 3600, doc = "At most; unsaid, as min." },
        }, doc = "Wait before the request goes on." },
        abort = { "object", optional = true, fields = {
            percent = percent("How many of a hundred are answered."),
            status = { "integer", min = 200, max = 599, default = 503, doc = "With this status." },
            body = { "string", default = "fault injected\n", doc = "And this body." },
        }, doc = "Answer instead of the upstream." },
        reset = { "object", optional = true, fields = {
            percent = percent("How many of a hundred are broken off."),
        }, doc = "End the connection (in HTTP/2 the stream) without an answer." },
        throttle = { "object", optional = true, fields = {
            percent = percent("How many of a hundred responses are slow."),
            rate = { "size", required = true, min = 4096, doc = "Bytes a second." },
        }, doc = "Send response bodies slowly. They go without a Content-Length." },
        when = { "object", default = {}, fields = {
            methods = { "list", of = "string", default = {}, doc = "One of these methods." },
            path = { "regex", doc = "The path matches." },
            header = { "header", doc = "This header is there," },
            equals = { "string", doc = "and is this." },
            clients = { "list", of = "string", default = {},
                doc = "The client is in one of these networks." },
        }, doc = "Which requests; all of it must hold. Nothing: all." },
        token = { "object", optional = true, fields = {
            header = { "header", default = "x-fault", doc = "A header with" },
            value = { "string", required = true, min = 16, doc = "this value." },
        }, doc = "Only for requests that bring a secret. It does not go upstream." },
    },
}

local function networks_of(list)
    if #list == 0 then return nil end
    local set, err = rp.cidr(list)
    if not set then error("fault: when.clients: " .. err, 0) end
    return set
end

local function set_of(list)
    if #list == 0 then return nil end
    local set = {}
    for _, name in ipairs(list) do set[name:upper()] = true end
    return set
end

local function matcher(conf)
    local when, token = conf.when, conf.token
    local methods, networks = set_of(when.methods), networks_of(when.clients)
    if when.equals and not when.header then
        error("fault: when.equals says what when.header is to be; name one", 0)
    end
    return function(req)
        if token then
            local given = req:get(token.header)
            if given then req.up:del(token.header) end -- whatever else holds
            if not given or not rp.crypto.equal(given, token.value) then return false end
        end
        if methods and not methods[req.method] then return false end
        if when.path and not when.path:test(req.path) then return false end
        if when.equals and not req:is(when.header, when.equals) then return false end
        if when.header and not req:get(when.header) then return false end
        return not networks or networks:has(req.remote_ip) == true
    end
end

-- A hundred is always, nothing is never: no dice are spent on them.
local function falls(fault)
    if not fault or fault.percent == 0 then return false end
    return fault.percent >= 100 or math.random() * 100 < fault.percent
end

function M.setup(conf)
    if not (conf.delay or conf.abort or conf.reset or conf.throttle) then
        error("fault: nothing to do; give it delay, abort, reset or throttle", 0)
    end
    local delay = conf.delay
    if delay and (delay.max or delay.min) < delay.min then
        error("fault: delay.max is less than delay.min", 0)
    end
    local matches = matcher(conf)
    local injected = rp.metric.counter { "faults_total", labels = { "kind" },
        help = "Faults that were injected on purpose." }
    local abort, throttle = conf.abort, conf.throttle
    local spread = delay and (delay.max or delay.min) - delay.min

    local function note(req, kind)
        injected:inc(kind)
        req.ctx.fault = req.ctx.fault and req.ctx.fault .. "," .. kind or kind
    end

    local hooks = {}

    function hooks.access(req)
        if not matches(req) then return end
        if falls(delay) then
            note(req, "delay")
            rp.sleep(delay.min + spread * math.random())
        end
        if falls(conf.reset) then
            note(req, "reset")
            return req:drop()
        end
        if falls(abort) then
            note(req, "abort")
            return req:exit(abort.status, abort.body, { ["x-fault-injected"] = "abort" })
        end
        if falls(throttle) then
            note(req, "throttle")
            req.ctx.throttled = true
        end
    end

    if throttle then
        function hooks.body_filter(req, _, piece)
            if req.ctx.throttled and #piece > 0 then rp.sleep(#piece / throttle.rate) end
        end
    end
    return hooks
end

return M
