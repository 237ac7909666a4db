/* SPDX-License-Identifier: MIT
 *
 * conf: one generation's configuration as a frozen snapshot, and the builder that makes it.
 *
 * Built by one thread (any thread, touches nothing outside), frozen by rp_conf_freeze, read-only
 * afterwards except `refs`. Everything lies in its arena. Options come from
 * lua/rproxy/config/options.lua; nothing here parses text but addresses, patterns and CIDRs.
 */
#ifndef RP_PROXY_CONF_H
#define RP_PROXY_CONF_H

#include "base/arena.h"
#include "base/clock.h"
#include "net/addr.h"
#include "proxy/hook.h"

struct rp_regex;
struct rp_tls_server; /* net/tls_server.h */
struct rp_tls_client; /* net/tls_client.h */
struct rp_router;     /* proxy/route.h */
struct rp_conf_draft; /* proxy/conf_build.h */

/* One way of ending TLS, or of speaking it to upstreams, while it is built and after. */
struct rp_conf_tls {
    struct rp_tls_server *server;                /* NULL until made; freed with the generation */
    uint8_t profile, versions;                   /* enum rp_tls_profile; bits, 0: the profile's */
    uint8_t ask, depth;                          /* of clients' certificates: enum rp_tls_ask */
    bool refuse;                                 /* names that no certificate has */
    bool forward;                                /* tell upstreams the client's certificate */
    bool early;                                  /* take early data */
    bool kernel;                                 /* let the kernel seal what is sent */
    bool verify;                                 /* upstreams */
    bool ocsp;                                   /* ask responders for staples */
    bool must_staple, has_responder, has_staple; /* the newest certificate; while it is built */
    rp_ms session_ms;                            /* life of a ticket; 0: none */
    rp_str alpn;                                 /* as on the wire */
    rp_str cas;                                  /* PEM; only while it is built */
    rp_str *crls;                                /* PEM or DER; the same */
    uint32_t crls_n;
    rp_str sni, name; /* upstreams */
};

struct rp_conf_stream;
struct rp_conf_listener {
    struct rp_addr addr;
    rp_str text; /* as written: "0.0.0.0:80"; also the identity across reloads */
    bool redirect_https;
    bool metrics;                     /* serves metrics, and nothing else */
    bool proxy_protocol;              /* connections begin with a PROXY header */
    bool half_closed;                 /* clients may end their side and wait for the answer */
    bool udp;                         /* datagrams, of a stream only */
    uint32_t hello_chain, cert_chain; /* script's references, of TLS handshakes; 0: none */
    struct rp_conf_stream *stream;    /* relays bytes; NULL: speaks HTTP */
    struct rp_conf_tls *tls;          /* NULL: plain */
};

enum { RP_CONF_TIERS = 16 }; /* RP_BALANCE_TIERS */

struct rp_conf_meta {
    rp_str key, value;
};

struct rp_conf_peer {
    rp_str name;         /* as written: "api-1:8080", "unix:/run/x" */
    rp_str host;         /* name to resolve; empty when addr is final */
    struct rp_addr addr; /* port always set; ip when `host` is empty */
    uint32_t weight;     /* >= 1 */
    bool backup;
    uint8_t tier;              /* priority: 0 first; a backup's is the last */
    uint32_t max_conns;        /* requests at once, of all workers; 0: no limit */
    rp_str identity;           /* whom it must be in TLS; empty: its name or address */
    rp_str zone;               /* where it is; empty: not said */
    struct rp_conf_meta *meta; /* what else is said of it, sorted by key */
    uint32_t meta_n;
};

enum rp_up_http { RP_UP_HTTP1, RP_UP_HTTP2, RP_UP_HTTP_AUTO }; /* AUTO: as ALPN says */

enum rp_balance { /* lua/rproxy/config/balance.lua has the same numbers */
                  RP_BALANCE_ROUND_ROBIN,
                  RP_BALANCE_HOOK,
                  RP_BALANCE_RANDOM,
                  RP_BALANCE_LEAST_CONN,
                  RP_BALANCE_LEAST_TIME,
                  RP_BALANCE_P2C,
                  RP_BALANCE_EWMA,
                  RP_BALANCE_FIRST,
                  RP_BALANCE_RING,
                  RP_BALANCE_MAGLEV,
                  RP_BALANCE_RENDEZVOUS,
                  RP_BALANCE_LAST = RP_BALANCE_RENDEZVOUS,
};

/* What the last three hash; as above. */
enum rp_hash_part {
    RP_HASH_IP,
    RP_HASH_HOST,
    RP_HASH_PATH,
    RP_HASH_QUERY, /* the whole */
    RP_HASH_ARG,   /* one argument of it */
    RP_HASH_HEADER,
    RP_HASH_COOKIE,
    RP_HASH_CONSUMER,
};
struct rp_conf_hash {
    uint8_t part; /* enum rp_hash_part */
    rp_str name;  /* of an argument, header or cookie */
};

enum rp_sticky_mode {
    RP_STICKY_INSERT, /* a cookie of ours */
    RP_STICKY_PREFIX, /* our words in front of the application's */
    RP_STICKY_LEARN,  /* the application's, which workers remember */
};

