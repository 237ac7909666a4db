/* SPDX-License-Identifier: MIT
 *
 * random: secret bytes from the kernel, and a fast generator for dice (balancing, sampling, jitter).
 */
#ifndef RP_BASE_RANDOM_H
#define RP_BASE_RANDOM_H

#include "base/check.h"

/* Unpredictable bytes, for keys, ids and nonces. Never fails; any thread; a child never sees bytes
 * its parent will see. Small requests come from a buffer that is wiped as it is used. */
void rp_random_bytes(void *out, size_t n);

/* For the lab alone (script/lab.c): bytes that anybody can foretell, from now on, by this seed. */
void rp_random_fix(uint64_t seed);

/* Dice: the state is the caller's, so pure modules take it as an argument and specs fix it. */
struct rp_random {
    uint64_t state;
};

void rp_random_init(struct rp_random *r, uint64_t seed); /* the same seed, the same dice */
void rp_random_seed(struct rp_random *r);                /* from the kernel */
/* Predictable to who sees a few values: never for secrets. */
RP_INLINE uint64_t rp_random_u64(struct rp_random *r);
/* Even over 0 .. n-1 (bias below n / 2^64); 0 when n is 0. */
RP_INLINE uint64_t rp_random_below(struct rp_random *r, uint64_t n);

#ifndef RP_CDEF
/* wyrand's step (Wang Yi, wyhash, public domain constants). */
inline uint64_t rp_random_u64(struct rp_random *r)
{
    r->state += UINT64_C(0xa0761d6478bd642f);
    unsigned __int128 wide =
        (unsigned __int128)r->state * (r->state ^ UINT64_C(0xe7037ed1a0b428db));
    return (uint64_t)(wide >> 64) ^ (uint64_t)wide;
}

inline uint64_t rp_random_below(struct rp_random *r, uint64_t n)
{
    return (uint64_t)((unsigned __int128)rp_random_u64(r) * n >> 64);
}
#endif

#endif
