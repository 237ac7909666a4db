/* SPDX-License-Identifier: MIT
 *
 * outlier: which peers of a group are so unlike the others that they had better rest. Pure. The names
 * and the mathematics are Envoy's outlier detection; slowness is ours.
 */
#ifndef RP_PROXY_OUTLIER_H
#define RP_PROXY_OUTLIER_H

#include "base/str.h"

struct rp_outlier_rules {
    uint64_t least;    /* requests of a peer in the interval before it is judged */
    uint32_t peers;    /* ... so many of which there must be */
    uint32_t stdev;    /* thousandths: below the mean success rate by so many deviations; 0: off */
    uint32_t failures; /* thousandths of a peer's requests that fail; 0: off */
    uint32_t factor;   /* thousandths: times the median of all peers; 0: off */
    uint32_t slow_us;  /* ... but at least that */
};

enum rp_outlier { RP_OUTLIER_NONE, RP_OUTLIER_SUCCESS_RATE, RP_OUTLIER_FAILURES, RP_OUTLIER_SLOW };

struct rp_outlier_peer {
    uint64_t good, bad; /* in the interval */
    uint64_t answers_n; /* that us is of */
    uint32_t us;        /* a quantile of how long they took */
    bool away;          /* it rests, or is out: neither judged nor a measure for others */
    uint8_t verdict;    /* enum rp_outlier: out */
};

struct rp_outlier_found {      /* for the log */
    double mean, stdev, bound; /* of the success rates, percent; bound 0: not judged */
    uint32_t median_us;        /* 0: not judged */
};

/* Judge all of a group. spare: room for n. cost O(n log n) */
void rp_outlier_judge(const struct rp_outlier_rules *c, struct rp_outlier_peer *peers, uint32_t n,
                      uint32_t *spare, struct rp_outlier_found *out);

#endif
