/* SPDX-License-Identifier: MIT
 *
 * chain: chunks from the worker's free lists, pieces from its pool.
 *
 * Invariants: no piece is empty; bytes = sum of the pieces' len; a piece with a chunk holds it once.
 * Debug builds take each chunk from the heap, so that the address sanitizer sees every misuse.
 */
#include "base/chain.h"

extern inline struct rp_chunk *rp_chunk_new(struct rp_mem *m, size_t room);
extern inline void rp_chunk_drop(struct rp_chunk *c);
extern inline void rp_chain_init(struct rp_chain *c, struct rp_mem *m);
extern inline size_t rp_chain_move(struct rp_chain *dst, struct rp_chain *src, size_t max);
extern inline void rp_chain_clear(struct rp_chain *c);

/* ------------------------------------------------------------------ chunks */

static struct rp_chunk *chunk_from_heap(struct rp_mem *m, size_t room)
{
    RP_CHECK(room <= UINT32_MAX);
    struct rp_chunk *c = rp_realloc(NULL, sizeof *c + room); /* not zeroed */
    c->mem = m;
    c->room = (uint32_t)room;
    return c;
}

static inline struct rp_chunk *list_pop(struct rp_chunk **list, uint32_t *n)
{
    struct rp_chunk *c = *list;
    if (c) {
        *list = c->next_free;
        --*n;
    }
    return c;
}

struct rp_chunk *rp_chunk_new_any(struct rp_mem *m, size_t room)
{
    struct rp_chunk *c = NULL;
    if (room <= RP_CHUNK_SMALL) {
        room = RP_CHUNK_SMALL;
        c = list_pop(&m->free_small, &m->free_small_n);
    } else if (room <= RP_CHUNK_LARGE) {
        room = RP_CHUNK_LARGE;
        c = list_pop(&m->free_large, &m->free_large_n);
    }
    if (!c) c = chunk_from_heap(m, room);
    c->refs = 1;
    c->used = 0;
    m->live_bytes += c->room;
    return c;
}

static inline bool list_push(struct rp_chunk *c, struct rp_chunk **list, uint32_t *n, uint32_t keep)
{
    if (!RP_POOL_LISTS || *n >= keep) return false;
    c->next_free = *list;
    *list = c;
    ++*n;
    return true;
}

void rp_chunk_recycle(struct rp_chunk *c)
{
    struct rp_mem *m = c->mem;
    m->live_bytes -= c->room;
    bool kept = false;
    if (c->room == RP_CHUNK_SMALL) {
        kept = list_push(c, &m->free_small, &m->free_small_n, m->keep_small_n);
    } else if (c->room == RP_CHUNK_LARGE) {
        kept = list_push(c, &m->free_large, &m->free_large_n, m->keep_large_n);
    }
    if (!kept) rp_free(c);
}

/* ------------------------------------------------------------------ building */

static void append_piece(struct rp_chain *c, struct rp_piece *piece)
{
    piece->next = NULL;
    if (c->tail) {
        c->tail->next = piece;
    } else {
        c->head = piece;
    }
    c->tail = piece;
    c->bytes += piece->len;
}

/* `chunk` arrives held: the piece takes that hold over. */
static void append_slice(struct rp_chain *c, struct rp_chunk *chunk, const char *ptr, size_t len)
{
    struct rp_piece *piece = rp_pool_get(&c->mem->pieces);
    piece->chunk = chunk;
    piece->ptr = ptr;
    piece->len = len;
    append_piece(c, piece);
}

static inline bool extends_tail(const struct rp_chain *c, const struct rp_chunk *chunk,
                                const char *ptr)
{
    return chunk && c->tail && c->tail->chunk == chunk && c->tail->ptr + c->tail->len == ptr;
}

static inline void grow_tail(struct rp_chain *c, size_t len)
{
    c->tail->len += len;
    c->bytes += len;
}

void rp_chain_add(struct rp_chain *c, struct rp_chunk *chunk, const char *ptr, size_t len)
{
    if (len == 0) return;
    RP_ASSERT(ptr >= chunk->data && ptr + len <= chunk->data + chunk->room);
    if (extends_tail(c, chunk, ptr)) {
        grow_tail(c, len);
    } else {
        append_slice(c, rp_chunk_hold(chunk), ptr, len);
    }
}

