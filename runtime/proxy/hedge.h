/* SPDX-License-Identifier: MIT
 *
 * hedge: a second try at another peer while the first keeps us waiting (`hedge` of an upstream).
 * The first answer wins, the other try is cancelled.
 *
 * A request has the fields of one try. While there are two, those of the other are parked in its
 * struct rp_hedge, and rp_hedge_turn exchanges them to run the other: so the steps of attempt.c
 * know of one try only. Events of both wake the request, which runs both.
 *
 * Most requests have none: `rp_req.hedge` is NULL unless their upstream hedges.
 */
#ifndef RP_PROXY_HEDGE_H
#define RP_PROXY_HEDGE_H

#include "base/histogram.h"
#include "proxy/lifecycle.h"

/* What of a request belongs to one try. */
struct rp_try {
    uint8_t step, phase, interim_n;
    bool up_reused, dials, up_fresh, up_http1, body_sent, hook_late;
    bool second; /* it was begun beside another */
    rp_err timer_means;
    rp_ms ends_ms; /* of its deadline; 0: none */
    const char *waiting_for;
    const struct rp_conf_upstream *upstream;
    struct rp_up *up;
    uint64_t up_out_base;
    rp_ns connect_start_ns, connected_ns, sent_ns, first_byte_ns;
    struct rp_pick pick;
};

/* In the request's arena. */
struct rp_hedge {
    struct rp_req *req;
    struct rp_timer timer; /* until the second try begins; then: the deadline of the parked one */
    struct rp_try other;   /* the parked one, while `on` */
    bool on;
    bool due;    /* it is time for a second try */
    bool late;   /* the parked one's deadline passed */
    bool second; /* of the try that is not parked */
    bool won;    /* ... which gave the answer */
    uint8_t n;   /* second tries begun */
};

/* What a worker remembers of an upstream that hedges, by its name: it outlives generations. */
struct rp_hedge_book {
    struct rp_hedge_book *next;
    uint32_t counts[RP_HISTOGRAM_BUCKETS]; /* of latencies, newer ones count more */
    uint32_t counted_n, fresh_n;           /* in it; since it was looked at */
    uint32_t purse;                        /* rp_retry_earn */
    uint16_t permille;                     /* the quantile that was asked for last, and ... */
    uint32_t quantile_us;                  /* ... what it was; 0: nobody knows */
    size_t name_n;
    char name[];
};
struct rp_hedge_book *rp_hedge_book_of(struct rp_group *g); /* made when there is none */
void rp_hedge_books_free(struct rp_proxy *p);
void rp_hedge_book_add(struct rp_hedge_book *b, uint64_t us);
/* That many thousandths of the latencies are shorter; 0: too few are known. */
uint32_t rp_hedge_book_quantile(struct rp_hedge_book *b, uint32_t permille);

/* `to`, in PICK and of the same generation and upstream, goes on with the try of `from`, which has
 * none then. Neither has two. */
void rp_try_hand_over(struct rp_req *from, struct rp_req *to);

/* The upstream hedges, and a try begins (its peer is chosen): look at the clock. */
void rp_hedge_arm(struct rp_req *r);
/* The try that is run waits: begin a second one, or run that. RP_STEP_GO: r's step has changed. */
enum rp_verdict rp_hedge_turn(struct rp_req *r);
/* This try came to nothing and was let go of: the parked one, if any, takes its place. */
bool rp_hedge_fall_back(struct rp_req *r);
/* The try would begin to send: may it, or is the other in the middle of the body that both send?
 * False: this one is gone. */
bool rp_hedge_may_send(struct rp_req *r);
/* There is an answer, or there will be none: the parked try is cancelled. */
void rp_hedge_end(struct rp_req *r);
/* A response head came for this try: its time counts. */
void rp_hedge_note(struct rp_req *r);
/* Does the parked try wait for a connection that another request is making there? */
bool rp_hedge_awaits(const struct rp_req *r, const struct rp_pool_slot *slot);
#ifndef RP_CDEF
/* Are there two tries now? */
static inline bool rp_hedge_is_on(const struct rp_req *r)
{
    return RP_UNLIKELY(r->hedge != NULL) && r->hedge->on;
}
#endif

#endif
