/* SPDX-License-Identifier: MIT
 *
 * balance_round_robin: smooth weighted round robin. Each turn every candidate gains its weight, the
 * richest is taken and pays the sum of all gains. So over a cycle (the sum of the weights) each is
 * taken exactly `weight` times, spread as evenly as can be: 5,1,1 gives a a b a c a a.
 *
 * Peers that may not be taken neither gain nor pay: one that comes back is not owed the turns it
 * missed, and does not flood. Equal weights need none of this.
 */
#include "proxy/balance.h"

/* The same order without sums: everybody in turn. cost O(1) */
static int in_turn(struct rp_balance_view *b, const struct rp_balance_ask *ask)
{
    for (uint32_t i = 0; i < b->live_n; i++) {
        uint32_t peer = b->live[b->next < b->live_n ? b->next : 0];
        b->next = b->next + 1 < b->live_n ? b->next + 1 : 0;
        if (rp_balance_may(b, ask, peer)) return (int)peer;
    }
    return -1;
}

int rp_balance_round_robin(struct rp_balance_view *b, const struct rp_balance_ask *ask)
{
    int best = -1;
    int64_t total = 0;
    if (b->even) return in_turn(b, ask);
    for (uint32_t i = 0; i < b->live_n; i++) {
        uint32_t peer = b->live[i];
        struct rp_balance_peer *p = &b->peers[peer];
        if (!rp_balance_may(b, ask, peer)) continue;
        p->current += p->weight;
        total += p->weight;
        /* Strictly greater: on a tie the first in the list goes first. */
        if (best < 0 || p->current > b->peers[best].current) best = (int)peer;
    }
    if (best >= 0) b->peers[best].current -= total;
    return best;
}
