/* SPDX-License-Identifier: MIT
 *
 * proxy: the worker's proxy context: what all requests of one worker share. Made by process/worker,
 * swapped to a new generation by rp_proxy_flip.
 */
#ifndef RP_PROXY_PROXY_H
#define RP_PROXY_PROXY_H

#include "base/buf.h"
#include "base/random.h"
#include "net/dns.h"
#include "http/h2_down.h"
#include "net/listener.h"
#include "proxy/request.h"
#include "proxy/spool.h"

struct rp_zone; /* shm/zone.h */
struct rp_connpool;
struct rp_serve;  /* server.h */
struct rp_access; /* access log writer, access.h */
struct rp_groups; /* live upstream state by generation, upstream.h */
struct rp_stream; /* stream.h */
struct rp_udp;    /* stream_udp.h */
struct rp_udp_door;
struct rp_census;  /* shm/census.h */
struct rp_metrics; /* shm/metric.h */
struct rp_counters;
struct rp_roster;     /* shm/roster.h */
struct rp_hedge_book; /* hedge.h */
struct rp_coalescing; /* coalesce.h */
struct rp_members;    /* shm/members.h */
struct rp_splits;     /* shm/splits.h */
struct rp_staples;    /* staples.c */
struct rp_dict;       /* shm/dict.h */

/* Why tunnels ended. */
enum rp_tunnel_end_by {
    RP_TUNNEL_CLOSED, /* by both ends */
    RP_TUNNEL_BROKEN, /* an end went away */
    RP_TUNNEL_IDLE,
    RP_TUNNEL_LIMIT,    /* of time or bytes */
    RP_TUNNEL_PROTOCOL, /* a WebSocket frame was malformed */
    RP_TUNNEL_TOO_BIG,  /* ... or larger than the limits */
    RP_TUNNEL_PING,     /* no answer to a ping */
    RP_TUNNEL_DRAINED,
    RP_TUNNEL_ENDS
};

/* Live counters of the worker, plain integers; process/ copies them to the shared page. */
struct rp_proxy_stats {
    uint64_t conns_refused, conns_accepted, conns_active, requests, requests_active;
    uint64_t by_class[6]; /* responses by status class; [0]: no response sent */
    uint64_t up_connects, up_reuses, up_failures, retries, hook_errors;
    uint64_t coalesced;          /* requests that got what another one had asked for */
    uint64_t hedges, hedges_won; /* second tries beside first ones; their answer was taken */
    uint64_t tasks_background, tasks_refused; /* of rp.detach and timers; refused: too many */
    uint64_t grants_denied;                   /* what plugins wanted and are not granted */
    /* Of Lua's collector: rounds that ended, time, pauses, those over a millisecond, over ten. */
    uint64_t gc_rounds, gc_us, gc_pauses, gc_pauses_1ms, gc_pauses_10ms;
    uint64_t bytes_in, bytes_out;
    uint64_t streams, streams_active;
    struct rp_h2_counts h2;
    struct rp_spill_counts spill;
    uint64_t tunnels, tunnels_active, tunnel_bytes_in, tunnel_bytes_out;
    uint64_t tunnel_ends[RP_TUNNEL_ENDS], ws_frames_in, ws_frames_out, connect_denied;
    uint64_t udp_in, udp_out, udp_dropped, udp_evicted;      /* datagrams; sessions evicted */
    uint64_t conns_idle;                                     /* no request under way */
    uint64_t refused_many, refused_client, refused_greeting; /* of conns_refused, by reason */
    uint64_t tls_handshakes, tls_resumed, tls_early, tls_early_refused, tls_kernel;
    uint64_t tls_failed, tls_timeouts, tls_plain_http, tls_closed; /* that came to nothing */
    uint64_t tls_refused;                                          /* ... by hooks */
    uint64_t conns_uncounted; /* let in although the census of clients was full */
    uint64_t tls_stapled, ocsp_fetched, ocsp_failed;
    uint64_t circuits_opened, circuit_refused, circuit_fallbacks, limit_refused;
    uint64_t outliers_ejected, outliers_noticed;
};

