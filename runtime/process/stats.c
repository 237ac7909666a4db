/* SPDX-License-Identifier: MIT
 *
 * stats: see stats.h and stats.tbl.
 */
#include "process/stats.h"

rp_err rp_stats_register(struct rp_counters *c, struct rp_stats *out)
{
    uint32_t row = 0;
    rp_err e = RP_OK;
#define X(name, kind, field)                                                                       \
    if (e == RP_OK) e = rp_counter_register(c, RP_STR(name), RP_COUNTER_##kind, &out->index[row++]);
#include "process/stats.tbl"
#undef X
    return e;
}

void rp_stats_publish(const struct rp_stats *s, uint64_t *page, const struct rp_proxy_stats *now,
                      struct rp_proxy_stats *last)
{
    uint32_t row = 0;
    /* Differences, so that sums outlive the worker that had the page before. */
#define X(name, kind, field) rp_counter_add(page, s->index[row++], now->field - last->field);
#include "process/stats.tbl"
#undef X
    *last = *now;
}
