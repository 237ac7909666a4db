/* SPDX-License-Identifier: MIT
 *
 * worker: one loop, one proxy, one Lua VM per generation; serves what the master bound.
 *
 * States: STARTING -> SERVING -> LEAVING (empties its accept queues) -> DRAINING (answers what
 * runs) -> STOPPING (stop hooks) -> ended. The master's death is an order to drain.
 */
#ifndef RP_PROCESS_WORKER_H
#define RP_PROCESS_WORKER_H

#include "process/inherit.h"

enum {
    RP_WORKER_HOOKS_MS = 10000, /* for the start hooks, and for the stop hooks of a drain */
};

/* Be a worker until told to end; called in the child right after fork. in: kept. */
RP_NORETURN void rp_worker_run(const struct rp_inherit *in);

#endif
