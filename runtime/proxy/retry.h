/* SPDX-License-Identifier: MIT
 *
 * retry: may a failed try be repeated? Pure.
 */
#ifndef RP_PROXY_RETRY_H
#define RP_PROXY_RETRY_H

#include "base/clock.h"
#include "base/random.h"

enum rp_retry_stage {
    RP_RETRY_CONNECTING, /* no connection came about: nothing was sent */
    RP_RETRY_AWAITING,   /* sent, at least partly, and no whole response head */
    RP_RETRY_LATE,       /* the same, and the time for an answer is over */
    RP_RETRY_ANSWERED,   /* a whole head, with a status that the site wants repeated */
};

/* What an upstream's try may be repeated for, and what counts against a peer: bits. */
enum { RP_ON_CONNECT = 1, RP_ON_RESET = 2, RP_ON_TIMEOUT = 4 };

struct rp_retry_facts {
    uint8_t stage;             /* enum rp_retry_stage */
    uint8_t on;                /* RP_ON_ bits */
    bool reused;               /* the connection came from the pool */
    bool answered;             /* some byte of a response arrived */
    bool idempotent;           /* the method (RFC 9110 §9.2.2), or the site says that it may be */
    bool early;                /* the client sent it in early data of TLS (RFC 8470 §3) */
    bool body_used;            /* body bytes were read from the client and cannot be had again */
    bool unsent;               /* the system took no byte of the request */
    bool unprocessed;          /* the upstream said that it did nothing with it (RFC 9113 §8.7) */
    bool afford;               /* the budget has room for one more */
    uint32_t tries, tries_max; /* this try included */
};

enum rp_retry {
    RP_RETRY_NO,
    RP_RETRY_OTHER, /* another peer; counts as a try and against the peer */
    RP_RETRY_AGAIN, /* the same peer would take it; counts as a try */
    RP_RETRY_SAME,  /* the pooled connection was stale: a new one, nothing is counted */
};

/* cost O(1); src RFC 9110 §9.2.2, RFC 9112 §9.3.1 */
enum rp_retry rp_retry_decide(const struct rp_retry_facts *f);

/* May one more of `active` requests be a retry? Of a few there may always be some. share: percent. */
bool rp_retry_afford(uint32_t active, uint32_t retrying, uint32_t share);

/* A purse in hundredths of a try: each request earns `share` of them, and a second try beside a first one
 * costs a hundred. A burst of ten can be saved up. False: there is not enough in it. */
enum { RP_RETRY_PURSE_MOST = 1000 };
void rp_retry_earn(uint32_t *purse, uint32_t share);
bool rp_retry_spend(uint32_t *purse);

/* How long to wait before the n-th retry (from 1): by chance, up to `base` doubled each time, at most
 * `most`. ("Full jitter": retries that began together do not come together.) */
rp_ms rp_retry_pause(struct rp_random *dice, uint32_t n, rp_ms base, rp_ms most);

#endif
