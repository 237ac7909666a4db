-- SPDX-License-Identifier: MIT
--
-- answer: responses that a hook writes piece by piece, and hints before the head.
--
-- A hook that has begun such a response goes on running while the response is relayed, at its
-- client's pace (runtime/proxy/answer.h). What it holds may be kept longer than the request, by
-- other requests that have something to say to that client: each use looks whether that is still
-- the one.
--
-- The objects (out here, es in rproxy.events) are { wrapper, generation of its slot }.

local abi = require("rproxy.abi")
local header = require("rproxy.header")
local journal = require("rproxy.journal")
local object = require("rproxy.object")
local options = require("rproxy.opts")
local task = require("rproxy.task")

local C, H, E = abi.C, abi.H, abi.E
local raise = object.raise
local cast = abi.cast
local rawget, tonumber, type = rawget, tonumber, type

local methods = {} -- of req
local M = { methods = methods }

-- ---------------------------------------------------------------- options

--- Seconds of an option; false: 0.
function M.seconds(what, name, value, unsaid)
    if value == nil then return unsaid end
    if value == false then return 0 end
    if type(value) ~= "number" or not (value >= 0.001 and value <= 1e9) then
        raise("%s: %s is a number of seconds, or false", what, name)
    end
    return value
end

function M.check_status(what, status)
    if type(status) ~= "number" or status < 200 or status > 599 or status % 1 ~= 0 then
        raise("%s takes a status from 200 to 599, got %s", what, tostring(status))
    end
end

-- ---------------------------------------------------------------- writing

--- The request of an object, while it is the one that the object was made for; else nil.
function M.request_of(self)
    local r = object.pointer(rawget(self, 1))
    if r and r.slot_gen == rawget(self, 2) then return r end
    return nil
end

local function failed(code)
    if code == E.BUSY then return nil, "busy" end
    return nil, "closed"
end

--- Write all of a text, waiting for the client as often as it takes.
function M.write_all(self, what, text)
    local at, n = 0, #text
    while true do
        local r = M.request_of(self)
        if not r then return nil, "closed" end
        -- A pointer into the text would not keep it over the wait.
        local used = C.rp_abi_respond_write(H, r, cast("const char *", text) + at, n - at)
        if used == n - at then return true end
        if used == E.TOO_BIG then raise("%s: this is more than the length announced", what) end
        if used < 0 then return failed(used) end
        at = at + used
        task.wait("client to take the response", -1)
    end
end

function M.flush(self)
    while true do
        local r = M.request_of(self)
        if not r then return nil, "closed" end
        local code = C.rp_abi_respond_flush(H, r)
        if code == abi.OK then return true end
        if code ~= abi.AGAIN then return failed(code) end
        task.wait("client to take the response", -1)
    end
end

--- Set a trailer of a response. For res:trailer and out:close.
function M.trailer(r, what, name, value)
    local text = header.text(name)
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

function M.close(self, what, trailers)
    local r = M.request_of(self)
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

--- Getters that such objects have.
local shown = {}

function shown.open(self)
    local r = M.request_of(self)
    return r ~= nil and r.answer ~= nil and r.answer.streamed and not r.answer.ended
        and r.x.fail == 0
end

function shown.leaving(self)
    local r = M.request_of(self)
    return r == nil or C.rp_abi_req_is_leaving(r)
end

function shown.bytes(self)
    local r = M.request_of(self)
    return r and tonumber(r.x.body_out_bytes) or nil
end

M.shown = shown

local out_methods = {}

--- Write a piece of the response. Returns at once while the client keeps up, about 64 KB ahead.
--- phases: early access rewrite content   yields: yes
--- @param data string|string[]
--- @return true|nil ok, string|nil err  "closed": nobody wants it; "busy": another task is writing
function out_methods.write(self, data)
    if type(data) == "string" then return M.write_all(self, "out:write", data) end
    if type(data) == "number" then return M.write_all(self, "out:write", tostring(data)) end
    if type(data) ~= "table" then raise("out:write takes a string or a list of strings") end
    return M.write_all(self, "out:write", table.concat(data))
end

--- Wait until all that was written is in the client's socket.
--- phases: early access rewrite content   yields: yes
--- @return true|nil ok, string|nil err  "closed"
function out_methods.flush(self)
    return M.flush(self)
end

--- End the response; a hook that returns does that, too.
--- phases: early access rewrite content   yields: no
--- @param trailers table|nil  name -> value
--- @return true  for return out:close()
function out_methods.close(self, trailers)
    return M.close(self, "out:close", trailers)
end

local Out = object.class("out", out_methods, shown, {})

--- Make the response; the generation of the slot.
--- @param given table  length, idle, keepalive
function M.begin(self, what, status, headers, given)
    local r = self[1] -- the wrapper of the request
    local code = C.rp_abi_respond(H, r, status, given.length or -1, given.idle, given.keepalive)
    if code == E.PHASE then
        raise("%s: a response is begun in early, access, rewrite or content, once, by the hook "
            .. "itself", what)
    end
    if code ~= 0 then raise("%s: %s", what, abi.text(code)) end
    for name, value in pairs(headers or {}) do
        if type(value) == "table" then
            for _, one in ipairs(value) do
                header.edit(C.rp_abi_answer_edit, self, nil, header.ADD, name, one)
            end
        else
            header.edit(C.rp_abi_answer_edit, self, nil, header.SET, name, value)
        end
    end
    if H.notes ~= 0 then
        journal.note_answer(self, what, status, nil, nil, headers)
    end
    return r.slot_gen
end

local OUT_OPTS = { length = "whole", idle = "any" }

--- Begin a response whose body this hook writes piece by piece.
--- phases: early access rewrite content   yields: no
--- @param status number  200 to 599
--- @param headers table|nil  name or rp.header -> value or list of values
--- @param opts table|nil  length: bytes of the body, when known; idle: most seconds without a write
---   (as timeouts.hook_wait; false: no limit)
--- @return rproxy.Out out
function methods.respond(self, status, headers, opts)
    local what = "req:respond"
    M.check_status(what, status)
    opts = options.check(what, opts, OUT_OPTS)
    local given = { length = opts.length, keepalive = 0,
        idle = M.seconds(what, "idle", opts.idle, -1) }
    return setmetatable({ self, M.begin(self, what, status, headers, given) }, Out)
end

-- ---------------------------------------------------------------- hints

--- Tell the client what to fetch before the response is known: 103 Early Hints (RFC 8297). Clients
--- of HTTP/1.0 are told nothing.
--- phases: early access rewrite content balance   yields: no
--- @param headers table  name -> value or list of values: { link = { "</a.css>; rel=preload" } }
--- @return boolean|nil sent, string|nil err  false: this client knows no hints; err: "too many"
function methods.early_hints(self, headers)
    local r, what = self[1], "req:early_hints"
    if type(headers) ~= "table" or next(headers) == nil then
        raise("%s takes a table of headers", what)
    end
    local code
    for name, value in pairs(headers) do
        local text = header.text(name)
        for _, one in ipairs(type(value) == "table" and value or { value }) do
            one = header.value(one)
            code = C.rp_abi_hint_add(r, text, #text, one, #one)
            if code ~= 0 then
                C.rp_abi_hint_drop(r)
                if code == E.PHASE then raise("%s: the response is under way", what) end
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

return M
