-- SPDX-License-Identifier: MIT
--
-- mirror: sends a copy of some requests to another server, after the client was answered, and
-- throws its answers away, or compares them with those that clients got. Clients notice nothing: no
-- byte waits for the mirror, and bodies are copied on their way (req:tap).

local compare = require("plugins.mirror.compare")
local rp = require("rproxy")

local M = rp.plugin {
    name = "mirror",
    version = "0.1.0",
    stage = "observe",
    on_error = "open",
    doc = "Send copies of requests to another server, and compare its answers.",
    schema = {
        to = { "list", of = "url", default = {},
            doc = "Where copies go, in turn: http or https URLs; path and query are those of the "
                .. "request." },
        upstream = { "upstream",
            doc = "... or the upstream of the site that they go to, by its balancing, health and "
                .. "TLS." },
        sample = { "number", min = 0, max = 1, default = 1, doc = "Share of the requests." },
        methods = { "list", of = "string", default = { "GET", "HEAD" },
            doc = "Methods that are mirrored. Others may do twice what they do." },
        body_max = { "size", default = "64k", max = 2 ^ 20,
            doc = "Requests with a larger body are not mirrored. 0: none with a body." },
        timeout = { "duration", default = "5s", min = 0.01, max = 60,
            doc = "For the whole answer of the mirror." },
        most = { "integer", default = 32, min = 1, max = 10000,
            doc = "Copies under way at once in a worker; what comes meanwhile is dropped." },
        marker = { "header", default = "x-mirrored",
            doc = "Every copy has it; a request that has it already is not mirrored." },
        host = { "string", doc = "Host of the copies; unsaid, the request's." },
        remove = { "list", of = "string", default = {},
            doc = 'Headers that copies do not have, such as "authorization" and "cookie".' },
        tls = { "any", doc = "`rp.tls { .. }` for https; unsaid, the system's authorities." },
        diff = { "object", optional = true, fields = {
            headers = { "list", of = "string", default = { "content-type" },
                doc = "Response headers that are compared." },
            body = { "boolean", default = true, doc = "Compare bodies; JSON by its values." },
            body_max = { "size", default = "64k", max = 2 ^ 20,
                doc = "Larger bodies are not compared; compressed ones: as they are unpacked." },
            ignore = { "list", of = "string", default = {},
                doc = 'Places in JSON that may differ: "meta.time", "items.*.id", "**.etag".' },
            log = { "number", min = 0, max = 1, default = 1,
                doc = "Share of the differences that are written to the error log." },
            log_rate = { "number", min = 0.01, max = 1000, default = 1,
                doc = "At most so many lines a second and worker." },
        }, doc = "Compare the mirror's answers with those of clients." },
    },
}

local HOP = { connection = true, ["keep-alive"] = true, ["proxy-connection"] = true, te = true,
    trailer = true, ["transfer-encoding"] = true, upgrade = true, expect = true, host = true,
    ["content-length"] = true }

local function set_of(list, change)
    local set = {}
    for _, name in ipairs(list) do set[change(name)] = true end
    return set
end

-- ---------------------------------------------------------------- copies

