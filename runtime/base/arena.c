/* SPDX-License-Identifier: MIT
 *
 * arena: heap blocks behind the caller's first block.
 *
 * Invariant: end - next is a multiple of 16. A request too large to share a block gets one of its
 * own and leaves the current block's free part in use.
 */
#include "base/arena.h"

#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>

enum {
    ALIGN = 16,
    BLOCK_MIN = 4 * 1024,  /* first heap block: one page holds most of what a hook makes */
    BLOCK_MAX = 64 * 1024, /* blocks double up to here */
};

struct rp_arena_block {
    struct rp_arena_block *older;
    size_t bytes; /* of the whole block, this head included */
};

struct rp_arena_cleanup {
    struct rp_arena_cleanup *older;
    rp_arena_fn fn;
    void *arg;
};

extern inline void *rp_arena_alloc(struct rp_arena *a, size_t n);
extern inline void *rp_arena_alloc_here(struct rp_arena *a, size_t n);

static void rewind_first(struct rp_arena *a)
{
    a->next = a->first;
    a->end = a->first ? a->first + (a->first_bytes & ~(size_t)(ALIGN - 1)) : NULL;
}

void rp_arena_init(struct rp_arena *a, void *first, size_t first_bytes, size_t cap_bytes)
{
    RP_CHECK(((uintptr_t)first & (ALIGN - 1)) == 0);
    *a = (struct rp_arena){.first = first, .first_bytes = first_bytes, .cap_bytes = cap_bytes};
    rewind_first(a);
}

/* ------------------------------------------------------------------ blocks */

static char *block_new(struct rp_arena *a, size_t bytes)
{
    struct rp_arena_block *block = rp_realloc(NULL, bytes);
    block->older = a->blocks;
    block->bytes = bytes;
    a->blocks = block;
    a->used_bytes += bytes;
    return (char *)(block + 1);
}

/* Size of the next shared block: as much as is in use, within bounds and within what is left. */
static size_t shared_bytes(const struct rp_arena *a, size_t left)
{
    size_t bytes = RP_MIN(RP_MAX(a->used_bytes, (size_t)BLOCK_MIN), (size_t)BLOCK_MAX);
    return RP_MIN(bytes, left) & ~(size_t)(ALIGN - 1);
}

void *rp_arena_alloc_block(struct rp_arena *a, size_t n)
{
    size_t left = a->cap_bytes - a->used_bytes, need;
    if (n == 0) n = 1;
    if (n <= (size_t)(a->end - a->next)) return rp_arena_alloc(a, n); /* was n == 0 */
    if (rp_add_overflows(n, ALIGN - 1 + sizeof(struct rp_arena_block), &need)) return NULL;
    need &= ~(size_t)(ALIGN - 1);
    if (need > left) return NULL;
    size_t bytes = shared_bytes(a, left);
    if (need > bytes / 2) return block_new(a, need);
    a->next = block_new(a, bytes);
    a->end = (char *)a->blocks + bytes;
    return rp_arena_alloc(a, n);
}

/* ------------------------------------------------------------------ conveniences */

void *rp_arena_zalloc(struct rp_arena *a, size_t n)
{
    void *p = rp_arena_alloc(a, n);
    return p ? memset(p, 0, n) : NULL;
}

rp_str rp_arena_copy(struct rp_arena *a, rp_str s)
{
    char *p = s.len < SIZE_MAX ? rp_arena_alloc(a, s.len + 1) : NULL;
    if (!p) return RP_STR_NONE;
    if (s.len) memcpy(p, s.ptr, s.len);
    p[s.len] = 0;
    return rp_str_of(p, s.len);
}

rp_str rp_arena_printf(struct rp_arena *a, const char *fmt, ...)
{
    va_list args, again;
    va_start(args, fmt);
    va_copy(again, args);
    char small[256]; /* most results fit: format once */
    int n = vsnprintf(small, sizeof small, fmt, args);
    va_end(args);
    RP_CHECK(n >= 0);
    size_t len = (size_t)n;
    rp_str out = RP_STR_NONE;
    if (len < sizeof small) {
        out = rp_arena_copy(a, rp_str_of(small, len));
    } else {
        char *p = rp_arena_alloc(a, len + 1);
        if (p) {
            vsnprintf(p, len + 1, fmt, again);
            out = rp_str_of(p, len);
        }
    }
    va_end(again);
    return out;
}

/* ------------------------------------------------------------------ end of life */

rp_err rp_arena_defer(struct rp_arena *a, rp_arena_fn fn, void *arg)
{
    struct rp_arena_cleanup *note = rp_arena_alloc(a, sizeof *note);
    if (!note) return RP_E_CAP;
    *note = (struct rp_arena_cleanup){a->cleanups, fn, arg};
    a->cleanups = note;
    return RP_OK;
}

void rp_arena_reset(struct rp_arena *a)
{
    while (a->cleanups) {
        struct rp_arena_cleanup *note = a->cleanups;
        a->cleanups = note->older;
        note->fn(note->arg);
    }
    while (a->blocks) {
        struct rp_arena_block *block = a->blocks;
        a->blocks = block->older;
        rp_free(block);
    }
    a->used_bytes = 0;
    rewind_first(a);
#ifdef RP_DEBUG
    if (a->first) memset(a->first, 0xdd, a->first_bytes); /* a stale view shows at once */
#endif
}
