-- SPDX-License-Identifier: MIT
--
-- zones: `shared` of a site: rp.shm.store, rp.shm.cache and so on by name.

local locate = require("rproxy.config.locate")
local nearest = require("rproxy.config.nearest")
local options = require("rproxy.config.options")
local schema = require("rproxy.schema")
local site = require("rproxy.config.site")

local M = {}

-- enum rp_share_kind
M.KINDS = { store = 1, cache = 2, buckets = 3, counters = 4, set = 5, top = 6, distinct = 7 }

local MOST = 64

local function read(name, node, at, report)
    local kind = (site.kind(node) or ""):match("^shm%.(.+)$")
    if type(name) ~= "string" or not name:find("^%l[%w_]*$") or #name > 32 then
        report:add(at, "shared: expected names of letters, digits and _ as keys, got %s",
            schema.show(name))
    elseif not kind then
        report:add(at, 'shared.%s: expected rp.shm.store { size = "16m" }, rp.shm.cache or '
            .. "rp.shm.buckets, got %s", name, schema.show(node))
    else
        local ctx = schema.context()
        local group = kind == "set" and "shm_set" or "shm"
        local opts = schema.check(options.nodes[group], node.given, "", ctx)
        report:add_context(function(path) return locate.place(node, path) end, ctx,
            "shared." .. name)
        return { name = name, kind = kind, bytes = opts.size, at = node.at,
            set = kind == "set" and { type = opts.type, file = opts.file, every = opts.every } }
    end
end

--- @return table[] list  in the order of names
function M.read_all(given, at, report)
    local list = {}
    if given == nil then return list end
    if type(given) ~= "table" then
        report:add(at, "shared: expected zones by name, got %s", schema.show(given))
        return list
    end
    for name, node in pairs(given) do
        local zone = read(name, node, at, report)
        if zone then list[#list + 1] = zone end
    end
    table.sort(list, function(a, b) return a.name < b.name end)
    if #list > MOST then report:add(at, "shared: %d zones; at most %d", #list, MOST) end
    return list
end

--- What a plugin's setting "shared:KIND" names must be there, and of that kind.
function M.check(model, ref, at, report)
    for _, zone in ipairs(model.zones) do
        if zone.name == ref.name then
            if ref.zone ~= "" and zone.kind ~= ref.zone then
                report:add(at, "%s: shared.%s is a %s (%s); expected a zone of rp.shm.%s",
                    ref.path, zone.name, zone.kind, zone.at, ref.zone)
            end
            return
        end
    end
    local names = {}
    for i, zone in ipairs(model.zones) do names[i] = zone.name end
    report:add(at, "%s: no zone %s in `shared`%s", ref.path, schema.show(ref.name),
        nearest.hint(ref.name, names))
end

return M
