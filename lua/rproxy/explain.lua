-- SPDX-License-Identifier: MIT
--
-- explain: what a site would do with one request, and why: routes, hooks, upstream, answer. The
-- request runs through the real core in a lab; upstreams give a stand-in answer, and every other
-- way out is refused.

local chains = require("rproxy.config.chains")
local explain_route = require("rproxy.explain_route")
local journal = require("rproxy.journal")
local record = require("rproxy.record")

local M = {}

local PLAIN = { scrub = function(s) return s end, header = function(_, _, value) return value end }

local seen -- what the end of the request found out

--- Hooks of the first instance of the site: a request that meets no hook leaves no journal.
M.OUTER = { early = function() end }

journal.on_end(function(req, entries)
    local list = {}
    for i, entry in ipairs(entries) do list[i] = entry end
    local outcome = record.outcome(req, list, PLAIN)
    seen = { outcome = outcome, decisions = list, params = req.params,
        route = explain_route.of(req), path = req.path, host = req.host, method = req.method,
        remote_ip = req.remote_ip }
end)

-- ---------------------------------------------------------------- the chains

local function model_route(model, id)
    for _, host in ipairs(model.hosts) do
        for _, route in ipairs(host.routes) do
            if route.id == id then return host, route end
        end
    end
end

local function model_host(model, name)
    for _, host in ipairs(model.hosts) do
        if (host.names[1] or "default") == name then return host end
    end
end

local PHASES = { { name = "early" }, { name = "access" }, { name = "rewrite" },
    { name = "content" }, { name = "request_body" }, { name = "header_filter", reverse = true },
    { name = "body_filter", reverse = true }, { name = "log", reverse = true } }

