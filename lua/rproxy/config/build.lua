-- SPDX-License-Identifier: MIT
--
-- build: hand a checked model to a sink, the builder of the C side (rproxy.config.sink) or a
-- recorder of a spec. A sink's methods return a value, or nil and what is wrong; the mistakes are
-- reported with the place of what they are about.

local chains = require("rproxy.config.chains")
local coalesce = require("rproxy.config.coalesce")
local discover = require("rproxy.config.discover")
local routes_found = require("rproxy.config.found")
local options = require("rproxy.config.options")
local health = require("rproxy.config.health")
local guard = require("rproxy.config.guard")
local hedge = require("rproxy.config.hedge")
local plugin = require("rproxy.plugin")
local recording = require("rproxy.config.recording")
local schema = require("rproxy.schema")
local splits = require("rproxy.config.splits")
local subsets = require("rproxy.config.subsets")
local tls = require("rproxy.config.tls")
local trouble = require("rproxy.config.trouble")
local validate = require("rproxy.config.validate")

local M = {}

local FORWARD_BITS = { ["x-forwarded-for"] = 1, ["x-forwarded-proto"] = 2,
    ["x-forwarded-host"] = 4, ["x-forwarded-port"] = 8, forwarded = 16 }

local PROXY_VERSIONS = { v1 = 1, v2 = 2 }
local HTTP_KINDS = { ["1.1"] = 0, ["2"] = 1, auto = 2 } -- enum rp_up_http
local STICKY_MODES = { insert = 0, prefix = 1, learn = 2 } -- enum rp_sticky_mode
local PROXY_TLV_BITS = { authority = 1, alpn = 2, unique_id = 4, crc32c = 8 }

local Builder = {}
Builder.__index = Builder

-- Passes a sink's answer on; what is wrong goes to the report.
function Builder:try(at, what, value, err)
    if value ~= nil then return value end
    self.report:add(at, "%s%s", what == "" and "" or what .. ": ", tostring(err))
end

-- Whole numbers of the unit that the C side counts in; a duration too short for it becomes 1.
local function to_number(value, scale)
    if value == true then return 1 elseif value == false then return 0 end
    if value == math.huge or not scale then return value end
    return math.floor(value * scale + 0.5)
end

-- Every option of the group that has a key on the C side: set(key, number) or set_text(key, text).
-- at: a place, or (option) -> place. given: only what the site says.
function Builder:rows(group, opts, at, set, set_text, given)
    for _, row in ipairs(options[group]) do
        local value
        if row.conf and not (given and not options.is_given(opts, row.name)) then
            value = options.get(opts, row.name)
        end
        if value ~= nil then
            local put = type(value) == "string" and set_text or set
            local place = type(at) == "function" and at(row.name) or at
            self:try(place, row.name, put(row.conf, type(value) == "string" and value
                or to_number(value, row.scale)))
        end
    end
end

-- ---------------------------------------------------------------- site

local function bits_of(names, bits)
    local sum = 0
    for _, name in ipairs(names) do sum = sum + bits[name] end
    return sum
end

function Builder:forwarded()
    return bits_of(self.model.opts.forwarded, FORWARD_BITS)
end

function Builder:access_log(log)
    local sink = self.sink
    if not log then return end
    local at = self.model.place("log.access")
    local file = self:try(at, "log.access.to", sink:file(log.to))
    if not file then return end
    self:try(at, "log.access", sink:access_log(file, log.format, log.buffer,
        to_number(log.flush, 1000)))
    for _, name in ipairs(log.format == "json" and log.fields or {}) do
        self:try(self.model.place("log.access.fields"), "log.access.fields",
            sink:access_field(name))
    end
end

function Builder:error_log(log)
    local sink, at = self.sink, self.model.place("log.error")
    self:try(at, "log.error.level", sink:number("log.level", sink.LEVELS[log.level]))
    if log.to == "stderr" then return end -- what it is unless set
    local file = self:try(at, "log.error.to", sink:file(log.to))
    if file then self:try(at, "log.error.to", sink:number("log.error_file", file)) end
end

