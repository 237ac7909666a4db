-- SPDX-License-Identifier: MIT
--
-- chain: the handlers of one phase as one Lua function, which C enters by its number.
--
-- The function comes from a factory per shape (kind, number of handlers, first position), so that
-- closures of one shape share their machine code however many routes there are. Before a handler
-- runs its position goes to H.at (for C: errors, policy) and its name to the breadcrumb page (for
-- the master, should the process die in it); C does both for the first.

local abi = require("rproxy.abi")
local breaker = require("rproxy.breaker")
local guest = require("rproxy.guest")
local object = require("rproxy.object")

local M = {}

local H = abi.H

-- LuaJIT allows 60 upvalues in a function; longer chains are chains of groups.
local GROUP = 40

local PHASES = {
    connect = "verdict", tls_hello = "admission", certificate = "gift",
    early = "request", access = "request", rewrite = "request", content = "request",
    balance = "verdict", request_body = "request_piece", header_filter = "response",
    body_filter = "piece", log = "all",
}

-- ---------------------------------------------------------------- wrappers

local wrappers = {} -- of the slots of requests, by struct rp_vm_slot.place

--- Have chains find a slot's wrapper.
function M.place(place, wrapper)
    wrappers[place] = wrapper
end

-- The req of the pass that begins. An argument costs more: C pushes it, and lua_resume moves it.
local function entered()
    return wrappers[H.place]
end

-- ---------------------------------------------------------------- factories

local KINDS = {
    -- a true value ends the chain
    verdict = {
        args = "req, res",
        call = "s = %s(req, res) if s then return s end",
        head = "local s",
    },
    request = {
        args = "",
        call = "s = %s(req) if s then H.attention = 1 return s end",
        head = "local s, req = nil, entered()",
        inner = "verdict",
    },
    -- the same of a response; res is read here: C would take six times as long to push it
    response = {
        args = "",
        call = "s = %s(req, res) if s then H.attention = 1 return s end",
        head = "local s, req = nil, entered() local res = raw(req, 7)",
        inner = "verdict",
    },
    -- every handler runs, results mean nothing; a relayed connection is given, and has no res
    all = {
        args = "req",
        call = "%s(req, res)",
        head = "req = req or entered() local res = raw(req, 7)",
    },
    -- a string replaces the piece for the handlers that follow; C takes the last from req[5]
    piece = {
        args = "req, res, piece, last",
        call = "s = %s(req, res, piece, last) if s ~= nil then"
            .. " if type(s) ~= 'string' then bad(s) end piece = s made = s keep(req, 5, s) end",
        head = "local s, made",
        tail = "return made",
    },
    -- the same of a request, req[12]; true ends the chain: the request is answered
    request_piece = {
        args = "req, piece, last",
        call = "s = %s(req, piece, last) if s ~= nil then if s == true then return s end"
            .. " if type(s) ~= 'string' then bad(s) end piece = s made = s keep(req, 12, s) end",
        head = "local s, made",
        tail = "return made",
    },
    -- false ends the chain; nothing and true go on
    admission = {
        args = "req, res",
        call = "s = %s(req) if s == false then return s end"
            .. " if s ~= nil and s ~= true then bad(s) end",
        head = "local s",
    },
    -- the first that gives something (its value, and for how long) ends the chain
    gift = {
        args = "req, res",
        call = "s, t = %s(req) if s ~= nil then keep(req, s, t) return true end",
        head = "local s, t",
        keep = guest.give,
        outer = "verdict",
    },
}

function KINDS.piece.bad(value)
    error(("body_filter returned a %s, not a string or nil"):format(type(value)), 0)
end

function KINDS.request_piece.bad(value)
    error(("request_body returned a %s, not a string, nil or req:exit(..)"):format(type(value)), 0)
end

function KINDS.admission.bad(value)
    error(("tls_hello returned a %s, not false, true or nil"):format(type(value)), 0)
end

local factories = {}

