/* SPDX-License-Identifier: MIT
 *
 * chain: a queue of byte slices over refcounted chunks: how bodies and heads move without copies.
 *
 * Chunk: bytes read from a socket or written by us, shared by reference count (single threaded).
 * Piece: one slice of a chunk, or of constant memory (chunk NULL).
 */
#ifndef RP_BASE_CHAIN_H
#define RP_BASE_CHAIN_H

#include "base/mem.h"
#include "base/str.h"

struct rp_chunk {
    uint32_t refs;
    uint32_t room; /* bytes in data */
    uint32_t used; /* bytes filled so far: the writer's mark */
    struct rp_mem *mem;
    struct rp_chunk *next_free; /* on a free list */
    char data[];
};

/* A chunk with at least `room` bytes (standard sizes are pooled), refs = 1, used = 0. */
RP_INLINE struct rp_chunk *rp_chunk_new(struct rp_mem *m, size_t room);
RP_INLINE void rp_chunk_drop(struct rp_chunk *c); /* NULL is accepted */
/* The last half of drop: nobody holds c any more. */
void rp_chunk_recycle(struct rp_chunk *c);
/* The slow half of new: a large one, or there is none on the list. */
struct rp_chunk *rp_chunk_new_any(struct rp_mem *m, size_t room);
#ifndef RP_CDEF
inline struct rp_chunk *rp_chunk_new(struct rp_mem *m, size_t room)
{
    struct rp_chunk *c = m->free_small;
    if (RP_UNLIKELY(room > RP_CHUNK_SMALL || !c)) return rp_chunk_new_any(m, room);
    m->free_small = c->next_free;
    m->free_small_n--;
    m->live_bytes += RP_CHUNK_SMALL;
    c->refs = 1;
    c->used = 0;
    return c;
}
inline void rp_chunk_drop(struct rp_chunk *c)
{
    if (!c) return;
    RP_CHECK(c->refs > 0);
    if (--c->refs == 0) rp_chunk_recycle(c);
}
static inline struct rp_chunk *rp_chunk_hold(struct rp_chunk *c)
{
    c->refs++;
    return c;
}
#endif

struct rp_piece {
    struct rp_piece *next;
    struct rp_chunk *chunk; /* held; NULL for constant bytes */
    const char *ptr;
    size_t len;
};

struct rp_chain {
    struct rp_piece *head, *tail;
    size_t bytes;
    struct rp_mem *mem;
};

RP_INLINE void rp_chain_init(struct rp_chain *c, struct rp_mem *m);
RP_INLINE void rp_chain_clear(struct rp_chain *c); /* drops everything; usable again */
/* The last half of clear: there is something. */
void rp_chain_drop_pieces(struct rp_chain *c);
/* Append a slice of a chunk; takes its own hold. Merges with the tail when adjacent in one chunk. */
void rp_chain_add(struct rp_chain *c, struct rp_chunk *chunk, const char *ptr, size_t len);
/* Append a slice of a chunk that was just made; takes over the caller's hold. */
void rp_chain_give(struct rp_chain *c, struct rp_chunk *chunk, const char *ptr, size_t len);
/* Append bytes that outlive the chain (literals, frozen config). */
void rp_chain_add_const(struct rp_chain *c, rp_str s);
/* Append a copy; small copies share the tail chunk's spare room when the chain owns it alone. */
void rp_chain_add_copy(struct rp_chain *c, rp_str s);
/* Move up to max bytes from the front of src to the end of dst; returns the bytes moved. */
RP_INLINE size_t rp_chain_move(struct rp_chain *dst, struct rp_chain *src, size_t max);
/* The slow half: pieces go one by one. */
size_t rp_chain_move_pieces(struct rp_chain *dst, struct rp_chain *src, size_t max);
/* Drop n bytes from the front, n <= bytes. */
void rp_chain_consume(struct rp_chain *c, size_t n);
/* Copy the first n bytes out (n <= bytes) without consuming. */
void rp_chain_peek(const struct rp_chain *c, char *out, size_t n);

#ifndef RP_CDEF
inline void rp_chain_init(struct rp_chain *c, struct rp_mem *m)
{
    *c = (struct rp_chain){.mem = m};
}
inline size_t rp_chain_move(struct rp_chain *dst, struct rp_chain *src, size_t max)
{
    if (dst->head || max < src->bytes) return rp_chain_move_pieces(dst, src, max);
    *dst = *src; /* the queue itself changes hands */
    rp_chain_init(src, src->mem);
    return dst->bytes;
}
inline void rp_chain_clear(struct rp_chain *c)
{
    if (c->head) rp_chain_drop_pieces(c);
}

#include <sys/uio.h>
/* Fill up to n iovecs from the front; returns how many. */
int rp_chain_iov(const struct rp_chain *c, struct iovec *iov, int n);
#endif

#endif
