-- SPDX-License-Identifier: MIT
--
-- confine: untrusted plugins. An instance is made of a copy of its module that runs in a box: never
-- compiled, under exact bounds for instructions and bytes in each call (script/vm_fuel.c), with a
-- library of its own (confine_lib.lua), and behind a membrane.
--
-- The membrane: nothing of the layer, of the site or of other plugins is in the box but strings,
-- numbers, copies of plain tables, and views. A view is an empty table that stands for an object of
-- the layer; what is read from it, written to it and called passes here, and so does every
-- function: a stub stands for one of the layer's, an entry for one of the box's. Pointers, methods
-- and metatables stay outside.
--
--   in the box, armed   --outcall-->  pause, convert, call, convert, resume
--   the layer           --entry--->   convert, arm, call, pause, convert
--
-- Errors of bounds cannot be caught in the box: what it has as pcall resumes first, which raises
-- again. There are no coroutines, and message handlers run when all is unwound.

jit.off(true, true)

local abi = require("rproxy.abi")
local grant = require("rproxy.grant")
local json = require("rproxy.json")
local lib = require("rproxy.confine_lib")
local loader = require("rproxy.loader")
local plugin = require("rproxy.plugin")
local schema = require("rproxy.schema")
local task = require("rproxy.task")
local units = require("rproxy.config.units")

local M = {}

local host = abi.host
local DEPTH_MOST = 64 -- of tables in tables that are handed over
local BACKGROUND_MOST = 64 -- background tasks and timers of one instance in a worker
local ROUNDS_MOST, ROUNDS_A_SECOND = 64, 20 -- calls in the background: at once, and from then on
-- What the library does with a text takes time in C that nobody counts: it is paid for by the byte.
local FREE_BYTES, A_BYTE = 64, 4
local ARRAY = debug.getmetatable(json.array({}))

local getmeta = debug.getmetatable

-- ---------------------------------------------------------------- out of the box

local Box = {}
Box.__index = Box

local function is_data(value)
    local mt = getmeta(value)
    return mt == nil or mt == ARRAY or schema.is_frozen(value)
end

local function too_deep()
    error("a table is nested too deeply", 0)
end

-- A value of the box for the layer.
function Box:inbound(value, depth, seen)
    local kind = type(value)
    if kind == "function" then return self.real_of[value] or self:entry(value) end
    if kind == "string" and #value > FREE_BYTES then host.fuel_charge(#value * A_BYTE) end
    if kind ~= "table" then return value end
    local real = self.real_of[value]
    if real ~= nil then return real end
    depth, seen = (depth or 0) + 1, seen or {}
    if depth > DEPTH_MOST then too_deep() end
    if seen[value] then return seen[value] end
    local out = {}
    seen[value] = out
    for key, item in next, value do
        rawset(out, self:inbound(key, depth, seen), self:inbound(item, depth, seen))
    end
    if getmeta(value) == ARRAY then setmetatable(out, ARRAY) end
    return out
end

function Box:view(real)
    local view = self.view_of[real]
    if not view then
        view = setmetatable({}, self.view_meta)
        self.view_of[real], self.real_of[view] = view, real
    end
    return view
end

-- A value of the layer for the box. live: a plain table is itself, not a copy.
function Box:outbound(value, live, depth, seen)
    local kind = type(value)
    if kind == "function" then
        return self.real_of[value] ~= nil and value or self:stub(value) -- ~= nil: it is one
    end
    if kind == "cdata" or kind == "thread" then return self:view(value) end
    if kind == "userdata" then return value == json.null and value or self:view(value) end
    if kind ~= "table" then return value end
    if self.real_of[value] ~= nil then return value end
    if not is_data(value) or (live and getmeta(value) == nil) then return self:view(value) end
    depth, seen = (depth or 0) + 1, seen or {}
    if depth > DEPTH_MOST then too_deep() end
    if seen[value] then return seen[value] end
    local out = {}
    seen[value] = out
    for key, item in next, value do
        out[self:outbound(key, false, depth, seen)] = self:outbound(item, false, depth, seen)
    end
    return getmeta(value) == ARRAY and setmetatable(out, ARRAY) or out
