-- SPDX-License-Identifier: MIT
--
-- pages: error_pages of a site, a host or a route as a list in the order of the keys:
-- { which = "404", type = "text/html; charset=utf-8", body = text or file = name }.

local nearest = require("rproxy.config.nearest")
local schema = require("rproxy.schema")

local M = {}

local HTML = "text/html; charset=utf-8"

-- By the end of a file's name. The reader opens these and no others for a site.
local TYPES = { html = HTML, htm = HTML, json = "application/json",
    txt = "text/plain; charset=utf-8", xml = "application/xml" }

local PAGE = schema.compile({ body = "string", file = "string", type = "string" }, "error_pages")

local EXAMPLE = '{ body = "<h1>{status} {error}</h1>" } or { file = "pages/404.html" }'

local function is_which(key)
    return key == "*" or key == "4xx" or key == "5xx" or key:find("^[45]%d%d$") ~= nil
end

-- Keys as texts, in order: [404] is "404".
local function by_text(given)
    local out = {}
    for key, page in pairs(given) do out[tostring(key)] = page end
    return out
end

local function check_sources(page, path, at, report)
    if (page.body == nil) == (page.file == nil) then
        report:add(at, "%s: expected one of body and file; write %s", path, EXAMPLE)
        return false
    end
    local ending = page.file and page.file:match("%.([^./]+)$")
    if page.file and not TYPES[ending] then
        report:add(at, "%s.file: expected a file named .html, .htm, .json, .txt or .xml, got %s",
            path, schema.show(page.file))
        return false
    end
    page.type = page.type or TYPES[ending] or HTML
    return true
end

local function read_page(which, given, at, report)
    local path = schema.join("error_pages", which)
    if not is_which(which) then
        report:add(at, '%s: expected a status ("404"), a class ("5xx") or "*" as the key', path)
    elseif type(given) ~= "table" then
        report:add(at, "%s: expected a table, got %s; write %s", path, schema.show(given), EXAMPLE)
    else
        local ctx = schema.context()
        local page = schema.check(PAGE, given, path, ctx)
        report:add_context(at, ctx)
        if ctx.errors[1] or not check_sources(page, path, at, report) then return nil end
        page.which = which
        return page
    end
end

--- @param given any
--- @param at string  place of the setting
--- @param report table
--- @return table[] list
function M.read(given, at, report)
    local list = {}
    if given == nil then return list end
    if type(given) ~= "table" then
        report:add(at, "error_pages: expected a table by status, got %s", schema.show(given))
        return list
    end
    local pages = by_text(given)
    for _, which in ipairs(nearest.names(pages)) do
        list[#list + 1] = read_page(which, pages[which], at, report)
    end
    return list
end

return M
