-- SPDX-License-Identifier: MIT
--
-- options: THE option table. What site.lua may say, what it means, what it is when unsaid. The
-- check, the hand-over to the C side, `rproxy -T` and docs/reference/options.md are made from these
-- rows; no option is read anywhere that is not here.
--
-- A row: name (dots nest), type (a schema type), default, unit, since, doc, check; further
--   values              of an enum                 min, max, match    bounds
--   or_false            false switches it off      optional           absent stays absent
--   conf, scale         key of runtime/proxy/conf.tbl, and what to multiply by for it
--   show                function: a value in the words of -T, where the type does not say them
--   shown, takes        default and type in words, where they do not speak for themselves
--   secret              `rproxy -T` does not show the value

local checks = require("rproxy.config.option_checks")
local options_discover = require("rproxy.config.options_discover")
local options_guard = require("rproxy.config.options_guard")
local options_upstream = require("rproxy.config.options_upstream")
local options_split = require("rproxy.config.options_split")
local schema = require("rproxy.schema")
local site = require("rproxy.config.site")

local M = {}

for group, rows in pairs(options_upstream) do M[group] = rows end
M.split = options_split.split
M.discover = options_discover.discover
M.found_routes = options_discover.found_routes
for _, kind in ipairs(options_discover.KINDS) do
    M["discover_" .. kind] = options_discover["discover_" .. kind]
end

local MS, US = 1000, 1000 * 1000

-- ---------------------------------------------------------------- checks

local function is_workers(value)
    if value == "auto" then return true end
    if type(value) == "number" and value % 1 == 0 and value >= 1 and value <= 1023 then
        return true
    end
    return nil, '"auto" or a whole number from 1 to 1024'
end

local function is_path(value)
    if value:sub(1, 1) == "/" then return true end
    return nil, 'a path that starts with "/"'
end

local function is_target(value)
    if type(value) == "string" or site.kind(value) == "split" then return true end
    return nil, "the name of an upstream, or rp.split { ... }"
end

-- Whoever guesses it reads what the site's plugins do.
local function is_token_of_trace(value)
    if #value < 16 or value:find("[^\33-\126]") then
        return nil, "at least 16 visible ASCII characters without a blank"
    end
    return true
end

local function is_trace_header(value)
    if value:find("^[xX]%-[%w-]+$") then return true end
    return nil, 'a header name that begins with "x-"'
end

local SAMPLE = '0 to 1, or { share = 0 to 1, header = name, token = text }'

local function is_share(value)
    return type(value) == "number" and value >= 0 and value <= 1
end

local function is_sample(value)
    if is_share(value) then return true end
    if type(value) ~= "table" then return nil, SAMPLE end
    for key in pairs(value) do
        if key ~= "share" and key ~= "header" and key ~= "token" then return nil, SAMPLE end
    end
    if value.share ~= nil and not is_share(value.share) then return nil, SAMPLE end
    if (value.header == nil) ~= (value.token == nil) then return nil, SAMPLE end
    if value.header == nil then return value.share ~= nil or nil, SAMPLE end
    if type(value.header) ~= "string" or not value.header:find("^[%w!#$%%&'*+%-.^_`|~]+$") then
        return nil, SAMPLE
    end
    if type(value.token) == "string" and #value.token >= 8 then return true end
    return nil, SAMPLE .. "; the token has 8 bytes or more"
end

local function show_sample(value)
    if type(value) ~= "table" then return tostring(value) end
    local share = tostring(value.share or 0)
    return value.header and ("%s, and by %s"):format(share, value.header) or share
end

local function is_cookies(value)
    if value == true then return true end
    if type(value) == "table" then
        for key, name in pairs(value) do
            if type(key) ~= "number" or type(name) ~= "string" then
                return nil, "true, or a list of names"
            end
        end
        return true
    end
    return nil, "true, or a list of names"
end

-- ---------------------------------------------------------------- site

local FORWARDED = { "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host",
    "x-forwarded-port", "forwarded" }

