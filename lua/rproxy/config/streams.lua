-- SPDX-License-Identifier: MIT
--
-- streams: rp.stream as the model that build hands over: addresses, where connections go, by what.

local locate = require("rproxy.config.locate")
local options = require("rproxy.config.options")
local routes = require("rproxy.config.routes")
local schema = require("rproxy.schema")
local use = require("rproxy.config.use")

local M = {}

local EXAMPLE = 'write rp.stream { "127.0.0.1:5432", upstream = "name" }'

local function read_addresses(stream, positional, taken, report)
    if #positional == 0 then
        report:add(stream.at, "rp.stream: no address; %s", EXAMPLE)
    end
    for i, address in ipairs(positional) do
        if type(address) ~= "string" then
            report:add(stream.at, 'rp.stream[%d]: expected "address:port", got %s', i,
                schema.show(address))
        elseif taken[address] then
            report:add(stream.at, "rp.stream: %s is listened on already (%s)",
                schema.show(address), taken[address])
        else
            taken[address] = stream.at
            stream.addresses[#stream.addresses + 1] = address
        end
    end
end

-- { ["a.example"] = "up", ["*.b.example"] = false } as a list in the order of names.
local function read_rules(stream, kind, given, report)
    if given == nil then return end
    local path = "rp.stream." .. kind
    if type(given) ~= "table" then
        report:add(stream.place(kind), '%s: expected a table of upstreams by name, got %s', path,
            schema.show(given))
        return
    end
    local list = {}
    for name, upstream in pairs(given) do
        if type(name) ~= "string" then
            report:add(stream.place(kind), '%s: expected names as keys, got [%s]; write %s = '
                .. '{ ["a.example"] = "name" }', path, tostring(name), kind)
        elseif type(upstream) ~= "string" and upstream ~= false then
            report:add(stream.place(kind), '%s[%s]: expected the name of an upstream, or false to '
                .. "refuse, got %s", path, schema.show(name), schema.show(upstream))
        else
            list[#list + 1] = { kind = kind, name = name, upstream = upstream or nil }
        end
    end
    table.sort(list, function(a, b) return a.name < b.name end)
    for _, rule in ipairs(list) do stream.rules[#stream.rules + 1] = rule end
end

-- What is said of connections means nothing for datagrams, and the other way round.
local function check_transport(stream, given, report)
    local udp, tcp = 0, 0
    for _, address in ipairs(stream.addresses) do
        if address:find("^udp:") then udp = udp + 1 else tcp = tcp + 1 end
    end
    for _, key in ipairs { "sni", "alpn", "peek", "proxy_protocol", "tls" } do
        if udp > 0 and given[key] then
            report:add(stream.place(key), 'rp.stream.%s: not for datagrams; give the "udp:" '
                .. "address an rp.stream of its own", key)
        end
    end
    if udp > 0 and tcp == 0 and given.timeouts ~= nil then
        report:add(stream.place("timeouts"), "rp.stream.timeouts: not for datagrams; write "
            .. "udp = { idle = ... }")
    elseif udp == 0 and given.udp ~= nil and #stream.addresses > 0 then
        report:add(stream.place("udp"), 'rp.stream.udp: no address for datagrams; write '
            .. 'rp.stream { "udp:%s", ... }', stream.addresses[1])
    end
end

-- sni.default is another word for upstream, where one reads it best.
local function take_default(stream, report)
    for i, rule in ipairs(stream.rules) do
        if rule.kind == "sni" and rule.name == "default" then
            table.remove(stream.rules, i)
            if stream.opts.upstream ~= nil then
                report:add(stream.place("sni"), "rp.stream: both upstream and sni.default; remove "
                    .. "one")
            end
            stream.upstream = rule.upstream
            return
        end
    end
    stream.upstream = stream.opts.upstream
end

local function has_connect(stream)
    for _, instance in ipairs(stream.use) do
        local hooks = instance.given_hooks
        if not hooks or hooks.connect then return true end -- a plugin's hooks show at its setup
    end
    return false
end

--- @param node table  made by rp.stream
--- @param taken table  address -> place where it is listened on
--- @param report table
--- @return table stream
function M.read(node, taken, report)
    local named, positional = routes.split_positional(node.given)
    local ctx = schema.context()
    local stream = { at = node.at, addresses = {}, rules = {} }
    stream.place = function(key) return locate.place(node, key) end
    stream.opts = schema.check(options.nodes.stream, named, "", ctx)
    report:add_context(stream.place, ctx, "rp.stream")
    stream.use = use.list(node.given.use, stream.place("use"), report)
    read_addresses(stream, positional, taken, report)
    check_transport(stream, named, report)
    read_rules(stream, "sni", named.sni, report)
    read_rules(stream, "alpn", named.alpn, report)
    take_default(stream, report)
    if named.tls and named.alpn then
        report:add(stream.place("alpn"), "rp.stream.alpn: not with tls, which offers no protocol; "
            .. "remove one of them")
    end
    if not stream.upstream and #stream.rules == 0 and not has_connect(stream) then
        report:add(stream.at, "rp.stream: no upstream; %s", EXAMPLE)
    end
    return stream
end

--- Names of upstreams that a stream uses, each with the path of where it is said.
--- @return fun(): string, string
function M.upstreams_of(stream)
    return coroutine.wrap(function()
        if stream.upstream then coroutine.yield(stream.upstream, "upstream") end
        for _, rule in ipairs(stream.rules) do
            if rule.upstream then coroutine.yield(rule.upstream, rule.kind) end
        end
    end)
end

return M
