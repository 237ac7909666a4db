/* SPDX-License-Identifier: MIT
 *
 * scan: find the next interesting byte, 16 at a time. Pure.
 *
 * SSE2 is the x86-64 baseline; elsewhere (or with RP_NO_SIMD) the byte loops do all the work. The
 * request fuzzer compares both. Nothing is read outside the given range.
 */
#ifndef RP_HTTP_SCAN_H
#define RP_HTTP_SCAN_H

#include "http/chars.h"

#ifndef RP_CDEF
#if defined(__SSE2__) && !defined(RP_NO_SIMD)
#include <emmintrin.h>
#define RP_SCAN_SSE2 1
#endif

/* ------------------------------------------------------------------ 16 bytes */

#ifdef RP_SCAN_SSE2
static inline __m128i rp_scan_load(const char *p)
{
    return _mm_loadu_si128((const __m128i *)(const void *)p);
}
static inline __m128i rp_scan_is(__m128i x, char ch)
{
    return _mm_cmpeq_epi8(x, _mm_set1_epi8(ch));
}
static inline __m128i rp_scan_or(__m128i a, __m128i b)
{
    return _mm_or_si128(a, b);
}
static inline unsigned rp_scan_mask(__m128i x)
{
    return (unsigned)_mm_movemask_epi8(x);
}
/* lo <= byte <= hi, unsigned */
static inline __m128i rp_scan_within(__m128i x, char lo, char hi)
{
    __m128i off = _mm_sub_epi8(x, _mm_set1_epi8(lo));
    return _mm_cmpeq_epi8(_mm_min_epu8(off, _mm_set1_epi8((char)(hi - lo))), off);
}
/* The bytes of x that are not VCHAR, or are in bad. */
static inline unsigned rp_scan_not(__m128i x, __m128i bad)
{
    return ~rp_scan_mask(_mm_andnot_si128(bad, rp_scan_within(x, 0x21, 0x7e))) & 0xffff;
}

/* A class: one bit for each of the 16 bytes at p that ends the search. */
typedef unsigned (*rp_scan_bits_fn)(const char *p);

/* First hit in [p, end), end - p >= 16; the last block overlaps the one before it. The class is
 * known at each call, so no pointer is left of it. */
static inline __attribute__((always_inline)) const char *rp_scan_blocks(const char *p,
                                                                        const char *end,
                                                                        rp_scan_bits_fn class_bits)
{
    const char *last = end - 16;
    for (; p <= last; p += 16) {
        unsigned hits = class_bits(p);
        if (hits) return p + __builtin_ctz(hits);
    }
    unsigned hits = p < end ? class_bits(last) >> (p - last) : 0;
    return hits ? p + __builtin_ctz(hits) : end;
}

static inline unsigned rp_scan_common_bits_of(__m128i x)
{
    __m128i lower = rp_scan_or(x, _mm_set1_epi8(0x20));
    __m128i alnum = rp_scan_or(rp_scan_within(lower, 'a', 'z'), rp_scan_within(x, '0', '9'));
    return ~rp_scan_mask(rp_scan_or(alnum, rp_scan_or(rp_scan_is(x, '-'), rp_scan_is(x, '_')))) &
           0xffff;
}
static inline unsigned rp_scan_common_bits(const char *p)
{
    return rp_scan_common_bits_of(rp_scan_load(p));
}
/* The bytes of nearly all hosts' names, and apart from them the dots. */
static inline unsigned rp_scan_label_bits(const char *p, unsigned *dots)
{
    __m128i x = rp_scan_load(p), lower = rp_scan_or(x, _mm_set1_epi8(0x20));
    __m128i alnum = rp_scan_or(rp_scan_within(lower, 'a', 'z'), rp_scan_within(x, '0', '9'));
    *dots = rp_scan_mask(rp_scan_is(x, '.'));
    return rp_scan_mask(rp_scan_or(alnum, rp_scan_is(x, '-')));
}
/* What nearly all paths are made of: letters, digits, "_-./", but no second byte of "//" and "/.".
 * p[-1] can be read. */
