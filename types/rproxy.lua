---@meta
-- SPDX-License-Identifier: MIT
--
-- Editor types of site.lua, made from the option table by `make docs`; do not edit.

---@class rproxy.SiteHttp2
---@field on? boolean Speak HTTP/2 with clients that begin with its connection preface.
---@field streams? integer Requests at once on one HTTP/2 connection.
---@field window? number|string Bytes of one HTTP/2 request body that may wait to be read.

---@class rproxy.SiteLimits
---@field args? integer Query arguments of one request; more is answered 400.
---@field body? number|string Bytes of a request body; more is answered 413. 0 and math.huge are no limit. A route may say otherwise.
---@field body_rate? number|string Bytes per second of a request body at least, on average over the time that rproxy waits for it; below it is answered 408. 0 is no limit.
---@field connections? integer Client connections at one time, of all workers together; more are answered 503 and closed. 0 is no limit.
---@field connections_per_ip? integer Of one client (an IPv4 address, an IPv6 network of ipv6_prefix), of all workers together; more are answered 503 and closed. Networks of `trust` are not counted. 0 is no limit.
---@field header_bytes? number|string Bytes of one request head; more is answered 431.
---@field headers? integer Header lines of one request; more is answered 431.
---@field ipv6_prefix? integer Bits of an IPv6 address that say who the client is, for connections_per_ip.
---@field keepalive_requests? integer Requests on one client connection before it is closed; 0 is no limit.
---@field rate_grace? number|string Waiting that body_rate and send_rate always allow.
---@field send_rate? number|string Bytes per second that a client takes of a response at least, on average over the time that rproxy waits for it; below it the connection ends. 0 is no limit.
---@field spill? number|string Bytes that buffered bodies take in files, in each worker. A request that finds no room is answered 503; a response goes on at its client's pace. math.huge is no limit.
---@field tls_handshakes? integer TLS handshakes that a worker begins in a second; further clients wait for their turn, within timeouts.tls_handshake. 0 is no limit.
---@field uri? number|string Bytes of the request target; more is answered 414.

---@class rproxy.SiteLogAccess
---@field buffer? number|string Bytes that a worker gathers before it writes.
---@field fields? string[] Members of a json line, in order: those of the list of access log fields, `request.NAME` and `response.NAME` (headers), `ctx.NAME` (what a hook left in req.ctx).
---@field flush? number|string Gathered lines are written at the latest after this time.
---@field format? ("combined"|"json") combined is the format of Apache and nginx.
---@field to? string "stdout", "stderr" or a file.

---@class rproxy.SiteLogError
---@field level? ("debug"|"info"|"notice"|"warn"|"error"|"alert") The lowest level that is written.
---@field to? string "stderr", "stdout" or a file.

---@class rproxy.SiteLog
---@field access? rproxy.SiteLogAccess|false One line per request. There is no access log unless this is given.
---@field error? rproxy.SiteLogError

---@class rproxy.SiteLua
---@field background_tasks? integer Background tasks and timers (rp.detach, rp.after, rp.every) that one worker runs at a time. More are refused, and counted.
---@field cpu_budget? number|string CPU time of one hook before it is stopped; 0 is no limit.
---@field heap? number|string Memory of one Lua VM.
---@field path? string Where require looks for the site's own modules; relative to the folder of site.lua. It holds from the moment the site is checked: site.lua itself is run with the default, or with `-g lua.path=...`.

---@class rproxy.SiteSpill
---@field dir? string Directory on a disk where buffered bodies go that do not fit in memory, as files without a name. Workers must be able to write there.

