/* SPDX-License-Identifier: MIT
 *
 * share: see share.h.
 */
#include "shm/share.h"

static const char *const KINDS[RP_SHARE_KINDS + 1] = {
    "?",
    [RP_SHARE_STORE] = "store",
    [RP_SHARE_CACHE] = "cache",
    [RP_SHARE_BUCKETS] = "buckets",
    [RP_SHARE_COUNTERS] = "counters",
    [RP_SHARE_SET] = "set",
    [RP_SHARE_TOP] = "top",
    [RP_SHARE_DISTINCT] = "distinct",
};

const char *rp_share_kind_name(uint32_t kind)
{
    return kind <= RP_SHARE_KINDS ? KINDS[kind] : KINDS[0];
}

rp_err rp_share_open(struct rp_zone *z, uint32_t kind, struct rp_share *out)
{
    rp_err e = RP_E_INVALID;
    *out = (struct rp_share){0};
    rp_zone_wish_huge(z); /* before the first page is there */
    if (kind >= RP_SHARE_STORE && kind <= RP_SHARE_BUCKETS)
        e = rp_dict_new(z, (enum rp_dict_kind)kind, &out->dict);
    else if (kind == RP_SHARE_COUNTERS) e = rp_tally_new(z, &out->tally);
    else if (kind == RP_SHARE_SET) e = rp_lookup_new(z, &out->lookup);
    else if (kind == RP_SHARE_TOP) e = rp_top_new(z, &out->top);
    else if (kind == RP_SHARE_DISTINCT) e = rp_distinct_new(z, &out->distinct);
    if (e == RP_OK) out->kind = kind;
    return e;
}

void rp_share_close(struct rp_share *s)
{
    if (s->dict) rp_dict_free(&s->dict);
    if (s->tally) rp_tally_free(&s->tally);
    if (s->lookup) rp_lookup_free(&s->lookup);
    if (s->top) rp_top_free(&s->top);
    if (s->distinct) rp_distinct_free(&s->distinct);
    s->kind = 0;
}

typedef unsigned long long ull;

static void dict_status(const struct rp_dict *d, struct rp_buf *out)
{
    struct rp_dict_stats s;
    rp_dict_stats(d, &s);
    rp_buf_addf(out,
                "entries %llu, bytes %llu of %llu, hits %llu, misses %llu, evictions %llu, "
                "expired %llu, refused %llu, repairs %llu",
                (ull)s.entries, (ull)s.bytes_used, (ull)s.bytes, (ull)s.hits, (ull)s.misses,
                (ull)s.evictions, (ull)s.expired, (ull)s.refused, (ull)s.repairs);
}

static void lookup_status(const struct rp_lookup *l, struct rp_buf *out)
{
    struct rp_lookup_stats s;
    rp_lookup_stats(l, &s);
    rp_buf_addf(out, "entries %llu, bytes %llu of %llu, read %llu times, last at %llu",
                (ull)s.entries, (ull)s.bytes, (ull)s.room, (ull)s.version, (ull)s.made_s);
}

static void top_status(const struct rp_top *t, struct rp_buf *out)
{
    struct rp_top_stats s;
    rp_top_stats(t, &s);
    rp_buf_addf(out, "keys %u of %u, added %llu, error at most %llu, repairs %llu", s.keys, s.room,
                (ull)s.added, (ull)s.error_most, (ull)s.repairs);
}

static void names_status(const struct rp_names *n, struct rp_buf *out)
{
    rp_buf_addf(out, "names %u of %u", rp_names_count(n), n->most);
}

void rp_share_status(const struct rp_share *s, struct rp_buf *out)
{
    if (s->dict) dict_status(s->dict, out);
    if (s->tally) names_status(rp_tally_names(s->tally), out);
    if (s->lookup) lookup_status(s->lookup, out);
    if (s->top) top_status(s->top, out);
    if (s->distinct) names_status(rp_distinct_names(s->distinct), out);
}

void rp_share_forget(struct rp_share *s, uint32_t worker)
{
    if (s->kind == RP_SHARE_BUCKETS) rp_dict_forget(s->dict, worker);
    if (s->tally) rp_tally_forget(s->tally, worker);
}
