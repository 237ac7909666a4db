/* SPDX-License-Identifier: MIT
 *
 * mem: the checked heap, and the life of a worker's memory context.
 */
#include "base/mem.h"

#include "base/chain.h"

#include <malloc.h>
#include <stdlib.h>

/* What a worker keeps for reuse once load has passed. */
enum {
    KEEP_PIECES = 4096,
    KEEP_SMALL = 256, /* 4 MB */
    KEEP_LARGE = 32,  /* 2 MB */
    KEEP_HEAP_END = 2 * 1024 * 1024,
    GROW_HEAP = 256 * 1024,
};

void *rp_alloc(size_t n)
{
    void *p = calloc(1, n ? n : 1);
    RP_CHECK(p);
    return p;
}

void *rp_realloc(void *p, size_t n)
{
    void *grown = realloc(p, n ? n : 1);
    RP_CHECK(grown);
    return grown;
}

char *rp_strdup_n(const char *p, size_t n)
{
    RP_CHECK(n < SIZE_MAX);
    char *copy = rp_alloc(n + 1);
    if (n) memcpy(copy, p, n);
    return copy;
}

void rp_free(void *p)
{
    free(p);
}

void rp_heap_trim(void)
{
#ifdef __GLIBC__
    (void)malloc_trim(0); /* whether there was something to give back does not matter */
#endif
}

/* ------------------------------------------------------------------ context */

/* What swings with load at the heap's end stays ours: to give it back and to ask for it again costs a
 * call and the page faults, some hundred times in a second. */
static void keep_heap_end(void)
{
#ifdef __GLIBC__
    (void)mallopt(M_TRIM_THRESHOLD, KEEP_HEAP_END); /* refused: as it was */
    (void)mallopt(M_TOP_PAD, GROW_HEAP);
#endif
}

struct rp_mem *rp_mem_new(void)
{
    keep_heap_end();
    struct rp_mem *m = rp_alloc(sizeof *m);
    rp_pool_init(&m->pieces, sizeof(struct rp_piece), KEEP_PIECES);
    m->keep_small_n = KEEP_SMALL;
    m->keep_large_n = KEEP_LARGE;
    return m;
}

static void free_chunks(struct rp_chunk *list)
{
    while (list) {
        struct rp_chunk *next = list->next_free;
        rp_free(list);
        list = next;
    }
}

void rp_mem_free(struct rp_mem **m)
{
    struct rp_mem *old = *m;
    if (!old) return;
    RP_CHECK(old->live_bytes == 0);
    free_chunks(old->free_small);
    free_chunks(old->free_large);
    rp_pool_fini(&old->pieces);
    rp_free(old);
    *m = NULL;
}
