/* SPDX-License-Identifier: MIT
 *
 * h1_chunk: incremental decoder of the chunked transfer coding (RFC 9112 §7.1). Pure.
 */
#ifndef RP_HTTP_H1_CHUNK_H
#define RP_HTTP_H1_CHUNK_H

#include "base/str.h"

struct rp_h1_chunk {
    uint64_t left;       /* data bytes left in this chunk */
    uint32_t line_bytes; /* of the current size line or trailer section: bounded */
    uint32_t overhead;   /* extension bytes seen since the last data: bounded (tiny-chunk abuse) */
    uint8_t state;
    uint8_t digits; /* hex digits of the size so far */
};

void rp_h1_chunk_init(struct rp_h1_chunk *c);
/* Decode from p. Consumes framing and at most one run of data per call.
 * ret  RP_OK    *data is the next run (a slice of p, len > 0), *used_n bytes consumed
 *      RP_AGAIN *used_n bytes consumed, more input needed (the rest, part of a trailer section, must
 *               be presented again, contiguous, with more bytes behind it)
 *      RP_END   the body is complete; *data = the trailer section with its final CRLF (len 2 when
 *               there are no trailers), for rp_h1_parse_trailers; *used_n counts it
 *      RP_E_H1_CHUNK bare LF, bad size, size over 2^60, extension or trailer section over 8 KB */
RP_MUST rp_err rp_h1_chunk_next(struct rp_h1_chunk *c, const char *p, size_t n, size_t *used_n,
                                rp_str *data);

#endif
