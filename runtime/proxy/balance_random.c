/* SPDX-License-Identifier: MIT
 *
 * balance_random: by dice, and the better of two that the dice gave.
 *
 * Of two draws the better one is taken: that is nearly as even as looking at all, and unlike that
 * does not send everybody to the one peer that looks best (herding). Nobody knows how fast a new peer
 * is: it counts as the fastest while it has nothing to do, and as the slowest then, so it gets one
 * request at a time until it has answered.
 */
#include "proxy/balance.h"

int rp_balance_random(struct rp_balance_view *b, const struct rp_balance_ask *ask)
{
    return rp_balance_draw(b, ask);
}

/* What one more request costs there; compared as cost / weight. */
static uint64_t cost_of(struct rp_balance_view *b, uint32_t peer, bool load)
{
    const struct rp_balance_peer *p = &b->peers[peer];
    if (b->look) b->look(b, peer);
    if (p->latency_us == 0) return p->in_flight ? UINT32_MAX : 0;
    return load ? (uint64_t)p->latency_us * (p->in_flight + UINT64_C(1)) : p->latency_us;
}

static int better(struct rp_balance_view *b, uint32_t one, uint32_t two, bool load)
{
    unsigned __int128 a = cost_of(b, one, load), c = cost_of(b, two, load);
    /* The draw was by weight already when latency is all that counts. */
    if (load) {
        a *= b->peers[two].weight;
        c *= b->peers[one].weight;
    }
    return (int)(a <= c ? one : two);
}

static int choose(struct rp_balance_view *b, const struct rp_balance_ask *ask, bool load)
{
    struct rp_balance_ask second = *ask;
    int one = rp_balance_draw(b, ask);
    if (one < 0 || ask->tried_n == RP_BALANCE_TRIED) return one;
    second.tried[second.tried_n++] = (uint32_t)one;
    int two = rp_balance_draw(b, &second);
    return two < 0 ? one : better(b, (uint32_t)one, (uint32_t)two, load);
}

int rp_balance_p2c(struct rp_balance_view *b, const struct rp_balance_ask *ask)
{
    return choose(b, ask, true);
}

int rp_balance_ewma(struct rp_balance_view *b, const struct rp_balance_ask *ask)
{
    return choose(b, ask, false);
}
