-- SPDX-License-Identifier: MIT
--
-- file: members from a file: JSON, or a line for each; or routes, as JSON. It is looked at every so
-- often, by the thread pool; one that takes the name of another is seen, and one that cannot be
-- read whole is not taken at all.

local fs = require("rproxy.fs")
local json = require("rproxy.json")
local member = require("rproxy.discover.member")
local offer = require("rproxy.discover.offer")
local task = require("rproxy.task")

local M = {}

M.pause_most = 2 -- somebody mends it, and looks whether it helped
M.unix = true
M.strict = true

local BYTES_MOST = 4 * 2 ^ 20

local function read_lines(text)
    local list, n = {}, 0
    for line in (text .. "\n"):gmatch("([^\n]*)\n") do
        n = n + 1
        line = line:gsub("#.*$", ""):match("^%s*(.-)%s*$")
        if line ~= "" then
            local ok, why = member.read(line, M)
            if not ok then return nil, ("line %d: %s"):format(n, why) end
            list[#list + 1] = line
        end
    end
    return list
end

local function read_json(text)
    local value, err = json.decode(text, { max = BYTES_MOST })
    if value == nil then return nil, "JSON: " .. tostring(err) end
    if type(value) == "table" and value.members ~= nil then value = value.members end
    if type(value) ~= "table" or #value == 0 and next(value) ~= nil then
        return nil, "JSON: no list of members, and no { \"members\": [..] }"
    end
    for i, item in ipairs(value) do
        local ok, why = member.read(item, M)
        if not ok then return nil, ("member %d: %s"):format(i, why) end
    end
    return value
end

--- A file's text as a list of members.
--- @return table|nil list, string|nil why
function M.read(text)
    if text:find("^%s*[%[{]") then return read_json(text) end
    return read_lines(text)
end

--- A file's text as a list of routes (offer.lua): { "routes": [..] }, or the list.
--- @return table|nil list, string|nil why
function M.read_routes(text)
    local value, err = json.decode(text, { max = BYTES_MOST })
    if value == nil then return nil, "JSON: " .. tostring(err) end
    if type(value) == "table" and value.routes ~= nil then value = value.routes end
    if type(value) ~= "table" or #value == 0 and next(value) ~= nil then
        return nil, "JSON: no list of routes, and no { \"routes\": [..] }"
    end
    for i, item in ipairs(value) do
        local route, why = offer.read(item)
        if not route then return nil, ("route %d: %s"):format(i, why) end
        for n, one in ipairs(route.members) do
            local ok, wrong = member.read(one, M)
            if not ok then return nil, ("route %d: member %d: %s"):format(i, n, wrong) end
        end
    end
    return value
end

local function mark_of(info)
    return ("%.9f %.0f %.0f %.0f"):format(info.modified, info.size, info.inode, info.device)
end

local function look(path)
    local info, code, detail = fs.stat(path)
    if not info then return nil, ("%s: %s"):format(code, detail) end
    return mark_of(info)
end

-- What the file says, and the mark of what was read; nil when it changed meanwhile; nil and why.
local function read(path, mark, is_routes)
    local text, code, detail = fs.read(path, { max = BYTES_MOST })
    if not text then return nil, ("%s: %s"):format(code, detail) end
    local after, why = look(path)
    if not after then return nil, why end
    if after ~= mark then return nil end
    if is_routes then return M.read_routes(text) end
    return M.read(text)
end

--- Runs for ever; nil and why when the file is not there or not right.
function M.start(s, publish, _, about)
    local last
    while true do
        local mark, why = look(s.path)
        if not mark then return nil, why end
        local list
        if mark ~= last then
            list, why = read(s.path, mark, about.routes)
            if why then return nil, why end
            if list then last = mark end
        end
        if list then publish(list)
        elseif mark == last then publish() end
        task.sleep(s.every)
    end
end

return M
