/* SPDX-License-Identifier: MIT
 *
 * clock: a monotonic clock that stands still until the fault driver moves it. Preloaded into the
 * driver's process, so that a schedule may skip an hour between any two steps, and none waits.
 */
#include <stdbool.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Ahead of the machine's own clock: who waits in the kernel for a moment of ours waits for ever,
 * and does not spin. */
int64_t fault_clock_ms = INT64_C(1) << 40;

int clock_gettime(clockid_t id, struct timespec *t);
bool fault_first(void *arg, const uint8_t *id);

/* May a ticket bring early data? See world.lua. It is here because calls from C must not enter Lua. */
bool fault_first(void *arg, const uint8_t *id)
{
    (void)arg;
    return id[0] % 3 != 0;
}

int clock_gettime(clockid_t id, struct timespec *t)
{
    if (id != CLOCK_MONOTONIC && id != CLOCK_MONOTONIC_COARSE && id != CLOCK_BOOTTIME)
        return (int)syscall(SYS_clock_gettime, id, t);
    t->tv_sec = fault_clock_ms / 1000;
    t->tv_nsec = fault_clock_ms % 1000 * 1000000;
    return 0;
}
