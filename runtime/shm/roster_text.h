/* SPDX-License-Identifier: MIT
 *
 * roster_text: what is told of peers to Prometheus.
 */
#ifndef RP_SHM_ROSTER_TEXT_H
#define RP_SHM_ROSTER_TEXT_H

#include "base/buf.h"
#include "shm/roster.h"

enum { RP_ROSTER_SERIES_MOST = 1000 }; /* peers with series of their own */

/* Requests, failures, what is under way, state and times of each peer. Those over the cap are added up as
 * one peer "(others)" of their upstream.
 * cost O(peers x workers) */
void rp_roster_text(const struct rp_roster *r, uint64_t now_ms, struct rp_buf *out);

#endif
