/* SPDX-License-Identifier: MIT
 *
 * tally: see tally.h.
 */
#include "shm/tally.h"

#include "base/mem.h"

enum { NAMES_MOST = 1 << 20, NAMES_LEAST = 16, LINE = 64 };

struct rp_tally {
    struct rp_names names;
    int64_t *cells; /* cells of one worker lie together */
    size_t row;     /* cells of one worker, in whole lines */
};

/* Cells of a worker fill lines of their own. */
static size_t row_of(uint32_t most)
{
    size_t per_line = LINE / sizeof(int64_t);
    return (most + per_line - 1) / per_line * per_line;
}

static size_t bytes_for(uint32_t most)
{
    return rp_names_bytes(most) + row_of(most) * sizeof(int64_t) * RP_TALLY_CELLS;
}

rp_err rp_tally_new(struct rp_zone *z, struct rp_tally **out)
{
    size_t bytes = z->bytes - RP_ZONE_HEAD_BYTES;
    uint32_t most = rp_zone_fit(bytes, NAMES_MOST, bytes_for);
    void *base;
    bool fresh;
    if (most < NAMES_LEAST) return RP_E_INVALID;
    rp_err e = rp_zone_part(z, RP_STR("tally1"), bytes, &base, &fresh);
    if (e != RP_OK) return e;
    struct rp_tally *t = rp_alloc(sizeof *t);
    e = rp_names_open(&t->names, base, most, fresh);
    t->cells = (int64_t *)(void *)((char *)base + rp_names_bytes(most));
    t->row = row_of(most);
    if (e == RP_OK) *out = t;
    else rp_free(t);
    return e;
}

void rp_tally_free(struct rp_tally **t)
{
    rp_free(*t);
    *t = NULL;
}

rp_err rp_tally_name(struct rp_tally *t, rp_str name, enum rp_tally_kind kind, uint32_t *at)
{
    return rp_names_add(&t->names, name, kind, at);
}

static int64_t *cell(const struct rp_tally *t, uint32_t at, uint32_t worker)
{
    return &t->cells[t->row * (worker % RP_TALLY_CELLS) + at];
}

void rp_tally_add(struct rp_tally *t, uint32_t at, uint32_t worker, int64_t n)
{
    if (at < t->names.most) __atomic_fetch_add(cell(t, at, worker), n, __ATOMIC_RELAXED);
}

void rp_tally_set(struct rp_tally *t, uint32_t at, uint32_t worker, int64_t n)
{
    if (at < t->names.most) __atomic_store_n(cell(t, at, worker), n, __ATOMIC_RELAXED);
}

int64_t rp_tally_sum(const struct rp_tally *t, uint32_t at)
{
    uint64_t sum = 0; /* wraps where a signed one must not */
    if (at >= t->names.most) return 0;
    for (uint32_t i = 0; i < RP_TALLY_CELLS; i++)
        sum += (uint64_t)__atomic_load_n(cell(t, at, i), __ATOMIC_RELAXED);
    return (int64_t)sum;
}

const struct rp_names *rp_tally_names(const struct rp_tally *t)
{
    return &t->names;
}

void rp_tally_forget(struct rp_tally *t, uint32_t worker)
{
    uint32_t n = rp_names_count(&t->names);
    for (uint32_t at = 0; at < n; at++)
        if (rp_names_kind(&t->names, at) == RP_TALLY_GAUGE) rp_tally_set(t, at, worker, 0);
}
