/* SPDX-License-Identifier: MIT
 *
 * histogram: counts of times by size, in buckets that are an eighth of their power of two wide: so a
 * quantile is known within 1/16 of its value. Pure.
 */
#ifndef RP_BASE_HISTOGRAM_H
#define RP_BASE_HISTOGRAM_H

#include "base/str.h"

enum {
    RP_HISTOGRAM_FINE = 8,                /* buckets for each power of two */
    RP_HISTOGRAM_MOST_US = (1 << 27) - 1, /* 134 s; longer ones count as this */
    RP_HISTOGRAM_BUCKETS = 200,
};

#ifndef RP_CDEF
/* The bucket of a time. cost about 10 instructions */
static inline uint32_t rp_histogram_bucket(uint64_t us)
{
    if (us < RP_HISTOGRAM_FINE) return (uint32_t)us;
    uint32_t v = us > RP_HISTOGRAM_MOST_US ? RP_HISTOGRAM_MOST_US : (uint32_t)us;
    uint32_t shift = 28 - (uint32_t)__builtin_clz(v); /* leaves 8 .. 15 */
    return shift * RP_HISTOGRAM_FINE + (v >> shift);
}
#endif

/* The same, to be called from elsewhere. */
uint32_t rp_histogram_at(uint64_t us);
/* The middle of a bucket. */
uint32_t rp_histogram_us(uint32_t bucket);
/* The smallest time that at least `share` (0..1) of all counted are not longer than; 0: none is counted.
 * cost O(buckets) */
uint32_t rp_histogram_quantile(const uint32_t counts[RP_HISTOGRAM_BUCKETS], double share);
uint64_t rp_histogram_sum(const uint32_t counts[RP_HISTOGRAM_BUCKETS]);

#endif
