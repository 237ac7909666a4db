-- SPDX-License-Identifier: MIT
--
-- discover: the `discover` of an upstream, as the agent takes it.
--
--   discover = { "consul", service = "api" }                  a provider that comes with rproxy
--   discover = function(publish, say) .. end                  the site's own
--   discover = { my_provider, setting = .. }                  { start = .., schema = .. } likewise
--   discover = { { "file", path = .. }, { "dns", .. } }       several

local locate = require("rproxy.config.locate")
local nearest = require("rproxy.config.nearest")
local options = require("rproxy.config.options")
local options_discover = require("rproxy.config.options_discover")
local routes = require("rproxy.config.routes")
local schema = require("rproxy.schema")

local M = {}

local PROVIDERS_MOST = 8
local ACCOUNT_CA = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt"
local EXAMPLE = '{ "consul", service = "api" }'

local function is_provider(value)
    return type(value) == "table" and type(value.start) == "function"
end

-- ---------------------------------------------------------------- what goes together

local CHECKS = {}

function CHECKS.dns(s)
    if s.type == nil then s.type = s.port and "any" or "SRV" end
    if s.type == "SRV" then
        if s.port then return "port: SRV records have their own; leave it out, or say type" end
    elseif not s.port then
        return "port: missing: addresses have none of their own"
    end
    local function family(kind) return kind ~= "any" and kind or nil end
    s.family = s.type == "SRV" and family(s.family) or family(s.type)
    if s.type == "SRV" and s.family == "SRV" then s.family = nil end
end

function CHECKS.etcd(s)
    if (s.user == nil) ~= (s.password == nil and s.password_file == nil) then
        return "user: it goes together with password, or password_file"
    end
    if s.password and s.password_file then return "password: there is password_file, too" end
end

-- What a pod knows of the cluster that it runs in.
function CHECKS.kubernetes(s)
    if s.url then return end
    local host, port = os.getenv("KUBERNETES_SERVICE_HOST"), os.getenv("KUBERNETES_SERVICE_PORT")
    if not host or not port then
        return "url: missing, and this does not run in a cluster (there is no "
            .. "KUBERNETES_SERVICE_HOST)"
    end
    if host:find(":", 1, true) then host = "[" .. host .. "]" end
    s.url, s.in_cluster = ("https://%s:%s"):format(host, port), true
    if s.tls == nil or s.tls == true then s.tls = { ca = ACCOUNT_CA } end
end

local function check_all(kind, s)
    if s.token and s.token_file then return "token: there is token_file, too" end
    local check = CHECKS[kind]
    return check and check(s)
end

-- ---------------------------------------------------------------- reading

-- Settings of every provider, and the others.
local function split(named)
    local common, own = {}, {}
    local known = options.nodes.discover.fields
    for name, value in pairs(named) do
        if known[name] then common[name] = value else own[name] = value end
    end
    return common, own
end

local function node_of(provider, path, report, at)
    local compiled, node = pcall(schema.compile, provider.schema, path)
    if compiled then return node end
    report:add(at, "%s: its schema: %s", path, tostring(node))
end

-- Its settings, checked; nil: something is wrong and was said.
local function read_settings(one, named, path, at, report)
    local common, own = split(named)
    local node = one.kind and options.nodes["discover_" .. one.kind]
    if not node and one.provider.schema ~= nil then
        node = node_of(one.provider, path, report, at)
        if not node then return nil end
    end
    local ctx = schema.context()
    one.common = schema.check(options.nodes.discover, common, path, ctx)
    if node then one.settings = schema.check(node, own, path, ctx)
    else one.settings = own end
    report:add_context(at, ctx)
    if ctx.errors[1] then return nil end
    local wrong = one.kind and check_all(one.kind, one.settings)
    if wrong then
        report:add(at, "%s.%s", path, wrong)
        return nil
    end
    return one
end

--- One provider as it is written.
--- @return table|nil one  kind, provider, name, common, settings
function M.read_one(given, path, at, report)
    if type(given) == "function" then
        local fn = given
        given = { { name = "lua", unix = true,
            start = function(_, publish, say, about) return fn(publish, say, about) end } }
    end
    if type(given) ~= "table" then
        report:add(at, "%s: expected a provider such as %s, got %s", path, EXAMPLE,
            schema.show(given))
        return nil
    end
    local named, positional = routes.split_positional(given)
    local what = positional[1]
    if positional[2] ~= nil then
        report:add(at, "%s: one provider, got also %s; write a list of tables for several", path,
            schema.show(positional[2]))
        return nil
    end
    if is_provider(what) then
        local name = type(what.name) == "string" and what.name:find("^[%w_-]+$") and what.name
        return read_settings({ provider = what, name = name or "lua" }, named, path, at, report)
    end
    local kind = options.nodes["discover_" .. tostring(what)] and what
    if not kind then
        report:add(at, "%s: expected the name of a provider (%s) first, or one of your own, got "
            .. "%s%s", path, table.concat(options_discover.KINDS, ", "), schema.show(what),
            type(what) == "string" and nearest.hint(what, options_discover.KINDS) or "")
        return nil
    end
    return read_settings({ kind = kind, name = kind }, named, path, at, report)
