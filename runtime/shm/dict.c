/* SPDX-License-Identifier: MIT
 *
 * dict: layout, locks, blocks, repair. The operations are dict_value.c and dict_bucket.c.
 *
 * Invariants: 1 an entry is what its head says while its state is LIVE; everything else of a shard
 * (slots, lists, counts) follows from the heads and is made anew by a repair. 2 A head turns LIVE
 * by one store, after all that it leads to was written; it ends by one store, before any of it is
 * given back. 3 What changes in a LIVE entry changes by single words, each right by itself. So a
 * death between any two instructions leaves every entry old or new. 4 Nobody waits longer than
 * 200 ms for a lock.
 */
#include "base/mem.h"
#include "shm/dict_in.h"

enum {
    SHARDS_MOST = 64,
    SHARD_BYTES_LEAST = 1 << 20, /* smaller ones would be full at different times */
    LINE = 64,
    HEAD = 4160,       /* of the part, before the shards: lines */
    SWEEP_A_BIT = 4,   /* blocks looked at with each write, for entries past their time */
    SWEEP_ALL = 16384, /* and when there is no room: a millisecond at most */
    VALUE_BYTES_MOST = 8 << 20,
    VALUE_PART = 4, /* one value takes at most this part of a shard */
};

_Static_assert(sizeof(struct rp_dict_block) == RP_DICT_BLOCK, "blocks are lines");
_Static_assert(offsetof(struct rp_dict_block, data) == RP_DICT_STATE_AT, "");
_Static_assert(offsetof(struct rp_dict_block, words) + 8 == RP_DICT_VALUE_AT, "");
_Static_assert(sizeof(struct rp_dict_head) <= HEAD, "what follows starts on a line");

/* ---- layout ---------------------------------------------------------------------------------- */

static size_t round_up(size_t n)
{
    return (n + LINE - 1) & ~(size_t)(LINE - 1);
}

/* As many blocks as fit behind the head with a slot for each, in powers of two, or half of one. */
static void divide(struct rp_dict *d, size_t bytes)
{
    d->shards_n = 1;
    while (d->shards_n < SHARDS_MOST && bytes / (d->shards_n * 2) >= SHARD_BYTES_LEAST)
        d->shards_n *= 2;
    d->shard_bytes = ((bytes - HEAD) / d->shards_n) & ~(size_t)(LINE - 1);
    size_t room = d->shard_bytes - round_up(sizeof(struct rp_dict_shard));
    size_t most = RP_MIN(room / RP_DICT_BLOCK, (size_t)UINT32_MAX / 4);
    d->slots_n = 64;
    while (d->slots_n * 2 <= most) d->slots_n *= 2;
    room -= d->slots_n * sizeof(uint32_t);
    d->blocks_n = (uint32_t)RP_MIN(room / RP_DICT_BLOCK, most);
}

static struct rp_dict_shard *shard_at(const struct rp_dict *d, uint32_t i)
{
    return (struct rp_dict_shard *)(void *)(d->shards + d->shard_bytes * i);
}

static rp_err lay_out(struct rp_dict *d)
{
    d->head->kind = d->kind;
    d->head->shards_n = d->shards_n;
    rp_hash_key_draw(&d->head->key);
    for (uint32_t i = 0; i < d->shards_n; i++)
        if (!rp_lock_make(&shard_at(d, i)->lock)) return RP_E_OS;
    return RP_OK;
}

rp_err rp_dict_new(struct rp_zone *z, enum rp_dict_kind kind, struct rp_dict **out)
{
    size_t bytes = z->bytes - RP_ZONE_HEAD_BYTES;
    void *base;
    bool fresh;
    if (bytes < RP_DICT_BYTES_LEAST) return RP_E_INVALID;
    rp_err e = rp_zone_part(z, RP_STR("dict2"), bytes, &base, &fresh);
    if (e != RP_OK) return e;
    struct rp_dict *d = rp_alloc(sizeof *d);
    *d = (struct rp_dict){.head = base, .shards = (char *)base + HEAD, .kind = kind};
    divide(d, bytes);
    if (fresh) e = lay_out(d);
    else if (d->head->kind != kind || d->head->shards_n != d->shards_n) e = RP_E_INVALID;
    d->key = d->head->key;
    if (e == RP_OK) *out = d;
    else rp_dict_free(&d);
    return e;
}

void rp_dict_free(struct rp_dict **d)
{
    rp_free(*d);
    *d = NULL;
}

enum rp_dict_kind rp_dict_kind_of(const struct rp_dict *d)
{
    return d->kind;
}

