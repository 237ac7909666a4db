/* SPDX-License-Identifier: MIT
 *
 * hash: SipHash with 1 round per word and 3 at the end (Aumasson, Bernstein: "SipHash: a fast
 * short-input PRF", 2012; the 1-3 variant is what hash tables elsewhere settled on).
 */
#include "base/hash.h"

#include "base/random.h"

extern inline uint64_t rp_hash_mix(uint64_t value);

static struct rp_hash_key process_key; /* written once, before main */

__attribute__((constructor)) static void draw_process_key(void)
{
    rp_hash_key_draw(&process_key);
}

void rp_hash_key_draw(struct rp_hash_key *key)
{
    rp_random_bytes(key, sizeof *key);
}

/* ------------------------------------------------------------------ siphash */

struct sip {
    uint64_t v0, v1, v2, v3;
};

static inline uint64_t rotate(uint64_t x, unsigned n)
{
    return x << n | x >> (64 - n);
}

static inline void sip_round(struct sip *s)
{
    s->v0 += s->v1;
    s->v2 += s->v3;
    s->v1 = rotate(s->v1, 13) ^ s->v0;
    s->v3 = rotate(s->v3, 16) ^ s->v2;
    s->v0 = rotate(s->v0, 32);
    s->v2 += s->v1;
    s->v0 += s->v3;
    s->v1 = rotate(s->v1, 17) ^ s->v2;
    s->v3 = rotate(s->v3, 21) ^ s->v0;
    s->v2 = rotate(s->v2, 32);
}

static inline void sip_word(struct sip *s, uint64_t word)
{
    s->v3 ^= word;
    sip_round(s);
    s->v0 ^= word;
}

/* Little-endian word of the n < 8 bytes at p. */
static inline uint64_t load_tail(const char *p, size_t n)
{
    uint64_t word = 0;
    for (size_t i = 0; i < n; i++) word |= (uint64_t)(unsigned char)p[i] << (8 * i);
    return word;
}

static inline uint64_t load8(const char *p)
{
    uint64_t word;
    memcpy(&word, p, 8);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    word = __builtin_bswap64(word);
#endif
    return word;
}

uint64_t rp_hash_keyed(const struct rp_hash_key *key, rp_str s)
{
    struct sip state = {
        key->k0 ^ UINT64_C(0x736f6d6570736575), /* the constants of the paper */
        key->k1 ^ UINT64_C(0x646f72616e646f6d),
        key->k0 ^ UINT64_C(0x6c7967656e657261),
        key->k1 ^ UINT64_C(0x7465646279746573),
    };
    const char *p = s.ptr;
    size_t left = s.len;
    for (; left >= 8; p += 8, left -= 8) sip_word(&state, load8(p));
    sip_word(&state, (uint64_t)s.len << 56 | load_tail(p, left));
    state.v2 ^= 0xff;
    sip_round(&state);
    sip_round(&state);
    sip_round(&state);
    return state.v0 ^ state.v1 ^ state.v2 ^ state.v3;
}

uint64_t rp_hash_bytes(rp_str s)
{
    return rp_hash_keyed(&process_key, s);
}