end

--- One, or a list of several.
--- @return table list, boolean|nil is_list
function M.each(given)
    if type(given) ~= "table" or getmetatable(given) ~= nil then return { given } end
    local first = given[1]
    local is_list = type(first) == "function" or type(first) == "table" and not is_provider(first)
    if is_list and schema.not_a_list(given) == nil then return given, true end
    return { given }
end

--- Names that tell slots apart, the same after a reload: "consul", "consul#2".
function M.name_all(list)
    local seen = {}
    for _, one in ipairs(list) do
        seen[one.name] = (seen[one.name] or 0) + 1
        one.label = seen[one.name] == 1 and one.name or ("%s#%d"):format(one.name, seen[one.name])
    end
end

--- @param up table  of the model
--- @param node table  rp.upstream { .. }
--- @param report table
function M.read(up, node, report)
    local given = node.given.discover
    if given == nil then return end
    local path, at = ("upstreams.%s.discover"):format(up.name), locate.place(node, "discover")
    local list, is_list = M.each(given)
    if #list > PROVIDERS_MOST then
        report:add(at, "%s: at most %d providers, got %d", path, PROVIDERS_MOST, #list)
        return
    end
    up.discover = { at = at }
    for i, item in ipairs(list) do
        local one = M.read_one(item, is_list and schema.join(path, i) or path, at, report)
        if one then up.discover[#up.discover + 1] = one end
    end
    M.name_all(up.discover)
end

-- ---------------------------------------------------------------- building

-- Files of TLS and lists of networks are read at load, where that can be said.
--- @param one table
--- @param what string  for messages: "upstreams.api."
--- @param at string
--- @param report table
function M.prepare(one, what, at, report)
    local tls = one.settings.tls
    if tls ~= nil and tls ~= false and one.kind then
        local made, result = pcall(require("rproxy.tls").settings, tls == true and {} or tls)
        if not made then
            report:add(at, "%sdiscover: tls: %s", what,
                (tostring(result):gsub("^[^:]+:%d+: ", "")))
            return
        end
        one.settings.tls = result
    end
    if one.common.allow then
        local nets, err = require("rproxy.ip").cidr(one.common.allow)
        if not nets then
            report:add(at, "%sdiscover.allow: %s", what, err)
        end
    end
end

local function run(list, ends)
    for _, up in ipairs(list) do
        for _, one in ipairs(up.providers) do
            if one.kind then one.provider = require("rproxy.discover." .. one.kind) end
        end
    end
    require("rproxy.discover").start(list, ends)
end

--- Have the agent find the members of the upstreams that want it.
--- @param upstreams table[]  of the model, with their indexes
--- @param sink table
--- @param report table
--- @return boolean any
function M.build(upstreams, sink, report)
    local list, alone = {}, {}
    for _, up in ipairs(upstreams) do
        if up.discover and up.index then
            local wait = 0
            for _, one in ipairs(up.discover) do
                M.prepare(one, ("upstreams.%s."):format(up.name), up.discover.at, report)
                wait = math.max(wait, one.common.wait)
            end
            list[#list + 1] = { upstream = up.name, providers = up.discover }
            if #up.peers == 0 and wait > 0 then
                alone[#alone + 1] = { upstream = up.name, wait = wait }
            end
        end
    end
    if #list == 0 then return false end
    if #alone > 0 then
        sink:hook("start", function(_, ends)
            require("rproxy.discover.arrival").await(alone, ends)
        end)
    end
    sink:hook("agent", function(_, ends) run(list, ends) end)
    return true
end

-- ---------------------------------------------------------------- what is shown

local SHOWN = { file = "path", dns = "name", consul = "service", etcd = "prefix",
    kubernetes = "service", http = "url" }

--- Its settings as tools may show them; values of headers, and of a URL's query, may be secrets.
--- (Names such as token are known to whoever shows them.)
function M.public(one)
    local out = {}
    for name, value in pairs(one.settings) do out[name] = value end
    if out.headers then
        out.headers = nearest.names(out.headers)
    end
    if type(out.url) == "string" then out.url = out.url:match("^[^?]*") end
    return out
end

--- A provider in a few words, for `rproxy -T`; nothing of it is secret.
function M.text(one)
    local what = one.kind and SHOWN[one.kind]
    local value = what and one.settings[what] or one.kind == "docker" and one.settings.name
    if one.kind == "http" then value = M.public(one).url end
    return ("discover %s%s, empty: %s"):format(one.label, value and " " .. value or "",
        one.common.empty)
end

return M
