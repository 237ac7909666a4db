-- SPDX-License-Identifier: MIT
--
-- header: header names as handles: looked up once at load, an integer ever after.

local abi = require("rproxy.abi")
local journal = require("rproxy.journal")
local object = require("rproxy.object")

local C, H = abi.C, abi.H
local type, tostring = type, tostring

local M = {}

local known = {} -- lower-case name -> handle

local Handle = {}
Handle.__tostring = function(h) return h.name end
Handle.__newindex = function() object.raise("a header handle cannot be changed") end

--- A handle for a header name, the same one for the same name.
--- phases: all   yields: no
--- @param name string
--- @return table handle
function M.handle(name)
    if type(name) == "table" and getmetatable(name) == Handle then return name end
    if type(name) ~= "string" or not name:find("^[%w!#$%%&'*+%-.^_`|~]+$") then
        object.raise("rp.header takes a header name, got %s", tostring(name))
    end
    name = name:lower()
    local h = known[name]
    if not h then
        h = setmetatable({ id = C.rp_token_header(name, #name), name = name }, Handle)
        known[name] = h
    end
    return h
end

--- Known id (0: go by name) and name of a header argument: a handle or a string.
--- @return number id, string name
function M.parts(h)
    if type(h) == "string" then return 0, h end
    if type(h) == "table" and h.id then return h.id, h.name end
    object.raise("a header is a name or an rp.header, got %s", tostring(h))
end

--- A header value: strings and numbers.
--- @return string
function M.value(v)
    if type(v) == "string" then return v end
    if type(v) == "number" then return tostring(v) end
    object.raise("a header value is a string or a number, got a %s", type(v))
end

-- ---------------------------------------------------------------- reading a head

--- First value in a struct rp_msg; nil when absent.
function M.first(m, h)
    local id, name = M.parts(h)
    if C.rp_abi_head_get(abi.H, m, id, name, #name) then return abi.out() end
    return nil
end

--- All values, in order.
--- @return string[]
function M.all(m, h)
    local id, name = M.parts(h)
    local list = {}
    while C.rp_abi_head_nth(abi.H, m, id, name, #name, #list) do
        list[#list + 1] = abi.out()
    end
    return list
end

local function step(state)
    if state.number ~= abi.H.wrapper then
        object.raise("these headers are those of another request")
    end
    local at = C.rp_abi_head_walk(abi.H, state.m, state.at)
    if at == 0 then return nil end
    state.at = at
    local value = abi.H.out2
    return abi.out():lower(), abi.string(value.ptr, value.len)
end

--- for name, value in M.walk(m): every field line, names in lower case.
function M.walk(m)
    return step, { m = m, at = 0, number = abi.H.wrapper }
end

-- ---------------------------------------------------------------- editing

local EDIT = { set = 0, add = 1, del = 2 }

--- Edit by one of the three ABI functions; raises what it refuses.
--- @param wrapper table  of the request
--- @param whose string|nil  "up" or "res": so the journal calls the field; nil: who calls notes it
function M.edit(call, wrapper, whose, kind, h, v)
    local id, name = M.parts(h)
    local text = ""
    if v == nil then kind = "del" else text = M.value(v) end
    local code = call(H, wrapper[1], EDIT[kind], id, name, #name, text, #text)
    if code == 0 then
        if H.notes ~= 0 and whose then
            journal.note(wrapper, kind, whose .. "." .. name:lower(), v)
        end
        return
    end
    local E = abi.E
    if code == E.BUSY then
        object.raise("header %q is written by rproxy itself%s", name,
            name:lower() == "host" and ": assign req.up.host" or "")
    elseif code == E.INVALID then
        object.raise("header %q: a name or value with bytes that do not belong there", name)
    elseif code == E.PHASE then
        object.raise("headers cannot be changed in this hook")
    end
    object.raise("header %q: %s", name, abi.text(code))
end

return M
