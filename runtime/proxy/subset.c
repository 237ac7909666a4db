/* SPDX-License-Identifier: MIT
 *
 * subset: see subset.h.
 */
#include "proxy/subset.h"

#include "base/mem.h"
#include "proxy/member.h"

bool rp_subset_is_wish(rp_str wish)
{
    rp_str key, value, before = RP_STR_NONE;
    for (uint32_t n = 0; rp_member_pair(&wish, &key, &value); n++) {
        if (!rp_member_is_text(key) || !rp_member_is_text(value)) return false;
        if (n == RP_MEMBER_META_MOST || (before.len && rp_str_cmp(before, key) >= 0)) return false;
        before = key;
    }
    return before.len > 0;
}

/* The names in `subsets` stand between tabs. */
static bool is_asked_about(rp_str keys, rp_str key)
{
    while (keys.len) {
        size_t n = rp_str_find(keys, '\t', 0);
        if (rp_str_eq(rp_str_head(keys, n), key)) return true;
        keys = rp_str_from(keys, RP_MIN(n + 1, keys.len));
    }
    return false;
}

static rp_str said_of(const struct rp_conf_peer *p, rp_str key)
{
    if (rp_str_eq(key, RP_STR("zone"))) return p->zone;
    for (uint32_t i = 0; i < p->meta_n; i++)
        if (rp_str_eq(p->meta[i].key, key)) return p->meta[i].value;
    return RP_STR_NONE;
}

static bool suits(const struct rp_group *g, const struct rp_conf_peer *p, rp_str wish)
{
    rp_str key, value;
    while (rp_member_pair(&wish, &key, &value)) {
        if (is_asked_about(g->conf->subsets, key) && !rp_str_eq(said_of(p, key), value))
            return false;
    }
    return true;
}

static bool says_anything(const struct rp_group *g, rp_str wish)
{
    rp_str key, value;
    while (rp_member_pair(&wish, &key, &value))
        if (is_asked_about(g->conf->subsets, key)) return true;
    return false;
}

static struct rp_subset *make(struct rp_group *g, rp_str wish)
{
    struct rp_subset *s = rp_alloc(sizeof *s);
    s->wish = rp_str_of(rp_strdup_n(wish.ptr, wish.len), wish.len);
    s->bits = rp_alloc(sizeof(uint64_t) * (g->peers_n / 64 + 1));
    for (uint32_t i = 0; i < g->peers_n; i++) {
        if (!suits(g, g->peers[i]->conf, wish)) continue;
        s->bits[i / 64] |= UINT64_C(1) << i % 64;
        s->n++;
    }
    s->next = g->subsets;
    g->subsets = s;
    g->subsets_n++;
    return s;
}

const struct rp_subset *rp_subset_find(struct rp_group *g, rp_str wish)
{
    struct rp_subset **link = &g->subsets;
    while (*link && !rp_str_eq((*link)->wish, wish)) link = &(*link)->next;
    struct rp_subset *s = *link;
    if (s) { /* those that are wanted stay in front */
        *link = s->next;
        s->next = g->subsets;
        g->subsets = s;
        return s;
    }
    if (!says_anything(g, wish)) return NULL;
    if (g->subsets_n == RP_SUBSETS_MOST) rp_subsets_forget(g);
    return make(g, wish);
}

void rp_subsets_forget(struct rp_group *g)
{
    while (g->subsets) {
        struct rp_subset *s = g->subsets;
        g->subsets = s->next;
        rp_free((void *)s->wish.ptr);
        rp_free(s->bits);
        rp_free(s);
    }
    g->subsets_n = 0;
}
