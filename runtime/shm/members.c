/* SPDX-License-Identifier: MIT
 *
 * members: head, directory, blocks of text, in this order in the part. Sizes come from the handle,
 * never from shared memory.
 *
 * Invariants: 1 an entry's word says which block is its text and the version of it; it alone makes a
 * text the set. 2 Only who has the lock writes, and never into a block that a word names. 3 A reader
 * copies, and believes the copy when the word is still the same: versions are not used again before
 * four billion changes. 4 Under `dirty` a change may have been made of which nobody was told.
 */
#include "shm/members.h"

#include <stdlib.h>

#include "base/mem.h"
#include "shm/lock.h"

enum {
    UNIT = 64, /* blocks are so many of these */
    SETS_MAX = 1 << 16,
    READS = 64, /* of a set that changes while it is read */
};
#define TEXT_MAX (UINT64_C(1) << 37) /* what 32 bits of units reach, and more than anybody has */

struct members_head {
    uint32_t sets_n, dirty;
    uint64_t text_bytes, epoch, version;
    pthread_mutex_t lock;
    char fill[UNIT * 2 - 32 - sizeof(pthread_mutex_t)];
};

struct members_entry {
    uint64_t high, low; /* hash of the name; low is odd, or 0: never used */
    uint64_t word;      /* version << 32 | 1 + unit of the block; 0 there: no text */
    uint64_t spare;
};

struct members_block {
    uint64_t text_n;
};

struct rp_members {
    struct members_head *head;
    struct members_entry *sets;
    char *text;
    uint32_t sets_n, units_n;
    struct rp_roster *roster;
};

_Static_assert(sizeof(struct members_head) == 2 * UNIT, "what follows starts on a line");
_Static_assert(sizeof(struct members_entry) == 32, "two to a line");

/* ---- words ---------------------------------------------------------------------------------- */

