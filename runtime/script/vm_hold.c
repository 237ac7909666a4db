/* SPDX-License-Identifier: MIT
 *
 * vm_hold: what a request or a background task has to give back, whatever becomes of it: locks, seats
 * of semaphores, file jobs, processes.
 *
 * A hold belongs to a scope and goes with it. It also remembers the task that made it: one that is
 * cancelled or fails lets go of what it made at once, one that ends well leaves it to the scope (a
 * lock taken in `access` may be given back in `log`).
 */
#include "script/vm.h"

enum { HANDLE_GEN = RP_HOLDS_MOST };

/* Room for twice as many. The last index freed is the next one used. */
static bool grow(struct rp_host *h)
{
    uint32_t n = h->holds_n ? h->holds_n * 2 : 16;
    if (n > RP_HOLDS_MOST) return false;
    h->holds = rp_realloc(h->holds, n * sizeof(struct rp_hold *));
    h->hold_gens = rp_realloc(h->hold_gens, n * sizeof *h->hold_gens);
    h->hold_free = rp_realloc(h->hold_free, n * sizeof *h->hold_free);
    for (uint32_t i = h->holds_n; i < n; i++) {
        h->holds[i] = NULL;
        h->hold_gens[i] = 0;
        h->hold_free[h->hold_free_n++] = i;
    }
    h->holds_n = n;
    return true;
}

rp_err rp_hold_open(struct rp_host *h, struct rp_hold *hold, enum rp_hold_kind kind,
                    void (*let_go)(struct rp_hold *hold))
{
    struct rp_task *t = h->current;
    if (!t || !h->proxy) return RP_E_PHASE;
    if (h->hold_free_n == 0 && !grow(h)) return RP_E_CAP;
    uint32_t index = h->hold_free[--h->hold_free_n];
    hold->magic = RP_HOLD_MAGIC;
    hold->index = index;
    hold->kind = (uint8_t)kind;
    hold->serial = ++h->holds_made;
    hold->host = h;
    hold->task = t;
    rp_task_touch(t);
    hold->let_go = let_go;
    hold->scope = t->scope;
    hold->prev = NULL;
    hold->next = t->scope->holds;
    if (hold->next) hold->next->prev = hold;
    t->scope->holds = hold;
    h->holds[index] = hold;
    h->hold_gens[index]++;
    return RP_OK;
}

double rp_hold_handle(const struct rp_hold *hold)
{
    return (double)hold->index + (double)hold->host->hold_gens[hold->index] * HANDLE_GEN;
}

struct rp_hold *rp_hold_find(struct rp_host *h, double handle, enum rp_hold_kind kind)
{
    if (!(handle >= 0 && handle < 9007199254740992.0) || !h->current) return NULL;
    uint64_t n = (uint64_t)handle;
    uint32_t index = (uint32_t)(n % HANDLE_GEN);
    if (index >= h->holds_n || h->hold_gens[index] != (uint32_t)(n / HANDLE_GEN)) return NULL;
    struct rp_hold *hold = h->holds[index];
    if (!hold || hold->kind != kind || hold->scope != h->current->scope) return NULL;
    RP_CHECK(hold->magic == RP_HOLD_MAGIC);
    return hold;
}

void rp_hold_close(struct rp_hold *hold)
{
    if (hold->prev) hold->prev->next = hold->next;
    else hold->scope->holds = hold->next;
    if (hold->next) hold->next->prev = hold->prev;
    struct rp_host *h = hold->host;
    h->holds[hold->index] = NULL;
    h->hold_free[h->hold_free_n++] = hold->index;
    hold->next = hold->prev = NULL;
    hold->scope = NULL;
    hold->let_go(hold);
}

void rp_hold_forget_task(struct rp_scope *s, const struct rp_task *t, bool well)
{
    struct rp_hold *next;
    for (struct rp_hold *hold = s->holds; hold; hold = next) {
        next = hold->next;
        if (hold->task != t) continue;
        hold->task = well ? t->parent : NULL;
        if (!well) rp_hold_close(hold); /* letting go touches no other hold of this list's scope */
    }
}

void rp_hold_close_all(struct rp_scope *s)
{
    while (s->holds) rp_hold_close(s->holds);
}

double rp_abi_holds_mark(const struct rp_host_face *f)
{
    const struct rp_host *h = (const struct rp_host *)(const void *)f;
    return (double)h->holds_made;
}

void rp_abi_holds_undo(struct rp_host_face *f, double mark)
{
    const struct rp_host *h = rp_vm_of(f);
    struct rp_hold *next;
    if (!h->current) return;
    /* The newest come first. */
    for (struct rp_hold *it = h->current->scope->holds; it; it = next) {
        next = it->next;
        if ((double)it->serial <= mark) return;
        if (it->task == h->current) rp_hold_close(it);
    }
}

void rp_hold_fini(struct rp_host *h)
{
    rp_free(h->holds);
    rp_free(h->hold_gens);
    rp_free(h->hold_free);
}