void rp_chain_give(struct rp_chain *c, struct rp_chunk *chunk, const char *ptr, size_t len)
{
    if (len) append_slice(c, chunk, ptr, len);
    else rp_chunk_drop(chunk);
}

void rp_chain_add_const(struct rp_chain *c, rp_str s)
{
    if (s.len) append_slice(c, NULL, s.ptr, s.len);
}

/* Copy what fits behind the tail's bytes when nobody else can see that room; returns how much. */
static size_t fill_tail(struct rp_chain *c, rp_str s)
{
    struct rp_chunk *chunk = c->tail ? c->tail->chunk : NULL;
    if (!chunk || chunk->refs != 1) return 0;
    char *mark = chunk->data + chunk->used;
    if (c->tail->ptr + c->tail->len != mark) return 0;
    size_t n = RP_MIN(s.len, (size_t)(chunk->room - chunk->used));
    if (n == 0) return 0;
    memcpy(mark, s.ptr, n);
    chunk->used += (uint32_t)n;
    grow_tail(c, n);
    return n;
}

void rp_chain_add_copy(struct rp_chain *c, rp_str s)
{
    s = rp_str_from(s, fill_tail(c, s));
    while (s.len) {
        size_t n = RP_MIN(s.len, (size_t)RP_CHUNK_LARGE);
        struct rp_chunk *chunk = rp_chunk_new(c->mem, n);
        memcpy(chunk->data, s.ptr, n);
        chunk->used = (uint32_t)n;
        append_slice(c, chunk, chunk->data, n);
        s = rp_str_from(s, n);
    }
}

/* ------------------------------------------------------------------ taking away */

static inline struct rp_piece *take_head(struct rp_chain *c)
{
    struct rp_piece *piece = c->head;
    c->head = piece->next;
    if (!c->head) c->tail = NULL;
    c->bytes -= piece->len;
    return piece;
}

static inline void free_piece(struct rp_mem *m, struct rp_piece *piece)
{
    rp_chunk_drop(piece->chunk);
    rp_pool_put(&m->pieces, piece);
}

void rp_chain_drop_pieces(struct rp_chain *c)
{
    struct rp_mem *m = c->mem;
    struct rp_piece *piece = c->head, *next;
    rp_chain_init(c, m);
    for (; piece; piece = next) {
        next = piece->next;
        free_piece(m, piece);
    }
}

static inline void shorten_head(struct rp_chain *c, size_t n)
{
    c->head->ptr += n;
    c->head->len -= n;
    c->bytes -= n;
}

void rp_chain_consume(struct rp_chain *c, size_t n)
{
    if (RP_LIKELY(n == c->bytes)) {
        rp_chain_clear(c);
        return;
    }
    RP_CHECK(n <= c->bytes);
    while (n) {
        if (n < c->head->len) {
            shorten_head(c, n);
            return;
        }
        n -= c->head->len;
        free_piece(c->mem, take_head(c));
    }
}

size_t rp_chain_move_pieces(struct rp_chain *dst, struct rp_chain *src, size_t max)
{
    RP_ASSERT(dst != src && dst->mem == src->mem);
    size_t left = RP_MIN(max, src->bytes), moved = left;
    while (left) {
        struct rp_piece *head = src->head;
        if (left < head->len) { /* the last one: shared by both chains */
            if (head->chunk) {
                rp_chain_add(dst, head->chunk, head->ptr, left);
            } else {
                rp_chain_add_const(dst, rp_str_of(head->ptr, left));
            }
            shorten_head(src, left);
            break;
        }
        left -= head->len;
        (void)take_head(src);
        if (extends_tail(dst, head->chunk, head->ptr)) {
            grow_tail(dst, head->len);
            free_piece(src->mem, head);
        } else {
            append_piece(dst, head);
        }
    }
    return moved;
}

/* ------------------------------------------------------------------ looking */

void rp_chain_peek(const struct rp_chain *c, char *out, size_t n)
{
    RP_CHECK(n <= c->bytes);
    for (const struct rp_piece *p = c->head; n; p = p->next) {
        size_t part = RP_MIN(n, p->len);
        memcpy(out, p->ptr, part);
        out += part;
        n -= part;
    }
}

int rp_chain_iov(const struct rp_chain *c, struct iovec *iov, int n)
{
    int i = 0;
    for (const struct rp_piece *p = c->head; p && i < n; p = p->next, i++) {
        iov[i] = (struct iovec){(void *)(uintptr_t)p->ptr, p->len};
    }
    return i;
}
