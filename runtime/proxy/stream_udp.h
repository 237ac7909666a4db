/* SPDX-License-Identifier: MIT
 *
 * stream_udp: relayed datagrams. A door is a bound socket in service (udp_door.c); a session is what
 * one client address says through it, with a connected socket of its own towards one peer
 * (stream_udp.c). To hooks, logs, dumps and reloads a session is a stream.
 *
 * A session costs a descriptor, and a datagram with a forged sender costs its sender nothing. So the
 * number of sessions is bounded per door and per worker; at the bound a session whose client has not
 * shown that it gets our answers (by a datagram after one) makes room, once it is a second old. One
 * that has is never put out. What finds no room is dropped and counted.
 *
 * Datagrams wait here in two cases only, and bounded: while hooks run or names are looked up; and for
 * a moment as copies of what was sent before the first answer, for when the kernel says that nobody
 * listened (nothing has taken them then, so another peer may have them).
 */
#ifndef RP_PROXY_STREAM_UDP_H
#define RP_PROXY_STREAM_UDP_H

#include "net/dgram.h"
#include "proxy/flow.h"
#include "proxy/server.h"
#include "proxy/stream.h"

/* What the doors of a worker share. */
struct rp_udp {
    struct rp_dgram_batch *batch;
    struct rp_pool pool; /* of sessions */
    uint32_t sessions_n, sessions_most;
    uint64_t held_bytes; /* of all datagrams that wait */
};

struct rp_udp_held { /* a datagram that waits */
    struct rp_udp_held *next;
    size_t len;
    char bytes[];
};

struct rp_udp_session {
    struct rp_stream s; /* first: see stream.h */
    struct rp_udp_door *door;
    struct rp_dgram *up; /* NULL: no peer yet, or it is gone */
    struct rp_flow flow;
    struct rp_udp_session *younger, *elder; /* of those whose client proved nothing yet */
    struct rp_udp_held *held, **held_end;
    uint32_t held_n;
    uint32_t responses, requests; /* copied: see struct rp_conf_stream */
    uint8_t run_tries;            /* since the last answer */
    bool listed;                  /* in the list of younger and elder */
    bool evicted;
    bool refused; /* by a hook, or for want of an upstream: what its client says is dropped */
    bool broken;  /* the socket said so: `os` */
    int os;
    uint64_t owed_n;       /* answers that are expected still */
    uint64_t up_n, down_n; /* datagrams passed on */
    struct rp_addr local;  /* what the client wrote to */
};

struct rp_udp_door {
    struct rp_serve *serve;
    struct rp_dgram *socket;
    struct rp_flows flows;
    struct rp_udp_session *youngest, *eldest; /* see struct rp_udp_session */
    uint32_t sessions_n;
    bool leaving; /* nobody new is let in */
    struct rp_timer linger;
    rp_ms said_ms; /* of the last line about dropped datagrams */
    uint64_t unsaid_n;
    rp_ms failed_ms; /* of the last line about a peer that failed */
    uint64_t failed_n;
};

/* ---- udp_door.c ------------------------------------------------------------------------------ */

/* Serve the datagrams of a bound socket (fd borrowed). RP_E_OS. */
RP_MUST rp_err rp_udp_door_open(struct rp_serve *s, int fd, struct rp_udp_door **door);
/* Nobody new; it frees itself with its last session: see rp_proxy_unlisten_udp. */
void rp_udp_door_leave(struct rp_udp_door *door);
/* A datagram is dropped: counted, and said at most once a second. */
void rp_udp_door_drop(struct rp_udp_door *door, uint64_t n, const char *why);
void rp_udp_door_list(struct rp_udp_session *u);   /* its client has proved nothing */
void rp_udp_door_unlist(struct rp_udp_session *u); /* it has, or goes */
/* A session ended and is out of everything: the door may be gone afterwards. */
void rp_udp_door_forget(struct rp_udp_door *door);
void rp_udp_free(struct rp_proxy *p); /* after the last door */

/* ---- stream_udp.c ---------------------------------------------------------------------------- */

/* A new client's session, in the table of its door. */
struct rp_udp_session *rp_udp_session_open(struct rp_udp_door *door, const struct rp_flow_key *key,
                                           const struct rp_dgram_item *first);
/* Datagrams of its client. */
void rp_udp_session_take(struct rp_udp_session *u, const rp_str *list, uint32_t n);
/* Datagrams both ways so far; 0 for other streams. */
uint64_t rp_stream_datagrams(const struct rp_stream *s, bool up);

#endif
