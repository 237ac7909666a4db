-- SPDX-License-Identifier: MIT
--
-- options_upstream: the rows of rp.upstream, its peers and their checks; options.lua says what a
-- row is.

local balance = require("rproxy.config.balance")
local checks = require("rproxy.config.option_checks")
local cookie = require("rproxy.config.options_cookie")
local hedge = require("rproxy.config.hedge")
local options_guard = require("rproxy.config.options_guard")
local trouble = require("rproxy.config.trouble")

local M = {}

local MS = 1000

local PROXY_TLVS = { "authority", "alpn", "unique_id", "crc32c" }

local function is_function(value)
    if type(value) == "function" then return true end
    return nil, "a function(peer)"
end

-- Fields that say where a message goes and how long it is are not the site's to use up.
local TAKEN = { host = true, connection = true, ["content-length"] = true, te = true,
    ["transfer-encoding"] = true, upgrade = true, expect = true, trailer = true, via = true }

local function is_free_header(value)
    if not TAKEN[value:lower()] then return true end
    return nil, "the name of a header that has no other meaning"
end

local function is_sticky_header(value)
    local fine, err = checks.is_token(value)
    if not fine then return nil, err end
    local name = value:lower()
    if name == "cookie" or name == "set-cookie" then
        return nil, "the name of a header; cookies have the setting `cookie`"
    end
    return is_free_header(value)
end

