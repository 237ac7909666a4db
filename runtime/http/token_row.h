/* SPDX-License-Identifier: MIT
 *
 * token_row: the known field names as the parser compares them, one look for each line of a head.
 */
#ifndef RP_HTTP_TOKEN_ROW_H
#define RP_HTTP_TOKEN_ROW_H

#include "http/scan.h"
#include "http/token.h"
#include "http/token_hash.h"

enum { RP_TOKEN_ROOM = 32 }; /* longest known name 25 bytes and its ':'; the rest is zero */

extern const char rp_token_rows[RP_H_COUNT][RP_TOKEN_ROOM]; /* "host:" */
extern const uint8_t rp_token_slots[1 << TOKEN_HEADER_BITS];

#ifdef RP_SCAN_SSE2
/* Does the line at p begin with a known name?
 * n     where its ':' is, at most 15; the four bytes before p can be read
 * line  the 16 bytes at p, without a control byte up to there: of all others only a letter of the
 *       other case becomes a byte of a known name by `| 0x20` */
static inline bool rp_token_begins(const char *p, unsigned n, __m128i line, unsigned *id)
{
    uint32_t last;
    memcpy(&last, p + n - 4, sizeof last);
    uint32_t key = (last | 0x20202020) ^ n;
    *id = rp_token_slots[key * TOKEN_HEADER_MUL >> (32 - TOKEN_HEADER_BITS)];
    __m128i row = _mm_load_si128((const __m128i *)(const void *)rp_token_rows[*id]);
    __m128i lower = rp_scan_or(line, _mm_set1_epi8(0x20));
    unsigned differs = ~rp_scan_mask(_mm_cmpeq_epi8(lower, row));
    return (unsigned)__builtin_ctz(differs) > n;
}
#endif

#endif
