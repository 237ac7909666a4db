/* SPDX-License-Identifier: MIT
 *
 * dict_value: entries of STORE and CACHE.
 */
#include "shm/dict_in.h"

static struct rp_dict_item item_of(const struct rp_dict_block *b)
{
    struct rp_dict_item item = {
        .type = b->type, .expires_ms = b->expires_ms, .fresh_ms = b->fresh_ms};
    memcpy(&item.number, &b->words[0], sizeof item.number);
    return item;
}

static void put_number(struct rp_dict_block *b, double number)
{
    uint64_t word;
    memcpy(&word, &number, sizeof word);
    __atomic_store_n(&b->words[0], word, __ATOMIC_RELAXED);
}

/* Out with it, as one that was used now. */
static rp_err give(struct rp_dict_view *v, struct rp_dict_block *b, struct rp_dict_item *out,
                   struct rp_buf *text)
{
    *out = item_of(b);
    if (v->dict->kind == RP_DICT_CACHE) rp_dict_touch(v, b);
    if (!text || b->type != RP_DICT_STRING) return RP_OK;
    rp_err e = rp_dict_read(v, b, b->key_n, b->value_n, text);
    return e == RP_OK && text->failed ? RP_E_TOO_BIG : e;
}

rp_err rp_dict_get(struct rp_dict *d, rp_str key, rp_ms now, struct rp_dict_item *out,
                   struct rp_buf *text)
{
    struct rp_dict_view v;
    *out = (struct rp_dict_item){0};
    rp_err e = rp_dict_enter(d, key, &v);
    if (e != RP_OK) return e;
    struct rp_dict_block *b = rp_dict_find(&v, key, 0, now);
    if (b && b->type != RP_DICT_NOTHING && (!b->fresh_ms || b->fresh_ms > now)) {
        v.s->stats.hits++;
        e = give(&v, b, out, text);
    } else {
        v.s->stats.misses++;
        e = RP_E_NOT_FOUND;
    }
    rp_dict_leave(&v);
    return e;
}

/* ---- writing --------------------------------------------------------------------------------- */

static rp_err write_entry(struct rp_dict_view *v, rp_str key, const struct rp_dict_item *item,
                          rp_str text, rp_ms lease_ms, struct rp_dict_block *old, rp_ms now)
{
    struct rp_dict_block *b;
    rp_err e = rp_dict_make(v, key, text, &old, now, &b);
    if (e != RP_OK) return e;
    b->type = (uint8_t)item->type;
    b->expires_ms = item->expires_ms;
    b->fresh_ms = item->fresh_ms;
    b->lease_ms = lease_ms;
    put_number(b, item->number);
    rp_dict_publish(v, b);
    if (old) rp_dict_remove(v, old);
    return RP_OK;
}

static bool mode_says_no(enum rp_dict_mode mode, const struct rp_dict_block *b)
{
    bool there = b && b->type != RP_DICT_NOTHING;
    return (mode == RP_DICT_ADD && there) || (mode == RP_DICT_REPLACE && !there);
}

rp_err rp_dict_set(struct rp_dict *d, rp_str key, const struct rp_dict_item *item, rp_str text,
                   enum rp_dict_mode mode, rp_ms now)
{
    struct rp_dict_view v;
    if (text.len > rp_dict_value_most(d)) return RP_E_TOO_BIG;
    rp_err e = rp_dict_enter(d, key, &v);
    if (e != RP_OK) return e;
    struct rp_dict_block *old = rp_dict_find(&v, key, 0, now);
    if (mode_says_no(mode, old)) e = RP_END;
    else e = write_entry(&v, key, item, text, 0, old, now);
    rp_dict_leave(&v);
    return e;
}

/* Is it what the caller believes? NULL: that there is nothing. */
static bool is_as_believed(const struct rp_dict_view *v, const struct rp_dict_block *b,
                           const struct rp_dict_item *old, rp_str text)
{
    bool there = b && b->type != RP_DICT_NOTHING && b->type != RP_DICT_ABSENT;
    if (!old || !there) return !old && !there;
    if (b->type != old->type) return false;
    if (b->type == RP_DICT_STRING)
        return b->value_n == text.len && rp_dict_holds(v, b, b->key_n, text);
    return item_of(b).number == old->number;
}

