/* SPDX-License-Identifier: MIT
 *
 * counter: 64-bit counters and gauges, one page of them per worker in a zone.
 *
 * A worker writes its own page only, so an addition is a load and a store, never a locked
 * instruction; readers add the pages up. Names and values outlive workers, reloads and upgrades.
 */
#ifndef RP_SHM_COUNTER_H
#define RP_SHM_COUNTER_H

#include "shm/zone.h"

enum { RP_COUNTER_NAME_BYTES = 56 }; /* a NUL included */

enum rp_counter_kind {
    RP_COUNTER_SUM = 1,   /* only grows, over the lives of many workers */
    RP_COUNTER_GAUGE = 2, /* what a worker has now; a new worker starts it at 0 */
};

struct rp_counters;

/* Lay out (or, in an adopted zone, find again) a set in a part of that name.
 * ret   RP_OK; RP_E_INVALID: exists with other numbers, or worker_n or cap_n out of 1..65535;
 *       else as rp_zone_part */
RP_MUST rp_err rp_counter_new(struct rp_zone *z, rp_str part, uint32_t worker_n, uint32_t cap_n,
                              struct rp_counters **out);
void rp_counter_free(struct rp_counters **c); /* this process's handle; the zone keeps the values */
/* Zone bytes that such a set takes. */
size_t rp_counter_bytes(uint32_t worker_n, uint32_t cap_n);

/* Index of the name, registered now if it is new. Master only; workers may read meanwhile.
 * ret   RP_OK; RP_E_CAP: cap_n names are in; RP_E_INVALID: empty or long name, or another kind */
RP_MUST rp_err rp_counter_register(struct rp_counters *c, rp_str name, enum rp_counter_kind kind,
                                   uint32_t *index);
/* Index of a registered name; RP_E_NOT_FOUND. */
RP_MUST rp_err rp_counter_find(const struct rp_counters *c, rp_str name, uint32_t *index);
uint32_t rp_counter_count(const struct rp_counters *c);
rp_str rp_counter_name(const struct rp_counters *c, uint32_t index);
enum rp_counter_kind rp_counter_kind_of(const struct rp_counters *c, uint32_t index);

/* The page of one worker, cap_n values; worker < worker_n. */
uint64_t *rp_counter_page(const struct rp_counters *c, uint32_t worker);
/* A new worker takes the page over: gauges to 0, sums go on. */
void rp_counter_start(struct rp_counters *c, uint32_t worker);

/* On one's own page only. A gauge goes down by rp_counter_sub. */
RP_INLINE void rp_counter_add(uint64_t *page, uint32_t index, uint64_t n);
RP_INLINE void rp_counter_sub(uint64_t *page, uint32_t index, uint64_t n);
/* Value over all workers, as it is at some moment of the call. 0 for an unknown index. */
uint64_t rp_counter_sum(const struct rp_counters *c, uint32_t index);

#ifndef RP_CDEF
inline void rp_counter_add(uint64_t *page, uint32_t index, uint64_t n)
{
    uint64_t value = __atomic_load_n(&page[index], __ATOMIC_RELAXED);
    __atomic_store_n(&page[index], value + n, __ATOMIC_RELAXED);
}

inline void rp_counter_sub(uint64_t *page, uint32_t index, uint64_t n)
{
    rp_counter_add(page, index, 0 - n);
}
#endif

#endif
