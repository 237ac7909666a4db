/* SPDX-License-Identifier: MIT
 *
 * h2_down: an HTTP/2 connection of a client (RFC 9113, by nghttp2): many exchanges at once, the
 * same border to the request life as h1_down.
 *
 * Content that came and was not read is bounded by the windows: a stream's window opens only as its
 * content is read; the connection's as h2_io.h says. Together that is 2 MB for a connection.
 */
#ifndef RP_HTTP_H2_DOWN_H
#define RP_HTTP_H2_DOWN_H

#include "base/buf.h"
#include "http/h1_down.h"
#include "http/h2_budget.h"

/* Obeyed by all sessions of a worker; the owner changes it in place on a reload. Limits, deadlines,
 * paces and draining are those of HTTP/1. */
struct rp_h2_settings {
    uint32_t streams_n;    /* at once in a connection */
    uint32_t window_bytes; /* content of one stream that may wait to be read */
};

/* Counted since the start. */
struct rp_h2_counts {
    uint64_t sessions, streams;
    uint64_t calmed; /* connections that were ended for their nuisance (h2_budget.h) */
};

struct rp_h2_down;
struct rp_h2_downs { /* what all sessions of a worker share */
    struct rp_h2_down *first;
    uint32_t n, busy_n; /* busy: with a request under way */
    struct rp_mem *mem;
    const struct rp_h1_settings *common;
    struct rp_h2_settings settings;
    const struct rp_exchange_user *user;
    struct rp_h2_counts *counts;
    void *callbacks, *option; /* nghttp2's */
    struct rp_pool stream_pool;
};

/* common, user, counts and mem are kept. */
void rp_h2_downs_init(struct rp_h2_downs *all, struct rp_mem *mem,
                      const struct rp_h1_settings *common, const struct rp_exchange_user *user,
                      struct rp_h2_counts *counts);
void rp_h2_downs_fini(struct rp_h2_downs *all); /* every session must have ended */
/* Serve conn (own), of which `first` (in chunk, both may be empty) was read already: the client's
 * connection preface and what follows. */
void rp_h2_down_open(struct rp_h2_downs *all, struct rp_conn *conn, void *listener,
                     uint64_t conn_id, struct rp_chunk *chunk, rp_str first);
/* "h2 conn=.. client=.. ..." of each session, one a line. */
void rp_h2_downs_dump(const struct rp_h2_downs *all, struct rp_buf *out);
/* Drain: GOAWAY to every client; sessions without a request close, the others when theirs ended. */
void rp_h2_downs_drain(struct rp_h2_downs *all);
/* Close those without a request at once; the others close when their requests ended. Not inside a
 * session's callback. */
void rp_h2_downs_abort(struct rp_h2_downs *all);

/* The connection preface of a client (RFC 9113 §3.4). */
#define RP_H2_PREFACE RP_STR("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")

#endif
