-- SPDX-License-Identifier: MIT
--
-- cookie: Set-Cookie lines from tables. Pure.

local nearest = require("rproxy.config.nearest")
local object = require("rproxy.object")

local M = {}

local raise = object.raise

local ATTRIBUTES = { "domain", "expires", "http_only", "max_age", "path", "same_site", "secure" }
local SAME_SITE = { strict = "Strict", lax = "Lax", none = "None" }
local KNOWN = { true, true }
for _, name in ipairs(ATTRIBUTES) do KNOWN[name] = true end

local function check(cookie)
    if type(cookie) ~= "table" then raise("set_cookie takes a table") end
    for key in pairs(cookie) do
        if not KNOWN[key] then
            raise("set_cookie: unknown field %q%s", tostring(key),
                nearest.hint(tostring(key), ATTRIBUTES))
        end
    end
    local name, value = cookie[1], tostring(cookie[2])
    if type(name) ~= "string" or not name:find("^[%w!#$%%&'*+%-.^_`|~]+$") then
        raise("set_cookie: %s is no cookie name", tostring(name))
    end
    -- cookie-octet (RFC 6265 §4.1.1)
    if cookie[2] == nil or value:find('[^!#-+%-./0-9:<-Z%[%]^-~]') then
        raise("set_cookie: the value of %q holds bytes that cookies cannot; encode it", name)
    end
    return name, value
end

local function add_text(out, label, value)
    if value == nil then return end
    if type(value) ~= "string" or value:find("[%z\1-\31\127;]") then
        raise("set_cookie: %s is a string without control bytes and semicolons", label)
    end
    out[#out + 1] = label .. "=" .. value
end

local function same_site(value)
    local word = SAME_SITE[tostring(value):lower()]
    if not word then raise('set_cookie: same_site is "strict", "lax" or "none"') end
    return word
end

--- The value of a Set-Cookie header.
--- @param cookie table  { name, value, path=, domain=, max_age=, expires=, secure=, http_only=,
---   same_site= }; path is "/" unless given
--- @return string
function M.line(cookie)
    local name, value = check(cookie)
    local out = { name .. "=" .. value }
    add_text(out, "Path", cookie.path or "/")
    add_text(out, "Domain", cookie.domain)
    add_text(out, "Expires", cookie.expires)
    if cookie.max_age ~= nil then
        if type(cookie.max_age) ~= "number" then raise("set_cookie: max_age is in seconds") end
        out[#out + 1] = ("Max-Age=%d"):format(cookie.max_age)
    end
    if cookie.secure then out[#out + 1] = "Secure" end
    if cookie.http_only then out[#out + 1] = "HttpOnly" end
    if cookie.same_site then out[#out + 1] = "SameSite=" .. same_site(cookie.same_site) end
    return table.concat(out, "; ")
end

return M
