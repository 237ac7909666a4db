-- SPDX-License-Identifier: MIT
--
-- events: server-sent events (text/event-stream, as EventSource of browsers reads it), a response
-- that a hook writes event by event.

local answer = require("rproxy.answer")
local header = require("rproxy.header")
local nearest = require("rproxy.config.nearest")
local object = require("rproxy.object")
local options = require("rproxy.opts")

local raise = object.raise
local type = type

local methods = {} -- of req
local M = { methods = methods }

-- ---------------------------------------------------------------- events

local KEEPALIVE = 15 -- seconds; what lies between gives up a silent connection after 30 to 60

local EVENT_OPTS = { retry = "wait", keepalive = "any", idle = "any", status = "count",
    headers = "table" }
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

local events_get, events_methods = {}, {}
for name, getter in pairs(answer.shown) do events_get[name] = getter end

--- The id of the last event that the client got before it came back; nil: it is here for the first
--- time.
function events_get.last_event_id(self)
    local r = answer.request_of(self)
    return r and header.first(r.x.head, "last-event-id")
end

--- Send an event.
--- phases: early access rewrite content   yields: yes
--- @param event table|string  { event=, data=, id=, retry= }, or its data; a table as data is JSON
--- @return true|nil ok, string|nil err  "closed"; "busy"
function events_methods.send(self, event)
    return answer.write_all(self, "es:send", M.event("es:send", event))
end

--- Send a comment, which clients ignore.
--- phases: early access rewrite content   yields: yes
--- @param text string
--- @return true|nil ok, string|nil err  "closed"; "busy"
function events_methods.comment(self, text)
    if type(text) ~= "string" then raise("es:comment takes a string") end
    local lines = {}
    put_lines(lines, ": ", text)
    return answer.write_all(self, "es:comment", table.concat(lines, "\n") .. "\n\n")
end

--- Wait until all that was sent is in the client's socket.
--- phases: early access rewrite content   yields: yes
--- @return true|nil ok, string|nil err  "closed"
function events_methods.flush(self)
    return answer.flush(self)
end

--- End the stream. Browsers come back after `retry`.
--- phases: early access rewrite content   yields: no
--- @return true  for return es:close()
function events_methods.close(self)
    return answer.close(self, "es:close")
end

local Events = object.class("es", events_methods, events_get, {})

--- Begin a stream of server-sent events.
--- phases: early access rewrite content   yields: no
--- @param opts table|nil  retry: seconds until the browser comes back; keepalive: seconds of
---   silence after which a comment is sent (15; false: none); idle: most seconds without an event
---   (no limit); headers; status
--- @return rproxy.Events es
function methods.events(self, opts)
    local what = "req:events"
    opts = options.check(what, opts, EVENT_OPTS)
    local given = { keepalive = answer.seconds(what, "keepalive", opts.keepalive, KEEPALIVE) }
    -- Comments show that the client is there; without them its hook has to show that it is.
    given.idle = answer.seconds(what, "idle", opts.idle, given.keepalive > 0 and 0 or -1)
    answer.check_status(what, opts.status or 200)
    local fields = { ["content-type"] = "text/event-stream", ["cache-control"] = "no-store" }
    for name, value in pairs(opts.headers or {}) do
        local text = header.text(name)
        fields[text:lower()] = value
    end
    local lines = {}
    if opts.retry ~= nil then put_retry(lines, what, opts.retry) end
    local gen = answer.begin(self, what, opts.status or 200, fields, given)
    local es = setmetatable({ self, gen }, Events)
    if lines[1] then answer.write_all(es, what, lines[1] .. "\n\n") end
    return es
end

return M
