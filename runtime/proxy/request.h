/* SPDX-License-Identifier: MIT
 *
 * request: one proxied request, from its parsed head to its log line.
 *
 * Owns: the exchange it is embedded around, its generation (held), its upstream connection while one
 * is bound, its timer. Slots come from a per-worker table and are addressed by index and generation
 * from Lua, so that a stale handle is found out.
 *
 * Invariants: only lifecycle.c assigns `step`; every outside event calls rp_req_wake and nothing
 * else; while a step waits, `waiting_for` names what will wake it.
 */
#ifndef RP_PROXY_REQUEST_H
#define RP_PROXY_REQUEST_H

#include "http/exchange.h"
#include "net/timer.h"
#include "proxy/conf.h"
#include "proxy/pick.h"
#include "proxy/route.h"

enum rp_step {
#define B(name) 0
#define S(name, next, doc) RP_STEP_##name,
#include "proxy/steps.tbl"
#undef S
#undef B
    RP_STEP_COUNT
};
const char *rp_step_name(enum rp_step s);

enum rp_filter { RP_FILTER_PENDING, RP_FILTER_DONE };
enum rp_from { RP_FROM_CORE, RP_FROM_PLUGIN, RP_FROM_UPSTREAM, RP_FROM_CACHE };

enum {
    RP_REQ_MAGIC = 0x52455130,
    RP_REQ_HEAVY_BYTES = 16 * 1024, /* in one piece: to move it takes as long as a small request */
};

struct rp_proxy;
struct rp_up;
struct rp_spool;
struct rp_payload;  /* payload.h */
struct rp_answer;   /* answer.h */
struct rp_dial;     /* dial.h */
struct rp_guard;    /* guard.h */
struct rp_hedge;    /* hedge.h */
struct rp_coalesce; /* coalesce.h */
struct rp_tap;      /* tap.h */
struct rp_shake;    /* tls_door.c */
struct rp_tunnel;   /* tunnel.h */

/* What is still told of a connection's TLS when it serves others already. */
struct rp_req_tls {
    rp_str version, cipher, sni; /* sni in x.arena */
    struct rp_guest *guest;      /* held; NULL: no hook had a say */
};

enum rp_req_wait { RP_WAIT_CONNECT, RP_WAIT_SEND, RP_WAIT_FIRST_BYTE, RP_WAIT_IDLE, RP_WAITS };

enum {
    RP_REQ_NOTES_MOST = 32,   /* fields that hooks add to the access log's line */
    RP_REQ_NOTE_BYTES = 1024, /* of one's value; more is cut off */
};

/* A field of the access log's line. bare: the value is a number, true or false. */
struct rp_req_note {
    struct rp_req_note *next;
    rp_str name, value;
    bool bare;
};

/* What hooks said of this request alone; in its arena. */
struct rp_req_own {
    rp_ms wait_ms[RP_WAITS];   /* for the upstream; 0: as the route says */
    struct rp_tls_client *tls; /* held; how its peers are spoken to; NULL: as the upstream says */
    struct rp_req_note *notes;
    uint32_t notes_n;
    struct rp_tap *tap; /* copies of its bodies, tap.h; NULL: nobody wants them */
    rp_ms ends_ms; /* nobody waits for an upstream after that; 0: no such end, see deadline.h */
};

struct rp_req {
    uint32_t magic;
    uint32_t slot;     /* index in the worker's table */
    uint32_t slot_gen; /* grows each time the slot is reused */
    uint8_t step;      /* enum rp_step; lifecycle.c alone assigns */
    uint8_t from;      /* enum rp_from: who made the response */
    uint8_t phase;     /* enum rp_phase that runs or is parked now; RP_PHASE_COUNT: none */
    uint8_t tries;     /* upstream attempts so far */
    uint8_t filter;    /* enum rp_filter: where the header_filter hooks are */
    uint8_t interim_n; /* 1xx that the upstream sent */
    uint8_t split_by;  /* enum rp_split_by: how its upstream was chosen of the route's split */
    uint16_t split_at; /* position in the split */

