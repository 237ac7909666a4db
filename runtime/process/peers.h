/* SPDX-License-Identifier: MIT
 *
 * peers: the operator's words about peers of upstreams, and what is told of them. The master works on
 * the roster that all workers read: no worker is asked.
 */
#ifndef RP_PROCESS_PEERS_H
#define RP_PROCESS_PEERS_H

#include "base/buf.h"
#include "base/clock.h"
#include "process/plan.h"
#include "shm/members.h"
#include "shm/roster.h"

/* What orders are about; borrowed. */
struct rp_peers {
    struct rp_roster *roster;
    struct rp_members *members; /* of providers; NULL: none */
    struct rp_members *orders;  /* what the operator added and took out */
    const struct rp_plan *plan;
};

/* A line per peer: upstream, peer, state, why, in flight, requests, failures, mean latency in us;
 * who brought it (site, provider, operator); of the last minute requests a second and quantiles; the
 * last check; how often it rested, and would have. Separated by tabs, sorted by upstream, peer; the
 * first line names the columns. */
void rp_peers_table(const struct rp_roster *r, rp_ms now, struct rp_buf *out);

/* "UPSTREAM PEER WORD ..": ready, drain, maint, weight=N, weight=auto, reset, remove, add [weight=N]
 * [priority=N] [backup] [max_conns=N] [zone=Z] [meta.KEY=VALUE]. A word with blanks stands in double
 * quotes, in which a backslash takes the next byte as it is. What was done, or what is wrong, in out.
 * RP_OK; RP_E_INVALID; RP_E_NOT_FOUND; as rp_members_put. */
RP_MUST rp_err rp_peers_order(const struct rp_peers *all, rp_str words, rp_ms now,
                              struct rp_buf *out);

#endif