---@class rproxy.SiteTimeouts
---@field body? number|string Between two pieces of a request body (408).
---@field connection? number|string A client connection may live in all: no further request begins on an older one. A request under way, a WebSocket and a stream are not cut. 0 is no limit.
---@field drain? number|string A stopping worker waits for running requests.
---@field header? number|string For a whole request head to arrive (408).
---@field hook_wait? number|string One hook may wait in all (500).
---@field keepalive? number|string A client connection may be idle between requests.
---@field send? number|string A client may read nothing of its response.
---@field ticket_keys? number|string Between two rotations of the keys of session tickets; a ticket is good for this time at least and twice this time at most.
---@field tls_handshake? number|string A client's whole TLS handshake; then the connection is closed.
---@field tunnel? number|string A tunnel (WebSocket, CONNECT) may be silent in both directions.

---@class rproxy.Site
---@field error_pages? any What is answered when a request fails here: by status ("404"), class ("5xx") or "*", { body = text, type = content type } or { file = name }. A route's pages win over its host's, those over the site's. Unsaid, it is a small standard answer: HTML, JSON or text, by Accept.
---@field forwarded? ("x-forwarded-for"|"x-forwarded-proto"|"x-forwarded-host"|"x-forwarded-port"|"forwarded")[] Forwarding headers made for the upstream ("forwarded" is that of RFC 7239). Those that a client outside `trust` sent are dropped, listed or not; a trusted one's are continued when listed, and passed on as they are when not.
---@field hosts? any List of rp.host { ... }; not needed without listeners.
---@field hsts? any Strict-Transport-Security of every answer over TLS: a duration, or { max_age = duration, subdomains = true, preload = true }. Browsers then use https alone for that time, whatever one says later.
---@field http2? rproxy.SiteHttp2
---@field limits? rproxy.SiteLimits
---@field listeners? any List of rp.listen { ... }; not needed beside streams.
---@field log? rproxy.SiteLog
---@field lua? rproxy.SiteLua
---@field pid? string One more pid file of the master, beside the one in the run directory.
---@field server? string|false Server header of rproxy's own answers; false sends none.
---@field shared? any Memory that all workers see: rp.shm.store, rp.shm.cache, rp.shm.buckets and others by name, for hooks as rp.shared.NAME.
---@field spill? rproxy.SiteSpill
---@field streams? any List of rp.stream { ... }: connections whose bytes are relayed.
---@field timeouts? rproxy.SiteTimeouts
---@field tls? any How listeners with tls end TLS: certificates and settings, see TLS of listeners.
---@field trust? string[] Networks (CIDR) of clients that may say where a request came from: other proxies of yours. Nobody else's X-Forwarded-* and Forwarded count.
---@field upstreams? any Table of rp.upstream { ... } by name.
---@field use? any Plugins of every request, in order.
---@field user? string Account that workers change to when the master runs as root.
---@field via? string|false Name in the Via header of messages passed on (RFC 9110 §7.6.3). A request that names it ten times is answered 508: it goes round in a loop. false adds none, and CDN-Loop (RFC 8586) to requests in its place, with the name rproxy.
---@field workers? any Worker processes: one loop and one Lua VM each. "auto" is one per core.

---@class rproxy.Listen
---@field half_closed? boolean Clients may end their side of a connection behind a request (shutdown) and wait for the answer. Without it that means that the client is gone, and its request ends.
---@field proxy_protocol? boolean Connections begin with a header of the PROXY protocol (version 1 or 2) that says who the client is. Only networks of `trust` and unix sockets may connect; a connection without the header is closed.
---@field redirect_https? boolean Answer every request with a redirect to https:// on the same host.
---@field tls? any End TLS here: true with the settings of the site's tls; a table for settings of its own, each in the place of the site's.
---@field use? any Plugins with the hooks tls_hello and certificate, for the handshakes of this listener; behind those of the site.

---@class rproxy.UpstreamKeepalive
---@field idle? number|string A connection may be idle in the pool.
---@field max? integer Idle connections kept per peer and worker; 0 keeps none.
---@field requests? integer Requests on one connection; 0 is no limit.

---@class rproxy.UpstreamTimeouts
---@field connect? number|string To connect to a peer.
---@field first_byte? number|string From the request sent to the response head.
---@field idle? number|string Between two pieces of the response body.
---@field send? number|string A peer may read nothing of the request.

