/* SPDX-License-Identifier: MIT
 *
 * retry: may a failed try be repeated? Pure.
 */
#ifndef RP_PROXY_RETRY_H
#define RP_PROXY_RETRY_H

#include "base/check.h"

enum rp_retry_stage {
    RP_RETRY_CONNECTING, /* no connection came about: nothing was sent */
    RP_RETRY_AWAITING,   /* sent, at least partly, and no whole response head */
};

struct rp_retry_facts {
    uint8_t stage;             /* enum rp_retry_stage */
    bool reused;               /* the connection came from the pool */
    bool answered;             /* some byte of a response arrived */
    bool idempotent;           /* the method (RFC 9110 §9.2.2) */
    bool early;                /* the client sent it in early data of TLS (RFC 8470 §3) */
    bool body_used;            /* body bytes were read from the client and cannot be had again */
    bool unsent;               /* the system took no byte of the request */
    bool unprocessed;          /* the upstream said that it did nothing with it (RFC 9113 §8.7) */
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

#endif
