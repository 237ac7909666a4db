-- SPDX-License-Identifier: MIT
--
-- model: a site as plain data, for tools that look at sites without running their code. The check
-- makes it (M.text), as JSON that goes through the plan; the tool reads it (M.read).
--
--   path, at, sources { path }            places are "file:line"
--   opts { NAME = value }                 by the names of options.lua, defaults filled in
--   listeners { addresses, at, opts, tls }, tls { at, opts, certs }
--   zones { name, kind, bytes, at }
--   streams { addresses, at, opts, tls, rules, upstream, chains }
--   upstreams { name, at, opts, peers, tls, discover { name, common, settings }, balance }
--   hosts { names, default, at, opts, hsts, routes, chains }
--   routes of a host: id, methods, pattern, at, conds, action, target, opts, edits, skip, chains
--   chains { PHASE = { { instance, at } } }   instance: index in instances, from 1; at: the hook's
--   instances { name, at, level, stage, version, on_error, mode, inline, conf,
--       hooks { NAME = { at, code } } }
--   early                                 entries, as of a chain
--   types { NAME = text }                 editor types of plugins' settings
--
-- What JSON has no word for is a string in it: "no limit". A function is { ["$function"] = at,
-- code }, code being a digest of its text; an object of the library { ["$object"] = what made it }.
-- A secret is { ["$secret"] = digest }, which tells two of them apart and nothing more.

local chains = require("rproxy.config.chains")
local discover = require("rproxy.config.discover")
local emit = require("rproxy.schema_emit")
local options = require("rproxy.config.options")
local order = require("rproxy.config.order")
local rules = require("rproxy.grant_rules")
local recording = require("rproxy.config.recording")
local splits = require("rproxy.config.splits")
local validate = require("rproxy.config.validate")

local M = {}

local SECRET = { "secret", "password", "passwd", "passphrase", "token", "credential", "private",
    "api_?key", "signing_?key" }
local DEPTH = 12

-- ---------------------------------------------------------------- values

-- A file that holds a secret is none.
local function is_secret(name)
    if type(name) ~= "string" or name:find("file") then return false end
    for _, pattern in ipairs(SECRET) do
        if name:lower():find(pattern) then return true end
    end
    return name == "key" or name == "keys"
end

local function place_of(fn)
    local info = debug.getinfo(fn, "S")
    if info.what == "C" then return "built in" end
    return ("%s:%d"):format((info.source:gsub("^@", "")), info.linedefined)
end

local function digest(value)
    local crypto, text = require("rproxy.crypto"), require("rproxy.text")
    return text.hex(crypto.sha256(tostring(value))):sub(1, 32)
end

local lines = {} -- path -> its lines

