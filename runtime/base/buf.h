/* SPDX-License-Identifier: MIT
 *
 * buf: a growing byte buffer whose cap is given at birth. Not for the data path (see chain).
 */
#ifndef RP_BASE_BUF_H
#define RP_BASE_BUF_H

#include "base/str.h"

struct rp_buf {
    char *ptr;
    size_t len, room, cap;
    bool failed; /* an append passed the cap; sticks until clear */
};

void rp_buf_init(struct rp_buf *b, size_t cap);
void rp_buf_fini(struct rp_buf *b);
void rp_buf_clear(struct rp_buf *b);
/* Appends do nothing once `failed` is set, so a caller checks once at the end. */
void rp_buf_add(struct rp_buf *b, rp_str s);
void rp_buf_add_z(struct rp_buf *b, const char *z);
void rp_buf_add_ch(struct rp_buf *b, char ch);
void rp_buf_add_u64(struct rp_buf *b, uint64_t value);
void rp_buf_addf(struct rp_buf *b, const char *fmt, ...) RP_PRINTF(2, 3);
/* Append as the inside of a JSON string: quotes, backslash, controls and invalid UTF-8 escaped. */
void rp_buf_add_json(struct rp_buf *b, rp_str s);
/* Append with bytes outside 0x20..0x7e, '"' and '\\' as \xHH: safe in log lines. */
void rp_buf_add_escaped(struct rp_buf *b, rp_str s);
void rp_buf_consume(struct rp_buf *b, size_t n); /* drop the first n bytes */
rp_str rp_buf_str(const struct rp_buf *b);

#endif
