/* SPDX-License-Identifier: MIT
 *
 * str: a borrowed view of bytes. Never owns, never ends with NUL by promise.
 */
#ifndef RP_BASE_STR_H
#define RP_BASE_STR_H

#include "base/err.h"

typedef struct rp_str {
    const char *ptr;
    size_t len;
} rp_str;

#ifndef RP_CDEF
#include <string.h>

#define RP_STR(literal) ((rp_str){(literal), sizeof(literal) - 1})
#define RP_STR_NONE ((rp_str){NULL, 0})
/* For printf: "%.*s", RP_STR_ARG(s) */
#define RP_STR_ARG(s) (int)(s).len, (s).ptr

static inline rp_str rp_str_of(const char *ptr, size_t len)
{
    return (rp_str){ptr, len};
}
static inline rp_str rp_str_z(const char *z)
{
    return (rp_str){z, z ? strlen(z) : 0};
}
static inline bool rp_str_eq(rp_str a, rp_str b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}
static inline rp_str rp_str_from(rp_str s, size_t at) /* the rest from byte `at`, at <= len */
{
    return (rp_str){s.ptr + at, s.len - at};
}
static inline rp_str rp_str_head(rp_str s, size_t n) /* the first n bytes, n <= len */
{
    return (rp_str){s.ptr, n};
}
/* ASCII only, locale-free: field names and hosts are ASCII (RFC 9110 §5.1). */
static inline char rp_lower(char ch)
{
    return (char)(ch >= 'A' && ch <= 'Z' ? ch | 0x20 : ch);
}
#endif

bool rp_str_ieq(rp_str a, rp_str b);          /* equal, ASCII case ignored */
bool rp_str_starts(rp_str s, rp_str prefix);  /* case matters */
bool rp_str_ends(rp_str s, rp_str suffix);    /* case matters */
bool rp_str_istarts(rp_str s, rp_str prefix); /* ASCII case ignored */
/* Offset of ch in s at or after `from`; s.len when absent. */
size_t rp_str_find(rp_str s, char ch, size_t from);
rp_str rp_str_trim(rp_str s); /* without leading and trailing SP and HTAB (OWS) */
/* Next element of a comma list (RFC 9110 §5.6.1): trims OWS, skips empty elements, does not split
 * inside quoted strings. Advances *rest; false at the end. */
bool rp_str_list_next(rp_str *rest, rp_str *item);
/* Is `token` an element of the comma list, ASCII case ignored? */
bool rp_str_list_has(rp_str list, rp_str token);
/* Decimal digits only, whole string, no sign; RP_E_INVALID on anything else or overflow. */
RP_MUST rp_err rp_str_u64(rp_str s, uint64_t *out);
/* Decimal into buf (at least 20 bytes); returns the length. */
size_t rp_str_put_u64(char *buf, uint64_t value);
/* Total order by bytes, shorter first on a tie: <0, 0, >0. */
int rp_str_cmp(rp_str a, rp_str b);

/* Bytes of the UTF-8 character (RFC 3629) that s begins with; 0 when it begins with none. */
size_t rp_str_utf8_len(rp_str s);

#endif
