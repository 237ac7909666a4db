-- SPDX-License-Identifier: MIT
--
-- site: the constructors rp.site, rp.listen, rp.upstream, rp.host, rp.route, rp.stream, rp.split.
-- They only note what was given and where; everything is checked later, so that all mistakes are
-- reported at once.

local schema = require("rproxy.schema")

local M = {}

local Node = {}

--- "file:line" of the code `level` levels above the caller; "?" where there is none.
--- @param level integer  1 is the function that called
function M.caller(level)
    local info = debug.getinfo(level + 1, "Sl")
    if not info or info.what == "C" or info.currentline < 1 then return "?" end
    return ("%s:%d"):format((info.source:gsub("^@", "")), info.currentline)
end

local function constructor(kind)
    return function(given)
        local at = M.caller(2)
        if type(given) ~= "table" then
            error(("rp.%s takes a table, got %s"):format(kind, schema.show(given)), 2)
        end
        return setmetatable({ kind = kind, given = given, at = at }, Node)
    end
end

M.site = constructor("site")
M.listen = constructor("listen")
M.upstream = constructor("upstream")
M.host = constructor("host")
M.route = constructor("route")
M.stream = constructor("stream")
M.split = constructor("split")

--- Zones of shared memory, for `shared`.
M.shm = { store = constructor("shm.store"), cache = constructor("shm.cache"),
    buckets = constructor("shm.buckets"), counters = constructor("shm.counters"),
    set = constructor("shm.set"), top = constructor("shm.top"),
    distinct = constructor("shm.distinct") }

--- What a value was made by ("site", "route" ...); nil when by none of these.
--- @param value any
--- @return string|nil
function M.kind(value)
    if getmetatable(value) == Node then return value.kind end
end

return M
