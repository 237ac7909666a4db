/* SPDX-License-Identifier: MIT
 *
 * reader: the receive buffer of one HTTP/1 connection. Bytes lie in a chunk that body slices share,
 * so a body moves from socket to socket without a copy.
 *
 * Invariants: unread bytes [at, end) are contiguous; an idle connection holds no chunk; bytes already
 * lent out (slices, heads) never move, only unread ones do. Events are level-triggered: while bytes
 * wait that nobody takes, the socket is paused (it would wake the loop for ever), and a fill that
 * drains it takes the pause back. The end of the stream, once met, is told again by every fill.
 */
#ifndef RP_HTTP_READER_H
#define RP_HTTP_READER_H

#include "base/chain.h"
#include "net/conn.h"
#include "net/splice.h"

struct rp_reader {
    struct rp_chunk *chunk; /* NULL while there is nothing unread */
    uint32_t at, end;
    bool readable; /* the socket may have bytes: set by events, cleared by a short read */
    bool large;    /* the last read filled its buffer: use large chunks */
    bool paused;   /* rp_reader_note paused the socket; only while `readable` */
    bool dry;      /* the last splice found nothing although an event had come */
    rp_err over;   /* how the stream ended (RP_END, RP_E_CLOSED, RP_E_OS); RP_OK: not yet */
};

/* The socket has news (RP_CONN_READABLE). */
RP_INLINE void rp_reader_note(struct rp_reader *r, struct rp_conn *c);
/* Hear of news again although unread ones are left: somebody wants to know of the end. */
RP_INLINE void rp_reader_listen(struct rp_reader *r, struct rp_conn *c);

/* One recv behind the unread bytes. cap: most unread bytes kept.
 * RP_OK; RP_AGAIN; RP_END (end of stream); RP_E_TOO_BIG (cap reached); RP_E_CLOSED, RP_E_OS */
RP_MUST RP_INLINE rp_err rp_reader_fill(struct rp_reader *r, struct rp_mem *m, struct rp_conn *c,
                                        size_t cap);
/* The last half of fill: there may be something. */
RP_MUST rp_err rp_reader_receive(struct rp_reader *r, struct rp_mem *m, struct rp_conn *c,
                                 size_t cap);
/* Past the reader, in which nothing is unread: at most max bytes from the socket into a pipe
 * (rp_splice_take). RP_OK; RP_AGAIN; RP_END; RP_E_CLOSED, RP_E_OS; RP_E_BUSY: fill instead */
RP_MUST rp_err rp_reader_splice(struct rp_reader *r, struct rp_conn *c, size_t max,
                                struct rp_splice **pipe);
RP_INLINE void rp_reader_clear(struct rp_reader *r);
#ifndef RP_CDEF
inline rp_err rp_reader_fill(struct rp_reader *r, struct rp_mem *m, struct rp_conn *c, size_t cap)
{
    if (r->over != RP_OK) return r->over;
    return r->readable ? rp_reader_receive(r, m, c, cap) : RP_AGAIN;
}
inline void rp_reader_note(struct rp_reader *r, struct rp_conn *c)
{
    if (RP_UNLIKELY(r->readable)) {
        rp_conn_pause(c); /* told before, and nobody came to read */
        r->paused = true;
    }
    r->readable = true;
}
inline void rp_reader_listen(struct rp_reader *r, struct rp_conn *c)
{
    if (RP_LIKELY(!r->paused)) return;
    r->paused = false;
    rp_conn_resume(c);
}
static inline const char *rp_reader_ptr(const struct rp_reader *r)
{
    return r->chunk ? r->chunk->data + r->at : NULL;
}
static inline size_t rp_reader_len(const struct rp_reader *r)
{
    return r->end - r->at;
}
inline void rp_reader_clear(struct rp_reader *r)
{
    rp_chunk_drop(r->chunk);
    r->chunk = NULL;
    r->at = r->end = 0;
}
/* Consume n unread bytes; the chunk goes back to the pool when nothing is left. */
static inline void rp_reader_take(struct rp_reader *r, size_t n)
{
    r->at += (uint32_t)n;
}
#endif

#endif
