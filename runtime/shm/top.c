/* SPDX-License-Identifier: MIT
 *
 * top: see top.h.
 *
 * A shard: entries, a hash table of them, a heap of them with the least count first. An entry
 * counts while its key_n is not 0. Replacing one writes `floor` (the most that was ever dropped),
 * ends the old one by one store, writes the new one and begins it by one store: a death anywhere
 * loses at most the entry that was being dropped, and `floor` still bounds what is not in the
 * table. Hash table and heap follow from the entries, and are made anew by a repair.
 */
#include "shm/top.h"

#include "base/hash.h"
#include "base/mem.h"
#include "shm/lock.h"

enum {
    SHARDS_MOST = 16,
    SHARD_BYTES_LEAST = 1 << 20,
    ROOM_MOST = 1 << 20,
    ROOM_LEAST = 64,
    KEY_MOST = 1024,
    LINE = 64,
};

struct entry {
    uint64_t hash, count, error;
    uint32_t link; /* next in its slot, from 1 */
    uint32_t at;   /* its place in the heap */
    uint32_t key_n;
    char key[RP_TOP_KEY_BYTES];
};

struct shard {
    pthread_mutex_t lock;
    uint32_t n; /* in the heap; entries beyond it are free */
    uint64_t floor, added, repairs;
};

struct head {
    uint32_t shards_n;
    struct rp_hash_key key;
};

struct rp_top {
    struct head *head;
    char *shards;
    size_t shard_bytes;
    uint32_t shards_n, room, slots_n;
};

struct view {
    struct shard *s;
    uint32_t *slots, *heap;
    struct entry *list;
    uint32_t room, slots_n;
};

static size_t round_up(size_t n)
{
    return (n + LINE - 1) & ~(size_t)(LINE - 1);
}

static uint32_t slots_for(uint32_t room)
{
    uint32_t n = ROOM_LEAST;
    while (n < room) n *= 2;
    return n;
}

static size_t bytes_for(uint32_t room)
{
    return round_up(sizeof(struct shard)) + round_up(sizeof(uint32_t) * slots_for(room)) +
           round_up(sizeof(uint32_t) * room) + round_up(sizeof(struct entry) * room);
}

static void divide(struct rp_top *t, size_t bytes)
{
    t->shards_n = 1;
    while (t->shards_n < SHARDS_MOST && bytes / (t->shards_n * 2) >= SHARD_BYTES_LEAST)
        t->shards_n *= 2;
    t->shard_bytes = ((bytes - LINE) / t->shards_n) & ~(size_t)(LINE - 1);
    t->room = rp_zone_fit(t->shard_bytes, ROOM_MOST, bytes_for);
    t->slots_n = slots_for(t->room);
}

static struct view view_of(const struct rp_top *t, uint32_t i)
{
    char *p = t->shards + t->shard_bytes * i;
    struct view v = {.s = (struct shard *)(void *)p, .room = t->room, .slots_n = t->slots_n};
    p += round_up(sizeof *v.s);
    v.slots = (uint32_t *)(void *)p;
    p += round_up(sizeof(uint32_t) * t->slots_n);
    v.heap = (uint32_t *)(void *)p;
    v.list = (struct entry *)(void *)(p + round_up(sizeof(uint32_t) * t->room));
    return v;
}

rp_err rp_top_new(struct rp_zone *z, struct rp_top **out)
{
    size_t bytes = z->bytes - RP_ZONE_HEAD_BYTES;
    struct rp_top made = {0}, *t;
    void *base;
    bool fresh;
    if (bytes < LINE * LINE) return RP_E_INVALID;
    divide(&made, bytes);
    if (made.room < ROOM_LEAST) return RP_E_INVALID;
    rp_err e = rp_zone_part(z, RP_STR("top1"), bytes, &base, &fresh);
    if (e != RP_OK) return e;
    made.head = base;
    made.shards = (char *)base + LINE;
    if (fresh) {
        made.head->shards_n = made.shards_n;
        rp_hash_key_draw(&made.head->key);
        for (uint32_t i = 0; i < made.shards_n; i++)
            if (!rp_lock_make(&view_of(&made, i).s->lock)) return RP_E_OS;
    } else if (made.head->shards_n != made.shards_n) {
        return RP_E_INVALID;
    }
    t = rp_alloc(sizeof *t);
    *t = made;
    *out = t;
    return RP_OK;
}

