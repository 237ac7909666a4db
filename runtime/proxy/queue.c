/* SPDX-License-Identifier: MIT
 *
 * queue: see queue.h.
 *
 * Invariant: a request is in a queue only while it waits in PICK; whoever leaves PICK leaves the queue.
 * Only the first is woken; one that takes its seat wakes the next, as there may be more.
 */
#include "proxy/queue.h"

#include "proxy/proxy.h"

enum { LOOK_MS = 20 }; /* how often we look whether another worker freed a seat */

static void on_look(struct rp_timer *t)
{
    rp_queue_wake(RP_CONTAINER(rp_group, look, t));
}

static void keep_looking(struct rp_group *g)
{
    struct rp_loop *loop = g->proxy->loop;
    if (!g->queue.first) rp_timer_clear(loop, &g->look);
    else if (!rp_timer_is_armed(&g->look)) rp_timer_set(loop, &g->look, LOOK_MS);
}

/* Behind all that are as urgent. */
static void insert(struct rp_queue *q, struct rp_req *r)
{
    struct rp_req *before = q->last;
    while (before && before->priority < r->priority) before = before->queue_prev;
    r->queue_prev = before;
    r->queue_next = before ? before->queue_next : q->first;
    if (r->queue_next) r->queue_next->queue_prev = r;
    else q->last = r;
    if (before) before->queue_next = r;
    else q->first = r;
    q->n++;
}

rp_err rp_queue_join(struct rp_req *r)
{
    struct rp_group *g = r->pick.group;
    if (r->queue) return RP_OK; /* it was woken in vain */
    if (g->queue.n >= g->conf->queue_max) return RP_E_UP_FULL;
    if (!g->look.fire) rp_timer_init(&g->look, on_look);
    r->queue = g;
    insert(&g->queue, r);
    keep_looking(g);
    return RP_OK;
}

void rp_queue_part(struct rp_req *r)
{
    struct rp_group *g = r->queue;
    struct rp_queue *q = &g->queue;
    if (r->queue_prev) r->queue_prev->queue_next = r->queue_next;
    else q->first = r->queue_next;
    if (r->queue_next) r->queue_next->queue_prev = r->queue_prev;
    else q->last = r->queue_prev;
    r->queue_next = r->queue_prev = NULL;
    r->queue = NULL;
    q->n--;
    keep_looking(g);
    rp_queue_wake(g);
}

bool rp_queue_has_before(const struct rp_req *r)
{
    const struct rp_req *first = r->pick.group->queue.first;
    if (first == r) return false;
    return r->queue || first->priority >= r->priority;
}

void rp_queue_rouse(struct rp_group *g)
{
    rp_req_wake(g->queue.first, RP_WAKE_UP);
    keep_looking(g);
}

void rp_queue_fini(struct rp_group *g)
{
    RP_CHECK(g->queue.n == 0);
    if (g->look.fire) rp_timer_clear(g->proxy->loop, &g->look);
}
