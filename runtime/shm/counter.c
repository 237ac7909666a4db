/* SPDX-License-Identifier: MIT
 *
 * counter: head, names, pages, in this order in the part. Sizes come from the handle (checked when
 * it was made), never from shared memory.
 */
#include "shm/counter.h"

#include "base/mem.h"

struct counter_name {
    char text[RP_COUNTER_NAME_BYTES];
    uint32_t kind;
    uint32_t spare;
};

struct counter_head {
    uint32_t worker_n, cap_n;
    uint32_t name_n; /* published with release: names below it are complete */
    uint32_t spare[13];
};

struct rp_counters {
    struct counter_head *head;
    struct counter_name *names;
    uint64_t *pages;
    uint32_t worker_n, cap_n;
    size_t stride; /* values from one page to the next: whole cache lines */
};

enum {
    LINE_BYTES = 64,
    LINE_VALUES = LINE_BYTES / 8,
    N_MAX = 65535,
};
_Static_assert(sizeof(struct counter_head) == LINE_BYTES, "pages start on a cache line");
_Static_assert(sizeof(struct counter_name) == LINE_BYTES, "pages start on a cache line");

extern inline void rp_counter_add(uint64_t *page, uint32_t index, uint64_t n);
extern inline void rp_counter_sub(uint64_t *page, uint32_t index, uint64_t n);

/* One line more than needed: the prefetcher pulls neighbours, so pages do not touch. */
static size_t stride_of(uint32_t cap_n)
{
    return ((size_t)cap_n + LINE_VALUES - 1) / LINE_VALUES * LINE_VALUES + LINE_VALUES;
}

static bool are_sane(uint32_t worker_n, uint32_t cap_n)
{
    return worker_n >= 1 && worker_n <= N_MAX && cap_n >= 1 && cap_n <= N_MAX;
}

size_t rp_counter_bytes(uint32_t worker_n, uint32_t cap_n)
{
    return sizeof(struct counter_head) + sizeof(struct counter_name) * cap_n +
           sizeof(uint64_t) * stride_of(cap_n) * worker_n;
}

rp_err rp_counter_new(struct rp_zone *z, rp_str part, uint32_t worker_n, uint32_t cap_n,
                      struct rp_counters **out)
{
    if (!are_sane(worker_n, cap_n)) return RP_E_INVALID;
    void *base;
    bool fresh;
    rp_err e = rp_zone_part(z, part, rp_counter_bytes(worker_n, cap_n), &base, &fresh);
    if (e != RP_OK) return e;
    struct counter_head *head = base;
    if (fresh) {
        head->worker_n = worker_n;
        head->cap_n = cap_n;
    } else if (head->worker_n != worker_n || head->cap_n != cap_n) {
        return RP_E_INVALID;
    }
    struct rp_counters *c = rp_alloc(sizeof *c);
    c->head = head;
    c->names = (struct counter_name *)(head + 1);
    c->pages = (uint64_t *)(void *)(c->names + cap_n);
    c->worker_n = worker_n;
    c->cap_n = cap_n;
    c->stride = stride_of(cap_n);
    *out = c;
    return RP_OK;
}

void rp_counter_free(struct rp_counters **c)
{
    rp_free(*c);
    *c = NULL;
}

/* ------------------------------------------------------------------ names */

uint32_t rp_counter_count(const struct rp_counters *c)
{
    uint32_t n = __atomic_load_n(&c->head->name_n, __ATOMIC_ACQUIRE);
    return RP_MIN(n, c->cap_n);
}

rp_str rp_counter_name(const struct rp_counters *c, uint32_t index)
{
    if (index >= rp_counter_count(c)) return RP_STR_NONE;
    const char *text = c->names[index].text;
    return rp_str_of(text, strnlen(text, RP_COUNTER_NAME_BYTES));
}

enum rp_counter_kind rp_counter_kind_of(const struct rp_counters *c, uint32_t index)
{
    bool gauge = index < rp_counter_count(c) && c->names[index].kind == RP_COUNTER_GAUGE;
    return gauge ? RP_COUNTER_GAUGE : RP_COUNTER_SUM;
}

rp_err rp_counter_find(const struct rp_counters *c, rp_str name, uint32_t *index)
{
    uint32_t n = rp_counter_count(c);
    for (uint32_t i = 0; i < n; i++) {
        if (rp_str_eq(rp_counter_name(c, i), name)) {
            *index = i;
            return RP_OK;
        }
    }
    return RP_E_NOT_FOUND;
}

rp_err rp_counter_register(struct rp_counters *c, rp_str name, enum rp_counter_kind kind,
                           uint32_t *index)
{
    if (name.len == 0 || name.len >= RP_COUNTER_NAME_BYTES || memchr(name.ptr, 0, name.len)) {
        return RP_E_INVALID;
    }
    if (rp_counter_find(c, name, index) == RP_OK) {
        return rp_counter_kind_of(c, *index) == kind ? RP_OK : RP_E_INVALID;
    }
    uint32_t n = rp_counter_count(c);
    if (n >= c->cap_n) return RP_E_CAP;
    memcpy(c->names[n].text, name.ptr, name.len);
    c->names[n].kind = kind;
    __atomic_store_n(&c->head->name_n, n + 1, __ATOMIC_RELEASE);
    *index = n;
    return RP_OK;
}

/* ------------------------------------------------------------------ values */

uint64_t *rp_counter_page(const struct rp_counters *c, uint32_t worker)
{
    RP_CHECK(worker < c->worker_n);
    return c->pages + c->stride * worker;
}

void rp_counter_start(struct rp_counters *c, uint32_t worker)
{
    uint64_t *page = rp_counter_page(c, worker);
    uint32_t n = rp_counter_count(c);
    for (uint32_t i = 0; i < n; i++) {
        if (c->names[i].kind == RP_COUNTER_GAUGE) __atomic_store_n(&page[i], 0, __ATOMIC_RELAXED);
    }
}

uint64_t rp_counter_sum(const struct rp_counters *c, uint32_t index)
{
    if (index >= c->cap_n) return 0;
    uint64_t sum = 0;
    for (uint32_t w = 0; w < c->worker_n; w++) {
        sum += __atomic_load_n(&c->pages[c->stride * w + index], __ATOMIC_RELAXED);
    }
    return sum;
}