function Builder:decision_log(log)
    local sink, at = self.sink, self.model.place("log.decisions")
    if not log then return end
    local file = self:try(at, "log.decisions.to", sink:file(log.to))
    if file then
        self:try(at, "log.decisions.to", sink:number("log.decisions_file", file))
    end
end

function Builder:site()
    local model, sink = self.model, self.sink
    local opts, place = model.opts, model.place
    self:rows("site", opts, place,
        function(key, value) return sink:number(key, value) end,
        function(key, value) return sink:text(key, value) end)
    self:try(place("workers"), "workers", sink:number("workers",
        opts.workers == "auto" and 0 or opts.workers))
    if opts.cpu_affinity then
        self:try(place("cpu_affinity"), "cpu_affinity", sink:text("cpu_affinity",
            opts.cpu_affinity == "auto" and "auto" or table.concat(opts.cpu_affinity, ",")))
    end
    self:try(place("forwarded"), "forwarded", sink:number("forward.bits", self:forwarded()))
    self:try(place("via"), "via", sink:number("via.on", opts.via and 1 or 0))
    if opts.via then self:try(place("via"), "via", sink:text("via.name", opts.via)) end
    self:try(place("server"), "server", sink:text("server.name", opts.server or ""))
    if opts.resolver.servers then
        self:try(place("resolver"), "resolver.servers", sink:text("dns.servers",
            table.concat(opts.resolver.servers, ",")))
    end
    self:try(place("user"), "user", sink:text("user.at", place("user")))
    self:try(place("pid"), "pid", sink:text("pid_file.at", place("pid")))
    for i, cidr in ipairs(opts.trust) do
        self:try(place("trust"), ("trust[%d]"):format(i), sink:trust(cidr))
    end
    for _, zone in ipairs(model.zones) do
        self:try(zone.at, "shared." .. zone.name, sink:zone(zone))
    end
    self:pages("site", 0, model.pages, place("error_pages"))
    self:error_log(opts.log.error)
    self:access_log(opts.log.access)
    self:decision_log(opts.log.decisions)
    tls.build_listeners(self)
    for _, listener in ipairs(model.listeners) do
        for _, address in ipairs(listener.addresses) do
            local index = self:try(listener.at, "rp.listen", sink:listener(address,
                listener.opts.redirect_https))
            listener.indices = listener.indices or {}
            listener.indices[#listener.indices + 1] = index
            if index and listener.tls and listener.tls.index then
                self:try(listener.at, "tls", sink:use_tls(index, listener.tls.index))
            end
            for _, name in ipairs { "proxy_protocol", "half_closed" } do
                if index and listener.opts[name] then
                    self:try(listener.at, name, sink:set_listener(index, name, 1))
                end
            end
            if index and listener.metrics then
                self:try(listener.at, "metrics", sink:set_listener(index, "metrics", 1))
            end
        end
    end
end

-- ---------------------------------------------------------------- error pages

local PAGE_RULE = "a page is a regular file in the site's folder or below it, "
    .. "readable by everybody, of at most 64 KB"

-- What a file holds now is what is served until the next reload. Relative to the site's folder.
function Builder:page_body(page, at, what)
    if page.body then return page.body end
    local path = page.file
    if path:sub(1, 1) ~= "/" then
        path = (self.model.path:match("^(.*/)") or "./") .. path:gsub("^%./", "")
    end
    local text, err = self.sink:page_file(path)
    if text then return text end
    self.report:add(at, "%s: %s cannot be read: %s; %s", what, path, tostring(err), PAGE_RULE)
end

function Builder:pages(level, index, list, at)
    for _, page in ipairs(list) do
        local what = ('error_pages["%s"]'):format(page.which)
        local body = self:page_body(page, at, what)
        if body then
            self:try(at, what, self.sink:page(level, index, page.which, page.type, body))
        end
    end
end

-- ---------------------------------------------------------------- upstreams

function Builder:policy(up, what)
    local sink = self.sink
    self:try(up.at, what, sink:set_upstream(up.index, "balance", up.policy.number))
    self:try(up.at, what, sink:set_upstream(up.index, "hash_bound", up.policy.bound))
    for _, part in ipairs(up.policy.hash) do
        self:try(up.at, what, sink:add_hash(up.index, part.part, part.name))
    end
end

-- "retry" and "fail": what another attempt is for, what counts against a peer.
function Builder:trouble(up, kind, given)
    local found = given and trouble.read(given)
    if not found then return end
    local what = ("upstreams.%s.%s"):format(up.name, kind == "retry" and "retry.on" or "fail_on")
    self:try(up.at, what, self.sink:set_upstream(up.index, kind .. "_on", found.bits))
    for _, range in ipairs(found.ranges) do
        self:try(up.at, what, self.sink:add_statuses(up.index, kind == "retry", range[1],
            range[2]))
    end
end

function Builder:sticky(up, what)
    local s, more = up.opts.sticky, {}
    more[1] = "; Path=" .. s.path
    if s.domain then more[#more + 1] = "; Domain=" .. s.domain end
    if s.max_age then more[#more + 1] = ("; Max-Age=%d"):format(s.max_age) end
    more[#more + 1] = "; HttpOnly; SameSite=" .. s.same_site
    local function set(key, value)
        self:try(up.at, what, self.sink:set_upstream_text(up.index, key, value))
    end
    if s.cookie then set("sticky_cookie", s.cookie) end
    if s.header then set("sticky_header", s.header) end
    self:try(up.at, what, self.sink:set_upstream(up.index, "sticky_mode", STICKY_MODES[s.mode]))
    set("sticky_more", table.concat(more))
    if s.secret then
        local digest = require("rproxy.crypto").sha256(s.secret)
        set("sticky_key", require("rproxy.text").hex(digest):sub(1, 32))
    end
end

function Builder:upstream_rows(up, index, given)
    local sink = self.sink
    self:rows("upstream", up.opts, up.at,
        function(key, value) return sink:set_upstream(index, key, value) end,
        function(key, value) return sink:set_upstream_text(index, key, value) end, given)
end

function Builder:upstreams()
    local sink, indices = self.sink, {}
    local lean = sink.EACH_UPSTREAM ~= nil
    if lean then -- what most of thousands leave unsaid is said once
        local unsaid = { at = self.model.at,
            opts = schema.check_lean(options.nodes.upstream, {}, "", schema.context()) }
        self:upstream_rows(unsaid, sink.EACH_UPSTREAM)
    end
    for _, up in ipairs(self.model.upstreams) do
        local what = "upstreams." .. up.name
        local index = self:try(up.at, what, sink:upstream(up.name))
        if index then
            up.index, indices[up.name] = index, index
            self:upstream_rows(up, index, lean)
            self:try(up.at, what, sink:set_upstream(index, "http", HTTP_KINDS[up.opts.http]))
            local version = PROXY_VERSIONS[up.opts.proxy_protocol]
            if version then
                self:try(up.at, what, sink:set_upstream(index, "proxy_protocol", version))
                self:try(up.at, what, sink:set_upstream(index, "proxy_tlvs", bits_of(
                    up.opts.proxy_protocol_tlvs, PROXY_TLV_BITS)))
            end
            for _, peer in ipairs(up.peers) do
                self:try(peer.at, what, sink:peer(index, peer.text, peer.weight, peer.backup))
                if peer.priority > 0 then
                    self:try(peer.at, what, sink:set_peer(index, "priority", peer.priority))
                end
                if peer.max_conns > 0 then
                    self:try(peer.at, what, sink:set_peer(index, "max_conns", peer.max_conns))
                end
                subsets.build_peer(self, index, peer, what)
            end
            if up.policy then self:policy(up, what) end
            subsets.build(self, up, what)
            self:trouble(up, "retry", up.opts.retry.on)
            self:trouble(up, "fail", up.opts.fail_on)
            hedge.build(self, up)
            if up.opts.sticky.cookie or up.opts.sticky.header then self:sticky(up, what) end
            if up.health then self:try(up.at, what, sink:set_upstream(index, "health", 1)) end
            if up.discover then self:try(up.at, what, sink:set_upstream(index, "live", 1)) end
            tls.build_upstream(self, up)
        end
    end
    guard.build(self, self.model.upstreams, indices)
    sink:upstreams(indices)
    local routes = routes_found.build(self.model, sink) -- first: members wait for what it says
    local finds = discover.build(self.model.upstreams, sink, self.report)
    if health.build(self.model.upstreams) or finds or routes then
        self:try(self.model.at, "agent", sink:number("agent", 1))
    end
end

function Builder:balancers()
    for _, up in ipairs(self.model.upstreams) do
        local entries = up.balance and chains.entries({ up.balance }, "balance")
        if entries and entries[1] and up.index then
            local what = ("upstreams.%s.balance"):format(up.name)
            self:try(up.at, what, self.sink:set_upstream(up.index, "balance",
                self.sink.BALANCE_HOOK))
            self:try(up.at, what, self.sink:set_upstream(up.index, "balance_chain",
                self:chain("balance", entries)))
        end
    end
end

-- ---------------------------------------------------------------- plugins

-- Whose code runs: setup and init belong to an instance as its hooks do.
function Builder:running(instance)
    if self.sink.running then self.sink:running(instance and instance.index) end
end

-- A hook that may not fail unnoticed is refused while its breaker is open, unless the site says
-- otherwise; a shadow refuses nobody.
function Builder:breaker(instance)
    local b = instance.breaker
    if not b or not instance.index then return end
    local deny = instance.on_error ~= "open"
    if b.policy == "bypass" or b.policy == "deny" then deny = b.policy == "deny" end
    deny = deny and instance.mode ~= "shadow"
    local policy = deny and 2 or 1
    if b.policy == "last-good" then policy = 3 end
    local values = { policy = policy, deny = deny and 1 or 0, errors = b.errors, min = b.min,
        within = b.within * 1000, open = b.open * 1000, slow = (b.slow or 0) * 1000 }
    for key, value in pairs(values) do
        self:try(instance.at, "breaker." .. key, self.sink:set_plugin(instance.index,
            "breaker." .. key, value))
    end
end

function Builder:setups()
    local levels, order = validate.instances(self.model)
    local failed = false
    for _, instance in ipairs(order) do
        instance.index = self:try(instance.at, "plugin " .. instance.name,
            self.sink:plugin(instance.name, instance.mode == "shadow" and "open"
                or instance.on_error))
        if instance.mode == "shadow" and instance.index then
            self:try(instance.at, "mode", self.sink:shadow_plugin(instance.index))
        end
        self:breaker(instance)
        if instance.index then self.sink:policy(instance.index, instance.policy) end
        self:running(instance)
        for _, err in ipairs(plugin.open(instance) or {}) do
            failed = true
            self.report:add(instance.at, "%s", err)
        end
        self:running(nil)
    end
    if failed then return end
    chains.check(levels, order, self.report)
    chains.check_tls(self.model, self.report)
    self.order = order -- all have hooks
end

-- Equal chains are one chain: most routes of a site share a few.
function Builder:chain(phase, entries)
    local key, list = {}, {}
    for i, entry in ipairs(entries) do
        key[i] = ("%d:%s"):format(entry.instance.index, tostring(entry.fn))
        list[i] = { plugin = entry.instance.index, fn = entry.fn }
    end
    key = phase .. " " .. table.concat(key, " ")
    self.made[key] = self.made[key] or self.sink:chain(phase, list)
    return self.made[key]
end

function Builder:route_chains(index, at, instances)
    for _, phase in ipairs(chains.PHASES) do
        local entries = recording.entries(self.model, instances, phase)
        if entries[1] then
            self:try(at, phase.name, self.sink:route_chain(index, phase.name,
                self:chain(phase.name, entries)))
        end
    end
end

function Builder:lifecycle()
    local life = { start = {}, stop = {} }
    for _, instance in ipairs(self.order) do
        for name, list in pairs(life) do
            local fn = instance.hooks[name]
            if fn then list[#list + 1] = { plugin = instance.index, fn = fn } end
        end
    end
    self.sink:lifecycle(life)
end

-- What init(site) sees: names, no handles.
local function view_of(model)
    local view = { path = model.path, upstreams = {}, hosts = {} }
    for i, up in ipairs(model.upstreams) do view.upstreams[i] = up.name end
    for i, host in ipairs(model.hosts) do view.hosts[i] = host.names[1] or "default" end
    return view
end

function Builder:inits()
    local view = view_of(self.model)
    for _, instance in ipairs(self.order) do
        if instance.hooks.init then
            self:running(instance)
            local ran, err = pcall(instance.hooks.init, view)
            self:running(nil)
            if not ran then
                self.report:add(instance.at, "plugin %s: init raised: %s", instance.name,
                    tostring(err))
            end
        end
    end
end

-- ---------------------------------------------------------------- handshakes

-- The chains of a listener's TLS handshakes.
function Builder:tls_chains(node, indices, is_stream)
    if not node.tls then return end
    local instances = chains.tls_instances(self.model, node, is_stream)
    for hook, key in pairs { tls_hello = "hello_chain", certificate = "cert_chain" } do
        local entries = chains.entries(instances, hook)
        for _, index in ipairs(entries[1] and indices or {}) do
            self:try(node.at, hook, self.sink:set_listener(index, key, self:chain(hook, entries)))
        end
    end
end

-- ---------------------------------------------------------------- streams

-- A stream's own chains: connect in list order, log in reverse, as for requests.
function Builder:stream_chains(index, stream)
    for hook, key in pairs { connect = "connect_chain", log = "log_chain" } do
        local entries = chains.entries(stream.use, hook, hook == "log")
        if entries[1] then
            self:try(stream.at, hook, self.sink:set_stream(index, key, self:chain(hook, entries)))
        end
    end
end

function Builder:stream(stream)
    local sink, by_name = self.sink, self.model.upstream_by_name
    local index = self:try(stream.at, "rp.stream", sink:stream())
    if not index then return end
    self:rows("stream", stream.opts, stream.place,
        function(key, value) return sink:set_stream(index, key, value) end)
    local up = stream.upstream and by_name[stream.upstream]
    if up then
        self:try(stream.place("upstream"), "upstream", sink:set_stream(index, "upstream",
            up.index))
    end
    for _, address in ipairs(stream.addresses) do
        local listener = self:try(stream.at, "rp.stream", sink:stream_listener(index, address))
        if listener and stream.opts.proxy_protocol then
            self:try(stream.at, "proxy_protocol", sink:set_listener(listener, "proxy_protocol", 1))
        end
        if listener and stream.tls and stream.tls.index then
            self:try(stream.at, "tls", sink:use_tls(listener, stream.tls.index))
            self:tls_chains(stream, { listener }, true)
        end
    end
    for _, rule in ipairs(stream.rules) do
        self:try(stream.place(rule.kind), "rp.stream." .. rule.kind, sink:stream_rule(index,
            rule.kind, rule.name, rule.upstream and by_name[rule.upstream].index))
    end
    self:stream_chains(index, stream)
end

-- ---------------------------------------------------------------- hosts and routes

local ACTION = {}

function ACTION.upstream(builder, index, route)
    local up = builder.model.upstream_by_name[route.upstream]
    if not up.index then return true end -- reported already
    local split = route.split and splits.build(builder, route.split, route)
    if split then
        builder:try(route.at, "upstream", builder.sink:set_route(index, "split", split))
    end
    return builder.sink:set_route(index, "upstream", up.index)
end

function ACTION.respond(builder, index, route)
    local sink = builder.sink
    if route.content_type then
        builder:try(route.at, "respond", sink:set_route_text(index, "content_type",
            route.content_type))
    end
    builder:try(route.at, "respond", sink:set_route_text(index, "body", route.body))
    return sink:set_route(index, "status", route.status)
end

function ACTION.redirect(builder, index, route)
    builder:try(route.at, "redirect", builder.sink:set_route_text(index, "location",
        route.location))
    return builder.sink:set_route(index, "status", route.status)
end

function ACTION.content(builder, index, route)
    local entries = chains.entries({ route.content }, "content")
    return builder.sink:route_chain(index, "content", builder:chain("content", entries))
end

function ACTION.connect(builder, index, route)
    for _, list in ipairs { "allow", "deny" } do
        for _, text in ipairs(route.opts.connect[list] or {}) do
            builder:try(route.at, "connect." .. list, builder.sink:connect(index, list == "deny",
                text))
        end
    end
    return true
end

function Builder:route(host_index, route)
    local sink, at = self.sink, route.at
    local index = self:try(at, "", sink:route(host_index, route.methods, route.pattern, false))
    if not index then return end
    self:try(at, "id", sink:set_route_text(index, "id", route.id))
    self:try(at, route.action, sink:set_route(index, "action", sink.ACTIONS[route.action]))
    self:try(at, route.action, ACTION[route.action](self, index, route))
    self:rows("route", route.opts, at,
        function(key, value) return sink:set_route(index, key, value) end,
        function(key, value) return sink:set_route_text(index, key, value) end)
    guard.build_route(self, index, route)
    for _, c in ipairs(route.conds) do
        self:try(at, c.negate and "unless" or "when", sink:cond(index, c.kind, c.op, c.negate,
            c.name, c.value))
    end
    subsets.build_route(self, index, route)
    for _, e in ipairs(route.edits) do
        self:try(at, "headers", sink:edit(index, e.kind, e.response, e.name, e.value))
    end
    if route.meta ~= nil then
        self:try(at, "meta", sink:set_route(index, "meta", sink:meta(route.meta)))
    end
    coalesce.build(self, index, route)
    self:pages("route", index, route.pages, at)
    self:route_chains(index, at, chains.instances_of(self.model, route.host, route))
end

-- Requests that no route takes pass the hooks of their host (or of the site) all the same.
function Builder:fallback(host_index, host, at)
    local sink, instances = self.sink, chains.instances_of(self.model, host, nil)
    if #instances == 0 then return end
    local index = self:try(at, "", sink:route(host_index, "", "", true))
    if not index then return end
    self:try(at, "", sink:set_route(index, "action", sink.ACTIONS.respond))
    self:try(at, "", sink:set_route(index, "status", host and 404 or 421))
    self:route_chains(index, at, instances)
end

function Builder:hosts()
    local sink, hosts_ask = self.sink, false
    for _, host in ipairs(self.model.hosts) do hosts_ask = hosts_ask or host.tls ~= nil end
    for _, host in ipairs(self.model.hosts) do
        local index = self:try(host.at, "rp.host", sink:host(host.is_default))
        if index then
            for _, name in ipairs(host.names) do
                self:try(host.at, "rp.host", sink:host_name(index, name))
            end
            if host.hsts ~= "" then
                self:try(host.at, "hsts", sink:set_host_text(index, "hsts", host.hsts))
            end
            if host.tls then tls.build_host(self, index, host)
            elseif hosts_ask then tls.build_plain_host(self, host) end
            self:pages("host", index, host.pages, host.at)
            self:fallback(index, host, host.at)
            for _, route in ipairs(host.routes) do self:route(index, route) end
        end
    end
    self:fallback(sink.NO_HOST, nil, self.model.at)
    local entries = chains.entries(chains.instances_of(self.model), "early")
    if entries[1] then
        self:try(self.model.at, "use", sink:site_chain("early", self:chain("early", entries)))
    end
end

-- ---------------------------------------------------------------- whole

--- Build a model that was checked without a mistake.
--- @param model table
--- @param sink table
--- @param report table
function M.run(model, sink, report)
    local builder = setmetatable({ model = model, sink = sink, report = report, made = {} },
        Builder)
    recording.open(builder)
    builder:site()
    builder:upstreams()
    builder:setups()
    if not builder.order then return end
    builder:balancers()
    for _, listener in ipairs(model.listeners) do
        builder:tls_chains(listener, listener.indices)
    end
    builder:hosts()
    splits.finish(builder)
    for _, stream in ipairs(model.streams) do builder:stream(stream) end
    builder:lifecycle()
    if report:is_empty() then builder:inits() end
end

return M
