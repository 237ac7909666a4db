/* SPDX-License-Identifier: MIT
 *
 * limit: how many requests an upstream may have under way, found by how long they take: the gradient
 * of Envoy's adaptive concurrency and Netflix's concurrency-limits. Pure.
 *
 * What a request takes when there is no crowd (min_rtt) is measured now and then, with few under way.
 * A sample is a quantile of what requests took since the last step. While it is not much longer than
 * min_rtt the limit grows by a headroom of its square root; when it is, the limit shrinks by the ratio
 * of the two.
 *
 * DRAIN    measuring is about to begin: the limit is `least` until no more than that are under way
 * MEASURE  ... and stays so until there are enough samples
 * RUN      steps
 */
#ifndef RP_PROXY_LIMIT_H
#define RP_PROXY_LIMIT_H

#include "base/clock.h"
#include "base/histogram.h"

enum { RP_LIMIT_MOST = (1 << 24) - 1 };
enum rp_limit_phase { RP_LIMIT_RUN, RP_LIMIT_DRAIN, RP_LIMIT_MEASURE };

struct rp_limit_rules {
    uint32_t least, most, start; /* requests under way, in all workers */
    uint32_t quantile;           /* thousandths: of what requests took, that is the sample */
    uint32_t buffer;             /* thousandths by which a sample may be longer than min_rtt */
    uint32_t measure_n;          /* samples of a measuring */
    rp_ms measure_ms;            /* between two of them; 0: only the first */
};

struct rp_limit_state {
    uint32_t limit;      /* 0: there never was a step */
    uint32_t kept;       /* not RUN: what the limit was before */
    uint8_t phase;       /* enum rp_limit_phase */
    uint8_t low_n;       /* steps in a row that ended at `least` */
    uint32_t min_rtt_us; /* 0: not known */
    rp_ms at;            /* RUN: of the next measuring; else: it is given up then */
};

/* As words: the first has what every request asks for. */
uint64_t rp_limit_word(const struct rp_limit_state *s);
struct rp_limit_state rp_limit_read(uint64_t word, uint64_t rtt, rp_ms at);
uint32_t rp_limit_of(uint64_t word, const struct rp_limit_rules *c); /* what holds now */

struct rp_limit_facts {
    uint64_t samples_n; /* what requests took since samples were taken the last time */
    uint32_t counts[RP_HISTOGRAM_BUCKETS];
    uint32_t in_flight;
    uint32_t dice; /* by chance, below 1000 */
};
/* Think of it again. f->counts is looked at only when rp_limit_wants was true for samples_n. */
void rp_limit_step(const struct rp_limit_rules *c, struct rp_limit_state *s,
                   const struct rp_limit_facts *f, rp_ms now);
/* Are these enough samples for the next step? Else they are left to grow. */
bool rp_limit_wants(const struct rp_limit_rules *c, const struct rp_limit_state *s,
                    uint64_t samples_n, rp_ms now);

#endif