M.site = {
    { name = "workers", type = "any", takes = '`"auto"` or integer',
        default = "auto", check = is_workers,
        doc = 'Worker processes: one loop and one Lua VM each. "auto" is one per core.' },
    { name = "user", type = "string", conf = "user",
        doc = "Account that workers change to when the master runs as root." },
    { name = "pid", type = "string", conf = "pid_file", check = is_path,
        doc = "One more pid file of the master, beside the one in the run directory." },
    { name = "trust", type = "list<string>", default = {},
        doc = "Networks (CIDR) of clients that may say where a request came from: other proxies "
            .. "of yours. Nobody else's X-Forwarded-* and Forwarded count." },

    { name = "limits.headers", type = "integer", default = 100, min = 1, max = 4096,
        conf = "limits.fields_n", doc = "Header lines of one request; more is answered 431." },
    { name = "limits.header_bytes", type = "size", default = "32k", min = 1024, max = 2 ^ 20,
        conf = "limits.head_bytes", doc = "Bytes of one request head; more is answered 431." },
    { name = "limits.uri", type = "size", default = "8k", min = 64, max = 2 ^ 20,
        conf = "limits.uri_bytes", doc = "Bytes of the request target; more is answered 414." },
    { name = "limits.args", type = "integer", default = 256, min = 1, max = 65535,
        conf = "limits.args_n",
        doc = "Query arguments of one request; more is answered 400." },
    { name = "limits.body", type = "size", default = "8m", conf = "limits.body_bytes",
        doc = "Bytes of a request body; more is answered 413. 0 and math.huge are no limit. "
            .. "A route may say otherwise." },
    { name = "limits.connections", type = "integer", default = 0, min = 0, max = 2 ^ 32 - 1,
        conf = "limits.connections",
        doc = "Client connections at one time, of all workers together; more are answered 503 and "
            .. "closed. 0 is no limit." },
    { name = "limits.connections_per_ip", type = "integer", default = 0, min = 0, max = 2 ^ 32 - 1,
        conf = "limits.connections_per_ip",
        doc = "Of one client (an IPv4 address, an IPv6 network of ipv6_prefix), of all workers "
            .. "together; more are answered 503 and closed. Networks of `trust` are not counted. "
            .. "0 is no limit." },
    { name = "limits.ipv6_prefix", type = "integer", default = 64, min = 1, max = 128,
        conf = "limits.ipv6_prefix",
        doc = "Bits of an IPv6 address that say who the client is, for connections_per_ip." },
    { name = "limits.body_rate", type = "size", default = 128, max = 2 ^ 40,
        conf = "limits.body_rate",
        doc = "Bytes per second of a request body at least, on average over the time that rproxy "
            .. "waits for it; below it is answered 408. 0 is no limit." },
    { name = "limits.send_rate", type = "size", default = 128, max = 2 ^ 40,
        conf = "limits.send_rate",
        doc = "Bytes per second that a client takes of a response at least, on average over the "
            .. "time that rproxy waits for it; below it the connection ends. 0 is no limit." },
    { name = "limits.rate_grace", type = "duration", default = "30s", min = 0.001,
        conf = "limits.rate_grace_ms", scale = MS,
        doc = "Waiting that body_rate and send_rate always allow." },
    { name = "limits.spill", type = "size", default = "1g", conf = "limits.spill_bytes",
        doc = "Bytes that buffered bodies take in files, in each worker. A request that finds no "
            .. "room is answered 503; a response goes on at its client's pace. math.huge is no "
            .. "limit." },
    { name = "spill.dir", type = "string", default = "/tmp", conf = "spill.dir", check = is_path,
        doc = "Directory on a disk where buffered bodies go that do not fit in memory, as files "
            .. "without a name. Workers must be able to write there." },
    { name = "limits.tls_handshakes", type = "integer", default = 0, min = 0, max = 2 ^ 32 - 1,
        conf = "limits.tls_rate",
        doc = "TLS handshakes that a worker begins in a second; further clients wait for their "
            .. "turn, within timeouts.tls_handshake. 0 is no limit." },
    { name = "limits.keepalive_requests", type = "integer", default = 10000, min = 0,
        max = 2 ^ 32 - 1, conf = "limits.keepalive_requests",
        doc = "Requests on one client connection before it is closed; 0 is no limit." },

    { name = "http2.on", type = "boolean", default = true, conf = "http2.on",
        doc = "Speak HTTP/2 with clients that begin with its connection preface." },
    { name = "http2.streams", type = "integer", default = 128, min = 1, max = 65535,
        conf = "http2.streams_n", doc = "Requests at once on one HTTP/2 connection." },
    { name = "http2.window", type = "size", default = "256k", min = 65535, max = 2 ^ 24,
        conf = "http2.window_bytes",
        doc = "Bytes of one HTTP/2 request body that may wait to be read." },
    { name = "timeouts.header", type = "duration", default = "60s", min = 0.001,
        conf = "timeouts.head_ms", scale = MS,
        doc = "For a whole request head to arrive (408)." },
    { name = "timeouts.body", type = "duration", default = "60s", min = 0.001,
        conf = "timeouts.body_ms", scale = MS,
        doc = "Between two pieces of a request body (408)." },
    { name = "timeouts.keepalive", type = "duration", default = "75s", min = 0.001,
        conf = "timeouts.keepalive_ms", scale = MS,
        doc = "A client connection may be idle between requests." },
    { name = "timeouts.connection", type = "duration", default = 0,
        conf = "timeouts.connection_ms", scale = MS,
        doc = "A client connection may live in all: no further request begins on an older one. "
            .. "A request under way, a WebSocket and a stream are not cut. 0 is no limit." },
    { name = "timeouts.send", type = "duration", default = "60s", min = 0.001,
        conf = "timeouts.send_ms", scale = MS,
        doc = "A client may read nothing of its response." },
    { name = "timeouts.drain", type = "duration", default = "30s", conf = "timeouts.drain_ms",
        scale = MS, doc = "A stopping worker waits for running requests." },
    { name = "timeouts.tunnel", type = "duration", default = "1h", min = 0.001,
        conf = "timeouts.tunnel_ms", scale = MS,
        doc = "A tunnel (WebSocket, CONNECT) may be silent in both directions." },
    { name = "timeouts.tls_handshake", type = "duration", default = "10s", min = 0.001,
        conf = "timeouts.tls_ms", scale = MS,
        doc = "A client's whole TLS handshake; then the connection is closed." },
    { name = "timeouts.ticket_keys", type = "duration", default = "12h", min = 60,
        conf = "tls.ticket_keys_ms", scale = MS,
        doc = "Between two rotations of the keys of session tickets; a ticket is good for this "
            .. "time at least and twice this time at most." },
    { name = "timeouts.hook_wait", type = "duration", default = "60s", min = 0.001,
        conf = "timeouts.hook_wait_ms", scale = MS,
        doc = "One hook may wait in all (500); one that writes its answer: from one sign of life "
            .. "to the next." },

    { name = "grants", type = "map", of = "any", optional = true, takes = "tables by plugin",
        doc = "What plugins may do outside of their requests, by the plugin's name: "
            .. "`{ ship = { net = { \"logs.internal:443\" } } }`. See "
            .. "[trust](../guide/trust.md)." },

    { name = "lua.path", type = "string", default = "./?.lua;./?/init.lua", check = checks.is_line,
        doc = "Where require looks for the site's own modules; relative to the folder of "
            .. "site.lua. It holds from the moment the site is checked: site.lua itself is run "
            .. "with the default, or with `-g lua.path=...`." },
    { name = "lua.cpu_budget", type = "duration", default = "50ms", conf = "lua.cpu_budget_us",
        scale = US, max = 60, doc = "CPU time of one hook before it is stopped; 0 is no limit." },
    { name = "lua.heap", type = "size", default = "256m", min = 2 ^ 20, conf = "lua.heap_bytes",
        doc = "Memory of one Lua VM." },
    { name = "lua.ffi", type = "boolean", default = false,
        doc = "May plugins be granted the FFI? With it a plugin can do whatever the worker can." },
    { name = "lua.repl", type = "boolean", default = false,
        doc = "May `rproxy repl` run code in workers? Only root and the account of the master "
            .. "reach it, and every line is logged. See [tools](../guide/tools.md#repl)." },
    { name = "lua.jit_report", type = "boolean", default = false,
        doc = "Count from the start what LuaJIT compiles and where it gives up, for `rproxy jit` "
            .. "and `rp.jit.report()`. Without it `rproxy jit` counts while it runs." },
    { name = "lua.background_tasks", type = "integer", default = 10000, min = 0, max = 200000,
        conf = "lua.background_tasks", doc = "Background tasks and timers (rp.detach, rp.after, "
            .. "rp.every) that one worker runs at a time. More are refused, and counted." },

    { name = "log.error.to", type = "string", default = "stderr", check = checks.is_line,
        doc = '"stderr", "stdout" or a file.' },
    { name = "log.error.level", type = "enum", default = "info",
        values = { "debug", "info", "notice", "warn", "error", "alert" },
        doc = "The lowest level that is written." },
    { name = "log.access", type = "object", or_false = true, optional = true,
        doc = "One line per request. There is no access log unless this is given." },
    { name = "log.access.to", type = "string", default = "stdout", check = checks.is_line,
        doc = '"stdout", "stderr" or a file.' },
    { name = "log.access.format", type = "enum", values = { "combined", "json" },
        default = "combined", doc = "combined is the format of Apache and nginx." },
    { name = "log.access.fields", type = "list<string>",
        doc = "Members of a json line, in order: those of the list of access log fields, "
            .. "`request.NAME` and `response.NAME` (headers), `ctx.NAME` (what a hook left in "
            .. "req.ctx)." },
    { name = "log.access.buffer", type = "size", default = "64k", max = 16 * 2 ^ 20,
        doc = "Bytes that a worker gathers before it writes." },
    { name = "log.access.flush", type = "duration", default = "1s", min = 0.01, max = 3600,
        doc = "Gathered lines are written at the latest after this time." },
    { name = "log.decisions", type = "object", or_false = true, optional = true,
        doc = "One JSON line per request about which an instance with `mode = \"shadow\"` decided "
            .. "something, and per traced request. There is none unless this is given. See "
            .. "[shadow mode](../guide/shadow.md)." },
    { name = "log.decisions.to", type = "string", default = "stderr", check = checks.is_line,
        doc = '"stderr", "stdout" or a file.' },
    { name = "log.decisions.format", type = "enum", values = { "json" }, default = "json",
        doc = "How a line is written." },
    { name = "log.decisions.edits", type = "boolean", default = true,
        conf = "log.decisions_edits", doc = "Also for requests that shadow instances would only "
            .. "have changed, not answered." },
    { name = "log.decisions.flush", type = "duration", default = "1s", min = 0.01, max = 3600,
        conf = "log.decisions_flush_ms", scale = MS,
        doc = "Gathered lines are written at the latest after this time." },

    { name = "trace", type = "object", or_false = true, optional = true,
        doc = "Tell who knows a secret what hooks do to a request of his. There is none unless "
            .. "this is given: [tracing](../guide/shadow.md#tracing-one-request)." },
    { name = "trace.token", type = "string", required = true, check = is_token_of_trace,
        shown = "required", secret = true, conf = "trace.token",
        doc = "The secret, at least 16 bytes: `os.getenv(\"TRACE_TOKEN\")`, or `rp.file(path)`." },
    { name = "trace.header", type = "string", default = "x-rproxy-trace", check = is_trace_header,
        conf = "trace.header", doc = "The header that a request brings it in, and that the "
            .. "response has the answer in. It begins with `x-`, and no upstream gets to see it." },

    { name = "record", type = "object", optional = true,
        doc = "Write some requests down, with all that hooks saw, for `rproxy replay`. Nothing is "
            .. "recorded unless this is given." },
    { name = "record.to", type = "string", check = is_path, shown = "required",
        doc = "The file, which workers make and append to. Its folder must be theirs to write "
            .. "in." },
    { name = "record.sample", type = "any", default = 0.01, check = is_sample, show = show_sample,
        takes = "number or table",
        doc = "Which requests: a share from 0 to 1, or { share = number, header = name, token = "
            .. "text }: those that carry the token in that header, too. The header is redacted." },
    { name = "record.body", type = "size", default = "64k", max = 16 * 2 ^ 20,
        doc = "Bytes of a body that are kept; the rest is only counted." },
    { name = "record.bodies", type = "enum", values = { "read", "all" }, default = "read",
        doc = "Whose bodies: those that hooks read or filter, or all of them, which then pass "
            .. "through Lua." },
    { name = "record.max", type = "size", default = "1g", min = 65536,
        doc = "Bytes of the file before another one is begun." },
    { name = "record.keep", type = "integer", default = 1, min = 0, max = 100,
        doc = "Files that are kept beside it, FILE.1 the newest." },
    { name = "record.background", type = "boolean", default = true,
        doc = "Also record what start hooks and timers get, when it is another result." },
    { name = "record.key", type = "string", match = "^[%g ]+%.key$",
        doc = "File (NAME.key) with a secret of 32 bytes or more. With it redacted values are "
            .. "kept, encrypted, and `rproxy replay --key` can use them." },
    { name = "record.redact.headers", type = "list<header>", default = {},
        doc = "Headers whose values are redacted, beside those that always are (Authorization, "
            .. "Cookie, Set-Cookie, X-Api-Key and others)." },
    { name = "record.redact.cookies", type = "any", default = true, check = is_cookies,
        takes = "`true` or list of names",
        doc = "Cookies whose values are redacted; true: all of 8 bytes or more." },
    { name = "record.redact.args", type = "list<string>", default = {},
        doc = "Query arguments and fields of forms and JSON bodies whose values are redacted, "
            .. "beside those that always are (token, password, api_key and others)." },

    { name = "forwarded", type = "list", of = { "enum", FORWARDED }, check = checks.is_unique,
        default = { "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host",
            "x-forwarded-port" },
        doc = 'Forwarding headers made for the upstream ("forwarded" is that of RFC 7239). Those '
            .. "that a client outside `trust` sent are dropped, listed or not; a trusted one's "
            .. "are continued when listed, and passed on as they are when not." },
    { name = "via", type = "string", or_false = true, default = "rproxy", check = checks.is_token,
        doc = "Name in the Via header of messages passed on (RFC 9110 §7.6.3). A request that "
            .. "names it ten times is answered 508: it goes round in a loop. false adds none, and "
            .. "CDN-Loop (RFC 8586) to requests in its place, with the name rproxy." },
    { name = "server", type = "string", or_false = true, default = "rproxy", check = checks.is_line,
        doc = "Server header of rproxy's own answers; false sends none." },

    { name = "error_pages", type = "any", takes = "table of pages by status",
        doc = 'What is answered when a request fails here: by status ("404"), class ("5xx") or '
            .. '"*", '
            .. "{ body = text, type = content type } or { file = name }. A route's pages win over "
            .. "its host's, those over the site's. Unsaid, it is a small standard answer: HTML, "
            .. "JSON or text, by Accept." },

    { name = "listeners", type = "any", takes = "list of rp.listen",
        shown = "required", doc = "List of rp.listen { ... }; not needed beside streams." },
    { name = "upstreams", type = "any", takes = "rp.upstream by name",
        doc = "Table of rp.upstream { ... } by name." },
    { name = "discover", type = "any", takes = "table or list of tables",
        doc = 'Who tells at run time which routes there are beside `hosts`: `{ "docker", hosts = { '
            .. '"*.apps.example.com" } }`; see Discovery.' },
    { name = "streams", type = "any", takes = "list of rp.stream",
        doc = "List of rp.stream { ... }: connections whose bytes are relayed." },
    { name = "use", type = "any", takes = "list of plugins",
        doc = "Plugins of every request, in order." },
    { name = "hosts", type = "any", takes = "list of rp.host",
        shown = "required", doc = "List of rp.host { ... }; not needed without listeners." },

    { name = "shared", type = "any", takes = "rp.shm zones by name",
        doc = "Memory that all workers see: rp.shm.store, rp.shm.cache, rp.shm.buckets and others "
            .. "by name, for hooks as rp.shared.NAME." },
    { name = "metrics", type = "object", optional = true,
        doc = "A listener of its own that answers with all metrics, and with nothing else: see "
            .. "[metrics](../guide/metrics.md#reading-them)." },
    { name = "metrics.listen", type = "string", required = true, shown = "required",
        doc = 'Where: "127.0.0.1:9145", "[::1]:9145" or "unix:/run/rproxy/metrics.sock".' },
    { name = "metrics.path", type = "string", default = "/metrics", check = checks.is_path,
        conf = "metrics.path", doc = "The one path that it answers." },
    { name = "metrics.public", type = "boolean", default = false,
        doc = "Take an address that other machines reach. Without it that is a mistake in the "
            .. "site: metrics tell a lot about it." },
    { name = "tls", type = "any", takes = "table",
        doc = "How listeners with tls end TLS: certificates and settings, see TLS of listeners." },
    { name = "hsts", type = "any", takes = "duration or table",
        doc = "Strict-Transport-Security of every answer over TLS: a duration, or { max_age = "
            .. "duration, subdomains = true, preload = true }. Browsers then use https alone for "
            .. "that time, whatever one says later." },
    { name = "cache", type = "unbuilt", doc = "the cache" },
    { name = "resolver.servers", type = "list<string>", shown = "the system's", optional = true,
        check = checks.is_servers,
        doc = "Addresses of DNS servers, with or without a port; all that is looked up is asked of "
            .. "these. The hosts file counts all the same." },
    { name = "resolver.min_ttl", type = "duration", default = "5s", conf = "dns.ttl_least_ms",
        scale = MS, doc = "An answer holds so long at least, whatever it says." },
    { name = "resolver.max_ttl", type = "duration", default = "1h", conf = "dns.ttl_most_ms",
        scale = MS, doc = "... and so long at most." },
    { name = "resolver.absent", type = "duration", default = "5s", conf = "dns.absent_ms",
        scale = MS, doc = "So long it is believed that there is no such name." },
    { name = "resolver.stale", type = "duration", default = "30s", conf = "dns.stale_ms",
        scale = MS, doc = "An answer goes on for so long when it cannot be had anew. Peers keep "
            .. "the addresses that they have however long that lasts." },
    { name = "resolver.timeout", type = "duration", default = "2s", min = 0.001, max = 60,
        conf = "dns.timeout_ms", scale = MS,
        doc = "Of the first question to a server; doubled for each further one." },
    { name = "resolver.tries", type = "integer", default = 2, min = 1, max = 10,
        conf = "dns.tries", doc = "Questions to each server." },
}