static inline unsigned rp_scan_plain_path_bits(const char *p)
{
    __m128i x = rp_scan_load(p), lower = rp_scan_or(x, _mm_set1_epi8(0x20));
    __m128i after_slash = rp_scan_is(rp_scan_load(p - 1), '/');
    __m128i odd = _mm_and_si128(after_slash, rp_scan_within(x, '.', '/'));
    __m128i plain = rp_scan_or(rp_scan_within(lower, 'a', 'z'), rp_scan_within(x, '-', '9'));
    plain = rp_scan_or(plain, rp_scan_is(x, '_'));
    return rp_scan_mask(_mm_andnot_si128(odd, plain)) ^ 0xffff;
}
/* The bytes of x that are printable ASCII: one more makes 0x21-0x7f of these, and what is less, or
 * negative, of all others. */
static inline unsigned rp_scan_printable_bits(__m128i x)
{
    __m128i more = _mm_add_epi8(x, _mm_set1_epi8(1));
    return rp_scan_mask(_mm_cmpgt_epi8(more, _mm_set1_epi8(0x20)));
}
static inline unsigned rp_scan_value_bits(const char *p)
{
    __m128i x = rp_scan_load(p);
    __m128i ctl = _mm_andnot_si128(rp_scan_is(x, '\t'), rp_scan_within(x, 0, 0x1f));
    return rp_scan_mask(rp_scan_or(ctl, rp_scan_is(x, 0x7f)));
}
static inline unsigned rp_scan_visible_bits(const char *p)
{
    return rp_scan_not(rp_scan_load(p), _mm_setzero_si128());
}
static inline unsigned rp_scan_query_bits(const char *p)
{
    __m128i x = rp_scan_load(p);
    __m128i angles = rp_scan_or(rp_scan_is(x, '<'), rp_scan_is(x, '>'));
    return rp_scan_not(x, rp_scan_or(rp_scan_within(x, '"', '#'), angles));
}
static inline __m128i rp_scan_no_path(__m128i x)
{
    __m128i angles = rp_scan_or(rp_scan_is(x, '<'), rp_scan_within(x, '>', '?'));
    return rp_scan_or(rp_scan_or(rp_scan_within(x, '"', '#'), angles), rp_scan_is(x, '\\'));
}
static inline unsigned rp_scan_path_bits(const char *p)
{
    __m128i x = rp_scan_load(p);
    return rp_scan_not(x, rp_scan_no_path(x));
}
/* p[-1] can be read. */
static inline unsigned rp_scan_abnormal_bits(const char *p)
{
    __m128i x = rp_scan_load(p);
    __m128i slash_dot = rp_scan_or(rp_scan_is(x, '/'), rp_scan_is(x, '.'));
    __m128i after_slash = rp_scan_is(rp_scan_load(p - 1), '/');
    __m128i marks = rp_scan_or(rp_scan_within(x, '[', '^'), rp_scan_within(x, '{', '}'));
    __m128i odd = rp_scan_or(marks, rp_scan_or(rp_scan_is(x, '`'), rp_scan_is(x, '%')));
    odd = rp_scan_or(odd, _mm_and_si128(slash_dot, after_slash));
    return rp_scan_not(x, rp_scan_or(rp_scan_no_path(x), odd));
}
#endif

/* ------------------------------------------------------------------ searches */

/* First byte equal to ch; end when there is none. */
static inline const char *rp_scan_byte(const char *p, const char *end, char ch)
{
#ifdef RP_SCAN_SSE2
    for (; end - p >= 16; p += 16) {
        unsigned hits = rp_scan_mask(rp_scan_is(rp_scan_load(p), ch));
        if (hits) return p + __builtin_ctz(hits);
    }
#endif
    while (p < end && *p != ch) p++;
    return p;
}

