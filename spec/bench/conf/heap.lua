-- SPDX-License-Identifier: MIT
--
-- heap: what spec/bench/sites/heap.lua does, for nginx's Lua module: garbage in each request, beside
-- many objects that live.

local M = {}

local live = {}

--- Fill the heap with objects that stay, until it holds so many MB.
function M.fill(megabytes)
    while collectgarbage("count") < megabytes * 1024 do
        local group = {}
        for i = 1, 1000 do
            local n = #live * 1000 + i
            group[i] = { id = n, name = "object " .. n, tags = { n, n + 1 } }
        end
        live[#live + 1] = group
    end
end

--- A KB that nobody holds when the request has ended.
function M.waste()
    local list = { #live }
    for i = 1, 6 do list[i] = { id = i, name = "item", next = list[i - 1] } end
    return #list
end

return M
