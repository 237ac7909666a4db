/* SPDX-License-Identifier: MIT
 *
 * h1_down: an HTTP/1 connection of a client: heads in, exchanges to the user, responses out.
 *
 * States: IDLE (between requests, owns no buffer) -> HEAD (part of a head came) -> BUSY (an exchange
 * runs) -> IDLE | CLOSING (last bytes go out). One exchange at a time; pipelined requests wait in the
 * reader. RFC 9112 §9.
 */
#ifndef RP_HTTP_H1_DOWN_H
#define RP_HTTP_H1_DOWN_H

#include "http/exchange.h"
#include "http/h1_parse.h"

struct rp_h2_downs; /* h2_down.h */

/* Shared by all sessions of a worker; the owner changes it in place on a reload. */
struct rp_h1_settings {
    struct rp_h1_limits limits;
    uint64_t requests_max; /* per connection; 0 = no limit */
    rp_ms age_ms;          /* no further request on an older connection; 0 = no limit */
    rp_ms head_ms;         /* a whole head, from its first byte (or the connection's start) */
    rp_ms keepalive_ms;    /* idle between requests */
    rp_ms linger_ms;       /* waiting for the client to read an answer that ends the connection */
    struct rp_pace_rule body_pace; /* least rate of request bodies */
    struct rp_pace_rule send_pace; /* ... and at which a client takes responses: the user asks */
    bool draining;                 /* no keep-alive any more */
    struct rp_h2_downs *h2;        /* takes connections that begin with its preface; NULL: none */
};

struct rp_h1_down;
struct rp_h1_downs { /* all sessions of a worker */
    struct rp_h1_down *first;
    const struct rp_exchange_user *user;
    const struct rp_h1_settings *settings;
    uint32_t n, idle_n; /* idle: no byte of a request is there */
};

/* Serve conn (own). settings, user, all and mem are kept; those of `all` share one user
 * and its settings. */
void rp_h1_down_open(struct rp_conn *conn, struct rp_mem *mem,
                     const struct rp_h1_settings *settings, const struct rp_exchange_user *user,
                     struct rp_h1_downs *all, void *listener, uint64_t conn_id);
/* Close every session that has no request under way (drain). */
void rp_h1_downs_close_idle(struct rp_h1_downs *all);

#endif
