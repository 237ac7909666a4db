-- SPDX-License-Identifier: MIT
--
-- headers: edits of headers with fixed values, for a whole site or host. A route's own `headers`
-- does the same without entering Lua.

local rp = require("rproxy")

local EDITS = {
    set = { "headers", default = {}, doc = "Replaces the header, or adds it." },
    add = { "headers", default = {}, doc = "Adds one more line of the header." },
    remove = { "list", of = "header", default = {}, doc = "Removes every line of the header." },
}

local M = rp.plugin {
    name = "headers",
    version = "0.1.0",
    stage = "transform",
    doc = "Set, add and remove headers with fixed values.",
    schema = { request = EDITS, response = EDITS },
}

-- { handle, value, handle, value .. }: two slots an edit keep the hook's loop flat.
local function pairs_of(map)
    local names, out = {}, {}
    for name in pairs(map) do names[#names + 1] = name end
    table.sort(names)
    for _, name in ipairs(names) do
        out[#out + 1] = rp.header(name)
        out[#out + 1] = map[name]
    end
    return out
end

local function handles_of(names)
    local out = {}
    for i, name in ipairs(names) do out[i] = rp.header(name) end
    return out
end

-- Removes, then sets, then adds. Nothing to do is no hook.
local function editor(edits)
    local remove, set, add = handles_of(edits.remove), pairs_of(edits.set), pairs_of(edits.add)
    if #remove + #set + #add == 0 then return nil end
    return function(head)
        for i = 1, #remove do head:del(remove[i]) end
        for i = 1, #set, 2 do head:set(set[i], set[i + 1]) end
        for i = 1, #add, 2 do head:add(add[i], add[i + 1]) end
    end
end

function M.setup(conf)
    local on_request, on_response = editor(conf.request), editor(conf.response)
    local hooks = {}
    if on_request then
        function hooks.rewrite(req) on_request(req.up) end
    end
    if on_response then
        function hooks.header_filter(_, res) on_response(res) end
    end
    return hooks
end

return M
