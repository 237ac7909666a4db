/* SPDX-License-Identifier: MIT
 *
 * gates: what is told of circuits and limits of upstreams and routes.
 */
#ifndef RP_PROCESS_GATES_H
#define RP_PROCESS_GATES_H

#include "base/buf.h"
#include "base/clock.h"
#include "shm/roster_gate.h"

/* A line per gate that somebody holds: kind (upstream, route), name, circuit (closed, open, half-open; -:
 * it has none), ms until it lets probes pass, attempts of its window, bad and slow ones, how often it
 * opened, requests refused, under way, the site's limit, the limit that was found, the calm latency in
 * us; - where there is none. Separated by tabs, sorted; the first line names the columns. */
void rp_gates_table(const struct rp_roster *r, rp_ms now, struct rp_buf *out);

#endif