static uint64_t get64(const uint64_t *word)
{
    return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

static void put64(uint64_t *word, uint64_t value)
{
    __atomic_store_n(word, value, __ATOMIC_RELEASE);
}

/* ---- life ----------------------------------------------------------------------------------- */

static bool are_sane(uint32_t sets_n, size_t text_bytes)
{
    return sets_n >= RP_MEMBERS_SETS_MIN && sets_n <= SETS_MAX &&
           text_bytes >= RP_MEMBERS_TEXT_MIN && text_bytes <= TEXT_MAX && text_bytes % UNIT == 0;
}

size_t rp_members_bytes(uint32_t sets_n, size_t text_bytes)
{
    return sizeof(struct members_head) + sizeof(struct members_entry) * (size_t)sets_n + text_bytes;
}

rp_err rp_members_new(struct rp_zone *z, rp_str part, uint32_t sets_n, size_t text_bytes,
                      struct rp_roster *roster, struct rp_members **out)
{
    void *base;
    bool fresh;
    if (!are_sane(sets_n, text_bytes)) return RP_E_INVALID;
    rp_err e = rp_zone_part(z, part, rp_members_bytes(sets_n, text_bytes), &base, &fresh);
    if (e != RP_OK) return e;
    struct members_head *head = base;
    if (fresh) {
        head->sets_n = sets_n;
        head->text_bytes = text_bytes;
        head->epoch = head->version = 1;
        if (!rp_lock_make(&head->lock)) return RP_E_OS;
    }
    if (head->sets_n != sets_n || head->text_bytes != text_bytes) return RP_E_INVALID;
    struct rp_members *m = rp_alloc(sizeof *m);
    m->head = head;
    m->sets = (struct members_entry *)(void *)(head + 1);
    m->text = (char *)(m->sets + sets_n);
    m->sets_n = sets_n;
    m->units_n = (uint32_t)(text_bytes / UNIT);
    m->roster = roster;
    *out = m;
    return RP_OK;
}

void rp_members_free(struct rp_members **m)
{
    rp_free(*m);
    *m = NULL;
}

/* ---- the directory -------------------------------------------------------------------------- */

struct id {
    uint64_t high, low;
};

static struct id id_of(rp_str name)
{
    static const struct rp_hash_key FIXED = {UINT64_C(0x72702e6d656d6265),
                                             UINT64_C(0x72732e6b65790001)};
    struct rp_hash_key other = {FIXED.k1, FIXED.k0};
    return (struct id){.high = rp_hash_keyed(&FIXED, name), .low = rp_hash_keyed(&other, name) | 1};
}

/* NULL: there is none. *room: where one of that name may be made; NULL: nowhere. */
static struct members_entry *find(const struct rp_members *m, struct id id,
                                  struct members_entry **room)
{
    struct members_entry *spare = NULL;
    for (uint32_t i = 0; i < m->sets_n; i++) {
        struct members_entry *s = &m->sets[(id.high + i) % m->sets_n];
        uint64_t low = get64(&s->low);
        if (low == id.low && get64(&s->high) == id.high) return s;
        if (!spare && (!low || !(uint32_t)get64(&s->word))) spare = s;
        if (!low) break;
    }
    if (room) *room = spare;
    return NULL;
}

/* The text of a word, as it is said to be; false: the word is none that we wrote. */
static bool text_at(const struct rp_members *m, uint64_t word, rp_str *text)
{
    uint32_t unit = (uint32_t)word - 1;
    *text = RP_STR_NONE;
    if (!(uint32_t)word) return true;
    if (unit >= m->units_n) return false;
    const struct members_block *b = (const void *)(m->text + (size_t)unit * UNIT);
    uint64_t n = get64(&b->text_n);
    uint64_t room = (uint64_t)(m->units_n - unit) * UNIT - sizeof *b;
    if (n > RP_MEMBERS_SET_MOST || n > room) return false;
    *text = rp_str_of((const char *)(b + 1), n);
    return true;
}

/* ---- reading -------------------------------------------------------------------------------- */

uint64_t rp_members_epoch(const struct rp_members *m)
{
    return get64(&m->head->epoch);
}

uint32_t rp_members_version(const struct rp_members *m, rp_str name)
{
    const struct members_entry *s = find(m, id_of(name), NULL);
    return s ? (uint32_t)(get64(&s->word) >> 32) : 0;
}

rp_err rp_members_get(const struct rp_members *m, rp_str name, struct rp_buf *out,
                      uint32_t *version)
{
    const struct members_entry *s = find(m, id_of(name), NULL);
    size_t before = out->len;
    if (version) *version = 0;
    for (int i = 0; s && i < READS; i++) {
        rp_str text;
        uint64_t word = get64(&s->word);
        bool sane = text_at(m, word, &text);
        if (sane) rp_buf_add(out, text);
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        if (sane && __atomic_load_n(&s->word, __ATOMIC_RELAXED) == word) {
            if (version) *version = (uint32_t)(word >> 32);
            return out->failed ? RP_E_TOO_BIG : RP_OK;
        }
        if (out->failed) return RP_E_TOO_BIG;
        out->len = before;
    }
    return s ? RP_E_BUSY : RP_OK;
}

/* ---- writing: under the lock ---------------------------------------------------------------- */

struct extent {
    uint32_t at, n; /* units */
};

static int by_place(const void *a, const void *b)
{
    uint32_t left = ((const struct extent *)a)->at, right = ((const struct extent *)b)->at;
    return left < right ? -1 : left > right;
}

static uint32_t units_of(size_t text_n)
{
    return (uint32_t)((sizeof(struct members_block) + text_n + UNIT - 1) / UNIT);
}

/* The first gap of n units between what words name; UINT32_MAX: none. */
static uint32_t find_gap(const struct rp_members *m, uint32_t n)
{
    struct extent *list = rp_alloc(sizeof *list * m->sets_n);
    uint32_t used = 0, at = 0;
    for (uint32_t i = 0; i < m->sets_n; i++) {
        uint64_t word = get64(&m->sets[i].word);
        rp_str text;
        if (get64(&m->sets[i].low) && (uint32_t)word && text_at(m, word, &text))
            list[used++] = (struct extent){(uint32_t)word - 1, units_of(text.len)};
    }
    if (used) qsort(list, used, sizeof *list, by_place);
    for (uint32_t i = 0; i < used; i++) {
        if (list[i].at >= at && list[i].at - at >= n) break;
        at = RP_MAX(at, list[i].at + list[i].n);
    }
    rp_free(list);
    return at <= m->units_n && m->units_n - at >= n ? at : UINT32_MAX;
}

static rp_err enter(struct rp_members *m, bool *tell)
{
    rp_err taken = rp_lock_take(&m->head->lock);
    if (taken == RP_END)
        taken = rp_lock_mend(&m->head->lock); /* all that a writer leaves is whole */
    if (taken == RP_OK) *tell = m->head->dirty;
    return taken;
}

static void leave(struct rp_members *m, bool tell)
{
    if (tell) {
        __atomic_fetch_add(&m->head->epoch, 1, __ATOMIC_RELEASE);
        if (m->roster) rp_roster_touch(m->roster);
        m->head->dirty = 0;
    }
    rp_lock_leave(&m->head->lock);
}

static void publish(struct rp_members *m, struct members_entry *s, uint32_t place)
{
    m->head->dirty = 1;
    uint32_t version = (uint32_t)++m->head->version;
    if (version == 0) version = (uint32_t)++m->head->version; /* 0: there never was one */
    put64(&s->word, (uint64_t)version << 32 | place);
}

static rp_err put(struct rp_members *m, struct id id, rp_str text, bool *changed)
{
    struct members_entry *room, *s = find(m, id, &room);
    rp_str before = RP_STR_NONE;
    if (s && text_at(m, get64(&s->word), &before) && rp_str_eq(before, text)) return RP_OK;
    if (!s && text.len == 0) return RP_OK;
    if (!s && !room) return RP_E_CAP;
    uint32_t place = 0;
    if (text.len) {
        uint32_t unit = find_gap(m, units_of(text.len));
        if (unit == UINT32_MAX) return RP_E_CAP;
        struct members_block *b = (void *)(m->text + (size_t)unit * UNIT);
        put64(&b->text_n, text.len);
        memcpy(b + 1, text.ptr, text.len);
        place = unit + 1;
    }
    if (!s) {
        s = room; /* it has no text: who reads it under the old name sees an empty set */
        put64(&s->high, id.high);
        put64(&s->low, id.low);
    }
    publish(m, s, place);
    *changed = true;
    return RP_OK;
}

rp_err rp_members_put(struct rp_members *m, rp_str name, rp_str text, bool *changed)
{
    bool tell, news = false;
    if (text.len > RP_MEMBERS_SET_MOST) return RP_E_TOO_BIG;
    rp_err e = enter(m, &tell);
    if (e != RP_OK) return e;
    e = put(m, id_of(name), text, &news);
    leave(m, tell || news);
    if (changed) *changed = news;
    return e;
}

static bool is_one_of(const struct members_entry *s, const struct id *ids, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        if (ids[i].low == s->low && ids[i].high == s->high) return true;
    return false;
}

uint32_t rp_members_keep(struct rp_members *m, const rp_str *names, uint32_t names_n)
{
    bool tell;
    uint32_t gone = 0;
    if (enter(m, &tell) != RP_OK) return 0;
    struct id *ids = rp_alloc(sizeof *ids * (names_n + 1));
    for (uint32_t i = 0; i < names_n; i++) ids[i] = id_of(names[i]);
    for (uint32_t i = 0; i < m->sets_n; i++) {
        struct members_entry *s = &m->sets[i];
        if (!s->low || !(uint32_t)get64(&s->word) || is_one_of(s, ids, names_n)) continue;
        publish(m, s, 0);
        gone++;
    }
    rp_free(ids);
    leave(m, tell || gone > 0);
    return gone;
}
