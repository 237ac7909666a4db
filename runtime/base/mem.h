/* SPDX-License-Identifier: MIT
 *
 * mem: the per-worker memory context (chunk and piece pools) and the checked heap for boot time.
 *
 * Owns: free lists of chunks of the two standard sizes and of chain pieces. Single threaded.
 */
#ifndef RP_BASE_MEM_H
#define RP_BASE_MEM_H

#include "base/pool.h"

/* Heap for boot, reload and rare growth; aborts when the system has no memory. zeroed. */
void *rp_alloc(size_t n);
void *rp_realloc(void *p, size_t n);        /* new bytes are not zeroed */
char *rp_strdup_n(const char *p, size_t n); /* NUL added */
void rp_free(void *p);
/* Give free heap pages back to the system: after a generation went, so that reloads leave no trace. */
void rp_heap_trim(void);

enum {
    RP_CHUNK_SMALL = 16 * 1024, /* one head, or one socket's worth of a small body */
    RP_CHUNK_LARGE = 64 * 1024, /* bodies under way: fewer system calls per byte */
};

struct rp_chunk;
struct rp_mem {
    struct rp_pool pieces;
    struct rp_chunk *free_small, *free_large;
    uint32_t free_small_n, free_large_n;
    uint32_t keep_small_n, keep_large_n; /* most that the free lists keep */
    uint64_t live_bytes;                 /* chunks held by someone now */
};

struct rp_mem *rp_mem_new(void);
void rp_mem_free(struct rp_mem **m); /* every chunk and piece must have come back */

#endif
