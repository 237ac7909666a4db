/* SPDX-License-Identifier: MIT
 *
 * tally: counters and gauges that Lua names (`rp.shm.counters`), in a zone of their own.
 *
 * Each worker adds to a cell of its own, so nobody waits for anybody and no line of memory wanders;
 * a sum is over the cells. One addition is one atomic instruction: a death before or after it
 * leaves right numbers. Workers beyond RP_TALLY_CELLS share cells: their sums are exact all the
 * same.
 */
#ifndef RP_SHM_TALLY_H
#define RP_SHM_TALLY_H

#include "base/buf.h"
#include "shm/names.h"
#include "shm/zone.h"

enum { RP_TALLY_CELLS = 64 };

enum rp_tally_kind {
    RP_TALLY_SUM = 1,   /* what a worker added stays when it ends */
    RP_TALLY_GAUGE = 2, /* what a worker has: nothing once it is dead */
};

struct rp_tally;

/* Lay out, or find again, the tally that fills a zone. RP_E_INVALID: too small, or something
 * else. */
RP_MUST rp_err rp_tally_new(struct rp_zone *z, struct rp_tally **out);
void rp_tally_free(struct rp_tally **t);
/* The number of a name, which is added when it is new. As rp_names_add. */
RP_MUST rp_err rp_tally_name(struct rp_tally *t, rp_str name, enum rp_tally_kind kind,
                             uint32_t *at);
/* at: a number that rp_tally_name gave; others are passed over. */
void rp_tally_add(struct rp_tally *t, uint32_t at, uint32_t worker, int64_t n);
void rp_tally_set(struct rp_tally *t, uint32_t at, uint32_t worker, int64_t n); /* its own cell */
int64_t rp_tally_sum(const struct rp_tally *t, uint32_t at);
const struct rp_names *rp_tally_names(const struct rp_tally *t);
/* That worker is dead: its gauges are 0. Master only. */
void rp_tally_forget(struct rp_tally *t, uint32_t worker);

#endif
