-- SPDX-License-Identifier: MIT
--
-- diff: `rproxy diff OLD NEW`: what a changed site would change. Both are evaluated by a check; it
-- compares what they mean, not how they are written.
--
-- A change: { section, kind = "added"|"removed"|"changed", what, details { { name, old, new } } }.

local args = require("rproxy.cli.args")
local cli = require("rproxy.cli")
local json = require("rproxy.json")
local nearest = require("rproxy.config.nearest")
local units = require("rproxy.config.units")

local M = {}

M.SPEC = {
    usage = "diff OLD NEW",
    about = [[Evaluate two sites and tell what is different: listeners, hosts, routes, upstreams,
        zones, options, which plugins requests of each route meet or no longer meet, and their
        settings. Secrets are compared, never shown.

        Exit status: 0 they are the same, 1 they differ, 2 one of them cannot be evaluated.]],
    options = {
        { "json", doc = "the changes as JSON" },
        { "set", short = "g", value = "NAME=VALUE", list = true,
            doc = "set an option of both sites (may be repeated)" },
    },
    words = { 2, 2 },
}

-- ---------------------------------------------------------------- values

-- Where code stands says nothing about what it does.
local function same(a, b)
    if type(a) ~= "table" or type(b) ~= "table" then return a == b end
    if a["$function"] and b["$function"] and a.code ~= "" then return a.code == b.code end
    for key, value in pairs(a) do
        if not same(value, b[key]) then return false end
    end
    for key in pairs(b) do
        if a[key] == nil then return false end
    end
    return true
end

local SIZES = { body = true, bytes = true, memory = true, max = true, heap = true, spill = true,
    uri = true, header_bytes = true, window = true, size = true }
local DURATIONS = { timeouts = true }