end

local function convert(box, how, live, n, list)
    for i = 1, n do list[i] = box[how](box, list[i], live) end
    return list
end

-- An iterator and its state, which is the iterator's alone: the box calls it with what it likes.
local function iterator(box, fn, state)
    return function(_, control)
        return box:outcall(false, function(at) return fn(state, at) end, control)
    end
end

-- What the layer gave back, still paused.
local function back(box, live, ok, ...)
    local n, list = select("#", ...), { ... }
    if type(list[1]) == "function" and n > 1 and type(list[2]) == "table" then
        list[1], list[2] = iterator(box, list[1], list[2]), nil
        box.real_of[list[1]] = false
    end
    convert(box, "outbound", live, n, list)
    host.fuel_resume()
    if not ok then error(list[1], 0) end
    return unpack(list, 1, n)
end

--- Call a function of the layer from the box.
function Box:outcall(live, fn, ...)
    local n, list = select("#", ...), { ... }
    for i = 1, n do list[i] = self:inbound(list[i]) end
    host.fuel_pause()
    return back(self, live, pcall(fn, unpack(list, 1, n)))
end

-- A method, taken from an object of that metatable: it is called with such an object or not at all,
-- as it would take any table's fields for its own.
function Box:method(fn, mt)
    local method = self.method_of[fn]
    if not method then
        method = function(view, ...)
            local real = self.real_of[view]
            if type(real) ~= "table" or getmeta(real) ~= mt then
                error("a method is called with its object: object:method()", 2)
            end
            return self:outcall(false, fn, view, ...)
        end
        self.method_of[fn], self.real_of[method] = method, fn
    end
    return method
end

function Box:stub(fn)
    local original = self.box_of[fn]
    if original then return original end -- it was the box's own
    local stub = self.view_of[fn]
    if not stub then
        stub = function(...) return self:outcall(false, fn, ...) end
        self.view_of[fn], self.real_of[stub] = stub, fn
    end
    return stub
end

-- ---------------------------------------------------------------- into the box

local function run(box, fn, ...)
    host.fuel_begin(box.limits.instructions, box.limits.memory, box.strings)
    return fn(...)
end

local function settle(...)
    host.fuel_pause()
    return ...
end

local function guarded(...)
    return settle(pcall(run, ...))
end

function Box:complaint(spent)
    if spent == "memory" then
        return ("plugin %q is untrusted and used up its memory: %s in one call"):format(self.name,
            units.show_size(self.limits.memory))
    end
    return ("plugin %q is untrusted and used up its instructions: %.0f in one call"):format(
        self.name, self.limits.instructions)
end

-- What a failure in the box is outside: a text, or what the layer itself had raised.
local function raised(box, err)
    local real = box.real_of[err]
    if real ~= nil then return real end
    if type(err) == "string" then return err end
    return ("(a %s was raised)"):format(type(err))
end

-- guarded may fail itself, between the end of the call and the pause.
local function finish(box, fresh, guard_ok, ok, ...)
    local spent = host.fuel_spent()
    if fresh then host.fuel_end() end
    if spent then error(box:complaint(spent), 0) end
    if not guard_ok then error(raised(box, ok), 0) end
    if not ok then error(raised(box, (...)), 0) end
    local n, list = select("#", ...), { ... }
    for i = 1, n do list[i] = box:inbound(list[i]) end
    return unpack(list, 1, n)
end

--- A function of the box for the layer.
function Box:entry(fn)
    local entry = self.entry_of[fn]
    if entry then return entry end
    entry = function(...)
        local n, list = select("#", ...), { ... }
        convert(self, "outbound", false, n, list)
        local fresh = not host.fuel_runs()
        return finish(self, fresh, pcall(guarded, self, fn, unpack(list, 1, n)))
    end
    self.entry_of[fn], self.box_of[entry] = entry, fn
    return entry
