/* SPDX-License-Identifier: MIT
 *
 * split: requests of a route that are divided among upstreams.
 *
 * A client has a position from 0 to 9,999: by a hash of what it is known by, else by its cookie, else
 * by chance. Whose a position is, is in a table that all workers share (shm/splits.h) and that the
 * operator and the agent change. Rules go before: what they say is done whatever the shares are, and
 * counts for nobody.
 *
 * The cookie holds the position and a keyed hash of it: a client can keep its own, and not choose one.
 */
#ifndef RP_PROXY_SPLIT_H
#define RP_PROXY_SPLIT_H

#include "proxy/request.h"

struct rp_splits; /* shm/splits.h */

enum { RP_SPLIT_TOKEN = 32 }; /* hexadecimal digits */

/* How a request's side was chosen. */
enum rp_split_by {
    RP_SPLIT_BY_NOTHING, /* there is no split, a rule chose, or a hook chose another upstream */
    RP_SPLIT_BY_LATER,   /* after the access hooks, which say who it is */
    RP_SPLIT_BY_KEY,
    RP_SPLIT_BY_COOKIE,
    RP_SPLIT_BY_CHANCE,
};

/* Places of a generation's splits in the table; those that are held already stay. A full table is one
 * log line, and the shares of such a split are those of the site. */
void rp_splits_open(struct rp_proxy *p, struct rp_conf *c);
void rp_splits_close(struct rp_proxy *p, struct rp_conf *c);
/* Share them with the other workers, before the first request: kept. */
void rp_proxy_use_splits(struct rp_proxy *p, struct rp_splits *splits, uint32_t row);

/* ROUTE: choose r->upstream of its route's split. RP_E_CAP: a condition could not be answered. */
RP_MUST rp_err rp_split_choose(struct rp_req *r);
/* REWRITE: the same for one that was left for later. */
void rp_split_choose_late(struct rp_req *r);
/* A response is there: give the client its cookie, where it has none. RP_E_CAP. */
RP_MUST rp_err rp_split_tell(struct rp_req *r);
/* LOG: what became of it. */
void rp_split_count(struct rp_req *r);

#endif
