-- SPDX-License-Identifier: MIT
--
-- tape_value: Lua values as JSON and back, byte by byte and bit by bit: strings that are no plain
-- ASCII, lists and tables with any keys, NaN, null, and the objects of rproxy.outside.
--
--   "text"  1.5  true  null (nil)     as they are
--   { b = "base64" }                  a string with other bytes than printable ASCII, tabs and
--   line ends { n = "inf" | "-inf" | "nan" | "-0" }     { u = "null" }: rp.null
--   { l = [ .. ], e = true }          a list; e: one that was marked by rp.array
--   { m = [ [ key, value ], .. ] }    any other table, keys in order
--   { o = "http.response", i = "id", m = .. }  an object
--   { x = "function" }                what has no text: a call that gave it cannot be replayed

local json = require("rproxy.json")
local outside = require("rproxy.outside")
local text = require("rproxy.text")

local M = {}

local null, array = json.null, json.array
local LIST = debug.getmetatable(array())
local DEPTH_MOST, NODES_MOST = 48, 20000

local labels -- metatable -> label of its class; made when it is first needed

local function label_of(value)
    if not labels then
        labels = {}
        for label, class in outside.each() do labels[class.meta] = label end
    end
    local meta = debug.getmetatable(value)
    return meta and labels[meta]
end

-- ---------------------------------------------------------------- writing

local function pack_string(s)
    if s:find("[^\t\n\r -~]") then return { b = text.b64(s) } end
    return s
end

local function pack_number(n)
    if n ~= n then return { n = "nan" } end
    if n == math.huge then return { n = "inf" } end
    if n == -math.huge then return { n = "-inf" } end
    if n == 0 and 1 / n < 0 then return { n = "-0" } end
    return n
end

local function key_order(a, b)
    local ta, tb = type(a), type(b)
    if ta ~= tb then return ta < tb end
    if ta == "string" or ta == "number" then return a < b end
    return tostring(a) < tostring(b)
end

