-- SPDX-License-Identifier: MIT
--
-- answer: responses that a hook writes piece by piece, server-sent events on top of them, and hints
-- before the head.
--
-- A hook that has begun such a response goes on running while the response is relayed, at its client's
-- pace (runtime/proxy/answer.h). What it holds may be kept longer than the request, by other requests
-- that have something to say to that client: each use looks whether that is still the one.

local abi = require("rproxy.abi")
local header = require("rproxy.header")
local journal = require("rproxy.journal")
local object = require("rproxy.object")
local task = require("rproxy.task")

local C, H, E = abi.C, abi.H, abi.E
local raise = object.raise
local cast = abi.cast
local rawget, tonumber, type = rawget, tonumber, type

local M = {}

-- ---------------------------------------------------------------- options

local nearest = require("rproxy.config.nearest")

local function check_opts(what, opts, known)
    if opts == nil then return {} end
    if type(opts) ~= "table" then raise("%s: the options are a table", what) end
    for name in pairs(opts) do
        if not known[name] then
            raise("%s: unknown option %q%s", what, tostring(name),
                nearest.hint(tostring(name), nearest.names(known)))
        end
    end
    return opts
end

-- Seconds of an option; false: 0.
local function seconds(what, name, value, unsaid)
    if value == nil then return unsaid end
    if value == false then return 0 end
    if type(value) ~= "number" or not (value >= 0.001 and value <= 1e9) then
        raise("%s: %s is a number of seconds, or false", what, name)
    end
    return value
end

local function check_status(what, status)
    if type(status) ~= "number" or status < 200 or status > 599 or status % 1 ~= 0 then
        raise("%s takes a status from 200 to 599, got %s", what, tostring(status))
    end
end

-- ---------------------------------------------------------------- writing

-- The request of an object, while it is the one that the object was made for; else nil.
local function request_of(self)
    local wrapper = rawget(self, 1)
    local r = rawget(wrapper, 1)
    if r and r.slot_gen == rawget(self, 2) then return r end
    return nil
end

local function failed(code)
    if code == E.BUSY then return nil, "busy" end
    return nil, "closed"
end

-- Write all of a text, waiting for the client as often as it takes.
local function write_all(self, what, text)
    local p, n = cast("const char *", text), #text
    while true do
        local r = request_of(self)
        if not r then return nil, "closed" end
        local used = C.rp_abi_respond_write(H, r, p, n)
        if used == n then return true end
        if used == E.TOO_BIG then raise("%s: this is more than the length announced", what) end
        if used < 0 then return failed(used) end
        p, n = p + used, n - used
        task.wait("client to take the response", -1)
    end
end

local function flush(self)
    while true do
        local r = request_of(self)
        if not r then return nil, "closed" end
        local code = C.rp_abi_respond_flush(H, r)
        if code == abi.OK then return true end
        if code ~= abi.AGAIN then return failed(code) end
        task.wait("client to take the response", -1)
    end
end

