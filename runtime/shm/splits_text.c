/* SPDX-License-Identifier: MIT
 *
 * splits_text: what is told of splits to Prometheus. Of several generations' splits of one name the
 * youngest.
 */
#include "base/mem.h"
#include "shm/metric.h"
#include "shm/splits.h"

static void put_labels(struct rp_buf *out, const char *name, const struct rp_split_report *r,
                       uint32_t side)
{
    rp_buf_add_z(out, name);
    rp_buf_add_z(out, "{split=\"");
    rp_metric_put_label(out, r->name);
    rp_buf_add_z(out, "\",upstream=\"");
    rp_metric_put_label(out, r->sides[side].name);
    rp_buf_add_z(out, "\"} ");
}

static void put_value(struct rp_buf *out, int which, const struct rp_split_side *side)
{
    switch (which) {
    case 0: rp_buf_addf(out, "%u.%04u\n", side->share / 10000, side->share % 10000); break;
    case 1: rp_buf_addf(out, "%llu\n", (unsigned long long)side->all.requests); break;
    case 2: rp_buf_addf(out, "%llu\n", (unsigned long long)side->all.failures); break;
    }
}

void rp_splits_text(const struct rp_splits *s, struct rp_buf *out)
{
    static const char *const FAMILIES[][3] = {
        {"rproxy_split_share", "gauge",
         "Share of a split's requests that an upstream has, 0 to 1."},
        {"rproxy_split_requests_total", "counter", "Requests that went there by the shares."},
        {"rproxy_split_failures_total", "counter", "Those that failed (5xx, no answer)."},
    };
    uint32_t at = 0, place;
    if (!s) return;
    struct rp_split_report *r = rp_alloc(sizeof *r);
    bool any = rp_splits_next(s, &at, r);
    for (size_t f = 0; any && f < RP_COUNT(FAMILIES); f++) {
        rp_buf_addf(out, "# HELP %s %s\n# TYPE %s %s\n", FAMILIES[f][0], FAMILIES[f][2],
                    FAMILIES[f][0], FAMILIES[f][1]);
        for (at = 0; rp_splits_next(s, &at, r);) {
            if (!rp_splits_find(s, rp_str_z(r->name), &place) || place != r->place) continue;
            for (uint32_t i = 0; i < r->sides_n; i++) {
                put_labels(out, FAMILIES[f][0], r, i);
                put_value(out, (int)f, &r->sides[i]);
            }
        }
    }
    rp_free(r);
}
