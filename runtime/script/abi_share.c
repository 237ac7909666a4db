/* SPDX-License-Identifier: MIT
 *
 * abi_share: counters and sketches of `shared` as Lua calls them.
 */
#include "script/vm.h"

static const double INTEGER_MOST = 9007199254740992.0; /* 2^53: beyond, doubles skip numbers */

static int64_t integer(double n)
{
    return n >= -INTEGER_MOST && n <= INTEGER_MOST ? (int64_t)n : 0; /* NaN: 0 */
}

/* ---- counters -------------------------------------------------------------------------------- */

rp_err rp_abi_tally_name(struct rp_host_face *f, struct rp_tally *t, const char *name, size_t n,
                         uint32_t kind)
{
    uint32_t at = 0;
    if (kind != RP_TALLY_SUM && kind != RP_TALLY_GAUGE) return RP_E_INVALID;
    rp_err e = rp_tally_name(t, rp_str_of(name, n), (enum rp_tally_kind)kind, &at);
    f->number = at;
    return e;
}

void rp_abi_tally_add(struct rp_host_face *f, struct rp_tally *t, uint32_t at, double n)
{
    rp_tally_add(t, at, rp_vm_of(f)->worker, integer(n));
}

void rp_abi_tally_set(struct rp_host_face *f, struct rp_tally *t, uint32_t at, double n)
{
    rp_tally_set(t, at, rp_vm_of(f)->worker, integer(n));
}

double rp_abi_tally_sum(const struct rp_tally *t, uint32_t at)
{
    return (double)rp_tally_sum(t, at);
}

static bool name_at(struct rp_host_face *f, const struct rp_names *names, uint32_t at)
{
    if (at >= rp_names_count(names)) return false;
    f->out = rp_names_text(names, at);
    f->number = rp_names_kind(names, at);
    return true;
}

bool rp_abi_tally_at(struct rp_host_face *f, const struct rp_tally *t, uint32_t at)
{
    return name_at(f, rp_tally_names(t), at);
}

double rp_abi_tally_room(const struct rp_tally *t)
{
    return rp_tally_names(t)->most;
}

/* ---- what comes most often ------------------------------------------------------------------- */

enum { LIST_MOST = 1000 };

rp_err rp_abi_top_add(struct rp_top *t, const char *key, size_t n, double count)
{
    int64_t more = integer(count);
    return more > 0 ? rp_top_add(t, rp_str_of(key, n), (uint64_t)more) : RP_E_INVALID;
}

const struct rp_top_item *rp_abi_top_list(struct rp_host_face *f, struct rp_top *t, double most)
{
    struct rp_host *h = rp_vm_of(f);
    uint32_t n = most >= 1 ? (uint32_t)RP_MIN(most, (double)LIST_MOST) : 0;
    rp_arena_reset(&h->scratch);
    struct rp_top_item *list = rp_arena_alloc(&h->scratch, sizeof *list * (n + 1));
    f->number = list ? rp_top_list(t, list, n) : 0;
    return list;
}

rp_err rp_abi_top_flush(struct rp_top *t)
{
    return rp_top_flush(t);
}

void rp_abi_top_stats(const struct rp_top *t, struct rp_top_stats *out)
{
    rp_top_stats(t, out);
}

/* ---- how many different ones ----------------------------------------------------------------- */

rp_err rp_abi_distinct_add(struct rp_distinct *d, const char *name, size_t n, const char *item,
                           size_t item_n)
{
    uint32_t at = 0;
    rp_err e = rp_distinct_name(d, rp_str_of(name, n), &at);
    if (e == RP_OK) rp_distinct_add(d, at, rp_str_of(item, item_n));
    return e;
}

rp_err rp_abi_distinct_find(struct rp_host_face *f, const struct rp_distinct *d, const char *name,
                            size_t n)
{
    uint32_t at = 0;
    rp_err e = rp_distinct_find(d, rp_str_of(name, n), &at);
    f->number = at;
    return e;
}

double rp_abi_distinct_count(const struct rp_distinct *d, const uint32_t *list, uint32_t n)
{
    return rp_distinct_count(d, list, n);
}

void rp_abi_distinct_clear(struct rp_distinct *d, uint32_t at)
{
    rp_distinct_clear(d, at);
}

bool rp_abi_distinct_at(struct rp_host_face *f, const struct rp_distinct *d, uint32_t at)
{
    return name_at(f, rp_distinct_names(d), at);
}
