-- SPDX-License-Identifier: MIT
--
-- chain: the handlers of one phase as one Lua function, which C enters by its number.
--
-- The function comes from a factory per shape (kind, number of handlers, first position), so that
-- closures of one shape share their machine code however many routes there are. Before a handler
-- runs its position goes to H.at (for C: errors, policy) and its name to the breadcrumb page (for
-- the master, should the process die in it); C does both for the first.

local abi = require("rproxy.abi")
local guest = require("rproxy.guest")
local object = require("rproxy.object")

local M = {}

local H = abi.H

-- LuaJIT allows 60 upvalues in a function; longer chains are chains of groups.
local GROUP = 40

local PHASES = {
    connect = "verdict", tls_hello = "admission", certificate = "gift",
    early = "verdict", access = "verdict", rewrite = "verdict", content = "verdict",
    balance = "verdict", header_filter = "verdict", body_filter = "piece", log = "all",
}

-- ---------------------------------------------------------------- factories

local KINDS = {
    -- a true value ends the chain
    verdict = {
        args = "req, res",
        call = "s = %s(req, res) if s then return s end",
        head = "local s",
    },
    -- every handler runs, results mean nothing
    all = { args = "req, res", call = "%s(req, res)", head = "" },
    -- a string replaces the piece for the handlers that follow; C takes the last from req[5]
    piece = {
        args = "req, res, piece, last",
        call = "s = %s(req, res, piece, last) if s ~= nil then"
            .. " if type(s) ~= 'string' then bad(s) end piece = s keep(req, 5, s) end",
        head = "local s",
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

function KINDS.admission.bad(value)
    error(("tls_hello returned a %s, not false, true or nil"):format(type(value)), 0)
end

local factories = {}

local function factory(kind, n, first, marks)
    local key = kind .. n .. ":" .. first .. (marks and "m" or "")
    local made = factories[key]
    if made then return made end
    local shape, names, lines = KINDS[kind], {}, {}
    for i = 1, n do
        names[i] = "h" .. i
        local at = first + i - 1
        if marks and at > 1 then
            lines[#lines + 1] = ("H.at = %d H.guilty[0] = I[%d]"):format(at, at - 1)
        end
        lines[#lines + 1] = shape.call:format(names[i])
    end
    local source = ("local H, I, bad, keep, %s = ... return function(%s) %s\n%s\nend"):format(
        table.concat(names, ", "), shape.args, shape.head, table.concat(lines, "\n"))
    made = assert(loadstring(source, "=chain"))
    factories[key] = made
    return made
end

local function make(kind, ids, fns, first, marks)
    local shape = KINDS[kind]
    return factory(kind, #fns, first, marks)(H, ids, shape.bad, shape.keep or object.keep,
        unpack(fns))
end

local function group(kind, ids, fns, first)
    return make(kind, ids, fns, first, true)
end

local function link(kind, ids, fns)
    if #fns <= GROUP then return group(kind, ids, fns, 1) end
    local groups = {}
    for first = 1, #fns, GROUP do
        local part = { unpack(fns, first, math.min(first + GROUP - 1, #fns)) }
        groups[#groups + 1] = group(kind, ids, part, first)
    end
    if #groups > GROUP then error("too many handlers in one phase", 0) end
    return make(KINDS[kind].outer or kind, ids, groups, 1, false)
end

-- ---------------------------------------------------------------- chains

local made = {} -- number -> { phase, handlers }

--- Make the chain of one phase. Handlers run in list order (response phases: give them reversed).
--- @param phase string  "access", "log" ..
--- @param handlers table  { { fn, plugin }, .. }: plugin is an index from rp_abi_conf_add_plugin
--- @return number ref  for rp_abi_conf_set_route_chain and its like; 0 when there is no handler
function M.make(phase, handlers)
    local kind = PHASES[phase] or error("no such phase: " .. tostring(phase), 2)
    if #handlers == 0 then return 0 end
    local fns, plugins = {}, {}
    for i, handler in ipairs(handlers) do
        if type(handler[1]) ~= "function" then error("a handler is not a function", 2) end
        fns[i], plugins[i] = handler[1], handler[2]
    end
    local ref, ids = abi.host.chain_new(plugins)
    abi.host.chain_set(ref, link(kind, abi.cast("const uint16_t *", ids), fns))
    made[ref] = { phase, handlers }
    return ref
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

--- Indexes of the plugins of a chain, in running order (for `rproxy -T`).
function M.plugins(ref)
    local list = {}
    for i, handler in ipairs(made[ref] and made[ref][2] or {}) do
        list[i] = handler[2]
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

local life = { start = {}, stop = {}, farewell = {} }

--- Have fn(worker) run before the worker accepts / when its drain is finished. May wait.
--- @param what string  "start" or "stop"; "farewell": when nothing uses this VM any more, at the
---   worker's end or after a reload (for the layer: what it still has to send)
--- @param fn function
--- @param plugin number  index of its plugin, for messages
function M.on(what, fn, plugin)
    local list = life[what] or error("no such hook: " .. tostring(what), 2)
    list[#list + 1] = { fn, plugin }
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
    if what ~= "stop" then return run(life[what]) end
    -- A stop hook that raises is no reason to lose what waits in queues.
    local ok, err = xpcall(run, abi.host.trace, life.stop)
    run(life.farewell)
    if not ok then error(err, 0) end
end

--- Are there start or stop hooks? Called by C.
function M.has_life(what)
    return #life[what] > 0 or (what == "stop" and #life.farewell > 0)
end

return M
