/* SPDX-License-Identifier: MIT
 *
 * shares: the operator's words about splits, and what is told of them. The master works on the table
 * that all workers read: no worker is asked.
 */
#ifndef RP_PROCESS_SHARES_H
#define RP_PROCESS_SHARES_H

#include "base/buf.h"
#include "base/clock.h"
#include "shm/splits.h"

/* A line per side: split, upstream, share and the site's share (of 10,000), requests, failures, p50
 * and p99 of the time to a response head in us, role (base, canary, -), state, step, steps, seconds
 * since the step began, why; separated by tabs, sorted by split; the first line names the columns. Of
 * several generations' splits of one name only the youngest is told. */
void rp_shares_table(const struct rp_splits *s, rp_ms now, struct rp_buf *out);

/* "NAME\tWORD": pause, resume, rollback, promote, site; or "NAME\tset\tN\tN..": shares of all sides,
 * of 10,000, in the order of the table. What was done, or what is wrong, in out. RP_OK; RP_E_INVALID;
 * RP_E_NOT_FOUND; RP_E_BUSY. */
RP_MUST rp_err rp_shares_order(struct rp_splits *s, rp_str words, rp_ms now, struct rp_buf *out);

#endif