    struct rp_proxy *proxy;       /* the worker's proxy context */
    struct rp_conf *conf;         /* held */
    const struct rp_route *route; /* match.route; NULL before ROUTE and for unparsable heads */
    const char *waiting_for;      /* what will wake it; NULL while running */
    unsigned wakes;               /* enum rp_wake bits since the last run */
    rp_err timer_means;           /* failure to report when the timer fires */
    rp_err fail;                  /* first failure of this request: access log's reason */
    rp_err try_fail;              /* how the last attempt failed */
    int try_os;             /* ... by the system's word, where `up` is gone; while it is told */
    int32_t priority;       /* in a queue; higher ones first */
    struct rp_group *queue; /* it waits for a seat there */
    struct rp_req *queue_next, *queue_prev;
    rp_ms again_ms;      /* not before then the next one; 0: at once */
    struct rp_defer run; /* end-of-tick job */

    /* request, upstream side */
    bool from_trusted;      /* the connection's other end is in `trust` */
    bool upgrading;         /* the client asked for an upgrade that we relay */
    bool body_whole;        /* `body` holds the entire request body (a hook asked for it) */
    bool body_ended;        /* the client's body was read to its end */
    bool body_sent;         /* ... and given to the upstream whole */
    bool bulk, bulk_body;   /* the response, the request body goes by pipe: see bulk.h */
    bool heavy;             /* it moved much at once lately: others go first, see rp_req_wake */
    bool up_reused;         /* `up` came from the pool */
    bool dials;             /* others wait for its connection, to use it, too (HTTP/2) */
    bool up_fresh;          /* a pooled connection was stale: take a new one */
    bool up_http1;          /* this peer takes no WebSocket in HTTP/2 */
    bool answered;          /* a local answer is set: nothing upstream is needed */
    bool hook_reads;        /* the parked hook waits for the client's body */
    bool hook_late;         /* its wait is over: it has had the spare time of a late turn */
    bool out_last;          /* the piece of the response in hand is the last one */
    bool up_stripped;       /* our words in a cookie of the application are out of up_head */
    struct rp_msg *up_head; /* what goes upstream: &x.head or &up_head_own */
    rp_str up_path;         /* path and query that go upstream; ptr NULL: as the client sent */
    rp_str up_host;         /* Host that goes upstream; ptr NULL: by configuration */
    struct rp_chain body;   /* request body bytes in hand: buffered or about to be sent */
    struct rp_splice *body_pipe; /* ... or in there, see bulk.h */
    struct rp_spool *spool;      /* the whole request body, where the route wants it; else NULL */
    struct rp_payload *payload;  /* hooks made, changed or read the request body; else NULL */

    /* upstream; the pick's peer and group stay until END so that logs can name them */
    const struct rp_conf_upstream *upstream; /* chosen; the route's unless a hook changed it */
    struct rp_up *up;                        /* bound connection */
    uint64_t up_out_base;                    /* bytes sent on it before this request */
    struct rp_guard *guard;                  /* tickets of circuits, in x.arena; NULL: none */
    struct rp_hedge *hedge;                  /* a second try beside this one; NULL: none so far */
    struct rp_coalesce
        *coalesce;        /* it shares an answer, or would; NULL: it has nothing to do with that */
    struct rp_dial *dial; /* CONNECT: its target, once that is looked for */
    struct rp_tunnel *tunnel; /* since it is one */

    /* response */
    struct rp_chunk *res_chunk; /* holds the bytes of an upstream's head */
    struct rp_chain out;        /* response body bytes in hand; whole body of a local answer */
    struct rp_chain filtered;   /* ... after the body_filter hooks */
    struct rp_splice *pipe;     /* ... or in there, see bulk.h */
    struct rp_spool *res_spool; /* ... before `out`, where the route wants it; else NULL */
    struct rp_answer *answer;   /* what hooks write and add; NULL: nothing */

    /* times, loop nanoseconds; 0 = did not happen */
    rp_ns start_ns, connect_start_ns, connected_ns, sent_ns, first_byte_ns, end_ns;
    double start_wall; /* seconds since the epoch; 0 until asked (rp_abi_req_start) */

    /* script */
    void *task;             /* parked hook, owned by script/ */
    rp_str consumer;        /* set by authentication hooks, in x.arena; logged */
    struct rp_req_own *own; /* NULL: hooks said nothing */

    struct rp_shake *shake;     /* it waits for this handshake's end, see rp_tls_door_wait; */
    struct rp_req *shake_next;  /* so does that one */
    struct rp_req_tls *tls;     /* set when the connection is let go; NULL without TLS */
    struct rp_req *next, *prev; /* the worker's list of live requests; free list */
    struct rp_pick pick;        /* peer and address of the attempt */