M.upstream = {
    { name = "peers", type = "any", takes = "list of peers", shown = "required",
        doc = 'List of "host:port", "unix:/path", "host:port weight=2 backup", or tables '
            .. '{ "host:port", weight = 2, backup = true }.' },
    { name = "discover", type = "any", takes = "table, list of tables or function",
        doc = 'Who tells at run time which peers there are beside `peers`: `{ "consul", service = '
            .. '"api" }`; see Discovery.' },
    { name = "balance", type = "any", takes = "string, table, function or plugin",
        default = "round_robin", check = balance.check,
        doc = '"round_robin", "random", "least_conn", "least_time", "p2c", "ewma", "first", '
            .. '"ip_hash", `{ "hash", key = "header:x-user", method = "maglev", bound = 1.25 }`, a '
            .. "function(req, up) called once per attempt, or a plugin with a balance hook. See "
            .. "Balancing in the guide." },
    { name = "sticky.cookie", type = "string", check = checks.is_token,
        doc = "Clients come back to the peer that they had, by a cookie of this name; also to one "
            .. "that is drained. Its value cannot be made up." },
    { name = "sticky.header", type = "string", check = is_sticky_header,
        doc = "The same by a header field in the cookie's place, for clients that keep no cookies: "
            .. "they send back what the answer's field of this name said." },
    { name = "sticky.mode", type = "enum", values = { "insert", "prefix", "learn" },
        default = "insert", doc = "insert: a cookie of ours. prefix: the application's cookie of "
            .. "that name, with the peer's token in front while it is with the client. learn: the "
            .. "application's cookie as it is; workers remember whose it is." },
    { name = "sticky.ttl", type = "duration", default = "1h", min = 1, conf = "sticky_ttl_ms",
        scale = MS, doc = "learn: a session is remembered so long after its last use." },
    { name = "slow_start", type = "duration", default = 0, conf = "slow_start_ms", scale = MS,
        doc = "A peer that comes back (from rest, maintenance or failed checks) grows from a tenth "
            .. "of its weight to the whole in this time. Hashing takes no notice of it." },
    { name = "spill", type = "integer", default = 0, min = 0, max = 100, conf = "spill",
        doc = "When less than this percentage of the weights of a priority are usable, peers of "
            .. "the next priority take part; 0: when none is." },
    { name = "resolve", type = "enum", values = { "one", "each" }, default = "one",
        doc = 'What a peer with a name is: "one" peer with all the addresses of that name, or a '
            .. 'peer for "each" of them, with health and numbers of its own. A peer '
            .. '"srv:_http._tcp.example.com" is always one for each address of each service.' },
    { name = "zone", type = "string", shown = "RPROXY_ZONE of the environment",
        doc = "Where this instance is: peers of this zone are preferred. An empty text: zones do "
            .. "not matter, whatever the environment says." },
    { name = "zone_spill", type = "integer", default = 70, min = 1, max = 100,
        conf = "zone_spill",
        doc = "While this percentage of the zone's weights is usable it gets all requests; below "
            .. "that a share that shrinks with it, and peers of other zones get the rest." },
    { name = "subsets", type = "list<string>", default = {},
        doc = "Keys of the peers' meta (or \"zone\") by which routes (`subset`) and hooks "
            .. "(`up:subset`) may limit the choice." },
    { name = "subset_fallback", type = "enum", values = { "none", "any" }, default = "none",
        doc = 'When nobody in the wished subset is usable: "none" answers 503, "any" asks all '
            .. "peers." },
    { name = "panic", type = "integer", default = 1, min = 0, max = 100, conf = "panic",
        doc = "When less than this percentage of all weights are usable, health is not asked any "
            .. "more: a few peers would not stand what was meant for all. 1: when none is, or less "
            .. "than one in a hundred; 0: never." },
    { name = "host", type = "string", conf = "host_header", check = checks.is_line,
        doc = "Host header that the peers get; unsaid, it is the client's." },
    { name = "proxy_protocol", type = "enum", values = { "v1", "v2" }, optional = true,
        doc = "Begin each connection with a header of the PROXY protocol of this version, which "
            .. "says who the client is. Such connections are not kept for other requests." },
    { name = "proxy_protocol_tlvs", type = "list", of = { "enum", PROXY_TLVS },
        check = checks.is_unique,
        default = { "authority", "alpn" },
        doc = "What a header of version 2 says besides, where it is known: the host name and the "
            .. "protocol of a TLS client (streams that read its ClientHello), the id of a "
            .. "request, a checksum." },
    { name = "keepalive.idle", type = "duration", default = "60s", min = 0.001,
        conf = "pool_idle_ms", scale = MS, doc = "A connection may be idle in the pool." },
    { name = "keepalive.max", type = "integer", default = 256, min = 0, max = 2 ^ 32 - 1,
        conf = "pool_max", doc = "Idle connections kept per peer and worker; 0 keeps none." },
    { name = "keepalive.requests", type = "integer", default = 0, min = 0, max = 2 ^ 32 - 1,
        conf = "max_requests", doc = "Requests on one connection; 0 is no limit." },
    { name = "http", type = "enum", values = { "1.1", "2", "auto" }, default = "1.1",
        doc = 'What is spoken with the peers. "2": HTTP/2, without TLS by prior knowledge; "auto": '
            .. "as TLS negotiates it. Upgrades (WebSocket) are always HTTP/1.1." },
    { name = "streams", type = "integer", default = 100, min = 1, max = 65535, conf = "h2_streams",
        doc = "Requests at once on one HTTP/2 connection; peers may allow fewer." },
    { name = "timeouts.connect", type = "duration", default = "5s", min = 0.001,
        conf = "connect_ms", scale = MS,
        doc = "To connect to a peer, all its addresses together." },
    { name = "timeouts.next_address", type = "duration", default = "250ms", min = 0.01,
        conf = "next_address_ms", scale = MS, doc = "A connection to an address of a name may "
            .. "take so long before the next address is tried beside it; the first that is "
            .. "connected is taken (RFC 8305). Less where `timeouts.connect` would be over "
            .. "before each address had its turn." },
    { name = "timeouts.send", type = "duration", default = "60s", min = 0.001,
        conf = "send_ms", scale = MS, doc = "A peer may read nothing of the request." },
    { name = "timeouts.first_byte", type = "duration", default = "60s", min = 0.001,
        conf = "first_byte_ms", scale = MS, doc = "From the request sent to the response head." },
    { name = "timeouts.idle", type = "duration", default = "60s", min = 0.001,
        conf = "idle_ms", scale = MS, doc = "Between two pieces of the response body." },
    { name = "deadline_header", type = "header", optional = true, conf = "deadline_header",
        check = is_free_header,
        doc = "Name of a header that tells the peer how many milliseconds rproxy waits for its "
            .. "response head: by the request's deadline, retry.per_try and timeouts.first_byte. "
            .. "What a client says under this name is replaced." },
    { name = "tries", type = "integer", default = 3, min = 1, max = 32, conf = "tries",
        doc = "Attempts in all, each on another peer. Not counted: a kept connection that broke "
            .. "before the response; an idempotent request without a body, or with a buffered one, "
            .. "is then sent once more, on a new one." },
    { name = "queue.max", type = "integer", default = 0, min = 0, max = 2 ^ 32 - 1,
        conf = "queue_max", doc = "Requests that may wait, per worker, until a peer has a free "
            .. "seat (max_conns); 0: they are answered 503 at once." },
    { name = "queue.timeout", type = "duration", default = "5s", min = 0.001, scale = MS,
        conf = "queue_ms", doc = "... and how long; then 503." },
    { name = "retry.on", type = "any", takes = "list", shown = '{ "connect", "reset" }',
        check = checks.reads(trouble.read),
        doc = 'What another attempt is for: "connect" (no connection came about), "reset" (it '
            .. 'broke before the response head), "timeout" (timeouts.first_byte or retry.per_try '
            .. 'is over), and statuses: 503, "502-504", "5xx". All but the first only for '
            .. "idempotent requests whose body can be had again (none, or buffered)." },
    { name = "retry.per_try", type = "duration", default = 0, conf = "try_ms", scale = MS,
        doc = "One attempt may last so long until the response head; 0: as timeouts.first_byte." },
    { name = "retry.budget", type = "integer", default = 20, min = 0, max = 100,
        conf = "retry_budget", doc = "At most this percentage of the upstream's requests under "
            .. "way in a worker may be retries (ten always may), so that retries never make a "
            .. "bad moment worse. Attempts to connect are not counted." },
    { name = "retry.backoff", type = "duration", default = "25ms", conf = "retry_pause_ms",
        scale = MS, doc = "Before a retry: a time by chance up to this, doubled each time. Not "
            .. "after a failure to connect." },
    { name = "retry.backoff_max", type = "duration", default = "250ms", scale = MS,
        conf = "retry_pause_max_ms", doc = "... and at most up to this." },
    { name = "retry.non_idempotent", type = "boolean", default = false, conf = "retry_any",
        doc = "Repeat any request, also a POST that a peer may have carried out." },
    { name = "hedge.after", type = "any", takes = "duration or quantile",
        check = checks.reads(hedge.read),
        doc = 'Ask another peer as well when no response head came for so long: a time ("50ms"), '
            .. 'or a quantile of the latencies of late ("p95"). The first answer is taken, the '
            .. "other try is cancelled. Only idempotent requests whose body can be had again. "
            .. "Unsaid: never. See Hedging in the guide." },
    { name = "hedge.max", type = "integer", default = 1, min = 1, max = 31,
        doc = "How often for one request; there are never more than two tries at a time, and all "
            .. "are counted in `tries`." },
    { name = "hedge.budget", type = "integer", default = 10, min = 0, max = 100,
        conf = "hedge_budget", doc = "At most so many for each hundred requests, per worker; ten "
            .. "are saved up for bad moments. retry.budget holds for them, too." },
    { name = "hedge.non_idempotent", type = "boolean", default = false, conf = "hedge_any",
        doc = "Ask twice for any request, also for a POST, which both peers may carry out." },
    { name = "fail_on", type = "any", takes = "list", shown = '{ "connect" }',
        check = checks.reads(trouble.read),
        doc = "What counts as a failure of a peer: as retry.on. With more than connecting, only an "
            .. "answer that is none of these ends a row of failures." },
    { name = "max_fails", type = "integer", default = 1, min = 0, max = 2 ^ 32 - 1,
        conf = "max_fails", doc = "Failures in a row, seen by any worker, before a peer rests; 0: "
            .. "it never does. An only peer never rests." },
    { name = "max_rest", type = "integer", default = 50, min = 0, max = 100, conf = "rest_share",
        doc = "Most of the weights that may rest at the same time, in percent; one peer always "
            .. "may." },
    { name = "fail_rest", type = "duration", default = "10s", min = 0.001,
        conf = "fail_rest_ms", scale = MS, doc = "How long a peer rests; twice as long each time "
            .. "that it fails again soon after." },
    { name = "fail_rest_max", type = "duration", default = "300s", min = 0.001,
        conf = "fail_rest_max_ms", scale = MS, doc = "The longest rest." },

    { name = "health", type = "any", takes = "table",
        doc = "Ask the peers whether they are well, once per instance; see Health checks." },
    { name = "tls", type = "any", takes = "`true` or table",
        doc = "Speak TLS to the peers, and verify their certificates; a table for settings, see "
            .. "TLS to upstreams." },
}

