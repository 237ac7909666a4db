-- SPDX-License-Identifier: MIT
--
-- text: codecs. Decoders are strict: nil, "invalid" for anything an encoder would not have made.

local abi = require("rproxy.abi")
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

local ENTITIES = { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;",
    ["'"] = "&#39;" }

--- A text for HTML content and quoted attributes.
function M.html_escape(s)
    return (s:gsub("[&<>\"']", ENTITIES))
end

return M
