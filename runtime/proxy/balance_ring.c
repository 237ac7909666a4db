/* SPDX-License-Identifier: MIT
 *
 * balance_ring: consistent hashing on a ring (Karger et al. 1997) with many points for each peer
 * (ketama). A key belongs to the peer whose point is the first at or behind it; when that one may not
 * be taken, to the next behind.
 *
 * Points depend on a peer's own key and weight only, so nothing else moves when one comes or goes.
 */
#include <stdlib.h>

#include "base/hash.h"
#include "base/mem.h"
#include "proxy/balance.h"

enum {
    POINTS_MOST = 1 << 20, /* 16 MB: of a group with thousands of peers */
    WALK_MOST = 512,       /* points; then the others are ranked */
};

/* Points of one: RP_BALANCE_POINTS times its weight, fewer where that were too many in all. Taken
 * relative to the mean weight, so that weights of 100 each make no ring of millions. */
static uint32_t points_of(const struct rp_balance_view *b, uint32_t peer, uint64_t total)
{
    uint64_t per_mean = RP_BALANCE_POINTS;
    if ((uint64_t)b->n * per_mean > POINTS_MOST) per_mean = POINTS_MOST / b->n;
    uint64_t points = (uint64_t)b->peers[peer].full_weight * b->n * per_mean / total;
    if (points > POINTS_MOST / 2) points = POINTS_MOST / 2;
    return b->peers[peer].full_weight && !points ? 1 : (uint32_t)points;
}

static int by_place(const void *a, const void *b)
{
    const struct rp_balance_point *left = a, *right = b;
    if (left->at != right->at) return left->at < right->at ? -1 : 1;
    return left->peer < right->peer ? -1 : left->peer > right->peer;
}

void rp_balance_ring_free(struct rp_balance_view *b)
{
    rp_free(b->ring);
    b->ring = NULL;
    b->ring_n = 0;
}

void rp_balance_ring_make(struct rp_balance_view *b)
{
    uint64_t total = 0, n = 0;
    rp_balance_ring_free(b);
    for (uint32_t i = 0; i < b->n; i++) total += b->peers[i].full_weight;
    if (total == 0) return;
    for (uint32_t i = 0; i < b->n; i++) n += points_of(b, i, total);
    b->ring = rp_alloc(n * sizeof *b->ring);
    for (uint32_t i = 0; i < b->n; i++) {
        uint32_t points = points_of(b, i, total);
        for (uint32_t k = 0; k < points; k++)
            b->ring[b->ring_n++] = (struct rp_balance_point){
                .at = rp_hash_mix(rp_hash_mix(b->peers[i].key) + k), .peer = i};
    }
    qsort(b->ring, b->ring_n, sizeof *b->ring, by_place);
}

/* The first point at or behind that place. */
static uint32_t find(const struct rp_balance_view *b, uint64_t at)
{
    uint32_t low = 0, high = b->ring_n;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (b->ring[mid].at < at) low = mid + 1;
        else high = mid;
    }
    return low == b->ring_n ? 0 : low;
}

int rp_balance_ring(struct rp_balance_view *b, const struct rp_balance_ask *ask)
{
    if (b->ring_n == 0) return -1;
    uint64_t load = ask->bound ? rp_balance_load(b) : 0;
    uint32_t at = find(b, rp_hash_mix(ask->hash));
    uint32_t walk = b->ring_n < WALK_MOST ? b->ring_n : WALK_MOST;
    for (uint32_t i = 0; i < walk; i++) {
        uint32_t peer = b->ring[at].peer;
        if (rp_balance_may(b, ask, peer) && rp_balance_has_room(b, ask, peer, load))
            return (int)peer;
        at = at + 1 == b->ring_n ? 0 : at + 1;
    }
    return rp_balance_by_rank(b, ask, load);
}