rp_err rp_dict_swap(struct rp_dict *d, rp_str key, const struct rp_dict_item *old, rp_str old_text,
                    const struct rp_dict_item *item, rp_str text, rp_ms now)
{
    struct rp_dict_view v;
    if (text.len > rp_dict_value_most(d)) return RP_E_TOO_BIG;
    rp_err e = rp_dict_enter(d, key, &v);
    if (e != RP_OK) return e;
    struct rp_dict_block *b = rp_dict_find(&v, key, 0, now);
    if (!is_as_believed(&v, b, old, old_text)) e = RP_END;
    else if (item) e = write_entry(&v, key, item, text, 0, b, now);
    else if (b) rp_dict_remove(&v, b);
    rp_dict_leave(&v);
    return e;
}

rp_err rp_dict_delete(struct rp_dict *d, rp_str key, rp_ms now)
{
    struct rp_dict_view v;
    rp_err e = rp_dict_enter(d, key, &v);
    if (e != RP_OK) return e;
    struct rp_dict_block *b = rp_dict_find(&v, key, 0, now);
    if (!b || b->type == RP_DICT_NOTHING) e = RP_E_NOT_FOUND;
    if (b) rp_dict_remove(&v, b);
    rp_dict_leave(&v);
    return e;
}

rp_err rp_dict_incr(struct rp_dict *d, rp_str key, double by, const double *init, rp_ms expires_ms,
                    rp_ms now, double *sum)
{
    struct rp_dict_view v;
    rp_err e = rp_dict_enter(d, key, &v);
    if (e != RP_OK) return e;
    struct rp_dict_block *b = rp_dict_find(&v, key, 0, now);
    if (b && b->type == RP_DICT_NUMBER) {
        *sum = item_of(b).number + by;
        put_number(b, *sum); /* one word: a death before or after it leaves a right number */
        if (v.dict->kind == RP_DICT_CACHE) rp_dict_touch(&v, b);
    } else if (b && b->type != RP_DICT_NOTHING) {
        e = RP_END;
    } else if (!init) {
        e = RP_E_NOT_FOUND;
    } else {
        struct rp_dict_item item = {
            .type = RP_DICT_NUMBER, .number = *init + by, .expires_ms = expires_ms};
        *sum = item.number;
        e = write_entry(&v, key, &item, RP_STR_NONE, 0, b, now);
    }
    rp_dict_leave(&v);
    return e;
}

rp_err rp_dict_expire(struct rp_dict *d, rp_str key, rp_ms expires_ms, rp_ms now)
{
    struct rp_dict_view v;
    rp_err e = rp_dict_enter(d, key, &v);
    if (e != RP_OK) return e;
    struct rp_dict_block *b = rp_dict_find(&v, key, 0, now);
    if (!b || b->type == RP_DICT_NOTHING) e = RP_E_NOT_FOUND;
    else b->expires_ms = expires_ms;
    rp_dict_leave(&v);
    return e;
}

rp_err rp_dict_flush(struct rp_dict *d)
{
    rp_err worst = RP_OK;
    for (uint32_t i = 0; i < d->shards_n; i++) {
        struct rp_dict_view v;
        rp_err e = rp_dict_enter_shard(d, i, &v);
        if (e == RP_OK) {
            rp_dict_wipe(&v);
            rp_dict_leave(&v);
        } else {
            worst = e;
        }
    }
    return worst;
}

/* ---- walking --------------------------------------------------------------------------------- */

/* The first entry from block `from` on; 0: none. */
static uint32_t entry_from(const struct rp_dict_view *v, uint32_t from, rp_ms now)
{
    uint32_t touched = RP_MIN(v->s->touched_n, v->blocks_n);
    for (uint32_t i = from; i < touched; i++) {
        const struct rp_dict_block *b = &v->blocks[i];
        if (b->state != RP_DICT_LIVE || b->type == RP_DICT_NOTHING) continue;
        if (!b->expires_ms || b->expires_ms > now) return i + 1;
    }
    return 0;
}

rp_err rp_dict_next(struct rp_dict *d, double *at, rp_ms now, struct rp_buf *text)
{
    uint64_t place = *at >= 0 && *at < 9e15 ? (uint64_t)*at : 0;
    uint32_t from = (uint32_t)place;
    for (uint64_t shard = place >> 32; shard < d->shards_n; shard++, from = 0) {
        struct rp_dict_view v;
        rp_err e = rp_dict_enter_shard(d, (uint32_t)shard, &v);
        if (e != RP_OK) return e;
        uint32_t i = entry_from(&v, from, now);
        const struct rp_dict_block *b = rp_dict_at(&v, i);
        if (b) e = rp_dict_read(&v, b, 0, b->key_n, text);
        rp_dict_leave(&v);
        *at = (double)(shard << 32 | i);
        if (b) return e;
    }
    return RP_END;
}