struct rp_shake;     /* a connection that shakes hands, tls_door.c */
struct rp_cert_book; /* certificates that hooks gave, cert_book.h */

enum { RP_TLS_TROUBLES = 6 };
/* What the TLS door remembers, tls_door.h. */
struct rp_tls_gate {
    struct rp_shake *newest, *oldest;
    struct rp_tls_tickets tickets;      /* as the keyring had them last */
    struct rp_timer turn;               /* of those that wait */
    struct rp_cert_book *book;          /* NULL: no hook was asked for one */
    rp_ms second_ms;                    /* begin of the second that is counted */
    uint32_t waiting_n, begun_n;        /* not begun yet; begun in this second */
    rp_ms said_ms[RP_TLS_TROUBLES];     /* last log line, by kind of failure */
    uint32_t unsaid_n[RP_TLS_TROUBLES]; /* failures since then */
};

struct rp_greet; /* a connection whose PROXY header is awaited, door.c */

/* What the door remembers, door.h. */
struct rp_door {
    struct rp_greet *greets;
    rp_ms since_ms;     /* of the second that is counted */
    uint32_t polite_n;  /* answers given to refused connections in it */
    uint32_t unsaid_n;  /* refusals since the last log line */
    rp_ms uncounted_ms; /* of the last log line about these; 0: never */
};

/* What the script layer would like to be done about this worker. */
struct rp_proxy_wishes {
    bool successor;  /* its heap stays full */
    bool restore;    /* `plugin` does not work since the last reload */
    char plugin[96]; /* ends with a NUL */
};

struct rp_proxy {
    struct rp_loop *loop;
    struct rp_mem *mem;
    struct rp_conf *conf; /* current generation, held */
    struct rp_dns *dns;
    struct rp_connpool *pool;
    struct rp_access *access;
    struct rp_groups *groups; /* live upstream state, one per generation in use */
    struct rp_spill *spill;   /* bodies that are kept in files */
    struct rp_req **slots;    /* by slot index */
    uint32_t slots_n, slots_room;
    uint32_t *slot_gens;
    struct rp_req *free_reqs;       /* chained by next */
    struct rp_req *live;            /* list of live requests */
    struct rp_h1_downs sessions;    /* client connections */
    struct rp_h2_downs h2_sessions; /* ... in HTTP/2 */
    struct rp_h1_settings settings; /* what they obey; of the current generation */
    struct rp_h1_limits up_limits;  /* response heads */
    struct rp_stream *streams;      /* list of relayed connections */
    struct rp_pool stream_pool;
    struct rp_udp *udp;      /* what datagrams need; NULL: no listener for them yet */
    struct rp_serve *serves; /* listening sockets */
    struct rp_door door;
    struct rp_tls_gate tls;
    struct rp_census *census; /* shared by all workers; NULL: no caps */
    struct rp_proxy_wishes wishes;
    struct rp_metrics *metrics;       /* of all workers; NULL: the script layer has its own */
    uint32_t metrics_row;             /* our page of them */
    struct rp_counters *counters;     /* of all workers; NULL: none */
    uint32_t worker;                  /* our place in it */
    uint32_t number;                  /* what hooks hear as the worker's id */
    struct rp_roster *roster;         /* what is known of peers */
    struct rp_roster *roster_own;     /* the same, when it is ours alone */
    uint32_t roster_row;              /* our number in it */
    struct rp_members *members[2];    /* peers of providers and of the operator; NULL: none */
    uint64_t members_seen[2];         /* their epochs at the last beat */
    rp_ms sweep_ms;                   /* sets of upstreams that are gone are emptied then; 0: not */
    struct rp_coalescing *coalescing; /* NULL: no route does so */
    struct rp_hedge_book *hedge_books; /* of upstreams that hedge */
    uint32_t peer_ids;                 /* the last that was given */
    struct rp_dict *learned;        /* sessions of applications and their peers; NULL: none yet */
    struct rp_zone *learned_own;    /* the same, when it is ours alone */
    struct rp_splits *splits;       /* how requests are divided among upstreams; NULL: no split */
    struct rp_splits *splits_own;   /* the same, when it is ours alone */
    uint32_t splits_row;            /* our number in it */
    struct rp_random dice;          /* of balancing */
    struct rp_staples *staples;     /* NULL: no certificate has a responder to be asked */
    struct rp_dict *staples_shared; /* of all workers; NULL: none */
    uint32_t conns_peak;            /* most client connections since memory was given back */
    uint64_t next_conn_id;
    uint32_t
        kept_confs; /* generations without requests whose hooks are not done (keep_generation) */
    bool freeing;
    bool draining; /* no keep-alive, stop when the last exchange ends */
    void (*on_drained)(void *arg);
    void *on_drained_arg;
    struct rp_exchange_user user;
    struct rp_proxy_stats stats;
};

