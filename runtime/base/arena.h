/* SPDX-License-Identifier: MIT
 *
 * arena: bump memory with one owner's life, plus a clean-up list run in reverse.
 *
 * The first block is the caller's (inline in the request), so a small request allocates nothing.
 * Later blocks come from the heap and are given back by reset.
 */
#ifndef RP_BASE_ARENA_H
#define RP_BASE_ARENA_H

#include "base/str.h"

typedef void (*rp_arena_fn)(void *arg);

struct rp_arena_block;
struct rp_arena_cleanup;
struct rp_arena {
    char *next, *end; /* free part of the current block */
    char *first;      /* caller's block */
    size_t first_bytes;
    struct rp_arena_block *blocks; /* heap blocks, newest first */
    struct rp_arena_cleanup *cleanups;
    size_t used_bytes, cap_bytes; /* heap bytes taken; most allowed */
};

/* `first` (16-aligned, may be NULL with 0) is borrowed for the arena's life. */
void rp_arena_init(struct rp_arena *a, void *first, size_t first_bytes, size_t cap_bytes);
/* 16-aligned, not zeroed; NULL only when cap_bytes would be passed. */
RP_INLINE void *rp_arena_alloc(struct rp_arena *a, size_t n);
/* As alloc, in what is left of the current block; NULL when n > 0 bytes do not fit there. */
RP_INLINE void *rp_arena_alloc_here(struct rp_arena *a, size_t n);
/* The slow half of alloc: a new heap block. */
void *rp_arena_alloc_block(struct rp_arena *a, size_t n);
void *rp_arena_zalloc(struct rp_arena *a, size_t n);
/* Copy of s (a NUL follows it); ptr is NULL only when the cap would be passed. */
rp_str rp_arena_copy(struct rp_arena *a, rp_str s);
/* printf into the arena; RP_STR_NONE when the cap would be passed. */
rp_str rp_arena_printf(struct rp_arena *a, const char *fmt, ...) RP_PRINTF(2, 3);
/* Run fn(arg) at reset, last registered first. RP_E_CAP when it cannot be noted (then not run). */
RP_MUST rp_err rp_arena_defer(struct rp_arena *a, rp_arena_fn fn, void *arg);
/* Run clean-ups, free heap blocks, rewind to the first block. */
void rp_arena_reset(struct rp_arena *a);

#ifndef RP_CDEF
inline void *rp_arena_alloc(struct rp_arena *a, size_t n)
{
    /* n - 1 sends n == 0 to the slow half. The free part is a multiple of 16, so n fits rounded. */
    if (RP_UNLIKELY(n - 1 >= (size_t)(a->end - a->next))) return rp_arena_alloc_block(a, n);
    char *p = a->next;
    a->next = p + ((n + 15) & ~(size_t)15);
    return p;
}
inline void *rp_arena_alloc_here(struct rp_arena *a, size_t n)
{
    if (RP_UNLIKELY(n > (size_t)(a->end - a->next))) return NULL;
    char *p = a->next;
    a->next = p + ((n + 15) & ~(size_t)15);
    return p;
}
#endif

#endif
