/* SPDX-License-Identifier: MIT
 *
 * top: which keys come most often, in fixed memory (Space-Saving: Metwally, Agrawal, El Abbadi
 * 2005).
 *
 * A table of counts. A key that has none takes the place of the one that came least, and begins
 * with its count, which is how wrong it can be: count - error <= what came <= count. Of N additions
 * to a shard with K places no count is wrong by more than N / K, and every key that came more often
 * than that is in it.
 */
#ifndef RP_SHM_TOP_H
#define RP_SHM_TOP_H

#include "shm/zone.h"

enum { RP_TOP_KEY_BYTES = 88 }; /* kept of a key; longer ones are told apart, but shown cut */

struct rp_top;

struct rp_top_item {
    uint64_t count, error;
    uint32_t key_n;
    char key[RP_TOP_KEY_BYTES];
};

struct rp_top_stats {
    uint64_t added, repairs;
    uint32_t keys, room;
    uint64_t error_most; /* of any count */
};

RP_MUST rp_err rp_top_new(struct rp_zone *z, struct rp_top **out); /* RP_E_INVALID, RP_E_OS */
void rp_top_free(struct rp_top **t);
/* It came n times more. RP_E_INVALID: key empty or over 1024 bytes; RP_E_BUSY. */
RP_MUST rp_err rp_top_add(struct rp_top *t, rp_str key, uint64_t n);
/* The `most` that came most often, in order; returns how many. Takes the locks one by one. */
uint32_t rp_top_list(struct rp_top *t, struct rp_top_item *out, uint32_t most);
RP_MUST rp_err rp_top_flush(struct rp_top *t); /* RP_E_BUSY: not all */
void rp_top_stats(const struct rp_top *t, struct rp_top_stats *out);

#endif
