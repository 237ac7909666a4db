/* SPDX-License-Identifier: MIT
 *
 * balance_first: the first peer with a free seat (HAProxy's "first").
 */
#include "proxy/balance.h"

int rp_balance_first(struct rp_balance_view *b, const struct rp_balance_ask *ask)
{
    for (uint32_t i = 0; i < b->live_n; i++)
        if (rp_balance_may(b, ask, b->live[i])) return (int)b->live[i];
    return -1;
}