--- Set a trailer of a response. For res:trailer and out:close.
function M.trailer(r, what, name, value)
    local _, text = header.parts(name)
    if value ~= nil then value = header.value(value) end
    local code = C.rp_abi_res_trailer(r, text, #text, value, value and #value or 0)
    if code == 0 then return end
    if code == E.PHASE then raise("%s: trailers cannot be set here any more", what) end
    if code == E.BUSY then raise("%s: %q cannot be a trailer", what, text) end
    if code == E.INVALID then
        raise("%s: %q: a name or value with bytes that do not belong there", what, text)
    end
    raise("%s: %s", what, abi.text(code))
end

local function close(self, what, trailers)
    local r = request_of(self)
    if not r then return true end
    if trailers ~= nil and type(trailers) ~= "table" then
        raise("%s takes a table of trailers", what)
    end
    if trailers and H.notes ~= journal.ONLY and not r.answer.ended then
        for name, value in pairs(trailers) do M.trailer(r, what, name, value) end
    end
    local code = C.rp_abi_respond_end(r)
    if code == E.INVALID then
        raise("%s: %s bytes of the length announced are missing", what,
            tostring(tonumber(r.answer.left)))
    end
    return true
end

local function is_open(self)
    local r = request_of(self)
    return r ~= nil and r.answer ~= nil and r.answer.streamed and not r.answer.ended
        and r.x.fail == 0
end

local function is_leaving(self)
    local r = request_of(self)
    return r == nil or C.rp_abi_req_is_leaving(r)
end

local function sent(self)
    local r = request_of(self)
    return r and tonumber(r.x.body_out_bytes) or nil
end

local out_get, out_methods = { open = is_open, leaving = is_leaving, bytes = sent }, {}

--- Write a piece of the response. Returns at once while the client keeps up, at most 64 KB ahead.
--- phases: early access rewrite content   yields: yes
--- @param data string|string[]
--- @return true|nil ok, string|nil err  "closed": nobody wants it; "busy": another task is writing
function out_methods.write(self, data)
    if type(data) == "string" then return write_all(self, "out:write", data) end
    if type(data) == "number" then return write_all(self, "out:write", tostring(data)) end
    if type(data) ~= "table" then raise("out:write takes a string or a list of strings") end
    return write_all(self, "out:write", table.concat(data))
end

--- Wait until all that was written is in the client's socket.
--- phases: early access rewrite content   yields: yes
--- @return true|nil ok, string|nil err  "closed"
function out_methods.flush(self)
    return flush(self)
end

--- End the response; a hook that returns does that, too.
--- phases: early access rewrite content   yields: no
--- @param trailers table|nil  name -> value
--- @return true  for return out:close()
function out_methods.close(self, trailers)
    return close(self, "out:close", trailers)
end

local Out = object.class("out", out_methods, out_get, {})

local function begin(self, what, status, headers, given)
    local r = self[1] -- the wrapper of the request
    local code = C.rp_abi_respond(H, r, status, given.length or -1, given.idle, given.keepalive)
    if code == E.PHASE then
        raise("%s: a response can be begun in early, access, rewrite and content, once", what)
    end
    if code ~= 0 then raise("%s: %s", what, abi.text(code)) end
    for name, value in pairs(headers or {}) do
        if type(value) == "table" and not value.id then
            for _, one in ipairs(value) do
                header.edit(C.rp_abi_answer_edit, self, nil, "add", name, one)
            end
        else
            header.edit(C.rp_abi_answer_edit, self, nil, "set", name, value)
        end
    end
    if H.notes ~= 0 then
        journal.put(self, { kind = "answer", what = what, status = status, headers = headers })
    end
    return r.slot_gen
end

local OUT_OPTS = { length = true, idle = true }

--- Begin a response whose body this hook writes piece by piece.
--- phases: early access rewrite content   yields: no
--- @param status number  200 to 599
--- @param headers table|nil  name or rp.header -> value or list of values
--- @param opts table|nil  length: bytes of the body, when known; idle: most seconds without a write
---   (as timeouts.hook_wait; false: no limit)
--- @return rproxy.Out out
function M.respond(self, status, headers, opts)
    local what = "req:respond"
    check_status(what, status)
    opts = check_opts(what, opts, OUT_OPTS)
    local length = opts.length
    if length ~= nil and (type(length) ~= "number" or length < 0 or length % 1 ~= 0) then
        raise("%s: length is a number of bytes", what)
    end
    local given = { length = length, idle = seconds(what, "idle", opts.idle, -1), keepalive = 0 }
    return setmetatable({ self, begin(self, what, status, headers, given) }, Out)
end

-- ---------------------------------------------------------------- events

local KEEPALIVE = 15 -- seconds; what lies between gives up a silent connection after 30 to 60

local EVENT_OPTS = { retry = true, keepalive = true, idle = true, status = true, headers = true }
local EVENT_FIELDS = { event = true, data = true, id = true, retry = true }

local function one_line(what, name, value)
    if type(value) == "number" then value = tostring(value) end
    if type(value) ~= "string" then raise("%s: %s is a string", what, name) end
    if value:find("[\r\n%z]") then raise("%s: %s holds an end of line or a NUL", what, name) end
    return value
end

local function put_lines(lines, field, text)
    text = text:gsub("\r\n?", "\n") -- all three end a line of an event stream
    for line in (text .. "\n"):gmatch("(.-)\n") do
        lines[#lines + 1] = field .. line
    end
end

local function put_retry(lines, what, retry)
    if type(retry) ~= "number" or not (retry >= 0 and retry <= 1e6) then
        raise("%s: retry is a number of seconds", what)
    end
    lines[#lines + 1] = ("retry: %d"):format(retry * 1000)
end

--- The bytes of an event. Pure.
function M.event(what, given)
    if type(given) ~= "table" then given = { data = given } end
    local lines = {}
    for name in pairs(given) do
        if not EVENT_FIELDS[name] then
            raise("%s: an event has no %q%s", what, tostring(name),
                nearest.hint(tostring(name), nearest.names(EVENT_FIELDS)))
        end
    end
    if given.event ~= nil then
        lines[#lines + 1] = "event: " .. one_line(what, "event", given.event)
    end
    if given.id ~= nil then lines[#lines + 1] = "id: " .. one_line(what, "id", given.id) end
    if given.retry ~= nil then put_retry(lines, what, given.retry) end
    local data = given.data
    if type(data) == "table" then
        local err
        data, err = require("rproxy.json").encode(data)
        if not data then raise("%s: data is no JSON: %s", what, err) end
    elseif type(data) == "number" or type(data) == "boolean" then
        data = tostring(data)
    elseif data ~= nil and type(data) ~= "string" then
        raise("%s: data is a string, or a table for JSON, not a %s", what, type(data))
    end
    if data then put_lines(lines, "data: ", data) end
    if #lines == 0 then raise("%s: an event without a field", what) end
    lines[#lines + 1] = "\n"
    return table.concat(lines, "\n")
end

local events_get, events_methods = { open = is_open, leaving = is_leaving, bytes = sent }, {}

--- The id of the last event that the client got before it came back; nil: it is here for the first
--- time.
function events_get.last_event_id(self)
    local wrapper = rawget(self, 1)
    return request_of(self) and wrapper:get("last-event-id")
end

--- Send an event.
--- phases: early access rewrite content   yields: yes
--- @param event table|string  { event=, data=, id=, retry= }, or its data; a table as data is sent as JSON
--- @return true|nil ok, string|nil err  "closed"; "busy"
function events_methods.send(self, event)
    return write_all(self, "es:send", M.event("es:send", event))
end

--- Send a comment, which clients ignore.
--- phases: early access rewrite content   yields: yes
--- @param text string
--- @return true|nil ok, string|nil err  "closed"; "busy"
function events_methods.comment(self, text)
    if type(text) ~= "string" then raise("es:comment takes a string") end
    local lines = {}
    put_lines(lines, ": ", text)
    return write_all(self, "es:comment", table.concat(lines, "\n") .. "\n\n")
end

--- Wait until all that was sent is in the client's socket.
--- phases: early access rewrite content   yields: yes
--- @return true|nil ok, string|nil err  "closed"
function events_methods.flush(self)
    return flush(self)
end

--- End the stream. Browsers come back after `retry`.
--- phases: early access rewrite content   yields: no
--- @return true  for return es:close()
function events_methods.close(self)
    return close(self, "es:close")
end

local Events = object.class("es", events_methods, events_get, {})

--- Begin a stream of server-sent events (text/event-stream, as the EventSource of browsers reads it).
--- phases: early access rewrite content   yields: no
--- @param opts table|nil  retry: seconds until the browser comes back; keepalive: seconds of silence
---   after which a comment is sent (15; false: none); idle: most seconds without an event (no limit);
---   headers, status
--- @return rproxy.Events es
function M.events(self, opts)
    local what = "req:events"
    opts = check_opts(what, opts, EVENT_OPTS)
    local given = { keepalive = seconds(what, "keepalive", opts.keepalive, KEEPALIVE) }
    -- Comments show that the client is there; without them its hook has to show that it is.
    given.idle = seconds(what, "idle", opts.idle, given.keepalive > 0 and 0 or -1)
    check_status(what, opts.status or 200)
    local fields = { ["content-type"] = "text/event-stream", ["cache-control"] = "no-store" }
    for name, value in pairs(opts.headers or {}) do
        local _, text = header.parts(name)
        fields[text:lower()] = value
    end
    local lines = {}
    if opts.retry ~= nil then put_retry(lines, what, opts.retry) end
    local gen = begin(self, what, opts.status or 200, fields, given)
    local es = setmetatable({ self, gen }, Events)
    if lines[1] then write_all(es, what, lines[1] .. "\n\n") end
    return es
end

-- ---------------------------------------------------------------- hints

--- Tell the client what to fetch before the response is known: 103 Early Hints (RFC 8297). Clients of
--- HTTP/1.0 are told nothing.
--- phases: early access rewrite content balance   yields: no
--- @param headers table  name -> value or list of values: { link = { "</a.css>; rel=preload" } }
--- @return boolean|nil sent, string|nil err  false: this client knows no hints; err: "too many"
function M.early_hints(self, headers)
    local r, what = self[1], "req:early_hints"
    if type(headers) ~= "table" or next(headers) == nil then
        raise("%s takes a table of headers", what)
    end
    local code
    for name, value in pairs(headers) do
        local _, text = header.parts(name)
        for _, one in ipairs(type(value) == "table" and value or { value }) do
            one = header.value(one)
            code = C.rp_abi_hint_add(r, text, #text, one, #one)
            if code ~= 0 then
                C.rp_abi_hint_drop(r)
                if code == E.PHASE then raise("%s comes too late: the response is under way", what) end
                if code == E.CAP then return nil, "too many" end
                raise("%s: header %q cannot be in a hint", what, text)
            end
        end
    end
    code = C.rp_abi_hint_send(r)
    if code == abi.END then return false end
    if code == E.CAP then return nil, "too many" end
    if code ~= 0 then return nil, abi.text(code) end
    if H.notes ~= 0 then journal.note(self, "hint", what, "103") end
    return true
end

-- ---------------------------------------------------------------- whole bodies

local BODY_MOST = 1024 * 1024 -- res:body without max

local function max_of(what, opts)
    local max = opts and opts.max or BODY_MOST
    if type(max) ~= "number" or max < 0 or max ~= max then
        raise("%s: max is a number of bytes", what)
    end
    return max
end

--- The whole body of the response, before its head goes out.
--- @return string|nil body, string|nil err
function M.body_of(self, opts)
    local r, max = self[1][1], max_of("res:body", opts)
    while true do
        local code = C.rp_abi_res_gather(H, r, max)
        if code == abi.OK then break end
        if code == E.PHASE then
            if r.answer ~= nil and r.answer.streamed then return nil, "streamed" end
            raise("res:body can be read in header_filter only")
        end
        if code == E.TOO_BIG then return nil, "too large" end
        if code ~= abi.AGAIN then return nil, abi.text(code) end
        task.wait("response body", -1)
    end
    local n = tonumber(r.out.bytes)
    local bytes = abi.new("char[?]", n)
    C.rp_abi_res_body_copy(r, bytes)
    return abi.string(bytes, n)
end

function M.set_body(self, body)
    local wrapper = self[1]
    if type(body) == "table" then
        local json, err = require("rproxy.json").encode(body)
        if not json then raise("res:set_body: the body is no JSON: %s", err) end
        body = json
    end
    if type(body) ~= "string" then raise("res:set_body takes a string, or a table for JSON") end
    local code = C.rp_abi_res_set_body(wrapper[1], body, #body)
    if code == E.PHASE then raise("res:set_body: the body can be replaced in header_filter only") end
    if code == E.INVALID then
        raise("res:set_body: a 206 is a part of something: set another status first")
    end
    if code ~= 0 then raise("res:set_body: %s", abi.text(code)) end
    if H.notes ~= 0 then
        journal.put(wrapper, { kind = "body", what = "res", bytes = #body })
    end
end

function M.buffer(self, opts)
    local code = C.rp_abi_res_buffer(self[1][1], max_of("res:buffer", opts))
    if code == E.PHASE then raise("res:buffer can be called in header_filter only") end
    if code ~= 0 then raise("res:buffer: %s", abi.text(code)) end
end

-- ---------------------------------------------------------------- times, trailers

-- enum rp_abi_time
local CONNECT, CONNECTED, SENT, FIRST_BYTE, END = 1, 2, 3, 4, 5

local function span(from, to)
    if from >= 0 and to >= from then return to - from end
end

--- Where the time went, in seconds; what did not happen is nil.
function M.timings(self)
    local r = self[1][1]
    local at = {}
    for i = CONNECT, END do at[i] = C.rp_abi_res_time(r, i) end
    local begun = at[CONNECT] >= 0 and at[CONNECT] or at[CONNECTED]
    return {
        queue = span(0, begun),                            -- hooks, buffering, choosing a peer
        connect = span(at[CONNECT], at[CONNECTED]),        -- with the TLS handshake; nil: a kept one
        send = span(at[CONNECTED], at[SENT]),              -- the request
        wait = span(math.max(at[SENT], at[CONNECTED]), at[FIRST_BYTE]),
        receive = span(at[FIRST_BYTE], at[END]),           -- log only
        total = C.rp_abi_req_duration(r),
    }
end

--- The trailers that are known so far; nil: none.
function M.trailers(self)
    local r = self[1][1]
    local found
    local function collect(m)
        if m == nil then return end
        for name, value in header.walk(m) do
            found = found or {}
            found[name] = found[name] and found[name] .. ", " .. value or value
        end
    end
    collect(r.x.res_trailers)
    if r.answer ~= nil and r.x.res_trailers ~= r.answer.trailers then
        local own = {}
        for name, value in header.walk(r.answer.trailers) do own[name] = value end
        for name, value in pairs(own) do
            found = found or {}
            found[name] = value
        end
    end
    return found
end

--- Give the methods of req those of this module.
function M.attach(req)
    req.respond, req.events, req.early_hints = M.respond, M.events, M.early_hints
end

return M
