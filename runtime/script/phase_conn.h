/* SPDX-License-Identifier: MIT
 *
 * phase_conn, for the .c files of script/ only: how a hook runs that is not a request's: one of a relayed stream (phase_stream.c) or of a
 * TLS handshake (phase_guest.c). As there (phase.c) it has a pooled coroutine, is parked while it
 * waits, and fails by its plugin's policy: then the rest of the chain runs, or the pass ends with the
 * error.
 */
#ifndef RP_SCRIPT_PHASE_CONN_H
#define RP_SCRIPT_PHASE_CONN_H

#include "script/vm.h"

struct rp_conn_pass;
struct rp_conn_hooks {
    /* Push the wrapper that hooks get. RP_E_NOMEM */
    rp_err (*push)(const struct rp_conn_pass *a, lua_State *L);
    /* Whose task it is: its owner, scope and phase. */
    void (*dress)(const struct rp_conn_pass *a, struct rp_task *t);
    /* The chain is through; what the last hook returned lies on L from 1. */
    rp_err (*returned)(const struct rp_conn_pass *a, lua_State *L);
    /* Log and count a failure of p (NULL: nobody's). True: go on behind it. */
    bool (*forgive)(const struct rp_conn_pass *a, const struct rp_conf_plugin *p, rp_str what);
};

struct rp_conn_pass {
    const struct rp_conn_hooks *of;
    struct rp_host *h;
    void *owner; /* the stream or the guest */
    void **task; /* its parked hook */
    unsigned hook;
};

/* Run the chain, or go on with the hook that is parked. RP_OK; RP_AGAIN: it is parked; < 0: a failure
 * that nobody forgives, or what `returned` said. */
rp_err rp_conn_pass_run(const struct rp_conn_pass *a, uint32_t chain);

#endif
