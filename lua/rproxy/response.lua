-- SPDX-License-Identifier: MIT
--
-- response: res, the response on its way to the client, and answers made by hooks.

local abi = require("rproxy.abi")
local answer = require("rproxy.answer")
local header = require("rproxy.header")
local journal = require("rproxy.journal")
local object = require("rproxy.object")
local outside = require("rproxy.outside")
local task = require("rproxy.task")

local C, H, E = abi.C, abi.H, abi.E
local raise = object.raise
local rawget = rawget

local M = {}

local FROM = { [0] = "core", "plugin", "upstream", "cache" }
local LENGTH = tonumber(C.RP_BODY_LENGTH)

-- ---------------------------------------------------------------- answers

local function body_text(what, body)
    if body == nil then return "", nil end
    if type(body) == "string" then return body, nil end
    if type(body) == "number" then return tostring(body), nil end
    if type(body) ~= "table" then raise("%s: the body is a string or a table", what) end
    local json, err = require("rproxy.json").encode(body)
    if not json then raise("%s: the body is no JSON: %s", what, err) end
    return json, "application/json"
end

--- Make the answer. For req:exit, req:redirect, req:abort, res:replace.
--- @param wrapper table  of the request
--- @return true
function M.answer(wrapper, what, status, body, headers)
    local r = wrapper[1]
    if type(status) ~= "number" or status < 200 or status > 599 or status % 1 ~= 0 then
        raise("%s takes a status from 200 to 599, got %s", what, tostring(status))
    end
    local text, kind = body_text(what, body)
    local code = C.rp_abi_answer(r, status, kind, kind and #kind or 0, text, #text)
    if code == E.PHASE then raise("%s comes too late: the response is under way", what) end
    if code ~= 0 then raise("%s: %s", what, abi.text(code)) end
    if headers then
        for name, value in pairs(headers) do
            header.edit(C.rp_abi_answer_edit, wrapper, nil, header.SET, name, value)
        end
    end
    if H.notes ~= 0 then journal.note_answer(wrapper, what, status, kind, text, headers) end
    return true
end

-- ---------------------------------------------------------------- fields

local get, set, methods = {}, {}, {}

function get.status(self)
    return self[1][1].res.status
end

function set.status(self, status)
    if type(status) ~= "number" or status % 1 ~= 0 then raise("res.status takes a number") end
    local code = C.rp_abi_res_set_status(self[1][1], status)
    if code == E.PHASE then raise("res.status can be assigned in header_filter") end
    if code ~= 0 then raise("res.status: %s is no final status", tostring(status)) end
    if H.notes ~= 0 then journal.note(self[1], "assign", "res.status", status) end
end

--- Length of the body as announced; nil when it is not known.
function get.length(self)
    local res = self[1][1].res
    if res.framing == LENGTH then return tonumber(res.content_length) end
end

function get.from(self)
    return FROM[self[1][1].from]
end

function get.bytes(self)
    return tonumber(self[1][1].x.body_out_bytes)
end

function get.duration(self)
    return C.rp_abi_req_duration(self[1][1])
end

local function seconds(r, which)
    local t = C.rp_abi_up_time(r, which)
    if t >= 0 then return t end
end

--- What the upstream did: name, peer, attempts, connect, first_byte, time; nil: none was asked.
function get.upstream(self)
    local r = self[1][1]
    if r.tries == 0 then return nil end
    local made = { attempts = tonumber(r.tries), reused = r.up_reused,
        connect = seconds(r, 0), first_byte = seconds(r, 1), time = seconds(r, 2) }
    if C.rp_abi_req_text(H, r, C.RP_TEXT_UPSTREAM) then made.name = abi.out() end
    if C.rp_abi_req_text(H, r, C.RP_TEXT_UP_PEER) then made.peer = abi.out() end
    return made
end

-- ---------------------------------------------------------------- headers

-- Compiled code takes locals for constants, fields of tables it asks for each time.
local edit, first, SET = header.edit, header.first, header.SET
local res_edit = C.rp_abi_res_edit

function methods.get(self, h)
    return first(self[1][1].res, h)
end

function methods.get_all(self, h)
    return header.all(self[1][1].res, h)
end

function methods.headers(self)
    return header.walk(self[1][1].res)
end

--- Replace a response header; nil removes it.
--- phases: header_filter   yields: no
function methods.set(self, h, value)
    edit(res_edit, self[1], "res", SET, h, value)
end

function methods.add(self, h, value)
    if value == nil then raise("res:add takes a value") end
    edit(res_edit, self[1], "res", header.ADD, h, value)
end

function methods.del(self, h)
    edit(res_edit, self[1], "res", header.DEL, h, nil)
end

--- Add a cookie (RFC 6265 §4.1).
--- phases: header_filter   yields: no
--- @param cookie table  { name, value, path=, domain=, max_age=, secure=, http_only=, same_site= }
function methods.set_cookie(self, cookie)
    local line = require("rproxy.cookie").line(cookie)
    edit(res_edit, self[1], "res", header.ADD, "set-cookie", line)
end

--- Send another response instead: return res:replace(..) ends the chain.
--- phases: header_filter   yields: no
function methods.replace(self, status, body, headers)
    return M.answer(self[1], "res:replace", status, body, headers)
end

-- ---------------------------------------------------------------- whole bodies

local BODY_MOST = 1024 * 1024 -- without max

local function max_of(what, opts)
    local max = opts and opts.max or BODY_MOST
    if type(max) ~= "number" or max < 0 or max ~= max then
        raise("%s: max is a number of bytes", what)
    end
    return max
end

-- The whole body lies in r.out then.
local function gather(r, max)
    while true do
        local code = C.rp_abi_res_gather(H, r, max)
        if code == abi.OK then return true end
        if code == E.PHASE then
            if r.answer ~= nil and r.answer.streamed then return nil, "streamed" end
            raise("res:body can be read in header_filter only")
        end
        if code == E.TOO_BIG then return nil, "too large" end
        if code == E.INVALID then return nil, "tunnel" end
        if code ~= abi.AGAIN then return nil, abi.text(code) end
        task.wait("response body", -1)
    end
end

--- The whole body of the response, before its head goes out. As it came: a Content-Encoding is
--- not undone.
--- phases: header_filter   yields: yes
--- @param opts table|nil  max: most bytes (1 MB)
--- @return string|nil body, string|nil err  "too large": it is passed on as if nobody had asked;
---   "streamed": a hook is writing it; "tunnel"; or why it did not come
function methods.body(self, opts)
    local r = self[1][1]
    local ok, err = gather(r, max_of("res:body", opts))
    if not ok then return nil, err end
    local n = tonumber(r.out.bytes)
    local bytes = abi.new("char[?]", n)
    C.rp_abi_res_body_copy(r, bytes)
    return abi.string(bytes, n)
end

--- The body of the response as JSON.
--- phases: header_filter   yields: yes
--- @param opts table|nil  max: most bytes (1 MB); and those of rp.json.decode
--- @return any|nil value, string|nil err
function methods.json(self, opts)
    local body, err = self:body(opts)
    if not body then return nil, err end
    return require("rproxy.json").decode(body, opts)
end

--- Send another body. Content-Length follows; digests of the old bytes go, a strong ETag becomes a
--- weak one.
--- phases: header_filter   yields: no
--- @param body string|table  a table is sent as JSON
function methods.set_body(self, body)
    local text = body
    if type(body) == "table" then
        local err
        text, err = require("rproxy.json").encode(body)
        if not text then raise("res:set_body: the body is no JSON: %s", err) end
    end
    if type(text) ~= "string" then raise("res:set_body takes a string, or a table for JSON") end
    local code = C.rp_abi_res_set_body(self[1][1], text, #text)
    if code == E.PHASE then raise("res:set_body: bodies are replaced in header_filter only") end
    if code == E.INVALID then
        raise("res:set_body: a 206 is a part of something, a 101 has no body")
    end
    if code ~= 0 then raise("res:set_body: %s", abi.text(code)) end
    if H.notes ~= 0 then journal.note_bytes(self[1], "res", #text) end
end

--- Have body_filter called once, with the whole body, unless that is larger than max.
--- phases: header_filter   yields: no
--- @param opts table|nil  max: most bytes (1 MB)
function methods.buffer(self, opts)
    local code = C.rp_abi_res_buffer(self[1][1], max_of("res:buffer", opts))
    if code == E.PHASE then raise("res:buffer can be called in header_filter only") end
    if code ~= 0 then raise("res:buffer: %s", abi.text(code)) end
end

-- ---------------------------------------------------------------- trailers, times

--- Set a trailer of the response; nil removes it, also the upstream's. Sent where the framing has
--- a place for it and the client asked for trailers.
--- phases: header_filter body_filter content   yields: no
--- @param name string
--- @param value string|number|nil
function methods.trailer(self, name, value)
    answer.trailer(self[1][1], "res:trailer", name, value)
    if H.notes ~= 0 then journal.note(self[1], "set", "trailer." .. tostring(name), value) end
end

local function collect(into, m, replace)
    for name, value in header.walk(m) do
        local before = not replace and into[name]
        into[name] = before and before .. ", " .. value or value
    end
end

--- Trailers that are known so far, name -> value; nil: none. The upstream's come with the last
--- piece of its body.
function get.trailers(self)
    local r, found = self[1][1], {}
    if r.x.res_trailers ~= nil then collect(found, r.x.res_trailers) end
    if r.answer ~= nil then collect(found, r.answer.trailers, true) end
    return next(found) and found or nil
end

-- enum rp_abi_time
local CONNECT, CONNECTED, SENT, FIRST_BYTE, END = 1, 2, 3, 4, 5

local function span(from, to)
    if from >= 0 and to >= from then return to - from end
end

--- Where the time of the request went, in seconds; what did not happen is nil.
--- @return table times  queue connect send wait receive total
function get.timings(self)
    local r, at = self[1][1], {}
    for i = CONNECT, END do at[i] = C.rp_abi_res_time(r, i) end
    return {
        queue = span(0, at[CONNECT] >= 0 and at[CONNECT] or at[CONNECTED]),
        connect = span(at[CONNECT], at[CONNECTED]),
        send = span(at[CONNECTED], at[SENT]),
        wait = span(math.max(at[SENT], at[CONNECTED]), at[FIRST_BYTE]),
        receive = span(at[FIRST_BYTE], at[END]),
        total = C.rp_abi_req_duration(r),
    }
end

--- Of the parts of a wrapper: see object.class.
function M.is_foreign(self)
    return rawget(rawget(self, 1), 14) ~= H.wrapper
end

local Response = object.class("res", methods, get, set, M.is_foreign)
outside.class("res", methods, { meta = Response, fields = {} })

--- The res of a wrapper.
function M.new(wrapper)
    return setmetatable({ wrapper }, Response)
end

return M
