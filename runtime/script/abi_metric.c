/* SPDX-License-Identifier: MIT
 *
 * abi_metric: metrics that site code names (rp.metric). Cells are written by Lua itself, through
 * face.cells.
 */
#include "base/clock.h"
#include "script/vm.h"
#include "shm/roster_text.h"
#include "shm/splits.h"

double rp_abi_metric_family(struct rp_host_face *f, uint32_t kind, const char *name, size_t name_n,
                            const char *help, size_t help_n, const double *bounds,
                            uint32_t bounds_n)
{
    struct rp_host *h = rp_vm_of(f);
    struct rp_metric_family family = {.name = rp_str_of(name, name_n),
                                      .help = rp_str_of(help, help_n),
                                      .kind = kind,
                                      .bounds = bounds,
                                      .bounds_n = bounds_n,
                                      .generation = h->conf->generation};
    uint32_t number;
    if (!h->metrics || kind == RP_METRIC_INSTANCE) return RP_E_PHASE;
    rp_err e = rp_metric_add_family(h->metrics, &family, &number);
    return e == RP_OK ? number : (double)e;
}

double rp_abi_metric_series(struct rp_host_face *f, double family, const char *labels, size_t n,
                            double most)
{
    struct rp_host *h = rp_vm_of(f);
    uint32_t cell;
    if (!h->metrics) return RP_E_PHASE;
    rp_err e = rp_metric_add_series(h->metrics, (uint32_t)family, rp_str_of(labels, n),
                                    (uint32_t)most, &cell);
    return e == RP_OK ? cell : (double)e;
}

void rp_abi_metric_observe(double *cells, const double *bounds, uint32_t n, double value)
{
    uint32_t i = 0;
    while (i < n && !(value <= bounds[i])) i++;
    cells[i]++;
    cells[n + 1] += value;
}

rp_err rp_abi_metric_text(struct rp_host_face *f)
{
    struct rp_host *h = rp_vm_of(f);
    if (!h->metrics) return RP_E_PHASE;
    rp_buf_clear(&h->text);
    rp_metric_text(h->metrics, h->proxy->counters, rp_clock_mono_ns() / 1000000, &h->text);
    rp_splits_text(h->proxy->splits, &h->text);
    rp_roster_text(h->proxy->roster, rp_clock_mono_ns() / 1000000, &h->text);
    if (h->text.failed) return RP_E_CAP;
    f->out = rp_buf_str(&h->text);
    return RP_OK;
}