end

-- ---------------------------------------------------------------- views

-- A method as such, for outbound; what else is read.
local function read_field(box)
    return function(real, key)
        local value, mt = real[key], getmeta(real)
        if type(value) == "function" and mt and not mt.library and not box.box_of[value] then
            local method = box:method(value, mt)
            box.real_of[method] = value
            return method
        end
        return value
    end
end

local function assign(real, key, value)
    real[key] = value
end

-- Named fields of objects; array parts hold pointers. Plain tables have no secrets.
local function may_index(real, key)
    return type(real) == "table" and (type(key) == "string" or getmeta(real) == nil)
end

-- Objects whose class says what may be assigned, and plain tables.
local function may_assign(real, key)
    if not may_index(real, key) then return false end
    local mt = getmeta(real)
    return mt == nil or type(mt.__newindex) == "function"
end

-- Which plain tables are seen as they are: `ctx`, and what is in it.
local function is_live(real, key)
    return key == "ctx" or getmeta(real) == nil
end

local function view_meta(box)
    local index = read_field(box)
    return {
        __index = function(view, key)
            local real = box.real_of[view]
            if not may_index(real, key) then return nil end
            return box:outcall(is_live(real, key), index, view, key)
        end,
        __newindex = function(view, key, value)
            local real = box.real_of[view]
            if not may_assign(real, key) then error("this object has no such field", 2) end
            box:outcall(false, assign, view, key, value)
        end,
        __call = function(view, ...)
            return box:outcall(false, box.real_of[view], ...)
        end,
        __tostring = function(view)
            return box:outcall(false, tostring, view)
        end,
        __metatable = "protected",
    }
end

-- ---------------------------------------------------------------- the box's library

local function pick(from, names)
    local out = {}
    for name in names:gmatch("%S+") do out[name] = from[name] end
    return out
end

local function after(ok, ...)
    if not ok then host.fuel_resume() end -- raises again what may not be caught
    return ok, ...
end

local function box_pcall(fn, ...)
    return after(pcall(fn, ...))
end

local function handled(handler, ok, ...)
    if ok then return true, ... end
    host.fuel_resume()
    return false, handler(...)
end

local function box_xpcall(fn, handler, ...)
    return handled(handler, pcall(fn, ...))
end

-- A plain table of the layer by way of its view: what pairs needs is copied, one level.
local function snapshot(box, view)
    return box:outcall(false, function(real)
        local out = {}
        for key, value in next, real do out[key] = value end
        return out
    end, view)
end

local function add_tables(box, base)
    local own = setmetatable({}, { __mode = "k" })

    function base.getmetatable(value)
        local mt = getmeta(value)
        if type(mt) ~= "table" then return mt end
        if own[mt] then return mt.__metatable == nil and mt or mt.__metatable end
        return "protected"
    end

    function base.setmetatable(value, mt)
        local old = type(value) == "table" and getmeta(value)
        if old and not own[old] then error("cannot change a protected metatable", 2) end
        if type(mt) == "table" then own[mt] = true end
        return setmetatable(value, mt)
    end

    local function plain(value)
        local real = type(value) == "table" and box.real_of[value]
        if not real then return value end
        if type(real) ~= "table" or getmeta(real) ~= nil then return {} end
        return snapshot(box, value)
    end

    function base.pairs(value) return next, plain(value), nil end
    function base.ipairs(value) return ipairs(plain(value)) end
    function base.next(value, key) return next(plain(value), key) end
end

local function make_base(box)
    local base = pick(_G, [[assert error rawequal rawget rawset select tonumber tostring type
        _VERSION]])
    base.pcall, base.xpcall = box_pcall, box_xpcall
    base.string = lib.string(host.fuel_charge)
    base.table = lib.table(host.fuel_charge)
    base.unpack = base.table.unpack
    base.bit = pick(require("bit"), [[tobit tohex bnot band bor bxor lshift rshift arshift rol ror
        bswap]])
    base.math = pick(math, [[abs acos asin atan atan2 ceil cos cosh deg exp floor fmod frexp huge
        ldexp log log10 max min modf pi pow rad random sin sinh sqrt tan tanh]])
    base.os = pick(os, "time date difftime clock")
    base.os.getenv = box:stub(loader.getenv)
    base.print = box:stub(loader.print)
    add_tables(box, base)
    return base
