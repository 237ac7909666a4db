/* SPDX-License-Identifier: MIT
 *
 * peers: the operator's words about peers of upstreams, and what is told of them. The master works on
 * the roster that all workers read: no worker is asked.
 */
#ifndef RP_PROCESS_PEERS_H
#define RP_PROCESS_PEERS_H

#include "base/buf.h"
#include "base/clock.h"
#include "shm/roster.h"

/* A line per peer: upstream, peer, state, why, in flight, requests, failures, mean latency in us;
 * separated by tabs, sorted by upstream, peer; the first line names the columns. */
void rp_peers_table(const struct rp_roster *r, rp_ms now, struct rp_buf *out);

/* "UPSTREAM PEER WORD": ready, drain, maint, weight=N, weight=auto. What was done, or what is wrong, in
 * out. RP_OK; RP_E_INVALID; RP_E_NOT_FOUND. */
RP_MUST rp_err rp_peers_order(struct rp_roster *r, rp_str words, rp_ms now, struct rp_buf *out);

#endif
