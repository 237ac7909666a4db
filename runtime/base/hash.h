/* SPDX-License-Identifier: MIT
 *
 * hash: a keyed hash of bytes that a flood of chosen keys cannot turn into one long chain, and a
 * cheap mix for integers that nobody outside chooses.
 *
 * The process key is drawn once, before main, and is inherited by fork. Tables that outlive the
 * process (zones) keep a key of their own.
 */
#ifndef RP_BASE_HASH_H
#define RP_BASE_HASH_H

#include "base/str.h"

struct rp_hash_key {
    uint64_t k0, k1;
};

/* SipHash-1-3 under the process key; the same bytes give the same value in this process and its
 * children only. About 10 ns for 16 bytes. */
uint64_t rp_hash_bytes(rp_str s);
/* SipHash-1-3 under the caller's key. A fixed key gives values that every instance agrees on. */
uint64_t rp_hash_keyed(const struct rp_hash_key *key, rp_str s);
/* A fresh random key. */
void rp_hash_key_draw(struct rp_hash_key *key);
/* Spread the bits of an integer (a bijection). Not safe against chosen input. */
RP_INLINE uint64_t rp_hash_mix(uint64_t value);

#ifndef RP_CDEF
inline uint64_t rp_hash_mix(uint64_t value)
{
    value = (value ^ value >> 32) * UINT64_C(0xd6e8feb86659fd93);
    value = (value ^ value >> 32) * UINT64_C(0xd6e8feb86659fd93);
    return value ^ value >> 32;
}
#endif

#endif
