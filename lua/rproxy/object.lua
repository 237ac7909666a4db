-- SPDX-License-Identifier: MIT
--
-- object: how req, res, up and conn are made: tables whose named fields are getters and setters.
--
-- A request's table (the wrapper) has its state in the array part, which C knows (script/vm.h):
--   [1] never there, see below   [2] ctx   [3] params   [4] body
--   [5] the body piece as edited so far   [6] up   [7] res   [8] conn
--   [9] struct rp_req * of the slot; nil: the wrapper serves no request any more
--   [10] uint8_t *: [0] not 0: something lies in 2..5 that goes with the request; [1] not 0: there
--   is a request   [11] journal, false
--   [12] the piece of the request body as edited so far   [13] the function that makes it
--   [14] its number
-- A wrapper serves one request of its slot after the other; one that was kept is only good for code
-- of the request that it stands for now, which H.wrapper tells: nobody sees another client's. So
-- self[1] is the pointer, asked for anew each time: it raises when the running code is not the
-- request's, or there is no request. up, res and conn hold their wrapper in [1].

local nearest = require("rproxy.config.nearest")

local M = {}

--- Put something that goes with the request into a wrapper.
function M.keep(wrapper, i, value)
    wrapper[10][0] = 1
    rawset(wrapper, i, value)
end

--- The request of a wrapper for code that may be that of another request; nil: it has ended.
function M.pointer(wrapper)
    return wrapper[10][1] ~= 0 and rawget(wrapper, 9) or nil
end

--- Raise at the line of the site or plugin that called into the layer.
--- @param fmt string
function M.raise(fmt, ...)
    local level = 2
    while true do
        local info = debug.getinfo(level, "S")
        if not info then break end
        local ours = info.what == "C" or info.source == "=chain"
            or info.source:find("lua/rproxy/[%l_]+%.lua$")
        if not ours then break end
        level = level + 1
    end
    error(fmt:format(...), level)
end

local function names(...)
    local list = {}
    for i = 1, select("#", ...) do
        for _, name in ipairs(nearest.names((select(i, ...)))) do
            list[#list + 1] = name
        end
    end
    return list
end

-- Loaded anew for each class: LuaJIT takes what a function has around it for constants as long as
-- that function was made once or twice.
local ACCESS = [[
local is_foreign, refuse, no_field, methods, getters, setters, first, raise, name = ...
return function(self, key)
    if key == 1 and first then
        local value = first(self)
        if value then return value end
    end
    if is_foreign(self) then return refuse(self) end
    local method = methods[key]
    if method then return method end
    local get = getters[key]
    if get then return get(self) end
    return no_field(key)
end, function(self, key, value)
    if is_foreign(self) then return refuse(self) end
    local set = setters[key]
    if set then return set(self, value) end
    if getters[key] or methods[key] then raise("%s.%s cannot be assigned", name, tostring(key)) end
    return no_field(key)
end
]]

local function access(...)
    return assert(loadstring(ACCESS, "@lua/rproxy/object.lua"))(...)
end

--- A metatable for objects called `name` in messages.
--- @param name string
--- @param methods table  name -> function(self, ..)
--- @param getters table  name -> function(self)
--- @param setters table  name -> function(self, value)
--- @param is_foreign function|nil  (self): does it stand for another request than that of the
---   running code?
--- @param first function|nil  (self): what self[1] is, where that is not stored; false: self is
---   foreign; nil: its request has ended
function M.class(name, methods, getters, setters, is_foreign, first)
    is_foreign = is_foreign or function() return false end
    local function refuse(self)
        local wrapper = type(rawget(self, 1)) == "table" and rawget(self, 1) or self
        M.raise(M.pointer(wrapper) and "this %s was kept from another request"
            or "this %s belongs to a request that has ended", name)
    end
    local function no_field(key)
        if key == 1 then M.raise("this %s belongs to a request that has ended", name) end
        M.raise("%s has no field %q%s", name, tostring(key),
            nearest.hint(tostring(key), names(methods, getters)))
    end
    local index, newindex = access(is_foreign, refuse, no_field, methods, getters, setters, first,
        M.raise, name)
    return {
        __index = index,
        __newindex = newindex,
        __metatable = name,
    }
end

return M