enum { /* what a PROXY header says besides */
       RP_PROXY_SAYS_AUTHORITY = 1,
       RP_PROXY_SAYS_ALPN = 2,
       RP_PROXY_SAYS_ID = 4,
       RP_PROXY_SAYS_CRC = 8,
};

enum { RP_CONF_STATUSES = 16 };
struct rp_conf_statuses {
    uint32_t n;
    struct {
        uint16_t low, high;
    } list[RP_CONF_STATUSES];
};

/* Thousandths stand for shares and factors; the meaning is in circuit.h, outlier.h and limit.h. */
struct rp_conf_circuit {
    uint32_t on, errors, quantile, least, probes;
    rp_ms slow_ms; /* 0: slowness is not asked */
    rp_ms within_ms, open_ms, open_max_ms;
};
struct rp_conf_outlier {
    uint32_t on, enforce, least, peers, stdev, failures, quantile, factor;
    rp_ms every_ms, slow_ms;
};
struct rp_conf_limit {
    uint32_t on, least, most, start, quantile, buffer, measure_n;
    rp_ms every_ms, measure_ms;
};

struct rp_conf_upstream {
    rp_str name;
    uint32_t index;
    struct rp_conf_peer *peers;
    uint32_t peers_n;
    uint32_t balance;          /* enum rp_balance */
    uint32_t balance_chain;    /* script's reference when RP_BALANCE_HOOK */
    struct rp_conf_hash *hash; /* in this order; what is hashed when the policy does */
    uint32_t hash_n;
    uint32_t hash_bound;   /* most load of a peer, percent of the mean; 0: no bound */
    uint32_t panic, spill; /* percent, see struct rp_balance_rules */
    rp_str zone;           /* where this instance is; empty: zones do not matter */
    uint32_t zone_spill;   /* percent, see struct rp_balance_rules */
    rp_str subsets;        /* keys of peers' meta that may be asked for, between tabs */
    uint32_t subset_any;   /* where a subset has nobody all will do; else nobody does */
    rp_ms slow_start_ms;   /* a peer that comes back gets its whole share after that; 0: at once */
    uint32_t tries;        /* attempts in all, >= 1 */
    uint32_t retry_on;     /* RP_ON_ bits (retry.h): what another attempt is for, and ... */
    struct rp_conf_statuses retry_statuses; /* ... these answers */
    uint32_t health;                        /* the agent checks its peers */
    uint32_t live;         /* the agent brings peers (shm/members.h): there may be none here */
    rp_str sticky_cookie;  /* its name; empty: clients come back to nobody */
    rp_str sticky_more;    /* its attributes, with a "; " before each */
    rp_str sticky_key;     /* 32 hexadecimal digits; empty: the instance's */
    rp_str sticky_header;  /* a header field in the cookie's place; empty: a cookie */
    uint32_t sticky_mode;  /* enum rp_sticky_mode */
    rp_ms sticky_ttl_ms;   /* LEARN: a session that nobody uses is forgotten */
    uint32_t queue_max;    /* requests that may wait for a free seat, per worker */
    rp_ms queue_ms;        /* ... and how long */
    uint32_t retry_any;    /* not only idempotent requests */
    uint32_t retry_budget; /* most retries, percent of the active requests */
    rp_ms retry_pause_ms, retry_pause_max_ms;
    uint32_t hedge_max;      /* second tries beside a first one, of a request; 0: never */
    rp_ms hedge_ms;          /* after that, or ... */
    uint32_t hedge_quantile; /* ... when so many thousandths of the answers came faster */
    uint32_t hedge_budget;   /* most of them, percent of the requests */
    uint32_t hedge_any;      /* not only of idempotent requests */
    rp_ms try_ms;            /* one attempt, from its begin to the response head; 0: no limit */
    uint32_t fail_on;        /* as retry_on: what counts against a peer */
    struct rp_conf_statuses fail_statuses;
    uint32_t rest_share;    /* most of the weights that may rest, percent */
    uint32_t pool_max;      /* idle connections kept per peer and worker */
    uint32_t max_requests;  /* per upstream connection; 0 = no limit */
    uint32_t http;          /* enum rp_up_http */
    uint32_t h2_streams;    /* at once on one HTTP/2 connection */
    uint32_t max_fails;     /* connect failures before a peer rests; 0 = never */
    rp_ms fail_rest_ms;     /* how long it rests at first, then twice that, .. */
    rp_ms fail_rest_max_ms; /* ... at most */
    rp_ms pool_idle_ms, connect_ms, send_ms, first_byte_ms, idle_ms;
    rp_ms next_address_ms; /* of a name with several: the next is tried beside the ones before */
    uint8_t
        proxy_protocol; /* version of the PROXY header that new connections begin with; 0: none */
    uint8_t proxy_tlvs; /* RP_PROXY_SAYS_ bits: what one of version 2 says besides */
    rp_str deadline_header;    /* tells it how long we wait, in ms; empty: none */
    rp_str host_header;        /* what Host the upstream sees: empty = the client's */
    struct rp_tls_client *tls; /* NULL: plain */
    struct rp_conf_circuit circuit;
    struct rp_conf_outlier outlier;
    struct rp_conf_limit limit;
    uint32_t fallback;     /* 1 + upstream for requests while the circuit is open; 0: none */
    uint32_t requests_all; /* most under way, of all workers; 0: no limit */
    uint32_t measure;      /* keep the latencies of an only peer, too */
    bool guarded;          /* something of these four is asked of it; by freeze */
    bool
        special; /* a request has more to do than to take the next peer and a connection to it: one of
                   * `is_special` of conf_freeze.c; by freeze */
};