void rp_top_free(struct rp_top **t)
{
    rp_free(*t);
    *t = NULL;
}

/* ---- the heap: least count first ------------------------------------------------------------- */

static struct entry *entry_at(const struct view *v, uint32_t i)
{
    return i >= 1 && i <= v->room ? &v->list[i - 1] : NULL;
}

static uint64_t count_at(const struct view *v, uint32_t at)
{
    const struct entry *e = entry_at(v, v->heap[at]);
    return e ? e->count : 0;
}

static void put(struct view *v, uint32_t at, uint32_t i)
{
    struct entry *e = entry_at(v, i);
    v->heap[at] = i;
    if (e) e->at = at;
}

static void swap(struct view *v, uint32_t a, uint32_t b)
{
    uint32_t i = v->heap[a];
    put(v, a, v->heap[b]);
    put(v, b, i);
}

static uint32_t heap_n(const struct view *v)
{
    return RP_MIN(v->s->n, v->room);
}

static void sink(struct view *v, uint32_t at)
{
    uint32_t n = heap_n(v);
    for (uint32_t child; (child = at * 2 + 1) < n; at = child) {
        if (child + 1 < n && count_at(v, child + 1) < count_at(v, child)) child++;
        if (count_at(v, at) <= count_at(v, child)) return;
        swap(v, at, child);
    }
}

static void rise(struct view *v, uint32_t at)
{
    while (at > 0 && count_at(v, at) < count_at(v, (at - 1) / 2)) {
        swap(v, at, (at - 1) / 2);
        at = (at - 1) / 2;
    }
}

/* ---- entries --------------------------------------------------------------------------------- */

static uint32_t *slot_of(const struct view *v, uint64_t hash)
{
    return &v->slots[(uint32_t)hash & (v->slots_n - 1)];
}

static void link_entry(struct view *v, struct entry *e)
{
    uint32_t *slot = slot_of(v, e->hash);
    e->link = *slot;
    *slot = (uint32_t)(e - v->list) + 1;
}

static void unlink_entry(struct view *v, const struct entry *e)
{
    uint32_t i = (uint32_t)(e - v->list) + 1, *from = slot_of(v, e->hash);
    for (uint32_t n = 0; n < v->room && *from != i; n++) {
        struct entry *other = entry_at(v, *from);
        if (!other) return;
        from = &other->link;
    }
    if (*from == i) *from = e->link;
}

static void forget_lists(struct view *v)
{
    memset(v->slots, 0, sizeof *v->slots * v->slots_n);
    v->s->n = 0;
}

static void repair(struct view *v)
{
    forget_lists(v);
    v->s->repairs++;
    for (uint32_t i = 0; i < v->room; i++) {
        struct entry *e = &v->list[i];
        if (e->key_n == 0) continue;
        link_entry(v, e);
        uint32_t at = v->s->n++;
        put(v, at, i + 1);
        rise(v, at);
    }
}

static rp_err enter(struct view *v)
{
    rp_err e = rp_lock_take(&v->s->lock);
    if (e != RP_END) return e;
    repair(v);
    return rp_lock_mend(&v->s->lock);
}

static struct entry *find(const struct view *v, uint64_t hash)
{
    struct entry *e = entry_at(v, *slot_of(v, hash));
    for (uint32_t n = 0; e && n < v->room; n++, e = entry_at(v, e->link))
        if (e->hash == hash && e->key_n) return e;
    return NULL;
}

/* A free entry, or the one that came least. *n is what it begins with. NULL: the shard's numbers
 * lie. */
static struct entry *take_entry(struct view *v, uint32_t *at)
{
    uint32_t n = heap_n(v);
    if (n < v->room) {
        /* After a repair the free ones lie anywhere. */
        for (uint32_t i = n; i < n + v->room; i++) {
            struct entry *e = &v->list[i % v->room];
            if (e->key_n) continue;
            *at = v->s->n++;
            return e;
        }
    }
    struct entry *least = entry_at(v, v->heap[0]);
    if (!least) return NULL;
    if (least->count > v->s->floor) v->s->floor = least->count;
    __atomic_store_n(&least->key_n, 0, __ATOMIC_RELEASE);
    unlink_entry(v, least);
    *at = 0;
    return least;
}

