-- SPDX-License-Identifier: MIT
--
-- options_route: the rows of rp.host and rp.route; options.lua says what a row is.

local checks = require("rproxy.config.option_checks")
local options_guard = require("rproxy.config.options_guard")
local options_listener = require("rproxy.config.options_listener")
local site = require("rproxy.config.site")

local M = {}

local MS = 1000

-- ---------------------------------------------------------------- checks

local function is_target(value)
    if type(value) == "string" or site.kind(value) == "split" then return true end
    return nil, "the name of an upstream, or rp.split { ... }"
end

-- ---------------------------------------------------------------- hosts and routes

M.host_tls = {}
for _, row in ipairs(options_listener.tls) do
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
    { name = "strip_prefix", type = "string", check = checks.is_rooted, conf = "strip_prefix",
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

return M
