/* SPDX-License-Identifier: MIT
 *
 * metric: counters, gauges and histograms with labels, and the accounts of plugin instances, in one
 * part of a zone.
 *
 * A family has a name and a kind; a series is a family with one set of labels. Any worker adds
 * either, under a lock; both stay for as long as the part is there. A series has cells, which are
 * doubles, at the same place in the page of each worker; a worker writes its own page only, so an
 * increment is a load and a store, by C or by compiled Lua. Readers add the pages up and believe
 * nothing they read.
 */
#ifndef RP_SHM_METRIC_H
#define RP_SHM_METRIC_H

#include "base/buf.h"
#include "shm/counter.h"
#include "shm/zone.h"

enum {
    RP_METRIC_FAMILIES = 1024,
    RP_METRIC_SERIES = 16384,
    RP_METRIC_CELLS = 65536,    /* doubles of a worker: 512 KB where they are used */
    RP_METRIC_BOUNDS = 32,      /* of a histogram */
    RP_METRIC_NAME_BYTES = 120, /* longest name of a family */
    RP_METRIC_LABEL_BYTES = 188 /* longest text of a series' labels */
};

enum rp_metric_kind {
    RP_METRIC_COUNTER = 1, /* one cell; only grows, over the lives of workers */
    RP_METRIC_GAUGE,       /* one cell; nothing once its worker is dead; the sum of all workers */
    RP_METRIC_GAUGE_MAX,   /* the same, the greatest of all workers */
    RP_METRIC_HISTOGRAM,   /* a cell per bound, one for what is above, then the sum */
    RP_METRIC_INSTANCE,    /* the account of a plugin instance: enum rp_metric_account */
};

/* Cells of an instance's account. */
enum rp_metric_account {
    RP_ACCOUNT_CALLS,
    RP_ACCOUNT_ERRORS,  /* hooks and tasks of it that raised, or were stopped */
    RP_ACCOUNT_ANSWERS, /* it answered itself */
    RP_ACCOUNT_DENIALS, /* of these with 400 or more; connections and handshakes that it refused */
    RP_ACCOUNT_CPU,     /* seconds that its Lua ran */
    RP_ACCOUNT_WAIT,    /* seconds that its hooks were parked */
    RP_ACCOUNT_BYTES,   /* allocated in Lua */
    RP_ACCOUNT_SLOW,    /* calls over its breaker's `slow` */
    RP_ACCOUNT_TRIPS,   /* its breaker opened */
    RP_ACCOUNT_SKIPPED, /* calls that its open breaker kept from it */
    RP_ACCOUNT_SHADOW_ANSWERS, /* in shadow mode: what it would have answered, */
    RP_ACCOUNT_SHADOW_DENIALS, /* refused, */
    RP_ACCOUNT_SHADOW_EDITS,   /* changed */
    RP_ACCOUNT_CELLS = 16,
};

struct rp_metric_family {
    rp_str name, help;
    uint32_t kind;        /* enum rp_metric_kind */
    const double *bounds; /* of a histogram, rising */
    uint32_t bounds_n;
    uint32_t generation; /* of who asks: of two families of one name the younger is shown */
};

struct rp_metrics;

/* Lay out, or find again, in a part of that name. worker_n: 1..65535. As rp_zone_part. */
RP_MUST rp_err rp_metric_new(struct rp_zone *z, rp_str part, uint32_t worker_n,
                             struct rp_metrics **out);
/* One that this process shares with nobody; its worker is 0. RP_E_OS. */
RP_MUST rp_err rp_metric_own(struct rp_metrics **out);
void rp_metric_free(struct rp_metrics **m); /* this process's handle */
size_t rp_metric_bytes(uint32_t worker_n);

/* Number of a family, added when it is new.
 * ret   RP_OK; RP_E_INVALID: a bad name, kind or bounds; RP_E_CAP: there are too many; RP_E_BUSY:
 * no
 *       lock */
RP_MUST rp_err rp_metric_add_family(struct rp_metrics *m, const struct rp_metric_family *f,
                                    uint32_t *family);
/* The first cell of a series, which is added when it is new, unless its family has `most`. labels:
 * as they are shown, `a="x",b="y"`; of an instance: its label alone.
 * ret   RP_OK; RP_E_CAP; RP_E_TOO_BIG: too much text; RP_E_INVALID: no such family; RP_E_BUSY */
RP_MUST rp_err rp_metric_add_series(struct rp_metrics *m, uint32_t family, rp_str labels,
                                    uint32_t most, uint32_t *cell);
uint32_t rp_metric_cells(uint32_t kind, uint32_t bounds_n); /* that a series has */

/* The page of one worker: RP_METRIC_CELLS doubles. Cell 0 belongs to nobody (increments that have
 * no place), cell 1 counts the series that were refused. */
double *rp_metric_page(const struct rp_metrics *m, uint32_t worker);
void rp_metric_start(struct rp_metrics *m, uint32_t worker); /* it will write there */
double rp_metric_sum(const struct rp_metrics *m, uint32_t cell);
/* That worker is dead: its gauges are nothing. Master only. */
void rp_metric_forget(struct rp_metrics *m, uint32_t worker);

/* A word that all workers share, one per series (of an instance: the state of its breaker), by its
 * first cell. */
uint64_t rp_metric_word(const struct rp_metrics *m, uint32_t cell);
void rp_metric_set_word(struct rp_metrics *m, uint32_t cell, uint64_t word);

/* All series, and the counters of c (NULL: none), as Prometheus reads them (text format 0.0.4).
 * now_ms: of the monotonic clock. */
void rp_metric_text(const struct rp_metrics *m, const struct rp_counters *c, uint64_t now_ms,
                    struct rp_buf *out);
/* A label's value, as Prometheus reads it between quotes. */
void rp_metric_put_label(struct rp_buf *out, const char *text);
/* A table of instances, those with most CPU time first. */
void rp_metric_table(const struct rp_metrics *m, uint64_t now_ms, struct rp_buf *out);

/* ---- what a breaker's word says -------------------------------------------------------------- */

enum rp_metric_breaker { RP_BREAKER_CLOSED, RP_BREAKER_OPEN, RP_BREAKER_HALF };
/* state, the moment (monotonic, ms) until which it is open, and whose it is: a new generation
 * begins with closed ones */
uint64_t rp_metric_breaker_word(enum rp_metric_breaker state, uint64_t until_ms,
                                uint32_t generation);
/* What it says now: an open one whose time is over is half open. */
enum rp_metric_breaker rp_metric_breaker_now(uint64_t word, uint64_t now_ms, uint64_t *until_ms);
uint32_t rp_metric_breaker_generation(uint64_t word); /* the low RP_BREAKER_GENERATION_BITS of it */

enum { RP_BREAKER_GENERATION_BITS = 20 };

#endif
