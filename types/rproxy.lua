---@meta
-- SPDX-License-Identifier: MIT
--
-- Editor types: of site.lua from the option table, of what hooks call from doc comments
-- and docs/guide/api.md. Made by `make docs`; do not edit.

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

---@class rproxy.SiteLogDecisions
---@field edits? boolean Also for requests that shadow instances would only have changed, not answered.
---@field flush? number|string Gathered lines are written at the latest after this time.
---@field format? ("json") How a line is written.
---@field to? string "stderr", "stdout" or a file.

---@class rproxy.SiteLogError
---@field level? ("debug"|"info"|"notice"|"warn"|"error"|"alert") The lowest level that is written.
---@field to? string "stderr", "stdout" or a file.

---@class rproxy.SiteLog
---@field access? rproxy.SiteLogAccess|false One line per request. There is no access log unless this is given.
---@field decisions? rproxy.SiteLogDecisions|false One JSON line per request about which an instance with `mode = "shadow"` decided something, and per traced request. There is none unless this is given. See [shadow mode](../guide/shadow.md).
---@field error? rproxy.SiteLogError

---@class rproxy.SiteLua
---@field background_tasks? integer Background tasks and timers (rp.detach, rp.after, rp.every) that one worker runs at a time. More are refused, and counted.
---@field cpu_budget? number|string CPU time of one hook before it is stopped; 0 is no limit.
---@field ffi? boolean May plugins be granted the FFI? With it a plugin can do whatever the worker can.
---@field heap? number|string Memory of one Lua VM.
---@field jit_report? boolean Count from the start what LuaJIT compiles and where it gives up, for `rproxy jit` and `rp.jit.report()`. Without it `rproxy jit` counts while it runs.
---@field path? string Where require looks for the site's own modules; relative to the folder of site.lua. It holds from the moment the site is checked: site.lua itself is run with the default, or with `-g lua.path=...`.
---@field repl? boolean May `rproxy repl` run code in workers? Only root and the account of the master reach it, and every line is logged. See [tools](../guide/tools.md#repl).

---@class rproxy.SiteMetrics
---@field listen string Where: "127.0.0.1:9145", "[::1]:9145" or "unix:/run/rproxy/metrics.sock".
---@field path? string The one path that it answers.
---@field public? boolean Take an address that other machines reach. Without it that is a mistake in the site: metrics tell a lot about it.

---@class rproxy.SiteRecordRedact
---@field args? string[] Query arguments and fields of forms and JSON bodies whose values are redacted, beside those that always are (token, password, api_key and others).
---@field cookies? any Cookies whose values are redacted; true: all of 8 bytes or more.
---@field headers? string[] Headers whose values are redacted, beside those that always are (Authorization, Cookie, Set-Cookie, X-Api-Key and others).

---@class rproxy.SiteRecord
---@field background? boolean Also record what start hooks and timers get, when it is another result.
---@field bodies? ("read"|"all") Whose bodies: those that hooks read or filter, or all of them, which then pass through Lua.
---@field body? number|string Bytes of a body that are kept; the rest is only counted.
---@field keep? integer Files that are kept beside it, FILE.1 the newest.
---@field key? string File (NAME.key) with a secret of 32 bytes or more. With it redacted values are kept, encrypted, and `rproxy replay --key` can use them.
---@field max? number|string Bytes of the file before another one is begun.
---@field redact? rproxy.SiteRecordRedact
---@field sample? any Which requests: a share from 0 to 1, or { share = number, header = name, token = text }: those that carry the token in that header, too. The header is redacted.
---@field to? string The file, which workers make and append to. Its folder must be theirs to write in.

---@class rproxy.SiteResolver
---@field absent? number|string So long it is believed that there is no such name.
---@field max_ttl? number|string ... and so long at most.
---@field min_ttl? number|string An answer holds so long at least, whatever it says.
---@field servers? string[] Addresses of DNS servers, with or without a port; all that is looked up is asked of these. The hosts file counts all the same.
---@field stale? number|string An answer goes on for so long when it cannot be had anew. Peers keep the addresses that they have however long that lasts.
---@field timeout? number|string Of the first question to a server; doubled for each further one.
---@field tries? integer Questions to each server.

---@class rproxy.SiteSpill
---@field dir? string Directory on a disk where buffered bodies go that do not fit in memory, as files without a name. Workers must be able to write there.

---@class rproxy.SiteTimeouts
---@field body? number|string Between two pieces of a request body (408).
---@field connection? number|string A client connection may live in all: no further request begins on an older one. A request under way, a WebSocket and a stream are not cut. 0 is no limit.
---@field drain? number|string A stopping worker waits for running requests.
---@field header? number|string For a whole request head to arrive (408).
---@field hook_wait? number|string One hook may wait in all (500); one that writes its answer: from one sign of life to the next.
---@field keepalive? number|string A client connection may be idle between requests.
---@field send? number|string A client may read nothing of its response.
---@field ticket_keys? number|string Between two rotations of the keys of session tickets; a ticket is good for this time at least and twice this time at most.
---@field tls_handshake? number|string A client's whole TLS handshake; then the connection is closed.
---@field tunnel? number|string A tunnel (WebSocket, CONNECT) may be silent in both directions.

---@class rproxy.SiteTrace
---@field header? string The header that a request brings it in, and that the response has the answer in. It begins with `x-`, and no upstream gets to see it.
---@field token string The secret, at least 16 bytes: `os.getenv("TRACE_TOKEN")`, or `rp.file(path)`.

---@class rproxy.Site
---@field cpu_affinity? any Keep each worker on one processor: "auto", each on the next of those that the master may use; or the numbers of processors, one for each worker. Both begin anew when there are more workers. Threads for files and the like are not bound.
---@field discover? any Who tells at run time which routes there are beside `hosts`: `{ "docker", hosts = { "*.apps.example.com" } }`; see Discovery.
---@field error_pages? any What is answered when a request fails here: by status ("404"), class ("5xx") or "*", { body = text, type = content type } or { file = name }. A route's pages win over its host's, those over the site's. Unsaid, it is a small standard answer: HTML, JSON or text, by Accept.
---@field forwarded? ("x-forwarded-for"|"x-forwarded-proto"|"x-forwarded-host"|"x-forwarded-port"|"forwarded")[] Forwarding headers made for the upstream ("forwarded" is that of RFC 7239). Those that a client outside `trust` sent are dropped, listed or not; a trusted one's are continued when listed, and passed on as they are when not.
---@field grants? table<string, any> What plugins may do outside of their requests, by the plugin's name: `{ ship = { net = { "logs.internal:443" } } }`. See [trust](../guide/trust.md).
---@field hosts? any List of rp.host { ... }; not needed without listeners.
---@field hsts? any Strict-Transport-Security of every answer over TLS: a duration, or { max_age = duration, subdomains = true, preload = true }. Browsers then use https alone for that time, whatever one says later.
---@field http2? rproxy.SiteHttp2
---@field limits? rproxy.SiteLimits
---@field listeners? any List of rp.listen { ... }; not needed beside streams.
---@field log? rproxy.SiteLog
---@field lua? rproxy.SiteLua
---@field metrics? rproxy.SiteMetrics A listener of its own that answers with all metrics, and with nothing else: see [metrics](../guide/metrics.md#reading-them).
---@field pid? string One more pid file of the master, beside the one in the run directory.
---@field record? rproxy.SiteRecord Write some requests down, with all that hooks saw, for `rproxy replay`. Nothing is recorded unless this is given.
---@field resolver? rproxy.SiteResolver
---@field server? string|false Server header of rproxy's own answers; false sends none.
---@field shared? any Memory that all workers see: rp.shm.store, rp.shm.cache, rp.shm.buckets and others by name, for hooks as rp.shared.NAME.
---@field spill? rproxy.SiteSpill
---@field streams? any List of rp.stream { ... }: connections whose bytes are relayed.
---@field timeouts? rproxy.SiteTimeouts
---@field tls? any How listeners with tls end TLS: certificates and settings, see TLS of listeners.
---@field trace? rproxy.SiteTrace|false Tell who knows a secret what hooks do to a request of his. There is none unless this is given: [tracing](../guide/shadow.md#tracing-one-request).
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

---@class rproxy.UpstreamCircuit
---@field errors? number It opens when this share of the attempts fails: no answer, or a 5xx. 0: never.
---@field fallback? string Upstream that gets the requests while the circuit is open.
---@field min? integer Attempts within the window before it may open.
---@field open? number|string How long it is open; twice as long when it opens again soon after, and up to a tenth more by chance.
---@field open_max? number|string The longest time.
---@field probes? integer Requests that then pass, of all workers together: when all of them do well it closes, when one does not it opens again.
---@field quantile? number See circuit.slow.
---@field slow? number|string It opens when the `quantile` of the time to a response head is longer than this; 0: never.
---@field within? number|string The window.

---@class rproxy.UpstreamConcurrency
---@field buffer? number By what share it may be longer than the calm one before the limit shrinks.
---@field interval? number|string Between two changes of the limit.
---@field max? integer The highest.
---@field measure? number|string Between two measurings of the calm latency, with `min` requests at once; 0: only the first time.
---@field min? integer The least limit; also while the calm latency is measured.
---@field quantile? number Which latency is looked at.
---@field samples? integer Requests of a measuring.
---@field start? integer The first.

---@class rproxy.UpstreamHedge
---@field after? any Ask another peer as well when no response head came for so long: a time ("50ms"), or a quantile of the latencies of late ("p95"). The first answer is taken, the other try is cancelled. Only idempotent requests whose body can be had again. Unsaid: never. See Hedging in the guide.
---@field budget? integer At most so many for each hundred requests, per worker; ten are saved up for bad moments. retry.budget holds for them, too.
---@field max? integer How often for one request; there are never more than two tries at a time, and all are counted in `tries`.
---@field non_idempotent? boolean Ask twice for any request, also for a POST, which both peers may carry out.

---@class rproxy.UpstreamKeepalive
---@field idle? number|string A connection may be idle in the pool.
---@field max? integer Idle connections kept per peer and worker; 0 keeps none.
---@field requests? integer Requests on one connection; 0 is no limit.

---@class rproxy.UpstreamOutlier
---@field enforce? boolean false: who would rest is only logged and counted.
---@field factor? number A peer rests whose `quantile` of latency, over the last minute, is so many times the median of the peers'. 0: not asked.
---@field failures? number A peer rests when this share of the attempts at it fails: no answer, or a 5xx. 0: not asked.
---@field interval? number|string Between two looks, of one process for all workers; whole seconds, as workers look once a second.
---@field min? integer Attempts at a peer within an interval before it is judged.
---@field peers? integer ... and so many peers that have them.
---@field quantile? number See outlier.factor.
---@field slow? number|string ... and is at least this.
---@field stdev? number A peer rests whose success rate is below the mean of all by so many standard deviations; among fewer than five peers 1.9 is never reached. 0: not asked.

---@class rproxy.UpstreamQueue
---@field max? integer Requests that may wait, per worker, until a peer has a free seat (max_conns); 0: they are answered 503 at once.
---@field timeout? number|string ... and how long; then 503.

---@class rproxy.UpstreamRetry
---@field backoff? number|string Before a retry: a time by chance up to this, doubled each time. Not after a failure to connect.
---@field backoff_max? number|string ... and at most up to this.
---@field budget? integer At most this percentage of the upstream's requests under way in a worker may be retries (ten always may), so that retries never make a bad moment worse. Attempts to connect are not counted.
---@field non_idempotent? boolean Repeat any request, also a POST that a peer may have carried out.
---@field on? any What another attempt is for: "connect" (no connection came about), "reset" (it broke before the response head), "timeout" (timeouts.first_byte or retry.per_try is over), and statuses: 503, "502-504", "5xx". All but the first only for idempotent requests whose body can be had again (none, or buffered).
---@field per_try? number|string One attempt may last so long until the response head; 0: as timeouts.first_byte.

---@class rproxy.UpstreamSticky
---@field cookie? string Clients come back to the peer that they had, by a cookie of this name; also to one that is drained. Its value cannot be made up.
---@field domain? string Domain of the cookie.
---@field header? string The same by a header field in the cookie's place, for clients that keep no cookies: they send back what the answer's field of this name said.
---@field max_age? number|string How long the cookie lasts.
---@field mode? ("insert"|"prefix"|"learn") insert: a cookie of ours. prefix: the application's cookie of that name, with the peer's token in front while it is with the client. learn: the application's cookie as it is; workers remember whose it is.
---@field path? string Path of the cookie.
---@field same_site? ("Lax"|"Strict"|"None") SameSite of the cookie. It is HttpOnly, and Secure over TLS.
---@field secret? string For instances that are to know each other's cookies, and over restarts.
---@field ttl? number|string learn: a session is remembered so long after its last use.

---@class rproxy.UpstreamTimeouts
---@field connect? number|string To connect to a peer, all its addresses together.
---@field first_byte? number|string From the request sent to the response head.
---@field idle? number|string Between two pieces of the response body.
---@field next_address? number|string A connection to an address of a name may take so long before the next address is tried beside it; the first that is connected is taken (RFC 8305). Less where `timeouts.connect` would be over before each address had its turn.
---@field send? number|string A peer may read nothing of the request.

---@class rproxy.Upstream
---@field balance? any "round_robin", "random", "least_conn", "least_time", "p2c", "ewma", "first", "ip_hash", `{ "hash", key = "header:x-user", method = "maglev", bound = 1.25 }`, a function(req, up) called once per attempt, or a plugin with a balance hook. See Balancing in the guide.
---@field circuit? rproxy.UpstreamCircuit Refuse requests for a while (503, `upstream_circuit_open`) when too many of the upstream fail or are slow; `{}` for the defaults. See Resilience in the guide.
---@field concurrency? rproxy.UpstreamConcurrency Find out how many requests at once the upstream can serve, by how long they take, and let no more through: they wait in the `queue` or are answered 503; `{}` for the defaults.
---@field deadline_header? string Name of a header that tells the peer how many milliseconds rproxy waits for its response head: by the request's deadline, retry.per_try and timeouts.first_byte. What a client says under this name is replaced.
---@field discover? any Who tells at run time which peers there are beside `peers`: `{ "consul", service = "api" }`; see Discovery.
---@field fail_on? any What counts as a failure of a peer: as retry.on. With more than connecting, only an answer that is none of these ends a row of failures.
---@field fail_rest? number|string How long a peer rests; twice as long each time that it fails again soon after.
---@field fail_rest_max? number|string The longest rest.
---@field health? any Ask the peers whether they are well, once per instance; see Health checks.
---@field hedge? rproxy.UpstreamHedge
---@field host? string Host header that the peers get; unsaid, it is the client's.
---@field http? ("1.1"|"2"|"auto") What is spoken with the peers. "2": HTTP/2, without TLS by prior knowledge; "auto": as TLS negotiates it. Upgrades (WebSocket) are always HTTP/1.1.
---@field keepalive? rproxy.UpstreamKeepalive
---@field max_fails? integer Failures in a row, seen by any worker, before a peer rests; 0: it never does. An only peer never rests.
---@field max_requests? integer Most requests at once to all peers, of all workers, never one more; others wait in the `queue` or are answered 503. 0: no limit.
---@field max_rest? integer Most of the weights that may rest at the same time, in percent; one peer always may.
---@field measure? boolean Keep the latencies of an only peer, too, for `rproxy upstreams`; those of several, and with a circuit, outliers or concurrency, are always kept.
---@field outlier? rproxy.UpstreamOutlier Let peers rest that are unlike the others, beside those that fail max_fails times in a row; `{}` for the defaults. fail_rest, fail_rest_max and max_rest hold for them, too.
---@field panic? integer When less than this percentage of all weights are usable, health is not asked any more: a few peers would not stand what was meant for all. 1: when none is, or less than one in a hundred; 0: never.
---@field peers? any List of "host:port", "unix:/path", "host:port weight=2 backup", or tables { "host:port", weight = 2, backup = true }.
---@field proxy_protocol? ("v1"|"v2") Begin each connection with a header of the PROXY protocol of this version, which says who the client is. Such connections are not kept for other requests.
---@field proxy_protocol_tlvs? ("authority"|"alpn"|"unique_id"|"crc32c")[] What a header of version 2 says besides, where it is known: the host name and the protocol of a TLS client (streams that read its ClientHello), the id of a request, a checksum.
---@field queue? rproxy.UpstreamQueue
---@field resolve? ("one"|"each") What a peer with a name is: "one" peer with all the addresses of that name, or a peer for "each" of them, with health and numbers of its own. A peer "srv:_http._tcp.example.com" is always one for each address of each service.
---@field retry? rproxy.UpstreamRetry
---@field slow_start? number|string A peer that comes back (from rest, maintenance or failed checks) grows from a tenth of its weight to the whole in this time. Hashing takes no notice of it.
---@field spill? integer When less than this percentage of the weights of a priority are usable, peers of the next priority take part; 0: when none is.
---@field sticky? rproxy.UpstreamSticky
---@field streams? integer Requests at once on one HTTP/2 connection; peers may allow fewer.
---@field subset_fallback? ("none"|"any") When nobody in the wished subset is usable: "none" answers 503, "any" asks all peers.
---@field subsets? string[] Keys of the peers' meta (or "zone") by which routes (`subset`) and hooks (`up:subset`) may limit the choice.
---@field timeouts? rproxy.UpstreamTimeouts
---@field tls? any Speak TLS to the peers, and verify their certificates; a table for settings, see TLS to upstreams.
---@field tries? integer Attempts in all, each on another peer. Not counted: a kept connection that broke before the response; an idempotent request without a body, or with a buffered one, is then sent once more, on a new one.
---@field zone? string Where this instance is: peers of this zone are preferred. An empty text: zones do not matter, whatever the environment says.
---@field zone_spill? integer While this percentage of the zone's weights is usable it gets all requests; below that a share that shrinks with it, and peers of other zones get the rest.

---@class rproxy.Host
---@field default? boolean Takes requests for names that no host has. One host may say so; without it such requests are answered 421.
---@field error_pages? any Before the site's: see there.
---@field hsts? any In the place of the site's.
---@field routes? any List of rp.route { ... }.
---@field tls? any Whose certificates clients must show, by the name that they ask for.
---@field use? any Plugins of the host's requests, after the site's.

---@class rproxy.RouteBuffer
---@field max? number|string Bytes of one buffered response that go to the file; then it goes on at the client's pace. A request's body is bounded by limits.body.
---@field memory? number|string Bytes of one buffered body that are held in memory; what is more goes to a file in spill.dir.
---@field request? boolean Read the whole request body before an upstream is chosen; it gets the body with a Content-Length, and once more when the request is repeated. Else bodies are passed on as they come.
---@field response? boolean Read the response as fast as it comes, whatever the client's pace: the upstream connection is free again before a slow client has it all.

---@class rproxy.RouteCircuit
---@field errors? number It opens when this share of the attempts fails: no answer, or a 5xx. 0: never.
---@field min? integer Attempts within the window before it may open.
---@field open? number|string How long it is open; twice as long when it opens again soon after, and up to a tenth more by chance.
---@field open_max? number|string The longest time.
---@field probes? integer Requests that then pass, of all workers together: when all of them do well it closes, when one does not it opens again.
---@field quantile? number See circuit.slow.
---@field slow? number|string It opens when the `quantile` of the time to a response head is longer than this; 0: never.
---@field within? number|string The window.

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
---@field cookie? table<string, any> By cookie; as header. Of several of one name the first counts.
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
---@field cookie? table<string, any> By cookie; as header. Of several of one name the first counts.
---@field header? table<string, any> By header name: "value", true (is there), { prefix = "x" } or { regex = "x" }.
---@field query? table<string, any> By query argument; as header.
---@field source? string[] The client's address is in one of these networks (CIDR).

---@class rproxy.Route
---@field access_log? boolean Write a line of the access log.
---@field buffer? rproxy.RouteBuffer
---@field circuit? rproxy.RouteCircuit Refuse requests for a while (503, `upstream_circuit_open`) when too many of the route fail or are slow; `{}` for the defaults. See Resilience in the guide.
---@field coalesce? any Identical GET and HEAD requests under way at the same moment share one answer of the upstream, in each worker; see Coalescing in the guide.
---@field connect? rproxy.RouteConnect Action of a route "CONNECT *": a tunnel to where the client says.
---@field content? any Action: answer by a function(req), or by a plugin with a content hook.
---@field error_pages? any Before the host's: see the site's.
---@field grpc_timeout? boolean The grpc-timeout of a client is its request's deadline: no upstream is waited for, and no hook waits, beyond it, and the upstream hears what is left of it.
---@field headers? rproxy.RouteHeaders
---@field id? string Name of the route in logs, in req.route.id and in -T.
---@field limits? rproxy.RouteLimits
---@field meta? any Anything; hooks read it as req.route.meta.
---@field name? string Another word for id.
---@field redirect? any Action: redirect to "url", or { code, "url" }; 302 unless said. {param}, {host}, {path}, {query} and {uri} are filled in.
---@field respond? any Action: answer with { status, body, headers = { name = value } }; body and headers may be left out.
---@field skip? string[] Names of inherited plugins that do not run here.
---@field strip_prefix? string Removed from the start of the path that goes upstream.
---@field subset? table<string, string> Only peers of which this is said, such as { version = "v2" }; keys are those that the upstream lists in `subsets`.
---@field timeouts? rproxy.RouteTimeouts
---@field tunnel? rproxy.RouteTunnel
---@field unless? rproxy.RouteUnless As `when`: none of them may hold.
---@field upgrade? boolean Pass WebSocket upgrades on. false: the request goes on as a plain one, as requests for other upgrades always do.
---@field upstream? any Action: pass to this upstream, or divide requests among several.
---@field use? any Plugins of this route, after the host's.
---@field websocket? rproxy.RouteWebsocket
---@field when? rproxy.RouteWhen Conditions beside the path: all must hold, or the next route is looked at.

---@class rproxy.StreamTimeouts
---@field connect? number|string To connect to a peer.
---@field hello? number|string For a whole ClientHello to arrive, where sni or alpn or a connect hook asks.
---@field idle? number|string No byte either way.

---@class rproxy.StreamUdp
---@field idle? number|string Of the addresses "udp:address:port": no datagram either way ends a session.
---@field requests? integer Datagrams of a client in one session; its next one begins another, with a peer of its own (syslog from few senders: 1000). Unsaid, all.
---@field responses? integer Answers to one datagram of a client: a session ends as soon as each was answered so often (DNS: 1). Unsaid, only silence ends it.
---@field sessions? integer Sessions of one address and worker at a time; all of a worker take at most half of its file descriptors. What a new client sends beyond that is dropped, unless an older one that may be forged can make room.

---@class rproxy.Stream
---@field access_log? boolean Write a line of the access log.
---@field alpn? any Upstream by protocol: { ["acme-tls/1"] = "acme" }. The first of the client's protocols that is listed wins, before any rule of sni.
---@field peek? boolean Read the ClientHello first, for connect hooks that look at conn.sni and conn.alpn. A client that does not begin with one is refused.
---@field proxy_protocol? boolean Connections begin with a header of the PROXY protocol; as in rp.listen.
---@field sni? any Upstream by the server name of the TLS ClientHello: { ["a.example"] = "up_a", ["*.b.example"] = "up_b", default = "up_c" }. "*." stands for one or more labels; the longest match wins. false refuses the name; default is another word for upstream. The TLS is not ended here: the bytes go on unchanged.
---@field timeouts? rproxy.StreamTimeouts
---@field tls? any End TLS here, as in rp.listen, and relay what was in it. No protocol is offered (ALPN); rules of sni then go by the name of that TLS.
---@field udp? rproxy.StreamUdp
---@field upstream? string Where connections go that no rule of sni and alpn names; without it they are refused.
---@field use? any Plugins of these connections, in order: their hooks connect(conn) and log(conn).

---@class rproxy.SplitRollout
---@field canary? string The side that grows.
---@field confidence? number How sure both judgements are to be: what may be by chance is no reason.
---@field error_floor? number ... but not while it is below this.
---@field every? number|string A step lasts at least this long.
---@field latency_floor? number|string ... but not while that is less than this.
---@field latency_quantile? number ... in this quantile of the time to a response head.
---@field max_error_ratio? number A canary whose share of failed requests (5xx, no answer) is more than this many times the base's is rolled back.
---@field max_latency_ratio? number As much slower than the base it may be; 0: time does not matter.
---@field min_requests? integer ... and until each side had so many requests in it.
---@field steps? any[] Its share in percent, step by step. It begins with the first one, whatever the shares of the split say.

---@class rproxy.SplitSticky
---@field cookie? string Clients that are divided by chance keep their place by a cookie of this name. Its value cannot be made up.
---@field domain? string Domain of the cookie.
---@field max_age? number|string How long the cookie lasts.
---@field path? string Path of the cookie.
---@field same_site? ("Lax"|"Strict"|"None") SameSite of the cookie. It is HttpOnly, and Secure over TLS.
---@field secret? string For instances that are to know each other's cookies, and over restarts.

---@class rproxy.Split
---@field base? string The side that gives to the others when they grow, and takes back.
---@field by? any What a client is known by: "ip", "host", "path", "query", "consumer", "arg:NAME", "header:NAME", "cookie:NAME" or a list of these. The same key is on the same side in all workers and instances. Who has none of it is divided by cookie or chance.
---@field name? string What `rproxy split` and metrics call it.
---@field rollout? rproxy.SplitRollout Let the share of one side grow by steps, as long as it does as well as the base.
---@field sticky? rproxy.SplitSticky
---@field when? any Rules that go before the shares, the first that holds: `{ header = { ["x-canary"] = "1" }, upstream = "canary" }`; header, cookie, query and source as in `when` of a route. Such requests get no cookie and count for no rollout.

---@class rproxy.conf.PluginBreaker
---@field errors? number Share of its calls that fail, at which it is taken out of its chains.
---@field min? integer Calls before that counts.
---@field open? number|string Time until single calls are let through again.
---@field policy? ("bypass"|"deny"|"last-good") Meanwhile: go on without it, refuse, or go back to the site before the last reload. By on_error unless set: open bypasses, the others deny.
---@field slow? number|string A call that takes longer, waits included, has failed too.
---@field within? number|string Time over which is counted.

---@class rproxy.conf.PluginLimits
---@field instructions? integer Of one call of an untrusted instance.
---@field memory? number|string That one call of an untrusted instance may allocate.

---@class rproxy.conf.Plugin
---@field breaker? rproxy.conf.PluginBreaker
---@field grant? any What it may do outside of its request: net, fs, exec, env, ffi.
---@field limits? rproxy.conf.PluginLimits
---@field mode? ("enforce"|"shadow") shadow: note and count what it decides and changes, and do none of it.
---@field on_error? ("500"|"closed"|"open") What happens when a hook of the plugin raises: answer 500, go on without it, or refuse.
---@field order? ("as listed") No warnings about where it is listed.
---@field untrusted? boolean Run a copy of the module in a box, under the bounds of limits.

---@class rproxy.conf.BasicAuth: rproxy.conf.Plugin
---@field at_once? integer Comparisons at the same time, per worker; more are answered 503.
---@field file string File as htpasswd writes it: a line `name:hash` for each user. Read with the site.
---@field forward? boolean Send the name and password upstream, too.
---@field realm? string Realm that a refusal names.
---@field remember? number|string How long a password that was right is not compared again; 0: always compare.
---@field remember_most? integer Passwords that are remembered, per worker.

---@class rproxy.conf.CanaryRules
---@field equals? string The request is chosen when a value is this,
---@field header string Name of a header field.
---@field matches? string or matches this.

---@class rproxy.conf.Canary: rproxy.conf.Plugin
---@field abort_at? number Share of the chosen requests that may fail (5xx); more, and it is off.
---@field abort_min? integer Requests in a window before that counts.
---@field by? ("consumer"|"ip") consumer: who the request is from as an authentication plugin says, else the address. ip: the address.
---@field off_for? number|string How long it is off.
---@field percent? number How many of a hundred clients are chosen. Who is a client: `by`.
---@field rules? rproxy.conf.CanaryRules[] Requests that are chosen whatever cookie and share say.
---@field sticky? string A cookie that keeps a client on its side: `cookie:NAME`. 1 is the canary.
---@field sticky_for? number|string How long the cookie lives.
---@field store? string A zone of `shared` in which a canary that failed is switched off for all workers. Without one each worker judges for itself.
---@field upstream string Where the chosen requests go.
---@field window? number|string Over which is counted.

---@class rproxy.conf.FaultAbort
---@field body? string And this body.
---@field percent? number How many of a hundred are answered.
---@field status? integer With this status.

---@class rproxy.conf.FaultDelay
---@field max? number|string At most; unsaid, as min.
---@field min number|string How long, at least.
---@field percent? number How many of a hundred matching requests wait.

---@class rproxy.conf.FaultReset
---@field percent? number How many of a hundred are broken off.

---@class rproxy.conf.FaultThrottle
---@field percent? number How many of a hundred responses are slow.
---@field rate number|string Bytes a second.

---@class rproxy.conf.FaultToken
---@field header? string A header with
---@field value string this value.

---@class rproxy.conf.FaultWhen
---@field clients? string[] The client is in one of these networks.
---@field equals? string and is this.
---@field header? string This header is there,
---@field methods? string[] One of these methods.
---@field path? string The path matches.

---@class rproxy.conf.Fault: rproxy.conf.Plugin
---@field abort? rproxy.conf.FaultAbort Answer instead of the upstream.
---@field delay? rproxy.conf.FaultDelay Wait before the request goes on.
---@field reset? rproxy.conf.FaultReset End the connection (in HTTP/2 the stream) without an answer.
---@field throttle? rproxy.conf.FaultThrottle Send response bodies slowly. They go without a Content-Length.
---@field token? rproxy.conf.FaultToken Only for requests that bring a secret. It does not go upstream.
---@field when? rproxy.conf.FaultWhen Which requests; all of it must hold. Nothing: all.

---@class rproxy.conf.HeadersRequest
---@field add? table<string, string> Adds one more line of the header.
---@field remove? string[] Removes every line of the header.
---@field set? table<string, string> Replaces the header, or adds it.

---@class rproxy.conf.HeadersResponse
---@field add? table<string, string> Adds one more line of the header.
---@field remove? string[] Removes every line of the header.
---@field set? table<string, string> Replaces the header, or adds it.

---@class rproxy.conf.Headers: rproxy.conf.Plugin
---@field request? rproxy.conf.HeadersRequest
---@field response? rproxy.conf.HeadersResponse

---@class rproxy.conf.IpRestriction: rproxy.conf.Plugin
---@field allow? string[] Networks and addresses that may come in. When this or `allow_set` is given, nobody else may.
---@field allow_set? string The same, a set of `shared` of type cidr.
---@field by? ("client"|"peer") client: the address behind `trust`. peer: the other end of the connection.
---@field deny? string[] Networks and addresses that may not, also when they are in `allow`.
---@field deny_set? string The same, a set of `shared` of type cidr.
---@field status? integer What a refusal answers.

---@class rproxy.conf.Ja4Deny: rproxy.conf.Plugin
---@field action? ("refuse"|"mark") mark: let them pass; requests find `req.conn.ctx.ja4_denied`, and the log a line.
---@field allow? string[] Fingerprints that are never refused, written in the same way.
---@field deny? string[] Fingerprints that are refused; a `*` at the end stands for any rest.
---@field header? string Header that tells the fingerprint to upstreams; what the client put there is dropped. With it the plugin is listed in the site's use.

---@class rproxy.conf.JwtAuth: rproxy.conf.Plugin
---@field algorithms? ("ES256"|"ES384"|"ES512"|"EdDSA"|"HS256"|"HS384"|"HS512"|"PS256"|"PS384"|"PS512"|"RS256"|"RS384"|"RS512")[] Algorithms that are accepted; each works with keys of its own kind only.
---@field any_audience? boolean Do not look at `aud`.
---@field audience? string[] The token's `aud` must have one of these. A token that has an `aud` is refused while this is empty, unless `any_audience`.
---@field consumer? string Claim that becomes `req.consumer`.
---@field forward? boolean Send the token upstream, too.
---@field headers? table<string, string> Headers that go upstream, by the claim they hold. What the client sent in them is removed.
---@field issuer? string The token's `iss` must be this.
---@field jwks? string Where the issuer publishes its public keys (JWKS, RFC 7517).
---@field jwks_ca? string PEM file of the authorities to trust there, instead of the system's.
---@field jwks_file? string File with the public keys, a JWKS (RFC 7517).
---@field key_file? string File with one public key or certificate, PEM.
---@field leeway? number|string How far clocks may differ.
---@field realm? string Realm that a refusal names.
---@field refresh? number|string How often they are fetched.
---@field require? string[] Claims that a token must have.
---@field scope? string[] Each must be in the token's `scope`; else 403.
---@field secret_file? string File with a secret for HS256 and its like; a line end after it does not count.

---@class rproxy.conf.Metrics: rproxy.conf.Plugin

---@class rproxy.conf.MirrorDiff
---@field body? boolean Compare bodies; JSON by its values.
---@field body_max? number|string Larger bodies are not compared; compressed ones: as they are unpacked.
---@field headers? string[] Response headers that are compared.
---@field ignore? string[] Places in JSON that may differ: "meta.time", "items.*.id", "**.etag".
---@field log? number Share of the differences that are written to the error log.
---@field log_rate? number At most so many lines a second and worker.

---@class rproxy.conf.Mirror: rproxy.conf.Plugin
---@field body_max? number|string Requests with a larger body are not mirrored. 0: none with a body.
---@field diff? rproxy.conf.MirrorDiff Compare the mirror's answers with those of clients.
---@field host? string Host of the copies; unsaid, the request's.
---@field marker? string Every copy has it; a request that has it already is not mirrored.
---@field methods? string[] Methods that are mirrored. Others may do twice what they do.
---@field most? integer Copies under way at once in a worker; what comes meanwhile is dropped.
---@field remove? string[] Headers that copies do not have, such as "authorization" and "cookie".
---@field sample? number Share of the requests.
---@field timeout? number|string For the whole answer of the mirror.
---@field tls? any `rp.tls { .. }` for https; unsaid, the system's authorities.
---@field to? string[] Where copies go, in turn: http or https URLs; path and query are those of the request.
---@field upstream? string ... or the upstream of the site that they go to, by its balancing, health and TLS.

---@class rproxy.conf.Ratelimit: rproxy.conf.Plugin
---@field algorithm? ("bucket"|"window") bucket: a token bucket of `burst`. window: at most `rate` in any `per`.
---@field burst? number Requests that may come at once (bucket). Unsaid: `rate`, at least 1.
---@field cost? number What one request counts.
---@field fields? ("draft"|"x"|"none") Fields that tell the client: RateLimit and RateLimit-Policy, X-RateLimit-*, or none.
---@field key? any Who is counted: "ip", "consumer" (or the ip, without one), "route", "all", "header:NAME" (or the ip, without the header), or a function(req) that returns a string, or nil for no limit.
---@field name? string Name of the policy. Uses with the same name in one zone count together.
---@field on_busy? ("open"|"closed") What happens when the zone cannot answer: let pass, or 503.
---@field per? number|string Time that `rate` is about.
---@field rate number Requests in each time of `per`.
---@field zone string Zone of `shared` (rp.shm.buckets) that counts.

---@class rproxy.conf.RequestId: rproxy.conf.Plugin
---@field header? string Header that carries the id.
---@field respond? boolean Send the id to the client, too.
---@field trust_client? boolean Take over the id that the client sent, when it is 1 to 128 printable ASCII characters without spaces and quotes. Only for clients that are yours.

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

---@param given rproxy.Stream
---@return table
function rp.stream(given) end

---@param given rproxy.Split
---@return table
function rp.split(given) end

rp.date, rp.jit, rp.json, rp.jwt, rp.log, rp.metric, rp.shm, rp.uri, rp.uuid = {}, {}, {}, {}, {}, {}, {}, {}, {}

---@class rproxy.RegexCall
---@overload fun(source: any, flags: any): rproxy.Regex
rp.regex = {}

---@class rproxy.TlsCall
---@overload fun(opts: any): table
rp.tls = {}

rp.tcp, rp.unix, rp.udp, rp.dns, rp.http, rp.fs = {}, {}, {}, {}, {}, {}

rp.crypto, rp.form, rp.jwe = {}, {}, {}

--- Wait.
--- phases: all   yields: yes
---@param seconds number
function rp.sleep(seconds) end

--- Run a function beside the caller; it ends with the caller's request (or background task) at the
--- latest, and with the caller when that is cancelled or fails.
--- phases: all   yields: no
---@param fn function
---@return rproxy.Task task # task:wait() -> true, results.. | nil, error; task:cancel()
function rp.spawn(fn, ...) end

--- Run functions beside each other and wait for all of them. The first that fails (raises, or
--- returns nil and a reason) ends it: the others are cancelled.
--- phases: all   yields: yes
---@param list function[]
---@return table|nil results # first result of each, in list order
---@return any err
---@return any detail # of the one that failed
function rp.all(list) end

--- Run functions beside each other; the first that succeeds wins, the others are cancelled. One
--- that raises, or returns nil and a reason, has not.
--- phases: all   yields: yes
---@param list function[]
---@return any ... # results of the winner; nil and the first failure when all failed
function rp.any(list) end

--- Run a function, for so long at most: then it is cancelled.
--- phases: all   yields: yes
---@param seconds number
---@param fn function
---@return any ... # what it returned; nil, "timeout"; nil and what it raised
function rp.deadline(seconds, fn, ...) end

--- Run a function in the background: it outlives the request that starts it.
--- phases: all, start   yields: no
---@param fn function
---@return rproxy.Task|nil task
---@return string|nil err # "busy": there are too many
function rp.detach(fn, ...) end

--- Run a function once, later.
--- phases: all, start   yields: no
---@return rproxy.Task|nil timer
---@return string|nil err # timer:cancel()
function rp.after(seconds, fn, ...) end

--- Run a function unless it was run lately under that key, in this worker; who comes while it runs
--- waits for that run. It runs in the background, so nobody's end cancels it.
--- phases: all   yields: yes
---@param key string
---@param seconds number from one beginning to the next
---@param fn function
---@return any ... # its results; nil, "early": it ran lately; nil and what it raised
function rp.once(key, seconds, fn) end

---@class rproxy.Task
local task = {}

--- Wait until it has ended.
--- yields: yes
---@param seconds number|nil at most so long
---@return boolean|nil ok
---@return any ...
function task:wait(seconds) end

--- End it where it waits, with all that it spawned.
function task:cancel() end

--- Connect.
--- phases: all   yields: yes
---@param opts table host and port, or address ("host:port", "unix:/path"), or unix (a path);
--- timeout: seconds for each operation (60);
--- tls: true, or options of rp.tls; pool: a name, or false for a connection of one's own
---@return rproxy.Socket|nil socket
---@return string|nil err
---@return string|nil detail
function rp.tcp.connect(opts) end

--- Connect to a unix socket.
--- phases: all   yields: yes
---@param opts table|string the path, or path (or unix) and what rp.tcp.connect takes
function rp.unix.connect(opts) end

--- A socket for datagrams to and from one place.
--- phases: all   yields: yes
---@param opts table host, port; timeout: seconds for each operation (60)
---@return rproxy.Udp|nil udp
---@return string|nil err
---@return string|nil detail
function rp.udp.connect(opts) end

--- Addresses of a name, or services (SRV), from the cache that upstreams use.
--- phases: all   yields: yes
---@param name string
---@param kind string|nil "A" or "AAAA"; nil: both; "SRV": { name, port, priority, weight } in the
--- order in which they are to be tried
---@param opts table|nil timeout: seconds (60)
---@return any[]|nil addresses
---@return string|nil err
---@return string|nil detail
function rp.dns.resolve(name, kind, opts) end

---@class rproxy.Socket
---@field reused number how many had it before
local socket = {}

--- Read n bytes, a line (without its end) or whatever is there.
--- yields: yes
---@param what number|string n, "line" or "any"
---@param max number|nil of a line (64 KB) or of what is there (64 KB)
---@return string|nil bytes
---@return string|nil err
---@return string|nil detail # "closed" at the end of the stream
function socket:read(what, max) end

--- Read up to a mark, which is taken off.
--- yields: yes
---@param mark string the bytes themselves, at most 256
---@param max number|nil most bytes before it (64 KB); over: "too_big"
---@return string|nil bytes
---@return string|nil err
---@return string|nil detail
function socket:read_until(mark, max) end

--- Write a string, or the strings of a list one after the other.
--- yields: yes
---@return boolean|nil ok
---@return string|nil err
---@return string|nil detail
function socket:write(data) end

--- Change the time that each operation may take.
function socket:set_timeout(seconds) end

--- Lay it by for whoever connects to the same place next. It is not to be used after that.
---@param opts table|nil idle: seconds it is kept (60); max: most that are kept of one place (32)
---@return boolean kept # false: it was closed, as something in it was unread or unwritten
function socket:release(opts) end

function socket:close() end

---@class rproxy.Udp
local udp = {}

--- Send one datagram. It may be lost, which nobody is told.
---@return boolean|nil ok
---@return string|nil err
---@return string|nil detail # "refused": nobody takes them there
function udp:send(data) end

--- Receive one datagram.
--- yields: yes
---@param seconds number|nil at most so long, instead of the timeout
---@return string|nil data
---@return string|nil err
---@return string|nil detail
function udp:receive(seconds) end

function udp:set_timeout(seconds) end

function udp:close() end

--- A client: settings, no connection.
---@param opts table|nil base (URL), timeout (30 s for a whole response), keepalive (most idle
--- connections of one place, or { max =, idle = seconds }, or false), tls (as rp.tls takes it),
--- max_body (8 MB), headers, http ("1.1", "2", "auto"), unix (path of a socket); or upstream: the
--- name of one of the site, whose peers, balancing, TLS, connections and times are used: then
--- requests have a path in the place of a URL
---@return rproxy.HttpClient client
function rp.http.client(opts) end

---@class rproxy.HttpClient
local httpclient = {}

--- Make a request.
--- phases: all   yields: yes
---@param opts table method ("GET"), url, headers, body, query, timeout, max_body, stream. body: a
--- string, a list of strings, or a function that gives it piece by piece (nil: that was all; nil
--- and why: it gives up, err is "body"); it may wait. length: bytes of such a body, when known
---@return rproxy.HttpResponse|nil response
---@return string|nil err
---@return string|nil detail
function httpclient:request(opts) end

---@return rproxy.HttpResponse|nil response
---@return string|nil err
---@return string|nil detail
function httpclient:get(url, opts) end

---@return rproxy.HttpResponse|nil response
---@return string|nil err
---@return string|nil detail
function httpclient:post(url, body, opts) end

---@class rproxy.HttpResponse
---@field status number
---@field version string
---@field body? string
---@field headers rproxy.HttpHeaders
---@field trailers? rproxy.HttpHeaders
local httpresponse = {}

--- The next piece of the body, of any size.
--- yields: yes
---@return string|nil piece
---@return string|nil err
---@return string|nil detail # nil alone: that was all
function httpresponse:read() end

--- for piece in res:chunks() do .. end; raises what res:read would return as err.
--- yields: yes
function httpresponse:chunks() end

--- Let go of it; what was not read is lost, and the connection with it.
function httpresponse:close() end

---@class rproxy.HttpHeaders
---@field [string] string first value
local httpheaders = {}

--- First value of a field, by name in any case.
function httpheaders:get(name) end

--- All values of a field, in order.
function httpheaders:get_all(name) end

--- for _, name, value in headers:each() do: every line, names in lower case.
function httpheaders:each() end

--- Run a function again and again; the next round starts when this one has ended and the time has
--- passed, so rounds never overlap.
--- phases: all, start   yields: no
---@param seconds number
---@param fn function with scope = "one": (token), a number greater than that of each worker that
--- ran it before
---@param opts table|nil jitter: share of the time that varies, 0..1; scope: "worker" (each), or
--- "one" of them, with name: the same in all, lease: seconds after which another takes over from
--- a worker that was killed (10), zone: the store for the lock, where there is more than one
---@return rproxy.Task|nil timer
---@return string|nil err # timer:cancel()
function rp.every(seconds, fn, opts) end

--- A client. Nothing is connected before the first command.
---@param given table host and port, unix, sentinels and master, or cluster; tls, username,
--- password, db, timeout, pool, waiting, max_reply, protocol
---@return rproxy.RedisClient redis
function rp.redis(given) end

---@class rproxy.RedisClient
---@field [string] fun(self: rproxy.RedisClient, ...): any, string?, string? any command
local redisclient = {}

--- Send a command. client:get("k") is client:call("get", "k").
--- phases: all   yields: yes
---@return any|nil value
---@return string|nil code
---@return string|nil detail
function redisclient:call(...) end

--- Send the commands that fn(p) makes (p:get("k"), ..) at once.
--- phases: all   yields: yes
---@return table|nil results # one for each: a value, rp.null, or { err =, detail = }
---@return string|nil code
---@return string|nil detail
function redisclient:pipeline(fn) end

--- The same between MULTI and EXEC: all or none of them, and nothing in between.
--- phases: all   yields: yes
---@return table|nil results
---@return string|nil code
---@return string|nil detail
function redisclient:transaction(fn) end

--- A script of the server, sent once.
---@param source string
---@return rproxy.RedisScript script # script:run(keys, args)
function redisclient:script(source) end

--- Have a connection of one's own for fn(session): WATCH, SELECT, commands that wait.
--- phases: all   yields: yes
---@param key string|nil of a cluster: the node that has it
---@return any ... # what fn returns; nil, code, detail when there is no connection
function redisclient:session(fn, key) end

--- Listen to channels: for channel, text in client:subscribe("a", "b") do .. end
--- phases: all   yields: yes
---@return rproxy.RedisSubscription|nil subscription
---@return string|nil code
---@return string|nil detail
function redisclient:subscribe(...) end

--- The same by patterns; the pattern is the third value.
---@return rproxy.RedisSubscription|nil subscription
---@return string|nil code
---@return string|nil detail
function redisclient:psubscribe(...) end

--- Sharded channels of a cluster: those of one slot.
---@return rproxy.RedisSubscription|nil subscription
---@return string|nil code
---@return string|nil detail
function redisclient:ssubscribe(...) end

--- { connections =, waiting = commands, connects = so far }, of this worker.
function redisclient:stats() end

--- Close its connections once nothing waits on them. They come back when it is used.
function redisclient:close() end

---@class rproxy.RedisSubscription
local redissubscription = {}

--- The next message.
--- yields: yes
---@param seconds number|nil to wait; nil: as long as it takes
---@return string|nil channel
---@return string text
---@return string|nil pattern # nil, code, detail: "timeout" leaves
--- the subscription as it is, all else is its end: messages may have been missed
function redissubscription:next(seconds) end

function redissubscription:close() end

---@class rproxy.RedisScript
local redisscript = {}

--- Run it: by its digest, and by its text where the server does not know it yet.
--- yields: yes
---@param keys table|nil list
---@param args table|nil list
function redisscript:run(keys, args) end

--- A queue. Make it at load or in a start hook, not for a request.
---@param given table send: function(batch) -> true, or nil and why; max: items that may wait
--- (10000); batch: items of one send (100); every: seconds a batch may wait to be full (1);
--- retry: tries (5), first (0.5) and most (30) seconds between them; drop: "oldest" or "newest"
--- when it is full; spill: a path, or { path =, max = bytes (64 MB) }: items go there instead of
--- being dropped; flush: seconds for the end (5); name: for the log
---@return rproxy.Queue queue
function rp.queue(given) end

---@class rproxy.Queue
local queue = {}

--- Put an item in. It is sent as it is then: do not change a table that was pushed.
--- phases: all   yields: no
---@return boolean|nil ok
---@return string|nil code
---@return string|nil detail # "full": drop is "newest"
function queue:push(item) end

--- Wait until all that waits is sent, or was given up.
--- phases: all   yields: yes
---@param seconds number|nil at most so long (5)
---@return boolean all # false: something is left
function queue:flush(seconds) end

--- Counts since it was made: pushed, sent, batches, failures (of send), dropped, spilled; waiting
--- now; last_error.
function queue:stats() end

--- A metric that only grows. One that is defined twice in the same way is one.
--- phases: load, start   yields: no
---@param opts table name (or [1]), help, labels: a list of at most 4 names, most: label sets it
--- may have (1000)
---@return rproxy.Counter counter # counter:inc(labels..), counter:add(n, labels..), counter:with(labels..)
function rp.metric.counter(opts) end

--- A metric that goes up and down. What workers have is added up, or with over = "max" the greatest
--- is taken; what a dead worker had is forgotten.
--- phases: load, start   yields: no
---@param opts table as of a counter, and over: "sum" or "max"
---@return table gauge # gauge:set(v, labels..), :inc(..), :dec(..), :add(v, ..), :with(..)
function rp.metric.gauge(opts) end

--- Counts values by size.
--- phases: load, start   yields: no
---@param opts table as of a counter, and buckets: at most 32 rising bounds (seconds from 0.005
--- to 10)
---@return table histogram # histogram:observe(v, labels..), histogram:with(labels..)
function rp.metric.histogram(opts) end

--- All metrics of all workers as Prometheus reads them (text format 0.0.4), the proxy's own and the
--- accounts of plugins included.
--- phases: all but load   yields: no
---@return string|nil text
---@return string|nil err
function rp.metric.text() end

---@class rproxy.Counter
local counter = {}

--- One more.
--- phases: all   yields: no
function counter:inc(a, b, c, d) end

--- So many more.
--- phases: all   yields: no
---@param value number from 0
function counter:add(value, a, b, c, d) end

---@class rproxy.Gauge
local gauge = {}

--- One more.
--- phases: all   yields: no
function gauge:inc(a, b, c, d) end

--- One less.
--- phases: all   yields: no
function gauge:dec(a, b, c, d) end

--- So many more, or less.
--- phases: all   yields: no
---@param value number
function gauge:add(value, a, b, c, d) end

--- What this worker has of it from now on.
--- phases: all   yields: no
---@param value number
function gauge:set(value, a, b, c, d) end

---@class rproxy.Histogram
local histogram = {}

--- Count a value.
--- phases: all   yields: no
---@param value number
function histogram:observe(value, a, b, c, d) end

--- Take a lock that all workers know.
--- phases: all   yields: yes
---@param name string
---@param opts table|nil lease: seconds after which it is free, whatever became of the holder
--- (30); wait: seconds to wait for it (0); zone: the store it lives in, where there is more than
--- one
---@param fn function|nil run it with the lock held, and let go of it then
---@return rproxy.Lock|any lock # lock.token: a number greater than that of each holder before;
--- or what fn returns
---@return string|nil code
---@return string|nil detail # "taken", "timeout" (of wait), "full", "busy"
function rp.lock(name, opts, fn) end

--- Seats of this worker.
---@param n number
---@param opts table|nil waiting: tasks that may wait for one (1000)
---@return rproxy.Semaphore semaphore
function rp.semaphore(n, opts) end

---@class rproxy.Lock
---@field token number greater than that of each holder before
local lock = {}

--- Hold it for another lease from now on.
---@param seconds number|nil the lease it was taken with
---@return boolean held # false: the lease was over, and another one may hold it
function lock:renew(seconds) end

---@return boolean held # false: the lease was over already
function lock:release() end

---@class rproxy.Semaphore
local semaphore = {}

--- Take a seat, in the order of asking.
--- phases: all   yields: yes
---@param seconds number|nil to wait for it; nil: as long as the request lives
---@return rproxy.Seat|nil seat
---@return string|nil code
---@return string|nil detail # "timeout"; "busy": too many wait
function semaphore:acquire(seconds) end

--- Run a function with a seat.
--- phases: all   yields: yes
---@return any ... # what it returns; nil, code, detail when there is no seat
function semaphore:with(fn, seconds) end

--- { taken =, waiting = }
function semaphore:stats() end

---@class rproxy.Seat
local seat = {}

--- Give it back; the next one in the queue has it.
---@return boolean # false: it was given back before
function seat:release() end

--- Read a file.
--- phases: all   yields: yes
---@param path string
---@param opts table|nil max: most bytes (1 MB); over: "too_big"
---@return string|nil text
---@return string|nil code
---@return string|nil detail
function rp.fs.read(path, opts) end

--- Write a file, made when there is none.
--- phases: all   yields: yes
---@param text string
---@param opts table|nil atomic: by a new file that takes the name when it is whole and on the
--- disk; mode: of a new file (420, which is rw-r--r--)
---@return boolean|nil ok
---@return string|nil code
---@return string|nil detail
function rp.fs.write(path, text, opts) end

--- Write at the end of a file, made when there is none.
--- phases: all   yields: yes
function rp.fs.append(path, text, opts) end

--- What a path names, links followed.
--- phases: all   yields: yes
---@return table|nil info # type ("file", "folder", "other"), size, modified (seconds since 1970),
--- mode
function rp.fs.stat(path) end

--- The entries of a folder, by name.
--- phases: all   yields: yes
---@param opts table|nil max: most entries (10000); over: "too_big"
---@return table|nil entries # { name =, type = "file", "folder", "link", "other" }, ..
function rp.fs.list(path, opts) end

--- Remove a file or an empty folder.
--- phases: all   yields: yes
function rp.fs.remove(path) end

--- Give it another name; what had that name is gone.
--- phases: all   yields: yes
function rp.fs.rename(path, to) end

--- Make a folder.
--- phases: all   yields: yes
---@param opts table|nil parents: make those above it, too, and one that is there is no failure;
--- mode (493, which is rwxr-xr-x)
function rp.fs.mkdir(path, opts) end

--- Call a function whenever what a path names is another one: after it is written, replaced,
--- removed, made. It is looked at every so often, which also sees what happens on network file
--- systems and behind links; what changes and changes back between two looks is not seen.
--- phases: all, start   yields: yes
---@param fn function (info | nil when there is none)
---@param opts table|nil every: seconds between two looks (1)
---@return rproxy.Task|nil timer
---@return string|nil code # timer:cancel()
function rp.fs.watch(path, fn, opts) end

--- Run a program and wait for its end.
--- phases: all   yields: yes
---@param given table argv: the program (looked up in PATH when there is no "/" in it) and its
--- words; stdin: text; timeout: seconds (30); max_output: bytes of each output (1 MB); env:
--- variables by name, beside PATH; cwd
---@return table|nil result # status, or signal when it was killed by one; out, err
---@return string|nil code
---@return string|nil detail # "timeout", "too_big", "not_found", "denied",
--- "busy", "invalid", "os"
function rp.exec(given) end

---@class rproxy.Store
local store = {}

--- Read a value.
--- phases: all   yields: no
---@param key string 1 to 1024 bytes
---@return string|number|boolean|nil value
---@return string|nil err # "busy", "invalid" (the key)
function store:get(key) end

--- Keep a value.
--- phases: all   yields: no
---@param key string
---@param value string|number|boolean
---@param ttl number|nil seconds; nil: until it is removed
---@return true|nil ok
---@return string|nil err # "full" (a store), "too big", "busy", "invalid"
function store:set(key, value, ttl) end

--- The same, only when there is no value. err "exists".
function store:add(key, value, ttl) end

--- The same, only when there is one. err "not found".
function store:replace(key, value, ttl) end

--- Read a value and how long it will be there.
---@return string|number|boolean|nil value
---@return number|string|nil seconds # math.huge: without an end
function store:entry(key) end

--- Put `new` where `old` is, in one step; nil is "nothing" on both sides.
--- phases: all   yields: no
---@param key string
---@param old string|number|boolean|nil what must be there
---@param new string|number|boolean|nil
---@param ttl number|nil seconds; nil: until it is removed
---@return boolean|nil swapped # false: something else is there; nil: err says why
---@return string|nil err # "full", "too big", "busy", "invalid"
function store:cas(key, old, new, ttl) end

---@return boolean was_there
function store:delete(key) end

--- Add to a number, in one step.
--- phases: all   yields: no
---@param key string
---@param by number|nil 1
---@param init number|nil what an absent one is first; nil: "not found"
---@param ttl number|nil seconds, of one that this call makes
---@return number|nil sum
---@return string|nil err # "not found", "not a number", "full", "busy", "invalid"
function store:incr(key, by, init, ttl) end

--- Give it another time to live; nil: for ever. False: there is no such key.
function store:expire(key, ttl) end

--- Seconds that a key has left; math.huge without an end; nil when there is none.
function store:ttl(key) end

--- What `rproxy status` shows: entries, bytes_used, bytes, hits, misses, evictions, expired,
--- refused, repairs.
function store:info() end

--- Entries; those past their time count until they are removed.
function store:count() end

--- Keys in no order, at most `max` (1000). For looking at things, not for requests.
function store:keys(max) end

--- Forget everything.
function store:flush() end

---@class rproxy.Cache
local cache = {}

--- The value, loaded by fn(key) when there is none: by one caller at a time, of all workers; the
--- others wait for it, or get the stale value while there is one.
--- phases: all   yields: yes
---@param key string
---@param opts table|number ttl, or { ttl =, stale = seconds that it may be served after that,
--- negative_ttl = seconds for which nil is remembered, timeout = seconds for one load (5) }
---@param fn function (key) -> value | nil when there is none | nil, err
---@return string|number|boolean|nil value
---@return string|nil err # of the loader; "stale" with a value that is past its ttl
function cache:fetch(key, opts, fn) end

---@class rproxy.Buckets
local buckets = {}

--- Take tokens out of a bucket, all or nothing, in one step for all workers.
--- phases: all   yields: no
---@param key string
---@param rate number tokens that come back in a second
---@param burst number tokens of a full bucket
---@param cost number|nil tokens (1)
---@return number|nil left # tokens left; nil: it was not allowed
---@return number|nil wait # seconds until it would be; nil: the zone cannot tell
---@return string|nil err # why it cannot ("busy", "invalid")
function buckets:take(key, rate, burst, cost) end

--- The same, with all that there is to say of the bucket.
--- phases: all   yields: no
---@param key string
---@param cost number tokens; 0 only looks
---@param rate number tokens that come back in a second
---@param burst number tokens of a full bucket
---@return boolean|nil allowed # nil: the second result says why ("busy", "invalid")
---@return number remaining # tokens left
---@return nil nil
---@return number reset # seconds until the bucket is full
function buckets:spend(key, cost, rate, burst) end

--- Stand in a queue that `rate` leave each second and that holds `burst` beside the one whose turn
--- it is. When it is allowed the third result is how long to wait for one's turn (rp.sleep does).
---@return boolean|nil allowed
---@return number remaining
---@return number wait
---@return number reset
function buckets:leak(key, cost, rate, burst) end

--- Count in a sliding window; results as those of take.
---@param limit number at most so much ..
---@param seconds number .. in any time of this length
function buckets:window(key, cost, limit, seconds) end

--- Take one of `limit` seats. Not given back, it is free again after `lease` seconds (up to a third
--- more); the lease of a key is the same in every call.
---@return number|false|nil ticket # for release; false: all are taken; nil, err
function buckets:acquire(key, limit, lease) end

---@return boolean # false: its lease was over
function buckets:release(key, ticket) end

--- One of `limit` places, for as long as the request (or background task) lives: it is given back
--- when that ends, however it ends, and when the worker dies.
---@return number|false|nil handle # for unhold; false: all are taken; nil, err
---@return number|string remaining # places that are left
function buckets:hold(key, limit) end

--- Give a place back before the end.
---@return boolean # false: it was given back already
function buckets:unhold(handle) end

---@class rproxy.Counters
local counters = {}

--- A number that only grows, over the lives of all workers. Made when it is new.
---@param name string 1 to 200 bytes
---@return rproxy.Counter|nil counter
---@return string|nil err # "full", "of another kind", "invalid", "busy"
function counters:counter(name) end

--- A number that goes up and down: the sum of what each worker has; a worker's part ends with it.
function counters:gauge(name) end

--- Add to a counter.
---@param n number|nil 1
---@return true|nil ok
---@return string|nil err
function counters:add(name, n) end

--- The sum over all workers; nil when there is no such name.
function counters:get(name) end

--- All of them: name -> sum. For looking at things.
function counters:all() end

--- names, room
function counters:stats() end

---@class rproxy.Counter
local counter = {}

function counter:add(n) end

function counter:get() end

---@class rproxy.Gauge
local gauge = {}

function gauge:add(n) end

--- What this worker has.
function gauge:set(n) end

---@class rproxy.Top
local top = {}

--- It came n times more.
---@param key string 1 to 1024 bytes
---@param n number|nil 1
---@return true|nil ok
---@return string|nil err
function top:add(key, n) end

--- What came most often, in order. For looking at things.
---@param n number|nil 10; at most 1000
---@return table[] # { key =, count =, error = }: it came at most `count` times, and at least
--- `count - error`
function top:list(n) end

--- Forget everything.
function top:flush() end

--- keys, room, added, error_most, repairs
function top:stats() end

---@class rproxy.Distinct
local distinct = {}

--- An item came. Made when the name is new.
---@param name string 1 to 200 bytes
---@param item string
---@return true|nil ok
---@return string|nil err # "full", "invalid", "busy"
function distinct:add(name, item) end

--- About how many different items came to any of these names; standard error 1.6 %.
---@param ... string up to 64 names
---@return number
function distinct:count(...) end

--- Begin anew.
---@return boolean # false: there is no such name
function distinct:clear(name) end

--- All of them, in the order in which they came.
function distinct:names() end

---@class rproxy.Set
local set = {}

--- Is it in the set? Networks: by an address; domains: also a name below an entry.
--- phases: all   yields: no
---@param key string
---@return boolean|nil in_it # nil: the second result says why ("invalid": no address)
function set:has(key) end

--- The entry that it is in the set by (the longest prefix, the longest name, the first pattern),
--- and the text that the file has behind it.
---@return string|nil entry
---@return string|nil value # nil: not in it; nil and err
function set:find(key) end

--- entries, version (how often it was read), bytes, room, made (seconds since 1970)
function set:stats() end

--- An address from its text.
---@param text string "192.0.2.1", "2001:db8::1"
---@return rproxy.Ip|nil ip
---@return string|nil err # "invalid"
function rp.ip(text) end

--- A set of networks of this VM, made once: rp.cidr { "10.0.0.0/8", "2001:db8::/32" }.
---@param list string[]
---@return rproxy.Nets|nil set
---@return string|nil err # which one is no network
function rp.cidr(list) end

---@class rproxy.Ip
---@field version 4|6
local ip = {}

--- The first address of the network of so many bits that this one lies in.
---@param bits number 0 to 32, of IPv6 to 128
function ip:mask(bits) end

--- Is it in a network ("10.0.0.0/8"), or in a set of rp.cidr?
function ip:is_in(what) end

--- 10/8, 172.16/12, 192.168/16, fc00::/7.
function ip:is_private() end

function ip:is_loopback() end

function ip:is_link_local() end

function ip:is_multicast() end

--- Can it be reached from anywhere? None of the above, nor of what is reserved or the carriers'.
function ip:is_global() end

---@class rproxy.Nets
local nets = {}

--- Is the address in one of the networks?
---@param ip string|table a text or a value of rp.ip
---@return boolean|nil in_it # nil, "invalid": no address
function nets:has(ip) end

--- Pack piece by piece.
---@param opts table|nil level (6), format ("gzip", "deflate"), max (8 MB, of what comes out)
function rp.gzip_stream(opts) end

--- Unpack piece by piece; no memory is taken for more than `max`.
---@param opts table|nil format, max
function rp.gunzip_stream(opts) end

--- Pack a text.
---@return string|nil packed
---@return string|nil err # "too big"
function rp.gzip(text, opts) end

--- Unpack a text.
---@return string|nil text
---@return string|nil err # "invalid", "too big"
function rp.gunzip(text, opts) end

---@class rproxy.GzipStream
local gzipstream = {}

--- What the next piece makes.
---@param piece string at most 8 MB
---@param last boolean|nil nothing follows: a text that is cut off is then "invalid"
---@return string|nil out
---@return string|nil err # "invalid", "too big", "ended"; the stream is over then
function gzipstream:write(piece, last) end

--- Give its memory back now (up to 300 KB), not when the collector comes.
function gzipstream:close() end

--- Read piece by piece.
---@param content_type string the request's Content-Type
---@param opts table|nil parts (100): the most there may be
---@return rproxy.FormReader|nil reader
---@return string|nil err # "invalid": not multipart/form-data with a boundary
function rp.form.reader(content_type, opts) end

--- All parts of a body.
---@param body string
---@param content_type string
---@param opts table|nil parts (100)
---@return table[]|nil parts
---@return string|nil err # { name, filename, type, body }; "invalid",
--- "too many", "too big"
function rp.form.parts(body, content_type, opts) end

---@class rproxy.FormReader
local formreader = {}

--- The next bytes of the body.
---@param piece string
---@param on table part(part): a part begins ({ name, filename, type }); data(bytes, part);
--- done(part): it is whole
---@return true|nil ok
---@return string|nil err # "invalid", "too many" (parts), "too big" (a part's header)
function formreader:feed(piece, on) end

--- Nothing follows.
---@return true|nil ok
---@return string|nil err # "invalid": it was cut off
function formreader:finish() end

---@class rproxy.BodyReader
---@field bytes number of the pieces so far
local bodyreader = {}

--- The next piece of the body, as it comes.
--- phases: access rewrite content   yields: yes
---@param n number|nil most bytes of it (65536)
---@return string|nil piece
---@return string|nil err # nil alone: that was all; "too large": it has more than
--- the reader's max; "consumed"; or why it did not come
function bodyreader:read(n) end

--- for piece in reader:chunks() do .. end; raises what reader:read would return as err.
--- phases: access rewrite content   yields: yes
function bodyreader:chunks() end

--- Made once, at load: a ring of nodes. The order of the list does not matter.
---@param list table names, or { name, weight = 2 }
---@return rproxy.Ring ring
function rp.ring(list) end

--- A number from 1 to n for a key; when n grows by one, one key in n moves, to the new one. Needs
--- no memory; nodes can be added and removed at the end only.
function rp.jump_hash(key, n) end

---@class rproxy.Ring
local ring = {}

--- The node of a key.
---@param key string
---@return string node
function ring:get(key) end

--- The first n nodes for a key: where it goes when those before are not there.
---@return string[] nodes
function ring:list(key, n) end

--- HMAC (RFC 2104), as bytes.
---@param alg string "sha256" "sha384" "sha512" "sha1" "md5"
---@param key string
function rp.crypto.hmac(alg, key, ...) end

--- n unpredictable bytes.
function rp.crypto.random(n) end

--- Are two strings equal? How long it takes does not tell where they differ.
function rp.crypto.equal(a, b) end

--- Keys from a secret that is long, but not uniform (RFC 5869).
---@param opts table alg ("sha256"), secret, salt (""), info (""), bytes
---@return string key
function rp.crypto.hkdf(opts) end

--- A key from a password (RFC 7914). Memory is 128 * n * r bytes, at most 64 MB.
--- yields: yes
---@param opts table password, salt, bytes (32), n (32768), r (8), p (1)
---@return string|nil key
---@return string|nil err
function rp.crypto.scrypt(opts) end

--- A key from a password (RFC 8018).
--- yields: yes
---@param opts table password, salt, rounds, bytes (32), alg ("sha256")
---@return string|nil key
---@return string|nil err
function rp.crypto.pbkdf2(opts) end

--- Is it the password that this was made of? Slow on purpose, on a thread of the pool.
--- yields: yes
---@param hash string "$2y$.." (bcrypt), "$y$..", "$6$..", "$5$..", "$argon2id$..", "$apr1$..",
--- "{SHA}.."
---@param password string at most 512 bytes
---@return boolean|nil yes
---@return string|nil err # "busy", "invalid": not a hash that is known
function rp.crypto.check_password(hash, password) end

--- What to keep of a password.
--- yields: yes
---@param opts table|nil alg: "bcrypt" (the default), "yescrypt", "sha512", "sha256"; cost: as
--- crypt(5) has it (bcrypt: 4 to 31, twice the time for each)
---@return string|nil hash
---@return string|nil err # "busy", "invalid"
function rp.crypto.hash_password(password, opts) end

--- Encryption that also notices changes (AES-GCM, ChaCha20-Poly1305).
---@param alg string "aes-128-gcm" "aes-256-gcm" "chacha20-poly1305"
---@param key string of 16 or 32 bytes
function rp.crypto.aead(alg, key) end

--- A key that verifies. What it is decides which algorithms it may be used for.
---@param source table pem (public key, private key or certificate), jwk (table or text) or secret
---@return rproxy.Key|nil key
---@return string|nil err
function rp.crypto.verifier(source) end

--- A key that signs, and verifies.
---@param source table pem (private key without password), jwk with d, or secret
---@return rproxy.Key|nil key
---@return string|nil err
function rp.crypto.signer(source) end

---@class rproxy.Aead
local aead = {}

--- Encrypt: nonce, text and tag in one string. A nonce is random unless given (12 bytes), and must
--- never be used twice with one key.
---@param aad string|nil also authenticated, not contained
function aead:seal(data, aad, nonce) end

--- Decrypt what seal made; nil, "invalid" when key, aad or a single bit differ.
function aead:open(sealed, aad) end

---@class rproxy.Key
---@field kind string
---@field kid? string
---@field algs table<string, true>
local key = {}

--- The signature of a text, as bytes. RSA takes a millisecond of the worker's time.
---@param alg string "ES256", "EdDSA", "RS256", "HS256" ..; one that is not for this key raises
function key:sign(alg, data) end

--- Is it the text's signature? False also for an algorithm that is not for this key.
function key:verify(alg, data, signature) end

--- A certificate from PEM (the first one in it) or DER.
---@return rproxy.Certificate|nil cert
---@return string|nil err
function rp.crypto.x509(source) end

--- Authorities to verify with: PEM of their certificates.
---@return table|nil store
---@return string|nil err
function rp.crypto.x509_store(pem) end

---@class rproxy.Certificate
---@field subject string RFC 2253
---@field issuer string
---@field serial string hex
---@field fingerprint string SHA-256, hex
---@field sans string[]
---@field not_before number
---@field not_after number
---@field is_ca boolean
---@field version number
---@field pem string
---@field der string
local certificate = {}

--- Is it made out to this host ("a.example.com"), or this address? By its alternative names only.
function certificate:is_for(name) end

--- Its key, as rp.crypto.verifier makes them.
function certificate:public_key() end

--- Does it lead to one of these authorities?
---@param cas table from rp.crypto.x509_store
---@param opts table|nil chain (PEM of what is between), purpose ("server", "client"; any),
--- time (now), name (a host or an address that it must be made out to)
---@return boolean valid
---@return string|nil why
function certificate:verify(cas, opts) end

--- A key for encrypted tokens: of RSA, of a curve, or a secret of 16 or 32 bytes. Decrypting takes
--- a private one.
---@param source table jwk, pem or secret; kid
---@return rproxy.Key|nil key
---@return string|nil err
function rp.jwe.key(source) end

--- Open a token. The text may be a signed token, for rp.jwt.verify.
--- phases: all   yields: no
---@param token string
---@param opts table key (rp.jwe.key), alg (list), enc (list; all), max (64 KB)
---@return string|nil text
---@return table|string header_or_code
---@return string|nil detail # codes: "too_long",
--- "malformed", "algorithm", "critical", "decryption"
function rp.jwe.decrypt(token, opts) end

--- An encrypted token.
---@param data string
---@param opts table key (rp.jwe.key), alg, enc ("A256GCM"), kid, typ, cty ("JWT": a signed token)
---@return string token
function rp.jwe.encrypt(data, opts) end

---@class rproxy.ConnTls
---@field sni string? server name asked for; protocol
---@field alpn string? server name asked for; protocol
---@field version string `"TLSv1.3"`, `"TLS_AES_128_GCM_SHA256"`
---@field cipher string `"TLSv1.3"`, `"TLS_AES_128_GCM_SHA256"`
---@field resumed boolean by a session ticket
---@field early boolean this request is served before the handshake is over (early data): somebody may have copied it
---@field client_cert table? the client's certificate: `subject`, `issuer` (RFC 2253), `serial`, `fingerprint` (SHA-256; both hex), `sans` (list: `"DNS:a.example"`, `"IP:10.0.0.1"`, `"email:a@b"`, `"URI:x"`; at most 100), `expires` (seconds since 1970), `pem`, `verified`

---@class rproxy.Conn
---@field id number of the connection, within its worker
---@field requests number of this request on it, from 1
---@field ctx table? what hooks of the handshake left in theirs, for all requests of the connection; empty after a reload in between. nil where no such hook is
---@field ja4 string? fingerprint of the client's program, from its TLS handshake; nil where no such hook is
---@field sni string? as `conn.tls.sni`
---@field tls rproxy.ConnTls? what TLS agreed on; nil without TLS. A new table each time: keep it in a local. In `log` hooks it has `sni`, `version` and `cipher` only
local conn = {}

---@class rproxy.Es
---@field open boolean is anybody there to write to?
---@field bytes number? bytes of the body sent so far
---@field leaving boolean a reload or the end of the worker waits for it
---@field last_event_id string? where the client stopped before
local es = {}

---@class rproxy.Lru
local lru = {}

---@class rproxy.Out
---@field open boolean is anybody there to write to?
---@field bytes number? bytes of the body sent so far
---@field leaving boolean a reload or the end of the worker waits for it
local out = {}

---@class rproxy.Regex
local regex = {}

---@class rproxy.RegexSet
local regexset = {}

---@class rproxy.Request
---@field up rproxy.Up
---@field conn rproxy.Conn
---@field method string `"GET"`. Assignable in early and rewrite
---@field scheme string `"https"` when the client's connection speaks TLS here, else `"http"`
---@field host string without port, in lower case. Assignable in early and rewrite
---@field port number of the Host header; unsaid, 80 or 443
---@field path string in its normal form: `/a/../b` is `/b`. Assignable in early (routes) and rewrite (what goes upstream)
---@field raw_path string as the client sent it
---@field query string? without `?`; nil when there is no `?`. Assignable in early and rewrite, nil removes it
---@field version string `"1.0"`, `"1.1"` or `"2"`
---@field id string 32 hex digits, new for each request; in every log line
---@field start number wall clock seconds of its beginning
---@field deadline number? when what the hook waits for has to have come, as `rp.now()` tells time. Assignable: for all that hooks of this request wait for, and for its upstream; nil removes it
---@field duration number seconds so far; in log, in all
---@field remote_ip string the client, after `trust`
---@field peer_ip string the other end of the connection
---@field consumer string? who it is; assignable (a string or a number) in early, access and rewrite, nil removes it. Limiters and logs read it
---@field params table parameters of the route's pattern by name, decoded; empty before a route is chosen
---@field route table? `id` (also as `name`), `pattern`, `meta`; nil in early. `pattern` is `""` where no route took the request
---@field upstream rproxy.Handle|string? the chosen upstream; `req.upstream.name`. Assign a name or `rp.upstreams.NAME` in access or rewrite, on routes whose action is `upstream`
---@field priority number its place in the queue of a busy upstream: higher ones go first. -1000 to 1000, 0 unless assigned in early, access or rewrite
---@field ctx table yours, for this request: hand values to later hooks. The access log writes `ctx.NAME`
---@field trailers table? what the client sent behind the body, by name, once that was read; nil: nothing, or not yet
local req = {}

---@class rproxy.Result
---@field status number assignable in header_filter
---@field length number? bytes of the body as announced; nil when that is not known
---@field from string `"upstream"`, `"plugin"` (a hook), `"core"` (respond, redirect, error pages)
---@field upstream table? nil when none was asked, else `name`, `peer`, `attempts`, `reused` (a kept connection), and in seconds `connect`, `first_byte`, `time`, each nil when it did not happen
---@field bytes number body bytes sent so far; in log, in all
---@field duration number seconds, as `req.duration`
---@field trailers table? trailers by name, those known so far; nil: none
---@field timings table seconds: `queue`, `connect`, `send`, `wait`, `receive` and `total`, each nil when it did not happen: times
local res = {}

---@class rproxy.Up
---@field path string path that goes upstream, without query. Assignable in access, rewrite and balance
---@field host string? Host header that goes upstream; nil: as the upstream's `host` says. Assignable there, too
---@field attempt number of the attempt about to be made, from 1
---@field peer_name string? the peer of the last attempt, as configured
---@field last_error string? how the last attempt failed, a word as in `reason` of the access log; nil in the first
local up = {}

--- first value of a request header
---@return string?
function req:get(h) end

--- all its values, in order
---@return any[]
function req:get_all(h) end

--- all its values with `", "` between
---@return string?
function req:join(h) end

--- is its first value exactly that?
---@return boolean
function req:is(h, text) end

--- does the `rp.regex` match one of its values?
---@return boolean
function req:test(h, regex) end

--- captures of that match; the whole match when the pattern has no groups
---@return string?
function req:match(h, regex) end

--- `for name, value in req:headers() do`: every line, names in lower case
---@return fun(): ...
function req:headers() end

--- first query argument of that name, decoded
---@return string?
function req:arg(name) end

--- all of them
---@return any[]
function req:arg_all(name) end

--- `for name, value in req:args() do`
---@return fun(): ...
function req:args() end

--- a cookie
---@return string?
function req:cookie(name) end

--- the whole body. Waits. `opts.max`: most bytes (1 MB); `opts.as = "buffer"`: a `string.buffer` of your own. err: `"too large"`, `"consumed"` (by a reader), or why it did not come. early to balance, while nothing of it was sent on
---@return string?
---@return string?
function req:body(opts) end

--- the body as JSON. Waits. `opts`: `max`, and those of `rp.json.decode`. Does not look at Content-Type
---@return any
---@return string?
function req:json(opts) end

--- a form: name to first value, name to `{ name, filename, type, body }`. Waits. `opts`: `max`, `parts`, `on`. err: `"not a form"`, `"too many"`, `"invalid"` and those of body
---@return table?
---@return any
function req:form(opts) end

--- read the body piece by piece. `opts.max`. access, rewrite, content
---@return rproxy.BodyReader
function req:body_reader(opts) end

--- another body for the upstream: a text, or a function that makes it. Until the first attempt
function req:set_body(body) end

--- how long this request waits for its upstream, in seconds, whatever the route says: `connect`, `send`, `first_byte`, `idle`
function req:timeout(waits) end

--- add fields (strings, numbers, booleans by name) to the request's line in the access log: member `log` in JSON, `name="value"` behind combined ones. At most 32; of a value 1 KB
function req:log(fields) end

--- keep copies of the bodies for `log` hooks: `request`, what the upstream is sent, and `response`, what the client gets; each the most bytes to keep, at most 1 MB. Nothing waits for them. early, access, rewrite
function req:tap(most) end

--- the copy of `"request"` or `"response"`. err: `"too large"`, `"none"` (not asked for, no upstream was asked, or it broke off). log
---@return string?
---@return string?
function req:tapped(which) end

--- end the request without an answer: the connection is closed (HTTP/2: the stream is reset). Before the response
---@return nil
function req:drop() end

--- what has happened to the request so far, when it is traced: tables with `instance`, `hook`, `verdict` or `kind` .. as in the log of decisions
---@return any[]?
function req:trace() end

--- answer now: `return req:exit(...)`. A table as body is sent as JSON, nil is empty; headers by name or handle. early to header_filter
---@return true
---@nodiscard
function req:exit(status, body, headers) end

--- answer with Location; 301, 302 (unsaid), 303, 307 or 308
---@return true
---@nodiscard
function req:redirect(url, status) end

--- begin an answer that the hook writes piece by piece. `opts`: `length`, `idle`. early, access, rewrite, content
---@return rproxy.Out
function req:respond(status, headers, opts) end

--- begin a stream of server-sent events. `opts`: `retry`, `keepalive` (15), `idle`, `headers`, `status`
---@return rproxy.Es
function req:events(opts) end

--- send a 103 now. false: not to this client; err: `"too many"`. Before the response
---@return boolean?
---@return string?
function req:early_hints(headers) end

--- as exit, from deep inside a function: raises what the host understands
---@return nil
function req:abort(status, body, headers) end

--- first value of a header that goes upstream
---@return string?
function up:get(h) end

--- all its values
---@return any[]
function up:get_all(h) end

--- every line
---@return fun(): ...
function up:headers() end

--- replace; nil removes. early, access, rewrite, balance
function up:set(h, value) end

--- one more line
function up:add(h, value) end

--- remove all lines
function up:del(h) end

--- balance only: this attempt goes to that peer (as written in `peers`), or to an IP address and a port
function up:peer(name, port) end

--- speak TLS with the peer by these `rp.tls` settings, whatever the upstream says, over a connection of its own in HTTP/1.1 (a handshake for each request); nil: as the upstream says. access, rewrite, balance
function up:tls(settings) end

--- access, rewrite, balance: only peers of which this is said (subsets); nil: as the route says
function up:subset(map) end

--- balance only: never choose that peer for this request
function up:exclude(name) end

--- first value of a response header
---@return string?
function res:get(h) end

--- all its values
---@return any[]
function res:get_all(h) end

--- every line
---@return fun(): ...
function res:headers() end

--- replace; nil removes. header_filter only, like all that follow
function res:set(h, value) end

--- one more line
function res:add(h, value) end

--- remove all lines
function res:del(h) end

--- `{ name, value, path =, domain =, max_age =, expires =, secure =, http_only =, same_site = }`; path is `"/"` unless given
function res:set_cookie(cookie) end

--- send another response: `return res:replace(...)`
---@return true
---@nodiscard
function res:replace(status, body, headers) end

--- the whole body, before the head goes out. Waits. `opts.max`: most bytes (1 MB). err: `"too large"` (it goes on untouched), `"streamed"`, or why it did not come
---@return string?
---@return string?
function res:body(opts) end

--- the body as JSON. Waits. `opts`: `max`, and those of `rp.json.decode`
---@return any
---@return string?
function res:json(opts) end

--- another body; a table is sent as JSON. Content-Length and validators follow
function res:set_body(body) end

--- `body_filter` runs once, with the whole body, unless that is larger than `opts.max` (1 MB)
function res:buffer(opts) end

--- set a trailer; nil removes it. header_filter, body_filter, and while the answer is written
function res:trailer(name, value) end

--- waits for a slow client. A string or a list of strings. err: `"closed"`, `"busy"`
---@return true?
---@return string?
function out:write(data) end

--- waits until all is in the client's socket
---@return true?
---@return string?
function out:flush() end

--- waits until all is in the client's socket
---@return true?
---@return string?
function es:flush() end

--- the end; returning from the hook is one, too
---@return true
function out:close(trailers) end

--- the end; returning from the hook is one, too
---@return true
function es:close() end

--- waits. `{ event =, data =, id =, retry = }` or its data
---@return true?
---@return string?
function es:send(event) end

--- waits. What clients ignore
---@return true?
---@return string?
function es:comment(text) end

--- an interned header name: make it at load, use it in hooks
---@return rproxy.Handle
function rp.header(name) end

---@return boolean
function regex:test(text) end

--- the whole match when there are no groups
---@return string?
function regex:match(text, init) end

--- positions
---@return any
---@return any
function regex:find(text, init) end

--- captures of `(?<name>...)` by name; groups that took no part are not in it
---@return table?
function regex:named(text, init) end

--- captures of each match, as `match` gives them
---@return fun(): ...
function regex:gmatch(text) end

--- repl: a text taken as it is, a table by the first capture, a function of the captures
---@return string
---@return integer
function regex:gsub(text, repl) end

--- in the template `$0` is the match, `$1` and `${1}` a group, `${name}` a named one, `$$` a dollar
---@return string
---@return integer
function regex:replace(text, template) end

--- the pieces between matches, empty ones too; at most so many
---@return any[]
function regex:split(text, most) end

--- many patterns, asked by one call: their alternation in one pass where that means the same
---@return rproxy.Set
function rp.regex.set(list, flags) end

--- position of the first pattern of the list that occurs
---@return number?
function regexset:match(text) end

--- positions of all that occur
---@return any[]
function regexset:matches(text) end

--- `opts`: `sort = true` (names in order), `invalid = "replace"`, `depth` (128)
---@return string?
---@return string?
function rp.json.encode(value, opts) end

--- `opts`: `depth` (128), `max` bytes (16 MB), `big = "string"`, `duplicates = "last"`, `invalid = "replace"`
---@return any
---@return string?
function rp.json.decode(text, opts) end

--- marks a table as a list, also while it is empty; decoded lists are marked
---@return any[]
function rp.array(list) end

--- marks a table as a list, also while it is empty; decoded lists are marked
---@return any[]
function rp.json.array(list) end

---@return string
function rp.b64(s) end

---@return string
function rp.b64url(s) end

---@return string
function rp.hex(s) end

--- strict. err: `"invalid"`
---@return string?
---@return string?
function rp.unb64(s) end

--- strict. err: `"invalid"`
---@return string?
---@return string?
function rp.unb64url(s) end

--- strict. err: `"invalid"`
---@return string?
---@return string?
function rp.unhex(s) end

--- `escape_path` keeps `/`
---@return string
function rp.uri.escape(s) end

--- `escape_path` keeps `/`
---@return string
function rp.uri.escape_path(s) end

---@return string?
---@return string?
function rp.uri.unescape(s) end

---@return string
function rp.html_escape(s) end

--- names and values of a query or form, decoded, in order
---@return fun(): ...
function rp.form.each(text) end

--- name to first value. err: `"too many"` (more than 1000 unless given)
---@return table?
---@return string?
function rp.form.parse(text, most) end

--- in the order of names; a list as value repeats its name
---@return string
function rp.form.build(fields) end

--- `"Sun, 06 Nov 1994 08:49:37 GMT"`
---@return string
function rp.date.http(time) end

--- any of HTTP's three forms. err: `"invalid"`
---@return number?
---@return string?
function rp.date.parse_http(text) end

--- `"1994-11-06T08:49:37Z"`; digits of the fraction, 0 to 6
---@return string
function rp.date.rfc3339(time, digits) end

--- with any offset from UTC
---@return number?
---@return string?
function rp.date.parse_rfc3339(text) end

--- by a pattern of strftime(3), in UTC: `"%d/%b/%Y %H:%M:%S"`
---@return string
function rp.date.format(pattern, time) end

--- RFC 9562: random; sorted by the millisecond it was made in
---@return string
function rp.uuid.v4() end

--- RFC 9562: random; sorted by the millisecond it was made in
---@return string
function rp.uuid.v7() end

--- below 2^52, the same everywhere and always; not for secrets
---@return number
function rp.hash(s, ...) end

---@return boolean
function rp.contains(list, value) end

--- `"2xx"`
---@return string
function rp.status_class(status) end

function rp.crypto.sha256(...) end

function rp.crypto.sha384(...) end

function rp.crypto.sha512(...) end

function rp.crypto.sha1(...) end

function rp.crypto.md5(...) end

--- `jwks` (text or table), `pem`, `jwk` or `secret`; `keys.skipped`: why keys of a JWKS are not used
---@return any
---@return string?
function rp.jwt.keys(source) end

--- see tokens
---@return any
---@return any
function rp.jwt.verify(token, opts) end

--- `opts`: `key`, `alg`, `kid`, `typ`
---@return string?
---@return string?
function rp.jwt.sign(claims, opts) end

--- for `certificate` hooks: `{ pem = text }` or `{ cert = text, key = text }`, PEM with the chain; or a list of such tables, one for each kind of key
---@return rproxy.Certificate?
---@return string?
function rp.tls.certificate(given) end

--- what LuaJIT compiled in this worker, and where it gave up: `traces`, `aborts`, `flushes`, `since`, `places` (`at`, `from`, `reason`, `n`). err: `"off"`, see jit
---@return table?
---@return string?
function rp.jit.report() end

--- text of a file, while the site is loaded; relative to the folder of site.lua
---@return string?
---@return string?
function rp.file(path) end

function rp.lru(most) end

function lru:get(key) end

function lru:set(key, value) end

function lru:delete(key) end

function rp.log.debug(text, fields) end

function rp.log.is_on(level) end

function rp.now() end

function rp.time() end

function rp.clock() end

---@type any
rp.untrusted = nil

---@type any
rp.upstreams = nil

---@type any
rp.null = nil

---@type any
rp.json.null = nil

function rp.crypto.b64url(s) end

function rp.crypto.unb64url(s) end

function rp.shm.store(opts) end

function rp.shm.cache(opts) end

function rp.shm.buckets(opts) end

function rp.shm.counters(opts) end

function rp.shm.set(opts) end

function rp.shm.top(opts) end

function rp.shm.distinct(opts) end

---@type any
rp.shared = nil

function rp.log.info(text, fields) end

function rp.log.notice(text, fields) end

function rp.log.warn(text, fields) end

function rp.log.error(text, fields) end

---@class rproxy.Handle
---@field name string
---@field circuit fun(self: rproxy.Handle): string? "closed", "open", "half-open"; nil: none

--- What a plugin's setup returns, and what a `use` list takes.
---@class rproxy.Hooks
---@field init? fun(site: table): any?
---@field tls_hello? fun(conn: table): any?
---@field certificate? fun(conn: table): any?
---@field connect? fun(conn: table): any?
---@field early? fun(req: rproxy.Request): any?
---@field access? fun(req: rproxy.Request): any?
---@field rewrite? fun(req: rproxy.Request): any?
---@field content? fun(req: rproxy.Request): any?
---@field balance? fun(req: rproxy.Request, up: rproxy.Up): any?
---@field request_body? fun(req: rproxy.Request, chunk: string, last: boolean): any?
---@field header_filter? fun(req: rproxy.Request, res: rproxy.Result): any?
---@field body_filter? fun(req: rproxy.Request, res: rproxy.Result, chunk: string, last: boolean): any?
---@field log? fun(req: rproxy.Request, res: rproxy.Result): any?
---@field start? fun(): any?
---@field stop? fun(): any?

---@class rproxy.PluginSpec
---@field name string letters, digits and "-"
---@field version? string
---@field stage? "auth"|"limit"|"observe"|"route"|"transform"|"waf"
---@field on_error? "500"|"closed"|"open" what happens when a hook raises
---@field doc? string
---@field schema? table settings: see docs/guide/plugins.md

---@class rproxy.Plugin
---@field setup fun(conf: table): rproxy.Hooks
---@overload fun(conf: table): table

---@param spec rproxy.PluginSpec
---@return rproxy.Plugin
function rp.plugin(spec) end

return rp
