/* SPDX-License-Identifier: MIT
 *
 * stats: see stats.h and stats.tbl.
 */
#include "process/stats.h"

rp_err rp_stats_register(struct rp_counters *c)
{
    uint32_t index;
    rp_err e = RP_OK;
#define X(name, kind, field)                                                                       \
    if (e == RP_OK) e = rp_counter_register(c, RP_STR(name), RP_COUNTER_##kind, &index);
#include "process/stats.tbl"
#undef X
    return e;
}

void rp_stats_publish(uint64_t *page, const struct rp_proxy_stats *now, struct rp_proxy_stats *last)
{
    uint32_t index = 0;
    /* Differences, so that sums outlive the worker that had the page before. */
#define X(name, kind, field) rp_counter_add(page, index++, now->field - last->field);
#include "process/stats.tbl"
#undef X
    *last = *now;
}
