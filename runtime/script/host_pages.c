/* SPDX-License-Identifier: MIT
 *
 * host_pages: give pages of a VM's heap that hold nothing back to the system.
 *
 * Evaluating a site leaves many times what is kept of it, and LuaJIT's allocator keeps what becomes
 * free among the rest. It cannot be asked for those pages, but it can be asked for blocks: the free
 * ones are taken, large sizes first, their pages dropped, and all given back.
 */
#include <sys/mman.h>

#include "script/vm.h"

enum {
    PAGE = 4096,
    BLOCK_MOST = 1 << 20,
    BLOCK_LEAST = 4 * PAGE, /* below it the few whole pages are not worth their calls */
    SHRINK = 4,
};

struct block { /* at the start of each, in a page that stays */
    struct block *next;
    size_t n;
};

/* Whole pages behind the block's own words. */
static char *first_page(const struct block *b)
{
    uintptr_t at = ((uintptr_t)(b + 1) + PAGE - 1) & ~(uintptr_t)(PAGE - 1);
    return (char *)at;
}

static size_t pages_bytes(const struct block *b)
{
    uintptr_t end = ((uintptr_t)b + b->n) & ~(uintptr_t)(PAGE - 1),
              first = (uintptr_t)first_page(b);
    return end > first ? end - first : 0;
}

/* Memory that nobody has written to has no pages: the allocator got it from the system just now. */
static bool is_new(const struct block *b)
{
    unsigned char there = 0;
    return mincore(first_page(b), PAGE, &there) != 0 || !(there & 1);
}

void rp_host_drop_pages(struct rp_host *h, size_t free_bytes)
{
    struct block *taken = NULL;
    for (size_t n = BLOCK_MOST; n >= BLOCK_LEAST; n /= SHRINK) {
        while (n <= free_bytes) {
            struct block *b = h->alloc(h->alloc_arg, NULL, 0, n);
            if (!b) break;
            *b = (struct block){.next = taken, .n = n};
            taken = b;
            if (is_new(b)) break;
            (void)madvise(first_page(b), pages_bytes(b), MADV_DONTNEED); /* a wish */
            free_bytes -= n;
        }
    }
    while (taken) {
        struct block *b = taken;
        taken = b->next;
        (void)h->alloc(h->alloc_arg, b, b->n, 0);
    }
}
