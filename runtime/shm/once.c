/* SPDX-License-Identifier: MIT
 *
 * once: see once.h. All accesses are sequentially consistent: that the writer of a word sees the
 * word of any other who does not see his is what the whole rests on.
 */
#include "shm/once.h"

#include <stdatomic.h>

#include "base/mem.h"

enum {
    TAG_BITS = 40,
    TIME_BITS = 24, /* of seconds: 194 days, compared as differences */
    TRIES = 4,      /* places lost to others who came at the same moment */
};

#define TAG_MASK ((UINT64_C(1) << TAG_BITS) - 1)
#define TIME_MASK ((UINT64_C(1) << TIME_BITS) - 1)

struct shared {
    _Atomic uint64_t latest_s;                          /* of wall clocks */
    _Atomic uint64_t words[RP_ONCE_SETS][RP_ONCE_WAYS]; /* time and tag; 0: free */
};

struct rp_once {
    struct shared *shared;
};

size_t rp_once_bytes(void)
{
    return sizeof(struct shared) + 64; /* parts are aligned */
}

rp_err rp_once_new(struct rp_zone *z, rp_str part, struct rp_once **out)
{
    void *p;
    bool fresh;
    rp_err e = rp_zone_part(z, part, sizeof(struct shared), &p, &fresh);
    if (e != RP_OK) return e;
    *out = rp_alloc(sizeof **out);
    (*out)->shared = p;
    return RP_OK;
}

void rp_once_free(struct rp_once **o)
{
    rp_free(*o);
    *o = NULL;
}

/* False: somebody saw a later time than ours. */
static bool is_clock_right(struct shared *s, uint64_t wall_s)
{
    uint64_t latest = atomic_load(&s->latest_s);
    while (latest < wall_s) {
        if (atomic_compare_exchange_weak(&s->latest_s, &latest, wall_s)) return true;
    }
    return wall_s + RP_ONCE_BACK_S >= latest;
}

static uint64_t age_of(uint64_t word, uint64_t now_s)
{
    return (now_s - (word >> TAG_BITS)) & TIME_MASK;
}

/* Is the tag in the set, but for place `own`? */
static bool has(_Atomic uint64_t *set, uint64_t tag, unsigned own)
{
    for (unsigned i = 0; i < RP_ONCE_WAYS; i++) {
        if (i != own && (atomic_load(&set[i]) & TAG_MASK) == tag) return true;
    }
    return false;
}

/* A free place, or that of the oldest id beyond the window; RP_ONCE_WAYS: there is none. A worker
 * whose clock reading is a moment older sees times of the future, as a large age: not to be driven
 * out. */
static unsigned find_place(_Atomic uint64_t *set, uint64_t now_s, uint64_t *old)
{
    unsigned best = RP_ONCE_WAYS;
    uint64_t best_age = RP_ONCE_WINDOW_S;
    for (unsigned i = 0; i < RP_ONCE_WAYS; i++) {
        uint64_t word = atomic_load(&set[i]), age = age_of(word, now_s);
        if (word == 0) {
            *old = 0;
            return i;
        }
        if (age <= best_age || age > TIME_MASK / 2) continue;
        best = i;
        best_age = age;
        *old = word;
    }
    return best;
}

bool rp_once_take(struct rp_once *o, const uint8_t id[RP_ONCE_ID_BYTES], rp_ms now_ms,
                  uint64_t wall_s)
{
    uint64_t half[2], now_s = now_ms / 1000;
    memcpy(half, id, sizeof half);
    _Atomic uint64_t *set = o->shared->words[half[0] % RP_ONCE_SETS];
    uint64_t tag = half[1] & TAG_MASK;
    if (tag == 0) tag = 1;
    if (!is_clock_right(o->shared, wall_s)) return false;
    for (int i = 0; i < TRIES; i++) {
        uint64_t old = 0;
        if (has(set, tag, RP_ONCE_WAYS)) return false;
        unsigned at = find_place(set, now_s, &old);
        if (at == RP_ONCE_WAYS) return false;
        if (!atomic_compare_exchange_strong(&set[at], &old, (now_s & TIME_MASK) << TAG_BITS | tag))
            continue;
        return !has(set, tag, at);
    }
    return false;
}