---@class rproxy.Upstream
---@field balance? any "round_robin", a function(req, up) called once per attempt, or a plugin with a balance hook.
---@field fail_rest? number|string How long a peer rests.
---@field host? string Host header that the peers get; unsaid, it is the client's.
---@field http? ("1.1"|"2"|"auto") What is spoken with the peers. "2": HTTP/2, without TLS by prior knowledge; "auto": as TLS negotiates it. Upgrades (WebSocket) are always HTTP/1.1.
---@field keepalive? rproxy.UpstreamKeepalive
---@field max_fails? integer Failures in a row before a peer rests; 0: it never does. An only peer never rests.
---@field peers? any List of "host:port", "unix:/path", "host:port weight=2 backup", or tables { "host:port", weight = 2, backup = true }.
---@field proxy_protocol? ("v1"|"v2") Begin each connection with a header of the PROXY protocol of this version, which says who the client is. Such connections are not kept for other requests.
---@field proxy_protocol_tlvs? ("authority"|"alpn"|"unique_id"|"crc32c")[] What a header of version 2 says besides, where it is known: the host name and the protocol of a TLS client (streams that read its ClientHello), the id of a request, a checksum.
---@field streams? integer Requests at once on one HTTP/2 connection; peers may allow fewer.
---@field timeouts? rproxy.UpstreamTimeouts
---@field tls? any Speak TLS to the peers, and verify their certificates; a table for settings, see TLS to upstreams.
---@field tries? integer Attempts in all, each on another peer: after a failure to connect. Not counted: a kept connection that broke before the response; an idempotent request without a body, or with a buffered one, is then sent once more, on a new one.

---@class rproxy.Host
---@field default? boolean Takes requests for names that no host has. One host may say so; without it such requests are answered 421.
---@field error_pages? any Before the site's: see there.
---@field hsts? any In the place of the site's.
---@field routes? any List of rp.route { ... }.
---@field use? any Plugins of the host's requests, after the site's.

---@class rproxy.RouteBuffer
---@field max? number|string Bytes of one buffered response that go to the file; then it goes on at the client's pace. A request's body is bounded by limits.body.
---@field memory? number|string Bytes of one buffered body that are held in memory; what is more goes to a file in spill.dir.
---@field request? boolean Read the whole request body before an upstream is chosen; it gets the body with a Content-Length, and once more when the request is repeated. Else bodies are passed on as they come.
---@field response? boolean Read the response as fast as it comes, whatever the client's pace: the upstream connection is free again before a slow client has it all.

---@class rproxy.RouteConnect
---@field allow? string[] Targets that may be reached: "db.internal:5432", "*.svc.example:443", "10.0.0.0/8:22", "[fd00::/8]:22"; ports may be a range ("host:8000-8099") or left out. Networks are for targets that are written as addresses. What a name resolves to may be anything but this machine, the link, multicast and metadata services of clouds: these want an entry that lies within them, such as "127.0.0.1:5432". Anything else is answered 403.
---@field deny? string[] Networks that are never reached, whatever allow and names say.

---@class rproxy.RouteHeadersRequest
---@field add? table<string, string> See headers.request.set.
---@field remove? string[] See headers.request.set.
---@field set? table<string, string> Edits of the request header that goes upstream; set replaces or adds, add adds one more, remove removes.

---@class rproxy.RouteHeadersResponse
---@field add? table<string, string> See headers.response.set.
---@field remove? string[] See headers.response.set.
---@field set? table<string, string> Edits of the response header that goes to the client; set replaces or adds, add adds one more, remove removes.

---@class rproxy.RouteHeaders
---@field request? rproxy.RouteHeadersRequest
---@field response? rproxy.RouteHeadersResponse

---@class rproxy.RouteLimits
---@field body? number|string Bytes of a request body; more is answered 413. 0 and math.huge are no limit.

