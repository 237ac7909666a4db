/* SPDX-License-Identifier: MIT
 *
 * metric: see metric.h. Head, families and their names, names and places of series, words, pages.
 *
 * A family's or series' name is complete before its number is known (names.h). What lies beside it
 * is written after that, by whoever is first, and by all with the same bytes; `ready` comes last.
 * Cells are handed out by one counter that only grows: a death in between costs a few cells.
 */
#include "shm/metric.h"

#include <stdio.h>

#include "base/hash.h"
#include "base/mem.h"
#include "shm/metric_in.h"
#include "shm/names.h"

_Static_assert(RP_METRIC_LABEL_BYTES + 12 <= RP_NAMES_BYTES, "a number and the labels fit");

enum { LINE = 64, WORKERS_MOST = 65535, KEY_BYTES = RP_NAMES_BYTES };

static size_t round_up(size_t n)
{
    return (n + LINE - 1) & ~(size_t)(LINE - 1);
}

size_t rp_metric_bytes(uint32_t worker_n)
{
    return round_up(sizeof(struct rp_metric_head)) + rp_names_bytes(RP_METRIC_FAMILIES) +
           round_up(sizeof(struct rp_metric_details) * RP_METRIC_FAMILIES) +
           rp_names_bytes(RP_METRIC_SERIES) + round_up(sizeof(uint32_t) * RP_METRIC_SERIES) +
           sizeof(uint64_t) * RP_METRIC_CELLS + sizeof(double) * RP_METRIC_CELLS * worker_n;
}

/* ---- life ----------------------------------------------------------------------------------- */

static rp_err lay_out(struct rp_metrics *m, char *p, uint32_t worker_n, bool fresh)
{
    m->worker_n = worker_n;
    m->head = (void *)p;
    p += round_up(sizeof *m->head);
    rp_err e = rp_names_open(&m->family_names, p, RP_METRIC_FAMILIES, fresh);
    p += rp_names_bytes(RP_METRIC_FAMILIES);
    m->families = (void *)p;
    p += round_up(sizeof *m->families * RP_METRIC_FAMILIES);
    if (e == RP_OK) e = rp_names_open(&m->series_names, p, RP_METRIC_SERIES, fresh);
    p += rp_names_bytes(RP_METRIC_SERIES);
    m->firsts = (void *)p;
    p += round_up(sizeof *m->firsts * RP_METRIC_SERIES);
    m->words = (void *)p;
    p += sizeof *m->words * RP_METRIC_CELLS;
    m->pages = (void *)p;
    if (fresh) m->head->cells_n = RP_METRIC_FIRST_CELL;
    return e;
}

rp_err rp_metric_new(struct rp_zone *z, rp_str part, uint32_t worker_n, struct rp_metrics **out)
{
    void *base;
    bool fresh;
    if (worker_n < 1 || worker_n > WORKERS_MOST) return RP_E_INVALID;
    rp_err e = rp_zone_part(z, part, rp_metric_bytes(worker_n), &base, &fresh);
    if (e != RP_OK) return e;
    struct rp_metrics *m = rp_alloc(sizeof *m);
    e = lay_out(m, base, worker_n, fresh);
    if (e == RP_OK) *out = m;
    else rp_free(m);
    return e;
}

rp_err rp_metric_own(struct rp_metrics **out)
{
    struct rp_metrics *m = rp_alloc(sizeof *m);
    m->own = rp_alloc(rp_metric_bytes(1) + LINE);
    char *p = (char *)m->own + (LINE - (uintptr_t)m->own % LINE);
    rp_err e = lay_out(m, p, 1, true);
    rp_metric_start(m, 0);
    if (e == RP_OK) *out = m;
    else rp_metric_free(&m);
    return e;
}

void rp_metric_free(struct rp_metrics **m)
{
    if (*m) rp_free((*m)->own);
    rp_free(*m);
    *m = NULL;
}

