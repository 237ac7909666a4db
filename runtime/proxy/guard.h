/* SPDX-License-Identifier: MIT
 *
 * guard: what stands between a request and an upstream as a whole: circuits (of the upstream and of
 * the route), limits of how many may be under way, and the judge of its peers. The rules are pure
 * (circuit.h, limit.h, outlier.h); here they meet requests and what all workers know (roster_gate.h).
 *
 * A request that a circuit let pass has a ticket. The end of each try gives it back with what it
 * says; one that ends otherwise (its client went away) gives it back without a word. Two tries at once
 * share a ticket: one that comes to nothing says nothing, the other may do better.
 */
#ifndef RP_PROXY_GUARD_H
#define RP_PROXY_GUARD_H

#include "proxy/upstream.h"

struct rp_guard_ticket {
    uint32_t gate;
    bool held, taken; /* taken: once, by the try that goes on */
    bool probe;       /* it is one, and ... */
    uint8_t row;      /* ... of this opening in a row */
    rp_ms at;         /* of the state that let it pass */
};

struct rp_guard {
    struct rp_guard_ticket of_route, of_upstream;
    bool fell;        /* it goes to the fallback */
    bool answered;    /* a response head came, and was counted */
    uint32_t retry_s; /* refused: worth another try after that */
};

/* ---- requests ------------------------------------------------------------------------------- */

/* In PICK, of one for which rp_guard_is_on: may it go on? Its upstream may be the fallback then.
 * RP_E_UP_CIRCUIT: it may not. */
RP_MUST rp_err rp_guard_ask(struct rp_req *r);
/* A response head is in r->res; a try failed (late: by a time that ran out), not for the pool's sake.
 * Before the peer is let go. */
void rp_guard_answered(struct rp_req *r);
void rp_guard_failed(struct rp_req *r, bool late);
/* Would another try be let pass? So that an answer is not dropped for one that is refused. */
bool rp_guard_may_repeat(const struct rp_req *r);
/* No peer may be asked now, and it does not wait. */
void rp_guard_full(struct rp_req *r);
/* r->guard is there, and the request ends. An answer that its upstream broke off counts as bad. */
void rp_guard_leave(struct rp_req *r);
/* Its try goes on as that of `to`, and so do its tickets. */
void rp_guard_hand_over(struct rp_req *r, struct rp_req *to);
void rp_guard_tell_client(struct rp_req *r); /* Retry-After of a refusal */

/* ---- groups --------------------------------------------------------------------------------- */

/* Of a group with a gate: most requests under way, by its limits; UINT32_MAX: any number. */
uint32_t rp_guard_most(const struct rp_group *g);
/* ... has it room for one more? */
bool rp_guard_has_room(const struct rp_group *g);
void rp_guard_place(struct rp_group *g); /* hold its gate, where it needs one */
void rp_guard_displace(struct rp_group *g);
/* Gates of the routes by their index; NULL: none has a circuit. */
uint32_t *rp_guard_place_routes(struct rp_proxy *p, const struct rp_conf *c);
void rp_guard_displace_routes(struct rp_proxy *p, uint32_t **gates, uint32_t n);
/* Its circuit now, enum rp_circuit; -1: it has none. */
int rp_guard_circuit(const struct rp_group *g);
/* Once a second: what is decided at intervals. */
void rp_guard_beat(struct rp_proxy *p);

/* guard_outlier.c: judge the group's peers, if it is time. */
void rp_guard_judge(struct rp_group *g, rp_ms now);

#ifndef RP_CDEF
static inline bool rp_guard_is_on(const struct rp_req *r)
{
    return RP_UNLIKELY(r->upstream->guarded | r->route->circuit.on);
}
#endif

#endif
