/* SPDX-License-Identifier: MIT
 *
 * balance: choosing among peers. One file per policy, all pure: time and dice are arguments.
 */
#ifndef RP_PROXY_BALANCE_H
#define RP_PROXY_BALANCE_H

#include "base/clock.h"

/* What a policy sees of a peer; upstream.c lends its array. */
struct rp_balance_peer {
    uint32_t weight;         /* >= 1 */
    int64_t *current_weight; /* the policy's memory */
    bool backup;
    bool usable; /* not resting, has an address, not tried by this request */
};

/* Smooth weighted round robin (nginx's algorithm, 2012): among usable primary peers, else usable
 * backups. Index, or -1 when none is usable. cost O(n). */
int rp_balance_round_robin(struct rp_balance_peer *peers, uint32_t n);

#endif
