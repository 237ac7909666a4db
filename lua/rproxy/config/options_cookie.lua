-- SPDX-License-Identifier: MIT
--
-- options_cookie: the rows of the cookie by which clients keep their place, at a peer or on a side
-- of a split.

local M = {}

local function is_attribute(value)
    if value:find("^[^%c;,%s]+$") then return true end
    return nil, "text without blanks, commas and semicolons"
end

local ROWS = {
    { name = "sticky.max_age", type = "duration", shown = "until the client is closed",
        doc = "How long the cookie lasts." },
    { name = "sticky.path", type = "string", default = "/", check = is_attribute,
        doc = "Path of the cookie." },
    { name = "sticky.domain", type = "string", check = is_attribute,
        doc = "Domain of the cookie." },
    { name = "sticky.same_site", type = "enum", values = { "Lax", "Strict", "None" },
        default = "Lax", doc = "SameSite of the cookie. It is HttpOnly, and Secure over TLS." },
    { name = "sticky.secret", type = "string", min = 16, secret = true,
        shown = "the instance's own",
        doc = "For instances that are to know each other's cookies, and over restarts." },
}

--- Put the rows into a group, behind the row of that name.
function M.place(group, name)
    local at = 1
    while group[at].name ~= name do at = at + 1 end
    for i, row in ipairs(ROWS) do
        local copy = {}
        for key, value in pairs(row) do copy[key] = value end
        table.insert(group, at + i, copy)
    end
end

return M
