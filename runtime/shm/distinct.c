/* SPDX-License-Identifier: MIT
 *
 * distinct: see distinct.h.
 */
#include "shm/distinct.h"

#include <math.h>

#include "base/hash.h"
#include "base/mem.h"

enum {
    BITS = 12, /* of a hash choose the register */
    REGISTERS = 1 << BITS,
    RANKS = 64 - BITS, /* the others are looked at for leading zeros */
    KIND = 1,
    NAMES_MOST = 1 << 20,
    NAMES_LEAST = 8,
    LINE = 64,
};

struct head {
    struct rp_hash_key key;
};

struct rp_distinct {
    struct head *head;
    struct rp_names names;
    uint8_t *registers;
};

static size_t bytes_for(uint32_t most)
{
    return LINE + rp_names_bytes(most) + (size_t)most * REGISTERS;
}

rp_err rp_distinct_new(struct rp_zone *z, struct rp_distinct **out)
{
    size_t bytes = z->bytes - RP_ZONE_HEAD_BYTES;
    uint32_t most = rp_zone_fit(bytes, NAMES_MOST, bytes_for);
    void *base;
    bool fresh;
    if (most < NAMES_LEAST) return RP_E_INVALID;
    rp_err e = rp_zone_part(z, RP_STR("distinct1"), bytes, &base, &fresh);
    if (e != RP_OK) return e;
    struct rp_distinct *d = rp_alloc(sizeof *d);
    d->head = base;
    e = rp_names_open(&d->names, (char *)base + LINE, most, fresh);
    d->registers = (uint8_t *)base + LINE + rp_names_bytes(most);
    if (fresh) rp_hash_key_draw(&d->head->key);
    if (e == RP_OK) *out = d;
    else rp_free(d);
    return e;
}

void rp_distinct_free(struct rp_distinct **d)
{
    rp_free(*d);
    *d = NULL;
}

rp_err rp_distinct_name(struct rp_distinct *d, rp_str name, uint32_t *at)
{
    return rp_names_add(&d->names, name, KIND, at);
}

rp_err rp_distinct_find(const struct rp_distinct *d, rp_str name, uint32_t *at)
{
    return rp_names_find(&d->names, name, KIND, at);
}

static uint8_t *sketch_at(const struct rp_distinct *d, uint32_t at)
{
    return at < d->names.most ? d->registers + (size_t)at * REGISTERS : NULL;
}

void rp_distinct_add(struct rp_distinct *d, uint32_t at, rp_str item)
{
    uint8_t *sketch = sketch_at(d, at);
    if (!sketch) return;
    uint64_t hash = rp_hash_keyed(&d->head->key, item);
    uint8_t *r = &sketch[hash >> RANKS];
    uint64_t rest = hash << BITS | (uint64_t)1 << (BITS - 1); /* never 0 */
    uint8_t rank = (uint8_t)(__builtin_clzll(rest) + 1), old = __atomic_load_n(r, __ATOMIC_RELAXED);
    while (old < rank &&
           !__atomic_compare_exchange_n(r, &old, rank, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {}
}

/* Ertl 2017, "New cardinality estimation algorithms for HyperLogLog sketches", algorithm 6: the
 * registers at 0 and those that are full, as if there were more ranks. */
static double sigma(double x)
{
    double y = 1, z = x, before;
    if (x == 1) return INFINITY;
    do {
        x *= x;
        before = z;
        z += x * y;
        y += y;
    } while (z != before);
    return z;
}

static double tau(double x)
{
    double y = 1, z = 1 - x, before;
    if (x == 0 || x == 1) return 0;
    do {
        x = sqrt(x);
        before = z;
        y *= 0.5;
        z -= (1 - x) * (1 - x) * y;
    } while (z != before);
    return z / 3;
}

static double estimate(const uint32_t *of_rank)
{
    const double m = REGISTERS;
    double z = m * tau(1 - of_rank[RANKS + 1] / m);
    for (uint32_t k = RANKS; k >= 1; k--) z = 0.5 * (z + of_rank[k]);
    z += m * sigma(of_rank[0] / m);
    return m * m / (2 * M_LN2) / z;
}

double rp_distinct_count(const struct rp_distinct *d, const uint32_t *list, uint32_t n)
{
    uint32_t of_rank[RANKS + 2] = {0};
    for (uint32_t r = 0; r < REGISTERS; r++) {
        uint8_t most = 0;
        for (uint32_t i = 0; i < n; i++) {
            const uint8_t *sketch = sketch_at(d, list[i]);
            uint8_t rank = sketch ? __atomic_load_n(&sketch[r], __ATOMIC_RELAXED) : 0;
            if (rank > most) most = rank;
        }
        of_rank[RP_MIN(most, RANKS + 1)]++;
    }
    return of_rank[0] == REGISTERS ? 0 : estimate(of_rank);
}

void rp_distinct_clear(struct rp_distinct *d, uint32_t at)
{
    uint8_t *sketch = sketch_at(d, at);
    for (uint32_t r = 0; sketch && r < REGISTERS; r++)
        __atomic_store_n(&sketch[r], 0, __ATOMIC_RELAXED);
}

const struct rp_names *rp_distinct_names(const struct rp_distinct *d)
{
    return &d->names;
}
