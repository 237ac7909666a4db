/* SPDX-License-Identifier: MIT
 *
 * lifecycle: the request life: a step table and the only loop. See steps.tbl.
 */
#ifndef RP_PROXY_LIFECYCLE_H
#define RP_PROXY_LIFECYCLE_H

#include "proxy/request.h"

/* request.c: a slot for a new request, and back. */
struct rp_req *rp_req_new(struct rp_proxy *p);
void rp_req_free(struct rp_req *r);
void rp_req_drop_slot(struct rp_req *r); /* the memory of one that is free; the proxy ends */

/* Begin: the head was parsed, or `head` says why it is bad. Runs at the end of the tick. */
void rp_lifecycle_start(struct rp_req *r, rp_err head);
void rp_lifecycle_run(struct rp_defer *d);     /* end-of-tick job of rp_req.run */
void rp_lifecycle_timeout(struct rp_timer *t); /* deadline of rp_req.timer */

/* Let go of a generation; its upstream state goes with its last user. */
void rp_lifecycle_drop_conf(struct rp_proxy *p, struct rp_conf *c);

void rp_step_check(const struct rp_req *r, enum rp_step next); /* may it come now? */
/* What a step function says. */
enum rp_verdict {
    RP_STEP_GO,   /* r->step was set (rp_step_to): go on at once */
    RP_STEP_WAIT, /* r->waiting_for is set (rp_step_wait) */
    RP_STEP_OVER, /* r is gone */
};
/* Set the next step; debug builds check it against steps.tbl. */
static inline enum rp_verdict rp_step_to(struct rp_req *r, enum rp_step next)
{
#ifdef RP_DEBUG
    rp_step_check(r, next);
#endif
    r->step = (uint8_t)next;
    return RP_STEP_GO;
}
/* Park until a wake-up, at most ms (0: no deadline), whose passing means `failure`. */
enum rp_verdict rp_step_wait(struct rp_req *r, const char *what, rp_ms ms, rp_err failure);
/* End the request with our own answer for e, or kill it when the head is out already. */
enum rp_verdict rp_step_fail(struct rp_req *r, rp_err e);

/* Run (or go on with) a phase's hooks: hooks->run, with r->phase kept for whoever looks. */
RP_MUST rp_err rp_step_hook(struct rp_req *r, enum rp_phase phase);
enum rp_verdict rp_step_wait_hook(struct rp_req *r);

/* The steps that move bytes upstream: attempt.c */
enum rp_verdict rp_step_pick(struct rp_req *r);
enum rp_verdict rp_step_connect(struct rp_req *r);
enum rp_verdict rp_step_send(struct rp_req *r);
enum rp_verdict rp_step_await(struct rp_req *r);
/* Move request body from the client to the upstream as far as it goes. RP_OK all sent; RP_AGAIN;
 * RP_END a hook answered, while that was possible; < 0 the client's fault, or a hook's (the upstream's
 * show when its response is read). */
RP_MUST rp_err rp_attempt_pump(struct rp_req *r);
/* Wait for the client to go on with its body: silence has a limit, and so has slowness. */
enum rp_verdict rp_attempt_wait_body(struct rp_req *r);
/* One line for a failure of the upstream. */
void rp_attempt_log_failure(struct rp_req *r, rp_err e);
/* The deadline of a step that waits for the upstream passed: e says which. */
enum rp_verdict rp_attempt_timeout(struct rp_req *r, rp_err e);
/* The connection's news are r's. */
void rp_attempt_bind(struct rp_req *r);
/* The bound connection is done: back to the pool when it can be reused, else closed. */
void rp_attempt_let_go(struct rp_req *r);
static inline void rp_attempt_release(struct rp_req *r)
{
    if (r->up || RP_UNLIKELY(r->dials || r->queue || r->pick.race)) rp_attempt_let_go(r);
}

/* The steps that move bytes to the client: respond.c */
enum rp_verdict rp_step_respond(struct rp_req *r);
enum rp_verdict rp_step_relay(struct rp_req *r);
/* The whole body of a response that has not begun, into r->out. RP_OK; RP_AGAIN: call again when the
 * upstream has news; RP_E_TOO_BIG: what was read is passed on before the rest; RP_E_PHASE: a hook is
 * writing it; < 0 the upstream failed (it says so again when it is read on). */
RP_MUST rp_err rp_respond_gather(struct rp_req *r, uint64_t max);
/* Would that run hooks: those of what is left of the request body? */
bool rp_respond_needs_hooks(const struct rp_req *r);
/* The deadline for the client to take the response passed: is it true what timer_means says? */
bool rp_respond_is_stuck(struct rp_req *r);

/* Both ways: tunnel.c */
enum rp_verdict rp_step_tunnel(struct rp_req *r);
/* A new generation: let go of the old one without ending the tunnel. */
void rp_tunnel_rehome(struct rp_req *r);

#endif
