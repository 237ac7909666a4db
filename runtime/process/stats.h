/* SPDX-License-Identifier: MIT
 *
 * stats: a worker's plain counters, published on its shared page once a second.
 */
#ifndef RP_PROCESS_STATS_H
#define RP_PROCESS_STATS_H

#include "proxy/proxy.h"
#include "shm/counter.h"

enum { RP_STATS_CAP = 128 }; /* counters of a page: room for names to come */

/* Master, before the first fork: name the counters of stats.tbl. */
RP_MUST rp_err rp_stats_register(struct rp_counters *c);
/* Add to the page what happened since `last`, which becomes `now`. */
void rp_stats_publish(uint64_t *page, const struct rp_proxy_stats *now,
                      struct rp_proxy_stats *last);

#endif