-- What the entries of one handler come to.
local function outcome_of(decisions, index, hook)
    local out = { edits = {} }
    for _, entry in ipairs(decisions) do
        if entry.index == index and entry.hook == hook then
            if entry.kind == "verdict" then
                out.verdict, out.status, out.error = entry.verdict, entry.status, entry.value
                out.cpu_ns = (out.cpu_ns or 0) + (entry.cpu_ns or 0)
                out.wait_ns = (out.wait_ns or 0) + (entry.wait_ns or 0)
            else
                out.edits[#out.edits + 1] = entry
            end
            if entry.applied == false then out.shadow = true end
        end
    end
    return out
end

-- What the site's handlers of a phase did, in their order.
local function handlers_of(model, instances, phase, decisions)
    local handlers = {}
    for _, entry in ipairs(chains.entries(instances, phase.name, phase.reverse)) do
        local instance = entry.instance
        if instance ~= model.record.outer then
            local one = outcome_of(decisions, instance.index, phase.name)
            one.instance, one.at = journal.label(instance.index) or instance.name, instance.at
            handlers[#handlers + 1] = one
        end
    end
    return handlers
end

local function chain_of(model, decisions)
    local host, route
    if seen.route then
        host, route = model_route(model, seen.route.chosen)
        if not host then host = model_host(model, seen.route.host) end
    end
    local instances, out = chains.instances_of(model, host, route), {}
    for _, phase in ipairs(PHASES) do
        local handlers = handlers_of(model, instances, phase, decisions)
        if handlers[1] then out[#out + 1] = { hook = phase.name, handlers = handlers } end
    end
    return out, route and (route.skip or {}) or {}, route and route.at
end

-- ---------------------------------------------------------------- one request

local function upstream_fn(answer, sent)
    return function(msg)
        sent[#sent + 1] = { method = msg.method, target = msg.target, body = msg.body,
            lines = msg.all }
        return { status = answer.status, body = answer.body, headers = answer.headers }
    end
end

local function play_upstreams(lab, answer, sent)
    for _, up in ipairs(lab.model.upstreams) do lab:upstream(up.name, upstream_fn(answer, sent)) end
    lab.world:apply()
end

--- Explain one request in an open lab.
--- @param ask table  as lab:request takes it
--- @param answer table  status, body, headers: the upstream's stand-in
--- @return table story
function M.run(lab, ask, answer)
    local sent = {}
    play_upstreams(lab, answer, sent)
    seen = nil
    local res = lab:request(ask)
    local story = { answer = { status = res.status, headers = res.all, body = res.body,
        ended = not res.status and res.ended or nil } }
    local found = seen
    if not found then return story end
    story.route, story.params = found.route, found.params
    story.host, story.path, story.remote_ip = found.host, found.path, found.remote_ip
    story.method = found.method
    story.hooks, story.skipped, story.route_at = chain_of(lab.model, found.decisions)
    story.consumer = found.outcome.consumer
    local final = found.outcome.final
    story.answer.from, story.answer.why = final.from, final.fail
    if found.outcome.upstream then
        story.upstream = { name = found.outcome.upstream.name, peer = found.outcome.upstream.peer,
            attempts = found.outcome.upstream.attempts, sent = sent[#sent] }
    end
    return story
end

-- ---------------------------------------------------------------- words

local function time_of(handler)
    if not handler.cpu_ns then return "" end
    local text = ("%.1f us"):format(handler.cpu_ns / 1000)
    if handler.wait_ns and handler.wait_ns > 0 then
        text = text .. (", waited %.1f ms"):format(handler.wait_ns / 1e6)
    end
    return text
end

local function edit_words(entry)
    if entry.kind == "set" or entry.kind == "add" then
        return ("%s %s: %s"):format(entry.kind, entry.what, tostring(entry.value))
    elseif entry.kind == "del" then
        return "remove " .. entry.what
    elseif entry.kind == "assign" then
        return ("%s = %s"):format(entry.what, tostring(entry.value))
    elseif entry.kind == "body" then
        return ("another body for %s, %s bytes"):format(entry.what, tostring(entry.bytes))
    elseif entry.kind == "answer" then
        return ("%s %s"):format(entry.what or "answer", tostring(entry.status or ""))
    end
    return ("%s %s"):format(entry.kind, tostring(entry.value or entry.what or ""))
end

local VERDICTS = { next = "goes on", answer = "answers", error = "raises", refuse = "refuses" }

local function verdict_words(handler)
    if not handler.verdict and not handler.edits[1] then return "did not run" end
    local words = VERDICTS[handler.verdict] or handler.verdict or "ran"
    if handler.status then words = words .. " " .. handler.status end
    if handler.shadow then words = words .. " (shadow: not applied)" end
    return words
end

local MARKS = { chosen = ">", later = "+" }

local function route_lines(out, story)
    local route = story.route
    if not route then
        if story.hooks then out[#out + 1] = "route     none: answered before one was looked for" end
        return
    end
    local by = { name = "by its name", default = "as the default host" }
    out[#out + 1] = ("host      %s"):format(route.by == "none" and "none has this name"
        or ("%s (%s)"):format(route.host, by[route.by]))
    local none = ("none: " .. tostring(route.miss)):gsub("_", " ")
    local is_found = story.route_at and story.route_at:find("^found by ")
    out[#out + 1] = "route     " .. (route.chosen or none)
        .. (is_found and ", " .. story.route_at or "")
    local names = {}
    for name, value in pairs(story.params or {}) do
        names[#names + 1] = ("%s=%s"):format(name, value)
    end
    table.sort(names)
    if names[1] then out[#out + 1] = "params    " .. table.concat(names, " ") end
    local widest = 0
    for _, one in ipairs(route.routes) do widest = math.max(widest, math.min(#one.id, 44)) end
    for _, one in ipairs(route.routes) do
        out[#out + 1] = ("  %s %-" .. widest .. "s  %s"):format(MARKS[one.fate] or "-", one.id,
            explain_route.why(one, route))
    end
    if route.left_out > 0 then out[#out + 1] = ("  .. and %d more"):format(route.left_out) end
    if route.undecided then
        out[#out + 1] = "  a condition could not be decided: such a request is answered 500"
    end
end

local function hook_lines(out, story)
    local widest = 0
    for _, phase in ipairs(story.hooks or {}) do
        for _, one in ipairs(phase.handlers) do widest = math.max(widest, #one.instance) end
    end
    if story.hooks and not story.hooks[1] then out[#out + 1] = "hooks     none" end
    for _, phase in ipairs(story.hooks or {}) do
        out[#out + 1] = phase.hook
        for _, one in ipairs(phase.handlers) do
            out[#out + 1] = (("  %-" .. widest .. "s  %-22s %s"):format(one.instance,
                verdict_words(one), time_of(one)):gsub("%s+$", ""))
            for _, entry in ipairs(one.edits) do out[#out + 1] = "      " .. edit_words(entry) end
            if one.verdict == "error" then out[#out + 1] = "      " .. tostring(one.error) end
        end
    end
    if story.skipped and story.skipped[1] then
        out[#out + 1] = "skipped   " .. table.concat(story.skipped, ", ")
    end
end

local function field_lines(out, lines)
    local names = {}
    for name in pairs(lines or {}) do names[#names + 1] = name end
    table.sort(names)
    for _, name in ipairs(names) do
        for _, value in ipairs(lines[name]) do
            out[#out + 1] = ("      %s: %s"):format(name, value)
        end
    end
end

local SHOWN_MOST = 400

local function body_line(out, body)
    if not body or body == "" then return end
    local text = body:sub(1, SHOWN_MOST):gsub("[^\t -~]", ".")
    local more = #body > SHOWN_MOST and (" .. %d bytes"):format(#body) or ""
    out[#out + 1] = "      " .. text .. more
end

local function upstream_lines(out, story)
    local up = story.upstream
    if not up then
        out[#out + 1] = "upstream  none is asked"
        return
    end
    out[#out + 1] = ("upstream  %s, peer %s"):format(tostring(up.name), tostring(up.peer))
    if not up.sent then return end
    out[#out + 1] = ("      %s %s"):format(up.sent.method, up.sent.target)
    field_lines(out, up.sent.lines)
    body_line(out, up.sent.body)
end

local FROM = { upstream = "from the upstream's stand-in", plugin = "by a hook", core = "by rproxy" }

--- For people.
--- @param story table
--- @param ask table
--- @param notes string[]
function M.text(story, ask, notes)
    local out = { ("%s %s from %s"):format(ask.method, ask.url, ask.from) }
    route_lines(out, story)
    hook_lines(out, story)
    if story.consumer and type(story.consumer) == "string" then
        out[#out + 1] = "consumer  " .. story.consumer
    end
    upstream_lines(out, story)
    local answer = story.answer
    if answer.status then
        out[#out + 1] = ("answer    %d %s%s"):format(answer.status, FROM[answer.from] or "",
            answer.why and ": " .. answer.why or "")
        field_lines(out, answer.headers)
        if answer.from ~= "upstream" then body_line(out, answer.body) end
    else
        out[#out + 1] = "answer    none: the connection ends (" .. tostring(answer.ended) .. ")"
    end
    for _, note in ipairs(notes) do out[#out + 1] = "note      " .. note end
    return table.concat(out, "\n") .. "\n"
end

--- Is the request refused by the site itself? For the exit status.
function M.is_refused(story)
    local status = story.answer.status
    return status == nil or (story.answer.from ~= "upstream" and status >= 400)
end

return M