local function show(value, name)
    if value == nil then return "unset" end
    if type(value) == "number" and name then
        if DURATIONS[name:match("^%l+") or ""] then return units.show_duration(value) end
        if SIZES[name:match("[%l_]+$") or ""] and value >= 1024 then
            return units.show_size(value)
        end
    end
    if type(value) ~= "table" then return tostring(value) end
    if value["$secret"] then return "(secret)" end
    if value["$function"] then return "a function (" .. value["$function"] .. ")" end
    if value["$object"] then return value["$object"] end
    local parts = {}
    for i, item in ipairs(value) do parts[i] = show(item) end
    if #parts == 0 then
        for _, key in ipairs(nearest.names(value)) do
            parts[#parts + 1] = key .. " = " .. show(value[key])
        end
    end
    return #parts == 0 and "none" or table.concat(parts, ", ")
end

-- Nested tables as dotted names; lists, secrets and functions stay whole.
local function flatten(value, prefix, out)
    for key, item in pairs(value) do
        local name = prefix .. tostring(key)
        local leaf = type(item) ~= "table" or item[1] ~= nil or next(item) == nil
            or item["$secret"] or item["$function"] or item["$object"]
        if leaf then out[name] = item else flatten(item, name .. ".", out) end
    end
    return out
end

local function details_of(old, new)
    local out, names = {}, {}
    old, new = flatten(old or {}, "", {}), flatten(new or {}, "", {})
    for name in pairs(old) do names[name] = true end
    for name in pairs(new) do names[name] = true end
    for _, name in ipairs(nearest.names(names)) do
        if not same(old[name], new[name]) then
            out[#out + 1] = { name = name, old = show(old[name], name),
                new = show(new[name], name) }
        end
    end
    return out
end

local function append(list, more)
    for _, item in ipairs(more) do list[#list + 1] = item end
end

-- ---------------------------------------------------------------- comparing lists

local Diff = {}
Diff.__index = Diff

function Diff:note(section, kind, what, details)
    self[#self + 1] = { section = section, kind = kind, what = what, details = details or {} }
end

-- Lists of things with names; compare(a, b) -> details.
function Diff:named(section, old, new, key_of, compare, shown)
    local by_key, seen = {}, {}
    for _, item in ipairs(new) do by_key[key_of(item)] = item end
    for _, item in ipairs(old) do
        local key = key_of(item)
        local other = by_key[key]
        seen[key] = true
        if not other then
            self:note(section, "removed", shown and shown(item) or key)
        else
            local details = compare(item, other)
            if details[1] then self:note(section, "changed", key, details) end
        end
    end
    for _, item in ipairs(new) do
        if not seen[key_of(item)] then
            self:note(section, "added", shown and shown(item) or key_of(item))
        end
    end
end

-- ---------------------------------------------------------------- chains

-- Hooks without a name are called after their line, which says nothing.
local function label_of(model, entry)
    local instance = model.instances[entry.instance]
    return instance.name:find("^inline@") and "an inline hook" or instance.name
end

local function labels(model, entries)
    local out = {}
    for i, entry in ipairs(entries or {}) do out[i] = label_of(model, entry) end
    return out
end

local function count(list)
    local n = {}
    for _, name in ipairs(list) do n[name] = (n[name] or 0) + 1 end
    return n
end

local PHASES = { "early", "connect", "tls_hello", "certificate", "access", "rewrite", "content",
    "request_body", "header_filter", "body_filter", "log" }

-- Plugins lost and gained, in which phases; and those that stand in another order.
function Diff:chains(old, new)
    local lost, gained, details = {}, {}, {}
    for _, phase in ipairs(PHASES) do
        local before, after = labels(self.old, old[phase]), labels(self.new, new[phase])
        local a, b = count(before), count(after)
        local moved = true
        for name, n in pairs(a) do
            if n > (b[name] or 0) then
                lost[name] = (lost[name] and lost[name] .. ", " or "") .. phase
                moved = false
            end
        end
        for name, n in pairs(b) do
            if n > (a[name] or 0) then
                gained[name] = (gained[name] and gained[name] .. ", " or "") .. phase
                moved = false
            end
        end
        local from, to = table.concat(before, ", "), table.concat(after, ", ")
        if moved and from ~= to then
            details[#details + 1] = { name = "order of " .. phase, old = from, new = to }
        end
    end
    for _, name in ipairs(nearest.names(lost)) do
        details[#details + 1] = { name = "loses " .. name, old = lost[name] }
    end
    for _, name in ipairs(nearest.names(gained)) do
        details[#details + 1] = { name = "gains " .. name, new = gained[name] }
    end
    self:pair_instances(old, new)
    return details
end

-- Instances that took each other's place: their settings are compared once.
function Diff:pair_instances(old, new)
    for _, phase in ipairs(PHASES) do
        local waiting = {}
        for _, entry in ipairs(new[phase] or {}) do
            local name = label_of(self.new, entry)
            waiting[name] = waiting[name] or {}
            table.insert(waiting[name], entry.instance)
        end
        for _, entry in ipairs(old[phase] or {}) do
            local list = waiting[label_of(self.old, entry)]
            local other = list and table.remove(list, 1)
            if other then self.pairs[entry.instance .. " " .. other] = { entry.instance, other } end
        end
    end
end

-- What every instance has, whatever its plugin.
local function policy_of(instance)
    return { version = instance.version, on_error = instance.on_error, mode = instance.mode,
        untrusted = instance.untrusted, limits = instance.limits, grants = instance.grants }
end

local function code_of(instance)
    local out = {}
    for name, hook in pairs(instance.hooks) do
        out["hook " .. name] = { ["$function"] = hook.at, code = hook.code }
    end
    return out
end

function Diff:instances()
    local list = {}
    for _, pair in pairs(self.pairs) do list[#list + 1] = pair end
    table.sort(list, function(a, b)
        if a[1] ~= b[1] then return a[1] < b[1] end
        return a[2] < b[2]
    end)
    for _, pair in ipairs(list) do
        local old, new = self.old.instances[pair[1]], self.new.instances[pair[2]]
        local details = details_of(old.conf, new.conf)
        append(details, details_of(policy_of(old), policy_of(new)))
        append(details, details_of(code_of(old), code_of(new)))
        if details[1] then
            self:note("plugins", "changed", ("%s (%s)"):format(new.name, new.at), details)
        end
    end
end

-- ---------------------------------------------------------------- routes and hosts

local function host_name(host)
    return table.concat(host.names, ", ") ~= "" and table.concat(host.names, ", ")
        or host.default and "default" or "?"
end

-- Method, pattern and conditions; two of the same are told apart by a number.
local function keyed_routes(host)
    local out, n = {}, {}
    for i, route in ipairs(host.routes) do
        local key = (route.methods ~= "" and route.methods .. " " or "") .. route.pattern
        for _, c in ipairs(route.conds) do
            key = ("%s [%s %s %s%s]"):format(key, c.negate and "unless" or "when", c.kind, c.name,
                c.op == "exists" and "" or " " .. c.op .. " " .. tostring(c.value))
        end
        n[key] = (n[key] or 0) + 1
        out[i] = { key = n[key] > 1 and key .. " #" .. n[key] or key, route = route }
    end
    return out
end

local function action_of(route)
    local target = route.target
    if route.action == "respond" then
        return { action = "respond", status = target[1], body = target[2] }
    end
    return { action = route.action, target = target }
end

local function shown_action(route)
    if route.action == "upstream" then return "upstream " .. show(route.target) end
    if route.action == "respond" then return "respond " .. tostring(route.target[1]) end
    if route.action == "redirect" then return "redirect to " .. show(route.target[2]) end
    return route.action
end

function Diff:route(old, new)
    local details = {}
    if not same(action_of(old), action_of(new)) then
        local a, b = shown_action(old), shown_action(new)
        details[1] = { name = "action", old = a, new = a == b and b .. " (another body)" or b }
    end
    append(details, details_of(old.opts, new.opts))
    if not same(old.edits, new.edits) then
        details[#details + 1] = { name = "headers", old = #old.edits .. " edits",
            new = #new.edits .. " edits" }
    end
    append(details, details_of({ meta = old.meta, id = old.id }, { meta = new.meta, id = new.id }))
    append(details, self:chains(old.chains, new.chains))
    return details
end

function Diff:host(old, new)
    local name = host_name(new)
    self:named("routes", keyed_routes(old), keyed_routes(new),
        function(item) return name .. " " .. item.key end,
        function(a, b) return self:route(a.route, b.route) end,
        function(item)
            return ("%s %s: %s"):format(name, item.key, shown_action(item.route))
        end)
    local details = details_of({ names = old.names, default = old.default, hsts = old.hsts,
        tls = old.tls, opts = old.opts }, { names = new.names, default = new.default,
        hsts = new.hsts, tls = new.tls, opts = new.opts })
    for _, change in ipairs(self:chains(old.chains, new.chains)) do
        change.name = "where no route fits: " .. change.name
        details[#details + 1] = change
    end
    if details[1] then self:note("hosts", "changed", name, details) end
end

-- The host of the other site that has one of its names.
local function partner(host, others, taken)
    for _, other in ipairs(others) do
        if not taken[other] then
            if host.default and other.default and #host.names == 0 then return other end
            for _, name in ipairs(host.names) do
                for _, theirs in ipairs(other.names) do
                    if name == theirs then return other end
                end
            end
        end
    end
end

function Diff:hosts()
    local taken, pairs_of = {}, {}
    for _, host in ipairs(self.old.hosts) do
        local other = partner(host, self.new.hosts, taken)
        if other then
            taken[other] = true
            pairs_of[#pairs_of + 1] = { host, other }
        else
            self:note("hosts", "removed", ("%s, with %d routes"):format(host_name(host),
                #host.routes))
        end
    end
    for _, host in ipairs(self.new.hosts) do
        if not taken[host] then
            self:note("hosts", "added", ("%s, with %d routes"):format(host_name(host),
                #host.routes))
        end
    end
    for _, pair in ipairs(pairs_of) do self:host(pair[1], pair[2]) end
end

-- ---------------------------------------------------------------- the rest

local function listener_key(listener)
    return table.concat(listener.addresses, ", ")
end

local function tls_data(set)
    return set and { certs = set.certs, opts = set.opts } or "none"
end

function Diff:listeners(section, old, new)
    self:named(section, old, new, listener_key, function(a, b)
        local details = details_of({ opts = a.opts, tls = tls_data(a.tls), rules = a.rules,
            upstream = a.upstream }, { opts = b.opts, tls = tls_data(b.tls), rules = b.rules,
            upstream = b.upstream })
        append(details, self:chains(a.chains, b.chains))
        return details
    end, function(item) return listener_key(item) .. (item.tls and " (TLS)" or "") end)
end

local function by_name(item)
    return item.name
end

local function without_places(item)
    local out = {}
    for key, value in pairs(item) do
        if key ~= "at" and key ~= "name" and key ~= "balance" then out[key] = value end
    end
    return out
end

local function compare_plain(a, b)
    return details_of(without_places(a), without_places(b))
end

local function peers_of(up)
    local out = {}
    for i, peer in ipairs(up.peers) do
        out[i] = peer.text .. (peer.weight ~= 1 and " weight=" .. peer.weight or "")
            .. (peer.backup and " backup" or "")
    end
    return out
end

-- By name: settings of each.
local function providers_of(up)
    local out = {}
    for _, one in ipairs(up.discover or {}) do
        out[one.name] = { settings = one.settings, common = one.common }
    end
    return out
end

local function compare_upstreams(a, b)
    local details = details_of({ opts = a.opts, tls = a.tls, peers = peers_of(a),
        discover = providers_of(a) }, { opts = b.opts, tls = b.tls, peers = peers_of(b),
        discover = providers_of(b) })
    for _, d in ipairs(details) do d.name = d.name:gsub("^opts%.", "") end
    return details
end

--- What is different.
--- @param old table  model
--- @param new table  model
--- @return table[] changes
function M.compare(old, new)
    local self = setmetatable({ old = old, new = new, pairs = {} }, Diff)
    local options = details_of(old.opts, new.opts)
    if options[1] then self:note("options", "changed", "site", options) end
    self:listeners("listeners", old.listeners, new.listeners)
    self:listeners("streams", old.streams, new.streams)
    self:named("zones", old.zones, new.zones, by_name, compare_plain)
    self:named("upstreams", old.upstreams, new.upstreams, by_name, compare_upstreams)
    self:hosts()
    local early = self:chains({ early = old.early }, { early = new.early })
    if early[1] then self:note("routes", "changed", "before routing", early) end
    local nowhere = self:chains(old.nowhere, new.nowhere)
    if nowhere[1] then self:note("routes", "changed", "names of no host", nowhere) end
    self:instances()
    local changes = {}
    for i, change in ipairs(self) do changes[i] = change end
    return changes
end

-- ---------------------------------------------------------------- showing

local MARKS = { added = "+", removed = "-", changed = "~" }
local SECTIONS = { "options", "listeners", "streams", "zones", "upstreams", "hosts", "routes",
    "plugins" }

local function detail_text(d)
    if d.old and d.new then return ("%s: %s -> %s"):format(d.name, d.old, d.new) end
    return ("%s (%s)"):format(d.name, d.old or d.new)
end

--- The changes for people.
--- @return string
function M.text(changes)
    local out = {}
    for _, section in ipairs(SECTIONS) do
        local begun = false
        for _, change in ipairs(changes) do
            if change.section == section then
                if not begun then out[#out + 1] = section end
                begun = true
                out[#out + 1] = ("  %s %s"):format(MARKS[change.kind], change.what)
                for _, d in ipairs(change.details) do
                    out[#out + 1] = "      " .. detail_text(d)
                end
            end
        end
    end
    return #out > 0 and table.concat(out, "\n") .. "\n" or ""
end

function M.main(argv)
    local opts, words = args.read(argv, M.SPEC)
    local over = opts.set and table.concat(opts.set, "\n") .. "\n" or ""
    local models = {}
    for i = 1, 2 do
        local model, err = cli.check(words[i], over)
        if not model then cli.fail(err) end
        models[i] = model
    end
    local changes = M.compare(models[1], models[2])
    if opts.json then
        for _, change in ipairs(changes) do json.array(change.details) end
        io.stdout:write(assert(json.encode(json.array(changes), { sort = true })), "\n")
    elseif changes[1] then
        io.stdout:write(M.text(changes))
    else
        io.stdout:write("no differences\n")
    end
    return changes[1] and 1 or 0
end

return M