/* What is answered instead of the standard page when a request fails here (page.h). */
struct rp_conf_page {
    uint16_t low, high; /* statuses that it is for */
    rp_str type, body;  /* body: with {status}, {error}, {reason}, {request_id} */
};
struct rp_conf_pages { /* narrowest first */
    struct rp_conf_page *list;
    uint32_t n;
};

enum rp_stream_rule_kind { RP_STREAM_SNI, RP_STREAM_ALPN };
struct rp_conf_stream_rule {
    rp_str name; /* SNI: lower case, "*.x" is kept as ".x"; ALPN: as on the wire */
    struct rp_conf_upstream *upstream; /* NULL: refused */
};

struct rp_conf_stream { /* what the listeners of one rp.stream do */
    uint32_t index;
    struct rp_conf_upstream *upstream;      /* of what no rule names; NULL: refused */
    struct rp_conf_stream_rule *sni, *alpn; /* sorted by name (stream_route.h) */
    uint32_t sni_n, alpn_n;
    bool peek; /* read the ClientHello first */
    bool access_log;
    rp_ms connect_ms; /* 0: the upstream's */
    rp_ms idle_ms, hello_ms;
    rp_ms udp_idle_ms;
    uint32_t udp_responses; /* answers to each datagram, after which a session ends; 0: not known */
    uint32_t udp_requests;  /* datagrams of a client in one session; 0: any number */
    uint32_t udp_sessions;  /* most per listener and worker */
    uint32_t connect_chain, log_chain; /* script's references; 0: none */
};

enum rp_action {
    RP_ACTION_UPSTREAM,
    RP_ACTION_RESPOND,
    RP_ACTION_REDIRECT,
    RP_ACTION_CONTENT,
    RP_ACTION_CONNECT, /* a tunnel to where the client says */
};

struct rp_connect_allow;             /* proxy/connect_allow.h */
struct rp_conf_tunnel {              /* what the tunnels of a route may do; 0: no limit */
    rp_ms idle_ms;                   /* no byte either way; 0: the site's */
    rp_ms time_ms;                   /* in all */
    uint64_t bytes_in, bytes_out;    /* from and to the client */
    uint64_t frame_max, message_max; /* WebSocket: payload bytes */
    rp_ms ping_ms, pong_ms;          /* WebSocket: silence before a ping, then before we give up */
    bool ping_upstream;              /* ... of the upstream, too */
    bool check;                      /* WebSocket: look at frames also without a limit */
};

enum rp_edit_kind { RP_EDIT_SET, RP_EDIT_ADD, RP_EDIT_DEL };
struct rp_conf_edit { /* a header edit done in C */
    uint8_t kind;     /* enum rp_edit_kind */
    bool response;    /* else the request that goes upstream */
    uint16_t id;      /* enum rp_header */
    rp_str name, value;
};

enum rp_cond_kind { RP_COND_HEADER, RP_COND_QUERY, RP_COND_SOURCE, RP_COND_COOKIE };
enum rp_cond_op { RP_COND_EXISTS, RP_COND_EQUALS, RP_COND_PREFIX, RP_COND_REGEX, RP_COND_IN };
struct rp_conf_cond { /* all conditions of a route must hold */
    uint8_t kind, op;
    bool negate;
    uint16_t id; /* of a header name */
    rp_str name, value;
    struct rp_regex *regex;
    struct rp_cidr_set *cidrs;
};

enum { RP_CONF_SIDES = 8, RP_CONF_STEPS = 16 }; /* RP_SPLIT_SIDES, RP_SPLIT_STEPS */

struct rp_conf_split_rule { /* requests of which all this holds go there, whatever the shares say */
    struct rp_conf_cond *conds;
    uint32_t conds_n;
    struct rp_conf_upstream *upstream;
};

/* Requests of routes that are divided among upstreams, see split.h. */
struct rp_conf_split {
    rp_str name;
    uint64_t salt; /* of the name: two splits divide their clients differently */
    uint32_t index;
    uint32_t sides_n, base, canary; /* base: who gives and takes; canary: side of the steps */
    struct rp_conf_upstream *sides[RP_CONF_SIDES];
    uint32_t shares[RP_CONF_SIDES]; /* of 10,000 in all */
    uint32_t steps_n;
    uint32_t steps[RP_CONF_STEPS]; /* of the canary's share; as shares */
    struct rp_conf_hash *hash;     /* what a client is known by; none: by chance */
    uint32_t hash_n;
    bool late; /* ... with what authentication hooks say */
    struct rp_conf_split_rule *rules;
    uint32_t rules_n;
    rp_str cookie, cookie_more, key; /* as sticky_cookie, sticky_more, sticky_key */
    uint32_t place; /* in the table that all workers share; set by split.c while the generation is
                     * in use, else UINT32_MAX */
};

