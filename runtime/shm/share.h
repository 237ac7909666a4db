/* SPDX-License-Identifier: MIT
 *
 * share: one zone of `shared`, of whichever kind: what master and workers do with all of them
 * alike.
 */
#ifndef RP_SHM_SHARE_H
#define RP_SHM_SHARE_H

#include "shm/dict.h"
#include "shm/distinct.h"
#include "shm/lookup.h"
#include "shm/tally.h"
#include "shm/top.h"

/* lua/rproxy/config/zones.lua has the same numbers. */
enum rp_share_kind {
    RP_SHARE_STORE = RP_DICT_STORE,
    RP_SHARE_CACHE = RP_DICT_CACHE,
    RP_SHARE_BUCKETS = RP_DICT_BUCKETS,
    RP_SHARE_COUNTERS,
    RP_SHARE_SET,
    RP_SHARE_TOP,
    RP_SHARE_DISTINCT,
    RP_SHARE_KINDS = RP_SHARE_DISTINCT,
};

/* The zone stays the caller's, and is to outlive it. One of the pointers is not NULL. */
struct rp_share {
    uint32_t kind; /* enum rp_share_kind; 0: not open */
    struct rp_dict *dict;
    struct rp_tally *tally;
    struct rp_lookup *lookup;
    struct rp_top *top;
    struct rp_distinct *distinct;
};

const char *rp_share_kind_name(uint32_t kind);
/* Lay out, or find again. Fresh ones by the master only.
 * ret   RP_OK; RP_E_INVALID: something else is in it; RP_E_OS */
RP_MUST rp_err rp_share_open(struct rp_zone *z, uint32_t kind, struct rp_share *out);
void rp_share_close(struct rp_share *s); /* also one that is not open */
/* "entries 3, .." for `rproxy status`. Takes no lock. */
void rp_share_status(const struct rp_share *s, struct rp_buf *out);
/* That worker is dead: what it held is free, its gauges are 0. Takes no lock. */
void rp_share_forget(struct rp_share *s, uint32_t worker);

#endif
