/* SPDX-License-Identifier: MIT
 *
 * balance_round_robin: smooth weighted round robin. Each turn every candidate gains its weight, the
 * richest is taken and pays the sum of all gains. So over a cycle (the sum of the weights) each is
 * taken exactly `weight` times, spread as evenly as can be: 5,1,1 gives a a b a c a a.
 *
 * Peers that are not usable neither gain nor pay: one that comes back is not owed the turns it
 * missed, and does not flood.
 */
#include "proxy/balance.h"

static int pick(struct rp_balance_peer *peers, uint32_t n, bool backup)
{
    int best = -1;
    int64_t total = 0;
    for (uint32_t i = 0; i < n; i++) {
        struct rp_balance_peer *p = &peers[i];
        if (!p->usable || p->backup != backup) continue;
        *p->current_weight += p->weight;
        total += p->weight;
        /* Strictly greater: on a tie the first in the list goes first. */
        if (best < 0 || *p->current_weight > *peers[best].current_weight) best = (int)i;
    }
    if (best >= 0) *peers[best].current_weight -= total;
    return best;
}

int rp_balance_round_robin(struct rp_balance_peer *peers, uint32_t n)
{
    int i = pick(peers, n, false);
    return i >= 0 ? i : pick(peers, n, true);
}
