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
    uint64_t credit;   /* turns by weight: one when it reaches the heaviest's weight */
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

static void take_slot(struct rp_balance_view *b, struct walk *w, uint32_t peer)
{
    while (b->maglev[w->at] != FREE) w->at = (uint32_t)(((uint64_t)w->at + w->skip) % b->maglev_n);
    b->maglev[w->at] = peer;
}

static void fill(struct rp_balance_view *b, struct walk *walks, uint32_t heaviest)
{
    for (uint32_t filled = 0;;) {
        for (uint32_t i = 0; i < b->n; i++) {
            walks[i].credit += b->peers[i].full_weight;
            if (walks[i].credit < heaviest) continue;
            walks[i].credit -= heaviest;
            take_slot(b, &walks[i], i);
            if (++filled == b->maglev_n) return;
        }
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
    for (uint32_t i = 0; i < b->n; i++) {
        uint64_t hash = rp_hash_mix(b->peers[i].key);
        walks[i].at = (uint32_t)(hash % b->maglev_n);
        walks[i].skip = (uint32_t)(rp_hash_mix(hash) % (b->maglev_n - 1)) + 1;
    }
    fill(b, walks, heaviest);
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
