/* SPDX-License-Identifier: MIT
 *
 * pool: fixed-size objects on a free list. Debug builds use the heap for each object, so that the
 * address sanitizer sees every misuse.
 */
#ifndef RP_BASE_POOL_H
#define RP_BASE_POOL_H

#include "base/check.h"

struct rp_pool {
    void *free_list;
    uint32_t object_bytes;
    uint32_t free_n, keep_n; /* on the list now; most that the list keeps */
    uint32_t live_n;         /* given out now */
};

void rp_pool_init(struct rp_pool *p, uint32_t object_bytes, uint32_t keep_n);
void rp_pool_fini(struct rp_pool *p);                        /* frees the list; live_n must be 0 */
void rp_pool_trim(struct rp_pool *p);                        /* frees the list */
RP_INLINE void *rp_pool_get(struct rp_pool *p);              /* not zeroed; never NULL */
RP_INLINE void rp_pool_put(struct rp_pool *p, void *object); /* NULL is accepted */

/* The slow halves of get and put: empty list, full list, debug builds. */
void *rp_pool_get_heap(struct rp_pool *p);
void rp_pool_put_heap(struct rp_pool *p, void *object);

#ifndef RP_CDEF
#ifdef RP_DEBUG
#define RP_POOL_LISTS 0
#else
#define RP_POOL_LISTS 1
#endif

inline void *rp_pool_get(struct rp_pool *p)
{
    void **object = (void **)p->free_list;
    if (!RP_POOL_LISTS || RP_UNLIKELY(!object)) return rp_pool_get_heap(p);
    p->free_list = *object;
    p->free_n--;
    p->live_n++;
    return object;
}

inline void rp_pool_put(struct rp_pool *p, void *object)
{
    if (!RP_POOL_LISTS || RP_UNLIKELY(!object || p->free_n >= p->keep_n)) {
        rp_pool_put_heap(p, object);
        return;
    }
    *(void **)object = p->free_list;
    p->free_list = object;
    p->free_n++;
    p->live_n--;
}
#endif

#endif
