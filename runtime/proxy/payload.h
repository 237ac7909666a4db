/* SPDX-License-Identifier: MIT
 *
 * payload: a request body on its way upstream, where it is not simply what the client sends: what
 * request_body hooks make of it, what a function of site code gives instead, or nothing any more,
 * because a hook read it piece by piece.
 *
 * A request has one (r->payload) only for these; for all others attempt.c and buffering.c move the
 * client's bytes as they are. Bytes go: source (the client, r->body, a function) -> `raw`, one piece ->
 * hooks -> `made` -> spool or upstream. Each byte passes the hooks once, however many tries there are.
 * Nothing is asked of the source while `made` holds something, so the client is read no faster than the
 * upstream takes.
 */
#ifndef RP_PROXY_PAYLOAD_H
#define RP_PROXY_PAYLOAD_H

#include "proxy/lifecycle.h"

struct rp_payload {
    struct rp_chain raw;  /* a piece that the hooks have not seen, or are looking at */
    struct rp_chain made; /* what they made of those before; not sent yet */
    void *task;           /* parked hook or function, owned by script/ */
    bool reads;           /* ... and waits for the client's body */
    rp_ms task_ends_ms;   /* it may be parked until then */
    uint32_t empty_n;     /* empty pieces of the function since it last waited or gave bytes */
    bool filtered;        /* hooks look at it */
    bool sourced;         /* a function gives it, not the client */
    bool taken;           /* bytes of the client went to a hook: they are not there any more */
    bool begun;           /* something of it was asked for */
    bool looking;         /* `raw` is the hooks' */
    bool raw_last;        /* ... and the last piece */
    bool done;            /* all is made */
};

/* NULL: no room. */
struct rp_payload *rp_payload_get(struct rp_req *r);
void rp_payload_end(struct rp_req *r);
#ifndef RP_CDEF
/* Does what goes up come from here? */
static inline bool rp_payload_is_on(const struct rp_req *r)
{
    return RP_UNLIKELY(r->payload != NULL) && (r->payload->filtered || r->payload->sourced);
}
/* Is a hook or function of it parked? */
static inline bool rp_payload_is_parked(const struct rp_req *r)
{
    return RP_UNLIKELY(r->payload != NULL) && r->payload->task;
}
#endif

/* PICK: may concern a body that a hook consumed, hooks that want to see it, or bytes that are all here
 * and are filtered now, so that their length is known. True: go on; false: *v. */
bool rp_payload_settle(struct rp_req *r, enum rp_verdict *v);
/* One piece more into `made`. RP_OK: look at `made` and `done`; RP_AGAIN: the client, a hook or the
 * function is awaited (is_parked); RP_END: a hook answered; < 0 */
RP_MUST rp_err rp_payload_fill(struct rp_req *r);

/* A hook reads the client's body: some of it, at most max bytes, into r->body, unless there is some.
 * RP_OK; RP_AGAIN: RP_WAKE_BODY follows; RP_END: all was read; < 0 */
RP_MUST rp_err rp_payload_read(struct rp_req *r, size_t max);
/* ... and takes n bytes of r->body: out gets them. */
void rp_payload_take(struct rp_req *r, char *out, size_t n);
/* A function of site code makes the body from now on: hooks->pull_body. RP_E_PHASE; RP_E_CAP. */
RP_MUST rp_err rp_payload_set_source(struct rp_req *r);
/* r has a payload, and is given another body as a text. RP_E_PHASE */
RP_MUST rp_err rp_payload_replace(struct rp_req *r);

#endif
