/* SPDX-License-Identifier: MIT
 *
 * stream: one relayed connection (TCP, or TLS that is not ended here), from accept to its log line.
 *
 * Owns: both connections, the bytes on their way, its timer. It holds a generation until it is
 * connected; from then on a reload re-homes it to the newest, as it does with tunnels.
 *
 * Invariants: only stream.c assigns `state`; every outside event calls rp_stream_wake and nothing
 * else; while a stream waits, `waiting_for` names what will wake it and the one timer watches it.
 */
#ifndef RP_PROXY_STREAM_H
#define RP_PROXY_STREAM_H

#include "net/splice.h"
#include "net/tls_hello.h"
#include "proxy/proxy.h"

enum rp_stream_state {
    RP_STREAM_HELLO,   /* the ClientHello is read */
    RP_STREAM_HOOK,    /* the connect hooks run */
    RP_STREAM_PICK,    /* a peer is chosen */
    RP_STREAM_CONNECT, /* ... and connected to */
    RP_STREAM_RELAY,   /* bytes go both ways */
    RP_STREAM_LOG,     /* closed; the log hooks run */
};

enum { RP_STREAM_MAGIC = 0x5354524d, RP_STREAM_NAME_BYTES = 64 };

/* One direction. `bytes` was read from its source and not yet taken by its sink. */
struct rp_stream_way {
    struct rp_chain bytes;
    struct rp_splice *pipe; /* holds more of them, behind those */
    bool bulk;              /* they come faster than it pays to look at them: by the kernel */
    bool dry;               /* bulk: the last move found nothing */
    bool ready;             /* the source may have bytes */
    bool ended;             /* the source said so (FIN) */
    bool finished;          /* ... and the sink was told */
    bool broken;            /* the sink takes nothing more */
    bool full;              /* the last read filled its buffer: the next one gets a larger one */
};

/* What is needed only until an upstream is chosen. */
struct rp_stream_peek {
    struct rp_tls_hello hello;
    char body[RP_TLS_HELLO_MOST];
};

struct rp_stream {
    uint32_t magic;
    uint8_t state;   /* enum rp_stream_state */
    uint8_t tries;   /* upstream attempts so far */
    bool access_log; /* copied: its generation may go */
    bool relayed;    /* a connection to an upstream came about */
    bool udp;        /* the first member of a struct rp_udp_session, stream_udp.h */
    unsigned wakes;  /* enum rp_wake bits since the last run */
    struct rp_proxy *proxy;
    struct rp_conf *conf;              /* held */
    const struct rp_conf_stream *what; /* of conf; NULL: a reload left no such listener */
    struct rp_serve *serve;
    struct rp_conn *down, *up;
    struct rp_stream_way to_up, to_down;
    const char *waiting_for;
    rp_err timer_means;    /* failure to report when the timer fires */
    rp_err fail;           /* first failure: access log's reason */
    rp_err try_fail;       /* how the last attempt failed */
    struct rp_defer run;   /* end-of-tick job */
    struct rp_timer timer; /* the one deadline */
    rp_ms idle_ms;
    struct rp_stream_peek *peek;       /* NULL: nothing is read before connecting */
    struct rp_conf_upstream *upstream; /* chosen; NULL before, when refused and once re-homed */
    struct rp_pick pick;
    rp_ns start_ns, connected_ns, end_ns;
    uint64_t up_bytes, down_bytes; /* written to the upstream, to the client */
    void *task;                    /* parked hook, owned by script/ */
    void *script;                  /* what script/ keeps of it */
    struct rp_stream *next, *prev; /* the worker's list */
    struct rp_addr client;
    struct rp_addr peer_addr; /* last one tried; family NONE: none */
    uint16_t greeting_n;      /* bytes of a PROXY header, first of to_up; 0: none */
    uint8_t upstream_n;       /* bytes of its name, cut, for the log */
    char upstream_name[RP_STREAM_NAME_BYTES];
    uint8_t sni_n;
    char sni[RP_TLS_NAME_MOST]; /* lower case; none: sni_n 0 */
};

/* A connection came in on s (own). */
void rp_stream_open(struct rp_serve *s, struct rp_conn *c);
void rp_stream_wake(struct rp_stream *s, unsigned why);
/* The upstream whose names were waited for may be usable now. */
void rp_stream_wake_picking(struct rp_proxy *p);
/* A new generation: connected streams let go of the old one. */
void rp_stream_rehome_all(struct rp_proxy *p);
/* The oldest generation that a stream holds; UINT64_MAX: none. */
uint64_t rp_stream_oldest(const struct rp_proxy *p);
/* One line per stream: state, waiting_for, age, client, listener. */
void rp_stream_dump(const struct rp_proxy *p, struct rp_buf *out);
/* End all of them now. */
void rp_stream_abort_all(struct rp_proxy *p);
/* Use another upstream, while the connect hooks run. RP_E_PHASE, RP_E_NOT_FOUND. */
RP_MUST rp_err rp_stream_set_upstream(struct rp_stream *s, uint32_t index);
rp_str rp_stream_alpn(const struct rp_stream *s); /* list as on the wire; until connected */
/* The share of birth and death that UDP sessions have too: fill s (zeroed), put it into the list of
 * all, count it; and the reverse (s is the caller's to free, and may be the last that a drain waits
 * for). */
void rp_stream_begin(struct rp_stream *s, struct rp_serve *serve);
void rp_stream_end(struct rp_stream *s);

/* ---- stream_relay.c -------------------------------------------------------------------------- */

/* Move what can be moved both ways. RP_OK: both ends are through; RP_AGAIN: waiting; < 0: an end
 * broke, s->fail is set. */
RP_MUST rp_err rp_stream_relay(struct rp_stream *s);
/* Close both connections, each as the other one ended. */
void rp_stream_close(struct rp_stream *s);

/* ---- stream_log.c ---------------------------------------------------------------------------- */

void rp_stream_log(struct rp_stream *s);

#endif