-- ---------------------------------------------------------------- listeners

M.listen = {
    { name = "redirect_https", type = "boolean", default = false,
        doc = "Answer every request with a redirect to https:// on the same host." },
    { name = "proxy_protocol", type = "boolean", default = false,
        doc = "Connections begin with a header of the PROXY protocol (version 1 or 2) that says "
            .. "who the client is. Only networks of `trust` and unix sockets may connect; a "
            .. "connection without the header is closed." },
    { name = "half_closed", type = "boolean", default = false,
        doc = "Clients may end their side of a connection behind a request (shutdown) and wait for "
            .. "the answer. Without it that means that the client is gone, and its request ends." },

    { name = "tls", type = "any", takes = "`true` or table",
        doc = "End TLS here: true with the settings of the site's tls; a table for settings of its "
            .. "own, each in the place of the site's." },
    { name = "use", type = "any", takes = "list of plugins",
        doc = "Plugins with the hooks tls_hello and certificate, for the handshakes of this "
            .. "listener; behind those of the site." },
    { name = "reuseport", type = "unbuilt", doc = "the choice of reuseport (each worker has a "
        .. "socket of its own in any case)" },
}

-- ---------------------------------------------------------------- streams

M.stream = {
    { name = "upstream", type = "string",
        doc = "Where connections go that no rule of sni and alpn names; without it they are "
            .. "refused." },
    { name = "sni", type = "any", takes = "table",
        doc = 'Upstream by the server name of the TLS ClientHello: { ["a.example"] = "up_a", '
            .. '["*.b.example"] = "up_b", default = "up_c" }. "*." stands for one or more labels; '
            .. "the longest match wins. false refuses the name; default is another word for "
            .. "upstream. The TLS is not ended here: the bytes go on unchanged." },
    { name = "alpn", type = "any", takes = "table",
        doc = 'Upstream by protocol: { ["acme-tls/1"] = "acme" }. The first of the client\'s '
            .. "protocols that is listed wins, before any rule of sni." },
    { name = "use", type = "any", takes = "list of plugins",
        doc = "Plugins of these connections, in order: their hooks connect(conn) and log(conn)." },
    { name = "timeouts.connect", type = "duration", min = 0.001, conf = "connect_ms", scale = MS,
        shown = "the upstream's", doc = "To connect to a peer." },
    { name = "timeouts.idle", type = "duration", default = "1h", min = 0.001, conf = "idle_ms",
        scale = MS, doc = "No byte either way." },
    { name = "timeouts.hello", type = "duration", default = "10s", min = 0.001,
        conf = "hello_ms", scale = MS,
        doc = "For a whole ClientHello to arrive, where sni or alpn or a connect hook asks." },
    { name = "udp.idle", type = "duration", default = "30s", min = 0.001, conf = "udp_idle_ms",
        scale = MS, doc = 'Of the addresses "udp:address:port": no datagram either way ends a '
            .. "session." },
    { name = "udp.responses", type = "integer", optional = true, min = 1, max = 65535,
        conf = "udp_responses", doc = "Answers to one datagram of a client: a session ends as soon "
            .. "as each was answered so often (DNS: 1). Unsaid, only silence ends it." },
    { name = "udp.requests", type = "integer", optional = true, min = 1, max = 2 ^ 32 - 1,
        conf = "udp_requests", doc = "Datagrams of a client in one session; its next one begins "
            .. "another, with a peer of its own (syslog from few senders: 1000). Unsaid, all." },
    { name = "udp.sessions", type = "integer", default = 10000, min = 1, max = 2 ^ 20,
        conf = "udp_sessions", doc = "Sessions of one address and worker at a time; all of a "
            .. "worker take at most half of its file descriptors. What a new client sends beyond "
            .. "that is dropped, unless an older one that may be forged can make room." },
    { name = "peek", type = "boolean", conf = "peek", shown = "true with sni or alpn",
        doc = "Read the ClientHello first, for connect hooks that look at conn.sni and "
            .. "conn.alpn. A client that does not begin with one is refused." },
    { name = "access_log", type = "boolean", default = true, conf = "access_log",
        doc = "Write a line of the access log." },
    { name = "proxy_protocol", type = "boolean", default = false,
        doc = "Connections begin with a header of the PROXY protocol; as in rp.listen." },

    { name = "tls", type = "any", takes = "`true` or table",
        doc = "End TLS here, as in rp.listen, and relay what was in it. No protocol is offered "
            .. "(ALPN); rules of sni then go by the name of that TLS." },
}

