-- SPDX-License-Identifier: MIT
--
-- decision: what the journals of requests come to: a line in the log of decisions (log.decisions)
-- for each request about which a shadow instance decided something, or that was traced; the
-- response header of a traced one; req:trace().
--
-- Nothing that may be a secret is written: values of headers that carry credentials, query strings
-- and bodies only by their length.

local abi = require("rproxy.abi")
local journal = require("rproxy.journal")
local json = require("rproxy.json")
local shadow = require("rproxy.shadow")

local C, H = abi.C, abi.H

local M = {}

local LINE_MOST = 16 * 1024 -- bytes of a line; what does not fit is counted
local VALUE_SHOWN = 256

-- ---------------------------------------------------------------- secrets

local SECRET = { authorization = true, ["proxy-authorization"] = true, cookie = true,
    ["set-cookie"] = true, ["www-authenticate"] = false }

-- Words in the names of headers whose values are not shown.
local WORDS = { "token", "secret", "password", "api%-key", "apikey", "credential", "session",
    "signature", "cookie", "authorization" }

local function is_secret(name)
    local known = SECRET[name]
    if known ~= nil then return known end
    for _, word in ipairs(WORDS) do
        if name:find(word) then return true end
    end
    return false
end

local function encode(value)
    return json.encode(value, { invalid = "replace", sort = true })
end

local function length(value)
    return ("[%d bytes]"):format(#value)
end

local function short(value)
    if type(value) ~= "string" then return value end
    return #value > VALUE_SHOWN and value:sub(1, VALUE_SHOWN) .. "..." or value
end

-- Where an URL stands in a text, its query and fragment are not shown.
local function without_queries(value)
    return type(value) == "string" and (value:gsub("([?#])[^%s\"<>]+", "%1..")) or value
end

local function header_shown(name, value)
    if is_secret(name) then return length(value) end
    local is_url = type(value) == "string" and (value:find("^%s*/") or value:find("/[^%s]*[?#]"))
    return short(is_url and without_queries(value) or value)
end

local HEADER_KINDS = { set = true, add = true, del = true }

local function shown(entry)
    local value = entry.value
    if value == nil then return nil end
    if HEADER_KINDS[entry.kind] then
        return header_shown(entry.what:match("%.(.*)$") or "", value)
    elseif entry.kind == "answer" then
        return nil -- a body
    elseif entry.kind == "assign" and entry.what:find("query$") then
        return length(value)
    elseif entry.kind == "assign" and entry.what:find("path$") then
        return short((value:gsub("%?.*", "?..")))
    end
    return short(value)
end

local function headers_shown(headers)
    if not headers then return nil end
    local out = {}
    for name, value in pairs(headers) do
        if name == "location" then out[name] = short(without_queries(value))
        else out[name] = header_shown(name, value) end
    end
    return out
end

-- ---------------------------------------------------------------- entries

local function micros(ns)
    return ns and math.floor(ns / 1000 + 0.5)
end

-- An entry as it is written. Times in microseconds.
local function public(entry)
    local out = { instance = entry.instance, hook = entry.hook, kind = entry.kind,
        what = entry.what, value = shown(entry), status = entry.status, bytes = entry.bytes,
        headers = headers_shown(entry.headers), port = entry.port,
        calls = entry.calls }
    if entry.kind == "verdict" then
        out.kind, out.verdict = nil, entry.verdict
        out.cpu_us, out.wait_us = micros(entry.cpu_ns), micros(entry.wait_ns)
        if entry.verdict == "error" then out.error, out.value = short(entry.value), nil end
    elseif entry.kind == "answer" and entry.value then
        out.bytes = entry.bytes or #entry.value
    end
    if not entry.applied then out.shadow = true end
    return out
end

local function is_decision(entry)
    return entry.kind ~= "verdict" or entry.verdict ~= "next"
end

-- Does a request get a line? A shadow instance would have answered, failed, or (if those count)
-- changed something.
local function matters(entries)
    if entries.told then return true end
    local edits = H.conf.decisions_edits
    for _, entry in ipairs(entries) do
        if not entry.applied and (edits or entry.kind == "verdict") and is_decision(entry) then
            return true
        end
    end
    return false
end

-- ---------------------------------------------------------------- lines

-- How handlers ended is told before what they changed on the way.
local function is_weighty(entry)
    return entry.kind == "verdict" or entry.kind == "answer"
end

-- Puts entries into line.decisions until it is full, in their order; line.lost counts the others.
local function fill(line, entries, most, wanted)
    local left, list = most - #encode(line) - 64, json.array {}
    local made, lost = {}, entries.lost or 0
    for turn = 1, 2 do
        for i, entry in ipairs(entries) do
            if wanted(entry) and is_weighty(entry) == (turn == 1) then
                local one = public(entry)
                left = left - #encode(one) - 1
                if left > 0 then made[i] = one else lost = lost + 1 end
            end
        end
    end
    for i = 1, #entries do list[#list + 1] = made[i] end
    line.decisions = list
    if lost > 0 then line.lost = lost end
    return encode(line)
end

local function facts(req)
    local route, up = req.route, req.upstream
    return { time = req.start, id = req.id, remote_ip = req.remote_ip, method = req.method,
        host = short(req.host), path = short(req.path), route = route and route.id,
        consumer = short(req.consumer), upstream = up and up.name }
end

local function write(line)
    C.rp_abi_decision_write(H, line, #line)
end

local function is_shadows(entry)
    return not entry.applied and is_decision(entry)
end

local function everything()
    return true
end

--- The routes that were looked at for a request, and why they lost; nil: it is not known.
local function routing(req)
    local found, explain = pcall(require, "rproxy.explain_route")
    if not found or not req.route then return nil end
    local made, result = pcall(explain.of, req)
    return made and result or nil
end

local function on_end(req, entries)
    if not C.rp_abi_decision_is_logged(H) or not matters(entries) then return end
    local line = facts(req)
    line.status = req[7].status
    if entries.told then
        line.trace = true
        line.routing = routing(req)
        if line.routing and #encode(line) > LINE_MOST / 2 then line.routing = nil end
    end
    write(fill(line, entries, LINE_MOST, entries.told and everything or is_shadows) .. "\n")
end

journal.on_end(on_end)

shadow.on_conn(function(conn, verdict, entries)
    if not C.rp_abi_decision_is_logged(H) then return end
    if verdict.verdict == "next" and not H.conf.decisions_edits then return end
    local line = { time = C.rp_abi_wall(H), remote_ip = conn.remote_ip, sni = conn.sni,
        listener = conn.listener }
    local all = { lost = 0, unpack(entries) }
    for _, entry in ipairs(all) do entry.instance, entry.hook = verdict.instance, verdict.hook end
    all[#all + 1] = verdict
    write(fill(line, all, LINE_MOST, everything) .. "\n")
end)

-- ---------------------------------------------------------------- the response header

--- What a traced request has met so far, as one line for a header.
local function header(req, most)
    local entries = journal.of(req)
    if not entries or not entries.told then return nil end
    local route = req.route
    local line = { id = req.id, route = route and route.id }
    local text = fill(line, entries, most, everything):gsub("[\127-\255]", "?")
    return text
end

journal.header_by(header)

-- ---------------------------------------------------------------- req:trace()

--- What has happened to the request so far; nil unless it is traced. Entries as in the log of
--- decisions.
--- @param req table
--- @return table|nil
function M.trace(req)
    local entries = journal.of(req)
    if not entries or not entries.traced then return nil end
    local list = {}
    for i, entry in ipairs(entries) do list[i] = public(entry) end
    return list
end

return M
