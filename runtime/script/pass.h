/* SPDX-License-Identifier: MIT
 *
 * pass: one call from a request's life into its hooks, for the .c files of script/ only: phase.c runs
 * hooks, phase_body.c gives them pieces of bodies.
 */
#ifndef RP_SCRIPT_PASS_H
#define RP_SCRIPT_PASS_H

#include "script/vm.h"

struct rp_pass {
    struct rp_host *h;
    struct rp_req *r;
    enum rp_phase phase;
    struct rp_chain *in, *out; /* body_filter, request_body */
    bool writes;               /* the hook that writes the response goes on: answer.h */
    bool last;
};

/* ---- phase.c: results as those of rp_hooks.run ---------------------------------------------- */

RP_MUST rp_err rp_pass_enter(const struct rp_pass *a, uint32_t chain);
RP_MUST rp_err rp_pass_go_on(const struct rp_pass *a, struct rp_task *t);
/* Did what it waits for come? Then it is to be resumed with one argument, and is parked nowhere. */
bool rp_pass_unpark(const struct rp_pass *a, struct rp_task *t);
void rp_pass_log_failure(const struct rp_pass *a, uint32_t plugin, rp_str what);

/* ---- phase_body.c --------------------------------------------------------------------------- */

/* The piece and whether it is the last, on top of co; the wrapper lies at its position 1. What
 * earlier handlers of this pass made of the piece comes first. RP_E_NOMEM */
RP_MUST rp_err rp_pass_push_piece(const struct rp_pass *a, lua_State *co);
/* The pass is over: the input, or what the handlers made of it, goes out. */
void rp_pass_take_piece(const struct rp_pass *a);

/* The hooks of the same names. */
RP_MUST rp_err rp_phase_filter_body(struct rp_req *r, struct rp_chain *in, bool last,
                                    struct rp_chain *out);
RP_MUST rp_err rp_phase_filter_request(struct rp_req *r, struct rp_chain *in, bool last,
                                       struct rp_chain *out);
RP_MUST rp_err rp_phase_pull_body(struct rp_req *r, struct rp_chain *out);

#endif