-- ---------------------------------------------------------------- TLS

M.tls = {
    { name = "certs", type = "any", takes = "list of certificates", shown = "required",
        doc = 'List of PEM files ("/etc/x/a.pem"), of patterns ("/etc/x/*.pem"), of tables '
            .. "{ cert = file, key = file, ocsp_file = file }. A file holds the certificate with "
            .. "its chain, and its key unless that lies beside it (x.key, or privkey.pem for "
            .. "fullchain.pem). A "
            .. "certificate is used for the names in it; the first one is the default. Files are "
            .. "read with the master's rights, at the start and at each reload." },
    { name = "default", type = "enum", values = { "first", "refuse" }, default = "first",
        doc = "What a client gets that asks for a name of no certificate, or for none: the first "
            .. "one, or the alert unrecognized_name." },
    { name = "profile", type = "enum", values = { "intermediate", "modern" },
        default = "intermediate",
        doc = "Versions and ciphers, by Mozilla's names: TLS 1.2 and 1.3 with forward secrecy, or "
            .. "TLS 1.3 only." },
    { name = "versions", type = "list", of = { "enum", { "1.2", "1.3" } }, check = checks.is_unique,
        shown = "the profile's", doc = "TLS versions." },
    { name = "alpn", type = "list", of = { "enum", { "h2", "http/1.1" } }, check = checks.is_unique,
        default = { "h2", "http/1.1" },
        doc = "Protocols offered, best first; h2 only while http2.on." },
    { name = "ocsp", type = "boolean", default = false, conf = "ocsp",
        doc = "Ask the authorities of certificates for their OCSP answers, in the background, and "
            .. "hand them out in handshakes (stapling). Off, as certificates would make the proxy "
            .. "open connections that the site does not name. An answer beside a certificate "
            .. "(x.pem.ocsp) is handed out either way." },
    { name = "watch", type = "boolean", default = true,
        doc = "Look every second whether files of certificates, keys, revocation lists or "
            .. "OCSP answers have changed, and take new ones as a reload does, without the site's "
            .. "other files. false anywhere turns it off for the whole site." },
    { name = "tickets", type = "boolean", default = true,
        doc = "Let clients come back without a full handshake (session tickets)." },
    { name = "ktls", type = "enum", values = { "off", "auto" }, default = "off",
        doc = "Let the kernel seal what is sent (kernel TLS), where it and OpenSSL can: bodies "
            .. "that nobody looks at then go from socket to socket. Clients that ask for new keys "
            .. "in the midst of a connection lose it." },
    { name = "early_data", type = "boolean", default = false, conf = "early_data",
        doc = "Serve GET, HEAD and OPTIONS that returning clients send before the handshake is "
            .. "over (0-RTT of TLS 1.3, up to 16 KB). Upstreams get Early-Data: 1 with them and "
            .. "must understand it (RFC 8470)." },
    { name = "client.verify", type = "enum", values = { "none", "optional", "required", "any" },
        default = "none",
        doc = "Ask clients for a certificate: optional takes none or a good one; any takes even "
            .. "one that nobody knows, and hooks see req.conn.tls.client_cert.verified." },
    { name = "client.ca", type = "string", check = checks.is_line,
        doc = "PEM file of the authorities that sign clients' certificates." },
    { name = "client.crl", type = "any", takes = "file or list of files",
        doc = "Revocation lists (PEM or DER, .crl or .pem) of every authority of a client's chain: "
            .. "a certificate that is on one is refused, and so is every certificate while a list "
            .. "that is needed is missing or over." },
    { name = "client.forward", type = "boolean", default = false, conf = "forward",
        doc = "Tell upstreams a client's verified certificate in the field Client-Cert (RFC 9440); "
            .. "what clients send in it is dropped." },
    { name = "client.depth", type = "integer", min = 1, max = 100, conf = "depth",
        shown = "100", doc = "Certificates between an authority and a client's." },
}

