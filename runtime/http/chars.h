/* SPDX-License-Identifier: MIT
 *
 * chars: classes of bytes in HTTP syntax, as one table of bits. Pure.
 */
#ifndef RP_HTTP_CHARS_H
#define RP_HTTP_CHARS_H

#include "base/str.h"

enum {
    RP_CH_TOKEN = 1,      /* tchar (RFC 9110 §5.6.2) */
    RP_CH_DIGIT = 2,      /* 0-9 */
    RP_CH_HEX = 4,        /* 0-9 a-f A-F */
    RP_CH_UNRESERVED = 8, /* RFC 3986 §2.3 */
    RP_CH_PATH = 16,      /* pchar without '%', and '/' (RFC 3986 §3.3) */
    RP_CH_LOOSE = 32,     /* [ ] ^ ` { | }: no URI characters, but clients send them raw */
    RP_CH_LABEL = 128,    /* of a host name: RP_CH_UNRESERVED without '.' */
    RP_CH_VALUE = 64,     /* field value: HTAB, SP, VCHAR, obs-text (RFC 9110 §5.5) */
};

#ifndef RP_CDEF
extern const uint8_t rp_chars[256];

static inline bool rp_chars_is(char ch, unsigned classes)
{
    return (rp_chars[(uint8_t)ch] & classes) != 0;
}
/* Value of a hex digit; the caller knows that it is one. */
static inline unsigned rp_chars_hex(char ch)
{
    return ((unsigned)ch & 0xf) + ((unsigned)ch >> 6 & 1) * 9;
}
/* Is every byte of s in one of the classes? True for the empty string. */
static inline bool rp_chars_all(rp_str s, unsigned classes)
{
    for (size_t i = 0; i < s.len; i++)
        if (!rp_chars_is(s.ptr[i], classes)) return false;
    return true;
}
#endif

#endif
