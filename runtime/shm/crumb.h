/* SPDX-License-Identifier: MIT
 *
 * crumb: each worker's breadcrumbs in a zone, from which the master names plugin, hook and route
 * after the worker died or stalled.
 *
 * Names are interned at load time into the worker's own table; at run time a hook's place is one
 * 48-bit number made of three ids. Entering a hook is two stores, leaving is one.
 *   hook_seq even: outside any hook; odd: inside, and `where` tells which.
 */
#ifndef RP_SHM_CRUMB_H
#define RP_SHM_CRUMB_H

#include "shm/zone.h"

enum {
    RP_CRUMB_NAME_BYTES = 112,     /* longest text kept of a name; the rest is cut */
    RP_CRUMB_NAMES_DEFAULT = 4096, /* 512 KB per worker: thousands of routes */
};

/* The page that one worker writes. Lua may store `where` and hook_seq itself. */
struct rp_crumb {
    uint64_t hook_seq;
    uint64_t where;        /* rp_crumb_where */
    uint64_t last_tick_ms; /* monotonic; the loop is alive */
    uint64_t generation;   /* config generation of new requests */
    double started_wall;   /* seconds since the epoch */
    uint32_t pid;          /* 0: no worker has this page */
    uint32_t name_n;       /* names interned so far */
    uint64_t spare[2];
};

/* What a page says, checked and copied: texts are NUL-terminated, "" when not known. */
struct rp_crumb_report {
    uint32_t pid;
    bool inside; /* in a hook: the three names tell which */
    uint64_t generation, hook_n /* hooks entered */, last_tick_ms;
    double started_wall;
    char plugin[64], hook[24], route[96];
};

struct rp_crumbs;

/* Lay out (or find again) the pages of worker_n workers, each with name_n slots for names (a power
 * of two, 64..32768).
 * ret   RP_OK; RP_E_INVALID: bad numbers; else as rp_zone_part */
RP_MUST rp_err rp_crumb_new(struct rp_zone *z, rp_str part, uint32_t worker_n, uint32_t name_n,
                            struct rp_crumbs **out);
void rp_crumb_free(struct rp_crumbs **c);                  /* this process's handle */
size_t rp_crumb_bytes(uint32_t worker_n, uint32_t name_n); /* zone bytes that it takes */
struct rp_crumb *rp_crumb_page(const struct rp_crumbs *c, uint32_t worker); /* worker < worker_n */

/* A new worker takes the page over: everything of the old one is forgotten. */
void rp_crumb_start(const struct rp_crumbs *c, uint32_t worker, uint32_t pid, double wall,
                    uint64_t now_ms);
/* Id of a name for use by `generation`, the same id for the same name. 0 when the table is full:
 * the name will be missing in a report. Load time (about 50 ns). Names longer than the table keeps
 * are told apart by all their bytes. */
uint32_t rp_crumb_intern(const struct rp_crumbs *c, uint32_t worker, rp_str name,
                         uint64_t generation);
/* Generations before `oldest_live` are gone: slots that only they used may be reused. */
void rp_crumb_retire(const struct rp_crumbs *c, uint32_t worker, uint64_t oldest_live);

/* Three ids as one number below 2^48, so that Lua can hold it. */
RP_INLINE uint64_t rp_crumb_where(uint32_t plugin, uint32_t hook, uint32_t route);
RP_INLINE void rp_crumb_enter(struct rp_crumb *c, uint64_t where);
RP_INLINE void rp_crumb_leave(struct rp_crumb *c);
RP_INLINE void rp_crumb_tick(struct rp_crumb *c, uint64_t now_ms);

/* Read a page, of a dead worker or a running one. Believes nothing that it reads. */
void rp_crumb_report(const struct rp_crumbs *c, uint32_t worker, struct rp_crumb_report *out);

#ifndef RP_CDEF
inline uint64_t rp_crumb_where(uint32_t plugin, uint32_t hook, uint32_t route)
{
    return (uint64_t)(plugin & 0xffff) << 32 | (uint64_t)(hook & 0xffff) << 16 | (route & 0xffff);
}

/* Only this process writes the page: stores in order suffice, and x86 gives that for free. */
inline void rp_crumb_enter(struct rp_crumb *c, uint64_t where)
{
    __atomic_store_n(&c->where, where, __ATOMIC_RELAXED);
    __atomic_store_n(&c->hook_seq, (c->hook_seq + 1) | 1, __ATOMIC_RELEASE);
}

inline void rp_crumb_leave(struct rp_crumb *c)
{
    __atomic_store_n(&c->hook_seq, (c->hook_seq + 1) & ~UINT64_C(1), __ATOMIC_RELEASE);
}

inline void rp_crumb_tick(struct rp_crumb *c, uint64_t now_ms)
{
    __atomic_store_n(&c->last_tick_ms, now_ms, __ATOMIC_RELAXED);
}
#endif

#endif