struct rp_route {
    uint32_t index;        /* in conf->routes */
    rp_str id;             /* stable name: given, or "host METHODS pattern" */
    rp_str pattern;        /* as written */
    uint32_t host;         /* index in conf->hosts; UINT32_MAX for the site's own fallback */
    uint64_t methods;      /* bit per enum rp_method; 0 = any. HEAD is added where GET is */
    rp_str *other_methods; /* names outside the table */
    uint32_t other_methods_n;
    rp_str *param_names; /* of {param} segments and regex groups, in order */
    uint32_t params_n;
    struct rp_conf_cond *conds;
    uint32_t conds_n;
    uint8_t action; /* enum rp_action */
    struct rp_conf_upstream *upstream;
    struct rp_conf_split *split; /* then `upstream` is that of its base; NULL: there is no choice */
    uint16_t status;             /* RESPOND, REDIRECT */
    rp_str body;                 /* RESPOND */
    rp_str content_type;         /* RESPOND */
    rp_str location;             /* REDIRECT: may hold {param}, {host}, {path}, {query}, {uri} */
    rp_str subset;               /* what is wished of peers, subset.h */
    rp_str strip_prefix;         /* removed from the path that goes upstream */
    struct rp_conf_edit *edits;
    uint32_t edits_n;
    uint64_t body_limit;                               /* bytes; 0 and UINT64_MAX: no limit */
    rp_ms connect_ms, send_ms, first_byte_ms, idle_ms; /* 0 = the upstream's */
    struct rp_chains chains;
    uint32_t meta;         /* script's reference for req.route.meta; 0 none */
    uint64_t coalesce_max; /* bytes of an answer that identical requests share; 0: they do not */
    rp_ms coalesce_ms;     /* they wait so long for it */
    rp_str coalesce_key; /* names of header fields in which they must be equal, too; a comma list */
    bool grpc_timeout;   /* of the client is the request's deadline */
    bool upgrade;        /* WebSocket and other upgrades are relayed */
    bool buffer_request, buffer_response; /* bodies pass through a spool */
    uint32_t buffer_memory;               /* bytes of one body in memory */
    uint64_t buffer_max;                  /* bytes of one response in its file */
    bool access_log;
    struct rp_conf_pages pages;
    struct rp_connect_allow *connect; /* CONNECT */
    struct rp_conf_tunnel tunnel;
    struct rp_conf_circuit circuit;
    bool special; /* as of an upstream */
};

struct rp_tls_clients; /* net/tls_server.h */
struct rp_conf_host {
    uint32_t index;
    rp_str name; /* first name, for messages; "default" when it has none */
    uint32_t names_n;
    bool is_default;
    struct rp_tls_clients *clients; /* its own rules for their certificates; NULL: the listener's */
    uint64_t asks;                  /* rp_tls_clients_id of those; 0: none */
    uint8_t ask;                    /* enum rp_tls_ask, of those */
    bool forward_cert;              /* the same */
    rp_str hsts;                    /* Strict-Transport-Security of answers over TLS; empty: none */
    struct rp_route *no_route;      /* answers 404 / 405 with this host's chains */
    struct rp_conf_pages pages;
};

enum rp_plugin_error { RP_PLUGIN_500, RP_PLUGIN_OPEN, RP_PLUGIN_CLOSED };
enum rp_break { RP_BREAK_NONE, RP_BREAK_BYPASS, RP_BREAK_DENY, RP_BREAK_LAST_GOOD };
struct rp_conf_breaker { /* when an instance is taken out of its chains */
    uint8_t policy;      /* enum rp_break */
    bool deny;           /* last-good: what is done until then, or where there is none */
    double errors;       /* share of its calls that fail, 0..1 */
    uint64_t least;      /* calls in a window before that counts */
    rp_ms within_ms, open_ms;
    rp_ms slow_ms; /* a call that takes longer has failed; 0: no limit */
};
struct rp_conf_plugin { /* an instance in some chain; its index is what breadcrumbs carry */
    rp_str name;        /* "jwt-auth", "inline@site.lua:31" */
    rp_str label;       /* the same for the first of that name, then "jwt-auth#2", .. */
    uint32_t number;    /* of those of its name, from 1 */
    struct rp_conf_breaker breaker;
    uint8_t on_error; /* enum rp_plugin_error */
    bool shadow;      /* what it decides and changes is noted and not done */
};

struct rp_conf_zone { /* of `shared` */
    rp_str name;
    uint32_t kind;  /* enum rp_share_kind */
    uint64_t bytes; /* of keys and values, with what holds them together */
    uint64_t tag;   /* a set: of its file and type; with another one it is another zone */
};

