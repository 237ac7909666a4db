-- SPDX-License-Identifier: MIT
--
-- explain_route: why a live request goes where it goes. Cost grows with the routes of its host: for
-- `rproxy explain` and for requests that somebody asked about.

local abi = require("rproxy.abi")
local json = require("rproxy.json")

local C, H = abi.C, abi.H

local M = {}

--- phases: all but early   yields: no
--- @param req table
--- @return table|nil story  see runtime/proxy/route_explain.h: host, by, chosen, miss, undecided,
---   left_out, routes (a list; its order is that of the search)
--- @return string|nil err
function M.of(req)
    local code = C.rp_abi_route_explain(H, req[1])
    if code ~= abi.OK then return nil, abi.text(code) end
    local story, err = json.decode(abi.out())
    if not story then return nil, err end
    for _, name in ipairs { "chosen", "miss" } do
        if story[name] == json.null then story[name] = nil end
    end
    return story
end

local function list(words)
    if #words == 0 then return "any method" end
    return table.concat(words, ",")
end

local WHY = {
    chosen = function() return "chosen" end,
    later = function(_, story)
        return ("fits, but %s stands before it"):format(story.chosen or "another route")
    end,
    method = function(route) return "its method is " .. list(route.methods) end,
    cond = function(route) return "does not hold: " .. route.cond end,
    unknown = function(route) return "could not be decided: " .. route.cond end,
    path = function(route) return ("the path does not fit %s"):format(route.pattern) end,
}

--- In words, why a route of a story was chosen or not.
function M.why(route, story)
    local say = WHY[route.fate]
    return say and say(route, story) or tostring(route.fate)
end

return M
