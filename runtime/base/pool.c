/* SPDX-License-Identifier: MIT
 *
 * pool: the slow halves: the heap behind the free list. A free object's first word is the link.
 */
#include "base/pool.h"

#include "base/mem.h"

extern inline void *rp_pool_get(struct rp_pool *p);
extern inline void rp_pool_put(struct rp_pool *p, void *object);

void rp_pool_init(struct rp_pool *p, uint32_t object_bytes, uint32_t keep_n)
{
    *p = (struct rp_pool){
        .object_bytes = RP_MAX(object_bytes, (uint32_t)sizeof(void *)),
        .keep_n = keep_n,
    };
}

void rp_pool_fini(struct rp_pool *p)
{
    RP_CHECK(p->live_n == 0);
    rp_pool_trim(p);
}

void rp_pool_trim(struct rp_pool *p)
{
    while (p->free_list) {
        void *object = p->free_list;
        p->free_list = *(void **)object;
        rp_free(object);
    }
    p->free_n = 0;
}

void *rp_pool_get_heap(struct rp_pool *p)
{
    p->live_n++;
    return rp_realloc(NULL, p->object_bytes); /* not zeroed */
}

void rp_pool_put_heap(struct rp_pool *p, void *object)
{
    if (!object) return;
    RP_CHECK(p->live_n > 0);
    p->live_n--;
    rp_free(object);
}