static size_t data_at(const struct rp_dict *d)
{
    return d->kind == RP_DICT_BUCKETS ? RP_DICT_STATE_AT : RP_DICT_VALUE_AT;
}

enum { MORE = RP_DICT_BLOCK - RP_DICT_MORE_AT };

static uint32_t blocks_for(const struct rp_dict *d, size_t bytes)
{
    size_t first = RP_DICT_BLOCK - data_at(d);
    return bytes <= first ? 1 : 1 + (uint32_t)((bytes - first + MORE - 1) / MORE);
}

size_t rp_dict_value_most(const struct rp_dict *d)
{
    return RP_MIN((size_t)(d->blocks_n / VALUE_PART) * MORE, (size_t)VALUE_BYTES_MOST);
}

void rp_dict_stats(const struct rp_dict *d, struct rp_dict_stats *out)
{
    uint64_t *sum = (uint64_t *)(void *)out;
    *out = (struct rp_dict_stats){0};
    for (uint32_t i = 0; i < d->shards_n; i++) {
        const struct rp_dict_shard *s = shard_at(d, i);
        const uint64_t *from = (const uint64_t *)(const void *)&s->stats;
        for (size_t k = 0; k < sizeof *out / sizeof *sum; k++)
            sum[k] += __atomic_load_n(&from[k], __ATOMIC_RELAXED);
        uint32_t touched = __atomic_load_n(&s->touched_n, __ATOMIC_RELAXED);
        uint32_t free_n = __atomic_load_n(&s->free_n, __ATOMIC_RELAXED);
        if (touched > free_n) out->bytes_used += (uint64_t)(touched - free_n) * RP_DICT_BLOCK;
    }
    out->bytes = (uint64_t)d->blocks_n * d->shards_n * RP_DICT_BLOCK;
}

/* ---- blocks ---------------------------------------------------------------------------------- */

static uint32_t room_of(const struct rp_dict_view *v)
{
    const struct rp_dict_shard *s = v->s;
    uint32_t fresh = s->touched_n < v->blocks_n ? v->blocks_n - s->touched_n : 0;
    return fresh + RP_MIN(s->free_n, v->blocks_n);
}

/* There is one: room_of said so. NULL when the shard's numbers lie. */
static struct rp_dict_block *take_block(struct rp_dict_view *v)
{
    struct rp_dict_shard *s = v->s;
    struct rp_dict_block *b = rp_dict_at(v, s->free);
    if (b) {
        s->free = b->next;
        s->free_n--;
    } else if (s->touched_n < v->blocks_n) {
        b = &v->blocks[s->touched_n++];
    }
    return b;
}

static void give_block(struct rp_dict_view *v, struct rp_dict_block *b)
{
    b->state = RP_DICT_FREE;
    b->next = v->s->free;
    v->s->free = rp_dict_index(v, b);
    v->s->free_n++;
}

/* A step through the bytes of an entry: key, then value. */
struct piece {
    struct rp_dict_block *b;
    size_t at; /* in the block */
};

static struct piece first_piece(const struct rp_dict_view *v, const struct rp_dict_block *b)
{
    return (struct piece){.b = rp_dict_at(v, rp_dict_index(v, b)), .at = data_at(v->dict)};
}

/* The next bytes that lie together, at most n; none when the chain is broken. */
static size_t step(const struct rp_dict_view *v, struct piece *p, size_t n, char **bytes)
{
    if (p->b && p->at == RP_DICT_BLOCK)
        *p = (struct piece){rp_dict_at(v, p->b->next), RP_DICT_MORE_AT};
    if (!p->b) return 0;
    size_t here = RP_MIN(n, RP_DICT_BLOCK - p->at);
    *bytes = (char *)p->b + p->at;
    p->at += here;
    return here;
}

static bool put_bytes(const struct rp_dict_view *v, struct piece *p, rp_str s)
{
    while (s.len > 0) {
        char *to = NULL;
        size_t n = step(v, p, s.len, &to);
        if (n == 0) return false; /* the chain is shorter than the blocks that were counted */
        memcpy(to, s.ptr, n);
        s = rp_str_from(s, n);
    }
    return true;
}

bool rp_dict_holds(const struct rp_dict_view *v, const struct rp_dict_block *b, size_t from,
                   rp_str bytes)
{
    struct piece p = first_piece(v, b);
    char *here = NULL;
    for (size_t n; from > 0; from -= n)
        if ((n = step(v, &p, from, &here)) == 0) return false;
    while (bytes.len > 0) {
        size_t n = step(v, &p, bytes.len, &here);
        if (n == 0 || memcmp(here, bytes.ptr, n) != 0) return false;
        bytes = rp_str_from(bytes, n);
    }
    return true;
}

