/* SPDX-License-Identifier: MIT
 *
 * metric_in, for metric.c and metric_text.c: what lies in the part, and how it is read.
 */
#ifndef RP_SHM_METRIC_IN_H
#define RP_SHM_METRIC_IN_H

#include "shm/metric.h"
#include "shm/names.h"

enum {
    RP_METRIC_CELL_LOST = 0,    /* increments that have no place */
    RP_METRIC_CELL_REFUSED = 1, /* series over a cap */
    RP_METRIC_FIRST_CELL = 16,
    RP_METRIC_HELP_BYTES = 160,
};

struct rp_metric_head {
    uint32_t cells_n; /* the next free one */
    uint32_t workers_seen;
};

struct rp_metric_details {
    uint32_t ready, kind, bounds_n, stamp, series_n, spare;
    char name[RP_METRIC_NAME_BYTES + 8]; /* ends with a NUL, unless a wild worker wrote here */
    char help[RP_METRIC_HELP_BYTES];
    double bounds[RP_METRIC_BOUNDS];
};

struct rp_metrics {
    struct rp_metric_head *head;
    struct rp_names family_names, series_names;
    struct rp_metric_details *families;
    uint32_t *firsts; /* first cell by series; 0: not yet */
    uint64_t *words;  /* by first cell */
    double *pages;
    uint32_t worker_n;
    void *own;
};

struct rp_metric_series {
    uint32_t family, stamp, kind, bounds_n, cell;
    const double *bounds;
    rp_str name, help, labels;
};

uint32_t rp_metric_count(const struct rp_metrics *m);
/* Series i, checked; false: there is none to be read. */
bool rp_metric_at(const struct rp_metrics *m, uint32_t i, struct rp_metric_series *out);
double rp_metric_max(const struct rp_metrics *m, uint32_t cell);
uint32_t rp_metric_workers(const struct rp_metrics *m);

#endif