    /* not cleared between requests, or by other means */
    struct rp_msg res;         /* head to the client; valid from RESPOND on */
    struct rp_msg up_head_own; /* the edited copy of up_head once a hook or a rule wants one */
    char id[33];               /* request id, NUL-terminated; "" until asked (rp_req_id) */
    struct rp_timer timer;     /* the one deadline */
    struct rp_addr conn_addr;  /* other end of the client connection */
    struct rp_addr client;     /* after `trust` */
    struct rp_route_match match;
    struct rp_field res_fields[RP_EXCHANGE_FIELDS];
    struct rp_exchange x;
};

/* ---- used by script/ and the steps ---------------------------------------------------------- */

/* Note why and run the life at the end of the tick; a heavy request's behind all others, as long as
 * the tick's share for such lasts. */
void rp_req_wake(struct rp_req *r, unsigned why);
/* A piece of n bytes is being moved. */
static inline void rp_req_note_piece(struct rp_req *r, size_t n)
{
    if (n > 0) r->heavy = n >= RP_REQ_HEAVY_BYTES;
}
/* Most bytes of the next piece, at most `usual`: while heavy ones wait, a light one that turns out to
 * be large is off to a start, and then waits like them. */
size_t rp_req_piece(const struct rp_req *r, size_t usual);
/* Between two pieces: is it time to let others go on? was_light: before the first of this run. */
bool rp_req_is_turn_over(const struct rp_req *r, bool was_light);
/* Live request by handle; NULL when stale. */
struct rp_req *rp_req_find(struct rp_proxy *p, uint32_t slot, uint32_t slot_gen);
/* Hexadecimal id, 32 digits, made on first use. */
rp_str rp_req_id(struct rp_req *r);
/* Replace whatever response there is by our own: status, optional content type (NONE: by body) and
 * a body that is copied. Drops fields set so far; add more with rp_msg_set(&r->res, ..). Legal until
 * the head is sent: RP_E_PHASE afterwards. from: RP_FROM_PLUGIN or RP_FROM_CORE. RP_E_CAP. */
RP_MUST rp_err rp_req_answer(struct rp_req *r, enum rp_from from, uint16_t status,
                             rp_str content_type, rp_str body);
/* The same with the standard small page for a failure (err.tbl gives the status). */
void rp_req_answer_error(struct rp_req *r, rp_err e);
/* The head that goes upstream, for editing (first call clones). NULL when over a cap. */
struct rp_msg *rp_req_edit_up(struct rp_req *r);
/* Read the whole request body into r->body. RP_OK: all there (r->body_whole); RP_AGAIN: call again
 * after RP_WAKE_BODY; RP_E_TOO_BIG over max bytes; RP_E_PHASE once sending began; RP_E_STALE: a hook
 * took some of it, or gave a function in its place; read errors. */
RP_MUST rp_err rp_req_buffer_body(struct rp_req *r, uint64_t max);
/* A client that waits for 100 (Continue) gets it: somebody wants its body. */
RP_MUST rp_err rp_req_invite_body(struct rp_req *r);
/* Replace the request body that goes upstream (copied). RP_E_PHASE once sending began. */
RP_MUST rp_err rp_req_set_body(struct rp_req *r, rp_str body);
/* r->own, made when it is not there. NULL over the arena's cap. */
struct rp_req_own *rp_req_own_of(struct rp_req *r);
/* TLS settings for the attempts to come, NULL: the upstream's. RP_E_CAP. */
RP_MUST rp_err rp_req_set_tls(struct rp_req *r, struct rp_tls_client *tls);
/* Add a field to its line in the access log, or give it another value. Copies. RP_E_INVALID: a name
 * that is not of letters, digits, "_", "." and "-"; RP_E_CAP. */
RP_MUST rp_err rp_req_note(struct rp_req *r, rp_str name, rp_str value, bool bare);
#ifndef RP_CDEF
/* How long it waits for its upstream: a hook's word, the route's, the upstream's. */
static inline rp_ms rp_req_wait_ms(const struct rp_req *r, enum rp_req_wait what, rp_ms of_route,
                                   rp_ms of_upstream)
{
    if (RP_UNLIKELY(r->own != NULL) && r->own->wait_ms[what]) return r->own->wait_ms[what];
    return of_route ? of_route : of_upstream;
}
#endif
/* Use another upstream of this generation, by index. RP_E_NOT_FOUND; RP_E_PHASE after PICK;
 * RP_E_INVALID: the route answers without one. */
RP_MUST rp_err rp_req_set_upstream(struct rp_req *r, uint32_t index);

#endif
