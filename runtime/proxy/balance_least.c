/* SPDX-License-Identifier: MIT
 *
 * balance_least: the best of all: fewest requests under way, or least time to wait. Equals are drawn
 * among by weight, so that workers that see the same do not all do the same.
 */
#include "proxy/balance.h"

typedef uint64_t (*cost_fn)(const struct rp_balance_peer *p);

static uint64_t cost_conn(const struct rp_balance_peer *p)
{
    return p->in_flight + UINT64_C(1);
}

/* A peer of which nothing is known is tried, by one request at a time. */
static uint64_t cost_time(const struct rp_balance_peer *p)
{
    if (p->latency_us == 0) return p->in_flight ? UINT32_MAX : 0;
    return (uint64_t)p->latency_us * (p->in_flight + UINT64_C(1));
}

/* < 0: a is cheaper for its weight */
static int compare(uint64_t a, uint32_t a_weight, uint64_t c, uint32_t c_weight)
{
    unsigned __int128 left = (unsigned __int128)a * c_weight;
    unsigned __int128 right = (unsigned __int128)c * a_weight;
    return left < right ? -1 : left > right;
}

static int choose(struct rp_balance_view *b, const struct rp_balance_ask *ask, cost_fn cost_of)
{
    int best = -1;
    uint64_t best_cost = 0, equals = 0;
    for (uint32_t i = 0; i < b->live_n; i++) {
        uint32_t peer = b->live[i];
        const struct rp_balance_peer *p = &b->peers[peer];
        if (!rp_balance_may(b, ask, peer)) continue;
        if (b->look && !p->seats) b->look(b, peer); /* else just now */
        uint64_t cost = cost_of(p);
        int order = best < 0 ? -1 : compare(cost, p->weight, best_cost, b->peers[best].weight);
        if (order > 0) continue;
        equals = order < 0 ? p->weight : equals + p->weight;
        if (order == 0 && rp_random_below(ask->dice, equals) >= p->weight) continue;
        best = (int)peer;
        best_cost = cost;
    }
    return best;
}

int rp_balance_least_conn(struct rp_balance_view *b, const struct rp_balance_ask *ask)
{
    return choose(b, ask, cost_conn);
}

int rp_balance_least_time(struct rp_balance_view *b, const struct rp_balance_ask *ask)
{
    return choose(b, ask, cost_time);
}
