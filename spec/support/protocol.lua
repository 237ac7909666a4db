-- SPDX-License-Identifier: MIT
--
-- protocol: one switch, RP_PROTOCOL, for what the e2e specs speak with the proxies that they start.
--
--   h1 (default)   HTTP/1.1                        h2-tls   HTTP/2 chosen by ALPN
--   tls            HTTP/1.1 over TLS               h2-h2    HTTP/2 without TLS on both sides
--   h2             HTTP/2 without TLS
--
-- Specs are written once, in HTTP/1.1. proc.rproxy gives the site's plain listeners a certificate
-- where the protocol has TLS, and its upstreams `http = "2"` where it has HTTP/2 with them.
-- wire.connect to such a listener translates (h2_codec, tls_codec), as do origins and the upstreams
-- that specs play (wire.wrap). So hooks, bodies, limits and logs are tested over each by the same
-- words.
--
--   protocol.only("h1 client", "chunk sizes")       first words of a test that means one protocol
--   protocol.mark("h1 client", "HTTP/1.0")          the same in a helper that the test calls
--
-- The words: "h1 client" (not where clients speak HTTP/2), "h1 upstream" (not where upstreams do),
-- "no TLS" (not where clients speak TLS). Such tests are left out; the run tells how many and why.

local M = {}

local PROTOCOLS = {
    h1 = {},
    tls = { tls = true },
    h2 = { h2 = true },
    ["h2-tls"] = { tls = true, h2 = true },
    ["h2-h2"] = { h2 = true, h2_upstream = true },
}

M.name = os.getenv("RP_PROTOCOL") or "h1"
local now = PROTOCOLS[M.name] or error("RP_PROTOCOL: no protocol " .. M.name)

M.has_tls, M.has_h2, M.has_h2_upstream = now.tls or false, now.h2 or false,
    now.h2_upstream or false

--- What requests show: req.scheme, the protocol in logs, its number in Via and in req.version.
M.scheme = M.has_tls and "https" or "http"
M.version = M.has_h2 and "HTTP/2.0" or "HTTP/1.1"
M.via = M.has_h2 and "2.0" or "1.1"
M.upstream_via = M.has_h2_upstream and "2.0" or "1.1"

--- Spec files that run over h1 only: their subject is a protocol or they speak it themselves.
M.OF_ONE_PROTOCOL = {
    ["spec/e2e/async_hooks_spec.lua"] = "asks by curl, in HTTP/1.1 and HTTP/2",
    ["spec/e2e/async_tls_spec.lua"] = "hooks that speak TLS and HTTP/2 themselves",
    ["spec/e2e/cli_spec.lua"] = "the command line: no requests",
    ["spec/e2e/conformance_page_spec.lua"] = "compares a page with tables: no requests",
    ["spec/e2e/conformance_response_spec.lua"] = "what bytes of HTTP/1.1 from upstreams mean",
    ["spec/e2e/connect_spec.lua"] = "CONNECT in HTTP/1.1; over HTTP/2 in h2_upstream_ws_spec",
    ["spec/e2e/discover_live_spec.lua"] = "providers of members, which no client sees",
    ["spec/e2e/discover_spec.lua"] = "providers of members, which no client sees",
    ["spec/e2e/divergence_spec.lua"] = "what workers know of peers: no requests",
    ["spec/e2e/explain_spec.lua"] = "the command line: no requests",
    ["spec/e2e/members_spec.lua"] = "who is a peer, which no client sees",
    ["spec/e2e/names_spec.lua"] = "lookups of names, which no client sees",
    ["spec/e2e/resilience_spec.lua"] = "what is between a request and its upstream",
    ["spec/e2e/rollout_spec.lua"] = "how shares move: a request only counts",
    ["spec/e2e/subsets_spec.lua"] = "what is said of peers: no requests",
    ["spec/e2e/upgrade_spec.lua"] = "speaks HTTP/1.1, HTTP/2, TLS, WebSocket and UDP itself",
    ["spec/e2e/malformed_spec.lua"] = "bytes of HTTP/1.1 that are no requests",
    ["spec/e2e/proxy_protocol_spec.lua"] = "bytes before the protocol",
    ["spec/e2e/redis_failures_spec.lua"] = "rp.redis: a request only starts it",
    ["spec/e2e/redis_many_spec.lua"] = "rp.redis: a request only starts it",
    ["spec/e2e/redis_spec.lua"] = "rp.redis: a request only starts it",
    ["spec/e2e/schema_tool_spec.lua"] = "the command line: no requests",
    ["spec/e2e/shared_exact_spec.lua"] = "rates against a clock: a request only starts it",
    ["spec/e2e/shared_kinds_spec.lua"] = "shared memory: a request only starts it",
    ["spec/e2e/shared_spec.lua"] = "shared memory: a request only starts it",
    ["spec/e2e/splice_spec.lua"] = "streams: no HTTP",
    ["spec/e2e/stream_spec.lua"] = "streams: no HTTP",
    ["spec/e2e/stream_udp_spec.lua"] = "streams: no HTTP",
    ["spec/e2e/test_kit_spec.lua"] = "the command line: no requests",
    ["spec/e2e/tools_diff_spec.lua"] = "the command line: no requests",
    ["spec/e2e/tools_lint_spec.lua"] = "the command line: no requests",
    ["spec/e2e/tools_live_spec.lua"] = "the command line: a request only sets the stage",
    ["spec/e2e/tools_upstreams_spec.lua"] = "the command line: a request only sets the stage",
    ["spec/e2e/eyeballs_spec.lua"] = "connections to upstreams, which no client sees",
    ["spec/e2e/found_routes_spec.lua"] = "which routes there are, not how they are spoken to",
    ["spec/e2e/peer_metrics_spec.lua"] = "text of metrics, not how requests are spoken",
    ["spec/e2e/upstream_client_spec.lua"] = "what hooks send, which no client sees",
    ["spec/e2e/health_spec.lua"] = "the agent's checks, which no client sees",
    ["spec/e2e/tools_spec.lua"] = "the command line: no requests",
    ["spec/e2e/tunnel_reload_spec.lua"] = "a tunnel after 101 of HTTP/1.1",
    ["spec/e2e/untrusted_spec.lua"] = "bounds of the VM: a request only starts a hook",
    ["spec/e2e/up_tls_spec.lua"] = "TLS to upstreams, whose protocol it looks at",
    ["spec/e2e/vm_attacks_spec.lua"] = "bounds of the VM: a request only starts a hook",
    ["spec/e2e/websocket_frames_spec.lua"] = "Upgrade; over HTTP/2 in h2_upstream_ws_spec",
    ["spec/e2e/websocket_spec.lua"] = "Upgrade; over HTTP/2 in h2_upstream_ws_spec",
}
local SPEAKS_ITSELF = { ["spec/e2e/h2_"] = "speaks HTTP/2 itself",
    ["spec/e2e/tls_"] = "speaks TLS itself" }

