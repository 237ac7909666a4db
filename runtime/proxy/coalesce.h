/* SPDX-License-Identifier: MIT
 *
 * coalesce: identical requests under way at the same moment share one upstream's answer (`coalesce`
 * of a route). The first one leads and asks; those that come before its answer is there wait for
 * it, in PICK. Whether an answer may be shared is known when its head is there; then the leader
 * reads it whole, up to a limit, and each gets a copy of the head, which its own hooks see, and the
 * same body bytes.
 *
 * What cannot be shared is asked for by each. A leader whose client goes away hands its try over to
 * the next; one that fails is followed by another, a few times, then its failure is everybody's.
 *
 * A request has r->coalesce only where its route says so and it may take part.
 */
#ifndef RP_PROXY_COALESCE_H
#define RP_PROXY_COALESCE_H

#include "proxy/flight.h"
#include "proxy/lifecycle.h"

struct rp_coalesce { /* in the request's arena */
    struct rp_flight_seat seat;
    struct rp_req *req;
    rp_ms until_ms; /* it waits for others that long in all */
    uint8_t rounds; /* flights that it took part in */
    bool alone;     /* it asks for itself */
    bool shared;    /* it got what another one asked for */
    uint64_t hash;  /* of its key */
};

struct rp_coalescing; /* a worker's; made at first use */
void rp_coalescing_free(struct rp_proxy *p);

/* PICK: true: ask the upstream. False: *v, another one does. */
bool rp_coalesce_settle(struct rp_req *r, enum rp_verdict *v);
/* RESPOND, before anybody has looked at r's answer: those that wait get it, too, or what becomes of
 * them is settled. False: *v, it is not whole yet, or failed. */
bool rp_coalesce_share(struct rp_req *r, enum rp_verdict *v);
/* r's client is gone; r->step tells where that met it. */
void rp_coalesce_abandon(struct rp_req *r);
void rp_coalesce_end(struct rp_req *r); /* it waits for nobody, and nobody for it */

#endif