/* First byte that is not one of the usual ones of a name (letters, digits, '-', '_'). */
static inline const char *rp_scan_common(const char *p, const char *end)
{
#ifdef RP_SCAN_SSE2
    if (end - p >= 16) return rp_scan_blocks(p, end, rp_scan_common_bits);
#endif
    while (p < end && rp_chars_is(*p, RP_CH_LABEL) && *p != '~') p++;
    return p;
}

/* First byte that may not stand in a field value (a control byte other than HTAB, or DEL). */
static inline const char *rp_scan_value(const char *p, const char *end)
{
#ifdef RP_SCAN_SSE2
    if (end - p >= 16) return rp_scan_blocks(p, end, rp_scan_value_bits);
#endif
    while (p < end && rp_chars_is(*p, RP_CH_VALUE)) p++;
    return p;
}

/* The same; bytes from `start` on can be read, so that a short rest needs no walk by bytes. */
static inline const char *rp_scan_value_behind(const char *start, const char *p, const char *end)
{
#ifdef RP_SCAN_SSE2
    for (; end - p >= 16; p += 16) {
        unsigned hits = rp_scan_value_bits(p);
        if (hits) return p + __builtin_ctz(hits);
    }
    if (p < end && end - start >= 16) {
        unsigned hits = rp_scan_value_bits(end - 16) >> (16 - (end - p));
        return hits ? p + __builtin_ctz(hits) : end;
    }
#endif
    (void)start;
    while (p < end && rp_chars_is(*p, RP_CH_VALUE)) p++;
    return p;
}

/* First byte that is not VCHAR (0x21-0x7e). */
static inline const char *rp_scan_visible(const char *p, const char *end)
{
#ifdef RP_SCAN_SSE2
    if (end - p >= 16) return rp_scan_blocks(p, end, rp_scan_visible_bits);
#endif
    while (p < end && (uint8_t)(*p - 0x21) <= 0x7e - 0x21) p++;
    return p;
}

/* First byte that may not stand raw in a path: anything but pchar, '/', '%' and RP_CH_LOOSE. */
static inline const char *rp_scan_path(const char *p, const char *end)
{
#ifdef RP_SCAN_SSE2
    if (end - p >= 16) return rp_scan_blocks(p, end, rp_scan_path_bits);
#endif
    while (p < end && (rp_chars_is(*p, RP_CH_PATH | RP_CH_LOOSE) || *p == '%')) p++;
    return p;
}

/* First byte that may not stand raw in a query: as a path, and '?' and '\' are allowed. */
static inline const char *rp_scan_query(const char *p, const char *end)
{
#ifdef RP_SCAN_SSE2
    if (end - p >= 16) return rp_scan_blocks(p, end, rp_scan_query_bits);
#endif
    while (p < end &&
           (rp_chars_is(*p, RP_CH_PATH | RP_CH_LOOSE) || *p == '%' || *p == '?' || *p == '\\'))
        p++;
    return p;
}

/* First byte behind the '/' at p that nearly no path has, or that may not stand there. */
static inline const char *rp_scan_plain_path(const char *p, const char *end)
{
    p++;
#ifdef RP_SCAN_SSE2
    if (end - p >= 16) return rp_scan_blocks(p, end, rp_scan_plain_path_bits);
#endif
    (void)end;
    return p;
}

/* First place where an absolute path may differ from its normal form: '%', a RP_CH_LOOSE or foreign
 * byte, or the second byte of "//" and "/.". p itself is known to hold '/'. */
static inline const char *rp_scan_abnormal(const char *p, const char *end)
{
    p++;
#ifdef RP_SCAN_SSE2
    if (end - p >= 16) return rp_scan_blocks(p, end, rp_scan_abnormal_bits);
#endif
    for (; p < end && rp_chars_is(*p, RP_CH_PATH); p++)
        if ((*p == '/' || *p == '.') && p[-1] == '/') break;
    return p;
}
#endif

#endif
