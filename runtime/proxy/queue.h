/* SPDX-License-Identifier: MIT
 *
 * queue: requests that wait until some peer of their upstream has a seat (`max_conns`), in the order of
 * their priority and then of their coming. One queue per upstream, generation and worker.
 *
 * Seats that this worker frees go to the first of the queue at once. Those that other workers free are
 * found by looking, so a queue is never stuck behind seats that nobody here gives back.
 */
#ifndef RP_PROXY_QUEUE_H
#define RP_PROXY_QUEUE_H

#include "proxy/upstream.h"

/* No peer had a seat for r (in PICK): let it wait. RP_OK: it is in the queue, and is woken with
 * RP_WAKE_UP; RP_E_UP_FULL: the upstream has no queue, or that is full. */
RP_MUST rp_err rp_queue_join(struct rp_req *r);
void rp_queue_part(struct rp_req *r);             /* r is in a queue: out of it */
bool rp_queue_has_before(const struct rp_req *r); /* the queue of r's group is not empty */
void rp_queue_rouse(struct rp_group *g);          /* nor is this one */

#ifndef RP_CDEF
/* It goes on, or ends. Nothing when it is in none. */
static inline void rp_queue_leave(struct rp_req *r)
{
    if (RP_UNLIKELY(r->queue != NULL)) rp_queue_part(r);
}
/* Must r wait for others, though there may be a seat? */
static inline bool rp_queue_is_behind(const struct rp_req *r)
{
    return RP_UNLIKELY(r->pick.group && r->pick.group->queue.first) && rp_queue_has_before(r);
}
/* A seat became free, or may have. */
static inline void rp_queue_wake(struct rp_group *g)
{
    if (RP_UNLIKELY(g->queue.first != NULL)) rp_queue_rouse(g);
}
#endif
void rp_queue_fini(struct rp_group *g); /* empty */

#endif
