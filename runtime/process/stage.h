/* SPDX-License-Identifier: MIT
 *
 * stage: a generation on its way into service in a worker: what the master gave for it, and the
 * configuration built from that on a pool thread.
 *
 * States: gathering (PREPARE, GIVE..) -> building -> starting (start hooks) -> ready. A dropped stage
 * that is busy goes on to the end of what it does and then frees itself without telling anyone.
 */
#ifndef RP_PROCESS_STAGE_H
#define RP_PROCESS_STAGE_H

#include "process/channel.h"
#include "process/plan.h"
#include "proxy/proxy.h"
#include "shm/crumb.h"

struct rp_stage {
    uint32_t attempt, generation;
    int site;               /* memory file; -1 once built */
    int *listeners, *files; /* by index of the plan; -1: not given */
    uint32_t listeners_n, files_n;
    int zones[RP_PLAN_ZONES_MOST]; /* of `shared`; -1: not given */
    struct rp_conf *conf;          /* built; NULL before, and after it was taken */
    bool attached, busy, dropped;
    rp_err result;
    struct rp_buf error;

    /* where it is to serve; set by build */
    struct rp_proxy *proxy;
    const struct rp_crumbs *crumbs;
    uint32_t worker;
    bool agent; /* its hooks are those of the agent */
    rp_ms hooks_ms;
    void (*on_end)(void *arg, struct rp_stage *s); /* result and error say how */
    void *arg;
};

/* site: own. Counts above the plan's caps are RP_E_INVALID. */
RP_MUST rp_err rp_stage_new(uint32_t attempt, uint32_t generation, int site, uint32_t listeners_n,
                            uint32_t files_n, struct rp_stage **out);
/* Take the descriptors of a GIVE. RP_E_INVALID. */
RP_MUST rp_err rp_stage_give(struct rp_stage *s, struct rp_message *m);
/* Build the configuration here and now. Blocking, any thread; touches nothing but s. */
void rp_stage_build_here(struct rp_stage *s);
/* Build on a pool thread, attach, run the start hooks, then on_end. */
void rp_stage_build(struct rp_stage *s, struct rp_loop *l);
/* The second half alone: what build_here made is attached and started. */
void rp_stage_begin(struct rp_stage *s);
/* Not wanted any more; nulls *s. */
void rp_stage_drop(struct rp_stage **s);
/* Only what was not taken is freed; not while busy. */
void rp_stage_free(struct rp_stage **s);

#endif
