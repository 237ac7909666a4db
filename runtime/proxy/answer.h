/* SPDX-License-Identifier: MIT
 *
 * answer: what hooks add to a response beyond a whole answer: a body that is written piece by piece
 * while the client takes it, trailers, hints before the head (103), and the whole body of an upstream
 * before the head goes out. Most requests have none of it: `rp_req.answer` is NULL.
 *
 * A written answer: a hook calls rp_answer_begin and waits; its task moves from rp_req.task to
 * rp_answer.task, and the life goes on to RESPOND, with header_filter hooks as for any response. In
 * RELAY rp_answer_read goes on with the task whenever the client has taken all that was written. So
 * the hook is ahead of its client by twice PENDING_MOST bytes at most, whatever it writes.
 */
#ifndef RP_PROXY_ANSWER_H
#define RP_PROXY_ANSWER_H

#include "proxy/lifecycle.h"

enum {
    RP_ANSWER_PENDING_MOST = 64 * 1024, /* bytes written that RELAY has not taken; one piece more */
    RP_ANSWER_HINTS_MOST = 8,           /* 103s of hooks for one request */
    RP_ANSWER_FIELDS_MOST = 32,         /* fields of one 103, and trailers */
};

struct rp_answer {
    void *task;              /* of the hook that writes, parked; owned by script/ */
    struct rp_chain pending; /* written; RELAY takes it from here */
    uint64_t left;           /* of the announced length; UINT64_MAX: none was announced */
    rp_ms idle_ms;           /* most between two signs of life of the hook; 0: no limit */
    rp_ms keepalive_ms;      /* events: after so long a comment is sent; 0: never */
    rp_ms last_ms;           /* the hook wrote, or its client took what it had written */
    rp_ms sent_ms;           /* it wrote, or a comment went out */
    bool streamed;           /* the response is what the hook writes */
    bool ended;              /* nothing more will be written */
    bool taken;              /* the client has taken all that was written */
    bool cut;                /* the last piece is a part of a large one, whose rest follows */
    bool reading;            /* RELAY is asking the hook: nobody needs to be woken */
    bool awaits_body;        /* the hook waits for more of the request's body */
    bool skipped;            /* what was left of that is thrown away */
    bool filtered;           /* the body_filter hooks saw the whole body before the head went out */
    uint8_t hints_n;
    rp_err fail; /* how its hook ended, when not well; told by every rp_answer_read */
    uint64_t
        buffer_max; /* most bytes of the body that body_filter hooks want as a whole; 0: pieces */
    struct rp_msg hint;     /* the 103 that is being made */
    struct rp_msg trailers; /* from hooks; they win over those of the upstream */
};

/* r->answer, made when it is not there. NULL: the request's memory is used up. */
struct rp_answer *rp_answer_of(struct rp_req *r);
/* Another answer replaces whatever was meant to be the response. */
void rp_answer_reset(struct rp_req *r);
/* Give back what is held; r ends. */
void rp_answer_end(struct rp_req *r);

/* ---- a written answer ----------------------------------------------------------------------- */

/* Answer with status and a body that is going to be written. length: of it, UINT64_MAX: unknown.
 * idle_ms, keepalive_ms: as above. RP_E_PHASE after the head, RP_E_CAP. */
RP_MUST rp_err rp_answer_begin(struct rp_req *r, uint16_t status, uint64_t length, rp_ms idle_ms,
                               rp_ms keepalive_ms);
/* Write, up to RP_ANSWER_PENDING_MOST bytes when there is room. RP_OK all; RP_AGAIN *used_n bytes of it, the
 * rest when the client has taken some; RP_E_CLOSED nobody wants it (the client is gone, the answer ended, it has no body);
 * RP_E_TOO_BIG more than the announced length: nothing was taken. */
RP_MUST rp_err rp_answer_write(struct rp_req *r, rp_str s, size_t *used_n);
/* RP_OK: what was written is in the client's socket; RP_AGAIN; RP_E_CLOSED. */
RP_MUST rp_err rp_answer_flush(struct rp_req *r);
/* Nothing more follows. RP_E_INVALID: less was written than announced; RP_E_CLOSED. */
RP_MUST rp_err rp_answer_finish(struct rp_req *r);

/* RESPOND, behind the header_filter hooks: what is known of it by now. < 0: it is broken. */
RP_MUST rp_err rp_answer_settle(struct rp_req *r);
/* RESPOND: nobody reads what is left of the request's body. */
void rp_answer_skip_body(struct rp_req *r);
/* RELAY: go on with the hook and move what it wrote to r->out. RP_OK something, or the end;
 * RP_AGAIN; < 0 the hook failed. */
RP_MUST rp_err rp_answer_read(struct rp_req *r);
/* RELAY: wait for the hook. */
enum rp_verdict rp_answer_wait(struct rp_req *r);
#ifndef RP_CDEF
/* A hook that has begun to read the request's body piece by piece may go on while it writes. */
static inline bool rp_answer_may_read(const struct rp_req *r)
{
    const struct rp_answer *a = r->answer;
    return a && a->streamed && !a->skipped;
}
static inline bool rp_answer_is_writing(const struct rp_req *r)
{
    const struct rp_answer *a = r->answer;
    return a && a->streamed && !(a->ended && a->pending.bytes == 0);
}
#endif

/* ---- edits ---------------------------------------------------------------------------------- */

/* A trailer of the response; value.ptr NULL: none of that name, also of the upstream's. Copied.
 * RP_E_INVALID; RP_E_BUSY: no trailer may say that (RFC 9110 §6.5.1); RP_E_CAP. */
RP_MUST rp_err rp_answer_trailer(struct rp_req *r, rp_str name, rp_str value);
/* The last piece of the body is about to be queued: the trailers of hooks join those of the upstream. */
void rp_answer_join_trailers(struct rp_req *r);
/* A field of the next 103. Copied. RP_E_INVALID, RP_E_BUSY, RP_E_CAP. */
RP_MUST rp_err rp_answer_hint(struct rp_req *r, rp_str name, rp_str value);
/* Send it. RP_END: this client knows no interim responses. RP_E_PHASE after the head; RP_E_CAP there were
 * RP_ANSWER_HINTS_MOST; RP_E_CLIENT_GONE. */
RP_MUST rp_err rp_answer_send_hint(struct rp_req *r);
/* Another body instead of what comes from the upstream, which is let go (copied). Before the head.
 * RP_E_INVALID: the response is a part (206), of which nobody knows the whole, or a 101. */
RP_MUST rp_err rp_answer_set_body(struct rp_req *r, rp_str body);
/* The body is not what its sender meant it to be: what speaks for its bytes goes. */
void rp_answer_note_changed(struct rp_req *r);

#endif
