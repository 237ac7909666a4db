-- SPDX-License-Identifier: MIT
--
-- shadow: instances with mode = "shadow". Their hooks run where they stand; what they decide and
-- change is noted in the request's journal and not done, and the chain goes on as if they had
-- returned nothing. One that raises is logged, counted and passed over, whatever its on_error is.
--
-- What holds it back is C: H.notes is journal.ONLY while such a hook runs, also in the tasks that
-- it spawns (script/journal.h). Here is the rest: verdicts, what a returned value means, a time to
-- wait of its own, and a ctx of its own. It reads the request as it is, without its own changes.
--
-- Not held back, as the verdict depends on them: shared zones, calls to others, timers, logs.

local abi = require("rproxy.abi")
local journal = require("rproxy.journal")

local C, H = abi.C, abi.H
local error, getmetatable, pairs, rawget, setmetatable, type =
    error, getmetatable, pairs, rawget, setmetatable, type

local M = {}

local SLOT = 11 -- of a request's wrapper: its journal, or false
local ONLY = journal.ONLY

-- ---------------------------------------------------------------- ctx

-- A table of somebody else as the shadow's own: it may write into it.
local function own(value, seen)
    if type(value) ~= "table" or getmetatable(value) ~= nil then return value end
    local made = seen[value]
    if made then return made end
    made = {}
    seen[value] = made
    for key, item in pairs(value) do made[key] = own(item, seen) end
    return made
end

--- A table that others read, too, as the shadow's own. For req.route.
function M.own(value)
    return own(value, {})
end

-- What it does not have it reads from the ctx of all; tables there are copied when first read.
local function overlay(owner)
    return setmetatable({}, { __index = function(self, key)
        local all = rawget(owner, 2)
        local value = all and all[key]
        if type(value) ~= "table" then return value end
        value = own(value, {})
        rawset(self, key, value)
        return value
    end, __metatable = "ctx" })
end

local of_conns = setmetatable({}, { __mode = "k" }) -- wrapper of a connection -> instance -> ctx

--- The ctx of the running instance, which is a shadow. For req.ctx and conn.ctx.
--- @param owner table  wrapper of a request or of a connection
function M.ctx(owner)
    local made = rawget(owner, SLOT)
    if made == false then
        made = journal.want(owner, false)
    elseif made == nil then
        made = of_conns[owner]
        if not made then
            made = {}
            of_conns[owner] = made
        end
    end
    made.ctx = made.ctx or {}
    local index = C.rp_abi_running(H)
    local ctx = made.ctx[index]
    if not ctx then
        ctx = overlay(owner)
        made.ctx[index] = ctx
    end
    return ctx
end

-- ---------------------------------------------------------------- hooks of requests

local MUST_ANSWER = { early = true, access = true, rewrite = true, balance = true }

-- What a handler that makes pieces returned; the same mistakes raise as in a chain (chain.lua).
local function note_piece(req, frame, hook, answer, result)
    if result == nil or (answer and result == true) then return end
    if type(result) ~= "string" then
        error(("%s returned a %s, not a string or nil"):format(hook, type(result)), 0)
    end
    journal.note_piece(req, frame, result)
end

-- enum rp_account
local ANSWERS, DENIALS, EDITS = C.RP_ACCOUNT_SHADOW_ANSWERS, C.RP_ACCOUNT_SHADOW_DENIALS,
    C.RP_ACCOUNT_SHADOW_EDITS

local function count(req, frame, answer)
    if answer then
        C.rp_abi_shadow_count(H, frame.index, ANSWERS)
        if answer.status >= 400 then C.rp_abi_shadow_count(H, frame.index, DENIALS) end
    end
    if journal.has_edits(req, frame) then C.rp_abi_shadow_count(H, frame.index, EDITS) end
end

local function leave()
    if not C.rp_abi_shadow_leave(H) then error("the hook used up its CPU budget", 0) end
end

local function after(req, frame, hook, result)
    leave()
    if result == nil and not frame.answer and journal.leave_silently(req, frame) then return end
    local answer = journal.answer_of(req, frame)
    if journal.makes_pieces(hook) then
        note_piece(req, frame, hook, answer, result)
    elseif result and not answer and MUST_ANSWER[hook] then
        error("it returned a true value without req:exit or req:redirect", 0)
    end
    count(req, frame, answer)
    journal.leave(req, frame, answer and "answer" or "next",
        answer and { status = answer.status })
end

-- ---------------------------------------------------------------- hooks of connections

local sinks = {}

--- Have fn(conn, verdict, entries) called after each shadow hook of a connection that decided
--- something. verdict: an entry as of a journal.
function M.on_conn(fn)
    sinks[#sinks + 1] = fn
end

local REFUSES = {
    tls_hello = function(result) return result == false end,
    certificate = function(result) return result == false end,
    connect = function(result) return result and true or false end,
    log = function() return false end,
}

local function after_conn(conn, frame, hook, result)
    leave()
    if hook == "certificate" and result then
        journal.note_conn("assign", "certificate", "a certificate")
    end
    local entries = frame.entries
    if #entries > 0 then C.rp_abi_shadow_count(H, frame.index, EDITS) end
    if REFUSES[hook](result) then C.rp_abi_shadow_count(H, frame.index, DENIALS) end
    local verdict = journal.leave_conn(frame, REFUSES[hook](result) and "refuse" or "next")
    if verdict.verdict == "next" and #entries == 0 then return end
    for _, sink in ipairs(sinks) do sink(conn, verdict, entries) end
end

-- ---------------------------------------------------------------- instances

local function enter(self, index, hook)
    local frame
    if rawget(self, SLOT) ~= nil then frame = journal.enter(self, index, hook, ONLY)
    else frame = journal.enter_conn(index, hook, ONLY) end
    frame.ends = C.rp_abi_shadow_enter(H)
    return frame
end

local function wrap(fn, hook, index)
    return journal.notes_itself(function(self, res, piece, last)
        local frame = enter(self, index, hook)
        local result = fn(self, res, piece, last)
        if frame.entries then return after_conn(self, frame, hook, result) end
        return after(self, frame, hook, result)
    end)
end

-- Hooks that no request or connection depends on run as they are.
local AS_THEY_ARE = { init = true, start = true, stop = true }

--- The hooks of a shadow instance as chains run them.
--- @param instance table  hooks, index
--- @return table|nil hooks, string|nil why
function M.hooks(instance)
    local hooks = {}
    for name, fn in pairs(instance.hooks) do
        if name == "content" then
            return nil, "a content hook makes the answer, so it cannot run in shadow mode"
        end
        hooks[name] = AS_THEY_ARE[name] and fn or wrap(fn, name, instance.index)
    end
    return hooks
end

return M
