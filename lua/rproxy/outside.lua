-- SPDX-License-Identifier: MIT
--
-- outside: the classes of objects through which hooks get something from outside, by name, so that
-- a tape (rproxy.tape) can stand in between. Modules register theirs; the tape knows their
-- functions.

local M = {}

local classes = {} -- label -> methods table (also the metatable unless meta is given)

--- @param label string  "http.response"
--- @param methods table  what objects find through __index
--- @param opts table|nil  meta: their metatable, where it is another table; ident: (object) ->
---   text, which one it is, of those that are made at load; fields: names of what makes a copy of
---   it (all)
function M.class(label, methods, opts)
    opts = opts or {}
    classes[label] = { label = label, methods = methods, meta = opts.meta or methods,
        ident = opts.ident, fields = opts.fields }
end

--- @return table|nil class  label, methods, meta, ident, fields
function M.find(label)
    return classes[label]
end

--- for label, class in outside.each() do
function M.each()
    return pairs(classes)
end

return M