/* ---- families ------------------------------------------------------------------------------- */

uint32_t rp_metric_cells(uint32_t kind, uint32_t bounds_n)
{
    if (kind == RP_METRIC_HISTOGRAM) return RP_MIN(bounds_n, (uint32_t)RP_METRIC_BOUNDS) + 2;
    return kind == RP_METRIC_INSTANCE ? RP_ACCOUNT_CELLS : 1;
}

static bool is_name(rp_str name)
{
    if (name.len == 0 || name.len > RP_METRIC_NAME_BYTES) return false;
    for (size_t i = 0; i < name.len; i++) {
        char ch = name.ptr[i];
        bool letter =
            (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') || ch == '_' || ch == ':';
        if (!letter && !(i > 0 && ch >= '0' && ch <= '9')) return false;
    }
    return true;
}

static bool are_bounds(const struct rp_metric_family *f)
{
    if (f->kind != RP_METRIC_HISTOGRAM) return f->bounds_n == 0;
    if (f->bounds_n < 1 || f->bounds_n > RP_METRIC_BOUNDS) return false;
    for (uint32_t i = 0; i < f->bounds_n; i++)
        if (!(f->bounds[i] > (i ? f->bounds[i - 1] : -1e300)) || !(f->bounds[i] < 1e300))
            return false;
    return true;
}

/* A family that a reload defined otherwise is another one. */
static rp_str key_of(const struct rp_metric_family *f, char *out)
{
    uint64_t hash = rp_hash_bytes(rp_str_of((const char *)f->bounds, f->bounds_n * sizeof(double)));
    int n = snprintf(out, KEY_BYTES, "%.*s %u %016llx", RP_STR_ARG(f->name), f->kind,
                     (unsigned long long)(f->bounds_n ? hash : 0));
    return rp_str_of(out, (size_t)n);
}

static void describe(struct rp_metric_details *d, const struct rp_metric_family *f)
{
    memcpy(d->name, f->name.ptr, f->name.len);
    if (f->help.len) memcpy(d->help, f->help.ptr, RP_MIN(f->help.len, sizeof d->help - 1));
    d->kind = f->kind;
    d->bounds_n = f->bounds_n;
    if (f->bounds_n) memcpy(d->bounds, f->bounds, sizeof(double) * f->bounds_n);
    __atomic_store_n(&d->ready, 1, __ATOMIC_RELEASE);
}

rp_err rp_metric_add_family(struct rp_metrics *m, const struct rp_metric_family *f,
                            uint32_t *family)
{
    char key[KEY_BYTES];
    if (!is_name(f->name) || f->kind < RP_METRIC_COUNTER || f->kind > RP_METRIC_INSTANCE ||
        !are_bounds(f))
        return RP_E_INVALID;
    rp_err e = rp_names_add(&m->family_names, key_of(f, key), 1, family);
    if (e != RP_OK) return e;
    struct rp_metric_details *d = &m->families[*family];
    if (!__atomic_load_n(&d->ready, __ATOMIC_ACQUIRE)) describe(d, f);
    if (d->stamp < f->generation) __atomic_store_n(&d->stamp, f->generation, __ATOMIC_RELAXED);
    return RP_OK;
}

/* ---- series --------------------------------------------------------------------------------- */

/* The cells of a series, made when it has none. Of two that make some, one's are wasted. */
static rp_err place(struct rp_metrics *m, uint32_t at, uint32_t n, uint32_t *cell)
{
    uint32_t *first = &m->firsts[at], none = 0;
    uint32_t have = __atomic_load_n(first, __ATOMIC_ACQUIRE);
    if (have == 0) {
        uint32_t made = __atomic_fetch_add(&m->head->cells_n, n, __ATOMIC_RELAXED);
        if (made > RP_METRIC_CELLS - n) {
            __atomic_fetch_sub(&m->head->cells_n, n, __ATOMIC_RELAXED);
            return RP_E_CAP;
        }
        have = made;
        if (!__atomic_compare_exchange_n(first, &none, made, false, __ATOMIC_ACQ_REL,
                                         __ATOMIC_ACQUIRE))
            have = none;
    }
    if (have < RP_METRIC_FIRST_CELL || have > RP_METRIC_CELLS - n) return RP_E_INVALID;
    *cell = have;
    return RP_OK;
}

/* An eighth is left to the accounts of instances and to "other": a flood of labels costs no breaker
 * its cells. */
static bool has_room(const struct rp_metrics *m, uint32_t n)
{
    uint32_t cells = __atomic_load_n(&m->head->cells_n, __ATOMIC_RELAXED);
    return rp_names_count(&m->series_names) < RP_METRIC_SERIES - RP_METRIC_SERIES / 8 &&
           cells <= RP_METRIC_CELLS - RP_METRIC_CELLS / 8 - n;
}

rp_err rp_metric_add_series(struct rp_metrics *m, uint32_t family, rp_str labels, uint32_t most,
                            uint32_t *cell)
{
    char key[KEY_BYTES];
    uint32_t at;
    if (family >= rp_names_count(&m->family_names)) return RP_E_INVALID;
    if (labels.len > RP_METRIC_LABEL_BYTES) return RP_E_TOO_BIG;
    struct rp_metric_details *d = &m->families[family];
    int n = snprintf(key, sizeof key, "%u %.*s", family, RP_STR_ARG(labels));
    rp_str text = rp_str_of(key, (size_t)n);
    rp_err e = rp_names_find(&m->series_names, text, family + 1, &at);
    if (e == RP_E_NOT_FOUND) {
        if (__atomic_load_n(&d->series_n, __ATOMIC_RELAXED) >= most) return RP_E_CAP;
        bool spared = d->kind == RP_METRIC_INSTANCE || most == UINT32_MAX;
        if (!spared && !has_room(m, rp_metric_cells(d->kind, d->bounds_n))) return RP_E_CAP;
        e = rp_names_add(&m->series_names, text, family + 1, &at);
        if (e == RP_OK) __atomic_fetch_add(&d->series_n, 1, __ATOMIC_RELAXED);
    }
    if (e != RP_OK) return e;
    return place(m, at, rp_metric_cells(d->kind, d->bounds_n), cell);
}

/* ---- values --------------------------------------------------------------------------------- */

double *rp_metric_page(const struct rp_metrics *m, uint32_t worker)
{
    RP_CHECK(worker < m->worker_n);
    return m->pages + (size_t)RP_METRIC_CELLS * worker;
}

static double load(const struct rp_metrics *m, uint32_t worker, uint32_t cell)
{
    double v;
    __atomic_load(&m->pages[(size_t)RP_METRIC_CELLS * worker + cell], &v, __ATOMIC_RELAXED);
    return v;
}

uint32_t rp_metric_workers(const struct rp_metrics *m)
{
    return RP_MIN(__atomic_load_n(&m->head->workers_seen, __ATOMIC_RELAXED), m->worker_n);
}

void rp_metric_start(struct rp_metrics *m, uint32_t worker)
{
    uint32_t seen = __atomic_load_n(&m->head->workers_seen, __ATOMIC_RELAXED);
    while (seen <= worker &&
           !__atomic_compare_exchange_n(&m->head->workers_seen, &seen, worker + 1, false,
                                        __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {}
}

/* Reading a page of a memfd makes it: pages of workers that never were are left alone. */
double rp_metric_sum(const struct rp_metrics *m, uint32_t cell)
{
    double sum = 0;
    if (cell >= RP_METRIC_CELLS) return 0;
    uint32_t n = rp_metric_workers(m);
    for (uint32_t w = 0; w < n; w++) sum += load(m, w, cell);
    return sum;
}

double rp_metric_max(const struct rp_metrics *m, uint32_t cell)
{
    uint32_t n = rp_metric_workers(m);
    double most = n && cell < RP_METRIC_CELLS ? load(m, 0, cell) : 0;
    for (uint32_t w = 1; w < n && cell < RP_METRIC_CELLS; w++) {
        double v = load(m, w, cell);
        most = RP_MAX(most, v);
    }
    return most;
}

void rp_metric_forget(struct rp_metrics *m, uint32_t worker)
{
    struct rp_metric_series s;
    double nothing = 0;
    if (worker >= rp_metric_workers(m)) return;
    for (uint32_t i = 0; i < rp_metric_count(m); i++) {
        if (!rp_metric_at(m, i, &s)) continue;
        if (s.kind == RP_METRIC_GAUGE || s.kind == RP_METRIC_GAUGE_MAX)
            __atomic_store(&rp_metric_page(m, worker)[s.cell], &nothing, __ATOMIC_RELAXED);
    }
}

/* ---- reading -------------------------------------------------------------------------------- */

uint32_t rp_metric_count(const struct rp_metrics *m)
{
    return rp_names_count(&m->series_names);
}

bool rp_metric_at(const struct rp_metrics *m, uint32_t at, struct rp_metric_series *out)
{
    rp_str text = rp_names_text(&m->series_names, at);
    uint32_t family = rp_names_kind(&m->series_names, at) - 1;
    size_t space = rp_str_find(text, ' ', 0);
    if (family >= rp_names_count(&m->family_names) || space >= text.len) return false;
    const struct rp_metric_details *d = &m->families[family];
    if (!__atomic_load_n(&d->ready, __ATOMIC_ACQUIRE)) return false;
    *out = (struct rp_metric_series){
        .family = family,
        .stamp = d->stamp,
        .kind = d->kind,
        .bounds_n = RP_MIN(d->bounds_n, (uint32_t)RP_METRIC_BOUNDS),
        .bounds = d->bounds,
        .name = rp_str_of(d->name, strnlen(d->name, sizeof d->name)),
        .help = rp_str_of(d->help, strnlen(d->help, sizeof d->help)),
        .labels = rp_str_from(text, space + 1),
        .cell = __atomic_load_n(&m->firsts[at], __ATOMIC_ACQUIRE),
    };
    uint32_t n = rp_metric_cells(out->kind, out->bounds_n);
    return out->cell >= RP_METRIC_FIRST_CELL && out->cell <= RP_METRIC_CELLS - n;
}

/* ---- words ---------------------------------------------------------------------------------- */

uint64_t rp_metric_word(const struct rp_metrics *m, uint32_t cell)
{
    return cell < RP_METRIC_CELLS ? __atomic_load_n(&m->words[cell], __ATOMIC_RELAXED) : 0;
}

void rp_metric_set_word(struct rp_metrics *m, uint32_t cell, uint64_t word)
{
    if (cell >= RP_METRIC_CELLS) return;
    __atomic_store_n(&m->words[cell], word, __ATOMIC_RELAXED);
}

enum { UNTIL_BITS = 42 }; /* 139 years */

uint64_t rp_metric_breaker_word(enum rp_metric_breaker state, uint64_t until_ms,
                                uint32_t generation)
{
    uint64_t until = until_ms & ((UINT64_C(1) << UNTIL_BITS) - 1);
    return (uint64_t)generation << (UNTIL_BITS + 2) | until << 2 | state;
}

uint32_t rp_metric_breaker_generation(uint64_t word)
{
    return (uint32_t)(word >> (UNTIL_BITS + 2));
}

enum rp_metric_breaker rp_metric_breaker_now(uint64_t word, uint64_t now_ms, uint64_t *until_ms)
{
    *until_ms = word >> 2 & ((UINT64_C(1) << UNTIL_BITS) - 1);
    if ((word & 3) != RP_BREAKER_OPEN) return RP_BREAKER_CLOSED;
    return now_ms < *until_ms ? RP_BREAKER_OPEN : RP_BREAKER_HALF;
}