local function sorted_keys(t)
    local keys = {}
    for key in next, t do keys[#keys + 1] = key end
    table.sort(keys, key_order)
    return keys
end

-- Is every key one of 1..n?
local function is_list(t)
    local n = 0
    for _ in next, t do n = n + 1 end
    return n == #t
end

local pack

local function pack_pairs(state, t, depth)
    local out = array()
    for i, key in ipairs(sorted_keys(t)) do
        out[i] = array { pack(state, key, depth), pack(state, rawget(t, key), depth) }
    end
    return out
end

local function picked(t, fields)
    if not fields then return t end
    local out = {}
    for _, name in ipairs(fields) do out[name] = rawget(t, name) end
    return out
end

local function pack_table(state, t, depth)
    state.nodes = state.nodes + 1
    if depth > DEPTH_MOST or state.nodes > NODES_MOST then return { x = "too big" } end
    local label = label_of(t)
    if label then
        local id = state.name and state.name(t)
        return { o = label, i = id, m = pack_pairs(state, picked(t, outside.find(label).fields),
            depth + 1) }
    end
    local mark = debug.getmetatable(t)
    if mark == LIST or (mark == nil and is_list(t) and next(t) ~= nil) then
        local out = array()
        for i = 1, #t do out[i] = pack(state, t[i], depth + 1) end
        return { l = out, e = mark == LIST or nil }
    end
    if mark ~= nil then return { x = "object" } end
    return { m = pack_pairs(state, t, depth + 1) }
end

function pack(state, value, depth)
    if value == nil then return null end
    if value == null then return { u = "null" } end
    local kind = type(value)
    if kind == "string" then return pack_string(state.scrub and state.scrub(value) or value) end
    if kind == "number" then return pack_number(value) end
    if kind == "boolean" then return value end
    if kind == "table" then return pack_table(state, value, depth) end
    return { x = kind }
end

--- A value that rproxy.json can encode.
--- @param scrub function|nil  (string) -> string, on every string
--- @param name function|nil  (object) -> id of an object
function M.pack(value, scrub, name)
    return pack({ nodes = 0, scrub = scrub, name = name }, value, 0)
end

--- Values 1..n of a list, which may have holes.
function M.pack_list(values, n, scrub, name)
    local state, out = { nodes = 0, scrub = scrub, name = name }, array()
    for i = 1, n do out[i] = pack(state, values[i], 0) end
    return out
end

--- A packed value with scrub on every string once more: for what was packed too early to know.
function M.scrub(packed, scrub)
    if type(packed) == "string" then return scrub(packed) end
    if type(packed) ~= "table" then return packed end
    if packed.b then return pack_string(scrub(text.unb64(packed.b))) end
    for _, item in ipairs { packed.l or packed.m } do
        for i, one in ipairs(item) do
            if packed.l then item[i] = M.scrub(one, scrub)
            else one[1], one[2] = M.scrub(one[1], scrub), M.scrub(one[2], scrub) end
        end
    end
    return packed
end

-- ---------------------------------------------------------------- reading

local NUMBERS = { nan = 0 / 0, inf = math.huge, ["-inf"] = -math.huge, ["-0"] = -0.0 }

local function bad(what)
    error("a packed value is broken: " .. what, 0)
end

local unpack_value

local function unpack_pairs(state, list, depth, into)
    if type(list) ~= "table" then bad("m is no list") end
    for _, pair in ipairs(list) do
        if type(pair) ~= "table" then bad("m has no pairs") end
        local key = unpack_value(state, pair[1], depth)
        if key == nil or key ~= key then bad("a key") end
        into[key] = unpack_value(state, pair[2], depth)
    end
    return into
end

local function unpack_list(state, packed, depth)
    if type(packed.l) ~= "table" then bad("l is no list") end
    local out = {}
    for i = 1, #packed.l do out[i] = unpack_value(state, packed.l[i], depth) end
    if packed.e then array(out) end
    return out
end

local function unpack_object(state, packed, depth)
    local class = type(packed.o) == "string" and outside.find(packed.o)
    if not class then bad("no class " .. tostring(packed.o)) end
    local object = unpack_pairs(state, packed.m, depth, {})
    if packed.i ~= nil then rawset(object, "tape_id", packed.i) end
    return setmetatable(object, class.meta)
end

function unpack_value(state, packed, depth)
    if packed == null then return nil end
    if type(packed) == "string" then return state.scrub and state.scrub(packed) or packed end
    if type(packed) ~= "table" then return packed end
    if depth > DEPTH_MOST then bad("too deep") end
    if packed.b ~= nil then
        local bytes = type(packed.b) == "string" and text.unb64(packed.b)
        if not bytes then bad("base64") end
        return state.scrub and state.scrub(bytes) or bytes
    end
    if packed.n ~= nil then
        local number = NUMBERS[packed.n]
        if number == nil then bad("a number") end
        return number
    end
    if packed.u ~= nil then return null end
    if packed.l ~= nil then return unpack_list(state, packed, depth + 1) end
    if packed.o ~= nil then return unpack_object(state, packed, depth + 1) end
    if packed.m ~= nil then return unpack_pairs(state, packed.m, depth + 1, {}) end
    return bad("has no value: " .. tostring(packed.x))
end

--- The value again. Raises where `packed` is not what pack made, or has a part that has no text.
--- @param scrub function|nil  (string) -> string, on every string
function M.unpack(packed, scrub)
    return unpack_value({ scrub = scrub }, packed, 0)
end

--- Values of pack_list: out[1..n], n.
function M.unpack_list(packed, scrub)
    if type(packed) ~= "table" then bad("no list") end
    local out, state = {}, { scrub = scrub }
    for i = 1, #packed do out[i] = unpack_value(state, packed[i], 0) end
    return out, #packed
end

-- ---------------------------------------------------------------- one text for equal arguments

local canon

local function canon_table(out, t, depth, scrub)
    local id, label = rawget(t, "tape_id"), label_of(t)
    if id or label then
        local ident = not id and outside.find(label).ident
        out[#out + 1] = ("<%s%s>"):format(id or label, ident and " " .. tostring(ident(t)) or "")
        return
    end
    out[#out + 1] = "{"
    for _, key in ipairs(sorted_keys(t)) do
        canon(out, key, depth + 1, scrub)
        canon(out, rawget(t, key), depth + 1, scrub)
    end
    out[#out + 1] = "}"
end

function canon(out, value, depth, scrub)
    local kind = type(value)
    if kind == "string" then
        if scrub then value = scrub(value) end
        out[#out + 1] = #value .. ":" .. value
    elseif kind == "number" then
        out[#out + 1] = ("#%.17g"):format(value)
    elseif kind == "boolean" or kind == "nil" then
        out[#out + 1] = tostring(value)
    elseif value == null then
        out[#out + 1] = "null"
    elseif kind == "table" and depth < DEPTH_MOST then
        canon_table(out, value, depth, scrub)
    else
        out[#out + 1] = kind
    end
end

--- A text that is the same for equal arguments. Functions are all the same.
function M.canonical(values, n, scrub)
    local out = {}
    for i = 1, n do canon(out, values[i], 0, scrub) end
    return table.concat(out, " ")
end

return M
