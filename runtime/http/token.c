/* SPDX-License-Identifier: MIT
 *
 * token: names to ids by a perfect hash (tools/tokens.lua finds its constants) and one compare.
 */
#include "http/token_row.h"

enum { METHOD_ROOM = 16 };

/* Flags of token.tbl as bits. */
enum { FLAG_0 = 0, FLAG_H = 1, FLAG_L = 2, FLAG_S = 4, FLAG_I = 8, FLAG_SI = 12 };

const char rp_token_rows[RP_H_COUNT][RP_TOKEN_ROOM] __attribute__((aligned(RP_TOKEN_ROOM))) = {
#define F(id, name, flags) [RP_H_##id] = name ":",
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
static const char method_names[RP_M_COUNT][METHOD_ROOM] = {
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

const uint8_t rp_token_slots[1 << TOKEN_HEADER_BITS] = {TOKEN_HEADER_SLOTS};
static const uint8_t method_slots[1 << TOKEN_METHOD_BITS] = {TOKEN_METHOD_SLOTS};

_Static_assert(RP_H_COUNT == TOKEN_HEADERS_N + 1, "token.tbl changed: run tools/tokens.lua");
_Static_assert(RP_M_COUNT == TOKEN_METHODS_N + 1, "token.tbl changed: run tools/tokens.lua");

/* ------------------------------------------------------------------ words */

/* What is compared: bytes 0-7 and 8-15 of a name, zeros behind its end; of a name of 16 bytes and
 * more the first and the last 8. */
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

/* A-Z to a-z in each byte; every other byte value stays as it is. */
static inline uint64_t lower8(uint64_t x)
{
    const uint64_t ones = UINT64_C(0x0101010101010101), high = ones * 0x80;
    uint64_t seven = x & ~high;
    uint64_t from_a = seven + ones * (0x80 - 'A');
    uint64_t past_z = seven + ones * (0x7f - 'Z');
    return x | (((from_a ^ past_z) & ~x & high) >> 2);
}

/* The last four bytes of a name, n >= 2, or of the line that it begins. */
static inline uint32_t tail_of(const char *p, size_t n)
{
    if (n >= 4) return (uint32_t)word4(p + n - 4);
    if (n == 3) return '\n' | (uint32_t)(uint8_t)p[0] << 8 | (uint32_t)word2(p + 1) << 16;
    return '\r' | '\n' << 8 | (uint32_t)word2(p) << 16;
}

static inline unsigned slot_of(const char *p, size_t n, uint32_t multiplier, unsigned bits)
{
    uint32_t key = (tail_of(p, n) | 0x20202020) ^ (uint32_t)n;
    if (n >= 16) key ^= (uint32_t)word4(p) | 0x20202020; /* some differ in their beginnings alone */
    return key * multiplier >> (32 - bits);
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
    if (n - 2 > RP_TOKEN_ROOM - 1 - 2) return RP_H_OTHER; /* 0 and 1 wrap around */
    unsigned id = rp_token_slots[slot_of(name, n, TOKEN_HEADER_MUL, TOKEN_HEADER_BITS)];
    if (header_lens[id] != n) return RP_H_OTHER;
    const char *row = rp_token_rows[id];
    struct ends sent = ends_of(name, n), known = ends_of(row, n);
    if (lower8(sent.first) != known.first || lower8(sent.last) != known.last) return RP_H_OTHER;
    if (n > 16 && !middle_eq(name, n, row)) return RP_H_OTHER;
    return (uint16_t)id;
}

rp_str rp_token_header_name(uint16_t id)
{
    if (id == RP_H_OTHER || id >= RP_H_COUNT) return RP_STR_NONE;
    return rp_str_of(rp_token_rows[id], header_lens[id]);
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
    unsigned id = method_slots[slot_of(name, n, TOKEN_METHOD_MUL, TOKEN_METHOD_BITS)];
    if (method_lens[id] != n) return RP_M_OTHER;
    return memcmp(name, method_names[id], n) == 0 ? (uint8_t)id : (uint8_t)RP_M_OTHER;
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
