/* SPDX-License-Identifier: MIT
 *
 * token: names to ids by a perfect hash (tools/tokens.lua finds its constants) and one compare.
 */
#include "http/token.h"
#include "http/scan.h"
#include "http/token_hash.h"

enum { NAME_ROOM = 32 }; /* longest known name 25 bytes; the rest is zero */

/* Flags of token.tbl as bits. */
enum { FLAG_0 = 0, FLAG_H = 1, FLAG_L = 2, FLAG_S = 4, FLAG_I = 8, FLAG_SI = 12 };

static const char header_names[RP_H_COUNT][NAME_ROOM] = {
#define F(id, name, flags) [RP_H_##id] = name,
#include "http/token.tbl"
#undef F
};
static const uint8_t header_lens[RP_H_COUNT] = {
#define F(id, name, flags) [RP_H_##id] = sizeof(name) - 1,
#include "http/token.tbl"
#undef F
};
static const uint8_t header_flags[RP_H_COUNT] = {
#define F(id, name, flags) [RP_H_##id] = FLAG_##flags,
#include "http/token.tbl"
#undef F
};
static const char method_names[RP_M_COUNT][NAME_ROOM] = {
#define M(id, name, flags) [RP_M_##id] = name,
#include "http/token.tbl"
#undef M
};
static const uint8_t method_lens[RP_M_COUNT] = {
#define M(id, name, flags) [RP_M_##id] = sizeof(name) - 1,
#include "http/token.tbl"
#undef M
};
static const uint8_t method_flags[RP_M_COUNT] = {
#define M(id, name, flags) [RP_M_##id] = FLAG_##flags,
#include "http/token.tbl"
#undef M
};

_Static_assert(RP_H_COUNT == TOKEN_HEADERS_N + 1, "token.tbl changed: run tools/tokens.lua");
_Static_assert(RP_M_COUNT == TOKEN_METHODS_N + 1, "token.tbl changed: run tools/tokens.lua");

/* ------------------------------------------------------------------ words */

/* What is hashed and compared: bytes 0-7 and 8-15 of a name, zeros behind its end; of a name of 16
 * bytes and more the first and the last 8. */
struct ends {
    uint64_t first, last;
};

static inline uint64_t little(uint64_t word)
{
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    return __builtin_bswap64(word);
#else
    return word;
#endif
}

static inline uint64_t word8(const char *p)
{
    uint64_t w;
    memcpy(&w, p, sizeof w);
    return little(w);
}

static inline uint64_t word4(const char *p)
{
    const uint8_t *u = (const uint8_t *)p;
    return u[0] | (uint64_t)u[1] << 8 | (uint64_t)u[2] << 16 | (uint64_t)u[3] << 24;
}

static inline uint64_t word2(const char *p)
{
    const uint8_t *u = (const uint8_t *)p;
    return u[0] | (uint64_t)u[1] << 8;
}

/* Reads no byte outside the name: short ones are put together from overlapping words. */
static inline struct ends ends_of(const char *p, size_t n) /* n >= 2 */
{
    if (n >= 16) return (struct ends){word8(p), word8(p + n - 8)};
    if (n > 8) return (struct ends){word8(p), word8(p + n - 8) >> (8 * (16 - n))};
    if (n == 8) return (struct ends){word8(p), 0};
    if (n >= 4) return (struct ends){word4(p) | word4(p + n - 4) << (8 * (n - 4)), 0};
    return (struct ends){word2(p) | word2(p + n - 2) << (8 * (n - 2)), 0};
}

static inline struct ends ends_of_row(const char *row, size_t n)
{
    return (struct ends){word8(row), word8(row + (n < 16 ? 8 : n - 8))};
}

/* A-Z to a-z in each byte; every other byte value stays as it is. */
static inline uint64_t lower8(uint64_t x)
{
    const uint64_t ones = UINT64_C(0x0101010101010101), high = ones * 0x80;
    uint64_t seven = x & ~high;
    uint64_t from_a = seven + ones * (0x80 - 'A');
    uint64_t past_z = seven + ones * (0x7f - 'Z');
    return x | (((from_a ^ past_z) & ~x & high) >> 2);
}

static inline unsigned slot_of(struct ends e, size_t n, uint64_t multiplier, unsigned bits)
{
    uint64_t mixed = e.first ^ (e.last << 23 | e.last >> 41) ^ n;
    return (unsigned)(mixed * multiplier >> (64 - bits));
}

/* Bytes 8 to n-8 of a name of 17 to 32 bytes. */
static bool middle_eq(const char *name, size_t n, const char *known)
{
    return lower8(word8(name + 8)) == word8(known + 8) &&
           lower8(word8(name + n - 16)) == word8(known + n - 16);
}