enum rp_log_format { RP_ACCESS_COMBINED, RP_ACCESS_JSON };
struct rp_conf_access_log {
    bool on;
    uint32_t file;  /* index in conf->files */
    uint8_t format; /* enum rp_log_format */
    rp_str *fields; /* JSON: chosen fields in order, checked by the builder */
    uint32_t fields_n;
    struct rp_access_field *chosen; /* the same, compiled (access_field.h); fields_n of them */
    uint32_t buffer_bytes;
    rp_ms flush_ms;
};

enum { /* forwarding headers that we make */
       RP_FORWARD_FOR = 1,
       RP_FORWARD_PROTO = 2,
       RP_FORWARD_HOST = 4,
       RP_FORWARD_PORT = 8,
       RP_FORWARD_RFC7239 = 16,
};

struct rp_conf {
    uint32_t generation;
    uint32_t refs; /* worker's current + one per request; see rp_conf_hold */
    bool frozen;
    void *script;           /* the generation's Lua host; opaque here */
    struct rp_hooks *hooks; /* NULL: no script */
    struct rp_arena arena;
    struct rp_conf_draft *draft; /* what only the builder knows; NULL once frozen */

    struct rp_conf_listener *listeners;
    uint32_t listeners_n;
    struct rp_conf_upstream **upstreams;
    uint32_t upstreams_n;
    struct rp_conf_stream **streams;
    uint32_t streams_n;
    struct rp_conf_tls **tls;
    uint32_t tls_n;
    struct rp_conf_host **hosts;
    uint32_t hosts_n;
    struct rp_route **routes;
    uint32_t routes_n;
    struct rp_conf_split **splits;
    uint32_t splits_n;
    struct rp_conf_plugin *plugins;
    uint32_t plugins_n;
    rp_str *files;
    uint32_t files_n; /* log files, opened by the master; "stdout", "stderr", paths */
    struct rp_conf_zone *zones;
    uint32_t zones_n; /* memory that workers share, made by the master */
    struct rp_router *router;
    struct rp_route *no_host;     /* answers requests for unknown hosts, site chains */
    struct rp_chains site_chains; /* only EARLY is run from here */
    struct rp_cidr_set *trust;

    /* scalars: see conf.tbl for names, units and defaults */
    uint64_t workers, user_set;
    uint32_t agent; /* something is to be done once per instance, beside the workers */
    uint64_t head_bytes, uri_bytes, fields_n, body_limit, args_n;
    uint64_t keepalive_requests;   /* per client connection; 0 = no limit */
    uint64_t connections;          /* of clients, all workers together; 0 = no limit */
    uint64_t conns_per_ip;         /* of one client, all workers together; 0 = no limit */
    uint64_t ip6_bits;             /* of an IPv6 address that say who the client is */
    uint64_t body_rate, send_rate; /* bytes per second at least; 0 = any */
    uint64_t rate_grace_ms;
    uint64_t spill_bytes;   /* of all spill files of a worker */
    uint64_t connection_ms; /* that a client connection may live; 0 = no limit */
    uint64_t head_ms, body_ms, keepalive_ms, send_ms, drain_ms, tunnel_ms, hook_wait_ms;
    uint64_t tls_ms;                       /* for a whole handshake */
    uint64_t tls_rate;                     /* handshakes a second and worker; 0 = no limit */
    uint64_t ticket_keys_ms;               /* between two rotations of the ticket keys */
    bool hosts_ask;                        /* some host has rules for clients' certificates */
    uint64_t watch;                        /* bool: changed files of certificates are taken */
    uint64_t http2, h2_streams, h2_window; /* bool; streams at once; bytes a stream may wait with */
    uint64_t forward;                      /* RP_FORWARD_ bits */
    uint64_t via;                          /* bool: add Via */
    uint64_t record;                       /* bool: requests are recorded: the VM has a tape */
    uint64_t cpu_budget_us, heap_bytes, background_tasks;
    uint64_t log_level;      /* enum rp_log_level */
    uint64_t error_log_file; /* index in files */
    rp_str server_name;      /* Server of our own answers; empty = none */
    rp_str via_name;         /* pseudonym in Via: "rproxy" */
    rp_str via_lines[3];     /* made of it: "Via: 1.1 rproxy\r\n", also for 1.0 and 2.0; frozen */
    rp_str cdn_loop_line;    /* "CDN-Loop: rproxy\r\n" */
    rp_str user;
    rp_str cpu_affinity; /* "", "auto", or numbers with commas; process/affinity.h */
    rp_str pid_file;     /* a second pid file beside the one in the run directory */
    rp_str dns_servers;  /* with commas; empty: the system's */
    rp_ms dns_ttl_least_ms, dns_ttl_most_ms, dns_absent_ms, dns_stale_ms, dns_timeout_ms;
    uint32_t dns_tries;
    rp_str metrics_path;         /* of a listener for metrics */
    rp_str spill_dir;            /* where spill files are made */
    rp_str user_at, pid_file_at; /* where the site says so, "site.lua:3" */
    struct rp_conf_access_log access;
    uint32_t decisions_file; /* index in files: the log of decisions; UINT32_MAX: none */
    rp_ms decisions_flush_ms;
    bool decisions_edits; /* lines for requests that shadow instances would only have changed */
    rp_str trace_token, trace_header; /* trace.h; token empty: none */
    struct rp_conf_pages pages;
};