/* conf: frozen, first generation (held by the proxy). Everything kept outlives the proxy. */
struct rp_proxy *rp_proxy_new(struct rp_loop *l, struct rp_mem *m, struct rp_conf *conf);
void rp_proxy_free(struct rp_proxy **p); /* all requests must have ended */
/* New requests take `conf` from now on; running ones keep theirs. Tunnels are re-homed. */
void rp_proxy_flip(struct rp_proxy *p, struct rp_conf *conf);
/* Serve connections of a listening socket (fd kept). index: of conf->listeners (by text). */
RP_MUST rp_err rp_proxy_listen(struct rp_proxy *p, int fd, struct rp_conf_listener *which,
                               struct rp_listener **out);
/* Stop accepting on it; its connections live on. */
void rp_proxy_unlisten(struct rp_proxy *p, struct rp_listener *ln);
/* The same for datagrams: fd is borrowed. After unlisten sessions go on while the proxy drains, else
 * for two seconds; *door is not to be touched then. */
RP_MUST rp_err rp_proxy_listen_udp(struct rp_proxy *p, int fd, struct rp_conf_listener *which,
                                   struct rp_udp_door **door);
void rp_proxy_unlisten_udp(struct rp_proxy *p, struct rp_udp_door *door);
/* Graceful: answer what runs, no keep-alive, close idle connections; tell when none is left. */
void rp_proxy_drain(struct rp_proxy *p, void (*done)(void *arg), void *arg);
/* End every request and connection now. */
void rp_proxy_abort_all(struct rp_proxy *p);
/* The keys of session tickets from now on; NULL: none. */
void rp_proxy_set_tickets(struct rp_proxy *p, const struct rp_tls_tickets *tickets);
/* Take part in the instance's caps, before the first connection: census is kept. Without it caps on
 * connections do not hold. */
void rp_proxy_use_census(struct rp_proxy *p, struct rp_census *census, uint32_t worker);
/* Share with the other workers what is known of peers, before the first connection: kept. Without
 * it each proxy knows what it has seen itself. */
void rp_proxy_use_roster(struct rp_proxy *p, struct rp_roster *roster, uint32_t row);
/* Peers that come and go without a reload: those of providers and those of the operator; kept. */
void rp_proxy_use_members(struct rp_proxy *p, struct rp_members *members,
                          struct rp_members *orders);
/* Once a second: bring the gauges of p->stats up to date, give back the memory of a rush. */
void rp_proxy_beat(struct rp_proxy *p);
/* One line per live request: slot, step, waiting_for, age, client, target; then one per stream. */
void rp_proxy_dump(struct rp_proxy *p, struct rp_buf *out);
/* Give the access-log writer (re)opened file descriptors, by conf->files index; own. */
void rp_proxy_set_files(struct rp_proxy *p, const int *fds, uint32_t n);

#endif