M.upstream_tls = {
    { name = "verify", type = "boolean", default = true, conf = "verify",
        doc = "Refuse a peer whose certificate is not signed by an authority of ca or is not for "
            .. "its name (502, upstream_tls_verify)." },
    { name = "ca", type = "string", default = "system", check = checks.is_line,
        doc = 'PEM file of the authorities to trust; "system": those of the system.' },
    { name = "crl", type = "any", takes = "file or list of files",
        doc = "Revocation lists of every authority of a peer's chain, as client.crl of "
            .. "listeners." },
    { name = "sni", type = "string", conf = "sni",
        check = checks.is_line, shown = "the peer's name",
        doc = "Name that is asked for (SNI); a peer that is an address asks for none." },
    { name = "name", type = "string", conf = "name",
        check = checks.is_line, shown = "sni, or the peer",
        doc = "Name, or address, that the certificate must be for." },
    { name = "cert", type = "string", check = checks.is_line,
        doc = "PEM file of a certificate of our own, with its chain." },
    { name = "key", type = "string", check = checks.is_line, shown = "in cert",
        doc = "PEM file of its key." },
    { name = "alpn", type = "unbuilt", doc = "the choice of a protocol (it is HTTP/1.1)" },
    { name = "profile", type = "enum", values = { "intermediate", "modern" },
        default = "intermediate", doc = "As in TLS of listeners." },
    { name = "versions", type = "list", of = { "enum", { "1.2", "1.3" } }, check = checks.is_unique,
        shown = "the profile's", doc = "TLS versions." },
    { name = "depth", type = "integer", min = 1, max = 100, conf = "depth", shown = "100",
        doc = "Certificates between an authority and a peer's." },
}

