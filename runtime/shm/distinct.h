/* SPDX-License-Identifier: MIT
 *
 * distinct: how many different things came, by name, in 4 KB each (HyperLogLog: Flajolet and others
 * 2007, with the estimator of Ertl 2017).
 *
 * 4096 registers: the standard error is 1.04 / sqrt(4096), 1.6 %, from small numbers to those that
 * no instance sees. A register only grows, by one atomic instruction: nothing to repair, and
 * workers add at the same time.
 */
#ifndef RP_SHM_DISTINCT_H
#define RP_SHM_DISTINCT_H

#include "shm/names.h"
#include "shm/zone.h"

struct rp_distinct;

RP_MUST rp_err rp_distinct_new(struct rp_zone *z, struct rp_distinct **out);
void rp_distinct_free(struct rp_distinct **d);
/* The sketch of that name, made when it is new: as rp_names_add. */
RP_MUST rp_err rp_distinct_name(struct rp_distinct *d, rp_str name, uint32_t *at);
/* RP_E_NOT_FOUND. */
RP_MUST rp_err rp_distinct_find(const struct rp_distinct *d, rp_str name, uint32_t *at);
/* item: at most 64 KB count. */
void rp_distinct_add(struct rp_distinct *d, uint32_t at, rp_str item);
/* How many different items were added to any of these (n up to 64). */
double rp_distinct_count(const struct rp_distinct *d, const uint32_t *list, uint32_t n);
void rp_distinct_clear(struct rp_distinct *d, uint32_t at); /* it has seen nothing */
const struct rp_names *rp_distinct_names(const struct rp_distinct *d);

#endif
