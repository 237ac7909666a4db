/* SPDX-License-Identifier: MIT
 *
 * str: comparing, searching and splitting borrowed bytes. Pure.
 */
#include "base/str.h"

/* ------------------------------------------------------------------ case folding */

#define EVERY_BYTE(b) (UINT64_C(0x0101010101010101) * (uint64_t)(b))

/* Lower-case the ASCII letters of eight bytes at once; bytes >= 0x80 stay as they are. */
static inline uint64_t fold8(const char *p)
{
    uint64_t word;
    memcpy(&word, p, 8);
    uint64_t low7 = word & EVERY_BYTE(0x7f);
    uint64_t above_z = low7 + EVERY_BYTE(0x7f - 'Z'); /* top bit set where > 'Z' */
    uint64_t from_a = low7 + EVERY_BYTE(0x80 - 'A');  /* top bit set where >= 'A' */
    uint64_t upper = (from_a ^ above_z) & ~word & EVERY_BYTE(0x80);
    return word | upper >> 2; /* 0x80 >> 2 is the case bit 0x20 */
}

static bool same_folded(const char *a, const char *b, size_t n)
{
    if (n >= 8) {
        size_t last = n - 8; /* the last eight bytes may overlap the eight before them */
        for (size_t i = 0; i < last; i += 8) {
            if (fold8(a + i) != fold8(b + i)) return false;
        }
        return fold8(a + last) == fold8(b + last);
    }
    for (size_t i = 0; i < n; i++) {
        if (rp_lower(a[i]) != rp_lower(b[i])) return false;
    }
    return true;
}

bool rp_str_ieq(rp_str a, rp_str b)
{
    return a.len == b.len && same_folded(a.ptr, b.ptr, a.len);
}

bool rp_str_istarts(rp_str s, rp_str prefix)
{
    return s.len >= prefix.len && same_folded(s.ptr, prefix.ptr, prefix.len);
}

/* ------------------------------------------------------------------ comparing and searching */

bool rp_str_starts(rp_str s, rp_str prefix)
{
    if (prefix.len == 0) return true;
    return s.len >= prefix.len && memcmp(s.ptr, prefix.ptr, prefix.len) == 0;
}

bool rp_str_ends(rp_str s, rp_str suffix)
{
    if (suffix.len == 0) return true;
    return s.len >= suffix.len && memcmp(s.ptr + s.len - suffix.len, suffix.ptr, suffix.len) == 0;
}

size_t rp_str_find(rp_str s, char ch, size_t from)
{
    if (from >= s.len) return s.len;
    const char *hit = memchr(s.ptr + from, ch, s.len - from);
    return hit ? (size_t)(hit - s.ptr) : s.len;
}

int rp_str_cmp(rp_str a, rp_str b)
{
    size_t n = RP_MIN(a.len, b.len);
    int order = n ? memcmp(a.ptr, b.ptr, n) : 0;
    if (order) return order;
    return a.len < b.len ? -1 : a.len > b.len;
}

/* ------------------------------------------------------------------ lists */

static inline bool is_ows(char ch)
{
    return ch == ' ' || ch == '\t';
}

rp_str rp_str_trim(rp_str s)
{
    while (s.len && is_ows(s.ptr[0])) s.ptr++, s.len--;
    while (s.len && is_ows(s.ptr[s.len - 1])) s.len--;
    return s;
}

/* Length of the element at the start of s: up to a comma outside quotes (RFC 9110 §5.6.4). */
static size_t element_len(rp_str s)
{
    bool quoted = false;
    for (size_t i = 0; i < s.len; i++) {
        char ch = s.ptr[i];
        if (quoted && ch == '\\') {
            i++; /* quoted-pair: the next byte means itself */
        } else if (ch == '"') {
            quoted = !quoted;
        } else if (ch == ',' && !quoted) {
            return i;
        }
    }
    return s.len;
}

bool rp_str_list_next(rp_str *rest, rp_str *item)
{
    while (rest->len) {
        size_t n = element_len(*rest);
        rp_str got = rp_str_trim(rp_str_head(*rest, n));
        *rest = rp_str_from(*rest, n < rest->len ? n + 1 : n);
        if (got.len) {
            *item = got;
            return true;
        }
    }
    return false;
}

bool rp_str_list_has(rp_str list, rp_str token)
{
    rp_str item;
    while (rp_str_list_next(&list, &item)) {
        if (rp_str_ieq(item, token)) return true;
    }
    return false;
}

/* ------------------------------------------------------------------ numbers */

rp_err rp_str_u64(rp_str s, uint64_t *out)
{
    if (s.len == 0) return RP_E_INVALID;
    uint64_t value = 0;
    for (size_t i = 0; i < s.len; i++) {
        unsigned digit = (unsigned char)s.ptr[i] - (unsigned)'0';
        if (digit > 9) return RP_E_INVALID;
        if (__builtin_mul_overflow(value, 10u, &value)) return RP_E_INVALID;
        if (__builtin_add_overflow(value, digit, &value)) return RP_E_INVALID;
    }
    *out = value;
    return RP_OK;
}

enum { DIGITS_MAX = 20 }; /* of 2^64; 10^20 does not fit */

size_t rp_str_put_u64(char *buf, uint64_t value)
{
    size_t n = 1;
    uint64_t top = 10; /* 10^n */
    for (; n < DIGITS_MAX && value >= top; n++) top *= 10;
    for (size_t i = n; i-- > 0; value /= 10) buf[i] = (char)('0' + value % 10);
    return n;
}

/* §4: the shortest form only, no surrogates. */
size_t rp_str_utf8_len(rp_str s)
{
    const unsigned char *p = (const unsigned char *)s.ptr;
    size_t left = s.len;
    if (left == 0) return 0;
    if (p[0] < 0x80) return 1;
    if (p[0] < 0xc2 || p[0] > 0xf4) return 0;
    size_t n = p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
    if (left < n) return 0;
    unsigned char low = 0x80, high = 0xbf; /* of the second byte */
    if (p[0] == 0xe0) low = 0xa0;
    if (p[0] == 0xed) high = 0x9f;
    if (p[0] == 0xf0) low = 0x90;
    if (p[0] == 0xf4) high = 0x8f;
    if (p[1] < low || p[1] > high) return 0;
    for (size_t i = 2; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80) return 0;
    }
    return n;
}
