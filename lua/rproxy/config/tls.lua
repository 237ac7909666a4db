-- SPDX-License-Identifier: MIT
--
-- tls: the tls settings of site, listeners and upstreams as the model that build hands over, and
-- the handing over.

local options = require("rproxy.config.options")
local schema = require("rproxy.schema")

local M = {}

-- Where systems keep the authorities that they trust, as one file.
local SYSTEM_CAS = { "/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem" }

local VERSION_BITS = { ["1.2"] = 1, ["1.3"] = 2 }

local CERTS_EXAMPLE = 'write certs = { "/etc/rproxy/certs/*.pem" }'

-- ---------------------------------------------------------------- reading

local function read_cert(item, path, at, report)
    if type(item) == "string" and item ~= "" then
        return { cert = item, key = "", ocsp = "", is_pattern = item:find("*", 1, true) ~= nil }
    elseif type(item) == "table" and type(item.cert) == "string"
        and (item.key == nil or type(item.key) == "string")
        and (item.ocsp_file == nil or type(item.ocsp_file) == "string") then
        for name in pairs(item) do
            if name ~= "cert" and name ~= "key" and name ~= "ocsp_file" then
                report:add(at, "%s: expected { cert = file, key = file, ocsp_file = file }, got "
                    .. "also %s", path, schema.show(name))
            end
        end
        return { cert = item.cert, key = item.key or "", ocsp = item.ocsp_file or "" }
    end
    report:add(at, "%s: expected a file, a pattern or { cert = file, key = file }, got %s", path,
        schema.show(item))
end