static bool has_key(const struct rp_dict_view *v, const struct rp_dict_block *b, rp_str key)
{
    if (b->key_n != key.len) return false;
    size_t at = data_at(v->dict);
    if (key.len <= RP_DICT_BLOCK - at) return memcmp((const char *)b + at, key.ptr, key.len) == 0;
    return rp_dict_holds(v, b, 0, key);
}

rp_err rp_dict_read(const struct rp_dict_view *v, const struct rp_dict_block *b, size_t from,
                    size_t n, struct rp_buf *out)
{
    struct piece p = first_piece(v, b);
    char *bytes = NULL;
    for (size_t got; from > 0; from -= got)
        if ((got = step(v, &p, from, &bytes)) == 0) return RP_E_INTERNAL;
    for (size_t got; n > 0; n -= got) {
        if ((got = step(v, &p, n, &bytes)) == 0) return RP_E_INTERNAL;
        rp_buf_add(out, rp_str_of(bytes, got));
    }
    return RP_OK;
}

/* ---- lists: a slot's chain, the order of use ------------------------------------------------- */

static uint32_t *slot_of(const struct rp_dict_view *v, uint32_t hash)
{
    return &v->slots[hash & (v->slots_n - 1)];
}

static void link_newest(struct rp_dict_view *v, struct rp_dict_block *b)
{
    struct rp_dict_shard *s = v->s;
    uint32_t i = rp_dict_index(v, b);
    struct rp_dict_block *before = rp_dict_at(v, s->newest);
    b->newer = 0;
    b->older = s->newest;
    if (before) before->newer = i;
    else s->oldest = i;
    s->newest = i;
}

static void unlink_use(struct rp_dict_view *v, struct rp_dict_block *b)
{
    struct rp_dict_block *older = rp_dict_at(v, b->older), *newer = rp_dict_at(v, b->newer);
    if (older) older->newer = b->newer;
    else v->s->oldest = b->newer;
    if (newer) newer->older = b->older;
    else v->s->newest = b->older;
}

void rp_dict_touch(struct rp_dict_view *v, struct rp_dict_block *b)
{
    if (v->s->newest == rp_dict_index(v, b)) return;
    unlink_use(v, b);
    link_newest(v, b);
}

static void link_slot(struct rp_dict_view *v, struct rp_dict_block *b)
{
    uint32_t *slot = slot_of(v, b->hash);
    b->link = *slot;
    *slot = rp_dict_index(v, b);
}

static void unlink_slot(struct rp_dict_view *v, const struct rp_dict_block *b)
{
    uint32_t *from = slot_of(v, b->hash), i = rp_dict_index(v, b);
    for (uint32_t n = 0; n < v->blocks_n && *from != i; n++) {
        struct rp_dict_block *other = rp_dict_at(v, *from);
        if (!other) return;
        from = &other->link;
    }
    if (*from == i) *from = b->link;
}

/* ---- entries --------------------------------------------------------------------------------- */

void rp_dict_remove(struct rp_dict_view *v, struct rp_dict_block *b)
{
    uint32_t n = blocks_for(v->dict, (size_t)b->key_n + b->value_n), more = b->next;
    __atomic_store_n(&b->state, RP_DICT_FREE, __ATOMIC_RELEASE);
    unlink_slot(v, b);
    unlink_use(v, b);
    v->s->stats.entries--;
    give_block(v, b);
    for (uint32_t i = 1; i < n; i++) {
        struct rp_dict_block *next = rp_dict_at(v, more);
        if (!next) break;
        more = next->next;
        give_block(v, next);
    }
}

static bool is_over(const struct rp_dict_block *b, rp_ms now)
{
    return b->expires_ms && b->expires_ms <= now;
}

static void expire(struct rp_dict_view *v, struct rp_dict_block *b)
{
    v->s->stats.expired++;
    rp_dict_remove(v, b);
}

struct rp_dict_block *rp_dict_find(struct rp_dict_view *v, rp_str key, uint32_t type, rp_ms now)
{
    struct rp_dict_block *b = rp_dict_at(v, *slot_of(v, v->hash));
    for (uint32_t n = 0; b && n < v->blocks_n; n++, b = rp_dict_at(v, b->link)) {
        if (b->hash != v->hash || (type && b->type != type) || !has_key(v, b, key)) continue;
        if (!is_over(b, now)) return b;
        expire(v, b);
        return NULL;
    }
    return NULL;
}

