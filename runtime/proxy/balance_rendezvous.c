/* SPDX-License-Identifier: MIT
 *
 * balance_rendezvous: highest random weight (Thaler, Ravishankar 1998), weights by logarithm
 * (Schindelhauer, Schomaker 2005): each peer gets a score from its key and the request's, the highest
 * wins. No table, and keys of a peer that goes are spread evenly over all others.
 */
#include <math.h>

#include "base/hash.h"
#include "proxy/balance.h"

/* -weight / ln(u), u even over (0, 1): grows with u. */
static double score(const struct rp_balance_peer *p, uint64_t hash)
{
    uint64_t mixed = rp_hash_mix(p->key ^ rp_hash_mix(hash));
    double u = ((double)(mixed >> 11) + 0.5) / 9007199254740992.0; /* 2^53 */
    return -(double)p->weight / log(u);
}

int rp_balance_by_rank(struct rp_balance_view *b, const struct rp_balance_ask *ask, uint64_t load)
{
    int best = -1;
    double best_score = 0;
    for (uint32_t i = 0; i < b->live_n; i++) {
        uint32_t peer = b->live[i];
        if (!rp_balance_may(b, ask, peer) || !rp_balance_has_room(b, ask, peer, load)) continue;
        double s = score(&b->peers[peer], ask->hash);
        if (best >= 0 && s <= best_score) continue;
        best = (int)peer;
        best_score = s;
    }
    return best;
}

int rp_balance_rendezvous(struct rp_balance_view *b, const struct rp_balance_ask *ask)
{
    return rp_balance_by_rank(b, ask, ask->bound ? rp_balance_load(b) : 0);
}