-- marks: "at": positions are noted; "timed": the clock is read between handlers, too
local function factory(kind, n, first, marks)
    local key = kind .. n .. ":" .. first .. (marks or "")
    local made = factories[key]
    if made then return made end
    local shape, names, lines = KINDS[kind], {}, {}
    for i = 1, n do
        names[i] = "h" .. i
        local at = first + i - 1
        if marks and at > 1 then
            lines[#lines + 1] = ("%s H.at = %d H.guilty[0] = I[%d]"):format(
                marks == "timed" and "mark(H)" or "", at, at - 1)
        end
        lines[#lines + 1] = shape.call:format(names[i])
    end
    lines[#lines + 1] = shape.tail
    local source = ("local H, I, bad, keep, mark, raw, entered, %s = ... return function(%s)"
        .. " %s\n%s\nend")
        :format(table.concat(names, ", "), shape.args, shape.head, table.concat(lines, "\n"))
    made = assert(loadstring(source, "=chain"))
    factories[key] = made
    return made
end

local function make(kind, ids, fns, first, marks)
    local shape = KINDS[kind]
    return factory(kind, #fns, first, marks)(H, ids, shape.bad, shape.keep or object.keep,
        abi.C.rp_abi_mark, rawget, entered, unpack(fns))
end

local function link(kind, ids, fns, marks)
    if #fns <= GROUP then return make(kind, ids, fns, 1, marks) end
    local groups = {}
    for first = 1, #fns, GROUP do
        local part = { unpack(fns, first, math.min(first + GROUP - 1, #fns)) }
        groups[#groups + 1] = make(KINDS[kind].inner or kind, ids, part, first, marks)
    end
    if #groups > GROUP then error("too many handlers in one phase", 0) end
    return make(KINDS[kind].outer or kind, ids, groups, 1, nil)
end

-- ---------------------------------------------------------------- chains

local made = {} -- number -> { phase, handlers, ids }
local replaced = {} -- plugin -> (fn, phase) -> what runs instead, while its breaker is not closed

-- The function of a chain, and the same with a clock between its handlers (one handler needs none).
local function set(ref)
    local phase, handlers, ids = unpack(made[ref], 1, 3)
    local fns = {}
    for i, handler in ipairs(handlers) do
        local instead = replaced[handler[2]]
        fns[i] = instead and instead(handler[1], phase) or handler[1]
    end
    local fn = link(PHASES[phase], ids, fns, "at")
    abi.host.chain_set(ref, fn, #fns > 1 and link(PHASES[phase], ids, fns, "timed") or fn)
end

--- Make the chain of one phase. Handlers run in list order (response phases: give them reversed).
--- @param phase string  "access", "log" ..
--- @param handlers table  { { fn, plugin }, .. }: plugin is an index from rp_abi_conf_add_plugin
--- @return number ref  for rp_abi_conf_set_route_chain and its like; 0 when there is no handler
function M.make(phase, handlers)
    if not PHASES[phase] then error("no such phase: " .. tostring(phase), 2) end
    if #handlers == 0 then return 0 end
    local plugins = {}
    for i, handler in ipairs(handlers) do
        if type(handler[1]) ~= "function" then error("a handler is not a function", 2) end
        plugins[i] = handler[2]
    end
    local ref, ids = abi.host.chain_new(plugins)
    made[ref] = { phase, handlers, abi.cast("const uint16_t *", ids) }
    set(ref)
    return ref
end

--- Take a plugin out of all its chains, try it, or put it back. Called by C when its breaker
--- changed.
--- @param plugin number  its index
--- @param state number  enum rp_metric_breaker
--- @param deny boolean  what it cannot do is refused, instead of left out
function M.relink(plugin, state, deny)
    replaced[plugin] = breaker.instead(plugin, state, deny)
    for ref, chain in pairs(made) do
        for _, handler in ipairs(chain[2]) do
            if handler[2] == plugin then
                set(ref)
                break
            end
        end
    end
end

--- The chain that begins after position `at` of another. Called by C when a handler failed whose
--- policy is to go on.
function M.rest(ref, at)
    local phase, handlers = made[ref][1], made[ref][2]
    local rest = {}
    for i = at + 1, #handlers do
        rest[#rest + 1] = handlers[i]
    end
    return M.make(phase, rest)
end

--- The chain that runs the handlers of another as wrap(fn, phase, plugin) makes them. For
--- rproxy.journal.
function M.traced(ref, wrap)
    local phase, list = made[ref][1], {}
    for i, handler in ipairs(made[ref][2]) do
        list[i] = { wrap(handler[1], phase, handler[2]), handler[2] }
    end
    return M.make(phase, list)
end

--- Indexes of the plugins of a chain, in running order (for `rproxy -T`).
function M.plugins(ref)
    local list = {}
    for i, handler in ipairs(made[ref] and made[ref][2] or {}) do
        list[i] = handler[2]
    end
    return list
end

--- Functions of all chains (for rproxy.test).
function M.handlers()
    local list = {}
    for _, chain in pairs(made) do
        for _, handler in ipairs(chain[2]) do list[#list + 1] = handler[1] end
    end
    return list
end

-- ---------------------------------------------------------------- kept values

local kept = {}

--- Keep a value for this generation and get a number for it (req.route.meta).
--- @return number ref  from 1
function M.keep(value)
    kept[#kept + 1] = value
    return #kept
end

function M.kept(ref)
    return kept[ref]
end

-- ---------------------------------------------------------------- start and stop

local IS_END = { stop = true, agent_stop = true }
local life = { start = {}, stop = {}, farewell = {}, agent = {}, agent_stop = {} }

--- Have fn(worker) run before the worker accepts / when its drain is finished. May wait.
--- @param what string  "start" or "stop"; "farewell": when nothing uses this VM any more, at the
---   worker's end or after a reload (for the layer: what it still has to send); "agent": once per
---   instance, in the agent, instead of the start hooks
--- @param fn function
--- @param plugin number  index of its plugin, for messages
function M.on(what, fn, plugin)
    local list = life[what] or error("no such hook: " .. tostring(what), 2)
    list[#list + 1] = { fn, plugin }
end

--- The site is gone (rproxy.lab): so are its chains, values and hooks.
function M.forget_site()
    made, kept, replaced = {}, {}, {}
    for what in pairs(life) do life[what] = {} end
end

--- Run the start or stop hooks one after the other; the first error ends it. Called by C.
--- @param id number  of the worker, from 0; a respawned one has the id of the one before
--- @param pid number
--- @param seconds number  that it may take
function M.run_life(what, id, pid, seconds)
    local ends = abi.C.rp_abi_now(H) + seconds
    local worker = { id = id, pid = pid }
    local function run(list)
        for _, hook in ipairs(list) do
            H.at = hook[2] + 1 -- outside of a chain: whose code runs, from 1
            hook[1](worker, ends)
        end
    end
    if not IS_END[what] then return run(life[what]) end
    -- A stop hook that raises is no reason to lose what waits in queues.
    local ok, err = xpcall(run, abi.host.trace, life[what])
    run(life.farewell)
    if not ok then error(err, 0) end
end

--- Are there start or stop hooks? Called by C.
function M.has_life(what)
    return #life[what] > 0 or (IS_END[what] and #life.farewell > 0) or false
end

return M