M.peer = {
    { name = "weight", type = "integer", default = 1, min = 1, max = 2 ^ 16,
        doc = "Share of the requests, against the other peers' weights." },
    { name = "backup", type = "boolean", default = false,
        doc = "Used only while no other peer is usable: the last priority." },
    { name = "priority", type = "integer", default = 0, min = 0, max = 14,
        doc = "Peers of a higher number are used while none of the lower ones is usable; see "
            .. "`spill`." },
    { name = "max_conns", type = "integer", default = 0, min = 0, max = 2 ^ 32 - 1,
        doc = "Most requests at once, of all workers, never one more; 0: no limit." },
    { name = "resolve", type = "enum", values = { "one", "each" }, optional = true,
        shown = "the upstream's", doc = "See `resolve` of the upstream." },
    { name = "zone", type = "string", check = checks.is_line,
        doc = "Where the peer is; see `zone` of the upstream, and `subsets`." },
    { name = "meta", type = "map<string>", default = {},
        doc = 'What else is to be said of it, such as { version = "v2" }, for `subsets`.' },
}

M.health = {
    { name = "type", type = "enum", default = "http",
        values = { "http", "tcp", "tls", "grpc", "redis", "mysql", "postgres", "exec", "lua" },
        doc = "What is asked: an HTTP request (with TLS where the upstream has it), a connection, "
            .. "a TLS handshake, grpc.health.v1, PING, the greeting of MySQL, PostgreSQL's answer "
            .. "to SSLRequest, a program, a function." },
    { name = "path", type = "string", default = "/", match = "^/%S*$",
        doc = "http: what is asked for." },
    { name = "method", type = "string", default = "GET", check = checks.is_token, doc = "http." },
    { name = "headers", type = "map<string>", doc = "http: fields of the request; Host is that of "
        .. "the upstream, or the peer's address." },
    { name = "status", type = "list", of = { "any" }, default = { "200-399" },
        check = checks.reads(trouble.ranges), doc = "http: statuses of a peer that is well." },
    { name = "body", type = "regex", doc = "http: what its body must match (the first 64 KB)." },
    { name = "service", type = "string", default = "", check = checks.is_line,
        doc = "grpc: the service; empty: the server." },
    { name = "argv", type = "list<string>", doc = "exec: the program and its words; {host} and "
        .. "{port} are the peer's. 0 is well." },
    { name = "check", type = "any", takes = "function", check = is_function,
        doc = "lua: a function(peer) that may wait; peer has host, port, text, upstream. true is "
            .. "well; nil and a text is not." },
    { name = "port", type = "integer", min = 1, max = 65535, shown = "the peer's",
        doc = "Another port than the peer's." },
    { name = "every", type = "duration", default = "5s", min = 0.05, doc = "Between two checks." },
    { name = "fast", type = "duration", min = 0.05, shown = "as every",
        doc = "The same while the last check said something else than those before, and while the "
            .. "peer is down." },
    { name = "timeout", type = "duration", default = "2s", min = 0.01, doc = "Of one check." },
    { name = "rise", type = "integer", default = 2, min = 1, max = 1000,
        doc = "Good checks in a row until a peer that was down is up." },
    { name = "fall", type = "integer", default = 3, min = 1, max = 1000,
        doc = "Bad ones until it is down." },
    { name = "jitter", type = "number", default = 0.1, min = 0, max = 1,
        doc = "By how much the time between two checks differs, as a share of it." },
}

for _, rows in ipairs { options_guard.circuit("the upstream"), options_guard.upstream } do
    for _, row in ipairs(rows) do M.upstream[#M.upstream + 1] = row end
end

cookie.place(M.upstream, "sticky.ttl")

return M