/* What was wrong, for the caller to turn into one message with file:line. */
struct rp_conf_error {
    rp_err code;
    uint32_t route, other_route; /* whom it is about; UINT32_MAX: no route */
    char text[512];
};

/* ---- life ------------------------------------------------------------------------------- */

struct rp_conf *rp_conf_new(uint32_t generation); /* defaults of conf.tbl; refs 0 */
void rp_conf_free(struct rp_conf **c);            /* refs == 0; drop_generation is not called */
struct rp_conf *rp_conf_hold(struct rp_conf *c);  /* frozen; returns c */
void rp_conf_drop(struct rp_conf *c);             /* at 0: hooks->drop_generation, then free */

/* ---- builder (all strings are copied) --------------------------------------------------------
 *
 * Every call: RP_E_PHASE once frozen; RP_E_NOT_FOUND for an unknown key or index; RP_E_INVALID for
 * a value that cannot be (a fraction, out of conf.tbl's range, ...); RP_E_CAP when the generation
 * outgrows its arena. `e` (may be NULL) gets the words. Infinity means "no limit" where conf.tbl
 * allows it. The site needs no listener, host or route to be frozen. */

/* Scalars by conf.tbl name: "limits.head_bytes", "timeouts.head_ms" ... RP_E_NOT_FOUND. */
RP_MUST rp_err rp_conf_set_number(struct rp_conf *c, rp_str key, double value);
RP_MUST rp_err rp_conf_set_text(struct rp_conf *c, rp_str key, rp_str value);

RP_MUST rp_err rp_conf_add_listener(struct rp_conf *c, rp_str addr, bool redirect_https,
                                    uint32_t *index, struct rp_conf_error *e);
RP_MUST rp_err rp_conf_set_listener(struct rp_conf *c, uint32_t listener, rp_str key,
                                    double value); /* "proxy_protocol", "half_closed" */
RP_MUST rp_err rp_conf_add_trust(struct rp_conf *c, rp_str cidr, struct rp_conf_error *e);
RP_MUST rp_err rp_conf_add_file(struct rp_conf *c, rp_str path,
                                uint32_t *index); /* same path, same index */
/* kind: enum rp_share_kind. RP_E_INVALID: bad name or numbers, or the name is taken. */
RP_MUST rp_err rp_conf_add_zone(struct rp_conf *c, rp_str name, uint32_t kind, double bytes,
                                double tag);
RP_MUST rp_err rp_conf_add_plugin(struct rp_conf *c, rp_str name, uint32_t on_error,
                                  uint32_t *index);
/* key: "shadow", or "breaker." and a field of struct rp_conf_breaker; times in ms. RP_E_INVALID. */
RP_MUST rp_err rp_conf_set_plugin(struct rp_conf *c, uint32_t plugin, rp_str key, double value);

RP_MUST rp_err rp_conf_add_upstream(struct rp_conf *c, rp_str name, uint32_t *index,
                                    struct rp_conf_error *e);
/* "tries", "pool_max", "max_requests", "max_fails", "fail_rest_ms", "pool_idle_ms", "connect_ms",
 * "send_ms", "first_byte_ms", "idle_ms", "balance", "balance_chain", "proxy_protocol",
 * "proxy_tlvs" */
RP_MUST rp_err rp_conf_set_upstream(struct rp_conf *c, uint32_t upstream, rp_str key, double value);
/* In the place of a number: what upstreams that are added from now on begin as. */
enum { RP_CONF_EACH_UPSTREAM = 0x7fffffff };
RP_MUST rp_err rp_conf_set_upstream_text(struct rp_conf *c, uint32_t upstream, rp_str key,
                                         rp_str value); /* "host_header" */
/* "10.0.0.1:80", "unix:/x", "name:80"; weight 1 .. 65535 */
RP_MUST rp_err rp_conf_add_peer(struct rp_conf *c, uint32_t upstream, rp_str text, uint32_t weight,
                                bool backup, struct rp_conf_error *e);
/* Of the peer added last: "max_conns"; "priority" (0 .. 14). RP_E_NOT_FOUND, RP_E_INVALID. */
RP_MUST rp_err rp_conf_set_peer(struct rp_conf *c, uint32_t upstream, rp_str key, double value);
/* "zone", or "meta.KEY" in the order of the keys. RP_E_INVALID: no text that may be one. */
RP_MUST rp_err rp_conf_set_peer_text(struct rp_conf *c, uint32_t upstream, rp_str key,
                                     rp_str value);
/* One range more of statuses: `retry` repeats them, else they count against a peer. RP_E_CAP,
 * RP_E_INVALID. */
RP_MUST rp_err rp_conf_add_statuses(struct rp_conf *c, uint32_t upstream, bool retry, uint32_t low,
                                    uint32_t high);
/* A split; then its sides (at least one, at most RP_CONF_SIDES; shares add up to 10,000), the base, and
 * what else it has. key: "base", "canary" (numbers of sides). RP_E_INVALID, RP_E_NOT_FOUND, RP_E_CAP. */
