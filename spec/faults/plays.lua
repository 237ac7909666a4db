-- SPDX-License-Identifier: MIT
--
-- plays: which clients come in a schedule, what they ask for, and what breaks beside them.

local client = require("spec.faults.client")
local datagrams = require("spec.faults.datagrams")
local http = require("spec.faults.http")
local origin = require("spec.faults.origin")
local site = require("spec.faults.site")
local world = require("spec.faults.world")

local M = {}

local TUNNEL_MODES = { "upgrade" }

local statuses = {} -- status -> how often
M.statuses = statuses

-- ---------------------------------------------------------------- exchanges

local function exchange(d, id, calm)
    local kind = d:pick(site.KINDS)
    local good = calm or not d:one_in(3)
    local ex = { id = id, kind = kind, method = d:pick { "GET", "GET", "GET", "POST", "PUT", "HEAD" },
        mode = d:pick(good and origin.good or origin.bad), n = d:size(1500000), version = "1.1" }
    if kind == "echo" or kind == "turn" then ex.method = "POST" end
    if ex.method == "POST" or ex.method == "PUT" or (kind ~= "plain" and d:one_in(10)) then
        if ex.method == "HEAD" then ex.method = "GET" end
        local most = (kind == "read" and calm and 90000) or (kind == "small" and calm and 900) or 200000
        ex.body = http.body(id .. "q", d:size(most))
        ex.chunked = d:one_in(3) and d:pick { 1, 100, 20000 } + math.floor(#ex.body / 200) or nil
        ex.expects = d:one_in(6) and #ex.body > 0
    end
    if d:one_in(10) then ex.version, ex.chunked, ex.expects = "1.0", nil, nil end
    if d:one_in(12) then ex.close = true end
    ex.sends = kind == "set" and "set " .. id or ex.body or ""
    return ex
end

-- What a client may still ask after this one.
local function is_last(ex)
    return ex.close or ex.version == "1.0"
end

local function http_client(w, d, name, calm)
    local exchanges = {}
    for i = 1, d:pick { 1, 1, 2, 3, 5 } do
        local ex = exchange(d, name .. "." .. i, calm)
        exchanges[i] = ex
        w.origin.requests[ex.id] = ex
        if is_last(ex) then break end
    end
    local proxied = d:one_in(6)
    return { port = w.ports[proxied and 2 or 1], exchanges = exchanges, pipelined = d:one_in(3),
        before = proxied and "PROXY TCP4 192.0.2.7 192.0.2.8 1000 80\r\n" or nil }
end

-- TLS, with a session of one before and early data, or without.
local function tls_options(w, d)
    return { session = d:one_in(3) and w.session or nil, early = d:one_in(2) and d:range(1, 4000),
        keep = function(session) w.session = session or w.session end }
end

local function tls_client(w, d, name, calm)
    local opt = http_client(w, d, name, calm)
    opt.port, opt.before, opt.tls = w.ports[6], nil, tls_options(w, d)
    return opt
end

local function tunnel_client(w, d, name)
    local ex = { id = name .. ".1", kind = "plain", method = "GET", mode = d:pick(TUNNEL_MODES), n = 0,
        version = "1.1", upgrade = true, sends = "" }
    w.origin.requests[ex.id] = ex
    local tls = d:one_in(3) and tls_options(w, d) or nil
    return { port = w.ports[tls and 6 or 1], exchanges = { ex }, tls = tls,
        data = http.body(name, d:size(300000)) }
end

local function stream_client(w, d, name)
    local at = d:pick { 3, 4, 7 }
    return { port = w.ports[at], exchanges = {}, data = http.body(name, d:size(1000000)),
        tls = at == 7 and tls_options(w, d) or nil }
end

local function one_client(w, d, name, calm)
    if d:one_in(9) then
        return datagrams.client { port = w.ports[5], name = name, count = d:range(1, 20), dice = d }
    end
    local make = d:pick { http_client, http_client, http_client, tls_client, tls_client,
        tunnel_client, stream_client }
    local opt = make(w, d, name, calm)
    opt.dice = d
    if d:one_in(4) then opt.slow = d:pick { 1, 10, 300 } + (opt.data and 1000 or 0) end
    if d:one_in(5) then opt.lazy = d:range(2, 9) end
    if not calm and d:one_in(5) then
        opt.leave = { after = d:size(100000), how = d:pick { "closed", "reset" } }
    end
    -- A slow client sends a large body for a thousand steps; some hundred are enough.
    if opt.slow then
        local most = 0
        for _, ex in ipairs(opt.exchanges) do most = math.max(most, ex.body and #ex.body or 0) end
        opt.slow = opt.slow + math.floor(most / 100)
    end
    return client.new(opt)
end

-- ---------------------------------------------------------------- what breaks beside

local function break_peer(w) w.origin:break_one() end
local function skip_time(ms)
    return function() world.skip(ms) end
end
local function flip(w) w:flip() end

-- step -> what happens then
local function breakage(d, calm)
    local acts = {}
    if calm then return acts end
    if d:one_in(3) then acts[d:range(1, 60)] = break_peer end
    for _ = 1, d:pick { 0, 0, 0, 1, 3 } do
        acts[d:range(1, 80)] = skip_time(d:pick { 3, 300, 2500, 11000, 61000, 3700000 })
    end
    if d:one_in(12) then acts[d:range(1, 40)] = flip end
    return acts
end

--- The clients of a schedule, and what happens at which step.
function M.make(w, d, seed, calm)
    local clients = {}
    w.origin.requests = {}
    local most = w.options.connections > 0 and calm and 2 or d:pick { 1, 2, 3, 6 }
    for i = 1, most do
        clients[i] = one_client(w, d, ("s%dc%d"):format(seed, i), calm)
    end
    return clients, breakage(d, calm)
end

-- ---------------------------------------------------------------- what came of it

--- Note what the exchanges came to.
function M.count(clients)
    for _, c in ipairs(clients) do
        for _, ex in ipairs(c.exchanges) do
            local key = ex.status or "none"
            statuses[key] = (statuses[key] or 0) + 1
        end
    end
end

-- A hook that may not wait as long as it wants, and a body over its limit, are answered so.
local function may_fail(c, ex)
    return ex.own and (ex.status == 413 or ex.status == 503 or ex.status == 504 or ex.status == 500)
        and c.strict ~= true
end

--- After a calm schedule: what did not go well, or nil.
function M.all_well(clients, options)
    local impatient = options.hook_wait < 0.1 -- so that hooks are ended
    for _, c in ipairs(clients) do
        for _, ex in ipairs(c.exchanges) do
            if not ex.status and c.told_close then break end -- it was said that no more is answered
            if not ex.status then
                return ("calm: %s %s m=%s was not answered"):format(ex.id, ex.kind, ex.mode)
            end
            if ex.own and not may_fail(c, ex) then
                return ("calm: %s %s m=%s: status %d"):format(ex.id, ex.kind, ex.mode, ex.status)
            end
        end
        local excused = impatient and #c.exchanges == 0
        if c.tunnel and c.tunnel.got < #c.data and not excused then
            return ("calm: %d of %d bytes through"):format(c.tunnel.got, #c.data)
        end
    end
end

--- The end of a world: a third of them ends in the midst of traffic.
function M.last(w, d)
    if not d:one_in(3) then return end
    w.dice, w.origin.dice = d, d
    w.clients = M.make(w, d, 0, true)
    for _ = 1, d:range(1, 30) do w:step() end
    return w:wrong()
end

return M