local function read_certs(set, given, report)
    set.certs = {}
    if given == nil then
        report:add(set.at, "tls.certs: no certificate; %s", CERTS_EXAMPLE)
    elseif type(given) ~= "table" or schema.not_a_list(given) ~= nil or #given == 0 then
        report:add(set.at, "tls.certs: expected a list of files, got %s; %s",
            type(given) == "table" and "a table that is none" or schema.show(given), CERTS_EXAMPLE)
    else
        for i, item in ipairs(given) do
            set.certs[#set.certs + 1] = read_cert(item, ("tls.certs[%d]"):format(i), set.at, report)
        end
    end
end

-- A file or a list of files, as a list.
local function read_files(given, path, at, report)
    local files = type(given) == "string" and { given } or given or {}
    if type(files) ~= "table" or schema.not_a_list(files) ~= nil then files = { given } end
    for _, file in ipairs(files) do
        if type(file) ~= "string" or file == "" then
            report:add(at, "%s: expected a file or a list of files, got %s", path,
                schema.show(file))
            return {}
        end
    end
    return files
end

-- What is asked of clients.
local function read_client(set, at, report)
    local client = set.opts.client
    if (client.verify == "optional" or client.verify == "required") and not client.ca then
        report:add(at, 'tls.client.ca: who signs the certificates of clients? write ca = '
            .. '"/etc/rproxy/clients.pem"')
    end
    set.crls = read_files(client.crl, "tls.client.crl", at, report)
    if set.crls[1] and client.verify == "none" and not client.ca then -- else hooks may ask
        report:add(at, 'tls.client.crl: clients are not asked for certificates; write verify = '
            .. '"required" or "optional" beside it')
    end
end

local function read_set(given, at, report)
    local set = { at = at }
    local ctx = schema.context()
    set.opts = schema.check(options.nodes.tls, given, "tls", ctx)
    report:add_context(at, ctx)
    read_certs(set, given.certs, report)
    read_client(set, at, report)
    if set.opts.early_data and not set.opts.tickets then
        report:add(at, "tls.early_data: it comes with session tickets; remove tickets = false, or "
            .. "early_data")
    end
    return set
end

local function merged(base, over)
    local out = {}
    for name, value in pairs(base or {}) do out[name] = value end
    for name, value in pairs(over) do out[name] = value end
    return out
end

--- Read the tls of all listeners and streams. A set of settings is there once, however many
--- listeners use it.
--- @param model table  its listeners and streams are read
--- @param given any  the site's tls
--- @param report table
function M.read_listeners(model, given, report)
    local at, shared = model.place("tls"), nil
    model.tls = {}
    if given ~= nil and type(given) ~= "table" then
        report:add(at, "tls: expected a table, got %s; %s", schema.show(given), CERTS_EXAMPLE)
        return
    end
    local function add(set)
        model.tls[#model.tls + 1] = set
        return set
    end
    local function read(node, what)
        local own = node.opts.tls
        if own ~= true and type(own) ~= "table" then
            if own then
                report:add(node.at, "%s.tls: expected true or a table, got %s", what,
                    schema.show(own))
            end
            return nil
        elseif own == true and given == nil then
            report:add(node.at, "%s.tls: the site has no tls settings; %s in tls = { ... } of "
                .. "rp.site", what, CERTS_EXAMPLE)
            return nil
        elseif own == true and what == "rp.listen" then
            shared = shared or add(read_set(given, at, report))
            return shared
        end
        return add(read_set(merged(given, own == true and {} or own), node.at, report))
    end
    for _, listener in ipairs(model.listeners) do
        listener.tls = read(listener, "rp.listen")
        if listener.tls and listener.opts.redirect_https then
            report:add(listener.at, "rp.listen: redirect_https is for listeners without tls; "
                .. "remove one of them")
        end
    end
    for _, stream in ipairs(model.streams) do
        stream.tls = read(stream, "rp.stream")
        if stream.tls then
            stream.tls.opts.alpn = {}
            stream.tls.opts.early_data = false -- nobody knows what its protocol makes of a copy
        end
    end
    -- What nobody uses is checked all the same.
    if given ~= nil and not shared and #model.tls == 0 then add(read_set(given, at, report)) end
end

--- A host's rules for the certificates of its clients; nil: the listener's.
--- @param given any  the host's tls
--- @param host table  its names are read
--- @param model table
--- @param report table
function M.read_host(given, host, model, at, report)
    if given == nil then return nil end
    if type(given) ~= "table" then
        report:add(at, "rp.host.tls: expected a table, got %s; write tls = { client = { ... } }",
            schema.show(given))
        return nil
    end
    local set, ctx = { at = at }, schema.context()
    set.opts = schema.check(options.nodes.host_tls, given, "tls", ctx)
    report:add_context(at, ctx)
    read_client(set, at, report)
    if not host.names[1] then
        report:add(at, "rp.host.tls: the host has no name that clients could ask for; write it on "
            .. "the listener")
    end
    local speaks
    for _, listener in ipairs(model.listeners) do speaks = speaks or listener.tls end
    if not speaks then
        report:add(at, "rp.host.tls: no listener speaks TLS; add rp.listen { ..., tls = true }")
    end
    return set
end

--- @param up table  an upstream of the model
--- @param report table
function M.read_upstream(up, report)
    local given = up.opts.tls
    if not given then return end
    if given ~= true and type(given) ~= "table" then
        report:add(up.at, "upstreams.%s.tls: expected true or a table, got %s", up.name,
            schema.show(given))
        return
    end
    local ctx = schema.context()
    up.tls = schema.check(options.nodes.upstream_tls, given == true and {} or given,
        ("upstreams.%s.tls"):format(up.name), ctx)
    report:add_context(up.at, ctx)
    up.crls = read_files(up.tls.crl, ("upstreams.%s.tls.crl"):format(up.name), up.at, report)
    if up.crls[1] and not up.tls.verify then
        report:add(up.at, "upstreams.%s.tls.crl: certificates are not verified; remove one of "
            .. "verify = false and crl", up.name)
    end
end

local HSTS = schema.compile({ max_age = { "duration", required = true },
    subdomains = { "boolean", default = false }, preload = { "boolean", default = false } }, "hsts")

--- The value of Strict-Transport-Security; "" is none.
--- @param given any  a duration, a table, false, or nil: what is inherited
--- @param inherited string
function M.read_hsts(given, inherited, at, report)
    if given == nil then return inherited end
    if given == false then return "" end
    local ctx = schema.context()
    local checked = schema.check(HSTS, type(given) == "table" and given or { max_age = given },
        "hsts", ctx)
    report:add_context(at, ctx)
    if ctx.errors[1] then return "" end
    return ("max-age=%d%s%s"):format(checked.max_age,
        checked.subdomains and "; includeSubDomains" or "", checked.preload and "; preload" or "")
end

-- ---------------------------------------------------------------- handing over

local function absolute(builder, path)
    if path:sub(1, 1) == "/" then return path end
    return (builder.model.path:match("^(.*/)") or "./") .. path:gsub("^%./", "")
end

-- What an upstream is offered, by its option `http`.
local UP_ALPN = { ["1.1"] = { "http/1.1" }, ["2"] = { "h2" }, auto = { "h2", "http/1.1" } }

local function wire_list(names)
    local out = {}
    for i, name in ipairs(names) do out[i] = string.char(#name) .. name end
    return table.concat(out)
end

-- What listeners and upstreams have in common.
local function common(builder, index, opts, group, at, what)
    local sink = builder.sink
    local bits = 0
    for _, version in ipairs(opts.versions or {}) do bits = bits + VERSION_BITS[version] end
    builder:rows(group, opts, at,
        function(key, value) return sink:set_tls(index, key, value) end,
        function(key, value) return sink:set_tls_text(index, key, value) end)
    builder:try(at, what .. ".profile", sink:set_tls(index, "profile",
        sink.PROFILES[opts.profile]))
    builder:try(at, what .. ".versions", sink:set_tls(index, "versions", bits))
end

local function add_crls(builder, index, files, at, what)
    for _, file in ipairs(files) do
        builder:try(at, what, builder.sink:tls_crl(index, absolute(builder, file)))
    end
end

local function add_certs(builder, set)
    local sink = builder.sink
    for i, item in ipairs(set.certs) do
        local what, path = ("tls.certs[%d]"):format(i), absolute(builder, item.cert)
        local key = item.key ~= "" and absolute(builder, item.key) or ""
        local paths, added = { path }, 0
        if item.is_pattern then
            local list, err = sink:cert_list(path)
            if not list then builder.report:add(set.at, "%s: %s: %s", what, path, err) end
            paths = list or {}
        end
        for _, one in ipairs(paths) do
            local done = builder:try(set.at, what, sink:cert(set.index, one, key,
                item.is_pattern or false))
            if done then
                added = added + 1
                builder:try(set.at, what, sink:staple(set.index, one,
                    item.ocsp ~= "" and absolute(builder, item.ocsp) or ""))
            end
        end
        if added == 0 and builder.report:is_empty() then
            builder.report:add(set.at, "%s: %s: none of these files holds a certificate", what,
                path)
        end
    end
end

local function protocols(builder, opts)
    local out = {}
    for _, name in ipairs(opts.alpn) do
        if name ~= "h2" or builder.model.opts.http2.on then out[#out + 1] = name end
    end
    return out
end

local function add_client(builder, set, index, what)
    local sink, client = builder.sink, set.opts.client
    builder:try(set.at, what, sink:set_tls(index, "ask", sink.ASKS[client.verify]))
    if client.ca then
        builder:try(set.at, what .. ".ca", sink:tls_cas(index, absolute(builder, client.ca)))
    end
    add_crls(builder, index, set.crls, set.at, what .. ".crl")
end

--- A host's rules, behind its names and all listeners.
function M.build_host(builder, host_index, host)
    local sink, set, what = builder.sink, host.tls, "rp.host.tls.client"
    local index = builder:try(set.at, what, sink:tls())
    if not index then return end
    builder:rows("host_tls", set.opts, set.at,
        function(key, value) return sink:set_tls(index, key, value) end,
        function(key, value) return sink:set_tls_text(index, key, value) end)
    add_client(builder, set, index, what)
    for _, name in ipairs(host.names) do
        builder:try(set.at, what, sink:ask_clients(host_index, index, name))
    end
end

--- A host without rules, among others that have some: a wildcard above its names is not for them.
function M.build_plain_host(builder, host)
    for _, name in ipairs(host.names) do
        builder:try(host.at, "rp.host", builder.sink:ask_no_clients(name))
    end
end

local function add_set(builder, set)
    local sink, opts, at = builder.sink, set.opts, set.at
    local index = builder:try(at, "tls", sink:tls())
    if not index then return end
    set.index = index
    common(builder, index, opts, "tls", at, "tls")
    local function number(key, value)
        builder:try(at, "tls." .. key, sink:set_tls(index, key, value))
    end
    number("refuse", opts.default == "refuse" and 1 or 0)
    number("ktls", opts.ktls == "auto" and 1 or 0)
    number("session_ms", opts.tickets and math.min(builder.model.opts.timeouts.ticket_keys,
        7 * 24 * 3600) * 1000 or 0)
    builder:try(at, "tls.alpn", sink:set_tls_text(index, "alpn",
        wire_list(protocols(builder, opts))))
    add_client(builder, set, index, "tls.client")
    if not builder.report:is_empty() then return end
    if builder:try(at, "tls", sink:tls_server(index)) then add_certs(builder, set) end
end

--- The settings of all listeners, before the listeners.
function M.build_listeners(builder)
    local watch = 1
    for _, set in ipairs(builder.model.tls) do
        if not set.opts.watch then watch = 0 end
        add_set(builder, set)
    end
    builder:try(builder.model.place("tls"), "tls.watch", builder.sink:number("tls.watch", watch))
end

local function add_cas(builder, index, ca, at, what)
    if ca ~= "system" then
        builder:try(at, what, builder.sink:tls_cas(index, absolute(builder, ca)))
        return
    end
    local tried
    for _, path in ipairs(SYSTEM_CAS) do
        local done, err = builder.sink:tls_cas(index, path)
        if done then return end
        tried = tried or err
    end
    builder.report:add(at, "%s: the system's authorities were not found (%s); install "
        .. "ca-certificates, or set ca", what, tostring(tried))
end

--- The settings of an upstream whose peers are there.
function M.build_upstream(builder, up)
    local sink, opts, at = builder.sink, up.tls, up.at
    local what = ("upstreams.%s.tls"):format(up.name)
    if not opts then return end
    local index = builder:try(at, what, sink:tls())
    if not index then return end
    common(builder, index, opts, "upstream_tls", at, what)
    if opts.verify then add_cas(builder, index, opts.ca, at, what .. ".ca") end
    add_crls(builder, index, up.crls, at, what .. ".crl")
    builder:try(at, what, sink:set_tls_text(index, "alpn",
        wire_list(UP_ALPN[up.opts.http])))
    if not builder.report:is_empty() then return end
    local cert = opts.cert and absolute(builder, opts.cert) or ""
    local key = opts.key and absolute(builder, opts.key) or cert
    builder:try(at, what, sink:tls_client(index, up.index, cert, key))
end

return M
