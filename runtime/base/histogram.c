/* SPDX-License-Identifier: MIT
 *
 * histogram: see histogram.h.
 */
#include "base/histogram.h"

#include <math.h>

_Static_assert(RP_HISTOGRAM_BUCKETS == (27 - 4) * RP_HISTOGRAM_FINE + 2 * RP_HISTOGRAM_FINE,
               "the last bucket is that of the longest time");

uint32_t rp_histogram_at(uint64_t us)
{
    return rp_histogram_bucket(us);
}

uint32_t rp_histogram_us(uint32_t bucket)
{
    if (bucket < 2 * RP_HISTOGRAM_FINE) return bucket;
    uint32_t shift = bucket / RP_HISTOGRAM_FINE - 1;
    uint32_t low = (RP_HISTOGRAM_FINE + bucket % RP_HISTOGRAM_FINE) << shift;
    return low + (1u << shift) / 2;
}

uint64_t rp_histogram_sum(const uint32_t counts[RP_HISTOGRAM_BUCKETS])
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < RP_HISTOGRAM_BUCKETS; i++) sum += counts[i];
    return sum;
}

uint32_t rp_histogram_quantile(const uint32_t counts[RP_HISTOGRAM_BUCKETS], double share)
{
    uint64_t sum = rp_histogram_sum(counts), seen = 0;
    if (sum == 0) return 0;
    double wanted = ceil(share * (double)sum);
    for (uint32_t i = 0; i < RP_HISTOGRAM_BUCKETS; i++) {
        seen += counts[i];
        if (counts[i] && (double)seen >= wanted) return rp_histogram_us(i);
    }
    return rp_histogram_us(RP_HISTOGRAM_BUCKETS - 1);
}
