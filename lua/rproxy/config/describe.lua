-- SPDX-License-Identifier: MIT
--
-- describe: the text of `rproxy -T`: what is in force, defaults filled in, and what runs where.
-- Request phases are shown in the order in which they run; so are the plugins of each phase.

local chains = require("rproxy.config.chains")
local discover = require("rproxy.config.discover")
local found = require("rproxy.config.found")
local guard = require("rproxy.config.guard")
local nearest = require("rproxy.config.nearest")
local options = require("rproxy.config.options")
local order = require("rproxy.config.order")
local recording = require("rproxy.config.recording")
local rules = require("rproxy.grant_rules")
local schema = require("rproxy.schema")
local splits = require("rproxy.config.splits")
local units = require("rproxy.config.units")

local M = {}

local MARK = 60 -- column where the place in the source stands

local Text = {}
Text.__index = Text

function Text:line(depth, text, at)
    text = ("  "):rep(depth) .. text
    if at then text = text .. (" "):rep(math.max(2, MARK - #text)) .. "# " .. at end
    self[#self + 1] = text
end

-- ---------------------------------------------------------------- values

local function show_list(list)
    local out = {}
    for i, item in ipairs(list) do out[i] = tostring(item) end
    return #out == 0 and "none" or table.concat(out, ", ")
end

local SHOW = { duration = units.show_duration, size = units.show_size }

local function show(row, value)
    if value == nil then return nil end
    if row.show then return row.show(value) end
    if value == false then return row.type == "boolean" and "no" or "off" end
    if value == true then return "yes" end
    if type(value) == "table" then return show_list(value) end
    return SHOW[row.type] and SHOW[row.type](value) or tostring(value)
end

local function write_pages(out, depth, pages)
    for _, page in ipairs(pages) do
        out:line(depth, ("error page %s: %s"):format(page.which,
            page.file or ("%d bytes"):format(#page.body)))
    end
end

-- Options that have their own part below, or that are only a table around others.
local APART = { listeners = true, discover = true, streams = true, upstreams = true, hosts = true,
    use = true, shared = true, tls = true, hsts = true, error_pages = true, grants = true }

local function write_site(out, model)
    for _, row in ipairs(options.site) do
        local text = show(row, options.get(model.opts, row.name))
        local is_group = row.type == "object" and text ~= "off"
        if text and row.secret then text = "(not shown)" end
        if text and not is_group and not APART[row.name] and row.type ~= "unbuilt" then
            out:line(1, ("%-26s %s"):format(row.name, text))
        end
    end
    write_pages(out, 1, model.pages)
    if model.opts.log.access == nil then out:line(1, ("%-26s %s"):format("log.access", "off")) end
end

-- ---------------------------------------------------------------- listeners, upstreams

local function write_tls_hooks(out, model, node, is_stream)
    if not node.tls then return end
    local instances = chains.tls_instances(model, node, is_stream)
    for _, hook in ipairs { "tls_hello", "certificate" } do
        for i, entry in ipairs(chains.entries(instances, hook)) do
            out:line(2, ("%-14s %s"):format(i == 1 and hook or "", entry.instance.name),
                entry.instance.at)
        end
    end
end

local function write_listeners(out, model)
    for _, listener in ipairs(model.listeners) do
        for _, address in ipairs(listener.addresses) do
            out:line(1, address .. (listener.opts.redirect_https and " (redirects to https)" or "")
                .. (listener.metrics and " (metrics)" or "")
                .. (listener.tls and " (TLS)" or "")
                .. (listener.opts.proxy_protocol and " (PROXY protocol)" or "")
                .. (listener.opts.half_closed and " (half-closed clients)" or ""),
                listener.at)
        end
        write_tls_hooks(out, model, listener)
    end
end

-- Which bodies of a route are buffered, and how far.
local function buffers_of(buffer)
    if not (buffer.request or buffer.response) then return nil end
    local which = buffer.request and buffer.response and "request and response"
        or buffer.request and "request" or "response"
    local max = buffer.response and ", max " .. units.show_size(buffer.max) or ""
    return ("buffer %s, memory %s%s"):format(which, units.show_size(buffer.memory), max)
end

local function write_tls(out, model)
    for _, set in ipairs(model.tls) do
        local opts, certs = set.opts, {}
        for i, item in ipairs(set.certs) do certs[i] = item.cert end
        out:line(1, ("%s, alpn %s, tickets %s, default %s"):format(opts.versions
            and "TLS " .. table.concat(opts.versions, " and ") or opts.profile,
            table.concat(opts.alpn, " "), opts.tickets and "yes" or "no", opts.default), set.at)
        for _, cert in ipairs(certs) do out:line(2, "certificate " .. cert) end
        if opts.client.verify ~= "none" then
            out:line(2, ("clients' certificates %s%s%s"):format(opts.client.verify,
                opts.client.ca and ", signed by " .. opts.client.ca or "",
                opts.client.forward and ", forwarded" or ""))
        end
    end
end

local function times_of(opts)
    local parts = {}
    for _, name in ipairs { "hello", "connect", "send", "first_byte", "idle" } do
        if opts[name] then parts[#parts + 1] = name .. " " .. units.show_duration(opts[name]) end
    end
    return table.concat(parts, ", ")
end

local function write_upstream(out, up)
    local opts = up.opts
    out:line(1, up.name, up.at)
    out:line(2, "balance " .. (up.balance and ("by %s (%s)"):format(up.balance.name, up.balance.at)
        or (up.policy and up.policy.text or "?")
            .. (up.policy and up.policy.bound > 0 and (", bound %g"):format(up.policy.bound / 100)
                or "")))
    for _, peer in ipairs(up.peers) do
        out:line(2, ("peer %s weight %d%s%s%s"):format(peer.text, peer.weight,
            peer.backup and " backup" or "",
            peer.priority > 0 and " priority " .. peer.priority or "",
            peer.max_conns > 0 and " max_conns " .. peer.max_conns or ""))
    end
    for _, one in ipairs(up.discover or {}) do out:line(2, discover.text(one)) end
    if opts.host then out:line(2, "host " .. opts.host) end
    if up.health then
        out:line(2, ("health %s every %s, rise %d, fall %d"):format(up.health.type,
            units.show_duration(up.health.every), up.health.rise, up.health.fall))
    end
    if up.tls then out:line(2, "tls" .. (up.tls.verify and "" or " (not verified)")) end
    if opts.proxy_protocol then out:line(2, "proxy_protocol " .. opts.proxy_protocol) end
    out:line(2, "timeouts " .. times_of(opts.timeouts))
    out:line(2, ("keepalive idle %s, max %d, requests %s"):format(
        units.show_duration(opts.keepalive.idle), opts.keepalive.max,
        opts.keepalive.requests == 0 and "no limit" or opts.keepalive.requests))
    out:line(2, ("tries %d, max_fails %d, fail_rest %s"):format(opts.tries, opts.max_fails,
        units.show_duration(opts.fail_rest)))
    guard.describe(out, up)
end

-- ---------------------------------------------------------------- streams

local function write_stream_times(out, stream)
    local udp, datagrams, connections = stream.opts.udp, false, false
    for _, address in ipairs(stream.addresses) do
        if address:find("^udp:") then datagrams = true else connections = true end
    end
    if connections then out:line(2, "timeouts " .. times_of(stream.opts.timeouts)) end
    if not datagrams then return end
    out:line(2, ("udp idle %s, sessions %d"):format(units.show_duration(udp.idle), udp.sessions)
        .. (udp.responses and ", responses " .. udp.responses or "")
        .. (udp.requests and ", requests " .. udp.requests or ""))
end

local function write_stream(out, stream)
    out:line(1, table.concat(stream.addresses, ", ") .. (stream.tls and " (TLS)" or ""),
        stream.at)
    for _, rule in ipairs(stream.rules) do
        out:line(2, ("%s %s: %s"):format(rule.kind, rule.name, rule.upstream
            and "upstream " .. rule.upstream or "refuse"))
    end
    out:line(2, (#stream.rules > 0 and "else " or "") .. (stream.upstream
        and "upstream " .. stream.upstream or "refuse"))
    write_stream_times(out, stream)
    if not stream.opts.access_log then out:line(2, "access_log no") end
    write_tls_hooks(out, nil, stream, true)
    for _, hook in ipairs { "connect", "log" } do
        local entries = chains.entries(stream.use, hook, hook == "log")
        for i, entry in ipairs(entries) do
            out:line(2, ("%-14s %s"):format(i == 1 and hook or "", entry.instance.name),
                entry.instance.at)
        end
    end
end

-- ---------------------------------------------------------------- routes

local ACTION = {}

function ACTION.upstream(route)
    if route.split then return "split " .. splits.describe(route.split) end
    return "upstream " .. route.upstream
end

function ACTION.respond(route)
    return ("respond %d, %d bytes"):format(route.status, #route.body)
end

function ACTION.redirect(route)
    return ("redirect %d to %s"):format(route.status, route.location)
end

function ACTION.content(route)
    return "content by " .. route.content.name
end

function ACTION.connect(route)
    local opts = route.opts.connect
    return "connect to " .. table.concat(opts.allow, ", ")
        .. (#opts.deny > 0 and "; never to " .. table.concat(opts.deny, ", ") or "")
end

-- What tunnels of the route may do, as far as it says so.
local function write_tunnel(out, opts)
    local parts = {}
    local function add(name, value, show_as)
        if value and value ~= 0 then parts[#parts + 1] = name .. " " .. show_as(value) end
    end
    local tunnel, ws = opts.tunnel or {}, opts.websocket or {}
    add("idle", tunnel.idle, units.show_duration)
    add("time", tunnel.time, units.show_duration)
    add("bytes_in", tunnel.bytes_in, units.show_size)
    add("bytes_out", tunnel.bytes_out, units.show_size)
    if #parts > 0 then out:line(3, "tunnel " .. table.concat(parts, ", ")) end
    parts = {}
    add("max_frame", ws.max_frame, units.show_size)
    add("max_message", ws.max_message, units.show_size)
    if ws.check then parts[#parts + 1] = "check" end
    if (ws.ping or 0) > 0 then
        add("ping", ws.ping, units.show_duration)
        add("pong", ws.pong, units.show_duration)
        if ws.ping_upstream then parts[#parts + 1] = "ping_upstream" end
    end
    if #parts > 0 then out:line(3, "websocket " .. table.concat(parts, ", ")) end
end

local function show_cond(c)
    local what = { exists = "is there", equals = "is " .. schema.show(c.value),
        prefix = "starts with " .. schema.show(c.value), regex = "matches " .. schema.show(c.value),
        ["in"] = "in " .. c.value }
    return ("%s %s%s %s"):format(c.negate and "unless" or "when", c.kind,
        c.name ~= "" and " " .. c.name or "", what[c.op])
end

-- "ratelimit (shadow, untrusted)"
local function marked(instance)
    local marks = {}
    if instance.mode == "shadow" then marks[#marks + 1] = "shadow" end
    if instance.untrusted then marks[#marks + 1] = "untrusted" end
    return instance.name .. (marks[1] and " (" .. table.concat(marks, ", ") .. ")" or "")
end

local function write_chain(out, depth, phase, entries)
    for i, entry in ipairs(entries) do
        out:line(depth, ("%-14s %s"):format(i == 1 and phase or "", marked(entry.instance)),
            entry.instance.at)
    end
end

local BREAKER_SHOW = { within = units.show_duration, open = units.show_duration,
    slow = units.show_duration }

local function breaker_of(breaker)
    local parts = {}
    for _, name in ipairs(nearest.names(breaker)) do
        local value = breaker[name]
        if type(value) ~= "table" then
            local show_as = type(value) == "number" and BREAKER_SHOW[name] or tostring
            parts[#parts + 1] = name .. " " .. show_as(value)
        end
    end
    return #parts > 0 and table.concat(parts, ", ") or "yes"
end

-- What an instance of a plugin is and may do.
local function write_instance(out, depth, instance)
    local plugin = instance.plugin
    out:line(depth, ("plugin %s: stage %s, on_error %s%s"):format(instance.name,
        plugin.stage or "none", instance.on_error,
        instance.mode == "shadow" and ", mode shadow" or ""), instance.at)
    if instance.limits then
        out:line(depth + 1, ("untrusted: %.0f instructions and %s of memory in each call"):format(
            instance.limits.instructions, units.show_size(instance.limits.memory)))
    end
    if instance.breaker then out:line(depth + 1, "breaker: " .. breaker_of(instance.breaker)) end
    local grants = instance.policy and rules.texts(instance.policy.set) or {}
    if grants[1] then out:line(depth + 1, "granted: " .. table.concat(grants, ", ")) end
end

local function write_chains(out, depth, model, host, route)
    local instances = chains.instances_of(model, host, route)
    for _, phase in ipairs(chains.PHASES) do
        write_chain(out, depth, phase.name, recording.entries(model, instances, phase))
        if phase.name == "rewrite" and route and route.content then
            write_chain(out, depth, "content", chains.entries({ route.content }, "content"))
        end
    end
    for _, instance in ipairs(instances) do
        if instance.plugin then write_instance(out, depth, instance) end
    end
end

local function write_route(out, model, route)
    out:line(2, ("%s%s"):format(route.methods ~= "" and route.methods .. " " or "",
        route.pattern), route.at)
    out:line(3, "id " .. route.id)
    for _, c in ipairs(route.conds) do out:line(3, show_cond(c)) end
    out:line(3, ACTION[route.action](route))
    local opts = route.opts
    out:line(3, "body limit " .. units.show_size(opts.limits.body or model.opts.limits.body))
    local times = times_of(opts.timeouts)
    if times ~= "" then out:line(3, "timeouts " .. times) end
    local buffers = buffers_of(opts.buffer)
    if buffers then out:line(3, buffers) end
    if opts.strip_prefix then out:line(3, "strip_prefix " .. opts.strip_prefix) end
    for _, e in ipairs(route.edits) do
        out:line(3, ("%s header: %s %s%s"):format(e.response and "response" or "request", e.kind,
            e.name, e.value ~= "" and ": " .. e.value or ""))
    end
    write_pages(out, 3, route.pages)
    if not opts.upgrade then out:line(3, "upgrade no") end
    write_tunnel(out, opts)
    if guard.describe_route(route) then out:line(3, guard.describe_route(route)) end
    if not opts.access_log then out:line(3, "access_log no") end
    write_chains(out, 3, model, route.host, route)
end

local function write_host(out, model, host)
    local names = table.concat(host.names, ", ")
    local default = host.is_default and (names == "" and "default" or " (default)") or ""
    out:line(1, names .. default, host.at)
    if host.hsts ~= "" then out:line(2, "hsts " .. host.hsts) end
    if host.tls then
        local client = host.tls.opts.client
        out:line(2, ("certificates of clients: %s%s"):format(client.verify,
            client.ca and ", signed by " .. client.ca or ""))
    end
    write_pages(out, 2, host.pages)
    for _, route in ipairs(host.routes) do write_route(out, model, route) end
    if #chains.instances_of(model, host, nil) > 0 then
        out:line(2, "no route: respond 404")
        write_chains(out, 3, model, host, nil)
    end
end

-- ---------------------------------------------------------------- whole

--- @param model table  that was built: setup has run
--- @return string
function M.text(model)
    local out = setmetatable({}, Text)
    out:line(0, "site", model.at)
    write_site(out, model)
    out:line(0, "listeners")
    write_listeners(out, model)
    if #model.tls > 0 then out:line(0, "TLS") end
    write_tls(out, model)
    if #model.zones > 0 then out:line(0, "shared") end
    for _, zone in ipairs(model.zones) do
        out:line(1, ("%s %s %s"):format(zone.name, zone.kind, units.show_size(zone.bytes)), zone.at)
    end
    out:line(0, "upstreams")
    for _, up in ipairs(model.upstreams) do write_upstream(out, up) end
    if model.finds then out:line(0, "routes found by") end
    for _, line in ipairs(model.finds and found.lines(model.finds) or {}) do
        out:line(line[1], line[2], line[3])
    end
    if #model.streams > 0 then out:line(0, "streams") end
    for _, stream in ipairs(model.streams) do write_stream(out, stream) end
    local early = chains.entries(chains.instances_of(model), "early")
    if early[1] then
        out:line(0, "before routing")
        write_chain(out, 1, "early", early)
    end
    out:line(0, "hosts")
    for _, host in ipairs(model.hosts) do write_host(out, model, host) end
    if not model.default_host then
        out:line(1, "any other name: respond 421")
        write_chains(out, 2, model, nil, nil)
    end
    local warnings = order.warnings(model)
    if warnings[1] then out:line(0, "warnings") end
    for _, warning in ipairs(warnings) do out:line(1, warning.text, warning.at) end
    return table.concat(out, "\n") .. "\n"
end

return M
