/* SPDX-License-Identifier: MIT
 *
 * h1_write: HTTP/1 heads and framing as bytes. Pure.
 *
 * Fields that came from one parsed head and lie next to each other are copied in one run, so passing
 * a head through costs a few copies, not one per field.
 */
#ifndef RP_HTTP_H1_WRITE_H
#define RP_HTTP_H1_WRITE_H

#include "base/chain.h"
#include "http/msg.h"

/* A place to write whose size was computed before; checked in every build. */
struct rp_h1_writer {
    char *p, *end;
    struct rp_chunk *chunk;
};

/* Which known fields are left out: a set of enum rp_header bits. */
struct rp_h1_skip {
    uint64_t bits[2];
};
#ifndef RP_CDEF
static inline void rp_h1_skip_add(struct rp_h1_skip *s, uint16_t id)
{
    s->bits[id >> 6] |= (uint64_t)1 << (id & 63);
}
static inline bool rp_h1_skip_has(const struct rp_h1_skip *s, unsigned id)
{
    return (s->bits[id / 64] & (uint64_t)1 << id % 64) != 0;
}
#endif

/* Every hop-by-hop field of token.tbl, and Content-Length: framing is written by us. */
extern const struct rp_h1_skip rp_h1_hop;
/* Most bytes the fields of m can take, and its reason phrase when it has its own. */
size_t rp_h1_fields_bound(const struct rp_msg *m);
/* Start writing at most `bound` bytes in a fresh chunk. */
struct rp_h1_writer rp_h1_writer_new(struct rp_mem *mem, size_t bound);
RP_INLINE void rp_h1_put(struct rp_h1_writer *w, rp_str s);
/* Three of them, one behind the other: "Host: ", a name, "\r\n". */
RP_INLINE void rp_h1_put_three(struct rp_h1_writer *w, rp_str a, rp_str b, rp_str c);
void rp_h1_put_u64(struct rp_h1_writer *w, uint64_t value);
/* "name: value\r\n" */
void rp_h1_put_field(struct rp_h1_writer *w, rp_str name, rp_str value);
/* All live fields of m but those in skip and those named by its Connection field. */
void rp_h1_put_fields(struct rp_h1_writer *w, const struct rp_msg *m,
                      const struct rp_h1_skip *skip);
/* "HTTP/1.1 200 OK\r\n"; the reason of m, or the standard one. */
void rp_h1_put_status(struct rp_h1_writer *w, const struct rp_msg *m);
/* Give what was written to the end of out; the writer is spent. */
void rp_h1_writer_finish(struct rp_h1_writer *w, struct rp_chain *out);

#ifndef RP_CDEF
/* Inline, so that a literal is a few stores. */
inline void rp_h1_put(struct rp_h1_writer *w, rp_str s)
{
    RP_CHECK(s.len <= (size_t)(w->end - w->p));
    if (s.len) memcpy(w->p, s.ptr, s.len);
    w->p += s.len;
}
inline void rp_h1_put_three(struct rp_h1_writer *w, rp_str a, rp_str b, rp_str c)
{
    char *p = w->p;
    size_t room = (size_t)(w->end - p);
    RP_CHECK(b.len <= room && a.len + c.len <= room - b.len); /* a and c are literals, mostly */
    if (a.len) memcpy(p, a.ptr, a.len);
    p += a.len;
    if (b.len) memcpy(p, b.ptr, b.len);
    p += b.len;
    if (c.len) memcpy(p, c.ptr, c.len);
    w->p = p + c.len;
}
#endif

/* One chunk of the chunked coding around the bytes of `in` (all are moved; none when empty). */
void rp_h1_put_chunk(struct rp_chain *out, struct rp_chain *in);
/* The last chunk with trailers (NULL: none). */
void rp_h1_put_last_chunk(struct rp_chain *out, const struct rp_msg *trailers);

#endif