---@class rproxy.RouteTimeouts
---@field connect? number|string To connect to a peer.
---@field first_byte? number|string From the request sent to the response head.
---@field idle? number|string Between two pieces of the response body.
---@field send? number|string A peer may read nothing of the request.

---@class rproxy.RouteTunnel
---@field bytes_in? number|string Bytes that a tunnel takes of the client before it ends; 0 is no limit.
---@field bytes_out? number|string Bytes that a tunnel takes to the client before it ends; 0 is no limit.
---@field idle? number|string A tunnel (WebSocket, CONNECT) may be silent in both directions.
---@field time? number|string A tunnel ends after this time whatever it does; 0 is no limit.

---@class rproxy.RouteUnless
---@field header? table<string, any> By header name: "value", true (is there), { prefix = "x" } or { regex = "x" }.
---@field query? table<string, any> By query argument; as header.
---@field source? string[] The client's address is in one of these networks (CIDR).

---@class rproxy.RouteWebsocket
---@field check? boolean Check frames also without a limit: what is malformed ends the connection (1002).
---@field max_frame? number|string Payload bytes of one WebSocket frame; a larger one ends the connection (1009). 0 is no limit. With any setting of websocket, frames are checked by RFC 6455; without, bytes pass unseen.
---@field max_message? number|string Payload bytes of one WebSocket message, all its frames together and as they are sent, compressed or not; 0 is no limit.
---@field ping? number|string Ping a client that sent nothing for this time; 0 never does.
---@field ping_upstream? boolean Ping the upstream in the same way.
---@field pong? number|string A client that was pinged sends something within this time, or it is gone (1011).

---@class rproxy.RouteWhen
---@field header? table<string, any> By header name: "value", true (is there), { prefix = "x" } or { regex = "x" }.
---@field query? table<string, any> By query argument; as header.
---@field source? string[] The client's address is in one of these networks (CIDR).

---@class rproxy.Route
---@field access_log? boolean Write a line of the access log.
---@field buffer? rproxy.RouteBuffer
---@field connect? rproxy.RouteConnect Action of a route "CONNECT *": a tunnel to where the client says.
---@field content? any Action: answer by a function(req), or by a plugin with a content hook.
---@field error_pages? any Before the host's: see the site's.
---@field headers? rproxy.RouteHeaders
---@field id? string Name of the route in logs, in req.route.id and in -T.
---@field limits? rproxy.RouteLimits
---@field meta? any Anything; hooks read it as req.route.meta.
---@field name? string Another word for id.
---@field redirect? any Action: redirect to "url", or { code, "url" }; 302 unless said. {param}, {host}, {path}, {query} and {uri} are filled in.
---@field respond? any Action: answer with { status, body, headers = { name = value } }; body and headers may be left out.
---@field skip? string[] Names of inherited plugins that do not run here.
---@field strip_prefix? string Removed from the start of the path that goes upstream.
---@field timeouts? rproxy.RouteTimeouts
---@field tunnel? rproxy.RouteTunnel
---@field unless? rproxy.RouteUnless As `when`: none of them may hold.
---@field upgrade? boolean Pass WebSocket upgrades on. false: the request goes on as a plain one, as requests for other upgrades always do.
---@field upstream? string Action: pass to this upstream.
---@field use? any Plugins of this route, after the host's.
---@field websocket? rproxy.RouteWebsocket
---@field when? rproxy.RouteWhen Conditions beside the path: all must hold, or the next route is looked at.

---@class rproxy
local rp = {}

---@param given rproxy.Site
---@return table
function rp.site(given) end

---@param given rproxy.Listen
---@return table
function rp.listen(given) end

---@param given rproxy.Upstream
---@return table
function rp.upstream(given) end

---@param given rproxy.Host
---@return table
function rp.host(given) end

---@param given rproxy.Route
---@return table
function rp.route(given) end

return rp