/* Look at some blocks, in turn, for entries past their time. */
static void sweep(struct rp_dict_view *v, uint32_t n, rp_ms now)
{
    uint32_t touched = RP_MIN(v->s->touched_n, v->blocks_n);
    for (n = RP_MIN(n, touched); n > 0; n--) {
        if (v->s->swept >= touched) v->s->swept = 0;
        struct rp_dict_block *b = &v->blocks[v->s->swept++];
        if (b->state == RP_DICT_LIVE && is_over(b, now)) expire(v, b);
    }
}

static void evict_oldest(struct rp_dict_view *v, rp_ms now)
{
    struct rp_dict_block *b = rp_dict_at(v, v->s->oldest);
    if (!b) return;
    if (is_over(b, now)) v->s->stats.expired++;
    else v->s->stats.evictions++;
    rp_dict_remove(v, b);
}

/* Room for n blocks; false: full. */
static bool make_room(struct rp_dict_view *v, uint32_t n, struct rp_dict_block **old, rp_ms now)
{
    if (room_of(v) >= n) return true;
    if (v->dict->kind == RP_DICT_STORE) sweep(v, SWEEP_ALL, now);
    if (room_of(v) >= n) return true;
    if (*old) {
        uint32_t had = blocks_for(v->dict, (size_t)(*old)->key_n + (*old)->value_n);
        if (v->dict->kind == RP_DICT_STORE && room_of(v) + had < n) return false;
        rp_dict_remove(v, *old);
        *old = NULL;
    }
    while (v->dict->kind != RP_DICT_STORE && room_of(v) < n && v->s->oldest) evict_oldest(v, now);
    return room_of(v) >= n;
}

static struct rp_dict_block *take_chain(struct rp_dict_view *v, uint32_t n)
{
    struct rp_dict_block *first = NULL, *last = NULL;
    for (; n > 0; n--) {
        struct rp_dict_block *b = take_block(v);
        if (!b) return NULL;
        b->state = RP_DICT_FREE; /* a block that continued another has bytes there */
        b->next = 0;
        if (last) last->next = rp_dict_index(v, b);
        else first = b;
        last = b;
    }
    return first;
}

rp_err rp_dict_make(struct rp_dict_view *v, rp_str key, rp_str text, struct rp_dict_block **old,
                    rp_ms now, struct rp_dict_block **out)
{
    uint32_t n = blocks_for(v->dict, key.len + text.len);
    if (n > v->blocks_n / VALUE_PART) return RP_E_TOO_BIG;
    sweep(v, SWEEP_A_BIT, now);
    if (!make_room(v, n, old, now)) {
        v->s->stats.refused++;
        return RP_E_CAP;
    }
    struct rp_dict_block *b = take_chain(v, n);
    if (!b) { /* somebody wrote where he should not have */
        rp_dict_wipe(v);
        return RP_E_INTERNAL;
    }
    uint32_t next = b->next;
    memset(b, 0, data_at(v->dict));
    b->next = next;
    b->hash = v->hash;
    b->key_n = (uint16_t)key.len;
    b->value_n = (uint32_t)text.len;
    struct piece p = first_piece(v, b);
    RP_CHECK(put_bytes(v, &p, key) && put_bytes(v, &p, text));
    *out = b;
    return RP_OK;
}

void rp_dict_publish(struct rp_dict_view *v, struct rp_dict_block *b)
{
    b->seq = ++v->s->seq;
    __atomic_store_n(&b->state, RP_DICT_LIVE, __ATOMIC_RELEASE);
    link_slot(v, b);
    link_newest(v, b);
    v->s->stats.entries++;
}

/* ---- repair ---------------------------------------------------------------------------------- */

static void forget_lists(struct rp_dict_view *v)
{
    struct rp_dict_shard *s = v->s;
    memset(v->slots, 0, sizeof *v->slots * v->slots_n);
    s->oldest = s->newest = s->free = s->free_n = s->swept = 0;
    s->stats.entries = 0;
}

void rp_dict_wipe(struct rp_dict_view *v)
{
    uint32_t touched = RP_MIN(v->s->touched_n, v->blocks_n);
    for (uint32_t i = 0; i < touched; i++) v->blocks[i].state = RP_DICT_FREE;
    forget_lists(v);
    v->s->touched_n = 0;
}

enum { UNMET = 0, CLAIMED = 1 };

