/* SPDX-License-Identifier: MIT
 *
 * random: a small buffer of kernel randomness per thread. fork empties the child's copy, used bytes
 * are wiped at once: no byte is given out twice and none can be read back later.
 */
#include "base/random.h"

#include <pthread.h>
#include <string.h>
#include <unistd.h>

enum { BUFFER_BYTES = 256 }; /* the most that one getentropy gives */

extern inline uint64_t rp_random_u64(struct rp_random *r);
extern inline uint64_t rp_random_below(struct rp_random *r, uint64_t n);

static _Thread_local unsigned char buffer[BUFFER_BYTES];
static _Thread_local size_t left_n; /* the unused bytes are the first left_n */

static void forget(void)
{
    memset(buffer, 0, sizeof buffer);
    left_n = 0;
}

__attribute__((constructor)) static void watch_fork(void)
{
    RP_CHECK(pthread_atfork(NULL, NULL, forget) == 0);
}

/* A lab's; never set in a process that serves. */
static struct {
    bool on;
    struct rp_random dice;
} fixed;

void rp_random_fix(uint64_t seed)
{
    rp_random_init(&fixed.dice, seed);
    fixed.on = true;
}

static void foretell(unsigned char *out, size_t n)
{
    for (size_t i = 0; i < n; i++) out[i] = (unsigned char)rp_random_below(&fixed.dice, 256);
}

static void ask_kernel(unsigned char *out, size_t n)
{
    while (n) {
        size_t part = RP_MIN(n, (size_t)BUFFER_BYTES);
        RP_CHECK(getentropy(out, part) == 0);
        out += part;
        n -= part;
    }
}

void rp_random_bytes(void *out, size_t n)
{
    if (RP_UNLIKELY(fixed.on)) {
        foretell(out, n);
        return;
    }
    if (n > BUFFER_BYTES / 4) {
        ask_kernel(out, n);
        return;
    }
    if (n == 0) return;
    if (n > left_n) {
        ask_kernel(buffer, sizeof buffer);
        left_n = sizeof buffer;
    }
    left_n -= n;
    memcpy(out, buffer + left_n, n);
    explicit_bzero(buffer + left_n, n);
}

void rp_random_init(struct rp_random *r, uint64_t seed)
{
    r->state = seed;
}

void rp_random_seed(struct rp_random *r)
{
    rp_random_bytes(&r->state, sizeof r->state);
}