/* ---- leases ---------------------------------------------------------------------------------- */

static rp_err lease(struct rp_dict_view *v, rp_str key, rp_ms until_ms, rp_ms now,
                    struct rp_dict_item *out, struct rp_buf *text)
{
    struct rp_dict_block *b = rp_dict_find(v, key, 0, now);
    rp_err e = RP_OK;
    bool fresh = b && b->type != RP_DICT_NOTHING && (!b->fresh_ms || b->fresh_ms > now);
    if (fresh) v->s->stats.hits++;
    else v->s->stats.misses++;
    if (!b) {
        struct rp_dict_item none = {.type = RP_DICT_NOTHING, .expires_ms = until_ms};
        e = write_entry(v, key, &none, RP_STR_NONE, until_ms, NULL, now);
        return e == RP_OK ? RP_END : e;
    }
    e = give(v, b, out, text);
    if (fresh || e != RP_OK) return e;
    if (b->lease_ms > now) return RP_AGAIN;
    b->lease_ms = until_ms;
    if (b->type == RP_DICT_NOTHING) b->expires_ms = until_ms;
    return RP_END;
}

rp_err rp_dict_lease(struct rp_dict *d, rp_str key, rp_ms until_ms, rp_ms now,
                     struct rp_dict_item *out, struct rp_buf *text)
{
    struct rp_dict_view v;
    *out = (struct rp_dict_item){0};
    rp_err e = rp_dict_enter(d, key, &v);
    if (e != RP_OK) return e;
    e = lease(&v, key, until_ms, now, out, text);
    rp_dict_leave(&v);
    return e;
}

rp_err rp_dict_unlease(struct rp_dict *d, rp_str key, rp_ms now)
{
    struct rp_dict_view v;
    rp_err e = rp_dict_enter(d, key, &v);
    if (e != RP_OK) return e;
    struct rp_dict_block *b = rp_dict_find(&v, key, 0, now);
    if (b && b->type == RP_DICT_NOTHING) rp_dict_remove(&v, b);
    else if (b) b->lease_ms = 0;
    rp_dict_leave(&v);
    return RP_OK;
}

/* ---- locks ----------------------------------------------------------------------------------- */

/* The shard counts what is written into it and never goes back: that is the fence. */
static rp_err take_lock(struct rp_dict_view *v, rp_str key, rp_ms until_ms, rp_ms now,
                        double *fence, rp_ms *wait_ms)
{
    const struct rp_dict_block *b = rp_dict_find(v, key, 0, now);
    if (b) {
        *wait_ms = b->expires_ms > now ? b->expires_ms - now : 0;
        return RP_AGAIN;
    }
    struct rp_dict_item item = {
        .type = RP_DICT_NUMBER, .number = (double)(v->s->seq + 1), .expires_ms = until_ms};
    rp_err e = write_entry(v, key, &item, RP_STR_NONE, 0, NULL, now);
    *fence = item.number;
    return e;
}

rp_err rp_dict_lock(struct rp_dict *d, rp_str key, rp_ms until_ms, rp_ms now, double *fence,
                    rp_ms *wait_ms)
{
    struct rp_dict_view v;
    rp_err e = rp_dict_enter(d, key, &v);
    if (e != RP_OK) return e;
    e = take_lock(&v, key, until_ms, now, fence, wait_ms);
    rp_dict_leave(&v);
    return e;
}

rp_err rp_dict_relock(struct rp_dict *d, rp_str key, double fence, rp_ms until_ms, rp_ms now)
{
    struct rp_dict_view v;
    rp_err e = rp_dict_enter(d, key, &v);
    if (e != RP_OK) return e;
    struct rp_dict_block *b = rp_dict_find(&v, key, 0, now);
    bool held =
        b && b->type == RP_DICT_NUMBER && item_of(b).number <= fence && item_of(b).number >= fence;
    if (!held) e = RP_E_NOT_FOUND;
    else if (until_ms) b->expires_ms = until_ms;
    else rp_dict_remove(&v, b);
    rp_dict_leave(&v);
    return e;
}
