/* SPDX-License-Identifier: MIT
 *
 * vm_run: what every entry of Lua and every end of a hook goes through, inline, for the .c files of
 * script/ only: phase.c has it once more where hooks of requests begin, as what is known there costs
 * nothing.
 */
#ifndef RP_SCRIPT_VM_RUN_H
#define RP_SCRIPT_VM_RUN_H

#include "script/vm.h"

/* vm_task.c: what most runs need not. */
void rp_task_begin_measured(struct rp_host *h, struct rp_task *t);
void rp_task_end_measured(struct rp_host *h, struct rp_task *t, int rc);
void rp_task_cut_ties(struct rp_task *t, bool well);

static inline uint64_t rp_task_where(const struct rp_host *h, const struct rp_task *t)
{
    uint16_t plugin = 0, route = 0;
    if (t->chain && t->at) plugin = h->chains[t->chain]->crumb_ids[t->at - 1];
    if (t->req && t->req->route && h->route_ids) route = h->route_ids[t->req->route->index];
    return rp_crumb_where(plugin, h->hook_ids[t->phase], route);
}

static inline void rp_task_is_left(struct rp_host *h)
{
    h->face.notes = RP_NOTES_NONE;
    h->face.req = NULL;
    h->face.wrapper = 0;
    h->current = NULL;
}

/* rp_task_resume */
static inline int rp_task_run(struct rp_task *t, int nargs)
{
    struct rp_host *h = t->host;
    RP_CHECK(!h->current); /* compiled code that called C cannot be entered again */
    t->state = RP_TASK_RUNNING;
    h->current = t;
    h->face.req = t->req;
    h->face.wrapper = t->scope->wrapper;
    h->face.at = t->at;
    h->face.notes = t->notes;
    bool measured = t->weight || t->parked_ns || t->fuel;
    if (RP_UNLIKELY(measured)) rp_task_begin_measured(h, t);
    rp_crumb_enter(h->crumb, rp_task_where(h, t));
    int rc = lua_resume(t->co, nargs);
    rp_crumb_leave(h->crumb);
    if (RP_UNLIKELY(measured || rc == LUA_YIELD || h->face.attention))
        rp_task_end_measured(h, t, rc);
    t->at = h->face.at;
    t->notes = h->face.notes;
    rp_task_is_left(h);
    return rc;
}

/* Most hooks neither wait nor make anything: one look tells. */
static inline bool rp_task_has_ties(const struct rp_task *t)
{
    uintptr_t any = (uintptr_t)t->timer.link.next | (uintptr_t)t->waits_at | (uintptr_t)t->joins |
                    (uintptr_t)t->kids | (uintptr_t)t->scope->holds | (uintptr_t)t->own.tasks |
                    (uintptr_t)t->own.holds | (uintptr_t)t->fuel;
    return any || t->parked_ns || !t->is_hook;
}

enum {
    RP_TASK_FIRST = offsetof(struct rp_task, chain),
    RP_TASK_RARE = offsetof(struct rp_task, touched),
    RP_TASK_END = offsetof(struct rp_task, on_end) + sizeof(void (*)(void))
};

/* A hook of a request returned, on the task of its slot: it is free for the next one. */
static inline void rp_task_rest(struct rp_task *t)
{
    if (RP_UNLIKELY(rp_task_has_ties(t))) rp_task_cut_ties(t, true);
    t->state = RP_TASK_FREE;
    memset((char *)t + RP_TASK_RARE, 0, RP_TASK_END - RP_TASK_RARE);
}

/* Nothing is left of its run. */
static inline void rp_task_clear(struct rp_task *t)
{
    memset((char *)t + RP_TASK_FIRST, 0, RP_TASK_END - RP_TASK_FIRST);
}

/* Back to the pool; its coroutine is empty or gone. */
static inline void rp_task_give_back(struct rp_task *t, bool well)
{
    struct rp_host *h = t->host;
    if (RP_UNLIKELY(!t->scope)) t->scope = &t->own; /* it never ran */
    if (t->chain) rp_account_calls(h->chains[t->chain], t->at);
    if (RP_UNLIKELY(rp_task_has_ties(t))) rp_task_cut_ties(t, well);
    t->state = RP_TASK_FREE;
    rp_task_clear(t);
    if (t->is_slots) return;
    t->next = h->free_tasks;
    h->free_tasks = t;
}

#endif
