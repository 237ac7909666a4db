/* SPDX-License-Identifier: MIT
 *
 * buf: doubling growth up to the cap. One byte beyond `room` is kept for printf's NUL.
 * Each append lands whole or not at all.
 */
#include "base/buf.h"

#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>

enum { ROOM_MIN = 64 };

void rp_buf_init(struct rp_buf *b, size_t cap)
{
    RP_CHECK(cap < SIZE_MAX / 2);
    *b = (struct rp_buf){.cap = cap};
}

void rp_buf_fini(struct rp_buf *b)
{
    rp_free(b->ptr);
    *b = (struct rp_buf){.cap = b->cap};
}

void rp_buf_clear(struct rp_buf *b)
{
    b->len = 0;
    b->failed = false;
}

/* Room for n more bytes at the end, or NULL and failed. */
static char *reserve(struct rp_buf *b, size_t n)
{
    if (b->failed || n > b->cap - b->len) {
        b->failed = true;
        return NULL;
    }
    if (!b->ptr || n > b->room - b->len) {
        size_t room = RP_MAX(RP_MAX(b->room * 2, b->len + n), (size_t)ROOM_MIN);
        b->room = RP_MIN(room, b->cap);
        b->ptr = rp_realloc(b->ptr, b->room + 1);
    }
    return b->ptr + b->len;
}

/* ------------------------------------------------------------------ plain appends */

void rp_buf_add(struct rp_buf *b, rp_str s)
{
    char *p = s.len ? reserve(b, s.len) : NULL;
    if (!p) return;
    memcpy(p, s.ptr, s.len);
    b->len += s.len;
}

void rp_buf_add_z(struct rp_buf *b, const char *z)
{
    rp_buf_add(b, rp_str_z(z));
}

void rp_buf_add_ch(struct rp_buf *b, char ch)
{
    rp_buf_add(b, rp_str_of(&ch, 1));
}

void rp_buf_add_u64(struct rp_buf *b, uint64_t value)
{
    char digits[20];
    rp_buf_add(b, rp_str_of(digits, rp_str_put_u64(digits, value)));
}

void rp_buf_addf(struct rp_buf *b, const char *fmt, ...)
{
    va_list args, again;
    va_start(args, fmt);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    RP_CHECK(n >= 0);
    char *p = reserve(b, (size_t)n);
    if (p) {
        vsnprintf(p, (size_t)n + 1, fmt, again);
        b->len += (size_t)n;
    }
    va_end(again);
}

void rp_buf_consume(struct rp_buf *b, size_t n)
{
    RP_CHECK(n <= b->len);
    b->len -= n;
    if (n && b->len) memmove(b->ptr, b->ptr + n, b->len);
}

rp_str rp_buf_str(const struct rp_buf *b)
{
    return rp_str_of(b->ptr, b->len);
}

/* ------------------------------------------------------------------ escaped appends */

static const char hex_digits[] = "0123456789abcdef";

static void add_json_control(struct rp_buf *b, unsigned char ch)
{
    char text[] = {'\\', 'u', '0', '0', hex_digits[ch >> 4], hex_digits[ch & 15]};
    switch (ch) {
    case '\n': rp_buf_add(b, RP_STR("\\n")); break;
    case '\r': rp_buf_add(b, RP_STR("\\r")); break;
    case '\t': rp_buf_add(b, RP_STR("\\t")); break;
    case '"': rp_buf_add(b, RP_STR("\\\"")); break;
    case '\\': rp_buf_add(b, RP_STR("\\\\")); break;
    default: rp_buf_add(b, rp_str_of(text, sizeof text)); break;
    }
}

/* An append made of several: all of it or nothing. */
static void undo_if_failed(struct rp_buf *b, size_t len)
{
    if (b->failed) b->len = len;
}

void rp_buf_add_json(struct rp_buf *b, rp_str s)
{
    const unsigned char *p = (const unsigned char *)s.ptr;
    size_t before = b->len, plain = 0, i = 0;
    while (i < s.len) {
        size_t n = rp_str_utf8_len(rp_str_of(s.ptr + i, s.len - i));
        if (n > 1 || (n == 1 && p[i] >= 0x20 && p[i] != '"' && p[i] != '\\' && p[i] != 0x7f)) {
            i += n;
            continue;
        }
        rp_buf_add(b, rp_str_of(s.ptr + plain, i - plain));
        if (n) {
            add_json_control(b, p[i]);
        } else {
            rp_buf_add(b, RP_STR("\\ufffd"));
        }
        plain = ++i;
    }
    if (i > plain) rp_buf_add(b, rp_str_of(s.ptr + plain, i - plain));
    undo_if_failed(b, before);
}

void rp_buf_add_escaped(struct rp_buf *b, rp_str s)
{
    size_t before = b->len, plain = 0;
    for (size_t i = 0; i < s.len; i++) {
        unsigned char ch = (unsigned char)s.ptr[i];
        if (ch >= 0x20 && ch <= 0x7e && ch != '"' && ch != '\\') continue;
        char text[] = {'\\', 'x', hex_digits[ch >> 4], hex_digits[ch & 15]};
        rp_buf_add(b, rp_str_of(s.ptr + plain, i - plain));
        rp_buf_add(b, rp_str_of(text, sizeof text));
        plain = i + 1;
    }
    if (s.len > plain) rp_buf_add(b, rp_str_of(s.ptr + plain, s.len - plain));
    undo_if_failed(b, before);
}
