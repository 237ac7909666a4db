/* SPDX-License-Identifier: MIT
 *
 * balance_maglev: Maglev hashing (Eisenbud et al., NSDI 2016, §3.4): a table of a prime number of
 * slots in which each peer takes, turn by turn, the next free slot of a walk of its own. One look
 * finds a key's peer.
 *
 * The table has all peers, healthy or not: one that is down loses its keys to peers chosen by rank
 * among the others, so no other key moves and nothing is computed anew when health changes.
 */
#include "base/hash.h"
#include "base/mem.h"
#include "proxy/balance.h"

enum { SLOTS_PER_PEER = 100 }; /* the paper's: shares differ by 1% at most */

static const uint32_t PRIMES[] = {251, 1009, 4099, 16411, 65537, 262147, 1048583};
static const uint32_t FREE = UINT32_MAX;

struct walk {
    uint32_t at, skip; /* the next slot is `skip` on */
    uint32_t peer, taken_n;
    uint64_t turn; /* ... in which the next one is taken: the heaviest takes one in each */
};

static uint32_t choose_size(const struct rp_balance_view *b)
{
    uint32_t i = 0;
    while (i + 1 < RP_COUNT(PRIMES) && PRIMES[i] < (uint64_t)b->n * SLOTS_PER_PEER) i++;
    return PRIMES[i];
}

void rp_balance_maglev_free(struct rp_balance_view *b)
{
    rp_free(b->maglev);
    b->maglev = NULL;
    b->maglev_n = 0;
}

static void take_slot(struct rp_balance_view *b, struct walk *w, uint32_t heaviest)
{
    uint32_t weight = b->peers[w->peer].full_weight;
    while (b->maglev[w->at] != FREE) w->at = (uint32_t)(((uint64_t)w->at + w->skip) % b->maglev_n);
    b->maglev[w->at] = w->peer;
    w->taken_n++;
    w->turn = ((uint64_t)(w->taken_n + 1) * heaviest + weight - 1) / weight;
}

static bool is_before(const struct walk *a, const struct walk *b)
{
    return a->turn != b->turn ? a->turn < b->turn : a->peer < b->peer;
}

/* The walks are a heap, the next one on top: one that is light costs nothing until its turn comes. */
static void sift(struct walk *walks, uint32_t n, uint32_t at)
{
    struct walk moved = walks[at];
    for (uint32_t child; (child = 2 * at + 1) < n; at = child) {
        if (child + 1 < n && is_before(&walks[child + 1], &walks[child])) child++;
        if (!is_before(&walks[child], &moved)) break;
        walks[at] = walks[child];
    }
    walks[at] = moved;
}

static void fill(struct rp_balance_view *b, struct walk *walks, uint32_t n, uint32_t heaviest)
{
    for (uint32_t i = n / 2; i-- > 0;) sift(walks, n, i);
    for (uint32_t filled = 0; filled < b->maglev_n; filled++) {
        take_slot(b, &walks[0], heaviest);
        sift(walks, n, 0);
    }
}

void rp_balance_maglev_make(struct rp_balance_view *b)
{
    uint32_t heaviest = 0;
    rp_balance_maglev_free(b);
    for (uint32_t i = 0; i < b->n; i++)
        if (b->peers[i].full_weight > heaviest) heaviest = b->peers[i].full_weight;
    if (heaviest == 0) return;
    b->maglev_n = choose_size(b);
    b->maglev = rp_alloc(b->maglev_n * sizeof *b->maglev);
    for (uint32_t i = 0; i < b->maglev_n; i++) b->maglev[i] = FREE;
    struct walk *walks = rp_alloc(b->n * sizeof *walks);
    uint32_t n = 0;
    for (uint32_t i = 0; i < b->n; i++) {
        uint64_t hash = rp_hash_mix(b->peers[i].key), weight = b->peers[i].full_weight;
        if (!weight) continue;
        walks[n].peer = i;
        walks[n].turn = (heaviest + weight - 1) / weight;
        walks[n].at = (uint32_t)(hash % b->maglev_n);
        walks[n++].skip = (uint32_t)(rp_hash_mix(hash) % (b->maglev_n - 1)) + 1;
    }
    fill(b, walks, n, heaviest);
    rp_free(walks);
}

int rp_balance_maglev(struct rp_balance_view *b, const struct rp_balance_ask *ask)
{
    if (b->maglev_n == 0) return -1;
    uint64_t load = ask->bound ? rp_balance_load(b) : 0;
    uint32_t peer = b->maglev[rp_hash_mix(ask->hash) % b->maglev_n];
    if (rp_balance_may(b, ask, peer) && rp_balance_has_room(b, ask, peer, load)) return (int)peer;
    return rp_balance_by_rank(b, ask, load);
}