local function lines_of(path)
    if lines[path] then return lines[path] end
    local host, list = require("rproxy.host"), {}
    local read, text = pcall(host.read, path)
    if not read or not text then text = host.embedded(path:gsub("/init%.lua$", ""):gsub("/", "."))
    end
    for line in ((text or "") .. "\n"):gmatch("([^\n]*)\n") do list[#list + 1] = line end
    lines[path] = list
    return list
end

-- Digest of the lines that a function is written in; "" where they are not known.
local function code_of(fn)
    local info = debug.getinfo(fn, "S")
    if info.what == "C" then return "" end
    local list = lines_of((info.source:gsub("^@", "")))
    if not list[info.lastlinedefined] then return "" end
    return digest(table.concat(list, "\n", info.linedefined, info.lastlinedefined))
end

local plain

-- All of a secret in one text; a table of keys is one whole.
local function secret_text(value)
    if type(value) ~= "table" then return tostring(value) end
    return (require("rproxy.json").encode(plain(value, 1), { sort = true, invalid = "replace" }))
        or "(unknown)"
end

-- An object of the library: by what it was made of, where it says so.
local function object(value)
    local source = rawget(value, "source")
    if type(source) == "string" then return { ["$object"] = source } end
    return "(object)"
end

local function plain_table(value, depth)
    if depth > DEPTH then return "(...)" end
    local meta = getmetatable(value)
    if meta ~= nil and meta ~= "a list" and meta ~= "read-only" then return object(value) end
    local out, list = {}, #value > 0
    for key, item in pairs(value) do
        if list and type(key) == "number" then
            out[key] = plain(item, depth + 1)
        elseif is_secret(key) and type(item) ~= "boolean" and type(item) ~= "function" then
            out[tostring(key)] = { ["$secret"] = digest(secret_text(item)) }
        else
            out[list and key or tostring(key)] = plain(item, depth + 1)
        end
    end
    if not list then return out end
    for key in pairs(out) do -- a list with names beside: all of it by name
        if type(key) ~= "number" or key < 1 or key > #value or key % 1 ~= 0 then
            local named = {}
            for k, item in pairs(out) do named[tostring(k)] = item end
            return named
        end
    end
    return out
end

-- user:password@ of a URL.
local function hide_userinfo(text)
    return (text:gsub("^(%a[%w+.-]*://)[^/@%s]+@", "%1***@"))
end

function plain(value, depth)
    local kind = type(value)
    if kind == "string" then return hide_userinfo(value) end
    if kind == "boolean" then return value end
    if kind == "number" then
        if value ~= value or value == math.huge or value == -math.huge then return "no limit" end
        return value
    elseif kind == "function" then
        return { ["$function"] = place_of(value), code = code_of(value) }
    elseif kind == "table" then
        return plain_table(value, depth)
    end
    return "(" .. kind .. ")"
end

-- Options that have their own part.
local APART = {
    site = { listeners = 1, streams = 1, upstreams = 1, hosts = 1, use = 1, shared = 1, tls = 1,
        hsts = 1 },
    listen = { use = 1, tls = 1 }, stream = { use = 1, tls = 1, upstream = 1, sni = 1, alpn = 1 },
    upstream = { peers = 1, discover = 1, balance = 1, tls = 1 }, tls = { certs = 1 },
    host = { routes = 1, use = 1, tls = 1, hsts = 1, default = 1 },
    route = { use = 1, skip = 1, respond = 1, redirect = 1, upstream = 1, content = 1, connect = 1,
        headers = 1, when = 1, unless = 1, meta = 1, id = 1, name = 1 },
}

-- Every option of the group that holds a value of its own.
local function opts_of(group, opts)
    local out = {}
    for _, row in ipairs(options[group]) do
        local value = options.get(opts, row.name)
        local is_group = row.type == "object" and type(value) == "table"
        local apart = APART[group][row.name:match("^[^.]+")]
        if value ~= nil and not is_group and not apart and row.type ~= "unbuilt" then
            out[row.name] = is_secret(row.name:match("[^.]+$")) and type(value) == "string"
                and { ["$secret"] = digest(value) } or plain(value, 1)
        end
    end
    return out
end

-- ---------------------------------------------------------------- parts

local Writer = {}
Writer.__index = Writer

function Writer:entries(list)
    local out = {}
    for i, entry in ipairs(list) do
        out[i] = { instance = self.index[entry.instance], at = place_of(entry.fn) }
    end
    return out
end

function Writer:chains(instances, content)
    local out = {}
    for _, phase in ipairs(chains.PHASES) do
        local entries = recording.entries(self.model, instances, phase)
        if entries[1] then out[phase.name] = self:entries(entries) end
    end
    local own = content and chains.entries({ content }, "content") or {}
    if own[1] then out.content = self:entries(own) end
    return out
end

function Writer:instances()
    local levels, all = validate.instances(self.model)
    local out = {}
    for i, instance in ipairs(all) do
        local made, hooks = instance.plugin or {}, {}
        for name, fn in pairs(instance.hooks or {}) do
            hooks[name] = { at = place_of(fn), code = code_of(fn) }
        end
        self.index[instance] = i
        out[i] = { name = instance.name, at = instance.at, level = levels[instance],
            stage = made.stage, version = made.version, inline = made.name == nil,
            on_error = instance.on_error, mode = instance.mode, hooks = hooks,
            untrusted = instance.untrusted or nil,
            limits = instance.limits and plain(instance.limits, 1),
            grants = instance.policy and rules.texts(instance.policy.set) or nil,
            conf = plain(instance.conf or {}, 1) }
    end
    return out
end

-- Editor types of the settings of all plugins that are used, by name.
function Writer:types()
    local out = {}
    for instance in pairs(self.index) do
        local made = instance.plugin
        if made and not out[made.name] then out[made.name] = emit.types(made) end
    end
    return out
end

local function targets(route)
    if route.split then return splits.describe(route.split) end
    if route.action == "upstream" then return plain(route.upstream, 1) end
    if route.action == "respond" then return { route.status, route.body } end
    if route.action == "redirect" then return { route.status, route.location } end
    if route.action == "connect" then return plain(route.opts.connect, 1) end
    return nil
end

local function split_of(route)
    if not route.split then return nil end
    local names = {}
    for name in splits.upstreams_of(route.split) do names[#names + 1] = name end
    return names
end

local function conds_of(route)
    local out = {}
    for i, c in ipairs(route.conds) do
        out[i] = { kind = c.kind, op = c.op, negate = c.negate, name = c.name, value = c.value }
    end
    return out
end

function Writer:route(host, route)
    return { id = route.id, methods = route.methods, pattern = route.pattern, at = route.at,
        conds = conds_of(route), action = route.action, target = targets(route),
        split = split_of(route),
        content = route.content and self.index[route.content],
        opts = opts_of("route", route.opts), edits = plain(route.edits, 1),
        skip = plain(route.skip or {}, 1), meta = plain(route.meta or {}, 1),
        chains = self:chains(chains.instances_of(self.model, host, route), route.content) }
end

function Writer:hosts()
    local out = {}
    for i, host in ipairs(self.model.hosts) do
        local routes = {}
        for k, route in ipairs(host.routes) do routes[k] = self:route(host, route) end
        out[i] = { names = host.names, default = host.is_default or false, at = host.at,
            hsts = host.hsts, opts = opts_of("host", host.opts), routes = routes,
            tls = host.tls and plain(host.tls.opts, 1),
            chains = self:chains(chains.instances_of(self.model, host, nil)) }
    end
    return out
end

local function tls_of(set)
    if not set then return nil end
    local certs = {}
    for i, item in ipairs(set.certs or {}) do certs[i] = item.cert end
    return { at = set.at, certs = certs, opts = opts_of("tls", set.opts) }
end

local function tls_chains(self, node, is_stream)
    local out = {}
    if not node.tls then return out end
    local instances = chains.tls_instances(self.model, node, is_stream)
    for _, hook in ipairs { "tls_hello", "certificate" } do
        local entries = chains.entries(instances, hook)
        if entries[1] then out[hook] = self:entries(entries) end
    end
    return out
end

function Writer:listeners()
    local out = {}
    for i, listener in ipairs(self.model.listeners) do
        out[i] = { addresses = listener.addresses, at = listener.at, tls = tls_of(listener.tls),
            opts = opts_of("listen", listener.opts), chains = tls_chains(self, listener) }
    end
    return out
end

function Writer:streams()
    local out = {}
    for i, stream in ipairs(self.model.streams) do
        local own = tls_chains(self, stream, true)
        for _, hook in ipairs { "connect", "log" } do
            local entries = chains.entries(stream.use, hook, hook == "log")
            if entries[1] then own[hook] = self:entries(entries) end
        end
        out[i] = { addresses = stream.addresses, at = stream.at, tls = tls_of(stream.tls),
            opts = opts_of("stream", stream.opts), rules = plain(stream.rules, 1),
            upstream = stream.upstream, chains = own }
    end
    return out
end

local function providers_of(up)
    if not up.discover then return nil end
    local out = {}
    for i, one in ipairs(up.discover) do
        out[i] = { name = one.label, common = plain(one.common, 1),
            settings = plain(discover.public(one), 1) }
    end
    return out
end

function Writer:upstreams()
    local out = {}
    for i, up in ipairs(self.model.upstreams) do
        local peers = {}
        for k, peer in ipairs(up.peers) do
            peers[k] = { text = peer.text, weight = peer.weight, backup = peer.backup }
        end
        out[i] = { name = up.name, at = up.at, opts = opts_of("upstream", up.opts), peers = peers,
            tls = up.tls and plain(up.tls, 1) or nil, discover = providers_of(up),
            balance = up.balance and self.index[up.balance] }
    end
    return out
end

function Writer:zones()
    local out = {}
    for i, zone in ipairs(self.model.zones) do
        out[i] = { name = zone.name, kind = zone.kind, bytes = plain(zone.bytes, 1), at = zone.at,
            set = zone.set and plain(zone.set, 1) or nil }
    end
    return out
end

-- ---------------------------------------------------------------- whole

--- A built model as data: setup has run.
--- @param model table
--- @param sources string[]
--- @return table
function M.data(model, sources)
    local self = setmetatable({ model = model, index = {} }, Writer)
    local refs = {}
    local instances = self:instances()
    for instance in pairs(self.index) do
        for _, ref in ipairs(instance.refs or {}) do
            refs[#refs + 1] = { name = ref.name, zone = ref.zone }
        end
    end
    return { path = model.path, at = model.at, sources = sources,
        opts = opts_of("site", model.opts), instances = instances, refs = refs,
        listeners = self:listeners(), streams = self:streams(), zones = self:zones(),
        upstreams = self:upstreams(), hosts = self:hosts(),
        has_default = model.default_host ~= nil,
        early = self:entries(chains.entries(model.use, "early")), order = order.warnings(model),
        types = self:types(),
        nowhere = self:chains(chains.instances_of(model, nil, nil)) }
end

--- The same as JSON.
--- @return string
function M.text(model, sources)
    local json = require("rproxy.json")
    return (assert(json.encode(M.data(model, sources), { sort = true, invalid = "replace" })))
end

--- @param text string  of M.text
--- @return table
function M.read(text)
    local json = require("rproxy.json")
    return (assert(json.decode(text, { max = 2 ^ 30 })))
end

return M
