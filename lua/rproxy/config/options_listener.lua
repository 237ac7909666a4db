-- SPDX-License-Identifier: MIT
--
-- options_listener: the rows of rp.listen, of streams, and of TLS on both sides; options.lua says
-- what a row is.

local checks = require("rproxy.config.option_checks")

local M = {}

local MS = 1000

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

return M