end

-- ---------------------------------------------------------------- what require gives

-- Each call in the background has bounds of its own, so there are bounds for how many there are:
-- who makes more waits.
local function take_turn(box)
    while true do
        local now = abi.C.rp_abi_now(abi.H)
        box.rounds = math.min(ROUNDS_MOST,
            (box.rounds or ROUNDS_MOST) + (now - (box.rounds_at or now)) * ROUNDS_A_SECOND)
        box.rounds_at = now
        if box.rounds >= 1 then break end
        task.sleep(1 / ROUNDS_A_SECOND)
    end
    box.rounds = box.rounds - 1
end

local function own_name(box, name)
    return type(name) == "string" and ("untrusted %s %s"):format(box.name, name) or name
end

local function check_zone(box, opts)
    local zone = type(opts) == "table" and opts.zone or nil
    if zone and box.zones[zone] then return end
    error(("plugin %q is untrusted: zone = is one that its settings name"):format(box.name), 0)
end

-- What runs once makes room when it begins.
local function bounded(box, fn, once)
    return function(...)
        if box.background_n >= BACKGROUND_MOST then
            return nil, "busy", "too many background tasks of an untrusted plugin"
        end
        local args, n = { ... }, select("#", ...)
        local at = type(args[1]) == "function" and 1 or 2
        local work = args[at]
        if type(work) ~= "function" then return fn(...) end
        box.background_n = box.background_n + 1
        local opts = args[at + 1]
        if type(opts) == "table" and opts.name ~= nil then
            check_zone(box, opts)
            opts.name = own_name(box, opts.name)
        end
        args[at] = function(...)
            if once then box.background_n = box.background_n - 1 end
            take_turn(box)
            return work(...)
        end
        return fn(unpack(args, 1, n))
    end
end

-- Zones that its settings name; others are other people's.
local function zones_of(box, shared)
    return setmetatable({}, { __index = function(_, name)
        if not box.zones[name] then
            error(("plugin %q is untrusted: its settings name no zone %q"):format(box.name,
                tostring(name)), 0)
        end
        return shared[name]
    end, __newindex = function() error("rp.shared cannot be changed", 0) end })
end

-- rp.plugin in the box: what it returns takes setup, and nothing else is made of it.
local function define(box)
    return function(spec)
        local facade = {}
        box:outcall(false, function(real)
            if box.defined then error("an untrusted module defines one plugin", 0) end
            box.defined = plugin.define(real)
        end, spec)
        box.facade = facade
        return facade
    end
end

local function make_rp(box)
    local rp = loader.require("rproxy")
    local changed = { plugin = define(box), shared = box:view(zones_of(box, rp.shared)) }
    -- Names that all share: a box has its own.
    changed.once = box:stub(function(key, seconds, fn)
        local function in_turn()
            take_turn(box)
            return fn()
        end
        return rp.once(own_name(box, key), seconds, type(fn) == "function" and in_turn or fn)
    end)
    changed.lock = box:stub(function(name, opts, fn)
        check_zone(box, opts)
        return rp.lock(own_name(box, name), opts, fn)
    end)
    for name, once in pairs { detach = true, after = true, every = false } do
        changed[name] = box:stub(bounded(box, rp[name], once))
    end
    local out = box:view(rp)
    return setmetatable({}, {
        __index = function(_, name)
            if changed[name] ~= nil then return changed[name] end
            return out[name]
        end,
        __newindex = function(_, name)
            error(("rp.%s cannot be changed"):format(tostring(name)), 2)
        end,
        __metatable = "protected",
    })
end