/* Is it an entry whose blocks are there, and no other's? They are its own then. */
static bool claim(struct rp_dict_view *v, const struct rp_dict_block *b)
{
    uint32_t n = blocks_for(v->dict, (size_t)b->key_n + b->value_n), next = b->next;
    if (b->key_n == 0 || b->key_n > RP_DICT_KEY_MOST || n > v->blocks_n / VALUE_PART) return false;
    for (uint32_t i = 1; i < n; i++) {
        struct rp_dict_block *more = rp_dict_at(v, next);
        if (!more || more->mark != UNMET || more->state == RP_DICT_LIVE) return false;
        next = more->next;
        more->mark = CLAIMED;
    }
    return true;
}

static void claim_all(struct rp_dict_view *v, uint32_t touched)
{
    for (uint32_t i = 0; i < touched; i++) v->blocks[i].mark = UNMET;
    for (uint32_t i = 0; i < touched; i++) {
        struct rp_dict_block *b = &v->blocks[i];
        if (b->state == RP_DICT_LIVE && !claim(v, b)) b->state = RP_DICT_FREE;
    }
}

/* Another entry has this key, and is the younger one. An older one ends here. */
static bool is_outdated(struct rp_dict_view *v, const struct rp_dict_block *b, rp_str key)
{
    struct rp_dict_block *other = rp_dict_at(v, *slot_of(v, b->hash));
    for (; other; other = rp_dict_at(v, other->link)) {
        if (other->hash != b->hash || !has_key(v, other, key)) continue;
        if (v->dict->kind == RP_DICT_BUCKETS && other->type != b->type) continue;
        if (other->seq > b->seq) return true;
        other->state = RP_DICT_FREE;
        unlink_slot(v, other);
        unlink_use(v, other);
        v->s->stats.entries--;
        return false;
    }
    return false;
}

static bool is_wanted(struct rp_dict_view *v, const struct rp_dict_block *b, struct rp_buf *text)
{
    rp_buf_clear(text);
    if (rp_dict_read(v, b, 0, b->key_n, text) != RP_OK) return false;
    rp_str key = rp_buf_str(text);
    return (uint32_t)rp_hash_keyed(&v->dict->key, key) == b->hash && !is_outdated(v, b, key);
}

/* Who was in here died. Heads that are LIVE are whole (or were overwritten by a process gone wild:
 * those are dropped); all else is made anew. Dying here leaves it to the next one. */
static void repair(struct rp_dict_view *v)
{
    uint32_t touched = RP_MIN(v->s->touched_n, v->blocks_n);
    struct rp_buf text;
    rp_buf_init(&text, RP_DICT_KEY_MOST);
    v->s->stats.repairs++;
    v->s->touched_n = touched;
    claim_all(v, touched);
    forget_lists(v);
    for (uint32_t i = 0; i < touched; i++) {
        struct rp_dict_block *b = &v->blocks[i];
        if (b->state != RP_DICT_LIVE) continue;
        if (!is_wanted(v, b, &text)) {
            b->state = RP_DICT_FREE;
            continue;
        }
        v->s->seq = RP_MAX(v->s->seq, b->seq);
        link_slot(v, b);
        link_newest(v, b);
        v->s->stats.entries++;
    }
    claim_all(v, touched);
    for (uint32_t i = touched; i > 0; i--) {
        struct rp_dict_block *b = &v->blocks[i - 1];
        if (b->state != RP_DICT_LIVE && b->mark == UNMET) give_block(v, b);
    }
    rp_buf_fini(&text);
}

/* ---- locks ----------------------------------------------------------------------------------- */

rp_err rp_dict_enter_shard(struct rp_dict *d, uint32_t shard, struct rp_dict_view *v)
{
    struct rp_dict_shard *s = shard_at(d, shard);
    char *slots = (char *)s + round_up(sizeof *s);
    *v = (struct rp_dict_view){.dict = d,
                               .s = s,
                               .slots = (uint32_t *)(void *)slots,
                               .slots_n = d->slots_n,
                               .blocks_n = d->blocks_n};
    v->blocks = (struct rp_dict_block *)(void *)(slots + sizeof(uint32_t) * d->slots_n);
    rp_err e = rp_lock_take(&s->lock);
    if (e != RP_END) return e;
    repair(v);
    return rp_lock_mend(&s->lock);
}

rp_err rp_dict_enter(struct rp_dict *d, rp_str key, struct rp_dict_view *v)
{
    if (key.len == 0 || key.len > RP_DICT_KEY_MOST) return RP_E_INVALID;
    uint64_t hash = rp_hash_keyed(&d->key, key);
    rp_err e = rp_dict_enter_shard(d, (uint32_t)(hash >> 32) & (d->shards_n - 1), v);
    v->hash = (uint32_t)hash;
    return e;
}

void rp_dict_leave(struct rp_dict_view *v)
{
    rp_lock_leave(&v->s->lock);
}