--- Why a spec file runs over h1 only; nil when it runs over all.
function M.why_alone(file)
    if M.OF_ONE_PROTOCOL[file] then return M.OF_ONE_PROTOCOL[file] end
    for start, why in pairs(SPEAKS_ITSELF) do
        if file:sub(1, #start) == start then return why end
    end
end

-- ---------------------------------------------------------------- marks of tests

local OTHERWISE = {
    ["h1 client"] = M.has_h2,
    ["h1 upstream"] = M.has_h2_upstream,
    ["no TLS"] = M.has_tls,
}

local function leave_out(pending, needs, reason)
    if OTHERWISE[needs] == nil then error("protocol: no mark " .. tostring(needs), 3) end
    if OTHERWISE[needs] then pending(("left out, %s: %s"):format(needs, reason)) end
end

--- Leave the running test out where the protocol is not what it needs.
function M.only(needs, reason)
    leave_out(getfenv(2).pending, needs, reason)
end

--- The same for a helper that the test called.
function M.mark(needs, reason)
    leave_out(getfenv(3).pending, needs, reason)
end

-- ---------------------------------------------------------------- sites

local dir, keeper -- of the certificate

-- Made once per run when RP_PROTOCOL_DIR says where, else once per spec file.
local function certificate()
    if dir then return dir end
    local posix = require("spec.support.posix")
    dir = os.getenv("RP_PROTOCOL_DIR")
    if dir and posix.exists(dir .. "/site.pem") then return dir end
    if not dir then
        dir = posix.temp_dir()
        keeper = newproxy(true) -- the folder goes with this process
        getmetatable(keeper).__gc = function() posix.remove_dir(dir) end
    end
    require("spec.support.tls").cert(dir, "site", { names = { "localhost", "a" },
        ips = { "127.0.0.1" } })
    return dir
end

--- Make the certificate (tools/run-specs.sh does, before the specs of a run).
function M.prepare()
    if M.has_tls then certificate() end
end

local ports = {} -- port or path of a listener -> true: clients speak this protocol with it

--- A process of its own that is to speak with a listener says so.
function M.speaks(port)
    ports[port] = true
end

-- Options of listeners that say themselves what is spoken there.
local OWN_WORDS = { "tls%s*=", "proxy_protocol%s*=", "redirect_https%s*=", "http2%s*=" }

local function has_own_words(body)
    for _, pattern in ipairs(OWN_WORDS) do
        if body:find(pattern) then return true end
    end
    return false
end

local function listener(body)
    local key = body:match('"127%.0%.0%.%d+:(%d+)"') or body:match('"unix:([^"]+)"')
    if not key or has_own_words(body) then return nil end
    M.speaks(tonumber(key) or key)
    if not M.has_tls then return nil end
    return ('{ tls = { certs = { "%s/site.pem" } }, %s'):format(certificate(), body:sub(2))
end

local function upstream(body)
    if not M.has_h2_upstream or body:find("[{,%s]http%s*=") or body:find("[{,%s]tls%s*=") then
        return nil
    end
    return '{ http = "2", ' .. body:sub(2)
end

--- The text of a site for this protocol. Lines stay where they are.
function M.site(text)
    if M.name == "h1" or text:find("http2 = { on = false", 1, true) then return text end
    text = text:gsub("rp%.listen%s*(%b{})", function(body)
        local other = listener(body)
        return other and "rp.listen " .. other
    end)
    return (text:gsub("rp%.upstream%s*(%b{})", function(body)
        local other = upstream(body)
        return other and "rp.upstream " .. other
    end))
end

-- ---------------------------------------------------------------- codecs

--- A codec for a connection to a listener; nil: bytes as they are.
function M.client(port)
    if not ports[port] then return nil end
    local upper = M.has_h2 and require("spec.support.h2_codec").client { scheme = M.scheme }
    if not M.has_tls then return upper or nil end
    local codec = require("spec.support.tls_codec")
    local lower = codec.client { sni = "localhost", alpn = { M.has_h2 and "h2" or "http/1.1" } }
    return upper and codec.stack(upper, lower) or lower
end

local PREFACE = "PRI * HTTP/2.0\r\n"

--- A codec for a connection whose first bytes came, to an upstream; nil: HTTP/1.1. Second value:
--- whether more bytes are needed to tell.
function M.server(bytes)
    local n = math.min(#bytes, #PREFACE)
    if bytes:sub(1, n) ~= PREFACE:sub(1, n) then return nil, false end
    if n < #PREFACE then return nil, true end
    return require("spec.support.h2_codec").server(), false
end

return M
