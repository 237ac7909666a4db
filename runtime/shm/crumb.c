/* SPDX-License-Identifier: MIT
 *
 * crumb: per worker one head page and a table of names.
 *
 * The table is a hash set with windows: a name sits in one of the WINDOW slots after its home, and
 * a look-up reads them all. So a slot is freed by clearing its generation, with nothing to move,
 * and an id (slot + 1) stays good as long as a live generation uses it.
 */
#include "shm/crumb.h"

#include "base/hash.h"
#include "base/mem.h"

enum {
    PAGE = 4096,
    WINDOW = 32,
    NAMES_MIN = 64,
    NAMES_MAX = 32768, /* ids fit in 16 bits */
    WORKERS_MAX = 65535,
};

struct crumb_name {
    uint64_t hash;                  /* of the whole name */
    uint64_t generation;            /* newest user + 1; 0 = free */
    char text[RP_CRUMB_NAME_BYTES]; /* NUL-padded, no NUL when it fills all */
};

struct rp_crumbs {
    char *base;
    size_t stride; /* bytes from worker to worker: whole pages */
    uint32_t worker_n, name_n;
};

_Static_assert(sizeof(struct crumb_name) == 128, "two cache lines");
_Static_assert(sizeof(struct rp_crumb) <= PAGE, "the head has one page");

extern inline uint64_t rp_crumb_where(uint32_t plugin, uint32_t hook, uint32_t route);
extern inline void rp_crumb_enter(struct rp_crumb *c, uint64_t where);
extern inline void rp_crumb_leave(struct rp_crumb *c);
extern inline void rp_crumb_tick(struct rp_crumb *c, uint64_t now_ms);

static size_t stride_of(uint32_t name_n)
{
    size_t bytes = PAGE + sizeof(struct crumb_name) * name_n;
    return (bytes + PAGE - 1) & ~(size_t)(PAGE - 1);
}

static bool are_sane(uint32_t worker_n, uint32_t name_n)
{
    return worker_n >= 1 && worker_n <= WORKERS_MAX && name_n >= NAMES_MIN && name_n <= NAMES_MAX &&
           (name_n & (name_n - 1)) == 0;
}

size_t rp_crumb_bytes(uint32_t worker_n, uint32_t name_n)
{
    return stride_of(name_n) * worker_n;
}

rp_err rp_crumb_new(struct rp_zone *z, rp_str part, uint32_t worker_n, uint32_t name_n,
                    struct rp_crumbs **out)
{
    if (!are_sane(worker_n, name_n)) return RP_E_INVALID;
    void *base;
    bool fresh;
    rp_err e = rp_zone_part(z, part, rp_crumb_bytes(worker_n, name_n), &base, &fresh);
    if (e != RP_OK) return e;
    struct rp_crumbs *c = rp_alloc(sizeof *c);
    *c = (struct rp_crumbs){base, stride_of(name_n), worker_n, name_n};
    *out = c;
    return RP_OK;
}

void rp_crumb_free(struct rp_crumbs **c)
{
    rp_free(*c);
    *c = NULL;
}

struct rp_crumb *rp_crumb_page(const struct rp_crumbs *c, uint32_t worker)
{
    RP_CHECK(worker < c->worker_n);
    return (struct rp_crumb *)(void *)(c->base + c->stride * worker);
}

static struct crumb_name *names_of(const struct rp_crumbs *c, uint32_t worker)
{
    return (struct crumb_name *)(void *)((char *)rp_crumb_page(c, worker) + PAGE);
}

/* ------------------------------------------------------------------ the worker's side */

void rp_crumb_start(const struct rp_crumbs *c, uint32_t worker, uint32_t pid, double wall,
                    uint64_t now_ms)
{
    struct rp_crumb *page = rp_crumb_page(c, worker);
    struct crumb_name *names = names_of(c, worker);
    /* Reading a page of a memfd allocates it: leave a table alone that nobody has used. */
    if (page->name_n) memset(names, 0, sizeof *names * c->name_n);
    *page = (struct rp_crumb){
        .pid = pid,
        .started_wall = wall,
        .last_tick_ms = now_ms,
    };
}

uint32_t rp_crumb_intern(const struct rp_crumbs *c, uint32_t worker, rp_str name,
                         uint64_t generation)
{
    struct crumb_name *names = names_of(c, worker), *place = NULL;
    uint64_t hash = rp_hash_bytes(name);
    for (uint32_t i = 0; i < WINDOW; i++) {
        struct crumb_name *slot = &names[(hash + i) & (c->name_n - 1)];
        if (slot->generation && slot->hash == hash) {
            slot->generation = RP_MAX(slot->generation, generation + 1);
            return (uint32_t)(slot - names) + 1;
        }
        if (!slot->generation && !place) place = slot;
    }
    if (!place) return 0;
    *place = (struct crumb_name){.hash = hash, .generation = generation + 1};
    rp_crumb_page(c, worker)->name_n++;
    if (name.len) memcpy(place->text, name.ptr, RP_MIN(name.len, sizeof place->text));
    return (uint32_t)(place - names) + 1;
}

void rp_crumb_retire(const struct rp_crumbs *c, uint32_t worker, uint64_t oldest_live)
{
    struct crumb_name *names = names_of(c, worker);
    for (uint32_t i = 0; i < c->name_n; i++) {
        if (names[i].generation && names[i].generation < oldest_live + 1) names[i].generation = 0;
    }
}

/* ------------------------------------------------------------------ the master's side */

static void copy_name(const struct rp_crumbs *c, uint32_t worker, uint64_t id, char *out,
                      size_t room)
{
    out[0] = 0;
    if (id == 0 || id > c->name_n) return;
    const struct crumb_name *name = &names_of(c, worker)[id - 1];
    size_t n = strnlen(name->text, RP_MIN(sizeof name->text, room - 1));
    memcpy(out, name->text, n);
    out[n] = 0;
}

void rp_crumb_report(const struct rp_crumbs *c, uint32_t worker, struct rp_crumb_report *out)
{
    const struct rp_crumb *page = rp_crumb_page(c, worker);
    uint64_t seq = __atomic_load_n(&page->hook_seq, __ATOMIC_ACQUIRE);
    uint64_t where = __atomic_load_n(&page->where, __ATOMIC_RELAXED);
    *out = (struct rp_crumb_report){
        .pid = page->pid,
        .inside = seq & 1,
        .generation = page->generation,
        .hook_n = seq / 2 + (seq & 1),
        .last_tick_ms = __atomic_load_n(&page->last_tick_ms, __ATOMIC_RELAXED),
        .started_wall = page->started_wall,
    };
    if (!out->inside) return;
    copy_name(c, worker, where >> 32 & 0xffff, out->plugin, sizeof out->plugin);
    copy_name(c, worker, where >> 16 & 0xffff, out->hook, sizeof out->hook);
    copy_name(c, worker, where & 0xffff, out->route, sizeof out->route);
}
