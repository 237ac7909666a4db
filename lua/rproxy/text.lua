-- SPDX-License-Identifier: MIT
--
-- text: codecs. Decoders are strict: nil, "invalid" for anything an encoder would not have made.

local abi = require("rproxy.abi")
local multipart = require("rproxy.multipart")
local object = require("rproxy.object")

local C, H = abi.C, abi.H

local M = {}

local BASE64, BASE64URL, HEX, COMPONENT, PATH = 0, 1, 2, 3, 4

local function encoder(name, codec)
    return function(s)
        if type(s) ~= "string" then object.raise("%s takes a string", name) end
        local code = C.rp_abi_encode(H, codec, s, #s)
        if code ~= 0 then object.raise("%s: the text is too long", name) end
        return abi.out()
    end
end

local function decoder(name, codec)
    return function(s)
        if type(s) ~= "string" then object.raise("%s takes a string", name) end
        local code = C.rp_abi_decode(H, codec, s, #s)
        if code ~= 0 then return nil, code == abi.E.INVALID and "invalid" or "too long" end
        return abi.out()
    end
end

M.b64, M.unb64 = encoder("b64", BASE64), decoder("unb64", BASE64)
M.b64url, M.unb64url = encoder("b64url", BASE64URL), decoder("unb64url", BASE64URL)
M.hex, M.unhex = encoder("hex", HEX), decoder("unhex", HEX)

--- Percent coding: escape for one component, escape_path keeps "/".
M.uri = {
    escape = encoder("uri.escape", COMPONENT),
    escape_path = encoder("uri.escape_path", PATH),
    unescape = decoder("uri.unescape", COMPONENT),
}

local function form_next(state)
    local from = tonumber(C.rp_abi_form_next(H, state.text, #state.text, state.from))
    if from == 0 then return nil end
    state.from = from
    return abi.out(), abi.string(H.out2.ptr, H.out2.len)
end

local FORM_MOST = 1000 -- names of one form

local function add_pair(out, name, value)
    if type(value) ~= "string" and type(value) ~= "number" then
        object.raise("form.build: the value of %q is no string and no number", name)
    end
    out[#out + 1] = M.uri.escape(name) .. "=" .. M.uri.escape(tostring(value))
end

--- Queries and forms (application/x-www-form-urlencoded).
M.form = {}

--- Name and value of each pair, decoded, in order: for name, value in rp.form.each(text).
function M.form.each(s)
    if type(s) ~= "string" then object.raise("form.each takes a string") end
    return form_next, { text = s, from = 0 }
end

--- Name -> value; of a name that comes again, the first value.
--- @param most number|nil  pairs (1000)
--- @return table|nil pairs, string|nil err  err: "too many"
function M.form.parse(s, most)
    local out, n = {}, 0
    for name, value in M.form.each(s) do
        n = n + 1
        if n > (most or FORM_MOST) then return nil, "too many" end
        if out[name] == nil then out[name] = value end
    end
    return out
end

--- The text of a table, in the order of names; a list as value repeats its name.
--- @param fields table  name -> string, number or list of them
function M.form.build(fields)
    if type(fields) ~= "table" then object.raise("form.build takes a table") end
    local names, out = {}, {}
    for name in pairs(fields) do
        if type(name) ~= "string" then object.raise("form.build: names are strings") end
        names[#names + 1] = name
    end
    table.sort(names)
    for _, name in ipairs(names) do
        local value = fields[name]
        if type(value) == "table" then
            for _, item in ipairs(value) do add_pair(out, name, item) end
        else
            add_pair(out, name, value)
        end
    end
    return table.concat(out, "&")
end

M.form.parts, M.form.reader = multipart.parts, multipart.reader

local ENTITIES = { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;",
    ["'"] = "&#39;" }

--- A text for HTML content and quoted attributes.
function M.html_escape(s)
    return (s:gsub("[&<>\"']", ENTITIES))
end

return M