static void begin(struct view *v, struct entry *e, uint32_t at, rp_str key, uint64_t hash,
                  uint64_t n)
{
    uint32_t kept = (uint32_t)RP_MIN(key.len, sizeof e->key);
    e->hash = hash;
    e->error = v->s->floor;
    e->count = v->s->floor + n;
    memcpy(e->key, key.ptr, kept);
    __atomic_store_n(&e->key_n, kept, __ATOMIC_RELEASE);
    link_entry(v, e);
    put(v, at, (uint32_t)(e - v->list) + 1);
    rise(v, at);
    sink(v, e->at);
}

rp_err rp_top_add(struct rp_top *t, rp_str key, uint64_t n)
{
    if (key.len == 0 || key.len > KEY_MOST) return RP_E_INVALID;
    uint64_t hash = rp_hash_keyed(&t->head->key, key);
    struct view v = view_of(t, (uint32_t)(hash >> 32) & (t->shards_n - 1));
    rp_err e = enter(&v);
    if (e != RP_OK) return e;
    struct entry *one = find(&v, hash);
    v.s->added += n;
    if (one) {
        __atomic_store_n(&one->count, one->count + n, __ATOMIC_RELAXED);
        if (one->at < heap_n(&v)) sink(&v, one->at);
    } else {
        uint32_t at = 0;
        one = take_entry(&v, &at);
        if (one) begin(&v, one, at, key, hash, n);
        else repair(&v);
    }
    rp_lock_leave(&v.s->lock);
    return RP_OK;
}

/* ---- looking --------------------------------------------------------------------------------- */

static void insert(struct rp_top_item *out, uint32_t *n, uint32_t most, const struct entry *e)
{
    uint32_t at = *n;
    while (at > 0 && out[at - 1].count < e->count) at--;
    if (at == most) return;
    if (*n < most) (*n)++;
    memmove(&out[at + 1], &out[at], sizeof *out * (*n - 1 - at));
    out[at] = (struct rp_top_item){
        .count = e->count, .error = e->error, .key_n = RP_MIN(e->key_n, RP_TOP_KEY_BYTES)};
    memcpy(out[at].key, e->key, out[at].key_n);
}

uint32_t rp_top_list(struct rp_top *t, struct rp_top_item *out, uint32_t most)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < t->shards_n && most > 0; i++) {
        struct view v = view_of(t, i);
        if (enter(&v) != RP_OK) continue;
        for (uint32_t k = 0; k < v.room; k++) {
            const struct entry *e = &v.list[k];
            if (e->key_n && (n < most || e->count > out[n - 1].count)) insert(out, &n, most, e);
        }
        rp_lock_leave(&v.s->lock);
    }
    return n;
}

rp_err rp_top_flush(struct rp_top *t)
{
    rp_err worst = RP_OK;
    for (uint32_t i = 0; i < t->shards_n; i++) {
        struct view v = view_of(t, i);
        rp_err e = enter(&v);
        if (e != RP_OK) {
            worst = e;
            continue;
        }
        for (uint32_t k = 0; k < v.room; k++)
            if (v.list[k].key_n) v.list[k].key_n = 0; /* pages that were never used stay so */
        forget_lists(&v);
        v.s->floor = v.s->added = 0;
        rp_lock_leave(&v.s->lock);
    }
    return worst;
}

void rp_top_stats(const struct rp_top *t, struct rp_top_stats *out)
{
    *out = (struct rp_top_stats){.room = t->room * t->shards_n};
    for (uint32_t i = 0; i < t->shards_n; i++) {
        struct shard *s = view_of(t, i).s;
        out->added += __atomic_load_n(&s->added, __ATOMIC_RELAXED);
        out->repairs += __atomic_load_n(&s->repairs, __ATOMIC_RELAXED);
        out->keys += RP_MIN(__atomic_load_n(&s->n, __ATOMIC_RELAXED), t->room);
        out->error_most = RP_MAX(out->error_most, __atomic_load_n(&s->floor, __ATOMIC_RELAXED));
    }
}