RP_MUST rp_err rp_conf_add_split(struct rp_conf *c, rp_str name, uint32_t *index);
RP_MUST rp_err rp_conf_add_split_side(struct rp_conf *c, uint32_t split, uint32_t upstream,
                                      uint32_t share);
RP_MUST rp_err rp_conf_add_split_step(struct rp_conf *c, uint32_t split, uint32_t share);
RP_MUST rp_err rp_conf_add_split_hash(struct rp_conf *c, uint32_t split, uint32_t part,
                                      rp_str name);
RP_MUST rp_err rp_conf_add_split_rule(struct rp_conf *c, uint32_t split, uint32_t upstream);
/* Of the rule added last; as rp_conf_add_cond. */
RP_MUST rp_err rp_conf_add_split_cond(struct rp_conf *c, uint32_t split, uint32_t kind, uint32_t op,
                                      bool negate, rp_str name, rp_str value,
                                      struct rp_conf_error *e);
RP_MUST rp_err rp_conf_set_split(struct rp_conf *c, uint32_t split, rp_str key, double value);
/* "cookie", "cookie_more", "key" */
RP_MUST rp_err rp_conf_set_split_text(struct rp_conf *c, uint32_t split, rp_str key, rp_str value);
/* One part more of what is hashed, see enum rp_hash_part. RP_E_INVALID. */
RP_MUST rp_err rp_conf_add_hash(struct rp_conf *c, uint32_t upstream, uint32_t part, rp_str name);

/* A set of TLS settings: numbers and texts first, then one of the two makes. */
RP_MUST rp_err rp_conf_add_tls(struct rp_conf *c, uint32_t *index);
/* "profile", "versions", "refuse", "ask", "depth", "session_ms", "verify", "forward", "ocsp" */
RP_MUST rp_err rp_conf_set_tls(struct rp_conf *c, uint32_t tls, rp_str key, double value);
/* "alpn" (length and name of each), "cas" (PEM), "sni", "name" */
RP_MUST rp_err rp_conf_set_tls_text(struct rp_conf *c, uint32_t tls, rp_str key, rp_str value);
/* One more file of revocation lists (PEM or DER), before it is made. *ends_s: when the first of them
 * ends, seconds since 1970; 0: they do not say. */
RP_MUST rp_err rp_conf_add_crl(struct rp_conf *c, uint32_t tls, rp_str bytes, double *ends_s,
                               struct rp_conf_error *e);
RP_MUST rp_err rp_conf_make_tls_server(struct rp_conf *c, uint32_t tls, struct rp_conf_error *e);
/* PEM; the texts may be the same, and nothing of them is kept as text. *ends_s (NULL: nobody wants to
 * know): when it ends, seconds since 1970. The first one is the default. */
RP_MUST rp_err rp_conf_add_cert(struct rp_conf *c, uint32_t tls, rp_str cert_pem, rp_str key_pem,
                                double *ends_s, struct rp_conf_error *e);
/* What is to be said of the certificate that was added last. */
struct rp_conf_staple {
    bool must;          /* clients insist on an OCSP answer */
    bool has_responder; /* in the certificate */
    bool can;           /* answers will be fetched */
    bool ask;           /* ... if that were possible */
    bool good, revoked; /* of the answer that was given */
    bool in_time;
};
/* Hand out this answer with it (DER; empty: there is none).
 * ret   RP_OK and *out; RP_E_INVALID: it is not for this certificate, not signed as it must be, .. */
RP_MUST rp_err rp_conf_add_staple(struct rp_conf *c, uint32_t tls, rp_str der, double now_s,
                                  struct rp_conf_staple *out, struct rp_conf_error *e);
/* The listener ends TLS: its server is made, and all certificates are there before freeze. */
RP_MUST rp_err rp_conf_use_tls(struct rp_conf *c, uint32_t listener, uint32_t tls);
/* cert_pem and key_pem: our own certificate; empty: none. */
RP_MUST rp_err rp_conf_make_tls_client(struct rp_conf *c, uint32_t tls, uint32_t upstream,
                                       rp_str cert_pem, rp_str key_pem, struct rp_conf_error *e);

RP_MUST rp_err rp_conf_add_stream(struct rp_conf *c, uint32_t *index);
/* "upstream", "peek", "access_log", "connect_ms", "idle_ms", "hello_ms", "udp_idle_ms",
 * "udp_responses", "udp_requests", "udp_sessions", "connect_chain", "log_chain" */
RP_MUST rp_err rp_conf_set_stream(struct rp_conf *c, uint32_t stream, rp_str key, double value);
/* May datagrams be sent there? Not with a PROXY header in front, nor to unix sockets. */
bool rp_conf_takes_udp(const struct rp_conf_upstream *u);
/* A listener of its own, numbered with all others. addr: "udp:" in front for datagrams. */
RP_MUST rp_err rp_conf_add_stream_listener(struct rp_conf *c, uint32_t stream, rp_str addr,
                                           uint32_t *index, struct rp_conf_error *e);
/* kind: enum rp_stream_rule_kind. SNI: "a.example", "*.a.example" (one or more labels in front).
 * upstream UINT32_MAX: refused. */
