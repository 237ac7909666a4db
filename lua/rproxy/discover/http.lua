-- SPDX-License-Identifier: MIT
--
-- http: members from a JSON document that is asked for again and again, with the ETag (or date) of
-- the last one, so that what did not change is not sent.

local client = require("rproxy.discover.client")
local shape = require("rproxy.discover.shape")
local task = require("rproxy.task")

local M = {}

local FIELDS = { "address", "host", "port", "weight", "priority", "backup", "max_conns", "zone",
    "meta", "identity" }

--- An item of the list as a member, by where its fields are.
function M.member(item, fields)
    if type(item) ~= "table" then return item end
    local out = {}
    for _, name in ipairs(FIELDS) do
        local value = shape.at(item, fields[name] or name)
        if type(value) == "table" and name ~= "meta" then value = nil end
        if type(value) ~= "userdata" then out[name] = value end -- null
    end
    return out
end

--- @return table|nil members, string|nil why
function M.members(document, s)
    local list = document
    if s.path then list = shape.at(document, s.path) end
    if type(list) ~= "table" or #list == 0 and next(list) ~= nil then
        return nil, s.path and ("there is no list at %q"):format(s.path)
            or "the answer is no list; path says where in it the list is"
    end
    local out = {}
    for i, item in ipairs(list) do out[i] = M.member(item, s.fields or {}) end
    return out
end

--- @return table|nil routes (offer.lua), string|nil why
function M.routes(document, s)
    local list = shape.at(document, s.path or "routes")
    if not s.path and list == nil then list = document end
    if type(list) ~= "table" or #list == 0 and next(list) ~= nil then
        return nil, ("there is no list at %q"):format(s.path or "routes")
    end
    local out = {}
    for i, item in ipairs(list) do
        out[i] = {}
        for key, value in pairs(type(item) == "table" and item or {}) do
            if type(value) ~= "userdata" then out[i][key] = value end -- null
        end
    end
    return out
end

-- An answer again only when it is another one.
local function condition_of(res)
    local tag, date = res.headers["etag"], res.headers["last-modified"]
    if tag and #tag <= 1024 then return { ["if-none-match"] = tag } end
    if date and #date <= 64 then return { ["if-modified-since"] = date } end
    return nil
end

--- Runs for ever; nil and why when there is no such answer.
function M.start(s, publish, _, about)
    local asks, condition = client.new(s, s.url:match("^(%a+://[^/?#]+)")), nil
    local path = s.url:match("^%a+://[^/?#]+([^#]*)")
    asks.is_silent = true -- an answer of somebody's may repeat what was sent
    while true do
        local token, why = client.secret(s)
        if why then return nil, why end
        if token then asks:set_header("authorization", "Bearer " .. token, token) end
        local headers = { accept = "application/json" }
        for name, value in pairs(s.headers or {}) do headers[name] = value end
        for name, value in pairs(condition or {}) do headers[name] = value end
        local document, res = asks:json(path, { headers = headers,
            also = condition and 304 or nil })
        if document then
            local list
            list, why = (about.routes and M.routes or M.members)(document, s)
            if not list then return nil, why end
            condition = condition_of(res)
            publish(list)
        elseif type(res) == "table" then publish() -- 304
        else return nil, res end
        task.sleep(client.about(s.every))
    end
end

return M
