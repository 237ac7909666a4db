/* SPDX-License-Identifier: MIT
 *
 * affinity: the processor that a worker's loop stays on (`cpu_affinity`).
 *
 * The loop's thread alone is bound. Threads of the pool keep all processors: their jobs (a site that is
 * built, a password's hash) would take the loop's time otherwise.
 */
#ifndef RP_PROCESS_AFFINITY_H
#define RP_PROCESS_AFFINITY_H

#include "net/loop.h"

enum {
    RP_AFFINITY_WORDS = 16, /* a bit for each of 1,024 processors */
    RP_AFFINITY_NONE = -1,
};

struct rp_affinity {
    uint64_t usual[RP_AFFINITY_WORDS]; /* what the process came with */
    bool known, bound;
};

/* The processor of a worker.
 * in    wish: "" (none), "auto": the number-th of the allowed ones, or numbers with commas: the number-th
 *       of those; both begin anew when there are more workers
 * ret   one of the allowed; RP_AFFINITY_NONE: nothing is wished, or it is not allowed */
int rp_affinity_pick(const uint64_t allowed[RP_AFFINITY_WORDS], rp_str wish, uint32_t number);
/* Follow the wish of the configuration that begins to serve; logs when it cannot. */
void rp_affinity_follow(struct rp_affinity *a, struct rp_loop *l, rp_str wish, uint32_t number);

#endif