-- The head that the upstream got: what clients sent, with the site's edits.
local function head_of(req, conf, removed)
    local headers = {}
    for name, value in req.up:headers() do
        if not HOP[name] and not removed[name] then
            local had = headers[name]
            if type(had) == "table" then had[#had + 1] = value
            elseif had then headers[name] = { had, value }
            else headers[name] = value end
        end
    end
    headers.host = conf.host or req:get("host")
    headers[tostring(conf.marker)] = "1"
    return headers
end

local function target_of(req)
    local path = req.up.path
    return req.query and path .. "?" .. req.query or path
end

-- ---------------------------------------------------------------- differences

-- Not more than `rate` lines a second, of those that the dice let through.
local function log_gate(diff)
    local next_at = 0
    return function()
        local now = rp.now()
        if now < next_at or math.random() >= diff.log then return false end
        next_at = now + 1 / diff.log_rate
        return true
    end
end

-- What was packed: nil when it cannot be unpacked, or is too large then.
local function unpacked(body, encoding, max)
    if not body or not encoding or encoding == "identity" then return body end
    if encoding ~= "gzip" and encoding ~= "deflate" then return nil end
    return (rp.gunzip(body, { format = encoding, max = max }))
end

local function differences(diff, ignored, mine, theirs)
    local found = {}
    if mine.status ~= theirs.status then
        found.status = ("%d, mirror %d"):format(mine.status, theirs.status)
    end
    local names = compare.headers(diff.headers, function(name) return mine.headers[name] end,
        function(name) return theirs.headers:get(name) end)
    if names then found.headers = table.concat(names, " ") end
    if diff.body and mine.body and mine.status == theirs.status then
        local body = unpacked(theirs.body, theirs.headers:get("content-encoding"), diff.body_max)
        if not body then mine.body = nil end -- skipped
        local places = body and compare.bodies(mine.body, body, ignored)
        if places then
            found.body = table.concat(places, " ")
                .. (places.n > #places and (" and %d more"):format(places.n - #places) or "")
        end
    end
    return next(found) and found
end

-- ---------------------------------------------------------------- whole

local function clients_of(conf)
    local list = {}
    local max_body = conf.diff and conf.diff.body_max or 2 ^ 20
    if conf.upstream then
        return { rp.http.client { upstream = conf.upstream, timeout = conf.timeout,
            max_body = max_body } }
    end
    for i, url in ipairs(conf.to) do
        list[i] = rp.http.client { base = url, timeout = conf.timeout, tls = conf.tls,
            max_body = max_body }
    end
    return list
end

function M.setup(conf)
    if (#conf.to == 0) == (conf.upstream == nil) then
        error("mirror: copies go to the URLs of `to`, or to `upstream`; write one of them", 0)
    end
    if conf.upstream and conf.tls ~= nil then
        error("mirror: tls: the upstream has its own; leave it out", 0)
    end
    local diff = conf.diff
    local clients, turn, under_way = clients_of(conf), 0, 0
    local methods = set_of(conf.methods, string.upper)
    local removed = set_of(conf.remove, string.lower)
    local ignored = diff and compare.ignore(diff.ignore)
    local may_log = diff and log_gate(diff)
    local requests = rp.metric.counter { "mirror_requests_total", labels = { "result" },
        help = "Copies: sent, failed, dropped (too many under way), too_large." }
    local compared = rp.metric.counter { "mirror_compared_total", labels = { "result" },
        help = "Answers compared: same, status, headers, body, skipped (too large)." }

    local function tell(copy, found)
        for _, what in ipairs { "status", "headers", "body" } do
            if found[what] then compared:inc(what) end
        end
        if not may_log() then return end
        rp.log.warn("the mirror answers differently", { method = copy.method, path = copy.path,
            request = copy.id, status = found.status, headers = found.headers, body = found.body })
    end

    local function judge(copy, theirs)
        local found = differences(diff, ignored, copy.answer, theirs)
        if found then tell(copy, found)
        elseif diff.body and not copy.answer.body then compared:inc("skipped")
        else compared:inc("same") end
    end

    local function send(copy)
        turn = turn % #clients + 1
        local res, err = clients[turn]:request { method = copy.method, url = copy.target,
            headers = copy.headers, body = copy.body }
        if res then
            requests:inc("sent")
            if diff then judge(copy, res) end
        elseif err == "body_too_big" then
            requests:inc("sent")
            if diff then compared:inc("skipped") end
        else
            requests:inc("failed")
        end
    end

    local function run(copy)
        local ran, err = pcall(send, copy)
        under_way = under_way - 1
        if not ran then
            requests:inc("failed")
            rp.log.warn("a copy could not be sent", { error = tostring(err) })
        end
    end

    local function answer_of(res)
        local headers = {}
        for _, name in ipairs(diff.headers) do headers[name] = res:get(name) end
        return { status = res.status, headers = headers }
    end

    local function wanted(req)
        return methods[req.method] and not req:get(conf.marker)
            and (conf.sample >= 1 or math.random() < conf.sample)
    end

    return {
        rewrite = function(req)
            if not wanted(req) then return end
            req:tap { request = conf.body_max,
                response = diff and diff.body and diff.body_max or 0 }
            req.ctx.mirror = true
        end,

        log = function(req, res)
            if not req.ctx.mirror or res.from ~= "upstream" then return end
            local body, err = req:tapped("request")
            if err == "too large" then return requests:inc("too_large") end
            if under_way >= conf.most then return requests:inc("dropped") end
            local copy = { method = req.method, target = target_of(req), path = req.path,
                id = req.id, headers = head_of(req, conf, removed),
                body = body and #body > 0 and body or nil }
            if diff then
                copy.answer = answer_of(res)
                copy.answer.body = diff.body and unpacked(req:tapped("response"),
                    res:get("content-encoding"), diff.body_max) or nil
            end
            under_way = under_way + 1
            if not rp.detach(run, copy) then
                under_way = under_way - 1
                requests:inc("dropped")
            end
        end,
    }
end

return M
