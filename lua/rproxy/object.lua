-- SPDX-License-Identifier: MIT
--
-- object: how req, res, up and conn are made: tables whose named fields are getters and setters.
--
-- A request's table (the wrapper) has its state in the array part, which C knows (script/vm.h):
--   [1] struct rp_req *, nil once the request has ended   [2] ctx   [3] params   [4] body
--   [5] the body piece as edited so far   [6] up   [7] res   [8] conn   [9] the pointer, kept
--   [10] uint8_t *, not 0: something lies in 2..5 that goes with the request   [11] journal, false
--   [12] the piece of the request body as edited so far   [13] the function that makes it
--   [14] its number
-- up, res and conn hold their wrapper in [1]. So self[1] raises by itself when there is no request.
-- A wrapper serves one request of its slot after the other; one that was kept is only good for code
-- of the request that it stands for now, which H.wrapper tells: nobody sees another client's.

local nearest = require("rproxy.config.nearest")

local M = {}

--- Put something that goes with the request into a wrapper.
function M.keep(wrapper, i, value)
    wrapper[10][0] = 1
    rawset(wrapper, i, value)
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

--- A metatable for objects called `name` in messages.
--- @param name string
--- @param methods table  name -> function(self, ..)
--- @param getters table  name -> function(self)
--- @param setters table  name -> function(self, value)
--- @param is_foreign function|nil  (self): does it stand for another request than that of the
---   running code?
function M.class(name, methods, getters, setters, is_foreign)
    is_foreign = is_foreign or function() return false end
    local function refuse(self)
        local wrapper = type(rawget(self, 1)) == "table" and rawget(self, 1) or self
        M.raise(rawget(wrapper, 1) and "this %s was kept from another request"
            or "this %s belongs to a request that has ended", name)
    end
    local function no_field(key)
        if key == 1 then M.raise("this %s belongs to a request that has ended", name) end
        M.raise("%s has no field %q%s", name, tostring(key),
            nearest.hint(tostring(key), names(methods, getters)))
    end
    return {
        __index = function(self, key)
            if is_foreign(self) then return refuse(self) end
            local method = methods[key]
            if method then return method end
            local get = getters[key]
            if get then return get(self) end
            return no_field(key)
        end,
        __newindex = function(self, key, value)
            if is_foreign(self) then return refuse(self) end
            local set = setters[key]
            if set then return set(self, value) end
            if getters[key] or methods[key] then
                M.raise("%s.%s cannot be assigned", name, tostring(key))
            end
            return no_field(key)
        end,
        __metatable = name,
    }
end

return M