/* ------------------------------------------------------------------ exports */

uint16_t rp_token_header(const char *name, size_t n)
{
    if (n - 2 > NAME_ROOM - 2) return RP_H_OTHER; /* 0 and 1 wrap around */
    struct ends e = ends_of(name, n);
    e.first = lower8(e.first);
    e.last = lower8(e.last);
    unsigned id = header_slots[slot_of(e, n, TOKEN_HEADER_MUL, TOKEN_HEADER_BITS)];
    if (header_lens[id] != n) return RP_H_OTHER;
    struct ends known = ends_of_row(header_names[id], n);
    if (e.first != known.first || e.last != known.last) return RP_H_OTHER;
    if (n > 16 && !middle_eq(name, n, header_names[id])) return RP_H_OTHER;
    return (uint16_t)id;
}

#ifdef RP_SCAN_SSE2
/* Of the name that the first n < 16 bytes of x are. */
static inline uint16_t known_block(__m128i x, size_t n)
{
    static const char keep[32] = {-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1};
    __m128i upper = rp_scan_within(x, 'A', 'Z');
    x = _mm_or_si128(x, _mm_and_si128(upper, _mm_set1_epi8(0x20)));
    x = _mm_and_si128(x, rp_scan_load(keep + 16 - n)); /* zeros behind the name */
    struct ends e = {(uint64_t)_mm_cvtsi128_si64(x),
                     (uint64_t)_mm_cvtsi128_si64(_mm_unpackhi_epi64(x, x))};
    unsigned id = header_slots[slot_of(e, n, TOKEN_HEADER_MUL, TOKEN_HEADER_BITS)];
    __m128i same = _mm_cmpeq_epi8(x, rp_scan_load(header_names[id]));
    return header_lens[id] == n && rp_scan_mask(same) == 0xffff ? (uint16_t)id : RP_H_OTHER;
}
#endif

struct rp_token_name rp_token_header_at(const char *p, const char *end, uint32_t most)
{
#ifdef RP_SCAN_SSE2
    if (RP_LIKELY(end - p >= 16 && most >= 16)) {
        __m128i x = rp_scan_load(p);
        unsigned colons = rp_scan_mask(rp_scan_is(x, ':'));
        if (RP_LIKELY(colons)) {
            uint32_t n = (uint32_t)__builtin_ctz(colons);
            return (struct rp_token_name){known_block(x, n), n};
        }
    }
#endif
    const char *last = end - p > (ptrdiff_t)most + 1 ? p + most + 1 : end;
    const char *colon = rp_scan_byte(p, last, ':');
    if (colon == last) return (struct rp_token_name){RP_H_OTHER, RP_TOKEN_NO_COLON};
    size_t n = (size_t)(colon - p);
    return (struct rp_token_name){rp_token_header(p, n), (uint32_t)n};
}

rp_str rp_token_header_name(uint16_t id)
{
    if (id == RP_H_OTHER || id >= RP_H_COUNT) return RP_STR_NONE;
    return rp_str_of(header_names[id], header_lens[id]);
}

bool rp_token_header_is_hop(uint16_t id)
{
    return id < RP_H_COUNT && (header_flags[id] & FLAG_H);
}

bool rp_token_header_is_single(uint16_t id)
{
    return id < RP_H_COUNT && (header_flags[id] & FLAG_L);
}

uint8_t rp_token_method(const char *name, size_t n)
{
    if (n - 2 > 8 - 2) return RP_M_OTHER; /* no known method is longer; 0 and 1 wrap around */
    struct ends e = ends_of(name, n);
    unsigned id = method_slots[slot_of(e, n, TOKEN_METHOD_MUL, TOKEN_METHOD_BITS)];
    if (method_lens[id] != n) return RP_M_OTHER;
    struct ends known = ends_of_row(method_names[id], n);
    return e.first == known.first && e.last == known.last ? (uint8_t)id : (uint8_t)RP_M_OTHER;
}

rp_str rp_token_method_name(uint8_t id)
{
    if (id == RP_M_OTHER || id >= RP_M_COUNT) return RP_STR_NONE;
    return rp_str_of(method_names[id], method_lens[id]);
}

bool rp_token_method_is_safe(uint8_t id)
{
    return id < RP_M_COUNT && (method_flags[id] & FLAG_S);
}

bool rp_token_method_is_idempotent(uint8_t id)
{
    return id < RP_M_COUNT && (method_flags[id] & FLAG_I);
}