-- ---------------------------------------------------------------- hosts and routes

M.host_tls = {}
for _, row in ipairs(M.tls) do
    if row.name:match("^client%.") then M.host_tls[#M.host_tls + 1] = row end
end

M.host = {
    { name = "default", type = "boolean", default = false,
        doc = "Takes requests for names that no host has. One host may say so; without it such "
            .. "requests are answered 421." },
    { name = "hsts", type = "any", takes = "duration, table or `false`", shown = "the site's",
        doc = "In the place of the site's." },
    { name = "tls", type = "any", takes = "table", shown = "the listener's",
        doc = "Whose certificates clients must show, by the name that they ask for." },
    { name = "use", type = "any", takes = "list of plugins",
        doc = "Plugins of the host's requests, after the site's." },
    { name = "error_pages", type = "any", takes = "table of pages by status",
        doc = "Before the site's: see there." },
    { name = "routes", type = "any", takes = "list of rp.route",
        shown = "required", doc = "List of rp.route { ... }." },
}

local EDITS = "; set replaces or adds, add adds one more, remove removes."

M.route = {
    { name = "id", type = "string", check = checks.is_line, shown = '"HOST METHODS PATTERN"',
        doc = "Name of the route in logs, in req.route.id and in -T." },
    { name = "name", type = "string", check = checks.is_line, doc = "Another word for id." },
    { name = "upstream", type = "any", takes = "string or rp.split", check = is_target,
        doc = "Action: pass to this upstream, or divide requests among several." },
    { name = "respond", type = "any", takes = "table", doc = "Action: answer with "
        .. "{ status, body, headers = { name = value } }; body and headers may be left out." },
    { name = "redirect", type = "any", takes = "string or table",
        doc = 'Action: redirect to "url", or { code, "url" }; 302 '
        .. "unless said. {param}, {host}, {path}, {query} and {uri} are filled in." },
    { name = "content", type = "any", takes = "function or plugin",
        doc = "Action: answer by a function(req), or by a plugin "
        .. "with a content hook." },
    { name = "use", type = "any", takes = "list of plugins",
        doc = "Plugins of this route, after the host's." },
    { name = "skip", type = "list<string>", default = {},
        doc = "Names of inherited plugins that do not run here." },
    { name = "when", type = "object", optional = true,
        doc = "Conditions beside the path: all must hold, or the next route is looked at." },
    { name = "unless", type = "object", optional = true,
        doc = "As `when`: none of them may hold." },
    { name = "headers.request.set", type = "headers", default = {},
        doc = "Edits of the request header that goes upstream" .. EDITS },
    { name = "headers.request.add", type = "headers", default = {},
        doc = "See headers.request.set." },
    { name = "headers.request.remove", type = "list<header>", default = {},
        doc = "See headers.request.set." },
    { name = "headers.response.set", type = "headers", default = {},
        doc = "Edits of the response header that goes to the client" .. EDITS },
    { name = "headers.response.add", type = "headers", default = {},
        doc = "See headers.response.set." },
    { name = "headers.response.remove", type = "list<header>", default = {},
        doc = "See headers.response.set." },
    { name = "limits.body", type = "size", conf = "body_limit", shown = "the site's",
        doc = "Bytes of a request body; more is answered 413. 0 and math.huge are no limit." },
    { name = "timeouts.connect", type = "duration", min = 0.001, conf = "connect_ms", scale = MS,
        shown = "the upstream's", doc = "To connect to a peer." },
    { name = "timeouts.send", type = "duration", min = 0.001, conf = "send_ms", scale = MS,
        shown = "the upstream's", doc = "A peer may read nothing of the request." },
    { name = "timeouts.first_byte", type = "duration", min = 0.001, conf = "first_byte_ms",
        scale = MS, shown = "the upstream's", doc = "From the request sent to the response head." },
    { name = "timeouts.idle", type = "duration", min = 0.001, conf = "idle_ms", scale = MS,
        shown = "the upstream's", doc = "Between two pieces of the response body." },
    { name = "grpc_timeout", type = "boolean", default = false, conf = "grpc_timeout",
        doc = "The grpc-timeout of a client is its request's deadline: no upstream is waited for, "
            .. "and no hook waits, beyond it, and the upstream hears what is left of it." },
    { name = "buffer.request", type = "boolean", default = false, conf = "buffer_request",
        doc = "Read the whole request body before an upstream is chosen; it gets the body with "
            .. "a Content-Length, and once more when the request is repeated. Else bodies are "
            .. "passed on as they come." },
    { name = "buffer.response", type = "boolean", default = false, conf = "buffer_response",
        doc = "Read the response as fast as it comes, whatever the client's pace: the upstream "
            .. "connection is free again before a slow client has it all." },
    { name = "buffer.memory", type = "size", default = "64k", min = 4096, max = 16 * 2 ^ 20,
        conf = "buffer_memory",
        doc = "Bytes of one buffered body that are held in memory; what is more goes to a file "
            .. "in spill.dir." },
    { name = "buffer.max", type = "size", default = "256m", conf = "buffer_max",
        doc = "Bytes of one buffered response that go to the file; then it goes on at the "
            .. "client's pace. A request's body is bounded by limits.body." },
    { name = "coalesce", type = "any", takes = "`true` or table",
        doc = "Identical GET and HEAD requests under way at the same moment share one answer of "
            .. "the upstream, in each worker; see Coalescing in the guide." },
    { name = "strip_prefix", type = "string", check = is_path, conf = "strip_prefix",
        doc = "Removed from the start of the path that goes upstream." },
    { name = "subset", type = "map<string>", optional = true,
        doc = 'Only peers of which this is said, such as { version = "v2" }; keys are those that '
            .. "the upstream lists in `subsets`." },
    { name = "meta", type = "any", doc = "Anything; hooks read it as req.route.meta." },
    { name = "upgrade", type = "boolean", default = true, conf = "upgrade",
        doc = "Pass WebSocket upgrades on. false: the request goes on as a plain one, as requests "
            .. "for other upgrades always do." },
    { name = "connect", type = "object", optional = true,
        doc = 'Action of a route "CONNECT *": a tunnel to where the client says.' },
    { name = "connect.allow", type = "list<string>", default = {},
        doc = 'Targets that may be reached: "db.internal:5432", "*.svc.example:443", '
            .. '"10.0.0.0/8:22", "[fd00::/8]:22"; ports may be a range ("host:8000-8099") or left '
            .. "out. Networks are for targets that are written as addresses. What a name resolves "
            .. "to may be anything but this machine, the link, multicast and metadata services of "
            .. "clouds: these want an entry that lies within them, such as \"127.0.0.1:5432\". "
            .. "Anything else is answered 403." },
    { name = "connect.deny", type = "list<string>", default = {},
        doc = "Networks that are never reached, whatever allow and names say." },
    { name = "tunnel.idle", type = "duration", min = 0.001, conf = "tunnel_idle_ms", scale = MS,
        shown = "the site's timeouts.tunnel",
        doc = "A tunnel (WebSocket, CONNECT) may be silent in both directions." },
    { name = "tunnel.time", type = "duration", default = 0, conf = "tunnel_time_ms", scale = MS,
        doc = "A tunnel ends after this time whatever it does; 0 is no limit." },
    { name = "tunnel.bytes_in", type = "size", default = 0, conf = "tunnel_bytes_in",
        doc = "Bytes that a tunnel takes of the client before it ends; 0 is no limit." },
    { name = "tunnel.bytes_out", type = "size", default = 0, conf = "tunnel_bytes_out",
        doc = "Bytes that a tunnel takes to the client before it ends; 0 is no limit." },
    { name = "websocket.max_frame", type = "size", default = 0, conf = "ws_frame_max",
        doc = "Payload bytes of one WebSocket frame; a larger one ends the connection (1009). 0 is "
            .. "no limit. With any setting of websocket, frames are checked by RFC 6455; without, "
            .. "bytes pass unseen." },
    { name = "websocket.max_message", type = "size", default = 0, conf = "ws_message_max",
        doc = "Payload bytes of one WebSocket message, all its frames together and as they are "
            .. "sent, compressed or not; 0 is no limit." },
    { name = "websocket.check", type = "boolean", default = false, conf = "ws_check",
        doc = "Check frames also without a limit: what is malformed ends the connection (1002)." },
    { name = "websocket.ping", type = "duration", default = 0, conf = "ws_ping_ms", scale = MS,
        doc = "Ping a client that sent nothing for this time; 0 never does." },
    { name = "websocket.pong", type = "duration", default = "10s", min = 0.001,
        conf = "ws_pong_ms", scale = MS,
        doc = "A client that was pinged sends something within this time, or it is gone (1011)." },
    { name = "websocket.ping_upstream", type = "boolean", default = false,
        conf = "ws_ping_upstream", doc = "Ping the upstream in the same way." },
    { name = "error_pages", type = "any", takes = "table of pages by status",
        doc = "Before the host's: see the site's." },
    { name = "access_log", type = "boolean", default = true, conf = "access_log",
        doc = "Write a line of the access log." },

    { name = "cache", type = "unbuilt", doc = "the cache" },
    { name = "compress", type = "unbuilt", doc = "compression" },
    { name = "files", type = "unbuilt", doc = "static files" },
}
for _, row in ipairs(options_guard.circuit("the route")) do M.route[#M.route + 1] = row end

M.coalesce = {
    { name = "key", type = "list<header>", default = {},
        doc = "Request headers in which requests must be equal, beside method, host, target and "
            .. "the consumer. Requests with Authorization, Cookie, X-Api-Key, X-Auth-Token or "
            .. "X-CSRF-Token take part only where that header is named here." },
    { name = "max_wait", type = "duration", default = "5s", min = 0.001,
        doc = "A request waits for another one's answer this long in all; then it asks itself." },
    { name = "max_body", type = "size", default = "1m", min = 1, max = 64 * 2 ^ 20,
        doc = "A larger answer is not shared: then each request asks for itself." },
}

-- What one of `when` and `unless` holds.
for _, group in ipairs { "when", "unless" } do
    local at = 1
    while M.route[at].name ~= group do at = at + 1 end
    for i, row in ipairs {
        { name = group .. ".header", type = "map", of = "any", default = {},
            doc = 'By header name: "value", true (is there), { prefix = "x" } or '
                .. '{ regex = "x" }.' },
        { name = group .. ".query", type = "map", of = "any", default = {},
            doc = "By query argument; as header." },
        { name = group .. ".cookie", type = "map", of = "any", default = {},
            doc = "By cookie; as header. Of several of one name the first counts." },
        { name = group .. ".source", type = "list<string>", default = {},
            doc = "The client's address is in one of these networks (CIDR)." },
    } do
        table.insert(M.route, at + i, row)
    end
end

-- ---------------------------------------------------------------- shared zones

M.shm = {
    { name = "size", type = "size", required = true, shown = "required", min = 64 * 1024,
        max = 2 ^ 36,
        doc = "Bytes of the zone. Memory is taken as it is used. Another size in a reload is a "
            .. "new, empty zone." },
}

M.shm_set = {
    M.shm[1],
    { name = "type", type = "enum", values = { "cidr", "string", "domain", "regex" },
        required = true, shown = "required",
        doc = "What the lines of the file are: networks and addresses, texts, names of domains "
            .. "(with all below them), regular expressions." },
    { name = "file", type = "string", required = true, shown = "required",
        doc = "The file; relative to the folder of site.lua. Workers read it, with their "
            .. "account." },
    { name = "every", type = "duration", default = "5s", min = 0.1, max = 86400,
        doc = "How often it is looked at. One that changed is read anew." },
}

-- ---------------------------------------------------------------- compiled

M.SINCE = "0.1"

--- The groups, in the order in which the reference shows them.
M.groups = { "site", "listen", "tls", "stream", "upstream", "upstream_tls", "peer", "health",
    "host", "host_tls", "route", "coalesce", "split", "shm", "shm_set", "discover",
    "found_routes" }
for _, kind in ipairs(options_discover.KINDS) do
    M.groups[#M.groups + 1] = "discover_" .. kind
end

-- conf, scale, shown, show and secret are about the row, not about the value.
local function to_schema(row)
    local out = { row.type == "enum" and "enum" or row.type }
    for key, value in pairs(row) do
        if key ~= "name" and key ~= "type" and key ~= "conf" and key ~= "scale"
            and key ~= "shown" and key ~= "takes" and key ~= "secret" and key ~= "show" then
            out[key] = value
        end
    end
    return out
end

local function place(tree, row)
    local at = tree
    for group in row.name:gmatch("([^.]+)%.") do
        at[group] = at[group] or { "object", fields = {} }
        at[group].fields = at[group].fields or {}
        at = at[group].fields
    end
    at[row.name:match("[^.]+$")] = to_schema(row)
end

--- Compiled schema node by group.
M.nodes = {}
for _, group in ipairs(M.groups) do
    local tree = {}
    for _, row in ipairs(M[group]) do
        row.since = row.since or M.SINCE
        place(tree, row)
    end
    M.nodes[group] = schema.compile(tree, group)
end

local parts_of = {} -- dotted name -> its parts

local function split(name)
    local parts = {}
    for part in name:gmatch("[^.]+") do parts[#parts + 1] = part end
    parts_of[name] = parts
    return parts
end

--- The value of a dotted option in a checked table.
--- @param checked table
--- @param name string
function M.get(checked, name)
    local value, parts = checked, parts_of[name] or split(name)
    for i = 1, #parts do
        if type(value) ~= "table" then return nil end
        value = value[parts[i]]
    end
    return value
end

--- Is it said in a table that `schema.check` left lean, and not only a default?
function M.is_given(checked, name)
    return rawget(checked, (parts_of[name] or split(name))[1]) ~= nil
end

return M
