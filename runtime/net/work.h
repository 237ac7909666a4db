/* SPDX-License-Identifier: MIT
 *
 * work: blocking jobs on the loop's thread pool.
 */
#ifndef RP_NET_WORK_H
#define RP_NET_WORK_H

#include "net/loop.h"

struct rp_work;
/* run(arg) on a pool thread (no loop, no rp_mem, no shared data), then done(arg) on the loop.
 * cancelled: done is still called, with cancelled = true, when run never started. *out is valid
 * until done; out may be NULL. Jobs still there in rp_loop_free are waited for. */
RP_MUST rp_err rp_work_start(struct rp_loop *l, void (*run)(void *arg),
                             void (*done)(void *arg, bool cancelled), void *arg,
                             struct rp_work **out);
void rp_work_cancel(struct rp_work *w); /* best effort; done still comes */

#endif
