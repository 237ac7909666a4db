-- SPDX-License-Identifier: MIT
--
-- header: names of headers, looked at once, and what is done by name: reading heads, editing them.

local abi = require("rproxy.abi")
local journal = require("rproxy.journal")
local object = require("rproxy.object")
local outside = require("rproxy.outside")

local C, H, E = abi.C, abi.H, abi.E
local ffi_string, head_get = abi.string, C.rp_abi_head_get
local pairs, type, tonumber, tostring = pairs, type, tonumber, tostring

local M = {}

-- ---------------------------------------------------------------- names

-- struct rp_abi_name of handles and of strings. C writes them, when it has looked at the name, and
-- trusts what it reads there ever after: they leave this layer for C only.
local names = {}
local lines = {} -- handle or string -> the line that its name points to
local handles, texts = {}, {} -- lower-case name -> handle, and back
local strings_n = 0
local STRINGS_MOST, STRING_BYTES_MOST = 512, 256 -- of those that are kept

local PADDING = ": " .. ("\0"):rep(tonumber(C.RP_ABI_NAME_PAD))

-- The line that goes with a name, and what C makes of it.
local function read(name)
    local known = C.rp_token_header(name, #name) ~= 0
    local line = (known and name:lower() or name) .. PADDING
    local made = abi.new("struct rp_abi_name")
    C.rp_abi_name_read(made, line, #name)
    return made, line
end

-- A name points into its line, so it goes first (Lua assigns from right to left): the watchdog may
-- raise between the two.
local function forget_strings()
    for h in pairs(lines) do
        if type(h) == "string" then lines[h], names[h] = nil, nil end
    end
    strings_n = 0
end

local LONG = {} -- stands for the last name that was too long to be kept

local function remember(name)
    local made, line = read(name)
    if #name > STRING_BYTES_MOST then
        names[LONG], lines[LONG] = made, line
        return made
    end
    if strings_n >= STRINGS_MOST then forget_strings() end
    names[name], lines[name], strings_n = made, line, strings_n + 1
    return made
end

-- Of a header argument: a handle or a string.
local function name_of(h)
    local name = names[h]
    if name then return name end
    if type(h) == "string" then return remember(h) end
    object.raise("a header is a name or an rp.header, got %s", tostring(h))
end
M.name = name_of

local Handle = { __metatable = "rp.header" }
Handle.__tostring = function(h) return texts[h] or "a header" end
Handle.__newindex = function() object.raise("a header handle cannot be changed") end
Handle.__index = function(h, key)
    if key == "name" then return texts[h] end
    if key == "id" then return names[h] and names[h].id end
    return nil
end
outside.class("header", {}, { meta = Handle, ident = tostring, fields = {} })

--- A handle for a header name, the same one for the same name.
--- phases: all   yields: no
--- @param name string
--- @return table handle
function M.handle(name)
    if texts[name] then return name end
    if type(name) ~= "string" or not name:find("^[%w!#$%%&'*+%-.^_`|~]+$") then
        object.raise("rp.header takes a header name, got %s", tostring(name))
    end
    name = name:lower()
    local h = handles[name]
    if not h then
        h = setmetatable({}, Handle)
        handles[name], texts[h] = h, name
        names[h], lines[h] = read(name)
    end
    return h
end

--- The name of a header argument, a handle or a string.
--- @return string name
function M.text(h)
    if type(h) == "string" then return h end
    if texts[h] then return texts[h] end
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
    if head_get(H, m, names[h] or name_of(h)) then return ffi_string(H.out.ptr, H.out.len) end
    return nil
end

--- All values, in order.
--- @return string[]
function M.all(m, h)
    local name, list = name_of(h), {}
    while C.rp_abi_head_nth(H, m, name, #list) do
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

-- enum rp_edit_kind
M.SET, M.ADD, M.DEL = 0, 1, 2
local DEL = M.DEL
local KINDS = { [0] = "set", "add", "del" } -- in journals

local function refuse(code, h)
    local name = M.text(h)
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

--- Edit by one of the three ABI functions; raises what it refuses.
--- @param wrapper table  of the request
--- @param whose string|nil  "up" or "res": so the journal calls the field; nil: who calls notes it
--- @param kind number  M.SET, M.ADD or M.DEL
function M.edit(call, wrapper, whose, kind, h, v)
    local text = v
    if v == nil then
        kind, text = DEL, ""
    elseif type(v) ~= "string" then
        text = M.value(v)
    end
    local code = call(wrapper[1], kind, names[h] or name_of(h), text, #text)
    if code ~= 0 then refuse(code, h) end
    if H.notes ~= 0 and whose then
        journal.note(wrapper, KINDS[kind], whose .. "." .. M.text(h):lower(), v)
    end
end

return M