-- Modules of rproxy that hold nothing but functions for everybody.
local MODULES = { ["rproxy.json"] = true, ["rproxy.jwt"] = true, ["rproxy.log"] = true,
    ["rproxy.regex"] = true, ["rproxy.text"] = true, ["rproxy.crypto"] = true,
    ["rproxy.time"] = true }

local function load_module(box, name)
    if MODULES[name] then
        host.fuel_pause()
        local module = box:view(loader.require(name))
        host.fuel_resume()
        return module
    end
    local source, path = box:outcall(false, loader.find, name)
    if not source or name:find("^rproxy") then
        error(("module %q not found, or not for untrusted plugins"):format(name), 3)
    end
    return box:compile(source, path)(name)
end

local function add_require(box, base)
    local loaded = {}
    box.rp = make_rp(box)
    function base.require(name)
        if type(name) ~= "string" then error("require takes a module name", 2) end
        if name == "rproxy" then return box.rp end
        if name == "bit" then return base.bit end
        if loaded[name] == nil then
            local value = load_module(box, name)
            loaded[name] = value == nil and true or value
        end
        return loaded[name]
    end
end

--- The text of a module as a function of the box; nothing of it is ever compiled.
function Box:compile(source, path)
    if source:byte(1) == 27 then error(path .. ":1: is bytecode, not Lua text", 0) end
    local env = setmetatable({}, { __index = self.base, __metatable = "protected",
        __newindex = function(_, name)
            error(("global %q is written: use a local or req.ctx"):format(tostring(name)), 2)
        end })
    local chunk, err = load(source, "@" .. path, "t", env)
    if not chunk then error(err, 0) end
    jit.off(chunk, true)
    return chunk
end

-- ---------------------------------------------------------------- boxes

local function new_box(name, limits)
    local box = setmetatable({ name = name, limits = limits, zones = {}, background_n = 0,
        real_of = setmetatable({}, { __mode = "k" }), -- view or stub -> the layer's
        view_of = setmetatable({}, { __mode = "kv" }), -- the layer's -> view or stub
        method_of = setmetatable({}, { __mode = "kv" }), -- the layer's -> its stub as a method
        entry_of = setmetatable({}, { __mode = "kv" }), -- the box's function -> entry
        box_of = setmetatable({}, { __mode = "k" }), -- entry -> the box's function
    }, Box)
    box.view_meta = view_meta(box)
    box.base = make_base(box)
    setmetatable(box.base, { __index = function(_, key)
        error(("no global %q for untrusted plugins"):format(tostring(key)), 2)
    end, __metatable = "protected" })
    add_require(box, box.base)
    box.strings = host.fuel_strings(box.base.string)
    return box
end

-- setup of the definition outside: that of the box, which sees a copy of conf.
local function set_up(box)
    box.defined.setup = function(conf)
        local setup = rawget(box.facade, "setup")
        if type(setup) ~= "function" then error("the module has no function setup(conf)", 0) end
        return box:entry(setup)(conf)
    end
end

--- The plugin that a copy of the module defines, made for one instance.
--- @param original table  the plugin as the site has it, or { module =, name = }
--- @param limits table  instructions, memory: of each call
--- @return table|nil plugin, string|nil err
function M.confine(original, limits)
    if not original.module then
        return nil, "only a plugin of a module of its own (plugins/name.lua) can be untrusted"
    end
    local source, path = loader.find(original.module)
    if not source then return nil, "its module is not found: " .. path end
    local box = new_box(original.name or original.module, limits)
    grant.enter_module(true)
    local ok, err = pcall(function()
        local chunk = box:compile(source, path)
        box:entry(chunk)(original.module)
    end)
    grant.leave_module()
    if not ok then return nil, tostring(err) end
    if not box.defined then return nil, path .. " defines no plugin by rp.plugin" end
    local made = box.defined
    box.name, made.confined, made.zones, made.module = made.name, limits, box.zones, original.module
    made.at, made.uses = path .. ":1", nil
    set_up(box)
    return made
end

return M
