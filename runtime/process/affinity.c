/* SPDX-License-Identifier: MIT
 *
 * affinity: see affinity.h.
 */
#include "process/affinity.h"

#include <sched.h>

#include "base/log.h"
#include "net/work.h"

_Static_assert(sizeof(cpu_set_t) == RP_AFFINITY_WORDS * sizeof(uint64_t), "as many processors");

enum { CPUS = RP_AFFINITY_WORDS * 64 };

static bool is_allowed(const uint64_t *allowed, uint32_t cpu)
{
    return cpu < CPUS && (allowed[cpu / 64] >> (cpu % 64) & 1);
}

static int nth_allowed(const uint64_t *allowed, uint32_t n)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < RP_AFFINITY_WORDS; i++)
        count += (uint32_t)__builtin_popcountll(allowed[i]);
    if (count == 0) return RP_AFFINITY_NONE;
    n %= count;
    for (uint32_t cpu = 0; cpu < CPUS; cpu++)
        if (is_allowed(allowed, cpu) && n-- == 0) return (int)cpu;
    return RP_AFFINITY_NONE;
}

/* The list was checked when the site was: digits and commas. */
static uint32_t nth_of_list(rp_str list, uint32_t n)
{
    uint32_t count = 1, cpu = 0;
    for (size_t i = 0; i < list.len; i++) count += list.ptr[i] == ',';
    n %= count;
    for (size_t i = 0; i < list.len; i++) {
        if (list.ptr[i] == ',') {
            if (n-- == 0) break;
            cpu = 0;
        } else {
            cpu = RP_MIN(cpu * 10 + (uint32_t)(list.ptr[i] - '0'), (uint32_t)CPUS);
        }
    }
    return cpu;
}

int rp_affinity_pick(const uint64_t allowed[RP_AFFINITY_WORDS], rp_str wish, uint32_t number)
{
    if (wish.len == 0) return RP_AFFINITY_NONE;
    if (rp_str_eq(wish, RP_STR("auto"))) return nth_allowed(allowed, number);
    uint32_t cpu = nth_of_list(wish, number);
    return is_allowed(allowed, cpu) ? (int)cpu : RP_AFFINITY_NONE;
}

/* ---- the loop's thread ---------------------------------------------------------------------- */

static void run_nothing(void *arg)
{
    (void)arg;
}

static void on_nothing(void *arg, bool cancelled)
{
    (void)arg;
    (void)cancelled;
}

static bool bind_to(const uint64_t *cpus)
{
    return sched_setaffinity(0, sizeof(cpu_set_t), (const cpu_set_t *)cpus) == 0;
}

/* Threads begin with the processors of the one that starts them, so the pool's are started first. */
static bool bind_to_one(const struct rp_affinity *a, struct rp_loop *l, uint32_t cpu)
{
    uint64_t one[RP_AFFINITY_WORDS] = {0};
    one[cpu / 64] = UINT64_C(1) << (cpu % 64);
    if (!a->bound && rp_work_start(l, run_nothing, on_nothing, NULL, NULL) != RP_OK) return false;
    return bind_to(one);
}

void rp_affinity_follow(struct rp_affinity *a, struct rp_loop *l, rp_str wish, uint32_t number)
{
    if (wish.len == 0 && !a->bound) return;
    if (!a->known) /* fails with more processors than a set has bits for: nothing is allowed then */
        a->known = sched_getaffinity(0, sizeof(cpu_set_t), (cpu_set_t *)a->usual) == 0;
    int cpu = rp_affinity_pick(a->usual, wish, number);
    bool fine =
        cpu == RP_AFFINITY_NONE ? !a->bound || bind_to(a->usual) : bind_to_one(a, l, (uint32_t)cpu);
    if (fine) a->bound = cpu != RP_AFFINITY_NONE;
    if (!fine || (wish.len > 0 && cpu == RP_AFFINITY_NONE))
        rp_log(warn, "this worker is bound to no processor of cpu_affinity worker=%u", number);
}
