-- SPDX-License-Identifier: MIT
--
-- options_site: the rows of rp.site; options.lua says what a row is.

local checks = require("rproxy.config.option_checks")

local M = {}

local MS, US = 1000, 1000 * 1000

-- ---------------------------------------------------------------- checks

local function is_workers(value)
    if value == "auto" then return true end
    if type(value) == "number" and value % 1 == 0 and value >= 1 and value <= 1023 then
        return true
    end
    return nil, '"auto" or a whole number from 1 to 1024'
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

-- ---------------------------------------------------------------- rows

local FORWARDED = { "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host",
    "x-forwarded-port", "forwarded" }

M.site = {
    { name = "workers", type = "any", takes = '`"auto"` or integer',
        default = "auto", check = is_workers,
        doc = 'Worker processes: one loop and one Lua VM each. "auto" is one per core.' },
    { name = "cpu_affinity", type = "any", takes = '`"auto"`, list of numbers or `false`',
        default = false, check = checks.is_cpus,
        doc = 'Keep each worker on one processor: "auto", each on the next of those that the '
            .. "master may use; or the numbers of processors, one for each worker. Both begin "
            .. "anew when there are more workers. Threads for files and the like are not bound." },
    { name = "user", type = "string", conf = "user",
        doc = "Account that workers change to when the master runs as root." },
    { name = "pid", type = "string", conf = "pid_file", check = checks.is_rooted,
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
    { name = "spill.dir", type = "string", default = "/tmp", conf = "spill.dir",
        check = checks.is_rooted,
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
    { name = "record.to", type = "string", check = checks.is_rooted, shown = "required",
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

return M
