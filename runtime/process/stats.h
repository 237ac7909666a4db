/* SPDX-License-Identifier: MIT
 *
 * stats: a worker's plain counters, published on its shared page once a second.
 */
#ifndef RP_PROCESS_STATS_H
#define RP_PROCESS_STATS_H

#include "proxy/proxy.h"
#include "shm/counter.h"

enum { RP_STATS_CAP = 128 }; /* counters of a page: room for names to come */

/* Where the page has the counters of stats.tbl: the version that made it may have another table. */
struct rp_stats {
    uint32_t index[RP_STATS_CAP]; /* by row of the table */
};

/* Master, before the first fork: name the counters of stats.tbl.
 * ret   RP_OK; RP_E_CAP, RP_E_INVALID: another version's names are in the way */
RP_MUST rp_err rp_stats_register(struct rp_counters *c, struct rp_stats *out);
/* Add to the page what happened since `last`, which becomes `now`. */
void rp_stats_publish(const struct rp_stats *s, uint64_t *page, const struct rp_proxy_stats *now,
                      struct rp_proxy_stats *last);

#endif
