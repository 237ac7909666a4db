/* SPDX-License-Identifier: MIT
 *
 * vm_call: the inside of a request that a hook or task makes, for the .c files of script/ only: its
 * life is abi_call.c, its way to an upstream of the site abi_call_up.c.
 */
#ifndef RP_SCRIPT_VM_CALL_H
#define RP_SCRIPT_VM_CALL_H

#include "net/timer.h"
#include "proxy/retry.h"
#include "proxy/upstream.h"
#include "script/vm_net.h"

enum {
    RP_CALL_FIELDS = 32, /* of a response; more go to the arena */
    RP_CALL_ARENA_BYTES = 1024,
    RP_CALL_WHY_BYTES = 160,
};

enum rp_call_state {
    RP_CALL_WRITING,
    RP_CALL_FINDING,
    RP_CALL_QUEUED,
    RP_CALL_CONNECTING,
    RP_CALL_SENDING,
    RP_CALL_AWAITING,
    RP_CALL_BODY,
    RP_CALL_DONE,
    RP_CALL_FAILED,
};

struct rp_call {
    uint32_t magic;
    struct rp_hold hold;
    struct rp_host *host;
    enum rp_call_state state;
    uint8_t method, mode; /* enum rp_method; enum rp_abi_http */
    bool reused;          /* the connection comes from the pool */
    bool retried;         /* ... and the one before it did, and was closed */
    bool has_body;
    bool streamed;               /* ... which is given piece by piece */
    uint64_t length;             /* ... of so many bytes; UINT64_MAX: nobody knows */
    bool dials;                  /* others may wait for its connection */
    struct rp_call *next, *prev; /* the host's */
    uint8_t interim_n;
    struct rp_task *waiter;
    struct rp_vm_target target;
    struct rp_tls_client *tls; /* held */
    struct rp_pool_slot *slot; /* held */
    struct rp_up *up;
    uint32_t keep_n;
    rp_ms keep_ms;
    struct rp_buf head; /* of the request, without its last line */
    struct rp_chunk *body;
    struct rp_arena arena;
    struct rp_msg res, *trailers;
    struct rp_chunk *chunk; /* the head's bytes */
    rp_err fail;
    int os;
    char why[RP_CALL_WHY_BYTES];
    char name[256];                    /* of the other side, for TLS */
    const struct rp_conf_upstream *to; /* an upstream of the site; NULL: an address */
    struct rp_pick pick;               /* ... and its peer */
    struct rp_timer patience;          /* with a peer, or names that are being looked up */
    uint32_t tries;
    bool late; /* the patience is over */
    struct rp_field fields[RP_CALL_FIELDS];
    char arena_first[RP_CALL_ARENA_BYTES] __attribute__((aligned(16)));
};

/* abi_call.c */

rp_err rp_call_wait(struct rp_call *c); /* for c->waiter; what Lua is told */
/* It has come to nothing: Lua is told. */
rp_err rp_call_fail(struct rp_call *c, rp_err e);
void rp_call_drop_up(struct rp_call *c);
void rp_call_drop_slot(struct rp_call *c);
/* A connection of c->slot that is there already, or has begun; c->reused. RP_AGAIN: it waits for one that
 * somebody else makes (QUEUED), or begins one (CONNECTING). RP_OK: the request was sent. */
RP_MUST rp_err rp_call_connect(struct rp_call *c, bool fresh);
void rp_call_note_why(struct rp_call *c);

/* abi_call_up.c */

/* Begin: the upstream's group and TLS. RP_E_NOT_FOUND, RP_E_PHASE, RP_E_UP_CIRCUIT, RP_E_INVALID. */
RP_MUST rp_err rp_call_up_begin(struct rp_call *c, rp_str name);
/* FINDING: choose a peer, and connect. As rp_call_connect; < 0: there is none, Lua was told. */
RP_MUST rp_err rp_call_up_next(struct rp_call *c);
/* The try failed at that stage. As rp_call_up_next. */
RP_MUST rp_err rp_call_up_failed(struct rp_call *c, rp_err e, enum rp_retry_stage stage);
/* QUEUED: the connection that it waited for has come about, or not, or took too long. As
 * rp_call_up_next. */
RP_MUST rp_err rp_call_up_again(struct rp_call *c);
void rp_call_up_connected(struct rp_call *c);
void rp_call_up_answered(struct rp_call *c); /* its head is there */
/* Let go of the peer. broken: its body came to a bad end. */
void rp_call_up_leave(struct rp_call *c, bool broken);
/* The generation's groups go away: all its calls to upstreams end. */
void rp_call_leave_upstreams(struct rp_conf *conf);

#endif
