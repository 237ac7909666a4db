-- SPDX-License-Identifier: MIT
--
-- response: res, the response on its way to the client, and answers made by hooks.

local abi = require("rproxy.abi")
local answer = require("rproxy.answer")
local header = require("rproxy.header")
local journal = require("rproxy.journal")
local object = require("rproxy.object")

local C, H, E = abi.C, abi.H, abi.E
local raise = object.raise

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
            header.edit(C.rp_abi_answer_edit, wrapper, nil, "set", name, value)
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

function methods.get(self, h)
    return header.first(self[1][1].res, h)
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
    header.edit(C.rp_abi_res_edit, self[1], "res", "set", h, value)
end

function methods.add(self, h, value)
    if value == nil then raise("res:add takes a value") end
    header.edit(C.rp_abi_res_edit, self[1], "res", "add", h, value)
end

function methods.del(self, h)
    header.edit(C.rp_abi_res_edit, self[1], "res", "del", h, nil)
end

--- Add a cookie (RFC 6265 §4.1).
--- phases: header_filter   yields: no
--- @param cookie table  { name, value, path=, domain=, max_age=, secure=, http_only=, same_site= }
function methods.set_cookie(self, cookie)
    local line = require("rproxy.cookie").line(cookie)
    header.edit(C.rp_abi_res_edit, self[1], "res", "add", "set-cookie", line)
end

--- Send another response instead: return res:replace(..) ends the chain.
--- phases: header_filter   yields: no
function methods.replace(self, status, body, headers)
    return M.answer(self[1], "res:replace", status, body, headers)
end

-- ---------------------------------------------------------------- bodies, trailers, times

--- The whole body of the response, before its head goes out. As it came: a Content-Encoding is not
--- undone.
--- phases: header_filter   yields: yes
--- @param opts table|nil  max: most bytes (1 MB)
--- @return string|nil body, string|nil err  "too large": it will be streamed as if nobody had asked;
---   "streamed": a hook is writing it; or why the upstream broke off
function methods.body(self, opts)
    return answer.body_of(self, opts)
end

--- The body of the response as JSON.
--- phases: header_filter   yields: yes
--- @param opts table|nil  max: most bytes (1 MB); and those of rp.json.decode
--- @return any|nil value, string|nil err
function methods.json(self, opts)
    local body, err = answer.body_of(self, opts)
    if not body then return nil, err end
    return require("rproxy.json").decode(body, opts)
end

--- Send another body. Content-Length follows; digests of the old bytes go, a strong ETag becomes a weak
--- one.
--- phases: header_filter   yields: no
--- @param body string|table  a table is sent as JSON
function methods.set_body(self, body)
    answer.set_body(self, body)
end

--- Have body_filter called once, with the whole body, unless that is larger than max.
--- phases: header_filter   yields: no
--- @param opts table|nil  max: most bytes (1 MB)
function methods.buffer(self, opts)
    answer.buffer(self, opts)
end

--- Set a trailer of the response; nil removes it, also the upstream's. Sent where the framing has a place
--- for it and the client asked for trailers.
--- phases: header_filter body_filter content   yields: no
--- @param name string
--- @param value string|number|nil
function methods.trailer(self, name, value)
    answer.trailer(self[1][1], "res:trailer", name, value)
    if H.notes ~= 0 then journal.note(self[1], "set", "trailer", value) end
end

--- Trailers that are known so far, name -> value; nil: none. The upstream's with the last piece, and in
--- log.
function get.trailers(self)
    return answer.trailers(self)
end

--- Where the time of the request went, in seconds.
function get.timings(self)
    return answer.timings(self)
end

local Response = object.class("res", methods, get, set)

--- The res of a wrapper.
function M.new(wrapper)
    return setmetatable({ wrapper }, Response)
end

return M