RP_MUST rp_err rp_conf_add_stream_rule(struct rp_conf *c, uint32_t stream, uint32_t kind,
                                       rp_str name, uint32_t upstream, struct rp_conf_error *e);

RP_MUST rp_err rp_conf_add_host(struct rp_conf *c, bool is_default, uint32_t *index);
/* "hsts" */
RP_MUST rp_err rp_conf_set_host_text(struct rp_conf *c, uint32_t host, rp_str key, rp_str value);
/* "api.example.com", "*.example.com" (one or more labels in front); a port is refused; case and one
 * trailing dot do not matter. Repeated names in the site are an error. */
RP_MUST rp_err rp_conf_add_host_name(struct rp_conf *c, uint32_t host, rp_str name,
                                     struct rp_conf_error *e);

/* Clients that ask for this name of the host (in the handshake) are asked for certificates by the rules
 * of that set, on all listeners there are so far; requests for the host are for such connections only. */
RP_MUST rp_err rp_conf_ask_clients(struct rp_conf *c, uint32_t host, uint32_t tls, rp_str name,
                                   struct rp_conf_error *e);
/* A name of a host without such rules: those of a wildcard above it are not for it. */
RP_MUST rp_err rp_conf_ask_no_clients(struct rp_conf *c, rp_str name);

/* pattern: "/exact", "/prefix/" + "*" at the end, "/a/{param}/b", "/a/{rest*}", "~regex"; "*" for
 * requests without a path (OPTIONS *, CONNECT). route.h says what they match.
 * methods: "GET,HEAD" or "" for any. host UINT32_MAX: the no_host answer; is_fallback: the host's
 * no_route answer (pattern and methods are not used for either). What was not set is made up by
 * rp_conf_freeze: 421 and 404. */
RP_MUST rp_err rp_conf_add_route(struct rp_conf *c, uint32_t host, rp_str methods, rp_str pattern,
                                 bool is_fallback, uint32_t *index, struct rp_conf_error *e);
/* "action", "upstream", "split", "status", "body_limit", "connect_ms", "send_ms", "first_byte_ms",
 * "idle_ms", "upgrade", "access_log", "meta" */
RP_MUST rp_err rp_conf_set_route(struct rp_conf *c, uint32_t route, rp_str key, double value);
/* "id" (made up from host, methods and pattern when not set), "body", "content_type", "location",
 * "strip_prefix" */
RP_MUST rp_err rp_conf_set_route_text(struct rp_conf *c, uint32_t route, rp_str key, rp_str value);
RP_MUST rp_err rp_conf_set_route_chain(struct rp_conf *c, uint32_t route, uint32_t phase,
                                       uint32_t ref);
RP_MUST rp_err rp_conf_set_site_chain(struct rp_conf *c, uint32_t phase, uint32_t ref);
RP_MUST rp_err rp_conf_add_edit(struct rp_conf *c, uint32_t route, uint32_t kind, bool response,
                                rp_str name, rp_str value, struct rp_conf_error *e);
/* An entry of a CONNECT route's list (connect_allow.h says what it may be). */
RP_MUST rp_err rp_conf_add_connect(struct rp_conf *c, uint32_t route, bool deny, rp_str text,
                                   struct rp_conf_error *e);
/* An error page of the site, a host or a route (index; 0 for the site). which: "404", "5xx" or "*"
 * (any 4xx and 5xx), each once per level. A page of the route wins over its host's, that over the
 * site's; within one level the narrowest. At most RP_CONF_PAGE_MOST bytes: RP_E_TOO_BIG. */
enum rp_conf_level { RP_LEVEL_SITE, RP_LEVEL_HOST, RP_LEVEL_ROUTE };
enum { RP_CONF_PAGE_MOST = 64 * 1024 };
RP_MUST rp_err rp_conf_add_page(struct rp_conf *c, uint32_t level, uint32_t index, rp_str which,
                                rp_str type, rp_str body, struct rp_conf_error *e);
/* kind/op: enum rp_cond_kind, rp_cond_op; for RP_COND_IN value is a comma list of CIDRs. */
RP_MUST rp_err rp_conf_add_cond(struct rp_conf *c, uint32_t route, uint32_t kind, uint32_t op,
                                bool negate, rp_str name, rp_str value, struct rp_conf_error *e);
/* Turns the access log on. format: enum rp_log_format; fields are checked against access.tbl; JSON
 * without a field gets the default ones. buffer_bytes: at most 1 MB; 0, or flush_ms 0: each line is
 * written at once. */
RP_MUST rp_err rp_conf_set_access_log(struct rp_conf *c, uint32_t file, uint32_t format,
                                      uint32_t buffer_bytes, uint32_t flush_ms);
RP_MUST rp_err rp_conf_add_access_field(struct rp_conf *c, rp_str name, struct rp_conf_error *e);

/* Check the whole, build the router, forbid further changes. After a failure the builder may go on
 * and freeze again. */
RP_MUST rp_err rp_conf_freeze(struct rp_conf *c, struct rp_conf_error *e);

#endif
